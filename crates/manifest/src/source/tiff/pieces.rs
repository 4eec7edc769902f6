//! The parts of a file that were read, as async-tiff wants to be given them.

use std::ops::Range;

use async_tiff::error::{AsyncTiffError, AsyncTiffResult};
use async_tiff::metadata::MetadataFetch;
use async_trait::async_trait;
use bytes::Bytes;

/// Parts of a file, each with its offset; few, so that they are searched one after the other.
#[derive(Debug, Clone, Default)]
pub struct Pieces(Vec<(u64, Bytes)>);

impl Pieces {
    /// Adds a part.
    pub fn add(&mut self, offset: u64, bytes: Bytes) {
        self.0.push((offset, bytes));
    }

    /// The bytes of a range, where one part has them all.
    pub fn get(&self, range: &Range<u64>) -> Option<Bytes> {
        self.0.iter().find_map(|(offset, bytes)| {
            let from = usize::try_from(range.start.checked_sub(*offset)?).ok()?;
            let to = usize::try_from(range.end.checked_sub(*offset)?).ok()?;
            (from <= to && to <= bytes.len()).then(|| bytes.slice(from..to))
        })
    }
}

#[async_trait]
impl MetadataFetch for Pieces {
    /// Everything that async-tiff may ask for was read before: see [`super::directory`].
    async fn fetch(&self, range: Range<u64>) -> AsyncTiffResult<Bytes> {
        self.get(&range).ok_or(AsyncTiffError::EndOfFile(range.end.saturating_sub(range.start), 0))
    }
}
