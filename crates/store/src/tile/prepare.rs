//! Everything up to the writing: what the store shall hold, and the report of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use icechunk::virtual_chunks::VirtualChunkContainer;
use s2ice_manifest::assemble::{Refusal, RefusalKind};
use s2ice_manifest::decide::{Decision, Leaving, OnMismatch, Part, Policy, decide};
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::era::Era;
use s2ice_manifest::product::{MetadataSource, ProductId, ProductMetadata};
use s2ice_manifest::source::location::{Effective, Source, SourceUrl};
use s2ice_manifest::source::memory::Memory;
use s2ice_manifest::stac::Seen;

use super::changes::{self, Tile};
use super::cog::CogReader;
use super::difference::{Choice, Merged, difference};
use super::evidence::{Evidence, Reader, evidence, not_admitted};
use super::fingerprint::Salt;
use super::gather::{Reach, gather};
use super::inputs::{Gathered, Inputs, Standing};
use super::jp2::{SafeReader, conflict};
use super::prejudged::Prejudged;
use super::recheck::replaced;
use super::settle::{Known, settle};
use super::waiting::{hold_back, remember};
use super::wanted::wanted_angles;
use super::{BuildSettings, HeaderPolicy, MemoryPlace, catalogue, cog, guard, prejudged};
use crate::commit::Loaded;
use crate::config;
use crate::error::{Error, Result};
use crate::holdings::Holdings;
use crate::plan::{ArrayReferences, Desired, PlanContext, StorePlan, TreePlan, plan};
use crate::progress::Progress;
use crate::reference::Referencing;
use crate::report::{
    AngleReport, ArrayReport, BuildReport, Changes, EraReport, Incomplete, Left, REPORT_VERSION, SourceUse, Times,
    rfc3339_ms,
};
use crate::state::{self, StoreState};
use crate::target::Target;

/// What a run is about to write.
pub(super) struct Prepared {
    pub(super) plan: StorePlan,
    /// Number of references that each array will have, by path.
    pub(super) references: BTreeMap<String, u64>,
    pub(super) report: BuildReport,
    pub(super) container: VirtualChunkContainer,
    pub(super) source_url: SourceUrl,
    pub(super) source: Option<Source>,
    /// Addresses of the files that the plan refers to anew: the store will know them.
    pub(super) addresses: HashSet<String>,
    /// True where a run after this one, of the same question and answers, has nothing to do.
    pub(super) is_settled: bool,
    /// What the catalogue showed.
    pub(super) seen: Option<Seen>,
}

/// Works out what the store shall hold.
pub(super) async fn prepare(
    settings: &BuildSettings,
    memory: &Memory,
    target: Option<&Target>,
    loaded: &mut Loaded,
    exempt: BTreeSet<ProductId>,
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

    if let Some(known) = loaded.containers().iter().find(|known| known.url_prefix() == container.url_prefix())
        && let Some(other) = known.name().filter(|known| *known != name)
    {
        return Err(Error::Request(format!(
            "the references of the store that point below {} name it {other}, not {name}: leave --container out or give \
             that name",
            container.url_prefix()
        )));
    }
    let held = Holdings::new(loaded.state.clone());
    let state = loaded.state.clone();
    let main = state.as_deref();
    cog::check_kind(settings, main)?;
    let standing = Standing {
        since: catalogue::since(settings, main),
        may_be_empty: !held.is_new() && !settings.prune,
        held: held.ids().collect(),
        partial: held.ids().filter(|id| held.is_partial(*id)).collect(),
    };
    let reach = Reach { memory, source: source.as_ref() };
    let inputs = match settings.source_kind {
        SourceKind::Jp2 => gather(settings, standing, reach, progress).await?,
        SourceKind::Cog => cog::gather(settings, standing, &source_url, progress).await?,
    };
    let Inputs { products, index, stac, mut counts, catalogue, indexed, refused: unindexed, present } = inputs;
    let gaps = catalogue.as_ref().map(|load| load.incomplete.clone()).unwrap_or_default();
    for reason in &gaps {
        tracing::warn!("the answer of the catalogue is incomplete: {reason}");
    }
    if settings.prune && !gaps.is_empty() {
        tracing::warn!("nothing is pruned, since the answer of the catalogue is incomplete");
    }
    let settings = &BuildSettings { prune: settings.prune && gaps.is_empty(), ..settings.clone() };
    let updated: BTreeMap<ProductId, String> = products
        .iter()
        .filter_map(|p| Some((p.id, p.item.as_ref()?.updated?.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))))
        .collect();
    let resolutions = state::resolutions(main, settings.resolutions, settings.prune);
    let angles = wanted_angles(settings)?;
    let salt = Salt::new(&name, &source_url.prefix(), settings.checksum, settings.headers, resolutions, &angles);
    let admits = |product: &Gathered, metadata: &ProductMetadata| not_admitted(settings, product, metadata);
    let choice = Choice { salt: &salt, prune: settings.prune, resolutions, angles: &angles };
    let replaced = match &source {
        Some(source) if settings.full && settings.memory != MemoryPlace::Nowhere => {
            let store = match target {
                Some(target) => loaded.held(target).await?,
                None => None,
            };
            replaced(settings, memory, &held, store, source, &products).await?
        }
        _ => BTreeSet::new(),
    };
    let rechecks = |id: ProductId| settings.rechecks(id) || replaced.contains(&id);
    let mut split = difference(&held, products, &choice, rechecks, &exempt, admits);
    for id in present {
        split.inputs.entry(id).or_insert_with(|| held.inputs(id));
    }
    let changed = std::mem::take(&mut split.changed);
    let (changed, waiting) = hold_back(settings, memory, &held, &split.inputs, changed, rechecks, &exempt);
    let reader: Box<dyn Reader> = match (settings.source_kind, source.as_ref()) {
        (SourceKind::Cog, Some(source)) => Box::new(CogReader::new(settings, memory, source, &changed)),
        (SourceKind::Cog, None) => return Err(Error::Request("the source is not open".to_owned())),
        (SourceKind::Jp2, source) => Box::new(SafeReader::new(settings, &angles, &source_url, source, memory)),
    };
    let policy =
        Policy { resolutions, on_mismatch: settings.on_mismatch, accept_incomplete: settings.accept_incomplete };
    let evidence = evidence(settings, reader.as_ref(), &held, changed, &policy, &exempt, progress).await?;
    drop(reader);
    let Evidence { products: resolved, mut prejudged, mut refused, from_cache } = evidence;
    prejudged.append(&mut split.prejudged);
    refused.extend(prejudged.iter().map(Prejudged::refusal));
    refused.extend(split.refused.iter().cloned());
    refused.extend(unindexed);
    refused.extend(waiting.refused);
    if split.lost_all(&resolved, &held) {
        return Err(nothing(&refused));
    }
    let Merged { records, leaving: given, behind } = split.merge(&held, resolved, &refused, &angles, settings.prune);

    let standing = held.standing();
    let decision = decide(records, &standing, &policy);
    let mut superseded: BTreeMap<ProductId, ProductId> = prejudged.iter().map(|of| (of.product, of.by)).collect();
    prejudged.extend(waiting.prejudged);
    let wrongly = prejudged::wrongly(&prejudged, &decision);
    if !wrongly.is_subset(&exempt) {
        // What stood in their place gives way in this very run: they are asked for, and all is decided anew.
        let exempt = exempt.union(&wrongly).copied().collect();
        return Box::pin(prepare(settings, memory, target, loaded, exempt, progress)).await;
    }
    superseded.extend(decision.superseded.iter().copied());
    let leaving = decision.account(&standing, &given).map_err(|error| Error::Nothing(error.to_string()))?;
    let Decision { parts, refused: more, mut incomplete, accepted, .. } = decision;
    refused.extend(more);
    refused.extend(index.conflicts.iter().map(conflict));
    refused.sort_by(|a, b| (&a.product, &a.raster, a.kind).cmp(&(&b.product, &b.raster, b.kind)));
    refused.dedup();
    remember(settings, memory, &split.inputs, &refused, &incomplete, &superseded);
    incomplete.extend(waiting.incomplete);
    incomplete.sort_by_key(|incomplete| incomplete.product);
    if parts.is_empty() {
        return Err(nothing(&refused));
    }

    let is_settled = gaps.is_empty() && !catalogue.as_ref().is_some_and(|load| load.backlog);
    let seen = catalogue.as_ref().map(|load| load.seen.clone());
    let (stamp, catalogue) = match &catalogue {
        Some(load) => {
            let (stamp, report) = catalogue::outcome(settings, main, load, &refused);
            // What the limit left must be found again however old it is.
            (stamp.filter(|_| !load.backlog), Some(report))
        }
        None => (main.and_then(|s| s.stamp.catalogue.clone()), None),
    };
    let known = Known {
        target,
        held: &held,
        referencing: &Referencing {
            container: container.clone(),
            checksum: settings.checksum,
            relative: loaded.knows_relative(settings.spec),
        },
        refused: &refused,
        behind: &behind,
        inputs: &split.inputs,
        updated: &updated,
    };
    let (mut trees, mut placed) = (Vec::with_capacity(parts.len()), BTreeMap::new());
    for Part { era, mut assembly, differs, placed: new } in parts {
        let facts = settle(&mut assembly, era.as_ref(), loaded, &known).await?;
        placed.extend(era.clone().map(|era| (era, new)));
        trees.push(Desired { era, differs, assembly, facts });
    }
    let context = PlanContext {
        tile: settings.tile,
        level: settings.level,
        container: name.clone(),
        source_url: source_url.prefix(),
        writer: settings.writer.clone(),
        sources: main.map(|state| state.stamp.sources.clone()).unwrap_or_default(),
        resolutions,
        catalogue: stamp,
        accepted,
    };
    let plan = plan(trees, &context).map_err(Error::Encode)?;
    let references = changes::references(loaded, target, &plan).await?;
    let mut shares = shares(main, &plan, &held, &split.inputs, &leaving);
    let damaged = guard::Damaged {
        rows: index.rejected + index.conflicting,
        items: stac.as_ref().map_or(0, |stac| stac.refused.len()),
    };
    guard::check(settings, &standing, &leaving, &damaged)?;

    let mut refused_counts = BTreeMap::new();
    for refusal in &refused {
        *refused_counts.entry(refusal.kind).or_insert(0) += 1;
    }
    counts.stored = plan.products();
    let by_name = plan.steps().filter(|step| step.metadata.source == MetadataSource::Name).map(|step| step.id);
    counts.metadata_from_name = by_name.collect::<BTreeSet<_>>().len();
    let (requests, bytes) = used(source.as_ref());
    let empty = TreePlan { era: None, steps: Vec::new(), facts: Vec::new(), arrays: Vec::new(), angles: Vec::new() };
    let main_tree = plan.trees.iter().find(|tree| tree.era.is_none()).unwrap_or(&empty);
    let told = |tree: &TreePlan| Told::of(tree, &references);
    let Told { times, arrays, angles: of_angles, references: count, referenced_bytes } = told(main_tree);
    let main_changes = shares.remove(&None).unwrap_or_default();
    let eras = shares.into_iter().filter_map(|(era, changes)| {
        let tree = plan.trees.iter().find(|tree| tree.era == era);
        let stamp = era.as_ref().and_then(|era| plan.stamp.eras.get(era));
        let Told { times, arrays, angles, references, referenced_bytes } = told(tree.unwrap_or(&empty));
        let era = era?;
        Some(EraReport {
            differs: stamp.map(|stamp| stamp.differs.clone()).unwrap_or_default(),
            placed: placed.remove(&era).unwrap_or_default(),
            changes,
            times,
            arrays,
            angles,
            references,
            referenced_bytes,
            era,
        })
    });
    let eras = eras.collect();
    let report = BuildReport {
        kind: "s2ice.build".to_owned(),
        version: REPORT_VERSION,
        tile: settings.tile.to_string(),
        level: settings.level.to_string(),
        target: None,
        source: source_url.prefix(),
        container: name,
        dry_run: settings.dry_run,
        changes: main_changes,
        committed: None,
        gate: None,
        published: None,
        catalogue,
        cleaned: Vec::new(),
        attempts: 1,
        times,
        arrays,
        angles: of_angles,
        references: count,
        referenced_bytes,
        products: counts,
        index,
        indexed,
        stac,
        eras,
        refused,
        refused_counts,
        incomplete: incomplete.iter().map(Incomplete::from).collect(),
        leaving: leaving.iter().map(Left::from).collect(),
        source_use: SourceUse { requests, bytes, from_cache },
    };
    let addresses = addresses(&plan, source.as_ref());
    Ok(Prepared { plan, references, report, container, source_url, source, addresses, is_settled, seen })
}

fn addresses(plan: &StorePlan, source: Option<&Source>) -> HashSet<String> {
    let Some(prefix) = source.map(Source::cache_prefix) else { return HashSet::new() };
    plan.arrays().flat_map(|array| array.manifest.files()).map(|file| format!("{prefix}{}", file.path)).collect()
}

/// What changes in every tree, those that the store has and shall not have any more included.
fn shares(
    state: Option<&StoreState>,
    plan: &StorePlan,
    held: &Holdings,
    inputs: &BTreeMap<ProductId, i64>,
    leaving: &[Leaving],
) -> BTreeMap<Option<Era>, Changes> {
    let wanted: BTreeSet<ProductId> = plan.steps().map(|step| step.id).collect();
    let tile = Tile { held, wanted: &wanted };
    let of = |era: &Option<Era>, tree: &TreePlan| {
        let before = state.and_then(|state| state.tree(era.as_ref()));
        changes::changes(before, tree, |id| inputs.contains_key(&id), leaving, &tile)
    };
    let mut out: BTreeMap<Option<Era>, Changes> =
        plan.trees.iter().map(|tree| (tree.era.clone(), of(&tree.era, tree))).collect();
    for era in state.iter().flat_map(|state| state.trees.keys()) {
        let empty = || TreePlan { era: era.clone(), steps: vec![], facts: vec![], arrays: vec![], angles: vec![] };
        out.entry(era.clone()).or_insert_with(|| of(era, &empty()));
    }
    out
}

/// What the report says of a tree.
struct Told {
    times: Times,
    arrays: Vec<ArrayReport>,
    angles: Vec<AngleReport>,
    references: u64,
    referenced_bytes: u64,
}

impl Told {
    fn of(tree: &TreePlan, references: &BTreeMap<String, u64>) -> Self {
        let steps = &tree.steps;
        let times = Times {
            count: steps.len(),
            first: steps.first().map(|s| rfc3339_ms(s.time_ms)),
            last: steps.last().map(|s| rfc3339_ms(s.time_ms)),
        };
        let arrays: Vec<ArrayReport> = tree.arrays.iter().map(|array| array_report(array, references)).collect();
        let angles = tree.angles.iter().map(|angles| AngleReport::of(angles, steps.len()));
        Self {
            times,
            references: arrays.iter().map(|array| array.references).sum(),
            arrays,
            angles: angles.collect(),
            referenced_bytes: tree.referenced_bytes(),
        }
    }
}

/// Requests to a source and bytes received from it so far.
pub(super) fn used(source: Option<&Source>) -> (u64, u64) {
    source.map_or((0, 0), |source| (source.stats().requests(), source.stats().bytes()))
}

/// Nothing of the input can be stored: the first cause is the one worth telling.
fn nothing(refused: &[Refusal]) -> Error {
    // That a product is empty follows from what its rasters say; angles keep nothing out.
    let of_rasters = |r: &&Refusal| r.raster.as_deref() != Some(crate::layout::geometry::RASTER);
    let cause = refused.iter().filter(of_rasters).find(|r| r.kind != RefusalKind::Empty).or(refused.first());
    let first = cause.map(|r| match &r.raster {
        Some(raster) => format!("{} {raster}: {}", r.product, r.reason),
        None => format!("{}: {}", r.product, r.reason),
    });
    let reason = first.unwrap_or_else(|| "the index lists no usable raster".to_owned());
    Error::Nothing(format!("nothing can be stored ({} left out): {reason}", refused.len()))
}

fn array_report(array: &ArrayReferences, references: &BTreeMap<String, u64>) -> ArrayReport {
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

/// The settings of `s2ice manifest`: a table holds one store's references, and has no place for values.
pub(super) fn one_store(settings: &BuildSettings) -> BuildSettings {
    BuildSettings { on_mismatch: OnMismatch::Refuse, angles: false, ..settings.clone() }
}
