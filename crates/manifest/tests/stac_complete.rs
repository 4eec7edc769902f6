//! What an answer says of its own completeness, and how a catalogue is asked: by tile or by area, for which time, and
//! without hiding what an item does not state.
#![cfg(feature = "io")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod stac_support;

use std::fs;

use s2ice_manifest::source::stac_file::{StacOptions, load_path, load_stac};
use s2ice_manifest::stac::{KnownTime, LoadNote, StacQuery, TimeVerdict};
use serde_json::{Value, json};
use stac_support::{Answer, Asked, CQL2, CQL2_JSON, QUERY, Server, days, fast, landing, page, query, searches};

fn item(day: u8) -> Value {
    of_tile(day, "29UNU")
}

fn of_tile(day: u8, tile: &str) -> Value {
    let id = format!("S2A_MSIL2A_202210{day:02}T115411_N0400_R023_T{tile}_202210{day:02}T164454");
    json!({"type": "Feature", "id": id, "collection": "sentinel-2-l2a", "assets": {}, "properties": {
        "datetime": format!("2022-10-{day:02}T11:54:11Z"), "grid:code": format!("MGRS-{tile}")}})
}

/// A page of a search by GET: its items, the token of the next page, and what else it states.
fn got(items: &[Value], next: Option<&str>, stated: &Value) -> Answer {
    let next = next.map(|token| json!({"rel": "next", "href": format!("/v1/search?token={token}")}));
    let mut page =
        json!({"type": "FeatureCollection", "features": items, "links": next.into_iter().collect::<Vec<_>>()});
    page.as_object_mut().unwrap().extend(stated.as_object().unwrap().clone());
    Answer::json(&page)
}

fn token(asked: &Asked) -> &str {
    asked.path.split_once("token=").map_or("", |(_, token)| token)
}

type Pages = fn(&str) -> Answer;

#[tokio::test]
async fn an_answer_by_pages_knows_whether_it_is_complete() {
    let cases: [(&str, Pages, &[&str], &str); 20] = [
        (
            "two pages",
            |t| if t.is_empty() { got(&[item(1)], Some("b"), &json!({})) } else { got(&[item(2)], None, &json!({})) },
            &["01", "02"],
            "",
        ),
        ("nothing stated, no next link", |_| got(&[item(1)], None, &json!({})), &["01"], ""),
        ("all that match", |_| got(&[item(1)], None, &json!({"numberMatched": 1})), &["01"], ""),
        ("an estimate too small", |_| got(&[item(1), item(2)], None, &json!({"numberMatched": 1})), &["01", "02"], ""),
        ("no number", |_| got(&[item(1)], None, &json!({"numberMatched": null, "context": {}})), &["01"], ""),
        (
            "cut short",
            |_| got(&[item(1), item(2)], None, &json!({"numberMatched": 12})),
            &["01", "02"],
            "says that 12 items match and gives 2",
        ),
        (
            "cut short, in context",
            |_| got(&[item(1)], None, &json!({"context": {"matched": 12}})),
            &["01"],
            "says that 12 items match and gives 1",
        ),
        (
            "cut short, in meta",
            |_| got(&[item(1)], None, &json!({"meta": {"found": 12}})),
            &["01"],
            "says that 12 items match and gives 1",
        ),
        (
            "an item twice hides none",
            |t| {
                if t.is_empty() {
                    got(&[item(1), item(2)], Some("b"), &json!({"numberMatched": 4}))
                } else {
                    got(&[item(2), item(3)], None, &json!({"numberMatched": 4}))
                }
            },
            &["01", "02", "03"],
            "says that 4 items match and gives 3",
        ),
        ("next is itself", |_| got(&[item(1)], Some("a"), &json!({})), &["01"], "page 2 of"),
        (
            "next is the very same request",
            |t| {
                if t.is_empty() {
                    got(&[item(1)], Some("a"), &json!({}))
                } else {
                    got(&[item(2)], Some("a"), &json!({}))
                }
            },
            &["01", "02"],
            "lead back after 2 pages",
        ),
        (
            "a circle of two",
            |t| match t {
                "a" => got(&[item(2)], Some("b"), &json!({})),
                "b" => got(&[item(3)], Some("a"), &json!({})),
                _ => got(&[item(1)], Some("a"), &json!({})),
            },
            &["01", "02", "03"],
            "lead back after 3 pages",
        ),
        (
            "the last page repeats",
            |t| if t.is_empty() { got(&[item(1)], Some("b"), &json!({})) } else { got(&[item(1)], None, &json!({})) },
            &["01"],
            "page 2 of",
        ),
        (
            "empty pages in between",
            |t| match t {
                "" => got(&[item(1)], Some("2"), &json!({})),
                "2" | "3" => got(&[], Some(if t == "2" { "3" } else { "4" }), &json!({})),
                _ => got(&[item(2)], None, &json!({})),
            },
            &["01", "02"],
            "",
        ),
        (
            "an empty page first",
            |t| if t.is_empty() { got(&[], Some("b"), &json!({})) } else { got(&[item(1)], None, &json!({})) },
            &["01"],
            "",
        ),
        (
            "empty pages for ever",
            |t| got(&[item(1)][usize::from(!t.is_empty())..], Some(&format!("x{t}")), &json!({})),
            &["01"],
            "empty pages in a row and links to more",
        ),
        (
            "empty pages for ever after all that match",
            |t| got(&[item(1)][usize::from(!t.is_empty())..], Some(&format!("x{t}")), &json!({"numberMatched": 1})),
            &["01"],
            "",
        ),
        (
            "a page that fails",
            |t| if t.is_empty() { got(&[item(1)], Some("b"), &json!({})) } else { Answer::status(404, "gone") },
            &["01"],
            "page 2 of",
        ),
        (
            "a page that is none",
            |t| {
                if t.is_empty() {
                    got(&[item(1)], Some("b"), &json!({}))
                } else {
                    Answer::json(&json!({"type": "Catalog"}))
                }
            },
            &["01"],
            "page 2 of",
        ),
        (
            "an item that is not understood",
            |_| got(&[item(1), json!({"type": "Feature", "id": "x", "properties": {}})], None, &json!({})),
            &["01"],
            "was not understood",
        ),
    ];
    for (name, pages, expected, reason) in cases {
        let server = Server::start(move |asked| match asked.path.as_str() {
            "/v1" => landing(&[], &["GET"]),
            _ => pages(token(asked)),
        });
        let load = load_stac(&server.url("/v1"), &query(), &fast()).await.unwrap();
        assert_eq!(days(&load), expected, "{name}");
        let reasons = load.completeness.reasons();
        assert_eq!(reasons.len(), usize::from(!reason.is_empty()), "{name}: {reasons:?}");
        assert!(reasons.iter().all(|found| found.contains(reason) && !found.contains('\n')), "{name}: {reasons:?}");
    }
}

#[tokio::test]
async fn our_own_limits_leave_an_answer_incomplete() {
    for (options, reason) in [
        (StacOptions { max_items: 5, ..fast() }, "gives more than 5 items, the most that are read: narrow --datetime"),
        (StacOptions { max_pages: 5, ..fast() }, "gives more than 5 pages, the most that are read: narrow --datetime"),
    ] {
        let server = Server::start(|asked| match asked.path.as_str() {
            "/v1" => landing(&[], &["GET"]),
            _ => {
                let day: u8 = token(asked).parse().unwrap_or(1);
                got(&[item(day)], Some(&(day + 1).to_string()), &json!({"numberMatched": 99}))
            }
        });
        let load = load_stac(&server.url("/v1"), &query(), &options).await.unwrap();
        let reasons = load.completeness.reasons();
        assert_eq!((load.items.len(), reasons.len(), searches(&server.asked()).len()), (5, 1, 5));
        assert!(reasons[0].ends_with(reason), "{reasons:?}");
    }
    // The limit itself is no more than the limit.
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1" => landing(&[], &["GET"]),
        _ => got(&[item(1), item(2)], None, &json!({})),
    });
    let load =
        load_stac(&server.url("/v1"), &query(), &StacOptions { max_items: 2, max_pages: 1, ..fast() }).await.unwrap();
    assert!(load.completeness.is_complete());
}

#[tokio::test]
async fn a_saved_search_is_followed_over_http_and_judged_alike() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/saved" => page(&[item(1)], Some(json!({"rel": "next", "href": "/saved?page=2"}))),
        "/saved?page=2" => got(&[item(2)], None, &json!({})),
        _ => got(&[item(1)], None, &json!({"numberMatched": 5})),
    });
    let load = load_stac(&server.url("/saved"), &query(), &fast()).await.unwrap();
    assert_eq!((days(&load).len(), load.completeness.is_complete()), (2, true));
    let load = load_stac(&server.url("/short"), &query(), &fast()).await.unwrap();
    assert!(load.completeness.reasons()[0].ends_with("says that 5 items match and gives 1"));
}

/// What a server does with the filter by tile that it says it can.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Filter {
    GridCode,
    MgrsTile,
    /// Gives items of the whole world.
    Ignored,
    /// The same, in one page.
    IgnoredShort,
    /// Finds nothing by any property of that name.
    Unknown,
}

/// Items with polygons that no box finds, and one whose polygon is right but whose tile is another's.
fn answer(asked: &Asked, filter: Filter) -> Answer {
    let sent = asked.body.get("filter").or_else(|| asked.body.get("query")).map(Value::to_string);
    let Some(sent) = sent else { return got(&[item(1), of_tile(1, "29UPU")], None, &json!({})) };
    assert_eq!(asked.body.get("bbox"), None, "tile and area at once");
    let all = [item(1), item(2), item(3)];
    match filter {
        Filter::GridCode if sent.contains("grid:code") => got(&all, None, &json!({})),
        Filter::MgrsTile if sent.contains("s2:mgrs_tile") => got(&all, None, &json!({})),
        Filter::Ignored => got(&[of_tile(4, "33TVN"), item(1)], Some("world"), &json!({"numberMatched": 9_000_000})),
        Filter::IgnoredShort => got(&[of_tile(4, "33TVN"), item(1)], None, &json!({})),
        _ => got(&[], None, &json!({})),
    }
}

#[tokio::test]
async fn a_catalogue_is_asked_by_tile_where_it_can_and_else_by_area() {
    for conforms in [&[CQL2, CQL2_JSON][..], &[QUERY], &[]] {
        for filter in [Filter::GridCode, Filter::MgrsTile, Filter::Ignored, Filter::IgnoredShort, Filter::Unknown] {
            let server = Server::start(move |asked| match asked.path.as_str() {
                "/v1" => landing(conforms, &["POST"]),
                _ => answer(asked, filter),
            });
            let load = load_stac(&server.url("/v1"), &query(), &fast()).await.unwrap();
            let by_tile = !conforms.is_empty() && matches!(filter, Filter::GridCode | Filter::MgrsTile);
            let expected = if by_tile { &["01", "02", "03"][..] } else { &["01"] };
            assert_eq!(days(&load), expected, "{conforms:?} {filter:?}");
            assert_eq!((load.duplicates, load.completeness.is_complete()), (0, true), "{conforms:?} {filter:?}");
            let noted = load.notes.iter().any(|note| matches!(note, LoadNote::NoTileFilter { .. }));
            assert_eq!(noted, !by_tile, "{conforms:?} {filter:?}");
            let asked = server.asked();
            let areas = searches(&asked).into_iter().filter(|asked| asked.body.get("bbox").is_some()).count();
            assert_eq!(areas, usize::from(!by_tile), "{conforms:?} {filter:?}");
            assert!(searches(&asked).len() <= 5, "the world was not walked: {filter:?}");
        }
    }
}

/// A tile across 180 degrees has two boxes; an item in both is one.
#[tokio::test]
async fn a_box_search_across_the_antimeridian_is_two_and_one_answer() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1" => landing(&[], &["POST"]),
        _ => page(&[of_tile(1, "01VCG")], None),
    });
    let query = StacQuery { tile: "01VCG".parse().unwrap(), ..query() };
    let load = load_stac(&server.url("/v1"), &query, &fast()).await.unwrap();
    let asked = server.asked();
    let searches = searches(&asked);
    assert_eq!((searches.len(), load.seen, load.duplicates, load.items.len()), (2, 1, 0, 1));
    assert_eq!((&searches[0].body["bbox"][2], &searches[1].body["bbox"][0]), (&json!(180.0), &json!(-180.0)));
    assert!(load.completeness.is_complete());
}

/// Nothing at all may be the wrong collection as well as an empty one.
#[tokio::test]
async fn nothing_is_no_complete_answer_of_a_collection_that_is_not_seen() {
    for (collection, notes) in [(None, 2), (Some("c".to_owned()), 1)] {
        let server = Server::start(|asked| match asked.path.as_str() {
            "/v1" => landing(&[CQL2, CQL2_JSON], &["POST"]),
            _ => got(&[], None, &json!({})),
        });
        let query = StacQuery { collection, ..query() };
        let load = load_stac(&server.url("/v1"), &query, &fast()).await.unwrap();
        let reasons = load.completeness.reasons();
        assert!(reasons.len() == 1 && reasons[0].contains("nothing shows that it has a collection"), "{reasons:?}");
        assert_eq!(load.notes.len(), notes);
    }
}

/// By API as by file: what states no cloud cover is for the product's XML to say, and the server is not asked for any.
#[tokio::test]
async fn items_of_unknown_cloud_cover_are_not_hidden() {
    let cover = |day: u8, cover: Value| {
        let mut item = item(day);
        item["properties"]["eo:cloud_cover"] = cover;
        item
    };
    let items = vec![cover(1, json!(10.0)), cover(2, json!(90.0)), item(3), cover(4, Value::Null), cover(5, json!(-1))];
    let query = StacQuery { max_cloud_cover: Some(20.0), ..query() };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("items.json");
    fs::write(&path, json!(items).to_string()).unwrap();
    let by_file = load_path(&path, &query, &fast()).unwrap();
    for conforms in [&[CQL2, CQL2_JSON][..], &[QUERY], &[]] {
        let all = items.clone();
        let server = Server::start(move |asked| match asked.path.as_str() {
            "/v1" => landing(conforms, &["POST"]),
            _ if asked.body.to_string().contains("cloud_cover") => Answer::status(500, ""),
            _ => page(&all, None),
        });
        let load = load_stac(&server.url("/v1"), &query, &fast()).await.unwrap();
        assert_eq!(days(&load), ["01", "03", "04", "05"]);
        assert_eq!(load.items.iter().map(|item| item.cloud_cover).collect::<Vec<_>>(), [Some(10.0), None, None, None]);
        assert_eq!((&load.items, &load.rejected), (&by_file.items, &by_file.rejected));
    }
}

/// A datatake of 23:57 whose granule was sensed at 00:01: the day is that of the sensing, in every catalogue.
#[tokio::test]
async fn the_interval_is_of_the_sensing_time_whatever_the_catalogue_keeps() {
    let id = "S2A_MSIL2A_20221001T235711_N0400_R023_T29UNU_20221002T164454";
    for (datetime, sensing) in [("2022-10-01T23:57:11.024Z", false), ("2022-10-02T00:01:13.5Z", true)] {
        let server = Server::start(move |asked| match asked.path.as_str() {
            "/v1" => landing(&[CQL2, CQL2_JSON], &["POST"]),
            _ => {
                let interval: s2ice_manifest::stac::Interval =
                    asked.body["datetime"].as_str().unwrap().parse().unwrap();
                let item = json!({"type": "Feature", "id": id, "properties": {"datetime": datetime}});
                got(&[item][usize::from(!interval.contains(datetime.parse().unwrap()))..], None, &json!({}))
            }
        });
        for (day, expected) in
            [("2022-09-30", None), ("2022-10-01", Some(false)), ("2022-10-02", Some(true)), ("2022-10-03", None)]
        {
            let query = StacQuery { datetime: Some(day.parse().unwrap()), collection: Some("c".to_owned()), ..query() };
            let load = load_stac(&server.url("/v1"), &query, &fast()).await;
            let Ok(load) = load else { continue };
            let verdict = load.items.first().map(|item| query.judge_time(item.known_time()));
            let sensed = "2022-10-02T00:01:13.5Z".parse().unwrap();
            assert_eq!(query.admits_time(sensed).is_ok(), expected == Some(true), "{day}");
            match (sensing, expected) {
                (true, Some(true)) => assert_eq!(verdict, Some(TimeVerdict::Inside), "{day}"),
                (false, Some(_)) => assert_eq!(verdict, Some(TimeVerdict::AskXml), "{day}"),
                _ => assert_eq!(verdict, None, "{day} {datetime}"),
            }
            let known = KnownTime::of_name(id.parse().unwrap());
            assert_eq!(query.judge_time(known) == TimeVerdict::Outside, expected.is_none(), "{day}");
        }
    }
}

#[test]
fn a_folder_of_pages_is_one_answer_and_names_what_it_could_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let saved = |day: u8, own: &str, next: Option<&str>| {
        let next = next.map(|href| json!({"rel": "next", "href": href}));
        let links: Vec<_> = [json!({"rel": "self", "href": own})].into_iter().chain(next).collect();
        json!({"type": "FeatureCollection", "features": [item(day)], "numberMatched": 2, "links": links}).to_string()
    };
    let reasons = || {
        let load = load_path(folder.path(), &query(), &StacOptions { max_bytes: 5000, ..fast() }).unwrap();
        (days(&load).len(), load.completeness.reasons().join("|"))
    };
    write("b.json", &saved(1, "https://h/search?a", Some("https://h/search?b")));
    let (items, missing) = reasons();
    assert!(
        items == 1 && missing.contains("one page of a search result") && missing.contains("2 items match"),
        "{missing}"
    );
    write("a.json", &saved(2, "https://h/search?b", None));
    assert_eq!(reasons(), (2, String::new()));
    // A catalogue's own documents lack nothing.
    write("collection.json", &json!({"type": "Collection", "id": "c"}).to_string());
    assert_eq!(reasons(), (2, String::new()));
    for (name, text, says) in [
        ("half.json", "{\"type\": \"Fea".to_owned(), "not JSON"),
        ("large.json", " ".repeat(5001), "more than 5000 bytes"),
        ("odd.json", json!({"type": "Feature", "id": "x", "properties": {}}).to_string(), "no Sentinel-2 product name"),
        ("bare.json", json!({"type": "FeatureCollection"}).to_string(), "without features"),
    ] {
        write(name, &text);
        let (items, missing) = reasons();
        assert!(items == 2 && missing.contains(says) && missing.contains(name), "{name}: {missing}");
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nowhere.json", folder.path().join("gone.json")).unwrap();
        let (items, missing) = reasons();
        assert!(items == 2 && missing.contains("cannot read") && missing.contains("gone.json"), "{missing}");
    }
}

#[test]
fn lines_that_were_cut_are_incomplete() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("items.ndjson");
    let whole = format!("{}\n{}\n", item(1), item(2));
    for (length, items, complete) in [(whole.len(), 2, true), (whole.len() - 20, 1, false)] {
        fs::write(&path, &whole[..length]).unwrap();
        let load = load_path(&path, &query(), &fast()).unwrap();
        assert_eq!((load.items.len(), load.completeness.is_complete()), (items, complete));
    }
}
