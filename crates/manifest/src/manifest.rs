//! Chunk manifests: for one array, where the bytes of every chunk lie.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use s2ice_jpeg2000::TileSpan;

use crate::chunk::Chunk;
use crate::era::Era;
use crate::profile::HeaderProfile;
use crate::range::ByteRange;
use crate::raster::Asset;

/// Byte ranges of the tiles of one file, in raster order.
///
/// Four bytes a tile in the usual case (tiles one after the other), because ten years of a tile are millions of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TileTable {
    /// Tiles follow each other without gaps from an offset.
    Sequential {
        /// Offset of tile 0 in the file.
        first: u64,
        /// Length of each tile in bytes.
        lengths: Box<[u32]>,
    },
    /// Tiles in any other arrangement.
    Scattered(Box<[TileSpan]>),
}

impl TileTable {
    /// Packs spans in raster order.
    pub fn new(spans: &[TileSpan]) -> Self {
        let first = spans.first().map_or(0, |s| s.offset);
        let mut next = first;
        let lengths: Option<Box<[u32]>> = spans
            .iter()
            .map(|span| {
                let follows = span.offset == next;
                next = span.offset.checked_add(span.length)?;
                u32::try_from(span.length).ok().filter(|_| follows)
            })
            .collect();
        match lengths {
            Some(lengths) => Self::Sequential { first, lengths },
            None => Self::Scattered(spans.into()),
        }
    }

    /// Number of tiles.
    pub fn len(&self) -> usize {
        match self {
            Self::Sequential { lengths, .. } => lengths.len(),
            Self::Scattered(spans) => spans.len(),
        }
    }

    /// True without tiles.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Spans in raster order.
    pub fn iter(&self) -> impl Iterator<Item = TileSpan> + '_ {
        let mut next = match self {
            Self::Sequential { first, .. } => *first,
            Self::Scattered(_) => 0,
        };
        (0..self.len()).map(move |tile| match self {
            Self::Sequential { lengths, .. } => {
                let span = TileSpan { offset: next, length: u64::from(lengths[tile]) };
                next = next.saturating_add(span.length);
                span
            }
            Self::Scattered(spans) => spans[tile],
        })
    }
}

/// How the main header of a raster is known, the least certain way first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum HeaderTrust {
    /// Taken from the known classes; the file was not asked.
    #[default]
    Assumed,
    /// Read from another file of the same product and class; of its own file only the version is known.
    Inferred,
    /// Read from its own file.
    Verified,
}

impl HeaderTrust {
    /// Its word in stores and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Assumed => "assumed",
            Self::Inferred => "inferred",
            Self::Verified => "verified",
        }
    }

    /// What a store says; a word that is not known is believed least.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        [Self::Verified, Self::Inferred].into_iter().find(|trust| trust.name() == name).unwrap_or_default()
    }
}

/// A raster file with everything that is needed to reference its tiles.
#[derive(Debug, Clone)]
pub struct RasterFile {
    /// Which raster of the product it is.
    pub asset: Asset,
    /// Path below the source prefix, without a leading slash.
    pub path: Arc<str>,
    /// Size in bytes when the index or the header was read.
    pub file_size: u64,
    /// ETag of the response that gave the main header.
    pub etag: Option<Arc<str>>,
    /// Last-modified time of that response.
    pub last_modified: Option<DateTime<Utc>>,
    /// Its main header.
    pub header: Arc<HeaderProfile>,
    /// How the header is known.
    pub trust: HeaderTrust,
    /// Where its tiles lie.
    pub tiles: TileTable,
    /// Tiles whose bytes were decoded and hold nothing but nodata, or that the file leaves out as such (sparse GeoTIFFs);
    /// sorted.
    pub nodata: Box<[u32]>,
}

/// Why the tile ranges of a raster cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// The index lists another number of tiles than the main header's grid has.
    #[error("the index lists {found} tiles, the main header's grid has {expected}")]
    Incomplete {
        /// Tiles in the index.
        found: usize,
        /// Tiles of the grid.
        expected: u64,
    },
    /// A tile without bytes.
    #[error("tile {tile} has no bytes")]
    Empty {
        /// Tile number in raster order.
        tile: usize,
    },
    /// A tile ends behind the end of the file.
    #[error("tile {tile} ends at byte {end}, the file has {size}")]
    OutsideFile {
        /// Tile number in raster order.
        tile: usize,
        /// The byte after its last.
        end: u64,
        /// Size of the file.
        size: u64,
    },
    /// Two tiles share bytes.
    #[error("tiles {first} and {second} overlap")]
    Overlap {
        /// The tile that starts first.
        first: usize,
        /// The tile that starts inside it.
        second: usize,
    },
}

impl RasterFile {
    /// Checks that the ranges are inside the file, do not overlap and cover the grid.
    ///
    /// # Errors
    /// The first [`RangeError`] found.
    pub fn validate(&self) -> Result<(), RangeError> {
        let expected = self.header.tiles();
        if self.tiles.len() as u64 != expected {
            return Err(RangeError::Incomplete { found: self.tiles.len(), expected });
        }
        for (tile, span) in self.tiles.iter().enumerate() {
            let absent = || u32::try_from(tile).is_ok_and(|tile| self.nodata.binary_search(&tile).is_ok());
            if span.length == 0 && !absent() {
                return Err(RangeError::Empty { tile });
            }
            let end = span.offset.saturating_add(span.length);
            if end > self.file_size {
                return Err(RangeError::OutsideFile { tile, end, size: self.file_size });
            }
        }
        if let TileTable::Scattered(spans) = &self.tiles {
            let mut order: Vec<usize> = (0..spans.len()).collect();
            order.sort_by_key(|tile| spans[*tile].offset);
            for pair in order.windows(2) {
                let [first, second] = [pair[0], pair[1]];
                if spans[first].offset + spans[first].length > spans[second].offset {
                    return Err(RangeError::Overlap { first, second });
                }
            }
        }
        Ok(())
    }

    /// Chunks in raster order: `(row, column, chunk)`.
    pub fn chunks(&self) -> impl Iterator<Item = (u32, u32, Chunk)> + '_ {
        let (_, columns) = self.header.grid();
        let columns = columns.max(1);
        self.tiles.iter().zip(0_u32..).map(move |(span, tile)| {
            let chunk = match ByteRange::new(span.offset, span.length) {
                Some(range) if self.nodata.binary_search(&tile).is_err() => Chunk::Range(range),
                _ => Chunk::Missing,
            };
            (tile / columns, tile % columns, chunk)
        })
    }

    /// Number of chunks that are references.
    pub fn references(&self) -> u64 {
        (self.tiles.len().saturating_sub(self.nodata.len())) as u64
    }

    /// Bytes that its references stand for.
    pub fn referenced_bytes(&self) -> u64 {
        self.chunks().map(|(_, _, chunk)| if let Chunk::Range(range) = chunk { range.length() } else { 0 }).sum()
    }
}

/// A raster whose references a store holds already.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldRaster {
    /// Which raster of the product it is.
    pub asset: Asset,
    /// Its main header: that of the store's array.
    pub header: Arc<HeaderProfile>,
    /// How the header is known.
    pub trust: HeaderTrust,
    /// The time step at which the store holds it.
    pub step: u32,
    /// In which tree of the store that is; `None` for the main one.
    pub era: Option<Era>,
}

/// Where the references of a raster come from.
#[derive(Debug, Clone)]
pub enum Placement {
    /// From what index and file say.
    File(RasterFile),
    /// From the store itself, any of its trees.
    Held(HeldRaster),
}

impl Placement {
    /// Which raster of the product it is.
    pub fn asset(&self) -> Asset {
        match self {
            Self::File(raster) => raster.asset,
            Self::Held(raster) => raster.asset,
        }
    }

    /// Its main header.
    pub fn header(&self) -> &Arc<HeaderProfile> {
        match self {
            Self::File(raster) => &raster.header,
            Self::Held(raster) => &raster.header,
        }
    }

    /// How the main header is known.
    pub fn trust(&self) -> HeaderTrust {
        match self {
            Self::File(raster) => raster.trust,
            Self::Held(raster) => raster.trust,
        }
    }

    /// Says how the main header is known.
    pub fn set_trust(&mut self, trust: HeaderTrust) {
        match self {
            Self::File(raster) => raster.trust = trust,
            Self::Held(raster) => raster.trust = trust,
        }
    }

    /// The file, where the references are to be written.
    pub fn file(&self) -> Option<&RasterFile> {
        match self {
            Self::File(raster) => Some(raster),
            Self::Held(_) => None,
        }
    }

    /// What the store itself holds, where the references are to be kept.
    pub fn held(&self) -> Option<&HeldRaster> {
        match self {
            Self::File(_) => None,
            Self::Held(raster) => Some(raster),
        }
    }
}

impl From<RasterFile> for Placement {
    fn from(raster: RasterFile) -> Self {
        Self::File(raster)
    }
}

/// All chunks of one array, by time step.
#[derive(Debug, Clone)]
pub struct ChunkManifest {
    /// Which raster the array holds.
    pub asset: Asset,
    /// The main header of every raster in it.
    pub header: Arc<HeaderProfile>,
    /// The raster of each time step; `None` where the product has none or it was refused.
    pub rasters: Vec<Option<Placement>>,
}

impl ChunkManifest {
    /// The raster of a time step, where there is one.
    pub fn at(&self, step: usize) -> Option<&Placement> {
        self.rasters.get(step).and_then(Option::as_ref)
    }

    /// The rasters whose references are not in the store yet.
    pub fn files(&self) -> impl Iterator<Item = &RasterFile> + '_ {
        self.rasters.iter().flatten().filter_map(Placement::file)
    }

    /// Number of references to write: those of [`ChunkManifest::files`].
    pub fn references(&self) -> u64 {
        self.files().map(RasterFile::references).sum()
    }

    /// How the least certain of its main headers is known.
    pub fn trust(&self) -> HeaderTrust {
        self.rasters.iter().flatten().map(Placement::trust).min().unwrap_or(HeaderTrust::Verified)
    }
}
