//! The log on standard error: one line for each event, text for people or JSON for machines. Every line names the run, and
//! within a tile the tile.

pub mod line;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

pub use s2ice_fleet::told::OUTCOME;

use self::line::{Line, Said};
use crate::args::{Global, LogFormat};
use crate::{clock, progress};
use s2ice_manifest::source::secret::masked;

/// Lets the events of this process be written; `run` is the name that each line bears.
pub fn start(global: &Global, run: &str) {
    // https://no-color.org: any value but an empty one.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let log = Log {
        run: run.to_owned(),
        format: global.log_format,
        colour: std::io::stderr().is_terminal() && !plain,
        // One write, or a line of another process may come between.
        write: |line: &str| {
            progress::aside(|| {
                let _ = std::io::stderr().lock().write_all(line.as_bytes());
            });
        },
    };
    Registry::default().with(filter(global)).with(log).init();
    std::panic::set_hook(Box::new(tell));
}

/// A panic is a line like others: the tile in which it happened is known at this moment only.
fn tell(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let text = panic.payload_as_str().unwrap_or("no message");
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| format!("\n{backtrace}"));
    let backtrace = backtrace.unwrap_or_default();
    tracing::error!(target: OUTCOME, "a bug in s2ice, please report it: panicked at {place}: {text}{backtrace}");
}

fn filter(global: &Global) -> EnvFilter {
    // What Icechunk warns of here is intended: two writers of a local repository (s2ice holds a lock of its own), stores
    // without user metadata, and a writer without a cache of manifests.
    const INTENDED: &str = "icechunk_arrow_object_store=error,icechunk_storage=error,icechunk::asset_manager=error";
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error".to_owned(),
        (_, 0) => format!("warn,{INTENDED}"),
        (_, 1) => format!("warn,s2ice=info,s2ice_manifest=info,s2ice_store=info,s2ice_fleet=info,{INTENDED}"),
        (_, 2) => "info,s2ice=debug,s2ice_manifest=debug,s2ice_store=debug,s2ice_fleet=debug".to_owned(),
        _ => "debug".to_owned(),
    };
    let filter = EnvFilter::try_from_env("S2ICE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let outcome = if global.quiet { "error" } else { "info" };
    match format!("{OUTCOME}={outcome}").parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    }
}

/// Writes each event as a line.
struct Log<W> {
    run: String,
    format: LogFormat,
    colour: bool,
    write: W,
}

/// The tile of a span.
#[derive(Debug, Clone, Default)]
struct Tile {
    tile: String,
    processing_level: String,
}

impl Visit for Tile {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "tile" => self.tile = format!("{value:?}"),
            "processing_level" => self.processing_level = format!("{value:?}"),
            _ => {}
        }
    }
}

impl<S, W> Layer<S> for Log<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&str) + Send + Sync + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id).filter(|_| attributes.metadata().target() == OUTCOME) else { return };
        let mut tile = Tile::default();
        attributes.record(&mut tile);
        span.extensions_mut().insert(tile);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        let mut spans = context.event_scope(event).into_iter().flatten();
        let tile = spans.find_map(|span| span.extensions().get::<Tile>().cloned());
        let Said { message, fields } = said;
        let line = Line {
            time: clock::text(clock::now()),
            level: (*event.metadata().level()).into(),
            target: event.metadata().target(),
            message,
            run: &self.run,
            tile: tile.as_ref().map(|tile| tile.tile.as_str()),
            processing_level: tile.as_ref().map(|tile| tile.processing_level.as_str()),
            fields,
        };
        let line = match self.format {
            LogFormat::Text => line.text(self.colour),
            LogFormat::Json => line.json(),
        };
        // Of client libraries, too, which know nothing of what is secret.
        (self.write)(&masked(&line));
    }
}

impl From<Level> for line::Severity {
    fn from(level: Level) -> Self {
        match level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warn,
            Level::INFO => Self::Info,
            Level::DEBUG => Self::Debug,
            Level::TRACE => Self::Trace,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::sync::{Arc, Mutex};

    use s2ice_fleet::told::tile;

    use super::*;

    fn logged(format: LogFormat, work: impl FnOnce()) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let write = move |line: &str| kept.lock().unwrap().push(line.to_owned());
        let log = Log { run: "1-2".to_owned(), format, colour: false, write };
        tracing::subscriber::with_default(Registry::default().with(log), work);
        Arc::into_inner(lines).unwrap().into_inner().unwrap()
    }

    #[test]
    fn a_line_names_the_innermost_tile() {
        let lines = logged(LogFormat::Text, || {
            tracing::warn!("before");
            tile(&"33TVN", &"L2A").in_scope(|| {
                let _inner = tracing::info_span!("inner", tile = "none of ours").entered();
                tracing::info!(attempt = 2, file = %"a b", left = None::<u64>, "first\nsecond\u{1b}[31m");
                tracing::error!(target: OUTCOME, outcome = "failed", "failed: no");
            });
        });
        let lines: Vec<&str> = lines.iter().map(|line| line.split_once(' ').unwrap().1).collect();
        let target = module_path!();
        assert_eq!(
            lines,
            [
                format!(" WARN [1-2] {target}: before\n"),
                format!(" INFO [1-2 33TVN L2A] {target}: first\\nsecond\\u{{1b}}[31m attempt=2 file=\"a b\"\n"),
                "ERROR [1-2 33TVN L2A] failed: no\n".to_owned(),
            ]
        );
    }

    #[test]
    fn a_panic_is_a_line_of_its_tile() {
        let lines = logged(LogFormat::Text, || {
            std::panic::set_hook(Box::new(tell));
            let panicked = tile(&"33TVN", &"L2A").in_scope(|| std::panic::catch_unwind(|| panic!("first\nsecond")));
            drop(std::panic::take_hook());
            panicked.unwrap_err();
        });
        assert_eq!(lines.len(), 1);
        assert!(lines[0].contains("ERROR [1-2 33TVN L2A] a bug in s2ice, "), "{}", lines[0]);
        assert!(lines[0].contains(": first\\nsecond"), "{}", lines[0]);
    }

    #[test]
    fn json_has_every_field() {
        let lines = logged(LogFormat::Json, || {
            tile(&"33TVN", &"L1C").in_scope(|| tracing::info!(attempt = 2, share = 0.5, "a \"b\"\n"));
        });
        let value: serde_json::Value = serde_json::from_str(lines[0].strip_suffix('\n').unwrap()).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "time": value["time"], "level": "info", "target": module_path!(), "message": "a \"b\"\n", "run": "1-2",
                "tile": "33TVN", "processing_level": "L1C", "fields": {"attempt": 2, "share": 0.5}
            })
        );
    }
}
