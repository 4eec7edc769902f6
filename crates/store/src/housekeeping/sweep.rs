//! Former versions of the repository's own files, which Icechunk keeps for ever: with each change of a branch or tag the
//! whole object of references is copied to `overwritten/`.
//!
//! Only the log of changes reads them, for what does not stand in the present object (the last thousand changes do). It ends
//! where a copy is not there. A change younger than the cutoff is in a copy younger than the cutoff.

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use icechunk::Repository;
use icechunk::format::OVERWRITTEN_FILES_PATH;
use icechunk::storage::ListInfo;
use s2ice_manifest::source::location::SourceUrl;

use super::collect::CLOCK_STEP;
use super::report::Removed;
use crate::error::{Result, icechunk_error};

/// The files whose former versions are known to be of no use: references, and the configuration of spec 1.
const FILES: [&str; 2] = ["repo.", "config.yaml."];

/// Deletes former versions from before `cutoff`.
pub(super) async fn sweep(
    repository: &Repository,
    url: &SourceUrl,
    cutoff: DateTime<Utc>,
    dry_run: bool,
) -> Result<Removed> {
    let failed = |error| icechunk_error("deleting former versions of the repository's files", url, &error);
    let (storage, context) = (repository.storage(), repository.storage_context());
    let listed = storage.list_objects(&context, OVERWRITTEN_FILES_PATH).await.map_err(failed)?;
    let old = |file: &ListInfo<String>| {
        FILES.iter().any(|name| file.id.starts_with(name)) && file.created_at + CLOCK_STEP <= cutoff
    };
    let old: Vec<(String, u64)> = listed
        .try_filter_map(|file| std::future::ready(Ok(old(&file).then_some((file.id, file.size_bytes)))))
        .try_collect()
        .await
        .map_err(failed)?;
    if dry_run || old.is_empty() {
        return Ok(Removed { objects: old.len() as u64, bytes: old.iter().map(|(_, bytes)| bytes).sum() });
    }
    let files = futures::stream::iter(old).boxed();
    let deleted = storage.delete_objects(&context, OVERWRITTEN_FILES_PATH, files).await.map_err(failed)?;
    Ok(Removed { objects: deleted.deleted_objects, bytes: deleted.deleted_bytes })
}
