//! A store as it would be read, made of a plan.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use icechunk::format::SnapshotId;
use s2ice_jpeg2000::TileSpan;
use s2ice_manifest::assemble::ProductRecord;
use s2ice_manifest::decide::{Policy, Resolutions, Standing, decide};
use s2ice_manifest::geometry::{AngleArray, AnglePlacement};
use s2ice_manifest::grid::TileGeocoding;
use s2ice_manifest::header_class::assumed_header;
use s2ice_manifest::ids::{Level, MgrsTile};
use s2ice_manifest::manifest::{HeaderTrust, RasterFile, TileTable};
use s2ice_manifest::product::{MetadataSource, ProductMetadata};
use s2ice_manifest::profile::HeaderProfile;
use s2ice_manifest::raster::Asset;
use s2ice_manifest::source::location::{SourceOptions, SourceUrl};

use crate::layout::overview::Overviews;
use crate::layout::time::StepFacts;
use crate::plan::{Desired, PlanContext, StorePlan, TreePlan, plan};
use crate::publish::footprint::Footprint;
use crate::publish::state::{State, Told};
use crate::publish::{Publisher, Publishing, Reached, Row, Subject};
use crate::report::{Commit, InfoReport, REPORT_VERSION, Times};
use crate::runs::LastOutcome;
use crate::state::{HeldArray, StoreState, TreeState};

/// How it is published.
pub(in crate::publish) fn settings() -> Publishing {
    Publishing {
        place: SourceUrl::parse("s3://public/").unwrap(),
        options: SourceOptions::default(),
        base_url: "https://tiles.example.org/".to_owned(),
        title: "Tiles \"<of>\" the Alps".to_owned(),
        publisher: Some(Publisher { name: "Institute".to_owned(), url: Some("https://example.org/".to_owned()) }),
        source: None,
        background: None,
        preview: true,
        prune: false,
        restore: false,
        look: false,
        run: "run".to_owned(),
        writer: "s2ice test".to_owned(),
        clock: || DateTime::UNIX_EPOCH,
    }
}

/// A store in the catalogue.
pub(in crate::publish) fn row(tile: &str) -> Row {
    Row {
        id: format!("{tile}-L2A"),
        tile: tile.parse().unwrap(),
        level: Level::L2A,
        first_ms: Some(1_593_944_159_024),
        newest_ms: Some(1_714_557_961_024),
        products: 3,
        clear: 2,
        references: 363,
        referenced_bytes: 36_300,
        eras: vec!["offset-0".to_owned()],
        store: Reached::of_the_web(format!("https://tiles.example.org/{tile}-L2A/store")),
        sources: Some(Vec::new()),
        snapshot: "1CECHNKREP0F1RSTCMT0".to_owned(),
        changed: "2024-06-01T00:00:00Z".to_owned(),
        outcome: Some(LastOutcome::Updated),
        last_success: None,
        refused: 0,
    }
}

/// A store on S3 whose product files need keys: two products, and one of an era.
pub(super) fn subject() -> Subject {
    let products = [
        ("S2B_MSIL2A_20200705T101559_N0214_R065_T33TVN_20200705T120000", 0, vec!["B02_10m", "B01_60m"]),
        ("S2A_MSIL2A_20240501T100601_N0510_R022_T33TVN_20240501T120000", -1000, vec!["B02_10m", "SCL_20m", "TCI_10m"]),
        (
            "S2C_MSIL2A_20250501T100601_N0511_R022_T33TVN_20250501T120000",
            -1000,
            vec!["B02_10m", "B8A_20m", "MSK_CLDPRB_20m"],
        ),
    ];
    of(products.into_iter().map(|(name, offset, rasters)| product(name, offset, Some(12.5), &rasters)).collect())
}

/// A store without products.
pub(super) fn empty() -> Subject {
    of(Vec::new())
}

fn of(products: Vec<ProductRecord>) -> Subject {
    let tile: MgrsTile = "33TVN".parse().unwrap();
    let geocoding = TileGeocoding::of(tile);
    let count = products.len();
    let state = state(planned(products, tile));
    let keys = Reached {
        url: "s3://eodata/".to_owned(),
        endpoint: Some("https://eodata.dataspace.copernicus.eu".to_owned()),
        region: Some("default".to_owned()),
        anonymous: false,
        request_payer: false,
        account: None,
    };
    let store = Reached {
        url: "s3://public/33TVN-L2A".to_owned(),
        endpoint: None,
        region: Some("eu-central-1".to_owned()),
        anonymous: true,
        ..keys.clone()
    };
    let states = ["20240601T000000000Z", "20250601T000000000Z"].map(|time| State {
        tag: format!("published/{time}"),
        time: crate::housekeeping::published_at(&format!("published/{time}")).unwrap(),
        snapshot: SnapshotId::new([1; 12]),
        stands: true,
        told: Some(Told {
            products: count as u64,
            times_ms: (count > 0).then_some((1_593_944_159_024, 1_746_093_961_024)),
        }),
    });
    let info = InfoReport {
        kind: "s2ice.info".to_owned(),
        version: REPORT_VERSION,
        store: "file:///home/somebody/33TVN".to_owned(),
        tile: tile.to_string(),
        level: "L2A".to_owned(),
        layout: state.stamp.layout,
        writer: state.stamp.writer.clone(),
        eras: BTreeMap::new(),
        products: count,
        headers: "verified".to_owned(),
        metadata: "product".to_owned(),
        spec: 2,
        times: Times::default(),
        arrays: Vec::new(),
        angles: Vec::new(),
        references: 0,
        referenced_bytes: 0,
        manifest_bytes: 0,
        containers: Vec::new(),
        last_commit: Commit {
            snapshot: state.snapshot.to_string(),
            time: "2025-06-01T00:00:00Z".to_owned(),
            message: String::new(),
            run: None,
        },
        published: Some("published/20250601T000000000Z".to_owned()),
        branches: Vec::new(),
        tags: Vec::new(),
    };
    Subject {
        id: "33TVN-L2A".to_owned(),
        tile,
        level: Level::L2A,
        geocoding,
        footprint: Footprint::of(geocoding).unwrap(),
        info,
        state,
        states: states.to_vec(),
        last: None,
        left_out: Vec::new(),
        store,
        sources: BTreeMap::from([("eodata".to_owned(), keys)]),
    }
}

/// The state of a store of products: name, radiometric offset, cloud cover and rasters of each.
pub(crate) fn state_of(products: &[(&str, i32, Option<f64>, &[&str])]) -> StoreState {
    let products = products.iter().map(|(name, offset, cover, rasters)| product(name, *offset, *cover, rasters));
    state(planned(products.collect(), "33TVN".parse().unwrap()))
}

fn product(name: &str, add_offset: i32, cloud_cover: Option<f64>, rasters: &[&str]) -> ProductRecord {
    let id: s2ice_manifest::product::ProductId = name.parse().unwrap();
    let metadata = ProductMetadata {
        sensing_time_us: id.datatake_start().timestamp_micros() + 24_123,
        datastrip_id: None,
        add_offset,
        quantification: 10_000.0,
        cloud_cover,
        source: MetadataSource::Product,
    };
    let angles = [(AngleArray::Sun, AnglePlacement::New(Arc::from([1])))];
    ProductRecord { id, metadata, rasters: rasters.iter().map(|r| raster(r).into()).collect(), angles: angles.into() }
}

fn raster(name: &str) -> RasterFile {
    let asset: Asset = name.parse().unwrap();
    let header = Arc::new(HeaderProfile::parse(&assumed_header(asset, Level::L2A).unwrap()).unwrap());
    let spans: Vec<TileSpan> = (0..header.tiles()).map(|i| TileSpan { offset: 2000 + i * 100, length: 100 }).collect();
    RasterFile {
        asset,
        path: format!("x/{asset}.jp2").into(),
        file_size: 1 << 30,
        etag: Some("e".into()),
        last_modified: None,
        trust: HeaderTrust::Verified,
        tiles: TileTable::new(&spans),
        nodata: Box::default(),
        header,
    }
}

fn planned(products: Vec<ProductRecord>, tile: MgrsTile) -> StorePlan {
    let context = PlanContext {
        tile,
        level: Level::L2A,
        container: "eodata".into(),
        source_url: "s3://eodata/".into(),
        writer: "s2ice test".into(),
        sources: BTreeMap::new(),
        resolutions: Resolutions::Best,
        overviews: Overviews::default(),
        catalogue: None,
        accepted: BTreeMap::new(),
    };
    let mut trees: Vec<Desired> = decide(products, &Standing::default(), &Policy::default())
        .parts
        .into_iter()
        .map(|part| Desired {
            facts: vec![StepFacts::default(); part.assembly.steps.len()],
            era: part.era,
            differs: part.differs,
            assembly: part.assembly,
        })
        .collect();
    if trees.is_empty() {
        trees.push(Desired::default());
    }
    plan(trees, &context).unwrap()
}

/// What would be read of a store of this plan.
fn state(plan: StorePlan) -> StoreState {
    let StorePlan { nodes, stamp, trees, .. } = plan;
    let tree = |tree: TreePlan| {
        let TreePlan { era, steps, facts, arrays, angles } = tree;
        let radiometry = match &era {
            None => stamp.radiometry,
            Some(era) => stamp.eras[era].radiometry,
        };
        let arrays = arrays.into_iter().map(|array| {
            let held = HeldArray {
                path: array.path,
                has_components: array.has_components,
                header: Arc::clone(&array.manifest.header),
                present: array.manifest.rasters.iter().map(Option::is_some).collect(),
                trust: HeaderTrust::Verified,
                references: array.manifest.references(),
            };
            (array.manifest.asset, held)
        });
        let arrays = arrays.collect();
        let angles = angles.iter().map(|a| (a.array, a.placements.iter().map(Option::is_some).collect())).collect();
        (era.clone(), TreeState { era, radiometry, steps, facts, arrays, angles })
    };
    StoreState {
        snapshot: SnapshotId::new([7; 12]),
        flushed_at: DateTime::<Utc>::UNIX_EPOCH,
        trees: trees.into_iter().map(tree).collect(),
        documents: nodes.into_iter().map(|node| (node.path, node.document)).collect(),
        stamp: stamp.clone(),
    }
}
