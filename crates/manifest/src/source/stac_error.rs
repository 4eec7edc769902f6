//! Why a catalogue could not be read, in one sentence each.

use url::Url;

use super::budget::BudgetError;
use super::location::SourceError;

/// Why a catalogue could not be read at all. Addresses are shown without their query and credentials.
#[derive(Debug, thiserror::Error)]
pub enum StacLoadError {
    /// Not an address.
    #[error("{input:?} is not a URL: {problem}")]
    BadUrl {
        /// What was given.
        input: String,
        /// Why it is none.
        problem: String,
    },
    /// An option out of its range.
    #[error("the STAC option {option} = {value} is out of range")]
    BadOption {
        /// Name of the option.
        option: &'static str,
        /// Its value.
        value: f64,
    },
    /// The server could not be reached, or the connection broke, in every attempt.
    #[error("cannot reach {url}: {problem}; check the address and the network")]
    Unreachable {
        /// Address.
        url: String,
        /// What happened.
        problem: String,
    },
    /// The server answered with an error.
    #[error("{url} answered {status}{hint}{detail}")]
    Status {
        /// Address.
        url: String,
        /// HTTP status code.
        status: u16,
        /// What to do about it, or empty.
        hint: &'static str,
        /// What the server says, or empty.
        detail: String,
    },
    /// The server asks for more patience than allowed.
    #[error("{url} asks to wait {seconds} s before the next request: try again later")]
    WaitTooLong {
        /// Address.
        url: String,
        /// What it asks for.
        seconds: u64,
    },
    /// The host's budget does not allow the request.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// A link or redirect to another host than the operator named.
    #[error("{url} sends to {target}, on another host than the one named: name that one if you trust it")]
    OtherHost {
        /// Address that was asked.
        url: String,
        /// Where it points.
        target: String,
    },
    /// More bytes than allowed.
    #[error("{place} has more than {limit} bytes, the most that are read: split it")]
    TooLarge {
        /// File or address.
        place: String,
        /// The limit.
        limit: u64,
    },
    /// Not JSON.
    #[error("{place} is not JSON: {problem}")]
    NotJson {
        /// File or address.
        place: String,
        /// Line, column and problem.
        problem: String,
    },
    /// JSON that holds no items and leads to none.
    #[error("{place} is {found}, not a STAC API, item, item collection or list of items")]
    NotItems {
        /// File or address.
        place: String,
        /// What it is.
        found: String,
    },
    /// Headers that cannot be sent.
    #[error("the headers for the catalogue cannot be used: {reason}")]
    BadHeaders {
        /// What is wrong with them.
        reason: String,
    },
    /// A FeatureCollection without its member.
    #[error("{place} is a FeatureCollection without features")]
    NoFeatures {
        /// File or address.
        place: String,
    },
    /// A folder without JSON files.
    #[error("the folder {path} holds no .json or .geojson file")]
    EmptyFolder {
        /// Folder.
        path: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// File.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file that cannot be written.
    #[error("cannot write {path}: {source}")]
    Unwritten {
        /// File, or the folder for it.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file on object storage that cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Not a readable stac-geoparquet file.
    #[error("{place} is not a readable stac-geoparquet file: {problem}")]
    Parquet {
        /// File or address.
        place: String,
        /// What is wrong.
        problem: String,
    },
}

/// An address without what may be secret: user, password, query.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Fails for addresses that cannot have a user, which then have none to hide.
    let _ = (url.set_username(""), url.set_password(None));
    url.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let url = "https://me:secret@host:8443/v1/search?key=secret#x".parse().unwrap();
        assert_eq!(shown(&url), "https://host:8443/v1/search");
    }
}
