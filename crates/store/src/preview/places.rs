//! Where the product files of a store are read, and whether they may be.

use icechunk::virtual_chunks::VirtualChunkContainer;
use s2ice_manifest::assemble::Step;
use s2ice_manifest::raster::Asset;
use s2ice_manifest::source::location::{Effective, Scheme, Source, SourceError, SourceOptions, SourceUrl};
use s2ice_manifest::source::mirror::{self, MIRRORS};

use super::file::Trouble;
use crate::error::{Error, Result};
use crate::export::Cube;
use crate::held::HeldReference;
use crate::reached::Reached;

/// Where a picture's product files are read, as who asks for it names the place.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// A folder, an address or a mirror's name, in the place of what the store names.
    pub source: Option<String>,
    /// How it is reached.
    pub options: SourceOptions,
}

/// The place behind a container.
struct Place {
    /// What the store calls it.
    prefix: String,
    /// One that cannot be opened takes nothing from the others.
    source: std::result::Result<Source, SourceError>,
    /// Another place than the store's own: its files have other times and ETags.
    is_moved: bool,
    options: SourceOptions,
}

/// The places of a store.
pub(crate) struct Places(Vec<Place>);

/// A file in its place.
pub(super) struct Found<'a> {
    pub(super) source: &'a Source,
    /// Path below the place.
    pub(super) path: String,
    /// The prefix by which the store knows the place.
    pub(super) place: &'a str,
    pub(super) is_moved: bool,
}

impl Places {
    /// The places that a store names, whatever they are: for who built it.
    pub(crate) fn named_by(cube: &Cube) -> Self {
        let each = cube.containers().iter().map(|container| Place::of(container, Reached::behind(container).options()));
        Self(each.collect())
    }

    /// The places that who asks named, or may be taken to know: those of the store's own host, and the public mirrors.
    ///
    /// # Errors
    /// [`Error::Request`] for a place that nobody named, [`Error::Location`] for one that cannot be opened.
    pub(super) fn allowed(cube: &Cube, store: (&SourceUrl, &Effective), origin: &Origin) -> Result<Self> {
        let containers = cube.containers();
        if let Some(source) = &origin.source {
            return Self::moved(containers, source, origin.options.clone());
        }
        let each = containers.iter().map(|container| {
            let reached = Reached::behind(container);
            let url = SourceUrl::parse(container.url_prefix())?;
            if !is_known(store, &url, &reached) {
                return Err(Error::Request(refusal(&url, reached.endpoint.as_deref())));
            }
            Ok(Place::of(container, joined(origin.options.clone(), reached.options())))
        });
        Ok(Self(each.collect::<Result<_>>()?))
    }

    fn moved(containers: &[VirtualChunkContainer], source: &str, mut options: SourceOptions) -> Result<Self> {
        let url = SourceUrl::parse(&mirror::address(source, &mut options))?;
        let own = containers.iter().find(|container| is_at(container, &url, options.endpoint.as_deref()));
        let container = match (own, containers) {
            (Some(own), _) => own,
            (None, [only]) => only,
            (None, _) => {
                let names: Vec<&str> = containers.iter().map(VirtualChunkContainer::url_prefix).collect();
                return Err(Error::Request(format!(
                    "--source: the store has {} sources, none of which is {url}: {}",
                    names.len(),
                    names.join(", ")
                )));
            }
        };
        if own.is_some() {
            options = joined(options, Reached::behind(container).options());
        }
        let source = Ok(Source::open(&url, &options)?);
        let prefix = container.url_prefix().to_owned();
        Ok(Self(vec![Place { prefix, source, is_moved: own.is_none(), options }]))
    }

    /// The file behind references of a raster.
    ///
    /// # Errors
    /// It is in no place that may be asked, or has no address there.
    pub(super) fn find(&self, address: &str, step: &Step, asset: Asset) -> std::result::Result<Found<'_>, Trouble> {
        let place = self.0.iter().find_map(|place| Some((place, address.strip_prefix(&place.prefix)?)));
        let (place, rest) = place.ok_or_else(|| Trouble::File(format!("{address} is in no source of the store")))?;
        let path = SourceUrl::decoded_path(rest);
        let path = path.ok_or_else(|| Trouble::File(format!("{address} is no address")))?;
        let mut path = format!("/{path}");
        if let Some(layout) = place.options.layout.filter(|_| place.is_moved) {
            path = layout.place(step.id, asset, &path).map_err(|error| Trouble::File(error.to_string()))?;
        }
        let source = place.source.as_ref().map_err(|error| Trouble::Source(error.clone()))?;
        Ok(Found { source, path, place: &place.prefix, is_moved: place.is_moved })
    }

    /// Requests and bytes so far.
    pub(super) fn asked(&self) -> (u64, u64) {
        let stats = self.0.iter().filter_map(|place| Some(place.source.as_ref().ok()?.stats()));
        stats.fold((0, 0), |(requests, bytes), stats| (requests + stats.requests(), bytes + stats.bytes()))
    }

    /// The address of what references lead to.
    pub(super) fn address(cube: &Cube, held: &[HeldReference]) -> std::result::Result<Option<String>, String> {
        let Some(address) = held.first().map(|first| cube.address(first)) else { return Ok(None) };
        match held.iter().map(|one| cube.address(one)).find(|other| *other != address) {
            Some(other) => Err(format!("one raster lies in two files, {address} and {other}")),
            None => Ok(Some(address)),
        }
    }
}

impl Place {
    fn of(container: &VirtualChunkContainer, options: SourceOptions) -> Self {
        let source = SourceUrl::parse(container.url_prefix()).and_then(|url| Source::open(&url, &options));
        Self { prefix: container.url_prefix().to_owned(), source, is_moved: false, options }
    }
}

/// True for the container of an address.
fn is_at(container: &VirtualChunkContainer, url: &SourceUrl, endpoint: Option<&str>) -> bool {
    let reached = Reached::behind(container);
    let bare = |endpoint: Option<&str>| endpoint.map(|endpoint| endpoint.trim_end_matches('/').to_owned());
    SourceUrl::parse(container.url_prefix()).is_ok_and(|own| own == *url)
        && bare(reached.endpoint.as_deref()) == bare(endpoint)
}

/// Whether a place may be asked although nobody named it (docs/decisions/0026-consent.md): a folder beside a store on this
/// machine, the store's own host or bucket, and the mirrors that have a name.
fn is_known((store, effective): (&SourceUrl, &Effective), url: &SourceUrl, reached: &Reached) -> bool {
    let is_own = url.scheme() == store.scheme() && url.authority() == store.authority();
    match url.scheme() {
        Scheme::Local => store.scheme() == Scheme::Local,
        Scheme::Http | Scheme::Https => is_own,
        Scheme::S3 | Scheme::Gcs | Scheme::Azure => {
            let is_of_service = (&effective.endpoint, &effective.account) == (&reached.endpoint, &reached.account);
            is_own && is_of_service || MIRRORS.iter().any(|mirror| mirror.is_at(url, reached.endpoint.as_deref()))
        }
    }
}

fn refusal(url: &SourceUrl, endpoint: Option<&str>) -> String {
    let endpoint = endpoint.map(|endpoint| format!(" --source-endpoint {endpoint}")).unwrap_or_default();
    format!(
        "the product files of this store lie at {url}, which is neither the store's own host nor a public source that s2ice \
         knows: if you trust it, pass --source {url}{endpoint}"
    )
}

/// Options as they are given, else as the store names them.
fn joined(given: SourceOptions, named: SourceOptions) -> SourceOptions {
    let mut extra = named.extra;
    extra.extend(given.extra);
    SourceOptions {
        endpoint: given.endpoint.or(named.endpoint),
        region: given.region.or(named.region),
        anonymous: given.anonymous || named.anonymous,
        request_payer: given.request_payer || named.request_payer,
        extra,
        ..given
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn known(store: &str, url: &str, endpoint: Option<&str>) -> bool {
        let parse = |text: &str| SourceUrl::parse(text).unwrap();
        let reached = Reached { endpoint: endpoint.map(str::to_owned), ..Reached::of_the_web(url.to_owned()) };
        is_known((&parse(store), &Effective::default()), &parse(url), &reached)
    }

    #[test]
    fn only_known_places_are_asked_unnamed() {
        let cdse = Some("https://eodata.dataspace.copernicus.eu/");
        assert!(known("/tmp/store", "file:///tmp/archive", None));
        assert!(
            !known("s3://bucket/store", "file:///tmp/archive", None),
            "a store elsewhere reads no files of this machine"
        );
        assert!(known("/tmp/store", "s3://eodata", cdse));
        assert!(!known("/tmp/store", "s3://eodata", Some("http://169.254.169.254")));
        assert!(!known("/tmp/store", "s3://eodata", None));
        assert!(known("/tmp/store", "gs://gcp-public-data-sentinel-2", None));
        assert!(!known("/tmp/store", "gs://gcp-public-data-sentinel-2-too", None));
        assert!(known("s3://own/store", "s3://own/archive", None));
        assert!(!known("s3://own/store", "s3://own/archive", Some("http://localhost:9000")));
        let account = Reached { account: Some("other".to_owned()), ..Reached::of_the_web("az://own/x/".to_owned()) };
        let own = SourceUrl::parse("az://own/x").unwrap();
        assert!(!is_known((&own, &Effective::default()), &own, &account), "containers of another account");
        assert!(known("https://host/store", "https://host/archive", None));
        assert!(!known("https://host/store", "http://host/archive", None));
        assert!(!known("/tmp/store", "http://localhost:8000", None));
    }

    #[test]
    fn a_refusal_says_how_to_allow() {
        let url = SourceUrl::parse("s3://box/x").unwrap();
        assert!(refusal(&url, Some("http://h")).ends_with("pass --source s3://box/x --source-endpoint http://h"));
    }

    #[test]
    fn what_is_given_wins() {
        let given = SourceOptions { region: Some("a".to_owned()), connections: Some(2), ..SourceOptions::default() };
        let named = SourceOptions { region: Some("b".to_owned()), anonymous: true, ..SourceOptions::default() };
        let both = joined(given, named);
        assert_eq!((both.region.as_deref(), both.connections, both.anonymous), (Some("a"), Some(2), true));
    }
}
