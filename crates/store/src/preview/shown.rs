//! What a picture shows.

use std::fmt;
use std::str::FromStr;

use s2ice_manifest::ids::Band;
use s2ice_manifest::raster::Quantity;

/// What a picture shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// Reflectance of one band, in grey.
    Grey(Band),
    /// Reflectance of three bands: red, green and blue.
    Colour([Band; 3]),
    /// The scene classification in its official colours.
    Classes,
    /// The true-colour image as the product has it.
    TrueColour,
}

impl Shown {
    /// The bands that look like what one would see.
    pub const NATURAL: Self = Self::Colour([Band::B04, Band::B03, Band::B02]);

    /// The rasters that it takes.
    pub(super) fn quantities(&self) -> Vec<Quantity> {
        match self {
            Self::Grey(band) => vec![Quantity::Band(*band)],
            Self::Colour(bands) => bands.iter().map(|band| Quantity::Band(*band)).collect(),
            Self::Classes => vec![Quantity::Scl],
            Self::TrueColour => vec![Quantity::Tci],
        }
    }

    /// True for numbers that stand for classes: what lies between two of them means something else, or nothing.
    pub(super) fn is_of_classes(&self) -> bool {
        *self == Self::Classes
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = match self {
            Self::Grey(band) => vec![band.to_string()],
            Self::Colour(bands) => bands.iter().map(Band::to_string).collect(),
            Self::Classes => vec!["SCL".to_owned()],
            Self::TrueColour => vec!["TCI".to_owned()],
        };
        f.write_str(&names.join(", "))
    }
}

impl FromStr for Shown {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "scl" => return Ok(Self::Classes),
            "tci" => return Ok(Self::TrueColour),
            _ => {}
        }
        let bands: Result<Vec<Band>, _> = text.split(',').map(|name| name.trim().parse()).collect();
        let bands = bands.map_err(|error| format!("{error}; or scl or tci, by itself"))?;
        match *bands.as_slice() {
            [band] => Ok(Self::Grey(band)),
            [red, green, blue] => Ok(Self::Colour([red, green, blue])),
            _ => Err(format!("{} bands make no picture: name three (red, green, blue), or one for grey", bands.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bands_are_named_in_any_case() {
        assert_eq!("b04, B03,b02".parse(), Ok(Shown::NATURAL));
        assert_eq!("b8a".parse(), Ok(Shown::Grey(Band::B8A)));
        assert_eq!((" SCL".parse(), "tci".parse()), (Ok(Shown::Classes), Ok(Shown::TrueColour)));
        assert!("b04,b03".parse::<Shown>().unwrap_err().contains("2 bands make no picture"));
        assert!("b04,scl,b02".parse::<Shown>().unwrap_err().contains("by itself"));
        assert!("".parse::<Shown>().is_err());
        assert_eq!(Shown::NATURAL.to_string(), "B04, B03, B02");
    }
}
