//! Small stores in memory that differ in one thing each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use std::collections::BTreeMap;
use std::sync::Arc;

use icechunk::format::manifest::{Checksum, SecondsSinceEpoch, VirtualChunkLocation, VirtualChunkRef};
use icechunk::format::{ChunkIndices, Path};
use icechunk::{Repository, Store, new_in_memory_storage};
use s2ice_manifest::source::location::{Effective, SourceOptions, SourceUrl};
use serde_json::{Map, Value, json};
use tokio::sync::RwLock;

use super::report::{ChunkDifference, DiffReport, NodeKind, OnlyIn, ReferenceValue};
use super::{DiffOptions, VersionInfo, diff, diff_repositories};
use crate::error::Error;
use crate::layout::document::{ArrayDocument, TIME_CHUNK, encode_f64, group, numeric_codecs};
use crate::layout::time::Column;
use crate::target::Target;

const BAND: &str = "/r60m/b01";

/// What a store shall hold; tests change one thing of it.
#[derive(Clone)]
struct Model {
    /// Product, time, cloud cover.
    steps: Vec<(&'static str, i64, f32)>,
    stamp: Value,
    source: &'static str,
    /// References with an absolute location instead of one relative to the container.
    absolute: bool,
    /// References of the band by product, row and column: offset and checksum.
    references: BTreeMap<(&'static str, u32, u32), (u64, Option<Checksum>)>,
    inputs: &'static str,
    content: &'static str,
    /// Angles by product, as an array of (time, 2, 2).
    angles: BTreeMap<&'static str, f64>,
    /// Columns without their chunks.
    unwritten: Vec<&'static str>,
    units: &'static str,
}

fn model(products: &[(&'static str, i64)]) -> Model {
    let mut references = BTreeMap::new();
    for (index, (product, _)) in products.iter().enumerate() {
        for (row, column) in [(0, 0), (0, 1), (1, 0)] {
            let offset = 1000 * (index as u64) + 100 * u64::from(2 * row + column);
            references.insert((*product, row, column), (offset, Some(Checksum::LastModified(SecondsSinceEpoch(7)))));
        }
    }
    Model {
        steps: products.iter().map(|(product, time)| (*product, *time, 12.5)).collect(),
        stamp: json!({
            "layout": 1, "writer": "s2ice test", "tile": "33TVN", "level": "L2A", "codec": "c", "install": "i",
            "sources": {}, "headers": "verified", "metadata": "product",
        }),
        source: "s3://archive/a/",
        absolute: false,
        references,
        inputs: "",
        content: "",
        angles: BTreeMap::new(),
        unwritten: Vec::new(),
        units: "m",
    }
}

/// Path and document of a node, and its chunks by key.
type Node = (String, Value, Vec<(String, Vec<u8>)>);

impl Model {
    fn nodes(&self) -> Vec<Node> {
        let mut root = Map::new();
        root.insert("s2ice".into(), self.stamp.clone());
        let mut out = vec![
            (String::new(), group(root), Vec::new()),
            ("r60m".into(), group(Map::new()), Vec::new()),
            ("products".into(), group(Map::new()), Vec::new()),
        ];
        let text = |of: &dyn Fn(&'static str) -> String| Column::Text(self.steps.iter().map(|s| of(s.0)).collect());
        let times = || Column::I64(self.steps.iter().map(|s| s.1).collect());
        let clouds = || Column::F32(self.steps.iter().map(|s| s.2).collect());
        let columns = [
            ("products/time", times()),
            ("products/product_id", text(&str::to_owned)),
            ("products/inputs", text(&|product| format!("{}{product}", self.inputs))),
            ("products/content", text(&|product| format!("{}{product}", self.content))),
            ("products/cloud_cover", clouds()),
            ("r60m/time", times()),
            ("r60m/cloud_cover", clouds()),
        ];
        for (path, column) in columns {
            let fill = column.fill_value();
            let document = array(&["time"], vec![column.len() as u64], vec![TIME_CHUNK as u64], column.data_type());
            let document = ArrayDocument { fill_value: fill, codecs: column.codecs(), ..document };
            let chunks = column.encode().unwrap().into_iter().map(|bytes| (format!("{path}/c/0"), bytes));
            let chunks = chunks.filter(|_| !self.unwritten.contains(&path)).collect();
            out.push((path.into(), document.json(), chunks));
        }
        let mut x = array(&["x"], vec![2], vec![2], "float64");
        x.attributes.insert("units".into(), self.units.into());
        out.push(("r60m/x".into(), x.json(), vec![("r60m/x/c/0".into(), encode_f64(&[30.0, 90.0]).unwrap())]));
        let steps = self.steps.len() as u64;
        let mut band = array(&["time", "y", "x"], vec![steps, 2, 2], vec![1, 1, 1], "uint16");
        band.attributes.insert("s2ice:asset".into(), "B01_60m".into());
        out.push((BAND[1..].into(), band.json(), Vec::new()));
        if !self.angles.is_empty() {
            let angles = array(&["time", "angle", "y"], vec![steps, 2, 2], vec![1, 2, 2], "float64");
            let chunk = |(step, product): (usize, &'static str)| {
                let value = *self.angles.get(product)?;
                Some((format!("r60m/angles/c/{step}/0/0"), encode_f64(&[value, 1.0, 2.0, 3.0]).unwrap()))
            };
            let chunks = self.steps.iter().map(|step| step.0).enumerate().filter_map(chunk).collect();
            out.push(("r60m/angles".into(), angles.json(), chunks));
        }
        out
    }

    async fn write(&self, repository: &Repository) {
        let session = Arc::new(RwLock::new(repository.writable_session("main").await.unwrap()));
        let store = Store::from_session(Arc::clone(&session)).await;
        for (path, document, chunks) in self.nodes() {
            let key = if path.is_empty() { "zarr.json".to_owned() } else { format!("{path}/zarr.json") };
            store.set(&key, document.to_string().into_bytes().into()).await.unwrap();
            for (key, bytes) in chunks {
                store.set(&key, bytes.into()).await.unwrap();
            }
        }
        let location = |product: &str| {
            let located = if self.absolute {
                VirtualChunkLocation::from_url(&format!("{}{product}.jp2", self.source))
            } else {
                VirtualChunkLocation::from_vcc_path("archive", &format!("{product}.jp2"))
            };
            located.unwrap()
        };
        let mut references = Vec::new();
        for (step, (product, ..)) in self.steps.iter().enumerate() {
            for ((_, row, column), (offset, checksum)) in self.references.iter().filter(|(key, _)| key.0 == *product) {
                let (location, checksum) = (location(product), checksum.clone());
                let reference = VirtualChunkRef { location, offset: *offset, length: 100, checksum };
                references.push((ChunkIndices(vec![step as u32, *row, *column]), reference));
            }
        }
        store.set_virtual_refs(&Path::try_from(BAND).unwrap(), false, references).await.unwrap();
        drop(store);
        session.write().await.commit("test").allow_empty(true).execute().await.unwrap();
    }

    fn config(&self) -> icechunk::RepositoryConfig {
        let source = SourceUrl::parse(self.source).unwrap();
        let container = crate::config::container("archive", &source, &Effective::default()).unwrap();
        crate::config::repository(container).unwrap()
    }

    async fn made(&self) -> Repository {
        let storage = new_in_memory_storage().await.unwrap();
        let repository = Repository::create(storage).config(self.config()).execute().await.unwrap();
        self.write(&repository).await;
        repository
    }
}

fn array(dimensions: &[&str], shape: Vec<u64>, chunks: Vec<u64>, data_type: &'static str) -> ArrayDocument {
    ArrayDocument {
        shape,
        chunks,
        data_type,
        fill_value: if data_type == "float64" { "NaN".into() } else { 0.into() },
        codecs: numeric_codecs(),
        dimensions: dimensions.iter().map(|name| (*name).to_owned()).collect(),
        attributes: Map::new(),
    }
}

fn main_branch() -> VersionInfo {
    VersionInfo::BranchTipRef("main".to_owned())
}

async fn compared_with(left: &Model, right: &Model, options: &DiffOptions) -> DiffReport {
    let (left, right) = (left.made().await, right.made().await);
    let report = diff_repositories(&left, &main_branch(), &right, &main_branch(), options).await.unwrap();
    let other_way = diff_repositories(&right, &main_branch(), &left, &main_branch(), options).await.unwrap();
    assert_eq!(report.differences, other_way.differences, "left and right are alike");
    report
}

async fn compared(left: &Model, right: &Model) -> DiffReport {
    compared_with(left, right, &DiffOptions::default()).await
}

fn three() -> Model {
    model(&[("a", 10), ("b", 20), ("c", 30)])
}

#[tokio::test]
async fn what_only_the_writer_knows_is_no_difference() {
    let mut other = three();
    other.stamp["writer"] = "s2ice of another day".into();
    other.stamp["catalogue"] = json!({ "query": "q", "watermark": "2024-05-01T00:00:00Z" });
    other.inputs = "from elsewhere: ";
    let report = compared(&three(), &other).await;
    assert!(report.is_same(), "{report:?}");
    assert_eq!((report.differences, report.left.times, report.left.arrays), (0, 3, 1));
}

#[tokio::test]
async fn products_are_told_once_and_the_others_still_compared() {
    let report = compared(&model(&[("a", 10), ("c", 30)]), &three()).await;
    assert_eq!(report.products.len(), 1);
    assert_eq!((report.products[0].product.as_str(), &report.products[0].left), ("b", &None));
    // The references of c stand at another step, and with other offsets in this model.
    let told: Vec<_> = report.references.iter().map(|d| d.product.as_deref().unwrap()).collect();
    assert_eq!((report.differences, told), (2, vec!["c"]));

    let mut late = model(&[("a", 10), ("c", 30), ("b", 20)]);
    late.steps.remove(2);
    let mut all = late.clone();
    all.steps.insert(1, ("b", 20, 1.0));
    let report = compared(&late, &all).await;
    assert_eq!((report.differences, report.products.len()), (1, 1), "{report:?}");
}

#[tokio::test]
async fn another_time_is_told_once() {
    let report = compared(&three(), &model(&[("a", 10), ("b", 21), ("c", 30)])).await;
    assert_eq!(report.differences, 1, "{report:?}");
    assert_eq!(report.products[0].left.as_deref(), Some("1970-01-01T00:00:00.020Z"));
    assert_eq!(report.products[0].right.as_deref(), Some("1970-01-01T00:00:00.021Z"));
}

#[tokio::test]
async fn references_are_compared_one_by_one() {
    let mut other = three();
    other.references.insert(("b", 0, 1), (1, None));
    other.references.remove(&("c", 1, 0));
    let report = compared(&three(), &other).await;
    assert_eq!((report.differences, report.references.len()), (2, 2), "{report:?}");
    let [b, c] = report.references.as_slice() else { panic!() };
    assert_eq!((b.path.as_str(), b.product.as_deref(), b.left, b.right), (BAND, Some("b"), 3, 3));
    let value = |product: &str, offset, checksum: Option<&str>| {
        let location = format!("s3://archive/a/{product}.jp2");
        Some(ReferenceValue { location, offset, length: 100, checksum: checksum.map(str::to_owned) })
    };
    let modified = Some("modified 1970-01-01T00:00:07.000Z");
    let (left, right) = (value("b", 1100, modified), value("b", 1, None));
    assert_eq!(b.first, Some(ChunkDifference { chunk: vec![0, 1], left, right }));
    assert_eq!((c.left, c.right), (3, 2));
    let left = value("c", 2200, modified);
    assert_eq!(c.first, Some(ChunkDifference { chunk: vec![1, 0], left, right: None }));
}

#[tokio::test]
async fn checksums_can_be_left_out() {
    let mut other = three();
    other.references.values_mut().for_each(|(_, checksum)| *checksum = None);
    assert_eq!(compared(&three(), &other).await.references.len(), 3);
    other.content = "with other checksums: ";
    assert_eq!(compared(&three(), &other).await.columns.len(), 3);
    let options = DiffOptions { ignore_checksums: true, ..DiffOptions::default() };
    assert!(compared_with(&three(), &other, &options).await.is_same());
}

#[tokio::test]
async fn references_are_compared_by_where_they_lead() {
    for source in ["s3://archive/a/", "/no such folder/a"] {
        let relative = Model { source, ..three() };
        let prefix = if source.starts_with('/') { "file:///no such folder/a/" } else { source };
        let absolute = Model { source: prefix, absolute: true, ..three() };
        let report = compared(&relative, &absolute).await;
        assert!(report.is_same(), "{report:?}");
    }
    let mut mirror = Model { source: "s3://mirror/b/", ..three() };
    mirror.stamp["sources"] = json!({ "archive": "s3://mirror/b/" });
    let report = compared(&three(), &mirror).await;
    assert_eq!((report.metadata.len(), report.references.len()), (1, 3));
    let options = DiffOptions { ignore_sources: true, ..DiffOptions::default() };
    assert!(compared_with(&three(), &mirror, &options).await.is_same());
    mirror.absolute = true;
    assert!(compared_with(&three(), &mirror, &options).await.is_same());
}

#[tokio::test]
async fn metadata_columns_and_arrays_are_told_by_name() {
    let mut other = three();
    other.units = "km";
    other.steps[2].2 = f32::NAN;
    other.angles.insert("a", 4.0);
    let report = compared(&three(), &other).await;
    let metadata = &report.metadata[0];
    assert_eq!((metadata.path.as_str(), metadata.pointer.as_str()), ("/r60m/x", "/attributes/units"));
    assert_eq!((&metadata.left, &metadata.right), (&Some("m".into()), &Some("km".into())));
    let columns: Vec<_> = report.columns.iter().map(|c| (c.path.as_str(), c.product.as_deref().unwrap())).collect();
    assert_eq!(columns, [("/products/cloud_cover", "c"), ("/r60m/cloud_cover", "c")]);
    assert_eq!((&report.columns[0].left, &report.columns[0].right), (&Some(json!(12.5)), &Some("NaN".into())));
    let node = &report.nodes[0];
    assert_eq!((node.path.as_str(), node.node, node.only_in), ("/r60m/angles", NodeKind::Array, OnlyIn::Right));
    assert_eq!(report.differences, 4);
}

#[tokio::test]
async fn arrays_with_many_values_for_a_step_are_compared_by_product() {
    let with =
        |model: Model, angles: &[(&'static str, f64)]| Model { angles: angles.iter().copied().collect(), ..model };
    let mut fewer = three();
    fewer.steps.remove(0);
    let (left, right) = (with(three(), &[("b", 1.0), ("c", 2.0)]), with(fewer, &[("b", 1.0), ("c", 3.0)]));
    let report = compared(&left, &right).await;
    let columns: Vec<_> = report.columns.iter().map(|c| (c.path.as_str(), c.product.as_deref().unwrap())).collect();
    assert_eq!((columns, report.differences), (vec![("/r60m/angles", "c")], 2));
}

#[tokio::test]
async fn a_chunk_that_is_not_there_reads_as_fill() {
    let mut unknown = three();
    unknown.steps.iter_mut().for_each(|step| step.2 = f32::NAN);
    let unwritten = Model { unwritten: vec!["r60m/cloud_cover"], ..unknown.clone() };
    assert!(compared(&unknown, &unwritten).await.is_same());
}

#[tokio::test]
async fn what_lies_beyond_the_end_of_an_array_is_not_seen() {
    let repository = three().made().await;
    let mut shorter = three();
    shorter.steps.pop();
    shorter.write(&repository).await;
    let fresh = shorter.made().await;
    let options = DiffOptions::default();
    let report = diff_repositories(&repository, &main_branch(), &fresh, &main_branch(), &options).await.unwrap();
    assert!(report.is_same(), "{report:?}");
}

#[tokio::test]
async fn another_tile_is_the_only_thing_told() {
    let mut other = model(&[("d", 1)]);
    other.stamp["tile"] = "29UNU".into();
    let report = compared(&three(), &other).await;
    assert_eq!((report.differences, report.metadata[0].pointer.as_str()), (1, "/attributes/s2ice/tile"));
}

#[tokio::test]
async fn what_is_no_store_is_refused() {
    let ours = three().made().await;
    let refused = async |repository: &Repository| {
        let options = DiffOptions::default();
        diff_repositories(&ours, &main_branch(), repository, &main_branch(), &options).await.unwrap_err()
    };
    let empty = Repository::create(new_in_memory_storage().await.unwrap()).execute().await.unwrap();
    assert!(matches!(refused(&empty).await, Error::NoStore { .. }));
    let session = Arc::new(RwLock::new(empty.writable_session("main").await.unwrap()));
    let store = Store::from_session(Arc::clone(&session)).await;
    store.set("zarr.json", group(Map::new()).to_string().into_bytes().into()).await.unwrap();
    session.write().await.commit("foreign").execute().await.unwrap();
    assert!(matches!(refused(&empty).await, Error::Foreign { .. }));
    let mut newer = three();
    newer.stamp["layout"] = 99.into();
    assert!(matches!(refused(&newer.made().await).await, Error::Newer { found: 99, .. }));
    let damaged = Model { unwritten: vec!["products/product_id"], ..three() };
    assert!(matches!(refused(&damaged.made().await).await, Error::Damaged { .. }));
}

#[tokio::test]
async fn states_of_one_store_are_named_by_tag_branch_or_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let url = SourceUrl::parse(folder.path().join("store").to_str().unwrap()).unwrap();
    let target = Target::open(url, SourceOptions::default()).await.unwrap();
    let missing = diff(&target, &target, &DiffOptions::default()).await.unwrap_err();
    assert!(matches!(missing, Error::NoStore { .. }));

    let first = model(&[("a", 10)]);
    let repository = Repository::create(target.storage()).config(first.config()).execute().await.unwrap();
    first.write(&repository).await;
    let snapshot = repository.lookup_branch("main").await.unwrap();
    repository.create_tag("published/1", &snapshot).await.unwrap();
    repository.create_branch("kept", &snapshot).await.unwrap();
    three().write(&repository).await;
    for at in ["published/1", "kept", snapshot.to_string().as_str()] {
        let options = DiffOptions { left_at: Some(at.to_owned()), ..DiffOptions::default() };
        let report = diff(&target, &target, &options).await.unwrap();
        assert_eq!((report.differences, report.products.len()), (2, 2), "{at}: {report:?}");
        assert_eq!(report.left.snapshot, snapshot.to_string());
    }
    assert!(diff(&target, &target, &DiffOptions::default()).await.unwrap().is_same());
    let options = DiffOptions { right_at: Some("nowhere".to_owned()), ..DiffOptions::default() };
    let error = diff(&target, &target, &options).await.unwrap_err().to_string();
    assert!(error.contains("no tag, branch or snapshot \"nowhere\""), "{error}");
}
