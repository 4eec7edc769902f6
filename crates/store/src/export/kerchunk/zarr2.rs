//! Arrays and groups in the words of Zarr format 2.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use s2ice_jpeg2000::CODEC_NAME;
use s2ice_manifest::encoding::{Encoding, Endian, TiffCompression, TiffPredictor};
use s2ice_manifest::profile::HeaderProfile;
use serde_json::{Map, Value, json};

use crate::layout::codecs::DIFFERENCING_NAME;
use crate::layout::document::{numeric_codecs, text_codecs};
use crate::layout::overview;

/// Dimensions of the references in an array; every reader of format 2 that knows names knows them from here.
const DIMENSIONS: &str = "_ARRAY_DIMENSIONS";

/// An array of format 2.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Array {
    /// `.zarray`.
    pub(super) metadata: Value,
    /// `.zattrs`.
    pub(super) attributes: Value,
    /// Chunks along each dimension.
    pub(super) grid: Vec<u64>,
}

/// How the chunks of an array come.
#[derive(Clone, Copy)]
pub(super) enum Chunks<'a> {
    /// As tiles of files with this header.
    Tiles(&'a HeaderProfile),
    /// As bytes that the store holds.
    Bytes,
}

/// True where the components of a pixel stand side by side in a tile. Format 2 cannot move axes, so they are the last
/// dimension there.
pub(super) fn has_components_last(header: &HeaderProfile) -> bool {
    matches!(header.encoding, Encoding::Tiff(_)) && header.components > 1
}

/// `.zgroup` of any group.
pub(super) fn group() -> Value {
    json!({ "zarr_format": 2 })
}

/// An array, with `steps` instead of all its time steps where it has a time axis. A chunk of an array with one dimension,
/// time, holds all steps.
///
/// # Errors
/// What format 2 cannot express, in words.
pub(super) fn array(document: &Value, chunks: Chunks<'_>, steps: usize) -> Result<Array, String> {
    if document.get("storage_transformers").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
        return Err("Zarr format 2 has no storage transformers".to_owned());
    }
    let numbers = |pointer: &str| -> Option<Vec<u64>> {
        document.pointer(pointer)?.as_array()?.iter().map(Value::as_u64).collect()
    };
    let mut shape = numbers("/shape").ok_or("it has no shape")?;
    let mut chunk = numbers("/chunk_grid/configuration/chunk_shape").ok_or("it has no regular chunks")?;
    let names = document.get("dimension_names").and_then(Value::as_array);
    let names = names.and_then(|names| names.iter().map(|name| name.as_str().map(str::to_owned)).collect());
    let mut names: Vec<String> = names.ok_or("its dimensions have no names")?;
    if shape.len() != chunk.len() || shape.len() != names.len() || chunk.contains(&0) {
        return Err(format!("its shape {shape:?} and its chunks {chunk:?} do not go together"));
    }
    let mut attributes = document.get("attributes").and_then(Value::as_object).cloned().unwrap_or_default();
    let fill = fill(document, &attributes)?;
    if names.first().is_some_and(|name| name == "time") {
        shape[0] = steps as u64;
        if names.len() == 1 {
            chunk[0] = shape[0].max(1);
        }
    }
    let (endian, compressor, filters) = match chunks {
        Chunks::Tiles(header) => {
            if has_components_last(header) && shape.len() > 1 {
                shape[1..].rotate_left(1);
                chunk[1..].rotate_left(1);
                names[1..].rotate_left(1);
            }
            tiles(document, header, &chunk)
        }
        Chunks::Bytes => bytes(document)?,
    };
    let grid = shape.iter().zip(&chunk).map(|(length, chunk)| length.div_ceil(*chunk)).collect();
    attributes.insert(DIMENSIONS.to_owned(), json!(names));
    let metadata = json!({
        "zarr_format": 2,
        "shape": shape,
        "chunks": chunk,
        "dtype": data_type(document, endian)?,
        "compressor": compressor,
        "filters": filters,
        "fill_value": fill,
        "order": "C",
        "dimension_separator": ".",
    });
    Ok(Array { metadata, attributes: attributes.into(), grid })
}

/// Readers of format 2 take the fill value for what `_FillValue` says, so it may only stand where the array has that
/// attribute. Without one a missing chunk reads as zeros, or as empty texts.
fn fill(document: &Value, attributes: &Map<String, Value>) -> Result<Value, String> {
    let fill = document.get("fill_value").cloned().unwrap_or_default();
    match &fill {
        _ if attributes.contains_key("_FillValue") => Ok(fill),
        Value::String(text) if text == "NaN" => Ok(fill),
        Value::String(text) if text.is_empty() => Ok(Value::Null),
        Value::Number(number) if number.as_u64() == Some(0) => Ok(Value::Null),
        other => Err(format!("Zarr format 2 would take its fill value {other} for missing data")),
    }
}

/// Byte order, compressor and filters of tiles.
fn tiles(document: &Value, header: &HeaderProfile, chunk: &[u64]) -> (Endian, Value, Value) {
    let tiff = match &header.encoding {
        Encoding::Jpeg2000 { codec_header } => {
            let compressor = json!({
                "id": CODEC_NAME,
                "main_header": STANDARD.encode(codec_header),
                "reduce": overview::reduce_of(document),
                "fill_value": document.get("fill_value"),
            });
            return (Endian::Little, compressor, Value::Null);
        }
        Encoding::Tiff(tiff) => tiff,
    };
    let compressor = match tiff.compression {
        TiffCompression::None => Value::Null,
        // The level counts for writers only, and nobody writes.
        TiffCompression::Deflate => json!({ "id": "zlib", "level": 1 }),
    };
    let filters = match tiff.predictor {
        TiffPredictor::None => Value::Null,
        // A filter of format 2 is told nothing about its array.
        TiffPredictor::Horizontal => json!([{
            "id": DIFFERENCING_NAME,
            "dtype": data_type(document, tiff.endian).unwrap_or_default(),
            "columns": chunk.get(2),
            "components": header.components,
        }]),
    };
    (tiff.endian, compressor, filters)
}

/// The same of chunks that the store holds.
fn bytes(document: &Value) -> Result<(Endian, Value, Value), String> {
    let codecs = document.get("codecs").cloned().unwrap_or_default();
    let zstd = json!({ "id": "zstd", "level": 3 });
    if codecs == numeric_codecs() {
        Ok((Endian::Little, zstd, Value::Null))
    } else if codecs == text_codecs() {
        Ok((Endian::Little, zstd, json!([{ "id": "vlen-utf8" }])))
    } else {
        Err(format!("Zarr format 2 is not known to have its codecs {codecs}"))
    }
}

/// A data type as NumPy writes it.
fn data_type(document: &Value, endian: Endian) -> Result<String, String> {
    let name = document.get("data_type").and_then(Value::as_str).unwrap_or_default();
    let order = if endian == Endian::Big { '>' } else { '<' };
    Ok(match name {
        "string" => "|O".to_owned(),
        "uint8" => "|u1".to_owned(),
        _ => {
            let (kind, bits) = name.split_at(name.find(|c: char| c.is_ascii_digit()).unwrap_or(name.len()));
            let kind = match kind {
                "uint" => 'u',
                "int" => 'i',
                "float" => 'f',
                _ => return Err(format!("Zarr format 2 is not known to have its data type {name:?}")),
            };
            match bits {
                "16" | "32" | "64" => format!("{order}{kind}{}", bits.parse::<u8>().unwrap_or_default() / 8),
                _ => return Err(format!("Zarr format 2 is not known to have its data type {name:?}")),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use s2ice_manifest::encoding::TiffEncoding;

    use super::*;
    use crate::layout::codecs::chain;

    fn document(header: &HeaderProfile, attributes: &Value) -> Value {
        let middle = (header.components > 1).then_some(u64::from(header.components));
        let dims = |first: u64, (height, width): (u32, u32)| -> Vec<u64> {
            [first].into_iter().chain(middle).chain([u64::from(height), u64::from(width)]).collect()
        };
        let names = if middle.is_some() { json!(["time", "band", "y", "x"]) } else { json!(["time", "y", "x"]) };
        json!({
            "shape": dims(7, header.image), "data_type": if header.bit_depth == 8 { "uint8" } else { "uint16" },
            "chunk_grid": { "configuration": { "chunk_shape": dims(1, header.tile) } },
            "codecs": chain(&header.encoding, middle.is_some(), 0), "fill_value": 0,
            "attributes": attributes, "dimension_names": names, "storage_transformers": [],
        })
    }

    fn tiff(components: u32, bits: u8) -> HeaderProfile {
        let encoding = TiffEncoding {
            compression: TiffCompression::Deflate,
            predictor: TiffPredictor::Horizontal,
            endian: Endian::Big,
        };
        HeaderProfile::tiff(encoding, components, (1830, 1830), (512, 256), bits)
    }

    #[test]
    fn the_fill_value_stands_where_it_means_missing() {
        let header = tiff(1, 16);
        let of = |attributes: Value| array(&document(&header, &attributes), Chunks::Tiles(&header), 3).unwrap();
        let band = of(json!({ "_FillValue": 0, "units": "1" }));
        assert_eq!((&band.metadata["fill_value"], &band.metadata["shape"]), (&json!(0), &json!([3, 1830, 1830])));
        assert_eq!((band.grid, &band.attributes[DIMENSIONS]), (vec![3, 4, 8], &json!(["time", "y", "x"])));
        assert_eq!(of(json!({ "flag_values": [0, 1] })).metadata["fill_value"], Value::Null);
        let mut other = document(&header, &json!({}));
        other["fill_value"] = 255.into();
        assert!(array(&other, Chunks::Tiles(&header), 3).unwrap_err().contains("its fill value 255"));
    }

    #[test]
    fn components_side_by_side_are_the_last_dimension() {
        let header = tiff(3, 8);
        let array = array(&document(&header, &json!({})), Chunks::Tiles(&header), 7).unwrap();
        assert_eq!(array.metadata["chunks"], json!([1, 512, 256, 3]));
        assert_eq!(array.attributes[DIMENSIONS], json!(["time", "y", "x", "band"]));
        let filter = json!([{ "id": DIFFERENCING_NAME, "dtype": "|u1", "columns": 256, "components": 3 }]);
        assert_eq!((&array.metadata["filters"], array.grid), (&filter, vec![7, 4, 8, 1]));
    }

    #[test]
    fn what_format_2_cannot_say_is_refused_by_name() {
        let header = tiff(1, 16);
        let refused = |pointer: &str, value: Value| {
            let mut document = document(&header, &json!({}));
            *document.pointer_mut(pointer).unwrap() = value;
            array(&document, Chunks::Bytes, 3).unwrap_err()
        };
        assert!(refused("/storage_transformers", json!([{ "name": "x" }])).ends_with("no storage transformers"));
        assert!(refused("/codecs", json!([{ "name": "x" }])).contains("its codecs [{\"name\":\"x\"}]"));
        assert!(refused("/chunk_grid", json!({ "name": "rectilinear" })).ends_with("no regular chunks"));
        assert!(refused("/shape", json!([1, 2])).contains("do not go together"));
        let mut document = document(&header, &json!({}));
        (document["data_type"], document["codecs"]) = ("complex64".into(), numeric_codecs());
        assert!(array(&document, Chunks::Bytes, 3).unwrap_err().ends_with("its data type \"complex64\""));
    }
}
