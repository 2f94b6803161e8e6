//! Time per look-up and change of retained values: `cargo bench -p ringmq-benches --bench retained`.
//!
//! Duty: print figures. Must not: judge them. Neighbours: `cases/retained.rs` says what is measured.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

#[allow(dead_code, reason = "every bench uses some of the cases")]
mod cases;
mod stopwatch;

fn main() {
    stopwatch::measure(cases::retained::all());
}
