//! What a run must not do without being told to: take most of a store away.

use std::collections::{BTreeMap, BTreeSet};

use s2ice_manifest::assemble::{Refusal, RefusalKind};

use super::BuildSettings;
use crate::error::{Error, Result};
use crate::holdings::Holdings;
use crate::report::Changes;
use crate::state::StoreState;

/// Fewer losses than this are no accident of a whole store: they are made, and named in the report.
const MANY: usize = 10;

/// Rows and items of the input that were not understood.
pub struct Damaged {
    /// Rows of the index.
    pub rows: u64,
    /// Items of the catalogue.
    pub items: usize,
}

/// Refuses a run that would take too much away: by pruning, since an input that suddenly lacks most of a store is more
/// likely broken than true; or because a newcomer's offset or main header would displace what is there.
///
/// # Errors
/// [`Error::Nothing`], with what to do.
pub fn check<'a>(
    settings: &BuildSettings,
    holdings: &Holdings,
    main: Option<&StoreState>,
    changes: impl Iterator<Item = &'a Changes>,
    refused: &[Refusal],
    damaged: &Damaged,
) -> Result<()> {
    let Some(state) = main else { return Ok(()) };
    let gone: BTreeSet<&String> = changes.flat_map(|changes| &changes.removed).collect();
    let (held, removed, limit) = (holdings.len(), gone.len(), usize::from(settings.prune_limit));
    let too_many = |lost: usize, of: usize| lost * 100 > of * limit;
    if settings.prune && removed > 0 && (damaged.rows > 0 || damaged.items > 0) {
        return Err(Error::Nothing(format!(
            "--prune would remove {removed} products while {} rows and {} items of the input were not understood: what \
             they name cannot be told from what is gone; mend them first",
            damaged.rows, damaged.items
        )));
    }
    if settings.prune && too_many(removed, held) {
        return Err(Error::Nothing(format!(
            "--prune would remove {removed} of {held} products, more than {limit} %: check the inputs, or raise \
             --prune-limit"
        )));
    }
    let products: BTreeSet<String> = holdings.ids().map(|id| id.to_string()).collect();
    let of_the_store = |refusal: &&Refusal| products.contains(&refusal.product);
    let displaced = |kind: RefusalKind| refused.iter().filter(move |refusal| refusal.kind == kind).filter(of_the_store);
    let offsets = displaced(RefusalKind::Radiometry).count();
    if offsets >= MANY && too_many(offsets, held) {
        return Err(Error::Nothing(format!(
            "the store would lose {offsets} of {held} products to one with another radiometric offset, which cannot stand \
             beside them: leave that out (--datetime, the index), raise --prune-limit, or let them have an era \
             (--on-mismatch era)"
        )));
    }
    let mut rasters: BTreeMap<&str, usize> = BTreeMap::new();
    for refusal in displaced(RefusalKind::HeaderProfile) {
        *rasters.entry(refusal.raster.as_deref().unwrap_or_default()).or_default() += 1;
    }
    for (asset, array) in &state.arrays {
        let present = array.present.iter().filter(|present| **present).count();
        let lost = rasters.get(asset.name().as_str()).copied().unwrap_or_default();
        if lost >= MANY && too_many(lost, present) {
            return Err(Error::Nothing(format!(
                "{} would lose {lost} of {present} rasters to one with another main header, which cannot stand beside \
                 them: leave that out (--datetime, --arrays, the index), or raise --prune-limit",
                array.path
            )));
        }
    }
    Ok(())
}
