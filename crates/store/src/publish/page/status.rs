//! The status page: how all stores do, and which of them to look at first.

use chrono::DateTime;
use serde_json::{Value, json};

use super::{common, health, healths, reason, render, span, time};
use crate::error::Result;
use crate::publish::ledger::Document;
use crate::publish::row::Row;
use crate::publish::settings::Publishing;

/// Stores that are listed one by one.
const LISTED: usize = 100;

/// Parts of all stores, percent, whose times are told.
const PARTS: [(&str, usize); 4] = [("furthest behind", 0), ("5 % furthest behind", 5), ("median", 50), ("newest", 100)];

const DAY_MS: i64 = 86_400_000;

/// The status page of a publication. Ages are counted from the newest product of all, so that a page without news stays as it is.
///
/// # Errors
/// The template cannot be filled.
pub(in crate::publish) fn status(rows: &[Row], settings: &Publishing) -> Result<Document> {
    let path = "status.html";
    let newest = span(rows).1;
    let mut context = common(settings, path, "", span(rows));
    let healths = healths(rows);
    let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
    let totals = json!({
        "tiles": rows.len(), "products": sum(|row| row.products), "references": sum(|row| row.references),
        "referenced_bytes": sum(|row| row.referenced_bytes), "refused": sum(|row| row.refused),
        "empty": rows.iter().filter(|row| row.newest_ms.is_none()).count(),
        "never": rows.iter().filter(|row| row.last_success.is_none()).count(),
    });
    context.insert("totals".to_owned(), totals);
    let states = ["failed", "stale", "unknown", "ok"]
        .map(|state| json!({ "health": state, "tiles": healths[state], "reason": reason(state) }));
    context.insert("states".to_owned(), json!(states));
    context.insert("spread".to_owned(), json!(spread(rows, newest)));
    let mut worst: Vec<&Row> = rows.iter().collect();
    worst.sort_by_key(|row| (rank(row), row.newest_ms, &row.id));
    worst.truncate(LISTED);
    context.insert("tiles".to_owned(), json!(worst.into_iter().map(|row| tile(row, newest)).collect::<Vec<Value>>()));
    render("status.html", path.to_owned(), &context)
}

/// Failed ones come first.
fn rank(row: &Row) -> u8 {
    match health(row.outcome) {
        "failed" => 0,
        "stale" => 1,
        _ => 2,
    }
}

/// How far behind some of the stores are; each column by itself.
fn spread(rows: &[Row], newest: Option<i64>) -> Vec<Value> {
    let sorted = |of: fn(&Row) -> Option<i64>| {
        let mut times: Vec<i64> = rows.iter().filter_map(of).collect();
        times.sort_unstable();
        times
    };
    let (products, successes) = (sorted(|row| row.newest_ms), sorted(success));
    let at = |times: &[i64], part: usize| times.get(times.len().saturating_sub(1) * part / 100).copied();
    let line = |(name, part): (&str, usize)| {
        let product = at(&products, part);
        let success = time(at(&successes, part));
        json!({ "name": name, "newest": time(product), "behind_days": behind(product, newest), "success": success })
    };
    PARTS.into_iter().map(line).collect()
}

fn success(row: &Row) -> Option<i64> {
    row.last_success.as_ref().map(DateTime::timestamp_millis)
}

/// Whole days between a newest product and the newest of all.
fn behind(time: Option<i64>, newest: Option<i64>) -> Option<i64> {
    Some((newest? - time?) / DAY_MS)
}

fn tile(row: &Row, newest: Option<i64>) -> Value {
    json!({
        "mgrs": row.tile.to_string(), "level": row.level.to_string(), "href": format!("{}/index.html", row.id),
        "health": health(row.outcome), "newest": time(row.newest_ms),
        "behind_days": behind(row.newest_ms, newest), "success": time(success(row)), "refused": row.refused,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::publish::stac::testing::{row, settings};
    use crate::runs::LastOutcome;

    fn days(days: i64) -> Option<i64> {
        row("33TVN").newest_ms.map(|newest| newest - days * DAY_MS)
    }

    fn some() -> Vec<Row> {
        let success = DateTime::from_timestamp(1_714_600_000, 0);
        vec![
            Row { last_success: success, ..row("33TUN") },
            Row { last_success: success, newest_ms: days(12), ..row("33TVN") },
            Row { outcome: Some(LastOutcome::Stale), newest_ms: days(1), refused: 4, ..row("33TWN") },
            Row { outcome: Some(LastOutcome::Failed), ..row("33TXN") },
            Row { outcome: None, first_ms: None, newest_ms: None, products: 0, ..row("33UVP") },
        ]
    }

    fn page(rows: &[Row]) -> String {
        String::from_utf8(status(rows, &settings()).unwrap().bytes.to_vec()).unwrap()
    }

    #[test]
    fn it_tells_of_all_stores_and_first_of_those_that_failed() {
        let text = page(&some());
        let (_, main) = text.split_once("<main id=\"main\">").unwrap();
        insta::assert_snapshot!(main.split_once("</main>").unwrap().0);
    }

    #[test]
    fn many_stores_make_no_long_page() {
        let mut rows: Vec<Row> = (0..25_000).map(|n| Row { newest_ms: days(n % 50), ..row("33TVN") }).collect();
        rows[20_000].outcome = Some(LastOutcome::Failed);
        let text = page(&rows);
        assert_eq!(text.matches("<tr><th scope=\"row\"><a").count(), LISTED);
        assert_eq!(text.matches("class=\"health failed\"").count(), 2, "one of them is the sum");
        assert!(text.contains("100 of 25,000 tiles") && text.len() < 60_000, "{}", text.len());
        assert_eq!(text, page(&rows));
    }

    #[test]
    fn an_empty_publication_has_one_too() {
        assert!(page(&[]).contains("No store has been published here yet."));
    }
}
