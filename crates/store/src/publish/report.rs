//! Report of `s2ice publish`.

use schemars::JsonSchema;
use serde::Serialize;

use super::row::Row;
use super::stranger::Hindrance;

/// Stores that could not be published, told of in a sentence.
const TOLD: usize = 10;

/// Report of `s2ice publish`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PublishReport {
    /// Always `s2ice.publish`.
    pub kind: String,
    /// Version of this report.
    pub version: u32,
    /// Name of the run.
    pub run: String,
    /// Folder or bucket of the publication.
    pub place: String,
    /// Address at which others reach it.
    pub url: String,
    /// Stores of the publication.
    pub stores: usize,
    /// Stores whose documents were made anew.
    pub published: Vec<Published>,
    /// Stores of which nothing changed.
    pub unchanged: u64,
    /// Stores that could not be published; what is told of them stays as it was.
    pub failed: Vec<Unpublished>,
    /// Stores of the file that were not built yet.
    pub unbuilt: Vec<String>,
    /// Stores that were taken out.
    pub removed: Vec<String>,
    /// Stores of the publication that have a preview.
    pub previews: usize,
    /// Stores that were described, or tried again, and have no preview.
    pub without_preview: Vec<WithoutPreview>,
    /// Files written, without those of copies.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were lost, or damaged as far as that shows, and are there again; 0 where nobody looked.
    pub lost: u64,
    /// Files removed.
    pub files_removed: u64,
    /// Objects written to copies of stores.
    pub copied_objects: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// What a stranger cannot do; empty where nobody looked.
    pub hindrances: Vec<Hindrance>,
}

/// A store whose documents were made anew.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Published {
    /// Its name in the publication.
    pub id: String,
    /// Where readers open it.
    pub store: String,
    /// Snapshot that is described.
    pub snapshot: String,
    /// True where its copy was moved to that snapshot.
    pub copied: bool,
}

/// A store that could not be published.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Unpublished {
    /// Its address.
    pub store: String,
    /// Its name in the publication, where that is known.
    pub id: Option<String>,
    /// Why, in one sentence.
    pub reason: String,
}

/// A store without a preview.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WithoutPreview {
    /// Its name in the publication.
    pub id: String,
    /// Why, in one sentence.
    pub reason: String,
}

impl Published {
    pub(super) fn of(row: &Row, copied: bool) -> Self {
        Self { id: row.id.clone(), store: row.store.url.clone(), snapshot: row.snapshot.clone(), copied }
    }
}

impl PublishReport {
    /// What could not be published, and what a stranger cannot do, in one sentence; `None` where all is well.
    pub fn sentence(&self) -> Option<String> {
        let failed = self.failed.iter().take(TOLD).map(|Unpublished { store, id, reason }| {
            format!("{} was not published: {reason}", id.as_ref().unwrap_or(store))
        });
        let more = self.failed.len().saturating_sub(TOLD);
        let more = (more > 0).then(|| format!("{more} more stores were not published (--json names them)"));
        let hindrances = self.hindrances.iter().map(|hindrance| hindrance.reason.clone());
        let told: Vec<String> = failed.chain(more).chain(hindrances).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}
