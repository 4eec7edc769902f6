//! From products with rasters to one chunk manifest per array: identity, order, profiles.
//!
//! Pure: the outcome depends on the set of products only, never on the order in which they arrive.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::era::{InEras, OnMismatch, partition};
use crate::geometry::{AngleArray, AnglePlacement};
use crate::ids::Resolution;
use crate::manifest::{ChunkManifest, Placement};
use crate::product::{ProductId, ProductMetadata, precedence};
use crate::profile::HeaderProfile;
use crate::raster::{Asset, Quantity};

/// Which copies of a raster to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resolutions {
    /// Each quantity at home, and where a product has none there, at the finest resolution it has.
    #[default]
    Best,
    /// Every copy (R10m, R20m, R60m).
    All,
}

/// A product and its rasters, ready to be placed on the time axis.
#[derive(Debug, Clone)]
pub struct ProductRecord {
    /// Name.
    pub id: ProductId,
    /// Sensing time, offset and the like.
    pub metadata: ProductMetadata,
    /// Its rasters, each asset at most once.
    pub rasters: Vec<Placement>,
    /// Its angles, by array; empty where they are not wanted or cannot be read.
    pub angles: BTreeMap<AngleArray, AnglePlacement>,
}

/// Why something was left out of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Refusal {
    /// Product name.
    pub product: String,
    /// Raster name; absent where the whole product is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raster: Option<String>,
    /// Kind of reason, stable for programs.
    pub kind: RefusalKind,
    /// One sentence for people.
    pub reason: String,
}

impl Refusal {
    /// A product gives way to a later processing of the same acquisition.
    pub fn superseded(id: ProductId, by: ProductId) -> Self {
        Self {
            product: id.to_string(),
            raster: None,
            kind: RefusalKind::Superseded,
            reason: format!("{by} is a later processing of the same acquisition"),
        }
    }
}

/// Kinds of [`Refusal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// Another main header than the array's other rasters.
    HeaderProfile,
    /// Another radiometric offset or quantification than the store's other products.
    Radiometry,
    /// Reprocessed: a later version of the same acquisition is in the store.
    Superseded,
    /// Tile ranges that cannot be right.
    Ranges,
    /// The index row cannot be understood.
    Index,
    /// The main header cannot be read, or cannot be decoded.
    Header,
    /// The source refused or lost the file, or did not answer.
    Source,
    /// The file is not the one that was indexed.
    Changed,
    /// The product's metadata cannot be read or contradicts its name.
    Metadata,
    /// A filter that only the product's metadata could answer.
    Filtered,
    /// The product has no raster left.
    Empty,
}

/// One step of the time axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Milliseconds since 1970-01-01, strictly increasing.
    pub time_ms: i64,
    /// The product of this step.
    pub id: ProductId,
    /// Its metadata.
    pub metadata: ProductMetadata,
}

/// Offset and scale shared by all reflectance arrays of a store.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Radiometry {
    /// Digital numbers added by the processor (`BOA_ADD_OFFSET`): -1000 or 0.
    pub add_offset: i32,
    /// Digital numbers per unit of reflectance.
    pub quantification: f64,
}

impl Radiometry {
    pub(crate) fn of(metadata: &ProductMetadata) -> Self {
        Self { add_offset: metadata.add_offset, quantification: metadata.quantification }
    }
    pub(crate) fn key(self) -> (i32, u64) {
        (self.add_offset, self.quantification.to_bits())
    }
}

/// What goes into a store.
#[derive(Debug, Clone, Default)]
pub struct Assembly {
    /// Time axis.
    pub steps: Vec<Step>,
    /// One manifest per array, by asset.
    pub manifests: Vec<ChunkManifest>,
    /// The angles of each time step, for every array that has any; `None` where the product has none.
    pub angles: BTreeMap<AngleArray, Vec<Option<AnglePlacement>>>,
    /// Offset and scale of the reflectance arrays.
    pub radiometry: Option<Radiometry>,
    /// Everything left out, sorted by product and raster.
    pub refused: Vec<Refusal>,
}

impl Assembly {
    /// The angles of a time step.
    pub fn angles_at(&self, step: usize) -> BTreeMap<AngleArray, &AnglePlacement> {
        self.angles.iter().filter_map(|(array, steps)| Some((*array, steps.get(step)?.as_ref()?))).collect()
    }
}

/// One store of products: what does not fit its radiometry or its headers is refused ([`partition`] gives it a place).
pub fn assemble(products: Vec<ProductRecord>, resolutions: Resolutions) -> Assembly {
    let divided = partition(products, resolutions, OnMismatch::Refuse, &InEras::new());
    let main = divided.parts.into_iter().find(|part| part.era.is_none()).map(|part| part.assembly);
    let mut assembly = main.unwrap_or_default();
    assembly.refused = divided.refused;
    assembly.refused.sort_by(|a, b| (&a.product, &a.raster).cmp(&(&b.product, &b.raster)));
    assembly
}

/// Places products on one time axis and makes the manifest of every array; `headers` has that of each asset.
pub(crate) fn lay_out(
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
    Assembly { steps, manifests, angles, radiometry: Some(radiometry), refused: Vec::new() }
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

pub(crate) fn drop_superseded(mut products: Vec<ProductRecord>, refused: &mut Vec<Refusal>) -> Vec<ProductRecord> {
    products.sort_by_key(|p| std::cmp::Reverse(precedence(p.id)));
    let mut kept: BTreeMap<_, Vec<ProductRecord>> = BTreeMap::new();
    for product in products {
        let id = product.id;
        let group = kept.entry(id.datatake()).or_default();
        match group.iter().find(|other| same_acquisition(other, &product)) {
            Some(other) if other.id == id => {}
            Some(other) => refused.push(Refusal::superseded(id, other.id)),
            None => group.push(product),
        }
    }
    kept.into_values().flatten().collect()
}

/// Two products of one datatake are halves of it where their datastrips start at different times. Where a datastrip is
/// unknown, only another baseline proves that one is a reprocessing of the other; nothing is dropped on a guess.
fn same_acquisition(a: &ProductRecord, b: &ProductRecord) -> bool {
    match (a.metadata.datastrip_start(), b.metadata.datastrip_start()) {
        (Some(a), Some(b)) => a == b,
        _ => a.id == b.id || a.id.baseline() != b.id.baseline(),
    }
}

pub(crate) fn select_resolutions(rasters: &mut Vec<Placement>, resolutions: Resolutions) {
    if resolutions == Resolutions::All {
        return;
    }
    let mut best: BTreeMap<Quantity, Resolution> = BTreeMap::new();
    for raster in rasters.iter() {
        let asset = raster.asset();
        let rank = |r: Resolution| (r != asset.home(), r);
        let entry = best.entry(asset.quantity).or_insert(asset.resolution);
        if rank(asset.resolution) < rank(*entry) {
            *entry = asset.resolution;
        }
    }
    rasters.retain(|raster| best.get(&raster.asset().quantity) == Some(&raster.asset().resolution));
}
