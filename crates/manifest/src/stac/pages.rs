//! What the pages of a search tell of items that are not in them.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

/// How many items a page says that its search matches: a plain member, in the older `context`, or in `meta`.
pub(crate) fn stated_matches(page: &Value) -> Option<u64> {
    let nested = |outer: &str, inner: &str| page.get(outer)?.get(inner)?.as_u64();
    let plain = page.get("numberMatched").and_then(Value::as_u64);
    plain.or_else(|| nested("context", "matched")).or_else(|| nested("meta", "found"))
}

/// The links of a document with a relation.
pub(crate) fn links<'a>(document: &'a Value, rel: &'a str) -> impl Iterator<Item = &'a Value> {
    let links = document.get("links").and_then(Value::as_array).into_iter().flatten();
    links.filter(move |link| link.get("rel").and_then(Value::as_str) == Some(rel))
}

/// What tells an item from another; `None` without an id.
pub(crate) fn item_key(item: &Value) -> Option<(String, String)> {
    let text = |key| item.get(key).and_then(Value::as_str);
    Some((text("collection").unwrap_or_default().to_owned(), text("id")?.to_owned()))
}

/// Why fewer items came than were said to match, where that is so. A number that is too small is an estimate.
pub(crate) fn shortfall(place: &str, matched: Option<u64>, received: usize) -> Option<String> {
    let matched = matched.filter(|matched| *matched > received as u64)?;
    Some(format!("{place} says that {matched} items match and gives {received}"))
}

/// Pages of searches that were saved as files: a next link is followed where the page that it leads to is there too.
#[derive(Debug, Default)]
pub(crate) struct SavedPages(Vec<SavedPage>);

#[derive(Debug)]
struct SavedPage {
    place: String,
    own: Option<String>,
    next: Next,
    matched: Option<u64>,
    items: Vec<Option<(String, String)>>,
}

#[derive(Debug, PartialEq)]
enum Next {
    None,
    To(String),
    /// A link with a body, or without an address.
    Unknown,
}

impl SavedPages {
    /// Adds a FeatureCollection.
    pub(crate) fn add(&mut self, place: &str, page: &Value) {
        let href = |link: &Value| Some(link.get("href")?.as_str()?.to_owned());
        let next = match links(page, "next").next() {
            None => Next::None,
            Some(link) if link.get("body").is_some_and(|body| !body.is_null()) => Next::Unknown,
            Some(link) => href(link).map_or(Next::Unknown, Next::To),
        };
        let items = page.get("features").and_then(Value::as_array).into_iter().flatten().map(item_key).collect();
        let own = links(page, "self").next().and_then(href);
        self.0.push(SavedPage { place: place.to_owned(), own, next, matched: stated_matches(page), items });
    }

    /// What the pages show to be missing.
    pub(crate) fn missing(&self) -> Vec<String> {
        // An address that two pages claim leads nowhere for certain.
        let mut by_address: HashMap<&str, Option<usize>> = HashMap::new();
        for (at, page) in self.0.iter().enumerate() {
            if let Some(own) = &page.own {
                by_address.entry(own).and_modify(|known| *known = None).or_insert(Some(at));
            }
        }
        let follower = |page: &SavedPage| match &page.next {
            Next::To(address) => by_address.get(address.as_str()).copied().flatten(),
            Next::None | Next::Unknown => None,
        };
        let followers: HashSet<usize> = self.0.iter().filter_map(follower).collect();
        let round = |page: &SavedPage| format!("{} links to a next page that leads back to it", page.place);
        let mut reasons = Vec::new();
        let mut visited = HashSet::new();
        for first in (0..self.0.len()).filter(|at| !followers.contains(at)) {
            let (mut items, mut nameless, mut matched, mut chain) = (HashSet::new(), 0, None, HashSet::new());
            let mut at = Some(first);
            while let Some((here, page)) = at.and_then(|at| Some((at, self.0.get(at)?))) {
                chain.insert(here);
                nameless += page.items.iter().filter(|item| item.is_none()).count();
                items.extend(page.items.iter().flatten());
                matched = matched.or(page.matched);
                at = follower(page);
                if at.is_none() && page.next != Next::None {
                    reasons.push(format!(
                        "{} is one page of a search result and links to a next page, which is not followed: give the \
                         address of the search, or the other pages too",
                        page.place
                    ));
                }
                if at.is_some_and(|at| chain.contains(&at)) {
                    reasons.push(round(page));
                    break;
                }
            }
            reasons.extend(shortfall(&self.0[first].place, matched, items.len() + nameless));
            visited.extend(chain);
        }
        reasons.extend(self.0.iter().enumerate().filter(|(at, _)| !visited.contains(at)).map(|(_, page)| round(page)));
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A page with items of the numbers given.
    fn page(own: &str, next: Value, items: std::ops::Range<u32>, more: Value) -> Value {
        let features: Vec<_> = items.map(|n| json!({"id": n.to_string()})).collect();
        let mut page = json!({"features": features, "links": [{"rel": "self", "href": own}]});
        if !next.is_null() {
            page["links"].as_array_mut().into_iter().for_each(|links| links.push(next.clone()));
        }
        page.as_object_mut().into_iter().for_each(|page| page.extend(more.as_object().cloned().unwrap_or_default()));
        page
    }

    #[test]
    fn saved_pages_know_what_is_missing() {
        let to = |href: &str| json!({"rel": "next", "href": href});
        let post = json!({"rel": "next", "href": "/search", "method": "POST", "body": {"token": 2}});
        let none = Value::Null;
        let twelve = json!({"numberMatched": 12});
        for (name, pages, expected) in [
            ("one page", vec![page("a", none.clone(), 0..3, json!({}))], &[][..]),
            ("an estimate too small", vec![page("a", none.clone(), 0..3, json!({"numberMatched": 2}))], &[]),
            (
                "cut short",
                vec![page("a", none.clone(), 0..5, twelve.clone())],
                &["p0 says that 12 items match and gives 5"],
            ),
            ("context", vec![page("a", none.clone(), 0..1, json!({"context": {"matched": 3}}))], &["p0 says that 3"]),
            ("meta", vec![page("a", none.clone(), 0..1, json!({"meta": {"found": 3}}))], &["p0 says that 3"]),
            ("first of two", vec![page("a", to("b"), 0..5, twelve.clone())], &["p0 is one page", "p0 says that 12"]),
            (
                "both",
                vec![page("b", none.clone(), 5..12, twelve.clone()), page("a", to("b"), 0..5, twelve.clone())],
                &[],
            ),
            (
                "overlapping",
                vec![page("a", to("b"), 0..5, twelve.clone()), page("b", none.clone(), 4..11, json!({}))],
                &["p0 says that 12 items match and gives 11"],
            ),
            (
                "two searches, one short",
                vec![
                    page("a", none.clone(), 0..9, json!({})),
                    page("b", none.clone(), 20..22, json!({"numberMatched": 5})),
                ],
                &["p1 says that 5 items match and gives 2"],
            ),
            ("next is itself", vec![page("a", to("a"), 0..5, json!({}))], &["p0 links to a next page that leads back"]),
            (
                "a circle of two",
                vec![page("a", to("b"), 0..5, json!({})), page("b", to("a"), 5..9, json!({}))],
                &["p0 links to", "p1 links to"],
            ),
            (
                "a circle behind a page",
                vec![
                    page("a", to("b"), 0..1, json!({})),
                    page("b", to("c"), 1..2, json!({})),
                    page("c", to("b"), 2..3, json!({})),
                ],
                &["p2 links to a next page that leads back"],
            ),
            (
                "by POST all addresses are the same",
                vec![page("/search", post.clone(), 0..5, json!({})), page("/search", post, 5..9, json!({}))],
                &["p0 is one page", "p1 is one page"],
            ),
            (
                "an address twice",
                vec![
                    page("a", to("b"), 0..1, json!({})),
                    page("b", none.clone(), 1..2, json!({})),
                    page("b", none.clone(), 1..2, json!({})),
                ],
                &["p0 is one page"],
            ),
            ("no address", vec![page("a", json!({"rel": "next"}), 0..1, json!({}))], &["p0 is one page"]),
        ] {
            let mut saved = SavedPages::default();
            pages.iter().enumerate().for_each(|(at, page)| saved.add(&format!("p{at}"), page));
            let missing = saved.missing();
            assert_eq!(missing.len(), expected.len(), "{name}: {missing:?}");
            assert!(missing.iter().zip(expected).all(|(found, start)| found.starts_with(start)), "{name}: {missing:?}");
        }
    }
}
