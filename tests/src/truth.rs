//! The true pixels as NumPy files, for tests in other languages.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::sample::{SampleAsset, SampleProduct};

/// Writes `<dir>/<product>/<asset>.npy` for every asset of a product: `uint16` or `uint8`, (rows, columns), with a last
/// axis for the components of a true-colour image. A 10 m band is 241 MB.
///
/// # Errors
/// What the disk says.
pub fn write(dir: &Path, product: &SampleProduct) -> io::Result<()> {
    let folder = dir.join(&product.id);
    fs::create_dir_all(&folder)?;
    product.assets.iter().try_for_each(|asset| write_asset(&folder, product, asset).map(|_| ()))
}

fn write_asset(folder: &Path, product: &SampleProduct, asset: &SampleAsset) -> io::Result<PathBuf> {
    let coding = &asset.coding;
    let (side, wide) = (coding.side, coding.bits > 8);
    let axis = if coding.components == 1 { String::new() } else { format!(", {}", coding.components) };
    let kind = if wide { "<u2" } else { "|u1" };
    let head = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({side}, {side}{axis}), }}");
    // NPY 1.0: magic, version, length of the head, the head padded to a multiple of 64 and ended by a newline.
    let head = format!("{head:<117}\n");
    let length = u16::try_from(head.len()).map_err(io::Error::other)?;
    let mut out = [&b"\x93NUMPY\x01\x00"[..], &length.to_le_bytes(), head.as_bytes()].concat();
    let mut row = 0;
    while row < side {
        let end = side.min(row + 512);
        let pixels = product.expected_pixels(asset, row..end, 0..side);
        if wide {
            out.extend(pixels.iter().flat_map(|v| v.to_le_bytes()));
        } else {
            out.extend(pixels.iter().map(|v| v.to_le_bytes()[0]));
        }
        row = end;
    }
    let path = folder.join(format!("{}.npy", asset.raster.asset));
    fs::write(&path, out)?;
    Ok(path)
}
