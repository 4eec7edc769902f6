//! What fsspec has to be told of the places that references lead to.

use icechunk::ObjectStoreConfig;
use icechunk::virtual_chunks::VirtualChunkContainer;
use s2ice_manifest::source::location::SourceUrl;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// A place that references lead to, as fsspec's reference file system wants to be told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Remote {
    /// The address that all of them begin with.
    pub prefix: String,
    /// `remote_protocol`.
    pub protocol: String,
    /// `remote_options` for xarray and zarr-python: what the store says of the place. Keys are not among it.
    pub options: Map<String, Value>,
}

impl Remote {
    /// The place behind a reference to an address.
    pub(super) fn of(container: Option<&VirtualChunkContainer>, address: &str) -> Self {
        let protocol = address.split_once("://").map_or("file", |(scheme, _)| scheme).to_owned();
        let prefix = container.map_or_else(|| format!("{protocol}://"), |container| container.url_prefix().to_owned());
        let mut options = container.map(|container| options(&container.store)).unwrap_or_default();
        // zarr-python asks asynchronously, and fsspec wants all file systems of a set to be of one kind.
        options.insert("asynchronous".to_owned(), true.into());
        Self { prefix, protocol, options }
    }
}

/// An address as fsspec wants it: web servers get it percent-encoded, all other places by its plain name.
pub(super) fn url(address: &str) -> String {
    let web = SourceUrl::parse(address).ok().filter(|url| url.scheme().is_web());
    // A store's address is encoded below the prefix of its container only.
    let plain = web.map(|url| url.to_string()).or_else(|| SourceUrl::decoded_path(address));
    plain.unwrap_or_else(|| address.to_owned())
}

fn options(store: &ObjectStoreConfig) -> Map<String, Value> {
    let value = match store {
        ObjectStoreConfig::S3(s3) | ObjectStoreConfig::S3Compatible(s3) | ObjectStoreConfig::Tigris(s3) => {
            let mut options = json!({ "anon": s3.anonymous });
            let mut put = |key: &str, value: Value| options[key] = value;
            if let Some(endpoint) = &s3.endpoint_url {
                put("endpoint_url", endpoint.as_str().into());
            }
            if let Some(region) = &s3.region {
                put("client_kwargs", json!({ "region_name": region }));
            }
            if s3.force_path_style {
                put("config_kwargs", json!({ "s3": { "addressing_style": "path" } }));
            }
            if s3.requester_pays {
                put("requester_pays", true.into());
            }
            options
        }
        ObjectStoreConfig::Azure(settings) => match settings.get("account") {
            Some(account) => json!({ "account_name": account }),
            None => json!({}),
        },
        _ => json!({}),
    };
    value.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use icechunk::config::S3Options;

    use super::*;

    #[test]
    fn addresses_are_as_their_file_systems_want_them() {
        assert_eq!(url("s3://b/a%20b/%C3%A9.jp2"), "s3://b/a b/\u{e9}.jp2");
        assert_eq!(url("file:///a%20b.jp2"), "file:///a b.jp2");
        assert_eq!(url("https://h:8/the products/a%20b.jp2"), "https://h:8/the%20products/a%20b.jp2");
    }

    #[test]
    fn options_are_those_of_s3fs() {
        let mut s3 = S3Options::default();
        (s3.region, s3.endpoint_url) = (Some("default".to_owned()), Some("https://host".to_owned()));
        s3.force_path_style = true;
        let store = ObjectStoreConfig::S3Compatible(s3);
        let container = VirtualChunkContainer::new_named("c".to_owned(), "s3://b/".to_owned(), store).unwrap();
        let remote = serde_json::to_value(Remote::of(Some(&container), "s3://b/k")).unwrap();
        let options = json!({
            "anon": false, "asynchronous": true, "endpoint_url": "https://host",
            "client_kwargs": { "region_name": "default" },
            "config_kwargs": { "s3": { "addressing_style": "path" } },
        });
        assert_eq!(remote, json!({ "prefix": "s3://b/", "protocol": "s3", "options": options }));
        let web = Remote::of(None, "https://h/k");
        assert_eq!((web.prefix.as_str(), web.protocol.as_str(), web.options.len()), ("https://", "https", 1));
    }
}
