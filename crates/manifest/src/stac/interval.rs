//! An interval of time as `--datetime` gives it.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// A closed interval of time, open at one end at most; both ends in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interval {
    start: Option<DateTime<Utc>>,
    end: Option<DateTime<Utc>>,
}

/// A text that is not an interval of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntervalError {
    /// No `/`, or more than one.
    #[error("{text:?} is not an interval: write A/B, with dates, RFC 3339 times or `..` for an open end")]
    Shape {
        /// What was given.
        text: String,
    },
    /// One end is neither a date nor a time.
    #[error("{text:?} is neither a date (2023-08-13), nor an RFC 3339 time (2023-08-13T10:07:53Z), nor `..`")]
    End {
        /// The end that was not understood.
        text: String,
    },
    /// Both ends open: the same as no interval.
    #[error("an interval needs a start or an end: leave it out to take every date")]
    Unbounded,
    /// The end comes before the start.
    #[error("the interval ends ({end}) before it starts ({start})")]
    Reversed {
        /// Start.
        start: DateTime<Utc>,
        /// End.
        end: DateTime<Utc>,
    },
}

impl Interval {
    /// The interval between two times, both included.
    ///
    /// # Errors
    /// When both are open, or the end comes before the start.
    pub fn new(start: Option<DateTime<Utc>>, end: Option<DateTime<Utc>>) -> Result<Self, IntervalError> {
        let (start, end) = (start.map(whole_milliseconds), end.map(whole_milliseconds));
        match (start, end) {
            (None, None) => Err(IntervalError::Unbounded),
            (Some(start), Some(end)) if end < start => Err(IntervalError::Reversed { start, end }),
            _ => Ok(Self { start, end }),
        }
    }

    /// First instant, `None` where open.
    pub fn start(self) -> Option<DateTime<Utc>> {
        self.start
    }

    /// Last instant (included), `None` where open.
    pub fn end(self) -> Option<DateTime<Utc>> {
        self.end
    }

    /// True when a time, cut to milliseconds, lies within.
    pub fn contains(self, time: DateTime<Utc>) -> bool {
        let time = whole_milliseconds(time);
        self.start.is_none_or(|start| start <= time) && self.end.is_none_or(|end| time <= end)
    }

    /// The interval with its start moved back and its end moved on; an end that RFC 3339 cannot write (a user's
    /// `9999-12-31` for "ever") is open.
    #[must_use]
    pub fn widened(self, before: TimeDelta, after: TimeDelta) -> Self {
        let written = |time: &DateTime<Utc>| (0..=9999).contains(&time.year());
        Self {
            start: self.start.and_then(|start| start.checked_sub_signed(before)).filter(written),
            end: self.end.and_then(|end| end.checked_add_signed(after)).filter(written),
        }
    }
}

fn whole_milliseconds(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(time.timestamp_millis()).unwrap_or(time)
}

fn date(text: &str) -> Option<NaiveDate> {
    (text.len() == 10 && text.starts_with(|c: char| c.is_ascii_digit())).then(|| text.parse().ok())?
}

impl FromStr for Interval {
    type Err = IntervalError;

    /// Reads `A/B`. A date alone stands for its first millisecond at the start, its last at the end; `..` or nothing
    /// leaves an end open; a single date without `/` is that whole day.
    fn from_str(text: &str) -> Result<Self, IntervalError> {
        let short = |text: &str| text.chars().take(80).collect::<String>();
        let mut parts = text.trim().split('/').map(str::trim);
        let (start, end) = match (parts.next(), parts.next(), parts.next()) {
            (Some(day), None, _) if date(day).is_some() => (day, day),
            (Some(start), Some(end), None) => (start, end),
            _ => return Err(IntervalError::Shape { text: short(text) }),
        };
        let instant = |text: &str, is_end: bool| {
            if matches!(text, "" | "..") {
                return Ok(None);
            }
            let found = match date(text) {
                Some(day) if is_end => day
                    .checked_add_days(Days::new(1))
                    .map(|next| next.and_time(NaiveTime::MIN).and_utc() - TimeDelta::milliseconds(1)),
                Some(day) => Some(day.and_time(NaiveTime::MIN).and_utc()),
                None => DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc()),
            };
            found.map(Some).ok_or_else(|| IntervalError::End { text: short(text) })
        };
        Self::new(instant(start, false)?, instant(end, true)?)
    }
}

impl fmt::Display for Interval {
    /// As the `datetime` parameter of a STAC search: `2023-08-13T00:00:00.000Z/..`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |end: Option<DateTime<Utc>>| {
            end.map_or_else(|| "..".to_owned(), |time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
        };
        write!(f, "{}/{}", text(self.start), text(self.end))
    }
}

impl Serialize for Interval {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl schemars::JsonSchema for Interval {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Interval".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn dates_take_the_whole_day() {
        let interval: Interval = "2023-08-10/2023-08-13".parse().unwrap();
        assert_eq!(interval.to_string(), "2023-08-10T00:00:00.000Z/2023-08-13T23:59:59.999Z");
        assert!(interval.contains(time("2023-08-10T00:00:00Z")));
        assert!(interval.contains(time("2023-08-13T23:59:59.999999Z")));
        assert!(!interval.contains(time("2023-08-14T00:00:00Z")));
        assert!(!interval.contains(time("2023-08-09T23:59:59.999999Z")));
        assert_eq!("2023-08-13".parse::<Interval>(), "2023-08-13/2023-08-13".parse());
    }

    #[test]
    fn ends_may_be_open_and_have_offsets() {
        let interval: Interval = "../2023-08-13T10:00:00+02:00".parse().unwrap();
        assert_eq!(interval.to_string(), "../2023-08-13T08:00:00.000Z");
        assert!(interval.contains(time("1990-01-01T00:00:00Z")));
        assert_eq!("2023-08-13/".parse::<Interval>().unwrap().end(), None);
    }

    #[test]
    fn a_widened_interval_stays_one_that_can_be_written() {
        for (text, expected) in [
            ("2023-08-10/2023-08-13", "2023-08-09T23:00:00.000Z/2023-08-14T00:00:59.999Z"),
            ("2023-08-10/..", "2023-08-09T23:00:00.000Z/.."),
            ("2023-08-10/9999-12-31", "2023-08-09T23:00:00.000Z/.."),
            ("0000-01-01/2023-08-13", "../2023-08-14T00:00:59.999Z"),
        ] {
            let interval: Interval = text.parse().unwrap();
            assert_eq!(interval.widened(TimeDelta::hours(1), TimeDelta::minutes(1)).to_string(), expected);
        }
    }

    #[test]
    fn what_is_not_an_interval_is_refused() {
        for text in ["", "x", "2023", "a/b/c", "2023-08-13T00:00:00Z", "2023-13-01/..", "2023-8-1/..", "+12345-01-1/.."]
        {
            assert!(text.parse::<Interval>().is_err(), "{text}");
        }
        assert_eq!("../..".parse::<Interval>(), Err(IntervalError::Unbounded));
        assert!(matches!("2023-08-13/2023-08-12".parse::<Interval>(), Err(IntervalError::Reversed { .. })));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = text.parse::<Interval>();
        }

        #[test]
        fn what_prints_reads_back(start in 0_i64..4_000_000_000_000, length in 0_i64..10_000_000_000, open in 0..3) {
            let at = DateTime::from_timestamp_millis;
            let interval = match open {
                0 => Interval::new(at(start), None),
                1 => Interval::new(None, at(start)),
                _ => Interval::new(at(start), at(start + length)),
            }.unwrap();
            prop_assert_eq!(interval.to_string().parse::<Interval>().unwrap(), interval);
            prop_assert!(interval.contains(at(start).unwrap()));
            prop_assert_eq!(interval.contains(at(start - 1).unwrap()), open == 1);
        }
    }
}
