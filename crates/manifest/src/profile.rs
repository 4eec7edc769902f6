//! The main header that all chunks of one array share.

use s2ice_jpeg2000::MainHeader;

use crate::raster::Asset;

/// A main header without comments and tables, and the geometry it states.
///
/// One Zarr array has one codec configuration, so all rasters behind an array must have the same profile: decoding with
/// another file's header gives other numbers without an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderProfile {
    /// SOC and the SIZ, COD, COC, QCD, QCC, RGN, POC marker segments, byte for byte.
    pub codec_header: Vec<u8>,
    /// SHA-256 of those segments, hexadecimal.
    pub fingerprint: String,
    /// Components of a pixel.
    pub components: u32,
    /// Image height and width, pixels.
    pub image: (u32, u32),
    /// Tile height and width, pixels.
    pub tile: (u32, u32),
    /// Bits of a sample, 1 to 16.
    pub bit_depth: u8,
    /// True for signed samples.
    pub signed: bool,
}

impl HeaderProfile {
    /// Reads a main header (SOC up to the first SOT, or the compact form of the codec configuration).
    ///
    /// # Errors
    /// The header is damaged, or states a geometry that a regular Zarr chunk grid cannot express.
    pub fn parse(bytes: &[u8]) -> Result<Self, s2ice_jpeg2000::Error> {
        Self::of(&MainHeader::parse(bytes)?)
    }

    /// The profile of a parsed main header.
    ///
    /// # Errors
    /// The geometry cannot be expressed by a regular Zarr chunk grid.
    pub fn of(header: &MainHeader) -> Result<Self, s2ice_jpeg2000::Error> {
        let geometry = header.geometry()?;
        Ok(Self {
            codec_header: header.codec_header(),
            fingerprint: header.profile().to_string(),
            components: geometry.components,
            image: (geometry.height, geometry.width),
            tile: (geometry.tile_height, geometry.tile_width),
            bit_depth: geometry.bit_depth,
            signed: geometry.signed,
        })
    }

    /// Rows and columns of the tile grid.
    pub fn grid(&self) -> (u32, u32) {
        (self.image.0.div_ceil(self.tile.0.max(1)), self.image.1.div_ceil(self.tile.1.max(1)))
    }

    /// Number of tiles.
    pub fn tiles(&self) -> u64 {
        let (rows, columns) = self.grid();
        u64::from(rows) * u64::from(columns)
    }

    /// What keeps a raster with this header out of the array of an asset; `None` where it fits.
    pub fn misfit(&self, asset: Asset) -> Option<String> {
        let pixels = crate::grid::TileGeocoding::pixels(asset.resolution);
        if self.image != (pixels, pixels) {
            let (height, width) = self.image;
            return Some(format!(
                "its main header says {height} x {width} pixels, a tile at {} has {pixels} x {pixels}",
                asset.resolution
            ));
        }
        let shape = asset.sample_shape();
        if self.components != shape.components {
            return Some(format!(
                "its main header says {} components, {asset} has {}",
                self.components, shape.components
            ));
        }
        let bytes = if self.bit_depth <= 8 { 1 } else { 2 };
        if bytes != shape.bytes || self.signed {
            let sign = if self.signed { "signed" } else { "unsigned" };
            return Some(format!(
                "its main header says {sign} samples of {} bits, {asset} holds unsigned {}-bit numbers",
                self.bit_depth,
                shape.bytes * 8
            ));
        }
        None
    }
}

/// What the headers of two rasters differ in, in words: `bit depth 12 vs 15`.
pub fn difference(own: &HeaderProfile, other: &HeaderProfile) -> String {
    match (MainHeader::parse(&own.codec_header), MainHeader::parse(&other.codec_header)) {
        (Ok(own), Ok(other)) => own.profile().difference(&other.profile()),
        _ => "the headers differ".to_owned(),
    }
}
