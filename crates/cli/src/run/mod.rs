//! `s2ice run`: every tile of a file brought up to date, each apart from the others.

pub mod config;
mod files;
pub mod journal;
pub mod memory;
mod metrics;
pub mod publication;
mod refresh;
mod samples;
pub mod summary;
mod supervise;
mod template;
pub mod tile;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use s2ice_store::report::{BuildReport, REPORT_VERSION};
use s2ice_store::runs::LastRun;
use tracing::Instrument;

use self::config::{RunConfig, TileEntry};
use self::journal::Journal;
use self::metrics::Metrics;
use self::refresh::{Asked, Refresh};
use self::samples::Sample;
use self::summary::RunReport;
use self::tile::{Outcome, TileReport, skipped};
use crate::clock;
use crate::exit::Failure;
use crate::log::{self, OUTCOME};
use crate::progress::TileBar;

/// Sidecars read at a time.
const READ_AT_ONCE: usize = 8;

/// How long they may take for the metrics of a run that was told to stop.
const HASTE: Duration = Duration::from_secs(10);

/// What the command line asks of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Tiles at a time, where not as the file says.
    pub jobs: Option<std::num::NonZeroUsize>,
    /// Ask every catalogue for everything.
    pub full: bool,
    /// Remove what the inputs no longer have.
    pub prune: bool,
    /// Work everything out, write nothing.
    pub dry_run: bool,
    /// Leave out what the interrupted run before has done.
    pub resume: bool,
}

/// What a run says of each tile while it goes on.
struct Told {
    report: TileReport,
    /// What is known of the tile now, where it was begun.
    last: Option<LastRun>,
}

/// Runs the tiles at `chosen` of the file until all ended or `stop` is ready. Beside the report: that the file of reports
/// or metrics could not be written, which is a failure of its own.
///
/// # Errors
/// The report of the run to go on with cannot be read; no tile was begun either.
pub async fn run(
    config: RunConfig,
    chosen: &[usize],
    options: Options,
    run: &str,
    stop: impl Future<Output = ()> + Send + 'static,
    bar: &TileBar,
) -> Result<(RunReport, Option<String>), Failure> {
    let started = clock::now();
    let name = std::path::absolute(&config.path).unwrap_or_else(|_| config.path.clone()).display().to_string();
    let before = match (&config.run.report, options.resume) {
        (_, false) => None,
        (Some(path), true) => {
            journal::unfinished(path, &name, started).map_err(|e| Failure::Fault(unwritable(path, "read", &e)))?
        }
        (None, true) => {
            return Err(Failure::usage("--resume needs the report of the run before: set `report` in [run]"));
        }
    };
    let path = config.run.report.clone().filter(|_| !options.dry_run);
    let mut record = Record { journal: Journal::new(path.clone(), run), path, broken: None };
    let resumes = before.as_ref().map(|before| before.run.as_str());
    let begun = record.journal.started(&clock::text(started), &name, chosen.len(), resumes);
    record.check(begun);
    if let Some(sentence) = &record.broken {
        tracing::error!("{sentence}; the stores are refreshed all the same");
    }

    tracing::info!(config = name, tiles = chosen.len(), "the run begins");

    let done = before.as_ref().map(|before| before.done.clone()).unwrap_or_default();
    let entries = config.tiles.iter().map(|entry| Arc::new(entry.clone())).collect::<Vec<_>>();
    let mut told: BTreeMap<usize, Told> = BTreeMap::new();
    let mut left = Vec::new();
    for &number in chosen {
        let entry = &entries[number];
        if is_done(&done, entry) {
            let report = skipped(entry, "done by the interrupted run");
            record.tile(&report, None, None, bar, (told.len() + 1, chosen.len()));
            told.insert(number, Told { report, last: None });
        } else {
            left.push(number);
        }
    }

    let refresh = Refresh {
        asked: Asked { full: options.full, prune: options.prune, dry_run: options.dry_run },
        full_every: config.run.full_every.get(),
        limit: config.run.tile_timeout.map(|span| span.0),
        run: run.to_owned(),
        reports: config.run.report.is_some(),
        stop: supervise::stop(stop),
    };
    let jobs = options.jobs.unwrap_or(config.run.jobs).get();
    let mut ended = stream::iter(left)
        .map(|number| {
            let entry = Arc::clone(&entries[number]);
            let refresh = &refresh;
            async move { (number, refresh.tile(Arc::clone(&entry)).instrument(span(&entry)).await) }
        })
        .buffer_unordered(jobs);
    let mut interrupted = false;
    while let Some((number, refreshed)) = ended.next().await {
        let entry = &entries[number];
        let (report, build, last) = match refreshed {
            None => {
                interrupted = true;
                (skipped(entry, "not begun: the run was told to stop"), None, None)
            }
            Some((ended, last)) => {
                interrupted |= ended.outcome() == Outcome::Interrupted;
                (ended.report(entry), ended.result.ok(), Some(last))
            }
        };
        record.tile(&report, build.as_deref(), last.as_ref(), bar, (told.len() + 1, chosen.len()));
        told.insert(number, Told { report, last });
    }
    drop(ended);
    bar.finish();

    let publication =
        if interrupted || options.dry_run { None } else { publication::publish_all(&config, &entries, run).await };
    let now = clock::now();
    let mut outcomes = BTreeMap::new();
    for told in told.values() {
        *outcomes.entry(told.report.outcome).or_insert(0) += 1;
    }
    let seconds = clock::seconds(started, now);
    let written = record.journal.ended(&clock::text(now), seconds, interrupted, &outcomes);
    record.check(written);
    tracing::info!(seconds, interrupted, "the run ends");
    if let Some(path) = config.run.metrics.as_ref().filter(|_| !options.dry_run) {
        // Whoever told the run to stop does not wait for long.
        let patience = if interrupted { HASTE } else { Duration::MAX };
        match tokio::time::timeout(patience, known(&entries, chosen, &mut told)).await {
            Ok(tiles) => {
                let others = others(path, &entries, &tiles);
                let metrics = Metrics { tiles: &tiles, others: &others, outcomes: &outcomes, started, ended: now };
                if let Err(error) = metrics.write(path) {
                    record.broken = record.broken.take().or(Some(unwritable(path, "written", &error)));
                }
            }
            Err(_) => tracing::warn!("the metrics stay as they were: what is known of the tiles was not read in time"),
        }
    }
    let report = RunReport {
        kind: "s2ice.run".to_owned(),
        version: REPORT_VERSION,
        run: run.to_owned(),
        config: name,
        resumes: before.map(|before| before.run),
        dry_run: options.dry_run,
        interrupted,
        started: clock::text(started),
        ended: clock::text(now),
        seconds,
        outcomes,
        tiles: told.into_values().map(|told| told.report).collect(),
        publication,
    };
    Ok((report, record.broken))
}

/// The report that grows while the run goes on.
struct Record {
    journal: Journal,
    path: Option<PathBuf>,
    broken: Option<String>,
}

impl Record {
    fn tile(
        &mut self,
        tile: &TileReport,
        build: Option<&BuildReport>,
        last: Option<&LastRun>,
        bar: &TileBar,
        (number, of): (usize, usize),
    ) {
        let reported = last.and_then(|last| last.reported.as_ref()).map(|reported| reported.run.as_str());
        let written = self.journal.tile(tile, build, reported);
        self.check(written);
        let (outcome, seconds) = (tile.outcome.name(), tile.seconds);
        let snapshot = build.and_then(|build| build.committed.as_ref()).map(|committed| committed.snapshot.as_str());
        let line = summary::line(tile, snapshot, number, of);
        log::tile(&tile.tile, &tile.level).in_scope(|| match tile.outcome {
            Outcome::Failed | Outcome::Stale | Outcome::Interrupted => {
                tracing::error!(target: OUTCOME, outcome, seconds, "{line}")
            }
            _ => tracing::info!(target: OUTCOME, outcome, seconds, snapshot, "{line}"),
        });
        bar.ended();
    }

    /// A disk that is full fills no store: the run goes on, and tells at its end.
    fn check(&mut self, written: std::io::Result<()>) {
        if let (Err(error), Some(path)) = (written, &self.path) {
            self.broken = self.broken.take().or(Some(unwritable(path, "written", &error)));
        }
    }
}

fn unwritable(path: &Path, what: &str, error: &std::io::Error) -> String {
    format!("{} cannot be {what}: {error}", path.display())
}

fn is_done(done: &BTreeSet<(String, String)>, entry: &TileEntry) -> bool {
    done.contains(&(entry.settings.tile.to_string(), entry.settings.level.to_string()))
}

fn span(entry: &TileEntry) -> tracing::Span {
    log::tile(&entry.settings.tile, &entry.settings.level)
}

/// What is known of each tile that had a part in this run, also where it was left out of it in the end.
async fn known(entries: &[Arc<TileEntry>], chosen: &[usize], told: &mut BTreeMap<usize, Told>) -> Vec<LastRun> {
    let news: Vec<(&TileEntry, Option<LastRun>)> = chosen
        .iter()
        .map(|number| (entries[*number].as_ref(), told.get_mut(number).and_then(|told| told.last.take())))
        .collect();
    stream::iter(news)
        .map(|(entry, last)| async move {
            match last {
                Some(last) => Some(last),
                None => memory::recall(entry).instrument(span(entry)).await,
            }
        })
        .buffered(READ_AT_ONCE)
        .filter_map(|last| async { last })
        .collect()
        .await
}

/// What the metrics say of the other tiles of the file.
fn others(path: &Path, entries: &[Arc<TileEntry>], known: &[LastRun]) -> Vec<Sample> {
    let mut others: BTreeSet<(String, String)> =
        entries.iter().map(|entry| (entry.settings.tile.to_string(), entry.settings.level.to_string())).collect();
    for last in known {
        others.remove(&(last.tile.clone(), last.level.clone()));
    }
    if others.is_empty() {
        return Vec::new();
    }
    let is_other = |tile: &str, level: &str| others.contains(&(tile.to_owned(), level.to_owned()));
    samples::read(path, is_other).unwrap_or_else(|error| {
        tracing::warn!(
            "the metrics lose the tiles without a part in this run: {} cannot be read: {error}",
            path.display()
        );
        Vec::new()
    })
}
