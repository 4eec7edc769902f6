//! Codestream markers (ISO/IEC 15444-1, table A.2).

use std::fmt;

/// A two-byte marker code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Marker(pub u16);

macro_rules! markers {
    ($($name:ident = $code:literal, $doc:literal;)*) => {
        impl Marker {
            $(#[doc = $doc] pub const $name: Marker = Marker($code);)*

            /// The standard's name of the marker, if it is one this crate knows.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

markers! {
    SOC = 0xFF4F, "Start of codestream.";
    CAP = 0xFF50, "Extended capabilities (Part 15, HTJ2K).";
    SIZ = 0xFF51, "Image and tile size.";
    COD = 0xFF52, "Coding style default.";
    COC = 0xFF53, "Coding style of a component.";
    TLM = 0xFF55, "Tile-part lengths.";
    PRF = 0xFF56, "Profile.";
    PLM = 0xFF57, "Packet lengths, main header.";
    PLT = 0xFF58, "Packet lengths, tile-part header.";
    CPF = 0xFF59, "Corresponding profile (Part 15).";
    QCD = 0xFF5C, "Quantization default.";
    QCC = 0xFF5D, "Quantization of a component.";
    RGN = 0xFF5E, "Region of interest.";
    POC = 0xFF5F, "Progression order change.";
    PPM = 0xFF60, "Packed packet headers, main header.";
    PPT = 0xFF61, "Packed packet headers, tile-part header.";
    CRG = 0xFF63, "Component registration.";
    COM = 0xFF64, "Comment.";
    SOT = 0xFF90, "Start of tile-part.";
    SOP = 0xFF91, "Start of packet.";
    EPH = 0xFF92, "End of packet header.";
    SOD = 0xFF93, "Start of data.";
    EOC = 0xFFD9, "End of codestream.";
}

impl Marker {
    /// The marker's two bytes as they stand in a codestream.
    #[must_use]
    pub fn bytes(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "marker {name} ({:04X})", self.0),
            None => write!(f, "marker {:04X}", self.0),
        }
    }
}
