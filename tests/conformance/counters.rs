//! Counters: what is admitted, refused, closed or passed on is counted each time, and what waits is known.
//!
//! Duty: exact counts after more than one occurrence. Must not: test why it occurs. Neighbours: `src/shard/counters.rs`;
//! `ledger` has the messages.

use ringmq::limits::Limits;
use ringmq::shard::Counters;
use ringmq::wire::{Connect, LastWill, ReasonCode};

use super::broker::{Broker, everywhere_with};
use super::packets::*;

/// Does something several times, and expects that a counter follows.
#[track_caller]
fn each_time(broker: &Broker, counter: fn(&Counters) -> u64, happens: impl Fn()) {
    let before = broker.count(counter);
    for times in 1..=3 {
        happens();
        assert_eq!(broker.count(counter) - before, times);
    }
}

#[test]
fn connections_and_refusals_are_counted() {
    everywhere_with(&Limits { held_bytes_per_shard_max: 50_000, ..Limits::default() }, |broker| {
        each_time(broker, |counters| counters.connects, || drop(broker.connect(V5, "ann")));
        each_time(
            broker,
            |counters| counters.refused_over_budget,
            || {
                let peer = broker.dial(V5);
                let payload = "x".repeat(60_000);
                let last_will = Some(LastWill { ..will(Q0, "w", &payload) });
                peer.send(Connect { last_will, ..Connect::new(V5, "bob") });
                peer.expect_refusal(ReasonCode::QuotaExceeded);
            },
        );
        each_time(broker, |counters| counters.refused_first_packets, || broker.dial(V5).send_hex("c000"));
        each_time(broker, |counters| counters.refused_first_packets, || broker.dial(V5).send_hex("10ffffffff01"));
        each_time(broker, |counters| counters.refused_large_connects, || broker.dial(V5).send_hex("10ffff7f"));
        each_time(broker, |counters| counters.broker_closes, || broker.dial(V5).send_hex("c000"));
        each_time(
            broker,
            |counters| counters.broker_closes,
            || {
                let peer = broker.connect(V5, "cat");
                peer.send_hex("0000");
                peer.expect_disconnect(ReasonCode::MalformedPacket);
            },
        );
    });
}

/// Of every kind, whichever way it is taken.
#[test]
fn packets_are_counted() {
    everywhere_with(&Limits::default(), |broker| {
        let received = |counters: &Counters| counters.packets_received;
        each_time(broker, received, || drop(broker.connect(V5, "ann")));
        let bob = broker.connect(V5, "bob");
        each_time(broker, received, || bob.send(ringmq::wire::Packet::Pingreq));
        each_time(broker, received, || bob.send(qos0("a", "x")));
        let sent = broker.control_packets();
        each_time(broker, received, || bob.send(qos1(1, "a", "x")));
        assert_eq!(broker.control_packets() - sent, 3, "each is answered");
        broker.connect(V5, "cat").subscribe("a", Q0);
        let sent = broker.control_packets();
        for packet_id in 1..=3 {
            bob.send(qos1(packet_id, "a", "x"));
        }
        assert_eq!(broker.control_packets() - sent, 3, "in few words");
        bob.ignore_rest();
    });
}

#[test]
fn connections_beyond_their_number_are_counted() {
    let broker = Broker::with(1, Limits { connections_per_shard_max: 1, ..Limits::default() });
    let _ann = broker.connect(V5, "ann");
    each_time(&broker, |counters| counters.refused_connections, || broker.dial(V5).expect_close());
}

/// A message of the window that has expired is given up.
#[test]
fn messages_given_up_in_flight_are_counted() {
    everywhere_with(&Limits::default(), |broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe("a", Q1);
        for packet_id in 1..=3 {
            ann.send(qos1(packet_id, "a", &"x".repeat(100)));
        }
        bob.ignore_rest();
        bob.vanish();
        let bob = broker.rejoin(Connect { maximum_packet_size: Some(50), ..lasting(V5, "bob", 100) });
        bob.expect_nothing();
        assert_eq!(broker.count(|counters| counters.abandoned_in_flight), 3);
        ann.ignore_rest();
    });
}

#[test]
fn messages_passed_on_to_a_group_elsewhere_are_counted() {
    let broker = Broker::of_two();
    let ann = broker.connect(V5, "ann");
    let bob = broker.connect(V5, "bob");
    bob.subscribe("$share/g/a", Q1);
    each_time(&broker, |counters| counters.group_forwards, || ann.send(qos0("a", "x")));
    bob.ignore_rest();
}

/// A SUBACK that waits for other shards counts, and its barrier.
#[test]
fn subacks_that_wait_are_counted() {
    let broker = Broker::of_two();
    let bob = broker.connect(V5, "bob");
    broker.hold_mesh();
    bob.send(subscribe(1).to("a", Q0));
    assert_eq!(broker.sizes().subacks_waiting, 2);
    bob.send(subscribe(2).to("b", Q0));
    assert_eq!(broker.sizes().subacks_waiting, 4);
    broker.release_mesh();
    assert_eq!(broker.sizes().subacks_waiting, 0);
    bob.ignore_rest();
}

#[test]
fn sessions_beyond_their_number_are_counted() {
    let broker = Broker::with(1, Limits { sessions_per_shard_max: 1, ..Limits::default() });
    let _ann = broker.connect(V5, "ann");
    each_time(
        &broker,
        |counters| counters.refused_sessions,
        || {
            let peer = broker.dial(V5);
            peer.send(Connect::new(V5, "bob"));
            peer.expect_refusal(ReasonCode::QuotaExceeded);
        },
    );
}

/// Who wants a message may be a session here, one of another shard, or a group.
#[test]
fn messages_that_nobody_wants_are_counted() {
    everywhere_with(&Limits::default(), |broker| {
        let ann = broker.connect(V5, "ann");
        for (client_id, filter) in [("cat", "here"), ("bob", "elsewhere"), ("dan", "$share/g/shared")] {
            let peer = broker.connect(V5, client_id);
            peer.subscribe(filter, Q0);
            let topic = filter.rsplit('/').next().expect("one level at least");
            ann.send(qos0(topic, "x"));
            peer.expect(qos0(topic, "x"));
        }
        assert_eq!(broker.count(|counters| counters.unmatched), 0);
        each_time(broker, |counters| counters.unmatched, || ann.send(qos0("nobody", "x")));
    });
}
