//! What a stranger meets who follows the publication's address: without keys, over the web or in a public bucket.

use std::time::Duration;

use reqwest::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN, RANGE};
use reqwest::{Client, Response, StatusCode};
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::source::location::{Source, SourceError, SourceOptions, SourceUrl};
use schemars::JsonSchema;
use serde::Serialize;

use super::former::REMEDY;
use crate::error::one_line;
use crate::export::{Cube, Selection};
use crate::reached::Reached;
use crate::target::Target;

/// A stranger waits this long for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// First two bytes of a tile-part: the marker SOT (ISO/IEC 15444-1, A.4.2).
const SOT: [u8; 2] = [0xff, 0x90];

/// Bytes of a published file that are compared at the most.
const COMPARED: usize = 1 << 20;

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trial {
    /// The base URL leads to what was written.
    BaseUrl,
    /// A part of a file can be asked for.
    Range,
    /// A file that is not there is answered by 404.
    Missing,
    /// Pages of other hosts may read it (CORS).
    Cors,
    /// The store can be opened.
    Open,
    /// A tile can be read where the references lead.
    Tile,
}

/// Something that a stranger cannot do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Hindrance {
    /// What was tried.
    pub trial: Trial,
    /// What happened, and the remedy.
    pub reason: String,
}

/// Looks at the publication's own file, whose bytes were written, and at a store and the snapshot that it was described in.
pub(super) async fn look(base_url: &str, file: &str, bytes: &[u8], store: Option<(&Reached, &str)>) -> Vec<Hindrance> {
    let mut found = Hindrances(Vec::new());
    match Client::builder().timeout(PATIENCE).build() {
        Err(error) => drop(found.note::<()>(Trial::BaseUrl, Err(one_line(&error)))),
        Ok(client) => {
            let web = Web { client, base_url };
            if found.note(Trial::BaseUrl, web.leads_to(file, bytes).await).is_some() {
                found.note(Trial::Range, web.gives_ranges(file, bytes).await);
                found.note(Trial::Missing, web.tells_missing().await);
                found.note(Trial::Cors, web.is_open_to_pages(file).await);
            }
        }
    }
    // What is wrong with the web server is told once.
    if let Some((store, snapshot)) = store.filter(|(store, _)| found.0.is_empty() || !store.url.starts_with(base_url)) {
        let broken = |error: crate::Error| match store.url.starts_with(base_url) {
            true => format!("{error}; {REMEDY}"),
            false => error.to_string(),
        };
        if let Some(cube) = found.note(Trial::Open, opened(store, broken).await) {
            // One that is no copy may have grown meanwhile.
            if store.url.starts_with(base_url) && cube.snapshot != snapshot {
                let other = format!(
                    "{} is in another state ({}) than was published ({snapshot}): --base-url leads elsewhere, or a cache keeps \
                     old files",
                    store.url, cube.snapshot
                );
                found.note::<()>(Trial::BaseUrl, Err(other));
            }
            found.note(Trial::Tile, tile(&cube, broken).await);
        }
    }
    found.0
}

/// What was found so far.
struct Hindrances(Vec<Hindrance>);

impl Hindrances {
    fn note<T>(&mut self, trial: Trial, outcome: Result<T, String>) -> Option<T> {
        outcome.map_err(|reason| self.0.push(Hindrance { trial, reason })).ok()
    }
}

/// The web server of a publication.
struct Web<'a> {
    client: Client,
    base_url: &'a str,
}

impl Web<'_> {
    async fn get(&self, path: &str, header: Option<(reqwest::header::HeaderName, &str)>) -> Result<Response, String> {
        let url = format!("{}{path}", self.base_url);
        let mut request = self.client.get(&url);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        request.send().await.map_err(|error| {
            format!(
                "{url} does not answer ({}): check --base-url and that the place is served",
                one_line(&error.without_url())
            )
        })
    }

    async fn leads_to(&self, file: &str, bytes: &[u8]) -> Result<(), String> {
        let url = format!("{}{file}", self.base_url);
        let response = self.get(file, None).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(format!(
                    "{url} is refused to strangers ({}): make the bucket public to read",
                    response.status()
                ));
            }
            status => {
                return Err(format!(
                    "{url} is answered by {status}: --base-url does not lead to what was written, or it was lost there \
                     (`--restore` writes it again)"
                ));
            }
        }
        let text = beginning(response, COMPARED).await.map_err(|error| format!("{url}: {error}"))?;
        if Some(text.as_slice()) == bytes.get(..COMPARED.min(bytes.len())) {
            Ok(())
        } else {
            Err(format!(
                "{url} is another file than was written: --base-url leads elsewhere, or a cache keeps old files"
            ))
        }
    }

    async fn gives_ranges(&self, file: &str, bytes: &[u8]) -> Result<(), String> {
        let response = self.get(file, Some((RANGE, "bytes=1-8"))).await?;
        if response.status() == StatusCode::PARTIAL_CONTENT {
            let part = beginning(response, 9).await.map_err(|error| format!("{}{file}: {error}", self.base_url))?;
            if Some(part.as_slice()) == bytes.get(1..9) {
                return Ok(());
            }
        }
        Err(format!(
            "{} answers a request for a part of a file with something else: readers need Range requests; serve it by a \
             web server or bucket that knows them",
            self.base_url
        ))
    }

    async fn tells_missing(&self) -> Result<(), String> {
        let response = self.get("s2ice-no-such-file", None).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(()),
            StatusCode::FORBIDDEN => Err(format!(
                "{} answers 403 for a file that is not there, which readers take for a refusal: let strangers list the \
                 bucket (s3:ListBucket)",
                self.base_url
            )),
            status => Err(format!(
                "{} answers {status} for a file that is not there: readers need 404; switch off the page that stands for \
                 missing ones",
                self.base_url
            )),
        }
    }

    async fn is_open_to_pages(&self, file: &str) -> Result<(), String> {
        let response = self.get(file, Some((ORIGIN, "https://example.org"))).await?;
        if response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            return Ok(());
        }
        Err(format!(
            "{} sends no Access-Control-Allow-Origin: readers in browsers are shut out; allow GET and HEAD from any origin \
             (CORS)",
            self.base_url
        ))
    }
}

/// The first bytes of an answer, `most` at the most: what is behind the address may be anybody's, and have no end.
async fn beginning(mut response: Response, most: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while bytes.len() < most {
        let next = response.chunk().await.map_err(|error| {
            format!("it was not sent to its end ({}); check what serves the place", one_line(&error.without_url()))
        })?;
        let Some(next) = next else { break };
        bytes.extend_from_slice(next.get(..next.len().min(most - bytes.len())).unwrap_or_default());
    }
    Ok(bytes)
}

/// Opens a store as a stranger does; `broken` is told of one that cannot be read.
async fn opened(store: &Reached, broken: impl Fn(crate::Error) -> String) -> Result<Cube, String> {
    let url = SourceUrl::parse(&store.url).map_err(|error| error.to_string())?;
    let target = Target::open(url, options(store)).await.map_err(|error| error.to_string())?;
    // In a bucket whose files may not be listed, one that is not there is refused: Icechunk would not open the store.
    let source = Source::open(target.url(), target.options()).map_err(|error| error.to_string())?;
    match source.get_range("s2ice-no-such-file", 0..1).await {
        Err(SourceError::Denied { .. }) => {
            return Err(format!(
                "{} is not open to strangers, or does not let them list: allow everybody s3:GetObject and s3:ListBucket",
                store.url
            ));
        }
        Err(SourceError::Missing { .. }) | Ok(_) => {}
        Err(error) => return Err(error.to_string()),
    }
    Cube::open(&target, None).await.map_err(|error| match error {
        crate::Error::Location(error) => told(error),
        crate::Error::Icechunk { url, detail, .. } if detail.contains("403") => refused(&url, &detail),
        crate::Error::NoStore { url } => {
            format!("there is no store at {url}: check --base-url; a copy that was lost is made again by `--restore`")
        }
        error => broken(error),
    })
}

/// What kept a stranger from a file, with what its owner can do.
fn told(error: SourceError) -> String {
    match error {
        SourceError::Denied { url, detail } => refused(&url, &detail),
        error => error.to_string(),
    }
}

fn refused(url: &str, detail: &str) -> String {
    format!("{url} is refused to strangers ({detail}): make it public to read")
}

/// Reads the beginning of the newest tile that a reference names, where no keys are needed.
async fn tile(cube: &Cube, broken: impl Fn(crate::Error) -> String) -> Result<(), String> {
    let rasters = cube.rasters(&Selection::default()).map_err(&broken)?;
    let Some(newest) = rasters.iter().max_by_key(|raster| raster.step.time_ms) else { return Ok(()) };
    let references = cube.references(newest).await.map_err(broken)?;
    let Some(first) = references.first() else { return Ok(()) };
    let address = cube.address(first);
    let Some(reached) = cube.container_of(first).map(Reached::behind) else { return Ok(()) };
    if !reached.anonymous {
        return Ok(());
    }
    if reached.is_local() {
        return Err(
            "the product files lie on the machine that publishes, where nobody else reaches them: give --source-url, \
                    the address at which others do"
                .to_owned(),
        );
    }
    let (folder, path) = SourceUrl::parse_file(&address).map_err(|error| error.to_string())?;
    let source = Source::open(&folder, &options(&reached)).map_err(|error| error.to_string())?;
    let begin = first.reference.offset;
    let got = source.get_range(&path, begin..begin + 2).await.map_err(told)?;
    if newest.array.header.encoding.kind() == SourceKind::Jp2 && got.bytes.as_ref() != SOT {
        return Err(format!("{address} has no tile at byte {begin}: it is another file than was indexed"));
    }
    Ok(())
}

fn options(reached: &Reached) -> SourceOptions {
    SourceOptions { anonymous: true, request_payer: false, ..reached.options() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_answer_without_end_is_read_to_its_bound() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/", server.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut client, _) = server.accept().unwrap();
            let _ = client.read(&mut [0; 4096]).unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            while client.write_all(&[7; 4096]).is_ok() {}
        });
        let response = Client::builder().timeout(PATIENCE).build().unwrap().get(&address).send().await.unwrap();
        assert_eq!(beginning(response, 5000).await, Ok(vec![7; 5000]));
    }
}
