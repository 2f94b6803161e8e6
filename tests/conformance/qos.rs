//! Quality of Service from the client (sections 3.4 to 3.7, 4.3, 4.6): the broker is the receiver.
//!
//! Duty: both handshakes, their order, what is owed to a publisher. Must not: test the other direction (`resend`), or windows
//! and queues (`flow_control`). Neighbours: `peer`.

use ringmq::limits::Limits;
use ringmq::wire::{Property, ReasonCode};

use super::broker::{Broker, everywhere};
use super::packets::*;

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

/// [MQTT-4.3.3-8] [MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-4.3.3-12] [MQTT-2.2.1-5] [v3.1.1 MQTT-4.3.3-2], cases Q01 and Q03.
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

/// Case O07 for retained messages: what is kept is stored, whoever hears it; QoS 0 promises nothing.
#[test]
fn an_acknowledgement_waits_until_a_retained_message_is_stored() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        broker.hold_store();
        ann.send(qos0("a", "x").retained());
        assert_eq!(broker.sizes().acks_waiting, 0);
        ann.send(qos1(1, "a", "y").retained());
        ann.expect_nothing();
        broker.release_store(true);
        ann.expect(unmatched(puback(1)));
    });
}

/// Case O07 for shared subscriptions: the member is one whose session outlives its connection.
#[test]
fn an_acknowledgement_waits_for_the_store_of_a_groups_member() {
    everywhere(|broker| {
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe("$share/g/a", Q1);
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

/// What is not yet acknowledged is counted, whoever has to answer: the store here, the other shard and its store.
#[test]
fn acknowledgements_that_wait_are_counted() {
    for (shards, waiting) in [(1, 2), (2, 6)] {
        let broker = Broker::with(shards, Limits::default());
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe("a", Q1);
        let cat = broker.join(lasting(V5, "cat", 100));
        cat.subscribe("a", Q1);
        let ann = broker.connect(V5, "ann");
        broker.hold_store();
        ann.send(qos1(1, "a", "x"));
        ann.send(qos1(2, "a", "x"));
        assert_eq!(broker.sizes().acks_waiting, waiting, "{shards} shards");
        broker.release_store(true);
        assert_eq!(broker.sizes().acks_waiting, 0);
        [&ann, &bob, &cat].into_iter().for_each(|peer| peer.ignore_rest());
    }
}

/// The store is waited for where a session that outlives its connection keeps the message, and nowhere else; a message takes the
/// long way if it expires.
#[test]
fn who_keeps_nothing_is_not_waited_for() {
    for properties in [&[][..], &[Property::MessageExpiryInterval(60)]] {
        everywhere(|broker| {
            let bob = broker.join(lasting(V5, "bob", 100));
            bob.subscribe("a", Q0);
            let cat = broker.connect(V5, "cat");
            cat.subscribe("a", Q1);
            let ann = broker.connect(V5, "ann");
            broker.hold_store();
            ann.send(qos1(1, "a", "x").with(properties));
            ann.expect(puback(1));
            broker.release_store(true);
            bob.ignore_rest();
            cat.ignore_rest();
        });
    }
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
        old.expect_close();
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

/// [MQTT-4.3.3-10] [MQTT-4.3.3-8]: a repetition that comes before the PUBREC of the first is one message and one PUBREC more.
#[test]
fn a_repetition_before_the_pubrec_is_no_second_message() {
    for is_marked in [true, false] {
        let broker = Broker::of_two();
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q2);
        broker.hold_mesh();
        ann.send(qos2(5, "a", "x"));
        ann.send(if is_marked { qos2(5, "a", "x").again() } else { qos2(5, "a", "x") });
        ann.expect_nothing();
        broker.release_mesh();
        bob.expect(qos2(1, "a", "x"));
        bob.expect_nothing();
        ann.expect(pubrec(5));
        ann.ignore_rest();
        ann.send(pubrel(5));
        ann.expect(pubcomp(5));
        ann.send(qos2(5, "a", "new"));
        bob.expect(qos2(2, "a", "new"));
        ann.expect(pubrec(5));
    }
}

/// [MQTT-4.3.3-10] [MQTT-4.3.3-12]: many handshakes at once, in any order of their ends, are told apart.
#[test]
fn each_qos_2_packet_id_has_its_own_handshake() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q0);
        for packet_id in [7, 3, 0xffff, 1] {
            ann.send(qos2(packet_id, "a", "x"));
            ann.expect(pubrec(packet_id));
            bob.expect(qos0("a", "x"));
        }
        for (ended, open) in [(3, [7, 0xffff, 1]), (1, [7, 0xffff, 7]), (7, [0xffff; 3])] {
            ann.send(pubrel(ended));
            ann.expect(pubcomp(ended));
            for packet_id in open {
                ann.send(qos2(packet_id, "a", "x").again());
                ann.expect(pubrec(packet_id));
            }
            bob.expect_nothing();
        }
        ann.send(qos2(3, "a", "y"));
        ann.expect(pubrec(3));
        bob.expect(qos0("a", "y"));
    });
}
