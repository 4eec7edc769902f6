//! Branches of runs that were killed.

use chrono::{DateTime, Utc};
use icechunk::Repository;
use icechunk::format::repo_info::RepoInfo;
use s2ice_manifest::source::location::SourceUrl;

use super::refs::Branch;
use super::{GRACE, refs};
use crate::clock::StoreClock;
use crate::error::{Result, icechunk_error};
use crate::patience::{TOLERANCE, timely};

/// Beginning of the name of every run's branch; milliseconds since 1970 and the process follow.
pub(super) const RUN: &str = "s2ice-";

/// Deletes branches of runs that no run works on any more, and returns their names: those named, made and last committed to
/// more than [`GRACE`] ago, or all, where nobody else is at work (`alone`). One request where there are none.
///
/// When a branch was made counts beside its name, since a run is named long before it begins to write.
///
/// # Errors
/// [`crate::Error::Future`] where the store takes no change; [`crate::Error::Icechunk`]; that another process deleted a
/// branch first is none.
pub(crate) async fn remove_stale_branches(
    repository: &Repository,
    url: &SourceUrl,
    alone: bool,
    clock: &StoreClock,
) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for name in stale_branches(repository, url, alone, clock, Locked::Refused).await? {
        match timely(|| repository.delete_branch(&name)).await {
            Ok(()) => removed.push(name),
            Err(error) if refs::is_gone(&error) => {}
            Err(error) => return Err(icechunk_error("deleting the branch of a run that was killed", url, &error)),
        }
    }
    Ok(removed)
}

/// Whether [`remove_stale_branches`] would find any in what was read of a repository.
///
/// # Errors
/// [`crate::Error::Future`] where the store takes no change; [`crate::Error::Icechunk`].
pub(crate) fn has_stale_branches(info: &RepoInfo, url: &SourceUrl, alone: bool, clock: &StoreClock) -> Result<bool> {
    let failed = |error| icechunk_error("reading branches", url, &error);
    clock.check_past(refs::last_update(info).map_err(failed)?, url)?;
    let (branches, now) = (refs::read_branches(info, RUN).map_err(failed)?, clock.now());
    Ok(branches.iter().any(|branch| alone || is_stale(branch, now)))
}

/// Whether a store whose last change lies in the future is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locked {
    Refused,
    Borne,
}

/// What [`remove_stale_branches`] would delete.
pub(super) async fn stale_branches(
    repository: &Repository,
    url: &SourceUrl,
    alone: bool,
    clock: &StoreClock,
    locked: Locked,
) -> Result<Vec<String>> {
    let branches = if refs::has_repo_info(repository) {
        let failed = |error| icechunk_error("reading branches", url, &error);
        let info = refs::repo_info(repository, url).await?;
        if locked == Locked::Refused {
            clock.check_past(refs::last_update(&info).map_err(failed)?, url)?;
        }
        refs::read_branches(&info, RUN).map_err(failed)?
    } else {
        refs::branches(repository, url, RUN).await?
    };
    let now = clock.now();
    Ok(branches.into_iter().filter(|branch| alone || is_stale(branch, now)).map(|branch| branch.name).collect())
}

/// A name from the future is that of a host with a wrong clock, and tells nothing.
fn is_stale(branch: &Branch, now: DateTime<Utc>) -> bool {
    let is_old = |time: DateTime<Utc>| now - time > GRACE;
    let named = named_at(&branch.name).filter(|named| *named <= now + TOLERANCE);
    is_old(branch.touched) && named.is_none_or(is_old)
}

/// The time in a run's name; runs of other programs may have names without.
fn named_at(branch: &str) -> Option<DateTime<Utc>> {
    let milliseconds = branch.strip_prefix(RUN)?.split('-').next()?.parse().ok()?;
    DateTime::from_timestamp_millis(milliseconds)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chrono::TimeDelta;

    use super::*;
    use crate::housekeeping::testing::Store;
    use crate::options::Spec;

    #[test]
    fn names_tell_when_a_run_began() {
        let time = DateTime::from_timestamp_millis(1_795_200_498_123);
        assert_eq!(named_at("s2ice-1795200498123-4711"), time);
        assert_eq!(named_at("s2ice-1795200498123-4711-2"), time);
        assert_eq!(named_at("s2ice-test"), None);
    }

    #[tokio::test]
    async fn only_old_branches_of_runs_are_deleted() {
        for spec in [Spec::V2, Spec::V1] {
            let store = Store::new(spec).await;
            let (repository, url) = (&store.repository, store.target.url());
            let main = store.commit(1).await;
            let now = Utc::now();
            let young = format!("s2ice-{}-7", (now + TimeDelta::hours(2)).timestamp_millis());
            let future = format!("s2ice-{}-7", (now + TimeDelta::days(400)).timestamp_millis());
            for name in ["s2ice-1795000000-1", "s2ice-other", "users", &young, &future] {
                repository.create_branch(name, &main).await.unwrap();
            }
            let remove = async |alone, now| {
                let clock = StoreClock::telling(now);
                let mut removed = remove_stale_branches(repository, url, alone, &clock).await.unwrap();
                removed.sort();
                removed
            };
            // All were made a moment ago, whatever their names say and however old the snapshot is they begin with.
            assert!(remove(false, now + TimeDelta::hours(23)).await.is_empty());
            let later = now + TimeDelta::hours(25);
            assert_eq!(remove(false, later).await, ["s2ice-1795000000-1", future.as_str(), "s2ice-other"]);
            assert!(remove(false, later).await.is_empty());
            let left: Vec<_> = repository.list_branches().await.unwrap().into_iter().collect();
            assert_eq!(left, ["main", &young, "users"]);
            assert_eq!(remove(true, now + TimeDelta::minutes(1)).await, [young]);
        }
    }

    #[tokio::test]
    async fn a_branch_that_was_committed_to_lately_stays() {
        for spec in [Spec::V2, Spec::V1] {
            let store = Store::new(spec).await;
            let (repository, url) = (&store.repository, store.target.url());
            repository.create_branch("s2ice-1-1", &store.commit(1).await).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
            let between = Utc::now();
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
            store.commit_to("s2ice-1-1", 2).await;
            let remove =
                async |now| remove_stale_branches(repository, url, false, &StoreClock::telling(now)).await.unwrap();
            assert!(remove(between + GRACE).await.is_empty());
            assert_eq!(remove(Utc::now() + GRACE).await, ["s2ice-1-1"]);
        }
    }

    #[tokio::test]
    async fn it_does_not_matter_who_deletes_first() {
        let store = Store::in_memory().await;
        let main = store.commit(1).await;
        store.repository.create_branch("s2ice-1-1", &main).await.unwrap();
        let clock = StoreClock::telling(Utc::now() + GRACE * 2);
        let remove = || remove_stale_branches(&store.repository, store.target.url(), false, &clock);
        let (one, two) = tokio::join!(remove(), remove());
        assert_eq!(one.unwrap().len() + two.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_store_from_the_future_is_not_written() {
        let store = Store::new(Spec::V2).await;
        store.commit(1).await;
        let before = store.files("");
        let clock = StoreClock::telling(Utc::now() - TimeDelta::hours(3));
        let removed = remove_stale_branches(&store.repository, store.target.url(), true, &clock).await;
        assert!(matches!(removed, Err(crate::Error::Future { .. })));
        assert_eq!(store.files(""), before);
    }
}
