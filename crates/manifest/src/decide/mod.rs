//! The decision: for every raster of every product where it stands, or why it does not.
//!
//! One pure function of candidates, holdings and policy. Its rules stand in files of their own, in their order:
//!
//! 1. `admissible`: what has no admissible raster competes with nothing;
//! 2. `copies`: the best copy of each quantity, among the admissible ones only;
//! 3. `acquisition`: which products are processings of one acquisition;
//! 4. `processing`: which of these counts; none takes the place of one that has more;
//! 5. `radiometry`: which offset and scale is the main tree's; each other one is an era;
//! 6. `profiles`: which header profile comes first in an array; each further one is in an era;
//! 7. [`leaving`]: what stands leaves only for a reason that a rule names.
//!
//! What 5 and 6 refuse is not admissible either, so it is taken out and the choice is made again: nothing ever gives way to
//! a raster that is then refused. Every round takes out at least one raster, so there is an end.

mod acquisition;
mod admissible;
mod copies;
pub mod leaving;
mod parts;
mod processing;
mod profiles;
mod radiometry;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::copies::{Resolutions, ask_order};
pub use self::leaving::{Leaving, LeavingReason, Unexplained};
pub use self::parts::{Part, Placed};
pub use self::processing::{Incomplete, covers};
pub use self::profiles::Accepted;

use crate::assemble::{ProductRecord, Refusal};
use crate::era::{Era, Radiometry};
use crate::manifest::Placement;
use crate::product::ProductId;
use crate::profile::HeaderProfile;
use crate::raster::Asset;

/// What becomes of products and rasters that do not fit the main tree's radiometry or an array's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMismatch {
    /// Another offset and headers of the ground segment go to an era; unknown encoders are refused.
    #[default]
    Auto,
    /// Everything goes to an era, unknown encoders included.
    Era,
    /// Everything is refused. What stands already keeps a place.
    Refuse,
}

/// What the operator chooses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// Which copies of a raster to take.
    pub resolutions: Resolutions,
    /// What becomes of what does not fit.
    pub on_mismatch: OnMismatch,
    /// A later processing counts even where it has less than what stands: for products that will never be whole.
    pub accept_incomplete: bool,
}

impl Policy {
    /// True where a candidate's raster stands whatever the other candidates are, once its product is chosen: what it
    /// supersedes need not be asked for. Of the rest only the decision tells.
    #[must_use]
    pub fn surely_admits(&self, product: &ProductRecord, raster: &Placement) -> bool {
        let radiometry = Radiometry::of(&product.metadata);
        radiometry.is_nameable() && profiles::is_sure(product.id, radiometry, raster, self.on_mismatch)
    }
}

/// What the store holds, as far as it bears on the decision.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// The rasters of each product.
    pub products: BTreeMap<ProductId, BTreeMap<Asset, StandingRaster>>,
    /// The header profiles that were accepted so far.
    pub accepted: Accepted,
}

/// A raster that the store holds.
#[derive(Debug, Clone)]
pub struct StandingRaster {
    /// In which tree; `None` for the main one.
    pub era: Option<Era>,
    /// Its main header.
    pub header: Arc<HeaderProfile>,
}

impl Standing {
    fn raster(&self, product: ProductId, asset: Asset) -> Option<&StandingRaster> {
        self.products.get(&product)?.get(&asset)
    }
}

/// What the store shall hold.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    /// The main tree first, then the eras by name; none without products.
    pub parts: Vec<Part>,
    /// Everything left out, sorted by product and raster.
    pub refused: Vec<Refusal>,
    /// Products that gave way, each with the one that counts more.
    pub superseded: Vec<(ProductId, ProductId)>,
    /// Products that would count more than what stands in their place, but have less.
    pub incomplete: Vec<Incomplete>,
    /// What stands and gives way, as far as the rules say why; [`Decision::account`] adds the reasons of the caller.
    pub leaving: Vec<Leaving>,
    /// The header profiles whose place is that they were accepted, in that order.
    pub accepted: Accepted,
}

/// A product that was chosen, and those of its rasters that are wanted.
struct Chosen<'a> {
    record: &'a ProductRecord,
    wanted: &'a BTreeSet<Asset>,
}

impl Chosen<'_> {
    fn radiometry(&self) -> Radiometry {
        Radiometry::of(&self.record.metadata)
    }

    fn rasters(&self) -> impl Iterator<Item = &Placement> {
        self.record.rasters.iter().filter(|raster| self.wanted.contains(&raster.asset()))
    }
}

/// Rasters of a product that must not stand, and what is said of them.
struct Misfit {
    product: ProductId,
    rasters: Vec<Asset>,
    refusal: Refusal,
}

/// Decides about the products of a tile: each once, with every admissible raster that it has, those that the store holds
/// included. The outcome depends on the set of candidates, never on their order.
#[must_use]
pub fn decide(candidates: Vec<ProductRecord>, standing: &Standing, policy: &Policy) -> Decision {
    let mut found = Decision::default();
    let mut records = admissible::admit(candidates, standing, &mut found); // 1
    loop {
        let wanted = copies::best(&records, policy.resolutions); // 2
        let groups = acquisition::groups(&records); // 3
        let choice = processing::choose(groups, &wanted, standing, policy); // 4
        let chosen: Vec<Chosen> = choice
            .kept
            .iter()
            .filter_map(|id| Some(Chosen { record: records.get(id)?, wanted: wanted.get(id)? }))
            .collect();
        let Some(main) = radiometry::main(&chosen) else { return found.sorted() };
        let mut misfits = radiometry::misfits(&chosen, main, standing, policy); // 5
        if !misfits.is_empty() {
            admissible::take_out(&mut records, misfits, standing, &mut found);
            continue;
        }
        let profiles = profiles::order(&chosen, standing, policy, &mut misfits); // 6
        if misfits.is_empty() {
            found.accepted = profiles.accepted();
            let places = profiles.places(&chosen);
            copies::leaving(&wanted, &records, standing, &choice.kept, &mut found.leaving);
            choice.report(standing, &mut found);
            found.parts = parts::lay_out(records, places, main, &profiles);
            return found.sorted();
        }
        admissible::take_out(&mut records, misfits, standing, &mut found);
    }
}

impl Decision {
    fn sorted(mut self) -> Self {
        self.refused.sort_by(|a, b| (&a.product, &a.raster, a.kind).cmp(&(&b.product, &b.raster, b.kind)));
        self.leaving.sort_by_key(|leaving| (leaving.product, leaving.raster));
        self
    }
}
