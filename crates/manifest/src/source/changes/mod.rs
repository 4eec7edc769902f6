//! What a catalogue tells of all tiles at once: the items that changed since some time, asked for in one search and kept as
//! one stac-geoparquet file, in which those of each tile stand together.
//!
//! A tile that was brought up to date later than that time needs nothing else of the catalogue.

mod file;
mod spool;

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::{NamedTempFile, TempPath};
use url::Url;

use self::spool::Spool;
use super::blocking::blocking;
use super::location::without_secrets;
use super::stac_error::StacLoadError;
use super::stac_file::{StacOptions, api_at};
use super::stac_http::Client;
use super::whole_file::WholeFile;
use crate::ids::{Level, MgrsTile};
use crate::stac::{StacItem, StacLoad, StacLoader, StacQuery};

/// What is asked of a catalogue for all tiles.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wanted {
    /// Address of the API, without secrets.
    pub catalogue: String,
    /// Collection; `None` for the API's usual one.
    pub collection: Option<String>,
    /// Level of the products.
    pub level: Level,
}

/// What such a search gave.
#[derive(Debug)]
pub struct Changes {
    head: Head,
    rows: BTreeMap<MgrsTile, Range<usize>>,
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    /// Removes the file where nobody named a place for it.
    _passing: Option<TempPath>,
}

/// What a file says of its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    wanted: Wanted,
    since: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
    /// Rows of each tile, one after the other.
    tiles: Vec<(MgrsTile, usize)>,
}

/// What of it is of one tile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    /// All that changed at this time or later is here.
    pub since: DateTime<Utc>,
    /// And all that changed until this time; `None` where nothing changed at all.
    pub until: Option<DateTime<Utc>>,
    /// The items, with what is looked at.
    items: Vec<Value>,
}

impl Heard {
    /// True where this answers a query as the catalogue would.
    #[must_use]
    pub fn answers(&self, query: &StacQuery) -> bool {
        query.updated_since.is_some_and(|since| since.timestamp() >= self.since.timestamp())
    }

    /// The items that a query admits, as [`load_stac`](super::stac_file::load_stac) gives them.
    #[must_use]
    pub fn load(&self, query: &StacQuery) -> StacLoad {
        let mut loader = StacLoader::new(query);
        // What changed before is no part of the answer: whoever asks has it.
        let is_old = |item: &StacItem| {
            let ends = |since: DateTime<Utc>| item.updated.is_some_and(|at| at.timestamp() < since.timestamp());
            query.updated_since.is_some_and(ends)
        };
        for item in &self.items {
            match StacItem::from_json(item) {
                Ok(item) if is_old(&item) => {}
                Ok(item) => loader.push_item(item),
                Err(_) => loader.push(item, || "what the catalogue told of all tiles".to_owned()),
            }
        }
        loader.incremental();
        let mut load = loader.finish();
        load.latest_change = load.latest_change.max(self.until);
        load
    }
}

impl Changes {
    /// Asks the API at `address` for what changed since a time and keeps it at `path`, or where nobody sees it. `now` is when
    /// this begins: what changes later may be missing. `None` where the API cannot be asked so, or not be believed.
    ///
    /// # Errors
    /// The catalogue cannot be asked, or the file not be written.
    pub async fn search(
        (address, wanted): (&str, Wanted),
        since: DateTime<Utc>,
        now: DateTime<Utc>,
        options: &StacOptions,
        path: Option<&Path>,
    ) -> Result<Option<Self>, StacLoadError> {
        let bad = |error: url::ParseError| StacLoadError::BadUrl {
            input: without_secrets(address),
            problem: error.to_string(),
        };
        let url: Url = address.parse().map_err(bad)?;
        // The limits of a search are meant for a tile.
        let options = StacOptions { max_items: MOST, max_pages: MOST, ..options.clone() };
        let client = Client::new(&url, &options)?;
        let Some((api, id)) = api_at(&client, &url).await? else { return Ok(None) };
        let collection = wanted.collection.clone().or(id);
        let folder = path.and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty()).map(Path::to_owned);
        let folder = folder.unwrap_or_else(|| if path.is_some() { PathBuf::from(".") } else { std::env::temp_dir() });
        let mut spool = Spool::new(&folder)?;
        if !api.search_changes((wanted.level, collection.as_deref()), since, &mut spool).await? {
            return Ok(None);
        }
        if spool.unknown > 0 {
            tracing::warn!("{} of {} tell of no tile and are left out", spool.unknown, wanted.catalogue);
        }
        let path = path.map(Path::to_owned);
        let write = move || {
            let head = Head { wanted, since, until: spool.newest.map(|newest| newest.min(now)), tiles: Vec::new() };
            let failed = |error| spool::unwritten(path.as_deref().unwrap_or(&folder), error);
            match &path {
                Some(path) => {
                    let (file, head) =
                        file::write(spool, head, WholeFile::create(path).map_err(failed)?).map_err(failed)?;
                    file.finish().map_err(failed)?;
                    Self::read(path.clone(), head, None)
                }
                None => {
                    let (file, passing) = NamedTempFile::new_in(&folder).map_err(failed)?.into_parts();
                    let (_, head) = file::write(spool, head, file).map_err(failed)?;
                    Self::read(passing.to_path_buf(), head, Some(passing))
                }
            }
        };
        let failed = |error| StacLoadError::File { path: "changes".to_owned(), source: std::io::Error::other(error) };
        blocking(write).await.map_err(failed)?.map(Some)
    }

    /// Opens what another search kept.
    ///
    /// # Errors
    /// The file cannot be read, or was not written by such a search.
    pub fn open(path: &Path) -> Result<Self, StacLoadError> {
        let head = file::head(path)?;
        Self::read(path.to_owned(), head, None)
    }

    fn read(path: PathBuf, head: Head, passing: Option<TempPath>) -> Result<Self, StacLoadError> {
        let metadata = file::metadata(&path)?;
        let mut end = 0_usize;
        let mut rows = BTreeMap::new();
        for (tile, count) in &head.tiles {
            let first = end;
            end = end.saturating_add(*count);
            rows.insert(*tile, first..end);
        }
        let all = metadata.metadata().file_metadata().num_rows();
        if usize::try_from(all) != Ok(end) || rows.len() != head.tiles.len() {
            return Err(file::damaged(&path, "its rows are not those that it tells of"));
        }
        Ok(Self { head, rows, path, metadata, _passing: passing })
    }

    /// What was asked.
    #[must_use]
    pub fn wanted(&self) -> &Wanted {
        &self.head.wanted
    }

    /// The time since which changes were asked for.
    #[must_use]
    pub fn since(&self) -> DateTime<Utc> {
        self.head.since
    }

    /// Items and tiles that they are of.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.rows.values().map(|rows| rows.len()).sum(), self.rows.len())
    }

    /// What is of one tile.
    ///
    /// # Errors
    /// The file cannot be read any more.
    pub fn heard(&self, tile: MgrsTile) -> Result<Heard, StacLoadError> {
        let mut items = Vec::new();
        if let Some(rows) = self.rows.get(&tile) {
            let file = File::open(&self.path).map_err(|error| file::unread(&self.path, error))?;
            file::rows(file, &self.metadata, rows.clone(), |item| items.push(item))
                .map_err(|error| file::damaged(&self.path, &error.to_string()))?;
        }
        Ok(Heard { since: self.head.since, until: self.head.until, items })
    }
}

/// Most items of such a search: more than a year of all of them.
const MOST: usize = 10_000_000;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
