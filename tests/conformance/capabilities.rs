//! What the broker can do, and says so by saying nothing (sections 3.2.2.3.4 to 3.2.2.3.13, 7).
//!
//! Duty: statements that bind a broker with less: here they hold because nothing is announced as missing, so these tests fail
//! when something is announced or missing. Must not: test the capabilities in depth (the other chapters). Neighbours: `peer`.

use ringmq::wire::{Connect, LastWill, Packet, Property, ReasonCode};

use super::broker::everywhere;
use super::packets::*;

/// [MQTT-3.2.2-9] [MQTT-3.2.2-10] [MQTT-3.2.2-12] [MQTT-3.2.2-13]: no Maximum QoS and no Retain Available are announced, so
/// every QoS is granted and every will taken.
#[test]
fn every_qos_and_retained_wills_are_available() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        bob.send(subscribe(1).to("a", Q0).to("b", Q1).to("c", Q2).to("gone", Q2));
        bob.expect(suback(1, &[0, 1, 2, 2]));
        let ann = broker.dial(V5);
        let last_will = LastWill { retain: true, ..will(Q2, "gone", "ann") };
        ann.send(Connect { last_will: Some(last_will), ..Connect::new(V5, "ann") });
        ann.hear_packet(|packet| {
            let Packet::Connack(connack) = packet else { panic!("{packet:?}") };
            assert_eq!(connack.reason, ReasonCode::Success);
            assert_eq!((connack.maximum_qos, connack.retain_available), (None, None));
        });
        ann.send(qos2(1, "c", "x"));
        ann.expect(pubrec(1));
        bob.expect(qos2(1, "c", "x"));
        ann.vanish();
        bob.expect(qos2(2, "gone", "ann"));
        assert_eq!(broker.sizes().retained_messages, broker.shards());
    });
}

/// [v3.1.1 MQTT-3.8.3-2] and sections 3.2.2.3.11 to 3.2.2.3.13: wildcards, identifiers and shared subscriptions are served.
#[test]
fn every_kind_of_subscription_is_available() {
    everywhere(|broker| {
        for version in DIALECTS {
            let bob = broker.connect(version, "bob");
            bob.send(subscribe(1).to("a/+", Q0).to("b/#", Q0).to("#", Q0).to("+", Q0).to("$share/g/c/+", Q0));
            bob.expect(suback(1, &[0; 5]));
            bob.leave();
        }
        let bob = broker.dial(V5);
        bob.send(Connect::new(V5, "bob"));
        bob.hear_packet(|packet| {
            let Packet::Connack(connack) = packet else { panic!("{packet:?}") };
            assert_eq!(connack.wildcard_subscription_available, None);
            assert_eq!(connack.subscription_identifiers_available, None);
            assert_eq!(connack.shared_subscription_available, None);
        });
        bob.send(subscribe(1).to("a", Q0).numbered(7));
        bob.expect(suback(1, &[0]));
        broker.connect(V5, "ann").send(qos0("a", "x"));
        bob.expect(qos0("a", "x").with(&[Property::SubscriptionIdentifier(7)]));
    });
}

/// [v3.1.1 MQTT-7.0.0-2]: a client that knows the specification and nothing of us, written byte by byte.
#[test]
fn a_client_needs_nothing_but_the_specification() {
    everywhere(|broker| {
        for (client_id, conversation) in [
            (
                "3.1",
                &[
                    ("101000064d51497364700302000a0002 3131", "20020000"),
                    ("82060001000161 01", "9003000101"),
                    ("3206000161000278", "40020002 3206000161000178"),
                    ("40020001", ""),
                    ("a2050003000161", "b0020003"),
                    ("c000", "d000"),
                ][..],
            ),
            (
                "3.1.1",
                &[
                    ("100e00044d5154540402000a0002 3131", "20020000"),
                    ("82060001000161 01", "9003000101"),
                    ("3206000161000278", "40020002 3206000161000178"),
                    ("40020001", ""),
                    ("a2050003000161", "b0020003"),
                    ("c000", "d000"),
                ],
            ),
            (
                "5.0",
                &[
                    ("100f00044d5154540502000a000002 3131", "200e00000b2104002701000000220040"),
                    ("8207000100000161 01", "900400010001"),
                    ("320700016100020078", "40020002 320700016100010078"),
                    ("40020001", ""),
                    ("a206000300000161", "b00400030000"),
                    ("c000", "d000"),
                ],
            ),
        ] {
            let peer = broker.dial(if client_id == "5.0" { V5 } else { V311 });
            for (said, answers) in conversation {
                peer.send_hex(&said.replace(' ', ""));
                let mut expected: Vec<Vec<u8>> = answers.split_whitespace().map(hex).collect();
                let mut heard: Vec<Vec<u8>> = expected.iter().map(|_| peer.hear()).collect();
                expected.sort();
                heard.sort();
                assert_eq!(heard, expected, "{client_id}: {said}");
            }
            peer.send_hex("e000");
            peer.expect_close();
        }
    });
}
