//! Addresses in GDAL's words, and what must be set for it to reach them.

use std::collections::BTreeMap;

use icechunk::ObjectStoreConfig;
use icechunk::virtual_chunks::VirtualChunkContainer;
use s2ice_manifest::source::location::{Scheme, SourceError, SourceUrl};

/// The name by which GDAL opens the file at an address of a reference.
///
/// # Errors
/// It is no address of a file.
pub fn name(address: &str) -> Result<String, SourceError> {
    let (folder, file) = SourceUrl::parse_file(address)?;
    let key = || {
        let segments: Vec<&str> = folder.segments().iter().map(String::as_str).chain([file.as_str()]).collect();
        format!("{}/{}", folder.authority(), segments.join("/"))
    };
    Ok(match folder.scheme() {
        Scheme::Local => folder.local_root().unwrap_or_default().join(&file).to_string_lossy().into_owned(),
        Scheme::S3 => format!("/vsis3/{}", key()),
        Scheme::Gcs => format!("/vsigs/{}", key()),
        Scheme::Azure => format!("/vsiaz/{}", key()),
        // GDAL sends an address as it is given.
        Scheme::Http | Scheme::Https => format!("/vsicurl/{}", folder.url_of(&file)?),
    })
}

/// Who is asked for the files of a container.
#[derive(Debug, serde::Serialize)]
pub struct Service {
    /// Name of the container.
    name: String,
    /// What the addresses of its files begin with.
    prefix: String,
    /// Of S3: where it is not Amazon's own.
    endpoint: Option<String>,
    /// Of S3.
    region: Option<String>,
    /// Of S3: false where the bucket is part of the host's name.
    path_style: bool,
    /// Of Azure.
    account: Option<String>,
}

impl Service {
    /// That of a container.
    pub fn of(container: &VirtualChunkContainer) -> Self {
        let s3 = match &container.store {
            ObjectStoreConfig::S3(s3) | ObjectStoreConfig::S3Compatible(s3) | ObjectStoreConfig::Tigris(s3) => Some(s3),
            _ => None,
        };
        let account = match &container.store {
            ObjectStoreConfig::Azure(options) => options.get("account").cloned(),
            _ => None,
        };
        Self {
            name: container.name().unwrap_or(container.url_prefix()).to_owned(),
            prefix: container.url_prefix().to_owned(),
            endpoint: s3.and_then(|s3| s3.endpoint_url.clone()),
            region: s3.and_then(|s3| s3.region.clone()),
            path_style: s3.is_none_or(|s3| s3.force_path_style),
            account,
        }
    }
}

/// GDAL's configuration options for the files of a container, beside keys, which are nobody's but the reader's.
pub fn options(container: &VirtualChunkContainer) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        out.insert(name.to_owned(), value.to_owned());
    };
    match &container.store {
        ObjectStoreConfig::S3(s3) | ObjectStoreConfig::S3Compatible(s3) | ObjectStoreConfig::Tigris(s3) => {
            if let Some(endpoint) = &s3.endpoint_url {
                let (scheme, host) = endpoint.split_once("://").unwrap_or(("https", endpoint));
                set("AWS_S3_ENDPOINT", host.trim_end_matches('/'));
                if scheme.eq_ignore_ascii_case("http") {
                    set("AWS_HTTPS", "NO");
                }
            }
            if s3.force_path_style {
                set("AWS_VIRTUAL_HOSTING", "FALSE");
            }
            if let Some(region) = &s3.region {
                set("AWS_REGION", region);
            }
            if s3.anonymous {
                set("AWS_NO_SIGN_REQUEST", "YES");
            }
            if s3.requester_pays {
                set("AWS_REQUEST_PAYER", "requester");
            }
        }
        ObjectStoreConfig::Azure(options) => {
            if let Some(account) = options.get("account") {
                set("AZURE_STORAGE_ACCOUNT", account);
            }
        }
        _ => {}
    }
    if !container.url_prefix().starts_with("file:") {
        // Else each opened file has its folder listed.
        set("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR");
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use icechunk::config::S3Options;

    use super::*;

    #[test]
    fn addresses_have_names_that_gdal_knows() {
        for (address, expected) in [
            ("s3://eodata/Sentinel-2/a%20b.jp2", "/vsis3/eodata/Sentinel-2/a b.jp2"),
            ("gs://b/c.jp2", "/vsigs/b/c.jp2"),
            ("az://c/d/e.jp2", "/vsiaz/c/d/e.jp2"),
            ("http://127.0.0.1:80/a%20b/c.jp2", "/vsicurl/http://127.0.0.1:80/a%20b/c.jp2"),
            ("file:///no%20such/c%231.jp2", "/no such/c#1.jp2"),
        ] {
            assert_eq!(name(address).unwrap(), expected);
        }
        assert!(name("s3://bucket").is_err());
    }

    #[test]
    fn what_must_be_set_is_told() {
        let mut s3 = S3Options::default();
        s3.endpoint_url = Some("http://127.0.0.1:9000/".to_owned());
        s3.region = Some("default".to_owned());
        s3.anonymous = true;
        s3.force_path_style = true;
        s3.requester_pays = true;
        let store = ObjectStoreConfig::S3Compatible(s3);
        let container = VirtualChunkContainer::new_named("s".to_owned(), "s3://eodata/".to_owned(), store).unwrap();
        let told = options(&container);
        let told: Vec<_> = told.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            told,
            [
                ("AWS_HTTPS", "NO"),
                ("AWS_NO_SIGN_REQUEST", "YES"),
                ("AWS_REGION", "default"),
                ("AWS_REQUEST_PAYER", "requester"),
                ("AWS_S3_ENDPOINT", "127.0.0.1:9000"),
                ("AWS_VIRTUAL_HOSTING", "FALSE"),
                ("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR"),
            ]
        );
    }
}
