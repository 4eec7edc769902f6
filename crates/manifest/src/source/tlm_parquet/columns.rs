//! Finding our columns in a file of whatever writer, and typed access to the columns of a batch.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{TimestampMillisecondType, UInt16Type, UInt32Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Schema, TimeUnit};
use chrono::{DateTime, Utc};
use parquet::basic::Compression;
use parquet::file::metadata::ParquetMetaData;

use crate::index_columns::{COLUMNS, Column, ColumnKind};

use super::IndexError;

/// The Arrow type a column is written as, and brought to when read.
pub(crate) fn data_type(kind: ColumnKind) -> DataType {
    match kind {
        ColumnKind::Utf8 => DataType::Utf8,
        ColumnKind::Binary => DataType::Binary,
        ColumnKind::UInt16 => DataType::UInt16,
        ColumnKind::TimestampMs => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        ColumnKind::ListUInt32 => DataType::new_list(DataType::UInt32, true),
    }
}

/// True where a column of type `found` holds what `kind` means. These are types of the Parquet schema: what a writer had
/// in memory (views, dictionaries, large offsets) is not looked at.
fn accepts(kind: ColumnKind, found: &DataType) -> bool {
    match kind {
        // Some writers leave out the annotation of text, or call it an enumeration.
        ColumnKind::Utf8 => matches!(found, DataType::Utf8 | DataType::Binary | DataType::FixedSizeBinary(_)),
        ColumnKind::Binary => matches!(found, DataType::Binary | DataType::FixedSizeBinary(_)),
        ColumnKind::UInt16 => found.is_integer(),
        ColumnKind::TimestampMs => matches!(found, DataType::Timestamp(..)),
        ColumnKind::ListUInt32 => matches!(found, DataType::List(item) if item.data_type().is_integer()),
    }
}

/// One of our columns in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) column: &'static Column,
    /// Its place among the columns of the file.
    pub(super) place: usize,
}

/// The columns of ours that a file has, in the file's order, after checking that the public ones are there and all have
/// usable types. Where no column has the very name, one that differs in its case is taken.
pub(super) fn find(file: &str, schema: &Schema) -> Result<Vec<Found>, IndexError> {
    let named = |same: &dyn Fn(&str) -> bool| -> Vec<usize> {
        schema.fields().iter().enumerate().filter(|(_, field)| same(field.name())).map(|(place, _)| place).collect()
    };
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for column in COLUMNS {
        let mut places = named(&|name| name == column.name);
        if places.is_empty() {
            places = named(&|name| name.eq_ignore_ascii_case(column.name));
        }
        let kind = |place: usize| schema.field(place).data_type();
        match places[..] {
            [place] if accepts(column.kind, kind(place)) => found.push(Found { column, place }),
            // A column of ours in another type is somebody else's column of that name.
            _ if !column.public => {}
            [] => missing.push(column.name),
            [place] => {
                return Err(IndexError::ColumnType {
                    file: file.to_owned(),
                    column: column.name,
                    found: kind(place).to_string(),
                    expected: column.kind.arrow_name(),
                });
            }
            _ => return Err(IndexError::ColumnTwice { file: file.to_owned(), column: column.name }),
        }
    }
    if missing.is_empty() {
        found.sort_by_key(|found| found.place);
        return Ok(found);
    }
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).take(30).collect();
    Err(IndexError::MissingColumns { file: file.to_owned(), missing: missing.join(", "), found: names.join(", ") })
}

/// Refuses compressions that are not built in, before the first page fails with less of a reason.
pub(super) fn check_compression(file: &str, metadata: &ParquetMetaData, wanted: &[Found]) -> Result<(), IndexError> {
    let schema = metadata.file_metadata().schema_descr();
    let is_wanted = |leaf: usize| wanted.iter().any(|found| found.place == schema.get_column_root_idx(leaf));
    for group in metadata.row_groups() {
        for (leaf, chunk) in group.columns().iter().enumerate().filter(|(leaf, _)| is_wanted(*leaf)) {
            let codec = match chunk.compression() {
                Compression::BROTLI(_) => "Brotli",
                Compression::LZO => "LZO",
                Compression::UNCOMPRESSED
                | Compression::SNAPPY
                | Compression::GZIP(_)
                | Compression::LZ4
                | Compression::LZ4_RAW
                | Compression::ZSTD(_) => continue,
            };
            let column = schema.get_column_root(leaf).name().to_owned();
            return Err(IndexError::Compression { file: file.to_owned(), column, codec: codec.to_owned() });
        }
    }
    Ok(())
}

/// The columns of one batch, each brought to the type it is written as.
pub(super) struct Columns {
    arrays: Vec<(&'static str, ArrayRef)>,
}

impl Columns {
    /// `found` are the columns that were asked for, in the file's order.
    pub(super) fn new(batch: &RecordBatch, found: &[Found]) -> Result<Self, ArrowError> {
        let arrays = found.iter().zip(batch.columns()).map(|(found, array)| {
            let kind = found.column.kind;
            let mut array = std::sync::Arc::clone(array);
            if kind == ColumnKind::Utf8 && matches!(array.data_type(), DataType::FixedSizeBinary(_)) {
                array = arrow_cast::cast(&array, &DataType::Binary)?;
            }
            // What is no text, or no such number, becomes null.
            Ok((found.column.name, arrow_cast::cast(&array, &data_type(kind))?))
        });
        Ok(Self { arrays: arrays.collect::<Result<_, ArrowError>>()? })
    }

    fn valid(&self, name: &str, row: usize) -> Option<&ArrayRef> {
        let (_, array) = self.arrays.iter().find(|(n, _)| *n == name)?;
        array.is_valid(row).then_some(array)
    }

    pub(super) fn text(&self, name: &str, row: usize) -> Option<&str> {
        Some(self.valid(name, row)?.as_string_opt::<i32>()?.value(row))
    }

    pub(super) fn binary(&self, name: &str, row: usize) -> Option<&[u8]> {
        Some(self.valid(name, row)?.as_binary_opt::<i32>()?.value(row))
    }

    pub(super) fn u16(&self, name: &str, row: usize) -> Option<u16> {
        Some(self.valid(name, row)?.as_primitive_opt::<UInt16Type>()?.value(row))
    }

    pub(super) fn time(&self, name: &str, row: usize) -> Option<DateTime<Utc>> {
        let millis = self.valid(name, row)?.as_primitive_opt::<TimestampMillisecondType>()?.value(row);
        DateTime::from_timestamp_millis(millis)
    }

    pub(super) fn list(&self, name: &str, row: usize) -> Option<Vec<Option<u32>>> {
        let items = self.valid(name, row)?.as_list_opt::<i32>()?.value(row);
        Some(items.as_primitive_opt::<UInt32Type>()?.iter().collect())
    }
}
