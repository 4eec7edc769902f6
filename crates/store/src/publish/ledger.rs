//! What a publication remembers of its files: by it alone is one written over or removed.
//!
//! Before files are written, their names are in the ledger as unfinished: a publication that was interrupted knows them
//! for its own, and writes them again.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::{TryStreamExt, stream};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::files::fingerprint;
use super::place::{Over, Place, TOLD, is_zone};
use super::preview::Preview;
use super::row::Row;
use super::subject::is_of_copy;
use crate::error::{Error, Result};

/// Version of the ledgers.
const VERSION: u32 = 1;

/// Places looked at a time.
const CONCURRENCY: usize = 16;

/// What `kind` says.
const KIND: &str = "s2ice.publication";

/// A file to be published.
pub(super) struct Document {
    /// Its path in the publication.
    pub(super) path: String,
    pub(super) bytes: Bytes,
}

/// What all documents have in common, and change together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) base_url: String,
    pub(super) title: String,
}

/// A store that was published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Fingerprint of all that its documents were made of; empty where something of it was lost.
    pub(super) made_of: String,
    /// Fingerprint of the address of the store.
    #[serde(default)]
    pub(super) from: String,
    /// Its line in the catalogue.
    pub(super) row: Row,
    /// Paths of its documents, and of its picture.
    pub(super) files: BTreeSet<String>,
    /// Its picture, or why there is none.
    #[serde(default)]
    pub(super) preview: Preview,
}

/// The ledger of the publication, or of a part of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Ledger {
    kind: String,
    version: u32,
    /// Digest of each file; empty where it was lost.
    pub(super) files: BTreeMap<String, String>,
    /// Files that were being written.
    pub(super) unfinished: BTreeSet<String>,
    /// The stores of a zone.
    #[serde(default)]
    pub(super) stores: BTreeMap<String, Entry>,
    /// The zones of the publication.
    #[serde(default)]
    pub(super) zones: BTreeSet<String>,
    /// How all of it was told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) told: Option<Told>,
    /// Who writes just now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) claim: Option<String>,
    /// Path of the ledger itself.
    #[serde(skip)]
    path: String,
    /// True where it was read or written.
    #[serde(skip)]
    pub(super) is_there: bool,
    /// Its ETag then.
    #[serde(skip)]
    etag: Option<String>,
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
        let Some((bytes, etag)) = place.read(path).await? else { return Ok(new()) };
        let foreign = |detail: &str| {
            Error::Request(format!(
                "{}: {path} {detail}: name another place for the publication, or remove it and {TOLD}",
                place.url()
            ))
        };
        let mut found: Self = parse(&bytes).ok_or_else(|| foreign("is not what s2ice publishes"))?;
        let mut told =
            found.files.keys().chain(&found.unfinished).chain(found.stores.values().flat_map(|entry| &entry.files));
        let is_below = |path: &String| !path.starts_with('/') && place.url().segments_of(path).is_ok();
        if found.kind != KIND || !told.all(is_below) || !found.zones.iter().all(|zone| is_zone(zone)) {
            return Err(foreign("is not what s2ice publishes"));
        }
        if found.version != VERSION {
            return Err(foreign(&format!("was published by another version of s2ice ({})", found.version)));
        }
        // A copy may be all that is left of a store: nothing of one is a document, whatever a ledger says.
        found.files.retain(|path, _| !is_of_copy(path));
        found.unfinished.retain(|path| !is_of_copy(path));
        Ok(Self { path: path.to_owned(), is_there: true, etag, ..found })
    }

    /// True for a file that was written whole.
    pub(super) fn has(&self, path: &str) -> bool {
        self.files.get(path).is_some_and(|digest| !digest.is_empty()) && !self.unfinished.contains(path)
    }

    /// True for a file that was written, or was to be.
    pub(super) fn knows(&self, path: &str) -> bool {
        self.files.contains_key(path) || self.unfinished.contains(path)
    }

    /// True for a file that was lost.
    pub(super) fn is_lost(&self, path: &str) -> bool {
        self.files.get(path).is_some_and(String::is_empty)
    }

    /// Its stores, each with the ledger.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&String, &Entry, &Self)> {
        self.stores.iter().map(move |(id, entry)| (id, entry, self))
    }

    /// Forgets what files held that are not there any more, or of another size, so that they are written again; gives their
    /// number. `there` has the sizes of those that are.
    pub(super) fn miss(&mut self, there: &BTreeMap<String, u64>) -> u64 {
        let is_lost =
            |path: &String, digest: &String| there.get(path).is_none_or(|size| !digest.ends_with(&sized(*size)));
        let mut lost = 0;
        for (path, digest) in &mut self.files {
            if is_lost(path, digest) {
                digest.clear();
                lost += 1;
            }
        }
        for entry in self.stores.values_mut() {
            if entry.files.iter().any(|path| self.files.get(path).is_none_or(String::is_empty)) {
                entry.made_of.clear();
            }
        }
        lost
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
            let digest = digest(&document.bytes);
            let is_same =
                before.files.get(&document.path) == Some(&digest) && !before.unfinished.contains(&document.path);
            if !is_same {
                changed.push((document, digest));
            }
        }
        // Before they are claimed: a claim is believed later.
        let new = changed.iter().filter(|(document, _)| !before.knows(&document.path));
        let free = new.map(|(document, _)| Ok::<_, Error>(place.is_free(&document.path)));
        stream::iter(free).try_buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
        let gone: BTreeSet<String> = gone.into_iter().filter(|path| self.files.contains_key(path)).collect();
        if changed.is_empty() && gone.is_empty() && self == *before && before.is_there && self.unfinished.is_empty() {
            return Ok((self, written));
        }
        self.unfinished.extend(changed.iter().map(|(document, _)| document.path.clone()));
        self.unfinished.extend(gone.iter().cloned());
        if !self.unfinished.is_empty() {
            self.begin(place, before).await?;
        }
        for (document, digest) in changed {
            written.files += 1;
            written.bytes += document.bytes.len() as u64;
            let over = if before.knows(&document.path) { Over::Own } else { Over::Nothing };
            if let Err(error) = place.write(&document.path, document.bytes, over).await {
                // Somebody else's: a claim of it would be believed the next time.
                if over == Over::Nothing && matches!(error, Error::Request(_)) {
                    self.unfinished.remove(&document.path);
                    self.begin(place, before).await?;
                }
                return Err(error);
            }
            self.files.insert(document.path, digest);
        }
        for path in gone {
            place.remove(&path).await?;
            self.files.remove(&path);
            written.removed += 1;
        }
        self.unfinished.clear();
        self.put(place).await?;
        Ok((self, written))
    }

    /// Writes the ledger itself, but for what it will say of stores: until all of it stands, that is what was said before.
    async fn begin(&mut self, place: &Place, before: &Self) -> Result<()> {
        let (stores, zones, told) = (before.stores.clone(), before.zones.clone(), before.told.clone());
        let mut begun = Self { stores, zones, told, ..self.clone() };
        begun.put(place).await?;
        (self.is_there, self.etag) = (true, begun.etag);
        Ok(())
    }

    /// Writes the ledger itself.
    ///
    /// # Errors
    /// [`Error::Conflict`] where another publication wrote it meanwhile; the place cannot be written.
    pub(super) async fn put(&mut self, place: &Place) -> Result<()> {
        let failed = |error: serde_json::Error| Error::Input(format!("{}: {error}", self.path));
        let bytes = serde_json::to_vec(self).map_err(failed)?;
        let over = match &self.etag {
            _ if !self.is_there => Over::Nothing,
            Some(etag) => Over::Version(etag),
            None => Over::Own,
        };
        self.etag = place.write(&self.path, bytes.into(), over).await.map_err(|error| match error {
            // It was not there when it was read.
            Error::Request(_) => Error::Conflict { url: place.url().to_string() },
            error => error,
        })?;
        self.is_there = true;
        Ok(())
    }
}

/// What is remembered of a file: its fingerprint and size.
fn digest(bytes: &[u8]) -> String {
    fingerprint(bytes) + &sized(bytes.len() as u64)
}

fn sized(bytes: u64) -> String {
    format!(":{bytes}")
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests;
