//! The three zarr-conventions used: `proj`, `spatial` and `multiscales`, at their tag v0.1.

use s2ice_manifest::geometry::{NODES, SPACING_M};
use s2ice_manifest::grid::TileGeocoding;
use serde_json::{Map, Value, json};

use super::crs;
use super::pixels::Pixels;

/// A convention as its schema asks it to be declared, word for word.
fn convention(name: &str) -> Value {
    let (uuid, description) = match name {
        "proj" => {
            ("f17cb550-5864-4468-aeb7-f3180cfb622f", "Coordinate reference system information for geospatial data")
        }
        "spatial" => ("689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinate information"),
        _ => ("d35379db-88df-4056-af3a-620245f8e347", "Multiscale layout of zarr datasets"),
    };
    json!({
        "uuid": uuid,
        "name": name,
        "schema_url": format!("https://raw.githubusercontent.com/zarr-conventions/{name}/refs/tags/v0.1/schema.json"),
        "spec_url": format!("https://github.com/zarr-conventions/{name}/blob/v0.1/README.md"),
        "description": description,
    })
}

fn base(geocoding: TileGeocoding, conventions: &[&str]) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("zarr_conventions".into(), conventions.iter().map(|name| convention(name)).collect());
    map.insert("proj:code".into(), crs::code(geocoding).into());
    map.insert("spatial:dimensions".into(), json!(["y", "x"]));
    map
}

/// Attributes of the root group.
pub fn root(geocoding: TileGeocoding) -> Map<String, Value> {
    let mut map = base(geocoding, &["proj", "spatial"]);
    map.insert("spatial:bbox".into(), json!(crs::bbox(geocoding)));
    map
}

/// Attributes of a leaf group, whose arrays share one resolution. The arrays themselves say nothing of their grid: what a
/// reader cuts out of one would go on saying it.
pub fn leaf(geocoding: TileGeocoding, pixels: Pixels) -> Map<String, Value> {
    let mut map = root(geocoding);
    map.insert("spatial:bbox".into(), json!(pixels.bbox()));
    map.insert("spatial:shape".into(), json!([pixels.count(), pixels.count()]));
    map.insert("spatial:transform".into(), json!(pixels.transform()));
    map.insert("spatial:registration".into(), "pixel".into());
    map
}

/// Attributes of the group of angles, on the grid of nodes.
pub fn angles(geocoding: TileGeocoding) -> Map<String, Value> {
    let mut map = base(geocoding, &["proj", "spatial"]);
    let spacing = i64::from(SPACING_M);
    map.insert("spatial:shape".into(), json!([NODES, NODES]));
    map.insert("spatial:transform".into(), json!([spacing, 0, geocoding.ulx, 0, -spacing, geocoding.uly]));
    map.insert("spatial:registration".into(), "node".into());
    map
}

/// Attributes of a group whose children are the same quantities at several resolutions. Which level of the product was made
/// from which, and how, differs between the arrays of a group and is the ground segment's to say, so no `derived_from` and no
/// `resampling_method`: `scale` is that to the finest level. Of an overview both are known.
pub fn pyramid(geocoding: TileGeocoding, levels: &[Pixels]) -> Map<String, Value> {
    let mut map = base(geocoding, &["proj", "spatial", "multiscales"]);
    map.insert("spatial:bbox".into(), json!(crs::bbox(geocoding)));
    let finest = levels.iter().map(Pixels::metres).min().unwrap_or(1);
    let layout: Vec<Value> = levels.iter().map(|level| level.level(finest)).collect();
    map.insert("multiscales".into(), json!({ "layout": layout }));
    map
}
