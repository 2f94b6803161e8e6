//! A shard with a publisher and a subscriber, for the tests of its rooms.
//!
//! Duty: get a shard to where the quick ways begin: all connected, topic `t` remembered. Must not: test anything. Neighbours:
//! `run`, `receive`, `acknowledge` and `deliver` look at what they do in it.

use super::matches::Delivery;
use super::{Flush, Input, Next, Outbox, Received, Shard, ShardConfig};
use crate::id::{ConnectionId, Millis, ShardId};
use crate::limits::Limits;
use crate::session::LargePayloads;
use crate::topic::TopicName;
use crate::wire::{Connect, ProtocolVersion, Publish, PublishProperties, QoS, Subscribe, SubscriptionOptions};

pub(super) const NOW: Millis = Millis(1000);
pub(super) const V311: ProtocolVersion = ProtocolVersion::V311;
pub(super) const V5: ProtocolVersion = ProtocolVersion::V5;
pub(super) const PUBLISHER: ConnectionId = ConnectionId { slot: 0, generation: 1 };
pub(super) const SUBSCRIBER: ConnectionId = ConnectionId { slot: 1, generation: 1 };

/// A shard that remembers topic `t`, its publisher and its subscriber.
pub(super) struct Scene {
    pub(super) shard: Shard,
    pub(super) outbox: Outbox,
}

impl Scene {
    /// A subscriber that says `connect` and subscribes with the options and the Subscription Identifier.
    pub(super) fn new(
        limits: Limits,
        publisher: ProtocolVersion,
        connect: Connect<'_>,
        qos: QoS,
        id: Option<u32>,
    ) -> Self {
        let config = ShardConfig {
            shard: ShardId(0),
            shards: 1,
            hash_seed: 1,
            id_seed: 1,
            secret: crate::auth::scram::Secret::new([9; 32]),
            limits,
            large_payloads: LargePayloads::default(),
            is_faulty: false,
            store: None,
            policy: std::sync::Arc::default(),
        };
        let mut scene = Self { shard: Shard::new(config), outbox: Outbox::new(1) };
        scene.open(PUBLISHER, Connect::new(publisher, "publisher"));
        scene.open(SUBSCRIBER, connect);
        let mut block = Vec::new();
        Subscribe::push_filter(&mut block, "t", SubscriptionOptions { qos, ..SubscriptionOptions::default() });
        let mut subscribe = Vec::new();
        Subscribe::new(1, id, &block).encode(connect.version, &mut subscribe);
        scene.say(SUBSCRIBER, &subscribe);
        scene.remember("t");
        scene
    }

    /// The usual one: all speak 5.0 and nobody wishes anything.
    pub(super) fn usual(limits: Limits) -> Self {
        Self::new(limits, V5, Connect::new(V5, "subscriber"), QoS::ExactlyOnce, None)
    }

    pub(super) fn open(&mut self, id: ConnectionId, connect: Connect<'_>) {
        self.shard.handle(NOW, Input::Opened { connection: id, accepted_at: NOW, listener: 0 }, &mut self.outbox);
        let mut bytes = Vec::new();
        connect.encode(&mut bytes);
        self.say(id, &bytes);
    }

    pub(super) fn say(&mut self, id: ConnectionId, bytes: &[u8]) {
        let taken = self.shard.receive(NOW, id, Received { bytes, shared: None }, &mut self.outbox);
        assert_eq!((taken.consumed, taken.next), (bytes.len(), Next::Read { needed: None }));
        self.heard(id);
    }

    /// What a connection is sent.
    pub(super) fn heard(&mut self, id: ConnectionId) -> Vec<u8> {
        let mut flush = Flush::default();
        self.outbox.egress.at(id.slot).take(&mut flush);
        let _ = self.outbox.egress.sent(id.slot, flush.len());
        flush.pieces().collect::<Vec<_>>().concat()
    }

    pub(super) fn remember(&mut self, topic: &str) {
        for _ in 0..2 {
            self.shard.subscribers.of(TopicName::trusted(topic));
        }
        assert!(self.shard.subscribers.remembered(topic.as_bytes()).is_some());
    }

    /// What the subscriber is to get of `t`.
    pub(super) fn delivery(&mut self) -> Delivery {
        self.shard.subscribers.remembered(b"t").expect("it is remembered").deliveries[0].clone()
    }
}

pub(super) fn packet(version: ProtocolVersion, qos: QoS, packet_id: u16, topic: &str, payload_len: usize) -> Vec<u8> {
    let payload = vec![b'x'; payload_len];
    let properties = PublishProperties::EMPTY;
    let mut bytes = Vec::new();
    Publish { dup: false, qos, retain: false, topic, packet_id, properties, payload: &payload }
        .encode(version, &mut bytes);
    bytes
}

pub(super) fn qos0(payload_len: usize) -> Vec<u8> {
    packet(V5, QoS::AtMostOnce, 0, "t", payload_len)
}

pub(super) fn qos1(packet_id: u16) -> Vec<u8> {
    packet(V5, QoS::AtLeastOnce, packet_id, "t", 3)
}
