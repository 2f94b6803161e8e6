//! Looking: questions of rooms beside the shards, answered by a shard between two turns.
//!
//! Duty: let a question see the shard, its connections and its figures, one message for each. Must not: know who asks, or why.
//! Neighbours: `news` carries the question, `window` asks; `driver` lets it look.

use std::fmt;

use tokio::sync::mpsc::Sender;

use super::board::Figures;
use super::measure::Latency;
use super::peer::Peer;
use super::process::thread_cpu_nanos;
use super::slots::Slots;
use super::tracing::{Sight, Tracing};
use crate::id::{ConnectionId, Millis};
use crate::shard::{Input, Outbox, Shard, Tap};

/// A question for a shard.
pub(super) struct Question(Box<dyn FnOnce(&mut Look<'_>) + Send>);

impl Question {
    pub(super) fn new(ask: impl FnOnce(&mut Look<'_>) + Send + 'static) -> Self {
        Self(Box::new(ask))
    }

    pub(super) fn ask(self, look: &mut Look<'_>) {
        (self.0)(look);
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Question")
    }
}

/// What a question sees.
pub struct Look<'a> {
    pub(super) shard: &'a mut Shard,
    pub(super) outbox: &'a mut Outbox,
    pub(super) slots: &'a mut Slots,
    pub(super) tracing: &'a mut Tracing,
    pub(super) now: Millis,
    pub(super) figures: Figures,
    pub(super) latency: &'a Latency,
}

/// What a connection is and has carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineState {
    /// The other end.
    pub peer: Peer,
    /// When it was accepted.
    pub accepted_at: Millis,
    /// Bytes of packets received.
    pub bytes_received: u64,
    /// Bytes of packets sent.
    pub bytes_sent: u64,
    /// Messages received; wraps.
    pub messages_received: u32,
}

/// What a shard and its driver have counted, and how they are.
#[derive(Clone, Debug)]
pub struct ShardFigures {
    /// What has happened, and how much there is.
    pub figures: Figures,
    /// CPU time of the shard's thread, nanoseconds.
    pub cpu_nanos: u64,
    /// From the turn that took a message to its hand-over to the socket.
    pub latency: Latency,
}

impl Look<'_> {
    /// The moment of this turn, milliseconds since the start of the broker.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// The shard, to be asked, and what it wants done.
    pub fn shard(&mut self) -> (&mut Shard, &Outbox) {
        (self.shard, self.outbox)
    }

    /// Lets something happen to the shard.
    pub fn handle(&mut self, input: Input) {
        self.shard.handle(self.now, input, self.outbox);
    }

    /// Shows what a tap wants from now on, until the other end of `sights` is dropped; what does not fit in is counted.
    pub fn watch(&mut self, tap: Tap, sights: Sender<Sight>) {
        self.tracing.begin(self.shard, tap, sights);
    }

    /// A connection that is still there.
    pub fn line(&mut self, id: ConnectionId) -> Option<LineState> {
        let connection = self.slots.get(id)?;
        Some(LineState {
            peer: connection.peer(),
            accepted_at: connection.accepted_at,
            bytes_received: connection.traffic.bytes_received(),
            bytes_sent: connection.traffic.bytes_sent(),
            messages_received: connection.traffic.messages_received,
        })
    }

    /// Those of the connections from slot `from` on that have received the most bytes since they were accepted: id and bytes, most
    /// first, and where to go on.
    pub fn talkers(&self, from: u32, most: usize, slots_max: u32) -> (Vec<(ConnectionId, u64)>, Option<u32>) {
        let end = from.saturating_add(slots_max).min(self.slots.end());
        let mut talkers: Vec<_> = (from..end).filter_map(|slot| self.slots.heard_of(slot)).collect();
        talkers.sort_unstable_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        talkers.truncate(most);
        (talkers, (end < self.slots.end()).then_some(end))
    }

    /// What was counted.
    pub fn figures(&self) -> ShardFigures {
        ShardFigures { figures: self.figures, cpu_nanos: thread_cpu_nanos(), latency: self.latency.clone() }
    }
}

impl fmt::Debug for Look<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Look").field("now", &self.now).finish_non_exhaustive()
    }
}
