//! The values of small arrays from their `zarr.json` and chunks, whatever their data type.

use std::io::Read;

use serde_json::Value;

use super::documents::is_along_time;

/// Bytes that one chunk of a coordinate or column can have; more is no coordinate.
const CHUNK_LIMIT: u64 = 256 * 1024 * 1024;

/// How the chunks of an array are to be read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Form {
    item: Item,
    compressed: bool,
    /// Chunk shape.
    pub(super) chunks: Vec<u64>,
    /// Value where there is no chunk.
    pub(super) fill: Value,
    /// True where the first dimension is `time`.
    pub(super) along_time: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Signed(usize),
    Unsigned(usize),
    Float32,
    Float64,
    Text,
}

impl Item {
    fn of(data_type: &str) -> Option<Self> {
        Some(match data_type {
            "int8" => Self::Signed(1),
            "int16" => Self::Signed(2),
            "int32" => Self::Signed(4),
            "int64" => Self::Signed(8),
            "bool" | "uint8" => Self::Unsigned(1),
            "uint16" => Self::Unsigned(2),
            "uint32" => Self::Unsigned(4),
            "uint64" => Self::Unsigned(8),
            "float32" => Self::Float32,
            "float64" => Self::Float64,
            "string" => Self::Text,
            _ => return None,
        })
    }

    /// Bytes of one item; none where items differ in length.
    fn size(self) -> Option<usize> {
        match self {
            Self::Signed(size) | Self::Unsigned(size) => Some(size),
            Self::Float32 => Some(4),
            Self::Float64 => Some(8),
            Self::Text => None,
        }
    }

    /// The value of little-endian bytes, of which there are [`Item::size`].
    fn value(self, bytes: &[u8]) -> Value {
        let mut wide = [0; 8];
        for (to, from) in wide.iter_mut().zip(bytes) {
            *to = *from;
        }
        let bits = u64::from_le_bytes(wide);
        match self {
            Self::Signed(size) => {
                // The sign is that of the last byte: shift it to the top and back.
                let unused = u32::try_from(64 - 8 * size).unwrap_or_default();
                Value::from((bits << unused).cast_signed() >> unused)
            }
            Self::Float32 => float(f32::from_le_bytes([wide[0], wide[1], wide[2], wide[3]]).into()),
            Self::Float64 => float(f64::from_bits(bits)),
            Self::Unsigned(_) | Self::Text => Value::from(bits),
        }
    }
}

/// JSON knows no NaN: Zarr's own names stand for it and the infinities.
fn float(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(
        || {
            Value::from(if value.is_nan() {
                "NaN"
            } else if value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            })
        },
        Value::Number,
    )
}

impl Form {
    /// How to read the array of this document; none where its data type or codecs are not those of coordinates.
    pub(super) fn of(document: &Value) -> Option<Self> {
        let item = Item::of(document.get("data_type")?.as_str()?)?;
        let codecs = document.get("codecs")?.as_array()?;
        let name = |index: usize| codecs.get(index).and_then(|codec| codec.get("name")).and_then(Value::as_str);
        let serializer = if item == Item::Text { "vlen-utf8" } else { "bytes" };
        let big = document.pointer("/codecs/0/configuration/endian").and_then(Value::as_str) == Some("big");
        let compressed = codecs.len() == 2;
        if name(0) != Some(serializer) || big || codecs.len() > 2 || (compressed && name(1) != Some("zstd")) {
            return None;
        }
        let chunks = document.pointer("/chunk_grid/configuration/chunk_shape")?.as_array()?;
        let fill = document.get("fill_value")?;
        Some(Self {
            item,
            compressed,
            chunks: chunks.iter().map(Value::as_u64).collect::<Option<_>>()?,
            fill: match (item, fill.as_f64()) {
                (Item::Float32 | Item::Float64, Some(number)) => float(number),
                _ => fill.clone(),
            },
            along_time: is_along_time(document),
        })
    }

    /// Time steps in one chunk.
    pub(super) fn steps_per_chunk(&self) -> usize {
        self.chunks.first().and_then(|n| usize::try_from(*n).ok()).unwrap_or(1).max(1)
    }

    /// The values of a chunk in order.
    ///
    /// # Errors
    /// The bytes are no such chunk.
    pub(super) fn values(&self, stored: &[u8]) -> std::io::Result<Vec<Value>> {
        let raw = self.raw(stored)?;
        match self.item.size() {
            Some(size) => Ok(raw.chunks_exact(size).map(|bytes| self.item.value(bytes)).collect()),
            None => texts(&raw),
        }
    }

    /// The bytes of a chunk without compression. All chunks of a numeric array are of one size.
    ///
    /// # Errors
    /// The bytes are no such chunk.
    pub(super) fn raw(&self, stored: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut raw = Vec::new();
        if self.compressed {
            zstd::stream::read::Decoder::new(stored)?.take(CHUNK_LIMIT + 1).read_to_end(&mut raw)?;
        } else {
            raw.extend_from_slice(stored);
        }
        let length = raw.len() as u64;
        let expected = self.item.size().map(|size| self.chunks.iter().fold(size as u64, |n, m| n.saturating_mul(*m)));
        if length > CHUNK_LIMIT || expected.is_some_and(|expected| expected != length) {
            let wanted = expected.unwrap_or(CHUNK_LIMIT);
            return Err(std::io::Error::other(format!("a chunk has {length} bytes where {wanted} are due")));
        }
        Ok(raw)
    }

    /// True where a part of a numeric chunk holds nothing but the fill value.
    pub(super) fn is_fill(&self, part: &[u8]) -> bool {
        let Some(size) = self.item.size() else { return false };
        let mut items = part.chunks_exact(size);
        let Some(first) = items.next() else { return true };
        self.item.value(first) == self.fill && items.all(|item| item == first)
    }

    /// True where items are text, which has no bytes of one size for each step.
    pub(super) fn is_text(&self) -> bool {
        self.item == Item::Text
    }
}

/// The items of a `vlen-utf8` chunk.
fn texts(raw: &[u8]) -> std::io::Result<Vec<Value>> {
    let short = || std::io::Error::other("a text ends before its time");
    let (count, mut rest) = raw.split_first_chunk::<4>().ok_or_else(short)?;
    let mut out = Vec::new();
    for _ in 0..u32::from_le_bytes(*count) {
        let (bytes, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let length = usize::try_from(u32::from_le_bytes(*bytes)).map_err(std::io::Error::other)?;
        let (text, after) = after.split_at_checked(length).ok_or_else(short)?;
        out.push(Value::from(String::from_utf8_lossy(text)));
        rest = after;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::layout::document::ArrayDocument;
    use crate::layout::time::Column;

    fn form(column: &Column) -> Form {
        let document = ArrayDocument {
            shape: vec![column.len() as u64],
            chunks: vec![crate::layout::document::TIME_CHUNK as u64],
            data_type: column.data_type(),
            fill_value: column.fill_value(),
            codecs: column.codecs(),
            dimensions: vec!["time".to_owned()],
            attributes: serde_json::Map::new(),
        };
        Form::of(&document.json()).unwrap()
    }

    #[test]
    fn columns_come_back_as_they_were_written() {
        let cases = [
            (Column::I64(vec![-1, i64::MAX]), json!([-1, i64::MAX])),
            (Column::I32(vec![-1000, 0]), json!([-1000, 0])),
            (Column::U32(vec![u32::MAX, 7]), json!([u32::MAX, 7])),
            (Column::U16(vec![511, 65535]), json!([511, 65535])),
            (Column::F32(vec![12.5, f32::NAN]), json!([12.5, "NaN"])),
            (Column::Text(vec!["S2A".into(), String::new()]), json!(["S2A", ""])),
        ];
        for (column, expected) in cases {
            let form = form(&column);
            let values = form.values(&column.encode().unwrap()[0]).unwrap();
            assert_eq!(Value::from(&values[..2]), expected);
            assert!(values[2..].iter().all(|value| *value == form.fill), "the rest is fill");
        }
    }

    #[test]
    fn damaged_chunks_are_refused() {
        let numbers = form(&Column::U16(vec![1]));
        let short = zstd::bulk::compress(&[0; 10], 3).unwrap();
        assert!(numbers.values(&short).is_err());
        assert!(numbers.values(b"no zstd").is_err());
        let text = form(&Column::Text(vec![String::new()]));
        let bomb = zstd::bulk::compress(&[255, 255, 255, 255, 255, 255, 255, 127, 1], 3).unwrap();
        assert!(text.values(&bomb).is_err());
    }

    #[test]
    fn a_part_of_fill_values_is_known_as_such() {
        let form = form(&Column::F32(vec![1.0]));
        let nan = f32::NAN.to_le_bytes();
        assert!(form.is_fill(&[nan, nan].concat()));
        assert!(!form.is_fill(&[nan, 1.0_f32.to_le_bytes()].concat()));
    }
}
