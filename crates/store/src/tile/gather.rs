//! First half of a build: index and catalogue to the rows that shall be referenced.

use std::collections::{BTreeMap, BTreeSet};

use s2ice_manifest::assemble::{Refusal, RefusalKind};
use s2ice_manifest::join::{IndexOnly, Join, Matched, WithoutProduct, join, join_index_alone};
use s2ice_manifest::product::ProductId;
use s2ice_manifest::source::index_writer::merge_index;
use s2ice_manifest::source::location::SourceUrl;
use s2ice_manifest::source::tlm_parquet::{IndexFilter, read_index};
use s2ice_manifest::stac::StacItem;
use s2ice_manifest::tlm::IndexRow;

use super::fingerprint::of_item;
use super::inputs::{Aside, CatalogueLoad, Gathered, Inputs, Share, Standing, nothing_in};
use super::missing::Missing;
use super::search::{catalogue, index_locations, query_of};
use super::unindexed::{self, Reach};
use super::wanted::Wanted;
use super::{BuildSettings, HeaderPolicy};
use crate::error::{Error, Result};
use crate::progress::{Phase, Progress};
use crate::report::{ProductsReport, StacReport, Unmatched};

/// Reads index and catalogue and joins them by product name.
pub async fn gather(
    settings: &BuildSettings,
    standing: Standing,
    reach: Reach<'_>,
    progress: &dyn Progress,
) -> Result<Inputs> {
    check_request(settings)?;
    let wanted = Wanted::of(settings)?;
    progress.begin(Phase::Index, None);
    let filter = IndexFilter { tile: Some(settings.tile), level: Some(settings.level), wanted: None };
    settings.index.iter().try_for_each(|index| is_a_file(index))?;
    let index_options = settings.reach_index();
    let read = read_index(&index_locations(settings), &index_options, &filter).await;
    progress.end();
    let (rows, index) = read.map_err(|error| Error::of_index(&error))?;
    let mut by_product: BTreeMap<ProductId, Vec<IndexRow>> = BTreeMap::new();
    let mut misplaced = Vec::new();
    let layout = settings.source_options.layout.unwrap_or_default();
    for row in rows {
        match layout.relocate(row) {
            Ok(row) => by_product.entry(row.product).or_default().push(row),
            Err((row, error)) => misplaced.push(Refusal {
                product: row.product.to_string(),
                raster: Some(row.asset.to_string()),
                kind: RefusalKind::Index,
                reason: error.to_string(),
            }),
        }
    }
    if let (true, Some(first)) = (by_product.is_empty() && !settings.index_missing, misplaced.first()) {
        return Err(Error::Nothing(format!(
            "no row of the index can be used on {}: {}",
            settings.source, first.reason
        )));
    }
    if by_product.is_empty() && !standing.may_be_empty && !settings.index_missing {
        let why = index.why_nothing(&format!("tile {} at level {}", settings.tile, settings.level));
        return Err(Error::Nothing(why.unwrap_or_default()));
    }

    let known: BTreeMap<ProductId, usize> = by_product.iter().map(|(id, rows)| (*id, rows.len())).collect();
    let Joined { mut join, mut catalogue, stac, missing, rejected } =
        join_catalogue(settings, &known, &standing, reach, progress).await?;
    let (mut indexed, mut unfound, mut left) = (None, Vec::new(), BTreeMap::new());
    let (mut aside, mut unlisted, mut unasked) = (Aside::default(), BTreeSet::new(), Vec::new());
    let mut lacking = Vec::new();
    if let (true, Some(source)) = (settings.index_missing, reach.source) {
        let is_indexed = |id| by_product.contains_key(&id);
        let mut found = unindexed::index(settings, reach, source, &missing, is_indexed, &wanted, progress).await?;
        found.learned.report.index_rows = write_back(settings, &found.learned).await?;
        let settled = |id: &ProductId| !found.left.contains_key(id);
        if let Some(load) = &mut catalogue {
            load.without_index.retain(|id| !settled(id));
            load.backlog = found.learned.backlog;
        }
        join.without_index.retain(|only| !settled(&only.product));
        (unlisted, lacking) = (found.learned.unlisted, found.learned.lacking);
        let rows = found.learned.rows;
        join.matched.retain(|matched| !rows.contains_key(&matched.product));
        join.matched.extend(missing.into_iter().filter_map(|item| {
            let (product, rows) = (item.product, rows.get(&item.product)?.len());
            Some(Matched { product, rows, item: Some(item) })
        }));
        join.matched.sort_by_key(|matched| matched.product);
        by_product.extend(rows);
        (indexed, unfound, left) = (Some(found.learned.report), found.learned.unfound, found.left);
        (aside, unasked) = (found.aside, found.unasked);
    }
    // What cannot be looked for is there all the same.
    let products = misplaced.iter().filter_map(|refusal| refusal.product.parse().ok());
    for id in products.filter(|id| !known.contains_key(id)) {
        aside.present.entry(id).or_insert_with(|| reach.held.inputs(id));
    }
    aside.refused.extend(misplaced);
    let without_product = join.without_product.iter().map(|only| (only.product, only.reason.to_string()));
    let without_index = join.without_index.iter().map(|only| (only.product, only.reason.to_string()));
    aside.why_not = rejected.into_iter().chain(without_index).chain(without_product).collect();
    let mut unread = unindexed::unread(&aside.refused);
    aside.refused.extend(lacking);
    for id in unlisted {
        let held = reach.held.rasters(id).into_iter().map(|raster| raster.asset);
        unread.entry(id).or_default().extend(held.filter(|asset| wanted.admits(*asset)));
    }
    let counts = ProductsReport {
        in_index: known.len(),
        matched: join.matched.len(),
        without_index: unmatched(join.without_index.iter().map(|p| {
            let reason = match left.get(&p.product) {
                // Where there is no index, that it lacks a product is no news.
                Some(why) if known.is_empty() => why.clone(),
                Some(why) => format!("{}; {why}", p.reason),
                None => p.reason.to_string(),
            };
            (p.product, reason)
        })),
        without_product: unmatched(join.without_product.iter().map(|p| (p.product, p.reason.to_string()))),
        ..ProductsReport::default()
    };
    let products = join
        .matched
        .into_iter()
        .filter_map(|matched| {
            let mut rows = by_product.remove(&matched.product)?;
            rows.retain(|row| wanted.admits(row.asset));
            let anchor = rows.first()?.path.clone();
            Some(Gathered {
                id: matched.product,
                rows,
                anchor,
                item: matched.item,
                stated: None,
                share: Share::All,
                unread: unread.remove(&matched.product).unwrap_or_default(),
            })
        })
        .chain(unasked)
        .collect::<Vec<_>>();
    let is_held = aside.present.keys().any(|id| reach.held.contains(*id));
    if products.is_empty() && !standing.may_be_empty && !is_held {
        return Err(nothing_in(catalogue.as_ref(), nothing_matched(settings, &counts, stac.as_ref())));
    }
    Ok(Inputs { products, index, stac, counts, catalogue, indexed, aside, unfound })
}

/// A local index that is not there or is a folder, before it is opened as what it is not.
fn is_a_file(index: &str) -> Result<()> {
    match SourceUrl::parse(index).ok().and_then(|url| url.local_root()) {
        Some(path) if path.is_dir() => {
            Err(Error::Input(format!("the index {index} is a folder: name the Parquet file in it")))
        }
        Some(path) if !path.exists() => Err(Error::Input(format!("the index {index} does not exist"))),
        _ => Ok(()),
    }
}

/// What must hold before products can be indexed on the fly.
pub(super) fn check_request(settings: &BuildSettings) -> Result<()> {
    let wrong = |reason: &str| Err(Error::Request(reason.to_owned()));
    match (settings.index_missing, settings.headers, &settings.stac) {
        (true, HeaderPolicy::Assume, _) => {
            wrong("--index-missing asks the files themselves, which --headers assume forbids: leave one of them out")
        }
        (true, _, None) => wrong("--index-missing needs --stac: it is the catalogue that names the missing products"),
        (false, ..) if settings.write_index.is_some() => {
            wrong("--write-index goes with --index-missing: there is nothing else to write to an index")
        }
        (false, ..) if settings.index.is_empty() => {
            wrong("an index is missing: give --index, or --index-missing with --stac")
        }
        _ => Ok(()),
    }
}

/// Adds what was learned to the index file that shall have it; `None` where nothing is written.
async fn write_back(settings: &BuildSettings, learned: &Missing) -> Result<Option<u64>> {
    let Some(path) = settings.write_index.as_ref().filter(|_| !settings.dry_run && !learned.rows.is_empty()) else {
        return Ok(None);
    };
    let rows = learned.rows.values().flatten().cloned().collect();
    merge_index(path, rows).await.map(Some).map_err(|error| Error::Input(error.to_string()))
}

fn is_absence(reason: &WithoutProduct) -> bool {
    matches!(reason, WithoutProduct::NotInCatalogue | WithoutProduct::OtherProcessing { .. })
}

fn lost(settings: &BuildSettings) -> Error {
    Error::Input(format!(
        "{} does not answer any more",
        settings.stac.as_ref().map(ToString::to_string).unwrap_or_default()
    ))
}

struct Joined {
    join: Join,
    catalogue: Option<CatalogueLoad>,
    stac: Option<StacReport>,
    /// Items of the products without index rows, where these are to be indexed.
    missing: Vec<StacItem>,
    /// Why the catalogue's items do not count.
    rejected: BTreeMap<ProductId, String>,
}

async fn join_catalogue(
    settings: &BuildSettings,
    known: &BTreeMap<ProductId, usize>,
    standing: &Standing,
    Reach { memory, replaced, .. }: Reach<'_>,
    progress: &dyn Progress,
) -> Result<Joined> {
    let query = query_of(settings, standing);
    let (Some(mut load), mut report) = catalogue(settings, standing, progress).await? else {
        let join = join_index_alone(known, &query);
        return Ok(Joined { join, catalogue: None, stac: None, missing: Vec::new(), rejected: BTreeMap::new() });
    };
    let mut joined = join(known, &load, &query);
    let mut since = standing.since;
    // Of an index that grew by what the catalogue has had for long, an answer about changes says nothing.
    let question = super::catalogue::query(settings).unwrap_or_default();
    let unexplained = |only: &IndexOnly| {
        let is_known = memory.is_absent(&question, only.product) || memory.knows(only.product);
        is_absence(&only.reason) && !standing.held.contains(&only.product) && !is_known
    };
    if load.incremental && joined.without_product.iter().any(unexplained) {
        since = None;
        let whole = Standing { since, ..standing.clone() };
        let (Some(again), told) = catalogue(settings, &whole, progress).await? else { return Err(lost(settings)) };
        (load, report) = (again, told);
        joined = join(known, &load, &query_of(settings, &whole));
    }
    if !load.incremental && load.completeness.is_complete() {
        let not_taken = joined.without_product.iter().map(|only| only.product);
        memory.set_absent(&question, not_taken.filter(|id| settings.prune || !standing.held.contains(id)).collect());
    }
    load.items.iter().for_each(|item| memory.hear(item.product, of_item(item)));
    memory.appeared(load.items.iter().map(|item| item.product));
    if load.incremental || !load.completeness.is_complete() {
        // Absence from an answer about changes, or from one that is cut short, says nothing.
        let (silent, told): (Vec<IndexOnly>, _) =
            joined.without_product.into_iter().partition(|only| is_absence(&only.reason));
        joined.without_product = told;
        // Of what the store holds, or was refused for now, the index may have news although the catalogue has none: before
        // anything new is stored of it, the catalogue is asked for everything. (Without the product's XML the item would be
        // needed.)
        let was_refused = |id| load.incremental && !memory.is_absent(&question, id) && memory.knows(id);
        let admitted = |id: ProductId| standing.held.contains(&id) || was_refused(id);
        let held = silent.into_iter().filter(|only| admitted(only.product));
        if settings.headers != HeaderPolicy::Assume {
            joined.matched.extend(held.map(|only| Matched { product: only.product, rows: only.rows, item: None }));
        }
    }
    let missing: Vec<StacItem> = if settings.index_missing {
        let mut ids: BTreeSet<ProductId> = joined.without_index.iter().map(|only| only.product).collect();
        // The index may have a product and lack what was refused of it, or not know that it was made anew.
        ids.extend(standing.partial.iter().chain(replaced));
        load.items.iter().filter(|item| ids.contains(&item.product)).cloned().collect()
    } else {
        Vec::new()
    };
    let catalogue = CatalogueLoad {
        since,
        incremental: load.incremental,
        seen: std::mem::take(&mut load.seen_items),
        latest_change: load.latest_change,
        changed: load.items.iter().filter_map(|item| Some((item.product, item.changed()?))).collect(),
        updated: CatalogueLoad::updated_of(&load.items),
        without_index: joined.without_index.iter().map(|only| only.product).collect(),
        items: missing.iter().map(|item| (item.product, item.clone())).collect(),
        backlog: false,
        incomplete: load.completeness.reasons().to_vec(),
    };
    let rejected = load.rejected.iter().map(|rejected| (rejected.product, rejected.rejection.to_string())).collect();
    Ok(Joined { join: joined, catalogue: Some(catalogue), stac: report, missing, rejected })
}

fn unmatched(products: impl Iterator<Item = (ProductId, String)>) -> Vec<Unmatched> {
    products.map(|(product, reason)| Unmatched { product: product.to_string(), reason }).collect()
}

fn nothing_matched(settings: &BuildSettings, counts: &ProductsReport, stac: Option<&StacReport>) -> String {
    if counts.matched > 0 {
        return format!(
            "no raster of the {} matched products is among the arrays asked for: check --arrays",
            counts.matched
        );
    }
    let of = |unmatched: &[Unmatched]| unmatched.first().map(|u| format!("; {}: {}", u.product, u.reason));
    let example = of(&counts.without_product).unwrap_or_default();
    match stac {
        Some(stac) if stac.admitted == 0 && !stac.refused.is_empty() => {
            let first = stac.refused.first().map(String::as_str).unwrap_or_default();
            format!("no item of {} can be used; {} not understood, the first: {first}", stac.input, stac.refused.len())
        }
        Some(stac) if counts.in_index == 0 && settings.index_missing => format!(
            "none of the {} items of {} is of a product that can be indexed{}",
            stac.admitted,
            stac.input,
            of(&counts.without_index).unwrap_or_default()
        ),
        Some(stac) => format!(
            "none of the {} products in the index is among the {} items of {}{example}",
            counts.in_index, stac.admitted, stac.input
        ),
        None => format!(
            "none of the {} products of tile {} in the index passes the filters{example}",
            counts.in_index, settings.tile
        ),
    }
}
