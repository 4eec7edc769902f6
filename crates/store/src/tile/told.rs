//! The report of what was prepared.

use std::collections::{BTreeMap, BTreeSet};

use s2ice_manifest::assemble::Refusal;
use s2ice_manifest::decide::{Incomplete, Leaving, Placed};
use s2ice_manifest::era::Era;
use s2ice_manifest::manifest::HeaderTrust;
use s2ice_manifest::product::{MetadataSource, ProductId};
use s2ice_manifest::source::location::Source;
use s2ice_manifest::source::tlm_parquet::IndexReadReport;

use super::BuildSettings;
use super::changes::{self, Tile};
use super::places::Places;
use crate::holdings::Holdings;
use crate::plan::{ArrayReferences, StorePlan, TreePlan};
use crate::report::{
    AngleReport, ArrayReport, BuildReport, CatalogueReport, Changes, EraReport, IndexedReport, Left, ProductsReport,
    REPORT_VERSION, SourceUse, StacReport, Times, rfc3339_ms,
};
use crate::state::StoreState;

/// What there is to tell, beside the plan.
pub struct Told<'a> {
    /// What the store held.
    pub held: &'a Holdings,
    /// What it is now.
    pub state: Option<&'a StoreState>,
    /// Fingerprints of the products of the input.
    pub inputs: &'a BTreeMap<ProductId, i64>,
    /// What leaves.
    pub leaving: &'a [Leaving],
    /// What is new in each era.
    pub placed: BTreeMap<Era, Vec<Placed>>,
    /// Everything left out.
    pub refused: Vec<Refusal>,
    /// Successors that wait.
    pub incomplete: &'a [Incomplete],
    /// Matched and unmatched products.
    pub counts: ProductsReport,
    /// Rows of the index.
    pub index: IndexReadReport,
    /// What was indexed on the fly.
    pub indexed: Option<IndexedReport>,
    /// The catalogue.
    pub stac: Option<StacReport>,
    /// How it was asked.
    pub catalogue: Option<CatalogueReport>,
    /// Answers that were remembered.
    pub from_cache: u64,
}

impl Told<'_> {
    /// The report of a plan whose arrays have so many references.
    pub fn report(
        self,
        settings: &BuildSettings,
        places: &Places,
        plan: &StorePlan,
        references: &BTreeMap<String, u64>,
    ) -> BuildReport {
        let mut shares = shares(self.state, plan, self.held, self.inputs, self.leaving);
        let mut refused_counts = BTreeMap::new();
        for refusal in &self.refused {
            *refused_counts.entry(refusal.kind).or_insert(0) += 1;
        }
        let mut counts = self.counts;
        counts.stored = plan.products();
        let by_name = plan.steps().filter(|step| step.metadata.source == MetadataSource::Name).map(|step| step.id);
        counts.metadata_from_name = by_name.collect::<BTreeSet<_>>().len();
        let inferred = plan.trees.iter().flat_map(|tree| tree.steps.iter().zip(&tree.facts));
        let inferred = inferred.filter(|(_, facts)| facts.headers == HeaderTrust::Inferred).map(|(step, _)| step.id);
        counts.inferred = inferred.collect::<BTreeSet<_>>().len();
        let (requests, bytes) = used(places.source.as_ref());
        let empty =
            TreePlan { era: None, steps: Vec::new(), facts: Vec::new(), arrays: Vec::new(), angles: Vec::new() };
        let main = plan.trees.iter().find(|tree| tree.era.is_none()).unwrap_or(&empty);
        let main = Tree::of(main, references);
        let changes = shares.remove(&None).unwrap_or_default();
        let mut placed = self.placed;
        let eras = shares.into_iter().filter_map(|(era, changes)| {
            let tree = plan.trees.iter().find(|tree| tree.era == era);
            let stamp = era.as_ref().and_then(|era| plan.stamp.eras.get(era));
            let Tree { times, arrays, angles, references, referenced_bytes } =
                Tree::of(tree.unwrap_or(&empty), references);
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
        BuildReport {
            kind: "s2ice.build".to_owned(),
            version: REPORT_VERSION,
            run: settings.occasion.run.clone(),
            tile: settings.tile.to_string(),
            level: settings.level.to_string(),
            target: None,
            source: places.url.prefix(),
            container: places.name.clone(),
            dry_run: settings.dry_run,
            changes,
            committed: None,
            gate: None,
            published: None,
            catalogue: self.catalogue,
            cleaned: Vec::new(),
            attempts: 1,
            times: main.times,
            arrays: main.arrays,
            angles: main.angles,
            references: main.references,
            referenced_bytes: main.referenced_bytes,
            products: counts,
            index: self.index,
            indexed: self.indexed,
            stac: self.stac,
            eras,
            refused: self.refused,
            refused_counts,
            unseen: Vec::new(),
            incomplete: self.incomplete.iter().map(Into::into).collect(),
            leaving: self.leaving.iter().map(Left::from).collect(),
            source_use: SourceUse { requests, bytes, from_cache: self.from_cache },
            headway: None,
        }
    }
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
struct Tree {
    times: Times,
    arrays: Vec<ArrayReport>,
    angles: Vec<AngleReport>,
    references: u64,
    referenced_bytes: u64,
}

impl Tree {
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
pub fn used(source: Option<&Source>) -> (u64, u64) {
    source.map_or((0, 0), |source| (source.stats().requests(), source.stats().bytes()))
}

fn array_report(array: &ArrayReferences, references: &BTreeMap<String, u64>) -> ArrayReport {
    let manifest = &array.manifest;
    let present = manifest.rasters.iter().flatten().count();
    let references = references.get(&array.path).copied().unwrap_or_default();
    ArrayReport {
        path: array.path.clone(),
        asset: manifest.asset.name(),
        shape: array.header.shape(array.has_components, manifest.rasters.len()),
        chunks: array.header.chunk_shape(array.has_components),
        present,
        references,
        nodata_chunks: (manifest.header.tiles() * present as u64).saturating_sub(references),
        header: manifest.trust().name().to_owned(),
        profile: manifest.header.fingerprint.clone(),
    }
}
