//! The decoder of this crate against OpenJPEG, sample for sample, on tiles and windows of many kinds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod common;
#[path = "common/encode.rs"]
mod encode;

use common::{data, golden, head, hop};
use encode::{Recipe, encode};
use proptest::prelude::*;
use s2ice_jpeg2000::decode::native::{Build, Native};
use s2ice_jpeg2000::decode::{OpenJpeg, TileJob};
use s2ice_jpeg2000::{Chunk, CodecConfig, MainHeader, Rect, TileCodec, TileDecoder, Window, reduced_size};
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

/// Of every file 4 tiles (all in the long form) at every level; `golden_decode` has every tile of the best one.
#[test]
fn real_tiles_at_every_level() {
    let Some(dir) = data() else { return };
    let all = std::env::var_os("PROPTEST_CASES").is_some();
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
            let tiles_of = hop(&file.bytes, head.first_sot);
            let step = if all { 1 } else { tiles_of.len().div_ceil(4) };
            for (offset, sot) in tiles_of.into_iter().rev().step_by(step) {
                let chunk = &file.bytes[offset as usize..][..sot.psot as usize];
                // Masks hold the same empty tile hundreds of times.
                if !seen.insert(chunk[6..].to_vec()) {
                    continue;
                }
                let expected = decoded(&theirs, chunk, None).unwrap();
                for ours in &ours {
                    assert!(
                        decoded(ours, chunk, None).unwrap() == expected,
                        "{} tile {} at {reduce}",
                        file.path,
                        sot.tile
                    );
                }
                tiles.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    eprintln!("{} tiles are the same, {} files refused", tiles.into_inner(), refused.into_inner());
}

/// The planes of a tile, or what the decoder says.
fn planes(decoder: &dyn TileDecoder, job: &TileJob<'_>) -> Result<Vec<Vec<i32>>, String> {
    let mut out = Vec::new();
    decoder.decode(job, &mut |_, samples| out.push(samples.to_vec()))?;
    Ok(out)
}

/// The parts of the image that the encoder made, as tiles: all bytes of each.
fn chunks(bytes: &[u8], first_sot: u64) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    for (offset, sot) in hop(bytes, first_sot) {
        let tile = usize::from(sot.tile);
        out.resize(out.len().max(tile + 1), Vec::new());
        out[tile].extend_from_slice(&bytes[offset as usize..][..sot.psot as usize]);
    }
    out
}

/// A rectangle inside another, from four numbers, on the grid of a reduced tile.
fn part(tile: Rect, reduce: u8, [a, b, c, d]: [u32; 4]) -> Rect {
    let axis = |low: u32, high: u32, at: u32, length: u32| {
        let (first, last) = (reduced_size(low, reduce), reduced_size(high, reduce));
        let start = first + at % (last - first);
        let end = start + 1 + length % (last - start);
        let grid = |n: u32| (n << reduce).clamp(low, high);
        (grid(start), grid(end))
    };
    let ((x0, x1), (y0, y1)) = (axis(tile.x0, tile.x1, a, b), axis(tile.y0, tile.y1, c, d));
    Rect { x0, y0, x1, y1 }
}

/// Compares all tiles of an image at all reductions; returns how many there were.
fn compare(recipe: &Recipe, corners: [u32; 4]) -> Option<usize> {
    let bytes = encode(recipe)?;
    let head = head(&bytes);
    let header = &head.header;
    let components = recipe.components;
    let mut count = 0;
    for chunk in chunks(&bytes, head.first_sot) {
        let chunk = Chunk::parse(header, &chunk, 0).unwrap();
        let codestream = chunk.standalone(header).unwrap();
        let tile = chunk.rect;
        for reduce in 0..=header.min_levels() {
            let span = |low, high| reduced_size(high, reduce).saturating_sub(reduced_size(low, reduce));
            if span(tile.x0, tile.x1) == 0 || span(tile.y0, tile.y1) == 0 {
                continue;
            }
            for area in [tile, part(tile, reduce, corners)] {
                let job = TileJob { codestream: &codestream, tile, area, reduce, components };
                let expected = match planes(&OpenJpeg, &job) {
                    Ok(planes) => planes,
                    // Of tiles that begin between samples OpenJPEG tells another size than it decodes.
                    Err(error) if reduce > 0 && error == "another size came out" => continue,
                    Err(error) => panic!("{error}: {recipe:?}"),
                };
                for build in [Build::Avx2, Build::Portable] {
                    let found = planes(&Native::new(build), &job).unwrap();
                    assert!(found == expected, "{build:?} {tile:?} {area:?} reduce {reduce}: {recipe:?}");
                }
                count += 1;
            }
        }
    }
    Some(count)
}

#[test]
fn lengths_of_packets_that_lie_change_no_sample() {
    let recipe =
        Recipe { width: 64, height: 64, tile: (64, 64), precinct: Some((4, 4)), depth: 3, ..Recipe::default() };
    let bytes = encode(&recipe).unwrap();
    let head = head(&bytes);
    let chunk = chunks(&bytes, head.first_sot).swap_remove(0);
    let ([ours, _], _) = codecs(&head.header, 0);
    let window = Window { y: 20..33, x: 9..30 };
    let expected = decoded(&ours, &chunk, Some(&window)).unwrap();
    // SOT, then PLT: marker, length, index, and the lengths.
    assert_eq!(chunk[12..14], [0xFF, 0x58]);
    let end = 14 + usize::from(u16::from_be_bytes([chunk[14], chunk[15]]));
    let mut lies = 0;
    for at in 17..end - 1 {
        let mut lying = chunk.clone();
        lying.swap(at, at + 1);
        if chunk[at..at + 2].iter().all(|byte| *byte < 0x80) && chunk[at] != chunk[at + 1] {
            assert!(decoded(&ours, &lying, Some(&window)).unwrap() == expected, "length {at}");
            lies += 1;
        }
    }
    assert!(lies > 10, "{lies}");
}

fn recipes() -> impl Strategy<Value = Recipe> {
    let shape = (1u32..70, 1u32..70, 0u32..3, 0u32..3, 0u32..70, 0u32..70, 1u32..5, 1u32..17);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<u32>());
    let coding = (0u32..6, 0u8..5, 1u32..6, prop_oneof![2 => Just(0u32), 1 => 2u32..60], 0u8..3);
    let blocks = (2u32..8, 2u32..8, prop::option::of((2u32..8, 2u32..8)));
    let origin = prop_oneof![1 => Just((0u32, 0u32)), 2 => (0u32..300, 0u32..300)];
    (shape, flags, coding, blocks, origin).prop_map(|(s, f, c, b, origin)| {
        let levels = c.0;
        // The encoder's transform reads beyond tiles that have no samples in a resolution.
        let least = 1 << levels;
        let tile = (s.0.max(least), s.1.max(least));
        let size = |tiles: u32, rest: u32, tile: u32| {
            let rest = (rest % tile).max(if tiles == 0 { least } else { 0 });
            tiles * tile + if rest < least { 0 } else { rest }
        };
        // Split any other way the encoder loses or repeats packets.
        let tile_parts = f.4 && c.1 <= 2;
        let exact = |size: u32, tile: u32| if tile_parts { size.next_multiple_of(tile) } else { size };
        Recipe {
            width: exact(size(s.2, s.4, tile.0), tile.0),
            height: exact(size(s.3, s.5, tile.1), tile.1),
            tile,
            components: s.6,
            depth: s.7,
            signed: f.0,
            mct: f.1 && s.6 >= 3,
            levels,
            progression: c.1,
            layers: c.2,
            rate: c.3,
            sop: f.2,
            eph: f.3,
            block: (b.0.min(12 - b.1), b.1),
            precinct: b.2.map(|(x, y)| (x.max(1), y.max(1))),
            tile_parts,
            seed: f.5,
            origin,
            // With fewer the encoder makes more bit-planes than its header tells.
            guard_bits: 4 + c.4,
            ..Recipe::default()
        }
    })
}

proptest! {
    #![proptest_config(common::config(500))]

    #[test]
    fn tiles_of_any_kind_are_those_of_openjpeg(recipe in recipes(), corners in [any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>()]) {
        prop_assume!(compare(&recipe, corners).is_some());
    }

    #[test]
    fn what_openjpeg_refuses_is_refused(
        progression in 0u8..5,
        layers in 1u32..3,
        block in 2u32..6,
        markers in any::<bool>(),
        reduce in 0u8..3,
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let recipe = Recipe {
            width: 96, height: 64, tile: (48, 32), depth: 8, block: (block, block), components: 2, sop: markers,
            eph: markers, progression, layers, ..Recipe::default()
        };
        let bytes = encode(&recipe).unwrap();
        let head = head(&bytes);
        let mut chunk = chunks(&bytes, head.first_sot).swap_remove(3);
        for (at, value) in hits {
            let at = at.index(chunk.len());
            chunk[at] = value;
        }
        if let Some(cut) = cut {
            chunk.truncate(cut.index(chunk.len()));
        }
        let (ours, theirs) = codecs(&head.header, reduce);
        for window in [None, Some(Window { y: 1..5, x: 2..9 })] {
            let [fast, portable] = ours.each_ref().map(|ours| decoded(ours, &chunk, window.as_ref()));
            prop_assert_eq!(&fast, &portable);
            if window.is_none() && decoded(&theirs, &chunk, None).is_err() {
                prop_assert!(fast.is_err());
            }
        }
    }
}
