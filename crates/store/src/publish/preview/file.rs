//! A file that holds a raster, asked for parts of it.

use bytes::Bytes;
use s2ice_jpeg2000::MainHeader;
use s2ice_manifest::source::location::{Fetched, Listed, Source, SourceError};

use crate::held::HeldReference;
use crate::reference::is_another_version;

/// Why a part of a file was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{0}")]
    File(String),
    #[error("no more may be read")]
    Spent,
}

/// The file that a raster lies in.
pub(super) struct File<'a> {
    pub(super) source: Source,
    /// Full address, for messages.
    pub(super) address: &'a str,
    /// Name in its folder.
    pub(super) path: &'a str,
    pub(super) header: &'a MainHeader,
}

impl File<'_> {
    pub(super) fn trouble(&self, reason: &str) -> Trouble {
        Trouble::File(format!("{}: {reason}", self.address))
    }

    /// The first bytes of a tile.
    pub(super) async fn part(&self, held: &HeldReference, length: u64) -> Result<Bytes, Trouble> {
        let begin = held.reference.offset;
        let end = begin.checked_add(length).ok_or_else(|| self.trouble("a tile ends beyond any file"))?;
        let fetched = self.source.get_range(self.path, begin..end).await?;
        self.checked(held, &fetched)?;
        if fetched.bytes.len() as u64 == length {
            Ok(fetched.bytes)
        } else {
            Err(self.trouble("it ends before its tiles do"))
        }
    }

    /// Refuses another file than the one that was indexed.
    pub(super) fn checked(&self, held: &HeldReference, fetched: &Fetched) -> Result<(), Trouble> {
        let (etag, last_modified) = (fetched.etag.clone(), fetched.last_modified);
        let found = Listed { path: self.path.to_owned(), size: fetched.size, etag, last_modified };
        if is_another_version(&held.reference, &found) {
            return Err(self.trouble("it is another file than the one that was indexed"));
        }
        Ok(())
    }
}
