//! Search of STAC APIs, against servers of our own on the loopback interface.
#![cfg(feature = "io")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../../../tests/support/real_data.rs"]
mod real_data;
mod stac_support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use s2ice_manifest::source::secret::Secret;
use s2ice_manifest::source::stac_file::{StacLoadError, StacOptions, load_stac};
use s2ice_manifest::stac::{LoadNote, StacQuery};
use serde_json::{Value, json};
use stac_support::{Answer, CQL2, CQL2_JSON, QUERY, Server, days, fast, landing, page, query, searches};

fn item(day: u8, tile: &str, cloud: f64) -> Value {
    let id = format!("S2A_MSIL2A_202210{day:02}T115411_N0400_R023_T{tile}_202210{day:02}T164454");
    json!({"type": "Feature", "id": id, "collection": "sentinel-2-l2a", "assets": {}, "properties": {
        "datetime": format!("2022-10-{day:02}T11:54:11Z"), "eo:cloud_cover": cloud, "grid:code": format!("MGRS-{tile}")}})
}

#[tokio::test]
async fn pages_are_followed_by_post_with_and_without_merge() {
    for merge in [true, false] {
        let server = Server::start(move |asked| {
            let token = asked.body["token"].as_str();
            let next = |token: &str| {
                let body =
                    if merge { json!({"token": token}) } else { json!({"token": token, "kept": asked.body["kept"]}) };
                Some(json!({"rel": "next", "method": "POST", "href": "/v1/search", "merge": merge, "body": body}))
            };
            match (asked.path.as_str(), token) {
                ("/v1", _) => landing(&[], &["GET", "POST"]),
                (_, None) => page(&[item(1, "29UNU", 1.0)], next("b")),
                (_, Some("b")) => page(&[item(2, "29UNU", 1.0)], next("c")),
                _ => page(&[item(3, "29UNU", 1.0)], None),
            }
        });
        let load = load_stac(&server.url("/v1"), &query(), &fast()).await.unwrap();
        assert_eq!(days(&load), ["01", "02", "03"]);
        let asked = server.asked();
        let searches = searches(&asked);
        assert_eq!(searches.len(), 3);
        assert!(searches.iter().all(|asked| asked.method == "POST"));
        // Merged: the whole search again; else the link's body alone.
        assert_eq!(searches[2].body.get("bbox").is_some(), merge);
        assert_eq!(searches[2].body["token"], "c");
    }
}

#[tokio::test]
async fn pages_are_followed_by_get() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1" => landing(&[CQL2, CQL2_JSON], &["GET"]),
        path if path.contains("token=2") => page(&[item(2, "29UNU", 1.0)], None),
        _ => page(&[item(1, "29UNU", 1.0)], Some(json!({"rel": "next", "href": "/v1/search?token=2"}))),
    });
    let query = StacQuery { datetime: Some("2022-10-01/..".parse().unwrap()), ..query() };
    let load = load_stac(&server.url("/v1"), &query, &fast()).await.unwrap();
    assert_eq!(days(&load), ["01", "02"]);
    let asked = server.asked();
    let first = url::Url::parse(&format!("http://h{}", searches(&asked)[0].path)).unwrap();
    let get = |name: &str| first.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    assert_eq!(get("collections").as_deref(), Some("sentinel-2-l2a"));
    assert_eq!(get("datetime").as_deref(), Some("2022-09-30T23:00:00.000Z/.."));
    assert_eq!(get("bbox"), None);
    assert_eq!(get("filter-lang").as_deref(), Some("cql2-text"));
    assert_eq!(get("filter").as_deref(), Some("grid:code = 'MGRS-29UNU'"));

    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1" => landing(&[QUERY], &["GET"]),
        _ => page(&[item(1, "29UNU", 1.0)], None),
    });
    load_stac(&server.url("/v1"), &query, &fast()).await.unwrap();
    let asked = server.asked();
    let first = url::Url::parse(&format!("http://h{}", searches(&asked)[0].path)).unwrap();
    let sent = first.query_pairs().find(|(key, _)| key == "query").unwrap().1.into_owned();
    assert_eq!(sent, r#"{"grid:code":{"eq":"MGRS-29UNU"}}"#);
}

#[tokio::test]
async fn the_query_extension_serves_where_cql2_is_missing() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1" => landing(&[QUERY], &["POST"]),
        _ => page(&[item(1, "01VCG", 1.0)], None),
    });
    let query = StacQuery { tile: "01VCG".parse().unwrap(), max_cloud_cover: Some(5.0), ..query() };
    let load = load_stac(&server.url("/v1"), &query, &fast()).await.unwrap();
    let asked = server.asked();
    let searches = searches(&asked);
    let expected = json!({"grid:code": {"in": ["MGRS-01VCG", "MGRS-1VCG"]}});
    assert_eq!((&searches[0].body["query"], searches[0].body.get("bbox")), (&expected, None));
    assert_eq!((searches.len(), load.seen, load.items.len()), (1, 1, 1));
}

/// A catalogue that knows `s2:mgrs_tile` only, and finds nothing by `grid:code`: Planetary Computer.
#[tokio::test]
async fn an_empty_answer_is_believed_only_of_a_property_that_works() {
    let server = Server::start(|asked| {
        let filter = asked.body["filter"].to_string();
        match asked.path.as_str() {
            "/v1" => landing(&[CQL2, CQL2_JSON], &["POST"]),
            _ if filter.contains("s2:mgrs_tile") => page(&[item(1, "29UNU", 1.0)], None),
            _ => page(&[], None),
        }
    });
    let load = load_stac(&server.url("/v1"), &query(), &fast()).await.unwrap();
    assert_eq!((days(&load), load.notes.len()), (vec!["01".to_owned()], 0));
    assert_eq!(searches(&server.asked()).len(), 3);

    // The property works, but the interval is empty: no search by box alone.
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1" => landing(&[CQL2, CQL2_JSON], &["POST"]),
        _ if asked.body.get("datetime").is_none() => page(&[item(1, "29UNU", 1.0)], None),
        _ => page(&[], None),
    });
    let query = StacQuery { datetime: Some("2000-01-01/2000-01-02".parse().unwrap()), ..query() };
    let load = load_stac(&server.url("/v1"), &query, &fast()).await.unwrap();
    assert_eq!((load.seen, searches(&server.asked()).len(), load.notes.len()), (0, 2, 0));
    assert!(load.completeness.is_complete());
}

#[tokio::test]
async fn a_server_that_refuses_the_filter_is_asked_by_box() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1" => landing(&[CQL2, CQL2_JSON], &["POST"]),
        _ if asked.body.get("filter").is_some() => Answer::status(400, "{\"detail\": \"unknown property\"}"),
        _ => page(&[item(1, "29UNU", 1.0), item(1, "29UPU", 1.0)], None),
    });
    let load = load_stac(&server.url("/v1"), &query(), &fast()).await.unwrap();
    assert_eq!(days(&load), ["01"]);
    assert!(matches!(&load.notes[..], [LoadNote::NoTileFilter { .. }]));
}

#[tokio::test]
async fn throttling_and_faults_are_waited_out() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |asked| match (asked.path.as_str(), count.fetch_add(1, Ordering::SeqCst)) {
        (_, 0) => Answer::status(503, "busy"),
        ("/v1", _) => landing(&[], &["POST"]),
        (_, 2) => Answer::status(429, "slow down").header("retry-after", "1"),
        (_, 3) => Answer::cut(),
        (_, 4) => Answer::status(504, ""),
        _ => page(&[item(1, "29UNU", 1.0)], None),
    });
    let start = Instant::now();
    let load = load_stac(&server.url("/v1"), &query(), &fast()).await.unwrap();
    assert_eq!(days(&load), ["01"]);
    assert_eq!(server.asked().len(), 6);
    assert!(start.elapsed() >= Duration::from_secs(1), "Retry-After was not obeyed");
}

#[tokio::test]
async fn patience_has_an_end() {
    let server = Server::start(|_| Answer::status(429, "no").header("retry-after", "600"));
    let error = load_stac(&server.url("/v1"), &query(), &fast()).await.unwrap_err();
    assert!(matches!(error, StacLoadError::WaitTooLong { seconds: 600, .. }), "{error}");

    let server = Server::start(|_| Answer::status(500, "<html>\n  oh\u{7} no</html>"));
    let options = StacOptions { attempts: 3, ..fast() };
    let error = load_stac(&server.url("/v1?key=secret"), &query(), &options).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{} answered 500: <html> oh no</html>", server.url("/v1")));
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn who_is_silent_is_not_asked_for_long() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", silent.local_addr().unwrap());
    let options = StacOptions { timeout_seconds: 0.5, attempts: 6, ..fast() };
    let start = Instant::now();
    let error = load_stac(&url, &query(), &options).await.unwrap_err();
    assert!(matches!(error, StacLoadError::Unreachable { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_millis(2500), "two attempts: {:?}", start.elapsed());
}

#[tokio::test]
async fn requests_are_paced() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1" => landing(&[], &["POST"]),
        _ => match asked.body["token"].as_u64().unwrap_or(1) {
            n @ 1..=4 => {
                let next = json!({"rel": "next", "method": "POST", "href": "/v1/search", "body": {"token": n + 1}});
                page(&[item(u8::try_from(n).unwrap(), "29UNU", 1.0)], Some(next))
            }
            _ => page(&[], None),
        },
    });
    let start = Instant::now();
    let options = StacOptions { requests_per_second: 20.0, ..fast() };
    assert_eq!(load_stac(&server.url("/v1"), &query(), &options).await.unwrap().items.len(), 4);
    assert_eq!(server.asked().len(), 6);
    assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
}

#[tokio::test]
async fn links_and_redirects_to_other_hosts_are_refused() {
    let foreign = Server::start(|_| page(&[item(9, "29UNU", 1.0)], None));
    let next = foreign.url("/v1/search?token=stolen");
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/v1" => landing(&[], &["POST"]),
        _ => page(&[item(1, "29UNU", 1.0)], Some(json!({"rel": "next", "href": next}))),
    });
    let mut options = fast();
    options.headers.insert("authorization".to_owned(), Secret::new("Bearer secret"));
    let load = load_stac(&server.url("/v1"), &query(), &options).await.unwrap();
    let reasons = load.completeness.reasons().join("|");
    assert!(reasons.contains("on another host") && !reasons.contains("stolen"), "{reasons}");
    assert_eq!(days(&load), ["01"]);
    assert!(server.asked().iter().all(|asked| asked.headers.contains("authorization: Bearer secret")));

    let target = foreign.url("/v1");
    let server = Server::start(move |_| Answer::status(307, "").header("location", &target));
    let error = load_stac(&server.url("/v1"), &query(), &options).await.unwrap_err();
    assert!(matches!(error, StacLoadError::OtherHost { .. }), "{error}");

    let target = foreign.url("/v1/search");
    let landing = json!({"conformsTo": [], "links": [{"rel": "search", "href": target}]});
    let server = Server::start(move |_| Answer::json(&landing));
    let error = load_stac(&server.url("/v1"), &query(), &options).await.unwrap_err();
    assert!(matches!(error, StacLoadError::OtherHost { .. }), "{error}");
    assert_eq!(foreign.asked().len(), 0);
}

#[tokio::test]
async fn redirects_on_the_same_host_are_followed() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/v1" => Answer::status(301, "").header("location", "/v1/"),
        "/v1/" => Answer::json(&json!({"conformsTo": [], "links": []})),
        _ => page(&[item(1, "29UNU", 1.0)], None),
    });
    assert_eq!(load_stac(&server.url("/v1"), &query(), &fast()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn too_large_pages_are_refused() {
    let server = Server::start(|_| Answer::status(200, &" ".repeat(5000)));
    let options = StacOptions { max_bytes: 4999, ..fast() };
    let error = load_stac(&server.url("/v1"), &query(), &options).await.unwrap_err();
    assert!(matches!(error, StacLoadError::TooLarge { limit: 4999, .. }), "{error}");
}

#[tokio::test]
async fn what_answers_no_stac_is_named() {
    for (answer, says) in [
        (Answer::status(200, "<html></html>"), "is not JSON"),
        (Answer::status(200, "{\"type\": \"Catalog\"}"), "a STAC Catalog without a search"),
        (Answer::status(401, ""), "--stac-header"),
        (Answer::status(404, ""), "is this the root of a STAC API?"),
    ] {
        let server = Server::start(move |_| answer.clone());
        let error = load_stac(&server.url("/v1"), &query(), &fast()).await.unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains('\n'), "{error}");
    }
    let gone = Server::start(|_| page(&[], None)).url("/v1");
    let error = load_stac(&gone, &query(), &fast()).await.unwrap_err();
    assert!(matches!(error, StacLoadError::Unreachable { .. }), "{error}");
    assert!(load_stac("https://", &query(), &fast()).await.is_err());
}

#[tokio::test]
async fn other_addresses_than_the_root_are_understood() {
    let server = Server::start(|asked| match (asked.method.as_str(), asked.path.as_str()) {
        (_, "/v1" | "/v1/") => landing(&[], &["POST"]),
        ("GET", "/v1/collections/c") => Answer::json(&json!({"type": "Collection", "id": "c", "links": [
            {"rel": "items", "href": "/v1/collections/c/items"}, {"rel": "root", "href": "/v1/"}]})),
        ("POST", "/v1/search" | "/bare/search") => page(&[item(1, "29UNU", 1.0)], None),
        ("GET", "/saved?page=2") => page(&[item(2, "29UNU", 1.0)], None),
        ("GET", "/saved") => page(&[item(1, "29UNU", 1.0)], Some(json!({"rel": "next", "href": "/saved?page=2"}))),
        ("GET", "/item") => Answer::json(&item(3, "29UNU", 1.0)),
        ("GET", "/items.ndjson") => {
            Answer::status(200, &format!("{}\n{}", item(4, "29UNU", 1.0), item(5, "29UNU", 1.0)))
        }
        _ => Answer::status(404, ""),
    });
    for (path, expected) in [
        ("/v1/search", vec!["01"]),
        ("/bare/search", vec!["01"]),
        ("/v1/collections/c", vec!["01"]),
        ("/saved", vec!["01", "02"]),
        ("/item", vec!["03"]),
        ("/items.ndjson", vec!["04", "05"]),
    ] {
        let load = load_stac(&server.url(path), &query(), &fast()).await.unwrap();
        assert_eq!(days(&load), expected, "{path}");
    }
    // A collection's address is a search in that collection.
    let asked = server.asked();
    assert!(searches(&asked).into_iter().any(|asked| asked.body["collections"] == json!(["c"])));
}

#[tokio::test]
async fn a_file_in_a_bucket_is_read() {
    let lines = format!("{}\n{}\n", item(1, "29UNU", 1.0), item(2, "29UNU", 1.0));
    let server = Server::start(move |asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/bucket/stac/items.ndjson") => Answer::status(206, &lines)
            .header("content-range", &format!("bytes 0-{}/{}", lines.len() - 1, lines.len()))
            .header("etag", "\"e\"")
            .header("last-modified", "Fri, 31 Dec 1999 23:59:59 GMT"),
        _ => Answer::status(404, ""),
    });
    let mut options = fast();
    options.storage.endpoint = Some(server.url(""));
    options.storage.anonymous = true;
    let load = load_stac("s3://bucket/stac/items.ndjson", &query(), &options).await.unwrap();
    assert_eq!(days(&load), ["01", "02"]);
    assert!(load_stac("s3://bucket/stac/none.json", &query(), &options).await.is_err());
}

/// The recorded landing page and search of CDSE, played back.
#[tokio::test]
async fn recorded_cdse_search() {
    let Some(folder) = real_data::real_data("stac/cdse/search_sentinel2_l2a") else { return };
    let read = move |number: &str| {
        let name = format!("test_search_data_cdse_sentinel_2__{number}.response.json");
        std::fs::read_to_string(folder.join(name)).unwrap()
    };
    // The recording names its host in every link; here it is ours.
    let server = Server::start_at(move |asked, host| {
        let number = if asked.path == "/v1" { "00" } else { "02" };
        Answer::status(200, &read(number).replace("https://stac.dataspace.copernicus.eu", host))
    });
    let query = StacQuery { tile: "32TNT".parse().unwrap(), max_cloud_cover: Some(50.0), ..query() };
    let load = load_stac(&server.url("/v1"), &query, &fast()).await.unwrap();
    let names: Vec<_> = load.items.iter().map(|item| item.product.to_string()).collect();
    assert_eq!(names, ["S2B_MSIL2A_20200705T101559_N0500_R065_T32TNT_20230530T175912"]);
    assert_eq!((load.seen, load.rejected.len(), load.outside_tile.values().sum::<usize>()), (4, 1, 2));
    assert!(load.completeness.is_complete(), "{:?}", load.completeness);
    let asked = server.asked();
    let (by_tile, by_area) = (&searches(&asked)[0].body, &searches(&asked)[2].body);
    assert_eq!((&by_tile["filter-lang"], by_tile.get("bbox")), (&"cql2-json".into(), None));
    // The recorded answer is one to a box and has other tiles: as an answer to a filter it is not believed.
    assert_eq!((by_area.get("filter"), by_area["bbox"].as_array().unwrap().len()), (None, 4));
}
