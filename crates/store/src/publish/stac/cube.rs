//! Dimensions and variables of a group, in the words of the datacube and projection extensions, read from its documents.

use serde_json::{Map, Value, json};

use crate::layout::geometry::{ANGLE_LABELS, band_labels};
use crate::report::rfc3339_ms;
use crate::state::TreeState;

/// A group of arrays.
pub(super) struct Group<'a> {
    /// Path in the store, without slashes at its ends.
    pub(super) path: &'a str,
    /// `zarr.json` of the group.
    pub(super) document: Option<&'a Value>,
    /// `zarr.json` of each array, by name.
    pub(super) arrays: Vec<(&'a str, &'a Value)>,
}

/// Where the pixels of a group lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Grid {
    /// Affine transform `[a, b, c, d, e, f]` from pixel corners to metres.
    transform: [f64; 6],
    rows: u64,
    columns: u64,
}

impl Grid {
    /// Edge of a pixel, metres.
    pub(super) fn resolution(&self) -> Value {
        number(self.transform[0].abs())
    }

    /// The projection extension's fields but for the code.
    pub(super) fn describe(&self, into: &mut Map<String, Value>) {
        let [a, _, c, _, e, f] = self.transform;
        let (right, bottom) = (c + a * self.columns as f64, f + e * self.rows as f64);
        into.insert("proj:shape".into(), json!([self.rows, self.columns]));
        into.insert("proj:transform".into(), self.transform.into_iter().map(number).collect());
        into.insert("proj:bbox".into(), [c, bottom, right, f].into_iter().map(number).collect());
    }

    /// A spatial dimension: its extent is that of the pixel centres, which are its coordinates.
    fn dimension(&self, axis: &str, epsg: u32) -> Value {
        let [a, _, c, _, e, f] = self.transform;
        let (origin, step, length) = if axis == "x" { (c, a, self.columns) } else { (f, e, self.rows) };
        let centre = |index: f64| origin + step * (index + 0.5);
        let ends = [centre(0.0), centre(length as f64 - 1.0)];
        json!({
            "type": "spatial",
            "axis": axis,
            "extent": [number(ends[0].min(ends[1])), number(ends[0].max(ends[1]))],
            "step": number(step),
            "unit": "m",
            "reference_system": epsg,
        })
    }
}

impl Group<'_> {
    fn array(&self, name: &str) -> Option<&Value> {
        self.arrays.iter().find(|(own, _)| *own == name).map(|(_, document)| *document)
    }

    /// Its grid, where it has one.
    pub(super) fn grid(&self) -> Option<Grid> {
        let document = self.document?;
        let numbers = attribute(document, "spatial:transform")?.as_array()?.iter().map(Value::as_f64);
        let [a, b, mut c, d, e, mut f] = numbers.collect::<Option<Vec<f64>>>()?.try_into().ok()?;
        if attribute(document, "spatial:registration").and_then(Value::as_str) == Some("node") {
            (c, f) = (c - a / 2.0, f - e / 2.0);
        }
        let length = |name: &str| self.array(name)?.pointer("/shape/0")?.as_u64();
        Some(Grid { transform: [a, b, c, d, e, f], rows: length("y")?, columns: length("x")? })
    }

    /// `cube:dimensions`.
    pub(super) fn dimensions(&self, tree: &TreeState, epsg: u32) -> Map<String, Value> {
        let mut out = Map::new();
        let grid = self.grid();
        for (_, document) in &self.arrays {
            for (name, length) in names(document).zip(lengths(document)) {
                if !out.contains_key(name) {
                    out.insert(name.to_owned(), self.dimension(name, length, grid, tree, epsg));
                }
            }
        }
        out
    }

    fn dimension(&self, name: &str, length: u64, grid: Option<Grid>, tree: &TreeState, epsg: u32) -> Value {
        let is_labelled = || self.array(name).and_then(|d| d.get("data_type")?.as_str()) == Some("string");
        match (name, grid) {
            ("time", _) => time(tree),
            ("x" | "y", Some(grid)) => grid.dimension(name, epsg),
            ("angle", _) => json!({ "type": "angle", "values": ANGLE_LABELS }),
            ("band", _) if is_labelled() => json!({ "type": "bands", "values": band_labels() }),
            ("band", _) => json!({ "type": "bands", "values": (1..=length).collect::<Vec<_>>() }),
            _ => json!({ "type": name, "values": (1..=length).collect::<Vec<_>>() }),
        }
    }

    /// `cube:variables`: all arrays but the coordinates of dimensions and the grid mapping.
    pub(super) fn variables(&self) -> Map<String, Value> {
        // What CF calls auxiliary coordinates.
        let listed = self.arrays.iter().filter_map(|(_, document)| attribute(document, "coordinates")?.as_str());
        let auxiliary: Vec<&str> = listed.flat_map(str::split_whitespace).collect();
        let mut out = Map::new();
        for (name, document) in &self.arrays {
            let dimensions: Vec<&str> = names(document).collect();
            if dimensions.is_empty() || dimensions == [*name] {
                continue;
            }
            let mut variable = Map::new();
            variable.insert("dimensions".into(), json!(dimensions));
            variable.insert("type".into(), if auxiliary.contains(name) { "auxiliary" } else { "data" }.into());
            for (key, attribute_name) in [("description", "long_name"), ("unit", "units"), ("nodata", "_FillValue")] {
                variable.extend(attribute(document, attribute_name).map(|value| (key.to_owned(), value.clone())));
            }
            variable.insert("data_type".into(), data_type(document));
            out.insert((*name).to_owned(), variable.into());
        }
        out
    }
}

/// The time axis of a tree.
pub(super) fn time(tree: &TreeState) -> Value {
    let end = |step: Option<&s2ice_manifest::assemble::Step>| step.map(|step| rfc3339_ms(step.time_ms));
    json!({
        "type": "temporal",
        "extent": [end(tree.steps.first()), end(tree.steps.last())],
        "step": null,
    })
}

/// An attribute of an array.
pub(super) fn attribute<'a>(document: &'a Value, name: &str) -> Option<&'a Value> {
    document.get("attributes")?.get(name)
}

/// Data type of an array, as STAC calls it.
pub(super) fn data_type(document: &Value) -> Value {
    let name = document.get("data_type").and_then(Value::as_str).unwrap_or("other");
    if name == "string" { "other".into() } else { name.into() }
}

fn names(document: &Value) -> impl Iterator<Item = &str> {
    let names = document.get("dimension_names").and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str)
}

fn lengths(document: &Value) -> impl Iterator<Item = u64> {
    let shape = document.get("shape").and_then(Value::as_array);
    shape.into_iter().flatten().filter_map(Value::as_u64)
}

/// Whole numbers without a fraction.
#[allow(clippy::cast_possible_truncation)]
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { (value as i64).into() } else { json!(value) }
}
