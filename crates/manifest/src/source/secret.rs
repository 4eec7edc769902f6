//! Texts that must not be shown, and the last line of defence where one is about to be.
//!
//! A secret may name environment variables, `${NAME}`, which are read when it is used. What was used is known to the process
//! from then on: [`masked`] takes it out of whatever is about to be written, such as the logs of client libraries.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

/// What stands in the place of a secret.
pub const HIDDEN: &str = "***";

/// Shorter texts are not looked for: they stand in too many words.
const SHORTEST: usize = 6;

/// So many bytes of a secret tell something of it.
const TELLING: usize = 8;

/// The secrets that were used so far.
static USED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A secret that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// A variable that is not there.
    #[error("the environment variable {name} is not set")]
    NotSet {
        /// Its name.
        name: String,
    },
    /// A `${` without its end, or without a name that a variable can have.
    #[error("`${{` begins no name of an environment variable: write ${{NAME}}, or $$ for a dollar sign")]
    NoName,
    /// An address that the values of its variables make no address, or one of another host.
    #[error(
        "with the values of its variables it is no address, or one of another host: write %2F, %3F, %23, %40 and %25 for \
         /, ?, #, @ and % in them"
    )]
    NotAnAddress,
}

/// A text that is never shown: not by `Debug`, not where it is serialised.
#[derive(Clone, PartialEq, Eq, Default, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// A secret, or a text with the names of environment variables that hold it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn reveal(&self) -> Result<String, SecretError> {
        let text = expand(&self.0, variable)?;
        remember(&text);
        Ok(text)
    }

    /// True where the secret itself stands here, and not where to find it.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        expand(&self.0, |_| None).is_ok_and(|text| !text.is_empty())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

/// A variable of the process, as the client libraries read theirs.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A text with the values of variables in the places of their names.
pub(super) fn expand(text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, SecretError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out += before;
        rest = if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            tail
        } else if let Some(tail) = after.strip_prefix('{') {
            let (name, tail) = tail.split_once('}').ok_or(SecretError::NoName)?;
            let known = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(known) {
                return Err(SecretError::NoName);
            }
            out += &value(name).ok_or_else(|| SecretError::NotSet { name: name.to_owned() })?;
            tail
        } else {
            out.push('$');
            after
        };
    }
    out += rest;
    Ok(out)
}

/// Notes a secret that is about to be used.
pub(super) fn remember(text: &str) {
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    // The whole, and what follows the name of a scheme: `Bearer ...`.
    for part in std::iter::once(text).chain(text.split_whitespace()) {
        if part.len() < SHORTEST || used.contains(part) {
            continue;
        }
        used.insert(part.to_owned());
        // As it stands in addresses and in JSON.
        used.insert(percent_decode_str(part).decode_utf8_lossy().into_owned());
        used.insert(utf8_percent_encode(part, NON_ALPHANUMERIC).to_string());
        used.insert(url::form_urlencoded::byte_serialize(part.as_bytes()).collect());
        let quoted = serde_json::to_string(part).unwrap_or_default();
        used.extend(quoted.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).map(str::to_owned));
    }
}

/// What a server answered, without the secrets that it repeats: nothing at all where it repeats one in part, or in other
/// letters here and there.
pub fn foreign(text: &str) -> Cow<'_, str> {
    let shown = masked(text);
    let used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    let is_in = |secret: &String| secret.as_bytes().windows(TELLING).any(|part| contains(shown.as_bytes(), part));
    if used.iter().any(is_in) { Cow::Borrowed(HIDDEN) } else { shown }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// A text without the secrets that this process has used.
pub fn masked(text: &str) -> Cow<'_, str> {
    let used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut out = Cow::Borrowed(text);
    // The longest first: one may begin another.
    let mut found: Vec<&String> = used.iter().filter(|secret| text.contains(secret.as_str())).collect();
    found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in found {
        out = Cow::Owned(out.replace(secret.as_str(), HIDDEN));
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn variables_are_named_in_braces() {
        let value = |name: &str| (name == "KEY").then(|| "k${x}".to_owned());
        for (text, expected) in [
            ("plain", "plain"),
            ("${KEY}", "k${x}"),
            ("Bearer ${KEY}!", "Bearer k${x}!"),
            ("$$", "$"),
            ("$5 $$ $${KEY}", "$5 $ ${KEY}"),
            ("", ""),
        ] {
            assert_eq!(expand(text, value).unwrap(), expected, "{text}");
        }
        for text in ["${", "${}", "${A B}", "${KEY"] {
            assert_eq!(expand(text, value), Err(SecretError::NoName), "{text}");
        }
        assert_eq!(expand("${OTHER}", value), Err(SecretError::NotSet { name: "OTHER".to_owned() }));
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::new("hunter2-of-this-test");
        assert_eq!(format!("{secret:?}"), HIDDEN);
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        let line = "connecting with hunter2-of-this-test, twice: hunter2-of-this-test";
        assert_eq!(masked(line), line);
        assert_eq!(secret.reveal().unwrap(), "hunter2-of-this-test");
        assert_eq!(masked(line), "connecting with ***, twice: ***");
        Secret::new("Bearer token-of-this-test").reveal().unwrap();
        assert_eq!(masked("GET /?t=token-of-this-test"), "GET /?t=***");
    }

    #[test]
    fn what_stands_in_the_text_itself_is_plain() {
        assert!(Secret::new("AKIA").is_plain());
        assert!(Secret::new("a$$b").is_plain());
        assert!(!Secret::new("Bearer ${TOKEN}").is_plain());
        assert!(!Secret::new("").is_plain());
    }
}
