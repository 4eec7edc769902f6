//! Every recorded item of real catalogues is understood, or refused with a reason.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use s2ice_manifest::stac::StacItem;
use serde_json::Value;

#[path = "../../../tests/support/real_data.rs"]
mod real_data;

fn recorded() -> Option<PathBuf> {
    real_data::real_data("stac")
}

fn json_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(json_files(&path));
        } else if path.extension().is_some_and(|suffix| suffix == "json") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn items(document: &Value) -> Vec<&Value> {
    match document["type"].as_str() {
        Some("FeatureCollection") => document["features"].as_array().unwrap().iter().collect(),
        Some("Feature") => vec![document],
        _ => Vec::new(),
    }
}

/// All that is read of an item but its name, on one line.
fn line(item: &StacItem) -> String {
    let mut line = format!("{} | {}", item.product, item.datetime.to_rfc3339());
    let _ = match item.cloud_cover {
        Some(percent) => write!(line, " | {percent} %"),
        None => write!(line, " | no cloud cover"),
    };
    let known = |known: bool, name: &str| if known { format!(" {name}") } else { String::new() };
    let times = [(item.updated, "updated"), (item.created, "created"), (item.published, "published")];
    let times: String = times.into_iter().map(|(time, name)| known(time.is_some(), name)).collect();
    let _ = write!(
        line,
        " |{times}{}{}{} {} sizes",
        known(item.datastrip_id.is_some(), "datastrip"),
        known(item.self_href.is_some(), "self"),
        known(item.geocoding_checked, "geocoded"),
        item.file_sizes.len()
    );
    for note in &item.notes {
        let _ = write!(line, " | {note}");
    }
    line
}

#[test]
fn every_recorded_item_is_read_or_refused_with_a_reason() {
    let Some(root) = recorded() else { return };
    // By folder and item: the same item is recorded many times, in searches and alone.
    let mut seen: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let (mut read, mut refused) = (0, 0);
    for file in json_files(&root) {
        let document: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        for value in items(&document) {
            let text = match StacItem::from_json(value) {
                Ok(item) => {
                    read += 1;
                    line(&item)
                }
                Err(error) => {
                    refused += 1;
                    format!("REFUSED: {error}")
                }
            };
            let folder = file.parent().unwrap().strip_prefix(&root).unwrap().display().to_string();
            let lines = seen.entry((folder, value["id"].as_str().unwrap().to_owned())).or_default();
            if !lines.contains(&text) {
                lines.push(text);
            }
        }
    }
    let mut report = format!("{read} read, {refused} refused\n");
    for ((folder, id), lines) in seen {
        for line in lines {
            let _ = writeln!(report, "{folder}: {id}\n    {line}");
        }
    }
    insta::assert_snapshot!("recorded_items", report);
}

/// Items that stactools makes of the SAFE folders and of Amazon's tiles lie beside their XML.
#[test]
fn items_beside_the_xml_are_read_or_refused_with_a_reason() {
    let Some(root) = recorded() else { return };
    let root = root.parent().unwrap().join("xml");
    let mut report = String::new();
    for file in json_files(&root) {
        let document: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        for value in items(&document) {
            let text = StacItem::from_json(value).map_or_else(|error| format!("REFUSED: {error}"), |item| line(&item));
            let _ = writeln!(report, "{}\n    {text}", file.strip_prefix(&root).unwrap().display());
        }
    }
    insta::assert_snapshot!("items_beside_xml", report);
}

/// Fields of the providers of store-layout.md, one item each, in full.
#[test]
fn one_item_of_each_provider_in_full() {
    let Some(root) = recorded() else { return };
    let read = |path: &str| serde_json::from_slice::<Value>(&std::fs::read(root.join(path)).unwrap()).unwrap();
    let one = |path: &str| StacItem::from_json(items(&read(path))[0]).unwrap();
    let providers = [
        ("cdse", one("cdse/search_sentinel2_l2a/test_search_data_cdse_sentinel_2__02.response.json")),
        ("legacy", one("cdse/legacy_catalogue_stac/test_search_data_cdse_sentinel_2__6cdc6f68__01.response.json")),
        ("earth search", one("earthsearch-pc/earthsearch_c1_l2a_10items.json")),
        ("planetary computer", one("earthsearch-pc/pc_l2a_2items.json")),
    ];
    insta::assert_json_snapshot!("one_of_each_provider", BTreeMap::from(providers));
}
