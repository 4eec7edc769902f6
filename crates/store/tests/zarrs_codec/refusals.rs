//! What the codec refuses, and that it says why; and that it leaves metadata as it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use crate::encode::Recipe;
use crate::support::{Source, open};
use s2ice_jpeg2000::CodecConfig;
use s2ice_store::zarrs_codec::Jpeg2000Codec;
use serde_json::{Value, json};
use std::num::NonZeroU64;
use zarrs::array::{
    ArrayBytes, ArrayCodecTraits, ArrayMetadataOptions, ArraySubset, ArrayToBytesCodecTraits, BytesRepresentation,
    CodecMetadataOptions, CodecOptions, CodecTraits, DataType, FillValue, data_type,
};

fn source(components: u32) -> Source {
    Source::made(&Recipe { components, ..Recipe::default() }, 0)
}

fn codec(source: &Source) -> Jpeg2000Codec {
    Jpeg2000Codec::new(&CodecConfig::from_header(&source.head.header, 0)).unwrap()
}

#[test]
fn arrays_that_do_not_fit_the_header() {
    let (one, three) = (codec(&source(1)), codec(&source(3)));
    let check = |codec: &Jpeg2000Codec, shape: &[u64], data_type: &DataType| {
        let shape: Vec<NonZeroU64> = shape.iter().map(|n| NonZeroU64::new(*n).unwrap()).collect();
        let found = codec.encoded_representation(&shape, data_type, &FillValue::from(0u16)).map_err(|e| e.to_string());
        let concurrency = codec.recommended_concurrency(&shape, data_type).map(|c| c.max()).map_err(|e| e.to_string());
        assert_eq!(found.is_ok(), concurrency.is_ok());
        assert!(concurrency.is_err() || concurrency == Ok(1));
        found.map(|representation| assert_eq!(representation, BytesRepresentation::UnboundedSize))
    };
    let u16 = data_type::uint16();
    for shape in [&[32, 32][..], &[1, 32, 32], &[1, 1, 1, 32, 32]] {
        check(&one, shape, &u16).unwrap();
    }
    for shape in [&[3, 32, 32][..], &[1, 3, 32, 32]] {
        check(&three, shape, &u16).unwrap();
    }
    for (codec, shape, tile) in [
        (&one, &[2, 32, 32][..], "1 x 32 x 32"),
        (&one, &[1, 32, 64], "1 x 32 x 32"),
        (&one, &[1, 16, 32], "1 x 32 x 32"),
        (&one, &[32], "1 x 32 x 32"),
        (&one, &[], "1 x 32 x 32"),
        (&three, &[1, 32, 32], "3 x 32 x 32"),
        (&three, &[32, 32], "3 x 32 x 32"),
        (&three, &[3, 1, 32, 32], "3 x 32 x 32"),
    ] {
        let error = check(codec, shape, &u16).unwrap_err();
        assert!(error.contains(&format!("chunks are {shape:?}")) && error.contains(tile), "{error}");
    }
    for (other, name) in
        [(data_type::uint8(), "uint8"), (data_type::int16(), "int16"), (data_type::float32(), "float32")]
    {
        let error = check(&one, &[32, 32], &other).unwrap_err();
        assert!(error.contains(&format!("data type is {name}")) && error.contains("uint16 samples"), "{error}");
    }
}

#[test]
fn a_misfit_is_met_by_every_way_of_reading() {
    let source = source(1);
    let mut metadata = source.metadata(&source.codec, 0);
    metadata["data_type"] = json!("int16");
    let array = open(&metadata, [(vec![0, 0, 0], source.chunk(0))]).unwrap();
    let errors = [
        array.retrieve_chunk::<ArrayBytes>(&[0, 0, 0]).unwrap_err(),
        array.retrieve_array_subset::<ArrayBytes>(&[0..1, 0..9, 0..9]).unwrap_err(),
        // No chunk there, but the array is as wrong.
        array.retrieve_array_subset::<ArrayBytes>(&array.subset_all()).unwrap_err(),
        array.partial_decoder(&[0, 0, 0]).map(drop).unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains("data type is int16"), "{error}");
    }
}

#[test]
fn damaged_chunks() {
    let source = source(1);
    let good = source.chunk(0);
    let mut other_tile = good.to_vec();
    other_tile[4..6].copy_from_slice(&[0xFF, 0]);
    let page = b"<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>";
    for bad in [&good[..good.len() / 2], &good[..good.len() - 1], &[], &other_tile, page] {
        let array = open(&source.metadata(&source.codec, 0), [(vec![0, 0, 0], bad)]).unwrap();
        let errors = [
            array.retrieve_chunk::<ArrayBytes>(&[0, 0, 0]).unwrap_err(),
            array.retrieve_array_subset::<ArrayBytes>(&[0..1, 5..6, 5..6]).unwrap_err(),
        ];
        for error in errors {
            assert!(error.to_string().starts_with("s2ice.jpeg2000: "), "{error}");
        }
    }
}

#[test]
fn selections_outside_a_chunk() {
    let options = CodecOptions::default();
    for components in [1, 3] {
        let source = source(components);
        let array = open(&source.metadata(&source.codec, 0), [(source.indices(0, 0), source.chunk(0))]).unwrap();
        let spare = usize::from(components > 1);
        let boxed = |start: [u64; 3], shape: [u64; 3]| {
            let full = |first: u64, [time, y, x]: [u64; 3]| [&[time][..], &vec![first; spare], &[y, x]].concat();
            ArraySubset::new_with_start_shape(full(0, start), full(1, shape)).unwrap()
        };
        // The chunk of the second time is missing.
        for time in [0, 1] {
            let decoder = array.partial_decoder(&source.indices(time, 0)).unwrap();
            for (start, shape) in [
                ([0, 0, 0], [1, u64::MAX, u64::MAX]),
                ([0, 0, 0], [u64::MAX, 1, 1]),
                ([0, 0, 0], [1, 1 << 40, 1]),
                ([0, 31, 0], [1, 2, 1]),
                ([0, u64::MAX, 0], [1, 1, 1]),
                ([0, u64::MAX, u64::MAX], [1, u64::MAX, u64::MAX]),
                ([1, 0, 0], [1, 1, 1]),
            ] {
                let found =
                    decoder.partial_decode(&boxed(start, shape), &options).map(|_| ()).map_err(|e| e.to_string());
                let error = found.unwrap_err();
                assert!(!error.is_empty());
                let list: Vec<Vec<u64>> = vec![[&start[..1], &vec![0; spare], &start[1..]].concat()];
                if start.iter().zip([1, 32, 32]).any(|(at, size)| *at >= size) {
                    decoder.partial_decode(&list, &options).map(|_| ()).unwrap_err();
                }
            }
            for (shape, bytes) in [([1, 1, 1], 2), ([1, 0, 5], 0), ([1, 32, 32], 2048)] {
                let found = decoder.partial_decode(&boxed([0, 0, 0], shape), &options).unwrap();
                assert_eq!(found.into_fixed().unwrap().len(), bytes);
            }
            let other = ArraySubset::new_with_start_shape(vec![0, 0], vec![1, 1]).unwrap();
            decoder.partial_decode(&other, &options).map(|_| ()).unwrap_err();
        }
    }
}

#[test]
fn headers_whose_samples_overflow() {
    let source = source(1);
    // SIZ with 64 components and tiles of 2^29 x 2^29: 2^64 samples, which is 0 in 64 bits.
    let mut siz = source.head.header.siz().clone();
    siz.components = vec![siz.components[0]; 64];
    (siz.tile_width, siz.tile_height) = (1 << 29, 1 << 29);
    let old = source.head.header.codec_header();
    let behind = 4 + usize::from(u16::from_be_bytes([old[4], old[5]]));
    let main_header = [&old[..2], &siz.write(), &old[behind..]].concat();
    let main_header = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, main_header);
    let error = Jpeg2000Codec::new(&CodecConfig { main_header, reduce: 0 }).map(drop).unwrap_err().to_string();
    assert!(error.contains("a tile of 64 x 536870912 x 536870912 samples"), "{error}");
}

#[test]
fn writing() {
    let source = source(1);
    let array = open(&source.metadata(&source.codec, 0), [(vec![0, 0, 0], source.chunk(0))]).unwrap();
    let errors = [
        array.store_chunk(&[0, 0, 0], vec![5u16; 32 * 32]).unwrap_err(),
        array.store_array_subset(&[0..1, 0..2, 0..2], vec![5u16; 4]).unwrap_err(),
        array.store_array_subset(&[1..2, 0..2, 0..2], vec![5u16; 4]).unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains("this codec only decodes"), "{error}");
    }
    assert_eq!(array.retrieve_encoded_chunk(&[0, 0, 0]).unwrap().unwrap(), source.chunk(0));
}

#[test]
fn configurations() {
    let source = source(1);
    let metadata = source.metadata(&source.codec, 0);
    let header = &metadata["codecs"][0]["configuration"]["main_header"];
    let open_with = |configuration: &Value| {
        let mut metadata = metadata.clone();
        metadata["codecs"][0]["configuration"] = configuration.clone();
        open(&metadata, [])
    };
    for (configuration, reason) in [
        (json!({}), "main_header"),
        (json!({"main_header": 3}), "string"),
        (json!({"main_header": header, "colour": 1}), "colour"),
        (json!({"main_header": header, "reduce": -1}), "u8"),
        (json!({"main_header": header, "reduce": 3}), "only 2 can be"),
        (json!({"main_header": "no base64!"}), "base64"),
        (json!({"main_header": "AAAA"}), "SOC"),
    ] {
        let error = open_with(&configuration).map(drop).unwrap_err().to_string();
        assert!(error.contains("s2ice.jpeg2000: ") && error.contains(reason), "{configuration}: {error}");
    }
    // Metadata is kept as it came.
    for configuration in [
        json!({"main_header": header, "reduce": 0}),
        json!({"reduce": 0, "main_header": header}),
        json!({"main_header": header}),
    ] {
        let array = open_with(&configuration).unwrap();
        let written: Value = serde_json::to_value(array.metadata_opt(&ArrayMetadataOptions::default())).unwrap();
        let expected = json!([{"name": "s2ice.jpeg2000", "configuration": configuration}]);
        assert_eq!(written["codecs"].to_string(), expected.to_string());
    }
    let config = CodecConfig::from_header(&source.head.header, 1);
    let codec = Jpeg2000Codec::new(&config).unwrap();
    let written = codec.configuration_v3(&CodecMetadataOptions::default()).unwrap();
    assert_eq!(serde_json::to_string(&written).unwrap(), serde_json::to_string(&config).unwrap());
    assert_eq!(codec.decoder().chunk_shape(), (16, 16));
}
