//! One piece of work apart from the others: what it does, how long it takes and how it dies is its own affair.

use std::future::Future;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinError;
use tokio::time::Instant;
use tracing::Span;

/// Becomes ready when the run shall stop. Clones share it.
pub type Stop = Shared<BoxFuture<'static, ()>>;

/// Makes a [`Stop`] of a future.
pub fn stop(told: impl Future<Output = ()> + Send + 'static) -> Stop {
    told.boxed().shared()
}

/// How a piece of work ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End<T> {
    /// By itself.
    Done(T),
    /// It was given up after its time.
    TimedOut,
    /// It was stopped with the run.
    Interrupted,
    /// The run was stopped before it began.
    NotBegun,
    /// It panicked.
    Panicked(String),
}

/// Runs the work on a thread of its own, for as long as `limit`, in which the time that it `waited` for others does not
/// count. When this returns, the work has ended or its future has been dropped, and with
/// that has cleaned up; that may take its time and holds up no other work.
pub async fn supervise<T, W, F>(work: W, limit: Option<Duration>, waited: impl Fn() -> Duration, stop: Stop) -> End<T>
where
    T: Send + 'static,
    W: FnOnce() -> F + Send + 'static,
    F: Future<Output = T>,
{
    if stop.clone().now_or_never().is_some() {
        return End::NotBegun;
    }
    let runtime = Handle::current();
    let (give_up, given_up) = oneshot::channel::<()>();
    let span = Span::current();
    let mut task = tokio::task::spawn_blocking(move || {
        let _entered = span.entered();
        runtime.block_on(async {
            tokio::select! {
                biased;
                result = work() => Some(result),
                // Also when nobody waits for the work any more.
                _ = given_up => None,
            }
        })
    });
    let late = async {
        match limit {
            Some(limit) => {
                let started = Instant::now();
                loop {
                    let left = limit.saturating_sub(started.elapsed().saturating_sub(waited()));
                    if left.is_zero() {
                        break;
                    }
                    tokio::time::sleep(left).await;
                }
            }
            None => std::future::pending().await,
        }
    };
    let why = tokio::select! {
        biased;
        ended = &mut task => return outcome(ended, End::Interrupted),
        () = stop => End::Interrupted,
        () = late => End::TimedOut,
    };
    let _ = give_up.send(());
    // The work may end by itself while it is told to stop: then its result counts.
    outcome(task.await, why)
}

fn outcome<T>(ended: Result<Option<T>, JoinError>, why: End<T>) -> End<T> {
    match ended {
        Ok(Some(result)) => End::Done(result),
        Ok(None) => why,
        Err(error) => {
            let text = error.try_into_panic().ok().and_then(|payload| {
                let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
                text.or_else(|| payload.downcast_ref::<String>().cloned())
            });
            let line = text.as_deref().and_then(|text| text.lines().next()).unwrap_or("no message");
            End::Panicked(line.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    struct Cleans(Arc<AtomicBool>);

    impl Drop for Cleans {
        fn drop(&mut self) {
            std::thread::sleep(Duration::from_millis(50));
            self.0.store(true, Ordering::SeqCst);
        }
    }

    fn never() -> Stop {
        stop(std::future::pending())
    }

    fn at_once() -> Duration {
        Duration::ZERO
    }

    async fn endless(cleaned: Arc<AtomicBool>) {
        let _guard = Cleans(cleaned);
        std::future::pending::<()>().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_result_is_handed_on() {
        assert_eq!(supervise(|| async { 7 }, Some(Duration::from_secs(60)), at_once, never()).await, End::Done(7));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_is_an_end_like_others() {
        assert_eq!(
            supervise(|| async { panic!("first\nsecond") }, None, at_once, never()).await,
            End::<()>::Panicked("first".into())
        );
        let number = 3;
        let formatted = supervise(move || async move { panic!("at {number}") }, None, at_once, never()).await;
        assert_eq!(formatted, End::<()>::Panicked("at 3".into()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn late_work_has_cleaned_up_when_it_is_told() {
        let cleaned = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&cleaned);
        let end = supervise(|| endless(told), Some(Duration::from_millis(20)), at_once, never()).await;
        assert_eq!(end, End::TimedOut);
        assert!(cleaned.load(Ordering::SeqCst));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn waiting_for_others_is_none_of_its_time() {
        let started = Instant::now();
        let waited = || Duration::from_millis(100).min(started.elapsed());
        let work = || tokio::time::sleep(Duration::from_millis(60));
        assert_eq!(supervise(work, Some(Duration::from_millis(20)), waited, never()).await, End::Done(()));
        let work = || tokio::time::sleep(Duration::from_secs(60));
        assert_eq!(supervise(work, Some(Duration::from_millis(20)), waited, never()).await, End::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stop_ends_what_runs_and_what_waits() {
        let (sender, receiver) = oneshot::channel::<()>();
        let told = stop(async move {
            let _ = receiver.await;
        });
        let cleaned = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&cleaned);
        let running = tokio::spawn(supervise(|| endless(seen), None, at_once, told.clone()));
        tokio::time::sleep(Duration::from_millis(20)).await;
        sender.send(()).unwrap();
        assert_eq!(running.await.unwrap(), End::Interrupted);
        assert!(cleaned.load(Ordering::SeqCst));
        assert_eq!(supervise(|| async { 1 }, None, at_once, told).await, End::NotBegun);
    }
}
