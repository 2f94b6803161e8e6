//! Maximum Packet Size of a client, and the messages it keeps out (sections 3.1.2.11.4 and 4.9).
//!
//! Duty: exactly that one message is left out, for exactly that client, and window, packet ids and queue are as if it had been
//! delivered. Must not: test answers that are too large (`explanations`). Neighbours: `peer`; `flow_control` has the first
//! tests of the bound.

use ringmq::shard::DropReason;
use ringmq::wire::{Connect, Property, ReasonCode};

use super::broker::everywhere;
use super::packets::*;

/// Too large for a client that takes 20 bytes, whatever the QoS.
const LARGE: &str = "a payload of more than twenty bytes";

fn small<'a>(connect: Connect<'a>) -> Connect<'a> {
    Connect { maximum_packet_size: Some(20), ..connect }
}

/// [MQTT-3.1.2-25] [MQTT-3.3.4-7]: a window of one is not used up by what was left out, nor is a packet id.
#[test]
fn a_message_left_out_takes_no_quota_and_no_packet_id() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(small(Connect { receive_maximum: Some(1), ..Connect::new(V5, "bob") }));
        bob.subscribe("a", Q2);
        for (packet_id, payload) in [(1, LARGE), (2, "x"), (3, LARGE), (4, LARGE), (5, "y"), (6, LARGE), (7, "z")] {
            ann.send(qos2(packet_id, "a", payload));
            ann.expect(pubrec(packet_id));
        }
        for (packet_id, payload) in [(1, "x"), (2, "y"), (3, "z")] {
            bob.expect(qos2(packet_id, "a", payload));
            bob.expect_nothing();
            bob.send(pubrec(packet_id));
            bob.expect(pubrel(packet_id));
            bob.send(pubcomp(packet_id));
        }
        bob.expect_nothing();
        assert_eq!(broker.count(|counters| counters.dropped_for(DropReason::TooLarge)), 4);
    });
}

/// [MQTT-3.1.2-25]: the same of what waited while the client was away, and of retained messages.
#[test]
fn what_waited_and_is_too_large_is_left_out() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe("a", Q1);
        bob.vanish();
        for payload in [LARGE, "x", LARGE, "y"] {
            ann.send(qos1(1, "a", payload));
            ann.expect(puback(1));
        }
        ann.send(qos0("r/1", LARGE).retained());
        ann.send(qos0("r/2", "kept").retained());
        let bob = broker.rejoin(small(Connect { receive_maximum: Some(1), ..lasting(V5, "bob", 100) }));
        bob.expect(qos1(2, "a", "x"));
        bob.send(puback(2));
        bob.expect(qos1(4, "a", "y"));
        bob.send(puback(4));
        bob.subscribe("r/#", Q0);
        bob.expect(qos0("r/2", "kept").retained());
        bob.vanish();
        broker.rejoin(lasting(V5, "bob", 100)).expect_nothing();
    });
}

/// [MQTT-3.1.2-25]: one copy is left out; other clients and the publisher notice nothing.
#[test]
fn only_the_client_that_is_too_small_goes_without() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let peers = ["bob", "cat", "dan"].map(|client_id| {
            let connect = Connect::new(V5, client_id);
            broker.join(if client_id == "cat" { small(connect) } else { connect })
        });
        peers.iter().for_each(|peer| peer.subscribe("a", Q1));
        ann.send(qos1(1, "a", LARGE));
        ann.expect(puback(1));
        peers[0].expect(qos1(1, "a", LARGE));
        peers[1].expect_nothing();
        peers[2].expect(qos1(1, "a", LARGE));
    });
}

/// [MQTT-3.1.2-24]: identifiers and expiry, which the broker adds, count as well.
#[test]
fn what_the_broker_adds_counts_for_the_size() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(small(Connect::new(V5, "bob")));
        bob.send(subscribe(1).to("a", Q0).numbered(268_435_455));
        bob.expect(suback(1, &[0]));
        let added = [Property::SubscriptionIdentifier(268_435_455)];
        // Fixed header 2, topic 3, properties 1 + 5: nine bytes are left.
        ann.send(qos0("a", "123456789"));
        bob.expect(qos0("a", "123456789").with(&added));
        ann.send(qos0("a", "1234567890"));
        bob.expect_nothing();
        ann.send(qos0("a", "12345").with(&[Property::MessageExpiryInterval(9)]));
        bob.expect_nothing();
    });
}

/// [MQTT-3.1.2-24]: the maximum belongs to the connection: the next one may take more.
#[test]
fn each_connection_has_its_own_maximum() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(small(lasting(V5, "bob", 100)));
        bob.subscribe("a", Q0);
        ann.send(qos0("a", LARGE));
        bob.expect_nothing();
        let large = broker.rejoin(lasting(V5, "bob", 100));
        bob.expect_disconnect(ReasonCode::SessionTakenOver);
        ann.send(qos0("a", LARGE));
        large.expect(qos0("a", LARGE));
    });
}
