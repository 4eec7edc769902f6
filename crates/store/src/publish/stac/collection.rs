//! A store as a STAC collection, in the way of the STAC best practices for Zarr: a time series of one place is a collection,
//! its assets are groups, its bands are arrays.

use s2ice_manifest::grid::TileGeocoding;
use serde_json::{Map, Value, json};

use super::{STAC_VERSION, link};
use crate::layout::crs;
use crate::publish::publication::Publishing;
use crate::publish::subject::Subject;
use crate::report::{InfoArray, rfc3339_ms};

/// Media type of a Zarr group.
const ZARR: &str = "application/vnd.zarr; version=3";

/// The collection of a store.
pub(crate) fn collection(subject: &Subject, settings: &Publishing) -> Value {
    let Subject { id, tile, level, geocoding, .. } = subject;
    let url = |path: &str| format!("{}{path}", settings.base_url);
    let title = format!("Sentinel-2 {level}, tile {tile}");
    let own = format!("{id}/collection.json");
    let zone = format!("zones/{:02}/catalog.json", tile.zone());
    let links = [
        link("root", &url("catalog.json"), "application/json", &settings.title),
        link("parent", &url(&zone), "application/json", &format!("UTM zone {:02}", tile.zone())),
        link("self", &url(&own), "application/json", &title),
        link("store", &subject.store.url, ZARR, "Icechunk store"),
    ];
    json!({
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "id": id,
        "title": title,
        "description": format!("All acquisitions of tile {tile} as one cube in {}, without a copy of any pixel.", crs::code(*geocoding)),
        "license": "other",
        "extent": {
            "spatial": { "bbox": [subject.footprint.bbox()] },
            "temporal": { "interval": [interval(subject)] },
        },
        "links": links,
        "assets": assets(subject, *geocoding),
    })
}

/// First and newest sensing time.
fn interval(subject: &Subject) -> [Option<String>; 2] {
    let times = || subject.state.trees.values().flat_map(|tree| &tree.steps).map(|step| step.time_ms);
    [times().min().map(rfc3339_ms), times().max().map(rfc3339_ms)]
}

/// One asset per group that has arrays of rasters.
fn assets(subject: &Subject, geocoding: TileGeocoding) -> Map<String, Value> {
    let mut assets = Map::new();
    for array in &subject.info.arrays {
        let Some((group, name)) = array.path.trim_start_matches('/').rsplit_once('/') else { continue };
        let asset = assets.entry(group.replace('/', "-")).or_insert_with(|| asset(subject, array, group, geocoding));
        if let Some(bands) = asset.get_mut("bands").and_then(Value::as_array_mut) {
            bands.push(json!({ "name": name }));
        }
    }
    assets
}

fn asset(subject: &Subject, array: &InfoArray, group: &str, geocoding: TileGeocoding) -> Value {
    json!({
        "href": format!("{}{group}", subject.store.url),
        "type": ZARR,
        "title": group,
        "roles": ["data", "virtual"],
        "data_type": array.data_type,
        "proj:code": crs::code(geocoding),
        "bands": [],
    })
}
