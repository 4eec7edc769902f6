//! What is known of a raster's file, and whether its index row agrees with it.

use s2ice_jpeg2000::{MainHeader, TileSpan};
use s2ice_manifest::assemble::RefusalKind;
use s2ice_manifest::manifest::HeaderTrust;
use s2ice_manifest::proof::SeenSot;
use s2ice_manifest::source::jp2_walk::NODATA_BYTES;
use s2ice_manifest::source::memory::FileRecord;
use s2ice_manifest::source::version::{Version, same_etag};
use s2ice_manifest::tlm::{IndexEntry, IndexRow};

use super::trouble::Trouble;

/// A file's facts: from the file itself or a remembered answer of it, from the index, or assumed.
pub(super) struct Facts {
    pub(super) main_header: Vec<u8>,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<chrono::DateTime<chrono::Utc>>,
    pub(super) size: Option<u64>,
    pub(super) first_sot: Option<u64>,
    /// The first tile-part header, where it was read.
    pub(super) sot: Option<SeenSot>,
    /// Index bytes from the file's own TLM.
    pub(super) own_index: Option<Vec<u8>>,
    pub(super) nodata: Option<Vec<u32>>,
    pub(super) trust: HeaderTrust,
}

impl Facts {
    /// Without a word from the file: a main header, and what the index says beside it.
    pub(super) fn of_row(row: &IndexRow, main_header: Vec<u8>, trust: HeaderTrust) -> Self {
        Self {
            main_header,
            etag: row.etag.clone(),
            last_modified: row.last_modified,
            size: None,
            first_sot: None,
            sot: None,
            own_index: None,
            nodata: None,
            trust,
        }
    }

    fn version(&self) -> Version<'_> {
        Version { etag: self.etag.as_deref(), last_modified: self.last_modified }
    }
}

impl From<&FileRecord> for Facts {
    fn from(record: &FileRecord) -> Self {
        Self {
            main_header: record.header.to_vec(),
            etag: record.etag.clone(),
            last_modified: record.last_modified,
            size: Some(record.size),
            first_sot: Some(record.first_sot),
            sot: record.seen_sot(),
            own_index: record.index.as_ref().map(|bytes| bytes.to_vec()),
            nodata: record.nodata.clone(),
            trust: HeaderTrust::Verified,
        }
    }
}

/// Whether the file's main header is the indexed one, as far as the index has it: on another mirror, where neither ETag
/// nor time can be compared, a file of the same size could still be another one.
pub(super) fn same_header(row: &IndexRow, codec_header: &[u8]) -> bool {
    let indexed = row.main_header.as_deref().and_then(|bytes| MainHeader::parse(bytes).ok());
    indexed.is_none_or(|header| header.codec_header() == codec_header)
}

/// Tile spans and file size: by the index, checked against the file where it was asked; else by the file's own TLM.
pub(super) fn spans(row: &IndexRow, facts: &Facts, tiles: u32) -> Result<(Vec<TileSpan>, u64), Trouble> {
    let index = |reason: String| Trouble::Refused(RefusalKind::Index, reason);
    let entry = match row.entry().map_err(|error| index(error.source.to_string()))? {
        Some(entry) => {
            if let Some(size) = facts.size.filter(|size| *size != entry.file_size) {
                let reason = format!(
                    "the file has {size} bytes, the index says {}: it changed since it was indexed; index it again",
                    entry.file_size
                );
                return Err(Trouble::Refused(RefusalKind::Changed, reason));
            }
            if let Some(sot) = facts.first_sot.filter(|sot| *sot != entry.first_sot) {
                let reason = format!(
                    "the first tile-part begins at byte {sot}, the index says {}: index the file again",
                    entry.first_sot
                );
                return Err(Trouble::Refused(RefusalKind::Ranges, reason));
            }
            if facts.size.is_some() && !same_header(row, &facts.main_header) {
                let reason = "its main header is not the one that was indexed: index the file again".to_owned();
                return Err(Trouble::Refused(RefusalKind::Changed, reason));
            }
            let (now, then) =
                (facts.version(), Version { etag: row.etag.as_deref(), last_modified: row.last_modified });
            if let Some(what) = now.differs(then).filter(|_| facts.size.is_some()) {
                let reason = format!("its {what} is another than when it was indexed: it changed; index it again");
                return Err(Trouble::Refused(RefusalKind::Changed, reason));
            }
            entry
        }
        None => {
            let bytes = facts.own_index.as_deref().ok_or_else(|| {
                let reason = match facts.size {
                    Some(_) => {
                        "the index leaves its tile lengths to the file, which has no TLM: index it with `s2ice index`"
                    }
                    None => "the index leaves its tile lengths to the file, which was not asked: use --headers read",
                };
                index(reason.to_owned())
            })?;
            IndexEntry::parse(bytes).map_err(|error| index(error.to_string()))?
        }
    };
    let spans = entry.tile_spans(tiles).map_err(|error| index(error.to_string()))?;
    Ok((spans, entry.file_size))
}

/// Tiles, sorted, that are known to hold nothing but nodata and need no reference. What the index says counts only for the
/// very file it was made from, and only of tiles so short that nodata is all they can be.
pub(super) fn nodata(row: &IndexRow, facts: &Facts, spans: &[TileSpan]) -> Box<[u32]> {
    let same_file = matches!((&row.etag, &facts.etag), (Some(then), Some(now)) if same_etag(then, now));
    let listed = row.nodata.as_ref().filter(|_| same_file).or(facts.nodata.as_ref());
    let Some(listed) = listed.filter(|_| row.asset.zero_is_nodata()) else { return Box::default() };
    let short = |tile: &u32| {
        let span = usize::try_from(*tile).ok().and_then(|tile| spans.get(tile));
        span.is_some_and(|span| span.length <= NODATA_BYTES)
    };
    let mut tiles: Vec<u32> = listed.iter().copied().filter(short).collect();
    tiles.sort_unstable();
    tiles.dedup();
    tiles.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(asset: &str, etag: Option<&str>) -> IndexRow {
        IndexRow {
            product: "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454".parse().unwrap(),
            asset: asset.parse().unwrap(),
            path: "/x.jp2".to_owned(),
            index: s2ice_manifest::tlm::TileIndex::InFile,
            main_header: None,
            etag: etag.map(str::to_owned),
            last_modified: None,
            nodata: Some(vec![2, 0, 2, 1, 9]),
        }
    }

    fn facts(etag: Option<&str>, nodata: Option<Vec<u32>>) -> Facts {
        let etag = etag.map(str::to_owned);
        Facts {
            main_header: Vec::new(),
            etag,
            last_modified: None,
            size: Some(1),
            first_sot: Some(0),
            sot: None,
            own_index: None,
            nodata,
            trust: HeaderTrust::Verified,
        }
    }

    #[test]
    fn nodata_is_believed_of_short_tiles_of_the_same_file_only() {
        let spans = [80, 900_000, 512].map(|length| TileSpan { offset: 0, length });
        let found = |row: &IndexRow, facts: &Facts| nodata(row, facts, &spans).into_vec();
        assert_eq!(found(&row("B02_10m", Some("\"a\"")), &facts(Some("a"), None)), [0, 2]);
        assert_eq!(found(&row("B02_10m", Some("a")), &facts(Some("b"), None)), [0; 0]);
        assert_eq!(found(&row("B02_10m", None), &facts(Some("b"), None)), [0; 0]);
        assert_eq!(found(&row("B02_10m", Some("a")), &facts(None, Some(vec![2]))), [2]);
        // 0 % is a value.
        assert_eq!(found(&row("MSK_CLDPRB_20m", Some("a")), &facts(Some("a"), Some(vec![2]))), [0; 0]);
    }
}
