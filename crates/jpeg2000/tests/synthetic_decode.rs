//! Every kind of codestream that Part 1 allows and the codec accepts, made by an encoder: tile by tile like the whole image.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod common;
#[path = "common/encode.rs"]
mod encode;

use common::{head, hop};
use encode::{Recipe, encode};
use proptest::prelude::*;
use s2ice_jpeg2000::decode::{OpenJpeg, TileJob};
use s2ice_jpeg2000::packet::prefix_lengths_by_walking;
use s2ice_jpeg2000::{
    CodecConfig, Error, MainHeader, Rect, Scan, TileCodec, TileDecoder, TlmEntry, TlmTable, Window, prefix_lengths,
    reduced_size,
};

/// The whole image by OpenJPEG itself, component first.
fn whole_image(bytes: &[u8], header: &MainHeader, reduce: u8) -> Vec<Vec<i32>> {
    let siz = header.siz();
    let tile = Rect { x0: 0, y0: 0, x1: siz.x1, y1: siz.y1 };
    let job = TileJob { codestream: bytes, tile, area: tile, reduce, components: u32::from(siz.component_count()) };
    let mut planes = Vec::new();
    OpenJpeg
        .decode(&job, &mut |_, samples| planes.push(samples.to_vec()))
        .unwrap_or_else(|e| panic!("whole image: {e}"));
    planes
}

fn sample(out: &[u8], at: usize, codec: &TileCodec) -> i32 {
    let dtype = codec.dtype();
    match (dtype.bytes, dtype.signed) {
        (1, false) => i32::from(out[at]),
        (1, true) => i32::from(i8::from_ne_bytes([out[at]])),
        (_, false) => i32::from(u16::from_ne_bytes([out[2 * at], out[2 * at + 1]])),
        (_, true) => i32::from(i16::from_ne_bytes([out[2 * at], out[2 * at + 1]])),
    }
}

/// The bytes of each tile, all its tile-parts.
fn chunks(bytes: &[u8], first_sot: u64, end: u64, tiles: u32) -> Vec<Vec<u8>> {
    let parts = hop(bytes, first_sot);
    let entries = parts.iter().map(|(_, s)| TlmEntry { tile: s.tile, length: s.psot }).collect();
    let spans = TlmTable { entries }.tile_spans(first_sot, end, tiles).unwrap();
    spans.iter().map(|s| bytes[s.offset as usize..][..s.length as usize].to_vec()).collect()
}

/// A window from the parts that it needs, where these can be told, is that of the whole chunk.
fn compare_parts(codec: &TileCodec, chunk: &[u8], window: &Window, recipe: &Recipe) {
    let head = chunk.len().min(1 << 12);
    let Scan::Done(plan) = codec.plan(&chunk[..head], Some(window), 0).unwrap() else { panic!("a long head") };
    // How many tile-parts the encoder makes is its own matter.
    assert!(recipe.tile_parts || plan.is_some() == (recipe.plt && !recipe.irreversible), "{recipe:?}");
    let Some(plan) = plan else { return };
    let mut parts = vec![(0, &chunk[..plan.head as usize])];
    let Scan::Done(Some(plan)) = codec.plan(parts[0].1, Some(window), 0).unwrap() else { panic!("the head is one") };
    parts.extend(plan.ranges.iter().map(|r| (r.start, &chunk[r.start as usize..r.end as usize])));
    let mut expected = vec![0; codec.output_bytes(Some(window)).unwrap()];
    let mut out = expected.clone();
    codec.decode(chunk, 1, Some(window), &mut expected).unwrap();
    codec.decode_parts(&parts, 1, Some(window), &mut out).unwrap_or_else(|e| panic!("{e}: {recipe:?}"));
    assert!(out == expected, "{recipe:?}");
}

fn check(recipe: &Recipe) -> bool {
    let Some(bytes) = encode(recipe) else { return false };
    let head = head(&bytes);
    let header = &head.header;
    let grid = header.grid().unwrap();
    let chunks = chunks(&bytes, head.first_sot, bytes.len() as u64, grid.tiles());
    if let Some(tlm) = header.tlm() {
        let spans = tlm.tile_spans(head.first_sot, bytes.len() as u64, grid.tiles()).unwrap();
        assert!(spans.iter().zip(&chunks).all(|(s, c)| s.length == c.len() as u64), "TLM of {recipe:?}");
    }
    // The encoder loses samples of tiles that have nothing in their lowest resolution: two decoders agree about that.
    let lowest = |low, high| reduced_size(low, header.min_levels()) < reduced_size(high, header.min_levels());
    let rects = (0..grid.tiles()).map(|t| grid.tile_rect(t).unwrap());
    let lossless = !recipe.irreversible && rects.into_iter().all(|r| lowest(r.x0, r.x1) && lowest(r.y0, r.y1));
    for reduce in 0..=header.min_levels() {
        let codec = match TileCodec::new(&CodecConfig::from_header(header, reduce)) {
            Ok(codec) => codec,
            Err(Error::Unsupported { .. }) => {
                let regular = |n: u32| n.is_multiple_of(1 << reduce);
                assert!(!regular(recipe.tile.0) || !regular(recipe.tile.1));
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let image = whole_image(&bytes, header, reduce);
        let (h, w) = codec.chunk_shape();
        let across = reduced_size(recipe.width, reduce);
        for (tile, chunk) in (0..).zip(&chunks) {
            let rect = grid.tile_rect(tile).unwrap();
            let r = |n| reduced_size(n, reduce);
            let compare = |chunk: &[u8], window: Option<Window>| {
                let mut out = vec![0xA5; codec.output_bytes(window.as_ref()).unwrap()];
                codec.decode(chunk, 1, window.as_ref(), &mut out).unwrap_or_else(|e| panic!("{e}: {recipe:?}"));
                let window = window.unwrap_or(Window { y: 0..h, x: 0..w });
                let mut at = 0;
                for (c, plane) in image.iter().enumerate() {
                    for y in window.y.clone() {
                        for x in window.x.clone() {
                            let (iy, ix) = (r(rect.y0) + y, r(rect.x0) + x);
                            let inside = iy < r(rect.y1) && ix < r(rect.x1);
                            let expected = if inside { plane[(iy * across + ix) as usize] } else { 1 };
                            assert_eq!(
                                sample(&out, at, &codec),
                                expected,
                                "tile {tile} reduce {reduce} {y} {x}: {recipe:?}"
                            );
                            if inside && reduce == 0 && lossless {
                                assert_eq!(expected, recipe.sample(c as u32, iy, ix), "{recipe:?}");
                            }
                            at += 1;
                        }
                    }
                }
            };
            compare(chunk, None);
            let window = Window { y: h / 4..h / 2 + 1, x: w / 3..w };
            compare(chunk, Some(window.clone()));
            compare_parts(&codec, chunk, &window, recipe);
            match prefix_lengths(header, chunk) {
                Ok(lengths) => {
                    assert!(recipe.progression < 2 && recipe.layers == 1);
                    assert_eq!(prefix_lengths_by_walking(header, chunk).unwrap(), lengths, "{recipe:?}");
                    if reduce > 0 {
                        let length = lengths[usize::from(header.min_levels() - reduce)] as usize;
                        compare(&chunk[..length], None);
                        compare(&chunk[..length], Some(Window { y: 0..h / 2 + 1, x: w / 2..w }));
                        let mut out = vec![0; codec.output_bytes(None).unwrap()];
                        codec.decode(&chunk[..length - 1], 0, None, &mut out).unwrap_err();
                    }
                }
                Err(Error::NotPrefixable { .. }) => {
                    let parts = recipe.tile_parts && recipe.levels > 0;
                    assert!(recipe.progression >= 2 || recipe.layers > 1 || parts, "{recipe:?}");
                }
                Err(error) => panic!("{error}: {recipe:?}"),
            }
        }
    }
    true
}

fn recipes() -> impl Strategy<Value = Recipe> {
    let shape = (1u32..80, 1u32..70, 3u32..50, 3u32..40, 1u32..5, 1u32..17, any::<bool>(), any::<bool>());
    let coding = (0u32..5, 0u8..5, 1u32..4, any::<bool>(), any::<bool>(), prop::bool::weighted(0.2), 0i32..64);
    let blocks = (
        2u32..6,
        2u32..6,
        prop::option::of((3u32..7, 3u32..7)),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<u32>(),
    );
    (shape, coding, blocks).prop_map(|(s, c, b)| {
        let even = |n: u32| n.div_ceil(8) * 8;
        // Most tile sizes can be reduced; some are odd.
        let tile = if s.2 % 4 == 0 { (s.2, s.3) } else { (even(s.2), even(s.3)) };
        // Where coding passes end in bytes of their own, the encoder writes beyond the buffers of small code-blocks.
        let terminating = c.6 & 5 != 0;
        let tile = if terminating { (48, 32) } else { tile };
        // Split any other way, or with resolutions that have no samples, the encoder loses or repeats packets; nor
        // does its 9-7 transform take single samples.
        let tile_parts = b.3 && c.1 <= 2;
        let size = |n: u32, tile: u32| if tile_parts || terminating || c.5 { n.next_multiple_of(tile) } else { n };
        // The encoder wants a sample per level at least.
        let levels = c.0.min(if terminating { 2 } else { tile.0.min(tile.1).ilog2() });
        // Its vertical pass reads beyond tiles without rows in a resolution.
        let last_row = s.1 - (s.1 - 1) % tile.1 - 1;
        let hollow = reduced_size(last_row, levels as u8) == reduced_size(s.1, levels as u8);
        Recipe {
            width: size(s.0, tile.0),
            height: if hollow { s.1.next_multiple_of(tile.1) } else { size(s.1, tile.1) },
            tile,
            components: s.4,
            depth: if terminating { s.5.min(8) } else { s.5 },
            signed: s.6,
            mct: s.7 && s.4 >= 3,
            levels,
            progression: c.1,
            layers: c.2,
            sop: c.3,
            eph: c.4,
            irreversible: c.5,
            style: c.6,
            block: if terminating { (b.0.max(3), b.1.max(3)) } else { (b.0, b.1) },
            precinct: b.2.filter(|_| !terminating),
            tile_parts,
            plt: b.4,
            tlm: b.5,
            seed: b.6,
            ..Recipe::default()
        }
    })
}

proptest! {
    #![proptest_config(common::config(300))]

    #[test]
    fn tiles_decode_as_the_whole_image_does(recipe in recipes()) {
        prop_assume!(check(&recipe));
    }

    #[test]
    fn damaged_chunks_are_decoded_or_refused(
        progression in 0u8..5,
        layers in 1u32..3,
        style in 0i32..64,
        markers in any::<bool>(),
        tile_parts in any::<bool>(),
        reduce in 0u8..3,
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let tile_parts = tile_parts && progression <= 2;
        let recipe = Recipe {
            width: 96, height: 64, tile: (48, 32), depth: 8, block: (3, 3), components: 2, sop: markers, eph: markers,
            progression, layers, style, tile_parts, ..Recipe::default()
        };
        let bytes = encode(&recipe).unwrap();
        let head = head(&bytes);
        let mut chunk = chunks(&bytes, head.first_sot, bytes.len() as u64, 4).swap_remove(3);
        for (at, value) in hits {
            let at = at.index(chunk.len());
            chunk[at] = value;
        }
        if let Some(cut) = cut {
            chunk.truncate(cut.index(chunk.len()));
        }
        let codec = TileCodec::new(&CodecConfig::from_header(&head.header, reduce)).unwrap();
        let mut out = vec![0; codec.output_bytes(None).unwrap()];
        if let Err(error) = codec.decode(&chunk, 0, None, &mut out) {
            prop_assert!(error.offset() <= chunk.len() as u64, "{}", error);
        }
        let window = Window { y: 1..5, x: 2..9 };
        let mut out = vec![0; codec.output_bytes(Some(&window)).unwrap()];
        let _ = codec.decode(&chunk, 0, Some(&window), &mut out);
        let _ = codec.constant_value(&chunk);
        let _ = prefix_lengths(&head.header, &chunk);
        let _ = s2ice_jpeg2000::prefix_lengths_from_head(&head.header, &chunk);
    }

    #[test]
    fn damaged_headers_are_taken_or_refused(
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        reduce in 0u8..4,
    ) {
        let bytes = encode(&Recipe { layers: 2, ..Recipe::default() }).unwrap();
        let head = head(&bytes);
        let chunk = chunks(&bytes, head.first_sot, bytes.len() as u64, 4).swap_remove(1);
        let mut header = head.header.codec_header();
        for (at, value) in hits {
            let at = at.index(header.len());
            header[at] = value;
        }
        if let Ok(header) = MainHeader::parse(&header) {
            let _ = prefix_lengths(&header, &chunk);
            if let Ok(codec) = TileCodec::new(&CodecConfig::from_header(&header, reduce)) {
                // Stay with what a test machine has room for.
                if codec.output_bytes(None).unwrap() < 1 << 22 {
                    let mut out = vec![0; codec.output_bytes(None).unwrap()];
                    let _ = codec.decode(&chunk, 0, None, &mut out);
                    let _ = codec.constant_value(&chunk);
                }
            }
        }
    }
}

#[test]
fn arguments_are_checked() {
    let bytes = encode(&Recipe { depth: 8, ..Recipe::default() }).unwrap();
    let head = head(&bytes);
    let chunk = chunks(&bytes, head.first_sot, bytes.len() as u64, 4).swap_remove(0);
    let codec = TileCodec::new(&CodecConfig::from_header(&head.header, 0)).unwrap();
    let mut out = vec![0; codec.output_bytes(None).unwrap()];
    for fill in [-1, 256] {
        let error = codec.decode(&chunk, fill, None, &mut out).unwrap_err().to_string();
        assert!(error.contains("between 0 and 255"), "{error}");
    }
    let error = codec.decode(&chunk, 0, None, &mut out[1..]).unwrap_err().to_string();
    assert!(error.contains("1023 bytes for 1024"), "{error}");
    #[allow(clippy::reversed_empty_ranges)]
    for window in [Window { y: 0..33, x: 0..1 }, Window { y: 3..2, x: 0..1 }, Window { y: 0..1, x: 40..41 }] {
        assert!(codec.decode(&chunk, 0, Some(&window), &mut out).unwrap_err().to_string().contains("not inside"));
    }
    codec.decode(&chunk, 0, Some(&Window { y: 5..5, x: 0..32 }), &mut []).unwrap();
    let error = TileCodec::new(&CodecConfig::from_header(&head.header, 3)).unwrap_err().to_string();
    assert!(error.contains("only 2 can be"), "{error}");
}
