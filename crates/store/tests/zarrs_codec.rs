//! Arrays of s2ice read with zarrs.
