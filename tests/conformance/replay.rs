//! Retained messages for many subscriptions, sent as the client takes them and searched in parts (case R13).
//!
//! Duty: nothing is missing, doubled or out of order, and little is held, whatever the bound of a search. Must not: test
//! what is retained (`retained`). Neighbours: `peer`; `src/shard/replay.rs` and `src/session/replay.rs` are what is tested.

use std::collections::BTreeSet;
use std::ops::Range;

use ringmq::limits::Limits;
use ringmq::shard::DropReason;
use ringmq::wire::{Connect, Packet, ReasonCode, SubscriptionOptions};

use super::broker::{Broker, everywhere_with};
use super::packets::*;
use super::peer::Peer;

/// Enough for one walk, for some, for a node at a time.
const BOUNDS: [usize; 3] = [8192, 40, 1];

fn searching(retained_search_nodes_max: usize) -> Limits {
    Limits { retained_search_nodes_max, ..Limits::default() }
}

/// Retains `x` for each of `r/0/x`, `r/1/x`...
fn retain(broker: &Broker, count: usize) -> Peer {
    let ann = broker.connect(V5, "ann");
    (0..count).for_each(|number| ann.send(qos0(&format!("r/{number}/x"), "x").retained()));
    ann
}

/// All PUBLISH packets that come in that time, acknowledged: topic, RETAIN, payload.
fn hear_publishes(broker: &Broker, peer: &Peer, millis: Range<u64>) -> Vec<(String, bool, String)> {
    let mut heard = Vec::new();
    for now in millis.step_by(20) {
        broker.at_millis(now);
        hear_now(peer, &mut heard);
    }
    heard
}

fn hear_now(peer: &Peer, heard: &mut Vec<(String, bool, String)>) {
    while let Some(bytes) = peer.try_hear() {
        let Ok(ringmq::wire::Framed::Whole(frame)) = ringmq::wire::frame(&bytes, u32::MAX) else { panic!("a packet") };
        match ringmq::wire::decode(&frame, V5, ringmq::wire::Sender::Server).expect("well-formed") {
            Packet::Publish(publish) => {
                let payload = String::from_utf8(publish.payload.to_vec()).expect("text");
                heard.push((publish.topic.to_owned(), publish.retain, payload));
                if publish.qos != Q0 {
                    peer.send(puback(publish.packet_id));
                }
            }
            Packet::Suback(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Case R13, [MQTT-3.3.1-9]: every subscription gets everything once, in the end.
#[test]
fn each_subscription_gets_all_that_it_matches_once() {
    for bound in BOUNDS {
        everywhere_with(&searching(bound), |broker| {
            let ann = retain(broker, 50);
            let bob = broker.connect(V5, "bob");
            bob.send(subscribe(1).to("r/#", Q1).to("r/+/x", Q1).to("r/7/x", Q1).to("none/#", Q1));
            let heard = hear_publishes(broker, &bob, 0..2000);
            assert!(heard.iter().all(|(_, retain, _)| *retain));
            assert_eq!(heard.len(), 50 + 50 + 1, "bound {bound}");
            let topics: BTreeSet<&str> = heard.iter().map(|(topic, ..)| &**topic).collect();
            assert_eq!(topics.len(), 50);
            assert_eq!(broker.sizes().searches_waiting, 0);
            assert_eq!(broker.count(|counters| counters.searches_put_off) > 0, bound < 8192);
            ann.ignore_rest();
        });
    }
}

/// [MQTT-4.6.0-6]: a live message does not overtake what is retained of its topic, and makes nothing come twice.
#[test]
fn a_live_message_comes_after_what_is_retained_of_its_topic() {
    for bound in BOUNDS {
        for is_retained in [false, true] {
            everywhere_with(&searching(bound), |broker| {
                let ann = retain(broker, 50);
                let bob = broker.join(Connect { receive_maximum: Some(1), ..Connect::new(V5, "bob") });
                let options = SubscriptionOptions { qos: Q1, ..SubscriptionOptions::default() };
                let keeping = SubscriptionOptions { retain_as_published: true, ..options };
                bob.send(subscribe(1).with("r/#", keeping).with("+/30/x", options));
                let live = qos1(1, "r/30/x", "live");
                ann.send(if is_retained { live.retained() } else { live });
                ann.expect(puback(1));
                let fresh = qos1(2, "r/new/x", "live");
                ann.send(if is_retained { fresh.retained() } else { fresh });
                ann.expect(puback(2));
                let heard = hear_publishes(broker, &bob, 0..2000);
                let of = |topic: &str| -> Vec<&str> {
                    let of_topic = heard.iter().filter(|(heard, ..)| heard == topic);
                    of_topic.map(|(_, _, payload)| &**payload).collect()
                };
                assert_eq!(of("r/30/x"), ["x", "x", "live"], "bound {bound}, retained {is_retained}");
                assert_eq!(of("r/new/x"), ["live"]);
                assert_eq!(heard.len(), 50 + 1 + 2);
            });
        }
    }
}

/// Case R13: many filters that match everything cost their own bytes, not what they match.
#[test]
fn many_wide_subscriptions_hold_little() {
    everywhere_with(&searching(400), |broker| {
        let ann = broker.connect(V5, "ann");
        (0..200).for_each(|number| ann.send(qos0(&format!("a/b/c/d/e/f/g/{number}"), "x").retained()));
        let bob = broker.connect(V5, "bob");
        bob.stop_reading();
        let before = broker.sizes().held_bytes;
        let level = |mask: usize, at: usize| if mask >> at & 1 == 0 { "+" } else { &"abcdefg"[at..=at] };
        let filter = |mask| (0..7).map(|at| level(mask, at)).chain(["+"]).collect::<Vec<_>>().join("/");
        bob.send((0..128).fold(subscribe(1), |packet, mask| packet.to(&filter(mask), Q0)));
        broker.at_millis(2000);
        let held = broker.sizes().held_bytes - before;
        assert!(held < 100_000, "{held} bytes for 128 subscriptions and what was found of 25,600 messages");
        bob.resume_reading();
        assert_eq!(hear_publishes(broker, &bob, 2000..6000).len(), 128 * 200);
        ann.ignore_rest();
    });
}

/// [MQTT-3.10.4-2]: what is still to be looked for ends with the subscription, with the session, and waits for the client.
#[test]
fn a_search_ends_with_its_subscription_and_waits_for_its_client() {
    everywhere_with(&searching(1), |broker| {
        let ann = retain(broker, 50);
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.send(subscribe(1).to("r/#", Q1));
        bob.send(unsubscribe(2, &["r/#"]));
        bob.expect(suback(1, &[1]));
        bob.expect(unsuback(2, &[0]));
        broker.at(1);
        bob.expect_nothing();
        bob.send(subscribe(3).to("r/#", Q1));
        bob.expect(suback(3, &[1]));
        bob.vanish();
        broker.at(2);
        assert_eq!(broker.sizes().searches_waiting, 0);
        let bob = broker.rejoin(lasting(V5, "bob", 100));
        assert_eq!(hear_publishes(broker, &bob, 2000..6000).len(), 50);
        bob.send(subscribe(4).to("r/#", Q1));
        bob.expect(suback(4, &[1]));
        bob.send(ringmq::wire::Disconnect {
            session_expiry_secs: Some(0),
            ..ringmq::wire::Disconnect::new(ReasonCode::NORMAL_DISCONNECTION)
        });
        broker.at(7);
        assert_eq!((broker.sizes().searches_waiting, broker.sizes().sessions), (0, 1));
        ann.ignore_rest();
    });
}

/// Section 3.8.3.1, No Local: also where a live message comes first, only the client's own retained message is left out.
#[test]
fn a_live_message_sends_what_no_local_leaves_of_its_topic() {
    for (publisher, no_local, is_sent) in [("bob", false, true), ("cat", true, true), ("bob", true, false)] {
        everywhere_with(&searching(1), |broker| {
            retain(broker, 20);
            let before = broker.connect(V5, publisher);
            before.send(qos0("r/of", "kept").retained());
            before.leave();
            let ann = broker.connect(V5, "ann");
            let bob = broker.connect(V5, "bob");
            let options = SubscriptionOptions { no_local, ..SubscriptionOptions::default() };
            bob.send(subscribe(1).with("r/#", options));
            bob.expect(suback(1, &[0]));
            assert_eq!(broker.sizes().searches_waiting, 1);
            ann.send(qos0("r/of", "live"));
            if is_sent {
                bob.expect(qos0("r/of", "kept").retained());
            }
            bob.expect(qos0("r/of", "live"));
            bob.expect_nothing();
            assert_eq!(hear_publishes(broker, &bob, 0..2000).len(), 20);
        });
    }
}

/// Case R18: where the budget has no room to remember that a topic was overtaken, its live message is not taken, so that
/// nothing older comes after it. [MQTT-4.6.0-6]
#[test]
fn a_live_message_that_could_not_be_remembered_is_dropped_or_refused() {
    let topic = format!("r/{}", "x".repeat(30_000));
    let limits = Limits { held_bytes_per_shard_max: 50_000, ..searching(1) };
    everywhere_with(&limits, |broker| {
        let ann = retain(broker, 5);
        ann.send(qos0(&topic, "kept").retained());
        let bob = broker.connect(V5, "bob");
        bob.subscribe("r/#", Q1);
        ann.send(qos0(&topic, "live"));
        assert_eq!(broker.count(|counters| counters.dropped_for(DropReason::SlowReader)), 1);
        ann.send(qos1(1, &topic, "live"));
        ann.expect(because(ReasonCode::QuotaExceeded, puback(1)));
        assert_eq!(broker.count(|counters| counters.dropped_for(DropReason::QueueFull)), 1);
        bob.expect_nothing();
        let heard = hear_publishes(broker, &bob, 0..2000);
        assert_eq!(heard.iter().filter(|(heard, ..)| *heard == topic).count(), 1);
        assert_eq!(heard.len(), 6);
    });
}
