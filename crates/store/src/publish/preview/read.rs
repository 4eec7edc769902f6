//! A raster read through a store's references: whole where it is small, else the beginnings of its tiles.

use bytes::Bytes;
use s2ice_jpeg2000::{CodecConfig, MainHeader, TileCodec, reduced_size};
use s2ice_manifest::encoding::Encoding;
use s2ice_manifest::profile::HeaderProfile;
use s2ice_manifest::source::location::{Source, SourceError, SourceUrl};

use super::file::{File, Trouble};
use super::limits::Limits;
use super::mean::Mean;
use super::overview::{beginnings, reduction};
use crate::export::{Cube, Raster};
use crate::held::HeldReference;
use crate::publish::subject::Reached;

/// Digital number without data.
const NODATA: u16 = 0;

/// Largest raster that is read whole, bytes: many times what one at 60 m has.
const RASTER: u64 = 32 << 20;

/// The same where the beginnings of its tiles would do.
const SMALL_RASTER: u64 = 2 << 20;

/// Longest request, bytes.
const REQUEST: u64 = 8 << 20;

/// Requests for a raster.
const REQUESTS: usize = 16;

/// Bytes between two tiles that are read as well, rather than asking twice.
const GAP: u64 = 64 << 10;

/// Largest tile, pixels.
const PIXELS: u64 = 1 << 24;

/// Why a picture was not made.
#[derive(Debug)]
pub(super) enum Unread {
    /// What is wrong with the files, or with reaching them.
    Files(String),
    /// The place does not answer, whatever file it is asked for.
    Place(String),
    /// No more may be read in this publication.
    Spent,
}

/// Tiles of a file that are read in one request.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    begin: u64,
    end: u64,
    /// Their places among the references.
    tiles: Vec<usize>,
}

/// The means of a raster.
pub(super) async fn band(cube: &Cube, raster: &Raster<'_>, limits: &Limits) -> Result<Mean, Unread> {
    let files = |reason: String| Unread::Files(reason);
    let held = cube.references(raster).await.map_err(|error| files(error.to_string()))?;
    let profile = &raster.array.header;
    let header = main_header(profile).map_err(files)?;
    let reduce = reduction(&header, profile.image);
    let size = (reduced_size(profile.image.0, reduce), reduced_size(profile.image.1, reduce));
    let Some(first) = held.first() else { return Ok(Mean::new(size)) };
    let address = cube.address(first);
    if let Some(other) = held.iter().map(|one| cube.address(one)).find(|other| *other != address) {
        return Err(files(format!("one raster lies in two files, {address} and {other}")));
    }
    let container =
        cube.container_of(first).ok_or_else(|| files(format!("{address} is in no container of the store")))?;
    let place = container.url_prefix();
    if let Some(reason) = limits.left_alone(place) {
        return Err(Unread::Place(format!("{place} is left alone, it answered nobody: {reason}")));
    }
    let (folder, path) = SourceUrl::parse_file(&address).map_err(|error| files(error.to_string()))?;
    let read = match Source::open(&folder, &Reached::behind(container).options()) {
        Ok(source) => {
            let file = File { source, address: &address, path: &path, header: &header };
            tiles(&file, &held, reduce, limits).await
        }
        Err(error) => Err(error.into()),
    };
    let silence = read.as_ref().err().filter(|error| match error {
        Trouble::Source(error) => error.is_unseen() || error.concerns_whole_source(),
        Trouble::File(_) | Trouble::Spent => false,
    });
    limits.note(place, silence.map(Trouble::to_string));
    let tiles = read.map_err(|error| match error {
        Trouble::Spent => Unread::Spent,
        // What costs time costs it for every file.
        Trouble::Source(error @ (SourceError::Unreachable { .. } | SourceError::Timeout { .. })) => {
            Unread::Place(error.to_string())
        }
        error => files(error.to_string()),
    })?;
    let places: Vec<(u32, u32)> = held.iter().map(|one| (one.row, one.column)).collect();
    let decoded = tokio::task::spawn_blocking(move || decoded(&header, reduce, size, &places, &tiles)).await;
    let decoded = decoded.map_err(|error| files(error.to_string()))?;
    decoded.map_err(|reason| files(format!("{address}: {reason}")))
}

fn main_header(profile: &HeaderProfile) -> Result<MainHeader, String> {
    match &profile.encoding {
        Encoding::Jpeg2000 { codec_header } => MainHeader::parse(codec_header).map_err(|error| error.to_string()),
        _ => Err("it is no JPEG 2000".to_owned()),
    }
}

/// What to ask a file for, to have all these ranges (offset and length), `most` bytes together: neighbours in one request.
///
/// # Errors
/// In words: they are too many or too far apart, or end beyond any file.
fn runs(ranges: &[(u64, u64)], most: u64) -> Result<Vec<Run>, String> {
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by_key(|at| ranges[*at]);
    let mut runs: Vec<Run> = Vec::new();
    for at in order {
        let (begin, length) = ranges[at];
        let end = begin.checked_add(length).ok_or("a tile ends beyond any file")?;
        match runs.last_mut() {
            Some(run) if begin.saturating_sub(run.end) <= GAP && end.max(run.end) - run.begin <= REQUEST => {
                run.end = run.end.max(end);
                run.tiles.push(at);
            }
            _ => runs.push(Run { begin, end, tiles: vec![at] }),
        }
    }
    let bytes = runs.iter().try_fold(0u64, |sum, run| sum.checked_add(run.end - run.begin));
    if runs.len() > REQUESTS || bytes.is_none_or(|bytes| bytes > most) {
        return Err(format!("its tiles take more than {REQUESTS} requests or {} MB", most >> 20));
    }
    Ok(runs)
}

/// What is needed of the tiles of a raster: neighbours in one request where they are small, else the beginning of each.
async fn tiles(file: &File<'_>, held: &[HeldReference], reduce: u8, limits: &Limits) -> Result<Vec<Bytes>, Trouble> {
    let ranges: Vec<_> = held.iter().map(|one| (one.reference.offset, one.reference.length)).collect();
    match runs(&ranges, if reduce > 0 { SMALL_RASTER } else { RASTER }) {
        Ok(runs) => joined(file, held, &runs, limits).await,
        Err(_) if reduce > 0 => beginnings(file, held, reduce, limits).await,
        Err(reason) => Err(file.trouble(&reason)),
    }
}

/// Whole tiles, run by run.
async fn joined(file: &File<'_>, held: &[HeldReference], runs: &[Run], limits: &Limits) -> Result<Vec<Bytes>, Trouble> {
    if !limits.take(runs.iter().map(|run| run.end - run.begin).sum()) {
        return Err(Trouble::Spent);
    }
    let mut tiles = vec![Bytes::new(); held.len()];
    for run in runs {
        let fetched = file.source.get_range(file.path, run.begin..run.end).await?;
        for at in &run.tiles {
            let (Some(one), Some(tile)) = (held.get(*at), tiles.get_mut(*at)) else { continue };
            file.checked(one, &fetched)?;
            let begin = usize::try_from(one.reference.offset - run.begin).ok();
            let length = usize::try_from(one.reference.length).ok();
            let range = begin.zip(length).and_then(|(begin, length)| Some(begin..begin.checked_add(length)?));
            let range = range.filter(|range| range.end <= fetched.bytes.len());
            *tile = fetched.bytes.slice(range.ok_or_else(|| file.trouble("it ends before its tiles do"))?);
        }
    }
    Ok(tiles)
}

/// Decodes tiles without the last `reduce` resolutions and averages them down; `size` is that of the raster then.
///
/// # Errors
/// In words: a tile is damaged, or of another kind than reflectance has.
fn decoded(
    main: &MainHeader,
    reduce: u8,
    size: (u32, u32),
    places: &[(u32, u32)],
    tiles: &[Bytes],
) -> Result<Mean, String> {
    let text = |error: s2ice_jpeg2000::Error| error.to_string();
    let codec = TileCodec::new(&CodecConfig::from_header(main, reduce)).map_err(text)?;
    let (sample, (height, width)) = (codec.dtype(), codec.chunk_shape());
    if sample.bytes != 2 || sample.signed || codec.components() != 1 {
        return Err("its samples are not those of reflectance".to_owned());
    }
    if u64::from(height) * u64::from(width) > PIXELS {
        return Err(format!("its tiles have {height} x {width} pixels"));
    }
    let mut mean = Mean::new(size);
    let mut bytes = vec![0; codec.output_bytes(None).map_err(text)?];
    for ((row, column), tile) in places.iter().zip(tiles) {
        codec.decode(tile, i64::from(NODATA), None, &mut bytes).map_err(text)?;
        let samples: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_ne_bytes([pair[0], pair[1]])).collect();
        let corner = (row.saturating_mul(height), column.saturating_mul(width));
        mean.add(corner, width, &samples, NODATA);
    }
    Ok(mean)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn run(begin: u64, end: u64, tiles: &[usize]) -> Run {
        Run { begin, end, tiles: tiles.to_vec() }
    }

    #[test]
    fn neighbours_are_read_together() {
        assert_eq!(runs(&[(300, 50), (100, 200)], RASTER).unwrap(), [run(100, 350, &[1, 0])]);
        let far = 350 + GAP;
        assert_eq!(runs(&[(100, 250), (far, 10)], RASTER).unwrap(), [run(100, far + 10, &[0, 1])]);
        assert_eq!(runs(&[(100, 250), (far + 1, 10)], RASTER).unwrap().len(), 2);
        let large: Vec<_> = (0..5u64).map(|n| (n * (3 << 20), 3 << 20)).collect();
        let large: Vec<_> = runs(&large, RASTER).unwrap().into_iter().map(|run| run.tiles).collect();
        assert_eq!(large, [vec![0, 1], vec![2, 3], vec![4]]);
        assert_eq!(runs(&[], RASTER).unwrap(), []);
    }

    #[test]
    fn what_is_too_much_is_not_read() {
        let apart: Vec<_> = (0..17u64).map(|n| (n << 20, 10)).collect();
        assert!(runs(&apart, RASTER).unwrap_err().contains("16 requests"));
        assert!(runs(&apart[1..], RASTER).is_ok());
        assert!(runs(&[(0, RASTER + 1)], RASTER).is_err());
        assert!(runs(&[(u64::MAX, 2)], RASTER).unwrap_err().contains("beyond any file"));
        assert!(runs(&[(0, 1 << 63), (1 << 62, u64::MAX >> 1)], RASTER).is_err());
    }
}
