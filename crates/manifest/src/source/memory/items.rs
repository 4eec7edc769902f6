//! Items of the catalogue that later runs need although nothing of them changes: of products that are not in the store, or not
//! whole, and whose files only their items tell.
//!
//! With them a search goes on where the last one left, however long ago these items changed. Where they are lost, or the
//! store is not in the state that they belong to, the store's own watermark counts, which waits for the oldest of them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Memory;
use crate::product::ProductId;
use crate::stac::{Cogs, StacItem, exact};

/// Up to when a catalogue was searched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Searched {
    /// What was asked.
    pub query: String,
    /// State of the store that came of it.
    pub snapshot: String,
    /// What changed until then is in that state, or among the kept items.
    pub until: DateTime<Utc>,
}

/// Products that a catalogue did not show, or a filter did not admit, when it was asked for everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Absent {
    /// What was asked.
    query: String,
    products: BTreeSet<ProductId>,
}

/// An item that is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Body", into = "Body")]
pub struct Kept {
    /// The item, without oddities.
    pub item: StacItem,
    /// Fingerprint of what was made of it when it was refused.
    pub inputs: i64,
}

/// A kept item as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Body {
    item: StacItem,
    images: Vec<String>,
    cogs: Cogs,
    #[serde(with = "exact")]
    cloud_cover: Option<f64>,
    inputs: i64,
}

impl From<Body> for Kept {
    fn from(body: Body) -> Self {
        let Body { item, images, cogs, cloud_cover, inputs } = body;
        Self { item: StacItem { images, cogs, cloud_cover, ..item }, inputs }
    }
}

impl From<Kept> for Body {
    fn from(kept: Kept) -> Self {
        let Kept { item, inputs } = kept;
        let (images, cogs, cloud_cover) = (item.images.clone(), item.cogs.clone(), item.cloud_cover);
        Self { item, images, cogs, cloud_cover, inputs }
    }
}

impl Memory {
    /// The kept items of products.
    #[must_use]
    pub fn kept(&self) -> Vec<StacItem> {
        self.lock().kept.values().map(|kept| kept.item.clone()).collect()
    }

    /// Fingerprint of what was made of an item when it was refused; `None` where it was not kept, or is another one by now.
    #[must_use]
    pub fn inputs_of(&self, item: &StacItem) -> Option<i64> {
        let bare = |item: &StacItem| StacItem { notes: Vec::new(), ..item.clone() };
        let state = self.lock();
        state.kept.get(&item.product).filter(|kept| kept.item == bare(item)).map(|kept| kept.inputs)
    }

    /// Keeps these items, with the fingerprints of what was made of them, and no others.
    pub fn keep(&self, items: impl IntoIterator<Item = (StacItem, i64)>) {
        let kept = |(item, inputs): (StacItem, i64)| {
            (item.product, Kept { item: StacItem { notes: Vec::new(), ..item }, inputs })
        };
        let items: BTreeMap<ProductId, Kept> = items.into_iter().map(kept).collect();
        let mut state = self.lock();
        if state.kept != items {
            state.kept = items;
            state.forgot = true;
        }
    }

    /// True where the whole answer to this very question did not have the product.
    #[must_use]
    pub fn is_absent(&self, query: &str, id: ProductId) -> bool {
        self.lock().absent.as_ref().is_some_and(|absent| absent.query == query && absent.products.contains(&id))
    }

    /// Remembers which products the whole answer to a question does not have. What was refused of them is forgotten: they
    /// are not to be asked for.
    pub fn set_absent(&self, query: &str, products: BTreeSet<ProductId>) {
        let refused = products.iter().filter(|id| self.knows(**id));
        refused.for_each(|id| self.forget_product(*id));
        let absent = (!products.is_empty()).then(|| Absent { query: query.to_owned(), products });
        let mut state = self.lock();
        if state.absent != absent {
            state.absent = absent;
            state.forgot = true;
        }
    }

    /// Takes out of the absent ones what an answer did show: what is refused of it is to be remembered.
    pub fn appeared(&self, products: impl IntoIterator<Item = ProductId>) {
        let mut state = self.lock();
        let Some(absent) = &mut state.absent else { return };
        let before = absent.products.len();
        let shown: BTreeSet<ProductId> = products.into_iter().collect();
        absent.products.retain(|id| !shown.contains(id));
        state.forgot |= absent.products.len() != before;
    }

    /// Up to when the catalogue was searched with this query for this state of the store.
    #[must_use]
    pub fn searched(&self, query: &str, snapshot: &str) -> Option<DateTime<Utc>> {
        let state = self.lock();
        let searched = state.searched.as_ref()?;
        (searched.query == query && searched.snapshot == snapshot).then_some(searched.until)
    }

    /// Remembers up to when the catalogue was searched, or that this cannot be told.
    pub fn search_done(&self, searched: Option<Searched>) {
        let mut state = self.lock();
        if state.searched != searched {
            state.searched = searched;
            state.forgot = true;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::assemble::{Refusal, RefusalKind};

    #[test]
    fn an_item_is_kept_with_its_files_and_to_the_last_digit() {
        let name = "S2A_MSIL2A_20240501T100601_N0511_R022_T33TVN_20240501T140000";
        let item = StacItem::from_json(&serde_json::json!({
            "type": "Feature", "id": name,
            "properties": {"datetime": "2024-05-01T10:06:01.024Z", "eo:cloud_cover": 65.493_872_000_000_01,
                "processing:version": "02.14", "updated": "2024-05-02T01:02:03.456789Z"},
            "assets": {
                "B02_10m": {"href": "s3://a/x_B02_10m.jp2", "file:size": 7},
                "coastal": {"href": "https://a/B01.tif", "file:size": 9, "proj:transform": [60, 0, 399_960, 0, -60, 5_300_040],
                    "raster:bands": [{"scale": 0.000_1, "offset": -0.1}]},
            },
        }))
        .unwrap();
        assert!(item.cogs.files.len() == 1 && item.images.len() == 1);
        let memory = Memory::new(Utc::now);
        memory.keep([(item.clone(), -7)]);
        let text = serde_json::to_string(&memory.lock().kept.values().next().unwrap().clone()).unwrap();
        let read: Kept = serde_json::from_str(&text).unwrap();
        assert_eq!(memory.lock().kept.values().next(), Some(&read));
        assert_eq!(memory.inputs_of(&item), Some(-7));
        let later = StacItem { updated: Some(Utc::now()), ..item };
        assert_eq!(memory.inputs_of(&later), None);
        memory.keep([]);
        assert!(memory.kept().is_empty());
    }

    #[test]
    fn an_absence_counts_for_its_question_alone() {
        let [a, b] = ["20240501T140000", "20240502T140000"]
            .map(|made| format!("S2A_MSIL2A_20240501T100601_N0511_R022_T33TVN_{made}").parse::<ProductId>().unwrap());
        let memory = Memory::new(Utc::now);
        let refusal = whole(a);
        memory.refuse(&refusal, 1, None);
        memory.set_absent("q", BTreeSet::from([a]));
        assert_eq!(["q", "r"].map(|query| memory.is_absent(query, a)), [true, false]);
        assert!(!memory.is_absent("q", b) && !memory.knows(a));
        memory.set_absent("r", BTreeSet::from([b]));
        assert!(!memory.is_absent("q", a) && memory.is_absent("r", b));
    }

    fn whole(id: ProductId) -> Refusal {
        Refusal { product: id.to_string(), raster: None, kind: RefusalKind::Source, reason: "503".into() }
    }

    #[test]
    fn what_was_refused_is_forgotten_where_its_item_says_something_else() {
        let id: ProductId = "S2A_MSIL2A_20240501T100601_N0511_R022_T33TVN_20240501T140000".parse().unwrap();
        let memory = Memory::new(Utc::now);
        let refusal = Refusal { kind: RefusalKind::Filtered, ..whole(id) };
        memory.refuse(&refusal, 1, None);
        memory.hear(id, 5);
        assert!(!memory.knows(id), "it was refused without a word of its item");
        memory.refuse(&refusal, 1, None);
        memory.hear(id, 5);
        assert!(memory.knows(id));
        memory.hear(id, 6);
        assert!(!memory.knows(id));
    }

    #[test]
    fn a_search_counts_for_its_question_and_state_alone() {
        let memory = Memory::new(Utc::now);
        let until = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        memory.search_done(Some(Searched { query: "q".into(), snapshot: "s".into(), until }));
        assert_eq!(memory.searched("q", "s"), Some(until));
        assert_eq!((memory.searched("q", "t"), memory.searched("r", "s")), (None, None));
    }
}
