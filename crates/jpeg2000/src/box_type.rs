//! The name of a JP2 box, apart from the walk so that errors can carry it.

use std::fmt;

/// Four-character type of a box.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BoxType(pub [u8; 4]);

impl BoxType {
    /// JPEG 2000 signature.
    pub const SIGNATURE: BoxType = BoxType(*b"jP  ");
    /// Contiguous codestream.
    pub const CODESTREAM: BoxType = BoxType(*b"jp2c");
}

impl fmt::Display for BoxType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.escape_ascii())
    }
}

impl fmt::Debug for BoxType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
