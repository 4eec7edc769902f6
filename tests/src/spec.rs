//! What to make: the choices of a caller, and the names and times that follow from them.

use std::fmt;
use std::io;
use std::str::FromStr;

use crate::calendar::{Day, Instant};
use crate::grid::TileGrid;
use crate::invalid;
use crate::noise::hash;
use crate::split::TileParts;

/// A processing baseline, `05.11`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Baseline {
    /// Before the point.
    pub major: u32,
    /// After the point.
    pub minor: u32,
}

impl Baseline {
    /// BOA_ADD_OFFSET, negated: what is added to reflectance x 10000. 1000 from 04.00 on, 0 before.
    #[must_use]
    pub fn offset(self) -> i64 {
        if self.major >= 4 { 1000 } else { 0 }
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}.{:02}", self.major, self.minor)
    }
}

impl FromStr for Baseline {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |s: &str| s.parse::<u32>().ok().filter(|n| *n < 100);
        text.split_once('.')
            .and_then(|(a, b)| Some(Self { major: number(a)?, minor: number(b)? }))
            .ok_or_else(|| format!("'{text}' is not a processing baseline like 05.11"))
    }
}

/// Processing level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Top of atmosphere: 13 bands at their native resolutions, true colour, masks.
    L1C,
    /// Bottom of atmosphere.
    L2A,
}

impl Level {
    /// `1C` or `2A`, as in `MSI_L1C`, `S2MSI1C` and `Level-1C`.
    #[must_use]
    pub fn digits(self) -> &'static str {
        match self {
            Self::L1C => "1C",
            Self::L2A => "2A",
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "L1C" => Ok(Self::L1C),
            "L2A" => Ok(Self::L2A),
            _ => Err(format!("'{text}' is neither L1C nor L2A")),
        }
    }
}

/// Which products carry a TLM marker segment in their JP2 files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlmChoice {
    /// None, as before baseline 05.12.
    None,
    /// Every second product.
    Some,
    /// All.
    All,
}

/// Which copies of a raster are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolutions {
    /// Each raster at its best resolution.
    Best,
    /// All the copies a real product has.
    All,
}

/// Whose main headers the files have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Headers {
    /// The ground segment's, but for true colour of level 1C: no such header was seen.
    GroundSegment,
    /// As in early 2016: spectral bands of 12 bits in tiles of 2048, with a QCD by the ground segment's rule of today.
    Early,
    /// OpenJPEG's: an encoder that no product was made with.
    Unknown,
}

/// What to make. Two equal specifications give the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleSpec {
    /// MGRS tile, `33TVN`.
    pub tile: String,
    /// Processing level.
    pub level: Level,
    /// Day of the first product.
    pub start: Day,
    /// How many products.
    pub dates: u32,
    /// Days from one product to the next.
    pub step: u32,
    /// Processing baseline, in the names, the metadata and the radiometric offset.
    pub baseline: Baseline,
    /// Day of processing, for a reprocessed product; else the products are made hours after the overpass.
    pub processed: Option<Day>,
    /// Which products carry a TLM.
    pub tlm: TlmChoice,
    /// Which copies of a raster are written.
    pub resolutions: Resolutions,
    /// Only these rasters (`B02_10m`, `SCL_20m`, `MSK_CLDPRB_20m`); all when empty.
    pub assets: Vec<String>,
    /// Whose main headers the files have.
    pub headers: Headers,
    /// Tile-parts of each tile.
    pub tile_parts: TileParts,
    /// Let the swath end inside the tile on the second of every three dates.
    pub swath_edge: bool,
    /// Give bands the texture and noise of real ones, and so tiles of real sizes.
    pub realistic: bool,
    /// Which made-up country.
    pub seed: u64,
    /// Threads to work with; the bytes do not depend on it.
    pub threads: usize,
}

impl Default for SampleSpec {
    /// Three dates of 33TVN from 2024-05-01, baseline 05.11, every raster at its best resolution.
    fn default() -> Self {
        Self {
            tile: "33TVN".into(),
            level: Level::L2A,
            start: Day::new(2024, 5, 1),
            dates: 3,
            step: 5,
            baseline: Baseline { major: 5, minor: 11 },
            processed: None,
            tlm: TlmChoice::None,
            resolutions: Resolutions::Best,
            assets: Vec::new(),
            headers: Headers::GroundSegment,
            tile_parts: TileParts::One,
            swath_edge: true,
            realistic: false,
            seed: 1,
            threads: std::thread::available_parallelism().map_or(2, usize::from),
        }
    }
}

impl SampleSpec {
    /// For tests: B01 and B09 at 60 m and SCL at 20 m only.
    #[must_use]
    pub fn small() -> Self {
        Self { assets: ["B01_60m", "B09_60m", "SCL_20m"].map(String::from).into(), ..Self::default() }
    }

    /// For tests of level 1C: its three bands of 60 m, its classification, and two masks.
    #[must_use]
    pub fn small_l1c() -> Self {
        let assets = ["B01_60m", "B09_60m", "B10_60m", "MSK_CLASSI_B00", "MSK_DETFOO_B01", "MSK_QUALIT_B10"];
        Self { level: Level::L1C, assets: assets.map(String::from).into(), ..Self::default() }
    }
}

/// The names and times of one product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Where it lies.
    pub grid: TileGrid,
    /// Processing level.
    pub level: Level,
    /// `S2A` or `S2B`.
    pub satellite: &'static str,
    /// Processing baseline.
    pub baseline: Baseline,
    /// Day of the overpass.
    pub day: Day,
    /// Start of the datatake.
    pub datatake: Instant,
    /// Start of the datastrip.
    pub datastrip: Instant,
    /// Sensing time of the granule.
    pub sensing: Instant,
    /// When the product was made.
    pub generated: Instant,
    /// Relative orbit, 1..=143.
    pub relative_orbit: i64,
    /// Absolute orbit.
    pub absolute_orbit: i64,
}

impl Identity {
    /// The product of `spec` on its `index`-th date.
    ///
    /// # Errors
    /// `InvalidInput` when the tile does not exist.
    pub fn new(spec: &SampleSpec, index: u32) -> io::Result<Self> {
        let grid = TileGrid::new(&spec.tile)?;
        let day = spec.start.plus(i64::from(index) * i64::from(spec.step));
        // Each satellite comes every ten days, the other one in between.
        let first = (day.number() / 5) % 2 != 0;
        let (satellite, second) = if first { ("S2A", 51) } else { ("S2B", 59) };
        // About 10:35 by the sun.
        let minute = (665 - 4 * (6 * grid.zone - 183)).rem_euclid(1440);
        let datatake = Instant::new(day, (minute * 60 + second) * 1_000_000 + 24_000);
        let relative_orbit = 1 + (21 + (grid.zone - 33) * 100).rem_euclid(143);
        // 143 orbits in ten days; the known numbers of one day fix the count.
        let (anchor, phase) = if first { (38_058, -2) } else { (17_394, 27) };
        let since = day.number() - if first { Day::new(2022, 10, 5) } else { Day::new(2020, 7, 5) }.number();
        let guess = anchor + since * 143 / 10;
        let turn = (guess - phase).rem_euclid(143) + 1;
        let absolute_orbit = guess + (relative_orbit - turn + 71).rem_euclid(143) - 71;
        let wait = match spec.processed {
            Some(day) => Instant::new(day, 14_712_000_000).micros(),
            None => datatake.micros() - 24_000 + 14_353_000_000,
        };
        let jitter = i64::from(hash(0, grid.uly, day.number()) % 20_000_000);
        if wait < datatake.micros() {
            return Err(invalid(format!("a product of {day} cannot have been processed before that day")));
        }
        Ok(Self {
            level: spec.level,
            satellite,
            baseline: spec.baseline,
            day,
            datatake,
            datastrip: datatake.plus(86_000_000),
            sensing: datatake.plus(150_000_000 + jitter),
            generated: Instant::new(Day::new(1970, 1, 1), wait),
            relative_orbit,
            absolute_orbit,
            grid,
        })
    }

    /// The product's name without `.SAFE`.
    #[must_use]
    pub fn product_id(&self) -> String {
        format!(
            "{}_MSIL{}_{}_N{:02}{:02}_R{:03}_T{}_{}",
            self.satellite,
            self.level.digits(),
            self.datatake.compact(),
            self.baseline.major,
            self.baseline.minor,
            self.relative_orbit,
            self.grid.name,
            self.generated.compact(),
        )
    }

    /// The granule's folder name.
    #[must_use]
    pub fn granule(&self) -> String {
        let level = self.level.digits();
        format!("L{level}_T{}_A{:06}_{}", self.grid.name, self.absolute_orbit, self.datastrip.compact())
    }

    /// The start of the file names in IMG_DATA: `T33TVN_20240501T100559`.
    #[must_use]
    pub fn image_prefix(&self) -> String {
        format!("T{}_{}", self.grid.name, self.datatake.compact())
    }

    /// DATASTRIP_ID.
    #[must_use]
    pub fn datastrip_id(&self) -> String {
        let (s, made, start) = (self.satellite, self.generated.compact(), self.datastrip.compact());
        let level = self.level.digits();
        format!("{s}_OPER_MSI_L{level}_DS_{}_{made}_S{start}_N{}", self.centre(), self.baseline)
    }

    /// TILE_ID of a level, `L1C` or `L2A`.
    #[must_use]
    pub fn tile_id(&self, level: &str) -> String {
        let (s, made, tile) = (self.satellite, self.generated.compact(), &self.grid.name);
        format!(
            "{s}_OPER_MSI_{level}_TL_{}_{made}_A{:06}_T{tile}_N{}",
            self.centre(),
            self.absolute_orbit,
            self.baseline
        )
    }

    /// Datatake identifier.
    #[must_use]
    pub fn datatake_id(&self) -> String {
        format!("G{}_{}_{:06}_N{}", self.satellite, self.datatake.compact(), self.absolute_orbit, self.baseline)
    }

    /// The processing centre's four letters.
    #[must_use]
    pub fn centre(&self) -> &'static str {
        if self.satellite == "S2A" { "2APS" } else { "2BPS" }
    }

    /// Day of the year by northern seasons, 1..=365.
    #[must_use]
    pub fn season(&self) -> i64 {
        (self.day.of_year() - 1 + if self.grid.south { 182 } else { 0 }) % 365 + 1
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_those_of_real_products() {
        let one = Identity::new(&SampleSpec::default(), 0).unwrap();
        assert_eq!(one.product_id(), "S2B_MSIL2A_20240501T100559_N0511_R022_T33TVN_20240501T140512");
        let two = Identity::new(&SampleSpec::default(), 1).unwrap();
        assert_eq!(two.product_id(), "S2A_MSIL2A_20240506T100551_N0511_R022_T33TVN_20240506T140504");
        assert!(one.granule().starts_with("L2A_T33TVN_A037") && one.granule().ends_with("_20240501T100725"));
        // Real: S2A relative orbit 23 was absolute orbit 38058, S2B 65 was 17394.
        assert_eq!((two.absolute_orbit + 2).rem_euclid(143) + 1, 22);
        assert_eq!((one.absolute_orbit - 27).rem_euclid(143) + 1, 22);
    }

    #[test]
    fn a_reprocessed_product_is_the_same_acquisition() {
        let spec = SampleSpec { processed: Some(Day::new(2026, 3, 1)), ..SampleSpec::default() };
        let again = Identity::new(&spec, 0).unwrap();
        assert!(again.product_id().ends_with("_T33TVN_20260301T040512"));
        assert_eq!(again.datatake, Identity::new(&SampleSpec::default(), 0).unwrap().datatake);
        let wrong = SampleSpec { processed: Some(Day::new(2020, 3, 1)), ..spec };
        assert!(Identity::new(&wrong, 0).is_err());
    }
}
