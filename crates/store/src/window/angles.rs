//! The angles of a window: written, or taken from where the store has them.

use std::ops::Range;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use icechunk::format::ChunkIndices;
use icechunk::format::manifest::ChunkPayload;
use s2ice_manifest::era::Era;
use s2ice_manifest::geometry::{AngleArray, AnglePlacement};

use super::Windows;
use crate::angles::{AngleOperation, chunk, operations};
use crate::draft::{Chunks, Draft};
use crate::error::{Error, Result};
use crate::layout::geometry;
use crate::plan::{AngleReferences, TreePlan};

/// Largest chunk that stands in a manifest, bytes: one of sun angles. A hundred share a manifest, which an append writes
/// anew.
const INLINE: usize = 4 * 1024;

impl Windows {
    /// What changes of an array of angles in these time steps; large chunks are written.
    ///
    /// # Errors
    /// [`Error::Icechunk`]; [`Error::Damaged`] where angles that are to be kept are not there.
    pub(super) async fn angles(
        &self,
        draft: &Draft,
        tree: &TreePlan,
        angles: &AngleReferences,
        steps: &Range<usize>,
    ) -> Result<Chunks> {
        let (era, state) = (tree.era.as_ref(), self.state.as_deref());
        let changes = operations(angles, era, state, self.update.anew.contains(&angles.path))
            .filter(|(step, _)| steps.contains(step));
        let payloads: Vec<_> =
            changes.map(|(step, operation)| self.payload(draft, angles, step, operation).boxed()).collect();
        stream::iter(payloads).buffered(self.options.concurrency).try_collect().await
    }

    /// What shall stand at a step, written where it is new and large.
    async fn payload(
        &self,
        draft: &Draft,
        angles: &AngleReferences,
        step: usize,
        operation: AngleOperation<'_>,
    ) -> Result<(ChunkIndices, Option<ChunkPayload>)> {
        let chunk = chunk(angles.array, step);
        let payload = match operation {
            AngleOperation::Write(AnglePlacement::New(bytes)) => {
                let path = angles.path.trim_start_matches('/');
                Some(draft.stored(path, &chunk, Bytes::copy_from_slice(bytes), INLINE).await?)
            }
            // A chunk that is an object of its own is named by more than one array as well as by one.
            AngleOperation::Write(AnglePlacement::Held { era, step }) => {
                Some(self.held_angles(era.as_ref(), angles.array, *step).await?)
            }
            AngleOperation::Clear | AngleOperation::Keep | AngleOperation::Nothing => None,
        };
        Ok((chunk, payload))
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
