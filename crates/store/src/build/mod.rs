//! The main job: make a store hold what index, catalogue and source say, or write that to a manifest file.

mod catalogue;
mod changes;
mod cog;
mod difference;
mod facts;
mod fingerprint;
mod gather;
mod guard;
mod missing;
mod resolve;
mod settings;
mod settle;
mod wanted;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use icechunk::virtual_chunks::VirtualChunkContainer;
use s2ice_manifest::assemble::{Refusal, RefusalKind, assemble};
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::product::{MetadataSource, ProductId};
use s2ice_manifest::source::cache::FactCache;
use s2ice_manifest::source::location::{Effective, Source, SourceUrl};
use s2ice_manifest::source::manifest_parquet::{NamedManifest, write_manifest};

#[cfg(test)]
pub(crate) use self::changes::references as array_references;
pub use self::settings::{BuildSettings, HeaderPolicy, INDEX_MISSING_LIMIT, LOCK_WAIT, OVERLAP, PRUNE_LIMIT, SAMPLE};

use self::difference::difference;
use self::fingerprint::Salt;
use self::gather::{Inputs, Reach, Standing, gather};
use self::resolve::{Resolved, open_cache, resolve, too_cloudy};
use self::settle::{Known, settle};
use crate::commit::{self, Loaded, WriteOptions};
use crate::config;
use crate::error::{Error, Result};
use crate::gate::GateOptions;
use crate::plan::{PlanContext, StorePlan, plan};
use crate::progress::Progress;
use crate::reference::Referencing;
use crate::report::{ArrayReport, BuildReport, Committed, REPORT_VERSION, SourceUse, Times, rfc3339_ms};
use crate::state;
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

/// Makes the store of a tile hold what the inputs say, or, in a dry run, works out what would change.
///
/// # Errors
/// An input cannot be read, nothing is left to store, or the store cannot be written. `main` is then as it was.
pub async fn build(settings: &BuildSettings, progress: &dyn Progress) -> Result<BuildReport> {
    let target = match (&settings.store, settings.dry_run) {
        (Some(url), dry_run) => {
            let url = SourceUrl::parse(url)?;
            // A dry run shall leave no trace, not even an empty folder.
            let absent = url.local_root().is_some_and(|root| !root.exists());
            if dry_run && absent { None } else { Some(Target::open(url, settings.store_options.clone()).await?) }
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
    let mut attempt = 1;
    loop {
        // Before thousands of files are asked for their headers.
        let loaded = match &target {
            Some(target) => commit::load(target, settings.tile, settings.level).await?,
            None => Loaded::default(),
        };
        if let Some(target) = target.as_ref().filter(|_| !settings.dry_run) {
            cleaned.extend(loaded.clean_up(target, abandoned_before(settings, target)).await?);
        }
        let prepared = prepare(settings, &cache, target.as_ref(), loaded, progress).await?;
        let Prepared { plan, mut report, container, loaded, source, .. } = prepared;
        report.target.clone_from(&settings.store);
        report.attempts = attempt;
        report.cleaned.clone_from(&cleaned);
        let Some(target) = target.as_ref().filter(|_| !settings.dry_run) else { return Ok(report) };
        let options = WriteOptions {
            checksum: settings.checksum,
            spec: settings.spec,
            run: settings.run.clone(),
            container,
            concurrency: COMMIT_CONCURRENCY,
            message: message(&plan, &report, loaded.state.is_some()),
            clock: settings.clock,
            gate: GateOptions {
                references: report.arrays.iter().map(|array| (array.path.clone(), array.references)).collect(),
                // Whoever assumes headers promises that nothing is asked of the source.
                source: source.clone().filter(|_| settings.headers != HeaderPolicy::Assume),
                sample: settings.sample,
            },
        };
        match commit::write(target, loaded, plan, options, progress).await {
            Ok(written) => {
                drop(lock);
                (report.source_use.requests, report.source_use.bytes) = used(source.as_ref());
                if let Some(written) = written {
                    report.published.clone_from(&written.tag);
                    report.gate = Some(written.gate);
                    report.committed = Some(Committed {
                        snapshot: written.snapshot,
                        commits: written.commits,
                        created: written.created,
                        references_written: written.references,
                        references_moved: written.moved,
                    });
                }
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

/// Under the lock of a local store no other run is alive.
fn abandoned_before(settings: &BuildSettings, target: &Target) -> DateTime<Utc> {
    let now = (settings.clock)();
    if target.url().local_root().is_some() { now } else { now - ABANDONED }
}

fn message(plan: &StorePlan, report: &BuildReport, exists: bool) -> String {
    let count = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
    let products = count(plan.steps.len(), "product");
    let (tile, level) = (plan.tile, plan.level);
    if exists {
        return format!("Update {tile} {level}: {}; {products}", report.changes.sentence());
    }
    let arrays = count(plan.arrays.len(), "array");
    format!("Build {tile} {level}: {products}, {arrays}, {} references", report.references)
}

/// Writes every reference that [`build`] would make in an empty place to a Parquet file; `None` or a dry run writes
/// nothing.
///
/// # Errors
/// As [`build`].
pub async fn manifest(settings: &BuildSettings, output: Option<&Path>, progress: &dyn Progress) -> Result<BuildReport> {
    let cache = open_cache(settings)?;
    let prepared = prepare(settings, &cache, None, Loaded::default(), progress).await?;
    let mut report = prepared.report;
    if let Some(output) = output.filter(|_| !settings.dry_run) {
        let arrays: Vec<NamedManifest<'_>> = prepared
            .plan
            .arrays
            .iter()
            .map(|a| NamedManifest { path: &a.path, has_components: a.has_components, manifest: &a.manifest })
            .collect();
        write_manifest(output, &arrays, &prepared.plan.steps, &prepared.source_url, &settings.writer)
            .map_err(|error| Error::Input(error.to_string()))?;
        report.target = Some(output.display().to_string());
    }
    Ok(report)
}

struct Prepared {
    plan: StorePlan,
    report: BuildReport,
    container: VirtualChunkContainer,
    source_url: SourceUrl,
    source: Option<Source>,
    loaded: Loaded,
}

async fn prepare(
    settings: &BuildSettings,
    cache: &FactCache,
    target: Option<&Target>,
    mut loaded: Loaded,
    progress: &dyn Progress,
) -> Result<Prepared> {
    let source_url = SourceUrl::parse(&settings.source)?;
    let source = match settings.headers {
        // Nothing is asked of the source, which therefore need not exist.
        HeaderPolicy::Assume if source_url.local_root().is_some_and(|root| !root.is_dir()) => None,
        _ => Some(Source::open(&source_url, &settings.source_options)?),
    };
    let effective = source.as_ref().map_or_else(Effective::default, |source| source.effective().clone());
    let name = settings.container.clone().unwrap_or_else(|| config::default_container_name(&source_url));
    let container = config::container(&name, &source_url, &effective)?;

    let held = loaded.state.clone();
    let held = held.as_deref();
    cog::check_kind(settings, held)?;
    let standing = Standing {
        since: catalogue::since(settings, held),
        may_be_empty: held.is_some() && !settings.prune,
        held: held.map(|s| s.steps.iter().map(|step| step.id).collect()).unwrap_or_default(),
    };
    let reach = Reach { cache, source: source.as_ref() };
    let inputs = match settings.source_kind {
        SourceKind::Jp2 => gather(settings, standing, reach, progress).await?,
        SourceKind::Cog => cog::gather(settings, standing, &source_url, progress).await?,
    };
    let Inputs { products, index, stac, mut counts, catalogue, indexed, refused: unindexed } = inputs;
    let updated: BTreeMap<ProductId, String> = products
        .iter()
        .filter_map(|p| Some((p.id, p.item.as_ref()?.updated?.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))))
        .collect();
    let resolutions = state::resolutions(held, settings.resolutions, settings.prune);
    let salt = Salt::new(&name, &source_url.prefix(), settings.checksum, settings.headers, resolutions);
    let admits = |product: &gather::Gathered, cover: Option<f64>| too_cloudy(settings, product, cover);
    let mut split = difference(held, products, &salt, settings.prune, admits);
    let changed = std::mem::take(&mut split.changed);
    let Resolved { products: resolved, mut refused, from_cache } = match settings.source_kind {
        SourceKind::Jp2 => resolve(settings, cache, &source_url, source.as_ref(), held, changed, progress).await?,
        SourceKind::Cog => cog::resolve(settings, cache, source.as_ref(), held, changed, progress).await?,
    };
    refused.extend(split.refused.iter().cloned());
    refused.extend(unindexed);
    if split.lost_all(&resolved, held) {
        return Err(nothing(&refused));
    }
    let records = split.merge(held, resolved, &refused, settings.prune);

    let mut assembly = assemble(records, resolutions);
    assembly.refused.append(&mut refused);
    assembly.refused.extend(index.conflicts.iter().map(resolve::conflict));
    assembly.refused.sort_by(|a, b| (&a.product, &a.raster, a.kind).cmp(&(&b.product, &b.raster, b.kind)));
    assembly.refused.dedup();
    if assembly.manifests.is_empty() {
        return Err(nothing(&assembly.refused));
    }
    let relative = loaded.knows_relative(settings.spec);
    let referencing = Referencing { container: container.clone(), checksum: settings.checksum, relative };
    let known = Known { target, referencing: &referencing, inputs: &split.inputs, updated: &updated };
    let facts = settle(&mut assembly, &mut loaded, &known).await?;
    let refused = std::mem::take(&mut assembly.refused);
    counts.stored = assembly.steps.len();
    counts.metadata_from_name =
        assembly.steps.iter().filter(|step| step.metadata.source == MetadataSource::Name).count();

    let (stamp, catalogue) = match &catalogue {
        Some(load) => {
            let (stamp, report) = catalogue::outcome(settings, held, load, &refused);
            // What the limit left must be found again however old it is.
            (stamp.filter(|_| !load.backlog), Some(report))
        }
        None => (held.and_then(|s| s.stamp.catalogue.clone()), None),
    };
    let context = PlanContext {
        tile: settings.tile,
        level: settings.level,
        container: name.clone(),
        source_url: source_url.prefix(),
        writer: settings.writer.clone(),
        sources: held.map(|s| s.stamp.sources.clone()).unwrap_or_default(),
        facts,
        resolutions,
        catalogue: stamp,
    };
    let plan = plan(assembly, &context).map_err(Error::Encode)?;
    let changes = changes::changes(held, &plan, |id| split.inputs.contains_key(&id), &refused);
    let references = changes::references(&mut loaded, target, &plan).await?;
    let damaged = guard::Damaged {
        rows: index.rejected + index.conflicting,
        items: stac.as_ref().map_or(0, |stac| stac.refused.len()),
    };
    guard::check(settings, held, &changes, &refused, &damaged)?;

    let mut refused_counts = BTreeMap::new();
    for refusal in &refused {
        *refused_counts.entry(refusal.kind).or_insert(0) += 1;
    }
    let (requests, bytes) = used(source.as_ref());
    let report = BuildReport {
        kind: "s2ice.build".to_owned(),
        version: REPORT_VERSION,
        tile: settings.tile.to_string(),
        level: settings.level.to_string(),
        target: None,
        source: source_url.prefix(),
        container: name,
        dry_run: settings.dry_run,
        changes,
        committed: None,
        gate: None,
        published: None,
        catalogue,
        cleaned: Vec::new(),
        attempts: 1,
        times: Times {
            count: plan.steps.len(),
            first: plan.steps.first().map(|s| rfc3339_ms(s.time_ms)),
            last: plan.steps.last().map(|s| rfc3339_ms(s.time_ms)),
        },
        arrays: plan.arrays.iter().map(|array| array_report(array, &references)).collect(),
        references: references.values().sum(),
        referenced_bytes: plan.referenced_bytes(),
        products: counts,
        index,
        indexed,
        stac,
        refused,
        refused_counts,
        source_use: SourceUse { requests, bytes, from_cache },
    };
    Ok(Prepared { plan, report, container, source_url, source, loaded })
}

/// Requests to a source and bytes received from it so far.
fn used(source: Option<&Source>) -> (u64, u64) {
    source.map_or((0, 0), |source| (source.stats().requests(), source.stats().bytes()))
}

/// Nothing of the input can be stored: the first cause is the one worth telling.
fn nothing(refused: &[Refusal]) -> Error {
    // That a product is empty follows from what its rasters say.
    let cause = refused.iter().find(|r| r.kind != RefusalKind::Empty).or(refused.first());
    let first = cause.map(|r| match &r.raster {
        Some(raster) => format!("{} {raster}: {}", r.product, r.reason),
        None => format!("{}: {}", r.product, r.reason),
    });
    let reason = first.unwrap_or_else(|| "the index lists no usable raster".to_owned());
    Error::Nothing(format!("nothing can be stored ({} left out): {reason}", refused.len()))
}

fn array_report(array: &crate::plan::ArrayReferences, references: &BTreeMap<String, u64>) -> ArrayReport {
    let manifest = &array.manifest;
    let present = manifest.rasters.iter().flatten().count();
    let references = references.get(&array.path).copied().unwrap_or_default();
    ArrayReport {
        path: array.path.clone(),
        asset: manifest.asset.name(),
        shape: manifest.shape(array.has_components),
        chunks: manifest.chunk_shape(array.has_components),
        present,
        references,
        nodata_chunks: (manifest.header.tiles() * present as u64).saturating_sub(references),
        header: if manifest.verified() { "verified" } else { "unverified" }.to_owned(),
        profile: manifest.header.fingerprint.clone(),
    }
}
