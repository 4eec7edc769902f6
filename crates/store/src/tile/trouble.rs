//! Why a raster or product is left out, and which failures end a run.

use s2ice_manifest::assemble::{Refusal, RefusalKind};
use s2ice_manifest::product::ProductId;
use s2ice_manifest::raster::Asset;
use s2ice_manifest::source::aws_tree::AwsError;
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
            SourceError::Timeout { .. } => Self::Silent(error.into()),
            error if error.concerns_whole_source() => Self::Fatal(error.into()),
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

/// The refusal of a product's angles, without which it is stored.
pub fn without_angles(id: ProductId, kind: RefusalKind, reason: String) -> Refusal {
    Refusal { product: id.to_string(), raster: Some(geometry::RASTER.to_owned()), kind, reason }
}

/// The refusal of a whole product.
pub fn whole(id: ProductId, kind: RefusalKind, reason: String) -> Refusal {
    Refusal { product: id.to_string(), raster: None, kind, reason }
}
