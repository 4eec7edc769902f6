//! The fingerprint of a main header without comments and lengths.

use crate::header::MainHeader;
use crate::marker::Marker;
use sha2::{Digest, Sha256};
use std::fmt;

/// What two files must share so that one codec configuration decodes both.
///
/// A tile decoded with another file's header often gives other numbers without any error, so references of one array
/// are written only when all profiles are equal.
#[derive(Clone)]
pub struct Profile {
    /// SHA-256 over SOC and the SIZ, COD, COC, QCD, QCC, RGN and POC segments in the order of their codes.
    digest: [u8; 32],
    header: Box<MainHeader>,
}

impl MainHeader {
    /// What two files must share to be read with one codec configuration.
    #[must_use]
    pub fn profile(&self) -> Profile {
        Profile::new(self)
    }
}

impl Profile {
    pub(crate) fn new(header: &MainHeader) -> Profile {
        // Segments may stand in any order behind SIZ; sorting makes headers that mean the same equal.
        let mut segments: Vec<_> = header.segments().iter().collect();
        segments.sort();
        let mut hash = Sha256::new();
        hash.update(Marker::SOC.bytes());
        for (_, bytes) in segments {
            hash.update(bytes);
        }
        Profile { digest: hash.finalize().into(), header: Box::new(header.clone()) }
    }

    /// What differs, by segment and field, as "SIZ bit depth 12 vs 15; ..."; empty when the profiles are equal.
    #[must_use]
    pub fn difference(&self, other: &Profile) -> String {
        if self == other {
            return String::new();
        }
        let mut out: Vec<String> = Vec::new();
        for ((name, a), (_, b)) in self.facts().into_iter().zip(other.facts()) {
            if a != b {
                out.push(format!("{name} {a} vs {b}"));
            }
        }
        if out.is_empty() {
            // Differences inside per-component segments and orders of them.
            let hex = |p: &Profile| {
                let segments = p.header.segments().iter().skip(1);
                segments.map(|(m, b)| format!("{m} {} bytes", b.len())).collect::<Vec<_>>().join(" ")
            };
            out.push(format!("segments {} vs {}", hex(self), hex(other)));
        }
        out.join("; ")
    }

    /// Named facts, the same names in the same order for every header.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let (siz, cod, qcd) = (self.header.siz(), self.header.cod(), self.header.qcd());
        let runs = |values: Vec<String>| {
            if values.windows(2).all(|w| w[0] == w[1]) { values[..1].join("") } else { values.join("/") }
        };
        let each = |f: &dyn Fn(&crate::segment::siz::Component) -> String| runs(siz.components.iter().map(f).collect());
        let coding = &cod.coding;
        let precincts = (0..=coding.levels).map(|r| coding.precinct_exp(r)).map(|(x, y)| format!("2^{x}x2^{y}"));
        let list = |bytes: Vec<String>| if bytes.is_empty() { "none".to_owned() } else { bytes.join(" ") };
        vec![
            ("SIZ image end", format!("{} x {}", siz.x1, siz.y1)),
            ("SIZ offsets", format!("{} {} {} {}", siz.x0, siz.y0, siz.tile_x0, siz.tile_y0)),
            ("SIZ tile size", format!("tiles {} x {}", siz.tile_width, siz.tile_height)),
            ("SIZ components", format!("{} components", siz.components.len())),
            ("SIZ bit depth", format!("{} bit", each(&|c| c.bit_depth.to_string()))),
            ("SIZ sign", each(&|c| if c.signed { "signed".into() } else { "unsigned".into() })),
            ("SIZ subsampling", format!("subsampling {}", each(&|c| format!("{}x{}", c.dx, c.dy)))),
            ("SIZ capabilities", format!("Rsiz {}", siz.capabilities)),
            ("COD progression", cod.progression.to_string()),
            ("COD layers", format!("{} layers", cod.layers)),
            ("COD component transform", format!("MCT {}", if cod.mct { "on" } else { "off" })),
            ("COD packet markers", format!("SOP {} EPH {}", u8::from(cod.sop), u8::from(cod.eph))),
            ("COD levels", format!("{} levels", coding.levels)),
            ("COD code-blocks", format!("code-blocks 2^{}x2^{}", coding.block_width_exp, coding.block_height_exp)),
            ("COD code-block style", format!("style {:#04x}", coding.block_style)),
            ("COD transform", coding.transform.to_string()),
            ("COD precincts", format!("precincts {}", runs(precincts.collect()))),
            ("QCD guard bits", format!("{} guard bits", qcd.guard_bits)),
            ("QCD steps", format!("quantization {}", qcd.quantization)),
            ("COC", list(self.header.coc().iter().map(|c| format!("{c:?}")).collect())),
            ("QCC", list(self.header.qcc().iter().map(|c| format!("{c:?}")).collect())),
            ("RGN", list(self.header.rgn().iter().map(|c| format!("{c:?}")).collect())),
            ("POC", format!("{:02x?}", self.header.poc().unwrap_or_default())),
        ]
    }
}

impl PartialEq for Profile {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Profile {}

impl std::hash::Hash for Profile {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Profile({self})")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

    use crate::header::MainHeader;
    use crate::samples;

    #[test]
    fn comments_and_order_do_not_count() {
        let siz = samples::siz();
        let plain = samples::header();
        let com = [0xFF, 0x64, 0, 6, 0, 1, b'h', b'i'];
        let other = MainHeader::parse(&samples::header_bytes(&siz, &[&samples::QCD, &com, &samples::COD])).unwrap();
        assert_eq!(plain.profile(), other.profile());
        assert_eq!(plain.profile().difference(&other.profile()), "");
        assert_eq!(plain.profile().to_string().len(), 64);
    }

    #[test]
    fn differences_are_named() {
        let plain = samples::header().profile();
        let mut siz = samples::siz();
        siz.components[0].bit_depth = 12;
        let mut cod = samples::COD;
        cod[5] = 2;
        let other = MainHeader::parse(&samples::header_bytes(&siz, &[&cod, &samples::QCD])).unwrap().profile();
        assert_eq!(plain.difference(&other), "SIZ bit depth 15 bit vs 12 bit; COD progression LRCP vs RPCL");
        let mut qcd = samples::QCD;
        qcd[6] = 120;
        let other =
            MainHeader::parse(&samples::header_bytes(&samples::siz(), &[&samples::COD, &qcd])).unwrap().profile();
        assert!(plain.difference(&other).starts_with("QCD steps"), "{}", plain.difference(&other));
        let qcc = [0xFF, 0x5D, 0, 11, 0, 0x20, 128, 136, 136, 144, 136, 136, 144];
        let segments: [&[u8]; 3] = [&samples::COD, &samples::QCD, &qcc];
        let other = MainHeader::parse(&samples::header_bytes(&samples::siz(), &segments)).unwrap().profile();
        assert!(plain.difference(&other).starts_with("QCC none vs Qcc"), "{}", plain.difference(&other));
    }
}
