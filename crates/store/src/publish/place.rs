//! The folder or bucket in which a publication lies.

use std::collections::BTreeMap;

use bytes::Bytes;
use object_store::{Attribute, Attributes, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};
use s2ice_manifest::source::location::{Source, SourceError, SourceOptions, SourceUrl};

use crate::error::{Error, Result, one_line};
use crate::target::Lock;

/// Largest file of a publication that is read back, bytes.
const LARGEST: u64 = 1 << 28;

/// Files of a publication that are listed at the most, without those of copies.
const MOST_FILES: usize = 1 << 23;

/// What has to go where a ledger went.
pub(super) const TOLD: &str = "all that it told of but the folders `store`, which are taken over";

/// What a file may be written over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over<'a> {
    /// Nothing: there shall be none.
    Nothing,
    /// Whatever is there: it was published.
    Own,
    /// What was read, by its ETag: somebody else may publish at the same time.
    Version(&'a str),
}

/// A place that files are written to.
pub(super) struct Place {
    source: Source,
}

impl Place {
    /// Opens a place; a folder is made where there is none.
    ///
    /// # Errors
    /// The address or the options cannot be used, or it is a web server; [`Error::Request`] where it is a file.
    pub(super) fn open(url: &SourceUrl, options: &SourceOptions) -> Result<Self> {
        if let Some(root) = url.local_root() {
            if let Some(file) = root.ancestors().find(|folder| folder.is_file()) {
                let file = file.display();
                return Err(Error::Request(format!("{file} is a file: name a folder or a bucket to publish in")));
            }
            let failed = |source| Error::File { what: "creating", path: root.display().to_string(), source };
            std::fs::create_dir_all(&root).map_err(failed)?;
        }
        Ok(Self { source: Source::open(url, options)? })
    }

    /// Keeps others from publishing in a folder meanwhile; elsewhere the ledger is written under a condition.
    ///
    /// # Errors
    /// [`Error::Locked`].
    pub(super) fn lock(&self) -> Result<Option<Lock>> {
        self.url().local_root().map(|root| Lock::beside(&root).map(|(lock, _)| lock)).transpose()
    }

    /// Its address.
    pub(super) fn url(&self) -> &SourceUrl {
        self.source.url()
    }

    /// A file and its ETag; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Location`] where the place does not answer.
    pub(super) async fn read(&self, path: &str) -> Result<Option<(Bytes, Option<String>)>> {
        match self.source.get_all(path, LARGEST).await {
            Ok(fetched) => Ok(Some((fetched.bytes, fetched.etag))),
            Err(SourceError::Missing { .. }) => Ok(None),
            // A file without a byte.
            Err(SourceError::PastEnd { .. }) => Ok(Some((Bytes::new(), None))),
            Err(error) => Err(error.into()),
        }
    }

    /// The files that are there and their sizes, bytes, but for those of copies of stores.
    ///
    /// # Errors
    /// [`Error::Location`] where the place cannot be listed.
    pub(super) async fn files(&self) -> Result<BTreeMap<String, u64>> {
        let wanted = |path: &str| !path.split_once('/').is_some_and(|(_, below)| below.starts_with("store/"));
        let listed = self.source.list_where("", MOST_FILES, wanted).await?;
        Ok(listed.into_iter().map(|file| (file.path.trim_start_matches('/').to_owned(), file.size)).collect())
    }

    /// Refuses a place that somebody else has taken.
    ///
    /// # Errors
    /// [`Error::Request`] where a file is there.
    pub(super) async fn is_free(&self, path: &str) -> Result<()> {
        match self.source.stat(path).await {
            Ok(_) => Err(self.in_the_way(path)),
            Err(SourceError::Missing { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn in_the_way(&self, path: &str) -> Error {
        Error::Request(format!(
            "{} holds a file {path} that s2ice did not publish: name another place, or remove it (where publication.json or \
             the ledger of a zone was lost, {TOLD})",
            self.url()
        ))
    }

    /// Writes a file as a whole; gives its ETag.
    ///
    /// # Errors
    /// [`Error::Request`] where a file is there that is not to be written over; [`Error::Conflict`] where it is another version;
    /// [`Error::Icechunk`] where writing fails.
    pub(super) async fn write(&self, path: &str, bytes: Bytes, over: Over<'_>) -> Result<Option<String>> {
        let name = self.source.join(path)?;
        let is_local = self.url().local_root().is_some();
        let mode = match over {
            Over::Nothing => PutMode::Create,
            // A folder is locked.
            Over::Version(etag) if !is_local => {
                PutMode::Update(UpdateVersion { e_tag: Some(etag.to_owned()), version: None })
            }
            Over::Own | Over::Version(_) => PutMode::Overwrite,
        };
        let mut attributes = Attributes::new();
        // A file system keeps no types; its web server tells them by the name.
        if !is_local {
            attributes.insert(Attribute::ContentType, content_type(path).into());
        }
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        match self.source.store().put_opts(&name, bytes.into(), options).await {
            Ok(put) => Ok(put.e_tag),
            Err(object_store::Error::AlreadyExists { .. }) => Err(self.in_the_way(path)),
            Err(object_store::Error::Precondition { .. }) => Err(Error::Conflict { url: self.url().to_string() }),
            Err(error) => Err(Error::Icechunk {
                what: "writing the publication",
                url: self.url().to_string(),
                detail: one_line(&error),
            }),
        }
    }

    /// Removes a file; one that is gone already is no error.
    ///
    /// # Errors
    /// [`Error::Icechunk`].
    pub(super) async fn remove(&self, path: &str) -> Result<()> {
        match self.source.store().delete(&self.source.join(path)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::Icechunk {
                what: "removing from the publication",
                url: self.url().to_string(),
                detail: one_line(&error),
            }),
        }
    }
}

/// The media type of a file of a publication, by its name.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("geojson") => "application/geo+json",
        Some("parquet") => "application/vnd.apache.parquet",
        Some("jpg") => "image/jpeg",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
