//! The made-up country: what lies in each cell of 40 m, as a pure function of zone, easting and northing. Tiles that
//! overlap agree, and every resolution samples the same cells.
//!
//! A cell is a packed number, so that a band's values are one table look-up away ([`crate::spectra`]).
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // packing fields that are clamped to their width

use crate::noise::{add_row, hash};

/// Side of a cell in metres.
pub const CELL: i64 = 40;

/// Materials, in the low five bits of a cell.
pub mod material {
    /// Lakes and the river.
    pub const WATER: u32 = 0;
    /// Evergreen forest.
    pub const CONIFER: u32 = 1;
    /// Deciduous forest.
    pub const DECIDUOUS: u32 = 2;
    /// Mountain meadow.
    pub const ALPINE: u32 = 3;
    /// Bare rock.
    pub const ROCK: u32 = 4;
    /// Built-up; textured pixel by pixel.
    pub const TOWN: u32 = 5;
    /// Snow.
    pub const SNOW: u32 = 6;
    /// Meadow of the plains.
    pub const MEADOW: u32 = 7;
    /// Winter cereal: green in spring, straw in summer.
    pub const CEREAL: u32 = 8;
    /// Maize: green in summer.
    pub const MAIZE: u32 = 9;
    /// Rape.
    pub const RAPE: u32 = 10;
    /// Vineyards and orchards.
    pub const VINE: u32 = 11;
    /// How many there are.
    pub const COUNT: u32 = 12;
}

/// Material, tone, shadow and cloud: what decides a reflectance.
pub const SURFACE: u32 = 0x3fff;
/// Where the tone (0..=15) starts.
pub const TONE: u32 = 5;
/// Where the shadow bit is.
pub const SHADOW: u32 = 9;
/// Where the cloud (0..=15) starts.
pub const CLOUD: u32 = 10;
/// Where the haze (0..=31) starts.
pub const HAZE: u32 = 14;
const ALTITUDE: u32 = 19;

/// The material of a cell.
#[must_use]
pub fn material_of(cell: u32) -> u32 {
    cell & 31
}

/// A rectangle of cells; row 0 is the northernmost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellRect {
    /// Cell column of the western edge: easting / 40 m.
    pub west: i64,
    /// Cell row of the northern edge: northing / 40 m, growing northwards.
    pub north: i64,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// The cells of a rectangle, row by row from the north.
#[derive(Debug)]
pub struct Cells {
    /// Where they lie.
    pub rect: CellRect,
    /// `height * width` packed cells.
    pub cells: Vec<u32>,
}

impl Cells {
    /// Makes each row with `make(northing row, row)` on `threads` threads.
    fn by_rows(rect: CellRect, mut cells: Vec<u32>, threads: usize, make: impl Fn(i64, &mut [u32]) + Sync) -> Self {
        let rows = rect.height.div_ceil(threads.max(1)).max(1);
        let width = rect.width.max(1);
        std::thread::scope(|scope| {
            for (part, block) in cells.chunks_mut(rows * width).enumerate() {
                let make = &make;
                scope.spawn(move || {
                    for (row, line) in (part * rows..).zip(block.chunks_mut(width)) {
                        make(rect.north - row as i64, line);
                    }
                });
            }
        });
        Self { rect, cells }
    }
}

/// The land of one UTM zone.
#[derive(Debug, Clone, Copy)]
pub struct Land {
    seed: u64,
}

impl Land {
    /// The land of a zone of one hemisphere, `seed` choosing among countries.
    #[must_use]
    pub fn new(seed: u64, epsg: i64) -> Self {
        Self { seed: seed.wrapping_add(epsg.unsigned_abs()).wrapping_mul(0x9E37_79B9_7F4A_7C15) }
    }

    /// The cells of `rect` without weather.
    #[must_use]
    pub fn cells(&self, rect: CellRect, threads: usize) -> Cells {
        let empty = vec![0; rect.width * rect.height];
        Cells::by_rows(rect, empty, threads, |north, line| self.row(rect.west, north, line))
    }

    fn row(&self, west: i64, north: i64, line: &mut [u32]) {
        const AHEAD: usize = 6; // relief is lit from the east: the slope over this many cells is the tone
        let noise = |salt: u64, octaves: &[(u32, u32)], extra: usize| {
            let mut out = vec![0; line.len() + extra];
            add_row(self.seed ^ salt, octaves, west, north, &mut out);
            out
        };
        let relief = noise(1, &[(10, 1), (8, 2), (6, 4)], AHEAD);
        let course = noise(2, &[(9, 1), (7, 3)], 0);
        let woods = noise(3, &[(8, 1), (6, 3)], 0);
        let haze = noise(4, &[(9, 0)], 0);
        let mut fields = Fields::default();
        for (i, cell) in line.iter_mut().enumerate() {
            let (h, at) = (relief[i], west + i as i64);
            let slope = ((relief[i + AHEAD] - h) >> 9).clamp(-3, 3) * 2;
            let river = (course[i] - 29_000).abs();
            let (kind, tone) = if h < 13_500 || (river < 260 && h < 36_000) {
                (material::WATER, 8)
            } else if h > 41_500 {
                (material::ROCK, 8 + slope)
            } else if h > 38_000 {
                (material::ALPINE, 8 + slope)
            } else if h > 31_500 || woods[i] > 33_000 {
                let kind = if h + (woods[i] >> 2) > 38_000 { material::CONIFER } else { material::DECIDUOUS };
                (kind, 8 + slope)
            } else {
                fields.at(self.seed, at, north)
            };
            *cell = kind
                | (tone.clamp(0, 15) as u32) << TONE
                | ((haze[i] >> 11).clamp(0, 31) as u32) << HAZE
                | ((h >> 8).clamp(0, 255) as u32) << ALTITUDE;
        }
        self.towns(west, north, line);
    }

    /// A town in most squares of 41 km, denser towards its middle.
    fn towns(&self, west: i64, north: i64, line: &mut [u32]) {
        const SQUARE: i64 = 1024;
        let (first, last) = (west.div_euclid(SQUARE), (west + line.len() as i64).div_euclid(SQUARE));
        let sy = north.div_euclid(SQUARE);
        for sx in first..=last {
            let h = i64::from(hash(self.seed ^ 5, sx, sy));
            let (x, y) = (sx * SQUARE + 192 + h % 640, sy * SQUARE + 192 + (h >> 10) % 640);
            let radius = 24 + (h >> 20) % 40;
            let square = radius * radius;
            if (north - y).abs() > radius {
                continue;
            }
            for at in (x - radius).max(west)..(x + radius).min(west + line.len() as i64) {
                let distance = (at - x) * (at - x) + (north - y) * (north - y);
                let dense = i64::from(hash(self.seed ^ 6, at >> 1, north >> 1) & 255) * square > distance * 256;
                let cell = &mut line[(at - west) as usize];
                if distance < square && dense && material_of(*cell) != material::WATER {
                    *cell = *cell & !(31 | 15 << TONE) | material::TOWN | 8 << TONE;
                }
            }
        }
    }
}

/// The patchwork of the plains: slanted parcels of 1280 x 800 m, some cut in two.
#[derive(Default)]
struct Fields {
    last: Option<(i64, i64, i64)>,
    kind: u32,
    tone: i32,
}

impl Fields {
    fn at(&mut self, seed: u64, x: i64, y: i64) -> (u32, i32) {
        let v = y + (x >> 6);
        let row = v.div_euclid(20);
        let u = x - (y >> 5) + (row & 7) * 11;
        let place = (u.div_euclid(32), row, v.rem_euclid(20) / 10);
        if self.last != Some(place) {
            self.last = Some(place);
            let h = hash(seed ^ 7, place.0, place.1);
            let half = match h % 16 {
                0 => h.rotate_right(16 * place.2 as u32 + 1),
                1 | 2 => h,
                _ => hash(seed ^ 7, place.0 >> 2, place.1 >> 2), // as all around: large estates
            };
            self.kind = match (half >> 8) & 15 {
                0..=4 => material::CEREAL,
                5..=8 => material::MAIZE,
                9..=11 => material::MEADOW,
                12..=13 => material::RAPE,
                _ => material::VINE,
            };
            self.tone = 6 + ((half >> 16) % 3 * 2) as i32;
        }
        (self.kind, self.tone)
    }
}

/// What a day adds: clouds, their shadows and snow.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    seed: u64,
    clear_below: i32,
    snow_above: u32,
}

impl Weather {
    /// The weather of day `number` (since 1970) in the zone of `land`; `season` is the day of the northern year.
    #[must_use]
    pub fn new(land: Land, number: i64, season: i64) -> Self {
        let seed = land.seed ^ u64::from(hash(land.seed ^ 8, number, 0)) << 20;
        let clear_below = 33_000 + (hash(seed, 0, 1) % 12_000) as i32;
        // Snow reaches down to the plains in winter and up to the summits in summer.
        let from_midsummer = (season - 200).abs().min(365 - (season - 200).abs()) as u32;
        Self { seed, clear_below, snow_above: 190u32.saturating_sub(from_midsummer * 2 / 5) }
    }

    /// `land`'s cells with the weather of the day.
    #[must_use]
    pub fn cells(&self, land: &Cells, threads: usize) -> Cells {
        const SHADE: i64 = 14; // cells a shadow lies west and north of its cloud
        let rect = land.rect;
        Cells::by_rows(rect, land.cells.clone(), threads, |north, line| {
            let mut cloud = vec![0; line.len()];
            let mut shade = vec![0; line.len()];
            let octaves = [(8, 1), (6, 2), (5, 4)];
            add_row(self.seed ^ 9, &octaves, rect.west, north, &mut cloud);
            add_row(self.seed ^ 9, &octaves, rect.west + SHADE, north - SHADE, &mut shade);
            for ((cell, cloud), shade) in line.iter_mut().zip(cloud).zip(shade) {
                let level = |v: i32| ((v - self.clear_below) >> 7).clamp(0, 15) as u32;
                if *cell >> ALTITUDE > self.snow_above && material_of(*cell) != material::WATER {
                    *cell = *cell & !31 | material::SNOW;
                }
                let shadow = u32::from(level(shade) > 5 && level(cloud) == 0);
                *cell |= level(cloud) << CLOUD | shadow << SHADOW;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_of_cells_is_cut_from_the_same_land() {
        let land = Land::new(1, 32_633);
        let rect = CellRect { west: 10_000, north: 130_000, width: 300, height: 90 };
        let whole = Weather::new(land, 19_844, 122).cells(&land.cells(rect, 2), 3);
        let part_rect = CellRect { west: 10_100, north: 129_960, width: 60, height: 20 };
        let part = Weather::new(land, 19_844, 122).cells(&land.cells(part_rect, 1), 1);
        for y in 0..20 {
            assert_eq!(part.cells[y * 60..][..60], whole.cells[(y + 40) * 300 + 100..][..60]);
        }
    }

    #[test]
    fn a_tile_of_land_has_variety() {
        let land = Land::new(1, 32_633);
        let rect = CellRect { west: 9999, north: 132_500, width: 2745, height: 2745 };
        let cells = Weather::new(land, 19_844, 122).cells(&land.cells(rect, 2), 2);
        let mut count = [0u32; 32];
        for cell in &cells.cells {
            count[material_of(*cell) as usize] += 1;
        }
        assert!(count[..material::COUNT as usize].iter().filter(|&&n| n > 1000).count() >= 9, "{count:?}");
    }
}
