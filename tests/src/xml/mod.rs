//! The XML of a product, with the element names, nesting and namespaces of real ones: `manifest.safe`,
//! `MTD_MSIL2A.xml` or `MTD_MSIL1C.xml`, and the granule's `MTD_TL.xml`.

mod angles;
mod manifest;

use std::fmt::Write as _;
use std::fs;
use std::io;

use crate::grid::SIDE;
use crate::sample::SampleProduct;
use crate::scene::ClassShares;
use crate::spec::Level;

const HEAD: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="no"?>"#;
const BOA_QUANTIFICATION: &str = r#"      <QUANTIFICATION_VALUES_LIST>
        <BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
        <AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>
        <WVP_QUANTIFICATION_VALUE unit="cm">1000.0</WVP_QUANTIFICATION_VALUE>
      </QUANTIFICATION_VALUES_LIST>
"#;
/// Physical bands in the order of their `bandId`, resolution, and the limits of the band in nm.
const SPECTRAL: [(&str, u32, u32, u32); 13] = [
    ("B1", 60, 432, 452),
    ("B2", 10, 459, 525),
    ("B3", 10, 541, 577),
    ("B4", 10, 649, 680),
    ("B5", 20, 697, 712),
    ("B6", 20, 733, 748),
    ("B7", 20, 773, 793),
    ("B8", 10, 780, 886),
    ("B8A", 20, 854, 875),
    ("B9", 60, 935, 955),
    ("B10", 60, 1358, 1389),
    ("B11", 20, 1568, 1659),
    ("B12", 20, 2115, 2290),
];

/// Writes the three files.
///
/// # Errors
/// What the disk says.
pub fn write(product: &SampleProduct) -> io::Result<()> {
    let granule = format!("GRANULE/{}", product.identity.granule());
    let inner =
        [(product_xml_name(product), product_xml(product)), (format!("{granule}/MTD_TL.xml"), tile_xml(product))];
    fs::create_dir_all(product.folder.join(&granule))?;
    for (name, text) in &inner {
        fs::write(product.folder.join(name), text)?;
    }
    fs::write(product.folder.join("manifest.safe"), manifest::manifest(product, &inner))
}

/// Latitudes and longitudes around the tile, closed, as in EXT_POS_LIST.
fn footprint(product: &SampleProduct) -> String {
    let corners = product.identity.grid.corners();
    corners.iter().chain(&corners[..1]).map(|(lon, lat)| format!("{lat:.9} {lon:.9} ")).collect()
}

fn shares_xml(shares: &ClassShares, indent: &str) -> String {
    let names = [
        ("NODATA_PIXEL", 0),
        ("SATURATED_DEFECTIVE_PIXEL", 1),
        ("DARK_FEATURES", 2),
        ("CLOUD_SHADOW", 3),
        ("VEGETATION", 4),
        ("NOT_VEGETATED", 5),
        ("WATER", 6),
        ("UNCLASSIFIED", 7),
        ("MEDIUM_PROBA_CLOUDS", 8),
        ("HIGH_PROBA_CLOUDS", 9),
        ("THIN_CIRRUS", 10),
        ("SNOW_ICE", 11),
    ];
    names
        .iter()
        .map(|(name, i)| format!("{indent}<{name}_PERCENTAGE>{:.6}</{name}_PERCENTAGE>\n", shares[*i]))
        .collect()
}

/// `MTD_MSIL2A.xml` or `MTD_MSIL1C.xml`.
#[must_use]
pub fn product_xml_name(product: &SampleProduct) -> String {
    format!("MTD_MSIL{}.xml", product.identity.level.digits())
}

/// The text of that file.
#[must_use]
pub fn product_xml(product: &SampleProduct) -> String {
    let id = &product.identity;
    let (start, orbit, level) = (id.datatake.iso(3), id.relative_orbit, id.level.digits());
    let psd = if id.baseline.major >= 5 && id.baseline.minor >= 11 { 15 } else { 14 };
    let space = format!("https://psd-{psd}.sentinel2.eo.esa.int/PSD/User_Product_Level-{level}.xsd");
    let images: String = product
        .assets
        .iter()
        .filter(|a| !a.raster.is_mask())
        .filter_map(|a| a.path.split_once(".SAFE/")?.1.strip_suffix(".jp2"))
        .map(|path| format!("            <IMAGE_FILE>{path}</IMAGE_FILE>\n"))
        .collect();
    let (offset_name, offset_list) = match id.level {
        Level::L1C => ("RADIO_ADD_OFFSET", "Radiometric_Offset_List"),
        Level::L2A => ("BOA_ADD_OFFSET", "BOA_ADD_OFFSET_VALUES_LIST"),
    };
    let offsets = match id.baseline.offset() {
        0 => String::new(),
        offset => {
            let line = |i| format!("        <{offset_name} band_id=\"{i}\">-{offset}</{offset_name}>\n");
            let lines: String = (0..SPECTRAL.len()).map(line).collect();
            format!("      <{offset_list}>\n{lines}      </{offset_list}>\n")
        }
    };
    let quantification = match id.level {
        Level::L1C => "      <QUANTIFICATION_VALUE unit=\"none\">10000</QUANTIFICATION_VALUE>\n",
        Level::L2A => BOA_QUANTIFICATION,
    };
    let spectral: String = (0..)
        .zip(SPECTRAL)
        .map(|(i, (band, resolution, low, high))| {
            let centre = (low + high) / 2;
            format!(
                r#"        <Spectral_Information bandId="{i}" physicalBand="{band}">
          <RESOLUTION>{resolution}</RESOLUTION>
          <Wavelength><MIN unit="nm">{low}</MIN><MAX unit="nm">{high}</MAX><CENTRAL unit="nm">{centre}</CENTRAL></Wavelength>
        </Spectral_Information>
"#
            )
        })
        .collect();
    format!(
        r#"{HEAD}
<n1:Level-{level}_User_Product xmlns:n1="{space}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="{space}">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>{start}</PRODUCT_START_TIME>
      <PRODUCT_STOP_TIME>{start}</PRODUCT_STOP_TIME>
      <PRODUCT_URI>{name}.SAFE</PRODUCT_URI>
      <PROCESSING_LEVEL>Level-{level}</PROCESSING_LEVEL>
      <PRODUCT_TYPE>S2MSI{level}</PRODUCT_TYPE>
      <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
      <GENERATION_TIME>{made}</GENERATION_TIME>
      <PREVIEW_IMAGE_URL>Not applicable</PREVIEW_IMAGE_URL>
      <PREVIEW_GEO_INFO>Not applicable</PREVIEW_GEO_INFO>
      <Datatake datatakeIdentifier="{datatake}">
        <SPACECRAFT_NAME>{craft}</SPACECRAFT_NAME>
        <DATATAKE_TYPE>INS-NOBS</DATATAKE_TYPE>
        <DATATAKE_SENSING_START>{start}</DATATAKE_SENSING_START>
        <SENSING_ORBIT_NUMBER>{orbit}</SENSING_ORBIT_NUMBER>
        <SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION>
      </Datatake>
      <Query_Options completeSingleTile="true">
        <PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT>
      </Query_Options>
      <Product_Organisation>
        <Granule_List>
          <Granule datastripIdentifier="{datastrip}" granuleIdentifier="{tile}" imageFormat="JPEG2000">
{images}          </Granule>
        </Granule_List>
      </Product_Organisation>
    </Product_Info>
    <Product_Image_Characteristics>
      <Special_Values>
        <SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
        <SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>
      </Special_Values>
      <Special_Values>
        <SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT>
        <SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX>
      </Special_Values>
      <Image_Display_Order>
        <RED_CHANNEL>3</RED_CHANNEL>
        <GREEN_CHANNEL>2</GREEN_CHANNEL>
        <BLUE_CHANNEL>1</BLUE_CHANNEL>
      </Image_Display_Order>
{quantification}{offsets}      <Spectral_Information_List>
{spectral}      </Spectral_Information_List>
    </Product_Image_Characteristics>
  </n1:General_Info>
  <n1:Geometric_Info>
    <Product_Footprint>
      <Product_Footprint>
        <Global_Footprint>
          <EXT_POS_LIST>{footprint}</EXT_POS_LIST>
        </Global_Footprint>
      </Product_Footprint>
      <RASTER_CS_TYPE>POINT</RASTER_CS_TYPE>
      <PIXEL_ORIGIN>1</PIXEL_ORIGIN>
    </Product_Footprint>
    <Coordinate_Reference_System>
      <GEO_TABLES version="1">EPSG</GEO_TABLES>
      <HORIZONTAL_CS_TYPE>GEOGRAPHIC</HORIZONTAL_CS_TYPE>
    </Coordinate_Reference_System>
  </n1:Geometric_Info>
  <n1:Quality_Indicators_Info>
    <Cloud_Coverage_Assessment>{cloud:.6}</Cloud_Coverage_Assessment>
    <Image_Content_QI>
{shares}    </Image_Content_QI>
  </n1:Quality_Indicators_Info>
</n1:Level-{level}_User_Product>
"#,
        name = product.id,
        baseline = id.baseline,
        made = id.generated.iso(6),
        datatake = id.datatake_id(),
        craft = id.satellite.replace("S2", "Sentinel-2"),
        datastrip = id.datastrip_id(),
        tile = id.tile_id(&format!("L{level}")),
        footprint = footprint(product),
        cloud = product.cloud_cover(),
        shares = shares_xml(&product.shares, "      "),
    )
}

/// `MTD_TL.xml`. SENSING_TIME lies in its first 2 kB, the geocoding within 4 kB, as in real ones.
#[must_use]
pub fn tile_xml(product: &SampleProduct) -> String {
    let (id, grid) = (&product.identity, &product.identity.grid);
    let level = id.level.digits();
    let space = format!("https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-{level}_Tile_Metadata.xsd");
    let l1c = match id.level {
        Level::L1C => String::new(),
        Level::L2A => {
            format!("    <L1C_TILE_ID metadataLevel=\"Brief\">{}</L1C_TILE_ID>\n", id.tile_id("L1C"))
        }
    };
    let mut sizes = String::new();
    let mut places = String::new();
    for r in [10, 20, 60] {
        let (n, x, y) = (SIDE / r, grid.ulx, grid.uly);
        let _ = write!(
            sizes,
            r#"      <Size resolution="{r}">
        <NROWS>{n}</NROWS>
        <NCOLS>{n}</NCOLS>
      </Size>
"#
        );
        let _ = write!(
            places,
            r#"      <Geoposition resolution="{r}">
        <ULX>{x}</ULX>
        <ULY>{y}</ULY>
        <XDIM>{r}</XDIM>
        <YDIM>-{r}</YDIM>
      </Geoposition>
"#
        );
    }
    let masks: String = product
        .assets
        .iter()
        .filter(|a| a.raster.is_mask())
        .filter_map(|a| {
            let kind = a.raster.asset.rsplit_once('_')?.0;
            let path = a.path.split_once(".SAFE/")?.1;
            Some(format!("      <MASK_FILENAME type=\"{kind}\">{path}</MASK_FILENAME>\n"))
        })
        .collect();
    format!(
        r#"{HEAD}
<n1:Level-{level}_Tile_ID xmlns:n1="{space}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="{space}">
  <n1:General_Info>
{l1c}    <TILE_ID metadataLevel="Brief">{tile}</TILE_ID>
    <DATASTRIP_ID metadataLevel="Standard">{datastrip}</DATASTRIP_ID>
    <DOWNLINK_PRIORITY metadataLevel="Standard">NOMINAL</DOWNLINK_PRIORITY>
    <SENSING_TIME metadataLevel="Standard">{sensing}</SENSING_TIME>
    <Archiving_Info metadataLevel="Expertise">
      <ARCHIVING_CENTRE>{centre}</ARCHIVING_CENTRE>
      <ARCHIVING_TIME>{archived}</ARCHIVING_TIME>
    </Archiving_Info>
  </n1:General_Info>
  <n1:Geometric_Info>
    <Tile_Geocoding metadataLevel="Brief">
      <HORIZONTAL_CS_NAME>{crs}</HORIZONTAL_CS_NAME>
      <HORIZONTAL_CS_CODE>EPSG:{epsg}</HORIZONTAL_CS_CODE>
{sizes}{places}    </Tile_Geocoding>
{angles}  </n1:Geometric_Info>
  <n1:Quality_Indicators_Info metadataLevel="Standard">
    <Image_Content_QI>
      <CLOUDY_PIXEL_PERCENTAGE>{cloud:.6}</CLOUDY_PIXEL_PERCENTAGE>
      <DEGRADED_MSI_DATA_PERCENTAGE>0.000000</DEGRADED_MSI_DATA_PERCENTAGE>
{shares}    </Image_Content_QI>
    <Pixel_Level_QI geometry="FULL_RESOLUTION">
{masks}    </Pixel_Level_QI>
  </n1:Quality_Indicators_Info>
</n1:Level-{level}_Tile_ID>
"#,
        tile = id.tile_id(&format!("L{level}")),
        datastrip = id.datastrip_id(),
        sensing = id.sensing.iso(6),
        centre = id.centre(),
        archived = id.generated.plus(1_543_000_000).iso(6),
        crs = grid.crs_name(),
        epsg = grid.epsg(),
        angles = angles::angles(product),
        cloud = product.cloud_cover(),
        shares = shares_xml(&product.shares, "      "),
    )
}
