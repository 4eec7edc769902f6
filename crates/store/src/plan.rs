//! The desired state of a store as data: every node's metadata, the small arrays' bytes, and which manifests to write.
//!
//! Pure: the same inputs give the same plan, whatever the target held before.

mod geometry;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use s2ice_manifest::assemble::{Assembly, Radiometry, Resolutions, Step};
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::era::Era;
use s2ice_manifest::geometry::{AngleArray, AnglePlacement};
use s2ice_manifest::grid::TileGeocoding;
use s2ice_manifest::ids::{Level, MgrsTile};
use s2ice_manifest::manifest::ChunkManifest;
use s2ice_manifest::product::MetadataSource;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::tree::Tree;
use crate::layout::document::ArrayDocument;
use crate::layout::eopf::{ArrayKind, array_kind};
use crate::layout::time::{self, StepFacts};
use crate::layout::{attributes, codecs, multiscale};

/// Version of the store layout; raised when a reader or writer of the old one could go wrong.
pub const LAYOUT_VERSION: u64 = 2;

/// Name of the attribute of the root group (and of each data array) that belongs to s2ice.
pub const STAMP: &str = "s2ice";

/// Keys of it that say how a store came to be and nothing of what is in it: a difference in these alone is none.
pub(crate) const BOOKKEEPING: [&str; 2] = ["writer", "catalogue"];

/// What a node's document has under that attribute.
pub fn stamp_of(document: &Value) -> Option<&Value> {
    document.get("attributes")?.get(STAMP)
}

/// As [`stamp_of`], to be changed.
pub(crate) fn stamp_of_mut(document: &mut Value) -> Option<&mut Value> {
    document.get_mut("attributes")?.get_mut(STAMP)
}

/// What the root group says of the store, under the attribute `s2ice`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StoreStamp {
    /// Layout version.
    pub layout: u64,
    /// Writer and its version.
    pub writer: String,
    /// MGRS tile.
    pub tile: String,
    /// Processing level.
    pub level: String,
    /// What kind of files the store refers to; it is of one kind.
    #[serde(default, skip_serializing_if = "SourceKind::is_jp2")]
    pub source_kind: SourceKind,
    /// Name of the codec that readers get with s2ice.
    pub codec: String,
    /// How a reader gets the codec.
    pub install: String,
    /// Virtual chunk container and the source it stood for when the store was written.
    pub sources: BTreeMap<String, String>,
    /// `verified` where every main header was read from its own file, else `assumed`.
    pub headers: String,
    /// `product` where every product's XML was read, `item` where the catalogue's items told everything, else `name`.
    pub metadata: String,
    /// Offset and scale that the reflectance of all products shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radiometry: Option<Radiometry>,
    /// Which copies of a raster the store takes.
    #[serde(default)]
    pub resolutions: Resolutions,
    /// Up to when the catalogue was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue: Option<CatalogueStamp>,
    /// Which era of the tile the store is; absent in the main store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub era: Option<Era>,
    /// In the main store: the eras of the tile. Each is a store at this one's address with `.era-` and its name behind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub eras: BTreeMap<Era, EraStamp>,
}

/// What the main store says of an era.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EraStamp {
    /// What its products and rasters differ in from those of the main store.
    pub differs: Vec<String>,
}

/// Up to when a catalogue was read, so that the next run asks for what changed since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CatalogueStamp {
    /// SHA-256 of what was asked; another question starts anew.
    pub query: String,
    /// Newest change that was seen and dealt with, RFC 3339.
    pub watermark: String,
}

/// What the plan needs beside the assembly.
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
    /// What is remembered of each time step.
    pub facts: Vec<StepFacts>,
    /// Which copies of a raster were taken.
    pub resolutions: Resolutions,
    /// Up to when the catalogue was read.
    pub catalogue: Option<CatalogueStamp>,
    /// Which era the store is; `None` for the main store.
    pub era: Option<Era>,
    /// The eras that the main store names.
    pub eras: BTreeMap<Era, EraStamp>,
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
    /// Where the chunks lie.
    pub manifest: ChunkManifest,
}

/// The angles of one array.
#[derive(Debug, Clone)]
pub struct AngleReferences {
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

/// Everything a store shall hold.
#[derive(Debug, Clone)]
pub struct StorePlan {
    /// MGRS tile.
    pub tile: MgrsTile,
    /// Processing level.
    pub level: Level,
    /// Time axis.
    pub steps: Vec<Step>,
    /// What is remembered of each time step.
    pub facts: Vec<StepFacts>,
    /// Groups and arrays, parents first.
    pub nodes: Vec<Node>,
    /// Chunks of coordinates and columns: store key and encoded bytes.
    pub chunks: Vec<(String, Vec<u8>)>,
    /// References of the data arrays.
    pub arrays: Vec<ArrayReferences>,
    /// The arrays of angles, whose chunks are in the store.
    pub angles: Vec<AngleReferences>,
    /// What the root says.
    pub stamp: StoreStamp,
}

impl StorePlan {
    /// Number of references to write; those that the store holds are not counted.
    pub fn references(&self) -> u64 {
        self.arrays.iter().map(|a| a.manifest.references()).sum()
    }

    /// Up to when the catalogue was read, said otherwise than it was planned.
    pub(crate) fn set_catalogue(&mut self, catalogue: Option<CatalogueStamp>) {
        self.stamp.catalogue = catalogue;
        let root = self.nodes.iter_mut().find(|node| node.path.is_empty());
        if let Some(stamp) = root.and_then(|node| stamp_of_mut(&mut node.document)) {
            *stamp = serde_json::to_value(&self.stamp).unwrap_or_default();
        }
    }

    /// Bytes that all references stand for.
    pub fn referenced_bytes(&self) -> u64 {
        self.facts.iter().map(|f| f.bytes).fold(0, u64::saturating_add)
    }
}

/// Builds the plan.
///
/// # Errors
/// Compressing a coordinate failed.
pub fn plan(assembly: Assembly, context: &PlanContext) -> std::io::Result<StorePlan> {
    let geocoding = TileGeocoding::of(context.tile);
    let level = context.level;
    let mut placed: Vec<(ArrayKind, ChunkManifest)> = assembly
        .manifests
        .into_iter()
        .filter_map(|manifest| Some((array_kind(manifest.asset, level)?, manifest)))
        .collect();
    placed.sort_by(|a, b| a.0.place.cmp(&b.0.place));

    let stamp = stamp(context, &assembly.steps, &placed, assembly.radiometry);
    let mut tree = Tree::default();
    let mut root = multiscale::root(geocoding);
    let era = context.era.as_ref().map(|era| format!(", era {era}")).unwrap_or_default();
    root.insert("title".into(), format!("Sentinel-2 {level} of MGRS tile {}{era}", context.tile).into());
    root.insert("Conventions".into(), "CF-1.11".into());
    root.insert(STAMP.into(), serde_json::to_value(&stamp).unwrap_or_default());
    tree.group("", root);

    tree.column("", time::axis(&assembly.steps))?;
    let root_columns = time::root(&assembly.steps, &context.facts);
    for column in time::leaf(&assembly.steps).into_iter().chain(root_columns) {
        tree.column("", column)?;
    }

    let mut leaves: BTreeMap<&str, Vec<&(ArrayKind, ChunkManifest)>> = BTreeMap::new();
    for entry in &placed {
        leaves.entry(&entry.0.place.group).or_default().push(entry);
    }
    for (path, members) in &leaves {
        tree.leaf(path.trim_start_matches('/'), members, &assembly.steps, geocoding)?;
    }
    let angles: Vec<AngleReferences> = assembly
        .angles
        .into_iter()
        .map(|(array, placements)| AngleReferences { array, placements })
        .filter(|angles| angles.present() > 0)
        .collect();
    let mut groups: BTreeSet<&str> = leaves.keys().map(|path| path.trim_start_matches('/')).collect();
    if !angles.is_empty() {
        tree.geometry(&angles, &assembly.steps, geocoding)?;
        groups.insert(crate::layout::geometry::GROUP);
    }
    tree.parents(geocoding, &groups);
    for (kind, manifest) in &placed {
        let document = data_array(kind, manifest, context.level, assembly.radiometry, geocoding);
        tree.nodes.insert(kind.place.path().trim_start_matches('/').to_owned(), document);
    }

    let nodes = tree.nodes.into_iter().map(|(path, document)| Node { path, document }).collect();
    let arrays = placed
        .into_iter()
        .map(|(kind, manifest)| ArrayReferences {
            path: kind.place.path(),
            has_components: kind.component_dimension.is_some(),
            manifest,
        })
        .collect();
    Ok(StorePlan {
        tile: context.tile,
        level,
        steps: assembly.steps,
        facts: context.facts.clone(),
        nodes,
        chunks: tree.chunks,
        arrays,
        angles,
        stamp,
    })
}

fn stamp(
    context: &PlanContext,
    steps: &[Step],
    placed: &[(ArrayKind, ChunkManifest)],
    radiometry: Option<Radiometry>,
) -> StoreStamp {
    let verified = placed.iter().all(|(_, manifest)| manifest.verified());
    let source_kind = placed.first().map_or(SourceKind::Jp2, |(_, manifest)| manifest.header.encoding.kind());
    let all_from = |source| steps.iter().all(|step| step.metadata.source == source);
    let metadata = [MetadataSource::Product, MetadataSource::Item].into_iter().find(|source| all_from(*source));
    let mut sources = context.sources.clone();
    sources.insert(context.container.clone(), context.source_url.clone());
    StoreStamp {
        layout: LAYOUT_VERSION,
        writer: context.writer.clone(),
        tile: context.tile.to_string(),
        level: context.level.to_string(),
        source_kind,
        codec: codecs::own_codec(source_kind).to_owned(),
        install: "pip install s2ice, then s2ice.open(URL)".to_owned(),
        sources,
        headers: time::headers(verified).to_owned(),
        metadata: metadata.unwrap_or(MetadataSource::Name).to_string(),
        radiometry,
        resolutions: context.resolutions,
        catalogue: context.catalogue.clone(),
        era: context.era.clone(),
        eras: context.eras.clone(),
    }
}

fn data_array(
    kind: &ArrayKind,
    manifest: &ChunkManifest,
    level: Level,
    radiometry: Option<Radiometry>,
    geocoding: TileGeocoding,
) -> Value {
    let header = &manifest.header;
    let mut attributes = attributes::of_asset(manifest.asset, level, radiometry);
    attributes.insert("grid_mapping".into(), "spatial_ref".into());
    attributes.insert("coordinates".into(), attributes::LEAF_COORDINATES.into());
    attributes.append(&mut multiscale::array(geocoding, manifest.asset.resolution));
    let status = if manifest.verified() { "verified" } else { "unverified" };
    attributes.insert(
        STAMP.into(),
        json!({ "asset": manifest.asset.name(), "header": status, "profile": header.fingerprint }),
    );

    let mut dimensions = vec!["time".to_owned(), "y".to_owned(), "x".to_owned()];
    if let Some(name) = kind.component_dimension {
        dimensions.insert(1, name.to_owned());
    }
    ArrayDocument {
        shape: manifest.shape(kind.component_dimension.is_some()),
        chunks: manifest.chunk_shape(kind.component_dimension.is_some()),
        data_type: kind.sample.name(),
        fill_value: kind.fill.into(),
        codecs: codecs::chain(&header.encoding, kind.component_dimension.is_some()),
        dimensions,
        attributes,
    }
    .json()
}
