//! Clock: monotonic time since the start of the process.
//!
//! Duty: the only source of `Millis`; all shards share one origin; the time of day for tools. Must not: mix the two.
//! Neighbours: `driver` reads it once per turn.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::id::Millis;

/// A clock; copies of it agree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Nanoseconds of the kernel's monotonic clock.
    origin: u64,
}

impl Clock {
    /// A clock that starts now.
    pub(super) fn start() -> Self {
        Self { origin: monotonic_nanos() }
    }

    /// Whole milliseconds since the start.
    pub(super) fn now(self) -> Millis {
        millis_of(self.nanos())
    }

    /// Nanoseconds since the start; 584 years of them.
    pub(super) fn nanos(self) -> u64 {
        monotonic_nanos() - self.origin
    }
}

/// Nanoseconds of the monotonic clock; they begin with the machine. An `Instant` takes twice the instructions to say so.
fn monotonic_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to `time` alone, and every Linux has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Whole milliseconds.
pub(super) fn millis_of(nanos: u64) -> Millis {
    Millis(nanos / 1_000_000)
}

/// The time of day, milliseconds since 1970.
pub fn wall_millis() -> u64 {
    wall_nanos() / 1_000_000
}

/// The time of day, nanoseconds since 1970; until 2554.
pub(super) fn wall_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
