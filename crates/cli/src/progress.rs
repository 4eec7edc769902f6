//! Progress bars: the only place that draws on a terminal.

use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use s2ice_fleet::told::Steps;
use s2ice_store::progress::{Phase, Progress};

/// Everything that is drawn, on standard error where that is a terminal.
static SCREEN: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Writes to standard error with the bars out of the way.
pub fn aside(write: impl FnOnce()) {
    SCREEN.suspend(write);
}

/// A bar of `total` steps, or a spinner.
fn drawn(total: Option<u64>, label: &'static str) -> ProgressBar {
    let (template, bar) = match total {
        Some(total) => ("{msg:28} [{bar:32}] {human_pos}/{human_len} {eta}", ProgressBar::new(total)),
        None => ("{msg:28} {spinner} {human_pos}", ProgressBar::no_length()),
    };
    let bar = SCREEN.add(bar);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(label);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A bar for each phase, and the log.
pub struct Bars {
    current: Mutex<Option<ProgressBar>>,
    shown: bool,
}

impl Bars {
    /// Draws nothing where `shown` is false.
    pub fn new(shown: bool) -> Self {
        Self { current: Mutex::new(None), shown }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Option<ProgressBar>> {
        self.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Progress for Bars {
    fn begin(&self, phase: Phase, total: Option<u64>) {
        Steps.begin(phase, total);
        let bar = self.shown.then(|| drawn(total, phase.label()));
        if let Some(old) = std::mem::replace(&mut *self.current(), bar) {
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

/// A bar over the tiles of a run.
pub struct TileBar(Option<ProgressBar>);

impl TileBar {
    /// Draws nothing where `shown` is false.
    pub fn new(total: usize, label: &'static str, shown: bool) -> Self {
        Self(shown.then(|| drawn(Some(total as u64), label)))
    }

    /// A tile ended.
    pub fn ended(&self) {
        self.0.iter().for_each(|bar| bar.inc(1));
    }

    /// All did.
    pub fn finish(&self) {
        self.0.iter().for_each(ProgressBar::finish_and_clear);
    }
}
