//! The join of catalogue and index by product name.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::product::{Datatake, ProductId};
use crate::stac::{KnownTime, Rejection, StacItem, StacLoad, StacQuery};

/// A product that both sides know, or that the index alone gives.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Matched {
    /// The product.
    pub product: ProductId,
    /// How many rows the index has of it.
    pub rows: usize,
    /// Its item; `None` without a catalogue.
    pub item: Option<StacItem>,
}

/// Why a product of the catalogue has no rows in the index.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum WithoutIndex {
    /// The index knows nothing of the acquisition.
    #[error("not in the index")]
    NotIndexed,
    /// The index has the same acquisition, but processed at another time.
    #[error("the index has another processing of it: {indexed}")]
    OtherProcessing {
        /// The product in the index.
        indexed: ProductId,
    },
}

/// Why a product of the index is not taken.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum WithoutProduct {
    /// The catalogue has it, or its name tells enough, and the query does not admit it.
    #[error("{rejection}")]
    Rejected {
        /// Why.
        rejection: Rejection,
    },
    /// Its item is there and was not understood.
    #[error("its item was refused: {error}")]
    Refused {
        /// What is wrong with the item.
        error: String,
    },
    /// The catalogue has the same acquisition, but processed at another time.
    #[error("the catalogue has another processing of it: {catalogued}")]
    OtherProcessing {
        /// The product in the catalogue.
        catalogued: ProductId,
    },
    /// The catalogue does not know it.
    #[error("not in the catalogue")]
    NotInCatalogue,
}

/// A product of the catalogue that the index lacks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CatalogueOnly {
    /// The product.
    pub product: ProductId,
    /// Why.
    pub reason: WithoutIndex,
}

/// A product of the index that is not taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IndexOnly {
    /// The product.
    pub product: ProductId,
    /// How many rows the index has of it.
    pub rows: usize,
    /// Why.
    pub reason: WithoutProduct,
}

/// The outcome; all lists are sorted by product and do not depend on the order of the input.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Join {
    /// Products to build.
    pub matched: Vec<Matched>,
    /// Products of the catalogue without rows in the index.
    pub without_index: Vec<CatalogueOnly>,
    /// Products of the index that are not taken, except those of other tiles.
    pub without_product: Vec<IndexOnly>,
    /// How many products of other tiles the index has.
    pub other_tiles: usize,
}

/// Joins the products of an index (with their numbers of rows) with what a catalogue answered.
pub fn join(index: &BTreeMap<ProductId, usize>, load: &StacLoad, query: &StacQuery) -> Join {
    let items: BTreeMap<_, _> = load.items.iter().map(|item| (item.product, item)).collect();
    let rejected: BTreeMap<_, _> = load.rejected.iter().map(|r| (r.product, &r.rejection)).collect();
    let refused: BTreeMap<_, _> = load.refused.iter().filter_map(|r| Some((r.product?, &r.error))).collect();
    let indexed = by_datatake(index.keys().copied());
    let catalogued = by_datatake(items.keys().copied());

    let mut join = Join::default();
    for (&product, &rows) in index {
        if product.tile() != query.tile {
            join.other_tiles += 1;
        } else if let Some(item) = items.get(&product) {
            join.matched.push(Matched { product, rows, item: Some((*item).clone()) });
        } else {
            let by_name = query.admits_name(product.tile(), product.level(), KnownTime::of_name(product));
            let reason = if let Some(rejection) = rejected.get(&product) {
                WithoutProduct::Rejected { rejection: (*rejection).clone() }
            } else if let Some(error) = refused.get(&product) {
                WithoutProduct::Refused { error: error.to_string() }
            } else if let Err(rejection) = by_name {
                WithoutProduct::Rejected { rejection }
            } else if let Some(&catalogued) = catalogued.get(&product.datatake()).and_then(BTreeSet::last) {
                WithoutProduct::OtherProcessing { catalogued }
            } else {
                WithoutProduct::NotInCatalogue
            };
            join.without_product.push(IndexOnly { product, rows, reason });
        }
    }
    for &product in items.keys().filter(|product| !index.contains_key(product)) {
        let reason = match indexed.get(&product.datatake()).and_then(BTreeSet::last) {
            Some(&indexed) => WithoutIndex::OtherProcessing { indexed },
            None => WithoutIndex::NotIndexed,
        };
        join.without_index.push(CatalogueOnly { product, reason });
    }
    join
}

/// Without a catalogue: every product of the index that tile, level and interval may admit, by name alone.
///
/// Neither the sensing time nor the cloud cover is in the name: where the query bounds them, the caller applies the
/// bounds once the products' metadata are read.
pub fn join_index_alone(index: &BTreeMap<ProductId, usize>, query: &StacQuery) -> Join {
    let mut join = Join::default();
    for (&product, &rows) in index {
        match query.admits_name(product.tile(), product.level(), KnownTime::of_name(product)) {
            Ok(()) => join.matched.push(Matched { product, rows, item: None }),
            Err(Rejection::OtherTile { .. }) => join.other_tiles += 1,
            Err(rejection) => {
                join.without_product.push(IndexOnly { product, rows, reason: WithoutProduct::Rejected { rejection } });
            }
        }
    }
    join
}

fn by_datatake(products: impl Iterator<Item = ProductId>) -> BTreeMap<Datatake, BTreeSet<ProductId>> {
    let mut map: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for product in products {
        map.entry(product.datatake()).or_default().insert(product);
    }
    map
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ids::Level;
    use crate::stac::StacLoader;
    use serde_json::json;

    fn name(day: u8, baseline: &str, tile: &str) -> String {
        format!("S2A_MSIL2A_202210{day:02}T115411_N{baseline}_R023_T{tile}_20221005T164454")
    }

    fn query() -> StacQuery {
        StacQuery {
            tile: "29UNU".parse().unwrap(),
            level: Level::L2A,
            datetime: Some("2022-10-01/2022-10-10".parse().unwrap()),
            max_cloud_cover: Some(50.0),
            collection: None,
            updated_since: None,
        }
    }

    fn index(names: &[String]) -> BTreeMap<ProductId, usize> {
        names.iter().map(|name| (name.parse().unwrap(), 12)).collect()
    }

    fn load(query: &StacQuery, items: &[(String, f64)]) -> StacLoad {
        let mut loader = StacLoader::new(query);
        for (name, cloud) in items {
            let datetime = name.parse::<ProductId>().unwrap().datatake_start().to_rfc3339();
            let properties = json!({"datetime": datetime, "eo:cloud_cover": cloud});
            loader.push(&json!({"type": "Feature", "id": name, "properties": properties}), String::new);
        }
        loader.finish()
    }

    #[test]
    fn every_product_is_matched_or_has_a_reason() {
        let query = query();
        let index = index(&[
            name(1, "0400", "29UNU"),  // matched
            name(2, "0400", "29UNU"),  // cloudy
            name(3, "0400", "29UNU"),  // catalogue has another baseline
            name(4, "0400", "29UNU"),  // not in catalogue
            name(5, "0400", "29UPU"),  // other tile
            name(20, "0400", "29UNU"), // out of the interval
        ]);
        let items = [
            (name(1, "0400", "29UNU"), 1.0),
            (name(2, "0400", "29UNU"), 80.0),
            (name(3, "0511", "29UNU"), 1.0),
            (name(6, "0400", "29UNU"), 1.0), // not indexed
        ];
        let join = join(&index, &load(&query, &items), &query);
        let matched: Vec<_> = join.matched.iter().map(|m| (m.product.to_string(), m.rows, m.item.is_some())).collect();
        assert_eq!(matched, [(name(1, "0400", "29UNU"), 12, true)]);
        assert_eq!(join.other_tiles, 1);
        let texts = |list: Vec<String>| list;
        assert_eq!(
            texts(join.without_product.iter().map(|o| o.reason.to_string()).collect()),
            [
                "its cloud cover is 80 %".to_owned(),
                format!("the catalogue has another processing of it: {}", name(3, "0511", "29UNU")),
                "not in the catalogue".to_owned(),
                "its time 2022-10-20 11:54:11 UTC lies outside the interval".to_owned(),
            ]
        );
        assert_eq!(
            texts(join.without_index.iter().map(|o| o.reason.to_string()).collect()),
            [
                format!("the index has another processing of it: {}", name(3, "0400", "29UNU")),
                "not in the index".to_owned()
            ]
        );
    }

    #[test]
    fn the_edge_of_an_interval_is_left_to_the_xml() {
        let at = |time: &str| format!("S2A_MSIL2A_{time}_N0400_R023_T29UNU_20221005T164454");
        let index =
            index(&[at("20220930T225411"), at("20220930T235411"), at("20221010T235411"), at("20221011T000211")]);
        let expected = ["2022-09-30 23:54:11 UTC", "2022-10-10 23:54:11 UTC"];
        let query = query();
        let alone = join_index_alone(&index, &query);
        let times =
            |join: &Join| join.matched.iter().map(|m| m.product.datatake_start().to_string()).collect::<Vec<_>>();
        assert_eq!((times(&alone), alone.without_product.len()), (expected.map(str::to_owned).to_vec(), 2));
        let items: Vec<_> = index.keys().map(|product| (product.to_string(), 1.0)).collect();
        assert_eq!(times(&join(&index, &load(&query, &items), &query)), expected);
    }

    #[test]
    fn a_refused_item_is_the_reason() {
        let query = query();
        let mut loader = StacLoader::new(&query);
        let id = name(1, "0400", "29UNU");
        loader.push(&json!({"type": "Feature", "id": id, "properties": {"grid:code": "MGRS-29UPU"}}), String::new);
        let join = join(&index(std::slice::from_ref(&id)), &loader.finish(), &query);
        assert!(join.without_product[0].reason.to_string().starts_with("its item was refused: item"));
    }

    #[test]
    fn the_index_alone_goes_by_name() {
        let names = [name(1, "0400", "29UNU"), name(20, "0400", "29UNU"), name(1, "0400", "29UPU")];
        let mut all = names.to_vec();
        all.push(names[0].replace("MSIL2A", "MSIL1C"));
        let join = join_index_alone(&index(&all), &query());
        assert_eq!(join.matched.iter().map(|m| m.product.to_string()).collect::<Vec<_>>(), [names[0].clone()]);
        assert_eq!((join.without_product.len(), join.other_tiles), (2, 1));
    }
}
