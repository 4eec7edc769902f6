//! From arguments and configuration file to the settings of a build; the command line wins.
//!
//! Both become one document with the names of the settings, which is then read as [`BuildSettings`]: nothing here knows a
//! single setting. Of the command line, `--PLACE-KEY` is a key of the table `PLACE-options`.

use std::path::Path;

use s2ice_manifest::source::location::SourceOptions;
use s2ice_store::tile::{BuildSettings, Occasion, Wrong, settings_schema, without_value};
use serde::Serialize;
use serde_json::{Map, Value, json};
use toml::de::DeTable;

use s2ice_fleet::settings_file::{check_table, misread, read_file, warn_of_secrets};

use crate::clock;
use crate::exit::Failure;

/// Places that are reached by options of their own.
const PLACES: [&str; 6] = ["source", "store", "index", "stac", "memory", "out"];

/// The run that the settings of this process are for.
pub fn occasion(run: &str) -> Occasion {
    let writer = format!("s2ice {}", env!("CARGO_PKG_VERSION"));
    Occasion { clock: clock::now, run: run.to_owned(), writer }
}

/// The settings of `build` and `manifest`.
///
/// # Errors
/// The configuration file cannot be read, or an option is missing or wrong.
pub fn build(arguments: &impl Serialize, file: Option<&Path>, run: &str) -> Result<BuildSettings, Failure> {
    let mut document = file.map(read).transpose()?.unwrap_or_default();
    lay_over(&mut document, given(arguments)?);
    let settings = BuildSettings::read(Value::Object(document), occasion(run))?;
    if let Some(path) = file {
        warn_of_secrets(path, settings.plain_secrets());
    }
    Ok(settings)
}

/// How the place of this name is reached, as the command line says.
///
/// # Errors
/// A `KEY=VALUE` without `=`, or an option that makes no sense.
pub fn options(place: &str, arguments: &impl Serialize) -> Result<SourceOptions, Failure> {
    let table = given(arguments)?.remove(&format!("{place}-options")).unwrap_or_else(|| json!({}));
    serde_path_to_error::deserialize(table).map_err(|error| {
        let (key, reason) = (error.path().to_string(), without_value(&error.into_inner().to_string()));
        Failure::usage(format!("--{place}-{key}: {reason}"))
    })
}

/// The options that were given, as a document of settings.
pub fn given(arguments: &impl Serialize) -> Result<Map<String, Value>, Failure> {
    let Ok(Value::Object(given)) = serde_json::to_value(arguments) else { return Ok(Map::new()) };
    let mut document = Map::new();
    for (name, value) in given {
        if value.is_null() || value.as_array().is_some_and(Vec::is_empty) {
            continue;
        }
        let key = PLACES.iter().find_map(|place| Some((*place, name.strip_prefix(place)?.strip_prefix('-')?)));
        match key {
            Some((place, "option")) => {
                for (key, text) in pairs(&name, &value)? {
                    insert(&mut document, place, &key, text)?;
                }
            }
            Some((place, "header")) => {
                let headers = headers(&name, &value)?.into_iter().map(|(name, text)| (name, text.into())).collect();
                lay_over(&mut document, table(place, "headers", Value::Object(headers)));
            }
            Some((place, key)) if property(place, key).is_some() => lay_over(&mut document, table(place, key, value)),
            _ => drop(document.insert(name, value)),
        }
    }
    Ok(document)
}

/// `KEY=VALUE`, which may be a secret and is not repeated where it is none.
fn pairs(option: &str, list: &Value) -> Result<Vec<(String, String)>, Failure> {
    split(list, &['=']).ok_or_else(|| Failure::usage(format!("--{option}: it is not KEY=VALUE")))
}

/// `NAME=VALUE`, or `NAME: VALUE` as it is sent.
fn headers(option: &str, list: &Value) -> Result<Vec<(String, String)>, Failure> {
    let headers =
        split(list, &['=', ':']).ok_or_else(|| Failure::usage(format!("--{option}: it is not NAME=VALUE")))?;
    Ok(headers.into_iter().map(|(name, value)| (name, value.trim().to_owned())).collect())
}

/// Pairs of texts, cut where one of these stands first; `None` where one has none of them.
fn split(list: &Value, at: &[char]) -> Option<Vec<(String, String)>> {
    let pair = |text: &str| {
        let (key, value) = text.split_once(at).filter(|(key, _)| !key.is_empty())?;
        Some((key.to_owned(), value.to_owned()))
    };
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(pair).collect()
}

/// A key of a place's options, or a setting of its client.
fn insert(document: &mut Map<String, Value>, place: &str, key: &str, text: String) -> Result<(), Failure> {
    let Some(property) = property(place, key) else {
        if place == "stac" {
            return Err(Failure::usage(format!("--stac-option: {key} is no option of a catalogue")));
        }
        lay_over(document, table(place, "extra", json!({ key: text })));
        return Ok(());
    };
    let is = |kind: &str| {
        let declared = &property["type"];
        declared == kind || declared.as_array().is_some_and(|kinds| kinds.iter().any(|one| one == kind))
    };
    let value = if is("boolean") || is("integer") || is("number") {
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    } else {
        Value::String(text)
    };
    lay_over(document, table(place, key, value));
    Ok(())
}

/// What the schema says of a key of a place's options.
fn property(place: &str, key: &str) -> Option<&'static Value> {
    let name = if place == "stac" { "StacOptions" } else { "SourceOptions" };
    settings_schema()["$defs"][name]["properties"].get(key)
}

fn table(place: &str, key: &str, value: Value) -> Map<String, Value> {
    let inner = Map::from_iter([(key.to_owned(), value)]);
    Map::from_iter([(format!("{place}-options"), Value::Object(inner))])
}

/// Puts a document over another one; tables within, such as `source-options`, key by key.
pub fn lay_over(below: &mut Map<String, Value>, above: Map<String, Value>) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Object(below)), Value::Object(above)) => lay_over(below, above),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

/// A configuration file of one tile.
fn read(path: &Path) -> Result<Map<String, Value>, Failure> {
    let text = read_file(path).map_err(Failure::Usage)?;
    let bad = |error: &toml::de::Error| Failure::Usage(misread(path, &text, error));
    let parsed = DeTable::parse(&text).map_err(|error| bad(&error))?.into_inner();
    check_table(path, &text, &parsed).map_err(Failure::Usage)?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| bad(&error))?;
    match serde_json::to_value(table) {
        Ok(Value::Object(document)) => Ok(document),
        _ => Ok(Map::new()),
    }
}

/// As a mistake in the command line.
impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Self {
        Self::Usage(match wrong {
            Wrong::Missing { key, hint: "" } => {
                format!("--{key} is missing: give it or set `{key}` in the configuration file")
            }
            Wrong::Missing { key, hint } => format!("--{key} is missing: {hint}"),
            Wrong::Bad { key, reason } if key.is_empty() || key.ends_with("-options") => reason,
            Wrong::Bad { key, reason } => format!("--{key}: {reason}"),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn read_line(line: &str) -> Result<BuildSettings, Failure> {
        let line = format!("s2ice build --tile 33TVN --source s3://archive --index i.parquet --store /s {line}");
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::Build(args) => build(&*args, args.selection.config.as_deref(), "run-1"),
            _ => unreachable!(),
        }
    }

    #[test]
    fn options_of_places_are_keys_of_their_tables() {
        let settings = read_line(
            "--source-endpoint https://s --source-requester-pays --connections 3 --source-option virtual-hosted=true \
             --source-option aws_imdsv1_fallback=true --store-region eu --index-option anonymous=true \
             --stac https://host/v1 --stac-header x-key=a=b --stac-option max-items=7 --no-angles --overlap 2h",
        )
        .unwrap();
        let source = &settings.source_options;
        assert_eq!(source.endpoint.as_deref(), Some("https://s"));
        assert_eq!((source.request_payer, source.connections, source.virtual_hosted), (true, Some(3), Some(true)));
        assert!(source.extra.contains_key("aws_imdsv1_fallback"));
        assert_eq!(settings.store_options.region.as_deref(), Some("eu"));
        assert!(settings.reach_index().anonymous && !source.anonymous);
        assert_eq!(settings.stac_options.headers["x-key"].reveal().unwrap(), "a=b");
        assert_eq!((settings.stac_options.max_items, settings.angles), (7, false));
        assert_eq!(settings.overlap.to_string(), "2h");
        assert_eq!(settings.occasion.run, "run-1");
    }

    #[test]
    fn mistakes_name_the_option_and_no_secret() {
        for (line, expected) in [
            ("--stac-header hunter2", "--stac-header: it is not NAME=VALUE"),
            ("--source-option =hunter2", "--source-option: it is not KEY=VALUE"),
            ("--stac-option token=hunter2", "--stac-option: token is no option of a catalogue"),
            ("--source-option anonymous=hunter2", "anonymous: invalid type"),
            ("--max-cloud-cover 101", "--max-cloud-cover: it is a percentage, 0 to 100"),
            ("--level L3", "--level: \"L3\" is not"),
            ("--datetime yesterday", "--datetime: \"yesterday\" is not an interval"),
            ("--stac ftp://hunter2@x", "--stac: "),
            ("--collection c", "--collection: it is one of a catalogue"),
            ("--source-endpoint https://me:hunter2@s", "credentials or a query do not belong in an endpoint"),
            ("--stac https://h --stac-option requests-per-second=0", "requests-per-second: 0 is no number above 0"),
            ("--arrays [", "--arrays: "),
            ("--memory s3://", "--memory: "),
        ] {
            let error = match read_line(line) {
                Err(Failure::Usage(text)) => text,
                other => panic!("{line}: {other:?}"),
            };
            assert!(error.contains(expected) && !error.contains("hunter2"), "{line}: {error}");
        }
    }
}
