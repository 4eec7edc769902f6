//! Arrays of s2ice read with zarrs.

#[path = "../../../jpeg2000/tests/common/mod.rs"]
mod common;
mod differencing;
#[path = "../../../jpeg2000/tests/common/encode.rs"]
mod encode;
mod icechunk;
mod made;
mod real;
mod refusals;
mod support;
