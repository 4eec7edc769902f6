//! Where a memory lies: an object beside the store, or another one that the operator names.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::ObjectStoreExt as _;

use super::super::location::{Source, SourceError, SourceOptions, SourceUrl};
use super::Memory;
use super::table::{decode, encode};

/// Name of the table beside a store.
const BESIDE: &str = "s2ice/memory.parquet";

/// Largest table that is read, bytes: far beyond the files of a first build.
const LARGEST: u64 = 256 << 20;

/// A memory that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Its place cannot be reached.
    #[error("the memory of the source: {0}")]
    Source(#[from] SourceError),
    /// It cannot be written.
    #[error("the memory of the source cannot be written to {place}: {detail}")]
    Write {
        /// Where.
        place: String,
        /// Why.
        detail: String,
    },
}

/// Where a memory lies.
#[derive(Debug, Clone)]
pub struct Place {
    url: SourceUrl,
    options: SourceOptions,
    path: String,
    /// True where the operator named it: it may hold something else.
    is_named: bool,
}

impl Place {
    /// Beside a store.
    #[must_use]
    pub fn beside(store: SourceUrl, options: SourceOptions) -> Self {
        Self { url: store, options, path: BESIDE.to_owned(), is_named: false }
    }

    /// A file or object of its own.
    ///
    /// # Errors
    /// [`SourceError`] where the address names none.
    pub fn at(address: &str, options: SourceOptions) -> Result<Self, SourceError> {
        if address.contains("://") {
            let (url, path) = SourceUrl::parse_file(address)?;
            return Ok(Self { url, options, path, is_named: true });
        }
        let cut = address.trim_end_matches('/');
        let (folder, name) = cut.rsplit_once('/').unwrap_or((".", cut));
        let folder = if folder.is_empty() { "/" } else { folder };
        Ok(Self { url: SourceUrl::parse(folder)?, options, path: name.to_owned(), is_named: true })
    }

    /// Finds what opening would fail by, without a request.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn check(&self) -> Result<(), SourceError> {
        Source::check(&self.url, &self.options).map(drop)
    }

    fn open(&self) -> Result<Source, SourceError> {
        Source::open(&self.url, &self.options)
    }
}

impl Memory {
    /// Reads what is remembered at a place; nothing where nothing is there. A table that cannot be understood is passed over
    /// ([`Memory::problem`]) and written anew by the next save, but for one that the operator named: that may be anything.
    ///
    /// # Errors
    /// [`MemoryError::Source`] where the place cannot be reached.
    pub async fn read(place: &Place, clock: fn() -> DateTime<Utc>) -> Result<Self, MemoryError> {
        let mut memory = Self::new(clock);
        if place.url.local_root().is_some_and(|root| !root.is_dir()) {
            return Ok(memory);
        }
        let source = place.open()?;
        let fetched = source.get_all(&place.path, LARGEST).await;
        memory.heard = source.stats().heard().filter(|_| fetched.is_ok());
        match fetched {
            Ok(fetched) => match decode(fetched.bytes) {
                Ok(state) => *memory.lock() = state,
                Err(detail) => {
                    let text = "what is remembered of the source cannot be read and is passed over";
                    let hint =
                        if place.is_named { "; it is not written over: remove it, or name another place" } else { "" };
                    memory.problem = Some(format!("{text}: {}{}: {detail}{hint}", place.url.prefix(), place.path));
                }
            },
            Err(SourceError::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(memory)
    }

    /// Writes what is remembered, whole, without what is too old to be believed and the facts of files of which `stored`
    /// says that a store holds them; nothing where nothing changed. A table that would be empty is removed.
    ///
    /// # Errors
    /// [`MemoryError`]; everything is remembered in this process all the same.
    pub async fn save(&self, place: &Place, stored: impl Fn(&str) -> bool) -> Result<(), MemoryError> {
        if place.is_named && self.problem.is_some() {
            return Ok(());
        }
        let failed =
            |detail: String| MemoryError::Write { place: format!("{}{}", place.url.prefix(), place.path), detail };
        let table = {
            let now = (self.clock)();
            let mut state = self.lock();
            let gone = state.drop_facts(now, stored);
            if state.learned == 0 && !state.forgot && !gone && self.problem.is_none() {
                return Ok(());
            }
            (state.learned, state.forgot) = (0, false);
            encode(&state).map_err(&failed)?
        };
        if let Some(root) = place.url.local_root() {
            std::fs::create_dir_all(root).map_err(|error| failed(error.to_string()))?;
        }
        let source = place.open()?;
        let key = source.join(&place.path)?;
        let written = match table {
            // Local files are written beside and renamed, others appear whole anyway.
            Some(bytes) => source.store().put(&key, Bytes::from(bytes).into()).await.map(drop),
            None => match source.store().delete(&key).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                deleted => deleted,
            },
        };
        written.map_err(|error| failed(error.to_string()))
    }
}
