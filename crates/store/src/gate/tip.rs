//! The tip of a run's branch as a reader sees it: opened anew, nothing taken from the writer's caches.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use icechunk::Repository;
use icechunk::format::manifest::{ChunkPayload, ChunkRef, Manifest};
use icechunk::format::snapshot::{ManifestFileInfo, NodeData, NodeSnapshot};
use icechunk::format::{ChunkIndices, IcechunkFormatErrorKind, ManifestId, Path, SnapshotId};
use icechunk::repository::VersionInfo;
use icechunk::session::{Session, find_coord};
use s2ice_manifest::source::location::SourceUrl;

use crate::error::{Result, icechunk_error};
use crate::window::Windows;

/// The tip and its metadata.
pub(super) struct Tip {
    repository: Repository,
    pub(super) session: Session,
    /// By path without leading or trailing slash.
    pub(super) nodes: BTreeMap<String, NodeSnapshot>,
    manifests: HashMap<ManifestId, ManifestFileInfo>,
    url: SourceUrl,
}

impl Tip {
    /// Opens a snapshot.
    ///
    /// # Errors
    /// [`crate::Error::Icechunk`].
    pub(super) async fn open(windows: &Windows, tip: &SnapshotId) -> Result<Self> {
        let url = windows.url.clone();
        let failed =
            |error: &(dyn std::error::Error + 'static)| icechunk_error("reading what was written", &url, error);
        let config = windows.repository.config().clone();
        let storage = Arc::clone(windows.repository.storage());
        let repository = Repository::open(storage).config(config).execute().await.map_err(|e| failed(&e))?;
        let version = VersionInfo::SnapshotId(tip.clone());
        let session = repository.readonly_session(&version).await.map_err(|e| failed(&e))?;
        let nodes = session.list_nodes(&Path::root()).await.map_err(|e| failed(&e))?;
        let nodes = nodes
            .map(|node| node.map(|node| (node.path.to_string().trim_matches('/').to_owned(), node)))
            .collect::<std::result::Result<_, _>>()
            .map_err(|e| failed(&e))?;
        let manifests = repository.lookup_manifest_files(tip).await.map_err(|e| failed(&e))?;
        let manifests = manifests.map(|file| (file.id.clone(), file)).collect();
        Ok(Self { repository, session, nodes, manifests, url })
    }

    /// The bytes of a chunk that lies in the store; `None` for a reference.
    ///
    /// # Errors
    /// [`crate::Error::Icechunk`] where its object cannot be read.
    pub(super) async fn bytes(
        &self,
        node: &NodeSnapshot,
        chunk: &ChunkIndices,
        payload: ChunkPayload,
    ) -> Result<Option<Bytes>> {
        match payload {
            ChunkPayload::Inline(bytes) => Ok(Some(bytes)),
            ChunkPayload::Ref(ChunkRef { id, offset, length }) => {
                let array = node.path.to_string();
                let range = offset..offset.saturating_add(length);
                let fetched = self.repository.asset_manager().fetch_chunk(&array, &chunk.0, &id, &range).await;
                fetched.map(Some).map_err(|error| icechunk_error("reading what was written", &self.url, &error))
            }
            _ => Ok(None),
        }
    }

    /// References in the manifests of an array.
    pub(super) fn references(&self, node: &NodeSnapshot) -> u64 {
        let NodeData::Array { manifests, .. } = &node.node_data else { return 0 };
        let files = manifests.iter().filter_map(|manifest| self.manifests.get(&manifest.object_id));
        files.map(|file| u64::from(file.num_chunk_refs)).sum()
    }
}

/// Reads the references of one array; each manifest once, as long as chunks are asked for in their order.
pub(super) struct ArrayReader<'a> {
    tip: &'a Tip,
    node: &'a NodeSnapshot,
    /// The manifest that was read last, and its place in the array's list.
    last: Option<(usize, Arc<Manifest>)>,
}

impl<'a> ArrayReader<'a> {
    pub(super) fn new(tip: &'a Tip, node: &'a NodeSnapshot) -> Self {
        Self { tip, node, last: None }
    }

    /// What stands at a chunk.
    ///
    /// # Errors
    /// [`crate::Error::Icechunk`] where its manifest cannot be read.
    pub(super) async fn chunk(&mut self, chunk: &ChunkIndices) -> Result<Option<ChunkPayload>> {
        let NodeData::Array { shape, manifests, .. } = &self.node.node_data else { return Ok(None) };
        if !shape.valid_chunk_coord(chunk) {
            return Ok(None);
        }
        let Some((place, _)) = find_coord(manifests.iter().map(|m| &m.extents), chunk) else { return Ok(None) };
        let manifest = match &self.last {
            Some((last, manifest)) if *last == place => Arc::clone(manifest),
            _ => {
                let manifest = self.fetch(&manifests[place].object_id).await?;
                self.last = Some((place, Arc::clone(&manifest)));
                manifest
            }
        };
        match manifest.get_chunk_payload(&self.node.id, chunk) {
            Ok(payload) => Ok(Some(payload)),
            Err(error) if matches!(error.kind, IcechunkFormatErrorKind::ChunkCoordinatesNotFound { .. }) => Ok(None),
            Err(error) => Err(icechunk_error("reading what was written", &self.tip.url, &error)),
        }
    }

    async fn fetch(&self, id: &ManifestId) -> Result<Arc<Manifest>> {
        let size = self.tip.manifests.get(id).map_or(0, |file| file.size_bytes);
        let array = self.node.path.to_string();
        let fetched = self.tip.repository.asset_manager().fetch_manifest(&array, id, size).await;
        fetched.map_err(|error| icechunk_error("reading what was written", &self.tip.url, &error))
    }
}
