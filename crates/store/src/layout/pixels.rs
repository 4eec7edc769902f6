//! Where the pixels of a raster lie, and those of its overviews.

use s2ice_jpeg2000::reduced_size;
use s2ice_manifest::grid::TileGeocoding;
use s2ice_manifest::ids::Resolution;
use serde_json::{Value, json};

use super::overview;

/// The pixels of the rasters of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pixels {
    geocoding: TileGeocoding,
    /// Pixel size of the whole raster.
    resolution: Resolution,
    /// How many resolutions are left out.
    reduce: u8,
}

impl Pixels {
    /// Those of whole rasters.
    pub fn whole(geocoding: TileGeocoding, resolution: Resolution) -> Self {
        Self { geocoding, resolution, reduce: 0 }
    }

    /// Those that are left without so many resolutions.
    pub fn reduced(self, reduce: u8) -> Self {
        Self { reduce, ..self }
    }

    /// Name of their group, such as `r10m` or `r10m_x2`.
    pub fn group(&self) -> String {
        overview::group(self.resolution.group(), self.reduce)
    }

    /// How many there are along an edge.
    pub fn count(&self) -> u32 {
        reduced_size(TileGeocoding::pixels(self.resolution), self.reduce)
    }

    /// Their size, metres.
    pub fn metres(&self) -> i64 {
        i64::from(self.resolution.metres()) * self.factor()
    }

    fn factor(&self) -> i64 {
        i64::try_from(overview::factor(self.reduce)).unwrap_or(i64::MAX)
    }

    /// How far the corner of the first one lies before that of the tile, metres: a sample without `r` resolutions lies in the
    /// middle of pixel `k * 2^r` of the whole raster. Pixel sizes are even, so this is a whole number.
    fn before(&self) -> i64 {
        (self.metres() - i64::from(self.resolution.metres())) / 2
    }

    /// Affine transform `[a, b, c, d, e, f]` from pixel to metres (upper-left corner of the pixel).
    pub fn transform(&self) -> [i64; 6] {
        let (left, top) = (self.geocoding.ulx - self.before(), self.geocoding.uly + self.before());
        [self.metres(), 0, left, 0, -self.metres(), top]
    }

    /// Their centres along x, west to east, metres.
    pub fn x_centres(&self) -> Vec<f64> {
        let [step, _, first, ..] = self.transform();
        self.centres(first, step)
    }

    /// Their centres along y, north to south, metres.
    pub fn y_centres(&self) -> Vec<f64> {
        let [_, _, _, _, step, first] = self.transform();
        self.centres(first, step)
    }

    fn centres(&self, corner: i64, step: i64) -> Vec<f64> {
        let first = corner as f64 + step as f64 / 2.0;
        (0..self.count()).map(|i| first + f64::from(i) * step as f64).collect()
    }

    /// `[xmin, ymin, xmax, ymax]` of all of them, metres.
    pub fn bbox(&self) -> [i64; 4] {
        let [step, _, left, _, _, top] = self.transform();
        let edge = i64::from(self.count()) * step;
        [left, top - edge, left + edge, top]
    }

    /// What a pyramid whose finest level has pixels of so many metres says of them as a level. Those of an overview come of
    /// the whole rasters of its group and of nothing else, and lie half a pixel less one of theirs before them.
    pub fn level(&self, finest: i64) -> Value {
        let (scale, translation) = if self.reduce == 0 {
            (self.metres() as f64 / finest as f64, 0.0)
        } else {
            let factor = self.factor() as f64;
            (factor, (1.0 - factor) / 2.0)
        };
        let mut level = json!({
            "asset": self.group(),
            "transform": { "scale": [scale, scale], "translation": [translation, translation] },
            "spatial:shape": [self.count(), self.count()],
            "spatial:transform": self.transform(),
        });
        if self.reduce > 0 {
            level["derived_from"] = self.resolution.group().into();
            level["resampling_method"] = "wavelet".into();
        }
        level
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn samples_of_an_overview_lie_in_the_middle_of_every_second_or_fourth_pixel() {
        let geocoding = TileGeocoding::of("33TVN".parse().unwrap());
        for resolution in Resolution::ALL {
            let whole = Pixels::whole(geocoding, resolution);
            for reduce in 0..=5 {
                let pixels = whole.reduced(reduce);
                for (few, all) in [(pixels.x_centres(), whole.x_centres()), (pixels.y_centres(), whole.y_centres())] {
                    let wanted: Vec<f64> = all.into_iter().step_by(1 << reduce).collect();
                    assert_eq!(few, wanted, "{resolution} {reduce}");
                }
            }
        }
        let pixels = Pixels::whole(geocoding, Resolution::R10).reduced(2);
        assert_eq!((pixels.group().as_str(), pixels.count()), ("r10m_x4", 2745));
        assert_eq!(pixels.transform(), [40, 0, 399_945, 0, -40, 5_300_055]);
        assert_eq!(pixels.bbox(), [399_945, 5_190_255, 509_745, 5_300_055]);
        let level = pixels.level(10);
        assert_eq!(
            (level["derived_from"].as_str(), &level["transform"]["translation"][0]),
            (Some("r10m"), &json!(-1.5))
        );
    }
}
