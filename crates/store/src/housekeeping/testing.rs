//! Small stores for the tests of this module: real repositories on disk, made in milliseconds.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use chrono::Utc;
use icechunk::format::format_constants::SpecVersionBin;
use icechunk::format::{ByteRange, Path, SnapshotId};
use icechunk::repository::VersionInfo;
use icechunk::session::Session;
use icechunk::{Repository, Store as ZarrStore};
use s2ice_manifest::source::location::{SourceOptions, SourceUrl};
use serde_json::json;
use tokio::sync::RwLock;

use crate::housekeeping::tag_published;
use crate::options::Spec;
use crate::plan::LAYOUT_VERSION;
use crate::target::Target;

const CHUNK: &str = "products/time/c/0";

/// A store in a folder of its own.
pub(crate) struct Store {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) target: Target,
    pub(crate) repository: Repository,
}

impl Store {
    /// As [`Store::new`], but in memory, where writes are conditional as on an object store; the folder stays empty.
    pub(crate) async fn in_memory() -> Self {
        let storage = icechunk::new_in_memory_storage().await.unwrap();
        let repository = Repository::create(storage).execute().await.unwrap();
        Self { repository, ..Self::new(Spec::V2).await }
    }

    /// A repository without a state.
    pub(crate) async fn new(spec: Spec) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = SourceUrl::parse(folder.path().join("33TVN").to_str().unwrap()).unwrap();
        let target = Target::open(url, SourceOptions::default()).await.unwrap();
        let spec = if spec == Spec::V1 { SpecVersionBin::V1 } else { SpecVersionBin::V2 };
        let repository = Repository::create(target.storage()).spec_version(spec).execute().await.unwrap();
        Self { folder, target, repository }
    }

    /// Publishes states of 1, 2, ... time steps.
    pub(crate) async fn publish(&self, states: usize) -> Vec<(String, SnapshotId)> {
        let mut tags = Vec::new();
        for steps in 1..=states {
            let snapshot = self.commit(steps).await;
            let tag = tag_published(&self.repository, self.target.url(), &snapshot, Utc::now()).await.unwrap();
            tags.push((tag, snapshot));
        }
        tags
    }

    pub(crate) async fn main(&self) -> SnapshotId {
        self.repository.lookup_branch("main").await.unwrap()
    }

    /// Size and time of the files of a folder of the repository, by name; of all files without one.
    pub(crate) fn files(&self, folder: &str) -> BTreeMap<PathBuf, (u64, SystemTime)> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.folder.path().join("33TVN").join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
                let data = entry.metadata().unwrap();
                if data.is_dir() {
                    folders.push(entry.path());
                } else {
                    found.insert(entry.path(), (data.len(), data.modified().unwrap()));
                }
            }
        }
        found
    }

    /// Makes all files older; what stands in them stays.
    pub(crate) fn age(&self, days: u64) {
        for (path, (_, time)) in self.files("") {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(time - std::time::Duration::from_secs(days * 86400)).unwrap();
        }
    }

    /// Opens the repository anew, as a reader with empty caches.
    pub(crate) async fn reader(&self) -> Repository {
        Repository::open(Arc::clone(self.repository.storage())).execute().await.unwrap()
    }

    /// Commits a state with this many time steps to `main`.
    pub(crate) async fn commit(&self, steps: usize) -> SnapshotId {
        self.commit_to("main", steps).await
    }

    /// Commits a state to a branch.
    pub(crate) async fn commit_to(&self, branch: &str, steps: usize) -> SnapshotId {
        self.commit_stamped(branch, steps, Some(stamp())).await
    }

    /// Commits a state whose root says `stamp`.
    pub(crate) async fn commit_stamped(
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
        set("products/time/zarr.json", time.to_string().into_bytes()).await;
        // Large enough to be an object of its own, and another in each state.
        set(CHUNK, vec![u8::try_from(steps).unwrap(); 4096]).await;
        drop(store);
        let mut session = Arc::into_inner(shared).expect("the store is dropped").into_inner();
        session.commit(format!("{steps} steps")).execute().await.unwrap()
    }
}

/// Opens a state, and reads nothing of it yet but its snapshot.
pub(crate) async fn open(reader: &Repository, snapshot: &SnapshotId) -> Session {
    let session = reader.readonly_session(&VersionInfo::SnapshotId(snapshot.clone())).await.unwrap();
    session.list_nodes(&Path::root()).await.unwrap().for_each(|node| drop(node.unwrap()));
    session
}

/// The number of time steps that the chunk of a state tells, or why it cannot be read.
pub(crate) async fn read(session: Session) -> Result<u8, String> {
    let store = ZarrStore::from_session(Arc::new(RwLock::new(session))).await;
    let bytes = store.get(CHUNK, &ByteRange::ALL).await.map_err(|error| error.to_string())?;
    Ok(bytes[0])
}

/// What the root of a store says.
pub(crate) fn stamp() -> serde_json::Value {
    json!({
        "layout": LAYOUT_VERSION, "writer": "s2ice test", "tile": "33TVN", "level": "L2A", "codec": "c",
        "install": "i", "sources": {}, "headers": "verified", "metadata": "product",
    })
}
