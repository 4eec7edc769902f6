//! The difference between what a store holds and what it shall hold, as ordered work. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use s2ice_manifest::era::Era;
use s2ice_manifest::geometry::AnglePlacement;
use s2ice_manifest::manifest::Placement;
use serde_json::{Map, Value};

use crate::angles::{AngleOperation, operations};
use crate::config::MANIFEST_SPLIT;
use crate::plan::{BOOKKEEPING, Node, PlanContext, StorePlan, TreePlan, plan, stamp_of_mut};
use crate::state::StoreState;

/// What is to be done to a store.
#[derive(Debug, Default)]
pub struct Update {
    /// Nodes to delete, children first.
    pub gone: Vec<Node>,
    /// Nodes to write before any reference.
    pub nodes: Vec<Node>,
    /// Nodes to write after all references: arrays that become shorter.
    pub late: Vec<Node>,
    /// Coordinate chunks to write.
    pub chunks: Vec<(String, Vec<u8>)>,
    /// Aligned windows of time steps in which references change.
    pub windows: Vec<Window>,
    /// Paths (with a leading slash) of arrays whose chunks all have to be written anew.
    pub anew: BTreeSet<String>,
    /// True where references that the store holds are moved or taken away, and therefore read.
    pub reads_held: bool,
}

/// Time steps of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Number of the tree in the plan.
    pub tree: usize,
    /// Its time steps.
    pub steps: Range<usize>,
}

impl Update {
    /// True where the store is as it shall be.
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty()
            && self.nodes.is_empty()
            && self.late.is_empty()
            && self.chunks.is_empty()
            && self.windows.is_empty()
    }
}

/// What happens to one raster's place on the time axis.
#[derive(Debug, Clone, Copy)]
pub enum Operation<'a> {
    /// The references are there.
    Keep,
    /// References are written, from the file, from another step or from another tree; what was there is overwritten.
    Write(&'a Placement),
    /// The references that are there are taken away.
    Clear,
    /// Nothing is there and nothing shall be.
    Nothing,
}

/// What happens at a step of an array of a tree, given what the store has there.
pub fn operation<'a>(
    wanted: Option<&'a Placement>,
    era: Option<&Era>,
    step: usize,
    held: bool,
    anew: bool,
) -> Operation<'a> {
    match wanted {
        Some(Placement::Held(raster))
            if !anew && raster.era.as_ref() == era && usize::try_from(raster.step) == Ok(step) =>
        {
            Operation::Keep
        }
        Some(placement) => Operation::Write(placement),
        None if held && !anew => Operation::Clear,
        None => Operation::Nothing,
    }
}

/// Compares a state (`None` for a place without one) with a plan.
///
/// # Errors
/// Compressing a coordinate failed.
pub fn update(state: Option<&StoreState>, wanted: &StorePlan) -> std::io::Result<Update> {
    let mut out = Update::default();
    let Some(state) = state else {
        out.nodes.clone_from(&wanted.nodes);
        out.chunks.clone_from(&wanted.chunks);
        let trees = wanted.trees.iter().enumerate();
        out.windows = trees.flat_map(|(number, tree)| windows(number, &vec![true; tree.steps.len()])).collect();
        return Ok(out);
    };
    let held_chunks: BTreeMap<String, Vec<u8>> =
        plan(state.desired(), &context(state, wanted))?.chunks.into_iter().collect();

    let mut written: BTreeSet<&str> = BTreeSet::new();
    for node in &wanted.nodes {
        let Some(held) = state.documents.get(&node.path) else {
            out.nodes.push(node.clone());
            written.insert(&node.path);
            continue;
        };
        if same(held, &node.document) {
            continue;
        }
        written.insert(&node.path);
        if must_be_made_anew(held, &node.document) {
            out.gone.push(Node { path: node.path.clone(), document: held.clone() });
            out.nodes.push(node.clone());
        } else if is_shorter(&node.document, held) {
            out.late.push(node.clone());
        } else {
            out.nodes.push(node.clone());
        }
    }
    let paths: BTreeSet<&str> = wanted.nodes.iter().map(|n| n.path.as_str()).collect();
    // In reverse order children stand before their parents.
    for (path, document) in state.documents.iter().rev().filter(|(path, _)| !paths.contains(path.as_str())) {
        out.gone.push(Node { path: path.clone(), document: document.clone() });
    }

    let paths = wanted.arrays().map(|array| &array.path);
    let paths = paths.chain(wanted.trees.iter().flat_map(|tree| &tree.angles).map(|angles| &angles.path));
    let is_anew = |path: &&String| {
        let path = path.trim_start_matches('/');
        !state.documents.contains_key(path) || out.gone.iter().any(|node| node.path == path)
    };
    out.anew = paths.filter(is_anew).cloned().collect();
    for (key, bytes) in &wanted.chunks {
        let node = key.rsplit_once("/c").map_or(key.as_str(), |(node, _)| node);
        let anew = !state.documents.contains_key(node) || out.gone.iter().any(|gone| gone.path == node);
        if anew || held_chunks.get(key) != Some(bytes) {
            out.chunks.push((key.clone(), bytes.clone()));
        }
    }
    for (number, tree) in wanted.trees.iter().enumerate() {
        let changed = changed(state, tree, &mut out);
        out.windows.extend(windows(number, &changed));
    }
    if out.only_bookkeeping(state) && !wanted.goes_back {
        return Ok(Update::default());
    }
    Ok(out)
}

/// The time steps of a tree at which chunks change.
fn changed(state: &StoreState, tree: &TreePlan, out: &mut Update) -> Vec<bool> {
    let era = tree.era.as_ref();
    let held = state.tree(era);
    let mut all = vec![false; tree.steps.len()];
    for array in &tree.arrays {
        let anew = out.anew.contains(&array.path);
        let held = held.and_then(|held| held.arrays.get(&array.manifest.asset)).filter(|_| !anew);
        for (step, changed) in all.iter_mut().enumerate() {
            let there = held.is_some_and(|held| held.present.get(step) == Some(&true));
            match operation(array.manifest.at(step), era, step, there, anew) {
                Operation::Keep | Operation::Nothing => continue,
                Operation::Clear | Operation::Write(Placement::Held(_)) => out.reads_held = true,
                Operation::Write(Placement::File(_)) => out.reads_held |= there,
            }
            *changed = true;
        }
    }
    for angles in &tree.angles {
        for (step, operation) in
            operations(angles, era, Some(state), out.anew.contains(&angles.path)).collect::<Vec<_>>()
        {
            out.reads_held |= matches!(operation, AngleOperation::Write(AnglePlacement::Held { .. }));
            all[step] = true;
        }
    }
    all
}

impl Update {
    /// True where nothing but the watermark of the catalogue or the writer's version would change: that alone is no
    /// reason for a new state.
    fn only_bookkeeping(&self, state: &StoreState) -> bool {
        let root = |node: &Node| {
            let held = state.documents.get(&node.path);
            node.path.is_empty()
                && held.is_some_and(|held| without_bookkeeping(held) == without_bookkeeping(&node.document))
        };
        self.gone.is_empty()
            && self.late.is_empty()
            && self.chunks.is_empty()
            && self.windows.is_empty()
            && self.nodes.iter().all(root)
    }
}

/// The aligned windows of a tree in which a step changes.
fn windows(tree: usize, changed: &[bool]) -> Vec<Window> {
    let length = MANIFEST_SPLIT as usize;
    let all = (0..changed.len()).step_by(length).map(|start| start..changed.len().min(start + length));
    all.filter(|steps| changed[steps.clone()].contains(&true)).map(|steps| Window { tree, steps }).collect()
}

/// True for an array that loses time steps.
fn is_shorter(wanted: &Value, held: &Value) -> bool {
    let length = |document: &Value| document.pointer("/shape/0").and_then(Value::as_u64);
    length(wanted).zip(length(held)).is_some_and(|(wanted, held)| wanted < held)
}

/// Only the attributes and the length of the time axis may change in place.
fn must_be_made_anew(held: &Value, wanted: &Value) -> bool {
    let fixed = |document: &Value| {
        let mut fixed = document.as_object().cloned().unwrap_or_default();
        fixed.remove("attributes");
        let time = document.pointer("/dimension_names/0").and_then(Value::as_str) == Some("time");
        if let Some(first) = fixed.get_mut("shape").and_then(|s| s.get_mut(0)).filter(|_| time) {
            *first = Value::Null;
        }
        fixed
    };
    fixed(held) != fixed(wanted)
}

fn without_bookkeeping(document: &Value) -> Value {
    let mut document = document.clone();
    if let Some(stamp) = stamp_of_mut(&mut document).and_then(Value::as_object_mut) {
        stamp.retain(|key, _| !BOOKKEEPING.contains(&key.as_str()));
    }
    document
}

/// Equal as JSON; numbers are compared by value, since a store may have been written with `1.0` where `1` is meant.
pub(crate) fn same(held: &Value, wanted: &Value) -> bool {
    match (held, wanted) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => same_members(a, b),
        (a, b) => a == b,
    }
}

fn same_members(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
}

/// The context in which the columns of a state are made again.
fn context(state: &StoreState, wanted: &StorePlan) -> PlanContext {
    PlanContext {
        tile: wanted.tile,
        level: wanted.level,
        container: String::new(),
        source_url: String::new(),
        writer: String::new(),
        sources: BTreeMap::new(),
        resolutions: state.stamp.resolutions,
        overviews: state.stamp.overviews.clone(),
        catalogue: None,
        accepted: BTreeMap::new(),
    }
}
