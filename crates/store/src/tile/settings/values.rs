//! Values of settings: what they may be, and what they are where nothing is said.

use std::time::Duration;

use s2ice_manifest::ids::{Level, NameError};
use s2ice_manifest::product::ProductId;
use serde::{Deserialize, Deserializer, Serialize};

use crate::duration::Span;

/// Where main headers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeaderPolicy {
    /// One ranged request per raster to the file itself, or what is remembered of it.
    #[default]
    Read,
    /// From the index where it has them with an ETag, else from the file. Twelve bytes of each file prove where its tiles lie.
    Index,
    /// From one file of each class of a product, the others being compared with one listing of its folder. Such products are marked inferred, and every run reads the files of an eighth of the store's products
    /// until all are verified. Sources without listings are read file by file.
    Sample,
    /// From the index or the known Sentinel-2 header classes, without touching the source; marked assumed. Times and
    /// offsets then come from the products' names (the time is the start of the datatake), and there are no angles.
    Assume,
}

/// Where what is learned of the source is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String", inline)]
pub enum MemoryPlace {
    /// Beside the store.
    #[default]
    Store,
    /// Nowhere.
    Nowhere,
    /// A file or object of this address.
    At(String),
}

impl From<String> for MemoryPlace {
    fn from(text: String) -> Self {
        match text.as_str() {
            "store" => Self::Store,
            "none" => Self::Nowhere,
            _ => Self::At(text),
        }
    }
}

impl From<MemoryPlace> for String {
    fn from(place: MemoryPlace) -> Self {
        match place {
            MemoryPlace::Store => "store".to_owned(),
            MemoryPlace::Nowhere => "none".to_owned(),
            MemoryPlace::At(address) => address,
        }
    }
}

/// Products whose files are to be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", inline)]
pub enum Recheck {
    /// Every product.
    All,
    /// One product.
    Product(ProductId),
}

impl std::str::FromStr for Recheck {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "all" { Ok(Self::All) } else { text.parse().map(Self::Product) }
    }
}

impl TryFrom<String> for Recheck {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Recheck> for String {
    fn from(recheck: Recheck) -> Self {
        match recheck {
            Recheck::All => "all".to_owned(),
            Recheck::Product(id) => id.to_string(),
        }
    }
}

pub(super) fn level() -> Level {
    Level::L2A
}

pub(super) fn yes() -> bool {
    true
}

/// Some days of a tile.
pub(super) fn index_missing_limit() -> usize {
    20
}

/// Half a store: more than a provider withdraws, less than a catalogue that answers in part.
pub(super) fn prune_limit() -> u8 {
    50
}

/// A day.
pub(super) fn overlap() -> Span {
    Span(Duration::from_secs(24 * 3600))
}

/// Long enough for a run that is about to end.
pub(super) fn lock_wait() -> Span {
    Span(Duration::from_secs(60))
}

const NO_PERCENTAGE: &str = "it is a percentage, 0 to 100";

pub(super) fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    match Option::deserialize(deserializer)? {
        Some(percent) if !(0.0..=100.0).contains(&percent) => Err(serde::de::Error::custom(NO_PERCENTAGE)),
        percent => Ok(percent),
    }
}

pub(super) fn whole_percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    match u64::deserialize(deserializer)?.try_into() {
        Ok(percent @ 0..=100) => Ok(percent),
        _ => Err(serde::de::Error::custom(NO_PERCENTAGE)),
    }
}

/// One text, or a list of them.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Texts;
    impl<'de> serde::de::Visitor<'de> for Texts {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a text or a list of texts")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = list.next_element()? {
                texts.push(text);
            }
            Ok(texts)
        }
    }
    deserializer.deserialize_any(Texts)
}
