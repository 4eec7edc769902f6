//! Who decides how much may be asked of sources.

/// What is asked before a source is, and told afterwards.
pub(crate) trait Watch: Send + Sync {
    /// Takes bytes; false where not so many may be read.
    fn take(&self, bytes: u64) -> bool;
    /// Why a place is left alone; `None` where it is asked.
    fn left_alone(&self, place: &str) -> Option<String>;
    /// Notes whether a place answered, or why it did not.
    fn note(&self, place: &str, silence: Option<String>);
}

/// Nobody: whoever asked for a picture has it.
pub(super) struct Unwatched;

impl Watch for Unwatched {
    fn take(&self, _: u64) -> bool {
        true
    }

    fn left_alone(&self, _: &str) -> Option<String> {
        None
    }

    fn note(&self, _: &str, _: Option<String>) {}
}
