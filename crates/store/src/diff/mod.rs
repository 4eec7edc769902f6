//! Whether a reader can tell two stores, or two states of one, apart: a comparison of what they mean, whatever the
//! commits that led there.
//!
//! Steps are aligned by product. Snapshots, history, branches and tags are not compared, nor is the bookkeeping of the
//! writer.

mod align;
mod column;
mod digest;
mod documents;
mod references;
pub mod report;
mod side;
mod small;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use icechunk::Repository;
use icechunk::repository::VersionInfo;
use serde_json::Value;

use align::Alignment;
use report::{
    ColumnDifference, DIFF_REPORT_VERSION, DiffReport, DiffSide, MetadataDifference, NodeDifference, NodeKind, OnlyIn,
    ReferenceDifference,
};
use side::{Side, tree};

use crate::config;
use crate::error::{Error, Result, failure};
use crate::plan::STAMP;
use crate::repository::resolve;
use crate::target::Target;

/// Columns of products that say how a store came to be and nothing of what is in it.
const HISTORY: [&str; 2] = ["/products/inputs", "/products/partial"];

/// Column of products that sums up the references of a step: their sources and checksums among others.
const CONTENT: &str = "/products/content";

/// Arrays compared at a time: enough to hide the latency of a remote store.
const CONCURRENCY: usize = 8;

/// Differences of references for which the first chunk is looked up.
const NAMED_CHUNKS: usize = 5;

/// What to compare.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiffOptions {
    /// Compare where references lead below their container only, so that stores of two mirrors can be the same.
    pub ignore_sources: bool,
    /// Leave out the checksums of references.
    pub ignore_checksums: bool,
    /// Tag, branch or snapshot of the first store; `main` where there is none.
    pub left_at: Option<String>,
    /// Tag, branch or snapshot of the second store; `main` where there is none.
    pub right_at: Option<String>,
}

impl DiffOptions {
    /// True for the nodes that are compared at all.
    fn compares(&self, path: &str) -> bool {
        !HISTORY.iter().any(|column| path.ends_with(column))
            && !(path.ends_with(CONTENT) && (self.ignore_sources || self.ignore_checksums))
    }
}

/// Compares two stores at the states that the options name.
///
/// # Errors
/// A place holds no store, another writer's or one of a newer layout, it has no such state, or reading failed.
pub async fn diff(left: &Target, right: &Target, options: &DiffOptions) -> Result<DiffReport> {
    let (left, right) =
        tokio::try_join!(open(left, options.left_at.as_deref()), open(right, options.right_at.as_deref()))?;
    compare(left, right, options).await
}

/// Compares two states of opened repositories; the states that the options name are of no account.
///
/// # Errors
/// As [`diff`].
pub async fn diff_repositories(
    left: &Repository,
    left_at: &VersionInfo,
    right: &Repository,
    right_at: &VersionInfo,
    options: &DiffOptions,
) -> Result<DiffReport> {
    let left = Side::open(left, left_at, "the first store".to_owned());
    let right = Side::open(right, right_at, "the second store".to_owned());
    let (left, right) = tokio::try_join!(left, right)?;
    compare(left, right, options).await
}

async fn open(target: &Target, at: Option<&str>) -> Result<Side> {
    let name = target.url().to_string();
    let failed = |error| failure("opening the store", &name, &error);
    target.probe().await?;
    if !Repository::exists(target.storage(), None).await.map_err(failed)? {
        return Err(Error::NoStore { url: name });
    }
    let repository = Repository::open(target.storage()).execute().await.map_err(failed)?;
    // Every manifest is read once: a cache would only hold them all in memory.
    let uncached = config::for_writing(repository.config().clone());
    let repository = Repository::open(target.storage()).config(uncached).execute().await.map_err(failed)?;
    let at = match at {
        None => VersionInfo::BranchTipRef("main".to_owned()),
        Some(at) => resolve(&repository, at, &name).await?,
    };
    Side::open(&repository, &at, name).await
}

async fn compare(mut left: Side, mut right: Side, options: &DiffOptions) -> Result<DiffReport> {
    let of_other_things = identity(&left, &right);
    tokio::try_join!(left.read_axes(), right.read_axes())?;
    let mut report = DiffReport {
        kind: "s2ice.diff".to_owned(),
        version: DIFF_REPORT_VERSION,
        left: summary(&left),
        right: summary(&right),
        ignore_sources: options.ignore_sources,
        ignore_checksums: options.ignore_checksums,
        same: false,
        differences: 0,
        products: Vec::new(),
        nodes: Vec::new(),
        metadata: of_other_things,
        columns: Vec::new(),
        references: Vec::new(),
    };
    if !report.metadata.is_empty() {
        return Ok(report.counted());
    }
    let trees: BTreeSet<&String> = left.axes.keys().chain(right.axes.keys()).collect();
    let mut alignments = BTreeMap::new();
    for tree in trees {
        let (alignment, products) = Alignment::of(left.axis(tree), right.axis(tree));
        alignments.insert(tree.clone(), alignment);
        report.products.extend(products.into_iter().map(|product| product.in_tree(tree)));
    }
    let shared = Arc::new(Pair { left, right, alignments, options: options.clone() });
    let Pair { left, right, .. } = shared.as_ref();
    report.nodes = one_sided(left, right, options);
    let mut paths = Vec::new();
    for (path, node) in left.nodes.iter().filter(|(path, _)| options.compares(path)) {
        let Some(other) = right.nodes.get(path) else { continue };
        let ours = documents::comparable(path, &node.document, left.axis(path).times.len(), options);
        let theirs = documents::comparable(path, &other.document, right.axis(path).times.len(), options);
        documents::compare(path, &ours, &theirs, &mut report.metadata);
        let unchanged = shared.alignment(path).identity
            && node.document == other.document
            && left.containers == right.containers
            && node.same_manifests(other);
        if !unchanged && node.kind() != NodeKind::Group && other.kind() != NodeKind::Group {
            paths.push(path.clone());
        }
    }
    let mut found = futures::stream::iter(paths)
        .map(|path| tokio::spawn(Arc::clone(&shared).array(path)))
        .buffered(CONCURRENCY)
        .map(|outcome| outcome.map_err(|error| Error::Input(format!("comparing an array failed: {error}")))?);
    while let Some((columns, references)) = found.try_next().await? {
        report.columns.extend(columns);
        report.references.extend(references);
    }
    for difference in report.references.iter_mut().filter(|d| d.product.is_some()).take(NAMED_CHUNKS) {
        shared.name_chunk(difference).await?;
    }
    Ok(report.counted())
}

/// Stores of another tile or level have nothing in common that would be worth comparing.
fn identity(left: &Side, right: &Side) -> Vec<MetadataDifference> {
    let (ours, theirs) = (&left.stamp, &right.stamp);
    let told = [("tile", &ours.tile, &theirs.tile), ("level", &ours.level, &theirs.level)];
    let differing = told.into_iter().filter(|(_, ours, theirs)| ours != theirs);
    let difference = |(key, ours, theirs): (&str, &String, &String)| MetadataDifference {
        path: "/".to_owned(),
        pointer: format!("/attributes/{STAMP}/{key}"),
        left: Some(Value::from(ours.as_str())),
        right: Some(Value::from(theirs.as_str())),
    };
    differing.map(difference).collect()
}

fn summary(side: &Side) -> DiffSide {
    DiffSide {
        store: side.name.clone(),
        snapshot: side.snapshot(),
        tile: side.stamp.tile.clone(),
        level: side.stamp.level.clone(),
        times: side.axis("").times.len(),
        arrays: side.data_arrays(),
    }
}

/// Nodes that only one store has; data arrays first, since the others follow from them.
fn one_sided(left: &Side, right: &Side, options: &DiffOptions) -> Vec<NodeDifference> {
    let only = |side: &Side, other: &Side, only_in| -> Vec<NodeDifference> {
        let missing = side.nodes.iter().filter(|(path, _)| !other.nodes.contains_key(*path));
        let compared = missing.filter(|(path, _)| options.compares(path));
        compared.map(|(path, node)| NodeDifference { path: path.clone(), node: node.kind(), only_in }).collect()
    };
    let mut nodes = only(left, right, OnlyIn::Left);
    nodes.extend(only(right, left, OnlyIn::Right));
    nodes.sort_by_key(|node| node.node);
    nodes
}

/// Two stores of the same tile and level.
struct Pair {
    left: Side,
    right: Side,
    /// Of each tree, by its path.
    alignments: BTreeMap<String, Alignment>,
    options: DiffOptions,
}

impl Pair {
    /// The alignment of the tree in which a node stands.
    fn alignment(&self, path: &str) -> &Alignment {
        static NONE: Alignment = Alignment { pairs: Vec::new(), identity: true };
        self.alignments.get(tree(path)).unwrap_or(&NONE)
    }

    /// The differences of an array that both have.
    async fn array(self: Arc<Self>, path: String) -> Result<(Vec<ColumnDifference>, Vec<ReferenceDifference>)> {
        let (Some(ours), Some(theirs)) = (self.left.nodes.get(&path), self.right.nodes.get(&path)) else {
            return Ok(Default::default());
        };
        let (left, right) = ((&self.left, ours), (&self.right, theirs));
        if ours.kind() == NodeKind::DataArray || theirs.kind() == NodeKind::DataArray {
            let found = references::compare(&path, left, right, self.alignment(&path), &self.options).await?;
            return Ok((Vec::new(), found));
        }
        Ok((small::compare(&path, left, right, self.alignment(&path)).await?, Vec::new()))
    }

    /// Looks up the first chunk behind a difference.
    async fn name_chunk(&self, difference: &mut ReferenceDifference) -> Result<()> {
        let (Some(ours), Some(theirs)) =
            (self.left.nodes.get(&difference.path), self.right.nodes.get(&difference.path))
        else {
            return Ok(());
        };
        let product =
            |side: &Side, step: usize| side.axis(&difference.path).products.get(step) == difference.product.as_ref();
        let steps = self.alignment(&difference.path).pairs.iter().find(|(l, _)| product(&self.left, *l));
        if let Some(&(l, r)) = steps {
            let (left, right) = ((&self.left, ours, l), (&self.right, theirs, r));
            difference.first = references::first_difference(left, right, &self.options).await?;
        }
        Ok(())
    }
}
