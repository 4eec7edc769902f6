#![allow(clippy::unwrap_used)]

use super::*;
use crate::source::safe_xml::MetadataPaths;

const PRODUCT: &str = "S2B_MSIL2A_20240825T173909_N0511_R098_T13TDE_20240825T215747";
const INSIDE: &str = "GRANULE/L2A_T13TDE_A039020_20240825T174804/IMG_DATA/R10m/T13TDE_20240825T173909_B02_10m.jp2";

fn place(layout: Layout, indexed: &str) -> Result<String, MirrorError> {
    let product = ProductId::find_in(indexed).unwrap_or_else(|| PRODUCT.parse().unwrap());
    layout.place(product, Asset::of_path(indexed).unwrap(), indexed)
}

#[test]
fn each_mirror_has_its_own_place() {
    let cdse = format!("/Sentinel-2/MSI/L2A/2024/08/25/{PRODUCT}.SAFE/{INSIDE}");
    let gcs = format!("/L2/tiles/13/T/DE/{PRODUCT}.SAFE/{INSIDE}");
    for indexed in [&cdse, &gcs, &format!("/eodata{cdse}"), &format!("/{PRODUCT}.SAFE/{INSIDE}"), &format!("/{INSIDE}")]
    {
        assert_eq!(place(Layout::Indexed, indexed).unwrap(), *indexed);
        assert_eq!(place(Layout::Cdse, indexed).unwrap(), cdse);
        assert_eq!(place(Layout::Gcs, indexed).unwrap(), gcs);
        assert_eq!(place(Layout::Aws, indexed).unwrap(), "/tiles/13/T/DE/2024/8/25/0/R10m/B02.jp2");
    }
}

#[test]
fn places_are_those_of_recorded_catalogues() {
    // Earth Search: hrefs of s3://sentinel-s2-l2a and -l1c.
    let l2a =
        "/S2B_MSIL2A_20250731T130245_N0511_R095_T24MVV_20250731T150000.SAFE/GRANULE/L2A_T24MVV_A043850_20250731T130239";
    let raster = |r: &str, band: &str| format!("{l2a}/IMG_DATA/{r}/T24MVV_20250731T130245_{band}_{}.jp2", &r[1..]);
    for (r, band) in [("R10m", "B02"), ("R10m", "TCI"), ("R20m", "SCL"), ("R20m", "B8A"), ("R60m", "B09")] {
        let tail = format!("/tiles/24/M/VV/2025/7/31/0/{r}/{band}.jp2");
        assert_eq!(place(Layout::Aws, &raster(r, band)).unwrap(), tail);
    }
    let l1c =
        "/S2B_MSIL1C_20250731T130245_N0511_R095_T24MVV_20250731T150000.SAFE/GRANULE/L1C_T24MVV_A043850_20250731T130239";
    let band = format!("{l1c}/IMG_DATA/T24MVV_20250731T130245_B02.jp2");
    assert_eq!(place(Layout::Aws, &band).unwrap(), "/tiles/24/M/VV/2025/7/31/0/B02.jp2");
    assert!(place(Layout::Gcs, &band).unwrap().starts_with("/tiles/24/M/VV/S2B_MSIL1C_"));
    let mask = format!("{l1c}/QI_DATA/MSK_DETFOO_B02.jp2");
    assert!(matches!(place(Layout::Aws, &mask), Err(MirrorError::NotKept { .. })));
    assert!(place(Layout::Gcs, &mask).unwrap().ends_with("/QI_DATA/MSK_DETFOO_B02.jp2"));
}

#[test]
fn zones_below_ten_are_written_as_each_mirror_does() {
    let name = "S2A_MSIL2A_20240102T220451_N0510_R129_T01CDK_20240102T233445";
    let indexed = format!(
        "/{name}.SAFE/GRANULE/L2A_T01CDK_A044546_20240102T220452/IMG_DATA/R60m/T01CDK_20240102T220451_B01_60m.jp2"
    );
    assert!(place(Layout::Gcs, &indexed).unwrap().starts_with("/L2/tiles/01/C/DK/"));
    assert_eq!(place(Layout::Aws, &indexed).unwrap(), "/tiles/1/C/DK/2024/1/2/0/R60m/B01.jp2");
}

#[test]
fn what_does_not_follow_is_an_error() {
    let reprocessed = "S2A_MSIL2A_20180825T173901_N0500_R098_T13TDE_20230825T215747";
    let indexed = format!("/{reprocessed}.SAFE/{INSIDE}");
    let there = format!("/eodata/Sentinel-2/MSI/L2A_N0500/2018/08/25{indexed}");
    assert_eq!(place(Layout::Cdse, &there).unwrap(), there["/eodata".len()..]);
    assert_eq!(place(Layout::Cdse, &indexed).unwrap(), there["/eodata".len()..]);
    for (from, to) in [("N0500", "N0511"), ("L2A", "L1C")] {
        assert_eq!(place(Layout::Cdse, &indexed.replace(from, to)), Err(MirrorError::Reprocessed), "{to}");
    }
    let there = there.replace("N0500_R", "N0511_R");
    assert_eq!(place(Layout::Cdse, &there).unwrap(), there["/eodata".len()..], "an index made there knows");
    let aws = "/tiles/13/T/DE/2024/8/25/1/R10m/B02.jp2";
    let asset = Asset::of_path(INSIDE).unwrap();
    let product: ProductId = PRODUCT.parse().unwrap();
    assert_eq!(Layout::Aws.place(product, asset, aws).unwrap(), aws, "its own number stays");
    assert!(matches!(Layout::Gcs.place(product, asset, aws), Err(MirrorError::NoSafe { .. })));
}

#[test]
fn every_place_in_recorded_answers_of_the_data_space_follows_from_the_name() {
    let Some(folder) = crate::real_data::real_data("stac") else { return };
    let mut checked = 0;
    for file in files(&folder) {
        let Ok(text) = std::fs::read_to_string(file) else { continue };
        for (at, _) in text.match_indices("s3://eodata/Sentinel-2/MSI/L") {
            let path = text[at + "s3://eodata".len()..].split('"').next().unwrap();
            let (Some(asset), Some(start)) = (Asset::of_path(path), path.find("S2")) else { continue };
            let product = ProductId::find_in(path).unwrap();
            assert_eq!(Layout::Cdse.place(product, asset, &path[start..]).unwrap(), path);
            checked += 1;
        }
    }
    assert!(checked > 500, "{checked}");
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn metadata_is_found_in_amazons_layout() {
    let product: ProductId = PRODUCT.parse().unwrap();
    for root in ["/", "", "/mirror/"] {
        let paths =
            MetadataPaths::of_raster(product, &format!("{root}tiles/13/T/DE/2024/8/25/0/R10m/B02.jp2")).unwrap();
        assert_eq!(paths.granule, format!("{root}tiles/13/T/DE/2024/8/25/0/metadata.xml"));
        assert_eq!(paths.product, format!("{root}products/2024/8/25/{PRODUCT}/metadata.xml"));
        assert_eq!(paths.manifest, format!("{root}products/2024/8/25/{PRODUCT}/manifest.safe"));
    }
    for path in ["/tiles/13/T/DE/2024/8/B02.jp2", "/tiles/13/T/DE/a/8/25/0/B02.jp2", "/x/B02.jp2"] {
        assert_eq!(MetadataPaths::of_raster(product, path), None, "{path}");
    }
}

#[test]
fn names_set_what_was_not_given() {
    let mut options = SourceOptions::default();
    assert_eq!(address("cdse", &mut options), "s3://eodata");
    assert_eq!(options.endpoint.as_deref(), Some("https://eodata.dataspace.copernicus.eu"));
    assert_eq!((options.layout, options.virtual_hosted), (Some(Layout::Cdse), Some(false)));
    let mut options = SourceOptions { endpoint: Some("http://127.0.0.1".to_owned()), ..SourceOptions::default() };
    assert_eq!(address("aws-l2a", &mut options), "s3://sentinel-s2-l2a");
    assert_eq!(
        (options.endpoint.as_deref(), options.region.as_deref()),
        (Some("http://127.0.0.1"), Some("eu-central-1"))
    );
    assert!(options.request_payer && !options.anonymous);
    let mut options = SourceOptions::default();
    assert_eq!(address("gcs", &mut options), "gs://gcp-public-data-sentinel-2");
    assert!(options.anonymous);
    let mut options = SourceOptions::default();
    assert_eq!(address("./cdse", &mut options), "./cdse");
    assert_eq!(options, SourceOptions::default());
}
