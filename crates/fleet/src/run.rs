//! One run over the tiles of a file: which are due, what became of each, and what is left behind at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, stream};
use s2ice_manifest::source::changes::Changes;
use s2ice_manifest::source::stac_file::StacLoadError;
use s2ice_store::duration::Span;
use s2ice_store::report::{BuildReport, REPORT_VERSION};
use s2ice_store::runs::LastRun;
use s2ice_store::tile::Occasion;
use tracing::Instrument;

use crate::config::{RunConfig, RunTable, TileEntry};
use crate::journal::{self, Journal};
use crate::metrics::Metrics;
use crate::publishing::PublishTable;
use crate::refresh::{Asked, Given, Refresh};
use crate::samples::{self, Sample};
use crate::summary::{self, RunReport};
use crate::supervise::Stop;
use crate::tile::{Outcome, TileReport, Word, skipped};
use crate::told::{self, OUTCOME};
use crate::{changes, clock, memory, need, publication};

/// Sidecars read at a time.
const READ_AT_ONCE: usize = 8;

/// Names of products without index rows in a sidecar that is remembered; longer ones are read again.
const FEW: usize = 8;

/// How long they may take for the metrics of a run that was told to stop.
const HASTE: Duration = Duration::from_secs(10);

/// What is asked of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Of every tile.
    pub asked: Asked,
    /// Leave out what the interrupted run before has done.
    pub resume: bool,
    /// The tiles are a share of those of a larger run, which does not end with this one.
    pub is_share: bool,
    /// After this time no tile is begun any more, where not as the file says.
    pub deadline: Option<Span>,
}

/// How a tile of a run ended.
pub enum End {
    /// It was begun, and this became of it.
    Begun(Box<Word>),
    /// The run was told to stop before.
    Stopped,
    /// The deadline passed before.
    Late,
    /// Whoever refreshed it is gone, and why.
    Lost(String),
}

/// Why a run does not begin.
#[derive(Debug, thiserror::Error)]
pub enum Unbegun {
    /// The report of the run to go on with cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// There is none.
    #[error("--resume needs the report of the run before: set `report` in [run]")]
    NoReport,
}

/// What a run says of each tile while it goes on.
struct Told {
    report: TileReport,
    /// What is known of the tile now, where it was begun.
    last: Option<LastRun>,
}

/// A run under way.
pub struct Run {
    name: String,
    table: RunTable,
    publish: Option<PublishTable>,
    entries: Vec<Arc<TileEntry>>,
    chosen: Vec<usize>,
    due: Vec<usize>,
    options: Options,
    occasion: Occasion,
    started: DateTime<Utc>,
    resumes: Option<String>,
    record: Record,
    told: BTreeMap<usize, Told>,
    /// What the last runs of tiles left that are still to be refreshed.
    last: BTreeMap<usize, Option<LastRun>>,
    changes: changes::Told,
    /// True where they were given and need not be asked for.
    has_changes: bool,
    interrupted: bool,
}

impl Run {
    /// Begins a run of the tiles at `chosen` of the file; `ended` is called for each tile of which nothing is to be done.
    ///
    /// # Errors
    /// The report of the run to go on with cannot be read; no tile was begun either.
    pub fn begin(
        config: RunConfig,
        chosen: &[usize],
        options: Options,
        occasion: &Occasion,
        ended: &dyn Fn(&TileReport),
    ) -> Result<Self, Unbegun> {
        let started = (occasion.clock)();
        let name = std::path::absolute(&config.path).unwrap_or_else(|_| config.path.clone()).display().to_string();
        let before = match (&config.run.report, options.resume) {
            (_, false) => None,
            (Some(path), true) => journal::unfinished(path, &name, started)
                .map_err(|error| Unbegun::Unreadable(unwritable(path, "read", &error)))?,
            (None, true) => return Err(Unbegun::NoReport),
        };
        let path = config.run.report.clone().filter(|_| !options.asked.dry_run);
        let mut record = Record { journal: Journal::new(path.clone(), &occasion.run), path, broken: None };
        if before.is_none() {
            let rotated = record.journal.rotate(u64::from(config.run.report_megabytes.get()) * 1_000_000);
            record.check(rotated);
        }
        let resumes = before.as_ref().map(|before| before.run.as_str());
        let begun = record.journal.started(&clock::text(started), &name, chosen.len(), resumes);
        record.check(begun);
        if let Some(sentence) = &record.broken {
            tracing::error!("{sentence}; the stores are refreshed all the same");
        }
        tracing::info!(config = name, tiles = chosen.len(), "the run begins");

        let RunConfig { path: _, run: table, publish, tiles } = config;
        let mut run = Self {
            name,
            table,
            publish,
            entries: tiles.into_iter().map(Arc::new).collect(),
            chosen: chosen.to_vec(),
            due: Vec::new(),
            options,
            occasion: occasion.clone(),
            started,
            resumes: before.as_ref().map(|before| before.run.clone()),
            record,
            told: BTreeMap::new(),
            last: BTreeMap::new(),
            changes: changes::Told::default(),
            has_changes: false,
            interrupted: false,
        };
        let done = before.map(|before| before.done).unwrap_or_default();
        for &number in chosen {
            if is_done(&done, &run.entries[number]) {
                let report = skipped(&run.entries[number], "done by the interrupted run");
                run.tell(number, report, None, None, ended);
            } else {
                run.due.push(number);
            }
        }
        Ok(run)
    }

    /// Puts those in most need first (see [`need`]), and asks each catalogue once for what changed, where that is less work
    /// (see [`changes`]). Given up, it leaves all as it was.
    pub async fn prepare(&mut self) {
        if self.due.len() < 2 {
            return;
        }
        let known = |number, last: Option<LastRun>| {
            // A list of names is longer than all the rest.
            if last.as_ref().is_none_or(|last| last.missing_index_products.len() <= FEW) {
                self.last.insert(number, last);
            }
        };
        self.due = need::sorted(&self.entries, &self.due, known).await;
        if self.options.asked.full || self.options.asked.prune || self.has_changes {
            return;
        }
        let full_every = self.table.full_every.get();
        let asking = self.last.iter().filter_map(|(number, last)| {
            let (settings, last) = (&self.entries[*number].settings, last.as_ref()?);
            let is_whole = self.options.asked.is_whole(Some(last), full_every) || settings.full || settings.prune;
            (!is_whole).then_some((settings, last))
        });
        let path = self.table.changes.as_deref().filter(|_| !self.options.asked.dry_run);
        self.changes = changes::Told::ask(asking, self.table.search, (self.occasion.clock)(), path).await;
    }

    /// Takes what another run kept of the catalogue.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn hear(&mut self, path: &Path) -> Result<(), StacLoadError> {
        self.changes = changes::Told::open(path)?;
        self.has_changes = true;
        Ok(())
    }

    /// What is known of a tile: what the last run left, once, and what the catalogue told of it.
    #[must_use]
    pub fn given(&mut self, number: usize) -> Known {
        Known { last: self.last.remove(&number), changes: self.changes.of(&self.entries[number].settings) }
    }

    /// When the deadline is, where there is one.
    #[must_use]
    pub fn deadline(&self) -> Option<DateTime<Utc>> {
        let span = self.options.deadline.or(self.table.deadline)?;
        self.started.checked_add_signed(TimeDelta::from_std(span.0).ok()?)
    }

    /// The tiles that are left to be refreshed, by their place in the file.
    #[must_use]
    pub fn due(&self) -> &[usize] {
        &self.due
    }

    /// A tile of the file.
    #[must_use]
    pub fn entry(&self, number: usize) -> &Arc<TileEntry> {
        &self.entries[number]
    }

    /// How tiles of this run are refreshed, until `stop` is ready.
    #[must_use]
    pub fn refresh(&self, stop: Stop) -> Refresh {
        Refresh::new(&self.table, self.options.asked, &self.occasion, stop)
    }

    /// Refreshes the tiles on this machine, `jobs` at a time (where not as the file says), until all ended or `stop` is ready.
    pub async fn here(&mut self, jobs: Option<NonZeroUsize>, stop: Stop, ended: &dyn Fn(&TileReport)) {
        let (refresh, deadline, now) = (self.refresh(stop), self.deadline(), self.occasion.clock);
        let due = self.due.clone();
        let work: Vec<_> =
            due.into_iter().map(|number| (number, Arc::clone(&self.entries[number]), self.given(number))).collect();
        let mut words = stream::iter(work)
            .map(|(number, entry, known)| {
                let refresh = &refresh;
                async move {
                    if deadline.is_some_and(|deadline| now() >= deadline) {
                        return (number, End::Late);
                    }
                    let given = known.given(&entry).instrument(span(&entry)).await;
                    let word = refresh.tile(Arc::clone(&entry), given).instrument(span(&entry)).await;
                    (number, word.map_or(End::Stopped, |word| End::Begun(Box::new(word))))
                }
            })
            .buffer_unordered(jobs.unwrap_or(self.table.jobs).get());
        while let Some((number, end)) = words.next().await {
            self.ended(number, end, ended);
        }
    }

    /// Takes how a tile ended.
    pub fn ended(&mut self, number: usize, end: End, ended: &dyn Fn(&TileReport)) {
        let reason = match end {
            End::Begun(word) => {
                let Word { tile, build, last } = *word;
                self.interrupted |= tile.outcome == Outcome::Interrupted;
                return self.tell(number, tile, build.as_deref(), Some(last), ended);
            }
            End::Stopped => {
                self.interrupted = true;
                "not begun: the run was told to stop"
            }
            End::Late => "left to the next run: the deadline passed",
            End::Lost(reason) => {
                let lost = TileReport { outcome: Outcome::Failed, ..skipped(&self.entries[number], &reason) };
                return self.tell(number, lost, None, None, ended);
            }
        };
        let report = skipped(&self.entries[number], reason);
        self.tell(number, report, None, None, ended);
    }

    fn tell(
        &mut self,
        number: usize,
        report: TileReport,
        build: Option<&BuildReport>,
        last: Option<LastRun>,
        ended: &dyn Fn(&TileReport),
    ) {
        let count = (self.told.len() + 1, self.chosen.len());
        self.record.tile(&report, build, last.as_ref(), count);
        ended(&report);
        // Of 25,000 tiles names would take more room than all else.
        let last = last.map(|last| LastRun { missing_index_products: Vec::new(), ..last });
        self.told.insert(number, Told { report, last });
    }

    /// Ends the run: publication, report and metrics. Beside the report: that the file of reports or metrics could not be
    /// written, which is a failure of its own.
    pub async fn end(mut self) -> (RunReport, Option<String>) {
        let is_last = !self.interrupted && !self.options.asked.dry_run && !self.options.is_share;
        let publish = self.publish.as_ref().filter(|_| is_last);
        let publication = match publish {
            Some(table) => Some(publication::publish_all(table, &self.entries, &self.occasion).await),
            None => None,
        };
        let now = (self.occasion.clock)();
        let mut outcomes = BTreeMap::new();
        for told in self.told.values() {
            *outcomes.entry(told.report.outcome).or_insert(0) += 1;
        }
        let seconds = clock::seconds(self.started, now);
        let written = self.record.journal.ended(&clock::text(now), seconds, self.interrupted, &outcomes);
        self.record.check(written);
        tracing::info!(seconds, interrupted = self.interrupted, "the run ends");
        let is_part = self.chosen.len() < self.shared() && self.entries.len() > self.table.metrics_tiles;
        if is_part && self.table.metrics.is_some() {
            tracing::info!("the metrics stay as they were: those of a fleet are written by runs of all its tiles");
        }
        if let Some(path) = self.table.metrics.clone().filter(|_| !self.options.asked.dry_run && !is_part) {
            // Whoever told the run to stop does not wait for long.
            let patience = if self.interrupted { HASTE } else { Duration::MAX };
            match tokio::time::timeout(patience, self.known()).await {
                Ok(tiles) => {
                    // Those of other shares are in the files of these.
                    let others = if self.options.is_share { Vec::new() } else { others(&path, &self.entries, &tiles) };
                    let started = self.started;
                    let (all, most) = (self.shared(), self.table.metrics_tiles);
                    let metrics =
                        Metrics { tiles: &tiles, others: &others, all, most, outcomes: &outcomes, started, ended: now };
                    if let Err(error) = metrics.write(&path) {
                        let broken = self.record.broken.take();
                        self.record.broken = broken.or(Some(unwritable(&path, "written", &error)));
                    }
                }
                Err(_) => {
                    tracing::warn!("the metrics stay as they were: what is known of the tiles was not read in time");
                }
            }
        }
        let report = RunReport {
            kind: "s2ice.run".to_owned(),
            version: REPORT_VERSION,
            run: self.occasion.run,
            config: self.name,
            resumes: self.resumes,
            dry_run: self.options.asked.dry_run,
            interrupted: self.interrupted,
            started: clock::text(self.started),
            ended: clock::text(now),
            seconds,
            outcomes,
            tiles: self.told.into_values().map(|told| told.report).collect(),
            publication,
        };
        (report, self.record.broken)
    }

    /// Tiles that runs like this one are of: the file's, or those of the share.
    fn shared(&self) -> usize {
        if self.options.is_share { self.chosen.len() } else { self.entries.len() }
    }

    /// What is known of each tile that had a part in this run, also where it was left out of it in the end.
    async fn known(&mut self) -> Vec<LastRun> {
        let (entries, told) = (&self.entries, &mut self.told);
        let news: Vec<(&TileEntry, Option<LastRun>)> = self
            .chosen
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
}

/// What a run knows of a tile.
pub struct Known {
    last: Option<Option<LastRun>>,
    changes: Option<Arc<Changes>>,
}

impl Known {
    /// In full.
    pub async fn given(self, entry: &Arc<TileEntry>) -> Given {
        let heard = match self.changes {
            Some(changes) => {
                let (entry, span) = (Arc::clone(entry), tracing::Span::current());
                let read = move || span.in_scope(|| changes::heard(&changes, &entry.settings));
                tokio::task::spawn_blocking(read).await.unwrap_or_default()
            }
            None => None,
        };
        Given { last: self.last.map(Box::new), heard }
    }
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
        (number, of): (usize, usize),
    ) {
        let reported = last.and_then(|last| last.reported.as_ref()).map(|reported| reported.run.as_str());
        let written = self.journal.tile(tile, build, reported);
        self.check(written);
        let (outcome, seconds) = (tile.outcome.name(), tile.seconds);
        let snapshot = build.and_then(|build| build.committed.as_ref()).map(|committed| committed.snapshot.as_str());
        let line = summary::line(tile, snapshot, number, of);
        told::tile(&tile.tile, &tile.level).in_scope(|| match tile.outcome {
            Outcome::Failed | Outcome::Stale | Outcome::Interrupted => {
                tracing::error!(target: OUTCOME, outcome, seconds, "{line}")
            }
            _ => tracing::info!(target: OUTCOME, outcome, seconds, snapshot, "{line}"),
        });
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
    told::tile(&entry.settings.tile, &entry.settings.level)
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
