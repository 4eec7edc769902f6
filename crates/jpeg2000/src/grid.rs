//! Tile rectangles and chunk geometry from SIZ (ISO/IEC 15444-1, clause B.3).

use crate::error::{Error, Result};
use crate::marker::Marker;
use crate::segment::siz::Siz;
use std::ops::Range;

/// Most tiles a codestream can have: Isot is 0 to 65534.
pub const MAX_TILES: u64 = 65535;

/// Half-open rectangle on the reference grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rect {
    /// Left edge.
    pub x0: u32,
    /// Upper edge.
    pub y0: u32,
    /// Right edge, exclusive.
    pub x1: u32,
    /// Lower edge, exclusive.
    pub y1: u32,
}

impl Rect {
    /// Width; 0 where the right edge is not beyond the left one.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.x1.saturating_sub(self.x0)
    }

    /// Height; 0 where the lower edge is not beyond the upper one.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.y1.saturating_sub(self.y0)
    }
}

/// Part of a chunk, in samples of the (reduced) chunk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Window {
    /// Rows.
    pub y: Range<u32>,
    /// Columns.
    pub x: Range<u32>,
}

/// `ceil(n / 2^r)`: a length or coordinate with `r` resolutions left out (clause B.5).
#[must_use]
pub fn reduced_size(n: u32, r: u8) -> u32 {
    let step = 1u64.checked_shl(u32::from(r)).unwrap_or(u64::MAX);
    u32::try_from(u64::from(n).div_ceil(step)).unwrap_or(u32::MAX)
}

/// The tiles of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileGrid {
    siz: Siz,
    columns: u32,
    rows: u32,
}

/// The shape of an image as a Zarr array with regular chunks; sizes in samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Number of components.
    pub components: u32,
    /// Height of the image.
    pub height: u32,
    /// Width of the image.
    pub width: u32,
    /// Height of a whole tile, which is the chunk's; edge tiles are padded to it.
    pub tile_height: u32,
    /// Width of a whole tile.
    pub tile_width: u32,
    /// Bits per sample.
    pub bit_depth: u8,
    /// Whether samples are signed.
    pub signed: bool,
}

impl TileGrid {
    /// The grid of an image.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are more than 65535 tiles, and where a value made by hand has an image area or a
    /// first tile without samples, which [`MainHeader::parse`](crate::MainHeader::parse) refuses.
    pub fn new(siz: &Siz) -> Result<TileGrid> {
        for (axis, start, end, origin, tile) in
            [("X", siz.x0, siz.x1, siz.tile_x0, siz.tile_width), ("Y", siz.y0, siz.y1, siz.tile_y0, siz.tile_height)]
        {
            let first = u64::from(origin)..u64::from(origin) + u64::from(tile);
            if start >= end || !first.contains(&u64::from(start)) {
                let reason = format!("{axis}: an image of {start}..{end} whose first tile is {first:?}");
                return Err(Error::invalid(Marker::SIZ, 0, reason));
            }
        }
        // No tile is of size 0, and the image begins behind the tiles' origin and ends behind its beginning.
        let columns = (siz.x1 - siz.tile_x0).div_ceil(siz.tile_width);
        let rows = (siz.y1 - siz.tile_y0).div_ceil(siz.tile_height);
        if u64::from(columns) * u64::from(rows) > MAX_TILES {
            return Err(Error::invalid(
                Marker::SIZ,
                0,
                format!("{columns} x {rows} tiles; up to {MAX_TILES} can be numbered"),
            ));
        }
        Ok(TileGrid { siz: siz.clone(), columns, rows })
    }

    /// Tiles side by side.
    #[must_use]
    pub fn columns(&self) -> u32 {
        self.columns
    }

    /// Tiles above each other.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Number of tiles, 1 to 65535.
    #[must_use]
    pub fn tiles(&self) -> u32 {
        self.columns * self.rows
    }

    /// (row, column) of a tile, or `None` outside the grid.
    #[must_use]
    pub fn position(&self, tile: u32) -> Option<(u32, u32)> {
        (tile < self.tiles()).then(|| (tile / self.columns, tile % self.columns))
    }

    /// Rectangle of a tile on the reference grid (equations B-7 to B-10), or `None` outside the grid.
    #[must_use]
    pub fn tile_rect(&self, tile: u32) -> Option<Rect> {
        let (row, column) = self.position(tile)?;
        let s = &self.siz;
        let span = |origin: u32, index: u32, size: u32, low: u32, high: u32| {
            let start = u64::from(origin) + u64::from(index) * u64::from(size);
            let end = (start + u64::from(size)).min(u64::from(high));
            let start = start.max(u64::from(low));
            // Both lie between `low` and `high`, so they fit; the fallback is never reached.
            (u32::try_from(start).unwrap_or(high), u32::try_from(end).unwrap_or(high))
        };
        let (x0, x1) = span(s.tile_x0, column, s.tile_width, s.x0, s.x1);
        let (y0, y1) = span(s.tile_y0, row, s.tile_height, s.y0, s.y1);
        Some(Rect { x0, y0, x1, y1 })
    }

    /// (height, width) of the image area.
    #[must_use]
    pub fn image_size(&self) -> (u32, u32) {
        (self.siz.y1 - self.siz.y0, self.siz.x1 - self.siz.x0)
    }

    /// The image as a regular Zarr grid.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for what regular chunks cannot express: image or tile offsets, subsampled components,
    /// components that differ in depth or sign, more than 16 bits.
    pub fn zarr_geometry(&self) -> Result<Geometry> {
        let s = &self.siz;
        let refuse = |reason: String| Err(Error::unsupported(Marker::SIZ, 0, reason));
        if (s.x0, s.y0, s.tile_x0, s.tile_y0) != (0, 0, 0, 0) {
            return refuse("image or tile offsets other than 0 do not fit a regular chunk grid".into());
        }
        let Some(first) = s.components.first() else {
            return refuse("no components".into());
        };
        if s.components.iter().any(|c| (c.dx, c.dy) != (1, 1)) {
            return refuse("subsampled components".into());
        }
        if s.components.iter().any(|c| c != first) {
            return refuse("components of different bit depth or sign".into());
        }
        if first.bit_depth > 16 {
            return refuse(format!("{} bits per sample are more than 16", first.bit_depth));
        }
        let (height, width) = self.image_size();
        Ok(Geometry {
            components: u32::from(s.component_count()),
            height,
            width,
            tile_height: s.tile_height,
            tile_width: s.tile_width,
            bit_depth: first.bit_depth,
            signed: first.signed,
        })
    }
}

impl Geometry {
    /// The geometry with `r` resolutions left out: every size becomes `ceil(n / 2^r)`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when several tiles share an axis and their size is not a multiple of `2^r`: their
    /// reduced sizes would not be regular.
    pub fn reduced(&self, r: u8) -> Result<Geometry> {
        for (axis, image, tile) in [("height", self.height, self.tile_height), ("width", self.width, self.tile_width)] {
            let whole = u32::from(r) <= tile.trailing_zeros();
            if image > tile && !whole {
                let reason = format!("tile {axis} {tile} is no multiple of 2^{r}, so reduced tiles are not regular");
                return Err(Error::unsupported(Marker::SIZ, 0, reason));
            }
        }
        Ok(Geometry {
            height: reduced_size(self.height, r),
            width: reduced_size(self.width, r),
            tile_height: reduced_size(self.tile_height, r),
            tile_width: reduced_size(self.tile_width, r),
            ..*self
        })
    }

    /// Bytes of one sample in memory: 1 up to 8 bits, else 2.
    #[must_use]
    pub fn sample_bytes(&self) -> usize {
        if self.bit_depth <= 8 { 1 } else { 2 }
    }

    /// Tiles above each other and side by side.
    #[must_use]
    pub fn tiles(&self) -> (u32, u32) {
        (self.height.div_ceil(self.tile_height), self.width.div_ceil(self.tile_width))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

    use super::*;
    use crate::samples;

    #[test]
    fn tiles_cover_the_image_once() {
        let mut siz = samples::siz();
        (siz.x0, siz.y0, siz.tile_x0, siz.tile_y0) = (10, 70, 3, 64);
        (siz.x1, siz.y1, siz.tile_width, siz.tile_height) = (200, 300, 64, 50);
        let grid = TileGrid::new(&siz).unwrap();
        assert_eq!((grid.columns(), grid.rows(), grid.tiles()), (4, 5, 20));
        assert_eq!(grid.tile_rect(0).unwrap(), Rect { x0: 10, y0: 70, x1: 67, y1: 114 });
        assert_eq!(grid.tile_rect(19).unwrap(), Rect { x0: 195, y0: 264, x1: 200, y1: 300 });
        assert_eq!(grid.tile_rect(20), None);
        let area: u32 = (0..20).map(|t| grid.tile_rect(t).unwrap()).map(|r| r.width() * r.height()).sum();
        assert_eq!(area, 190 * 230);
        assert_eq!(grid.image_size(), (230, 190));
    }

    #[test]
    fn extreme_grids_do_not_overflow() {
        let mut siz = samples::siz();
        (siz.x1, siz.tile_width, siz.y1, siz.tile_height) = (u32::MAX, u32::MAX, u32::MAX, u32::MAX);
        let grid = TileGrid::new(&siz).unwrap();
        assert_eq!(grid.tile_rect(0).unwrap().x1, u32::MAX);
        siz.tile_width = 65536;
        let grid = TileGrid::new(&siz);
        assert!(grid.unwrap_err().to_string().contains("65536 x 1 tiles"));
        siz.tile_width = 65537;
        let last = TileGrid::new(&siz).unwrap().tile_rect(65534).unwrap();
        assert_eq!((last.x0, last.x1), (65534 * 65537, u32::MAX));
    }

    #[test]
    fn grids_made_by_hand_do_not_overflow() {
        type Change = fn(&mut Siz);
        let changes: [Change; 6] = [
            |s| s.x0 = s.x1,
            |s| (s.y0, s.y1) = (u32::MAX, 0),
            |s| s.tile_width = 0,
            |s| s.tile_x0 = u32::MAX,
            |s| (s.x0, s.tile_x0) = (5, 6),
            |s| (s.y0, s.tile_y0, s.tile_height) = (64, 0, 64),
        ];
        for change in changes {
            let mut siz = samples::siz();
            change(&mut siz);
            let error = TileGrid::new(&siz).unwrap_err().to_string();
            assert!(error.contains("whose first tile is"), "{error}");
        }
        let turned = Rect { x0: 9, y0: u32::MAX, x1: 3, y1: 0 };
        assert_eq!((turned.width(), turned.height()), (0, 0));
    }

    #[test]
    fn what_zarr_cannot_express_is_refused() {
        type Change = fn(&mut Siz);
        let changes: [(Change, &str); 5] = [
            (|s| s.x0 = 1, "offsets"),
            (|s| s.components[0].dx = 2, "subsampled"),
            (|s| s.components[0].bit_depth = 17, "17 bits"),
            (
                |s| s.components.push(crate::segment::siz::Component { bit_depth: 8, signed: false, dx: 1, dy: 1 }),
                "different",
            ),
            (
                |s| s.components.push(crate::segment::siz::Component { bit_depth: 15, signed: true, dx: 1, dy: 1 }),
                "different",
            ),
        ];
        for (change, words) in changes {
            let mut siz = samples::siz();
            assert!(TileGrid::new(&siz).unwrap().zarr_geometry().is_ok());
            change(&mut siz);
            let error = TileGrid::new(&siz).unwrap().zarr_geometry().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn sizes_are_halved_upwards() {
        assert_eq!(
            (reduced_size(10980, 4), reduced_size(1, 5), reduced_size(0, 5), reduced_size(u32::MAX, 40)),
            (687, 1, 0, 1)
        );
        let geometry = TileGrid::new(&samples::siz()).unwrap().zarr_geometry().unwrap();
        let half = geometry.reduced(1).unwrap();
        assert_eq!((half.height, half.width, half.tile_height, half.tile_width), (45, 50, 32, 32));
        assert_eq!(half.tiles(), geometry.tiles());
        geometry.reduced(6).unwrap();
        geometry.reduced(7).unwrap_err();
        let mut one = samples::siz();
        (one.tile_width, one.tile_height) = (100, 101);
        assert_eq!(TileGrid::new(&one).unwrap().zarr_geometry().unwrap().reduced(3).unwrap().tile_height, 13);
    }
}
