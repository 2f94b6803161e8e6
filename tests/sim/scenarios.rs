//! Runs that are led to one place on purpose, where the random ones come by too seldom.
//!
//! Duty: one named case each, with the checks of every run still on. Must not: repeat what a seed covers. Neighbours:
//! `world` and `finale` lend the steps.

use ringmq::limits::Limits;
use ringmq::wire::QoS;

use crate::finale::{clean, options};
use crate::habits::WATCHER;
use crate::line::Asked;
use crate::plan::Plan;
use crate::world::World;

/// Calm weather: nothing but what the scenario does.
pub(crate) fn calm(shards: usize, limits: Limits) -> World {
    let plan = Plan {
        shards,
        clients: 1,
        is_tight: false,
        limits,
        batches_max: 2,
        mesh_delay_millis_max: 5,
        jam_percent: 0,
        jump_percent: 0,
        crowd_percent: 0,
        storm_percent: 0,
        store_delay_millis_max: 0,
        keeps: true,
        line_bytes_max: 100_000,
        churn_permille: 0,
        ..Plan::of(7)
    };
    let mut world = World::new(plan);
    world.start_watcher();
    world
}

pub(crate) fn leave(mut world: World, clients: &[usize]) {
    world.judge_deliveries();
    let mut everyone = clients.to_vec();
    everyone.push(WATCHER);
    world.end_sessions(&everyone);
    world.pass_time(1000);
    world.judge_leaks();
}

pub(crate) fn subscribe(world: &mut World, client: usize, filter: &str, qos: QoS) {
    world.with_client(client, |client, desk| client.subscribe(&[(filter.to_owned(), options(qos))], None, desk));
}

pub(crate) fn publish(world: &mut World, client: usize, topic: &str, qos: QoS) -> u32 {
    world.with_client(client, |client, desk| client.publish(topic, qos, false, Some(10), None, desk))
}

/// A client whose id belongs to `shard` and whose session stays.
pub(crate) fn add_keeper(world: &mut World, shard: usize) -> usize {
    let client = world.add_probe(shard, "k");
    reconnect(world, client);
    client
}

pub(crate) fn reconnect(world: &mut World, client: usize) {
    let asked = Asked { is_clean: false, expiry_secs: 3600, ..clean() };
    world.with_client(client, |client, desk| client.connect(asked, QoS::AtMostOnce, desk));
    world.come_to_rest();
}

/// The sessions that got a message.
pub(crate) fn receivers(world: &World, number: u32) -> Vec<usize> {
    let sessions = world.oracle.sessions.iter().enumerate();
    sessions.filter(|(_, session)| session.got.contains_key(&number)).map(|(index, _)| index).collect()
}

/// Case X01: a shard that stands still for five seconds bounds the queues of the other, and nothing is lost or stuck, also
/// when both stand still in turn.
#[test]
fn a_shard_that_stands_still_stops_publishers_and_loses_nothing() {
    let limits = Limits { mesh_publishes_max: 4, receive_maximum: 1000, ..Limits::default() };
    let mut world = calm(2, limits);
    let clients = [world.add_probe(0, "a"), world.add_probe(1, "b")];
    for client in clients {
        subscribe(&mut world, client, "t/#", QoS::AtLeastOnce);
        world.come_to_rest();
    }
    for stopped in [1, 0] {
        let until = world.now.after_millis(5000);
        world.nodes[stopped].is_stopped_until = until;
        for round in 0..250 {
            for client in clients {
                publish(&mut world, client, "t/0", QoS::AtMostOnce);
                publish(&mut world, client, "t/1", QoS::AtLeastOnce);
            }
            for index in 0..2 {
                world.turn(index, true);
            }
            world.now = world.now.after_millis(20);
            let unacked = world.clients[clients[1 - stopped]].unacked.len();
            assert!(round < 20 || unacked > 10, "publishers wait while the other shard stands still: {unacked}");
        }
        let largest = world.nodes[1 - stopped].outbox.mesh.iter().map(|batch| batch.messages.len()).max();
        assert!(largest <= Some(8), "the batch that waits is bounded: {largest:?}");
        world.come_to_rest();
    }
    leave(world, &clients);
}

/// Case X02: subscribe on one shard, publish on another as soon as SUBACK is there.
#[test]
fn a_message_sent_after_suback_arrives_whatever_shard_it_is_sent_on() {
    let mut world = calm(4, Limits::default());
    let clients: Vec<usize> = (0..4).map(|shard| world.add_probe(shard, "x")).collect();
    for round in 0..100 {
        let (subscriber, filter) = (clients[round % 4], format!("t/{round}"));
        subscribe(&mut world, subscriber, &filter, QoS::AtMostOnce);
        while !world.clients[subscriber].asking.is_empty() {
            (0..4).for_each(|index| world.turn(index, false));
            world.with_client(subscriber, |client, desk| client.read(usize::MAX, desk));
            world.now = world.now.after_millis(1);
        }
        let numbers: Vec<u32> =
            clients.iter().map(|&client| publish(&mut world, client, &filter, QoS::AtMostOnce)).collect();
        world.come_to_rest();
        let session = world.oracle.current[subscriber].expect("connected");
        assert!(numbers.iter().all(|&number| receivers(&world, number) == [session]), "round {round}");
        world.with_client(subscriber, |client, desk| client.unsubscribe(&filter, desk));
        world.come_to_rest();
        let late = publish(&mut world, clients[(round + 1) % 4], &filter, QoS::AtLeastOnce);
        world.come_to_rest();
        assert!(receivers(&world, late).is_empty(), "nothing comes after UNSUBACK");
    }
    leave(world, &clients);
}

/// Cases S06, S07, Q13: one client taken over again and again by connections that other shards accept, while messages are
/// on their way: exactly one connection lives, and nothing of QoS 1 or 2 is lost, doubled or out of order.
#[test]
fn a_storm_of_takeovers_keeps_the_session_whole() {
    let mut world = calm(3, Limits { inflight_messages_max: 3, ..Limits::default() });
    let publisher = world.add_probe(0, "p");
    let subscriber = add_keeper(&mut world, 1);
    let asked = Asked { is_clean: false, expiry_secs: 3600, ..clean() };
    subscribe(&mut world, subscriber, "t/#", QoS::ExactlyOnce);
    world.come_to_rest();
    for round in 0..300 {
        publish(&mut world, publisher, "t/0", if round % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce });
        for _ in 0..round % 7 {
            (0..3).for_each(|index| world.turn(index, false));
            world.now = world.now.after_millis(1);
            for client in [publisher, subscriber] {
                world.with_client(client, |client, desk| {
                    client.read(40, desk);
                    client.send_acks(2, desk);
                });
            }
        }
        if world.clients[subscriber].phase == crate::client::Phase::On {
            world.with_client(subscriber, |client, desk| client.connect(asked.clone(), QoS::AtMostOnce, desk));
        }
        while !world.clients[publisher].may_publish() {
            world.come_to_rest();
        }
    }
    world.come_to_rest();
    assert!(world.clients[subscriber].left.is_empty(), "every line that was taken over is closed");
    assert!(world.oracle.checks.takeovers > 20, "the storm was one");
    leave(world, &[publisher, subscriber]);
}

/// Section 4.8.2 and the design: strict round robin in order of subscription wherever members and publishers live; a
/// member that leaves is passed over.
#[test]
fn a_shared_subscription_goes_round_in_order_of_subscription_over_all_shards() {
    let mut world = calm(3, Limits::default());
    let publishers: Vec<usize> = (0..3).map(|shard| world.add_probe(shard, "p")).collect();
    let mut members: Vec<usize> = [2, 0, 1, 0, 2].map(|shard| world.add_probe(shard, "m")).into();
    for &member in &members {
        subscribe(&mut world, member, "$share/one/s/#", QoS::AtLeastOnce);
        world.come_to_rest();
    }
    while members.len() > 1 {
        world.judge_round_robin("$share/one/s/#", "s/1", &publishers);
        let leaving = members.remove(members.len() / 2);
        world.with_client(leaving, |client, desk| client.lose(desk));
        let numbers: Vec<u32> =
            publishers.iter().map(|&client| publish(&mut world, client, "s/0", QoS::AtLeastOnce)).collect();
        world.come_to_rest();
        assert!(numbers.iter().all(|&number| receivers(&world, number).len() <= 1), "one member at most");
    }
    publishers.iter().for_each(|&client| world.end_sessions(&[client]));
    leave(world, &members);
}

/// Retained messages of writers on all shards, at once and over one another, end the same everywhere; deletions leave
/// nothing behind.
#[test]
fn concurrent_writers_leave_the_same_retained_message_on_every_shard() {
    let mut world = calm(4, Limits::default());
    let writers: Vec<usize> = (0..4).map(|shard| world.add_probe(shard, "w")).collect();
    for round in 0..60 {
        for &writer in &writers {
            let padding = (world.random.chance(70) && round < 58).then_some(3);
            world.with_client(writer, |client, desk| {
                client.publish("r/0", QoS::AtLeastOnce, true, padding, None, desk);
            });
            let index = world.random.below(4);
            world.turn(index, false);
        }
        if round % 10 == 0 {
            world.come_to_rest();
            let readers = world.add_probes();
            world.judge_retained(&readers);
            world.end_sessions(&readers);
        }
    }
    world.come_to_rest();
    let sizes: Vec<_> = world.nodes.iter().map(|node| node.shard.sizes()).collect();
    assert!(sizes.iter().all(|sizes| (sizes.retained_messages, sizes.retained_tombstones) == (0, 0)), "{sizes:?}");
    leave(world, &writers);
}

/// The design: a DUP joins the acknowledgement that is still owed, so that what no shard has answered is not routed twice.
#[test]
fn a_repetition_of_what_is_still_owed_is_not_routed_again() {
    let mut world = calm(2, Limits::default());
    let publisher = add_keeper(&mut world, 0);
    let subscriber = world.add_probe(1, "s");
    subscribe(&mut world, subscriber, "t/#", QoS::AtLeastOnce);
    world.come_to_rest();
    world.nodes[1].is_stopped_until = world.now.after_millis(100);
    let numbers = [QoS::AtLeastOnce, QoS::ExactlyOnce].map(|qos| publish(&mut world, publisher, "t/0", qos));
    world.turn(0, true);
    reconnect(&mut world, publisher);
    assert!(world.clients[publisher].unacked.is_empty(), "the repetitions are answered");
    let session = world.oracle.current[subscriber].expect("connected");
    for number in numbers {
        assert_eq!(world.oracle.published[number as usize].resends, 1, "it was repeated");
        assert_eq!(world.oracle.sessions[session].got[&number].fresh, 1, "it was routed once");
    }
    leave(world, &[publisher, subscriber]);
}

/// Case Q05: with the policy `Reject` the publisher is told of each message that the only session could not keep, on
/// whatever shard that is, and of no other.
#[test]
fn a_full_queue_is_told_to_the_publisher_message_by_message() {
    let mut world = calm(2, Limits { queued_messages_max: 2, ..Limits::default() });
    world.plan.is_tight = true;
    let publishers = [world.add_probe(0, "p"), world.add_probe(1, "p")];
    let subscriber = add_keeper(&mut world, 1);
    subscribe(&mut world, subscriber, "t/#", QoS::ExactlyOnce);
    world.come_to_rest();
    world.with_client(subscriber, |client, desk| client.lose(desk));
    world.come_to_rest();
    let mut numbers = Vec::new();
    for turn in 0..6 {
        let qos = if turn % 3 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        numbers.push(publish(&mut world, publishers[turn % 2], "t/0", qos));
        world.come_to_rest();
    }
    reconnect(&mut world, subscriber);
    for (place, number) in numbers.iter().enumerate() {
        let is_kept = place < 2;
        let expected = if is_kept { 0x00 } else { 0x97 };
        assert_eq!(world.oracle.published[*number as usize].reason, expected, "the reason of message {place}");
        assert_eq!(!receivers(&world, *number).is_empty(), is_kept, "the delivery of message {place}");
    }
    leave(world, &[publishers[0], publishers[1], subscriber]);
}

/// A message that the first member could not take any more is acknowledged when the store of the one that took it has it.
#[test]
fn a_message_that_was_passed_on_is_stored_before_it_is_acknowledged() {
    let mut world = calm(3, Limits::default());
    let publisher = world.add_probe(0, "p");
    let members = [add_keeper(&mut world, 1), add_keeper(&mut world, 2)];
    for member in members {
        subscribe(&mut world, member, "$share/one/s/#", QoS::AtLeastOnce);
        world.come_to_rest();
    }
    world.plan.store_delay_millis_max = 1000;
    for turn in 0..20 {
        // One of the two is chosen; it is always the first that leaves while the message is on its way.
        let until = world.now.after_millis(20);
        world.mesh.jam((0, 1), until);
        publish(&mut world, publisher, "s/0", QoS::AtLeastOnce);
        world.turn(0, true);
        world.with_client(members[0], |client, desk| client.unsubscribe("$share/one/s/#", desk));
        world.turn(1, true);
        world.come_to_rest();
        assert!(world.clients[publisher].unacked.is_empty(), "turn {turn}: the acknowledgement comes");
        subscribe(&mut world, members[0], "$share/one/s/#", QoS::AtLeastOnce);
        world.come_to_rest();
    }
    assert!(world.oracle.checks.stored >= 20, "every acknowledgement was compared with the stores");
    leave(world, &[publisher, members[0], members[1]]);
}
