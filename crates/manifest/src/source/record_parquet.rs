//! Records of a kerchunk reference set: some thousand chunks of an array in a Parquet file, as fsspec reads them.

use std::io::Write;
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

/// Bytes of chunks that are held in memory before they are written.
const BUFFERED: usize = 8 << 20;

/// What stands at a chunk.
#[derive(Debug, Clone, Copy)]
pub enum Record<'a> {
    /// Nothing: the reader sees the fill value.
    Missing,
    /// The bytes themselves.
    Inline(&'a [u8]),
    /// A run of bytes of a file.
    Reference {
        /// Address of the file.
        url: &'a str,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        length: u64,
    },
}

/// Writes the chunks of a record in their order.
pub struct RecordWriter<W: Write + Send> {
    parquet: ArrowWriter<W>,
    path: StringBuilder,
    offset: Int64Builder,
    size: Int64Builder,
    raw: BinaryBuilder,
    buffered: usize,
}

/// The columns that fsspec looks for.
fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("path", DataType::Utf8, true),
        Field::new("offset", DataType::Int64, false),
        Field::new("size", DataType::Int64, false),
        Field::new("raw", DataType::Binary, true),
    ]))
}

impl<W: Write + Send> RecordWriter<W> {
    /// Begins a record.
    ///
    /// # Errors
    /// That of the sink.
    pub fn new(sink: W) -> Result<Self, ParquetError> {
        let compression = Compression::ZSTD(ZstdLevel::default());
        let properties = WriterProperties::builder().set_compression(compression).build();
        // Readers shall take the columns for what Parquet says, whatever library they read it with.
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let parquet = ArrowWriter::try_new_with_options(sink, schema(), options)?;
        Ok(Self {
            parquet,
            path: StringBuilder::new(),
            offset: Int64Builder::new(),
            size: Int64Builder::new(),
            raw: BinaryBuilder::new(),
            buffered: 0,
        })
    }

    /// Adds the next chunk.
    ///
    /// # Errors
    /// That of the sink, or an offset that no reader could hold.
    pub fn push(&mut self, record: Record<'_>) -> Result<(), ParquetError> {
        let (url, offset, length, raw) = match record {
            Record::Missing => (None, 0, 0, None),
            Record::Inline(bytes) => (None, 0, 0, Some(bytes)),
            Record::Reference { url, offset, length } => (Some(url), offset, length, None),
        };
        let number = |n: u64| i64::try_from(n).map_err(|error| ParquetError::General(error.to_string()));
        let (offset, length) = (number(offset)?, number(length)?);
        self.path.append_option(url);
        self.offset.append_value(offset);
        self.size.append_value(length);
        self.raw.append_option(raw);
        self.buffered += 24 + url.map_or(0, str::len) + raw.map_or(0, <[u8]>::len);
        if self.buffered < BUFFERED {
            return Ok(());
        }
        self.write()?;
        self.parquet.flush()
    }

    fn write(&mut self) -> Result<(), ParquetError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.path.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.size.finish()),
            Arc::new(self.raw.finish()),
        ];
        self.buffered = 0;
        self.parquet.write(&RecordBatch::try_new(schema(), columns)?)
    }

    /// Ends the record; gives the sink back.
    ///
    /// # Errors
    /// That of the sink.
    pub fn finish(mut self) -> Result<W, ParquetError> {
        self.write()?;
        self.parquet.into_inner()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

    use super::*;

    #[test]
    fn records_come_back_in_their_order() {
        let large = vec![7; BUFFERED];
        let reference = Record::Reference { url: "s3://b/k", offset: 1 << 33, length: 5 };
        let beyond = Record::Reference { url: "s3://b/k", offset: u64::MAX, length: 1 };
        assert!(RecordWriter::new(Vec::new()).unwrap().push(beyond).is_err());
        let mut writer = RecordWriter::new(Vec::new()).unwrap();
        for record in [reference, Record::Missing, Record::Inline(&large), reference] {
            writer.push(record).unwrap();
        }
        let bytes = Bytes::from(writer.finish().unwrap());
        let mut found = Vec::new();
        for batch in ParquetRecordBatchReader::try_new(bytes, 3).unwrap() {
            let batch = batch.unwrap();
            let (path, raw) = (batch.column(0).as_string::<i32>(), batch.column(3).as_binary::<i32>());
            for row in 0..batch.num_rows() {
                let number = |column: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
                let path = path.is_valid(row).then(|| path.value(row).to_owned());
                found.push((path, number(1), number(2), raw.is_valid(row).then(|| raw.value(row).len())));
            }
        }
        let reference = (Some("s3://b/k".to_owned()), 1 << 33, 5, None);
        assert_eq!(found, [reference.clone(), (None, 0, 0, None), (None, 0, 0, Some(BUFFERED)), reference]);
    }
}
