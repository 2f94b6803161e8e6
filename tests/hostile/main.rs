//! Hostile clients against the real binary: what they get, what it costs, and that nobody else notices.
//!
//! Duty: rows W, R and those of S, Q and X that are about sockets, live, each beside a client that is watched. Must not:
//! test what virtual time shows better (`conformance`, `sim`). Neighbours: `tests/live` has the broker from
//! outside, and its tests that do not measure.
//!
//! Each resource row prints one line of figures. `RINGMQ_HOSTILE_FULL` (`scripts/soak hostile`) gives the rows their full size.
#![cfg(feature = "runtime")]
#![allow(clippy::disallowed_methods, reason = "tests of a process need threads and clocks")]

#[allow(dead_code, reason = "only some of it is used here")]
#[path = "../live/broker.rs"]
mod broker;
#[allow(dead_code)]
#[path = "../live/client.rs"]
mod client;
#[path = "../conformance/hostile_rows.rs"]
mod hostile_rows;
#[allow(dead_code)]
#[path = "../conformance/packets.rs"]
mod packets;

mod admission;
mod delivery;
mod memory;
mod sessions;
mod topics;
mod watch;
mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One row at a time: each measures.
static ALONE: Mutex<()> = Mutex::new(());

/// Waits until no other row runs.
fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The size of a row: in full, or one that takes a second.
fn full_or<T>(full: T, quick: T) -> T {
    if std::env::var_os("RINGMQ_HOSTILE_FULL").is_some() { full } else { quick }
}
