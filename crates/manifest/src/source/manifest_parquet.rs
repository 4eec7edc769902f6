//! Chunk manifests as a Parquet table: one row per reference.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder, TimestampMillisecondBuilder, UInt32Builder, UInt64Builder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use crate::assemble::Step;
use crate::chunk::{Chunk, indices};
use crate::manifest::{ChunkManifest, Placement};
use crate::source::location::{SourceError, SourceUrl};
use crate::source::whole_file::{WholeFile, write_whole};

/// Version of the table, in its key-value metadata as `s2ice.manifest`.
pub const MANIFEST_VERSION: &str = "1";

/// Rows held in memory before they are written.
const BATCH: usize = 50_000;

/// Key of the version entry in the Parquet metadata.
pub const VERSION_KEY: &str = "s2ice.manifest";

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

/// The references of a raster.
#[derive(Debug, Clone)]
pub struct Referenced<'a> {
    /// Path of the array.
    pub array: &'a str,
    /// Product name.
    pub product: String,
    /// The value on the time axis, in milliseconds since 1970-01-01.
    pub time_ms: i64,
    /// Address of the file, percent-encoded.
    pub location: String,
    /// Of the response that gave the main header.
    pub etag: Option<&'a str>,
    /// Of that response, in milliseconds since 1970-01-01.
    pub last_modified: Option<i64>,
}

/// Writes a table row by row.
pub struct ManifestWriter<W: Write + Send> {
    path: String,
    parquet: ArrowWriter<W>,
    rows: Rows,
    total: u64,
}

impl<W: Write + Send> ManifestWriter<W> {
    /// Begins a table; `path` is named in errors, `writer` in the table's metadata.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn new(sink: W, path: &Path, writer: &str) -> Result<Self, ManifestError> {
        let path = path.display().to_string();
        let metadata = [(VERSION_KEY, MANIFEST_VERSION), ("s2ice.writer", writer)];
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(parquet::basic::ZstdLevel::default()))
            .set_key_value_metadata(Some(
                metadata.map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned())).to_vec(),
            ))
            .build();
        let parquet = ArrowWriter::try_new(sink, schema(), Some(properties)).map_err(|error| encode(&path, &error))?;
        Ok(Self { path, parquet, rows: Rows::default(), total: 0 })
    }

    /// Adds the references of a raster: chunk indices, first byte and number of bytes of each.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn push(
        &mut self,
        raster: &Referenced<'_>,
        references: impl Iterator<Item = (Vec<u32>, u64, u64)>,
    ) -> Result<(), ManifestError> {
        let rows = &mut self.rows;
        for (chunk, offset, length) in references {
            rows.array.append_value(raster.array);
            rows.product.append_value(&raster.product);
            rows.time.append_value(raster.time_ms);
            rows.chunk.append_value(chunk.into_iter().map(Some));
            rows.location.append_value(&raster.location);
            rows.offset.append_value(offset);
            rows.length.append_value(length);
            rows.etag.append_option(raster.etag);
            rows.modified.append_option(raster.last_modified);
            rows.count += 1;
            self.total += 1;
        }
        if self.rows.count >= BATCH { self.flush() } else { Ok(()) }
    }

    /// Ends the table; gives its number of rows.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn finish(mut self) -> Result<u64, ManifestError> {
        if self.rows.count > 0 {
            self.flush()?;
        }
        self.parquet.close().map_err(|error| encode(&self.path, &error))?;
        Ok(self.total)
    }

    fn flush(&mut self) -> Result<(), ManifestError> {
        let batch = self.rows.take().map_err(|error| encode(&self.path, &error))?;
        self.parquet.write(&batch).map_err(|error| encode(&self.path, &error))
    }
}

fn encode(path: &str, error: &dyn std::error::Error) -> ManifestError {
    ManifestError::Encode { path: path.to_owned(), detail: error.to_string() }
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
    write_whole(path, |sink| write_to(ManifestWriter::new(sink, path, writer)?, arrays, steps, source), io)
}

fn write_to(
    mut table: ManifestWriter<&mut WholeFile>,
    arrays: &[NamedManifest<'_>],
    steps: &[Step],
    source: &SourceUrl,
) -> Result<u64, ManifestError> {
    let prefix = source.prefix();
    for array in arrays {
        for (index, step) in steps.iter().enumerate() {
            let Some(raster) = array.manifest.at(index).and_then(Placement::file) else { continue };
            let time = u32::try_from(index).unwrap_or(u32::MAX);
            let references = raster.chunks().filter_map(|(row, column, chunk)| match chunk {
                Chunk::Range(range) => {
                    Some((indices(array.has_components, time, row, column), range.offset(), range.length()))
                }
                Chunk::Missing => None,
            });
            let referenced = Referenced {
                array: array.path,
                product: step.id.to_string(),
                time_ms: step.time_ms,
                // The raster's path is already encoded, as references want it.
                location: format!("{prefix}{}", raster.path),
                etag: raster.etag.as_deref(),
                last_modified: raster.last_modified.map(|time| time.timestamp_millis()),
            };
            table.push(&referenced, references)?;
        }
    }
    table.finish()
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
