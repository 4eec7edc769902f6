//! How the images of the samples are coded.

/// How a codestream is coded (ISO/IEC 15444-1, A.5 and A.6): reversible 5/3, LRCP, one layer, a PLT in each tile-part; the
/// reversible colour transform over the first three components where there are so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Coding {
    /// Image width and height in samples.
    pub side: u32,
    /// Tile width and height.
    pub tile: u32,
    /// Components of a pixel.
    pub components: u32,
    /// Unsigned bits per sample, 1..=16.
    pub bits: u32,
    /// Decomposition levels.
    pub levels: u32,
    /// Code-block width and height.
    pub code_block: u32,
    /// Precinct width and height at every resolution.
    pub precinct: u32,
    /// Quantisation default (QCD) of the ground segment's encoder; else OpenJPEG's own.
    pub ground_segment: bool,
    /// Write a TLM marker segment into the main header, once all is coded.
    pub tlm: bool,
}

impl Coding {
    /// Tiles per row, and per column.
    #[must_use]
    pub fn tiles_across(&self) -> u32 {
        self.side.div_ceil(self.tile)
    }

    /// Column, row, width and height in samples of tile `index`, counted in raster order.
    #[must_use]
    pub fn tile_rect(&self, index: u32) -> [u32; 4] {
        let (x, y) = (index % self.tiles_across() * self.tile, index / self.tiles_across() * self.tile);
        [x, y, self.tile.min(self.side - x), self.tile.min(self.side - y)]
    }

    /// Whether the first three components go through the reversible colour transform.
    #[must_use]
    pub fn colour_transform(&self) -> bool {
        self.components >= 3
    }

    pub(crate) fn bytes_per_sample(&self) -> u32 {
        if self.bits > 8 { 2 } else { 1 }
    }
}
