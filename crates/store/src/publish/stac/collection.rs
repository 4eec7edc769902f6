//! A store as a STAC collection, in the way of the STAC best practices for Zarr: a time series of one place is a collection,
//! its assets are groups, its bands are arrays.

use std::collections::BTreeSet;

use s2ice_manifest::assemble::Step;
use serde_json::{Map, Value, json};

use super::access::{Access, containers, parts, schemes};
use super::assets::Assets;
use super::text::description;
use super::{ICECHUNK, JSON, LICENCE, STAC_VERSION, ZARR, declare, link, link_to, providers};
use crate::layout::crs;
use crate::publish::files::CATALOG;
use crate::publish::settings::Publishing;
use crate::publish::subject::Subject;
use crate::report::rfc3339_ms;

/// The picture of a store, and its media type.
const PREVIEW: &str = "preview.jpg";
const PICTURE: &str = "image/jpeg";

/// Pages and pictures of a store that its collection links to where they are published beside it: name, relation, media
/// type and title.
const BESIDE: [(&str, &str, &str, &str); 2] =
    [("index.html", "about", "text/html", "Page of the store"), (PREVIEW, "preview", PICTURE, "Preview")];

/// What the collections of a store and of its states share.
pub(super) struct Frame<'a> {
    subject: &'a Subject,
    settings: &'a Publishing,
    /// Address of the document.
    own: String,
    store: Access<'a>,
    sources: Vec<Access<'a>>,
}

impl<'a> Frame<'a> {
    /// Of a document at `path` of the publication.
    pub(super) fn new(subject: &'a Subject, settings: &'a Publishing, path: &str) -> Self {
        let (store, sources) = (Access::of_store(subject), Access::of_sources(subject));
        Self { subject, settings, own: format!("{}{path}", settings.base_url), store, sources }
    }

    /// The links that all have.
    pub(super) fn links(&self, title: &str) -> Vec<Value> {
        let url = |path: &str| format!("{}{path}", self.settings.base_url);
        let zone = format!("{:02}", self.subject.tile.zone());
        let mut store = link("store", &self.store.href(), ZARR, "Icechunk store");
        if let Some(fields) = store.as_object_mut() {
            self.store.refer(fields);
        }
        vec![
            link("root", &url(CATALOG), JSON, &self.settings.title),
            link("parent", &url(&format!("zones/{zone}/catalog.json")), JSON, &format!("UTM zone {zone}")),
            link("self", &self.own, JSON, title),
            store,
            link(
                "license",
                LICENCE,
                "application/pdf",
                "Legal notice on the use of Copernicus Sentinel Data and Service Information",
            ),
        ]
    }

    /// The root of the store.
    pub(super) fn icechunk(&self, options: Value) -> Map<String, Value> {
        let mut asset = Map::new();
        asset.insert("href".into(), self.store.href().into());
        asset.insert("type".into(), ICECHUNK.into());
        asset.insert("title".into(), format!("Icechunk repository, format {}", self.subject.info.spec).into());
        asset.insert("roles".into(), json!(["data", "virtual"]));
        self.store.refer(&mut asset);
        if !self.sources.is_empty() {
            asset.insert("vrt:hrefs".into(), parts(&self.sources, &self.own).into());
        }
        asset.insert("xarray:open_kwargs".into(), options);
        asset.extend(self.store.storage_options().map(|options| ("xarray:storage_options".to_owned(), options)));
        asset.insert("icechunk:virtual_chunk_containers".into(), containers(&self.sources).into());
        asset
    }

    /// Where the product files lie.
    pub(super) fn source_assets(&self) -> Vec<(String, Value)> {
        let asset = |source: &Access<'_>| {
            let mut asset = Map::new();
            asset.insert("href".into(), source.href().into());
            asset.insert("title".into(), "Product files".into());
            asset.insert(
                "description".into(),
                "The folder below which the files lie that the chunks are parts of.".into(),
            );
            asset.insert("roles".into(), json!(["source"]));
            source.refer(&mut asset);
            (source.name().to_owned(), Value::from(asset))
        };
        self.sources.iter().map(asset).collect()
    }

    /// A collection without links and assets.
    pub(super) fn document(&self, id: &str, title: &str, description: &str, interval: Value) -> Map<String, Value> {
        let Subject { tile, level, footprint, .. } = self.subject;
        let value = json!({
            "type": "Collection",
            "stac_version": STAC_VERSION,
            "stac_extensions": [],
            "id": id,
            "title": title,
            "description": description,
            "keywords": ["Sentinel-2", "Copernicus", "MSI", level, tile, "Zarr", "Icechunk", "time series"],
            "license": "other",
            "providers": providers(*level, self.settings),
            "extent": {
                "spatial": { "bbox": [footprint.bbox()] },
                "temporal": { "interval": [interval] },
            },
        });
        value.as_object().cloned().unwrap_or_default()
    }

    /// The whole collection.
    pub(super) fn finish(
        &self,
        mut document: Map<String, Value>,
        links: Vec<Value>,
        assets: Map<String, Value>,
    ) -> Value {
        schemes(&self.store, &self.sources, &mut document);
        document.insert("links".into(), links.into());
        document.insert("assets".into(), assets.into());
        declare(document)
    }
}

/// The collection of a store; `beside` are the paths of what else is published of it.
pub(crate) fn collection(subject: &Subject, settings: &Publishing, beside: &[String]) -> Value {
    let Subject { id, tile, level, .. } = subject;
    let title = format!("Sentinel-2 {level}, tile {tile}");
    let frame = Frame::new(subject, settings, &format!("{id}/collection.json"));
    let mut links = frame.links(&title);
    for (name, rel, kind, title) in BESIDE {
        let path = format!("{id}/{name}");
        if beside.contains(&path) {
            links.push(link(rel, &format!("{}{path}", settings.base_url), kind, title));
        }
    }
    let current = subject.current();
    if let Some(state) = current {
        links.push(link_to("memento", state, subject, settings));
        let before = subject.before(state);
        links.extend(before.map(|state| link_to("predecessor-version", state, subject, settings)));
    }
    let mut assets = Map::new();
    assets.insert("icechunk".into(), frame.icechunk(json!({ "engine": "s2ice" })).into());
    let groups = Assets { subject, store: &frame.store, sources: &frame.sources, own: &frame.own };
    assets.extend(groups.all());
    assets.extend(frame.source_assets());
    let preview = format!("{id}/{PREVIEW}");
    if beside.contains(&preview) {
        let href = format!("{}{preview}", settings.base_url);
        let roles = ["thumbnail", "overview"];
        let asset = json!({ "href": href, "type": PICTURE, "title": "One date in true colour", "roles": roles });
        assets.insert("thumbnail".into(), asset);
    }
    let mut document = frame.document(id, &title, &description(subject), interval(times(subject)));
    document.insert("summaries".into(), summaries(subject).into());
    document.insert("icechunk:snapshot".into(), subject.info.last_commit.snapshot.as_str().into());
    document.insert("updated".into(), subject.info.last_commit.time.as_str().into());
    if let Some(state) = current {
        document.insert("version".into(), state.version().into());
    }
    frame.finish(document, links, assets)
}

fn steps(subject: &Subject) -> impl Iterator<Item = &Step> {
    subject.state.trees.values().flat_map(|tree| &tree.steps)
}

/// First and newest sensing time.
fn times(subject: &Subject) -> Option<(i64, i64)> {
    let times = || steps(subject).map(|step| step.time_ms);
    times().min().zip(times().max())
}

/// A temporal extent; open where the store is empty.
pub(super) fn interval(times: Option<(i64, i64)>) -> Value {
    json!([times.map(|(first, _)| rfc3339_ms(first)), times.map(|(_, newest)| rfc3339_ms(newest))])
}

/// What the products have in common, or between what they range; without products only what the tile tells.
fn summaries(subject: &Subject) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |key: &str, values: Vec<Value>| {
        if !values.is_empty() {
            out.insert(key.to_owned(), values.into());
        }
    };
    let set = |of: &dyn Fn(&Step) -> String| -> Vec<Value> {
        steps(subject).map(of).collect::<BTreeSet<_>>().into_iter().map(Value::from).collect()
    };
    let resolutions =
        subject.state.trees.values().flat_map(|tree| tree.arrays.keys()).map(|asset| asset.resolution.metres());
    put("platform", set(&|step| step.id.platform().replace("S2", "sentinel-2").to_ascii_lowercase()));
    put("constellation", vec!["sentinel-2".into()]);
    put("instruments", vec!["msi".into()]);
    put("gsd", resolutions.collect::<BTreeSet<_>>().into_iter().map(Value::from).collect());
    put("processing:level", vec![subject.level.to_string().into()]);
    put("processing:version", set(&|step| step.id.baseline().to_string()));
    put("grid:code", vec![format!("MGRS-{}", subject.tile).into()]);
    put("proj:code", vec![crs::code(subject.geocoding).into()]);
    let covers = || steps(subject).filter_map(|step| step.metadata.cloud_cover).map(hundredths);
    if let (Some(least), Some(most)) = (covers().reduce(f64::min), covers().reduce(f64::max)) {
        out.insert("eo:cloud_cover".into(), json!({ "minimum": least, "maximum": most }));
    }
    out
}

/// Stores hold single precision.
fn hundredths(percent: f64) -> f64 {
    (percent * 100.0).round() / 100.0
}
