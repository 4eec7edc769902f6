//! `manifest.safe`: the files of a product, with sizes and checksums.

use crate::product::ProductId;
use crate::raster::Asset;

use super::super::location::Source;
use super::xml::{Element, whole};
use super::{MetadataError, MetadataPaths};

/// Most bytes of a manifest; 100 kB is usual.
const MANIFEST_LIMIT: u64 = 8 * 1024 * 1024;

/// Most files of a product; 123 is the most seen.
const MAX_FILES: usize = 4096;

/// A file in a product's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// Where it lies below the product's folder, such as `GRANULE/<granule>/IMG_DATA/R10m/<..>_B02_10m.jp2`.
    pub path: String,
    /// Its size, bytes. Whoever packs a product anew may have left the sizes of the first packing.
    pub size: Option<u64>,
    /// Its checksum.
    pub checksum: Option<ListedChecksum>,
}

/// A checksum in a product's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedChecksum {
    /// `MD5`, since 2021 `SHA3-256`.
    pub algorithm: String,
    /// Lower-case hexadecimal.
    pub hex: String,
}

impl ListedFile {
    /// Which raster the file is; `None` for what no store has.
    #[must_use]
    pub fn raster(&self) -> Option<Asset> {
        Asset::of_path(&self.path)
    }
}

/// A list under construction.
#[derive(Default)]
struct Found {
    /// Where the `byteStream` of the last file begins.
    at: u64,
    path: Option<String>,
    size: Option<String>,
    checksum: Option<(String, String)>,
    files: Vec<ListedFile>,
}

impl Found {
    /// Location and checksum are children of one `byteStream`, which has the size.
    fn take(&mut self, elements: &[Element], text: &str, path: &str) -> Result<(), MetadataError> {
        let [.., stream, last] = elements else { return Ok(()) };
        if stream.name != "byteStream" {
            return Ok(());
        }
        if stream.at != self.at {
            self.finish(path)?;
            self.at = stream.at;
            self.size = stream.attribute("size").map(str::to_owned);
        }
        match last.name.as_str() {
            "fileLocation" => self.path = last.attribute("href").map(str::to_owned),
            "checksum" => {
                self.checksum = last.attribute("checksumName").map(|name| (name.to_owned(), text.to_owned()));
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, path: &str) -> Result<(), MetadataError> {
        let (size, checksum) = (self.size.take(), self.checksum.take());
        let Some(href) = self.path.take() else { return Ok(()) };
        if self.files.len() >= MAX_FILES {
            let reason = format!("it lists more than {MAX_FILES} files");
            return Err(MetadataError::Contradiction { path: path.to_owned(), reason });
        }
        let bad = |element: &'static str, text: &str| MetadataError::value(path, element, text);
        let file = relative_path(&href).ok_or_else(|| bad("href", &href))?;
        let size = size.map(|text| text.parse().map_err(|_| bad("size", &text))).transpose()?;
        let checksum = checksum.map(|(algorithm, hex)| {
            let is_hex = !hex.is_empty() && hex.len() <= 128 && hex.bytes().all(|b| b.is_ascii_hexdigit());
            let sum = ListedChecksum { algorithm, hex: hex.to_ascii_lowercase() };
            if is_hex { Ok(sum) } else { Err(bad("checksum", &hex)) }
        });
        self.files.push(ListedFile { path: file, size, checksum: checksum.transpose()? });
        Ok(())
    }
}

/// A path that stays below the product's folder, without a leading `./`; `None` for any other.
pub(super) fn relative_path(text: &str) -> Option<String> {
    let path = text.strip_prefix("./").unwrap_or(text);
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    let safe = path.split('/').all(plain) && !path.contains(['\\', ':', '?', '#', '%', '\0']);
    safe.then(|| path.to_owned())
}

/// Reads the list of files from the whole of a `manifest.safe`.
///
/// # Errors
/// [`MetadataError`]: no XML, a senseless size or checksum, a path that leaves the product's folder.
pub fn parse_file_list(bytes: &[u8], path: &str) -> Result<Vec<ListedFile>, MetadataError> {
    let mut found = Found::default();
    whole(bytes, path, |elements, text| found.take(elements, text, path))?;
    found.finish(path)?;
    Ok(found.files)
}

/// Reads the list of files of a product; `raster_path` is the path of any of its rasters. One request.
///
/// # Errors
/// [`MetadataError`].
pub async fn read_file_list(
    source: &Source,
    product: ProductId,
    raster_path: &str,
) -> Result<Vec<ListedFile>, MetadataError> {
    let paths = MetadataPaths::of_raster(product, raster_path)
        .ok_or_else(|| MetadataError::NoSafe { path: raster_path.to_owned() })?;
    let whole = source.get_all(&paths.manifest, MANIFEST_LIMIT).await?;
    parse_file_list(&whole.bytes, &paths.manifest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(objects: &str) -> Result<Vec<ListedFile>, String> {
        parse_file_list(format!("<x:XFDU xmlns:x='x'>{objects}</x:XFDU>").as_bytes(), "m").map_err(|e| e.to_string())
    }

    #[test]
    fn files_have_size_and_checksum_in_any_order() {
        let files = parse(
            "<o><byteStream size='7'><checksum checksumName='MD5'>AB</checksum><fileLocation href='./a/b.jp2'/></byteStream></o>\
             <o><byteStream><fileLocation href='c'/></byteStream></o><byteStream size='x'><d/></byteStream>",
        );
        let sum = ListedChecksum { algorithm: "MD5".into(), hex: "ab".into() };
        let first = ListedFile { path: "a/b.jp2".into(), size: Some(7), checksum: Some(sum) };
        let second = ListedFile { path: "c".into(), size: None, checksum: None };
        assert_eq!(files.unwrap(), [first, second]);
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for href in ["/etc/passwd", "../x", "a/../../x", "a//b", "", "http://x/y", "a\\b", "a%2e", "./", "a?b"] {
            let text = format!("<byteStream size='7'><fileLocation href='{href}'/></byteStream>");
            assert_eq!(parse(&text).unwrap_err(), format!("m: href is {href:?}"));
        }
        for size in ["-1", "", "1e3", "99999999999999999999"] {
            let text = format!("<byteStream size='{size}'><fileLocation href='a'/></byteStream>");
            assert_eq!(parse(&text).unwrap_err(), format!("m: size is {size:?}"));
        }
        let sum = "<byteStream><fileLocation href='a'/><checksum checksumName='MD5'>xyz</checksum></byteStream>";
        assert_eq!(parse(sum).unwrap_err(), "m: checksum is \"xyz\"");
        let many = "<byteStream><fileLocation href='a'/></byteStream>".repeat(MAX_FILES + 1);
        assert_eq!(parse(&many).unwrap_err(), "m: it lists more than 4096 files");
        assert!(parse_file_list(b"<a><byteStream>", "m").unwrap_err().to_string().contains("ends too early"));
    }
}
