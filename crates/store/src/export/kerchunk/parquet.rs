//! A reference set as a folder of Parquet files, as fsspec's reference file system reads it chunk by chunk.
//!
//! The chunks of an array are numbered in row-major order; each file has as many of them as `.zmetadata` says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Error, Result, Write};
use std::path::Path;

use s2ice_manifest::source::record_parquet::{Record, RecordWriter};
use s2ice_manifest::source::whole_folder::WholeFolder;
use serde_json::{Value, json};

use super::Sink;
use crate::export::own::beginning;

/// Chunks in a file: 82 dates of a band at 10 m, about 100 kB.
const RECORD: u64 = 10_000;

/// Name of the file of metadata.
const METADATA: &str = ".zmetadata";

/// Largest file of metadata that is looked into.
const LARGEST: u64 = 64 << 20;

/// Writes the folder.
pub(super) struct ParquetSink {
    folder: WholeFolder,
    /// What the folder says it is from.
    writer: String,
    array: Option<Open>,
}

/// An array that is being written.
struct Open {
    path: String,
    grid: Vec<u64>,
    /// Number of the next chunk.
    next: u64,
    record: Option<RecordWriter<BufWriter<File>>>,
}

impl ParquetSink {
    /// Begins a folder at `path`; one that `s2ice` wrote is replaced.
    pub(super) fn create(path: &Path, writer: &str) -> Result<Self> {
        Ok(Self { folder: WholeFolder::create(path, is_ours)?, writer: writer.to_owned(), array: None })
    }

    /// Puts the folder in its place.
    pub(super) fn finish(mut self) -> Result<()> {
        self.close()?;
        self.folder.finish()
    }

    /// Ends the array, with rows for all of its chunks: readers count on them when they list.
    fn close(&mut self) -> Result<()> {
        let Some(mut open) = self.array.take() else { return Ok(()) };
        let total = open.grid.iter().fold(1, |total: u64, length| total.saturating_mul(*length));
        open.skip(self.folder.filled(), total)?;
        open.end_record()
    }

    fn push(&mut self, chunk: &[u64], record: Record<'_>) -> Result<()> {
        let Some(open) = &mut self.array else { return Err(Error::other("no array was begun")) };
        let number = open.grid.iter().zip(chunk).fold(0, |number, (length, index)| number * length + index);
        if number < open.next || chunk.len() != open.grid.len() || chunk.iter().zip(&open.grid).any(|(i, n)| i >= n) {
            return Err(Error::other(format!("chunk {chunk:?} of {} is out of place", open.path)));
        }
        let folder = self.folder.filled();
        open.skip(folder, number)?;
        open.push(folder, record)
    }
}

impl Open {
    /// Rows without a reference up to a chunk.
    fn skip(&mut self, folder: &Path, number: u64) -> Result<()> {
        while self.next < number {
            self.push(folder, Record::Missing)?;
        }
        Ok(())
    }

    fn push(&mut self, folder: &Path, record: Record<'_>) -> Result<()> {
        if self.next.is_multiple_of(RECORD) {
            self.end_record()?;
            let path = folder.join(&self.path).join(format!("refs.{}.parq", self.next / RECORD));
            let file = BufWriter::new(File::create(path)?);
            self.record = Some(RecordWriter::new(file).map_err(Error::other)?);
        }
        self.next += 1;
        self.record.as_mut().map_or(Ok(()), |writer| writer.push(record)).map_err(Error::other)
    }

    fn end_record(&mut self) -> Result<()> {
        match self.record.take() {
            Some(writer) => writer.finish().map_err(Error::other)?.flush(),
            None => Ok(()),
        }
    }
}

/// True for a folder that says it is from s2ice.
fn is_ours(folder: &Path) -> bool {
    let found = beginning(&folder.join(METADATA), LARGEST).ok();
    let document: Option<Value> = found.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let writer = document.as_ref().and_then(|document| document.get("writer")?.as_str());
    writer.is_some_and(|writer| writer.starts_with("s2ice "))
}

impl Sink for ParquetSink {
    fn metadata(&mut self, documents: &BTreeMap<String, Value>) -> Result<()> {
        let document = json!({
            "zarr_consolidated_format": 1,
            "metadata": documents,
            "record_size": RECORD,
            "writer": self.writer,
        });
        std::fs::write(self.folder.filled().join(METADATA), document.to_string())
    }

    fn array(&mut self, path: &str, grid: &[u64]) -> Result<()> {
        self.close()?;
        std::fs::create_dir_all(self.folder.filled().join(path))?;
        self.array = Some(Open { path: path.to_owned(), grid: grid.to_vec(), next: 0, record: None });
        Ok(())
    }

    fn inline(&mut self, chunk: &[u64], bytes: &[u8]) -> Result<()> {
        self.push(chunk, Record::Inline(bytes))
    }

    fn reference(&mut self, chunk: &[u64], url: &str, offset: u64, length: u64) -> Result<()> {
        self.push(chunk, Record::Reference { url, offset, length })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_chunk_has_its_row() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x.parquet");
        let write = || {
            let mut sink = ParquetSink::create(&path, "s2ice 0")?;
            sink.metadata(&BTreeMap::new())?;
            sink.array("g/a", &[3, 100, 50])?;
            sink.reference(&[1, 2, 3], "s3://b/k", 1, 2)?;
            assert!(sink.reference(&[1, 2, 2], "s3://b/k", 1, 2).is_err(), "not in order");
            assert!(sink.reference(&[1, 2, 50], "s3://b/k", 1, 2).is_err(), "not in the grid");
            sink.array("s", &[])?;
            sink.inline(&[], b"x")?;
            sink.finish()
        };
        write().unwrap();
        write().unwrap();
        let files = |folder: &str| std::fs::read_dir(path.join(folder)).unwrap().count();
        assert_eq!((files("g/a"), files("s")), (2, 1));
        std::fs::write(path.join(METADATA), "{\"writer\": \"kerchunk\"}").unwrap();
        assert!(write().is_err());
    }
}
