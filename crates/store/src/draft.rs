//! A snapshot in the making: the nodes of its parent, what changes in them, and the manifests that are written for that.
//!
//! Icechunk's own session writes a manifest for each array. A store has four times as many small arrays as others, and all
//! that lie along the time axis change with every product: they share a manifest here, which the format provides for.

mod log;
mod publish;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use icechunk::Repository;
use icechunk::format::format_constants::SpecVersionBin;
use icechunk::format::manifest::{
    ChunkInfo, ChunkPayload, ChunkRef, LocationCompressionConfig, Manifest, ManifestExtents, ManifestRef,
};
use icechunk::format::snapshot::{ArrayShape, DimensionName, ManifestFileInfo, NodeData, NodeSnapshot, Snapshot};
use icechunk::format::{ChunkId, ChunkIndices, ManifestId, NodeId, Path, SnapshotId};
use s2ice_manifest::source::location::SourceUrl;
use serde_json::Value;

use self::log::Log;
use crate::config::{INLINE_BYTES, MANIFEST_SPLIT};
use crate::error::{Error, Result, icechunk_error};
use crate::plan::Node;
use crate::view::{bounded, name, small_chunk};

/// What shall stand at chunks of an array; `None` takes away what is there.
pub(crate) type Chunks = Vec<(ChunkIndices, Option<ChunkPayload>)>;

/// A snapshot in the making.
pub(crate) struct Draft {
    repository: Arc<Repository>,
    url: SourceUrl,
    parent: Arc<Snapshot>,
    /// By path without leading or trailing slash.
    nodes: BTreeMap<String, NodeSnapshot>,
    files: HashMap<ManifestId, ManifestFileInfo>,
    log: Log,
}

/// The manifests of an array after a change.
pub(crate) struct Rewritten {
    path: String,
    manifests: Vec<ManifestRef>,
    files: Vec<ManifestFileInfo>,
    chunks: Vec<ChunkIndices>,
}

impl Draft {
    /// Begins with the nodes of a snapshot.
    ///
    /// # Errors
    /// [`Error::Icechunk`].
    pub(crate) async fn on(repository: &Arc<Repository>, parent: &SnapshotId, url: &SourceUrl) -> Result<Self> {
        let parent = repository.asset_manager().fetch_snapshot(parent).await;
        let parent = parent.map_err(|error| icechunk_error("opening the run's branch", url, &error))?;
        let damaged = |error| icechunk_error("opening the run's branch", url, &error);
        let nodes = parent.iter().map(|node| node.map(|node| (name(&node), node)));
        let nodes = nodes.collect::<std::result::Result<_, _>>().map_err(damaged)?;
        let files = parent.manifest_files().map(|file| file.map(|file| (file.id.clone(), file)));
        let files = files.collect::<std::result::Result<_, _>>().map_err(damaged)?;
        Ok(Self { repository: Arc::clone(repository), url: url.clone(), parent, nodes, files, log: Log::default() })
    }

    /// Takes a node away.
    pub(crate) fn remove(&mut self, path: &str) {
        if let Some(node) = self.nodes.remove(path) {
            self.log.deleted(&node);
        }
    }

    /// Sets the metadata of a node, which may be new. The length of an array along time may change.
    ///
    /// # Errors
    /// [`Error::Damaged`] where the document is none of a node.
    pub(crate) fn put(&mut self, node: &Node) -> Result<()> {
        let unknown = || self.damaged(format!("the metadata of /{} are those of no node", node.path));
        let user_data = serde_json::to_vec(&node.document).map_err(|error| self.failed("writing metadata", &error))?;
        let path: Path = format!("/{}", node.path).as_str().try_into().map_err(|_| unknown())?;
        let mut node_data = node_data(&node.document).ok_or_else(unknown)?;
        let id = match self.nodes.get(&node.path) {
            Some(before) => {
                if let (NodeData::Array { manifests, .. }, NodeData::Array { manifests: kept, .. }) =
                    (&mut node_data, &before.node_data)
                {
                    manifests.clone_from(kept);
                }
                self.log.updated(before);
                before.id.clone()
            }
            None => NodeId::random(),
        };
        let made = NodeSnapshot { id, path, user_data: user_data.into(), node_data };
        if !self.nodes.contains_key(&node.path) {
            self.log.made(&made);
        }
        self.nodes.insert(node.path.clone(), made);
        Ok(())
    }

    /// Writes the manifests of an array in which chunks change, and those that reach beyond its end; what they hold
    /// besides stays. [`Draft::take`] puts them in their place.
    ///
    /// # Errors
    /// [`Error::RefusedReferences`] for chunks outside the array or without bytes; [`Error::Icechunk`].
    pub(crate) async fn rewrite(&self, path: &str, mut chunks: Chunks) -> Result<Rewritten> {
        let path = path.trim_start_matches('/');
        let node = self.nodes.get(path).ok_or_else(|| self.damaged(format!("there is no array /{path}")))?;
        let NodeData::Array { shape, manifests, .. } = &node.node_data else {
            return Err(self.damaged(format!("/{path} is no array")));
        };
        let wrong = |(chunk, payload): &&(ChunkIndices, Option<ChunkPayload>)| {
            payload.as_ref().is_some_and(|payload| payload.length() == 0 || !shape.valid_chunk_coord(chunk))
        };
        let count = chunks.iter().filter(wrong).count();
        if count > 0 {
            return Err(Error::RefusedReferences { array: format!("/{path}"), count });
        }
        chunks.sort_by(|a, b| a.0.cmp(&b.0));
        let length = shape.num_chunks().next().unwrap_or_default();
        let windows: BTreeSet<u32> = chunks.iter().map(|(chunk, _)| window(chunk)).collect();
        let changes = |manifest: &&ManifestRef| {
            let Some(steps) = manifest.extents.iter().next() else { return true };
            let last = steps.end.saturating_sub(1) / MANIFEST_SPLIT;
            steps.end > length || windows.range(steps.start / MANIFEST_SPLIT..=last).next().is_some()
        };
        let (changed, kept): (Vec<&ManifestRef>, Vec<&ManifestRef>) = manifests.iter().partition(changes);
        let mut all = Vec::with_capacity(chunks.len());
        for old in changed {
            let size = bounded(&old.object_id, self.files.get(&old.object_id), &self.url)?;
            let old = self.repository.asset_manager().fetch_manifest(path, &old.object_id, size).await;
            let old = old.map_err(|error| self.failed("reading what the store holds", &error))?;
            for found in old.iter(node.id.clone()).map_err(|error| self.failed("reading references", &error))? {
                let (coord, payload) = found.map_err(|error| self.failed("reading references", &error))?;
                let is_new = chunks.binary_search_by(|(chunk, _)| chunk.cmp(&coord)).is_ok();
                if !is_new && shape.valid_chunk_coord(&coord) {
                    all.push(ChunkInfo { node: node.id.clone(), coord, payload });
                }
            }
        }
        let written = chunks.iter().map(|(chunk, _)| chunk.clone()).collect();
        let new = chunks
            .into_iter()
            .filter_map(|(coord, payload)| Some(ChunkInfo { node: node.id.clone(), coord, payload: payload? }));
        all.extend(new);
        all.sort_by(|a, b| a.coord.cmp(&b.coord));
        let mut out = Rewritten {
            path: path.to_owned(),
            manifests: kept.into_iter().cloned().collect(),
            files: Vec::new(),
            chunks: written,
        };
        while let Some(first) = all.first() {
            let own = window(&first.coord);
            let rest = all.split_off(all.partition_point(|chunk| window(&chunk.coord) == own));
            let extents = extents(all.iter().map(|chunk| &chunk.coord));
            let file = self.write(path, std::mem::replace(&mut all, rest)).await?;
            out.manifests.push(ManifestRef { object_id: file.id.clone(), extents });
            out.files.push(file);
        }
        Ok(out)
    }

    /// Puts the manifests that were written for an array in their place.
    pub(crate) fn take(&mut self, rewritten: Rewritten) {
        let Rewritten { path, manifests: new, files, chunks } = rewritten;
        if let Some(NodeSnapshot { id, node_data: NodeData::Array { manifests, .. }, .. }) = self.nodes.get_mut(&path) {
            *manifests = new;
            self.files.extend(files.into_iter().map(|file| (file.id.clone(), file)));
            self.log.chunks(id, chunks);
        }
    }

    /// Writes all chunks of several small arrays into one manifest, given by their keys; large ones become objects of their
    /// own. The log of the transaction tells those that are `new`.
    ///
    /// # Errors
    /// [`Error::Damaged`] where there is no such array; [`Error::Icechunk`].
    pub(crate) async fn share(&mut self, chunks: &[(&str, &[u8])], new: &HashSet<&str>) -> Result<()> {
        let mut all = Vec::with_capacity(chunks.len());
        let mut places: BTreeMap<&str, Vec<ChunkIndices>> = BTreeMap::new();
        let mut told: HashMap<&str, Vec<ChunkIndices>> = HashMap::new();
        for (key, bytes) in chunks {
            let (path, coord) = small_chunk(key);
            let node = self.nodes.get(path).ok_or_else(|| self.damaged(format!("there is no array /{path}")))?;
            let payload = self.stored(path, &coord, Bytes::copy_from_slice(bytes), usize::from(INLINE_BYTES)).await?;
            all.push(ChunkInfo { node: node.id.clone(), coord: coord.clone(), payload });
            if new.contains(key) {
                told.entry(path).or_default().push(coord.clone());
            }
            places.entry(path).or_default().push(coord);
        }
        if all.is_empty() {
            return Ok(());
        }
        all.sort_by(|a, b| (&a.node, &a.coord).cmp(&(&b.node, &b.coord)));
        let label = places.keys().next().copied().unwrap_or_default();
        let file = self.write(label, all).await?;
        for (path, chunks) in places {
            let manifest = ManifestRef { object_id: file.id.clone(), extents: extents(chunks.iter()) };
            let chunks = told.remove(path).unwrap_or_default();
            self.take(Rewritten { path: path.to_owned(), manifests: vec![manifest], files: Vec::new(), chunks });
        }
        self.files.insert(file.id.clone(), file);
        Ok(())
    }

    /// How the bytes of a chunk stand in a manifest: as they are, or where they are more than `inline`, in an object.
    ///
    /// # Errors
    /// [`Error::Icechunk`] where the object cannot be written.
    pub(crate) async fn stored(
        &self,
        path: &str,
        chunk: &ChunkIndices,
        bytes: Bytes,
        inline: usize,
    ) -> Result<ChunkPayload> {
        if bytes.len() <= inline {
            return Ok(ChunkPayload::Inline(bytes));
        }
        let (id, length) = (ChunkId::random(), bytes.len() as u64);
        let written = self.repository.asset_manager().write_chunk(path, &chunk.0, id.clone(), bytes).await;
        written.map_err(|error| self.failed("writing a chunk", &error))?;
        Ok(ChunkPayload::Ref(ChunkRef { id, offset: 0, length }))
    }

    /// Writes a manifest of chunks in the order of their nodes and places.
    async fn write(&self, label: &str, chunks: Vec<ChunkInfo>) -> Result<ManifestFileInfo> {
        let failed = |error: &(dyn std::error::Error + 'static)| self.failed("writing references", error);
        let config = self.repository.config().manifest().virtual_chunk_location_compression();
        let relative = self.repository.spec_version() >= SpecVersionBin::V2;
        let compression: Option<LocationCompressionConfig> = relative.then(|| config.into());
        let manifest = Manifest::from_sorted_vec(&ManifestId::random(), chunks, compression.as_ref());
        let manifest = manifest.map_err(|error| failed(&error))?;
        let manifest = Arc::new(manifest.ok_or_else(|| self.damaged(format!("/{label}: a manifest of nothing")))?);
        let size = self.repository.asset_manager().write_manifest(label, Arc::clone(&manifest)).await;
        Ok(ManifestFileInfo::new(&manifest, size.map_err(|error| failed(&error))?))
    }

    fn failed(&self, what: &'static str, error: &(dyn std::error::Error + 'static)) -> Error {
        icechunk_error(what, &self.url, error)
    }

    fn damaged(&self, detail: String) -> Error {
        Error::Damaged { url: self.url.to_string(), detail }
    }
}

/// The window of time steps in which a chunk lies.
fn window(chunk: &ChunkIndices) -> u32 {
    chunk.0.first().map_or(0, |step| step / MANIFEST_SPLIT)
}

/// The smallest box around chunks.
fn extents<'a>(chunks: impl Iterator<Item = &'a ChunkIndices>) -> ManifestExtents {
    let mut out: Vec<std::ops::Range<u32>> = Vec::new();
    for chunk in chunks {
        if out.is_empty() {
            out = chunk.0.iter().map(|index| *index..index + 1).collect();
        }
        for (range, index) in out.iter_mut().zip(&chunk.0) {
            *range = range.start.min(*index)..range.end.max(index + 1);
        }
    }
    ManifestExtents::from_ranges_iter(out)
}

/// What a document says of its node to Icechunk; an array has no manifests yet.
fn node_data(document: &Value) -> Option<NodeData> {
    if document.get("node_type")?.as_str()? == "group" {
        return Some(NodeData::Group);
    }
    let numbers = |value: &Value| value.as_array()?.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>();
    let lengths = numbers(document.get("shape")?)?;
    let chunks = numbers(document.pointer("/chunk_grid/configuration/chunk_shape")?)?;
    let counts = lengths.iter().zip(&chunks).map(|(length, chunk)| {
        let count = length.checked_div(*chunk).map(|_| length.div_ceil(*chunk));
        Some((*length, u32::try_from(count.unwrap_or_default()).ok()?))
    });
    let shape = ArrayShape::new(counts.collect::<Option<Vec<_>>>()?).filter(|_| lengths.len() == chunks.len())?;
    let names = document.get("dimension_names").and_then(Value::as_array);
    let dimension_names = names.map(|names| names.iter().map(|name| DimensionName::from(name.as_str())).collect());
    Some(NodeData::Array { shape, dimension_names, manifests: Vec::new() })
}
