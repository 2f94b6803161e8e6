//! What a broker offers all its clients, as Mosquitto's configuration words it.
//!
//! Duty: `message_size_limit`, `queue_qos0_messages`, `max_keepalive` for 3.x. Must not: test who may do what (`rights`) or the terms of a
//! listener (`identity`). Neighbours: `broker`, `peer`; gauges and counters that `$SYS` is made of.

use ringmq::auth::{Policy, Terms};
use ringmq::limits::Limits;
use ringmq::wire::{Connect, Packet, ReasonCode};

use super::broker::{Broker, everywhere};
use super::packets::*;

fn under(policy: &Policy, limits: &Limits, conversation: impl Fn(&Broker)) {
    for shards in [1, 2] {
        conversation(&Broker::under(shards, limits.clone(), policy.clone()));
    }
}

/// `message_size_limit`: a larger payload is acknowledged and reaches nobody; 5.0 is told why, and the exchange ends as it must.
#[test]
fn a_payload_above_the_limit_is_acknowledged_and_dropped() {
    under(&Policy { payload_bytes_max: 3, ..Policy::default() }, &Limits::default(), |broker| {
        let bob = broker.connect(V5, "bob");
        bob.subscribe("a", Q2);
        let over = |ack| because(ReasonCode::ImplementationSpecificError, ack);
        let ann = broker.connect(V5, "ann");
        for packet_id in [1, 2] {
            ann.send(qos1(packet_id, "a", "four"));
            ann.expect(over(puback(packet_id)));
            ann.send(qos2(packet_id, "a", "four"));
            ann.expect(over(pubrec(packet_id)));
        }
        ann.send(qos0("a", "four"));
        let old = broker.connect(V311, "old");
        old.send(qos1(1, "a", "four"));
        old.expect(puback(1));
        old.send(qos2(2, "a", "four"));
        old.expect(pubrec(2));
        old.send(pubrel(2));
        old.expect(pubcomp(2));
        bob.expect_nothing();
        ann.send(qos1(3, "a", "six"));
        ann.expect(puback(3));
        bob.expect(qos1(1, "a", "six"));
        assert_eq!(broker.count(|counters| counters.payloads_too_large), 7);
    });
}

/// The terms of a listener hold for a topic that is well known, too.
#[test]
fn a_limit_holds_for_the_hundredth_message_as_for_the_first() {
    let maximum = Terms { maximum_qos: Q1, ..Terms::default() };
    let by_qos = Policy { listeners: vec![maximum], ..Policy::default() };
    let by_size = Policy { payload_bytes_max: 3, ..Policy::default() };
    for policy in [by_qos, by_size] {
        under(&policy, &Limits::default(), |broker| {
            let [ann, bob] = ["ann", "bob"].map(|client_id| {
                let peer = broker.dial(V5);
                peer.send(Connect::new(V5, client_id));
                peer.hear();
                peer
            });
            bob.subscribe("a", Q1);
            for _ in 0..5 {
                ann.send(qos0("a", "six"));
                bob.expect(qos0("a", "six"));
            }
            // What is not limited is taken.
            ann.send(qos0("b", "six").retained());
            assert_eq!(broker.gauges().retained_messages, 1);
            if policy.payload_bytes_max == 3 {
                ann.send(qos0("a", "four"));
                bob.expect_nothing();
                assert_eq!(broker.count(|counters| counters.payloads_too_large), 1);
                ann.leave();
            } else {
                ann.send(qos2(1, "a", "six"));
                ann.expect_disconnect(ReasonCode::QoSNotSupported);
            }
        });
    }
}

/// `queue_qos0_messages`: what is QoS 0 waits as well for a client that is away, in its place among the others.
#[test]
fn qos_0_waits_for_who_is_away_if_it_is_to() {
    for queues_qos0 in [false, true] {
        under(&Policy { queues_qos0, ..Policy::default() }, &Limits::default(), |broker| {
            let bob = broker.join(lasting(V5, "bob", 100));
            bob.subscribe("a", Q1);
            bob.vanish();
            let ann = broker.connect(V5, "ann");
            ann.send(qos0("a", "zero"));
            ann.send(qos1(1, "a", "one"));
            ann.expect(puback(1));
            let bob = broker.dial(V5);
            bob.send(lasting(V5, "bob", 100));
            bob.expect(ringmq::wire::Connack { session_present: true, ..granted() });
            if queues_qos0 {
                bob.expect(qos0("a", "zero"));
            }
            bob.expect(qos1(1, "a", "one"));
        });
    }
}

/// `allow_duplicate_messages`: each subscription has its copy, at its QoS and with its identifier. Copies of one message stand side by
/// side, also where many come at once, so that nothing older comes behind what is newer; one has the greatest QoS [MQTT-3.3.4-2].
#[test]
fn overlapping_subscriptions_have_a_copy_each_if_they_are_to() {
    under(&Policy { copies_per_subscription: true, ..Policy::default() }, &Limits::default(), |broker| {
        let bob = broker.connect(V5, "bob");
        for (packet_id, filter, qos) in [(1, "a/#", Q0), (2, "a/b", Q1), (3, "+/b", Q2)] {
            bob.send(subscribe(packet_id).numbered(packet_id.into()).to(filter, qos));
            bob.expect(suback(packet_id, &[qos as u8]));
        }
        let ann = broker.connect(V5, "ann");
        let many: Vec<u8> = ["one", "two", "three"].iter().flat_map(|payload| qos0("a/b", payload).bytes(V5)).collect();
        let heard = || {
            bob.hear_packet(|packet| {
                let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
                let ids: Vec<u32> = publish.properties.subscription_ids().collect();
                (publish.payload.to_vec(), publish.qos, ids)
            })
        };
        // From the second time on the topic is remembered.
        for round in 1..=3 {
            ann.send_bytes(&many);
            for payload in ["one", "two", "three"] {
                let mut copies = [heard(), heard(), heard()];
                copies.sort_by_key(|(_, _, ids)| ids.clone());
                assert_eq!(copies, [1, 2, 3].map(|id| (payload.as_bytes().to_vec(), Q0, vec![id])));
            }
            ann.send(qos1(round, "a/b", "more"));
            ann.expect(puback(round));
            let mut copies = [heard(), heard(), heard()];
            copies.sort_by_key(|(_, _, ids)| ids.clone());
            assert_eq!(copies, [(Q0, 1), (Q1, 2), (Q1, 3)].map(|(qos, id)| (b"more".to_vec(), qos, vec![id])));
        }
        broker.rule(Policy::default());
        ann.send(qos0("a/b", "once"));
        assert_eq!(heard().0, b"once");
        bob.expect_nothing();
        // Each copy stands in the ledger.
        let counted = [broker.count(|counters| counters.matches), broker.count(|counters| counters.delivered.sum())];
        assert_eq!(counted, [3 * (3 * 3 + 3) + 1; 2]);
    });
}

/// `max_keepalive`: 5.0 is told of the shorter one [MQTT-3.2.2-21], 3.x is refused, with none as well.
#[test]
fn a_3_x_client_with_a_keep_alive_above_the_bound_is_refused_if_it_is_to() {
    let limits = Limits { keep_alive_secs_max: 60, ..Limits::default() };
    for refuses_long_keep_alive in [false, true] {
        under(&Policy { refuses_long_keep_alive, ..Policy::default() }, &limits, |broker| {
            for (keep_alive_secs, is_too_long) in [(0, true), (60, false), (61, true)] {
                let peer = broker.dial(V311);
                peer.send(Connect { keep_alive_secs, ..Connect::new(V311, "ann") });
                if is_too_long && refuses_long_keep_alive {
                    peer.expect_refusal(ReasonCode::ClientIdentifierNotValid);
                } else {
                    peer.expect(ringmq::wire::Connack { session_present: false, ..granted() });
                }
                // Keep Alive 0 is granted as the bound, too.
                let peer = broker.dial(V5);
                peer.send(Connect { keep_alive_secs, ..Connect::new(V5, "bob") });
                let server_keep_alive = is_too_long.then_some(60);
                peer.expect(ringmq::wire::Connack { server_keep_alive, ..granted() });
            }
        });
    }
    let unbounded = Limits { keep_alive_secs_max: 0, ..Limits::default() };
    under(&Policy { refuses_long_keep_alive: true, ..Policy::default() }, &unbounded, |broker| {
        broker.join(Connect { keep_alive_secs: 61, ..Connect::new(V311, "ann") }).leave();
    });
}

/// What can be asked of a shard at any time says the same as what is counted by looking at everything.
#[test]
fn gauges_say_what_there_is() {
    everywhere(|broker| {
        let bob = broker.join(lasting(V5, "bob", 100));
        let ann = broker.connect(V5, "ann");
        bob.subscribe("a", Q1);
        bob.subscribe("$share/g/b", Q1);
        ann.subscribe("c", Q0);
        let before = broker.gauges();
        assert_eq!((before.connections, before.connected, before.sessions), (2, 2, 2));
        assert_eq!((before.subscriptions, before.shared_subscriptions), (3, 1));
        bob.vanish();
        ann.send(qos1(1, "a", "x"));
        ann.expect(puback(1));
        ann.send(ringmq::wire::Publish { retain: true, ..qos0("r", "x") });
        let after = broker.gauges();
        assert_eq!((after.connections, after.connected, after.sessions), (1, 1, 2));
        assert_eq!((broker.count(|counters| counters.queued()), broker.sizes().queued_messages), (1, 1));
        assert!(after.held_bytes > before.held_bytes);
        ann.send(unsubscribe(2, &["c"]));
        ann.expect(unsuback(2, &[0]));
        assert_eq!(broker.gauges().subscriptions, 2);
        let sent = broker.control_packets();
        ann.expect_alive();
        assert_eq!(broker.control_packets(), sent + 1, "PINGRESP");
        broker.at(200);
        assert_eq!(broker.count(|counters| counters.sessions_expired), 1);
        assert_eq!((broker.gauges().subscriptions, broker.gauges().shared_subscriptions), (0, 0));
    });
}
