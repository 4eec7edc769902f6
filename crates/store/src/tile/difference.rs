//! What of the input the store has to be asked about anew, and what it holds already.

use std::collections::{BTreeMap, BTreeSet};

use s2ice_manifest::assemble::{ProductRecord, Refusal, RefusalKind};
use s2ice_manifest::decide::{Leaving, LeavingReason, Resolutions};
use s2ice_manifest::era::Radiometry;
use s2ice_manifest::geometry::AngleArray;
use s2ice_manifest::manifest::{HeaderTrust, Placement};
use s2ice_manifest::product::{MetadataSource, ProductId, ProductMetadata};
use s2ice_manifest::raster::{Asset, Quantity};
use s2ice_manifest::stac::StacItem;

use super::changes::same_metadata;
use super::fingerprint::{Salt, of_product};
use super::inputs::{Gathered, Share};
use super::prejudged::{Prejudged, Why, start_of};
use super::trouble::whole;
use super::wanted::Wanted;
use crate::holdings::Holdings;

/// The input, compared with the stores of the tile.
pub struct Difference {
    /// Products that are new or whose rows changed, to be resolved.
    pub changed: Vec<Gathered>,
    /// Products that the store holds just as the index has them.
    pub unchanged: BTreeSet<ProductId>,
    /// Fingerprint of the rows of every product of the input.
    pub inputs: BTreeMap<ProductId, i64>,
    /// Products of which only what the store lacks is asked for.
    rests: BTreeSet<ProductId>,
    /// Rasters that the input has of products that the store holds.
    asked: BTreeMap<ProductId, BTreeSet<Asset>>,
    /// Products that the store holds in a later processing.
    pub prejudged: Vec<Prejudged>,
    /// Products that the filters no longer admit.
    pub refused: Vec<Refusal>,
}

/// What of the input a run takes.
pub struct Choice<'a> {
    /// What gives other references from the same rows.
    pub salt: &'a Salt,
    /// The same for what asks the files themselves, where this run does not.
    pub better: &'a [Salt],
    /// Take away what the input does not have.
    pub prune: bool,
    /// Which copies of a raster.
    pub resolutions: Resolutions,
    /// Which rasters.
    pub wanted: &'a Wanted,
    /// Which arrays of angles.
    pub angles: &'a BTreeSet<AngleArray>,
    /// Rasters whose files are proven to be others than those that the store was made of.
    pub other_files: &'a BTreeSet<(ProductId, Asset)>,
    /// Why products are not among the inputs.
    pub why_not: &'a BTreeMap<ProductId, String>,
}

/// Compares the input with what the store holds.
pub fn difference(
    held: &Holdings,
    products: Vec<Gathered>,
    choice: &Choice<'_>,
    rechecks: impl Fn(ProductId) -> bool,
    exempt: &BTreeSet<ProductId>,
    admits: impl Fn(&Gathered, &ProductMetadata) -> Option<String>,
) -> Difference {
    let mut out = Difference {
        changed: Vec::new(),
        unchanged: BTreeSet::new(),
        inputs: BTreeMap::new(),
        rests: BTreeSet::new(),
        asked: BTreeMap::new(),
        prejudged: Vec::new(),
        refused: Vec::new(),
    };
    for product in products {
        let held_inputs = held.inputs(product.id);
        // What was read is as good as what would be assumed.
        let given = |salt| of_product(salt, &product);
        let same = choice.better.iter().map(given).find(|better| *better == held_inputs);
        let fingerprint = match product.share {
            Share::Nothing(inputs) => inputs,
            Share::All | Share::Rest => same.unwrap_or_else(|| given(choice.salt)),
        };
        out.inputs.insert(product.id, fingerprint);
        let Some(metadata) = held.metadata(product.id) else {
            // Where the datastrip is known, no file has to be asked. What is pruned takes nobody's place.
            let paths = product.rows.iter().map(|row| row.path.as_str());
            let start = product.item.as_ref().and_then(|item| start_of(item, paths));
            let quantities = product.main_quantities();
            let start = start.filter(|_| !choice.prune && !exempt.contains(&product.id));
            match start.and_then(|start| held.supersedes(product.id, start, &quantities)) {
                Some(by) => {
                    out.prejudged.push(Prejudged { product: product.id, by, why: Why::Has(quantities) });
                }
                None => out.changed.push(product),
            }
            continue;
        };
        let is_asked = rechecks(product.id) || is_told_otherwise(&product, metadata);
        if let Some(reason) = admits(&product, metadata).filter(|_| !is_asked) {
            // As if the input did not have it: it goes only where that is asked for.
            out.inputs.remove(&product.id);
            if choice.prune {
                out.refused.push(whole(product.id, RefusalKind::Filtered, reason));
            }
        } else {
            let rasters = product.rows.iter().map(|row| row.asset).chain(product.unread.iter().copied());
            out.asked.insert(product.id, rasters.collect());
            if matches!(product.share, Share::Nothing(_)) {
                out.unchanged.insert(product.id);
                continue;
            }
            if fingerprint != held_inputs || is_asked {
                out.changed.push(product);
                continue;
            }
            out.unchanged.insert(product.id);
            if held.is_partial(product.id) {
                let rest = rest(held, product, choice);
                out.rests.extend(rest.as_ref().map(|rest| rest.id));
                out.changed.extend(rest);
            }
        }
    }
    out
}

/// Of a product whose rows are those that gave what the store has of it, what it does not have; `None` where nothing is
/// missing that these rows could give.
fn rest(held: &Holdings, mut product: Gathered, choice: &Choice<'_>) -> Option<Gathered> {
    let there: Vec<Asset> = held.rasters(product.id).iter().map(|raster| raster.asset).collect();
    product.rows.retain(|row| match choice.resolutions {
        Resolutions::All => !there.contains(&row.asset),
        // Also a better copy than the store has: it was refused.
        Resolutions::Best => there
            .iter()
            .filter(|asset| asset.quantity == row.asset.quantity)
            .all(|asset| row.asset.worth() < asset.worth()),
    });
    product.share = Share::Rest;
    let angles = held.angles(product.id);
    let has_angles = choice.angles.iter().all(|array| angles.contains_key(array));
    (!product.rows.is_empty() || !has_angles).then_some(product)
}

impl Difference {
    /// True where the input has most of the store's products and not one of all it has can be used: such an input is
    /// broken as a whole.
    pub fn lost_all(&self, resolved: &[ProductRecord], held: &Holdings) -> bool {
        let held = held.len();
        resolved.iter().all(|record| record.rasters.is_empty())
            && self.unchanged.is_empty()
            && self.asked.len() * 2 > held
            && held > 0
    }

    /// Products of which the store lacks something and that were made anew in their place: all of them is to be asked for.
    pub fn remade(&self, held: &Holdings, resolved: &[ProductRecord]) -> BTreeSet<ProductId> {
        let rests = resolved.iter().filter(|record| self.rests.contains(&record.id));
        let is = |record: &&ProductRecord| held.metadata(record.id).is_some_and(|old| is_remade(&record.metadata, old));
        rests.filter(is).map(|record| record.id).collect()
    }

    /// The products of store and input as one set. `resolved` are the changed ones, `refused` what was left out of them.
    ///
    /// What the input does not have stays, unless it is pruned. Of what could not be resolved this time the store keeps
    /// what it holds, except where the file is proven to be another one by now. Where its metadata tell
    /// that a product was made anew in its place, what could not be read of it leaves: it would get the new offset and time.
    /// So does what is `contradicted` by its own pixels.
    pub fn merge(
        &self,
        held: &Holdings,
        resolved: Vec<ProductRecord>,
        refused: &[Refusal],
        contradicted: &BTreeMap<ProductId, Refusal>,
        choice: &Choice<'_>,
    ) -> Merged {
        let Choice { prune, angles, wanted, why_not, other_files, .. } = *choice;
        let mut records: BTreeMap<ProductId, ProductRecord> = resolved.into_iter().map(|r| (r.id, r)).collect();
        let refusals = Refusals::of(refused);
        let (mut leaving, mut behind) = (Vec::new(), BTreeSet::new());
        for id in held.ids() {
            let Some(metadata) = held.metadata(id) else { continue };
            let mut leaves = |raster, reason| leaving.push(Leaving { product: id, raster, reason });
            let filtered = refusals.find(&id.to_string(), None, |kind| kind == RefusalKind::Filtered);
            if prune && (filtered.is_some() || !self.inputs.contains_key(&id)) {
                let is_wanted = || held.rasters(id).iter().any(|raster| wanted.admits(raster.asset));
                let why = match (filtered, why_not.get(&id)) {
                    (Some(refusal), _) => refusal.reason.clone(),
                    (None, Some(why)) => why.clone(),
                    (None, None) if is_wanted() => NOT_IN_INPUTS.to_owned(),
                    (None, None) => NOT_WANTED.to_owned(),
                };
                leaves(None, LeavingReason::Pruned { why });
                continue;
            }
            let asked = self.asked.get(&id);
            if let Some(refusal) = contradicted.get(&id) {
                leaves(None, LeavingReason::AnotherFile { why: refusal.reason.clone() });
                continue;
            }
            if let Some(new) = records.get_mut(&id)
                && (new.metadata.source, metadata.source) == (MetadataSource::Name, MetadataSource::Product)
            {
                // What its XML told is worth more than its name.
                new.metadata = metadata.clone();
            }
            let was_remade = records.get(&id).is_some_and(|new| is_remade(&new.metadata, metadata));
            let known: BTreeSet<Asset> =
                records.get(&id).map(|r| r.rasters.iter().map(Placement::asset).collect()).unwrap_or_default();
            let mut kept: Vec<Placement> = Vec::new();
            for raster in held.rasters(id).into_iter().filter(|raster| !known.contains(&raster.asset)) {
                let asset = raster.asset;
                let in_input = asked.is_none_or(|asked| asked.contains(&asset));
                let refusal =
                    |is: &dyn Fn(RefusalKind) -> bool| refusals.find(&id.to_string(), Some(&asset.name()), is);
                // What was never read of it is proven by nothing.
                let is_disproven = |kind| kind == RefusalKind::Ranges && raster.trust != HeaderTrust::Verified;
                let is_another =
                    |kind| proves_another_file(kind) || is_disproven(kind) || other_files.contains(&(id, asset));
                if was_remade {
                    let why = refusal(&|_| true).map_or(MADE_ANEW.to_owned(), |refusal| refusal.reason.clone());
                    leaves(Some(asset), LeavingReason::AnotherFile { why });
                    continue;
                }
                match refusal(&is_another).filter(|_| asked.is_some() && in_input) {
                    Some(refusal) => {
                        leaves(Some(asset), LeavingReason::AnotherFile { why: refusal.reason.clone() });
                    }
                    None if prune && !in_input => {
                        let why = if wanted.admits(asset) { NOT_IN_INPUTS } else { NOT_WANTED };
                        leaves(Some(asset), LeavingReason::Pruned { why: why.to_owned() });
                    }
                    None => {
                        if asked.is_some() && refusals.names(id, asset.quantity) {
                            behind.insert(id);
                        }
                        kept.push(Placement::Held(raster));
                    }
                }
            }
            if kept.is_empty() && !records.contains_key(&id) {
                continue;
            }
            let record = records.entry(id).or_insert_with(|| ProductRecord {
                id,
                metadata: metadata.clone(),
                rasters: Vec::new(),
                angles: BTreeMap::new(),
            });
            record.rasters.extend(kept);
            // Angles that could not be read this time stay: nothing proves that they are others by now.
            for (array, places) in held.angles(id).into_iter().filter(|_| !was_remade) {
                if asked.is_none() || angles.contains(&array) || !prune {
                    record.angles.entry(array).or_insert(places);
                }
            }
        }
        let records = records.into_values().filter(|record| !record.rasters.is_empty()).collect();
        Merged { records, leaving, behind }
    }
}

/// True where metadata tell that a product was made anew in its place.
pub fn is_remade(new: &ProductMetadata, old: &ProductMetadata) -> bool {
    new.source == old.source
        && (Radiometry::of(new) != Radiometry::of(old) || new.sensing_time_us != old.sensing_time_us)
}

/// True where metadata tell anything else of a product than what the store has of it.
pub fn is_another(new: &ProductMetadata, old: &ProductMetadata) -> bool {
    new.source == old.source && !same_metadata(new, old)
}

/// True where an item says something else than the store has by an item's word alone.
fn is_told_otherwise(product: &Gathered, held: &ProductMetadata) -> bool {
    let told = |item: &StacItem| {
        let cloud_cover = item.cloud_cover;
        ProductMetadata { datastrip_id: item.datastrip_id.clone(), cloud_cover, ..held.clone() }
    };
    held.source == MetadataSource::Name && product.item.as_ref().is_some_and(|item| !same_metadata(&told(item), held))
}

/// The products of store and input as one set.
pub struct Merged {
    /// They themselves.
    pub records: Vec<ProductRecord>,
    /// What leaves the store.
    pub leaving: Vec<Leaving>,
    /// Products of which the store keeps something that could not be read this time: their rows are dealt with in part.
    pub behind: BTreeSet<ProductId>,
}

/// Why a raster is pruned that is there.
const NOT_WANTED: &str = "it is not among the arrays asked for";

/// Why something is pruned that no filter keeps out.
const NOT_IN_INPUTS: &str = "the inputs no longer have it";

/// Why something leaves that was not read again of a product whose metadata are others by now.
const MADE_ANEW: &str = "its product was made anew in its place";

/// A file that is not the one whose tiles were referenced: what the store holds of it cannot be read any more.
fn proves_another_file(kind: RefusalKind) -> bool {
    matches!(kind, RefusalKind::Changed | RefusalKind::Header)
}

struct Refusals<'a>(BTreeMap<(&'a str, Option<&'a str>), Vec<&'a Refusal>>);

impl<'a> Refusals<'a> {
    fn of(refused: &'a [Refusal]) -> Self {
        let mut map: BTreeMap<_, Vec<&Refusal>> = BTreeMap::new();
        for refusal in refused {
            map.entry((refusal.product.as_str(), refusal.raster.as_deref())).or_default().push(refusal);
        }
        Self(map)
    }

    /// For what reasons rasters were left out that show this.
    fn of_quantity(&self, product: ProductId, quantity: Quantity) -> impl Iterator<Item = RefusalKind> {
        let name = product.to_string();
        let mut out = Vec::new();
        for ((of, raster), refusals) in self.0.range((name.as_str(), None)..) {
            if *of != name {
                break;
            }
            let asset = raster.and_then(|raster| raster.parse::<Asset>().ok());
            if asset.is_some_and(|asset| asset.quantity == quantity) {
                out.extend(refusals.iter().map(|refusal| refusal.kind));
            }
        }
        out.into_iter()
    }

    /// True where a raster that shows this was left out.
    fn names(&self, product: ProductId, quantity: Quantity) -> bool {
        self.of_quantity(product, quantity).next().is_some()
    }

    /// The refusal of a product or raster for reasons of a kind.
    fn find(&self, product: &str, raster: Option<&str>, is: impl Fn(RefusalKind) -> bool) -> Option<&'a Refusal> {
        self.0.get(&(product, raster))?.iter().copied().find(|refusal| is(refusal.kind))
    }
}
