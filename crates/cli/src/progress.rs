//! Progress bars: the only place that knows a terminal.

use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use s2ice_store::progress::{Phase, Progress};

/// Draws on standard error, where that is a terminal.
pub struct Bars {
    current: Mutex<Option<ProgressBar>>,
    hidden: bool,
}

impl Bars {
    /// `quiet` draws nothing.
    pub fn new(quiet: bool) -> Self {
        Self { current: Mutex::new(None), hidden: quiet }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Option<ProgressBar>> {
        self.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Progress for Bars {
    fn begin(&self, phase: Phase, total: Option<u64>) {
        tracing::info!(?total, "{}", phase.label());
        let target = if self.hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let (template, bar) = match total {
            Some(total) => (
                "{msg:28} [{bar:32}] {human_pos}/{human_len} {eta}",
                ProgressBar::with_draw_target(Some(total), target),
            ),
            None => ("{msg:28} {spinner} {human_pos}", ProgressBar::with_draw_target(None, target)),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(phase.label());
        bar.enable_steady_tick(Duration::from_millis(200));
        if let Some(old) = self.current().replace(bar) {
            old.finish_and_clear();
        }
    }

    fn advance(&self, count: u64) {
        if let Some(bar) = self.current().as_ref() {
            bar.inc(count);
        }
    }

    fn end(&self) {
        if let Some(bar) = self.current().take() {
            bar.finish_and_clear();
        }
    }
}

/// A bar over the tiles of a run, and a line for each that ended.
pub struct TileBar {
    bar: ProgressBar,
    quiet: bool,
}

impl TileBar {
    /// `quiet` tells of failures only.
    pub fn new(total: usize, quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        if let Ok(style) = ProgressStyle::with_template("{msg:28} [{bar:32}] {human_pos}/{human_len} {eta}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message("refreshing tiles");
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, quiet }
    }

    /// A tile ended.
    pub fn ended(&self, line: &str, is_failure: bool) {
        if is_failure || !self.quiet {
            self.bar.suspend(|| eprintln!("{line}"));
        }
        self.bar.inc(1);
    }

    /// All did.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
