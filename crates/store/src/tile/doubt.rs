//! What a run could not find out: products of the store that may not be what they were, and sources that gave nothing.
//!
//! A product is in doubt where its item, its files or its XML tell that it changed and it could not be asked, or where its
//! file contradicts the very rows that it was made of. What the store has of it stays, and it is asked for until it tells.

use std::collections::{BTreeMap, BTreeSet};

use s2ice_manifest::assemble::{Refusal, RefusalKind};
use s2ice_manifest::decide::Leaving;
use s2ice_manifest::product::ProductId;
use s2ice_manifest::source::memory::Memory;

use super::BuildSettings;
use super::trouble::whole;
use crate::holdings::Holdings;
use crate::layout::geometry;

/// What is said of a product that is in doubt and not among the inputs.
const UNTOLD: &str = "it is not what the store was made of, or could not be looked at, and the inputs do not have it now: what \
                      the store holds of it stays until they do";

/// Which products told something when they were asked.
#[derive(Debug, Default)]
pub struct Answers {
    /// Products that told what they are.
    pub resolved: BTreeSet<ProductId>,
    /// Those of them of which a raster was given.
    pub gave: BTreeSet<ProductId>,
    /// Products of which the store has just what the inputs say: they were not asked.
    pub unchanged: BTreeSet<ProductId>,
    /// Products of which the store keeps what could not be read this time.
    pub behind: BTreeSet<ProductId>,
}

/// What speaks for a change.
pub struct Evidence<'a> {
    /// What the store holds.
    pub held: &'a Holdings,
    /// Products that a look found to be others, or that could not be looked at.
    pub suspects: &'a BTreeSet<ProductId>,
    /// When the items that were shown last changed.
    pub updated: &'a BTreeMap<ProductId, String>,
    /// Fingerprint of the rows of every product of the input.
    pub inputs: &'a BTreeMap<ProductId, i64>,
}

/// Products of the store that are in doubt.
pub struct Doubt {
    /// They themselves.
    pub products: BTreeSet<ProductId>,
    /// True where the next run would not ask for one of them unless that is written.
    pub is_new: bool,
    /// Those that the inputs do not tell of, by name.
    pub refused: Vec<Refusal>,
}

impl Evidence<'_> {
    /// What is in doubt after all was asked and decided.
    pub fn doubt(
        &self,
        settings: &BuildSettings,
        answers: &Answers,
        refused: &[Refusal],
        leaving: &[Leaving],
    ) -> Doubt {
        let named = |is: fn(&Refusal) -> bool| -> BTreeSet<ProductId> {
            refused.iter().filter(|refusal| is(refusal)).filter_map(|refusal| refusal.product.parse().ok()).collect()
        };
        let without_angles = named(of_angles);
        let told_all = |id: &ProductId| {
            answers.resolved.contains(id) && !answers.behind.contains(id) && !without_angles.contains(id)
        };
        // Items of GeoTIFFs are what there is to look at.
        let is_item_all = !settings.source_kind.is_jp2();
        let items = self.updated.keys().filter(|id| is_item_all && !answers.unchanged.contains(id));
        let held: BTreeSet<ProductId> = self.held.ids().filter(|id| self.held.is_in_doubt(*id)).collect();
        // What its XML keeps out told what it is.
        let filtered = named(|refusal| refusal.kind == RefusalKind::Filtered);
        let suspects = self.suspects.iter().chain(items).chain(&held);
        let untold = suspects.filter(|id| !told_all(id) && !filtered.contains(id));
        // The rows are those that gave what the store has, and the file is another one by now.
        let differs = named(|refusal| refusal.kind != RefusalKind::Source);
        let same_rows = |id: &ProductId| self.inputs.get(id).is_some_and(|inputs| *inputs == self.held.inputs(*id));
        let contradicted: Vec<&ProductId> =
            answers.behind.iter().filter(|id| same_rows(id) && differs.contains(id)).collect();
        let is_new = !contradicted.is_empty();
        let leaves = |id: &ProductId| leaving.iter().any(|leaving| leaving.product == *id && leaving.raster.is_none());
        let products = untold.chain(contradicted).filter(|id| self.held.contains(**id) && !leaves(id));
        let products: BTreeSet<ProductId> = products.copied().collect();
        let unknown = products.iter().filter(|id| !self.inputs.contains_key(id));
        let refused = unknown.map(|id| whole(*id, RefusalKind::Changed, UNTOLD.to_owned())).collect();
        Doubt { products, is_new, refused }
    }
}

/// True of a refusal of a product's angles.
pub fn of_angles(refusal: &Refusal) -> bool {
    refusal.raster.as_deref() == Some(geometry::RASTER)
}

/// Products whose files are others than the index says, as this run was the first to see: they are to be indexed again.
pub fn stale_rows(
    settings: &BuildSettings,
    refused: &[Refusal],
    memory: &Memory,
    replaced: &BTreeSet<ProductId>,
) -> BTreeSet<ProductId> {
    let is_changed = |refusal: &Refusal| matches!(refusal.kind, RefusalKind::Changed | RefusalKind::Ranges);
    let is_known = |id: ProductId| memory.refusals(id).iter().any(|known| is_changed(&known.refusal));
    let changed = refused.iter().filter(|refusal| settings.index_missing && is_changed(refusal));
    let changed = changed.filter_map(|refusal| refusal.product.parse().ok());
    changed.filter(|id| !replaced.contains(id) && !is_known(*id)).collect()
}

/// True where the source refused or lost files of several products in this run, and gave no raster of any: of one alone the
/// files may be closed for years.
pub fn is_blind(refused: &[Refusal], memory: &Memory, answers: &Answers) -> bool {
    if !answers.gave.is_empty() {
        return false;
    }
    let is_known = |refusal: &Refusal| {
        let known = refusal.product.parse().map(|id| memory.refusals(id)).unwrap_or_default();
        known.iter().any(|known| known.refusal == *refusal)
    };
    let lost = refused.iter().filter(|refusal| refusal.kind == RefusalKind::Source && !is_known(refusal));
    let lost: BTreeSet<&str> = lost.map(|refusal| refusal.product.as_str()).collect();
    lost.len() > 1
}
