//! Runs the asynchronous work of the other crates while Python keeps its say: signals and the progress callback.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use s2ice_store::progress::{Phase, Progress};

/// How often Python is asked for a pending Ctrl-C and told of progress.
const TICK: Duration = Duration::from_millis(100);

/// Counts what the work tells; `run` passes it on.
#[derive(Default)]
pub(crate) struct Counter {
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct State {
    phase: Option<Phase>,
    done: u64,
    total: Option<u64>,
}

impl Counter {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Counter {
    fn begin(&self, phase: Phase, total: Option<u64>) {
        *self.lock() = State { phase: Some(phase), done: 0, total };
    }

    fn advance(&self, count: u64) {
        let mut state = self.lock();
        state.done = state.done.saturating_add(count);
    }

    fn end(&self) {}
}

/// Runs a future to its end with the GIL released. An exception of the callback, Ctrl-C included, drops the future.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    counter: &Arc<Counter>,
    callback: Option<&Py<PyAny>>,
    work: impl Future<Output = T> + Send,
) -> PyResult<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = py.detach(|| runtime.block_on(attended(counter, callback, work)));
    // Requests still under way need no answer any more.
    runtime.shutdown_timeout(Duration::from_millis(200));
    outcome
}

async fn attended<T>(counter: &Counter, callback: Option<&Py<PyAny>>, work: impl Future<Output = T>) -> PyResult<T> {
    let mut told = State::default();
    let mut tell = |signals: bool| -> PyResult<()> {
        let state = *counter.lock();
        Python::attach(|py| {
            if signals {
                py.check_signals()?;
            }
            let (Some(callback), Some(phase)) = (callback, state.phase) else { return Ok(()) };
            if state != told {
                told = state;
                callback.call1(py, (phase.label(), state.done, state.total))?;
            }
            Ok(())
        })
    };
    let mut ticks = tokio::time::interval(TICK);
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            outcome = &mut work => {
                // Nothing is left to interrupt; Python sees a pending Ctrl-C when it has the result.
                tell(false)?;
                return Ok(outcome);
            }
            _ = ticks.tick() => tell(true)?,
        }
    }
}
