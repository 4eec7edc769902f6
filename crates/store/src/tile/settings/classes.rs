//! What a setting bears on, as its field says: what has to be looked at again where it has another value.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::BuildSettings;

/// What a setting bears on. A setting that bears on nothing says so by an empty list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearing {
    /// Which products and rasters are asked for: what a catalogue answered before is the answer to another question.
    Question,
    /// What is written of the same rows: the references to all products are made anew.
    References,
    /// What was refused might be admitted now.
    Refusals,
    /// What a run makes of it all, in any way: the last run's outcome is not this one's.
    Outcome,
}

impl Bearing {
    fn name(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::References => "references",
            Self::Refusals => "refusals",
            Self::Outcome => "outcome",
        }
    }
}

static SCHEMA: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(BuildSettings).to_value());

/// The JSON Schema of the settings: names, types, defaults, documentation and what each of them bears on.
#[must_use]
pub fn schema() -> &'static Value {
    &SCHEMA
}

/// What a property of the schema refers to, or itself.
#[must_use]
pub fn definition(property: &'static Value) -> &'static Value {
    let name = |value: &'static Value| value["$ref"].as_str()?.strip_prefix("#/$defs/");
    let any = property["anyOf"].as_array().into_iter().flatten().find_map(name);
    name(property).or(any).map_or(property, |name| &SCHEMA["$defs"][name])
}

impl BuildSettings {
    /// The settings that bear on something, by their names. Secrets are not among them, nor where a setting says where they
    /// are: whoever renews a key asks the same as before.
    #[must_use]
    pub fn bearing_on(&self, what: Bearing) -> Map<String, Value> {
        let Ok(Value::Object(mut values)) = serde_json::to_value(self) else { return Map::new() };
        let properties = &schema()["properties"];
        values.retain(|name, _| {
            let changes = properties[name]["x-bears-on"].as_array();
            // A setting without a word of it changes everything.
            changes.is_none_or(|changes| match what {
                Bearing::Outcome => !changes.is_empty(),
                _ => changes.iter().any(|change| change == what.name()),
            })
        });
        values
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::super::Occasion;
    use super::*;

    fn settings(more: Value) -> BuildSettings {
        let mut document =
            json!({ "tile": "33TVN", "source": "/archive", "index": "i.parquet", "stac": "https://host/v1" });
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        BuildSettings::read(document, Occasion::default()).unwrap()
    }

    #[test]
    fn every_setting_says_what_it_changes() {
        let known = ["question", "references", "refusals", "outcome"];
        for (name, property) in schema()["properties"].as_object().unwrap() {
            let changes = property["x-bears-on"].as_array().unwrap_or_else(|| panic!("{name} says nothing"));
            assert!(changes.iter().all(|change| known.contains(&change.as_str().unwrap())), "{name}: {changes:?}");
            assert!(property["description"].as_str().is_some_and(|text| text.ends_with('.')), "{name}");
        }
    }

    #[test]
    fn a_renewed_key_asks_the_same() {
        let with = |token: &str| {
            settings(json!({
                "stac": format!("https://host/v1?token={token}"),
                "stac-options": { "headers": { "authorization": token } },
                "source-options": { "extra": { "aws_secret_access_key": token } },
            }))
        };
        for what in [Bearing::Question, Bearing::References, Bearing::Refusals, Bearing::Outcome] {
            assert_eq!(with("one-token").bearing_on(what), with("other-token").bearing_on(what));
        }
        assert!(!serde_json::to_string(&with("one-token")).unwrap().contains("one-token"));
        assert!(!format!("{:?}", with("one-token")).contains("one-token"));
    }

    #[test]
    fn another_value_is_another_question() {
        let question = |more| settings(more).bearing_on(Bearing::Question);
        let plain = question(json!({}));
        for more in [json!({ "level": "L1C" }), json!({ "index": ["j.parquet"] }), json!({ "collection": "c" })] {
            assert_ne!(question(more.clone()), plain, "{more}");
        }
        assert_eq!(question(json!({ "angles": false, "prune": true, "store": "/s" })), plain);
        assert_ne!(
            settings(json!({ "angles": false })).bearing_on(Bearing::References),
            settings(json!({})).bearing_on(Bearing::References)
        );
    }
}
