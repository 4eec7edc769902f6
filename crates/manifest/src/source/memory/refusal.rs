//! What was refused, and when it is worth asking again.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::assemble::RefusalKind;
use crate::product::{ProductId, ProductMetadata};

/// Wait after the first trouble that may pass, minutes; each further one doubles it.
const FIRST_WAIT_MINUTES: i64 = 5;

/// Longest wait, minutes: a day, and less by an hour, so that a nightly run asks every night.
const LONGEST_WAIT_MINUTES: i64 = 23 * 60;

/// A refusal as it is told to the memory.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRefusal {
    /// The product that it is of, or that the file is of.
    pub product: ProductId,
    /// What kind of trouble.
    pub kind: RefusalKind,
    /// Why, in a sentence.
    pub reason: String,
    /// What tells whether the row or file that was judged has changed.
    pub fingerprint: String,
    /// What is known of a product that is left out, so that nobody has to ask for it.
    pub metadata: Option<ProductMetadata>,
}

/// A refusal that is remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// The product that it is of, or that the file is of.
    pub product: ProductId,
    /// What kind of trouble.
    pub kind: RefusalKind,
    /// Why, in a sentence.
    pub reason: String,
    /// What tells whether the row or file that was judged has changed.
    pub fingerprint: String,
    /// When it was seen first.
    pub first: DateTime<Utc>,
    /// When it was seen last.
    pub last: DateTime<Utc>,
    /// How often it was seen.
    pub tries: u32,
    /// When to try again; nothing: when the fingerprint is another.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub again: Option<DateTime<Utc>>,
    /// What is known of a product that is left out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub metadata: Option<ProductMetadata>,
}

/// Whether something is worth asking for.
#[derive(Debug, Clone, PartialEq)]
pub enum Due {
    /// Ask.
    Ask,
    /// Not yet: this is known of it.
    Wait(Box<Remembered>),
}

impl Remembered {
    /// A refusal after what was remembered before of the same thing.
    pub(super) fn after(before: Option<&Self>, new: NewRefusal, now: DateTime<Utc>) -> Self {
        let NewRefusal { product, kind, reason, fingerprint, metadata } = new;
        let same = before.filter(|before| before.kind == kind && before.fingerprint == fingerprint);
        let tries = same.map_or(1, |before| before.tries.saturating_add(1));
        Self {
            product,
            kind,
            reason,
            fingerprint,
            first: same.map_or(now, |before| before.first),
            last: now,
            tries,
            again: may_pass(kind).then(|| now.checked_add_signed(wait(tries)).unwrap_or(now)),
            metadata,
        }
    }

    pub(super) fn due(&self, fingerprint: &str, now: DateTime<Utc>) -> bool {
        // A clock that was far ahead once must not silence a file for years.
        let passed = |again| now >= again || now < self.last;
        self.fingerprint != fingerprint || self.again.is_some_and(passed)
    }
}

/// Whether trouble may pass without a change that its fingerprint shows.
fn may_pass(kind: RefusalKind) -> bool {
    matches!(kind, RefusalKind::Source | RefusalKind::Changed | RefusalKind::Metadata)
}

fn wait(tries: u32) -> TimeDelta {
    let doubled = FIRST_WAIT_MINUTES << tries.saturating_sub(1).min(16);
    TimeDelta::minutes(doubled.min(LONGEST_WAIT_MINUTES))
}
