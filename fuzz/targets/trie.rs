//! libFuzzer target: any operations on the tries give the answers of plain lists.
//! The body is `bodies/trie.rs`, which a plain test runs too.
#![no_main]

#[path = "../bodies/mod.rs"]
#[allow(dead_code, reason = "each target runs one of the bodies")]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::trie::trie_equals_naive(bytes));
