//! `s2ice preview`: a picture of a store.

use std::io::Write;
use std::path::Path;

use s2ice_store::preview::{Bounds, Format, Made, Origin, SIZES, Shot, Shown, When, Wish, moment, preview};
use s2ice_store::report::REPORT_VERSION;
use schemars::JsonSchema;
use serde::Serialize;

use super::{store, summarise};
use crate::args::{Global, PreviewArgs};
use crate::exit::Failure;
use crate::progress::Bars;
use crate::settings;
use s2ice_fleet::text;

/// Where a picture goes to standard output.
const STANDARD: &str = "-";

/// Report of `s2ice preview`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PreviewReport {
    /// Always `s2ice.preview`.
    kind: String,
    /// Version of this report.
    version: u32,
    /// Address of the store.
    store: String,
    /// What was written.
    output: String,
    /// What is shown, such as `B04, B03, B02`.
    bands: String,
    /// Pixel size, metres.
    resolution: u32,
    /// Pixels, the line with date and scale bar included.
    width: u32,
    /// Pixels.
    height: u32,
    /// The products, in the order in which they are shown.
    products: Vec<PreviewedProduct>,
    /// Requests for product files, repeated ones included.
    requests: u64,
    /// Bytes of product files that were read.
    bytes: u64,
}

/// A product that is shown.
#[derive(Debug, Serialize, JsonSchema)]
struct PreviewedProduct {
    /// Its name.
    product: String,
    /// Time of sensing, RFC 3339.
    time: String,
    /// Percent, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    cloud_cover: Option<f64>,
}

/// Runs the command.
pub async fn run(args: PreviewArgs, global: &Global) -> Result<(), Failure> {
    let wish = wish(&args)?;
    let to_standard = args.output == Path::new(STANDARD);
    if to_standard && global.json {
        return Err(Failure::usage("-o - and --json both write to standard output: name a file for the picture"));
    }
    let options = settings::options("source", &args.source)?;
    let origin = Origin { source: args.source.source.clone(), options };
    let target = store(&args.store, &args.store_options).await?;
    let bars = Bars::new(global.shows_progress());
    let made = preview(&target, &wish, &origin, &bars).await?;
    write(&args.output, &made.file)?;
    let report = report(target.url().to_string(), &args, &wish, made);
    if !to_standard {
        return summarise(&report, global, render);
    }
    if !global.quiet {
        crate::progress::aside(|| eprint!("{}", render(&report)));
    }
    Ok(())
}

fn wish(args: &PreviewArgs) -> Result<Wish, Failure> {
    let of = |option: &'static str| move |reason: String| Failure::usage(format!("--{option}: {reason}"));
    let shown: Shown = args.bands.parse().map_err(of("bands"))?;
    let bounds: Option<Bounds> = args.bounds.as_deref().map(str::parse).transpose().map_err(of("bounds"))?;
    if !SIZES.contains(&args.resolution) {
        let (least, most) = SIZES.into_inner();
        let nearest = args.resolution.clamp(least, most);
        return Err(Failure::usage(format!(
            "--resolution {}: pictures have pixels of {least} to {most} m; the nearest is {nearest}",
            args.resolution
        )));
    }
    if let Some(percent) = args.max_cloud_cover.filter(|percent| !(0.0..=100.0).contains(percent)) {
        return Err(Failure::usage(format!("--max-cloud-cover: {percent} is no percentage, 0 to 100")));
    }
    let format = format(&args.output, args.series)?;
    Ok(Wish { shown, metres: args.resolution, when: when(args).map_err(of("time"))?, bounds, format })
}

fn when(args: &PreviewArgs) -> Result<When, String> {
    let max_cloud_cover = args.max_cloud_cover;
    match args.time.as_deref() {
        Some(time) if !args.series && !args.least_cloudy && !time.contains('/') => moment(time).map(When::Near),
        time => {
            let interval = time.map(str::parse).transpose();
            let interval = interval.map_err(|error: s2ice_manifest::stac::IntervalError| error.to_string())?;
            Ok(if args.series { When::Series { interval, max_cloud_cover } } else { When::Clearest(interval) })
        }
    }
}

/// The form that the name of an output asks for.
fn format(output: &Path, series: bool) -> Result<Format, Failure> {
    if output == Path::new(STANDARD) {
        return Ok(if series { Format::Gif } else { Format::Png });
    }
    let found = output.extension().and_then(|extension| extension.to_str()).and_then(Format::of_extension);
    match found {
        Some(format) if series && !format.moves() => Err(Failure::usage(format!(
            "-o {}: PNG holds one picture; name a series OUT.gif or OUT.webp",
            output.display()
        ))),
        Some(format) => Ok(format),
        None => Err(Failure::usage(format!("-o {}: name it OUT.png, OUT.gif or OUT.webp", output.display()))),
    }
}

fn write(output: &Path, file: &[u8]) -> Result<(), Failure> {
    if output != Path::new(STANDARD) {
        return std::fs::write(output, file)
            .map_err(|error| Failure::fault(format!("{} cannot be written: {error}", output.display())));
    }
    let mut out = std::io::stdout().lock();
    match out.write_all(file).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::fault(error)),
        _ => Ok(()),
    }
}

fn report(store: String, args: &PreviewArgs, wish: &Wish, made: Made) -> PreviewReport {
    let Made { width, height, shots, requests, bytes, .. } = made;
    let product = |Shot { product, time, cloud_cover }| PreviewedProduct { product, time, cloud_cover };
    PreviewReport {
        kind: "s2ice.preview".to_owned(),
        version: REPORT_VERSION,
        store,
        output: args.output.display().to_string(),
        bands: wish.shown.to_string(),
        resolution: wish.metres,
        width,
        height,
        products: shots.into_iter().map(product).collect(),
        requests,
        bytes,
    }
}

fn render(report: &PreviewReport) -> String {
    let PreviewReport { output, bands, resolution, width, height, products, requests, bytes, .. } = report;
    let day = |product: &PreviewedProduct| product.time.get(..10).unwrap_or(&product.time).to_owned();
    let what = match products.as_slice() {
        [only] => format!("{}, {}", day(only), only.product),
        [first, .., last] => format!("{}, {} to {}", text::count(products.len(), "date"), day(first), day(last)),
        [] => "nothing".to_owned(),
    };
    let requests = text::count(usize::try_from(*requests).unwrap_or(usize::MAX), "request");
    let read = text::bytes(*bytes);
    format!("{output}: {what}; {bands} at {resolution} m, {width} x {height} pixels; {read} read in {requests}\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn wished(line: &str) -> Result<Wish, String> {
        let line = format!("s2ice preview /store {line}");
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::Preview(args) => wish(&args).map_err(|failure| failure.text().unwrap_or_default().to_owned()),
            _ => unreachable!(),
        }
    }

    #[test]
    fn times_are_dates_or_intervals() {
        assert!(matches!(wished("-o a.png").unwrap().when, When::Clearest(None)));
        assert!(matches!(wished("-o a.png --time 2024-05-01").unwrap().when, When::Near(_)));
        assert!(matches!(wished("-o a.png --time 2024-05-01/..").unwrap().when, When::Clearest(Some(_))));
        assert!(matches!(wished("-o a.png --time 2024-05-01 --least-cloudy").unwrap().when, When::Clearest(Some(_))));
        let series = wished("-o a.webp --series --time ../2024-05-01 --max-cloud-cover 7").unwrap().when;
        assert!(matches!(series, When::Series { interval: Some(_), max_cloud_cover: Some(7.0) }));
    }

    #[test]
    fn mistakes_name_the_option() {
        for (line, expected) in [
            ("-o a.jpg", "-o a.jpg: name it OUT.png, OUT.gif or OUT.webp"),
            ("-o a.png --series", "-o a.png: PNG holds one picture; name a series OUT.gif or OUT.webp"),
            ("-o a.png --resolution 10", "--resolution 10: pictures have pixels of 20 to 960 m; the nearest is 20"),
            ("-o a.png --bands b04,b03", "--bands: 2 bands make no picture"),
            ("-o a.png --bounds 1,2", "--bounds: give west,south,east,north"),
            ("-o a.png --time soon", "--time: \"soon\" is neither a date"),
            ("-o a.gif --series --max-cloud-cover 101", "--max-cloud-cover: 101 is no percentage"),
        ] {
            let error = wished(line).unwrap_err();
            assert!(error.starts_with(expected), "{line}: {error}");
        }
        assert_eq!(wished("-o -").unwrap().format, Format::Png);
        assert_eq!(wished("-o - --series").unwrap().format, Format::Gif);
    }
}
