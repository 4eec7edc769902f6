//! Configurations, chunks and windows with numbers as large as their fields hold.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use super::*;
use crate::samples::{self, COD, QCD};
use crate::segment::siz::{Component, Siz};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use std::ops::Range;

fn config(siz: &Siz, segments: &[&[u8]], reduce: u8) -> CodecConfig {
    CodecConfig { main_header: STANDARD.encode(samples::header_bytes(siz, segments)), reduce }
}

/// A tile-part of the given number, length and contents.
fn tile_part(tile: u16, psot: u32, body: &[u8]) -> Vec<u8> {
    let mut out = crate::segment::sot::Sot { tile, psot, tpsot: 0, tnsot: 1 }.write().to_vec();
    out.extend(Marker::SOD.bytes());
    out.extend_from_slice(body);
    out
}

#[test]
fn products_of_sides_that_overflow_are_refused() {
    for (components, side) in [
        (1, 1 << 15),
        (2, u32::MAX),
        (4, 1 << 31),
        // 2^64, which was taken for 0.
        (64, 1 << 29),
        (16384, 1 << 25),
        (16384, (1 << 30) - 1),
    ] {
        let mut siz = samples::siz();
        (siz.tile_width, siz.tile_height) = (side, side);
        siz.components = vec![siz.components[0]; components];
        let error = TileCodec::new(&config(&siz, &[&COD, &QCD], 0)).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        let words = format!("a tile of {components} x {side} x {side} samples");
        assert!(error.to_string().contains(&words), "{error}");
    }
    let mut siz = samples::siz();
    (siz.tile_width, siz.tile_height) = (1 << 14, 1 << 14);
    let codec = TileCodec::new(&config(&siz, &[&COD, &QCD], 0)).unwrap();
    assert_eq!(codec.output_bytes(None).unwrap(), 1 << 29);
}

#[test]
fn images_of_too_many_samples_on_one_side_are_refused() {
    let mut siz = samples::siz();
    (siz.x1, siz.tile_width, siz.tile_height) = (u32::MAX, 1 << 17, 1 << 11);
    let error = TileCodec::new(&config(&siz, &[&COD, &QCD], 0)).unwrap_err().to_string();
    assert!(error.contains("2^30 samples or more on one side"), "{error}");
}

#[test]
fn windows_outside_are_refused() {
    let codec = TileCodec::new(&config(&samples::siz(), &[&COD, &QCD], 0)).unwrap();
    for (y, x) in [
        (0..u32::MAX, 0..64),
        (u32::MAX..u32::MAX, 0..64),
        (0..64, u32::MAX - 1..u32::MAX),
        (0..65, 0..64),
        (Range { start: 2, end: 1 }, 0..64),
        (0..64, Range { start: u32::MAX, end: 0 }),
    ] {
        let window = Window { y, x };
        let error = codec.output_bytes(Some(&window)).unwrap_err();
        assert!(error.to_string().contains("field window"), "{error}");
        assert_eq!(codec.decode(&[], 0, Some(&window), &mut []).unwrap_err(), error);
    }
    assert_eq!(codec.output_bytes(Some(&Window { y: 64..64, x: 0..64 })).unwrap(), 0);
}

#[test]
fn tile_numbers_and_lengths_beyond_the_chunk_are_refused() {
    let whole = TileCodec::new(&config(&samples::siz(), &[&COD, &QCD], 0)).unwrap();
    let prefix = TileCodec::new(&config(&samples::siz(), &[&COD, &QCD], 1)).unwrap();
    let mut out = vec![0; whole.output_bytes(None).unwrap()];
    for tile in [4, 5, 1 << 15, u16::MAX - 1] {
        let error = whole.decode(&tile_part(tile, 0, &[0, 0, 0]), 0, None, &mut out).unwrap_err().to_string();
        assert!(error.contains(&format!("tile {tile} ")), "{error}");
    }
    let error = whole.decode(&tile_part(u16::MAX, 0, &[0, 0, 0]), 0, None, &mut out).unwrap_err().to_string();
    assert!(error.contains("Isot 65535"), "{error}");
    for psot in [1, 13, 18, 1 << 31, u32::MAX] {
        whole.decode(&tile_part(0, psot, &[0, 0, 0]), 0, None, &mut out).unwrap_err();
        if psot < 14 {
            let mut out = vec![0; prefix.output_bytes(None).unwrap()];
            prefix.decode(&tile_part(0, psot, &[0, 0]), 0, None, &mut out).unwrap_err();
        }
    }
}

#[test]
fn a_byte_does_not_open_millions_of_code_blocks() {
    let mut siz = samples::siz();
    (siz.x1, siz.y1, siz.tile_width, siz.tile_height) = (1 << 15, 1 << 15, 1 << 15, 1 << 15);
    // No levels, blocks of 4 x 4 samples, one precinct: 2^26 of them in one packet.
    let mut cod = COD;
    (cod[9], cod[10], cod[11]) = (0, 0, 0);
    let header = MainHeader::parse(&samples::header_bytes(&siz, &[&cod, &QCD])).unwrap();
    let error = Chunk::parse(&header, &tile_part(0, 0, &[0x80]), 0).unwrap_err().to_string();
    assert!(error.contains("code-blocks in one tile"), "{error}");
    let error = crate::packet::prefix_lengths_by_walking(&header, &tile_part(0, 0, &[0x80])).unwrap_err().to_string();
    assert!(error.contains("code-blocks in one tile"), "{error}");
    // Blocks of 32 x 32 samples can be counted.
    (cod[10], cod[11]) = (3, 3);
    let header = MainHeader::parse(&samples::header_bytes(&siz, &[&cod, &QCD])).unwrap();
    let empty = tile_part(0, 0, &[0]);
    assert!(!Chunk::parse(&header, &empty, 0).unwrap().detail);
}

#[test]
fn lengths_of_more_than_32_bits_are_refused_at_once() {
    // A packet with one code-block of one coding pass, and then ones without end: each lengthens the length by a bit.
    let body: Vec<u8> = [0xEF, 0xFF].into_iter().chain([0x7F, 0xFF].repeat(1000)).collect();
    let header = samples::header();
    let error = Chunk::parse(&header, &tile_part(0, 0, &body), 0).unwrap_err();
    assert!(error.to_string().contains("a length of 33 bits"), "{error}");
    assert!(error.offset() < 14 + 8, "{error}");
}

/// A decoder that hands over what nobody asked for.
struct Stray(Vec<(u32, usize)>);

impl TileDecoder for Stray {
    fn decode(&self, _: &TileJob<'_>, take: &mut dyn FnMut(u32, &[i32])) -> std::result::Result<(), String> {
        self.0.iter().for_each(|(component, samples)| take(*component, &vec![1; *samples]));
        Ok(())
    }
}

#[test]
fn a_decoder_must_hand_over_every_component_once() {
    let config = config(&samples::siz(), &[&COD, &QCD], 0);
    let chunk = tile_part(0, 0, &[0, 0, 0]);
    for (planes, good) in [
        (vec![(0, 64 * 64)], true),
        (vec![], false),
        (vec![(u32::MAX, 64 * 64)], false),
        (vec![(1, 64 * 64)], false),
        (vec![(0, 64 * 63)], false),
        (vec![(0, 64 * 65)], false),
        (vec![(0, 64 * 64), (0, 64 * 64)], false),
    ] {
        let codec = TileCodec::with_decoder(&config, Arc::new(Stray(planes.clone()))).unwrap();
        let mut out = vec![0; codec.output_bytes(None).unwrap()];
        let done = codec.decode(&chunk, 0, None, &mut out);
        assert_eq!(done.is_ok(), good, "{planes:?}: {done:?}");
    }
}

/// Numbers around 0, around powers of two, and around the largest.
fn edge() -> impl Strategy<Value = u32> {
    let near = (0u32..32, 0u32..3).prop_map(|(exp, off)| (1u32 << exp).wrapping_add(off).wrapping_sub(1));
    prop_oneof![3 => near, 1 => any::<u32>(), 1 => (0u32..4).prop_map(|n| u32::MAX - n), 2 => 0u32..200]
}

fn sizes() -> impl Strategy<Value = Siz> {
    let component = (0u8..38, any::<bool>(), prop_oneof![4 => Just((1, 1)), 1 => (1u8..=255, 1u8..=255)]);
    let count = prop_oneof![6 => 1usize..4, 1 => 1usize..70, 1 => Just(16384usize)];
    let origins = prop_oneof![3 => Just([0; 4]), 1 => prop::array::uniform4(edge())];
    (prop::array::uniform4(edge()), origins, component, count).prop_map(|(ends, origins, c, count)| {
        let component = Component { bit_depth: c.0 + 1, signed: c.1, dx: c.2.0, dy: c.2.1 };
        Siz {
            capabilities: 0,
            x1: ends[0],
            y1: ends[1],
            x0: origins[0],
            y0: origins[1],
            tile_width: ends[2],
            tile_height: ends[3],
            tile_x0: origins[2],
            tile_y0: origins[3],
            components: vec![component; count],
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn extreme_configurations_are_read_or_refused(
        siz in sizes(),
        levels in prop_oneof![0u8..6, 0u8..=32],
        layers in prop_oneof![1u16..4, any::<u16>()],
        blocks in (0u8..9, 0u8..9),
        precinct in prop::option::of(0u8..=255),
        reduce in prop_oneof![Just(0u8), 0u8..4, any::<u8>()],
        tile in prop_oneof![Just(0u16), any::<u16>()],
        psot in prop_oneof![Just(0), edge()],
        body in prop::collection::vec(prop_oneof![Just(0u8), Just(0x80), any::<u8>()], 0..60),
        window in [edge(), edge(), edge(), edge()],
    ) {
        let (style, [high, low]) = (u8::from(precinct.is_some()), layers.to_be_bytes());
        let mut cod = vec![0xFF, 0x52, 0, 0, style, 0, high, low, 0, levels, blocks.0, blocks.1, 0, 1];
        cod.extend(precinct.into_iter().flat_map(|byte| vec![byte; usize::from(levels) + 1]));
        cod[3] = (cod.len() - 2) as u8;
        let mut qcd = vec![0xFF, 0x5C, 0, 3 + 3 * levels + 1, 0x20];
        qcd.extend(vec![136; 3 * usize::from(levels) + 1]);
        let bytes = samples::header_bytes(&siz, &[&cod, &qcd]);
        let chunk = tile_part(tile, psot, &body);
        if let Ok(header) = MainHeader::parse(&bytes) {
            if let Ok(grid) = header.grid() {
                let rect = grid.tile_rect(u32::from(tile));
                prop_assert_eq!(rect.is_some(), u32::from(tile) < grid.tiles());
                prop_assert!(rect.is_none_or(|r| siz.x0 <= r.x0 && r.x0 < r.x1 && r.x1 <= siz.x1));
                prop_assert!(rect.is_none_or(|r| siz.y0 <= r.y0 && r.y0 < r.y1 && r.y1 <= siz.y1));
            }
            let _ = Chunk::parse(&header, &chunk, reduce).map(|chunk| chunk.standalone(&header));
            let _ = crate::packet::prefix_lengths(&header, &chunk);
            let _ = crate::packet::prefix_lengths_from_head(&header, &chunk);
        }
        let config = CodecConfig { main_header: STANDARD.encode(&bytes), reduce };
        if let Ok(codec) = TileCodec::new(&config) {
            let (height, width) = codec.chunk_shape();
            let samples = u128::from(codec.components()) * u128::from(height) * u128::from(width);
            prop_assert!(samples <= u128::from(MAX_SAMPLES));
            let all = codec.output_bytes(None).unwrap();
            prop_assert_eq!(all as u128, samples * codec.dtype().bytes as u128);
            let part = Window { y: window[0]..window[1], x: window[2]..window[3] };
            let inside = |r: &Range<u32>, size| r.start <= r.end && r.end <= size;
            let bytes = codec.output_bytes(Some(&part));
            prop_assert_eq!(bytes.is_ok(), inside(&part.y, height) && inside(&part.x, width));
            if all <= 1 << 16 {
                let _ = codec.decode(&chunk, 0, None, &mut vec![0; all]);
                let _ = bytes.map(|bytes| codec.decode(&chunk, 0, Some(&part), &mut vec![0; bytes]));
            }
        }
    }
}
