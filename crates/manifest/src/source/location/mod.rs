//! Where the product files lie, and everything that may be asked of that place.
//!
//! An operator names one prefix (a [`SourceUrl`]); the `path` column of an index is foreign and only ever names
//! objects below it. [`Source`] reads ranges and lists; every failure is one sentence that says what to check.

mod body;
mod classify;
pub mod credentials;
mod error;
mod open;
mod store;
mod url;

pub use error::SourceError;
pub use open::{Effective, SourceOptions};
pub use store::{Fetched, Heard, Listed, Source, SourceStats};
pub use url::{Scheme, SourceUrl};
pub(super) use url::{is_scheme, without_secrets};
