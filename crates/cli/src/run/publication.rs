//! After the tiles: their stores made public, where the file says so.

use std::sync::Arc;

use s2ice_store::progress::Silent;
use s2ice_store::publish::publish;
use s2ice_store::target::Target;

use super::config::{RunConfig, TileEntry};
use super::memory::place;
use super::summary::Publication;
use crate::log::OUTCOME;
use crate::text;

/// Brings the publication in step with the stores of all tiles, also of those without a part in this run. What fails is told,
/// and takes nothing from the stores.
pub async fn publish_all(config: &RunConfig, entries: &[Arc<TileEntry>], run: &str) -> Option<Publication> {
    let table = config.publish.as_ref()?;
    let settings = match table.publishing(run) {
        Ok(settings) => settings,
        Err(wrong) => return Some(Publication::Failed { error: wrong.reason }),
    };
    let outcome = match stores(entries).await {
        Ok(stores) => publish(&stores, &settings, &Silent).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(report) => {
            let (url, anew) = (&report.url, report.published.len());
            let stores = text::count(report.stores, "store");
            tracing::info!(target: OUTCOME, anew, files = report.files, "published at {url}: {stores}, {anew} described anew");
            Some(Publication::Published { report: Box::new(report) })
        }
        Err(error) => Some(Publication::Failed { error: error.to_string() }),
    }
}

async fn stores(entries: &[Arc<TileEntry>]) -> s2ice_store::Result<Vec<Target>> {
    let mut stores = Vec::new();
    for entry in entries {
        stores.extend(place(entry).await?);
    }
    Ok(stores)
}
