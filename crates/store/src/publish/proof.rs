//! Whether an object of a repository is whole, by itself: Icechunk can decode it, and it is the one that its name says.

use std::collections::BTreeMap;
use std::io::Read;

use icechunk::format::ChunkId;
use icechunk::format::format_constants::{
    CompressionAlgorithmBin, FileTypeBin, ICECHUNK_FILE_HEADER_LEN, SpecVersionBin, parse_file_header,
};
use icechunk::format::manifest::{ChunkPayload, ChunkRef};
use icechunk::format::repo_info::RepoInfo;
use icechunk::format::serializers::{
    deserialize_manifest, deserialize_repo_info, deserialize_snapshot, deserialize_transaction_log,
};

use crate::error::one_line;
pub(super) use crate::view::LARGEST;

pub(super) const SNAPSHOTS: &str = "snapshots/";
pub(super) const TRANSACTIONS: &str = "transactions/";
pub(super) const MANIFESTS: &str = "manifests/";
pub(super) const CHUNKS: &str = "chunks/";

/// Folders of objects that never change once they are written, each after those that tell of it.
pub(super) const LASTING: [&str; 4] = [SNAPSHOTS, TRANSACTIONS, MANIFESTS, CHUNKS];

/// What an object has at the most when it is unpacked, bytes.
pub(super) const UNPACKED: u64 = 1 << 29;

/// Objects by their path, with the bytes that they have, or have at least.
pub(super) type Sizes = BTreeMap<String, u64>;

/// What a whole object tells of others: a snapshot of manifests, a manifest of chunks.
///
/// # Errors
/// In words: it is not whole. Chunks are of any bytes, and never refused.
pub(super) fn proven(path: &str, bytes: &[u8]) -> Result<Sizes, String> {
    let named = |id: String| match path.rsplit_once('/') {
        Some((_, name)) if name == id => Ok(()),
        _ => Err(format!("it is the object {id}")),
    };
    if path.starts_with(SNAPSHOTS) {
        let (version, buffer) = decoded(bytes, FileTypeBin::Snapshot)?;
        let snapshot = deserialize_snapshot(version, buffer).map_err(|error| one_line(&error))?;
        named(snapshot.id().to_string())?;
        let files = snapshot.manifest_files().map(|file| file.map(|file| (at(MANIFESTS, &file.id), file.size_bytes)));
        return files.collect::<Result<_, _>>().map_err(|error| one_line(&error));
    }
    if path.starts_with(MANIFESTS) {
        let (version, buffer) = decoded(bytes, FileTypeBin::Manifest)?;
        let manifest = deserialize_manifest(version, buffer).map_err(|error| one_line(&error))?;
        named(manifest.id().to_string())?;
        let mut sizes = Sizes::new();
        for payload in manifest.chunk_payloads().map_err(|error| one_line(&error))? {
            if let ChunkPayload::Ref(ChunkRef { id, offset, length }) = payload.map_err(|error| one_line(&error))? {
                let size = sizes.entry(at(CHUNKS, &id)).or_default();
                *size = (*size).max(offset.saturating_add(length));
            }
        }
        return Ok(sizes);
    }
    if path.starts_with(TRANSACTIONS) {
        let (version, buffer) = decoded(bytes, FileTypeBin::TransactionLog)?;
        deserialize_transaction_log(version, buffer).map_err(|error| one_line(&error))?;
    }
    Ok(Sizes::new())
}

/// Branches, tags and configuration.
///
/// # Errors
/// In words: it is not whole.
pub(super) fn repo_info(bytes: &[u8]) -> Result<RepoInfo, String> {
    let (version, buffer) = decoded(bytes, FileTypeBin::RepoInfo)?;
    deserialize_repo_info(version, buffer).map_err(|error| one_line(&error))
}

/// True for an object that never changes: its name is an id. What others left in its folder is none.
pub(super) fn is_lasting(path: &str) -> bool {
    let is_id = |name: &str| ChunkId::try_from(name).is_ok_and(|id| id.to_string() == name);
    LASTING.iter().any(|folder| path.strip_prefix(folder).is_some_and(is_id))
}

/// The path of an object.
pub(super) fn at(folder: &str, id: &impl ToString) -> String {
    format!("{folder}{}", id.to_string())
}

fn decoded(bytes: &[u8], kind: FileTypeBin) -> Result<(SpecVersionBin, Vec<u8>), String> {
    let header = parse_file_header(bytes).map_err(|error| one_line(&error))?;
    if (header.file_type, header.compression) != (kind, CompressionAlgorithmBin::Zstd) {
        return Err("it is an object of another kind".to_owned());
    }
    let frame = bytes.get(ICECHUNK_FILE_HEADER_LEN..).unwrap_or_default();
    Ok((header.spec_version, unpacked(frame)?))
}

/// What is packed may be anybody's, and thirty thousand times as long.
fn unpacked(frame: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = unpacking(frame).and_then(|mut frame| frame.read_to_end(&mut bytes));
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > UNPACKED {
        return Err(format!("it has more than {UNPACKED} bytes when it is unpacked"));
    }
    Ok(bytes)
}

/// The bytes of a frame, and one more than there may be where these are more.
pub(super) fn unpacking(frame: impl Read) -> std::io::Result<impl Read> {
    Ok(zstd::stream::read::Decoder::new(frame)?.take(UNPACKED + 1))
}
