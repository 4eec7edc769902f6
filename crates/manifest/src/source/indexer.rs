//! Making an index: every raster below the named paths, from the file's own TLM or by walking it.

use std::convert::Infallible;

use futures::StreamExt as _;
use serde::{Deserialize, Serialize};

use crate::tlm::{IndexRow, TileIndex};

use super::jp2_header::{FIRST_READ, FileError, read_head_ahead};
use super::jp2_walk::{Walked, walk};
use super::location::{Source, SourceError};
use super::memory::{FileRecord, FirstSot};
use super::safe_tree::{FoundRaster, LeftOut, find_rasters};

/// How to index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexOptions {
    /// Leave `index` empty for files that carry TLM, as the public tables do. Otherwise their tile lengths are written
    /// too, so that nobody has to ask the file again.
    pub public_style: bool,
    /// Files read at a time.
    pub files_at_once: usize,
    /// Bytes of a file's first read.
    pub read_ahead: u64,
}

impl Default for IndexOptions {
    fn default() -> Self {
        Self { public_style: false, files_at_once: 8, read_ahead: FIRST_READ }
    }
}

/// Told about the progress of long work.
pub trait IndexProgress: Send + Sync {
    /// So many files will be read.
    fn found(&self, files: usize) {
        let _ = files;
    }
    /// One of them is done, for good or ill.
    fn file_done(&self, path: &str) {
        let _ = path;
    }
}

/// Progress that nobody watches.
impl IndexProgress for () {}

/// What was indexed and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct IndexReport {
    /// Rows in the index.
    pub indexed: u64,
    /// Of these, files read that carry TLM.
    pub with_tlm: u64,
    /// Of these, files walked from SOT to SOT.
    pub walked: u64,
    /// Of these, files that an interrupted run had read.
    pub taken_over: u64,
    /// Of these, rows of the index that was there before, since their files did not change.
    pub kept: u64,
    /// Rows of that index that are left out, since their files are gone.
    pub gone: u64,
    /// Products they belong to.
    pub products: u64,
    /// Tiles of the files read.
    pub tiles: u64,
    /// Tiles proven to be all nodata.
    pub nodata_tiles: u64,
    /// JP2 files that are no raster of the layout.
    pub skipped: Vec<LeftOut>,
    /// Files that cannot be referenced, each with the reason.
    pub refused: Vec<LeftOut>,
    /// In a dry run, the files that would be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub would_read: Vec<String>,
    /// Requests made to the source.
    pub requests: u64,
    /// Bytes of files received.
    pub bytes: u64,
}

/// Indexes all rasters below each path (see [`find_rasters`]); rows are sorted as an index is written.
///
/// # Errors
/// [`SourceError`] where the paths cannot be looked into at all. A file that cannot be read is refused in the report.
pub async fn index_paths(
    source: &Source,
    paths: &[String],
    options: IndexOptions,
    progress: &dyn IndexProgress,
) -> Result<(Vec<IndexRow>, IndexReport), SourceError> {
    let (requests, bytes) = (source.stats().requests(), source.stats().bytes());
    let found = find_rasters(source, paths).await?;
    progress.found(found.rasters.len());
    let mut report = IndexReport { skipped: found.skipped, refused: found.refused, ..IndexReport::default() };
    let mut rows = Vec::with_capacity(found.rasters.len());
    let read = each_file(source, found.rasters, options, progress, |raster, outcome| {
        match outcome {
            Ok(Indexed { row, own_tlm, tiles, .. }) => {
                report.indexed += 1;
                if own_tlm {
                    report.with_tlm += 1
                } else {
                    report.walked += 1
                }
                report.tiles += tiles;
                report.nodata_tiles += row.nodata.as_ref().map_or(0, Vec::len) as u64;
                rows.push(row);
            }
            Err(error) => report.refused.push(LeftOut { path: raster.path, reason: error.reason() }),
        }
        Ok::<(), Infallible>(())
    });
    let Ok(()) = read.await;
    rows.sort_by_cached_key(IndexRow::sort_key);
    report.products = rows.chunk_by(|a, b| a.product == b.product).count() as u64;
    report.refused.sort();
    report.requests = source.stats().requests() - requests;
    report.bytes = source.stats().bytes() - bytes;
    Ok((rows, report))
}

/// Indexes files, some at a time, and hands over each outcome as it comes, until that is no longer wanted.
///
/// # Errors
/// What `take` returns.
pub(super) async fn each_file<E>(
    source: &Source,
    rasters: Vec<FoundRaster>,
    options: IndexOptions,
    progress: &dyn IndexProgress,
    mut take: impl FnMut(FoundRaster, Result<Indexed, FileError>) -> Result<(), E>,
) -> Result<(), E> {
    let mut outcomes = futures::stream::iter(rasters)
        .map(|raster| async move {
            let outcome = index_file(source, &raster, options).await;
            progress.file_done(&raster.path);
            (raster, outcome)
        })
        .buffer_unordered(options.files_at_once.max(1));
    while let Some((raster, outcome)) = outcomes.next().await {
        take(raster, outcome)?;
    }
    Ok(())
}

/// A file's row, and how it came about.
#[derive(Debug, Clone)]
pub struct Indexed {
    /// The row.
    pub row: IndexRow,
    /// True where the file's own TLM gave the tile lengths, false where it was walked.
    pub own_tlm: bool,
    /// Number of its tiles.
    pub tiles: u64,
    /// The same for a cache of facts.
    pub record: FileRecord,
}

/// Indexes one file: one request where it carries TLM, else about one per tile.
///
/// # Errors
/// [`FileError`]: it cannot be read, or its tiles cannot be referenced.
pub async fn index_file(source: &Source, raster: &FoundRaster, options: IndexOptions) -> Result<Indexed, FileError> {
    let path = raster.path.as_str();
    let facts = read_head_ahead(source, path, options.read_ahead).await?;
    let refuse = |reason: String| FileError::Refused { path: path.to_owned(), reason };
    let own_tlm = facts.index.is_some();
    let tiles = facts.head.header.grid().map_err(|e| refuse(e.to_string()))?.tiles();
    let Walked { entry, nodata } = match facts.index.clone() {
        Some(entry) => {
            entry.tile_spans(tiles).map_err(|e| refuse(e.to_string()))?;
            Walked { entry, nodata: None }
        }
        None => walk(source, path, &facts, raster.asset.zero_is_nodata()).await?,
    };
    let cell = entry.write().map_err(|e| refuse(e.to_string()))?;
    let record = FileRecord {
        size: facts.file_size,
        etag: facts.etag.clone(),
        last_modified: facts.last_modified,
        first_sot: facts.head.first_sot,
        sot: facts.first_sot.map(|seen| FirstSot::from(seen.sot)),
        header: facts.head.header.codec_header().into(),
        index: Some(cell.as_slice().into()),
        nodata: nodata.clone(),
    };
    let index = if own_tlm && options.public_style { TileIndex::InFile } else { TileIndex::from_cell(&cell) };
    let row = IndexRow {
        product: raster.product,
        asset: raster.asset,
        path: raster.path.clone(),
        index,
        main_header: Some(facts.head.header_bytes.into()),
        etag: facts.etag,
        last_modified: facts.last_modified,
        nodata,
    };
    Ok(Indexed { row, own_tlm, tiles: u64::from(tiles), record })
}
