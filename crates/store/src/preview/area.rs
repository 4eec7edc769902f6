//! The part of a tile that a picture shows.

use std::ops::Range;
use std::str::FromStr;

use proj4rs::Proj;
use proj4rs::errors::Error as ProjError;
use proj4rs::transform::transform;
use s2ice_manifest::grid::{TILE_EDGE_M, TileGeocoding};

use crate::error::{Error, Result};
use crate::layout::crs;

/// Points along an edge of a box: what is straight in degrees is bent on the ground.
const POINTS: u16 = 16;

/// A box in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Longitude of its western edge.
    pub west: f64,
    /// Latitude of its southern edge.
    pub south: f64,
    /// Longitude of its eastern edge.
    pub east: f64,
    /// Latitude of its northern edge.
    pub north: f64,
}

impl FromStr for Bounds {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let numbers: Option<Vec<f64>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
        let Some([west, south, east, north]) = numbers.and_then(|numbers| <[f64; 4]>::try_from(numbers).ok()) else {
            return Err("give west,south,east,north in degrees, such as 14.2,47.4,14.3,47.5".to_owned());
        };
        let within = |value: f64, most: f64| value.abs() <= most;
        if !(within(west, 180.0) && within(east, 180.0) && within(south, 90.0) && within(north, 90.0)) {
            return Err("longitudes are within -180 and 180 degrees, latitudes within -90 and 90".to_owned());
        }
        if west >= east || south >= north {
            return Err("west is less than east, and south less than north".to_owned());
        }
        Ok(Self { west, south, east, north })
    }
}

/// Rows and columns of a raster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Area {
    pub(super) y: Range<u32>,
    pub(super) x: Range<u32>,
}

impl Area {
    /// A whole tile, in pixels of this size.
    pub(crate) fn whole(metres: u32) -> Self {
        let side = TILE_EDGE_M.div_ceil(metres.max(1));
        Self { y: 0..side, x: 0..side }
    }

    pub(crate) fn height(&self) -> u32 {
        self.y.end.saturating_sub(self.y.start)
    }

    pub(crate) fn width(&self) -> u32 {
        self.x.end.saturating_sub(self.x.start)
    }

    /// The part of a tile in a box, widened to whole pixels.
    ///
    /// # Errors
    /// [`Error::Request`] where the box lies outside the tile.
    pub(super) fn of(bounds: &Bounds, geocoding: TileGeocoding, metres: u32) -> Result<Self> {
        let points = on_the_ground(bounds, geocoding).map_err(|error| {
            Error::Request(format!("--bounds: they have no place in {}: {error}", crs::code(geocoding)))
        })?;
        let [west, _, _, north] = crs::bbox(geocoding).map(|metres| metres as f64);
        let span = |values: Vec<f64>| {
            let least = values.iter().copied().fold(f64::INFINITY, f64::min) / f64::from(metres);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max) / f64::from(metres);
            let side = f64::from(TILE_EDGE_M.div_ceil(metres.max(1)));
            // Between 0 and some thousands.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let pixel = |value: f64| value.clamp(0.0, side) as u32;
            pixel(least.floor())..pixel(most.ceil())
        };
        let x = span(points.iter().map(|[x, _]| x - west).collect());
        let y = span(points.iter().map(|[_, y]| north - y).collect());
        if x.is_empty() || y.is_empty() {
            return Err(Error::Request("--bounds: they lie outside the tile of the store".to_owned()));
        }
        Ok(Self { y, x })
    }
}

/// Places along the edge of a box, metres in the zone of the tile.
fn on_the_ground(bounds: &Bounds, geocoding: TileGeocoding) -> std::result::Result<Vec<[f64; 2]>, ProjError> {
    let zone = geocoding.epsg % 100;
    let south = if geocoding.epsg / 100 == 327 { " +south" } else { "" };
    let utm = Proj::from_proj_string(&format!("+proj=utm +zone={zone}{south} +datum=WGS84 +units=m +no_defs"))?;
    let geographic = Proj::from_proj_string("+proj=longlat +datum=WGS84 +no_defs")?;
    let Bounds { west, south, east, north } = *bounds;
    let corners = [[west, north], [west, south], [east, south], [east, north], [west, north]];
    let mut points = Vec::new();
    for (from, to) in corners.iter().zip(corners.iter().skip(1)) {
        for step in 0..POINTS {
            let part = f64::from(step) / f64::from(POINTS);
            let [x, y] = [from[0] + (to[0] - from[0]) * part, from[1] + (to[1] - from[1]) * part];
            let mut point = (x.to_radians(), y.to_radians(), 0.0);
            transform(&geographic, &utm, &mut point)?;
            points.push([point.0, point.1]);
        }
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_box_becomes_whole_pixels() {
        // 33TVN: its upper left corner is at 399960, 5300040 in EPSG:32633.
        let tile = TileGeocoding::of("33TVN".parse().unwrap());
        let of = |text: &str, metres| Area::of(&text.parse().unwrap(), tile, metres);
        // 500000 E is 15 degrees east.
        let area = of("14.9,47.5,15.0,47.6", 160).unwrap();
        assert_eq!(area.x.end, 626, "{area:?}");
        assert!((45..50).contains(&area.width()) && (69..73).contains(&area.height()), "{area:?}");
        assert_eq!(of("-10,20,30,60", 160).unwrap(), Area::whole(160));
        assert_eq!((Area::whole(160).width(), Area::whole(20).height()), (687, 5490));
        assert!(of("1,1,2,2", 160).unwrap_err().to_string().contains("outside the tile"));
    }

    #[test]
    fn what_is_no_box_is_refused() {
        for (text, reason) in [
            ("1,2,3", "west,south,east,north"),
            ("1,2,3,x", "degrees"),
            ("3,2,1,4", "less than"),
            ("1,2,3,91", "within"),
        ] {
            assert!(text.parse::<Bounds>().unwrap_err().contains(reason), "{text}");
        }
    }
}
