//! The main job: index, catalogue and source to a store, or to a manifest file.

mod facts;
mod gather;
mod resolve;
mod settings;

use std::collections::BTreeMap;
use std::path::Path;

use icechunk::virtual_chunks::VirtualChunkContainer;
use s2ice_manifest::assemble::{ProductRecord, RefusalKind, assemble};
use s2ice_manifest::product::MetadataSource;
use s2ice_manifest::source::location::{Effective, Source, SourceUrl};
use s2ice_manifest::source::manifest_parquet::{NamedManifest, write_manifest};

pub use self::settings::{BuildSettings, HeaderPolicy};

use self::gather::{Inputs, gather};
use self::resolve::{Resolved, resolve};
use crate::commit::{self, WriteOptions};
use crate::config;
use crate::error::{Error, Result};
use crate::plan::{PlanContext, StorePlan, plan};
use crate::progress::Progress;
use crate::report::{ArrayReport, BuildReport, Committed, REPORT_VERSION, SourceUse, Times, rfc3339_ms};
use crate::target::Target;

/// Concurrent requests of a commit to a remote store.
const COMMIT_CONCURRENCY: usize = 8;

/// Builds the store of a tile, or, in a dry run, works out what it would hold.
///
/// # Errors
/// An input cannot be read, nothing is left to store, or the store cannot be written. No half-made store remains.
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
    let lock = target.as_ref().filter(|_| !settings.dry_run).map(Target::lock).transpose()?;
    if let Some(target) = &target {
        // Before thousands of files are asked for their headers.
        commit::check(target, settings.tile, settings.level).await?;
    }
    let prepared = prepare(settings, progress).await?;
    let mut report = prepared.report;
    report.target = settings.store.clone();
    let Some(target) = target else { return Ok(report) };
    if settings.dry_run {
        return Ok(report);
    }
    let options = WriteOptions {
        checksum: settings.checksum,
        spec: settings.spec,
        run: settings.run.clone(),
        container: prepared.container,
        concurrency: COMMIT_CONCURRENCY,
    };
    let written = commit::write(&target, prepared.plan, options, progress).await?;
    drop(lock);
    report.committed =
        Some(Committed { snapshot: written.snapshot, commits: written.commits, created: written.created });
    Ok(report)
}

/// Writes every reference that [`build`] would make to a Parquet file; `None` or a dry run writes nothing.
///
/// # Errors
/// As [`build`].
pub async fn manifest(settings: &BuildSettings, output: Option<&Path>, progress: &dyn Progress) -> Result<BuildReport> {
    let prepared = prepare(settings, progress).await?;
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
}

async fn prepare(settings: &BuildSettings, progress: &dyn Progress) -> Result<Prepared> {
    let source_url = SourceUrl::parse(&settings.source)?;
    let source = match settings.headers {
        // Nothing is asked of the source, which therefore need not exist.
        HeaderPolicy::Assume if source_url.local_root().is_some_and(|root| !root.is_dir()) => None,
        _ => Some(Source::open(&source_url, &settings.source_options)?),
    };
    let effective = source.as_ref().map_or_else(Effective::default, |source| source.effective().clone());
    let name = settings.container.clone().unwrap_or_else(|| config::default_container_name(&source_url));
    let container = config::container(&name, &source_url, &effective)?;

    let inputs = gather(settings, progress).await?;
    let Inputs { products, index, stac, mut counts } = inputs;
    let updated: BTreeMap<String, String> = products
        .iter()
        .filter_map(|p| {
            Some((p.id.to_string(), p.item.as_ref()?.updated?.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)))
        })
        .collect();
    let resolved = resolve(settings, &source_url, source.as_ref(), products, progress).await?;
    let Resolved { products, mut refused, from_cache } = resolved;
    counts.metadata_from_name = from_name(&products);

    let mut assembly = assemble(products, settings.resolutions);
    refused.append(&mut assembly.refused);
    refused.extend(index.conflicts.iter().map(resolve::conflict));
    refused.sort_by(|a, b| (&a.product, &a.raster, a.kind).cmp(&(&b.product, &b.raster, b.kind)));
    counts.stored = assembly.steps.len();
    if assembly.manifests.is_empty() {
        // That a product is empty follows from what its rasters say.
        let cause = refused.iter().find(|r| r.kind != RefusalKind::Empty).or(refused.first());
        let first = cause.map(|r| match &r.raster {
            Some(raster) => format!("{} {raster}: {}", r.product, r.reason),
            None => format!("{}: {}", r.product, r.reason),
        });
        let reason = first.unwrap_or_else(|| "the index lists no usable raster".to_owned());
        return Err(Error::Nothing(format!("nothing can be stored ({} left out): {reason}", refused.len())));
    }
    let context = PlanContext {
        tile: settings.tile,
        level: settings.level,
        container: name.clone(),
        source_url: source_url.prefix(),
        writer: settings.writer.clone(),
        updated,
    };
    let plan = plan(assembly, &context).map_err(Error::Encode)?;

    let mut refused_counts = BTreeMap::new();
    for refusal in &refused {
        *refused_counts.entry(refusal.kind).or_insert(0) += 1;
    }
    let (requests, bytes) = source.as_ref().map_or((0, 0), |s| (s.stats().requests(), s.stats().bytes()));
    let report = BuildReport {
        kind: "s2ice.build".to_owned(),
        version: REPORT_VERSION,
        tile: settings.tile.to_string(),
        level: settings.level.to_string(),
        target: None,
        source: source_url.prefix(),
        container: name,
        dry_run: settings.dry_run,
        committed: None,
        times: Times {
            count: plan.steps.len(),
            first: plan.steps.first().map(|s| rfc3339_ms(s.time_ms)),
            last: plan.steps.last().map(|s| rfc3339_ms(s.time_ms)),
        },
        arrays: plan.arrays.iter().map(array_report).collect(),
        references: plan.references(),
        referenced_bytes: plan.arrays.iter().map(|a| a.manifest.referenced_bytes()).sum(),
        products: counts,
        index,
        stac,
        refused,
        refused_counts,
        source_use: SourceUse { requests, bytes, from_cache },
    };
    Ok(Prepared { plan, report, container, source_url })
}

fn from_name(products: &[ProductRecord]) -> usize {
    products.iter().filter(|p| p.metadata.source == MetadataSource::Name).count()
}

fn array_report(array: &crate::plan::ArrayReferences) -> ArrayReport {
    let manifest = &array.manifest;
    ArrayReport {
        path: array.path.clone(),
        asset: manifest.asset.name(),
        shape: manifest.shape(array.has_components),
        chunks: manifest.chunk_shape(array.has_components),
        present: manifest.rasters.iter().flatten().count(),
        references: manifest.references(),
        nodata_chunks: manifest.rasters.iter().flatten().map(|raster| raster.nodata.len() as u64).sum(),
        header: if manifest.verified() { "verified" } else { "unverified" }.to_owned(),
        profile: manifest.header.fingerprint.clone(),
    }
}
