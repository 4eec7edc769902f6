//! How and where stores are published: the table `[publish]` of a configuration file.

use s2ice_manifest::source::location::{Scheme, SourceOptions, SourceUrl};
use s2ice_store::publish::{Background, Publisher, Publishing};
use s2ice_store::tile::Occasion;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

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

impl WrongKey {
    /// The sentence for a command line, where an option is one of several.
    pub fn of_options(&self) -> String {
        let Self { key, reason } = self;
        format!("--{}: {reason}", if key.ends_with("-options") { key.trim_end_matches('s') } else { key })
    }
}

impl PublishTable {
    /// What it comes to in a run; nothing is asked.
    ///
    /// # Errors
    /// A key that is missing or wrong.
    pub fn publishing(&self, occasion: &Occasion) -> Result<Publishing, WrongKey> {
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
        self.agree()?;
        let source = self.source_url.as_deref().map(|text| source(text, place.scheme())).transpose();
        let background = self.map_tiles.as_deref().map(|tiles| self.background(tiles)).transpose();
        Ok(Publishing {
            place,
            options: self.out_options.clone(),
            base_url: base_url.prefix(),
            title: self.title.clone().unwrap_or_else(|| TITLE.to_owned()),
            publisher: self.publisher.clone().map(|name| Publisher { name, url: self.publisher_url.clone() }),
            source: source.map_err(wrong("source-url"))?.map(|url| (url, self.source_options.clone())),
            background: background.map_err(wrong("map-tiles"))?,
            preview: self.preview.unwrap_or(true),
            prune: self.prune,
            restore: self.restore,
            look: !self.no_look,
            run: occasion.run.clone(),
            writer: occasion.writer.clone(),
            clock: occasion.clock,
        })
    }

    /// Refuses keys that say nothing, or nothing without another.
    fn agree(&self) -> Result<(), WrongKey> {
        let wrong = |key: &'static str, reason: &str| Err(WrongKey { key, reason: reason.to_owned() });
        for (key, text) in [("title", &self.title), ("publisher", &self.publisher)] {
            if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
                return wrong(key, "it is empty: give a name, or leave it out");
            }
        }
        let alone = [
            ("publisher-url", self.publisher_url.is_some(), "publisher", self.publisher.is_some()),
            (
                "source-options",
                self.source_options != SourceOptions::default(),
                "source-url",
                self.source_url.is_some(),
            ),
            ("map-attribution", self.map_attribution.is_some(), "map-tiles", self.map_tiles.is_some()),
            ("map-max-zoom", self.map_max_zoom.is_some(), "map-tiles", self.map_tiles.is_some()),
        ];
        for (key, is_there, other, has_other) in alone {
            if is_there && !has_other {
                return wrong(key, &format!("it says nothing without `{other}`: give both, or neither"));
            }
        }
        if self.publisher_url.as_deref().is_some_and(|text| !is_web(text)) {
            return wrong(
                "publisher-url",
                "it is published: an address that browsers open, without user and password: https://...",
            );
        }
        Ok(())
    }

    /// What maps show behind the tiles.
    fn background(&self, tiles: &str) -> Result<Background, String> {
        const PARTS: [&str; 3] = ["{z}", "{x}", "{y}"];
        let filled = PARTS.iter().fold(tiles.to_owned(), |text, part| text.replace(part, "0"));
        if !PARTS.iter().all(|part| tiles.contains(part)) || filled.contains(['{', '}']) || !is_web(&filled) {
            return Err("it is a web address without user and password in which z, x and y stand in braces, and nothing else does".to_owned());
        }
        // It stands in the policy of the pages, which takes these for something else.
        let (_, host) = tiles.split_once("://").unwrap_or_default();
        let host = host.split('/').next().unwrap_or_default();
        if !host.chars().all(|c| c.is_ascii_alphanumeric() || ".-:[]".contains(c)) {
            return Err(format!(
                "z, x and y stand behind the host, and {host:?} is none: letters, digits, dots and hyphens"
            ));
        }
        let attribution = self.map_attribution.clone().unwrap_or_default();
        Ok(Background { tiles: tiles.to_owned(), attribution, max_zoom: self.map_max_zoom.unwrap_or(18).min(24) })
    }
}

/// True for an address that browsers open and everybody may read: without a user and a password.
fn is_web(text: &str) -> bool {
    let is_open = |url: &Url| url.username().is_empty() && url.password().is_none();
    // The parser drops some of these without a word.
    !text.contains(|c: char| c.is_control() || c.is_whitespace())
        && Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && is_open(&url))
}

/// Where others reach product files: no folder of this machine, but for a publication that is one, and by its whole address.
fn source(text: &str, place: Scheme) -> Result<SourceUrl, String> {
    let url = SourceUrl::parse(text).map_err(|error| error.to_string())?;
    let is_said = place == Scheme::Local && text.starts_with("file://");
    if url.scheme() == Scheme::Local && !is_said {
        return Err(format!(
            "{text:?} is a folder of this machine, and others follow it: https://..., s3://..., gs://... or az://... (or \
             file:///..., where `out` is a folder as well)"
        ));
    }
    Ok(url)
}
