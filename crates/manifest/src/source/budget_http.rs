//! Every request of a source's client passes its host's budget, where it really goes out: object_store's own repeated
//! attempts too, of which it does not tell.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    ReqwestConnector,
};

use super::budget::{Fault, Ledger, Limits, Permit, retry_after};
use super::location::SourceStats;

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
        let response = self.inner.execute(request).await.inspect_err(|error| tell(&permit, error))?;
        let (status, wait) = (response.status().as_u16(), retry_after(response.headers()));
        if let (429 | 503, Some(wait)) = (status, wait) {
            budget.pause(wait);
        }
        permit.answered(status, wait);
        let (parts, body) = response.into_parts();
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(Metered { body, permit: Some(permit) })))
    }
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
