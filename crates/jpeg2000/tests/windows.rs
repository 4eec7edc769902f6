//! Random windows, each from the parts of a tile that its plan names, like the same part of the whole tile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod common;
#[path = "common/encode.rs"]
mod encode;

use common::{data, golden, head, hop};
use encode::{Recipe, encode};
use proptest::prelude::*;
use s2ice_jpeg2000::{CodecConfig, MainHeader, Plan, Scan, TileCodec, Window};

/// Numbers that look random and are the same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(n)) as u32
    }

    fn window(&mut self, (height, width): (u32, u32), most: u32) -> Window {
        let mut axis = |n: u32| {
            let length = 1 + self.below(most.min(n));
            let start = self.below(n - length + 1);
            start..start + length
        };
        Window { y: axis(height), x: axis(width) }
    }
}

/// Windows per kind of raster: 1000, and 10 times as many in the long form.
fn count() -> u32 {
    common::config(500).cases * 2
}

fn whole(codec: &TileCodec, chunk: &[u8], window: Option<&Window>) -> Vec<u8> {
    let mut out = vec![0xA5; codec.output_bytes(window).unwrap()];
    codec.decode(chunk, 3, window, &mut out).unwrap();
    out
}

/// The part of the decoded chunk that a window is.
fn cut(codec: &TileCodec, pixels: &[u8], window: &Window) -> Vec<u8> {
    let ((h, w), bytes) = (codec.chunk_shape(), codec.dtype().bytes);
    let rows = (0..codec.components()).flat_map(|c| window.y.clone().map(move |y| c * h + y));
    rows.flat_map(|row| {
        let at = |x: u32| (row as usize * w as usize + x as usize) * bytes;
        pixels[at(window.x.start)..at(window.x.end)].to_vec()
    })
    .collect()
}

/// The plan of a window, asked for with as many first bytes as it takes.
fn planned(codec: &TileCodec, chunk: &[u8], first: usize, window: &Window, gap: u64) -> Option<(usize, Plan)> {
    let mut have = first.min(chunk.len());
    loop {
        match codec.plan(&chunk[..have], Some(window), gap).unwrap() {
            Scan::NeedMore { up_to } => {
                assert!(up_to as usize > have);
                have = up_to as usize;
            }
            Scan::Done(plan) => break plan.map(|plan| (have, plan)),
        }
    }
}

/// Decodes from what the plan names and nothing else; returns the pixels and the bytes that took.
fn from_parts(codec: &TileCodec, chunk: &[u8], have: usize, plan: &Plan, window: &Window) -> (Vec<u8>, u64) {
    let mut parts = vec![(0, &chunk[..have])];
    parts.extend(plan.ranges.iter().map(|r| (r.start, &chunk[r.start as usize..r.end as usize])));
    let mut out = vec![0xA5; codec.output_bytes(Some(window)).unwrap()];
    codec.decode_parts(&parts, 3, Some(window), &mut out).unwrap();
    for missing in 1..parts.len() {
        let mut less = parts.clone();
        less.remove(missing);
        codec.decode_parts(&less, 3, Some(window), &mut vec![0; out.len()]).unwrap_err();
    }
    (out, parts.iter().map(|(_, bytes)| bytes.len() as u64).sum())
}

/// Compares `windows` windows of a tile at every reduction; returns the share of bytes that small windows took.
fn compare(header: &MainHeader, chunk: &[u8], windows: u32, random: &mut Random) -> f64 {
    let levels = u32::from(header.min_levels());
    let (mut read, mut small) = (0, 0u32);
    for reduce in 0..=levels {
        let Ok(codec) = TileCodec::new(&CodecConfig::from_header(header, reduce as u8)) else { continue };
        let full = whole(&codec, chunk, None);
        // Half of the windows at full resolution.
        let share = if reduce == 0 { windows.div_ceil(2) } else { windows.div_ceil(2 * levels) };
        for _ in 0..share {
            let most = [16, 64, u32::MAX][random.below(3) as usize];
            let window = random.window(codec.chunk_shape(), most);
            let first = [0, 100, chunk.len() as u32 / 12][random.below(3) as usize] as usize;
            let gap = [0, 0, 1000, u64::MAX][random.below(4) as usize];
            let (have, plan) = planned(&codec, chunk, first, &window, gap).unwrap();
            assert_eq!(plan.total, chunk.len() as u64);
            assert_eq!(planned(&codec, &chunk[..plan.head as usize], 0, &window, gap).unwrap().0, plan.head as usize);
            assert!(plan.lead >= plan.head && plan.lead <= plan.total);
            let (pixels, bytes) = from_parts(&codec, chunk, have, &plan, &window);
            assert!(pixels == cut(&codec, &full, &window), "{window:?} at reduce {reduce}, first {first}, gap {gap}");
            if most <= 64 && reduce == 0 && gap == 0 && first <= 100 {
                read += bytes;
                small += 1;
            }
        }
    }
    read as f64 / (f64::from(small.max(1)) * chunk.len() as f64)
}

#[test]
fn windows_of_real_tiles_need_a_part_of_them() {
    let Some(dir) = data() else { return };
    // Of each its longest tile, two inside and one at the edge. Of the longest, the most that windows of up to 64 x 64
    // samples take.
    let kinds = [
        ("B09_60m.jp2", 0.35),
        ("AOT_20m.jp2", 0.5),
        ("SCL_20m.jp2", 0.25),
        ("AOT_10m.jp2", 0.5),
        ("TCI_60m.jp2", 0.6),
        ("MSK_QUALIT_B10.jp2", 1.0),
    ];
    let files = golden(&dir);
    common::two_threads(&kinds, |(name, most)| {
        let file = files.iter().find(|f| f.path.ends_with(name)).unwrap();
        let header = head(&file.bytes).header;
        let tiles = hop(&file.bytes, file.number("first_sot"));
        let longest = (0..tiles.len()).max_by_key(|i| tiles[*i].1.psot).unwrap();
        let mut random = Random(15444);
        for (index, pick) in [longest, tiles.len() / 2, tiles.len() / 3, tiles.len() - 1].into_iter().enumerate() {
            let (at, sot) = tiles[pick];
            let chunk = &file.bytes[at as usize..][..sot.psot as usize];
            let share = compare(&header, chunk, count().div_ceil(4), &mut random);
            eprintln!("{name} tile {pick} ({} bytes): {share:.3}", chunk.len());
            assert!(index > 0 || share <= *most, "{name}: {share}");
        }
    });
}

/// The layout of the ground segment's tiles of 10 m and of 20 m, of which no real reflectances are at hand.
fn band(tile: u32, precinct: u32, block: u32) -> Recipe {
    let (width, height) = (tile * 2 - 284, tile * 3 / 2);
    let (precinct, block) = (Some((precinct, precinct)), (block, block));
    Recipe { width, height, tile: (tile, tile), levels: 4, depth: 15, precinct, block, ..Recipe::default() }
}

fn tiles(bytes: &[u8]) -> (MainHeader, Vec<&[u8]>) {
    let head = head(bytes);
    let tiles = hop(bytes, head.first_sot).into_iter();
    (head.header, tiles.map(|(at, sot)| &bytes[at as usize..][..sot.psot as usize]).collect())
}

#[test]
fn windows_of_bands_need_a_quarter_of_a_tile() {
    let kinds = [("10 m", band(1024, 8, 6), 0.26), ("20 m", band(640, 7, 3), 0.18)];
    common::two_threads(&kinds, |(name, recipe, most)| {
        let bytes = encode(recipe).unwrap();
        let (header, tiles) = tiles(&bytes);
        let mut random = Random(1);
        for (index, chunk) in tiles.iter().enumerate() {
            let share = compare(&header, chunk, count().div_ceil(10), &mut random);
            eprintln!("{name} tile {index} ({} bytes): {share:.3}", chunk.len());
            assert!(index > 0 || share <= *most, "{name}: {share}");
        }
    });
}

#[test]
fn windows_of_the_irreversible_transform_are_those_of_the_whole() {
    let recipe = Recipe { irreversible: true, width: 200, height: 180, tile: (96, 96), levels: 3, ..Recipe::default() };
    let bytes = encode(&Recipe { precinct: Some((5, 5)), ..recipe }).unwrap();
    let (header, tiles) = tiles(&bytes);
    let mut random = Random(1);
    for reduce in 0..3 {
        let codec = TileCodec::new(&CodecConfig::from_header(&header, reduce)).unwrap();
        for chunk in &tiles {
            let full = whole(&codec, chunk, None);
            for _ in 0..count().div_ceil(12) {
                let window = random.window(codec.chunk_shape(), 40);
                assert!(planned(&codec, chunk, 100, &window, 0).is_none());
                assert!(whole(&codec, chunk, Some(&window)) == cut(&codec, &full, &window), "{window:?} at {reduce}");
            }
        }
    }
}

#[test]
fn tiles_that_do_not_tell_their_packets_are_read_as_a_whole() {
    let plain = Recipe::default();
    let unlike = [
        Recipe { plt: false, ..plain.clone() },
        Recipe { tile_parts: true, ..plain.clone() },
        Recipe { irreversible: true, ..plain.clone() },
    ];
    let window = Window { y: 3..5, x: 7..20 };
    for recipe in unlike {
        let bytes = encode(&recipe).unwrap();
        let (header, tiles) = tiles(&bytes);
        let codec = TileCodec::new(&CodecConfig::from_header(&header, 0)).unwrap();
        assert_eq!(planned(&codec, tiles[0], 0, &window, 0), None, "{recipe:?}");
        let mut out = vec![0; codec.output_bytes(Some(&window)).unwrap()];
        let error = codec.decode_parts(&[(0, tiles[0])], 0, Some(&window), &mut out).unwrap_err();
        assert!(error.to_string().contains("read as a whole only"), "{error}");
    }
    let bytes = encode(&plain).unwrap();
    let (header, tiles) = tiles(&bytes);
    let codec = TileCodec::new(&CodecConfig::from_header(&header, 0)).unwrap();
    let head = codec.head_bytes().unwrap() as usize;
    let (have, plan) = planned(&codec, tiles[0], head, &window, 0).unwrap();
    assert_eq!((have, plan.total), (head, tiles[0].len() as u64));
    // An open length, a length more, a packet less.
    let mut open = tiles[0].to_vec();
    open[6..10].fill(0);
    let mut longer = tiles[0].to_vec();
    longer[9] = longer[9].wrapping_add(1);
    for odd in [open, longer] {
        assert_eq!(planned(&codec, &odd, head, &window, 0), None);
    }
}

proptest! {
    #![proptest_config(common::config(500))]

    #[test]
    fn damaged_parts_are_decoded_or_refused(
        recipe in (0u8..5, 1u32..3, any::<bool>(), 0i32..64),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        first in any::<prop::sample::Index>(),
        reduce in 0u8..3,
        corners in [0u32..12, 0u32..8, 1u32..8, 1u32..8],
        gap in prop_oneof![Just(0), Just(40), any::<u64>()],
    ) {
        let (progression, layers, markers, style) = recipe;
        let recipe = Recipe {
            width: 96, height: 64, tile: (48, 32), depth: 8, block: (3, 3), components: 2, sop: markers, eph: markers,
            progression, layers, style, precinct: Some((4, 4)), ..Recipe::default()
        };
        let bytes = encode(&recipe).unwrap();
        let (header, tiles) = tiles(&bytes);
        let codec = TileCodec::new(&CodecConfig::from_header(&header, reduce)).unwrap();
        let [x, y, height, width] = corners;
        let (rows, columns) = codec.chunk_shape();
        let window = Window { y: y..(y + height).min(rows), x: x..(x + width).min(columns) };
        let full = whole(&codec, tiles[3], None);
        let mut chunk = tiles[3].to_vec();
        for (at, value) in &hits {
            let at = at.index(chunk.len());
            chunk[at] = *value;
        }
        let have = first.index(chunk.len());
        if let Ok(Scan::Done(Some(plan))) = codec.plan(&chunk[..have], Some(&window), gap) {
            prop_assert!(plan.ranges.iter().all(|r| r.start >= have as u64 && r.start < r.end && r.end <= plan.total));
            let mut parts = vec![(0, &chunk[..have])];
            parts.extend(plan.ranges.iter().filter_map(|r| {
                Some((r.start, chunk.get(r.start as usize..(r.end as usize).min(chunk.len()))?))
            }));
            let mut out = vec![0; codec.output_bytes(Some(&window)).unwrap()];
            let done = codec.decode_parts(&parts, 0, Some(&window), &mut out);
            if hits.is_empty() {
                done.unwrap();
                prop_assert!(out == cut(&codec, &full, &window));
            } else if let Err(error) = done {
                prop_assert!(error.offset() <= chunk.len() as u64, "{}", error);
            }
        }
    }
}
