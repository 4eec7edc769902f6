//! Where the trees of a store stand: the main one at the root, that of an era below `/eras/<name>`.

use s2ice_manifest::era::Era;

/// Group of the table of products in each tree.
pub const PRODUCTS: &str = "products";

/// Group that holds the trees of eras.
pub const ERAS: &str = "eras";

/// Path of a tree, without slashes at its ends; empty for the main one.
pub fn root(era: Option<&Era>) -> String {
    era.map(|era| format!("{ERAS}/{era}")).unwrap_or_default()
}

/// A path in a tree (with or without a leading slash) as a path in the store, without a leading slash.
pub fn within(era: Option<&Era>, path: &str) -> String {
    join(&root(era), path.trim_start_matches('/'))
}

/// A path below another one, without a leading slash.
pub fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() || name.is_empty() { format!("{parent}{name}") } else { format!("{parent}/{name}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn eras_stand_below_a_group_of_their_own() {
        let era: Era = "offset-0".parse().unwrap();
        assert_eq!(within(Some(&era), "/a/b"), "eras/offset-0/a/b");
        assert_eq!(within(Some(&era), ""), "eras/offset-0");
        assert_eq!(within(None, "/a/b"), "a/b");
        assert_eq!(root(None), "");
    }
}
