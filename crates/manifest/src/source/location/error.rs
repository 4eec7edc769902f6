//! What can go wrong with a source, each as one sentence.

use super::super::budget::BudgetError;

/// A source that cannot be named, opened or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The text names no source.
    #[error("{text:?} is no address to use: {reason}")]
    BadUrl {
        /// What was given.
        text: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// A path that would leave the source's prefix, or that no object can have.
    #[error("path {path:?} cannot be used below {url}: {reason}")]
    BadPath {
        /// The path as given.
        path: String,
        /// The source.
        url: String,
        /// Why it is refused.
        reason: String,
    },
    /// Options that contradict the source or each other.
    #[error("the options for {url} cannot be used: {reason}")]
    BadOptions {
        /// The source.
        url: String,
        /// What is wrong with them.
        reason: String,
    },
    /// A local source that is not a folder.
    #[error("{path} is not a folder: a local source is the folder in which the product folders lie")]
    NotAFolder {
        /// The path.
        path: String,
    },
    /// No connection to the host.
    #[error("cannot connect to read {url}: {detail}; check the address, the endpoint and the network")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// The innermost cause.
        detail: String,
    },
    /// The host answers too slowly or not at all.
    #[error("no answer in time for {url}; try again, or with fewer connections")]
    Timeout {
        /// What was asked for.
        url: String,
    },
    /// 401 or 403, or keys that are not valid any more.
    #[error(
        "access to {url} was refused ({detail}): check the credentials, or read anonymously if the data is public; \
         a requester-pays bucket needs the requester-pays option"
    )]
    Denied {
        /// What was asked for.
        url: String,
        /// Status and the service's error code.
        detail: String,
    },
    /// 408, 429 or 5xx after patience, or a connection that broke.
    #[error("{url} could not be read for now: {detail}; try again later")]
    Failing {
        /// What was asked for.
        url: String,
        /// Status and the service's error code, or what happened.
        detail: String,
    },
    /// Nothing to sign requests with.
    #[error("no credentials found for {url}: set them in the environment, or read anonymously if the data is public")]
    NoCredentials {
        /// What was asked for.
        url: String,
    },
    /// 404 for an object.
    #[error("{url} does not exist")]
    Missing {
        /// The object.
        url: String,
    },
    /// A folder or prefix in which no raster is.
    #[error("no raster is below {url}: rasters are .jp2 files in product folders (.SAFE)")]
    NoRaster {
        /// The folder.
        url: String,
    },
    /// 404 for the bucket.
    #[error("bucket {bucket:?} does not exist at {endpoint}: check the bucket's name and the endpoint")]
    NoBucket {
        /// The bucket.
        bucket: String,
        /// The endpoint, or the service's own.
        endpoint: String,
    },
    /// A redirect to another region.
    #[error("bucket {bucket:?} is in another region than {region:?}: set the region")]
    WrongRegion {
        /// The bucket.
        bucket: String,
        /// The region used.
        region: String,
    },
    /// An answer that object storage would not give.
    #[error("the answer for {url} is not one of object storage ({detail}): check the endpoint")]
    WrongEndpoint {
        /// What was asked for.
        url: String,
        /// What came instead.
        detail: String,
    },
    /// A server that sends whole files only.
    #[error("the server of {url} does not answer range requests, so its files can be neither indexed nor referenced")]
    NoRange {
        /// What was asked for.
        url: String,
    },
    /// A range that begins behind the end of the object.
    #[error("{url} ends before byte {offset}")]
    PastEnd {
        /// The object.
        url: String,
        /// First byte asked for.
        offset: u64,
    },
    /// An object larger than this kind of file can be.
    #[error("{url} has {size} bytes, more than the {limit} that such a file may have")]
    TooLarge {
        /// The object.
        url: String,
        /// Its size, bytes.
        size: u64,
        /// The bound, bytes.
        limit: u64,
    },
    /// A listing that does not end.
    #[error("more than {limit} files below {url}: name product folders instead")]
    TooMany {
        /// The folder.
        url: String,
        /// The bound.
        limit: usize,
    },
    /// A server without listings.
    #[error("the files below {url} cannot be listed ({detail}): name the .jp2 files themselves")]
    CannotList {
        /// The folder.
        url: String,
        /// Why.
        detail: String,
    },
    /// The host's budget does not allow the request.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// Anything else.
    #[error("reading {url} failed: {detail}")]
    Other {
        /// What was asked for.
        url: String,
        /// The cause.
        detail: String,
    },
}

impl SourceError {
    /// True for failures of the source and not of a file: asking it for thousands of further files would tell the same.
    #[must_use]
    pub fn concerns_whole_source(&self) -> bool {
        if let Self::Budget(BudgetError::GivenUp { .. }) = self {
            return false;
        }
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Timeout { .. }
                | Self::NoCredentials { .. }
                | Self::NoBucket { .. }
                | Self::WrongRegion { .. }
                | Self::WrongEndpoint { .. }
                | Self::NoRange { .. }
                | Self::Budget(_)
        )
    }

    /// True where there was no answer about the file: nobody knows what it is, and nothing is wrong with what is known of
    /// it. That a file does not exist is an answer.
    #[must_use]
    pub fn is_unseen(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Timeout { .. }
                | Self::Denied { .. }
                | Self::Failing { .. }
                | Self::NoCredentials { .. }
                | Self::Budget(_)
                // Whatever it was, it told nothing of the file.
                | Self::Other { .. }
        )
    }

    /// True where the object is not there, as opposed to a place that cannot be read.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}
