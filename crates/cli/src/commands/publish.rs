//! `s2ice publish`: stores made public.

use std::path::Path;

use s2ice_manifest::source::location::SourceUrl;
use s2ice_store::publish::report::{PublishReport, WithoutPreview};
use s2ice_store::publish::{Named, publish};

use super::{is_config, store, summarise};
use crate::args::{Global, PublishArgs};
use crate::exit::Failure;
use crate::progress::Bars;
use crate::{publishing, settings};
use s2ice_fleet::config::RunConfig;
use s2ice_fleet::publication::named;
use s2ice_fleet::text;

/// Stores without a preview that are told of.
const LISTED: usize = 10;

/// Runs the command.
pub async fn run(args: PublishArgs, global: &Global, run: String) -> Result<(), Failure> {
    let (files, addresses): (Vec<&String>, Vec<&String>) = args.stores.iter().partition(|named| is_config(named));
    if files.len() > 1 || (!files.is_empty() && !addresses.is_empty()) {
        return Err(Failure::usage("name either stores or one configuration file"));
    }
    let occasion = settings::occasion(&run);
    let config = match files.first() {
        Some(file) => Some(RunConfig::read(Path::new(file), &occasion).map_err(Failure::Usage)?),
        None => None,
    };
    let below = config.as_ref().and_then(|config| config.publish.as_ref());
    let settings =
        publishing::table(&args, below)?.publishing(&occasion).map_err(|wrong| Failure::usage(wrong.of_options()))?;
    let mut stores = Vec::new();
    for address in addresses {
        let url = SourceUrl::parse(address).map_err(Failure::usage)?;
        let target = match store(address, &args.store_options).await {
            Ok(target) => Some(target),
            // Told by name, and takes nothing from the others.
            Err(Failure::Fault(_)) if url.local_root().is_some_and(|root| !root.exists()) => None,
            Err(failure) => return Err(failure),
        };
        stores.push(Named::by_address(url, target));
    }
    if let Some(config) = &config {
        stores = named(&config.tiles).await?;
    }
    let bars = Bars::new(global.shows_progress());
    let report = publish(&stores, &settings, &bars).await?;
    summarise(&report, global, render)?;
    match report.sentence() {
        None => Ok(()),
        Some(sentence) => Err(Failure::Fault(sentence)),
    }
}

fn render(report: &PublishReport) -> String {
    let copied = report.published.iter().filter(|store| store.copied).count();
    let number = |count: u64| text::number(count);
    let rows = [
        ("stores", number(report.stores as u64)),
        ("described anew", number(report.published.len() as u64)),
        ("as they were", number(report.unchanged)),
        ("not published", number(report.failed.len() as u64)),
        ("not built yet", number(report.unbuilt.len() as u64)),
        ("with a preview", number(report.previews as u64)),
        ("lost and back", number(report.lost)),
        ("taken out", number(report.removed.len() as u64)),
        ("files written", format!("{}, {}", number(report.files), text::bytes(report.bytes))),
        (
            "copies brought up",
            format!("{copied}: {} objects, {}", number(report.copied_objects), text::bytes(report.copied_bytes)),
        ),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    let mut out = format!("{}\n{}", report.url, text::table(&rows, &[]));
    let without = &report.without_preview;
    for WithoutPreview { id, reason } in without.iter().take(LISTED) {
        out += &format!("{id} has no preview: {reason}\n");
    }
    if without.len() > LISTED {
        out += &format!("and {} more: see --json\n", number((without.len() - LISTED) as u64));
    }
    out
}
