//! What makes stores public: copies where others reach them, and documents that tell of them.

mod apart;
mod bounds;
mod copy;
mod documents;
mod files;
mod footprint;
mod former;
mod ledger;
mod made;
mod named;
mod objects;
mod page;
mod place;
mod preview;
mod proof;
mod publication;
pub mod report;
mod row;
mod settings;
mod stac;
mod state;
mod stranger;
mod subject;
mod table;
mod work;

pub use footprint::Footprint;
pub use named::Named;
pub use publication::publish;
pub use row::{CLEAR, Row};
pub use settings::{Background, Publisher, Publishing};
pub use state::{State, Told};
pub use stranger::{Hindrance, Trial};
pub use subject::Subject;

#[cfg(test)]
pub(crate) use stac::testing;

pub use crate::reached::Reached;
