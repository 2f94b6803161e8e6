//! From a message to one client: sent now, queued, or dropped and counted.
//!
//! Duty: QoS and RETAIN flag as the subscription says, window, queue, slow readers, expiry, the client's Maximum Packet
//! Size, topic aliases. Must not: choose who gets a message. Neighbours: `route`, `group`, `retain` call; `carrier` has the
//! message; `pump` sends what was queued; `egress` holds the bytes.

use super::carrier::{Carrier, Layout, Manner, Sending, outgoing};
use super::connect::publisher_of;
use super::connection::Connection;
use super::keep::{forget, level_of};
use super::matches::{Delivery, Own};
use super::{DropReason, Outbox, Outcome, Shard};
use crate::id::{ConnectionId, Millis, SessionId};
use crate::limits::Level;
use crate::session::{Admission, Place, Queued, Sent, Stage, SubscriptionIds};
use crate::wire::{OutgoingPublish, ProtocolVersion, QoS};

/// Unsent bytes of a connection up to which nobody asks what is left of the shard's budget.
pub(super) const UNLOOKED_BACKLOG_BYTES: usize = 64 << 10;

/// Whether a client gets packets that say nothing to it alone: no alias, no Subscription Identifier, no topic without its mount
/// point.
pub(super) fn takes_plain(connection: &Connection, subscription_ids: &SubscriptionIds) -> bool {
    !connection.is_particular && (connection.version != ProtocolVersion::V5 || subscription_ids.is_empty())
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivered {
    pub(super) outcome: Outcome,
    pub(super) needs_store: bool,
}

impl Delivered {
    const NO_MATCH: Self = Self { outcome: Outcome::NoMatch, needs_store: false };
    const TAKEN: Self = Self { outcome: Outcome::Taken, needs_store: false };
}

impl Shard {
    /// Delivers to one session as its matching subscriptions want it.
    pub(super) fn deliver(
        &mut self,
        now: Millis,
        delivery: &Delivery,
        carrier: &mut Carrier<'_>,
        outbox: &mut Outbox,
    ) -> Delivered {
        if let Some(delivered) = self.deliver_plainly(delivery, carrier, outbox) {
            return delivered;
        }
        let hash_seed = self.config.hash_seed;
        let Some((session, record)) = self.sessions.at(delivery.session) else { return Delivered::NO_MATCH };
        let is_own = !matches!(delivery.own, Own::Same)
            && carrier.view.publisher == Some(publisher_of(&record.client_id, hash_seed));
        let delivery = match &delivery.own {
            Own::Nothing if is_own => return Delivered::NO_MATCH,
            Own::Other(other) if is_own => other,
            _ => delivery,
        };
        let manner = Manner::of(delivery, &carrier.view);
        let delivered = self.give(now, session, manner, carrier, outbox);
        if delivered.outcome == Outcome::Refused {
            self.counters.miss(DropReason::QueueFull);
        }
        delivered
    }

    /// Sends a message at once in the usual case, which asks each table once: the receiver reads, nothing waits before it, and
    /// the packet says nothing of its own. `None`: the case is another, and nothing was done.
    #[inline]
    pub(super) fn deliver_plainly(
        &mut self,
        delivery: &Delivery,
        carrier: &mut Carrier<'_>,
        outbox: &mut Outbox,
    ) -> Option<Delivered> {
        let view = carrier.view;
        if view.expires_at.is_some() || view.is_large() || !matches!(delivery.own, Own::Same) {
            return None;
        }
        let (_, session) = self.sessions.at(delivery.session)?;
        let id = session.connection.filter(|_| session.outbound.replays.is_none())?;
        let connection = self.connections.get_mut(id)?;
        let qos = view.qos.min(delivery.qos);
        let layout = Layout {
            is_v5: connection.version == ProtocolVersion::V5,
            qos,
            retain: view.retain && delivery.retain_as_published,
        };
        if !takes_plain(connection, &delivery.subscription_ids)
            || qos != QoS::AtMostOnce && !session.outbound.may_send_at_once(Place::NONE)
            || outbox.egress.at(id.slot).backlog_bytes()
                > UNLOOKED_BACKLOG_BYTES.min(self.config.limits.egress_bytes_max)
        {
            return None;
        }
        if carrier.layout != Some(layout) {
            carrier.encode_plain(connection.version, layout);
        }
        if carrier.packet().len() > connection.packet_bytes_max {
            return None;
        }
        let mut packet_id = 0;
        let mut needs_store = false;
        if qos != QoS::AtMostOnce {
            let mut place = Place::NONE;
            if let Some(kept) = &mut session.kept
                && !(carrier.level == Some(Level::Memory) && kept.take_plainly())
            {
                let policy = &self.policy;
                let level = *carrier.level.get_or_insert_with(|| level_of(view.topic, &policy.durability));
                needs_store = level == Level::Commit;
                let (inflight, records) = (&mut session.outbound.inflight, &mut outbox.records);
                let manner = (qos, layout.retain, &delivery.subscription_ids);
                place = self.keep.take_at_once(kept, inflight, level, manner, records)?;
            }
            packet_id = session.outbound.inflight.insert_next(Sent {
                message: Some(carrier.message().clone()),
                retain: layout.retain,
                subscription_ids: delivery.subscription_ids.clone(),
                stage: Stage::of_sent(qos),
                place,
            });
        }
        carrier.put_encoded(packet_id, outbox.egress.buffer(id.slot));
        self.counters.matches += 1;
        self.counters.delivered.add(qos, 1);
        self.counters.payload_bytes_sent.add(qos, carrier.view().payload.len() as u64);
        Some(Delivered { outcome: Outcome::Taken, needs_store })
    }

    /// Gives a live message to a session: now if it can be sent, else it waits or is dropped and counted. What is refused is
    /// left to the caller to count, as another member of a shared subscription may take it.
    pub(super) fn give(
        &mut self,
        now: Millis,
        session_id: SessionId,
        manner: Manner,
        carrier: &mut Carrier<'_>,
        outbox: &mut Outbox,
    ) -> Delivered {
        let Some(session) = self.sessions.get_mut(session_id) else { return Delivered::NO_MATCH };
        if session.outbound.replays.is_some() && !self.replay_before(now, session_id, carrier, outbox) {
            if manner.qos == QoS::AtMostOnce {
                self.counters.miss(DropReason::SlowReader);
                return Delivered::TAKEN;
            }
            return Delivered { outcome: Outcome::Refused, needs_store: false };
        }
        self.give_in_order(now, session_id, manner, carrier, outbox)
    }

    /// The place that a message which is new to a session would have in its queue.
    pub(super) fn new_place(&mut self, id: SessionId, qos: QoS, carrier: &mut Carrier<'_>) -> Place {
        if qos == QoS::AtMostOnce {
            return Place::NONE;
        }
        let level = self.level(carrier);
        let kept = self.sessions.get_mut(id).and_then(|session| session.kept.as_ref());
        kept.map_or(Place::NONE, |kept| kept.next(level > Level::Memory))
    }

    pub(super) fn give_in_order(
        &mut self,
        now: Millis,
        session_id: SessionId,
        manner: Manner,
        carrier: &mut Carrier<'_>,
        outbox: &mut Outbox,
    ) -> Delivered {
        let place = self.new_place(session_id, manner.qos, carrier);
        let needs_store = place.is_stored() && self.level(carrier) == Level::Commit;
        if needs_store && self.keep.refuses() {
            self.counters.refused_by_store += 1;
            return Delivered { outcome: Outcome::Refused, needs_store: false };
        }
        let limits = &self.config.limits;
        let Some(session) = self.sessions.get_mut(session_id) else { return Delivered::NO_MATCH };
        if let Some(connection) = session.connection {
            let backlog_bytes = outbox.egress.at(connection.slot).backlog_bytes();
            let is_slow = backlog_bytes > limits.egress_bytes_max
                || backlog_bytes > UNLOOKED_BACKLOG_BYTES && backlog_bytes > self.budget.free_bytes();
            if manner.qos == QoS::AtMostOnce {
                if is_slow {
                    self.counters.miss(DropReason::SlowReader);
                } else {
                    self.counters.matches += 1;
                    self.send(now, connection, session_id, &manner, carrier, outbox);
                }
                return Delivered::TAKEN;
            }
            if !is_slow && session.outbound.may_send_at_once(place) {
                self.counters.matches += 1;
                self.send(now, connection, session_id, &manner, carrier, outbox);
                return Delivered { outcome: Outcome::Taken, needs_store };
            }
            if is_slow {
                outbox.egress.at(connection.slot).report_below(limits.egress_bytes_max / 2);
            }
        } else if manner.qos == QoS::AtMostOnce && !self.policy.queues_qos0 {
            self.counters.miss(DropReason::Offline);
            return Delivered::TAKEN;
        }
        let Manner { qos, retain, subscription_ids, .. } = manner;
        let queued = Queued { message: carrier.message().clone(), qos, retain, subscription_ids, place, dup: false };
        let (ids, kept) = (queued.subscription_ids.clone(), &mut session.kept);
        let changes = &mut outbox.records.changes;
        let admission = session.outbound.enqueue(queued, limits, |place| forget(kept.as_deref(), place, changes));
        if admission == Admission::Refused {
            return Delivered { outcome: Outcome::Refused, needs_store: false };
        }
        self.counters.matches += 1;
        match admission {
            Admission::DroppedNewest => {
                self.counters.drop_pairs(1, DropReason::QueueFull);
                return Delivered::TAKEN;
            }
            Admission::DroppedOldest(dropped) => self.counters.drop_pairs(dropped, DropReason::QueueFull),
            _ => {}
        }
        if let Some(kept) = kept.as_mut().filter(|_| !place.is_none()) {
            self.keep.take(kept, place, (qos, retain, &ids), &mut outbox.records);
        }
        Delivered { outcome: self.outcome_of_queued(now, session_id), needs_store }
    }

    /// Sends now, taking a place in the window for QoS 1 and 2. The caller has seen that there is room.
    pub(super) fn send(
        &mut self,
        now: Millis,
        id: ConnectionId,
        session_id: SessionId,
        manner: &Manner,
        carrier: &mut Carrier<'_>,
        outbox: &mut Outbox,
    ) {
        if let Some(reason) = self.unfit(now, id, manner, carrier) {
            self.counters.drop_pairs(1, reason);
            self.forget_message(session_id, manner.place, outbox);
            return;
        }
        self.counters.delivered.add(manner.qos, 1);
        self.counters.payload_bytes_sent.add(manner.qos, carrier.view().payload.len() as u64);
        let mut packet_id = 0;
        if manner.qos != QoS::AtMostOnce {
            let is_new = manner.place.is_none();
            let place = if is_new { self.new_place(session_id, manner.qos, carrier) } else { manner.place };
            let Some(session) = self.sessions.get_mut(session_id) else { return };
            packet_id = session.outbound.inflight.insert(Sent {
                message: Some(carrier.message().clone()),
                retain: manner.retain,
                subscription_ids: manner.subscription_ids.clone(),
                stage: Stage::of_sent(manner.qos),
                place,
            });
            if let Some(kept) = session.kept.as_mut().filter(|_| is_new && !place.is_none()) {
                let as_sent = (manner.qos, manner.retain, &manner.subscription_ids);
                self.keep.take(kept, place, as_sent, &mut outbox.records);
                kept.follow_in_window();
            }
            if manner.qos == QoS::ExactlyOnce && place.is_stored() {
                // A QoS 2 message that the client has begun to take must be there when the broker comes back.
                self.hold(id, outbox);
            }
        }
        self.encode(now, id, manner, Sending { packet_id, dup: manner.dup }, carrier, outbox);
    }

    /// Why a message may not be sent to this client at all.
    pub(super) fn unfit(
        &mut self,
        now: Millis,
        id: ConnectionId,
        manner: &Manner,
        carrier: &Carrier<'_>,
    ) -> Option<DropReason> {
        if carrier.view.is_expired(now) {
            return Some(DropReason::Expired);
        }
        (!self.is_small_enough(now, id, manner, carrier)).then_some(DropReason::TooLarge)
    }

    /// Whether a message is within the client's Maximum Packet Size [MQTT-3.1.2-24].
    pub(super) fn is_small_enough(
        &mut self,
        now: Millis,
        id: ConnectionId,
        manner: &Manner,
        carrier: &Carrier<'_>,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(id) else { return false };
        if connection.packet_bytes_max == usize::MAX {
            return true;
        }
        let mut publish = outgoing(now, &carrier.view, manner, Sending { packet_id: 0, dup: false });
        publish.topic = self.policy.terms(connection.listener).unmounted(publish.topic);
        publish.encoded_len(connection.version) <= connection.packet_bytes_max
    }

    pub(super) fn encode(
        &mut self,
        now: Millis,
        id: ConnectionId,
        manner: &Manner,
        sending: Sending,
        carrier: &mut Carrier<'_>,
        outbox: &mut Outbox,
    ) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let version = connection.version;
        let is_v5 = version == ProtocolVersion::V5;
        let payload = carrier.view.payload;
        let mut publish = outgoing(now, &carrier.view, manner, sending);
        if connection.is_particular {
            publish.topic = self.policy.terms(connection.listener).unmounted(publish.topic);
        }
        let is_mounted = publish.topic.len() < carrier.view.topic.len();
        let alias = if is_v5 { alias_of(connection, &publish) } else { None };
        let is_plain = alias.is_none() && !is_mounted && !sending.dup && (!is_v5 || manner.subscription_ids.is_empty());
        if carrier.view.is_large() || !is_plain {
            publish.topic_alias = alias.map(|(alias, _)| alias);
            if let Some((_, true)) = alias {
                publish.topic = "";
            }
            publish.encode_head(version, outbox.egress.buffer(id.slot));
            if carrier.view.is_large() {
                let shared = carrier.message().view().shared_payload.cloned();
                outbox.egress.splice(id.slot, shared.expect("an owned message shares its payload"));
            } else {
                outbox.egress.buffer(id.slot).extend_from_slice(payload);
            }
            return;
        }
        let layout = Layout { is_v5, qos: manner.qos, retain: manner.retain };
        if carrier.layout != Some(layout) {
            let publish = outgoing(now, &carrier.view, manner, sending);
            carrier.encode(version, layout, &publish);
        }
        carrier.put_encoded(sending.packet_id, outbox.egress.buffer(id.slot));
    }
}

/// The alias to send a message with, and whether the client knows it; none if it could make the packet too large.
fn alias_of(connection: &mut Connection, publish: &OutgoingPublish<'_>) -> Option<(u16, bool)> {
    // The property itself, and one more byte for each of the two lengths before it.
    const ALIAS_BYTES_MAX: usize = 5;
    let is_bounded = connection.packet_bytes_max != usize::MAX;
    if is_bounded && publish.encoded_len(ProtocolVersion::V5) + ALIAS_BYTES_MAX > connection.packet_bytes_max {
        return None;
    }
    connection.aliases_out.of(publish.topic)
}
