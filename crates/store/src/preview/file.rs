//! A file that holds a raster, asked for parts of it.

use std::ops::Range;

use s2ice_manifest::source::location::{Fetched, Listed, Source, SourceError};

use super::watch::Watch;
use crate::held::HeldReference;
use crate::reference::is_another_version;

/// Why a part of a file was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The place of the file.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What is wrong with the file, in words.
    #[error("{0}")]
    File(String),
    /// The place answered nobody before.
    #[error("{0}")]
    LeftAlone(String),
    /// No more may be read.
    #[error("no more may be read")]
    Spent,
}

/// The file that a raster lies in.
pub(super) struct File<'a> {
    pub(super) source: &'a Source,
    /// Full address, for messages.
    pub(super) address: &'a str,
    /// Path below the source.
    pub(super) path: &'a str,
    /// It is the file of another mirror, which has other times and ETags.
    pub(super) is_moved: bool,
    pub(super) watch: &'a dyn Watch,
}

impl File<'_> {
    pub(super) fn trouble(&self, reason: impl std::fmt::Display) -> Trouble {
        Trouble::File(format!("{}: {reason}", self.address))
    }

    /// Bytes of the file, of the version that this reference is to.
    pub(super) async fn part(&self, held: &HeldReference, range: Range<u64>) -> Result<Fetched, Trouble> {
        let length = range.end.saturating_sub(range.start);
        if !self.watch.take(length) {
            return Err(Trouble::Spent);
        }
        let fetched = self.source.get_range(self.path, range).await?;
        let (etag, last_modified) = (fetched.etag.clone(), fetched.last_modified);
        let found = Listed { path: self.path.to_owned(), size: fetched.size, etag, last_modified };
        if !self.is_moved && is_another_version(&held.reference, &found) {
            return Err(self.trouble("it is another file than the one that was indexed"));
        }
        if fetched.bytes.len() as u64 == length {
            Ok(fetched)
        } else {
            Err(self.trouble("it ends before its tiles do"))
        }
    }
}
