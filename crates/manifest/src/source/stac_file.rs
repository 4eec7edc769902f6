//! Items from wherever they are: an API, a web page, a file, a folder, object storage.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use url::Url;

use super::blocking::blocking;
use super::location::{Source, SourceUrl, without_secrets};
use super::stac_api::{StacApi, below, is_landing_page};
use super::stac_error::shown;
use super::stac_http::{Client, Request};
use super::stac_pages::{Known, read_pages};
use super::stac_parquet;
pub use super::{stac_error::StacLoadError, stac_http::StacOptions};
use crate::stac::{LoadNote, SavedPages, StacError, StacLoad, StacLoader, StacQuery, links};

/// Loads the items of a catalogue and applies a query to them. `input` is one of
///
/// - the root of a STAC API, its search address, or one of its collections;
/// - the address of an item, an item collection (its next links are followed) or a stac-geoparquet file;
/// - a file: an item, an item collection, a JSON list or ndjson of items, or stac-geoparquet;
/// - a folder: every `.json` and `.geojson` in it and below.
///
/// Items that are not understood are listed in the result, not fatal. Where anything says that the answer is not all
/// that there is, the result says so.
///
/// # Errors
/// When the input cannot be read or holds no items at all.
pub async fn load_stac(input: &str, query: &StacQuery, options: &StacOptions) -> Result<StacLoad, StacLoadError> {
    let bad = |problem: String| StacLoadError::BadUrl { input: without_secrets(input), problem };
    let Some((scheme, _)) = input.split_once("://") else {
        return load_path_async(PathBuf::from(input), query, options).await;
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" => {
            let url: Url = input.parse().map_err(|error: url::ParseError| bad(error.to_string()))?;
            load_url(&url, query, options).await
        }
        "file" => {
            let url: Url = input.parse().map_err(|error: url::ParseError| bad(error.to_string()))?;
            let path = url.to_file_path().map_err(|()| bad("it names no local path".to_owned()))?;
            load_path_async(path, query, options).await
        }
        _ => load_object(input, query, options).await,
    }
}

/// Loads the items of a local file or folder; see [`load_stac`].
///
/// # Errors
/// When it cannot be read or holds no items at all.
pub fn load_path(path: &Path, query: &StacQuery, options: &StacOptions) -> Result<StacLoad, StacLoadError> {
    let mut loader = StacLoader::new(query);
    let mut saved = SavedPages::default();
    let metadata = fs::metadata(path).map_err(|source| cannot_read(path, source))?;
    if metadata.is_dir() {
        read_folder(path, &mut saved, &mut loader, options)?;
    } else {
        read_file(path, &mut saved, &mut loader, options)?;
    }
    saved.missing().into_iter().for_each(|missing| loader.incomplete(missing));
    Ok(loader.finish())
}

async fn load_path_async(path: PathBuf, query: &StacQuery, options: &StacOptions) -> Result<StacLoad, StacLoadError> {
    let (query, options, shown) = (query.clone(), options.clone(), path.clone());
    let task = blocking(move || load_path(&path, &query, &options));
    task.await.unwrap_or_else(|error| Err(cannot_read(&shown, std::io::Error::other(error))))
}

/// Loads items over HTTP: what the address is, is told by what it answers.
async fn load_url(url: &Url, query: &StacQuery, options: &StacOptions) -> Result<StacLoad, StacLoadError> {
    let client = Client::new(url, options)?;
    let mut loader = StacLoader::new(query);
    if is_search(url) {
        search_api(&client, url).await?.search(query, &mut loader).await?;
    } else {
        let request = Request::get(url.clone());
        let bytes = client.bytes(&request).await?;
        answer(&client, request, bytes, query, &mut loader).await?;
    }
    tracing::debug!(requests = client.requests(), items = loader.seen(), "catalogue read");
    Ok(loader.finish())
}

fn is_search(url: &Url) -> bool {
    url.path().trim_end_matches('/').ends_with("/search") && url.query().is_none()
}

/// The API of a search address: the landing page one level up tells what it can do; without one, it is asked plainly.
async fn search_api<'c>(client: &'c Client, url: &Url) -> Result<StacApi<'c>, StacLoadError> {
    let mut root = url.clone();
    if let Ok(mut segments) = root.path_segments_mut() {
        segments.pop_if_empty().pop();
    }
    match client.json(&Request::get(root.clone())).await {
        Ok(landing) if is_landing_page(&landing) => StacApi::new(client, &root, &landing),
        Ok(_) | Err(StacLoadError::Status { .. } | StacLoadError::NotJson { .. }) => {
            Ok(StacApi::bare(client, url.clone()))
        }
        Err(error) => Err(error),
    }
}

/// The API at an address, and the collection that this names; `None` where there is something else.
pub(super) async fn api_at<'c>(
    client: &'c Client,
    url: &Url,
) -> Result<Option<(StacApi<'c>, Option<String>)>, StacLoadError> {
    if is_search(url) {
        return Ok(Some((search_api(client, url).await?, None)));
    }
    let document = client.json(&Request::get(url.clone())).await?;
    if is_landing_page(&document) {
        return Ok(Some((StacApi::new(client, url, &document)?, None)));
    }
    if is_collection(&document) { collection_api(client, url, &document).await.map(Some) } else { Ok(None) }
}

/// True for a collection of an API.
fn is_collection(document: &Value) -> bool {
    document.get("type").and_then(Value::as_str) == Some("Collection") && links(document, "items").next().is_some()
}

/// The API that a collection belongs to, and the collection's id.
async fn collection_api<'c>(
    client: &'c Client,
    url: &Url,
    collection: &Value,
) -> Result<(StacApi<'c>, Option<String>), StacLoadError> {
    let (root, id) = api_of(client, url, collection)?;
    let landing = client.json(&Request::get(root.clone())).await?;
    if !is_landing_page(&landing) {
        return Err(StacLoadError::NotItems { place: shown(&root), found: what_it_is(&landing) });
    }
    Ok((StacApi::new(client, &root, &landing)?, id))
}

async fn answer(
    client: &Client,
    request: Request,
    bytes: Vec<u8>,
    query: &StacQuery,
    loader: &mut StacLoader<'_>,
) -> Result<(), StacLoadError> {
    let url = request.url.clone();
    let place = shown(&url);
    if stac_parquet::is_parquet(&bytes) {
        return stac_parquet::read_bytes(bytes, &place, loader);
    }
    let document = match parse(&bytes) {
        Parsed::Document(document) => document,
        Parsed::Lines => return read_lines(&bytes, &place, loader),
        Parsed::Bad(problem) => return Err(StacLoadError::NotJson { place, problem }),
    };
    if is_landing_page(&document) {
        return StacApi::new(client, &url, &document)?.search(query, loader).await;
    }
    match document.get("type").and_then(Value::as_str) {
        Some("FeatureCollection") => {
            let walk = read_pages(client, request, Some(document), false, &mut Known::new(), loader).await?;
            walk.missing.into_iter().for_each(|missing| loader.incomplete(missing));
            Ok(())
        }
        Some("Collection") if is_collection(&document) => {
            let (api, id) = collection_api(client, &url, &document).await?;
            let query = StacQuery { collection: query.collection.clone().or(id), ..query.clone() };
            api.search(&query, loader).await
        }
        _ => push_document(&document, &place, &mut SavedPages::default(), loader),
    }
}

/// Root of the API that a collection belongs to, and the collection's id.
fn api_of(client: &Client, url: &Url, collection: &Value) -> Result<(Url, Option<String>), StacLoadError> {
    let id = collection.get("id").and_then(Value::as_str).map(str::to_owned);
    let href = links(collection, "root").next().and_then(|link| link.get("href")?.as_str());
    let root = match href {
        Some(href) => client.link(url, href)?,
        None => {
            let mut root = below(url, "");
            if let Ok(mut segments) = root.path_segments_mut() {
                segments.pop_if_empty().pop().pop();
            }
            root
        }
    };
    Ok((root, id))
}

/// A file on object storage: the folder is opened as a source, the file read from it.
async fn load_object(input: &str, query: &StacQuery, options: &StacOptions) -> Result<StacLoad, StacLoadError> {
    let (folder, name) = SourceUrl::parse_file(input)?;
    let source = Source::open(&folder, &options.storage)?;
    let bytes = source.get_all(&format!("/{name}"), options.max_bytes).await?.bytes;
    let (mut loader, mut saved) = (StacLoader::new(query), SavedPages::default());
    read_document(&bytes, input, &mut saved, &mut loader)?;
    saved.missing().into_iter().for_each(|missing| loader.incomplete(missing));
    Ok(loader.finish())
}

fn cannot_read(path: &Path, source: std::io::Error) -> StacLoadError {
    StacLoadError::File { path: path.display().to_string(), source }
}

fn read_file(
    path: &Path,
    saved: &mut SavedPages,
    loader: &mut StacLoader<'_>,
    options: &StacOptions,
) -> Result<(), StacLoadError> {
    let place = path.display().to_string();
    let failed = |source| cannot_read(path, source);
    let mut file = fs::File::open(path).map_err(failed)?;
    let mut magic = Vec::new();
    (&mut file).take(4).read_to_end(&mut magic).map_err(failed)?;
    if stac_parquet::is_parquet(&magic) {
        return stac_parquet::read_file(file, &place, loader);
    }
    let limit = options.max_bytes;
    let mut bytes = magic;
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(StacLoadError::TooLarge { place, limit });
    }
    read_document(&bytes, &place, saved, loader)
}

/// Every `.json` and `.geojson` file below a folder, in the order of their paths. Links to folders are not followed.
/// What cannot be read, among what can, leaves the answer incomplete.
fn read_folder(
    folder: &Path,
    saved: &mut SavedPages,
    loader: &mut StacLoader<'_>,
    options: &StacOptions,
) -> Result<(), StacLoadError> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    let mut failed = Vec::new();
    while let Some(folder) = folders.pop() {
        list_folder(&folder, &mut folders, &mut files)
            .unwrap_or_else(|source| failed.push(cannot_read(&folder, source)));
    }
    files.sort();
    let (mut read, mut others) = (0, 0);
    for path in files {
        match read_file(&path, saved, loader, options) {
            Ok(()) => read += 1,
            Err(StacLoadError::NotItems { .. }) => others += 1,
            // One broken file among many is listed like one broken item among many.
            Err(StacLoadError::NotJson { place, problem }) => {
                read += 1;
                loader.refuse(place, StacError::NotAnItem { problem: format!("not JSON: {problem}") });
            }
            Err(error) => failed.push(error),
        }
    }
    if read + others == 0 {
        let path = folder.display().to_string();
        return Err(failed.into_iter().next().unwrap_or(StacLoadError::EmptyFolder { path }));
    }
    failed.iter().for_each(|error| loader.incomplete(error.to_string()));
    if others > 0 {
        loader.note(LoadNote::OtherDocuments { place: folder.display().to_string(), count: others });
    }
    Ok(())
}

/// Adds what a folder holds; what was read before a failure stays.
fn list_folder(folder: &Path, folders: &mut Vec<PathBuf>, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let suffix = path.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
        if entry.file_type()?.is_dir() {
            folders.push(path);
        } else if matches!(suffix, "json" | "geojson") {
            files.push(path);
        }
    }
    Ok(())
}

fn read_document(
    bytes: &[u8],
    place: &str,
    saved: &mut SavedPages,
    loader: &mut StacLoader<'_>,
) -> Result<(), StacLoadError> {
    if stac_parquet::is_parquet(bytes) {
        return stac_parquet::read_bytes(bytes.to_vec(), place, loader);
    }
    match parse(bytes) {
        Parsed::Document(document) => push_document(&document, place, saved, loader),
        Parsed::Lines => read_lines(bytes, place, loader),
        Parsed::Bad(problem) => Err(StacLoadError::NotJson { place: place.to_owned(), problem }),
    }
}

enum Parsed {
    Document(Value),
    /// Newline-delimited JSON.
    Lines,
    Bad(String),
}

fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

fn parse(bytes: &[u8]) -> Parsed {
    let bytes = without_mark(bytes);
    match serde_json::from_slice(bytes) {
        Ok(document) => Parsed::Document(document),
        Err(error) => {
            let mut lines = bytes.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty());
            let first = lines.next().map(serde_json::from_slice::<Value>);
            if lines.next().is_some() && matches!(first, Some(Ok(Value::Object(_)))) {
                Parsed::Lines
            } else {
                Parsed::Bad(error.to_string())
            }
        }
    }
}

fn read_lines(bytes: &[u8], place: &str, loader: &mut StacLoader<'_>) -> Result<(), StacLoadError> {
    for (number, line) in without_mark(bytes).split(|b| *b == b'\n').enumerate() {
        let place = || format!("{place}, line {}", number + 1);
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(value) => loader.push(&value, place),
            Err(error) => loader.refuse(place(), StacError::NotAnItem { problem: format!("not JSON: {error}") }),
        }
    }
    Ok(())
}

fn push_document(
    document: &Value,
    place: &str,
    saved: &mut SavedPages,
    loader: &mut StacLoader<'_>,
) -> Result<(), StacLoadError> {
    let not_items = || StacLoadError::NotItems { place: place.to_owned(), found: what_it_is(document) };
    let items = match document {
        Value::Array(items) => items,
        _ => match document.get("type").and_then(Value::as_str) {
            Some("Feature") => std::slice::from_ref(document),
            Some("FeatureCollection") => {
                let bare = || StacLoadError::NoFeatures { place: place.to_owned() };
                let items = document.get("features").and_then(Value::as_array).ok_or_else(bare)?;
                saved.add(place, document);
                items
            }
            _ => return Err(not_items()),
        },
    };
    for (number, item) in items.iter().enumerate() {
        loader.push(item, || if items.len() == 1 { place.to_owned() } else { format!("{place}, item {number}") });
    }
    Ok(())
}

fn what_it_is(document: &Value) -> String {
    match document {
        Value::Object(members) => match members.get("type").and_then(Value::as_str) {
            Some(kind @ ("Catalog" | "Collection")) => format!("a STAC {kind} without a search"),
            Some(kind) => format!("JSON of type {:?}", kind.chars().take(60).collect::<String>()),
            None => "a JSON object without a type".to_owned(),
        },
        Value::Array(_) => "a JSON list".to_owned(),
        _ => "a single JSON value".to_owned(),
    }
}
