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
            Self::Text(v) => vlen_utf8(v, start, TIME_CHUNK),
        }
    }
}

/// The `vlen-utf8` codec: little-endian u32 count, then for each item its length as u32 and its bytes.
pub(crate) fn vlen_utf8(values: &[String], start: usize, count: usize) -> Vec<u8> {
    let length = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = length(count).to_vec();
    for i in start..start + count {
        let text = values.get(i).map_or("", String::as_str);
        bytes.extend(length(text.len()));
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// Encodes labels as one chunk.
///
/// # Errors
/// Compression failed.
pub fn encode_labels(labels: &[String]) -> std::io::Result<Vec<u8>> {
    compress(&vlen_utf8(labels, 0, labels.len()))
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

pub(crate) fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    zstd::bulk::compress(bytes, 3)
}

/// Longest decoded chunk of a text column that is believed, bytes.
const MAX_TEXT_CHUNK: usize = 64 << 20;

/// Decodes a chunk of [`TIME_CHUNK`] int64 values.
///
/// # Errors
/// The bytes are no such chunk.
pub fn decode_i64(bytes: &[u8]) -> std::io::Result<Vec<i64>> {
    decode(bytes, i64::from_le_bytes)
}

/// Decodes a chunk of [`TIME_CHUNK`] uint32 values.
///
/// # Errors
/// The bytes are no such chunk.
pub fn decode_u32(bytes: &[u8]) -> std::io::Result<Vec<u32>> {
    decode(bytes, u32::from_le_bytes)
}

/// Decodes a chunk of [`TIME_CHUNK`] uint16 values.
///
/// # Errors
/// The bytes are no such chunk.
pub fn decode_u16(bytes: &[u8]) -> std::io::Result<Vec<u16>> {
    decode(bytes, u16::from_le_bytes)
}

/// Decodes a chunk of [`TIME_CHUNK`] int32 values.
///
/// # Errors
/// The bytes are no such chunk.
pub fn decode_i32(bytes: &[u8]) -> std::io::Result<Vec<i32>> {
    decode(bytes, i32::from_le_bytes)
}

/// Decodes a chunk of [`TIME_CHUNK`] float32 values.
///
/// # Errors
/// The bytes are no such chunk.
pub fn decode_f32(bytes: &[u8]) -> std::io::Result<Vec<f32>> {
    decode(bytes, f32::from_le_bytes)
}

/// Decodes a chunk of [`TIME_CHUNK`] texts (`vlen-utf8`).
///
/// # Errors
/// The bytes are no such chunk.
pub fn decode_text(bytes: &[u8]) -> std::io::Result<Vec<String>> {
    let bad = |what: &str| std::io::Error::other(format!("a text chunk {what}"));
    let raw = zstd::bulk::decompress(bytes, MAX_TEXT_CHUNK)?;
    let mut rest = raw.as_slice();
    let number = |rest: &mut &[u8]| -> std::io::Result<usize> {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(|| bad("ends early"))?;
        *rest = tail;
        usize::try_from(u32::from_le_bytes(*head)).map_err(std::io::Error::other)
    };
    let count = number(&mut rest)?;
    if count != TIME_CHUNK {
        return Err(bad("has another number of items than a chunk has steps"));
    }
    (0..count)
        .map(|_| {
            let length = number(&mut rest)?;
            let (text, tail) = rest.split_at_checked(length).ok_or_else(|| bad("ends early"))?;
            rest = tail;
            std::str::from_utf8(text).map(str::to_owned).map_err(std::io::Error::other)
        })
        .collect()
}

fn decode<T, const N: usize>(bytes: &[u8], le: fn([u8; N]) -> T) -> std::io::Result<Vec<T>> {
    let raw = decompress(bytes, TIME_CHUNK * N)?;
    Ok(raw.as_chunks::<N>().0.iter().map(|b| le(*b)).collect())
}

/// Decompresses a chunk of so many bytes.
pub(crate) fn decompress(bytes: &[u8], size: usize) -> std::io::Result<Vec<u8>> {
    let raw = zstd::bulk::decompress(bytes, size)?;
    if raw.len() == size {
        return Ok(raw);
    }
    Err(std::io::Error::other(format!("{} bytes where a chunk has {size}", raw.len())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn columns_come_back() {
        let chunk = |column: Column| column.encode().unwrap().remove(0);
        assert_eq!(decode_i64(&chunk(Column::I64(vec![-1, 7]))).unwrap()[..3], [-1, 7, 0]);
        assert_eq!(decode_i32(&chunk(Column::I32(vec![-1000]))).unwrap()[..2], [-1000, 0]);
        assert_eq!(decode_u32(&chunk(Column::U32(vec![9]))).unwrap().len(), TIME_CHUNK);
        assert!(decode_f32(&chunk(Column::F32(vec![f32::NAN, 0.5]))).unwrap()[0].is_nan());
        let text = Column::Text(vec!["a".to_owned(), "\u{e9}".to_owned()]);
        assert_eq!(decode_text(&chunk(text)).unwrap()[..3], ["a", "\u{e9}", ""]);
    }

    #[test]
    fn damaged_chunks_are_refused() {
        for raw in [vec![], vec![0, 32, 0, 0, 1], [&8192_u32.to_le_bytes()[..], &[255; 8]].concat()] {
            assert!(decode_text(&zstd::bulk::compress(&raw, 1).unwrap()).is_err(), "{raw:?}");
        }
        assert!(decode_i64(b"no zstd").is_err());
        assert!(decode_i64(&compress(&[0; 8]).unwrap()).is_err());
    }
}
