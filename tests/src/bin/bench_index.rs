//! `bench_index`: writes the index of the benchmark, a TLM Parquet in the public layout.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use clap::Parser;
use parquet::arrow::ArrowWriter;

#[path = "../../bench/synthetic.rs"]
#[allow(dead_code)]
mod synthetic;

use synthetic::{BASELINE, RASTERS, Raster, product_of};

/// Write a synthetic TLM index in the public Parquet layout.
#[derive(Parser)]
struct Args {
    /// Index to write.
    out: PathBuf,
    /// Number of products.
    #[arg(long, default_value_t = 1353)]
    products: u32,
    /// Rasters of each product: the first four are the ten-metre bands.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=16))]
    rasters: u16,
    /// Number of the first product in the archive.
    #[arg(long, default_value_t = 0)]
    first: u32,
    /// How much larger the number of the next product is.
    #[arg(long, default_value_t = 1)]
    step: u32,
    /// Products of the archive from which these are taken; as many as are written, where absent.
    #[arg(long)]
    of: Option<u32>,
    /// Processing baseline without its point, such as 511.
    #[arg(long, default_value_t = BASELINE, value_parser = clap::value_parser!(u32).range(510..=9999))]
    baseline: u32,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match write(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench_index: {error}");
            ExitCode::from(1)
        }
    }
}

fn write(args: &Args) -> io::Result<()> {
    let rasters = &RASTERS[..RASTERS.len().min(usize::from(args.rasters))];
    let count = args.of.unwrap_or(args.products);
    let mut rows = Vec::new();
    for number in 0..args.products {
        let number = args.first.saturating_add(number.saturating_mul(args.step));
        let product = product_of(number, count, rasters, args.baseline);
        rows.extend(product.rasters.into_iter().map(|raster| (product.id.clone(), raster)));
    }
    let text = |of: &dyn Fn(&(String, Raster)) -> String| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(of(row))).collect::<StringArray>())
    };
    let index: BinaryArray = rows.iter().map(|(_, raster)| Some(cell(raster))).collect();
    let columns: [(&str, ArrayRef); 4] = [
        ("product_id", text(&|(id, _)| id.clone())),
        ("band_id", text(&|(_, raster)| raster.band.to_owned())),
        ("path", text(&|(_, raster)| raster.path.clone())),
        ("index", Arc::new(index)),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
        .map_err(io::Error::other)?;
    let mut writer = ArrowWriter::try_new(File::create(&args.out)?, batch.schema(), None).map_err(io::Error::other)?;
    writer.write(&batch).map_err(io::Error::other)?;
    writer.close().map_err(io::Error::other)?;
    Ok(())
}

/// Big-endian file size, offset of the first SOT, length of the rest; one TLM segment with ST = 1 and SP = 1, that is
/// one byte for the tile and four for the length (ISO/IEC 15444-1, table A.34).
fn cell(raster: &Raster) -> Vec<u8> {
    let mut segment = vec![0xFF, 0x55];
    let entries = u16::try_from(raster.lengths.len()).unwrap_or(u16::MAX);
    segment.extend((4 + 5 * entries).to_be_bytes());
    segment.extend([0, 0x50]);
    for (tile, length) in (0_u8..).zip(&raster.lengths) {
        segment.push(tile);
        segment.extend(length.to_be_bytes());
    }
    let file_size = raster.first_sot + raster.lengths.iter().map(|n| u64::from(*n)).sum::<u64>() + 2;
    let mut out = Vec::with_capacity(20 + segment.len());
    out.extend(file_size.to_be_bytes());
    out.extend(raster.first_sot.to_be_bytes());
    out.extend(u32::try_from(segment.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(segment);
    out
}
