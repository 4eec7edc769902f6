//! `s2ice-samples`: writes sample Sentinel-2 products.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use s2ice_tests::calendar::Day;
use s2ice_tests::{Baseline, Headers, Level, Resolutions, SampleSpec, TileParts, TlmChoice, truth, write_products};

/// Write sample Sentinel-2 products: real geometry, made-up land, the same bytes every time.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Folder to write into; it then holds <product>.SAFE/, stac/ and index.parquet.
    out: PathBuf,
    /// MGRS tile.
    #[arg(long, default_value = "33TVN")]
    tile: String,
    /// Processing level, L2A or L1C.
    #[arg(long, default_value = "L2A")]
    level: Level,
    /// How many dates.
    #[arg(long, default_value_t = 3)]
    dates: u32,
    /// Days from one date to the next.
    #[arg(long, default_value_t = 5)]
    step: u32,
    /// The first date.
    #[arg(long, default_value = "2024-05-01")]
    start: Day,
    /// Processing baseline; before 04.00 there is no radiometric offset.
    #[arg(long, default_value = "05.11")]
    baseline: Baseline,
    /// Day of processing, for reprocessed products [default: hours after the overpass].
    #[arg(long)]
    processed: Option<Day>,
    /// Which products carry a TLM in their JP2 files: none, every second one, or all.
    #[arg(long, value_enum, default_value_t = Tlm::None)]
    tlm: Tlm,
    /// Each raster at its best resolution only, or all the copies of a real product.
    #[arg(long, value_enum, default_value_t = Copies::Best)]
    resolutions: Copies,
    /// What kind of products.
    #[arg(long, value_enum, default_value_t = Kind::Usual)]
    products: Kind,
    /// Only these rasters, as B02_10m,SCL_20m.
    #[arg(long, value_delimiter = ',')]
    assets: Vec<String>,
    /// Only B01 and B09 at 60 m and SCL (L1C: B01, B09, B10 and masks), for quick tests.
    #[arg(long, conflicts_with = "assets")]
    small: bool,
    /// Also write the true pixels, as truth/<product>/<asset>.npy (large: meant for --small).
    #[arg(long)]
    truth: bool,
    /// Never end the swath inside the tile.
    #[arg(long)]
    no_swath_edge: bool,
    /// Bands with the texture and noise of real ones, so that tiles have real sizes, ten times larger.
    #[arg(long)]
    realistic: bool,
    /// Another country.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads [default: as many as there are processors].
    #[arg(long)]
    threads: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Tlm {
    None,
    Some,
    All,
}

#[derive(Clone, Copy, ValueEnum)]
enum Copies {
    Best,
    All,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Kind {
    /// As the archive has them.
    Usual,
    /// Headers as in early 2016: 12 bits, tiles of 2048.
    Early,
    /// Headers of an encoder that made no product.
    Unknown,
    /// Two tile-parts per tile, one after the other.
    Split,
    /// Two tile-parts per tile, the second ones after all the first ones.
    Interleaved,
}

impl Args {
    fn spec(self) -> SampleSpec {
        let base = match (self.small, self.level) {
            (true, Level::L2A) => SampleSpec::small(),
            (true, Level::L1C) => SampleSpec::small_l1c(),
            (false, _) => SampleSpec { assets: self.assets, ..Default::default() },
        };
        SampleSpec {
            level: self.level,
            tile: self.tile,
            start: self.start,
            dates: self.dates,
            step: self.step,
            baseline: self.baseline,
            processed: self.processed,
            tlm: match self.tlm {
                Tlm::None => TlmChoice::None,
                Tlm::Some => TlmChoice::Some,
                Tlm::All => TlmChoice::All,
            },
            resolutions: match self.resolutions {
                Copies::Best => Resolutions::Best,
                Copies::All => Resolutions::All,
            },
            headers: match self.products {
                Kind::Early => Headers::Early,
                Kind::Unknown => Headers::Unknown,
                Kind::Usual | Kind::Split | Kind::Interleaved => Headers::GroundSegment,
            },
            tile_parts: match self.products {
                Kind::Split => TileParts::Adjacent,
                Kind::Interleaved => TileParts::Interleaved,
                Kind::Usual | Kind::Early | Kind::Unknown => TileParts::One,
            },
            swath_edge: !self.no_swath_edge,
            realistic: self.realistic,
            seed: self.seed,
            threads: self.threads.unwrap_or(base.threads),
            ..base
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let (out, truth) = (args.out.clone(), args.truth);
    let started = Instant::now();
    let written = write_products(&out, &args.spec()).and_then(|products| {
        if truth {
            products.iter().try_for_each(|product| truth::write(&out.join("truth"), product))?;
        }
        Ok(products)
    });
    match written {
        Ok(products) => {
            for product in &products {
                let bytes: u64 = product.assets.iter().map(|a| a.layout.size).sum();
                let (n, mb, cloud) = (product.assets.len(), bytes / 1_000_000, product.cloud_cover());
                println!("{}  {n} rasters, {mb} MB, {cloud:.0} % cloud", product.folder.display());
            }
            let n = products.len();
            eprintln!("{n} products in {:.1} s", started.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("s2ice-samples: {e}");
            ExitCode::from(1)
        }
    }
}
