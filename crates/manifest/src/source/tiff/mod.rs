//! Reading the tables of a cloud-optimised GeoTIFF: encoding, place and tiles, in one request as a rule.

mod directory;
mod offset;
mod pieces;
mod table;

#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use s2ice_jpeg2000::TileSpan;
use serde::{Deserialize, Serialize};

use self::directory::{Look, look};
pub use self::offset::OffsetTally;
pub(super) use self::offset::ask_offset;
use self::pieces::Pieces;
use self::table::table;
use super::jp2_header::FileError;
use super::location::Source;
use super::version::Version;
use crate::encoding::TiffEncoding;
use crate::grid::TileGeocoding;
use crate::ids::Resolution;
use crate::profile::HeaderProfile;

/// First read: GDAL writes all tables of a granule at the beginning; in tiles of 256 pixels they take 30 KiB.
const FIRST_READ: u64 = 32 * 1024;

/// Parts that are read of one file: header, directory, and the values of each long tag.
const MAX_READS: usize = 8;

/// What is known of one GeoTIFF.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TiffRecord {
    /// Size, bytes.
    pub size: u64,
    /// When the item that named the file had last changed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub item: Option<String>,
    /// ETag of the response that gave the tables.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub etag: Option<String>,
    /// Last-Modified of that response.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_modified: Option<DateTime<Utc>>,
    /// How tiles are written.
    pub encoding: TiffEncoding,
    /// Components of a pixel.
    pub components: u32,
    /// Image height and width, pixels.
    pub image: (u32, u32),
    /// Tile height and width, pixels.
    pub tile: (u32, u32),
    /// Bits of a sample, 8 or 16.
    pub bit_depth: u8,
    /// Place on the ground.
    pub place: TileGeocoding,
    /// Pixel size, metres.
    pub metres: u16,
    /// Offset and length of every tile in raster order; no length where the file has no such tile.
    pub tiles: Vec<(u64, u64)>,
    /// What its pixels say of an offset, where they were asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub offset: Option<OffsetTally>,
}

impl TiffRecord {
    /// What all chunks of an array share.
    #[must_use]
    pub fn profile(&self) -> HeaderProfile {
        HeaderProfile::tiff(self.encoding, self.components, self.image, self.tile, self.bit_depth)
    }

    /// Pixel size.
    #[must_use]
    pub fn resolution(&self) -> Option<Resolution> {
        Resolution::from_metres(self.metres.into())
    }

    /// Tiles in raster order.
    #[must_use]
    pub fn spans(&self) -> Vec<TileSpan> {
        self.tiles.iter().map(|(offset, length)| TileSpan { offset: *offset, length: *length }).collect()
    }

    /// Tiles that the file does not have, sorted.
    #[must_use]
    pub fn sparse(&self) -> Vec<u32> {
        self.tiles.iter().zip(0..).filter(|((_, length), _)| *length == 0).map(|(_, tile)| tile).collect()
    }

    /// Which state of the file the record is of.
    #[must_use]
    pub fn version(&self) -> Version<'_> {
        Version { etag: self.etag.as_deref(), last_modified: self.last_modified }
    }
}

/// Reads the tables of a file.
///
/// # Errors
/// [`FileError`]: the source's, or what keeps the file from being referenced.
pub async fn read_tiff(source: &Source, path: &str) -> Result<TiffRecord, FileError> {
    let refused = |reason: String| FileError::Refused { path: path.to_owned(), reason };
    let first = source.get_range(path, 0..FIRST_READ).await?;
    let mut pieces = Pieces::default();
    pieces.add(0, first.bytes.clone());
    let mut reads = 1;
    let directory = loop {
        match look(&pieces, first.size).map_err(refused)? {
            Look::Done(directory) => break directory,
            Look::Need(_) if reads == MAX_READS => {
                return Err(refused("its tables are scattered over the file".to_owned()));
            }
            Look::Need(range) => {
                let start = range.start;
                let more = source.get_range(path, range.clone()).await?;
                let same = more.size == first.size
                    && more.etag == first.etag
                    && more.last_modified == first.last_modified
                    && more.bytes.len() as u64 == range.end - start;
                if !same {
                    return Err(FileError::Changed { path: path.to_owned() });
                }
                pieces.add(start, more.bytes);
                reads += 1;
            }
        }
    };
    let table = table(&pieces, &directory, first.size).map_err(refused)?;
    Ok(TiffRecord {
        size: first.size,
        item: None,
        etag: first.etag,
        last_modified: first.last_modified,
        encoding: table.encoding,
        components: table.components,
        image: table.image,
        tile: table.tile,
        bit_depth: table.bit_depth,
        place: table.place,
        metres: table.resolution.metres(),
        tiles: table.tiles.iter().map(|span| (span.offset, span.length)).collect(),
        offset: None,
    })
}
