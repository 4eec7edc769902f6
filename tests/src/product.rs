//! Writes products: the JP2 files on several threads, then the metadata that describes them.

use std::fs;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::encoder::encode;
use crate::jp2::{boxes, layout, with_tlm};
use crate::landscape::Cells;
use crate::raster::Raster;
use crate::sample::{SampleAsset, SampleProduct};
use crate::scene::Scene;
use crate::spec::{Identity, Level, Resolutions, SampleSpec, TlmChoice};
use crate::split::split;
use crate::{index, invalid, stac, xml};

/// See [`SampleProduct::expected_pixels`].
#[must_use]
pub fn expected_pixels(product: &SampleProduct, asset: &SampleAsset, y: Range<u32>, x: Range<u32>) -> Vec<u16> {
    product.expected_pixels(asset, y, x)
}

/// Writes the products of `spec` into `dir`, and the catalogue of these products (see [`write_catalogue`]).
///
/// # Errors
/// `InvalidInput` for a specification that names no tile or no raster; what the disk and OpenJPEG say.
pub fn write_products(dir: &Path, spec: &SampleSpec) -> io::Result<Vec<SampleProduct>> {
    let rasters = Raster::of(spec);
    if let Some(wrong) = spec.assets.iter().find(|a| !rasters.iter().any(|r| r.asset == **a)) {
        let all = SampleSpec { assets: Vec::new(), resolutions: Resolutions::All, ..spec.clone() };
        let known: Vec<String> = Raster::of(&all).into_iter().map(|r| r.asset).collect();
        return Err(invalid(format!("no raster is called '{wrong}'; there are {}", known.join(", "))));
    }
    let mut land = None;
    let mut products = Vec::new();
    for date in 0..spec.dates {
        let identity = Identity::new(spec, date)?;
        let scene = Scene::new(spec, &identity, date);
        let land = land.get_or_insert_with(|| scene.land_cells(spec.threads));
        let tlm = match spec.tlm {
            TlmChoice::None => false,
            TlmChoice::Some => date % 2 == 1,
            TlmChoice::All => true,
        };
        products.push(write_product(dir, spec, &rasters, (identity, scene), tlm, land)?);
    }
    write_catalogue(dir, &products)?;
    Ok(products)
}

/// Writes `index.parquet`, `stac/<product>.json` and `stac/items.json` of these products into `dir`, over any that are
/// there; so products of several specifications can share a folder.
///
/// # Errors
/// What the disk says.
pub fn write_catalogue(dir: &Path, products: &[SampleProduct]) -> io::Result<()> {
    stac::write(&dir.join("stac"), products)?;
    index::write(&dir.join("index.parquet"), products)
}

fn write_product(
    dir: &Path,
    spec: &SampleSpec,
    rasters: &[Raster],
    (identity, scene): (Identity, Scene),
    tlm: bool,
    land: &Cells,
) -> io::Result<SampleProduct> {
    let id = identity.product_id();
    let folder = dir.join(format!("{id}.SAFE"));
    let granule = format!("GRANULE/{}", identity.granule());
    let cells = scene.cells(land, spec.threads);
    let places: Vec<(&Raster, String)> = rasters
        .iter()
        .map(|raster| match raster.is_mask() {
            true => (raster, "QI_DATA".to_owned()),
            false if spec.level == Level::L1C => (raster, "IMG_DATA".to_owned()),
            false => (raster, format!("IMG_DATA/R{}m", raster.resolution)),
        })
        .map(|(raster, folder)| {
            let name = raster.file_name(spec.level, &identity.image_prefix());
            (raster, format!("{granule}/{folder}/{name}.jp2"))
        })
        .collect();
    for (_, place) in &places {
        if let Some(parent) = folder.join(place).parent() {
            fs::create_dir_all(parent)?;
        }
    }
    let write = |&(raster, ref place): &(&Raster, String)| {
        let coding = raster.coding(spec, tlm);
        let file = folder.join(place);
        let head = boxes(&coding, &identity.grid, raster.resolution);
        let mut samples = Vec::new();
        let codestream = encode(&coding, |_, rect, bytes| {
            samples.clear();
            scene.samples(raster, &coding, &cells, rect, &mut samples);
            if coding.bits > 8 {
                bytes.extend(samples.iter().flat_map(|v| v.to_le_bytes()));
            } else {
                bytes.extend(samples.iter().map(|v| v.to_le_bytes()[0]));
            }
            Ok(())
        })?;
        // A TLM names tile-parts, so it is written after they are divided.
        let codestream = split(codestream, spec.tile_parts)?;
        let codestream = if coding.tlm { with_tlm(&codestream)? } else { codestream };
        let mut out = fs::File::create(&file)?;
        out.write_all(&head)?;
        out.write_all(&codestream)?;
        let layout = layout(&codestream, u64::try_from(head.len()).map_err(io::Error::other)?)?;
        let path = format!("/{id}.SAFE/{place}");
        Ok(SampleAsset { raster: raster.clone(), coding, path, file, layout })
    };
    let assets = in_parallel(&places, spec.threads, |(raster, _)| cost(raster), write)?;
    let shares = scene.shares(&cells);
    let product = SampleProduct { id, identity, folder, assets, shares, scene };
    xml::write(&product)?;
    Ok(product)
}

/// About how long a raster takes, to begin with the longest.
fn cost(raster: &Raster) -> u32 {
    let side = 109_800 / raster.resolution;
    let factor = match raster.kind {
        crate::raster::Kind::TrueColour => 3,
        crate::raster::Kind::Quality => 8,
        _ if raster.resolution == 10 => 1,
        _ => 2, // tiny code-blocks
    };
    side * side / 256 * factor
}

/// Runs `work` on every item, on several threads, costly ones first; the results come in the order of the items.
fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    cost: impl Fn(&T) -> u32,
    work: impl Fn(&T) -> io::Result<R> + Sync,
) -> io::Result<Vec<R>> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(cost(&items[i])), i));
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<io::Result<R>>>> = items.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                while let Some(&i) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(&items[i]);
                    *results[i].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                }
            });
        }
    });
    let taken = results.into_iter().map(|m| m.into_inner().unwrap_or_else(PoisonError::into_inner));
    taken.map(|r| r.unwrap_or_else(|| Err(io::Error::other("a thread died")))).collect()
}
