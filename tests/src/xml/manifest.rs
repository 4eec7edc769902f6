//! `manifest.safe`.

use std::fmt::Write as _;
use std::path::Path;

use super::{HEAD, footprint};
use crate::sample::SampleProduct;

/// `manifest.safe`; the checksums of real ones are left out.
pub(super) fn manifest(product: &SampleProduct, inner: &[(String, String)]) -> String {
    let id = &product.identity;
    let mut objects = String::new();
    let mut object = |name: &str, mime: &str, size: u64, path: &str| {
        let _ = write!(
            objects,
            r#"    <dataObject ID="{name}">
      <byteStream mimeType="{mime}" size="{size}">
        <fileLocation href="./{path}" locatorType="URL"/>
      </byteStream>
    </dataObject>
"#
        );
    };
    let level = product.identity.level.digits();
    for (part, (path, text)) in ["Product", "Tile1"].iter().zip(inner) {
        object(&format!("S2_Level-{level}_{part}_Metadata"), "text/xml", u64::try_from(text.len()).unwrap_or(0), path);
    }
    for asset in &product.assets {
        let (name, path) = (&asset.raster.asset, Path::new(&asset.path));
        let path = path.strip_prefix(format!("/{}.SAFE", product.id)).unwrap_or(path).to_string_lossy();
        let name = match asset.raster.is_mask() {
            true => format!("{name}_Tile1_Data"),
            false => format!("IMG_DATA_Band_{name}_Tile1_Data"),
        };
        object(&name, "application/octet-stream", asset.layout.size, &path);
    }
    let wrapped = |name: &str, category: &str, class: &str, text: &str, content: &str| {
        format!(
            r#"    <metadataObject ID="{name}" category="{category}" classification="{class}">
      <metadataWrap mimeType="text/xml" textInfo="{text}" vocabularyName="Sentinel-SAFE">
        <xmlData>
          {content}
        </xmlData>
      </metadataWrap>
    </metadataObject>
"#
        )
    };
    let describe = |name: &str, text: &str, content: &str| wrapped(name, "DMD", "DESCRIPTION", text, content);
    let (orbit, relative) = (id.absolute_orbit, id.relative_orbit);
    let (start, made, craft) = (id.datatake.iso(3), id.generated.iso(6), id.satellite.trim_start_matches('S'));
    let metadata = [
        describe(
            "acquisitionPeriod",
            "Acquisition Period",
            &format!("<safe:acquisitionPeriod><safe:startTime>{start}</safe:startTime></safe:acquisitionPeriod>"),
        ),
        describe(
            "measurementOrbitReference",
            "Orbit Reference",
            &format!(
                "<safe:orbitReference><safe:orbitNumber groundTrackDirection=\"descending\" type=\"start\">{orbit:06}\
                 </safe:orbitNumber><safe:relativeOrbitNumber type=\"start\">{relative:03}</safe:relativeOrbitNumber>\
                 </safe:orbitReference>"
            ),
        ),
        describe(
            "platform",
            "Platform Description",
            &format!(
                "<safe:platform><safe:familyName>SENTINEL</safe:familyName><safe:number>{craft}</safe:number>\
                 <safe:instrument><safe:familyName abbreviation=\"MSI\">Multi-Spectral Instrument</safe:familyName>\
                 </safe:instrument></safe:platform>"
            ),
        ),
        wrapped(
            "processing",
            "PDI",
            "PROVENANCE",
            "Processing",
            &format!(
                "<safe:processing name=\"Generation of Level-{level} User Product\" start=\"{made}\"></safe:processing>"
            ),
        ),
        describe(
            "measurementFrameSet",
            "Frame Set",
            &format!(
                "<safe:frameSet><safe:footPrint srsName=\"http://www.opengis.net/gml/srs/epsg.xml#4326\">\
                 <gml:coordinates>{}</gml:coordinates></safe:footPrint></safe:frameSet>",
                footprint(product)
            ),
        ),
    ]
    .concat();
    format!(
        r#"{HEAD}
<xfdu:XFDU xmlns:gml="http://www.opengis.net/gml" xmlns:safe="http://www.esa.int/safe/sentinel/1.1" xmlns:xfdu="urn:ccsds:schema:xfdu:1" version="esa/safe/sentinel/1.1/sentinel-2/msi/archive_l{lower}_user_product">
  <informationPackageMap>
    <xfdu:contentUnit dmdID="acquisitionPeriod platform" pdiID="processing" textInfo="SENTINEL-2 MSI Level-{level} User Product" unitType="Product_Level-{level}"/>
  </informationPackageMap>
  <metadataSection>
{metadata}  </metadataSection>
  <dataObjectSection>
{objects}  </dataObjectSection>
</xfdu:XFDU>
"#,
        lower = level.to_lowercase(),
    )
}
