//! What was learned from a source, kept in a file, so that a rebuild asks for nothing twice.
//!
//! One JSON object per line behind a line with the version; lines are only ever appended, each in one write, and the last
//! of a key counts. Losing the file costs time, nothing else.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::tiff::TiffRecord;
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

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
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
}

#[derive(Default)]
struct State {
    files: HashMap<String, Arc<FileRecord>>,
    tiffs: HashMap<String, Arc<TiffRecord>>,
    products: HashMap<(String, ProductId), ProductMetadata>,
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
            for number in 1.. {
                line.clear();
                if (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line).map_err(io)? == 0 {
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
                } else if let Err(reason) = state.load(&line) {
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
        let line = Line::File { url: url.to_owned(), record: record.clone() };
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
        let line = Line::Product { source: source.to_owned(), product, metadata: metadata.clone() };
        let mut state = self.lock();
        state.products.insert((source.to_owned(), product), metadata);
        self.append(&mut state, &line)
    }

    /// A panic elsewhere leaves no half-made entry, so the lock's poison does not matter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, state: &mut State, line: &Line) -> Result<(), CacheError> {
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
    fn load(&mut self, line: &[u8]) -> Result<(), String> {
        match serde_json::from_slice(line).map_err(|e| e.to_string())? {
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

pub(super) mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::{Arc, Deserialize as _, Deserializer, Serializer};

    pub(in crate::source) fn serialize<S: Serializer>(bytes: &Arc<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(in crate::source) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[u8]>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Arc::from).map_err(serde::de::Error::custom)
    }
}

pub(super) mod base64_option {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::{Arc, Deserialize as _, Deserializer, Serializer};

    pub(in crate::source) fn serialize<S: Serializer>(
        bytes: &Option<Arc<[u8]>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::source) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Arc<[u8]>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| STANDARD.decode(text).map(Arc::from).map_err(serde::de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ID: &str = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454";

    fn record(size: u64) -> FileRecord {
        FileRecord {
            size,
            etag: Some("\"e\"".to_owned()),
            last_modified: Some("2022-10-06T01:02:03.456Z".parse().unwrap()),
            first_sot: 2563,
            header: Arc::from(&[0xFF, 0x4F, 1][..]),
            index: (size > 5).then(|| Arc::from(&[1, 2][..])),
            nodata: (size > 5).then(|| vec![3]),
        }
    }

    #[test]
    fn what_is_put_is_there_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/cache.ndjson");
        let metadata = ProductMetadata::from_name(ID.parse().unwrap());
        {
            let cache = FactCache::open(&path).unwrap();
            assert!(cache.is_empty());
            cache.put_file("s3://b/1", record(1)).unwrap();
            cache.put_file("s3://b/2", record(9)).unwrap();
            cache.put_file("s3://b/1", record(2)).unwrap();
            cache.put_product("s3://b/", ID.parse().unwrap(), metadata.clone()).unwrap();
        }
        let cache = FactCache::open(&path).unwrap();
        assert_eq!((cache.len(), cache.problems()), ((2, 1), &[][..]));
        assert_eq!(*cache.file("s3://b/1").unwrap(), record(2));
        assert_eq!(*cache.file("s3://b/2").unwrap(), record(9));
        assert!(Arc::ptr_eq(&cache.file("s3://b/1").unwrap().header, &cache.file("s3://b/2").unwrap().header));
        assert_eq!(cache.product("s3://b/", ID.parse().unwrap()), Some(metadata));
        assert_eq!(cache.product("s3://other/", ID.parse().unwrap()), None);
        assert_eq!(cache.file("s3://b/3"), None);
    }

    #[test]
    fn a_crash_costs_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.ndjson");
        let cache = FactCache::open(&path).unwrap();
        cache.put_file("s3://b/1", record(1)).unwrap();
        cache.put_file("s3://b/2", record(2)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let ends: Vec<usize> = (0..whole.len()).filter(|i| whole[*i] == b'\n').collect();
        for cut in ends[1] + 1..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let cache = FactCache::open(&path).unwrap();
            assert_eq!((cache.len().0, cache.problems().len()), (1, 0), "{cut}");
            cache.put_file("s3://b/3", record(3)).unwrap();
            let again = FactCache::open(&path).unwrap();
            assert!(again.file("s3://b/1").is_some() && again.file("s3://b/3").is_some(), "{cut}");
        }
    }

    #[test]
    fn damaged_lines_are_named_and_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.ndjson");
        let cache = FactCache::open(&path).unwrap();
        cache.put_file("s3://b/1", record(1)).unwrap();
        let mut text = std::fs::read_to_string(&path).unwrap();
        let good = text.lines().nth(1).unwrap().replace("s3://b/1", "s3://b/2");
        text.push_str("{\"file\":{\"url\":\"x\"}}\nnonsense\n\n");
        text.push_str(&good.replace("/08B", "/0*B"));
        text.push('\n');
        text.push_str(&good);
        text.push('\n');
        std::fs::write(&path, text).unwrap();
        let cache = FactCache::open(&path).unwrap();
        let lines: Vec<u64> = cache.problems().iter().map(|p| p.line).collect();
        assert_eq!((lines, cache.len().0), (vec![3, 4, 5, 6], 2), "{:?}", cache.problems());
    }

    #[test]
    fn other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "my notes").unwrap();
        assert!(matches!(FactCache::open(&path), Err(CacheError::NotACache { .. })));
        std::fs::write(&path, "{\"s2ice_cache\":2}\n").unwrap();
        assert!(matches!(FactCache::open(&path), Err(CacheError::NotACache { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"s2ice_cache\":2}\n");
    }
}
