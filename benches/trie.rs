//! Time per match and bytes of memory per filter: `cargo bench -p ringmq-benches --bench trie`.
//!
//! Duty: print figures. Must not: judge them. Neighbours: `cases/trie.rs` says what is measured.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[allow(dead_code, reason = "every bench uses some of the cases")]
mod cases;
mod stopwatch;

use cases::trie::{MIXED, all, filled};

const FILTERS: usize = 1_000_000;

fn main() {
    let before = resident_bytes();
    let trie = filled(FILTERS, MIXED);
    let bytes = resident_bytes().saturating_sub(before);
    println!("memory/{FILTERS} filters, {}: {} bytes per filter", MIXED.0, bytes / FILTERS);
    drop(trie);
    stopwatch::measure(all());
}

/// Resident memory of this process, bytes; 0 where the kernel does not say.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
