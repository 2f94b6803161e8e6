//! Bounds that keep what few clients do from being paid by all: memory before admission, sessions per user name.
//!
//! Duty: at each bound who is refused, who is not, what is counted and when there is room again. Must not: test what the
//! protocol demands (the other chapters). Neighbours: `connect` has the bounds of one client.

use ringmq::limits::Limits;
use ringmq::shard::DropReason;
use ringmq::wire::{Connect, ReasonCode};

use super::broker::{Broker, everywhere_with};
use super::packets::*;

fn of_user<'a>(user_name: Option<&'a str>, client_id: &'a str) -> Connect<'a> {
    Connect { user_name, ..lasting(V5, client_id, 1000) }
}

/// Case R07: many who announce a CONNECT and do not send it have their part of the memory, and not more.
#[test]
fn announced_connects_above_the_total_are_refused_until_others_have_ended() {
    let limits = Limits { preauth_bytes_max: 1000, preauth_bytes_total_max: 2500, ..Limits::default() };
    let broker = Broker::with(1, limits);
    let announce = |bytes: usize| {
        let peer = broker.dial(V5);
        // With the two length bytes and the first one, so many in all.
        peer.send_bytes(&[0x10, (bytes - 3) as u8 | 0x80, ((bytes - 3) >> 7) as u8, 0]);
        peer
    };
    let (one, two) = (announce(1000), announce(1000));
    two.send_bytes(&[0; 100]);
    announce(501).expect_close();
    let three = announce(500);
    [&one, &two, &three].iter().for_each(|peer| peer.expect_nothing());
    assert_eq!(broker.count(|counters| counters.refused_preauth_bytes), 1);
    // A CONNECT that comes whole takes no memory before it is admitted.
    broker.connect(V5, "ann").expect_alive();
    one.vanish();
    announce(1000).expect_nothing();
    announce(500).expect_close();
    // The time for CONNECT ends what never came.
    broker.at(11);
    two.expect_close();
    announce(1000).expect_nothing();
    assert_eq!(broker.count(|counters| counters.refused_preauth_bytes), 2);
    assert_eq!(broker.count(|counters| counters.refused_overdue), 3);
}

/// What a client has announced is free again when it is admitted, on the shard that admits it or hands it over.
#[test]
fn an_admitted_client_has_announced_nothing_any_more() {
    let limits = Limits { preauth_bytes_max: 1000, preauth_bytes_total_max: 1000, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let mut peers = Vec::new();
        for client_id in ["ann", "bob", "cat", "dan"] {
            let topic = "t".repeat(900);
            let connect = Connect { last_will: Some(will(Q0, &topic, "x")), ..Connect::new(V5, client_id) }.bytes(V5);
            let peer = broker.dial(V5);
            peer.send_bytes(&connect[..10]);
            peer.expect_nothing();
            peer.send_bytes(&connect[10..]);
            peer.expect_admission(false);
            peers.push(peer);
        }
        assert_eq!(broker.count(|counters| counters.refused_preauth_bytes), 0);
        peers.iter().for_each(|peer| peer.leave());
    });
}

/// One packet always has room, however small the part of a shard is.
#[test]
fn each_shard_has_room_for_one_announced_connect() {
    let limits = Limits { preauth_bytes_max: 1000, preauth_bytes_total_max: 128, ..Limits::default() };
    let broker = Broker::with(2, limits);
    let peer = broker.dial(V5);
    peer.send_bytes(&[0x10, 0xe5, 0x07]);
    peer.expect_nothing();
    let other = broker.dial(V5);
    other.send_bytes(&[0x10, 10]);
    other.expect_close();
}

/// One user cannot take the sessions of all; who has a session comes back to it.
#[test]
fn sessions_of_one_user_above_the_limit_are_refused() {
    let broker = Broker::with(1, Limits { sessions_per_user_per_shard_max: 2, ..Limits::default() });
    broker.join(of_user(Some("eve"), "one")).vanish();
    broker.join(of_user(Some("eve"), "two")).vanish();
    for version in [V311, V5] {
        let third = broker.dial(version);
        third.send(Connect { user_name: Some("eve"), ..lasting(version, "three", 1000) });
        third.expect_refusal(ReasonCode::QuotaExceeded);
    }
    assert_eq!(broker.count(|counters| counters.refused_user_sessions), 2);
    assert_eq!(broker.count(|counters| counters.refused_connects), 2);
    // Others, users or not, and the sessions that are there.
    broker.join(of_user(Some("bob"), "three")).expect_alive();
    for client_id in ["four", "five", "six"] {
        broker.join(of_user(None, client_id)).expect_alive();
    }
    broker.rejoin(of_user(Some("eve"), "one")).expect_alive();
    broker.join(Connect { clean_start: true, ..of_user(Some("eve"), "two") }).expect_alive();
    // Another user's session counts for who takes it.
    let taker = broker.dial(V5);
    taker.send(of_user(Some("eve"), "three"));
    taker.expect_refusal(ReasonCode::QuotaExceeded);
    broker.rejoin(of_user(Some("bob"), "one")).expect_alive();
    broker.join(of_user(Some("eve"), "seven")).expect_alive();
}

/// A session that has ended is not counted.
#[test]
fn a_user_has_room_again_when_sessions_end() {
    let broker = Broker::with(1, Limits { sessions_per_user_per_shard_max: 1, ..Limits::default() });
    for client_id in ["one", "two", "three"] {
        let peer = broker.join(Connect { user_name: Some("eve"), ..Connect::new(V5, client_id) });
        peer.leave();
    }
    broker.join(of_user(Some("eve"), "lasting")).vanish();
    let refused = broker.dial(V5);
    refused.send(of_user(Some("eve"), "four"));
    refused.expect_refusal(ReasonCode::QuotaExceeded);
    broker.at(1001);
    broker.join(of_user(Some("eve"), "four")).expect_alive();
}

/// Case X01: a batch for another shard is filled up to its bounds; the rest waits for the next one.
#[test]
fn a_batch_for_another_shard_has_bounds() {
    let by_number = Limits { mesh_publishes_max: 2, ..Limits::default() };
    let by_bytes = Limits { mesh_bytes_max: 8, ..Limits::default() };
    for limits in [by_number, by_bytes] {
        let broker = Broker::with(2, limits);
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q0);
        let ann = broker.connect(V5, "ann");
        broker.hold_mesh();
        ann.send_bytes(&qos0("a", "xyz").bytes(V5).repeat(5));
        assert_eq!(broker.batches(), [2]);
        broker.release_mesh();
        assert_eq!(broker.count(|counters| counters.mesh_publishes), 5);
        (0..5).for_each(|_| bob.expect(qos0("a", "xyz")));
    }
}

/// Case R07: each shard has its part of the total.
#[test]
fn announced_connects_are_bounded_by_the_part_of_their_shard() {
    let limits = Limits { preauth_bytes_max: 1000, preauth_bytes_total_max: 4000, ..Limits::default() };
    let broker = Broker::with(2, limits);
    let peers: Vec<_> = (0..6).map(|_| broker.dial(V5)).collect();
    peers.iter().for_each(|peer| peer.send_bytes(&[0x10, 0xe5, 0x07]));
    // All lines begin on the same shard, where two of them have room.
    assert_eq!(broker.count(|counters| counters.refused_preauth_bytes), 4);
}

/// Case R02: nothing is taken from the queue for a connection that has more unsent than it may.
#[test]
fn a_queue_waits_while_its_connection_is_full() {
    everywhere_with(&Limits { egress_bytes_max: 1000, ..Limits::default() }, |broker| {
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q1);
        bob.stop_reading();
        let ann = broker.connect(V5, "ann");
        (1..=30).for_each(|packet_id| ann.send(qos1(packet_id, "a", &"x".repeat(100))));
        assert_eq!(broker.sizes().queued_messages, 20);
        bob.send(puback(1));
        assert_eq!(broker.sizes().queued_messages, 20);
        bob.resume_reading();
        assert_eq!(broker.sizes().queued_messages, 0);
        ann.ignore_rest();
        bob.ignore_rest();
    });
}

/// Case R02: what a connection has unsent is bounded by what is left of the shard's bytes too.
#[test]
fn unsent_bytes_of_a_connection_are_bounded_by_the_budget() {
    let limits = Limits { held_bytes_per_shard_max: 200_000, ..Limits::default() };
    assert!(limits.egress_bytes_max > 400_000, "another bound would be the first");
    everywhere_with(&limits, |broker| {
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q0);
        bob.stop_reading();
        let ann = broker.connect(V5, "ann");
        (0..400).for_each(|_| ann.send(qos0("a", &"x".repeat(1000))));
        let dropped = broker.count(|counters| counters.dropped_for(DropReason::SlowReader));
        assert!((200..330).contains(&dropped), "{dropped} of 400");
        bob.resume_reading();
        bob.ignore_rest();
    });
}
