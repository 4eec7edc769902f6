//! How stores and product files are reached, in the words of the storage and authentication extensions and of the client
//! that dynamical.org's catalogue has for Icechunk.

use s2ice_manifest::source::location::SourceUrl;
use serde_json::{Map, Value, json};

use crate::publish::subject::Subject;
use crate::reached::Reached;

/// Where S3 is asked that names no region, by all clients.
const DEFAULT_REGION: &str = "us-east-1";

/// Host of the archive whose keys everybody gets.
const DATA_SPACE: &str = "dataspace.copernicus.eu";

/// A place in a document: its scheme of storage and that of authentication, by their names there.
pub(super) struct Access<'a> {
    place: &'a Reached,
    name: String,
}

impl<'a> Access<'a> {
    /// That of a store.
    pub(super) fn of_store(subject: &'a Subject) -> Self {
        Self { place: &subject.store, name: "store".to_owned() }
    }

    /// Those of the product files. Places that only the publisher's machine reaches are nobody's business.
    pub(super) fn of_sources(subject: &'a Subject) -> Vec<Self> {
        let sources = subject.sources.iter().filter(|(_, place)| !place.is_local());
        sources.map(|(name, place)| Self { place, name: format!("source-{}", plain(name)) }).collect()
    }

    /// Name of the place in the document.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its address, percent-encoded; with a slash at its end where the place's has one.
    pub(super) fn href(&self) -> String {
        let url = &self.place.url;
        let is_prefix = url.ends_with('/');
        let address = |url: SourceUrl| if is_prefix { url.prefix() } else { url.bare() };
        SourceUrl::parse(url).map_or_else(|_| url.clone(), address)
    }

    /// Names its schemes in an asset or link.
    pub(super) fn refer(&self, into: &mut Map<String, Value>) {
        if self.storage().is_some() {
            into.insert("storage:refs".into(), json!([self.name]));
        }
        if let Some((name, _)) = self.authentication() {
            into.insert("auth:refs".into(), json!([name]));
        }
    }

    /// `storage:schemes` v2; web servers have none.
    fn storage(&self) -> Option<Value> {
        let Reached { endpoint, region, anonymous, request_payer, account, .. } = self.place;
        let (bucket, _) = self.place.bucket();
        let mut scheme = match (self.place.scheme(), endpoint, account) {
            ("s3", Some(endpoint), _) => json!({
                "type": "custom-s3", "platform": endpoint, "bucket": bucket,
                "region": region.as_deref().unwrap_or(DEFAULT_REGION),
            }),
            ("s3", None, _) => json!({
                "type": "aws-s3", "platform": "https://{bucket}.s3.{region}.amazonaws.com", "bucket": bucket,
                "region": region.as_deref().unwrap_or(DEFAULT_REGION),
            }),
            ("gs", ..) => json!({ "type": "gcs", "platform": "https://storage.googleapis.com", "bucket": bucket }),
            ("az", _, Some(account)) => json!({
                "type": "ms-azure", "platform": "https://{account}.blob.core.windows.net", "account": account,
                "container": bucket,
            }),
            _ => return None,
        };
        // Not of the extension, but what xpystac and others ask for.
        scheme["anonymous"] = (*anonymous).into();
        scheme["requester_pays"] = (*request_payer).into();
        Some(scheme)
    }

    /// `auth:schemes`, where keys are asked for.
    fn authentication(&self) -> Option<(&'static str, Value)> {
        if self.place.anonymous && !self.place.request_payer {
            return None;
        }
        let is_data_space = self.place.endpoint.as_ref().is_some_and(|endpoint| endpoint.contains(DATA_SPACE));
        match self.place.scheme() {
            "s3" if is_data_space => Some((
                "s3-data-space",
                json!({ "type": "s3", "description": "S3 keys of an account at the Copernicus Data Space Ecosystem, which is free." }),
            )),
            "s3" => Some((
                "s3",
                json!({ "type": "s3", "description": "Access key and secret key of an account that may read the bucket." }),
            )),
            // A container does not say whether its bucket is public.
            "gs" => Some((
                "gcs",
                json!({ "type": "gcs", "description": "Credentials of Google Cloud, where the bucket is not public." }),
            )),
            "az" => Some((
                "azure",
                json!({ "type": "azure", "description": "Credentials of Azure, where the container is not public." }),
            )),
            _ => None,
        }
    }

    /// An entry of `icechunk:virtual_chunk_containers`. Icechunk compares the prefix with decoded addresses, so it stands as
    /// the store has it.
    fn container(&self) -> Value {
        let Reached { url, anonymous, .. } = self.place;
        let credentials = match self.place.scheme() {
            "s3" => json!({ "type": "s3", "anonymous": anonymous }),
            "gs" => json!({ "type": "gcs", "anonymous": anonymous }),
            "az" => json!({ "type": "azure", "anonymous": anonymous }),
            _ => json!({ "type": "http" }),
        };
        json!({ "url_prefix": url, "credentials": credentials })
    }

    /// `xarray:storage_options`, as fsspec knows them; web servers need none.
    pub(super) fn storage_options(&self) -> Option<Value> {
        let Reached { endpoint, region, anonymous, request_payer, account, .. } = self.place;
        match self.place.scheme() {
            "s3" => {
                let mut client = json!({ "region_name": region.as_deref().unwrap_or(DEFAULT_REGION) });
                if let Some(endpoint) = endpoint {
                    client["endpoint_url"] = endpoint.as_str().into();
                }
                let mut options = json!({ "anon": anonymous, "client_kwargs": client });
                if *request_payer {
                    options["requester_pays"] = true.into();
                }
                Some(options)
            }
            "gs" => anonymous.then(|| json!({ "token": "anon" })),
            "az" => account.as_ref().map(|account| json!({ "account_name": account, "anon": anonymous })),
            _ => None,
        }
    }
}

/// The containers of a store, for [`Access::container`].
pub(super) fn containers(sources: &[Access<'_>]) -> Vec<Value> {
    sources.iter().map(Access::container).collect()
}

/// `vrt:hrefs`: what the chunks of an asset are parts of; `own` is the address of the document. The extension's schema
/// refuses addresses that begin with `#`, although its text has them.
pub(super) fn parts(sources: &[Access<'_>], own: &str) -> Vec<Value> {
    let part = |source: &Access<'_>| json!({ "key": source.name, "href": format!("{own}#/assets/{}", source.name) });
    sources.iter().map(part).collect()
}

/// All schemes of a document.
pub(super) fn schemes(store: &Access<'_>, sources: &[Access<'_>], into: &mut Map<String, Value>) {
    let (mut storage, mut authentication) = (Map::new(), Map::new());
    for access in std::iter::once(store).chain(sources) {
        storage.extend(access.storage().map(|scheme| (access.name.clone(), scheme)));
        authentication.extend(access.authentication().map(|(name, scheme)| (name.to_owned(), scheme)));
    }
    for (name, schemes) in [("storage:schemes", storage), ("auth:schemes", authentication)] {
        if !schemes.is_empty() {
            into.insert(name.into(), schemes.into());
        }
    }
}

/// A name as it can stand in a JSON pointer in an address.
fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn place(url: &str) -> Reached {
        Reached {
            url: url.to_owned(),
            endpoint: None,
            region: None,
            anonymous: true,
            request_payer: false,
            account: None,
        }
    }

    fn access(place: &Reached) -> Access<'_> {
        Access { place, name: "p".to_owned() }
    }

    #[test]
    fn buckets_have_schemes_and_web_servers_have_none() {
        let aws = place("s3://bucket/a/");
        assert_eq!(access(&aws).storage().unwrap()["region"], DEFAULT_REGION);
        assert_eq!(access(&aws).authentication(), None);
        let keys = Reached {
            endpoint: Some("https://eodata.dataspace.copernicus.eu".to_owned()),
            region: Some("default".to_owned()),
            anonymous: false,
            ..place("s3://eodata/")
        };
        assert_eq!(access(&keys).storage().unwrap()["type"], "custom-s3");
        assert_eq!(access(&keys).authentication().unwrap().0, "s3-data-space");
        let payer = Reached { request_payer: true, ..aws.clone() };
        assert_eq!(access(&payer).authentication().unwrap().0, "s3");
        assert_eq!(access(&payer).storage_options().unwrap()["requester_pays"], true);
        let web = place("https://host/a b/");
        assert_eq!((access(&web).storage(), access(&web).storage_options()), (None, None));
        assert_eq!(access(&web).href(), "https://host/a%20b/");
        assert_eq!(
            access(&web).container(),
            json!({ "url_prefix": "https://host/a b/", "credentials": { "type": "http" } })
        );
        let azure = Reached { account: Some("acc".to_owned()), anonymous: false, ..place("az://box/p/") };
        assert_eq!(access(&azure).storage().unwrap()["container"], "box");
        assert_eq!(access(&place("az://box/")).storage(), None);
    }
}
