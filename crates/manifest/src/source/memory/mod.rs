//! What was learned of a source and is not in the store: facts of files and products, and refusals.
//!
//! One Parquet table per tile, read once and written whole. Losing it costs requests, never another result: a record of
//! another state of its file is not believed, and a product's XML is confirmed once per run (see [`super::facts`]).

mod place;
mod record;
mod refusal;
mod rows;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

use super::tiff::TiffRecord;
use crate::geometry::AngleChunks;
use crate::product::ProductId;

pub use place::Place;
pub use record::{FileRecord, ProductRecord, XmlFile};
pub(super) use record::{base64_bytes, base64_option};
pub use refusal::{Due, NewRefusal, Remembered};

/// Most entries of a kind; what comes later is asked for again.
const MAX_ENTRIES: usize = 1_000_000;

/// A memory that is being filled is saved after so many changes, or after so many seconds.
const SAVE_AFTER: (u64, i64) = (5_000, 60);

/// The memory's place failed. The tile can do without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {verb} the memory {place}: {detail}; what it would hold is asked of the source again")]
pub struct MemoryError {
    verb: &'static str,
    place: String,
    detail: String,
}

/// Kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Facts of a JP2 file.
    File,
    /// Facts of a GeoTIFF.
    Tiff,
    /// Metadata of a product.
    Product,
    /// Angles of a product.
    Angles,
    /// A refusal.
    Refusal,
}

/// Something remembered, as it is offered when the memory is saved.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// What it is.
    pub kind: Kind,
    /// Address of the file, prefix of the source, or key of the refusal.
    pub key: &'a str,
    /// The product that it is of.
    pub product: ProductId,
}

type OfProduct = (String, ProductId);

#[derive(Default)]
struct State {
    files: BTreeMap<String, (ProductId, Arc<FileRecord>)>,
    tiffs: BTreeMap<String, (ProductId, Arc<TiffRecord>)>,
    products: BTreeMap<OfProduct, Arc<ProductRecord>>,
    angles: BTreeMap<OfProduct, Arc<AngleChunks>>,
    refusals: BTreeMap<String, Remembered>,
    /// Products whose XML was seen in this run.
    confirmed: BTreeSet<OfProduct>,
    /// Headers seen: a handful of classes serve all files.
    headers: BTreeSet<Arc<[u8]>>,
    /// Changes since it was written.
    changes: u64,
    written: Option<DateTime<Utc>>,
    /// There is an object.
    exists: bool,
}

/// The memory. Shared between tasks by reference.
#[derive(Default)]
pub struct Memory {
    state: Mutex<State>,
}

impl Memory {
    /// Reads a memory. Where it cannot be used, an empty one comes with the reason.
    pub async fn load(place: &Place) -> (Self, Option<String>) {
        let table = match place.read().await {
            Ok(None) => return (Self::default(), None),
            Ok(Some(table)) => table,
            Err(error) => return (Self::default(), Some(error.to_string())),
        };
        let read = table::decode(table).and_then(State::from_rows);
        let (state, problem) = match read {
            Ok(state) => (state, None),
            // To be written over.
            Err(reason) => (
                State { changes: 1, ..State::default() },
                Some(format!("the memory {} is passed over and written anew: {reason}", place.shown())),
            ),
        };
        (Self { state: Mutex::new(State { exists: true, ..state }) }, problem)
    }

    /// What is known of a file ([`super::location::Source::cache_key`]).
    #[must_use]
    pub fn file(&self, address: &str) -> Option<Arc<FileRecord>> {
        self.lock().files.get(address).map(|(_, record)| Arc::clone(record))
    }

    /// Remembers a file. Where another state of it was known, all that was learned of its product is dropped.
    pub fn put_file(&self, address: &str, product: ProductId, mut record: FileRecord) -> Arc<FileRecord> {
        let mut state = self.lock();
        let other =
            |known: &FileRecord| known.size != record.size || known.version().differs(record.version()).is_some();
        if state.files.get(address).is_some_and(|(_, known)| other(known)) {
            state.forget(product);
        }
        record.header = state.shared(record.header);
        let record = Arc::new(record);
        let kept = (product, Arc::clone(&record));
        state.changes += put(&mut state.files, address.to_owned(), kept);
        record
    }

    /// What is known of a GeoTIFF ([`super::location::Source::cache_key`]).
    #[must_use]
    pub fn tiff(&self, address: &str) -> Option<Arc<TiffRecord>> {
        self.lock().tiffs.get(address).map(|(_, record)| Arc::clone(record))
    }

    /// Remembers a GeoTIFF, as [`Memory::put_file`].
    pub fn put_tiff(&self, address: &str, product: ProductId, record: TiffRecord) -> Arc<TiffRecord> {
        let mut state = self.lock();
        let other =
            |known: &TiffRecord| known.size != record.size || known.version().differs(record.version()).is_some();
        if state.tiffs.get(address).is_some_and(|(_, known)| other(known)) {
            state.forget(product);
        }
        let record = Arc::new(record);
        let kept = (product, Arc::clone(&record));
        state.changes += put(&mut state.tiffs, address.to_owned(), kept);
        record
    }

    /// What is known of a product of a source ([`super::location::Source::cache_prefix`]), and whether its XML was seen in
    /// this run.
    #[must_use]
    pub fn product(&self, source: &str, product: ProductId) -> Option<(Arc<ProductRecord>, bool)> {
        let (state, key) = (self.lock(), (source.to_owned(), product));
        state.products.get(&key).map(|record| (Arc::clone(record), state.confirmed.contains(&key)))
    }

    /// Remembers a product, whose XML was read now.
    pub fn put_product(&self, source: &str, product: ProductId, record: ProductRecord) {
        let (mut state, key) = (self.lock(), (source.to_owned(), product));
        if state.products.get(&key).is_some_and(|known| known.xml != record.xml) {
            state.forget(product);
        }
        state.changes += put(&mut state.products, key.clone(), Arc::new(record));
        state.confirmed.insert(key);
    }

    /// The XML of a product is what it was.
    pub fn confirm(&self, source: &str, product: ProductId) {
        self.lock().confirmed.insert((source.to_owned(), product));
    }

    /// The angles of a product of a source, where they are known.
    #[must_use]
    pub fn angles(&self, source: &str, product: ProductId) -> Option<Arc<AngleChunks>> {
        self.lock().angles.get(&(source.to_owned(), product)).cloned()
    }

    /// Remembers the angles of a product.
    pub fn put_angles(&self, source: &str, product: ProductId, chunks: AngleChunks) -> Arc<AngleChunks> {
        let (mut state, chunks) = (self.lock(), Arc::new(chunks));
        state.changes += put(&mut state.angles, (source.to_owned(), product), Arc::clone(&chunks));
        chunks
    }

    /// Drops what was learned of a product: one of its files is another than before.
    pub fn forget_product(&self, product: ProductId) {
        self.lock().forget(product);
    }

    /// Remembers a refusal of a file (its address) or a product (its name).
    pub fn refuse(&self, key: &str, refusal: NewRefusal, now: DateTime<Utc>) {
        let mut state = self.lock();
        let refusal = Remembered::after(state.refusals.get(key), refusal, now);
        state.changes += put(&mut state.refusals, key.to_owned(), refusal);
    }

    /// Drops a refusal: it is well now.
    pub fn forgive(&self, key: &str) {
        let mut state = self.lock();
        state.changes += u64::from(state.refusals.remove(key).is_some());
    }

    /// Whether something is worth asking for; `fingerprint` is of what is known of it now.
    #[must_use]
    pub fn due(&self, key: &str, fingerprint: &str, now: DateTime<Utc>) -> Due {
        match self.lock().refusals.get(key) {
            Some(known) if !known.due(fingerprint, now) => Due::Wait(Box::new(known.clone())),
            _ => Due::Ask,
        }
    }

    /// Writes the memory where anything changed, without what need not be kept; without anything left, the object goes. True
    /// where it did either.
    ///
    /// # Errors
    /// [`MemoryError`]: a warning, no failure. The next call tries again.
    pub async fn save(
        &self,
        place: &Place,
        now: DateTime<Utc>,
        keep: impl Fn(&Entry<'_>) -> bool,
    ) -> Result<bool, MemoryError> {
        let (rows, changes) = {
            let mut state = self.lock();
            state.retain(&keep);
            state.written = Some(now);
            if state.changes == 0 || (state.is_empty() && !state.exists) {
                return Ok(false);
            }
            (state.rows(), state.changes)
        };
        let exists = !rows.is_empty();
        if exists {
            let failed = |detail: String| MemoryError { verb: "encode", place: place.shown().to_owned(), detail };
            let encoded = tokio::task::spawn_blocking(move || table::encode(rows.into_iter()));
            let encoded = encoded.await.map_err(|e| failed(e.to_string()))?;
            place.write(encoded.map_err(|e| failed(e.to_string()))?).await?;
        } else {
            place.remove().await?;
        }
        let mut state = self.lock();
        state.changes = state.changes.saturating_sub(changes);
        state.exists = exists;
        Ok(true)
    }

    /// As [`Memory::save`] with all that there is, where enough has changed since: so that an interrupted build goes on where
    /// it was.
    ///
    /// # Errors
    /// As [`Memory::save`].
    pub async fn save_if_due(&self, place: &Place, now: DateTime<Utc>) -> Result<bool, MemoryError> {
        let due = {
            let mut state = self.lock();
            let since = now - *state.written.get_or_insert(now);
            let (changes, seconds) = SAVE_AFTER;
            state.changes >= changes || (state.changes > 0 && since >= TimeDelta::seconds(seconds))
        };
        if due { self.save(place, now, |_| true).await } else { Ok(false) }
    }

    /// A panic elsewhere leaves no half-made entry, so the lock's poison does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.files.len() + self.tiffs.len() + self.products.len() + self.angles.len() + self.refusals.len()
    }

    fn forget(&mut self, product: ProductId) {
        self.retain(&|entry: &Entry<'_>| entry.product != product);
        self.confirmed.retain(|(_, confirmed)| *confirmed != product);
    }

    fn retain(&mut self, keep: &impl Fn(&Entry<'_>) -> bool) {
        let before = self.len();
        let wanted = |kind, key: &str, product| keep(&Entry { kind, key, product });
        self.files.retain(|key, (product, _)| wanted(Kind::File, key, *product));
        self.tiffs.retain(|key, (product, _)| wanted(Kind::Tiff, key, *product));
        self.products.retain(|(source, product), _| wanted(Kind::Product, source, *product));
        self.angles.retain(|(source, product), _| wanted(Kind::Angles, source, *product));
        self.refusals.retain(|key, refusal| wanted(Kind::Refusal, key, refusal.product));
        self.changes += (before - self.len()) as u64;
    }

    fn shared(&mut self, header: Arc<[u8]>) -> Arc<[u8]> {
        match self.headers.get(&header) {
            Some(known) => Arc::clone(known),
            None => {
                self.headers.insert(Arc::clone(&header));
                header
            }
        }
    }
}

/// Puts an entry where there is room for it; the number of changes.
fn put<K: Ord, V: PartialEq>(entries: &mut BTreeMap<K, V>, key: K, value: V) -> u64 {
    if entries.get(&key) == Some(&value) || (entries.len() >= MAX_ENTRIES && !entries.contains_key(&key)) {
        return 0;
    }
    entries.insert(key, value);
    1
}
