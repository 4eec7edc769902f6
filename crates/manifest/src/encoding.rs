//! How the bytes of a chunk become samples: what all chunks of one array share.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Formats of product files that a store can refer to; one store is of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// JPEG 2000 files of SAFE products, found by a TLM index.
    #[default]
    Jp2,
    /// Cloud-optimised GeoTIFFs, found by the items of a STAC catalogue.
    Cog,
}

impl SourceKind {
    /// True for JPEG 2000.
    #[must_use]
    pub fn is_jp2(&self) -> bool {
        *self == Self::Jp2
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jp2 => "jp2",
            Self::Cog => "cog",
        })
    }
}

impl FromStr for SourceKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "jp2" => Ok(Self::Jp2),
            "cog" => Ok(Self::Cog),
            _ => Err(format!("{text:?} is no kind of source: jp2 or cog")),
        }
    }
}

/// How the bytes of a chunk are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoding {
    /// A JPEG 2000 tile, decoded with the main header of its file.
    Jpeg2000 {
        /// SOC and the SIZ, COD, COC, QCD, QCC, RGN, POC marker segments, byte for byte.
        codec_header: Vec<u8>,
    },
    /// A TIFF tile.
    Tiff(TiffEncoding),
}

impl Encoding {
    /// The kind of file that has such chunks.
    #[must_use]
    pub fn kind(&self) -> SourceKind {
        match self {
            Self::Jpeg2000 { .. } => SourceKind::Jp2,
            Self::Tiff(_) => SourceKind::Cog,
        }
    }

    /// What of a file states the encoding, for sentences.
    #[must_use]
    pub fn holder(&self) -> &'static str {
        match self {
            Self::Jpeg2000 { .. } => "main header",
            Self::Tiff(_) => "TIFF header",
        }
    }
}

/// How a TIFF tile is written (TIFF 6.0; compression codes of Adobe's technical notes). Components of a pixel stand side by
/// side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TiffEncoding {
    /// Compression of the whole tile.
    pub compression: TiffCompression,
    /// What was done to the samples before.
    pub predictor: TiffPredictor,
    /// Order of the bytes of a sample; little where samples have one byte.
    pub endian: Endian,
}

/// TIFF tag 259.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TiffCompression {
    /// 1: none.
    None,
    /// 8 and 32946: a zlib stream.
    Deflate,
}

/// TIFF tag 317.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TiffPredictor {
    /// 1: none.
    None,
    /// 2: each sample is the difference to the same component of the pixel to its left, modulo 2^bits; each row begins anew.
    Horizontal,
}

/// Order of the bytes of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endian {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl Endian {
    /// Zarr's name of the order.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Little => "little",
            Self::Big => "big",
        }
    }
}

impl fmt::Display for TiffEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compression = match self.compression {
            TiffCompression::None => "no compression",
            TiffCompression::Deflate => "deflate",
        };
        let predictor = match self.predictor {
            TiffPredictor::None => 1,
            TiffPredictor::Horizontal => 2,
        };
        write!(f, "{compression}, predictor {predictor}, {}-endian", self.endian.name())
    }
}
