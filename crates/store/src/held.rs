//! References that a store holds already, read back to be moved, counted or taken away.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use icechunk::Repository;
use icechunk::config::CachingConfig;
use icechunk::format::manifest::{ChunkPayload, VirtualChunkRef};
use icechunk::format::{ByteRange, ChunkIndices, Path};
use icechunk::repository::VersionInfo;
use icechunk::session::Session;
use s2ice_manifest::chunk::indices;
use s2ice_manifest::era::Era;
use s2ice_manifest::geometry::AngleArray;
use s2ice_manifest::manifest::HeldRaster;

use crate::angles;
use crate::error::{Error, Result, icechunk_error};
use crate::layout::{geometry, place};
use crate::state::{HeldArray, StoreState};
use crate::target::Target;

/// References kept in memory while they are read back: two windows of sixteen arrays.
const CACHED_REFERENCES: u64 = 500_000;

/// One reference and its place in the tile grid.
pub(crate) struct HeldReference {
    pub(crate) row: u32,
    pub(crate) column: u32,
    pub(crate) reference: VirtualChunkRef,
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
    session: Session,
    /// Prefix of each container.
    prefixes: BTreeMap<String, String>,
    url: String,
}

impl HeldStore {
    /// Opens the snapshot of a state anew, with caches of its own.
    pub(crate) async fn open(target: &Target, repository: &Repository, state: Arc<StoreState>) -> Result<Self> {
        let failed =
            |error: &(dyn std::error::Error + 'static)| icechunk_error("opening the store", target.url(), error);
        let mut config = repository.config().clone();
        config.caching = Some(CachingConfig { num_chunk_refs: Some(CACHED_REFERENCES), ..CachingConfig::default() });
        let repository = Repository::open(target.storage()).config(config).execute().await.map_err(|e| failed(&e))?;
        let version = VersionInfo::SnapshotId(state.snapshot.clone());
        let session = repository.readonly_session(&version).await.map_err(|e| failed(&e))?;
        let containers = repository.config().virtual_chunk_containers();
        let prefixes = containers.filter_map(|c| Some((c.name()?.to_owned(), c.url_prefix().to_owned()))).collect();
        Ok(Self { state, session, prefixes, url: target.url().to_string() })
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
        let path = angles::path(era, array, &self.url)?;
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        let payload = self.session.get_chunk_ref(&path, &angles::chunk(array, step)).await;
        payload.map_err(|error| self.unreadable(array, &error))
    }

    /// The bytes of that chunk.
    pub(crate) async fn angle_bytes(&self, era: Option<&Era>, array: AngleArray, step: u32) -> Result<Option<Bytes>> {
        let path = angles::path(era, array, &self.url)?;
        let chunk = angles::chunk(array, usize::try_from(step).unwrap_or(usize::MAX));
        let reader = self.session.get_chunk_reader(&path, &chunk, &ByteRange::ALL).await;
        match reader.map_err(|error| self.unreadable(array, &error))? {
            None => Ok(None),
            Some(bytes) => bytes.await.map(Some).map_err(|error| self.unreadable(array, &error)),
        }
    }

    fn unreadable(&self, array: AngleArray, error: &(dyn std::error::Error + 'static)) -> Error {
        let detail = format!("{}: {}", geometry::path(array), crate::error::one_line(error));
        Error::Damaged { url: self.url.clone(), detail }
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
        let path: Path =
            array.path.as_str().try_into().map_err(|_| damaged(format!("{} is no path of an array", array.path)))?;
        let (rows, columns) = array.header.grid();
        for row in 0..rows {
            for column in 0..columns {
                let chunk = ChunkIndices(indices(array.has_components, time, row, column));
                let payload = self.session.get_chunk_ref(&path, &chunk).await;
                match payload.map_err(|e| damaged(format!("{}: {}", array.path, crate::error::one_line(&e))))? {
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
