//! Indexing the real product, its parts, and damaged copies.
#![cfg(feature = "io")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use s2ice_manifest::source::facts::{FileRequest, file_record, product_metadata};
use s2ice_manifest::source::index_writer::write_index;
use s2ice_manifest::source::indexer::{IndexOptions, IndexProgress, IndexReport, index_paths};
use s2ice_manifest::source::location::{Source, SourceError, SourceOptions, SourceUrl};
use s2ice_manifest::source::memory::{Memory, Place};
use s2ice_manifest::source::tlm_parquet::{IndexFilter, read_index};
use s2ice_manifest::tlm::{IndexRow, TileIndex};

const NAME: &str = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454";
const GRANULE: &str = "GRANULE/L2A_T29UNU_A038058_20221005T115407";

fn open(folder: &Path) -> Source {
    Source::open(&SourceUrl::parse(folder.to_str().unwrap()).unwrap(), &SourceOptions::default()).unwrap()
}

async fn index(source: &Source, paths: &[&str]) -> (Vec<IndexRow>, IndexReport) {
    let paths: Vec<String> = paths.iter().map(|p| (*p).to_owned()).collect();
    index_paths(source, &paths, IndexOptions::default(), &()).await.unwrap()
}

#[derive(Default)]
struct Count {
    found: AtomicUsize,
    done: AtomicUsize,
}

impl IndexProgress for Count {
    fn found(&self, files: usize) {
        self.found.store(files, Ordering::SeqCst);
    }
    fn file_done(&self, _path: &str) {
        self.done.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_product_is_indexed_however_it_is_named() {
    let Some(data) = support::data() else { return };
    let safe = data.join("safe");
    let source = open(&safe);
    let count = Count::default();
    let (rows, report) = index_paths(&source, &[String::new()], IndexOptions::default(), &count).await.unwrap();
    // 50 JP2 files, one of them the PVI.
    assert_eq!((rows.len(), report.skipped.len(), report.refused.len()), (49, 1, 0), "{:?}", report.refused);
    assert!(report.skipped[0].path.ends_with("_PVI.jp2"));
    assert_eq!((count.found.into_inner(), count.done.into_inner()), (49, 49));
    assert_eq!((report.indexed, report.walked, report.with_tlm, report.products), (49, 49, 0, 1));
    for row in &rows {
        let golden = data.join("golden/tlm-index/safe").join(row.path.trim_start_matches('/')).with_extension("tlm");
        assert!(row.index.cell() == std::fs::read(&golden).unwrap(), "{}", row.path);
        let (size, first_sot) = row.head().unwrap().unwrap();
        assert_eq!(size, std::fs::metadata(safe.join(&row.path[1..])).unwrap().len());
        assert!(row.main_header.as_ref().unwrap().starts_with(&[0xFF, 0x4F]) && first_sot > 2000);
        assert!(row.etag.is_some() && row.last_modified.is_some());
        assert_eq!(row.nodata.is_some(), row.asset.zero_is_nodata());
    }
    // Best resolution of a band first.
    let aot: Vec<u16> =
        rows.iter().filter(|r| r.asset.band_id() == "AOT").map(|r| r.asset.resolution.metres()).collect();
    assert_eq!(aot, [10, 20, 60]);

    let folder = format!("{NAME}.SAFE");
    let (same, _) = index(&source, &[&format!("/{folder}/"), &folder]).await;
    assert_eq!(same, rows);
    let (same, _) = index(&source, &[safe.join(&folder).to_str().unwrap()]).await;
    assert_eq!(same, rows);
    let (part, _) = index(&source, &[&format!("{folder}/{GRANULE}/IMG_DATA")]).await;
    assert_eq!(part.len(), 18);
    let one = format!("{folder}/{GRANULE}/IMG_DATA/R20m/T29UNU_20221005T115411_SCL_20m.jp2");
    let (one, _) = index(&source, &[&one]).await;
    assert_eq!(one.len(), 1);
    assert!(rows.contains(&one[0]));

    // The source is the SAFE folder itself: paths begin below it.
    let (inside, _) = index(&open(&safe.join(&folder)), &["."]).await;
    assert_eq!(inside.len(), rows.len());
    for (a, b) in inside.iter().zip(&rows) {
        assert_eq!((format!("/{folder}{}", a.path), &a.index, a.product), (b.path.clone(), &b.index, b.product));
    }

    let file = tempfile::tempdir().unwrap();
    let file = file.path().join("index.parquet");
    write_index(&file, &rows, false).unwrap();
    let filter = IndexFilter::default();
    let (back, _) = read_index(&[file.to_str().unwrap().to_owned()], &SourceOptions::default(), &filter).await.unwrap();
    let millis = |rows: &[IndexRow]| -> Vec<IndexRow> {
        let cut = |t: chrono::DateTime<chrono::Utc>| chrono::DateTime::from_timestamp_millis(t.timestamp_millis());
        rows.iter().cloned().map(|r| IndexRow { last_modified: r.last_modified.and_then(cut), ..r }).collect()
    };
    assert_eq!(back, millis(&rows));
}

#[tokio::test]
async fn files_that_cannot_be_referenced_are_named() {
    let Some(data) = support::data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let img = folder.path().join(format!("{NAME}.SAFE/{GRANULE}/IMG_DATA/R60m"));
    std::fs::create_dir_all(&img).unwrap();
    let real = data.join(format!("safe/{NAME}.SAFE/{GRANULE}/IMG_DATA/R60m/T29UNU_20221005T115411_B09_60m.jp2"));
    let bytes = std::fs::read(real).unwrap();
    let sot = bytes.windows(4).position(|w| w == [0xFF, 0x90, 0, 10]).unwrap();
    let next = sot + u32::from_be_bytes(bytes[sot + 6..sot + 10].try_into().unwrap()) as usize;
    let write = |band: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        std::fs::write(img.join(format!("T29UNU_20221005T115411_{band}_60m.jp2")), bytes).unwrap();
    };
    write("B01", &|_| {});
    write("B02", &|b| b.truncate(b.len() - 1));
    write("B03", &|b| b.truncate(b.len() / 2));
    write("B04", &|b| b[sot + 5] = 200);
    write("B05", &|b| b[next + 5] = 0);
    write("B06", &|b| b[next] = 0);
    write("B07", &|b| b.truncate(100));
    write("B8A", &|b| b.clear());
    write("B09", &|b| b.splice(0..12, *b"not a JP2 fi").for_each(drop));
    write("B11", &|b| b.truncate(b.len() - 2));
    write("B12", &|b| b[sot + 13] = 0x52);
    let (rows, report) = index(&open(folder.path()), &[""]).await;
    let good: Vec<String> = rows.iter().map(|r| r.asset.name()).collect();
    // Without EOC a codestream is not whole by the standard, but every tile of B11 is.
    assert_eq!(good, ["B01_60m", "B11_60m"]);
    let refused: BTreeMap<&str, &str> =
        report.refused.iter().map(|r| (r.path.split('_').rev().nth(1).unwrap(), r.reason.as_str())).collect();
    for (band, what) in [
        ("B02", "one byte is left"),
        ("B03", "the codestream ends at"),
        ("B04", "tile 200 at byte"),
        ("B05", "is number 0 of 1 of tile 0, but 1 of 1 came before"),
        ("B06", "unexpected marker"),
        ("B07", "beyond the file's 100"),
        ("B8A", "ends before byte 0"),
        ("B09", "neither a JP2"),
        ("B12", "not supported"),
    ] {
        assert!(refused[band].contains(what), "{band}: {}", refused[band]);
    }
    assert_eq!(refused.len(), 9, "{refused:?}");

    let source = open(folder.path());
    let error = index_paths(&source, &["nothing".to_owned()], IndexOptions::default(), &()).await.unwrap_err();
    assert!(matches!(error, SourceError::Missing { .. }), "{error}");
    let (_, report) = index(&source, &[&format!("{NAME}.SAFE/T29UNU_x_B02_10m.jp2")]).await;
    assert!(report.refused[0].reason.ends_with("does not exist"), "{:?}", report.refused);
}

#[tokio::test]
async fn files_with_tlm_are_indexed_or_left_to_the_reader() {
    let Some(data) = support::data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let img = folder.path().join(format!("{NAME}.SAFE/{GRANULE}/IMG_DATA/R60m"));
    std::fs::create_dir_all(&img).unwrap();
    let real = data.join("golden/with-tlm/T29UNU_20221005T115411_B09_60m_with_TLM.jp2");
    let file = img.join("T29UNU_20221005T115411_B09_60m.jp2");
    std::fs::copy(&real, &file).unwrap();
    let source = open(folder.path());
    let (rows, report) = index(&source, &[""]).await;
    assert_eq!((report.with_tlm, report.walked, report.requests, rows[0].nodata.is_none()), (1, 0, 2, true));
    assert_eq!(rows[0].tile_spans(100).unwrap().unwrap().len(), 100);
    let options = IndexOptions { public_style: true, ..IndexOptions::default() };
    let (rows, _) = index_paths(&source, &[String::new()], options, &()).await.unwrap();
    assert_eq!(rows[0].index, TileIndex::InFile);

    // A table that leaves the last tile out, or that begins with another length than the first SOT.
    let bytes = std::fs::read(&real).unwrap();
    let tlm = bytes.windows(2).position(|w| w == [0xFF, 0x55]).unwrap();
    for (at, what) in [(tlm + 7, "its TLM")] {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        let (rows, report) = index(&open(folder.path()), &[""]).await;
        assert!(rows.is_empty() && report.refused[0].reason.contains(what), "{:?}", report.refused);
    }
}

#[tokio::test]
async fn a_rebuild_asks_for_nothing_twice() {
    let Some(data) = support::data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let url = SourceUrl::parse(folder.path().to_str().unwrap()).unwrap();
    let place = Place::beside(url, SourceOptions::default());
    let path = format!("/{NAME}.SAFE/{GRANULE}/IMG_DATA/R60m/T29UNU_20221005T115411_B09_60m.jp2");
    let size = std::fs::metadata(data.join("safe").join(&path[1..])).unwrap().len();
    let product = NAME.parse().unwrap();
    let asset = "B09_60m".parse().unwrap();
    let request =
        |size, index| FileRequest { path: &path, asset, size, first_sot: None, etag: None, last_modified: None, index };
    let mut first = None;
    for round in 0..3 {
        let source = open(&data.join("safe"));
        let memory = Memory::read(&place, chrono::Utc::now).await.unwrap();
        let record = file_record(&source, &memory, request(Some(size), false)).await.unwrap();
        let metadata = product_metadata(&source, &memory, product, &path).await.unwrap();
        // The file is remembered; metadata never are beyond a run.
        assert_eq!(source.stats().requests(), if round == 0 { 3 } else { 2 });
        memory.save(&place, |_| false).await.unwrap();
        assert_eq!(*first.get_or_insert_with(|| (record.clone(), metadata.clone())), (record, metadata));
    }
    let source = open(&data.join("safe"));
    let memory = Memory::read(&place, chrono::Utc::now).await.unwrap();
    // The index says another size, or the tile lengths are needed too: the file is asked again, once.
    let record = file_record(&source, &memory, request(Some(size + 1), false)).await.unwrap();
    assert_eq!((record.size, source.stats().requests()), (size, 1));
    let record = file_record(&source, &memory, request(None, true)).await.unwrap();
    let golden = data.join("golden/tlm-index/safe").join(&path[1..]).with_extension("tlm");
    assert_eq!(record.index.as_deref(), Some(&std::fs::read(golden).unwrap()[..]));
    let asked = source.stats().requests();
    let etag = record.etag.as_deref().unwrap().trim_matches('"');
    let same = FileRequest { etag: Some(etag), first_sot: Some(record.first_sot), ..request(Some(size), true) };
    assert_eq!(file_record(&source, &memory, same).await.unwrap(), record);
    assert_eq!(source.stats().requests(), asked);
    // The index was made of another file under the same name, or of this one after it was replaced.
    for other in [
        FileRequest { etag: Some("other"), ..request(Some(size), false) },
        FileRequest { first_sot: Some(1), ..request(Some(size), false) },
    ] {
        let before = source.stats().requests();
        file_record(&source, &memory, other).await.unwrap();
        assert_eq!(source.stats().requests(), before + 1);
    }
}

#[tokio::test]
async fn a_local_file_that_was_replaced_is_read_again() {
    let Some(data) = support::data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = "/T29UNU_20221005T115411_B09_60m.jp2";
    let real = data.join(format!("safe/{NAME}.SAFE/{GRANULE}/IMG_DATA/R60m{path}"));
    let file = folder.path().join(&path[1..]);
    std::fs::copy(&real, &file).unwrap();
    let source = open(folder.path());
    let memory = Memory::new(chrono::Utc::now);
    let asset = "B09_60m".parse().unwrap();
    let request =
        FileRequest { path, asset, size: None, first_sot: None, etag: None, last_modified: None, index: false };
    let first = file_record(&source, &memory, request).await.unwrap();
    assert_eq!(file_record(&source, &memory, request).await.unwrap(), first);
    assert_eq!(source.stats().requests(), 1);
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    std::fs::File::options().append(true).open(&file).unwrap().set_modified(later).unwrap();
    let second = file_record(&source, &memory, request).await.unwrap();
    assert!(second.last_modified > first.last_modified && second.header == first.header);
    std::fs::remove_file(&file).unwrap();
    file_record(&source, &memory, request).await.unwrap_err();
}
