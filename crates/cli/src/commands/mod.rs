//! One file per command.

pub mod build;
pub mod diff;
pub mod index;
pub mod info;
pub mod manifest;
pub mod schemas;

use crate::args::Global;
use crate::exit::Failure;

/// Tells what long work did: as JSON, in words, or, asked to be quiet, not at all.
fn summarise<R: serde::Serialize>(report: &R, global: &Global, render: fn(&R) -> String) -> Result<(), Failure> {
    if global.json {
        print_json(report)
    } else if global.quiet {
        Ok(())
    } else {
        print(&render(report))
    }
}

/// Prints a report as JSON on standard output.
fn print_json(report: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(report).map_err(Failure::fault)?;
    print(&format!("{text}\n"))
}

/// Prints text on standard output; a closed pipe is no error.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::fault(error)),
        _ => Ok(()),
    }
}
