//! What of the input the store has to be asked about anew, and what it holds already.

use std::collections::{BTreeMap, BTreeSet};

use s2ice_manifest::assemble::{ProductRecord, Refusal, RefusalKind};
use s2ice_manifest::manifest::Placement;
use s2ice_manifest::product::{ProductId, precedence};
use s2ice_manifest::raster::Asset;

use super::fingerprint::{Salt, of_product};
use super::gather::Gathered;
use super::resolve::whole;
use crate::state::StoreState;

/// The input, compared with a store.
pub struct Difference {
    /// Products that are new or whose rows changed, to be resolved.
    pub changed: Vec<Gathered>,
    /// Products that the store holds just as the index has them.
    pub unchanged: BTreeSet<ProductId>,
    /// Fingerprint of the rows of every product of the input.
    pub inputs: BTreeMap<ProductId, i64>,
    /// Rasters that the input has of products that the store holds.
    asked: BTreeMap<ProductId, BTreeSet<Asset>>,
    /// Products that the store holds in a later processing, and those that the filters no longer admit.
    pub refused: Vec<Refusal>,
}

/// Compares the input with what the store holds.
pub fn difference(
    state: Option<&StoreState>,
    products: Vec<Gathered>,
    salt: &Salt,
    prune: bool,
    admits: impl Fn(&Gathered, Option<f64>) -> Option<String>,
) -> Difference {
    let held = state.map(StoreState::products).unwrap_or_default();
    let mut out = Difference {
        changed: Vec::new(),
        unchanged: BTreeSet::new(),
        inputs: BTreeMap::new(),
        asked: BTreeMap::new(),
        refused: Vec::new(),
    };
    for product in products {
        let fingerprint = of_product(salt, &product);
        out.inputs.insert(product.id, fingerprint);
        let step = state.zip(held.get(&product.id).copied());
        let Some((state, step)) = step else {
            // What is pruned takes nobody's place.
            match state.filter(|_| !prune).and_then(|state| later_processing(state, &product)) {
                Some(later) => out.refused.push(whole(
                    product.id,
                    RefusalKind::Superseded,
                    format!("{later} is a later processing of the same acquisition"),
                )),
                None => out.changed.push(product),
            }
            continue;
        };
        if let Some(reason) = admits(&product, state.steps[step].metadata.cloud_cover) {
            // As if the input did not have it: it goes only where that is asked for.
            out.inputs.remove(&product.id);
            if prune {
                out.refused.push(whole(product.id, RefusalKind::Filtered, reason));
            }
        } else {
            out.asked.insert(product.id, product.rows.iter().map(|row| row.asset).collect());
            if fingerprint == state.facts[step].inputs {
                out.unchanged.insert(product.id);
            } else {
                out.changed.push(product);
            }
        }
    }
    out
}

/// The product of the store that is a later processing of the same acquisition, where the item tells the datastrip: no
/// file has to be asked then.
fn later_processing(state: &StoreState, product: &Gathered) -> Option<ProductId> {
    let id = product.id;
    let datastrip = product.item.as_ref()?.datastrip_id.clone()?;
    let mut metadata = s2ice_manifest::product::ProductMetadata::from_name(id);
    metadata.datastrip_id = Some(datastrip);
    let start = metadata.datastrip_start()?;
    let same = |other: ProductId| {
        (other.platform(), other.datatake_start(), other.relative_orbit(), other.tile())
            == (id.platform(), id.datatake_start(), id.relative_orbit(), id.tile())
    };
    state
        .steps
        .iter()
        .filter(|step| same(step.id) && step.metadata.datastrip_start() == Some(start))
        .map(|step| step.id)
        .find(|other| precedence(*other) > precedence(id))
}

impl Difference {
    /// True where the input has most of the store's products and not one of all it has can be used: such an input is
    /// broken as a whole.
    pub fn lost_all(&self, resolved: &[ProductRecord], state: Option<&StoreState>) -> bool {
        let held = state.map_or(0, |state| state.steps.len());
        resolved.is_empty() && self.unchanged.is_empty() && self.asked.len() * 2 > held && held > 0
    }

    /// The products of store and input as one set. `resolved` are the changed ones, `refused` what was left out of them.
    ///
    /// What the input does not have stays, unless it is pruned. Of what could not be resolved this time the store keeps
    /// what it holds, except where the file is proven to be another one by now.
    pub fn merge(
        &self,
        state: Option<&StoreState>,
        resolved: Vec<ProductRecord>,
        refused: &[Refusal],
        prune: bool,
    ) -> Vec<ProductRecord> {
        let Some(state) = state else { return resolved };
        let mut records: BTreeMap<ProductId, ProductRecord> = resolved.into_iter().map(|r| (r.id, r)).collect();
        let refusals = Refusals::of(refused);
        for (step, held) in state.steps.iter().enumerate() {
            let id = held.id;
            let filtered = refusals.product(id, |kind| kind == RefusalKind::Filtered);
            if prune && (filtered || !self.inputs.contains_key(&id)) {
                continue;
            }
            let asked = self.asked.get(&id);
            let stays = |asset: Asset| match asked {
                Some(asked) if asked.contains(&asset) => !refusals.raster(id, asset, proves_another_file),
                Some(_) => !prune,
                None => true,
            };
            let known: BTreeSet<Asset> =
                records.get(&id).map(|r| r.rasters.iter().map(Placement::asset).collect()).unwrap_or_default();
            let kept: Vec<Placement> = state
                .rasters(step)
                .filter(|raster| !known.contains(&raster.asset) && stays(raster.asset))
                .map(Placement::Held)
                .collect();
            if kept.is_empty() {
                continue;
            }
            let record = records.entry(id).or_insert_with(|| ProductRecord {
                id,
                metadata: held.metadata.clone(),
                rasters: Vec::new(),
            });
            record.rasters.extend(kept);
        }
        records.into_values().collect()
    }
}

/// A file that is not the one whose tiles were referenced: what the store holds of it cannot be read any more.
fn proves_another_file(kind: RefusalKind) -> bool {
    matches!(kind, RefusalKind::Changed | RefusalKind::Header)
}

struct Refusals<'a>(BTreeMap<(&'a str, Option<&'a str>), Vec<RefusalKind>>);

impl<'a> Refusals<'a> {
    fn of(refused: &'a [Refusal]) -> Self {
        let mut map: BTreeMap<_, Vec<RefusalKind>> = BTreeMap::new();
        for refusal in refused {
            map.entry((refusal.product.as_str(), refusal.raster.as_deref())).or_default().push(refusal.kind);
        }
        Self(map)
    }

    fn product(&self, id: ProductId, is: impl Fn(RefusalKind) -> bool) -> bool {
        self.any(&id.to_string(), None, is)
    }

    fn raster(&self, id: ProductId, asset: Asset, is: impl Fn(RefusalKind) -> bool) -> bool {
        self.any(&id.to_string(), Some(&asset.name()), is)
    }

    fn any(&self, product: &str, raster: Option<&str>, is: impl Fn(RefusalKind) -> bool) -> bool {
        self.0.get(&(product, raster)).is_some_and(|kinds| kinds.iter().any(|kind| is(*kind)))
    }
}
