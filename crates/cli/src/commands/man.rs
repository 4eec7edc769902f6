//! `s2ice man`: manual pages, made of the same texts as `--help`.

use std::path::Path;

use super::print;
use crate::args::command;
use crate::exit::Failure;

/// Runs the command: prints the page of s2ice itself, or writes those of all commands to a folder.
pub fn run(folder: Option<&Path>) -> Result<(), Failure> {
    // There is no page of `help`.
    let command = command().disable_help_subcommand(true);
    let Some(folder) = folder else {
        let mut text = Vec::new();
        clap_mangen::Man::new(command).render(&mut text).map_err(Failure::fault)?;
        return print(&String::from_utf8_lossy(&text));
    };
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(command, folder))
        .map_err(|error| Failure::fault(format!("cannot write manual pages to {}: {error}", folder.display())))
}
