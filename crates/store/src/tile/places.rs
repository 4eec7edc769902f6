//! Where the product files lie, and by which name the store refers to them.

use icechunk::virtual_chunks::VirtualChunkContainer;
use s2ice_manifest::source::location::{Effective, Source, SourceUrl};

use super::{BuildSettings, HeaderPolicy};
use crate::commit::Loaded;
use crate::config;
use crate::error::{Error, Result};

/// The source and the container that stands for it.
pub struct Places {
    /// Prefix of the product files.
    pub url: SourceUrl,
    /// The files; `None` where nothing is asked of them.
    pub source: Option<Source>,
    /// Name of the container.
    pub name: String,
    /// The container.
    pub container: VirtualChunkContainer,
}

impl Places {
    /// Opens the source, without a request.
    ///
    /// # Errors
    /// It cannot be opened, or the store refers to it by another name.
    pub fn open(settings: &BuildSettings, loaded: &Loaded) -> Result<Self> {
        let url = SourceUrl::parse(&settings.source)?;
        let source = match settings.headers {
            // Nothing is asked of the source, which therefore need not exist.
            HeaderPolicy::Assume if url.local_root().is_some_and(|root| !root.is_dir()) => None,
            _ => Some(Source::open(&url, &settings.source_options)?),
        };
        let effective = source.as_ref().map_or_else(Effective::default, |source| source.effective().clone());
        let name = settings.container.clone().unwrap_or_else(|| config::default_container_name(&url));
        let container = config::container(&name, &url, &effective)?;
        if let Some(known) = loaded.containers().iter().find(|known| known.url_prefix() == container.url_prefix())
            && let Some(other) = known.name().filter(|known| *known != name)
        {
            return Err(Error::Request(format!(
                "the references of the store that point below {} name it {other}, not {name}: leave --container out or \
                 give that name",
                container.url_prefix()
            )));
        }
        Ok(Self { url, source, name, container })
    }
}
