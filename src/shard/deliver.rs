//! From a message to the bytes of one client: encode once, copy or reference, or queue.
//!
//! Duty: QoS and RETAIN flag as the subscription says, window, queue, slow readers, expiry, the client's Maximum Packet
//! Size, topic aliases; pump what waits when there is room. Must not: choose who gets a message. Neighbours: `route`,
//! `group`, `retain` call; `egress` holds the bytes.

use std::sync::Arc;

use super::connect::publisher_of;
use super::connection::Connection;
use super::matches::{Delivery, Own};
use super::run::PlainRun;
use super::{DropReason, Outbox, Outcome, Shard};
use crate::id::{ConnectionId, Millis, SessionId};
use crate::message::{Message, MessageView, Source};
use crate::session::{Admission, Pressure, Queued, Sent, Stage, Subscription, SubscriptionIds};
use crate::wire::{Ack, AckKind, OutgoingPublish, PlainPublish, ProtocolVersion, QoS, ReasonCode};

/// Unsent bytes of a connection up to which nobody asks what is left of the shard's budget.
pub(super) const UNLOOKED_BACKLOG_BYTES: usize = 64 << 10;

/// Buffers kept between messages.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    encoded: Vec<u8>,
}

/// A message on its way to its receivers: borrowed as long as may be, owned once somebody keeps it, encoded once per layout.
#[derive(Debug)]
pub(super) struct Carrier<'a> {
    view: MessageView<'a>,
    message: Option<Message>,
    encoded: Vec<u8>,
    /// That of `encoded` or `received`.
    layout: Option<Layout>,
    packet_id_at: Option<usize>,
    /// The plain packet that it came in.
    received: Option<PlainRun<'a>>,
    /// Whether the layout is still that of `received`.
    is_as_received: bool,
}

/// What makes two encodings of one message equal, but for the packet id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    is_v5: bool,
    qos: QoS,
    retain: bool,
}

impl<'a> Carrier<'a> {
    /// A carrier of a message that goes to one receiver.
    pub(super) fn unencoded(message: &'a Message) -> Self {
        let view = message.view();
        Self {
            view,
            message: Some(message.clone()),
            encoded: Vec::new(),
            layout: None,
            packet_id_at: None,
            received: None,
            is_as_received: false,
        }
    }

    pub(super) fn view(&self) -> &MessageView<'a> {
        &self.view
    }

    /// The plain packet that it came in, if it is one.
    pub(super) fn received(&self) -> Option<&PlainRun<'a>> {
        self.received.as_ref()
    }

    /// Makes the message, with who published it.
    pub(super) fn note_source(&mut self, source: Option<Arc<Source>>) {
        self.message = Some(Message::of_source(&self.view, source));
    }

    /// The message, owned; made at the first call.
    pub(super) fn message(&mut self) -> &Message {
        self.message.get_or_insert_with(|| Message::new(&self.view))
    }

    /// Encodes a message that does not expire for all who get it in this layout.
    fn encode_plain(&mut self, version: ProtocolVersion, layout: Layout) {
        let publish = OutgoingPublish {
            dup: false,
            qos: layout.qos,
            retain: layout.retain,
            topic: self.view.topic,
            packet_id: 0,
            message_expiry_secs: None,
            topic_alias: None,
            subscription_ids: &[],
            properties: self.view.properties,
            payload_len: self.view.payload.len(),
        };
        self.encode(version, layout, &publish);
    }

    fn encode(&mut self, version: ProtocolVersion, layout: Layout, publish: &OutgoingPublish<'_>) {
        self.encoded.clear();
        self.packet_id_at = publish.encode_head(version, &mut self.encoded);
        self.encoded.extend_from_slice(self.view.payload);
        self.layout = Some(layout);
        self.is_as_received = false;
    }

    /// The packet in the layout.
    fn packet(&self) -> &[u8] {
        match &self.received {
            Some(received) if self.is_as_received => received.bytes,
            _ => &self.encoded,
        }
    }

    /// Appends the packet, with a packet id if the layout has one.
    #[inline]
    fn put_encoded(&self, packet_id: u16, buffer: &mut Vec<u8>) {
        let start = buffer.len();
        buffer.extend_from_slice(self.packet());
        if let Some(at) = self.packet_id_at {
            buffer[start + at..start + at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
    }
}

/// Whether a client gets packets that say nothing to it alone: no alias, no Subscription Identifier, no topic without its mount
/// point.
pub(super) fn takes_plain(connection: &Connection, subscription_ids: &SubscriptionIds) -> bool {
    !connection.is_particular && (connection.version != ProtocolVersion::V5 || subscription_ids.is_empty())
}

/// How one client gets one message.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) subscription_ids: SubscriptionIds,
}

impl Manner {
    pub(super) fn of(delivery: &Delivery, view: &MessageView<'_>) -> Self {
        Self {
            qos: view.qos.min(delivery.qos),
            retain: view.retain && delivery.retain_as_published,
            subscription_ids: delivery.subscription_ids.clone(),
        }
    }
}

/// Which sending of a message it is.
#[derive(Clone, Copy, Debug)]
struct Sending {
    /// 0 with QoS 0.
    packet_id: u16,
    dup: bool,
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
    pub(super) fn carrier<'a>(&mut self, view: MessageView<'a>) -> Carrier<'a> {
        let encoded = std::mem::take(&mut self.scratch.encoded);
        Carrier {
            view,
            message: None,
            encoded,
            layout: None,
            packet_id_at: None,
            received: None,
            is_as_received: false,
        }
    }

    /// A carrier of a message that lies in a packet as many receivers want it.
    pub(super) fn carrier_of_packet<'a>(
        &mut self,
        view: MessageView<'a>,
        packet: &PlainPublish<'a>,
        version: ProtocolVersion,
    ) -> Carrier<'a> {
        let is_v5 = version == ProtocolVersion::V5;
        let packet_id_at = packet.bytes.len() - packet.payload.len() - usize::from(is_v5) - 2;
        Carrier {
            layout: Some(Layout { is_v5, qos: packet.qos, retain: false }),
            packet_id_at: (packet.qos != QoS::AtMostOnce).then_some(packet_id_at),
            received: Some(PlainRun {
                bytes: packet.bytes,
                count: 1,
                longest: packet.bytes.len(),
                payload_bytes: packet.payload.len(),
                version,
            }),
            is_as_received: true,
            ..self.carrier(view)
        }
    }

    /// A carrier of a message that is owned already.
    pub(super) fn carrier_of<'a>(&mut self, message: &'a Message) -> Carrier<'a> {
        let mut carrier = self.carrier(message.view());
        carrier.message = Some(message.clone());
        carrier
    }

    pub(super) fn give_back(&mut self, carrier: Carrier<'_>) {
        self.scratch.encoded = carrier.encoded;
    }

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
            || qos != QoS::AtMostOnce && !session.outbound.may_send_at_once()
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
        if qos != QoS::AtMostOnce {
            packet_id = session.outbound.inflight.insert(Sent {
                message: Some(carrier.message().clone()),
                retain: layout.retain,
                subscription_ids: delivery.subscription_ids.clone(),
                stage: Stage::of_sent(qos),
            });
        }
        carrier.put_encoded(packet_id, outbox.egress.buffer(id.slot));
        self.counters.matches += 1;
        self.counters.delivered += 1;
        self.counters.payload_bytes_sent += carrier.view().payload.len() as u64;
        Some(Delivered { outcome: Outcome::Taken, needs_store: qos != QoS::AtMostOnce && session.is_persistent() })
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

    pub(super) fn give_in_order(
        &mut self,
        now: Millis,
        session_id: SessionId,
        manner: Manner,
        carrier: &mut Carrier<'_>,
        outbox: &mut Outbox,
    ) -> Delivered {
        let limits = &self.config.limits;
        let Some(session) = self.sessions.get_mut(session_id) else { return Delivered::NO_MATCH };
        let is_persistent = session.is_persistent();
        let needs_store = is_persistent && manner.qos != QoS::AtMostOnce;
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
            if !is_slow && session.outbound.may_send_at_once() {
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
        let Manner { qos, retain, subscription_ids } = manner;
        let queued = Queued { message: carrier.message().clone(), qos, retain, subscription_ids };
        let admission = session.outbound.enqueue(queued, limits);
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
        Delivered { outcome: self.outcome_of_queued(now, session_id), needs_store }
    }

    /// Sends now, taking a place in the window for QoS 1 and 2. The caller has seen that there is room.
    fn send(
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
            return;
        }
        self.counters.delivered += 1;
        self.counters.payload_bytes_sent += carrier.view().payload.len() as u64;
        let mut packet_id = 0;
        if manner.qos != QoS::AtMostOnce {
            let Some(session) = self.sessions.get_mut(session_id) else { return };
            packet_id = session.outbound.inflight.insert(Sent {
                message: Some(carrier.message().clone()),
                retain: manner.retain,
                subscription_ids: manner.subscription_ids.clone(),
                stage: Stage::of_sent(manner.qos),
            });
        }
        self.encode(now, id, manner, Sending { packet_id, dup: false }, carrier, outbox);
    }

    /// Why a message may not be sent to this client at all.
    fn unfit(&mut self, now: Millis, id: ConnectionId, manner: &Manner, carrier: &Carrier<'_>) -> Option<DropReason> {
        if carrier.view.is_expired(now) {
            return Some(DropReason::Expired);
        }
        (!self.is_small_enough(now, id, manner, carrier)).then_some(DropReason::TooLarge)
    }

    /// Whether a message is within the client's Maximum Packet Size [MQTT-3.1.2-24].
    fn is_small_enough(&mut self, now: Millis, id: ConnectionId, manner: &Manner, carrier: &Carrier<'_>) -> bool {
        let Some(connection) = self.connections.get_mut(id) else { return false };
        if connection.packet_bytes_max == usize::MAX {
            return true;
        }
        let mut publish = outgoing(now, &carrier.view, manner, Sending { packet_id: 0, dup: false });
        publish.topic = self.policy.terms(connection.listener).unmounted(publish.topic);
        publish.encoded_len(connection.version) <= connection.packet_bytes_max
    }

    fn encode(
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
            if !outbound.inflight.has_room() {
                return;
            }
            let is_pressing = outbound.pressure != Pressure::None;
            let is_doubted = outbound.is_doubted;
            let (message, manner) = if let Some(queued) = outbound.dequeue() {
                if is_pressing {
                    self.queue_shrank(session_id, outbox);
                }
                let Queued { message, qos, retain, subscription_ids } = queued;
                if is_doubted && !self.may_receive(session_id, message.topic()) {
                    self.counters.drop_pairs(1, DropReason::Denied);
                    continue;
                }
                (message, Manner { qos, retain, subscription_ids })
            } else if let Some((message, subscription)) = self.next_replayed(now, session_id) {
                let manner = replay_manner(&message, subscription);
                self.counters.matches += 1;
                (message, manner)
            } else {
                return;
            };
            self.send_owned(now, connection, session_id, message, manner, outbox);
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
        {
            let publish = outgoing(now, &view, &manner, Sending { packet_id: 0, dup: false });
            if publish.encoded_len(connection.version) <= connection.packet_bytes_max {
                let buffer = outbox.egress.buffer(id.slot);
                let packet_id_at = publish.encode_head(connection.version, buffer);
                buffer.extend_from_slice(view.payload);
                self.counters.payload_bytes_sent += view.payload.len() as u64;
                if let Some(at) = packet_id_at {
                    let packet_id = session.outbound.inflight.insert(Sent {
                        message: Some(message),
                        retain: manner.retain,
                        subscription_ids: manner.subscription_ids,
                        stage: Stage::of_sent(manner.qos),
                    });
                    buffer[at..at + 2].copy_from_slice(&packet_id.to_be_bytes());
                }
                self.counters.delivered += 1;
                return;
            }
        }
        let mut carrier = self.carrier_of(&message);
        self.send(now, id, session_id, &manner, &mut carrier, outbox);
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
        let manner =
            Manner { qos: sent.stage.qos(), retain: sent.retain, subscription_ids: sent.subscription_ids.clone() };
        let mut carrier = self.carrier_of(message);
        let may_be_sent = match manner.qos {
            // [MQTT-4.3.3-7]: a QoS 2 message that was sent once does not expire.
            QoS::ExactlyOnce => self.is_small_enough(now, connection, &manner, &carrier),
            _ => self.unfit(now, connection, &manner, &carrier).is_none(),
        };
        if may_be_sent {
            self.counters.resent += 1;
            self.counters.payload_bytes_sent += carrier.view().payload.len() as u64;
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
            session.outbound.inflight.abandon(packet_id);
        } else if session.outbound.inflight.pubrec(packet_id).is_ok() {
            let version = self.connections.get_mut(connection).map_or(ProtocolVersion::V311, |record| record.version);
            let pubrel = Ack::new(AckKind::Pubrel, packet_id, ReasonCode::Success);
            outbox.egress.control(connection.slot, |out| pubrel.encode(version, out));
        }
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

/// How a retained message goes to a new subscription: RETAIN is set [MQTT-3.3.1-8].
pub(super) fn replay_manner(message: &Message, subscription: Subscription) -> Manner {
    Manner {
        qos: message.view().qos.min(subscription.options.qos),
        retain: true,
        subscription_ids: SubscriptionIds::new(subscription.subscription_id.as_slice()),
    }
}

fn outgoing<'a>(now: Millis, view: &MessageView<'a>, manner: &'a Manner, sending: Sending) -> OutgoingPublish<'a> {
    OutgoingPublish {
        dup: sending.dup,
        qos: manner.qos,
        retain: manner.retain,
        topic: view.topic,
        packet_id: sending.packet_id,
        message_expiry_secs: view.expiry_secs_left(now),
        topic_alias: None,
        subscription_ids: manner.subscription_ids.as_slice(),
        properties: view.properties,
        payload_len: view.payload.len(),
    }
}
