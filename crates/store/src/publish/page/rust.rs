//! A program in Rust that opens a store, as it stands.

use s2ice_manifest::grid::TILE_EDGE_M;
use serde_json::{Value, json};

use crate::publish::subject::Subject;
use crate::reached::Reached;

/// What puts the crates that it needs into a new package.
pub(super) const NOTE: &str = concat!(
    "cargo add s2ice-store --git ",
    env!("CARGO_PKG_REPOSITORY"),
    " --features zarrs\ncargo add tokio --features macros,rt-multi-thread"
);

/// Pixels on each side of the middle, as many as in the example in Python.
const HALF: u32 = 50;

/// The mean of a square in the middle of the tile at the newest date, for an array of the main tree; `None` where such a
/// program would not be short, or has no product files to read.
pub(super) fn program(subject: &Subject, group: &str, name: &str, metres: u32) -> Option<String> {
    let wanted = format!("/{group}/{name}");
    let newest = subject.state.trees.values().max_by_key(|tree| tree.steps.iter().map(|step| step.time_ms).max())?;
    let array = newest.arrays.values().find(|array| array.path.ends_with(&wanted) && !array.has_components)?;
    let document = subject.state.documents.get(array.path.trim_start_matches('/'))?;
    let number = |key: &str| document.pointer(&format!("/attributes/{key}")).and_then(Value::as_f64);
    let scaled = match (number("scale_factor"), number("add_offset").unwrap_or_default()) {
        (Some(scale), offset) if offset < 0.0 => format!(" * {scale} - {}", -offset),
        (Some(scale), offset) => format!(" * {scale} + {offset}"),
        (None, _) => String::new(),
    };
    let sample = match document.get("data_type").and_then(Value::as_str)? {
        "uint16" => "u16",
        "uint8" => "u8",
        _ => return None,
    };
    let fill = document.get("fill_value").unwrap_or(&json!(0)).to_string();
    let middle = TILE_EDGE_M / metres / 2;
    let square = format!("{}..{}", middle.checked_sub(HALF)?, middle + HALF);
    let sources: Option<Vec<String>> = subject
        .sources
        .iter()
        .map(|(name, source)| {
            let options = options(source).filter(|_| !source.is_local())?;
            Some(format!("        ({name:?}, {:?}, {options}),\n", source.url))
        })
        .collect();
    Some(format!(
        "use s2ice_store::zarrs_codec::{{SourceOptions, open, zarrs::array::Array}};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {{
    let store = ({:?}, {});
    let sources = [
{}    ];
    let array = Array::async_open(open(store, sources).await?, {:?}).await?;
    let newest = array.shape()[0] - 1;
    let square = [newest..newest + 1, {square}, {square}];
    let pixels: Vec<{sample}> = array.async_retrieve_array_subset(&square).await?;
    let seen: Vec<f64> = pixels.into_iter().filter(|pixel| *pixel != {fill}).map(f64::from).collect();
    println!(\"{{}}\", seen.iter().sum::<f64>() / seen.len() as f64{scaled});
    Ok(())
}}",
        subject.store.url,
        options(&subject.store)?,
        sources?.concat(),
        array.path,
    ))
}

/// How a place is reached; `None` for accounts of Azure, which only the environment names.
fn options(place: &Reached) -> Option<String> {
    if place.account.is_some() {
        return None;
    }
    let is_bucket = matches!(place.scheme(), "s3" | "gs");
    let text = |key: &str, value: &Option<String>| value.as_ref().map(|value| format!("{key}: Some({value:?}.into())"));
    let told: Vec<String> = [
        (is_bucket && place.anonymous).then(|| "anonymous: true".to_owned()),
        place.request_payer.then(|| "request_payer: true".to_owned()),
        text("endpoint", &place.endpoint),
        text("region", &place.region),
    ]
    .into_iter()
    .flatten()
    .collect();
    Some(match told.as_slice() {
        [] => "SourceOptions::default()".to_owned(),
        told => format!("SourceOptions {{ {}, ..SourceOptions::default() }}", told.join(", ")),
    })
}
