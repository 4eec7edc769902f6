//! After the tiles: their stores made public, where the file says so.

use std::sync::Arc;

use s2ice_manifest::source::location::SourceUrl;
use s2ice_store::progress::Silent;
use s2ice_store::publish::{Named, publish};
use s2ice_store::tile::{BuildSettings, Occasion};

use crate::config::TileEntry;
use crate::memory::place;
use crate::publishing::PublishTable;
use crate::summary::Publication;
use crate::text;
use crate::told::OUTCOME;

/// Brings the publication in step with the stores of all tiles, also of those without a part in this run. What fails is told,
/// and takes nothing from the stores.
pub async fn publish_all(table: &PublishTable, entries: &[Arc<TileEntry>], occasion: &Occasion) -> Publication {
    let settings = match table.publishing(occasion) {
        Ok(settings) => settings,
        Err(wrong) => return Publication::Failed { error: wrong.reason },
    };
    let outcome = match named(entries.iter().map(Arc::as_ref)).await {
        Ok(stores) => publish(&stores, &settings, &Silent).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(report) => {
            let (url, anew) = (&report.url, report.published.len());
            let stores = text::count(report.stores, "store");
            tracing::info!(target: OUTCOME, anew, files = report.files, "published at {url}: {stores}, {anew} described anew");
            Publication::Published { report: Box::new(report) }
        }
        Err(error) => Publication::Failed { error: error.to_string() },
    }
}

/// The stores of a file, also those that are not there.
///
/// # Errors
/// An address or its options cannot be used.
pub async fn named<'a>(entries: impl IntoIterator<Item = &'a TileEntry>) -> s2ice_store::Result<Vec<Named>> {
    let mut stores = Vec::new();
    for entry in entries {
        let BuildSettings { tile, level, .. } = &entry.settings;
        stores.push(Named::by_file(*tile, *level, SourceUrl::parse(&entry.store)?, place(entry).await?));
    }
    Ok(stores)
}
