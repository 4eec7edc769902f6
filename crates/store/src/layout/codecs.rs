//! Codec chains of data arrays: written from the profile of their rasters, and read back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use s2ice_jpeg2000::CODEC_NAME;
use s2ice_manifest::encoding::{Encoding, Endian, SourceKind, TiffCompression, TiffEncoding, TiffPredictor};
use s2ice_manifest::profile::HeaderProfile;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Name of the filter that undoes TIFF predictor 2 row by row (docs/formats/codec.md).
pub const DIFFERENCING_NAME: &str = "s2ice.horizontal_differencing";

/// Configuration of the filter: there is nothing to configure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Configuration of s2ice.horizontal_differencing")]
pub struct DifferencingConfig {}

/// Registered name of a zlib stream.
const ZLIB_NAME: &str = "numcodecs.zlib";

/// The codec of s2ice's own that stores of a kind need.
pub fn own_codec(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Jp2 => CODEC_NAME,
        SourceKind::Cog => DIFFERENCING_NAME,
    }
}

/// Codec chain of an array that leaves out so many resolutions, where its rasters have any. `has_components`: chunks are
/// (1, components, height, width), else (1, height, width).
pub fn chain(encoding: &Encoding, has_components: bool, reduce: u8) -> Value {
    match encoding {
        Encoding::Jpeg2000 { codec_header } => {
            let main_header = STANDARD.encode(codec_header);
            json!([{ "name": CODEC_NAME, "configuration": { "main_header": main_header, "reduce": reduce } }])
        }
        Encoding::Tiff(tiff) => {
            let mut chain = Vec::new();
            if tiff.predictor == TiffPredictor::Horizontal {
                chain.push(json!({ "name": DIFFERENCING_NAME }));
            }
            if has_components {
                // The components of a pixel stand side by side in the file.
                chain.push(json!({ "name": "transpose", "configuration": { "order": [0, 2, 3, 1] } }));
            }
            chain.push(json!({ "name": "bytes", "configuration": { "endian": tiff.endian.name() } }));
            if tiff.compression == TiffCompression::Deflate {
                // The level counts for writers only, and nobody writes.
                chain.push(json!({ "name": ZLIB_NAME, "configuration": { "level": 1 } }));
            }
            Value::Array(chain)
        }
    }
}

/// The profile of an array's rasters, from the array's document.
///
/// # Errors
/// The chain is none that [`chain`] writes, or the geometry is none of a raster; in words.
pub fn profile(document: &Value, has_components: bool) -> Result<HeaderProfile, String> {
    let codecs = document.get("codecs").and_then(Value::as_array).ok_or("it has no codecs")?;
    if let Some(header) = jpeg2000_header(codecs) {
        let header = header.ok_or("it does not say its main header")?;
        let header = STANDARD.decode(header).map_err(|error| error.to_string())?;
        return HeaderProfile::parse(&header).map_err(|error| error.to_string());
    }
    let encodings = [TiffPredictor::None, TiffPredictor::Horizontal].into_iter().flat_map(|predictor| {
        [TiffCompression::None, TiffCompression::Deflate].into_iter().flat_map(move |compression| {
            [Endian::Little, Endian::Big].map(|endian| TiffEncoding { compression, predictor, endian })
        })
    });
    let same =
        |encoding: &TiffEncoding| chain(&Encoding::Tiff(*encoding), has_components, 0).as_array() == Some(codecs);
    let encoding = encodings.into_iter().find(same).ok_or("its codecs are none that s2ice writes")?;
    let numbers = |pointer: &str| -> Option<Vec<u64>> {
        document.pointer(pointer)?.as_array()?.iter().map(Value::as_u64).collect()
    };
    let shape = numbers("/shape").ok_or("it has no shape")?;
    let chunks = numbers("/chunk_grid/configuration/chunk_shape").ok_or("it has no chunk shape")?;
    let edge = |number: u64| u32::try_from(number).ok().filter(|n| *n > 0);
    let last_two = |numbers: &[u64]| match numbers {
        [.., height, width] if numbers.len() == 3 + usize::from(has_components) => edge(*height).zip(edge(*width)),
        _ => None,
    };
    let image = last_two(&shape).ok_or_else(|| format!("its shape is {shape:?}"))?;
    let tile = last_two(&chunks).ok_or_else(|| format!("its chunk shape is {chunks:?}"))?;
    let components = if has_components { edge(shape[1]).ok_or("it has no components")? } else { 1 };
    let bit_depth = match document.get("data_type").and_then(Value::as_str) {
        Some("uint8") => 8,
        Some("uint16") => 16,
        other => return Err(format!("its data type is {other:?}")),
    };
    Ok(HeaderProfile::tiff(encoding, components, image, tile, bit_depth))
}

/// The main header in base64 of a JPEG 2000 chain; `None` for another chain.
fn jpeg2000_header(codecs: &[Value]) -> Option<Option<&str>> {
    let first = codecs.first()?;
    let is_ours = first.get("name").and_then(Value::as_str) == Some(CODEC_NAME);
    is_ours.then(|| first.pointer("/configuration/main_header").and_then(Value::as_str))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn document(profile: &HeaderProfile) -> Value {
        let has_components = profile.components > 1;
        let components = has_components.then_some(u64::from(profile.components));
        let dims = |first: u64, (height, width): (u32, u32)| -> Vec<u64> {
            [first].into_iter().chain(components).chain([u64::from(height), u64::from(width)]).collect()
        };
        json!({
            "shape": dims(7, profile.image), "data_type": if profile.bit_depth == 8 { "uint8" } else { "uint16" },
            "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": dims(1, profile.tile) } },
            "codecs": chain(&profile.encoding, has_components, 0),
        })
    }

    #[test]
    fn what_is_written_is_read_back() {
        for predictor in [TiffPredictor::None, TiffPredictor::Horizontal] {
            for compression in [TiffCompression::None, TiffCompression::Deflate] {
                for endian in [Endian::Little, Endian::Big] {
                    for (components, bits) in [(1, 16), (1, 8), (3, 8)] {
                        let encoding = TiffEncoding { compression, predictor, endian };
                        let written = HeaderProfile::tiff(encoding, components, (5490, 5490), (512, 256), bits);
                        assert_eq!(profile(&document(&written), components > 1).unwrap(), written);
                    }
                }
            }
        }
    }

    #[test]
    fn chains_of_others_are_refused() {
        let encoding = TiffEncoding {
            compression: TiffCompression::Deflate,
            predictor: TiffPredictor::Horizontal,
            endian: Endian::Little,
        };
        let good = document(&HeaderProfile::tiff(encoding, 1, (1830, 1830), (512, 512), 16));
        let with = |pointer: &str, value: Value| {
            let mut document = good.clone();
            *document.pointer_mut(pointer).unwrap() = value;
            profile(&document, false).unwrap_err()
        };
        assert_eq!(with("/codecs/0/name", "numcodecs.delta".into()), "its codecs are none that s2ice writes");
        assert_eq!(with("/codecs/0/name", CODEC_NAME.into()), "it does not say its main header");
        assert_eq!(with("/data_type", "int16".into()), "its data type is Some(\"int16\")");
        assert_eq!(with("/shape", json!([7, 0, 1830])), "its shape is [7, 0, 1830]");
        assert_eq!(with("/chunk_grid/configuration/chunk_shape", json!([512, 512])), "its chunk shape is [512, 512]");
    }
}
