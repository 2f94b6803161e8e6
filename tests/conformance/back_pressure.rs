//! Publishers wait while a subscriber's queue is long, and nobody is told success for what was refused.
//!
//! Duty: acknowledgements withheld and released, by version and over shards; what a refusal is to 3.x. Must not: test the
//! bounds themselves (`flow_control`, `budget`). Neighbours: `peer`; `src/shard/congestion.rs` is what is tested.

use ringmq::limits::{Limits, QueueFull};
use ringmq::shard::DropReason;
use ringmq::wire::{Connect, ReasonCode};

use super::broker::{Broker, everywhere_with};
use super::packets::*;
use super::peer::Peer;

/// Congested above 4 messages, relieved with 2, full with 16; time enough.
fn limits() -> Limits {
    Limits { queued_messages_max: 16, backpressure_ms_max: 10_000, ..Limits::default() }
}

/// A subscriber of `a` that takes one message and then acknowledges nothing by itself.
fn slow(broker: &Broker) -> Peer {
    let bob = broker.join(Connect { receive_maximum: Some(1), ..lasting(V5, "bob", 100) });
    bob.subscribe("a", Q1);
    bob
}

/// Publishes to `a` until the queue is congested; returns the packet id that waits. The first goes through, four are queued.
fn congest(ann: &Peer) -> u16 {
    for packet_id in 1..=5 {
        ann.send(qos1(packet_id, "a", "x"));
        ann.expect(puback(packet_id));
    }
    ann.send(qos1(6, "a", "x"));
    6
}

/// The subscriber acknowledges so many messages.
fn take(bob: &Peer, packet_ids: std::ops::RangeInclusive<u16>) {
    for packet_id in packet_ids {
        bob.send(puback(packet_id));
    }
}

/// Case Q05, D1: a publisher hears nothing while the queue is above a quarter, and all that is owed below an eighth.
#[test]
fn an_acknowledgement_waits_until_the_queue_is_short() {
    for version in [V311, V5] {
        everywhere_with(&limits(), |broker| {
            let bob = slow(broker);
            let ann = broker.connect(version, "ann");
            assert_eq!(congest(&ann), 6);
            ann.expect_nothing();
            ann.send(qos2(7, "a", "x"));
            ann.expect_alive();
            assert_eq!(broker.sizes().acks_withheld, 2);
            take(&bob, 1..=3);
            ann.expect_nothing();
            take(&bob, 4..=4);
            ann.expect_all(&[&puback(6), &pubrec(7)]);
            assert_eq!(broker.sizes().acks_withheld, 0);
            assert_eq!(broker.count(|counters| counters.sessions_congested), 1);
            assert_eq!(broker.count(|counters| counters.acks_withheld), 2);
            bob.ignore_rest();
        });
    }
}

/// [MQTT-4.6.0-2]: what is published after it waits too, whoever takes it.
#[test]
fn answers_keep_their_order_behind_one_that_is_withheld() {
    everywhere_with(&limits(), |broker| {
        let bob = slow(broker);
        let dan = broker.connect(V5, "dan");
        dan.subscribe("b", Q1);
        let ann = broker.connect(V5, "ann");
        congest(&ann);
        ann.send(qos1(7, "b", "y"));
        dan.expect(qos1(1, "b", "y"));
        ann.expect_nothing();
        take(&bob, 1..=5);
        ann.expect_all(&[&puback(6), &puback(7)]);
        bob.ignore_rest();
    });
}

/// Case Q05: what is owed to a publisher that goes on without its acknowledgements is bounded; it is not read until half of it
/// has left, and loses nothing. QoS 0 passes, as nothing is owed for it.
#[test]
fn a_publisher_that_does_not_wait_is_not_read_when_it_is_owed_too_much() {
    for version in [V311, V5] {
        everywhere_with(&Limits { owed_acks_max: 4, ..limits() }, |broker| {
            let bob = slow(broker);
            let cat = broker.connect(V5, "cat");
            cat.subscribe("b", Q0);
            let ann = broker.connect(version, "ann");
            congest(&ann);
            for packet_id in 7..=9 {
                ann.send(qos1(packet_id, "a", "x"));
            }
            ann.send(qos0("b", "four are owed"));
            cat.expect(qos0("b", "four are owed"));
            ann.send(qos1(10, "a", "x"));
            ann.send(qos0("b", "behind it"));
            cat.expect_nothing();
            assert_eq!(broker.sizes().acks_withheld, 4);
            assert_eq!(broker.count(|counters| counters.stopped_by_owed_acks), 1);
            take(&bob, 1..=9);
            ann.expect_all(&[&puback(6), &puback(7), &puback(8), &puback(9), &puback(10)]);
            cat.expect(qos0("b", "behind it"));
            bob.ignore_rest();
        });
    }
}

/// Only publishers that feed the slow one wait, and only for messages that nobody else took.
#[test]
fn nobody_waits_for_a_message_that_another_session_took() {
    everywhere_with(&limits(), |broker| {
        let bob = slow(broker);
        let ann = broker.connect(V5, "ann");
        congest(&ann);
        let cat = broker.connect(V5, "cat");
        let dan = broker.connect(V5, "dan");
        dan.subscribe("a", Q0);
        cat.send(qos1(1, "a", "y"));
        cat.expect(puback(1));
        cat.send(qos1(2, "elsewhere", "y"));
        cat.expect(unmatched(puback(2)));
        ann.expect_nothing();
        dan.expect(qos0("a", "y"));
        bob.ignore_rest();
    });
}

/// Nobody waits for who has left, or for a session that has ended.
#[test]
fn the_end_of_the_slow_connection_releases_what_was_withheld() {
    for keeps_session in [true, false] {
        everywhere_with(&limits(), |broker| {
            let bob = slow(broker);
            let ann = broker.connect(V5, "ann");
            congest(&ann);
            ann.expect_nothing();
            bob.ignore_rest();
            if keeps_session {
                bob.vanish();
            } else {
                bob.send(ringmq::wire::Disconnect { session_expiry_secs: Some(0), ..goodbye() });
            }
            ann.expect(puback(6));
            assert_eq!(broker.sizes().acks_withheld, 0);
            let dropped = broker.count(|counters| counters.dropped_for(DropReason::SessionEnded));
            assert_eq!(dropped, if keeps_session { 0 } else { 5 });
        });
    }
}

fn goodbye() -> ringmq::wire::Disconnect<'static> {
    ringmq::wire::Disconnect::new(ReasonCode::NORMAL_DISCONNECTION)
}

/// A subscriber that never gets faster is stuck: publishers wait once, and then see the queue's policy.
#[test]
fn nobody_waits_longer_than_backpressure_ms_max() {
    everywhere_with(&limits(), |broker| {
        let bob = slow(broker);
        let ann = broker.connect(V5, "ann");
        congest(&ann);
        broker.at_millis(9_900);
        ann.expect_nothing();
        broker.at_millis(10_200);
        ann.expect(puback(6));
        assert_eq!(broker.count(|counters| counters.sessions_stuck), 1);
        for packet_id in 7..=17 {
            ann.send(qos1(packet_id, "a", "x"));
            ann.expect(puback(packet_id));
        }
        ann.send(qos1(18, "a", "x"));
        ann.expect(because(ReasonCode::QuotaExceeded, puback(18)));
        // Short once, it is like any other.
        take(&bob, 1..=17);
        bob.ignore_rest();
        congest(&ann);
        ann.expect_nothing();
        bob.ignore_rest();
    });
}

/// Where the end lies on a slot of the wheel, it is met to the millisecond.
#[test]
fn the_time_to_wait_is_over_when_it_is_reached() {
    everywhere_with(&Limits { backpressure_ms_max: 6400, ..limits() }, |broker| {
        let bob = slow(broker);
        let ann = broker.connect(V5, "ann");
        congest(&ann);
        broker.at_millis(6399);
        ann.expect_nothing();
        broker.at_millis(6400);
        ann.expect(puback(6));
        bob.ignore_rest();
    });
}

/// The time runs from when the queue became long the last time.
#[test]
fn a_queue_that_was_short_in_between_has_its_whole_time_again() {
    everywhere_with(&limits(), |broker| {
        let bob = slow(broker);
        let ann = broker.connect(V5, "ann");
        congest(&ann);
        broker.at_millis(5_000);
        take(&bob, 1..=6);
        bob.ignore_rest();
        ann.expect(puback(6));
        broker.at_millis(8_000);
        congest(&ann);
        broker.at_millis(17_900);
        ann.expect_nothing();
        assert_eq!(broker.count(|counters| counters.sessions_stuck), 0);
        broker.at_millis(18_200);
        ann.expect(puback(6));
        assert_eq!(broker.count(|counters| counters.sessions_stuck), 1);
        bob.ignore_rest();
    });
}

#[test]
fn a_limit_of_0_makes_nobody_wait() {
    everywhere_with(&Limits { backpressure_ms_max: 0, ..limits() }, |broker| {
        let bob = slow(broker);
        let ann = broker.connect(V5, "ann");
        congest(&ann);
        ann.expect(puback(6));
        bob.ignore_rest();
    });
}

/// R18: what is left of the shard's budget is a bound as well, and only those who feed the one that holds much wait.
#[test]
fn a_session_that_holds_much_of_the_budget_makes_its_publishers_wait() {
    let limits = Limits { held_bytes_per_shard_max: 100_000, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let bob = slow(broker);
        let dan = broker.join(Connect { receive_maximum: Some(1), ..lasting(V5, "dan", 100) });
        dan.subscribe("small", Q1);
        let [ann, cat] = ["ann", "cat"].map(|name| broker.connect(V5, name));
        let payload = "x".repeat(1000);
        let is_answered = |packet_id: &u16| {
            ann.send(qos1(*packet_id, "a", &payload));
            ann.try_hear().is_some()
        };
        let answered = (1..100).take_while(is_answered).count();
        assert!((15..=25).contains(&answered), "{answered} of 100,000 bytes");
        for packet_id in 1..=10 {
            cat.send(qos1(packet_id, "small", &payload));
            cat.expect(puback(packet_id));
        }
        take(&bob, 1..=25);
        assert!(ann.try_hear().is_some());
        bob.ignore_rest();
        dan.ignore_rest();
    });
}

/// Two clients that publish to each other and answer only when they are answered do not wait for ever.
#[test]
fn clients_that_wait_for_each_other_go_on() {
    everywhere_with(&limits(), |broker| {
        let [ann, bob] = ["ann", "bob"].map(|name| {
            let peer = broker.join(Connect { receive_maximum: Some(1), ..Connect::new(V5, name) });
            peer.subscribe(name, Q1);
            peer
        });
        for packet_id in 1..=6 {
            ann.send(qos1(packet_id, "bob", "x"));
            bob.send(qos1(packet_id, "ann", "x"));
        }
        let count_pubacks = |peer: &Peer| {
            let packets = std::iter::from_fn(|| peer.try_hear());
            packets.filter(|packet| packet[0] == 0x40).count()
        };
        assert_eq!((count_pubacks(&ann), count_pubacks(&bob)), (5, 5));
        broker.at(11);
        assert_eq!((count_pubacks(&ann), count_pubacks(&bob)), (1, 1));
    });
}

/// Two clients that publish to each other without end are both not read, and so neither can acknowledge: nobody waits for them.
#[test]
fn clients_that_are_not_read_do_not_wait_for_each_other() {
    everywhere_with(&Limits { owed_acks_max: 2, ..limits() }, |broker| {
        let peers = ["ann", "bob"].map(|name| {
            let peer = broker.join(Connect { receive_maximum: Some(1), ..Connect::new(V5, name) });
            peer.subscribe(name, Q1);
            peer
        });
        for packet_id in 1..=12 {
            peers[0].send(qos1(packet_id, "bob", "x"));
            peers[1].send(qos1(packet_id, "ann", "x"));
        }
        assert!(broker.count(|counters| counters.stopped_by_owed_acks) >= 1);
        let (mut acks, mut messages) = ([0, 0], [0, 0]);
        while let Some((at, packet)) = (0..2).find_map(|at| Some((at, peers[at].try_hear()?))) {
            if packet[0] == 0x40 {
                acks[at] += 1;
            } else {
                // Topic of three bytes, then the packet id.
                messages[at] += 1;
                peers[at].send(puback(u16::from_be_bytes([packet[7], packet[8]])));
            }
        }
        assert_eq!((acks, messages), ([12, 12], [12, 12]));
    });
}

/// A member of a shared subscription is a subscriber as any other, wherever it is.
#[test]
fn a_shared_subscription_makes_publishers_wait_too() {
    everywhere_with(&limits(), |broker| {
        let bob = broker.join(Connect { receive_maximum: Some(1), ..Connect::new(V5, "bob") });
        bob.subscribe("$share/g/a", Q1);
        let ann = broker.connect(V5, "ann");
        congest(&ann);
        ann.expect_nothing();
        take(&bob, 1..=5);
        ann.expect(puback(6));
        bob.ignore_rest();
    });
}

/// A relief that crosses a message on its way between the shards leaves nobody waiting.
#[test]
fn a_relief_before_the_answer_is_not_missed() {
    let broker = Broker::with(2, limits());
    let bob = slow(&broker);
    let ann = broker.connect(V5, "ann");
    broker.hold_store();
    for packet_id in 1..=6 {
        ann.send(qos1(packet_id, "a", "x"));
    }
    take(&bob, 1..=6);
    bob.ignore_rest();
    ann.expect_nothing();
    broker.release_store(true);
    for packet_id in 1..=6 {
        ann.expect(puback(packet_id));
    }
    assert_eq!(broker.sizes().acks_withheld, 0);
}

/// Cases Q05 and R14, D2: 3.x has no word for a refusal, so the connection ends without an answer and nothing is a success.
#[test]
fn a_3_x_publisher_whose_message_nobody_could_take_is_disconnected() {
    let limits = Limits { queued_messages_max: 2, retained_messages_max: 0, ..Limits::default() };
    for version in [V31, V311] {
        for refused in [qos1(3, "a", "x"), qos2(3, "a", "x"), qos1(3, "b", "x").retained()] {
            everywhere_with(&limits, |broker| {
                let bob = broker.join(lasting(V5, "bob", 100));
                bob.subscribe("a", Q1);
                bob.vanish();
                let ann = broker.connect(version, "ann");
                for packet_id in 1..=2 {
                    ann.send(qos1(packet_id, "a", "x"));
                    ann.expect(puback(packet_id));
                }
                ann.send(refused);
                ann.expect_close();
                assert_eq!(broker.count(|counters| counters.closed_for_refusal), 1);
                let bob = broker.rejoin(lasting(V5, "bob", 100));
                bob.expect_all(&[&qos1(1, "a", "x"), &qos1(2, "a", "x")]);
                bob.expect_nothing();
            });
        }
    }
}

/// The policies that drop say success, in every version: that is what they are chosen for.
#[test]
fn a_policy_that_drops_disconnects_nobody() {
    for queue_full in [QueueFull::DropNewest, QueueFull::DropOldest] {
        everywhere_with(&Limits { queued_messages_max: 2, queue_full, ..Limits::default() }, |broker| {
            let bob = broker.join(lasting(V5, "bob", 100));
            bob.subscribe("a", Q1);
            bob.vanish();
            let ann = broker.connect(V311, "ann");
            for packet_id in 1..=5 {
                ann.send(qos1(packet_id, "a", "x"));
                ann.expect(puback(packet_id));
            }
        });
    }
}

/// Case X03: a member on a third shard takes a message that was passed on, and is relieved before the shard that was asked
/// first has said that it passed it on.
#[test]
fn a_relief_before_the_first_hop_has_answered_is_not_missed() {
    let broker = Broker::with(3, limits());
    let [ann, bob, cat, dan] = [(0, 0), (1, 0), (2, 0), (1, 1)].map(|(shard, which)| client_of(&broker, shard, which));
    let (ann, bob) = (broker.connect(V5, &ann), broker.connect(V5, &bob));
    let cat = broker.join(Connect { receive_maximum: Some(1), ..Connect::new(V5, &cat) });
    let dan = broker.join(lasting(V5, &dan, 100));
    [&bob, &cat].iter().for_each(|peer| peer.subscribe("$share/g/b", Q1));
    cat.subscribe("a", Q1);
    dan.subscribe("stored", Q1);
    congest(&ann);
    // The answers of the second shard wait behind this one.
    broker.hold_store();
    ann.send(qos1(7, "stored", "x"));
    broker.hold_mesh();
    ann.send(qos1(8, "b", "x"));
    bob.leave();
    broker.release_mesh();
    assert_eq!(broker.sizes().acks_waiting, 2 + 2 + 1, "of the first shard, of the second, and the early one");
    ann.expect_nothing();
    take(&cat, 1..=4);
    ann.expect(puback(6));
    broker.release_store(true);
    ann.expect_all(&[&puback(7), &puback(8)]);
    assert_eq!((broker.sizes().acks_waiting, broker.sizes().acks_withheld), (0, 0));
    cat.ignore_rest();
    dan.ignore_rest();
}

/// A client id that lives on a shard, one of several.
fn client_of(broker: &Broker, shard: u16, which: usize) -> String {
    let client_ids = (0..).map(|number| format!("client-{number}"));
    client_ids.filter(|client_id| broker.owner(client_id).0 == shard).nth(which).expect("one of the first")
}
