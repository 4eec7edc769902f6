//! The functions that WebAssembly exports. JavaScript alone calls them, one at a time.
#![allow(unsafe_code, reason = "only for the names: nothing is called by them but from JavaScript")]

use crate::buffers::{Buffers, numbers, resize};
use crate::{DONE, MORE, STATE, State, WHOLE, with};
use s2ice_jpeg2000::{CodecConfig, Scan, TileCodec, Window};

/// Gives the input a length and tells where it lies; 0 where there is no memory for it. It stays there until the next call of this.
#[unsafe(no_mangle)]
pub extern "C" fn input(length: usize) -> *mut u8 {
    STATE.with_borrow_mut(|state| match resize(&mut state.buffers.input, length) {
        Ok(()) => state.buffers.input.as_mut_ptr(),
        Err(_) => std::ptr::null_mut(),
    })
}

/// Where the output lies, until the next call of anything.
#[unsafe(no_mangle)]
pub extern "C" fn output() -> *const u8 {
    STATE.with_borrow(|state| state.buffers.output.as_ptr())
}

/// Bytes of the output.
#[unsafe(no_mangle)]
pub extern "C" fn output_length() -> usize {
    STATE.with_borrow(|state| state.buffers.output.len())
}

/// Makes a codec. The input is `main_header` as it stands in the configuration. The output is its number, components, rows and
/// columns of a chunk, bytes of a sample, 1 for signed samples, rows and columns of the image, the most resolutions that can be left
/// out, and the bytes that mostly hold a chunk's head.
#[unsafe(no_mangle)]
pub extern "C" fn open(reduce: u32) -> u32 {
    with(|State { buffers, codecs }| {
        let main_header = std::str::from_utf8(&buffers.input).map_err(|_| "main_header is no text")?.to_owned();
        let reduce = u8::try_from(reduce).map_err(|_| format!("reduce is {reduce}, more than 32"))?;
        let codec = TileCodec::new(&CodecConfig { main_header, reduce }).map_err(|error| error.to_string())?;
        let number = codecs.iter().position(Option::is_none).unwrap_or(codecs.len());
        let (geometry, samples) = (*codec.geometry(), codec.dtype());
        let told = [
            number as u64,
            geometry.components.into(),
            geometry.tile_height.into(),
            geometry.tile_width.into(),
            samples.bytes as u64,
            samples.signed.into(),
            geometry.height.into(),
            geometry.width.into(),
            codec.header().min_levels().into(),
            codec.head_bytes().map_err(|error| error.to_string())?,
        ];
        buffers.tell(told)?;
        match codecs.get_mut(number) {
            Some(place) => *place = Some(codec),
            None => codecs.push(Some(codec)),
        }
        Ok(DONE)
    })
}

/// Forgets a codec.
#[unsafe(no_mangle)]
pub extern "C" fn close(codec: usize) {
    STATE.with_borrow_mut(|state| {
        if let Some(place) = state.codecs.get_mut(codec) {
            *place = None;
        }
    });
}

/// Decodes rows `y0..y1` and columns `x0..x1` of the chunk that is the input; the output is the samples, component first.
#[unsafe(no_mangle)]
pub extern "C" fn decode(codec: usize, fill: i32, y0: u32, y1: u32, x0: u32, x1: u32) -> u32 {
    with(|State { buffers, codecs }| {
        let (codec, window) = (at(codecs, codec)?, Window { y: y0..y1, x: x0..x1 });
        let Buffers { input, output } = buffers;
        resize(output, codec.output_bytes(Some(&window)).map_err(|error| error.to_string())?)?;
        codec.decode(input, fill.into(), Some(&window), output).map_err(|error| error.to_string())?;
        Ok(DONE)
    })
}

/// As [`decode`], from parts of a chunk. The input is offset and length of each, then their bytes one after the other.
#[unsafe(no_mangle)]
pub extern "C" fn decode_parts(codec: usize, fill: i32, y0: u32, y1: u32, x0: u32, x1: u32, count: usize) -> u32 {
    with(|State { buffers, codecs }| {
        let (codec, window) = (at(codecs, codec)?, Window { y: y0..y1, x: x0..x1 });
        let Buffers { input, output } = buffers;
        let parts = parts(input, count).ok_or("the parts are not as long as they tell")?;
        resize(output, codec.output_bytes(Some(&window)).map_err(|error| error.to_string())?)?;
        codec.decode_parts(&parts, fill.into(), Some(&window), output).map_err(|error| error.to_string())?;
        Ok(DONE)
    })
}

/// What of a chunk the window needs, told by its first bytes, which are the input. Ranges up to `gap` bytes apart are one. The
/// output is bytes of the chunk, of its head, and up to the first that are not needed, then beginning and end of each range beyond
/// the input.
#[unsafe(no_mangle)]
pub extern "C" fn plan(codec: usize, y0: u32, y1: u32, x0: u32, x1: u32, gap: u32) -> u32 {
    with(|State { buffers, codecs }| {
        let window = Window { y: y0..y1, x: x0..x1 };
        let planned = at(codecs, codec)?.plan(&buffers.input, Some(&window), gap.into());
        match planned.map_err(|error| error.to_string())? {
            Scan::NeedMore { up_to } => buffers.tell([up_to]).map(|()| MORE),
            Scan::Done(None) => Ok(WHOLE),
            Scan::Done(Some(plan)) => {
                let ranges = plan.ranges.iter().flat_map(|range| [range.start, range.end]);
                buffers.tell([plan.total, plan.head, plan.lead].into_iter().chain(ranges)).map(|()| DONE)
            }
        }
    })
}

fn at(codecs: &[Option<TileCodec>], number: usize) -> Result<&TileCodec, String> {
    codecs.get(number).and_then(Option::as_ref).ok_or_else(|| format!("there is no codec {number}"))
}

fn parts(input: &[u8], count: usize) -> Option<Vec<(u64, &[u8])>> {
    let (places, mut rest) = numbers(input, count.checked_mul(2)?)?;
    let part = |place: &[u32]| {
        let (offset, length) = (*place.first()?, *place.get(1)?);
        let (bytes, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        rest = behind;
        Some((u64::from(offset), bytes))
    };
    places.chunks_exact(2).map(part).collect()
}

#[cfg(test)]
mod tests;
