//! What is remembered, and what a damaged file costs.
#![allow(clippy::unwrap_used)]
use super::*;

const ID: &str = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454";

fn record(size: u64) -> FileRecord {
    FileRecord {
        size,
        etag: Some("\"e\"".to_owned()),
        last_modified: Some("2022-10-06T01:02:03.456Z".parse().unwrap()),
        first_sot: 2563,
        header: Arc::from(&[0xFF, 0x4F, 1][..]),
        index: (size > 5).then(|| Arc::from(&[1, 2][..])),
        nodata: (size > 5).then(|| vec![3]),
    }
}

#[test]
fn what_is_put_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sub/cache.ndjson");
    let metadata = ProductMetadata::from_name(ID.parse().unwrap());
    {
        let cache = FactCache::open(&path).unwrap();
        assert!(cache.is_empty());
        cache.put_file("s3://b/1", record(1)).unwrap();
        cache.put_file("s3://b/2", record(9)).unwrap();
        cache.put_file("s3://b/1", record(2)).unwrap();
        cache.put_product("s3://b/", ID.parse().unwrap(), metadata.clone()).unwrap();
    }
    let cache = FactCache::open(&path).unwrap();
    assert_eq!((cache.len(), cache.problems()), ((2, 1), &[][..]));
    assert_eq!(*cache.file("s3://b/1").unwrap(), record(2));
    assert_eq!(*cache.file("s3://b/2").unwrap(), record(9));
    assert!(Arc::ptr_eq(&cache.file("s3://b/1").unwrap().header, &cache.file("s3://b/2").unwrap().header));
    assert_eq!(cache.product("s3://b/", ID.parse().unwrap()), Some(metadata));
    assert_eq!(cache.product("s3://other/", ID.parse().unwrap()), None);
    assert_eq!(cache.file("s3://b/3"), None);
}

#[test]
fn angles_are_read_when_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.ndjson");
    let chunk = |array: AngleArray, value: u8| {
        let raw = vec![value; array.values() * 4];
        (array, Arc::from(zstd::bulk::compress(&raw, 1).unwrap()))
    };
    let chunks = |value| AngleArray::ALL.into_iter().map(|array| chunk(array, value)).collect::<AngleChunks>();
    let id = ID.parse().unwrap();
    {
        let cache = FactCache::open(&path).unwrap();
        cache.put_file("s3://b/1", record(1)).unwrap();
        cache.put_angles("s3://b/", id, chunks(1)).unwrap();
        cache.put_angles("s3://b/", id, chunks(2)).unwrap();
        cache.put_file("s3://b/2", record(2)).unwrap();
        assert_eq!(*cache.angles("s3://b/", id).unwrap(), chunks(2));
    }
    let cache = FactCache::open(&path).unwrap();
    assert_eq!((cache.len(), cache.problems()), ((2, 0), &[][..]));
    assert_eq!(*cache.angles("s3://b/", id).unwrap(), chunks(2));
    assert_eq!(cache.angles("s3://c/", id), None);
    // Bytes that are no chunk of the array are as good as none.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("mean_sun_angles\":\"KL", "mean_sun_angles\":\"AA")).unwrap();
    assert_eq!(FactCache::open(&path).unwrap().angles("s3://b/", id), None);
    std::fs::write(&path, "").unwrap();
    assert_eq!(cache.angles("s3://b/", id), None);
}

#[test]
fn a_crash_costs_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.ndjson");
    let cache = FactCache::open(&path).unwrap();
    cache.put_file("s3://b/1", record(1)).unwrap();
    cache.put_file("s3://b/2", record(2)).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let ends: Vec<usize> = (0..whole.len()).filter(|i| whole[*i] == b'\n').collect();
    for cut in ends[1] + 1..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let cache = FactCache::open(&path).unwrap();
        assert_eq!((cache.len().0, cache.problems().len()), (1, 0), "{cut}");
        cache.put_file("s3://b/3", record(3)).unwrap();
        let again = FactCache::open(&path).unwrap();
        assert!(again.file("s3://b/1").is_some() && again.file("s3://b/3").is_some(), "{cut}");
    }
}

#[test]
fn damaged_lines_are_named_and_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.ndjson");
    let cache = FactCache::open(&path).unwrap();
    cache.put_file("s3://b/1", record(1)).unwrap();
    let mut text = std::fs::read_to_string(&path).unwrap();
    let good = text.lines().nth(1).unwrap().replace("s3://b/1", "s3://b/2");
    text.push_str("{\"file\":{\"url\":\"x\"}}\nnonsense\n\n");
    text.push_str(&good.replace("/08B", "/0*B"));
    text.push('\n');
    text.push_str(&good);
    text.push('\n');
    std::fs::write(&path, text).unwrap();
    let cache = FactCache::open(&path).unwrap();
    let lines: Vec<u64> = cache.problems().iter().map(|p| p.line).collect();
    assert_eq!((lines, cache.len().0), (vec![3, 4, 5, 6], 2), "{:?}", cache.problems());
}

#[test]
fn other_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "my notes").unwrap();
    assert!(matches!(FactCache::open(&path), Err(CacheError::NotACache { .. })));
    std::fs::write(&path, "{\"s2ice_cache\":2}\n").unwrap();
    assert!(matches!(FactCache::open(&path), Err(CacheError::NotACache { .. })));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"s2ice_cache\":2}\n");
}
