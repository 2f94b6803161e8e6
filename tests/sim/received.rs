//! What a client does with the packets that come, and what the broker may not send.
//!
//! Duty: cut, decode and answer packets; session present, order of acknowledgements, Receive Maximum, aliases. Must not:
//! judge messages (`delivery` does). Neighbours: `client` holds the state.

use ringmq::wire::{self, Ack, AckKind, Connack, Framed, Packet, ProtocolVersion, Publish, QoS, ReasonCode, Sender};

use crate::client::{Client, Desk, Phase};
use crate::delivery::Delivery;
use crate::line::Line;
use crate::trace::Note;

use ringmq::shard::Cause;

impl Client {
    /// Reads up to `most` bytes of the line.
    pub(crate) fn read(&mut self, most: usize, desk: &mut Desk<'_>) {
        self.watch_left(desk);
        let Some(line) = self.line else { return };
        let arrived = &mut desk.lines[line].to_client;
        let count = arrived.len().min(most);
        self.rest.extend(arrived.drain(..count));
        let mut bytes = std::mem::take(&mut self.rest);
        let mut consumed = 0;
        while self.line == Some(line) {
            let framed = wire::frame(&bytes[consumed..], u32::MAX).expect("the broker frames its packets well");
            let Framed::Whole(frame) = framed else { break };
            let bytes_max = desk.lines[line].asked.packet_bytes_max.unwrap_or(u32::MAX) as usize;
            assert!(frame.len <= bytes_max, "a packet of {} bytes, at most {bytes_max}", frame.len);
            let packet = wire::decode(&frame, self.nature.version, Sender::Server).expect("the broker speaks MQTT");
            desk.oracle.trace.note(desk.now, line, Note::Got(frame.first_byte, frame.len));
            self.take(packet, desk);
            consumed += frame.len;
        }
        if self.line != Some(line) {
            return;
        }
        bytes.drain(..consumed);
        self.rest = bytes;
        if desk.lines[line].is_closed_by_server && desk.lines[line].to_client.is_empty() {
            assert!(self.rest.is_empty(), "the broker closes in the middle of a packet");
            assert!(desk.lines[line].cause.is_some(), "the broker closes without saying why");
            desk.lines[line].is_closed_by_client = true;
            self.go_off();
        }
    }

    /// Lines that were taken over: the broker says so and closes them [MQTT-3.1.4-3].
    fn watch_left(&mut self, desk: &mut Desk<'_>) {
        let version = self.nature.version;
        self.left.retain_mut(|(line, bytes)| {
            let line = &mut desk.lines[*line];
            bytes.extend(line.to_client.drain(..));
            if !line.is_closed_by_server {
                return true;
            }
            line.is_closed_by_client = true;
            check_last_words(version, line, bytes);
            false
        });
    }

    fn take(&mut self, packet: Packet<'_>, desk: &mut Desk<'_>) {
        if desk.plan.traces {
            eprintln!("{:6} {} line {:?} gets {packet:?}", desk.now.0, self.index, self.line);
        }
        match packet {
            Packet::Connack(connack) => self.take_connack(&connack, desk),
            Packet::Publish(publish) => self.take_publish(&publish, desk),
            Packet::Ack(ack) => self.take_ack(&ack, desk),
            Packet::Suback(suback) => self.take_answer(true, suback.packet_id, suback.reasons, desk),
            Packet::Unsuback(unsuback) => self.take_answer(false, unsuback.packet_id, unsuback.reasons, desk),
            Packet::Pingresp | Packet::Disconnect(_) => {}
            other => panic!("a packet that a broker does not send: {other:?}"),
        }
    }

    fn take_connack(&mut self, connack: &Connack<'_>, desk: &mut Desk<'_>) {
        assert_eq!(self.phase, Phase::Connecting, "CONNACK once, first");
        let line = self.line.expect("connecting");
        if connack.reason != ReasonCode::Success {
            let is_crowded = matches!(desk.lines[line].cause, Some(Cause::Broker(ReasonCode::QuotaExceeded, _)));
            assert!(is_crowded, "client {} is refused: {:?}", self.nature.name, connack.reason);
            desk.lines[line].is_closed_by_client = true;
            self.go_off();
            return;
        }
        desk.lines[line].is_welcomed = true;
        let expected = desk.lines[line].is_session_present;
        let tells = self.nature.version > ProtocolVersion::V31;
        let is_present = if tells { connack.session_present } else { expected.unwrap_or(false) };
        if let Some(is_present) = expected.filter(|_| tells) {
            assert_eq!(connack.session_present, is_present, "session present, client {}", self.nature.name);
        }
        self.phase = Phase::On;
        self.outstanding.clear();
        self.aliases.clear();
        self.aliases_out.clear();
        self.asking.clear();
        self.broker_receive_maximum = connack.receive_maximum.map_or(10, usize::from);
        self.broker_alias_max = connack.topic_alias_maximum.unwrap_or(0);
        // A session that was made anew by a connection whose CONNACK was lost is present too, but holds nothing of the client's
        // state; no client can know.
        let is_known = self.known_session == desk.lines[line].session;
        self.known_session = desk.lines[line].session;
        self.has_late_acks = false;
        if is_present && is_known {
            // Acknowledgements that did not leave with the old connection may leave with this one.
            if desk.random.chance(50) {
                self.acks.clear();
            }
            self.has_late_acks = !self.acks.is_empty();
            self.resend(desk);
        } else {
            self.forget_session();
        }
        if self.nature.keep_alive_secs > 0 && desk.now.0 - self.spoke_at.0 > 500 {
            // CONNACK took its time.
            crate::habits::ping(self, desk);
        }
    }

    fn take_publish(&mut self, publish: &Publish<'_>, desk: &mut Desk<'_>) {
        assert_eq!(self.phase, Phase::On, "no PUBLISH before CONNACK");
        let line = self.line.expect("on");
        let asked = &desk.lines[line].asked;
        let mut topic = publish.topic.to_owned();
        if let Some(alias) = publish.properties.topic_alias {
            assert!(alias <= asked.alias_max, "alias {alias} above {}", asked.alias_max);
            if topic.is_empty() {
                topic = self.aliases.get(&alias).expect("an alias that was set").clone();
            } else {
                self.aliases.insert(alias, topic.clone());
            }
        }
        let mut is_taken = true;
        if publish.qos != QoS::AtMostOnce {
            self.outstanding.insert(publish.packet_id);
            let window = usize::from(asked.receive_maximum);
            let is_within = self.outstanding.len() <= window || self.has_late_acks;
            assert!(is_within, "more than {window} unacknowledged [MQTT-3.3.4-9]");
            let kind = if publish.qos == QoS::AtLeastOnce { AckKind::Puback } else { AckKind::Pubrec };
            self.acks.push_back((kind, publish.packet_id));
        }
        if publish.qos == QoS::ExactlyOnce {
            is_taken = self.received.insert(publish.packet_id);
        }
        let delivery = Delivery {
            line,
            topic: &topic,
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            payload: publish.payload,
            expiry_secs: publish.properties.message_expiry_secs,
            is_taken,
        };
        desk.oracle.deliver(&delivery, desk.lines);
    }

    fn take_ack(&mut self, ack: &Ack<'_>, desk: &mut Desk<'_>) {
        match ack.kind {
            AckKind::Puback => self.published(QoS::AtLeastOnce, ack, desk),
            AckKind::Pubrec => self.published(QoS::ExactlyOnce, ack, desk),
            AckKind::Pubrel => {
                self.received.remove(&ack.packet_id);
                self.acks.push_back((AckKind::Pubcomp, ack.packet_id));
            }
            AckKind::Pubcomp => {
                let at = self.unacked.iter().position(|entry| entry.packet_id == ack.packet_id);
                let at = at.expect("PUBCOMP of a message that was released");
                let entry = self.unacked.remove(at).expect("just found");
                assert!(entry.is_released, "PUBCOMP before PUBREL");
            }
        }
    }

    /// PUBACK and PUBREC come in the order of the PUBLISH packets [MQTT-4.6.0-2] [MQTT-4.6.0-3].
    fn published(&mut self, qos: QoS, ack: &Ack<'_>, desk: &mut Desk<'_>) {
        let first = self.unacked.iter().position(|entry| entry.qos == qos && !entry.is_released);
        let first = first.unwrap_or_else(|| panic!("an acknowledgement that nobody waits for: {ack:?}"));
        let entry = &mut self.unacked[first];
        assert_eq!(entry.packet_id, ack.packet_id, "acknowledgements out of order: {:?}", ack.kind);
        desk.oracle.acknowledge(entry.number, ack.reason as u8);
        if entry.topic.starts_with('$') && self.nature.version == ProtocolVersion::V5 {
            assert_eq!(ack.reason, ReasonCode::NotAuthorized, "nobody may publish to {}", entry.topic);
        }
        if qos == QoS::AtLeastOnce || ack.reason.is_error() {
            self.unacked.remove(first);
        } else {
            entry.is_released = true;
            let pubrel = Ack::new(AckKind::Pubrel, ack.packet_id, ReasonCode::Success);
            self.send(&Packet::Ack(pubrel), desk);
        }
    }

    fn take_answer(&mut self, is_subscribe: bool, packet_id: u16, reasons: &[u8], desk: &mut Desk<'_>) {
        let asking = self.asking.remove(&packet_id).expect("an answer to what was asked on this connection");
        assert_eq!(asking.is_subscribe, is_subscribe, "the answer fits the question");
        let session = self.session(desk);
        let line = self.line.expect("on");
        if is_subscribe {
            assert_eq!(reasons.len(), asking.filters.len(), "one reason for each filter");
        }
        for (index, (filter, qos)) in asking.filters.iter().enumerate() {
            if is_subscribe {
                assert_eq!(reasons[index], *qos as u8, "the granted QoS of {filter}");
                desk.oracle.confirm(session, line, filter, asking.sent_at);
            } else {
                desk.oracle.unsubscribed(session, filter, asking.sent_at);
            }
        }
    }
}

fn check_last_words(version: ProtocolVersion, line: &Line, mut bytes: &[u8]) {
    let is_takeover = matches!(line.cause, Some(Cause::Broker(ReasonCode::SessionTakenOver, _)));
    if version != ProtocolVersion::V5 || !is_takeover {
        return;
    }
    let mut last = None;
    while let Ok(Framed::Whole(frame)) = wire::frame(bytes, u32::MAX) {
        bytes = &bytes[frame.len..];
        last = Some(frame);
    }
    // Who never was told that the connection began is not told that it ends: CONNACK waited for the store.
    assert!(last.is_some() || !line.is_welcomed, "the broker says why it closes");
    let Some(frame) = last else { return };
    match wire::decode(&frame, version, Sender::Server) {
        Ok(Packet::Disconnect(disconnect)) => assert_eq!(disconnect.reason, ReasonCode::SessionTakenOver),
        other => panic!("a taken over connection ends with {other:?}"),
    }
}
