//! Where a tile lies in longitude and latitude.

use proj4rs::Proj;
use proj4rs::transform::transform;
use s2ice_manifest::grid::TileGeocoding;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::layout::crs;

/// Points along an edge: between them a straight line in degrees is less than 10 m away from the true edge.
const POINTS: u16 = 8;

/// The outline of a tile in degrees.
#[derive(Debug, Clone, PartialEq)]
pub struct Footprint {
    /// Longitude and latitude along the edge, counterclockwise and closed; longitudes go on beyond 180.
    ring: Vec<[f64; 2]>,
}

impl Footprint {
    /// That of a tile.
    ///
    /// # Errors
    /// [`Error::Input`] where its corners have no place on the ellipsoid.
    pub fn of(geocoding: TileGeocoding) -> Result<Self> {
        let [west, south, east, north] = crs::bbox(geocoding).map(|metres| metres as f64);
        let corners = [[west, north], [west, south], [east, south], [east, north], [west, north]];
        let mut points = Vec::new();
        for (from, to) in corners.iter().zip(corners.iter().skip(1)) {
            for step in 0..POINTS {
                let part = f64::from(step) / f64::from(POINTS);
                points.push([from[0] + (to[0] - from[0]) * part, from[1] + (to[1] - from[1]) * part]);
            }
        }
        points.push([west, north]);
        let mut ring = degrees(geocoding, &points)?;
        // Across 180 degrees the ring shall not jump.
        let first = ring.first().map_or(0.0, |point| point[0]);
        for point in &mut ring {
            if point[0] - first > 180.0 {
                point[0] -= 360.0;
            } else if first - point[0] > 180.0 {
                point[0] += 360.0;
            }
        }
        Ok(Self { ring })
    }

    fn extreme(&self, axis: usize, pick: fn(f64, f64) -> f64, begin: f64) -> f64 {
        self.ring.iter().map(|point| point[axis]).fold(begin, pick)
    }

    /// `[west, south, east, north]`; west is greater than east where the tile lies across 180 degrees (RFC 7946, 5.2).
    pub fn bbox(&self) -> [f64; 4] {
        let within = |longitude: f64| (longitude + 540.0).rem_euclid(360.0) - 180.0;
        [
            rounded(within(self.extreme(0, f64::min, f64::INFINITY))),
            rounded(self.extreme(1, f64::min, f64::INFINITY)),
            rounded(within(self.extreme(0, f64::max, f64::NEG_INFINITY))),
            rounded(self.extreme(1, f64::max, f64::NEG_INFINITY)),
        ]
    }

    /// Its corners from the north-west clockwise: longitude and latitude.
    pub fn corners(&self) -> [[f64; 2]; 4] {
        let side = usize::from(POINTS);
        // The ring runs counterclockwise.
        [0, 3, 2, 1].map(|corner| {
            let [longitude, latitude] = self.ring.get(corner * side).copied().unwrap_or_default();
            [rounded((longitude + 540.0).rem_euclid(360.0) - 180.0), rounded(latitude)]
        })
    }

    /// GeoJSON geometry: a polygon, or two where the tile lies across 180 degrees (RFC 7946, 3.1.9).
    pub fn geometry(&self) -> Value {
        let polygons: Vec<Value> = self.polygons().into_iter().map(|ring| json!([ring])).collect();
        match polygons.as_slice() {
            [only] => json!({ "type": "Polygon", "coordinates": only }),
            several => json!({ "type": "MultiPolygon", "coordinates": several }),
        }
    }

    /// Closed rings within -180 to 180 degrees.
    pub fn polygons(&self) -> Vec<Vec<[f64; 2]>> {
        let (least, most) = (self.extreme(0, f64::min, f64::INFINITY), self.extreme(0, f64::max, f64::NEG_INFINITY));
        let seam = if most > 180.0 {
            180.0
        } else if least < -180.0 {
            -180.0
        } else {
            return vec![self.ring.iter().map(|point| point.map(rounded)).collect()];
        };
        let side = |keep: fn(f64, f64) -> bool, shift: f64| {
            let cut = clipped(&self.ring, seam, keep);
            cut.into_iter().map(|[x, y]| [rounded(x + shift), rounded(y)]).collect::<Vec<_>>()
        };
        let (below, above) = if seam > 0.0 { (0.0, -360.0) } else { (360.0, 0.0) };
        [side(|x, seam| x <= seam, below), side(|x, seam| x >= seam, above)]
            .into_iter()
            .filter(|ring| ring.len() > 3)
            .collect()
    }
}

/// The part of a closed ring on one side of a meridian (Sutherland and Hodgman).
fn clipped(ring: &[[f64; 2]], seam: f64, keep: fn(f64, f64) -> bool) -> Vec<[f64; 2]> {
    let mut out = Vec::new();
    for (from, to) in ring.iter().zip(ring.iter().skip(1)) {
        if keep(from[0], seam) {
            out.push(*from);
        }
        if keep(from[0], seam) != keep(to[0], seam) {
            let part = (seam - from[0]) / (to[0] - from[0]);
            out.push([seam, from[1] + (to[1] - from[1]) * part]);
        }
    }
    out.extend(out.first().copied());
    out
}

/// Seven decimals of a degree: a centimetre.
fn rounded(degrees: f64) -> f64 {
    (degrees * 1e7).round() / 1e7
}

fn degrees(geocoding: TileGeocoding, points: &[[f64; 2]]) -> Result<Vec<[f64; 2]>> {
    let failed = |error: proj4rs::errors::Error| Error::Input(format!("{}: {error}", crs::code(geocoding)));
    let zone = geocoding.epsg % 100;
    let south = if geocoding.epsg / 100 == 327 { " +south" } else { "" };
    let utm = Proj::from_proj_string(&format!("+proj=utm +zone={zone}{south} +datum=WGS84 +units=m +no_defs"));
    let geographic = Proj::from_proj_string("+proj=longlat +datum=WGS84 +no_defs").map_err(failed)?;
    let utm = utm.map_err(failed)?;
    points
        .iter()
        .map(|[x, y]| {
            let mut point = (*x, *y, 0.0);
            transform(&utm, &geographic, &mut point).map_err(failed)?;
            Ok([point.0.to_degrees(), point.1.to_degrees()])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(tile: &str) -> Footprint {
        Footprint::of(TileGeocoding::of(tile.parse().unwrap())).unwrap()
    }

    #[test]
    fn corners_are_those_of_proj() {
        // pyproj 3.7: the upper-left and lower-right corners.
        for (tile, first, opposite) in [
            ("33TVN", [13.662_865_3, 47.845_914_8], [15.128_057_2, 46.865_628_2]),
            ("37MGS", [40.798_696_5, -2.712_829_4], [41.788_420_8, -3.703_130_3]),
        ] {
            let ring = of(tile).ring;
            for (point, wanted) in [(ring[0], first), (ring[2 * usize::from(POINTS)], opposite)] {
                assert!((point[0] - wanted[0]).abs() < 1e-6 && (point[1] - wanted[1]).abs() < 1e-6, "{tile} {point:?}");
            }
        }
    }

    #[test]
    fn tiles_across_180_degrees_have_two_parts() {
        let plain = of("33TVN");
        assert_eq!(plain.geometry()["type"], "Polygon");
        let [west, south, east, north] = plain.bbox();
        assert!(west < east && south < north);
        for tile in ["01WCP", "60WWT", "01CDL", "60KXF"] {
            let footprint = of(tile);
            let [west, south, east, north] = footprint.bbox();
            assert!(south < north && west.abs() <= 180.0 && east.abs() <= 180.0);
            let polygons = footprint.polygons();
            assert_eq!(polygons.len(), if west > east { 2 } else { 1 }, "{tile}");
            for ring in polygons {
                assert_eq!(ring.first(), ring.last(), "{tile}");
                assert!(ring.iter().all(|[x, _]| x.abs() <= 180.0), "{tile} {ring:?}");
                let wide = ring.iter().map(|p| p[0]).fold(f64::MIN, f64::max)
                    - ring.iter().map(|p| p[0]).fold(f64::MAX, f64::min);
                assert!(wide < 10.0, "{tile}: {wide}");
            }
        }
    }
}
