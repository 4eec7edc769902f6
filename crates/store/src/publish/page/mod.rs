//! The pages of a publication: templates filled with what is known of stores. `context.md` names every field.

mod calendar;
mod front;
mod refused;
mod rust;
mod snippets;
mod status;
mod tile;
mod zone;

use std::collections::BTreeSet;

use bytes::Bytes;
use chrono::{DateTime, Datelike};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::{Map, Value, json};

pub(super) use front::front;
pub(super) use status::status;
pub(super) use tile::tile;
pub(super) use zone::zone;

use super::ledger::Document;
use super::row::Row;
use super::settings::Publishing;
use crate::error::{Error, Result};
use crate::report::rfc3339_ms;
use crate::runs::LastOutcome;

/// Copernicus legal notice on the use of Sentinel data.
const LEGAL_NOTICE: &str = "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice";

/// Deepest zoom of a map without a background.
const MAX_ZOOM: u8 = 12;

/// Name and text of each template.
const TEMPLATES: [(&str, &str); 7] = [
    ("base.html", include_str!("base.html")),
    ("parts.html", include_str!("parts.html")),
    ("calendar.html", include_str!("calendar.html")),
    ("front.html", include_str!("front.html")),
    ("status.html", include_str!("status.html")),
    ("zone.html", include_str!("zone.html")),
    ("tile.html", include_str!("tile.html")),
];

/// Files that pages ask for, by their path in the publication.
const ASSETS: [(&str, &[u8]); 13] = [
    ("assets/style.css", include_bytes!("style.css")),
    ("assets/page.js", include_bytes!("page.js")),
    ("assets/map.js", include_bytes!("map.js")),
    ("assets/look.js", include_bytes!("look.js")),
    ("assets/icon.svg", include_bytes!("icon.svg")),
    ("assets/land.svg", include_bytes!("land.svg")),
    ("assets/vendor/leaflet.css", include_bytes!("vendor/leaflet.css")),
    ("assets/vendor/leaflet.js", include_bytes!("vendor/leaflet.js")),
    ("assets/vendor/look-worker.js", include_bytes!("vendor/look-worker.js")),
    ("assets/vendor/codec.wasm", include_bytes!("vendor/codec.wasm")),
    ("assets/vendor/LICENSE-fzstd", include_bytes!("vendor/LICENSE-fzstd")),
    ("assets/vendor/LICENSE-leaflet", include_bytes!("vendor/LICENSE-leaflet")),
    ("assets/vendor/LICENSE-world-atlas", include_bytes!("vendor/LICENSE-world-atlas")),
];

/// The files that pages ask for.
pub(super) fn assets() -> impl Iterator<Item = Document> {
    ASSETS.iter().map(|(path, bytes)| Document { path: (*path).to_owned(), bytes: Bytes::from_static(bytes) })
}

/// Fills a template.
fn render(template: &str, path: String, context: &Map<String, Value>) -> Result<Document> {
    let failed = |error: minijinja::Error| Error::Input(format!("the page {path}: {error:#}"));
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    for (name, text) in TEMPLATES {
        environment.add_template(name, text).map_err(failed)?;
    }
    let text = environment.get_template(template).and_then(|page| page.render(Serde(context))).map_err(failed)?;
    Ok(Document { path, bytes: Bytes::from(text) })
}

/// What every page is told; `up` leads from its folder to the front page's.
fn common(settings: &Publishing, path: &str, up: &str, times: (Option<i64>, Option<i64>)) -> Map<String, Value> {
    let mut context = Map::new();
    context.insert("assets".to_owned(), json!(format!("{up}assets/")));
    context.insert("canonical".to_owned(), json!(format!("{}{path}", settings.base_url)));
    context.insert("csp_img".to_owned(), json!(origin(settings).unwrap_or_default()));
    context.insert("generator".to_owned(), json!(settings.writer));
    let (href, stac) = (format!("{up}index.html"), format!("{up}catalog.json"));
    let catalogue =
        json!({ "title": settings.title, "href": href, "stac": stac, "status": format!("{up}status.html") });
    context.insert("catalogue".to_owned(), catalogue);
    context.insert("licence".to_owned(), json!({ "years": years(times), "href": LEGAL_NOTICE }));
    let publisher = settings.publisher.as_ref();
    let publisher = publisher.map(|who| json!({ "name": who.name, "href": who.url.clone().unwrap_or_default() }));
    context.insert("publisher".to_owned(), publisher.unwrap_or_default());
    context
}

/// Where pictures of the background come from.
fn origin(settings: &Publishing) -> Option<String> {
    let address = url::Url::parse(&settings.background.as_ref()?.tiles).ok()?;
    Some(address.origin().ascii_serialization())
}

/// What a map is told; `page` leads from its page to that of a store.
fn map(settings: &Publishing, page: &str) -> Value {
    let background = settings.background.as_ref();
    json!({
        "page": page,
        "tile_url": background.map(|map| &map.tiles),
        "attribution": background.map(|map| &map.attribution),
        "max_zoom": background.map_or(MAX_ZOOM, |map| map.max_zoom),
    })
}

/// `2016-2026`, or one year.
fn years((first, last): (Option<i64>, Option<i64>)) -> String {
    let year = |time: Option<i64>| DateTime::from_timestamp_millis(time?).map(|time| time.year());
    let years: BTreeSet<i32> = [year(first), year(last)].into_iter().flatten().collect();
    let years: Vec<String> = years.into_iter().map(|year| year.to_string()).collect();
    years.join("-")
}

/// First and newest sensing time of several stores.
fn span(rows: &[Row]) -> (Option<i64>, Option<i64>) {
    (rows.iter().filter_map(|row| row.first_ms).min(), rows.iter().filter_map(|row| row.newest_ms).max())
}

fn time(milliseconds: Option<i64>) -> Option<String> {
    milliseconds.map(rfc3339_ms)
}

/// How a store does.
fn health(outcome: Option<LastOutcome>) -> &'static str {
    match outcome {
        Some(LastOutcome::Updated | LastOutcome::Unchanged) => "ok",
        Some(LastOutcome::Stale) => "stale",
        Some(LastOutcome::Failed) => "failed",
        _ => "unknown",
    }
}

/// What that means, in a sentence. What a run said is for its operator.
fn reason(health: &str) -> &'static str {
    match health {
        "ok" => "The last run found it in step with its inputs.",
        "stale" => "The last run could not see all of its inputs: what is new may be missing.",
        "failed" => "The last run failed: what is new may be missing. What is in the store is right.",
        _ => "No scheduled run is known.",
    }
}

/// How several stores do.
fn healths(rows: &[Row]) -> Value {
    let count = |name: &str| rows.iter().filter(|row| health(row.outcome) == name).count();
    json!({ "ok": count("ok"), "stale": count("stale"), "failed": count("failed"), "unknown": count("unknown") })
}
