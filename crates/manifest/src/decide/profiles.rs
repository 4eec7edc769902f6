//! Rule 6: which header profile comes first in an array; each further one is in an era.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Chosen, Misfit, OnMismatch, Policy, Standing, radiometry};
use crate::assemble::{Refusal, RefusalKind};
use crate::era::{Era, Radiometry};
use crate::header_class::{HeaderOrigin, header_origin};
use crate::manifest::Placement;
use crate::product::ProductId;
use crate::profile::HeaderProfile;
use crate::raster::Asset;

/// Fingerprints of the header profiles in use that no class of the ground segment puts in an order, by radiometry (named as
/// its first era) and raster, in the order in which they were accepted.
pub type Accepted = BTreeMap<Era, BTreeMap<Asset, Vec<String>>>;

/// The rasters of one array and its further profiles.
type Class = ((i32, u64), Asset);

/// The header profiles of each class in the order of their ranks: the first stands in the tree of its radiometry.
pub(super) struct Profiles {
    classes: BTreeMap<Class, Vec<Seen>>,
    names: BTreeMap<(i32, u64), Era>,
}

/// The rank of each raster of each chosen product.
pub(super) type Places = BTreeMap<ProductId, BTreeMap<Asset, usize>>;

/// A profile, and the products that have it.
struct Seen {
    header: Arc<HeaderProfile>,
    origin: HeaderOrigin,
    /// Where it was accepted before.
    accepted: Option<usize>,
    products: Vec<(ProductId, bool)>,
}

impl Seen {
    /// Known classes first; then the accepted ones in their order, which nothing new turns over.
    fn rank(&self) -> (u8, usize, &str) {
        let class = match self.origin {
            HeaderOrigin::Known => 0,
            HeaderOrigin::Early => 1,
            HeaderOrigin::Unknown(_) | HeaderOrigin::Unclassed => 2,
        };
        let accepted = self.accepted.filter(|_| self.is_by_acceptance()).unwrap_or(usize::MAX);
        (class, accepted, &self.header.fingerprint)
    }

    /// True where only what was accepted first says which comes first.
    fn is_by_acceptance(&self) -> bool {
        matches!(self.origin, HeaderOrigin::Unknown(_) | HeaderOrigin::Unclassed)
    }

    /// An unknown encoder is refused also where it comes first, unless it was let in before.
    fn is_admitted(&self, policy: &Policy) -> bool {
        let stands = || self.accepted.is_some() || self.products.iter().any(|(_, stands)| *stands);
        !matches!(self.origin, HeaderOrigin::Unknown(_)) || policy.on_mismatch == OnMismatch::Era || stands()
    }

    fn misfit(&self, product: ProductId, asset: Asset, reason: String) -> Misfit {
        let raster = Some(asset.to_string());
        let refusal = Refusal { product: product.to_string(), raster, kind: RefusalKind::HeaderProfile, reason };
        Misfit { product, rasters: vec![asset], refusal }
    }
}

/// True where a raster stands whatever the other candidates are, as far as rules 5 and 6 go. Of the rest only the decision
/// tells.
pub(super) fn is_sure(id: ProductId, radiometry: Radiometry, raster: &Placement, policy: OnMismatch) -> bool {
    let origin = header_origin(raster.asset(), id.level(), raster.header());
    match policy {
        OnMismatch::Era => true,
        OnMismatch::Auto => !matches!(origin, HeaderOrigin::Unknown(_)),
        OnMismatch::Refuse => radiometry::is_first(radiometry) && origin == HeaderOrigin::Known,
    }
}

/// Ranks the profiles of the chosen products, and adds what has no place to the misfits.
pub(super) fn order(
    chosen: &[Chosen<'_>],
    standing: &Standing,
    policy: &Policy,
    misfits: &mut Vec<Misfit>,
) -> Profiles {
    let mut seen: BTreeMap<Class, BTreeMap<&str, Seen>> = BTreeMap::new();
    let mut names: BTreeMap<(i32, u64), Era> = BTreeMap::new();
    for product in chosen {
        let (id, radiometry): (_, Radiometry) = (product.record.id, product.radiometry());
        let name = names.entry(radiometry.key()).or_insert_with(|| Era::new(radiometry, 0));
        for raster in product.rasters() {
            let (asset, header) = (raster.asset(), raster.header());
            let stands = standing.raster(id, asset).is_some_and(|old| old.header.fingerprint == header.fingerprint);
            let accepted = || standing.accepted.get(name)?.get(&asset)?.iter().position(|f| *f == header.fingerprint);
            let class = seen.entry((radiometry.key(), asset)).or_default();
            let profile = class.entry(&header.fingerprint).or_insert_with(|| Seen {
                header: Arc::clone(header),
                origin: header_origin(asset, id.level(), header),
                accepted: accepted(),
                products: Vec::new(),
            });
            profile.products.push((id, stands));
        }
    }
    let mut classes = BTreeMap::new();
    for ((radiometry, asset), class) in seen {
        let (mut admitted, refused): (Vec<Seen>, _) = class.into_values().partition(|seen| seen.is_admitted(policy));
        for profile in refused {
            let HeaderOrigin::Unknown(what) = &profile.origin else { continue };
            let reason = format!(
                "its {} is not the one that the ground segment is known to write: {what}; --on-mismatch era gives it a \
                 place of its own",
                profile.header.encoding.holder()
            );
            misfits.extend(profile.products.iter().map(|(id, _)| profile.misfit(*id, asset, reason.clone())));
        }
        admitted.sort_by(|a, b| a.rank().cmp(&b.rank()));
        if policy.on_mismatch == OnMismatch::Refuse
            && let Some((first, further)) = admitted.split_first()
        {
            for profile in further {
                let new = profile.products.iter().filter(|(_, stands)| !stands);
                let reason = difference(&profile.header, Some(&first.header));
                misfits.extend(new.map(|(id, _)| profile.misfit(*id, asset, reason.clone())));
            }
        }
        classes.insert((radiometry, asset), admitted);
    }
    Profiles { classes, names }
}

/// In what a header differs from that of the array of the first rank.
fn difference(own: &HeaderProfile, first: Option<&Arc<HeaderProfile>>) -> String {
    let what = first.map_or_else(String::new, |first| own.difference(first));
    format!("its {} differs from the array's: {what}", own.encoding.holder())
}

impl Profiles {
    /// In what a header differs from the first of its class.
    pub(super) fn difference(&self, radiometry: Radiometry, asset: Asset, header: &HeaderProfile) -> String {
        let class = self.classes.get(&(radiometry.key(), asset));
        difference(header, class.and_then(|class| class.first()).map(|seen| &seen.header))
    }

    /// The ranks of all rasters that have one.
    pub(super) fn places(&self, chosen: &[Chosen<'_>]) -> Places {
        let rank = |radiometry: Radiometry, raster: &Placement| {
            let class = self.classes.get(&(radiometry.key(), raster.asset()))?;
            let rank = class.iter().position(|seen| seen.header.fingerprint == raster.header().fingerprint)?;
            Some((raster.asset(), rank))
        };
        let ranks = |product: &Chosen<'_>| product.rasters().filter_map(|r| rank(product.radiometry(), r)).collect();
        chosen.iter().map(|product| (product.record.id, ranks(product))).collect()
    }

    /// The profiles in use whose order is what was accepted first: those of before keep their order, new ones come behind.
    pub(super) fn accepted(&self) -> Accepted {
        let mut out = Accepted::new();
        for ((radiometry, asset), class) in &self.classes {
            let Some(name) = self.names.get(radiometry) else { continue };
            // They are in this order already.
            let used = class.iter().filter(|seen| seen.is_by_acceptance());
            let used: Vec<String> = used.map(|seen| seen.header.fingerprint.clone()).collect();
            if !used.is_empty() {
                out.entry(name.clone()).or_default().insert(*asset, used);
            }
        }
        out
    }
}
