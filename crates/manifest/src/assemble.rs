//! From products with rasters to one chunk manifest per array: identity, order, profiles.
//!
//! Pure: the outcome depends on the set of products only, never on the order in which they arrive.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::encoding::Encoding;
use crate::header_class::assumed_header;
use crate::ids::{Level, Resolution};
use crate::manifest::{ChunkManifest, Placement};
use crate::product::{MetadataSource, ProductId, ProductMetadata, precedence};
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
    fn of(metadata: &ProductMetadata) -> Self {
        Self { add_offset: metadata.add_offset, quantification: metadata.quantification }
    }
    fn key(self) -> (i32, u64) {
        (self.add_offset, self.quantification.to_bits())
    }
}

/// What goes into a store.
#[derive(Debug, Clone)]
pub struct Assembly {
    /// Time axis.
    pub steps: Vec<Step>,
    /// One manifest per array, by asset.
    pub manifests: Vec<ChunkManifest>,
    /// Offset and scale of the reflectance arrays.
    pub radiometry: Option<Radiometry>,
    /// Everything left out, sorted by product and raster.
    pub refused: Vec<Refusal>,
}

/// Places products on one time axis and builds the manifest of every array.
///
/// Reprocessed products give way to the version with the highest precedence. Where products of several radiometric
/// classes meet, the lowest offset stays (the one in use since baseline 04.00); where rasters of several header profiles
/// meet, the known Sentinel-2 class of the raster stays, else the smallest fingerprint. The others are refused. Counts
/// play no part: a store that grew product by product is the same as one built at once.
pub fn assemble(products: Vec<ProductRecord>, resolutions: Resolutions) -> Assembly {
    let mut refused = Vec::new();
    let products = drop_superseded(products, &mut refused);
    let radiometry = products.iter().map(|p| Radiometry::of(&p.metadata)).min_by_key(|r| r.key());
    let mut products: Vec<ProductRecord> = products
        .into_iter()
        .filter_map(|product| keep_radiometry(product, radiometry, &mut refused))
        .map(|mut product| {
            select_resolutions(&mut product.rasters, resolutions);
            product
        })
        .collect();

    let headers = headers_of_arrays(&products);
    for product in &mut products {
        let id = product.id;
        product.rasters.retain(|raster| {
            let wanted = &headers[&raster.asset()];
            let same = raster.header().fingerprint == wanted.fingerprint;
            if !same {
                refused.push(other_profile(id, raster, wanted));
            }
            same
        });
    }
    products.retain(|product| {
        let keep = !product.rasters.is_empty();
        if !keep {
            refused.push(Refusal {
                product: product.id.to_string(),
                raster: None,
                kind: RefusalKind::Empty,
                reason: "no raster of this product can be referenced".to_owned(),
            });
        }
        keep
    });

    products.sort_by_key(|p| (p.metadata.sensing_time_us.div_euclid(1000), p.metadata.datastrip_start(), p.id));
    let steps = time_axis(&products);
    let assets: BTreeMap<Asset, Arc<HeaderProfile>> = headers
        .into_iter()
        .filter(|(asset, _)| products.iter().any(|p| p.rasters.iter().any(|r| r.asset() == *asset)))
        .collect();
    let mut manifests: BTreeMap<Asset, ChunkManifest> = assets
        .into_iter()
        .map(|(asset, header)| (asset, ChunkManifest { asset, header, rasters: vec![None; steps.len()] }))
        .collect();
    for (step, product) in products.into_iter().enumerate() {
        for raster in product.rasters {
            if let Some(manifest) = manifests.get_mut(&raster.asset()) {
                manifest.rasters[step] = Some(raster);
            }
        }
    }
    refused.sort_by(|a, b| (&a.product, &a.raster).cmp(&(&b.product, &b.raster)));
    Assembly { steps, manifests: manifests.into_values().collect(), radiometry, refused }
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

fn drop_superseded(mut products: Vec<ProductRecord>, refused: &mut Vec<Refusal>) -> Vec<ProductRecord> {
    products.sort_by_key(|p| std::cmp::Reverse(precedence(p.id)));
    let mut kept: BTreeMap<_, Vec<ProductRecord>> = BTreeMap::new();
    for product in products {
        let id = product.id;
        let group = kept.entry((id.platform(), id.datatake_start(), id.relative_orbit(), id.tile())).or_default();
        match group.iter().find(|other| same_acquisition(other, &product)) {
            Some(other) if other.id == id => {}
            Some(other) => refused.push(Refusal {
                product: id.to_string(),
                raster: None,
                kind: RefusalKind::Superseded,
                reason: format!("{} is a later processing of the same acquisition", other.id),
            }),
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

fn keep_radiometry(
    product: ProductRecord,
    wanted: Option<Radiometry>,
    refused: &mut Vec<Refusal>,
) -> Option<ProductRecord> {
    let own = Radiometry::of(&product.metadata);
    let wanted = wanted.filter(|w| w.key() != own.key());
    let Some(wanted) = wanted else { return Some(product) };
    let source = match product.metadata.source {
        MetadataSource::Product => "",
        MetadataSource::Item => " (of its item)",
        MetadataSource::Name => " (taken from the baseline in its name)",
    };
    refused.push(Refusal {
        product: product.id.to_string(),
        raster: None,
        kind: RefusalKind::Radiometry,
        reason: format!(
            "its radiometric offset {} and quantification {}{source} differ from the store's {} and {}",
            own.add_offset, own.quantification, wanted.add_offset, wanted.quantification
        ),
    });
    None
}

fn select_resolutions(rasters: &mut Vec<Placement>, resolutions: Resolutions) {
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

fn headers_of_arrays(products: &[ProductRecord]) -> BTreeMap<Asset, Arc<HeaderProfile>> {
    let mut chosen: BTreeMap<Asset, Arc<HeaderProfile>> = BTreeMap::new();
    let rasters = products.iter().flat_map(|p| p.rasters.iter().map(|raster| (p.id.level(), raster)));
    for (level, raster) in rasters {
        let rank =
            |header: &HeaderProfile| (!is_known_class(raster.asset(), level, header), header.fingerprint.clone());
        match chosen.entry(raster.asset()) {
            Entry::Vacant(entry) => drop(entry.insert(Arc::clone(raster.header()))),
            Entry::Occupied(mut entry) if entry.get().fingerprint != raster.header().fingerprint => {
                if rank(raster.header()) < rank(entry.get()) {
                    entry.insert(Arc::clone(raster.header()));
                }
            }
            Entry::Occupied(_) => {}
        }
    }
    chosen
}

fn is_known_class(asset: Asset, level: Level, header: &HeaderProfile) -> bool {
    match &header.encoding {
        Encoding::Jpeg2000 { codec_header } => assumed_header(asset, level).is_some_and(|known| known == *codec_header),
        Encoding::Tiff(_) => false,
    }
}

fn other_profile(id: ProductId, raster: &Placement, wanted: &HeaderProfile) -> Refusal {
    let difference = raster.header().difference(wanted);
    Refusal {
        product: id.to_string(),
        raster: Some(raster.asset().to_string()),
        kind: RefusalKind::HeaderProfile,
        reason: format!("its {} differs from the array's: {difference}", raster.header().encoding.holder()),
    }
}
