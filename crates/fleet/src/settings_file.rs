//! Configuration files in TOML: mistakes are told by line and key.

use std::path::Path;

use s2ice_store::tile::{BuildSettings, settings_schema, without_value};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// Refuses what is for the command line only.
///
/// # Errors
/// One sentence.
pub fn check_keys(path: &Path, text: &str, table: &DeTable<'_>) -> Result<(), String> {
    for (key, _) in table.iter() {
        if settings_schema()["properties"][key.get_ref().as_ref()]["x-file"] == json!(false) {
            let reason = format!("`{}` is for the command line only", key.get_ref());
            return Err(misplaced(path, text, key.span().start, &reason));
        }
    }
    Ok(())
}

/// The JSON Schema of what may stand in a file.
pub fn file_schema() -> Value {
    let mut schema = settings_schema().clone();
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.retain(|_, property| property["x-file"] != json!(false));
    }
    // What is missing may stand on the command line or at the top.
    schema.as_object_mut().map(|schema| schema.remove("required"));
    schema
}

/// Finds what cannot be read of a table in which settings may be missing: at its place in the file.
///
/// # Errors
/// One sentence.
pub fn check_table(path: &Path, text: &str, table: &DeTable<'_>) -> Result<(), String> {
    check_keys(path, text, table)?;
    let mut whole = table.clone();
    for (key, value) in [("tile", "33TVN"), ("source", "/")] {
        let value = Spanned::new(0..0, DeValue::String(value.into()));
        whole.entry(Spanned::new(0..0, key.into())).or_insert(value);
    }
    read_value::<BuildSettings>(path, text, Spanned::new(0..0, DeValue::Table(whole))).map(drop)
}

/// Reads a value of a configuration file.
///
/// # Errors
/// One sentence with file, line and key.
pub fn read_value<T: DeserializeOwned>(path: &Path, text: &str, value: Spanned<DeValue<'_>>) -> Result<T, String> {
    serde_path_to_error::deserialize(ValueDeserializer::from(value)).map_err(|error| {
        let key = error.path().to_string();
        told(path, text, error.inner(), Some(key.as_str()).filter(|key| *key != "."))
    })
}

/// A file with keys in it is for its owner only.
pub fn warn_of_secrets(path: &Path, found: Vec<String>) {
    if let Some(sentence) = open_secrets(path, &found) {
        tracing::warn!("{sentence}");
    }
}

/// What is said of a file that others may read though keys stand in it.
pub fn open_secrets(path: &Path, found: &[String]) -> Option<String> {
    let first = found.first().filter(|_| s2ice_manifest::source::location::credentials::is_open_to_others(path))?;
    Some(format!(
        "configuration file {}: others may read it, and {first} stands in it: give ${{NAME}} or a credentials-file in its \
         place, or take the right to read away from others",
        path.display()
    ))
}

/// The text of a configuration file.
///
/// # Errors
/// It cannot be read.
pub fn read_file(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("configuration file {} cannot be read: {e}", path.display()))
}

/// A file that is not what is expected: its name, the line, the key, the reason. What a key has is not repeated: it may be a
/// secret.
pub fn misread(path: &Path, text: &str, error: &toml::de::Error) -> String {
    told(path, text, error, None)
}

fn told(path: &Path, text: &str, error: &toml::de::Error, key: Option<&str>) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let reason = without_value(error.message().lines().next().unwrap_or_default());
    // An unknown key is named by the reason.
    let name = key.and_then(|key| key.rsplit('.').next()).unwrap_or_default();
    match key.filter(|_| !reason.contains(&format!("`{name}`"))) {
        Some(key) => misplaced(path, text, start, &format!("`{key}`: {reason}")),
        None => misplaced(path, text, start, &reason),
    }
}

/// Something wrong at a place of a configuration file.
pub fn misplaced(path: &Path, text: &str, offset: usize, reason: &str) -> String {
    format!("configuration file {}, line {}: {reason}", path.display(), line(text, offset))
}

/// The line of a byte, from 1.
pub fn line(text: &str, offset: usize) -> usize {
    1 + text.get(..offset).unwrap_or(text).matches('\n').count()
}
