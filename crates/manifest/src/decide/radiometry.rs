//! Rule 5: which offset and scale is the main tree's; each other one is an era.

use super::{Chosen, Misfit, OnMismatch, Policy, Standing};
use crate::assemble::{Refusal, RefusalKind};
use crate::era::Radiometry;
use crate::manifest::Placement;
use crate::product::MetadataSource;

/// The pairs that the ground segment has used, the one in use since baseline 04.00 first.
const KNOWN: [Radiometry; 2] = [
    Radiometry { add_offset: -1000, quantification: 10_000.0 },
    Radiometry { add_offset: 0, quantification: 10_000.0 },
];

/// Known pairs in their order, then the others: one odd product never turns the main tree over.
fn rank(radiometry: Radiometry) -> (usize, (i32, u64)) {
    let known = KNOWN.iter().position(|known| known.key() == radiometry.key());
    (known.unwrap_or(KNOWN.len()), radiometry.key())
}

/// True where nothing could come before it.
pub(super) fn is_first(radiometry: Radiometry) -> bool {
    rank(radiometry).0 == 0
}

/// The main tree's radiometry; `None` without products.
pub(super) fn main(chosen: &[Chosen<'_>]) -> Option<Radiometry> {
    chosen.iter().map(Chosen::radiometry).min_by_key(|own| rank(*own))
}

/// In what a product's radiometry differs from the main tree's.
pub(super) fn difference(own: Radiometry, main: Radiometry) -> String {
    let odd = if rank(own).0 == KNOWN.len() { " (of no known processing)" } else { "" };
    format!("{own}{odd}, where the main tree has {} and {}", main.add_offset, main.quantification)
}

/// What may not stand beside the main tree: nothing, unless everything that differs is to be refused. What stands keeps a
/// place.
pub(super) fn misfits(chosen: &[Chosen<'_>], main: Radiometry, standing: &Standing, policy: &Policy) -> Vec<Misfit> {
    let refuses =
        |product: &&Chosen<'_>| policy.on_mismatch == OnMismatch::Refuse && product.radiometry().key() != main.key();
    let mut out = Vec::new();
    for product in chosen.iter().filter(refuses) {
        let id = product.record.id;
        let assets = product.record.rasters.iter().map(Placement::asset);
        let new: Vec<_> = assets.filter(|asset| standing.raster(id, *asset).is_none()).collect();
        let source = match product.record.metadata.source {
            MetadataSource::Product => "",
            MetadataSource::Item => " (of its item)",
            MetadataSource::Name => " (taken from the baseline in its name)",
        };
        let refusal = |raster: Option<String>| Refusal {
            product: id.to_string(),
            raster,
            kind: RefusalKind::Radiometry,
            reason: format!("its {}{source}", difference(product.radiometry(), main)),
        };
        if new.len() == product.record.rasters.len() {
            out.push(Misfit { product: id, rasters: new, refusal: refusal(None) });
        } else {
            let one = |asset| Misfit { product: id, rasters: vec![asset], refusal: refusal(Some(asset.to_string())) };
            out.extend(new.into_iter().map(one));
        }
    }
    out
}
