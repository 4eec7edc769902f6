//! The samples against OpenJPEG's own decoder and against what real files look like.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::path::Path;

use arrow_array::cast::AsArray;
use openjpeg_sys as opj;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest, Sha256};

use crate::product::write_products;
use crate::sample::{SampleAsset, SampleProduct};
use crate::spec::{Baseline, Headers, SampleSpec, TlmChoice};
use crate::split::TileParts;

fn spec(assets: &[&str]) -> SampleSpec {
    SampleSpec { assets: assets.iter().map(|s| (*s).to_owned()).collect(), dates: 1, ..SampleSpec::default() }
}

fn make(spec: &SampleSpec) -> (tempfile::TempDir, Vec<SampleProduct>) {
    let dir = tempfile::tempdir().unwrap();
    let products = write_products(dir.path(), spec).unwrap();
    (dir, products)
}

struct Source<'a>(&'a [u8], usize);

unsafe extern "C" fn read(buffer: *mut c_void, length: usize, data: *mut c_void) -> usize {
    // SAFETY: `data` is the Source of `decode`, `buffer` has room for `length` bytes.
    let (source, out) =
        unsafe { (&mut *data.cast::<Source>(), std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length)) };
    let rest = &source.0[source.1..];
    let n = rest.len().min(length);
    out[..n].copy_from_slice(&rest[..n]);
    source.1 += n;
    if n == 0 { usize::MAX } else { n }
}

unsafe extern "C" fn skip(by: i64, data: *mut c_void) -> i64 {
    // SAFETY: as in `read`.
    let source = unsafe { &mut *data.cast::<Source>() };
    source.1 = (source.1 + usize::try_from(by).unwrap()).min(source.0.len());
    by
}

unsafe extern "C" fn seek(to: i64, data: *mut c_void) -> opj::OPJ_BOOL {
    // SAFETY: as in `read`.
    unsafe { (*data.cast::<Source>()).1 = usize::try_from(to).unwrap() };
    1
}

/// All pixels of a codestream, components last, by OpenJPEG in strict mode.
fn decode(codestream: &[u8]) -> Vec<u16> {
    let mut source = Source(codestream, 0);
    // SAFETY: the calls follow OpenJPEG's documentation; everything created is destroyed.
    unsafe {
        let stream = opj::opj_stream_default_create(1);
        opj::opj_stream_set_user_data(stream, (&raw mut source).cast(), None);
        opj::opj_stream_set_user_data_length(stream, codestream.len() as u64);
        opj::opj_stream_set_read_function(stream, Some(read));
        opj::opj_stream_set_skip_function(stream, Some(skip));
        opj::opj_stream_set_seek_function(stream, Some(seek));
        let codec = opj::opj_create_decompress(opj::OPJ_CODEC_FORMAT::OPJ_CODEC_J2K);
        let mut parameters = std::mem::zeroed();
        opj::opj_set_default_decoder_parameters(&raw mut parameters);
        assert_eq!(opj::opj_setup_decoder(codec, &raw mut parameters), 1);
        assert_eq!(opj::opj_decoder_set_strict_mode(codec, 1), 1);
        let mut image = std::ptr::null_mut();
        assert_eq!(opj::opj_read_header(stream, codec, &raw mut image), 1);
        assert_eq!(opj::opj_decode(codec, stream, image), 1);
        assert_eq!(opj::opj_end_decompress(codec, stream), 1);
        let components = std::slice::from_raw_parts((*image).comps, (*image).numcomps as usize);
        let planes: Vec<&[i32]> =
            components.iter().map(|c| std::slice::from_raw_parts(c.data, (c.w * c.h) as usize)).collect();
        let pixels = (0..planes[0].len()).flat_map(|i| planes.iter().map(move |p| u16::try_from(p[i]).unwrap()));
        let pixels = pixels.collect();
        opj::opj_image_destroy(image);
        opj::opj_destroy_codec(codec);
        opj::opj_stream_destroy(stream);
        pixels
    }
}

fn bytes(asset: &SampleAsset) -> Vec<u8> {
    let bytes = std::fs::read(&asset.file).unwrap();
    assert_eq!(bytes.len() as u64, asset.layout.size);
    bytes
}

fn assert_exact(product: &SampleProduct, asset: &SampleAsset) {
    let file = bytes(asset);
    let decoded = decode(&file[asset.layout.codestream as usize..]);
    let side = asset.coding.side;
    assert!(decoded == product.expected_pixels(asset, 0..side, 0..side), "{}", asset.path);
    for part in &asset.layout.tile_parts {
        let at = part.offset as usize;
        assert_eq!(file[at..at + 4], [0xff, 0x90, 0, 10], "{}", asset.path);
        assert_eq!(file[at + 6..at + 10], part.length.to_be_bytes());
    }
}

/// Marker codes of the main header.
fn markers(asset: &SampleAsset) -> Vec<u16> {
    let file = bytes(asset);
    let (mut p, mut out) = (asset.layout.codestream as usize + 2, Vec::new());
    while p < asset.layout.first_sot as usize {
        out.push(u16::from_be_bytes([file[p], file[p + 1]]));
        p += 2 + usize::from(u16::from_be_bytes([file[p + 2], file[p + 3]]));
    }
    assert_eq!(p, asset.layout.first_sot as usize);
    out
}

#[test]
fn every_pixel_is_the_one_expected() {
    let names = ["B01_60m", "TCI_60m", "AOT_60m", "WVP_60m", "SCL_60m", "MSK_CLDPRB_60m", "MSK_SNWPRB_60m"];
    let (_dir, products) = make(&SampleSpec { dates: 2, tlm: TlmChoice::Some, ..spec(&names) });
    for product in &products {
        assert_eq!(product.assets.len(), names.len());
        product.assets.iter().for_each(|asset| assert_exact(product, asset));
    }
    let tlm = |i: usize| markers(products[i].asset("B01_60m").unwrap()).contains(&0xff55);
    assert_eq!((tlm(0), tlm(1)), (false, true));
}

#[test]
fn realistic_bands_are_exact_and_large() {
    let [plain, rough] = [false, true].map(|realistic| {
        let (_dir, products) = make(&SampleSpec { realistic, ..spec(&["B09_60m", "SCL_60m"]) });
        products[0].assets.iter().for_each(|asset| assert_exact(&products[0], asset));
        products[0].assets.iter().map(|asset| asset.layout.size).collect::<Vec<_>>()
    });
    assert!(rough[0] > 2 * plain[0], "{plain:?} {rough:?}");
    assert_eq!(rough[1], plain[1], "classes are as they were");
}
#[test]
fn level_1c_is_exact_and_named_as_such() {
    let small = SampleSpec { dates: 2, ..SampleSpec::small_l1c() };
    let (_dir, products) = make(&small);
    for product in &products {
        assert!(product.id.contains("_MSIL1C_"), "{}", product.id);
        product.assets.iter().for_each(|asset| assert_exact(product, asset));
        let names: Vec<&str> = product.assets.iter().map(|a| a.file.file_name().unwrap().to_str().unwrap()).collect();
        assert!(names[0].ends_with("_B01.jp2") && names[3] == "MSK_CLASSI_B00.jp2", "{names:?}");
        let [detectors, flags] = ["MSK_DETFOO_B01", "MSK_QUALIT_B10"].map(|name| product.asset(name).unwrap());
        assert_eq!((detectors.coding.components, flags.coding.components, flags.coding.tile), (1, 8, 256));
        let seen: std::collections::BTreeSet<u16> =
            product.expected_pixels(detectors, 0..1830, 0..1830).into_iter().collect();
        assert_eq!(seen.contains(&0), product.id == products[1].id, "the second date ends inside the tile");
        assert!(seen.iter().filter(|d| **d > 0).all(|d| (4..=9).contains(d)) && seen.len() > 3, "{seen:?}");
        let whole = std::fs::read_to_string(product.folder.join("MTD_MSIL1C.xml")).unwrap();
        assert_eq!(whole.matches("<RADIO_ADD_OFFSET band_id=").count(), 13);
        assert!(!whole.contains("BOA_") && whole.contains("<IMAGE_FILE>GRANULE/L1C_T33TVN_A0"));
    }
}

#[test]
fn twenty_metre_classes_are_exact() {
    let (_dir, products) = make(&spec(&["SCL_20m"]));
    assert_exact(&products[0], &products[0].assets[0]);
}

#[test]
fn odd_products_are_exact_too() {
    let early = SampleSpec { headers: Headers::Early, baseline: Baseline { major: 2, minor: 4 }, ..spec(&["B01_60m"]) };
    let (_dir, products) = make(&early);
    let asset = &products[0].assets[0];
    assert_eq!((asset.coding.bits, asset.coding.tile, asset.layout.tile_parts.len()), (12, 2048, 1));
    assert_exact(&products[0], asset);
    let (_dir, products) = make(&SampleSpec { headers: Headers::Unknown, ..spec(&["B09_60m", "TCI_60m"]) });
    products[0].assets.iter().for_each(|asset| assert_exact(&products[0], asset));
    for tile_parts in [TileParts::Adjacent, TileParts::Interleaved] {
        for tlm in [TlmChoice::None, TlmChoice::All] {
            let (_dir, products) = make(&SampleSpec { tile_parts, tlm, ..spec(&["B09_60m"]) });
            let asset = &products[0].assets[0];
            assert_exact(&products[0], asset);
            let tiles: Vec<u16> = asset.layout.tile_parts[..3].iter().map(|p| p.tile).collect();
            assert_eq!(tiles, if tile_parts == TileParts::Adjacent { [0, 0, 1] } else { [0, 1, 2] });
            assert_eq!(asset.layout.tile_parts.len(), 200);
            assert_eq!(markers(asset).contains(&0xff55), tlm == TlmChoice::All);
        }
    }
}

#[test]
fn a_tlm_in_the_file_says_what_lies_there() {
    let (_dir, products) = make(&SampleSpec { tlm: TlmChoice::All, ..spec(&["B09_60m", "TCI_60m"]) });
    for asset in &products[0].assets {
        let file = bytes(asset);
        let head = &file[..asset.layout.first_sot as usize];
        assert!(head.ends_with(&asset.layout.tlm()), "the last segment, in the form of the index");
        assert_eq!(markers(asset), [0xff51, 0xff52, 0xff5c, 0xff64, 0xff55], "SIZ COD QCD COM TLM");
    }
}

#[test]
fn main_headers_are_those_of_real_files() {
    // SIZ, COD and QCD of the classes seen in real files; the QCD of another encoder is another.
    let real: BTreeMap<&str, &str> = [
        ("B01_60m", "ff510029000000000726000007260000000000000000000000c0000000c0000000000000000000010e0101ff520011010000010004000000016666666666ff5c00102080888890888890888888808088"),
        ("SCL_20m", "ff510029000000001572000015720000000000000000000002800000028000000000000000000001070101ff520011010000010004010100017777777777ff5c00102048505058505058505050484850"),
        ("TCI_60m", "ff51002f000000000726000007260000000000000000000001000000010000000000000000000003070101070101070101ff520011010000010104020200017777777777ff5c00102050585860585860585858505058"),
    ]
    .into();
    for headers in [Headers::GroundSegment, Headers::Unknown] {
        let names: Vec<&str> = real.keys().copied().collect();
        let (_dir, products) = make(&SampleSpec { headers, ..spec(&names) });
        for asset in &products[0].assets {
            let (file, at) = (bytes(asset), asset.layout.codestream as usize + 2);
            let want = real[asset.raster.asset.as_str()];
            let have: String = file[at..at + want.len() / 2].iter().map(|b| format!("{b:02x}")).collect();
            let (coding, quantisation) = want.split_at(want.find("ff5c").unwrap());
            assert_eq!(have[..coding.len()], *coding);
            assert_eq!(have.ends_with(quantisation), headers == Headers::GroundSegment, "{have}");
            assert_eq!(markers(asset), [0xff51, 0xff52, 0xff5c, 0xff64], "SIZ COD QCD COM");
        }
    }
}

#[test]
fn the_swath_edge_leaves_empty_and_mixed_tiles() {
    let (_dir, products) = make(&SampleSpec { dates: 2, ..spec(&["B01_60m", "SCL_60m"]) });
    let mut seen = [[0; 3]; 2];
    for (product, seen) in products.iter().zip(&mut seen) {
        let asset = product.asset("B01_60m").unwrap();
        for tile in 0..100 {
            let [x, y, w, h] = asset.coding.tile_rect(tile);
            let pixels = product.expected_pixels(asset, y..y + h, x..x + w);
            let nodata = pixels.iter().filter(|v| **v == 0).count();
            seen[if nodata == 0 {
                0
            } else if nodata == pixels.len() {
                1
            } else {
                2
            }] += 1;
        }
        let scl = product.asset("SCL_60m").unwrap();
        let [band, classes] = [asset, scl].map(|a| product.expected_pixels(a, 300..330, 0..1830));
        assert!(band.iter().zip(&classes).all(|(b, c)| (*b == 0) == (*c == 0)));
    }
    assert_eq!(seen[0], [100, 0, 0]);
    assert!(seen[1].iter().all(|n| *n >= 10), "{seen:?}");
    assert!((products[1].shares[0] - 44.0).abs() < 1.0);
}

#[test]
fn windows_are_cut_from_the_whole_and_padded() {
    let (_dir, products) = make(&spec(&["TCI_60m"]));
    let (product, asset) = (&products[0], &products[0].assets[0]);
    let whole = product.expected_pixels(asset, 0..1830, 0..1830);
    let part = product.expected_pixels(asset, 1800..1840, 1820..1850);
    assert_eq!(part.len(), 40 * 30 * 3);
    for (i, value) in part.iter().enumerate() {
        let (row, column, component) = (1800 + i / 90, 1820 + i / 3 % 30, i % 3);
        let inside = row < 1830 && column < 1830;
        assert_eq!(*value, if inside { whole[(row * 1830 + column) * 3 + component] } else { 0 });
    }
}

fn digests(dir: &Path) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let sum: String =
                    Sha256::digest(std::fs::read(&path).unwrap()).iter().map(|b| format!("{b:02x}")).collect();
                out.insert(path.strip_prefix(dir).unwrap().to_string_lossy().into_owned(), sum);
            }
        }
    }
    out
}

#[test]
fn the_same_specification_gives_the_same_bytes() {
    let spec = spec(&["B01_60m", "TCI_60m"]);
    let ((one, products), (two, _)) =
        (make(&SampleSpec { threads: 1, ..spec.clone() }), make(&SampleSpec { threads: 3, ..spec }));
    let (a, b) = (digests(one.path()), digests(two.path()));
    assert_eq!(a, b);
    assert_eq!(a.len(), 2 + 3 + 2 + 1, "{a:?}");
    // The pixels are pinned: another machine, or a change of the land, must not go unseen.
    let pixels = products[0].expected_pixels(products[0].asset("B01_60m").unwrap(), 0..1830, 0..1830);
    let sum = Sha256::digest(pixels.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    let sum: String = sum[..8].iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(sum, "c8e6189172dee98d");
}

#[test]
fn the_index_has_the_best_copy_of_each_band() {
    let names = ["B02_60m", "SCL_20m", "SCL_60m", "B09_60m", "MSK_CLDPRB_60m"];
    let (dir, products) = make(&SampleSpec { dates: 2, tlm: TlmChoice::Some, ..spec(&names) });
    let file = std::fs::File::open(dir.path().join("index.parquet")).unwrap();
    let batches: Vec<_> =
        ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().map(Result::unwrap).collect();
    let batch = &batches[0];
    assert_eq!(
        batch.schema().fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(),
        ["product_id", "band_id", "path", "index"]
    );
    let text = |i: usize| batch.column(i).as_string::<i32>();
    let bands: Vec<_> = text(1).iter().flatten().collect();
    assert_eq!(bands, ["SCL", "B02", "B09", "SCL", "B02", "B09"]);
    let index = batch.column(3).as_binary::<i32>();
    for (i, product) in [(1, &products[0]), (4, &products[1])] {
        let asset = product.asset("B02_60m").unwrap();
        assert_eq!((text(0).value(i), text(2).value(i)), (product.id.as_str(), asset.path.as_str()));
        assert!(dir.path().join(&asset.path[1..]).is_file());
        if product.id == products[1].id {
            assert!(index.value(i).is_empty(), "the file has its own TLM");
        } else {
            let row = index.value(i);
            assert_eq!(row[..8], asset.layout.size.to_be_bytes());
            assert_eq!(row[8..16], asset.layout.first_sot.to_be_bytes());
            assert_eq!(row.len(), 20 + usize::from(row[19]) + (usize::from(row[18]) << 8));
            assert_eq!(row[20..22], [0xff, 0x55]);
        }
    }
}

#[test]
fn metadata_lies_where_small_reads_find_it() {
    for (baseline, offsets) in [(Baseline { major: 2, minor: 14 }, 0), (Baseline { major: 4, minor: 0 }, 13)] {
        let (_dir, products) = make(&SampleSpec { baseline, ..spec(&["MSK_SNWPRB_60m"]) });
        let product = &products[0];
        let tile = crate::xml::tile_xml(product);
        assert!(tile.find("</SENSING_TIME>").unwrap() < 2048);
        assert!(tile.find("</Tile_Geocoding>").unwrap() < 4096);
        assert!(tile.contains("<HORIZONTAL_CS_CODE>EPSG:32633</HORIZONTAL_CS_CODE>"));
        let whole = std::fs::read_to_string(product.folder.join("MTD_MSIL2A.xml")).unwrap();
        assert_eq!(whole.matches("-1000</BOA_ADD_OFFSET>").count(), offsets);
        let item = crate::stac::item(product);
        assert_eq!(item["id"], product.id.as_str());
        assert_eq!(item["properties"]["grid:code"], "MGRS-33TVN");
    }
}

#[test]
fn what_cannot_be_made_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for wrong in [spec(&["B08_60m"]), SampleSpec { tile: "99XXX".into(), ..spec(&[]) }] {
        let error = write_products(dir.path(), &wrong).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
