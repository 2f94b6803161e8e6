//! What waits goes out when there is room.
//!
//! Duty: repetitions on a new connection, then the queue, then retained messages, as far as window and egress have room. Must not:
//! queue. Neighbours: `deliver` sends what does not wait; `replay` finds retained messages; `acknowledge` makes room.

use super::carrier::{Manner, Sending, outgoing};
use super::deliver::takes_plain;
use super::keep::{forget, note_released};
use super::{Counters, DropReason, Outbox, Shard};
use crate::id::{ConnectionId, Millis, SessionId};
use crate::message::Message;
use crate::session::{Place, Pressure, Queued, Sent, Stage, Subscription, SubscriptionIds};
use crate::wire::{Ack, AckKind, ProtocolVersion, QoS, ReasonCode};

impl Shard {
    /// The egress of a connection has room again.
    pub(super) fn drained(&mut self, now: Millis, id: ConnectionId, outbox: &mut Outbox) {
        if let Some(session) = self.connected_session(id) {
            self.pump(now, session, outbox);
        }
    }

    /// Sends what waits, as far as window and egress have room: repetitions, then the queue, then retained messages.
    pub(super) fn pump(&mut self, now: Millis, session_id: SessionId, outbox: &mut Outbox) {
        let egress_bytes_max = self.config.limits.egress_bytes_max;
        while let Some(session) = self.sessions.get_mut(session_id) {
            let Some(connection) = session.connection else { return };
            let outbound = &mut session.outbound;
            if outbound.inflight.is_empty() && outbound.queued() == 0 && outbound.replays.is_none() {
                return;
            }
            let egress = outbox.egress.at(connection.slot);
            if egress.backlog_bytes() > egress_bytes_max {
                egress.report_below(egress_bytes_max / 2);
                return;
            }
            if let Some((packet_id, sent)) = outbound.inflight.next_resend() {
                let is_denied = |message: &Message| !self.may_receive(session_id, message.topic());
                if sent.message.as_ref().is_some_and(is_denied) {
                    // Case A09.
                    self.give_up(connection, session_id, packet_id, sent.stage.qos(), outbox);
                    continue;
                }
                self.resend(now, connection, session_id, packet_id, &sent, outbox);
                continue;
            }
            let next = match outbound.first_queued() {
                Some(queued) => queued.place,
                None => session.kept.as_ref().map_or(Place::NONE, |kept| kept.next(false)),
            };
            if !outbound.inflight.has_room() || !outbound.inflight.reaches(next) {
                return;
            }
            let is_pressing = outbound.pressure != Pressure::None;
            let is_doubted = outbound.is_doubted();
            let (message, manner) = if let Some(queued) = outbound.dequeue() {
                if is_pressing {
                    self.queue_shrank(session_id, outbox);
                }
                let Queued { message, qos, retain, subscription_ids, place, dup } = queued;
                if is_doubted && !self.may_receive(session_id, message.topic()) {
                    self.counters.drop_pairs(1, DropReason::Denied);
                    self.forget_message(session_id, place, outbox);
                    continue;
                }
                (message, Manner { qos, retain, subscription_ids, place, dup })
            } else if let Some((message, subscription)) = self.next_replayed(now, session_id) {
                let manner = replay_manner(&message, subscription);
                self.counters.matches += 1;
                (message, manner)
            } else {
                return;
            };
            let qos = manner.qos;
            let delivered = |counters: &Counters| counters.delivered.each()[qos as usize];
            let before = delivered(&self.counters);
            self.send_owned(now, connection, session_id, message, manner, outbox);
            // Nothing, where it has expired meanwhile or is too large.
            let late = delivered(&self.counters) - before;
            self.counters.delivered_late.add(qos, late);
        }
    }

    /// Sends a message that has waited. In the usual case it is encoded where it is sent from, and moves into the window.
    fn send_owned(
        &mut self,
        now: Millis,
        id: ConnectionId,
        session_id: SessionId,
        message: Message,
        manner: Manner,
        outbox: &mut Outbox,
    ) {
        let view = message.view();
        if view.expires_at.is_none()
            && !view.is_large()
            && let Some(connection) = self.connections.get_mut(id)
            && takes_plain(connection, &manner.subscription_ids)
            && let Some(session) = self.sessions.get_mut(session_id)
            && (session.kept.is_none() || !manner.place.is_none() && manner.qos != QoS::ExactlyOnce)
        {
            let publish = outgoing(now, &view, &manner, Sending { packet_id: 0, dup: manner.dup });
            if publish.encoded_len(connection.version) <= connection.packet_bytes_max {
                let buffer = outbox.egress.buffer(id.slot);
                let packet_id_at = publish.encode_head(connection.version, buffer);
                buffer.extend_from_slice(view.payload);
                self.counters.payload_bytes_sent.add(manner.qos, view.payload.len() as u64);
                if let Some(at) = packet_id_at {
                    let packet_id = session.outbound.inflight.insert(Sent {
                        message: Some(message),
                        retain: manner.retain,
                        subscription_ids: manner.subscription_ids,
                        stage: Stage::of_sent(manner.qos),
                        place: manner.place,
                    });
                    buffer[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
                }
                self.counters.delivered.add(manner.qos, 1);
                return;
            }
        }
        let mut carrier = self.carrier_of(&message);
        let from = self.keep.taken();
        self.send(now, id, session_id, &manner, &mut carrier, outbox);
        self.keep_message(now, from, &mut carrier, None, outbox);
        self.give_back(carrier);
    }

    /// Repeats a message of the window on a new connection [MQTT-4.4.0-1], with DUP [MQTT-3.3.1-1].
    fn resend(
        &mut self,
        now: Millis,
        connection: ConnectionId,
        session_id: SessionId,
        packet_id: u16,
        sent: &Sent,
        outbox: &mut Outbox,
    ) {
        let version = self.connections.get_mut(connection).map_or(ProtocolVersion::V311, |record| record.version);
        let Some(message) = &sent.message else {
            let pubrel = Ack::new(AckKind::Pubrel, packet_id, ReasonCode::Success);
            outbox.egress.control(connection.slot, |out| pubrel.encode(version, out));
            return;
        };
        let subscription_ids = sent.subscription_ids.clone();
        let manner =
            Manner { qos: sent.stage.qos(), retain: sent.retain, subscription_ids, place: sent.place, dup: true };
        let mut carrier = self.carrier_of(message);
        let may_be_sent = match manner.qos {
            // [MQTT-4.3.3-7]: a QoS 2 message that was sent once does not expire.
            QoS::ExactlyOnce => self.is_small_enough(now, connection, &manner, &carrier),
            _ => self.unfit(now, connection, &manner, &carrier).is_none(),
        };
        if may_be_sent {
            self.counters.resent += 1;
            self.counters.payload_bytes_sent.add(manner.qos, carrier.view().payload.len() as u64);
            self.encode(now, connection, &manner, Sending { packet_id, dup: true }, &mut carrier, outbox);
        } else {
            self.give_up(connection, session_id, packet_id, manner.qos, outbox);
        }
        self.give_back(carrier);
    }

    /// Behaves as if a message of the window had been delivered [MQTT-3.1.2-25]. The client may know a QoS 2 packet id
    /// already, and must not get another message under it, so its handshake is brought to the end.
    fn give_up(
        &mut self,
        connection: ConnectionId,
        session_id: SessionId,
        packet_id: u16,
        qos: QoS,
        outbox: &mut Outbox,
    ) {
        let Some(session) = self.sessions.get_mut(session_id) else { return };
        self.counters.abandoned_in_flight += 1;
        if qos == QoS::AtLeastOnce {
            let place = session.outbound.inflight.abandon(packet_id);
            forget(session.kept.as_deref(), place, &mut outbox.records.changes);
        } else if let Ok(place) = session.outbound.inflight.pubrec(packet_id) {
            if note_released(session.kept.as_deref(), place, &mut outbox.records.changes) {
                self.hold(connection, outbox);
            }
            let version = self.connections.get_mut(connection).map_or(ProtocolVersion::V311, |record| record.version);
            let pubrel = Ack::new(AckKind::Pubrel, packet_id, ReasonCode::Success);
            outbox.egress.control(connection.slot, |out| pubrel.encode(version, out));
        }
    }
}

/// How a retained message goes to a new subscription: RETAIN is set [MQTT-3.3.1-8].
pub(super) fn replay_manner(message: &Message, subscription: Subscription) -> Manner {
    Manner {
        qos: message.view().qos.min(subscription.options.qos),
        retain: true,
        subscription_ids: SubscriptionIds::new(subscription.subscription_id.as_slice()),
        place: Place::NONE,
        dup: false,
    }
}
