//! Everything up to the writing: what the store shall hold, and the report of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use s2ice_manifest::assemble::{Refusal, RefusalKind};
use s2ice_manifest::decide::{Decision, Part, Policy, decide};
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::product::ProductId;
use s2ice_manifest::source::location::Source;
use s2ice_manifest::source::memory::Memory;
use s2ice_manifest::stac::Seen;

use super::found::{Found, Job, find};
use super::gather::{Reach, gather};
use super::inputs::{CatalogueLoad, Inputs, Standing};
use super::jp2::conflict;
use super::places::Places;
use super::settle::{Known, settle};
use super::told::Told;
use super::waiting::remember;
use super::wanted::wanted_angles;
use super::{BuildSettings, catalogue, changes, cog, guard, prejudged};
use crate::commit::Loaded;
use crate::error::{Error, Result};
use crate::holdings::Holdings;
use crate::plan::{CatalogueStamp, Desired, PlanContext, StorePlan, plan};
use crate::progress::Progress;
use crate::reference::Referencing;
use crate::report::{BuildReport, CatalogueReport};
use crate::state::{self, StoreState};
use crate::target::Target;

/// What a run is about to write.
pub(super) struct Prepared {
    pub(super) plan: StorePlan,
    /// Number of references that each array will have, by path.
    pub(super) references: BTreeMap<String, u64>,
    pub(super) report: BuildReport,
    pub(super) places: Places,
    /// Addresses of the files that the plan refers to anew: the store will know them.
    pub(super) addresses: HashSet<String>,
    /// True where a run after this one, of the same question and answers, has nothing to do.
    pub(super) is_settled: bool,
    /// What the catalogue showed.
    pub(super) seen: Option<Seen>,
}

/// Works out what the store shall hold: inputs, evidence, decision, plan, report. All of the products of `exempt` is asked
/// for, whatever is known of them and although others stand in their place.
pub(super) async fn prepare(
    settings: &BuildSettings,
    memory: &Memory,
    target: Option<&Target>,
    loaded: &mut Loaded,
    exempt: BTreeSet<ProductId>,
    progress: &dyn Progress,
) -> Result<Prepared> {
    let places = Places::open(settings, loaded)?;
    let (held, state) = (Holdings::new(loaded.state.clone()), loaded.state.clone());
    let state = state.as_deref();

    // Inputs.
    let inputs = read_inputs(settings, memory, &places, &held, state, progress).await?;
    let Inputs { products, index, stac, counts, catalogue, indexed, refused: unindexed, present } = inputs;
    let is_complete = catalogue.as_ref().is_none_or(|load| load.incomplete.is_empty());
    let settings = &BuildSettings { prune: settings.prune && is_complete, ..settings.clone() };
    let mut updated: BTreeMap<ProductId, String> =
        products.iter().filter_map(|product| Some((product.id, product.updated()?))).collect();

    // Evidence.
    let resolutions = state::resolutions(state, settings.resolutions, settings.prune);
    let policy =
        Policy { resolutions, on_mismatch: settings.on_mismatch, accept_incomplete: settings.accept_incomplete };
    let angles = &wanted_angles(settings)?;
    let job = Job { settings, memory, target, places: &places, held: &held, policy, angles, exempt: &exempt, progress };
    let found = find(job, loaded, products, present, unindexed).await?;
    let Found { records, leaving: given, behind, mut refused, prejudged, remade, inputs, looked_up_to, from_cache } =
        found;

    // Decision.
    let standing = held.standing();
    let decision = decide(records, &standing, &policy);
    let mut again = prejudged::wrongly(&prejudged, &decision, resolutions);
    again.extend(remade);
    if !again.is_subset(&exempt) {
        // What stood in their place gives way in this very run, or they are not what they were: all is decided anew.
        let exempt = exempt.union(&again).copied().collect();
        return Box::pin(prepare(settings, memory, target, loaded, exempt, progress)).await;
    }
    let leaving = decision.account(&standing, &given).map_err(|error| Error::Nothing(error.to_string()))?;
    let superseded = prejudged::superseded(&prejudged, &decision);
    let (told, waiting) = prejudged::told(&prejudged, &decision, resolutions);
    let Decision { parts, refused: more, mut incomplete, accepted, .. } = decision;
    refused.extend(more);
    refused.extend(told);
    refused.extend(index.conflicts.iter().map(conflict));
    refused.sort_by(|a, b| (&a.product, &a.raster, a.kind).cmp(&(&b.product, &b.raster, b.kind)));
    refused.dedup();
    // What the store holds and could not be looked at is to be looked at again.
    let unseen = refused.iter().filter(|refusal| refusal.kind == RefusalKind::Source);
    let unseen: BTreeSet<&str> = unseen.map(|refusal| refusal.product.as_str()).collect();
    updated.retain(|id, _| !held.contains(*id) || !unseen.contains(id.to_string().as_str()));
    remember(settings, memory, &held, &inputs, &refused, &incomplete, &superseded);
    incomplete.extend(waiting);
    incomplete.sort_by_key(|incomplete| incomplete.product);
    if parts.is_empty() {
        return Err(nothing(&refused));
    }
    let damaged = guard::Damaged {
        rows: index.rejected + index.conflicting,
        items: stac.as_ref().map_or(0, |stac| stac.refused.len()),
    };
    guard::check(settings, &standing, &leaving, &damaged)?;

    // Plan.
    let referencing = Referencing {
        container: places.container.clone(),
        checksum: settings.checksum,
        relative: loaded.knows_relative(settings.spec),
    };
    let known = Known {
        target,
        held: &held,
        referencing: &referencing,
        refused: &refused,
        behind: &behind,
        inputs: &inputs,
        updated: &updated,
    };
    let (mut trees, mut placed) = (Vec::with_capacity(parts.len()), BTreeMap::new());
    for Part { era, mut assembly, differs, placed: new } in parts {
        let facts = settle(&mut assembly, era.as_ref(), loaded, &known).await?;
        placed.extend(era.clone().map(|era| (era, new)));
        trees.push(Desired { era, differs, assembly, facts });
    }
    let (stamp, catalogue_report) = dealt_with(settings, state, catalogue.as_ref(), &refused);
    let context = PlanContext {
        tile: settings.tile,
        level: settings.level,
        container: places.name.clone(),
        source_url: places.url.prefix(),
        writer: settings.writer.clone(),
        sources: state.map(|state| state.stamp.sources.clone()).unwrap_or_default(),
        resolutions,
        catalogue: stamp,
        accepted,
    };
    let plan = plan(trees, &context).map_err(Error::Encode)?;
    let references = changes::references(loaded, target, &plan).await?;

    // Report.
    let told = Told {
        held: &held,
        state,
        inputs: &inputs,
        leaving: &leaving,
        placed,
        refused,
        incomplete: &incomplete,
        counts,
        index,
        indexed,
        stac,
        catalogue: catalogue_report,
        from_cache,
    };
    let report = told.report(settings, &places, &plan, &references);
    let is_settled = is_complete && !catalogue.as_ref().is_some_and(|load| load.backlog);
    let addresses = addresses(&plan, places.source.as_ref());
    if let Some(last) = looked_up_to {
        memory.looked_up_to(last);
    }
    Ok(Prepared { plan, references, report, places, addresses, is_settled, seen: catalogue.map(|load| load.seen) })
}

/// What index and catalogue say; what is missing of an answer is told.
async fn read_inputs(
    settings: &BuildSettings,
    memory: &Memory,
    places: &Places,
    held: &Holdings,
    state: Option<&StoreState>,
    progress: &dyn Progress,
) -> Result<Inputs> {
    cog::check_kind(settings, state)?;
    let standing = Standing {
        since: catalogue::since(settings, state),
        may_be_empty: !held.is_new() && !settings.prune,
        held: held.ids().collect(),
        partial: held.ids().filter(|id| held.is_partial(*id)).collect(),
    };
    let inputs = match settings.source_kind {
        SourceKind::Jp2 => {
            let reach = Reach { memory, source: places.source.as_ref() };
            gather(settings, standing, reach, progress).await?
        }
        SourceKind::Cog => cog::gather(settings, standing, &places.url, progress).await?,
    };
    let gaps = inputs.catalogue.iter().flat_map(|load| &load.incomplete);
    for reason in gaps.clone() {
        tracing::warn!("the answer of the catalogue is incomplete: {reason}");
    }
    if settings.prune && gaps.count() > 0 {
        tracing::warn!("nothing is pruned, since the answer of the catalogue is incomplete");
    }
    Ok(inputs)
}

/// Up to when the catalogue is dealt with, for the store and for the report.
fn dealt_with(
    settings: &BuildSettings,
    state: Option<&StoreState>,
    load: Option<&CatalogueLoad>,
    refused: &[Refusal],
) -> (Option<CatalogueStamp>, Option<CatalogueReport>) {
    match load {
        Some(load) => {
            let (stamp, report) = catalogue::outcome(settings, state, load, refused);
            // What the limit left must be found again however old it is.
            (stamp.filter(|_| !load.backlog), Some(report))
        }
        None => (state.and_then(|state| state.stamp.catalogue.clone()), None),
    }
}

fn addresses(plan: &StorePlan, source: Option<&Source>) -> HashSet<String> {
    let Some(prefix) = source.map(Source::cache_prefix) else { return HashSet::new() };
    plan.arrays().flat_map(|array| array.manifest.files()).map(|file| format!("{prefix}{}", file.path)).collect()
}

/// Nothing of the input can be stored: the first cause is the one worth telling.
pub(super) fn nothing(refused: &[Refusal]) -> Error {
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
