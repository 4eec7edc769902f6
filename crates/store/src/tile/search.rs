//! The question to the catalogue, asked, and how index and catalogue are reached.

use s2ice_manifest::source::stac_file::load_stac;
use s2ice_manifest::stac::{StacItem, StacLoad, StacQuery};

use super::BuildSettings;
use super::inputs::Standing;
use crate::error::{Error, Result};
use crate::progress::{Phase, Progress};
use crate::report::StacReport;

/// The question, as a catalogue is asked.
pub fn query_of(settings: &BuildSettings, standing: &Standing) -> StacQuery {
    StacQuery {
        tile: settings.tile,
        level: settings.level,
        datetime: settings.datetime,
        max_cloud_cover: settings.max_cloud_cover,
        collection: settings.collection.clone(),
        updated_since: standing.since,
    }
}

/// What the catalogue answers; nothing where none is asked.
pub async fn catalogue(
    settings: &BuildSettings,
    standing: &Standing,
    progress: &dyn Progress,
) -> Result<(Option<StacLoad>, Option<StacReport>)> {
    let Some(input) = &settings.stac else { return Ok((None, None)) };
    progress.begin(Phase::Stac, None);
    let query = query_of(settings, standing);
    let loaded = match settings.scheduled.heard.as_ref().filter(|heard| heard.answers(&query)) {
        Some(heard) => Ok(heard.load(&query)),
        None => {
            let address = input.reveal().map_err(|error| Error::Request(format!("stac: {error}")))?;
            load_stac(&address, &query, &settings.stac_options).await
        }
    };
    progress.end();
    let mut load = loaded.map_err(|error| Error::of_catalogue(&error))?;
    let nothing = load.items.is_empty() && load.rejected.is_empty() && !load.outside_tile.is_empty();
    if nothing && !load.incremental {
        let tiles: Vec<String> = load.outside_tile.iter().map(|(tile, count)| format!("{count} of {tile}")).collect();
        let shown = tiles.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        return Err(Error::Input(format!("{input} has no item of tile {}, only {shown}", settings.tile)));
    }
    let report = StacReport {
        input: input.to_string(),
        seen: load.seen,
        admitted: load.items.len(),
        refused: load.refused.iter().map(|r| format!("{}: {}", r.place, r.error)).collect(),
        notes: load.notes.iter().map(ToString::to_string).collect(),
        incomplete: load.completeness.reasons().to_vec(),
    };
    if load.incremental {
        let is_shown = |item: &&StacItem| load.seen_items.contains_key(&item.product.to_string());
        let kept: Vec<StacItem> = standing.kept.iter().filter(|item| !is_shown(item)).cloned().collect();
        load.items.extend(kept);
        load.items.sort_by_key(|item| item.product);
    }
    Ok((Some(load), Some(report)))
}

/// The index files, that to which rows are added included where it is there already.
pub fn index_locations(settings: &BuildSettings) -> Vec<String> {
    let mut locations = settings.index.clone();
    let written = settings.write_index.as_ref().filter(|path| path.exists()).map(|path| path.display().to_string());
    locations.extend(written.filter(|path| !settings.index.contains(path)));
    locations
}
