//! Numbers as text: what reads JSON may round the last digit of a number.

use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

/// Writes a number as text.
#[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref)]
pub fn serialize<S: Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    number.map(|number| number.to_string()).serialize(serializer)
}

/// Reads it back.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}
