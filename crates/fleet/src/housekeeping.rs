//! Housekeeping of all stores of a file by somebody else, such as an engine of tasks: what is asked for, one store's part of it as
//! JSON, and what is told of all.

use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use s2ice_store::duration::Span;
use s2ice_store::housekeeping::report::{Collected, GcReport, RollbackReport, StateReport};
use s2ice_store::housekeeping::{GRACE, GcOptions, To, gc, rollback};
use s2ice_store::target::Target;
use serde::Deserialize;

use crate::config::{RunConfig, TileEntry};
use crate::each::{Ended, FleetReport, StoreReport, one};
use crate::text;

/// Stores that are listed one by one.
const LISTED: usize = 50;

/// What is asked for of every store.
#[derive(Debug, Clone, Copy)]
pub enum Housekeeping {
    /// As `s2ice gc`.
    Gc(GcOptions),
    /// As `s2ice rollback --at`.
    Rollback {
        /// The time to go back to.
        at: DateTime<Utc>,
        /// Move nothing.
        dry_run: bool,
        /// This host's clock.
        clock: fn() -> DateTime<Utc>,
    },
}

/// The same as it travels.
#[derive(Deserialize)]
#[serde(tag = "work", rename_all = "snake_case", deny_unknown_fields)]
enum Asked {
    Gc { older_than: String, keep_published: usize, dry_run: bool },
    Rollback { at: String, dry_run: bool },
}

impl Housekeeping {
    /// Reads what is asked for, as JSON.
    ///
    /// # Errors
    /// It is something else, or an age or a time in it is none.
    pub fn read(json: &str, clock: fn() -> DateTime<Utc>) -> Result<Self, String> {
        match serde_json::from_str(json).map_err(|error| error.to_string())? {
            Asked::Gc { older_than, keep_published, dry_run } => {
                let older_than = age(&older_than).map_err(|reason| format!("older_than: {reason}"))?;
                Ok(Self::Gc(GcOptions { keep_published, older_than, dry_run, clock }))
            }
            Asked::Rollback { at, dry_run } => match DateTime::from_str(&at) {
                Ok(at) => Ok(Self::Rollback { at, dry_run, clock }),
                Err(_) => Err(format!("at: {at:?} is no time: give one such as 2026-11-20T18:00:00Z")),
            },
        }
    }

    /// Does it with one store: what became of it, as JSON for [`merge`](Self::merge).
    ///
    /// # Errors
    /// The report cannot be encoded.
    pub async fn one(self, entry: &TileEntry) -> serde_json::Result<String> {
        match self {
            Self::Gc(options) => serde_json::to_string(
                &one(entry, |target: Arc<Target>| async move { gc(&target, options).await }).await,
            ),
            Self::Rollback { at, dry_run, clock } => {
                let work = |target: Arc<Target>| async move { rollback(&target, To::At(at), dry_run, clock).await };
                serde_json::to_string(&one(entry, work).await)
            }
        }
    }

    /// What is told of all stores, `ended` in the order of the file.
    ///
    /// # Errors
    /// What became of one is not what [`one`](Self::one) gives.
    pub fn merge(self, config: &RunConfig, ended: &[(usize, String)]) -> serde_json::Result<Merged> {
        match self {
            Self::Gc(_) => merged::<GcReport>(config, ended),
            Self::Rollback { .. } => merged::<RollbackReport>(config, ended),
        }
    }
}

/// What is told of all stores.
#[derive(Debug)]
pub struct Merged {
    /// The report, as JSON.
    pub json: String,
    /// The same for people.
    pub table: String,
    /// Why it is no success, where it is none.
    pub failure: Option<String>,
}

fn merged<R: StoreReport>(config: &RunConfig, ended: &[(usize, String)]) -> serde_json::Result<Merged> {
    let known = ended.iter().filter_map(|(number, json)| Some((config.tiles.get(*number)?, json)));
    let results = known.map(|(entry, json)| Ok((entry, serde_json::from_str::<Ended<R>>(json)?)));
    let report = FleetReport::of(config, results.collect::<serde_json::Result<_>>()?);
    Ok(Merged { json: serde_json::to_string(&report)?, table: R::render(&report), failure: report.failure() })
}

/// Reads an age: a length of time, or weeks such as `4w`.
///
/// # Errors
/// Anything else, and what is shorter than a day.
pub fn age(text: &str) -> Result<TimeDelta, String> {
    let days = text.strip_suffix('w').and_then(|weeks| weeks.parse::<u32>().ok()).map(|weeks| u64::from(weeks) * 7);
    let Span(age) = days.map_or_else(|| text.to_owned(), |days| format!("{days}d")).parse()?;
    let age = TimeDelta::from_std(age).map_err(|_| format!("{text} is longer than any store is old"))?;
    if age < GRACE {
        return Err("a reader or a build may need what is younger than a day: give 1d or more".to_owned());
    }
    Ok(age)
}

impl StoreReport for GcReport {
    const KIND: &'static str = "s2ice.gc";

    /// The sums, and which were not done.
    fn render(report: &FleetReport<Self>) -> String {
        let sum = |of: fn(&Self) -> u64| text::number(report.stores.iter().map(of).sum());
        let collected = |of: fn(&Collected) -> u64| report.stores.iter().map(|store| of(&store.collected)).sum::<u64>();
        let objects = collected(|c| c.snapshots + c.transaction_logs + c.manifests + c.chunks);
        let bytes: u64 = report.stores.iter().map(|store| store.collected.bytes + store.overwritten.bytes).sum();
        let postponed = report.stores.iter().filter(|store| store.postponed.is_some()).count();
        let rows = [
            ("stores", text::number(report.stores.len() as u64)),
            ("not built yet", text::number(report.unbuilt as u64)),
            ("killed runs", sum(|store| store.branches.len() as u64)),
            (
                "published states",
                format!("{} let go of, {} left", sum(|s| s.tags.len() as u64), sum(|s| s.published as u64)),
            ),
            ("history", format!("{} snapshots let go of", sum(|store| store.released_snapshots))),
            ("collected", format!("{} objects", text::number(objects))),
            ("former versions", format!("{} files", sum(|store| store.overwritten.objects))),
            ("freed", text::bytes(bytes)),
            ("postponed", text::count(postponed, "store")),
            ("left to the next gc", format!("{} objects", sum(|store| store.failed_objects))),
        ];
        let is_dry = report.stores.iter().any(|store| store.dry_run);
        let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
        let outcome = if is_dry { "would be removed; nothing was changed" } else { "removed" };
        format!("{}: {outcome}\n{}", report.config, text::table(&rows, &[]))
    }
}

impl StoreReport for RollbackReport {
    const KIND: &'static str = "s2ice.rollback";

    /// How many moved, and from where to where.
    fn render(report: &FleetReport<Self>) -> String {
        let is_other = |store: &&Self| store.from.snapshot != store.to.snapshot;
        let mut rows = vec![["store", "was", "", "is", ""].map(str::to_owned).to_vec()];
        for store in report.stores.iter().filter(is_other).take(LISTED) {
            let (from, to) = (&store.from, &store.to);
            rows.push(vec![store.store.clone(), tag(from), steps(from), tag(to), steps(to)]);
        }
        let moved = report.stores.iter().filter(is_other).count();
        let is_dry = report.stores.iter().any(|store| store.dry_run);
        let verb = if is_dry { "would be moved; nothing was written" } else { "moved" };
        let (all, unbuilt) = (text::count(report.stores.len(), "store"), text::number(report.unbuilt as u64));
        let mut out =
            format!("{}: {} of {all} {verb}; {unbuilt} not built yet\n", report.config, text::number(moved as u64));
        if moved > 0 {
            out += &text::table(&rows, &[]);
        }
        if moved > LISTED {
            out += &format!("  and {} more: see --json\n", text::number((moved - LISTED) as u64));
        }
        out
    }
}

/// The tag of a state, for people.
#[must_use]
pub fn tag(state: &StateReport) -> String {
    state.tag.clone().unwrap_or_else(|| "(no tag)".to_owned())
}

/// How many time steps a state has, for people.
#[must_use]
pub fn steps(state: &StateReport) -> String {
    state
        .time_steps
        .map_or_else(String::new, |steps| text::count(usize::try_from(steps).unwrap_or(usize::MAX), "time step"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ages_have_a_unit() {
        for (text, minutes) in [("1441m", 1441), ("36h", 2160), ("30d", 43_200), ("4w", 40_320), ("1d", 1440)] {
            assert_eq!(age(text).unwrap(), TimeDelta::minutes(minutes), "{text}");
        }
        for text in ["0d", "59m", "23h", "", "w", "30", "-1w", "1.5w", "3y", "213503982334601d"] {
            assert!(age(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        let read = |json: &str| Housekeeping::read(json, || DateTime::UNIX_EPOCH).map(|_| ());
        assert_eq!(read(r#"{"work": "gc", "older_than": "30d", "keep_published": 1, "dry_run": true}"#), Ok(()));
        assert_eq!(read(r#"{"work": "rollback", "at": "2026-11-20T18:00:00Z", "dry_run": true}"#), Ok(()));
        let young = read(r#"{"work": "gc", "older_than": "1h", "keep_published": 1, "dry_run": true}"#).unwrap_err();
        assert!(young.starts_with("older_than: ") && young.ends_with("give 1d or more"), "{young}");
        let never = read(r#"{"work": "rollback", "at": "soon", "dry_run": true}"#).unwrap_err();
        assert_eq!(never, r#"at: "soon" is no time: give one such as 2026-11-20T18:00:00Z"#);
    }
}
