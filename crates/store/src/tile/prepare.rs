//! Everything up to the writing: what the store shall hold, and the report of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use s2ice_manifest::assemble::{Refusal, RefusalKind, Step};
use s2ice_manifest::decide::{Decision, Part, Policy, decide};
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::geometry::{AngleArray, AnglePlacement};
use s2ice_manifest::product::ProductId;
use s2ice_manifest::raster::Asset;
use s2ice_manifest::source::location::{Source, SourceError};
use s2ice_manifest::source::memory::Memory;
use s2ice_manifest::stac::{Seen, StacItem};

use super::catalogue::{Outcome, Start, Until, outcome};
use super::doubt::{self, Doubt};
use super::found::{Found, Job, find, question};
use super::gather::gather;
use super::inputs::{CatalogueLoad, Inputs, Standing};
use super::jp2::conflict;
use super::places::Places;
use super::recheck::Look;
use super::settle::{Known, settle};
use super::told::Told;
use super::unindexed::Reach;
use super::waiting::remember;
use super::wanted::wanted_angles;
use super::{BuildSettings, Recheck, catalogue, changes, cog, guard, prejudged};
use crate::commit::Loaded;
use crate::error::{Error, Result};
use crate::holdings::Holdings;
use crate::plan::{Desired, PlanContext, StorePlan, plan};
use crate::progress::Progress;
use crate::reference::Referencing;
use crate::report::BuildReport;
use crate::state::{self, StoreState};
use crate::target::Target;
use crate::unseen::{Input, Unseen};

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
    /// Up to when all that it showed is dealt with, but for the kept items.
    pub(super) until: Option<Until>,
    /// Items that the next runs need however old they are, with the fingerprint of what was made of them.
    pub(super) kept: Vec<(StacItem, i64)>,
    /// The last product whose turn it was to be looked at.
    pub(super) turn: Option<ProductId>,
    /// True where products of the store were found to be others, or may be, and could not be asked.
    pub(super) has_doubts: bool,
}

/// Works out what the store shall hold.
pub(super) async fn prepare(
    settings: &BuildSettings,
    memory: &Memory,
    target: Option<&Target>,
    loaded: &mut Loaded,
    progress: &dyn Progress,
) -> Result<Prepared> {
    let places = Places::open(settings, loaded)?;
    let held = Holdings::new(loaded.state.clone());
    let look = Look { settings, held: &held, source: places.source.as_ref(), target };
    let (others, turn) = look.in_turn(loaded, memory).await?;
    let again = Again { replaced: others.products, other_files: others.files, ..Again::default() };
    let source = places.source.clone();
    match work_out(settings, memory, places, target, loaded, again, progress).await {
        Ok(prepared) => Ok(Prepared { turn, ..prepared }),
        Err(error) => Err(or_unseen(error, source.as_ref().and_then(Source::unseen))),
    }
}

/// Of what was not seen nobody knows whether there is nothing.
fn or_unseen(error: Error, unseen: Option<&SourceError>) -> Error {
    match (error, unseen.and_then(|error| Unseen::of(Input::Source, error))) {
        (Error::Nothing(reason), Some(unseen)) => Error::Unseen(Unseen { reason, ..unseen }),
        (error, _) => error,
    }
}

/// What a run has found out before it begins anew.
#[derive(Default)]
struct Again {
    /// Products that are not what they were: all of them is asked for, whatever is known.
    replaced: BTreeSet<ProductId>,
    /// Rasters of the store whose files are proven to be others.
    other_files: BTreeSet<(ProductId, Asset)>,
    /// Products that are asked for although others stand in their place.
    exempt: BTreeSet<ProductId>,
    /// Products that were looked at since their items changed.
    looked_at: BTreeSet<ProductId>,
}

/// Inputs, evidence, decision, plan, report.
async fn work_out(
    settings: &BuildSettings,
    memory: &Memory,
    places: Places,
    target: Option<&Target>,
    loaded: &mut Loaded,
    mut again: Again,
    progress: &dyn Progress,
) -> Result<Prepared> {
    let (held, state) = (Holdings::new(loaded.state.clone()), loaded.state.clone());
    let state = state.as_deref();

    // Inputs.
    let source = places.source.as_ref();
    let resolutions = state::resolutions(state, settings.resolutions, settings.prune);
    let question = &question(settings, &places, resolutions, settings.headers)?;
    let Again { replaced, exempt, .. } = &again;
    let reach = Reach { memory, source, held: &held, exempt, replaced, question, resolutions };
    let inputs = read_inputs(settings, reach, &places, state, progress).await?;
    let Inputs { products, index, stac, counts, catalogue, indexed, mut aside, unfound } = inputs;
    let later = std::mem::take(&mut aside.later);
    let is_complete = catalogue.as_ref().is_none_or(|load| load.incomplete.is_empty());
    let settings = &BuildSettings { prune: settings.prune && is_complete, ..settings.clone() };
    let updated = catalogue.as_ref().map(|load| load.updated.clone()).unwrap_or_default();
    let is_announced = |(id, now): &(&ProductId, &String)| {
        !again.looked_at.contains(id) && held.updated(**id).is_some_and(|before| before != **now)
    };
    let announced: Vec<ProductId> = updated.iter().filter(is_announced).map(|(id, _)| *id).collect();
    let look = Look { settings, held: &held, source, target };
    let others = look.announced(loaded, announced.clone()).await?;
    again.looked_at.extend(announced);
    let is_news = !others.products.is_subset(&again.replaced);
    again.replaced.extend(others.products);
    again.other_files.extend(others.files);
    if is_news && settings.index_missing {
        // Their rows come of the files.
        return Box::pin(work_out(settings, memory, places, target, loaded, again, progress)).await;
    }

    // Evidence.
    let resolutions = state::resolutions(state, settings.resolutions, settings.prune);
    let policy =
        Policy { resolutions, on_mismatch: settings.on_mismatch, accept_incomplete: settings.accept_incomplete };
    let angles = &wanted_angles(settings)?;
    let held = &held;
    let Again { replaced, exempt, other_files, .. } = &again;
    let job = Job { settings, memory, places: &places, held, policy, angles, exempt, replaced, other_files, progress };
    let found = find(job, products, aside).await?;
    let stale = doubt::stale_rows(settings, &found.refused, memory, replaced);
    let Found { records, leaving: given, answers, mut refused, prejudged, remade, .. } = found;
    let Found { lacks_items, inputs, from_cache, .. } = found;

    // Decision.
    let standing = held.standing();
    let decision = decide(records, &standing, &policy);
    let wrongly = prejudged::wrongly(&prejudged, &decision, resolutions);
    if !wrongly.is_subset(exempt) || !remade.is_subset(replaced) || !stale.is_empty() {
        // What stood in their place gives way in this very run, or they are not what they were: all is decided anew.
        again.exempt.extend(wrongly);
        again.replaced.extend(remade);
        again.replaced.extend(stale);
        return Box::pin(work_out(settings, memory, places, target, loaded, again, progress)).await;
    }
    let unsure = |load: &CatalogueLoad| load.incremental && (lacks_items || is_unconfirmed(&decision, load, held));
    if catalogue.as_ref().is_some_and(unsure) {
        // What is new is stored with what its item says, which an answer about changes did not show.
        let settings = &BuildSettings { full: true, ..settings.clone() };
        return Box::pin(work_out(settings, memory, places, target, loaded, again, progress)).await;
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
    let evidence = doubt::Evidence { held, suspects: &again.replaced, updated: &updated, inputs: &inputs };
    let Doubt { products: in_doubt, is_new, refused: untold } = evidence.doubt(settings, &answers, &refused, &leaving);
    refused.extend(untold);
    let all: Vec<Refusal> = refused.iter().chain(&unfound).cloned().collect();
    let asked = |id: ProductId| inputs.get(&id).copied().filter(|_| !later.contains(&id));
    let is_blind = doubt::is_blind(&all, memory, &answers);
    let unseen = source.and_then(|source| if is_blind { source.unanswered() } else { source.unseen() });
    let is_seen = unseen.is_none();
    remember(settings, memory, held, asked, &all, &incomplete, &superseded, is_seen);
    if catalogue.as_ref().is_none_or(|load| !load.incremental && load.incomplete.is_empty()) {
        memory.forget_gone(|id| inputs.contains_key(&id));
    }
    tell_unknown(settings, held, &inputs);
    incomplete.extend(waiting);
    incomplete.sort_by_key(|incomplete| incomplete.product);
    if parts.is_empty() {
        return Err(or_unseen(nothing(&all), unseen));
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
        held,
        referencing: &referencing,
        refused: &refused,
        behind: &answers.behind,
        inputs: &inputs,
        updated: &updated,
        in_doubt: &in_doubt,
    };
    let (mut trees, mut placed) = (Vec::with_capacity(parts.len()), BTreeMap::new());
    for Part { era, mut assembly, differs, placed: new } in parts {
        let facts = settle(&mut assembly, era.as_ref(), loaded, &known).await?;
        placed.extend(era.clone().map(|era| (era, new)));
        trees.push(Desired { era, differs, assembly, facts });
    }
    let kept = catalogue.as_ref().map(|load| kept(load, &inputs, &all)).unwrap_or_default();
    let Outcome { stamp, mut goes_back, report, until } = outcome(settings, state, catalogue.as_ref(), &refused);
    // The next run would not ask.
    goes_back |= is_new;
    let context = PlanContext {
        tile: settings.tile,
        level: settings.level,
        container: places.name.clone(),
        source_url: places.url.prefix(),
        writer: settings.occasion.writer.clone(),
        sources: state.map(|state| state.stamp.sources.clone()).unwrap_or_default(),
        resolutions,
        overviews: state::overviews(state, settings.overviews.as_ref()),
        catalogue: stamp,
        accepted,
    };
    let plan = StorePlan { goes_back, ..plan(trees, &context).map_err(Error::Encode)? };
    if settings.overviews.is_some() {
        plan.check_overviews().map_err(Error::Request)?;
    }
    let references = changes::references(loaded, target, &plan).await?;

    // Report.
    let told = Told {
        held,
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
        catalogue: report,
        from_cache,
    };
    let mut report = told.report(settings, &places, &plan, &references);
    let gaps = catalogue.iter().flat_map(|load| &load.incomplete);
    report.unseen.extend(gaps.map(|gap| Unseen::incomplete(gap)));
    report.unseen.extend(unseen.and_then(|error| Unseen::of(Input::Source, error)));
    let is_settled = report.unseen.is_empty()
        && in_doubt.is_empty()
        && report.products.inferred == 0
        && !catalogue.as_ref().is_some_and(|load| load.backlog);
    // Unless it is written that they are, they have to be announced again.
    let until = until.filter(|_| in_doubt.is_empty());
    let addresses = addresses(&plan, places.source.as_ref());
    let seen = catalogue.map(|load| load.seen);
    let has_doubts = !in_doubt.is_empty();
    let turn = None;
    Ok(Prepared { plan, references, report, places, addresses, is_settled, seen, until, kept, turn, has_doubts })
}

/// True where something would be stored that the catalogue did not show this time: a product that is new, or what a kept item
/// tells of one that the store has in part.
fn is_unconfirmed(decision: &Decision, load: &CatalogueLoad, held: &Holdings) -> bool {
    decision.parts.iter().any(|Part { assembly, .. }| {
        let adds = |step: usize, id: ProductId| {
            let there = held.angles(id);
            let is_new = |(array, placement): (AngleArray, &AnglePlacement)| {
                matches!(placement, AnglePlacement::New(_)) && !there.contains_key(&array)
            };
            assembly.manifests.iter().filter_map(|manifest| manifest.at(step)).any(|raster| raster.file().is_some())
                || assembly.angles_at(step).into_iter().any(is_new)
        };
        let unconfirmed = |(step, Step { id, .. }): (usize, &Step)| {
            (!load.shows(*id) && !held.contains(*id)) || (load.only_remembers(*id) && adds(step, *id))
        };
        assembly.steps.iter().enumerate().any(unconfirmed)
    })
}

/// What index and catalogue say; what is missing of an answer is told.
async fn read_inputs(
    settings: &BuildSettings,
    reach: Reach<'_>,
    places: &Places,
    state: Option<&StoreState>,
    progress: &dyn Progress,
) -> Result<Inputs> {
    cog::check_kind(settings, state)?;
    let held = reach.held;
    let Start { since, kept } = catalogue::start(settings, state, reach.memory);
    let standing = Standing {
        since,
        kept,
        may_be_empty: !held.is_new() && !settings.prune,
        held: held.ids().collect(),
        partial: held.ids().filter(|id| held.is_partial(*id)).collect(),
    };
    let inputs = match settings.source_kind {
        SourceKind::Jp2 => gather(settings, standing, reach, progress).await?,
        SourceKind::Cog => cog::gather(settings, standing, held, &places.url, progress).await?,
    };
    if settings.prune && inputs.catalogue.as_ref().is_some_and(|load| !load.incomplete.is_empty()) {
        tracing::warn!("nothing is pruned, since the answer of the catalogue is incomplete");
    }
    Ok(inputs)
}

/// The items of what is not in the store, or not whole, and has no other witness.
fn kept(load: &CatalogueLoad, inputs: &BTreeMap<ProductId, i64>, refused: &[Refusal]) -> Vec<(StacItem, i64)> {
    let named = refused.iter().filter_map(|refusal| refusal.product.parse().ok());
    let named: BTreeSet<ProductId> = named.chain(load.without_index.iter().copied()).collect();
    let items = named.iter().filter_map(|id| load.items.get(id));
    items.map(|item| (item.clone(), inputs.get(&item.product).copied().unwrap_or_default())).collect()
}

/// Says which products that shall be looked at again cannot be.
fn tell_unknown(settings: &BuildSettings, held: &Holdings, inputs: &BTreeMap<ProductId, i64>) {
    for recheck in &settings.recheck {
        match recheck {
            Recheck::Product(id) if !inputs.contains_key(id) => {
                let why = match held.contains(*id) {
                    true => "the store has it, but the inputs do not tell of it",
                    false => "neither the store nor the inputs know it",
                };
                tracing::warn!("--recheck {id}: nothing was looked at: {why}");
            }
            _ => {}
        }
    }
}

fn addresses(plan: &StorePlan, source: Option<&Source>) -> HashSet<String> {
    let Some(prefix) = source.map(Source::cache_prefix) else { return HashSet::new() };
    plan.arrays().flat_map(|array| array.manifest.files()).map(|file| format!("{prefix}{}", file.path)).collect()
}

/// Nothing of the input can be stored: the first cause is the one worth telling.
pub(super) fn nothing(refused: &[Refusal]) -> Error {
    // That a product is empty follows from what its rasters say; angles keep nothing out.
    let cause = refused
        .iter()
        .filter(|refusal| !doubt::of_angles(refusal))
        .find(|r| r.kind != RefusalKind::Empty)
        .or(refused.first());
    let first = cause.map(|r| match &r.raster {
        Some(raster) => format!("{} {raster}: {}", r.product, r.reason),
        None => format!("{}: {}", r.product, r.reason),
    });
    let reason = first.unwrap_or_else(|| "the index lists no usable raster".to_owned());
    Error::Nothing(format!("nothing can be stored ({} left out): {reason}", refused.len()))
}
