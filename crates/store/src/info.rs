//! What is in a store, from its metadata and manifests alone: no chunk of the source is read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use icechunk::format::Path;
use icechunk::format::format_constants::SpecVersionBin;
use icechunk::format::snapshot::{NodeData, NodeSnapshot};
use icechunk::repository::VersionInfo;
use icechunk::{ObjectStoreConfig, Repository, Store};
use serde_json::Value;
use tokio::sync::RwLock;

use crate::error::{Error, Result, icechunk_error};
use crate::layout::document::{TIME_CHUNK, decode_i64, decode_u32};
use crate::plan::{LAYOUT_VERSION, STAMP};
use crate::report::{Commit, Container, InfoArray, InfoReport, REPORT_VERSION, Times, rfc3339_ms};
use crate::repository::{Found, read_stamp};
use crate::target::Target;

/// Reads the state of branch `main`.
///
/// # Errors
/// There is no store, or it is not one of ours, or it is of a newer layout, or reading failed.
pub async fn info(target: &Target) -> Result<InfoReport> {
    let url = target.url();
    let failed = |error: &(dyn std::error::Error + 'static)| icechunk_error("reading the store", url, error);
    target.probe().await?;
    if !Repository::exists(target.storage(), None).await.map_err(|e| failed(&e))? {
        return Err(Error::NoStore { url: url.to_string() });
    }
    let repository = Repository::open(target.storage()).execute().await.map_err(|e| failed(&e))?;
    let stamp = match read_stamp(&repository, url).await? {
        Found::Stamp(stamp) => stamp,
        Found::Empty => return Err(Error::NoStore { url: url.to_string() }),
        Found::Foreign => return Err(Error::Foreign { url: url.to_string() }),
    };
    if stamp.layout > LAYOUT_VERSION {
        let (writer, found) = (stamp.writer, stamp.layout);
        return Err(Error::Newer { url: url.to_string(), writer, found, known: LAYOUT_VERSION });
    }
    let version = VersionInfo::BranchTipRef("main".to_owned());
    let session = repository.readonly_session(&version).await.map_err(|e| failed(&e))?;
    let snapshot = session.snapshot_id().clone();
    let commit = repository.lookup_snapshot(&snapshot).await.map_err(|e| failed(&e))?;
    let manifests: HashMap<_, _> = repository
        .lookup_manifest_files(&snapshot)
        .await
        .map_err(|e| failed(&e))?
        .map(|file| (file.id.clone(), file))
        .collect();
    let nodes: Vec<NodeSnapshot> = session
        .list_nodes(&Path::root())
        .await
        .map_err(|e| failed(&e))?
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| failed(&e))?;
    let store = Store::from_session(Arc::new(RwLock::new(session))).await;
    let reader = Reader { store, url: url.to_string() };

    let time_steps =
        nodes.iter().find(|node| node.path.to_string() == "/time").map_or(0, |node| length(&node.node_data));
    let times = reader.times(time_steps).await?;
    let mut present: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    let mut arrays = Vec::new();
    for node in &nodes {
        let NodeData::Array { manifests: refs, .. } = &node.node_data else { continue };
        let document = reader.document(node)?;
        let Some(ours) = document.pointer("/attributes").and_then(|a| a.get(STAMP)) else { continue };
        let path = node.path.to_string();
        let (group, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if !present.contains_key(group) {
            present.insert(group.to_owned(), reader.present(group, time_steps).await?);
        }
        let numbers = |pointer: &str| -> Vec<u64> {
            let list = document.pointer(pointer).and_then(Value::as_array);
            list.map(|list| list.iter().filter_map(Value::as_u64).collect()).unwrap_or_default()
        };
        arrays.push(InfoArray {
            data_type: document.get("data_type").and_then(Value::as_str).unwrap_or_default().to_owned(),
            shape: numbers("/shape"),
            chunks: numbers("/chunk_grid/configuration/chunk_shape"),
            references: refs
                .iter()
                .filter_map(|r| manifests.get(&r.object_id))
                .map(|m| u64::from(m.num_chunk_refs))
                .sum(),
            present: present.get(group).and_then(|flags| flags.get(name)).copied().unwrap_or_default(),
            header: ours.get("header").and_then(Value::as_str).unwrap_or_default().to_owned(),
            path,
        });
    }
    arrays.sort_by(|a, b| a.path.cmp(&b.path));
    let containers = repository.config().virtual_chunk_containers().map(|container| Container {
        name: container.name().unwrap_or_default().to_owned(),
        url: container.url_prefix().to_owned(),
        endpoint: match &container.store {
            ObjectStoreConfig::S3(s3) | ObjectStoreConfig::S3Compatible(s3) => s3.endpoint_url.clone(),
            _ => None,
        },
    });
    let branches = repository.list_branches().await.map_err(|e| failed(&e))?;
    let tags = repository.list_tags().await.map_err(|e| failed(&e))?;
    Ok(InfoReport {
        kind: "s2ice.info".to_owned(),
        version: REPORT_VERSION,
        store: url.to_string(),
        tile: stamp.tile,
        level: stamp.level,
        layout: stamp.layout,
        writer: stamp.writer,
        headers: stamp.headers,
        metadata: stamp.metadata,
        spec: if repository.spec_version() >= SpecVersionBin::V2 { 2 } else { 1 },
        times,
        references: arrays.iter().map(|a| a.references).sum(),
        referenced_bytes: commit.metadata.get("s2ice:referenced_bytes").and_then(Value::as_u64),
        manifest_bytes: manifests.values().map(|m| m.size_bytes).sum(),
        arrays,
        containers: containers.collect(),
        last_commit: Commit {
            snapshot: commit.id.to_string(),
            time: commit.flushed_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            message: commit.message,
        },
        branches: branches.into_iter().collect(),
        tags: tags.into_iter().collect(),
    })
}

fn length(data: &NodeData) -> usize {
    match data {
        NodeData::Array { shape, .. } => {
            shape.iter().next().and_then(|d| usize::try_from(d.array_length()).ok()).unwrap_or_default()
        }
        NodeData::Group => 0,
    }
}

struct Reader {
    store: Store,
    url: String,
}

impl Reader {
    fn damaged(&self, detail: impl ToString) -> Error {
        Error::Damaged { url: self.url.clone(), detail: detail.to_string() }
    }

    fn document(&self, node: &NodeSnapshot) -> Result<Value> {
        serde_json::from_slice(&node.user_data).map_err(|e| self.damaged(format!("{}: {e}", node.path)))
    }

    async fn get(&self, key: &str) -> Result<bytes::Bytes> {
        let all = icechunk::format::ByteRange::ALL;
        self.store.get(key, &all).await.map_err(|e| self.damaged(format!("{key}: {}", crate::error::one_line(&e))))
    }

    async fn times(&self, steps: usize) -> Result<Times> {
        if steps == 0 {
            return Ok(Times::default());
        }
        let at = |step: usize| async move {
            let chunk = self.get(&format!("time/c/{}", step / TIME_CHUNK)).await?;
            let values = decode_i64(&chunk).map_err(|e| self.damaged(format!("time: {e}")))?;
            Ok::<_, Error>(values.get(step % TIME_CHUNK).copied().map(rfc3339_ms))
        };
        Ok(Times { count: steps, first: at(0).await?, last: at(steps - 1).await? })
    }

    /// For each array of a leaf: at how many time steps it has data.
    async fn present(&self, group: &str, steps: usize) -> Result<BTreeMap<String, usize>> {
        let base = group.trim_start_matches('/');
        let document: Value = serde_json::from_slice(&self.get(&format!("{base}/present/zarr.json")).await?)
            .map_err(|e| self.damaged(format!("{group}/present: {e}")))?;
        let attribute = |name: &str| document.get("attributes").and_then(|a| a.get(name));
        let names = attribute("flag_meanings").and_then(Value::as_str).unwrap_or_default();
        let masks = attribute("flag_masks").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut flags = Vec::new();
        for chunk in 0..steps.div_ceil(TIME_CHUNK) {
            let bytes = self.get(&format!("{base}/present/c/{chunk}")).await?;
            flags.extend(decode_u32(&bytes).map_err(|e| self.damaged(format!("{group}/present: {e}")))?);
        }
        flags.truncate(steps);
        Ok(names
            .split_whitespace()
            .zip(masks)
            .map(|(name, mask)| {
                let mask = mask.as_u64().unwrap_or_default();
                (name.to_owned(), flags.iter().filter(|f| u64::from(**f) & mask != 0).count())
            })
            .collect())
    }
}
