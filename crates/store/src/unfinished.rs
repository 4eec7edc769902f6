//! What a run that fails or is interrupted leaves behind: nothing.

use std::time::Duration;

use icechunk::Repository;
use icechunk::format::SnapshotId;
use tracing::Span;

use crate::patience::timely;
use crate::target::Target;

/// How long an interrupted run may take to clean up.
const PATIENCE: Duration = Duration::from_secs(10);

/// After this, requests that were under way when the run was interrupted have arrived.
const LATE_WRITES: Duration = Duration::from_millis(500);

/// The traces of a run, removed unless it is [`Unfinished::done`].
///
/// Dropped before that (the future of the run was: Ctrl-C, an exception in Python), it cleans up on a thread and a runtime
/// of its own, since the run's runtime is about to end.
pub(crate) struct Unfinished<'a> {
    traces: Option<Traces<'a>>,
}

struct Traces<'a> {
    target: &'a Target,
    branch: String,
    /// What `main` points to in a repository that this run made.
    made: Option<SnapshotId>,
}

impl<'a> Unfinished<'a> {
    /// Watches a run that writes to `branch`; `made` is the first snapshot of a repository that this run made.
    ///
    /// On an object store such a repository stays, empty, for the next run: another run may be about to write to it, and
    /// only a local store has a lock that says otherwise.
    pub(crate) fn new(target: &'a Target, branch: String, made: Option<SnapshotId>) -> Self {
        let made = made.filter(|_| target.url().local_root().is_some());
        Self { traces: Some(Traces { target, branch, made }) }
    }

    /// The run is published: nothing is removed.
    pub(crate) fn done(mut self) {
        self.traces = None;
    }

    /// The run failed.
    pub(crate) async fn remove(mut self) {
        if let Some(traces) = self.traces.take() {
            // The first error is the one worth telling; what stays is an empty repository, which the next run takes over.
            let _ = traces.remove().await;
        }
    }
}

impl Traces<'_> {
    /// Removes the repository this run made, unless another run has begun to use it; else the run's branch only.
    async fn remove(&self) -> Option<()> {
        let repository = Repository::open(self.target.storage()).execute().await.ok()?;
        let branches = repository.list_branches().await.ok()?;
        let alone = branches.iter().all(|name| name == "main" || *name == self.branch);
        let main = repository.lookup_branch("main").await.ok()?;
        if alone && self.made.as_ref() == Some(&main) {
            self.target.remove_made().ok()
        } else {
            timely(|| repository.delete_branch(&self.branch)).await.ok()
        }
    }

    async fn remove_interrupted(&self) {
        let _ = self.remove().await;
        if self.made.is_some() && !matches!(Repository::exists(self.target.storage(), None).await, Ok(true)) {
            tokio::time::sleep(LATE_WRITES).await;
            let _ = self.target.remove_made();
        }
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let Some(traces) = self.traces.take() else { return };
        std::thread::scope(|scope| {
            let span = Span::current();
            scope.spawn(move || {
                let _entered = span.entered();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                if let Ok(runtime) = runtime {
                    drop(runtime.block_on(async { tokio::time::timeout(PATIENCE, traces.remove_interrupted()).await }));
                }
            });
        });
    }
}
