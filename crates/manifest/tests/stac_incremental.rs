//! Searches for what changed, against catalogues that know the time of the last change, or do not, or say so.
#![cfg(feature = "io")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, missing_docs)]

mod stac_support;

use s2ice_manifest::source::changes::{Changes, Wanted};
use s2ice_manifest::source::stac_file::{load_path, load_stac};
use s2ice_manifest::stac::{Interval, LoadNote, StacLoad, StacQuery};
use serde_json::{Value, json};
use stac_support::{Answer, Asked, CQL2, CQL2_JSON, QUERY, Server, days, fast, landing, page, query, searches};

/// How a catalogue takes a condition on `updated`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    Honours,
    /// Returns whatever the other conditions let through.
    Ignores,
    /// By the day only.
    Coarse,
    /// Finds nothing by a property that it does not know.
    Unknown,
    /// Answers with this status.
    Refuses(u16),
}

/// A catalogue of some items that filters by both extensions and gives pages of two.
#[derive(Debug, Clone)]
struct Catalogue {
    items: Vec<Value>,
    manner: Manner,
    conforms: &'static [&'static str],
    tile_property: &'static str,
}

impl Catalogue {
    fn new(manner: Manner, items: &[Value]) -> Self {
        Self { items: items.to_vec(), manner, conforms: &[CQL2, CQL2_JSON], tile_property: "grid:code" }
    }

    fn start(self) -> Server {
        Server::start(
            move |asked| if asked.path == "/v1" { landing(self.conforms, &["POST"]) } else { self.answer(asked) },
        )
    }

    fn answer(&self, asked: &Asked) -> Answer {
        let conditions = conditions(&asked.body);
        if let Manner::Refuses(status) = self.manner
            && conditions.iter().any(|(property, ..)| property == "updated")
        {
            return Answer::status(status, "{\"detail\": \"Term updated is not found in queryables.\"}");
        }
        let interval: Option<Interval> = asked.body["datetime"].as_str().map(|text| text.parse().unwrap());
        let found: Vec<_> = self
            .items
            .iter()
            .filter(|item| {
                let time = item["properties"]["datetime"].as_str().unwrap().parse().unwrap();
                interval.is_none_or(|interval| interval.contains(time))
                    && conditions.iter().all(|c| self.holds(item, c))
            })
            .cloned()
            .collect();
        let limit = asked.body["limit"].as_u64().unwrap().min(2) as usize;
        let first = asked.body["token"].as_u64().unwrap_or(0) as usize;
        let next = (first + limit < found.len()).then(|| {
            json!({"rel": "next", "method": "POST", "href": "/v1/search", "merge": true, "body": {"token": first + limit}})
        });
        page(&found[first..found.len().min(first + limit)], next)
    }

    fn holds(&self, item: &Value, (property, operator, value): &(String, String, Value)) -> bool {
        let own = &item["properties"][property];
        match (property.as_str(), operator.as_str()) {
            ("updated", ">=" | "gte") => match (self.manner, own.as_str(), value.as_str().unwrap()) {
                (Manner::Ignores, ..) => true,
                (Manner::Coarse, Some(own), since) => own[..10] >= since[..10],
                // As text, like pgstac.
                (Manner::Honours, Some(own), since) => own >= since,
                _ => false,
            },
            ("grid:code" | "s2:mgrs_tile", "=" | "eq") => {
                property == self.tile_property
                    && value.as_str().unwrap().ends_with(&item["id"].as_str().unwrap()[39..44])
            }
            other => panic!("asked for {other:?}"),
        }
    }
}

/// The conditions of a search by either extension.
fn conditions(body: &Value) -> Vec<(String, String, Value)> {
    fn collect(filter: &Value, into: &mut Vec<(String, String, Value)>) {
        let (op, args) = (filter["op"].as_str().unwrap(), filter["args"].as_array().unwrap());
        if op == "and" {
            args.iter().for_each(|filter| collect(filter, into));
        } else {
            into.push((args[0]["property"].as_str().unwrap().to_owned(), op.to_owned(), args[1].clone()));
        }
    }
    let mut all = Vec::new();
    if let Some(filter) = body.get("filter") {
        collect(filter, &mut all);
    }
    for (property, test) in body.get("query").and_then(Value::as_object).into_iter().flatten() {
        let tests = test.as_object().unwrap();
        all.extend(tests.iter().map(|(op, value)| (property.clone(), op.clone(), value.clone())));
    }
    all
}

/// An item of a day in October 2022 that last changed on a day of January 2026.
fn item(day: u8, changed: u8) -> Value {
    let id = format!("S2A_MSIL2A_202210{day:02}T115411_N0400_R023_T29UNU_202210{day:02}T164454");
    json!({"type": "Feature", "id": id, "collection": "sentinel-2-l2a", "assets": {}, "properties": {
        "datetime": format!("2022-10-{day:02}T11:54:11Z"), "eo:cloud_cover": 10.0 * f64::from(day),
        "updated": format!("2026-01-{changed:02}T12:00:00.794294Z"), "created": "2022-12-01T00:00:00Z"}})
}

fn items() -> Vec<Value> {
    (1..=5).map(|day| item(day, day)).collect()
}

fn since(text: &str) -> StacQuery {
    StacQuery { updated_since: Some(text.parse().unwrap()), ..query() }
}

async fn load(server: &Server, query: &StacQuery) -> StacLoad {
    load_stac(&server.url("/v1"), query, &fast()).await.unwrap()
}

/// What each search asked for: `u` where the last change is among it, `t` where the tile is, `.` for a mere look
/// whether there is anything.
fn kinds(server: &Server) -> Vec<String> {
    let kind = |asked: &&Asked| {
        let has = |name| conditions(&asked.body).iter().any(|(property, ..)| property == name);
        let tile = has("grid:code") || has("s2:mgrs_tile");
        let marks = [(tile, "t"), (has("updated"), "u"), (asked.body["limit"] == 1, ".")];
        marks.into_iter().filter_map(|(is, mark)| is.then_some(mark)).collect()
    };
    searches(&server.asked()).iter().map(kind).collect()
}

fn is_full(load: &StacLoad) -> bool {
    let noted = load.notes.iter().any(|note| matches!(note, LoadNote::NoChangeFilter { .. }));
    assert_eq!(noted, !load.incremental, "{:?}", load.notes);
    noted
}

#[tokio::test]
async fn a_catalogue_that_knows_gives_what_changed_in_pages() {
    for conforms in [&[CQL2, CQL2_JSON][..], &[QUERY]] {
        let server = Catalogue { conforms, ..Catalogue::new(Manner::Honours, &items()) }.start();
        // The fraction of a second is not sent: the item of that instant is found in spite of comparison as text.
        let load = load(&server, &since("2026-01-03T12:00:00.794294Z")).await;
        assert_eq!((days(&load), load.seen, is_full(&load)), (vec!["03".into(), "04".into(), "05".into()], 3, false));
        assert_eq!(load.latest_change.unwrap().to_rfc3339(), "2026-01-05T12:00:00.794294+00:00");
        // Two pages, both with the filter, and nothing else.
        assert_eq!(kinds(&server), ["tu", "tu"]);
        assert_eq!(load.notes, []);
    }
}

#[tokio::test]
async fn a_filter_that_is_ignored_makes_a_full_load() {
    let server = Catalogue::new(Manner::Ignores, &items()).start();
    let load = load(&server, &since("2026-01-03T12:00:00Z")).await;
    assert_eq!((load.items.len(), load.seen, load.duplicates, is_full(&load)), (5, 5, 0, true));
    // The answer as it came is used; one look into a far future shows that it was all there is.
    assert_eq!(kinds(&server), ["tu", "tu", "tu", "tu."]);
    let note = load.notes[0].to_string();
    assert!(
        note.ends_with(
            "/v1/search cannot be searched for what changed since 2026-01-03T12:00:00Z: it was searched in full"
        ),
        "{note}"
    );
}

#[tokio::test]
async fn a_coarse_filter_is_no_ignored_one() {
    let server = Catalogue::new(Manner::Coarse, &items()).start();
    let load = load(&server, &since("2026-01-03T18:00:00Z")).await;
    assert_eq!((days(&load), is_full(&load)), (vec!["03".into(), "04".into(), "05".into()], false));
}

#[tokio::test]
async fn nothing_is_not_believed_of_an_unknown_property() {
    for conforms in [&[CQL2, CQL2_JSON][..], &[QUERY]] {
        let server = Catalogue { conforms, ..Catalogue::new(Manner::Unknown, &items()) }.start();
        let load = load(&server, &since("2026-01-03T12:00:00Z")).await;
        assert_eq!((load.items.len(), load.seen, load.duplicates, is_full(&load)), (5, 5, 0, true));
        assert_eq!(kinds(&server), ["tu", "tu.", "t", "t", "t"]);
    }
}

#[tokio::test]
async fn a_refused_filter_is_left_out() {
    for status in [400, 422, 500] {
        let server = Catalogue::new(Manner::Refuses(status), &items()).start();
        let query = StacQuery { max_cloud_cover: Some(25.0), ..since("2026-01-03T12:00:00Z") };
        let load = load(&server, &query).await;
        assert_eq!((days(&load), load.seen, is_full(&load)), (vec!["01".into(), "02".into()], 5, true), "{status}");
    }
    // What has nothing to do with the filter is not hidden.
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1" => landing(&[CQL2, CQL2_JSON], &["POST"]),
        _ => Answer::status(403, ""),
    });
    let error = load_stac(&server.url("/v1"), &since("2026-01-03T12:00:00Z"), &fast()).await.unwrap_err();
    assert!(error.to_string().contains("answered 403"), "{error}");
    assert_eq!(searches(&server.asked()).len(), 1);
}

#[tokio::test]
async fn a_refusal_after_the_first_page_loses_and_doubles_nothing() {
    let server = Server::start(|asked| {
        let next = json!({"rel": "next", "method": "POST", "href": "/v1/search", "merge": true, "body": {"token": 2}});
        match (asked.path.as_str(), asked.body["filter"].to_string().contains("updated"), asked.body.get("token")) {
            ("/v1", ..) => landing(&[CQL2, CQL2_JSON], &["POST"]),
            (_, true, None) => page(&items()[3..], Some(next)),
            (_, true, Some(_)) => Answer::status(400, "{}"),
            (_, false, _) => page(&items(), None),
        }
    });
    let load = load(&server, &since("2026-01-03T12:00:00Z")).await;
    assert_eq!((load.items.len(), load.seen, load.duplicates, is_full(&load)), (5, 5, 0, true));
}

/// The items that changed no longer pass the other conditions: nothing is the right answer, and a look shows it.
#[tokio::test]
async fn nothing_is_believed_where_the_filter_finds_something_elsewhere() {
    let server = Catalogue::new(Manner::Honours, &items()).start();
    let query = StacQuery { datetime: Some("2022-10-01/2022-10-02".parse().unwrap()), ..since("2026-01-03T12:00:00Z") };
    let early = load(&server, &query).await;
    assert_eq!((early.seen, early.latest_change, is_full(&early), early.notes.len()), (0, None, false, 0));
    // What became too cloudy is seen, and named.
    let query = StacQuery { max_cloud_cover: Some(20.0), ..since("2026-01-03T12:00:00Z") };
    let cloudy = load(&server, &query).await;
    assert_eq!((cloudy.items.len(), cloudy.rejected.len(), is_full(&cloudy)), (0, 3, false));
    assert_eq!(kinds(&server), ["tu", "tu.", "tu", "tu"]);
}

#[tokio::test]
async fn nothing_is_not_believed_where_the_known_item_is_gone() {
    let server = Catalogue::new(Manner::Honours, &items()).start();
    let load = load(&server, &since("2026-01-06T00:00:00Z")).await;
    assert_eq!((load.items.len(), is_full(&load)), (5, true));
}

#[tokio::test]
async fn the_tile_property_is_still_found_out() {
    let server = Catalogue { tile_property: "s2:mgrs_tile", ..Catalogue::new(Manner::Honours, &items()) }.start();
    let load = load(&server, &since("2026-01-04T12:00:00Z")).await;
    assert_eq!((days(&load), is_full(&load)), (vec!["04".into(), "05".into()], false));
    assert_eq!(kinds(&server), ["tu", "tu.", "t", "t.", "tu"]);
}

/// Items of other tiles or of the other level are no sign that the last change is known.
#[tokio::test]
async fn items_of_other_tiles_and_levels_prove_nothing() {
    for (from, to) in [("T29UNU", "T29UPU"), ("MSIL2A", "MSIL1C")] {
        let server = Server::start(move |asked| {
            let other = serde_json::from_str(&item(5, 5).to_string().replace(from, to)).unwrap();
            match (asked.path.as_str(), asked.body["filter"].to_string().contains("updated")) {
                ("/v1", _) => landing(&[CQL2, CQL2_JSON], &["POST"]),
                (_, true) if asked.body["limit"] == 1 => page(&[], None),
                (_, true) => page(&[other], None),
                (_, false) => page(&[item(1, 1), other], None),
            }
        });
        let load = load(&server, &since("2026-01-03T12:00:00Z")).await;
        assert_eq!((days(&load), load.seen, is_full(&load)), (vec!["01".to_owned()], 2, true));
        assert_eq!(load.latest_change.unwrap().to_rfc3339(), "2026-01-01T12:00:00.794294+00:00");
    }
}

#[tokio::test]
async fn without_filters_the_search_is_full() {
    let server = Catalogue { conforms: &[], ..Catalogue::new(Manner::Honours, &items()) }.start();
    let load = load(&server, &since("2026-01-03T12:00:00Z")).await;
    assert_eq!((load.items.len(), is_full(&load), kinds(&server)), (5, true, vec![String::new(); 3]));
    assert!(load.notes.iter().any(|note| matches!(note, LoadNote::NoTileFilter { .. })));
}

#[tokio::test]
async fn by_get_the_time_is_a_string_too() {
    for (conforms, name, expected) in [
        (&[CQL2, CQL2_JSON][..], "filter", "grid:code = 'MGRS-29UNU' AND updated >= '2026-01-03T12:00:00.000000Z'"),
        (&[QUERY], "query", r#"{"grid:code":{"eq":"MGRS-29UNU"},"updated":{"gte":"2026-01-03T12:00:00.000000Z"}}"#),
    ] {
        let server = Server::start(move |asked| match asked.path.as_str() {
            "/v1" => landing(conforms, &["GET"]),
            _ => page(&[item(3, 3)], None),
        });
        assert!(load(&server, &since("2026-01-03T12:00:00Z")).await.incremental);
        let asked = server.asked();
        let url = url::Url::parse(&format!("http://h{}", searches(&asked)[0].path)).unwrap();
        let sent = url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
        assert_eq!(sent.trim_matches(['(', ')']), expected);
    }
}

/// The time of the last change is that of the items that were seen, whether the query admits them or not.
#[tokio::test]
async fn the_latest_change_is_of_all_items_of_the_tile() {
    let query = StacQuery { datetime: Some("2022-10-02/..".parse().unwrap()), max_cloud_cover: Some(25.0), ..query() };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("items.json");
    let mut all = items();
    let foreign = item(1, 30).to_string().replace("T29UNU", "T29UPU");
    all.push(serde_json::from_str(&foreign).unwrap());
    let write = |items: &[Value]| std::fs::write(&path, json!(items).to_string()).unwrap();
    let latest = |query: &StacQuery| {
        let load = load_path(&path, query, &fast()).unwrap();
        assert!(!load.incremental && load.notes.is_empty());
        (load.items.len(), load.latest_change.map(|time| time.to_rfc3339()))
    };
    write(&all);
    assert_eq!(latest(&query), (1, Some("2026-01-05T12:00:00.794294+00:00".to_owned())));
    // Files are read in full, whatever was asked.
    let asked = StacQuery { updated_since: Some("2026-01-05T12:00:00Z".parse().unwrap()), ..query.clone() };
    assert_eq!(latest(&asked), latest(&query));
    // Without `updated` the item's making counts; without any time there is none.
    for (name, expected) in [("updated", Some("2022-12-01T00:00:00+00:00".to_owned())), ("created", None)] {
        all.iter_mut().for_each(|item| drop(item["properties"].as_object_mut().unwrap().remove(name)));
        write(&all);
        assert_eq!(latest(&query), (1, expected));
    }
    // A query without the field is read as before.
    let text = serde_json::to_string(&query).unwrap().replace(",\"updated_since\":null", "");
    assert!(!text.contains("updated_since"));
    assert_eq!(serde_json::from_str::<StacQuery>(&text).unwrap(), query);
}

/// An item without `updated` fails the filter although it is new: only a full search finds it.
#[tokio::test]
async fn items_without_updated_are_left_to_the_full_search() {
    let mut all = items();
    all[4]["properties"].as_object_mut().unwrap().remove("updated");
    let server = Catalogue::new(Manner::Honours, &all).start();
    let load = load(&server, &since("2026-01-03T12:00:00Z")).await;
    assert_eq!((days(&load), is_full(&load)), (vec!["03".into(), "04".into()], false));
}

fn of_tile(tile: &str, changed: u8) -> Value {
    let mut item = item(changed, changed);
    let id = item["id"].as_str().unwrap().replace("29UNU", tile);
    item["id"] = id.clone().into();
    item["assets"] = json!({"a": {"href": format!("/{id}.SAFE/GRANULE/x_B02_10m.jp2")}});
    item
}

async fn changes(server: &Server, since: &str) -> Option<Changes> {
    let wanted = Wanted { catalogue: server.url("/v1"), collection: None, level: "L2A".parse().unwrap() };
    let (since, now) = (since.parse().unwrap(), "2026-01-04T18:00:00Z".parse().unwrap());
    Changes::search((&server.url("/v1"), wanted), since, now, &fast(), None).await.unwrap()
}

#[tokio::test]
async fn all_tiles_are_told_of_at_once() {
    let items: Vec<Value> = (1..=5).flat_map(|day| ["29UNU", "33TVN"].map(|tile| of_tile(tile, day))).collect();
    for conforms in [&[CQL2, CQL2_JSON][..], &[QUERY]] {
        let server = Catalogue { conforms, ..Catalogue::new(Manner::Honours, &items) }.start();
        let since_third = since("2026-01-03T12:00:00.794294Z");
        let changes = changes(&server, "2026-01-03T12:00:00.794294Z").await.unwrap();
        assert_eq!(changes.counts(), (6, 2));
        // Two looks whether the filter works, and the pages.
        assert_eq!(kinds(&server), ["u.", "u.", "u", "u", "u"]);
        let heard = changes.heard(since_third.tile).unwrap();
        let alone = load(&server, &since_third).await;
        let told = heard.load(&since_third);
        // What changes while the pages are read is asked for again.
        assert_eq!(told.latest_change.unwrap().to_rfc3339(), "2026-01-05T12:00:00.794294+00:00");
        assert_eq!(heard.until.unwrap().to_rfc3339(), "2026-01-04T18:00:00+00:00");
        assert_eq!(StacLoad { latest_change: None, ..told }, StacLoad { latest_change: None, ..alone });
    }
}

#[tokio::test]
async fn who_is_not_to_be_believed_is_asked_for_each_tile() {
    for manner in [Manner::Ignores, Manner::Unknown, Manner::Refuses(400), Manner::Refuses(500)] {
        let server = Catalogue::new(manner, &[of_tile("29UNU", 3), of_tile("33TVN", 4)]).start();
        assert!(changes(&server, "2026-01-03T12:00:00Z").await.is_none(), "{manner:?}");
    }
    // Nothing changed, which is no doubt.
    let server = Catalogue::new(Manner::Honours, &[of_tile("29UNU", 3)]).start();
    let none = changes(&server, "2026-01-20T12:00:00Z").await.unwrap();
    let heard = none.heard(query().tile).unwrap();
    assert_eq!((none.counts(), heard.until), ((0, 0), None));
    let server = Catalogue { conforms: &[], ..Catalogue::new(Manner::Honours, &[of_tile("29UNU", 3)]) }.start();
    assert!(changes(&server, "2026-01-03T12:00:00Z").await.is_none());
}
