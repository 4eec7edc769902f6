//! Branches that are not as planned, and stores that live on: appended to, inserted into, pruned.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use icechunk::format::manifest::{ChunkPayload, VirtualChunkRef};
use icechunk::format::{ChunkIndices, Path};
use icechunk::session::Session;
use icechunk::{Repository, Store};
use s2ice_jpeg2000::TileSpan;
use s2ice_manifest::assemble::ProductRecord;
use s2ice_manifest::decide::Resolutions;
use s2ice_manifest::decide::{Policy, Standing, decide};
use s2ice_manifest::geometry::{AngleArray, AnglePlacement, Angles, GRID_VALUES};
use s2ice_manifest::ids::{Band, Level};
use s2ice_manifest::manifest::{HeaderTrust, Placement, RasterFile, TileTable};
use s2ice_manifest::product::{ProductId, ProductMetadata};
use s2ice_manifest::profile::HeaderProfile;
use s2ice_manifest::raster::Asset;
use s2ice_manifest::source::angle_chunks::{decode, encode};
use s2ice_manifest::source::location::{Effective, SourceOptions, SourceUrl};
use tokio::sync::RwLock;

use super::{GateReport, check};
use crate::commit::{load, write};
use crate::error::Result;
use crate::layout::overview::Overviews;
use crate::layout::time::StepFacts;
use crate::options::{Spec, WriteOptions};
use crate::plan::{Desired, PlanContext, StorePlan, plan};
use crate::progress::Silent;
use crate::reference::ChecksumPolicy;
use crate::state::{StoreState, TreeState};
use crate::target::Target;
use crate::update::update;
use crate::window::Windows;
use crate::writer::Written;

const B09: &str = "/measurements/reflectance/r60m/b09";

fn id(day: u32) -> ProductId {
    let date = chrono::NaiveDate::from_ymd_opt(2020, 1, 1).unwrap() + chrono::Days::new(u64::from(day));
    let name = format!("S2A_MSIL2A_{}T100601_N0510_R022_T33TVN_20250601T000000", date.format("%Y%m%d"));
    name.parse().unwrap()
}

/// A raster of 100 tiles, of which 98 have data on every fifth day; none of SCL on every seventh.
fn raster(day: u32, name: &str) -> Option<RasterFile> {
    let asset: Asset = name.parse().unwrap();
    let bytes = s2ice_manifest::header_class::assumed_header(asset, Level::L2A).unwrap();
    let header = Arc::new(HeaderProfile::parse(&bytes).unwrap());
    let length = |tile: u64| 100 + u64::from(day) * 1_000 + tile;
    let spans: Vec<TileSpan> = (0..header.tiles())
        .scan(2_000, |next, tile| {
            let offset = std::mem::replace(next, *next + length(tile));
            Some(TileSpan { offset, length: length(tile) })
        })
        .collect();
    (name.starts_with('B') || !day.is_multiple_of(7)).then(|| RasterFile {
        asset,
        path: format!("{}.SAFE/{name}.jp2", id(day)).into(),
        file_size: 1 << 40,
        etag: Some(format!("\"{day}\"").into()),
        last_modified: None,
        trust: HeaderTrust::Verified,
        tiles: TileTable::new(&spans),
        nodata: if day.is_multiple_of(5) { Box::new([0, 99]) } else { Box::default() },
        header,
    })
}

/// Angles of a day, none on every fourth; written anew they are others. With more detectors a chunk is an object of its
/// own.
fn angles(day: u32, anew: bool) -> BTreeMap<AngleArray, AnglePlacement> {
    if day.is_multiple_of(4) {
        return BTreeMap::new();
    }
    let seed = day * 2 + u32::from(anew);
    let grid = |which: u32| -> Box<[f32]> {
        (0..GRID_VALUES as u32)
            .map(|i| ((i * 7919 + which * 104_729 + seed * 1_299_709) % 359_999) as f32 / 2e3)
            .collect()
    };
    let detectors = if day.is_multiple_of(2) { 1 } else { 12 };
    let view = |detector: u32| ((Band::B02, detector as u8), grid(detector));
    let viewing = (1..=detectors).map(view).collect();
    let means = [[seed as f32; 2]; 13];
    let angles = Angles { sun: grid(99), mean_sun: [1.5, seed as f32], viewing, mean_viewing: means };
    encode(&angles).unwrap().into_iter().map(|(array, bytes)| (array, AnglePlacement::New(bytes))).collect()
}

/// The plan of these days; what the store holds of a day is taken over, except for days that are written `anew`.
pub(super) fn planned(days: &[u32], state: Option<&StoreState>, anew: &[u32]) -> StorePlan {
    let state = state.and_then(|state| state.tree(None));
    let held = state.map(TreeState::products).unwrap_or_default();
    let mut facts = Vec::new();
    let records = days.iter().map(|day| match held.get(&id(*day)).filter(|_| !anew.contains(day)) {
        Some(step) => {
            let state = state.unwrap();
            facts.push(state.facts[*step].clone());
            let rasters = state.rasters(*step).map(Placement::Held).collect();
            let angles = state.angles(*step);
            ProductRecord { id: id(*day), metadata: state.steps[*step].metadata.clone(), rasters, angles }
        }
        None => {
            // Written anew, a product has another raster less.
            let assets = ["B09_60m", "SCL_60m"].iter().filter(|name| name.starts_with('B') || !anew.contains(day));
            facts.push(StepFacts { content: i64::from(*day), ..StepFacts::default() });
            let rasters = assets.filter_map(|name| raster(*day, name)).map(Into::into).collect();
            let angles = angles(*day, anew.contains(day));
            ProductRecord { id: id(*day), metadata: ProductMetadata::from_name(id(*day)), rasters, angles }
        }
    });
    let assembly = decide(records.collect(), &Standing::default(), &Policy::default()).parts.remove(0).assembly;
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

fn options(run: &str, references: BTreeMap<String, u64>) -> WriteOptions {
    let source = SourceUrl::parse("s3://archive").unwrap();
    WriteOptions {
        checksum: ChecksumPolicy::Etag,
        spec: Spec::V2,
        run: run.to_owned(),
        container: crate::config::container("archive", &source, &Effective::default()).unwrap(),
        concurrency: 4,
        message: "test".to_owned(),
        clock: crate::clock::StoreClock::telling(chrono::Utc::now()),
        references,
    }
}

/// A store in a folder of its own, and what each array of it shall have.
struct Living {
    _folder: tempfile::TempDir,
    target: Target,
    runs: u32,
}

impl Living {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = SourceUrl::parse(folder.path().join("store").to_str().unwrap()).unwrap();
        Self { target: Target::open(url, SourceOptions::default()).await.unwrap(), _folder: folder, runs: 0 }
    }

    /// Makes the store hold these days.
    async fn put(&mut self, days: &[u32], anew: &[u32]) -> Result<Written> {
        self.runs += 1;
        let tile = "33TVN".parse().unwrap();
        let mut loaded = load(&self.target, tile, Level::L2A).await?;
        let plan = planned(days, loaded.state.as_deref(), anew);
        let references = crate::tile::array_references(&mut loaded, Some(&self.target), &plan).await?;
        let options = options(&self.runs.to_string(), references);
        Ok(write(&self.target, loaded, plan, options, &Silent).await?.expect("something to write"))
    }

    /// A gate for the state of `main`, as if its run had written all of it.
    async fn gate(&self, days: &[u32]) -> Windows {
        let plan = planned(days, None, &[]);
        let references = plan.arrays().map(|a| (a.path.clone(), a.manifest.references())).collect();
        let repository = Repository::open(self.target.storage()).execute().await.unwrap();
        Windows {
            repository: Arc::new(repository),
            url: self.target.url().clone(),
            branch: "main".to_owned(),
            update: Arc::new(update(None, &plan).unwrap()),
            plan: Arc::new(plan),
            state: None,
            held: None,
            referencing: Arc::new(options("gate", BTreeMap::new()).referencing(true)),
            options: Arc::new(options("gate", references)),
        }
    }
}

/// What the gate says of `main` after a change on a branch of its own.
async fn after(gate: &Windows, change: impl AsyncFnOnce(&mut Session, &Store)) -> Result<GateReport> {
    let main = gate.repository.lookup_branch("main").await.unwrap();
    gate.repository.create_branch("tampered", &main).await.unwrap();
    let shared = Arc::new(RwLock::new(gate.repository.writable_session("tampered").await.unwrap()));
    let store = Store::from_session(Arc::clone(&shared)).await;
    let mut session = gate.repository.writable_session("tampered").await.unwrap();
    change(&mut session, &store).await;
    drop(store);
    let mut stored = Arc::into_inner(shared).unwrap().into_inner();
    stored.merge(session).await.unwrap();
    let tip = stored.commit("tampered").allow_empty(true).execute().await.unwrap();
    gate.repository.delete_branch("tampered").await.unwrap();
    check(gate, &tip).await
}

async fn reference(session: &Session, chunk: &[u32]) -> VirtualChunkRef {
    let path: Path = B09.try_into().unwrap();
    match session.get_chunk_ref(&path, &ChunkIndices(chunk.to_vec())).await.unwrap() {
        Some(ChunkPayload::Virtual(reference)) => reference,
        other => panic!("{other:?}"),
    }
}

async fn set(session: &mut Session, chunk: &[u32], reference: Option<VirtualChunkRef>) {
    let path: Path = B09.try_into().unwrap();
    let payload = reference.map(ChunkPayload::Virtual);
    session.set_chunk_ref(path, ChunkIndices(chunk.to_vec()), payload).await.unwrap();
}

#[tokio::test]
async fn what_is_not_as_planned_is_refused_by_name() {
    let days = [1, 2, 5];
    let mut living = Living::new().await;
    let written = living.put(&days, &[]).await.unwrap();
    assert_eq!(written.gate.references_compared, 100 + 100 + 98 + 100 + 100 + 98);
    let gate = living.gate(&days).await;
    let refused = |outcome: Result<GateReport>| outcome.unwrap_err().to_string();

    let untouched = after(&gate, async |_, _| {}).await.unwrap();
    assert_eq!(untouched.nodes, gate.plan.nodes.len());
    let moved = after(&gate, async |session, _| {
        let there = reference(session, &[1, 3, 4]).await;
        set(session, &[1, 3, 4], Some(VirtualChunkRef { offset: there.offset + 1, ..there })).await;
    });
    let moved = refused(moved.await);
    assert!(moved.contains("b09 of S2A_MSIL2A_20200103") && moved.contains("row 3, column 4"), "{moved}");
    assert!(moved.starts_with("nothing was published at "), "{moved}");
    let unchecked = after(&gate, async |session, _| {
        let there = reference(session, &[2, 9, 8]).await;
        set(session, &[2, 9, 8], Some(VirtualChunkRef { checksum: None, ..there })).await;
    });
    assert!(refused(unchecked.await).contains("without checksum, not "));
    let deleted = after(&gate, async |session, _| set(session, &[0, 0, 0], None).await);
    assert!(refused(deleted.await).contains("b09 has 297 references, not 298"));
    let added = after(&gate, async |session, _| {
        let other = reference(session, &[0, 0, 0]).await;
        set(session, &[2, 0, 0], Some(other)).await;
    });
    assert!(refused(added.await).contains("b09 has 299 references, not 298"));
    let exchanged = after(&gate, async |session, _| {
        let other = reference(session, &[2, 0, 1]).await;
        set(session, &[2, 0, 0], Some(other)).await;
        set(session, &[2, 0, 1], None).await;
    });
    assert!(refused(exchanged.await).contains("row 0, column 0, is 5101 bytes at"));

    let angles = after(&gate, async |session, _| {
        let path: Path = "/conditions/geometry/sun_angles".try_into().unwrap();
        let chunk = |step| ChunkIndices(vec![step, 0, 0, 0]);
        let other = session.get_chunk_ref(&path, &chunk(0)).await.unwrap();
        session.set_chunk_ref(path, chunk(1), other).await.unwrap();
    });
    let angles = refused(angles.await);
    assert!(angles.contains("/conditions/geometry/sun_angles of S2A_MSIL2A_20200103"), "{angles}");
    let fewer = after(&gate, async |session, _| {
        let path: Path = "/conditions/geometry/viewing_incidence_angles".try_into().unwrap();
        session.set_chunk_ref(path, ChunkIndices(vec![2, 0, 0, 0, 0, 0]), None).await.unwrap();
    });
    assert!(refused(fewer.await).contains("viewing_incidence_angles has 2 chunks, not 3"));

    let document = |value: serde_json::Value| Bytes::from(value.to_string());
    let column = after(&gate, async |_, store| {
        store.set("measurements/reflectance/r60m/x/c/0", Bytes::from_static(b"other")).await.unwrap();
    });
    assert!(refused(column.await).contains("measurements/reflectance/r60m/x/c/0 has other values"));
    let node = after(&gate, async |_, store| {
        let group = serde_json::json!({"zarr_format": 3, "node_type": "group", "attributes": {}});
        store.set("measurements/more/zarr.json", document(group)).await.unwrap();
    });
    assert!(refused(node.await).contains("/measurements/more is there and should not be"));
    let missing = after(&gate, async |session, _| {
        session.delete_array("/measurements/reflectance/r60m/x".try_into().unwrap()).await.unwrap();
    });
    assert!(refused(missing.await).contains("/measurements/reflectance/r60m/x is missing"));
    let root = after(&gate, async |_, store| {
        let mut root = gate.plan.nodes[0].document.clone();
        root["attributes"]["title"] = "other".into();
        store.set("zarr.json", document(root)).await.unwrap();
    });
    assert!(refused(root.await).contains("(/ has other metadata)"));
}

#[tokio::test]
async fn a_living_store_passes() {
    let mut living = Living::new().await;
    let changes: [(&[u32], &[u32], &str); 9] = [
        (&[10, 11, 12, 13, 16], &[], "fresh"),
        (&[10, 11, 12, 13, 16, 18], &[], "appended"),
        (&[1, 10, 11, 12, 13, 16, 18], &[], "inserted"),
        (&[1, 10, 12, 13, 16, 18], &[], "taken out of the middle"),
        (&[1, 10, 12], &[], "taken off the end"),
        (&[1, 10, 12, 14, 15, 21, 22], &[], "appended where something was before"),
        (&[1, 10, 12, 14, 15, 21, 22], &[10, 22], "written anew with less"),
        (&[21], &[], "all but one taken away"),
        (&[20, 21, 22, 23, 24], &[], "refilled"),
    ];
    for (days, anew, what) in changes {
        let written = living.put(days, anew).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(written.gate.nodes, living.gate(days).await.plan.nodes.len(), "{what}");
    }
}

/// The angles in `main`, by day: what its chunks hold.
async fn angles_of(living: &Living, days: &[u32]) -> BTreeMap<(u32, AngleArray), Vec<u8>> {
    let repository = Repository::open(living.target.storage()).execute().await.unwrap();
    let main = icechunk::repository::VersionInfo::BranchTipRef("main".to_owned());
    let session = repository.readonly_session(&main).await.unwrap();
    let mut out = BTreeMap::new();
    for array in AngleArray::ALL {
        let path: Path = crate::layout::geometry::path(array).as_str().try_into().unwrap();
        for (step, day) in days.iter().enumerate() {
            let chunk = crate::angles::chunk(array, step);
            let Ok(reader) = session.get_chunk_reader(&path, &chunk, &icechunk::format::ByteRange::ALL).await else {
                continue;
            };
            if let Some(bytes) = reader {
                out.insert((*day, array), decode(array, &bytes.await.unwrap()).unwrap());
            }
        }
    }
    out
}

#[tokio::test]
async fn angles_move_with_their_products() {
    let mut living = Living::new().await;
    let changes: [(&[u32], &[u32]); 9] = [
        (&[9, 10, 11, 12, 13, 14], &[]),
        (&[9, 10, 11, 12, 13, 14, 17, 18], &[]),
        (&[1, 9, 10, 11, 12, 13, 14, 17, 18], &[]),
        (&[1, 2, 9, 10, 11, 12, 13, 14, 15, 17, 18], &[9]),
        (&[2, 9, 10, 12, 13, 14, 15, 17, 18], &[]),
        (&[2, 9], &[]),
        (&[4, 8], &[]),
        (&[3, 4, 8], &[]),
        (&[3, 5, 6], &[3]),
    ];
    let mut anew_before = std::collections::BTreeSet::new();
    let mut compared = 0;
    for (days, anew) in changes {
        let written = living.put(days, anew).await.unwrap();
        compared += written.gate.angles_compared;
        anew_before.extend(anew.iter().copied());
        let mut wanted = BTreeMap::new();
        for day in days {
            for (array, placement) in angles(*day, anew_before.contains(day)) {
                let AnglePlacement::New(bytes) = placement else { unreachable!() };
                wanted.insert((*day, array), decode(array, &bytes).unwrap());
            }
        }
        let found = angles_of(&living, days).await;
        assert!(found == wanted, "{days:?}: {:?} not {:?}", found.keys(), wanted.keys());
    }
    assert!(compared > 100, "{compared}");
}

#[tokio::test]
async fn a_lost_reference_of_any_step_is_noticed() {
    let mut living = Living::new().await;
    let days: Vec<u32> = (1..30).collect();
    living.put(&days, &[]).await.unwrap();
    let gate = living.gate(&days).await;
    // Not every step is compared, but every reference is counted.
    for step in [0, 9, 17, 28] {
        let lost = after(&gate, async |session, _| set(session, &[step, 5, 5], None).await);
        let error = lost.await.unwrap_err().to_string();
        assert!(error.contains("references, not"), "{error}");
    }
}
