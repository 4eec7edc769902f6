//! Lengths of time as people write them: `90s`, `2h`, `1h30m`, `7d`.

use chrono::TimeDelta;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// A length of time in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || format!("{text:?} is no length of time: write one such as 90s, 30m, 2h, 1h30m or 7d");
        let mut seconds: u64 = 0;
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
            let (value, tail) = rest.split_at(digits);
            let value: u64 = value.parse().map_err(|_| bad())?;
            let unit = tail.chars().next().ok_or_else(bad)?;
            let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
            seconds = value.checked_mul(*factor).and_then(|more| seconds.checked_add(more)).ok_or_else(bad)?;
            rest = tail.get(unit.len_utf8()..).unwrap_or_default().trim_start();
        }
        Ok(Self(Duration::from_secs(seconds)))
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_secs();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (name, factor) in UNITS {
            if rest >= factor {
                write!(f, "{}{name}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl schemars::JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A length of time, such as 90s, 30m, 2h, 1h30m or 7d.",
            "pattern": "^\\s*([0-9]+[dhms]\\s*)+$"
        })
    }
}

/// Reads an age: a length of time, or weeks such as `4w`.
///
/// # Errors
/// Anything else.
pub fn age(text: &str) -> Result<TimeDelta, String> {
    let days = text.strip_suffix('w').and_then(|weeks| weeks.parse::<u32>().ok()).map(|weeks| u64::from(weeks) * 7);
    let Span(age) = days.map_or_else(|| text.to_owned(), |days| format!("{days}d")).parse()?;
    TimeDelta::from_std(age).map_err(|_| format!("{text} is longer than any store is old"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lengths_are_read_and_written() {
        for (text, seconds, again) in [
            ("90s", 90, "1m30s"),
            ("2h", 7_200, "2h"),
            ("1h30m", 5_400, "1h30m"),
            ("7d", 604_800, "7d"),
            (" 1d 12h ", 129_600, "1d12h"),
            ("0s", 0, "0s"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!((span.0.as_secs(), span.to_string().as_str()), (seconds, again), "{text}");
        }
    }

    #[test]
    fn what_is_no_length_is_refused() {
        for text in ["", "h", "2", "2 weeks", "-1h", "1.5h", "99999999999999999999s", "9999999999999999d", "1h é"] {
            let error = text.parse::<Span>().unwrap_err();
            assert!(error.contains("no length of time"), "{text}: {error}");
        }
    }

    #[test]
    fn ages_have_a_unit() {
        for (text, minutes) in [("90m", 90), ("12h", 720), ("30d", 43_200), ("4w", 40_320), ("0d", 0)] {
            assert_eq!(age(text).unwrap(), TimeDelta::minutes(minutes), "{text}");
        }
        for text in ["", "w", "30", "-1w", "1.5w", "3y", "213503982334601d"] {
            assert!(age(text).is_err(), "{text}");
        }
    }
}
