//! What of the input the store has to be asked about anew, and what it holds already.

use std::collections::{BTreeMap, BTreeSet};

use s2ice_manifest::assemble::{ProductRecord, Refusal, RefusalKind};
use s2ice_manifest::geometry::AngleArray;
use s2ice_manifest::manifest::Placement;
use s2ice_manifest::product::{ProductId, datastrip_start};
use s2ice_manifest::raster::Asset;

use super::fingerprint::{Salt, of_product};
use super::gather::Gathered;
use super::trouble::whole;
use crate::holdings::Holdings;

/// The input, compared with the stores of the tile.
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
    held: &Holdings,
    products: Vec<Gathered>,
    salt: &Salt,
    prune: bool,
    admits: impl Fn(&Gathered, Option<f64>) -> Option<String>,
) -> Difference {
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
        let Some(metadata) = held.metadata(product.id) else {
            // Where the item tells the datastrip, no file has to be asked. What is pruned takes nobody's place.
            let start = product.item.as_ref().and_then(|item| datastrip_start(item.datastrip_id.as_deref()?));
            let later = start.filter(|_| !prune).and_then(|start| held.later_processing(product.id, start));
            match later {
                Some(later) => out.refused.push(Refusal::superseded(product.id, later)),
                None => out.changed.push(product),
            }
            continue;
        };
        if let Some(reason) = admits(&product, metadata.cloud_cover) {
            // As if the input did not have it: it goes only where that is asked for.
            out.inputs.remove(&product.id);
            if prune {
                out.refused.push(whole(product.id, RefusalKind::Filtered, reason));
            }
        } else {
            out.asked.insert(product.id, product.rows.iter().map(|row| row.asset).collect());
            if fingerprint == held.inputs(product.id) {
                out.unchanged.insert(product.id);
            } else {
                out.changed.push(product);
            }
        }
    }
    out
}

impl Difference {
    /// True where the input has most of the store's products and not one of all it has can be used: such an input is
    /// broken as a whole.
    pub fn lost_all(&self, resolved: &[ProductRecord], held: &Holdings) -> bool {
        let held = held.len();
        resolved.is_empty() && self.unchanged.is_empty() && self.asked.len() * 2 > held && held > 0
    }

    /// The products of store and input as one set. `resolved` are the changed ones, `refused` what was left out of them,
    /// `angles` the arrays of angles that the input was asked for.
    ///
    /// What the input does not have stays, unless it is pruned. Of what could not be resolved this time the store keeps
    /// what it holds, except where the file is proven to be another one by now.
    pub fn merge(
        &self,
        held: &Holdings,
        resolved: Vec<ProductRecord>,
        refused: &[Refusal],
        angles: &BTreeSet<AngleArray>,
        prune: bool,
    ) -> Vec<ProductRecord> {
        let mut records: BTreeMap<ProductId, ProductRecord> = resolved.into_iter().map(|r| (r.id, r)).collect();
        let refusals = Refusals::of(refused);
        for id in held.ids() {
            let Some(metadata) = held.metadata(id) else { continue };
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
            let kept: Vec<Placement> = held
                .rasters(id)
                .into_iter()
                .filter(|raster| !known.contains(&raster.asset) && stays(raster.asset))
                .map(Placement::Held)
                .collect();
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
            for (array, places) in held.angles(id) {
                if asked.is_none() || angles.contains(&array) || !prune {
                    record.angles.entry(array).or_insert(places);
                }
            }
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
