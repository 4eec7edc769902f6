//! Small stores for the tests of this module: real repositories on disk, made in milliseconds.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use bytes::Bytes;
use icechunk::format::SnapshotId;
use icechunk::format::format_constants::SpecVersionBin;
use icechunk::{Repository, Store as ZarrStore};
use s2ice_manifest::source::location::{SourceOptions, SourceUrl};
use serde_json::json;
use tokio::sync::RwLock;

use crate::commit::Spec;
use crate::plan::LAYOUT_VERSION;
use crate::target::Target;

/// A store in a folder of its own.
pub(super) struct Store {
    pub(super) folder: tempfile::TempDir,
    pub(super) target: Target,
    pub(super) repository: Repository,
}

impl Store {
    /// As [`Store::new`], but in memory, where writes are conditional as on an object store; the folder stays empty.
    pub(super) async fn in_memory() -> Self {
        let storage = icechunk::new_in_memory_storage().await.unwrap();
        let repository = Repository::create(storage).execute().await.unwrap();
        Self { repository, ..Self::new(Spec::V2).await }
    }

    /// A repository without a state.
    pub(super) async fn new(spec: Spec) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = SourceUrl::parse(folder.path().join("33TVN").to_str().unwrap()).unwrap();
        let target = Target::open(url, SourceOptions::default()).await.unwrap();
        let spec = if spec == Spec::V1 { SpecVersionBin::V1 } else { SpecVersionBin::V2 };
        let repository = Repository::create(target.storage()).spec_version(spec).execute().await.unwrap();
        Self { folder, target, repository }
    }

    /// Commits a state with this many time steps to `main`.
    pub(super) async fn commit(&self, steps: usize) -> SnapshotId {
        self.commit_to("main", steps).await
    }

    /// Commits a state to a branch.
    pub(super) async fn commit_to(&self, branch: &str, steps: usize) -> SnapshotId {
        let stamp = json!({
            "layout": LAYOUT_VERSION, "writer": "s2ice test", "tile": "33TVN", "level": "L2A", "codec": "c",
            "install": "i", "sources": {}, "headers": "verified", "metadata": "product",
        });
        self.commit_stamped(branch, steps, Some(stamp)).await
    }

    /// Commits a state whose root says `stamp`.
    pub(super) async fn commit_stamped(
        &self,
        branch: &str,
        steps: usize,
        stamp: Option<serde_json::Value>,
    ) -> SnapshotId {
        let session = self.repository.writable_session(branch).await.unwrap();
        let shared = Arc::new(RwLock::new(session));
        let store = ZarrStore::from_session(Arc::clone(&shared)).await;
        let mut root = json!({"zarr_format": 3, "node_type": "group", "attributes": {}});
        if let Some(stamp) = stamp {
            root["attributes"]["s2ice"] = stamp;
        }
        let time = json!({
            "zarr_format": 3, "node_type": "array", "shape": [steps], "data_type": "int64", "fill_value": 0,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}], "dimension_names": ["time"],
        });
        let set = async |key: &str, bytes: Vec<u8>| store.set(key, Bytes::from(bytes)).await.unwrap();
        set("zarr.json", root.to_string().into_bytes()).await;
        set("time/zarr.json", time.to_string().into_bytes()).await;
        // Large enough not to stand inside the manifest.
        set(&format!("time/c/{}", steps - 1), vec![u8::try_from(steps).unwrap(); 4096]).await;
        drop(store);
        let mut session = Arc::into_inner(shared).expect("the store is dropped").into_inner();
        session.commit(format!("{steps} steps")).execute().await.unwrap()
    }
}
