//! Where each raster stands in the EOPF tree, and what is particular to it.
//!
//! One row per kind of raster; docs/formats/store.md is generated from it.

use s2ice_manifest::ids::{Level, Resolution};
use s2ice_manifest::raster::{Asset, Quantity};

use super::overview;

/// The place of a raster's array.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Path of the leaf group, such as `/measurements/reflectance/r10m`.
    pub group: String,
    /// Name of the array, such as `b02`.
    pub array: String,
}

impl Place {
    /// Path of the array.
    pub fn path(&self) -> String {
        format!("{}/{}", self.group, self.array)
    }
}

/// Data type of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleType {
    /// Unsigned 8 bit.
    U8,
    /// Unsigned 16 bit.
    U16,
}

impl SampleType {
    /// Zarr name.
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "uint8",
            Self::U16 => "uint16",
        }
    }
}

/// What is particular to the array of an asset.
#[derive(Debug, Clone, PartialEq)]
pub struct ArrayKind {
    /// Where it stands.
    pub place: Place,
    /// Data type.
    pub sample: SampleType,
    /// Fill value: what a missing chunk and the padding of edge tiles read as.
    pub fill: u16,
    /// Name of the component dimension, for rasters of several components.
    pub component_dimension: Option<&'static str>,
    /// How many resolutions of the raster are left out.
    pub reduce: u8,
}

impl ArrayKind {
    /// The array of the raster without so many resolutions.
    #[must_use]
    pub fn reduced(mut self, reduce: u8) -> Self {
        self.place.group = overview::group(&self.place.group, reduce);
        Self { reduce, ..self }
    }
}

/// The array of an asset at a processing level; `None` where products of the level have no such raster.
pub fn array_kind(asset: Asset, level: Level) -> Option<ArrayKind> {
    if !asset.exists_at(level) {
        return None;
    }
    let r = asset.resolution.group();
    let lower = |band: s2ice_manifest::ids::Band| band.name().to_ascii_lowercase();
    let (group, array) = match asset.quantity {
        Quantity::Band(band) => (format!("/measurements/reflectance/{r}"), lower(band)),
        Quantity::Aot => (format!("/quality/atmosphere/{r}"), "aot".into()),
        Quantity::Wvp => (format!("/quality/atmosphere/{r}"), "wvp".into()),
        Quantity::Scl => (format!("/conditions/mask/l2a_classification/{r}"), "scl".into()),
        Quantity::Tci => (format!("/quality/{}_quicklook/{r}", level.to_string().to_ascii_lowercase()), "tci".into()),
        Quantity::Cld => (format!("/quality/probability/{r}"), "cld".into()),
        Quantity::Snw => (format!("/quality/probability/{r}"), "snw".into()),
        Quantity::Detfoo(band) => (format!("/conditions/mask/detector_footprint/{r}"), lower(band)),
        Quantity::Qualit(band) => (format!("/quality/mask/{r}"), lower(band)),
        Quantity::Classi => (format!("/conditions/mask/l1c_classification/{r}"), "b00".into()),
    };
    let sample = if asset.sample_shape().bytes == 1 { SampleType::U8 } else { SampleType::U16 };
    let fill = match asset.quantity {
        // A missing chunk must not read as "0 % cloud".
        Quantity::Cld | Quantity::Snw => 255,
        _ => 0,
    };
    let component_dimension = match asset.quantity {
        Quantity::Tci => Some("band"),
        Quantity::Qualit(_) | Quantity::Classi => Some("component"),
        _ => None,
    };
    Some(ArrayKind { place: Place { group, array }, sample, fill, component_dimension, reduce: 0 })
}

/// Every raster a product of a level can have, in the order of the tree.
pub fn all_assets(level: Level) -> Vec<Asset> {
    use s2ice_manifest::ids::Band;
    let quantities = Band::ALL
        .into_iter()
        .map(Quantity::Band)
        .chain([Quantity::Aot, Quantity::Wvp, Quantity::Scl, Quantity::Tci, Quantity::Cld, Quantity::Snw])
        .chain(Band::ALL.into_iter().map(Quantity::Detfoo))
        .chain(Band::ALL.into_iter().map(Quantity::Qualit))
        .chain([Quantity::Classi]);
    let mut assets: Vec<Asset> = quantities
        .flat_map(|quantity| Resolution::ALL.map(|resolution| Asset { quantity, resolution }))
        .filter(|asset| asset.exists_at(level))
        .filter(|asset| is_made(*asset))
        .collect();
    assets.sort_by_key(|asset| array_kind(*asset, level).map(|kind| kind.place));
    assets
}

/// The processor makes no band finer than it is measured; masks exist at one resolution, SCL and the probabilities at
/// two; B08 is not resampled to 20 m or 60 m, where B8A stands for it; B10 exists at level 1C only.
fn is_made(asset: Asset) -> bool {
    use s2ice_manifest::ids::Band;
    let r = asset.resolution;
    match asset.quantity {
        Quantity::Band(Band::B08) => r == Resolution::R10,
        Quantity::Band(Band::B01) => r != Resolution::R10,
        Quantity::Band(band) => r >= band.native(),
        Quantity::Detfoo(_) | Quantity::Qualit(_) | Quantity::Classi => r == asset.home(),
        Quantity::Scl | Quantity::Cld | Quantity::Snw => r != Resolution::R10,
        Quantity::Aot | Quantity::Wvp | Quantity::Tci => true,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_follow_the_eopf_paths() {
        for (asset, path) in [
            ("B8A_20m", "/measurements/reflectance/r20m/b8a"),
            ("AOT_10m", "/quality/atmosphere/r10m/aot"),
            ("SCL_20m", "/conditions/mask/l2a_classification/r20m/scl"),
            ("TCI_10m", "/quality/l2a_quicklook/r10m/tci"),
            ("MSK_QUALIT_B05", "/quality/mask/r20m/b05"),
            ("MSK_CLASSI_B00", "/conditions/mask/l1c_classification/r60m/b00"),
        ] {
            let kind = array_kind(asset.parse().unwrap(), Level::L2A).unwrap();
            assert_eq!(kind.place.path(), path);
        }
        assert_eq!(array_kind("SCL_20m".parse().unwrap(), Level::L1C), None);
    }

    #[test]
    fn no_two_assets_share_an_array() {
        for level in [Level::L1C, Level::L2A] {
            let assets = all_assets(level);
            let places: std::collections::BTreeSet<_> =
                assets.iter().map(|a| array_kind(*a, level).unwrap().place.path()).collect();
            assert_eq!(places.len(), assets.len());
        }
    }
}
