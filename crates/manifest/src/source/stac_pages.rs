//! The pages of a search, followed from next link to next link until the server has no more, or nothing more can be
//! believed.
//!
//! A search ends well where a page has no next link and as many items came as were said to match. Whatever else ends it
//! (a failure after the first page, links that lead back, pages that bring nothing, our own limits) leaves what came,
//! with the reason why it is not all.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use stac::Link;

use super::stac_error::{StacLoadError, shown};
use super::stac_http::{Client, Request};
use crate::stac::{StacLoader, item_key, links, shortfall, stated_matches};

/// Empty pages one after the other with a next link each: legal, but servers do not need many.
const MOST_EMPTY: usize = 10;

/// Headers that a next link may not set: they belong to the client, or carry the operator's credentials.
const OWN_HEADERS: [&str; 8] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "transfer-encoding",
    "user-agent",
];

/// What takes the items of pages.
pub(super) trait Sink {
    /// Takes an item from `place`; true where it is of another tile than was asked for.
    fn take(&mut self, item: &Value, place: &str) -> bool;
}

impl Sink for StacLoader<'_> {
    fn take(&mut self, item: &Value, place: &str) -> bool {
        let outside = self.outside();
        self.push(item, || place.to_owned());
        self.outside() > outside
    }
}

/// Items that were handed on already, in this search or another, by collection and id; true where they are of another
/// tile.
pub(super) type Known = HashMap<(String, String), bool>;

/// What came of a search.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Different items.
    pub(super) received: usize,
    /// True where it was stopped at a page with items of other tiles: a filter by tile that is ignored.
    pub(super) strayed: bool,
    /// Why it is not all, where it is not.
    pub(super) missing: Option<String>,
}

/// Reads the pages of a search, beginning with `first` if it was read already. `by_tile` says that the server was asked
/// for items of the tile only.
///
/// # Errors
/// The first page cannot be read. What fails later leaves an incomplete answer.
pub(super) async fn read_pages(
    client: &Client,
    mut request: Request,
    mut first: Option<Value>,
    by_tile: bool,
    known: &mut Known,
    sink: &mut (impl Sink + ?Sized),
) -> Result<Walk, StacLoadError> {
    let place = shown(&request.url);
    let (most_items, most_pages) = (client.options().max_items, client.options().max_pages);
    let mut walk = Walk::default();
    let (mut asked, mut here) = (HashSet::new(), HashSet::new());
    let (mut matched, mut empty) = (None, 0);
    loop {
        let address =
            (request.url.to_string(), request.body.as_ref().map(|body| Value::Object(body.clone()).to_string()));
        let pages = asked.len();
        if !asked.insert((address, request.headers.clone())) {
            walk.missing = Some(format!("the next links of {place} lead back after {pages} pages: there may be more"));
            return Ok(walk);
        }
        let page = match (first.take(), pages) {
            (Some(page), _) => Ok(page),
            (None, _) => client.json(&request).await,
        };
        let page = page.and_then(|page| match page.get("features") {
            Some(Value::Array(_)) => Ok(page),
            _ => {
                let found = page.get("type").map_or_else(|| "JSON without features".to_owned(), Value::to_string);
                Err(StacLoadError::NotItems { place: place.clone(), found })
            }
        });
        let page = match page {
            Ok(page) => page,
            Err(error) if pages == 0 => return Err(error),
            Err(error) => {
                walk.missing = Some(format!("page {} of {place} could not be read: {error}", pages + 1));
                return Ok(walk);
            }
        };
        let items = page.get("features").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let before = walk.received;
        for item in items {
            let key = item_key(item);
            walk.received += usize::from(key.as_ref().is_none_or(|key| here.insert(key.clone())));
            let strays = if let Some(strays) = key.as_ref().and_then(|key| known.get(key)) {
                *strays
            } else {
                sink.take(item, &place)
            };
            walk.strayed |= by_tile && strays;
            known.extend(key.map(|key| (key, strays)));
        }
        if walk.strayed {
            return Ok(walk);
        }
        matched = matched.or_else(|| stated_matches(&page));
        empty = if items.is_empty() { empty + 1 } else { 0 };
        let next = links(&page, "next").next();
        let Some(next) = next.filter(|_| pages == 0 || items.is_empty() || walk.received > before) else {
            let stale = pages > 0 && !items.is_empty() && walk.received == before;
            let stale =
                stale.then(|| format!("page {} of {place} repeats earlier pages: there may be more", pages + 1));
            walk.missing = stale.or_else(|| shortfall(&place, matched, walk.received));
            return Ok(walk);
        };
        walk.missing = if empty > MOST_EMPTY {
            // A server that links on for ever, when all that it has was given.
            let all = matched.is_some_and(|matched| matched <= walk.received as u64);
            if all {
                return Ok(walk);
            }
            Some(format!("{place} gives {empty} empty pages in a row and links to more"))
        } else if walk.received >= most_items {
            Some(format!("{place} gives more than {most_items} items, the most that are read: narrow --datetime"))
        } else if asked.len() >= most_pages {
            Some(format!("{place} gives more than {most_pages} pages, the most that are read: narrow --datetime"))
        } else {
            match follow(client, &request, next) {
                Ok(next) => {
                    request = next;
                    continue;
                }
                Err(error) => Some(format!("page {} of {place} could not be read: {error}", pages + 2)),
            }
        };
        return Ok(walk);
    }
}

/// The request of a next link: GET with the link's address, or POST with its body, merged into the last one's where
/// the link says so.
fn follow(client: &Client, last: &Request, link: &Value) -> Result<Request, StacLoadError> {
    let bad = |problem: String| StacLoadError::BadUrl { input: format!("next link of {}", shown(&last.url)), problem };
    let link: Link = serde_json::from_value(link.clone()).map_err(|error| bad(error.to_string()))?;
    let url = client.link(&last.url, &link.href)?;
    let method = link.method.as_deref().unwrap_or("GET");
    let body = if method.eq_ignore_ascii_case("POST") {
        let mut body = last.body.clone().unwrap_or_default();
        match link.body {
            Some(next) if link.merge == Some(true) => body.extend(next),
            Some(next) => body = next,
            None => {}
        }
        Some(body)
    } else if method.eq_ignore_ascii_case("GET") {
        None
    } else {
        return Err(bad(format!("method {method:?} is neither GET nor POST")));
    };
    let headers =
        link.headers.into_iter().flatten().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())));
    let headers = headers.filter(|(name, _)| !OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()));
    Ok(Request { url, body, headers: headers.collect() })
}
