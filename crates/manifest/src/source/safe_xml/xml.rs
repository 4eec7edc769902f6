//! A streaming look at the leaves of an XML document, hardened: no DTD, no entities of its own; depth, tags and kept text
//! are bounded, so that memory does not grow with a document and time grows no faster than its length.

use std::ops::ControlFlow;

use quick_xml::errors::Error as XmlError;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::MetadataError;

/// Deepest nesting; Sentinel-2 metadata has 8.
const MAX_DEPTH: usize = 32;

/// Longest text that is kept; a row of an angle grid has 180. Longer ones are passed over.
const MAX_TEXT: usize = 512;

/// Longest tag, bytes; the namespaces of a manifest take 1 kB.
const MAX_TAG: usize = 16 * 1024;

/// Most attributes of a tag. To find one that is given twice each is compared with all before it.
const MAX_ATTRIBUTES: usize = 64;

/// Attributes that are kept.
const KEPT: [&str; 10] = [
    "band_id",
    "bandId",
    "detectorId",
    "unit",
    "resolution",
    "size",
    "href",
    "checksumName",
    "granuleIdentifier",
    "datastripIdentifier",
];

/// An element on the way to a leaf.
pub(super) struct Element {
    /// Name without its namespace prefix.
    pub(super) name: String,
    /// Where its tag begins: tells two elements of one name apart.
    pub(super) at: u64,
    attributes: Vec<(&'static str, String)>,
    text: String,
    too_long: bool,
    has_children: bool,
}

impl Element {
    /// An attribute, of those that are kept.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    /// The attribute that numbers elements of one name: `band_id`, `bandId` or `resolution`.
    pub(super) fn number(&self) -> Option<u32> {
        ["band_id", "bandId", "resolution"].iter().find_map(|name| self.attribute(name))?.trim().parse().ok()
    }
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

/// As [`leaves`], for a document that must be whole, up to the first error of `take`.
///
/// # Errors
/// [`MetadataError::Xml`] for what is no complete document; what `take` says.
pub(super) fn whole(
    bytes: &[u8],
    path: &str,
    mut take: impl FnMut(&[Element], &str) -> Result<(), MetadataError>,
) -> Result<(), MetadataError> {
    let mut failure = None;
    let end = leaves(bytes, |elements, text| match take(elements, text) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failure = Some(error);
            ControlFlow::Break(())
        }
    });
    if let Some(error) = failure {
        return Err(error);
    }
    let bad = |at: u64, detail: String| MetadataError::Xml { path: path.to_owned(), at, detail };
    match end.map_err(|(at, detail)| bad(at, detail))? {
        End::Complete => Ok(()),
        _ => Err(bad(bytes.len() as u64, "the document ends too early".to_owned())),
    }
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
                push(&mut stack, &start, at).map_err(|reason| (at, reason))?;
            }
            Event::Empty(start) => {
                begun = true;
                push(&mut stack, &start, at).map_err(|reason| (at, reason))?;
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

fn push(stack: &mut Vec<Element>, start: &BytesStart<'_>, at: u64) -> Result<(), String> {
    if stack.len() >= MAX_DEPTH {
        return Err(format!("more than {MAX_DEPTH} elements inside each other"));
    }
    if start.len() > MAX_TAG {
        return Err(format!("a tag of {} bytes, more than {MAX_TAG}", start.len()));
    }
    if let Some(parent) = stack.last_mut() {
        parent.has_children = true;
    }
    let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
    let mut attributes = Vec::new();
    for (number, attribute) in start.attributes().enumerate() {
        if number >= MAX_ATTRIBUTES {
            return Err(format!("a tag of more than {MAX_ATTRIBUTES} attributes"));
        }
        let attribute = attribute.map_err(|e| e.to_string())?;
        if let Some(key) = KEPT.iter().find(|key| key.as_bytes() == attribute.key.as_ref()) {
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|e| e.to_string())?;
            attributes.push((*key, value.into_owned()));
        }
    }
    stack.push(Element { name, at, attributes, text: String::new(), too_long: false, has_children: false });
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
            let names: Vec<String> = path
                .iter()
                .map(|e| e.number().map_or_else(|| e.name.clone(), |n| format!("{}[{n}]", e.name)))
                .collect();
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

    #[test]
    fn attributes_are_bounded() {
        let kept = "<a><b href='x &amp; y' other='&z;' href2='1'/></a>";
        let mut found = None;
        let end = leaves(kept.as_bytes(), |path, _| {
            found = path.last().and_then(|e| e.attribute("href").map(str::to_owned));
            ControlFlow::Continue(())
        });
        assert_eq!((end, found.as_deref()), (Ok(End::Complete), Some("x & y")));
        assert!(seen("<a href='&z;'/>").is_err());
        assert!(seen("<a href='1' href='2'/>").is_err());
        let long = format!("<a href='{}'/>", "x".repeat(MAX_TAG));
        assert!(seen(&long).unwrap_err().1.contains("bytes, more than 16384"));
        let many: String = (0..65).map(|i| format!(" a{i}=''")).collect();
        assert!(seen(&format!("<a{many}/>")).unwrap_err().1.contains("more than 64 attributes"));
        // Comparing each attribute with all before it would take hours here.
        let swarm: String = (0..100_000).map(|i| format!(" a{i}=''")).collect();
        assert!(seen(&format!("<a{swarm}/>")).unwrap_err().1.contains("a tag of"));
    }

    #[test]
    fn much_text_is_passed_over() {
        let much = format!("<a><b>{}</b><c>1</c><!--{}--></a>", "x&amp;".repeat(1 << 18), "-x".repeat(1 << 20));
        assert_eq!(seen(&much).unwrap(), (vec!["a/c=1".to_owned()], End::Complete));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), markup in "[<>/a&;!\\[\\]\"= -]{0,80}") {
            let _ = leaves(&bytes, |_, _| ControlFlow::Continue(()));
            let _ = leaves(markup.as_bytes(), |_, _| ControlFlow::Continue(()));
        }
    }
}
