//! From a client library's error to the sentence a person can act on.

use std::error::Error as StdError;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use super::super::budget::{BudgetError, Fault};
use super::super::secret::foreign;
use super::{Effective, SourceError, SourceUrl};

/// What was going on.
pub(super) struct Context<'a> {
    pub(super) source: &'a SourceUrl,
    pub(super) effective: &'a Effective,
    /// Address of the object or folder concerned.
    pub(super) url: &'a str,
    /// First byte asked for.
    pub(super) offset: u64,
}

/// Status of an answer, as the client's text tells it (its type is not public).
pub(super) fn status(text: &str) -> Option<u16> {
    let at = text.find("status code: ")?;
    text.get(at + 13..at + 16)?.parse().ok()
}

/// True where the same request may succeed in a while: throttled or a failing server.
pub(super) fn is_transient(error: &Error) -> bool {
    matches!(error, Error::Generic { .. }) && status(&error.to_string()).is_some_and(is_passing)
}

fn is_passing(status: u16) -> bool {
    matches!(Fault::of(status), Some(Fault::Failing(_) | Fault::Busy(_)))
}

pub(super) fn classify(error: &Error, context: &Context<'_>) -> SourceError {
    if let Some(budget) = find::<BudgetError>(error) {
        return budget.clone().into();
    }
    let url = context.url.to_owned();
    let text = error.to_string();
    match error {
        // Credentials are looked for at the machine's metadata service last.
        _ if text.contains("169.254.169.254") || text.contains("metadata.google.internal") => {
            SourceError::NoCredentials { url }
        }
        // The client takes 405 for 404.
        Error::NotFound { .. } => by_status(status(&text).unwrap_or(404), &text, context),
        Error::PermissionDenied { .. } => by_status(403, &text, context),
        Error::Unauthenticated { .. } => by_status(401, &text, context),
        _ => by_cause(error, &text, context),
    }
}

fn by_cause(error: &Error, text: &str, context: &Context<'_>) -> SourceError {
    let url = context.url.to_owned();
    if let Some(kind) = http_kind(error) {
        match kind {
            HttpErrorKind::Connect => return SourceError::Unreachable { url, detail: innermost(error) },
            HttpErrorKind::Timeout => return SourceError::Timeout { url },
            HttpErrorKind::Request | HttpErrorKind::Interrupted => {
                return SourceError::Failing { url, detail: innermost(error) };
            }
            _ => {}
        }
    }
    if ["non-partial response", "Range not supported", "Range request not supported"]
        .iter()
        .any(|hint| text.contains(hint))
    {
        return SourceError::NoRange { url };
    }
    let redirected = text.contains("redirect without LOCATION") || text.contains("PermanentRedirect");
    if redirected && !context.source.scheme().is_web() {
        let region = context.effective.region.clone().unwrap_or_else(|| "us-east-1".to_owned());
        return SourceError::WrongRegion { bucket: context.source.authority().to_owned(), region };
    }
    match status(text) {
        Some(status) => by_status(status, text, context),
        None => match innermost(error) {
            cause if cause.starts_with("Wanted range starting at") => {
                SourceError::PastEnd { url, offset: context.offset }
            }
            detail => SourceError::Other { url, detail },
        },
    }
}

fn by_status(status: u16, text: &str, context: &Context<'_>) -> SourceError {
    let url = context.url.to_owned();
    let code = tag(text, "Code");
    let detail = code.map_or_else(|| status.to_string(), |code| format!("{status} {code}"));
    match status {
        401 | 403 => SourceError::Denied { url, detail },
        400 if code.is_some_and(is_about_keys) => SourceError::Denied { url, detail },
        status if is_passing(status) => SourceError::Failing { url, detail: format!("the server answered {detail}") },
        404 if matches!(code, Some("NoSuchBucket" | "ContainerNotFound")) => no_bucket(context),
        404 if is_page(text) && !context.source.scheme().is_web() => {
            SourceError::WrongEndpoint { url, detail: "404 with a web page".to_owned() }
        }
        404 | 410 => SourceError::Missing { url },
        416 => SourceError::PastEnd { url, offset: context.offset },
        301..=399 | 405 | 501 => SourceError::WrongEndpoint { url, detail: format!("status {status}") },
        _ if is_page(text) => SourceError::WrongEndpoint { url, detail: format!("status {status} with a web page") },
        _ => SourceError::Other { url, detail: format!("the server answered {detail}") },
    }
}

/// Errors of Amazon's with status 400 that other services answer with 403 (S3 API reference, "Error responses").
fn is_about_keys(code: &str) -> bool {
    matches!(code, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired")
}

fn no_bucket(context: &Context<'_>) -> SourceError {
    let endpoint = context.effective.endpoint.clone().unwrap_or_else(|| "the service's own endpoint".to_owned());
    SourceError::NoBucket { bucket: context.source.authority().to_owned(), endpoint }
}

fn is_page(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.contains("<html") || lower.contains("<!doctype html")
}

/// Contents of an element of an XML error document.
fn tag<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inner, _) = rest.split_once(&format!("</{name}>"))?;
    (inner.len() <= 64).then_some(inner)
}

fn http_kind(error: &(dyn StdError + 'static)) -> Option<HttpErrorKind> {
    find::<HttpError>(error).map(HttpError::kind)
}

/// The first error of a kind in a chain of causes.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The last cause of a chain: the one without the library's own wrapping.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let text = last.to_string();
    // A service may repeat what it was sent.
    let mut line = foreign(&text.split_whitespace().collect::<Vec<_>>().join(" ")).into_owned();
    if line.chars().count() > 300 {
        line = line.chars().take(300).chain("...".chars()).collect();
    }
    line
}
