//! What is remembered, what a damaged table costs, and when to ask again.
#![allow(clippy::unwrap_used)]
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::*;
use crate::assemble::RefusalKind;
use crate::geometry::AngleArray;
use crate::product::ProductMetadata;

const ID: &str = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454";
const OTHER: &str = "S2A_MSIL2A_20221015T115411_N0400_R023_T29UNU_20221015T164454";

fn id() -> ProductId {
    ID.parse().unwrap()
}

fn at(minutes: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
}

fn place() -> (Arc<InMemory>, Place) {
    let store = Arc::new(InMemory::new());
    let path = Path::from("s2ice/memory.parquet");
    (Arc::clone(&store), Place::new(store, path, "memory".to_owned()))
}

fn record(size: u64, etag: &str) -> FileRecord {
    FileRecord {
        size,
        etag: Some(etag.to_owned()),
        last_modified: Some("2022-10-06T01:02:03.456Z".parse().unwrap()),
        first_sot: 2563,
        header: Arc::from(&[0xFF, 0x4F, 1][..]),
        index: (size > 5).then(|| Arc::from(&[1, 2][..])),
        nodata: (size > 5).then(|| vec![3]),
    }
}

fn product() -> ProductRecord {
    let xml = |path: &str| XmlFile { path: path.to_owned(), size: 9, etag: Some("x".to_owned()), last_modified: None };
    ProductRecord { metadata: ProductMetadata::from_name(id()), xml: [xml("/a"), xml("/b")] }
}

fn refusal(kind: RefusalKind, fingerprint: &str) -> NewRefusal {
    let (reason, fingerprint) = ("why".to_owned(), fingerprint.to_owned());
    NewRefusal { product: id(), kind, reason, fingerprint, metadata: Some(product().metadata) }
}

fn chunks() -> AngleChunks {
    let chunk = |array: AngleArray| zstd::bulk::compress(&vec![7; array.values() * 4], 1).unwrap();
    AngleArray::ALL.into_iter().map(|array| (array, chunk(array).into())).collect()
}

fn filled() -> Memory {
    let memory = Memory::default();
    memory.put_file("s3://b/1", id(), record(1, "e"));
    memory.put_file("s3://b/2", OTHER.parse().unwrap(), record(9, "e"));
    memory.put_product("s3://b/", id(), product());
    memory.put_angles("s3://b/", id(), chunks());
    memory.refuse("s3://b/3", refusal(RefusalKind::Source, "f"), at(0));
    memory
}

async fn load(place: &Place) -> (Memory, Option<String>) {
    Memory::load(place).await
}

#[tokio::test]
async fn what_is_saved_is_there_after_loading() {
    let (store, place) = place();
    let memory = filled();
    assert!(memory.save(&place, at(0), |_| true).await.unwrap());
    assert!(!memory.save(&place, at(1), |_| true).await.unwrap());
    let (again, problem) = load(&place).await;
    assert_eq!((again.lock().rows(), problem), (memory.lock().rows(), None));
    assert!(Arc::ptr_eq(&again.file("s3://b/1").unwrap().header, &again.file("s3://b/2").unwrap().header));
    assert_eq!(again.product("s3://b/", id()), Some((Arc::new(product()), false)));
    assert_eq!(*again.angles("s3://b/", id()).unwrap(), chunks());
    assert!(!again.save(&place, at(1), |_| true).await.unwrap());
    // What is in the store goes, and the object with the last of it.
    assert!(again.save(&place, at(2), |entry| entry.product != id()).await.unwrap());
    assert_eq!(load(&place).await.0.lock().len(), 1);
    assert!(again.save(&place, at(3), |_| false).await.unwrap());
    assert!(store.head(&Path::from("s2ice/memory.parquet")).await.is_err());
    assert!(!again.save(&place, at(3), |_| false).await.unwrap());
}

#[tokio::test]
async fn damaged_tables_are_passed_over_and_written_anew() {
    let (store, place) = place();
    let path = Path::from("s2ice/memory.parquet");
    filled().save(&place, at(0), |_| true).await.unwrap();
    let whole = store.get(&path).await.unwrap().bytes().await.unwrap();
    let step = (whole.len() / 400).max(1);
    for byte in (0..whole.len()).step_by(step).chain(whole.len().saturating_sub(40)..whole.len()) {
        let mut flipped = whole.to_vec();
        flipped[byte] ^= 1 << (byte % 8);
        assert!(table::decode(flipped.into()).is_err(), "flip at {byte}");
        assert!(table::decode(whole.slice(..byte)).is_err(), "cut at {byte}");
    }
    for foreign in [&b""[..], b"my notes", b"PAR1PAR1"] {
        store.put(&path, foreign.to_vec().into()).await.unwrap();
        let (memory, problem) = load(&place).await;
        assert!(problem.unwrap().contains("passed over and written anew"));
        memory.put_file("s3://b/1", id(), record(1, "e"));
        memory.save(&place, at(0), |_| true).await.unwrap();
        assert_eq!(load(&place).await.1, None);
    }
}

#[test]
fn another_state_of_a_file_drops_its_product_and_no_other() {
    type Change = fn(&Memory);
    let cases: [(&str, Change); 4] = [
        ("size", |memory| drop(memory.put_file("s3://b/1", id(), record(2, "e")))),
        ("ETag", |memory| drop(memory.put_file("s3://b/1", id(), record(1, "other")))),
        ("order", |memory| memory.forget_product(id())),
        ("XML", |memory| {
            let mut changed = product();
            changed.xml[1].size += 1;
            memory.put_product("s3://b/", id(), changed);
        }),
    ];
    for (name, change) in cases {
        let memory = filled();
        change(&memory);
        assert!(memory.angles("s3://b/", id()).is_none(), "{name}");
        assert_eq!(memory.due("s3://b/3", "f", at(0)), Due::Ask, "{name}");
        assert!(memory.product("s3://b/", id()).is_none_or(|(known, _)| *known != product()), "{name}");
        assert!(memory.file("s3://b/2").is_some(), "{name}");
    }
    let memory = filled();
    memory.put_file("s3://b/1", id(), record(1, "e"));
    assert!(memory.angles("s3://b/", id()).is_some());
}

#[test]
fn passing_trouble_doubles_its_wait_and_the_rest_waits_for_a_change() {
    let memory = Memory::default();
    let asks = |key, fingerprint, minute| memory.due(key, fingerprint, at(minute)) == Due::Ask;
    let mut now = 0;
    for wait in [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1380, 1380] {
        memory.refuse("a", refusal(RefusalKind::Source, "f"), at(now));
        assert!(!asks("a", "f", now) && !asks("a", "f", now + wait - 1) && asks("a", "f", now + wait), "{wait}");
        assert!(asks("a", "g", now) && asks("b", "f", now) && asks("a", "f", now - 1));
        now += wait;
    }
    let Due::Wait(known) = memory.due("a", "f", at(now - 1)) else { unreachable!() };
    assert_eq!((known.tries, known.first, known.metadata.is_some()), (11, at(0), true));
    for kind in [RefusalKind::Index, RefusalKind::Header, RefusalKind::Ranges, RefusalKind::Superseded] {
        memory.refuse("a", refusal(kind, "f"), at(now));
        assert!(!asks("a", "f", now + 10_000_000) && asks("a", "g", now), "{kind:?}");
    }
    memory.forgive("a");
    assert!(asks("a", "f", now));
}

#[tokio::test]
async fn a_memory_that_fills_is_saved_now_and_then() {
    let (_, place) = place();
    let memory = Memory::default();
    assert!(!memory.save_if_due(&place, at(0)).await.unwrap());
    memory.put_file("s3://b/1", id(), record(1, "e"));
    assert!(!memory.save_if_due(&place, at(0)).await.unwrap());
    assert!(memory.save_if_due(&place, at(1)).await.unwrap());
    for number in 0..SAVE_AFTER.0 {
        memory.put_file(&number.to_string(), id(), record(1, "e"));
    }
    assert!(memory.save_if_due(&place, at(1)).await.unwrap());
    assert!(!memory.save_if_due(&place, at(9)).await.unwrap());
}
