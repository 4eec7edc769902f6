//! `s2ice export gdal`.

use s2ice_store::export;

use super::{GdalPart, open, report, tell};
use crate::args::{GdalExportArgs, Global};
use crate::exit::Failure;
use crate::progress::Bars;

/// Runs the command.
pub async fn run(args: GdalExportArgs, global: &Global, run: String) -> Result<(), Failure> {
    let (cube, selection) = open(&args.exported).await?;
    let bars = Bars::new(global.shows_progress());
    let written = export::gdal::write(&cube, &selection, &args.output, &bars).await?;
    let mut report = report(&cube, "gdal", args.output.display().to_string(), written.references, run);
    report.gdal = Some(GdalPart { rasters: written.rasters, vrts: written.vrts, options: written.options });
    report.left_out = written.left_out;
    tell(&report, global)
}
