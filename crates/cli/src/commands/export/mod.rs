//! `s2ice export`: a store written out in forms that other readers know.

mod gdal;
mod manifest;

use std::collections::BTreeMap;

use s2ice_store::export::gdal::LeftOut;
use s2ice_store::export::{Cube, Selection};
use s2ice_store::report::REPORT_VERSION;
use schemars::JsonSchema;
use serde::Serialize;

use super::{store, summarise};
use crate::args::{ExportCommand, ExportedArgs, Global};
use crate::exit::Failure;
use crate::text;

/// Report of `s2ice export`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ExportReport {
    /// Always `s2ice.export`.
    kind: String,
    /// Version of this report.
    version: u32,
    /// Name of the run.
    run: String,
    /// Form that was written, such as `manifest`.
    form: String,
    /// Address of the store.
    store: String,
    /// Snapshot that was written out.
    snapshot: String,
    /// What was written.
    output: String,
    /// References written.
    references: u64,
    /// Of the form `gdal` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    gdal: Option<GdalPart>,
}

/// What is particular to an export for GDAL.
#[derive(Debug, Serialize, JsonSchema)]
struct GdalPart {
    /// Rasters written.
    rasters: u64,
    /// VRTs over them.
    vrts: u64,
    /// Configuration options that GDAL needs for the files of each source, by its prefix; keys are not among them.
    options: BTreeMap<String, BTreeMap<String, String>>,
    /// Rasters that GDAL cannot be given.
    left_out: Vec<LeftOut>,
}

/// Runs the command.
pub async fn run(command: ExportCommand, global: &Global, run: String) -> Result<(), Failure> {
    match command {
        ExportCommand::Manifest(args) => manifest::run(args, global, run).await,
        ExportCommand::Gdal(args) => gdal::run(args, global, run).await,
    }
}

/// Opens what is to be written out.
async fn open(args: &ExportedArgs) -> Result<(Cube, Selection), Failure> {
    let interval = args.datetime.as_deref().map(str::parse).transpose();
    let datetime = interval.map_err(|error| Failure::usage(format!("--datetime: {error}")))?;
    let target = store(&args.store, &args.store_options).await?;
    let cube = Cube::open(&target, args.at.as_deref()).await?;
    Ok((cube, Selection { arrays: args.arrays.clone(), datetime }))
}

/// Tells what was written.
fn tell(cube: &Cube, form: &str, output: String, references: u64, run: String, global: &Global) -> Result<(), Failure> {
    told(&report(cube, form, output, references, run), global)
}

fn told(report: &ExportReport, global: &Global) -> Result<(), Failure> {
    summarise(report, global, render)
}

fn report(cube: &Cube, form: &str, output: String, references: u64, run: String) -> ExportReport {
    ExportReport {
        kind: "s2ice.export".to_owned(),
        version: REPORT_VERSION,
        run,
        form: form.to_owned(),
        store: cube.url.clone(),
        snapshot: cube.state.snapshot.to_string(),
        output,
        references,
        gdal: None,
    }
}

fn render(report: &ExportReport) -> String {
    let references = text::number(report.references);
    let mut out =
        format!("{}: {references} references of {}, state {}\n", report.output, report.store, report.snapshot);
    let Some(gdal) = &report.gdal else { return out };
    out += &format!("{} rasters in {} VRTs\n", text::number(gdal.rasters), text::number(gdal.vrts));
    for (source, options) in &gdal.options {
        let options: Vec<String> = options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        out += &format!("to be set for {source}: {}\n", options.join(" "));
    }
    for LeftOut { product, array, reason } in &gdal.left_out {
        out += &format!("left out: {product} {array}: {reason}\n");
    }
    out
}
