//! Which small arrays share a manifest: those that change together and are read together.

use serde_json::Value;

use super::place::{self, ERAS};

/// The manifests of small arrays in each tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shared {
    /// All coordinates beside the arrays: a reader of a group needs those of one, and they are small.
    Coordinates,
    /// The table of products.
    Table,
}

/// The tree in which a small array stands, and which of its manifests the array shares.
pub fn shared<'a>(path: &'a str, document: &Value) -> (&'a str, Shared) {
    let (tree, inside) = split(path);
    let along_time = document.pointer("/dimension_names/0").and_then(Value::as_str) == Some("time");
    let is_table = inside.split('/').next() == Some(place::PRODUCTS);
    (tree, if along_time && is_table { Shared::Table } else { Shared::Coordinates })
}

/// The path of a tree, and a path in it.
fn split(path: &str) -> (&str, &str) {
    let era = path.strip_prefix(ERAS).and_then(|rest| rest.strip_prefix('/'));
    let Some((name, inside)) = era.and_then(|rest| rest.split_once('/')) else { return ("", path) };
    (&path[..ERAS.len() + 1 + name.len()], inside)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arrays_share_by_tree_and_by_what_changes_them() {
        let (time, x) = (json!({ "dimension_names": ["time"] }), json!({ "dimension_names": ["x"] }));
        assert_eq!(shared("products/time", &time), ("", Shared::Table));
        assert_eq!(shared("measurements/r10m/time", &time), ("", Shared::Coordinates));
        assert_eq!(shared("measurements/r10m/x", &x), ("", Shared::Coordinates));
        let none = json!({ "dimension_names": [] });
        assert_eq!(shared("measurements/r10m/spatial_ref", &none), ("", Shared::Coordinates));
        assert_eq!(shared("eras/offset-0/products/time", &time), ("eras/offset-0", Shared::Table));
        assert_eq!(shared("eras/offset-0/a/time", &time), ("eras/offset-0", Shared::Coordinates));
    }
}
