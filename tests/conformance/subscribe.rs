//! SUBSCRIBE and SUBACK (sections 3.8 and 3.9).
//!
//! Duty: what is granted, replaced, merged; when SUBACK leaves. Must not: test retained messages (`retained`) or groups
//! (`shared`). Neighbours: `peer`.

use ringmq::limits::Limits;
use ringmq::wire::{Packet, QoS, ReasonCode, SubscriptionOptions};

use super::broker::{Broker, everywhere, everywhere_with};
use super::packets::*;

/// No Local, with this QoS.
fn no_local(qos: QoS) -> SubscriptionOptions {
    SubscriptionOptions { qos, no_local: true, ..SubscriptionOptions::default() }
}

/// [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.2-1] [MQTT-3.9.3-1] [MQTT-3.9.3-2]
/// [MQTT-2.2.1-6] [v3.1.1 MQTT-2.3.1-7] [v3.1.1 MQTT-3.8.4-1] [v3.1.1 MQTT-3.8.4-2] [v3.1.1 MQTT-3.8.4-4] [v3.1.1 MQTT-3.8.4-5]
/// [v3.1.1 MQTT-3.9.3-1] [v3.1.1 MQTT-3.9.3-2].
#[test]
fn a_suback_answers_every_filter_in_order() {
    everywhere(|broker| {
        for (version, invalid) in [(V31, 0x80), (V311, 0x80), (V5, 0x8f)] {
            let bob = broker.connect(version, "bob");
            bob.send(subscribe(0x1234).to("a", Q2).to("a/#/b", Q0).to("b", Q0).to("b+", Q1).to("c", Q1));
            bob.expect(suback(0x1234, &[2, invalid, 0, invalid, 1]));
            for topic in ["a", "b", "c"] {
                bob.send(qos0(topic, "x"));
                bob.expect(qos0(topic, "x"));
            }
        }
    });
}

/// [MQTT-4.7.1-1] [MQTT-4.7.1-2] [v3.1.1 MQTT-4.7.1-2] [v3.1.1 MQTT-4.7.1-3], cases W57 and W58.
#[test]
fn a_misplaced_wildcard_is_refused_and_not_stored() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        for filter in ["a/#/b", "a+/b", "a#", "#/a", "##", "++", "a/+b", "a/b#", "+a", "a/#/"] {
            bob.send(subscribe(1).to(filter, Q0));
            bob.expect(suback(1, &[0x8f]));
        }
        assert_eq!(broker.sizes().subscriptions, 0);
    });
}

/// Case R09: depth is bounded, at the limit and not before.
#[test]
fn a_filter_that_is_too_deep_is_refused() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        let deepest = vec!["a"; 200].join("/");
        let deeper = vec!["+"; 201].join("/");
        bob.send(subscribe(1).to(&deepest, Q0).to(&deeper, Q0));
        bob.expect(suback(1, &[0, 0x8f]));
        bob.send(qos0(&deepest, "x"));
        bob.expect(qos0(&deepest, "x"));
    });
}

/// [MQTT-3.8.4-3] [v3.1.1 MQTT-3.8.4-3]: one subscription per filter, the last one holds.
#[test]
fn a_second_subscription_to_a_filter_replaces_the_first() {
    everywhere(|broker| {
        for version in DIALECTS {
            let ann = broker.connect(V5, "ann");
            let bob = broker.connect(version, "bob");
            let mut packet_id = 0;
            for qos in [Q2, Q0, Q1, Q1] {
                bob.subscribe("a/+", qos);
                ann.send(qos2(1, "a/b", "x"));
                ann.expect(pubrec(1));
                ann.send(pubrel(1));
                ann.expect(pubcomp(1));
                packet_id += u16::from(qos != Q0);
                match qos {
                    Q0 => bob.expect(qos0("a/b", "x")),
                    Q1 => bob.expect(qos1(packet_id, "a/b", "x")),
                    Q2 => bob.expect(qos2(packet_id, "a/b", "x")),
                }
            }
            bob.expect_nothing();
            bob.send(unsubscribe(1, &["a/+"]));
            bob.expect(unsuback(1, &[0]));
            ann.send(qos0("a/b", "x"));
            bob.expect_nothing();
            assert_eq!(broker.sizes().subscriptions, 0);
        }
    });
}

/// [MQTT-3.8.4-4]: no message is lost or doubled by the replacement, wherever it is on its way.
#[test]
fn replacing_a_subscription_loses_nothing() {
    let broker = Broker::of_two();
    let ann = broker.connect(V5, "ann");
    let bob = broker.connect(V5, "bob");
    bob.subscribe("a", Q1);
    broker.hold_mesh();
    ann.send(qos1(1, "a", "one"));
    bob.send(subscribe(2).to("a", Q1));
    ann.send(qos1(2, "a", "two"));
    broker.release_mesh();
    bob.expect(suback(2, &[1]));
    bob.expect(qos1(1, "a", "one"));
    bob.expect(qos1(2, "a", "two"));
    ann.expect(puback(1));
    ann.expect(puback(2));
}

/// [MQTT-3.3.4-2] [v3.1.1 MQTT-3.3.5-1]: one copy, with the greatest QoS.
#[test]
fn overlapping_subscriptions_are_one_delivery_with_the_greatest_qos() {
    everywhere(|broker| {
        for version in DIALECTS {
            let ann = broker.connect(version, "ann");
            let bob = broker.connect(version, "bob");
            bob.subscribe("a/#", Q0);
            bob.subscribe("a/+", Q2);
            bob.subscribe("a/b", Q1);
            ann.send(qos2(1, "a/b", "x"));
            ann.expect(pubrec(1));
            bob.expect(qos2(1, "a/b", "x"));
            ann.send(qos2(2, "a/b/c", "x"));
            ann.expect(pubrec(2));
            bob.expect(qos0("a/b/c", "x"));
            bob.expect_nothing();
        }
    });
}

/// Section 3.8.3.1, No Local: not to the one who published, to everybody else.
#[test]
fn no_local_keeps_a_client_from_hearing_itself() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        for peer in [&ann, &bob] {
            peer.send(subscribe(1).with("a", no_local(Q0)));
            peer.expect(suback(1, &[0]));
        }
        bob.send(qos0("a", "from bob"));
        bob.expect_nothing();
        ann.expect(qos0("a", "from bob"));
        ann.send(qos1(1, "a", "from ann"));
        ann.expect(puback(1));
        bob.expect(qos0("a", "from ann"));
        ann.expect_nothing();
    });
}

/// Section 3.8.3.1, No Local: only its own subscription is silent; a publication that nobody else wants is unmatched.
#[test]
fn no_local_leaves_other_subscriptions_alone() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        bob.send(subscribe(1).with("a/#", no_local(Q2)).to("a/b", Q0));
        bob.expect(suback(1, &[2, 0]));
        bob.send(qos1(1, "a/b", "x"));
        let mut heard = [bob.hear(), bob.hear()];
        heard.sort();
        assert_eq!(heard, [qos0("a/b", "x").bytes(V5), puback(1).bytes(V5)]);
        bob.send(qos1(2, "a/c", "x"));
        bob.expect(unmatched(puback(2)));
    });
}

/// Section 3.8.3.1, No Local beside a subscription without: others' messages come by both, its own by one.
#[test]
fn overlapping_subscriptions_with_and_without_no_local_are_one_delivery_of_those_that_count() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        bob.send(subscribe(1).with("a/#", no_local(Q1)).numbered(7));
        bob.expect(suback(1, &[1]));
        bob.send(subscribe(2).to("a/b", Q0).numbered(8));
        bob.expect(suback(2, &[0]));
        ann.send(qos1(1, "a/b", "x"));
        ann.expect(puback(1));
        let heard = || {
            bob.hear_packet(|packet| match packet {
                Packet::Publish(publish) => (publish.qos, publish.properties.subscription_ids().collect::<Vec<_>>()),
                other => panic!("expected PUBLISH, got {other:?}"),
            })
        };
        assert_eq!(heard(), (Q1, vec![7, 8]));
        bob.send(puback(1));
        bob.send(qos0("a/b", "own"));
        assert_eq!(heard(), (Q0, vec![8]));
    });
}

/// [MQTT-3.10.4-2]: what is unsubscribed while its SUBACK waits replays nothing, also when it is subscribed to again; other
/// filters and other clients do not lose theirs.
#[test]
fn an_unsubscribed_filter_replays_nothing_for_its_suback_that_waits() {
    let broker = Broker::of_two();
    let ann = broker.connect(V5, "ann");
    for (packet_id, topic) in [(1, "a"), (2, "b")] {
        ann.send(qos1(packet_id, topic, "kept").retained());
    }
    ann.ignore_rest();
    let bob = broker.connect(V5, "bob");
    let dan = broker.connect(V5, "dan");
    broker.hold_mesh();
    bob.send(subscribe(1).to("a", Q0).to("b", Q0));
    dan.send(subscribe(2).to("a", Q0));
    bob.send(unsubscribe(3, &["a"]));
    broker.release_mesh();
    let heard = std::iter::from_fn(|| bob.try_hear()).collect::<Vec<_>>();
    let replayed = |topic: &[u8]| heard.iter().filter(|packet| packet[0] >> 4 == 3 && packet[4..5] == *topic).count();
    assert_eq!((replayed(b"a"), replayed(b"b"), heard.len()), (0, 1, 3), "{heard:02x?}");
    dan.expect(suback(2, &[0]));
    dan.expect(qos0("a", "kept").retained());
}

/// Case X02: after SUBACK every publication anywhere is delivered, so SUBACK waits for every shard.
#[test]
fn a_suback_waits_until_every_shard_knows_the_interest() {
    let broker = Broker::of_two();
    let ann = broker.connect(V5, "ann");
    let bob = broker.connect(V5, "bob");
    broker.hold_mesh();
    bob.send(subscribe(1).to("a", Q0).to("b", Q0));
    bob.expect_nothing();
    bob.expect_alive();
    bob.send(qos0("a", "own shard"));
    bob.expect(qos0("a", "own shard"));
    broker.release_mesh();
    bob.expect(suback(1, &[0, 0]));
    ann.send(qos0("a", "x"));
    ann.send(qos0("b", "x"));
    bob.expect(qos0("a", "x"));
    bob.expect(qos0("b", "x"));
}

/// Case X02: who comes second waits for the interest that is on its way, and later ones are served at once.
#[test]
fn a_later_subscriber_of_the_same_filter_joins_the_barrier() {
    let broker = Broker::of_two();
    let bob = broker.connect(V5, "bob");
    let dan = broker.connect(V311, "dan");
    broker.hold_mesh();
    bob.send(subscribe(1).to("a", Q0));
    dan.send(subscribe(2).to("a", Q1));
    dan.expect_nothing();
    broker.release_mesh();
    bob.expect(suback(1, &[0]));
    dan.expect(suback(2, &[1]));
    broker.hold_mesh();
    dan.send(subscribe(3).to("a", Q2));
    dan.expect(suback(3, &[2]));
}

/// Case X03: a filter withdrawn and wanted again is confirmed only by answers to the second wish.
#[test]
fn an_old_confirmation_does_not_count_for_a_new_wish() {
    let broker = Broker::of_two();
    let ann = broker.connect(V5, "ann");
    let bob = broker.connect(V5, "bob");
    broker.hold_mesh();
    for packet_id in [1, 3, 5] {
        bob.send(subscribe(packet_id).to("a", Q0));
        bob.send(unsubscribe(packet_id + 1, &["a"]));
    }
    bob.send(subscribe(7).to("a", Q0));
    broker.release_mesh();
    let heard: Vec<Vec<u8>> = (0..7).map(|_| bob.hear()).collect();
    for packet_id in [1, 3, 5, 7] {
        assert!(heard.contains(&suback(packet_id, &[0]).bytes(V5)));
    }
    ann.send(qos0("a", "x"));
    bob.expect(qos0("a", "x"));
    bob.leave();
    assert_eq!(broker.sizes().subscriptions, 0);
}

/// Case X02: one filter that is settled does not answer for the others of the packet.
#[test]
fn a_suback_waits_for_the_last_of_its_filters() {
    let broker = Broker::of_two();
    let bob = broker.connect(V5, "bob");
    broker.hold_mesh();
    bob.send(subscribe(1).to("a", Q0).to("b", Q0));
    bob.send(unsubscribe(2, &["a"]));
    bob.expect(unsuback(2, &[0]));
    bob.expect_nothing();
    broker.release_mesh();
    bob.expect(suback(1, &[0, 0]));
}

/// A pending SUBACK dies with its connection.
#[test]
fn a_suback_is_not_sent_to_a_later_connection() {
    let broker = Broker::of_two();
    let ann = broker.connect(V5, "ann");
    let bob = broker.join(lasting(V5, "bob", 100));
    broker.hold_mesh();
    bob.send(subscribe(1).to("a", Q0));
    bob.vanish();
    let bob = broker.rejoin(lasting(V5, "bob", 100));
    broker.release_mesh();
    bob.expect_nothing();
    ann.send(qos0("a", "x"));
    bob.expect(qos0("a", "x"));
}

/// Case R19: nothing of a subscription is left on any shard.
#[test]
fn subscriptions_leave_with_their_session() {
    everywhere(|broker| {
        for _ in 0..3 {
            let peers = ["ann", "bob", "cat", "dan"].map(|client_id| broker.connect(V5, client_id));
            for peer in &peers {
                peer.subscribe("a/+/b", Q1);
                peer.subscribe("#", Q1);
                peer.subscribe("$share/g/a/#", Q1);
            }
            peers.iter().for_each(|peer| peer.vanish());
            assert_eq!(broker.sizes(), ringmq::shard::Sizes::default());
        }
    });
}

/// Section 3.9.3: the limit is told; replacing is always possible.
#[test]
fn a_subscription_above_the_limit_is_refused() {
    let limits = Limits { subscriptions_per_session_max: 2, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let bob = broker.connect(V5, "bob");
        bob.send(subscribe(1).to("a", Q0).to("b", Q0).to("c", Q0).to("a", Q1).to("$share/g/c", Q0));
        bob.expect(suback(1, &[0, 0, 0x97, 1, 0x97]));
        bob.send(unsubscribe(2, &["b"]));
        bob.expect(unsuback(2, &[0]));
        bob.send(subscribe(3).to("c", Q0));
        bob.expect(suback(3, &[0]));
        let old = broker.connect(V311, "dan");
        old.send(subscribe(1).to("a", Q0).to("b", Q0).to("c", Q0));
        old.expect(suback(1, &[0, 0, 0x80]));
    });
}

/// [MQTT-3.8.4-5] [v3.1.1 MQTT-3.8.4-4]: the same filter twice in a packet is a subscription and its replacement.
#[test]
fn a_filter_given_twice_in_one_packet_is_granted_twice_and_held_once() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        bob.send(subscribe(1).to("a", Q2).to("a", Q0));
        bob.expect(suback(1, &[2, 0]));
        bob.send(qos0("a", "x"));
        bob.expect(qos0("a", "x"));
        bob.send(unsubscribe(2, &["a"]));
        bob.expect(unsuback(2, &[0]));
        assert_eq!(broker.sizes().subscriptions, 0);
    });
}

/// Section 3.14.4 and 4.13: what was granted in a packet with a protocol error in it leaves with the connection.
#[test]
fn a_packet_with_an_error_in_its_middle_leaves_nothing_behind() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        bob.send(subscribe(1).to("a", Q0).with("$share/g/b", no_local(Q0)).to("c", Q0));
        bob.expect_disconnect(ReasonCode::ProtocolError);
        assert_eq!(broker.sizes(), ringmq::shard::Sizes::default());
    });
}

/// Section 3.8.4: the same filter may be held by many clients of all dialects; each keeps its own options.
#[test]
fn each_client_keeps_its_own_options_for_a_filter() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V31, "bob");
        let cat = broker.connect(V311, "cat");
        let dan = broker.connect(V5, "dan");
        bob.subscribe("a", Q0);
        cat.subscribe("a", Q1);
        dan.subscribe("a", Q2);
        ann.send(qos2(1, "a", "x"));
        ann.expect(pubrec(1));
        bob.expect(qos0("a", "x"));
        cat.expect(qos1(1, "a", "x"));
        dan.expect(qos2(1, "a", "x"));
    });
}
