//! What a publication remembers of its files: by it alone is one written over or removed.
//!
//! Before files are written, their names are in the ledger as unfinished: a publication that was interrupted knows them
//! for its own, and writes them again.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::place::Place;
use super::row::Row;
use crate::error::{Error, Result};

/// Version of the ledgers.
const VERSION: u32 = 1;

/// What `kind` says.
const KIND: &str = "s2ice.publication";

/// A file to be published.
pub(super) struct Document {
    /// Its path in the publication.
    pub(super) path: String,
    pub(super) bytes: Bytes,
}

/// A store that was published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Fingerprint of all that its documents were made of.
    pub(super) made_of: String,
    /// Its line in the catalogue.
    pub(super) row: Row,
    /// Paths of its documents.
    pub(super) files: BTreeSet<String>,
}

/// The ledger of the publication, or of a part of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Ledger {
    kind: String,
    version: u32,
    /// Fingerprint of each file.
    pub(super) files: BTreeMap<String, String>,
    /// Files that were being written.
    unfinished: BTreeSet<String>,
    /// The stores of a zone.
    #[serde(default)]
    pub(super) stores: BTreeMap<String, Entry>,
    /// The zones of the publication.
    #[serde(default)]
    pub(super) zones: BTreeSet<String>,
    /// Path of the ledger itself.
    #[serde(skip)]
    path: String,
    /// True where it was read.
    #[serde(skip)]
    is_there: bool,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) removed: u64,
}

impl Ledger {
    /// Reads a ledger; an empty one where there is none.
    ///
    /// # Errors
    /// What is there is no ledger of ours, or of a later version; the place does not answer.
    pub(super) async fn read(place: &Place, path: &str) -> Result<Self> {
        let new = || Self { kind: KIND.to_owned(), version: VERSION, path: path.to_owned(), ..Self::default() };
        let Some(bytes) = place.read(path).await? else { return Ok(new()) };
        let foreign = |detail: &str| {
            Error::Request(format!(
                "{}: {path} {detail}: name another place for the publication, or remove it",
                place.url()
            ))
        };
        let found: Self = parse(&bytes).ok_or_else(|| foreign("is not what s2ice publishes"))?;
        if found.kind != KIND {
            return Err(foreign("is not what s2ice publishes"));
        }
        if found.version != VERSION {
            return Err(foreign(&format!("was published by another version of s2ice ({})", found.version)));
        }
        Ok(Self { path: path.to_owned(), is_there: true, ..found })
    }

    /// Writes the documents that are new or changed, and then removes the files of `gone`. Where nothing changes, nothing is
    /// written; `before` is the ledger as it was read.
    ///
    /// # Errors
    /// A file is in the way that was not published; the place cannot be written.
    pub(super) async fn write(
        mut self,
        place: &Place,
        documents: Vec<Document>,
        gone: BTreeSet<String>,
        before: &Self,
    ) -> Result<(Self, Written)> {
        let mut written = Written::default();
        let mut changed = Vec::new();
        for document in documents {
            let digest = fingerprint(&document.bytes);
            let is_same =
                before.files.get(&document.path) == Some(&digest) && !before.unfinished.contains(&document.path);
            if !is_same {
                changed.push((document, digest));
            }
        }
        let gone: BTreeSet<String> = gone.into_iter().filter(|path| self.files.contains_key(path)).collect();
        if changed.is_empty() && gone.is_empty() && self == *before && before.is_there {
            return Ok((self, written));
        }
        self.unfinished.extend(changed.iter().map(|(document, _)| document.path.clone()));
        self.unfinished.extend(gone.iter().cloned());
        if !self.unfinished.is_empty() {
            // Until all of it stands, what is said of stores is what was said before.
            let begun = Self { stores: before.stores.clone(), zones: before.zones.clone(), ..self.clone() };
            begun.put(place, before.is_there).await?;
        }
        for (document, digest) in changed {
            let is_known = before.files.contains_key(&document.path) || before.unfinished.contains(&document.path);
            written.files += 1;
            written.bytes += document.bytes.len() as u64;
            place.write(&document.path, document.bytes, is_known).await?;
            self.files.insert(document.path, digest);
        }
        for path in gone {
            place.remove(&path).await?;
            self.files.remove(&path);
            written.removed += 1;
        }
        let is_there = before.is_there || !self.unfinished.is_empty();
        self.unfinished.clear();
        self.put(place, is_there).await?;
        self.is_there = true;
        Ok((self, written))
    }

    async fn put(&self, place: &Place, is_known: bool) -> Result<()> {
        let failed = |error: serde_json::Error| Error::Input(format!("{}: {error}", self.path));
        let bytes = serde_json::to_vec(self).map_err(failed)?;
        place.write(&self.path, bytes.into(), is_known).await
    }
}

/// SHA-256 in hexadecimal digits.
pub(super) fn fingerprint(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}
