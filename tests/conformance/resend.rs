//! Quality of Service towards the client (sections 4.3, 4.4, 4.6): the broker is the sender.
//!
//! Duty: packet ids, both handshakes, repetition after a reconnect, order. Must not: test what a client publishes (`qos`), or
//! windows and queues (`flow_control`). Neighbours: `peer`.

use ringmq::wire::{Connect, Packet, ReasonCode};

use super::broker::{Broker, everywhere};
use super::packets::*;

/// [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.3-1] [MQTT-4.3.3-2] [v3.1.1 MQTT-4.3.2-1] [v3.1.1 MQTT-4.3.3-1]
/// [v3.1.1 MQTT-2.3.1-1]: packet ids are not 0 and not in use.
#[test]
fn the_broker_gives_each_message_a_packet_id_of_its_own() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V311, "bob");
        bob.subscribe("a", Q2);
        for packet_id in 1..=200 {
            // Three of four are of QoS 2, so that even ids are of either QoS.
            if packet_id % 4 == 0 {
                ann.send(qos1(1, "a", "x"));
                ann.expect(puback(1));
                bob.expect(qos1(packet_id, "a", "x"));
            } else {
                ann.send(qos2(1, "a", "x"));
                ann.expect(pubrec(1));
                ann.send(pubrel(1));
                ann.expect(pubcomp(1));
                bob.expect(qos2(packet_id, "a", "x"));
            }
        }
        // The odd ones are acknowledged, so only they may be used again.
        for packet_id in (1..=200).step_by(2) {
            bob.send(pubrec(packet_id));
            bob.expect(pubrel(packet_id));
            bob.send(pubcomp(packet_id));
        }
        let mut given: Vec<u16> = (2..=200).step_by(2).collect();
        for _ in 0..100 {
            ann.send(qos1(1, "a", "x"));
            ann.expect(puback(1));
            given.push(bob.hear_packet(|packet| match packet {
                Packet::Publish(publish) => publish.packet_id,
                other => panic!("{other:?}"),
            }));
        }
        assert!(!given.contains(&0));
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), 200);
    });
}

/// Case Q06: the circle of packet ids closes without 0 and without one in use.
#[test]
fn packet_ids_run_around_past_the_end() {
    let broker = Broker::with(1, ringmq::limits::Limits::default());
    let ann = broker.connect(V311, "ann");
    ann.subscribe("a", Q1);
    for number in 0..65_600_u32 {
        let packet_id = (number % 65_535 + 1) as u16;
        ann.send(qos1(1, "a", "x"));
        let mut heard = [ann.hear(), ann.hear()];
        heard.sort();
        assert_eq!(heard, [qos1(packet_id, "a", "x").bytes(V311), puback(1).bytes(V311)]);
        ann.send(puback(packet_id));
    }
}

/// [MQTT-4.4.0-1]: never on the same connection.
#[test]
fn nothing_is_repeated_while_the_connection_stands() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q2);
        ann.send(qos1(1, "a", "x"));
        ann.expect(puback(1));
        ann.send(qos2(2, "a", "y"));
        ann.expect(pubrec(2));
        bob.expect(qos1(1, "a", "x"));
        bob.expect(qos2(2, "a", "y"));
        bob.send(pubrec(2));
        bob.expect(pubrel(2));
        broker.at(3600);
        bob.expect_alive();
        bob.expect_nothing();
    });
}

/// [MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-4.6.0-1] [MQTT-4.3.3-6] [MQTT-3.1.2-5] [v3.1.1 MQTT-4.4.0-1] [v3.1.1 MQTT-3.3.1-1]
/// [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.3.3-5] [v3.1.1 MQTT-4.6.0-1] [v3.1.1 MQTT-3.1.2-4] [v3.1.1 MQTT-2.3.1-3]
/// [v3.1.1 MQTT-2.3.1-4] [v3.1.1 MQTT-4.3.2-1] [v3.1.1 MQTT-4.3.3-1]: original packet ids, original order, DUP; PUBREL where
/// PUBREC had come.
#[test]
fn what_is_unacknowledged_is_repeated_on_the_next_connection() {
    everywhere(|broker| {
        for version in DIALECTS {
            let ann = broker.connect(V5, "ann");
            let bob = broker.join(lasting(version, "bob", 100));
            bob.subscribe("a", Q2);
            for (packet_id, payload) in [(1, "one"), (2, "two"), (3, "three"), (4, "four"), (5, "five")] {
                if packet_id % 2 == 1 {
                    ann.send(qos1(packet_id, "a", payload));
                    ann.expect(puback(packet_id));
                    bob.expect(qos1(packet_id, "a", payload));
                } else {
                    ann.send(qos2(packet_id, "a", payload));
                    ann.expect(pubrec(packet_id));
                    bob.expect(qos2(packet_id, "a", payload));
                }
            }
            bob.send(puback(3));
            bob.send(pubrec(4));
            bob.expect(pubrel(4));
            bob.vanish();
            let bob = broker.dial(version);
            bob.send(lasting(version, "bob", 100));
            bob.expect_admission(version != V31);
            bob.expect(qos1(1, "a", "one").again());
            bob.expect(qos2(2, "a", "two").again());
            bob.expect(pubrel(4));
            bob.expect(qos1(5, "a", "five").again());
            bob.expect_nothing();
            bob.send(puback(1));
            bob.send(pubrec(2));
            bob.expect(pubrel(2));
            bob.send(pubcomp(2));
            bob.send(pubcomp(4));
            bob.send(puback(5));
            bob.vanish();
            let bob = broker.dial(version);
            bob.send(lasting(version, "bob", 100));
            bob.expect_admission(version != V31);
            bob.expect_nothing();
            bob.leave();
            broker.connect(version, "bob").leave();
            ann.leave();
        }
    });
}

/// [MQTT-4.3.2-2] [MQTT-4.5.0-1] [MQTT-3.2.0-1] [v3.1.1 MQTT-3.1.2-5]
/// [v3.1.1 MQTT-3.2.0-1]: after CONNACK, what was never sent is sent without DUP, in order, after what was.
#[test]
fn messages_that_waited_for_the_client_are_sent_for_the_first_time() {
    everywhere(|broker| {
        for version in DIALECTS {
            let ann = broker.connect(V5, "ann");
            let bob = broker.join(lasting(version, "bob", 100));
            bob.subscribe("a", Q1);
            ann.send(qos1(1, "a", "sent"));
            ann.expect(puback(1));
            bob.expect(qos1(1, "a", "sent"));
            bob.vanish();
            for payload in ["one", "two", "three"] {
                ann.send(qos1(1, "a", payload));
                ann.expect(puback(1));
            }
            let bob = broker.dial(version);
            bob.send(lasting(version, "bob", 100));
            bob.expect_admission(version != V31);
            bob.expect(qos1(1, "a", "sent").again());
            bob.expect(qos1(2, "a", "one"));
            bob.expect(qos1(3, "a", "two"));
            bob.expect(qos1(4, "a", "three"));
            bob.leave();
            broker.connect(version, "bob").leave();
            ann.leave();
        }
    });
}

/// [MQTT-4.3.3-4] [MQTT-4.3.3-6] [MQTT-2.2.1-5] [v3.1.1 MQTT-2.3.1-6]
/// [v3.1.1 MQTT-4.3.3-1]: a repeated PUBREC is answered by PUBREL again, never by PUBLISH.
#[test]
fn a_repeated_pubrec_is_answered_by_pubrel_again() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q2);
        ann.send(qos2(1, "a", "x"));
        ann.expect(pubrec(1));
        bob.expect(qos2(1, "a", "x"));
        for _ in 0..3 {
            bob.send(pubrec(1));
            bob.expect(pubrel(1));
        }
        bob.send(pubcomp(1));
        bob.send(pubcomp(1));
        bob.expect_alive();
    });
}

/// [MQTT-4.4.0-2]: a refused message is done.
#[test]
fn a_message_that_the_client_refuses_is_not_repeated() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe("a", Q2);
        ann.send(qos1(1, "a", "x"));
        ann.expect(puback(1));
        ann.send(qos2(2, "a", "y"));
        ann.expect(pubrec(2));
        bob.expect(qos1(1, "a", "x"));
        bob.expect(qos2(2, "a", "y"));
        bob.send(because(ReasonCode::UnspecifiedError, puback(1)));
        bob.send(because(ReasonCode::QuotaExceeded, pubrec(2)));
        bob.expect_nothing();
        bob.vanish();
        broker.rejoin(lasting(V5, "bob", 100)).expect_nothing();
    });
}

/// [MQTT-3.6.2-1]: so that a client that has lost count comes to an end.
#[test]
fn a_pubrec_that_is_unknown_is_answered() {
    everywhere(|broker| {
        for version in DIALECTS {
            let bob = broker.connect(version, "bob");
            bob.send(pubrec(9));
            bob.expect(because(ReasonCode::PacketIdentifierNotFound, pubrel(9)));
            bob.send(pubcomp(9));
            bob.expect_alive();
        }
    });
}

/// [MQTT-4.6.0-4] [v3.1.1 MQTT-4.6.0-4]: the order is that of the PUBREC packets, not that of the messages.
#[test]
fn pubrels_leave_in_the_order_of_the_pubrecs() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q2);
        for packet_id in 1..=3 {
            ann.send(qos2(packet_id, "a", "x"));
            ann.expect(pubrec(packet_id));
            bob.expect(qos2(packet_id, "a", "x"));
        }
        let order = [2, 3, 1];
        bob.send_bytes(&order.map(|packet_id| pubrec(packet_id).bytes(V5)).concat());
        for packet_id in order {
            bob.expect(pubrel(packet_id));
        }
    });
}

/// [MQTT-4.4.0-1]: a window that was acknowledged before it was repeated is open again.
#[test]
fn a_window_acknowledged_before_its_repetition_is_open_again() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe("a", Q1);
        for payload in ["one", "two", "three"] {
            ann.send(qos1(1, "a", payload));
            ann.expect(puback(1));
            bob.hear();
        }
        bob.vanish();
        let bob = broker.rejoin(Connect { receive_maximum: Some(1), ..lasting(V5, "bob", 100) });
        bob.expect(qos1(1, "a", "one").again());
        for packet_id in [3, 2, 1] {
            bob.send(puback(packet_id));
        }
        ann.send(qos1(1, "a", "four"));
        ann.expect(puback(1));
        bob.expect(qos1(4, "a", "four"));
    });
}

/// Case Q07: an acknowledgement of nothing is harmless.
#[test]
fn a_puback_or_pubcomp_that_is_unknown_is_ignored() {
    everywhere(|broker| {
        for version in DIALECTS {
            let bob = broker.connect(version, "bob");
            bob.send(puback(1));
            bob.send(pubcomp(0xffff));
            bob.expect_alive();
        }
    });
}

/// Case Q07: an acknowledgement of the other kind is a protocol error, and the message is still owed.
#[test]
fn an_acknowledgement_of_the_other_kind_ends_the_connection() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        for (qos, ack) in [(Q1, pubrec(1)), (Q1, pubcomp(1)), (Q2, puback(1)), (Q2, pubcomp(1))] {
            let bob = broker.join(lasting(V5, "bob", 100));
            bob.subscribe("a", qos);
            ann.send(qos2(1, "a", "x"));
            ann.expect(pubrec(1));
            ann.send(pubrel(1));
            ann.expect(pubcomp(1));
            bob.hear();
            bob.send(ack);
            bob.expect_disconnect(ReasonCode::ProtocolError);
            let bob = broker.rejoin(lasting(V5, "bob", 100));
            bob.expect(if qos == Q1 { qos1(1, "a", "x").again() } else { qos2(1, "a", "x").again() });
            bob.leave();
            broker.connect(V5, "bob").leave();
        }
    });
}

/// [MQTT-4.6.0-1]: acknowledged before it was repeated, it is not repeated.
#[test]
fn an_acknowledgement_may_come_before_the_repetition() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe("a", Q1);
        for payload in ["one", "two", "three"] {
            ann.send(qos1(1, "a", payload));
            ann.expect(puback(1));
        }
        (0..3).for_each(|_| drop(bob.hear()));
        bob.vanish();
        let bob = broker.rejoin(Connect { receive_maximum: Some(1), ..lasting(V5, "bob", 100) });
        bob.expect(qos1(1, "a", "one").again());
        bob.send(puback(2));
        bob.expect_nothing();
        bob.send(puback(1));
        bob.expect(qos1(3, "a", "three").again());
        bob.send(puback(3));
        ann.send(qos1(1, "a", "four"));
        ann.expect(puback(1));
        bob.expect(qos1(4, "a", "four"));
    });
}
