//! What makes stores public: copies where others reach them, and documents that tell of them.

mod copy;
mod documents;
mod footprint;
mod ledger;
mod page;
mod place;
mod publication;
pub mod report;
mod row;
mod stac;
mod stranger;
mod subject;
mod table;

pub use copy::{Copied, copy};
pub use footprint::Footprint;
pub use publication::{Background, Publisher, Publishing, publish};
pub use row::{CLEAR, Row};
pub use stac::{State, Told};
pub use stranger::{Hindrance, Trial};
pub use subject::{Reached, Subject};
