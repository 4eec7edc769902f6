//! Chunk manifests as a Parquet table: one row per reference.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder, TimestampMillisecondBuilder, UInt32Builder, UInt64Builder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use crate::assemble::Step;
use crate::chunk::{Chunk, indices};
use crate::manifest::{ChunkManifest, Placement};
use crate::source::location::{SourceError, SourceUrl};
use crate::source::whole_file::write_whole;

/// Version of the table, in its key-value metadata as `s2ice.manifest`.
pub const MANIFEST_VERSION: &str = "1";

/// Rows held in memory before they are written.
const BATCH: usize = 50_000;

/// A manifest table that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file cannot be made or moved.
    #[error("manifest {path} cannot be written: {source}")]
    File {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// Encoding failed.
    #[error("manifest {path} cannot be written: {detail}")]
    Encode {
        /// The file.
        path: String,
        /// The cause.
        detail: String,
    },
    /// A path leaves the source.
    #[error(transparent)]
    Location(#[from] SourceError),
}

/// The columns.
pub fn schema() -> SchemaRef {
    let utc = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let item = Arc::new(Field::new("item", DataType::UInt32, false));
    Arc::new(Schema::new(vec![
        Field::new("array", DataType::Utf8, false),
        Field::new("product_id", DataType::Utf8, false),
        Field::new("time", utc.clone(), false),
        Field::new("chunk", DataType::List(item), false),
        Field::new("location", DataType::Utf8, false),
        Field::new("offset", DataType::UInt64, false),
        Field::new("length", DataType::UInt64, false),
        Field::new("etag", DataType::Utf8, true),
        Field::new("last_modified", utc, true),
    ]))
}

/// An array's manifest and the path it stands for.
#[derive(Debug, Clone, Copy)]
pub struct NamedManifest<'a> {
    /// Path of the array.
    pub path: &'a str,
    /// True where chunk indices have a component between time and row.
    pub has_components: bool,
    /// The references.
    pub manifest: &'a ChunkManifest,
}

/// Writes the references of all arrays, sorted by array, time and tile. The file appears whole or not at all.
///
/// # Errors
/// [`ManifestError`].
pub fn write_manifest(
    path: &Path,
    arrays: &[NamedManifest<'_>],
    steps: &[Step],
    source: &SourceUrl,
    writer: &str,
) -> Result<u64, ManifestError> {
    let io = |source| ManifestError::File { path: path.display().to_string(), source };
    write_whole(path, |sink| write_to(sink, path, arrays, steps, source, writer), io)
}

fn write_to(
    sink: &mut BufWriter<File>,
    path: &Path,
    arrays: &[NamedManifest<'_>],
    steps: &[Step],
    source: &SourceUrl,
    writer: &str,
) -> Result<u64, ManifestError> {
    let encode =
        |error: ParquetError| ManifestError::Encode { path: path.display().to_string(), detail: error.to_string() };
    let arrow =
        |error: ArrowError| ManifestError::Encode { path: path.display().to_string(), detail: error.to_string() };
    let metadata = [("s2ice.manifest", MANIFEST_VERSION), ("s2ice.writer", writer)];
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(parquet::basic::ZstdLevel::default()))
        .set_key_value_metadata(Some(
            metadata.map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned())).to_vec(),
        ))
        .build();
    let mut parquet = ArrowWriter::try_new(sink, schema(), Some(properties)).map_err(encode)?;
    let prefix = source.prefix();
    let mut rows = Rows::default();
    let mut total = 0;
    for array in arrays {
        for (index, step) in steps.iter().enumerate() {
            let Some(raster) = array.manifest.at(index).and_then(Placement::file) else { continue };
            // The raster's path is already encoded, as references want it.
            let location = format!("{prefix}{}", raster.path);
            let product = step.id.to_string();
            let time = u32::try_from(index).unwrap_or(u32::MAX);
            for (row, column, chunk) in raster.chunks() {
                let Chunk::Range(range) = chunk else { continue };
                let chunk = indices(array.has_components, time, row, column);
                rows.array.append_value(array.path);
                rows.product.append_value(&product);
                rows.time.append_value(step.time_ms);
                rows.chunk.append_value(chunk.into_iter().map(Some));
                rows.location.append_value(&location);
                rows.offset.append_value(range.offset());
                rows.length.append_value(range.length());
                rows.etag.append_option(raster.etag.as_deref());
                rows.modified.append_option(raster.last_modified.map(|t| t.timestamp_millis()));
                rows.count += 1;
                total += 1;
            }
            if rows.count >= BATCH {
                parquet.write(&rows.take().map_err(arrow)?).map_err(encode)?;
            }
        }
    }
    if rows.count > 0 {
        parquet.write(&rows.take().map_err(arrow)?).map_err(encode)?;
    }
    parquet.close().map_err(encode)?;
    Ok(total)
}

#[derive(Default)]
struct Rows {
    array: StringBuilder,
    product: StringBuilder,
    time: TimestampMillisecondBuilder,
    chunk: ChunkBuilder,
    location: StringBuilder,
    offset: UInt64Builder,
    length: UInt64Builder,
    etag: StringBuilder,
    modified: TimestampMillisecondBuilder,
    count: usize,
}

/// A list builder whose items are not nullable.
struct ChunkBuilder(ListBuilder<UInt32Builder>);

impl Default for ChunkBuilder {
    fn default() -> Self {
        let field = Arc::new(Field::new("item", DataType::UInt32, false));
        Self(ListBuilder::new(UInt32Builder::new()).with_field(field))
    }
}

impl ChunkBuilder {
    fn append_value(&mut self, items: impl IntoIterator<Item = Option<u32>>) {
        self.0.append_value(items);
    }
}

impl Rows {
    fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        let mut rows = std::mem::take(self);
        let utc = |builder: &mut TimestampMillisecondBuilder| builder.finish().with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.array.finish()),
            Arc::new(rows.product.finish()),
            Arc::new(utc(&mut rows.time)),
            Arc::new(rows.chunk.0.finish()),
            Arc::new(rows.location.finish()),
            Arc::new(rows.offset.finish()),
            Arc::new(rows.length.finish()),
            Arc::new(rows.etag.finish()),
            Arc::new(utc(&mut rows.modified)),
        ];
        RecordBatch::try_new(schema(), columns)
    }
}
