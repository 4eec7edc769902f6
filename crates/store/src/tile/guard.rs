//! What a run must not do without being told to: take most of a store away.

use std::collections::BTreeSet;

use s2ice_manifest::decide::{Leaving, LeavingReason, Standing};
use s2ice_manifest::product::ProductId;

use super::BuildSettings;
use crate::error::{Error, Result};

/// Fewer products than this lose their files by no accident of a whole store: they leave, and are named in the report.
const MANY: usize = 10;

/// Rows and items of the input that were not understood.
pub struct Damaged {
    /// Rows of the index.
    pub rows: u64,
    /// Items of the catalogue.
    pub items: usize,
}

/// Refuses a run that would take too much away and put nothing in its place: an input that suddenly lacks most of a store,
/// or calls most of its files others, is more likely broken than true. Rasters count, since a product can lose all but one.
///
/// # Errors
/// [`Error::Nothing`], with what to do.
pub fn check(settings: &BuildSettings, standing: &Standing, leaving: &[Leaving], damaged: &Damaged) -> Result<()> {
    let limit = usize::from(settings.prune_limit);
    let too_many = |lost: usize, of: usize| lost * 100 > of * limit;
    let held: usize = standing.products.values().map(|rasters| rasters.len()).sum();
    let pruned = Lost::of(standing, leaving, |reason| matches!(reason, LeavingReason::Pruned { .. }));
    let products = standing.products.len();
    if pruned.rasters > 0 && (damaged.rows > 0 || damaged.items > 0) {
        return Err(Error::Nothing(format!(
            "--prune would remove {} while {} rows and {} items of the input were not understood: what they name cannot be \
             told from what is gone; mend them first",
            pruned.words(),
            damaged.rows,
            damaged.items
        )));
    }
    if too_many(pruned.whole, products) {
        return Err(Error::Nothing(format!(
            "--prune would remove {} of {products} products, more than {limit} %: check the inputs, or raise \
             --prune-limit",
            pruned.whole
        )));
    }
    if too_many(pruned.rasters, held) {
        return Err(Error::Nothing(format!(
            "--prune would remove {} of {held} rasters, more than {limit} %: check the inputs and --arrays, or raise \
             --prune-limit",
            pruned.rasters
        )));
    }
    let others = Lost::of(standing, leaving, |reason| matches!(reason, LeavingReason::AnotherFile { .. }));
    let together = others.products.len() + pruned.products.len();
    if others.rasters > 0 && together >= MANY && too_many(others.rasters + pruned.rasters, held) {
        let pruned = match pruned.rasters {
            0 => String::new(),
            pruned => format!(" and --prune would remove {pruned} more"),
        };
        return Err(Error::Nothing(format!(
            "{} of the {held} rasters of the store would leave, since their files are said to be others by now{pruned}: check \
             that index and source belong together, or raise --prune-limit",
            others.rasters
        )));
    }
    Ok(())
}

/// What leaves for reasons of a kind.
#[derive(Default)]
struct Lost {
    products: BTreeSet<ProductId>,
    /// Products that leave as a whole.
    whole: usize,
    rasters: usize,
}

impl Lost {
    fn of(standing: &Standing, leaving: &[Leaving], is: impl Fn(&LeavingReason) -> bool) -> Self {
        let mut lost = Self::default();
        for leaving in leaving.iter().filter(|leaving| is(&leaving.reason)) {
            lost.products.insert(leaving.product);
            let all = standing.products.get(&leaving.product).map_or(0, |rasters| rasters.len());
            lost.whole += usize::from(leaving.raster.is_none());
            lost.rasters += if leaving.raster.is_none() { all } else { 1 };
        }
        lost
    }

    fn words(&self) -> String {
        format!("{} products and {} rasters", self.whole, self.rasters)
    }
}
