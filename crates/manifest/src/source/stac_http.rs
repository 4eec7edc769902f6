//! A polite HTTP client for catalogues: paced, patient, bounded, and loyal to one host.
//!
//! `stac-io` has a client too; it follows links and redirects to any host, knows neither `Retry-After` nor a limit of
//! size, and gives up a whole page for one item that it does not understand. Its client builder (which brings TLS) and the request types of `stac` are used, not its client.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode, header};
use serde_json::{Map, Value};
use stac_io::api::ClientBuilder;
use url::Url;

use super::budget::{Budget, Fault, Limits, retry_after, spread};
use super::location::SourceOptions;
use super::secret::{Secret, foreign};
use super::stac_error::{StacLoadError, shown};

/// How to treat a catalogue.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct StacOptions {
    /// Requests per second at most; CDSE allows 5.
    pub requests_per_second: f64,
    /// Attempts per request, the first included.
    pub attempts: u32,
    /// Seconds that one attempt may take.
    pub timeout_seconds: f64,
    /// Seconds before the second attempt; doubled from attempt to attempt.
    pub backoff_seconds: f64,
    /// Longest wait that a server may ask for (`Retry-After`), seconds.
    pub longest_wait_seconds: f64,
    /// Items per page to ask for.
    pub page_size: u32,
    /// Most items of one search; what is beyond leaves the answer incomplete.
    pub max_items: usize,
    /// Most pages of one search, likewise.
    pub max_pages: usize,
    /// Most bytes of one response, or of one JSON file.
    pub max_bytes: u64,
    /// Further headers of every request, such as `authorization`; they go to the named host only. `${NAME}` stands for an
    /// environment variable.
    pub headers: BTreeMap<String, Secret>,
    /// How to reach a file on object storage.
    pub storage: SourceOptions,
}

impl Default for StacOptions {
    fn default() -> Self {
        Self {
            requests_per_second: 5.0,
            attempts: 6,
            timeout_seconds: 60.0,
            backoff_seconds: 0.5,
            longest_wait_seconds: 120.0,
            page_size: 250,
            max_items: 10_000,
            max_pages: 1_000,
            max_bytes: 512 << 20,
            headers: BTreeMap::new(),
            storage: SourceOptions::default(),
        }
    }
}

impl StacOptions {
    /// Finds what a search would fail by, without asking.
    ///
    /// # Errors
    /// The key, as it is written, and what is wrong with its value.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        // What is longer than a year, or rarer, is a slip.
        const YEAR: f64 = 366.0 * 86_400.0;
        let positive = |key, value: f64| match (1.0 / YEAR..=YEAR).contains(&value) {
            true => Ok(()),
            false => Err((key, format!("{value} is no number above 0 that makes sense"))),
        };
        positive("requests-per-second", self.requests_per_second)?;
        positive("timeout-seconds", self.timeout_seconds)?;
        positive("backoff-seconds", self.backoff_seconds)?;
        positive("longest-wait-seconds", self.longest_wait_seconds)?;
        let counts = [
            ("attempts", u64::from(self.attempts)),
            ("page-size", u64::from(self.page_size)),
            ("max-items", self.max_items as u64),
            ("max-pages", self.max_pages as u64),
            ("max-bytes", self.max_bytes),
        ];
        if let Some((key, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err((key, "0 would ask for nothing: give 1 or more".to_owned()));
        }
        self.sent_headers().map(drop).map_err(|reason| ("headers", reason))
    }

    /// The headers as they are sent.
    fn sent_headers(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let key = HeaderName::try_from(name)
                .map_err(|_| "one of its keys is no name of a header: write NAME: VALUE or NAME=VALUE".to_owned())?;
            let value = value.reveal().map_err(|error| format!("{name}: {error}"))?;
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| format!("{name}: its value is none that a header can have"))?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        Ok(headers)
    }
}

/// A request of a search: the page's address and, for POST, its body.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) url: Url,
    /// POST where there is a body, GET otherwise.
    pub(super) body: Option<Map<String, Value>>,
    /// Headers that a next link asks for.
    pub(super) headers: Vec<(String, String)>,
}

impl Request {
    pub(super) fn get(url: Url) -> Self {
        Self { url, body: None, headers: Vec::new() }
    }
}

/// A client for one origin.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    origin: url::Origin,
    options: StacOptions,
    headers: HeaderMap,
    budget: Arc<Budget>,
    backoff: Duration,
    longest_wait: Duration,
    requests: AtomicU64,
}

/// What one attempt came to.
enum Failure {
    Final(StacLoadError),
    /// Another attempt may help, after the wait that the server asks for.
    Passing {
        error: StacLoadError,
        wait: Option<Duration>,
        attempts: u32,
    },
}

impl Client {
    /// A client that speaks to the origin (scheme, host, port) of `url` and to no other.
    pub(super) fn new(url: &Url, options: &StacOptions) -> Result<Self, StacLoadError> {
        let seconds = |option, value: f64| {
            Duration::try_from_secs_f64(value).map_err(|_| StacLoadError::BadOption { option, value })
        };
        let rate = options.requests_per_second;
        seconds("requests_per_second", 1.0 / rate)
            .map_err(|_| StacLoadError::BadOption { option: "requests_per_second", value: rate })?;
        let headers = options.sent_headers().map_err(|reason| StacLoadError::BadHeaders { reason })?;
        let origin = url.origin();
        let limits = Limits { requests_per_second: Some(rate), ..Limits::default() };
        let budget = options.storage.ledger.budget(&origin.ascii_serialization(), limits);
        let home = origin.clone();
        let policy = Policy::custom(move |attempt| {
            if attempt.url().origin() == home && attempt.previous().len() < 10 {
                attempt.follow()
            } else {
                attempt.stop()
            }
        });
        let timeout = seconds("timeout_seconds", options.timeout_seconds)?;
        let http = ClientBuilder::new()
            .user_agent(concat!("s2ice/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .connect_timeout(timeout.min(Duration::from_secs(10)))
            .redirect(policy)
            .build()
            .map_err(|error| StacLoadError::Unreachable { url: shown(url), problem: causes(&error) })?;
        Ok(Self {
            http,
            origin,
            budget,
            backoff: seconds("backoff_seconds", options.backoff_seconds)?,
            longest_wait: seconds("longest_wait_seconds", options.longest_wait_seconds)?,
            options: options.clone(),
            headers,
            requests: AtomicU64::new(0),
        })
    }

    pub(super) fn options(&self) -> &StacOptions {
        &self.options
    }

    /// Requests sent so far, repeated attempts included.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The target of a link in a document from `base`, if it stays on the named host.
    pub(super) fn link(&self, base: &Url, href: &str) -> Result<Url, StacLoadError> {
        let bad =
            |problem: url::ParseError| StacLoadError::BadUrl { input: href.to_owned(), problem: problem.to_string() };
        let target = base.join(href).map_err(bad)?;
        if target.origin() == self.origin {
            Ok(target)
        } else {
            Err(StacLoadError::OtherHost { url: shown(base), target: shown(&target) })
        }
    }

    /// The response as JSON.
    pub(super) async fn json(&self, request: &Request) -> Result<Value, StacLoadError> {
        let bytes = self.bytes(request).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| StacLoadError::NotJson { place: shown(&request.url), problem: error.to_string() })
    }

    /// The body of a successful response, after as many attempts as it takes and the options allow.
    pub(super) async fn bytes(&self, request: &Request) -> Result<Vec<u8>, StacLoadError> {
        let mut attempt = 1;
        loop {
            let (error, wait) = match self.attempt(request).await {
                Ok(bytes) => return Ok(bytes),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing { error, attempts, .. }) if attempt >= attempts.min(self.options.attempts) => {
                    return Err(error);
                }
                Err(Failure::Passing { error, wait, .. }) => (error, wait.unwrap_or_else(|| self.backoff(attempt))),
            };
            if wait > self.longest_wait {
                return Err(StacLoadError::WaitTooLong { url: shown(&request.url), seconds: wait.as_secs() });
            }
            tracing::debug!(%error, attempt, wait_seconds = wait.as_secs_f64(), "the catalogue is asked again");
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// Doubled from attempt to attempt, and spread by the attempt's number.
    fn backoff(&self, attempt: u32) -> Duration {
        let doubled = self.backoff.saturating_mul(1_u32.checked_shl(attempt - 1).unwrap_or(u32::MAX));
        doubled.min(self.longest_wait).mul_f64(spread(u64::from(attempt))).min(self.longest_wait)
    }

    async fn attempt(&self, request: &Request) -> Result<Vec<u8>, Failure> {
        let path = request.url.path();
        let permit = self.budget.enter(self.options.storage.ledger.party(), path).await;
        let permit = permit.map_err(|error| Failure::Final(error.into()))?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let url = || shown(&request.url);
        let lost = |error: reqwest::Error| {
            // A wrong address does not become right, and who is silent once will be so again: do not try for long.
            let attempts = match (error.is_connect(), error.is_timeout()) {
                (true, _) => 3,
                (_, true) => 2,
                _ => u32::MAX,
            };
            if error.is_connect() {
                permit.failed(Fault::Unreachable);
            } else if error.is_timeout() {
                permit.failed(Fault::Silent);
            }
            let error = StacLoadError::Unreachable { url: url(), problem: causes(&error.without_url()) };
            Failure::Passing { attempts, error, wait: None }
        };

        let mut builder = match &request.body {
            None => self.http.request(Method::GET, request.url.clone()),
            Some(body) => self
                .http
                .request(Method::POST, request.url.clone())
                .header(header::CONTENT_TYPE, "application/json")
                .body(Value::Object(body.clone()).to_string()),
        };
        builder = builder.header(header::ACCEPT, "application/geo+json, application/json;q=0.9, */*;q=0.1");
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        builder = builder.headers(self.headers.clone());
        let mut response = builder.send().await.map_err(lost)?;
        let status = response.status();
        if status.is_redirection() {
            let target = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
            // No more than the host: it may repeat what it was sent.
            let target = request.url.join(target).map(|to| to.origin().ascii_serialization());
            let target = foreign(target.as_deref().unwrap_or("nowhere")).into_owned();
            return Err(Failure::Final(StacLoadError::OtherHost { url: url(), target }));
        }
        let limit = self.options.max_bytes;
        let too_large = || Failure::Final(StacLoadError::TooLarge { place: url(), limit });
        if status.is_success() && response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let wait = retry_after(response.headers());
        permit.answered(status.as_u16(), wait);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            permit.received(chunk.len() as u64);
            body.extend_from_slice(&chunk);
            if body.len() as u64 > limit {
                return Err(too_large());
            }
            if !status.is_success() && body.len() > 4096 {
                break;
            }
        }
        if status.is_success() {
            return Ok(body);
        }
        let error =
            StacLoadError::Status { url: url(), status: status.as_u16(), hint: hint(status), detail: excerpt(&body) };
        if let (429 | 503, Some(wait)) = (status.as_u16(), wait) {
            self.budget.pause(wait);
        }
        Err(match Fault::of(status.as_u16()) {
            Some(Fault::Failing(_) | Fault::Busy(_)) => Failure::Passing { error, wait, attempts: u32::MAX },
            _ => Failure::Final(error),
        })
    }
}

/// An error with the errors behind it, as one text.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        // Writing to a String does not fail.
        let _ = write!(text, ": {inner}");
        cause = inner.source();
    }
    foreign(&text).into_owned()
}

fn hint(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => " (not allowed: give the header that it wants by --stac-header or `headers` in [stac-options])",
        404 | 405 => " (no such address: is this the root of a STAC API?)",
        429 => " (too many requests: lower `requests-per-second` in [stac-options])",
        _ => "",
    }
}

/// The beginning of an error page, as one line.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // It may repeat what it was sent.
    let line: String = foreign(&line).chars().filter(|c| !c.is_control()).take(200).collect();
    if line.is_empty() { line } else { format!(": {line}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn waits_grow_and_are_bounded() {
        let options = StacOptions { longest_wait_seconds: 10.0, ..StacOptions::default() };
        let client = Client::new(&"http://localhost/".parse().unwrap(), &options).unwrap();
        let waits: Vec<_> = (1..40).map(|attempt| client.backoff(attempt).as_secs_f64()).collect();
        assert!(waits[..4].windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
        assert!(waits.iter().all(|wait| (0.3..=10.0).contains(wait)), "{waits:?}");
    }

    #[test]
    fn options_out_of_range_are_refused() {
        let url = "http://localhost/".parse().unwrap();
        for rate in [0.0, -1.0, f64::NAN] {
            let options = StacOptions { requests_per_second: rate, ..StacOptions::default() };
            assert!(matches!(Client::new(&url, &options), Err(StacLoadError::BadOption { .. })));
        }
    }
}
