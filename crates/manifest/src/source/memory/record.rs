//! What is remembered of a file and of a product.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::product::ProductMetadata;
use crate::source::facts::Version;
use crate::source::location::Listed;

/// What is known of one JP2 file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Size, bytes.
    pub size: u64,
    /// ETag of the response that gave the header.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub etag: Option<String>,
    /// Last-Modified of that response.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_modified: Option<DateTime<Utc>>,
    /// Offset of the first SOT.
    pub first_sot: u64,
    /// The main header as the codec needs it ([`s2ice_jpeg2000::MainHeader::codec_header`]).
    #[serde(with = "base64_bytes")]
    pub header: Arc<[u8]>,
    /// `index` bytes where they were learned from the file.
    #[serde(with = "base64_option", skip_serializing_if = "Option::is_none", default)]
    pub index: Option<Arc<[u8]>>,
    /// Tiles proven to hold nothing but 0, where that was looked at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nodata: Option<Vec<u32>>,
}

/// One state of an XML file of a product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct XmlFile {
    /// Path below the source.
    pub path: String,
    /// Size, bytes.
    pub size: u64,
    /// ETag of the response that gave it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub etag: Option<String>,
    /// Last-Modified of that response.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_modified: Option<DateTime<Utc>>,
}

impl XmlFile {
    /// True where the file is proven to be in the same state now. Where neither ETag nor time tells, nothing is proven.
    #[must_use]
    pub fn is_still(&self, now: &Listed) -> bool {
        let known = Version { etag: self.etag.as_deref(), last_modified: self.last_modified };
        let found = Version { etag: now.etag.as_deref(), last_modified: now.last_modified };
        let comparable = (known.etag.is_some() && found.etag.is_some())
            || (known.last_modified.is_some() && found.last_modified.is_some());
        self.size == now.size && comparable && known.differs(found).is_none()
    }
}

/// What is known of a product, and the XML files that it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProductRecord {
    /// What they say.
    pub metadata: ProductMetadata,
    /// The granule's file, then the product's.
    pub xml: [XmlFile; 2],
}

pub(in crate::source) mod base64_bytes {
    use std::sync::Arc;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(in crate::source) fn serialize<S: Serializer>(bytes: &Arc<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(in crate::source) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[u8]>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Arc::from).map_err(serde::de::Error::custom)
    }
}

pub(in crate::source) mod base64_option {
    use std::sync::Arc;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(in crate::source) fn serialize<S: Serializer>(
        bytes: &Option<Arc<[u8]>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::source) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Arc<[u8]>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| STANDARD.decode(text).map(Arc::from).map_err(serde::de::Error::custom)).transpose()
    }
}
