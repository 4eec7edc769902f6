//! The one step that readers see: `main` moves, the state gets its tag, and the run's branch goes.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use icechunk::Repository;
use icechunk::format::repo_info::RepoInfo;
use icechunk::format::{IcechunkResult, SnapshotId};
use icechunk::repository::{RepositoryError, RepositoryErrorKind};
use s2ice_manifest::source::location::SourceUrl;

use super::published::{name, published_at, tag_published};
use super::refs;
use crate::error::{Error, Result, icechunk_error, one_line};
use crate::patience::Patience;

/// Moves `main` from one snapshot to another, tags it and deletes the branch on which it was made; returns the tag.
///
/// In a repository of spec 2 one object holds all of these, and all change at once. In one of spec 1 a run may be killed
/// between the steps, which the next one makes up for.
///
/// # Errors
/// [`Error::Conflict`] where `main` is not at `from` any more; [`Error::Icechunk`].
pub(crate) async fn promote(
    repository: &Repository,
    url: &SourceUrl,
    branch: &str,
    from: &SnapshotId,
    to: &SnapshotId,
    now: DateTime<Utc>,
) -> Result<Option<String>> {
    if !refs::has_repo_info(repository) {
        return step_by_step(repository, url, branch, from, to, now).await;
    }
    let mut tag = None;
    let updates = repository.config().num_updates_per_repo_info_file();
    let version = repository.spec_version();
    let retries = repository.config().repo_update_retries();
    let mut change = |info: Arc<RepoInfo>, backup: &str, _| {
        let main = info.resolve_branch("main").map_err(format)?;
        if main != *from {
            let kind = RepositoryErrorKind::Conflict { expected_parent: Some(from.clone()), actual_parent: Some(main) };
            return Err(RepositoryError::capture(kind));
        }
        let changed = || -> IcechunkResult<(RepoInfo, String)> {
            let info = info.update_branch(version, "main", to, backup, updates)?;
            let info = info.delete_branch(version, branch, backup, updates)?;
            let tag = free_name(&info, now)?;
            Ok((info.add_tag(version, &tag, to, backup, updates)?, tag))
        };
        let (info, name) = changed().map_err(format)?;
        tag = Some(name);
        Ok(Arc::new(info))
    };
    let patience = Patience::new();
    let outcome = loop {
        match repository.asset_manager().update_repo_info(retries, &mut change).await {
            Err(error) if patience.outlasts(&error).await => {}
            outcome => break outcome,
        }
    };
    match outcome {
        Ok(_) => Ok(tag),
        Err(error) if refs::is_moved(&error) => Err(Error::Conflict { url: url.to_string() }),
        Err(error) => Err(icechunk_error("moving branch main", url, &error)),
    }
}

fn format(error: icechunk::format::IcechunkFormatError) -> RepositoryError {
    RepositoryError::capture(RepositoryErrorKind::FormatError(error.kind))
}

/// A name that no tag has or had, later than that of every published state.
fn free_name(info: &RepoInfo, now: DateTime<Utc>) -> IcechunkResult<String> {
    let newest = info.tag_names()?.filter_map(published_at).max();
    let mut time = newest.map_or(now, |newest| now.max(newest + TimeDelta::milliseconds(1)));
    loop {
        let name = name(time, true);
        if !info.tag_was_deleted(&name)? {
            return Ok(name);
        }
        time += TimeDelta::milliseconds(1);
    }
}

async fn step_by_step(
    repository: &Repository,
    url: &SourceUrl,
    branch: &str,
    from: &SnapshotId,
    to: &SnapshotId,
    now: DateTime<Utc>,
) -> Result<Option<String>> {
    match repository.reset_branch("main", to, Some(from)).await {
        Ok(()) => {}
        Err(error) if refs::is_moved(&error) => return Err(Error::Conflict { url: url.to_string() }),
        Err(error) => return Err(icechunk_error("moving branch main", url, &error)),
    }
    if let Err(error) = repository.delete_branch(branch).await {
        let detail = one_line(&error);
        tracing::warn!("the store is published, but the run's branch {branch} could not be deleted: {detail}");
    }
    match tag_published(repository, url, to, now).await {
        Ok(tag) => Ok(Some(tag)),
        Err(error) => {
            tracing::warn!("the store is published, but not tagged, which the next run makes up for: {error}");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::housekeeping::testing::Store;
    use crate::options::Spec;

    #[tokio::test]
    async fn main_tag_and_branch_change_together() {
        for spec in [Spec::V2, Spec::V1] {
            let store = Store::new(spec).await;
            let (repository, url) = (&store.repository, store.target.url());
            let first = store.commit(1).await;
            for name in ["s2ice-1-1", "s2ice-1-2"] {
                repository.create_branch(name, &first).await.unwrap();
            }
            let (tip, late) = (store.commit_to("s2ice-1-1", 2).await, store.commit_to("s2ice-1-2", 3).await);
            let now = Utc::now();
            let tag = promote(repository, url, "s2ice-1-1", &first, &tip, now).await.unwrap().unwrap();
            assert_eq!(repository.lookup_branch("main").await.unwrap(), tip);
            assert_eq!(repository.lookup_tag(&tag).await.unwrap(), tip);
            assert!(!repository.list_branches().await.unwrap().contains("s2ice-1-1"));

            let lost = promote(repository, url, "s2ice-1-2", &first, &late, now).await;
            assert!(matches!(lost, Err(Error::Conflict { .. })));
            assert_eq!(repository.lookup_branch("main").await.unwrap(), tip);
            assert!(repository.list_branches().await.unwrap().contains("s2ice-1-2"), "the loser redoes its work");
            let next = promote(repository, url, "s2ice-1-2", &tip, &late, now).await.unwrap().unwrap();
            assert!(published_at(&next) > published_at(&tag), "times increase though the clock stands");
        }
    }
}
