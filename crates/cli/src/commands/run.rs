//! `s2ice run`: every tile of a configuration file.

use std::future::Future;

use s2ice_fleet::config::RunConfig;
use s2ice_fleet::refresh::Asked;
use s2ice_fleet::run::{Options, Run, Unbegun};
use s2ice_fleet::shard::{self, Shard};
use s2ice_fleet::summary;
use s2ice_fleet::tile::TileReport;
use s2ice_fleet::{supervise, text};
use schemars::JsonSchema;
use serde::Serialize;

use super::cluster::Driven;
use super::summarise;
use crate::args::{Global, RunArgs};
use crate::exit::Failure;
use crate::progress::TileBar;
use crate::settings;

/// Report of `s2ice run --check`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CheckReport {
    /// Always `s2ice.run.check`.
    kind: &'static str,
    /// Version of this report.
    version: u32,
    /// The tiles that a run would refresh.
    tiles: Vec<CheckedTile>,
}

/// One tile as the file has it, everything filled in.
#[derive(Debug, Serialize, JsonSchema)]
struct CheckedTile {
    /// MGRS tile.
    tile: String,
    /// Processing level.
    level: String,
    /// Line of the file.
    line: usize,
    /// Address of the store.
    store: String,
    /// Prefix of the product files.
    source: String,
    /// TLM index files.
    index: Vec<String>,
    /// STAC items.
    #[serde(skip_serializing_if = "Option::is_none")]
    stac: Option<String>,
}

/// Runs the command until all tiles ended or `stop` is ready.
pub async fn run(
    args: RunArgs,
    global: &Global,
    run: String,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Failure> {
    let occasion = settings::occasion(&run);
    let mut config = RunConfig::read(&args.config, &occasion).map_err(Failure::Usage)?;
    let chosen = choose(&config, &args.tile, args.shard)?;
    if let Some(sentence) = config.open_secrets() {
        tracing::warn!("{sentence}");
    }
    if args.check {
        return summarise(&check(&config, &chosen), global, render_check);
    }
    if let Some(scheduler) = &args.scheduler {
        let driven = Driven { command: "run", config: &args.config, scheduler, tiles: &args.tile };
        let deadline = args.deadline.map(|deadline| ("--deadline", deadline.to_string()));
        let switches =
            [(args.full, "--full"), (args.prune, "--prune"), (args.dry_run, "--dry-run"), (args.resume, "--resume")];
        return driven.run(deadline.as_slice(), &switches, global);
    }
    shard::name_files(&mut config.run, args.shard)
        .map_err(|reason| Failure::Usage(format!("configuration file {}: {reason}", args.config.display())))?;
    let asked = Asked { full: args.full, prune: args.prune, dry_run: args.dry_run };
    let options = Options { asked, resume: args.resume, is_share: args.shard.is_some(), deadline: args.deadline };
    let bar = TileBar::new(chosen.len(), "refreshing tiles", global.shows_progress());
    let ended = |_: &TileReport| bar.ended();
    let mut run = Run::begin(config, &chosen, options, &occasion, &ended).map_err(|unbegun| match unbegun {
        Unbegun::Unreadable(sentence) => Failure::Fault(sentence),
        Unbegun::NoReport => Failure::usage(unbegun),
    })?;
    if let Some(path) = &args.changes {
        run.hear(path).map_err(|error| Failure::Usage(format!("--changes: {error}")))?;
    }
    let stop = supervise::stop(stop);
    tokio::select! {
        // Signals are listened to before anything is asked.
        biased;
        () = stop.clone() => {}
        () = run.prepare() => {}
    }
    run.here(args.jobs, stop, &ended).await;
    bar.finish();
    let (report, broken) = run.end().await;
    summarise(&report, global, summary::render)?;
    match report.verdict(broken) {
        (None, _) => Ok(()),
        (Some(sentence), true) => Err(Failure::Stale(sentence)),
        (Some(sentence), false) => Err(Failure::Fault(sentence)),
    }
}

/// The tiles of the file that are asked for, by their place in it: all, or those of some names, or of a share.
pub fn choose(config: &RunConfig, names: &[String], shard: Option<Shard>) -> Result<Vec<usize>, Failure> {
    let chosen = config.choose(names).map_err(|reason| Failure::usage(format!("--tile: {reason}")))?;
    Ok(chosen.into_iter().filter(|number| shard.is_none_or(|shard| shard.has(*number))).collect())
}

fn check(config: &RunConfig, chosen: &[usize]) -> CheckReport {
    let tiles = chosen.iter().filter_map(|number| config.tiles.get(*number)).map(|entry| CheckedTile {
        tile: entry.settings.tile.to_string(),
        level: entry.settings.level.to_string(),
        line: entry.line,
        store: entry.store.clone(),
        source: entry.settings.source.clone(),
        index: entry.settings.index.clone(),
        stac: entry.settings.stac.as_ref().map(ToString::to_string),
    });
    let version = s2ice_store::report::REPORT_VERSION;
    CheckReport { kind: "s2ice.run.check", version, tiles: tiles.collect() }
}

fn render_check(report: &CheckReport) -> String {
    let mut rows = vec![["line", "tile", "", "store", "source", "index", "stac"].map(str::to_owned).to_vec()];
    rows.extend(report.tiles.iter().map(|tile| {
        vec![
            tile.line.to_string(),
            tile.tile.clone(),
            tile.level.clone(),
            tile.store.clone(),
            tile.source.clone(),
            tile.index.join(" "),
            tile.stac.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    }));
    format!("{}: the file is right\n\n{}", text::count(report.tiles.len(), "tile"), text::table(&rows, &[0]))
}
