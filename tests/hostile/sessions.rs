//! One client id, many connections: storms of takeovers, over shards and over sockets (rows S05, S06, S07, S09).
//!
//! Duty: who lives at the end, and what is not lost. Must not: test one takeover (`conformance`). Neighbours: `watch`.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ringmq::wire::Connect;

use crate::broker::Broker;
use crate::packets::*;
use crate::watch::Watch;
use crate::{alone, full_or};

/// Cases S05 and S06: many connections fight for one client id; one lives at the end, and memory comes back.
#[test]
fn a_storm_of_takeovers_leaves_one_alive() {
    let _alone = alone();
    for shards in [1, 2] {
        let mut broker = Broker::start(shards, &[]);
        let watch = Watch::begin("S06", &broker);
        let (is_over, taken) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for number in 0..full_or(16, 4) {
                let (broker, is_over, taken) = (&broker, &is_over, &taken);
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        let mut client = broker.dial();
                        let connect = Connect { clean_start: number % 2 == 0, ..Connect::new(V5, "contested") };
                        let say = [
                            connect.bytes(V5),
                            subscribe(1).to("storm", Q1).bytes(V5),
                            qos1(2, "storm", "x").bytes(V5),
                        ];
                        let _ = client.stream.write_all(&say.concat());
                        if client.try_hear().is_ok_and(|packet| packet[0] == 0x20) {
                            taken.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(full_or(30_000, 600)));
            is_over.store(true, Ordering::Relaxed);
        });
        let mut one = broker.join(&Connect::new(V5, "contested"));
        let mut other = broker.join(&Connect::new(V5, "contested"));
        let end = one.expect_end();
        assert!(end.first() == Some(&0xe0) && end.get(2) == Some(&0x8e), "{end:02x?}");
        other.send(subscribe(1).to("storm", Q1));
        assert_eq!(other.hear()[0], 0x90);
        other.send(qos1(2, "storm", "once"));
        let mut kinds = [other.hear()[0], other.hear()[0]];
        kinds.sort_unstable();
        assert_eq!(kinds, [0x32, 0x40], "one delivery and its PUBACK");
        other.send(puback(1));
        other.expect_alive();
        let cost = watch.end(&format!("{} takeovers at {shards} shards", taken.load(Ordering::Relaxed)));
        assert!(cost.left_bytes < 4 << 20, "{cost:?}");
        drop((one, other));
        assert_eq!(broker.stop(), Some(0));
    }
}

/// Case S07: the session moves from socket to socket, whichever shard accepted it, and loses no QoS 1 message.
#[test]
fn takeovers_over_shards_lose_nothing() {
    let _alone = alone();
    let broker = Broker::start(4, &[]);
    let watch = Watch::begin("S07", &broker);
    let lasting = Connect { clean_start: false, session_expiry_secs: Some(600), ..Connect::new(V5, "nomad") };
    let mut nomad = broker.join(&lasting);
    nomad.send(subscribe(1).to("home", Q1));
    assert_eq!(nomad.hear()[0], 0x90);
    let mut publisher = broker.join(&Connect::new(V5, "publisher"));
    let rounds: u32 = full_or(10_000, 300);
    let mut got = std::collections::BTreeSet::new();
    for round in 0..rounds {
        publisher.send(qos1(1, "home", &round.to_string()));
        assert_eq!(publisher.hear()[0], 0x40);
        let old = std::mem::replace(&mut nomad, broker.join(&lasting));
        drop(old);
        nomad.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        while !got.contains(&round) {
            let packet = nomad.hear();
            assert_eq!(packet[0] & 0xf7, 0x32, "{packet:02x?}");
            got.insert(std::str::from_utf8(&packet[11..]).unwrap().parse::<u32>().unwrap());
            nomad.send(puback(u16::from_be_bytes([packet[8], packet[9]])));
        }
    }
    assert_eq!(got.len(), rounds as usize);
    watch.end(&format!("{rounds} takeovers at 4 shards, nothing lost"));
}

/// Case S09: a client id of 65,535 bytes is refused with its reason, in every dialect.
#[test]
fn a_client_id_that_is_too_long_is_refused() {
    let _alone = alone();
    let broker = Broker::start(1, &["preauth_bytes_max=131072"]);
    let id = "x".repeat(65_535);
    for (version, code) in [(V5, 0x85), (V311, 2)] {
        let mut client = broker.dial();
        client.stream.write_all(&Connect::new(version, &id).bytes(version)).unwrap();
        let mut end = Vec::new();
        let _ = client.stream.read_to_end(&mut end);
        assert!(end.first() == Some(&0x20) && end.get(3) == Some(&code), "{version:?}: {end:02x?}");
    }
    println!("S09: 65,535 bytes refused");
}
