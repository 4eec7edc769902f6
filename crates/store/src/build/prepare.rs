//! Everything up to the writing: what each store of the tile shall hold, and the report of it.

use std::collections::{BTreeMap, BTreeSet};

use icechunk::virtual_chunks::VirtualChunkContainer;
use s2ice_manifest::assemble::{Assembly, Refusal, RefusalKind};
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::era::{Era, OnMismatch, Part, Partition, Placed, partition};
use s2ice_manifest::manifest::Placement;
use s2ice_manifest::product::{MetadataSource, ProductId};
use s2ice_manifest::source::cache::FactCache;
use s2ice_manifest::source::location::{Effective, Source, SourceUrl};

use super::changes::{self, Tile};
use super::difference::difference;
use super::family::Family;
use super::fingerprint::Salt;
use super::gather::{Gathered, Inputs, Reach, Standing, gather};
use super::resolve::{Resolved, conflict, resolve, too_cloudy};
use super::settle::{Known, settle};
use super::wanted::wanted_angles;
use super::{BuildSettings, HeaderPolicy, catalogue, cog, guard};
use crate::config;
use crate::error::{Error, Result};
use crate::holdings::{Holdings, spread};
use crate::plan::{ArrayReferences, CatalogueStamp, EraStamp, PlanContext, StorePlan, plan};
use crate::progress::Progress;
use crate::reference::Referencing;
use crate::report::{
    AngleReport, ArrayReport, BuildReport, Changes, EraReport, REPORT_VERSION, SourceUse, Times, rfc3339_ms,
};
use crate::state;

/// How often eras may turn up that the main store does not name: each time one run was killed.
const SURPRISES: usize = 8;

/// What one store shall hold.
pub(super) struct Share {
    /// Number of the member of the family.
    pub(super) member: usize,
    /// True where no state was published yet.
    pub(super) is_new: bool,
    pub(super) era: Option<Era>,
    pub(super) plan: StorePlan,
    pub(super) changes: Changes,
    /// Number of references that each array will have, by path.
    pub(super) references: BTreeMap<String, u64>,
    differs: Vec<String>,
    placed: Vec<Placed>,
}

/// What a run is about to write.
pub(super) struct Prepared {
    /// The main store's first.
    pub(super) shares: Vec<Share>,
    pub(super) report: BuildReport,
    pub(super) container: VirtualChunkContainer,
    pub(super) source_url: SourceUrl,
    pub(super) source: Option<Source>,
}

/// Works out what every store of the tile shall hold. Eras that turn out to be needed join the family.
pub(super) async fn prepare(
    settings: &BuildSettings,
    cache: &FactCache,
    family: &mut Family,
    progress: &dyn Progress,
) -> Result<Prepared> {
    for _ in 0..SURPRISES {
        if let Some(prepared) = attempt(settings, cache, family, progress).await? {
            return Ok(prepared);
        }
    }
    Err(Error::Nothing("stores of other eras keep turning up beside this one: another run is writing them".to_owned()))
}

/// `None` where an era had to join that holds products already, left by a killed run: they count, too.
async fn attempt(
    settings: &BuildSettings,
    cache: &FactCache,
    family: &mut Family,
    progress: &dyn Progress,
) -> Result<Option<Prepared>> {
    let source_url = SourceUrl::parse(&settings.source)?;
    let source = match settings.headers {
        // Nothing is asked of the source, which therefore need not exist.
        HeaderPolicy::Assume if source_url.local_root().is_some_and(|root| !root.is_dir()) => None,
        _ => Some(Source::open(&source_url, &settings.source_options)?),
    };
    let effective = source.as_ref().map_or_else(Effective::default, |source| source.effective().clone());
    let name = settings.container.clone().unwrap_or_else(|| config::default_container_name(&source_url));
    let container = config::container(&name, &source_url, &effective)?;

    if let Some(known) = family.containers().iter().find(|known| known.url_prefix() == container.url_prefix())
        && let Some(other) = known.name().filter(|known| *known != name)
    {
        return Err(Error::Request(format!(
            "the references of the store that point below {} name it {other}, not {name}: leave --container out or give \
             that name",
            container.url_prefix()
        )));
    }
    let held = family.holdings();
    let main = family.main();
    let main = main.as_deref();
    cog::check_kind(settings, main)?;
    let standing = Standing {
        since: catalogue::since(settings, main),
        may_be_empty: !held.is_new() && !settings.prune,
        held: held.ids().collect(),
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
    let resolutions = state::resolutions(main, settings.resolutions, settings.prune);
    let angles = wanted_angles(settings)?;
    let salt = Salt::new(&name, &source_url.prefix(), settings.checksum, settings.headers, resolutions, &angles);
    let admits = |product: &Gathered, cover: Option<f64>| too_cloudy(settings, product, cover);
    let mut split = difference(&held, products, &salt, settings.prune, admits);
    let changed = std::mem::take(&mut split.changed);
    let Resolved { products: resolved, mut refused, from_cache } = match settings.source_kind {
        SourceKind::Jp2 => resolve(settings, reach, &source_url, &held, changed, &angles, progress).await?,
        SourceKind::Cog => cog::resolve(settings, cache, source.as_ref(), &held, changed, progress).await?,
    };
    refused.extend(split.refused.iter().cloned());
    refused.extend(unindexed);
    if split.lost_all(&resolved, &held) {
        return Err(nothing(&refused));
    }
    let records = split.merge(&held, resolved, &refused, &angles, settings.prune);

    let divided = partition(records, resolutions, settings.on_mismatch, &held.in_eras());
    let mut surprise = false;
    for era in divided.parts.iter().filter_map(|part| part.era.clone()) {
        if family.members.iter().all(|member| member.era.as_ref() != Some(&era)) {
            surprise |= family.join(settings, era).await?;
        }
    }
    if surprise {
        return Ok(None);
    }
    let Partition { parts, refused: more } = divided;
    refused.extend(more);
    refused.extend(index.conflicts.iter().map(conflict));
    refused.sort_by(|a, b| (&a.product, &a.raster, a.kind).cmp(&(&b.product, &b.raster, b.kind)));
    refused.dedup();
    if parts.is_empty() {
        return Err(nothing(&refused));
    }

    let (stamp, catalogue) = match &catalogue {
        Some(load) => {
            let (stamp, report) = catalogue::outcome(settings, main, load, &refused);
            // What the limit left must be found again however old it is.
            (stamp.filter(|_| !load.backlog), Some(report))
        }
        None => (main.and_then(|s| s.stamp.catalogue.clone()), None),
    };
    let sources = family.members.iter().filter_map(|member| member.state());
    let base = PlanContext {
        tile: settings.tile,
        level: settings.level,
        container: name.clone(),
        source_url: source_url.prefix(),
        writer: settings.writer.clone(),
        sources: sources.flat_map(|state| state.stamp.sources.clone()).collect(),
        facts: Vec::new(),
        resolutions,
        catalogue: None,
        era: None,
        eras: BTreeMap::new(),
    };
    let dividing = Dividing {
        settings,
        held: &held,
        container: &container,
        inputs: &split.inputs,
        updated: &updated,
        refused: &refused,
        base,
        catalogue: stamp,
    };
    let shares = dividing.shares(family, parts).await?;
    let damaged = guard::Damaged {
        rows: index.rejected + index.conflicting,
        items: stac.as_ref().map_or(0, |stac| stac.refused.len()),
    };
    guard::check(settings, &held, main, shares.iter().map(|share| &share.changes), &refused, &damaged)?;

    let mut refused_counts = BTreeMap::new();
    for refusal in &refused {
        *refused_counts.entry(refusal.kind).or_insert(0) += 1;
    }
    let steps = || shares.iter().flat_map(|share| &share.plan.steps);
    counts.stored = steps().map(|step| step.id).collect::<BTreeSet<_>>().len();
    let by_name = steps().filter(|step| step.metadata.source == MetadataSource::Name).map(|step| step.id);
    counts.metadata_from_name = by_name.collect::<BTreeSet<_>>().len();
    let (requests, bytes) = used(source.as_ref());
    let Some(share) = shares.first() else { return Err(nothing(&refused)) };
    let report = BuildReport {
        kind: "s2ice.build".to_owned(),
        version: REPORT_VERSION,
        tile: settings.tile.to_string(),
        level: settings.level.to_string(),
        target: None,
        source: source_url.prefix(),
        container: name,
        dry_run: settings.dry_run,
        changes: share.changes.clone(),
        committed: None,
        gate: None,
        published: None,
        catalogue,
        cleaned: Vec::new(),
        attempts: 1,
        times: times(&share.plan),
        arrays: share.arrays(),
        angles: share.angles(),
        references: share.references.values().sum(),
        referenced_bytes: share.plan.referenced_bytes(),
        products: counts,
        index,
        indexed,
        stac,
        eras: shares.iter().filter_map(|share| share.report(family)).collect(),
        refused,
        refused_counts,
        source_use: SourceUse { requests, bytes, from_cache },
    };
    Ok(Some(Prepared { shares, report, container, source_url, source }))
}

/// What the plans of all stores are made from.
struct Dividing<'a> {
    settings: &'a BuildSettings,
    held: &'a Holdings,
    container: &'a VirtualChunkContainer,
    inputs: &'a BTreeMap<ProductId, i64>,
    updated: &'a BTreeMap<ProductId, String>,
    refused: &'a [Refusal],
    base: PlanContext,
    catalogue: Option<CatalogueStamp>,
}

impl Dividing<'_> {
    /// Plans every store of the family; an era without products any more is emptied.
    async fn shares(self, family: &mut Family, parts: Vec<Part>) -> Result<Vec<Share>> {
        let givers = parts.iter().flat_map(|part| &part.assembly.manifests).flat_map(|m| m.rasters.iter().flatten());
        let givers = givers.filter_map(|raster| match raster {
            Placement::Elsewhere(raster) => Some(raster.era.clone()),
            _ => None,
        });
        let angles = parts.iter().flat_map(|part| part.assembly.angles.values().flatten().flatten());
        let givers = givers.chain(angles.filter_map(|placement| placement.giver().cloned()));
        family.give(&givers.collect()).await?;
        let wanted: BTreeSet<ProductId> =
            parts.iter().flat_map(|part| part.assembly.steps.iter().map(|step| step.id)).collect();
        let mut places: BTreeMap<ProductId, Vec<Option<&Era>>> = BTreeMap::new();
        for part in &parts {
            for step in &part.assembly.steps {
                places.entry(step.id).or_default().push(part.era.as_ref());
            }
        }
        let several = places.into_iter().filter(|(_, eras)| eras.len() > 1);
        let spread: BTreeMap<ProductId, i64> = several.map(|(id, eras)| (id, spread(eras.into_iter()))).collect();
        let mut eras: BTreeMap<Era, EraStamp> = parts
            .iter()
            .filter_map(|part| Some((part.era.clone()?, EraStamp { differs: part.differs.clone() })))
            .collect();
        // One that is about to be emptied is named until it is: if the run were killed, its products would come back.
        for member in &family.members {
            if let (Some(era), Some(state)) = (&member.era, member.state())
                && !state.steps.is_empty()
            {
                eras.entry(era.clone()).or_insert_with(|| EraStamp { differs: Vec::new() });
            }
        }
        let spec = family.spec(self.settings.spec);
        let mut parts: BTreeMap<Option<Era>, Part> = parts.into_iter().map(|part| (part.era.clone(), part)).collect();
        let mut shares = Vec::with_capacity(family.members.len());
        for (number, member) in family.members.iter_mut().enumerate() {
            let Part { era, mut assembly, differs, placed } = match parts.remove(&member.era) {
                Some(part) => part,
                None if member.state().is_some() => emptied(member.era.clone()),
                None => continue,
            };
            let relative = member.loaded.knows_relative(spec);
            let checksum = self.settings.checksum;
            let referencing = Referencing { container: self.container.clone(), checksum, relative };
            let target = member.target.as_deref();
            let known = Known {
                target,
                held: self.held,
                spread: &spread,
                referencing: &referencing,
                refused: self.refused,
                inputs: self.inputs,
                updated: self.updated,
            };
            let facts = settle(&mut assembly, &mut member.loaded, &known).await?;
            let is_main = era.is_none();
            let context = PlanContext {
                facts,
                era: era.clone(),
                eras: if is_main { eras.clone() } else { BTreeMap::new() },
                catalogue: self.catalogue.clone().filter(|_| is_main),
                ..self.base.clone()
            };
            let plan = plan(assembly, &context).map_err(Error::Encode)?;
            let tile = Tile { held: self.held, wanted: &wanted };
            let in_input = |id| self.inputs.contains_key(&id);
            let changes = changes::changes(member.loaded.state.as_deref(), &plan, in_input, self.refused, &tile);
            let references = changes::references(&mut member.loaded, target, &plan).await?;
            let is_new = member.state().is_none();
            shares.push(Share { member: number, is_new, era, plan, changes, references, differs, placed });
        }
        Ok(shares)
    }
}

fn emptied(era: Option<Era>) -> Part {
    Part { era, assembly: Assembly::default(), differs: Vec::new(), placed: Vec::new() }
}

impl Share {
    fn arrays(&self) -> Vec<ArrayReport> {
        self.plan.arrays.iter().map(|array| array_report(array, &self.references)).collect()
    }

    fn angles(&self) -> Vec<AngleReport> {
        let steps = self.plan.steps.len();
        self.plan.angles.iter().map(|angles| AngleReport::of(angles.array, steps, angles.present())).collect()
    }

    fn report(&self, family: &Family) -> Option<EraReport> {
        let target = family.members.get(self.member)?.target.as_ref();
        Some(EraReport {
            era: self.era.clone()?,
            store: target.map(|target| target.url().to_string()),
            differs: self.differs.clone(),
            placed: self.placed.clone(),
            changes: self.changes.clone(),
            committed: None,
            gate: None,
            published: None,
            times: times(&self.plan),
            arrays: self.arrays(),
            angles: self.angles(),
            references: self.references.values().sum(),
            referenced_bytes: self.plan.referenced_bytes(),
        })
    }
}

fn times(plan: &StorePlan) -> Times {
    Times {
        count: plan.steps.len(),
        first: plan.steps.first().map(|s| rfc3339_ms(s.time_ms)),
        last: plan.steps.last().map(|s| rfc3339_ms(s.time_ms)),
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
