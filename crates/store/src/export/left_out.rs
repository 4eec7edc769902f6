//! What an export does not have.

use std::fmt;

use super::Raster;

/// A raster of the selection that could not be written out.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct LeftOut {
    /// Product name.
    pub product: String,
    /// Which raster of it, such as `B09_60m`.
    pub raster: String,
    /// Why.
    pub reason: String,
}

impl LeftOut {
    pub(super) fn of(raster: &Raster<'_>, reason: String) -> Self {
        Self { product: raster.step.id.to_string(), raster: raster.asset.name(), reason }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}: {}", self.raster, self.product, self.reason)
    }
}
