//! The front page.

use serde_json::{Value, json};

use super::{common, healths, map, render, snippets, span, time};
use crate::error::Result;
use crate::publish::ledger::Document;
use crate::publish::row::Row;
use crate::publish::settings::Publishing;

/// The front page of a publication.
///
/// # Errors
/// A tile has no place on the ellipsoid, or the template cannot be filled.
pub(in crate::publish) fn front(rows: &[Row], settings: &Publishing) -> Result<Document> {
    let path = "index.html";
    let mut context = common(settings, path, "", span(rows));
    context["catalogue"]["description"] = json!("");
    context["catalogue"]["parquet"] = json!("tiles.parquet");
    let dates: u64 = rows.iter().map(|row| row.products).sum();
    let totals = json!({ "tiles": rows.len(), "dates": dates, "newest": time(span(rows).1), "health": healths(rows) });
    context.insert("totals".to_owned(), totals);
    context.insert("map".to_owned(), map(settings, "{name}/index.html"));
    context["map"]["tiles"] = json!("tiles.json");
    let zones = rows.chunk_by(|a, b| a.zone() == b.zone()).map(zone).collect::<Result<Vec<Value>>>()?;
    context.insert("zones".to_owned(), json!(zones));
    let example = rows.iter().max_by_key(|row| row.newest_ms);
    context.insert("snippets".to_owned(), json!(example.map(snippets::in_short).into_iter().collect::<Vec<_>>()));
    render("front.html", path.to_owned(), &context)
}

/// A zone in the list.
fn zone(rows: &[Row]) -> Result<Value> {
    let name = rows.first().map(Row::zone).unwrap_or_default();
    let dates: u64 = rows.iter().map(|row| row.products).sum();
    let mut edges: Option<[f64; 4]> = None;
    let mut is_across = false;
    for row in rows {
        let [west, south, east, north] = row.footprint()?.bbox();
        is_across |= west > east;
        let [w, s, e, n] = edges.unwrap_or([west, south, east, north]);
        edges = Some([w.min(west), s.min(south), e.max(east), n.max(north)]);
    }
    Ok(json!({
        "name": name,
        "href": format!("zones/{name}/index.html"),
        "tiles": rows.len(),
        "dates": dates,
        "newest": time(span(rows).1),
        // A box across 180 degrees would be one around the world.
        "box": edges.filter(|_| !is_across),
        "health": healths(rows),
    }))
}
