//! When a granule was sensed, as far as a name or an item tells.
//!
//! A product's name has the start of the datatake. Items of CDSE and Planetary Computer repeat it as their `datetime`;
//! those of Earth Search and Sinergise state the granule's own sensing time. Which of the two an item means is told by
//! its value alone, so that no provider has to be known.

use std::ops::RangeInclusive;

use chrono::{DateTime, TimeDelta, Utc};

use crate::product::ProductId;

/// How long before the start of its datatake a granule may be sensed: in 2015 it was half a second.
pub(super) const EARLIEST: TimeDelta = TimeDelta::minutes(1);
/// How long after the start of its datatake a granule may be sensed. Most datatakes last less than half an hour (1638 s
/// are among the recorded items), the longest that the instrument allows (15,000 km) 38 minutes; the day side of an
/// orbit lasts 50.
pub(super) const LATEST: TimeDelta = TimeDelta::hours(1);
/// Names have whole seconds, `datetime` has milliseconds.
const ROUNDED: TimeDelta = TimeDelta::seconds(1);

/// What is known of a granule's sensing time before its XML is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownTime {
    /// The sensing time itself.
    Sensing(DateTime<Utc>),
    /// No more than the start of the datatake.
    Datatake(DateTime<Utc>),
}

/// What that means for an interval of sensing times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeVerdict {
    /// Certainly inside.
    Inside,
    /// Certainly outside.
    Outside,
    /// The product's XML has to be asked.
    AskXml,
}

impl KnownTime {
    /// What the name of a product tells.
    pub fn of_name(product: ProductId) -> Self {
        Self::Datatake(product.datatake_start())
    }

    /// What the `datetime` of a product's item tells: the sensing time, unless it is the datatake start, or a time at
    /// which the product cannot have been sensed.
    pub fn of_item(product: ProductId, datetime: DateTime<Utc>) -> Self {
        let start = product.datatake_start();
        let is_start = (datetime - start).abs() <= ROUNDED;
        if is_start || !possible(product).contains(&datetime) { Self::Datatake(start) } else { Self::Sensing(datetime) }
    }

    /// The time, whichever it is.
    pub fn time(self) -> DateTime<Utc> {
        match self {
            Self::Sensing(time) | Self::Datatake(time) => time,
        }
    }
}

/// The times at which a granule of a product can have been sensed.
pub fn possible(product: ProductId) -> RangeInclusive<DateTime<Utc>> {
    let start = product.datatake_start();
    start - EARLIEST..=start + LATEST
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_value_tells_which_time_an_item_means() {
        use KnownTime::{Datatake, Sensing};
        type Kind = fn(DateTime<Utc>) -> KnownTime;
        for (start, datetime, kind) in [
            // CDSE, Planetary Computer; a provider that cuts or rounds.
            ("20241107T113311", "2024-11-07T11:33:11.024Z", Datatake as Kind),
            ("20241107T113311", "2024-11-07T11:33:11Z", Datatake),
            ("20241107T113311", "2024-11-07T11:33:12Z", Datatake),
            // Earth Search, Sinergise.
            ("20240422T173911", "2024-04-22T17:53:02.036Z", Sensing),
            ("20230602T000611", "2023-06-02T00:07:24.355Z", Sensing),
            ("20231231T235501", "2024-01-01T00:01:02.3Z", Sensing),
            // Neither: the day alone, the time of processing.
            ("20240422T173911", "2024-04-22T00:00:00Z", Datatake),
            ("20240422T173911", "2024-04-23T00:49:50Z", Datatake),
        ] {
            let product: ProductId = format!("S2A_MSIL2A_{start}_N0510_R098_T13TDE_20240423T004950").parse().unwrap();
            let datetime = datetime.parse().unwrap();
            let known = KnownTime::of_item(product, datetime);
            let expected = match kind(datetime) {
                Datatake(_) => KnownTime::of_name(product),
                sensing => sensing,
            };
            assert_eq!(known, expected, "{start} {datetime}");
        }
    }
}
