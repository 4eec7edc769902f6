//! Names of the field as types: MGRS tile, processing level, processing baseline, resolution, band.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that does not follow its convention.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct NameError {
    /// What was given.
    pub text: String,
    /// What was looked for, with an example.
    pub expected: &'static str,
}

fn bad<T>(text: &str, expected: &'static str) -> Result<T, NameError> {
    Err(NameError { text: text.chars().take(120).collect(), expected })
}

macro_rules! serde_as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string" })
            }
        }
    };
}

/// A 100 km square of the Military Grid Reference System, such as `33TVN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MgrsTile {
    zone: u8,
    band: u8,
    square: [u8; 2],
}

impl MgrsTile {
    /// UTM zone, 1 to 60.
    pub fn zone(self) -> u8 {
        self.zone
    }
    /// Latitude band letter, `C` to `X`.
    pub fn band(self) -> u8 {
        self.band
    }
    /// Column letter and row letter of the 100 km square.
    pub fn square(self) -> [u8; 2] {
        self.square
    }
    /// True north of the equator.
    pub fn is_north(self) -> bool {
        self.band >= b'N'
    }
}

impl FromStr for MgrsTile {
    type Err = NameError;

    /// Accepts `33TVN`, `T33TVN`, `MGRS-33TVN` and one-digit zones (`MGRS-1VCG`).
    fn from_str(text: &str) -> Result<Self, NameError> {
        const EXPECTED: &str = "an MGRS tile such as 33TVN";
        let upper = text.trim().to_ascii_uppercase();
        let code = upper.strip_prefix("MGRS-").unwrap_or(&upper);
        let code = match code.strip_prefix('T') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => rest,
            _ => code,
        };
        let digits = code.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=2).contains(&digits) || code.len() != digits + 3 {
            return bad(text, EXPECTED);
        }
        let Ok(zone) = code[..digits].parse::<u8>() else { return bad(text, EXPECTED) };
        let letters = &code.as_bytes()[digits..];
        let [band, column, row] = [letters[0], letters[1], letters[2]];
        let is_letter = |c: u8, last: u8| c.is_ascii_uppercase() && c <= last && c != b'I' && c != b'O';
        let known = (1..=60).contains(&zone) && (b'C'..=b'X').contains(&band) && is_letter(band, b'X');
        if known && is_letter(column, b'Z') && is_letter(row, b'V') {
            Ok(Self { zone, band, square: [column, row] })
        } else {
            bad(text, EXPECTED)
        }
    }
}

impl fmt::Display for MgrsTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [column, row] = self.square;
        write!(f, "{:02}{}{}{}", self.zone, char::from(self.band), char::from(column), char::from(row))
    }
}
serde_as_text!(MgrsTile);

/// Processing level of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Top-of-atmosphere reflectance.
    L1C,
    /// Bottom-of-atmosphere reflectance.
    L2A,
}

impl FromStr for Level {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.trim().to_ascii_uppercase().as_str() {
            "L1C" | "MSIL1C" | "S2MSI1C" => Ok(Self::L1C),
            "L2A" | "MSIL2A" | "S2MSI2A" => Ok(Self::L2A),
            _ => bad(text, "a processing level, L1C or L2A"),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::L1C => "L1C",
            Self::L2A => "L2A",
        })
    }
}
serde_as_text!(Level);

/// Processing baseline: 511 stands for `05.11`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Baseline(u16);

impl Baseline {
    /// The number as in the product name: 511 for `N0511`.
    pub fn number(self) -> u16 {
        self.0
    }

    /// False for 99.xx and 00.xx: products of others than the ground segment, or of its tests.
    pub fn is_official(self) -> bool {
        !matches!(self.0 / 100, 0 | 99)
    }
}

impl FromStr for Baseline {
    type Err = NameError;
    /// Accepts `N0511`, `0511` and `05.11`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        const EXPECTED: &str = "a processing baseline such as 05.11 or N0511";
        let digits: String = text.trim().trim_start_matches('N').chars().filter(|c| *c != '.').collect();
        if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return bad(text, EXPECTED);
        }
        digits.parse().map(Self).or_else(|_| bad(text, EXPECTED))
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}.{:02}", self.0 / 100, self.0 % 100)
    }
}
serde_as_text!(Baseline);

/// Pixel size of a raster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resolution {
    /// 10 m.
    R10,
    /// 20 m.
    R20,
    /// 60 m.
    R60,
}

impl Resolution {
    /// All of them, finest first.
    pub const ALL: [Self; 3] = [Self::R10, Self::R20, Self::R60];

    /// Pixel size in metres.
    pub fn metres(self) -> u16 {
        match self {
            Self::R10 => 10,
            Self::R20 => 20,
            Self::R60 => 60,
        }
    }

    /// The resolution of that many metres.
    pub fn from_metres(metres: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|r| u64::from(r.metres()) == metres)
    }

    /// EOPF group name: `r10m`.
    pub fn group(self) -> &'static str {
        match self {
            Self::R10 => "r10m",
            Self::R20 => "r20m",
            Self::R60 => "r60m",
        }
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}m", self.metres())
    }
}

/// A spectral band of the MultiSpectral Instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Band {
    B01,
    B02,
    B03,
    B04,
    B05,
    B06,
    B07,
    B08,
    B8A,
    B09,
    B10,
    B11,
    B12,
}

impl Band {
    /// All bands, in the order of `band_id` of the product metadata (PSD: 0 is B1, 8 is B8A, 12 is B12).
    pub const ALL: [Self; 13] = [
        Self::B01,
        Self::B02,
        Self::B03,
        Self::B04,
        Self::B05,
        Self::B06,
        Self::B07,
        Self::B08,
        Self::B8A,
        Self::B09,
        Self::B10,
        Self::B11,
        Self::B12,
    ];

    /// `B01` .. `B8A` .. `B12`.
    pub fn name(self) -> &'static str {
        match self {
            Self::B01 => "B01",
            Self::B02 => "B02",
            Self::B03 => "B03",
            Self::B04 => "B04",
            Self::B05 => "B05",
            Self::B06 => "B06",
            Self::B07 => "B07",
            Self::B08 => "B08",
            Self::B8A => "B8A",
            Self::B09 => "B09",
            Self::B10 => "B10",
            Self::B11 => "B11",
            Self::B12 => "B12",
        }
    }

    /// Resolution at which the instrument measures the band.
    pub fn native(self) -> Resolution {
        match self {
            Self::B02 | Self::B03 | Self::B04 | Self::B08 => Resolution::R10,
            Self::B05 | Self::B06 | Self::B07 | Self::B8A | Self::B11 | Self::B12 => Resolution::R20,
            Self::B01 | Self::B09 | Self::B10 => Resolution::R60,
        }
    }
}

impl FromStr for Band {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL
            .into_iter()
            .find(|b| b.name().eq_ignore_ascii_case(text))
            .map_or_else(|| bad(text, "a Sentinel-2 band such as B02 or B8A"), Ok)
    }
}

impl fmt::Display for Band {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tiles_are_normalised_to_two_digits() {
        for text in ["33TVN", "T33TVN", "MGRS-33TVN", "33tvn"] {
            assert_eq!(text.parse::<MgrsTile>().unwrap().to_string(), "33TVN");
        }
        assert_eq!("MGRS-1VCG".parse::<MgrsTile>().unwrap().to_string(), "01VCG");
        for text in ["", "T", "61TVN", "0TVN", "33IVN", "33TVZ", "33TVNX", "33T\u{e9}N", "333TVN"] {
            assert!(text.parse::<MgrsTile>().is_err(), "{text}");
        }
    }

    #[test]
    fn baselines_read_both_ways() {
        assert_eq!("N0511".parse::<Baseline>().unwrap(), "05.11".parse().unwrap());
        assert_eq!("05.11".parse::<Baseline>().unwrap().to_string(), "05.11");
        for (text, official) in [("05.11", true), ("02.04", true), ("99.99", false), ("00.01", false)] {
            assert_eq!(text.parse::<Baseline>().unwrap().is_official(), official, "{text}");
        }
        assert!("5.11".parse::<Baseline>().is_err());
        assert!("N05x1".parse::<Baseline>().is_err());
    }
}
