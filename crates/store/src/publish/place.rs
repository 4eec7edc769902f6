//! The folder or bucket in which a publication lies.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use futures::{TryStreamExt, stream};
use object_store::{Attribute, Attributes, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};
use s2ice_manifest::source::location::{Source, SourceError, SourceOptions, SourceUrl};

use super::subject::is_of_copy;
use crate::error::{Error, Result, one_line};
use crate::target::Lock;

/// Largest file of a publication that is read back, bytes.
const LARGEST: u64 = 1 << 28;

/// Files of a publication that are listed at the most, without those of copies.
const MOST_FILES: usize = 1 << 23;

/// Files asked for at a time.
const CONCURRENCY: usize = 16;

/// What has to go where a ledger went.
pub(super) const TOLD: &str = "all that it told of but the folders `store`, which are taken over";

/// What helps where a file cannot be written.
pub(super) const WRITABLE: &str = "see that the place lets you write and remove files, then publish again";

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
        // Now that it is there, links on the way to it are resolved.
        Ok(Self { source: Source::open(&SourceUrl::parse(&url.prefix())?, options)? })
    }

    /// Keeps others from publishing in a folder meanwhile; elsewhere the ledger is written under a condition.
    ///
    /// # Errors
    /// [`Error::Locked`].
    pub(super) fn lock(&self) -> Result<Option<Lock>> {
        let Some(root) = self.url().local_root() else { return Ok(None) };
        match Lock::beside(&root) {
            Ok((lock, _)) => Ok(Some(lock)),
            Err(Error::File { path, source, .. }) => Err(Error::Input(format!(
                "the lock {path} cannot be made ({source}): it lies beside the place; let this user write there, or publish in \
                 a folder below"
            ))),
            Err(error) => Err(error),
        }
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
        // A folder or a link to nothing is no file, and in the way of one.
        if self.is_there(path)? && !self.file(path).is_some_and(|file| file.is_file()) {
            return Err(self.in_the_way(path));
        }
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
    /// [`Error::Location`] where the place does not answer.
    pub(super) async fn files(&self, known: BTreeSet<&str>) -> Result<BTreeMap<String, u64>> {
        match self.source.list_where("", MOST_FILES, |path| !is_of_copy(path)).await {
            Ok(listed) => {
                Ok(listed.into_iter().map(|file| (file.path.trim_start_matches('/').to_owned(), file.size)).collect())
            }
            // Such as for a name that no file of ours has, or a folder that may not be read: what is known is asked for.
            Err(_) => {
                let sizes = stream::iter(known.into_iter().map(Ok::<_, Error>)).map_ok(|path| async move {
                    match self.source.stat(path).await {
                        Ok(file) => Ok(Some((path.to_owned(), file.size))),
                        Err(SourceError::Missing { .. }) => Ok(None),
                        Err(error) => Err(error.into()),
                    }
                });
                let sizes: Vec<_> = sizes.try_buffer_unordered(CONCURRENCY).try_collect().await?;
                Ok(sizes.into_iter().flatten().collect())
            }
        }
    }

    /// The zones whose ledgers are there.
    ///
    /// # Errors
    /// [`Error::Location`] where the place cannot be listed.
    pub(super) async fn zones(&self) -> Result<BTreeSet<String>> {
        let zone = |path: &str| {
            let zone = path.trim_start_matches('/').strip_prefix("zones/")?.strip_suffix("/ledger.json")?;
            is_zone(zone).then(|| zone.to_owned())
        };
        let listed = self.source.list_where("zones", MOST_FILES, |path| zone(path).is_some()).await?;
        Ok(listed.iter().filter_map(|file| zone(&file.path)).collect())
    }

    /// Refuses a place that somebody else has taken.
    ///
    /// # Errors
    /// [`Error::Request`] where a file is there.
    pub(super) async fn is_free(&self, path: &str) -> Result<()> {
        if self.is_there(path)? {
            return Err(self.in_the_way(path));
        }
        match self.source.stat(path).await {
            Ok(_) => Err(self.in_the_way(path)),
            Err(SourceError::Missing { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The file behind a path in a folder.
    fn file(&self, path: &str) -> Option<PathBuf> {
        Some(self.url().local_root()?.join(path))
    }

    /// True where anything at all is at a path in a folder: a link to nothing as well.
    ///
    /// # Errors
    /// [`Error::Request`] where it lies below a link that leads out of the place.
    pub(super) fn is_there(&self, path: &str) -> Result<bool> {
        let (Some(root), Some(file)) = (self.url().local_root(), self.file(path)) else { return Ok(false) };
        let real = file.ancestors().skip(1).find_map(|folder| folder.canonicalize().ok());
        match real.filter(|real| !real.starts_with(&root)) {
            Some(real) => Err(Error::Request(format!(
                "{} leads to {} by a link, out of the place: remove it, or name another place",
                file.display(),
                real.display()
            ))),
            None => Ok(file.symlink_metadata().is_ok()),
        }
    }

    /// What is told where the ledger of a zone is gone.
    pub(super) fn lost(&self, path: &str) -> Error {
        Error::Request(format!(
            "{}: {path} is gone: bring it back, name another place for the publication, or remove publication.json and {TOLD}",
            self.url()
        ))
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
    /// [`Error::Request`] where a file or folder is there that is not to be written over; [`Error::Conflict`] where it is another version;
    /// [`Error::Icechunk`] where writing fails.
    pub(super) async fn write(&self, path: &str, bytes: Bytes, over: Over<'_>) -> Result<Option<String>> {
        // Nor is a folder a file.
        if self.is_there(path)? && self.file(path).is_some_and(|file| file.is_dir()) {
            return Err(self.in_the_way(path));
        }
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
            Err(error) => Err(self.failure("writing", path, &error)),
        }
    }

    /// Removes a file; one that is gone already is no error.
    ///
    /// # Errors
    /// [`Error::Icechunk`].
    pub(super) async fn remove(&self, path: &str) -> Result<()> {
        match self.source.store().delete(&self.source.join(path)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failure("removing", path, &error)),
        }
    }

    fn failure(&self, what: &'static str, path: &str, error: &object_store::Error) -> Error {
        let detail = format!("{}; {WRITABLE}", one_line(error));
        Error::Icechunk { what, url: format!("{}/{path}", self.url()), detail }
    }
}

/// True for the name of a UTM zone.
pub(super) fn is_zone(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|digit| digit.is_ascii_digit())
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
