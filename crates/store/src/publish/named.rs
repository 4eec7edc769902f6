//! The stores that are to be published: who each is, before anything is written.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::StreamExt;
use s2ice_manifest::ids::{Level, MgrsTile};
use s2ice_manifest::source::location::{Source, SourceOptions, SourceUrl};

use super::bounds::within;
use super::files::fingerprint;
use super::former::{Former, MARK};
use super::ledger::{Entry, Ledger};
use super::preview::Limits;
use super::report::Unpublished;
use super::settings::Publishing;
use super::subject::{self, last_run, store_of};
use crate::error::{Error, Result};
use crate::repository::{Head, Opened, head, own_stamp, promptly};
use crate::runs::LastRun;
use crate::target::Target;

/// Stores looked at a time.
const CONCURRENCY: usize = 8;

/// A store as it was named.
pub struct Named {
    url: SourceUrl,
    /// Its name in the publication, where that was said.
    id: Option<String>,
    target: Option<Target>,
}

impl Named {
    /// By its address alone; `None` where there surely is no store.
    pub fn by_address(url: SourceUrl, target: Option<Target>) -> Self {
        Self { url, id: None, target }
    }

    /// By a file, which says what lies there as soon as it is built.
    pub fn by_file(tile: MgrsTile, level: Level, url: SourceUrl, target: Option<Target>) -> Self {
        Self { url, id: Some(subject::name(tile, level)), target }
    }

    /// Refuses a store that lies where the publication is.
    ///
    /// # Errors
    /// [`Error::Request`].
    pub(super) fn is_apart(&self, settings: &Publishing) -> Result<()> {
        settings.is_apart(&self.url, self.target.as_ref().map_or(&SourceOptions::default(), Target::options))
    }
}

/// A store that is there.
pub(super) struct Found<'a> {
    pub(super) store: &'a Target,
    pub(super) id: String,
    /// Fingerprint of all that its documents are made of.
    pub(super) made_of: String,
    /// Fingerprint of its address.
    pub(super) from: String,
    /// Its last scheduled run.
    pub(super) last: Option<LastRun>,
    /// Nothing is to be made anew.
    pub(super) is_settled: bool,
}

/// Why a store is not published.
pub(super) struct Failed {
    url: String,
    pub(super) id: Option<String>,
    pub(super) error: Error,
}

impl Failed {
    /// Of a store that was found.
    pub(super) fn of(found: &Found<'_>, error: Error) -> Self {
        Self { url: found.store.url().to_string(), id: Some(found.id.clone()), error }
    }

    pub(super) fn told(&self) -> Unpublished {
        Unpublished { store: self.url.clone(), id: self.id.clone(), reason: self.error.to_string() }
    }
}

/// What became of the look at all stores.
#[derive(Default)]
pub(super) struct Looked<'a> {
    pub(super) found: Vec<Found<'a>>,
    pub(super) failed: Vec<Failed>,
    /// Names of those that were not built yet.
    pub(super) unbuilt: Vec<String>,
}

impl Looked<'_> {
    /// Names that stay in the publication; `None` where it is not known which one a store that failed had.
    pub(super) fn named(&self) -> Option<BTreeSet<String>> {
        let found = self.found.iter().map(|found| Some(found.id.clone()));
        let unbuilt = self.unbuilt.iter().cloned().map(Some);
        found.chain(unbuilt).chain(self.failed.iter().map(|failed| failed.id.clone())).collect()
    }
}

/// What a publication knows of stores before it looks at them.
pub(super) struct Known<'a> {
    settings: &'a Publishing,
    limits: &'a Limits,
    /// What was published, by name.
    entries: HashMap<&'a str, &'a Entry>,
    /// Names by what a store's documents are made of, and by its address.
    made_of: HashMap<&'a str, &'a str>,
    from: HashMap<&'a str, &'a str>,
}

enum Look<'a> {
    Found(Box<Found<'a>>),
    Failed(Failed),
    Unbuilt(String),
}

impl<'k> Known<'k> {
    pub(super) fn of(zones: &'k BTreeMap<String, Ledger>, settings: &'k Publishing, limits: &'k Limits) -> Self {
        let entries = || zones.values().flat_map(|zone| &zone.stores).map(|(id, entry)| (id.as_str(), entry));
        Self {
            settings,
            limits,
            entries: entries().collect(),
            made_of: entries().map(|(id, entry)| (entry.made_of.as_str(), id)).collect(),
            from: entries().map(|(id, entry)| (entry.from.as_str(), id)).collect(),
        }
    }

    /// Looks at all stores.
    ///
    /// # Errors
    /// [`Error::Request`] where two are of the same tile and level.
    pub(super) async fn look<'a>(&self, stores: &'a [Named]) -> Result<Looked<'a>> {
        let mut looks = futures::stream::iter(stores).map(|named| self.look_at(named)).buffered(CONCURRENCY);
        let (mut looked, mut places) = (Looked::default(), BTreeMap::new());
        while let Some(look) = looks.next().await {
            match look {
                Look::Unbuilt(id) => looked.unbuilt.push(id),
                Look::Failed(failed) => looked.failed.push(failed),
                Look::Found(found) => {
                    let url = found.store.url();
                    if let Some(other) = places.insert(found.id.clone(), url) {
                        return Err(Error::Request(format!(
                            "two of the stores are {}, {other} and {url}: publish them in places of their own",
                            found.id
                        )));
                    }
                    looked.found.push(*found);
                }
            }
        }
        Ok(looked)
    }

    async fn look_at<'a>(&self, named: &'a Named) -> Look<'a> {
        let from = fingerprint(named.url.to_string().as_bytes());
        match self.identified(named, &from).await {
            Ok(found) => Look::Found(Box::new(found)),
            Err(error) => {
                let id = named.id.clone();
                let is_published = id.as_ref().is_none_or(|id| self.entries.contains_key(id.as_str()));
                match (id, error) {
                    (Some(id), Error::NoStore { .. }) if !is_published => Look::Unbuilt(id),
                    (id, error) => {
                        let id = id.or_else(|| self.from.get(from.as_str()).map(|&id| id.to_owned()));
                        Look::Failed(Failed { url: named.url.to_string(), id, error })
                    }
                }
            }
        }
    }

    async fn identified<'a>(&self, named: &'a Named, from: &str) -> Result<Found<'a>> {
        let no_store = || Error::NoStore { url: named.url.to_string() };
        let store = named.target.as_ref().ok_or_else(no_store)?;
        within(store.url(), false)?;
        let head = match promptly(store, head(store)).await? {
            Ok(head) => head.ok_or_else(no_store)?,
            Err(error) => {
                store.probe().await?;
                return Err(error);
            }
        };
        let last = last_run(store).await?;
        let made_of = self.fingerprint(store, &head, last.as_ref())?;
        let known = self.made_of.get(made_of.as_str()).copied();
        let entry = known.and_then(|id| self.entries.get(id));
        let is_settled = entry.is_some_and(|entry| !entry.preview.is_due() || !self.limits.is_hopeful());
        within(store.url(), !is_settled || self.settings.restore)?;
        let id = match known {
            Some(id) => id.to_owned(),
            None => {
                let opened = Opened::open(store).await?.ok_or_else(no_store)?;
                let stamp = own_stamp(&opened.view, store.url())?;
                let damaged = |error: String| Error::Damaged { url: store.url().to_string(), detail: error };
                let tile: MgrsTile = stamp.tile.parse().map_err(|error| damaged(format!("{error}")))?;
                let level: Level = stamp.level.parse().map_err(|error| damaged(format!("{error}")))?;
                subject::name(tile, level)
            }
        };
        self.is_no_copy(store, &id, &head).await?;
        Ok(Found { store, id, made_of, from: from.to_owned(), last, is_settled })
    }

    /// Refuses the publication's own copy as a store that is published where it lies, under whatever address.
    async fn is_no_copy(&self, store: &Target, id: &str, head: &Head) -> Result<()> {
        let is_copy = head.info.as_ref().is_some_and(|info| info.metadata().is_ok_and(|told| told.contains_key(MARK)));
        // A folder is known by its path.
        if store.url().local_root().is_some() || !is_copy {
            return Ok(());
        }
        let Publishing { place, options, .. } = self.settings;
        let copy = SourceUrl::parse(&format!("{}{}", place.prefix(), store_of(id)))?;
        // Opening it would make the folder.
        if copy.local_root().is_some_and(|root| !root.exists()) {
            return Ok(());
        }
        let copy = Target::open(copy, options.clone()).await?;
        match Former::read(&copy).await? {
            Former::Whole(held) if held.resolve_branch("main").is_ok_and(|main| main == head.main) => {
                Err(Error::Request(format!(
                    "{} is the copy that {place} has of a store: name the store itself, or publish in another place",
                    store.url()
                )))
            }
            _ => Ok(()),
        }
    }

    /// All that the documents and the copy of a store are made of. When it was last looked at is none of it: that is told by
    /// the line in the catalogue alone, or every store would be described anew every night.
    fn fingerprint(&self, store: &Target, head: &Head, last: Option<&LastRun>) -> Result<String> {
        let info = head.info.as_deref();
        let tags = info.and_then(|info| info.tags().ok()).into_iter().flatten();
        let tags: Vec<String> = tags.map(|(name, id)| format!("{name} {id}")).collect();
        // Where its references lead, which a change without a commit may change.
        let config = info.and_then(|info| info.config_bytes_raw().ok()).flatten().map(|bytes| fingerprint(&bytes));
        let last = last.map(|last| (last.completed, last.refused, last.missing_index_count));
        let Publishing { place, base_url, title, publisher, source, background, preview, writer, .. } = self.settings;
        let source =
            source.as_ref().map(|(url, options)| Ok::<_, Error>((url.to_string(), Source::check(url, options)?)));
        let source = source.transpose()?;
        let (url, reached, main) = (store.url(), Source::check(store.url(), store.options())?, &head.main);
        let text = format!(
            "{url}\n{reached:?}\n{main}\n{tags:?}\n{config:?}\n{last:?}\n{place}\n{base_url}\n{title}\n{publisher:?}\n{source:?}\n\
             {background:?}\n{preview}\n{writer}"
        );
        Ok(fingerprint(text.as_bytes()))
    }
}

/// The UTM zone by which the catalogue is divided: the two digits with which a store's name begins.
pub(super) fn zone_of(id: &str) -> &str {
    id.get(..2).unwrap_or_default()
}
