//! Arrays of GeoTIFF tiles: predictor 2 row by row, wherever a window begins, and chunks that are missing.
#![allow(clippy::unwrap_used)]

use std::num::NonZeroU64;
use std::sync::Arc;

use s2ice_store::zarrs_codec::HorizontalDifferencing;
use serde_json::{Value, json};
use zarrs::array::{
    Array, ArrayBytes, ArrayCodecTraits, ArraySubset, ArrayToArrayCodecTraits, CodecOptions, FillValue, data_type,
};
use zarrs::storage::store::MemoryStore;
use zarrs::storage::{ReadableStorageTraits, StoreKey, WritableStorageTraits};

const HEIGHT: u64 = 7;
const WIDTH: u64 = 10;

/// Steep enough that differences wrap around.
fn sample(component: u64, row: u64, column: u64) -> u64 {
    (column * 40_503 + row * 30_011 + component * 97) % 65_536
}

/// An array of two chunks side by side, the second one missing, whose bytes are made by hand.
fn array(data_type: &str, components: Option<u64>, big: bool, compress: bool, fill: u64) -> Array<MemoryStore> {
    let mut codecs = vec![json!({ "name": "s2ice.horizontal_differencing" })];
    if components.is_some() {
        codecs.push(json!({ "name": "transpose", "configuration": { "order": [0, 2, 3, 1] } }));
    }
    codecs.push(json!({ "name": "bytes", "configuration": { "endian": if big { "big" } else { "little" } } }));
    if compress {
        codecs.push(json!({ "name": "numcodecs.zlib", "configuration": { "level": 1 } }));
    }
    let axes = |width: u64| -> Vec<u64> { [1].into_iter().chain(components).chain([HEIGHT, width]).collect() };
    let document = json!({
        "zarr_format": 3, "node_type": "array", "shape": axes(2 * WIDTH), "data_type": data_type,
        "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": axes(WIDTH) } },
        "chunk_key_encoding": { "name": "default" }, "fill_value": fill, "codecs": codecs, "attributes": {},
    });
    // As libtiff writes a tile: row by row, the components of a pixel side by side, each the difference to its left.
    let mut bytes = Vec::new();
    for row in 0..HEIGHT {
        for column in 0..WIDTH {
            for component in 0..components.unwrap_or(1) {
                let left = if column == 0 { 0 } else { sample(component, row, column - 1) };
                let difference = (sample(component, row, column) + 65_536 - left) % 65_536;
                let two = u16::try_from(difference).unwrap();
                match (data_type, big) {
                    ("uint8", _) => bytes.push(two.to_le_bytes()[0]),
                    (_, true) => bytes.extend(two.to_be_bytes()),
                    (_, false) => bytes.extend(two.to_le_bytes()),
                }
            }
        }
    }
    if compress {
        use std::io::Write as _;
        let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        writer.write_all(&bytes).unwrap();
        bytes = writer.finish().unwrap();
    }
    let store = Arc::new(MemoryStore::new());
    let key = |text: &str| StoreKey::new(text).unwrap();
    store.set(&key("zarr.json"), document.to_string().into()).unwrap();
    let chunk = if components.is_some() { "c/0/0/0/0" } else { "c/0/0/0" };
    store.set(&key(chunk), bytes.into()).unwrap();
    assert!(store.get(&key("zarr.json")).unwrap().is_some());
    Array::open(store, "/").unwrap()
}

fn window(components: Option<u64>, rows: std::ops::Range<u64>, columns: std::ops::Range<u64>) -> ArraySubset {
    let ranges: Vec<_> = std::iter::once(0..1).chain(components.map(|c| 0..c)).chain([rows, columns]).collect();
    ArraySubset::new_with_ranges(&ranges)
}

#[test]
fn windows_begin_anywhere() {
    for (data_type, components, big, compress, fill) in [
        ("uint16", None, false, true, 0),
        ("uint16", None, true, true, 7),
        ("uint16", None, false, false, 0),
        ("uint8", None, false, true, 255),
        ("uint8", Some(3), false, true, 0),
    ] {
        let array = array(data_type, components, big, compress, fill);
        let range = if data_type == "uint8" { 256 } else { 65_536 };
        for (rows, columns) in [(0..7, 0..20), (3..5, 4..9), (6..7, 9..10), (2..4, 8..13), (0..7, 10..20), (1..2, 0..1)]
        {
            let subset = window(components, rows.clone(), columns.clone());
            let found: Vec<u64> = match data_type {
                "uint8" => {
                    array.retrieve_array_subset::<Vec<u8>>(&subset).unwrap().into_iter().map(u64::from).collect()
                }
                _ => array.retrieve_array_subset::<Vec<u16>>(&subset).unwrap().into_iter().map(u64::from).collect(),
            };
            let mut expected = Vec::new();
            for component in 0..components.unwrap_or(1) {
                for row in rows.clone() {
                    for column in columns.clone() {
                        expected.push(if column < WIDTH { sample(component, row, column) % range } else { fill });
                    }
                }
            }
            assert_eq!(found, expected, "{data_type} {components:?} {rows:?} {columns:?}");
        }
    }
}

#[test]
fn what_is_written_is_read_again() {
    let array = array("uint16", None, true, true, 0);
    let values: Vec<u16> = (0..u16::try_from(HEIGHT * WIDTH).unwrap()).map(|n| n.wrapping_mul(40_503)).collect();
    array.store_chunk(&[0, 0, 1], values.as_slice()).unwrap();
    assert_eq!(array.retrieve_chunk::<Vec<u16>>(&[0, 0, 1]).unwrap(), values);
}

#[test]
fn other_arrays_are_refused() {
    let open = |data_type: &str, filter: Value| {
        let document = json!({
            "zarr_format": 3, "node_type": "array", "shape": [4, 4], "data_type": data_type,
            "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": [4, 4] } },
            "chunk_key_encoding": { "name": "default" }, "fill_value": 0, "attributes": {},
            "codecs": [filter, { "name": "bytes", "configuration": { "endian": "little" } }],
        });
        let store = Arc::new(MemoryStore::new());
        store.set(&StoreKey::new("zarr.json").unwrap(), document.to_string().into()).unwrap();
        let array = Array::open(store, "/").map_err(|error| error.to_string())?;
        array.retrieve_chunk::<Vec<u16>>(&[0, 0]).map(drop).map_err(|error| error.to_string())
    };
    let plain = json!({ "name": "s2ice.horizontal_differencing" });
    assert_eq!(open("uint16", plain.clone()), Ok(()));
    assert!(open("int16", plain.clone()).is_err() && open("float32", plain).is_err());
    let configured = json!({ "name": "s2ice.horizontal_differencing", "configuration": { "axis": 0 } });
    assert!(open("uint16", configured).unwrap_err().contains("s2ice.horizontal_differencing: "));
}

#[test]
fn chunks_of_other_sizes_are_refused() {
    let codec = HorizontalDifferencing;
    let shape = |lengths: &[u64]| -> Vec<NonZeroU64> { lengths.iter().map(|n| NonZeroU64::new(*n).unwrap()).collect() };
    let (u16, fill, options) = (data_type::uint16(), FillValue::from(0_u16), CodecOptions::default());
    let decode = |bytes: usize, lengths: &[u64]| {
        let bytes = ArrayBytes::new_flen(vec![0; bytes]);
        codec.decode(bytes, &shape(lengths), &u16, &fill, &options).map(|_| ()).map_err(|error| error.to_string())
    };
    decode(12, &[2, 3]).unwrap();
    for (bytes, lengths, words) in [
        (11, &[2, 3][..], "a chunk of 11 bytes, but its shape makes 12"),
        (0, &[2, 3], "a chunk of 0 bytes"),
        (14, &[2, 3], "a chunk of 14 bytes"),
        // 2^64 samples, which is 0 in 64 bits.
        (0, &[1 << 32, 1 << 32], "too large"),
        (0, &[u64::MAX, u64::MAX], "too large"),
        (0, &[1, 1 << 40], "too large"),
    ] {
        let error = decode(bytes, lengths).unwrap_err();
        assert!(error.starts_with("s2ice.horizontal_differencing: ") && error.contains(words), "{error}");
    }
    codec.recommended_concurrency(&shape(&[1 << 40, 1 << 40]), &u16).map(|_| ()).unwrap_err();
}

#[test]
fn windows_outside_are_refused() {
    // Without the filter, whose partial decoder zarrs would put behind a cache of its own.
    let document = json!({
        "zarr_format": 3, "node_type": "array", "shape": [2, 6], "data_type": "uint16",
        "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": [2, 3] } },
        "chunk_key_encoding": { "name": "default" }, "fill_value": 7, "attributes": {},
        "codecs": [{ "name": "bytes", "configuration": { "endian": "little" } }],
    });
    let store = Arc::new(MemoryStore::new());
    store.set(&StoreKey::new("zarr.json").unwrap(), document.to_string().into()).unwrap();
    store.set(&StoreKey::new("c/0/0").unwrap(), vec![1, 0, 1, 0, 1, 0, 2, 0, 2, 0, 2, 0].into()).unwrap();
    let array = Array::open(store, "/").unwrap();
    let shape = [2, 3].map(|length| NonZeroU64::new(length).unwrap());
    let options = CodecOptions::default();
    // The second chunk is missing.
    for (column, inside) in [(0, [4_u16, 6]), (1, [7, 7])] {
        let decoder = Arc::new(HorizontalDifferencing)
            .partial_decoder(
                array.partial_decoder(&[0, column]).unwrap(),
                &shape,
                &data_type::uint16(),
                &FillValue::from(7_u16),
                &options,
            )
            .unwrap();
        let decode = |start: [u64; 2], lengths: [u64; 2]| {
            let subset = ArraySubset::new_with_start_shape(start.to_vec(), lengths.to_vec()).unwrap();
            decoder.partial_decode(&subset, &options).map(|bytes| bytes.into_fixed().unwrap().into_owned())
        };
        assert_eq!(decode([1, 1], [1, 2]).unwrap(), inside.map(u16::to_ne_bytes).concat());
        for (start, lengths) in [
            ([0, 0], [u64::MAX, u64::MAX]),
            ([u64::MAX, 0], [u64::MAX, 1]),
            ([1, 0], [2, 1]),
            ([0, 3], [1, 1]),
            ([0, 0], [1, 1 << 40]),
        ] {
            decode(start, lengths).unwrap_err();
        }
    }
}
