//! What an index run has read so far, in a file beside the index: an interrupted run goes on from there, and a long one
//! holds no rows in memory.
//!
//! One JSON object per line behind a line that names the source; each line is appended in one write. The file is gone
//! once the index is written.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::product::ProductId;
use crate::raster::Asset;
use crate::tlm::{IndexRow, TileIndex};

use super::base64::{base64_bytes, base64_option};
use super::index_writer::IndexWriteError;
use super::safe_tree::FileState;

/// Version of the lines.
const VERSION: u32 = 1;

/// Longest line that is read.
const MAX_LINE: u64 = 64 * 1024 * 1024;

/// First line.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Head {
    s2ice_index_partial: u32,
    source: String,
}

/// A row with what is known of its file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    product: ProductId,
    asset: String,
    path: String,
    #[serde(flatten)]
    facts: Facts,
    #[serde(with = "base64_bytes")]
    index: Arc<[u8]>,
    #[serde(with = "base64_option", skip_serializing_if = "Option::is_none", default)]
    main_header: Option<Arc<[u8]>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    last_modified: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    nodata: Option<Vec<u32>>,
}

/// What is known of a file beside its row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The file as it was listed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub listed: Option<FileState>,
    /// The row is of the index that was there before; it is looked at anew in every run.
    #[serde(default)]
    pub kept: bool,
    /// The file carries TLM.
    pub own_tlm: bool,
    /// Its tiles.
    pub tiles: u64,
    /// Those proven to be nodata.
    pub nodata_tiles: u64,
}

/// A row in the file.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Product.
    pub product: ProductId,
    /// Raster.
    pub asset: Asset,
    /// What is known beside the row.
    pub facts: Facts,
    offset: u64,
    length: u64,
}

/// The file.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    file: File,
    end: u64,
    entries: BTreeMap<String, Entry>,
}

impl Partial {
    /// Opens the file, or begins it. What an earlier run left is taken where it is of the same source and `resume` says so;
    /// a line torn by a crash is dropped.
    ///
    /// # Errors
    /// [`IndexWriteError::Io`], and [`IndexWriteError::Busy`] where another process is at work on the same index.
    pub fn open(path: &Path, source: &str, resume: bool) -> Result<Self, IndexWriteError> {
        let io = |source| IndexWriteError::Io { path: path.display().to_string(), source };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(IndexWriteError::Busy { path: path.display().to_string() }),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let mut partial = Self { path: path.to_owned(), file, end: 0, entries: BTreeMap::new() };
        if resume {
            (partial.end, partial.entries) = scan(&partial.file, source).map_err(io)?;
        }
        partial.file.set_len(partial.end).map_err(io)?;
        if partial.end == 0 {
            partial.append(&Head { s2ice_index_partial: VERSION, source: source.to_owned() })?;
        }
        Ok(partial)
    }

    /// What an earlier run left, without touching it.
    ///
    /// # Errors
    /// [`IndexWriteError::Io`].
    pub fn look(path: &Path, source: &str) -> Result<BTreeMap<String, Entry>, IndexWriteError> {
        let io = |source| IndexWriteError::Io { path: path.display().to_string(), source };
        match File::open(path) {
            Ok(file) => Ok(scan(&file, source).map_err(io)?.1),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(io(error)),
        }
    }

    /// The rows by path.
    #[must_use]
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// Forgets rows that are not wanted.
    pub fn retain(&mut self, wanted: impl Fn(&str, &Entry) -> bool) {
        self.entries.retain(|path, entry| wanted(path, entry));
    }

    /// Adds a row; it takes the place of an earlier one of the same path.
    ///
    /// # Errors
    /// [`IndexWriteError::Io`].
    pub fn push(&mut self, row: &IndexRow, facts: Facts) -> Result<(), IndexWriteError> {
        let line = Line {
            product: row.product,
            asset: row.asset.name(),
            path: row.path.clone(),
            facts: facts.clone(),
            index: row.index.cell().into(),
            main_header: row.main_header.as_deref().map(Arc::from),
            etag: row.etag.clone(),
            last_modified: row.last_modified,
            nodata: row.nodata.clone(),
        };
        let offset = self.append(&line)?;
        let entry = Entry { product: row.product, asset: row.asset, facts, offset, length: self.end - offset };
        self.entries.insert(row.path.clone(), entry);
        Ok(())
    }

    /// The rows one after the other, as an index has them.
    pub fn sorted(&self) -> impl Iterator<Item = Result<IndexRow, IndexWriteError>> + '_ {
        let mut order: Vec<(&String, &Entry)> = self.entries.iter().collect();
        order.sort_by_cached_key(|(path, entry)| {
            (entry.product.to_string(), entry.asset.band_id(), entry.asset.resolution.metres(), (*path).clone())
        });
        order.into_iter().map(|(_, entry)| self.row(entry))
    }

    /// Removes the file.
    ///
    /// # Errors
    /// [`IndexWriteError::Io`].
    pub fn remove(self) -> Result<(), IndexWriteError> {
        std::fs::remove_file(&self.path).map_err(|source| self.io(source))
    }

    fn io(&self, source: std::io::Error) -> IndexWriteError {
        IndexWriteError::Io { path: self.path.display().to_string(), source }
    }

    fn append(&mut self, line: &impl Serialize) -> Result<u64, IndexWriteError> {
        let mut bytes = serde_json::to_vec(line).map_err(|error| self.io(error.into()))?;
        bytes.push(b'\n');
        let at = self.end;
        self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.write_all(&bytes)).map_err(|e| self.io(e))?;
        self.end += bytes.len() as u64;
        Ok(at)
    }

    fn row(&self, entry: &Entry) -> Result<IndexRow, IndexWriteError> {
        let read = || {
            let mut file = &self.file;
            file.seek(SeekFrom::Start(entry.offset))?;
            // No longer than a line that was written or read before.
            let mut bytes = Vec::new();
            file.take(entry.length).read_to_end(&mut bytes)?;
            Ok(serde_json::from_slice::<Line>(&bytes)?)
        };
        let line = read().map_err(|error| self.io(error))?;
        Ok(IndexRow {
            product: line.product,
            asset: entry.asset,
            path: line.path,
            index: TileIndex::from_cell(&line.index),
            main_header: line.main_header.map(|bytes| bytes.as_ref().into()),
            etag: line.etag,
            last_modified: line.last_modified,
            nodata: line.nodata,
        })
    }
}

/// The end of the last whole line, and the rows. Lines that cannot be understood are passed over: their files are read
/// again. Nothing at all where the file is of another source or version.
fn scan(file: &File, source: &str) -> std::io::Result<(u64, BTreeMap<String, Entry>)> {
    let mut reader = BufReader::new(file);
    let (mut offset, mut entries, mut line) = (0, BTreeMap::new(), Vec::new());
    for number in 0_u64.. {
        line.clear();
        let length = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line)? as u64;
        if line.last() != Some(&b'\n') {
            break;
        }
        if number == 0 {
            let head = Head { s2ice_index_partial: VERSION, source: source.to_owned() };
            if serde_json::from_slice::<Head>(&line).ok().as_ref() != Some(&head) {
                break;
            }
        } else if let Ok(Line { product, asset, path, facts, .. }) = serde_json::from_slice(&line)
            && let Ok(asset) = asset.parse()
            && !facts.kept
        {
            entries.insert(path, Entry { product, asset, facts, offset, length });
        }
        offset += length;
    }
    Ok((offset, entries))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(band: &str) -> IndexRow {
        IndexRow {
            product: "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454".parse().unwrap(),
            asset: band.parse().unwrap(),
            path: format!("/{band}.jp2"),
            index: TileIndex::from_cell(&[1, 2, 3]),
            main_header: Some([0xFF, 0x4F].into()),
            etag: Some("\"e\"".to_owned()),
            last_modified: DateTime::from_timestamp_millis(1_700_000_000_123),
            nodata: Some(vec![1]),
        }
    }

    fn facts() -> Facts {
        let listed = Some(FileState { size: 9, etag: None, last_modified: None });
        Facts { listed, kept: false, own_tlm: true, tiles: 2, nodata_tiles: 1 }
    }

    fn rows(partial: &Partial) -> Vec<IndexRow> {
        partial.sorted().map(Result::unwrap).collect()
    }

    #[test]
    fn a_crash_costs_one_row_and_the_rest_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        let mut partial = Partial::open(&path, "s3://b/", true).unwrap();
        assert!(matches!(Partial::open(&path, "s3://b/", true), Err(IndexWriteError::Busy { .. })));
        partial.push(&row("B05_20m"), facts()).unwrap();
        let first = partial.end;
        partial.push(&row("B02_10m"), facts()).unwrap();
        assert_eq!(rows(&partial), [row("B02_10m"), row("B05_20m")]);
        drop(partial);
        let whole = std::fs::read(&path).unwrap();
        for cut in [first + 1, first + 40, whole.len() as u64 - 1] {
            std::fs::write(&path, &whole[..usize::try_from(cut).unwrap()]).unwrap();
            assert_eq!(Partial::look(&path, "s3://b/").unwrap().len(), 1);
            let mut partial = Partial::open(&path, "s3://b/", true).unwrap();
            assert_eq!((rows(&partial), partial.end), (vec![row("B05_20m")], first));
            assert_eq!(partial.entries()["/B05_20m.jp2"].facts, facts());
            partial.push(&row("B02_10m"), facts()).unwrap();
            assert_eq!(rows(&partial).len(), 2);
        }
        for (source, resume) in [("s3://other/", true), ("s3://b/", false)] {
            std::fs::write(&path, &whole).unwrap();
            assert_eq!(Partial::open(&path, source, resume).unwrap().entries().len(), 0);
        }
    }

    #[test]
    fn damaged_lines_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        let mut partial = Partial::open(&path, "s3://b/", true).unwrap();
        partial.push(&row("B05_20m"), facts()).unwrap();
        drop(partial);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text += "{\"product\":1}\nnonsense\n";
        std::fs::write(&path, text).unwrap();
        let mut partial = Partial::open(&path, "s3://b/", true).unwrap();
        partial.push(&row("B02_10m"), Facts { kept: true, ..facts() }).unwrap();
        assert_eq!(rows(&partial).len(), 2);
        drop(partial);
        // A row of the old index is not the outcome of a reading.
        let partial = Partial::open(&path, "s3://b/", true).unwrap();
        assert_eq!(rows(&partial), [row("B05_20m")]);
        partial.remove().unwrap();
        assert!(!path.exists());
    }
}
