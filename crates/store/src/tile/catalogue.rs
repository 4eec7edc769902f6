//! From which time on a catalogue is asked, and up to which time it was dealt with.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use s2ice_manifest::assemble::{Refusal, RefusalKind};
use s2ice_manifest::product::ProductId;

use super::BuildSettings;
use super::fingerprint::of_texts;
use super::inputs::CatalogueLoad;
use crate::plan::CatalogueStamp;
use crate::report::CatalogueReport;
use crate::state::StoreState;

/// Products without index rows hold the watermark back for so long; older ones are found again by the next full search.
const PATIENCE: TimeDelta = TimeDelta::days(30);

/// SHA-256 of everything that decides what the catalogue's answer leads to.
pub fn query(settings: &BuildSettings) -> Option<String> {
    settings.stac.as_ref().map(|_| of_texts(&answers(settings)))
}

/// Everything that decides what the answers of index and catalogue lead to.
pub fn answers(settings: &BuildSettings) -> Vec<String> {
    let mut texts = vec![
        settings.stac.clone().unwrap_or_default(),
        format!("{:?}", settings.index),
        format!("{:?}", settings.collection),
        settings.tile.to_string(),
        settings.level.to_string(),
        format!("{:?}", settings.datetime),
        format!("{:?}", settings.max_cloud_cover),
        format!("{:?}", settings.arrays),
        format!("{:?}", settings.resolutions),
        format!("{:?}", settings.on_mismatch),
        format!("{:?}", settings.headers),
        format!("{:?}", settings.checksum),
        settings.source.clone(),
        format!("{:?}", settings.container),
    ];
    // Whoever begins to index what is missing wants what was passed over before, too.
    texts.extend(settings.index_missing.then(|| "index-missing".to_owned()));
    texts.extend((!settings.source_kind.is_jp2()).then(|| settings.source_kind.to_string()));
    texts
}

/// The time since which changes are asked for; `None` for everything.
///
/// Only a store that this very question filled can be brought up to date by changes alone; pruning needs the whole answer.
pub fn since(settings: &BuildSettings, state: Option<&StoreState>) -> Option<DateTime<Utc>> {
    let stamp = state.filter(|s| !s.is_empty())?.stamp.catalogue.as_ref()?;
    if settings.full || settings.prune || query(settings)? != stamp.query {
        return None;
    }
    let watermark: DateTime<Utc> = stamp.watermark.parse().ok()?;
    watermark.checked_sub_signed(TimeDelta::from_std(settings.overlap).ok()?)
}

/// What the store shall remember of the catalogue after this run, and what the report says of it.
pub fn outcome(
    settings: &BuildSettings,
    state: Option<&StoreState>,
    load: &CatalogueLoad,
    refused: &[Refusal],
) -> (Option<CatalogueStamp>, CatalogueReport) {
    let pending = pending(load, refused);
    let query = query(settings);
    let before = state.and_then(|s| s.stamp.catalogue.clone()).filter(|stamp| Some(&stamp.query) == query.as_ref());
    let known: Option<DateTime<Utc>> = before.as_ref().and_then(|stamp| stamp.watermark.parse().ok());
    // A time in the future would hide everything that changes until then.
    let newest = load.latest_change.map(|t| t.min((settings.clock)())).max(known);
    // What was not shown is asked for again.
    let newest = if load.incomplete.is_empty() { newest } else { known };
    let watermark = newest.map(|newest| {
        let oldest_pending = pending.values().copied().filter(|changed| *changed >= newest - PATIENCE).min();
        oldest_pending.map_or(newest, |pending| pending.min(newest))
    });
    let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let stamp = query.zip(watermark).map(|(query, t)| CatalogueStamp { query, watermark: text(t) });
    let report = CatalogueReport {
        mode: if load.incremental { "incremental" } else { "full" }.to_owned(),
        since: load.since.filter(|_| load.incremental).map(text),
        watermark: stamp.as_ref().map(|stamp| stamp.watermark.clone()),
        pending: pending.len(),
    };
    (stamp, report)
}

/// Products that the catalogue shows and that a later run may be able to store: those without index rows, and those
/// whose source or index failed this time.
fn pending(load: &CatalogueLoad, refused: &[Refusal]) -> BTreeMap<ProductId, DateTime<Utc>> {
    let retried = refused.iter().filter(|refusal| {
        !matches!(
            refusal.kind,
            RefusalKind::Superseded | RefusalKind::Radiometry | RefusalKind::Filtered | RefusalKind::HeaderProfile
        )
    });
    let retried = retried.filter_map(|refusal| refusal.product.parse::<ProductId>().ok());
    retried.chain(load.without_index.iter().copied()).filter_map(|id| Some((id, *load.changed.get(&id)?))).collect()
}
