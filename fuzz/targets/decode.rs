//! libFuzzer target: any bytes, as a client and as a server sends them.
//! The body is `bodies/decode.rs`, which a plain test runs too.
#![no_main]

#[path = "../bodies/mod.rs"]
#[allow(dead_code, reason = "each target runs one of the bodies")]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::decode::run(bytes));
