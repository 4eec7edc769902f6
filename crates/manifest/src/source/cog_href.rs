//! Where a file that an item names lies below the source.
//!
//! The address is foreign. It is only ever turned into a path below the prefix that the operator named:
//!
//! 1. An address below the source: what follows the prefix. `https` addresses of S3 and Google buckets count as addresses
//!    of the bucket.
//! 2. An address in the source's own bucket or host, but outside the prefix, is refused.
//! 3. An address elsewhere: the source is taken for a mirror that keeps the path. Folders with which the source's prefix
//!    ends and the path begins are not repeated.

use super::location::{Scheme, SourceUrl};

/// The path, with a leading slash, of an address of an item below a source.
///
/// # Errors
/// Why there is none, in words.
pub fn below(href: &str, source: &SourceUrl) -> Result<String, String> {
    let prefix = source.prefix();
    let Some((scheme, _)) = href.split_once("://") else { return local(href, &prefix) };
    if scheme.eq_ignore_ascii_case("file") {
        let path = href.strip_prefix(&prefix).and_then(SourceUrl::decoded_path);
        return path.map(|path| format!("/{path}")).ok_or_else(|| outside(href, source));
    }
    let (url, name) = SourceUrl::parse_file(href).map_err(|error| error.to_string())?;
    let (file, source_place) = (Place::of(&url), Place::of(source));
    let mut path: Vec<&str> = file.segments.iter().map(String::as_str).collect();
    path.push(&name);
    let own: Vec<&str> = source_place.segments.iter().map(String::as_str).collect();
    let rest = if (file.service, &file.name) == (source_place.service, &source_place.name) {
        path.strip_prefix(own.as_slice()).ok_or_else(|| outside(href, source))?
    } else {
        let longest = own.len().min(path.len() - 1);
        let shared = (0..=longest).rev().find(|count| own.ends_with(&path[..*count])).unwrap_or_default();
        &path[shared..]
    };
    if rest.is_empty() {
        return Err(outside(href, source));
    }
    Ok(format!("/{}", rest.join("/")))
}

/// A path of this machine, compared as text: nothing outside the source is looked at.
fn local(href: &str, prefix: &str) -> Result<String, String> {
    if !href.starts_with('/') {
        return Err(format!("its item names it {:?}, which is no whole address", shown(href)));
    }
    let folder = prefix.strip_prefix("file://").unwrap_or(prefix);
    let path = href.strip_prefix(folder).filter(|path| !path.is_empty());
    path.map(|path| format!("/{path}")).ok_or_else(|| format!("{} lies outside the source {prefix}", shown(href)))
}

fn outside(href: &str, source: &SourceUrl) -> String {
    format!("{} lies outside the source {source}", shown(href))
}

fn shown(href: &str) -> String {
    href.chars().take(160).collect()
}

/// A bucket or host, and the folders in it.
struct Place {
    service: Scheme,
    name: String,
    segments: Vec<String>,
}

impl Place {
    fn of(url: &SourceUrl) -> Self {
        let segments = url.segments().to_vec();
        let host = url.authority().to_ascii_lowercase();
        let plain = Self { service: url.scheme(), name: host.clone(), segments };
        match url.scheme() {
            Scheme::Http | Scheme::Https => {}
            _ => return Self { name: url.authority().to_owned(), ..plain },
        }
        if let Some(service) = host.strip_suffix(".amazonaws.com") {
            // bucket.s3.region and bucket.s3, s3.region/bucket and s3/bucket.
            if service == "s3" || service.starts_with("s3.") || service.starts_with("s3-") {
                return plain.first_is_bucket(Scheme::S3);
            }
            if let Some((bucket, region)) = service.rsplit_once(".s3")
                && (region.is_empty() || region.starts_with(['.', '-']))
            {
                return Self { service: Scheme::S3, name: bucket.to_owned(), ..plain };
            }
        }
        if host == "storage.googleapis.com" {
            return plain.first_is_bucket(Scheme::Gcs);
        }
        plain
    }

    fn first_is_bucket(self, service: Scheme) -> Self {
        match self.segments.split_first() {
            Some((bucket, rest)) => Self { service, name: bucket.clone(), segments: rest.to_vec() },
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HREF: &str =
        "https://e84-earth-search-sentinel-data.s3.us-west-2.amazonaws.com/sentinel-2-c1-l2a/13/T/DE/B04.tif";

    fn path(href: &str, source: &str) -> Result<String, String> {
        below(href, &SourceUrl::parse(source).unwrap())
    }

    #[test]
    fn addresses_become_paths_below_the_source() {
        let bucket = "e84-earth-search-sentinel-data";
        for (source, expected) in [
            (format!("s3://{bucket}"), "/sentinel-2-c1-l2a/13/T/DE/B04.tif"),
            (format!("s3://{bucket}/sentinel-2-c1-l2a/13"), "/T/DE/B04.tif"),
            (format!("https://{bucket}.s3.us-west-2.amazonaws.com/sentinel-2-c1-l2a"), "/13/T/DE/B04.tif"),
            (format!("https://s3.us-west-2.amazonaws.com/{bucket}"), "/sentinel-2-c1-l2a/13/T/DE/B04.tif"),
            (format!("https://{bucket}.s3.amazonaws.com"), "/sentinel-2-c1-l2a/13/T/DE/B04.tif"),
            // Mirrors.
            ("s3://mirror/copies".to_owned(), "/sentinel-2-c1-l2a/13/T/DE/B04.tif"),
            ("/nowhere/copies/sentinel-2-c1-l2a".to_owned(), "/13/T/DE/B04.tif"),
            ("/nowhere/sentinel-2-c1-l2a/13".to_owned(), "/T/DE/B04.tif"),
            ("https://example.org/13".to_owned(), "/sentinel-2-c1-l2a/13/T/DE/B04.tif"),
        ] {
            assert_eq!(path(HREF, &source).unwrap(), expected, "{source}");
        }
        assert_eq!(path("s3://b/a%20b/B04.tif", "s3://b").unwrap(), "/a b/B04.tif");
        assert_eq!(path("file:///data/x/a%20b.tif", "/data/x").unwrap(), "/a b.tif");
        assert_eq!(path("/data/x/a.tif", "/data/x").unwrap(), "/a.tif");
    }

    #[test]
    fn nothing_outside_the_source_is_named() {
        for (href, source) in [
            (HREF, "s3://e84-earth-search-sentinel-data/other"),
            ("s3://b/x/../B04.tif", "s3://b"),
            ("s3://b/x/%2e%2e/B04.tif", "s3://b/x"),
            ("s3://b/B04.tif?x=1", "s3://b"),
            ("/etc/passwd", "/data/x"),
            ("file:///etc/passwd", "/data/x"),
            ("./B04.tif", "/data/x"),
            ("B04.tif", "s3://b"),
            ("ftp://b/B04.tif", "s3://b"),
            ("s3://b", "s3://b"),
            ("/data/x/", "/data/x"),
        ] {
            assert!(path(href, source).is_err(), "{href} below {source}: {:?}", path(href, source));
        }
        // The source itself refuses to leave its prefix.
        let source = SourceUrl::parse("/data/x").unwrap();
        assert!(source.encoded_path(&below("/data/x/../y.tif", &source).unwrap()).is_err());
    }
}
