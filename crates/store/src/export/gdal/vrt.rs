//! Virtual rasters (GDAL's VRT): what the arrays of a store say of their values, over the files of one product.

use chrono::{DateTime, SecondsFormat};
use s2ice_manifest::assemble::Step;
use s2ice_manifest::grid::TileGeocoding;
use s2ice_manifest::profile::HeaderProfile;
use s2ice_manifest::raster::{Asset, Quantity};
use serde_json::{Map, Value};

use super::xml::escape;
use crate::layout::crs;
use crate::layout::pixels::Pixels;

/// An array of a product, and the file that GDAL opens for it.
pub struct Source<'a> {
    /// Name of the array.
    pub name: &'a str,
    /// What it is.
    pub asset: Asset,
    /// Its geometry.
    pub header: &'a HeaderProfile,
    /// Its attributes in the store.
    pub attributes: &'a Map<String, Value>,
    /// As GDAL names it.
    pub file: String,
}

impl Source<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).and_then(Value::as_str)
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.attributes.get(name).and_then(Value::as_f64)
    }

    /// What each component shows, where it says so.
    fn components(&self) -> Vec<&str> {
        match self.asset.quantity {
            Quantity::Tci => vec!["red", "green", "blue"],
            _ => self.text("component_meanings").map(|names| names.split_whitespace().collect()).unwrap_or_default(),
        }
    }

    /// Names of the values 0, 1, ... of a class raster.
    fn categories(&self) -> Option<Vec<&str>> {
        let values = self.attributes.get("flag_values")?.as_array()?;
        let counted = values.iter().zip(0u64..).all(|(value, n)| value.as_u64() == Some(n));
        counted.then_some(self.text("flag_meanings")?.split_whitespace().collect())
    }

    fn band(&self, band: u32, component: u32) -> String {
        let kind = if self.header.bit_depth <= 8 { "Byte" } else { "UInt16" };
        let ((height, width), (tile_height, tile_width)) = (self.header.image, self.header.tile);
        let blocks = format!("blockXSize=\"{tile_width}\" blockYSize=\"{tile_height}\"");
        let mut out = format!("  <VRTRasterBand dataType=\"{kind}\" band=\"{band}\" {blocks}>\n");
        let mut put = |name: &str, value: &str| {
            out += &format!("    <{name}>{}</{name}>\n", escape(value));
        };
        let meaning = self.components().get(component as usize).copied();
        match meaning {
            Some(meaning) => put("Description", &format!("{} {meaning}", self.name)),
            None if self.header.components > 1 => put("Description", &format!("{} {}", self.name, component + 1)),
            None => put("Description", self.name),
        }
        if self.asset.quantity == Quantity::Tci {
            put("ColorInterp", ["Red", "Green", "Blue"].get(component as usize).copied().unwrap_or("Undefined"));
        }
        let numbers = [("NoDataValue", "_FillValue"), ("Offset", "add_offset"), ("Scale", "scale_factor")];
        for (name, attribute) in numbers {
            if let Some(number) = self.number(attribute) {
                put(name, &number.to_string());
            }
        }
        if let Some(unit) = self.text("units").filter(|unit| *unit != "1") {
            put("UnitType", unit);
        }
        if let Some(names) = self.categories() {
            out += "    <CategoryNames>\n";
            names.iter().for_each(|name| out += &format!("      <Category>{}</Category>\n", escape(name)));
            out += "    </CategoryNames>\n";
        }
        if let Some(name) = self.text("long_name") {
            out += &metadata("    ", None, &[("long_name", name.to_owned())]);
        }
        let place = format!("xOff=\"0\" yOff=\"0\" xSize=\"{width}\" ySize=\"{height}\"");
        let size = format!("RasterXSize=\"{width}\" RasterYSize=\"{height}\"");
        let tiles = format!("BlockXSize=\"{tile_width}\" BlockYSize=\"{tile_height}\"");
        let file = escape(&self.file);
        out += "    <SimpleSource>\n";
        out += &format!("      <SourceFilename relativeToVRT=\"0\">{file}</SourceFilename>\n");
        out += &format!("      <SourceBand>{}</SourceBand>\n", component + 1);
        out += &format!("      <SourceProperties {size} DataType=\"{kind}\" {tiles}/>\n");
        out += &format!("      <SrcRect {place}/>\n      <DstRect {place}/>\n    </SimpleSource>\n");
        out + "  </VRTRasterBand>\n"
    }
}

/// The VRT of arrays of one resolution of a product, one band for each of their components.
pub fn write(step: &Step, geocoding: TileGeocoding, sources: &[Source<'_>]) -> String {
    let Some(first) = sources.first() else { return String::new() };
    let (height, width) = first.header.image;
    let [a, b, c, d, e, f] = Pixels::whole(geocoding, first.asset.resolution).transform();
    let mut out = format!("<VRTDataset rasterXSize=\"{width}\" rasterYSize=\"{height}\">\n");
    out += &format!("  <SRS dataAxisToSRSAxisMapping=\"1,2\">{}</SRS>\n", escape(&crs::wkt(geocoding)));
    out += &format!("  <GeoTransform>{c}, {a}, {b}, {f}, {d}, {e}</GeoTransform>\n");
    let sensed = DateTime::from_timestamp_micros(step.metadata.sensing_time_us).unwrap_or_default();
    let mut general = vec![
        ("AREA_OR_POINT", "Area".to_owned()),
        ("product_id", step.id.to_string()),
        ("time", sensed.to_rfc3339_opts(SecondsFormat::Micros, true)),
    ];
    general.extend(step.metadata.datastrip_id.clone().map(|id| ("datastrip_id", id)));
    out += &metadata("  ", None, &general);
    let mut imagery = vec![
        ("SATELLITEID", step.id.platform()),
        ("ACQUISITIONDATETIME", sensed.format("%Y-%m-%d %H:%M:%S").to_string()),
    ];
    imagery.extend(step.metadata.cloud_cover.map(|percent| ("CLOUDCOVER", format!("{percent:.0}"))));
    out += &metadata("  ", Some("IMAGERY"), &imagery);
    let bands = sources.iter().flat_map(|source| (0..source.header.components).map(move |c| (source, c)));
    for (number, (source, component)) in (1..).zip(bands) {
        out += &source.band(number, component);
    }
    out + "</VRTDataset>\n"
}

fn metadata(indent: &str, domain: Option<&str>, items: &[(&str, String)]) -> String {
    let domain = domain.map(|domain| format!(" domain=\"{domain}\"")).unwrap_or_default();
    let item = |(key, value): &(&str, String)| format!("{indent}  <MDI key=\"{key}\">{}</MDI>\n", escape(value));
    format!("{indent}<Metadata{domain}>\n{}{indent}</Metadata>\n", items.iter().map(item).collect::<String>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use s2ice_manifest::encoding::{Endian, TiffCompression, TiffEncoding, TiffPredictor};
    use s2ice_manifest::ids::Level;
    use s2ice_manifest::product::{MetadataSource, ProductMetadata};

    use super::*;
    use crate::layout::attributes;

    fn step() -> Step {
        let metadata = ProductMetadata {
            sensing_time_us: 1_664_971_015_123_456,
            datastrip_id: None,
            add_offset: -1000,
            quantification: 10_000.0,
            cloud_cover: Some(12.4),
            source: MetadataSource::Product,
        };
        let id = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454".parse().unwrap();
        Step { time_ms: 1_664_971_015_123, id, metadata }
    }

    fn vrt(asset: &str, components: u32, bits: u8) -> String {
        let asset: Asset = asset.parse().unwrap();
        let tiff =
            TiffEncoding { compression: TiffCompression::None, predictor: TiffPredictor::None, endian: Endian::Little };
        let header = HeaderProfile::tiff(tiff, components, (1830, 1830), (192, 192), bits);
        let attributes = attributes::of_asset(asset, Level::L2A, None);
        let source = Source { name: "x", asset, header: &header, attributes: &attributes, file: "/a&b".to_owned() };
        let tile = "29UNU".parse().unwrap();
        write(&step(), TileGeocoding::of(tile), &[source])
    }

    #[test]
    fn bands_say_what_their_arrays_say() {
        let text = vrt("AOT_60m", 1, 16);
        for part in [
            "rasterXSize=\"1830\"",
            "<GeoTransform>499980, 60, 0, 5900040, 0, -60</GeoTransform>",
            "<MDI key=\"time\">2022-10-05T11:56:55.123456Z</MDI>",
            "<MDI key=\"CLOUDCOVER\">12</MDI>",
            "dataType=\"UInt16\" band=\"1\" blockXSize=\"192\"",
            "<NoDataValue>0</NoDataValue>",
            "<Scale>0.001</Scale>",
            "<SourceFilename relativeToVRT=\"0\">/a&amp;b</SourceFilename>",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("UnitType"));
    }

    #[test]
    fn class_rasters_have_names_and_no_nodata() {
        let text = vrt("SCL_60m", 1, 8);
        assert!(text.contains("<Category>no_data</Category>"), "{text}");
        assert!(text.contains("dataType=\"Byte\"") && !text.contains("NoDataValue"), "{text}");
        assert!(vrt("MSK_CLDPRB_60m", 1, 8).contains("<NoDataValue>255</NoDataValue>"));
        let text = vrt("TCI_60m", 3, 8);
        assert!(text.contains("<ColorInterp>Blue</ColorInterp>") && text.contains("band=\"3\""), "{text}");
        assert!(vrt("MSK_CLASSI_B00", 3, 8).contains("<Description>x cirrus_clouds</Description>"));
    }
}
