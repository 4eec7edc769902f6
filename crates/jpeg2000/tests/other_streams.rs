//! Files that others made, the conformance streams of ISO/IEC 15444-4 among them: our decoder gives what OpenJPEG gives, or refuses.
//!
//! They are no part of this repository. `S2ICE_STREAMS=FOLDER cargo test -p s2ice-jpeg2000 --features openjpeg --test other_streams --
//! --nocapture` takes all JPEG 2000 files below a folder, such as a checkout of github.com/uclouvain/openjpeg-data.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use s2ice_jpeg2000::decode::OpenJpeg;
use s2ice_jpeg2000::decode::native::{Build, Native};
use s2ice_jpeg2000::{CodecConfig, FileHead, Scan, Sot, TileCodec, scan_file_head};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, out);
        } else if path
            .extension()
            .is_some_and(|e| ["j2k", "jp2", "j2c", "jpc"].iter().any(|one| e.eq_ignore_ascii_case(one)))
        {
            out.push(path);
        }
    }
}

/// Bytes of each tile, as far as the tile-parts lead.
fn tiles(bytes: &[u8], head: &FileHead) -> BTreeMap<u16, Vec<u8>> {
    let mut out = BTreeMap::<u16, Vec<u8>>::new();
    let mut at = head.first_sot as usize;
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.starts_with(&[0xFF, 0x90])) {
        let Ok(sot) = Sot::parse_at(rest, at as u64) else { break };
        let Some(part) = rest.get(..sot.psot as usize).filter(|part| !part.is_empty()) else { break };
        out.entry(sot.tile).or_default().extend_from_slice(part);
        at += part.len();
    }
    out
}

fn decoded(codec: &TileCodec, chunk: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = vec![0xA5; codec.output_bytes(None).unwrap()];
    codec.decode(chunk, 1, None, &mut out).map_err(|e| e.to_string())?;
    Ok(out)
}

/// How many tiles and levels were the same; or why the file is not for our decoder.
fn compare(path: &Path, bytes: &[u8]) -> Result<(usize, usize), String> {
    let head = match scan_file_head(bytes, Some(bytes.len() as u64)) {
        Ok(Scan::Done(head)) => head,
        Ok(Scan::NeedMore { .. }) => return Err("cut in the main header".into()),
        Err(error) => return Err(error.to_string()),
    };
    Native::supports(&head.header).map_err(|error| error.to_string())?;
    let (mut same, mut refused) = (0, 0);
    for reduce in 0..=head.header.min_levels() {
        let config = CodecConfig::from_header(&head.header, reduce);
        let theirs = TileCodec::with_decoder(&config, Arc::new(OpenJpeg)).map_err(|error| error.to_string())?;
        for build in [Build::Avx2, Build::Portable] {
            let ours = TileCodec::with_native(&config, Native::new(build)).map_err(|error| error.to_string())?;
            for (tile, chunk) in tiles(bytes, &head) {
                match (decoded(&ours, &chunk), decoded(&theirs, &chunk)) {
                    (Ok(found), Ok(expected)) => {
                        assert!(found == expected, "{} tile {tile} at {reduce}", path.display())
                    }
                    (Ok(_), Err(error)) => panic!("{} tile {tile} at {reduce}: OpenJPEG says {error}", path.display()),
                    (Err(error), theirs) => {
                        let says = if theirs.is_ok() { "OpenJPEG decodes it" } else { "so does OpenJPEG" };
                        eprintln!("{} tile {tile} at {reduce} is refused, {says}: {error}", path.display());
                        refused += 1;
                        continue;
                    }
                }
                same += 1;
            }
        }
    }
    Ok((same, refused))
}

#[test]
fn streams_of_others_are_decoded_as_openjpeg_does_or_refused() {
    let Some(folder) = std::env::var_os("S2ICE_STREAMS") else {
        eprintln!("S2ICE_STREAMS names no folder of files");
        return;
    };
    let mut paths = Vec::new();
    files(Path::new(&folder), &mut paths);
    assert!(!paths.is_empty(), "no JPEG 2000 file below S2ICE_STREAMS");
    paths.sort();
    let (mut exact, mut tiles, mut damaged, mut others) = (0, 0, 0, 0);
    for path in &paths {
        match compare(path, &std::fs::read(path).unwrap()) {
            Ok((same, refused)) => {
                exact += usize::from(same > 0 && refused == 0);
                tiles += same;
                damaged += refused;
            }
            Err(reason) => {
                eprintln!("{}: {reason}", path.display());
                others += 1;
            }
        }
    }
    eprintln!(
        "{} files: {exact} exact ({tiles} tiles, levels and builds), {damaged} tiles refused, {others} files not for us",
        paths.len()
    );
}
