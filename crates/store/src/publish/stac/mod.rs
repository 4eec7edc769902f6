//! The publication as a STAC catalogue: a catalog of zones, a catalog per zone, a collection per store and per published
//! state.

mod access;
mod assets;
mod collection;
mod cube;
mod spectral;
mod states;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeSet;

use chrono::SecondsFormat;
use s2ice_manifest::ids::Level;
use serde_json::{Map, Value, json};

use super::files::{CATALOG, TABLE};
use super::row::Row;
use super::settings::Publishing;
use super::state::State;
use super::subject::Subject;
pub(super) use collection::collection;
pub(super) use states::states;

/// Version of STAC.
pub(super) const STAC_VERSION: &str = "1.1.0";

/// Media type of STAC documents but items.
const JSON: &str = "application/json";

/// Media type of a Zarr group.
const ZARR: &str = "application/vnd.zarr; version=3";

/// Media type of an Icechunk repository, as dynamical.org's catalogue has it; none is registered.
pub(super) const ICECHUNK: &str = "application/x-icechunk";

/// Media type of the table of all stores.
const PARQUET: &str = "application/vnd.apache.parquet";

/// The terms of the data.
pub(super) const LICENCE: &str = "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice";

/// The extensions, by the prefix of their fields.
const EXTENSIONS: [(&str, &str); 9] = [
    ("auth", "https://stac-extensions.github.io/authentication/v1.1.0/schema.json"),
    ("cube", "https://stac-extensions.github.io/datacube/v2.2.0/schema.json"),
    ("eo", "https://stac-extensions.github.io/eo/v2.0.0/schema.json"),
    ("processing", "https://stac-extensions.github.io/processing/v1.2.0/schema.json"),
    ("proj", "https://stac-extensions.github.io/projection/v2.0.0/schema.json"),
    ("raster", "https://stac-extensions.github.io/raster/v2.0.0/schema.json"),
    ("storage", "https://stac-extensions.github.io/storage/v2.0.0/schema.json"),
    ("vrt", "https://stac-extensions.github.io/virtual-assets/v1.0.0/schema.json"),
    ("xarray", "https://stac-extensions.github.io/xarray-assets/v1.0.0/schema.json"),
];

/// The extension whose field has no prefix: `version`.
const VERSION: &str = "https://stac-extensions.github.io/version/v1.2.0/schema.json";

/// The catalog of all zones.
pub(super) fn catalog(rows: &[Row], settings: &Publishing) -> Value {
    let url = |path: &str| format!("{}{path}", settings.base_url);
    let mut zones: Vec<String> = rows.iter().map(Row::zone).collect();
    zones.dedup();
    let children = zones.iter().map(|zone| {
        let stores = rows.iter().filter(|row| row.zone() == *zone).count();
        let title = format!("UTM zone {zone}: {stores} {}", if stores == 1 { "store" } else { "stores" });
        link("child", &url(&format!("zones/{zone}/catalog.json")), JSON, &title)
    });
    let own = [
        link("root", &url(CATALOG), JSON, &settings.title),
        link("self", &url(CATALOG), JSON, &settings.title),
        link("alternate", &url(TABLE), PARQUET, "All stores as stac-geoparquet"),
    ];
    json!({
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": "s2ice",
        "title": settings.title,
        "description": "Sentinel-2 tiles as time series: one Icechunk store of references into the product files per MGRS tile.",
        "links": own.into_iter().chain(children).collect::<Vec<_>>(),
    })
}

/// The catalog of a zone.
pub(super) fn of_zone(zone: &str, rows: &[Row], settings: &Publishing) -> Value {
    let url = |path: &str| format!("{}{path}", settings.base_url);
    let title = format!("UTM zone {zone}");
    let children = rows.iter().map(|row| {
        let title = format!("Sentinel-2 {}, tile {}", row.level, row.tile);
        link("child", &url(&format!("{}/collection.json", row.id)), JSON, &title)
    });
    let own = [
        link("root", &url(CATALOG), JSON, &settings.title),
        link("parent", &url(CATALOG), JSON, &settings.title),
        link("self", &url(&format!("zones/{zone}/catalog.json")), JSON, &title),
    ];
    json!({
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": format!("zone-{zone}"),
        "title": title,
        "description": format!("Stores of the tiles of UTM zone {zone}."),
        "links": own.into_iter().chain(children).collect::<Vec<_>>(),
    })
}

fn link(rel: &str, href: &str, kind: &str, title: &str) -> Value {
    json!({ "rel": rel, "href": href, "type": kind, "title": title })
}

/// Who made the data, and who publishes the stores.
fn providers(level: Level, settings: &Publishing) -> Vec<Value> {
    let mut providers = vec![json!({
        "name": "ESA",
        "description": "The Sentinel-2 mission of the Copernicus programme",
        "roles": ["producer", "licensor"],
        "url": "https://sentinels.copernicus.eu/",
        "processing:level": level,
    })];
    if let Some(publisher) = &settings.publisher {
        let mut host = json!({ "name": publisher.name, "roles": ["host"] });
        if let Some(url) = &publisher.url {
            host["url"] = url.as_str().into();
        }
        providers.push(host);
    }
    providers
}

/// Names the extensions of which a document has fields.
fn declare(mut document: Map<String, Value>) -> Value {
    let mut prefixes = BTreeSet::new();
    document.iter().for_each(|(key, value)| collect(key, value, &mut prefixes));
    let used = EXTENSIONS.iter().filter(|(prefix, _)| prefixes.contains(prefix)).map(|(_, url)| *url);
    let version = document.contains_key("version").then_some(VERSION);
    let used: Vec<&str> = used.chain(version).collect();
    document.insert("stac_extensions".into(), json!(used));
    document.into()
}

/// The prefixes of all fields in a value.
fn collect(key: &str, value: &Value, prefixes: &mut BTreeSet<&'static str>) {
    let prefix = key.split_once(':').map(|(prefix, _)| prefix);
    prefixes.extend(EXTENSIONS.iter().map(|(known, _)| *known).filter(|known| prefix == Some(known)));
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| collect(key, value, prefixes)),
        Value::Array(items) => items.iter().for_each(|value| collect("", value, prefixes)),
        _ => {}
    }
}

/// A link to a state.
pub(super) fn link_to(rel: &str, state: &State, subject: &Subject, settings: &Publishing) -> Value {
    let published = state.time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let href = format!("{}{}", settings.base_url, state.path(&subject.id));
    link(rel, &href, JSON, &format!("State published at {published}"))
}
