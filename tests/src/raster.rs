//! The rasters of a product: their names, geometry and coding, as in real L2A products.

use crate::encoder::Coding;
use crate::spec::{Resolutions, SampleSpec};
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

impl Raster {
    fn new(name: &str, resolution: u32) -> Self {
        let asset = format!("{name}_{resolution}m");
        let kind = match name {
            "TCI" => Kind::TrueColour,
            "AOT" => Kind::Aerosol,
            "WVP" => Kind::Vapour,
            "SCL" => Kind::Classes,
            "MSK_CLDPRB" => Kind::Cloud,
            "MSK_SNWPRB" => Kind::Snow,
            _ => Kind::Band,
        };
        let band_id = if name.starts_with("MSK") { asset.clone() } else { name.to_owned() };
        Self { asset, band_id, kind, resolution }
    }

    /// The rasters of every product of `spec`, by folder as in a real one.
    #[must_use]
    pub fn of(spec: &SampleSpec) -> Vec<Self> {
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

    /// Lies in QI_DATA instead of IMG_DATA.
    #[must_use]
    pub fn is_mask(&self) -> bool {
        matches!(self.kind, Kind::Cloud | Kind::Snow)
    }

    /// How it is coded (tables of the design note on Sentinel-2's JPEG 2000).
    #[must_use]
    pub fn coding(&self, spec: &SampleSpec, tlm: bool) -> Coding {
        let colour = self.kind == Kind::TrueColour;
        let (tile, levels, code_block, precinct) = match (self.resolution, colour) {
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
            components: if colour { 3 } else { 1 },
            bits: if wide { 15 } else { 8 },
            levels,
            code_block,
            precinct,
            tlm,
        };
        if spec.early_headers && self.kind == Kind::Band {
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
        }
    }
}

#[cfg(test)]
mod tests {
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
    }
}
