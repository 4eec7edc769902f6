//! One row of a TLM index: which raster of which product, and where its tiles lie.
//!
//! The `index` column is, big-endian: u64 file size, u64 offset of the first SOT, u32 length of what follows, then the
//! TLM marker segments (ISO/IEC 15444-1, clause A.7.1), markers included. Empty means that the file carries its own
//! TLM. Rows keep the raw bytes: ten years of a tile are a million rows, expanded one at a time.

use chrono::{DateTime, Utc};
use s2ice_jpeg2000::{Error as CodestreamError, TileSpan, TlmTable};

use crate::product::ProductId;
use crate::raster::Asset;

/// Bytes in front of the TLM segments.
pub const INDEX_HEAD_BYTES: usize = 20;

/// What is wrong with the bytes of an `index` cell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexBytesError {
    /// The cell ends too early.
    #[error("the index bytes are truncated at byte {at}: {needed} more are needed")]
    Truncated {
        /// Bytes that are there.
        at: usize,
        /// Bytes that are missing.
        needed: usize,
    },
    /// The cell goes on behind the TLM segments.
    #[error("the index bytes hold {extra} bytes more than their TLM length {length} says")]
    TooLong {
        /// Bytes too many.
        extra: usize,
        /// The length they state.
        length: u32,
    },
    /// The first tile-part would begin outside the file.
    #[error("the first SOT at byte {first_sot} is beyond the file's {file_size} bytes")]
    FirstSot {
        /// Offset of the first SOT.
        first_sot: u64,
        /// Size of the file.
        file_size: u64,
    },
    /// The TLM segments cannot be read.
    #[error("the TLM segments from byte {INDEX_HEAD_BYTES} of the index bytes on: {0}")]
    Tlm(CodestreamError),
    /// The tile-parts cannot be one byte range per tile of the grid.
    #[error("the tile ranges of the index: {0}")]
    Tiles(CodestreamError),
}

/// [`IndexBytesError`] with the row it was found in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{asset} of {product}: {source}")]
pub struct IndexRowError {
    /// The product.
    pub product: ProductId,
    /// The raster.
    pub asset: Asset,
    /// What is wrong.
    pub source: IndexBytesError,
}

/// The contents of an `index` cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// Size of the JP2 file, bytes.
    pub file_size: u64,
    /// Offset of the first SOT in the file.
    pub first_sot: u64,
    /// Lengths of the tile-parts in file order.
    pub tlm: TlmTable,
}

impl IndexEntry {
    /// Reads the bytes of a cell that is not empty.
    ///
    /// # Errors
    /// [`IndexBytesError`], all but [`IndexBytesError::Tiles`].
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexBytesError> {
        let (file_size, first_sot) = head(bytes)?;
        let (length, rest) =
            field::<4>(bytes, 16).map(|length| (u32::from_be_bytes(length), &bytes[INDEX_HEAD_BYTES..]))?;
        let wanted = usize::try_from(length).unwrap_or(usize::MAX);
        if rest.len() < wanted {
            return Err(IndexBytesError::Truncated { at: bytes.len(), needed: wanted - rest.len() });
        }
        if rest.len() > wanted {
            return Err(IndexBytesError::TooLong { extra: rest.len() - wanted, length });
        }
        if first_sot >= file_size {
            return Err(IndexBytesError::FirstSot { first_sot, file_size });
        }
        let tlm = TlmTable::parse(rest).map_err(IndexBytesError::Tlm)?;
        Ok(Self { file_size, first_sot, tlm })
    }

    /// The bytes of the cell, as the public indexer writes them.
    ///
    /// # Errors
    /// [`IndexBytesError::Tlm`] for more tile-parts than TLM segments can list.
    pub fn write(&self) -> Result<Vec<u8>, IndexBytesError> {
        let tlm = self.tlm.write().map_err(IndexBytesError::Tlm)?;
        // 256 segments of 64 KiB at most.
        let length = u32::try_from(tlm.len()).unwrap_or(u32::MAX);
        let mut out = Vec::with_capacity(INDEX_HEAD_BYTES + tlm.len());
        out.extend(self.file_size.to_be_bytes());
        out.extend(self.first_sot.to_be_bytes());
        out.extend(length.to_be_bytes());
        out.extend(tlm);
        Ok(out)
    }

    /// Byte range of every tile of a grid of `tiles` tiles, in raster order, inside the file.
    ///
    /// # Errors
    /// [`IndexBytesError::Tiles`] names the tile that is missing, outside the grid, scattered or beyond the file.
    pub fn tile_spans(&self, tiles: u32) -> Result<Vec<TileSpan>, IndexBytesError> {
        self.tlm.tile_spans(self.first_sot, self.file_size, tiles).map_err(IndexBytesError::Tiles)
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], IndexBytesError> {
    let slice = bytes
        .get(at..at + N)
        .ok_or(IndexBytesError::Truncated { at: bytes.len(), needed: (at + N).saturating_sub(bytes.len()) })?;
    let mut out = [0; N];
    out.copy_from_slice(slice);
    Ok(out)
}

fn head(bytes: &[u8]) -> Result<(u64, u64), IndexBytesError> {
    Ok((u64::from_be_bytes(field(bytes, 0)?), u64::from_be_bytes(field(bytes, 8)?)))
}

/// Where the tile lengths of a raster are to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TileIndex {
    /// In the TLM segments of the file's own main header (an empty cell).
    InFile,
    /// In these bytes, not looked into yet.
    Known(Box<[u8]>),
}

impl TileIndex {
    /// From the bytes of a cell.
    #[must_use]
    pub fn from_cell(bytes: &[u8]) -> Self {
        if bytes.is_empty() { Self::InFile } else { Self::Known(bytes.into()) }
    }

    /// The bytes of the cell.
    #[must_use]
    pub fn cell(&self) -> &[u8] {
        match self {
            Self::InFile => &[],
            Self::Known(bytes) => bytes,
        }
    }
}

/// One row of an index. All but the first four fields are columns of our own and may be unknown.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexRow {
    /// Product.
    pub product: ProductId,
    /// Which raster of it.
    pub asset: Asset,
    /// Path below the source, as in the index (usually with a leading slash).
    pub path: String,
    /// Where the tile lengths are.
    pub index: TileIndex,
    /// SOC to the byte in front of the first SOT.
    pub main_header: Option<Box<[u8]>>,
    /// ETag of the response that gave the header.
    pub etag: Option<String>,
    /// Last-Modified of that response.
    pub last_modified: Option<DateTime<Utc>>,
    /// Tiles, in raster order, that were decoded and hold nothing but 0; `None` where none was looked at.
    pub nodata: Option<Vec<u32>>,
}

impl IndexRow {
    /// The index bytes read, `None` where the file itself must be asked.
    ///
    /// # Errors
    /// [`IndexRowError`].
    pub fn entry(&self) -> Result<Option<IndexEntry>, IndexRowError> {
        match &self.index {
            TileIndex::InFile => Ok(None),
            TileIndex::Known(bytes) => IndexEntry::parse(bytes).map(Some).map_err(|source| self.error(source)),
        }
    }

    /// Byte range of every tile of a grid of `tiles` tiles, `None` where the file itself must be asked.
    ///
    /// # Errors
    /// [`IndexRowError`].
    pub fn tile_spans(&self, tiles: u32) -> Result<Option<Vec<TileSpan>>, IndexRowError> {
        match self.entry()? {
            None => Ok(None),
            Some(entry) => entry.tile_spans(tiles).map(Some).map_err(|source| self.error(source)),
        }
    }

    /// File size and offset of the first SOT by the index bytes, without reading the rest.
    ///
    /// # Errors
    /// [`IndexRowError`].
    pub fn head(&self) -> Result<Option<(u64, u64)>, IndexRowError> {
        match &self.index {
            TileIndex::InFile => Ok(None),
            TileIndex::Known(bytes) => head(bytes).map(Some).map_err(|source| self.error(source)),
        }
    }

    /// Order of the rows in an index: product, band, best resolution first.
    #[must_use]
    pub fn sort_key(&self) -> (String, String, u16) {
        (self.product.to_string(), self.asset.band_id(), self.asset.resolution.metres())
    }

    fn error(&self, source: IndexBytesError) -> IndexRowError {
        IndexRowError { product: self.product, asset: self.asset, source }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]
    use super::*;
    use proptest::prelude::*;
    use s2ice_jpeg2000::TlmEntry;

    fn row(bytes: &[u8]) -> IndexRow {
        IndexRow {
            product: "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454".parse().unwrap(),
            asset: "B02_10m".parse().unwrap(),
            path: "/x.jp2".to_owned(),
            index: TileIndex::from_cell(bytes),
            main_header: None,
            etag: None,
            last_modified: None,
            nodata: None,
        }
    }

    fn entry(lengths: &[u32]) -> IndexEntry {
        let entries =
            lengths.iter().enumerate().map(|(tile, length)| TlmEntry { tile: tile as u16, length: *length }).collect();
        let total: u64 = lengths.iter().map(|l| u64::from(*l)).sum();
        IndexEntry { file_size: 100 + total + 2, first_sot: 100, tlm: TlmTable { entries } }
    }

    #[test]
    fn bytes_are_those_of_the_public_layout() {
        let bytes = entry(&[20, 300]).write().unwrap();
        let head = [0, 0, 0, 0, 0, 0, 1, 0xA6, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 12];
        assert_eq!(bytes[..20], head);
        assert_eq!(bytes[20..], [0xFF, 0x55, 0, 10, 0, 0x10, 0, 0, 20, 1, 1, 44]);
        assert_eq!(row(&bytes).head().unwrap(), Some((0x1A6, 100)));
        let spans = row(&bytes).tile_spans(2).unwrap().unwrap();
        assert_eq!(spans, [TileSpan { offset: 100, length: 20 }, TileSpan { offset: 120, length: 300 }]);
        assert_eq!(row(&[]).tile_spans(2).unwrap(), None);
    }

    #[test]
    fn errors_name_product_raster_and_byte() {
        let bytes = entry(&[20, 300]).write().unwrap();
        const WHERE: &str = "B02_10m of S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454: ";
        let text = |bytes: &[u8], tiles: u32| row(bytes).tile_spans(tiles).unwrap_err().to_string();
        let says = |bytes: &[u8], tiles: u32, what: &str| {
            let text = text(bytes, tiles);
            assert!(text.starts_with(WHERE) && text.contains(what), "{text}");
        };
        says(&bytes[..7], 2, "the index bytes are truncated at byte 7: 1 more are needed");
        says(&bytes[..19], 2, "truncated at byte 19: 1 more");
        says(&bytes[..30], 2, "truncated at byte 30: 2 more");
        says(&[&bytes[..], &[0]].concat(), 2, "1 bytes more than their TLM length 12 says");
        let mut beyond = bytes.clone();
        beyond[14] = 2;
        says(&beyond, 2, "the first SOT at byte 612 is beyond the file's 422 bytes");
        let mut short = bytes.clone();
        short[6] = 0;
        short[7] = 150;
        says(&short, 2, "does not fit in front of byte 150");
        let mut marker = bytes.clone();
        marker[21] = 0x52;
        says(&marker, 2, "from byte 20 of the index bytes on: unexpected marker COD");
        says(&bytes, 3, "tile 2");
        says(&bytes, 1, "tile 1");
    }

    proptest! {
        #[test]
        fn entries_round_trip(lengths in prop::collection::vec(14u32..200_000, 1..300)) {
            let entry = entry(&lengths);
            let bytes = entry.write().unwrap();
            prop_assert_eq!(&IndexEntry::parse(&bytes).unwrap(), &entry);
            let spans = entry.tile_spans(lengths.len() as u32).unwrap();
            prop_assert!(spans.iter().zip(&lengths).all(|(s, l)| s.length == u64::from(*l)));
            prop_assert_eq!(spans.last().unwrap().offset + spans.last().unwrap().length + 2, entry.file_size);
        }

        /// Damaged bytes are refused or read as ranges inside the file, never more.
        #[test]
        fn damage_never_leads_outside_the_file(
            lengths in prop::collection::vec(14u32..2000, 1..40),
            at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = entry(&lengths).write().unwrap();
            let at = at.index(bytes.len());
            bytes[at] = with;
            bytes.truncate(cut.index(bytes.len()) + 1);
            if let Ok(entry) = IndexEntry::parse(&bytes)
                && let Ok(spans) = entry.tile_spans(lengths.len() as u32)
            {
                prop_assert!(spans.iter().all(|s| s.offset >= entry.first_sot && s.offset + s.length <= entry.file_size));
            }
        }
    }
}
