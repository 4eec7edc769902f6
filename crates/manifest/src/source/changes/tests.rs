#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::real_data::real_data;
use crate::source::stac_pages::Sink as _;
use crate::stac::tile_of;

fn wanted() -> Wanted {
    Wanted { catalogue: "https://h/v1".to_owned(), collection: None, level: Level::L2A }
}

fn kept(folder: &Path, items: &[Value]) -> Changes {
    let mut spool = Spool::new(folder).unwrap();
    for item in items {
        assert!(!spool.take(item, ""));
    }
    let head = Head { wanted: wanted(), since: DateTime::UNIX_EPOCH, until: spool.newest, tiles: Vec::new() };
    let named = folder.join("changes.parquet");
    let (_, head) = file::write(spool, head, File::create(&named).unwrap()).unwrap();
    let opened = Changes::open(&named).unwrap();
    assert_eq!(opened.head, head);
    opened
}

/// What the rows of each tile give is what the catalogue's own documents give.
fn same(folder: &Path, items: &[Value]) {
    let changes = kept(folder, items);
    let mut expected: BTreeMap<MgrsTile, Vec<String>> = BTreeMap::new();
    let text = |item: &Value| match StacItem::from_json(item) {
        // Without what is not written again.
        Ok(item) => format!("{item:?}"),
        Err(error) => error.to_string(),
    };
    for item in items {
        expected.entry(tile_of(item).unwrap()).or_default().push(text(item));
    }
    assert_eq!(changes.counts(), (items.len(), expected.len()));
    for (tile, mut texts) in expected {
        let mut found: Vec<String> = changes.heard(tile).unwrap().items.iter().map(text).collect();
        found.sort_unstable();
        texts.sort_unstable();
        assert_eq!(found, texts, "{tile}");
    }
    assert!(changes.heard("60XWR".parse().unwrap()).unwrap().items.is_empty());
}

#[test]
fn recorded_items_come_back_as_they_were() {
    let mut collections = 0;
    for folder in ["stac/cdse", "stac/earthsearch-pc"] {
        let Some(folder) = real_data(folder) else { continue };
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let document = || serde_json::from_slice::<Value>(&std::fs::read(&path).ok()?).ok();
            let Some(document) = document() else { continue };
            let Some(features) = document["features"].as_array() else { continue };
            let named: Vec<Value> = features.iter().filter(|item| tile_of(item).is_some()).cloned().collect();
            if !named.is_empty() {
                let place = tempfile::tempdir().unwrap();
                same(place.path(), &named);
                collections += 1;
            }
        }
    }
    assert!(collections > 0 || real_data("stac").is_none());
}

fn item(tile: &str, day: u8, more: &Value) -> Value {
    let id = format!("S2A_MSIL2A_202210{day:02}T115411_N0400_R023_T{tile}_202210{day:02}T164454");
    let mut properties = json!({
        "datetime": format!("2022-10-{day:02}T11:54:11.123456789Z"),
        "updated": format!("2022-10-{day:02}T20:00:00.5Z"), "eo:cloud_cover": 0.1 + f64::from(day), "foreign": {"a": []},
    });
    properties.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let square = json!([[[12.0, 47.0], [13.5, 47.0], [13.5, 48.0], [12.0, 47.0]]]);
    json!({"type": "Feature", "id": id, "collection": "c", "stac_version": "1.0.0", "bbox": [12.0, 47.0, 13.5, 48.0],
        "geometry": {"type": "Polygon", "coordinates": square}, "links": [{"rel": "self", "href": format!("https://h/{id}")}],
        "assets": {"a": {"href": format!("https://h/{id}.SAFE/x_B02_10m.jp2"), "file:size": 10_u64 * u64::from(day)}},
        "properties": properties})
}

#[test]
fn items_of_many_shapes_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let mut items: Vec<Value> = (1..=30)
        .flat_map(|day| ["29UNU", "33TVN", "01WCQ"].map(|tile| item(tile, day, &json!({"created": null}))))
        .collect();
    // Whole numbers beside others, what some lack, an item that is not understood, one without files.
    items.push(item("29UNU", 31, &json!({"eo:cloud_cover": 7})));
    items.push(item("33TVN", 31, &json!({"eo:cloud_cover": null, "s2:datastrip_id": "x"})));
    items.push(item("33TWN", 31, &json!({"updated": "2022-10-31T00:00:00+02:00", "proj:epsg": 4326})));
    let mut bare = item("33TWN", 30, &json!({}));
    bare["assets"] = json!({});
    bare["geometry"] = Value::Null;
    items.push(bare);
    same(folder.path(), &items);
}

#[test]
fn an_answer_counts_from_its_time_on() {
    let folder = tempfile::tempdir().unwrap();
    let changes = kept(folder.path(), &[item("29UNU", 5, &json!({})), item("33TVN", 9, &json!({}))]);
    let heard = changes.heard("29UNU".parse().unwrap()).unwrap();
    let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let (tile, level) = ("29UNU".parse().unwrap(), Level::L2A);
    let query = |since: Option<&str>| StacQuery {
        tile,
        level,
        datetime: None,
        max_cloud_cover: None,
        collection: None,
        updated_since: since.map(time),
    };
    assert!(heard.answers(&query(Some("1970-01-01T00:00:00Z"))));
    assert!(!heard.answers(&query(Some("1969-12-31T00:00:00Z"))) && !heard.answers(&query(None)));
    let load = heard.load(&query(Some("2022-10-01T00:00:00Z")));
    assert_eq!((load.items.len(), load.incremental, load.seen), (1, true, 1));
    assert!(heard.load(&query(Some("2022-10-06T00:00:00Z"))).items.is_empty());
    // All that changed in any tile is known.
    assert_eq!(load.latest_change, Some(time("2022-10-09T20:00:00.5Z")));
}

#[test]
fn files_of_others_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let changes = kept(folder.path(), &[item("29UNU", 5, &json!({}))]);
    let bytes = std::fs::read(&changes.path).unwrap();
    let path = folder.path().join("bad.parquet");
    for (bytes, word) in
        [(&bytes[..bytes.len() - 9], "not a readable"), (b"PAR1", "not a readable"), (b"", "not a readable")]
    {
        std::fs::write(&path, bytes).unwrap();
        let error = Changes::open(&path).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("bad.parquet"), "{error}");
    }
    assert!(Changes::open(&folder.path().join("none")).unwrap_err().to_string().starts_with("cannot read"));
}
