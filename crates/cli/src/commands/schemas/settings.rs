//! What follows from the settings' schema for people: the table of the documentation and the keywords of Python.

use std::fmt::Write as _;

use s2ice_store::tile::{settings_definition as definition, settings_schema};
use serde_json::Value;

/// Settings that Python takes in words of its own.
const OWN_TYPES: [(&str, &str); 3] = [
    ("memory", "PathLike | Literal[False]"),
    ("overviews", "str | Sequence[int]"),
    ("recheck", "bool | Sequence[str]"),
];

/// Settings that are places.
const PLACES: [&str; 5] = ["index", "write-index", "stac", "source", "store"];

fn properties() -> impl Iterator<Item = (&'static String, &'static Value)> {
    settings_schema()["properties"].as_object().into_iter().flatten()
}

fn values(definition: &Value) -> Vec<&str> {
    definition["oneOf"].as_array().into_iter().flatten().filter_map(|value| value["const"].as_str()).collect()
}

fn kind(definition: &Value) -> &str {
    fn of(value: &Value) -> Option<&str> {
        value.as_str().filter(|kind| *kind != "null")
    }
    let declared = &definition["type"];
    of(declared).or_else(|| declared.as_array()?.iter().find_map(of)).unwrap_or("string")
}

fn text(value: &Value) -> String {
    value["description"].as_str().unwrap_or_default().replace('\n', " ")
}

/// The table of settings, and of the keys of the tables among them.
pub fn markdown() -> String {
    let mut out = "| key | value | default | what |\n| --- | --- | --- | --- |\n".to_owned();
    for (name, property) in properties().filter(|(_, property)| property["x-file"] != false) {
        row(&mut out, name, property);
    }
    for (name, title) in [
        ("SourceOptions", "`[source-options]`, `[store-options]`, `[index-options]`, `[memory-options]`"),
        ("StacOptions", "`[stac-options]`"),
    ] {
        let _ = write!(out, "\nIn {title}:\n\n| key | value | default | what |\n| --- | --- | --- | --- |\n");
        let keys = settings_schema()["$defs"][name]["properties"].as_object();
        keys.into_iter().flatten().for_each(|(name, property)| row(&mut out, name, property));
    }
    out
}

fn row(out: &mut String, name: &str, property: &'static Value) {
    let definition = definition(property);
    let values = values(definition);
    let value = match kind(definition) {
        _ if !values.is_empty() => values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", "),
        "string" => "text".to_owned(),
        "array" => "list".to_owned(),
        "object" => "table".to_owned(),
        "boolean" => "true or false".to_owned(),
        other => other.to_owned(),
    };
    let default = match &property["default"] {
        Value::Null | Value::Object(_) => String::new(),
        Value::Array(list) if list.is_empty() => String::new(),
        default => format!("`{default}`"),
    };
    let _ = writeln!(out, "| `{name}` | {value} | {default} | {} |", text(property).replace('|', "\\|"));
}

/// The module with the keywords of `s2ice.build`.
pub fn python() -> String {
    let mut fields = String::new();
    let mut parameters = String::new();
    for (name, property) in properties() {
        let keyword = name.replace('-', "_");
        let annotation = annotation(name, property);
        let required = property["default"].is_null() && ["tile", "source"].contains(&name.as_str());
        let annotation = if required { format!("Required[{annotation}]") } else { annotation };
        let _ = writeln!(fields, "    {keyword}: {annotation}");
        let mut words = text(property);
        for (other, _) in properties() {
            words = words.replace(&format!("`{other}`"), &format!("`{}`", other.replace('-', "_")));
        }
        let values = values(definition(property));
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
            let _ = write!(words, " One of {}.", values.join(", "));
        }
        match &property["default"] {
            Value::String(default) => drop(write!(words, " By default \"{default}\".")),
            Value::Number(default) => drop(write!(words, " By default {default}.")),
            _ => {}
        }
        let _ = writeln!(parameters, "{keyword}");
        wrap(&mut parameters, &words);
    }
    format!(
        "\"\"\"Keywords of `s2ice.build`: made of the settings' schema by `make schemas`, not by hand.\"\"\"\n\n\
         from __future__ import annotations\n\n\
         import os\n\
         from typing import TYPE_CHECKING, Any, Literal, Required, TypedDict\n\n\
         if TYPE_CHECKING:\n    from collections.abc import Mapping, Sequence\n\n\
         type PathLike = str | os.PathLike[str]\n\n\n\
         class Settings(TypedDict, total=False):\n    \"\"\"What a build is asked for.\"\"\"\n\n{fields}\n\n\
         PARAMETERS = \"\"\"\\\n{parameters}\"\"\"\n\"\"\"Their documentation.\"\"\"\n"
    )
}

fn annotation(name: &str, property: &'static Value) -> String {
    if let Some((_, own)) = OWN_TYPES.iter().find(|(known, _)| *known == name) {
        return (*own).to_owned();
    }
    let definition = definition(property);
    let values = values(definition);
    let single = if PLACES.contains(&name) { "PathLike" } else { "str" };
    match kind(definition) {
        _ if !values.is_empty() => {
            format!("Literal[{}]", values.iter().map(|value| format!("\"{value}\"")).collect::<Vec<_>>().join(", "))
        }
        "integer" => "int".to_owned(),
        "number" => "float".to_owned(),
        "boolean" => "bool".to_owned(),
        "object" => "Mapping[str, Any]".to_owned(),
        "array" => format!("{single} | Sequence[{single}]"),
        _ => single.to_owned(),
    }
}

/// Words in lines of a docstring.
fn wrap(out: &mut String, words: &str) {
    let mut line = String::new();
    for word in words.split_whitespace() {
        if line.len() + word.len() + 1 > 108 {
            let _ = writeln!(out, "    {line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    let _ = writeln!(out, "    {line}");
}
