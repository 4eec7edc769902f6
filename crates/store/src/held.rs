//! References that a store holds already, read back to be moved, counted or taken away.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use icechunk::Repository;
use icechunk::format::ChunkIndices;
use icechunk::format::manifest::{ChunkPayload, VirtualChunkRef};
use s2ice_manifest::chunk::indices;
use s2ice_manifest::era::Era;
use s2ice_manifest::geometry::AngleArray;
use s2ice_manifest::manifest::HeldRaster;

use crate::angles;
use crate::error::{Error, Result};
use crate::layout::{geometry, place};
use crate::state::{HeldArray, StoreState};
use crate::target::Target;
use crate::view::{View, apart};

/// References kept in memory while they are read back: two windows of sixteen arrays.
const CACHED_REFERENCES: u64 = 500_000;

/// One reference and its place in the tile grid.
pub struct HeldReference {
    /// Row of the tile.
    pub row: u32,
    /// Column of the tile.
    pub column: u32,
    /// Where its bytes lie.
    pub reference: VirtualChunkRef,
}

/// A location with the prefix of its container, so that the older format and the newer one give the same.
pub(crate) fn absolute(location: &str, prefix: impl Fn(&str) -> Option<String>) -> String {
    let relative = location.strip_prefix("vcc://").and_then(|rest| rest.split_once('/'));
    let resolved = relative.and_then(|(name, path)| Some(format!("{}{path}", prefix(name)?)));
    resolved.unwrap_or_else(|| location.to_owned())
}

/// A state of a store whose references can be read.
pub(crate) struct HeldStore {
    state: Arc<StoreState>,
    view: View,
    /// Prefix of each container.
    prefixes: BTreeMap<String, String>,
    url: String,
}

impl HeldStore {
    /// Opens the snapshot of a state anew, with caches of its own.
    pub(crate) async fn open(target: &Target, repository: &Repository, state: Arc<StoreState>) -> Result<Self> {
        let manager = apart(repository, CACHED_REFERENCES);
        let view = View::open(manager, &state.snapshot, target.url()).await?;
        let containers = repository.config().virtual_chunk_containers();
        let prefixes = containers.filter_map(|c| Some((c.name()?.to_owned(), c.url_prefix().to_owned()))).collect();
        Ok(Self { state, view, prefixes, url: target.url().to_string() })
    }

    /// The prefix of a container.
    pub(crate) fn prefix(&self, name: &str) -> Option<String> {
        self.prefixes.get(name).cloned()
    }

    /// The address that a reference points to.
    pub(crate) fn address(&self, reference: &VirtualChunkRef) -> String {
        absolute(reference.location.url(), |name| self.prefix(name))
    }

    /// The array that holds a raster.
    pub(crate) fn array(&self, raster: &HeldRaster) -> Option<&HeldArray> {
        self.state.tree(raster.era.as_ref())?.arrays.get(&raster.asset)
    }

    /// The references of a raster.
    ///
    /// # Errors
    /// [`Error::Damaged`] where there is no such array, or it cannot be read.
    pub(crate) async fn of(&self, raster: &HeldRaster) -> Result<Vec<HeldReference>> {
        self.some_of(raster, usize::MAX).await
    }

    async fn some_of(&self, raster: &HeldRaster, most: usize) -> Result<Vec<HeldReference>> {
        let lost = || Error::Damaged {
            url: self.url.clone(),
            detail: format!("{} of {} is to be kept but is not there", raster.asset, place::root(raster.era.as_ref())),
        };
        let array = self.array(raster).ok_or_else(lost)?;
        self.up_to(array, usize::try_from(raster.step).unwrap_or(usize::MAX), most).await
    }

    /// One of the references of a raster; `None` where it has none.
    ///
    /// # Errors
    /// As [`HeldStore::of`].
    pub(crate) async fn first(&self, raster: &HeldRaster) -> Result<Option<VirtualChunkRef>> {
        Ok(self.some_of(raster, 1).await?.pop().map(|held| held.reference))
    }

    /// The chunk of an array of angles of a tree at a time step; `None` where the store has none.
    pub(crate) async fn angles(&self, era: Option<&Era>, array: AngleArray, step: u32) -> Result<Option<ChunkPayload>> {
        let Some(node) = self.view.nodes.get(&place::within(era, &geometry::path(array))) else { return Ok(None) };
        self.view.chunk(node, &angles::chunk(array, usize::try_from(step).unwrap_or(usize::MAX))).await
    }

    /// The bytes of that chunk.
    pub(crate) async fn angle_bytes(&self, era: Option<&Era>, array: AngleArray, step: u32) -> Result<Option<Bytes>> {
        let chunk = angles::chunk(array, usize::try_from(step).unwrap_or(usize::MAX));
        self.bytes(&place::within(era, &geometry::path(array)), &chunk).await
    }

    /// The bytes of a chunk that is in the store itself, by the path of its array without slashes at its ends; `None` where
    /// there is none.
    pub(crate) async fn bytes(&self, path: &str, chunk: &ChunkIndices) -> Result<Option<Bytes>> {
        let Some(node) = self.view.nodes.get(path) else { return Ok(None) };
        match self.view.chunk(node, chunk).await? {
            Some(payload) => self.view.bytes(node, chunk, payload).await,
            None => Ok(None),
        }
    }

    /// The references of one raster, in raster order; none where the store has no data.
    pub(crate) async fn references(&self, array: &HeldArray, step: usize) -> Result<Vec<HeldReference>> {
        self.up_to(array, step, usize::MAX).await
    }

    async fn up_to(&self, array: &HeldArray, step: usize, most: usize) -> Result<Vec<HeldReference>> {
        let mut out = Vec::new();
        if array.present.get(step) != Some(&true) {
            return Ok(out);
        }
        let damaged = |detail: String| Error::Damaged { url: self.url.clone(), detail };
        let time = u32::try_from(step).unwrap_or(u32::MAX);
        let node = self.view.nodes.get(array.path.trim_start_matches('/'));
        let node = node.ok_or_else(|| damaged(format!("{} is not there", array.path)))?;
        let (rows, columns) = array.header.grid();
        for row in 0..rows {
            for column in 0..columns {
                let chunk = ChunkIndices(indices(array.has_components, time, row, column));
                match self.view.chunk(node, &chunk).await? {
                    None => {}
                    Some(ChunkPayload::Virtual(_)) if out.len() >= most => return Ok(out),
                    Some(ChunkPayload::Virtual(reference)) => out.push(HeldReference { row, column, reference }),
                    Some(_) => return Err(damaged(format!("{} holds a chunk that is no reference", array.path))),
                }
            }
        }
        Ok(out)
    }
}
