//! What the fuzz targets do with their bytes. `tests/fuzz_bodies.rs` does the same with seeded bytes, so that the bodies
//! run in every build and a finding becomes a plain test.

pub(crate) mod decode;
pub(crate) mod packets;
pub(crate) mod plain;
pub(crate) mod roundtrip;
pub(crate) mod trie;
pub(crate) mod turns;
