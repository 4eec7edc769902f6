//! Calendar arithmetic on plain integers: a generator that must give the same bytes everywhere has no clock and no
//! time-zone data.

use std::fmt;
use std::str::FromStr;

/// A day of the proleptic Gregorian calendar, as days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i64);

impl Day {
    /// The day of a civil date; months and days out of range run over into the neighbouring ones.
    #[must_use]
    pub fn new(year: i64, month: i64, day: i64) -> Self {
        // Years are counted from March, so that the leap day is the last one.
        let y = if month <= 2 { year - 1 } else { year };
        let era = y.div_euclid(400);
        let year_of_era = y.rem_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Self(era * 146_097 + day_of_era - 719_468)
    }

    /// This day and `days` more.
    #[must_use]
    pub fn plus(self, days: i64) -> Self {
        Self(self.0 + days)
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub fn number(self) -> i64 {
        self.0
    }

    /// Year, month 1..=12, day 1..=31.
    #[must_use]
    pub fn civil(self) -> (i64, i64, i64) {
        let z = self.0 + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
    }

    /// Day of the year, from 1.
    #[must_use]
    pub fn of_year(self) -> i64 {
        self.0 - Self::new(self.civil().0, 1, 1).0 + 1
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (y, m, d) = self.civil();
        write!(f, "{y:04}-{m:02}-{d:02}")
    }
}

impl FromStr for Day {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a date like 2024-05-01");
        let numbers: Vec<i64> = text.split('-').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
        match numbers[..] {
            [y @ 1970..=2200, m, d] if Self::new(y, m, d).civil() == (y, m, d) => Ok(Self::new(y, m, d)),
            _ => Err(wrong()),
        }
    }
}

/// An instant, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(i64);

impl Instant {
    /// The instant `micros` microseconds after midnight of `day`.
    #[must_use]
    pub fn new(day: Day, micros: i64) -> Self {
        Self(day.number() * 86_400_000_000 + micros)
    }

    /// This instant and `micros` microseconds more.
    #[must_use]
    pub fn plus(self, micros: i64) -> Self {
        Self(self.0 + micros)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.0
    }

    fn parts(self) -> (Day, i64, i64, i64, i64) {
        let day = Day(self.0.div_euclid(86_400_000_000));
        let rest = self.0.rem_euclid(86_400_000_000);
        let seconds = rest / 1_000_000;
        (day, seconds / 3600, seconds / 60 % 60, seconds % 60, rest % 1_000_000)
    }

    /// As in product names: `20240501T100559`.
    #[must_use]
    pub fn compact(self) -> String {
        let (day, h, m, s, _) = self.parts();
        let (y, mo, d) = day.civil();
        format!("{y:04}{mo:02}{d:02}T{h:02}{m:02}{s:02}")
    }

    /// ISO 8601 with `digits` (0..=6) decimals of the second: `2024-05-01T10:05:59.024Z`.
    #[must_use]
    pub fn iso(self, digits: usize) -> String {
        let (day, h, m, s, us) = self.parts();
        let fraction = format!("{us:06}");
        let point = if digits == 0 { "" } else { "." };
        format!("{day}T{h:02}:{m:02}:{s:02}{point}{}Z", &fraction[..digits.min(6)])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn civil_dates_turn_into_days_and_back() {
        assert_eq!(Day::new(1970, 1, 1).number(), 0);
        assert_eq!(Day::new(2024, 5, 1).number(), 19_844);
        for n in (0..60_000).step_by(13) {
            let (y, m, d) = Day(n).civil();
            assert_eq!(Day::new(y, m, d).number(), n);
        }
        assert_eq!(Day::new(2024, 12, 31).of_year(), 366);
    }

    #[test]
    fn dates_are_read_or_refused() {
        assert_eq!("2024-02-29".parse::<Day>().unwrap().to_string(), "2024-02-29");
        for wrong in ["2023-02-29", "2024-13-01", "2024", "x", "2024-05-01T00"] {
            assert!(wrong.parse::<Day>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn instants_print_in_both_forms() {
        let t = Instant::new(Day::new(2024, 5, 1), 36_359_024_000);
        assert_eq!(t.compact(), "20240501T100559");
        assert_eq!(t.iso(3), "2024-05-01T10:05:59.024Z");
        assert_eq!(t.plus(1_000_000).iso(0), "2024-05-01T10:06:00Z");
    }
}
