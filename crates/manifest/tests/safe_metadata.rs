//! Product metadata: every real XML file, and doctored ones.
#![cfg(feature = "io")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::{Path, PathBuf};

use s2ice_manifest::ids::Level;
use s2ice_manifest::product::{MetadataSource, ProductId};
use s2ice_manifest::source::location::{Source, SourceOptions, SourceUrl};
use s2ice_manifest::source::safe_xml::{
    MetadataError, MetadataPaths, check_belongs, check_granule, check_product, parse_angles, parse_granule,
    parse_product, read_metadata,
};

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|e| e == "xml") {
            out.push(path);
        }
    }
    out.sort();
}

fn source(folder: &Path) -> Source {
    Source::open(&SourceUrl::parse(folder.to_str().unwrap()).unwrap(), &SourceOptions::default()).unwrap()
}

#[tokio::test]
async fn the_real_product() {
    let Some(data) = support::data() else { return };
    let source = source(&data.join("safe"));
    let name = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454";
    let raster = format!("/{name}.SAFE/GRANULE/L2A_T29UNU_A038058_20221005T115407/IMG_DATA/R20m/x.jp2");
    let metadata = read_metadata(&source, name.parse().unwrap(), &raster).await.unwrap();
    assert_eq!(source.stats().requests(), 2);
    assert_eq!((metadata.add_offset, metadata.quantification, metadata.cloud_cover), (-1000, 10000.0, Some(59.769726)));
    assert_eq!(metadata.source, MetadataSource::Product);
    assert_eq!(metadata.datastrip_start().unwrap().to_rfc3339(), "2022-10-05T11:54:07+00:00");
    let sensed = chrono::DateTime::from_timestamp_micros(metadata.sensing_time_us).unwrap();
    assert!(sensed.to_rfc3339().starts_with("2022-10-05T11:5"), "{sensed}");

    // Another tile's name on the same files.
    let other = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UPU_20221005T164454".parse().unwrap();
    let text = read_metadata(&source, other, &raster).await.unwrap_err().to_string();
    assert!(text.contains("TILE_ID is of tile 29UNU, the product's name of 29UPU"), "{text}");
    let error = read_metadata(&source, other, "/x.jp2").await.unwrap_err();
    assert!(matches!(error, MetadataError::NoSafe { .. }));
    let gone = read_metadata(&source, other, "/no.SAFE/GRANULE/g/IMG_DATA/x.jp2").await.unwrap_err();
    assert_eq!(gone.to_string(), format!("{}/no.SAFE/GRANULE/g/MTD_TL.xml does not exist", source.url()));
}

#[test]
fn every_real_granule_lies_where_the_formula_says() {
    let Some(data) = support::data() else { return };
    let mut found = Vec::new();
    files(&data, &mut found);
    let (mut right, mut doctored) = (0, 0);
    for file in found {
        let bytes = std::fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        if !text.contains("<Tile_Geocoding") {
            continue;
        }
        let path = file.to_str().unwrap();
        // The first read is enough for every one of them, and gives what the whole file gives.
        let facts = parse_granule(&bytes[..4096], path).unwrap().expect(path);
        assert_eq!(parse_granule(&bytes, path).unwrap().as_ref(), Some(&facts));
        assert_eq!(parse_granule(&bytes[..1500], path).unwrap(), None);
        let name = format!("S2A_MSIL2A_20221005T115411_N0400_R023_T{}_20221005T164454", facts.tile);
        match check_granule(name.parse().unwrap(), &facts, path) {
            Ok(()) => right += 1,
            // A test fixture of another project: tile 34LBQ with the place of 34LBP.
            Err(error) => {
                assert!(path.contains("T34LBQ"), "{error}");
                let text = error.to_string();
                assert!(
                    text.contains("EPSG:32734 with upper left (199980, 8900020)") && text.contains("for tile 34LBQ")
                );
                doctored += 1;
            }
        }
    }
    assert!(right >= 22 && doctored >= 1, "{right} right, {doctored} doctored");
}

#[test]
fn every_real_product_states_its_radiometry() {
    let Some(data) = support::data() else { return };
    let mut found = Vec::new();
    files(&data, &mut found);
    let mut offsets = Vec::new();
    for file in found {
        let path = file.to_str().unwrap();
        let level = match file.file_name().unwrap().to_str().unwrap() {
            "MTD_MSIL1C.xml" => Level::L1C,
            "MTD_MSIL2A.xml" | "MTD_MSIL2a.xml" | "product_metadata.xml" => Level::L2A,
            _ => continue,
        };
        let facts = parse_product(&std::fs::read(&file).unwrap(), level, path).unwrap();
        assert!((facts.quantification - 10_000.0).abs() < f64::EPSILON, "{path}");
        assert!(facts.cloud_cover.is_some_and(|c| (0.0..=100.0).contains(&c)), "{path}");
        let expected = if facts.baseline.number() >= 400 { -1000 } else { 0 };
        // The same fixture as above has -7000 in it, which is what counts.
        let expected = if path.contains("T34LBQ") { -7000 } else { expected };
        assert_eq!(facts.add_offset, expected, "{path}");
        let folder = file.parent().unwrap().file_name().unwrap().to_str().unwrap();
        if let Ok(product) = folder.trim_start_matches("esa_").parse::<ProductId>() {
            check_product(product, &facts, path).unwrap();
        }
        offsets.push(facts.add_offset);
    }
    assert!(offsets.len() >= 15 && offsets.contains(&0), "{offsets:?}");
}

/// Amazon's tiles have no product in their address: what lies beside each other is proven by what both files say.
#[test]
fn a_granule_belongs_to_the_product_that_names_it() {
    let Some(data) = support::data() else { return };
    let folder = data.join("xml/stactools-sentinel2");
    let read = |path: &str| std::fs::read(folder.join(path)).unwrap();
    let product = read("S2A_OPER_MSI_L2A_TL_VGS1_20220401T110010_A035382_T34LBQ/product_metadata.xml");
    let facts = parse_product(&product, Level::L2A, "products/metadata.xml").unwrap();
    assert_eq!(facts.granules.len(), 1);
    let name = "S2A_MSIL2A_20220401T083601_N0400_R064_T34LBQ_20220401T110010".parse().unwrap();
    let paths = MetadataPaths::of_raster(name, "/tiles/34/L/BQ/2022/4/1/0/R10m/B02.jp2").unwrap();
    let granule = |tile: &str| {
        let path = format!("S2A_OPER_MSI_L2A_TL_VGS1_20220401T110010_A035382_{tile}/metadata.xml");
        parse_granule(&read(&path), &path).unwrap().unwrap()
    };
    check_belongs(&granule("T34LBQ"), &facts, &paths).unwrap();
    let text = check_belongs(&granule("T34LBP"), &facts, &paths).unwrap_err().to_string();
    assert!(
        text.starts_with("/tiles/34/L/BQ/2022/4/1/0/metadata.xml: it is of granule S2A_OPER_MSI_L2A_TL_"),
        "{text}"
    );
    // The same granule in another datastrip: the other half of a datatake.
    let mut other = granule("T34LBQ");
    other.datastrip_id = other.datastrip_id.map(|id| id.replace("S20220401T090142", "S20220401T090542"));
    check_belongs(&other, &facts, &paths).unwrap_err();
    // A product that names none proves nothing.
    let silent = String::from_utf8(product).unwrap().replace("granuleIdentifier", "other");
    let silent = parse_product(silent.as_bytes(), Level::L2A, "x").unwrap();
    let text = check_belongs(&granule("T34LBQ"), &silent, &paths).unwrap_err().to_string();
    assert_eq!(
        text,
        "/products/2022/4/1/S2A_MSIL2A_20220401T083601_N0400_R064_T34LBQ_20220401T110010/metadata.xml has no granuleIdentifier"
    );
}

const PRODUCT: &str = "<?xml version=\"1.0\"?><n1:Level-2A_User_Product xmlns:n1=\"x\"><n1:General_Info><Product_Info>\
    <PRODUCT_URI>S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454.SAFE</PRODUCT_URI>\
    <PROCESSING_BASELINE>04.00</PROCESSING_BASELINE></Product_Info><QUANTIFICATION_VALUES_LIST>\
    <BOA_QUANTIFICATION_VALUE unit=\"none\">10000</BOA_QUANTIFICATION_VALUE>\
    <AOT_QUANTIFICATION_VALUE>1000.0</AOT_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>\
    <BOA_ADD_OFFSET_VALUES_LIST>@</BOA_ADD_OFFSET_VALUES_LIST></n1:General_Info></n1:Level-2A_User_Product>";

#[test]
fn radiometry_that_cannot_be_trusted_is_refused() {
    let parse = |text: &str| parse_product(text.as_bytes(), Level::L2A, "MTD_MSIL2A.xml");
    let offset = |band| format!("<BOA_ADD_OFFSET band_id=\"{band}\">-1000</BOA_ADD_OFFSET>");
    let product = PRODUCT.replace('@', &(0..13).map(offset).collect::<String>());
    let product = product.as_str();
    let facts = parse(product).unwrap();
    assert_eq!((facts.add_offset, facts.cloud_cover), (-1000, None));
    let says = |from: &str, to: &str, what: &str| {
        assert!(product.contains(from));
        let text = parse(&product.replace(from, to)).unwrap_err().to_string();
        assert!(text.contains(what), "{text}");
    };
    says("\"1\">-1000", "\"1\">0", "BOA_ADD_OFFSET of B02 is 0, of B01 -1000");
    says("\"1\">-1000", "\"1\">many", "BOA_ADD_OFFSET is \"many\"");
    says("BOA_ADD_OFFSET band_id", "OTHER band_id", "at byte");
    let without = product.replace("<BOA_ADD_OFFSET ", "<OTHER ").replace("</BOA_ADD_OFFSET>", "</OTHER>");
    assert!(parse(&without).unwrap_err().to_string().contains("has no BOA_ADD_OFFSET"));
    assert_eq!(parse(&without.replace("04.00", "03.01")).unwrap().add_offset, 0);
    says(">10000<", ">0<", "BOA_QUANTIFICATION_VALUE is \"0\"");
    says(">10000<", ">NaN<", "BOA_QUANTIFICATION_VALUE is \"NaN\"");
    says(">1000.0<", ">100<", "AOT_QUANTIFICATION_VALUE is \"100\"");
    says("PROCESSING_BASELINE>", "B>", "no PROCESSING_BASELINE");
    says("<?xml version=\"1.0\"?>", "<!DOCTYPE x [<!ENTITY a \"b\">]>", "document type definition is not allowed");
    let renamed = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20230101T000000".parse().unwrap();
    check_product(renamed, &facts, "x").unwrap();
    let newer = "S2A_MSIL2A_20221005T115411_N0500_R023_T29UNU_20230101T000000".parse().unwrap();
    assert!(check_product(newer, &facts, "x").unwrap_err().to_string().contains("PROCESSING_BASELINE is 04.00"));
    let other = "S2A_MSIL2A_20221005T115411_N0400_R024_T29UNU_20221005T164454".parse().unwrap();
    assert!(check_product(other, &facts, "x").unwrap_err().to_string().contains("PRODUCT_URI is"));
}

/// The names that PSD 14.2 gave to what is of level 2A (baselines 02.04 to 02.06, 2017), and those before and after.
#[test]
fn metadata_of_2017_are_read_like_the_others() {
    const ID: &str = "S2A_MSIL2A_20170823T094031_N0205_R036_T34VFJ_20170823T094252";
    const TILE: &str = "S2A_USER_MSI_L2A_TL_SGS__20170823T133142_A011330_T34VFJ_N02.05";
    const STRIP: &str = "S2A_USER_MSI_L2A_DS_SGS__20170823T133142_S20170823T094252_N02.05";
    let id: ProductId = ID.parse().unwrap();
    let geocoding = s2ice_manifest::grid::TileGeocoding::of(id.tile());
    let sizes: String = [(10, 10980), (20, 5490), (60, 1830)]
        .map(|(r, n)| {
            format!(
                "<Size resolution=\"{r}\"><NROWS>{n}</NROWS><NCOLS>{n}</NCOLS></Size><Geoposition resolution=\"{r}\"><ULX>{}\
                 </ULX><ULY>{}</ULY><XDIM>{r}</XDIM><YDIM>-{r}</YDIM></Geoposition>",
                geocoding.ulx, geocoding.uly
            )
        })
        .concat();
    let granule = |psd: u8, ids: &str| {
        let text = format!(
            "<n1:Level-2A_Tile_ID xmlns:n1=\"https://psd-{psd}.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A_Tile_Metadata.xsd\">\
             <n1:General_Info>{ids}<SENSING_TIME metadataLevel=\"Standard\">2017-08-23T09:42:52.000Z</SENSING_TIME></n1:General_Info>\
             <n1:Geometric_Info><Tile_Geocoding><HORIZONTAL_CS_CODE>EPSG:{}</HORIZONTAL_CS_CODE>{sizes}</Tile_Geocoding>\
             </n1:Geometric_Info><n1:Quality_Indicators_Info><L1C_Image_Content_QI/><L2A_Image_Content_QI>\
             <CLOUD_COVERAGE_PERCENTAGE>8.1</CLOUD_COVERAGE_PERCENTAGE></L2A_Image_Content_QI></n1:Quality_Indicators_Info>\
             </n1:Level-2A_Tile_ID>",
            geocoding.epsg
        );
        let facts = parse_granule(text.as_bytes(), "MTD_TL.xml").unwrap().unwrap();
        check_granule(id, &facts, "MTD_TL.xml").unwrap();
        facts
    };
    let new = format!("<TILE_ID>{TILE}</TILE_ID><DATASTRIP_ID>{STRIP}</DATASTRIP_ID>");
    let old = new.replace("_ID>", "_ID_2A>");
    let of_1c = new.replace("L2A", "L1C");
    let mut granules = Vec::new();
    for ids in [new.clone(), old.clone(), of_1c.clone() + &old, old.clone() + &of_1c] {
        for psd in [12, 13, 14] {
            granules.push(granule(psd, &ids));
        }
    }
    assert!(granules.iter().all(|facts| facts.tile_id == TILE && facts.datastrip_id.as_deref() == Some(STRIP)));

    let list = |names: [&str; 2], class: &str| {
        let images = format!("<{0}>GRANULE/g/IMG_DATA/R20m/L2A_T34VFJ_20170823T094031_B02_20m</{0}>", names[1]);
        let (tile, strip) = (TILE.replace("USER", class), STRIP.replace("USER", class));
        let inner =
            format!("<{0} datastripIdentifier=\"{strip}\" granuleIdentifier=\"{tile}\">{images}</{0}>", names[0]);
        format!("<Granule_List>{inner}</Granule_List>").repeat(3)
    };
    let uris = format!(
        "<PRODUCT_URI_1C>{}</PRODUCT_URI_1C><PRODUCT_URI_2A>{ID}.SAFE</PRODUCT_URI_2A>",
        ID.replace("L2A", "L1C")
    );
    let product = |uris: &str, list: &str, clouds: &str| {
        let text = format!(
            "<n1:Level-2A_User_Product xmlns:n1=\"x\"><n1:General_Info><L2A_Product_Info>{uris}<PROCESSING_LEVEL>Level-2Ap\
             </PROCESSING_LEVEL><PROCESSING_BASELINE>02.05</PROCESSING_BASELINE><L2A_Product_Organisation>{list}\
             </L2A_Product_Organisation></L2A_Product_Info><L2A_Product_Image_Characteristics><L1C_L2A_Quantification_Values_List>\
             <L1C_TOA_QUANTIFICATION_VALUE>1000</L1C_TOA_QUANTIFICATION_VALUE><L2A_BOA_QUANTIFICATION_VALUE>10000\
             </L2A_BOA_QUANTIFICATION_VALUE><L2A_AOT_QUANTIFICATION_VALUE>1000.0</L2A_AOT_QUANTIFICATION_VALUE>\
             <L2A_WVP_QUANTIFICATION_VALUE>1000.0</L2A_WVP_QUANTIFICATION_VALUE></L1C_L2A_Quantification_Values_List>\
             </L2A_Product_Image_Characteristics></n1:General_Info><n1:L2A_Quality_Indicators_Info>{clouds}\
             </n1:L2A_Quality_Indicators_Info></n1:Level-2A_User_Product>"
        );
        let facts = parse_product(text.as_bytes(), Level::L2A, "MTD_MSIL2A.xml").unwrap();
        check_product(id, &facts, "MTD_MSIL2A.xml").unwrap();
        facts
    };
    let image =
        "<L2A_Image_Content_QI><CLOUD_COVERAGE_PERCENTAGE>8.1</CLOUD_COVERAGE_PERCENTAGE></L2A_Image_Content_QI>";
    let whole = |text: &str| format!("<Cloud_Coverage_Assessment>{text}</Cloud_Coverage_Assessment>");
    for (clouds, expected) in [
        (whole("9.5"), Some(9.5)),
        (image.to_owned() + &whole("9.5"), Some(9.5)),
        (image.to_owned() + &whole("N/A"), Some(8.1)),
        (image.to_owned(), Some(8.1)),
        (whole("N/A"), None),
        (String::new(), None),
    ] {
        assert_eq!(product(&uris, "", &clouds).cloud_cover, expected, "{clouds}");
    }
    let paths = MetadataPaths::of_raster(id, "/tiles/34/V/FJ/2017/8/23/0/R10m/B02.jp2").unwrap();
    for names in [["Granule", "IMAGE_FILE_2A"], ["Granule", "IMAGE_FILE"], ["Granules", "IMAGE_FILE_2A"]] {
        for class in ["USER", "OPER"] {
            let facts = product(&uris, &list(names, class), "");
            assert_eq!((facts.add_offset, facts.quantification, facts.images.len()), (0, 10_000.0, 3));
            assert_eq!(facts.product, Some(id));
            assert!(granules.iter().all(|granule| check_belongs(granule, &facts, &paths).is_ok()), "{names:?} {class}");
        }
    }
    let other = list(["Granule", "IMAGE_FILE_2A"], "USER").replace("A011330", "A011331");
    assert!(check_belongs(&granules[0], &product(&uris, &other, ""), &paths).is_err());
}

#[test]
fn metadata_lies_beside_the_granule() {
    let id: ProductId = "S2A_MSIL1C_20221005T115411_N0400_R023_T29UNU_20221005T164454".parse().unwrap();
    let of = |path: &str| MetadataPaths::of_raster(id, path).map(|p| (p.granule, p.product));
    let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
    assert_eq!(
        of("/a/X.SAFE/GRANULE/g/IMG_DATA/R10m/b.jp2"),
        pair("/a/X.SAFE/GRANULE/g/MTD_TL.xml", "/a/X.SAFE/MTD_MSIL1C.xml")
    );
    assert_eq!(of("/GRANULE/g/QI_DATA/b.jp2"), pair("/GRANULE/g/MTD_TL.xml", "/MTD_MSIL1C.xml"));
    assert_eq!(of("GRANULE/g/QI_DATA/b.jp2"), pair("GRANULE/g/MTD_TL.xml", "MTD_MSIL1C.xml"));
    assert_eq!(of("/b.jp2"), None);
    assert_eq!(of("GRANULE/b.jp2"), None);
}

/// Every number of every real granule's grids, counted and summed by a plain search of the text.
#[test]
fn every_real_granule_has_its_angles() {
    let Some(data) = support::data() else { return };
    let mut found = Vec::new();
    files(&data, &mut found);
    let (mut parsed, mut most) = (0, 0);
    for file in found {
        let bytes = std::fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        if !text.contains("<Tile_Angles") {
            continue;
        }
        let path = file.to_str().unwrap();
        if path.contains("T34VEL") {
            // At the edge of the swath a processor wrote one viewing grid of a single 0, on steps of 0 m.
            assert!(parse_angles(&bytes, path).unwrap_err().to_string().ends_with("COL_STEP is \"0\""));
            continue;
        }
        let angles = parse_angles(&bytes, path).unwrap();
        let rows = text.split("<VALUES>").skip(1).map(|rest| rest.split('<').next().unwrap());
        let (mut count, mut sum) = (0_usize, 0.0);
        for value in rows.flat_map(str::split_ascii_whitespace).map(|value| value.parse::<f64>().unwrap()) {
            if !value.is_nan() {
                count += 1;
                sum += value;
            }
        }
        let grids = std::iter::once(&angles.sun).chain(angles.viewing.values());
        let values: Vec<f64> = grids.flatten().filter(|v| !v.is_nan()).map(|v| f64::from(*v)).collect();
        assert_eq!(values.len(), count, "{path}");
        assert!((values.iter().sum::<f64>() - sum).abs() < 1e-6 * sum, "{path}");
        assert_eq!(angles.viewing.len(), text.matches("<Viewing_Incidence_Angles_Grids").count(), "{path}");
        // One file of another project's tests has no means.
        let without = text.matches(">NaN</ZENITH_ANGLE>").count();
        let means = std::iter::once(&angles.mean_sun).chain(&angles.mean_viewing);
        assert_eq!(means.filter(|[zenith, _]| zenith.is_nan()).count(), without, "{path}");
        parsed += 1;
        most = most.max(angles.viewing.len());
        // Whatever is cut off the end: no angles.
        for part in 1..8 {
            assert!(parse_angles(&bytes[..bytes.len() * part / 8], path).is_err());
        }
    }
    assert!(parsed >= 15 && most == 91, "{parsed} files, {most} grids");
}
