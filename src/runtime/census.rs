//! Census: how much each shard has, for the log, when the operator asks.
//!
//! Duty: ask the shards, wait for all answers, a line for each. Must not: block the main thread. Neighbours: `serving` calls it at
//! SIGUSR2; `board` carries.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::board::Board;
use super::journal::Journal;
use super::mesh::Caller;

/// How soon to look for answers after asking, and again if some are missing.
const ANSWER_PAUSE: Duration = Duration::from_millis(20);

/// What the operator has asked for.
#[derive(Debug)]
pub(super) struct Census {
    board: Arc<Board>,
    caller: Caller,
    next: Option<Instant>,
}

impl Census {
    /// Nobody has asked yet.
    pub(super) fn new(board: Arc<Board>, caller: Caller) -> Self {
        Self { board, caller, next: None }
    }

    /// Asks all shards. Who asks again before the answer has one answer.
    pub(super) fn ask(&mut self, now: Instant) {
        self.board.tell(0, []);
        self.caller.call_all();
        self.next = Some(now + ANSWER_PAUSE);
    }

    /// When to call [`Self::act`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Tells the answers, if all are there.
    pub(super) fn act(&mut self, now: Instant, journal: &Journal) {
        let Some(figures) = self.board.figures() else {
            self.next = Some(now + ANSWER_PAUSE);
            return;
        };
        self.next = None;
        for (shard, gauges) in figures.iter().map(|figures| figures.gauges).enumerate() {
            journal.line(format!(
                "Shard {shard} has {} subscriptions ({} shared), {} sessions ({} connected), {} retained messages of the broker, \
                 {} bytes held",
                gauges.subscriptions,
                gauges.shared_subscriptions,
                gauges.sessions,
                gauges.connected,
                gauges.retained_messages,
                gauges.held_bytes
            ));
        }
    }
}
