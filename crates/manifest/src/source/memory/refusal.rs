//! Refusals, and when what was refused is asked for again.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::Memory;
use crate::assemble::{Refusal, RefusalKind};
use crate::product::ProductId;
use crate::raster::Asset;

/// What was refused, and for how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// What was left out, and why.
    pub refusal: Refusal,
    /// Of what it was made and asked: index rows, filters and policies. Others are another matter.
    pub fingerprint: i64,
    /// The product that stands in its place; where that is gone, the refusal is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<ProductId>,
    /// What it has itself, where that is less than what that one has.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub has: BTreeSet<Asset>,
    /// Fingerprint of what its item said; absent where none was shown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub item: Option<i64>,
    /// When it was first refused.
    pub first: DateTime<Utc>,
    /// When it was last refused.
    pub last: DateTime<Utc>,
    /// How often it was asked for.
    pub tries: u32,
    /// When it may be asked for again; `None` where only other rows can change the outcome.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub again: Option<DateTime<Utc>>,
}

impl Remembered {
    /// True where it would be refused again: made of the same, in the place of what still `stands`, and not due at `now`.
    #[must_use]
    pub fn waits(&self, fingerprint: i64, now: DateTime<Utc>, stands: impl Fn(ProductId) -> bool) -> bool {
        self.fingerprint == fingerprint && self.by.is_none_or(stands) && self.again.is_none_or(|again| again > now)
    }
}

/// Whether to ask.
#[derive(Debug, Clone, PartialEq)]
pub enum Due {
    /// Nothing speaks against it.
    Ask,
    /// It would be refused again.
    Wait(Box<Remembered>),
}

/// How long to wait after so many tries in vain; `None` for ever. Passing trouble is tried by the next run, then less and
/// less often; what is wrong with a file may be mended in its place, and what an XML or a header says may be put right there
/// without a word of index or catalogue.
fn wait(kind: RefusalKind, tries: u32) -> Option<TimeDelta> {
    let doubled = |first: TimeDelta, times: u32, most: TimeDelta| {
        first.checked_mul(1 << times.min(20)).map_or(most, |w| w.min(most))
    };
    match kind {
        RefusalKind::Source if tries <= 1 => Some(TimeDelta::zero()),
        RefusalKind::Source => Some(doubled(TimeDelta::minutes(10), tries - 2, TimeDelta::days(1))),
        RefusalKind::Header
        | RefusalKind::Changed
        | RefusalKind::Ranges
        | RefusalKind::Metadata
        | RefusalKind::Incomplete => Some(doubled(TimeDelta::days(1), tries.saturating_sub(1), TimeDelta::days(30))),
        RefusalKind::Filtered | RefusalKind::Radiometry | RefusalKind::HeaderProfile => {
            Some(doubled(TimeDelta::days(7), tries.saturating_sub(1), TimeDelta::days(30)))
        }
        _ => None,
    }
}

/// Key of a refusal: a product, or one of its rasters.
fn key(product: &str, raster: Option<&str>) -> String {
    raster.map_or_else(|| product.to_owned(), |raster| format!("{product} {raster}"))
}

impl Memory {
    /// Everything that is left out.
    #[must_use]
    pub fn left_out(&self) -> Vec<Refusal> {
        self.lock().refusals.values().map(|known| known.refusal.clone()).collect()
    }

    /// Whether a product (without a raster) or one of its rasters is worth asking for. `stands` tells whether a product is
    /// in the store.
    #[must_use]
    pub fn due(
        &self,
        id: ProductId,
        raster: Option<&str>,
        fingerprint: i64,
        stands: impl Fn(ProductId) -> bool,
    ) -> Due {
        let state = self.lock();
        let known = state.refusals.get(&key(&id.to_string(), raster));
        match known.filter(|known| known.waits(fingerprint, (self.clock)(), stands)) {
            Some(known) => Due::Wait(Box::new(known.clone())),
            None => Due::Ask,
        }
    }

    /// Takes note of what the item of a product says, by a fingerprint. What was refused of the product while it said
    /// something else, or was not shown, is forgotten: evidence is asked for anew.
    pub fn hear(&self, id: ProductId, said: i64) {
        if self.of_product(id, |known| known.item).into_iter().any(|before| before != Some(said)) {
            self.forget_product(id);
        }
        self.lock().said.insert(id, said);
    }

    /// Remembers that something was refused; `by` is the product that stands in its place, although it has these.
    pub fn refuse(&self, refusal: &Refusal, fingerprint: i64, by: Option<(ProductId, BTreeSet<Asset>)>) {
        let (by, has) = by.map_or_else(Default::default, |(by, has)| (Some(by), has));
        let now = (self.clock)();
        let key = key(&refusal.product, refusal.raster.as_deref());
        let mut state = self.lock();
        let said = refusal.product.parse::<ProductId>().ok().and_then(|id| state.said.get(&id).copied());
        let item = said.or_else(|| state.refusals.get(&key)?.item);
        let before =
            state.refusals.get(&key).filter(|b| b.fingerprint == fingerprint && b.refusal.kind == refusal.kind);
        // What is still being waited for was not asked for.
        let same = |before: &Remembered| before.by == by && before.has == has;
        if before.is_some_and(|before| before.again.is_none_or(|again| again > now) && same(before)) {
            return;
        }
        // A run that decides anew tries no second time.
        let counted = before.is_some_and(|before| before.last >= self.began);
        let tries = before.map_or(0, |before| before.tries).saturating_add(u32::from(!counted));
        let first = before.map_or(now, |before| before.first);
        let again = wait(refusal.kind, tries).map(|wait| now + wait);
        let remembered =
            Remembered { refusal: refusal.clone(), fingerprint, by, has, item, first, last: now, tries, again };
        state.refusals.insert(key, remembered);
        state.learned += 1;
    }

    /// Forgets the refusals of everything that is not refused any more among the products that were looked at.
    pub fn settle(&self, looked_at: impl Fn(&str) -> bool, refused: impl Fn(&str, Option<&str>) -> bool) {
        let mut state = self.lock();
        let before = state.refusals.len();
        state.refusals.retain(|_, known| {
            let Refusal { product, raster, .. } = &known.refusal;
            !looked_at(product) || refused(product, raster.as_deref())
        });
        state.forgot |= state.refusals.len() != before;
    }

    /// Forgets what would be tried again of products that are not there any more: nobody could.
    pub fn forget_gone(&self, is_there: impl Fn(ProductId) -> bool) {
        let mut state = self.lock();
        let before = state.refusals.len();
        state.refusals.retain(|_, known| known.again.is_none() || known.refusal.product.parse().is_ok_and(&is_there));
        state.forgot |= state.refusals.len() != before;
    }

    /// True where something that was refused may be asked for again.
    #[must_use]
    pub fn has_due(&self) -> bool {
        let now = (self.clock)();
        self.lock().refusals.values().any(|known| known.again.is_some_and(|again| again <= now))
    }

    /// True where anything is remembered of a product.
    #[must_use]
    pub fn knows(&self, id: ProductId) -> bool {
        !self.of_product(id, |known| known.again).is_empty()
    }

    /// What is remembered of a product and its rasters.
    #[must_use]
    pub fn refusals(&self, id: ProductId) -> Vec<Remembered> {
        self.of_product(id, Remembered::clone)
    }

    /// What the refusals of a product and its rasters say.
    fn of_product<T>(&self, id: ProductId, say: impl Fn(&Remembered) -> T) -> Vec<T> {
        let name = id.to_string();
        let state = self.lock();
        let of_product = state.refusals.range(name.clone()..).take_while(|(key, _)| key.starts_with(&name));
        of_product.map(|(_, known)| say(known)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    static NOW: AtomicI64 = AtomicI64::new(1_800_000_000);

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(NOW.load(Ordering::Relaxed), 0).unwrap()
    }

    fn later(seconds: i64) {
        NOW.fetch_add(seconds, Ordering::Relaxed);
    }

    #[test]
    fn what_is_refused_waits_as_its_kind_asks_for() {
        let id: ProductId = "S2A_MSIL2A_20240501T100601_N0511_R022_T33TVN_20240501T140000".parse().unwrap();
        let other: ProductId = "S2A_MSIL2A_20240501T100601_N0512_R022_T33TVN_20240501T140000".parse().unwrap();
        let mut memory = Memory::new(now);
        let refusal =
            |kind| Refusal { product: id.to_string(), raster: Some("B02_10m".into()), kind, reason: "x".into() };
        let due = |memory: &Memory, fingerprint| memory.due(id, Some("B02_10m"), fingerprint, |_| false);
        let waits = |due| match due {
            Due::Wait(known) => Some(known.refusal),
            Due::Ask => None,
        };
        assert_eq!(due(&memory, 1), Due::Ask);
        // Passing trouble: by the next run, then doubled.
        for _attempt in 0..2 {
            memory.refuse(&refusal(RefusalKind::Source), 1, None);
            assert_eq!(due(&memory, 1), Due::Ask);
        }
        later(1);
        memory.began = now();
        memory.refuse(&refusal(RefusalKind::Source), 1, None);
        assert_eq!(waits(due(&memory, 1)), Some(refusal(RefusalKind::Source)));
        assert_eq!(due(&memory, 2), Due::Ask, "other rows");
        assert!(memory.knows(id) && !memory.knows(other));
        assert!(memory.refusals(id).len() == 1 && memory.refusals(other).is_empty());
        later(601);
        memory.began = now();
        assert_eq!(due(&memory, 1), Due::Ask);
        memory.refuse(&refusal(RefusalKind::Source), 1, None);
        later(601);
        assert!(matches!(due(&memory, 1), Due::Wait(_)));
        later(601);
        assert_eq!(due(&memory, 1), Due::Ask);
        memory.forget_gone(|of| of == id);
        assert!(memory.knows(id) && memory.has_due());
        memory.forget_gone(|of| of == other);
        assert!(!memory.knows(id) && !memory.has_due());
        // A damaged row waits until it changes.
        memory.refuse(&refusal(RefusalKind::Index), 1, None);
        later(400 * 86_400);
        assert!(matches!(due(&memory, 1), Due::Wait(_)) && due(&memory, 2) == Due::Ask);
        // What an XML says may be put right there without a word.
        memory.refuse(&refusal(RefusalKind::Filtered), 1, None);
        later(6 * 86_400);
        assert!(matches!(due(&memory, 1), Due::Wait(_)) && !memory.has_due());
        later(86_400);
        assert!(due(&memory, 1) == Due::Ask && memory.has_due());
        memory.settle(|_| true, |_, _| false);
        // What gave way to another comes back where that one is gone.
        let whole = Refusal { raster: None, ..refusal(RefusalKind::Superseded) };
        memory.refuse(&whole, 7, Some((other, BTreeSet::new())));
        assert_eq!(waits(memory.due(id, None, 7, |by| by == other)), Some(whole));
        assert_eq!(memory.due(id, None, 7, |_| false), Due::Ask);
        memory.refuse(&refusal(RefusalKind::Index), 1, None);
        memory.settle(|_| true, |_, raster| raster.is_none());
        assert_eq!(due(&memory, 1), Due::Ask);
        memory.forget_product(id);
        assert_eq!(memory.due(id, None, 7, |_| true), Due::Ask);
    }
}
