//! What all stores of a tile hold together: the main one and its eras, as one set of products.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use s2ice_manifest::era::{Era, InEras};
use s2ice_manifest::geometry::{AngleArray, AnglePlacement};
use s2ice_manifest::manifest::HeldRaster;
use s2ice_manifest::product::{ProductId, ProductMetadata, precedence};

use sha2::{Digest, Sha256};

use crate::state::StoreState;

/// What goes into the `inputs` of a product that several stores share, so that one of them alone is known to be a part.
pub(crate) fn spread<'a>(places: impl Iterator<Item = Option<&'a Era>>) -> i64 {
    let mut names: Vec<&str> = places.map(|era| era.map_or("", Era::name)).collect();
    names.sort_unstable();
    if names.len() < 2 {
        return 0;
    }
    let digest = Sha256::digest(names.join("\n"));
    digest.first_chunk::<8>().map_or(0, |head| i64::from_le_bytes(*head))
}

/// The states of a tile's stores.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holdings {
    stores: Vec<Arc<StoreState>>,
    /// Where each product is: number of the store and time step.
    products: BTreeMap<ProductId, Vec<(usize, usize)>>,
}

impl Holdings {
    /// Joins the states of the main store and its eras.
    pub(crate) fn new(stores: Vec<Arc<StoreState>>) -> Self {
        let mut products: BTreeMap<ProductId, Vec<(usize, usize)>> = BTreeMap::new();
        for (number, store) in stores.iter().enumerate() {
            for (step, held) in store.steps.iter().enumerate() {
                products.entry(held.id).or_default().push((number, step));
            }
        }
        Self { stores, products }
    }

    /// True where there is no store yet.
    pub(crate) fn is_new(&self) -> bool {
        self.stores.is_empty()
    }

    /// Number of products.
    pub(crate) fn len(&self) -> usize {
        self.products.len()
    }

    /// The products, by name.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ProductId> + '_ {
        self.products.keys().copied()
    }

    /// True where any of the stores has the product.
    pub(crate) fn contains(&self, id: ProductId) -> bool {
        self.products.contains_key(&id)
    }

    /// What is known of a product.
    pub(crate) fn metadata(&self, id: ProductId) -> Option<&ProductMetadata> {
        let (store, step) = *self.products.get(&id)?.first()?;
        Some(&self.stores.get(store)?.steps.get(step)?.metadata)
    }

    /// When the catalogue last changed the item of a product.
    pub(crate) fn updated(&self, id: ProductId) -> Option<String> {
        let (store, step) = *self.products.get(&id)?.first()?;
        self.stores.get(store)?.facts.get(step)?.updated.clone()
    }

    /// Fingerprint of the index rows that gave a product; 0 where a part of it is to be asked for again, or is missing
    /// because a run was killed between two stores.
    pub(crate) fn inputs(&self, id: ProductId) -> i64 {
        let places = self.products.get(&id).map(Vec::as_slice).unwrap_or_default();
        let spread = spread(places.iter().map(|(store, _)| self.stores[*store].stamp.era.as_ref()));
        let mut all = places.iter().map(|(store, step)| self.stores[*store].facts[*step].inputs);
        match all.next() {
            Some(first) if first != 0 && all.all(|inputs| inputs == first) => first ^ spread,
            _ => 0,
        }
    }

    /// The rasters that the stores hold of a product, each once.
    pub(crate) fn rasters(&self, id: ProductId) -> Vec<HeldRaster> {
        let mut out: BTreeMap<_, HeldRaster> = BTreeMap::new();
        for (store, step) in self.products.get(&id).map(Vec::as_slice).unwrap_or_default() {
            for raster in self.stores[*store].rasters(*step) {
                out.entry(raster.asset).or_insert(raster);
            }
        }
        out.into_values().collect()
    }

    /// The rasters that eras hold.
    pub(crate) fn in_eras(&self) -> InEras {
        let mut out = InEras::new();
        for store in &self.stores {
            let Some(era) = &store.stamp.era else { continue };
            for (step, held) in store.steps.iter().enumerate() {
                for raster in store.rasters(step) {
                    *out.entry((held.id, raster.asset)).or_default() |= era.is_of_profile();
                }
            }
        }
        out
    }

    /// Where the stores hold the angles of a product.
    pub(crate) fn angles(&self, id: ProductId) -> BTreeMap<AngleArray, AnglePlacement> {
        let mut out: BTreeMap<AngleArray, Vec<(Option<Era>, u32)>> = BTreeMap::new();
        for (store, step) in self.products.get(&id).map(Vec::as_slice).unwrap_or_default() {
            let (state, number) = (&self.stores[*store], u32::try_from(*step).unwrap_or(u32::MAX));
            for array in state.angles(*step).into_keys() {
                out.entry(array).or_default().push((state.stamp.era.clone(), number));
            }
        }
        out.into_iter().map(|(array, places)| (array, AnglePlacement::Elsewhere(places))).collect()
    }

    /// The product that is a later processing of the same acquisition as one whose datastrip starts at `start`.
    pub(crate) fn later_processing(&self, id: ProductId, start: DateTime<Utc>) -> Option<ProductId> {
        let later = |other: &ProductId| {
            other.datatake() == id.datatake()
                && precedence(*other) > precedence(id)
                && self.metadata(*other).and_then(ProductMetadata::datastrip_start) == Some(start)
        };
        self.ids().find(later)
    }
}
