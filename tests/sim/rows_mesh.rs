//! Rows X of the case list that a seed does not show at its size, and the count of matches by the model.
//!
//! Duty: forwards in flight while everything about them changes; a hot shard; counters against an independent count. Must
//! not: repeat what a seed covers. Neighbours: `scenarios` has X01 and X02; `rows_sessions` X05.

use std::collections::BTreeSet;

use ringmq::limits::Limits;
use ringmq::topic::{SubscriptionFilter, TopicName};
use ringmq::wire::{Connect, Packet, QoS, Unsubscribe};

use crate::broker::Broker;
use crate::client::Phase;
use crate::full_or;
use crate::packets::*;
use crate::peer::Peer;
use crate::random::Random;
use crate::scenarios::{calm, leave, publish, receivers, subscribe};

/// Case X03: the subscriber leaves in one way or another while forwards are on their way to it: nothing comes after
/// UNSUBACK, no route is left, nothing leaks.
#[test]
fn forwards_in_flight_find_nobody_and_leave_nothing() {
    let mut random = Random::new(3);
    for _ in 0..full_or(1000, 2) {
        let broker = Broker::of_two();
        let ann = broker.connect(V5, "ann");
        let base = broker.sizes();
        for round in 0..1000 {
            leave_while_forwards_are_on_their_way(&broker, &ann, &mut random);
            // The session ends, and with it every route to it.
            broker.connect(V5, "bob").leave();
            ann.send(qos1(9, "a", "after"));
            ann.expect(unmatched(puback(9)));
            assert_eq!(broker.sizes(), base, "round {round}: nothing is left");
        }
    }
}

fn leave_while_forwards_are_on_their_way(broker: &Broker, ann: &Peer, random: &mut Random) {
    let bob = broker.join(Connect { session_expiry_secs: Some(100), ..Connect::new(V5, "bob") });
    bob.subscribe("a", Q1);
    let before = random.below(3) as u16;
    for packet_id in 1..=before {
        ann.send(qos1(packet_id, "a", "before"));
        ann.expect(puback(packet_id));
        bob.expect(qos1(packet_id, "a", "before"));
    }
    broker.hold_mesh();
    let count = random.below(4) as u16;
    (1..=count).for_each(|packet_id| ann.send(qos1(100 + packet_id, "a", "late")));
    match random.below(3) {
        0 => {
            let mut filters = Vec::new();
            Unsubscribe::push_filter(&mut filters, "a");
            bob.send(Packet::Unsubscribe(Unsubscribe::new(7, &filters)));
            bob.hear_packet(|packet| assert!(matches!(packet, Packet::Unsuback(_)), "{packet:?}"));
            broker.release_mesh();
            bob.expect_nothing();
            (1..=count).for_each(|packet_id| ann.expect(unmatched(puback(100 + packet_id))));
            bob.vanish();
        }
        1 => {
            // Away, but with a session that waits for it.
            bob.vanish();
            broker.release_mesh();
            (1..=count).for_each(|packet_id| ann.expect(puback(100 + packet_id)));
        }
        _ => {
            bob.vanish();
            broker.release_mesh();
            (1..=count).for_each(|packet_id| ann.expect(puback(100 + packet_id)));
            let bob = broker.rejoin(lasting(V5, "bob", 100));
            let held = before + count;
            (1..=held).for_each(|_| drop(bob.hear()));
            bob.vanish();
        }
    }
}

/// Case X06: all clients belong to one shard. The others do nothing for them, serve their own while the hot one stands
/// still, and the counters of each shard show who does the work.
#[test]
fn a_hot_shard_leaves_the_others_alone_and_shows_in_its_counters() {
    let mut world = calm(3, Limits::default());
    let watched = ringmq::shard::owner_of(&world.clients[0].nature.name, world.plan.seed, 3).index();
    let (hot, cool) = ((watched + 1) % 3, (watched + 2) % 3);
    let crowd: Vec<usize> = (0..20).map(|_| world.add_probe(hot, "hot")).collect();
    let own = [world.add_probe(cool, "cool"), world.add_probe(cool, "cool")];
    crowd.iter().for_each(|&client| subscribe(&mut world, client, "t/0", QoS::AtLeastOnce));
    subscribe(&mut world, own[0], "u/1", QoS::AtLeastOnce);
    world.come_to_rest();
    let forwards = |world: &crate::world::World| -> Vec<u64> {
        world.nodes.iter().map(|node| node.shard.counters().mesh_publishes).collect()
    };
    let before = forwards(&world);
    for _ in 0..full_or(500, 20) {
        for &client in &crowd {
            publish(&mut world, client, "t/0", QoS::AtLeastOnce);
        }
        world.come_to_rest();
    }
    assert_eq!(forwards(&world), before, "nothing of it leaves the shard");
    let received: Vec<u64> = world.nodes.iter().map(|node| node.shard.counters().publishes_received.sum()).collect();
    assert!(received[hot] >= 400 && received[cool] == 0, "the work is seen where it is done: {received:?}");
    world.nodes[hot].is_stopped_until = world.now.after_millis(60_000);
    let number = publish(&mut world, own[1], "u/1", QoS::AtLeastOnce);
    let arrives_on = world.now.after_millis(100);
    while world.now < arrives_on {
        world.turn(cool, true);
        for client in own {
            world.with_client(client, |client, desk| {
                client.read(usize::MAX, desk);
                client.send_acks(usize::MAX, desk);
            });
        }
        world.now = world.now.after_millis(5);
    }
    assert_eq!(receivers(&world, number).len(), 1, "the cool shard serves its own");
    assert!(world.clients[own[1]].unacked.is_empty(), "and answers");
    let mut everyone = crowd;
    everyone.extend(own);
    world.nodes[hot].is_stopped_until = world.now;
    assert!(everyone.iter().all(|&client| world.clients[client].phase == Phase::On));
    leave(world, &everyone);
}

/// The ledger's matches are those that the model counts: one for each session with a matching subscription, and one for each
/// shared subscription that matches.
#[test]
fn the_broker_counts_as_many_matches_as_the_model() {
    const TOPICS: [&str; 6] = ["t/0", "t/1", "t/x/0", "s/1", "u/1", "none/x"];
    const FILTERS: [&str; 8] = ["t/#", "t/+", "t/0", "t/x/#", "+/0", "+/+/0", "$share/one/s/#", "$share/two/u/+"];
    let mut world = calm(3, Limits::default());
    let clients: Vec<usize> = (0..9).map(|index| world.add_probe(index % 3, "m")).collect();
    let mut wishes: Vec<BTreeSet<&str>> = Vec::new();
    for &client in &clients {
        let wished: BTreeSet<&str> = (0..world.random.below(4)).map(|_| world.random.pick(&FILTERS)).collect();
        wished.iter().for_each(|filter| subscribe(&mut world, client, filter, QoS::ExactlyOnce));
        world.come_to_rest();
        wishes.push(wished);
    }
    let before = world.matches();
    let fits =
        |filter: &str, topic: &str| SubscriptionFilter::trusted(filter).filter().matches(TopicName::trusted(topic));
    let (mut expected, mut got) = (0, 0);
    for turn in 0..300 {
        let topic = world.random.pick(&TOPICS);
        let qos = world.random.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
        let number = publish(&mut world, clients[turn % clients.len()], topic, qos);
        world.come_to_rest();
        let plain =
            |wished: &&BTreeSet<&str>| wished.iter().any(|filter| !filter.starts_with('$') && fits(filter, topic));
        let sessions = wishes.iter().filter(plain).count();
        let groups: BTreeSet<&str> =
            wishes.iter().flatten().copied().filter(|filter| filter.starts_with('$')).collect();
        expected += sessions + groups.iter().filter(|group| fits(group, topic)).count();
        let sessions = world.oracle.sessions.iter().filter_map(|session| session.got.get(&number));
        got += sessions.map(|got| got.fresh as usize).sum::<usize>();
    }
    assert_eq!((world.matches() - before) as usize, expected, "pairs of message and session");
    assert_eq!(got, expected, "and as many arrived");
    leave(world, &clients);
}
