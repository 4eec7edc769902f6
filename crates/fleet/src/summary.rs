//! What a run did, for programs and for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use s2ice_store::publish::report::PublishReport;
use schemars::JsonSchema;
use serde::Serialize;

use crate::text;
use crate::tile::{Outcome, TileReport};

/// Tiles that are listed one by one.
const LISTED: usize = 50;

/// Reasons that are told where there are more.
const REASONS: usize = 10;

/// Report of `s2ice run`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "RunReport")]
pub struct RunReport {
    /// Always `s2ice.run`.
    pub kind: String,
    /// Version of this report.
    pub version: u32,
    /// Name of the run.
    pub run: String,
    /// The configuration file.
    pub config: String,
    /// The interrupted run that this one went on with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumes: Option<String>,
    /// True where nothing was written.
    pub dry_run: bool,
    /// True where it was told to stop.
    pub interrupted: bool,
    /// When it began, RFC 3339.
    pub started: String,
    /// When it ended, RFC 3339.
    pub ended: String,
    /// How long it took, seconds.
    pub seconds: f64,
    /// Tiles by outcome.
    pub outcomes: BTreeMap<Outcome, usize>,
    /// The tiles, in the order of the file.
    pub tiles: Vec<TileReport>,
    /// What was published afterwards; absent where nothing was to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publication: Option<Publication>,
}

/// What became of the publication.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Publication {
    /// It is in step with the stores.
    Published {
        /// What was written, and what a stranger meets.
        report: Box<PublishReport>,
    },
    /// It is not.
    Failed {
        /// Why.
        error: String,
    },
}

impl Publication {
    /// What is wrong with it.
    pub fn failure(&self) -> Option<String> {
        match self {
            Self::Published { report } => report.sentence(),
            Self::Failed { error } => Some(error.clone()),
        }
        .map(|reason| format!("the publication: {reason}"))
    }
}

impl RunReport {
    /// Tiles that ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.outcomes.get(&outcome).copied().unwrap_or_default()
    }

    /// Why the run as a whole is no success, where it is none.
    pub fn failure(&self) -> Option<String> {
        let (failed, stale) = (self.count(Outcome::Failed), self.count(Outcome::Stale));
        let tiles = text::count(self.tiles.len(), "tile");
        if self.interrupted {
            let done = self.count(Outcome::Updated) + self.count(Outcome::Unchanged);
            let told = |count: usize, what: &str| if count > 0 { format!(", {count} {what}") } else { String::new() };
            let failed = told(stale, "stale") + &told(failed, "failed");
            return Some(format!(
                "interrupted: {done} of {tiles} done{failed}, {} stopped, {} not begun; run it again, with --resume to leave \
                 out what is done",
                self.count(Outcome::Interrupted),
                self.count(Outcome::Skipped),
            ));
        }
        match (failed, stale) {
            (0, 0) => None,
            (failed, 0) => Some(format!("{failed} of {tiles} failed")),
            (0, stale) => Some(format!("{stale} of {tiles} stale: source, index or catalogue could not be seen")),
            (failed, stale) => Some(format!("{failed} of {tiles} failed, {stale} stale")),
        }
    }

    /// What is wrong with the run, its publication and its files (`broken`), where something is; and whether nothing is but
    /// that something was not seen.
    pub fn verdict(&self, broken: Option<String>) -> (Option<String>, bool) {
        let unpublished = self.publication.as_ref().and_then(Publication::failure);
        let is_stale = broken.is_none() && unpublished.is_none() && self.is_merely_stale();
        let sentences: Vec<String> = self.failure().into_iter().chain(broken).chain(unpublished).collect();
        ((!sentences.is_empty()).then(|| sentences.join("; ")), is_stale)
    }

    /// True where nothing is wrong but that something was not seen.
    pub fn is_merely_stale(&self) -> bool {
        !self.interrupted && self.count(Outcome::Failed) == 0 && self.count(Outcome::Stale) > 0
    }
}

/// The table for people.
pub fn render(report: &RunReport) -> String {
    let mut out = String::new();
    let said: Vec<String> = Outcome::ALL
        .into_iter()
        .filter_map(|outcome| report.outcomes.get(&outcome).map(|count| format!("{count} {}", outcome.name())))
        .collect();
    let tiles = text::count(report.tiles.len(), "tile");
    let dry = if report.dry_run { " (dry run: nothing was written)" } else { "" };
    let _ = writeln!(out, "{tiles} in {}: {}{dry}", length(report.seconds), said.join(", "));
    let head = [
        "tile", "", "outcome", "products", "added", "replaced", "changed", "removed", "missing", "refused", "requests",
        "seconds",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    // Of a fleet, people want to know what happened, not what did not.
    let is_fleet = report.tiles.len() > LISTED;
    let is_told = |tile: &&TileReport| !is_fleet || matches!(tile.outcome, Outcome::Updated | Outcome::Stale);
    for tile in report.tiles.iter().filter(is_told).take(LISTED) {
        let mut row = vec![tile.tile.clone(), tile.level.clone(), tile.outcome.name().to_owned()];
        let counts = tile.counts.map(|c| {
            [c.products, c.added, c.replaced, c.changed, c.removed, c.missing_index, c.refused, c.requests]
                .map(text::number)
        });
        row.extend(counts.unwrap_or_else(|| [const { String::new() }; 8].map(|_| "-".to_owned())));
        row.push(if tile.started.is_some() { format!("{:.1}", tile.seconds) } else { "-".to_owned() });
        rows.push(row);
    }
    let right: Vec<usize> = (3..head.len()).collect();
    if rows.len() > 1 {
        let _ = write!(out, "\n{}", text::table(&rows, &right));
    }
    let more = report.tiles.iter().filter(is_told).count().saturating_sub(LISTED);
    if more > 0 {
        let _ = writeln!(out, "  and {} more: see the report", text::number(more as u64));
    }
    for outcome in [Outcome::Failed, Outcome::Stale, Outcome::Interrupted, Outcome::Skipped] {
        let title = outcome.name();
        let told: Vec<&TileReport> = report.tiles.iter().filter(|tile| tile.outcome == outcome).collect();
        if told.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n{title}: {}", text::number(told.len() as u64));
        if told.len() <= LISTED {
            for tile in told {
                let _ = writeln!(out, "  {} {}: {}", tile.tile, tile.level, tile.error.as_deref().unwrap_or_default());
            }
            continue;
        }
        for (reason, tiles) in by_reason(&told) {
            let (first, count) = (tiles[0], text::count(tiles.len(), "tile"));
            let _ = writeln!(out, "  {count}, such as {} {}: {reason}", first.tile, first.level);
        }
    }
    match &report.publication {
        Some(Publication::Published { report }) => {
            let (anew, stores) = (report.published.len(), text::count(report.stores, "store"));
            let _ = writeln!(out, "\npublished at {}: {stores}, {anew} described anew", report.url);
        }
        Some(Publication::Failed { error }) => {
            let _ = writeln!(out, "\nnot published: {error}");
        }
        None => {}
    }
    out
}

/// Tiles by what was said of them, the most frequent first; names of tiles within do not make another reason.
fn by_reason<'a>(told: &[&'a TileReport]) -> Vec<(&'a str, Vec<&'a TileReport>)> {
    let mut reasons: BTreeMap<String, (&str, Vec<&TileReport>)> = BTreeMap::new();
    for &tile in told {
        let text = tile.error.as_deref().unwrap_or_default();
        let key = text.replace(&tile.store, "").replace(&tile.tile, "");
        reasons.entry(key).or_insert_with(|| (text, Vec::new())).1.push(tile);
    }
    let mut reasons: Vec<_> = reasons.into_values().collect();
    reasons.sort_by_key(|(_, tiles)| std::cmp::Reverse(tiles.len()));
    reasons.truncate(REASONS);
    reasons
}

/// One tile that ended, in a line of the log, which names the tile; `snapshot` where it published one.
pub fn line(tile: &TileReport, snapshot: Option<&str>, number: usize, of: usize) -> String {
    let seconds = if tile.started.is_some() { format!(" ({})", length(tile.seconds)) } else { String::new() };
    let snapshot = snapshot.map_or_else(String::new, |snapshot| format!("; snapshot {snapshot}"));
    format!("{}{snapshot}{seconds} [{number}/{of}]", what(tile))
}

/// How a tile ended, and what was changed or went wrong.
pub fn what(tile: &TileReport) -> String {
    let what = match (&tile.error, tile.counts) {
        (Some(error), _) => format!(": {error}"),
        (None, Some(c)) => {
            let changes =
                [(c.added, "added"), (c.replaced, "replaced"), (c.changed, "changed"), (c.removed, "removed")];
            let told = changes.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}"));
            format!(
                "{}; {}",
                told.collect::<String>(),
                text::count(usize::try_from(c.products).unwrap_or_default(), "product")
            )
        }
        (None, None) => String::new(),
    };
    format!("{}{what}", tile.outcome.name())
}

/// Seconds as people read them.
fn length(seconds: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    if whole.as_secs() < 60 { format!("{seconds:.1} s") } else { s2ice_store::duration::Span(whole).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tile::Counts;

    fn tile(name: &str, outcome: Outcome) -> TileReport {
        let begun = outcome != Outcome::Skipped;
        let counts = Counts {
            products: 1400,
            added: u64::from(outcome == Outcome::Updated),
            missing_index: 3,
            requests: 1234,
            ..Counts::default()
        };
        TileReport {
            tile: name.to_owned(),
            level: "L2A".to_owned(),
            store: format!("s3://stores/{name}"),
            outcome,
            error: match outcome {
                Outcome::Failed => Some("the index has no column path".to_owned()),
                Outcome::Stale => Some("cannot connect to read s3://eodata".to_owned()),
                Outcome::Interrupted => Some("the run was told to stop".to_owned()),
                Outcome::Skipped => Some("not begun: the run was told to stop".to_owned()),
                _ => None,
            },
            started: begun.then(|| "2026-01-01T00:00:00.000Z".to_owned()),
            ended: begun.then(|| "2026-01-01T00:02:03.400Z".to_owned()),
            seconds: if begun { 123.4 } else { 0.0 },
            unseen: Vec::new(),
            counts: matches!(outcome, Outcome::Updated | Outcome::Unchanged).then_some(counts),
        }
    }

    fn report(outcomes: &[Outcome], interrupted: bool) -> RunReport {
        let tiles: Vec<TileReport> = outcomes
            .iter()
            .zip(["33TVN", "33TWN", "33UVP", "33UWP", "33UXP", "33UYP"])
            .map(|(o, n)| tile(n, *o))
            .collect();
        let mut counted = BTreeMap::new();
        for outcome in outcomes {
            *counted.entry(*outcome).or_insert(0) += 1;
        }
        RunReport {
            kind: "s2ice.run".to_owned(),
            version: 1,
            run: "1".to_owned(),
            config: "/etc/s2ice.toml".to_owned(),
            resumes: None,
            dry_run: false,
            interrupted,
            started: String::new(),
            ended: String::new(),
            seconds: 300.0,
            outcomes: counted,
            tiles,
            publication: None,
        }
    }

    #[test]
    fn a_run_is_told_in_a_table() {
        let report = report(&Outcome::ALL, true);
        let lines: String = report
            .tiles
            .iter()
            .enumerate()
            .map(|(i, t)| line(t, (i == 0).then_some("1CECHNKREP0F1RSTCMT0"), i + 1, 6) + "\n")
            .collect();
        insta::assert_snapshot!(format!("{}\n---\n{lines}", render(&report)));
    }

    #[test]
    fn the_failure_is_one_sentence() {
        use Outcome::{Failed, Interrupted, Skipped, Stale, Unchanged, Updated};
        assert_eq!(report(&[Updated, Unchanged, Skipped], false).failure(), None);
        assert_eq!(report(&[Updated, Failed, Failed], false).failure().as_deref(), Some("2 of 3 tiles failed"));
        assert_eq!(report(&[Failed], false).failure().as_deref(), Some("1 of 1 tile failed"));
        let stale = report(&[Updated, Stale], false);
        assert_eq!(
            stale.failure().as_deref(),
            Some("1 of 2 tiles stale: source, index or catalogue could not be seen")
        );
        assert!(stale.is_merely_stale());
        let both = report(&[Stale, Failed], false);
        assert_eq!(both.failure().as_deref(), Some("1 of 2 tiles failed, 1 stale"));
        assert!(!both.is_merely_stale() && !report(&[Updated], false).is_merely_stale());
        let sentence = report(&[Updated, Failed, Interrupted, Skipped], true).failure().unwrap_or_default();
        assert!(sentence.starts_with("interrupted: 1 of 4 tiles done, 1 failed, 1 stopped, 1 not begun"), "{sentence}");
    }
}
