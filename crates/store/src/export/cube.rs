//! A state of a store, opened to be read raster by raster.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use chrono::DateTime;
use icechunk::format::ChunkIndices;
use icechunk::virtual_chunks::VirtualChunkContainer;
use s2ice_manifest::assemble::Step;
use s2ice_manifest::raster::Asset;
use s2ice_manifest::source::location::SourceUrl;
use s2ice_manifest::stac::Interval;

use crate::error::{Error, Result, icechunk_error};
use crate::held::{HeldReference, HeldStore};
use crate::repository::{Opened, own_stamp, resolve};
use crate::state::{self, HeldArray, StoreState, TreeState};
use crate::target::Target;
use crate::tile::Wanted;
use crate::view::View;

/// Which part of a store.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Arrays, by globs of their paths; all where there is none.
    pub arrays: Vec<String>,
    /// Times of sensing, both ends included.
    pub datetime: Option<Interval>,
}

impl Selection {
    /// True for a time step of the selection.
    pub(super) fn admits(&self, step: &Step) -> bool {
        let sensed = DateTime::from_timestamp_micros(step.metadata.sensing_time_us);
        self.datetime.is_none_or(|interval| sensed.is_some_and(|sensed| interval.contains(sensed)))
    }
}

/// A state of a store.
pub struct Cube {
    /// Address of the store.
    pub url: String,
    /// Its snapshot.
    pub snapshot: String,
    /// What the state holds.
    pub state: Arc<StoreState>,
    held: HeldStore,
    containers: Vec<VirtualChunkContainer>,
}

/// A raster of a store: an array at a time step at which it has data.
#[derive(Clone, Copy)]
pub struct Raster<'a> {
    /// The tree in which it stands.
    pub tree: &'a TreeState,
    /// What it is.
    pub asset: Asset,
    /// Its array.
    pub array: &'a HeldArray,
    /// Its place on the time axis.
    pub index: usize,
    /// Its product.
    pub step: &'a Step,
}

impl Cube {
    /// Opens the state that a tag (`published/` may be left out), branch or snapshot id names; without one that of `main`.
    ///
    /// # Errors
    /// There is no store or no such state, it is not ours or of another layout, or reading failed.
    pub async fn open(target: &Target, at: Option<&str>) -> Result<Self> {
        let url = target.url();
        let opened = Opened::open(target).await?.ok_or_else(|| Error::NoStore { url: url.to_string() })?;
        let Opened { repository, head: _, mut view } = opened;
        if let Some(at) = at {
            let failed = |error| icechunk_error("reading tags and branches", url, &error);
            let version = resolve(&repository, at, &url.to_string()).await?;
            let id = repository.resolve_version(&version).await.map_err(failed)?;
            view = View::open(Arc::clone(repository.asset_manager()), &id, url).await?;
        }
        let stamp = own_stamp(&view, url)?;
        let state = Arc::new(state::load(&view, url, *stamp).await?);
        let containers = repository.config().virtual_chunk_containers().cloned().collect();
        let held = HeldStore::open(target, &repository, Arc::clone(&state)).await?;
        Ok(Self { url: url.to_string(), snapshot: view.snapshot.id().to_string(), state, held, containers })
    }

    /// The rasters of a selection, by tree, array and time.
    ///
    /// # Errors
    /// [`Error::Request`] where a glob is none, or no array of the level can match it.
    pub fn rasters(&self, selection: &Selection) -> Result<Vec<Raster<'_>>> {
        let wanted = self.wanted(selection)?;
        let mut rasters = Vec::new();
        for tree in self.state.trees.values() {
            let mut arrays: Vec<_> = tree.arrays.iter().filter(|(asset, _)| wanted.admits(**asset)).collect();
            arrays.sort_by(|(_, a), (_, b)| a.path.cmp(&b.path));
            for (asset, array) in arrays {
                let there = tree.steps.iter().enumerate();
                let there =
                    there.filter(|(index, step)| array.present.get(*index) == Some(&true) && selection.admits(step));
                rasters.extend(there.map(|(index, step)| Raster { tree, asset: *asset, array, index, step }));
            }
        }
        Ok(rasters)
    }

    /// As [`Cube::rasters`], at least one.
    ///
    /// # Errors
    /// As [`Cube::rasters`]; [`Error::Request`] where nothing is chosen.
    pub(super) fn some_rasters(&self, selection: &Selection) -> Result<Vec<Raster<'_>>> {
        let rasters = self.rasters(selection)?;
        if rasters.is_empty() { Err(self.nothing()) } else { Ok(rasters) }
    }

    /// Nothing of the store is chosen.
    pub(super) fn nothing(&self) -> Error {
        let times = self.state.trees.values().flat_map(|tree| &tree.steps).map(|step| step.metadata.sensing_time_us);
        let times: BTreeSet<i64> = times.collect();
        let day = |time: Option<&i64>| {
            let time = time.and_then(|time| DateTime::from_timestamp_micros(*time));
            time.map_or_else(|| "nothing".to_owned(), |time| time.format("%Y-%m-%d").to_string())
        };
        Error::Request(format!(
            "nothing of {} is chosen: it holds {} to {}; arrays and groups are told by `s2ice info {}`",
            self.url,
            day(times.first()),
            day(times.last()),
            self.url
        ))
    }

    /// The arrays of a selection.
    ///
    /// # Errors
    /// As [`Cube::rasters`].
    pub(super) fn wanted(&self, selection: &Selection) -> Result<Wanted> {
        let level = self.state.stamp.level.parse();
        let level =
            level.map_err(|error| Error::Damaged { url: self.url.clone(), detail: format!("its level: {error}") })?;
        Wanted::new(&selection.arrays, level)
    }

    /// A chunk that is in the store itself, by the path of its array without slashes at its ends.
    ///
    /// # Errors
    /// [`Error::Icechunk`].
    pub(super) async fn bytes(&self, path: &str, chunk: Vec<u32>) -> Result<Option<Bytes>> {
        self.held.bytes(path, &ChunkIndices(chunk)).await
    }

    /// The references of a raster, in raster order.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Icechunk`].
    pub async fn references(&self, raster: &Raster<'_>) -> Result<Vec<HeldReference>> {
        self.held.references(raster.array, raster.index).await
    }

    /// The address that a reference points to as the store has it: its container's prefix as it is, the rest percent-encoded.
    pub fn address(&self, reference: &HeldReference) -> String {
        self.held.address(&reference.reference)
    }

    /// The places that its references lead to.
    pub fn containers(&self) -> &[VirtualChunkContainer] {
        &self.containers
    }

    /// The container behind a reference; `None` where the store has none for it.
    pub fn container_of(&self, reference: &HeldReference) -> Option<&VirtualChunkContainer> {
        let address = self.address(reference);
        let address = SourceUrl::decoded_path(&address).unwrap_or(address);
        self.containers.iter().find(|container| address.starts_with(container.url_prefix()))
    }
}
