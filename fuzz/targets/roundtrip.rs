//! libFuzzer target: packets built from any bytes, encoded and decoded again.
//! The body is `bodies/roundtrip.rs`, which a plain test runs too.
#![no_main]

#[path = "../bodies/mod.rs"]
#[allow(dead_code, reason = "each target runs one of the bodies")]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::roundtrip::run(bytes));
