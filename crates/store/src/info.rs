//! What is in a store, from its metadata and manifests alone: no chunk of the source is read.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::TryStreamExt;
use icechunk::format::SnapshotId;
use icechunk::format::format_constants::SpecVersionBin;
use icechunk::format::snapshot::SnapshotProperties;
use icechunk::repository::VersionInfo;
use icechunk::virtual_chunks::VirtualChunkContainer;
use icechunk::{ObjectStoreConfig, Repository};
use s2ice_manifest::era::Era;
use s2ice_manifest::source::location::SourceUrl;
use serde_json::Value;

use crate::error::{Error, Result, icechunk_error};
use crate::housekeeping::{Published, of_info, published, published_at, tags};
use crate::layout::{geometry, overview, place};
use crate::plan::EraStamp;
use crate::report::{
    AngleReport, Commit, Container, InfoArray, InfoEra, InfoReport, REPORT_VERSION, Times, rfc3339_ms,
};
use crate::repository::{Head, Opened, own_stamp};
use crate::state::{self, HeldArray, StoreState, TreeState};
use crate::target::Target;
use crate::view::View;

/// A store as it stands.
pub(crate) struct Standing {
    repository: Repository,
    head: Head,
    view: View,
    /// The state of branch `main`.
    pub(crate) state: StoreState,
}

impl Standing {
    /// Reads the state of branch `main`.
    ///
    /// # Errors
    /// There is no store, or it is not one of ours, or it is of another layout, or reading failed.
    pub(crate) async fn read(target: &Target) -> Result<Self> {
        let url = target.url();
        let opened = Opened::open(target).await?.ok_or_else(|| Error::NoStore { url: url.to_string() })?;
        let Opened { repository, head, view } = opened;
        let stamp = own_stamp(&view, url)?;
        let state = state::load(&view, url, *stamp).await?;
        Ok(Self { repository, head, view, state })
    }

    /// The states that were published, oldest first.
    ///
    /// # Errors
    /// Its tags cannot be read.
    pub(crate) async fn published(&self, url: &SourceUrl) -> Result<Vec<Published>> {
        match &self.head.info {
            Some(info) => of_info(info).map_err(|error| icechunk_error("reading tags", url, &error)),
            None => published(&self.repository, url).await,
        }
    }

    /// Those of its published states that `main` leads to: the present one, and those before it. A state that was rolled back
    /// is none of them.
    ///
    /// # Errors
    /// Its history cannot be read.
    pub(crate) async fn lineage(&self, url: &SourceUrl, states: &[Published]) -> Result<HashSet<SnapshotId>> {
        let failed = |error| icechunk_error("reading the history", url, &error);
        let main = VersionInfo::SnapshotId(self.head.main.clone());
        let mut history = std::pin::pin!(self.repository.ancestry(&main).await.map_err(failed)?);
        let mut left: HashSet<SnapshotId> = states.iter().map(|state| state.snapshot.clone()).collect();
        let mut found = HashSet::new();
        while !left.is_empty()
            && let Some(snapshot) = history.try_next().await.map_err(failed)?
        {
            found.extend(left.take(&snapshot.id));
        }
        // History that was cut short says nothing of what lies before the cut.
        let older = states.iter().take_while(|state| !found.contains(&state.snapshot));
        let older: Vec<SnapshotId> = older.map(|state| state.snapshot.clone()).collect();
        found.extend(older);
        Ok(found)
    }

    /// What the commit of a snapshot says; nothing in Icechunk's first format, which would have to read it.
    pub(crate) fn properties(&self, snapshot: &SnapshotId) -> Option<SnapshotProperties> {
        self.head.info.as_ref()?.find_snapshot(snapshot).ok().map(|found| found.metadata)
    }

    /// The containers behind its references.
    pub(crate) fn containers(&self) -> Vec<VirtualChunkContainer> {
        self.repository.config().virtual_chunk_containers().cloned().collect()
    }
}

/// Tells what is in the store at a place.
///
/// # Errors
/// There is no store, or it is not one of ours, or it is of another layout, or reading failed.
pub async fn info(target: &Target) -> Result<InfoReport> {
    report(&Standing::read(target).await?, target.url()).await
}

/// Tells what is in a store.
///
/// # Errors
/// Its branches and tags cannot be read.
pub(crate) async fn report(standing: &Standing, url: &SourceUrl) -> Result<InfoReport> {
    let Standing { repository, head, view, state } = standing;
    let failed = |error: &(dyn std::error::Error + 'static)| icechunk_error("reading the store", url, error);
    let arrays = arrays(state);
    let stamp = &state.stamp;
    let containers = repository.config().virtual_chunk_containers().map(|container| Container {
        name: container.name().unwrap_or_default().to_owned(),
        url: container.url_prefix().to_owned(),
        endpoint: match &container.store {
            ObjectStoreConfig::S3(s3) | ObjectStoreConfig::S3Compatible(s3) => s3.endpoint_url.clone(),
            _ => None,
        },
    });
    let (branches, mut tags): (Vec<String>, Vec<(String, SnapshotId)>) = match &head.info {
        Some(info) => {
            let branches = info.branch_names().map_err(|e| failed(&e))?.map(str::to_owned).collect();
            let tags = info.tags().map_err(|e| failed(&e))?;
            (branches, tags.map(|(name, snapshot)| (name.to_owned(), snapshot)).collect())
        }
        None => {
            let branches = repository.list_branches().await.map_err(|e| failed(&e))?;
            (branches.into_iter().collect(), tags(repository, url, |_| true).await?)
        }
    };
    tags.sort();
    let published = tags.iter().filter(|(_, snapshot)| *snapshot == state.snapshot);
    let published = published.filter_map(|(name, _)| Some((published_at(name)?, name))).max();
    Ok(InfoReport {
        published: published.map(|(_, name)| name.clone()),
        kind: "s2ice.info".to_owned(),
        version: REPORT_VERSION,
        store: url.to_string(),
        tile: stamp.tile.clone(),
        level: stamp.level.clone(),
        layout: stamp.layout,
        writer: stamp.writer.clone(),
        eras: eras(state),
        products: state.trees.values().flat_map(|tree| &tree.steps).map(|step| step.id).collect::<BTreeSet<_>>().len(),
        headers: stamp.headers.clone(),
        metadata: stamp.metadata.clone(),
        spec: if repository.spec_version() >= SpecVersionBin::V2 { 2 } else { 1 },
        times: state.tree(None).map(times).unwrap_or_default(),
        references: arrays.iter().map(|a| a.references).sum(),
        referenced_bytes: state.trees.values().flat_map(|t| &t.facts).map(|f| f.bytes).fold(0, u64::saturating_add),
        manifest_bytes: view.manifest_bytes(),
        angles: angles(state),
        arrays,
        containers: containers.collect(),
        last_commit: Commit {
            snapshot: state.snapshot.to_string(),
            time: state.flushed_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            run: view
                .snapshot
                .metadata()
                .ok()
                .and_then(|metadata| Some(metadata.get("s2ice:run")?.as_str()?.to_owned())),
            message: view.snapshot.message(),
        },
        branches,
        tags: tags.into_iter().map(|(name, _)| name).collect(),
    })
}

/// The data arrays of all trees and their overviews, by path.
fn arrays(state: &StoreState) -> Vec<InfoArray> {
    let arrays = state.trees.values().flat_map(|tree| tree.arrays.values());
    let reduces = || state.stamp.overviews.with_whole();
    let described = |array| reduces().filter_map(move |reduce| described(state, array, reduce));
    let mut arrays: Vec<InfoArray> = arrays.flat_map(described).collect();
    arrays.sort_by(|a, b| a.path.cmp(&b.path));
    arrays
}

fn angles(state: &StoreState) -> Vec<AngleReport> {
    let angles = state.trees.values().flat_map(|tree| tree.angles.iter().map(move |(array, has)| (tree, *array, has)));
    let of = |(tree, array, has): (&TreeState, _, &Vec<bool>)| {
        let path = format!("/{}", place::within(tree.era.as_ref(), &geometry::path(array)));
        AngleReport::new(path, array, tree.steps.len(), has.iter().filter(|has| **has).count())
    };
    angles.map(of).collect()
}

fn eras(state: &StoreState) -> BTreeMap<Era, InfoEra> {
    let of = |(era, stamp): (&Era, &EraStamp)| {
        let times = times(state.tree(Some(era))?);
        Some((era.clone(), InfoEra { differs: stamp.differs.clone(), times }))
    };
    state.stamp.eras.iter().filter_map(of).collect()
}

fn times(tree: &TreeState) -> Times {
    Times {
        count: tree.steps.len(),
        first: tree.steps.first().map(|step| rfc3339_ms(step.time_ms)),
        last: tree.steps.last().map(|step| rfc3339_ms(step.time_ms)),
    }
}

/// An array or, where so many resolutions are left out, its overview; `None` where it has none.
fn described(state: &StoreState, array: &HeldArray, reduce: u8) -> Option<InfoArray> {
    let path = overview::path(&array.path, reduce);
    let document = state.documents.get(path.trim_start_matches('/'))?;
    let numbers = |pointer: &str| -> Vec<u64> {
        let list = document.pointer(pointer).and_then(Value::as_array);
        list.map(|list| list.iter().filter_map(Value::as_u64).collect()).unwrap_or_default()
    };
    Some(InfoArray {
        data_type: document.get("data_type").and_then(Value::as_str).unwrap_or_default().to_owned(),
        shape: numbers("/shape"),
        chunks: numbers("/chunk_grid/configuration/chunk_shape"),
        references: array.references,
        present: array.present.iter().filter(|present| **present).count(),
        header: array.trust.name().to_owned(),
        path,
    })
}
