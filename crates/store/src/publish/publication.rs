//! `s2ice publish`: brings a publication in step with stores, batch by batch, so that a killed one goes on where it was.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt};
use tokio::sync::OnceCell;

use super::apart::is_in_no_store;
use super::documents;
use super::files;
use super::ledger::{Entry, Ledger, Told, Written};
use super::made::{Made, New};
use super::named::{Failed, Known, Looked, Named, zone_of};
use super::place::Place;
use super::preview::{self, Limits, Preview};
use super::report::{PublishReport, Published, Unpublished, WithoutPreview};
use super::row::Row;
use super::settings::Publishing;
use super::stranger::look;
use super::work::Work;
use crate::error::Result;
use crate::progress::{Phase, Progress};
use crate::report::REPORT_VERSION;

/// Stores read at a time.
const CONCURRENCY: usize = 8;

/// Stores whose documents are written together.
const BATCH: usize = 64;

/// The ledger of the whole publication.
const ROOT: &str = "publication.json";

/// Publishes stores.
///
/// # Errors
/// Two are of the same tile and level, one lies where the publication is, or the only one cannot be published; the place holds what was not published there, is
/// written by another publication, or cannot be written. Nothing is written where no store can be published.
pub async fn publish(stores: &[Named], settings: &Publishing, progress: &dyn Progress) -> Result<PublishReport> {
    stores.iter().try_for_each(|named| named.is_apart(settings))?;
    is_in_no_store(&settings.place, &settings.options).await?;
    let place = Place::open(&settings.place, &settings.options)?;
    let _lock = place.lock()?;
    let mut root = Ledger::read(&place, ROOT).await?;
    if !root.is_there {
        // It may have been lost, and the stores of the zones not.
        root.zones = place.zones().await?;
    }
    let mut zones = BTreeMap::new();
    for zone in &root.zones {
        let path = ledger_of(zone);
        let ledger = Ledger::read(&place, &path).await?;
        if !ledger.is_there && !root.unfinished.contains(&path) {
            return Err(place.lost(&path));
        }
        zones.insert(zone.clone(), ledger);
    }
    let (limits, begun) = (Limits::new(), OnceCell::new());
    let mut work =
        Work { settings, place, root: root.into(), zones, limits, begun, report: PublishReport::new(settings) };
    if settings.restore {
        work.restore().await?;
    }
    progress.begin(Phase::Stores, Some(stores.len() as u64));
    let Looked { found, mut failed, unbuilt } = Known::of(&work.zones, settings, &work.limits).look(stores).await?;
    for id in found.iter().map(|found| &found.id) {
        let zone = zone_of(id);
        if !work.zones.contains_key(zone) {
            work.zones.insert(zone.to_owned(), Ledger::read(&work.place, &ledger_of(zone)).await?);
        }
    }
    progress.advance((failed.len() + unbuilt.len()) as u64);
    for batch in found.chunks(BATCH) {
        let made = futures::stream::iter(batch).map(|found| work.made(found, progress)).buffered(CONCURRENCY);
        let made: Vec<_> = made.try_collect().await?;
        let mut good = Vec::new();
        for one in made {
            match one {
                Ok(made) => good.push(made),
                Err(why) => failed.push(why),
            }
        }
        work.put(good).await?;
    }
    progress.end();
    work.report.failed = failed.iter().map(Failed::told).collect();
    if stores.len() == 1
        && let Some(only) = failed.pop()
    {
        return Err(only.error);
    }
    let looked = Looked { found, failed, unbuilt };
    if !looked.failed.is_empty() && looked.failed.len() + looked.unbuilt.len() == stores.len() {
        work.report.stores = work.zones.values().map(|zone| zone.stores.len()).sum();
        return Ok(work.report);
    }
    if settings.prune {
        match looked.named() {
            Some(named) => work.prune(&named).await?,
            None => tracing::warn!("nothing is taken out: it is not known what the stores are that cannot be read"),
        }
    }
    let failed = looked.failed.iter().filter_map(|failed| failed.id.clone());
    let seen = looked.found.iter().map(|found| found.id.clone()).chain(failed).collect();
    work.report.unbuilt = looked.unbuilt;
    work.close(&seen).await
}

/// Where the ledger of a zone lies.
fn ledger_of(zone: &str) -> String {
    format!("zones/{zone}/ledger.json")
}

impl Work<'_> {
    /// Takes documents that were lost for unwritten; copies are looked through beside their originals.
    async fn restore(&mut self) -> Result<()> {
        let root = self.root.get_mut();
        let known = self.zones.values().chain([&*root]).flat_map(|ledger| ledger.files.keys().map(String::as_str));
        let there = self.place.files(known.collect()).await?;
        let ledgers = self.zones.values_mut().chain([root]);
        self.report.lost = ledgers.map(|ledger| ledger.miss(&there)).sum();
        Ok(())
    }

    /// Tells of the stores of which something stays lost, or is told by other addresses or another title than now, because
    /// nobody named them. `seen` are those that were.
    fn stays(&mut self, seen: &BTreeSet<String>, told: Option<&Told>) {
        let other = told.filter(|told| **told != self.settings.told()).map(|Told { base_url, title }| {
            format!("it is told of at {base_url} as of {title:?}: name it too, or give that --base-url and --title")
        });
        for (id, entry, ledger) in self.zones.values().flat_map(Ledger::entries) {
            let lost = entry.files.iter().filter(|path| ledger.is_lost(path)).count();
            // What is back is counted.
            self.report.lost = self.report.lost.saturating_sub(lost as u64);
            let reason = match (seen.contains(id), lost, &other) {
                (true, ..) | (false, 0, None) => continue,
                (false, 0, Some(other)) => other.clone(),
                (false, lost, _) => format!("{lost} of its files are lost, and come back when it is named too"),
            };
            self.report.failed.push(Unpublished { store: entry.row.store.url.clone(), id: Some(id.clone()), reason });
        }
    }

    /// Writes what was made, zone by zone.
    async fn put(&mut self, made: Vec<Made>) -> Result<()> {
        let mut zones: BTreeMap<String, Vec<Made>> = BTreeMap::new();
        for one in made {
            self.report.copied_objects += one.copied.objects;
            self.report.copied_bytes += one.copied.bytes;
            self.report.lost += one.copied.lost;
            let without = one.without_preview.clone().map(|reason| WithoutPreview { id: one.id.clone(), reason });
            self.report.without_preview.extend(without);
            match &one.new {
                None => self.report.unchanged += 1,
                Some(New { row, .. }) => self.report.published.push(Published::of(row, one.copied.moved)),
            }
            zones.entry(zone_of(&one.id).to_owned()).or_default().push(one);
        }
        // Before a zone is written, the publication knows of it.
        let root = self.root.get_mut();
        let known = root.zones.len();
        for zone in zones.keys() {
            if root.zones.insert(zone.clone()) {
                // Not lost, where it is not there yet.
                root.unfinished.insert(ledger_of(zone));
            }
        }
        if root.zones.len() > known || root.claim.is_some() {
            root.put(&self.place).await?;
        }
        for (zone, before) in &mut self.zones {
            let Some(stores) = zones.remove(zone) else { continue };
            let mut ledger = before.clone();
            let (mut all, mut gone) = (Vec::new(), BTreeSet::new());
            for Made { id, made_of, from, last, new, .. } in stores {
                if let Some(New { row, documents, preview }) = new {
                    let mut files: BTreeSet<String> = documents.iter().map(|document| document.path.clone()).collect();
                    if let Preview::Made(_) = preview {
                        // A picture that stays is none of the documents.
                        files.insert(preview::path(&id));
                    }
                    // Such as documents of states that `s2ice gc` took away.
                    let had = ledger.stores.get(&id).map(|entry| &entry.files);
                    gone.extend(had.into_iter().flatten().filter(|path| !files.contains(*path)).cloned());
                    ledger.stores.insert(id, Entry { made_of, from, row, files, preview });
                    all.extend(documents);
                } else if let Some(entry) = ledger.stores.get_mut(&id) {
                    entry.row.tell(last.as_ref());
                }
            }
            let (ledger, written) = ledger.write(&self.place, all, gone, before).await?;
            self.report.count(written);
            *before = ledger;
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
    async fn close(mut self, seen: &BTreeSet<String>) -> Result<PublishReport> {
        let mut rows = Vec::new();
        let mut root = std::mem::take(self.root.get_mut());
        self.stays(seen, root.told.as_ref());
        let is_told = self.report.failed.is_empty() || root.told.is_none();
        // One of which no store could be published is none yet.
        self.zones.retain(|zone, _| root.zones.contains(zone));
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
        let before = root.clone();
        root.claim = None;
        if is_told {
            root.told = Some(self.settings.told());
        }
        let (_, written) = root.write(&self.place, documents, BTreeSet::new(), &before).await?;
        self.report.count(written);
        self.report.stores = rows.len();
        if self.settings.look {
            let store = rows.iter().find(|row| self.report.published.first().is_none_or(|new| new.id == row.id));
            let store = store.map(|row| (&row.store, row.snapshot.as_str()));
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
            failed: Vec::new(),
            unbuilt: Vec::new(),
            removed: Vec::new(),
            previews: 0,
            without_preview: Vec::new(),
            files: 0,
            bytes: 0,
            lost: 0,
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
