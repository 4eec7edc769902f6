//! `s2ice run`: every tile of a configuration file.

use std::future::Future;

use s2ice_manifest::ids::MgrsTile;
use schemars::JsonSchema;
use serde::Serialize;

use super::summarise;
use crate::args::{Global, RunArgs};
use crate::exit::Failure;
use crate::progress::TileBar;
use crate::run::config::RunConfig;
use crate::run::summary::Publication;
use crate::run::{Options, summary};
use crate::text;

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
    let config = RunConfig::read(&args.config, &run).map_err(Failure::Usage)?;
    let chosen = choose(&config, &args.tile)?;
    if let Some(sentence) = config.open_secrets() {
        tracing::warn!("{sentence}");
    }
    if args.check {
        return summarise(&check(&config, &chosen), global, render_check);
    }
    let options =
        Options { jobs: args.jobs, full: args.full, prune: args.prune, dry_run: args.dry_run, resume: args.resume };
    let bar = TileBar::new(chosen.len(), global.shows_progress());
    let (report, broken) = crate::run::run(config, &chosen, options, &run, stop, &bar).await?;
    summarise(&report, global, summary::render)?;
    let unpublished = report.publication.as_ref().and_then(Publication::failure);
    let is_stale = broken.is_none() && unpublished.is_none() && report.is_merely_stale();
    let sentences: Vec<String> = report.failure().into_iter().chain(broken).chain(unpublished).collect();
    match sentences.join("; ") {
        sentence if sentence.is_empty() => Ok(()),
        sentence if is_stale => Err(Failure::Stale(sentence)),
        sentence => Err(Failure::Fault(sentence)),
    }
}

/// The tiles of the file that are asked for, by their place in it: all, or those of some names.
pub fn choose(config: &RunConfig, names: &[String]) -> Result<Vec<usize>, Failure> {
    let mut wanted = Vec::new();
    for name in names {
        let tile: MgrsTile = name.parse().map_err(|error| Failure::usage(format!("--tile: {error}")))?;
        if !config.tiles.iter().any(|entry| entry.settings.tile == tile) {
            return Err(Failure::usage(format!("--tile: {} has no tile {tile}", config.path.display())));
        }
        wanted.push(tile);
    }
    let all = config.tiles.iter().enumerate();
    let chosen = all.filter(|(_, entry)| wanted.is_empty() || wanted.contains(&entry.settings.tile));
    Ok(chosen.map(|(number, _)| number).collect())
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
