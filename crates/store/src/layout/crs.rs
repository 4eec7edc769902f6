//! The coordinate reference system of a tile: CF grid mapping, WKT and the `proj:` convention.

use s2ice_manifest::grid::{TILE_EDGE_M, TileGeocoding};
use serde_json::{Value, json};

/// EPSG code as text: `EPSG:32633`.
pub fn code(geocoding: TileGeocoding) -> String {
    format!("EPSG:{}", geocoding.epsg)
}

fn zone(geocoding: TileGeocoding) -> u32 {
    geocoding.epsg % 100
}

fn is_north(geocoding: TileGeocoding) -> bool {
    geocoding.epsg / 100 == 326
}

/// Longitude of the central meridian of the zone, degrees east.
fn central_meridian(geocoding: TileGeocoding) -> i64 {
    i64::from(zone(geocoding)) * 6 - 183
}

/// Name of the UTM zone: `WGS 84 / UTM zone 33N`.
pub fn name(geocoding: TileGeocoding) -> String {
    format!("WGS 84 / UTM zone {}{}", zone(geocoding), if is_north(geocoding) { "N" } else { "S" })
}

/// WKT 2 (ISO 19162:2019) of the UTM zone.
pub fn wkt(geocoding: TileGeocoding) -> String {
    let zone = zone(geocoding);
    let hemisphere = if is_north(geocoding) { "N" } else { "S" };
    let false_northing = if is_north(geocoding) { 0 } else { 10_000_000 };
    let degree = "ANGLEUNIT[\"degree\",0.0174532925199433]";
    let metre = "LENGTHUNIT[\"metre\",1]";
    format!(
        "PROJCRS[\"{name}\",BASEGEOGCRS[\"WGS 84\",DATUM[\"World Geodetic System 1984\",ELLIPSOID[\"WGS 84\",6378137,\
         298.257223563,{metre}]],PRIMEM[\"Greenwich\",0,{degree}],ID[\"EPSG\",4326]],CONVERSION[\"UTM zone \
         {zone}{hemisphere}\",METHOD[\"Transverse Mercator\",ID[\"EPSG\",9807]],PARAMETER[\"Latitude of natural \
         origin\",0,{degree},ID[\"EPSG\",8801]],PARAMETER[\"Longitude of natural origin\",{meridian},{degree},\
         ID[\"EPSG\",8802]],PARAMETER[\"Scale factor at natural origin\",0.9996,SCALEUNIT[\"unity\",1],\
         ID[\"EPSG\",8805]],PARAMETER[\"False easting\",500000,{metre},ID[\"EPSG\",8806]],PARAMETER[\"False \
         northing\",{false_northing},{metre},ID[\"EPSG\",8807]]],CS[Cartesian,2],AXIS[\"(E)\",east,ORDER[1],{metre}],\
         AXIS[\"(N)\",north,ORDER[2],{metre}],ID[\"EPSG\",{epsg}]]",
        name = name(geocoding),
        meridian = central_meridian(geocoding),
        epsg = geocoding.epsg,
    )
}

/// Attributes of the `spatial_ref` variable: CF grid mapping (CF 1.11, appendix F, transverse Mercator) and the WKT that
/// GDAL and rioxarray read. No `GeoTransform`: it would go along with what readers cut and coarsen, and win over `x` and `y`.
pub fn grid_mapping(geocoding: TileGeocoding) -> Value {
    let wkt = wkt(geocoding);
    json!({
        "crs_wkt": wkt,
        "spatial_ref": wkt,
        "grid_mapping_name": "transverse_mercator",
        "projected_crs_name": name(geocoding),
        "geographic_crs_name": "WGS 84",
        "horizontal_datum_name": "World Geodetic System 1984",
        "reference_ellipsoid_name": "WGS 84",
        "prime_meridian_name": "Greenwich",
        "longitude_of_prime_meridian": 0.0,
        "semi_major_axis": 6_378_137.0,
        "semi_minor_axis": 6_356_752.314_245_179,
        "inverse_flattening": 298.257_223_563,
        "latitude_of_projection_origin": 0.0,
        "longitude_of_central_meridian": central_meridian(geocoding) as f64,
        "scale_factor_at_central_meridian": 0.9996,
        "false_easting": 500_000.0,
        "false_northing": if is_north(geocoding) { 0.0 } else { 10_000_000.0 },
    })
}

/// `[xmin, ymin, xmax, ymax]` of the tile, metres.
pub fn bbox(geocoding: TileGeocoding) -> [i64; 4] {
    let edge = i64::from(TILE_EDGE_M);
    [geocoding.ulx, geocoding.uly - edge, geocoding.ulx + edge, geocoding.uly]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn south_and_north_differ_in_the_false_northing() {
        let south = TileGeocoding::of("01CCV".parse().unwrap());
        assert!(wkt(south).contains("UTM zone 1S") && wkt(south).contains("10000000"));
        assert!(wkt(south).ends_with("ID[\"EPSG\",32701]]"));
        let north = TileGeocoding::of("33TVN".parse().unwrap());
        assert_eq!(bbox(north), [399_960, 5_190_240, 509_760, 5_300_040]);
    }
}
