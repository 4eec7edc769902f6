//! `{tile}` and `{level}` in the values of a configuration file.

use s2ice_manifest::ids::{Level, MgrsTile};
use s2ice_store::tile::Wrong;
use toml::de::{DeTable, DeValue};

/// The keys that name a place or a container.
const PLACES: [&str; 7] = ["index", "write-index", "store", "stac", "memory", "source", "container"];

/// Fills in the keys that name a place or a container.
///
/// # Errors
/// A placeholder that is not known: a misspelt one would send every tile to one place.
pub fn fill(table: &mut DeTable<'_>, tile: MgrsTile, level: Level) -> Result<(), Wrong> {
    let names = [("tile", tile.to_string()), ("level", level.to_string())];
    for key in PLACES {
        match table.get_mut(key).map(|value| value.get_mut()) {
            Some(DeValue::String(text)) => replace(key, text.to_mut(), &names)?,
            Some(DeValue::Array(list)) => {
                for value in list.iter_mut() {
                    if let DeValue::String(text) = value.get_mut() {
                        replace(key, text.to_mut(), &names)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn replace(key: &'static str, text: &mut String, names: &[(&str, String)]) -> Result<(), Wrong> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, tail)) = rest.split_once('{') {
        let placeholder = tail.split_once('}').map(|(name, _)| name);
        if let (Some(name), true) = (placeholder, key == "stac" && before.ends_with('$')) {
            // A variable of the environment, which is read when the catalogue is asked.
            out.extend([before, "{", name, "}"]);
            rest = tail.get(name.len() + 1..).unwrap_or_default();
            continue;
        }
        let known = placeholder.and_then(|name| names.iter().find(|(known, _)| *known == name));
        let Some((name, value)) = known else {
            let found = placeholder.map_or_else(|| format!("{{{tail}"), |name| format!("{{{name}}}"));
            return Err(Wrong::bad(key, format!("{found} is no placeholder: {{tile}} and {{level}} are")));
        };
        out.push_str(before);
        out.push_str(value);
        rest = tail.get(name.len() + 1..).unwrap_or_default();
    }
    out.push_str(rest);
    *text = out;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn filled(text: &str) -> Result<String, Wrong> {
        key_filled("store", text)
    }

    fn key_filled(key: &str, text: &str) -> Result<String, Wrong> {
        let text = format!("{key} = \"{text}\"");
        let mut table = DeTable::parse(&text).unwrap().into_inner();
        fill(&mut table, "33TVN".parse().unwrap(), Level::L1C)?;
        Ok(table.get(key).unwrap().get_ref().as_str().unwrap().to_owned())
    }

    #[test]
    fn placeholders_are_filled() {
        assert_eq!(filled("s3://b/{level}/{tile}/x").unwrap(), "s3://b/L1C/33TVN/x");
        assert_eq!(filled("{tile}{tile}").unwrap(), "33TVN33TVN");
        assert_eq!(filled("plain}").unwrap(), "plain}");
        let stac = key_filled("stac", "https://h/{level}?t=${TOKEN}").unwrap();
        assert_eq!(stac, "https://h/L1C?t=${TOKEN}");
        assert_eq!(key_filled("datetime", "{x}").unwrap(), "{x}");
    }

    #[test]
    fn unknown_placeholders_are_refused() {
        for text in ["s3://b/{tlie}", "s3://b/{tile", "{}", "{ tile }", "{Tile}"] {
            let error = filled(text).unwrap_err();
            assert_eq!(error.key(), "store", "{text}");
        }
    }
}
