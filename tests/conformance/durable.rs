//! What was acknowledged is there when the broker comes back (sections 3.1.2.11.2, 4.1, 4.3, 4.4).
//!
//! Duty: sessions, queues, handshakes, retained messages and wills over a crash; what waits for the store, and what does not. Must
//! not: know files: `runtime/store` has those. Neighbours: `revival` ends and begins the broker; `tests/sim` does so under a seed.

use ringmq::auth::Policy;
use ringmq::limits::{Level, Limits};
use ringmq::shard::StoreState;
use ringmq::wire::{Connect, Packet, Publish, ReasonCode};

use super::broker::{Broker, everywhere};
use super::packets::*;

const FOREVER: u32 = u32::MAX;

/// Case S14, [MQTT-4.1.0-1], [MQTT-3.2.2-2]: session present is true, and so are its subscriptions and its queue.
#[test]
fn a_session_comes_back_with_its_subscriptions_and_its_queue() {
    for (shards, later) in [(1, 2), (2, 1), (2, 2), (1, 4)] {
        let broker = Broker::with(shards, Limits::default());
        let bob = broker.join(lasting(V5, "bob", FOREVER));
        bob.subscribe("a/#", Q2);
        bob.subscribe("$share/g/s", Q1);
        bob.vanish();
        let ann = broker.connect(V5, "ann");
        ann.send(qos1(1, "a/1", "one"));
        ann.expect(puback(1));
        ann.send(qos2(2, "a/2", "two"));
        ann.expect(pubrec(2));
        broker.crash(later, 5);
        let bob = broker.rejoin(lasting(V5, "bob", FOREVER));
        // Never sent, so without DUP.
        bob.expect(qos1(1, "a/1", "one"));
        bob.expect(qos2(2, "a/2", "two"));
        let ann = broker.connect(V5, "ann");
        ann.send(qos0("a/3", "three"));
        bob.expect(qos0("a/3", "three"));
        ann.send(qos0("s", "four"));
        bob.expect(qos0("s", "four"));
    }
}

/// [MQTT-4.4.0-1], [MQTT-3.3.1-1]: what may have been sent is sent again, with DUP and its packet id.
#[test]
fn what_was_in_flight_is_repeated_under_its_packet_id() {
    everywhere(|broker| {
        let bob = broker.join(lasting(V5, "bob", FOREVER));
        bob.subscribe("a", Q2);
        let ann = broker.connect(V5, "ann");
        for packet_id in 1..=4 {
            ann.send(qos1(packet_id, "a", "x"));
            ann.expect(puback(packet_id));
            bob.expect(qos1(packet_id, "a", "x"));
        }
        bob.send(puback(1));
        bob.send(puback(3));
        // The deletions are synced with what comes behind them.
        ann.send(qos2(5, "a", "y"));
        ann.expect(pubrec(5));
        bob.expect(qos2(5, "a", "y"));
        bob.send(pubrec(5));
        bob.expect(pubrel(5));
        broker.crash(2, 0);
        let bob = broker.rejoin(lasting(V5, "bob", FOREVER));
        bob.expect(Publish { dup: true, ..qos1(2, "a", "x") });
        bob.expect(Publish { dup: true, ..qos1(4, "a", "x") });
        bob.expect(pubrel(5));
        bob.send(pubcomp(5));
        bob.expect_nothing();
    });
}

/// [MQTT-4.3.3-10], [MQTT-4.3.3-12]: a QoS 2 message whose PUBREC was lost with the broker is delivered once, on whatever shards.
#[test]
fn a_qos_2_message_is_taken_once_before_and_after_a_crash() {
    for (shards, later) in [(1, 1), (2, 2), (2, 1), (1, 3)] {
        let broker = Broker::with(shards, Limits::default());
        let clients = ["bob", "cat"].map(|name| {
            let client = broker.join(lasting(V5, name, FOREVER));
            client.subscribe("a", Q2);
            client
        });
        clients.iter().for_each(super::peer::Peer::vanish);
        let ann = broker.join(lasting(V5, "ann", FOREVER));
        ann.send(qos2(7, "a", "once"));
        ann.expect(pubrec(7));
        broker.crash(later, 0);
        let ann = broker.rejoin(lasting(V5, "ann", FOREVER));
        ann.send(Publish { dup: true, ..qos2(7, "a", "once") });
        ann.expect(pubrec(7));
        ann.send(pubrel(7));
        ann.expect(pubcomp(7));
        broker.crash(later, 0);
        // The packet id is free, so this is another message.
        let ann = broker.rejoin(lasting(V5, "ann", FOREVER));
        ann.send(qos2(7, "a", "another"));
        ann.expect(pubrec(7));
        for name in ["bob", "cat"] {
            let client = broker.rejoin(lasting(V5, name, FOREVER));
            for expected in ["once", "another"] {
                let packet_id = client.hear_packet(|packet| {
                    let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
                    assert_eq!(publish.payload, expected.as_bytes());
                    publish.packet_id
                });
                client.send(pubrec(packet_id));
                client.expect(pubrel(packet_id));
                client.send(pubcomp(packet_id));
            }
            client.expect_nothing();
        }
    }
}

/// What the store does not have yet is not said.
#[test]
fn what_is_said_of_a_kept_session_waits_for_the_store() {
    everywhere(|broker| {
        broker.hold_store();
        let bob = broker.dial(V5);
        bob.send(lasting(V5, "bob", 100));
        bob.expect_nothing();
        broker.release_store(true);
        bob.expect_admission(false);
        broker.hold_store();
        bob.send(subscribe(1).to("a", Q2));
        bob.expect_nothing();
        broker.release_store(true);
        bob.expect(suback(1, &[2]));
        let ann = broker.connect(V5, "ann");
        broker.hold_store();
        ann.send(qos2(1, "a", "x"));
        ann.expect_nothing();
        bob.expect_nothing();
        broker.release_store(true);
        ann.expect(pubrec(1));
        bob.expect(qos2(1, "a", "x"));
        broker.hold_store();
        bob.send(pubrec(1));
        bob.expect_nothing();
        broker.release_store(true);
        bob.expect(pubrel(1));
        bob.send(pubcomp(1));
        broker.hold_store();
        bob.send(unsubscribe(2, &["a"]));
        bob.expect_nothing();
        broker.release_store(true);
        bob.expect(unsuback(2, &[0]));
    });
}

/// Clean sessions, and QoS 0, never wait.
#[test]
fn who_keeps_nothing_waits_for_nothing() {
    everywhere(|broker| {
        broker.hold_store();
        let (ann, bob) = (broker.connect(V5, "ann"), broker.connect(V5, "bob"));
        bob.subscribe("a", Q2);
        ann.send(qos1(1, "a", "x"));
        ann.expect(puback(1));
        bob.expect(qos1(1, "a", "x"));
        ann.send(qos2(2, "a", "y"));
        ann.expect(pubrec(2));
        bob.expect(qos2(2, "a", "y"));
        ann.send(pubrel(2));
        ann.expect(pubcomp(2));
        ann.send(qos0("a", "z").retained());
        bob.expect(qos0("a", "z"));
    });
}

/// [MQTT-3.3.1-5], [MQTT-3.3.1-6]: the last one that was acknowledged, and none where that was deleted or has ended.
#[test]
fn retained_messages_come_back() {
    everywhere(|broker| {
        let ann = broker.connect(V5, "ann");
        for (packet_id, topic, payload) in [(1, "r/1", "old"), (2, "r/1", "new"), (3, "r/2", "gone"), (4, "r/2", "")] {
            ann.send(qos1(packet_id, topic, payload).retained());
            ann.expect(unmatched(puback(packet_id)));
        }
        let ending = |secs| ringmq::wire::Property::MessageExpiryInterval(secs);
        ann.send(qos1(5, "r/3", "ends").retained().with(&[ending(10)]));
        ann.expect(unmatched(puback(5)));
        ann.send(qos1(6, "r/4", "ends later").retained().with(&[ending(100)]));
        ann.expect(unmatched(puback(6)));
        broker.crash(2, 60);
        let bob = broker.connect(V5, "bob");
        bob.subscribe("r/#", Q0);
        let mut heard = [bob.hear(), bob.hear()];
        heard.sort();
        let kept = [
            qos0("r/1", "new").retained().bytes(V5),
            qos0("r/4", "ends later").retained().with(&[ending(40)]).bytes(V5),
        ];
        assert_eq!(heard, kept);
        bob.expect_nothing();
        assert_eq!(broker.gauges().retained_messages, 2);
    });
}

/// [MQTT-3.1.2-8]: a broker that fails ends connections without DISCONNECT.
#[test]
fn wills_of_those_who_were_connected_are_published() {
    everywhere(|broker| {
        let bob = broker.join(lasting(V5, "bob", FOREVER));
        bob.subscribe("w/#", Q1);
        let last_will = |delay_secs, topic| Some(ringmq::wire::LastWill { delay_secs, ..will(Q1, topic, "dead") });
        let _ann = broker.join(Connect { last_will: last_will(0, "w/0"), ..lasting(V5, "ann", FOREVER) });
        let _cat = broker.join(Connect { last_will: last_will(10, "w/10"), ..lasting(V5, "cat", FOREVER) });
        let dan = broker.join(Connect { last_will: last_will(10, "w/none"), ..lasting(V5, "dan", FOREVER) });
        dan.leave();
        bob.vanish();
        broker.crash(2, 0);
        let bob = broker.rejoin(lasting(V5, "bob", FOREVER));
        broker.at(1);
        bob.hear_packet(|packet| assert!(format!("{packet:?}").contains("w/0"), "{packet:?}"));
        bob.expect_nothing();
        broker.at(11);
        bob.hear_packet(|packet| assert!(format!("{packet:?}").contains("w/10"), "{packet:?}"));
        broker.crash(1, 0);
        let bob = broker.rejoin(lasting(V5, "bob", FOREVER));
        broker.at(100);
        bob.ignore_rest();
        broker.at(200);
        bob.expect_nothing();
    });
}

/// Case S15, [MQTT-3.1.2-23]: what ends has the time that it had, whatever becomes of the wall's clock meanwhile.
#[test]
fn the_end_of_a_session_comes_over_a_crash_and_a_clock_that_jumps() {
    const TEN_YEARS_SECS: i64 = 10 * 365 * 86_400;
    for (down_secs, then, is_there) in [
        (60, 0, true),
        (101, 0, false),
        (0, 101, false),
        (50, 49, true),
        (50, 51, false),
        // Set back: it has what it had, and no more.
        (-TEN_YEARS_SECS, 99, true),
        (-TEN_YEARS_SECS, 101, false),
        // Set ahead: nobody knows better.
        (TEN_YEARS_SECS, 0, false),
    ] {
        let broker = Broker::with(1, Limits::default());
        broker.join(lasting(V5, "bob", 100)).vanish();
        // A synced commit behind it.
        broker.join(lasting(V5, "ann", FOREVER)).leave();
        broker.crash(2, down_secs);
        broker.at(then);
        let bob = broker.dial(V5);
        bob.send(lasting(V5, "bob", 100));
        bob.expect_admission(is_there);
    }
}

/// The first filter that matches says how safe a message is.
#[test]
fn a_topic_is_kept_as_its_level_says() {
    let durability = [("m/#", Level::Memory), ("w/#", Level::Write), ("#", Level::Commit)];
    let durability = durability.map(|(filter, level)| (filter.into(), level)).to_vec();
    let broker = Broker::under(1, Limits::default(), Policy { durability, ..Policy::default() });
    let bob = broker.join(lasting(V5, "bob", FOREVER));
    bob.subscribe("#", Q1);
    bob.vanish();
    let ann = broker.connect(V5, "ann");
    broker.hold_store();
    ann.send(qos1(1, "m/a", "memory"));
    ann.expect(puback(1));
    ann.send(qos1(2, "w/a", "write"));
    ann.expect(puback(2));
    ann.send(qos1(3, "c/a", "commit"));
    ann.expect_nothing();
    broker.release_store(true);
    ann.expect(puback(3));
    broker.crash(1, 0);
    let bob = broker.rejoin(lasting(V5, "bob", FOREVER));
    bob.expect(qos1(2, "w/a", "write"));
    bob.expect(qos1(3, "c/a", "commit"));
    bob.expect_nothing();
}

/// [MQTT-2.2.1-3]: what a client acknowledges late, as a crash has taken it and it was never stored, is no other message by then.
#[test]
fn packet_ids_of_what_was_not_stored_are_not_used_again_when_the_power_has_failed() {
    const AT_ONCE: u16 = 500;
    let durability = vec![("m".into(), Level::Memory), ("c".into(), Level::Commit)];
    let broker = Broker::under(1, Limits::default(), Policy { durability, ..Policy::default() });
    let bob = broker.join(lasting(V5, "bob", FOREVER));
    bob.subscribe("+", Q1);
    let ann = broker.connect(V5, "ann");
    let mut unanswered = Vec::new();
    for _ in 0..9 {
        bob.send_bytes(&unanswered.drain(..).flat_map(|packet_id| puback(packet_id).bytes(V5)).collect::<Vec<u8>>());
        ann.send_bytes(&(1..=AT_ONCE).flat_map(|packet_id| qos1(packet_id, "m", "x").bytes(V5)).collect::<Vec<u8>>());
        (1..=AT_ONCE).for_each(|packet_id| ann.expect(puback(packet_id)));
        for _ in 0..AT_ONCE {
            unanswered.push(bob.hear_packet(|packet| {
                let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
                publish.packet_id
            }));
        }
    }
    broker.lose_power(1);
    let bob = broker.rejoin(lasting(V5, "bob", FOREVER));
    let ann = broker.connect(V5, "ann");
    for _ in 0..AT_ONCE {
        ann.send(qos1(1, "c", "y"));
        ann.expect(puback(1));
        let packet_id = bob.hear_packet(|packet| {
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            publish.packet_id
        });
        assert!(!unanswered.contains(&packet_id), "{packet_id} may still be acknowledged");
    }
}

/// Case O06: what would have to be safe is refused while the disk is full, and QoS 0 and clean sessions go on.
#[test]
fn a_full_store_refuses_what_it_cannot_keep() {
    everywhere(|broker| {
        let bob = broker.join(lasting(V5, "bob", FOREVER));
        bob.subscribe("a", Q1);
        let (ann, eve) = (broker.connect(V5, "ann"), broker.connect(V311, "eve"));
        let cat = broker.connect(V5, "cat");
        cat.subscribe("b", Q1);
        broker.set_store(StoreState::Full);
        ann.send(qos1(1, "a", "x"));
        ann.expect(because(ReasonCode::QuotaExceeded, puback(1)));
        eve.send(qos1(1, "a", "x"));
        eve.expect_close();
        ann.send(qos0("a", "zero"));
        bob.expect(qos0("a", "zero"));
        ann.send(qos1(2, "b", "clean"));
        ann.expect(puback(2));
        cat.expect(qos1(1, "b", "clean"));
        bob.send(subscribe(3).to("c", Q1));
        bob.expect(suback(3, &[0x97]));
        let dan = broker.dial(V5);
        dan.send(lasting(V5, "dan", 100));
        dan.expect_refusal(ReasonCode::QuotaExceeded);
        broker.connect(V5, "fay").leave();
        assert!(broker.count(|counters| counters.refused_by_store) >= 3);
        broker.set_store(StoreState::Ready);
        ann.send(qos1(4, "a", "y"));
        ann.expect(puback(4));
        bob.expect(qos1(1, "a", "y"));
    });
}

/// Case O07: nothing that a failed commit had is ever acknowledged, and who waited for it is disconnected.
#[test]
fn a_commit_that_fails_acknowledges_nothing() {
    everywhere(|broker| {
        let bob = broker.join(lasting(V5, "bob", FOREVER));
        bob.subscribe("a", Q1);
        let ann = broker.connect(V5, "ann");
        broker.hold_store();
        ann.send(qos1(1, "a", "x"));
        bob.send(subscribe(2).to("b", Q1));
        broker.release_store(false);
        ann.expect(because(ReasonCode::QuotaExceeded, puback(1)));
        bob.ignore_rest();
        assert!(!bob.is_open(), "its SUBACK can never be true");
        assert_eq!(broker.count(|counters| counters.closed_for_store), 1);
    });
}
