//! How and where stores are published: the table `[publish]` of a configuration file, and the options of `s2ice publish`.

use s2ice_manifest::source::location::{SourceOptions, SourceUrl};
use s2ice_store::publish::{Background, Publisher, Publishing};
use s2ice_store::tile::without_value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::exit::Failure;
use crate::{clock, settings};

/// Title of a catalogue that has none.
const TITLE: &str = "Sentinel-2 as time series";

/// How and where to publish.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PublishTable {
    /// Folder or bucket to publish in.
    pub out: Option<String>,
    /// How that is written.
    pub out_options: SourceOptions,
    /// Address at which others reach it.
    pub base_url: Option<String>,
    /// Title of the catalogue.
    pub title: Option<String>,
    /// Who publishes: named as host in the catalogue.
    pub publisher: Option<String>,
    /// Home page of who publishes.
    pub publisher_url: Option<String>,
    /// Where others reach the product files of copied stores, where not at the address that the stores name.
    pub source_url: Option<String>,
    /// How they reach them.
    pub source_options: SourceOptions,
    /// What maps show behind the tiles: the address of its pictures with {z}, {x} and {y}; without one the land is drawn.
    pub map_tiles: Option<String>,
    /// What is said of who made it.
    pub map_attribution: Option<String>,
    /// Deepest zoom that it has [default: 18].
    pub map_max_zoom: Option<u8>,
    /// Make a picture of each store whose products have B04, B03 and B02; its bands are read for it [default: true].
    pub preview: Option<bool>,
    /// Take stores that are not among those of the file, or not named, out of the publication.
    pub prune: bool,
    /// Look through the place first, and write again what was lost there.
    pub restore: bool,
    /// Do not look afterwards what a stranger meets at the base URL.
    pub no_look: bool,
}

/// A key that is missing or wrong.
pub struct WrongKey {
    /// The key.
    pub key: &'static str,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl PublishTable {
    /// What it comes to in a run; nothing is asked.
    ///
    /// # Errors
    /// A key that is missing or wrong.
    pub fn publishing(&self, run: &str) -> Result<Publishing, WrongKey> {
        let wrong = |key: &'static str| move |reason: String| WrongKey { key, reason };
        let address = |key: &'static str, text: &str| {
            SourceUrl::parse(text).map_err(|error| error.to_string()).map_err(wrong(key))
        };
        let missing = |key: &'static str, what: &str| WrongKey { key, reason: format!("it is missing: give {what}") };
        let out = self.out.as_deref().ok_or_else(|| missing("out", "the folder or bucket to publish in"))?;
        let place = address("out", out)?;
        if place.scheme().is_web() {
            return Err(wrong("out")("a web server cannot be written to: name its folder or bucket".to_owned()));
        }
        let base = self.base_url.as_deref();
        let base = base.ok_or_else(|| missing("base-url", "the address at which others reach the publication"))?;
        let base_url = address("base-url", base)?;
        if !base_url.scheme().is_web() {
            return Err(wrong("base-url")("it is an address that browsers open: https://...".to_owned()));
        }
        let source = self.source_url.as_deref().map(|text| address("source-url", text)).transpose()?;
        let occasion = settings::occasion(run);
        let background = self.map_tiles.as_ref().map(|tiles| {
            let has_all = ["{z}", "{x}", "{y}"].iter().all(|part| tiles.contains(part));
            if !has_all || !(tiles.starts_with("https://") || tiles.starts_with("http://")) {
                let reason = "it is a web address in which z, x and y stand in braces".to_owned();
                return Err(wrong("map-tiles")(reason));
            }
            let attribution = self.map_attribution.clone().unwrap_or_default();
            Ok(Background { tiles: tiles.clone(), attribution, max_zoom: self.map_max_zoom.unwrap_or(18).min(24) })
        });
        Ok(Publishing {
            place,
            options: self.out_options.clone(),
            base_url: base_url.prefix(),
            title: self.title.clone().unwrap_or_else(|| TITLE.to_owned()),
            publisher: self.publisher.clone().map(|name| Publisher { name, url: self.publisher_url.clone() }),
            source: source.map(|url| (url, self.source_options.clone())),
            background: background.transpose()?,
            preview: self.preview.unwrap_or(true),
            prune: self.prune,
            restore: self.restore,
            look: !self.no_look,
            run: occasion.run,
            writer: occasion.writer,
            clock: clock::now,
        })
    }
}

/// How to publish: what was given, over the table of a file.
///
/// # Errors
/// A `KEY=VALUE` without `=`, or an option that makes no sense.
pub fn table(arguments: &impl Serialize, file: Option<&PublishTable>) -> Result<PublishTable, Failure> {
    let mut document = match file.map(serde_json::to_value) {
        Some(Ok(Value::Object(document))) => document,
        _ => Map::new(),
    };
    settings::lay_over(&mut document, settings::given(arguments)?);
    serde_path_to_error::deserialize(Value::Object(document)).map_err(|error| {
        let (key, reason) = (error.path().to_string(), without_value(&error.into_inner().to_string()));
        Failure::usage(format!("--{key}: {reason}"))
    })
}
