//! The header that all chunks of one array share.

use s2ice_jpeg2000::MainHeader;
use sha2::{Digest as _, Sha256};

use crate::encoding::{Encoding, TiffEncoding};
use crate::raster::Asset;

/// A JPEG 2000 main header without comments and tables, or the TIFF tags that stand for it, and the geometry it states.
///
/// One Zarr array has one codec configuration, so all rasters behind an array must have the same profile: decoding with
/// another file's header gives other numbers without an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderProfile {
    /// How a chunk is decoded.
    pub encoding: Encoding,
    /// SHA-256 of everything that decides how a chunk is decoded, hexadecimal.
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
            encoding: Encoding::Jpeg2000 { codec_header: header.codec_header() },
            fingerprint: header.profile().to_string(),
            components: geometry.components,
            image: (geometry.height, geometry.width),
            tile: (geometry.tile_height, geometry.tile_width),
            bit_depth: geometry.bit_depth,
            signed: geometry.signed,
        })
    }

    /// The profile of a TIFF of unsigned samples: `image` and `tile` are height and width in pixels.
    pub fn tiff(encoding: TiffEncoding, components: u32, image: (u32, u32), tile: (u32, u32), bit_depth: u8) -> Self {
        let facts = format!(
            "tiff {} x {} in tiles of {} x {}, {components} components of {bit_depth} bits, {encoding}",
            image.0, image.1, tile.0, tile.1
        );
        let fingerprint = Sha256::digest(facts.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { encoding: Encoding::Tiff(encoding), fingerprint, components, image, tile, bit_depth, signed: false }
    }

    /// What tells this profile from another of the same raster, in words.
    pub fn difference(&self, other: &Self) -> String {
        match (&self.encoding, &other.encoding) {
            (Encoding::Jpeg2000 { codec_header: own }, Encoding::Jpeg2000 { codec_header: other }) => {
                match (MainHeader::parse(own), MainHeader::parse(other)) {
                    (Ok(own), Ok(other)) => own.profile().difference(&other.profile()),
                    _ => "the headers differ".to_owned(),
                }
            }
            (Encoding::Tiff(own), Encoding::Tiff(their)) => {
                let words = |profile: &Self, encoding: &TiffEncoding| {
                    format!("tiles of {} x {}, {encoding}", profile.tile.0, profile.tile.1)
                };
                format!("{} vs {}", words(self, own), words(other, their))
            }
            (own, other) => format!("{} vs {}", own.kind(), other.kind()),
        }
    }

    /// Shape of an array of such rasters: time, height, width; with components time, components, height, width.
    pub fn shape(&self, has_components: bool, times: usize) -> Vec<u64> {
        self.extents(has_components, times as u64, self.image)
    }

    /// Shape of its chunks, each of which is one tile at one time.
    pub fn chunk_shape(&self, has_components: bool) -> Vec<u64> {
        self.extents(has_components, 1, self.tile)
    }

    fn extents(&self, has_components: bool, times: u64, (height, width): (u32, u32)) -> Vec<u64> {
        let components = has_components.then(|| u64::from(self.components));
        [Some(times), components, Some(u64::from(height)), Some(u64::from(width))].into_iter().flatten().collect()
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
        let holder = self.encoding.holder();
        if self.image != (pixels, pixels) {
            let (height, width) = self.image;
            return Some(format!(
                "its {holder} says {height} x {width} pixels, a tile at {} has {pixels} x {pixels}",
                asset.resolution
            ));
        }
        let shape = asset.sample_shape();
        if self.components != shape.components {
            return Some(format!("its {holder} says {} components, {asset} has {}", self.components, shape.components));
        }
        let bytes = if self.bit_depth <= 8 { 1 } else { 2 };
        if bytes != shape.bytes || self.signed {
            let sign = if self.signed { "signed" } else { "unsigned" };
            return Some(format!(
                "its {holder} says {sign} samples of {} bits, {asset} holds unsigned {}-bit numbers",
                self.bit_depth,
                shape.bytes * 8
            ));
        }
        None
    }
}
