//! What is kept in the store: records of what happens here, and who waits until they are safe.
//!
//! Duty: write a record for each change of a kept session, its messages and what is retained; number what the store must know; hold
//! back what may not be said before it is safe. Must not: decide who gets what, or touch a disk. Neighbours: every room that changes
//! such a thing says so here; `store` has the bytes; the driver takes `Outbox::records` to the store.
//!
//! All that one turn writes is one batch with one ticket: it is safe in one piece or not at all. Without a store no session is kept,
//! so nobody asks anything here.
//!
//! A QoS 2 message of a kept session that goes to several shards is one *operation*: what each shard writes for it is staged, and
//! written in one piece with its packet id when all of them have answered. So it is on all shards or on none, and may be sent again
//! exactly if it is on none.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;

use super::acknowledge::{StoreWait, Waiter};
use super::carrier::Carrier;
use super::connect::owner_of;
use super::matches::Matches;
use super::{MeshMessage, Outbox, Outcome, Shard};
use crate::id::{ConnectionId, Millis, SessionId, ShardId};
use crate::limits::Level;
use crate::message::Message;
use crate::session::{Inflight, Kept, Place, Subscription, SubscriptionIds};
use crate::store::record::{self, Manner, Wall, key_of, queue_key, received_key, subscription_key};
use crate::store::{Batch, Changes, OperationId, Space};
use crate::topic::{TopicFilter, TopicName};
use crate::wire::{QoS, ReasonCode};

/// How the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreState {
    /// It takes what it is given.
    #[default]
    Ready,
    /// The disk is full: nothing more is taken that would have to be safe, until there is room.
    Full,
    /// A write has failed: nothing is safe any more.
    Broken,
}

/// What a shard is told of the store, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct StoreTerms {
    /// The wall's clock.
    pub wall: Wall,
    /// The first number for what this shard will store: no other shard, and no earlier process, has it or the 2^40 behind it.
    pub first_number: u64,
}

/// A session that takes the message that is on its way.
#[derive(Debug)]
struct Taken {
    session: u64,
    sequence: u64,
    qos: QoS,
    retain: bool,
    subscription_ids: SubscriptionIds,
}

/// A QoS 2 message that several shards store in one piece.
#[derive(Debug)]
struct Operation {
    waiter: Waiter,
    /// Shards that have not answered.
    missing: u16,
    level: Level,
}

/// What is on its way to the store.
#[derive(Debug)]
pub(super) struct Keep {
    terms: Option<StoreTerms>,
    state: StoreState,
    /// Numbers given out.
    numbered: u64,
    /// The last ticket that the store has answered.
    answered: u64,
    taken: Vec<Taken>,
    operations: BTreeMap<NonZeroU64, Operation>,
    last_operation: u64,
    /// Who waits, by ticket.
    waits: VecDeque<(u64, StoreWait)>,
}

impl Keep {
    pub(super) fn new(terms: Option<StoreTerms>) -> Self {
        Self {
            terms,
            state: StoreState::Ready,
            numbered: 0,
            answered: 0,
            taken: Vec::new(),
            operations: BTreeMap::new(),
            last_operation: 0,
            waits: VecDeque::new(),
        }
    }

    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.terms.is_some()
    }

    /// Whether nothing may be taken that would have to be safe.
    pub(super) fn refuses(&self) -> bool {
        self.state != StoreState::Ready
    }

    pub(super) fn set_state(&mut self, state: StoreState) {
        self.state = state;
    }

    /// Who waits for the store.
    pub(super) fn waiting(&self) -> usize {
        self.waits.len() + self.operations.len()
    }

    /// A number for a session or a message.
    fn number(&mut self) -> u64 {
        self.numbered += 1;
        self.terms.map_or(0, |terms| terms.first_number) + self.numbered
    }

    fn wall(&self) -> Wall {
        self.terms.map(|terms| terms.wall).unwrap_or_default()
    }

    /// How many sessions have taken the message on its way.
    #[inline]
    pub(super) fn taken(&self) -> usize {
        self.taken.len()
    }

    /// A kept session takes the message on its way, so sent; it is written with all others that do ([`Shard::keep_message`]).
    pub(super) fn take(
        &mut self,
        kept: &mut Kept,
        place: Place,
        manner: (QoS, bool, &SubscriptionIds),
        records: &mut Batch,
    ) {
        kept.take();
        write_reserved(kept, records);
        self.note_taken(kept, place, manner);
    }

    /// As [`Self::take`], to be sent at once at this level, as the window has room; where it stands. `None`: it may not be, and
    /// nothing was done.
    #[inline]
    pub(super) fn take_at_once(
        &mut self,
        kept: &mut Kept,
        inflight: &mut Inflight,
        level: Level,
        manner: (QoS, bool, &SubscriptionIds),
        records: &mut Batch,
    ) -> Option<Place> {
        let place = kept.next(level > Level::Memory);
        // The client must not begin to take a QoS 2 message that is not safe.
        if place.is_stored() && manner.0 == QoS::ExactlyOnce || level == Level::Commit && self.refuses() {
            return None;
        }
        if !kept.take_plainly() {
            if !inflight.reaches(place) {
                return None;
            }
            inflight.pass_to(place);
            kept.take();
            write_reserved(kept, records);
            kept.follow_in_window();
        }
        self.note_taken(kept, place, manner);
        Some(place)
    }

    #[inline]
    fn note_taken(&mut self, kept: &Kept, place: Place, (qos, retain, ids): (QoS, bool, &SubscriptionIds)) {
        if place.is_stored() {
            let (session, sequence, subscription_ids) = (kept.number, kept.last_sequence(), ids.clone());
            self.taken.push(Taken { session, sequence, qos, retain, subscription_ids });
        }
    }
}

/// Has the store told how far sequence numbers of a session may be given out, if it must be told.
fn write_reserved(kept: &mut Kept, records: &mut Batch) {
    if let Some(through) = kept.reserve() {
        let write = |out: &mut Vec<u8>| record::put_sequence(kept.number, through, out);
        records.changes.put_with(Space::Sequence, &key_of(kept.number), write);
        // It must be there before they are given out, also where nothing else is stored.
        records.must_sync = true;
    }
}

/// A message of a kept session is done: its record goes.
#[inline]
pub(super) fn forget(kept: Option<&Kept>, place: Place, changes: &mut Changes) {
    if place.is_stored()
        && let Some(kept) = kept
    {
        changes.delete(Space::Queue, &queue_key(kept.number, kept.sequence_of(place)));
    }
}

/// The client of a kept session has a QoS 2 message: of its record only that is left. Whether there is one.
pub(super) fn note_released(kept: Option<&Kept>, place: Place, changes: &mut Changes) -> bool {
    if !place.is_stored() {
        return false;
    }
    let Some(kept) = kept else { return false };
    let key = queue_key(kept.number, kept.sequence_of(place));
    changes.put_with(Space::Queue, &key, |out| record::put_released(&key, out));
    true
}

/// The level at which a topic is kept: that of the first filter that matches.
pub(super) fn level_of(topic: &str, durability: &[(Box<str>, Level)]) -> Level {
    let name = TopicName::trusted(topic);
    let wanted = durability.iter().find(|(filter, _)| TopicFilter::trusted(filter).matches(name));
    wanted.map_or(Level::default(), |(_, level)| *level)
}

impl Shard {
    /// How the message on its way is kept.
    pub(super) fn level(&self, carrier: &mut Carrier<'_>) -> Level {
        *carrier.level.get_or_insert_with(|| level_of(carrier.view.topic, &self.policy.durability))
    }

    /// Asks how the message is kept once for each topic whose audience is remembered.
    #[inline]
    pub(super) fn know_level(&self, matches: &Matches, carrier: &mut Carrier<'_>) {
        carrier.level = matches.level.get();
        if carrier.level.is_none() {
            matches.level.set(Some(self.level(carrier)));
        }
    }

    /// The ticket that covers all that was written so far; `None`: all of that is safe.
    fn pending_ticket(&self, outbox: &mut Outbox) -> Option<u64> {
        if !outbox.records.is_empty() || !self.keep.taken.is_empty() {
            outbox.records.must_sync = true;
            return Some(outbox.records.ticket);
        }
        (outbox.synced_ticket > self.keep.answered).then_some(outbox.synced_ticket)
    }

    /// What is sent to this connection from now on says what is not yet safe: it waits until it is.
    pub(super) fn hold(&self, connection: ConnectionId, outbox: &mut Outbox) {
        if let Some(ticket) = self.pending_ticket(outbox) {
            outbox.egress.hold(connection.slot, ticket);
        }
    }

    /// As [`Self::hold`], for what is said of a session that is kept.
    pub(super) fn hold_if_kept(&mut self, session: SessionId, connection: ConnectionId, outbox: &mut Outbox) {
        if self.keep.is_on() && self.sessions.get_mut(session).is_some_and(|session| session.kept.is_some()) {
            self.hold(connection, outbox);
        }
    }

    /// Makes the ticket of this turn one that somebody waits for.
    pub(super) fn await_ticket(&mut self, wait: StoreWait, outbox: &mut Outbox) {
        outbox.records.must_sync = true;
        self.keep.waits.push_back((outbox.records.ticket, wait));
    }

    /// Whether answers to a peer wait, so that later ones must too; they do then.
    pub(super) fn queue_behind_waits(&mut self, from: ShardId, number: u64, outcome: Outcome) -> bool {
        let Some(&(ticket, _)) = self.keep.waits.back() else { return false };
        self.keep.waits.push_back((ticket, StoreWait::Peer { from, number, outcome }));
        true
    }

    /// Makes a session that outlives its connection one that is kept.
    pub(super) fn begin_to_keep(&mut self, id: SessionId) {
        if !self.keep.is_on() {
            return;
        }
        let number = self.keep.number();
        if let Some(session) = self.sessions.get_mut(id) {
            session.kept = Some(Box::new(Kept::new(number, 0, 0)));
        }
    }

    /// Has the store told how far sequence numbers of a session may be given out, if it must be told.
    pub(super) fn reserve(&mut self, id: SessionId, outbox: &mut Outbox) {
        if let Some(kept) = self.sessions.get_mut(id).and_then(|session| session.kept.as_mut()) {
            write_reserved(kept, &mut outbox.records);
        }
    }

    /// Writes a session as it is now, if it is kept.
    #[inline]
    pub(super) fn keep_session(&mut self, now: Millis, id: SessionId, outbox: &mut Outbox) {
        if self.keep.is_on() {
            self.write_session(now, id, outbox);
        }
    }

    fn write_session(&mut self, now: Millis, id: SessionId, outbox: &mut Outbox) {
        let wall = self.keep.wall();
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(kept) = &session.kept else { return };
        let last_will = session.last_will.as_ref().map(|will| record::LastWill {
            message: &will.message,
            expiry_secs: will.expiry_secs,
            delay_secs: will.delay_secs,
            due_at: will.due_at,
        });
        let stored = record::Session {
            client_id: &session.client_id,
            user_name: session.user_name.as_deref(),
            is_user_proven: session.is_user_proven,
            is_certified: session.is_certified,
            listener: session.listener,
            expiry_secs: session.expiry_secs,
            last_sequence: kept.last_sequence(),
            sent_through: session.connection.is_none().then(|| session.outbound.sent_through(kept)),
            ends_at: (session.connection.is_none() && session.ends_at != Millis::NEVER).then_some(session.ends_at),
            last_will,
        };
        let write = |out: &mut Vec<u8>| record::put_session(kept.number, &stored, (now, wall), out);
        outbox.records.changes.put_with(Space::Session, &key_of(kept.number), write);
    }

    /// Writes a subscription of a kept session, or (`None`) that it is no more.
    pub(super) fn keep_subscription(
        &mut self,
        id: SessionId,
        filter: &str,
        subscription: Option<Subscription>,
        outbox: &mut Outbox,
    ) {
        if !self.keep.is_on() {
            return;
        }
        let Some(kept) = self.sessions.get_mut(id).and_then(|session| session.kept.as_ref()) else { return };
        let key = subscription_key(kept.number, filter);
        // SUBACK may leave in a later turn, when every shard knows the interest.
        outbox.records.must_sync = true;
        let changes = &mut outbox.records.changes;
        let Some(Subscription { options, subscription_id }) = subscription else {
            return changes.delete(Space::Subscription, &key);
        };
        let stored = record::Subscription { filter, options, subscription_id };
        changes.put_with(Space::Subscription, &key, |out| record::put_subscription(&key, &stored, out));
        // SUBACK may come turns later, when all shards know of it.
        outbox.records.must_sync = true;
    }

    /// A kept session has ended: nothing of it stays.
    pub(super) fn forget_session(&mut self, id: SessionId, outbox: &mut Outbox) {
        if !self.keep.is_on() {
            return;
        }
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(kept) = &session.kept else { return };
        let changes = &mut outbox.records.changes;
        changes.delete(Space::Session, &key_of(kept.number));
        changes.delete(Space::Sequence, &key_of(kept.number));
        session.outbound.places().for_each(|place| forget(Some(kept), place, changes));
        for packet_id in session.inbound.stored() {
            changes.delete(Space::Received, &received_key(kept.number, packet_id));
        }
    }

    /// A message of a kept session is given up.
    pub(super) fn forget_message(&mut self, id: SessionId, place: Place, outbox: &mut Outbox) {
        let kept = self.sessions.get_mut(id).and_then(|session| session.kept.as_deref());
        forget(kept, place, &mut outbox.records.changes);
    }

    /// Writes the message for the sessions that have taken it since `from`: once, whoever gets it. With an operation it is staged.
    #[inline]
    pub(super) fn keep_message(
        &mut self,
        now: Millis,
        from: usize,
        carrier: &mut Carrier<'_>,
        operation: Option<OperationId>,
        outbox: &mut Outbox,
    ) {
        if self.keep.taken.len() > from {
            self.write_message(now, from, carrier, operation, outbox);
        }
    }

    fn write_message(
        &mut self,
        now: Millis,
        from: usize,
        carrier: &mut Carrier<'_>,
        operation: Option<OperationId>,
        outbox: &mut Outbox,
    ) {
        let time = (now, self.keep.wall());
        // Also where no publisher waits, as for a will: a QoS 2 message is held until it is safe.
        outbox.records.must_sync |= self.level(carrier) == Level::Commit;
        let view = *carrier.view();
        if view.is_expired(now) {
            // It is never sent, and after a restart nobody could tell.
            return self.keep.taken.truncate(from);
        }
        let mut staged = Changes::default();
        let changes = if operation.is_some() { &mut staged } else { &mut outbox.records.changes };
        let number = if self.keep.taken.len() - from > 1 { Some(self.keep.number()) } else { None };
        if let Some(number) = number {
            let write = |out: &mut Vec<u8>| record::put_shared_message(number, &view, time, out);
            changes.put_with(Space::Message, &key_of(number), write);
        }
        for taken in self.keep.taken.drain(from..) {
            let key = queue_key(taken.session, taken.sequence);
            let subscription_ids = taken.subscription_ids.as_slice();
            let manner = Manner { qos: taken.qos, retain: taken.retain, subscription_ids };
            changes.put_with(Space::Queue, &key, |out| match number {
                Some(number) => record::put_reference(&key, manner, number, out),
                None => record::put_queued(&key, manner, &view, time, out),
            });
        }
        if let Some(operation) = operation {
            outbox.records.staged.push((operation, staged));
            outbox.records.must_sync = true;
        }
    }

    /// Writes what is retained of a topic now, if that is this shard's to do. Whether the publisher waits for it.
    pub(super) fn keep_retained(&mut self, now: Millis, message: &Message, is_kept: bool, outbox: &mut Outbox) -> bool {
        let view = message.view();
        if !self.is_keeper_of(view.topic) {
            return false;
        }
        let changes = &mut outbox.records.changes;
        let level = level_of(view.topic, &self.policy.durability);
        if !is_kept {
            changes.delete(Space::Retained, view.topic.as_bytes());
        } else if level > Level::Memory {
            let time = (now, self.keep.wall());
            let write = |out: &mut Vec<u8>| record::put_retained(&view, message.source(), time, out);
            changes.put_with(Space::Retained, view.topic.as_bytes(), write);
        }
        level == Level::Commit && view.qos != QoS::AtMostOnce
    }

    /// Whether this shard writes what is retained of a topic, as one of all does. What the broker says of itself is said anew.
    pub(super) fn is_keeper_of(&self, topic: &str) -> bool {
        self.keep.is_on()
            && !topic.starts_with('$')
            && owner_of(topic, self.config.hash_seed, self.config.shards) == self.id()
    }

    /// Whether the publisher of a QoS 2 message is kept, so that its packet id must be.
    pub(super) fn keeps_publisher(&mut self, qos: QoS, waiter: Option<Waiter>) -> bool {
        qos == QoS::ExactlyOnce
            && waiter
                .and_then(|waiter| self.sessions.get_mut(waiter.session))
                .is_some_and(|session| session.kept.is_some())
    }

    /// The number of an operation that begins, if it will be one.
    pub(super) fn next_operation(&mut self) -> Option<NonZeroU64> {
        self.keep.last_operation += 1;
        NonZeroU64::new(self.keep.last_operation)
    }

    /// An operation has gone to so many other shards.
    pub(super) fn open_operation(&mut self, number: NonZeroU64, waiter: Waiter, missing: u16, level: Level) {
        self.keep.operations.insert(number, Operation { waiter, missing, level });
    }

    /// This shard has staged its part of an operation.
    pub(super) fn answer_staged(&mut self, now: Millis, operation: OperationId, outcome: Outcome, outbox: &mut Outbox) {
        let OperationId { shard, number } = operation;
        if shard == self.id() {
            return self.staged(now, number, outcome, outbox);
        }
        let outcome = self.told(shard, outcome);
        self.send_mesh(shard, MeshMessage::Staged { operation: number, outcome }, outbox);
    }

    /// Another shard has staged its part of an operation of this one.
    pub(super) fn staged(&mut self, now: Millis, number: u64, outcome: Outcome, outbox: &mut Outbox) {
        let Some(number) = NonZeroU64::new(number) else { return };
        let Some(operation) = self.keep.operations.get_mut(&number) else { return };
        operation.missing -= 1;
        let (waiter, is_last) = (operation.waiter, operation.missing == 0);
        if self.sessions.get_mut(waiter.session).is_some() {
            self.complete(now, waiter, outcome, outbox);
        } else if is_last {
            self.close_operation(number, 0, outbox);
        }
    }

    /// All shards have their part of an operation: it is written, with the packet id, and the publisher waits for that.
    pub(super) fn close_operation(&mut self, number: NonZeroU64, packet_id: u16, outbox: &mut Outbox) {
        let Some(operation) = self.keep.operations.remove(&number) else { return };
        self.keep_received(operation.waiter.session, packet_id, outbox);
        outbox.records.closed.push(OperationId { shard: self.id(), number: number.get() });
        // Other shards wait for it, whatever the level.
        outbox.records.must_sync = true;
        debug_assert!(operation.level > Level::Memory, "what is not kept is no operation");
        self.await_ticket(StoreWait::Owed(operation.waiter), outbox);
    }

    /// Writes that a QoS 2 packet id is in use, if its session is kept.
    pub(super) fn keep_received(&mut self, id: SessionId, packet_id: u16, outbox: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(kept) = session.kept.as_ref().filter(|_| session.inbound.note_stored(packet_id)) else { return };
        let key = received_key(kept.number, packet_id);
        outbox.records.changes.put_with(Space::Received, &key, |out| record::put_received(&key, out));
    }

    /// A QoS 2 packet id is free again. Whether there was a record of it.
    pub(super) fn forget_received(&mut self, id: SessionId, packet_id: u16, outbox: &mut Outbox) {
        if let Some(kept) = self.sessions.get_mut(id).and_then(|session| session.kept.as_ref()) {
            outbox.records.changes.delete(Space::Received, &received_key(kept.number, packet_id));
        }
    }

    /// The store has answered.
    pub(super) fn stored(&mut self, now: Millis, through: u64, is_safe: bool, outbox: &mut Outbox) {
        self.keep.answered = through;
        while self.keep.waits.front().is_some_and(|(ticket, _)| *ticket <= through) {
            let Some((_, wait)) = self.keep.waits.pop_front() else { return };
            match wait {
                StoreWait::Owed(waiter) => {
                    let outcome = if is_safe { Outcome::NoMatch } else { Outcome::Failed };
                    self.complete(now, waiter, outcome, outbox);
                }
                StoreWait::Peer { from, number, outcome } => {
                    let outcome = if is_safe { outcome } else { Outcome::Failed };
                    self.acknowledge_peer(from, number, outcome, outbox);
                }
                StoreWait::PassedOn { origin, outcome } => {
                    let outcome = if is_safe { outcome } else { Outcome::Failed };
                    self.tell_taken(now, origin, outcome, outbox);
                }
            }
        }
        if is_safe {
            for slot in outbox.egress.release(through) {
                if let Some(connection) = self.connections.at(slot).and_then(|id| self.connections.get_mut(id)) {
                    // It could not know that it may go on.
                    connection.heard_at = now;
                }
            }
            return;
        }
        for slot in outbox.egress.forsaken(through) {
            if let Some(connection) = self.connections.at(slot) {
                self.counters.closed_for_store += 1;
                let what = "what it was to be told could not be stored";
                self.close(now, connection, ReasonCode::QuotaExceeded, what, outbox);
            }
        }
    }
}
