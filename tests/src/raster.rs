//! The rasters of a product: their names, geometry and coding, as in real products.

use crate::coding::Coding;
use crate::spec::{Headers, Level, Resolutions, SampleSpec};
use crate::spectra::Table;

/// What a raster shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A spectral band.
    Band,
    /// True colour: three components, red, green, blue.
    TrueColour,
    /// Aerosol optical thickness.
    Aerosol,
    /// Water vapour.
    Vapour,
    /// Scene classification.
    Classes,
    /// Probability of cloud.
    Cloud,
    /// Probability of snow.
    Snow,
    /// Which detector saw a pixel.
    Detectors,
    /// Technical flags: eight components.
    Quality,
    /// Clouds and snow of level 1C: three components.
    Classification,
}

/// One raster of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raster {
    /// As CDSE names the asset: `B02_10m`, `SCL_20m`, `MSK_CLDPRB_20m`.
    pub asset: String,
    /// As the public index names it: `B02`, `SCL`; a mask by its asset.
    pub band_id: String,
    /// What it shows.
    pub kind: Kind,
    /// Metres per pixel: 10, 20 or 60.
    pub resolution: u32,
}

const R10: [&str; 7] = ["AOT", "B02", "B03", "B04", "B08", "TCI", "WVP"];
const R20: [&str; 7] = ["B05", "B06", "B07", "B8A", "B11", "B12", "SCL"];
const R20_COPIES: [&str; 6] = ["AOT", "B02", "B03", "B04", "TCI", "WVP"];
const R60: [&str; 2] = ["B01", "B09"];
const R60_COPIES: [&str; 13] =
    ["AOT", "B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B11", "B12", "SCL", "TCI", "WVP"];

const L1C: [(&str, u32); 13] = [
    ("B01", 60),
    ("B02", 10),
    ("B03", 10),
    ("B04", 10),
    ("B05", 20),
    ("B06", 20),
    ("B07", 20),
    ("B08", 10),
    ("B8A", 20),
    ("B09", 60),
    ("B10", 60),
    ("B11", 20),
    ("B12", 20),
];

impl Raster {
    fn new(name: &str, resolution: u32) -> Self {
        let mut asset = format!("{name}_{resolution}m");
        let kind = match name {
            "TCI" => Kind::TrueColour,
            "AOT" => Kind::Aerosol,
            "WVP" => Kind::Vapour,
            "SCL" => Kind::Classes,
            "MSK_CLDPRB" => Kind::Cloud,
            "MSK_SNWPRB" => Kind::Snow,
            _ if name.starts_with("MSK_DETFOO") => Kind::Detectors,
            _ if name.starts_with("MSK_QUALIT") => Kind::Quality,
            _ if name.starts_with("MSK_CLASSI") => Kind::Classification,
            _ => Kind::Band,
        };
        if matches!(kind, Kind::Detectors | Kind::Quality | Kind::Classification) {
            name.clone_into(&mut asset);
        }
        let band_id = if name.starts_with("MSK") { asset.clone() } else { name.to_owned() };
        Self { asset, band_id, kind, resolution }
    }

    /// The rasters of every product of `spec`, by folder as in a real one.
    #[must_use]
    pub fn of(spec: &SampleSpec) -> Vec<Self> {
        if spec.level == Level::L1C {
            return Self::of_l1c(spec);
        }
        let all = spec.resolutions == Resolutions::All || !spec.assets.is_empty();
        let mut rasters: Vec<Self> = R10.iter().map(|name| Self::new(name, 10)).collect();
        rasters.extend(R20.iter().map(|name| Self::new(name, 20)));
        if all {
            rasters.extend(R20_COPIES.iter().map(|name| Self::new(name, 20)));
            if spec.baseline.major >= 4 {
                rasters.push(Self::new("B01", 20));
            }
        }
        rasters.extend(R60.iter().map(|name| Self::new(name, 60)));
        if all {
            rasters.extend(R60_COPIES.iter().map(|name| Self::new(name, 60)));
        }
        for mask in ["MSK_CLDPRB", "MSK_SNWPRB"] {
            rasters.push(Self::new(mask, 20));
            if all {
                rasters.push(Self::new(mask, 60));
            }
        }
        rasters.sort_by(|a, b| (a.is_mask(), a.resolution, &a.asset).cmp(&(b.is_mask(), b.resolution, &b.asset)));
        rasters.retain(|r| spec.assets.is_empty() || spec.assets.contains(&r.asset));
        rasters
    }

    /// Level 1C: every band at its native resolution. The masks of all bands are written where they are asked for.
    fn of_l1c(spec: &SampleSpec) -> Vec<Self> {
        let mut rasters = vec![Self::new("TCI", 10), Self::new("MSK_CLASSI_B00", 60)];
        for (band, resolution) in L1C {
            rasters.push(Self::new(band, resolution));
            if spec.resolutions == Resolutions::All || !spec.assets.is_empty() {
                rasters.extend(["DETFOO", "QUALIT"].map(|kind| Self::new(&format!("MSK_{kind}_{band}"), resolution)));
            }
        }
        rasters.sort_by(|a, b| (a.is_mask(), a.resolution, &a.asset).cmp(&(b.is_mask(), b.resolution, &b.asset)));
        rasters.retain(|r| spec.assets.is_empty() || spec.assets.contains(&r.asset));
        rasters
    }

    /// Lies in QI_DATA instead of IMG_DATA.
    #[must_use]
    pub fn is_mask(&self) -> bool {
        self.asset.starts_with("MSK")
    }

    /// The name of its file without `.jp2`: images bear the product's prefix, level 1C names no resolution.
    #[must_use]
    pub fn file_name(&self, level: Level, prefix: &str) -> String {
        match (self.is_mask(), level) {
            (true, _) => self.asset.clone(),
            (false, Level::L1C) => format!("{prefix}_{}", self.band_id),
            (false, Level::L2A) => format!("{prefix}_{}", self.asset),
        }
    }

    /// How it is coded (tables of the design note on Sentinel-2's JPEG 2000).
    #[must_use]
    pub fn coding(&self, spec: &SampleSpec, tlm: bool) -> Coding {
        let components = match self.kind {
            Kind::TrueColour | Kind::Classification => 3,
            Kind::Quality => 8,
            _ => 1,
        };
        let mask = components > 1 || self.kind == Kind::Detectors;
        let (tile, levels, code_block, precinct) = match (self.resolution, mask) {
            (10, true) if spec.level == Level::L1C && self.kind == Kind::TrueColour => (256, 4, 64, 256),
            (10, _) => (1024, 4, 64, 256),
            (20, true) => (2048, 5, 64, 256),
            (20, false) => (640, 4, 8, 128),
            (_, true) => (256, 4, 16, 128),
            (_, false) => (192, 4, 4, 64),
        };
        let wide = matches!(self.kind, Kind::Band | Kind::Aerosol | Kind::Vapour);
        let usual = Coding {
            side: 109_800 / self.resolution,
            tile,
            components,
            bits: if wide { 15 } else { 8 },
            levels,
            code_block,
            precinct,
            ground_segment: spec.headers != Headers::Unknown
                && (spec.level, self.kind) != (Level::L1C, Kind::TrueColour),
            tlm,
        };
        if spec.headers == Headers::Early && self.kind == Kind::Band {
            Coding { tile: 2048, bits: 12, levels: 5, code_block: 64, precinct: 256, ..usual }
        } else {
            usual
        }
    }

    /// The tables of its components on a day of the (northern) year, with `offset` added to reflectances and values up
    /// to `2^bits - 1`.
    #[must_use]
    pub fn tables(&self, season: i64, offset: i64, bits: u32) -> Vec<Table> {
        let band = |name: &str, bits: u32| Table::band(name, season, offset, (1 << bits) - 1);
        match self.kind {
            Kind::Band => band(&self.band_id, bits).into_iter().collect(),
            Kind::TrueColour => ["B04", "B03", "B02"].iter().filter_map(|name| band(name, 15)).collect(),
            Kind::Aerosol => vec![Table::aerosol(season)],
            Kind::Vapour => vec![Table::vapour(season)],
            Kind::Classes => vec![Table::classes(season)],
            Kind::Cloud => vec![Table::cloud_probability()],
            Kind::Snow => vec![Table::snow_probability()],
            Kind::Detectors => vec![Table::constant(1)],
            Kind::Quality => Table::quality(),
            Kind::Classification => Table::classification(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::spec::Baseline;

    #[test]
    fn a_product_has_the_files_of_a_real_one() {
        let count = |spec: &SampleSpec| Raster::of(spec).len();
        assert_eq!(count(&SampleSpec::default()), 7 + 7 + 2 + 2);
        let all = SampleSpec { resolutions: Resolutions::All, ..SampleSpec::default() };
        assert_eq!(count(&all), 7 + 14 + 15 + 4);
        assert_eq!(count(&SampleSpec { baseline: Baseline { major: 2, minor: 14 }, ..all }), 7 + 13 + 15 + 4);
        assert_eq!(count(&SampleSpec::small()), 3);
        let l1c = SampleSpec { level: Level::L1C, ..SampleSpec::default() };
        assert_eq!(count(&l1c), 13 + 1 + 1);
        assert_eq!(count(&SampleSpec { resolutions: Resolutions::All, ..l1c.clone() }), 13 + 1 + 1 + 26);
        let tci = Raster::of(&l1c).into_iter().find(|r| r.asset == "TCI_10m").unwrap();
        assert_eq!(tci.coding(&l1c, false).side.div_ceil(tci.coding(&l1c, false).tile), 43);
        assert_eq!(tci.file_name(Level::L1C, "T33TVN_20240501T100559"), "T33TVN_20240501T100559_TCI");
    }
}
