//! What was learned from a source, kept in a file, so that a rebuild asks for nothing twice.
//!
//! One JSON object per line behind a line with the version; lines are only ever appended, each in one write, and the last
//! of a key counts. Losing the file costs time, nothing else.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::angle_chunks::decode;
use super::memory::{FileRecord, base64_bytes};
use super::tiff::TiffRecord;
use crate::geometry::{AngleArray, AngleChunks};
use crate::product::{ProductId, ProductMetadata};

/// First line of a cache file.
const VERSION_LINE: &str = "{\"s2ice_cache\":1}";

/// Longest line that is read.
const MAX_LINE: u64 = 16 * 1024 * 1024;

/// A cache file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The file system refused.
    #[error("cannot use the cache {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Something else stands under that name.
    #[error(
        "{path} is no cache of this version of s2ice (its first line is {found:?}): name another file or remove it"
    )]
    NotACache {
        /// The file.
        path: String,
        /// Its first line, shortened.
        found: String,
    },
}

/// A line that was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheProblem {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// A line; `A` is what the chunks of angles are read as.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line<A> {
    File {
        url: String,
        #[serde(flatten)]
        record: FileRecord,
    },
    Tiff {
        url: String,
        #[serde(flatten)]
        record: TiffRecord,
    },
    Product {
        source: String,
        product: ProductId,
        metadata: ProductMetadata,
    },
    Angles {
        source: String,
        product: ProductId,
        chunks: A,
    },
}

/// The chunks of a product's angles in a line.
type StoredAngles = BTreeMap<AngleArray, StoredChunk>;

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct StoredChunk(#[serde(with = "base64_bytes")] Arc<[u8]>);

/// The angles of a product: most of a cache file, and asked for once as a rule.
enum KnownAngles {
    /// Learned in this process.
    Here(Arc<AngleChunks>),
    /// In the line that begins at this byte.
    At(u64),
}

#[derive(Default)]
struct State {
    files: HashMap<String, Arc<FileRecord>>,
    tiffs: HashMap<String, Arc<TiffRecord>>,
    products: HashMap<(String, ProductId), ProductMetadata>,
    angles: HashMap<(String, ProductId), KnownAngles>,
    /// Headers seen: a handful of classes serve all files.
    headers: HashMap<Arc<[u8]>, ()>,
    sink: Option<Sink>,
}

struct Sink {
    file: File,
    /// The file's last line is torn: begin the next one on a line of its own.
    torn: bool,
}

/// The cache. Shared between tasks by reference.
pub struct FactCache {
    path: Option<PathBuf>,
    problems: Vec<CacheProblem>,
    state: Mutex<State>,
}

impl FactCache {
    /// A cache that is forgotten with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { path: None, problems: Vec::new(), state: Mutex::default() }
    }

    /// Opens a cache file, or begins one. Lines that cannot be read are passed over ([`FactCache::problems`]); a last line
    /// torn by a crash is dropped.
    ///
    /// # Errors
    /// [`CacheError`]: the file system's, or a file that is no cache of this version.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let io = |source| CacheError::Io { path: path.display().to_string(), source };
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(io)?;
        let mut state = State::default();
        let mut problems = Vec::new();
        let mut torn = false;
        if file.metadata().map_err(io)?.len() == 0 {
            file.write_all(format!("{VERSION_LINE}\n").as_bytes()).map_err(io)?;
        } else {
            file.seek(SeekFrom::Start(0)).map_err(io)?;
            let mut reader = BufReader::new(&file);
            let mut line = Vec::new();
            let mut next = 0;
            for number in 1.. {
                line.clear();
                let at = next;
                next += (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).map_err(io)? as u64;
                if next == at {
                    break;
                }
                let complete = line.pop_if(|byte| *byte == b'\n').is_some();
                if number == 1 {
                    if line != VERSION_LINE.as_bytes() {
                        let found = String::from_utf8_lossy(&line).chars().take(60).collect();
                        return Err(CacheError::NotACache { path: path.display().to_string(), found });
                    }
                } else if !complete && (line.len() as u64) < MAX_LINE {
                    torn = true;
                } else if let Err(reason) = state.load(&line, at) {
                    problems.push(CacheProblem { line: number, reason });
                }
                torn |= !complete;
            }
        }
        state.sink = Some(Sink { file, torn });
        Ok(Self { path: Some(path.to_owned()), problems, state: Mutex::new(state) })
    }

    /// Lines that were passed over when the file was opened.
    #[must_use]
    pub fn problems(&self) -> &[CacheProblem] {
        &self.problems
    }

    /// Number of files and products known.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        let state = self.lock();
        (state.files.len() + state.tiffs.len(), state.products.len())
    }

    /// True where nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }

    /// What is known of a file ([`super::location::Source::cache_key`]).
    #[must_use]
    pub fn file(&self, url: &str) -> Option<Arc<FileRecord>> {
        self.lock().files.get(url).cloned()
    }

    /// Remembers a file.
    ///
    /// # Errors
    /// [`CacheError::Io`]; it is remembered in memory all the same.
    pub fn put_file(&self, url: &str, record: FileRecord) -> Result<Arc<FileRecord>, CacheError> {
        let line = Line::<StoredAngles>::File { url: url.to_owned(), record: record.clone() };
        let mut state = self.lock();
        let record = state.keep_file(url.to_owned(), record);
        self.append(&mut state, &line)?;
        Ok(record)
    }

    /// What is known of a GeoTIFF ([`super::location::Source::cache_key`]).
    #[must_use]
    pub fn tiff(&self, url: &str) -> Option<Arc<TiffRecord>> {
        self.lock().tiffs.get(url).cloned()
    }

    /// Remembers a GeoTIFF.
    ///
    /// # Errors
    /// [`CacheError::Io`]; it is remembered in memory all the same.
    pub fn put_tiff(&self, url: &str, record: TiffRecord) -> Result<Arc<TiffRecord>, CacheError> {
        let line = Line::Tiff { url: url.to_owned(), record: record.clone() };
        let record = Arc::new(record);
        let mut state = self.lock();
        state.tiffs.insert(url.to_owned(), Arc::clone(&record));
        self.append(&mut state, &line)?;
        Ok(record)
    }

    /// What is known of a product of a source ([`super::location::Source::cache_prefix`]).
    #[must_use]
    pub fn product(&self, source: &str, product: ProductId) -> Option<ProductMetadata> {
        self.lock().products.get(&(source.to_owned(), product)).cloned()
    }

    /// Remembers a product.
    ///
    /// # Errors
    /// [`CacheError::Io`]; it is remembered in memory all the same.
    pub fn put_product(&self, source: &str, product: ProductId, metadata: ProductMetadata) -> Result<(), CacheError> {
        let line = Line::<StoredAngles>::Product { source: source.to_owned(), product, metadata: metadata.clone() };
        let mut state = self.lock();
        state.products.insert((source.to_owned(), product), metadata);
        self.append(&mut state, &line)
    }

    /// The angles of a product of a source, where they are known.
    #[must_use]
    pub fn angles(&self, source: &str, product: ProductId) -> Option<Arc<AngleChunks>> {
        match self.lock().angles.get(&(source.to_owned(), product))? {
            KnownAngles::Here(chunks) => Some(Arc::clone(chunks)),
            // Where the line is not what it was, the source is asked again.
            KnownAngles::At(at) => self.read_angles(*at, source, product),
        }
    }

    fn read_angles(&self, at: u64, of: &str, id: ProductId) -> Option<Arc<AngleChunks>> {
        let mut file = File::open(self.path.as_ref()?).ok()?;
        file.seek(SeekFrom::Start(at)).ok()?;
        let mut line = Vec::new();
        BufReader::new(file).take(MAX_LINE).read_until(b'\n', &mut line).ok()?;
        let Ok(Line::<StoredAngles>::Angles { source, product, chunks }) = serde_json::from_slice(&line) else {
            return None;
        };
        let whole = chunks.iter().all(|(array, chunk)| decode(*array, &chunk.0).is_ok());
        let right = source == of && product == id && whole && AngleArray::ALL.iter().all(|a| chunks.contains_key(a));
        right.then(|| Arc::new(chunks.into_iter().map(|(array, chunk)| (array, chunk.0)).collect()))
    }

    /// Remembers the angles of a product.
    ///
    /// # Errors
    /// [`CacheError::Io`]; they are remembered in memory all the same.
    pub fn put_angles(
        &self,
        source: &str,
        product: ProductId,
        chunks: AngleChunks,
    ) -> Result<Arc<AngleChunks>, CacheError> {
        let stored = chunks.iter().map(|(array, bytes)| (*array, StoredChunk(Arc::clone(bytes)))).collect();
        let line = Line::Angles { source: source.to_owned(), product, chunks: stored };
        let chunks = Arc::new(chunks);
        let mut state = self.lock();
        state.angles.insert((source.to_owned(), product), KnownAngles::Here(Arc::clone(&chunks)));
        self.append(&mut state, &line)?;
        Ok(chunks)
    }

    /// A panic elsewhere leaves no half-made entry, so the lock's poison does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, state: &mut State, line: &Line<StoredAngles>) -> Result<(), CacheError> {
        let Some(sink) = &mut state.sink else { return Ok(()) };
        let io = |source| CacheError::Io {
            path: self.path.as_deref().map_or_else(String::new, |p| p.display().to_string()),
            source,
        };
        let mut text = serde_json::to_vec(line).map_err(|e| io(e.into()))?;
        if sink.torn {
            text.insert(0, b'\n');
        }
        text.push(b'\n');
        // One write per line: two processes that share the file do not mix theirs.
        sink.file.write_all(&text).map_err(io)?;
        sink.torn = false;
        Ok(())
    }
}

impl State {
    /// Takes in the line that begins at byte `at`.
    fn load(&mut self, line: &[u8], at: u64) -> Result<(), String> {
        match serde_json::from_slice::<Line<IgnoredAny>>(line).map_err(|e| e.to_string())? {
            Line::Angles { source, product, .. } => {
                self.angles.insert((source, product), KnownAngles::At(at));
            }
            Line::File { url, record } => {
                self.keep_file(url, record);
            }
            Line::Tiff { url, record } => {
                self.tiffs.insert(url, Arc::new(record));
            }
            Line::Product { source, product, metadata } => {
                self.products.insert((source, product), metadata);
            }
        }
        Ok(())
    }

    fn keep_file(&mut self, url: String, mut record: FileRecord) -> Arc<FileRecord> {
        match self.headers.get_key_value(&record.header) {
            Some((known, ())) => record.header = Arc::clone(known),
            None => {
                self.headers.insert(Arc::clone(&record.header), ());
            }
        }
        let record = Arc::new(record);
        self.files.insert(url, Arc::clone(&record));
        record
    }
}
