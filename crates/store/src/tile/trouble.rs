//! Why a raster or product is left out, and which failures end a run.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use s2ice_manifest::assemble::{Refusal, RefusalKind};
use s2ice_manifest::product::ProductId;
use s2ice_manifest::raster::Asset;
use s2ice_manifest::source::aws_tree::AwsError;
use s2ice_manifest::source::budget::BudgetError;
use s2ice_manifest::source::facts::FactsError;
use s2ice_manifest::source::jp2_header::FileError;
use s2ice_manifest::source::location::SourceError;
use s2ice_manifest::source::safe_xml::MetadataError;

use crate::error::{Error, Result};
use crate::layout::geometry;

/// A raster or product that is left out, or a source that cannot be used at all.
pub enum Trouble {
    Refused(RefusalKind, String),
    /// No answer in time: of one file, or of the whole source.
    Silent(Error),
    Fatal(Error),
}

impl Trouble {
    /// The refusal of a raster.
    ///
    /// # Errors
    /// What ends the run.
    pub fn of_raster(self, product: ProductId, asset: Asset) -> Result<Refusal> {
        match self {
            Self::Refused(kind, reason) => {
                Ok(Refusal { product: product.to_string(), raster: Some(asset.to_string()), kind, reason })
            }
            Self::Silent(error) | Self::Fatal(error) => Err(error),
        }
    }
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Timeout { .. } | SourceError::Budget(BudgetError::GivenUp { .. }) => {
                Self::Silent(Error::of_source(error))
            }
            error if error.concerns_whole_source() => Self::Fatal(Error::of_source(error)),
            error => Self::Refused(RefusalKind::Source, error.to_string()),
        }
    }
}

impl From<FileError> for Trouble {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Source(error) => error.into(),
            FileError::Changed { .. } => Self::Refused(RefusalKind::Changed, error.to_string()),
            _ => Self::Refused(RefusalKind::Header, error.to_string()),
        }
    }
}

impl From<FactsError> for Trouble {
    fn from(error: FactsError) -> Self {
        match error {
            FactsError::File(error) => error.into(),
            FactsError::Metadata(MetadataError::Source(error)) => error.into(),
            FactsError::Metadata(error) => Self::Refused(RefusalKind::Metadata, error.to_string()),
        }
    }
}

impl From<AwsError> for Trouble {
    fn from(error: AwsError) -> Self {
        match error {
            AwsError::Source(error) => error.into(),
            AwsError::NotProven { .. } => Self::Refused(RefusalKind::Metadata, error.to_string()),
            _ => Self::Refused(RefusalKind::Source, error.to_string()),
        }
    }
}

/// Files of so many products that do not answer, one after the other, mean that nothing will.
const SILENT: usize = 4;

/// How long silence is borne with.
#[derive(Default)]
pub struct Silence {
    /// Products of which a file did not answer since another file did.
    silent: Mutex<BTreeSet<ProductId>>,
}

impl Silence {
    /// A file that never answers is left out; those of several products in a row mean that nothing will answer.
    ///
    /// # Errors
    /// The file is left out, or the whole source is silent.
    pub fn bear<T>(&self, id: ProductId, answer: std::result::Result<T, Trouble>) -> std::result::Result<T, Trouble> {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Err(Trouble::Silent(error)) => {
                silent.insert(id);
                match silent.len() {
                    SILENT.. => Err(Trouble::Fatal(error)),
                    _ => Err(Trouble::Refused(RefusalKind::Source, error.to_string())),
                }
            }
            answer => {
                silent.clear();
                answer
            }
        }
    }
}

/// The refusal of a product's angles, without which it is stored.
pub fn without_angles(id: ProductId, kind: RefusalKind, reason: String) -> Refusal {
    Refusal { product: id.to_string(), raster: Some(geometry::RASTER.to_owned()), kind, reason }
}

/// The refusal of a whole product.
pub fn whole(id: ProductId, kind: RefusalKind, reason: String) -> Refusal {
    Refusal { product: id.to_string(), raster: None, kind, reason }
}
