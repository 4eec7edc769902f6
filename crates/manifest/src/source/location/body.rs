//! What a server sends, as long as it is no more than was asked for.

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use object_store::{Error, Result};

/// Collects an answer of at most so many bytes.
///
/// # Errors
/// It is longer, or ends in an error.
pub(super) async fn bounded(mut stream: BoxStream<'static, Result<Bytes>>, most: u64) -> Result<Bytes> {
    let (mut parts, mut length) = (Vec::new(), 0);
    while let Some(part) = stream.try_next().await? {
        length += part.len() as u64;
        if length > most {
            let source = format!("the server sent more than the {most} bytes that it was asked for").into();
            return Err(Error::Generic { store: "source", source });
        }
        parts.push(part);
    }
    Ok(match parts.len() {
        1 => parts.swap_remove(0),
        _ => parts.concat().into(),
    })
}
