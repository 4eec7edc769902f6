//! Product metadata of every real sample against values read by another program, and what doctored samples do.
#![cfg(feature = "io")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use s2ice_manifest::ids::{Band, Level};
use s2ice_manifest::raster::Asset;
use s2ice_manifest::source::location::{Source, SourceOptions, SourceUrl};
use s2ice_manifest::source::safe_xml::{
    parse_file_list, parse_granule, parse_product, read_file_list, read_granule, read_metadata,
};

const GOLDEN: &str = include_str!("golden/safe_xml.tsv");

/// The golden lines of a kind: path and values.
fn golden(kind: &str) -> Vec<Vec<&'static str>> {
    let lines = GOLDEN.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    lines.filter(|line| line[0] == kind).map(|line| line[1..].to_vec()).collect()
}

fn level_of(path: &str) -> Level {
    if path.ends_with("L1C.xml") { Level::L1C } else { Level::L2A }
}

fn kind_of(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    match name {
        "product_metadata.xml" => Some("product"),
        _ if name.starts_with("MTD_MSI") => Some("product"),
        _ if name.ends_with("MTD_TL.xml") || name == "metadata.xml" => Some("granule"),
        _ if name.ends_with("manifest.safe") => Some("files"),
        _ => None,
    }
}

fn walk(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => walk(&path, out),
            false => out.push(path),
        }
    }
}

#[test]
fn no_real_sample_is_left_out() {
    let Some(data) = support::data() else { return };
    let mut found = Vec::new();
    walk(&data, &mut found);
    let found: BTreeSet<(&str, String)> =
        found.iter().filter_map(|p| Some((kind_of(p)?, p.strip_prefix(&data).ok()?.to_str()?.to_owned()))).collect();
    let golden: BTreeSet<(&str, String)> = ["granule", "product", "files"]
        .into_iter()
        .flat_map(|kind| golden(kind).into_iter().map(move |line| (kind, line[0].to_owned())))
        .collect();
    assert_eq!(found, golden);
    assert_eq!(golden.len(), 27 + 16 + 14);
}

#[test]
fn granules_are_read_as_another_program_reads_them() {
    let Some(data) = support::data() else { return };
    for line in golden("granule") {
        let [path, tile_id, datastrip, sensing, epsg, ulx, uly] = line[..] else { panic!("{line:?}") };
        let bytes = std::fs::read(data.join(path)).unwrap();
        let facts = parse_granule(&bytes, path).unwrap().unwrap();
        assert_eq!((facts.tile_id.as_str(), facts.datastrip_id.as_deref()), (tile_id, Some(datastrip)), "{path}");
        let time = chrono::DateTime::from_timestamp_micros(facts.sensing_time_us).unwrap();
        assert_eq!(time, chrono::DateTime::parse_from_rfc3339(sensing).unwrap(), "{path}");
        let geocoding = facts.geocoding;
        assert_eq!(
            [geocoding.epsg.to_string(), geocoding.ulx.to_string(), geocoding.uly.to_string()],
            [epsg, ulx, uly]
        );
        assert!(tile_id.contains(&format!("_T{}", facts.tile)), "{path}");
        // A prefix gives the same or nothing, wherever it ends.
        for cut in (0..bytes.len().min(6000)).step_by(7) {
            let found = parse_granule(&bytes[..cut], path).unwrap_or(None);
            assert!(found.is_none_or(|found| found == facts), "{path} cut at {cut}");
        }
    }
}

#[test]
fn products_are_read_as_another_program_reads_them() {
    let Some(data) = support::data() else { return };
    for line in golden("product") {
        let [path, baseline, offsets, offset, quantification, cloud, images, first, uri] = line[..] else {
            panic!("{line:?}")
        };
        let bytes = std::fs::read(data.join(path)).unwrap();
        let facts = parse_product(&bytes, level_of(path), path).unwrap();
        let counts = (facts.band_offsets.len().to_string(), facts.images.len().to_string());
        assert_eq!((counts.0.as_str(), counts.1.as_str()), (offsets, images), "{path}");
        assert_eq!((facts.baseline.to_string().as_str(), facts.add_offset.to_string().as_str()), (baseline, offset));
        assert!(facts.band_offsets.values().all(|o| o.to_string() == offset), "{path}");
        assert_eq!(facts.quantification.to_string(), quantification, "{path}");
        assert!((facts.cloud_cover.unwrap() - cloud.parse::<f64>().unwrap()).abs() < 1e-9, "{path}");
        assert!(facts.images[0].ends_with(&format!("/{first}.jp2")), "{path}: {}", facts.images[0]);
        assert_eq!(format!("{}.SAFE", facts.product.unwrap()), uri);
        // Every image is a raster of its own that the layout has a place for.
        let rasters: BTreeSet<Asset> = facts.images.iter().map(|image| Asset::of_path(image).expect(image)).collect();
        assert_eq!(rasters.len(), facts.images.len(), "{path}");
        assert!(rasters.iter().all(|raster| raster.exists_at(level_of(path))), "{path}");
    }
}

#[test]
fn file_lists_are_read_as_another_program_reads_them() {
    let Some(data) = support::data() else { return };
    for line in golden("files") {
        let [path, files, bytes, algorithm, last, rasters] = line[..] else { panic!("{line:?}") };
        let list = parse_file_list(&std::fs::read(data.join(path)).unwrap(), path).unwrap();
        assert_eq!(list.len().to_string(), files, "{path}");
        assert_eq!(list.iter().map(|file| file.size.unwrap()).sum::<u64>().to_string(), bytes, "{path}");
        let length = if algorithm == "MD5" { 32 } else { 64 };
        let sums: Vec<_> = list.iter().map(|file| file.checksum.as_ref().unwrap()).collect();
        assert!(sums.iter().all(|sum| sum.algorithm == algorithm && sum.hex.len() == length), "{path}");
        assert_eq!(sums.last().unwrap().hex, last, "{path}");
        assert_eq!(list.iter().filter(|file| file.raster().is_some()).count().to_string(), rasters, "{path}");
    }
}

fn source(folder: &Path) -> Source {
    Source::open(&SourceUrl::parse(folder.to_str().unwrap()).unwrap(), &SourceOptions::default()).unwrap()
}

#[tokio::test]
async fn the_list_of_the_real_product_is_true() {
    let Some(data) = support::data() else { return };
    let source = source(&data.join("safe"));
    let name = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454";
    let folder = data.join("safe").join(format!("{name}.SAFE"));
    let raster = format!("/{name}.SAFE/GRANULE/L2A_T29UNU_A038058_20221005T115407/IMG_DATA/R20m/x.jp2");
    let list = read_file_list(&source, name.parse().unwrap(), &raster).await.unwrap();
    assert_eq!(source.stats().requests(), 1);
    // Of a partial mirror; the sizes of all its rasters are those in the list.
    let there: Vec<_> =
        list.iter().filter(|file| file.raster().is_some() && folder.join(&file.path).exists()).collect();
    assert!(there.len() >= 40, "{}", there.len());
    for file in there {
        assert_eq!(file.size.unwrap(), folder.join(&file.path).metadata().unwrap().len(), "{}", file.path);
    }
}

#[tokio::test]
async fn a_gigabyte_of_text_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let name = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454";
    let safe = folder.path().join(format!("{name}.SAFE"));
    std::fs::create_dir_all(safe.join("GRANULE/g")).unwrap();
    let raster = format!("/{name}.SAFE/GRANULE/g/IMG_DATA/x.jp2");
    for file in [safe.join("GRANULE/g/MTD_TL.xml"), safe.join("MTD_MSIL2A.xml"), safe.join("manifest.safe")] {
        std::fs::write(&file, "<a><b>").unwrap();
        // Sparse: it takes no space on disk.
        std::fs::File::options().append(true).open(&file).unwrap().set_len(1 << 30).unwrap();
    }
    let source = source(folder.path());
    let started = Instant::now();
    let text = read_granule(&source, &format!("/{name}.SAFE/GRANULE/g/MTD_TL.xml")).await.unwrap_err().to_string();
    assert!(text.ends_with("MTD_TL.xml has no complete Tile_Geocoding"), "{text}");
    read_metadata(&source, name.parse().unwrap(), &raster).await.unwrap_err();
    let text = read_file_list(&source, name.parse().unwrap(), &raster).await.unwrap_err().to_string();
    assert!(text.contains("1073741824"), "{text}");
    assert!(source.stats().bytes() < 16 << 20, "{}", source.stats().bytes());
    assert!(started.elapsed() < Duration::from_secs(20));
}

/// Each kind of document is refused with these words.
fn every_kind(bytes: &[u8], words: &str) {
    let (product, granule) = (parse_product(bytes, Level::L2A, "x"), parse_granule(bytes, "x"));
    let list = parse_file_list(bytes, "x").unwrap_err().to_string();
    for text in [product.unwrap_err().to_string(), granule.unwrap_err().to_string(), list] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn a_billion_laughs_are_refused() {
    let mut bomb = String::from("<?xml version=\"1.0\"?><!DOCTYPE l [<!ENTITY a \"ha\">");
    for pair in ["ab", "bc", "cd", "de", "ef", "fg", "gh", "hi"] {
        let (one, next) = pair.split_at(1);
        bomb += &format!("<!ENTITY {next} \"{}\">", format!("&{one};").repeat(10));
    }
    bomb += "]><l><PROCESSING_BASELINE>&i;</PROCESSING_BASELINE></l>";
    every_kind(bomb.as_bytes(), "a document type definition is not allowed");
    // The same without a definition, in text and in an attribute.
    for text in ["<l><b>&i;</b></l>", "<l><b href=\"&i;\"/></l>"] {
        assert!(parse_file_list(text.as_bytes(), "x").is_err(), "{text}");
    }
    // A file or an address to be read in: none is.
    for outer in ["SYSTEM \"file:///etc/passwd\"", "PUBLIC \"x\" \"http://127.0.0.1:1/x\""] {
        for text in [
            format!("<!DOCTYPE l [<!ENTITY e {outer}>]><l><TILE_ID>&e;</TILE_ID></l>"),
            format!("<!DOCTYPE l {outer}><l/>"),
            format!("<!DOCTYPE l [<!ENTITY % p {outer}> %p;]><l/>"),
        ] {
            every_kind(text.as_bytes(), "a document type definition is not allowed");
        }
    }
    every_kind("<a>".repeat(1 << 20).as_bytes(), "more than 32 elements");
    let wide = format!("<a href=\"{}\"/>", "x".repeat(8 << 20));
    every_kind(wide.as_bytes(), "bytes, more than 16384");
    let name = format!("<{}/>", "n".repeat(8 << 20));
    every_kind(name.as_bytes(), "bytes, more than 16384");
}

const PRODUCT: &str = "<?xml version=\"1.0\"?><p><PROCESSING_BASELINE>05.11</PROCESSING_BASELINE>\
    <PRODUCT_URI>S2A_MSIL1C_20221005T115411_N0511_R023_T29UNU_20221005T164454.SAFE</PRODUCT_URI>\
    <IMAGE_FILE>GRANULE/g/IMG_DATA/T29UNU_20221005T115411_B01</IMAGE_FILE><QUANTIFICATION_VALUE>10000</QUANTIFICATION_VALUE>\
    <L>@</L></p>";

fn offsets(level: Level, value: impl Fn(usize) -> Option<i32>) -> String {
    let name = if level == Level::L2A { "BOA_ADD_OFFSET" } else { "RADIO_ADD_OFFSET" };
    let line = |i| Some(format!("<{name} band_id=\"{i}\">{}</{name}>", value(i)?));
    (0..13).filter_map(line).collect()
}

#[test]
fn bands_that_differ_are_refused() {
    let parse = |level, offsets: &str| {
        let text = PRODUCT.replace('@', offsets);
        let text = if level == Level::L2A { text.replace("QUANT", "BOA_QUANT") } else { text };
        parse_product(text.as_bytes(), level, "x").map_err(|e| e.to_string())
    };
    for level in [Level::L1C, Level::L2A] {
        let facts = parse(level, &offsets(level, |_| Some(-1000))).unwrap();
        assert_eq!((facts.add_offset, facts.band_offsets.len()), (-1000, 13));
        assert_eq!(facts.band_offsets[&Band::B8A], -1000);
        assert_eq!(facts.images, ["GRANULE/g/IMG_DATA/T29UNU_20221005T115411_B01.jp2"]);
    }
    let one = |level| parse(level, &offsets(level, |i| Some(if i == 8 { -900 } else { -1000 }))).unwrap_err();
    assert_eq!(one(Level::L1C), "x: RADIO_ADD_OFFSET of B8A is -900, of B01 -1000; one store has one offset");
    assert_eq!(one(Level::L2A), "x: BOA_ADD_OFFSET of B8A is -900, of B01 -1000; one store has one offset");
    let without = |level, band| parse(level, &offsets(level, |i| (i != band).then_some(-1000)));
    assert_eq!(without(Level::L1C, 10).unwrap_err(), "x: RADIO_ADD_OFFSET of B10 is not stated, of others it is");
    assert_eq!(without(Level::L2A, 10).unwrap().add_offset, -1000);
    assert!(without(Level::L2A, 0).unwrap_err().contains("of B01 is not stated"));
    let twice = offsets(Level::L1C, |_| Some(0)).repeat(2);
    assert_eq!(parse(Level::L1C, &twice).unwrap_err(), "x: two times RADIO_ADD_OFFSET of B01");
    let text = parse(Level::L1C, "<RADIO_ADD_OFFSET band_id='13'>0</RADIO_ADD_OFFSET>").unwrap_err();
    assert_eq!(text, "x: RADIO_ADD_OFFSET of band_id 13, which no band has");
    let text = parse(Level::L1C, "<RADIO_ADD_OFFSET>0</RADIO_ADD_OFFSET>").unwrap_err();
    assert_eq!(text, "x: RADIO_ADD_OFFSET without band_id, which no band has");
    // The offset of the other level does not count.
    let text = parse(Level::L1C, &offsets(Level::L2A, |_| Some(0))).unwrap_err();
    assert_eq!(text, "x has no RADIO_ADD_OFFSET");
    let scale = format!("{}<QUANTIFICATION_VALUE>5000</QUANTIFICATION_VALUE>", offsets(Level::L1C, |_| Some(0)));
    assert_eq!(
        parse(Level::L1C, &scale).unwrap_err(),
        "x: QUANTIFICATION_VALUE is 10000 and 5000; one array has one scale"
    );
    let many = "<IMAGE_FILE>a</IMAGE_FILE>".repeat(300);
    assert_eq!(parse(Level::L1C, &many).unwrap_err(), "x: more than 256 times IMAGE_FILE");
    let elsewhere = format!("{}<IMAGE_FILE>../../x</IMAGE_FILE>", offsets(Level::L1C, |_| Some(0)));
    let image = parse(Level::L1C, &elsewhere).unwrap_err();
    assert_eq!(image, "x: IMAGE_FILE is \"../../x\"");
}

/// What each kind of document is, cut behind a byte: refused, or for a granule either not yet complete or read as the
/// whole is. Nothing is ever taken from a part that the whole does not say.
fn cut_at(bytes: &[u8], cut: usize, kind: &str, level: Level) {
    let part = &bytes[..cut];
    match kind {
        "granule" => match parse_granule(part, "x") {
            Ok(Some(facts)) => assert_eq!(Some(facts), parse_granule(bytes, "x").unwrap(), "cut at {cut}"),
            Ok(None) => {}
            // Before the first element it might be anything.
            Err(error) => assert!(error.to_string().contains("no XML document"), "cut at {cut}: {error}"),
        },
        "product" => assert!(parse_product(part, level, "x").is_err(), "cut at {cut}"),
        _ => assert!(parse_file_list(part, "x").is_err(), "cut at {cut}"),
    }
}

#[test]
fn documents_cut_at_any_byte_are_no_documents() {
    for level in [Level::L1C, Level::L2A] {
        let name = if level == Level::L2A { "BOA_QUANT" } else { "QUANT" };
        let text = PRODUCT.replace('@', &offsets(level, |_| Some(-1000))).replace("QUANT", name);
        parse_product(text.as_bytes(), level, "x").unwrap();
        (0..text.len()).for_each(|cut| cut_at(text.as_bytes(), cut, "product", level));
    }
    let Some(data) = support::data() else { return };
    for kind in ["granule", "product", "files"] {
        let mut read = 0;
        for line in golden(kind) {
            let bytes = std::fs::read(data.join(line[0])).unwrap();
            // The end of the root element is the end of the document.
            let end = bytes.iter().rposition(|byte| *byte == b'>').unwrap();
            // Of a granule every byte of what is read; of the others some, and every byte of one's end.
            let (step, until) = if read == 0 && kind == "granule" { (1, 3000) } else { (1 + end / 20, end) };
            let tail = end.saturating_sub(if read == 0 { 100 } else { 3 })..=end;
            (0..until).step_by(step).chain(tail).for_each(|cut| cut_at(&bytes, cut, kind, level_of(line[0])));
            read += 1;
        }
        assert!(read > 1, "{kind}");
    }
}

/// One change of a document: cut out, doubled, put elsewhere, overwritten, or something hostile put in.
fn mutate(bytes: &mut Vec<u8>, (how, at, length, to): (u8, usize, usize, usize)) {
    let n = bytes.len();
    let at = at % n.max(1);
    let end = (at + length).min(n);
    let part = bytes[at.min(end)..end].to_vec();
    const HOSTILE: [&str; 12] = [
        "<!DOCTYPE x []>",
        "&x;",
        "&#0;",
        "&#x110000;",
        "<![CDATA[",
        "]]>",
        "<!--",
        "</",
        "<a",
        "\u{0}",
        "\u{feff}",
        "=\"'",
    ];
    let target = to % (n + 1);
    match how % 5 {
        0 => drop(bytes.drain(at.min(end)..end)),
        1 => drop(bytes.splice(end..end, part)),
        2 => drop(bytes.splice(target..target, part)),
        3 => bytes[at.min(end)..end]
            .iter_mut()
            .for_each(|byte| *byte = byte.wrapping_add(u8::try_from(to % 256).unwrap())),
        _ => drop(bytes.splice(target..target, HOSTILE[length % HOSTILE.len()].bytes())),
    }
}

/// Reads mutated bytes as each kind of document; what is accepted must make sense.
fn read_all(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(Some(facts)) = parse_granule(bytes, "x") {
        prop_assert!(facts.tile_id.contains(&facts.tile.to_string()) || facts.tile_id.contains('T'));
        prop_assert!(facts.tile_id.len() <= 512);
    }
    for level in [Level::L1C, Level::L2A] {
        if let Ok(facts) = parse_product(bytes, level, "x") {
            prop_assert!(facts.quantification > 0.0 && facts.quantification.is_finite());
            prop_assert!(facts.band_offsets.values().all(|offset| *offset == facts.add_offset));
            prop_assert!(facts.images.iter().all(|image| !image.contains("..") && !image.starts_with('/')));
        }
    }
    if let Ok(files) = parse_file_list(bytes, "x") {
        prop_assert!(files.len() <= 4096);
        prop_assert!(files.iter().all(|f| !f.path.split('/').any(|part| part == "..") && !f.path.starts_with('/')));
    }
    Ok(())
}

fn changes() -> impl Strategy<Value = Vec<(u8, usize, usize, usize)>> {
    prop::collection::vec((any::<u8>(), 0_usize..70_000, 0_usize..300, any::<usize>()), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_documents_are_read_or_refused(changes in changes(), level in any::<bool>()) {
        let level = if level { Level::L1C } else { Level::L2A };
        let mut bytes = PRODUCT.replace('@', &offsets(level, |_| Some(-1000))).into_bytes();
        for change in changes {
            mutate(&mut bytes, change);
            read_all(&bytes)?;
        }
    }
}

#[test]
fn mutated_real_samples_are_read_or_refused() {
    let Some(data) = support::data() else { return };
    let pick =
        |kind: &str, every: usize| golden(kind).into_iter().step_by(every).map(|line| line[0]).collect::<Vec<_>>();
    let paths = [pick("granule", 9), pick("product", 4), pick("files", 5)].concat();
    // Of a granule only the part is kept whose values are read.
    let samples: Vec<Vec<u8>> = paths
        .iter()
        .map(|path| std::fs::read(data.join(path)).unwrap())
        .map(|bytes| bytes[..bytes.len().min(40_000)].to_vec())
        .collect();
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let sample = 0..samples.len();
    let outcome = runner.run(&(sample, changes()), |(sample, changes)| {
        let mut bytes = samples[sample].clone();
        for change in changes {
            mutate(&mut bytes, change);
        }
        read_all(&bytes)
    });
    outcome.unwrap();
}
