//! What is asked of a catalogue: tile, level, time, cloud cover.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::StacItem;
use super::interval::Interval;
use super::sensing::{EARLIEST, KnownTime, LATEST, TimeVerdict};
use crate::ids::{Level, MgrsTile};

/// What is wanted of a catalogue, whatever its form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StacQuery {
    /// The one tile of the store.
    pub tile: MgrsTile,
    /// The one processing level of the store.
    pub level: Level,
    /// Bounds of the granule's sensing time.
    pub datetime: Option<Interval>,
    /// Greatest cloud cover, percent. Items that do not state theirs are admitted: their product's XML has to be asked.
    pub max_cloud_cover: Option<f64>,
    /// Collection to search and to accept; `None`: an API's usual one, any in a file.
    pub collection: Option<String>,
    /// Asks an API only for items that were `updated` at this time (in whole seconds) or later. At least one item of
    /// tile and level must be known to have been, else the answer cannot be told from that of a catalogue without the
    /// property and costs a full search. Nothing else is filtered by it: not items that are read from files, and not
    /// what an API gives in spite of it.
    #[serde(default)]
    pub updated_since: Option<DateTime<Utc>>,
}

/// Why an item that was understood is not wanted.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Rejection {
    /// Of another tile.
    #[error("it is of tile {tile}")]
    OtherTile {
        /// The item's tile.
        tile: MgrsTile,
    },
    /// Of another processing level.
    #[error("it is of level {level}")]
    OtherLevel {
        /// The item's level.
        level: Level,
    },
    /// Of another collection than the one named.
    #[error("it is of collection {collection:?}")]
    OtherCollection {
        /// The item's collection.
        collection: String,
    },
    /// Outside the interval asked for.
    #[error("its time {datetime} lies outside the interval")]
    OutsideInterval {
        /// The sensing time, or the datatake start where that is enough to tell.
        datetime: DateTime<Utc>,
    },
    /// Cloudier than asked for.
    #[error("its cloud cover is {percent} %")]
    CloudCover {
        /// The item's cloud cover.
        percent: f64,
    },
}

impl StacQuery {
    /// Whether an item is wanted as far as it tells; the first reason against it otherwise. What it leaves open is asked
    /// of the product's XML: [`Self::judge_time`] says whether the time is, and a cloud cover that is not stated always.
    ///
    /// # Errors
    /// The reason.
    pub fn admits(&self, item: &StacItem) -> Result<(), Rejection> {
        self.admits_name(item.product.tile(), item.product.level(), item.known_time())?;
        if let (Some(wanted), Some(collection)) = (&self.collection, &item.collection)
            && wanted != collection
        {
            return Err(Rejection::OtherCollection { collection: collection.clone() });
        }
        match (self.max_cloud_cover, item.cloud_cover) {
            (Some(max), Some(percent)) if percent > max => Err(Rejection::CloudCover { percent }),
            _ => Ok(()),
        }
    }

    /// Whether a product may be wanted as far as tile, level and what is known of its time tell.
    ///
    /// # Errors
    /// The reason against it.
    pub fn admits_name(&self, tile: MgrsTile, level: Level, known: KnownTime) -> Result<(), Rejection> {
        if tile != self.tile {
            Err(Rejection::OtherTile { tile })
        } else if level != self.level {
            Err(Rejection::OtherLevel { level })
        } else if self.judge_time(known) == TimeVerdict::Outside {
            Err(Rejection::OutsideInterval { datetime: known.time() })
        } else {
            Ok(())
        }
    }

    /// Whether a granule of this sensing time is wanted: the last word, once the product's XML is read.
    ///
    /// # Errors
    /// The reason against it.
    pub fn admits_time(&self, sensing_time: DateTime<Utc>) -> Result<(), Rejection> {
        if self.datetime.is_none_or(|interval| interval.contains(sensing_time)) {
            Ok(())
        } else {
            Err(Rejection::OutsideInterval { datetime: sensing_time })
        }
    }

    /// What can be said of a granule's time before its XML is read.
    pub fn judge_time(&self, known: KnownTime) -> TimeVerdict {
        let Some(interval) = self.datetime else { return TimeVerdict::Inside };
        match known {
            KnownTime::Sensing(time) if interval.contains(time) => TimeVerdict::Inside,
            KnownTime::Sensing(_) => TimeVerdict::Outside,
            KnownTime::Datatake(start) if !interval.widened(LATEST, EARLIEST).contains(start) => TimeVerdict::Outside,
            // An interval is convex: what holds both ends holds all between.
            KnownTime::Datatake(start)
                if [start - EARLIEST, start + LATEST].iter().all(|end| interval.contains(*end)) =>
            {
                TimeVerdict::Inside
            }
            KnownTime::Datatake(_) => TimeVerdict::AskXml,
        }
    }

    /// The interval of an item's `datetime` in which a search finds every granule that [`Self::admits_time`], whether
    /// the catalogue keeps the sensing time there or the datatake start.
    pub fn search_interval(&self) -> Option<Interval> {
        self.datetime.map(|interval| interval.widened(LATEST, EARLIEST))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn query(datetime: &str) -> StacQuery {
        StacQuery {
            tile: "01WCQ".parse().unwrap(),
            level: Level::L2A,
            datetime: (!datetime.is_empty()).then(|| datetime.parse().unwrap()),
            max_cloud_cover: None,
            collection: None,
            updated_since: None,
        }
    }

    #[test]
    fn what_is_known_of_the_time_decides_or_leaves_it_to_the_xml() {
        use KnownTime::{Datatake, Sensing};
        use TimeVerdict::{AskXml, Inside, Outside};
        type Kind = fn(DateTime<Utc>) -> KnownTime;
        for (datetime, kind, time, expected) in [
            ("", Datatake as Kind, "2024-05-01T23:57:00Z", Inside),
            ("2024-05-02", Sensing, "2024-05-02T00:00:00Z", Inside),
            ("2024-05-02", Sensing, "2024-05-02T23:59:59.999999Z", Inside),
            ("2024-05-02", Sensing, "2024-05-01T23:59:59.999999Z", Outside),
            ("2024-05-02", Sensing, "2024-05-03T00:00:00Z", Outside),
            // A datatake that begins before midnight gives granules of the next day.
            ("2024-05-02", Datatake, "2024-05-01T23:57:00Z", AskXml),
            ("2024-05-01", Datatake, "2024-05-01T23:57:00Z", AskXml),
            ("2024-05-02", Datatake, "2024-05-01T22:30:00Z", Outside),
            ("2024-05-01", Datatake, "2024-05-01T22:30:00Z", Inside),
            // A granule that was sensed just before its datatake's nominal start.
            ("2024-05-01", Datatake, "2024-05-02T00:00:00Z", AskXml),
            ("2024-05-01", Datatake, "2024-05-02T00:02:00Z", Outside),
            ("2024-05-02", Datatake, "2024-05-02T12:00:00Z", Inside),
            ("2024-05-02/..", Datatake, "2030-01-01T00:00:00Z", Inside),
            ("../2024-05-02", Datatake, "2030-01-01T00:00:00Z", Outside),
        ] {
            let known = kind(time.parse().unwrap());
            assert_eq!(query(datetime).judge_time(known), expected, "{datetime:?} {known:?}");
        }
    }

    proptest! {
        /// Whatever can be sensed after a datatake's start agrees with what was said of the start, and the search finds it.
        #[test]
        fn what_is_certain_of_a_datatake_holds_for_its_granules(
            start in 0_i64..200_000, first in 0_i64..200_000, length in 0_i64..100_000, after in -60_i64..=3600
        ) {
            let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
            let mut query = query("");
            query.datetime = Some(Interval::new(Some(at(first)), Some(at(first + length))).unwrap());
            let inside = query.admits_time(at(start + after)).is_ok();
            match query.judge_time(KnownTime::Datatake(at(start))) {
                TimeVerdict::Inside => prop_assert!(inside),
                TimeVerdict::Outside => prop_assert!(!inside),
                TimeVerdict::AskXml => {}
            }
            let searched = query.search_interval().unwrap();
            prop_assert!(!inside || (searched.contains(at(start)) && searched.contains(at(start + after))));
        }
    }
}
