//! Tests of the usual case of `deliver`.
//!
//! Duty: `deliver_plainly` sends what is plain, and nothing else. Must not: look into a carrier. Neighbours: `deliver`; `scene`
//! is where it happens.

use super::deliver::UNLOOKED_BACKLOG_BYTES;
use super::matches::{Delivery, Own};
use super::scene::{NOW, PUBLISHER, SUBSCRIBER, Scene, V5, V311, packet, qos0};
use crate::id::Millis;
use crate::limits::{Limits, SHARED_PAYLOAD_BYTES_MIN};
use crate::message::MessageView;
use crate::wire::{Connect, Publish, PublishProperties, QoS};

fn view(qos: QoS, payload: &[u8]) -> MessageView<'_> {
    MessageView {
        topic: "t",
        properties: &[],
        payload,
        shared_payload: None,
        qos,
        retain: false,
        expires_at: None,
        publisher: None,
    }
}

impl Scene {
    /// Whether the subscriber gets a message the plain way.
    fn delivers_plainly(&mut self, view: MessageView<'_>) -> bool {
        let delivery = self.delivery();
        let mut carrier = self.shard.carrier(view);
        let delivered = self.shard.deliver_plainly(&delivery, &mut carrier, &mut self.outbox);
        self.shard.give_back(carrier);
        delivered.is_some()
    }
}

/// Whatever the dialect and the QoS.
#[test]
fn the_usual_message_is_sent_plainly() {
    for version in [V311, V5] {
        let mut scene = Scene::new(Limits::default(), V5, Connect::new(version, "subscriber"), QoS::AtLeastOnce, None);
        for (qos, packet_id) in [(QoS::AtMostOnce, 0), (QoS::AtLeastOnce, 1), (QoS::ExactlyOnce, 2)] {
            assert!(scene.delivers_plainly(view(qos, b"xx")));
            assert_eq!(scene.heard(SUBSCRIBER), packet(version, qos.min(QoS::AtLeastOnce), packet_id, "t", 2));
        }
        assert_eq!((scene.shard.counters.matches, scene.shard.counters.delivered.sum()), (3, 3));
    }
}

/// What asks for more is left as it was, for others.
#[test]
fn a_message_that_asks_for_more_is_not_sent_plainly() {
    let connect = Connect::new(V5, "subscriber");
    let aliases = Connect { topic_alias_maximum: 1, ..connect };
    let one = Connect { receive_maximum: Some(1), ..connect };
    let small = Connect { maximum_packet_size: Some(qos0(60).len() as u32), ..connect };
    let plain = view(QoS::AtMostOnce, b"123456789");
    let expiring = MessageView { expires_at: Some(Millis(u64::MAX - 1)), ..plain };
    let (long, large) = ([0; SHARED_PAYLOAD_BYTES_MIN - 1], [0; SHARED_PAYLOAD_BYTES_MIN]);
    for (what, connect, id, message, is_plain) in [
        ("one that ends", connect, None, expiring, false),
        ("just not large", connect, None, view(QoS::AtMostOnce, &long), true),
        ("large", connect, None, view(QoS::AtMostOnce, &large), false),
        ("an alias", aliases, None, plain, false),
        ("a Subscription Identifier", connect, Some(1), plain, false),
        ("just not too large", small, None, view(QoS::AtMostOnce, &long[..60]), true),
        ("too large", small, None, view(QoS::AtMostOnce, &long[..61]), false),
        ("no room in the window, but QoS 0", one, None, plain, true),
        ("no room in the window", one, None, view(QoS::AtLeastOnce, b"x"), false),
    ] {
        let mut scene = Scene::new(Limits::default(), V5, connect, QoS::AtLeastOnce, id);
        if connect.receive_maximum.is_some() {
            assert!(scene.delivers_plainly(view(QoS::AtLeastOnce, b"x")));
            scene.heard(SUBSCRIBER);
        }
        let before = scene.shard.counters;
        assert_eq!(scene.delivers_plainly(message), is_plain, "{what}");
        assert_eq!(
            (!scene.heard(SUBSCRIBER).is_empty(), scene.shard.counters != before),
            (is_plain, is_plain),
            "{what}"
        );
    }
}

/// A message with RETAIN, to whom that is shown and to whom it is not; not to who is away.
#[test]
fn a_plain_message_has_the_retain_flag_that_its_receiver_sees() {
    let mut scene = Scene::usual(Limits::default());
    let retained = MessageView { retain: true, ..view(QoS::AtMostOnce, b"xx") };
    let mut delivery = scene.delivery();
    for retain_as_published in [false, true, false] {
        delivery.retain_as_published = retain_as_published;
        let mut carrier = scene.shard.carrier(retained);
        assert!(scene.shard.deliver_plainly(&delivery, &mut carrier, &mut scene.outbox).is_some());
        let mut expected = Vec::new();
        let publish = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: retain_as_published,
            topic: "t",
            packet_id: 0,
            properties: PublishProperties::EMPTY,
            payload: b"xx",
        };
        publish.encode(V5, &mut expected);
        assert_eq!(scene.heard(SUBSCRIBER), expected);
    }
    let own = Own::Nothing;
    let delivery = Delivery { own, ..delivery };
    let mut carrier = scene.shard.carrier(retained);
    assert!(scene.shard.deliver_plainly(&delivery, &mut carrier, &mut scene.outbox).is_none(), "No Local");
}

/// Unsent bytes at the bound are not above it.
#[test]
fn nothing_is_sent_plainly_to_a_slow_reader() {
    for (egress_bytes_max, backlog_bytes, is_plain) in [
        (10, 10, true),
        (10, 11, false),
        (1 << 20, UNLOOKED_BACKLOG_BYTES, true),
        (1 << 20, UNLOOKED_BACKLOG_BYTES + 1, false),
    ] {
        let mut scene = Scene::usual(Limits { egress_bytes_max, ..Limits::default() });
        scene.outbox.egress.buffer(SUBSCRIBER.slot).resize(backlog_bytes, 0);
        assert_eq!(scene.delivers_plainly(view(QoS::AtMostOnce, b"x")), is_plain, "{backlog_bytes} bytes");
    }
}

/// A packet that was received is sent on as it is to who wants it in its layout, with the packet id of each, and encoded for
/// the others.
#[test]
fn a_packet_that_was_received_is_sent_on_with_the_packet_id_of_its_receiver() {
    for (publisher, subscriber) in [(V311, V311), (V5, V5), (V311, V5), (V5, V311)] {
        let connect = Connect::new(subscriber, "subscriber");
        let mut scene = Scene::new(Limits::default(), publisher, connect, QoS::ExactlyOnce, None);
        for (packet_id, qos) in [(1, QoS::AtLeastOnce), (2, QoS::ExactlyOnce)] {
            let bytes = packet(publisher, qos, 0x0708, "t", 3);
            let taken = scene.shard.receive_run(NOW, PUBLISHER, &bytes, &mut scene.outbox);
            assert_eq!(taken, bytes.len());
            assert_eq!(scene.heard(SUBSCRIBER), packet(subscriber, qos, packet_id, "t", 3));
        }
    }
}
