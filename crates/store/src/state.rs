//! What a store holds, read from the metadata of `main` alone: the snapshot that a plan is compared with.

mod angles;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use icechunk::format::SnapshotId;
use s2ice_manifest::assemble::{Assembly, Step};
use s2ice_manifest::decide::Resolutions;
use s2ice_manifest::era::Era;
use s2ice_manifest::era::Radiometry;
use s2ice_manifest::ids::{Level, MgrsTile};
use s2ice_manifest::manifest::{ChunkManifest, HeaderTrust, HeldRaster, Placement};
use s2ice_manifest::product::{MetadataSource, ProductId, ProductMetadata};
use s2ice_manifest::profile::HeaderProfile;
use s2ice_manifest::raster::Asset;
use s2ice_manifest::source::location::SourceUrl;
use serde_json::Value;

pub use self::angles::HeldAngles;
use crate::error::{Error, Result, icechunk_error};
use crate::layout::codecs;
use crate::layout::document::{TIME_CHUNK, decode_f32, decode_i32, decode_i64, decode_text, decode_u16, decode_u32};
use crate::layout::eopf::array_kind;
use crate::layout::overview::{self, Overviews};
use crate::layout::place;
use crate::layout::time::StepFacts;
use crate::plan::{Desired, HEADER, StoreStamp, asset_of};
use crate::view::View;

/// Where eras stand in the main tree.
const ERAS_FOLDER: &str = "eras/";

/// Columns read at a time.
const CONCURRENT_COLUMNS: usize = 16;

/// Digital numbers per unit of reflectance where a store does not say.
const QUANTIFICATION: f64 = 10_000.0;

/// The state of branch `main`.
#[derive(Debug, Clone)]
pub struct StoreState {
    /// What `main` points to.
    pub snapshot: SnapshotId,
    /// When that snapshot was made.
    pub flushed_at: DateTime<Utc>,
    /// What the root says.
    pub stamp: StoreStamp,
    /// The main tree and those of eras.
    pub trees: BTreeMap<Option<Era>, TreeState>,
    /// `zarr.json` of every node, by path without leading or trailing slash.
    pub documents: BTreeMap<String, Value>,
}

/// One tree of a store.
#[derive(Debug, Clone)]
pub struct TreeState {
    /// Which era it is; `None` for the main tree.
    pub era: Option<Era>,
    /// Offset and scale of its reflectance.
    pub radiometry: Option<Radiometry>,
    /// Time axis.
    pub steps: Vec<Step>,
    /// What is remembered of each time step.
    pub facts: Vec<StepFacts>,
    /// Data arrays.
    pub arrays: BTreeMap<Asset, HeldArray>,
    /// Arrays of angles, and at which time steps each has any.
    pub angles: HeldAngles,
}

/// A data array of a store.
#[derive(Debug, Clone)]
pub struct HeldArray {
    /// Path with a leading slash.
    pub path: String,
    /// True for arrays with a component dimension.
    pub has_components: bool,
    /// The main header of its rasters.
    pub header: Arc<HeaderProfile>,
    /// At which time steps it has data.
    pub present: Vec<bool>,
    /// How the least certain of its main headers is known.
    pub trust: HeaderTrust,
    /// References in its manifests.
    pub references: u64,
}

impl StoreState {
    /// A tree; nothing where the store has no such era.
    pub fn tree(&self, era: Option<&Era>) -> Option<&TreeState> {
        self.trees.get(&era.cloned())
    }

    /// True where it holds no product.
    pub fn is_empty(&self) -> bool {
        self.trees.values().all(|tree| tree.steps.is_empty())
    }

    /// The state as what a plan is made of, for the columns that it gave.
    pub fn desired(&self) -> Vec<Desired> {
        let of = |tree: &TreeState| Desired {
            era: tree.era.clone(),
            differs: Vec::new(),
            assembly: tree.assembly(),
            facts: tree.facts.clone(),
        };
        self.trees.values().map(of).collect()
    }
}

impl TreeState {
    /// The time step of each product.
    pub fn products(&self) -> BTreeMap<ProductId, usize> {
        self.steps.iter().enumerate().map(|(step, s)| (s.id, step)).collect()
    }

    /// The rasters that the store holds at a time step.
    pub fn rasters(&self, step: usize) -> impl Iterator<Item = HeldRaster> + '_ {
        let trust = self.facts.get(step).map(|facts| facts.headers).unwrap_or_default();
        let number = u32::try_from(step).unwrap_or(u32::MAX);
        let present = self.arrays.iter().filter(move |(_, array)| array.present.get(step) == Some(&true));
        present.map(move |(asset, array)| HeldRaster {
            asset: *asset,
            header: Arc::clone(&array.header),
            trust,
            step: number,
            era: self.era.clone(),
        })
    }

    /// The tree as the outcome of an assembly.
    fn assembly(&self) -> Assembly {
        let mut manifests: BTreeMap<Asset, ChunkManifest> = self
            .arrays
            .iter()
            .map(|(asset, array)| {
                let rasters = vec![None; self.steps.len()];
                (*asset, ChunkManifest { asset: *asset, header: Arc::clone(&array.header), rasters })
            })
            .collect();
        for step in 0..self.steps.len() {
            for raster in self.rasters(step) {
                if let Some(manifest) = manifests.get_mut(&raster.asset) {
                    manifest.rasters[step] = Some(Placement::Held(raster));
                }
            }
        }
        Assembly {
            steps: self.steps.clone(),
            manifests: manifests.into_values().collect(),
            angles: self.angles.keys().map(|array| (*array, self.angle_placements(*array))).collect(),
            radiometry: self.radiometry,
        }
    }
}

/// Reads what a state holds, whose root says `stamp`.
///
/// # Errors
/// [`Error::Icechunk`]; [`Error::Damaged`] where what is read contradicts itself.
pub(crate) async fn load(view: &View, url: &SourceUrl, stamp: StoreStamp) -> Result<StoreState> {
    let damaged = |detail: String| Error::Damaged { url: url.to_string(), detail };
    let tile: MgrsTile = stamp.tile.parse().map_err(|e| damaged(format!("{e}")))?;
    let level: Level = stamp.level.parse().map_err(|e| damaged(format!("{e}")))?;
    let flushed_at = view.snapshot.flushed_at().map_err(|e| icechunk_error("reading the store", url, &e))?;

    let mut documents = BTreeMap::new();
    let mut references: BTreeMap<String, u64> = BTreeMap::new();
    for (path, node) in &view.nodes {
        let document: Value = serde_json::from_slice(&node.user_data).map_err(|e| damaged(format!("/{path}: {e}")))?;
        references.insert(path.clone(), view.references(node));
        documents.insert(path.clone(), document);
    }
    let radiometry = |era: Option<&Era>| match era {
        None => stamp.radiometry,
        Some(era) => stamp.eras.get(era).and_then(|era| era.radiometry),
    };
    let mut trees = BTreeMap::new();
    for era in std::iter::once(None).chain(stamp.eras.keys().cloned().map(Some)) {
        let radiometry = radiometry(era.as_ref());
        let columns = Columns { view, base: place::root(era.as_ref()), steps: 0, url };
        let tree = columns.tree(era.clone(), radiometry, &documents, &references, level, tile).await?;
        trees.insert(era, tree);
    }
    let snapshot = view.snapshot.id();
    Ok(StoreState { snapshot, flushed_at, stamp, trees, documents })
}

/// Reads the columns of one tree.
struct Columns<'a> {
    view: &'a View,
    /// Path of the tree.
    base: String,
    steps: usize,
    url: &'a SourceUrl,
}

impl Columns<'_> {
    fn damaged(&self, detail: String) -> Error {
        Error::Damaged { url: self.url.to_string(), detail }
    }

    async fn tree(
        mut self,
        era: Option<Era>,
        radiometry: Option<Radiometry>,
        documents: &BTreeMap<String, Value>,
        references: &BTreeMap<String, u64>,
        level: Level,
        tile: MgrsTile,
    ) -> Result<TreeState> {
        let axis = self.path(&format!("{}/time", place::PRODUCTS));
        let steps = documents.get(&axis).and_then(|d| d.pointer("/shape/0")).and_then(Value::as_u64);
        let steps = steps.and_then(|n| usize::try_from(n).ok());
        self.steps = steps.ok_or_else(|| self.damaged(format!("it has no time axis /{axis}")))?;
        // A million acquisitions of one tile: far beyond any mission, and little enough to read.
        if self.steps > 1 << 20 {
            return Err(self.damaged(format!("its time axis /{axis} has {} steps", self.steps)));
        }
        let quantification = radiometry.map_or(QUANTIFICATION, |r| r.quantification);
        let table = self.table(level, tile, quantification);
        let arrays = self.arrays(documents, references, level);
        let ((steps, facts), arrays, angles) = futures::try_join!(table, arrays, self.angles(documents))?;
        Ok(TreeState { era, radiometry, steps, facts, arrays, angles })
    }

    /// A path in the tree as one in the store.
    fn path(&self, path: &str) -> String {
        place::join(&self.base, path.trim_start_matches('/'))
    }

    async fn read<T>(&self, path: &str, decode: fn(&[u8]) -> std::io::Result<Vec<T>>) -> Result<Vec<T>> {
        let mut values = Vec::with_capacity(self.steps.next_multiple_of(TIME_CHUNK));
        for chunk in 0..self.steps.div_ceil(TIME_CHUNK) {
            let key = format!("{path}/c/{chunk}");
            let bytes = self.view.small(&key).await?.ok_or_else(|| self.damaged(format!("{key} is missing")))?;
            values.extend(decode(&bytes).map_err(|e| self.damaged(format!("{key}: {e}")))?);
        }
        values.truncate(self.steps);
        Ok(values)
    }

    async fn column<T>(&self, name: &str, decode: fn(&[u8]) -> std::io::Result<Vec<T>>) -> Result<Vec<T>> {
        self.read(&self.path(&format!("{}/{name}", place::PRODUCTS)), decode).await
    }

    async fn table(&self, level: Level, tile: MgrsTile, quantification: f64) -> Result<(Vec<Step>, Vec<StepFacts>)> {
        let (
            time,
            sensing,
            bytes,
            content,
            inputs,
            product,
            datastrip,
            source,
            updated,
            header,
            offset,
            cloud,
            partial,
        ) = futures::try_join!(
            self.column("time", decode_i64),
            self.column("sensing_time_us", decode_i64),
            self.column("referenced_bytes", decode_i64),
            self.column("content", decode_i64),
            self.column("inputs", decode_i64),
            self.column("product_id", decode_text),
            self.column("datastrip_id", decode_text),
            self.column("metadata_source", decode_text),
            self.column("source_updated", decode_text),
            self.column("headers", decode_text),
            self.column("boa_add_offset", decode_i32),
            self.column("cloud_cover", decode_f32),
            self.column("partial", decode_u16),
        )?;
        let text = |value: &String| Some(value.clone()).filter(|v| !v.is_empty());
        let mut steps: Vec<Step> = Vec::with_capacity(self.steps);
        let mut facts = Vec::with_capacity(self.steps);
        let mut seen = BTreeSet::new();
        for i in 0..self.steps {
            let id: ProductId = product[i].parse().map_err(|e| self.damaged(format!("product_id, step {i}: {e}")))?;
            if id.level() != level || id.tile() != tile || !seen.insert(id) {
                return Err(self.damaged(format!("product_id, step {i}: {id} does not belong there")));
            }
            if steps.last().is_some_and(|last| last.time_ms >= time[i]) {
                return Err(self.damaged(format!("time, step {i}: not later than the one before")));
            }
            let cloud_cover = (!cloud[i].is_nan()).then(|| f64::from(cloud[i]));
            let source = match source[i].as_str() {
                "product" => MetadataSource::Product,
                "item" => MetadataSource::Item,
                _ => MetadataSource::Name,
            };
            let metadata = ProductMetadata {
                sensing_time_us: sensing[i],
                datastrip_id: text(&datastrip[i]),
                add_offset: offset[i],
                quantification,
                cloud_cover,
                source,
            };
            steps.push(Step { time_ms: time[i], id, metadata });
            facts.push(StepFacts {
                updated: text(&updated[i]),
                headers: HeaderTrust::of_name(&header[i]),
                inputs: inputs[i],
                partial: partial[i] != 0,
                content: content[i],
                bytes: u64::try_from(bytes[i]).unwrap_or_default(),
            });
        }
        Ok((steps, facts))
    }

    async fn arrays(
        &self,
        documents: &BTreeMap<String, Value>,
        references: &BTreeMap<String, u64>,
        level: Level,
    ) -> Result<BTreeMap<Asset, HeldArray>> {
        let mut arrays = BTreeMap::new();
        let mut leaves: BTreeSet<String> = BTreeSet::new();
        let base = if self.base.is_empty() { String::new() } else { format!("{}/", self.base) };
        for (path, document) in documents {
            let inside = path.strip_prefix(&base).filter(|path| !path.starts_with(ERAS_FOLDER));
            let Some(inside) = inside else { continue };
            // An overview holds what the array of the whole raster holds.
            let Some(asset) = asset_of(document).filter(|_| overview::reduce_of(document) == 0) else { continue };
            let (asset, array) =
                held_array(path, inside, document, asset, level).map_err(|e| self.damaged(format!("/{path}: {e}")))?;
            leaves.extend(path.rsplit_once('/').map(|(group, _)| group.to_owned()));
            let references = references.get(path).copied().unwrap_or_default();
            arrays.insert(asset, HeldArray { references, ..array });
        }
        let present: BTreeMap<String, BTreeMap<String, Vec<bool>>> = stream::iter(leaves)
            .map(|leaf| async move {
                let flags = self.present(&leaf, documents).await?;
                Ok::<_, Error>((leaf, flags))
            })
            .buffer_unordered(CONCURRENT_COLUMNS)
            .try_collect()
            .await?;
        for array in arrays.values_mut() {
            let (group, name) = array.path.trim_start_matches('/').rsplit_once('/').unwrap_or_default();
            let flags = present.get(group).and_then(|leaf| leaf.get(name));
            array.present =
                flags.cloned().ok_or_else(|| self.damaged(format!("{}: no flag says when it has data", array.path)))?;
        }
        Ok(arrays)
    }

    /// For each array of a leaf, at which time steps it has data.
    async fn present(&self, leaf: &str, documents: &BTreeMap<String, Value>) -> Result<BTreeMap<String, Vec<bool>>> {
        let path = format!("{leaf}/present");
        let attribute = |name: &str| documents.get(&path).and_then(|d| d.pointer("/attributes")?.get(name));
        let names = attribute("flag_meanings").and_then(Value::as_str).unwrap_or_default();
        let masks = attribute("flag_masks").and_then(Value::as_array).cloned().unwrap_or_default();
        let flags = self.read(&path, decode_u32).await?;
        let column = |mask: u64| flags.iter().map(|f| u64::from(*f) & mask != 0).collect();
        let masks = masks.iter().map(|mask| mask.as_u64().unwrap_or_default());
        Ok(names.split_whitespace().zip(masks).map(|(name, mask)| (name.to_owned(), column(mask))).collect())
    }
}

/// An array at `path` of the store, which is `inside` of its tree.
fn held_array(
    path: &str,
    inside: &str,
    document: &Value,
    asset: &str,
    level: Level,
) -> std::result::Result<(Asset, HeldArray), String> {
    let asset: Asset = asset.parse().map_err(|e| format!("{e}"))?;
    let kind = array_kind(asset, level).ok_or_else(|| format!("{asset} has no place at level {level}"))?;
    if kind.place.path().trim_start_matches('/') != inside {
        return Err(format!("the place of {asset} is {}", kind.place.path()));
    }
    let header = Arc::new(codecs::profile(document, kind.component_dimension.is_some())?);
    if let Some(misfit) = header.misfit(asset) {
        return Err(misfit);
    }
    let own = document.pointer("/attributes");
    let array = HeldArray {
        path: format!("/{path}"),
        has_components: kind.component_dimension.is_some(),
        header,
        present: Vec::new(),
        trust: HeaderTrust::of_name(own.and_then(|own| own.get(HEADER)?.as_str()).unwrap_or_default()),
        references: 0,
    };
    Ok((asset, array))
}

/// The overviews that a store shall have: those that are asked for, else those that it has.
pub(crate) fn overviews(state: Option<&StoreState>, wanted: Option<&Overviews>) -> Overviews {
    wanted.or(state.map(|state| &state.stamp.overviews)).cloned().unwrap_or_default()
}

/// What a run takes over of a store's selection: a store that took every copy goes on doing so.
pub(crate) fn resolutions(state: Option<&StoreState>, wanted: Resolutions, prune: bool) -> Resolutions {
    match state {
        Some(state) if !prune && state.stamp.resolutions == Resolutions::All => Resolutions::All,
        _ => wanted,
    }
}
