//! The command `s2ice`.

mod args;
mod clock;
mod commands;
mod exit;
mod log;
mod progress;
mod publishing;
mod settings;

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use args::{Cli, Command, LogFormat, command};
use clap::FromArgMatches as _;
use exit::Failure;
use log::OUTCOME;
use s2ice_manifest::source::secret::masked;

/// A build is a fifth faster than with the allocator of glibc.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::from_arg_matches(&command().get_matches()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let run = run_id();
    log::start(&cli.global, &run);
    let format = cli.global.log_format;
    if let Ok(name) = std::env::var("S2ICE_DECODER")
        && let Err(error) = s2ice_jpeg2000::decode::choose_decoder(&name)
    {
        return fail(&Failure::fault(format!("S2ICE_DECODER: {error}")), Ending::Answer, format);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(&Failure::fault(format!("no threads to work with: {error}")), Ending::Answer, format);
        }
    };
    let ending = if matches!(cli.command, Command::Run(_)) { Ending::Log } else { Ending::Answer };
    let is_diff = matches!(cli.command, Command::Diff(_));
    let interrupted = match &cli.command {
        Command::Index(_) => "interrupted; what was read is kept, and the same command goes on from there",
        Command::Preview(_) => "interrupted; no picture was written",
        Command::Publish(_) => "interrupted; part of it may be written, and the same command goes on from there",
        _ => "interrupted; nothing was published",
    };
    let outcome = runtime.block_on(async {
        // A run of many tiles stops in its own way: it tells what became of each.
        if let Command::Run(args) = cli.command {
            return commands::run::run(args, &cli.global, run, told_to_stop()).await;
        }
        tokio::select! {
            // Signals are listened to before anything is begun.
            biased;
            () = told_to_stop() => Err(Failure::Fault(interrupted.to_owned())),
            outcome = answer(cli, run) => outcome,
        }
    });
    // Requests still under way need no answer any more.
    runtime.shutdown_timeout(Duration::from_millis(200));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if is_diff => fail(&failure.or_trouble(), ending, format),
        Err(failure) => fail(&failure, ending, format),
    }
}

/// Returns when Ctrl-C is pressed or, where there is such a thing, the process is asked to terminate (a service manager,
/// a timeout).
async fn told_to_stop() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    let _ = tokio::signal::ctrl_c().await;
}

async fn answer(cli: Cli, run: String) -> Result<(), Failure> {
    let global = cli.global;
    match cli.command {
        Command::Index(args) => commands::index::run(args, &global, run).await,
        Command::Manifest(args) => commands::manifest::run(*args, &global, run).await,
        Command::Build(args) => commands::build::run(*args, &global, run).await,
        Command::Info(args) => commands::info::run(args, &global).await,
        Command::Preview(args) => commands::preview::run(*args, &global).await,
        Command::Rollback(args) => commands::rollback::run(args, &global, run).await,
        Command::Repair(args) => commands::repair::run(args, &global, run).await,
        Command::Gc(args) => commands::gc::run(args, &global, run).await,
        Command::Diff(args) => commands::diff::run(args, &global).await,
        Command::Run(args) => commands::run::run(args, &global, run, told_to_stop()).await,
        Command::Plan(args) => commands::plan::run(args, &global, run).await,
        Command::Status(args) => commands::status::run(args, &global).await,
        Command::Publish(args) => commands::publish::run(args, &global, run).await,
        Command::Export(command) => commands::export::run(command, &global, run).await,
        Command::Completions { shell } => commands::completions::run(shell),
        Command::Man { folder } => commands::man::run(folder.as_deref()),
        Command::Schemas { folder, docs, python } => {
            commands::schemas::run(&folder, docs.as_deref(), python.as_deref())
        }
    }
}

/// Where the sentence of a failure goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// To whoever called, as the answer of the command.
    Answer,
    /// Into the log, of which it is the end: that of a run is read long after.
    Log,
}

/// Tells a failure. What is wrong in the request is always an answer, and among lines for machines everything is one.
fn fail(failure: &Failure, ending: Ending, format: LogFormat) -> ExitCode {
    let is_line = ending == Ending::Log && matches!(failure, Failure::Fault(_)) || format == LogFormat::Json;
    match failure.text() {
        Some(text) if is_line => tracing::error!(target: OUTCOME, "{text}"),
        Some(text) => eprintln!("s2ice: {}", masked(text)),
        None => {}
    }
    failure.code()
}

/// A name that no other run has: milliseconds and process.
fn run_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", now.as_millis(), std::process::id())
}
