//! Clock: monotonic time since the start of the process.
//!
//! Duty: the only source of `Millis`; all shards share one origin; the time of day for tools. Must not: mix the two.
//! Neighbours: `driver` reads it once per turn.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::id::Millis;

/// A clock; copies of it agree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub(super) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Whole milliseconds since the start.
    pub(super) fn now(self) -> Millis {
        millis_of(self.nanos())
    }

    /// Nanoseconds since the start; 584 years of them.
    pub(super) fn nanos(self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }
}

/// Whole milliseconds.
pub(super) fn millis_of(nanos: u64) -> Millis {
    Millis(nanos / 1_000_000)
}

/// The time of day, milliseconds since 1970.
pub fn wall_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
