//! The memory of a source: what was learned of it that no store holds.
//!
//! Facts of files, so that a first build that was interrupted goes on where it was, and refusals, so that what cannot be
//! had is not asked for every night. Losing it costs requests and nothing else: no decision rests on it alone.

mod items;
mod place;
mod refusal;
mod table;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use s2ice_jpeg2000::Sot;
use serde::{Deserialize, Serialize};

use super::base64::{base64_bytes, base64_option};
use super::location::Heard;
use super::tiff::TiffRecord;
use super::version::Version;
use crate::product::{ProductId, ProductMetadata};
use crate::proof::SeenSot;

use items::Absent;
pub use items::{Kept, Searched};
pub use place::{MemoryError, Place};
pub use refusal::{Due, Remembered};

/// For so long a fact is believed without asking: long enough to go on with a build that was interrupted. A file that was
/// replaced meanwhile is noticed by readers, who compare its ETag.
const BELIEVED: TimeDelta = TimeDelta::hours(24);

/// What is known of one JP2 file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Size, bytes.
    pub size: u64,
    /// ETag of the response that gave the header.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub etag: Option<String>,
    /// Last-Modified of that response.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_modified: Option<DateTime<Utc>>,
    /// Offset of the first SOT.
    pub first_sot: u64,
    /// The first tile-part header, where it was read along.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sot: Option<FirstSot>,
    /// The main header as the codec needs it ([`s2ice_jpeg2000::MainHeader::codec_header`]).
    #[serde(with = "base64_bytes")]
    pub header: Arc<[u8]>,
    /// `index` bytes where they were learned from the file.
    #[serde(with = "base64_option", skip_serializing_if = "Option::is_none", default)]
    pub index: Option<Arc<[u8]>>,
    /// Tiles proven to hold nothing but 0, where that was looked at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nodata: Option<Vec<u32>>,
}

/// The first tile-part header of a file (ISO/IEC 15444-1, A.4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstSot {
    /// Isot: number of the tile.
    pub tile: u16,
    /// Psot: bytes of the tile-part.
    pub psot: u32,
    /// TPsot: number of the tile-part.
    pub tpsot: u8,
    /// TNsot: number of tile-parts of the tile, 0 where it does not say.
    pub tnsot: u8,
}

impl From<Sot> for FirstSot {
    fn from(Sot { tile, psot, tpsot, tnsot }: Sot) -> Self {
        Self { tile, psot, tpsot, tnsot }
    }
}

impl FileRecord {
    /// Which state of the file the record is of.
    #[must_use]
    pub fn version(&self) -> Version<'_> {
        Version { etag: self.etag.as_deref(), last_modified: self.last_modified }
    }

    /// The first tile-part header and where it is.
    #[must_use]
    pub fn seen_sot(&self) -> Option<SeenSot> {
        let FirstSot { tile, psot, tpsot, tnsot } = self.sot?;
        Some(SeenSot { offset: self.first_sot, sot: Sot { tile, psot, tpsot, tnsot } })
    }
}

/// A fact and when it was learned.
#[derive(Debug, Clone, PartialEq)]
struct Known<T> {
    learned: DateTime<Utc>,
    fact: Arc<T>,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<String, Known<FileRecord>>,
    tiffs: HashMap<String, Known<TiffRecord>>,
    /// Metadata that were read on the way to a product's files; for this run alone.
    products: HashMap<(String, ProductId), ProductMetadata>,
    refusals: BTreeMap<String, Remembered>,
    /// Items of products that the store lacks, or has in part.
    kept: BTreeMap<ProductId, Kept>,
    /// Products that the whole answer of the catalogue does not have.
    absent: Option<Absent>,
    /// What the items that were shown in this run say of their products.
    said: BTreeMap<ProductId, i64>,
    /// Up to when the catalogue was searched.
    searched: Option<Searched>,
    /// What the last run that left nothing to do found, in the words of whoever remembers it.
    settled: Option<String>,
    /// The last product whose files were looked at in their turn.
    looked_at: Option<String>,
    /// Headers seen: a handful of classes serve all files.
    headers: BTreeSet<Arc<[u8]>>,
    /// Facts and refusals learned since it was read or saved.
    learned: usize,
    /// True where something that is not there any more has to leave the table.
    forgot: bool,
}

/// What is remembered of a source. Shared between tasks by reference.
#[derive(Debug)]
pub struct Memory {
    state: Mutex<State>,
    clock: fn() -> DateTime<Utc>,
    /// When this run began.
    began: DateTime<Utc>,
    /// Why nothing was remembered, where a table is there that cannot be used.
    problem: Option<String>,
    /// The clock of the place that it was read from.
    heard: Option<Heard>,
}

impl Memory {
    /// A memory of nothing.
    #[must_use]
    pub fn new(clock: fn() -> DateTime<Utc>) -> Self {
        Self { state: Mutex::default(), clock, began: clock(), problem: None, heard: None }
    }

    /// Why a table that is there was passed over.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// The clock of the place that it was read from, where that is another host.
    #[must_use]
    pub fn heard(&self) -> Option<Heard> {
        self.heard
    }

    /// What is known of a file ([`super::location::Source::cache_key`]), where that was learned lately.
    #[must_use]
    pub fn file(&self, address: &str) -> Option<Arc<FileRecord>> {
        self.believed(self.lock().files.get(address))
    }

    /// Remembers a file.
    pub fn put_file(&self, address: &str, mut record: FileRecord) -> Arc<FileRecord> {
        let mut state = self.lock();
        match state.headers.get(&record.header) {
            Some(known) => record.header = Arc::clone(known),
            None => drop(state.headers.insert(Arc::clone(&record.header))),
        }
        let fact = Arc::new(record);
        state.files.insert(address.to_owned(), Known { learned: (self.clock)(), fact: Arc::clone(&fact) });
        state.learned += 1;
        fact
    }

    /// What is known of a GeoTIFF ([`super::location::Source::cache_key`]), where that was learned lately.
    #[must_use]
    pub fn tiff(&self, address: &str) -> Option<Arc<TiffRecord>> {
        self.believed(self.lock().tiffs.get(address))
    }

    /// Remembers a GeoTIFF.
    pub fn put_tiff(&self, address: &str, record: TiffRecord) -> Arc<TiffRecord> {
        let fact = Arc::new(record);
        let mut state = self.lock();
        state.tiffs.insert(address.to_owned(), Known { learned: (self.clock)(), fact: Arc::clone(&fact) });
        state.learned += 1;
        fact
    }

    /// Metadata of a product of a source ([`super::location::Source::cache_prefix`]) that were read in this run. They are
    /// not kept beyond it: a product that is made anew in its place would get the offset and time of the old one.
    #[must_use]
    pub fn product(&self, source: &str, product: ProductId) -> Option<ProductMetadata> {
        self.lock().products.get(&(source.to_owned(), product)).cloned()
    }

    /// Keeps the metadata of a product for this run.
    pub fn put_product(&self, source: &str, product: ProductId, metadata: ProductMetadata) {
        self.lock().products.insert((source.to_owned(), product), metadata);
    }

    /// What was remembered with [`Memory::settle_for`].
    #[must_use]
    pub fn settled(&self) -> Option<String> {
        self.lock().settled.clone()
    }

    /// Remembers what a run found that left nothing to do.
    pub fn settle_for(&self, found: String) {
        let mut state = self.lock();
        state.settled = Some(found);
        state.learned += 1;
    }

    /// The last product that was given to [`Memory::looked_up_to`].
    #[must_use]
    pub fn looked_at(&self) -> Option<String> {
        self.lock().looked_at.clone()
    }

    /// Remembers up to which product the files of a store were looked at in their turn.
    pub fn looked_up_to(&self, product: String) {
        let mut state = self.lock();
        state.looked_at = Some(product);
        state.learned += 1;
    }

    /// Forgets what is known of the files and refusals of a product.
    pub fn forget_product(&self, product: ProductId) {
        let name = product.to_string();
        let mut state = self.lock();
        let before = state.files.len() + state.tiffs.len() + state.refusals.len();
        state.files.retain(|address, _| !address.contains(&name));
        state.tiffs.retain(|address, _| !address.contains(&name));
        state.refusals.retain(|key, _| !key.starts_with(&name));
        state.products.retain(|(_, other), _| *other != product);
        state.forgot |= before != state.files.len() + state.tiffs.len() + state.refusals.len();
    }

    /// Facts and refusals learned since it was read or saved.
    #[must_use]
    pub fn unsaved(&self) -> usize {
        self.lock().learned
    }

    fn believed<T>(&self, known: Option<&Known<T>>) -> Option<Arc<T>> {
        let now = (self.clock)();
        known
            .filter(|known| known.learned <= now && now - known.learned < BELIEVED)
            .map(|known| Arc::clone(&known.fact))
    }

    /// A panic elsewhere leaves no half-made entry, so the lock's poison does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
