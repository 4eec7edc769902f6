//! Items as they come, put down on disk with what is looked at.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::MgrsTile;
use crate::source::stac_error::StacLoadError;
use crate::source::stac_pages::Sink;
use crate::source::stac_parquet::{ASSET_FIELDS, ROOTS};
use crate::stac::{PROPERTIES, StacItem, tile_of};

pub(super) fn unwritten(path: &Path, source: std::io::Error) -> StacLoadError {
    StacLoadError::Unwritten { path: path.display().to_string(), source }
}

/// Items on disk, and where each of them is.
pub(super) struct Spool {
    file: BufWriter<File>,
    end: u64,
    pub(super) places: Vec<Place>,
    /// When the last of them changed.
    pub(super) newest: Option<DateTime<Utc>>,
    /// Items of which nobody knows the tile.
    pub(super) unknown: usize,
    failure: Option<std::io::Error>,
}

/// Where the line of an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) tile: MgrsTile,
    pub(super) offset: u64,
    pub(super) length: usize,
}

/// One item: a row of a table, and what becomes columns of other kinds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) row: Map<String, Value>,
    pub(super) geometry: Value,
    pub(super) bbox: Value,
}

impl Spool {
    /// A spool in a file without a name.
    pub(super) fn new(folder: &Path) -> Result<Self, StacLoadError> {
        let file = tempfile::tempfile_in(folder).map_err(|error| unwritten(folder, error))?;
        let file = BufWriter::with_capacity(1 << 20, file);
        Ok(Self { file, end: 0, places: Vec::new(), newest: None, unknown: 0, failure: None })
    }

    fn put(&mut self, tile: MgrsTile, item: &Value) -> std::io::Result<()> {
        let part = |key| item.get(key).cloned().unwrap_or_default();
        let line = serde_json::to_vec(&Line { row: row(item), geometry: part("geometry"), bbox: part("bbox") })?;
        self.file.write_all(&line)?;
        self.places.push(Place { tile, offset: self.end, length: line.len() });
        self.end += line.len() as u64;
        Ok(())
    }

    /// The file and the places in it, by tile.
    pub(super) fn finish(mut self) -> std::io::Result<(File, Vec<Place>)> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        self.places.sort_unstable();
        Ok((self.file.into_inner().map_err(std::io::IntoInnerError::into_error)?, self.places))
    }
}

impl Sink for Spool {
    fn take(&mut self, item: &Value, _: &str) -> bool {
        let Some(tile) = tile_of(item) else {
            self.unknown += 1;
            return false;
        };
        if let Ok(item) = StacItem::from_json(item) {
            self.newest = self.newest.max(item.changed());
        }
        if self.failure.is_none() {
            self.failure = self.put(tile, item).err();
        }
        false
    }
}

/// What is looked at of an item, its properties beside the rest.
fn row(item: &Value) -> Map<String, Value> {
    let mut row = Map::new();
    let properties = item.get("properties").and_then(Value::as_object);
    for name in PROPERTIES {
        if let Some(value) = properties.and_then(|properties| properties.get(name)) {
            row.insert(name.to_owned(), value.clone());
        }
    }
    for name in ROOTS.into_iter().chain(["stac_version"]) {
        let value = match (name, item.get(name)) {
            (_, None) => continue,
            ("links", Some(links)) => own_link(links),
            ("assets", Some(assets)) => fields(assets),
            (_, Some(value)) => value.clone(),
        };
        row.insert(name.to_owned(), value);
    }
    row.retain(|_, value| is_something(value));
    row
}

fn own_link(links: &Value) -> Value {
    let own = |link: &&Value| link.get("rel").and_then(Value::as_str) == Some("self");
    let link = links.as_array().into_iter().flatten().find(own);
    let part = |link: &Value, name: &str| Some((name.to_owned(), link.get(name)?.clone()));
    let link = link.map(|link| ["rel", "href"].iter().filter_map(|name| part(link, name)).collect());
    Value::Array(link.map(Value::Object).into_iter().collect())
}

fn fields(assets: &Value) -> Value {
    let kept = |asset: &Value| {
        let asset = asset.as_object()?;
        let named = asset.iter().filter(|(name, _)| ASSET_FIELDS.contains(&name.as_str()));
        Some(Value::Object(named.map(|(name, value)| (name.clone(), value.clone())).collect()))
    };
    let assets = assets.as_object().into_iter().flatten();
    Value::Object(assets.filter_map(|(key, asset)| Some((key.clone(), kept(asset)?))).collect())
}

/// False for what says nothing; such parts of a value are taken out of it.
fn is_something(value: &mut Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(values) => {
            values.retain_mut(is_something);
            !values.is_empty()
        }
        Value::Object(members) => {
            members.retain(|_, value| is_something(value));
            !members.is_empty()
        }
        _ => true,
    }
}
