//! `s2ice publish`: brings a publication in step with stores, batch by batch, so that a killed one goes on where it was.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use icechunk::virtual_chunks::VirtualChunkContainer;
use s2ice_manifest::source::location::{Source, SourceUrl};

use super::copy::{Copied, copy};
use super::documents;
use super::files::{self, fingerprint};
use super::ledger::{Document, Entry, Ledger, Written};
use super::place::Place;
use super::preview::{self, Limits, Outcome, Preview, preview};
use super::report::{PublishReport, Published, WithoutPreview};
use super::row::Row;
use super::settings::Publishing;
use super::stranger::look;
use super::subject::{Reached, Subject};
use crate::config;
use crate::error::{Error, Result};
use crate::progress::{Phase, Progress};
use crate::report::REPORT_VERSION;
use crate::repository::{Head, head};
use crate::runs::{LastRun, read_last_run};
use crate::target::Target;

/// Stores read at a time.
const CONCURRENCY: usize = 8;

/// Stores whose documents are written together.
const BATCH: usize = 64;

/// The ledger of the whole publication.
const ROOT: &str = "publication.json";

/// Publishes stores.
///
/// # Errors
/// A store cannot be read; two are of the same tile and level; the place holds what was not published there, or cannot be
/// written.
pub async fn publish(stores: &[Target], settings: &Publishing, progress: &dyn Progress) -> Result<PublishReport> {
    let place = Place::open(&settings.place, &settings.options)?;
    let _lock = place.lock()?;
    let root = Ledger::read(&place, ROOT).await?;
    let mut zones = BTreeMap::new();
    for zone in &root.zones {
        zones.insert(zone.clone(), Ledger::read(&place, &ledger_of(zone)).await?);
    }
    let limits = Limits::new();
    let mut work = Work { settings, place, root, zones, limits, report: PublishReport::new(settings) };
    progress.begin(Phase::Stores, Some(stores.len() as u64));
    let mut named = BTreeSet::new();
    for batch in stores.chunks(BATCH) {
        let made = futures::stream::iter(batch.iter().map(Ok::<_, Error>)).map_ok(|store| work.made(store, progress));
        let made: Vec<Made> = made.try_buffered(CONCURRENCY).try_collect().await?;
        for one in &made {
            if !named.insert(one.id.clone()) {
                return Err(Error::Request(format!(
                    "two of the stores are {}: publish them in places of their own",
                    one.id
                )));
            }
        }
        work.put(made).await?;
    }
    progress.end();
    if settings.prune {
        work.prune(&named).await?;
    }
    work.close().await
}

/// Where the ledger of a zone lies.
fn ledger_of(zone: &str) -> String {
    format!("zones/{zone}/ledger.json")
}

/// The UTM zone by which the catalogue is divided: the two digits with which a store's name begins.
fn zone_of(id: &str) -> &str {
    id.get(..2).unwrap_or_default()
}

/// What became of a store.
struct Made {
    id: String,
    made_of: String,
    /// Its last scheduled run.
    last: Option<LastRun>,
    /// `None` where nothing changed.
    new: Option<New>,
    copied: Copied,
    /// Why it has no picture, where one was tried.
    without_preview: Option<String>,
}

/// What is told of a store anew.
struct New {
    row: Row,
    documents: Vec<Document>,
    preview: Preview,
}

struct Work<'a> {
    settings: &'a Publishing,
    place: Place,
    root: Ledger,
    zones: BTreeMap<String, Ledger>,
    limits: Limits,
    report: PublishReport,
}

impl Work<'_> {
    /// Reads a store where it changed, copies it where nobody else reaches it, and makes its documents.
    async fn made(&self, store: &Target, progress: &dyn Progress) -> Result<Made> {
        let (head, last) = futures::join!(head(store), read_last_run(store));
        let head = head.ok_or_else(|| Error::NoStore { url: store.url().to_string() })?;
        let last = last?;
        let made_of = self.fingerprint(store, &head, last.as_ref());
        let known = self.zones.values().flat_map(|zone| &zone.stores).find(|(_, entry)| entry.made_of == made_of);
        let settled = known.filter(|(_, entry)| !entry.preview.is_due() || !self.limits.is_hopeful());
        let made = match settled {
            Some((id, _)) => {
                let (id, copied) = (id.clone(), Copied::default());
                Made { id, made_of, last, new: None, copied, without_preview: None }
            }
            None => self.anew(store, made_of, last).await?,
        };
        progress.advance(1);
        Ok(made)
    }

    /// As [`Self::made`], of a store that changed or whose picture is due.
    async fn anew(&self, store: &Target, made_of: String, last: Option<LastRun>) -> Result<Made> {
        let mut subject = Subject::read(store, self.settings.clock).await?;
        let id = subject.id.clone();
        let zone = self.zones.get(zone_of(&id));
        let entry = zone.and_then(|zone| zone.stores.get(&id));
        // One that may be half written is made anew.
        let known = entry.filter(|_| zone.is_some_and(|zone| zone.has(&preview::path(&id))));
        let known = known.and_then(|entry| match &entry.preview {
            Preview::Made(picture) => Some(picture),
            Preview::Lacks(_) => None,
        });
        let outcome = match self.settings.preview {
            true => preview(store, &subject.state, known, &self.limits).await,
            false => Outcome::unwanted(),
        };
        let Outcome { preview, jpeg, reason: without_preview } = outcome;
        if entry.is_some_and(|entry| entry.made_of == made_of && entry.preview == preview) {
            return Ok(Made { id, made_of, last, new: None, copied: Copied::default(), without_preview });
        }
        let copied = self.copied(store, &mut subject).await?;
        let mut documents = documents::of_store(&subject, &preview, self.settings)?;
        documents.extend(jpeg.map(|bytes| Document { path: preview::path(&id), bytes }));
        let new = Some(New { row: Row::of(&subject), documents, preview });
        Ok(Made { id, made_of, last, new, copied, without_preview })
    }

    /// All that the documents of a store are made of. When it was last looked at is none of it: that is told by the line in
    /// the catalogue alone, or every store would be described anew every night.
    fn fingerprint(&self, store: &Target, head: &Head, last: Option<&LastRun>) -> String {
        let tags = head.info.as_ref().and_then(|info| info.tags().ok());
        let tags: Vec<String> = tags.into_iter().flatten().map(|(name, _)| name.to_owned()).collect();
        let last = last.map(|last| (last.completed, last.refused, last.missing_index_count));
        let Publishing { place, base_url, title, publisher, source, background, preview, writer, .. } = self.settings;
        let source = source.as_ref().map(|(url, _)| url.to_string());
        let (url, main) = (store.url(), &head.main);
        let text = format!(
            "{url}\n{main}\n{tags:?}\n{last:?}\n{place}\n{base_url}\n{title}\n{publisher:?}\n{source:?}\n{background:?}\n{preview}\n{writer}"
        );
        fingerprint(text.as_bytes())
    }

    /// Copies a store that lies on this machine into the publication.
    async fn copied(&self, store: &Target, subject: &mut Subject) -> Result<Copied> {
        if !subject.store.is_local() {
            return Ok(Copied::default());
        }
        let path = format!("{}/store", subject.id);
        let place = SourceUrl::parse(&format!("{}{path}", self.settings.place.prefix()))?;
        let container = self.container(subject)?;
        let target = Target::open(place, self.settings.options.clone()).await?;
        let copied = copy(store, &target, container.as_ref(), self.settings.clock).await?;
        let url = format!("{}{path}", self.settings.base_url);
        subject.store = Reached::of_the_web(url);
        if let Some((url, options)) = &self.settings.source {
            let reached = Reached::by(url, &Source::check(url, options)?);
            subject.sources.values_mut().for_each(|source| *source = reached.clone());
        }
        Ok(copied)
    }

    /// The container of a copy, where its product files are reached elsewhere.
    fn container(&self, subject: &Subject) -> Result<Option<VirtualChunkContainer>> {
        let Some((url, options)) = &self.settings.source else { return Ok(None) };
        let name = subject.sources.keys().next().map(String::as_str).unwrap_or_default();
        config::container(name, url, &Source::check(url, options)?).map(Some)
    }

    /// Writes what was made, zone by zone.
    async fn put(&mut self, made: Vec<Made>) -> Result<()> {
        let mut zones: BTreeMap<String, Vec<Made>> = BTreeMap::new();
        for one in made {
            self.report.copied_objects += one.copied.objects;
            self.report.copied_bytes += one.copied.bytes;
            let without = one.without_preview.clone().map(|reason| WithoutPreview { id: one.id.clone(), reason });
            self.report.without_preview.extend(without);
            match &one.new {
                None => self.report.unchanged += 1,
                Some(New { row, .. }) => self.report.published.push(Published::of(row, one.copied.moved)),
            }
            zones.entry(zone_of(&one.id).to_owned()).or_default().push(one);
        }
        // Before a zone is written, the publication knows of it.
        let before = self.root.clone();
        self.root.zones.extend(zones.keys().cloned());
        let (root, _) = self.root.clone().write(&self.place, Vec::new(), BTreeSet::new(), &before).await?;
        self.root = root;
        for (zone, stores) in zones {
            let before = match self.zones.remove(&zone) {
                Some(ledger) => ledger,
                None => Ledger::read(&self.place, &ledger_of(&zone)).await?,
            };
            let mut ledger = before.clone();
            let (mut all, mut gone) = (Vec::new(), BTreeSet::new());
            for Made { id, made_of, last, new, .. } in stores {
                if let Some(New { row, documents, preview }) = new {
                    let mut files: BTreeSet<String> = documents.iter().map(|document| document.path.clone()).collect();
                    if let Preview::Made(_) = preview {
                        // A picture that stays is none of the documents.
                        files.insert(preview::path(&id));
                    }
                    // Such as documents of states that `s2ice gc` took away.
                    let had = ledger.stores.get(&id).map(|entry| &entry.files);
                    gone.extend(had.into_iter().flatten().filter(|path| !files.contains(*path)).cloned());
                    ledger.stores.insert(id, Entry { made_of, row, files, preview });
                    all.extend(documents);
                } else if let Some(entry) = ledger.stores.get_mut(&id) {
                    entry.row.tell(last.as_ref());
                }
            }
            let (ledger, written) = ledger.write(&self.place, all, gone, &before).await?;
            self.report.count(written);
            self.zones.insert(zone, ledger);
        }
        Ok(())
    }

    /// Takes out what was published and is not named any more; copies of stores stay.
    async fn prune(&mut self, named: &BTreeSet<String>) -> Result<()> {
        for (zone, before) in std::mem::take(&mut self.zones) {
            let mut ledger = before.clone();
            let mut gone = BTreeSet::new();
            ledger.stores.retain(|id, entry| {
                let stays = named.contains(id);
                if !stays {
                    gone.extend(entry.files.iter().cloned());
                    self.report.removed.push(id.clone());
                }
                stays
            });
            let (ledger, written) = ledger.write(&self.place, Vec::new(), gone, &before).await?;
            self.report.count(written);
            self.zones.insert(zone, ledger);
        }
        Ok(())
    }

    /// Writes what tells of several stores.
    async fn close(mut self) -> Result<PublishReport> {
        let mut rows = Vec::new();
        for (zone, ledger) in std::mem::take(&mut self.zones) {
            let of_zone: Vec<Row> = ledger.stores.values().map(|entry| entry.row.clone()).collect();
            let made = |entry: &&Entry| matches!(entry.preview, Preview::Made(_));
            self.report.previews += ledger.stores.values().filter(made).count();
            let documents = documents::of_zone(&zone, &of_zone, self.settings)?;
            let (_, written) = ledger.clone().write(&self.place, documents, BTreeSet::new(), &ledger).await?;
            self.report.count(written);
            rows.extend(of_zone);
        }
        let documents = documents::of_all(&rows, self.settings)?;
        let catalog = documents.iter().find(|document| document.path == files::CATALOG);
        let catalog = catalog.map(|document| document.bytes.clone()).unwrap_or_default();
        let before = self.root.clone();
        let (_, written) = self.root.write(&self.place, documents, BTreeSet::new(), &before).await?;
        self.report.count(written);
        self.report.stores = rows.len();
        if self.settings.look {
            let store = rows.iter().find(|row| self.report.published.first().is_none_or(|new| new.id == row.id));
            let store = store.map(|row| &row.store);
            self.report.hindrances = look(&self.settings.base_url, files::CATALOG, &catalog, store).await;
        }
        Ok(self.report)
    }
}

impl PublishReport {
    fn new(settings: &Publishing) -> Self {
        Self {
            kind: "s2ice.publish".to_owned(),
            version: REPORT_VERSION,
            run: settings.run.clone(),
            place: settings.place.to_string(),
            url: settings.base_url.clone(),
            stores: 0,
            published: Vec::new(),
            unchanged: 0,
            removed: Vec::new(),
            previews: 0,
            without_preview: Vec::new(),
            files: 0,
            bytes: 0,
            files_removed: 0,
            copied_objects: 0,
            copied_bytes: 0,
            hindrances: Vec::new(),
        }
    }

    fn count(&mut self, written: Written) {
        self.files += written.files;
        self.bytes += written.bytes;
        self.files_removed += written.removed;
    }
}
