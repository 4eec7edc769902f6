//! What can be found wrong in settings before anything is asked.

use s2ice_manifest::source::location::{Source, SourceError, SourceOptions, SourceUrl};
use s2ice_manifest::source::memory::Place;

use super::super::wanted::Wanted;
use super::super::{cog, gather};
use super::{BuildSettings, MemoryPlace};
use crate::config;
use crate::error::Error;

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// It must be given.
    Missing {
        /// Its key.
        key: String,
        /// What to do; empty for the usual.
        hint: &'static str,
    },
    /// Its value makes no sense.
    Bad {
        /// Its key; empty where several are at fault, which the reason names.
        key: String,
        /// Why.
        reason: String,
    },
}

impl Wrong {
    /// A setting that must be given.
    pub fn missing(key: impl Into<String>) -> Self {
        Self::Missing { key: key.into(), hint: "" }
    }

    /// A value that makes no sense.
    pub fn bad(key: impl Into<String>, reason: impl ToString) -> Self {
        Self::Bad { key: key.into(), reason: reason.to_string() }
    }

    /// The key concerned.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Missing { key, .. } | Self::Bad { key, .. } => key,
        }
    }
}

/// For callers that have no file and no command line to point to.
impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { key, hint: "" } => write!(f, "{key} is missing"),
            Self::Missing { key, hint } => write!(f, "{key} is missing: {hint}"),
            Self::Bad { key, reason } if key.is_empty() => f.write_str(reason),
            Self::Bad { key, reason } => write!(f, "{key}: {reason}"),
        }
    }
}

impl BuildSettings {
    /// Finds what a build would fail by, without a request: neither files nor services need be there.
    ///
    /// # Errors
    /// [`Wrong`].
    pub fn check(&self) -> Result<(), Wrong> {
        if self.index.is_empty() && !self.index_missing && self.source_kind.is_jp2() {
            let hint = "give a TLM index, make one with `s2ice index`, or use --index-missing with --stac";
            return Err(Wrong::Missing { key: "index".to_owned(), hint });
        }
        if self.collection.is_some() && self.stac.is_none() {
            return Err(Wrong::bad("collection", "it is one of a catalogue, and `stac` names none"));
        }
        if !self.source_kind.is_jp2() && self.overviews.as_ref().is_some_and(|overviews| !overviews.is_empty()) {
            return Err(Wrong::bad("overviews", "they are resolutions of JPEG 2000 files, and GeoTIFFs have none"));
        }
        if let Some(empty) = [("container", &self.container), ("collection", &self.collection), ("store", &self.store)]
            .into_iter()
            .find_map(|(key, text)| text.as_ref().filter(|text| text.trim().is_empty()).map(|_| key))
        {
            return Err(Wrong::bad(empty, "it is empty"));
        }
        let together = if self.source_kind.is_jp2() { gather::check_request(self) } else { cog::check_request(self) };
        together.map_err(|error| Wrong::bad("", error))?;
        Wanted::of(self).map_err(|error| Wrong::bad("arrays", plain(&error)))?;
        self.places()
    }

    fn places(&self) -> Result<(), Wrong> {
        let at = |key: &'static str| move |error: SourceError| Wrong::bad(key, error);
        let source = SourceUrl::parse(&self.source).map_err(at("source"))?;
        let effective = Source::check(&source, &self.source_options).map_err(at("source-options"))?;
        let name = self.container.clone().unwrap_or_else(|| config::default_container_name(&source));
        let container = config::container(&name, &source, &effective).and_then(config::repository);
        container.map_err(|error| Wrong::bad(if self.container.is_some() { "container" } else { "source" }, error))?;
        if let Some(store) = &self.store {
            let url = SourceUrl::parse(store).map_err(at("store"))?;
            if url.scheme().is_web() {
                return Err(Wrong::bad("store", "a web server cannot be written to: give a folder or a bucket"));
            }
            Source::check(&url, &self.store_options).map_err(at("store-options"))?;
        }
        for index in &self.index {
            let (url, _) = SourceUrl::parse_file(index).map_err(at("index"))?;
            Source::check(&url, &self.reach_index()).map_err(at("index-options"))?;
        }
        if let Some(path) = &self.write_index
            && (path.as_os_str().is_empty() || path.to_string_lossy().contains("://"))
        {
            return Err(Wrong::bad("write-index", "it is a file of this machine"));
        }
        if let MemoryPlace::At(place) = &self.memory {
            let place = Place::at(place, self.reach_memory()).map_err(at("memory"))?;
            place.check().map_err(at("memory-options"))?;
        }
        if let Some(stac) = &self.stac {
            stac.reveal().map_err(|error| Wrong::bad("stac", error))?;
            let options = self.stac_options.check();
            options.map_err(|(key, reason)| Wrong::bad("stac-options", format!("{key}: {reason}")))?;
            let storage = &self.stac_options.storage;
            if stac.is_remote() && !stac.is_web() {
                let (url, _) = SourceUrl::parse_file(&stac.to_string()).map_err(at("stac"))?;
                Source::check(&url, storage).map_err(at("stac-options"))?;
            }
        }
        Ok(())
    }

    /// Settings in which a secret stands itself, and not where to find it: what others may not read.
    #[must_use]
    pub fn plain_secrets(&self) -> Vec<String> {
        let places: [(&str, Option<&SourceOptions>); 5] = [
            ("source-options", Some(&self.source_options)),
            ("store-options", Some(&self.store_options)),
            ("index-options", self.index_options.as_ref()),
            ("memory-options", self.memory_options.as_ref()),
            ("stac-options.storage", Some(&self.stac_options.storage)),
        ];
        let mut found: Vec<String> = Vec::new();
        for (place, options) in places {
            let names = options.into_iter().flat_map(SourceOptions::plain_secrets);
            found.extend(names.map(|name| format!("{place}.extra.{name}")));
        }
        let headers = self.stac_options.headers.iter().filter(|(_, value)| value.is_plain());
        found.extend(headers.map(|(name, _)| format!("stac-options.headers.{name}")));
        found.extend(self.stac.as_ref().filter(|stac| stac.is_plain_secret()).map(|_| "stac".to_owned()));
        found
    }
}

/// What serde says of a value, without the value: it may be a secret.
#[must_use]
pub fn without_value(reason: &str) -> String {
    for begin in ["invalid type: string \"", "invalid value: string \""] {
        if let Some(rest) = reason.strip_prefix(begin)
            && let Some((_, expected)) = rest.rsplit_once("\", expected ")
        {
            return format!("{} a text, expected {expected}", begin.trim_end_matches(" string \""));
        }
    }
    reason.to_owned()
}

/// The sentence without the option's name, which stands before it anyway.
fn plain(error: &Error) -> String {
    let text = error.to_string();
    text.strip_prefix("--arrays: ").or(text.strip_prefix("--arrays ")).map_or_else(|| text.clone(), str::to_owned)
}
