//! PUBLISH from one client to others (section 3.3).
//!
//! Duty: who gets a message, with which QoS, whatever the dialects and the shards. Must not: test handshakes (`qos`) or
//! retained messages (`retained`). Neighbours: `peer`.

use ringmq::limits::Limits;
use ringmq::wire::{Connect, Packet, QoS, ReasonCode};

use super::broker::{Broker, everywhere};
use super::packets::*;
use super::peer::Peer;

/// Publishes with a QoS and completes the handshake on the side of the sender.
fn publish_fully(peer: &Peer, packet_id: u16, qos: QoS, topic: &str, payload: &str) {
    match qos {
        Q0 => peer.send(qos0(topic, payload)),
        Q1 => {
            peer.send(qos1(packet_id, topic, payload));
            peer.expect(puback(packet_id));
        }
        Q2 => {
            peer.send(qos2(packet_id, topic, payload));
            peer.expect(pubrec(packet_id));
            peer.send(pubrel(packet_id));
            peer.expect(pubcomp(packet_id));
        }
    }
}

/// [MQTT-3.8.4-8] [MQTT-3.3.4-1] [MQTT-3.3.1-2] [MQTT-4.3.1-1] [v3.1.1 MQTT-3.8.4-6] [v3.1.1 MQTT-3.3.4-1]
/// [v3.1.1 MQTT-4.3.1-1] [v3.1.1 MQTT-3.3.1-2] [MQTT-2.2.1-2] [v3.1.1 MQTT-2.3.1-5]: the lower of both, in all dialects and combinations.
#[test]
fn a_message_is_delivered_with_the_lower_qos_of_publication_and_subscription() {
    everywhere(|broker| {
        for (from, to) in DIALECTS.into_iter().flat_map(|from| DIALECTS.map(|to| (from, to))) {
            for (sent, granted) in [Q0, Q1, Q2].into_iter().flat_map(|sent| [Q0, Q1, Q2].map(|granted| (sent, granted)))
            {
                let ann = broker.connect(from, "ann");
                let bob = broker.connect(to, "bob");
                bob.subscribe("a/b", granted);
                publish_fully(&ann, 7, sent, "a/b", "x");
                match sent.min(granted) {
                    Q0 => bob.expect(qos0("a/b", "x")),
                    Q1 => bob.expect(qos1(1, "a/b", "x")),
                    Q2 => bob.expect(qos2(1, "a/b", "x")),
                }
                ann.leave();
                bob.leave();
            }
        }
    });
}

/// [MQTT-3.3.2-3] [MQTT-4.7.1-1] [MQTT-4.7.1-2] [v3.1.1 MQTT-3.3.2-3] [v3.1.1 MQTT-4.7.1-2] [v3.1.1 MQTT-4.7.1-3]: the
/// examples of section 4.7.1 and their neighbours.
#[test]
fn filters_match_as_section_4_7_says() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        for (filter, matching, others) in [
            ("sport/#", &["sport", "sport/", "sport/a", "sport/a/b"][..], &["sports", "/sport", "a/sport"][..]),
            ("#", &["a", "/", "a/b/c", "/a"], &[]),
            ("sport/+", &["sport/a", "sport/"], &["sport", "sport/a/b"]),
            ("+", &["a"], &["/a", "a/b", "/"]),
            ("+/+", &["/a", "a/", "/", "a/b"], &["a", "a/b/c"]),
            ("/+", &["/a", "/"], &["a", "/a/b"]),
            ("+/tennis/#", &["a/tennis", "a/tennis/b", "/tennis"], &["tennis", "tennis/a", "a/b/tennis"]),
            ("a//b", &["a//b"], &["a/b", "a/x/b", "a///b"]),
            ("a/+/b", &["a//b", "a/x/b"], &["a/b"]),
        ] {
            let bob = broker.connect(V5, "bob");
            bob.subscribe(filter, Q0);
            for topic in matching {
                ann.send(qos0(topic, filter));
                bob.expect(qos0(topic, filter));
            }
            for topic in others {
                ann.send(qos0(topic, filter));
                bob.expect_nothing();
            }
            bob.leave();
        }
    });
}

/// [MQTT-4.7.3-4] [MQTT-1.5.4-3] [v3.1.1 MQTT-4.7.3-4] [v3.1.1 MQTT-1.5.3-3]: no normalization, no folding, no stripping.
#[test]
fn topics_are_compared_and_passed_on_byte_by_byte() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V311, "bob");
        bob.subscribe("\u{e9}/\u{feff}a", Q0);
        bob.subscribe("ACCOUNTS", Q0);
        for other in ["e\u{301}/\u{feff}a", "\u{e9}/a", "accounts", "Accounts", "ACCOUNTS/", "ACCOUNTS "] {
            ann.send(qos0(other, "x"));
            bob.expect_nothing();
        }
        ann.send(qos0("\u{e9}/\u{feff}a", "x"));
        bob.expect(qos0("\u{e9}/\u{feff}a", "x"));
    });
}

/// Cases A18 and A19: clients may not publish there, and nobody hears of it.
#[test]
fn a_publication_to_a_dollar_topic_is_denied() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        for filter in ["#", "+/x", "$SYS/#", "$SYS/x"] {
            bob.subscribe(filter, Q2);
        }
        let ann = broker.connect(V5, "ann");
        ann.send(qos0("$SYS/x", "x"));
        ann.send(qos1(1, "$SYS/x", "x").retained());
        ann.expect(because(ReasonCode::NotAuthorized, puback(1)));
        ann.send(qos2(2, "$SYS/x", "x"));
        ann.expect(because(ReasonCode::NotAuthorized, pubrec(2)));
        let old = broker.connect(V311, "cat");
        old.send(qos1(1, "$SYS/x", "x"));
        old.expect(puback(1));
        old.expect_alive();
        ann.expect_alive();
        bob.expect_nothing();
        assert_eq!(broker.count(|counters| counters.publishes_denied), 4);
        assert_eq!(broker.sizes().retained_messages, 0);
    });
}

/// [MQTT-3.4.2-1] [MQTT-3.5.2-1]: 5.0 hears that nobody wanted it, earlier dialects do not.
#[test]
fn a_publication_without_subscribers_is_acknowledged_as_such() {
    everywhere(|broker| {
        for version in DIALECTS {
            let ann = broker.connect(version, "ann");
            ann.send(qos1(1, "nobody", "x"));
            ann.expect(unmatched(puback(1)));
            ann.send(qos2(2, "nobody", "x"));
            ann.expect(unmatched(pubrec(2)));
            ann.send(pubrel(2));
            ann.expect(pubcomp(2));
        }
        assert_eq!(broker.count(|counters| counters.unmatched), 6);
    });
}

/// Section 3.3: a client that subscribes to what it publishes gets it.
#[test]
fn a_client_hears_itself() {
    everywhere(|broker| {
        for version in DIALECTS {
            let bob = broker.connect(version, "bob");
            bob.subscribe("a", Q0);
            bob.send(qos0("a", "x"));
            bob.expect(qos0("a", "x"));
        }
    });
}

/// [MQTT-4.5.0-1] [v3.1.1 MQTT-4.5.0-1]: every matching session gets its copy, on every shard.
#[test]
fn every_subscriber_gets_a_message() {
    everywhere(|broker| {
        let peers = ["ann", "bob", "cat", "dan"].map(|client_id| broker.connect(V5, client_id));
        peers.iter().for_each(|peer| peer.subscribe("a/+", Q1));
        peers[0].send(qos1(1, "a/b", "x"));
        let mut heard = [peers[0].hear(), peers[0].hear()];
        heard.sort();
        assert_eq!(heard, [qos1(1, "a/b", "x").bytes(V5), puback(1).bytes(V5)]);
        peers[1..].iter().for_each(|peer| peer.expect(qos1(1, "a/b", "x")));
    });
}

/// Section 3.3.3: a payload may be empty, and need not be text.
#[test]
fn an_empty_payload_is_a_message() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V311, "bob");
        bob.subscribe("a", Q1);
        ann.send(qos1(1, "a", ""));
        ann.expect(puback(1));
        bob.expect(qos1(1, "a", ""));
    });
}

/// Section 3.3.3: large payloads take another way through the broker (by reference) and arrive as they were, in order.
#[test]
fn payloads_of_all_sizes_arrive_whole_and_in_order() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V311, "bob");
        let cat = broker.connect(V5, "cat");
        bob.subscribe("a", Q1);
        cat.subscribe("a", Q0);
        let payloads: Vec<String> = [0, 1, 120, 130, 4095, 4096, 4097, 16_384, 100_000, 10]
            .iter()
            .enumerate()
            .map(|(index, length)| char::from(b'a' + index as u8).to_string().repeat(*length))
            .collect();
        let said: Vec<u8> = payloads.iter().flat_map(|payload| qos0("a", payload).bytes(V5)).collect();
        ann.send_bytes(&said);
        for payload in &payloads {
            bob.expect(qos0("a", payload));
            cat.expect(qos0("a", payload));
            ann.send(qos1(1, "a", payload));
            ann.expect(puback(1));
        }
        for (index, payload) in payloads.iter().enumerate() {
            bob.expect(qos1(index as u16 + 1, "a", payload));
            cat.expect(qos0("a", payload));
        }
    });
}

/// [MQTT-4.6.0-5] [MQTT-4.6.0-6] [v3.1.1 MQTT-4.6.0-5] [v3.1.1 MQTT-4.6.0-6], case Q13.
#[test]
fn messages_of_one_publisher_arrive_in_the_order_of_their_sending() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q2);
        let payloads: Vec<String> = (0..300).map(|number| number.to_string()).collect();
        let said: Vec<u8> =
            payloads.iter().zip(1..).flat_map(|(payload, packet_id)| qos1(packet_id, "a", payload).bytes(V5)).collect();
        ann.send_bytes(&said);
        for (payload, packet_id) in payloads.iter().zip(1..) {
            ann.expect(puback(packet_id));
            bob.expect(qos1(packet_id, "a", payload));
        }
    });
}

/// [MQTT-3.3.1-3] [v3.1.1 MQTT-3.3.1-3]: DUP belongs to one hop.
#[test]
fn dup_is_not_passed_on() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q2);
        ann.send(qos1(1, "a", "x").again());
        ann.expect(puback(1));
        bob.expect(qos1(1, "a", "x"));
        ann.send(qos2(2, "a", "y").again());
        ann.expect(pubrec(2));
        bob.expect(qos2(2, "a", "y"));
    });
}

/// Case X01: a full mesh queue stops the reading of publishers, loses nothing and keeps the order.
#[test]
fn a_publisher_waits_for_a_full_mesh() {
    let broker = Broker::with(2, Limits { mesh_publishes_max: 10, ..Limits::default() });
    let ann = broker.connect(V5, "ann");
    let bob = broker.connect(V5, "bob");
    bob.subscribe("a", Q0);
    broker.hold_mesh();
    let payloads: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    payloads.iter().for_each(|payload| ann.send(qos0("a", payload)));
    assert_eq!(broker.count(|counters| counters.publishes_received.sum()), 10);
    ann.send_hex("c000");
    ann.expect_nothing();
    broker.release_mesh();
    payloads.iter().for_each(|payload| bob.expect(qos0("a", payload)));
    ann.expect(Packet::Pingresp);
}

/// Case X01: while we do not read, the silence is ours.
#[test]
fn a_publisher_that_is_not_read_is_not_closed_for_its_silence() {
    let broker = Broker::with(2, Limits { mesh_publishes_max: 1, ..Limits::default() });
    let ann = broker.join(Connect { keep_alive_secs: 10, ..Connect::new(V5, "ann") });
    let bob = broker.connect(V5, "bob");
    bob.subscribe("a", Q0);
    broker.hold_mesh();
    ann.send(qos0("a", "1"));
    ann.send(qos0("a", "2"));
    broker.at(60);
    assert!(ann.is_open());
    broker.release_mesh();
    bob.expect(qos0("a", "1"));
    bob.expect(qos0("a", "2"));
    broker.at(70);
    ann.expect_alive();
}

/// Case X03: a forward that finds nobody any more is no error, and its publisher hears that nobody wanted it.
#[test]
fn a_forward_to_a_subscriber_who_has_left_is_unmatched() {
    let broker = Broker::of_two();
    let ann = broker.connect(V5, "ann");
    let bob = broker.connect(V5, "bob");
    bob.subscribe("a", Q1);
    broker.hold_mesh();
    ann.send(qos1(1, "a", "x"));
    bob.leave();
    ann.expect_nothing();
    broker.release_mesh();
    ann.expect(unmatched(puback(1)));
    ann.send(qos1(2, "a", "x"));
    ann.expect(unmatched(puback(2)));
    assert_eq!(broker.sizes().subscriptions, 0);
}
