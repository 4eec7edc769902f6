//! Products for the tests of the decision, and the outcome in words.
#![allow(dead_code, clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use s2ice_jpeg2000::TileSpan;
use s2ice_manifest::assemble::ProductRecord;
use s2ice_manifest::decide::{Decision, Standing, StandingRaster};
use s2ice_manifest::header_class::assumed_header;
use s2ice_manifest::ids::Level;
use s2ice_manifest::manifest::{HeaderTrust, HeldRaster, Placement, RasterFile, TileTable};
use s2ice_manifest::product::{MetadataSource, ProductId, ProductMetadata};
use s2ice_manifest::profile::HeaderProfile;
use s2ice_manifest::raster::Asset;

/// Main header of a single-component image: SIZ, COD (LRCP, one layer, 4 levels, 5/3), QCD.
pub fn header(pixels: u32, tile: u32, bits: u8) -> Arc<HeaderProfile> {
    let mut bytes = vec![0xff, 0x4f, 0xff, 0x51, 0, 41, 0, 0];
    for value in [pixels, pixels, 0, 0, tile, tile, 0, 0] {
        bytes.extend(value.to_be_bytes());
    }
    bytes.extend([0, 1, bits - 1, 1, 1]);
    bytes.extend([0xff, 0x52, 0, 12, 0, 0, 0, 1, 0, 4, 4, 4, 0, 1]);
    bytes.extend([0xff, 0x5c, 0, 16, 0x20]);
    bytes.extend([bits << 3; 13]);
    Arc::new(HeaderProfile::parse(&bytes).unwrap())
}

/// A raster with this header.
pub fn with(asset: &str, header: Arc<HeaderProfile>) -> RasterFile {
    let spans: Vec<TileSpan> = (0..header.tiles()).map(|i| TileSpan { offset: 2000 + i * 100, length: 100 }).collect();
    RasterFile {
        asset: asset.parse().unwrap(),
        path: format!("x/{asset}.jp2").into(),
        file_size: 2002 + header.tiles() * 100,
        etag: None,
        last_modified: None,
        trust: HeaderTrust::Verified,
        tiles: TileTable::new(&spans),
        nodata: Box::default(),
        header,
    }
}

/// With the header that the ground segment gives it; `~` in front: as in early 2016; `?`: with one that no class has.
pub fn raster(text: &str) -> RasterFile {
    let asset = text.trim_start_matches(['~', '?']);
    let pixels = 109_800 / u32::from(asset.parse::<Asset>().unwrap().resolution.metres());
    match text.chars().next() {
        Some('~') => with(asset, header(pixels, 2048, 12)),
        Some('?') => with(asset, header(pixels, 610, 15)),
        _ => {
            let known = assumed_header(asset.parse().unwrap(), Level::L2A).unwrap();
            with(asset, Arc::new(HeaderProfile::parse(&known).unwrap()))
        }
    }
}

/// A name on a day of May 2024.
pub fn name(day: u32, baseline: u32, generated: u32) -> String {
    format!("S2A_MSIL2A_202405{day:02}T100601_N{baseline:04}_R022_T33TVN_202406{generated:02}T000000")
}

/// A product whose datastrip starts so many seconds after 10:06:00.
pub fn product(name: &str, strip: Option<u32>, add_offset: i32, rasters: &[&str]) -> ProductRecord {
    let id: ProductId = name.parse().unwrap();
    let start = |s: u32| format!("S20240501T10{:02}{:02}", 6 + s / 60, s % 60);
    let metadata = ProductMetadata {
        sensing_time_us: id.datatake_start().timestamp_micros() + 7,
        datastrip_id: strip.map(|s| format!("S2A_OPER_MSI_L2A_DS_X_20240101T000000_{}_N05.10", start(s))),
        add_offset,
        quantification: 10_000.0,
        cloud_cover: None,
        source: MetadataSource::Product,
    };
    let rasters = rasters.iter().map(|text| raster(text).into()).collect();
    ProductRecord { id, metadata, rasters, angles: BTreeMap::new() }
}

/// The rasters of each product in each tree.
pub type Outcome = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

pub fn outcome(decision: &Decision) -> Outcome {
    let mut out = Outcome::new();
    for part in &decision.parts {
        let tree = out.entry(part.era.as_ref().map_or("main".to_owned(), ToString::to_string)).or_default();
        for manifest in &part.assembly.manifests {
            for (number, step) in part.assembly.steps.iter().enumerate() {
                if manifest.at(number).is_some() {
                    tree.entry(step.id.to_string()).or_default().insert(manifest.asset.name());
                }
            }
        }
    }
    out
}

/// What the store holds once the outcome is published.
pub fn stand(decision: &Decision) -> Standing {
    let mut out = Standing { products: BTreeMap::new(), accepted: decision.accepted.clone() };
    for part in &decision.parts {
        for manifest in &part.assembly.manifests {
            for (step, _) in part.assembly.steps.iter().zip(&manifest.rasters).filter(|(_, raster)| raster.is_some()) {
                let raster = StandingRaster { era: part.era.clone(), header: Arc::clone(&manifest.header) };
                out.products.entry(step.id).or_default().insert(manifest.asset, raster);
            }
        }
    }
    out
}

/// The products of the input, with what the store holds of them taken from there.
pub fn merged(input: &[ProductRecord], standing: &Standing) -> Vec<ProductRecord> {
    let mut out = input.to_vec();
    for product in &mut out {
        let Some(held) = standing.products.get(&product.id) else { continue };
        for raster in &mut product.rasters {
            let asset = raster.asset();
            if let Some(StandingRaster { era, header }) = held.get(&asset) {
                let (header, era) = (Arc::clone(header), era.clone());
                *raster = Placement::Held(HeldRaster { asset, header, trust: HeaderTrust::Verified, step: 0, era });
            }
        }
    }
    out
}
