//! The report of all runs, one JSON document per line: a run that began, a tile that ended, a run that ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use s2ice_store::report::{BuildReport, REPORT_VERSION};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::files::is_ours;
use crate::tile::{Outcome, TileReport};

/// A run that began longer ago is not gone on with: its tiles are due again.
pub const RESUMED_WITHIN: TimeDelta = TimeDelta::hours(12);

/// Files that are kept of a report beside the one that is written.
const KEPT: usize = 4;

/// Longest line that is read back, bytes.
const LONGEST: u64 = 64 << 20;

/// How every line begins.
const BEGINS: &[u8] = b"{\"kind\":\"s2ice.run.";

const STARTED: &str = "s2ice.run.started";
const TILE: &str = "s2ice.run.tile";
const ENDED: &str = "s2ice.run.ended";

/// One line of the report.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(title = "a line of the report of s2ice run")]
pub enum Line<'a> {
    /// A run began.
    Started {
        /// Always `s2ice.run.started`.
        kind: &'a str,
        /// Version of this line.
        version: u32,
        /// Name of the run.
        run: &'a str,
        /// When, RFC 3339.
        time: &'a str,
        /// The configuration file.
        config: &'a str,
        /// Number of tiles.
        tiles: usize,
        /// The interrupted run that this one goes on with.
        #[serde(skip_serializing_if = "Option::is_none")]
        resumes: Option<&'a str>,
    },
    /// A tile ended.
    Tile {
        /// Always `s2ice.run.tile`.
        kind: &'a str,
        /// Version of this line.
        version: u32,
        /// Name of the run.
        run: &'a str,
        /// What became of it.
        #[serde(flatten)]
        tile: &'a TileReport,
        /// The whole report of its build; absent where it failed or was not begun.
        #[serde(skip_serializing_if = "Option::is_none")]
        report: Option<&'a BuildReport>,
    },
    /// A tile ended of which an earlier line tells all: nothing was to do, and the same is left out.
    Unchanged {
        /// Always `s2ice.run.tile`.
        kind: &'a str,
        /// Version of this line.
        version: u32,
        /// Name of the run.
        run: &'a str,
        /// MGRS tile.
        tile: &'a str,
        /// Processing level.
        level: &'a str,
        /// Always `unchanged`.
        outcome: Outcome,
        /// When it ended, RFC 3339.
        #[serde(skip_serializing_if = "Option::is_none")]
        ended: Option<&'a str>,
        /// How long it took, seconds.
        seconds: f64,
        /// Products in the store, those of eras included.
        products: u64,
        /// Products of the catalogue without index rows, where there are any.
        #[serde(skip_serializing_if = "is_zero")]
        missing_index: u64,
        /// Products and rasters left out, where there are any.
        #[serde(skip_serializing_if = "is_zero")]
        refused: u64,
        /// Requests to the source, where there were any.
        #[serde(skip_serializing_if = "is_zero")]
        requests: u64,
        /// Name of the run whose line of this tile has the whole report.
        reported: &'a str,
    },
    /// A run ended.
    Ended {
        /// Always `s2ice.run.ended`.
        kind: &'a str,
        /// Version of this line.
        version: u32,
        /// Name of the run.
        run: &'a str,
        /// When, RFC 3339.
        time: &'a str,
        /// How long it took, seconds.
        seconds: f64,
        /// True where it was told to stop: tiles may be left to do.
        interrupted: bool,
        /// Tiles by outcome.
        outcomes: &'a BTreeMap<Outcome, usize>,
    },
}

/// serde hands out references.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The file to which a run appends.
pub struct Journal {
    path: Option<PathBuf>,
    run: String,
}

impl Journal {
    /// Lines of `run` go to `path`, or nowhere.
    pub fn new(path: Option<PathBuf>, run: &str) -> Self {
        Self { path, run: run.to_owned() }
    }

    /// Begins a new file where this one is longer than `most` bytes: the old one is named `.1`, that before `.2`, and so on.
    ///
    /// # Errors
    /// The file cannot be looked at or renamed.
    pub fn rotate(&self, most: u64) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        match std::fs::metadata(path) {
            Ok(found) if found.is_file() && found.len() > most && is_ours(File::open(path)?, BEGINS)? => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        let old = |number: usize| {
            let mut name = path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..KEPT).rev() {
            if old(number).exists() {
                std::fs::rename(old(number), old(number + 1))?;
            }
        }
        std::fs::rename(path, old(1))
    }

    /// A run begins.
    ///
    /// # Errors
    /// The file cannot be written; so below.
    pub fn started(&self, time: &str, config: &str, tiles: usize, resumes: Option<&str>) -> io::Result<()> {
        let (kind, version, run) = (STARTED, REPORT_VERSION, self.run.as_str());
        self.append(&Line::Started { kind, version, run, time, config, tiles, resumes })
    }

    /// A tile ended; `reported` names the run that last told all of it, which may be this one.
    pub fn tile(&self, tile: &TileReport, report: Option<&BuildReport>, reported: Option<&str>) -> io::Result<()> {
        let (kind, version, run) = (TILE, REPORT_VERSION, self.run.as_str());
        let earlier = reported.filter(|reported| tile.outcome == Outcome::Unchanged && *reported != run);
        self.append(&match (earlier, tile.counts) {
            (Some(reported), Some(counts)) => Line::Unchanged {
                kind,
                version,
                run,
                tile: &tile.tile,
                level: &tile.level,
                outcome: tile.outcome,
                ended: tile.ended.as_deref(),
                seconds: tile.seconds,
                products: counts.products,
                missing_index: counts.missing_index,
                refused: counts.refused,
                requests: counts.requests,
                reported,
            },
            _ => Line::Tile { kind, version, run, tile, report },
        })
    }

    /// The run ended.
    pub fn ended(
        &self,
        time: &str,
        seconds: f64,
        interrupted: bool,
        outcomes: &BTreeMap<Outcome, usize>,
    ) -> io::Result<()> {
        let (kind, version, run) = (ENDED, REPORT_VERSION, self.run.as_str());
        self.append(&Line::Ended { kind, version, run, time, seconds, interrupted, outcomes })
    }

    /// One write per line, to the end of whatever file has the name now: it may be rotated away between two lines.
    fn append(&self, line: &Line<'_>) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
        if !is_ours(&file, BEGINS)? {
            return Err(io::Error::other("it holds something else than reports of s2ice: name another file"));
        }
        let mut text = Vec::new();
        if is_torn(&mut file)? {
            text.push(b'\n');
        }
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
        file.write_all(&text)?;
        file.sync_data()
    }
}

/// True where the last line has no end: whoever wrote it was killed.
fn is_torn(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// A run that did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Its name.
    pub run: String,
    /// Tile and level of what it, and the runs that it went on with, finished.
    pub done: BTreeSet<(String, String)>,
}

/// What is read back of a line; the rest of it is none of our business.
#[derive(Deserialize)]
struct Parsed {
    kind: String,
    run: String,
    #[serde(default)]
    time: String,
    #[serde(default)]
    config: String,
    #[serde(default)]
    resumes: Option<String>,
    #[serde(default)]
    interrupted: bool,
    #[serde(default)]
    tile: String,
    #[serde(default)]
    level: String,
    #[serde(default)]
    outcome: String,
}

#[derive(Default)]
struct Run {
    resumes: Option<String>,
    ended: bool,
    done: BTreeSet<(String, String)>,
}

/// The last run of a configuration file, where it did not come to its end and began less than [`RESUMED_WITHIN`] before
/// `now`; what it went on with counts as far as that began then, too. Lines that cannot be read, such as the torn
/// one of a killed run, are passed over.
///
/// # Errors
/// The file is there and cannot be read.
pub fn unfinished(path: &Path, config: &str, now: DateTime<Utc>) -> io::Result<Option<Unfinished>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    let mut runs: BTreeMap<String, Run> = BTreeMap::new();
    let mut last = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(LONGEST).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let Ok(found) = serde_json::from_slice::<Parsed>(&line) else { continue };
        match found.kind.as_str() {
            STARTED if found.config == config => {
                let began = found.time.parse::<DateTime<Utc>>().ok();
                if began.is_none_or(|began| now.signed_duration_since(began) > RESUMED_WITHIN) {
                    last = None;
                    continue;
                }
                last = Some(found.run.clone());
                runs.insert(found.run, Run { resumes: found.resumes, ..Run::default() });
            }
            TILE => {
                let Some(run) = runs.get_mut(&found.run) else { continue };
                if [Outcome::Updated, Outcome::Unchanged].iter().any(|done| done.name() == found.outcome) {
                    run.done.insert((found.tile, found.level));
                }
            }
            ENDED => {
                if let Some(run) = runs.get_mut(&found.run) {
                    run.ended = !found.interrupted;
                }
            }
            _ => {}
        }
    }
    let Some(name) = last.filter(|name| runs.get(name).is_some_and(|run| !run.ended)) else { return Ok(None) };
    let mut done = BTreeSet::new();
    let mut next = Some(name.clone());
    // Each run is taken once: a file that was tampered with may lead in a circle.
    while let Some(run) = next.take().and_then(|name| runs.remove(&name)) {
        done.extend(run.done);
        next = run.resumes;
    }
    Ok(Some(Unfinished { run: name, done }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tile::Counts;

    fn tile(name: &str, outcome: Outcome) -> TileReport {
        TileReport {
            tile: name.to_owned(),
            level: "L2A".to_owned(),
            store: format!("/stores/{name}"),
            outcome,
            unseen: Vec::new(),
            error: None,
            started: None,
            ended: None,
            seconds: 1.5,
            counts: None,
        }
    }

    struct Bench {
        folder: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap() }
        }
        fn path(&self) -> PathBuf {
            self.folder.path().join("logs/runs.jsonl")
        }
        fn run(&self, name: &str, resumes: Option<&str>, tiles: &[(&str, Outcome)]) -> Journal {
            let journal = Journal::new(Some(self.path()), name);
            journal.started("2026-01-01T00:00:00.000Z", "/etc/a.toml", 3, resumes).unwrap();
            for (name, outcome) in tiles {
                journal.tile(&tile(name, *outcome), None, None).unwrap();
            }
            journal
        }
        fn tear(&self, text: &str) {
            let mut file = OpenOptions::new().append(true).open(self.path()).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
        fn unfinished(&self) -> Option<(String, Vec<String>)> {
            let found = unfinished(&self.path(), "/etc/a.toml", "2026-01-01T03:00:00Z".parse().unwrap()).unwrap()?;
            Some((found.run, found.done.into_iter().map(|(tile, _)| tile).collect()))
        }
    }

    fn some(run: &str, tiles: &[&str]) -> Option<(String, Vec<String>)> {
        Some((run.to_owned(), tiles.iter().map(|tile| (*tile).to_owned()).collect()))
    }

    #[test]
    fn a_run_without_its_end_is_gone_on_with() {
        let bench = Bench::new();
        assert_eq!(bench.unfinished(), None);
        let tiles = [("A", Outcome::Updated), ("B", Outcome::Failed), ("C", Outcome::Unchanged)];
        let journal = bench.run("1", None, &tiles);
        assert_eq!(bench.unfinished(), some("1", &["A", "C"]));
        journal.ended("2026-01-01T00:00:01.000Z", 1.0, false, &BTreeMap::new()).unwrap();
        assert_eq!(bench.unfinished(), None);
    }

    #[test]
    fn a_tile_without_news_takes_one_short_line() {
        let bench = Bench::new();
        let journal = bench.run("1764429063123-4194304", None, &[]);
        let counts =
            Counts { products: 1400, missing_index: 1200, refused: 1200, requests: 12_345, ..Counts::default() };
        let ended = Some("2026-01-01T00:00:01.000Z".to_owned());
        let quiet = TileReport { counts: Some(counts), ended, seconds: 123.456, ..tile("33TVN", Outcome::Unchanged) };
        journal.tile(&quiet, None, Some("1764429063000-4194304")).unwrap();
        let text = std::fs::read_to_string(bench.path()).unwrap();
        let line = text.lines().last().unwrap();
        assert!(line.len() < 300, "{} bytes: {line}", line.len());
        assert!(line.contains("\"reported\":\"1764429063000-4194304\""), "{line}");
        assert_eq!(bench.unfinished(), some("1764429063123-4194304", &["33TVN"]));
        // What this run tells first, or again, it tells whole.
        for reported in [None, Some("1764429063123-4194304")] {
            journal.tile(&quiet, None, reported).unwrap();
            let text = std::fs::read_to_string(bench.path()).unwrap();
            assert!(text.lines().last().unwrap().contains("\"store\""), "{text}");
        }
    }

    #[test]
    fn a_run_that_was_told_to_stop_is_gone_on_with() {
        let bench = Bench::new();
        let journal = bench.run("1", None, &[("A", Outcome::Updated), ("B", Outcome::Interrupted)]);
        journal.ended("2026-01-01T00:00:01.000Z", 1.0, true, &BTreeMap::from([(Outcome::Updated, 1)])).unwrap();
        assert_eq!(bench.unfinished(), some("1", &["A"]));
    }

    #[test]
    fn resumed_runs_add_up() {
        let bench = Bench::new();
        bench.run("1", None, &[("A", Outcome::Updated)]);
        bench.run("2", Some("1"), &[("A", Outcome::Skipped), ("B", Outcome::Unchanged)]);
        assert_eq!(bench.unfinished(), some("2", &["A", "B"]));
        bench.run("3", None, &[]);
        assert_eq!(bench.unfinished(), some("3", &[]));
        bench.run("4", Some("4"), &[("D", Outcome::Updated)]);
        assert_eq!(bench.unfinished(), some("4", &["D"]));
    }

    #[test]
    fn what_is_long_ago_is_due_again() {
        let bench = Bench::new();
        bench.run("1", None, &[("A", Outcome::Updated)]);
        let later = |hours: i64| "2026-01-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::hours(hours);
        let found = |hours| unfinished(&bench.path(), "/etc/a.toml", later(hours)).unwrap();
        assert!(found(11).is_some() && found(13).is_none());
    }

    #[test]
    fn long_files_are_put_aside_and_four_are_kept() {
        let bench = Bench::new();
        let names = || {
            let mut names: Vec<String> = std::fs::read_dir(bench.path().parent().unwrap())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names.join(" ")
        };
        for run in 0..7 {
            let journal = Journal::new(Some(bench.path()), &run.to_string());
            journal.rotate(10).unwrap();
            bench.run(&run.to_string(), None, &[("A", Outcome::Updated)]);
            journal.rotate(1 << 20).unwrap();
        }
        assert_eq!(names(), "runs.jsonl runs.jsonl.1 runs.jsonl.2 runs.jsonl.3 runs.jsonl.4");
        let last = std::fs::read_to_string(bench.path().with_extension("jsonl.4")).unwrap();
        assert!(last.contains("\"run\":\"2\""), "{last}");
        // What somebody else keeps there stays where it is.
        std::fs::write(bench.path(), "tiles = [\"33TVN\"]\n").unwrap();
        Journal::new(Some(bench.path()), "8").rotate(1).unwrap();
        assert!(bench.path().exists());
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        let bench = Bench::new();
        std::fs::create_dir_all(bench.path().parent().unwrap()).unwrap();
        std::fs::write(bench.path(), "tiles = [\"33TVN\"]\n").unwrap();
        let journal = Journal::new(Some(bench.path()), "1");
        let error = journal.started("2026-01-01T00:00:00Z", "/etc/a.toml", 1, None).unwrap_err();
        assert!(error.to_string().contains("something else"), "{error}");
    }

    #[test]
    fn torn_and_foreign_lines_do_no_harm() {
        let bench = Bench::new();
        let journal = bench.run("1", None, &[("A", Outcome::Updated)]);
        bench.tear("{\"kind\":\"s2ice.run.tile\",\"run\":\"1\",\"tile\":\"B\",\"level\":\"L2A\",\"outc");
        assert_eq!(bench.unfinished(), some("1", &["A"]));
        // The next line begins on a line of its own.
        journal.tile(&tile("C", Outcome::Updated), None, None).unwrap();
        assert_eq!(bench.unfinished(), some("1", &["A", "C"]));
        bench.tear("\u{0}\u{1}\n[1, 2]\n{\"kind\": 3}\n");
        bench.run("2", None, &[]);
        let text = std::fs::read_to_string(bench.path()).unwrap();
        assert!(text.lines().last().unwrap().contains("s2ice.run.started"), "{text}");
        assert_eq!(
            unfinished(&bench.path(), "/etc/b.toml", "2026-01-01T03:00:00Z".parse().unwrap()).unwrap(),
            None,
            "another file's run"
        );
    }
}
