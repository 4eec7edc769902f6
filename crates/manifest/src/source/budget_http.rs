//! Every request of a source's client passes its host's budget, where it really goes out: object_store's own repeated
//! attempts too, of which it does not tell.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http_body::{Body, Frame, SizeHint};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    ReqwestConnector,
};
use reqwest::header::{AGE, DATE, HeaderMap};

use super::budget::{Fault, Ledger, Limits, Permit, retry_after};
use super::location::{Heard, SourceStats};

/// Connects as object_store does, and enters each request in the ledger.
#[derive(Debug, Clone)]
pub(super) struct Budgeted {
    pub(super) ledger: Ledger,
    pub(super) limits: Limits,
    pub(super) stats: Arc<SourceStats>,
}

impl HttpConnector for Budgeted {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Service { inner, budgeted: self.clone() }))
    }
}

#[derive(Debug)]
struct Service {
    inner: HttpClient,
    budgeted: Budgeted,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let Budgeted { ledger, limits, stats } = &self.budgeted;
        let uri = request.uri();
        let origin = match (uri.scheme_str(), uri.authority()) {
            (Some(scheme), Some(authority)) => format!("{scheme}://{authority}"),
            _ => String::new(),
        };
        let budget = ledger.budget(&origin, *limits);
        // Of an unknown kind: it is not tried again.
        let path = uri.path_and_query().map_or_else(String::new, ToString::to_string);
        let permit = budget.enter(ledger.party(), &path).await;
        let permit = permit.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        stats.sent();
        let sent = Instant::now();
        let response = self.inner.execute(request).await.inspect_err(|error| tell(&permit, error))?;
        if let Some(time) = date(response.headers()) {
            stats.hear(Heard { time, at: sent + sent.elapsed() / 2 });
        }
        let (status, wait) = (response.status().as_u16(), retry_after(response.headers()));
        if let (429 | 503, Some(wait)) = (status, wait) {
            budget.pause(wait);
        }
        permit.answered(status, wait);
        let (parts, body) = response.into_parts();
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(Metered { body, permit: Some(permit) })))
    }
}

/// The time of the server when it answered: the middle of the second that it names. An answer out of a cache tells that of
/// another day.
fn date(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    if headers.contains_key(AGE) {
        return None;
    }
    let date = DateTime::parse_from_rfc2822(headers.get(DATE)?.to_str().ok()?).ok()?;
    date.to_utc().checked_add_signed(TimeDelta::milliseconds(500))
}

/// What an error of the connection tells of the host.
fn tell(permit: &Permit, error: &HttpError) {
    match error.kind() {
        HttpErrorKind::Connect => permit.failed(Fault::Unreachable),
        HttpErrorKind::Timeout => permit.failed(Fault::Silent),
        _ => {}
    }
}

/// A response that holds its connection until it is read or dropped, and counts what arrives.
struct Metered {
    body: HttpResponseBody,
    permit: Option<Permit>,
}

impl Body for Metered {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match (&frame, &self.permit) {
            (Some(Ok(frame)), Some(permit)) => {
                permit.received(frame.data_ref().map_or(0, |data| data.len() as u64));
            }
            // The end, or an error after which nothing comes.
            (end, permit) => {
                if let (Some(Err(error)), Some(permit)) = (end, permit) {
                    tell(permit, error);
                }
                self.permit = None;
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn an_answer_tells_its_servers_time() {
        let told = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            date(&HeaderMap::from_iter(pairs)).map(|time| time.timestamp_millis())
        };
        let date = ("date", "Fri, 20 Nov 2026 18:48:18 GMT");
        assert_eq!(told(&[date]), Some(1_795_200_498_500));
        assert_eq!(told(&[date, ("age", "86400")]), None);
        assert_eq!(told(&[("date", "yesterday")]), None);
        assert_eq!(told(&[]), None);
    }
}
