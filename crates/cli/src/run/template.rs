//! `{tile}` and `{level}` in the values of a configuration file.

use s2ice_manifest::ids::{Level, MgrsTile};

use crate::settings::{FileConfig, Wrong};

/// Fills in the keys that name a place or a container.
///
/// # Errors
/// A placeholder that is not known: a misspelt one would send every tile to one place.
pub fn fill(file: &mut FileConfig, tile: MgrsTile, level: Level) -> Result<(), Wrong> {
    let names = [("tile", tile.to_string()), ("level", level.to_string())];
    for text in &mut file.index {
        replace("index", text, &names)?;
    }
    for (key, text) in [
        ("store", &mut file.store),
        ("stac", &mut file.stac),
        ("memory", &mut file.memory),
        ("source", &mut file.source),
        ("container", &mut file.container),
    ] {
        if let Some(text) = text {
            replace(key, text, &names)?;
        }
    }
    if let Some(path) = &mut file.write_index {
        // A path that is no text has no placeholder.
        if let Some(mut text) = path.to_str().map(str::to_owned) {
            replace("write-index", &mut text, &names)?;
            *path = text.into();
        }
    }
    Ok(())
}

fn replace(key: &'static str, text: &mut String, names: &[(&str, String)]) -> Result<(), Wrong> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, tail)) = rest.split_once('{') {
        let placeholder = tail.split_once('}').map(|(name, _)| name);
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
        let mut file = FileConfig { store: Some(text.to_owned()), ..FileConfig::default() };
        fill(&mut file, "33TVN".parse().unwrap(), Level::L1C)?;
        Ok(file.store.unwrap())
    }

    #[test]
    fn placeholders_are_filled() {
        assert_eq!(filled("s3://b/{level}/{tile}/x").unwrap(), "s3://b/L1C/33TVN/x");
        assert_eq!(filled("{tile}{tile}").unwrap(), "33TVN33TVN");
        assert_eq!(filled("plain}").unwrap(), "plain}");
    }

    #[test]
    fn unknown_placeholders_are_refused() {
        for text in ["s3://b/{tlie}", "s3://b/{tile", "{}", "{ tile }", "{Tile}"] {
            let error = filled(text).unwrap_err();
            assert_eq!(error.key(), "store", "{text}");
        }
    }
}
