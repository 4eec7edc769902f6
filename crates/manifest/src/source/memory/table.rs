//! The memory as a Parquet table.
//!
//! A row has the kind of entry, its key, the product, the entry as JSON, and the bytes of a chunk of angles. The footer holds
//! the SHA-256 of the file with zeros in the digest's place: what was damaged is refused before anything of it is decoded.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{Array as _, BinaryArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use sha2::{Digest as _, Sha256};

/// Key of the version entry in the Parquet metadata.
const VERSION_KEY: &str = "s2ice:memory";

/// Stands before the digest.
const MARK: &[u8] = b"s2ice-memory-1-sha256:";

/// Hexadecimal digits of the digest.
const DIGITS: usize = 64;

/// Rows encoded or decoded at a time.
const ROWS: usize = 1024;

/// A row of the table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) kind: String,
    pub(super) key: String,
    pub(super) product: String,
    pub(super) value: String,
    pub(super) bytes: Option<Arc<[u8]>>,
}

fn schema() -> Arc<Schema> {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let bytes = Field::new("bytes", DataType::Binary, true);
    Arc::new(Schema::new(vec![text("kind"), text("key"), text("product"), text("value"), bytes]))
}

/// Encodes rows.
pub(super) fn encode(rows: impl Iterator<Item = Row>) -> Result<Vec<u8>, ParquetError> {
    let mut rows = rows.peekable();
    let mark = String::from_utf8_lossy(MARK).into_owned() + &"0".repeat(DIGITS);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_created_by(concat!("s2ice ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(vec![KeyValue::new(VERSION_KEY.to_owned(), mark)]))
        .set_max_row_group_row_count(Some(16_384))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema(), Some(properties))?;
    while rows.peek().is_some() {
        let mut texts: [StringBuilder; 4] = std::array::from_fn(|_| StringBuilder::new());
        let mut bytes = BinaryBuilder::new();
        for row in rows.by_ref().take(ROWS) {
            for (builder, text) in texts.iter_mut().zip([row.kind, row.key, row.product, row.value]) {
                builder.append_value(text);
            }
            bytes.append_option(row.bytes);
        }
        let [kind, key, product, value] = texts.map(|mut builder| Arc::new(builder.finish()));
        writer.write(&RecordBatch::try_new(schema(), vec![kind, key, product, value, Arc::new(bytes.finish())])?)?;
    }
    let mut file = writer.into_inner()?;
    let Some(at) = digest_at(&file) else {
        return Err(ParquetError::General("its footer has no place for the digest".to_owned()));
    };
    let digest = digest(&file, at);
    if let Some(place) = file.get_mut(at..at + DIGITS) {
        place.copy_from_slice(digest.as_bytes());
    }
    Ok(file)
}

/// Decodes rows, or says in a clause why it is no table of ours.
pub(super) fn decode(file: Bytes) -> Result<Vec<Row>, String> {
    let at = digest_at(&file).ok_or("it is no memory of this version of s2ice")?;
    if file.get(at..at + DIGITS) != Some(digest(&file, at).as_bytes()) {
        return Err("it is damaged".to_owned());
    }
    let unreadable = |e: &dyn std::fmt::Display| format!("it cannot be read as Parquet: {e}");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| unreadable(&e))?;
    let mut out = Vec::new();
    for batch in builder.with_batch_size(ROWS).build().map_err(|e| unreadable(&e))? {
        rows(&batch.map_err(|e| unreadable(&e))?, &mut out).ok_or("it has other columns")?;
    }
    Ok(out)
}

fn rows(batch: &RecordBatch, out: &mut Vec<Row>) -> Option<()> {
    let text = |name| batch.column_by_name(name)?.as_any().downcast_ref::<StringArray>();
    let (kinds, keys, products, values) = (text("kind")?, text("key")?, text("product")?, text("value")?);
    let bytes = batch.column_by_name("bytes")?.as_any().downcast_ref::<BinaryArray>()?;
    let text = |column: &StringArray, row| column.value(row).to_owned();
    out.extend((0..batch.num_rows()).map(|row| Row {
        kind: text(kinds, row),
        key: text(keys, row),
        product: text(products, row),
        value: text(values, row),
        bytes: bytes.is_valid(row).then(|| Arc::from(bytes.value(row))),
    }));
    Some(())
}

/// Where the digest stands: behind the last mark.
fn digest_at(file: &[u8]) -> Option<usize> {
    let at = file.windows(MARK.len()).rposition(|window| window == MARK)?.checked_add(MARK.len())?;
    (at.checked_add(DIGITS)? <= file.len()).then_some(at)
}

fn digest(file: &[u8], at: usize) -> String {
    let (before, rest) = file.split_at(at.min(file.len()));
    let behind = rest.get(DIGITS..).unwrap_or_default();
    let hash = Sha256::new().chain_update(before).chain_update([b'0'; DIGITS]).chain_update(behind).finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
