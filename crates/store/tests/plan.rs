//! The planned tree: paths, coordinates and attributes that readers rely on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use s2ice_jpeg2000::TileSpan;
use s2ice_manifest::assemble::ProductRecord;
use s2ice_manifest::decide::Resolutions;
use s2ice_manifest::decide::{Policy, Standing, decide};
use s2ice_manifest::geometry::{AngleArray, AnglePlacement};
use s2ice_manifest::manifest::{HeaderTrust, RasterFile, TileTable};
use s2ice_manifest::product::{MetadataSource, ProductMetadata};
use s2ice_manifest::profile::HeaderProfile;
use s2ice_manifest::raster::Asset;
use s2ice_store::layout::overview::Overviews;
use s2ice_store::layout::time::StepFacts;
use s2ice_store::plan::{Desired, PlanContext, StorePlan, plan};
use serde_json::Value;

fn raster(asset: &str) -> RasterFile {
    let asset: Asset = asset.parse().unwrap();
    let level = s2ice_manifest::ids::Level::L2A;
    let bytes = s2ice_manifest::header_class::assumed_header(asset, level).expect("a known class");
    let header = Arc::new(HeaderProfile::parse(&bytes).unwrap());
    let spans: Vec<TileSpan> = (0..header.tiles()).map(|i| TileSpan { offset: 2000 + i * 100, length: 100 }).collect();
    RasterFile {
        asset,
        path: format!("x/{asset}.jp2").into(),
        file_size: 1 << 30,
        etag: Some("e".into()),
        last_modified: None,
        trust: if asset.name() == "SCL_20m" { HeaderTrust::Assumed } else { HeaderTrust::Verified },
        tiles: TileTable::new(&spans),
        nodata: Box::default(),
        header,
    }
}

fn sample() -> StorePlan {
    let product = |day: u32, rasters: &[&str]| {
        let name = format!("S2A_MSIL2A_202405{day:02}T100601_N0510_R022_T33TVN_20240601T000000");
        let metadata = ProductMetadata {
            sensing_time_us: 1_714_557_961_024_123 + i64::from(day) * 86_400_000_000,
            datastrip_id: Some("S2A_OPER_MSI_L2A_DS_2APS_20240601T000000_S20240501T100601_N05.10".into()),
            add_offset: -1000,
            quantification: 10_000.0,
            cloud_cover: Some(12.5),
            source: MetadataSource::Product,
        };
        ProductRecord {
            id: name.parse().unwrap(),
            metadata,
            rasters: rasters.iter().map(|r| raster(r).into()).collect(),
            // Only the later product has angles, and of the sun only.
            angles: (day > 1).then(|| (AngleArray::Sun, AnglePlacement::New(Arc::from([1])))).into_iter().collect(),
        }
    };
    let products = vec![
        product(1, &["B02_10m", "B8A_20m", "SCL_20m", "TCI_10m", "MSK_CLDPRB_20m"]),
        product(4, &["B02_10m", "SCL_20m"]),
    ];
    let context = PlanContext {
        tile: "33TVN".parse().unwrap(),
        level: s2ice_manifest::ids::Level::L2A,
        container: "eodata".into(),
        source_url: "s3://eodata/".into(),
        writer: "s2ice test".into(),
        sources: BTreeMap::new(),
        resolutions: Resolutions::Best,
        overviews: Overviews::default(),
        catalogue: None,
        accepted: BTreeMap::new(),
    };
    let assembly = decide(products, &Standing::default(), &Policy::default()).parts.remove(0).assembly;
    let facts = vec![StepFacts::default(); 2];
    plan(vec![Desired { assembly, facts, ..Desired::default() }], &context).unwrap()
}

fn node<'a>(plan: &'a StorePlan, path: &str) -> &'a Value {
    &plan.nodes.iter().find(|node| node.path == path).unwrap_or_else(|| panic!("no node {path}")).document
}

#[test]
fn the_tree_is_as_reviewed() {
    let plan = sample();
    let lines: Vec<String> = plan
        .nodes
        .iter()
        .map(|node| {
            let document = &node.document;
            match document["node_type"].as_str().unwrap() {
                "group" => format!("/{}", node.path),
                _ => format!(
                    "/{}  {} {} chunks {} fill {}",
                    node.path,
                    document["data_type"].as_str().unwrap(),
                    document["shape"],
                    document["chunk_grid"]["configuration"]["chunk_shape"],
                    document["fill_value"],
                ),
            }
        })
        .collect();
    insta::assert_snapshot!("tree", lines.join("\n"));
}

#[test]
fn attributes_are_as_reviewed() {
    let plan = sample();
    for (name, path) in [
        ("root", ""),
        ("reflectance", "measurements/reflectance"),
        ("leaf", "measurements/reflectance/r10m"),
        ("b02", "measurements/reflectance/r10m/b02"),
        ("scl", "conditions/mask/l2a_classification/r20m/scl"),
        ("cld", "quality/probability/r20m/cld"),
        ("tci", "quality/l2a_quicklook/r10m/tci"),
        ("present", "measurements/reflectance/r10m/present"),
        ("time", "products/time"),
    ] {
        insta::assert_json_snapshot!(name, node(&plan, path)["attributes"]);
    }
}

#[test]
fn every_parent_stands_before_its_children() {
    let plan = sample();
    for (index, node) in plan.nodes.iter().enumerate() {
        if let Some((parent, _)) = node.path.rsplit_once('/') {
            let at = plan.nodes.iter().position(|other| other.path == parent);
            assert!(at.is_some_and(|at| at < index), "{}", node.path);
        }
    }
}

#[test]
fn the_codec_is_alone_and_carries_the_main_header() {
    let plan = sample();
    let codecs = node(&plan, "measurements/reflectance/r10m/b02")["codecs"].as_array().unwrap().clone();
    assert_eq!(codecs.len(), 1);
    let config: s2ice_jpeg2000::CodecConfig = serde_json::from_value(codecs[0]["configuration"].clone()).unwrap();
    assert_eq!(config.header().unwrap().geometry().unwrap().tile_height, 1024);
}

#[test]
fn assumed_arrays_are_stamped() {
    let plan = sample();
    assert_eq!(node(&plan, "")["attributes"]["s2ice"]["headers"], "assumed");
    let header = |path: &str| node(&plan, path)["attributes"]["s2ice:header"].clone();
    assert_eq!(header("conditions/mask/l2a_classification/r20m/scl"), "assumed");
    assert_eq!(header("measurements/reflectance/r10m/b02"), "verified");
}

#[test]
fn angles_stand_in_a_group_of_their_own() {
    let plan = sample();
    let document = |path: &str| plan.nodes.iter().find(|node| node.path == path).map(|node| &node.document);
    let names: Vec<&str> =
        plan.nodes.iter().filter_map(|node| node.path.strip_prefix("conditions/geometry/")).collect();
    let coordinates = "cloud_cover present processing_baseline relative_orbit spatial_ref sun_angles time x y";
    assert_eq!(names.join(" "), format!("angle {coordinates}"));
    let flags = &document("conditions/geometry/present").unwrap()["attributes"];
    assert_eq!((flags["flag_meanings"].as_str(), &flags["flag_masks"]), (Some("sun_angles"), &serde_json::json!([1])));
    let group = &document("conditions/geometry").unwrap()["attributes"];
    assert_eq!(group["spatial:transform"], serde_json::json!([5000, 0, 399_960, 0, -5000, 5_300_040]));
    assert_eq!(group["spatial:registration"], "node");
    let angles = &plan.trees[0].angles;
    assert_eq!((angles.len(), angles[0].present(), angles[0].placements.len()), (1, 1, 2));
}
