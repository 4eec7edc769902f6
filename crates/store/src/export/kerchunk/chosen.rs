//! Which nodes of a store are written out, and which steps of each tree.

use std::collections::{BTreeMap, BTreeSet};

use s2ice_manifest::era::Era;
use s2ice_manifest::raster::Asset;
use serde_json::{Map, Value, json};

use super::super::cube::{Cube, Selection};
use super::zarr2::{self, Chunks};
use crate::error::{Error, Result};
use crate::layout::{geometry, overview, place};
use crate::plan::STAMP;
use crate::state::{HeldArray, TreeState};

/// Steps of each tree, in their order.
pub(super) type Steps = BTreeMap<Option<Era>, Vec<usize>>;

/// The steps of a selection.
pub(super) fn steps(cube: &Cube, selection: &Selection) -> Steps {
    let of = |tree: &TreeState| {
        let steps = tree.steps.iter().enumerate();
        steps.filter(|(_, step)| selection.admits(step)).map(|(index, _)| index).collect()
    };
    cube.state.trees.values().map(|tree| (tree.era.clone(), of(tree))).collect()
}

/// Nodes of a store in the words of format 2.
pub(super) struct Chosen<'a> {
    /// By path below the root that was chosen.
    pub(super) groups: BTreeMap<String, Value>,
    /// By path below that root.
    pub(super) arrays: BTreeMap<String, ChosenArray<'a>>,
}

/// An array.
pub(super) struct ChosenArray<'a> {
    /// Path in the store, without slashes at its ends.
    pub(super) path: &'a str,
    /// Its tree.
    pub(super) tree: &'a TreeState,
    /// The steps of the tree that are taken.
    pub(super) steps: Vec<usize>,
    /// What its chunks are.
    pub(super) part: Part<'a>,
    /// Its metadata.
    pub(super) array: zarr2::Array,
}

/// What the chunks of an array are.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    /// References.
    Raster(Asset, &'a HeldArray),
    /// Values in the store, one chunk for each time step.
    Angles,
    /// Values of all time steps together.
    Column,
    /// Values without a time.
    Fixed,
}

/// Chooses what a selection and steps admit below a group, which becomes the root. Arrays without data at these steps are
/// left out.
///
/// # Errors
/// [`Error::Request`]: there is no such group, a glob is none, or format 2 cannot express an array.
pub(super) fn choose<'a>(cube: &'a Cube, selection: &Selection, root: &str, steps: &Steps) -> Result<Chosen<'a>> {
    let documents = &cube.state.documents;
    match documents.get(root).and_then(|document| document.get("node_type")?.as_str()) {
        Some("group") => {}
        Some(_) => {
            return Err(Error::Request(format!("{root} is an array of {}: name the group in which it is", cube.url)));
        }
        None => {
            return Err(Error::Request(format!(
                "{} has no group {root}: `s2ice info {}` lists its arrays, groups are like measurements/reflectance/r10m",
                cube.url, cube.url
            )));
        }
    }
    let wanted = cube.wanted(selection)?;
    let mut arrays = BTreeMap::new();
    for tree in cube.state.trees.values() {
        let Some(steps) = steps.get(&tree.era).filter(|steps| !steps.is_empty()) else { continue };
        let has = |present: &[bool]| steps.iter().any(|step| present.get(*step) == Some(&true));
        let base = place::root(tree.era.as_ref());
        let rasters = tree.arrays.iter().flat_map(|(asset, array)| {
            let overviews = cube.state.stamp.overviews.with_whole().map(|reduce| overview::path(&array.path, reduce));
            let there = overviews.filter(|path| documents.contains_key(path.trim_start_matches('/')));
            let (base, wanted) = (&base, &wanted);
            there.map(move |path| {
                let path = path.trim_start_matches('/');
                let inside = path.strip_prefix(base.as_str()).unwrap_or(path).trim_start_matches('/');
                let taken = wanted.admits_path(&format!("/{inside}")) && has(&array.present);
                (path.to_owned(), Part::Raster(*asset, array), taken)
            })
        });
        let angles = tree.angles.iter().map(|(array, present)| {
            let path = geometry::path(*array);
            let taken = wanted.admits_path(&path) && has(present);
            (place::within(tree.era.as_ref(), &path), Part::Angles, taken)
        });
        let data: Vec<_> = rasters.chain(angles).collect();
        let all: BTreeSet<&str> = data.iter().map(|(path, ..)| path.as_str()).collect();
        let taken = data.iter().filter(|(path, _, taken)| *taken && below(root, path).is_some());
        let mut parts: BTreeMap<&str, Part<'_>> = taken.map(|(path, part, _)| (path.as_str(), *part)).collect();
        let mut leaves: BTreeSet<String> = parts.keys().map(|path| parent(path).to_owned()).collect();
        let table = place::within(tree.era.as_ref(), place::PRODUCTS);
        if !leaves.is_empty() || root == table {
            leaves.insert(table);
        }
        for (path, document) in documents {
            let is_array = document.get("node_type").and_then(Value::as_str) == Some("array");
            if is_array && leaves.contains(parent(path)) && !all.contains(path.as_str()) && below(root, path).is_some()
            {
                let first = document.pointer("/dimension_names/0").and_then(Value::as_str);
                parts.insert(path, if first == Some("time") { Part::Column } else { Part::Fixed });
            }
        }
        for (path, part) in parts {
            let Some((path, document)) = documents.get_key_value(path) else { continue };
            let chunks = match part {
                Part::Raster(_, array) => Chunks::Tiles(&array.header),
                _ => Chunks::Bytes,
            };
            let array = zarr2::array(document, chunks, steps.len())
                .map_err(|reason| Error::Request(format!("/{path} of {}: {reason}", cube.url)))?;
            let chosen = ChosenArray { path, tree, steps: steps.clone(), part, array };
            arrays.insert(below(root, path).unwrap_or_default().to_owned(), chosen);
        }
    }
    Ok(Chosen { groups: groups(cube, root, &arrays), arrays })
}

/// The groups of arrays: all that lie between them and the root.
fn groups(cube: &Cube, root: &str, arrays: &BTreeMap<String, ChosenArray<'_>>) -> BTreeMap<String, Value> {
    let mut names: BTreeSet<&str> = BTreeSet::from([""]);
    for path in arrays.keys() {
        names.extend(path.match_indices('/').map(|(at, _)| &path[..at]));
    }
    let attributes = |name: &&str| {
        let document = cube.state.documents.get(&place::join(root, name))?;
        let mut attributes = document.get("attributes").and_then(Value::as_object).cloned().unwrap_or_default();
        without_absent(&mut attributes, |child| names.contains(place::join(name, child).as_str()));
        Some(((*name).to_owned(), attributes.into()))
    };
    names.iter().filter_map(attributes).collect()
}

/// Takes away what a group says of groups that are not there: levels of its pyramid, and eras.
fn without_absent(attributes: &mut Map<String, Value>, is_there: impl Fn(&str) -> bool) {
    let levels = attributes.get("multiscales").and_then(|multiscales| multiscales.get("layout")?.as_array());
    let whole = |levels: &Vec<Value>| {
        levels.iter().all(|level| level.get("asset").and_then(Value::as_str).is_some_and(&is_there))
    };
    if levels.is_some_and(|levels| !whole(levels)) {
        attributes.remove("multiscales");
        if let Some(conventions) = attributes.get_mut("zarr_conventions").and_then(Value::as_array_mut) {
            conventions.retain(|convention| convention.get("name") != Some(&json!("multiscales")));
        }
    }
    let eras = attributes.get_mut(STAMP).and_then(|stamp| stamp.get_mut(place::ERAS)?.as_object_mut());
    if let Some(eras) = eras {
        eras.retain(|era, _| is_there(&place::join(place::ERAS, era)));
    }
}

/// The path of a group or array below another group; `None` where it is not below it.
fn below<'p>(root: &str, path: &'p str) -> Option<&'p str> {
    if root.is_empty() { Some(path) } else { path.strip_prefix(root)?.strip_prefix('/') }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn groups_do_not_speak_of_what_is_not_there() {
        let all = json!({
            "multiscales": { "layout": [{ "asset": "r10m" }, { "asset": "r20m" }] },
            "zarr_conventions": [{ "name": "proj:" }, { "name": "multiscales" }],
            STAMP: { "tile": "33TVN", "eras": { "offset-0": {}, "offset-0-profile-2": {} } },
        });
        let left = |there: &[&str]| {
            let mut attributes = all.as_object().unwrap().clone();
            without_absent(&mut attributes, |name| there.contains(&name));
            Value::from(attributes)
        };
        assert_eq!(left(&["r10m", "r20m", "eras/offset-0", "eras/offset-0-profile-2"]), all);
        assert_eq!(
            left(&["r20m", "eras/offset-0"]),
            json!({ "zarr_conventions": [{ "name": "proj:" }], STAMP: { "tile": "33TVN", "eras": { "offset-0": {} } } })
        );
    }

    #[test]
    fn paths_are_below_whole_names_only() {
        assert_eq!(
            (below("", "a/b"), below("a", "a/b"), below("a", "ab/c"), below("a", "a")),
            (Some("a/b"), Some("b"), None, None)
        );
        assert_eq!((parent("a/b/c"), parent("a")), ("a/b", ""));
    }
}
