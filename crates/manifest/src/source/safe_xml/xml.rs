//! A streaming look at the leaves of an XML document, hardened: no DTD, no entities of its own, bounded depth.

use std::ops::ControlFlow;

use quick_xml::Reader;
use quick_xml::errors::Error as XmlError;
use quick_xml::events::{BytesStart, Event};

/// Deepest nesting; Sentinel-2 metadata has 8.
const MAX_DEPTH: usize = 32;

/// Longest text that is kept; longer ones (angle grids) are passed over.
const MAX_TEXT: usize = 512;

/// An element on the way to a leaf.
pub(super) struct Element {
    /// Name without its namespace prefix.
    pub(super) name: String,
    /// The attribute that numbers elements of one name: `band_id` or `resolution`.
    pub(super) number: Option<u32>,
    text: String,
    too_long: bool,
    has_children: bool,
}

/// How the reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The visitor had seen enough.
    Stopped,
    /// The document was complete.
    Complete,
    /// The bytes end within the document.
    Cut,
}

/// Calls `leaf(path, text)` for each element without children, the innermost last in `path`, until it breaks.
///
/// # Errors
/// What is wrong and at which byte. A document cut at its end is no error: see [`End::Cut`].
pub(super) fn leaves(
    bytes: &[u8],
    mut leaf: impl FnMut(&[Element], &str) -> ControlFlow<()>,
) -> Result<End, (u64, String)> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut reader = Reader::from_reader(bytes);
    let mut stack: Vec<Element> = Vec::new();
    let mut begun = false;
    loop {
        let at = reader.buffer_position();
        let event = match reader.read_event() {
            Ok(event) => event,
            // Markup that begins and does not end is where a prefix was cut.
            Err(XmlError::Syntax(_)) => return Ok(End::Cut),
            Err(XmlError::IllFormed(quick_xml::errors::IllFormedError::UnclosedReference)) => return Ok(End::Cut),
            Err(error) => return Err((at, error.to_string())),
        };
        match event {
            Event::Start(start) => {
                begun = true;
                push(&mut stack, &start).map_err(|reason| (at, reason))?;
            }
            Event::Empty(start) => {
                begun = true;
                push(&mut stack, &start).map_err(|reason| (at, reason))?;
                if pop(&mut stack, &mut leaf).is_break() {
                    return Ok(End::Stopped);
                }
            }
            Event::End(_) => {
                if pop(&mut stack, &mut leaf).is_break() {
                    return Ok(End::Stopped);
                }
                if stack.is_empty() {
                    return Ok(End::Complete);
                }
            }
            Event::Text(text) => {
                let text = text.decode().map_err(|e| (at, e.to_string()))?;
                if stack.is_empty() && !text.trim().is_empty() {
                    return Err((at, "text outside of any element: this is no XML document".to_owned()));
                }
                append(&mut stack, &text);
            }
            Event::CData(data) => append(&mut stack, &data.decode().map_err(|e| (at, e.to_string()))?),
            Event::GeneralRef(reference) => {
                let name = reference.decode().map_err(|e| (at, e.to_string()))?.into_owned();
                let text = match name.as_str() {
                    "amp" => Some('&'),
                    "lt" => Some('<'),
                    "gt" => Some('>'),
                    "quot" => Some('"'),
                    "apos" => Some('\''),
                    _ => reference.resolve_char_ref().map_err(|e| (at, e.to_string()))?,
                };
                match text {
                    Some(c) => append(&mut stack, c.encode_utf8(&mut [0; 4])),
                    None => return Err((at, format!("entity &{name}; is not allowed"))),
                }
            }
            Event::DocType(_) => return Err((at, "a document type definition is not allowed".to_owned())),
            Event::Eof if begun => return Ok(End::Cut),
            Event::Eof => return Err((at, "there is no element: this is no XML document".to_owned())),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

fn push(stack: &mut Vec<Element>, start: &BytesStart<'_>) -> Result<(), String> {
    if stack.len() >= MAX_DEPTH {
        return Err(format!("more than {MAX_DEPTH} elements inside each other"));
    }
    if let Some(parent) = stack.last_mut() {
        parent.has_children = true;
    }
    let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
    let mut number = None;
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|e| e.to_string())?;
        if matches!(attribute.key.as_ref(), b"band_id" | b"bandId" | b"resolution") {
            number = std::str::from_utf8(&attribute.value).ok().and_then(|text| text.trim().parse().ok());
        }
    }
    stack.push(Element { name, number, text: String::new(), too_long: false, has_children: false });
    Ok(())
}

fn append(stack: &mut [Element], text: &str) {
    if let Some(element) = stack.last_mut() {
        if element.text.len() + text.len() > MAX_TEXT {
            element.too_long = true;
        } else {
            element.text.push_str(text);
        }
    }
}

fn pop(stack: &mut Vec<Element>, leaf: &mut impl FnMut(&[Element], &str) -> ControlFlow<()>) -> ControlFlow<()> {
    let flow = match stack.last() {
        Some(last) if !last.has_children && !last.too_long => leaf(stack, last.text.trim()),
        _ => ControlFlow::Continue(()),
    };
    stack.pop();
    flow
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn seen(text: &str) -> Result<(Vec<String>, End), (u64, String)> {
        let mut out = Vec::new();
        let end = leaves(text.as_bytes(), |path, text| {
            let names: Vec<String> =
                path.iter().map(|e| e.number.map_or_else(|| e.name.clone(), |n| format!("{}[{n}]", e.name))).collect();
            out.push(format!("{}={text}", names.join("/")));
            ControlFlow::Continue(())
        })?;
        Ok((out, end))
    }

    #[test]
    fn leaves_come_with_their_path() {
        let text = "\u{FEFF}<?xml version=\"1.0\"?><n1:a xmlns:n1='x'><b resolution=\"10\"><c> 1 &amp; &#50; </c></b><d/><!-- x --></n1:a>";
        assert_eq!(seen(text).unwrap(), (vec!["a/b[10]/c=1 & 2".to_owned(), "a/d=".to_owned()], End::Complete));
    }

    #[test]
    fn cut_documents_end_where_they_are_cut() {
        let text = "<a><b>1</b><c>22</c></a>";
        for cut in 1..text.len() {
            let (leaves, end) = seen(&text[..cut]).unwrap();
            assert_eq!(end, End::Cut, "{cut}");
            assert_eq!(leaves.len(), usize::from(cut >= 11) + usize::from(cut >= 20), "{cut}");
        }
    }

    #[test]
    fn dangers_are_refused() {
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><x>&a;</x>";
        assert!(seen(bomb).unwrap_err().1.contains("document type definition"));
        assert!(seen("<x>&a;</x>").unwrap_err().1.contains("entity &a;"));
        assert!(seen(&"<a>".repeat(40)).unwrap_err().1.contains("more than 32"));
        assert!(seen("<a></b>").is_err());
        assert!(seen("").unwrap_err().1.contains("no XML"));
        assert!(seen("hello").unwrap_err().1.contains("no XML"));
        let long = format!("<a><b>{}</b><c>1</c></a>", "x".repeat(10_000));
        assert_eq!(seen(&long).unwrap().0, ["a/c=1"]);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), markup in "[<>/a&;!\\[\\]\"= -]{0,80}") {
            let _ = leaves(&bytes, |_, _| ControlFlow::Continue(()));
            let _ = leaves(markup.as_bytes(), |_, _| ControlFlow::Continue(()));
        }
    }
}
