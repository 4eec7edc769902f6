//! The commits of one run: on a branch of its own, read back there, then one step of `main`.

use bytes::Bytes;
use icechunk::Store;
use icechunk::format::snapshot::SnapshotProperties;
use icechunk::format::{Path, SnapshotId};
use icechunk::session::Session;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::RwLock;

use crate::clock::{Patience, timely};
use crate::error::{Error, Result};
use crate::gate::{self, GateReport};
use crate::housekeeping::promote;
use crate::plan::Node;
use crate::progress::{Phase, Progress};
use crate::update::Window;
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
        let Windows { plan, update, .. } = &self.windows;
        self.progress.begin(Phase::References, Some(plan.references()));
        let mut total = Total::default();
        let mut session = self.windows.session().await?;
        self.delete_nodes(&mut session).await?;
        let mut session = self.write_nodes(session, &update.nodes, &update.chunks).await?;
        // Where no reference changes, one commit of an empty window carries the metadata.
        let last = update.windows.len().saturating_sub(1);
        let mut number = 0;
        loop {
            let filled = self.windows.fill(session, update.windows.get(number)).await?;
            total.references += filled.references;
            total.moved += filled.moved;
            session = filled.session;
            if number >= last {
                session = self.write_nodes(session, &update.late, &[]).await?;
            }
            let tip = self.commit(session, number, &total).await?;
            total.commits += 1;
            self.progress.advance(filled.references);
            if number >= last {
                self.progress.end();
                return Ok((tip, total));
            }
            session = self.windows.session().await?;
            number += 1;
        }
    }

    async fn delete_nodes(&self, session: &mut Session) -> Result<()> {
        for node in &self.windows.update.gone {
            let path: Path = format!("/{}", node.path).as_str().try_into().map_err(|_| Error::Damaged {
                url: self.windows.url.to_string(),
                detail: format!("/{} is no path of a node", node.path),
            })?;
            let is_array = node.document.get("node_type").and_then(serde_json::Value::as_str) == Some("array");
            let deleted = if is_array { session.delete_array(path).await } else { session.delete_group(path).await };
            deleted.map_err(|e| self.windows.failed("deleting an array", &e))?;
        }
        Ok(())
    }

    async fn write_nodes(&self, session: Session, nodes: &[Node], chunks: &[(String, Vec<u8>)]) -> Result<Session> {
        let shared = Arc::new(RwLock::new(session));
        let store = Store::from_session(Arc::clone(&shared)).await;
        for node in nodes {
            let document =
                serde_json::to_vec(&node.document).map_err(|e| self.windows.failed("writing metadata", &e))?;
            let written = store.set(&node.key(), Bytes::from(document)).await;
            written.map_err(|e| self.windows.failed("writing metadata", &e))?;
        }
        for (key, bytes) in chunks {
            let written = store.set(key, Bytes::from(bytes.clone())).await;
            written.map_err(|e| self.windows.failed("writing a coordinate", &e))?;
        }
        drop(store);
        self.windows.reclaim(shared)
    }

    async fn commit(&self, mut session: Session, number: usize, total: &Total) -> Result<SnapshotId> {
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
        let patience = Patience::new();
        loop {
            let commit = session.commit(&message).properties(properties.clone()).allow_empty(true);
            match commit.max_concurrent_nodes(options.concurrency).execute().await {
                Err(error) if patience.outlasts(&error).await => {}
                outcome => return outcome.map_err(|e| self.windows.failed("committing", &e)),
            }
        }
    }

    /// Checks what is on the branch and moves `main` to it; returns the tag of the published state.
    async fn publish(&self, tip: &SnapshotId) -> Result<(GateReport, Option<String>)> {
        let report = gate::check(&self.windows, tip).await?;
        let Windows { repository, branch, url, options, .. } = &self.windows;
        let tag = promote(repository, url, branch, &self.main, tip, options.clock.now()).await?;
        Ok((report, tag))
    }
}
