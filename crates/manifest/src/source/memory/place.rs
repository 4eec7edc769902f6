//! Where the memory lies: one object, beside the store or elsewhere.

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::source::location::{Source, SourceError, SourceOptions, SourceUrl};

use super::MemoryError;

/// Largest table that is read.
const MAX_BYTES: u64 = 1 << 30;

/// Where a memory lies. Local files are replaced whole, by a new file that takes the name.
#[derive(Debug, Clone)]
pub struct Place {
    store: Arc<dyn ObjectStore>,
    path: Path,
    shown: String,
}

impl Place {
    /// An object of a client of the caller's own; `shown` is its address in messages.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, path: Path, shown: String) -> Self {
        Self { store, path, shown }
    }

    /// The path or URL of a file. The folder of a local file must be there.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn open(text: &str, options: &SourceOptions) -> Result<Self, SourceError> {
        let (url, path) = SourceUrl::parse_file(text)?;
        let source = Source::open(&url, options)?;
        Ok(Self { store: Arc::clone(source.store()), path: source.join(&path)?, shown: text.to_owned() })
    }

    /// Its address.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The table; nothing where there is none.
    pub(super) async fn read(&self) -> Result<Option<Bytes>, MemoryError> {
        let answer = match self.store.get(&self.path).await {
            Ok(answer) => answer,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.error("read", &error)),
        };
        if answer.meta.size > MAX_BYTES {
            return Err(self.error("read", &format!("{} bytes are too many", answer.meta.size)));
        }
        answer.bytes().await.map(Some).map_err(|error| self.error("read", &error))
    }

    pub(super) async fn write(&self, table: Vec<u8>) -> Result<(), MemoryError> {
        self.store.put(&self.path, table.into()).await.map(drop).map_err(|error| self.error("write", &error))
    }

    pub(super) async fn remove(&self) -> Result<(), MemoryError> {
        match self.store.delete(&self.path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error("remove", &error)),
        }
    }

    fn error(&self, verb: &'static str, detail: &dyn std::fmt::Display) -> MemoryError {
        MemoryError { verb, place: self.shown.clone(), detail: detail.to_string() }
    }
}
