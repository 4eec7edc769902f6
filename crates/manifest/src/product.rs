//! Product identity: what a product name says, and which of two products of one acquisition counts.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{Baseline, Level, MgrsTile, NameError};

const EXPECTED: &str = "a Sentinel-2 product name such as S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454";

/// A product name in the compact naming convention (since December 2016), without `.SAFE`.
///
/// `S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454`: platform, level, datatake start, processing
/// baseline, relative orbit, tile, discriminator (a time close to the generation time).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProductId {
    platform: u8,
    level: Level,
    datatake_start: DateTime<Utc>,
    baseline: Baseline,
    relative_orbit: u16,
    tile: MgrsTile,
    discriminator: DateTime<Utc>,
}

impl ProductId {
    /// Platform, such as `S2A`.
    pub fn platform(self) -> String {
        format!("S2{}", char::from(self.platform))
    }
    /// Processing level.
    pub fn level(self) -> Level {
        self.level
    }
    /// Start of the datatake: earlier than the granule's sensing time, by up to some minutes.
    pub fn datatake_start(self) -> DateTime<Utc> {
        self.datatake_start
    }
    /// Processing baseline.
    pub fn baseline(self) -> Baseline {
        self.baseline
    }
    /// Relative orbit, 1 to 143.
    pub fn relative_orbit(self) -> u16 {
        self.relative_orbit
    }
    /// MGRS tile.
    pub fn tile(self) -> MgrsTile {
        self.tile
    }
    /// The last part of the name, which tells products of one acquisition apart.
    pub fn discriminator(self) -> DateTime<Utc> {
        self.discriminator
    }

    /// The datatake over one tile that the product is made of.
    pub fn datatake(self) -> Datatake {
        let Self { platform, level, datatake_start, relative_orbit, tile, .. } = self;
        Datatake { platform, level, start: datatake_start, relative_orbit, tile }
    }

    /// Finds a product name anywhere in a path or an URL: the last path segment that is one.
    pub fn find_in(path: &str) -> Option<Self> {
        path.rsplit('/').find_map(|segment| segment.parse().ok())
    }
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    (text.len() == 15).then(|| NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%S").ok())?.map(|t| t.and_utc())
}

impl FromStr for ProductId {
    type Err = NameError;

    /// Accepts the name with or without `.SAFE`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let parse = || {
            let name = text.strip_suffix(".SAFE").unwrap_or(text);
            let mut parts = name.split('_');
            let platform = parts.next()?.strip_prefix("S2").filter(|p| p.len() == 1)?.bytes().next()?;
            let level = parts.next()?.strip_prefix("MSI")?.parse().ok()?;
            let datatake_start = time(parts.next()?)?;
            let baseline = parts.next()?.strip_prefix('N')?.parse().ok()?;
            let orbit = parts.next()?.strip_prefix('R').filter(|o| o.len() == 3)?;
            let relative_orbit = orbit.parse().ok().filter(|o| (1..=143).contains(o))?;
            let tile = parts.next()?.strip_prefix('T').filter(|t| t.len() == 5)?.parse().ok()?;
            let discriminator = time(parts.next()?)?;
            let known = platform.is_ascii_uppercase() && parts.next().is_none();
            known.then_some(Self { platform, level, datatake_start, baseline, relative_orbit, tile, discriminator })
        };
        parse().ok_or_else(|| NameError { text: text.chars().take(120).collect(), expected: EXPECTED })
    }
}

impl fmt::Display for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "S2{}_MSI{}_{}_N{:04}_R{:03}_T{}_{}",
            char::from(self.platform),
            self.level,
            self.datatake_start.format("%Y%m%dT%H%M%S"),
            self.baseline.number(),
            self.relative_orbit,
            self.tile,
            self.discriminator.format("%Y%m%dT%H%M%S"),
        )
    }
}

impl Serialize for ProductId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ProductId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where the per-product facts of the store come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetadataSource {
    /// The product's own MTD_TL.xml and MTD_MSI*.xml.
    Product,
    /// The catalogue's item, for sources without the product's XML.
    Item,
    /// Derived from the product name and baseline because the XML was not read: unverified.
    Name,
}

impl fmt::Display for MetadataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Product => "product",
            Self::Item => "item",
            Self::Name => "name",
        })
    }
}

/// What the store needs to know of a product, beyond its rasters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProductMetadata {
    /// The granule's SENSING_TIME, microseconds since 1970-01-01 UTC; the datatake start where only the name is known.
    pub sensing_time_us: i64,
    /// Datastrip identifier, such as `S2A_OPER_MSI_L2A_DS_2BPS_20221005T164454_S20221005T115407_N04.00`.
    pub datastrip_id: Option<String>,
    /// BOA_ADD_OFFSET (L2A) or RADIO_ADD_OFFSET (L1C), digital numbers; 0 before baseline 04.00, -1000 since.
    pub add_offset: i32,
    /// BOA_QUANTIFICATION_VALUE or QUANTIFICATION_VALUE: digital numbers per unit of reflectance, 10000 so far.
    pub quantification: f64,
    /// Cloud_Coverage_Assessment, percent.
    pub cloud_cover: Option<f64>,
    /// Where these values come from.
    pub source: MetadataSource,
}

impl ProductMetadata {
    /// What the name alone tells: datatake start for the sensing time, the offset by baseline.
    pub fn from_name(product: ProductId) -> Self {
        // Radiometric offset: introduced with processing baseline 04.00 (25 January 2022), kept since.
        let add_offset = if product.baseline().number() >= 400 { -1000 } else { 0 };
        Self {
            sensing_time_us: product.datatake_start().timestamp_micros(),
            datastrip_id: None,
            add_offset,
            quantification: 10_000.0,
            cloud_cover: None,
            source: MetadataSource::Name,
        }
    }

    /// Datastrip start, where the datastrip is known.
    pub fn datastrip_start(&self) -> Option<DateTime<Utc>> {
        datastrip_start(self.datastrip_id.as_deref()?)
    }
}

/// Start of a datastrip: the `S<time>` part of its identifier.
pub fn datastrip_start(datastrip_id: &str) -> Option<DateTime<Utc>> {
    datastrip_id.split('_').filter_map(|part| part.strip_prefix('S')).find_map(time)
}

/// The same by the folder of a file: `GRANULE/L2A_T33TVN_A046271_20240501T100725/...` (since December 2016).
pub fn granule_start(path: &str) -> Option<DateTime<Utc>> {
    let mut folders = path.split('/').skip_while(|folder| *folder != "GRANULE").skip(1);
    let mut parts = folders.next()?.split('_');
    let level: Option<Level> = parts.next()?.parse().ok();
    let is_next = |part: Option<&str>, mark: char| part.is_some_and(|part| part.starts_with(mark));
    let start = (is_next(parts.next(), 'T') && is_next(parts.next(), 'A')).then(|| parts.next()).flatten();
    start.filter(|_| level.is_some() && parts.next().is_none()).and_then(time)
}

/// How far the starts of one datastrip may lie apart in two processings of it. The halves of a datatake start at least some
/// ten seconds apart.
pub(crate) const SAME_DATASTRIP: chrono::TimeDelta = chrono::TimeDelta::seconds(5);

/// True where two products of a datatake are of one datastrip. Where one is unknown, nothing is known to be the same.
pub fn same_datastrip(a: Option<DateTime<Utc>>, b: Option<DateTime<Utc>>) -> bool {
    a.zip(b).is_some_and(|(a, b)| (a - b).abs() <= SAME_DATASTRIP)
}

/// What the names of all products of one datatake over one tile have in common: its halves, and all processings of each.
/// One half's processings have the start of their datastrip in common as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Datatake {
    platform: u8,
    level: Level,
    start: DateTime<Utc>,
    relative_orbit: u16,
    tile: MgrsTile,
}

/// Sort key of precedence among products of one acquisition: the greatest counts (an official one, then the highest
/// baseline, then the latest generation, then the name, so that the outcome never depends on the order of arrival).
pub fn precedence(id: ProductId) -> impl Ord {
    (id.baseline().is_official(), id.baseline(), id.discriminator(), id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NAME: &str = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454";

    #[test]
    fn names_round_trip() {
        let id: ProductId = NAME.parse().unwrap();
        assert_eq!(id.to_string(), NAME);
        assert_eq!(format!("{NAME}.SAFE").parse::<ProductId>().unwrap(), id);
        assert_eq!(ProductId::find_in(&format!("s3://eodata/x/{NAME}.SAFE/GRANULE/a.jp2")), Some(id));
        assert_eq!(id.baseline().number(), 400);
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "",
            "S2A",
            "S2A_MSIL2A_20221305T115411_N0400_R023_T29UNU_20221005T164454",
            "S2A_MSIL2A_20221005T115411_N0400_R144_T29UNU_20221005T164454",
            "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454_x",
            "S2A_OPER_MSI_L1C_TL_SGS__20181231T203637_A018414_T10SDG",
        ] {
            assert!(name.parse::<ProductId>().is_err(), "{name}");
        }
    }

    #[test]
    fn the_folder_of_a_granule_tells_the_start_of_its_datastrip() {
        let path = "/x.SAFE/GRANULE/L2A_T01WCP_A041826_20230625T234624/IMG_DATA/R10m/b.jp2";
        assert_eq!(granule_start(path).unwrap().to_rfc3339(), "2023-06-25T23:46:24+00:00");
        for other in [
            "GRANULE/S2A_OPER_MSI_L1C_TL_SGS__20161206T104112_A007608_T32TNT_N02.04/x.jp2",
            "GRANULE/L2A_T01WCP_A041826_20230625T234624_x/x.jp2",
            "GRANULE/L2A_T01WCP_A041826/x.jp2",
            "GRANULE/L2A_20230625T234624/x.jp2",
            "tiles/1/W/CP/2023/6/25/0/B02.jp2",
            "GRANULE",
        ] {
            assert_eq!(granule_start(other), None, "{other}");
        }
    }

    #[test]
    fn datastrip_start_comes_from_the_identifier() {
        let mut metadata = ProductMetadata::from_name(NAME.parse().unwrap());
        metadata.datastrip_id = Some("S2A_OPER_MSI_L2A_DS_VGS1_20221005T164454_S20221005T115407_N04.00".into());
        assert_eq!(metadata.datastrip_start().unwrap().to_rfc3339(), "2022-10-05T11:54:07+00:00");
        assert_eq!(metadata.add_offset, -1000);
    }
}
