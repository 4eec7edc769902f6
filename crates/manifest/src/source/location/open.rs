//! Opening a source: which client, which options, which credentials.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};

use super::super::budget::{CONNECTIONS, Ledger, Limits};
use super::super::budget_http::Budgeted;
use super::super::mirror::Layout;
use super::super::secret::Secret;
use super::{Scheme, SourceError, SourceStats, SourceUrl};

/// How a place is reached. Where it has no credentials of its own (`profile`, `credentials-file`, `instance-role`, keys in
/// `extra`) and is not `anonymous`, they come from the environment: `AWS_*`, `GOOGLE_*` or `AZURE_*` by the place's scheme.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SourceOptions {
    /// Service address for S3 and Azure (`https://eodata.dataspace.copernicus.eu`) or base URL for GCS.
    pub endpoint: Option<String>,
    /// S3 region.
    pub region: Option<String>,
    /// Profile of `credentials-file`, by default of ~/.aws/credentials, with the place's own keys.
    pub profile: Option<String>,
    /// File with the place's own keys: profiles as in ~/.aws/credentials (S3, Azure), or a service account (GCS).
    pub credentials_file: Option<PathBuf>,
    /// S3: the role of the machine or container, whatever keys the environment has.
    pub instance_role: bool,
    /// S3: `bucket.host/key` instead of `host/bucket/key`. Without a value: what the environment says, else path style.
    pub virtual_hosted: Option<bool>,
    /// Send no credentials.
    pub anonymous: bool,
    /// S3: the reader pays for the transfer.
    pub request_payer: bool,
    /// Allow `http://` even where only the environment names the endpoint; an `http://` address given here is enough
    /// by itself.
    pub allow_http: bool,
    /// Further settings of the client by their names in object_store, such as `aws_access_key_id`. `${NAME}` stands for an
    /// environment variable, `$$` for a dollar sign.
    pub extra: BTreeMap<String, Secret>,
    /// Requests to the source's host at a time, at least 1. Without a value: 4 for the Copernicus Data Space, else 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<usize>,
    /// Requests per second to the source's host, evenly spaced. Without a value: as many as it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
    /// Bytes read from the source's host in 24 hours. Without a value: without limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_day: Option<u64>,
    /// How the source arranges products, where that is not what the paths of the index say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// Where requests are counted and bounded: sources that share it share the limits of their hosts.
    #[serde(skip)]
    pub ledger: Ledger,
}

impl SourceOptions {
    /// Requests at a time that keep the source busy.
    #[must_use]
    pub fn at_once(&self) -> usize {
        self.connections.unwrap_or(CONNECTIONS).clamp(1, 1024)
    }

    fn limits(&self) -> Result<Limits, String> {
        if self.connections == Some(0) {
            return Err("0 connections read nothing: give 1 or more".to_owned());
        }
        if self.bytes_per_day == Some(0) {
            return Err("0 bytes per day read nothing: leave the limit out, or give 1 or more".to_owned());
        }
        match self.requests_per_second {
            Some(rate) if !rate.is_finite() || rate < 0.001 => {
                Err(format!("{rate} requests per second would take forever: give 0.001 or more"))
            }
            requests_per_second => {
                let (connections, bytes_per_day) = (self.connections, self.bytes_per_day);
                Ok(Limits { connections, requests_per_second, bytes_per_day })
            }
        }
    }
}

/// The settings a source was opened with after the environment had its say: what a reader of the references must be
/// told. Holds no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Effective {
    /// Service address, where it is not the service's own.
    pub endpoint: Option<String>,
    /// S3 region.
    pub region: Option<String>,
    /// S3: bucket in the host name.
    pub virtual_hosted: bool,
    /// No credentials are sent.
    pub anonymous: bool,
    /// S3: the reader pays for the transfer.
    pub request_payer: bool,
    /// Unencrypted connections are allowed.
    pub allow_http: bool,
    /// Azure account.
    pub account: Option<String>,
}

/// Client and prefix of a source.
pub(super) struct Opened {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) base: Path,
    pub(super) effective: Effective,
}

/// A few quick attempts for connections; throttling is waited out by [`super::store`], and by the host's budget where
/// the server says for how long.
fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(150),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: 3,
        retry_timeout: Duration::from_secs(240),
    }
}

/// Bounds of one attempt: connection, silence, and the whole response.
const TIMEOUTS: [(ClientConfigKey, &str); 3] = [
    (ClientConfigKey::ConnectTimeout, "5 seconds"),
    (ClientConfigKey::ReadTimeout, "30 seconds"),
    (ClientConfigKey::Timeout, "5 minutes"),
];

/// Requests of the client are counted in `stats` where they go out.
pub(super) fn open(url: &SourceUrl, options: &SourceOptions, stats: &Arc<SourceStats>) -> Result<Opened, SourceError> {
    let bad = |reason: String| SourceError::BadOptions { url: url.to_string(), reason };
    let base = Path::parse(url.segments().join("/")).map_err(|e| bad(e.to_string()))?;
    let plain = options.endpoint.as_deref().is_some_and(|e| e.to_ascii_lowercase().starts_with("http://"));
    let allow_http = options.allow_http || plain;
    let limits = options.limits().map_err(bad)?;
    let budgeted = Budgeted { ledger: options.ledger.clone(), limits, stats: Arc::clone(stats) };
    let built = match url.scheme() {
        Scheme::Local => return local(url),
        Scheme::S3 => s3(url, options, allow_http, budgeted),
        Scheme::Gcs => gcs(url, options, allow_http, budgeted),
        Scheme::Azure => azure(url, options, allow_http, budgeted),
        Scheme::Http | Scheme::Https => http(url, options, budgeted),
    };
    let (store, effective) = built.map_err(bad)?;
    Ok(Opened { store, base, effective })
}

fn local(url: &SourceUrl) -> Result<Opened, SourceError> {
    let root = url.local_root().unwrap_or_default();
    if !root.is_dir() {
        return Err(SourceError::NotAFolder { path: root.display().to_string() });
    }
    let store = LocalFileSystem::new_with_prefix(&root)
        .map_err(|e| SourceError::Other { url: url.to_string(), detail: e.to_string() })?;
    Ok(Opened { store: Arc::new(store), base: Path::ROOT, effective: Effective::default() })
}

/// What came of making a client, by what it was made of: a file names thousands of places that are reached alike.
static CHECKED: Mutex<BTreeMap<String, Result<Effective, String>>> = Mutex::new(BTreeMap::new());

/// Kinds of places that are remembered.
const KINDS: usize = 256;

/// The settings that a place would be opened with. Nothing is asked, and a local folder need not be there.
pub(super) fn check(url: &SourceUrl, options: &SourceOptions) -> Result<Effective, SourceError> {
    let bad = |reason: String| SourceError::BadOptions { url: url.to_string(), reason };
    options.limits().map_err(bad)?;
    if url.scheme() == Scheme::Local {
        return Ok(Effective::default());
    }
    // Secrets do not stand in the name: those of this place are had anyway.
    options.client(url.scheme()).map_err(bad)?;
    let text = serde_json::to_string(options).unwrap_or_default();
    let name = format!("{}://{} {text}", url.scheme().name(), url.authority());
    if let Some(known) = CHECKED.lock().unwrap_or_else(PoisonError::into_inner).get(&name) {
        return known.clone().map_err(bad);
    }
    let made = open(url, options, &Arc::default()).map(|opened| opened.effective);
    let result = match &made {
        Ok(effective) => Ok(effective.clone()),
        Err(SourceError::BadOptions { reason, .. }) => Err(reason.clone()),
        Err(_) => return made,
    };
    let mut checked = CHECKED.lock().unwrap_or_else(PoisonError::into_inner);
    if checked.len() < KINDS {
        checked.insert(name, result);
    }
    made
}

type Built = Result<(Arc<dyn ObjectStore>, Effective), String>;

fn known<K: std::str::FromStr>(name: &str) -> Result<K, String> {
    name.to_ascii_lowercase().parse().map_err(|_| format!("{name:?} is no setting of this kind of source"))
}

fn is_true(value: Option<String>) -> bool {
    value.is_some_and(|v| matches!(v.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on" | "y"))
}

fn s3(url: &SourceUrl, options: &SourceOptions, allow_http: bool, budgeted: Budgeted) -> Built {
    let client = options.client(Scheme::S3)?;
    let builder = if client.from_environment { AmazonS3Builder::from_env() } else { AmazonS3Builder::new() };
    let mut builder = builder.with_retry(retry()).with_http_connector(budgeted);
    for (key, value) in TIMEOUTS {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    for (name, value) in client.settings {
        builder = builder.with_config(known(&name)?, value);
    }
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    if let Some(style) = options.virtual_hosted {
        builder = builder.with_virtual_hosted_style_request(style);
    }
    if options.anonymous {
        builder = builder.with_skip_signature(true);
    }
    if options.request_payer {
        builder = builder.with_request_payer(true);
    }
    if allow_http {
        builder = builder.with_allow_http(true);
    }
    let builder = builder.with_bucket_name(url.authority());
    let get = |key| builder.get_config_value(&key);
    let effective = Effective {
        endpoint: get(AmazonS3ConfigKey::Endpoint),
        region: get(AmazonS3ConfigKey::Region).or_else(|| get(AmazonS3ConfigKey::DefaultRegion)),
        virtual_hosted: is_true(get(AmazonS3ConfigKey::VirtualHostedStyleRequest)),
        anonymous: is_true(get(AmazonS3ConfigKey::SkipSignature)),
        request_payer: is_true(get(AmazonS3ConfigKey::RequestPayer)),
        allow_http: is_true(get(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp))),
        account: None,
    };
    refuse_plain(&effective)?;
    Ok((Arc::new(builder.build().map_err(|e| e.to_string())?), effective))
}

fn gcs(url: &SourceUrl, options: &SourceOptions, allow_http: bool, budgeted: Budgeted) -> Built {
    let client = options.client(Scheme::Gcs)?;
    let builder =
        if client.from_environment { GoogleCloudStorageBuilder::from_env() } else { GoogleCloudStorageBuilder::new() };
    let mut builder = builder.with_retry(retry()).with_http_connector(budgeted);
    for (key, value) in TIMEOUTS {
        builder = builder.with_config(GoogleConfigKey::Client(key), value);
    }
    for (name, value) in client.settings {
        builder = builder.with_config(known(&name)?, value);
    }
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    if options.anonymous {
        builder = builder.with_skip_signature(true);
    }
    if allow_http {
        builder = builder.with_config(GoogleConfigKey::Client(ClientConfigKey::AllowHttp), "true");
    }
    let builder = builder.with_bucket_name(url.authority());
    let get = |key| builder.get_config_value(&key);
    let effective = Effective {
        endpoint: get(GoogleConfigKey::BaseUrl),
        anonymous: is_true(get(GoogleConfigKey::SkipSignature)),
        allow_http: is_true(get(GoogleConfigKey::Client(ClientConfigKey::AllowHttp))),
        ..Effective::default()
    };
    refuse_plain(&effective)?;
    Ok((Arc::new(builder.build().map_err(|e| e.to_string())?), effective))
}

fn azure(url: &SourceUrl, options: &SourceOptions, allow_http: bool, budgeted: Budgeted) -> Built {
    let client = options.client(Scheme::Azure)?;
    let builder =
        if client.from_environment { MicrosoftAzureBuilder::from_env() } else { MicrosoftAzureBuilder::new() };
    let mut builder = builder.with_retry(retry()).with_http_connector(budgeted);
    for (key, value) in TIMEOUTS {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    for (name, value) in client.settings {
        builder = builder.with_config(known(&name)?, value);
    }
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    if options.anonymous {
        builder = builder.with_skip_signature(true);
    }
    if allow_http {
        builder = builder.with_allow_http(true);
    }
    let builder = builder.with_container_name(url.authority());
    let get = |key| builder.get_config_value(&key);
    let effective = Effective {
        endpoint: get(AzureConfigKey::Endpoint),
        anonymous: is_true(get(AzureConfigKey::SkipSignature)),
        allow_http: is_true(get(AzureConfigKey::Client(ClientConfigKey::AllowHttp))),
        account: get(AzureConfigKey::AccountName),
        ..Effective::default()
    };
    refuse_plain(&effective)?;
    Ok((Arc::new(builder.build().map_err(|e| e.to_string())?), effective))
}

fn http(url: &SourceUrl, options: &SourceOptions, budgeted: Budgeted) -> Built {
    if options.endpoint.is_some() || options.region.is_some() || options.request_payer {
        return Err("endpoint, region and requester-pays are for buckets".to_owned());
    }
    let plain = url.scheme() == Scheme::Http;
    let client = options.client(Scheme::Https)?;
    let mut builder = HttpBuilder::new()
        .with_url(format!("{}://{}", url.scheme().name(), url.authority()))
        .with_retry(retry())
        .with_http_connector(budgeted)
        .with_config(ClientConfigKey::AllowHttp, if plain { "true" } else { "false" });
    for (key, value) in TIMEOUTS {
        builder = builder.with_config(key, value);
    }
    for (name, value) in client.settings {
        builder = builder.with_config(known(&name)?, value);
    }
    let effective = Effective { anonymous: true, allow_http: plain, ..Effective::default() };
    Ok((Arc::new(builder.build().map_err(|e| e.to_string())?), effective))
}

/// object_store would fail at the first request only, with a message about URLs; and what stands in the endpoint is
/// persisted for readers.
fn refuse_plain(effective: &Effective) -> Result<(), String> {
    match &effective.endpoint {
        Some(endpoint) if endpoint.contains(['@', '?', '#']) => {
            Err("credentials or a query do not belong in an endpoint: give keys as options of the place".to_owned())
        }
        Some(endpoint) if endpoint.to_ascii_lowercase().starts_with("http://") && !effective.allow_http => {
            Err(format!("the endpoint {endpoint} from the environment is not encrypted; allow http to use it"))
        }
        Some(endpoint) if !endpoint.contains("://") => {
            Err(format!("the endpoint {endpoint:?} is no address; write https://{endpoint}"))
        }
        _ => Ok(()),
    }
}
