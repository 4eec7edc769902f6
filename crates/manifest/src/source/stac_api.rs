//! Search of a STAC API for the items of one tile.
//!
//! Where the API filters by properties it is asked for the tile, and not for an area: an item with a wrong polygon, or
//! none, is of the tile all the same. Catalogues keep the tile in different properties (`grid:code`, or `s2:mgrs_tile`
//! at Planetary Computer), and a filter on a property that does not exist gives nothing, not an error: an empty answer
//! is believed only when the property is seen to work. A filter that lets other tiles through is ignored by the server,
//! which would then go on for the whole world. Where no property works, the search is by bounding box. The same goes
//! for the time of the last change, which not every catalogue states.
//!
//! Cloud cover is never sent: a server drops the items that do not state theirs, and says nothing of them.

use chrono::{DateTime, Days, Utc};
use serde_json::Value;
use stac::api::{Filter, GetSearch, Search};
use url::Url;

use super::stac_error::{StacLoadError, shown};
use super::stac_filter::{Conditions, FilterSupport, TileProperty};
use super::stac_http::{Client, Request};
use super::stac_pages::{Known, Sink, Walk, read_pages};
use crate::grid::TileGeocoding;
use crate::ids::Level;
use crate::stac::{LoadNote, StacItem, StacLoader, StacQuery, links};
use crate::utm::{LonLatBox, granule_boxes};

/// A STAC API, known by its landing page.
#[derive(Debug)]
pub(super) struct StacApi<'c> {
    client: &'c Client,
    search: Url,
    post: bool,
    filter: FilterSupport,
    children: Vec<String>,
}

/// What a search is limited to.
enum Where<'a> {
    Tile(&'a Conditions),
    Area(LonLatBox),
}

/// True for the landing page of an API: it declares conformance or links to a search.
pub(super) fn is_landing_page(document: &Value) -> bool {
    document.get("conformsTo").is_some_and(Value::is_array) || links(document, "search").next().is_some()
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

    /// Searches and hands every item to the loader: by tile where the catalogue can, by area where it cannot.
    pub(super) async fn search(&self, query: &StacQuery, loader: &mut StacLoader<'_>) -> Result<(), StacLoadError> {
        // What an attempt that is not believed gave is kept, and not handed on again.
        let mut known = Known::new();
        if !self.search_tile(query, &mut known, loader).await? {
            loader.note(LoadNote::NoTileFilter { place: shown(&self.search) });
            self.search_area(query, &mut known, loader).await?;
        }
        if let (Some(since), false) = (query.updated_since, loader.is_incremental()) {
            loader.note(LoadNote::NoChangeFilter { place: shown(&self.search), since });
        }
        Ok(())
    }

    /// Searches by the properties that may hold the tile; false where none of them is seen to work.
    async fn search_tile(
        &self,
        query: &StacQuery,
        known: &mut Known,
        loader: &mut StacLoader<'_>,
    ) -> Result<bool, StacLoadError> {
        let properties: &[_] = if self.filter == FilterSupport::None { &[] } else { &TileProperty::ALL };
        for &property in properties {
            let all = Conditions { tile: Some((property, query.tile)), updated_since: None };
            if let Some(since) = query.updated_since {
                let changed = Conditions { updated_since: Some(since), ..all };
                if self.search_changed(query, changed, known, loader).await? {
                    return Ok(true);
                }
            }
            match self.walk(query, Where::Tile(&all), known, loader).await {
                Ok(walk) if walk.strayed => {}
                Ok(walk) if walk.received > 0 || self.knows(query, all).await? => {
                    walk.missing.into_iter().for_each(|missing| loader.incomplete(missing));
                    return Ok(true);
                }
                Ok(_) => {}
                // Some servers do say that they do not know a property.
                Err(StacLoadError::Status { status: 400 | 422, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Searches by the bounding box of the tile, or its two where it lies across 180 degrees.
    async fn search_area(
        &self,
        query: &StacQuery,
        known: &mut Known,
        loader: &mut StacLoader<'_>,
    ) -> Result<(), StacLoadError> {
        let mut received = 0;
        for area in granule_boxes(TileGeocoding::of(query.tile)) {
            let walk = self.walk(query, Where::Area(area), known, loader).await?;
            received += walk.received;
            walk.missing.into_iter().for_each(|missing| loader.incomplete(missing));
        }
        if received == 0 {
            let collection = self.collection(query);
            loader.incomplete(format!(
                "{} gave nothing of the tile's area, and nothing shows that it has a collection {collection:?}",
                shown(&self.search)
            ));
            if query.collection.is_none() {
                loader.note(LoadNote::UsualCollectionEmpty { collection });
            }
        }
        Ok(())
    }

    /// Searches for what has changed; false where the answer is not believed, or not all, and the full search has to
    /// follow.
    async fn search_changed(
        &self,
        query: &StacQuery,
        changed: Conditions,
        known: &mut Known,
        loader: &mut StacLoader<'_>,
    ) -> Result<bool, StacLoadError> {
        let before = loader.wanted();
        let found = match self.walk(query, Where::Tile(&changed), known, loader).await {
            Ok(walk) if walk.strayed || walk.missing.is_some() => false,
            Ok(_) if loader.wanted() > before => true,
            Ok(_) => is_yes(self.knows(query, changed).await)?,
            Err(error) => is_yes(Err(error))?,
        };
        // Items that have not changed since: the filter is ignored, or is coarser than the time that was sent. It is
        // ignored if it also finds items of a far future; then the answer is all that there is.
        let ignored = match changed.updated_since.and_then(far_future) {
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

    /// Whether a filter by tile, and by the last change where that is asked for, finds an item of the tile, of whatever
    /// time.
    async fn knows(&self, query: &StacQuery, conditions: Conditions) -> Result<bool, StacLoadError> {
        let mut search = Search::new().collections(vec![self.collection(query)]).limit(1);
        self.filter_by(&mut search, &conditions);
        let page = self.client.json(&self.request(search)?).await?;
        let mut items = page.get("features").and_then(Value::as_array).into_iter().flatten();
        Ok(items.any(|item| StacItem::from_json(item).is_ok_and(|item| item.tile() == query.tile)))
    }

    fn collection(&self, query: &StacQuery) -> String {
        query.collection.clone().unwrap_or_else(|| self.usual_collection(query.level))
    }

    /// Searches for what has changed since a time, of all tiles, and hands every item to the sink; false where the answer
    /// cannot be believed to be all of it, and to be of that alone.
    pub(super) async fn search_changes(
        &self,
        (level, collection): (Level, Option<&str>),
        since: DateTime<Utc>,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<bool, StacLoadError> {
        let Some(future) = far_future(since).filter(|_| self.filter != FilterSupport::None) else { return Ok(false) };
        let collection = collection.map_or_else(|| self.usual_collection(level), str::to_owned);
        let search = |since, limit| {
            let mut search = Search::new().collections(vec![collection.clone()]).limit(limit);
            self.filter_by(&mut search, &Conditions { tile: None, updated_since: Some(since) });
            self.request(search)
        };
        // By a property that does not exist nothing is found, and by a filter that is ignored everything.
        for (time, is_found) in [(DateTime::UNIX_EPOCH, true), (future, false)] {
            let page = self.client.json(&search(time, 1)?).await;
            let holds = page.map(|page| {
                let found = page.get("features").and_then(Value::as_array).is_some_and(|items| !items.is_empty());
                found == is_found
            });
            if !is_yes(holds)? {
                return Ok(false);
            }
        }
        let page = u64::from(self.client.options().page_size.max(1));
        let walk = read_pages(self.client, search(since, page)?, None, false, &mut Known::new(), sink).await?;
        if let Some(missing) = &walk.missing {
            tracing::warn!("what changed cannot be told of all tiles at once: {missing}");
        }
        Ok(walk.missing.is_none())
    }

    async fn walk(
        &self,
        query: &StacQuery,
        place: Where<'_>,
        known: &mut Known,
        loader: &mut StacLoader<'_>,
    ) -> Result<Walk, StacLoadError> {
        let mut search = Search::new().collections(vec![self.collection(query)]);
        search = search.limit(u64::from(self.client.options().page_size.max(1)));
        if let Some(interval) = query.search_interval() {
            search = search.datetime(interval);
        }
        match place {
            Where::Tile(conditions) => self.filter_by(&mut search, conditions),
            Where::Area(LonLatBox { west, south, east, north }) => {
                search = search.bbox(stac::Bbox::new(west, south, east, north));
            }
        }
        let request = self.request(search)?;
        read_pages(self.client, request, None, matches!(place, Where::Tile(_)), known, loader).await
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

/// A time at which nothing has changed yet.
fn far_future(since: DateTime<Utc>) -> Option<DateTime<Utc>> {
    since.checked_add_days(Days::new(1000 * 365))
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
