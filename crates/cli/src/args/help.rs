//! The help of options that are settings: description, values and default as the settings' schema has them.

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Arg, Command, CommandFactory};
use s2ice_store::tile::{settings_definition, settings_schema};
use serde_json::Value;

use super::Cli;

/// The whole command line.
#[must_use]
pub fn command() -> Command {
    Cli::command().mut_subcommands(|command| command.mut_args(described))
}

/// An option with what its setting says of it, where it says nothing itself.
fn described(arg: Arg) -> Arg {
    let name = arg.get_long().unwrap_or_default().to_owned();
    let property = &settings_schema()["properties"][&name];
    let (Some(description), None) = (property["description"].as_str(), arg.get_help()) else { return arg };
    let mut help = with_options(description);
    if matches!(arg.get_action(), clap::ArgAction::Append) {
        help += " (repeatable)";
    }
    if let Some(default) = default(&property["default"]) {
        help += &format!(" [default: {default}]");
    }
    let values = values(property);
    let arg = arg.help(help);
    if values.is_empty() { arg } else { arg.value_parser(PossibleValuesParser::new(values)) }
}

/// A description as the command line tells it: names of settings with their dashes, no full stop at the end.
fn with_options(description: &str) -> String {
    let mut out = String::new();
    for (number, part) in description.split('`').enumerate() {
        match number % 2 {
            1 if settings_schema()["properties"].get(part).is_some() => out += &format!("--{part}"),
            _ => out += part,
        }
    }
    out.replace('\n', " ").trim_end_matches('.').to_owned()
}

fn default(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The values of a setting that has a few, each with what it means.
fn values(property: &'static Value) -> Vec<PossibleValue> {
    let one = |value: &'static Value| {
        let name = value["const"].as_str()?;
        let help = value["description"].as_str().map(with_options).unwrap_or_default();
        Some(PossibleValue::new(name).help(help))
    };
    settings_definition(property)["oneOf"].as_array().into_iter().flatten().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Settings that stand in tables of the configuration file; their options begin with the name of the place.
    const PLACES: [&str; 5] = ["source-options", "store-options", "index-options", "stac-options", "memory-options"];

    #[test]
    fn every_setting_is_an_option_with_its_own_words() {
        command().debug_assert();
        let command = command();
        let build = command.find_subcommand("build").unwrap();
        for (name, property) in settings_schema()["properties"].as_object().unwrap() {
            let long = if name == "angles" { "no-angles" } else { name };
            if PLACES.contains(&name.as_str()) {
                continue;
            }
            let arg = build.get_arguments().find(|arg| arg.get_long() == Some(long));
            let arg = arg.unwrap_or_else(|| panic!("--{long} is missing"));
            let help = arg.get_help().unwrap_or_else(|| panic!("--{long} has no help")).to_string();
            let is_own = ["no-angles", "recheck"].contains(&long);
            let said = with_options(property["description"].as_str().unwrap());
            assert!(is_own || help.starts_with(&said), "--{long}: {help}");
        }
    }

    #[test]
    fn every_option_has_help() {
        for command in command().get_subcommands() {
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
            }
        }
    }
}
