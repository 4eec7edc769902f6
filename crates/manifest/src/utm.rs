//! From UTM to longitude and latitude (WGS 84): the inverse transverse Mercator projection by Krüger's series.
//!
//! Only the search by bounding box needs it. Coefficients to the sixth order of the third flattening (Karney 2011,
//! *Transverse Mercator with an accuracy of a few nanometers*, equation 36) hold for the widest granules at 84 degrees.

use crate::grid::{TILE_EDGE_M, TileGeocoding};

const SEMI_MAJOR_M: f64 = 6_378_137.0;
const FLATTENING: f64 = 1.0 / 298.257_223_563;
const SCALE: f64 = 0.9996;
const FALSE_EASTING_M: f64 = 500_000.0;

/// A rectangle in degrees; `west <= east` always, a granule across 180 degrees has two of them.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct LonLatBox {
    /// Western edge, degrees east.
    pub west: f64,
    /// Southern edge, degrees north.
    pub south: f64,
    /// Eastern edge, degrees east.
    pub east: f64,
    /// Northern edge, degrees north.
    pub north: f64,
}

/// Longitude and latitude in degrees of a place in a UTM zone (`epsg` 326zz or 327zz).
///
/// The longitude is not wrapped: it runs past 180 degrees in zones 1 and 60.
pub fn lon_lat(epsg: u32, easting_m: f64, northing_m: f64) -> (f64, f64) {
    let n = FLATTENING / (2.0 - FLATTENING);
    let [n2, n3, n4, n5, n6] = [n.powi(2), n.powi(3), n.powi(4), n.powi(5), n.powi(6)];
    let rectifying_radius = SEMI_MAJOR_M / (1.0 + n) * (1.0 + n2 / 4.0 + n4 / 64.0 + n6 / 256.0);
    let beta = [
        n / 2.0 - 2.0 / 3.0 * n2 + 37.0 / 96.0 * n3 - n4 / 360.0 - 81.0 / 512.0 * n5 + 96_199.0 / 604_800.0 * n6,
        n2 / 48.0 + n3 / 15.0 - 437.0 / 1440.0 * n4 + 46.0 / 105.0 * n5 - 1_118_711.0 / 3_870_720.0 * n6,
        17.0 / 480.0 * n3 - 37.0 / 840.0 * n4 - 209.0 / 4480.0 * n5 + 5569.0 / 90_720.0 * n6,
        4397.0 / 161_280.0 * n4 - 11.0 / 504.0 * n5 - 830_251.0 / 7_257_600.0 * n6,
        4583.0 / 161_280.0 * n5 - 108_847.0 / 3_991_680.0 * n6,
        20_648_693.0 / 638_668_800.0 * n6,
    ];

    let false_northing = if (32_700..32_800).contains(&epsg) { 10_000_000.0 } else { 0.0 };
    let xi = (northing_m - false_northing) / (SCALE * rectifying_radius);
    let eta = (easting_m - FALSE_EASTING_M) / (SCALE * rectifying_radius);
    let (mut xi0, mut eta0, mut order) = (xi, eta, 0.0);
    for coefficient in beta {
        order += 2.0;
        xi0 -= coefficient * (order * xi).sin() * (order * eta).cosh();
        eta0 -= coefficient * (order * xi).cos() * (order * eta).sinh();
    }

    let central_meridian = 6.0 * f64::from(epsg % 100) - 183.0;
    let longitude = central_meridian + eta0.sinh().atan2(xi0.cos()).to_degrees();
    let conformal = xi0.sin() / eta0.sinh().hypot(xi0.cos());
    (longitude, latitude(conformal).to_degrees())
}

/// Geographic latitude (radians) whose conformal latitude has the given tangent, by Newton's method.
fn latitude(conformal_tangent: f64) -> f64 {
    let eccentricity2 = FLATTENING * (2.0 - FLATTENING);
    let eccentricity = eccentricity2.sqrt();
    let mut tangent = conformal_tangent;
    for _ in 0..8 {
        let secant = 1.0_f64.hypot(tangent);
        let sigma = (eccentricity * (eccentricity * tangent / secant).atanh()).sinh();
        let estimate = tangent * 1.0_f64.hypot(sigma) - sigma * secant;
        let slope = (1.0 + (1.0 - eccentricity2) * tangent * tangent)
            / ((1.0 - eccentricity2) * 1.0_f64.hypot(estimate) * secant);
        let step = (conformal_tangent - estimate) * slope;
        tangent += step;
        if step.abs() < 1e-14 * (1.0 + tangent.abs()) {
            break;
        }
    }
    tangent.atan()
}

/// The boxes that a granule needs in a search by longitude and latitude: one, or two across 180 degrees.
///
/// The granule's edges are curves in degrees: they are followed in 33 steps, and the result has a margin of a
/// hundredth of a degree, which is more than what lies between two steps.
pub fn granule_boxes(place: TileGeocoding) -> Vec<LonLatBox> {
    const STEPS: u32 = 32;
    const MARGIN_DEGREES: f64 = 0.01;
    let edge = f64::from(TILE_EDGE_M);
    // Easting and northing have at most eight digits.
    let (ulx, uly) = (place.ulx as f64, place.uly as f64);
    let mut bounds = LonLatBox { west: f64::MAX, south: f64::MAX, east: f64::MIN, north: f64::MIN };
    for step in 0..=STEPS {
        let along = edge * f64::from(step) / f64::from(STEPS);
        for (east, south) in [(along, 0.0), (along, edge), (0.0, along), (edge, along)] {
            let (lon, lat) = lon_lat(place.epsg, ulx + east, uly - south);
            bounds.west = bounds.west.min(lon - MARGIN_DEGREES);
            bounds.east = bounds.east.max(lon + MARGIN_DEGREES);
            bounds.south = bounds.south.min(lat - MARGIN_DEGREES).max(-90.0);
            bounds.north = bounds.north.max(lat + MARGIN_DEGREES).min(90.0);
        }
    }
    split_at_antimeridian(bounds)
}

fn split_at_antimeridian(bounds: LonLatBox) -> Vec<LonLatBox> {
    let LonLatBox { west, east, .. } = bounds;
    if west >= -180.0 && east <= 180.0 {
        vec![bounds]
    } else if east <= -180.0 {
        vec![LonLatBox { west: west + 360.0, east: east + 360.0, ..bounds }]
    } else if west >= 180.0 {
        vec![LonLatBox { west: west - 360.0, east: east - 360.0, ..bounds }]
    } else if west < -180.0 {
        vec![LonLatBox { west: west + 360.0, east: 180.0, ..bounds }, LonLatBox { west: -180.0, ..bounds }]
    } else {
        vec![LonLatBox { east: 180.0, ..bounds }, LonLatBox { west: -180.0, east: east - 360.0, ..bounds }]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn agrees_with_proj() {
        // rasterio.warp.transform (PROJ 9), EPSG:xxxxx to EPSG:4326.
        for (epsg, easting, northing, lon, lat) in [
            (32633, 399_960.0, 5_300_040.0, 13.662_865_290_5, 47.845_914_826_8),
            (32633, 509_760.0, 5_190_240.0, 15.128_057_161_2, 46.865_628_247_3),
            (32629, 500_000.0, 5_900_040.0, -9.0, 53.249_626_467_7),
            (32701, 99_960.0, 8_300_020.0, 179.275_178_452_4, -15.345_453_705_7),
            (32760, 300_000.0, 1_200_040.0, 167.466_063_093_0, -79.121_895_836_8),
            (32633, 499_980.0, 8_900_040.0, 14.998_951_147_3, 80.165_336_617_6),
            (32601, 300_000.0, 6_700_020.0, 179.370_638_359_0, 60.386_985_995_6),
            (32660, 809_760.0, 7_290_240.0, -176.273_834_022_3, 65.585_037_361_7),
            (32631, 166_021.44, 0.0, -0.000_000_027_6, 0.0),
            (32733, 777_777.7, 3_333_333.3, 19.989_693_720_1, -60.042_796_432_9),
        ] {
            let (x, y) = lon_lat(epsg, easting, northing);
            let x = (x + 180.0).rem_euclid(360.0) - 180.0;
            assert!((x - lon).abs() < 1e-9 && (y - lat).abs() < 1e-9, "{epsg} {easting} {northing}: {x} {y}");
        }
    }

    #[test]
    fn boxes_hold_the_granule() {
        let boxes = granule_boxes(TileGeocoding::of("33TVN".parse().unwrap()));
        assert_eq!(boxes.len(), 1);
        // Bounds of the granule's four corners: 13.66..15.13 E, 46.85..47.85 N.
        let b = boxes[0];
        assert!((b.west - 13.652).abs() < 0.03 && (b.east - 15.138).abs() < 0.03, "{b:?}");
        assert!((b.south - 46.855).abs() < 0.02 && (b.north - 47.856).abs() < 0.02, "{b:?}");
    }

    #[test]
    fn granules_at_180_degrees_have_two_boxes() {
        for tile in ["01WCP", "01VCG", "01KAB", "60VXH", "01CCV"] {
            let boxes = granule_boxes(TileGeocoding::of(tile.parse().unwrap()));
            assert!(boxes.iter().all(|b| -180.0 <= b.west && b.west < b.east && b.east <= 180.0), "{tile} {boxes:?}");
            let width: f64 = boxes.iter().map(|b| b.east - b.west).sum();
            assert!(width < 9.0, "{tile} {boxes:?}");
            if tile.starts_with("01") {
                assert_eq!(boxes.len(), 2, "{tile} {boxes:?}");
                assert!(boxes[0].west > 170.0 && boxes[0].east == 180.0 && boxes[1].west == -180.0, "{boxes:?}");
            }
        }
    }

    #[test]
    fn unwrapped_longitudes_come_back() {
        let at = |west, east| split_at_antimeridian(LonLatBox { west, south: 0.0, east, north: 1.0 });
        assert_eq!(at(180.5, 181.0)[0].west, -179.5);
        assert_eq!(at(-181.0, -180.5)[0].east, 179.5);
        assert_eq!(
            at(179.0, 181.0).iter().map(|b| (b.west, b.east)).collect::<Vec<_>>(),
            [(179.0, 180.0), (-180.0, -179.0)]
        );
    }
}
