//! Items from files and folders: item collections, single items, lists, ndjson, stac-geoparquet.
#![cfg(feature = "io")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use s2ice_manifest::source::stac_file::{StacLoadError, StacOptions, load_path, load_stac};
use s2ice_manifest::stac::{LoadNote, Rejection, StacLoad, StacQuery};
use serde_json::{Value, json};

#[path = "../../../tests/support/real_data.rs"]
mod real_data;

fn recorded(path: &str) -> Option<PathBuf> {
    real_data::real_data(&format!("stac/{path}"))
}

fn query(tile: &str) -> StacQuery {
    let (tile, level) = (tile.parse().unwrap(), "L2A".parse().unwrap());
    StacQuery { tile, level, datetime: None, max_cloud_cover: None, collection: None, updated_since: None }
}

fn load(path: &Path, query: &StacQuery) -> StacLoad {
    load_path(path, query, &StacOptions::default()).unwrap()
}

fn item(day: u8, cloud: f64) -> Value {
    let id = format!("S2A_MSIL2A_202210{day:02}T115411_N0400_R023_T29UNU_202210{day:02}T164454");
    json!({"type": "Feature", "id": id, "collection": "c", "assets": {},
        "properties": {"datetime": format!("2022-10-{day:02}T11:54:11Z"), "eo:cloud_cover": cloud}})
}

fn days(load: &StacLoad) -> Vec<String> {
    load.items.iter().map(|item| item.datetime.format("%d").to_string()).collect()
}

#[test]
fn every_form_of_file_gives_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (item(5, 10.0), item(7, 60.0));
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    };
    let many = folder.path().join("many");
    write("many/x/b.json", b.to_string());
    write("many/a.geojson", a.to_string());
    write("many/collection.json", json!({"type": "Collection", "id": "c"}).to_string());
    write("many/readme.txt", "no".to_owned());
    let forms = [
        write("collection.json", json!({"type": "FeatureCollection", "features": [b, a]}).to_string()),
        write("pretty.json", format!("\u{feff}{:#}", json!({"type": "FeatureCollection", "features": [b, a]}))),
        write("list.json", json!([a, b]).to_string()),
        write("lines.ndjson", format!("{a}\n\n{b}\n")),
        write("lines.json", format!("{b}\r\n{a}")),
        many.clone(),
    ];
    for path in forms {
        let all = load(&path, &query("29UNU"));
        assert_eq!((days(&all), all.seen), (vec!["05".to_owned(), "07".to_owned()], 2), "{}", path.display());

        let clear = load(&path, &StacQuery { max_cloud_cover: Some(50.0), ..query("29UNU") });
        assert_eq!(days(&clear), ["05"]);
        assert_eq!(clear.rejected[0].rejection, Rejection::CloudCover { percent: 60.0 });

        let late = StacQuery { datetime: Some("2022-10-06/..".parse().unwrap()), ..query("29UNU") };
        assert_eq!(days(&load(&path, &late)), ["07"]);
        let other = StacQuery { collection: Some("d".to_owned()), ..query("29UNU") };
        assert!(load(&path, &other).items.is_empty());
        let elsewhere = load(&path, &query("33TVN"));
        assert_eq!((elsewhere.items.len(), elsewhere.outside_tile.values().sum::<usize>()), (0, 2));
    }
    let notes = load(&many, &query("29UNU")).notes;
    assert_eq!(notes, [LoadNote::OtherDocuments { place: many.display().to_string(), count: 1 }]);
}

#[test]
fn what_is_broken_is_listed_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("a.ndjson");
    fs::write(&lines, format!("{}\n{{\"type\": \n{}\n{}\n", item(5, 1.0), json!({"type": "Feature"}), item(6, 1.0)))
        .unwrap();
    let loaded = load(&lines, &query("29UNU"));
    assert_eq!(days(&loaded), ["05", "06"]);
    let places: Vec<_> = loaded.refused.iter().map(|r| r.place.rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(places, ["a.ndjson, line 2", "a.ndjson, line 3"]);

    let broken = folder.path().join("many");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("a.json"), item(5, 1.0).to_string()).unwrap();
    fs::write(broken.join("b.json"), "{").unwrap();
    let loaded = load(&broken, &query("29UNU"));
    assert_eq!((loaded.items.len(), loaded.refused.len()), (1, 1));
    assert!(loaded.refused[0].error.to_string().contains("not JSON"));
}

#[test]
fn a_saved_page_is_incomplete() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.json");
    let page =
        json!({"type": "FeatureCollection", "features": [item(5, 1.0)], "links": [{"rel": "next", "href": "x"}]});
    fs::write(&path, page.to_string()).unwrap();
    let reasons = load(&path, &query("29UNU")).completeness.reasons().join("|");
    assert!(reasons.starts_with(&format!("{} is one page of a search result", path.display())), "{reasons}");
}

#[tokio::test]
async fn bad_input_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for (input, says) in [
        (folder.path().join("none.json").display().to_string(), "cannot read"),
        (empty.display().to_string(), "holds no .json"),
        (write("text.json", b"hello"), "is not JSON"),
        (write("zero.json", b""), "is not JSON"),
        (write("half.json", b"{\"type\": \"Feature\",\n \"id\": "), "is not JSON"),
        (write("catalog.json", b"{\"type\": \"Catalog\"}"), "is a STAC Catalog without a search"),
        (write("number.json", b"5"), "is a single JSON value"),
        (write("bare.json", b"{\"type\": \"FeatureCollection\"}"), "without features"),
        (write("a.parquet", b"PAR1PAR1"), "is not a readable stac-geoparquet file"),
        ("ftp://host/file".to_owned(), "ftp"),
    ] {
        let error = load_stac(&input, &query("29UNU"), &StacOptions::default()).await.unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains('\n'), "{input}: {error}");
    }
    let big = write("big.json", &[b' '; 100]);
    let options = StacOptions { max_bytes: 99, ..StacOptions::default() };
    assert!(matches!(load_stac(&big, &query("29UNU"), &options).await, Err(StacLoadError::TooLarge { .. })));
}

#[tokio::test]
async fn a_file_url_is_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("an item.json");
    fs::write(&path, item(5, 1.0).to_string()).unwrap();
    let url = url::Url::from_file_path(&path).unwrap();
    let loaded = load_stac(url.as_str(), &query("29UNU"), &StacOptions::default()).await.unwrap();
    assert_eq!(loaded.items.len(), 1);
}

#[test]
fn a_folder_of_real_items() {
    let Some(path) = recorded("earthsearch-pc/mapchete") else { return };
    let loaded = load(&path, &query("33TWM"));
    let names: Vec<_> = loaded.items.iter().map(|item| item.product.to_string()).collect();
    insta::assert_snapshot!("folder_of_real_items", names.join("\n"));
    assert_eq!(loaded.seen, 22);
}

#[test]
fn a_real_stac_geoparquet() {
    let Some(path) = recorded("earthsearch-pc/pc_l2a_1000items.stac-geoparquet") else { return };
    let loaded = load(&path, &query("13TEF"));
    assert_eq!((loaded.seen, loaded.refused.len()), (1000, 0));
    let here = loaded.items.len() + loaded.rejected.len() + loaded.duplicates;
    assert_eq!(here + loaded.outside_tile.values().sum::<usize>(), 1000);
    let name = "S2B_MSIL2A_20240828T174909_N0511_R141_T13TEF_20240828T214916";
    let item = loaded.items.iter().find(|item| item.product.to_string() == name).unwrap();
    insta::assert_json_snapshot!("geoparquet_item", item);
}

#[test]
fn a_damaged_stac_geoparquet_is_refused() {
    let Some(path) = recorded("earthsearch-pc/pc_l2a_1000items.stac-geoparquet") else { return };
    let bytes = fs::read(path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let damaged = folder.path().join("damaged.parquet");
    for length in [5, 12, 1000, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&damaged, &bytes[..length]).unwrap();
        let error = load_path(&damaged, &query("13TEF"), &StacOptions::default()).unwrap_err();
        assert!(matches!(error, StacLoadError::Parquet { .. }), "{length}: {error}");
    }
    // The first page of the first column is not what its header says.
    let mut garbled = bytes;
    garbled[4..64].fill(0xff);
    fs::write(&damaged, &garbled).unwrap();
    let error = load_path(&damaged, &query("13TEF"), &StacOptions::default()).unwrap_err();
    assert!(matches!(error, StacLoadError::Parquet { .. }), "{error}");
}
