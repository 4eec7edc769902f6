//! Numbers and bytes that JavaScript may give by mistake: each is an error in words.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::FAILED;

/// That of the documentation: 1830 x 1830 samples in tiles of 192 x 192.
const HEADER: &str =
    "/0//UQApAAAAAAcmAAAHJgAAAAAAAAAAAAAAwAAAAMAAAAAAAAAAAAABDgEB/1IAEQEAAAEABAAAAAFmZmZmZv9cABAggIiIkIiIkIiIiICAiA==";

fn give(bytes: &[u8]) {
    assert!(!input(bytes.len()).is_null());
    STATE.with_borrow_mut(|state| state.buffers.input.copy_from_slice(bytes));
}

fn told() -> Vec<u32> {
    STATE.with_borrow(|state| numbers(&state.buffers.output, state.buffers.output.len() / 4).unwrap().0)
}

fn words(state: u32) -> String {
    assert_eq!(state, FAILED);
    STATE.with_borrow(|state| String::from_utf8(state.buffers.output.clone()).unwrap())
}

fn codec(reduce: u32) -> usize {
    give(HEADER.as_bytes());
    assert_eq!(open(reduce), DONE);
    told()[0] as usize
}

#[test]
fn codecs_tell_what_they_decode() {
    let (first, second) = (codec(0), codec(2));
    assert_eq!(told()[1..9], [1, 48, 48, 2, 0, 458, 458, 4]);
    close(first);
    close(99);
    assert_eq!(codec(1), first);
    assert_ne!(first, second);
}

#[test]
fn mistakes_are_told_in_words() {
    give(b"no header");
    assert!(words(open(0)).contains("main_header"), "{}", words(open(0)));
    give(&[0xFF, 0xFE]);
    assert!(words(open(0)).contains("no text"));
    give(HEADER.as_bytes());
    assert!(words(open(9)).contains("resolutions"));
    assert!(words(open(1 << 20)).contains("more than 32"));
    assert!(words(decode(77, 0, 0, 1, 0, 1)).contains("no codec 77"));
    let codec = codec(0);
    give(&[]);
    for window in [[0, 193, 0, 1], [5, 4, 0, 1], [0, 1, 0, u32::MAX]] {
        let [y0, y1, x0, x1] = window;
        assert!(words(decode(codec, 0, y0, y1, x0, x1)).contains("not inside"));
        assert!(words(plan(codec, y0, y1, x0, x1, 0)).contains("not inside"));
    }
    assert!(words(decode(codec, 0, 0, 192, 0, 192)).contains("SOT"));
    assert!(words(decode(codec, 70_000, 0, 1, 0, 1)).contains("field fill"));
    assert_eq!(plan(codec, 0, 192, 0, 192, 0), MORE);
    assert!(told()[0] >= 12);
}

#[test]
fn parts_are_as_long_as_they_tell() {
    let codec = codec(0);
    let table = |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    for (bytes, count) in [(table(&[0, 4]), 1), (table(&[0, u32::MAX]), 1), (table(&[0]), 1), (Vec::new(), usize::MAX)]
    {
        give(&bytes);
        assert!(words(decode_parts(codec, 0, 0, 1, 0, 1, count)).contains("not as long"));
    }
    give(&[&table(&[0, 2])[..], &[0xFF, 0x90]].concat());
    assert!(words(decode_parts(codec, 0, 0, 1, 0, 1, 1)).contains("SOT"));
}

#[test]
fn a_length_beyond_all_memory_is_no_buffer() {
    assert!(input(usize::MAX).is_null());
    assert!(input(isize::MAX as usize).is_null());
}
