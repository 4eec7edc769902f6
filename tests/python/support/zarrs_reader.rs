//! zarrs at a store that the command built: `zarrs_reader STORE SOURCE` lists the arrays, `... TYPE PATH FIRST:END...` prints
//! the shape of one and the values of a window. Axes that are not given are read whole.

use std::error::Error;
use std::ops::Range;
use std::sync::Arc;

use s2ice_store::zarrs_codec::zarrs::array::{Array, ElementOwned};
use s2ice_store::zarrs_codec::zarrs::node::{Node, NodeMetadata};
use s2ice_store::zarrs_codec::zarrs::storage::AsyncReadableStorageTraits;
use s2ice_store::zarrs_codec::{SourceOptions, open};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let place = SourceOptions::default;
    let store = open((&arguments[0], place()), [("local", &*arguments[1], place())]).await?;
    match &arguments[2..] {
        [] => list(&Node::async_open(store, "/").await?),
        [kind, path, window @ ..] if kind == "u16" => read::<u16>(store, path, window).await?,
        [kind, path, window @ ..] if kind == "f32" => read::<f32>(store, path, window).await?,
        _ => return Err("u16 and f32 are known".into()),
    }
    Ok(())
}

fn list(node: &Node) {
    if matches!(node.metadata(), NodeMetadata::Array(_)) {
        println!("{}", node.path());
    }
    node.children().iter().for_each(list);
}

async fn read<T: ElementOwned + std::fmt::Debug>(
    store: Arc<impl AsyncReadableStorageTraits + 'static>,
    path: &str,
    window: &[String],
) -> Result<(), Box<dyn Error>> {
    let array = Array::async_open(store, path).await?;
    let mut ranges: Vec<Range<u64>> = array.shape().iter().map(|length| 0..*length).collect();
    for (range, text) in ranges.iter_mut().zip(window) {
        let (first, end) = text.split_once(':').ok_or("FIRST:END")?;
        *range = first.parse()?..end.parse()?;
    }
    println!("{:?}", array.shape());
    println!("{:?}", array.async_retrieve_array_subset::<Vec<T>>(&ranges).await?);
    Ok(())
}
