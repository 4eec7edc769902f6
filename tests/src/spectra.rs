//! Reflectances: what each cell looks like in each band, as a table over the packed cell.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // values are clamped before they are narrowed

use crate::landscape::{CLOUD, HAZE, SHADOW, SURFACE, TONE, material};
use crate::noise::ramp;

/// Spectral bands, in the order of the tables here.
pub const BANDS: [&str; 13] =
    ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"];

type Spectrum = [i64; 13];
const SOIL: Spectrum = [900, 1050, 1350, 1750, 1950, 2050, 2150, 2250, 2350, 2300, 14, 2950, 2500];
const GREEN: Spectrum = [250, 300, 620, 350, 950, 2700, 3500, 3700, 3900, 3950, 12, 1850, 850];
const STRAW: Spectrum = [700, 900, 1300, 1750, 2100, 2400, 2600, 2750, 2900, 2850, 13, 3300, 2400];
const BRANCHES: Spectrum = [350, 420, 560, 650, 900, 1300, 1500, 1600, 1700, 1650, 12, 1900, 1200];
const NEEDLES: Spectrum = [180, 220, 350, 230, 480, 1300, 1650, 1750, 1850, 1900, 11, 850, 380];
const WATER: Spectrum = [350, 420, 400, 220, 180, 150, 140, 120, 110, 100, 10, 60, 40];
const ROCK: Spectrum = [1300, 1450, 1650, 1800, 1850, 1900, 1950, 2000, 2050, 2000, 16, 2300, 2100];
const TOWN: Spectrum = [1100, 1250, 1400, 1550, 1700, 1850, 1950, 2050, 2150, 2100, 14, 2300, 2100];
const SNOW: Spectrum = [8200, 8600, 8500, 8400, 8300, 8100, 7900, 7600, 7400, 7000, 18, 900, 700];
const CLOUDS: Spectrum = [5600, 5700, 5600, 5500, 5600, 5700, 5700, 5800, 5900, 3800, 950, 4200, 3200];

/// How green a material is on a day of the (northern) year, and how far it has turned to straw: 0..=256 each.
fn phenology(kind: u32, day: i64) -> (i64, i64) {
    match kind {
        material::CONIFER => (256, 0),
        material::DECIDUOUS => (ramp(day, 100, 150) - ramp(day, 275, 310), 0),
        material::ALPINE => (30 + (ramp(day, 130, 180) - ramp(day, 250, 285)) * 180 / 256, 0),
        material::MEADOW => (110 + (ramp(day, 70, 140) - ramp(day, 290, 330)) * 130 / 256, 0),
        material::CEREAL => (20 + ramp(day, 60, 140) * 236 / 256, ramp(day, 165, 195)),
        material::MAIZE => (ramp(day, 125, 195), ramp(day, 250, 285)),
        material::RAPE => (40 + ramp(day, 60, 125) * 200 / 256, ramp(day, 170, 190)),
        material::VINE => (40 + ramp(day, 110, 170) * 120 / 256 - ramp(day, 270, 310) * 90 / 256, 0),
        _ => (0, 0),
    }
}

fn mix(a: i64, b: i64, share_of_b: i64) -> i64 {
    (a * (256 - share_of_b) + b * share_of_b) / 256
}

/// Reflectance x 10000 of a bare, sunlit surface on a day of the (northern) year.
fn reflectance(kind: u32, band: usize, day: i64) -> i64 {
    let (green, straw) = phenology(kind, day);
    let (bare, leaf) = match kind {
        material::WATER => return WATER[band],
        material::ROCK => return ROCK[band],
        material::TOWN => return TOWN[band],
        material::SNOW => return SNOW[band],
        material::CONIFER => (NEEDLES[band], NEEDLES[band]),
        material::DECIDUOUS => (BRANCHES[band], GREEN[band] * 7 / 8),
        material::ALPINE => ((SOIL[band] + ROCK[band]) / 2, GREEN[band]),
        _ => (SOIL[band], GREEN[band]),
    };
    mix(mix(bare, leaf, green), STRAW[band], straw)
}

/// Values of one raster for every cell: `table[(cell >> shift) & mask]`.
#[derive(Debug)]
pub struct Table {
    shift: u32,
    mask: u32,
    values: Vec<u16>,
    /// How strongly single pixels of a town differ, in digital numbers; 0 for none.
    pub texture: u16,
    /// The largest value there may be.
    pub top: u16,
}

impl Table {
    /// The value of a cell.
    #[must_use]
    pub fn value(&self, cell: u32) -> u16 {
        self.values[((cell >> self.shift) & self.mask) as usize]
    }

    fn surface(texture: u16, top: i64, value: impl Fn(u32, i64, bool, i64) -> i64) -> Self {
        let values = (0..=SURFACE).map(|key| {
            let (tone, cloud) = (i64::from(key >> TONE & 15), i64::from(key >> CLOUD & 15));
            value(key & 31, tone, key >> SHADOW & 1 == 1, cloud).clamp(0, top) as u16
        });
        Self { shift: 0, mask: SURFACE, values: values.collect(), texture, top: top as u16 }
    }

    fn air(value: impl Fn(i64, i64) -> i64) -> Self {
        let bits = HAZE + 5 - CLOUD;
        let values = (0..1 << bits).map(|key: i64| value(key >> (HAZE - CLOUD), key & 15) as u16);
        Self { shift: CLOUD, mask: (1 << bits) - 1, values: values.collect(), texture: 0, top: 32_767 }
    }

    /// Digital numbers of a spectral band: reflectance x 10000 + `offset`, at least 1 (0 is nodata) and at most `top`.
    /// `None` when no band is called so.
    #[must_use]
    pub fn band(name: &str, day: i64, offset: i64, top: i64) -> Option<Self> {
        let band = BANDS.iter().position(|b| *b == name)?;
        let ground: Vec<i64> = (0..material::COUNT).map(|kind| reflectance(kind, band, day)).collect();
        Some(Self::surface(255, top, |kind, tone, shadow, cloud| {
            let ground = ground.get(kind as usize).copied().unwrap_or(0);
            let lit = ground * (208 + 6 * tone) / 256 * if shadow { 5 } else { 16 } / 16;
            ((lit * (15 - cloud) + CLOUDS[band] * cloud) / 15 + offset).max(1)
        }))
    }

    /// Aerosol optical thickness x 1000.
    #[must_use]
    pub fn aerosol(day: i64) -> Self {
        Self::air(|haze, cloud| 60 + day % 7 * 9 + haze * 2 + cloud)
    }

    /// Water vapour in cm x 1000.
    #[must_use]
    pub fn vapour(day: i64) -> Self {
        Self::air(|haze, cloud| 900 + day * 3 + haze * 24 + cloud * 16)
    }

    /// Scene classification codes of Sen2Cor, 1..=11.
    #[must_use]
    pub fn classes(day: i64) -> Self {
        Self::surface(0, 255, |kind, _, shadow, cloud| match (cloud, shadow, kind) {
            (11.., ..) => 9,
            (6..=10, ..) => 8,
            (1..=5, ..) => 10,
            (_, true, _) => 3,
            (_, _, material::WATER) => 6,
            (_, _, material::SNOW) => 11,
            (_, _, kind) => {
                let (green, straw) = phenology(kind, day);
                if green >= 100 && straw < 128 { 4 } else { 5 }
            }
        })
    }

    /// Opaque clouds, cirrus, snow: the three components of level 1C's classification, 0 or 1 each.
    #[must_use]
    pub fn classification() -> Vec<Self> {
        let is =
            |wanted: fn(u32, i64) -> bool| Self::surface(0, 1, move |kind, _, _, cloud| wanted(kind, cloud).into());
        let snow: fn(u32, i64) -> bool = |kind, cloud| kind == material::SNOW && cloud == 0;
        vec![is(|_, cloud| cloud >= 6), is(|_, cloud| (1..6).contains(&cloud)), is(snow)]
    }

    /// Eight technical flags, 0 or 1 each; only the last, saturated pixels, is ever set.
    #[must_use]
    pub fn quality() -> Vec<Self> {
        let flag = |number| Self::surface(0, 1, move |kind, _, _, _| i64::from(number == 7 && kind == material::SNOW));
        (0..8).map(flag).collect()
    }

    /// One number everywhere, of an image that has nothing to do with the land.
    #[must_use]
    pub fn constant(value: u16) -> Self {
        Self { shift: 0, mask: 0, values: vec![value], texture: 0, top: 255 }
    }

    /// Probability of cloud in percent.
    #[must_use]
    pub fn cloud_probability() -> Self {
        Self::surface(0, 255, |_, _, _, cloud| cloud * 100 / 15)
    }

    /// Probability of snow in percent.
    #[must_use]
    pub fn snow_probability() -> Self {
        Self::surface(0, 255, |kind, tone, _, cloud| if kind == material::SNOW && cloud < 6 { 85 + tone } else { 0 })
    }
}

/// True-colour byte of a digital number: reflectance 0.25 and more is 255, as in real L2A products.
#[must_use]
pub fn stretch(value: u16, offset: i64) -> u16 {
    match value {
        0 => 0,
        v => (((i64::from(v) - offset) * 255 + 1250) / 2500).clamp(1, 255) as u16,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn vegetation_greens_up_over_the_dates() {
        let ndvi = |kind: u32, day: i64| {
            let dn = |band| i64::from(Table::band(band, day, 1000, 32_767).unwrap().value(kind | 8 << TONE)) - 1000;
            (dn("B08") - dn("B04")) * 1000 / (dn("B08") + dn("B04"))
        };
        for kind in [material::DECIDUOUS, material::MEADOW, material::CEREAL] {
            assert!(ndvi(kind, 122) > ndvi(kind, 112) && ndvi(kind, 132) > ndvi(kind, 122), "{kind}");
        }
        assert_eq!(ndvi(material::CONIFER, 122), ndvi(material::CONIFER, 132));
        assert!(ndvi(material::WATER, 122) < 0);
    }

    #[test]
    fn classes_follow_the_clouds() {
        let scl = Table::classes(122);
        assert_eq!(scl.value(material::WATER | 15 << CLOUD), 9);
        assert_eq!(scl.value(material::WATER | 3 << CLOUD), 10);
        assert_eq!(scl.value(material::CONIFER), 4);
        assert_eq!(scl.value(material::CONIFER | 1 << SHADOW), 3);
    }
}
