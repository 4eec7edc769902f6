//! What changes in one window of time steps, put into a session of its own.

mod angles;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use icechunk::format::manifest::VirtualChunkRef;
use icechunk::format::{ChunkIndices, Path};
use icechunk::session::Session;
use icechunk::store::SetVirtualRefsResult;
use icechunk::{Repository, Store};
use s2ice_manifest::chunk::{Chunk, indices};
use s2ice_manifest::era::Era;
use s2ice_manifest::manifest::{Placement, RasterFile};
use s2ice_manifest::source::location::SourceUrl;
use tokio::sync::RwLock;

use crate::error::{Error, Result, icechunk_error};
use crate::held::{HeldReference, HeldStore};
use crate::options::WriteOptions;
use crate::plan::{ArrayReferences, StorePlan};
use crate::reference::Referencing;
use crate::state::StoreState;
use crate::update::{Operation, Update, Window, operation};

/// Fills sessions on the run's branch.
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

/// A session with the references of a window.
pub(crate) struct Filled {
    pub(crate) session: Session,
    /// How many references were written from files.
    pub(crate) references: u64,
    /// How many were moved from another time step.
    pub(crate) moved: u64,
}

/// What changes in a window of one array.
#[derive(Default)]
struct Changes {
    references: Vec<(ChunkIndices, VirtualChunkRef)>,
    written: u64,
    moved: u64,
    /// Chunks that have a reference and shall have none.
    stale: Vec<ChunkIndices>,
}

impl Windows {
    /// A session on the tip of the run's branch.
    pub(crate) async fn session(&self) -> Result<Session> {
        let session = self.repository.writable_session(&self.branch).await;
        session.map_err(|error| self.failed("opening the run's branch", &error))
    }

    /// Puts what changes in these time steps into a session; without any, the session stays as it is.
    pub(crate) async fn fill(&self, session: Session, window: Option<&Window>) -> Result<Filled> {
        let tree = window.and_then(|window| Some((self.plan.trees.get(window.tree)?, &window.steps)));
        let Some((tree, steps)) = tree else { return Ok(Filled { session, references: 0, moved: 0 }) };
        let shared = Arc::new(RwLock::new(session));
        let store = Store::from_session(Arc::clone(&shared)).await;
        let (mut references, mut moved) = (0, 0);
        for array in &tree.arrays {
            let changes = self.changes(tree.era.as_ref(), array, steps.clone()).await?;
            references += changes.written;
            moved += changes.moved;
            let path: Path = array.path.as_str().try_into().map_err(|_| Error::Damaged {
                url: self.url.to_string(),
                detail: format!("{} is no path of an array", array.path),
            })?;
            if !changes.stale.is_empty() {
                let cleared = shared.write().await.delete_chunks(&path, changes.stale).await;
                cleared.map_err(|error| self.failed("taking references away", &error))?;
            }
            self.set(&store, &path, array, changes.references).await?;
        }
        drop(store);
        self.fill_angles(&mut *shared.write().await, tree, steps).await?;
        Ok(Filled { session: self.reclaim(shared)?, references, moved })
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
            let first = out.references.len();
            match operation(array.manifest.at(step), era, step, there, anew) {
                Operation::Keep | Operation::Nothing => continue,
                Operation::Clear => {}
                Operation::Write(Placement::File(raster)) => {
                    self.references(raster, array.has_components, time, &mut out.references)?;
                    out.written += (out.references.len() - first) as u64;
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
                        let chunk = indices(array.has_components, time, found.row, found.column);
                        out.references.push((ChunkIndices(chunk), found.reference.clone()));
                    }
                    out.moved += (out.references.len() - first) as u64;
                }
            }
            if !there {
                continue;
            }
            let (store, held) = self.held.as_ref().zip(array_held).ok_or_else(|| self.lost(array))?;
            let written: HashSet<&ChunkIndices> = out.references[first..].iter().map(|(chunk, _)| chunk).collect();
            let given_up = Arc::new(store.references(held, step).await?);
            for found in given_up.iter() {
                let chunk = ChunkIndices(indices(array.has_components, time, found.row, found.column));
                if !written.contains(&chunk) {
                    out.stale.push(chunk);
                }
            }
            recent = Some((step, given_up));
        }
        Ok(out)
    }

    async fn set(
        &self,
        store: &Store,
        path: &Path,
        array: &ArrayReferences,
        references: Vec<(ChunkIndices, VirtualChunkRef)>,
    ) -> Result<()> {
        if references.is_empty() {
            return Ok(());
        }
        // The prefix of every location was checked when its path was joined to the source; checking each reference
        // again would triple the time.
        match store.set_virtual_refs(path, false, references).await {
            Ok(SetVirtualRefsResult::Done) => Ok(()),
            Ok(SetVirtualRefsResult::FailedRefs(refused)) => {
                Err(Error::RefusedReferences { array: array.path.clone(), count: refused.len() })
            }
            Err(error) => Err(self.failed("writing references", &error)),
        }
    }

    fn lost(&self, array: &ArrayReferences) -> Error {
        let detail = format!("{} is to be kept but is not there", array.path);
        Error::Damaged { url: self.url.to_string(), detail }
    }

    /// The session back from a store that is done with it.
    pub(crate) fn reclaim(&self, shared: Arc<RwLock<Session>>) -> Result<Session> {
        Arc::into_inner(shared)
            .map(RwLock::into_inner)
            .ok_or_else(|| Error::Damaged { url: self.url.to_string(), detail: "a session is still in use".to_owned() })
    }

    /// Appends the references of one raster.
    pub(crate) fn references(
        &self,
        raster: &RasterFile,
        has_components: bool,
        time: u32,
        out: &mut Vec<(ChunkIndices, VirtualChunkRef)>,
    ) -> Result<()> {
        let referencing = &self.referencing;
        let location = referencing.location(&raster.path).map_err(|error| self.failed("naming a reference", &error))?;
        let checksum = referencing.checksum(raster);
        out.reserve(raster.tiles.len());
        for (row, column, chunk) in raster.chunks() {
            let Chunk::Range(range) = chunk else { continue };
            let reference = VirtualChunkRef {
                location: location.clone(),
                offset: range.offset(),
                length: range.length(),
                checksum: checksum.clone(),
            };
            out.push((ChunkIndices(indices(has_components, time, row, column)), reference));
        }
        Ok(())
    }

    pub(crate) fn failed(&self, what: &'static str, error: &(dyn std::error::Error + 'static)) -> Error {
        icechunk_error(what, &self.url, error)
    }
}
