//! Clock: monotonic time since the start of the process.
//!
//! Duty: the only source of `Millis`; all shards share one origin. Must not: know time of day. Neighbours: `driver` reads it
//! once per turn.

use std::time::Instant;

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
        Millis(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}
