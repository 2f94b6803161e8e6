//! Topics and filters made to cost: deep, wide, many, colliding, retained without end (rows R09, R10, R11, R13, R14, R19).
//!
//! Duty: what the tries hold and how long they take. Must not: care who reads. Neighbours: `watch`.

use std::io::Write;
use std::time::{Duration, Instant};

use ringmq::wire::Connect;

use crate::broker::Broker;
use crate::client::Client;
use crate::packets::*;
use crate::watch::Watch;
use crate::{alone, full_or};

/// The reasons of so many PUBACK packets.
fn pubacks(client: &mut Client, count: usize) -> Vec<u8> {
    let reasons = (0..count).map(|_| {
        let packet = client.hear();
        assert_eq!(packet[0], 0x40, "{packet:02x?}");
        packet.get(4).copied().unwrap_or(0)
    });
    reasons.collect()
}

/// Publishes retained messages to topics, QoS 1, a window at a time; the reasons.
fn retain(client: &mut Client, topics: impl Iterator<Item = String>) -> Vec<u8> {
    let mut reasons = Vec::new();
    let mut topics = topics.peekable();
    while topics.peek().is_some() {
        let mut bytes = Vec::new();
        let window: Vec<String> = topics.by_ref().take(500).collect();
        for (at, topic) in window.iter().enumerate() {
            bytes.extend(qos1(at as u16 + 1, topic, "x").retained().bytes(V5));
        }
        client.stream.write_all(&bytes).unwrap();
        reasons.extend(pubacks(client, window.len()));
    }
    reasons
}

/// Filters of `levels` levels, each `a` or `+`, that all match `a/a/a.../TAIL`, one per number.
fn mask_filter(number: usize, levels: usize, tail: &str) -> String {
    let level = |at| if number >> at & 1 == 0 { "+" } else { "a" };
    (0..levels).map(level).chain([tail]).collect::<Vec<_>>().join("/")
}

fn subscribe_all(client: &mut Client, filters: impl Iterator<Item = String>) -> usize {
    let filters: Vec<String> = filters.collect();
    for chunk in filters.chunks(1000) {
        let packet = chunk.iter().fold(subscribe(1), |packet, filter| packet.to(filter, Q0));
        client.send(packet);
        let suback = client.hear();
        assert_eq!(suback[0], 0x90);
        assert!(suback.iter().rev().take(chunk.len()).all(|reason| *reason == 0), "granted");
    }
    filters.len()
}

/// Case R09: 200 levels and no more, with a small stack; nothing recurses.
#[test]
fn deep_topics_are_taken_up_to_the_limit_with_a_small_stack() {
    let _alone = alone();
    let mut broker = Broker::start_after("ulimit -s 256", 1, &[]);
    let watch = Watch::begin("R09", &broker);
    let mut client = broker.join(&Connect::new(V5, "deep"));
    let count = full_or(10_000, 1000);
    let deep = |number: usize, levels: usize| {
        std::iter::repeat_n("l", levels - 1)
            .map(str::to_owned)
            .chain([number.to_string()])
            .collect::<Vec<_>>()
            .join("/")
    };
    let reasons = retain(&mut client, (0..count).map(|number| deep(number, 200)));
    assert!(reasons.iter().all(|reason| *reason == 0x10), "kept, and nobody subscribes");
    let filters = (0..count).map(|number| format!("{}/+", deep(number, 199)));
    subscribe_all(&mut client, filters);
    client.send(qos1(1, &deep(0, 201), "x"));
    let end = client.expect_end();
    assert!(end.first() == Some(&0xe0) && end.get(2) == Some(&0x90), "{end:02x?}");
    watch.end(&format!("{count} topics and filters of 200 levels, 201 refused"));
    drop(client);
    assert_eq!(broker.stop(), Some(0));
}

/// Case R10: a topic that would visit more nodes than `match_nodes_max` is refused, and the others go on.
#[test]
fn a_wide_match_is_given_up_and_nobody_waits() {
    let _alone = alone();
    let mut broker = Broker::start(1, &[]);
    let watch = Watch::begin("R10", &broker);
    let levels = full_or(19, 17);
    let mut filters = 0;
    let mut clients = Vec::new();
    for part in 0..(1_usize << levels) / 65_536 {
        let mut client = broker.join(&Connect::new(V5, &format!("wide-{part}")));
        let numbers = part * 65_536..(part + 1) * 65_536;
        filters += subscribe_all(&mut client, numbers.map(|number| mask_filter(number, levels, "x")));
        clients.push(client);
    }
    let mut publisher = broker.join(&Connect::new(V5, "publisher"));
    let topic = format!("{}y", "a/".repeat(levels));
    let began = Instant::now();
    for _ in 0..50 {
        publisher.send(qos1(1, &topic, "x"));
        assert_eq!(pubacks(&mut publisher, 1), [0x97]);
    }
    let each = began.elapsed() / 50;
    watch.end(&format!("{filters} filters, a match given up after {each:?}"));
    drop((clients, publisher));
    assert_eq!(broker.stop(), Some(0));
    assert_eq!(broker.counted("publishes_too_wide"), 50);
}

/// Case R11: many topics of one form take time in proportion to their number.
#[test]
fn a_million_topics_take_linear_time() {
    let _alone = alone();
    let mut broker = Broker::start(1, &[]);
    let watch = Watch::begin("R11", &broker);
    let half = full_or(500_000, 20_000);
    let mut client = broker.join(&Connect::new(V5, "flood"));
    let timed = |client: &mut Client, from: usize| {
        let began = Instant::now();
        let reasons = retain(client, (from..from + half).map(|number| format!("{}/{}", number % 7, number << 16)));
        assert!(reasons.iter().all(|reason| *reason == 0x10));
        began.elapsed()
    };
    let (first, second) = (timed(&mut client, 0), timed(&mut client, half));
    watch.end(&format!("{half} topics in {first:?}, {half} more in {second:?}"));
    assert!(second < first * 10, "{first:?}, then {second:?}");
    drop(client);
    assert_eq!(broker.stop(), Some(0));
}

/// Case R13: one SUBSCRIBE of filters that match everything that is retained: answered, little held, and nobody waits.
#[test]
fn a_subscribe_that_matches_everything_is_replayed_as_it_is_read() {
    let _alone = alone();
    let mut broker = Broker::start(1, &[]);
    let mut owner = broker.join(&Connect::new(V5, "owner"));
    let kept = full_or(100_000, 5000);
    retain(&mut owner, (0..kept).map(|number| format!("{}{number}", "a/".repeat(15))));
    let watch = Watch::begin("R13", &broker);
    let mut greedy = broker.join(&Connect::new(V5, "greedy"));
    let filters = full_or(20_000, 2000);
    let packet = (0..filters).fold(subscribe(1), |packet, number| packet.to(&mask_filter(number, 15, "+"), Q0));
    let asked = Instant::now();
    greedy.send(packet);
    let suback = greedy.hear();
    let answered = asked.elapsed();
    assert!(suback[0] == 0x90 && suback.len() > filters);
    let read = full_or(1_000_000, 50_000);
    (0..read).for_each(|_| assert_eq!(greedy.hear()[0] & 0xf1, 0x31));
    std::thread::sleep(Duration::from_millis(300));
    let counts =
        format!("{filters} filters by {kept} retained, SUBACK after {answered:?}, {read} read, the rest never");
    let cost = watch.end(&counts);
    // Filters, unsent bytes up to their bound, and what was found last.
    assert!(cost.peak_bytes < 32 << 20, "{cost:?}");
    drop((owner, greedy));
    assert_eq!(broker.stop(), Some(0));
}

/// Case R14: retained messages end at their bound, with 0x97 to the publisher.
#[test]
fn a_flood_of_retained_messages_is_refused_at_the_limit() {
    let _alone = alone();
    let limit = full_or(1_000_000, 20_000);
    let mut broker = Broker::start(1, &[&format!("retained_messages_max={limit}")]);
    let watch = Watch::begin("R14", &broker);
    let mut client = broker.join(&Connect::new(V5, "flood"));
    let total = full_or(10_000_000, 30_000);
    let reasons = retain(&mut client, (0..total).map(|number| format!("flood/{number}")));
    let refused = reasons.iter().filter(|reason| **reason == 0x97).count();
    assert_eq!(refused, total - limit);
    let cost = watch.end(&format!("{total} topics, {refused} refused"));
    assert!(cost.peak_bytes < limit as u64 * 600 + (8 << 20), "{cost:?}");
    drop(client);
    assert_eq!(broker.stop(), Some(0));
    assert_eq!(broker.counted("retained_refused"), refused as u64);
}

/// Case R19: filters that come and go leave nothing.
#[test]
fn subscriptions_that_come_and_go_leave_no_memory() {
    let _alone = alone();
    let mut broker = Broker::start(1, &[]);
    let mut client = broker.join(&Connect::new(V5, "churn"));
    let mut churn = |from: usize, until: usize| {
        for start in (from..until).step_by(500) {
            let filters: Vec<String> = (start..start + 500).map(|number| format!("churn/{number}/+/#")).collect();
            subscribe_all(&mut client, filters.iter().cloned());
            let names: Vec<&str> = filters.iter().map(String::as_str).collect();
            client.send(unsubscribe(2, &names));
            assert_eq!(client.hear()[0], 0xb0);
        }
    };
    let total = full_or(10_000_000, 60_000);
    churn(0, total / 10);
    let watch = Watch::begin("R19", &broker);
    churn(total / 10, total);
    let cost = watch.end(&format!("{total} filters"));
    assert!(cost.left_bytes < 2 << 20, "{cost:?}");
    drop(client);
    assert_eq!(broker.stop(), Some(0));
}

/// Case R15: user properties by the thousand: refused above the limit, and linear where the limit allows them.
#[test]
fn user_properties_cost_in_proportion() {
    let _alone = alone();
    for (limit, is_refused) in [("user_properties_max=128", true), ("user_properties_max=60000", false)] {
        let mut broker = Broker::start(1, &[limit]);
        let watch = Watch::begin("R15", &broker);
        let pid = broker.process.id();
        let block = b"\x26\0\x01k\0\x01v".repeat(30_000);
        let mut body = b"\0\x01a".to_vec();
        put_length(block.len(), &mut body);
        let packet = framed(0x30, &[body, block].concat());
        let (rounds, before) = (full_or(1000, 20), crate::watch::cpu_time(pid));
        let mut client = broker.join(&Connect::new(V5, "prolix"));
        for _ in 0..rounds {
            let _ = client.stream.write_all(&packet);
            if is_refused {
                let end = client.expect_end();
                assert!(end.first() == Some(&0xe0) && end.get(2) == Some(&0x97), "{end:02x?}");
                client = broker.join(&Connect::new(V5, "prolix"));
            } else {
                client.expect_alive();
            }
        }
        let each = (crate::watch::cpu_time(pid) - before) / rounds;
        watch.end(&format!("{rounds} packets of 30,000 user properties, refused: {is_refused}, {each:?} CPU each"));
        assert!(each < Duration::from_millis(100), "{each:?}");
        drop(client);
        assert_eq!(broker.stop(), Some(0));
    }
}
