//! After a panic: the shard without the connection that caused it.
//!
//! Duty: leave no packet half-written, close who lacks one and who caused it, void what was begun and will not be finished.
//! Must not: repair tables that a panic tore in the middle; a second panic here ends the process. Neighbours: the driver
//! caught the panic of `receive` or `handle` and calls; `egress` cuts.

use super::{Outbox, Shard};
use crate::id::{ConnectionId, Millis};
use crate::wire::ReasonCode;

impl Shard {
    /// Goes on after a panic that the bytes of one connection caused, or its end: closes it, and those to whom a packet was
    /// being written. A message that was being routed has reached some of its receivers and not others; its publisher gets
    /// no acknowledgement and may send it again.
    #[cold]
    pub fn after_panic(&mut self, now: Millis, culprit: ConnectionId, outbox: &mut Outbox) {
        self.counters.panics += 1;
        let cut = outbox.egress.cut_unfinished();
        self.adopt_session(culprit);
        let session = self.connected_session(culprit);
        if let Some(session) = session.and_then(|session| self.sessions.get_mut(session)) {
            session.void_number();
        }
        for slot in cut {
            if let Some(id) = self.connections.at(slot).filter(|id| *id != culprit) {
                self.close_after_panic(now, id, "a packet to it was cut by an internal error", outbox);
            }
        }
        self.close_after_panic(now, culprit, "its packet caused an internal error", outbox);
        if !outbox.closes.contains(&culprit) {
            // The shard had forgotten it already.
            outbox.closes.push(culprit);
        }
        self.finish_turn(now, outbox);
    }

    fn close_after_panic(&mut self, now: Millis, id: ConnectionId, what: &'static str, outbox: &mut Outbox) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.session.is_some() {
            self.close(now, id, ReasonCode::UnspecifiedError, what, outbox);
        } else {
            self.refuse_connection(id, ReasonCode::UnspecifiedError, what, outbox);
        }
    }

    /// A CONNECT that ended half-way may have left a session that takes its connection for alive.
    fn adopt_session(&mut self, id: ConnectionId) {
        let is_unknown = self.connections.get_mut(id).is_some_and(|connection| connection.session.is_none());
        if let Some(session) = self.sessions.connected_by(id).filter(|_| is_unknown) {
            self.connections.admit(id, session);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::id::ShardId;
    use crate::limits::Limits;
    use crate::session::LargePayloads;
    use crate::shard::{Event, Flush, Input, Next, Received, ShardConfig, StoreTerms};
    use crate::store::record::Wall;
    use crate::wire::{
        self, Ack, AckKind, Connect, Framed, OutgoingPublish, Packet, ProtocolVersion, QoS, Sender, Subscribe,
        SubscriptionOptions,
    };

    const NOW: Millis = Millis(1000);
    const VERSION: ProtocolVersion = ProtocolVersion::V5;

    /// One shard, as the driver turns it.
    struct Turn {
        shard: Shard,
        outbox: Outbox,
    }

    impl Turn {
        fn new() -> Self {
            let config = ShardConfig {
                shard: ShardId(0),
                shards: 1,
                hash_seed: 1,
                id_seed: 1,
                secret: crate::auth::scram::Secret::new([9; 32]),
                limits: Limits::default(),
                large_payloads: LargePayloads::default(),
                is_faulty: true,
                store: Some(StoreTerms { wall: Wall(0), first_number: 1 }),
                policy: std::sync::Arc::default(),
            };
            Self { shard: Shard::new(config), outbox: Outbox::new(1) }
        }

        fn open(&mut self, slot: u32) -> ConnectionId {
            let id = ConnectionId { slot, generation: 1 };
            self.shard.handle(NOW, Input::Opened { connection: id, accepted_at: NOW, listener: 0 }, &mut self.outbox);
            id
        }

        /// A client with a session that outlives its connection, its CONNACK heard.
        fn connect(&mut self, slot: u32, client_id: &str) -> ConnectionId {
            let id = self.open(slot);
            self.say(id, &connect(client_id));
            self.store();
            assert!(matches!(self.heard(id)[..], [Heard::Connack]), "{client_id}");
            id
        }

        fn subscribe(&mut self, id: ConnectionId, filter: &str) {
            let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
            let mut bytes = Vec::new();
            let mut block = Vec::new();
            Subscribe::push_filter(&mut block, filter, options);
            Subscribe::new(1, None, &block).encode(VERSION, &mut bytes);
            self.say(id, &bytes);
            self.store();
            assert!(matches!(self.heard(id)[..], [Heard::Suback]));
        }

        /// The store has all that it was given.
        fn store(&mut self) {
            if let Some(batch) = self.outbox.take_records() {
                self.shard.handle(NOW, Input::Stored { through: batch.ticket, is_safe: true }, &mut self.outbox);
            }
        }

        fn receive(&mut self, id: ConnectionId, bytes: &[u8]) -> Next {
            let received = Received { bytes, shared: None };
            self.shard.receive(NOW, id, received, &mut self.outbox).next
        }

        fn say(&mut self, id: ConnectionId, bytes: &[u8]) {
            assert_eq!(self.receive(id, bytes), Next::Read { needed: None });
        }

        /// Bytes that make the shard panic, and what the driver does then.
        fn say_poison(&mut self, id: ConnectionId, bytes: &[u8]) {
            let panicked = catch_unwind(AssertUnwindSafe(|| self.receive(id, bytes)));
            assert!(panicked.is_err(), "{panicked:?}");
            self.shard.after_panic(NOW, id, &mut self.outbox);
        }

        /// Sends all to a connection and names it, packet by packet.
        fn heard(&mut self, id: ConnectionId) -> Vec<Heard> {
            let mut flush = Flush::default();
            self.outbox.egress.at(id.slot).take(&mut flush);
            let _ = self.outbox.egress.sent(id.slot, flush.len());
            let bytes = flush.pieces().collect::<Vec<_>>().concat();
            let mut rest = &bytes[..];
            let mut heard = Vec::new();
            while !rest.is_empty() {
                let Ok(Framed::Whole(frame)) = wire::frame(rest, u32::MAX) else {
                    panic!("half a packet: {rest:02x?}")
                };
                heard.push(match wire::decode(&frame, VERSION, Sender::Server).expect("well-formed") {
                    Packet::Connack(_) => Heard::Connack,
                    Packet::Suback(_) => Heard::Suback,
                    Packet::Publish(publish) => Heard::Publish(publish.payload.len()),
                    Packet::Ack(Ack { kind: AckKind::Puback, packet_id, .. }) => Heard::Puback(packet_id),
                    Packet::Ack(Ack { kind: AckKind::Pubrec, packet_id, .. }) => Heard::Pubrec(packet_id),
                    Packet::Disconnect(disconnect) => Heard::Disconnect(disconnect.reason),
                    packet => panic!("unexpected {packet:?}"),
                });
                rest = &rest[frame.len..];
            }
            heard
        }
    }

    #[derive(Debug, PartialEq)]
    enum Heard {
        Connack,
        Suback,
        Publish(usize),
        Puback(u16),
        Pubrec(u16),
        Disconnect(ReasonCode),
    }

    fn connect(client_id: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let connect =
            Connect { session_expiry_secs: Some(600), clean_start: false, ..Connect::new(VERSION, client_id) };
        connect.encode(&mut bytes);
        bytes
    }

    fn publish(topic: &str, qos: QoS, packet_id: u16, payload_len: usize) -> Vec<u8> {
        let publish = OutgoingPublish {
            dup: false,
            qos,
            retain: false,
            topic,
            packet_id,
            message_expiry_secs: None,
            topic_alias: None,
            subscription_ids: &[],
            properties: &[],
            payload_len,
        };
        let mut bytes = Vec::new();
        publish.encode_head(VERSION, &mut bytes);
        bytes.resize(bytes.len() + payload_len, 5);
        bytes
    }

    const GONE: Heard = Heard::Disconnect(ReasonCode::UnspecifiedError);

    /// In one turn, before and after the culprit, others publish and are served.
    #[test]
    fn a_panic_ends_the_connection_that_caused_it_and_nobody_elses() {
        let mut turn = Turn::new();
        let (culprit, publisher, reader) = (turn.connect(0, "c"), turn.connect(1, "p"), turn.connect(2, "r"));
        turn.subscribe(reader, "t");
        turn.say(publisher, &publish("t", QoS::AtLeastOnce, 1, 10));
        let poison =
            [publish("t", QoS::AtLeastOnce, 1, 5000), publish("$fault/panic", QoS::AtLeastOnce, 2, 0)].concat();
        turn.say_poison(culprit, &poison);
        turn.say(publisher, &publish("t", QoS::AtLeastOnce, 2, 20));
        assert_eq!(turn.outbox.closes, [culprit]);
        assert_eq!(turn.heard(reader), [Heard::Publish(10), Heard::Publish(5000), Heard::Publish(20)]);
        turn.store();
        assert_eq!(turn.heard(publisher), [Heard::Puback(1), Heard::Puback(2)]);
        assert_eq!(turn.heard(culprit), [GONE]);
        assert_eq!(turn.shard.counters().panics, 1);
        assert_eq!(turn.shard.sizes().connections, 2);
    }

    /// The session stays, and what was being handled is neither acknowledged nor taken for received.
    #[test]
    fn after_a_panic_the_client_comes_back_to_its_session_and_may_send_again() {
        let mut turn = Turn::new();
        let (culprit, reader) = (turn.connect(0, "c"), turn.connect(2, "r"));
        turn.subscribe(reader, "t");
        // Owed when the panic comes: it waits for the store.
        let before = publish("t", QoS::AtLeastOnce, 1, 1);
        turn.say_poison(culprit, &[before, publish("$fault/panic", QoS::ExactlyOnce, 2, 0)].concat());
        turn.outbox.closes.clear();
        turn.store();
        assert_eq!(turn.heard(culprit), [GONE]);
        let back = ConnectionId { slot: 0, generation: 2 };
        turn.shard.handle(NOW, Input::Opened { connection: back, accepted_at: NOW, listener: 0 }, &mut turn.outbox);
        turn.say(back, &connect("c"));
        turn.say(back, &publish("t", QoS::ExactlyOnce, 2, 2));
        turn.store();
        assert_eq!(turn.heard(back), [Heard::Connack, Heard::Pubrec(2)]);
        assert_eq!(turn.heard(reader), [Heard::Publish(1), Heard::Publish(2)]);
    }

    /// Who lacks the end of a packet would take the next one for it.
    #[test]
    fn a_connection_whose_packet_was_cut_is_closed_too_and_well_formed_to_the_end() {
        let mut turn = Turn::new();
        let (culprit, cut, whole) = (turn.connect(0, "c"), turn.connect(1, "cut"), turn.connect(2, "whole"));
        turn.subscribe(cut, "t");
        turn.subscribe(whole, "t");
        turn.say(culprit, &publish("t", QoS::AtMostOnce, 0, 7));
        turn.outbox.egress.buffer(cut.slot).extend_from_slice(&publish("t", QoS::AtMostOnce, 0, 4)[..5]);
        turn.say_poison(culprit, &publish("$fault/panic", QoS::AtMostOnce, 0, 0));
        assert_eq!(turn.outbox.closes, [cut, culprit]);
        assert_eq!(turn.heard(cut), [Heard::Publish(7), GONE]);
        assert_eq!(turn.heard(whole), [Heard::Publish(7)]);
        assert_eq!(turn.heard(culprit), [GONE]);
    }

    /// A CONNECT that ended half-way leaves no session that waits for its connection for ever.
    #[test]
    fn a_session_without_its_connection_is_found_again() {
        let mut turn = Turn::new();
        let culprit = turn.connect(0, "c");
        turn.shard.connections.get_mut(culprit).expect("connected").session = None;
        turn.shard.after_panic(NOW, culprit, &mut turn.outbox);
        assert_eq!(turn.shard.sizes().connections, 0);
        let ended = turn.outbox.events.iter().any(|event| matches!(event, Event::Disconnected { .. }));
        assert!(ended, "{:?}", turn.outbox.events);
    }

    #[test]
    fn a_connection_that_the_shard_knows_no_more_is_closed_all_the_same() {
        let mut turn = Turn::new();
        let culprit = turn.open(0);
        turn.shard.handle(NOW, Input::Closed { connection: culprit }, &mut turn.outbox);
        turn.shard.after_panic(NOW, culprit, &mut turn.outbox);
        assert_eq!(turn.outbox.closes, [culprit]);
    }
}
