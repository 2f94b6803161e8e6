//! Rows S and X05 of the case list, at the size that the row names.
//!
//! Duty: sessions, takeovers, clocks and limits of connections. Must not: repeat what a seed covers. Neighbours: the
//! conversations of `tests/conformance` lend `broker`, `peer` and `packets`; `rows_delivery` has the messages.

use ringmq::limits::Limits;
use ringmq::shard::owner_of;
use ringmq::wire::{Connect, Disconnect, Packet, QoS, ReasonCode, Subscribe, Unsubscribe};

use crate::broker::{Broker, everywhere, everywhere_with};
use crate::finale::{clean, options};
use crate::full_or;
use crate::line::{Asked, Line};
use crate::node::Arrival;
use crate::packets::*;
use crate::scenarios::{add_keeper, calm, leave, publish, reconnect, subscribe};
use crate::world::World;

const TEN_YEARS_SECS: u64 = 10 * 365 * 86_400;

/// A connection of somebody who uses the id of a client, and says all it has to say at once.
fn storm_line(world: &mut World, client: usize, shard: usize, jitter: usize) -> usize {
    let name = world.clients[client].nature.name.clone();
    let asked = Asked { is_clean: false, expiry_secs: 3600, ..clean() };
    let line = world.lines.len();
    let connect = Connect { clean_start: false, session_expiry_secs: Some(3600), ..Connect::new(V5, &name) };
    let mut bytes = Vec::new();
    connect.encode(&mut bytes);
    let filter = format!("storm/{}", jitter % 5);
    let mut block = Vec::new();
    Subscribe::push_filter(&mut block, &filter, options(QoS::AtLeastOnce));
    let mut last = Vec::new();
    Unsubscribe::push_filter(&mut last, &filter);
    let subscribe = Packet::Subscribe(Subscribe::new(1, None, &block));
    let unsubscribe = Packet::Unsubscribe(Unsubscribe::new(2, &last));
    let said: &[Packet<'_>] = match jitter % 3 {
        0 => &[subscribe, Packet::Publish(qos0(&filter, "x"))],
        1 => &[Packet::Publish(qos0(&filter, "x")), unsubscribe, subscribe],
        _ => &[subscribe, unsubscribe],
    };
    said.iter().for_each(|packet| packet.encode(V5, &mut bytes));
    let mut fresh = Line::new(client, V5, asked, world.now);
    // Some leave in the middle of a packet.
    let kept_bytes = if jitter.is_multiple_of(7) { bytes.len() - 3 } else { bytes.len() };
    fresh.to_server.extend(&bytes[..kept_bytes]);
    fresh.is_closed_by_client = jitter.is_multiple_of(7);
    world.lines.push(fresh);
    let arrival = Arrival { line, accepted_at: world.now, rest: Vec::new(), ready_at: world.now };
    world.nodes[shard].arrive(arrival);
    line
}

/// Case S06: 200 connections with one client id on all shards at once, with subscriptions and messages: one lives at the
/// end, nothing is subscribed twice, and nothing is left of the others.
#[test]
fn two_hundred_connections_with_one_id_end_as_one() {
    let mut world = calm(3, Limits::default());
    let client = add_keeper(&mut world, 1);
    let base: Vec<_> = world.nodes.iter().map(|node| node.shard.sizes()).collect();
    for round in 0..full_or(50, 4) {
        let lines: Vec<usize> = (0..200).map(|jitter| storm_line(&mut world, client, jitter % 3, jitter)).collect();
        for _ in 0..40 {
            (0..3).for_each(|index| world.turn(index, false));
            world.now = world.now.after_millis(1);
        }
        // The client's own end of its old line sees its end.
        world.come_to_rest();
        let live = lines
            .iter()
            .filter(|&&line| !world.lines[line].is_closed_by_server && !world.lines[line].is_closed_by_client);
        assert!(live.count() <= 1, "round {round}: more than one connection lives");
        reconnect(&mut world, client);
        for place in 0..5 {
            world.with_client(client, |client, desk| client.unsubscribe(&format!("storm/{place}"), desk));
        }
        world.come_to_rest();
        let sizes: Vec<_> = world.nodes.iter().map(|node| node.shard.sizes()).collect();
        assert_eq!(sizes, base, "round {round}: as before");
    }
    assert!(world.oracle.checks.takeovers > 300, "it was a storm: {}", world.oracle.checks.takeovers);
    leave(world, &[client]);
}

/// Case S07: the id belongs to one shard, the sockets come to the other: every takeover hands over once, and what was in
/// flight goes on with the session; nothing of QoS 1 is lost.
#[test]
fn a_session_that_is_taken_over_again_and_again_from_another_shard_loses_nothing() {
    let broker = Broker::of_two();
    assert_ne!(broker.owner("bob").index(), 0, "sockets are accepted on the first shard");
    let ann = broker.connect(V5, "ann");
    let mut bob = broker.join(lasting(V5, "bob", 100));
    bob.subscribe("a", Q1);
    let mut packet_id = 0;
    for round in 0..full_or(10_000, 2000) {
        packet_id = packet_id % 65_535 + 1;
        let payload = format!("{round}");
        ann.send(qos1(1, "a", &payload));
        ann.expect(puback(1));
        bob.expect(qos1(packet_id, "a", &payload));
        let next = broker.dial(V5);
        next.send(lasting(V5, "bob", 100));
        bob.expect_disconnect(ReasonCode::SessionTakenOver);
        next.expect_admission(true);
        next.expect(qos1(packet_id, "a", &payload).again());
        next.send(puback(packet_id));
        bob = next;
    }
    bob.expect_alive();
    assert_eq!((broker.sizes().connections, broker.sizes().sessions), (2, 2));
}

/// Case S05: the same user comes again: the old connection is told 0x8E, and there are never two owners.
#[test]
fn of_two_connections_with_one_id_the_older_is_told_and_closed() {
    everywhere(|broker| {
        for clean_start in [false, true] {
            let first = broker.dial(V5);
            first.send(Connect { clean_start: true, session_expiry_secs: Some(100), ..Connect::new(V5, "bob") });
            first.expect_admission(false);
            let second = broker.dial(V5);
            second.send(Connect { clean_start, session_expiry_secs: Some(100), ..Connect::new(V5, "bob") });
            first.expect_disconnect(ReasonCode::SessionTakenOver);
            second.expect_admission(!clean_start);
            assert_eq!((broker.sizes().connections, broker.sizes().sessions), (1, 1));
            second.leave();
            broker.connect(V5, "bob").leave();
        }
    });
}

/// Case S09: the longest client id that the protocol has is refused with 0x85, and a bystander hears nothing of it.
#[test]
fn a_client_id_of_65_535_bytes_is_refused() {
    let limits = Limits { preauth_bytes_max: 100_000, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let bystander = broker.connect(V5, "cat");
        let longest = "x".repeat(65_535);
        for version in DIALECTS {
            let peer = broker.dial(version);
            peer.send(Connect::new(version, &longest));
            peer.hear_packet(|packet| {
                let Packet::Connack(connack) = packet else { panic!("{packet:?}") };
                assert_eq!(connack.reason, ReasonCode::ClientIdentifierNotValid);
            });
            peer.expect_close();
        }
        assert_eq!(broker.sizes().sessions, 1);
        bystander.expect_alive();
    });
}

/// Case S11: the clamped expiry is the one that holds.
#[test]
fn an_endless_session_ends_at_the_limit() {
    let limits = Limits { session_expiry_secs_max: 3600, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let bob = broker.dial(V5);
        bob.send(Connect { session_expiry_secs: Some(u32::MAX), ..Connect::new(V5, "bob") });
        bob.hear_packet(|packet| {
            let Packet::Connack(connack) = packet else { panic!("{packet:?}") };
            assert_eq!(connack.session_expiry_secs, Some(3600));
        });
        bob.send(Disconnect { session_expiry_secs: Some(u32::MAX), ..Disconnect::new(ReasonCode::Success) });
        bob.expect_close();
        broker.at(3599);
        assert_eq!(broker.sizes().sessions, 1);
        broker.at(3601);
        assert_eq!(broker.sizes().sessions, 0);
    });
}

/// Case S13: what was 0 at CONNECT stays 0.
#[test]
fn a_disconnect_that_raises_an_expiry_of_zero_is_a_protocol_error() {
    everywhere(|broker| {
        for asked in [None, Some(0)] {
            let bob = broker.dial(V5);
            bob.send(Connect { session_expiry_secs: asked, ..Connect::new(V5, "bob") });
            bob.expect_admission(false);
            bob.send(Disconnect { session_expiry_secs: Some(10), ..Disconnect::new(ReasonCode::Success) });
            bob.hear_packet(|packet| {
                let Packet::Disconnect(disconnect) = packet else { panic!("{packet:?}") };
                assert_eq!(disconnect.reason, ReasonCode::ProtocolError);
            });
            bob.expect_close();
            assert_eq!(broker.sizes().sessions, 0);
        }
    });
}

/// Case S14: session present says 1 only if subscriptions and queue are there; a broker that was killed has neither, while
/// durability is memory.
#[test]
fn session_present_is_true_before_and_after_a_crash() {
    for shards in [1, 2] {
        let broker = Broker::with(shards, Limits::default());
        let bob = broker.join(lasting(V5, "bob", 1000));
        bob.subscribe("a", Q1);
        bob.vanish();
        let ann = broker.connect(V5, "ann");
        ann.send(qos1(1, "a", "x"));
        ann.expect(puback(1));
        let bob = broker.rejoin(lasting(V5, "bob", 1000));
        bob.expect(qos1(1, "a", "x"));
        bob.vanish();
        let restarted = Broker::with(shards, Limits::default());
        let bob = restarted.join(lasting(V5, "bob", 1000));
        let ann = restarted.connect(V5, "ann");
        ann.send(qos0("a", "y"));
        bob.expect_nothing();
    }
}

/// Case S15: the clock leaps by ten years at once: what has an end has ended, what has none is there. It never goes back:
/// the core's clock is monotonic.
#[test]
fn a_leap_of_ten_years_ends_what_has_an_end_and_nothing_else() {
    everywhere(|broker| {
        let (bob, dan) = (broker.join(lasting(V5, "bob", u32::MAX)), broker.join(lasting(V5, "dan", 3600)));
        bob.subscribe("a", Q1);
        dan.subscribe("a", Q1);
        bob.vanish();
        dan.vanish();
        let ann = broker.connect(V5, "ann");
        ann.send(qos1(1, "a", "short").with(&[ringmq::wire::Property::MessageExpiryInterval(60)]));
        ann.expect(puback(1));
        ann.send(qos1(1, "a", "forever"));
        ann.expect(puback(1));
        broker.at(TEN_YEARS_SECS);
        ann.expect_disconnect(ReasonCode::KeepAliveTimeout);
        broker.rejoin(lasting(V5, "bob", u32::MAX)).expect(qos1(2, "a", "forever"));
        broker.join(lasting(V5, "dan", 3600)).expect_nothing();
    });
}

/// Case S17: keep alive 0 lasts as long as the bound on idleness, 24 h by default, and each packet begins it anew.
#[test]
fn a_client_without_keep_alive_is_closed_after_a_day_of_silence() {
    const DAY_SECS: u64 = 86_400;
    everywhere(|broker| {
        let bob = broker.join(Connect { keep_alive_secs: 0, ..Connect::new(V5, "bob") });
        let dan = broker.join(Connect { keep_alive_secs: 0, ..Connect::new(V311, "dan") });
        broker.at(DAY_SECS - 1);
        bob.expect_alive();
        dan.expect_nothing();
        broker.at(DAY_SECS + 1);
        dan.expect_close();
        broker.at(2 * DAY_SECS - 2);
        bob.expect_nothing();
        broker.at(2 * DAY_SECS + 1);
        bob.expect_disconnect(ReasonCode::KeepAliveTimeout);
        assert_eq!(broker.sizes().connections, 0);
    });
}

/// A client on a shard that has room. A full shard that accepts its socket refuses it before it knows whose it is, so it may
/// have to come again.
fn add_admitted(world: &mut World, shard: usize) -> usize {
    for _ in 0..100 {
        let client = world.add_probe(shard, "full");
        if world.clients[client].phase == crate::client::Phase::On {
            return client;
        }
    }
    panic!("shard {shard} takes nobody");
}

/// Case X05: every shard is full, one more comes to each: it is closed or told, those who are there stand, and when one has
/// gone there is room for one.
#[test]
fn one_connection_more_than_every_shard_has_room_for_is_refused() {
    let mut world = calm(3, Limits { connections_per_shard_max: 3, ..Limits::default() });
    let watched = owner_of(&world.clients[0].nature.name, world.plan.seed, 3).index();
    let mut clients = Vec::new();
    for shard in 0..3 {
        let room = if shard == watched { 2 } else { 3 };
        clients.extend((0..room).map(|_| add_admitted(&mut world, shard)));
    }
    for shard in 0..3 {
        let more = world.add_probe(shard, "more");
        assert!(world.clients[more].line.is_none(), "there is no room on shard {shard}");
    }
    assert!(world.oracle.checks.crowded >= 3);
    for &client in &clients {
        assert_eq!(world.clients[client].phase, crate::client::Phase::On);
        subscribe(&mut world, client, "t/#", QoS::AtLeastOnce);
    }
    world.come_to_rest();
    let number = publish(&mut world, clients[0], "t/0", QoS::AtLeastOnce);
    world.come_to_rest();
    assert_eq!(crate::scenarios::receivers(&world, number).len(), clients.len());
    let gone = clients.pop().expect("eight");
    world.end_sessions(&[gone]);
    clients.push(add_admitted(&mut world, 2));
    leave(world, &clients);
}
