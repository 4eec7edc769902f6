//! Which products are shown.

use std::cmp::Reverse;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use s2ice_manifest::assemble::Step;
use s2ice_manifest::product::ProductId;
use s2ice_manifest::stac::Interval;

use super::shown::Shown;
use super::view::{View, views};
use crate::error::{Error, Result};
use crate::state::{StoreState, TreeState};

/// How far back from the newest product one is looked for: each season of a year, but no land that has changed since.
const BACK_MS: i64 = 365 * 86_400_000;

/// Which products of a store.
#[derive(Debug, Clone)]
pub enum When {
    /// The clearest of the interval; without one, of the year before the newest product.
    Clearest(Option<Interval>),
    /// The one of that day that is nearest to a time.
    Near(DateTime<Utc>),
    /// All of the interval, up to this cloud cover in percent.
    Series {
        /// Times of sensing.
        interval: Option<Interval>,
        /// What has more, or does not tell, is left out.
        max_cloud_cover: Option<f64>,
    },
}

/// The time that a text means: a day by its noon, about the time of which Sentinel-2 passes.
///
/// # Errors
/// In words: it is neither a date nor a time.
pub fn moment(text: &str) -> std::result::Result<DateTime<Utc>, String> {
    let noon = NaiveTime::from_hms_opt(12, 0, 0).unwrap_or_default();
    let day = text.parse::<NaiveDate>().map(|day| day.and_time(noon).and_utc());
    day.or_else(|_| DateTime::parse_from_rfc3339(text).map(|time| time.to_utc())).map_err(|_| {
        format!(
            "{text:?} is neither a date (2023-08-13), nor an RFC 3339 time (2023-08-13T10:07:53Z), nor an interval A/B"
        )
    })
}

/// A product of which a picture can be made.
#[derive(Clone)]
pub(crate) struct Chosen<'a> {
    pub(crate) tree: &'a TreeState,
    /// Its place on the time axis.
    pub(crate) index: usize,
    pub(crate) step: &'a Step,
    /// Its rasters, in the order of what is shown.
    pub(super) views: Vec<View<'a>>,
}

impl<'a> Chosen<'a> {
    pub(crate) fn product(&self) -> ProductId {
        self.step.id
    }

    /// The day of sensing: `2024-05-01`.
    pub(crate) fn day(&self) -> String {
        day(self.step)
    }

    /// Fingerprint of its references, whatever snapshot they stand in.
    pub(crate) fn content(&self) -> i64 {
        self.tree.facts.get(self.index).map_or(0, |facts| facts.content)
    }

    /// The less the better. Of what is clear alike, the one of most bytes: where the swath ends inside the tile there are none.
    fn order(&self) -> (u64, Reverse<u64>, Reverse<i64>) {
        let cover = cloud_cover(self.step);
        let bytes = self.tree.facts.get(self.index).map_or(0, |facts| facts.bytes);
        // Numbers that are not negative are ordered as their bits are.
        (cover.unwrap_or(f64::INFINITY).to_bits(), Reverse(bytes), Reverse(self.step.time_ms))
    }
}

/// Cloud cover in percent, where it is known.
pub(super) fn cloud_cover(step: &Step) -> Option<f64> {
    step.metadata.cloud_cover.filter(|cover| *cover >= 0.0)
}

fn sensed(step: &Step) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(step.time_ms).unwrap_or_default()
}

fn day(step: &Step) -> String {
    sensed(step).format("%Y-%m-%d").to_string()
}

/// The products of a state that have what is shown at a pixel size, in the order of time.
fn all<'a>(state: &'a StoreState, shown: &Shown, metres: u32) -> Vec<Chosen<'a>> {
    let mut all = Vec::new();
    for tree in state.trees.values() {
        let quantities = shown.quantities().into_iter();
        let candidates: Vec<Vec<View<'_>>> = quantities.map(|one| views(tree, shown, one, metres)).collect();
        for (index, step) in tree.steps.iter().enumerate() {
            let there = |view: &&View<'_>| view.array.present.get(index) == Some(&true);
            let views: Option<Vec<View<'_>>> =
                candidates.iter().map(|views| views.iter().find(there).cloned()).collect();
            all.extend(views.map(|views| Chosen { tree, index, step, views }));
        }
    }
    all.sort_by_key(|chosen| chosen.step.time_ms);
    all
}

fn steps(state: &StoreState) -> impl Iterator<Item = &Step> {
    state.trees.values().flat_map(|tree| &tree.steps)
}

/// The clearest products, the best first: of an interval, or of the year before the newest product. They follow from the
/// state alone.
pub(crate) fn clearest<'a>(
    state: &'a StoreState,
    shown: &Shown,
    metres: u32,
    interval: Option<Interval>,
) -> Vec<Chosen<'a>> {
    let newest = steps(state).map(|step| step.time_ms).max().unwrap_or_default();
    let admits = |step: &Step| match interval {
        Some(interval) => interval.contains(sensed(step)),
        None => newest.saturating_sub(step.time_ms) <= BACK_MS,
    };
    let mut chosen = all(state, shown, metres);
    chosen.retain(|one| admits(one.step));
    chosen.sort_by_key(Chosen::order);
    chosen
}

/// The products that are shown, in the order of time; at least one.
///
/// # Errors
/// [`Error::Request`] where there is none: it names the nearest dates, or what the store has.
pub(super) fn choose<'a>(state: &'a StoreState, shown: &Shown, metres: u32, when: &When) -> Result<Vec<Chosen<'a>>> {
    let none = |what: String| Err(Error::Request(format!("no product {what} has {shown} at {metres} m")));
    match when {
        When::Clearest(interval) => match clearest(state, shown, metres, *interval).into_iter().next() {
            Some(one) => Ok(vec![one]),
            None => none(interval.map_or_else(|| "of the newest year".to_owned(), |interval| format!("of {interval}"))),
        },
        When::Near(time) => near(state, shown, metres, *time).map(|one| vec![one]),
        When::Series { interval, max_cloud_cover } => {
            let mut chosen = all(state, shown, metres);
            chosen.retain(|one| interval.is_none_or(|interval| interval.contains(sensed(one.step))));
            chosen.retain(|one| {
                max_cloud_cover.is_none_or(|most| cloud_cover(one.step).is_some_and(|cover| cover <= most))
            });
            if chosen.is_empty() {
                let within = interval.map(|interval| format!("of {interval}")).unwrap_or_default();
                let clear = max_cloud_cover.map(|most| format!("with up to {most} % of clouds")).unwrap_or_default();
                let what = [within, clear].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
                return none(if what.is_empty() { "of the store".to_owned() } else { what });
            }
            Ok(chosen)
        }
    }
}

fn near<'a>(state: &'a StoreState, shown: &Shown, metres: u32, time: DateTime<Utc>) -> Result<Chosen<'a>> {
    let wanted = time.date_naive();
    let of_day = |step: &Step| sensed(step).date_naive() == wanted;
    let away = |one: &Chosen<'_>| sensed(one.step).signed_duration_since(time).abs();
    let found = all(state, shown, metres).into_iter().filter(|one| of_day(one.step)).min_by_key(away);
    found.ok_or_else(|| {
        if let Some(step) = steps(state).find(|step| of_day(step)) {
            return Error::Request(format!("{} of {wanted} does not have {shown} at {metres} m", step.id));
        }
        let before = steps(state).filter(|step| sensed(step) < time).max_by_key(|step| step.time_ms);
        let after = steps(state).filter(|step| sensed(step) > time).min_by_key(|step| step.time_ms);
        let nearest: Vec<String> = [before, after].into_iter().flatten().map(day).collect();
        Error::Request(match nearest.as_slice() {
            [] => "the store has no products".to_owned(),
            [only] => format!("no product was sensed on {wanted}: the nearest date is {only}"),
            several => format!("no product was sensed on {wanted}: the nearest dates are {}", several.join(" and ")),
        })
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::publish::testing::state_of;

    const OLD: &str = "S2A_MSIL2A_20230101T100601_N0510_R022_T33TVN_20230101T120000";
    const FIRST: &str = "S2A_MSIL2A_20240601T100601_N0510_R022_T33TVN_20240601T120000";
    const SECOND: &str = "S2B_MSIL2A_20240701T100601_N0510_R022_T33TVN_20240701T120000";
    const ERA: &str = "S2B_MSIL2A_20240801T100601_N0214_R022_T33TVN_20240801T120000";
    const RGB: [&str; 3] = ["B04_60m", "B03_60m", "B02_60m"];

    /// Name, offset, cloud cover and rasters of each product.
    type Product<'a> = (&'a str, i32, Option<f64>, &'a [&'a str]);

    fn choice(products: &[Product<'_>]) -> Option<String> {
        let state = state_of(products);
        clearest(&state, &Shown::NATURAL, 240, None).first().map(|chosen| chosen.product().to_string())
    }

    fn chosen(products: &[Product<'_>], when: &When) -> Result<Vec<String>> {
        let state = state_of(products);
        let chosen = choose(&state, &Shown::NATURAL, 240, when)?;
        Ok(chosen.iter().map(|one| one.product().to_string()).collect())
    }

    #[test]
    fn the_clearest_of_a_year_is_shown() {
        let cover = |old, first, second, era| {
            choice(&[
                (OLD, -1000, old, &RGB),
                (FIRST, -1000, first, &RGB),
                (SECOND, -1000, second, &RGB),
                (ERA, 0, era, &RGB),
            ])
            .unwrap()
        };
        assert_eq!(cover(Some(0.0), Some(5.0), Some(4.0), Some(6.0)), SECOND, "the clearest is too old");
        assert_eq!(cover(Some(0.0), Some(5.0), Some(9.0), Some(4.5)), ERA);
        assert_eq!(cover(None, None, Some(99.0), None), SECOND, "what is not known is not clear");
        assert_eq!(cover(None, Some(3.0), Some(3.0), Some(7.0)), SECOND, "alike: the newest");
    }

    #[test]
    fn all_bands_are_needed() {
        let products = [(FIRST, -1000, Some(50.0), &RGB[..]), (SECOND, -1000, Some(0.0), &RGB[..2])];
        assert_eq!(choice(&products).unwrap(), FIRST);
        assert_eq!(choice(&products[1..]), None);
        assert_eq!(choice(&[(FIRST, -1000, Some(0.0), &["B04_10m", "B03_10m", "B02_10m"])]), None, "not at 240 m");
        assert_eq!(choice(&[]), None);
    }

    #[test]
    fn a_day_is_named() {
        let products = [(FIRST, -1000, Some(50.0), &RGB[..]), (SECOND, -1000, Some(9.0), &RGB[..2])];
        let on = |text: &str| chosen(&products, &When::Near(moment(text).unwrap())).map_err(|error| error.to_string());
        assert_eq!(on("2024-06-01").unwrap(), [FIRST]);
        assert_eq!(on("2024-06-01T23:59:00+02:00").unwrap(), [FIRST]);
        assert!(on("2024-07-01").unwrap_err().contains(&format!("{SECOND} of 2024-07-01 does not have B04, B03, B02")));
        assert!(on("2024-06-09").unwrap_err().ends_with("the nearest dates are 2024-06-01 and 2024-07-01"));
        assert!(on("2025-06-09").unwrap_err().ends_with("the nearest date is 2024-07-01"));
        assert!(moment("yesterday").unwrap_err().contains("neither a date"));
    }

    #[test]
    fn a_series_has_what_is_clear_within() {
        let products = [
            (FIRST, -1000, Some(50.0), &RGB[..]),
            (SECOND, -1000, None, &RGB[..]),
            (ERA, 0, Some(1.0), &RGB[..]),
            (OLD, -1000, Some(0.0), &RGB[..2]),
        ];
        let series = |interval: Option<&str>, max_cloud_cover| {
            let interval = interval.map(|text| text.parse().unwrap());
            chosen(&products, &When::Series { interval, max_cloud_cover }).map_err(|error| error.to_string())
        };
        assert_eq!(series(None, None).unwrap(), [FIRST, SECOND, ERA], "in the order of time");
        assert_eq!(series(None, Some(50.0)).unwrap(), [FIRST, ERA], "what is not known is not clear");
        assert_eq!(series(Some("2024-07-01/.."), None).unwrap(), [SECOND, ERA]);
        let error = series(Some("2023-01-01/2023-12-31"), Some(5.0)).unwrap_err();
        assert!(error.contains("with up to 5 % of clouds has B04, B03, B02 at 240 m"), "{error}");
    }
}
