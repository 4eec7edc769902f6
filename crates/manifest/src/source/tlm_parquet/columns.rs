//! Typed access to the columns of a batch.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{TimestampMillisecondType, UInt16Type, UInt32Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use chrono::{DateTime, Utc};

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

/// True where a column of type `found` holds what `kind` means, in whatever representation.
fn accepts(kind: ColumnKind, found: &DataType) -> bool {
    if let DataType::Dictionary(_, value) = found {
        return accepts(kind, value);
    }
    match kind {
        ColumnKind::Utf8 => matches!(found, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View),
        ColumnKind::Binary => matches!(found, DataType::Binary | DataType::LargeBinary | DataType::BinaryView),
        ColumnKind::UInt16 => found.is_integer(),
        ColumnKind::TimestampMs => matches!(found, DataType::Timestamp(..)),
        ColumnKind::ListUInt32 => match found {
            DataType::List(item) | DataType::LargeList(item) => item.data_type().is_integer(),
            _ => false,
        },
    }
}

/// The columns of ours that a file has, after checking that the public ones are there and all have usable types.
pub(super) fn check_schema(file: &str, schema: &arrow_schema::Schema) -> Result<Vec<&'static Column>, IndexError> {
    let mut present = Vec::new();
    let mut missing = Vec::new();
    for column in COLUMNS {
        match schema.field_with_name(column.name) {
            Ok(field) if accepts(column.kind, field.data_type()) => present.push(column),
            // A column of ours in another type is somebody else's column of that name.
            Ok(_) if !column.public => {}
            Ok(field) => {
                return Err(IndexError::ColumnType {
                    file: file.to_owned(),
                    column: column.name,
                    found: field.data_type().to_string(),
                    expected: column.kind.arrow_name(),
                });
            }
            Err(_) if column.public => missing.push(column.name),
            Err(_) => {}
        }
    }
    if missing.is_empty() {
        return Ok(present);
    }
    let found: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).take(30).collect();
    Err(IndexError::MissingColumns { file: file.to_owned(), missing: missing.join(", "), found: found.join(", ") })
}

/// The columns of one batch, each brought to the type it is written as.
pub(super) struct Columns {
    arrays: Vec<(&'static str, ArrayRef)>,
}

impl Columns {
    pub(super) fn new(batch: &RecordBatch, columns: &[&'static Column]) -> Result<Self, arrow_schema::ArrowError> {
        let mut arrays = Vec::with_capacity(columns.len());
        for column in columns {
            if let Some(array) = batch.column_by_name(column.name) {
                arrays.push((column.name, arrow_cast::cast(array, &data_type(column.kind))?));
            }
        }
        Ok(Self { arrays })
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
