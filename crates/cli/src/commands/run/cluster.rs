//! `s2ice run --scheduler`: the tiles are refreshed by a cluster, which Python drives.

use std::process::{Command, ExitStatus};

use crate::args::{Global, RunArgs};
use crate::exit::Failure;

/// Python, where not the one of the path.
const PYTHON: &str = "S2ICE_PYTHON";

/// Runs the driver in the place of this process, where that is possible; its output and its exit code are those of the command.
pub fn run(args: &RunArgs, scheduler: &str, global: &Global) -> Result<(), Failure> {
    let python = std::env::var_os(PYTHON).unwrap_or_else(|| "python3".into());
    let mut command = Command::new(&python);
    command.args(["-m", "s2ice.fleet", "--scheduler", scheduler]);
    for tile in &args.tile {
        command.args(["--tile", tile]);
    }
    if let Some(deadline) = args.deadline {
        command.args(["--deadline", &deadline.to_string()]);
    }
    let switches = [
        (args.full, "--full"),
        (args.prune, "--prune"),
        (args.dry_run, "--dry-run"),
        (args.resume, "--resume"),
        (global.json, "--json"),
        (global.quiet, "--quiet"),
    ];
    command.args(switches.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name));
    command.arg("--").arg(&args.config);
    let unable = |error: &std::io::Error| {
        Failure::fault(format!(
            "{} cannot be started: {error}; a cluster is driven by Python: set {PYTHON} to one that has s2ice[fleet]",
            python.display()
        ))
    };
    let status = replace(&mut command).map_err(|error| unable(&error))?;
    match status.code() {
        Some(0) => Ok(()),
        // It told why.
        _ => Err(Failure::Told),
    }
}

/// Signals go straight to the driver where it takes the place of this process.
#[cfg(unix)]
fn replace(command: &mut Command) -> std::io::Result<ExitStatus> {
    use std::os::unix::process::CommandExt;
    Err(command.exec())
}

#[cfg(not(unix))]
fn replace(command: &mut Command) -> std::io::Result<ExitStatus> {
    command.status()
}
