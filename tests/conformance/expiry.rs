//! Message Expiry (section 3.3.2.3.3) where it meets handshakes, wills and the mesh.
//!
//! Duty: it counts down wherever a message waits, and never breaks a QoS 2 handshake. Must not: test plain queues
//! (`properties`) or retained messages (`retained`) again. Neighbours: `peer`.

use ringmq::wire::{Connect, LastWill, Property, PublishProperties, QoS, ReasonCode};

use super::broker::{Broker, everywhere};
use super::packets::*;

fn expiry(secs: u32) -> [Property<'static>; 1] {
    [Property::MessageExpiryInterval(secs)]
}

fn expiring_will(secs: u32, delay_secs: u32, qos: QoS) -> LastWill<'static> {
    let properties = PublishProperties { message_expiry_secs: Some(secs), ..PublishProperties::EMPTY };
    LastWill { properties, delay_secs, ..will(qos, "gone", "ann") }
}

/// [MQTT-4.3.3-13] [MQTT-4.3.3-7]: past PUBREC only PUBREL is left, and it is repeated however old the message is.
#[test]
fn a_handshake_past_its_pubrec_outlives_the_message() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(lasting(V5, "bob", 1000));
        bob.subscribe("a", Q2);
        ann.send(qos2(1, "a", "x").with(&expiry(10)));
        ann.expect(pubrec(1));
        bob.expect(qos2(1, "a", "x").with(&expiry(10)));
        bob.send(pubrec(1));
        bob.expect(pubrel(1));
        bob.vanish();
        for turn in 1..=3 {
            broker.at(20 * turn);
            let bob = broker.rejoin(lasting(V5, "bob", 1000));
            bob.expect(pubrel(1));
            bob.vanish();
        }
        let bob = broker.rejoin(lasting(V5, "bob", 1000));
        bob.expect(pubrel(1));
        bob.send(pubcomp(1));
        bob.vanish();
        broker.rejoin(lasting(V5, "bob", 1000)).expect_nothing();
    });
}

/// [MQTT-4.3.3-13] [MQTT-4.3.3-11]: the publisher's handshake goes on when nobody can get its message any more.
#[test]
fn the_publishers_handshake_outlives_its_message() {
    everywhere(|broker| {
        let bob = broker.join(lasting(V5, "bob", 1000));
        bob.subscribe("a", Q2);
        bob.vanish();
        let ann = broker.connect(V5, "ann");
        ann.send(qos2(1, "a", "x").with(&expiry(10)));
        ann.expect(pubrec(1));
        broker.at(60);
        ann.send(qos2(1, "a", "x").again().with(&expiry(10)));
        ann.expect(pubrec(1));
        ann.send(pubrel(1));
        ann.expect(pubcomp(1));
        broker.rejoin(lasting(V5, "bob", 1000)).expect_nothing();
        ann.send(qos2(2, "a", "y").with(&expiry(0)));
        ann.hear_packet(|packet| {
            let ringmq::wire::Packet::Ack(ack) = packet else { panic!("{packet:?}") };
            assert!(!ack.reason.is_error(), "{ack:?}");
        });
        ann.send(pubrel(2));
        ann.expect(pubcomp(2));
    });
}

/// [MQTT-3.3.2-6]: the lifetime of a will begins with its publication, and counts down in a queue as any other.
#[test]
fn a_will_counts_down_from_its_publication() {
    everywhere(|broker| {
        let bob = broker.join(lasting(V5, "bob", 1000));
        bob.subscribe("gone", Q1);
        bob.vanish();
        let ann = broker.join(Connect { last_will: Some(expiring_will(60, 0, Q1)), ..Connect::new(V5, "ann") });
        broker.at(100);
        ann.vanish();
        broker.at(115);
        let bob = broker.rejoin(lasting(V5, "bob", 1000));
        bob.expect(qos1(1, "gone", "ann").with(&expiry(45)));
    });
}

/// [MQTT-3.3.2-6] [MQTT-3.3.2-5] and section 3.1.3.2.2: a will that is delayed does not grow old by that; in a queue it does.
#[test]
fn a_delayed_will_is_as_young_as_its_publication() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        bob.subscribe("gone", Q0);
        let cat = broker.join(lasting(V5, "cat", 1000));
        cat.subscribe("gone", Q1);
        cat.vanish();
        let connect = lasting(V5, "ann", 1000);
        broker.join(Connect { last_will: Some(expiring_will(10, 50, Q1)), ..connect }).vanish();
        broker.at(49);
        bob.expect_nothing();
        broker.at(51);
        bob.expect(qos0("gone", "ann").with(&expiry(10)));
        broker.at(70);
        broker.rejoin(lasting(V5, "cat", 1000)).expect_nothing();
    });
}

/// [MQTT-3.3.2-6]: time in the queue behind a full window counts.
#[test]
fn a_message_behind_the_window_counts_down() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(Connect { receive_maximum: Some(1), ..Connect::new(V5, "bob") });
        bob.subscribe("a", Q2);
        for packet_id in 1..=2 {
            ann.send(qos2(packet_id, "a", "x").with(&expiry(100)));
            ann.expect(pubrec(packet_id));
        }
        bob.expect(qos2(1, "a", "x").with(&expiry(100)));
        broker.at(30);
        bob.send(because(ReasonCode::UnspecifiedError, pubrec(1)));
        bob.expect(qos2(2, "a", "x").with(&expiry(70)));
    });
}

/// [MQTT-3.3.2-6]: time on the way to another shard counts.
#[test]
fn a_message_that_travels_counts_down() {
    let broker = Broker::of_two();
    let ann = broker.connect(V5, "ann");
    let bob = broker.connect(V5, "bob");
    bob.subscribe("a", Q0);
    broker.hold_mesh();
    ann.send(qos0("a", "x").with(&expiry(100)));
    ann.send(qos0("a", "short").with(&expiry(5)));
    broker.at(10);
    broker.release_mesh();
    bob.expect(qos0("a", "x").with(&expiry(90)));
    bob.expect_nothing();
}

/// [MQTT-3.3.2-6] [MQTT-3.3.2-5]: a retained message is sent with what is left, and also from a queue where it waits on.
#[test]
fn a_retained_message_in_a_queue_counts_down_further() {
    everywhere(|broker| {
        broker.connect(V5, "ann").send(qos0("z", "x"));
        let ann = broker.connect(V5, "ann");
        ann.send(qos1(1, "a", "x").retained().with(&expiry(100)));
        ann.expect(unmatched(puback(1)));
        ann.send(qos1(2, "b", "y").retained().with(&expiry(100)));
        ann.expect(unmatched(puback(2)));
        broker.at(20);
        let bob = broker.join(Connect { receive_maximum: Some(1), ..Connect::new(V5, "bob") });
        bob.subscribe("a", Q1);
        bob.expect(qos1(1, "a", "x").retained().with(&expiry(80)));
        bob.subscribe("b", Q1);
        broker.at(50);
        bob.send(puback(1));
        bob.expect(qos1(2, "b", "y").retained().with(&expiry(50)));
    });
}
