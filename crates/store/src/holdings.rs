//! What a store holds, its eras included, as one set of products.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use s2ice_manifest::decide::{Standing, StandingRaster};
use s2ice_manifest::era::Era;
use s2ice_manifest::geometry::{AngleArray, AnglePlacement};
use s2ice_manifest::manifest::{HeaderTrust, HeldRaster};
use s2ice_manifest::product::{ProductId, ProductMetadata, precedence, same_datastrip};
use s2ice_manifest::raster::Quantity;

use crate::state::{StoreState, TreeState};

/// What a store holds, by product.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holdings {
    state: Option<Arc<StoreState>>,
    /// Where each product is: tree and time step. A product can have a share in several.
    products: BTreeMap<ProductId, Vec<(Option<Era>, usize)>>,
}

impl Holdings {
    /// Of a store; `None` where there is none yet.
    pub(crate) fn new(state: Option<Arc<StoreState>>) -> Self {
        let mut products: BTreeMap<ProductId, Vec<(Option<Era>, usize)>> = BTreeMap::new();
        for tree in state.iter().flat_map(|state| state.trees.values()) {
            for (step, held) in tree.steps.iter().enumerate() {
                products.entry(held.id).or_default().push((tree.era.clone(), step));
            }
        }
        Self { state, products }
    }

    /// The places of a product.
    fn places(&self, id: ProductId) -> impl Iterator<Item = (&TreeState, usize)> {
        let places = self.products.get(&id).map(Vec::as_slice).unwrap_or_default();
        let trees = self.state.as_ref().map(|state| &state.trees);
        places.iter().filter_map(move |(era, step)| Some((trees?.get(era)?, *step)))
    }

    /// True where there is no store yet.
    pub(crate) fn is_new(&self) -> bool {
        self.state.is_none()
    }

    /// Number of products.
    pub(crate) fn len(&self) -> usize {
        self.products.len()
    }

    /// The products, by name.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ProductId> + '_ {
        self.products.keys().copied()
    }

    /// True where the store has the product.
    pub(crate) fn contains(&self, id: ProductId) -> bool {
        self.products.contains_key(&id)
    }

    /// What is known of a product.
    pub(crate) fn metadata(&self, id: ProductId) -> Option<&ProductMetadata> {
        self.places(id).find_map(|(tree, step)| Some(&tree.steps.get(step)?.metadata))
    }

    /// When the catalogue last changed the item of a product.
    pub(crate) fn updated(&self, id: ProductId) -> Option<String> {
        self.places(id).find_map(|(tree, step)| tree.facts.get(step)?.updated.clone())
    }

    /// Fingerprint of the index rows that gave a product.
    pub(crate) fn inputs(&self, id: ProductId) -> i64 {
        self.places(id).find_map(|(tree, step)| Some(tree.facts.get(step)?.inputs)).unwrap_or_default()
    }

    /// True where the store has the product and may not have what it is now: it is asked for by every run until it tells.
    pub(crate) fn is_in_doubt(&self, id: ProductId) -> bool {
        self.contains(id) && self.inputs(id) == 0
    }

    /// How the least certain main header of a product is known.
    pub(crate) fn trust(&self, id: ProductId) -> Option<HeaderTrust> {
        self.places(id).filter_map(|(tree, step)| Some(tree.facts.get(step)?.headers)).min()
    }

    /// True where something of the product was refused.
    pub(crate) fn is_partial(&self, id: ProductId) -> bool {
        self.places(id).any(|(tree, step)| tree.facts.get(step).is_some_and(|facts| facts.partial))
    }

    /// The rasters that the store holds of a product.
    pub(crate) fn rasters(&self, id: ProductId) -> Vec<HeldRaster> {
        self.places(id).flat_map(|(tree, step)| tree.rasters(step)).collect()
    }

    /// What the decision has to know of it.
    pub(crate) fn standing(&self) -> Standing {
        let rasters = |id| {
            let of = |raster: HeldRaster| (raster.asset, StandingRaster { era: raster.era, header: raster.header });
            self.rasters(id).into_iter().map(of).collect()
        };
        let products = self.ids().map(|id| (id, rasters(id))).collect();
        let accepted = self.state.as_ref().map(|state| state.stamp.accepted.clone()).unwrap_or_default();
        Standing { products, accepted }
    }

    /// Where the store holds the angles of a product; each tree that has a share of it has them.
    pub(crate) fn angles(&self, id: ProductId) -> BTreeMap<AngleArray, AnglePlacement> {
        self.places(id).flat_map(|(tree, step)| tree.angles(step)).collect()
    }

    /// The product that is a later processing of the same acquisition as one whose datastrip starts at `start`, and has all
    /// the quantities that it could have.
    pub(crate) fn supersedes(
        &self,
        id: ProductId,
        start: DateTime<Utc>,
        quantities: &BTreeSet<Quantity>,
    ) -> Option<ProductId> {
        let later = |other: &ProductId| {
            other.datatake() == id.datatake()
                && precedence(*other) > precedence(id)
                && same_datastrip(self.metadata(*other).and_then(ProductMetadata::datastrip_start), Some(start))
        };
        let has_all = |other: &ProductId| {
            let rasters = self.rasters(*other);
            quantities.iter().all(|quantity| rasters.iter().any(|raster| raster.asset.quantity == *quantity))
        };
        self.ids().filter(|_| !self.contains(id)).filter(later).find(has_all)
    }
}
