//! `s2ice completions`: what a shell completes, made of the same arguments that the command understands.

use clap_complete::Shell;

use super::print;
use crate::args::command;
use crate::exit::Failure;

/// Runs the command.
pub fn run(shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command(), "s2ice", &mut text);
    print(&String::from_utf8_lossy(&text))
}
