//! The bytes that a shard holds for its clients, and who may have more of them (`held_bytes_per_shard_max`).
//!
//! Duty: the one that holds most is stopped first, others notice nothing; what is announced counts; every refusal is told and
//! counted. Must not: test the bounds of one session (`flow_control`). Neighbours: `peer`.

use ringmq::limits::Limits;
use ringmq::wire::{Connect, Packet, ReasonCode};

use super::broker::{Broker, everywhere_with};
use super::packets::*;
use super::peer::Peer;

fn limits() -> Limits {
    Limits { held_bytes_per_shard_max: 100_000, ..Limits::default() }
}

/// A session that is away, with a subscription.
fn away(broker: &Broker, client_id: &str, filter: &str) {
    let peer = broker.join(lasting(V5, client_id, 1000));
    peer.subscribe(filter, Q1);
    peer.leave();
}

/// Publishes with QoS 1; the reason that comes back.
fn reason_of(peer: &Peer, topic: &str, payload: &str) -> ReasonCode {
    peer.send(qos1(1, topic, payload));
    peer.hear_packet(|packet| match packet {
        Packet::Ack(ack) => ack.reason,
        other => panic!("expected PUBACK, got {other:?}"),
    })
}

/// Publishes until the message is refused; how many were taken.
fn fill(peer: &Peer, topic: &str, payload: &str) -> usize {
    let taken = (0..1000).take_while(|_| reason_of(peer, topic, payload) == ReasonCode::Success).count();
    assert!(taken < 1000, "the budget never ends");
    taken
}

/// Case Q05 and R18: a session that takes nothing stops at half of the budget, its publisher is told; a small one goes on.
#[test]
fn the_session_that_holds_most_is_stopped_first_and_others_notice_nothing() {
    everywhere_with(&limits(), |broker| {
        let ann = broker.connect(V5, "ann");
        away(broker, "greedy", "greedy");
        away(broker, "small", "small");
        let payload = "x".repeat(1000);
        let taken = fill(&ann, "greedy", &payload);
        assert!((30..=50).contains(&taken), "{taken} of 100 messages of 1,000 bytes");
        for _ in 0..20 {
            assert_eq!(reason_of(&ann, "small", &payload), ReasonCode::Success);
        }
        assert_eq!(reason_of(&ann, "greedy", &payload), ReasonCode::QuotaExceeded);
        let back = broker.rejoin(lasting(V5, "greedy", 1000));
        for _ in 0..taken {
            back.hear_packet(|packet| assert!(matches!(packet, Packet::Publish(_))));
        }
    });
}

#[test]
fn what_was_taken_up_is_given_back() {
    everywhere_with(&limits(), |broker| {
        let ann = broker.connect(V5, "ann");
        let payload = "x".repeat(1000);
        let mut fills = Vec::new();
        for _ in 0..3 {
            away(broker, "bob", "a");
            fills.push(fill(&ann, "a", &payload));
            let bob = broker.join(Connect { clean_start: true, ..Connect::new(V5, "bob") });
            bob.leave();
            assert_eq!(broker.sizes().held_bytes, 0);
        }
        assert!(fills.windows(2).all(|pair| pair[0] == pair[1]), "{fills:?}");
    });
}

/// Case R17: one large payload for many sessions is held once.
#[test]
fn a_large_payload_for_many_sessions_counts_once() {
    everywhere_with(&limits(), |broker| {
        let ann = broker.connect(V5, "ann");
        for number in 0..20 {
            away(broker, &format!("away{number}"), "a");
        }
        let before = broker.sizes().held_bytes;
        assert_eq!(reason_of(&ann, "a", &"x".repeat(20_000)), ReasonCode::Success);
        let added = broker.sizes().held_bytes - before;
        assert!((20_000..20_000 + 20 * 300).contains(&added), "{added} bytes for one payload of 20,000");
    });
}

/// Case R07: memory is charged when a packet announces its length.
#[test]
fn a_packet_that_announces_more_than_is_left_ends_its_connection() {
    everywhere_with(&limits(), |broker| {
        let ann = broker.connect(V5, "ann");
        let mut announcing = vec![0x30];
        put_length(60_000, &mut announcing);
        announcing.extend(b"\x00\x01a\x00");
        ann.send_bytes(&announcing);
        ann.expect_nothing();
        assert_eq!(broker.sizes().held_bytes / 60_000, 1);
        let bob = broker.connect(V5, "bob");
        bob.send_bytes(&announcing);
        if broker.shards() == 1 || broker.owner("ann") == broker.owner("bob") {
            bob.hear_packet(|packet| {
                let Packet::Disconnect(disconnect) = packet else { panic!("expected DISCONNECT, got {packet:?}") };
                assert_eq!(disconnect.reason, ReasonCode::QuotaExceeded);
            });
            bob.expect_close();
            assert_eq!(broker.count(|counters| counters.announced_over_budget), 1);
        }
        broker.connect(V5, "cat").expect_alive();
        ann.vanish();
        bob.vanish();
        assert_eq!(broker.sizes().held_bytes, 0);
    });
}

/// Case R07: a packet is charged from 16 KiB on, once, until it is there.
#[test]
fn a_large_packet_is_charged_once_while_it_is_incomplete() {
    everywhere_with(&limits(), |broker| {
        let ann = broker.connect(V5, "ann");
        for (bytes, charged) in [((16 << 10) - 1, 0), (16 << 10, 16 << 10), (60_000, 60_000)] {
            let head = if bytes > 16 << 10 { 8 } else { 7 };
            let packet = qos0("a", &"x".repeat(bytes - head)).bytes(V5);
            assert_eq!(packet.len(), bytes);
            let (parts, last) = packet.split_at(bytes - 1);
            for part in parts.chunks(4000) {
                ann.send_bytes(part);
                assert_eq!(broker.sizes().held_bytes, charged, "for {bytes} bytes");
            }
            ann.send_bytes(last);
            assert_eq!(broker.sizes().held_bytes, 0);
        }
        ann.expect_alive();
    });
}

#[test]
fn subscriptions_wills_and_retained_messages_are_bounded_too() {
    let limits = Limits { held_bytes_per_shard_max: 20_000, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let ann = broker.connect(V5, "ann");
        let filters: Vec<String> = (0..200).map(|number| format!("filter/{number}")).collect();
        let granted = filters.iter().take_while(|filter| {
            ann.send(subscribe(1).to(filter, Q1));
            ann.hear_packet(|packet| match packet {
                Packet::Suback(suback) => suback.reasons == [Q1 as u8],
                other => panic!("expected SUBACK, got {other:?}"),
            })
        });
        let granted = granted.count();
        assert!((20..80).contains(&granted), "{granted} subscriptions");
        ann.leave();
        let retaining = |topic: &str| {
            let bob = broker.join(Connect::new(V5, "bob"));
            let payload = "x".repeat(1000);
            bob.send(ringmq::wire::Publish { retain: true, ..qos1(1, topic, &payload) });
            let reason = bob.hear_packet(|packet| match packet {
                Packet::Ack(ack) => ack.reason,
                other => panic!("expected PUBACK, got {other:?}"),
            });
            bob.leave();
            reason
        };
        let kept = filters.iter().take_while(|topic| retaining(topic) == ReasonCode::NoMatchingSubscribers).count();
        assert!((5..12).contains(&kept), "{kept} retained messages");
        let payload = "x".repeat(19_000);
        let cat = broker.dial(V5);
        cat.send(Connect { last_will: Some(will(Q1, "w", &payload)), ..Connect::new(V5, "cat") });
        cat.hear_packet(|packet| {
            let Packet::Connack(connack) = packet else { panic!("expected CONNACK, got {packet:?}") };
            assert_eq!(connack.reason, ReasonCode::QuotaExceeded);
        });
        assert_eq!(broker.count(|counters| counters.refused_over_budget), 2);
    });
}

/// Case R10: a message that would visit more nodes than it may is refused, told and counted; others go on.
#[test]
fn a_message_that_matches_too_widely_is_refused() {
    let limits = Limits { match_nodes_max: 100, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let bob = broker.connect(V5, "bob");
        for pattern in 0..1_u32 << 8 {
            let levels: Vec<&str> = (0..8).map(|level| if pattern >> level & 1 == 0 { "a" } else { "+" }).collect();
            bob.subscribe(&levels.join("/"), Q1);
        }
        let ann = broker.connect(V5, "ann");
        assert_eq!(reason_of(&ann, "a/a/a/a/a/a/a/a", "x"), ReasonCode::QuotaExceeded);
        assert_eq!(broker.count(|counters| counters.publishes_too_wide), 1);
        bob.expect_nothing();
        // What is retained goes to every shard, and each finds the same.
        for times in 1..=2 {
            ann.send(qos0("a/a/a/a/a/a/a/a", "x").retained());
            let expected = 1 + times * broker.shards() as u64;
            assert_eq!(broker.count(|counters| counters.publishes_too_wide), expected);
        }
        bob.expect_nothing();
        ann.send(qos0("a/a/a/a/a/a/a/a", "x"));
        bob.expect_nothing();
        ann.send(qos1(1, "b/b/b/b/b/b/b/a", "x"));
        ann.expect(puback(1));
        bob.expect(qos1(1, "b/b/b/b/b/b/b/a", "x"));
    });
}
