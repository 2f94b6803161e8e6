//! Subscribers that never acknowledge, shards that get everything, too many connections (rows Q05, X05, X06).
//!
//! Duty: bounds of delivery over sockets. Must not: repeat what virtual time shows. Neighbours: `watch`.

use std::io::Write;
use std::time::Duration;

use ringmq::wire::Connect;

use crate::broker::Broker;
use crate::packets::*;
use crate::watch::Watch;
use crate::{alone, full_or};

/// Case Q05: a subscriber that never acknowledges fills its window and its queue; then the publisher is told, each time.
#[test]
fn a_subscriber_that_never_acknowledges_is_bounded_and_the_publisher_told() {
    let _alone = alone();
    for shards in [1, 2] {
        let mut broker = Broker::start(shards, &["queued_messages_max=1000", "backpressure_ms_max=0"]);
        let watch = Watch::begin("Q05", &broker);
        let id = broker.client_id("mute", shards - 1);
        let mut mute = broker.join(&Connect { receive_maximum: Some(10), ..Connect::new(V5, &id) });
        mute.send(subscribe(1).to("news", Q1));
        assert_eq!(mute.hear()[0], 0x90);
        let mut publisher = broker.join(&Connect::new(V5, &broker.client_id("publisher", 0)));
        let (messages, mut refused) = (full_or(1_000_000, 20_000), 0);
        for _ in 0..messages / 100 {
            let packets: Vec<u8> = (1..=100).flat_map(|packet_id| qos1(packet_id, "news", "x").bytes(V5)).collect();
            publisher.stream.write_all(&packets).unwrap();
            refused += (0..100).filter(|_| publisher.hear().get(4) == Some(&0x97)).count();
        }
        (0..10).for_each(|_| assert_eq!(mute.hear()[0], 0x32));
        mute.expect_alive();
        assert_eq!(refused, messages - 1010, "the window, the queue, and no false success");
        let cost = watch.end(&format!("{messages} messages at {shards} shards, {refused} refused"));
        assert!(cost.peak_bytes < 8 << 20, "{cost:?}");
        drop((mute, publisher));
        assert_eq!(broker.stop(), Some(0));
        assert_eq!(broker.counted("dropped_queue_full"), refused as u64);
    }
}

/// D1 over sockets: a slow subscriber makes its publisher wait, and nothing is lost.
#[test]
fn a_slow_subscriber_slows_its_publisher_and_loses_nothing() {
    let _alone = alone();
    for shards in [1, 2] {
        let broker = Broker::start(shards, &["queued_messages_max=100"]);
        let watch = Watch::begin("Q05 back-pressure", &broker);
        let id = broker.client_id("slow", shards - 1);
        let mut slow = broker.join(&Connect { receive_maximum: Some(10), ..Connect::new(V5, &id) });
        slow.send(subscribe(1).to("news", Q1));
        assert_eq!(slow.hear()[0], 0x90);
        let mut publisher = broker.join(&Connect::new(V5, &broker.client_id("publisher", 0)));
        let messages = full_or(100_000_u32, 3000);
        let sender = std::thread::spawn(move || {
            // Ten in flight, as a client's window is.
            for number in 0..messages {
                publisher.send(qos1((number % 10) as u16 + 1, "news", "x"));
                if number >= 9 {
                    assert_eq!(publisher.hear().get(4).copied().unwrap_or(0), 0);
                }
            }
            (0..9).for_each(|_| assert_eq!(publisher.hear().get(4).copied().unwrap_or(0), 0));
        });
        for _ in 0..messages {
            let packet = slow.hear();
            assert_eq!(packet[0], 0x32);
            slow.send(puback(u16::from_be_bytes([packet[8], packet[9]])));
        }
        sender.join().unwrap();
        watch.end(&format!("{messages} messages at {shards} shards, none refused"));
    }
}

/// Case X05: connections above the limit of a shard are refused; those that are there stay.
#[test]
fn connections_above_the_limit_are_refused_and_the_others_stay() {
    let _alone = alone();
    let mut broker = Broker::start(2, &["connections_per_shard_max=10"]);
    let mut members: Vec<_> = (0..2)
        .flat_map(|shard| (0..5).map(move |number| (shard, number)))
        .map(|(shard, number)| broker.connect(&broker.client_id(&format!("member-{number}"), shard)))
        .collect();
    let mut refused = 0;
    let mut more = Vec::new();
    for number in 0..40 {
        let mut client = broker.dial();
        let _ = client.stream.write_all(&Connect::new(V5, &format!("more-{number}")).bytes(V5));
        match client.try_hear() {
            Ok(connack) if connack.get(3) == Some(&0) => more.push(client),
            Ok(connack) => {
                assert!(matches!(connack.get(3), Some(&0x97 | &0x9f)), "{connack:02x?}");
                refused += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(more.len() <= 10 && refused >= 30, "{} admitted, {refused} refused", more.len());
    println!("X05: 10 there, 40 more, {refused} refused");
    members.iter_mut().for_each(|member| member.expect_alive());
    drop((members, more));
    assert_eq!(broker.stop(), Some(0));
}

/// Case X06: all load on one shard; clients of another do not notice.
#[test]
fn a_hot_shard_leaves_the_others_alone() {
    let _alone = alone();
    let broker = Broker::start(2, &[]);
    let watch = Watch::begin("X06", &broker);
    let hot: Vec<_> = (0..4)
        .map(|number| {
            let id = broker.client_id(&format!("hot-{number}"), 1);
            let mut client = broker.connect(&id);
            client.stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            std::thread::spawn(move || {
                client.send(subscribe(1).to(&format!("hot/{number}"), Q0));
                let packets: Vec<u8> = (0..100).flat_map(|_| qos0(&format!("hot/{number}"), "x").bytes(V311)).collect();
                for _ in 0..full_or(3000, 200) {
                    client.stream.write_all(&packets).unwrap();
                    while client.try_hear().is_ok() {}
                }
            })
        })
        .collect();
    hot.into_iter().for_each(|thread| thread.join().unwrap());
    watch.end("4 clients of shard 1 flood, the bystander is of shard 0");
}
