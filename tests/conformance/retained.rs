//! Retained messages (section 3.3.1.3).
//!
//! Duty: what is kept, replaced, cleared, sent to new subscriptions, and the same on all shards. Must not: test live
//! delivery (`publish`). Neighbours: `peer`.

use ringmq::limits::Limits;
use ringmq::wire::{Connect, LastWill, Packet, Property, ReasonCode, RetainHandling, SubscriptionOptions};

use super::broker::{Broker, everywhere, everywhere_with};
use super::packets::*;

fn handling(retain_handling: RetainHandling) -> SubscriptionOptions {
    SubscriptionOptions { retain_handling, ..SubscriptionOptions::default() }
}

/// [MQTT-3.3.1-5] [MQTT-3.3.1-9] [v3.1.1 MQTT-3.3.1-5] [v3.1.1 MQTT-3.3.1-6] [v3.1.1 MQTT-3.3.1-8]: the last one, with RETAIN.
#[test]
fn a_new_subscription_gets_the_last_retained_message() {
    everywhere(|broker| {
        for (from, to) in DIALECTS.into_iter().flat_map(|from| DIALECTS.map(|to| (from, to))) {
            let ann = broker.connect(from, "ann");
            ann.send(qos0("a", "old").retained());
            ann.send(qos0("a", "new").retained());
            ann.leave();
            for client_id in ["bob", "cat"] {
                let peer = broker.connect(to, client_id);
                peer.subscribe("a", Q1);
                peer.expect(qos0("a", "new").retained());
                peer.leave();
            }
        }
        assert_eq!(broker.sizes().retained_messages, broker.shards());
    });
}

/// [MQTT-3.8.4-8] [v3.1.1 MQTT-3.3.1-7] [v3.1.1 MQTT-3.3.1-5]: a retained message keeps its QoS; QoS 0 is kept as well.
#[test]
fn a_retained_message_is_sent_with_the_lower_qos() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        ann.send(qos0("a/0", "x").retained());
        ann.send(qos1(1, "a/1", "x").retained());
        ann.expect(unmatched(puback(1)));
        ann.send(qos2(2, "a/2", "x").retained());
        ann.expect(unmatched(pubrec(2)));
        let bob = broker.connect(V5, "bob");
        bob.send(subscribe(1).to("a/0", Q1).to("a/1", Q1).to("a/2", Q1));
        bob.expect(suback(1, &[1, 1, 1]));
        bob.expect_all(&[
            &qos0("a/0", "x").retained(),
            &qos1(1, "a/1", "x").retained(),
            &qos1(2, "a/2", "x").retained(),
        ]);
    });
}

/// [MQTT-3.3.1-6] [MQTT-3.3.1-7] [v3.1.1 MQTT-3.3.1-10] [v3.1.1 MQTT-3.3.1-11], case Q15: an empty payload clears, and is
/// delivered as any message.
#[test]
fn an_empty_retained_message_clears_and_is_delivered() {
    everywhere(|broker| {
        for version in DIALECTS {
            let ann = broker.connect(version, "ann");
            let bob = broker.connect(version, "bob");
            ann.send(qos1(1, "a", "x").retained());
            ann.expect(unmatched(puback(1)));
            bob.subscribe("a", Q0);
            bob.expect(qos0("a", "x").retained());
            ann.send(qos1(1, "a", "").retained());
            ann.expect(puback(1));
            bob.expect(qos0("a", ""));
            assert_eq!(broker.sizes().retained_messages, 0);
            bob.subscribe("a", Q0);
            bob.expect_nothing();
            ann.leave();
            bob.leave();
        }
    });
}

/// [MQTT-3.3.1-8] [v3.1.1 MQTT-3.3.1-12].
#[test]
fn a_message_without_retain_changes_nothing_that_is_retained() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        ann.send(qos0("a", "kept").retained());
        ann.send(qos0("a", "live"));
        ann.send(qos0("a", ""));
        ann.send(qos0("b", "live"));
        let bob = broker.connect(V5, "bob");
        bob.subscribe("#", Q0);
        bob.expect(qos0("a", "kept").retained());
        bob.expect_nothing();
    });
}

/// [MQTT-3.3.1-12] [MQTT-3.3.1-13] [v3.1.1 MQTT-3.3.1-9]: live, RETAIN is kept for those who asked for it.
#[test]
fn retain_as_published_keeps_the_flag_of_live_messages() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        let cat = broker.connect(V5, "cat");
        let dan = broker.connect(V311, "dan");
        let as_published = SubscriptionOptions { retain_as_published: true, ..SubscriptionOptions::default() };
        bob.send(subscribe(1).with("a", as_published));
        bob.expect(suback(1, &[0]));
        cat.subscribe("a", Q0);
        dan.subscribe("a", Q0);
        ann.send(qos0("a", "x").retained());
        bob.expect(qos0("a", "x").retained());
        cat.expect(qos0("a", "x"));
        dan.expect(qos0("a", "x"));
        ann.send(qos0("a", "y"));
        bob.expect(qos0("a", "y"));
        cat.expect(qos0("a", "y"));
        dan.expect(qos0("a", "y"));
    });
}

/// [MQTT-3.3.1-13] [MQTT-3.3.4-2]: of overlapping subscriptions one that keeps the flag is enough, in whatever order.
#[test]
fn one_of_overlapping_subscriptions_keeps_the_flag_for_all() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let as_published = SubscriptionOptions { retain_as_published: true, ..SubscriptionOptions::default() };
        for (first, second) in [("a", "#"), ("#", "a")] {
            let bob = broker.connect(V5, "bob");
            bob.send(subscribe(1).with(first, as_published).to(second, Q1));
            bob.expect(suback(1, &[0, 1]));
            ann.send(qos0("a", "x").retained());
            bob.expect(qos0("a", "x").retained());
            bob.expect_nothing();
            bob.leave();
            ann.send(qos0("a", "").retained());
        }
    });
}

/// [MQTT-3.3.1-9] [MQTT-3.8.4-4] [v3.1.1 MQTT-3.8.4-3]: at every SUBSCRIBE.
#[test]
fn retain_handling_0_sends_at_every_subscribe() {
    everywhere(|broker| {
        broker.connect(V5, "ann").send(qos0("a", "x").retained());
        for version in DIALECTS {
            let bob = broker.connect(version, "bob");
            for _ in 0..3 {
                bob.subscribe("a", Q0);
                bob.expect(qos0("a", "x").retained());
            }
        }
    });
}

/// [MQTT-3.3.1-10].
#[test]
fn retain_handling_1_sends_to_a_new_subscription_only() {
    everywhere(|broker| {
        broker.connect(V5, "ann").send(qos0("a", "x").retained());
        let bob = broker.connect(V5, "bob");
        for packet_id in 1..=3 {
            bob.send(subscribe(packet_id).with("a", handling(RetainHandling::SendIfNew)));
            bob.expect(suback(packet_id, &[0]));
            if packet_id == 1 {
                bob.expect(qos0("a", "x").retained());
            }
            bob.expect_nothing();
        }
        bob.send(unsubscribe(4, &["a"]));
        bob.expect(unsuback(4, &[0]));
        bob.send(subscribe(5).with("a", handling(RetainHandling::SendIfNew)));
        bob.expect(suback(5, &[0]));
        bob.expect(qos0("a", "x").retained());
    });
}

/// [MQTT-3.3.1-11].
#[test]
fn retain_handling_2_never_sends() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        ann.send(qos0("a", "x").retained());
        let bob = broker.connect(V5, "bob");
        bob.send(subscribe(1).with("a", handling(RetainHandling::DoNotSend)));
        bob.expect(suback(1, &[0]));
        bob.expect_nothing();
        ann.send(qos0("a", "y").retained());
        bob.expect(qos0("a", "y"));
    });
}

/// Section 3.3.1.3: a session that comes back subscribes to nothing anew.
#[test]
fn a_resumed_session_gets_no_retained_messages_again() {
    everywhere(|broker| {
        broker.connect(V5, "ann").send(qos0("a", "x").retained());
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe("a", Q0);
        bob.expect(qos0("a", "x").retained());
        bob.vanish();
        broker.rejoin(lasting(V5, "bob", 100)).expect_nothing();
    });
}

/// [MQTT-3.3.1-9] [v3.1.1 MQTT-3.3.1-6]: each matching topic once, whatever the wildcards.
#[test]
fn a_wildcard_gets_every_matching_topic_once() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let topics = ["a", "a/b", "a/b/c", "a/c", "b", "b/b", "/", "a//"];
        topics.iter().for_each(|topic| ann.send(qos0(topic, "x").retained()));
        for (filter, matching) in [
            ("#", &topics[..]),
            ("a/#", &["a", "a/b", "a/b/c", "a/c", "a//"]),
            ("+/b", &["a/b", "b/b"]),
            ("+/+", &["a/b", "a/c", "b/b", "/"]),
            ("a/+/+", &["a/b/c", "a//"]),
            ("+", &["a", "b"]),
            ("c/#", &[]),
        ] {
            let bob = broker.connect(V5, "bob");
            bob.subscribe(filter, Q0);
            let mut heard: Vec<Vec<u8>> = matching.iter().map(|_| bob.hear()).collect();
            bob.expect_nothing();
            heard.sort();
            let mut expected: Vec<Vec<u8>> =
                matching.iter().map(|topic| qos0(topic, "x").retained().bytes(V5)).collect();
            expected.sort();
            assert_eq!(heard, expected, "{filter}");
            bob.leave();
        }
    });
}

/// Section 4.8.2: a shared subscription gets no retained messages.
#[test]
fn a_shared_subscription_gets_no_retained_messages() {
    everywhere(|broker| {
        broker.connect(V5, "ann").send(qos0("a", "x").retained());
        let bob = broker.connect(V5, "bob");
        bob.subscribe("$share/g/a", Q0);
        bob.expect_nothing();
    });
}

/// Section 3.8.3.1, No Local: messages are not forwarded to the client that published them, now or later.
#[test]
fn no_local_holds_for_retained_messages_too() {
    everywhere(|broker| {
        let bob = broker.connect(V5, "bob");
        bob.send(qos0("a", "from bob").retained());
        broker.connect(V5, "ann").send(qos0("b", "from ann").retained());
        bob.send(subscribe(1).with("#", SubscriptionOptions { no_local: true, ..SubscriptionOptions::default() }));
        bob.expect(suback(1, &[0]));
        bob.expect(qos0("b", "from ann").retained());
        bob.expect_nothing();
    });
}

/// [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20] [MQTT-3.3.2-6]
/// [MQTT-3.3.4-3]: a retained message keeps its properties and gets those of the subscription.
#[test]
fn a_retained_message_keeps_its_properties() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let kept = [
            Property::UserProperty("k", "1"),
            Property::ContentType("text"),
            Property::UserProperty("k", "2"),
            Property::CorrelationData(b"\0\xff"),
        ];
        ann.send(qos0("a", "x").retained().with(&[&kept[..], &[Property::MessageExpiryInterval(100)]].concat()));
        broker.at(40);
        let bob = broker.connect(V5, "bob");
        bob.send(subscribe(1).to("a", Q0).numbered(5));
        bob.expect(suback(1, &[0]));
        let added = [Property::MessageExpiryInterval(60), Property::SubscriptionIdentifier(5)];
        bob.expect(qos0("a", "x").retained().with(&[&added[..], &kept].concat()));
        let old = broker.connect(V311, "dan");
        old.subscribe("a", Q0);
        old.expect(qos0("a", "x").retained());
    });
}

/// [MQTT-3.3.2-5], cases Q09 and Q15: at its end a retained message is gone from every shard.
#[test]
fn a_retained_message_ends_with_its_expiry() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        ann.send(qos0("a", "x").retained().with(&[Property::MessageExpiryInterval(10)]));
        ann.send(qos0("b", "x").retained().with(&[Property::MessageExpiryInterval(80_000)]));
        ann.send(qos0("c", "x").retained());
        broker.at_millis(9_999);
        assert_eq!(broker.sizes().retained_messages, 3 * broker.shards());
        broker.at(11);
        assert_eq!(broker.sizes().retained_messages, 2 * broker.shards());
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q0);
        bob.expect_nothing();
        broker.at(80_001);
        assert_eq!(broker.sizes().retained_messages, broker.shards());
    });
}

/// [MQTT-3.3.1-5]: the expiry of the one that was replaced does not end its successor.
#[test]
fn a_replaced_message_takes_its_expiry_with_it() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        ann.send(qos0("a", "short").retained().with(&[Property::MessageExpiryInterval(10)]));
        ann.send(qos0("a", "long").retained().with(&[Property::MessageExpiryInterval(100)]));
        ann.send(qos0("b", "short").retained().with(&[Property::MessageExpiryInterval(10)]));
        ann.send(qos0("b", "forever").retained());
        broker.at(50);
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q0);
        bob.expect(qos0("a", "long").retained().with(&[Property::MessageExpiryInterval(50)]));
        bob.subscribe("b", Q0);
        bob.expect(qos0("b", "forever").retained());
    });
}

/// Section 3.3.2.3.3: a message of no lifetime is not kept; what was there before is gone.
#[test]
fn a_retained_message_without_any_lifetime_is_not_kept() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        ann.send(qos0("a", "x").retained());
        ann.send(qos0("a", "y").retained().with(&[Property::MessageExpiryInterval(0)]));
        assert_eq!(broker.sizes().retained_messages, 0);
    });
}

/// Case R14: count and bytes are bounded; the publisher is told; replacing and clearing are always possible.
#[test]
fn a_retained_message_above_the_limit_is_refused() {
    for limits in [
        Limits { retained_messages_max: 2, ..Limits::default() },
        Limits { retained_bytes_max: 22, ..Limits::default() },
    ] {
        everywhere_with(&limits, |broker| {
            let ann = broker.connect(V5, "ann");
            for topic in ["a", "b"] {
                ann.send(qos1(1, topic, "0123456789").retained());
                ann.expect(unmatched(puback(1)));
            }
            ann.send(qos1(2, "c", "0123456789").retained());
            ann.expect(because(ReasonCode::QuotaExceeded, puback(2)));
            ann.send(qos2(3, "c", "0123456789").retained());
            ann.expect(because(ReasonCode::QuotaExceeded, pubrec(3)));
            ann.send(qos0("c", "0123456789").retained());
            ann.send(qos1(4, "a", "9876543210").retained());
            ann.expect(unmatched(puback(4)));
            ann.send(qos0("b", "").retained());
            ann.send(qos1(5, "c", "0123456789").retained());
            ann.expect(unmatched(puback(5)));
            assert_eq!(broker.sizes().retained_messages, 2 * broker.shards());
            assert_eq!(broker.count(|counters| counters.retained_refused), 3);
        });
    }
}

/// [MQTT-3.3.4-7] [MQTT-4.9.0-2]: a replay is paced by the window, never cut off.
#[test]
fn a_replay_waits_for_the_window_and_comes_whole() {
    everywhere(|broker| {
        let ann = broker.connect(V311, "ann");
        let topics: Vec<String> = (0..20).map(|number| format!("a/{number:02}")).collect();
        for topic in &topics {
            ann.send(qos1(1, topic, "x").retained());
            ann.expect(puback(1));
        }
        let bob = broker.join(Connect { receive_maximum: Some(3), ..Connect::new(V5, "bob") });
        bob.subscribe("#", Q1);
        let mut heard = Vec::new();
        for packet_id in 1..=20 {
            heard.push(bob.hear_packet(|packet| match packet {
                Packet::Publish(publish) => publish.topic.to_owned(),
                other => panic!("{other:?}"),
            }));
            bob.send(puback(packet_id));
        }
        bob.expect_nothing();
        heard.sort();
        assert_eq!(heard, topics);
    });
}

/// [MQTT-4.6.0-5]: never an older message after a newer one of its topic.
#[test]
fn a_live_message_does_not_overtake_the_retained_one() {
    everywhere(|broker| {
        let ann = broker.connect(V311, "ann");
        for topic in ["a", "b", "c"] {
            ann.send(qos1(1, topic, "old").retained());
            ann.expect(puback(1));
        }
        let bob = broker.join(Connect { receive_maximum: Some(1), ..Connect::new(V5, "bob") });
        bob.subscribe("#", Q1);
        let first = bob.hear_packet(|packet| match packet {
            Packet::Publish(publish) => publish.topic.to_owned(),
            other => panic!("{other:?}"),
        });
        for topic in ["a", "b", "c"] {
            ann.send(qos1(1, topic, "new").retained());
            ann.expect(puback(1));
        }
        let mut old = vec![first];
        for packet_id in 1..=5 {
            bob.send(puback(packet_id));
            bob.hear_packet(|packet| match packet {
                Packet::Publish(publish) if publish.payload == b"old" => old.push(publish.topic.to_owned()),
                Packet::Publish(publish) => {
                    assert!(old.contains(&publish.topic.to_owned()), "{} came new before old", publish.topic);
                }
                other => panic!("{other:?}"),
            });
        }
        old.sort();
        assert_eq!(old, ["a", "b", "c"]);
        bob.send(puback(6));
        bob.expect_nothing();
    });
}

/// Section 4.6 and the design: concurrent writers end with one and the same message on every shard.
#[test]
fn concurrent_writers_on_two_shards_converge() {
    for (first, second) in [("ann", "bob"), ("bob", "ann")] {
        for (one, other) in [("1", "2"), ("1", ""), ("", "2")] {
            let broker = Broker::of_two();
            let first = broker.connect(V311, first);
            let second = broker.connect(V311, second);
            first.send(qos0("a", "before").retained());
            broker.hold_mesh();
            first.send(qos0("a", one).retained());
            second.send(qos0("a", other).retained());
            broker.release_mesh();
            let kept = ["cat", "dan"].map(|client_id| {
                let peer = broker.connect(V311, client_id);
                peer.subscribe("a", Q0);
                let bytes = if broker.sizes().retained_messages > 0 { peer.hear() } else { Vec::new() };
                peer.expect_nothing();
                bytes
            });
            assert_eq!(kept[0], kept[1], "{one:?} against {other:?}");
        }
    }
}

/// Case X02: a retained message that was on its way when the subscription was made comes once live, as the subscription
/// stood already, and once as what is retained when SUBACK leaves.
#[test]
fn a_subscription_made_while_a_retained_message_travels_gets_it() {
    let broker = Broker::of_two();
    let ann = broker.connect(V311, "ann");
    let bob = broker.connect(V311, "bob");
    broker.hold_mesh();
    ann.send(qos0("a", "x").retained());
    bob.send(subscribe(1).to("a", Q0));
    broker.release_mesh();
    bob.expect(qos0("a", "x"));
    bob.expect(suback(1, &[0]));
    bob.expect(qos0("a", "x").retained());
    bob.expect_nothing();
}

/// [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.8.4-4]: a subscription that is replaced before its SUBACK still owes its replay.
#[test]
fn a_replacement_does_not_lose_the_retained_messages_of_the_first() {
    everywhere(|broker| {
        broker.connect(V5, "ann").send(qos0("a", "x").retained());
        let bob = broker.connect(V5, "bob");
        broker.hold_mesh();
        bob.send(subscribe(1).to("a", Q0));
        bob.send(subscribe(2).with("a", handling(RetainHandling::SendIfNew)));
        broker.release_mesh();
        let mut heard: Vec<Vec<u8>> = (0..3).map(|_| bob.hear()).collect();
        heard.sort();
        let publish = qos0("a", "x").retained().bytes(V5);
        assert_eq!(heard, [publish, suback(1, &[0]).bytes(V5), suback(2, &[0]).bytes(V5)]);
    });
}

/// Section 3.8.3.1, No Local: the client is known by its id, also when the session in which it published has ended, and as the
/// one whose will it was.
#[test]
fn no_local_knows_the_client_in_a_later_session() {
    everywhere(|broker| {
        for version in DIALECTS {
            let bob = broker.connect(version, "bob");
            bob.send(qos0("a", "from bob").retained());
            bob.leave();
        }
        let last_will = LastWill { retain: true, ..will(Q0, "gone", "from bob") };
        broker.join(Connect { last_will: Some(last_will), ..Connect::new(V5, "bob") }).vanish();
        broker.connect(V5, "ann").send(qos0("b", "from ann").retained());
        let bob = broker.connect(V5, "bob");
        bob.send(subscribe(1).with("#", SubscriptionOptions { no_local: true, ..SubscriptionOptions::default() }));
        bob.expect(suback(1, &[0]));
        bob.expect(qos0("b", "from ann").retained());
        bob.expect_nothing();
    });
}

/// [MQTT-3.10.4-2]: a subscription that ends while its SUBACK waits takes its retained messages along, also if it is made anew
/// by then; those of other subscriptions and clients are sent.
#[test]
fn a_subscription_that_ended_before_its_suback_brings_nothing_to_the_one_made_anew() {
    let broker = Broker::of_two();
    let ann = broker.connect(V5, "ann");
    ["a", "b"].iter().for_each(|topic| ann.send(qos0(topic, "x").retained()));
    let [bob, dan] = ["bob", "dan"].map(|client_id| broker.connect(V5, client_id));
    broker.hold_mesh();
    [&bob, &dan].iter().for_each(|peer| peer.send(subscribe(1).to("a", Q0).to("b", Q0)));
    bob.send(unsubscribe(2, &["a"]));
    bob.send(subscribe(3).with("a", handling(RetainHandling::DoNotSend)));
    broker.release_mesh();
    bob.expect_all(&[&unsuback(2, &[0]), &suback(3, &[0]), &suback(1, &[0, 0]), &qos0("b", "x").retained()]);
    dan.expect_all(&[&suback(1, &[0, 0]), &qos0("a", "x").retained(), &qos0("b", "x").retained()]);
}

/// The stamp of a deletion is kept until every shard has passed it.
#[test]
fn a_deletion_is_remembered_until_every_shard_knows_it() {
    let broker = Broker::of_two();
    let ann = broker.connect(V5, "ann");
    ["a", "b"].iter().for_each(|topic| ann.send(qos0(topic, "x").retained()));
    broker.hold_mesh();
    ["a", "b"].iter().for_each(|topic| ann.send(qos0(topic, "").retained()));
    assert_eq!(broker.sizes().retained_tombstones, 2);
    broker.release_mesh();
    let sizes = broker.sizes();
    assert_eq!((sizes.retained_messages, sizes.retained_tombstones), (0, 0));
}

/// An older message that travels while a newer one ends does not come back after it.
#[test]
fn what_has_ended_is_not_replaced_by_what_was_older() {
    let broker = Broker::of_two();
    let ann = broker.connect(V5, "ann");
    let bob = broker.connect(V5, "bob");
    broker.hold_mesh();
    ann.send(qos0("a", "older").retained());
    bob.send(qos0("a", "newer").retained().with(&[Property::MessageExpiryInterval(1)]));
    broker.at(3);
    broker.release_mesh();
    assert_eq!(broker.sizes().retained_messages, 0);
    for client_id in ["cat", "dan"] {
        let peer = broker.connect(V5, client_id);
        peer.subscribe("a", Q0);
        peer.expect_nothing();
    }
}
