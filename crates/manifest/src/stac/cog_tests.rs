#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::super::StacItem;
use super::*;

const NAME: &str = "S2A_MSIL2A_20240422T173911_N0510_R098_T13TDE_20240423T004950";

fn item(properties: Value, assets: Value) -> StacItem {
    let mut all = json!({"datetime": "2024-04-22T17:53:02.036Z", "s2:product_uri": format!("{NAME}.SAFE")});
    all.as_object_mut().unwrap().extend(properties.as_object().unwrap().clone());
    let value = json!({"type": "Feature", "id": "S2A_T13TDE_20240422T174753_L2A", "properties": all, "assets": assets});
    StacItem::from_json(&value).unwrap()
}

fn band(name: &str, scale: Value, offset: Value) -> Value {
    json!({
        "href": format!("https://x/{name}.tif"), "gsd": 10, "eo:bands": [{"name": name}],
        "raster:bands": [{"scale": scale, "offset": offset, "spatial_resolution": 10}],
    })
}

fn radiometry(properties: Value, assets: Value) -> Result<(i32, f64), String> {
    item(properties, assets).cogs.radiometry(NAME.parse().unwrap())
}

#[test]
fn all_bands_must_state_one_offset_and_that_of_the_baseline() {
    let good = band("B04", json!(0.0001), json!(-0.1));
    let with = |other: Value| radiometry(json!({}), json!({"red": good, "blue": other}));
    assert_eq!(with(band("B02", json!(0.0001), json!(-0.1))), Ok((-1000, 10_000.0)));
    let error = with(band("B02", json!(0.0001), json!(0))).unwrap_err();
    assert_eq!(error, "its item states scale and offset 0.0001 and 0 for B02_10m, but 0.0001 and -0.1 for B04_10m");
    // A band that says nothing is left out by itself.
    let silent = item(json!({}), json!({"red": good, "blue": band("B02", Value::Null, Value::Null)}));
    assert_eq!(silent.cogs.radiometry(NAME.parse().unwrap()), Ok((-1000, 10_000.0)));
    let told: Vec<_> = silent.cogs.files.iter().map(CogFile::misstated).collect();
    assert_eq!(told, [Some("its item states no scale and offset (raster:bands) for it".to_owned()), None]);

    let alone =
        |scale: f64, offset: f64| radiometry(json!({}), json!({"red": band("B04", json!(scale), json!(offset))}));
    let error = alone(0.0001, 0.0).unwrap_err();
    assert_eq!(error, "its item states the radiometric offset 0, but products of baseline 05.10 have -1000");
    assert!(alone(0.0, -0.1).unwrap_err().contains("which cannot be"));
    assert!(alone(0.000_123, -0.1).unwrap_err().contains("which cannot be"));
    assert_eq!(radiometry(json!({}), json!({})).unwrap_err(), "its item states scale and offset of no band");
}

/// `sentinel-2-l2a` of Earth Search took the offset out of the numbers of some files, and its flag says nothing reliable.
#[test]
fn items_of_the_older_collection_are_refused_by_name() {
    let assets = |href: &str| {
        let mut band = band("B04", json!(0.0001), json!(-0.1));
        band["href"] = json!(href);
        json!({"red": band})
    };
    let plain = "https://x/B04.tif";
    for (properties, href) in [
        (json!({"earthsearch:boa_offset_applied": true}), plain),
        (json!({"earthsearch:boa_offset_applied": false}), plain),
        (json!({"earthsearch:boa_offset_applied": null}), plain),
        (
            json!({"earthsearch:s3_path": "s3://sentinel-cogs/sentinel-s2-l2a-cogs/33/T/WM/2023/8/S2A_33TWM_20230818_0_L2A"}),
            plain,
        ),
        (json!({}), "https://sentinel-cogs.s3.us-west-2.amazonaws.com/33/T/WM/B04.tif"),
        (json!({}), "s3://sentinel-cogs/33/T/WM/B04.tif"),
        (json!({}), "/mirror/sentinel-s2-l2a-cogs/33/T/WM/B04.tif"),
    ] {
        let error = radiometry(properties, assets(href)).unwrap_err();
        assert!(error.starts_with("its item is of Earth Search's older collection sentinel-2-l2a, where"), "{error}");
        assert!(error.ends_with("take collection sentinel-2-c1-l2a"), "{error}");
    }
    assert_eq!(radiometry(json!({}), assets("s3://my-sentinel-cogs/B04.tif")), Ok((-1000, 10_000.0)));
}

#[test]
fn newer_items_say_it_in_other_words() {
    let asset = |fields: Value| {
        let mut asset = json!({"href": "s3://b/B04.tif", "gsd": 10});
        asset.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        radiometry(json!({}), json!({"red": asset}))
    };
    assert_eq!(asset(json!({"raster:scale": 0.0001, "raster:offset": -0.1})), Ok((-1000, 10_000.0)));
    let bands = json!([{"name": "B04", "raster:scale": 0.0001, "raster:offset": -0.1}]);
    assert_eq!(asset(json!({"bands": bands})), Ok((-1000, 10_000.0)));
}

#[test]
fn what_contradicts_itself_is_left_out_by_name() {
    let item = item(
        json!({}),
        json!({
            "a": {"href": "s3://b/B04.tif", "gsd": 20, "proj:transform": [10, 0, 399960, 0, -10, 4500000]},
            "b": {"href": "s3://b/B02.tif", "gsd": 10, "eo:bands": [{"name": "B03"}]},
            "c": {"href": "s3://b/B05.tif"},
            "d": {"href": "s3://b/B06.tif", "gsd": 15},
            "e": {"href": "s3://b/SCL.tif", "gsd": 20}, "f": {"href": "s3://c/SCL.tif", "gsd": 20},
            "g": {"href": "s3://b/B07.tif", "gsd": 20, "raster:bands": [{"scale": "a"}]},
            "h": {"href": "s3://b/L2A_PVI.tif", "gsd": 320}, "i": {"href": "s3://b/B08.jp2"},
            "j": {"href": "s3://b/AOT.tif", "gsd": 20, "raster:bands": [{"scale": 0.01, "offset": 0}]},
        }),
    );
    let told: Vec<String> =
        item.cogs.problems.iter().map(|problem| format!("{}: {}", problem.raster, problem.reason)).collect();
    assert_eq!(
        told,
        [
            "a: its gsd is 20m, elsewhere its item or name says 10m",
            "b: its file is named B02, its band B03",
            "c: its item does not state its pixel size (proj:transform, gsd)",
            "d: its gsd is 15 m, not 10, 20 or 60",
            "g: its raster:bands scale is not a number",
            "SCL_20m: the item names two files of it",
        ]
    );
    let [aot] = &item.cogs.files[..] else { panic!("{:?}", item.cogs.files) };
    let wrong = aot.misstated().unwrap();
    assert_eq!(wrong, "its item states scale and offset 0.01 and 0 for it, not 0.001 and 0");
}

#[test]
fn recorded_items_of_earth_search_are_understood() {
    let Some(folder) = crate::real_data::real_data("stac/earthsearch-pc") else { return };
    let read = |name: &str| std::fs::read_to_string(folder.join(name));
    let text = read("earthsearch_c1_l2a_10items.json").unwrap();
    let page: Value = serde_json::from_str(&text).unwrap();
    for value in page["features"].as_array().unwrap() {
        let item = StacItem::from_json(value).unwrap();
        assert_eq!(item.cogs.radiometry(item.product), Ok((-1000, 10_000.0)));
        assert_eq!(item.cogs.problems, []);
        let names: Vec<String> = item.cogs.files.iter().map(|file| file.asset.name()).collect();
        assert_eq!(
            names.join(" "),
            "B01_60m B02_10m B03_10m B04_10m B05_20m B06_20m B07_20m B08_10m B8A_20m B09_60m B11_20m B12_20m AOT_20m \
             WVP_20m SCL_20m TCI_10m MSK_CLDPRB_20m MSK_SNWPRB_20m"
        );
        assert!(item.cogs.files.iter().all(|file| file.size.is_some() && file.misstated().is_none()));
    }
    let old: Value = serde_json::from_str(&read("mapchete/S2A_12RWT_20240106_0_L2A.json").unwrap()).unwrap();
    let item = StacItem::from_json(&old).unwrap();
    assert!(item.cogs.radiometry(item.product).unwrap_err().contains("older collection"));
}
