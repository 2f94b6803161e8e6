//! Time per message, connection and subscription in one shard: `cargo bench -p ringmq-benches --bench turn`.
//!
//! Duty: print figures. Must not: judge them. Neighbours: `cases/turn.rs` says what is measured.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[allow(dead_code, reason = "every bench uses some of the cases")]
mod cases;
mod stopwatch;

fn main() {
    stopwatch::measure(cases::turn::all());
}
