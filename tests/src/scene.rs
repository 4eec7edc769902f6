//! One overpass: the value of every pixel of every raster, from the cells of the land and the weather of the day.

use std::ops::Range;

use crate::coding::Coding;
use crate::grid::{SIDE, TileGrid};
use crate::landscape::{CELL, CLOUD, CellRect, Cells, Land, Weather, material, material_of};
use crate::noise::{add_row, hash};
use crate::raster::{Kind, Raster};
use crate::spec::{Identity, SampleSpec};
use crate::spectra::{Table, stretch};

/// What the satellite saw on one day.
#[derive(Debug, Clone)]
pub struct Scene {
    grid: TileGrid,
    land: Land,
    weather: Weather,
    season: i64,
    offset: i64,
    /// Nodata where 4 x (metres from the west edge) + (metres from the north edge) is more: an edge slanted as orbits are.
    swath_end: Option<i64>,
    /// Every pixel of a band differs from its neighbours, as the ground and the instrument make it.
    realistic: bool,
}

/// Shares of the image in percent, by scene class 0..=11.
pub type ClassShares = [f64; 12];

impl Scene {
    /// The scene of a product of `spec`, on its `index`-th date.
    #[must_use]
    pub fn new(spec: &SampleSpec, identity: &Identity, index: u32) -> Self {
        let land = Land::new(spec.seed, identity.grid.epsg());
        Self {
            grid: identity.grid.clone(),
            land,
            weather: Weather::new(land, identity.day.number(), identity.season()),
            season: identity.season(),
            offset: identity.baseline.offset(),
            swath_end: (spec.swath_edge && index % 3 == 1).then_some(4 * 75_000),
            realistic: spec.realistic,
        }
    }

    /// The land under the whole tile; the same for every date.
    #[must_use]
    pub fn land_cells(&self, threads: usize) -> Cells {
        self.land.cells(self.cell_rect(1, [0, 0, SIDE, SIDE]), threads)
    }

    /// The day's cells over `land`.
    #[must_use]
    pub fn cells(&self, land: &Cells, threads: usize) -> Cells {
        self.weather.cells(land, threads)
    }

    /// Easting and northing of a pixel's centre.
    fn centre(&self, resolution: i64, column: i64, row: i64) -> (i64, i64) {
        let half = resolution / 2;
        (self.grid.ulx + resolution * column + half, self.grid.uly - resolution * row - half)
    }

    /// The cells below a rectangle (column, row, width, height) of pixels.
    fn cell_rect(&self, resolution: i64, [column, row, width, height]: [i64; 4]) -> CellRect {
        let (west, north) = self.centre(resolution, column, row);
        let (east, south) = self.centre(resolution, column + width - 1, row + height - 1);
        let (west, north) = (west.div_euclid(CELL), north.div_euclid(CELL));
        let span = |from: i64, to: i64| usize::try_from(to - from + 1).unwrap_or(0);
        let (width, height) = (span(west, east.div_euclid(CELL)), span(south.div_euclid(CELL), north));
        CellRect { west, north, width, height }
    }

    /// Appends the samples of a rectangle (column, row, width, height) of a raster to `out`, component after component.
    pub fn samples(&self, raster: &Raster, coding: &Coding, cells: &Cells, rect: [u32; 4], out: &mut Vec<u16>) {
        for table in raster.tables(self.season, self.offset, coding.bits) {
            let start = out.len();
            self.plane(i64::from(raster.resolution), &table, cells, rect.map(i64::from), out);
            if raster.kind == Kind::Detectors {
                self.detectors(i64::from(raster.resolution), rect.map(i64::from), &mut out[start..]);
            }
            if raster.kind == Kind::TrueColour {
                out[start..].iter_mut().for_each(|v| *v = stretch(*v, self.offset));
            }
        }
    }

    /// Numbers the detectors where anything was seen: strips of 25 km, as slanted as the edge of the swath.
    fn detectors(&self, resolution: i64, [column, row, width, _]: [i64; 4], seen: &mut [u16]) {
        for (i, pixel) in (0..).zip(seen).filter(|(_, pixel)| **pixel != 0) {
            let (east, north) = self.centre(resolution, column + i % width, row + i / width);
            let across = east - self.grid.ulx + (self.grid.uly - north) / 4;
            *pixel = u16::try_from(across / 25_000 + 4).unwrap_or(0);
        }
    }

    fn plane(&self, resolution: i64, table: &Table, cells: &Cells, rect: [i64; 4], out: &mut Vec<u16>) {
        let [column, row, width, height] = rect;
        let eastings: Vec<i64> = (column..column + width).map(|c| self.centre(resolution, c, 0).0).collect();
        let index = |metre: i64, from: i64| usize::try_from(metre.div_euclid(CELL) - from).unwrap_or(0);
        let columns: Vec<usize> = eastings.iter().map(|e| index(*e, cells.rect.west)).collect();
        let mut line: Vec<u16> = Vec::new();
        let mut rough: Vec<usize> = Vec::new();
        let mut current = None;
        for y in row..row + height {
            let northing = self.centre(resolution, 0, y).1;
            let cell_row = usize::try_from(cells.rect.north - northing.div_euclid(CELL)).unwrap_or(0);
            if current != Some(cell_row) {
                current = Some(cell_row);
                let row = &cells.cells[cell_row * cells.rect.width..][..cells.rect.width];
                line.clear();
                line.extend(columns.iter().map(|c| table.value(row[*c])));
                rough.clear();
                if table.texture > 0 {
                    let town = |c: &usize| material_of(row[*c]) == material::TOWN && row[*c] >> CLOUD & 15 == 0;
                    rough.extend(columns.iter().enumerate().filter(|(_, c)| town(c)).map(|(x, _)| x));
                }
            }
            let start = out.len();
            out.extend_from_slice(&line);
            for &x in &rough {
                let noise = hash(0, eastings[x], northing) & u32::from(table.texture);
                out[start + x] = (out[start + x] + u16::try_from(noise).unwrap_or(0)).min(table.top);
            }
            if self.realistic && table.texture > 0 {
                // Another noise in each band and on each day, wherever the rectangle begins.
                let seed = u64::from(table.value(0)) << 16 | u64::try_from(self.season).unwrap_or(0);
                roughen(seed, column, y, table.top, &mut out[start..]);
            }
            if let Some(end) = self.swath_end {
                let seen = (end - (self.grid.uly - northing)) / 4 + self.grid.ulx;
                out[start + eastings.partition_point(|e| *e <= seen)..].fill(0);
            }
        }
    }

    /// The true pixels of rows `y` and columns `x`, components last; 0 beyond the edge of the image, as a decoder pads.
    #[must_use]
    pub fn expected(&self, raster: &Raster, coding: &Coding, y: Range<u32>, x: Range<u32>) -> Vec<u16> {
        let full = [x.start, y.start, x.end.saturating_sub(x.start), y.end.saturating_sub(y.start)];
        let (w, h) =
            (coding.side.saturating_sub(x.start).min(full[2]), coding.side.saturating_sub(y.start).min(full[3]));
        let n = coding.components as usize;
        let mut pixels = vec![0; full[2] as usize * full[3] as usize * n];
        if w == 0 || h == 0 {
            return pixels;
        }
        let rect = [x.start, y.start, w, h];
        let cells = self.cells(&self.land.cells(self.cell_rect(raster.resolution.into(), rect.map(i64::from)), 1), 1);
        let mut planes = Vec::new();
        self.samples(raster, coding, &cells, rect, &mut planes);
        for (i, value) in planes.into_iter().enumerate() {
            let (component, row, column) = (i / (w * h) as usize, i / w as usize % h as usize, i % w as usize);
            pixels[(row * full[2] as usize + column) * n + component] = value;
        }
        pixels
    }

    /// How much of the tile each scene class covers, cell by cell.
    #[must_use]
    pub fn shares(&self, cells: &Cells) -> ClassShares {
        let table = Table::classes(self.season);
        let mut counts = [0u32; 12];
        for (row, line) in (0..).zip(cells.cells.chunks(cells.rect.width.max(1))) {
            let north = (cells.rect.north - row) * CELL + CELL / 2;
            let seen = self.swath_end.map_or(i64::MAX, |end| (end - (self.grid.uly - north)) / 4 + self.grid.ulx);
            for (column, cell) in (0..).zip(line) {
                let east = (cells.rect.west + column) * CELL + CELL / 2;
                let class = if east <= seen { usize::from(table.value(*cell)) } else { 0 };
                counts[class.min(11)] += 1;
            }
        }
        let total = f64::from(counts.iter().sum::<u32>().max(1));
        counts.map(|n| f64::from(n) * 100.0 / total)
    }
}

/// Texture of the ground and noise of the instrument, stronger where it is bright: some 6 bits of a pixel are its own, so
/// that tiles of bands have the sizes of real ones.
fn roughen(seed: u64, column: i64, row: i64, top: u16, line: &mut [u16]) {
    let mut texture = vec![0; line.len()];
    add_row(seed, &[(1, 1), (2, 1), (3, 1), (5, 1)], column, row, &mut texture);
    for ((x, pixel), texture) in (column..).zip(line).zip(texture) {
        let random = hash(seed, x, row);
        let noise: i64 =
            (0..4).map(|at| i64::from(random >> (8 * at) & 63) - 32).sum::<i64>() + i64::from(texture >> 9) - 128;
        let value = i64::from(*pixel);
        *pixel = u16::try_from((value + noise * (value + 500) / 5_000).clamp(1, i64::from(top))).unwrap_or(top);
    }
}
