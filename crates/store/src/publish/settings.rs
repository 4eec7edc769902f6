//! How and where stores are published.

use chrono::{DateTime, Utc};
use s2ice_manifest::source::location::{Source, SourceOptions, SourceUrl};

use super::apart::apart;
use super::ledger::Told;
use crate::error::Result;

/// Who publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    /// Name.
    pub name: String,
    /// Home page.
    pub url: Option<String>,
}

/// A map of others behind the tiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Background {
    /// Address of a picture, with `{z}`, `{x}` and `{y}`.
    pub tiles: String,
    /// What is said of who made it.
    pub attribution: String,
    /// Deepest zoom that there is.
    pub max_zoom: u8,
}

/// How and where to publish.
#[derive(Debug, Clone)]
pub struct Publishing {
    /// Folder or bucket.
    pub place: SourceUrl,
    /// How that is written.
    pub options: SourceOptions,
    /// Address at which others reach that place; with a slash at its end.
    pub base_url: String,
    /// Title of the catalogue.
    pub title: String,
    /// Who publishes, where that is to be told.
    pub publisher: Option<Publisher>,
    /// Where others reach the product files, and how; that of the stores themselves where there is none.
    pub source: Option<(SourceUrl, SourceOptions)>,
    /// What maps show behind the tiles; the land where there is nothing.
    pub background: Option<Background>,
    /// Make a picture of each store that has one in few bytes.
    pub preview: bool,
    /// Take stores that are not among the given ones out of the publication.
    pub prune: bool,
    /// Look through the place first, for what was lost there.
    pub restore: bool,
    /// See afterwards what a stranger meets.
    pub look: bool,
    /// Name of the run.
    pub run: String,
    /// Program and version.
    pub writer: String,
    /// This host's clock.
    pub clock: fn() -> DateTime<Utc>,
}

impl Publishing {
    /// Refuses a store that lies where the publication is, as it is written or as it is read; nothing is asked.
    ///
    /// # Errors
    /// [`crate::Error::Request`].
    pub fn is_apart(&self, store: &SourceUrl, options: &SourceOptions) -> Result<()> {
        let service = |url: &SourceUrl, options: &SourceOptions| {
            let endpoint = Source::check(url, options).ok().and_then(|effective| effective.endpoint);
            endpoint.map(|endpoint| endpoint.trim_end_matches('/').to_ascii_lowercase())
        };
        // Buckets of the same name may be others' at another service.
        if store.local_root().is_some() || service(store, options) == service(&self.place, &self.options) {
            apart(store, &self.place)?;
        }
        apart(store, &SourceUrl::parse(&self.base_url)?)
    }

    /// What all documents have in common.
    pub(super) fn told(&self) -> Told {
        Told { base_url: self.base_url.clone(), title: self.title.clone() }
    }
}
