//! Bounds between a client and the broker, both ways (sections 3.1.2.11, 3.3.2.3.4, 4.9).
//!
//! Duty: Receive Maximum, Maximum Packet Size, topic aliases, queue limits, slow readers. Must not: test handshakes (`qos`).
//! Neighbours: `peer`.

use ringmq::limits::{Limits, QueueFull};
use ringmq::shard::DropReason;
use ringmq::wire::{Connect, Disconnect, Packet, Property, ReasonCode};

use super::broker::{Broker, everywhere, everywhere_with};
use super::packets::*;
use super::peer::Peer;

fn receiving(receive_maximum: u16, connect: Connect<'_>) -> Connect<'_> {
    Connect { receive_maximum: Some(receive_maximum), ..connect }
}

/// Publishes with QoS 1 and hears the acknowledgement.
fn tell(peer: &Peer, topic: &str, payload: &str) {
    peer.send(qos1(1, topic, payload));
    peer.expect(puback(1));
}

fn alias(number: u16) -> [Property<'static>; 1] {
    [Property::TopicAlias(number)]
}

// Receive Maximum.

/// [MQTT-3.3.4-7] [MQTT-4.9.0-1] [MQTT-4.9.0-2]: one in, one out; QoS 0 goes past.
#[test]
fn no_more_messages_are_in_flight_than_the_client_receives() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(receiving(2, Connect::new(V5, "bob")));
        bob.subscribe("a", Q1);
        for payload in ["1", "2", "3", "4"] {
            tell(&ann, "a", payload);
        }
        ann.send(qos0("a", "past"));
        bob.expect_all(&[&qos1(1, "a", "1"), &qos1(2, "a", "2"), &qos0("a", "past")]);
        bob.expect_nothing();
        bob.send(puback(2));
        bob.expect(qos1(3, "a", "3"));
        bob.expect_nothing();
        bob.send(puback(1));
        bob.expect(qos1(4, "a", "4"));
    });
}

/// [MQTT-3.3.4-7] [MQTT-4.9.0-3]: a QoS 2 message takes its place until PUBCOMP, or until it is refused.
#[test]
fn a_qos_2_message_is_in_flight_until_pubcomp() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(receiving(1, Connect::new(V5, "bob")));
        bob.subscribe("a", Q2);
        for packet_id in 1..=3 {
            ann.send(qos2(packet_id, "a", "x"));
            ann.expect(pubrec(packet_id));
        }
        bob.expect(qos2(1, "a", "x"));
        bob.send(pubrec(1));
        bob.expect(pubrel(1));
        bob.expect_nothing();
        bob.send(pubcomp(1));
        bob.expect(qos2(2, "a", "x"));
        bob.send(because(ReasonCode::UnspecifiedError, pubrec(2)));
        bob.expect(qos2(3, "a", "x"));
    });
}

/// Case Q06: whatever the client promises to take, ours is bounded too; 3.x promises nothing.
#[test]
fn our_own_bound_on_the_window_holds_as_well() {
    let limits = Limits { inflight_messages_max: 2, ..Limits::default() };
    for version in DIALECTS {
        everywhere_with(&limits, |broker| {
            let ann = broker.connect(V5, "ann");
            let bob = broker.connect(version, "bob");
            bob.subscribe("a", Q1);
            (0..3).for_each(|_| tell(&ann, "a", "x"));
            bob.expect_all(&[&qos1(1, "a", "x"), &qos1(2, "a", "x")]);
            bob.expect_nothing();
            bob.send(puback(1));
            bob.expect(qos1(3, "a", "x"));
        });
    }
}

/// [MQTT-4.9.0-1] [MQTT-3.3.4-7]: a resumed window keeps to the Receive Maximum of the new connection.
#[test]
fn a_resumed_window_keeps_to_the_new_receive_maximum() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe("a", Q1);
        for payload in ["1", "2", "3"] {
            tell(&ann, "a", payload);
        }
        bob.ignore_rest();
        bob.vanish();
        let bob = broker.rejoin(receiving(1, lasting(V5, "bob", 100)));
        for (packet_id, payload) in [(1, "1"), (2, "2"), (3, "3")] {
            bob.expect(qos1(packet_id, "a", payload).again());
            bob.expect_nothing();
            bob.send(puback(packet_id));
        }
        tell(&ann, "a", "4");
        bob.expect(qos1(4, "a", "4"));
    });
}

/// [MQTT-3.3.4-8], case Q02: at the limit and not before; QoS 2 counts until PUBREL.
#[test]
fn a_client_that_sends_above_our_receive_maximum_is_closed() {
    let limits = Limits { receive_maximum: 100, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let ann = broker.connect(V5, "ann");
        for packet_id in 1..=100 {
            ann.send(qos2(packet_id, "a", "x"));
            ann.expect(unmatched(pubrec(packet_id)));
        }
        ann.send(pubrel(50));
        ann.expect(pubcomp(50));
        ann.send(qos2(101, "a", "x"));
        ann.expect(unmatched(pubrec(101)));
        ann.expect_alive();
        ann.send(qos2(102, "a", "x"));
        ann.expect_disconnect(ReasonCode::ReceiveMaximumExceeded);
    });
}

/// [MQTT-3.3.4-8]: QoS 1 counts until PUBACK.
#[test]
fn qos_1_messages_count_until_their_puback() {
    let broker = Broker::with(2, Limits { receive_maximum: 2, ..Limits::default() });
    let ann = broker.connect(V5, "ann");
    let bob = broker.connect(V5, "bob");
    bob.subscribe("a", Q0);
    for packet_id in 1..=10 {
        ann.send(qos1(packet_id, "a", "x"));
        ann.expect(puback(packet_id));
    }
    broker.hold_mesh();
    (1..=2).for_each(|packet_id| ann.send(qos1(packet_id, "a", "x")));
    ann.expect_nothing();
    ann.send(qos1(3, "a", "x"));
    ann.expect_disconnect(ReasonCode::ReceiveMaximumExceeded);
    broker.release_mesh();
    bob.ignore_rest();
}

/// Section 4.9: earlier dialects were promised nothing, so nothing is held against them.
#[test]
fn before_5_0_no_receive_maximum_is_enforced() {
    let limits = Limits { receive_maximum: 2, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        for version in [V31, V311] {
            let ann = broker.connect(version, "ann");
            for packet_id in 1..=20 {
                ann.send(qos2(packet_id, "a", "x"));
                ann.expect(pubrec(packet_id));
            }
            ann.leave();
        }
    });
}

/// Section 4.9: send quota and Receive Maximum begin anew with each network connection.
#[test]
fn the_quota_begins_anew_with_each_connection() {
    let limits = Limits { receive_maximum: 2, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let ann = broker.join(lasting(V5, "ann", 100));
        for packet_id in 1..=2 {
            ann.send(qos2(packet_id, "a", "x"));
            ann.expect(unmatched(pubrec(packet_id)));
        }
        ann.vanish();
        let ann = broker.rejoin(lasting(V5, "ann", 100));
        for packet_id in 3..=4 {
            ann.send(qos2(packet_id, "a", "x"));
            ann.expect(unmatched(pubrec(packet_id)));
        }
        for packet_id in 1..=4 {
            ann.send(pubrel(packet_id));
            ann.expect(pubcomp(packet_id));
        }
        for packet_id in 5..=6 {
            ann.send(qos2(packet_id, "a", "x"));
            ann.expect(unmatched(pubrec(packet_id)));
        }
        ann.send(qos2(7, "a", "x"));
        ann.expect_disconnect(ReasonCode::ReceiveMaximumExceeded);
    });
}

// Maximum Packet Size.

/// [MQTT-3.1.2-24] [MQTT-3.1.2-25], case Q10: exactly the maximum is sent, one byte more is not, and nothing is held up.
#[test]
fn a_message_above_the_clients_maximum_packet_size_is_left_out() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(Connect { maximum_packet_size: Some(20), ..Connect::new(V5, "bob") });
        let cat = broker.connect(V5, "cat");
        bob.subscribe("a", Q1);
        cat.subscribe("a", Q1);
        // Fixed header 2, topic 3, packet id 2, no properties 1: 12 bytes are left for the payload.
        for (payload, packet_id) in [("0123456789ab", Some(1)), ("0123456789abc", None), ("x", Some(2))] {
            tell(&ann, "a", payload);
            if let Some(packet_id) = packet_id {
                bob.expect(qos1(packet_id, "a", payload));
            }
            bob.expect_nothing();
        }
        assert_eq!(broker.count(|counters| counters.dropped_for(DropReason::TooLarge)), 1);
        cat.ignore_rest();
    });
}

/// [MQTT-3.1.2-24] [MQTT-3.1.2-26]: an alias is left out where it would make the packet too large.
#[test]
fn an_alias_does_not_make_a_message_too_large() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let connect = Connect { maximum_packet_size: Some(20), topic_alias_maximum: 5, ..Connect::new(V5, "bob") };
        let bob = broker.join(connect);
        bob.subscribe("a", Q0);
        for payload in ["0123456789abcd", "0123456789abc"] {
            ann.send(qos0("a", payload));
            bob.expect(qos0("a", payload));
        }
        // The five bytes that an alias may take are just there.
        ann.send(qos0("a", "012345678"));
        bob.expect(qos0("a", "012345678").with(&alias(1)));
        ann.send(qos0("a", "short"));
        bob.expect(qos0("", "short").with(&alias(1)));
        ann.send(qos0("a", "0123456789abcd"));
        bob.expect(qos0("a", "0123456789abcd"));
    });
}

/// [MQTT-3.1.2-24] [MQTT-3.1.2-25] [MQTT-4.3.3-13]: a message that has become too large counts as sent and received.
#[test]
fn a_repetition_that_is_too_large_for_the_new_connection_is_given_up() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe("a", Q2);
        tell(&ann, "a", "a long payload of QoS 1");
        ann.send(qos2(2, "a", "a long payload of QoS 2"));
        ann.expect(pubrec(2));
        tell(&ann, "a", "short");
        bob.expect_all(&[&qos1(1, "a", "a long payload of QoS 1"), &qos2(2, "a", "a long payload of QoS 2")]);
        bob.expect(qos1(3, "a", "short"));
        bob.vanish();
        let bob = broker.rejoin(Connect { maximum_packet_size: Some(20), ..lasting(V5, "bob", 100) });
        bob.expect(pubrel(2));
        bob.expect(qos1(3, "a", "short").again());
        bob.send(because(ReasonCode::PacketIdentifierNotFound, pubcomp(2)));
        bob.send(puback(3));
        bob.vanish();
        broker.rejoin(lasting(V5, "bob", 100)).expect_nothing();
    });
}

/// [MQTT-3.2.2-15] and section 3.2.2.3.6: the limit itself is allowed, one byte more is 0x95, by the header alone.
#[test]
fn a_packet_above_our_maximum_packet_size_ends_the_connection() {
    let limits = Limits { packet_bytes_max: 1000, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        for version in DIALECTS {
            let head = qos0("a", "").bytes(version).len() + 1;
            let ann = broker.connect(version, "ann");
            ann.send(qos0("a", &"x".repeat(1000 - head)));
            ann.expect_alive();
            ann.send_bytes(&qos0("a", &"x".repeat(1001 - head)).bytes(version)[..3]);
            ann.expect_disconnect(ReasonCode::PacketTooLarge);
        }
    });
}

// Topic aliases.

/// [MQTT-3.3.2-12] and section 3.3.2.3.4: set, used, changed; subscribers get the topic.
#[test]
fn a_topic_alias_stands_for_its_topic() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V311, "bob");
        bob.subscribe("#", Q0);
        ann.send(qos0("a/long/topic", "1").with(&alias(64)));
        ann.send(qos0("", "2").with(&alias(64)));
        ann.send(qos0("another", "3").with(&alias(1)));
        ann.send(qos0("", "4").with(&alias(64)));
        ann.send(qos0("changed", "5").with(&alias(64)));
        ann.send(qos1(9, "", "6").with(&alias(64)));
        ann.send(qos0("", "7").with(&alias(1)));
        ann.expect(puback(9));
        for (topic, payload) in [
            ("a/long/topic", "1"),
            ("a/long/topic", "2"),
            ("another", "3"),
            ("a/long/topic", "4"),
            ("changed", "5"),
            ("changed", "6"),
            ("another", "7"),
        ] {
            bob.expect(qos0(topic, payload));
        }
    });
}

/// [MQTT-3.3.2-10] [MQTT-3.3.2-7] [MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.2.2-17], cases W42 and W43.
#[test]
fn an_alias_unknown_to_the_connection_or_out_of_range_ends_it() {
    everywhere(|broker| {
        let ann = broker.join(lasting(V5, "ann", 100));
        ann.send(qos0("a", "x").with(&alias(1)));
        ann.vanish();
        for (number, topic, reason) in [
            (1, "", ReasonCode::ProtocolError),
            (0, "a", ReasonCode::TopicAliasInvalid),
            (65, "a", ReasonCode::TopicAliasInvalid),
            (65, "", ReasonCode::TopicAliasInvalid),
        ] {
            let ann = broker.rejoin(lasting(V5, "ann", 100));
            ann.send(qos0(topic, "x").with(&alias(number)));
            ann.expect_disconnect(reason);
        }
    });
}

/// [MQTT-3.2.2-18]: none are announced, none are taken.
#[test]
fn without_aliases_in_the_limits_none_is_taken() {
    let limits = Limits { topic_alias_max: 0, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let ann = broker.dial(V5);
        ann.send(Connect::new(V5, "ann"));
        ann.hear_packet(|packet| {
            let Packet::Connack(connack) = packet else { panic!("{packet:?}") };
            assert_eq!(connack.topic_alias_maximum, None);
        });
        ann.send(qos0("a", "x").with(&alias(1)));
        ann.expect_disconnect(ReasonCode::TopicAliasInvalid);
    });
}

/// [MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-8] [MQTT-3.3.2-11]
/// [MQTT-3.3.2-10]: within the client's maximum, and anew on each connection.
#[test]
fn the_broker_uses_aliases_within_the_clients_maximum() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let cat = broker.connect(V5, "cat");
        cat.subscribe("+", Q0);
        let connect = Connect { topic_alias_maximum: 2, ..lasting(V5, "bob", 100) };
        let bob = broker.join(connect);
        bob.subscribe("+", Q0);
        let publish = |topics: &[&str]| topics.iter().for_each(|topic| ann.send(qos0(topic, "x")));
        publish(&["a", "b", "c", "a", "b", "c"]);
        bob.expect_all(&[
            &qos0("a", "x").with(&alias(1)),
            &qos0("b", "x").with(&alias(2)),
            &qos0("c", "x"),
            &qos0("", "x").with(&alias(1)),
            &qos0("", "x").with(&alias(2)),
            &qos0("c", "x"),
        ]);
        bob.vanish();
        let bob = broker.rejoin(connect);
        publish(&["b", "b"]);
        bob.expect_all(&[&qos0("b", "x").with(&alias(1)), &qos0("", "x").with(&alias(1))]);
        for topic in ["a", "b", "c", "a", "b", "c", "b", "b"] {
            cat.expect(qos0(topic, "x"));
        }
    });
}

/// [MQTT-3.3.1-1] [MQTT-3.3.2-10]: a repetition names its topic on the new connection.
#[test]
fn a_repetition_carries_its_topic_again() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let connect = Connect { topic_alias_maximum: 5, ..lasting(V5, "bob", 100) };
        let bob = broker.join(connect);
        bob.subscribe("a", Q1);
        tell(&ann, "a", "1");
        tell(&ann, "a", "2");
        bob.expect_all(&[&qos1(1, "a", "1").with(&alias(1)), &qos1(2, "", "2").with(&alias(1))]);
        bob.vanish();
        let bob = broker.rejoin(connect);
        bob.expect_all(&[&qos1(1, "a", "1").again().with(&alias(1)), &qos1(2, "", "2").again().with(&alias(1))]);
        bob.vanish();
        let bob = broker.rejoin(lasting(V5, "bob", 100));
        bob.expect_all(&[&qos1(1, "a", "1").again(), &qos1(2, "a", "2").again()]);
    });
}

// Queues.

/// Case Q05: a full queue refuses, and the publisher is told as far as its dialect can.
#[test]
fn a_full_queue_is_told_to_the_publisher() {
    for limits in
        [Limits { queued_messages_max: 2, ..Limits::default() }, Limits { queued_bytes_max: 4, ..Limits::default() }]
    {
        everywhere_with(&limits, |broker| {
            let bob = broker.join(lasting(V5, "bob", 100));
            bob.subscribe("a", Q1);
            bob.vanish();
            let ann = broker.connect(V5, "ann");
            tell(&ann, "a", "1");
            tell(&ann, "a", "2");
            ann.send(qos1(3, "a", "3"));
            ann.expect(because(ReasonCode::QuotaExceeded, puback(3)));
            ann.send(qos2(4, "a", "4"));
            ann.expect(because(ReasonCode::QuotaExceeded, pubrec(4)));
            let old = broker.connect(V311, "dan");
            old.send(qos1(1, "a", "5"));
            old.expect_close();
            let cat = broker.connect(V5, "cat");
            cat.subscribe("a", Q0);
            ann.send(qos1(6, "a", "6"));
            ann.expect(puback(6));
            cat.expect(qos0("a", "6"));
            let bob = broker.rejoin(lasting(V5, "bob", 100));
            bob.expect_all(&[&qos1(1, "a", "1"), &qos1(2, "a", "2")]);
            bob.expect_nothing();
            assert_eq!(broker.count(|counters| counters.dropped_for(DropReason::QueueFull)), 4);
        });
    }
}

/// Case Q05: the other two policies say success, and keep the oldest or the newest.
#[test]
fn a_full_queue_drops_by_its_policy() {
    for (queue_full, kept) in
        [(QueueFull::DropNewest, [(1, "1"), (2, "2")]), (QueueFull::DropOldest, [(3, "3"), (4, "4")])]
    {
        let limits = Limits { queued_messages_max: 2, queue_full, ..Limits::default() };
        everywhere_with(&limits, |broker| {
            let bob = broker.join(lasting(V5, "bob", 100));
            bob.subscribe("a", Q1);
            bob.vanish();
            let ann = broker.connect(V5, "ann");
            for payload in ["1", "2", "3", "4"] {
                tell(&ann, "a", payload);
            }
            let bob = broker.rejoin(lasting(V5, "bob", 100));
            // Packet ids follow from the place in the queue of a session that is kept.
            bob.expect_all(
                &kept.map(|(packet_id, payload)| qos1(packet_id, "a", payload)).each_ref().map(|one| one as _),
            );
            bob.expect_nothing();
            assert_eq!(broker.count(|counters| counters.dropped_for(DropReason::QueueFull)), 2);
        });
    }
}

/// Case Q05: a client that is connected and acknowledges nothing fills its queue as one that is away.
#[test]
fn a_client_that_never_acknowledges_fills_its_queue_and_no_more() {
    let limits = Limits { queued_messages_max: 3, backpressure_ms_max: 0, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let bob = broker.join(receiving(2, Connect::new(V5, "bob")));
        bob.subscribe("a", Q1);
        let ann = broker.connect(V5, "ann");
        (0..5).for_each(|_| tell(&ann, "a", "x"));
        ann.send(qos1(9, "a", "x"));
        ann.expect(because(ReasonCode::QuotaExceeded, puback(9)));
        bob.expect_all(&[&qos1(1, "a", "x"), &qos1(2, "a", "x")]);
        bob.send(puback(1));
        bob.expect(qos1(3, "a", "x"));
        tell(&ann, "a", "y");
        bob.ignore_rest();
    });
}

// Slow readers.

/// Case R05: what a reader does not take is dropped above the bound, counted, and only for this reader.
#[test]
fn a_reader_that_does_not_read_loses_qos_0_messages() {
    let limits = Limits { egress_bytes_max: 10_000, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        let dan = broker.connect(V5, "dan");
        bob.subscribe("a", Q0);
        dan.subscribe("a", Q0);
        bob.stop_reading();
        let payload = "x".repeat(1000);
        for _ in 0..100 {
            ann.send(qos0("a", &payload));
            dan.expect(qos0("a", &payload));
        }
        bob.resume_reading();
        let heard = (0..).take_while(|_| bob.try_hear().is_some()).count();
        assert!((9..12).contains(&heard), "{heard}");
        assert_eq!(broker.count(|counters| counters.dropped_for(DropReason::SlowReader)), 100 - heard as u64);
        ann.send(qos0("a", "again"));
        bob.expect(qos0("a", "again"));
        dan.expect(qos0("a", "again"));
    });
}

/// Case R05: QoS 1 and 2 messages for a reader that does not read wait in its session, and come in order.
#[test]
fn a_reader_that_does_not_read_loses_no_qos_1_messages() {
    let limits = Limits { egress_bytes_max: 10_000, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let ann = broker.connect(V311, "ann");
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q1);
        bob.stop_reading();
        let payloads: Vec<String> = (0..100).map(|number| format!("{number:0>1000}")).collect();
        for payload in &payloads {
            tell(&ann, "a", payload);
        }
        bob.resume_reading();
        for (payload, packet_id) in payloads.iter().zip(1..) {
            bob.expect(qos1(packet_id, "a", payload));
        }
        bob.expect_nothing();
    });
}

/// Case R05: retained messages of a large subscription wait as well.
#[test]
fn a_replay_waits_for_a_reader_that_does_not_read() {
    let limits = Limits { egress_bytes_max: 10_000, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let ann = broker.connect(V311, "ann");
        let payload = "x".repeat(5000);
        (0..50).for_each(|number| ann.send(qos0(&format!("a/{number}"), &payload).retained()));
        let bob = broker.connect(V5, "bob");
        bob.stop_reading();
        bob.send(subscribe(1).to("#", Q0));
        bob.resume_reading();
        bob.expect(suback(1, &[0]));
        assert_eq!((0..).take_while(|_| bob.try_hear().is_some()).count(), 50);
    });
}

/// Section 4 of the design: a client whose answers pile up is not read until half is gone; then all is answered.
#[test]
fn a_client_that_takes_no_answers_is_not_read() {
    let limits = Limits { egress_control_bytes_max: 100, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let bob = broker.connect(V5, "bob");
        let ann = broker.connect(V5, "ann");
        ann.subscribe("a", Q0);
        bob.stop_reading();
        for _ in 0..200 {
            bob.send(Packet::Pingreq);
        }
        bob.send(qos0("a", "x"));
        ann.expect_nothing();
        bob.resume_reading();
        (0..200).for_each(|_| bob.expect(Packet::Pingresp));
        ann.expect(qos0("a", "x"));
        bob.leave();
    });
}

/// [MQTT-4.9.0-3] [MQTT-3.3.4-9]: everything but PUBLISH goes on while the quota is zero.
#[test]
fn all_other_packets_pass_a_full_window() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(receiving(1, Connect::new(V5, "bob")));
        bob.subscribe("a", Q1);
        tell(&ann, "a", "1");
        tell(&ann, "a", "2");
        bob.expect(qos1(1, "a", "1"));
        bob.send(subscribe(2).to("b", Q0));
        bob.expect(suback(2, &[0]));
        bob.send(qos1(3, "nobody", "x"));
        bob.expect(unmatched(puback(3)));
        bob.send(unsubscribe(4, &["b"]));
        bob.expect(unsuback(4, &[0]));
        bob.expect_alive();
        bob.send(Disconnect::new(ReasonCode::Success));
        bob.expect_close();
    });
}

/// [MQTT-3.3.4-8]: a repetition takes no second place, and QoS 0 none at all: at the limit the client is not closed by them.
#[test]
fn repetitions_and_qos_0_do_not_count_for_our_receive_maximum() {
    let limits = Limits { receive_maximum: 3, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let ann = broker.connect(V5, "ann");
        for packet_id in 1..=3 {
            ann.send(qos2(packet_id, "a", "x"));
            ann.expect(unmatched(pubrec(packet_id)));
        }
        for packet_id in [1, 2, 3, 1, 2, 3] {
            ann.send(qos2(packet_id, "a", "x").again());
            ann.expect(pubrec(packet_id));
            ann.send(qos0("a", "x"));
        }
        ann.expect_alive();
        ann.send(qos1(4, "a", "x"));
        ann.expect_disconnect(ReasonCode::ReceiveMaximumExceeded);
    });
}

/// [MQTT-3.3.2-9] [MQTT-3.3.2-7]: an alias out of range is refused before anything of its message is done, for every QoS.
#[test]
fn a_message_with_a_bad_alias_reaches_nobody() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        bob.subscribe("#", Q2);
        for number in [0, 65, u16::MAX] {
            for publish in [qos0("a", "x"), qos1(1, "a", "x"), qos2(1, "a", "x").retained()] {
                let ann = broker.connect(V5, "ann");
                ann.send(publish.with(&alias(number)));
                ann.expect_disconnect(ReasonCode::TopicAliasInvalid);
            }
        }
        bob.expect_nothing();
        assert_eq!(broker.sizes().retained_messages, 0);
    });
}
