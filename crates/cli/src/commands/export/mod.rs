//! `s2ice export`: a store written out in forms that other readers know.

mod gdal;
mod index;
mod kerchunk;
mod manifest;

use std::collections::BTreeMap;

use s2ice_store::export::kerchunk::Remote;
use s2ice_store::export::{Cube, LeftOut, Selection};
use s2ice_store::report::REPORT_VERSION;
use schemars::JsonSchema;
use serde::Serialize;

use super::{store, summarise};
use crate::args::{ExportCommand, ExportedArgs, Global};
use crate::exit::Failure;
use s2ice_fleet::text;

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
    /// Reference sets written.
    #[serde(skip_serializing_if = "Option::is_none")]
    sets: Option<u64>,
    /// Arrays in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    arrays: Option<u64>,
    /// Chunks whose bytes stand in what was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    inlined: Option<u64>,
    /// Rows of the index.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    /// The places that references lead to, and what fsspec has to be told of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remotes: Vec<Remote>,
    /// Rasters that this form cannot have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<LeftOut>,
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
}

impl GdalPart {
    fn told(&self) -> String {
        let mut out = format!("{} rasters in {} VRTs\n", text::number(self.rasters), text::number(self.vrts));
        for (source, options) in &self.options {
            let options: Vec<String> = options.iter().map(|(name, value)| format!("{name}={value}")).collect();
            out += &format!("to be set for {source}: {}\n", options.join(" "));
        }
        out
    }
}

/// Runs the command.
pub async fn run(command: ExportCommand, global: &Global, run: String) -> Result<(), Failure> {
    match command {
        ExportCommand::Manifest(args) => manifest::run(args, global, run).await,
        ExportCommand::Gdal(args) => gdal::run(args, global, run).await,
        ExportCommand::Index(args) => index::run(args, global, run).await,
        ExportCommand::Kerchunk(args) => kerchunk::run(args, global, run).await,
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

/// What was written, in a form and to a place.
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
        sets: None,
        arrays: None,
        inlined: None,
        rows: None,
        remotes: Vec::new(),
        left_out: Vec::new(),
    }
}

/// Tells of it.
fn tell(report: &ExportReport, global: &Global) -> Result<(), Failure> {
    summarise(report, global, render)
}

fn render(report: &ExportReport) -> String {
    let number = |count: u64, what: &str| text::count(usize::try_from(count).unwrap_or(usize::MAX), what);
    let mut parts = vec![number(report.references, "reference")];
    let counts = [(report.sets, "reference set"), (report.rows, "row"), (report.arrays, "array")];
    parts.extend(counts.iter().filter_map(|(count, what)| Some(number((*count)?, what))));
    let (parts, ExportReport { output, store, snapshot, .. }) = (parts.join(", "), report);
    let mut out = format!("{output}: {parts} of {store}, state {snapshot}\n");
    for Remote { prefix, protocol, options } in &report.remotes {
        let options = serde_json::Value::from(options.clone());
        out += &format!("  {prefix}: remote_protocol {protocol:?}, remote_options {options}\n");
    }
    for left in &report.left_out {
        out += &format!("  left out: {left}\n");
    }
    out + &report.gdal.as_ref().map(GdalPart::told).unwrap_or_default()
}
