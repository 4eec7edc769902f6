//! One file per command.

pub mod build;
mod cluster;
pub mod completions;
pub mod diff;
pub mod export;
pub mod gc;
pub mod index;
pub mod info;
pub mod man;
pub mod manifest;
pub mod plan;
pub mod preview;
pub mod publish;
pub mod repair;
pub mod rollback;
pub mod run;
pub mod schemas;
pub mod status;

use std::path::Path;
use std::sync::Arc;

use s2ice_fleet::config::RunConfig;
use s2ice_fleet::each::StoreReport;
use s2ice_manifest::source::location::SourceUrl;
use s2ice_store::target::Target;
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::{Global, OfFileArgs, StoreArgs};
use crate::exit::Failure;
use crate::progress::TileBar;
use crate::settings;

/// The place of a store that shall be there. A local place that is not is told before its folder is made.
async fn store(address: &str, options: &StoreArgs) -> Result<Target, Failure> {
    let url = SourceUrl::parse(address).map_err(Failure::usage)?;
    let options = settings::options("store", options)?;
    if url.local_root().is_some_and(|root| !root.exists()) {
        return Err(s2ice_store::Error::NoStore { url: url.to_string() }.into());
    }
    Ok(Target::open(url, options).await?)
}

/// The file of `s2ice run` that is named in the place of a store, for all of its stores; `None` for a store.
///
/// # Errors
/// The file is wrong, or has none of the tiles that are asked for; tiles or a scheduler for a store.
fn fleet(named: &str, asked: &OfFileArgs, run: &str) -> Result<Option<(RunConfig, Vec<usize>)>, Failure> {
    let path = Path::new(named);
    if !is_config(named) {
        let options = [("--tile", !asked.tile.is_empty()), ("--scheduler", asked.scheduler.is_some())];
        return match options.iter().find(|(_, is_given)| *is_given) {
            None => Ok(None),
            Some((option, _)) => {
                Err(Failure::usage(format!("{option}: it is one of a configuration file, and a store is named")))
            }
        };
    }
    let config = RunConfig::read(path, &settings::occasion(run)).map_err(Failure::Usage)?;
    let chosen = run::choose(&config, &asked.tile, None)?;
    Ok(Some((config, chosen)))
}

/// True for a configuration file in the place of a store.
fn is_config(named: &str) -> bool {
    named.ends_with(".toml") && Path::new(named).is_file()
}

/// Does housekeeping of all stores of a file, and tells of it.
async fn each<R: StoreReport, F: Future<Output = s2ice_store::Result<R>>>(
    (config, chosen): (RunConfig, Vec<usize>),
    work: impl Fn(Arc<Target>) -> F,
    (global, run): (&Global, &str),
) -> Result<(), Failure> {
    let bar = TileBar::new(chosen.len(), "stores", global.shows_progress());
    let report = s2ice_fleet::each::each(&config, &chosen, work, &|| bar.ended()).await;
    bar.finish();
    if global.json {
        print_json(&OfRun::new(&report, run))?;
    } else if !global.quiet {
        print(&R::render(&report))?;
    }
    report.failure().map_or(Ok(()), |sentence| Err(Failure::Fault(sentence)))
}

/// The report of a command that writes, with the name of the run that its log bears.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{R}")]
pub struct OfRun<'a, R> {
    /// The report.
    #[serde(flatten)]
    report: &'a R,
    /// Name of the run.
    run: &'a str,
}

impl<'a, R> OfRun<'a, R> {
    /// A report of a run.
    fn new(report: &'a R, run: &'a str) -> Self {
        Self { report, run }
    }
}

/// Tells what long work did: as JSON, in words, or, asked to be quiet, not at all.
fn summarise<R: Serialize>(report: &R, global: &Global, render: fn(&R) -> String) -> Result<(), Failure> {
    if global.json {
        print_json(report)
    } else if global.quiet {
        Ok(())
    } else {
        print(&render(report))
    }
}

/// Prints a report as JSON on standard output.
fn print_json(report: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(report).map_err(Failure::fault)?;
    print(&format!("{text}\n"))
}

/// Prints text on standard output; a closed pipe is no error.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::fault(error)),
        _ => Ok(()),
    }
}
