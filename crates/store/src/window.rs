//! What changes in one window of time steps, written into a draft.

mod angles;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use icechunk::Repository;
use icechunk::format::ChunkIndices;
use icechunk::format::manifest::{ChunkPayload, VirtualChunkRef};
use s2ice_manifest::chunk::{Chunk, indices};
use s2ice_manifest::era::Era;
use s2ice_manifest::manifest::{Placement, RasterFile};
use s2ice_manifest::source::location::SourceUrl;

use crate::draft::{Chunks, Draft, Rewritten};
use crate::error::{Error, Result, icechunk_error};
use crate::held::{HeldReference, HeldStore};
use crate::options::WriteOptions;
use crate::plan::{ArrayReferences, StorePlan};
use crate::reference::Referencing;
use crate::state::StoreState;
use crate::update::{Operation, Update, Window, operation};

/// Fills drafts for the run's branch.
pub(crate) struct Windows {
    pub(crate) repository: Arc<Repository>,
    pub(crate) url: SourceUrl,
    /// The run's own branch.
    pub(crate) branch: String,
    pub(crate) plan: Arc<StorePlan>,
    pub(crate) update: Arc<Update>,
    /// What the store held when the plan was made.
    pub(crate) state: Option<Arc<StoreState>>,
    /// Its references, where any of them is moved or taken away.
    pub(crate) held: Option<Arc<HeldStore>>,
    pub(crate) options: Arc<WriteOptions>,
    pub(crate) referencing: Arc<Referencing>,
}

/// What was written of a window.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Filled {
    /// How many references were written from files.
    pub(crate) references: u64,
    /// How many were moved from another time step.
    pub(crate) moved: u64,
}

/// What changes in a window of one array.
#[derive(Default)]
struct Changes {
    chunks: Chunks,
    filled: Filled,
}

impl Windows {
    /// Writes what changes in these time steps.
    pub(crate) async fn fill(&self, draft: &mut Draft, window: Option<&Window>) -> Result<Filled> {
        let tree = window.and_then(|window| Some((self.plan.trees.get(window.tree)?, &window.steps)));
        let Some((tree, steps)) = tree else { return Ok(Filled::default()) };
        let before = &*draft;
        let arrays = tree.arrays.iter().map(|array| {
            async move {
                let changes = self.changes(tree.era.as_ref(), array, steps.clone()).await?;
                Ok::<_, Error>((before.rewrite(&array.path, changes.chunks).await?, changes.filled))
            }
            .boxed()
        });
        let angles = tree.angles.iter().map(|angles| {
            async move {
                let chunks = self.angles(before, tree, angles, steps).await?;
                Ok((before.rewrite(&angles.path, chunks).await?, Filled::default()))
            }
            .boxed()
        });
        let work: Vec<BoxFuture<'_, Result<(Rewritten, Filled)>>> = arrays.chain(angles).collect();
        let written: Vec<_> = stream::iter(work).buffer_unordered(self.options.concurrency).try_collect().await?;
        let mut total = Filled::default();
        for (rewritten, filled) in written {
            total.references += filled.references;
            total.moved += filled.moved;
            draft.take(rewritten);
        }
        Ok(total)
    }

    async fn changes(&self, era: Option<&Era>, array: &ArrayReferences, steps: Range<usize>) -> Result<Changes> {
        let anew = self.update.anew.contains(&array.path);
        let tree = self.state.as_ref().and_then(|state| state.tree(era));
        let array_held = tree.and_then(|tree| tree.arrays.get(&array.manifest.asset)).filter(|_| !anew);
        let mut out = Changes::default();
        // Where a window is moved by one step, what one step gives up is what the next one takes.
        let mut recent: Option<(usize, Arc<Vec<HeldReference>>)> = None;
        for step in steps {
            let there = array_held.is_some_and(|held| held.present.get(step) == Some(&true));
            let time = u32::try_from(step).unwrap_or(u32::MAX);
            let first = out.chunks.len();
            match operation(array.manifest.at(step), era, step, there, anew) {
                Operation::Keep | Operation::Nothing => continue,
                Operation::Clear => {}
                Operation::Write(Placement::File(raster)) => {
                    self.references(raster, array.has_components, time, |chunk, reference| {
                        out.chunks.push((chunk, Some(ChunkPayload::Virtual(reference))));
                    })?;
                    out.filled.references += (out.chunks.len() - first) as u64;
                }
                Operation::Write(Placement::Held(raster)) => {
                    let store = self.held.as_ref().ok_or_else(|| self.lost(array))?;
                    let found = match &recent {
                        Some((step, found))
                            if raster.era.as_ref() == era && usize::try_from(raster.step) == Ok(*step) =>
                        {
                            Arc::clone(found)
                        }
                        _ => Arc::new(store.of(raster).await?),
                    };
                    for found in found.iter() {
                        let chunk = ChunkIndices(indices(array.has_components, time, found.row, found.column));
                        out.chunks.push((chunk, Some(ChunkPayload::Virtual(found.reference.clone()))));
                    }
                    out.filled.moved += (out.chunks.len() - first) as u64;
                }
            }
            if !there {
                continue;
            }
            let (store, held) = self.held.as_ref().zip(array_held).ok_or_else(|| self.lost(array))?;
            let written: HashSet<ChunkIndices> = out.chunks[first..].iter().map(|(chunk, _)| chunk.clone()).collect();
            let given_up = Arc::new(store.references(held, step).await?);
            for found in given_up.iter() {
                let chunk = ChunkIndices(indices(array.has_components, time, found.row, found.column));
                if !written.contains(&chunk) {
                    out.chunks.push((chunk, None));
                }
            }
            recent = Some((step, given_up));
        }
        Ok(out)
    }

    fn lost(&self, array: &ArrayReferences) -> Error {
        let detail = format!("{} is to be kept but is not there", array.path);
        Error::Damaged { url: self.url.to_string(), detail }
    }

    /// Gives the references of one raster, each with its place.
    pub(crate) fn references(
        &self,
        raster: &RasterFile,
        has_components: bool,
        time: u32,
        mut give: impl FnMut(ChunkIndices, VirtualChunkRef),
    ) -> Result<()> {
        let referencing = &self.referencing;
        let location = referencing.location(&raster.path).map_err(|error| self.failed("naming a reference", &error))?;
        let checksum = referencing.checksum(raster);
        for (row, column, chunk) in raster.chunks() {
            let Chunk::Range(range) = chunk else { continue };
            let reference = VirtualChunkRef {
                location: location.clone(),
                offset: range.offset(),
                length: range.length(),
                checksum: checksum.clone(),
            };
            give(ChunkIndices(indices(has_components, time, row, column)), reference);
        }
        Ok(())
    }

    pub(crate) fn failed(&self, what: &'static str, error: &(dyn std::error::Error + 'static)) -> Error {
        icechunk_error(what, &self.url, error)
    }
}
