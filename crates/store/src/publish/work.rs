//! What the parts of a publication share while it is made.

use std::collections::BTreeMap;

use tokio::sync::{Mutex, OnceCell};

use super::ledger::Ledger;
use super::place::Place;
use super::preview::Limits;
use super::report::PublishReport;
use super::settings::Publishing;

/// A publication under way.
pub(super) struct Work<'a> {
    pub(super) settings: &'a Publishing,
    pub(super) place: Place,
    pub(super) root: Mutex<Ledger>,
    pub(super) zones: BTreeMap<String, Ledger>,
    pub(super) limits: Limits,
    /// Set before the first store is copied or written.
    pub(super) begun: OnceCell<()>,
    pub(super) report: PublishReport,
}
