//! stac-geoparquet: one item per row, its properties as top-level columns.
//!
//! Only the columns that [`StacItem`](crate::stac::StacItem) looks at are read, and of the assets only their href,
//! size and place. A row becomes the JSON of the item again, so that files and APIs are understood by the same code.

use std::fs::File;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{Array, RecordBatch, StructArray};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::ChunkReader;
use parquet::schema::types::ColumnPath;
use serde_json::{Map, Value};

use super::stac_error::StacLoadError;
use crate::stac::{PROPERTIES, StacLoader};

/// Columns of the item itself; all others are its properties.
pub(super) const ROOTS: [&str; 5] = ["type", "id", "collection", "links", "assets"];
/// What is looked at of an asset.
pub(super) const ASSET_FIELDS: [&str; 12] = [
    "href",
    "file:size",
    "proj:epsg",
    "proj:code",
    "proj:transform",
    "gsd",
    "eo:bands",
    "bands",
    "raster:bands",
    "raster:scale",
    "raster:offset",
    "raster:spatial_resolution",
];
const LINK_FIELDS: [&str; 2] = ["rel", "href"];
/// Rows held in memory at a time.
const BATCH_ROWS: usize = 512;
/// Deepest nesting of a value that is followed; an asset's transform lies four levels deep.
const DEEPEST: usize = 12;

/// True for the first bytes of a Parquet file.
pub(super) fn is_parquet(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PAR1")
}

/// Reads a stac-geoparquet file.
pub(super) fn read_file(file: File, place: &str, loader: &mut StacLoader<'_>) -> Result<(), StacLoadError> {
    read(file, place, loader)
}

/// Reads the bytes of a stac-geoparquet file.
pub(super) fn read_bytes(bytes: Vec<u8>, place: &str, loader: &mut StacLoader<'_>) -> Result<(), StacLoadError> {
    read(Bytes::from(bytes), place, loader)
}

fn read<R: ChunkReader + 'static>(input: R, place: &str, loader: &mut StacLoader<'_>) -> Result<(), StacLoadError> {
    let bad = |problem: String| StacLoadError::Parquet { place: place.to_owned(), problem };
    let builder = ParquetRecordBatchReaderBuilder::try_new(input).map_err(|error| bad(error.to_string()))?;
    let schema = builder.parquet_schema();
    if !["id", "assets"].iter().all(|name| schema.root_schema().get_fields().iter().any(|f| f.name() == *name)) {
        return Err(bad("it has no columns id and assets".to_owned()));
    }
    let mut row = 0;
    let each = |item: Value| {
        loader.push(&item, || format!("{place}, row {row}"));
        row += 1;
    };
    items(builder, each).map_err(|error| bad(error.to_string()))
}

/// Gives the rows that a builder selects as items, with what is looked at.
pub(super) fn items<R: ChunkReader + 'static>(
    builder: ParquetRecordBatchReaderBuilder<R>,
    mut each: impl FnMut(Value),
) -> Result<(), ArrowError> {
    let schema = builder.parquet_schema();
    let wanted = (0..schema.num_columns()).filter(|leaf| is_wanted(schema.column(*leaf).path()));
    let mask = ProjectionMask::leaves(schema, wanted.collect::<Vec<_>>());
    for batch in builder.with_projection(mask).with_batch_size(BATCH_ROWS).build()? {
        let batch = batch?;
        (0..batch.num_rows()).for_each(|row| each(item(&batch, row)));
    }
    Ok(())
}

/// Whether a leaf column belongs to what is read.
fn is_wanted(path: &ColumnPath) -> bool {
    let Some((root, inner)) = path.parts().split_first() else { return false };
    let one_of = |names: &[&str]| inner.is_empty() || inner.iter().any(|part| names.contains(&part.as_str()));
    match root.as_str() {
        "type" | "id" | "collection" => true,
        // In the map form of assets, the names are a column of their own.
        "assets" => one_of(&ASSET_FIELDS) || inner.last().is_some_and(|part| part == "key"),
        "links" => one_of(&LINK_FIELDS),
        "properties" => one_of(&PROPERTIES),
        other => PROPERTIES.contains(&other),
    }
}

fn item(batch: &RecordBatch, row: usize) -> Value {
    let mut item = Map::new();
    let mut properties = Map::new();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let value = value(column, row, DEEPEST);
        match (field.name().as_str(), value) {
            (_, Value::Null) => {}
            ("properties", Value::Object(inner)) => properties.extend(inner),
            (name, value) if ROOTS.contains(&name) => {
                item.insert(name.to_owned(), value);
            }
            (name, value) => {
                properties.insert(name.to_owned(), value);
            }
        }
    }
    // Every row is an item; files written by some tools have no column for that.
    item.entry("type").or_insert_with(|| "Feature".into());
    item.insert("properties".to_owned(), Value::Object(properties));
    Value::Object(item)
}

/// One value of a column as JSON; null for types that no field of an item has.
fn value(array: &dyn Array, row: usize, depth: usize) -> Value {
    if array.is_null(row) || depth == 0 {
        return Value::Null;
    }
    let list = |items: &dyn Array| (0..items.len()).map(|i| value(items, i, depth - 1)).collect();
    match array.data_type() {
        DataType::Utf8 => text(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => text(array.as_string::<i64>().value(row)),
        DataType::Utf8View => text(array.as_string_view().value(row)),
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float32 => f64::from(array.as_primitive::<Float32Type>().value(row)).into(),
        DataType::Float64 => number(array.as_primitive::<Float64Type>().value(row)),
        DataType::Timestamp(unit, _) => timestamp(array, row, *unit),
        DataType::List(_) => list(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row)),
        DataType::Struct(_) => Value::Object(members(array.as_struct(), row, depth)),
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let key = |i| value(entries.column(0), i, depth - 1).as_str().map(str::to_owned);
            Value::Object(
                (0..entries.len()).filter_map(|i| Some((key(i)?, value(entries.column(1), i, depth - 1)))).collect(),
            )
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            match dictionary.normalized_keys().get(row) {
                Some(key) if *key < dictionary.values().len() => value(dictionary.values(), *key, depth - 1),
                _ => Value::Null,
            }
        }
        _ => Value::Null,
    }
}

/// A number. Where some rows have whole numbers and others not, the column has no whole ones.
#[allow(clippy::cast_possible_truncation)]
fn number(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT { (value as i64).into() } else { value.into() }
}

/// Text; where a whole object is kept as JSON text, that object.
fn text(text: &str) -> Value {
    if text.starts_with('{')
        && let Ok(object) = serde_json::from_str(text)
    {
        return object;
    }
    text.into()
}

/// The members of a struct that are not null: an asset that an item lacks is a null there.
fn members(array: &StructArray, row: usize, depth: usize) -> Map<String, Value> {
    let named = array.fields().iter().zip(array.columns());
    let values = named.map(|(field, column)| (field.name().clone(), value(column, row, depth - 1)));
    values.filter(|(_, value)| !value.is_null()).collect()
}

fn timestamp(array: &dyn Array, row: usize, unit: TimeUnit) -> Value {
    let time = match unit {
        TimeUnit::Second => DateTime::from_timestamp(array.as_primitive::<TimestampSecondType>().value(row), 0),
        TimeUnit::Millisecond => {
            DateTime::from_timestamp_millis(array.as_primitive::<TimestampMillisecondType>().value(row))
        }
        TimeUnit::Microsecond => {
            DateTime::from_timestamp_micros(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        TimeUnit::Nanosecond => {
            Some(DateTime::from_timestamp_nanos(array.as_primitive::<TimestampNanosecondType>().value(row)))
        }
    };
    time.map_or(Value::Null, |time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true).into())
}
