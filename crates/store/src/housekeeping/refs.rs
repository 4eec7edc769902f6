//! Branches and tags of a repository in as few requests as its format allows.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::{FutureExt, StreamExt, TryStreamExt};
use icechunk::format::format_constants::SpecVersionBin;
use icechunk::format::repo_info::{RepoInfo, UpdateType};
use icechunk::format::{IcechunkResult, SnapshotId, V1_REFS_FILE_PATH};
use icechunk::refs::RefErrorKind;
use icechunk::repository::{RepositoryError, RepositoryErrorKind};
use icechunk::storage::{ListInfo, Settings};
use icechunk::{Repository, RepositoryConfig};
use s2ice_manifest::source::location::SourceUrl;

use crate::clock::StoreClock;
use crate::config::with_conditional_writes;
use crate::error::{Error, Result, icechunk_error};
use crate::target::Target;

/// Tags read at a time from a repository of spec 1.
const CONCURRENT_TAGS: usize = 16;

/// True where one object holds all references; in spec 1 each is a file.
pub(super) fn has_repo_info(repository: &Repository) -> bool {
    repository.spec_version() >= SpecVersionBin::V2
}

/// The object of spec 2 that holds branches, tags, snapshots and the log of changes.
pub(super) async fn repo_info(repository: &Repository, url: &SourceUrl) -> Result<Arc<RepoInfo>> {
    let fetched = repository.asset_manager().fetch_repo_info().await;
    fetched.map(|(info, _)| info).map_err(|error| icechunk_error("reading the repository", url, &error))
}

/// The files of references of spec 1, by their path below `refs/`.
pub(super) async fn files(repository: &Repository, url: &SourceUrl) -> Result<BTreeMap<String, ListInfo<String>>> {
    let failed = |error| icechunk_error("listing branches and tags", url, &error);
    let context = repository.storage_context();
    let listed = repository.storage().list_objects(&context, &format!("{V1_REFS_FILE_PATH}/")).await.map_err(failed)?;
    listed.map_ok(|file| (file.id.clone(), file)).try_collect().await.map_err(failed)
}

/// The tags that `wanted` admits by name.
pub(crate) async fn tags(
    repository: &Repository,
    url: &SourceUrl,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<(String, SnapshotId)>> {
    if has_repo_info(repository) {
        let info = repo_info(repository, url).await?;
        let tags = info.tags().map_err(|error| icechunk_error("reading tags", url, &error))?;
        return Ok(tags.filter(|(name, _)| wanted(name)).map(|(name, id)| (name.to_owned(), id)).collect());
    }
    let files = files(repository, url).await?;
    let names = files.keys().filter_map(|path| path.strip_prefix("tag.")?.strip_suffix("/ref.json"));
    let there = names.filter(|name| wanted(name) && !files.contains_key(&format!("tag.{name}/ref.json.deleted")));
    let there: Vec<String> = there.map(str::to_owned).collect();
    let read: Vec<_> = there.into_iter().map(|name| tag(repository, url, name).boxed()).collect();
    let read: Vec<_> = futures::stream::iter(read).buffered(CONCURRENT_TAGS).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}

async fn tag(repository: &Repository, url: &SourceUrl, name: String) -> Result<Option<(String, SnapshotId)>> {
    match repository.lookup_tag(&name).await {
        Ok(snapshot) => Ok(Some((name, snapshot))),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(icechunk_error("reading tags", url, &error)),
    }
}

/// A branch, and when it was last made, moved or committed to, as far as that is on record.
pub(super) struct Branch {
    pub(super) name: String,
    pub(super) touched: DateTime<Utc>,
}

/// The time of the last change on record.
pub(crate) fn last_update(info: &RepoInfo) -> IcechunkResult<DateTime<Utc>> {
    let last = info.latest_updates()?.next().transpose()?;
    Ok(last.map_or(DateTime::<Utc>::MIN_UTC, |(_, time, _)| time))
}

/// The store's clock, where this host may change a store by it: neither is the host's clock wrong, nor was that of the host
/// that changed the store last. A dry run is told the one, and need not care for the other.
pub(super) async fn clock(
    repository: &Repository,
    target: &Target,
    host: fn() -> DateTime<Utc>,
    dry_run: bool,
) -> Result<StoreClock> {
    let (clock, url) = (target.clock(host), target.url());
    if dry_run {
        clock.warn(url);
        return Ok(clock);
    }
    clock.check(url)?;
    let failed = |error: &(dyn std::error::Error + 'static)| icechunk_error("reading the history", url, error);
    if has_repo_info(repository) {
        let info = repo_info(repository, url).await?;
        clock.check_past(last_update(&info).map_err(|error| failed(&error))?, url)?;
    }
    let tip = main(repository, url).await?;
    let tip = repository.lookup_snapshot(&tip).await.map_err(|error| failed(&error))?;
    clock.check_past(tip.flushed_at, url)?;
    Ok(clock)
}

/// The branches whose name begins with `prefix`.
pub(super) async fn branches(repository: &Repository, url: &SourceUrl, prefix: &str) -> Result<Vec<Branch>> {
    if !has_repo_info(repository) {
        // A commit writes the file anew.
        let files = files(repository, url).await?;
        let branches = files.into_iter().filter_map(|(path, file)| {
            let name = path.strip_prefix("branch.")?.strip_suffix("/ref.json")?.to_owned();
            name.starts_with(prefix).then_some(Branch { name, touched: file.created_at })
        });
        return Ok(branches.collect());
    }
    let info = repo_info(repository, url).await?;
    read_branches(&info, prefix).map_err(|error| icechunk_error("reading branches", url, &error))
}

pub(super) fn read_branches(info: &RepoInfo, prefix: &str) -> IcechunkResult<Vec<Branch>> {
    let mut branches = Vec::new();
    for (name, tip) in info.branches()?.filter(|(name, _)| name.starts_with(prefix)) {
        let mut touched = info.find_snapshot(&tip)?.flushed_at;
        for update in info.latest_updates()? {
            let (kind, time, _) = update?;
            if branch_of(&kind) == Some(name) {
                touched = touched.max(time);
                break;
            }
        }
        branches.push(Branch { name: name.to_owned(), touched });
    }
    Ok(branches)
}

/// The branch that a change moved or made.
fn branch_of(update: &UpdateType) -> Option<&str> {
    match update {
        UpdateType::BranchCreatedUpdate { name } | UpdateType::BranchResetUpdate { name, .. } => Some(name),
        UpdateType::NewCommitUpdate { branch, .. } | UpdateType::CommitAmendedUpdate { branch, .. } => Some(branch),
        _ => None,
    }
}

/// True where the branch or tag is not there.
pub(super) fn is_gone(error: &RepositoryError) -> bool {
    matches!(error.kind, RepositoryErrorKind::Ref(RefErrorKind::RefNotFound(_)))
}

/// True where a branch was not where it was expected.
pub(super) fn is_moved(error: &RepositoryError) -> bool {
    matches!(error.kind, RepositoryErrorKind::Conflict { .. } | RepositoryErrorKind::Ref(RefErrorKind::Conflict { .. }))
}

/// The snapshot that `main` points to.
pub(super) async fn main(repository: &Repository, url: &SourceUrl) -> Result<SnapshotId> {
    let found = repository.lookup_branch("main").await;
    found.map_err(|error| icechunk_error("reading branch main", url, &error))
}

/// The repository of a store, to be changed.
pub(super) async fn open(target: &Target) -> Result<Repository> {
    let failed = |error: RepositoryError| icechunk_error("opening the store", target.url(), &error);
    target.probe().await?;
    if !Repository::exists(target.storage(), None).await.map_err(failed)? {
        return Err(Error::NoStore { url: target.url().to_string() });
    }
    let open = Repository::open(target.storage());
    let open = if target.url().local_root().is_some() {
        open
    } else {
        let storage = Some(with_conditional_writes(Settings::default()));
        open.config(RepositoryConfig { storage, ..RepositoryConfig::default() })
    };
    open.execute().await.map_err(failed)
}
