//! The outcome: a tree for each radiometry and each rank of header profiles, with its time axis and manifests.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::profiles::{Places, Profiles};
use super::radiometry;
use crate::assemble::{Assembly, ProductRecord, Step};
use crate::era::{Era, Radiometry};
use crate::geometry::{AngleArray, AnglePlacement};
use crate::manifest::{ChunkManifest, Placement};
use crate::product::ProductId;
use crate::profile::HeaderProfile;
use crate::raster::Asset;

/// A product or raster that is new in an era, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Placed {
    /// Product name.
    pub product: String,
    /// Raster name; absent where all rasters of the product are meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raster: Option<String>,
    /// What differs from the main tree.
    pub reason: String,
}

/// One tree of a store: what it shall hold.
#[derive(Debug, Clone)]
pub struct Part {
    /// `None` for the main tree.
    pub era: Option<Era>,
    /// Its time axis and manifests.
    pub assembly: Assembly,
    /// What its header profiles and its radiometry differ in from the main tree's, one sentence each.
    pub differs: Vec<String>,
    /// Products and rasters that are new in it.
    pub placed: Vec<Placed>,
}

/// Divides the products between the trees.
pub(super) fn lay_out(
    mut records: BTreeMap<ProductId, ProductRecord>,
    places: Places,
    main: Radiometry,
    profiles: &Profiles,
) -> Vec<Part> {
    struct Tree {
        radiometry: Radiometry,
        rank: usize,
        products: Vec<ProductRecord>,
    }
    let mut trees: BTreeMap<Option<Era>, Tree> = BTreeMap::new();
    for (id, ranks) in places {
        let Some(ProductRecord { metadata, rasters, angles, .. }) = records.remove(&id) else { continue };
        let mut shares: BTreeMap<usize, Vec<Placement>> = BTreeMap::new();
        for raster in rasters {
            if let Some(rank) = ranks.get(&raster.asset()) {
                shares.entry(*rank).or_default().push(raster);
            }
        }
        let radiometry = Radiometry::of(&metadata);
        for (rank, rasters) in shares {
            let era = (rank > 0 || radiometry.key() != main.key()).then(|| Era::new(radiometry, rank));
            let tree = trees.entry(era).or_insert_with(|| Tree { radiometry, rank, products: Vec::new() });
            tree.products.push(ProductRecord { id, metadata: metadata.clone(), rasters, angles: angles.clone() });
        }
    }
    let part = |(era, Tree { radiometry, rank, products })| part(era, rank, products, radiometry, main, profiles);
    trees.into_iter().map(part).collect()
}

fn part(
    era: Option<Era>,
    rank: usize,
    products: Vec<ProductRecord>,
    radiometry: Radiometry,
    main: Radiometry,
    profiles: &Profiles,
) -> Part {
    let shift = (radiometry.key() != main.key()).then(|| radiometry::difference(radiometry, main));
    let mut headers: BTreeMap<Asset, Arc<HeaderProfile>> = BTreeMap::new();
    let mut placed = Vec::new();
    for product in &products {
        let name = product.id.to_string();
        let mut new = false;
        for raster in &product.rasters {
            let asset = raster.asset();
            headers.entry(asset).or_insert_with(|| Arc::clone(raster.header()));
            if era.is_none() || raster.held().is_some_and(|held| held.era == era) {
                continue;
            }
            new = true;
            if rank > 0 {
                let reason = profiles.difference(radiometry, asset, raster.header());
                placed.push(Placed { product: name.clone(), raster: Some(asset.to_string()), reason });
            }
        }
        if let (0, true, Some(reason)) = (rank, new, &shift) {
            placed.push(Placed { product: name, raster: None, reason: reason.clone() });
        }
    }
    let mut differs: Vec<String> = shift.into_iter().collect();
    if rank > 0 {
        let mut alike: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (asset, header) in &headers {
            alike.entry(profiles.difference(radiometry, *asset, header)).or_default().push(asset.to_string());
        }
        differs.extend(alike.into_iter().map(|(what, assets)| format!("{}: {what}", assets.join(", "))));
    }
    placed.sort_by(|a, b| (&a.product, &a.raster).cmp(&(&b.product, &b.raster)));
    Part { era, assembly: assembly(products, headers, radiometry), differs, placed }
}

/// Places products on one time axis and makes the manifest of every array; `headers` has that of each asset.
fn assembly(
    mut products: Vec<ProductRecord>,
    headers: BTreeMap<Asset, Arc<HeaderProfile>>,
    radiometry: Radiometry,
) -> Assembly {
    products.sort_by_key(|p| (p.metadata.sensing_time_us.div_euclid(1000), p.metadata.datastrip_start(), p.id));
    let steps = time_axis(&products);
    let mut manifests: BTreeMap<Asset, ChunkManifest> = headers
        .into_iter()
        .map(|(asset, header)| (asset, ChunkManifest { asset, header, rasters: vec![None; steps.len()] }))
        .collect();
    let mut angles: BTreeMap<AngleArray, Vec<Option<AnglePlacement>>> = BTreeMap::new();
    for (step, product) in products.into_iter().enumerate() {
        for (array, placement) in product.angles {
            angles.entry(array).or_insert_with(|| vec![None; steps.len()])[step] = Some(placement);
        }
        for raster in product.rasters {
            if let Some(manifest) = manifests.get_mut(&raster.asset()) {
                manifest.rasters[step] = Some(raster);
            }
        }
    }
    let manifests = manifests.into_values().collect();
    Assembly { steps, manifests, angles, radiometry: Some(radiometry) }
}

/// Strictly increasing times: a tie moves the later product by one millisecond.
fn time_axis(products: &[ProductRecord]) -> Vec<Step> {
    let mut last = i64::MIN;
    products
        .iter()
        .map(|product| {
            let time_ms = product.metadata.sensing_time_us.div_euclid(1000).max(last.saturating_add(1));
            last = time_ms;
            Step { time_ms, id: product.id, metadata: product.metadata.clone() }
        })
        .collect()
}
