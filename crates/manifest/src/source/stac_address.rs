//! Where a catalogue is: an address that may hold a token or a password, which is not shown.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

use super::location::{SourceError, SourceUrl, is_scheme};
use super::secret::{SecretError, expand, remember, variable};
use super::stac_error::shown;

/// The address of a catalogue: an API's, that of a file or folder. User, password and query may name environment variables,
/// `${NAME}`. Shown and serialised without any of these.
#[derive(Clone, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct StacAddress {
    text: String,
    shown: String,
}

/// A text that is no address of a catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no place of a catalogue: {reason}")]
pub struct StacAddressError {
    text: String,
    reason: String,
}

impl StacAddress {
    /// The address as it is used.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn reveal(&self) -> Result<String, SecretError> {
        let text = expand(&self.text, variable)?;
        if self.is_web() {
            let named = expand(&self.text, |_| Some("x".to_owned())).ok().and_then(|text| web(&text));
            let host = |url: &Url| (url.host_str().map(str::to_owned), url.port());
            let url = web(&text).filter(|url| named.as_ref().is_some_and(|named| host(named) == host(url)));
            let url = url.ok_or(SecretError::NotAnAddress)?;
            url.password().into_iter().for_each(remember);
            url.query_pairs().for_each(|(_, value)| remember(&value));
        }
        Ok(text)
    }

    /// True where a token or password stands in the address itself.
    #[must_use]
    pub fn is_plain_secret(&self) -> bool {
        let is_open = |url: Url| url.password().is_some() || url.query().is_some();
        self.text != self.shown && !self.text.contains("${") && web(&self.text).is_some_and(is_open)
    }

    /// The address of an object or of a web server; `None` for a file or folder.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.text.contains("://") && !self.text.to_ascii_lowercase().starts_with("file:")
    }

    /// True for what is asked over HTTP.
    #[must_use]
    pub fn is_web(&self) -> bool {
        web(&self.text).is_some()
    }

    /// The path of a file or folder of this machine.
    #[must_use]
    pub fn local(&self) -> Option<std::path::PathBuf> {
        if self.is_remote() { None } else { SourceUrl::parse(&self.text).ok()?.local_root() }
    }
}

/// The scheme of what was meant as an address: what follows may be secret.
fn mistyped(text: &str) -> Option<&str> {
    let scheme = text.get(..text.find([':', '/'])?)?;
    let rest = text.get(scheme.len()..)?;
    (is_scheme(scheme) && (rest.starts_with(':') || rest.starts_with("//"))).then_some(scheme)
}

/// The address where it is one of the web.
fn web(text: &str) -> Option<Url> {
    let (scheme, _) = text.split_once("://")?;
    ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)).then(|| text.parse().ok())?
}

impl TryFrom<String> for StacAddress {
    type Error = StacAddressError;

    fn try_from(text: String) -> Result<Self, StacAddressError> {
        let bad = |text: String, reason: String| Err(StacAddressError { text, reason });
        if text.trim().is_empty() {
            return bad(text, "it is empty".to_owned());
        }
        let Some((scheme, _)) = text.split_once("://") else {
            if let Some(scheme) = mistyped(&text) {
                return bad(
                    format!("{scheme}..."),
                    format!("it is neither a file nor an address: write {scheme}://..."),
                );
            }
            let shown = text.clone();
            return Ok(Self { text, shown });
        };
        if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") {
            return match text.parse::<Url>() {
                Ok(url) => Ok(Self { shown: shown(&url), text }),
                Err(error) => bad(format!("{scheme}://..."), error.to_string()),
            };
        }
        // Of a machine's own, folders do as well.
        let parsed = if scheme.eq_ignore_ascii_case("file") {
            SourceUrl::parse(&text).map(drop)
        } else {
            SourceUrl::parse_file(&text).map(drop)
        };
        match parsed {
            Ok(()) => Ok(Self { shown: text.clone(), text }),
            // Without what may be secret.
            Err(SourceError::BadUrl { text, reason }) => bad(text, format!("{reason}, or the address of a STAC API")),
            Err(error) => bad(format!("{scheme}://..."), error.to_string()),
        }
    }
}

impl std::str::FromStr for StacAddress {
    type Err = StacAddressError;

    fn from_str(text: &str) -> Result<Self, StacAddressError> {
        text.to_owned().try_into()
    }
}

impl fmt::Display for StacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for StacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown, f)
    }
}

impl Serialize for StacAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn address(text: &str) -> StacAddress {
        text.parse().unwrap()
    }

    #[test]
    fn tokens_are_used_and_not_shown() {
        let place = address("https://me:hunter2@host/v1?token=abcdefgh");
        assert_eq!(
            (place.to_string().as_str(), format!("{place:?}").as_str()),
            ("https://host/v1", "\"https://host/v1\"")
        );
        assert_eq!(serde_json::to_string(&place).unwrap(), "\"https://host/v1\"");
        assert_eq!(place.reveal().unwrap(), "https://me:hunter2@host/v1?token=abcdefgh");
        assert!(place.is_plain_secret() && place.is_web());
        assert!(!address("https://host/v1?token=${TOKEN}").is_plain_secret());
        assert!(!address("https://host/v1").is_plain_secret());
    }

    #[test]
    fn places_of_every_kind_are_known() {
        for (text, remote) in [
            ("https://host/v1", true),
            ("s3://bucket/items.parquet", true),
            ("items.json", false),
            ("file:///data/items", false),
            ("file:///data/items/", false),
            ("folder/of items", false),
        ] {
            assert_eq!(address(text).is_remote(), remote, "{text}");
        }
        for text in ["", "ftp://host/x", "s3://", "https://", "http://me:hunter2@ho st/?t=secret"] {
            let error = text.parse::<StacAddress>().unwrap_err().to_string();
            assert!(!error.contains("hunter2") && !error.contains("t=secret"), "{error}");
        }
    }
}
