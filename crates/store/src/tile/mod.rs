//! The main job: make a store hold what index, catalogue and source say, or write that to a manifest file.

mod catalogue;
mod changes;
mod cog;
mod cog_reader;
mod difference;
mod doubt;
mod evidence;
mod facts;
mod fingerprint;
mod found;
mod gather;
mod guard;
mod inputs;
mod jp2;
mod missing;
mod places;
mod prejudged;
mod prepare;
mod recheck;
mod sample;
mod search;
mod settings;
mod settle;
mod settled;
mod survey;
mod told;
mod trouble;
mod unindexed;
mod waiting;
mod wanted;
mod whereabouts;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use s2ice_manifest::source::location::SourceUrl;
use s2ice_manifest::source::manifest_parquet::{NamedManifest, write_manifest};
use s2ice_manifest::source::memory::{Memory, MemoryError, Place};

pub use self::catalogue::next_search;
#[cfg(test)]
pub(crate) use self::changes::references as array_references;
pub use self::settings::{
    Bearing, BuildSettings, HeaderPolicy, MemoryPlace, Occasion, Recheck, Scheduled, Wrong,
    definition as settings_definition, schema as settings_schema, without_value,
};
pub use self::survey::{Survey, survey};
pub(crate) use self::wanted::Wanted;

use self::prepare::{Prepared, nothing, prepare};
use self::settings::one_store;
use self::settled::{Asked, Settled};
use self::told::used;
use crate::clock::StoreClock;
use crate::commit::{self, Loaded};
use crate::error::{Error, Result};
use crate::options::WriteOptions;
use crate::plan::StorePlan;
use crate::progress::Progress;
use crate::report::{BuildReport, Committed};
use crate::target::Target;
use crate::writer::Written;

/// Concurrent requests of a commit to a remote store.
const COMMIT_CONCURRENCY: usize = 16;

/// How often a run that lost against another writer begins anew. Whoever wins is done, so that this many writers at once
/// all get their turn.
const ATTEMPTS: u32 = 20;

/// Waiting time after a lost race, times the number of the attempt.
const BACKOFF: Duration = Duration::from_millis(100);

/// How often what is learned is saved while a run goes on.
const SAVE_EVERY: Duration = Duration::from_secs(15);

/// Facts that are worth a request to save: some products.
const WORTH_SAVING: usize = 100;

/// Makes the store of a tile hold what the inputs say, or, in a dry run, works out what would change.
///
/// # Errors
/// An input cannot be read, nothing is left to store, or the store cannot be written. Its `main` is then as it was.
pub async fn build(settings: &BuildSettings, progress: &dyn Progress) -> Result<BuildReport> {
    let target = match (&settings.store, settings.dry_run) {
        (Some(url), dry_run) => {
            let url = SourceUrl::parse(url)?;
            // A dry run shall leave no trace, not even an empty folder.
            let absent = url.local_root().is_some_and(|root| !root.exists());
            let open = !(dry_run && absent);
            if open { Some(Arc::new(Target::open(url, settings.store_options.clone()).await?)) } else { None }
        }
        (None, true) => None,
        (None, false) => {
            return Err(Error::Request("--store is missing: name the store's address, or use --dry-run".to_owned()));
        }
    };
    let lock = match target.as_ref().filter(|_| !settings.dry_run) {
        Some(target) => Some(target.lock_within(settings.lock_wait.0).await?),
        None => None,
    };
    let place = place(settings)?;
    let memory = recall(settings, place.as_ref()).await;
    if let (Some(target), MemoryPlace::Store) = (&target, &settings.memory) {
        target.hear(memory.heard());
    }
    let clock = clock(settings, target.as_deref()).await?;
    let asked = if place.is_some() { Asked::of(settings).await } else { None };
    if let (Some(asked), Some(target), Some(settled)) = (&asked, &target, Settled::recall(&memory))
        && let Some(mut report) = settled.again(settings, asked, &memory, (target, &clock), progress).await?
    {
        report.target.clone_from(&settings.store);
        return Ok(report);
    }
    let mut cleaned = Vec::new();
    let mut attempt = 1;
    loop {
        // Before thousands of files are asked for their headers.
        let mut loaded = match &target {
            Some(target) => commit::load(target, settings.tile, settings.level).await?,
            None => Loaded::default(),
        };
        let writes = if settings.dry_run { None } else { target.clone() };
        if let Some(target) = &writes {
            cleaned.extend(loaded.clean_up(target, &clock).await?);
        }
        let preparing = prepare(settings, &memory, target.as_deref(), &mut loaded, progress);
        let prepared = keeping(place.as_ref().filter(|_| writes.is_some()), &memory, preparing).await?;
        let Prepared { plan, references, mut report, places, addresses, is_settled, seen, until, kept, .. } = prepared;
        let Prepared { turn, has_doubts, .. } = prepared;
        report.target.clone_from(&settings.store);
        report.attempts = attempt;
        report.cleaned.clone_from(&cleaned);
        let Some(target) = writes else { return Ok(report) };
        let options = WriteOptions {
            checksum: settings.checksum,
            spec: settings.spec,
            run: settings.occasion.run.clone(),
            container: places.container.clone(),
            concurrency: COMMIT_CONCURRENCY,
            message: message(&plan, &report, loaded.state.is_some()),
            clock,
            references,
        };
        let before = loaded.state.as_ref().map(|state| state.snapshot.to_string());
        match commit::write(&target, loaded, plan, options, progress).await {
            Ok(written) => {
                drop(lock);
                (report.source_use.requests, report.source_use.bytes) = used(places.source.as_ref());
                if let Some(written) = &written {
                    report.published.clone_from(&written.tag);
                    report.gate = Some(written.gate.clone());
                    report.committed = Some(committed(written));
                }
                if let Some(place) = &place {
                    // What was found out and is written nowhere is to be found out again.
                    if let Some(last) = turn.filter(|_| written.is_some() || !has_doubts) {
                        memory.looked_up_to(last.to_string());
                    }
                    let snapshot = written.map(|written| written.snapshot).or(before);
                    let searched = catalogue::searched(settings, kept.len(), snapshot.as_deref(), until);
                    memory.search_done(searched.clone().filter(|_| !kept.is_empty()).map(Into::into));
                    report.headway = searched;
                    memory.keep(kept);
                    if let (true, Some(asked), Some(snapshot)) = (is_settled, asked, snapshot)
                        && let Some(settled) = Settled::of(settings, asked, snapshot, (seen.as_ref(), until), &report)
                    {
                        settled.remember(&memory);
                    }
                    warn(memory.save(place, |address| addresses.contains(address)).await);
                }
                return Ok(report);
            }
            Err(Error::Conflict { .. }) if attempt < ATTEMPTS => {
                tracing::info!(attempt, "another writer was faster: comparing with what it wrote");
                tokio::time::sleep(BACKOFF * attempt).await;
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Where the memory lies; `None` for nowhere.
fn place(settings: &BuildSettings) -> Result<Option<Place>> {
    Ok(match (&settings.memory, &settings.store) {
        (MemoryPlace::Nowhere, _) | (MemoryPlace::Store, None) => None,
        (MemoryPlace::Store, Some(store)) => Some(Place::beside(SourceUrl::parse(store)?, settings.reach_memory())),
        (MemoryPlace::At(address), _) => Some(Place::at(address, settings.reach_memory())?),
    })
}

/// The clock of the store. A host whose own differs does not go on: it would date what it writes wrong.
async fn clock(settings: &BuildSettings, target: Option<&Target>) -> Result<StoreClock> {
    let Some(target) = target else { return Ok(StoreClock::new(None, settings.occasion.clock)) };
    target.probe().await?;
    let clock = target.clock(settings.occasion.clock);
    if settings.dry_run {
        clock.warn(target.url());
    } else {
        clock.check(target.url())?;
    }
    Ok(clock)
}

/// What is remembered. A memory that cannot be read costs requests, no build.
async fn recall(settings: &BuildSettings, place: Option<&Place>) -> Memory {
    let nothing = || Memory::new(settings.occasion.clock);
    let Some(place) = place else { return nothing() };
    match Memory::read(place, settings.occasion.clock).await {
        Ok(memory) => {
            if let Some(problem) = memory.problem() {
                tracing::warn!("{problem}");
            }
            memory
        }
        Err(error) => {
            tracing::warn!("{error}; what it holds is asked for again");
            nothing()
        }
    }
}

fn warn(saved: std::result::Result<(), MemoryError>) {
    if let Err(error) = saved {
        tracing::warn!("{error}; what was learned is asked for again by the next run");
    }
}

/// Saves what is learned now and then while a run prepares, so that one that is interrupted can be gone on with.
async fn keeping<T>(place: Option<&Place>, memory: &Memory, work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            outcome = &mut work => {
                if let (Err(_), Some(place)) = (&outcome, place.filter(|_| memory.unsaved() >= WORTH_SAVING)) {
                    warn(memory.save(place, |_| false).await);
                }
                return outcome;
            }
            () = tokio::time::sleep(SAVE_EVERY) => {
                if let Some(place) = place.filter(|_| memory.unsaved() >= WORTH_SAVING) {
                    warn(memory.save(place, |_| false).await);
                }
            }
        }
    }
}

fn committed(written: &Written) -> Committed {
    Committed {
        snapshot: written.snapshot.clone(),
        commits: written.commits,
        created: written.created,
        references_written: written.references,
        references_moved: written.moved,
    }
}

fn message(plan: &StorePlan, report: &BuildReport, exists: bool) -> String {
    let count = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
    let products = count(plan.products(), "product");
    let (tile, level) = (plan.tile, plan.level);
    if exists {
        let eras = report.eras.iter().filter(|era| !era.changes.is_empty());
        let eras: String = eras.map(|era| format!("; era {}: {}", era.era, era.changes.sentence())).collect();
        return format!("Update {tile} {level}: {}{eras}; {products}", report.changes.sentence());
    }
    let arrays = count(plan.arrays().count(), "array");
    format!("Build {tile} {level}: {products}, {arrays}, {} references", report.all_references())
}

/// Writes every reference that [`build`] would make in an empty place to a Parquet file, those of the main tree alone: what
/// belongs to an era is refused. `None` or a dry run writes nothing.
///
/// # Errors
/// As [`build`].
pub async fn manifest(settings: &BuildSettings, output: Option<&Path>, progress: &dyn Progress) -> Result<BuildReport> {
    let settings = &one_store(settings);
    let memory = Memory::new(settings.occasion.clock);
    let prepared = prepare(settings, &memory, None, &mut Loaded::default(), progress).await?;
    let mut report = prepared.report;
    let tree = prepared.plan.trees.iter().find(|tree| tree.era.is_none());
    if let (Some(output), Some(tree)) = (output.filter(|_| !settings.dry_run), tree) {
        let arrays: Vec<NamedManifest<'_>> = tree
            .arrays
            .iter()
            .map(|a| NamedManifest { path: &a.path, has_components: a.has_components, manifest: &a.manifest })
            .collect();
        write_manifest(output, &arrays, &tree.steps, &prepared.places.url, &settings.occasion.writer)
            .map_err(|error| Error::Input(error.to_string()))?;
        report.target = Some(output.display().to_string());
    }
    Ok(report)
}
