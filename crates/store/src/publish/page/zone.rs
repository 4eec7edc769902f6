//! The page of a zone.

use serde_json::{Value, json};

use super::{common, health, map, render, span, time};
use crate::error::Result;
use crate::publish::ledger::Document;
use crate::publish::row::{CLEAR, Row};
use crate::publish::settings::Publishing;

/// The page of a zone, with its stores by name.
///
/// # Errors
/// A tile has no place on the ellipsoid, or the template cannot be filled.
pub(in crate::publish) fn zone(name: &str, rows: &[Row], settings: &Publishing) -> Result<Document> {
    let path = format!("zones/{name}/index.html");
    let mut context = common(settings, &path, "../../", span(rows));
    context.insert("map".to_owned(), map(settings, "../../{name}/index.html"));
    let zone = json!({ "name": name, "longitudes": longitudes(name), "clear_percent": CLEAR });
    context.insert("zone".to_owned(), zone);
    context.insert("tiles".to_owned(), json!(rows.iter().map(tile).collect::<Result<Vec<Value>>>()?));
    render("zone.html", path, &context)
}

/// The sides of a zone in words; zone 31 begins at 0 degrees.
fn longitudes(name: &str) -> Option<[String; 2]> {
    let zone: i32 = name.parse().ok()?;
    let word = |degrees: i32| match degrees {
        0 | 180 | -180 => format!("{}°", degrees.abs()),
        east if east > 0 => format!("{east}° E"),
        west => format!("{}° W", -west),
    };
    Some([word(zone * 6 - 186), word(zone * 6 - 180)])
}

fn tile(row: &Row) -> Result<Value> {
    let share = (row.products > 0).then(|| (row.clear as f64 / row.products as f64 * 1000.0).round() / 10.0);
    Ok(json!({
        "name": row.id,
        "mgrs": row.tile.to_string(),
        "level": row.level.to_string(),
        "href": format!("../../{}/index.html", row.id),
        "box": row.footprint()?.bbox(),
        "dates": row.products,
        "first": time(row.first_ms),
        "newest": time(row.newest_ms),
        "clear_share": share,
        "health": health(row.outcome),
    }))
}
