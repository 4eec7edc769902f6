//! The archive that the benchmark refers to: ten-metre bands of one tile over nine years, as a pure function of the
//! product's number. `bench_index` writes it as a TLM index, `bench_bare` straight into Icechunk.

use s2ice_tests::calendar::Day;

/// MGRS tile.
pub const TILE: &str = "33TVN";

/// Bands of each product, in the order of the arrays.
pub const BANDS: [&str; 4] = ["B02", "B03", "B04", "B08"];

/// Tiles of a band in each direction (10980 pixels in tiles of 1024).
pub const GRID: u32 = 11;

/// Pixels of a band in each direction.
pub const PIXELS: u32 = 10_980;

/// Pixels of a tile in each direction.
pub const TILE_PIXELS: u32 = 1024;

/// Days over which the products are spread, whatever their number.
const DAYS: u32 = 3287;

/// A band's file.
pub struct Raster {
    /// Band.
    pub band: &'static str,
    /// Path as in the index: below the bucket, with a leading slash.
    pub path: String,
    /// Offset of the first SOT marker.
    pub first_sot: u64,
    /// Length of each tile's tile-part, in raster order.
    pub lengths: Vec<u32>,
}

/// A product.
pub struct Product {
    /// Name without `.SAFE`.
    pub id: String,
    /// One file per band.
    pub rasters: Vec<Raster>,
}

/// Product `number` of `count`, ordered by time.
#[must_use]
pub fn product(number: u32, count: u32) -> Product {
    // Widened, so that thousands of products do not overflow.
    let day_of = |n: u32| u64::from(n) * u64::from(DAYS) / u64::from(count.max(1));
    let day = Day::new(2016, 11, 20).plus(i64::try_from(day_of(number)).unwrap_or(0));
    // Several products of one day keep their order through the seconds.
    let same_day = (1..=number).take_while(|back| day_of(number - back) == day_of(number)).count();
    let minutes = 580 + 5 * same_day;
    let time = format!("{:02}{:02}{:02}", minutes / 60, minutes % 60, 1 + number % 59);
    let compact = |day: Day| day.to_string().replace('-', "");
    let (y, m, d) = day.civil();
    let start = format!("{}T{time}", compact(day));
    let platform = ['A', 'B', 'C'][choose(number, 3)];
    let orbit = [79, 122][choose(number, 2)];
    let id = format!("S2{platform}_MSIL2A_{start}_N0510_R{orbit:03}_T{TILE}_{}T{time}", compact(day.plus(1)));
    let granule = format!("L2A_T{TILE}_A{:06}_{start}", 7000 + number * 35);
    let folder = format!("/Sentinel-2/MSI/L2A_N0500/{y:04}/{m:02}/{d:02}/{id}.SAFE/GRANULE/{granule}/IMG_DATA/R10m");
    let rasters =
        BANDS.iter().zip(0_u32..).map(|(band, b)| raster(number, b, band, &folder, &start, orbit == 79)).collect();
    Product { id, rasters }
}

/// Tile-parts of 0.3 to 1.2 MB; on one of the two orbits the swath ends inside the tile, and what lies outside is coded
/// in 78 bytes.
fn raster(product: u32, band: u32, name: &'static str, folder: &str, start: &str, swath_ends: bool) -> Raster {
    let seed = u64::from(product) << 16 | u64::from(band) << 8;
    let lengths = (0..GRID * GRID)
        .map(|tile| {
            let (row, column) = (tile / GRID, tile % GRID);
            if swath_ends && column + row / 4 > 9 {
                return 78;
            }
            let full = 430_000 + u32::try_from(hash(seed | u64::from(tile)) % 770_000).unwrap_or(0);
            // The last row and column have 740 of 1024 pixels.
            if row == GRID - 1 || column == GRID - 1 { full / 1024 * 740 } else { full }
        })
        .collect();
    Raster {
        band: name,
        path: format!("{folder}/T{TILE}_{start}_{name}_10m.jp2"),
        first_sot: 2563 + hash(seed | 0xFF) % 28,
        lengths,
    }
}

impl Raster {
    /// Offset and length of each tile, in raster order.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.lengths.iter().scan(self.first_sot, |next, length| {
            let offset = *next;
            *next += u64::from(*length);
            Some((offset, u64::from(*length)))
        })
    }
}

fn choose(number: u32, of: u32) -> usize {
    usize::try_from(number % of).unwrap_or(0)
}

/// A well-mixed function of its argument (the finalizer of SplitMix64).
fn hash(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
