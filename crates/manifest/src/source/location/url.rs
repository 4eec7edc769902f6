//! A source's address, and how a foreign path is joined to it without ever leaving it.

use std::fmt;
use std::path::{Path as FsPath, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

use super::SourceError;

/// Kept as they are in URL paths: unreserved characters and sub-delimiters of RFC 3986. `%`, `?`, `#`, `\`, blanks and
/// everything outside ASCII are encoded, as virtual references require.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// Kind of place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// A folder of this machine.
    Local,
    /// A bucket of Amazon S3 or of a service that speaks its protocol.
    S3,
    /// A bucket of Google Cloud Storage.
    Gcs,
    /// A container of Azure Blob Storage; the account comes from the environment or the options.
    Azure,
    /// A web server without encryption.
    Http,
    /// A web server.
    Https,
}

impl Scheme {
    /// True for web servers.
    #[must_use]
    pub fn is_web(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    /// As written in an URL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "file",
            Self::S3 => "s3",
            Self::Gcs => "gs",
            Self::Azure => "az",
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A prefix named by the operator: the only place from which files are read and to which references point.
///
/// A local folder is made absolute, with links resolved where it exists.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SourceUrl {
    scheme: Scheme,
    /// Bucket, container or host with port; empty for a local folder.
    authority: String,
    /// Decoded segments of the prefix.
    segments: Vec<String>,
}

impl SourceUrl {
    /// Reads a plain path or an URL: `file://`, `s3://bucket/prefix`, `gs://`, `az://container/prefix`, `http(s)://`.
    ///
    /// # Errors
    /// [`SourceError::BadUrl`] for other schemes, credentials, a query or a fragment in the URL, and segments no
    /// object can have (empty, `.`, `..`).
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let bad = |reason: &str| SourceError::BadUrl { text: without_secrets(text), reason: reason.to_owned() };
        let Some((scheme, rest)) = text.split_once("://") else {
            if text.is_empty() {
                return Err(bad("it is empty"));
            }
            if let Some((scheme, rest)) = text.split_once(":/").filter(|(scheme, _)| is_scheme(scheme)) {
                let slashes = if scheme.eq_ignore_ascii_case("file") { ":///" } else { "://" };
                return Err(bad(&format!(
                    "a slash is missing: write {}",
                    without_secrets(&format!("{scheme}{slashes}{rest}"))
                )));
            }
            return Self::local(text, FsPath::new(text));
        };
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "file" => {
                let url = Url::parse(text).map_err(|e| bad(&e.to_string()))?;
                let path = url.to_file_path().map_err(|()| bad("a file URL has no host: file:///folder"))?;
                return Self::local(text, &path);
            }
            "s3" | "s3a" => Scheme::S3,
            "gs" | "gcs" => Scheme::Gcs,
            "az" | "azure" => Scheme::Azure,
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(bad("use a folder, file://, s3://bucket/prefix, gs://, az:// or http(s)://")),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() {
            return Err(bad("the bucket or host is missing"));
        }
        if authority.contains('@') {
            return Err(bad("credentials do not belong in an address; give them in the environment"));
        }
        if rest.contains(['?', '#']) {
            return Err(bad("an address with a query or a fragment is no prefix (write %3F for a question mark)"));
        }
        let known = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        if !authority.chars().all(known) {
            return Err(bad("the bucket or host has characters that none can have"));
        }
        let mut segments = Vec::new();
        for segment in path.trim_end_matches('/').split('/').filter(|_| !path.trim_end_matches('/').is_empty()) {
            let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| bad("it is not UTF-8"))?;
            check_segment(&decoded).map_err(|reason| bad(&reason))?;
            segments.push(decoded.into_owned());
        }
        Ok(Self { scheme, authority: authority.to_owned(), segments })
    }

    fn local(text: &str, path: &FsPath) -> Result<Self, SourceError> {
        let bad = |reason: String| SourceError::BadUrl { text: text.to_owned(), reason };
        let absolute = match path.canonicalize() {
            Ok(canonical) => canonical,
            Err(_) => std::path::absolute(path).map_err(|e| bad(e.to_string()))?,
        };
        let mut segments = Vec::new();
        for component in absolute.components() {
            match component {
                std::path::Component::Normal(name) => {
                    let name = name.to_str().ok_or_else(|| bad("the path is not UTF-8".to_owned()))?;
                    check_segment(name).map_err(bad)?;
                    segments.push(name.to_owned());
                }
                std::path::Component::ParentDir => return Err(bad("`..` in a folder that does not exist".to_owned())),
                _ => {}
            }
        }
        Ok(Self { scheme: Scheme::Local, authority: String::new(), segments })
    }

    /// Splits the address of one file into the prefix it lies in and its name.
    ///
    /// # Errors
    /// As [`SourceUrl::parse`], and for a prefix without any file name.
    pub fn parse_file(text: &str) -> Result<(Self, String), SourceError> {
        let mut url = Self::parse(text)?;
        match url.segments.pop() {
            Some(name) if !text.ends_with('/') => Ok((url, name)),
            _ => Err(SourceError::BadUrl { text: without_secrets(text), reason: "it names no file".to_owned() }),
        }
    }

    /// Kind of place.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Bucket, container, or host with port; empty for a local folder.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Decoded segments of the prefix.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.segments
    }

    /// The folder of a local source.
    #[must_use]
    pub fn local_root(&self) -> Option<PathBuf> {
        (self.scheme == Scheme::Local).then(|| {
            let mut path = PathBuf::from("/");
            path.extend(&self.segments);
            path
        })
    }

    /// The address with a slash at its end, percent-encoded: what a virtual chunk container is named by.
    #[must_use]
    pub fn prefix(&self) -> String {
        let mut out = format!("{}://{}/", self.scheme.name(), self.authority);
        for segment in &self.segments {
            out.extend(utf8_percent_encode(segment, ENCODED));
            out.push('/');
        }
        out
    }

    /// The address without a slash at its end: what names a store. That of a whole host keeps its slash.
    #[must_use]
    pub fn bare(&self) -> String {
        let mut out = self.prefix();
        if !self.segments.is_empty() {
            out.pop();
        }
        out
    }

    /// The segments of a path of an index: its leading slash dropped, checked so that it stays below the prefix.
    ///
    /// # Errors
    /// [`SourceError::BadPath`] for an URL, an empty path or segment, `.`, `..`, backslashes and control characters.
    pub fn segments_of<'a>(&self, path: &'a str) -> Result<Vec<&'a str>, SourceError> {
        let bad = |reason: String| SourceError::BadPath { path: path.to_owned(), url: self.to_string(), reason };
        if path.contains("://") {
            return Err(bad("it is an address of its own".to_owned()));
        }
        let relative = path.strip_prefix('/').unwrap_or(path);
        relative
            .split('/')
            .map(|segment| check_segment(segment).map(|()| segment))
            .collect::<Result<_, _>>()
            .map_err(bad)
    }

    /// The path below the prefix, percent-encoded, without a leading slash: the tail of [`SourceUrl::url_of`].
    ///
    /// # Errors
    /// See [`SourceUrl::segments_of`].
    pub fn encoded_path(&self, path: &str) -> Result<String, SourceError> {
        let mut out = String::with_capacity(path.len());
        for segment in self.segments_of(path)? {
            if !out.is_empty() {
                out.push('/');
            }
            out.extend(utf8_percent_encode(segment, ENCODED));
        }
        Ok(out)
    }

    /// The path that [`SourceUrl::encoded_path`] made this of; `None` for what it cannot have made.
    #[must_use]
    pub fn decoded_path(encoded: &str) -> Option<String> {
        percent_decode_str(encoded).decode_utf8().ok().map(std::borrow::Cow::into_owned)
    }

    /// The full address of a path of an index, percent-encoded as virtual references want it.
    ///
    /// # Errors
    /// See [`SourceUrl::segments_of`].
    pub fn url_of(&self, path: &str) -> Result<String, SourceError> {
        Ok(self.prefix() + &self.encoded_path(path)?)
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.bare())
    }
}

/// True for the scheme of a source.
pub(in super::super) fn is_scheme(text: &str) -> bool {
    const SCHEMES: [&str; 8] = ["file", "s3", "s3a", "gs", "gcs", "az", "azure", "http"];
    SCHEMES.iter().chain(&["https"]).any(|scheme| text.eq_ignore_ascii_case(scheme))
}

/// An address as it may be shown: neither credentials nor a query, which may hold a signature.
pub(in super::super) fn without_secrets(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        // Of a slash too few.
        return match text.split_once(":/").filter(|(scheme, _)| is_scheme(scheme)) {
            Some((scheme, rest)) => without_secrets(&format!("{scheme}://{rest}")).replacen("://", ":/", 1),
            None => text.to_owned(),
        };
    };
    // A password may have any character in it.
    if let Some((_, host)) = rest.rsplit_once('@').filter(|(user, _)| user.contains(':')) {
        return without_secrets(&format!("{scheme}://{host}")).replacen("://", "://***@", 1);
    }
    let (place, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    let (authority, path) = place.split_at(place.find('/').unwrap_or(place.len()));
    let host = authority.rsplit_once('@').map_or_else(|| authority.to_owned(), |(_, host)| format!("***@{host}"));
    format!("{scheme}://{host}{path}{}", if query.is_empty() { "" } else { "?***" })
}

fn check_segment(segment: &str) -> Result<(), String> {
    match segment {
        "" => Err("it has an empty segment".to_owned()),
        "." | ".." => Err(format!("it has a segment `{segment}`")),
        _ if segment.contains('/') => Err("it has an encoded slash".to_owned()),
        _ if segment.contains('\\') => Err("it has a backslash".to_owned()),
        _ if segment.chars().any(char::is_control) => Err("it has a control character".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_normalised() {
        for (text, prefix) in [
            ("s3://eodata", "s3://eodata/"),
            ("S3://eodata/Sentinel-2/MSI/", "s3://eodata/Sentinel-2/MSI/"),
            ("s3a://b/a%20b", "s3://b/a%20b/"),
            ("gs://bucket/x", "gs://bucket/x/"),
            ("az://container/x", "az://container/x/"),
            ("http://127.0.0.1:8000/data", "http://127.0.0.1:8000/data/"),
            ("/no such folder/x#1", "file:///no%20such%20folder/x%231/"),
            ("file:///no%20such%20folder/", "file:///no%20such%20folder/"),
            ("/", "file:///"),
        ] {
            assert_eq!(SourceUrl::parse(text).unwrap().prefix(), prefix, "{text}");
        }
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in [
            "",
            "ftp://host/x",
            "s3://",
            "s3:///x",
            "https://user:secret@host/x",
            "s3://bucket/a//b",
            "s3://bucket/../x",
            "s3://bucket/%2e%2e/x",
            "s3://bucket/a%2Fb",
            "http://host/x?y=1",
            "s3://bucket/x#y",
            "file://host/x",
            "s3://buc ket/x",
            "s3:/bucket/x",
            "HTTPS:/host/x",
        ] {
            let error = SourceUrl::parse(text).unwrap_err();
            assert!(matches!(error, SourceError::BadUrl { .. }), "{text}: {error}");
        }
    }

    #[test]
    fn a_missing_slash_is_told() {
        for (text, right) in [("s3:/bucket/x", "write s3://bucket/x"), ("file:/data", "write file:///data")] {
            let error = SourceUrl::parse(text).unwrap_err().to_string();
            assert!(error.contains(right), "{error}");
        }
        assert_eq!(SourceUrl::parse("/no/s3:/x").unwrap().prefix(), "file:///no/s3:/x/");
    }

    #[test]
    fn paths_stay_below_the_prefix() {
        let url = SourceUrl::parse("s3://eodata/base").unwrap();
        assert_eq!(url.url_of("/Sentinel-2/x y.jp2").unwrap(), "s3://eodata/base/Sentinel-2/x%20y.jp2");
        assert_eq!(url.url_of("a%2e").unwrap(), "s3://eodata/base/a%252e");
        let path = "a/\u{e9} 100%25#.jp2";
        assert_eq!(SourceUrl::decoded_path(&url.encoded_path(path).unwrap()).as_deref(), Some(path));
        for path in [
            "",
            "/",
            "//host/x",
            "../x",
            "a/../../x",
            "a//b",
            "a/./b",
            "a\0b",
            "a\nb",
            "s3://other/x",
            "/https://o/x",
            "a\\..\\b",
            "a/",
        ] {
            let error = url.url_of(path).unwrap_err();
            assert!(matches!(error, SourceError::BadPath { .. }), "{path:?}: {error}");
        }
    }

    #[test]
    fn a_file_is_its_folder_and_a_name() {
        let (url, name) = SourceUrl::parse_file("s3://bucket/a/index.parquet").unwrap();
        assert_eq!((url.prefix().as_str(), name.as_str()), ("s3://bucket/a/", "index.parquet"));
        assert!(SourceUrl::parse_file("s3://bucket").is_err());
        assert!(SourceUrl::parse_file("s3://bucket/a/").is_err());
    }

    proptest! {
        /// Whatever a foreign path holds, the address it makes is below the prefix after any URL normalisation.
        #[test]
        fn no_path_leaves_the_prefix(path in "[a./\\\\%2eE:@?# \\x00-\\x20]{0,24}") {
            for base in ["s3://bucket/root", "/no-such-root/x"] {
                let url = SourceUrl::parse(base).unwrap();
                if let Ok(address) = url.url_of(&path) {
                    let normal = Url::parse(&address).unwrap();
                    prop_assert!(normal.as_str().starts_with(&url.prefix()), "{} -> {}", path, normal);
                    prop_assert!(normal.query().is_none() && normal.fragment().is_none());
                    let decoded = percent_decode_str(normal.path()).decode_utf8().unwrap().into_owned();
                    prop_assert!(decoded.ends_with(path.strip_prefix('/').unwrap_or(&path)));
                }
            }
        }
    }
}
