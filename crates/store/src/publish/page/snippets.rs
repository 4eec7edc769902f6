//! Lines that open a store, as they stand.

use chrono::DateTime;
use s2ice_manifest::grid::{TILE_EDGE_M, TileGeocoding};
use serde_json::{Value, json};

use super::rust;
use crate::publish::row::Row;
use crate::publish::subject::Subject;
use crate::reached::Reached;

/// Where the reader's own credentials are taken from.
const FROM_ENVIRONMENT: &str = ", credentials=\"env\"";

/// What stands for product files that only the publisher reaches, and what is said of it before.
const SOURCE: &str = ", source=\"s3://...\"";
const HIDDEN: &str =
    "# The product files lie where only the publisher reaches them: source= is a place of the same files.\n";

/// How to open one of the stores.
pub(super) fn in_short(row: &Row) -> Value {
    let sources = row.sources.as_deref();
    let code = format!(
        "import s2ice\n\n{}tree = s2ice.open({:?}{})\nprint(tree)",
        hint(sources),
        row.store.url,
        options(&row.store, sources)
    );
    snippet("python", "Python", "pip install s2ice", &code)
}

/// How to open a store.
pub(super) fn of(subject: &Subject) -> Vec<Value> {
    let url = &subject.store.url;
    let sources = subject.public_sources();
    let mut snippets = Vec::new();
    if let Some((group, array, metres)) = example(subject) {
        let code = format!(
            "import s2ice\n\n{}ds = s2ice.open(\n    {url:?},\n    {group:?}{},\n)\n{}\nprint(box.mean((\"x\", \"y\")).values)",
            hint(sources.as_deref()),
            options(&subject.store, sources.as_deref())
                .replace(", allow=", ",\n    allow=")
                .replace(SOURCE, &SOURCE.replace(", ", ",\n    ")),
            boxed(subject, &array, metres),
        );
        snippets.push(snippet("python", "Python", "pip install s2ice", &code));
        let program = rust::program(subject, &group, &array, metres);
        snippets.extend(program.map(|code| snippet("rust", "Rust", rust::NOTE, &code)));
    }
    snippets.push(snippet("shell", "Shell", "", &format!("s2ice info {url}{}", shell_options(&subject.store))));
    snippets
}

/// How to open a dated state.
pub(super) fn pinned(subject: &Subject, tag: &str) -> Option<Value> {
    let (group, ..) = example(subject)?;
    let (url, sources) = (&subject.store.url, subject.public_sources());
    let (hint, options) = (hint(sources.as_deref()), options(&subject.store, sources.as_deref()));
    let code = format!("import s2ice\n\n{hint}ds = s2ice.open({url:?}, {group:?}, tag={tag:?}{options})\nprint(ds)");
    Some(snippet("pin", "Pin a state", "", &code))
}

/// A group, an array in it and its pixel size: red at 10 m, else whatever is there.
fn example(subject: &Subject) -> Option<(String, String, u32)> {
    let arrays = subject.info.arrays.iter().filter(|array| !array.path.starts_with("/eras/") && array.present > 0);
    let best = arrays.max_by_key(|array| {
        let is_band = array.path.starts_with("/measurements/");
        (is_band && array.path.ends_with("/r10m/b04"), is_band, std::cmp::Reverse(array.path.clone()))
    })?;
    let (group, name) = best.path.trim_start_matches('/').rsplit_once('/')?;
    let pixels = u32::try_from(*best.shape.last()?).ok().filter(|pixels| *pixels > 0)?;
    Some((group.to_owned(), name.to_owned(), TILE_EDGE_M / pixels))
}

/// A square kilometre in the middle of the tile, at the newest date.
fn boxed(subject: &Subject, array: &str, metres: u32) -> String {
    let TileGeocoding { ulx, uly, .. } = subject.geocoding;
    let (x, y) = (ulx + i64::from(TILE_EDGE_M / 2), uly - i64::from(TILE_EDGE_M / 2));
    let half = i64::from(metres.max(10)) * 50;
    let newest = subject.state.trees.values().flat_map(|tree| &tree.steps).map(|step| step.time_ms).max();
    let day = newest.and_then(DateTime::from_timestamp_millis).map(|time| time.date_naive().to_string());
    let day = day.unwrap_or_default();
    format!(
        "box = ds.{array}.sel(time={day:?}, x=slice({}, {}), y=slice({}, {})).load()",
        x - half,
        x + half,
        y + half,
        y - half
    )
}

/// What is said before code that opens a store.
fn hint(sources: Option<&[Reached]>) -> &'static str {
    if sources.is_some() { "" } else { HIDDEN }
}

/// What a reader has to say to reach the store and what its references lead to.
fn options(store: &Reached, sources: Option<&[Reached]>) -> String {
    let mut options = of_store(store);
    let Some(sources) = sources else { return options + SOURCE };
    let needs_keys = sources.iter().any(|source| !source.anonymous);
    if needs_keys && !options.contains(FROM_ENVIRONMENT) {
        options += FROM_ENVIRONMENT;
    }
    // What lies beside the store needs no word, nor do the public archives; the latter have keys or buckets.
    let host = |reached: &Reached| (reached.scheme().to_owned(), reached.bucket().0.to_owned());
    let elsewhere = sources.iter().filter(|source| host(source) != host(store));
    let mut allowed: Vec<String> = elsewhere.map(|source| source.url.clone()).collect();
    if is_private(store) {
        let (scheme, host) = host(store);
        allowed.push(format!("{scheme}://{host}"));
    }
    match allowed.as_slice() {
        [] => {}
        [only] => options += &format!(", allow={only:?}"),
        several => options += &format!(", allow={several:?}"),
    }
    options
}

/// What a reader has to say to reach the store.
fn of_store(store: &Reached) -> String {
    let mut options = Vec::new();
    if let Some(endpoint) = &store.endpoint {
        options.push(format!("\"endpoint_url\": {endpoint:?}"));
    }
    if let Some(region) = &store.region {
        options.push(format!("\"region\": {region:?}"));
    }
    let storage =
        if options.is_empty() { String::new() } else { format!(", storage_options={{{}}}", options.join(", ")) };
    storage + if store.anonymous { "" } else { FROM_ENVIRONMENT }
}

fn shell_options(store: &Reached) -> String {
    let mut options = String::new();
    if let Some(endpoint) = &store.endpoint {
        options += &format!(" --store-endpoint {endpoint}");
    }
    if let Some(region) = &store.region {
        options += &format!(" --store-region {region}");
    }
    options
}

/// True for a host of this machine or its network, which readers have to allow by name.
fn is_private(store: &Reached) -> bool {
    let host = store.bucket().0;
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let address: Option<std::net::Ipv4Addr> = name.parse().ok();
    name == "localhost" || address.is_some_and(|address| address.is_loopback() || address.is_private())
}

fn snippet(id: &str, title: &str, note: &str, code: &str) -> Value {
    json!({ "id": id, "title": title, "note": note, "code": code })
}
