//! Branches of runs that were killed.

use chrono::{DateTime, Utc};
use icechunk::Repository;
use icechunk::format::repo_info::RepoInfo;
use s2ice_manifest::source::location::SourceUrl;

use super::refs;
use super::refs::Branch;
use crate::error::{Result, icechunk_error};

/// Beginning of the name of every run's branch; milliseconds since 1970 and the process follow.
pub(super) const RUN: &str = "s2ice-";

/// Deletes branches of runs that no run works on any more, and returns their names: those named, made and last committed to
/// before `older_than`, except `keep`. One request where there are none.
///
/// When a branch was made counts beside its name, since a run is named long before it begins to write.
///
/// # Errors
/// [`crate::Error::Icechunk`]; that another process deleted a branch first is none.
pub async fn remove_stale_branches(
    repository: &Repository,
    url: &SourceUrl,
    keep: Option<&str>,
    older_than: DateTime<Utc>,
) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for name in stale_branches(repository, url, keep, older_than).await? {
        match repository.delete_branch(&name).await {
            Ok(()) => removed.push(name),
            Err(error) if refs::is_gone(&error) => {}
            Err(error) => return Err(icechunk_error("deleting the branch of a run that was killed", url, &error)),
        }
    }
    Ok(removed)
}

/// Whether [`remove_stale_branches`] would find any in what was read of a repository.
pub(crate) fn has_stale_branches(info: &RepoInfo, older_than: DateTime<Utc>) -> bool {
    let branches = refs::read_branches(info, RUN);
    branches.map_or(true, |branches| branches.iter().any(|branch| is_stale(branch, older_than)))
}

/// What [`remove_stale_branches`] would delete.
pub(super) async fn stale_branches(
    repository: &Repository,
    url: &SourceUrl,
    keep: Option<&str>,
    older_than: DateTime<Utc>,
) -> Result<Vec<String>> {
    let branches = refs::branches(repository, url, RUN).await?;
    let stale =
        branches.into_iter().filter(|branch| Some(branch.name.as_str()) != keep && is_stale(branch, older_than));
    Ok(stale.map(|branch| branch.name).collect())
}

fn is_stale(branch: &Branch, older_than: DateTime<Utc>) -> bool {
    branch.touched < older_than && named_at(&branch.name).is_none_or(|named| named < older_than)
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
            let names = ["s2ice-1795000000-1", "s2ice-1795000000-2", "s2ice-other", "users", &young];
            for name in names {
                repository.create_branch(name, &main).await.unwrap();
            }
            let remove = async |keep, older_than| {
                let mut removed = remove_stale_branches(repository, url, keep, older_than).await.unwrap();
                removed.sort();
                removed
            };
            // All were made a moment ago, whatever their names say and however old the snapshot is they begin with.
            assert!(remove(None, now - TimeDelta::hours(1)).await.is_empty());
            let later = Utc::now() + TimeDelta::hours(1);
            assert_eq!(remove(Some(names[0]), later).await, [names[1], names[2]]);
            assert_eq!(remove(None, later).await, [names[0]]);
            assert!(remove(None, later).await.is_empty());
            let left: Vec<_> = repository.list_branches().await.unwrap().into_iter().collect();
            assert_eq!(left, ["main", &young, "users"]);
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
            assert!(remove_stale_branches(repository, url, None, between).await.unwrap().is_empty());
            assert_eq!(remove_stale_branches(repository, url, None, Utc::now()).await.unwrap(), ["s2ice-1-1"]);
        }
    }

    #[tokio::test]
    async fn it_does_not_matter_who_deletes_first() {
        let store = Store::in_memory().await;
        let main = store.commit(1).await;
        store.repository.create_branch("s2ice-1-1", &main).await.unwrap();
        let remove = || remove_stale_branches(&store.repository, store.target.url(), None, Utc::now());
        let (one, two) = tokio::join!(remove(), remove());
        assert_eq!(one.unwrap().len() + two.unwrap().len(), 1);
    }
}
