//! From an MGRS tile to its place on the ground (UTM), by formula.
//!
//! Sentinel-2 granules are 109.8 km squares that start at a multiple of 60 m. The formula holds for all 56,686 tiles
//! of ESA's tiling grid; a product's own `Tile_Geocoding` is checked against it before any reference is written.

use crate::ids::{MgrsTile, Resolution};

/// Edge of a granule in metres.
pub const TILE_EDGE_M: u32 = 109_800;

/// Where a granule lies: the upper-left corner of its upper-left pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct TileGeocoding {
    /// EPSG code of the UTM zone: 326zz north, 327zz south.
    pub epsg: u32,
    /// Easting of the upper-left corner, metres.
    pub ulx: i64,
    /// Northing of the upper-left corner, metres.
    pub uly: i64,
}

impl TileGeocoding {
    /// The place of an MGRS tile.
    pub fn of(tile: MgrsTile) -> Self {
        const COLUMNS: [&[u8; 8]; 3] = [b"STUVWXYZ", b"ABCDEFGH", b"JKLMNPQR"];
        const ROWS: &[u8; 20] = b"ABCDEFGHJKLMNPQRSTUV";
        const BANDS: &[u8; 20] = b"CDEFGHJKLMNPQRSTUVWX";
        let place = |letters: &[u8], letter: u8| letters.iter().position(|l| *l == letter).map_or(0, |i| i as i64);

        let [column, row] = tile.square();
        let columns = COLUMNS[usize::from(tile.zone() % 3)];
        let easting = 100_000 * (place(columns, column) + 1);

        let shift = if tile.zone().is_multiple_of(2) { 5 } else { 0 };
        let row = (place(ROWS, row) - shift).rem_euclid(20);
        // Rows repeat every 2000 km: take the cycle nearest to the middle of the latitude band. A degree of latitude
        // is 110.6 km along the meridian, exact enough to tell cycles of 2000 km apart.
        let band = place(BANDS, tile.band());
        let middle_degrees = -80 + 8 * band + if tile.band() == b'X' { 6 } else { 4 };
        let band_middle = middle_degrees * 110_600;
        let base = row * 100_000 + 50_000;
        let cycle = (band_middle - base + 1_000_000).div_euclid(2_000_000);
        // Northing of the square's lower edge, negative south of the equator.
        let northing = row * 100_000 + cycle * 2_000_000;

        let false_northing = if tile.is_north() { 0 } else { 10_000_000 };
        let ulx = easting.div_euclid(60) * 60;
        let top = northing + 100_000;
        let uly = -((-top).div_euclid(60)) * 60 + false_northing;
        let epsg = if tile.is_north() { 32_600 } else { 32_700 } + u32::from(tile.zone());
        Self { epsg, ulx, uly }
    }

    /// Pixels along an edge at a resolution: 10980, 5490 or 1830.
    pub fn pixels(resolution: Resolution) -> u32 {
        TILE_EDGE_M / u32::from(resolution.metres())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn known_tiles() {
        // From the products' own MTD_TL.xml: north, south, the tall band X, the zones on either side of 180 degrees.
        for (tile, epsg, ulx, uly) in [
            ("33TVN", 32633, 399_960, 5_300_040),
            ("29UNU", 32629, 499_980, 5_900_040),
            ("35UPU", 32635, 600_000, 5_900_040),
            ("34LBP", 32734, 199_980, 8_900_020),
            ("01WCP", 32601, 300_000, 7_400_040),
            ("46RER", 32646, 499_980, 3_100_020),
            ("10SDG", 32610, 399_960, 4_200_000),
            ("37MGS", 32737, 699_960, 9_700_000),
            ("01CDL", 32701, 399_960, 1_100_020),
            ("34VEL", 32634, 499_980, 6_600_000),
            ("01VCG", 32601, 300_000, 6_700_020),
            ("11SLT", 32611, 300_000, 3_800_040),
            ("22HBD", 32722, 199_980, 5_900_020),
            ("01WCS", 32601, 300_000, 7_700_040),
            ("07HFE", 32707, 600_000, 6_500_020),
            ("01KAB", 32701, 99_960, 8_200_000),
            ("33XWJ", 32633, 499_980, 8_900_040),
            ("01LAC", 32701, 99_960, 8_300_020),
            ("60CWS", 32760, 499_980, 1_200_040),
            ("01CCV", 32701, 300_000, 2_000_020),
        ] {
            let geocoding = TileGeocoding::of(tile.parse().unwrap());
            assert_eq!(geocoding, TileGeocoding { epsg, ulx, uly }, "{tile}");
        }
    }
}
