//! The commits of one run: on a branch of its own, read back there, then one step of `main`.

use std::collections::{BTreeSet, HashMap, HashSet};

use icechunk::format::SnapshotId;
use icechunk::format::snapshot::SnapshotProperties;
use serde_json::{Value, json};

use crate::draft::Draft;
use crate::error::Result;
use crate::gate::{self, GateReport};
use crate::housekeeping::promote;
use crate::layout::shared::shared;
use crate::patience::timely;
use crate::progress::{Phase, Progress};
use crate::update::Window;
use crate::view::small_chunk;
use crate::window::Windows;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Snapshot that `main` points to now.
    pub snapshot: String,
    /// References written from files.
    pub references: u64,
    /// References moved to another time step.
    pub moved: u64,
    /// Commits on the run's branch.
    pub commits: u64,
    /// True where no state was published there before.
    pub created: bool,
    /// The tag of the published state; absent where tagging failed, which the next run makes up for.
    pub tag: Option<String>,
    /// What was checked before.
    pub gate: GateReport,
}

/// Writes one plan.
pub(crate) struct Writer<'a> {
    pub(crate) windows: Windows,
    /// What `main` pointed to when the plan was made.
    pub(crate) main: SnapshotId,
    pub(crate) progress: &'a dyn Progress,
}

/// What the commits of a run's branch amount to.
#[derive(Default)]
struct Total {
    references: u64,
    moved: u64,
    commits: u64,
}

impl Writer<'_> {
    /// Branch, commits, gate, `main`, tag.
    pub(crate) async fn run(&self) -> Result<Written> {
        let Windows { branch, repository, .. } = &self.windows;
        let branched = timely(|| repository.create_branch(branch, &self.main)).await;
        branched.map_err(|e| self.windows.failed("creating the run's branch", &e))?;
        let outcome = self.write_branch().await;
        let outcome = match outcome {
            Ok((tip, total)) => self.publish(&tip).await.map(|(gate, tag)| (tip, total, gate, tag)),
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            // Of no use any more. The first error is the one worth telling; the next run deletes the branch, too.
            let _ = timely(|| repository.delete_branch(branch)).await;
        }
        let (snapshot, total, gate, tag) = outcome?;
        Ok(Written {
            snapshot: snapshot.to_string(),
            references: total.references,
            moved: total.moved,
            commits: total.commits,
            created: false,
            tag,
            gate,
        })
    }

    /// Commits window after window. (To prepare the next one meanwhile saved no time and held a hundred megabytes more.)
    async fn write_branch(&self) -> Result<(SnapshotId, Total)> {
        let Windows { plan, update, repository, url, .. } = &self.windows;
        self.progress.begin(Phase::References, Some(plan.references()));
        let mut total = Total::default();
        let mut draft = Draft::on(repository, &self.main, url).await?;
        update.gone.iter().for_each(|node| draft.remove(&node.path));
        update.nodes.iter().try_for_each(|node| draft.put(node))?;
        self.write_small(&mut draft).await?;
        // Where no reference changes, one commit of an empty window carries the metadata.
        let last = update.windows.len().saturating_sub(1);
        let mut number = 0;
        loop {
            if number >= last {
                update.late.iter().try_for_each(|node| draft.put(node))?;
            }
            let filled = self.windows.fill(&mut draft, update.windows.get(number)).await?;
            total.references += filled.references;
            total.moved += filled.moved;
            if number >= last {
                // What reaches beyond the end of an array that becomes shorter.
                for node in &update.late {
                    let shortened = draft.rewrite(&node.path, Vec::new()).await?;
                    draft.take(shortened);
                }
            }
            let tip = self.commit(draft, number, &total).await?;
            total.commits += 1;
            self.progress.advance(filled.references);
            if number >= last {
                self.progress.end();
                return Ok((tip, total));
            }
            draft = Draft::on(repository, &tip, url).await?;
            number += 1;
        }
    }

    /// Writes the manifests of small arrays of which any changes; all of their chunks are known.
    async fn write_small(&self, draft: &mut Draft) -> Result<()> {
        let Windows { plan, update, .. } = &self.windows;
        let documents: HashMap<&str, &Value> =
            plan.nodes.iter().map(|node| (node.path.as_str(), &node.document)).collect();
        let of = |key: &str| {
            let (path, _) = small_chunk(key);
            let (tree, shared) = shared(path, documents.get(path).copied().unwrap_or(&Value::Null));
            (tree.to_owned(), shared)
        };
        let new: HashSet<&str> = update.chunks.iter().map(|(key, _)| key.as_str()).collect();
        let changed: BTreeSet<_> = new.iter().map(|key| of(key)).collect();
        for manifest in changed {
            let chunks = plan.chunks.iter().filter(|(key, _)| of(key) == manifest);
            let chunks: Vec<(&str, &[u8])> = chunks.map(|(key, bytes)| (key.as_str(), bytes.as_slice())).collect();
            draft.share(&chunks, &new).await?;
        }
        Ok(())
    }

    async fn commit(&self, draft: Draft, number: usize, total: &Total) -> Result<SnapshotId> {
        let Windows { plan, update, options, .. } = &self.windows;
        let message = match update.windows.get(number) {
            Some(Window { tree, steps }) if number + 1 < update.windows.len() => {
                let era = plan.trees.get(*tree).and_then(|tree| tree.era.as_ref());
                let era = era.map(|era| format!(" of era {era}")).unwrap_or_default();
                format!("Part of {}: products {} to {}{era}", options.run, steps.start + 1, steps.end)
            }
            _ => options.message.clone(),
        };
        let properties: SnapshotProperties = [
            ("s2ice:writer", json!(plan.stamp.writer)),
            ("s2ice:run", json!(options.run)),
            ("s2ice:tile", json!(plan.stamp.tile)),
            ("s2ice:level", json!(plan.stamp.level)),
            ("s2ice:products", json!(plan.products())),
            ("s2ice:references_written", json!(total.references)),
            ("s2ice:references_moved", json!(total.moved)),
            ("s2ice:referenced_bytes", json!(plan.referenced_bytes())),
            ("s2ice:first_time_ms", json!(plan.steps().map(|step| step.time_ms).min())),
            ("s2ice:last_time_ms", json!(plan.steps().map(|step| step.time_ms).max())),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        draft.commit(&self.windows.branch, &message, properties, &options.clock).await
    }

    /// Checks what is on the branch and moves `main` to it; returns the tag of the published state.
    async fn publish(&self, tip: &SnapshotId) -> Result<(GateReport, Option<String>)> {
        let report = gate::check(&self.windows, tip).await?;
        let Windows { repository, branch, url, options, .. } = &self.windows;
        let tag = promote(repository, url, branch, &self.main, tip, options.clock.now()).await?;
        Ok((report, tag))
    }
}
