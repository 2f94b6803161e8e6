//! Who gets a message: one walk, then deliveries here and forwards to other shards.
//!
//! Duty: ask `matches`, set the retained message, deliver locally, forward once per shard, choose group members, and say
//! what is still to be waited for. Must not: touch packets of the publisher. Neighbours: `publish` and `mesh` call;
//! `deliver`, `group`, `retain`, `mesh` do the parts.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

use super::acknowledge::{StoreWait, Waiter};
use super::carrier::Carrier;
use super::matches::Matches;
use super::{Outbox, Outcome, Shard};
use crate::id::{GlobalSessionId, Millis};
use crate::limits::Level;
use crate::message::{MessageView, Source};
use crate::store::OperationId;
use crate::topic::TopicName;

/// What became of a message here, and what is still open elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Routed {
    pub(super) is_taken: bool,
    /// A session that took it and has a long queue.
    pub(super) congested: Option<GlobalSessionId>,
    pub(super) is_refused: bool,
    /// The publisher may not publish it: nobody was asked.
    pub(super) is_denied: bool,
    /// Its payload is larger than may be: nobody was asked.
    pub(super) is_too_large: bool,
    /// The line of the ACL file that denied it, if one did.
    pub(super) denied_by: Option<NonZeroU32>,
    /// Answers that the waiter will get: other shards, the store.
    pub(super) waits: u16,
    /// Whether a session that outlives its connection holds the message, so that it must be stored before it is acknowledged.
    pub(super) needs_store: bool,
    /// Whether the packet id must be stored, as that of a QoS 2 message of a kept session.
    pub(super) keeps_receipt: bool,
    /// What other shards do for it, to be closed when they have.
    pub(super) operation: Option<NonZeroU64>,
}

impl Routed {
    /// The publisher may not publish it, by that line of the ACL file if it was one.
    pub(super) fn denied(denied_by: Option<NonZeroU32>) -> Self {
        Self { is_denied: true, denied_by, ..Self::default() }
    }

    pub(super) fn note(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Taken => self.is_taken = true,
            Outcome::Congested(session) => self.congested = self.congested.or(Some(session)),
            Outcome::Refused | Outcome::Failed => self.is_refused = true,
            Outcome::NoMatch => {}
            Outcome::PassedOn => self.waits += 1,
        }
    }

    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self { is_taken: true, .. } => Outcome::Taken,
            Self { congested: Some(session), .. } => Outcome::Congested(session),
            Self { is_refused: true, .. } => Outcome::Refused,
            _ => Outcome::NoMatch,
        }
    }
}

impl Shard {
    /// Routes a message that was published on this shard, by `source` if it is retained and that matters. `waiter` gets
    /// the answers that are counted in `waits`.
    pub(super) fn route(
        &mut self,
        now: Millis,
        view: &MessageView<'_>,
        source: Option<Arc<Source>>,
        waiter: Option<Waiter>,
        outbox: &mut Outbox,
    ) -> Routed {
        let mut routed = Routed::default();
        let topic = TopicName::trusted(view.topic);
        let mut carrier = self.carrier(*view);
        let mut kept = None;
        if view.retain {
            if !self.retained.admits(topic, view, &self.config.limits) {
                self.counters.retained_refused += 1;
                routed.is_refused = true;
                self.give_back(carrier);
                return routed;
            }
            if source.is_some() {
                carrier.note_source(source);
            }
            let stamp = self.peers.tick();
            kept = Some(stamp);
        }
        let from = self.keep.taken();
        self.begin_operation(waiter, &mut carrier, &mut routed);
        if let Some(stamp) = kept {
            for peer in self.peers.others() {
                self.send_retain(peer, carrier.message(), stamp, (waiter, routed.operation), outbox);
                routed.waits += u16::from(waiter.is_some());
            }
        }
        let matches = self.matches_of(topic);
        matches.note_published(1);
        self.spread(now, &matches, &mut carrier, waiter, &mut routed, outbox);
        if let Some(stamp) = kept {
            // Only now: who still gets what was retained before has got it first.
            routed.needs_store |= self.set_retained(now, carrier.message(), stamp, outbox);
        }
        self.settle(now, from, &mut carrier, waiter, &mut routed, outbox);
        self.give_back(carrier);
        routed
    }

    /// Routes a message that is not to be retained to those who are known to want it.
    pub(super) fn route_known(
        &mut self,
        now: Millis,
        matches: &Matches,
        carrier: &mut Carrier<'_>,
        waiter: Option<Waiter>,
        outbox: &mut Outbox,
    ) -> Routed {
        let mut routed = Routed::default();
        // Without a store nobody asks for it.
        carrier.level = matches.level.get();
        if carrier.level == Some(Level::Memory) || !self.keep.is_on() {
            // Nobody writes anything, or waits for it.
            self.spread(now, matches, carrier, waiter, &mut routed, outbox);
            return routed;
        }
        self.know_level(matches, carrier);
        let from = self.keep.taken();
        self.begin_operation(waiter, carrier, &mut routed);
        self.spread(now, matches, carrier, waiter, &mut routed, outbox);
        self.settle(now, from, carrier, waiter, &mut routed, outbox);
        routed
    }

    /// Delivers here and forwards, once per shard.
    fn spread(
        &mut self,
        now: Millis,
        matches: &Matches,
        carrier: &mut Carrier<'_>,
        waiter: Option<Waiter>,
        routed: &mut Routed,
        outbox: &mut Outbox,
    ) {
        if matches.is_too_wide {
            self.counters.publishes_too_wide += 1;
            routed.is_refused = true;
        } else {
            self.counters.unmatched += u64::from(matches.is_empty());
        }
        for delivery in &matches.deliveries {
            let delivered = self.deliver(now, delivery, carrier, outbox);
            routed.note(delivered.outcome);
            routed.needs_store |= delivered.needs_store;
        }
        for &group in &matches.groups {
            let outcome = self.deliver_to_group(now, group, carrier, waiter, routed, outbox);
            routed.note(outcome);
        }
        // A retained message has gone to every shard.
        if carrier.view().retain {
            return;
        }
        for peer in matches.peers() {
            match carrier.received() {
                Some(packet) if routed.operation.is_none() => {
                    self.send_packets(peer, packet, carrier.view().publisher, waiter, outbox);
                }
                _ => self.send_publish(peer, carrier.message(), (waiter, routed.operation), outbox),
            }
            routed.waits += u16::from(waiter.is_some());
        }
    }

    /// A QoS 2 message of a kept session may go to several shards, which is one operation then.
    fn begin_operation(&mut self, waiter: Option<Waiter>, carrier: &mut Carrier<'_>, routed: &mut Routed) {
        if !self.keeps_publisher(carrier.view().qos, waiter) {
            return;
        }
        routed.keeps_receipt = self.level(carrier) > Level::Memory;
        if routed.keeps_receipt && self.config.shards > 1 {
            routed.operation = self.next_operation();
        }
    }

    /// Writes what is kept of a message that was routed, and says who waits for that.
    fn settle(
        &mut self,
        now: Millis,
        from: usize,
        carrier: &mut Carrier<'_>,
        waiter: Option<Waiter>,
        routed: &mut Routed,
        outbox: &mut Outbox,
    ) {
        let Some(waiter) = waiter else { return self.keep_message(now, from, carrier, None, outbox) };
        if routed.waits == 0 {
            // Nobody else has it: it is one batch anyway.
            routed.operation = None;
        }
        let operation = routed.operation;
        let staged = operation.map(|number| OperationId { shard: self.id(), number: number.get() });
        self.keep_message(now, from, carrier, staged, outbox);
        if let Some(number) = operation {
            let level = self.level(carrier);
            self.open_operation(number, waiter, routed.waits, level);
            routed.waits += 1;
            return;
        }
        routed.needs_store |= routed.keeps_receipt && self.level(carrier) == Level::Commit;
        if routed.needs_store {
            self.await_ticket(StoreWait::Owed(waiter), outbox);
            routed.waits += 1;
        }
    }

    /// Delivers a message that another shard sent: to sessions here, never further.
    pub(super) fn route_here(
        &mut self,
        now: Millis,
        matches: &Matches,
        carrier: &mut Carrier<'_>,
        operation: Option<OperationId>,
        outbox: &mut Outbox,
    ) -> Routed {
        let mut routed = Routed::default();
        let from = self.keep.taken();
        if self.keep.is_on() {
            self.know_level(matches, carrier);
        }
        if matches.is_too_wide {
            self.counters.publishes_too_wide += 1;
            routed.is_refused = true;
        }
        for delivery in &matches.deliveries {
            let delivered = self.deliver(now, delivery, carrier, outbox);
            routed.note(delivered.outcome);
            routed.needs_store |= delivered.needs_store;
        }
        self.keep_message(now, from, carrier, operation, outbox);
        routed
    }
}
