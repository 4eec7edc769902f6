//! The file: stac-geoparquet, an item per row, those of a tile together.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Float64Array, RecordBatch, StructArray};
use arrow_json::ReaderBuilder;
use arrow_json::reader::infer_json_schema_from_iterator;
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, PageIndexPolicy};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use serde_json::{Map, Value, json};

use super::Head;
use super::spool::{Line, Place, Spool};
use crate::source::stac_error::StacLoadError;
use crate::source::stac_parquet::items;

/// The metadata with what a file says of its rows.
const HEAD: &str = "s2ice:changes";

/// Rows read, turned and written at a time.
const BATCH: usize = 512;

/// Rows of a page: a tile has few of them, and pages are read whole.
const PAGE: usize = 128;

/// Columns of times.
const TIMES: [&str; 5] = ["datetime", "start_datetime", "updated", "created", "published"];

pub(super) fn unread(path: &Path, source: std::io::Error) -> StacLoadError {
    StacLoadError::File { path: path.display().to_string(), source }
}

pub(super) fn damaged(path: &Path, problem: &str) -> StacLoadError {
    StacLoadError::Parquet { place: path.display().to_string(), problem: problem.to_owned() }
}

/// Writes what was put down, sorted by tile, and says of it what there is.
pub(super) fn write<W: Write + Send>(spool: Spool, head: Head, output: W) -> std::io::Result<(W, Head)> {
    let (mut file, places) = spool.finish()?;
    let mut tiles: Vec<(_, usize)> = Vec::new();
    for place in &places {
        match tiles.last_mut() {
            Some((tile, count)) if *tile == place.tile => *count += 1,
            _ => tiles.push((place.tile, 1)),
        }
    }
    let head = Head { tiles, ..head };
    let output = encode(&mut file, &places, &head, output).map_err(std::io::Error::other)?;
    Ok((output, head))
}

fn encode<W: Write + Send>(file: &mut File, places: &[Place], head: &Head, output: W) -> Result<W, ArrowError> {
    let mut failure = None;
    let rows = places.iter().map_while(|place| match line(file, place) {
        Ok(line) => Some(Ok(Value::Object(line.row))),
        Err(error) => {
            failure = Some(error);
            None
        }
    });
    let schema = infer_json_schema_from_iterator(rows)?;
    if let Some(error) = failure {
        return Err(error.into());
    }
    let schema = with_times(&schema);
    let all = Arc::new(whole(&schema));
    let metadata = [
        (HEAD, serde_json::to_string(head).map_err(|error| ArrowError::ExternalError(Box::new(error)))?),
        ("geo", geo().to_string()),
        ("stac-geoparquet", json!({ "version": "1.0.0" }).to_string()),
    ];
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_data_page_row_count_limit(PAGE)
        .set_write_batch_size(PAGE)
        .set_max_row_group_row_count(Some(8 * BATCH))
        .set_key_value_metadata(Some(metadata.map(|(key, text)| KeyValue::new(key.to_owned(), text)).to_vec()))
        .build();
    // In the file times are UTC; Arrow's own schema would name the offset.
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(output, Arc::clone(&all), options)?;
    let mut decoder = ReaderBuilder::new(schema).with_batch_size(BATCH).build_decoder()?;
    for places in places.chunks(BATCH) {
        let lines = places.iter().map(|place| line(file, place)).collect::<std::io::Result<Vec<Line>>>()?;
        let rows: Vec<&Map<String, Value>> = lines.iter().map(|line| &line.row).collect();
        decoder.serialize(&rows)?;
        let Some(batch) = decoder.flush()? else { continue };
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(lines.iter().map(|line| wkb(&line.geometry)).collect::<BinaryArray>()));
        columns.push(boxes(&lines)?);
        writer.write(&RecordBatch::try_new(Arc::clone(&all), columns)?)?;
    }
    Ok(writer.into_inner()?)
}

fn line(file: &mut File, place: &Place) -> std::io::Result<Line> {
    file.seek(SeekFrom::Start(place.offset))?;
    let mut bytes = vec![0; place.length];
    file.read_exact(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Times are times, as the format wants it.
fn with_times(schema: &Schema) -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into()));
    let fields = schema.fields().iter().map(|field| {
        let is_time = TIMES.contains(&field.name().as_str()) && *field.data_type() == DataType::Utf8;
        if is_time { Arc::new(field.as_ref().clone().with_data_type(time.clone())) } else { Arc::clone(field) }
    });
    Arc::new(Schema::new(fields.collect::<Fields>()))
}

/// With the columns that are of no JSON.
fn whole(schema: &Schema) -> Schema {
    let more = [Field::new("geometry", DataType::Binary, true), Field::new("bbox", DataType::Struct(sides()), true)];
    Schema::new(schema.fields().iter().cloned().chain(more.map(Arc::new)).collect::<Fields>())
}

fn sides() -> Fields {
    ["xmin", "ymin", "xmax", "ymax"].map(|name| Field::new(name, DataType::Float64, true)).to_vec().into()
}

/// Bounding boxes by GeoParquet's names.
fn boxes(lines: &[Line]) -> Result<ArrayRef, ArrowError> {
    let side = |number: usize| -> ArrayRef {
        let of = |line: &Line| {
            let bounds = line.bbox.as_array()?;
            // With heights, or without.
            let at = if number < 2 { number } else { bounds.len() / 2 + number - 2 };
            bounds.get(at)?.as_f64().filter(|_| matches!(bounds.len(), 4 | 6))
        };
        Arc::new(lines.iter().map(of).collect::<Float64Array>())
    };
    Ok(Arc::new(StructArray::try_new(sides(), (0..4).map(side).collect(), None)?))
}

/// GeoParquet's metadata.
fn geo() -> Value {
    // Any: readers make all of a kind that is named several.
    let geometry = json!({ "encoding": "WKB", "geometry_types": [] });
    json!({ "version": "1.1.0", "primary_column": "geometry", "columns": { "geometry": geometry } })
}

/// A polygon or several in well-known binary, little-endian; `None` for what is neither.
fn wkb(geometry: &Value) -> Option<Vec<u8>> {
    const POLYGON: u32 = 3;
    const MULTIPOLYGON: u32 = 6;
    fn list<'a>(out: &mut Vec<u8>, value: &'a Value) -> Option<&'a Vec<Value>> {
        let values = value.as_array()?;
        out.extend(u32::try_from(values.len()).ok()?.to_le_bytes());
        Some(values)
    }
    fn head(out: &mut Vec<u8>, kind: u32) {
        out.push(1);
        out.extend(kind.to_le_bytes());
    }
    fn polygon(out: &mut Vec<u8>, rings: &Value) -> Option<()> {
        head(out, POLYGON);
        for ring in list(out, rings)? {
            for point in list(out, ring)? {
                for axis in 0..2 {
                    out.extend(point.get(axis)?.as_f64()?.to_le_bytes());
                }
            }
        }
        Some(())
    }
    let (kind, coordinates) = (geometry.get("type")?.as_str()?, geometry.get("coordinates")?);
    let mut out = Vec::new();
    match kind {
        "Polygon" => polygon(&mut out, coordinates)?,
        "MultiPolygon" => {
            head(&mut out, MULTIPOLYGON);
            for rings in list(&mut out, coordinates)? {
                polygon(&mut out, rings)?;
            }
        }
        _ => return None,
    }
    Some(out)
}

/// What a file says of its rows.
pub(super) fn head(path: &Path) -> Result<Head, StacLoadError> {
    let metadata = metadata(path)?;
    let pairs = metadata.metadata().file_metadata().key_value_metadata();
    let text = pairs.into_iter().flatten().find(|pair| pair.key == HEAD).and_then(|pair| pair.value.as_deref());
    let text = text.ok_or_else(|| damaged(path, "it was not kept by a search of s2ice for all tiles"))?;
    serde_json::from_str(text).map_err(|error| damaged(path, &format!("{HEAD}: {error}")))
}

/// Where everything is in a file.
pub(super) fn metadata(path: &Path) -> Result<ArrowReaderMetadata, StacLoadError> {
    let file = File::open(path).map_err(|error| unread(path, error))?;
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    ArrowReaderMetadata::load(&file, options).map_err(|error| damaged(path, &error.to_string()))
}

/// Gives some rows as items.
pub(super) fn rows(
    file: File,
    metadata: &ArrowReaderMetadata,
    rows: Range<usize>,
    each: impl FnMut(Value),
) -> Result<(), ArrowError> {
    let all = usize::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or(0);
    let selection = RowSelection::from_consecutive_ranges(std::iter::once(rows), all);
    items(
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone()).with_row_selection(selection),
        each,
    )
}
