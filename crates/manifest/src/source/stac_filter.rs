//! What a search filters items by, in the languages that STAC APIs understand.

use chrono::{DateTime, SecondsFormat, SubsecRound as _, Utc};
use serde_json::{Map, Value, json};

use crate::ids::MgrsTile;

/// The property that tells when an item last changed.
const UPDATED: &str = "updated";

/// How an API filters by properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FilterSupport {
    /// CQL2-JSON (filter extension).
    Cql2,
    /// The older query extension.
    Query,
    /// Not at all.
    None,
}

/// The property of a catalogue's items that holds the tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TileProperty {
    GridCode,
    MgrsTile,
}

impl TileProperty {
    pub(super) const ALL: [Self; 2] = [Self::GridCode, Self::MgrsTile];

    fn name(self) -> &'static str {
        match self {
            Self::GridCode => "grid:code",
            Self::MgrsTile => "s2:mgrs_tile",
        }
    }

    /// The ways in which catalogues write a tile: zones below ten also with one digit.
    fn values(self, tile: MgrsTile) -> Vec<String> {
        let tile = tile.to_string();
        let prefix = if self == Self::GridCode { "MGRS-" } else { "" };
        let short = tile.strip_prefix('0').map(|short| format!("{prefix}{short}"));
        std::iter::once(format!("{prefix}{tile}")).chain(short).collect()
    }
}

/// Conditions on the properties of an item, all of which must hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Conditions {
    /// The tile, in the property that holds it; `None` for all tiles.
    pub(super) tile: Option<(TileProperty, MgrsTile)>,
    /// Last change at this time or later.
    pub(super) updated_since: Option<DateTime<Utc>>,
}

impl Conditions {
    /// In CQL2-JSON, with nothing beyond its basic class.
    pub(super) fn cql2(&self) -> Map<String, Value> {
        let compare =
            |op: &str, property: &str, value: Value| json!({"op": op, "args": [{"property": property}, value]});
        let all = |op: &str, mut args: Vec<Value>| {
            if args.len() == 1 { args.remove(0) } else { json!({"op": op, "args": args}) }
        };
        let tile = self.tile.map(|(property, tile)| {
            let equal = |value: String| compare("=", property.name(), value.into());
            all("or", property.values(tile).into_iter().map(equal).collect())
        });
        let since = self.updated_since.map(|time| compare(">=", UPDATED, since_text(time).into()));
        let filter = all("and", tile.into_iter().chain(since).collect());
        filter.as_object().cloned().unwrap_or_default()
    }

    /// In the query extension.
    pub(super) fn query(&self) -> Map<String, Value> {
        let mut filter = Map::new();
        if let Some((property, tile)) = self.tile {
            let values = property.values(tile);
            let tile = if let [value] = &values[..] { json!({"eq": value}) } else { json!({"in": values}) };
            filter.insert(property.name().to_owned(), tile);
        }
        if let Some(time) = self.updated_since {
            filter.insert(UPDATED.to_owned(), json!({"gte": since_text(time)}));
        }
        filter
    }
}

/// A time as catalogues compare it with `updated`: a plain string, not a CQL2 timestamp.
///
/// pgstac (CDSE) keeps a property that is not declared as a time as text, compares it as text, and fails at a
/// timestamp there; where it is declared as one, and in the search engines behind Earth Search, a string serves as
/// well. As text, `05.000000Z` comes before every way to write a time within that second, `05Z` does not.
fn since_text(time: DateTime<Utc>) -> String {
    time.trunc_subsecs(0).to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn conditions(property: TileProperty, tile: &str) -> Conditions {
        Conditions { tile: Some((property, tile.parse().unwrap())), updated_since: None }
    }

    fn time(text: &str) -> Option<DateTime<Utc>> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn filters_are_basic_cql2() {
        let one = conditions(TileProperty::GridCode, "33TVN").cql2();
        assert_eq!(Value::Object(one), json!({"op": "=", "args": [{"property": "grid:code"}, "MGRS-33TVN"]}));
        let all =
            Conditions { updated_since: time("2026-01-01T00:00:00Z"), ..conditions(TileProperty::MgrsTile, "01VCG") };
        let args = json!([
            {"op": "or", "args": [
                {"op": "=", "args": [{"property": "s2:mgrs_tile"}, "01VCG"]},
                {"op": "=", "args": [{"property": "s2:mgrs_tile"}, "1VCG"]}]},
            {"op": ">=", "args": [{"property": "updated"}, "2026-01-01T00:00:00.000000Z"]}]);
        assert_eq!(Value::Object(all.cql2()), json!({"op": "and", "args": args}));
        let changed = Conditions { tile: None, ..all }.cql2();
        assert_eq!(Value::Object(changed), args[1]);
    }

    #[test]
    fn queries_hold_one_entry_per_property() {
        let since = time("2026-01-01T00:00:00Z");
        let all = Conditions { updated_since: since, ..conditions(TileProperty::GridCode, "33TVN") };
        let expected = json!({"grid:code": {"eq": "MGRS-33TVN"}, "updated": {"gte": "2026-01-01T00:00:00.000000Z"}});
        assert_eq!(Value::Object(all.query()), expected);
    }

    #[test]
    fn the_text_of_a_time_comes_before_every_way_to_write_it() {
        let sent = since_text("2024-05-06T21:55:18.794294+02:00".parse().unwrap());
        assert_eq!(sent, "2024-05-06T19:55:18.000000Z");
        // The exact second, and the instant itself, as CDSE, Earth Search and others write them.
        for written in ["18Z", "18.0Z", "18.000Z", "18.000000Z", "18.7943Z", "18.794Z", "18.794294Z"] {
            assert!(sent.as_str() <= format!("2024-05-06T19:55:{written}").as_str(), "{written}");
        }
        assert!(sent.as_str() > "2024-05-06T19:55:17.999999Z");
    }
}
