//! The codec configuration as it stands in array metadata.

use crate::error::{Error, Part, Result};
use crate::header::MainHeader;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Name of the codec in Zarr metadata.
pub const CODEC_NAME: &str = "s2ice.jpeg2000";

/// Configuration of the codec `s2ice.jpeg2000`: what decoding needs beside the chunk's own bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CodecConfig {
    /// SOC and the source file's SIZ, COD, COC, QCD, QCC, RGN and POC marker segments, byte for byte and in file
    /// order, in standard base64 with padding. SIZ is that of the whole image.
    #[schemars(extend("contentEncoding" = "base64", "pattern" = "^[A-Za-z0-9+/]+={0,2}$"))]
    pub main_header: String,
    /// Number of resolutions left out. A chunk is the whole tile-parts of one tile; above 0 it may be a prefix of them
    /// that ends with the last packet of the lowest resolutions.
    #[serde(default)]
    #[schemars(range(max = 32))]
    pub reduce: u8,
}

impl CodecConfig {
    /// The configuration for chunks of a file with this header.
    #[must_use]
    pub fn from_header(header: &MainHeader, reduce: u8) -> CodecConfig {
        CodecConfig { main_header: STANDARD.encode(header.codec_header()), reduce }
    }

    /// The main header's bytes.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the text is no base64; the offset counts its characters.
    pub fn header_bytes(&self) -> Result<Vec<u8>> {
        STANDARD.decode(&self.main_header).map_err(|e| {
            let offset = match e {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at as u64,
                _ => self.main_header.len() as u64,
            };
            Error::invalid(Part::Field("main_header"), offset, format!("no base64: {e}"))
        })
    }

    /// The main header, parsed.
    ///
    /// # Errors
    /// As [`CodecConfig::header_bytes`] and [`MainHeader::parse`].
    pub fn header(&self) -> Result<MainHeader> {
        MainHeader::parse(&self.header_bytes()?)
    }
}

/// JSON Schema of [`CodecConfig`], generated from the type.
#[must_use]
pub fn codec_schema() -> serde_json::Value {
    schemars::schema_for!(CodecConfig).to_value()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

    use super::*;
    use crate::samples;
    use proptest::prelude::*;

    #[test]
    fn configurations_come_back() {
        let header = samples::header();
        let config = CodecConfig::from_header(&header, 2);
        let json = serde_json::to_string(&config).unwrap();
        let back: CodecConfig = serde_json::from_str(&json).unwrap();
        assert_eq!(back, config);
        assert_eq!(back.header().unwrap(), header);
        let short = format!("{{\"main_header\":\"{}\"}}", config.main_header);
        assert_eq!(serde_json::from_str::<CodecConfig>(&short).unwrap().reduce, 0);
        let long = format!("{{\"main_header\":\"{}\",\"level\":1}}", config.main_header);
        serde_json::from_str::<CodecConfig>(&long).unwrap_err();
    }

    #[test]
    fn other_text_is_refused_with_a_place() {
        let config = CodecConfig { main_header: "/0//UQ*A".into(), reduce: 0 };
        let error = config.header().unwrap_err();
        assert_eq!(error.offset(), 6);
        assert!(error.to_string().starts_with("field main_header at byte 6"), "{error}");
        CodecConfig { main_header: String::new(), reduce: 0 }.header().unwrap_err();
    }

    #[test]
    fn the_schema_file_is_in_step() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/codec.schema.json");
        let mut file: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        // Where it is published is for the command to say.
        file.as_object_mut().unwrap().remove("$id");
        assert_eq!(file, codec_schema());
    }

    #[test]
    fn the_documented_example_holds() {
        let text = include_str!("../../../docs/formats/codec.md");
        let json = text.split("```json").nth(1).unwrap().split("```").next().unwrap();
        let codec: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(codec["name"], CODEC_NAME);
        let config: CodecConfig = serde_json::from_value(codec["configuration"].clone()).unwrap();
        let header = config.header().unwrap();
        assert_eq!(CodecConfig::from_header(&header, 0), config);
        assert!(text.contains(&header.profile().to_string()), "{}", header.profile());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            let _ = CodecConfig { main_header: text, reduce: 0 }.header();
        }
    }
}
