//! The page of a store.

use s2ice_jpeg2000::CODEC_NAME;
use s2ice_manifest::ids::Level;
use s2ice_manifest::manifest::HeaderTrust;
use serde_json::{Map, Value, json};

use super::{calendar, common, health, reason, refused, render, snippets, time};
use crate::error::Result;
use crate::layout::{crs, overview};
use crate::publish::ledger::Document;
use crate::publish::preview::Preview;
use crate::publish::settings::Publishing;
use crate::publish::subject::Subject;
use crate::reached::Reached;
use crate::report::{InfoArray, rfc3339_ms};

/// Published states that are listed.
const STATES: usize = 20;

/// The page of a store.
///
/// # Errors
/// The template cannot be filled.
pub(in crate::publish) fn tile(subject: &Subject, preview: &Preview, settings: &Publishing) -> Result<Document> {
    let path = format!("{}/index.html", subject.id);
    let times = || subject.state.trees.values().flat_map(|tree| &tree.steps).map(|step| step.time_ms);
    let span = (times().min(), times().max());
    let mut context = common(settings, &path, "../", span);
    let info = &subject.info;
    let zone = format!("{:02}", subject.tile.zone());
    let title = match subject.level {
        Level::L2A => "Bottom-of-atmosphere reflectance",
        Level::L1C => "Top-of-atmosphere reflectance",
    };
    let mut put = |name: &str, value: Value| context.insert(name.to_owned(), value);
    put(
        "tile",
        json!({
            "mgrs": subject.tile.to_string(), "level": subject.level.to_string(), "title": title,
            "zone": { "name": zone, "href": format!("../zones/{zone}/index.html") },
        }),
    );
    put("times", json!({ "count": info.products, "first": time(span.0), "last": time(span.1) }));
    put("size", json!({ "references": info.references, "referenced_bytes": info.referenced_bytes }));
    put("place", place(subject));
    let (picture, missing) = picture(subject, preview);
    put("preview", picture);
    put("preview_missing", json!(missing));
    put("calendar", calendar::of(subject));
    put("look", look(subject, settings));
    put("groups", json!(groups(subject)));
    put("eras", json!(eras(subject)));
    states(subject, &mut put);
    put("containers", json!(subject.sources.iter().map(|(name, source)| container(name, source)).collect::<Vec<_>>()));
    put("state", state(subject));
    put("snippets", json!(snippets::of(subject)));
    put("links", json!({ "collection": "collection.json", "store": subject.store.url }));
    render("tile.html", path, &context)
}

/// The picture, and why there is none.
fn picture(subject: &Subject, preview: &Preview) -> (Value, &'static str) {
    match preview {
        Preview::Lacks(lack) => (Value::Null, lack.told()),
        Preview::Made(picture) => {
            let date = rfc3339_ms(picture.time_ms);
            let day = date.get(..10).unwrap_or_default();
            let alt = format!("Tile {} in true colour, seen on {day}", subject.tile);
            let (width, height) = (picture.width, picture.height);
            (json!({ "href": "preview.jpg", "date": date, "alt": alt, "width": width, "height": height }), "")
        }
    }
}

fn place(subject: &Subject) -> Value {
    let geocoding = subject.geocoding;
    let [west, south, east, north] = crs::bbox(geocoding);
    let names = ["north-west", "north-east", "south-east", "south-west"];
    let metres = [[west, north], [east, north], [east, south], [west, south]];
    let corners: Vec<Value> = names
        .iter()
        .zip(metres)
        .zip(subject.footprint.corners())
        .map(|((name, [x, y]), [longitude, latitude])| {
            json!({ "name": name, "x": x, "y": y, "longitude": longitude, "latitude": latitude })
        })
        .collect();
    json!({
        "epsg": geocoding.epsg, "crs": crs::name(geocoding), "box": subject.footprint.bbox(), "corners": corners,
    })
}

/// The groups of the main tree, with their arrays.
fn groups(subject: &Subject) -> Vec<Value> {
    let mut groups: Vec<(String, Vec<Value>)> = Vec::new();
    for array in subject.info.arrays.iter().filter(|array| !array.path.starts_with("/eras/")) {
        let Some((group, name)) = array.path.rsplit_once('/') else { continue };
        if groups.last().is_none_or(|(last, _)| last != group) {
            groups.push((group.to_owned(), Vec::new()));
        }
        if let Some((_, arrays)) = groups.last_mut() {
            arrays.push(array_of(subject, array, name));
        }
    }
    let metres = |group: &str| {
        let (whole, factor) = overview::beside(group).unwrap_or((group, 1));
        let metres: u64 = whole.rsplit_once("/r")?.1.strip_suffix('m')?.parse().ok()?;
        metres.checked_mul(factor)
    };
    let told =
        groups.into_iter().map(|(group, arrays)| json!({ "path": group, "metres": metres(&group), "arrays": arrays }));
    told.collect()
}

fn array_of(subject: &Subject, array: &InfoArray, name: &str) -> Value {
    let document = subject.state.documents.get(array.path.trim_start_matches('/'));
    let attribute = |key: &str| document.and_then(|document| document.pointer(&format!("/attributes/{key}")));
    let text = |key: &str| attribute(key).and_then(Value::as_str).unwrap_or_default();
    let scale = attribute("scale_factor").and_then(Value::as_f64);
    let offset = scale.map(|_| attribute("add_offset").and_then(Value::as_f64).unwrap_or_default());
    json!({
        "name": name, "title": text("long_name"), "data_type": array.data_type, "shape": array.shape,
        "chunk": array.chunks, "scale": scale, "offset": offset,
        "unit": Some(text("units")).filter(|unit| *unit != "1").unwrap_or_default(), "present": array.present,
    })
}

/// The trees of a store with eras, the main one first.
fn eras(subject: &Subject) -> Vec<Value> {
    let info = &subject.info;
    if info.eras.is_empty() {
        return Vec::new();
    }
    let tree = |name: &str, differs: &[String], times: &crate::report::Times| json!({ "name": name, "differs": differs, "count": times.count, "first": times.first, "last": times.last });
    let main = tree("main", &["as newest products are".to_owned()], &info.times);
    std::iter::once(main)
        .chain(info.eras.iter().map(|(era, of)| tree(&era.to_string(), &of.differs, &of.times)))
        .collect()
}

/// The present state, and all that were published.
fn states(subject: &Subject, put: &mut impl FnMut(&str, Value) -> Option<Value>) {
    let info = &subject.info;
    let states = subject.states.iter().rev();
    let listed: Vec<Value> = states
        .take(STATES)
        .map(|state| {
            json!({
                "tag": state.tag, "href": format!("../{}", state.path(&subject.id)),
                "time": rfc3339_ms(state.time.timestamp_millis()), "count": state.told.map(|told| told.products),
                "snapshot": state.snapshot.to_string(), "stands": state.stands,
            })
        })
        .collect();
    let present = subject.current().or(subject.states.last()).and_then(|state| snippets::pinned(subject, &state.tag));
    put("latest", json!({ "tag": info.published, "time": info.last_commit.time }));
    put("states_left_out", json!(subject.states.len().saturating_sub(STATES)));
    put("states", json!(listed));
    put("pin", present.unwrap_or_default());
}

fn container(name: &str, source: &Reached) -> Value {
    if source.is_local() {
        let access = "give source=, a place of the same files";
        return json!({ "name": name, "url": "", "endpoint": null, "access": access });
    }
    let access = match (source.anonymous, source.request_payer) {
        (_, true) => "keys of an account that pays for the transfer",
        (true, false) => "open to everybody",
        (false, false) => "keys of one's own",
    };
    json!({ "name": name, "url": source.url, "endpoint": source.endpoint, "access": access })
}

/// From where the page draws pixels itself; null where none of them are JPEG 2000, or no browser reaches the store.
fn look(subject: &Subject, settings: &Publishing) -> Value {
    let is_ours = |document: &Value| document.pointer("/codecs/0/name").is_some_and(|name| name == CODEC_NAME);
    if subject.info.products == 0 || !subject.state.documents.values().any(is_ours) {
        return Value::Null;
    }
    // A copy beside the page moves with it.
    let beside = subject.store.url.strip_prefix(&settings.base_url).map(|path| format!("../{path}"));
    let Some(store) = beside.or_else(|| subject.store.web()) else { return Value::Null };
    let source = |(name, place): (&String, &Reached)| {
        let access = match place.web() {
            None => "closed",
            Some(_) if !place.anonymous || place.request_payer => "keys",
            Some(_) => "open",
        };
        json!({ "name": name, "href": place.web().unwrap_or_default(), "access": access })
    };
    json!({ "store": store, "sources": subject.sources.iter().map(source).collect::<Vec<_>>() })
}

/// How the store does. When it ran would change the page every night.
fn state(subject: &Subject) -> Value {
    let last = subject.last.as_ref();
    let health = health(last.and_then(|last| last.completed));
    let headers = match HeaderTrust::of_name(&subject.info.headers) {
        HeaderTrust::Verified => "verified, file by file",
        HeaderTrust::Inferred => "read from some files of every product, the others being verified in the next runs",
        HeaderTrust::Assumed => "assumed, by product names",
    };
    let mut told = Map::new();
    let mut put = |name: &str, value: Value| told.insert(name.to_owned(), value);
    put("health", json!(health));
    put("reason", json!(reason(health)));
    put("last_run", Value::Null);
    put("outcome", Value::Null);
    put("verified", json!(subject.info.last_commit.time));
    put("lag_days", Value::Null);
    put("headers", json!(headers));
    put("refused", json!(refused::by_kind(&subject.left_out)));
    Value::Object(told)
}
