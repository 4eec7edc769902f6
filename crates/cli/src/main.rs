//! The command `s2ice`.

mod args;
mod clock;
mod commands;
mod duration;
mod exit;
mod progress;
mod run;
mod settings;
mod text;

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use args::{Cli, Command};
use clap::Parser;
use exit::Failure;

/// A build is a fifth faster than with the allocator of glibc.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_tracing(cli.global.verbose, cli.global.quiet);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Failure::fault(format!("no threads to work with: {error}"))),
    };
    let is_diff = matches!(cli.command, Command::Diff(_));
    let interrupted = match &cli.command {
        Command::Index(_) => "interrupted; what was read is kept, and the same command goes on from there",
        _ => "interrupted; nothing was published",
    };
    let outcome = runtime.block_on(async {
        // A run of many tiles stops in its own way: it tells what became of each.
        if let Command::Run(args) = cli.command {
            return commands::run::run(args, &cli.global, run_id(), told_to_stop()).await;
        }
        tokio::select! {
            // Signals are listened to before anything is begun.
            biased;
            () = told_to_stop() => Err(Failure::Fault(interrupted.to_owned())),
            outcome = run(cli) => outcome,
        }
    });
    // Requests still under way need no answer any more.
    runtime.shutdown_timeout(Duration::from_millis(200));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if is_diff => fail(&failure.or_trouble()),
        Err(failure) => fail(&failure),
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

async fn run(cli: Cli) -> Result<(), Failure> {
    let global = cli.global;
    match cli.command {
        Command::Index(args) => commands::index::run(args, &global).await,
        Command::Manifest(args) => commands::manifest::run(args, &global, run_id()).await,
        Command::Build(args) => commands::build::run(args, &global, run_id()).await,
        Command::Info(args) => commands::info::run(args, &global).await,
        Command::Rollback(args) => commands::rollback::run(args, &global).await,
        Command::Repair(args) => commands::repair::run(args, &global).await,
        Command::Gc(args) => commands::gc::run(args, &global).await,
        Command::Diff(args) => commands::diff::run(args, &global).await,
        Command::Run(args) => commands::run::run(args, &global, run_id(), told_to_stop()).await,
        Command::Status(args) => commands::status::run(args, &global).await,
        Command::Schemas { folder, docs } => commands::schemas::run(&folder, docs.as_deref()),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    if let Some(text) = failure.text() {
        eprintln!("s2ice: {text}");
    }
    failure.code()
}

/// A name that no other run has: milliseconds and process.
fn run_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", now.as_millis(), std::process::id())
}

fn start_tracing(verbose: u8, quiet: bool) {
    use tracing_subscriber::EnvFilter;
    // What Icechunk warns of here is intended: two writers of a local repository (s2ice holds a lock of its own), stores
    // without user metadata, and a writer without a cache of manifests.
    const INTENDED: &str = "icechunk_arrow_object_store=error,icechunk_storage=error,icechunk::asset_manager=error";
    let level = match (quiet, verbose) {
        (true, _) => "error".to_owned(),
        (_, 0) => format!("warn,{INTENDED}"),
        (_, 1) => format!("warn,s2ice=info,s2ice_manifest=info,s2ice_store=info,{INTENDED}"),
        (_, 2) => "info,s2ice=debug,s2ice_manifest=debug,s2ice_store=debug".to_owned(),
        _ => "debug".to_owned(),
    };
    let filter = EnvFilter::try_from_env("S2ICE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
}
