//! What one line of the log says, as text and as JSON.

use std::error::Error;
use std::fmt::{Debug, Write};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};

use super::OUTCOME;

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something failed.
    Error,
    /// Something was left out or put off.
    Warn,
    /// A step.
    Info,
    /// A request.
    Debug,
    /// Anything.
    Trace,
}

impl Severity {
    /// As text has it: five letters, so that messages begin in one column.
    fn name(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Warn => " WARN",
            Self::Info => " INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
        }
    }

    /// Number of its colour on terminals (SGR).
    fn colour(self) -> u8 {
        match self {
            Self::Error => 31,
            Self::Warn => 33,
            Self::Info => 32,
            Self::Debug => 34,
            Self::Trace => 35,
        }
    }
}

/// One line of the log under `--log-format json`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "a line of the log of s2ice")]
pub struct Line<'a> {
    /// When, RFC 3339 in UTC with milliseconds.
    pub time: String,
    /// How much it matters.
    pub level: Severity,
    /// Part of the program that says it.
    pub target: &'a str,
    /// What it says.
    pub message: String,
    /// Name of the run; commits and reports bear it too.
    pub run: &'a str,
    /// MGRS tile that is worked on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tile: Option<&'a str>,
    /// Its processing level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processing_level: Option<&'a str>,
    /// What else there is to say, by name.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
}

impl Line<'_> {
    /// For machines.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// For people. Whatever is told stays one line, and no foreign text steers a terminal. An outcome says all in its
    /// message.
    pub fn text(&self, colour: bool) -> String {
        let mut text = String::new();
        if self.target != OUTCOME {
            let _ = write!(text, "{}: ", self.target);
        }
        text += &self.message;
        for (name, value) in self.fields.iter().filter(|_| self.target != OUTCOME) {
            let _ = match value {
                Value::String(word) if !word.contains([' ', '"', '=']) => write!(text, " {name}={word}"),
                value => write!(text, " {name}={value}"),
            };
        }
        let tile =
            [self.tile, self.processing_level].into_iter().flatten().fold(String::new(), |s, word| s + " " + word);
        let level = self.level.name();
        let mut line = if colour {
            let (number, dim, end) = (self.level.colour(), "\u{1b}[2m", "\u{1b}[0m");
            format!("{dim}{}{end} \u{1b}[{number}m{level}{end} {dim}[{}{tile}]{end} ", self.time, self.run)
        } else {
            format!("{} {level} [{}{tile}] ", self.time, self.run)
        };
        for character in text.chars() {
            if character.is_control() {
                line.extend(character.escape_default());
            } else {
                line.push(character);
            }
        }
        line.push('\n');
        line
    }
}

/// What an event says.
#[derive(Debug, Default)]
pub struct Said {
    /// Its message.
    pub message: String,
    /// Its other fields.
    pub fields: Map<String, Value>,
}

impl Said {
    fn keep(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            (name, value) => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Said {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.keep(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, value.into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value.into());
    }
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.keep(field, value.to_string().into());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.keep(field, format!("{value:?}").into());
    }
}
