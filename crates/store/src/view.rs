//! A snapshot as it lies in the store: its nodes, and their chunks through manifests that are read when they are needed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use icechunk::Repository;
use icechunk::asset_manager::AssetManager;
use icechunk::config::CachingConfig;
use icechunk::format::manifest::{ChunkPayload, ChunkRef, Manifest, ManifestRef};
use icechunk::format::snapshot::{ManifestFileInfo, NodeData, NodeSnapshot, Snapshot};
use icechunk::format::{ChunkIndices, IcechunkFormatError, IcechunkFormatErrorKind, ManifestId, SnapshotId};
use icechunk::session::find_coord;
use s2ice_manifest::source::location::SourceUrl;

use crate::error::{Error, Result, icechunk_error};

/// Largest object of a repository that is read, bytes: all of ten years have some 10 MB together.
pub(crate) const LARGEST: u64 = 1 << 28;

/// A snapshot and its metadata.
pub(crate) struct View {
    manager: Arc<AssetManager>,
    pub(crate) snapshot: Arc<Snapshot>,
    /// By path without leading or trailing slash.
    pub(crate) nodes: BTreeMap<String, NodeSnapshot>,
    manifests: HashMap<ManifestId, ManifestFileInfo>,
    url: SourceUrl,
}

/// A reader of a repository's objects that shares no cache with the repository; `references` of manifests are kept.
pub(crate) fn apart(repository: &Repository, references: u64) -> Arc<AssetManager> {
    let config = repository.config();
    let caching = CachingConfig { num_chunk_refs: Some(references), ..CachingConfig::default() };
    Arc::new(AssetManager::new_with_config(
        Arc::clone(repository.storage()),
        repository.storage_settings().clone(),
        repository.spec_version(),
        &caching,
        config.compression().level(),
        config.max_concurrent_requests(),
        config.max_concurrent_decodes(),
    ))
}

impl View {
    /// Reads a snapshot.
    ///
    /// # Errors
    /// [`crate::Error::Icechunk`].
    pub(crate) async fn open(manager: Arc<AssetManager>, id: &SnapshotId, url: &SourceUrl) -> Result<Self> {
        let snapshot = manager.fetch_snapshot(id).await.map_err(|error| unreadable(url, &error))?;
        Self::of(manager, snapshot, url)
    }

    /// A snapshot that was read.
    ///
    /// # Errors
    /// [`crate::Error::Icechunk`] where it cannot be understood.
    pub(crate) fn of(manager: Arc<AssetManager>, snapshot: Arc<Snapshot>, url: &SourceUrl) -> Result<Self> {
        let failed = |error: IcechunkFormatError| unreadable(url, &error);
        let nodes = snapshot.iter().map(|node| node.map(|node| (name(&node), node)));
        let nodes = nodes.collect::<std::result::Result<_, _>>().map_err(failed)?;
        let files = snapshot.manifest_files().map(|file| file.map(|file| (file.id.clone(), file)));
        let manifests = files.collect::<std::result::Result<_, _>>().map_err(failed)?;
        Ok(Self { manager, snapshot, nodes, manifests, url: url.clone() })
    }

    /// References and chunks in the manifests of an array, which has them for itself.
    pub(crate) fn references(&self, node: &NodeSnapshot) -> u64 {
        let NodeData::Array { manifests, .. } = &node.node_data else { return 0 };
        let files = manifests.iter().filter_map(|manifest| self.manifests.get(&manifest.object_id));
        files.map(|file| u64::from(file.num_chunk_refs)).sum()
    }

    /// Bytes of all manifests.
    pub(crate) fn manifest_bytes(&self) -> u64 {
        self.manifests.values().map(|file| file.size_bytes).sum()
    }

    /// The manifest in which a chunk of an array stands, by its place in the array's list.
    fn place<'a>(node: &'a NodeSnapshot, chunk: &ChunkIndices) -> Option<(usize, &'a ManifestRef)> {
        let NodeData::Array { shape, manifests, .. } = &node.node_data else { return None };
        let (place, _) = find_coord(manifests.iter().map(|m| &m.extents), chunk)?;
        Some((place, &manifests[place])).filter(|_| shape.valid_chunk_coord(chunk))
    }

    /// What stands at a chunk of an array.
    ///
    /// # Errors
    /// [`crate::Error::Icechunk`] where its manifest cannot be read.
    pub(crate) async fn chunk(&self, node: &NodeSnapshot, chunk: &ChunkIndices) -> Result<Option<ChunkPayload>> {
        let Some((_, manifest)) = Self::place(node, chunk) else { return Ok(None) };
        self.payload(node, chunk, &*self.manifest(node, &manifest.object_id).await?)
    }

    fn payload(&self, node: &NodeSnapshot, chunk: &ChunkIndices, manifest: &Manifest) -> Result<Option<ChunkPayload>> {
        match manifest.get_chunk_payload(&node.id, chunk) {
            Ok(payload) => Ok(Some(payload)),
            Err(error) if matches!(error.kind, IcechunkFormatErrorKind::ChunkCoordinatesNotFound { .. }) => Ok(None),
            Err(error) => Err(unreadable(&self.url, &error)),
        }
    }

    async fn manifest(&self, node: &NodeSnapshot, id: &ManifestId) -> Result<Arc<Manifest>> {
        let size = bounded(id, self.manifests.get(id), &self.url)?;
        let fetched = self.manager.fetch_manifest(&name(node), id, size).await;
        fetched.map_err(|error| unreadable(&self.url, &error))
    }

    /// The bytes behind what stands at a chunk; `None` for a reference.
    ///
    /// # Errors
    /// [`crate::Error::Icechunk`] where its object cannot be read.
    pub(crate) async fn bytes(
        &self,
        node: &NodeSnapshot,
        chunk: &ChunkIndices,
        payload: ChunkPayload,
    ) -> Result<Option<Bytes>> {
        match payload {
            ChunkPayload::Inline(bytes) => Ok(Some(bytes)),
            ChunkPayload::Ref(ChunkRef { id, offset, length }) => {
                let range = offset..offset.saturating_add(length);
                let fetched = self.manager.fetch_chunk(&name(node), &chunk.0, &id, &range).await;
                fetched.map(Some).map_err(|error| unreadable(&self.url, &error))
            }
            _ => Ok(None),
        }
    }

    /// The bytes of a small array's chunk, by its key in the store; `None` where there are none.
    ///
    /// # Errors
    /// As [`View::chunk`] and [`View::bytes`].
    pub(crate) async fn small(&self, key: &str) -> Result<Option<Bytes>> {
        let (path, chunk) = small_chunk(key);
        let Some(node) = self.nodes.get(path) else { return Ok(None) };
        match self.chunk(node, &chunk).await? {
            Some(payload) => self.bytes(node, &chunk, payload).await,
            None => Ok(None),
        }
    }
}

/// Array and chunk of the key of a small array's chunk, which has one dimension (`a/time/c/0`) or none (`a/spatial_ref/c`).
pub(crate) fn small_chunk(key: &str) -> (&str, ChunkIndices) {
    match key.rsplit_once("/c/") {
        Some((path, index)) => (path, ChunkIndices(vec![index.parse().unwrap_or(u32::MAX)])),
        None => (key.strip_suffix("/c").unwrap_or(key), ChunkIndices(Vec::new())),
    }
}

/// Path of a node without leading or trailing slash.
pub(crate) fn name(node: &NodeSnapshot) -> String {
    node.path.to_string().trim_matches('/').to_owned()
}

/// The size of a manifest, for which Icechunk makes room at once.
///
/// # Errors
/// [`Error::Damaged`]: the snapshot says that it has more than [`LARGEST`].
pub(crate) fn bounded(id: &ManifestId, file: Option<&ManifestFileInfo>, url: &SourceUrl) -> Result<u64> {
    let size = file.map_or(0, |file| file.size_bytes);
    if size > LARGEST {
        let detail = format!("its manifest {id} has {size} bytes, more than {LARGEST}");
        return Err(Error::Damaged { url: url.to_string(), detail });
    }
    Ok(size)
}

fn unreadable(url: &SourceUrl, error: &(dyn std::error::Error + 'static)) -> Error {
    icechunk_error("reading the store", url, error)
}

/// Reads the references of one array; each manifest once, as long as chunks are asked for in their order.
pub(crate) struct ArrayReader<'a> {
    view: &'a View,
    node: &'a NodeSnapshot,
    /// The manifest that was read last, and its place in the array's list.
    last: Option<(usize, Arc<Manifest>)>,
}

impl<'a> ArrayReader<'a> {
    pub(crate) fn new(view: &'a View, node: &'a NodeSnapshot) -> Self {
        Self { view, node, last: None }
    }

    /// What stands at a chunk.
    ///
    /// # Errors
    /// As [`View::chunk`].
    pub(crate) async fn chunk(&mut self, chunk: &ChunkIndices) -> Result<Option<ChunkPayload>> {
        let Some((place, found)) = View::place(self.node, chunk) else { return Ok(None) };
        let manifest = match &self.last {
            Some((last, manifest)) if *last == place => Arc::clone(manifest),
            _ => {
                let manifest = self.view.manifest(self.node, &found.object_id).await?;
                self.last = Some((place, Arc::clone(&manifest)));
                manifest
            }
        };
        self.view.payload(self.node, chunk, &manifest)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn no_room_is_made_for_what_a_snapshot_only_claims() {
        let url = SourceUrl::parse("s3://archive").unwrap();
        let id = ManifestId::random();
        let file = |size_bytes| ManifestFileInfo { id: id.clone(), size_bytes, num_chunk_refs: 1 };
        assert_eq!(bounded(&id, None, &url).unwrap(), 0);
        assert_eq!(bounded(&id, Some(&file(LARGEST)), &url).unwrap(), LARGEST);
        let told = bounded(&id, Some(&file(u64::MAX)), &url).unwrap_err().to_string();
        assert!(told.contains(&format!("its manifest {id} has {} bytes", u64::MAX)), "{told}");
    }
}
