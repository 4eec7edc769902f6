//! From items as they come to the products that a query admits.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::Value;

use super::completeness::Completeness;
use super::reader::Reader;
use super::{Rejection, StacError, StacItem, StacQuery};
use crate::ids::MgrsTile;
use crate::product::ProductId;

/// When each item that was shown last changed, by the product's name; what was not understood is named by what is wrong.
pub type Seen = BTreeMap<String, Option<DateTime<Utc>>>;

/// An item that was not understood.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Refused {
    /// Where it stands: a file and place in it, or an URL.
    pub place: String,
    /// The product it claims to be, where it says so.
    pub product: Option<ProductId>,
    /// What is wrong with it.
    pub error: StacError,
}

/// An item of the tile that the query does not admit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rejected {
    /// The product.
    pub product: ProductId,
    /// Why it is left out.
    pub rejection: Rejection,
}

/// What a person should know of how the items were got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "note")]
pub enum LoadNote {
    /// The API was asked for a bounding box: it offers no filter by a property that holds the tile.
    #[error("{place} finds nothing by tile: the search was by bounding box")]
    NoTileFilter {
        /// URL of the search.
        place: String,
    },
    /// The API was asked for what changed only, and the answer was either not to be believed or all that there is.
    #[error(
        "{place} cannot be searched for what changed since {}: it was searched in full",
        since.to_rfc3339_opts(SecondsFormat::AutoSi, true)
    )]
    NoChangeFilter {
        /// URL of the search.
        place: String,
        /// The time asked for.
        since: DateTime<Utc>,
    },
    /// No collection was named and the usual one gave nothing.
    #[error("no collection was named and {collection:?} gave no item: name the catalogue's own collection")]
    UsualCollectionEmpty {
        /// The collection that was searched.
        collection: String,
    },
    /// Documents in a folder that are no items (collections, catalogues, other JSON).
    #[error("{count} JSON documents in {place} are not items and were passed over")]
    OtherDocuments {
        /// Folder.
        place: String,
        /// How many.
        count: usize,
    },
}

/// What a catalogue answered to a query: one item per product, sorted by product.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct StacLoad {
    /// All that was shown of tile and level.
    pub seen_items: Seen,
    /// Items that the query admits, one per product.
    pub items: Vec<StacItem>,
    /// Items of the tile that it does not admit.
    pub rejected: Vec<Rejected>,
    /// Items that were not understood.
    pub refused: Vec<Refused>,
    /// How many items of other tiles came along, by tile.
    pub outside_tile: BTreeMap<MgrsTile, usize>,
    /// How many items were one too many for their product.
    pub duplicates: usize,
    /// How many items were seen in all.
    pub seen: usize,
    /// Whether this is all that the query, or the question for changes, admits.
    pub completeness: Completeness,
    /// True when the server gave only what changed ([`StacQuery::updated_since`]), so that products that are not here
    /// may still be in the catalogue; false when this is all that the query admits.
    pub incremental: bool,
    /// The latest [`StacItem::changed`] among the items of tile and level that were seen, whether admitted or not.
    pub latest_change: Option<DateTime<Utc>>,
    /// What to tell the user.
    pub notes: Vec<LoadNote>,
}

/// Collects items of any origin and applies a query to them; the outcome does not depend on their order.
#[derive(Debug)]
pub struct StacLoader<'q> {
    query: &'q StacQuery,
    products: BTreeMap<ProductId, StacItem>,
    load: StacLoad,
    wanted: usize,
    saw_unchanged: bool,
}

impl<'q> StacLoader<'q> {
    /// An empty collection of items.
    pub fn new(query: &'q StacQuery) -> Self {
        Self { query, products: BTreeMap::new(), load: StacLoad::default(), wanted: 0, saw_unchanged: false }
    }

    /// Adds a STAC item; what is not understood is listed.
    pub fn push(&mut self, value: &Value, place: impl FnOnce() -> String) {
        match StacItem::from_json(value) {
            Ok(item) => self.push_item(item),
            Err(error) => {
                let product = Reader::new(value).and_then(|reader| reader.product()).ok();
                self.load.seen += 1;
                self.load.seen_items.insert(error.to_string(), None);
                self.load.refused.push(Refused { place: place(), product, error });
            }
        }
    }

    /// Lists something that should have been an item and could not even be read.
    pub fn refuse(&mut self, place: String, error: StacError) {
        self.load.seen += 1;
        self.load.seen_items.insert(error.to_string(), None);
        self.load.refused.push(Refused { place, product: None, error });
    }

    /// Adds an item that was understood.
    pub fn push_item(&mut self, item: StacItem) {
        self.load.seen += 1;
        if item.tile() != self.query.tile {
            *self.load.outside_tile.entry(item.tile()).or_default() += 1;
            return;
        }
        if item.level() == self.query.level {
            self.wanted += 1;
            let shown = self.load.seen_items.entry(item.product.to_string()).or_default();
            *shown = (*shown).max(item.changed());
            self.load.latest_change = self.load.latest_change.max(item.changed());
            let changed = |since: DateTime<Utc>| item.updated.is_some_and(|at| at.timestamp() >= since.timestamp());
            self.saw_unchanged |= self.query.updated_since.is_some_and(|since| !changed(since));
        }
        match self.products.entry(item.product) {
            Entry::Vacant(entry) => {
                entry.insert(item);
            }
            Entry::Occupied(mut entry) => {
                self.load.duplicates += 1;
                if supersedes(self.query, &item, entry.get()) {
                    entry.insert(item);
                }
            }
        }
    }

    /// How many items of other tiles were added.
    pub fn outside(&self) -> usize {
        self.load.outside_tile.values().sum()
    }

    /// How many items were added.
    pub fn seen(&self) -> usize {
        self.load.seen
    }

    /// How many of them are of the query's tile and level.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// Whether one of those was not updated since the time that the query asks for.
    pub fn saw_unchanged(&self) -> bool {
        self.saw_unchanged
    }

    /// Adds a remark, once.
    pub fn note(&mut self, note: LoadNote) {
        if !self.load.notes.contains(&note) {
            self.load.notes.push(note);
        }
    }

    /// Records that something is missing.
    pub fn incomplete(&mut self, reason: String) {
        self.load.completeness.add(reason);
    }

    /// Records that the server gave only what changed.
    pub fn incremental(&mut self) {
        self.load.incremental = true;
    }

    /// Whether that was recorded.
    pub fn is_incremental(&self) -> bool {
        self.load.incremental
    }

    /// Applies the query.
    pub fn finish(self) -> StacLoad {
        let mut load = self.load;
        for (product, item) in self.products {
            match self.query.admits(&item) {
                Ok(()) => load.items.push(item),
                Err(rejection) => load.rejected.push(Rejected { product, rejection }),
            }
        }
        load.refused.sort_by(|a, b| a.place.cmp(&b.place));
        // What was not understood may be of the tile, unless it says otherwise.
        let (tile, level) = (self.query.tile, self.query.level);
        let ours = |r: &&Refused| r.product.is_none_or(|product| (product.tile(), product.level()) == (tile, level));
        let mut ours = load.refused.iter().filter(ours);
        if let Some(first) = ours.next() {
            let (place, error, more) = (&first.place, &first.error, ours.count());
            let others = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            load.completeness.add(format!("{place} was not understood{others}: {error}"));
        }
        load
    }
}

/// Of two items of one product the one that changed last counts, among those of the collection asked for; where that
/// does not tell them apart, the collection and the id do, so that the order of arrival never matters.
fn supersedes(query: &StacQuery, item: &StacItem, other: &StacItem) -> bool {
    let key = |i: &StacItem| {
        let wanted = query.collection.is_none() || i.collection.is_none() || i.collection == query.collection;
        (wanted, i.updated, i.published, i.created, i.collection.clone(), i.id.clone())
    };
    key(item) > key(other)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    const NAME: &str = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454";

    fn item(name: &str, collection: &str, updated: &str, cloud: f64) -> Value {
        json!({"type": "Feature", "id": name, "collection": collection, "assets": {}, "properties": {
            "datetime": "2022-10-05T11:54:11Z", "updated": updated, "eo:cloud_cover": cloud}})
    }

    fn query() -> StacQuery {
        let (tile, level) = ("29UNU".parse().unwrap(), "L2A".parse().unwrap());
        StacQuery { tile, level, datetime: None, max_cloud_cover: Some(20.0), collection: None, updated_since: None }
    }

    #[test]
    fn the_item_that_changed_last_counts_in_any_order() {
        let query = query();
        let old = item(NAME, "a", "2023-01-01T00:00:00Z", 10.0);
        let new = item(NAME, "b", "2023-01-02T00:00:00Z", 30.0);
        for order in [[&old, &new], [&new, &old]] {
            let mut loader = StacLoader::new(&query);
            order.iter().for_each(|value| loader.push(value, String::new));
            let load = loader.finish();
            assert_eq!((load.items.len(), load.duplicates, load.seen), (0, 1, 2));
            assert_eq!(load.rejected[0].rejection, Rejection::CloudCover { percent: 30.0 });
        }
    }

    #[test]
    fn an_item_of_another_collection_displaces_none_of_the_one_asked_for() {
        let query = StacQuery { collection: Some("a".to_owned()), ..query() };
        let wanted = item(NAME, "a", "2023-01-01T00:00:00Z", 10.0);
        let other = item(NAME, "b", "2023-01-02T00:00:00Z", 10.0);
        for order in [[&wanted, &other], [&other, &wanted]] {
            let mut loader = StacLoader::new(&query);
            order.iter().for_each(|value| loader.push(value, String::new));
            assert_eq!(loader.finish().items.len(), 1);
        }
    }

    #[test]
    fn what_was_not_understood_makes_the_answer_incomplete_unless_it_is_of_no_concern() {
        let query = query();
        for (name, of_concern) in [
            (NAME.to_owned(), true),
            ("S2A_29UNU_20221005_0_L2A".to_owned(), true),
            (NAME.replace("29UNU", "29UPU"), false),
            (NAME.replace("MSIL2A", "MSIL1C"), false),
        ] {
            let mut loader = StacLoader::new(&query);
            loader.push(&item(&name, "a", "yesterday", 1.0), || "there".to_owned());
            let load = loader.finish();
            assert_eq!(load.completeness.is_complete(), !of_concern, "{name}");
            assert!(load.completeness.reasons().iter().all(|reason| reason.starts_with("there was not understood: ")));
        }
    }

    #[test]
    fn other_tiles_are_counted_and_unknown_items_listed() {
        let query = query();
        let mut loader = StacLoader::new(&query);
        loader.push(&item(&NAME.replace("29UNU", "29UPU"), "a", "2023-01-01T00:00:00Z", 1.0), String::new);
        loader.push(&item(&NAME.replace("MSIL2A", "MSIL1C"), "a", "2023-01-01T00:00:00Z", 1.0), String::new);
        loader.push(&item(NAME, "a", "yesterday", 1.0), || "there".to_owned());
        let load = loader.finish();
        assert_eq!(load.outside_tile, BTreeMap::from([("29UPU".parse().unwrap(), 1)]));
        assert_eq!(load.rejected[0].rejection, Rejection::OtherLevel { level: crate::ids::Level::L1C });
        assert_eq!((load.refused[0].place.as_str(), load.refused[0].product), ("there", NAME.parse().ok()));
        assert_eq!(
            load.refused[0].error.to_string(),
            format!("item {NAME:?}: updated is \"yesterday\", not an RFC 3339 time")
        );
    }
}
