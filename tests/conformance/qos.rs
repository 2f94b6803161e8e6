//! Quality of Service (sections 3.4 to 3.7, 4.3, 4.4, 4.6).
//!
//! Duty: both handshakes in both directions, repetition after a reconnect, order. Must not: test windows and queues
//! (`flow_control`). Neighbours: `peer`.

use ringmq::wire::{Connect, Packet, ReasonCode};

use super::broker::{Broker, everywhere};
use super::packets::*;

// From the client.

/// [MQTT-4.3.2-4] [MQTT-2.2.1-5] [v3.1.1 MQTT-4.3.2-2] [v3.1.1 MQTT-2.3.1-6].
#[test]
fn a_qos_1_message_is_acknowledged_by_its_packet_id() {
    everywhere(|broker| {
        for version in DIALECTS {
            let ann = broker.connect(version, "ann");
            let bob = broker.connect(version, "bob");
            bob.subscribe("a", Q0);
            for packet_id in [1, 2, 0x1234, 0xffff] {
                ann.send(qos1(packet_id, "a", "x"));
                ann.expect(puback(packet_id));
                bob.expect(qos0("a", "x"));
            }
        }
    });
}

/// [MQTT-4.3.2-5]: after PUBACK the same packet id is a new message, whatever DUP says.
#[test]
fn a_qos_1_packet_id_means_a_new_message_after_its_puback() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q0);
        for publish in [qos1(1, "a", "x"), qos1(1, "a", "x"), qos1(1, "a", "x").again()] {
            ann.send(publish);
            ann.expect(puback(1));
            bob.expect(qos0("a", "x"));
        }
    });
}

/// [MQTT-4.3.3-8] [MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-4.3.3-12] [v3.1.1 MQTT-4.3.3-2], cases Q01 and Q03.
#[test]
fn a_qos_2_message_is_delivered_once_however_often_it_comes() {
    everywhere(|broker| {
        for version in DIALECTS {
            let ann = broker.connect(version, "ann");
            let bob = broker.connect(version, "bob");
            bob.subscribe("a", Q0);
            ann.send(qos2(5, "a", "x"));
            ann.expect(pubrec(5));
            bob.expect(qos0("a", "x"));
            for publish in [qos2(5, "a", "x").again(), qos2(5, "a", "x"), qos2(5, "a", "other")] {
                ann.send(publish);
                ann.expect(pubrec(5));
            }
            bob.expect_nothing();
            ann.send(pubrel(5));
            ann.expect(pubcomp(5));
            ann.send(qos2(5, "a", "new").again());
            ann.expect(pubrec(5));
            bob.expect(qos0("a", "new"));
        }
    });
}

/// Case Q01: one entry, however often.
#[test]
fn a_qos_2_packet_id_repeated_without_end_takes_one_place() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        ann.send(qos2(5, "a", "x"));
        ann.expect(unmatched(pubrec(5)));
        for _ in 0..5000 {
            ann.send(qos2(5, "a", "x").again());
            ann.expect(pubrec(5));
        }
        // Receive Maximum is 1024: all the others still fit.
        for packet_id in 1001..1024 + 1000 {
            ann.send(qos2(packet_id, "a", "x"));
            ann.expect(unmatched(pubrec(packet_id)));
        }
        ann.expect_alive();
    });
}

/// [MQTT-3.7.2-1] [MQTT-4.3.3-11], case W71: 5.0 is told that the packet id is unknown, and nothing ends.
#[test]
fn a_pubrel_that_is_unknown_is_answered() {
    everywhere(|broker| {
        for version in DIALECTS {
            let ann = broker.connect(version, "ann");
            ann.send(pubrel(7));
            ann.expect(because(ReasonCode::PacketIdentifierNotFound, pubcomp(7)));
            ann.expect_alive();
        }
    });
}

/// [MQTT-4.3.3-11], case Q07: the second PUBREL is answered as the first.
#[test]
fn a_repeated_pubrel_is_answered_again() {
    everywhere(|broker| {
        let ann = broker.connect(V311, "ann");
        ann.send(qos2(1, "a", "x"));
        ann.expect(pubrec(1));
        for _ in 0..3 {
            ann.send(pubrel(1));
            ann.expect(pubcomp(1));
        }
    });
}

/// [MQTT-4.3.3-10] [MQTT-4.1.0-1] [v3.1.1 MQTT-3.1.2-4] [v3.1.1 MQTT-4.1.0-1]: the packet ids belong to the session.
#[test]
fn a_qos_2_message_is_delivered_once_across_a_reconnect() {
    everywhere(|broker| {
        for version in DIALECTS {
            let bob = broker.connect(V5, "bob");
            bob.subscribe("a", Q0);
            let ann = broker.join(lasting(version, "ann", 100));
            ann.send(qos2(5, "a", "x"));
            ann.expect(pubrec(5));
            bob.expect(qos0("a", "x"));
            ann.vanish();
            let ann = broker.dial(version);
            ann.send(lasting(version, "ann", 100));
            ann.expect_admission(version != V31);
            ann.send(qos2(5, "a", "x").again());
            ann.expect(pubrec(5));
            ann.send(pubrel(5));
            ann.expect(pubcomp(5));
            bob.expect_nothing();
            ann.leave();
            let fresh = broker.connect(version, "ann");
            fresh.leave();
        }
    });
}

/// [MQTT-4.3.3-9]: after a refusal the packet id means a new message.
#[test]
fn a_qos_2_packet_id_is_free_after_a_refusal() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q0);
        let ann = broker.connect(V5, "ann");
        ann.send(qos2(5, "$SYS/a", "x"));
        ann.expect(because(ReasonCode::NotAuthorized, pubrec(5)));
        ann.send(qos2(5, "a", "x"));
        ann.expect(pubrec(5));
        bob.expect(qos0("a", "x"));
    });
}

/// [MQTT-4.6.0-2] [MQTT-4.6.0-3] [v3.1.1 MQTT-4.6.0-2] [v3.1.1 MQTT-4.6.0-3]: the answer that is ready waits for the one before.
#[test]
fn acknowledgements_leave_in_the_order_of_the_messages() {
    for version in DIALECTS {
        let broker = Broker::of_two();
        let ann = broker.connect(version, "ann");
        let bob = broker.connect(version, "bob");
        let cat = broker.connect(version, "cat");
        bob.subscribe("far", Q0);
        cat.subscribe("near", Q0);
        broker.hold_mesh();
        ann.send(qos1(1, "far", "x"));
        ann.send(qos2(2, "near", "x"));
        ann.send(qos1(3, "near", "x"));
        ann.send(qos1(4, "nobody", "x"));
        cat.expect(qos0("near", "x"));
        cat.expect(qos0("near", "x"));
        ann.expect_nothing();
        broker.release_mesh();
        bob.expect(qos0("far", "x"));
        ann.expect(puback(1));
        ann.expect(pubrec(2));
        ann.expect(puback(3));
        ann.expect(unmatched(puback(4)));
    }
}

/// [MQTT-4.6.0-2] [MQTT-4.6.0-3]: a refusal and a repetition keep their place in the order too.
#[test]
fn a_denied_publication_is_answered_in_its_turn() {
    let broker = Broker::of_two();
    let ann = broker.connect(V5, "ann");
    let bob = broker.connect(V5, "bob");
    bob.subscribe("far", Q0);
    ann.send(qos2(9, "nobody", "x"));
    ann.expect(unmatched(pubrec(9)));
    broker.hold_mesh();
    ann.send(qos1(1, "far", "x"));
    ann.send(qos1(2, "$SYS/x", "x"));
    ann.send(qos2(3, "$SYS/x", "x"));
    ann.send(qos2(9, "nobody", "x").again());
    ann.expect_nothing();
    broker.release_mesh();
    bob.expect(qos0("far", "x"));
    ann.expect(puback(1));
    ann.expect(because(ReasonCode::NotAuthorized, puback(2)));
    ann.expect(because(ReasonCode::NotAuthorized, pubrec(3)));
    ann.expect(pubrec(9));
    ann.send(qos2(3, "nobody", "x"));
    ann.expect(unmatched(pubrec(3)));
}

/// Section 5 of the design: PUBACK means that every shard has the message.
#[test]
fn an_acknowledgement_waits_for_every_shard() {
    let broker = Broker::of_two();
    let ann = broker.connect(V5, "ann");
    let bob = broker.connect(V5, "bob");
    bob.subscribe("a", Q2);
    for publish in [qos1(1, "a", "x"), qos2(2, "a", "x")] {
        broker.hold_mesh();
        ann.send(publish);
        ann.expect_nothing();
        broker.release_mesh();
        bob.expect(publish);
        ann.expect(if publish.qos == Q1 { puback(1) } else { pubrec(2) });
    }
}

/// Case O07: a message for a session that outlives its connection is acknowledged when it is stored, and refused if not.
#[test]
fn an_acknowledgement_waits_for_the_store() {
    everywhere(|broker| {
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe("a", Q1);
        let ann = broker.connect(V5, "ann");
        broker.hold_store();
        ann.send(qos1(1, "a", "x"));
        bob.expect(qos1(1, "a", "x"));
        ann.expect_nothing();
        broker.release_store(true);
        ann.expect(puback(1));
        bob.send(puback(1));
    });
}

/// Case O07: what the store lost is not acknowledged as if it were safe.
#[test]
fn a_failed_store_is_told_to_the_publisher() {
    everywhere(|broker| {
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe("a", Q1);
        bob.vanish();
        let cat = broker.connect(V5, "cat");
        cat.subscribe("a", Q0);
        let ann = broker.connect(V5, "ann");
        let old = broker.connect(V311, "dan");
        broker.hold_store();
        for peer in [&ann, &old] {
            peer.send(qos1(1, "a", "x"));
            peer.send(qos2(2, "a", "x"));
            peer.expect_nothing();
        }
        broker.release_store(false);
        ann.expect(because(ReasonCode::QuotaExceeded, puback(1)));
        ann.expect(because(ReasonCode::QuotaExceeded, pubrec(2)));
        old.expect_nothing();
        cat.ignore_rest();
    });
}

/// [MQTT-4.3.2-4]: a repetition joins the acknowledgement that is owed; it is no second message.
#[test]
fn a_repetition_after_a_reconnect_joins_the_pending_acknowledgement() {
    for publish in [qos1(1, "a", "x"), qos2(1, "a", "x")] {
        let broker = Broker::of_two();
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q0);
        let ann = broker.join(lasting(V5, "ann", 100));
        broker.hold_mesh();
        ann.send(publish);
        ann.vanish();
        let ann = broker.rejoin(lasting(V5, "ann", 100));
        ann.send(publish.again());
        ann.expect_nothing();
        broker.release_mesh();
        bob.expect(qos0("a", "x"));
        bob.expect_nothing();
        ann.expect(if publish.qos == Q1 { puback(1) } else { pubrec(1) });
    }
}

/// Section 4.4: what was owed to a connection that is gone is not said to the next one.
#[test]
fn a_pending_acknowledgement_dies_with_its_connection() {
    let broker = Broker::of_two();
    let bob = broker.connect(V5, "bob");
    bob.subscribe("a", Q0);
    let ann = broker.join(lasting(V5, "ann", 100));
    broker.hold_mesh();
    ann.send(qos1(1, "a", "x"));
    ann.vanish();
    let ann = broker.rejoin(lasting(V5, "ann", 100));
    broker.release_mesh();
    bob.expect(qos0("a", "x"));
    ann.expect_nothing();
    ann.send(qos1(2, "a", "y"));
    ann.expect(puback(2));
    bob.expect(qos0("a", "y"));
}

// To the client.

/// [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.3-1] [MQTT-4.3.3-2] [v3.1.1 MQTT-4.3.2-1] [v3.1.1 MQTT-4.3.3-1]
/// [v3.1.1 MQTT-2.3.1-1]: packet ids are not 0 and not in use.
#[test]
fn the_broker_gives_each_message_a_packet_id_of_its_own() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V311, "bob");
        bob.subscribe("a", Q2);
        for packet_id in 1..=200 {
            ann.send(qos1(1, "a", "x"));
            ann.expect(puback(1));
            bob.expect(qos1(packet_id, "a", "x"));
        }
        // The odd ones are acknowledged, so only they may be used again.
        for packet_id in (1..=200).step_by(2) {
            bob.send(puback(packet_id));
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

/// [MQTT-4.4.0-1] [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.3.3-5]: never on the same connection.
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
/// [v3.1.1 MQTT-4.6.0-1] [v3.1.1 MQTT-3.1.2-4] [v3.1.1 MQTT-2.3.1-3]: original packet ids, original order, DUP; PUBREL where
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

/// [MQTT-4.3.2-2] [MQTT-4.5.0-1] [v3.1.1 MQTT-3.1.2-5]: what was never sent is sent without DUP, in order, after what was.
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

/// [MQTT-4.3.3-4] [MQTT-4.3.3-6] [v3.1.1 MQTT-4.3.3-1]: a repeated PUBREC is answered by PUBREL again, never by PUBLISH.
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
