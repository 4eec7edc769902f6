//! Where an MGRS tile lies: zone, hemisphere and the corner of Sentinel-2's 109.8 km raster, from the tile's name alone.

use std::io;

use crate::invalid;

/// Side of a Sentinel-2 tile in metres.
pub const SIDE: i64 = 109_800;
const ROWS: &str = "ABCDEFGHJKLMNPQRSTUV";
const COLUMNS: [&str; 3] = ["STUVWXYZ", "ABCDEFGH", "JKLMNPQR"];
const BANDS: &str = "CDEFGHJKLMNPQRSTUVWX";
const FALSE_NORTHING: i64 = 10_000_000;

/// An MGRS tile in its UTM zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileGrid {
    /// Two digits and three letters, `33TVN`.
    pub name: String,
    /// UTM zone, 1..=60.
    pub zone: i64,
    /// South of the equator.
    pub south: bool,
    /// Easting of the western edge, metres.
    pub ulx: i64,
    /// Northing of the northern edge, metres (with the false northing in the south).
    pub uly: i64,
}

impl TileGrid {
    /// The grid of the tile called `name` (`33TVN`; one digit of the zone will do).
    ///
    /// # Errors
    /// `InvalidInput` when the name is no MGRS tile.
    pub fn new(name: &str) -> io::Result<Self> {
        Self::parse(name).ok_or_else(|| invalid(format!("'{name}' is not an MGRS tile like 33TVN")))
    }

    fn parse(name: &str) -> Option<Self> {
        let digits = name.find(|c: char| !c.is_ascii_digit())?;
        let zone: i64 = name.get(..digits)?.parse().ok().filter(|z| (1..=60).contains(z))?;
        let mut letters = name.get(digits..)?.chars();
        let (band, column, row) = (letters.next()?, letters.next()?, letters.next()?);
        if letters.next().is_some() {
            return None;
        }
        let band = i64::try_from(BANDS.find(band)?).ok()?;
        let column = i64::try_from(COLUMNS[usize::try_from(zone % 3).ok()?].find(column)?).ok()? + 1;
        let row = i64::try_from(ROWS.find(row)?).ok()?;
        let row = if zone % 2 == 0 { (row - 5).rem_euclid(20) } else { row };
        let south = band < 10;
        let false_northing = if south { FALSE_NORTHING } else { 0 };
        // A degree of latitude is 111 km long, near enough to tell cycles of 2000 km apart.
        let centre = (band * 8 - 76) * 111_000 + false_northing;
        let cycle = (centre - row * 100_000 + 1_000_000).div_euclid(2_000_000);
        let top = row * 100_000 + cycle * 2_000_000 + 100_000;
        Some(Self {
            name: format!("{zone:02}{}", name.get(digits..)?),
            zone,
            south,
            ulx: (column * 100_000).div_euclid(60) * 60,
            uly: -(false_northing - top).div_euclid(60) * 60 + false_northing,
        })
    }

    /// The EPSG code of the zone.
    #[must_use]
    pub fn epsg(&self) -> i64 {
        self.zone + if self.south { 32_700 } else { 32_600 }
    }

    /// The zone as Sentinel-2 metadata names it: `WGS84 / UTM zone 33N`.
    #[must_use]
    pub fn crs_name(&self) -> String {
        format!("WGS84 / UTM zone {:02}{}", self.zone, if self.south { 'S' } else { 'N' })
    }

    /// Longitude and latitude in degrees of a point given in metres of this zone.
    ///
    /// Only `+ - * / sqrt`, which IEEE 754 rounds alike on every machine: the series of a footpoint latitude, good to
    /// some metres, and sines by their own series.
    #[must_use]
    pub fn lon_lat(&self, easting: f64, northing: f64) -> (f64, f64) {
        const A: f64 = 6_378_137.0;
        const F: f64 = 1.0 / 298.257_223_563;
        const DEGREE: f64 = 57.295_779_513_082_32;
        let e2 = F * (2.0 - F);
        let ep2 = e2 / (1.0 - e2);
        let north = if self.south { northing - 10_000_000.0 } else { northing };
        let arc = north / 0.9996 / (A * (1.0 - e2 / 4.0 - 3.0 * e2 * e2 / 64.0 - 5.0 * e2 * e2 * e2 / 256.0));
        let root = (1.0 - e2).sqrt();
        let e1 = (1.0 - root) / (1.0 + root);
        let (s2, c2) = sin_cos(2.0 * arc);
        let (s4, c4) = (2.0 * s2 * c2, 2.0 * c2 * c2 - 1.0);
        let s6 = s4 * c2 + c4 * s2;
        let foot = arc
            + (1.5 * e1 - 27.0 / 32.0 * e1 * e1 * e1) * s2
            + 21.0 / 16.0 * e1 * e1 * s4
            + 151.0 / 96.0 * e1 * e1 * e1 * s6;
        let (s, c) = sin_cos(foot);
        let (t, cc) = (s * s / (c * c), ep2 * c * c);
        let w = 1.0 - e2 * s * s;
        let n = A / w.sqrt();
        let r = n * (1.0 - e2) / w;
        let d = (easting - 500_000.0) / (n * 0.9996);
        let (d2, d4) = (d * d, d * d * d * d);
        let lat = foot
            - n * s / c / r
                * (d2 / 2.0 - (5.0 + 3.0 * t + 10.0 * cc - 4.0 * cc * cc - 9.0 * ep2) * d4 / 24.0
                    + (61.0 + 90.0 * t + 298.0 * cc + 45.0 * t * t) * d4 * d2 / 720.0);
        let lon =
            (d - (1.0 + 2.0 * t + cc) * d2 * d / 6.0 + (5.0 - 2.0 * cc + 28.0 * t + 24.0 * t * t) * d4 * d / 120.0) / c;
        let mut central = -183.0;
        for _ in 0..self.zone {
            central += 6.0;
        }
        (lon * DEGREE + central, lat * DEGREE)
    }

    /// Longitude and latitude of the corners: upper left, upper right, lower right, lower left.
    #[must_use]
    pub fn corners(&self) -> [(f64, f64); 4] {
        // Metres of a UTM zone are far below 2^31, where f64 is exact.
        let metres = |v: i64| f64::from(i32::try_from(v).unwrap_or(0));
        let (w, e) = (metres(self.ulx), metres(self.ulx + SIDE));
        let (n, s) = (metres(self.uly), metres(self.uly - SIDE));
        [(w, n), (e, n), (e, s), (w, s)].map(|(x, y)| self.lon_lat(x, y))
    }
}

/// Sine and cosine for |x| up to about 3, by their power series.
fn sin_cos(x: f64) -> (f64, f64) {
    let (mut sin, mut cos, mut term, mut k) = (0.0, 0.0, 1.0, 0.0);
    for _ in 0..12 {
        cos += term;
        term *= x / (k + 1.0);
        sin += term;
        term *= -x / (k + 2.0);
        k += 2.0;
    }
    (sin, cos)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn origins_are_those_of_real_products() {
        // From real metadata and recorded STAC items, north and south.
        for (name, epsg, ulx, uly) in [
            ("33TVN", 32633, 399_960, 5_300_040),
            ("29UNU", 32629, 499_980, 5_900_040),
            ("13VEK", 32613, 499_980, 7_000_020),
            ("32TNT", 32632, 499_980, 5_300_040),
            ("34LBP", 32734, 199_980, 8_900_020),
            ("01LAC", 32701, 99_960, 8_300_020),
            ("46RER", 32646, 499_980, 3_100_020),
            ("07HFE", 32707, 600_000, 6_500_020),
        ] {
            let grid = TileGrid::new(name).unwrap();
            assert_eq!((grid.epsg(), grid.ulx, grid.uly), (epsg, ulx, uly), "{name}");
        }
        assert_eq!(TileGrid::new("1VCG").unwrap().name, "01VCG");
        for wrong in ["", "33", "33T", "61TVN", "33TAN", "33TVNN", "33IVN", "33TVO"] {
            assert!(TileGrid::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn corners_lie_where_a_real_footprint_has_them() {
        // The west edge of T29UNU is the central meridian of the zone, 9 degrees west.
        let [(lon, lat), _, _, (_, low)] = TileGrid::new("29UNU").unwrap().corners();
        assert!((lon + 9.000_305).abs() < 1e-5, "{lon}");
        assert!((lat - 53.249_626).abs() < 1e-4, "{lat}");
        assert!((low - 52.262_546).abs() < 1e-4, "{low}");
    }
}
