//! Reading ranges of a source's files, counted and bounded.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResultPayload, ObjectMeta, ObjectStore};
use tokio::sync::Semaphore;

use super::super::budget::spread;
use super::body::bounded;
use super::classify::{Context, classify, is_transient};
use super::open::{Effective, Opened, SourceOptions, check, open};
use super::{SourceError, SourceUrl};

/// How often a throttled request is tried again, after waiting this many seconds each time: two minutes in all. A host
/// that answers nothing at all meanwhile is left alone before that (see [`super::super::circuit`]).
const PATIENCE: [u64; 8] = [1, 2, 4, 8, 12, 20, 30, 45];

/// What was asked of a source so far.
#[derive(Debug, Default)]
pub struct SourceStats {
    requests: AtomicU64,
    bytes: AtomicU64,
    answers: AtomicU64,
    /// Why there was no answer, the first time.
    unanswered: OnceLock<SourceError>,
    heard: Mutex<Option<Heard>>,
}

/// The time of a service, as one of its answers told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Its time, right to a second.
    pub time: DateTime<Utc>,
    /// When that was its time.
    pub at: Instant,
}

impl SourceStats {
    /// Requests made, repeated attempts included. On a local folder: reads, and one per thousand names listed.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Counts a request that goes out.
    pub(crate) fn sent(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn note<T>(&self, answer: Result<T, SourceError>) -> Result<T, SourceError> {
        match &answer {
            Err(error) if error.is_unseen() => {
                self.unanswered.get_or_init(|| error.clone());
            }
            _ => {
                self.answers.fetch_add(1, Ordering::Relaxed);
            }
        }
        answer
    }

    /// Bytes of file contents received.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The time that the service told last; `None` where it tells none.
    #[must_use]
    pub fn heard(&self) -> Option<Heard> {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the time that an answer tells.
    pub(crate) fn hear(&self, heard: Heard) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(heard);
    }
}

/// An answer to a range request.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The bytes; fewer than asked for only where the file ends.
    pub bytes: Bytes,
    /// ETag of the whole object, as sent.
    pub etag: Option<String>,
    /// Last-Modified of the whole object, where sent.
    pub last_modified: Option<DateTime<Utc>>,
    /// Size of the whole object, bytes.
    pub size: u64,
}

/// A file found by listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Path below the source, with a leading slash: what the index holds.
    pub path: String,
    /// Size, bytes.
    pub size: u64,
    /// ETag, where the listing tells.
    pub etag: Option<String>,
    /// Modification time, where the listing tells.
    pub last_modified: Option<DateTime<Utc>>,
}

struct Inner {
    url: SourceUrl,
    store: Arc<dyn ObjectStore>,
    base: Path,
    effective: Effective,
    local_root: Option<PathBuf>,
    stats: Arc<SourceStats>,
    /// True where the client below counts its requests in `stats` itself.
    wired: bool,
    permits: Semaphore,
}

/// An opened source. Clones share connections, bounds and counters.
#[derive(Clone)]
pub struct Source {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("url", &self.inner.url).field("effective", &self.inner.effective).finish()
    }
}

impl Source {
    /// Opens a source; nothing is requested yet.
    ///
    /// # Errors
    /// [`SourceError::NotAFolder`] and [`SourceError::BadOptions`].
    pub fn open(url: &SourceUrl, options: &SourceOptions) -> Result<Self, SourceError> {
        let stats = Arc::new(SourceStats::default());
        let opened = open(url, options, &stats)?;
        let wired = url.scheme() != super::Scheme::Local;
        Ok(Self::new(url.clone(), opened, stats, wired, options.at_once()))
    }

    /// Finds what opening would fail by, without a request; a local folder need not be there. Returns the settings that it
    /// would be opened with.
    ///
    /// # Errors
    /// [`SourceError::BadOptions`].
    pub fn check(url: &SourceUrl, options: &SourceOptions) -> Result<Effective, SourceError> {
        check(url, options)
    }

    /// A source over a client of the caller's own, whose keys begin with the address's prefix.
    ///
    /// # Errors
    /// [`SourceError::BadOptions`] where the prefix is no key of a store.
    pub fn over(url: SourceUrl, store: Arc<dyn ObjectStore>, connections: usize) -> Result<Self, SourceError> {
        let base = Path::parse(url.segments().join("/"))
            .map_err(|e| SourceError::BadOptions { url: url.to_string(), reason: e.to_string() })?;
        let opened = Opened { store, base, effective: Effective::default() };
        Ok(Self::new(url, opened, Arc::default(), false, connections))
    }

    fn new(url: SourceUrl, opened: Opened, stats: Arc<SourceStats>, wired: bool, connections: usize) -> Self {
        let local_root = url.local_root();
        let permits = Semaphore::new(connections.clamp(1, 1024));
        let Opened { store, base, effective } = opened;
        Self { inner: Arc::new(Inner { url, store, base, effective, local_root, stats, wired, permits }) }
    }

    /// The source's address.
    #[must_use]
    pub fn url(&self) -> &SourceUrl {
        &self.inner.url
    }

    /// The settings it was opened with, environment included.
    #[must_use]
    pub fn effective(&self) -> &Effective {
        &self.inner.effective
    }

    /// What was asked of it so far.
    #[must_use]
    pub fn stats(&self) -> &SourceStats {
        &self.inner.stats
    }

    /// Why something that was asked was not answered, the first time.
    #[must_use]
    pub fn unanswered(&self) -> Option<&SourceError> {
        self.inner.stats.unanswered.get()
    }

    /// Why nothing is known of it: something was asked, and nothing was answered. That a file does not exist is an answer.
    #[must_use]
    pub fn unseen(&self) -> Option<&SourceError> {
        self.unanswered().filter(|_| self.inner.stats.answers.load(Ordering::Relaxed) == 0)
    }

    /// The client below.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.inner.store
    }

    /// The key of a path of an index. Never outside the prefix; on a local folder not through links either.
    ///
    /// # Errors
    /// [`SourceError::BadPath`].
    pub fn join(&self, path: &str) -> Result<Path, SourceError> {
        let inner = &*self.inner;
        let segments = inner.url.segments_of(path)?;
        let bad = |reason: String| SourceError::BadPath { path: path.to_owned(), url: inner.url.to_string(), reason };
        if let Some(root) = &inner.local_root {
            let mut file = root.clone();
            file.extend(&segments);
            // What does not exist cannot lead astray: reading it fails by itself.
            if let Ok(real) = file.canonicalize()
                && !real.starts_with(root)
            {
                return Err(bad(format!("it leads to {}, outside the folder", real.display())));
            }
        }
        let relative = segments.join("/");
        let whole = match inner.base.as_ref() {
            "" => relative,
            base => format!("{base}/{relative}"),
        };
        Path::parse(whole).map_err(|e| bad(e.to_string()))
    }

    /// The full address of a path of an index, percent-encoded as virtual references want it.
    ///
    /// # Errors
    /// [`SourceError::BadPath`].
    pub fn url_of(&self, path: &str) -> Result<String, SourceError> {
        self.inner.url.url_of(path)
    }

    /// The name under which what is learned of this source is remembered: its address, behind that of the service where
    /// several have buckets of one name.
    #[must_use]
    pub fn cache_prefix(&self) -> String {
        let prefix = self.inner.url.prefix();
        match &self.inner.effective.endpoint {
            Some(endpoint) => format!("{} {prefix}", endpoint.trim_end_matches('/')),
            None => prefix,
        }
    }

    /// The name under which what is learned of a file is remembered: [`Source::cache_prefix`] and its encoded path.
    ///
    /// # Errors
    /// [`SourceError::BadPath`].
    pub fn cache_key(&self, path: &str) -> Result<String, SourceError> {
        Ok(self.cache_prefix() + &self.inner.url.encoded_path(path)?)
    }

    /// Reads bytes of a file; less than asked for where the file ends within the range.
    ///
    /// Size, ETag and Last-Modified come from the same response. Waits for one of the source's connections, and out
    /// two minutes of throttling.
    ///
    /// # Errors
    /// [`SourceError`] as one sentence.
    pub async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Fetched, SourceError> {
        let key = self.join(path)?;
        let url = self.url_of(path)?;
        let _permit = self.inner.permits.acquire().await.map_err(|e| other(&url, &e.to_string()))?;
        let mut waits = PATIENCE.iter();
        loop {
            let error = match self.attempt(&key, range.clone()).await {
                Ok(fetched) => return self.inner.stats.note(Ok(fetched)),
                Err(error) => error,
            };
            match waits.next().filter(|_| is_transient(&error)) {
                Some(seconds) => {
                    tracing::debug!(url, seconds, %error, "throttled, waiting");
                    let jitter = spread(self.inner.stats.requests());
                    tokio::time::sleep(Duration::from_secs(*seconds).mul_f64(jitter)).await;
                }
                None => return self.inner.stats.note(Err(self.explain(&error, &url, range.start))),
            }
        }
    }

    fn count(&self) {
        if !self.inner.wired {
            self.inner.stats.sent();
        }
    }

    async fn attempt(&self, key: &Path, range: Range<u64>) -> Result<Fetched, object_store::Error> {
        let stats = &self.inner.stats;
        self.count();
        let most = range.end.saturating_sub(range.start);
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let result = self.inner.store.get_opts(key, options).await?;
        let (meta, modified) = (result.meta.clone(), result.meta.last_modified);
        let bytes = match result.payload {
            GetResultPayload::Stream(stream) => bounded(stream, most).await?,
            // Of a file the range is read.
            _ => result.bytes().await?,
        };
        stats.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        // Servers without the header are given the epoch by the client.
        let last_modified = (modified.timestamp() != 0).then_some(modified);
        Ok(Fetched { bytes, etag: meta.e_tag, last_modified, size: meta.size })
    }

    /// Reads a whole file of at most `limit` bytes in one request.
    ///
    /// # Errors
    /// [`SourceError::TooLarge`], or as [`Source::get_range`].
    pub async fn get_all(&self, path: &str, limit: u64) -> Result<Fetched, SourceError> {
        let fetched = self.get_range(path, 0..limit).await?;
        if fetched.size > limit {
            return Err(SourceError::TooLarge { url: self.url_of(path)?, size: fetched.size, limit });
        }
        Ok(fetched)
    }

    /// False where a local file is gone or another than the one that had this ETag. Files elsewhere are taken on trust:
    /// asking would cost a request, and readers of a reference are protected by the ETag in it.
    pub async fn is_unchanged(&self, path: &str, etag: Option<&str>) -> bool {
        if self.inner.local_root.is_none() {
            return true;
        }
        let Ok(key) = self.join(path) else { return false };
        let options = GetOptions { head: true, ..GetOptions::default() };
        self.inner.store.get_opts(&key, options).await.is_ok_and(|now| now.meta.e_tag.as_deref() == etag)
    }

    /// Size and state of a file, without its contents.
    ///
    /// # Errors
    /// As [`Source::get_range`].
    pub async fn stat(&self, path: &str) -> Result<Listed, SourceError> {
        let key = self.join(path)?;
        let url = self.url_of(path)?;
        let _permit = self.inner.permits.acquire().await.map_err(|e| other(&url, &e.to_string()))?;
        self.count();
        let options = GetOptions { head: true, ..GetOptions::default() };
        let found = self.inner.store.get_opts(&key, options).await;
        let found = found.map(|result| listed(path.to_owned(), result.meta));
        self.inner.stats.note(found.map_err(|error| self.explain(&error, &url, 0)))
    }

    /// All files below a folder of the source (`""` or `/`: the whole source), sorted by path.
    ///
    /// # Errors
    /// [`SourceError::TooMany`] beyond `limit` files, [`SourceError::CannotList`] on web servers, and as for reads.
    pub async fn list(&self, folder: &str, limit: usize) -> Result<Vec<Listed>, SourceError> {
        self.list_where(folder, limit, |_| true).await
    }

    /// As [`Source::list`], of the files whose path is wanted; the others take no room and do not count.
    ///
    /// # Errors
    /// As [`Source::list`].
    pub async fn list_where(
        &self,
        folder: &str,
        limit: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<Listed>, SourceError> {
        let inner = &*self.inner;
        let folder = folder.trim_end_matches('/');
        let (key, url) = match folder {
            "" | "." => (inner.base.clone(), inner.url.to_string()),
            folder => (self.join(folder)?, self.url_of(folder)?),
        };
        let _permit = inner.permits.acquire().await.map_err(|e| other(&url, &e.to_string()))?;
        self.count();
        let mut out = Vec::new();
        let mut seen: u64 = 0;
        let mut stream = inner.store.list((!key.as_ref().is_empty()).then_some(&key));
        loop {
            let next = stream.try_next().await.map_err(|error| self.explain_list(&error, &url));
            let Some(meta) = self.inner.stats.note(next)? else { break };
            seen += 1;
            if seen.is_multiple_of(1000) {
                self.count();
            }
            let whole = meta.location.as_ref();
            let base = inner.base.as_ref();
            let relative = whole.strip_prefix(base).unwrap_or(whole).trim_start_matches('/');
            if !wanted(relative) {
                continue;
            }
            if out.len() >= limit {
                return Err(SourceError::TooMany { url, limit });
            }
            let path = format!("/{relative}");
            out.push(listed(path, meta));
        }
        out.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(out)
    }

    fn explain_list(&self, error: &object_store::Error, url: &str) -> SourceError {
        match self.explain(error, url, 0) {
            SourceError::Other { url, detail } | SourceError::WrongEndpoint { url, detail }
                if matches!(self.inner.url.scheme(), super::Scheme::Http | super::Scheme::Https) =>
            {
                SourceError::CannotList { url, detail }
            }
            explained => explained,
        }
    }

    fn explain(&self, error: &object_store::Error, url: &str, offset: u64) -> SourceError {
        let (source, effective) = (&self.inner.url, &self.inner.effective);
        tracing::debug!(url, ?error, "read failed");
        classify(error, &Context { source, effective, url, offset })
    }
}

fn listed(path: String, meta: ObjectMeta) -> Listed {
    // Servers without the time are given the epoch by the client.
    let last_modified = (meta.last_modified.timestamp() != 0).then_some(meta.last_modified);
    Listed { path, size: meta.size, etag: meta.e_tag, last_modified }
}

fn other(url: &str, detail: &str) -> SourceError {
    SourceError::Other { url: url.to_owned(), detail: detail.to_owned() }
}
