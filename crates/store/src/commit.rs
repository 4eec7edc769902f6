//! Makes a store hold what a plan says.

use std::sync::Arc;

use icechunk::Repository;
use icechunk::format::format_constants::SpecVersionBin;
use icechunk::virtual_chunks::VirtualChunkContainer;
use s2ice_manifest::ids::{Level, MgrsTile};

use crate::clock::StoreClock;
use crate::error::{Error, Result, icechunk_error};
use crate::held::HeldStore;
use crate::housekeeping::{has_stale_branches, is_tagged, remove_stale_branches, tag_published};
use crate::options::{Spec, WriteOptions};
use crate::plan::StorePlan;
use crate::progress::Progress;
use crate::repository::{Existing, Head, Opened, adopt, create, existing};
use crate::state::{self, StoreState};
use crate::target::Target;
use crate::unfinished::Unfinished;
use crate::update::update;
use crate::window::Windows;
use crate::writer::{Writer, Written};

/// What is at the place of a store.
#[derive(Default)]
pub struct Loaded {
    /// Absent where there is none.
    repository: Option<(Repository, Head)>,
    /// What it holds; absent where nothing was published yet.
    pub state: Option<Arc<StoreState>>,
    held: Option<Arc<HeldStore>>,
}

impl Loaded {
    /// True where the repository knows locations relative to a container; a new one is of the format `spec`.
    pub fn knows_relative(&self, spec: Spec) -> bool {
        let known = self.repository.as_ref().map(|(repository, _)| repository.spec_version() >= SpecVersionBin::V2);
        known.unwrap_or(spec == Spec::V2)
    }

    /// The references that the store holds, opened when first asked for.
    pub(crate) async fn held(&mut self, target: &Target) -> Result<Option<Arc<HeldStore>>> {
        if let (None, Some(state), Some((repository, _))) = (&self.held, &self.state, &self.repository) {
            self.held = Some(Arc::new(HeldStore::open(target, repository, Arc::clone(state)).await?));
        }
        Ok(self.held.clone())
    }

    /// Every container that the store's references may name.
    pub(crate) fn containers(&self) -> Vec<VirtualChunkContainer> {
        let config = self.repository.as_ref().map(|(repository, _)| repository.config());
        config.map(|config| config.virtual_chunk_containers().cloned().collect()).unwrap_or_default()
    }

    /// Deletes branches of runs that were killed, and tags what a killed run had published. The caller holds the lock of a
    /// local target.
    ///
    /// # Errors
    /// [`Error::Future`] where the store takes no change, [`Error::Icechunk`].
    pub async fn clean_up(&self, target: &Target, clock: &StoreClock) -> Result<Vec<String>> {
        let Some((repository, head)) = &self.repository else { return Ok(Vec::new()) };
        if let Some(state) = &self.state {
            clock.check_past(state.flushed_at, target.url())?;
        }
        // Under the lock of a local store no other run is alive.
        let alone = target.url().local_root().is_some();
        let is_tagged = |info| self.state.as_ref().is_none_or(|state| is_tagged(info, &state.snapshot));
        if let Some(info) = &head.info
            && !has_stale_branches(info, target.url(), alone, clock)?
            && is_tagged(info)
        {
            return Ok(Vec::new());
        }
        let tagging = async {
            match &self.state {
                Some(state) => {
                    tag_published(repository, target.url(), &state.snapshot, state.flushed_at).await.map(Some)
                }
                None => Ok(None),
            }
        };
        let stale = remove_stale_branches(repository, target.url(), alone, clock);
        let (removed, _) = futures::try_join!(stale, tagging)?;
        Ok(removed)
    }
}

/// Reads what is at the place of a tile's store, without writing.
///
/// # Errors
/// The place cannot be reached or holds something else, another tile's store, or a store of another layout.
pub async fn load(target: &Target, tile: MgrsTile, level: Level) -> Result<Loaded> {
    match existing(target, tile, level).await? {
        Existing::Nothing => Ok(Loaded::default()),
        Existing::Empty(Opened { repository, head, .. }) => {
            Ok(Loaded { repository: Some((repository, head)), ..Loaded::default() })
        }
        Existing::Store(Opened { repository, head, view }, stamp) => {
            let state = Some(Arc::new(state::load(&view, target.url(), *stamp).await?));
            Ok(Loaded { repository: Some((repository, head)), state, held: None })
        }
    }
}

/// Makes a store hold what the plan says and moves `main` to it in one step. The caller holds the lock of a local target.
/// `None` where it does so already.
///
/// # Errors
/// As [`load`]; [`Error::Conflict`] where another writer moved `main` meanwhile; [`Error::Icechunk`]. A local repository
/// made by this call is removed when it fails.
pub async fn write(
    target: &Target,
    mut loaded: Loaded,
    plan: StorePlan,
    options: WriteOptions,
    progress: &dyn Progress,
) -> Result<Option<Written>> {
    let update = update(loaded.state.as_deref(), &plan).map_err(Error::Encode)?;
    if update.is_empty() {
        return Ok(None);
    }
    let held = if update.reads_held { loaded.held(target).await? } else { None };
    // Whoever made the repository: of several runs, one is the first to publish.
    let created = loaded.state.is_none();
    let (repository, main, made) = match loaded.repository {
        Some((repository, head)) => (adopt(target, repository, &options).await?, head.main, false),
        None => {
            let repository = create(target, &options).await?;
            let main = repository.lookup_branch("main").await;
            let main = main.map_err(|error| icechunk_error("reading branch main", target.url(), &error))?;
            (repository, main, true)
        }
    };
    let branch = format!("s2ice-{}", options.run);
    let unfinished = Unfinished::new(target, branch.clone(), made.then(|| main.clone()));
    let referencing = options.referencing(repository.spec_version() >= SpecVersionBin::V2);
    let windows = Windows {
        referencing: Arc::new(referencing),
        repository: Arc::new(repository),
        url: target.url().clone(),
        branch,
        plan: Arc::new(plan),
        update: Arc::new(update),
        state: loaded.state,
        held,
        options: Arc::new(options),
    };
    let writer = Writer { windows, main, progress };
    match writer.run().await {
        Ok(written) => {
            unfinished.done();
            Ok(Some(Written { created, ..written }))
        }
        Err(error) => {
            unfinished.remove().await;
            Err(error)
        }
    }
}
