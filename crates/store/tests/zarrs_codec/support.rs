//! A JPEG 2000 file as a Zarr array, and what zarrs should read from it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use crate::common::{head, hop};
use crate::encode::{Recipe, encode};
use s2ice_jpeg2000::{CODEC_NAME, CodecConfig, FileHead, TileCodec, TlmEntry, TlmTable};
use serde_json::{Value, json};
use std::ops::Range;
use std::sync::Arc;
use zarrs::array::{Array, ArrayBytes, ArraySubset, DataType};
use zarrs::storage::store::MemoryStore;
use zarrs::storage::{ReadableWritableStorageTraits, StoreKey, WritableStorageTraits};

/// A file and where its tiles lie.
pub struct Source {
    pub bytes: Vec<u8>,
    pub head: FileHead,
    pub codec: TileCodec,
    pub tiles: Vec<Range<usize>>,
    pub fill: i32,
}

impl Source {
    pub fn new(bytes: Vec<u8>, fill: i32) -> Source {
        let head = head(&bytes);
        let codec = TileCodec::new(&CodecConfig::from_header(&head.header, 0)).unwrap();
        let entries =
            hop(&bytes, head.first_sot).iter().map(|(_, s)| TlmEntry { tile: s.tile, length: s.psot }).collect();
        let tiles = head.header.grid().unwrap().tiles();
        let spans = TlmTable { entries }.tile_spans(head.first_sot, bytes.len() as u64, tiles).unwrap();
        let tiles = spans.iter().map(|s| s.offset as usize..(s.offset + s.length) as usize).collect();
        Source { bytes, head, codec, tiles, fill }
    }

    pub fn made(recipe: &Recipe, fill: i32) -> Source {
        Source::new(encode(recipe).unwrap(), fill)
    }

    /// Tiles across.
    pub fn across(&self) -> usize {
        let geometry = self.codec.geometry();
        geometry.width.div_ceil(geometry.tile_width) as usize
    }

    pub fn chunk(&self, tile: usize) -> &[u8] {
        &self.bytes[self.tiles[tile].clone()]
    }

    /// Indices of a tile's chunk.
    pub fn indices(&self, time: u64, tile: usize) -> Vec<u64> {
        let (row, column) = ((tile / self.across()) as u64, (tile % self.across()) as u64);
        if self.codec.components() > 1 { vec![time, 0, row, column] } else { vec![time, row, column] }
    }

    /// The array's metadata, two steps of time.
    pub fn metadata(&self, codec: &TileCodec, reduce: u8) -> Value {
        let geometry = codec.geometry();
        let dtype = match (codec.dtype().bytes, codec.dtype().signed) {
            (1, false) => "uint8",
            (1, true) => "int8",
            (_, false) => "uint16",
            (_, true) => "int16",
        };
        let with_components = |first: u32, y: u32, x: u32| match geometry.components {
            1 => vec![first, y, x],
            n => vec![first, n, y, x],
        };
        json!({
            "zarr_format": 3,
            "node_type": "array",
            "shape": with_components(2, geometry.height, geometry.width),
            "data_type": dtype,
            "chunk_grid": {"name": "regular", "configuration": {
                "chunk_shape": with_components(1, geometry.tile_height, geometry.tile_width),
            }},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": self.fill,
            "codecs": [{"name": CODEC_NAME, "configuration": CodecConfig::from_header(&self.head.header, reduce)}],
            "attributes": {},
        })
    }
}

/// An array in memory.
pub type MemoryArray = Array<dyn ReadableWritableStorageTraits>;

/// Opens an array with these chunks.
pub fn open<'a>(
    metadata: &Value,
    chunks: impl IntoIterator<Item = (Vec<u64>, &'a [u8])>,
) -> Result<MemoryArray, zarrs::array::ArrayCreateError> {
    let store = MemoryStore::new();
    let set = |key: &str, bytes: &[u8]| store.set(&StoreKey::new(key).unwrap(), bytes.to_vec().into()).unwrap();
    set("band/zarr.json", metadata.to_string().as_bytes());
    for (indices, bytes) in chunks {
        let indices: Vec<String> = indices.iter().map(u64::to_string).collect();
        set(&format!("band/c/{}", indices.join("/")), bytes);
    }
    let store: Arc<dyn ReadableWritableStorageTraits> = Arc::new(store);
    Array::open(store, "/band")
}

/// Samples of any of the codec's types.
pub fn samples(bytes: ArrayBytes<'_>, data_type: &DataType) -> Vec<i32> {
    use zarrs::array::data_type as t;
    let bytes = bytes.into_fixed().unwrap();
    let pairs = || bytes.as_chunks::<2>().0.iter();
    if data_type.is::<t::UInt8DataType>() {
        bytes.iter().map(|b| i32::from(*b)).collect()
    } else if data_type.is::<t::Int8DataType>() {
        bytes.iter().map(|b| i32::from(i8::from_ne_bytes([*b]))).collect()
    } else if data_type.is::<t::UInt16DataType>() {
        pairs().map(|b| i32::from(u16::from_ne_bytes(*b))).collect()
    } else {
        assert!(data_type.is::<t::Int16DataType>());
        pairs().map(|b| i32::from(i16::from_ne_bytes(*b))).collect()
    }
}

/// What an array should hold.
pub struct Model {
    shape: Vec<u64>,
    values: Vec<i32>,
}

impl Model {
    /// `value` of (time, component, y, x).
    pub fn new(shape: &[u64], value: impl Fn(u64, u32, u32, u32) -> i32) -> Model {
        let value = |i: &[u64]| match *i {
            [time, y, x] => value(time, 0, y as u32, x as u32),
            [time, component, y, x] => value(time, component as u32, y as u32, x as u32),
            _ => panic!("{i:?}"),
        };
        let all = ArraySubset::new_with_shape(shape.to_vec());
        Model { shape: shape.to_vec(), values: all.indices().into_iter().map(|i| value(&i)).collect() }
    }

    pub fn subset(&self, subset: &ArraySubset) -> Vec<i32> {
        let at = subset.linearised_indices(&self.shape).unwrap();
        at.into_iter().map(|i| self.values[i as usize]).collect()
    }
}
