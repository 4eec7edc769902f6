//! STAC items as the CDSE catalogue (v1) describes its products.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::grid::SIDE;
use crate::raster::Kind;
use crate::sample::{SampleAsset, SampleProduct};
use crate::spec::Level;
use crate::xml::{product_xml, product_xml_name, tile_xml};

/// Writes `<product>.json` for each product and `items.json` with all of them, in the order given.
///
/// # Errors
/// What the disk says.
pub fn write(dir: &Path, products: &[SampleProduct]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let items: Vec<Value> = products.iter().map(item).collect();
    for (product, item) in products.iter().zip(&items) {
        fs::write(dir.join(format!("{}.json", product.id)), serde_json::to_vec_pretty(item)?)?;
    }
    let all = json!({"type": "FeatureCollection", "features": items, "links": [], "numberReturned": items.len()});
    fs::write(dir.join("items.json"), serde_json::to_vec_pretty(&all)?)
}

/// Where CDSE would keep the product.
fn folder(product: &SampleProduct) -> String {
    let (year, month, day) = product.identity.day.civil();
    let level = product.identity.level.digits();
    let collection = format!("L{level}{}", if product.identity.baseline.major >= 5 { "_N0500" } else { "" });
    format!("s3://eodata/Sentinel-2/MSI/{collection}/{year:04}/{month:02}/{day:02}/{}.SAFE", product.id)
}

/// One item.
#[must_use]
pub fn item(product: &SampleProduct) -> Value {
    let id = &product.identity;
    let corners = id.grid.corners();
    let ring: Vec<[f64; 2]> = corners.iter().chain(&corners[..1]).map(|(lon, lat)| [*lon, *lat].map(round)).collect();
    let least = |i: usize| ring.iter().map(|p| p[i]).fold(f64::INFINITY, f64::min);
    let most = |i: usize| ring.iter().map(|p| p[i]).fold(f64::NEG_INFINITY, f64::max);
    let mut assets = Map::new();
    let granule = format!("GRANULE/{}", id.granule());
    let xml = [
        ("product_metadata", product_xml_name(product), product_xml(product)),
        ("granule_metadata", format!("{granule}/MTD_TL.xml"), tile_xml(product)),
    ];
    for (name, place, text) in xml {
        let mut asset = stored(product, &place, text.len().try_into().unwrap_or(0));
        asset.insert("type".into(), json!("application/xml"));
        asset.insert("title".into(), json!(place.rsplit('/').next()));
        asset.insert("roles".into(), json!(["metadata"]));
        assets.insert(name.to_owned(), asset.into());
    }
    for asset in product.assets.iter().filter(|a| !a.raster.is_mask()) {
        let raster = &asset.raster;
        let name = if id.level == Level::L1C { &raster.band_id } else { &raster.asset };
        assets.insert(name.clone(), image(product, asset));
    }
    let platform = id.satellite.replace("S2", "sentinel-2").to_lowercase();
    let datetime = id.datatake.iso(6);
    json!({
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [
            "https://cs-si.github.io/eopf-stac-extension/v1.2.0/schema.json",
            "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
            "https://stac-extensions.github.io/file/v2.1.0/schema.json",
            "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
            "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
            "https://stac-extensions.github.io/product/v1.0.0/schema.json",
            "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
            "https://stac-extensions.github.io/sat/v1.1.0/schema.json"
        ],
        "collection": format!("sentinel-2-l{}", id.level.digits().to_lowercase()),
        "id": product.id,
        "bbox": [least(0), least(1), most(0), most(1)],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "created": id.generated.plus(3_600_000_000).iso(6),
            "updated": id.generated.plus(7_200_000_000).iso(6),
            "published": id.generated.plus(7_200_000_000).iso(6),
            "datetime": datetime,
            "start_datetime": datetime,
            "end_datetime": datetime,
            "platform": platform,
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "gsd": 10,
            "processing:level": format!("L{}", &id.level.digits()[..1]),
            "processing:version": id.baseline.to_string(),
            "processing:datetime": id.generated.iso(6),
            "product:type": format!("S2MSI{}", id.level.digits()),
            "eo:cloud_cover": hundredths(product.cloud_cover()),
            "eo:snow_cover": hundredths(product.shares[11]),
            "sat:orbit_state": "descending",
            "sat:relative_orbit": id.relative_orbit,
            "sat:absolute_orbit": id.absolute_orbit,
            "grid:code": format!("MGRS-{}", id.grid.name),
            "proj:code": format!("EPSG:{}", id.grid.epsg()),
            "eopf:datastrip_id": id.datastrip_id(),
            "eopf:datatake_id": id.datatake_id(),
            "eopf:instrument_mode": "INS-NOBS"
        },
        "links": [],
        "assets": assets
    })
}

fn stored(product: &SampleProduct, place: &str, size: u64) -> Map<String, Value> {
    let mut asset = Map::new();
    asset.insert("href".into(), json!(format!("{}/{place}", folder(product))));
    asset.insert("file:size".into(), json!(size));
    asset.insert("file:local_path".into(), json!(format!("{}.SAFE/{place}", product.id)));
    asset.insert("alternate:name".into(), json!("S3"));
    asset
}

fn image(product: &SampleProduct, asset: &SampleAsset) -> Value {
    let grid = &product.identity.grid;
    let (raster, r) = (&asset.raster, i64::from(asset.raster.resolution));
    let place = asset.path.split_once(".SAFE/").map_or("", |(_, place)| place);
    let mut out = stored(product, place, asset.layout.size);
    let (roles, names): (&[&str], &[&str]) = match raster.kind {
        Kind::Band => (&["data", "reflectance"], &[&raster.band_id]),
        Kind::TrueColour => (&["visual"], &["B04", "B03", "B02"]),
        _ => (&["data"], &[]),
    };
    let gsd = format!("gsd:{r}m");
    let roles: Vec<&str> = roles.iter().copied().chain([gsd.as_str()]).collect();
    if !names.is_empty() {
        out.insert("bands".into(), names.iter().map(|name| json!({"name": name})).collect());
    }
    if asset.coding.bits > 8 {
        // As the catalogue's template says for everything, even where the product's own metadata says otherwise.
        out.insert("raster:scale".into(), json!(0.0001));
        out.insert("raster:offset".into(), json!(-0.1));
    }
    let size = asset.coding.side;
    let more = [
        ("type", json!("image/jp2")),
        ("title", json!(format!("{} - {r}m", raster.band_id))),
        ("roles", json!(roles)),
        ("data_type", json!(if asset.coding.bits > 8 { "uint16" } else { "uint8" })),
        ("nodata", json!(0)),
        ("gsd", json!(r)),
        ("proj:code", json!(format!("EPSG:{}", grid.epsg()))),
        ("proj:shape", json!([size, size])),
        ("proj:bbox", json!([grid.ulx, grid.uly - SIDE, grid.ulx + SIDE, grid.uly])),
        ("proj:transform", json!([r, 0, grid.ulx, 0, -r, grid.uly])),
    ];
    out.extend(more.map(|(key, value)| (key.to_owned(), value)));
    Value::Object(out)
}

fn round(degrees: f64) -> f64 {
    (degrees * 1e9).round() / 1e9
}

fn hundredths(percent: f64) -> f64 {
    (percent * 100.0).round() / 100.0
}
