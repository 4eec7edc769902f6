//! Writing the index of a whole prefix: what is known already is not read again, an interrupted run goes on where it
//! stopped, and only the file that is written holds the rows.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::tlm::IndexRow;

use super::index_partial::{Entry, Facts, Partial};
use super::index_writer::{IndexWriteError, write_sorted};
use super::indexer::{IndexOptions, IndexProgress, IndexReport, Indexed, each_file};
use super::jp2_header::FileError;
use super::location::{Source, SourceError, SourceOptions};
use super::safe_tree::{FileState, FoundRaster, LeftOut, find_rasters, relative};
use super::tlm_parquet::{IndexFilter, IndexReader};
use super::version::same_etag;
use super::whole_file::beside;

/// So many files in a row at which the whole source fails end a run: the others would fail alike.
const GIVE_UP: u32 = 20;

/// What to index, and what of it is known.
#[derive(Debug, Clone)]
pub struct IndexRun {
    /// Where to look (see [`find_rasters`]).
    pub paths: Vec<String>,
    /// The index to write.
    pub output: PathBuf,
    /// How files are read.
    pub options: IndexOptions,
    /// Take over what an interrupted run has read.
    pub resume: bool,
    /// Keep the rows of the present index whose files did not change.
    pub update: bool,
    /// Read nothing but listings, write nothing.
    pub dry_run: bool,
}

/// A run that wrote no index.
#[derive(Debug, thiserror::Error)]
pub enum IndexRunError {
    /// The paths cannot be looked into.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The index, or the file of partial results beside it, cannot be written or read.
    #[error(transparent)]
    Write(#[from] IndexWriteError),
    /// The source failed as a whole.
    #[error("stopped with {left} files to read: {source}. What was read is kept; the same command goes on from there")]
    Stopped {
        /// Files not read.
        left: u64,
        /// What failed last.
        source: SourceError,
    },
}

/// The file of partial results of an index.
#[must_use]
pub fn partial_path(output: &Path) -> PathBuf {
    beside(output, ".partial")
}

/// Writes an index of all rasters below some paths. Without any row, none is written.
///
/// # Errors
/// [`IndexRunError`]; the present index is untouched then. A file that cannot be read is refused in the report.
pub async fn run_index(
    source: &Source,
    run: &IndexRun,
    progress: &dyn IndexProgress,
) -> Result<IndexReport, IndexRunError> {
    let (requests, bytes) = (source.stats().requests(), source.stats().bytes());
    let found = find_rasters(source, &run.paths).await?;
    let mut report = IndexReport { skipped: found.skipped, refused: found.refused, ..IndexReport::default() };
    let listed: HashMap<&str, &FoundRaster> = found.rasters.iter().map(|r| (r.path.as_str(), r)).collect();
    let agrees = |path: &str, entry: &Entry| {
        let known = entry.facts.listed.as_ref();
        listed.get(path).is_some_and(|now| is_same(now.listed.as_ref(), known))
    };
    let prefix = source.url().prefix();
    let partial_path = partial_path(&run.output);
    let mut spool = if run.dry_run {
        let mut known = if run.resume { Partial::look(&partial_path, &prefix)? } else { Default::default() };
        known.retain(|path, entry| agrees(path, entry));
        Spool { known: known.into_keys().collect(), partial: None }
    } else {
        let mut partial = Partial::open(&partial_path, &prefix, run.resume)?;
        partial.retain(agrees);
        Spool { known: partial.entries().keys().cloned().collect(), partial: Some(partial) }
    };
    report.taken_over = spool.known.len() as u64;
    if run.update && run.output.exists() {
        keep_unchanged(source, run, &found.rasters, &listed, &mut spool, &mut report).await?;
    }

    let known = std::mem::take(&mut spool.known);
    let mut rasters = found.rasters;
    rasters.retain(|raster| !known.contains(&raster.path));
    drop(known);
    if let Some(mut partial) = spool.partial {
        progress.found(rasters.len());
        read(source, rasters, run.options, progress, &mut partial, &mut report.refused).await?;
        count(&partial, &mut report);
        if report.indexed > 0 {
            write_sorted(&run.output, partial.sorted(), run.options.public_style)?;
        }
        partial.remove()?;
    } else {
        report.would_read = rasters.into_iter().map(|raster| raster.path).collect();
    }
    report.refused.sort();
    report.requests = source.stats().requests() - requests;
    report.bytes = source.stats().bytes() - bytes;
    Ok(report)
}

/// What is known already; in a dry run by name only.
struct Spool {
    known: HashSet<String>,
    partial: Option<Partial>,
}

/// Takes over the rows of the present index: of files that did not change, and of files that were not looked for.
async fn keep_unchanged(
    source: &Source,
    run: &IndexRun,
    rasters: &[FoundRaster],
    listed: &HashMap<&str, &FoundRaster>,
    spool: &mut Spool,
    report: &mut IndexReport,
) -> Result<(), IndexRunError> {
    let folders: Vec<String> = run.paths.iter().map(|path| relative(source, path)).collect();
    let looked_for = |path: &str| {
        let path = path.trim_start_matches('/');
        folders.iter().any(|folder| match folder.as_str() {
            "" | "." => true,
            folder => path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        })
    };
    let identities: HashSet<_> = rasters.iter().map(|raster| (raster.product, raster.asset)).collect();
    let location = run.output.display().to_string();
    let mut reader = IndexReader::open(&location, &SourceOptions::default(), &IndexFilter::default())
        .await
        .map_err(IndexWriteError::from)?;
    while let Some(rows) = reader.next_rows().await.map_err(IndexWriteError::from)? {
        for (_, row) in rows {
            if spool.known.contains(&row.path) {
                continue;
            }
            let state = match listed.get(row.path.as_str()) {
                Some(now) if (now.product, now.asset) == (row.product, row.asset) => {
                    let Some(state) = now.listed.as_ref().filter(|state| is_unchanged(&row, state)) else { continue };
                    Some(state.clone())
                }
                Some(_) => continue,
                None if looked_for(&row.path) => {
                    report.gone += 1;
                    continue;
                }
                // The same raster lies elsewhere by now.
                None if identities.contains(&(row.product, row.asset)) => continue,
                None => None,
            };
            report.kept += 1;
            if let Some(partial) = &mut spool.partial {
                let nodata_tiles = row.nodata.as_ref().map_or(0, Vec::len) as u64;
                partial.push(&row, Facts { listed: state, kept: true, own_tlm: false, tiles: 0, nodata_tiles })?;
            }
            spool.known.insert(row.path);
        }
    }
    Ok(())
}

/// Whether a row is of the file that was listed.
fn is_unchanged(row: &IndexRow, now: &FileState) -> bool {
    let size = row.head().ok().flatten().map(|(size, _)| size);
    if size.is_some_and(|size| size != now.size) {
        return false;
    }
    if let (Some(then), Some(now)) = (&row.etag, &now.etag) {
        return same_etag(then, now);
    }
    let times = row.last_modified.zip(now.last_modified);
    // An index holds milliseconds.
    size.is_some() && times.is_some_and(|(then, now)| then.timestamp_millis() == now.timestamp_millis())
}

/// Whether two listings show the same file. A file that was named and not listed may be any.
fn is_same(now: Option<&FileState>, then: Option<&FileState>) -> bool {
    let (Some(now), Some(then)) = (now, then) else { return false };
    now.size == then.size
        && match (&now.etag, &then.etag) {
            (Some(now), Some(then)) => same_etag(now, then),
            _ => now.last_modified.is_some() && now.last_modified == then.last_modified,
        }
}

/// Reads files; each row is written down at once.
async fn read(
    source: &Source,
    rasters: Vec<FoundRaster>,
    options: IndexOptions,
    progress: &dyn IndexProgress,
    partial: &mut Partial,
    refused: &mut Vec<LeftOut>,
) -> Result<(), IndexRunError> {
    let mut left = rasters.len() as u64;
    let mut failures = 0;
    each_file(source, rasters, options, progress, |raster, outcome| {
        left -= 1;
        match outcome {
            Ok(Indexed { row, own_tlm, tiles, .. }) => {
                failures = 0;
                let nodata_tiles = row.nodata.as_ref().map_or(0, Vec::len) as u64;
                partial.push(&row, Facts { listed: raster.listed, kept: false, own_tlm, tiles, nodata_tiles })?;
            }
            Err(FileError::Source(error)) if concerns_all(&error) => {
                failures += 1;
                if failures >= GIVE_UP || matches!(error, SourceError::Budget(_)) {
                    return Err(IndexRunError::Stopped { left: left + u64::from(failures), source: error });
                }
                refused.push(LeftOut { path: raster.path, reason: error.to_string() });
            }
            Err(error) => {
                failures = 0;
                refused.push(LeftOut { path: raster.path, reason: error.reason() });
            }
        }
        Ok(())
    })
    .await
}

/// True for failures of the source rather than of a file.
fn concerns_all(error: &SourceError) -> bool {
    // One file may be closed to us; file after file, it is the source that is.
    error.concerns_whole_source() || matches!(error, SourceError::Denied { .. })
}

fn count(partial: &Partial, report: &mut IndexReport) {
    let mut products = HashSet::new();
    for entry in partial.entries().values() {
        report.indexed += 1;
        products.insert(entry.product);
        match &entry.facts {
            facts if facts.kept => {}
            facts if facts.own_tlm => report.with_tlm += 1,
            _ => report.walked += 1,
        }
        report.tiles += entry.facts.tiles;
        report.nodata_tiles += entry.facts.nodata_tiles;
    }
    report.products = products.len() as u64;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chrono::DateTime;

    use super::*;
    use crate::tlm::TileIndex;

    fn state(size: u64, etag: Option<&str>, seconds: Option<i64>) -> FileState {
        let last_modified = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 123_456_789));
        FileState { size, etag: etag.map(str::to_owned), last_modified }
    }

    fn row(size: Option<u64>, etag: Option<&str>, seconds: Option<i64>) -> IndexRow {
        let cell = |size: u64| [&size.to_be_bytes()[..], &1_u64.to_be_bytes(), &0_u32.to_be_bytes()].concat();
        let time = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 123_000_000));
        IndexRow {
            product: "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454".parse().unwrap(),
            asset: "B02_10m".parse().unwrap(),
            path: "/x.jp2".to_owned(),
            index: size.map_or(TileIndex::InFile, |size| TileIndex::from_cell(&cell(size))),
            main_header: None,
            etag: etag.map(str::to_owned),
            last_modified: time,
            nodata: None,
        }
    }

    #[test]
    fn a_row_is_kept_where_size_and_etag_or_time_are_those_of_the_file() {
        let now = state(9, Some("\"a\""), Some(7));
        for (row, kept) in [
            (row(Some(9), Some("a"), Some(7)), true),
            (row(Some(9), Some("a"), Some(8)), true),
            (row(Some(8), Some("a"), Some(7)), false),
            (row(Some(9), Some("b"), Some(7)), false),
            (row(None, Some("a"), None), true),
            // Without an ETag, size and time must both agree; an index of other writers has neither.
            (row(Some(9), None, Some(7)), true),
            (row(Some(9), None, Some(8)), false),
            (row(None, None, Some(7)), false),
            (row(Some(9), None, None), false),
        ] {
            assert_eq!(is_unchanged(&row, &now), kept, "{row:?}");
        }
    }

    #[test]
    fn what_an_interrupted_run_read_counts_for_the_same_file_only() {
        let then = state(9, Some("a"), Some(7));
        for (now, same) in [
            (state(9, Some("\"a\""), Some(8)), true),
            (state(9, Some("b"), Some(7)), false),
            (state(8, Some("a"), Some(7)), false),
            (state(9, None, Some(7)), true),
            (state(9, None, Some(8)), false),
            (state(9, None, None), false),
        ] {
            assert_eq!(is_same(Some(&now), Some(&then)), same, "{now:?}");
        }
        assert!(!is_same(None, Some(&then)) && !is_same(Some(&then), None));
    }
}
