//! Stores of several windows: every reference that was planned is in the store, at its place, once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt;
use icechunk::Repository;
use icechunk::format::Path;
use icechunk::format::manifest::ChunkPayload;
use icechunk::repository::VersionInfo;
use s2ice_jpeg2000::TileSpan;
use s2ice_manifest::assemble::ProductRecord;
use s2ice_manifest::decide::Resolutions;
use s2ice_manifest::decide::{Policy, Standing, decide};
use s2ice_manifest::ids::Level;
use s2ice_manifest::manifest::{HeaderTrust, Placement, RasterFile, TileTable};
use s2ice_manifest::product::{ProductId, ProductMetadata};
use s2ice_manifest::profile::HeaderProfile;
use s2ice_manifest::raster::Asset;
use s2ice_manifest::source::location::{Effective, SourceOptions, SourceUrl};
use s2ice_store::commit::{load, write};
use s2ice_store::layout::overview::Overviews;
use s2ice_store::layout::time::StepFacts;
use s2ice_store::options::{Spec, WriteOptions};
use s2ice_store::plan::{Desired, PlanContext, StorePlan, plan};
use s2ice_store::progress::Silent;
use s2ice_store::reference::ChecksumPolicy;
use s2ice_store::target::Target;
use s2ice_store::writer::Written;

/// A product of a day since 2020, whose tiles have lengths that no other raster has.
fn product(day: u32) -> ProductRecord {
    let date = chrono::NaiveDate::from_ymd_opt(2020, 1, 1).unwrap() + chrono::Days::new(u64::from(day));
    let id: ProductId =
        format!("S2A_MSIL2A_{}T100601_N0510_R022_T33TVN_20250601T000000", date.format("%Y%m%d")).parse().unwrap();
    let rasters =
        ["B09_60m", "SCL_60m"].iter().enumerate().filter(|(i, _)| day % 7 != 3 || *i == 0).map(|(i, name)| {
            let asset: Asset = name.parse().unwrap();
            let bytes = s2ice_manifest::header_class::assumed_header(asset, Level::L2A).unwrap();
            let header = Arc::new(HeaderProfile::parse(&bytes).unwrap());
            let mut offset = 2_000;
            let spans: Vec<TileSpan> = (0..header.tiles())
                .map(|tile| {
                    let span = TileSpan { offset, length: 100 + u64::from(day) * 1_000 + tile + i as u64 * 500 };
                    offset += span.length;
                    span
                })
                .collect();
            RasterFile {
                asset,
                path: format!("{id}.SAFE/{name}.jp2").into(),
                file_size: offset + 2,
                etag: Some(format!("\"{day}-{i}\"").into()),
                last_modified: None,
                trust: HeaderTrust::Verified,
                tiles: TileTable::new(&spans),
                nodata: if day.is_multiple_of(5) { Box::new([0, 99]) } else { Box::default() },
                header,
            }
        });
    ProductRecord {
        id,
        metadata: ProductMetadata::from_name(id),
        rasters: rasters.map(Into::into).collect(),
        angles: BTreeMap::new(),
    }
}

fn planned(days: u32) -> StorePlan {
    let assembly =
        decide((0..days).map(product).collect(), &Standing::default(), &Policy::default()).parts.remove(0).assembly;
    let bytes = |step: usize| {
        let rasters = assembly.manifests.iter().filter_map(|m| m.at(step)?.file());
        rasters.map(RasterFile::referenced_bytes).sum()
    };
    let facts =
        (0..assembly.steps.len()).map(|step| StepFacts { bytes: bytes(step), ..StepFacts::default() }).collect();
    let context = PlanContext {
        tile: "33TVN".parse().unwrap(),
        level: Level::L2A,
        container: "archive".into(),
        source_url: "s3://archive/".into(),
        writer: "s2ice test".into(),
        sources: BTreeMap::new(),
        resolutions: Resolutions::Best,
        overviews: Overviews::default(),
        catalogue: None,
        accepted: BTreeMap::new(),
    };
    plan(vec![Desired { assembly, facts, ..Desired::default() }], &context).unwrap()
}

fn options(run: &str) -> WriteOptions {
    let source = SourceUrl::parse("s3://archive").unwrap();
    WriteOptions {
        checksum: ChecksumPolicy::Etag,
        spec: Spec::V2,
        run: run.to_owned(),
        container: s2ice_store::config::container("archive", &source, &Effective::default()).unwrap(),
        concurrency: 4,
        message: "test".to_owned(),
        clock: s2ice_store::clock::StoreClock::new(None, chrono::Utc::now),
        references: BTreeMap::new(),
    }
}

async fn put(target: &Target, plan: StorePlan, options: WriteOptions) -> s2ice_store::Result<Option<Written>> {
    let loaded = load(target, plan.tile, plan.level).await?;
    write(target, loaded, plan, options, &Silent).await
}

type References = BTreeMap<(String, Vec<u32>), (String, u64, u64)>;

fn wanted(plan: &StorePlan) -> References {
    let mut out = References::new();
    for array in plan.arrays() {
        for (step, raster) in array.manifest.rasters.iter().enumerate() {
            let Some(file) = raster.as_ref().and_then(Placement::file) else { continue };
            for (row, column, chunk) in file.chunks() {
                if let s2ice_manifest::chunk::Chunk::Range(range) = chunk {
                    let location = format!("vcc://archive/{}", file.path);
                    let key = (array.path.clone(), vec![step as u32, row, column]);
                    out.insert(key, (location, range.offset(), range.length()));
                }
            }
        }
    }
    out
}

async fn stored(target: &Target, arrays: &[String]) -> References {
    let repository = Repository::open(target.storage()).execute().await.unwrap();
    let session = repository.readonly_session(&VersionInfo::BranchTipRef("main".into())).await.unwrap();
    let mut out = References::new();
    for array in arrays {
        let path: Path = array.as_str().try_into().unwrap();
        let chunks: Vec<_> = session.array_chunk_iterator(&path).await.try_collect().await.unwrap();
        for chunk in chunks {
            let ChunkPayload::Virtual(reference) = chunk.payload else { panic!("{array}: not a virtual reference") };
            let value = (reference.location.url().to_owned(), reference.offset, reference.length);
            assert!(out.insert((array.clone(), chunk.coord.0), value).is_none(), "twice");
        }
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reference_of_every_window_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let url = SourceUrl::parse(folder.path().join("store").to_str().unwrap()).unwrap();
    let target = Target::open(url, SourceOptions::default()).await.unwrap();
    // Several windows, the last one short; then fewer products in the same place; then an exact multiple.
    for (run, days) in [("a", 437), ("b", 1), ("c", 300)] {
        let plan = planned(days);
        let wanted = wanted(&plan);
        let arrays: Vec<String> = plan.arrays().map(|a| a.path.clone()).collect();
        let bytes = plan.referenced_bytes();
        let mut options = options(run);
        for (array, _) in wanted.keys() {
            *options.references.entry(array.clone()).or_default() += 1;
        }
        let written = put(&target, plan, options).await.unwrap().expect("something to write");
        assert_eq!(written.references, wanted.len() as u64);
        assert!(written.gate.references_compared >= 98, "{:?}", written.gate);
        assert_eq!(written.commits, u64::from(days.div_ceil(48)));
        assert_eq!(bytes, wanted.values().map(|(_, _, length)| length).sum::<u64>());
        assert_eq!(stored(&target, &arrays).await, wanted, "{days} days");
    }
}

#[tokio::test]
async fn a_container_keeps_its_prefix_and_a_store_its_format() {
    let folder = tempfile::tempdir().unwrap();
    let url = SourceUrl::parse(folder.path().join("store").to_str().unwrap()).unwrap();
    let target = Target::open(url, SourceOptions::default()).await.unwrap();
    put(&target, planned(2), options("a")).await.unwrap();

    let mut elsewhere = options("b");
    let source = SourceUrl::parse("s3://mirror").unwrap();
    elsewhere.container = s2ice_store::config::container("archive", &source, &Effective::default()).unwrap();
    let error = put(&target, planned(3), elsewhere).await.unwrap_err().to_string();
    assert!(error.contains("s3://archive/") && error.contains("--container"), "{error}");

    let mut older = options("c");
    older.spec = Spec::V1;
    let error = put(&target, planned(3), older).await.unwrap_err().to_string();
    assert!(error.contains("spec 2"), "{error}");
}
