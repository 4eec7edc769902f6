#![allow(clippy::unwrap_used)]
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NAME: &str = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454";

fn item(properties: Value, assets: Value) -> Value {
    let mut all = json!({"datetime": "2022-10-05T11:54:11.024Z"});
    all.as_object_mut().unwrap().extend(properties.as_object().unwrap().clone());
    json!({"type": "Feature", "id": "S2A_29UNU_20221005_0_L2A", "properties": all, "assets": assets})
}

fn named(properties: Value, assets: Value) -> Result<StacItem, StacError> {
    let mut value = item(properties, assets);
    value["id"] = NAME.into();
    StacItem::from_json(&value)
}

#[test]
fn the_name_is_found_where_the_provider_keeps_it() {
    for value in [
        json!({"type": "Feature", "id": NAME, "properties": {"datetime": "2022-10-05T11:54:11Z"}}),
        json!({"type": "Feature", "id": format!("{NAME}.SAFE"), "properties": {"datetime": "2022-10-05T11:54:11Z"}}),
        item(json!({"s2:product_uri": format!("{NAME}.SAFE")}), json!({})),
        item(json!({"sentinel2:product_title": NAME}), json!({})),
        item(
            json!({}),
            json!({"b": {"href": format!("s3://x/{NAME}.SAFE/GRANULE/a/B02.jp2?sig=1")}, "c": {"href": "c"}}),
        ),
        item(json!({}), json!({"zip": {"href": format!("https://x/{NAME}.SAFE.zip")}})),
    ] {
        assert_eq!(StacItem::from_json(&value).unwrap().product.to_string(), NAME);
    }
    let error = StacItem::from_json(&item(json!({}), json!({"b": {"href": "s3://x/B02.jp2"}}))).unwrap_err();
    assert_eq!(error, StacError::NoProductName { item: "S2A_29UNU_20221005_0_L2A".into() });
}

#[test]
fn two_names_are_refused() {
    let other = NAME.replace("N0400", "N0510");
    let error = named(json!({"s2:product_uri": format!("{other}.SAFE")}), json!({})).unwrap_err();
    assert_eq!(error.to_string(), format!("item {NAME:?} names two products: {other} in s2:product_uri, {NAME} in id"));
    let assets = json!({"a": {"href": format!("x/{NAME}.SAFE/a")}, "b": {"href": format!("x/{other}.SAFE/b")}});
    assert!(matches!(StacItem::from_json(&item(json!({}), assets)), Err(StacError::TwoProducts { .. })));
}

#[test]
fn a_tile_that_is_not_the_names_is_refused() {
    for properties in [
        json!({"grid:code": "MGRS-29UNV"}),
        json!({"s2:mgrs_tile": "29UNV"}),
        json!({"tileId": "29UNV"}),
        json!({"mgrs:utm_zone": 29, "mgrs:latitude_band": "U", "mgrs:grid_square": "NV"}),
    ] {
        let error = named(properties, json!({})).unwrap_err();
        assert!(error.to_string().ends_with("says tile 29UNV, its product name says 29UNU"), "{error}");
    }
    assert!(matches!(named(json!({"grid:code": "WRS2-001002"}), json!({})), Err(StacError::Field { .. })));
    assert!(named(json!({"grid:code": "MGRS-29UNU", "s2:tile": "T29UNU", "tileId": null}), json!({})).is_ok());
}

#[test]
fn a_projection_that_is_not_the_tiles_is_refused() {
    let good = json!([10, 0, 499980, 0, -10, 5900040]);
    assert!(named(json!({"proj:epsg": 32629, "proj:transform": good}), json!({})).unwrap().geocoding_checked);
    assert!(named(json!({"proj:epsg": "32629", "proj:code": "EPSG:32629"}), json!({})).unwrap().geocoding_checked);
    assert!(!named(json!({"proj:epsg": null}), json!({})).unwrap().geocoding_checked);

    let error = named(json!({"proj:epsg": 32630}), json!({})).unwrap_err();
    let text = "proj:epsg says EPSG:32630, but tile 29UNU lies at EPSG:32629 (499980, 5900040)";
    assert_eq!(error.to_string(), format!("item {NAME:?}: {text}"));
    for transform in [
        json!([10, 0, 499980, 0, -10, 5900030]),
        json!([10, 0, 499970, 0, -10, 5900040]),
        json!([10, 0, 499980, 0, 10, 5900040]),
        json!([10, 1, 499980, 0, -10, 5900040]),
    ] {
        let error = named(json!({}), json!({"B02": {"href": "a", "proj:transform": transform}})).unwrap_err();
        assert!(error.to_string().contains("B02.proj:transform says"), "{error}");
    }
    // The preview has pixels of 320 m and lies elsewhere: nothing to check.
    let preview = json!({"pvi": {"href": "a", "proj:code": "EPSG:4326", "proj:transform": [320, 0, 1, 0, -320, 2]}});
    assert!(!named(json!({}), preview).unwrap().geocoding_checked);
    assert!(matches!(named(json!({"proj:transform": [1, 2]}), json!({})), Err(StacError::Field { .. })));
    assert!(matches!(named(json!({"proj:transform": "a"}), json!({})), Err(StacError::Field { .. })));
}

#[test]
fn fields_of_the_wrong_type_are_named() {
    for (properties, text) in [
        (json!({"datetime": 5}), "datetime is not a text"),
        (json!({"updated": "soon"}), "updated is \"soon\", not an RFC 3339 time"),
        (json!({"eo:cloud_cover": "5"}), "eo:cloud_cover is not a number"),
        (json!({"s2:datastrip_id": 5}), "s2:datastrip_id is not a text"),
    ] {
        assert_eq!(named(properties, json!({})).unwrap_err().to_string(), format!("item {NAME:?}: {text}"));
    }
    let assets = json!({"B02": {"href": "x/T29UNU_B02.jp2", "file:size": -1}});
    assert!(named(json!({}), assets).unwrap_err().to_string().contains("B02.file:size"));
    for value in
        [json!([]), json!({"type": "Collection"}), json!({"type": "Feature"}), json!({"type": "Feature", "id": "a"})]
    {
        assert!(matches!(StacItem::from_json(&value), Err(StacError::NotAnItem { .. })));
    }
}

#[test]
fn what_an_item_lacks_is_unknown() {
    for cover in [json!(null), json!(-1), json!(100.5), json!(255)] {
        assert_eq!(named(json!({"eo:cloud_cover": cover}), json!({})).unwrap().cloud_cover, None);
    }
    assert_eq!(named(json!({"eo:cloud_cover": 0}), json!({})).unwrap().cloud_cover, Some(0.0));
    let start: DateTime<Utc> = "2022-10-05T11:54:11Z".parse().unwrap();
    let untimed = named(json!({"datetime": null}), json!({})).unwrap();
    assert_eq!((untimed.datetime, untimed.known_time()), (start, KnownTime::Datatake(start)));
    let sensed = "2022-10-05T11:56:49.581Z".parse().unwrap();
    let item = named(json!({"datetime": "2022-10-05T11:56:49.581Z"}), json!({})).unwrap();
    assert_eq!(item.known_time(), KnownTime::Sensing(sensed));
}

#[test]
fn a_baseline_that_is_not_the_names_is_noted() {
    assert!(named(json!({"processorVersion": "4.00"}), json!({})).unwrap().notes.is_empty());
    let item = named(json!({"processing:version": "05.11"}), json!({})).unwrap();
    assert_eq!(item.notes[0].to_string(), "processing:version says baseline \"05.11\", the product name says 04.00");
    assert_eq!(item.baseline().number(), 400);
}

/// JSON of every shape, with the keys and values that the reader looks at.
fn json_value() -> impl Strategy<Value = Value> {
    let keys = prop_oneof![
        Just("proj:transform"),
        Just("proj:epsg"),
        Just("proj:code"),
        Just("grid:code"),
        Just("datetime"),
        Just("s2:product_uri"),
        Just("eo:cloud_cover"),
        Just("updated"),
        Just("assets"),
        Just("href"),
        Just("links"),
        Just("rel"),
        Just("file:size"),
        Just("mgrs:utm_zone"),
        Just("processing:version"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(NAME.into()),
        Just("x.jp2".into()),
        Just("2022-10-05T11:54:11Z".into()),
        Just("EPSG:32629".into()),
        Just("MGRS-29UNU".into()),
        Just("5.11".into()),
    ];
    leaf.prop_recursive(4, 40, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((keys.clone(), inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused(properties in json_value(), assets in json_value(), whole in json_value(), id in "\\PC*") {
        let _ = StacItem::from_json(&whole);
        for id in [id.as_str(), NAME] {
            let value = json!({"type": "Feature", "id": id, "properties": properties, "assets": {"a": assets}, "links": whole});
            if let Ok(item) = StacItem::from_json(&value) {
                prop_assert_eq!(item.product.to_string(), NAME);
            }
        }
    }
}

#[test]
fn the_last_change_is_the_first_that_is_told_of_update_making_and_publication() {
    let (updated, created, published) = ("2024-03-01T00:00:00Z", "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z");
    let mut times = json!({"updated": updated, "created": created, "published": published});
    for (name, expected) in [("updated", Some(updated)), ("created", Some(created)), ("published", Some(published))] {
        let changed = named(times.clone(), json!({})).unwrap().changed();
        assert_eq!(changed, expected.map(|time| time.parse().unwrap()));
        times.as_object_mut().unwrap().remove(name);
    }
    assert_eq!(named(times, json!({})).unwrap().changed(), None);
}
