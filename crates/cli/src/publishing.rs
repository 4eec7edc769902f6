//! The options of `s2ice publish`.

use s2ice_fleet::publishing::PublishTable;
use s2ice_store::tile::without_value;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::exit::Failure;
use crate::settings;

/// How to publish: what was given, over the table of a file.
///
/// # Errors
/// A `KEY=VALUE` without `=`, or an option that makes no sense.
pub fn table(arguments: &impl Serialize, file: Option<&PublishTable>) -> Result<PublishTable, Failure> {
    let mut document = match file.map(serde_json::to_value) {
        Some(Ok(Value::Object(document))) => document,
        _ => Map::new(),
    };
    settings::lay_over(&mut document, settings::given(arguments)?);
    serde_path_to_error::deserialize(Value::Object(document)).map_err(|error| {
        let (key, reason) = (error.path().to_string(), without_value(&error.into_inner().to_string()));
        Failure::usage(format!("--{key}: {reason}"))
    })
}
