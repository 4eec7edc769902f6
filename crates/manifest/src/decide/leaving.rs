//! Rule 7: what stands leaves only for a reason that a rule names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::{Decision, Standing};
use crate::product::ProductId;
use crate::raster::Asset;

/// Why something leaves the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeavingReason {
    /// Another processing of the same acquisition takes its place.
    Superseded {
        /// Which one.
        by: ProductId,
    },
    /// A better copy of the same quantity takes its place.
    BetterCopy {
        /// Which one.
        by: Asset,
    },
    /// It was ordered to go, and complete answers do not have it or a filter no longer admits it.
    Pruned {
        /// What tells that.
        why: String,
    },
    /// Its file, or its product's metadata, is proven to be another one by now.
    AnotherFile {
        /// What proves that.
        why: String,
    },
}

impl fmt::Display for LeavingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superseded { by } => write!(f, "{by} takes its place"),
            Self::BetterCopy { by } => write!(f, "{by} is a better copy"),
            Self::Pruned { why } => write!(f, "pruned: {why}"),
            Self::AnotherFile { why } => write!(f, "the file is another one by now: {why}"),
        }
    }
}

/// A product or raster that leaves the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leaving {
    /// The product.
    pub product: ProductId,
    /// The raster; absent where the whole product leaves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raster: Option<Asset>,
    /// Why.
    pub reason: LeavingReason,
}

/// Something would leave the store and no rule says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nothing says why {what} of {product} would leave the store, so nothing was changed: please report this")]
pub struct Unexplained {
    /// The product.
    pub product: ProductId,
    /// Its rasters.
    pub what: String,
}

impl Decision {
    /// Everything that stands and is not in the outcome, each with its reason: that of a rule, else one of `given`, the
    /// caller's own (for a product, or for one of its rasters).
    ///
    /// # Errors
    /// [`Unexplained`] where there is no reason for something.
    pub fn account(&self, standing: &Standing, given: &[Leaving]) -> Result<Vec<Leaving>, Unexplained> {
        let mut reasons: BTreeMap<(ProductId, Option<Asset>), &LeavingReason> = BTreeMap::new();
        for Leaving { product, raster, reason } in self.leaving.iter().chain(given) {
            reasons.entry((*product, *raster)).or_insert(reason);
        }
        let stays = self.rasters();
        let mut out = Vec::new();
        for (product, rasters) in &standing.products {
            let stays = stays.get(product);
            let gone = rasters.keys().copied().filter(|asset| stays.is_none_or(|stays| !stays.contains(asset)));
            let whole = reasons.get(&(*product, None));
            let mut leave = |raster, reason: &LeavingReason| {
                out.push(Leaving { product: *product, raster, reason: reason.clone() });
            };
            if let (None, Some(reason)) = (stays, whole) {
                leave(None, reason);
                continue;
            }
            let mut unexplained = Vec::new();
            for asset in gone {
                match reasons.get(&(*product, Some(asset))).or(whole) {
                    Some(reason) => leave(Some(asset), reason),
                    None => unexplained.push(asset.to_string()),
                }
            }
            if !unexplained.is_empty() {
                return Err(Unexplained { product: *product, what: unexplained.join(", ") });
            }
        }
        Ok(out)
    }

    /// The rasters of each product, in all trees.
    #[must_use]
    pub fn rasters(&self) -> BTreeMap<ProductId, BTreeSet<Asset>> {
        let mut out: BTreeMap<ProductId, BTreeSet<Asset>> = BTreeMap::new();
        for assembly in self.parts.iter().map(|part| &part.assembly) {
            for manifest in &assembly.manifests {
                for (step, _) in assembly.steps.iter().zip(&manifest.rasters).filter(|(_, raster)| raster.is_some()) {
                    out.entry(step.id).or_default().insert(manifest.asset);
                }
            }
        }
        out
    }
}
