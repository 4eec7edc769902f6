//! From which time on a catalogue is asked, and up to which time it was dealt with.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use s2ice_manifest::assemble::{Refusal, RefusalKind};
use s2ice_manifest::product::ProductId;
use s2ice_manifest::source::memory::{Memory, Searched};
use s2ice_manifest::stac::StacItem;

use super::fingerprint::of_settings;
use super::inputs::CatalogueLoad;
use super::{Bearing, BuildSettings};
use crate::headway::Headway;
use crate::plan::CatalogueStamp;
use crate::report::CatalogueReport;
use crate::state::StoreState;

/// What an index may tell of later holds the watermark back for so long; older ones are found again by the next full search.
const PATIENCE: TimeDelta = TimeDelta::days(30);

/// SHA-256 of the question to index and catalogue; none without a catalogue.
pub fn query(settings: &BuildSettings) -> Option<String> {
    settings.stac.as_ref()?;
    let question = of_settings(settings, Bearing::Question);
    if !settings.index_missing {
        return Some(question);
    }
    // What no index has is compared with the question only where the catalogue shows it.
    let layout = settings.source_options.layout;
    Some(format!("{question}-{}-{layout:?}", of_settings(settings, Bearing::References)))
}

/// From when on the catalogue will be asked, where these settings ask what was asked then.
#[must_use]
pub fn next_search(settings: &BuildSettings, headway: &Headway) -> Option<DateTime<Utc>> {
    if query(settings).as_ref() == Some(&headway.query) { before(settings, headway.until) } else { None }
}

/// Up to when the last run got, where that was with this question, state and memory.
pub fn reached(settings: &BuildSettings, query: &str, snapshot: &str, memory: &Memory) -> Option<DateTime<Utc>> {
    let headway = settings.scheduled.headway.as_ref()?;
    let is_of_this = (headway.query.as_str(), headway.snapshot.as_str()) == (query, snapshot);
    (is_of_this && memory.kept().len() == headway.kept).then_some(headway.until)
}

/// From where a search goes on.
#[derive(Debug, Default)]
pub struct Start {
    /// The time since which changes are asked for; `None` for everything.
    pub since: Option<DateTime<Utc>>,
    /// Older items that are needed all the same, where the memory has them.
    pub kept: Vec<StacItem>,
}

/// Only a store that this very question filled can be brought up to date by changes alone; pruning needs the whole answer, and
/// so does an order to look again at what only its item can tell.
pub fn start(settings: &BuildSettings, state: Option<&StoreState>, memory: &Memory) -> Start {
    let all = Start::default();
    let Some(state) = state.filter(|state| !state.is_empty()) else { return all };
    let (Some(stamp), Some(query)) = (&state.stamp.catalogue, query(settings)) else { return all };
    let ordered = tells_files(settings) && !settings.recheck.is_empty();
    if settings.full || settings.prune || ordered || query != stamp.query {
        return all;
    }
    let snapshot = state.snapshot.to_string();
    let further = memory.searched(&query, &snapshot).max(reached(settings, &query, &snapshot, memory));
    let (watermark, kept) = match further {
        Some(until) => (Some(until), memory.kept()),
        None => (stamp.watermark.parse().ok(), Vec::new()),
    };
    let since = watermark.and_then(|watermark| before(settings, watermark));
    if since.is_some() { Start { since, kept } } else { all }
}

/// Some time before a watermark.
pub fn before(settings: &BuildSettings, watermark: DateTime<Utc>) -> Option<DateTime<Utc>> {
    watermark.checked_sub_signed(TimeDelta::from_std(settings.overlap.0).ok()?)
}

/// The watermark that a time is before.
pub fn after(settings: &BuildSettings, since: DateTime<Utc>) -> Option<DateTime<Utc>> {
    since.checked_add_signed(TimeDelta::from_std(settings.overlap.0).ok()?)
}

/// True where items tell of files that nothing else tells of.
fn tells_files(settings: &BuildSettings) -> bool {
    settings.index_missing || !settings.source_kind.is_jp2()
}

/// What comes of the catalogue's answer.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What the store shall remember of the catalogue.
    pub stamp: Option<CatalogueStamp>,
    /// True where that has to be written even if nothing else has: the next run would ask for less than it needs.
    pub goes_back: bool,
    /// What the report says of it.
    pub report: Option<CatalogueReport>,
    /// Up to when everything is dealt with, but for the items that the memory keeps.
    pub until: Option<Until>,
}

/// Up to when everything is dealt with.
#[derive(Debug, Clone, Copy)]
pub struct Until {
    /// The time.
    pub time: DateTime<Utc>,
    /// True where it stands still until something arrives that the catalogue has shown already.
    pub waits: bool,
}

/// What the store shall remember of the catalogue after this run, and what the report says of it.
pub fn outcome(
    settings: &BuildSettings,
    state: Option<&StoreState>,
    load: Option<&CatalogueLoad>,
    refused: &[Refusal],
) -> Outcome {
    let before = state.and_then(|s| s.stamp.catalogue.clone());
    let Some(load) = load else { return Outcome { stamp: before, ..Outcome::default() } };
    let pending = pending(load, refused);
    let query = query(settings);
    let before = before.filter(|stamp| Some(&stamp.query) == query.as_ref());
    let known: Option<DateTime<Utc>> = before.as_ref().and_then(|stamp| stamp.watermark.parse().ok());
    // A time in the future would hide everything that changes until then.
    let newest = load.latest_change.map(|t| t.min((settings.occasion.clock)())).max(known);
    let asked_before = load.since.filter(|_| load.incremental).and_then(|since| after(settings, since));
    let newest = newest.max(asked_before);
    // What was not shown is asked for again.
    let newest = if load.incomplete.is_empty() { newest } else { known };
    let oldest = |is: &dyn Fn(ProductId, DateTime<Utc>) -> bool| {
        pending.iter().filter(|(id, changed)| is(**id, **changed)).map(|(_, changed)| *changed).min()
    };
    let until = newest.map(|newest| {
        let waits = |id, changed| !load.items.contains_key(&id) && changed >= newest - PATIENCE;
        let pending = oldest(&waits);
        Until { time: pending.map_or(newest, |pending| pending.min(newest)), waits: pending.is_some() }
    });
    // Whose files the item alone tells is found by no index: it is waited for however long that takes.
    let oldest = oldest(&|id, _| load.items.contains_key(&id));
    let watermark = until.map(|until| oldest.map_or(until.time, |pending| pending.min(until.time)));
    let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let stamp = query.zip(watermark).map(|(query, t)| CatalogueStamp { query, watermark: text(t) });
    let report = CatalogueReport {
        mode: if load.incremental { "incremental" } else { "full" }.to_owned(),
        since: load.since.filter(|_| load.incremental).map(text),
        watermark: stamp.as_ref().map(|stamp| stamp.watermark.clone()),
        pending: pending.len(),
    };
    let hides = known.is_some_and(|known| load.backlog || oldest.is_some_and(|oldest| text(oldest) < text(known)));
    // What the limit left must be found again however old it is.
    let stamp = stamp.filter(|_| !load.backlog);
    let until = until.filter(|_| !load.backlog && load.incomplete.is_empty());
    Outcome { stamp, goes_back: hides, report: Some(report), until }
}

/// How far a search got. With the items that it keeps the memory, too, knows more than the store.
pub fn searched(
    settings: &BuildSettings,
    kept: usize,
    snapshot: Option<&str>,
    until: Option<Until>,
) -> Option<Headway> {
    Some(Headway { query: query(settings)?, snapshot: snapshot?.to_owned(), until: until?.time, kept })
}

impl From<Headway> for Searched {
    fn from(Headway { query, snapshot, until, .. }: Headway) -> Self {
        Self { query, snapshot, until }
    }
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
