//! Work that would hold up a thread of the runtime.

use tokio::task::JoinHandle;
use tracing::Span;

/// Runs it on a thread for such work, in the span of whoever asks: what it says of itself names the same tile.
pub(crate) fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let span = Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
}
