//! The publication as a STAC catalogue: a catalog of zones, a catalog per zone, a collection per store.

mod collection;

use serde_json::{Value, json};

pub(super) use collection::collection;

use super::publication::Publishing;
use super::row::Row;

/// Version of STAC.
const STAC_VERSION: &str = "1.1.0";

/// The catalog of all zones.
pub(super) fn catalog(rows: &[Row], settings: &Publishing) -> Value {
    let url = |path: &str| format!("{}{path}", settings.base_url);
    let mut zones: Vec<String> = rows.iter().map(Row::zone).collect();
    zones.dedup();
    let children = zones.iter().map(|zone| {
        let stores = rows.iter().filter(|row| row.zone() == *zone).count();
        let title = format!("UTM zone {zone}: {stores} {}", if stores == 1 { "store" } else { "stores" });
        link("child", &url(&format!("zones/{zone}/catalog.json")), "application/json", &title)
    });
    let own = [
        link("root", &url("catalog.json"), "application/json", &settings.title),
        link("self", &url("catalog.json"), "application/json", &settings.title),
    ];
    json!({
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": "s2ice",
        "title": settings.title,
        "description": "Sentinel-2 tiles as time series: one Icechunk store of virtual references per MGRS tile.",
        "links": own.into_iter().chain(children).collect::<Vec<_>>(),
    })
}

/// The catalog of a zone.
pub(super) fn of_zone(zone: &str, rows: &[Row], settings: &Publishing) -> Value {
    let url = |path: &str| format!("{}{path}", settings.base_url);
    let title = format!("UTM zone {zone}");
    let children = rows.iter().map(|row| {
        let title = format!("Sentinel-2 {}, tile {}", row.level, row.tile);
        link("child", &url(&format!("{}/collection.json", row.id)), "application/json", &title)
    });
    let own = [
        link("root", &url("catalog.json"), "application/json", &settings.title),
        link("parent", &url("catalog.json"), "application/json", &settings.title),
        link("self", &url(&format!("zones/{zone}/catalog.json")), "application/json", &title),
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
