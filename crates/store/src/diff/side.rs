//! One state of a store, opened for a comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use icechunk::format::manifest::{ChunkInfo, ChunkPayload};
use icechunk::format::snapshot::{NodeData, NodeSnapshot};
use icechunk::format::{ByteRange, Path};
use icechunk::repository::VersionInfo;
use icechunk::session::Session;
use icechunk::{Repository, Store};
use serde_json::Value;
use tokio::sync::RwLock;

use super::column::Form;
use super::report::NodeKind;
use crate::error::{Error, Result, failure};
use crate::plan::{LAYOUT_VERSION, asset_of, root_stamp};

/// One state of a store.
pub(super) struct Side {
    /// Address, for messages.
    pub(super) name: String,
    session: Session,
    store: Store,
    /// Groups and arrays by path.
    pub(super) nodes: BTreeMap<String, Node>,
    /// Name and prefix of each virtual chunk container.
    pub(super) containers: Vec<(Option<String>, String)>,
    /// Whose store it is.
    pub(super) stamp: Identity,
    /// The time axis of each tree, by its path; none until [`Side::read_axes`].
    pub(super) axes: BTreeMap<String, Axis>,
}

/// The part of [`crate::plan::StoreStamp`] that decides whether two stores can be compared; every layout has it.
#[derive(serde::Deserialize)]
pub(super) struct Identity {
    layout: u64,
    writer: String,
    /// MGRS tile.
    pub(super) tile: String,
    /// Processing level.
    pub(super) level: String,
}

/// A group or array.
pub(super) struct Node {
    /// `zarr.json`.
    pub(super) document: Value,
    /// Icechunk's own record of it.
    pub(super) snapshot: NodeSnapshot,
}

impl Node {
    /// What it is. Only arrays with the stamp hold references.
    pub(super) fn kind(&self) -> NodeKind {
        match &self.snapshot.node_data {
            NodeData::Group => NodeKind::Group,
            NodeData::Array { .. } if asset_of(&self.document).is_some() => NodeKind::DataArray,
            NodeData::Array { .. } => NodeKind::Array,
        }
    }

    /// True where both arrays have the very same manifests, which are never written twice under one name.
    pub(super) fn same_manifests(&self, other: &Self) -> bool {
        match (&self.snapshot.node_data, &other.snapshot.node_data) {
            (NodeData::Array { manifests: ours, .. }, NodeData::Array { manifests: theirs, .. }) => ours == theirs,
            _ => false,
        }
    }
}

/// The products in the order of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Axis {
    /// Milliseconds since 1970-01-01.
    pub(super) times: Vec<i64>,
    /// Product names.
    pub(super) products: Vec<String>,
}

impl Side {
    /// Opens a state of a repository and reads its metadata, but no values.
    ///
    /// # Errors
    /// There is no such state, it is empty, not ours or of a newer layout, or reading failed.
    pub(super) async fn open(repository: &Repository, at: &VersionInfo, name: String) -> Result<Self> {
        let failed = |error: &(dyn std::error::Error + 'static)| failure("reading the store", &name, error);
        let session = repository.readonly_session(at).await.map_err(|e| failed(&e))?;
        let mut nodes = BTreeMap::new();
        for node in session.list_nodes(&Path::root()).await.map_err(|e| failed(&e))? {
            let snapshot = node.map_err(|e| failed(&e))?;
            let path = snapshot.path.to_string();
            let document = serde_json::from_slice(&snapshot.user_data)
                .map_err(|e| Error::Damaged { url: name.clone(), detail: format!("{path}: {e}") })?;
            nodes.insert(path, Node { document, snapshot });
        }
        if nodes.is_empty() {
            return Err(Error::NoStore { url: name });
        }
        let stamp = nodes.get("/").and_then(|root| root_stamp(&root.document));
        let Some(stamp) = stamp else { return Err(Error::Foreign { url: name }) };
        let stamp: Identity = serde_json::from_value(stamp.clone())
            .map_err(|e| Error::Damaged { url: name.clone(), detail: e.to_string() })?;
        if stamp.layout > LAYOUT_VERSION {
            let (writer, found) = (stamp.writer, stamp.layout);
            return Err(Error::Newer { url: name, writer, found, known: LAYOUT_VERSION });
        }
        let containers = repository.config().virtual_chunk_containers();
        let mut containers: Vec<_> =
            containers.map(|c| (c.name().map(str::to_owned), c.url_prefix().to_owned())).collect();
        containers.sort();
        let store = Store::from_session(Arc::new(RwLock::new(session.clone()))).await;
        Ok(Self { name, session, store, nodes, containers, stamp, axes: BTreeMap::new() })
    }

    /// Snapshot that was opened.
    pub(super) fn snapshot(&self) -> String {
        self.session.snapshot_id().to_string()
    }

    /// Reads the time axis of every tree.
    ///
    /// # Errors
    /// The columns `time` and `product_id` of a table of products are missing or damaged.
    pub(super) async fn read_axes(&mut self) -> Result<()> {
        let tables = self.nodes.keys().filter_map(|path| path.strip_suffix("/products"));
        let trees: BTreeSet<String> = tables.filter(|base| tree(base) == *base).map(str::to_owned).collect();
        for base in std::iter::once(String::new()).chain(trees) {
            let axis = self.read_axis(&base).await?;
            self.axes.insert(base, axis);
        }
        Ok(())
    }

    /// The time axis of the tree in which a node stands.
    pub(super) fn axis(&self, path: &str) -> &Axis {
        static NONE: Axis = Axis { times: Vec::new(), products: Vec::new() };
        self.axes.get(tree(path)).unwrap_or(&NONE)
    }

    async fn read_axis(&self, base: &str) -> Result<Axis> {
        let damaged = |what: &str| self.damaged(format!("{what} of {base}/products"));
        let times = self.whole_column(&format!("{base}/products/time")).await?;
        let times = times.iter().map(Value::as_i64).collect::<Option<_>>().ok_or_else(|| damaged("time"))?;
        let products = self.whole_column(&format!("{base}/products/product_id")).await?;
        let products = products.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<_>>();
        let axis = Axis { times, products: products.ok_or_else(|| damaged("product_id"))? };
        if axis.times.len() != axis.products.len() {
            return Err(damaged("the lengths of time and product_id"));
        }
        Ok(axis)
    }

    /// A column of which every chunk must be there.
    async fn whole_column(&self, path: &str) -> Result<Vec<Value>> {
        let missing = || self.damaged(format!("column {path} is missing or of a kind that is not known"));
        let node = self.nodes.get(path).ok_or_else(missing)?;
        let form = Form::of(&node.document).filter(|form| form.along_time).ok_or_else(missing)?;
        let length = node.document.pointer("/shape/0").and_then(Value::as_u64).ok_or_else(missing)?;
        let mut chunks = self.chunks(node).await?;
        chunks.sort_by(|a, b| a.coord.cmp(&b.coord));
        let mut values = Vec::new();
        for (index, chunk) in chunks.into_iter().enumerate() {
            if !chunk.coord.0.iter().eq(u32::try_from(index).iter()) {
                break;
            }
            let bytes = self.bytes(path, &chunk).await?;
            values.extend(form.values(&bytes).map_err(|e| self.damaged(format!("{path}: {e}")))?);
        }
        match usize::try_from(length) {
            Ok(length) if length <= values.len() => values.truncate(length),
            _ => return Err(self.damaged(format!("column {path} lacks chunks"))),
        }
        Ok(values)
    }

    /// Calls `see` for every chunk of an array that a reader can reach; their order is Icechunk's.
    ///
    /// # Errors
    /// A manifest cannot be read.
    pub(super) async fn each_chunk(&self, node: &Node, mut see: impl FnMut(ChunkInfo) + Send) -> Result<()> {
        let NodeData::Array { shape, .. } = &node.snapshot.node_data else { return Ok(()) };
        let permitted: Vec<u32> = shape.num_chunks().collect();
        let chunks = self.session.all_node_chunks(&node.snapshot).await;
        let mut chunks = std::pin::pin!(chunks);
        let failed = |error| failure("reading references", &self.name, &error);
        while let Some((_, chunk)) = chunks.try_next().await.map_err(failed)? {
            // A manifest may keep chunks beyond the end of an array that was shortened.
            if chunk.coord.0.len() == permitted.len() && chunk.coord.0.iter().zip(&permitted).all(|(i, n)| i < n) {
                see(chunk);
            }
        }
        Ok(())
    }

    /// Every chunk of a small array.
    ///
    /// # Errors
    /// A manifest cannot be read.
    pub(super) async fn chunks(&self, node: &Node) -> Result<Vec<ChunkInfo>> {
        let mut chunks = Vec::new();
        self.each_chunk(node, |chunk| chunks.push(chunk)).await?;
        Ok(chunks)
    }

    /// The bytes of a chunk that lies in the store.
    ///
    /// # Errors
    /// The chunk cannot be read.
    pub(super) async fn bytes(&self, path: &str, chunk: &ChunkInfo) -> Result<Bytes> {
        if let ChunkPayload::Inline(bytes) = &chunk.payload {
            return Ok(bytes.clone());
        }
        let mut key = format!("{}/c", path.trim_start_matches('/'));
        for index in &chunk.coord.0 {
            key.push_str(&format!("/{index}"));
        }
        let read = self.store.get(&key, &ByteRange::ALL).await;
        read.map_err(|error| failure("reading a chunk", &self.name, &error))
    }

    /// Data arrays of the store.
    pub(super) fn data_arrays(&self) -> usize {
        self.nodes.values().filter(|node| node.kind() == NodeKind::DataArray).count()
    }

    pub(super) fn damaged(&self, detail: String) -> Error {
        Error::Damaged { url: self.name.clone(), detail }
    }
}

/// The path of the tree in which a node stands: empty for the main one, `/eras/<name>` for that of an era.
pub(super) fn tree(path: &str) -> &str {
    let Some(rest) = path.strip_prefix("/eras/") else { return "" };
    let name = rest.find('/').unwrap_or(rest.len());
    &path[.."/eras/".len() + name]
}
