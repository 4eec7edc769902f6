//! Codestreams made here: every sample type, whole arrays, windows and single samples.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use crate::encode::Recipe;
use crate::support::{MemoryArray, Model, Source, open, samples};
use proptest::test_runner::{Config, TestRunner};
use s2ice_jpeg2000::decode::{OpenJpeg, TileJob};
use s2ice_jpeg2000::{CodecConfig, Rect, TileCodec, TileDecoder, prefix_lengths, reduced_size};
use std::ops::Range;
use zarrs::array::{ArrayBytes, ArraySubset, CodecOptions};

fn recipes() -> Vec<(Recipe, i32)> {
    let three = Recipe { components: 3, depth: 8, mct: true, width: 70, height: 41, ..Recipe::default() };
    vec![
        (Recipe { depth: 8, ..Recipe::default() }, 255),
        (Recipe { depth: 15, width: 64, height: 64, precinct: Some((4, 4)), ..Recipe::default() }, 0),
        (Recipe { depth: 8, signed: true, ..Recipe::default() }, -3),
        (Recipe { depth: 12, signed: true, width: 33, height: 95, ..Recipe::default() }, -4000),
        (three.clone(), 7),
        (Recipe { depth: 16, mct: false, ..three }, 65535),
    ]
}

/// Tile 1 is missing at time 0, and all of time 1.
fn array(source: &Source) -> MemoryArray {
    let chunks =
        (0..source.tiles.len()).filter(|tile| *tile != 1).map(|tile| (source.indices(0, tile), source.chunk(tile)));
    open(&source.metadata(&source.codec, 0), chunks).unwrap()
}

fn model(source: &Source, recipe: &Recipe, shape: &[u64]) -> Model {
    let missing = source.head.header.grid().unwrap().tile_rect(1).unwrap();
    Model::new(shape, |time, c, y, x| {
        let inside = (missing.y0..missing.y1).contains(&y) && (missing.x0..missing.x1).contains(&x);
        if time == 1 || inside { source.fill } else { recipe.sample(c, y, x) }
    })
}

fn read(array: &MemoryArray, subset: &ArraySubset) -> Vec<i32> {
    samples(array.retrieve_array_subset::<ArrayBytes>(subset).unwrap(), array.data_type())
}

#[test]
fn any_subset_of_any_sample_type() {
    for (recipe, fill) in recipes() {
        let source = Source::made(&recipe, fill);
        let array = array(&source);
        let model = model(&source, &recipe, array.shape());
        let all = array.subset_all();
        assert_eq!(read(&array, &all), model.subset(&all), "{recipe:?}");
        let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
        let ends: Vec<_> = array.shape().iter().map(|n| (0..=*n, 0..=*n)).collect();
        let check = |ends: Vec<(u64, u64)>| {
            let ranges: Vec<Range<u64>> = ends.iter().map(|(a, b)| *a.min(b)..*a.max(b)).collect();
            let subset = ArraySubset::new_with_ranges(&ranges);
            assert_eq!(read(&array, &subset), model.subset(&subset), "{ranges:?} of {recipe:?}");
            Ok(())
        };
        runner.run(&ends, check).unwrap();
    }
}

#[test]
fn whole_chunks_are_padded_with_the_fill_value() {
    for (recipe, fill) in recipes() {
        let source = Source::made(&recipe, fill);
        let array = array(&source);
        let (height, width) = source.codec.chunk_shape();
        for tile in 0..source.tiles.len() {
            let rect = source.head.header.grid().unwrap().tile_rect(tile as u32).unwrap();
            let chunk = array.retrieve_chunk::<ArrayBytes>(&source.indices(0, tile)).unwrap();
            let mut chunk = samples(chunk, array.data_type()).into_iter();
            for c in 0..recipe.components {
                for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                    let inside = tile != 1 && y < rect.height() && x < rect.width();
                    let expected = if inside { recipe.sample(c, rect.y0 + y, rect.x0 + x) } else { fill };
                    assert_eq!(chunk.next(), Some(expected), "tile {tile} {c} {y} {x} of {recipe:?}");
                }
            }
            assert_eq!(chunk.next(), None);
        }
    }
}

#[test]
fn partial_decoder_takes_every_kind_of_indexer() {
    for (recipe, fill) in recipes() {
        let source = Source::made(&recipe, fill);
        let array = array(&source);
        let several = recipe.components > 1;
        let last = recipe.components as u64 - 1;
        let at = |c: u64, y: u64, x: u64| if several { vec![0, c, y, x] } else { vec![0, y, x] };
        let decoder = array.partial_decoder(&at(0, 0, 0)).unwrap();
        let decode = |indexer: &dyn zarrs::array::Indexer| {
            decoder.partial_decode(indexer, &CodecOptions::default()).map(|b| samples(b, array.data_type()))
        };
        // Single samples in any order, one of them twice.
        let points = [(last, 30, 3), (0, 2, 31), (last, 2, 2), (last, 30, 3), (0, 0, 0)];
        let indices: Vec<Vec<u64>> = points.iter().map(|(c, y, x)| at(*c, *y, *x)).collect();
        let expected: Vec<i32> =
            points.iter().map(|(c, y, x)| recipe.sample(*c as u32, *y as u32, *x as u32)).collect();
        assert_eq!(decode(&indices).unwrap(), expected);
        // Several boxes, which overlap.
        let boxes = [[last, 4, 5, 9, 8], [0, 0, 0, 6, 6]];
        let subset = |b: &[u64; 5]| {
            let ranges = [0..1, b[0]..b[0] + 1, b[1]..b[3], b[2]..b[4]];
            ArraySubset::new_with_ranges(&if several { ranges.to_vec() } else { [&ranges[..1], &ranges[2..]].concat() })
        };
        let expected: Vec<i32> = boxes
            .iter()
            .flat_map(|b| (b[1]..b[3]).flat_map(move |y| (b[2]..b[4]).map(move |x| (b[0], y, x))))
            .map(|(c, y, x)| recipe.sample(c as u32, y as u32, x as u32))
            .collect();
        assert_eq!(decode(&boxes.iter().map(subset).collect::<Vec<_>>()).unwrap(), expected);
        assert!(decode(&subset(&[0, 5, 5, 5, 9])).unwrap().is_empty());
        assert!(decode(&vec![subset(&[0, 5, 5, 5, 9])]).unwrap().is_empty());
        // Outside the chunk, or of another rank.
        assert!(decode(&vec![at(0, 32, 0)]).is_err());
        assert!(decode(&vec![vec![0, 0]]).is_err());
        assert!(decode(&subset(&[0, 30, 0, 33, 1])).is_err());
        assert!(decode(&ArraySubset::new_with_ranges(&[0..1, 0..1])).is_err());
        let missing = array.partial_decoder(&source.indices(0, 1)).unwrap();
        assert!(!missing.exists().unwrap() && decoder.exists().unwrap());
        let bytes = missing.partial_decode(&indices, &CodecOptions::default()).unwrap();
        assert_eq!(samples(bytes, array.data_type()), [fill; 5]);
    }
}

#[test]
fn overviews_from_prefixes() {
    let recipe = Recipe { depth: 15, width: 75, height: 50, ..Recipe::default() };
    let source = Source::made(&recipe, 9);
    let header = &source.head.header;
    for reduce in 1..=2u8 {
        let codec = TileCodec::new(&CodecConfig::from_header(header, reduce)).unwrap();
        let prefix = |tile: usize| {
            let lengths = prefix_lengths(header, source.chunk(tile)).unwrap();
            &source.chunk(tile)[..lengths[usize::from(2 - reduce)] as usize]
        };
        let chunks = (0..source.tiles.len()).map(|tile| (source.indices(0, tile), prefix(tile)));
        let array = open(&source.metadata(&codec, reduce), chunks).unwrap();
        let image = Rect { x0: 0, y0: 0, x1: recipe.width, y1: recipe.height };
        let job = TileJob { codestream: &source.bytes, tile: image, area: image, reduce, components: 1 };
        let mut plane = Vec::new();
        OpenJpeg.decode(&job, &mut |_, samples| plane = samples.to_vec()).unwrap();
        let across = reduced_size(recipe.width, reduce);
        let model =
            Model::new(array.shape(), |time, _, y, x| if time == 1 { 9 } else { plane[(y * across + x) as usize] });
        for subset in [array.subset_all(), ArraySubset::new_with_ranges(&[0..1, 3..12, 5..17])] {
            assert_eq!(read(&array, &subset), model.subset(&subset), "reduce {reduce}");
        }
    }
}
