//! All stores in one table (stac-geoparquet, an item per store), and in a list for the map of the front page.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    Array, ArrayRef, BinaryArray, FixedSizeListArray, Float64Array, ListArray, RecordBatch, StringArray, StructArray,
    TimestampMillisecondArray, UInt64Array,
};
use arrow_schema::{ArrowError, Field, Fields, Schema};
use bytes::Bytes;
use chrono::DateTime;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use s2ice_manifest::grid::TileGeocoding;
use serde_json::{Value, json};

use super::files::TABLE;
use super::footprint::Footprint;
use super::row::Row;
use super::settings::Publishing;
use super::stac::{ICECHUNK, STAC_VERSION};
use crate::error::{Error, Result};
use crate::layout::crs;
use crate::runs::LastOutcome;

/// Rows that are written together: a reader of a region skips the others by their bounding boxes.
const ROW_GROUP: usize = 2048;

/// Version of GeoParquet.
const GEOPARQUET: &str = "1.1.0";

/// Version of stac-geoparquet. Its schema knows no other, although the text has 1.1.0 too; nothing of that is used.
const STAC_GEOPARQUET: &str = "1.0.0";

type Encoded<T> = std::result::Result<T, ArrowError>;

/// Whether a store is in step with its inputs, as its last run found.
pub(super) fn health(row: &Row) -> &'static str {
    match row.outcome {
        Some(LastOutcome::Updated | LastOutcome::Unchanged) => "ok",
        Some(LastOutcome::Stale) => "stale",
        Some(LastOutcome::Failed) => "failed",
        Some(LastOutcome::Interrupted | LastOutcome::Unknown) | None => "unknown",
    }
}

/// The list for the map: name, west, south, east, north in degrees, newest date, products, health.
///
/// # Errors
/// [`Error::Input`] where a tile has no place.
pub(super) fn map(rows: &[Row]) -> Result<Bytes> {
    let line = |row: &Row| -> Result<Value> {
        let [west, south, east, north] = row.footprint()?.bbox().map(|degrees| (degrees * 1e4).round() / 1e4);
        let newest = row.newest_ms.and_then(DateTime::from_timestamp_millis);
        let newest = newest.map(|time| time.format("%Y-%m-%d").to_string());
        Ok(json!([row.id, west, south, east, north, newest, row.products, health(row)]))
    };
    let lines: Vec<Value> = rows.iter().map(line).collect::<Result<_>>()?;
    let text = serde_json::to_vec(&lines).map_err(|error| Error::Input(format!("the list of stores: {error}")))?;
    Ok(text.into())
}

/// The table, as a Parquet file; rows stand as given.
///
/// # Errors
/// [`Error::Input`] where a tile has no place or encoding fails.
pub(super) fn parquet(rows: &[Row], settings: &Publishing) -> Result<Bytes> {
    let footprints: Vec<Footprint> = rows.iter().map(Row::footprint).collect::<Result<_>>()?;
    encoded(rows, &footprints, settings).map_err(|error| Error::Input(format!("{TABLE} cannot be written: {error}")))
}

fn encoded(rows: &[Row], footprints: &[Footprint], settings: &Publishing) -> Encoded<Bytes> {
    let columns = columns(rows, footprints, settings)?;
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), NULLABLE.contains(name)))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns.into_iter().map(|(_, array)| array).collect())?;
    let metadata = [("geo", geo(footprints)), ("stac-geoparquet", json!({ "version": STAC_GEOPARQUET }))];
    let metadata = metadata.map(|(key, value)| KeyValue::new(key.to_owned(), value.to_string()));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_key_value_metadata(Some(metadata.to_vec()))
        .build();
    // With Arrow's own schema in the file, readers of that take none of the other metadata.
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema, options)?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?.into())
}

/// Columns that may be null in some table, so that the schema does not depend on the rows.
const NULLABLE: [&str; 6] =
    ["datetime", "start_datetime", "end_datetime", "updated", "s2ice:newest", "s2ice:last_success"];

/// An array, whatever is in it.
fn any(array: impl Array + 'static) -> ArrayRef {
    Arc::new(array)
}

fn columns(rows: &[Row], footprints: &[Footprint], settings: &Publishing) -> Encoded<Vec<(&'static str, ArrayRef)>> {
    let text = |of: &dyn Fn(&Row) -> String| -> ArrayRef { any(StringArray::from_iter_values(rows.iter().map(of))) };
    let count = |of: &dyn Fn(&Row) -> u64| -> ArrayRef { any(UInt64Array::from_iter_values(rows.iter().map(of))) };
    let time = |of: &dyn Fn(&Row) -> Option<i64>| -> ArrayRef {
        any(TimestampMillisecondArray::from_iter(rows.iter().map(of)).with_timezone("UTC"))
    };
    let changed = |row: &Row| DateTime::parse_from_rfc3339(&row.changed).ok().map(|time| time.timestamp_millis());
    let geometry = BinaryArray::from_iter_values(footprints.iter().map(wkb));
    Ok(vec![
        ("id", text(&|row| row.id.clone())),
        ("stac_version", text(&|_| STAC_VERSION.to_owned())),
        ("stac_extensions", any(lists(rows.iter().map(|_| EXTENSIONS.map(str::to_owned).to_vec())))),
        ("geometry", any(geometry)),
        ("bbox", bbox(footprints)?),
        // An item of its own collection: a row tells of the whole store.
        ("collection", text(&|row| row.id.clone())),
        ("links", links(rows, settings)?),
        ("assets", assets(rows)?),
        // An item has a time or a range. What is empty has the time at which it was made.
        ("datetime", time(&|row| row.newest_ms.is_none().then(|| changed(row)).flatten())),
        ("start_datetime", time(&|row| row.first_ms)),
        ("end_datetime", time(&|row| row.newest_ms)),
        ("updated", time(&changed)),
        ("title", text(&|row| format!("Sentinel-2 {}, tile {}", row.level, row.tile))),
        ("constellation", text(&|_| "sentinel-2".to_owned())),
        ("grid:code", text(&|row| format!("MGRS-{}", row.tile))),
        ("processing:level", text(&|row| row.level.to_string())),
        ("proj:code", text(&|row| crs::code(TileGeocoding::of(row.tile)))),
        ("s2ice:newest", time(&|row| row.newest_ms)),
        ("s2ice:products", count(&|row| row.products)),
        ("s2ice:clear", count(&|row| row.clear)),
        ("s2ice:references", count(&|row| row.references)),
        ("s2ice:referenced_bytes", count(&|row| row.referenced_bytes)),
        ("s2ice:eras", any(lists(rows.iter().map(|row| row.eras.clone())))),
        ("s2ice:snapshot", text(&|row| row.snapshot.clone())),
        ("s2ice:health", text(&|row| health(row).to_owned())),
        ("s2ice:last_success", time(&|row| row.last_success.map(|time| time.timestamp_millis()))),
        ("s2ice:refused", count(&|row| row.refused)),
    ])
}

/// The extensions of the rows.
const EXTENSIONS: [&str; 3] = [
    "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
];

fn lists(rows: impl Iterator<Item = Vec<String>>) -> ListArray {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for row in rows {
        builder.append_value(row.into_iter().map(Some));
    }
    builder.finish()
}

fn structs(fields: Vec<(&str, ArrayRef)>) -> Encoded<StructArray> {
    let (names, arrays): (Vec<&str>, Vec<ArrayRef>) = fields.into_iter().unzip();
    let fields = names.iter().zip(&arrays).map(|(name, array)| Field::new(*name, array.data_type().clone(), false));
    StructArray::try_new(fields.collect::<Fields>(), arrays, None)
}

fn texts(values: impl Iterator<Item = String>) -> ArrayRef {
    any(StringArray::from_iter_values(values))
}

/// Bounding boxes by GeoParquet's names; `xmin` is greater than `xmax` across 180 degrees.
fn bbox(footprints: &[Footprint]) -> Encoded<ArrayRef> {
    let boxes: Vec<[f64; 4]> = footprints.iter().map(Footprint::bbox).collect();
    let side = |index: usize| any(Float64Array::from_iter_values(boxes.iter().map(|sides| sides[index])));
    Ok(any(structs(vec![("xmin", side(0)), ("ymin", side(1)), ("xmax", side(2)), ("ymax", side(3))])?))
}

/// One link per row, to its collection.
fn links(rows: &[Row], settings: &Publishing) -> Encoded<ArrayRef> {
    let links = structs(vec![
        ("href", texts(rows.iter().map(|row| collection(row, settings)))),
        ("rel", texts(rows.iter().map(|_| "collection".to_owned()))),
        ("type", texts(rows.iter().map(|_| "application/json".to_owned()))),
        ("title", texts(rows.iter().map(|_| "The store as a collection".to_owned()))),
    ])?;
    let item = Arc::new(Field::new("item", links.data_type().clone(), false));
    Ok(any(ListArray::from(FixedSizeListArray::try_new(item, 1, any(links), None)?)))
}

/// One asset per row, the store.
fn assets(rows: &[Row]) -> Encoded<ArrayRef> {
    let constant = |value: &str| texts(rows.iter().map(|_| value.to_owned()));
    let icechunk = structs(vec![
        ("href", texts(rows.iter().map(|row| row.store.url.clone()))),
        ("type", constant(ICECHUNK)),
        ("title", constant("Icechunk repository")),
        ("roles", any(lists(rows.iter().map(|_| vec!["data".to_owned(), "virtual".to_owned()])))),
    ])?;
    Ok(any(structs(vec![("icechunk", any(icechunk))])?))
}

fn collection(row: &Row, settings: &Publishing) -> String {
    format!("{}{}/collection.json", settings.base_url, row.id)
}

/// GeoParquet's metadata.
fn geo(footprints: &[Footprint]) -> Value {
    let mut types: Vec<&str> =
        footprints.iter().map(|f| if f.polygons().len() == 1 { "Polygon" } else { "MultiPolygon" }).collect();
    types.sort_unstable();
    types.dedup();
    let side = |name: &str| json!(["bbox", name]);
    json!({
        "version": GEOPARQUET,
        "primary_column": "geometry",
        "columns": { "geometry": {
            "encoding": "WKB",
            "geometry_types": types,
            "orientation": "counterclockwise",
            "edges": "planar",
            "covering": { "bbox": { "xmin": side("xmin"), "ymin": side("ymin"), "xmax": side("xmax"), "ymax": side("ymax") } },
        } },
    })
}

/// A footprint in well-known binary, little-endian: a polygon, or several.
fn wkb(footprint: &Footprint) -> Vec<u8> {
    const POLYGON: u32 = 3;
    const MULTIPOLYGON: u32 = 6;
    let polygons = footprint.polygons();
    let mut out = Vec::new();
    let head = |out: &mut Vec<u8>, kind: u32| {
        out.push(1);
        out.extend(kind.to_le_bytes());
    };
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    if polygons.len() > 1 {
        head(&mut out, MULTIPOLYGON);
        out.extend(length(polygons.len()));
    }
    for ring in polygons {
        head(&mut out, POLYGON);
        out.extend(length(1));
        out.extend(length(ring.len()));
        out.extend(ring.iter().flatten().flat_map(|degrees| degrees.to_le_bytes()));
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::publish::stac::testing::{row, settings};

    #[test]
    fn the_map_has_a_line_per_store() {
        let rows = [row("01WCP"), Row { newest_ms: None, outcome: Some(LastOutcome::Failed), ..row("33TVN") }];
        let map: Value = serde_json::from_slice(&map(&rows).unwrap()).unwrap();
        assert!(map[0][1].as_f64() > map[0][3].as_f64(), "across 180 degrees west is greater: {map}");
        assert_eq!(map[1], json!(["33TVN-L2A", 13.6629, 46.8582, 15.1305, 47.8537, null, 3, "failed"]));
    }

    #[test]
    fn well_known_binary_holds_every_ring() {
        let of = |tile: &str| wkb(&row(tile).footprint().unwrap());
        let plain = of("33TVN");
        assert_eq!(plain[..9], [1, 3, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(plain.len(), 13 + 33 * 16);
        let two = of("01WCP");
        assert_eq!(two[..9], [1, 6, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(two[9..14], [1, 3, 0, 0, 0]);
    }

    #[test]
    fn the_schema_does_not_depend_on_the_rows() {
        let read =
            |rows: &[Row]| ParquetRecordBatchReaderBuilder::try_new(parquet(rows, &settings()).unwrap()).unwrap();
        let none = read(&[]);
        let empty = read(&[Row { first_ms: None, newest_ms: None, ..row("33TVN") }]);
        let several = read(&[row("01WCP"), row("33TVN")]);
        assert_eq!(none.schema().fields(), several.schema().fields());
        assert_eq!(empty.schema().fields(), several.schema().fields());
        assert_eq!(several.metadata().file_metadata().num_rows(), 2);
    }

    #[test]
    fn the_same_rows_give_the_same_bytes() {
        let rows: Vec<Row> = (0..5000).map(|_| row("33TVN")).collect();
        let bytes = parquet(&rows, &settings()).unwrap();
        assert_eq!(bytes, parquet(&rows, &settings()).unwrap());
        let groups = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().metadata().num_row_groups();
        assert_eq!(groups, 3);
    }
}
