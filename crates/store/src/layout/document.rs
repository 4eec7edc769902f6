//! Zarr v3 metadata documents and the bytes of small arrays.

use serde_json::{Map, Value, json};

use super::time::Column;

/// Time steps in one chunk of a per-time column: all of a mission's lifetime, so that each column is one small chunk.
pub const TIME_CHUNK: usize = 8192;

/// `zarr.json` of a group.
pub fn group(attributes: Map<String, Value>) -> Value {
    json!({ "zarr_format": 3, "node_type": "group", "attributes": attributes })
}

/// `zarr.json` of an array.
pub struct ArrayDocument {
    /// Shape.
    pub shape: Vec<u64>,
    /// Chunk shape.
    pub chunks: Vec<u64>,
    /// Zarr data type name.
    pub data_type: &'static str,
    /// Fill value.
    pub fill_value: Value,
    /// Codec chain.
    pub codecs: Value,
    /// Dimension names.
    pub dimensions: Vec<String>,
    /// Attributes.
    pub attributes: Map<String, Value>,
}

impl ArrayDocument {
    /// The document.
    pub fn json(self) -> Value {
        json!({
            "zarr_format": 3,
            "node_type": "array",
            "shape": self.shape,
            "data_type": self.data_type,
            "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": self.chunks } },
            "chunk_key_encoding": { "name": "default", "configuration": { "separator": "/" } },
            "fill_value": self.fill_value,
            "codecs": self.codecs,
            "attributes": self.attributes,
            "dimension_names": self.dimensions,
            "storage_transformers": [],
        })
    }
}

fn zstd_codec() -> Value {
    json!({ "name": "zstd", "configuration": { "level": 3, "checksum": false } })
}

/// Codec chain of numeric coordinates: little-endian bytes, zstd.
pub fn numeric_codecs() -> Value {
    json!([{ "name": "bytes", "configuration": { "endian": "little" } }, zstd_codec()])
}

/// Codec chain of text columns.
pub fn text_codecs() -> Value {
    json!([{ "name": "vlen-utf8" }, zstd_codec()])
}

impl Column {
    /// Number of steps.
    pub fn len(&self) -> usize {
        match self {
            Self::I64(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::Text(v) => v.len(),
        }
    }

    /// True without steps.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Zarr data type.
    pub fn data_type(&self) -> &'static str {
        match self {
            Self::I64(_) => "int64",
            Self::U32(_) => "uint32",
            Self::U16(_) => "uint16",
            Self::I32(_) => "int32",
            Self::F32(_) => "float32",
            Self::Text(_) => "string",
        }
    }

    /// Zarr fill value.
    pub fn fill_value(&self) -> Value {
        match self {
            Self::F32(_) => "NaN".into(),
            Self::Text(_) => "".into(),
            _ => 0.into(),
        }
    }

    /// Codec chain.
    pub fn codecs(&self) -> Value {
        match self {
            Self::Text(_) => text_codecs(),
            _ => numeric_codecs(),
        }
    }

    /// The encoded chunks of [`TIME_CHUNK`] steps, in order.
    ///
    /// # Errors
    /// Compression failed.
    pub fn encode(&self) -> std::io::Result<Vec<Vec<u8>>> {
        let starts = (0..self.len()).step_by(TIME_CHUNK);
        starts.map(|start| compress(&self.raw_chunk(start))).collect()
    }

    fn raw_chunk(&self, start: usize) -> Vec<u8> {
        fn padded<T: Copy, const N: usize>(values: &[T], start: usize, fill: T, le: fn(T) -> [u8; N]) -> Vec<u8> {
            (start..start + TIME_CHUNK).flat_map(|i| le(values.get(i).copied().unwrap_or(fill))).collect()
        }
        match self {
            Self::I64(v) => padded(v, start, 0, i64::to_le_bytes),
            Self::U32(v) => padded(v, start, 0, u32::to_le_bytes),
            Self::U16(v) => padded(v, start, 0, u16::to_le_bytes),
            Self::I32(v) => padded(v, start, 0, i32::to_le_bytes),
            Self::F32(v) => padded(v, start, f32::NAN, f32::to_le_bytes),
            Self::Text(v) => vlen_utf8(v, start),
        }
    }
}

/// The `vlen-utf8` codec: little-endian u32 count, then for each item its length as u32 and its bytes.
fn vlen_utf8(values: &[String], start: usize) -> Vec<u8> {
    let length = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = length(TIME_CHUNK).to_vec();
    for i in start..start + TIME_CHUNK {
        let text = values.get(i).map_or("", String::as_str);
        bytes.extend(length(text.len()));
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// Encodes float64 coordinates as one chunk.
///
/// # Errors
/// Compression failed.
pub fn encode_f64(values: &[f64]) -> std::io::Result<Vec<u8>> {
    compress(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
}

/// Encodes int64 numbers as one chunk; a scalar array has one.
///
/// # Errors
/// Compression failed.
pub fn encode_i64(values: &[i64]) -> std::io::Result<Vec<u8>> {
    compress(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
}

fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    zstd::bulk::compress(bytes, 3)
}

/// Decodes a chunk of [`TIME_CHUNK`] int64 values.
///
/// # Errors
/// The bytes are no such chunk.
pub fn decode_i64(bytes: &[u8]) -> std::io::Result<Vec<i64>> {
    let raw = decompress(bytes, TIME_CHUNK * 8)?;
    Ok(raw.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
}

/// Decodes a chunk of [`TIME_CHUNK`] uint32 values.
///
/// # Errors
/// The bytes are no such chunk.
pub fn decode_u32(bytes: &[u8]) -> std::io::Result<Vec<u32>> {
    let raw = decompress(bytes, TIME_CHUNK * 4)?;
    Ok(raw.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect())
}

fn decompress(bytes: &[u8], size: usize) -> std::io::Result<Vec<u8>> {
    let raw = zstd::bulk::decompress(bytes, size)?;
    if raw.len() == size {
        return Ok(raw);
    }
    Err(std::io::Error::other(format!("{} bytes where a chunk has {size}", raw.len())))
}
