//! A place as its readers reach it: the settings that they need, none of the secrets.

use icechunk::ObjectStoreConfig;
use icechunk::virtual_chunks::VirtualChunkContainer;
use s2ice_manifest::source::location::{Effective, Scheme, SourceError, SourceOptions, SourceUrl};
use s2ice_manifest::source::secret::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A place that readers reach: that of a store, or of the product files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reached {
    /// Its address. That of product files ends with a slash, that of a store does not: clients put one behind it.
    pub url: String,
    /// Service address, where it is not the service's own.
    pub endpoint: Option<String>,
    /// S3 region.
    pub region: Option<String>,
    /// No keys are needed.
    pub anonymous: bool,
    /// S3: the reader pays for the transfer.
    pub request_payer: bool,
    /// Azure account.
    pub account: Option<String>,
}

impl Reached {
    /// A folder of product files by the settings that it was opened with.
    pub(crate) fn by(url: &SourceUrl, effective: &Effective) -> Self {
        Self {
            url: url.prefix(),
            endpoint: effective.endpoint.clone(),
            region: effective.region.clone(),
            anonymous: effective.anonymous || !matches!(url.scheme(), Scheme::S3 | Scheme::Gcs | Scheme::Azure),
            request_payer: effective.request_payer,
            account: effective.account.clone(),
        }
    }

    /// A store by the settings that it was opened with.
    pub(crate) fn store(url: &SourceUrl, effective: &Effective) -> Self {
        Self { url: url.bare(), ..Self::by(url, effective) }
    }

    /// A place of a web server.
    pub(crate) fn of_the_web(url: String) -> Self {
        Self { url, endpoint: None, region: None, anonymous: true, request_payer: false, account: None }
    }

    /// The place behind references.
    pub(crate) fn behind(container: &VirtualChunkContainer) -> Self {
        let plain = Self::of_the_web(container.url_prefix().to_owned());
        match &container.store {
            ObjectStoreConfig::S3(s3) | ObjectStoreConfig::S3Compatible(s3) => Self {
                endpoint: s3.endpoint_url.clone(),
                region: s3.region.clone(),
                anonymous: s3.anonymous,
                request_payer: s3.requester_pays,
                ..plain
            },
            ObjectStoreConfig::Gcs(_) => Self { anonymous: false, ..plain },
            ObjectStoreConfig::Azure(options) => {
                Self { anonymous: false, account: options.get("account").cloned(), ..plain }
            }
            _ => plain,
        }
    }

    /// Refuses addresses with a user or password in them: they are told to everybody.
    ///
    /// # Errors
    /// As [`SourceUrl::parse`].
    pub(crate) fn is_open(&self) -> Result<(), SourceError> {
        SourceUrl::parse(&self.url)?;
        match self.endpoint.as_deref().map(SourceUrl::parse).transpose()? {
            Some(endpoint) if !endpoint.scheme().is_web() => Err(SourceError::BadUrl {
                // It is not known what of it is a password.
                text: "...".to_owned(),
                reason: "the endpoint of a service is a web address".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// How it is read with the means of this machine: keys come from the environment.
    pub(crate) fn options(&self) -> SourceOptions {
        // What a store says is never a variable of this machine: such an account has letters and digits alone.
        let plain = |account: &&String| account.chars().all(|c| c.is_ascii_alphanumeric());
        let account = self.account.as_ref().filter(plain);
        let account = account.map(|account| ("azure_storage_account_name".to_owned(), Secret::new(account)));
        SourceOptions {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            anonymous: self.anonymous,
            request_payer: self.request_payer,
            extra: account.into_iter().collect(),
            ..SourceOptions::default()
        }
    }

    /// What stands before `://`.
    pub fn scheme(&self) -> &str {
        self.url.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// Bucket or container, and what follows it.
    pub fn bucket(&self) -> (&str, &str) {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        rest.split_once('/').unwrap_or((rest, ""))
    }

    /// The address by which a browser reaches it; `None` for places that have none.
    pub fn web(&self) -> Option<String> {
        let (bucket, key) = self.bucket();
        let region = self.region.as_deref().unwrap_or("us-east-1");
        match (self.scheme(), &self.endpoint, &self.account) {
            ("http" | "https", ..) => Some(self.url.clone()),
            ("s3", Some(endpoint), _) => Some(format!("{}/{bucket}/{key}", endpoint.trim_end_matches('/'))),
            // A name with dots is in no certificate.
            ("s3", None, _) if bucket.contains('.') => {
                Some(format!("https://s3.{region}.amazonaws.com/{bucket}/{key}"))
            }
            ("s3", None, _) => Some(format!("https://{bucket}.s3.{region}.amazonaws.com/{key}")),
            ("gs", ..) => Some(format!("https://storage.googleapis.com/{bucket}/{key}")),
            ("az", _, Some(account)) => Some(format!("https://{account}.blob.core.windows.net/{bucket}/{key}")),
            _ => None,
        }
    }

    /// True where nobody but this machine reaches it.
    pub fn is_local(&self) -> bool {
        self.scheme() == "file"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_an_address_on_the_web() {
        let place = |url: &str| Reached::of_the_web(url.to_owned());
        let web = |place: Reached| place.web().unwrap_or_default();
        assert_eq!(web(place("https://host/a/")), "https://host/a/");
        assert_eq!(web(place("file:///a/")), "");
        let frankfurt = Reached { region: Some("eu-central-1".to_owned()), ..place("s3://archive/l2a/") };
        assert_eq!(web(frankfurt.clone()), "https://archive.s3.eu-central-1.amazonaws.com/l2a/");
        let dotted = Reached { url: "s3://my.archive/".to_owned(), ..frankfurt.clone() };
        assert_eq!(web(dotted), "https://s3.eu-central-1.amazonaws.com/my.archive/");
        let own = Reached { endpoint: Some("https://eodata.dataspace.copernicus.eu/".to_owned()), ..frankfurt };
        assert_eq!(web(own), "https://eodata.dataspace.copernicus.eu/archive/l2a/");
        assert_eq!(web(place("gs://box/a/")), "https://storage.googleapis.com/box/a/");
        let azure = Reached { account: Some("acc".to_owned()), ..place("az://box/a/") };
        assert_eq!(web(azure), "https://acc.blob.core.windows.net/box/a/");
        assert_eq!(web(place("az://box/a/")), "");
    }
}
