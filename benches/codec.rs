//! Time per decode and encode of one packet: `cargo bench -p ringmq-benches --bench codec`.
//!
//! Duty: print figures. Must not: judge them. Neighbours: `cases/codec.rs` says what is measured.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[allow(dead_code, reason = "every bench uses some of the cases")]
mod cases;
mod stopwatch;

fn main() {
    stopwatch::measure(cases::codec::all());
}
