//! Text in XML.

/// Text as it stands in an element or in an attribute between double quotes. Control characters, which XML has no place for,
/// are left out.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_an_element() {
        assert_eq!(escape("a<b>&\"c\"\u{0}\n'é"), "a&lt;b&gt;&amp;&quot;c&quot;'é");
    }
}
