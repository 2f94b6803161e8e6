//! libFuzzer target: any bytes from any clients leave two shards whole.
//! The body is `bodies/turns.rs`, which a plain test runs too.
#![no_main]

#[path = "../bodies/mod.rs"]
#[allow(dead_code, reason = "each target runs one of the bodies")]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::turns::run(bytes));
