//! Watchdog: that every shard still turns, told to systemd.
//!
//! Duty: twice in the time that systemd allows, ask all shards for their figures, and say WATCHDOG=1 when all have answered; a shard
//! that hangs has the broker restarted. Must not: act without `WatchdogSec=`. Neighbours: `serving` calls it; `board` carries.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::board::Board;
use super::mesh::Caller;

/// How soon to look for answers after asking, and again if some are missing.
const ANSWER_PAUSE: Duration = Duration::from_millis(50);

/// Tells systemd that the shards turn.
#[derive(Debug)]
pub(super) struct Watchdog {
    board: Arc<Board>,
    caller: Caller,
    interval: Duration,
    next: Instant,
    is_asking: bool,
}

impl Watchdog {
    /// A watchdog, if systemd wants one.
    pub(super) fn wanted(board: Arc<Board>, caller: Caller) -> Option<Self> {
        let interval = sd_notify::watchdog_enabled()? / 2;
        Some(Self { board, caller, interval, next: Instant::now(), is_asking: false })
    }

    /// When to call [`Self::act`].
    pub(super) fn deadline(&self) -> Instant {
        self.next
    }

    /// Asks, or tells that all have answered.
    pub(super) fn act(&mut self, now: Instant) {
        self.next = now + ANSWER_PAUSE;
        if !self.is_asking {
            self.is_asking = true;
            self.board.tell(0, []);
            self.caller.call_all();
        } else if self.board.figures().is_some() {
            self.is_asking = false;
            self.next = now + self.interval;
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
    }
}
