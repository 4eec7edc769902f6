//! The main job: make a store hold what index, catalogue and source say, or write that to a manifest file.

mod catalogue;
mod changes;
mod cog;
mod difference;
mod facts;
mod family;
mod fingerprint;
mod gather;
mod guard;
mod missing;
mod order;
mod prepare;
mod resolve;
mod settings;
mod settle;
mod trouble;
mod wanted;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use s2ice_manifest::era::Era;
use s2ice_manifest::source::cache::FactCache;
use s2ice_manifest::source::location::SourceUrl;
use s2ice_manifest::source::manifest_parquet::{NamedManifest, write_manifest};

#[cfg(test)]
pub(crate) use self::changes::references as array_references;
pub use self::settings::{BuildSettings, HeaderPolicy, INDEX_MISSING_LIMIT, LOCK_WAIT, OVERLAP, PRUNE_LIMIT, SAMPLE};

use self::family::Family;
use self::order::in_order;
use self::prepare::{Prepared, Share, one_store, prepare, used};
use self::resolve::open_cache;
use crate::commit::{self, WriteOptions, Written};
use crate::error::{Error, Result};
use crate::gate::GateOptions;
use crate::plan::StorePlan;
use crate::progress::Progress;
use crate::report::{BuildReport, Changes, Committed};
use crate::target::Target;

/// Concurrent requests of a commit to a remote store.
const COMMIT_CONCURRENCY: usize = 16;

/// How often a run that lost against another writer begins anew. Whoever wins is done, so that this many writers at once
/// all get their turn.
const ATTEMPTS: u32 = 20;

/// Waiting time after a lost race, times the number of the attempt.
const BACKOFF: Duration = Duration::from_millis(100);

/// A branch of a run on an object store counts as abandoned when nothing happened on it for so long.
const ABANDONED: TimeDelta = TimeDelta::hours(1);

/// Makes the stores of a tile, the main one and its eras, hold what the inputs say, or, in a dry run, works out what would
/// change.
///
/// # Errors
/// An input cannot be read, nothing is left to store, or a store cannot be written. Each store's `main` is then as it was,
/// or as the run wants it; the next run goes on from there.
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
        Some(target) => Some(target.lock_within(settings.lock_wait).await?),
        None => None,
    };
    let mut cache = open_cache(settings)?;
    let mut trusted = settings.headers == HeaderPolicy::Read;
    let mut cleaned = Vec::new();
    let mut done = Done::new();
    let mut attempt = 1;
    let mut first: Option<BuildReport> = None;
    loop {
        // Before thousands of files are asked for their headers.
        let mut family = Family::load(settings, target.as_ref()).await?;
        let writes = target.is_some() && !settings.dry_run;
        if writes {
            cleaned.extend(family.clean_up(|target| abandoned_before(settings, target)).await?);
        }
        let mut prepared = prepare(settings, &cache, &mut family, progress).await?;
        let source = prepared.source.clone();
        let mut report = prepared.report.clone();
        report.target.clone_from(&settings.store);
        report.attempts = attempt;
        report.cleaned.clone_from(&cleaned);
        if !writes {
            return Ok(report);
        }
        // Until an era is empty the main store names it; then once more without it.
        let emptied = prepared.shares.iter().any(|share| share.era.is_some() && share.plan.steps.is_empty());
        match write(settings, &mut family, &mut prepared, &mut done, progress).await {
            Ok(()) if emptied && first.is_none() => first = Some(report),
            Ok(()) => {
                drop(lock);
                let mut report = first.unwrap_or(report);
                (report.source_use.requests, report.source_use.bytes) = used(source.as_ref());
                tell(&mut report, done);
                return Ok(report);
            }
            Err(Error::Conflict { .. }) if attempt < ATTEMPTS => {
                tracing::info!(attempt, "another writer was faster: comparing with what it wrote");
                tokio::time::sleep(BACKOFF * attempt).await;
                attempt += 1;
            }
            // A file may have changed since the cache learned of it: asked again, it alone is left out.
            Err(Error::Gate { detail, .. }) if trusted => {
                tracing::info!("{detail}; asking the source for everything once more");
                (cache, trusted) = (FactCache::in_memory(), false);
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// What was written to each store, over all attempts.
type Done = BTreeMap<Option<Era>, Written>;

/// Writes every store of which anything differs.
async fn write(
    settings: &BuildSettings,
    family: &mut Family,
    prepared: &mut Prepared,
    done: &mut Done,
    progress: &dyn Progress,
) -> Result<()> {
    let (spec, more_containers) = (family.spec(settings.spec), family.containers());
    let before = family.main().and_then(|state| state.stamp.catalogue.clone());
    let shares = in_order(std::mem::take(&mut prepared.shares), before.as_ref());
    for Share { member, era, plan, changes, references, .. } in shares {
        let Some(member) = family.members.get_mut(member) else { continue };
        let Some(target) = member.target.clone() else { continue };
        let loaded = std::mem::take(&mut member.loaded);
        let options = WriteOptions {
            checksum: settings.checksum,
            spec,
            run: settings.run.clone(),
            container: prepared.container.clone(),
            more_containers: more_containers.clone(),
            concurrency: COMMIT_CONCURRENCY,
            message: message(&plan, &changes, &references, loaded.state.is_some()),
            clock: settings.clock,
            gate: GateOptions {
                references,
                // Whoever assumes headers promises that nothing is asked of the source.
                source: prepared.source.clone().filter(|_| settings.headers != HeaderPolicy::Assume),
                sample: settings.sample,
            },
        };
        if let Some(written) = commit::write(&target, loaded, plan, options, progress).await? {
            let written = written.after(done.remove(&era));
            done.insert(era, written);
        }
    }
    Ok(())
}

/// Puts into the report what was written.
fn tell(report: &mut BuildReport, mut done: Done) {
    if let Some(written) = done.remove(&None) {
        report.published.clone_from(&written.tag);
        report.gate = Some(written.gate.clone());
        report.committed = Some(committed(&written));
    }
    for era in &mut report.eras {
        if let Some(written) = done.remove(&Some(era.era.clone())) {
            era.published.clone_from(&written.tag);
            era.gate = Some(written.gate.clone());
            era.committed = Some(committed(&written));
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

/// Under the lock of a local store no other run is alive.
fn abandoned_before(settings: &BuildSettings, target: &Target) -> DateTime<Utc> {
    let now = (settings.clock)();
    if target.url().local_root().is_some() { now } else { now - ABANDONED }
}

fn message(plan: &StorePlan, changes: &Changes, references: &BTreeMap<String, u64>, exists: bool) -> String {
    let count = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
    let products = count(plan.steps.len(), "product");
    let (tile, level) = (plan.tile, plan.level);
    if exists {
        return format!("Update {tile} {level}: {}; {products}", changes.sentence());
    }
    let arrays = count(plan.arrays.len(), "array");
    let references: u64 = references.values().sum();
    format!("Build {tile} {level}: {products}, {arrays}, {references} references")
}

/// Writes every reference that [`build`] would make in an empty place to a Parquet file, those of the main store alone: what
/// belongs to an era is refused. `None` or a dry run writes nothing.
///
/// # Errors
/// As [`build`].
pub async fn manifest(settings: &BuildSettings, output: Option<&Path>, progress: &dyn Progress) -> Result<BuildReport> {
    let settings = &one_store(settings);
    let cache = open_cache(settings)?;
    let mut family = Family::load(settings, None).await?;
    let prepared = prepare(settings, &cache, &mut family, progress).await?;
    let mut report = prepared.report;
    let plan = prepared.shares.first().map(|share| &share.plan);
    if let (Some(output), Some(plan)) = (output.filter(|_| !settings.dry_run), plan) {
        let arrays: Vec<NamedManifest<'_>> = plan
            .arrays
            .iter()
            .map(|a| NamedManifest { path: &a.path, has_components: a.has_components, manifest: &a.manifest })
            .collect();
        write_manifest(output, &arrays, &plan.steps, &prepared.source_url, &settings.writer)
            .map_err(|error| Error::Input(error.to_string()))?;
        report.target = Some(output.display().to_string());
    }
    Ok(report)
}
