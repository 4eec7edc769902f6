//! Search of a STAC API for the items of one tile.
//!
//! Bounding box and, where the API offers one, a filter by tile are both sent; what comes back is checked again in any
//! case. Catalogues keep the tile in different properties (`grid:code`, or `s2:mgrs_tile` at Planetary Computer), and a
//! filter on a property that does not exist gives nothing, not an error: an empty answer is believed only when the
//! property is seen to work.

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use stac::Link;
use stac::api::{Filter, GetSearch, Search};
use url::Url;

use super::stac_error::{StacLoadError, shown};
use super::stac_http::{Client, Request};
use crate::grid::TileGeocoding;
use crate::ids::{Level, MgrsTile};
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

/// How an API filters by properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FilterSupport {
    /// CQL2-JSON (filter extension).
    Cql2,
    /// The older query extension.
    Query,
    /// Not at all.
    None,
}

/// The property of a catalogue's items that holds the tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TileProperty {
    GridCode,
    MgrsTile,
}

impl TileProperty {
    const ALL: [Self; 2] = [Self::GridCode, Self::MgrsTile];

    fn name(self) -> &'static str {
        match self {
            Self::GridCode => "grid:code",
            Self::MgrsTile => "s2:mgrs_tile",
        }
    }

    /// The ways in which catalogues write a tile: zones below ten also with one digit.
    fn values(self, tile: MgrsTile) -> Vec<String> {
        let tile = tile.to_string();
        let prefix = if self == Self::GridCode { "MGRS-" } else { "" };
        let short = tile.strip_prefix('0').map(|short| format!("{prefix}{short}"));
        std::iter::once(format!("{prefix}{tile}")).chain(short).collect()
    }
}

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
        if loader.seen() == before && query.collection.is_none() {
            loader.note(LoadNote::UsualCollectionEmpty { collection: self.usual_collection(query.level) });
        }
        Ok(())
    }

    async fn search_by_tile(&self, query: &StacQuery, loader: &mut StacLoader<'_>) -> Result<(), StacLoadError> {
        let properties: &[_] = if self.filter == FilterSupport::None { &[] } else { &TileProperty::ALL };
        for &property in properties {
            let before = loader.seen();
            let found = match self.search_boxes(query, Some(property), loader).await {
                Ok(()) => loader.seen() > before || self.knows(query, property).await?,
                // Some servers do say that they do not know a property.
                Err(StacLoadError::Status { status: 400 | 422, .. }) => false,
                Err(error) => return Err(error),
            };
            if found {
                if query.max_cloud_cover.is_some() {
                    loader.cloud_cover_filtered();
                }
                return Ok(());
            }
        }
        loader.note(LoadNote::NoTileFilter { place: shown(&self.search) });
        self.search_boxes(query, None, loader).await
    }

    /// Whether a filter by the property finds anything of the tile, whenever and however cloudy.
    async fn knows(&self, query: &StacQuery, property: TileProperty) -> Result<bool, StacLoadError> {
        let mut search = Search::new().collections(vec![self.collection(query)]).limit(1);
        self.filter_by(&mut search, query.tile, property, None);
        let page = self.client.json(&self.request(search)?).await?;
        Ok(page.get("features").and_then(Value::as_array).is_some_and(|features| !features.is_empty()))
    }

    fn collection(&self, query: &StacQuery) -> String {
        query.collection.clone().unwrap_or_else(|| self.usual_collection(query.level))
    }

    async fn search_boxes(
        &self,
        query: &StacQuery,
        property: Option<TileProperty>,
        loader: &mut StacLoader<'_>,
    ) -> Result<(), StacLoadError> {
        // A granule across 180 degrees needs two searches, which may give the same item twice.
        let mut known = HashSet::new();
        for LonLatBox { west, south, east, north } in granule_boxes(TileGeocoding::of(query.tile)) {
            let mut search = Search::new().collections(vec![self.collection(query)]);
            search = search.bbox(stac::Bbox::new(west, south, east, north));
            search = search.limit(u64::from(self.client.options().page_size.max(1)));
            if let Some(interval) = query.datetime {
                search = search.datetime(interval);
            }
            if let Some(property) = property {
                self.filter_by(&mut search, query.tile, property, query.max_cloud_cover);
            }
            let request = self.request(search)?;
            read_pages(self.client, request, None, &mut known, loader).await?;
        }
        Ok(())
    }

    fn filter_by(&self, search: &mut Search, tile: MgrsTile, property: TileProperty, max_cloud_cover: Option<f64>) {
        let values = property.values(tile);
        if self.filter == FilterSupport::Cql2 {
            search.items.filter = Some(Filter::Cql2Json(cql2(property.name(), &values, max_cloud_cover)));
        } else {
            let by_tile = if let [value] = &values[..] { json!({"eq": value}) } else { json!({"in": values}) };
            let mut filter = Map::from_iter([(property.name().to_owned(), by_tile)]);
            if let Some(max) = max_cloud_cover {
                filter.insert("eo:cloud_cover".to_owned(), json!({"lte": max}));
            }
            search.items.query = Some(filter);
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

/// `tile AND cloud cover` in CQL2-JSON, with nothing beyond its basic class.
fn cql2(property: &str, values: &[String], max_cloud_cover: Option<f64>) -> Map<String, Value> {
    let compare = |op: &str, property: &str, value: Value| json!({"op": op, "args": [{"property": property}, value]});
    let all = |op: &str, mut args: Vec<Value>| {
        if args.len() == 1 { args.remove(0) } else { json!({"op": op, "args": args}) }
    };
    let tile = all("or", values.iter().map(|value| compare("=", property, value.as_str().into())).collect());
    let cloud = max_cloud_cover.map(|max| compare("<=", "eo:cloud_cover", max.into()));
    let filter = all("and", std::iter::once(tile).chain(cloud).collect());
    filter.as_object().cloned().unwrap_or_default()
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
    fn filters_are_basic_cql2() {
        let one = cql2("grid:code", &["MGRS-33TVN".to_owned()], None);
        assert_eq!(Value::Object(one), json!({"op": "=", "args": [{"property": "grid:code"}, "MGRS-33TVN"]}));
        let tile: MgrsTile = "01VCG".parse().unwrap();
        let both = Value::Object(cql2("s2:mgrs_tile", &TileProperty::MgrsTile.values(tile), Some(20.0)));
        let args = json!([
            {"op": "or", "args": [
                {"op": "=", "args": [{"property": "s2:mgrs_tile"}, "01VCG"]},
                {"op": "=", "args": [{"property": "s2:mgrs_tile"}, "1VCG"]}]},
            {"op": "<=", "args": [{"property": "eo:cloud_cover"}, 20.0]}]);
        assert_eq!(both, json!({"op": "and", "args": args}));
    }

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
