//! The layout as a table for the documentation: generated, so that it is always the code's own.

use s2ice_manifest::geometry::AngleArray;
use s2ice_manifest::ids::Level;

use super::attributes;
use super::eopf::{all_assets, array_kind};
use super::geometry;

/// A Markdown table of every array of both levels.
pub fn markdown() -> String {
    let mut out = String::from(
        "| array | level | file | type | dimensions | fill | long name |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for level in [Level::L2A, Level::L1C] {
        for array in AngleArray::ALL {
            out += &format!(
                "| `{}` | {level} | MTD_TL.xml | float32 | {} | NaN | {} |\n",
                geometry::path(array),
                geometry::dimensions(array).join(", "),
                geometry::long_name(array)
            );
        }
        for asset in all_assets(level) {
            let Some(kind) = array_kind(asset, level) else { continue };
            let attributes = attributes::of_asset(asset, level, None);
            let long_name = attributes.get("long_name").and_then(|v| v.as_str()).unwrap_or_default();
            let dimensions = match kind.component_dimension {
                Some(name) => format!("time, {name}, y, x"),
                None => "time, y, x".to_owned(),
            };
            out += &format!(
                "| `{}` | {level} | {asset} | {} | {dimensions} | {} | {long_name} |\n",
                kind.place.path(),
                kind.sample.name(),
                kind.fill
            );
        }
    }
    out
}
