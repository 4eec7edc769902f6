//! What is made of one store: its documents, its picture, and its copy where nobody else reaches it.

use icechunk::virtual_chunks::VirtualChunkContainer;
use s2ice_manifest::source::location::{Source, SourceUrl};

use super::apart::beside;
use super::copy::{Copying, copy};
use super::documents;
use super::files::fingerprint;
use super::former::Remembered;
use super::ledger::{Document, Entry};
use super::named::{Failed, Found, zone_of};
use super::objects::Copied;
use super::preview::{self, Outcome, Preview, preview};
use super::row::Row;
use super::settings::Publishing;
use super::subject::{Subject, store_of};
use super::work::Work;
use crate::config;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::reached::Reached;
use crate::runs::LastRun;
use crate::target::Target;

/// What became of a store.
pub(super) struct Made {
    pub(super) id: String,
    pub(super) made_of: String,
    pub(super) from: String,
    /// Its last scheduled run.
    pub(super) last: Option<LastRun>,
    /// `None` where nothing changed.
    pub(super) new: Option<New>,
    pub(super) copied: Copied,
    /// Why it has no picture, where one was tried.
    pub(super) without_preview: Option<String>,
}

impl Made {
    /// What it is made of, and nothing new.
    fn of(found: &Found<'_>) -> Self {
        let Found { id, made_of, from, last, .. } = found;
        Self {
            id: id.clone(),
            made_of: made_of.clone(),
            from: from.clone(),
            last: last.clone(),
            new: None,
            copied: Copied::default(),
            without_preview: None,
        }
    }
}

/// What is told of a store anew.
pub(super) struct New {
    pub(super) row: Row,
    pub(super) documents: Vec<Document>,
    pub(super) preview: Preview,
}

/// The copy of a store that is to be brought up to date.
struct Copy {
    place: SourceUrl,
    container: Option<VirtualChunkContainer>,
}

impl Work<'_> {
    /// Reads a store where it changed, copies it where nobody else reaches it, and makes its documents.
    ///
    /// # Errors
    /// What concerns all stores; the inner error is of this one.
    pub(super) async fn made(
        &self,
        found: &Found<'_>,
        progress: &dyn Progress,
    ) -> Result<std::result::Result<Made, Failed>> {
        let entry = self.zones.get(zone_of(&found.id)).and_then(|zone| zone.stores.get(&found.id));
        let made = match (found.is_settled, self.settings.restore) {
            (true, false) => Ok(Made::of(found)),
            (true, true) => self.mended(found, entry).await,
            (false, _) => self.anew(found, entry).await,
        };
        progress.advance(1);
        match made {
            Err(error @ Error::Conflict { .. }) => Err(error),
            made => Ok(made.map_err(|error| Failed::of(found, error))),
        }
    }

    /// As [`Self::made`], of a store that changed or whose picture is due.
    async fn anew(&self, found: &Found<'_>, entry: Option<&Entry>) -> Result<Made> {
        let Found { store, id, made_of, .. } = found;
        let mut subject = Subject::read(store, self.settings.clock).await?;
        if subject.id != *id {
            return Err(Error::Conflict { url: store.url().to_string() });
        }
        let zone = self.zones.get(zone_of(id));
        // One that may be half written is made anew.
        let known = entry.filter(|_| zone.is_some_and(|zone| zone.has(&preview::path(id))));
        let known = known.and_then(|entry| match &entry.preview {
            Preview::Made(picture) => Some(picture),
            Preview::Lacks(_) => None,
        });
        let outcome = match self.settings.preview {
            true => preview(store, &subject.state, known, &self.limits).await,
            false => Outcome::unwanted(),
        };
        let Outcome { preview, jpeg, reason: without_preview } = outcome;
        if entry.is_some_and(|entry| entry.made_of == *made_of && entry.preview == preview) {
            let made = if self.settings.restore { self.mended(found, entry).await? } else { Made::of(found) };
            return Ok(Made { without_preview, ..made });
        }
        let copy = self.copy_of(&mut subject)?;
        let mut documents = documents::of_store(&subject, &preview, self.settings)?;
        documents.extend(jpeg.map(|bytes| Document { path: preview::path(id), bytes }));
        // What is in the way is told before megabytes are copied.
        for Document { path, .. } in &documents {
            if !zone.is_some_and(|zone| zone.knows(path)) {
                self.place.is_free(path).await?;
            }
        }
        self.begin().await?;
        let copied = match copy {
            Some(copy) => self.copied(found, entry, copy).await?,
            None => Copied::default(),
        };
        let new = Some(New { row: Row::of(&subject), documents, preview });
        Ok(Made { new, copied, without_preview, ..Made::of(found) })
    }

    /// A store that did not change: what was lost of its copy is copied again.
    async fn mended(&self, found: &Found<'_>, entry: Option<&Entry>) -> Result<Made> {
        let made = Made::of(found);
        if found.store.url().local_root().is_none() {
            return Ok(made);
        }
        let mut subject = Subject::read(found.store, self.settings.clock).await?;
        let Some(copy) = self.copy_of(&mut subject)? else { return Ok(made) };
        self.begin().await?;
        Ok(Made { copied: self.copied(found, entry, copy).await?, ..made })
    }

    /// Before the first store is copied or written: nothing is in the way of what tells of several, and of publications at
    /// the same time one goes on. The others, and one that began before, end at the next look at the ledger.
    async fn begin(&self) -> Result<()> {
        let begun = self.begun.get_or_try_init(|| async {
            let mut root = self.root.lock().await;
            for path in documents::names_of_all().filter(|path| !root.knows(path)) {
                self.place.is_free(&path).await?;
            }
            for (zone, ledger) in &self.zones {
                for path in documents::names_of_zone(zone).filter(|path| !ledger.knows(path)) {
                    self.place.is_free(&path).await?;
                }
            }
            // A folder is locked.
            if self.settings.place.local_root().is_none() {
                let now = (self.settings.clock)().timestamp_micros();
                let who = format!("{} {now} {}", self.settings.run, std::process::id());
                root.claim = Some(fingerprint(who.as_bytes()));
                root.put(&self.place).await?;
            }
            Ok(())
        });
        begun.await.map(|_| ())
    }

    /// Where a store that lies on this machine is copied to, as which it is described.
    fn copy_of(&self, subject: &mut Subject) -> Result<Option<Copy>> {
        if !subject.store.is_local() {
            return Ok(None);
        }
        let path = store_of(&subject.id);
        // No link leads out of the place, neither on the way to the copy nor in its stead.
        self.place.is_there(&format!("{path}/repo"))?;
        let place = SourceUrl::parse(&format!("{}{path}", self.settings.place.prefix()))?;
        let container = self.container(subject)?;
        subject.store = Reached::of_the_web(format!("{}{path}", self.settings.base_url));
        if let Some((url, options)) = &self.settings.source {
            let reached = Reached::by(url, &Source::check(url, options)?);
            subject.sources.values_mut().for_each(|source| *source = reached.clone());
        }
        Ok(Some(Copy { place, container }))
    }

    async fn copied(&self, found: &Found<'_>, entry: Option<&Entry>, copied: Copy) -> Result<Copied> {
        let Copy { place, container } = copied;
        // Below a link the place may be another than it was called.
        beside(found.store.url(), &place)?;
        let target = Target::open(place, self.settings.options.clone()).await?;
        let is_same = |entry: &Entry| entry.from == found.from;
        let remembered = entry.map(|entry| Remembered { is_same: is_same(entry), snapshot: &entry.row.snapshot });
        let Publishing { restore, clock, .. } = *self.settings;
        copy(found.store, &target, Copying { container: container.as_ref(), remembered, restore, clock }).await
    }

    /// The container of a copy, where its product files are reached elsewhere.
    fn container(&self, subject: &Subject) -> Result<Option<VirtualChunkContainer>> {
        let Some((url, options)) = &self.settings.source else { return Ok(None) };
        let name = subject.sources.keys().next().map(String::as_str).unwrap_or_default();
        config::container(name, url, &Source::check(url, options)?).map(Some)
    }
}
