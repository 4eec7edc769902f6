//! The coverage calendar: dates, gaps, and what was left out, by year.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta};
use s2ice_manifest::product::ProductId;
use serde_json::{Value, json};

use super::refused::{is_told, meaning};
use crate::publish::row::CLEAR;
use crate::publish::subject::Subject;

/// Days without a date that are called a gap.
const GAP: i64 = 30;

/// A date of a store.
struct Seen {
    day: NaiveDate,
    cloud: Option<f64>,
    product: String,
    /// Its era, and what is left out of it.
    notes: String,
}

/// The calendar of a store.
pub(super) fn of(subject: &Subject) -> Value {
    let mut seen: Vec<Seen> = Vec::new();
    for tree in subject.state.trees.values() {
        let era = tree.era.as_ref().map(|era| format!("era {era}")).unwrap_or_default();
        seen.extend(tree.steps.iter().filter_map(|step| {
            let day = DateTime::from_timestamp_millis(step.time_ms)?.date_naive();
            Some(Seen { day, cloud: step.metadata.cloud_cover, product: step.id.to_string(), notes: era.clone() })
        }));
    }
    seen.sort_by(|a, b| (a.day, &a.product, &a.notes).cmp(&(b.day, &b.product, &b.notes)));
    // A product that stands in several trees is one date.
    seen.dedup_by(|later, first| {
        let is_same = later.product == first.product;
        if is_same && first.notes.is_empty() {
            first.notes.clone_from(&later.notes);
        }
        is_same
    });
    let parts = left_out_of(subject);
    for one in &mut seen {
        if let Some(part) = parts.get(one.product.as_str()) {
            one.notes =
                [one.notes.as_str(), part].into_iter().filter(|note| !note.is_empty()).collect::<Vec<_>>().join("; ");
        }
    }
    let mut years: BTreeMap<i32, Year> = BTreeMap::new();
    for one in &seen {
        let year = years.entry(one.day.year()).or_default();
        year.count += 1;
        year.clear += u64::from(one.cloud.is_some_and(|cloud| cloud <= f64::from(CLEAR)));
        year.rows.push((one.day, row_of(one)));
    }
    let mut gaps = 0;
    for (before, after) in seen.iter().zip(seen.iter().skip(1)) {
        let (first, last) = (before.day + TimeDelta::days(1), after.day - TimeDelta::days(1));
        if (last - first).num_days() + 1 > GAP {
            gaps += 1;
            for year in first.year()..=last.year() {
                if let Some((day, row)) = gap(year, first, last) {
                    years.entry(year).or_default().rows.push((day, row));
                }
            }
        }
    }
    let mut refused = 0;
    for (day, product, kinds) in left_out(subject) {
        refused += 1;
        let row = json!({
            "kind": "refused", "date": day.to_string(), "day": day.ordinal(), "product": product, "notes": kinds,
        });
        years.entry(day.year()).or_default().rows.push((day, row));
    }
    let clear: u64 = years.values().map(|year| year.clear).sum();
    let years: Vec<Value> = years.into_iter().rev().map(|(number, year)| year.told(number)).collect();
    json!({
        "clear_percent": CLEAR, "gap_days": GAP, "clear_dates": clear, "refused": refused, "gaps": gaps, "years": years,
    })
}

/// Rasters that are left out, by product, and why in a word.
fn left_out_of(subject: &Subject) -> BTreeMap<&str, String> {
    let mut products: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for refusal in subject.left_out.iter().filter(|refusal| is_told(refusal.kind)) {
        if let Some(raster) = &refusal.raster {
            let note = format!("{raster} left out: {}", meaning(refusal.kind));
            products.entry(&refusal.product).or_default().push(note);
        }
    }
    products.into_iter().map(|(product, notes)| (product, notes.join("; "))).collect()
}

/// Products that are left out as a whole, and why in a word.
fn left_out(subject: &Subject) -> Vec<(NaiveDate, String, String)> {
    let mut products: BTreeMap<ProductId, BTreeSet<&'static str>> = BTreeMap::new();
    for refusal in subject.left_out.iter().filter(|refusal| is_told(refusal.kind)) {
        if let (Ok(id), None) = (refusal.product.parse::<ProductId>(), &refusal.raster) {
            products.entry(id).or_default().insert(meaning(refusal.kind));
        }
    }
    let dated = products.into_iter().map(|(id, kinds)| {
        let kinds: Vec<&str> = kinds.into_iter().collect();
        (id.datatake_start().date_naive(), id.to_string(), kinds.join("; "))
    });
    dated.collect()
}

#[derive(Default)]
struct Year {
    count: u64,
    clear: u64,
    rows: Vec<(NaiveDate, Value)>,
}

impl Year {
    fn told(mut self, number: i32) -> Value {
        self.rows.sort_by_key(|(day, _)| *day);
        let days = if NaiveDate::from_ymd_opt(number, 2, 29).is_some() { 366 } else { 365 };
        let rows: Vec<Value> = self.rows.into_iter().map(|(_, row)| row).collect();
        json!({ "year": number, "days": days, "count": self.count, "clear_dates": self.clear, "rows": rows })
    }
}

fn row_of(one: &Seen) -> Value {
    let cloud = one.cloud.map(|cloud| (cloud * 10.0).round() / 10.0);
    json!({
        "kind": "date", "date": one.day.to_string(), "day": one.day.ordinal(), "cloud": cloud, "product": one.product,
        "notes": one.notes,
    })
}

/// The part of a gap in a year.
fn gap(year: i32, first: NaiveDate, last: NaiveDate) -> Option<(NaiveDate, Value)> {
    let first = first.max(NaiveDate::from_ymd_opt(year, 1, 1)?);
    let until = last.min(NaiveDate::from_ymd_opt(year, 12, 31)?);
    let row = json!({
        "kind": "gap", "date": first.to_string(), "day": first.ordinal(), "until": until.to_string(),
        "until_day": until.ordinal(), "days": (until - first).num_days() + 1, "notes": "",
    });
    Some((first, row))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_gap_over_new_year_is_a_row_in_both_years() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let (first, last) = (day("2023-12-20"), day("2024-03-01"));
        let (begin, row) = gap(2023, first, last).unwrap();
        assert_eq!((begin, &row["until"], &row["days"]), (first, &json!("2023-12-31"), &json!(12)));
        let (begin, row) = gap(2024, first, last).unwrap();
        assert_eq!((begin, &row["day"], &row["until_day"]), (day("2024-01-01"), &json!(1), &json!(61)));
        assert_eq!(row["days"], 61);
    }
}
