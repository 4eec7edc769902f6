//! Assembly of products: the outcome is a function of the set, every product is stored or named, times increase.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use std::sync::Arc;

use proptest::prelude::*;
use s2ice_jpeg2000::TileSpan;
use s2ice_manifest::assemble::{Assembly, ProductRecord, RefusalKind, Resolutions, assemble};
use s2ice_manifest::era::{InEras, OnMismatch, Partition, partition};
use s2ice_manifest::header_class::assumed_header;
use s2ice_manifest::ids::Level;
use s2ice_manifest::manifest::{HeldRaster, Placement, RangeError, RasterFile, TileTable};
use s2ice_manifest::product::{MetadataSource, ProductId, ProductMetadata};
use s2ice_manifest::profile::HeaderProfile;
use s2ice_manifest::raster::Asset;

/// Main header of a single-component image: SIZ, COD (LRCP, one layer, 4 levels, 5/3), QCD.
fn header(pixels: u32, tile: u32, bits: u8) -> Arc<HeaderProfile> {
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

fn raster(asset: &str, bits: u8) -> RasterFile {
    let asset: Asset = asset.parse().unwrap();
    let (pixels, tile) = match asset.resolution.metres() {
        10 => (10_980, 1024),
        20 => (5490, 640),
        _ => (1830, 192),
    };
    let header = header(pixels, tile, bits);
    let spans: Vec<TileSpan> = (0..header.tiles()).map(|i| TileSpan { offset: 2000 + i * 100, length: 100 }).collect();
    RasterFile {
        asset,
        path: format!("x/{asset}.jp2").into(),
        file_size: 2002 + header.tiles() * 100,
        etag: None,
        last_modified: None,
        verified: true,
        tiles: TileTable::new(&spans),
        nodata: Box::default(),
        header,
    }
}

fn product(name: &str, sensing_ms: i64, datastrip: Option<&str>, offset: i32) -> ProductRecord {
    let id: ProductId = name.parse().unwrap();
    let metadata = ProductMetadata {
        sensing_time_us: sensing_ms * 1000 + 7,
        datastrip_id: datastrip.map(|start| format!("S2A_OPER_MSI_L2A_DS_X_20240101T000000_S{start}_N05.10")),
        add_offset: offset,
        quantification: 10_000.0,
        cloud_cover: None,
        source: MetadataSource::Product,
    };
    ProductRecord {
        id,
        metadata,
        rasters: vec![raster("B01_60m", 15).into(), raster("SCL_60m", 8).into()],
        angles: Default::default(),
    }
}

fn name(day: u32, baseline: u32, generated: u32) -> String {
    format!("S2A_MSIL2A_202405{day:02}T100601_N{baseline:04}_R022_T33TVN_202406{generated:02}T000000")
}

/// Name and time of each step; name, raster and kind of each refusal.
type Outcome = (Vec<(String, i64)>, Vec<(String, Option<String>, RefusalKind)>);

fn outcome(assembly: &Assembly) -> Outcome {
    (
        assembly.steps.iter().map(|s| (s.id.to_string(), s.time_ms)).collect(),
        assembly.refused.iter().map(|r| (r.product.clone(), r.raster.clone(), r.kind)).collect(),
    )
}

#[test]
fn a_reprocessed_product_gives_way() {
    let old = product(&name(1, 400, 1), 1_000, Some("20240501T100600"), -1000);
    let new = product(&name(1, 510, 2), 1_000, Some("20240501T100600"), -1000);
    let assembly = assemble(vec![old, new], Resolutions::Best);
    assert_eq!(outcome(&assembly).0, [(name(1, 510, 2), 1_000)]);
    assert_eq!(outcome(&assembly).1, [(name(1, 400, 1), None, RefusalKind::Superseded)]);
}

#[test]
fn halves_of_a_datatake_are_both_kept_one_millisecond_apart() {
    let first = product(&name(1, 510, 1), 1_000, Some("20240501T100600"), -1000);
    let second = product(&name(1, 510, 2), 1_000, Some("20240501T100900"), -1000);
    let assembly = assemble(vec![second, first], Resolutions::Best);
    assert_eq!(outcome(&assembly).0, [(name(1, 510, 1), 1_000), (name(1, 510, 2), 1_001)]);
}

#[test]
fn without_a_datastrip_nothing_is_dropped_on_a_guess() {
    let same_baseline = vec![product(&name(1, 510, 1), 1, None, -1000), product(&name(1, 510, 2), 1, None, -1000)];
    assert_eq!(assemble(same_baseline, Resolutions::Best).steps.len(), 2);
    let reprocessed = vec![product(&name(1, 509, 1), 1, None, -1000), product(&name(1, 510, 2), 1, None, -1000)];
    assert_eq!(assemble(reprocessed, Resolutions::Best).steps.len(), 1);
}

/// A product and the names of its rasters.
type Share = (String, Vec<String>);

/// Era, and products with their rasters, of each store.
fn stores(partition: &Partition) -> Vec<(String, Vec<Share>)> {
    let name = |era: &Option<s2ice_manifest::era::Era>| era.as_ref().map_or("main".to_owned(), ToString::to_string);
    let rasters = |part: &s2ice_manifest::era::Part, step: usize| -> Vec<String> {
        part.assembly.manifests.iter().filter(|m| m.at(step).is_some()).map(|m| m.asset.name()).collect()
    };
    partition
        .parts
        .iter()
        .map(|part| {
            let steps = part.assembly.steps.iter().enumerate();
            (name(&part.era), steps.map(|(number, step)| (step.id.to_string(), rasters(part, number))).collect())
        })
        .collect()
}

/// Of this raster, with the header that the ground segment gives it.
fn known(asset: &str) -> RasterFile {
    let mut raster = raster(asset, 15);
    let header = assumed_header(raster.asset, Level::L2A).unwrap();
    raster.header = Arc::new(HeaderProfile::parse(&header).unwrap());
    raster
}

/// Of this raster, with a header that no class has.
fn unknown(asset: &str) -> RasterFile {
    let mut raster = raster(asset, 15);
    raster.header = header(1830, 610, 15);
    raster.tiles =
        TileTable::new(&(0..9).map(|i| TileSpan { offset: 2000 + i * 100, length: 100 }).collect::<Vec<_>>());
    raster
}

/// Of this raster, as in early 2016.
fn early(asset: &str) -> RasterFile {
    let mut raster = raster(asset, 12);
    raster.header = header(1830, 2048, 12);
    raster.tiles = TileTable::new(&[TileSpan { offset: 2000, length: 100 }]);
    raster
}

#[test]
fn offsets_and_headers_get_stores_of_their_own() {
    let both = |names: [&str; 2]| names.map(str::to_owned).to_vec();
    let all = both(["B01_60m", "SCL_60m"]);
    let mut products = vec![
        product(&name(1, 510, 1), 1, None, -1000),
        product(&name(2, 300, 1), 2, None, 0),
        product(&name(3, 300, 1), 3, None, 0),
        product(&name(4, 510, 1), 4, None, -1000),
    ];
    products[0].rasters[0] = known("B01_60m").into();
    products[1].rasters[0] = known("B01_60m").into();
    products[2].rasters[0] = early("B01_60m").into();
    products[3].rasters[0] = unknown("B01_60m").into();
    let main = ("main".to_owned(), vec![(name(1, 510, 1), all.clone()), (name(4, 510, 1), vec!["SCL_60m".to_owned()])]);
    let old = ("offset-0".to_owned(), vec![(name(2, 300, 1), all), (name(3, 300, 1), vec!["SCL_60m".to_owned()])]);
    let early = ("offset-0-profile-2".to_owned(), vec![(name(3, 300, 1), vec!["B01_60m".to_owned()])]);
    let foreign = ("offset-1000-profile-2".to_owned(), vec![(name(4, 510, 1), vec!["B01_60m".to_owned()])]);

    let none = InEras::new();
    let auto = partition(products.clone(), Resolutions::Best, OnMismatch::Auto, &none);
    assert_eq!(stores(&auto), [main.clone(), old.clone(), early.clone()]);
    let refused: Vec<_> = auto.refused.iter().map(|r| (r.product.clone(), r.raster.clone(), r.kind)).collect();
    assert_eq!(refused, [(name(4, 510, 1), Some("B01_60m".to_owned()), RefusalKind::HeaderProfile)]);
    let placed: Vec<_> =
        auto.parts.iter().flat_map(|p| &p.placed).map(|p| (p.product.clone(), p.raster.clone())).collect();
    let raster = Some("B01_60m".to_owned());
    assert_eq!(placed, [(name(2, 300, 1), None), (name(3, 300, 1), None), (name(3, 300, 1), raster)]);
    assert!(auto.parts[2].differs[1].contains("12 bit vs 15 bit"), "{:?}", auto.parts[2].differs);

    let era = partition(products.clone(), Resolutions::Best, OnMismatch::Era, &none);
    assert_eq!(stores(&era), [main.clone(), old, early, foreign]);
    assert!(era.refused.is_empty());
    let refuse = partition(products, Resolutions::Best, OnMismatch::Refuse, &none);
    assert_eq!(stores(&refuse), [main]);
    assert_eq!(refuse.refused.len(), 3);
}

#[test]
fn a_reprocessed_product_leaves_its_era_and_what_an_era_holds_stays() {
    let strip = Some("20240501T100600");
    let old = product(&name(1, 300, 1), 1_000, strip, 0);
    let other = product(&name(2, 300, 1), 2_000, Some("20240502T100600"), 0);
    let held = |mut product: ProductRecord, era: Option<&str>| {
        let era = era.map(|era| era.parse().unwrap());
        for raster in &mut product.rasters {
            let (asset, header) = (raster.asset(), Arc::clone(raster.header()));
            *raster = Placement::Held(HeldRaster { asset, header, verified: true, step: 0, era: era.clone() });
        }
        product
    };
    let new = product(&name(1, 510, 1), 1_000, strip, -1000);
    let products = vec![held(old, Some("offset-0")), held(other.clone(), Some("offset-0")), new];
    let (none, id) = (InEras::new(), other.id);
    let kept: InEras = other.rasters.iter().map(|raster| ((id, raster.asset()), false)).collect();
    for policy in [OnMismatch::Auto, OnMismatch::Refuse] {
        let divided = partition(products.clone(), Resolutions::Best, policy, &kept);
        let names: Vec<_> = stores(&divided).into_iter().map(|(era, steps)| (era, steps[0].0.clone())).collect();
        assert_eq!(names, [("main".to_owned(), name(1, 510, 1)), ("offset-0".to_owned(), name(2, 300, 1))]);
        assert!(divided.parts[1].placed.is_empty(), "it is there already");
        assert!(divided.parts[1].assembly.manifests.iter().all(|m| matches!(m.at(0), Some(Placement::Held(_)))));
    }
    // What the main store holds goes to the era, taken over from there.
    let products = vec![held(other, None), product(&name(1, 510, 1), 1_000, strip, -1000)];
    let divided = partition(products, Resolutions::Best, OnMismatch::Auto, &none);
    assert!(divided.parts[1].assembly.manifests.iter().all(|m| matches!(m.at(0), Some(Placement::Elsewhere(_)))));
}

#[test]
fn the_other_offset_and_the_other_header_are_refused_by_name() {
    let mut products: Vec<ProductRecord> =
        (1..=4).map(|d| product(&name(d, 510, 1), i64::from(d), None, -1000)).collect();
    products.push(product(&name(5, 300, 1), 5, None, 0));
    products[3].rasters[0] = raster("B01_60m", 12).into();
    let assembly = assemble(products, Resolutions::Best);
    assert_eq!(assembly.steps.len(), 4);
    assert_eq!(
        outcome(&assembly).1,
        [
            (name(4, 510, 1), Some("B01_60m".into()), RefusalKind::HeaderProfile),
            (name(5, 300, 1), None, RefusalKind::Radiometry),
        ]
    );
    assert!(assembly.refused[0].reason.contains("12"), "{}", assembly.refused[0].reason);
    let b01 = assembly.manifests.iter().find(|m| m.asset.name() == "B01_60m").unwrap();
    assert_eq!(b01.rasters.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, true, false]);
}

#[test]
fn best_takes_the_home_resolution_or_the_finest_there_is() {
    let mut one = product(&name(1, 510, 1), 1, None, -1000);
    one.rasters = vec![
        raster("B01_20m", 15).into(),
        raster("B01_60m", 15).into(),
        raster("SCL_60m", 8).into(),
        raster("B02_20m", 15).into(),
        raster("B02_60m", 15).into(),
    ];
    let taken = |resolutions| -> Vec<String> {
        assemble(vec![one.clone()], resolutions).manifests.iter().map(|m| m.asset.name()).collect()
    };
    let mut best = taken(Resolutions::Best);
    best.sort();
    assert_eq!(best, ["B01_60m", "B02_20m", "SCL_60m"]);
    assert_eq!(taken(Resolutions::All).len(), 5);
}

#[test]
fn ranges_are_checked_against_file_and_grid() {
    let good = raster("B01_60m", 15);
    assert_eq!(good.validate(), Ok(()));
    let mut short = good.clone();
    short.file_size = 4_000;
    assert!(matches!(short.validate(), Err(RangeError::OutsideFile { tile: 20, end: 4_100, size: 4_000 })));
    let mut few = good.clone();
    few.tiles = TileTable::new(&good.tiles.iter().take(99).collect::<Vec<_>>());
    assert_eq!(few.validate(), Err(RangeError::Incomplete { found: 99, expected: 100 }));
    let mut overlapping = good.clone();
    let mut spans: Vec<TileSpan> = good.tiles.iter().collect();
    spans[7].offset -= 1;
    overlapping.tiles = TileTable::new(&spans);
    assert!(matches!(overlapping.validate(), Err(RangeError::Overlap { first: 6, second: 7 })));
}

proptest! {
    #[test]
    fn tile_tables_give_back_their_spans(lengths in prop::collection::vec(1_u64..9_000_000_000, 1..50), gap in 0_u64..3) {
        let mut offset = 1234;
        let spans: Vec<TileSpan> = lengths.iter().map(|length| {
            let span = TileSpan { offset, length: *length };
            offset += length + gap;
            span
        }).collect();
        prop_assert_eq!(TileTable::new(&spans).iter().collect::<Vec<_>>(), spans);
    }

    /// Shuffling the arrivals changes nothing; every product is a step or is refused; times increase strictly.
    #[test]
    fn arrivals_may_come_in_any_order(
        specs in prop::collection::vec((1_u32..6, 0_usize..3, 1_u32..4, 0_i64..3, 0_usize..3, prop::bool::weighted(0.2)), 1..14),
        seed in any::<u64>(),
    ) {
        let mut products: Vec<ProductRecord> = specs.iter().map(|(day, baseline, generated, ms, strip, other)| {
            let strip = [None, Some("20240501T100600"), Some("20240501T100900")][*strip];
            let mut p = product(&name(*day, [300, 400, 510][*baseline], *generated), *ms, strip, if *baseline == 0 { 0 } else { -1000 });
            if *other { p.rasters[0] = raster("B01_60m", 12).into(); }
            p
        }).collect();
        // One name is one product: its facts do not differ between copies.
        products.sort_by_key(|p| p.id);
        products.dedup_by_key(|p| p.id);
        let names: Vec<String> = products.iter().map(|p| p.id.to_string()).collect();
        let ordered = assemble(products.clone(), Resolutions::Best);
        let mut shuffled = products.clone();
        let mut state = seed | 1;
        for i in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(i, (state >> 33) as usize % (i + 1));
        }
        prop_assert_eq!(outcome(&ordered), outcome(&assemble(shuffled, Resolutions::Best)));
        let (steps, refused) = outcome(&ordered);
        for name in names {
            let stored = steps.iter().filter(|(n, _)| *n == name).count();
            let whole = refused.iter().filter(|(n, raster, _)| *n == name && raster.is_none()).count();
            prop_assert_eq!(stored + whole, 1, "{}", name);
        }
        prop_assert!(steps.windows(2).all(|pair| pair[0].1 < pair[1].1));
    }
}
