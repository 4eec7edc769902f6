//! Sun and viewing angles in a store: one chunk per array and time step, kept, written, moved or taken away.

use std::ops::Range;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use icechunk::format::manifest::{ChunkPayload, ChunkRef};
use icechunk::format::{ChunkId, ChunkIndices, Path};
use icechunk::session::Session;
use s2ice_manifest::era::Era;
use s2ice_manifest::geometry::{AngleArray, AnglePlacement};
use s2ice_manifest::source::angle_chunks::decode;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::layout::{geometry, place};
use crate::plan::{AngleReferences, TreePlan};
use crate::state::StoreState;
use crate::update::Update;
use crate::window::Windows;

/// Largest chunk that stands in a manifest, bytes: one of sun angles. A hundred share a manifest, which an append writes
/// anew.
const INLINE: usize = 4 * 1024;

/// A chunk's place and what shall stand there.
type Payload<'a> = BoxFuture<'a, Result<(ChunkIndices, Option<ChunkPayload>)>>;

/// What happens at a step of an array of angles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AngleOperation<'a> {
    /// The chunk is there.
    Keep,
    /// A chunk is written, from the product or from another step; what was there is overwritten.
    Write(&'a AnglePlacement),
    /// The chunk that is there is taken away.
    Clear,
    /// Nothing is there and nothing shall be.
    Nothing,
}

/// What happens at a step, given what the store has there.
pub fn operation<'a>(
    wanted: Option<&'a AnglePlacement>,
    era: Option<&Era>,
    step: usize,
    held: bool,
    anew: bool,
) -> AngleOperation<'a> {
    match wanted {
        Some(AnglePlacement::Held { era: from, step: at })
            if !anew && from.as_ref() == era && usize::try_from(*at) == Ok(step) =>
        {
            AngleOperation::Keep
        }
        Some(placement) => AngleOperation::Write(placement),
        None if held && !anew => AngleOperation::Clear,
        None => AngleOperation::Nothing,
    }
}

/// The steps of an array of a tree at which something happens, and what.
pub(crate) fn operations<'a>(
    angles: &'a AngleReferences,
    era: Option<&'a Era>,
    state: Option<&'a StoreState>,
    update: &Update,
) -> impl Iterator<Item = (usize, AngleOperation<'a>)> + use<'a> {
    let anew = update.anew.contains(&angles.path);
    let held = state.and_then(|state| state.tree(era)?.angles.get(&angles.array)).map(Vec::as_slice);
    let there = move |step: usize| !anew && held.is_some_and(|held| held.get(step) == Some(&true));
    let steps = angles.placements.iter().enumerate();
    steps
        .map(move |(step, placement)| (step, operation(placement.as_ref(), era, step, there(step), anew)))
        .filter(|(_, operation)| !matches!(operation, AngleOperation::Keep | AngleOperation::Nothing))
}

/// The place of an array's chunk of a time step.
pub(crate) fn chunk(array: AngleArray, step: usize) -> ChunkIndices {
    let mut indices = vec![0; 1 + array.dimensions().len()];
    indices[0] = u32::try_from(step).unwrap_or(u32::MAX);
    ChunkIndices(indices)
}

/// Path of an array in a repository.
pub(crate) fn path(era: Option<&Era>, array: AngleArray, url: &impl ToString) -> Result<Path> {
    let text = format!("/{}", place::within(era, &geometry::path(array)));
    let damaged = |_| Error::Damaged { url: url.to_string(), detail: format!("{text} is no path of an array") };
    text.as_str().try_into().map_err(damaged)
}

/// Fingerprint of a chunk by its values, however it is compressed. Part of [`crate::layout::time::StepFacts::content`].
///
/// # Errors
/// The bytes are no chunk of the array.
pub fn fingerprint(array: AngleArray, bytes: &[u8]) -> std::io::Result<i64> {
    let mut hash = Sha256::new();
    hash.update(array.name().as_bytes());
    hash.update(decode(array, bytes)?);
    Ok(hash.finalize().first_chunk::<8>().map_or(0, |head| i64::from_le_bytes(*head)))
}

impl Windows {
    /// Puts the angles that change in these time steps into a session.
    ///
    /// # Errors
    /// [`Error::Icechunk`]; [`Error::Damaged`] where angles that are to be kept are not there.
    pub(crate) async fn fill_angles(&self, session: &mut Session, tree: &TreePlan, steps: &Range<usize>) -> Result<()> {
        let (era, state) = (tree.era.as_ref(), self.state.as_deref());
        for angles in &tree.angles {
            let path = path(era, angles.array, &self.url)?;
            let changes = operations(angles, era, state, &self.update).filter(|(step, _)| steps.contains(step));
            let payloads: Vec<_> =
                changes.map(|(step, operation)| self.payload(angles.array, step, operation)).collect();
            let mut payloads = stream::iter(payloads).buffered(self.options.concurrency);
            while let Some((chunk, payload)) = payloads.try_next().await? {
                let set = session.set_chunk_ref(path.clone(), chunk, payload).await;
                set.map_err(|error| self.failed("writing angles", &error))?;
            }
        }
        Ok(())
    }

    /// What shall stand at a step, written where it is new and large.
    fn payload<'a>(&'a self, array: AngleArray, step: usize, operation: AngleOperation<'a>) -> Payload<'a> {
        let chunk = chunk(array, step);
        match operation {
            AngleOperation::Write(AnglePlacement::New(bytes)) => {
                let bytes = Bytes::copy_from_slice(bytes);
                async move {
                    let payload = self.written(array, &chunk, bytes).await?;
                    Ok((chunk, Some(payload)))
                }
                .boxed()
            }
            // A chunk that is an object of its own is named by more than one array as well as by one.
            AngleOperation::Write(AnglePlacement::Held { era, step }) => {
                async move { Ok((chunk, Some(self.held_angles(era.as_ref(), array, *step).await?))) }.boxed()
            }
            AngleOperation::Clear | AngleOperation::Keep | AngleOperation::Nothing => {
                async move { Ok((chunk, None)) }.boxed()
            }
        }
    }

    /// Puts a large chunk into an object of its own.
    async fn written(&self, array: AngleArray, chunk: &ChunkIndices, bytes: Bytes) -> Result<ChunkPayload> {
        if bytes.len() <= INLINE {
            return Ok(ChunkPayload::Inline(bytes));
        }
        let (id, length) = (ChunkId::random(), bytes.len() as u64);
        let label = geometry::path(array);
        let manager = self.repository.asset_manager();
        let written = manager.write_chunk(label.trim_start_matches('/'), &chunk.0, id.clone(), bytes).await;
        written.map_err(|error| self.failed("writing angles", &error))?;
        Ok(ChunkPayload::Ref(ChunkRef { id, offset: 0, length }))
    }

    /// What the store holds of an array of angles at a step.
    ///
    /// # Errors
    /// [`Error::Damaged`] where there is nothing.
    pub(crate) async fn held_angles(&self, era: Option<&Era>, array: AngleArray, step: u32) -> Result<ChunkPayload> {
        let lost = || {
            let detail = format!("{}, step {step}, is to be kept but is not there", geometry::path(array));
            Error::Damaged { url: self.url.to_string(), detail }
        };
        let store = self.held.as_ref().ok_or_else(lost)?;
        store.angles(era, array, step).await?.ok_or_else(lost)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_happens_follows_from_what_is_there() {
        let (new, kept) = (AnglePlacement::New(std::sync::Arc::from([1])), AnglePlacement::Held { era: None, step: 4 });
        assert_eq!(operation(Some(&kept), None, 4, true, false), AngleOperation::Keep);
        let era: Era = "offset-0".parse().unwrap();
        assert_eq!(operation(Some(&kept), Some(&era), 4, true, false), AngleOperation::Write(&kept));
        assert_eq!(operation(Some(&kept), None, 4, true, true), AngleOperation::Write(&kept));
        assert_eq!(operation(Some(&kept), None, 5, false, false), AngleOperation::Write(&kept));
        assert_eq!(operation(Some(&new), None, 4, true, false), AngleOperation::Write(&new));
        assert_eq!(operation(None, None, 4, true, false), AngleOperation::Clear);
        assert_eq!(operation(None, None, 4, true, true), AngleOperation::Nothing);
        assert_eq!(operation(None, None, 4, false, false), AngleOperation::Nothing);
    }

    #[test]
    fn values_count_and_not_their_packing() {
        let raw: Vec<u8> = (0..1058_u32).flat_map(|n| (n * n % 1009).to_le_bytes()).collect();
        let [fast, small] = [1, 19].map(|level| zstd::bulk::compress(&raw, level).unwrap());
        let of = |bytes: &[u8]| fingerprint(AngleArray::Sun, bytes).unwrap();
        assert!(fast != small && of(&fast) == of(&small));
        assert!(fingerprint(AngleArray::Viewing, &fast).is_err());
        assert_eq!(chunk(AngleArray::Viewing, 7).0, [7, 0, 0, 0, 0, 0]);
    }
}
