//! `--scheduler`: a cluster does the work with each tile, which Python drives.

use std::path::Path;
use std::process::{Command, ExitStatus};

use crate::args::Global;
use crate::exit::Failure;

/// Python, where not the one of the path.
const PYTHON: &str = "S2ICE_PYTHON";

/// A command that a cluster does with the tiles of a file.
pub struct Driven<'a> {
    /// Its name.
    pub command: &'a str,
    /// The file.
    pub config: &'a Path,
    /// Address of the scheduler.
    pub scheduler: &'a str,
    /// Only these tiles.
    pub tiles: &'a [String],
}

impl Driven<'_> {
    /// Runs the driver in the place of this process, where that is possible; its output and its exit code are those of the
    /// command.
    pub fn run(&self, options: &[(&str, String)], switches: &[(bool, &str)], global: &Global) -> Result<(), Failure> {
        let python = std::env::var_os(PYTHON).unwrap_or_else(|| "python3".into());
        let mut command = Command::new(&python);
        command.args(["-m", "s2ice.fleet", "--command", self.command, "--scheduler", self.scheduler]);
        for tile in self.tiles {
            command.args(["--tile", tile]);
        }
        for (name, value) in options {
            command.args([name, value.as_str()]);
        }
        let told = [(global.json, "--json"), (global.quiet, "--quiet")];
        command.args(switches.iter().chain(&told).filter(|(is_set, _)| *is_set).map(|(_, name)| name));
        command.arg("--").arg(self.config);
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
