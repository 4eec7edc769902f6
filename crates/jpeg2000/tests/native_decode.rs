//! The decoder of this crate against OpenJPEG, sample for sample, on tiles and windows of many kinds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod common;
#[path = "common/encode.rs"]
mod encode;

use common::{data, golden, head, hop};
use s2ice_jpeg2000::decode::native::{Build, Native};
use s2ice_jpeg2000::decode::OpenJpeg;
use s2ice_jpeg2000::{CodecConfig, MainHeader, TileCodec, Window};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Codecs of both builds, and OpenJPEG's.
fn codecs(header: &MainHeader, reduce: u8) -> ([TileCodec; 2], TileCodec) {
    let config = CodecConfig::from_header(header, reduce);
    let ours = [Build::Avx2, Build::Portable].map(|build| TileCodec::with_native(&config, Native::new(build)).unwrap());
    (ours, TileCodec::with_decoder(&config, Arc::new(OpenJpeg)).unwrap())
}

fn decoded(codec: &TileCodec, chunk: &[u8], window: Option<&Window>) -> Result<Vec<u8>, String> {
    let mut out = vec![0xA5; codec.output_bytes(window).unwrap()];
    codec.decode(chunk, 1, window, &mut out).map_err(|e| e.to_string())?;
    Ok(out)
}

#[test]
fn every_real_tile_at_every_level() {
    let Some(dir) = data() else { return };
    let mut files = golden(&dir);
    files.reverse();
    let (tiles, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    common::two_threads(&files, |file| {
        let head = head(&file.bytes);
        if Native::supports(&head.header).is_err() {
            refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        for reduce in 0..=head.header.min_levels() {
            if head.header.geometry().unwrap().reduced(reduce).is_err() {
                continue;
            }
            let (ours, theirs) = codecs(&head.header, reduce);
            let mut seen = std::collections::HashSet::new();
            for (offset, sot) in hop(&file.bytes, head.first_sot) {
                let chunk = &file.bytes[offset as usize..][..sot.psot as usize];
                // Masks hold the same empty tile hundreds of times.
                if !seen.insert(chunk[6..].to_vec()) {
                    continue;
                }
                let expected = decoded(&theirs, chunk, None).unwrap();
                for ours in &ours {
                    assert!(decoded(ours, chunk, None).unwrap() == expected, "{} tile {} at {reduce}", file.path, sot.tile);
                }
                tiles.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    eprintln!("{} tiles are the same, {} files refused", tiles.into_inner(), refused.into_inner());
}
