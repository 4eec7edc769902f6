//! The rasters of a product: which file holds what.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{Band, Level, NameError, Resolution};

/// What a raster shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Quantity {
    /// Reflectance in a band.
    Band(Band),
    /// Aerosol optical thickness.
    Aot,
    /// Scene-average water vapour.
    Wvp,
    /// Scene classification.
    Scl,
    /// True-colour image.
    Tci,
    /// Cloud probability.
    Cld,
    /// Snow probability.
    Snw,
    /// Detector footprint of a band.
    Detfoo(Band),
    /// Technical quality masks of a band.
    Qualit(Band),
    /// Cloud and snow classification of level 1C.
    Classi,
}

impl Quantity {
    /// True for what a product is asked for: reflectance, scene classification, aerosol and water vapour. A later processing
    /// takes the place of an earlier one only where it has all of these that the earlier one has.
    pub fn is_main(self) -> bool {
        matches!(self, Self::Band(_) | Self::Scl | Self::Aot | Self::Wvp)
    }
}

/// Samples of a raster, as its file holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleShape {
    /// Components of a pixel.
    pub components: u32,
    /// Bytes of a sample, 1 or 2; all are unsigned.
    pub bytes: u8,
}

/// A raster file of a product: a quantity at a resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Asset {
    /// What it shows.
    pub quantity: Quantity,
    /// Its pixel size.
    pub resolution: Resolution,
}

impl Asset {
    /// The file kind as CDSE names it: `B02_10m`, `SCL_20m`, `MSK_CLDPRB_20m`, `MSK_DETFOO_B02`.
    pub fn name(self) -> String {
        let r = self.resolution;
        match self.quantity {
            Quantity::Band(band) => format!("{band}_{r}"),
            Quantity::Aot => format!("AOT_{r}"),
            Quantity::Wvp => format!("WVP_{r}"),
            Quantity::Scl => format!("SCL_{r}"),
            Quantity::Tci => format!("TCI_{r}"),
            Quantity::Cld => format!("MSK_CLDPRB_{r}"),
            Quantity::Snw => format!("MSK_SNWPRB_{r}"),
            Quantity::Detfoo(band) => format!("MSK_DETFOO_{band}"),
            Quantity::Qualit(band) => format!("MSK_QUALIT_{band}"),
            Quantity::Classi => "MSK_CLASSI_B00".to_owned(),
        }
    }

    /// `band_id` of the public index: without a resolution (`B02`, `SCL`); the name itself for masks.
    pub fn band_id(self) -> String {
        match self.quantity {
            Quantity::Band(band) => band.to_string(),
            Quantity::Aot => "AOT".to_owned(),
            Quantity::Wvp => "WVP".to_owned(),
            Quantity::Scl => "SCL".to_owned(),
            Quantity::Tci => "TCI".to_owned(),
            _ => self.name(),
        }
    }

    /// Which raster a file of a product is; `None` for files that are not rasters of the EOPF layout (PVI, GML masks).
    ///
    /// L2A: `IMG_DATA/R10m/T29UNU_20221005T115411_B02_10m.jp2`; L1C: `IMG_DATA/T32TLQ_20250113T103309_B02.jp2`;
    /// masks: `QI_DATA/MSK_DETFOO_B02.jp2`, `QI_DATA/MSK_CLDPRB_20m.jp2`; Amazon's L2A: `R20m/B02.jp2`.
    pub fn of_path(path: &str) -> Option<Self> {
        let mut folders = path.rsplit('/');
        let file = folders.next()?.strip_suffix(".jp2")?;
        if let Some(at) = file.find("MSK_") {
            return file[at..].parse().ok();
        }
        let mut parts = file.rsplit('_');
        let last = parts.next()?;
        match last.strip_suffix('m').and_then(|metres| metres.parse().ok()) {
            Some(metres) => {
                let resolution = Resolution::from_metres(metres)?;
                let quantity = image_quantity(parts.next()?)?;
                Some(Self { quantity, resolution })
            }
            None if parts.next().is_none()
                && let Some(resolution) = folders.next().and_then(|folder| metres(folder.strip_prefix('R')?)) =>
            {
                Some(Self { quantity: image_quantity(last)?, resolution })
            }
            // Level 1C names carry no resolution: every file is at its native one.
            None => match image_quantity(last)? {
                Quantity::Band(band) => Some(Self { quantity: Quantity::Band(band), resolution: band.native() }),
                Quantity::Tci => Some(Self { quantity: Quantity::Tci, resolution: Resolution::R10 }),
                _ => None,
            },
        }
    }

    /// Components and sample size of the raster.
    pub fn sample_shape(self) -> SampleShape {
        let (components, bytes) = match self.quantity {
            Quantity::Band(_) | Quantity::Aot | Quantity::Wvp => (1, 2),
            Quantity::Scl | Quantity::Cld | Quantity::Snw | Quantity::Detfoo(_) => (1, 1),
            Quantity::Tci | Quantity::Classi => (3, 1),
            Quantity::Qualit(_) => (8, 1),
        };
        SampleShape { components, bytes }
    }

    /// The resolution whose group is the home of the quantity: where readers look first.
    pub fn home(self) -> Resolution {
        match self.quantity {
            Quantity::Band(band) | Quantity::Detfoo(band) | Quantity::Qualit(band) => band.native(),
            Quantity::Aot | Quantity::Wvp | Quantity::Tci => Resolution::R10,
            Quantity::Scl | Quantity::Cld | Quantity::Snw => Resolution::R20,
            Quantity::Classi => Resolution::R60,
        }
    }

    /// What copies of a raster are sorted by, the best one first: the one at its home resolution, then the finer one.
    pub fn worth(self) -> impl Ord {
        (self.resolution != self.home(), self.resolution)
    }

    /// True where 0 means nodata, so that a tile of zeros may be left to the fill value. In masks and probabilities 0 is a
    /// value like any other.
    pub fn zero_is_nodata(self) -> bool {
        matches!(self.quantity, Quantity::Band(_) | Quantity::Aot | Quantity::Wvp | Quantity::Scl | Quantity::Tci)
    }

    /// True where products of a level have such a raster.
    pub fn exists_at(self, level: Level) -> bool {
        match level {
            // The cirrus band shows no surface.
            Level::L2A => self.quantity != Quantity::Band(Band::B10),
            Level::L1C => match self.quantity {
                Quantity::Band(band) => self.resolution == band.native(),
                Quantity::Tci => self.resolution == Resolution::R10,
                Quantity::Detfoo(_) | Quantity::Qualit(_) | Quantity::Classi => true,
                _ => false,
            },
        }
    }
}

fn image_quantity(text: &str) -> Option<Quantity> {
    Some(match text {
        "AOT" => Quantity::Aot,
        "WVP" => Quantity::Wvp,
        "SCL" => Quantity::Scl,
        "TCI" => Quantity::Tci,
        band => Quantity::Band(band.parse().ok()?),
    })
}

impl FromStr for Asset {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let parse = || {
            if let Some(mask) = text.strip_prefix("MSK_") {
                let (kind, rest) = mask.split_once('_')?;
                let native = |band: Band| band.native();
                return Some(match kind {
                    "DETFOO" => {
                        let band: Band = rest.parse().ok()?;
                        Self { quantity: Quantity::Detfoo(band), resolution: native(band) }
                    }
                    "QUALIT" => {
                        let band: Band = rest.parse().ok()?;
                        Self { quantity: Quantity::Qualit(band), resolution: native(band) }
                    }
                    "CLASSI" if rest == "B00" => Self { quantity: Quantity::Classi, resolution: Resolution::R60 },
                    "CLDPRB" => Self { quantity: Quantity::Cld, resolution: metres(rest)? },
                    "SNWPRB" => Self { quantity: Quantity::Snw, resolution: metres(rest)? },
                    _ => return None,
                });
            }
            match text.split_once('_') {
                Some((quantity, resolution)) => {
                    Some(Self { quantity: image_quantity(quantity)?, resolution: metres(resolution)? })
                }
                None => Self::of_path(&format!("{text}.jp2")),
            }
        };
        parse().ok_or_else(|| NameError {
            text: text.chars().take(60).collect(),
            expected: "a raster name such as B02_10m, SCL_20m or MSK_DETFOO_B02",
        })
    }
}

fn metres(text: &str) -> Option<Resolution> {
    Resolution::from_metres(text.strip_suffix('m')?.parse().ok()?)
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Serialize for Asset {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Asset {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_name_their_raster() {
        for (path, name, band_id) in [
            ("R10m/T29UNU_20221005T115411_AOT_10m.jp2", "AOT_10m", "AOT"),
            ("R60m/T29UNU_20221005T115411_B8A_60m.jp2", "B8A_60m", "B8A"),
            ("IMG_DATA/T32TLQ_20250113T103309_B10.jp2", "B10_60m", "B10"),
            ("IMG_DATA/T32TLQ_20250113T103309_TCI.jp2", "TCI_10m", "TCI"),
            ("QI_DATA/MSK_CLDPRB_20m.jp2", "MSK_CLDPRB_20m", "MSK_CLDPRB_20m"),
            ("QI_DATA/MSK_DETFOO_B05.jp2", "MSK_DETFOO_B05", "MSK_DETFOO_B05"),
            ("S2B_33TWL_20230810_0_L2A__MSK_CLASSI_B00.jp2", "MSK_CLASSI_B00", "MSK_CLASSI_B00"),
            ("tiles/33/T/VN/2024/5/1/0/R20m/B02.jp2", "B02_20m", "B02"),
            ("tiles/33/T/VN/2024/5/1/0/R60m/SCL.jp2", "SCL_60m", "SCL"),
            ("tiles/33/T/VN/2024/5/1/0/B02.jp2", "B02_10m", "B02"),
        ] {
            let asset = Asset::of_path(path).unwrap();
            assert_eq!((asset.name().as_str(), asset.band_id().as_str()), (name, band_id));
            assert_eq!(name.parse::<Asset>().unwrap(), asset);
        }
        for path in [
            "T46UEU_20230216T044851_PVI.jp2",
            "a.xml",
            "B02_15m.jp2",
            "MSK_DEFECT_B02.gml",
            "x_30m.jp2",
            "0/SCL.jp2",
            "",
        ] {
            assert_eq!(Asset::of_path(path), None, "{path}");
        }
    }
}
