//! The drop ledger: for each reason a message that is lost, counted once, and the sum.
//!
//! Duty: exact counts in small worlds. Must not: test why a message is dropped (`flow_control`, `packet_size`, `expiry`).
//! Neighbours: `src/shard/counters.rs`; the simulation checks the sum after every turn.

use ringmq::limits::{Limits, QueueFull};
use ringmq::shard::DropReason;
use ringmq::wire::{Connect, Disconnect, Property, ReasonCode};

use super::broker::{Broker, everywhere_with};
use super::packets::*;

/// What the ledger holds: matches, delivered, queued now, and the reasons that are not 0.
fn ledger(broker: &Broker) -> (u64, u64, usize, Vec<(&'static str, u64)>) {
    let matches = broker.count(|counters| counters.matches);
    let delivered = broker.count(|counters| counters.delivered.sum());
    let queued = broker.sizes().queued_messages;
    let dropped = DropReason::ALL.map(|reason| (reason.name(), broker.count(|counters| counters.dropped_for(reason))));
    let sum: u64 = dropped.iter().map(|(_, times)| times).sum();
    assert_eq!(matches, delivered + sum + queued as u64, "the ledger adds up");
    assert_eq!(broker.count(|counters| counters.queued()), queued as u64, "what the ledger leaves is what waits");
    (matches, delivered, queued, dropped.into_iter().filter(|(_, times)| *times > 0).collect())
}

/// Three sessions want it, one of them twice; one gets it at once, one later, one never.
#[test]
fn a_message_counts_once_per_session_that_it_is_for() {
    everywhere_with(&Limits::default(), |broker| {
        let ann = broker.connect(V5, "ann");
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q1);
        bob.subscribe("#", Q1);
        let away = broker.join(lasting(V5, "dan", 100));
        away.subscribe("a", Q1);
        away.vanish();
        let deaf = broker.join(lasting(V5, "cat", 100));
        deaf.subscribe("a", Q0);
        deaf.vanish();
        ann.send(qos1(1, "a", "x"));
        ann.expect(puback(1));
        assert_eq!(ledger(broker), (3, 1, 1, vec![("dropped_offline", 1)]));
        let away = broker.rejoin(lasting(V5, "dan", 100));
        away.expect(qos1(1, "a", "x"));
        assert_eq!(ledger(broker), (3, 2, 0, vec![("dropped_offline", 1)]));
        away.vanish();
        let away = broker.rejoin(lasting(V5, "dan", 100));
        away.expect(qos1(1, "a", "x").again());
        assert_eq!(ledger(broker), (3, 2, 0, vec![("dropped_offline", 1)]));
        assert_eq!(broker.count(|counters| counters.resent), 1);
        bob.ignore_rest();
    });
}

#[test]
fn a_queue_that_drops_or_refuses_counts_each_message_once() {
    for queue_full in [QueueFull::Reject, QueueFull::DropNewest, QueueFull::DropOldest] {
        everywhere_with(&Limits { queued_messages_max: 2, queue_full, ..Limits::default() }, |broker| {
            let bob = broker.join(lasting(V5, "bob", 100));
            bob.subscribe("a", Q1);
            bob.vanish();
            let ann = broker.connect(V5, "ann");
            (1..=5).for_each(|packet_id| ann.send(qos1(packet_id, "a", "x")));
            assert_eq!(ledger(broker), (5, 0, 2, vec![("dropped_queue_full", 3)]));
            ann.ignore_rest();
        });
    }
}

#[test]
fn what_waits_for_a_session_that_ends_is_dropped() {
    everywhere_with(&Limits::default(), |broker| {
        let bob = broker.join(Connect { receive_maximum: Some(1), ..lasting(V5, "bob", 100) });
        bob.subscribe("a", Q1);
        let ann = broker.connect(V5, "ann");
        (1..=3).for_each(|packet_id| ann.send(qos1(packet_id, "a", "x")));
        assert_eq!(ledger(broker), (3, 1, 2, vec![]));
        bob.send(Disconnect { session_expiry_secs: Some(0), ..Disconnect::new(ReasonCode::NORMAL_DISCONNECTION) });
        assert_eq!(ledger(broker), (3, 1, 0, vec![("dropped_session_ended", 2)]));
        assert_eq!(broker.count(|counters| counters.abandoned_in_flight), 1);
        ann.ignore_rest();
        bob.ignore_rest();
    });
}

#[test]
fn what_ends_or_is_too_large_is_counted_when_its_turn_comes() {
    everywhere_with(&Limits::default(), |broker| {
        let bob = broker.join(lasting(V5, "bob", 100));
        bob.subscribe("a", Q1);
        bob.vanish();
        let ann = broker.connect(V5, "ann");
        ann.send(qos1(1, "a", "short").with(&[Property::MessageExpiryInterval(10)]));
        ann.send(qos1(2, "a", &"x".repeat(100)));
        ann.send(qos1(3, "a", "y"));
        assert_eq!(ledger(broker), (3, 0, 3, vec![]));
        broker.at(11);
        let bob = broker.rejoin(Connect { maximum_packet_size: Some(50), ..lasting(V5, "bob", 100) });
        bob.expect(qos1(3, "a", "y"));
        assert_eq!(ledger(broker), (3, 1, 0, vec![("dropped_expired", 1), ("dropped_too_large", 1)]));
        assert_eq!(broker.count(|counters| counters.delivered_late.sum()), 1, "what was not delivered was not late");
        ann.ignore_rest();
    });
}

/// One pair for the whole group, whoever took it or could not.
#[test]
fn a_shared_subscription_is_one_pair() {
    everywhere_with(&Limits { queued_messages_max: 1, backpressure_ms_max: 0, ..Limits::default() }, |broker| {
        let ann = broker.connect(V5, "ann");
        for client_id in ["bob", "cat"] {
            let peer = broker.join(lasting(V5, client_id, 100));
            peer.subscribe("$share/g/a", Q1);
            peer.vanish();
        }
        (1..=3).for_each(|packet_id| ann.send(qos1(packet_id, "a", "x")));
        assert_eq!(ledger(broker), (3, 0, 2, vec![("dropped_queue_full", 1)]));
        ann.send(qos0("a", "x"));
        assert_eq!(ledger(broker), (4, 0, 2, vec![("dropped_queue_full", 1), ("dropped_offline", 1)]));
        ann.ignore_rest();
    });
}

/// A retained message counts when it is sent to a new subscription.
#[test]
fn a_retained_message_is_a_pair_with_each_new_subscription() {
    everywhere_with(&Limits::default(), |broker| {
        let ann = broker.connect(V5, "ann");
        ann.send(qos1(1, "a", "x").retained());
        assert_eq!(ledger(broker), (0, 0, 0, vec![]));
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q1);
        bob.expect(qos1(1, "a", "x").retained());
        assert_eq!(ledger(broker), (1, 1, 0, vec![]));
        ann.ignore_rest();
    });
}
