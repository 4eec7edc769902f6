//! The input of a build from GeoTIFFs: the catalogue names products and files, and there is no index to join.

use std::collections::{BTreeMap, BTreeSet};

use chrono::SecondsFormat;
use s2ice_manifest::assemble::{Refusal, RefusalKind};
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::ids::{Band, Level, Resolution};
use s2ice_manifest::product::{MetadataSource, ProductMetadata};
use s2ice_manifest::raster::{Asset, Quantity};
use s2ice_manifest::source::cog_href::below;
use s2ice_manifest::source::location::SourceUrl;
use s2ice_manifest::source::tlm_parquet::IndexReadReport;
use s2ice_manifest::stac::{StacItem, possible};
use s2ice_manifest::tlm::{IndexRow, TileIndex};

use super::evidence::not_admitted;
use super::inputs::{Aside, CatalogueLoad, Gathered, Inputs, Share, Standing, Stated, nothing_in};
use super::search::catalogue;
use super::trouble::whole;
use super::wanted::Wanted;
use super::{BuildSettings, HeaderPolicy};
use crate::error::{Error, Result};
use crate::holdings::Holdings;
use crate::progress::Progress;
use crate::report::ProductsReport;
use crate::state::StoreState;

/// What cannot be asked for together with GeoTIFFs.
pub(super) fn check_request(settings: &BuildSettings) -> Result<()> {
    let wrong = |reason: &str| Err(Error::Request(format!("--source-kind cog: {reason}")));
    if settings.level != Level::L2A {
        return wrong("GeoTIFFs are kept of level L2A only");
    }
    if settings.stac.is_none() {
        return wrong("--stac is missing: it is the catalogue that names products and files");
    }
    if !settings.index.is_empty() || settings.index_missing || settings.write_index.is_some() {
        return wrong("leave out --index, --index-missing and --write-index: GeoTIFFs carry their own tables");
    }
    if settings.headers != HeaderPolicy::Read {
        return wrong("--headers must be read: there is no other place that tells how a GeoTIFF is written");
    }
    if settings.source_options.layout.is_some() {
        return wrong("leave out --source-layout: paths are those of the items");
    }
    Ok(())
}

/// A store is of one kind.
pub fn check_kind(settings: &BuildSettings, held: Option<&StoreState>) -> Result<()> {
    let words = |kind| match kind {
        SourceKind::Jp2 => "JPEG 2000 files",
        SourceKind::Cog => "GeoTIFFs",
    };
    match held {
        Some(state) if state.stamp.source_kind != settings.source_kind => Err(Error::Request(format!(
            "the store refers to {}, and --source-kind {} asks for {}: give the store of the other kind an address of its \
             own",
            words(state.stamp.source_kind),
            settings.source_kind,
            words(settings.source_kind)
        ))),
        _ => Ok(()),
    }
}

/// Reads the catalogue and takes from it the products and their files.
pub async fn gather(
    settings: &BuildSettings,
    standing: Standing,
    held: &Holdings,
    source: &SourceUrl,
    progress: &dyn Progress,
) -> Result<Inputs> {
    check_request(settings)?;
    let wanted = Wanted::of(settings)?;
    let (load, stac) = catalogue(settings, &standing, progress).await?;
    let Some(load) = load else { return check_request(settings).map(|()| Inputs::default()) };
    let catalogue = CatalogueLoad {
        since: standing.since,
        incremental: load.incremental,
        seen: load.seen_items,
        latest_change: load.latest_change,
        changed: load.items.iter().filter_map(|item| Some((item.product, item.changed()?))).collect(),
        updated: CatalogueLoad::updated_of(&load.items),
        without_index: Vec::new(),
        items: load.items.iter().map(|item| (item.product, item.clone())).collect(),
        backlog: false,
        incomplete: load.completeness.reasons().to_vec(),
    };
    let counts = ProductsReport { matched: load.items.len(), ..ProductsReport::default() };
    let (mut products, mut refused, mut present) = (Vec::new(), Vec::new(), BTreeMap::new());
    let (rejected, not_understood, seen) = (load.rejected, load.refused, load.seen);
    let why_not = rejected.iter().map(|rejected| (rejected.product, rejected.rejection.to_string())).collect();
    for item in load.items {
        let (id, before) = (item.product, refused.len());
        let Some(product) = product(item, source, &wanted, &mut refused) else {
            // An item that cannot be used is no absence of the product.
            if refused.len() > before {
                present.insert(id, held.inputs(id));
            }
            continue;
        };
        // There is no XML to ask what the item leaves open.
        match product.stated.as_ref().and_then(|stated| not_admitted(settings, &product, &stated.metadata, false)) {
            Some(reason) => refused.push(whole(product.id, RefusalKind::Filtered, reason)),
            None => products.push(product),
        }
    }
    let is_held = present.keys().any(|id| held.contains(*id));
    if products.is_empty() && !standing.may_be_empty && !is_held {
        let first = refused.first().map(|refusal| match &refusal.raster {
            Some(raster) => format!("{} {raster}: {}", refusal.product, refusal.reason),
            None => format!("{}: {}", refusal.product, refusal.reason),
        });
        let input = stac.as_ref().map(|stac| stac.input.clone()).unwrap_or_default();
        let reason = match first {
            Some(first) => format!("nothing can be stored ({} left out): {first}", refused.len()),
            None if counts.matched > 0 => format!(
                "none of the {} items of {input} names a GeoTIFF of the arrays asked for: check --arrays and --collection",
                counts.matched
            ),
            None => match (rejected.first(), not_understood.first()) {
                (Some(first), _) => format!(
                    "{input} has {} items of tile {}, and the filters admit none of them; {}: {}",
                    rejected.len(),
                    settings.tile,
                    first.product,
                    first.rejection
                ),
                (None, Some(first)) => format!(
                    "{input} has no item of tile {} that can be used: {} were not understood, the first: {}",
                    settings.tile,
                    not_understood.len(),
                    first.error
                ),
                (None, None) => format!("{input} has no item of tile {} ({seen} of others)", settings.tile),
            },
        };
        return Err(nothing_in(Some(&catalogue), reason));
    }
    let index = IndexReadReport::default();
    Ok(Inputs {
        products,
        index,
        stac,
        counts,
        catalogue: Some(catalogue),
        indexed: None,
        aside: Aside { present, refused, why_not, ..Aside::default() },
        unfound: Vec::new(),
    })
}

/// An item as a product with files; `None` where nothing of it can be asked for.
fn product(item: StacItem, source: &SourceUrl, wanted: &Wanted, refused: &mut Vec<Refusal>) -> Option<Gathered> {
    let id = item.product;
    let mut rows = Vec::new();
    let mut sizes = BTreeMap::new();
    let mut unread = BTreeSet::new();
    let mut leave_out = |raster: String, kind: RefusalKind, reason: String| {
        match raster.parse() {
            Ok(asset) => drop(unread.insert(asset)),
            // Any that is wanted may be meant.
            Err(_) => unread.extend(all().filter(|asset| wanted.admits(*asset))),
        }
        refused.push(Refusal { product: id.to_string(), raster: Some(raster), kind, reason });
    };
    for problem in &item.cogs.problems {
        leave_out(problem.raster.clone(), RefusalKind::Metadata, problem.reason.clone());
    }
    for file in item.cogs.files.iter().filter(|file| wanted.admits(file.asset)) {
        let path = match (file.misstated(), below(&file.href, source)) {
            (Some(reason), _) => {
                leave_out(file.asset.to_string(), RefusalKind::Metadata, reason);
                continue;
            }
            (None, Err(reason)) => {
                leave_out(file.asset.to_string(), RefusalKind::Source, reason);
                continue;
            }
            (None, Ok(path)) => path,
        };
        sizes.extend(file.size.map(|size| (file.asset, size)));
        rows.push(IndexRow {
            product: id,
            asset: file.asset,
            path,
            index: TileIndex::InFile,
            main_header: None,
            etag: None,
            last_modified: None,
            nodata: None,
        });
    }
    let anchor = rows.first()?.path.clone();
    match metadata(&item) {
        Ok(metadata) => {
            let changed = item.changed().map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true));
            let stated = Stated { metadata, changed, sizes, unshifted: item.is_unshifted() };
            let (stated, item) = (Some(stated), Some(item));
            Some(Gathered { id, rows, anchor, stated, item, share: Share::All, unread })
        }
        Err(reason) => {
            refused.push(whole(id, RefusalKind::Metadata, reason));
            None
        }
    }
}

/// Every raster that there are GeoTIFFs of.
fn all() -> impl Iterator<Item = Asset> {
    let others = [Quantity::Aot, Quantity::Wvp, Quantity::Scl, Quantity::Tci, Quantity::Cld, Quantity::Snw];
    let quantities = Band::ALL.into_iter().map(Quantity::Band).chain(others);
    quantities.flat_map(|quantity| Resolution::ALL.into_iter().map(move |resolution| Asset { quantity, resolution }))
}

fn metadata(item: &StacItem) -> std::result::Result<ProductMetadata, String> {
    let id = item.product;
    if !possible(id).contains(&item.datetime) {
        let start = id.datatake_start();
        return Err(format!("its item says that it was sensed at {}, its name {start}", item.datetime));
    }
    let (add_offset, quantification) = item.cogs.radiometry(id)?;
    Ok(ProductMetadata {
        sensing_time_us: item.datetime.timestamp_micros(),
        datastrip_id: item.datastrip_id.clone(),
        add_offset,
        quantification,
        cloud_cover: item.cloud_cover,
        source: MetadataSource::Item,
    })
}
