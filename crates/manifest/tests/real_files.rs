//! Heads and walks of every real file against the golden index bytes.
#![cfg(feature = "io")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use s2ice_manifest::source::jp2_header::read_head;
use s2ice_manifest::source::jp2_walk::walk;
use s2ice_manifest::source::location::{Source, SourceOptions, SourceUrl};
use serde_json::Value;

fn files(folder: &Path, extension: &str, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, extension, out);
        } else if path.extension().is_some_and(|e| e == extension) {
            out.push(path);
        }
    }
}

/// Tiles of a file whose decoded pixels are all 0, by the checksums of the golden decode.
fn tiles_of_zeros(golden: &Value) -> Vec<u32> {
    let number = |v: &Value| v.as_u64().unwrap();
    let shape: Vec<u64> = golden["shape"].as_array().unwrap().iter().map(number).collect();
    let (width, height) = (number(&golden["tile"][0]), number(&golden["tile"][1]));
    let sample = if golden["dtype"] == "uint8" { 1 } else { 2 } * shape.get(2).copied().unwrap_or(1);
    let columns = shape[1].div_ceil(width);
    let (mut out, mut zeros) = (Vec::new(), HashMap::new());
    for tile in golden["tiles_isot_off_psot_crc32"].as_array().unwrap() {
        let number = number(&tile[0]);
        let (row, column) = (number / columns, number % columns);
        let area = height.min(shape[0] - row * height) * width.min(shape[1] - column * width);
        if tile[3].as_str().unwrap()
            == format!("{:08x}", zeros.entry(area).or_insert_with(|| crc32_of_zeros(area * sample)))
        {
            out.push(number as u32);
        }
    }
    out.sort_unstable();
    out
}

fn crc32_of_zeros(bytes: u64) -> u32 {
    let table: Vec<u32> = (0..256)
        .map(|n| (0..8).fold(n, |c: u32, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 }))
        .collect();
    !(0..bytes).fold(u32::MAX, |crc, _| table[(crc & 255) as usize] ^ (crc >> 8))
}

fn open(folder: &Path) -> Source {
    Source::open(&SourceUrl::parse(folder.to_str().unwrap()).unwrap(), &SourceOptions::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn index_bytes_are_those_of_the_public_indexer() {
    let Some(data) = support::data() else { return };
    let mut golden = Vec::new();
    files(&data.join("golden/tlm-index"), "tlm", &mut golden);
    assert!(golden.len() >= 110, "{}", golden.len());
    let source = open(&data);
    let decoded: Value = serde_json::from_slice(&std::fs::read(data.join("golden/decode.json")).unwrap()).unwrap();
    let mut nodata = 0;
    for tlm in &golden {
        let path = tlm.strip_prefix(data.join("golden/tlm-index")).unwrap().with_extension("jp2");
        let path = path.to_str().unwrap();
        let facts = read_head(&source, path).await.unwrap();
        let walked = walk(&source, path, &facts, path.contains("IMG_DATA")).await.unwrap();
        assert!(walked.entry.write().unwrap() == std::fs::read(tlm).unwrap(), "{path}");
        if let Some(tiles) = walked.nodata {
            assert_eq!(tiles, tiles_of_zeros(&decoded[path]), "{path}");
            nodata += tiles.len();
        }
    }
    assert!(nodata > 500, "half of this product lies outside the swath");
    eprintln!("{} requests, {} bytes, {nodata} nodata tiles", source.stats().requests(), source.stats().bytes());
}

#[tokio::test]
async fn files_with_tlm_need_one_request() {
    let Some(data) = support::data() else { return };
    let source = open(&data);
    let mut with_tlm = Vec::new();
    files(&data.join("golden/with-tlm"), "jp2", &mut with_tlm);
    assert!(!with_tlm.is_empty());
    let mut twins = Vec::new();
    files(&data.join("safe"), "jp2", &mut twins);
    for file in &with_tlm {
        let path = file.strip_prefix(&data).unwrap().to_str().unwrap();
        let before = source.stats().requests();
        let facts = read_head(&source, path).await.unwrap();
        assert_eq!(source.stats().requests(), before + 1, "{path}");
        let entry = facts.index.clone().expect("TLM");
        assert_eq!(walk(&source, path, &facts, false).await.unwrap().entry, entry, "{path}");

        let name = file.file_name().unwrap().to_str().unwrap().replace("_with_TLM", "");
        let twin = twins.iter().find(|t| t.file_name().unwrap().to_str() == Some(&name)).unwrap();
        let twin = twin.strip_prefix(&data).unwrap().to_str().unwrap();
        let facts = read_head(&source, twin).await.unwrap();
        assert_eq!(facts.index, None);
        let walked = walk(&source, twin, &facts, false).await.unwrap().entry;
        let shift = entry.first_sot - walked.first_sot;
        assert_eq!((entry.tlm, entry.file_size), (walked.tlm, walked.file_size + shift), "{path}");
    }
}
