//! The archive that the benchmark refers to: rasters of one tile over nine years, as a pure function of the product's
//! number. `bench_index` writes it as a TLM index, `bench_bare` writes its ten-metre bands straight into Icechunk.

use s2ice_tests::calendar::Day;

/// MGRS tile.
pub const TILE: &str = "33TVN";

/// Bands of each product, in the order of the arrays.
pub const BANDS: [&str; 4] = ["B02", "B03", "B04", "B08"];

/// Rasters of a product: first those of [`BANDS`], then what else most users want; with their resolution in metres.
pub const RASTERS: [(&str, u32); 16] = [
    (BANDS[0], 10),
    (BANDS[1], 10),
    (BANDS[2], 10),
    (BANDS[3], 10),
    ("AOT", 10),
    ("WVP", 10),
    ("TCI", 10),
    ("B05", 20),
    ("B06", 20),
    ("B07", 20),
    ("B8A", 20),
    ("B11", 20),
    ("B12", 20),
    ("SCL", 20),
    ("B01", 60),
    ("B09", 60),
];

/// Processing baseline of the products, as in their names.
pub const BASELINE: u32 = 510;

/// Tiles of a band in each direction (10980 pixels in tiles of 1024).
pub const GRID: u32 = 11;

/// Pixels of a band in each direction.
pub const PIXELS: u32 = 10_980;

/// Pixels of a tile in each direction.
pub const TILE_PIXELS: u32 = 1024;

/// Days over which the products are spread, whatever their number.
const DAYS: u32 = 3287;

/// A raster's file.
pub struct Raster {
    /// Band, or other quantity.
    pub band: &'static str,
    /// Resolution in metres.
    pub metres: u32,
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
    /// Its files.
    pub rasters: Vec<Raster>,
}

/// Product `number` of `count`, ordered by time, with the rasters of [`BANDS`].
#[must_use]
pub fn product(number: u32, count: u32) -> Product {
    product_of(number, count, &RASTERS[..BANDS.len()], BASELINE)
}

/// Product `number` of `count`, ordered by time, with some of [`RASTERS`] and of some processing baseline.
#[must_use]
pub fn product_of(number: u32, count: u32, rasters: &[(&'static str, u32)], baseline: u32) -> Product {
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
    let made = compact(day.plus(1));
    let id = format!("S2{platform}_MSIL2A_{start}_N{baseline:04}_R{orbit:03}_T{TILE}_{made}T{time}");
    let granule = format!("L2A_T{TILE}_A{:06}_{start}", 7000 + number * 35);
    let folder = format!("/Sentinel-2/MSI/L2A_N0500/{y:04}/{m:02}/{d:02}/{id}.SAFE/GRANULE/{granule}/IMG_DATA");
    let seed = |b: u32| u64::from(number) << 16 | u64::from(b) << 8 | u64::from(baseline - BASELINE) << 40;
    let files = rasters.iter().zip(0_u32..).map(|(raster, b)| file(seed(b), *raster, &folder, &start, orbit == 79));
    Product { id, rasters: files.collect() }
}

/// Tile-parts of 0.3 to 1.2 MB at 10 m; on one of the two orbits the swath ends inside the tile, and what lies outside is
/// coded in 78 bytes.
fn file(seed: u64, (name, metres): (&'static str, u32), folder: &str, start: &str, swath_ends: bool) -> Raster {
    // Tiles in each direction, pixels of a tile and of one in the last row or column.
    let (grid, tile, last) = match metres {
        10 => (GRID, TILE_PIXELS, PIXELS % TILE_PIXELS),
        20 => (9, 640, 370),
        _ => (10, 192, 102),
    };
    let lengths = (0..grid * grid)
        .map(|index| {
            let (row, column) = (index / grid, index % grid);
            if swath_ends && (column + row / 4) * GRID > 9 * grid {
                return 78;
            }
            let full = 430_000 + u32::try_from(hash(seed | u64::from(index)) % 770_000).unwrap_or(0);
            let full = if metres == 10 { full } else { full / TILE_PIXELS * tile / TILE_PIXELS * tile };
            if row == grid - 1 || column == grid - 1 { full / tile * last } else { full }
        })
        .collect();
    Raster {
        band: name,
        metres,
        path: format!("{folder}/R{metres}m/T{TILE}_{start}_{name}_{metres}m.jp2"),
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
