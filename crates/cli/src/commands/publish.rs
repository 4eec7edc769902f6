//! `s2ice publish`: stores made public.

use std::path::Path;

use s2ice_manifest::source::location::{SourceError, SourceUrl};
use s2ice_store::publish::report::PublishReport;
use s2ice_store::publish::{Publisher, Publishing, publish};
use s2ice_store::target::Target;

use super::{store, summarise};
use crate::args::{Global, PublishArgs};
use crate::clock;
use crate::exit::Failure;
use crate::progress::Bars;
use crate::run::config::RunConfig;
use crate::{settings, text};

/// Runs the command.
pub async fn run(args: PublishArgs, global: &Global, run: String) -> Result<(), Failure> {
    let settings = publishing(&args, &run)?;
    let mut stores = Vec::new();
    for named in &args.stores {
        if named.ends_with(".toml") && Path::new(named).is_file() {
            stores.extend(of_file(Path::new(named), &run).await?);
        } else {
            stores.push(store(named, &args.store_options).await?);
        }
    }
    let bars = Bars::new(global.shows_progress());
    let report = publish(&stores, &settings, &bars).await?;
    summarise(&report, global, render)?;
    let told: Vec<&str> = report.hindrances.iter().map(|hindrance| hindrance.reason.as_str()).collect();
    if told.is_empty() { Ok(()) } else { Err(Failure::fault(told.join("\ns2ice: "))) }
}

fn publishing(args: &PublishArgs, run: &str) -> Result<Publishing, Failure> {
    let base = SourceUrl::parse(&args.base_url).ok().filter(|url| url.scheme().is_web());
    let base = base.ok_or_else(|| Failure::usage("--base-url: it is an address that browsers open, https://..."))?;
    let at = |option: &'static str| move |error: SourceError| Failure::usage(format!("{option}: {error}"));
    let place = SourceUrl::parse(&args.out).map_err(at("--out"))?;
    if place.scheme().is_web() {
        return Err(Failure::usage("--out: a web server cannot be written to: name its folder or bucket"));
    }
    let source = match &args.source_url {
        Some(url) => {
            let url = SourceUrl::parse(url).map_err(at("--source-url"))?;
            Some((url, settings::options("source", args)?))
        }
        None => None,
    };
    let occasion = settings::occasion(run);
    Ok(Publishing {
        place,
        options: settings::options("out", args)?,
        base_url: base.prefix(),
        title: args.title.clone(),
        publisher: args.publisher.clone().map(|name| Publisher { name, url: args.publisher_url.clone() }),
        source,
        prune: args.prune,
        look: !args.no_look,
        run: occasion.run,
        writer: occasion.writer,
        clock: clock::now,
    })
}

/// The stores of a configuration file; those that were not built yet are left out.
async fn of_file(path: &Path, run: &str) -> Result<Vec<Target>, Failure> {
    let config = RunConfig::read(path, run).map_err(Failure::Usage)?;
    let mut stores = Vec::new();
    for tile in &config.tiles {
        let url = SourceUrl::parse(&tile.store)?;
        if url.local_root().is_some_and(|root| !root.exists()) {
            tracing::warn!("{}: there is no store at {url} yet", tile.name());
            continue;
        }
        stores.push(Target::open(url, tile.settings.store_options.clone()).await?);
    }
    Ok(stores)
}

fn render(report: &PublishReport) -> String {
    let mut out = format!("{}: {}\n", report.url, text::count(report.stores as usize, "store"));
    let copied = report.published.iter().filter(|store| store.copied).count();
    let rows = [
        ("described anew", text::number(report.published.len() as u64)),
        ("as they were", text::number(report.unchanged)),
        ("taken out", text::number(report.removed.len() as u64)),
        ("files written", format!("{}, {}", text::number(report.files), text::bytes(report.bytes))),
        (
            "copied",
            format!(
                "{}: {} objects, {}",
                text::count(copied, "store"),
                text::number(report.copied_objects),
                text::bytes(report.copied_bytes)
            ),
        ),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    out += &text::table(&rows, &[]);
    out
}
