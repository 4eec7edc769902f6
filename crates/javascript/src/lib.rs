//! What the npm package `@s2ice/codec` calls; built for `wasm32-unknown-unknown`.
//!
//! JavaScript writes into a buffer that this module owns (`input`) and reads from another (`output`). Addresses are handed out
//! and never taken, so nothing here reads or writes at an address that somebody else named. Numbers in buffers are `u32`, little
//! endian. What can fail returns one of the states below; after [`FAILED`] the output is the sentence.

mod buffers;
mod calls;

use buffers::Buffers;
use s2ice_jpeg2000::TileCodec;
use std::cell::RefCell;

/// The output is what was asked for.
pub const DONE: u32 = 0;
/// The output is an error in words.
pub const FAILED: u32 = 1;
/// The head is too short: the output is how many bytes it must have.
pub const MORE: u32 = 2;
/// Only the whole chunk will do.
pub const WHOLE: u32 = 3;

/// All that this module remembers.
struct State {
    buffers: Buffers,
    /// Codecs by their number; `None` where one was closed.
    codecs: Vec<Option<TileCodec>>,
}

thread_local! {
    static STATE: RefCell<State> = const { RefCell::new(State { buffers: Buffers::new(), codecs: Vec::new() }) };
}

/// Does something with the state and tells how that went.
fn with(act: impl FnOnce(&mut State) -> Result<u32, String>) -> u32 {
    STATE.with_borrow_mut(|state| {
        act(state).unwrap_or_else(|words| {
            state.buffers.output = words.into_bytes();
            FAILED
        })
    })
}
