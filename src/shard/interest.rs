//! Interest: "some client of mine wants this filter", and the barrier before SUBACK.
//!
//! Duty: tell the other shards when the first subscriber of a filter comes and the last goes; hold SUBACK and the replay of
//! retained messages until each of them has answered. Must not: know sessions' wishes. Neighbours: `subscribe`, `group`
//! register; `mesh` brings the answers; `replay` begins to send what is retained.
//!
//! Each change 0 to 1 takes a new ticket, and an answer counts only for the barrier of its ticket: a filter that
//! was withdrawn and wanted again is confirmed only by answers to the second wish. A `Retain` that a peer sent before it saw
//! the interest comes before its answer, so at the barrier our copy of the retained messages is complete.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::mesh::Peers;
use super::receive::Source;
use super::subscribe::failure_words;
use super::{MeshMessage, Outbox, Shard};
use crate::id::{ConnectionId, Millis, SessionId, ShardId};
use crate::wire::Suback;
use crate::wire::property::Properties;

/// A SUBACK that may have to wait.
#[derive(Debug)]
pub(super) struct PendingSuback {
    connection: ConnectionId,
    session: SessionId,
    packet_id: u16,
    pub(super) reasons: Vec<u8>,
    /// Filters whose retained messages are to be sent.
    pub(super) replays: Vec<Arc<str>>,
    /// Barriers that are not yet passed.
    tickets: Vec<u64>,
}

impl PendingSuback {
    pub(super) fn new(source: Source<'_>, packet_id: u16) -> Self {
        Self { connection: source.connection, packet_id, ..Self::of_nobody(source.session) }
    }

    /// For a subscription that nobody is told of.
    pub(super) fn of_nobody(session: SessionId) -> Self {
        Self {
            connection: ConnectionId { slot: u32::MAX, generation: u32::MAX },
            session,
            packet_id: 0,
            reasons: Vec::new(),
            replays: Vec::new(),
            tickets: Vec::new(),
        }
    }
}

#[derive(Debug)]
struct Interest {
    subscribers: u32,
    ticket: u64,
}

#[derive(Debug)]
struct Barrier {
    /// Shards that have not answered, one bit each.
    missing: u128,
    /// Numbers of the SUBACKs that wait.
    waiting: Vec<u64>,
}

/// What this shard's clients want from the other shards.
#[derive(Debug, Default)]
pub(super) struct Interests {
    by_filter: BTreeMap<Arc<str>, Interest>,
    barriers: BTreeMap<u64, Barrier>,
    pending: BTreeMap<u64, PendingSuback>,
    /// SUBACKs whose last barrier has fallen.
    ready: VecDeque<u64>,
    last_ticket: u64,
    last_pending: u64,
}

impl Interests {
    /// A fresh ticket, with a barrier that waits for all other shards.
    pub(super) fn raise_barrier(&mut self, peers: &Peers) -> u64 {
        self.last_ticket += 1;
        let missing = peers.others().map(|peer| 1_u128 << peer.index()).sum();
        self.barriers.insert(self.last_ticket, Barrier { missing, waiting: Vec::new() });
        self.last_ticket
    }

    /// Makes a SUBACK wait for a barrier that still stands.
    pub(super) fn wait(&self, ticket: u64, pending: &mut PendingSuback) {
        if self.barriers.contains_key(&ticket) {
            pending.tickets.push(ticket);
        }
    }

    /// SUBACKs and barriers that still wait.
    pub(super) fn waiting(&self) -> usize {
        self.barriers.len() + self.pending.len()
    }

    /// A subscription has ended: SUBACKs that still wait replay nothing for it, also if it is made anew [MQTT-3.10.4-2].
    pub(super) fn forget_replays(&mut self, session: SessionId, filter: &str) {
        for pending in self.pending.values_mut().filter(|pending| pending.session == session) {
            pending.replays.retain(|replayed| &**replayed != filter);
        }
    }

    fn drop_barrier(&mut self, ticket: u64) {
        let Some(barrier) = self.barriers.remove(&ticket) else { return };
        for number in barrier.waiting {
            let Some(pending) = self.pending.get_mut(&number) else { continue };
            pending.tickets.retain(|&waited| waited != ticket);
            if pending.tickets.is_empty() {
                self.ready.push_back(number);
            }
        }
    }
}

impl Shard {
    /// A subscription of a plain filter was installed.
    pub(super) fn interest_wanted(
        &mut self,
        filter: &Arc<str>,
        is_new: bool,
        pending: &mut PendingSuback,
        outbox: &mut Outbox,
    ) {
        if self.config.shards == 1 {
            return;
        }
        let interests = &mut self.interests;
        if is_new && !interests.by_filter.contains_key(filter) {
            let ticket = interests.raise_barrier(&self.peers);
            interests.by_filter.insert(Arc::clone(filter), Interest { subscribers: 0, ticket });
            self.tell_interest(filter, true, ticket, outbox);
        }
        let Some(interest) = self.interests.by_filter.get_mut(filter) else { return };
        interest.subscribers += u32::from(is_new);
        let ticket = interest.ticket;
        self.interests.wait(ticket, pending);
    }

    /// A subscription of a plain filter was removed.
    pub(super) fn interest_lost(&mut self, filter: &str, outbox: &mut Outbox) {
        let Some(interest) = self.interests.by_filter.get_mut(filter) else { return };
        interest.subscribers -= 1;
        if interest.subscribers > 0 {
            return;
        }
        let ticket = interest.ticket;
        let name = self.interests.by_filter.remove_entry(filter).expect("just found").0;
        self.interests.drop_barrier(ticket);
        self.tell_interest(&name, false, 0, outbox);
    }

    fn tell_interest(&mut self, filter: &Arc<str>, is_wanted: bool, ticket: u64, outbox: &mut Outbox) {
        for peer in self.peers.others() {
            let message = MeshMessage::Interest { filter: Arc::clone(filter), is_wanted, ticket };
            self.send_mesh(peer, message, outbox);
        }
    }

    /// A peer has installed what was asked for with `ticket`.
    pub(super) fn interest_acknowledged(&mut self, from: ShardId, ticket: u64) {
        let Some(barrier) = self.interests.barriers.get_mut(&ticket) else { return };
        barrier.missing &= !(1 << from.index());
        if barrier.missing == 0 {
            self.interests.drop_barrier(ticket);
        }
    }

    /// Sends the SUBACK now, or when its barriers have fallen.
    pub(super) fn finish_or_wait(&mut self, now: Millis, pending: PendingSuback, outbox: &mut Outbox) {
        if pending.tickets.is_empty() {
            self.finish_suback(now, pending, outbox);
            return;
        }
        let interests = &mut self.interests;
        interests.last_pending += 1;
        for ticket in &pending.tickets {
            if let Some(barrier) = interests.barriers.get_mut(ticket) {
                barrier.waiting.push(interests.last_pending);
            }
        }
        interests.pending.insert(interests.last_pending, pending);
    }

    /// Sends the SUBACKs whose last barrier has fallen.
    pub(super) fn release_waiting(&mut self, now: Millis, outbox: &mut Outbox) {
        while let Some(number) = self.interests.ready.pop_front() {
            if let Some(pending) = self.interests.pending.remove(&number) {
                self.finish_suback(now, pending, outbox);
            }
        }
    }

    fn finish_suback(&mut self, now: Millis, pending: PendingSuback, outbox: &mut Outbox) {
        // A SUBACK dies with its connection.
        if self.connected_session(pending.connection) != Some(pending.session) {
            return;
        }
        self.hold_if_kept(pending.session, pending.connection, outbox);
        let suback = Suback { packet_id: pending.packet_id, properties: Properties::EMPTY, reasons: &pending.reasons };
        if let Some(connection) = self.connections.get_mut(pending.connection) {
            let words = failure_words(&pending.reasons);
            outbox.egress.control(pending.connection.slot, |out| connection.put_suback(suback, words, out));
        }
        for filter in pending.replays {
            self.start_replay(now, pending.session, filter);
        }
        self.pump(now, pending.session, outbox);
    }
}
