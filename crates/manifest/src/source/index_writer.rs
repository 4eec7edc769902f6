//! Writing an index: the public layout with our own columns behind it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::builder::{
    BinaryBuilder, ListBuilder, StringBuilder, TimestampMillisecondBuilder, UInt16Builder, UInt32Builder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use crate::index_columns::{COLUMNS, INDEX, NODATA};
use crate::tlm::IndexRow;

use super::location::SourceOptions;
use super::tlm_parquet::{IndexError, IndexFilter, data_type, read_index};
use super::whole_file::{WholeFile, beside, write_whole};

/// Key of the version entry in the Parquet metadata.
pub const VERSION_KEY: &str = "s2ice:version";

/// Key of the layout entry in the Parquet metadata.
pub const LAYOUT_KEY: &str = "s2ice:index_layout";

/// Version of the layout of our own columns.
pub const LAYOUT: &str = "1";

/// An index that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum IndexWriteError {
    /// The file system refused.
    #[error("cannot write {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The table could not be encoded.
    #[error("cannot encode the index: {0}")]
    Parquet(#[from] ParquetError),
    /// The file that shall be added to cannot be read.
    #[error(transparent)]
    Read(#[from] IndexError),
    /// The file that shall be added to has rows that would be lost.
    #[error("{path} has {rows} rows that cannot be understood and would be lost: name another file to write to")]
    Damaged {
        /// The file.
        path: String,
        /// Rows that are rejected or contradict each other.
        rows: u64,
    },
    /// Another process is adding to it.
    #[error("another s2ice process is writing {path}: wait until it is done")]
    Busy {
        /// The file.
        path: String,
    },
}

/// How often and how long apart the lock of an index is tried: half a minute.
const LOCK_TRIES: (u32, Duration) = (60, Duration::from_millis(500));

/// The table's Arrow schema: all columns, or the four public ones.
#[must_use]
pub fn arrow_schema(public_only: bool) -> SchemaRef {
    let fields = COLUMNS.iter().filter(|c| c.public || !public_only);
    let fields: Vec<Field> = fields.map(|c| Field::new(c.name, data_type(c.kind), !c.public)).collect();
    Arc::new(Schema::new(fields))
}

/// Encodes rows as Parquet (zstd), sorted by product, band and resolution, the best resolution first.
///
/// With `public_only`, our own columns are left out.
///
/// # Errors
/// [`IndexWriteError::Parquet`], also for a failing sink.
pub fn encode_index<W: Write + Send>(sink: W, rows: &[IndexRow], public_only: bool) -> Result<(), IndexWriteError> {
    let mut order: Vec<&IndexRow> = rows.iter().collect();
    order.sort_by_cached_key(|row| (row.sort_key(), row.path.clone()));
    encode_sorted(sink, order.into_iter().map(|row| Ok(Cow::Borrowed(row))), public_only)
}

/// As [`encode_index`], of rows that are sorted already; a thousand of them are in memory at a time.
fn encode_sorted<'a, W: Write + Send>(
    sink: W,
    mut rows: impl Iterator<Item = Result<Cow<'a, IndexRow>, IndexWriteError>>,
    public_only: bool,
) -> Result<(), IndexWriteError> {
    let schema = arrow_schema(public_only);
    let pairs = [(VERSION_KEY, env!("CARGO_PKG_VERSION")), (LAYOUT_KEY, LAYOUT)];
    let metadata = pairs.iter().map(|(key, value)| KeyValue::new((*key).to_owned(), (*value).to_owned())).collect();
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_created_by(concat!("s2ice ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(metadata))
        .set_max_row_group_row_count(Some(16_384))
        // Pages of few rows, so that a reader of some products fetches little of the rest.
        .set_data_page_row_count_limit(512)
        .set_write_batch_size(256);
    // Every value is its own: a dictionary would only be built to be thrown away.
    for column in [vec![INDEX], vec![NODATA, "list", "item"]] {
        let path: Vec<String> = column.into_iter().map(str::to_owned).collect();
        properties = properties.set_column_dictionary_enabled(path.into(), false);
    }
    let mut writer = ArrowWriter::try_new(sink, Arc::clone(&schema), Some(properties.build()))?;
    loop {
        let chunk = rows.by_ref().take(1024).collect::<Result<Vec<_>, _>>()?;
        if chunk.is_empty() {
            break;
        }
        let chunk: Vec<&IndexRow> = chunk.iter().map(AsRef::as_ref).collect();
        writer.write(&batch(&schema, &chunk)?)?;
    }
    writer.close()?;
    Ok(())
}

/// Writes an index file whole or not at all: to a temporary file beside it, which then takes its name.
///
/// # Errors
/// [`IndexWriteError`]; the file that was there before is untouched then.
pub fn write_index(path: &Path, rows: &[IndexRow], public_only: bool) -> Result<(), IndexWriteError> {
    replace(path, |sink| encode_index(sink, rows, public_only))
}

/// As [`write_index`], of rows that come one after the other in the order of an index.
pub(super) fn write_sorted(
    path: &Path,
    rows: impl Iterator<Item = Result<IndexRow, IndexWriteError>>,
    public_only: bool,
) -> Result<(), IndexWriteError> {
    replace(path, |sink| encode_sorted(sink, rows.map(|row| row.map(Cow::Owned)), public_only))
}

fn replace(
    path: &Path,
    encode: impl FnOnce(&mut WholeFile) -> Result<(), IndexWriteError>,
) -> Result<(), IndexWriteError> {
    write_whole(path, encode, |source| IndexWriteError::Io { path: path.display().to_string(), source })
}

/// Adds rows to an index file, or begins one: a new row takes the place of an old one of the same raster. Whole or not at
/// all, and one process after the other. Returns how many rows the file has then.
///
/// # Errors
/// [`IndexWriteError`]; the file is as it was then.
pub async fn merge_index(path: &Path, rows: Vec<IndexRow>) -> Result<u64, IndexWriteError> {
    let shown = || path.display().to_string();
    let io = |source| IndexWriteError::Io { path: path.display().to_string(), source };
    // The index itself is replaced, so that a lock on it would guard a file that is gone.
    let guard = File::options().create(true).append(true).open(beside(path, ".lock")).map_err(io)?;
    let mut tries = LOCK_TRIES.0;
    loop {
        match guard.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if tries > 0 => {
                tries -= 1;
                tokio::time::sleep(LOCK_TRIES.1).await;
            }
            Err(TryLockError::WouldBlock) => return Err(IndexWriteError::Busy { path: shown() }),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
    }
    let mut all = rows;
    if path.exists() {
        let (old, report) = read_index(&[shown()], &SourceOptions::default(), &IndexFilter::default()).await?;
        let lost = report.rejected + report.conflicting;
        if lost > 0 {
            return Err(IndexWriteError::Damaged { path: shown(), rows: lost });
        }
        let new: HashSet<_> = all.iter().map(|row| (row.product, row.asset)).collect();
        all.extend(old.into_iter().filter(|row| !new.contains(&(row.product, row.asset))));
    }
    write_index(path, &all, false)?;
    drop(guard);
    Ok(all.len() as u64)
}

fn batch(schema: &SchemaRef, rows: &[&IndexRow]) -> Result<RecordBatch, ParquetError> {
    let text = |of: &dyn Fn(&IndexRow) -> Option<String>| -> ArrayRef {
        let mut builder = StringBuilder::new();
        rows.iter().for_each(|row| builder.append_option(of(row)));
        Arc::new(builder.finish())
    };
    let binary = |of: &dyn for<'a> Fn(&'a IndexRow) -> Option<&'a [u8]>| -> ArrayRef {
        let mut builder = BinaryBuilder::new();
        rows.iter().for_each(|row| builder.append_option(of(row)));
        Arc::new(builder.finish())
    };
    let list = |of: &dyn Fn(&IndexRow) -> Option<Vec<Option<u32>>>| -> ArrayRef {
        let mut builder = ListBuilder::new(UInt32Builder::new());
        rows.iter().for_each(|row| builder.append_option(of(row)));
        Arc::new(builder.finish())
    };
    let mut resolutions = UInt16Builder::new();
    let mut times = TimestampMillisecondBuilder::new().with_timezone("UTC");
    for row in rows {
        resolutions.append_value(row.asset.resolution.metres());
        times.append_option(row.last_modified.map(|t| t.timestamp_millis()));
    }
    let arrays: Vec<ArrayRef> = vec![
        text(&|row| Some(row.product.to_string())),
        text(&|row| Some(row.asset.band_id())),
        text(&|row| Some(row.path.clone())),
        binary(&|row| Some(row.index.cell())),
        text(&|row| Some(row.asset.name())),
        Arc::new(resolutions.finish()),
        binary(&|row| row.main_header.as_deref()),
        text(&|row| row.etag.clone()),
        Arc::new(times.finish()),
        list(&|row| row.nodata.as_ref().map(|tiles| tiles.iter().copied().map(Some).collect())),
    ];
    // The public columns come first, so a shorter schema takes a prefix of the arrays.
    let arrays = arrays.into_iter().take(schema.fields().len()).collect();
    Ok(RecordBatch::try_new(Arc::clone(schema), arrays)?)
}
