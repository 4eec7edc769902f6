//! What became of one tile.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, TimeDelta, Utc};
use s2ice_store::report::{BuildReport, Changes};
use s2ice_store::runs::{LastOutcome, LastRun, NAMES_KEPT, Reported};
use s2ice_store::unseen::Unseen;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::config::TileEntry;

/// A tile of which nothing is new is told whole again after this time: reports are rotated away.
const TOLD_AGAIN: TimeDelta = TimeDelta::days(7);

/// How a tile of a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A new state was published (in a dry run: would be).
    Updated,
    /// There was nothing to do.
    Unchanged,
    /// Source, index or catalogue could not be seen, or not in full: the store may lack what is new.
    Stale,
    /// It failed, or took too long.
    Failed,
    /// It was under way when the run was told to stop.
    Interrupted,
    /// It was not begun.
    Skipped,
}

impl Outcome {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 6] =
        [Self::Updated, Self::Unchanged, Self::Stale, Self::Failed, Self::Interrupted, Self::Skipped];

    /// For people, and as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Stale => "stale",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
        }
    }
}

/// One tile of a run, in numbers. Counts are those of the run and absent where it did not get so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TileReport {
    /// MGRS tile.
    pub tile: String,
    /// Processing level.
    pub level: String,
    /// Address of the store.
    pub store: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed, is stale, was stopped or skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What could not be seen, where it is stale.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<Unseen>,
    /// When it began, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// When it ended, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// How long it took, seconds.
    pub seconds: f64,
    /// What the build counted.
    #[serde(flatten)]
    pub counts: Option<Counts>,
}

/// What the build of a tile counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Products in the store, those of eras included.
    pub products: u64,
    /// Products appended or inserted.
    pub added: u64,
    /// Products replaced by a later processing.
    pub replaced: u64,
    /// Products whose files or metadata changed.
    pub changed: u64,
    /// Products removed.
    pub removed: u64,
    /// Products of the catalogue without index rows.
    pub missing_index: u64,
    /// Products and rasters left out.
    pub refused: u64,
    /// Requests to the source.
    pub requests: u64,
    /// Bytes received from it.
    pub bytes: u64,
}

impl Counts {
    /// Counts what a report lists.
    pub fn of(report: &BuildReport) -> Self {
        let count = |of: fn(&Changes) -> usize| report.all_changes().map(of).sum::<usize>() as u64;
        Self {
            products: report.products.stored as u64,
            added: count(|changes| changes.appended.len() + changes.inserted.len()),
            replaced: count(|changes| changes.replaced.len()),
            changed: count(|changes| changes.updated.len()),
            removed: count(|changes| changes.removed.len()),
            missing_index: report.products.without_index.len() as u64,
            refused: report.refused.len() as u64,
            requests: report.source_use.requests,
            bytes: report.source_use.bytes,
        }
    }
}

/// What became of a tile that was begun, as the run is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Word {
    /// In numbers.
    pub tile: TileReport,
    /// What its build did; `None` where it did not come to its end.
    pub build: Option<Box<BuildReport>>,
    /// What is known of it now.
    pub last: LastRun,
}

/// A tile that was begun: when, and how it ended.
pub struct Ended {
    /// When it began.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub ended: DateTime<Utc>,
    /// The report of its build, or how and why there is none.
    pub result: Result<Box<BuildReport>, Lost>,
}

/// Why a tile has no report.
pub enum Lost {
    /// It failed.
    Failed(String),
    /// Something could not be seen.
    Unseen(Unseen),
    /// It was told to stop.
    Interrupted(String),
}

impl Ended {
    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        match &self.result {
            Ok(report) if !report.unseen.is_empty() => Outcome::Stale,
            Ok(report) if is_changed(report) => Outcome::Updated,
            Ok(_) => Outcome::Unchanged,
            Err(Lost::Failed(_)) => Outcome::Failed,
            Err(Lost::Unseen(_)) => Outcome::Stale,
            Err(Lost::Interrupted(_)) => Outcome::Interrupted,
        }
    }

    /// What it could not see.
    fn unseen(&self) -> &[Unseen] {
        match &self.result {
            Ok(report) => &report.unseen,
            Err(Lost::Unseen(unseen)) => std::slice::from_ref(unseen),
            Err(_) => &[],
        }
    }

    /// Why it is no success, where it is none.
    fn error(&self) -> Option<String> {
        match &self.result {
            Err(Lost::Failed(sentence) | Lost::Interrupted(sentence)) => Some(sentence.clone()),
            _ => {
                let told: Vec<String> = self.unseen().iter().map(ToString::to_string).collect();
                (!told.is_empty()).then(|| told.join("; "))
            }
        }
    }

    /// Its line of the run's report.
    pub fn report(&self, entry: &TileEntry) -> TileReport {
        TileReport {
            outcome: self.outcome(),
            error: self.error(),
            unseen: self.unseen().to_vec(),
            started: Some(clock::text(self.started)),
            ended: Some(clock::text(self.ended)),
            seconds: clock::seconds(self.started, self.ended),
            counts: self.result.as_ref().ok().map(|report| Counts::of(report)),
            ..skipped(entry, "")
        }
    }

    /// What shall be remembered of it, given what was remembered before; `reports` where the run writes a line of it.
    pub fn remember(
        &self,
        entry: &TileEntry,
        run: &str,
        before: Option<LastRun>,
        (reports, full_every): (bool, u32),
    ) -> LastRun {
        let is_in_turn = before.as_ref().is_some_and(|before| before.runs_since_full.saturating_add(1) >= full_every);
        let (tile, level) = (entry.settings.tile.to_string(), entry.settings.level.to_string());
        let new = LastRun::new(run, &tile, &level, self.started, self.ended);
        let mut before = before.unwrap_or_else(|| new.clone());
        let outcome = match self.outcome() {
            Outcome::Updated => LastOutcome::Updated,
            Outcome::Unchanged => LastOutcome::Unchanged,
            Outcome::Stale => LastOutcome::Stale,
            Outcome::Failed => LastOutcome::Failed,
            Outcome::Interrupted | Outcome::Skipped => LastOutcome::Interrupted,
        };
        // Who is told to stop says nothing of the tile.
        let completed = if outcome == LastOutcome::Interrupted { before.completed } else { Some(outcome) };
        let new = LastRun { outcome, completed, error: self.error(), unseen: self.unseen().to_vec(), ..new };
        match &self.result {
            Err(_) => LastRun {
                kind: new.kind,
                version: new.version,
                run: new.run,
                started: self.started,
                ended: self.ended,
                outcome,
                completed,
                error: new.error,
                unseen: new.unseen,
                added: 0,
                replaced: 0,
                removed: 0,
                source_requests: 0,
                source_bytes: 0,
                ..before
            },
            Ok(report) => {
                let counts = Counts::of(report);
                let asked_in_part = report.catalogue.as_ref().is_some_and(|catalogue| catalogue.mode != "full");
                let unindexed = report.products.without_index.iter().map(|missing| missing.product.clone()).collect();
                let is_seen = report.unseen.is_empty();
                let (names, missing) = missing(unindexed, report, (asked_in_part || !is_seen).then_some(&before));
                let runs_since_full = match (is_seen, asked_in_part) {
                    (false, _) => before.runs_since_full,
                    (true, true) => before.runs_since_full.saturating_add(1),
                    (true, false) if is_in_turn => 0,
                    // Stores that are built, or asked for in full, together are not to be in full together again.
                    (true, false) => turn(&tile, &level, full_every),
                };
                let reported = reports.then(|| self.reported(run, left_out(report, &names), before.reported.take()));
                LastRun {
                    reported,
                    last_success: if is_seen { Some(self.ended) } else { before.last_success },
                    runs_since_full,
                    newest_product: report.newest().and_then(|time| time.parse().ok()),
                    products: Some(counts.products),
                    references: Some(report.all_references()),
                    added: counts.added,
                    replaced: counts.replaced,
                    removed: counts.removed,
                    missing_index_products: names,
                    missing_index_count: missing,
                    refused: counts.refused,
                    source_requests: counts.requests,
                    source_bytes: counts.bytes,
                    headway: report.headway.clone(),
                    watermark: report.catalogue.as_ref().and_then(|catalogue| catalogue.watermark.clone()),
                    ..new
                }
            }
        }
    }

    /// Where all of it is told: in this run's line, unless nothing happened and an earlier one told the same.
    fn reported(&self, run: &str, left_out: String, before: Option<Reported>) -> Reported {
        let same = before.filter(|before| {
            let age = self.ended - before.time;
            self.outcome() == Outcome::Unchanged && before.left_out == left_out && age < TOLD_AGAIN
        });
        same.unwrap_or_else(|| Reported { run: run.to_owned(), time: self.ended, left_out })
    }
}

/// Fingerprint of what is not in the store and why. Another version of s2ice may give another one, and with that one more
/// whole line.
fn left_out(report: &BuildReport, missing: &[String]) -> String {
    let mut hasher = DefaultHasher::new();
    let refused =
        report.refused.iter().map(|refusal| (&refusal.product, &refusal.raster, format!("{:?}", refusal.kind)));
    let refused: BTreeSet<_> = refused.collect();
    let waiting: Vec<&String> = report.incomplete.iter().map(|incomplete| &incomplete.product).collect();
    let catalogue = report.stac.as_ref().map(|stac| (&stac.refused, &stac.incomplete));
    (missing, refused, waiting, catalogue, report.index.rejected).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Some number below `full_every`, the same for a tile always.
fn turn(tile: &str, level: &str, full_every: u32) -> u32 {
    let mut hasher = DefaultHasher::new();
    (tile, level).hash(&mut hasher);
    u32::try_from(hasher.finish() % u64::from(full_every.max(1))).unwrap_or(0)
}

fn is_changed(report: &BuildReport) -> bool {
    report.committed.is_some() || report.all_changes().any(|changes| !changes.is_empty())
}

/// Products without index rows. A catalogue that was asked only for what changed says nothing of those that were missing
/// before: they still are, unless they have come into the store.
fn missing(names: Vec<String>, report: &BuildReport, before: Option<&LastRun>) -> (Vec<String>, u64) {
    still_missing(names, &report.all_changes().collect::<Vec<_>>(), before)
}

fn still_missing(mut names: Vec<String>, changes: &[&Changes], before: Option<&LastRun>) -> (Vec<String>, u64) {
    let mut unnamed = 0;
    if let Some(before) = before {
        let arrived = |name: &String| {
            changes.iter().any(|changes| {
                let lists = [&changes.appended, &changes.inserted, &changes.updated];
                lists.iter().any(|list| list.contains(name)) || changes.replaced.iter().any(|r| r.by == *name)
            })
        };
        let still = before.missing_index_products.iter().filter(|name| !arrived(name));
        let still: Vec<String> = still.filter(|name| !names.contains(name)).cloned().collect();
        names.extend(still);
        unnamed = before.missing_index_count.saturating_sub(before.missing_index_products.len() as u64);
    }
    names.sort_unstable();
    let count = names.len() as u64 + unnamed;
    names.truncate(NAMES_KEPT);
    (names, count)
}

/// A tile that is not begun.
pub fn skipped(entry: &TileEntry, reason: &str) -> TileReport {
    TileReport {
        tile: entry.settings.tile.to_string(),
        level: entry.settings.level.to_string(),
        store: entry.store.clone(),
        outcome: Outcome::Skipped,
        error: Some(reason.to_owned()),
        unseen: Vec::new(),
        started: None,
        ended: None,
        seconds: 0.0,
        counts: None,
    }
}

#[cfg(test)]
mod tests {
    use s2ice_store::report::Replaced;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn before(missing: &[&str], count: u64) -> LastRun {
        let time = DateTime::<Utc>::UNIX_EPOCH;
        let missing_index_products = names(missing);
        LastRun { missing_index_products, missing_index_count: count, ..LastRun::new("1", "33TVN", "L2A", time, time) }
    }

    #[test]
    fn what_was_missing_stays_so_until_it_arrives_or_everything_is_asked() {
        let none = Changes::default();
        assert_eq!(still_missing(names(&["b", "a"]), &[&none], None), (names(&["a", "b"]), 2));
        assert_eq!(still_missing(names(&["b"]), &[&none], Some(&before(&["a", "b"], 2))), (names(&["a", "b"]), 2));
        let changes = Changes {
            appended: names(&["a"]),
            inserted: names(&["c"]),
            updated: names(&["e"]),
            replaced: vec![Replaced { product: "x".to_owned(), by: "d".to_owned() }],
            ..Changes::default()
        };
        let known = before(&["a", "b", "c", "d", "e", "x"], 6);
        assert_eq!(still_missing(names(&[]), &[&changes], Some(&known)), (names(&["b", "x"]), 2));
    }

    #[test]
    fn a_hundred_names_are_kept_and_all_are_counted() {
        let many: Vec<String> = (0..150).map(|n| format!("{n:03}")).collect();
        let (kept, count) = still_missing(many, &[], None);
        assert_eq!((kept.len(), count, kept.last().map(String::as_str)), (100, 150, Some("099")));
        let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
        let (_, count) = still_missing(names(&["new"]), &[], Some(&before(&kept, 150)));
        assert_eq!(count, 151);
    }
}
