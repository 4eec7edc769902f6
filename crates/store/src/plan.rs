//! The desired state of a store as data: every node's metadata, the small arrays' bytes, and which manifests to write.
//!
//! Pure: the same inputs give the same plan, whatever the target held before.

mod angles;
mod stamp;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use s2ice_manifest::assemble::{Assembly, Step};
use s2ice_manifest::decide::{Accepted, Resolutions};
use s2ice_manifest::era::Era;
use s2ice_manifest::era::Radiometry;
use s2ice_manifest::geometry::{AngleArray, AnglePlacement};
use s2ice_manifest::grid::TileGeocoding;
use s2ice_manifest::ids::{Level, MgrsTile};
use s2ice_manifest::manifest::ChunkManifest;
use s2ice_manifest::profile::HeaderProfile;
use serde_json::{Map, Value};

use self::tree::Tree;

pub use self::stamp::{ASSET, CatalogueStamp, EraStamp, HEADER, LAYOUT_VERSION, PROFILE, STAMP, StoreStamp, stamp_of};
pub(crate) use self::stamp::{BOOKKEEPING, asset_of, root_stamp, stamp_of_mut};
use crate::layout::document::ArrayDocument;
use crate::layout::eopf::{ArrayKind, array_kind};
use crate::layout::overview::{self, Overviews};
use crate::layout::time::{self, StepFacts};
use crate::layout::{attributes, codecs, geometry, multiscale, place};

/// What the plan needs beside the trees.
#[derive(Debug, Clone)]
pub struct PlanContext {
    /// MGRS tile.
    pub tile: MgrsTile,
    /// Processing level.
    pub level: Level,
    /// Name of the virtual chunk container.
    pub container: String,
    /// Prefix that the container stands for.
    pub source_url: String,
    /// Writer and version, such as `s2ice 0.1.0`.
    pub writer: String,
    /// Containers that the store refers to already and what they stood for.
    pub sources: BTreeMap<String, String>,
    /// Which copies of a raster were taken.
    pub resolutions: Resolutions,
    /// The overviews of its rasters.
    pub overviews: Overviews,
    /// Up to when the catalogue was read.
    pub catalogue: Option<CatalogueStamp>,
    /// The header profiles in use.
    pub accepted: Accepted,
}

/// What one tree shall hold.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// Which era it is; `None` for the main tree.
    pub era: Option<Era>,
    /// What it differs in from the main tree.
    pub differs: Vec<String>,
    /// Time axis, manifests and angles.
    pub assembly: Assembly,
    /// What is remembered of each time step.
    pub facts: Vec<StepFacts>,
}

/// Metadata of one node.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Path without leading or trailing slash; empty for the root.
    pub path: String,
    /// `zarr.json`.
    pub document: Value,
}

impl Node {
    /// Store key of the metadata.
    pub fn key(&self) -> String {
        if self.path.is_empty() { "zarr.json".to_owned() } else { format!("{}/zarr.json", self.path) }
    }
}

/// The references of one array.
#[derive(Debug, Clone)]
pub struct ArrayReferences {
    /// Path of the array with a leading slash.
    pub path: String,
    /// True for arrays with a component dimension: chunk indices are (time, 0, row, column).
    pub has_components: bool,
    /// What its chunks have in common; of an overview with the image and tiles that are left.
    pub header: Arc<HeaderProfile>,
    /// How many resolutions it leaves out: more than none for an overview.
    pub reduce: u8,
    /// Where the chunks lie. An overview has those of the whole raster: its tiles begin with what is read of them.
    pub manifest: Arc<ChunkManifest>,
}

/// The angles of one array.
#[derive(Debug, Clone)]
pub struct AngleReferences {
    /// Path of the array with a leading slash.
    pub path: String,
    /// Which array.
    pub array: AngleArray,
    /// The angles of each time step; `None` where the product has none.
    pub placements: Vec<Option<AnglePlacement>>,
}

impl AngleReferences {
    /// Number of time steps with angles.
    pub fn present(&self) -> usize {
        self.placements.iter().flatten().count()
    }
}

/// One tree of the store.
#[derive(Debug, Clone)]
pub struct TreePlan {
    /// Which era it is; `None` for the main tree.
    pub era: Option<Era>,
    /// Time axis.
    pub steps: Vec<Step>,
    /// What is remembered of each time step.
    pub facts: Vec<StepFacts>,
    /// References of the data arrays.
    pub arrays: Vec<ArrayReferences>,
    /// The arrays of angles, whose chunks are in the store.
    pub angles: Vec<AngleReferences>,
}

/// Everything a store shall hold.
#[derive(Debug, Clone)]
pub struct StorePlan {
    /// MGRS tile.
    pub tile: MgrsTile,
    /// Processing level.
    pub level: Level,
    /// The main tree first, then the eras by name.
    pub trees: Vec<TreePlan>,
    /// Groups and arrays, parents first.
    pub nodes: Vec<Node>,
    /// Chunks of coordinates and columns: store key and encoded bytes.
    pub chunks: Vec<(String, Vec<u8>)>,
    /// What the root says.
    pub stamp: StoreStamp,
    /// True where the catalogue's watermark goes back: that has to be written even if nothing else changes.
    pub goes_back: bool,
}

impl StorePlan {
    /// The arrays of all trees.
    pub fn arrays(&self) -> impl Iterator<Item = &ArrayReferences> {
        self.trees.iter().flat_map(|tree| &tree.arrays)
    }

    /// The time steps of all trees; a product can stand in several.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.trees.iter().flat_map(|tree| &tree.steps)
    }

    /// Number of products.
    pub fn products(&self) -> usize {
        self.steps().map(|step| step.id).collect::<BTreeSet<_>>().len()
    }

    /// Number of references to write; those that the store holds are not counted.
    pub fn references(&self) -> u64 {
        self.arrays().map(|a| a.manifest.references()).sum()
    }

    /// Refuses overviews that no raster has; in words.
    ///
    /// # Errors
    /// The files have fewer resolutions, or there are only rasters without.
    pub(crate) fn check_overviews(&self) -> Result<(), String> {
        let lacks = |reduce: &u8| !self.arrays().any(|array| array.reduce == *reduce);
        let Some(reduce) = self.stamp.overviews.reduces().find(lacks) else { return Ok(()) };
        let can = |reduce: &u8| {
            self.arrays()
                .any(|array| overview::reduced(array.manifest.asset, &array.manifest.header, *reduce).is_some())
        };
        let most = (1..reduce).rev().find(can);
        let most =
            most.map_or("none of them has any".to_owned(), |most| format!("{} is the most", overview::factor(most)));
        Err(format!("--overviews {}: no raster of the store has such an overview, {most}", overview::factor(reduce)))
    }

    /// Bytes that all references stand for.
    pub fn referenced_bytes(&self) -> u64 {
        self.trees.iter().map(TreePlan::referenced_bytes).fold(0, u64::saturating_add)
    }
}

impl TreePlan {
    /// Bytes that its references stand for.
    pub fn referenced_bytes(&self) -> u64 {
        self.facts.iter().map(|f| f.bytes).fold(0, u64::saturating_add)
    }
}

/// Builds the plan of a store of these trees.
///
/// # Errors
/// Compressing a coordinate failed.
pub fn plan(trees: Vec<Desired>, context: &PlanContext) -> std::io::Result<StorePlan> {
    let geocoding = TileGeocoding::of(context.tile);
    let level = context.level;
    let stamp = stamp::stamp(context, &trees);
    let mut store = Tree::default();
    let mut root = multiscale::root(geocoding);
    root.insert("title".into(), format!("Sentinel-2 {level} of MGRS tile {}", context.tile).into());
    root.insert("Conventions".into(), "CF-1.11".into());
    root.insert(STAMP.into(), serde_json::to_value(&stamp).unwrap_or_default());
    store.group("", root);
    if !stamp.eras.is_empty() {
        let title = "products of another radiometric offset and rasters of another main header, each era a full tree";
        store.group(place::ERAS, Map::from_iter([("title".to_owned(), title.into())]));
    }
    let mut planned = Vec::with_capacity(trees.len());
    for mut desired in trees {
        let placed = placed(std::mem::take(&mut desired.assembly.manifests), level, &context.overviews);
        let (tree, era) = (tree(&desired, &placed, context, geocoding)?, desired.era.as_ref());
        store.join(&place::root(era), tree);
        if let Some(era) = era {
            let mut group = multiscale::root(geocoding);
            let title = format!("Sentinel-2 {level} of MGRS tile {}, era {era}", context.tile);
            group.insert("title".into(), title.into());
            store.group(&place::root(Some(era)), group);
        }
        planned.push(tree_plan(desired, placed));
    }
    let nodes = store.nodes.into_iter().map(|(path, document)| Node { path, document }).collect();
    Ok(StorePlan { tile: context.tile, level, trees: planned, nodes, chunks: store.chunks, stamp, goes_back: false })
}

/// An array of rasters, or an overview of one.
struct Placed {
    kind: ArrayKind,
    header: Arc<HeaderProfile>,
    manifest: Arc<ChunkManifest>,
}

/// The arrays of a tree in the order of their places.
fn placed(manifests: Vec<ChunkManifest>, level: Level, overviews: &Overviews) -> Vec<Placed> {
    let mut placed = Vec::new();
    for manifest in manifests.into_iter().map(Arc::new) {
        let Some(kind) = array_kind(manifest.asset, level) else { continue };
        for reduce in overviews.reduces() {
            let header = overview::reduced(manifest.asset, &manifest.header, reduce).map(Arc::new);
            let of = |header| Placed { kind: kind.clone().reduced(reduce), header, manifest: Arc::clone(&manifest) };
            placed.extend(header.map(of));
        }
        placed.push(Placed { kind, header: Arc::clone(&manifest.header), manifest });
    }
    placed.sort_by(|a, b| a.kind.place.cmp(&b.kind.place));
    placed
}

/// Nodes and small chunks of one tree, by paths in it.
fn tree(
    desired: &Desired,
    placed: &[Placed],
    context: &PlanContext,
    geocoding: TileGeocoding,
) -> std::io::Result<Tree> {
    let Desired { assembly, facts, .. } = desired;
    let mut tree = Tree::default();
    tree.group(place::PRODUCTS, Map::from_iter([("title".to_owned(), "the products of each time".into())]));
    tree.column(place::PRODUCTS, time::axis(&assembly.steps))?;
    for column in time::leaf(&assembly.steps).into_iter().chain(time::table(&assembly.steps, facts)) {
        tree.column(place::PRODUCTS, column)?;
    }
    let mut leaves: BTreeMap<&str, Vec<&Placed>> = BTreeMap::new();
    for entry in placed {
        leaves.entry(&entry.kind.place.group).or_default().push(entry);
    }
    for (path, members) in &leaves {
        tree.leaf(path.trim_start_matches('/'), members, &assembly.steps, geocoding)?;
    }
    let angles = angles(desired);
    let mut groups: BTreeSet<&str> = leaves.keys().map(|path| path.trim_start_matches('/')).collect();
    if !angles.is_empty() {
        tree.geometry(&angles, &assembly.steps, geocoding)?;
        groups.insert(geometry::GROUP);
    }
    tree.parents(geocoding, &groups, &context.overviews);
    for array in placed {
        let document = data_array(array, context.level, assembly.radiometry);
        tree.nodes.insert(array.kind.place.path().trim_start_matches('/').to_owned(), document);
    }
    Ok(tree)
}

fn angles(desired: &Desired) -> Vec<AngleReferences> {
    let path = |array| format!("/{}", place::within(desired.era.as_ref(), &geometry::path(array)));
    let of = |(array, placements): (&AngleArray, &Vec<_>)| AngleReferences {
        path: path(*array),
        array: *array,
        placements: placements.clone(),
    };
    desired.assembly.angles.iter().map(of).filter(|angles| angles.present() > 0).collect()
}

fn tree_plan(desired: Desired, placed: Vec<Placed>) -> TreePlan {
    let angles = angles(&desired);
    let Desired { era, assembly, facts, .. } = desired;
    let array = |Placed { kind, header, manifest }: Placed| ArrayReferences {
        path: format!("/{}", place::within(era.as_ref(), &kind.place.path())),
        has_components: kind.component_dimension.is_some(),
        header,
        reduce: kind.reduce,
        manifest,
    };
    let arrays = placed.into_iter().map(array).collect();
    TreePlan { steps: assembly.steps, facts, arrays, angles, era }
}

fn data_array(array: &Placed, level: Level, radiometry: Option<Radiometry>) -> Value {
    let Placed { kind, header, manifest } = array;
    let has_components = kind.component_dimension.is_some();
    let mut attributes = attributes::of_asset(manifest.asset, level, radiometry);
    attributes.insert("grid_mapping".into(), "spatial_ref".into());
    attributes.insert("coordinates".into(), attributes::LEAF_COORDINATES.into());
    attributes.insert(ASSET.into(), manifest.asset.name().into());
    attributes.insert(HEADER.into(), manifest.trust().name().into());
    attributes.insert(PROFILE.into(), header.fingerprint.clone().into());

    let mut dimensions = vec!["time".to_owned(), "y".to_owned(), "x".to_owned()];
    if let Some(name) = kind.component_dimension {
        dimensions.insert(1, name.to_owned());
    }
    ArrayDocument {
        shape: header.shape(has_components, manifest.rasters.len()),
        chunks: header.chunk_shape(has_components),
        data_type: kind.sample.name(),
        fill_value: kind.fill.into(),
        codecs: codecs::chain(&header.encoding, has_components, kind.reduce),
        dimensions,
        attributes,
    }
    .json()
}
