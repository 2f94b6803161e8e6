//! Rows Q of the case list, at the size that the row names.
//!
//! Duty: packet ids, windows, queues, wills and retained messages in great numbers. Must not: repeat what a seed covers.
//! Neighbours: the conversations of `tests/conformance` lend `broker`, `peer` and `packets`, and prove Q03 and Q09.

use std::collections::{BTreeSet, VecDeque};

use ringmq::limits::{Limits, QueueFull};
use ringmq::wire::{Connect, LastWill, Packet, QoS, ReasonCode};

use crate::broker::{Broker, everywhere, everywhere_with};
use crate::full_or;
use crate::packets::*;
use crate::peer::Peer;

/// The next packet is a PUBLISH: packet id, DUP and payload.
fn hear_publish(peer: &Peer) -> (u16, bool, Vec<u8>) {
    peer.hear_packet(|packet| {
        let Packet::Publish(publish) = packet else { panic!("expected PUBLISH, got {packet:?}") };
        (publish.packet_id, publish.dup, publish.payload.to_vec())
    })
}

/// The reason of the next packet, an acknowledgement.
fn hear_reason(peer: &Peer) -> ReasonCode {
    peer.hear_packet(|packet| {
        let Packet::Ack(ack) = packet else { panic!("expected an acknowledgement, got {packet:?}") };
        ack.reason
    })
}

/// Case Q01: one packet id a hundred thousand times, with DUP and without, and no PUBREL: one delivery, PUBREC each time.
#[test]
fn a_qos_2_packet_id_that_comes_a_hundred_thousand_times_is_one_message() {
    let broker = Broker::of_two();
    let (ann, bob) = (broker.connect(V5, "ann"), broker.connect(V5, "bob"));
    bob.subscribe("a", Q2);
    ann.send(qos2(5, "a", "x"));
    ann.expect(pubrec(5));
    bob.expect(qos2(1, "a", "x"));
    let base = broker.sizes();
    for round in 0..100_000 {
        let publish = qos2(5, "a", "x");
        ann.send(if round % 2 == 0 { publish.again() } else { publish });
        ann.expect(pubrec(5));
    }
    bob.expect_nothing();
    assert_eq!(broker.sizes(), base, "nothing grew");
}

/// Case Q02: packet ids up to the last, never a PUBREL: DISCONNECT 0x93 at the 101st.
#[test]
fn the_hundred_and_first_unreleased_message_ends_the_connection() {
    let limits = Limits { receive_maximum: 100, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let ann = broker.connect(V5, "ann");
        let bystander = broker.connect(V5, "cat");
        let bytes: Vec<u8> = (1..=65_535).flat_map(|packet_id| qos2(packet_id, "a", "x").bytes(V5)).collect();
        ann.send_bytes(&bytes);
        (1..=100).for_each(|packet_id| ann.expect(unmatched(pubrec(packet_id))));
        ann.hear_packet(|packet| {
            let Packet::Disconnect(disconnect) = packet else { panic!("{packet:?}") };
            assert_eq!(disconnect.reason, ReasonCode::ReceiveMaximumExceeded);
        });
        ann.expect_close();
        bystander.expect_alive();
        assert_eq!(broker.sizes().sessions, 1);
    });
}

/// Case Q05: a subscriber that never acknowledges, and a million messages: in flight no more than Receive Maximum, in the
/// queue no more than its limit, and with the policy `reject` a publisher is told of each that was not kept.
#[test]
fn a_subscriber_that_never_acknowledges_costs_its_limits_and_no_more() {
    const KEPT: usize = 10 + 1000;
    let count = full_or(1_000_000, 50_000);
    for (queue_full, is_told) in
        [(QueueFull::Reject, true), (QueueFull::DropNewest, false), (QueueFull::DropOldest, false)]
    {
        let limits = Limits { queued_messages_max: 1000, queue_full, backpressure_ms_max: 0, ..Limits::default() };
        let broker = Broker::with(2, limits);
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(Connect { receive_maximum: Some(10), ..lasting(V5, "bob", 1000) });
        bob.subscribe("a", Q1);
        let mut refused = 0;
        for number in 0..count {
            ann.send(qos1(1, "a", &number.to_string()));
            let reason = hear_reason(&ann);
            refused += usize::from(reason == ReasonCode::QuotaExceeded);
            assert!(reason == ReasonCode::Success || reason == ReasonCode::QuotaExceeded);
        }
        assert_eq!(refused, if is_told { count - KEPT } else { 0 }, "{queue_full:?}: no false success");
        let in_flight: Vec<String> = (0..10).map(|_| payload_of(&bob)).collect();
        bob.expect_nothing();
        assert_eq!(in_flight, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
        let mut kept = 0;
        let mut unanswered: VecDeque<u16> = (1..=10).collect();
        while let Some(packet_id) = unanswered.pop_front() {
            bob.send(puback(packet_id));
            while bob.has_heard() {
                unanswered.push_back(hear_publish(&bob).0);
                kept += 1;
            }
        }
        assert_eq!(kept, 1000, "{queue_full:?}: what the queue kept");
        bob.expect_nothing();
    }
}

fn payload_of(peer: &Peer) -> String {
    String::from_utf8(hear_publish(peer).2).expect("digits")
}

/// Case Q06: a window of all packet ids and no acknowledgement: each id once, 0 never, and then nothing more.
#[test]
fn with_every_packet_id_in_flight_none_is_used_twice() {
    let limits = Limits { inflight_messages_max: u16::MAX, backpressure_ms_max: 0, ..Limits::default() };
    let broker = Broker::with(2, limits);
    let (ann, bob) = (broker.connect(V5, "ann"), broker.connect(V5, "bob"));
    bob.subscribe("a", Q1);
    let mut used = BTreeSet::new();
    for _ in 0..65_535 {
        ann.send(qos1(1, "a", "x"));
        ann.expect(puback(1));
        let (packet_id, ..) = hear_publish(&bob);
        assert!(packet_id != 0 && used.insert(packet_id), "packet id {packet_id}");
    }
    ann.send(qos1(1, "a", "one too many"));
    ann.expect(puback(1));
    bob.expect_nothing();
    bob.send(puback(30_000));
    // The circle goes on from where it was: ids before 30,000 are in use, so it waits for the first.
    bob.expect_nothing();
    bob.send(puback(1));
    assert_eq!(hear_publish(&bob).0, 1);
}

/// Case Q07: what is acknowledged twice is answered or ignored as the protocol says, and the state stays as it is.
#[test]
fn an_acknowledgement_that_comes_twice_changes_nothing() {
    everywhere(|broker| {
        let (ann, bob) = (broker.connect(V5, "ann"), broker.connect(V5, "bob"));
        bob.subscribe("a", Q2);
        ann.send(qos2(7, "a", "x"));
        ann.expect(pubrec(7));
        ann.send(pubrel(7));
        ann.expect(pubcomp(7));
        ann.send(pubrel(7));
        ann.expect(because(ReasonCode::PacketIdentifierNotFound, pubcomp(7)));
        bob.expect(qos2(1, "a", "x"));
        bob.send(pubrec(1));
        bob.expect(pubrel(1));
        bob.send(pubcomp(1));
        bob.send(pubcomp(1));
        bob.send(puback(1));
        bob.expect_alive();
        ann.send(qos1(8, "a", "y"));
        ann.expect(puback(8));
        bob.expect(qos1(2, "a", "y"));
        bob.send(puback(2));
        bob.send(puback(2));
        bob.expect_alive();
    });
}

/// Case Q10: a Maximum Packet Size of 20 and a message of 1 MiB: left out for that one, counted, and the connection lives.
#[test]
fn a_message_of_a_mebibyte_passes_by_a_client_that_takes_twenty_bytes() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(Connect { maximum_packet_size: Some(20), ..Connect::new(V5, "bob") });
        let cat = broker.connect(V5, "cat");
        bob.subscribe("a", Q1);
        cat.subscribe("a", Q1);
        let large = "x".repeat(1 << 20);
        for round in 1..=3 {
            ann.send(qos1(1, "a", &large));
            ann.expect(puback(1));
            let (packet_id, _, payload) = hear_publish(&cat);
            assert_eq!(payload.len(), large.len());
            cat.send(puback(packet_id));
            ann.send(qos1(1, "a", "small"));
            ann.expect(puback(1));
            bob.expect(qos1(round, "a", "small"));
            bob.send(puback(round));
            cat.hear();
            cat.send(puback(packet_id + 1));
        }
        bob.expect_alive();
    });
}

/// Case Q11: a thousand overlapping subscriptions, the greatest identifier among them: one copy, every identifier once.
#[test]
fn a_thousand_overlapping_subscriptions_make_one_copy_with_every_identifier() {
    everywhere(|broker| {
        let (ann, bob) = (broker.connect(V5, "ann"), broker.connect(V5, "bob"));
        // Ten levels: each of 2^10 filters has its own choice of name or `+` at every level.
        let topic = "a/a/a/a/a/a/a/a/a/a";
        let ids: Vec<u32> = (0..1000).map(|number| 268_435_455 - number).collect();
        for (number, id) in ids.iter().enumerate() {
            let levels: Vec<&str> = (0..10).map(|level| if number >> level & 1 == 1 { "+" } else { "a" }).collect();
            bob.send(subscribe(1).to(&levels.join("/"), QoS::AtMostOnce).numbered(*id));
            bob.expect(suback(1, &[0]));
        }
        ann.send(qos0(topic, "x"));
        let heard: BTreeSet<u32> = bob.hear_packet(|packet| {
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            assert_eq!(publish.properties.subscription_ids().count(), 1000, "each once");
            publish.properties.subscription_ids().collect()
        });
        assert_eq!(heard, ids.into_iter().collect());
        bob.expect_nothing();
    });
}

/// Case Q13: a million messages from one shard to another, taken over now and then with messages unacknowledged: what is new
/// comes in strictly rising order, and nothing of it is missing.
#[test]
fn order_is_kept_over_shards_and_takeovers() {
    let count = full_or(1_000_000, 100_000);
    let broker = Broker::of_two();
    let ann = broker.connect(V5, "ann");
    let mut bob = broker.join(lasting(V5, "bob", 100));
    bob.subscribe("a", Q1);
    let (mut newest, mut unanswered) = (0, Vec::new());
    for number in 1..=count {
        ann.send(qos1(1, "a", &number.to_string()));
        ann.expect(puback(1));
        let (packet_id, is_repeated, payload) = hear_publish(&bob);
        let got: usize = std::str::from_utf8(&payload).expect("digits").parse().expect("a number");
        assert!(!is_repeated && got == newest + 1, "{got} after {newest}");
        newest = got;
        unanswered.push(packet_id);
        if number % 100 < 90 {
            unanswered.drain(..).for_each(|packet_id| bob.send(puback(packet_id)));
        } else if number % 1000 == 999 {
            let next = broker.rejoin(lasting(V5, "bob", 100));
            bob.expect_disconnect(ReasonCode::SessionTakenOver);
            bob = next;
            for &packet_id in &unanswered {
                let (repeated_id, is_repeated, _) = hear_publish(&bob);
                assert!(is_repeated && repeated_id == packet_id, "in the order in which they were sent");
            }
        }
    }
    assert_eq!(newest, count);
}

/// Case Q14: ten thousand wills wait at once: each comes once, when its delay or its session ends, and nothing is left.
#[test]
fn ten_thousand_wills_wait_and_come_once_each() {
    let count = full_or(10_000, 2000);
    let limits = Limits { queued_messages_max: 100_000, ..Limits::default() };
    let broker = Broker::with(2, limits);
    let cat = broker.connect(V5, "cat");
    cat.subscribe("gone/#", Q0);
    for number in 0..count {
        // Delay before expiry, expiry before delay, and a delay without end.
        let (delay_secs, expiry_secs) = [(10, 20), (20, 10), (u32::MAX, 10)][number % 3];
        let (client_id, topic) = (format!("c{number}"), format!("gone/{number}"));
        let last_will = LastWill { delay_secs, ..will(Q0, &topic, "") };
        let connect =
            Connect { keep_alive_secs: 0, last_will: Some(last_will), ..lasting(V5, &client_id, expiry_secs) };
        let peer = broker.dial(V5);
        peer.send(connect);
        peer.expect_admission(false);
        peer.vanish();
    }
    cat.expect_nothing();
    broker.at_millis(9_900);
    cat.expect_nothing();
    broker.at(11);
    let mut gone = BTreeSet::new();
    while let Some(bytes) = cat.try_hear() {
        assert!(gone.insert(bytes), "once each");
    }
    assert_eq!(gone.len(), count);
    broker.at(21);
    cat.expect_nothing();
    assert_eq!(broker.sizes().sessions, 1);
}

/// Case Q15: a million retained messages, then taken back in one of three ways: nothing is left of them on any shard.
#[test]
fn a_million_retained_messages_leave_nothing_behind() {
    let count = full_or(1_000_000, 30_000);
    let broker = Broker::of_two();
    let (ann, bob) = (broker.connect(V5, "ann"), broker.connect(V5, "bob"));
    let base = broker.sizes();
    let expiry = [ringmq::wire::Property::MessageExpiryInterval(30)];
    for number in 0..count {
        let topic = format!("r/{}/{number}", number % 7);
        if number % 3 == 0 {
            ann.send(qos0(&topic, "x").retained().with(&expiry));
        } else {
            ann.send(qos0(&topic, "x").retained());
        }
    }
    assert_eq!(broker.sizes().retained_messages, 2 * count);
    for number in (0..count).filter(|number| number % 3 > 0) {
        // One shard set it; either may clear it.
        let eraser = if number % 3 == 1 { &ann } else { &bob };
        eraser.send(qos0(&format!("r/{}/{number}", number % 7), "").retained());
    }
    broker.at(32 + count as u64 / 16_384 + 60);
    let sizes = broker.sizes();
    assert_eq!((sizes.retained_messages, sizes.retained_tombstones), (0, 0), "{sizes:?}");
    assert_eq!(sizes.subscriptions, base.subscriptions);
}
