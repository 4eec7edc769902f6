//! Search of a STAC API for the items of one tile.
//!
//! Bounding box and, where the API offers one, a filter by tile are both sent; what comes back is checked again in any
//! case. Catalogues keep the tile in different properties (`grid:code`, or `s2:mgrs_tile` at Planetary Computer), and a
//! filter on a property that does not exist gives nothing, not an error: an empty answer is believed only when the
//! property is seen to work. The same goes for the time of the last change, which not every catalogue states.

use std::collections::HashSet;

use chrono::{DateTime, Days, Utc};
use serde_json::Value;
use stac::Link;
use stac::api::{Filter, GetSearch, Search};
use url::Url;

use super::stac_error::{StacLoadError, shown};
use super::stac_filter::{Conditions, FilterSupport, TileProperty};
use super::stac_http::{Client, Request};
use crate::grid::TileGeocoding;
use crate::ids::Level;
use crate::stac::{LoadNote, StacLoader, StacQuery};
use crate::utm::{LonLatBox, granule_boxes};

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

/// A STAC API, known by its landing page.
#[derive(Debug)]
pub(super) struct StacApi<'c> {
    client: &'c Client,
    search: Url,
    post: bool,
    filter: FilterSupport,
    children: Vec<String>,
}

/// True for the landing page of an API: it declares conformance or links to a search.
pub(super) fn is_landing_page(document: &Value) -> bool {
    document.get("conformsTo").is_some_and(Value::is_array) || links(document, "search").next().is_some()
}

/// The links of a document with a relation.
pub(super) fn links<'a>(document: &'a Value, rel: &'a str) -> impl Iterator<Item = &'a Value> {
    let links = document.get("links").and_then(Value::as_array).into_iter().flatten();
    links.filter(move |link| link.get("rel").and_then(Value::as_str) == Some(rel))
}

impl<'c> StacApi<'c> {
    /// Reads a landing page that was got from `url`.
    pub(super) fn new(client: &'c Client, url: &Url, landing: &Value) -> Result<Self, StacLoadError> {
        let is_post = |link: &&Value| {
            link.get("method").and_then(Value::as_str).is_some_and(|method| method.eq_ignore_ascii_case("POST"))
        };
        let link = links(landing, "search").find(is_post).or_else(|| links(landing, "search").next());
        let (search, post) = match link {
            Some(link) => {
                let href = link.get("href").and_then(Value::as_str).unwrap_or("search");
                (client.link(url, href)?, is_post(&link))
            }
            None => (below(url, "search"), true),
        };
        let conforms = |part: &str| {
            let classes = landing.get("conformsTo").and_then(Value::as_array);
            classes.into_iter().flatten().filter_map(Value::as_str).any(|class| class.contains(part))
        };
        let filter = if conforms("item-search#filter") && (conforms("cql2-json") || !conforms("cql2-text")) {
            FilterSupport::Cql2
        } else if conforms("item-search#query") {
            FilterSupport::Query
        } else {
            FilterSupport::None
        };
        let children = links(landing, "child").filter_map(|link| link.get("href")?.as_str());
        let children = children.filter_map(|href| href.trim_end_matches('/').rsplit('/').next()).map(str::to_owned);
        Ok(Self { client, search, post, filter, children: children.collect() })
    }

    /// A search address of which nothing else is known.
    pub(super) fn bare(client: &'c Client, search: Url) -> Self {
        Self { client, search, post: true, filter: FilterSupport::None, children: Vec::new() }
    }

    /// The collection to search where none was named.
    fn usual_collection(&self, level: Level) -> String {
        let usual = format!("sentinel-2-{}", level.to_string().to_ascii_lowercase());
        let any = |name: &&String| name.eq_ignore_ascii_case("sentinel-2");
        if self.children.contains(&usual) {
            return usual;
        }
        self.children.iter().find(any).cloned().unwrap_or(usual)
    }

    /// Searches and hands every item to the loader.
    pub(super) async fn search(&self, query: &StacQuery, loader: &mut StacLoader<'_>) -> Result<(), StacLoadError> {
        let before = loader.seen();
        self.search_by_tile(query, loader).await?;
        if loader.seen() == before && query.collection.is_none() && !loader.is_incremental() {
            loader.note(LoadNote::UsualCollectionEmpty { collection: self.usual_collection(query.level) });
        }
        Ok(())
    }

    async fn search_by_tile(&self, query: &StacQuery, loader: &mut StacLoader<'_>) -> Result<(), StacLoadError> {
        // What an attempt that is not believed gave is kept, and not handed on again.
        let mut known = HashSet::new();
        let mut found = false;
        let properties: &[_] = if self.filter == FilterSupport::None { &[] } else { &TileProperty::ALL };
        for &property in properties {
            let (tile, max_cloud_cover) = (query.tile, query.max_cloud_cover);
            let all = Conditions { property, tile, max_cloud_cover, updated_since: None };
            let before = loader.seen();
            found = match query.updated_since {
                Some(since) => {
                    let changed = Conditions { updated_since: Some(since), ..all };
                    self.search_changed(query, changed, &mut known, loader).await?
                }
                None => false,
            };
            if !found {
                found = match self.search_boxes(query, Some(&all), &mut known, loader).await {
                    Ok(()) => loader.seen() > before || self.knows(query, all).await?,
                    // Some servers do say that they do not know a property.
                    Err(StacLoadError::Status { status: 400 | 422, .. }) => false,
                    Err(error) => return Err(error),
                };
            }
            if found {
                if max_cloud_cover.is_some() {
                    loader.cloud_cover_filtered();
                }
                break;
            }
        }
        if !found {
            loader.note(LoadNote::NoTileFilter { place: shown(&self.search) });
            self.search_boxes(query, None, &mut known, loader).await?;
        }
        if let (Some(since), false) = (query.updated_since, loader.is_incremental()) {
            loader.note(LoadNote::NoChangeFilter { place: shown(&self.search), since });
        }
        Ok(())
    }

    /// Searches for what has changed; false where the answer is not believed and the full search has to follow.
    async fn search_changed(
        &self,
        query: &StacQuery,
        changed: Conditions,
        known: &mut HashSet<(String, String)>,
        loader: &mut StacLoader<'_>,
    ) -> Result<bool, StacLoadError> {
        let before = loader.wanted();
        let found = match self.search_boxes(query, Some(&changed), known, loader).await {
            Ok(()) if loader.wanted() > before => true,
            Ok(()) => is_yes(self.knows(query, changed).await)?,
            Err(error) => is_yes(Err(error))?,
        };
        // Items that have not changed since: the filter is ignored, or is coarser than the time that was sent. It is
        // ignored if it also finds items of a far future; then the answer is all that there is.
        let future = |since: DateTime<Utc>| since.checked_add_days(Days::new(1000 * 365));
        let ignored = match changed.updated_since.and_then(future) {
            Some(future) if found && loader.saw_unchanged() => {
                is_yes(self.knows(query, Conditions { updated_since: Some(future), ..changed }).await)?
            }
            _ => false,
        };
        if found && !ignored {
            loader.incremental();
        }
        Ok(found)
    }

    /// Whether a filter by tile, and by the last change where that is asked for, finds anything, of whatever time and
    /// cloud cover.
    async fn knows(&self, query: &StacQuery, conditions: Conditions) -> Result<bool, StacLoadError> {
        let mut search = Search::new().collections(vec![self.collection(query)]).limit(1);
        self.filter_by(&mut search, &Conditions { max_cloud_cover: None, ..conditions });
        let page = self.client.json(&self.request(search)?).await?;
        Ok(page.get("features").and_then(Value::as_array).is_some_and(|features| !features.is_empty()))
    }

    fn collection(&self, query: &StacQuery) -> String {
        query.collection.clone().unwrap_or_else(|| self.usual_collection(query.level))
    }

    async fn search_boxes(
        &self,
        query: &StacQuery,
        conditions: Option<&Conditions>,
        known: &mut HashSet<(String, String)>,
        loader: &mut StacLoader<'_>,
    ) -> Result<(), StacLoadError> {
        // A granule across 180 degrees needs two searches, which may give the same item twice.
        for LonLatBox { west, south, east, north } in granule_boxes(TileGeocoding::of(query.tile)) {
            let mut search = Search::new().collections(vec![self.collection(query)]);
            search = search.bbox(stac::Bbox::new(west, south, east, north));
            search = search.limit(u64::from(self.client.options().page_size.max(1)));
            if let Some(interval) = query.datetime {
                search = search.datetime(interval);
            }
            if let Some(conditions) = conditions {
                self.filter_by(&mut search, conditions);
            }
            let request = self.request(search)?;
            read_pages(self.client, request, None, known, loader).await?;
        }
        Ok(())
    }

    fn filter_by(&self, search: &mut Search, conditions: &Conditions) {
        if self.filter == FilterSupport::Cql2 {
            search.items.filter = Some(Filter::Cql2Json(conditions.cql2()));
        } else {
            search.items.query = Some(conditions.query());
        }
    }

    fn request(&self, search: Search) -> Result<Request, StacLoadError> {
        let bad = |problem: String| StacLoadError::BadUrl { input: shown(&self.search), problem };
        if self.post {
            let body = serde_json::to_value(&search).map_err(|error| bad(error.to_string()))?;
            let body = body.as_object().cloned().unwrap_or_default();
            return Ok(Request { body: Some(body), ..Request::get(self.search.clone()) });
        }
        // In a query string, CQL2 is text and the query extension is JSON text.
        let mut search = search;
        let query = search.items.query.take();
        let filter = search.items.filter.take().map(Filter::into_cql2_text).transpose();
        search.items.filter = filter.map_err(|error| bad(error.to_string()))?;
        let parameters = GetSearch::try_from(search).map_err(|error| bad(error.to_string()))?;
        let mut parameters = serde_json::to_value(parameters).map_err(|error| bad(error.to_string()))?;
        if let (Some(query), Some(parameters)) = (query, parameters.as_object_mut()) {
            parameters.insert("query".to_owned(), Value::Object(query));
        }
        let mut url = self.search.clone();
        for (name, value) in parameters.as_object().into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            url.query_pairs_mut().append_pair(name, &text);
        }
        Ok(Request::get(url))
    }
}

/// An answer to a search by the last change. A server that does not know the property may refuse it or stumble over it;
/// the search without it then tells whether anything else is wrong.
fn is_yes(answer: Result<bool, StacLoadError>) -> Result<bool, StacLoadError> {
    match answer {
        Err(StacLoadError::Status { status: 400 | 422 | 500..=599, .. }) => Ok(false),
        answer => answer,
    }
}

/// The address of a resource below another, whether or not that one ends in a slash.
pub(super) fn below(url: &Url, name: &str) -> Url {
    let mut below = url.clone();
    below.set_query(None);
    if let Ok(mut segments) = below.path_segments_mut() {
        segments.pop_if_empty().push(name);
    }
    below
}

/// Reads the pages of a search, beginning with `first` if it was read already, until no next link is left.
///
/// `known` holds the items that were seen in earlier searches and are not handed on again.
pub(super) async fn read_pages(
    client: &Client,
    mut request: Request,
    first: Option<Value>,
    known: &mut HashSet<(String, String)>,
    loader: &mut StacLoader<'_>,
) -> Result<(), StacLoadError> {
    let place = shown(&request.url);
    let mut asked = HashSet::new();
    let mut here = HashSet::new();
    let mut first = first;
    loop {
        let circular = LoadNote::CircularPages { place: place.clone(), pages: asked.len() };
        let body = request.body.as_ref().map(|body| Value::Object(body.clone()).to_string());
        if !asked.insert((request.url.to_string(), body)) {
            loader.note(circular);
            return Ok(());
        }
        let page = match first.take() {
            Some(page) => page,
            None => client.json(&request).await?,
        };
        let Some(features) = page.get("features").and_then(Value::as_array) else {
            let found = page.get("type").map_or_else(|| "JSON without features".to_owned(), Value::to_string);
            return Err(StacLoadError::NotItems { place, found });
        };
        let mut fresh = false;
        for item in features {
            let text = |key| item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let key = (text("collection"), text("id"));
            let nameless = key.1.is_empty();
            fresh |= here.insert(key.clone()) || nameless;
            if known.insert(key) || nameless {
                loader.push(item, || place.clone());
            }
        }
        let limit = client.options().max_items;
        if loader.seen() > limit {
            return Err(StacLoadError::TooManyItems { place, limit });
        }
        let next = links(&page, "next").next();
        match next {
            Some(next) if fresh => request = follow(client, &request, next)?,
            // Pages that bring nothing new under ever new addresses would never end.
            Some(_) if !features.is_empty() => {
                loader.note(circular);
                return Ok(());
            }
            _ => return Ok(()),
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_below_others() {
        for (url, search) in [
            ("https://h/v1", "https://h/v1/search"),
            ("https://h/v1/", "https://h/v1/search"),
            ("https://h/v1/?token=a", "https://h/v1/search"),
            ("https://h", "https://h/search"),
        ] {
            assert_eq!(below(&url.parse().unwrap(), "search").as_str(), search);
        }
    }
}
