//! What the last run of a tile left beside its store. Best effort: it tells operators, no store depends on it.

use std::time::Duration;

use s2ice_manifest::source::location::SourceUrl;
use s2ice_store::runs::{LastRun, read_last_run, write_last_run};
use s2ice_store::target::Target;

use crate::config::TileEntry;

/// How long a small file may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it may take when the process was told to end.
const HASTE: Duration = Duration::from_secs(5);

/// The place of a tile's store; `None` where there is surely none: opening it would make its folder.
///
/// # Errors
/// The place cannot be opened.
pub async fn place(entry: &TileEntry) -> s2ice_store::Result<Option<Target>> {
    let url = SourceUrl::parse(&entry.store)?;
    if url.local_root().is_some_and(|root| !root.is_dir()) {
        return Ok(None);
    }
    Target::open(url, entry.settings.store_options.clone()).await.map(Some)
}

/// What the last run left; nothing where it cannot be read.
pub async fn recall(entry: &TileEntry) -> Option<LastRun> {
    let read = async {
        match place(entry).await? {
            Some(target) => read_last_run(&target).await,
            None => Ok(None),
        }
    };
    match tokio::time::timeout(PATIENCE, read).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            tracing::info!("what the last run left cannot be read: {error}");
            None
        }
        Err(_) => {
            tracing::info!("what the last run left cannot be read in time");
            None
        }
    }
}

/// Leaves word of a run for the next one and for `s2ice status`, where there is a store, which may be known already.
pub async fn remember(entry: &TileEntry, last: &LastRun, is_known: bool, in_haste: bool) {
    let write = async {
        match place(entry).await? {
            Some(target) => write_last_run(&target, last, is_known).await.map(|_| ()),
            None => Ok(()),
        }
    };
    match tokio::time::timeout(if in_haste { HASTE } else { PATIENCE }, write).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("the run cannot be remembered: {error}"),
        Err(_) => tracing::warn!("the run cannot be remembered: no answer in time"),
    }
}
