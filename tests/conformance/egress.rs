//! What a connection has unsent: each bound met to the byte, and when there is room again.
//!
//! Duty: who is dropped, queued or not read at a bound and above it, and that half of it must drain before it goes on. Must
//! not: test what a slow reader gets in the end (`flow_control`). Neighbours: `peer`; `src/shard/egress.rs` counts the bytes.

use ringmq::limits::Limits;
use ringmq::shard::DropReason;
use ringmq::wire::{Connack, Connect, Packet, Publish, PublishProperties};

use super::broker::{Broker, everywhere_with};
use super::packets::*;
use super::peer::Peer;

/// The bytes of a packet to `a` with this payload, as a 5.0 client gets it.
fn len(packet: Publish<'_>) -> usize {
    packet.bytes(V5).len()
}

/// A subscriber of `a` that reads nothing.
fn deaf(broker: &Broker, qos: ringmq::wire::QoS) -> Peer {
    let bob = broker.connect(V5, "bob");
    bob.subscribe("a", qos);
    bob.stop_reading();
    bob
}

fn dropped(broker: &Broker) -> u64 {
    broker.count(|counters| counters.dropped_for(DropReason::SlowReader))
}

/// A message, and one that takes the long way because it expires.
fn both_ways(payload: &str) -> [Publish<'_>; 2] {
    let plain = qos0("a", payload);
    let properties = PublishProperties { message_expiry_secs: Some(60), ..plain.properties };
    [plain, Publish { properties, ..plain }]
}

/// Case R05: the bound may be used up, and one message passes it.
#[test]
fn a_reader_is_slow_above_its_bound_and_not_at_it() {
    for message in both_ways("payload") {
        let limits = Limits { egress_bytes_max: 2 * len(message), ..Limits::default() };
        everywhere_with(&limits, |broker| {
            let bob = deaf(broker, Q0);
            let ann = broker.connect(V5, "ann");
            for expected in [0, 0, 0, 1, 2] {
                ann.send(message);
                assert_eq!(dropped(broker), expected);
            }
            bob.resume_reading();
            (0..3).for_each(|_| bob.expect(message));
        });
    }
}

/// Cases R05 and R18: what is left of the shard's bytes is a bound as well, above 64 KiB.
#[test]
fn a_reader_is_slow_above_what_is_left_of_the_budget_and_not_at_it() {
    let bytes = "x".repeat(1024);
    // What a subscription to `a` costs, and as much unsent as is left.
    let even = 258 + 2 * 66 * 1024;
    for (held_bytes_per_shard_max, taken) in [(100_000, 65), (even, 67), (even - 1, 66)] {
        for way in 0..2 {
            let message = both_ways(&bytes[..1024 + 200 - len(both_ways(&bytes[..200])[way])])[way];
            assert_eq!(len(message), 1024);
            everywhere_with(&Limits { held_bytes_per_shard_max, ..Limits::default() }, |broker| {
                let bob = deaf(broker, Q0);
                let ann = broker.connect(V5, "ann");
                (0..taken).for_each(|_| ann.send(message));
                assert_eq!(dropped(broker), 0, "{taken} of {held_bytes_per_shard_max} bytes");
                ann.send(message);
                assert_eq!(dropped(broker), 1, "{taken} of {held_bytes_per_shard_max} bytes");
                bob.ignore_rest();
            });
        }
    }
}

/// Case R05: what waits goes on when less than half of the bound is unsent.
#[test]
fn a_queue_goes_on_when_less_than_half_of_the_bound_is_unsent() {
    let message = qos1(1, "a", "payload");
    let limits = Limits { egress_bytes_max: 10 * len(message), ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let bob = deaf(broker, Q1);
        let ann = broker.connect(V5, "ann");
        (1..=12).for_each(|_| ann.send(message));
        assert_eq!(broker.sizes().queued_messages, 1);
        bob.read(6 * len(message));
        assert_eq!(broker.sizes().queued_messages, 1, "exactly half");
        bob.read(1);
        assert_eq!(broker.sizes().queued_messages, 0);
        bob.resume_reading();
        (1..=12).for_each(|packet_id| bob.expect(qos1(packet_id, "a", "payload")));
        ann.ignore_rest();
    });
}

/// Case R05: the same of what waited for a client that comes back and reads nothing.
#[test]
fn a_resumed_queue_stops_above_the_bound_and_goes_on_below_half_of_it() {
    let message = qos1(1, "a", "payload.");
    let connack = Connack { session_present: true, ..granted() }.bytes(V5).len();
    let egress_bytes_max = connack + 9 * len(message);
    assert_eq!(egress_bytes_max % 2, 0, "it has a half");
    everywhere_with(&Limits { egress_bytes_max, ..Limits::default() }, |broker| {
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe("a", Q1);
        bob.vanish();
        let ann = broker.connect(V5, "ann");
        (1..=20).for_each(|_| ann.send(message));
        let bob = broker.dial(V5);
        bob.stop_reading();
        bob.send(lasting(V5, "bob", 100));
        assert_eq!(broker.sizes().queued_messages, 10);
        bob.read(connack + 10 * len(message) - egress_bytes_max / 2);
        assert_eq!(broker.sizes().queued_messages, 10, "exactly half");
        bob.read(1);
        assert!(broker.sizes().queued_messages < 10);
        bob.resume_reading();
        bob.expect_admission(true);
        (1..=20).for_each(|packet_id| bob.expect(qos1(packet_id, "a", "payload.")));
        ann.ignore_rest();
    });
}

/// Who takes no answers is not read above the bound, until less than half of it is unsent.
#[test]
fn a_client_is_not_read_above_its_bound_of_answers() {
    everywhere_with(&Limits { egress_control_bytes_max: 8, ..Limits::default() }, |broker| {
        let bob = broker.connect(V5, "bob");
        bob.stop_reading();
        (1..=5).for_each(|_| bob.send(Packet::Pingreq));
        bob.send(qos0("a", "x"));
        let published = || broker.count(|counters| counters.publishes_received.sum());
        assert_eq!(published(), 0);
        bob.read(6);
        assert_eq!(published(), 0, "exactly half is unsent");
        bob.read(1);
        assert_eq!(published(), 1);
        bob.resume_reading();
        (1..=5).for_each(|_| bob.expect(Packet::Pingresp));
    });
}

/// The bound itself may be used up.
#[test]
fn a_client_is_read_at_its_bound_of_answers() {
    everywhere_with(&Limits { egress_control_bytes_max: 8, ..Limits::default() }, |broker| {
        let bob = broker.join(Connect::new(V5, "bob"));
        bob.stop_reading();
        (1..=4).for_each(|_| bob.send(Packet::Pingreq));
        bob.send(qos0("a", "x"));
        assert_eq!(broker.count(|counters| counters.publishes_received.sum()), 1);
        bob.resume_reading();
        (1..=4).for_each(|_| bob.expect(Packet::Pingresp));
    });
}
