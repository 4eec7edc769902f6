//! The angles of a window: written, or taken from where the store has them.

use std::ops::Range;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use icechunk::format::manifest::{ChunkPayload, ChunkRef};
use icechunk::format::{ChunkId, ChunkIndices};
use icechunk::session::Session;
use s2ice_manifest::era::Era;
use s2ice_manifest::geometry::{AngleArray, AnglePlacement};

use super::Windows;
use crate::angles::{AngleOperation, chunk, operations, path};
use crate::error::{Error, Result};
use crate::layout::geometry;
use crate::plan::TreePlan;

/// Largest chunk that stands in a manifest, bytes: one of sun angles. A hundred share a manifest, which an append writes
/// anew.
const INLINE: usize = 4 * 1024;

/// A chunk's place and what shall stand there.
type Payload<'a> = BoxFuture<'a, Result<(ChunkIndices, Option<ChunkPayload>)>>;

impl Windows {
    /// Puts the angles that change in these time steps into a session.
    ///
    /// # Errors
    /// [`Error::Icechunk`]; [`Error::Damaged`] where angles that are to be kept are not there.
    pub(crate) async fn fill_angles(&self, session: &mut Session, tree: &TreePlan, steps: &Range<usize>) -> Result<()> {
        let (era, state) = (tree.era.as_ref(), self.state.as_deref());
        for angles in &tree.angles {
            let path = path(era, angles.array, &self.url)?;
            let changes = operations(angles, era, state, self.update.anew.contains(&angles.path))
                .filter(|(step, _)| steps.contains(step));
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
