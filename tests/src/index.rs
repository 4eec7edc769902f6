//! The TLM index in the public Parquet layout: what the indexer of the public archive would have written.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;

use crate::sample::{SampleAsset, SampleProduct};

/// Writes the four public columns; one row per band at its best resolution, masks left out. `index` is empty where the
/// file carries its own TLM.
///
/// # Errors
/// What the disk says.
pub fn write(path: &Path, products: &[SampleProduct]) -> io::Result<()> {
    let rows: Vec<(&str, &SampleAsset)> =
        products.iter().flat_map(|p| best(p).into_iter().map(|a| (p.id.as_str(), a))).collect();
    let text = |pick: &dyn Fn(&(&str, &SampleAsset)) -> String| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(pick(row))).collect::<StringArray>())
    };
    let index: BinaryArray =
        rows.iter().map(|(_, a)| Some(if a.coding.tlm { Vec::new() } else { a.layout.index() })).collect();
    let columns: [(&str, ArrayRef); 4] = [
        ("product_id", text(&|(id, _)| (*id).to_owned())),
        ("band_id", text(&|(_, a)| a.raster.band_id.clone())),
        ("path", text(&|(_, a)| a.path.clone())),
        ("index", Arc::new(index)),
    ];
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, c)| (name, c, true))).map_err(io::Error::other)?;
    let mut writer = ArrowWriter::try_new(File::create(path)?, batch.schema(), None).map_err(io::Error::other)?;
    writer.write(&batch).map_err(io::Error::other)?;
    writer.close().map_err(io::Error::other)?;
    Ok(())
}

/// The finest copy of each raster of IMG_DATA.
fn best(product: &SampleProduct) -> Vec<&SampleAsset> {
    let images = || product.assets.iter().filter(|a| !a.raster.is_mask());
    images()
        .filter(|a| {
            !images().any(|b| b.raster.band_id == a.raster.band_id && b.raster.resolution < a.raster.resolution)
        })
        .collect()
}
