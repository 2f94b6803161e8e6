//! Readers that do not read, payloads that fan out, and a broker that may not have more memory (rows R05, R17, R18).
//!
//! Duty: bytes that wait. Must not: test queues of sessions that are away beyond R18. Neighbours: `watch`.

use std::io::{Read, Write};
use std::time::Duration;

use ringmq::wire::Connect;

use crate::broker::Broker;
use crate::client::Client;
use crate::packets::*;
use crate::watch::Watch;
use crate::{alone, full_or};

fn subscribers(broker: &Broker, count: usize, topic: &str, qos: ringmq::wire::QoS) -> Vec<Client> {
    let subscriber = |number| {
        let mut client = broker.connect(&format!("subscriber-{number}"));
        client.send(subscribe(1).to(topic, qos));
        assert_eq!(client.hear()[0], 0x90);
        client
    };
    (0..count).map(subscriber).collect()
}

/// Case R05: readers that do not read hold no more than `egress_bytes_max` each; what is more is dropped and counted.
#[test]
fn stuck_readers_hold_no_more_than_their_limit() {
    let _alone = alone();
    let mut broker = Broker::start(1, &["egress_bytes_max=1048576"]);
    let readers = full_or(20, 5);
    let stuck = subscribers(&broker, readers, "flood", Q0);
    let watch = Watch::begin("R05", &broker);
    let mut publisher = broker.connect("publisher");
    let messages = full_or(100_000, 20_000);
    for _ in 0..messages {
        publisher.publish("flood", Q0, 0, &[0; 1024]);
    }
    publisher.expect_alive();
    let cost = watch.end(&format!("{readers} readers that do not read, {messages} messages of 1 KiB"));
    assert!(cost.peak_bytes < readers as u64 * (2 << 20) + (4 << 20), "{cost:?}");
    drop(stuck);
    drop(publisher);
    assert_eq!(broker.stop(), Some(0));
    let dropped = broker.counted("dropped_slow_reader");
    assert!(dropped > 0 && dropped < (readers * messages) as u64, "{dropped}");
}

/// Case R17: a large payload is held once, however many it is for.
#[test]
fn a_large_payload_for_many_is_held_once() {
    let _alone = alone();
    let mut broker = Broker::start_after("ulimit -n 20000", 1, &[]);
    let count = full_or(1000, 200);
    let mut all = subscribers(&broker, count, "large", Q0);
    let watch = Watch::begin("R17", &broker);
    let mut publisher = broker.connect("publisher");
    publisher.publish("large", Q0, 0, &vec![7; 1 << 20]);
    publisher.expect_alive();
    let mut got = vec![0; 1 + 3 + 2 + 5 + (1 << 20)];
    // Every one of a few, and some of many: what the others do not read, the kernel holds.
    for subscriber in all.iter_mut().step_by(count / 200) {
        subscriber.stream.read_exact(&mut got).unwrap();
        assert_eq!((got[0], got[got.len() - 1]), (0x30, 7));
    }
    let cost = watch.end(&format!("1 MiB for {count} subscribers"));
    assert!(cost.peak_bytes < 64 << 20, "{cost:?}");
    drop((all, publisher));
    assert_eq!(broker.stop(), Some(0));
}

/// A memory limit of the kernel for the broker, if there may be one: a shell's words that put it under the limit.
struct Cage(Option<String>);

impl Cage {
    fn new(bytes: u64) -> Self {
        let name = format!("ringmq-hostile-{}", std::process::id());
        let candidates = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        for (root, limit) in candidates {
            let folder = format!("{root}/{name}");
            let is_made = std::fs::create_dir(&folder).is_ok();
            if is_made && std::fs::write(format!("{folder}/{limit}"), bytes.to_string()).is_ok() {
                return Self(Some(folder));
            }
            let _ = std::fs::remove_dir(&folder);
        }
        Self(None)
    }

    fn preparation(&self) -> String {
        self.0.as_ref().map_or(String::new(), |folder| format!("echo $$ > {folder}/cgroup.procs"))
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Case R18: under a limit of 256 MiB, or its own where the kernel's cannot be set, the broker sheds load and goes on.
#[test]
fn a_broker_that_may_not_have_more_memory_sheds_load() {
    let _alone = alone();
    let limit_bytes: u64 = 256 << 20;
    let cage = Cage::new(limit_bytes);
    let own = full_or(&[][..], &["held_bytes_per_shard_max=33554432"]);
    let own = if cage.0.is_some() { own } else { &["held_bytes_per_shard_max=33554432"][..] };
    let mut broker = Broker::start_after(&cage.preparation(), 1, own);
    let watch = Watch::begin("R18", &broker);
    let count = full_or(200, 20);
    for number in 0..count {
        let id = format!("away-{number}");
        let mut client = broker.join(&Connect { session_expiry_secs: Some(3600), ..Connect::new(V5, &id) });
        client.send(subscribe(1).to("flood/#", Q1));
        assert_eq!(client.hear()[0], 0x90);
    }
    let stuck = subscribers(&broker, count, "flood/#", Q0);
    let mut publisher = broker.join(&Connect::new(V5, "publisher"));
    let payload = "x".repeat(3000);
    let (mut refused, rounds) = (0, full_or(2000, 200));
    for round in 0..rounds {
        let mut bytes = Vec::new();
        for packet_id in 1..=100 {
            bytes.extend(qos1(packet_id, &format!("flood/{round}/{packet_id}"), &payload).retained().bytes(V5));
        }
        publisher.stream.write_all(&bytes).unwrap();
        refused += (0..100).filter(|_| publisher.hear().get(4) == Some(&0x97)).count();
    }
    std::thread::sleep(Duration::from_millis(100));
    let whose = if cage.0.is_some() { "a limit of the kernel" } else { "held_bytes_per_shard_max" };
    let cost =
        watch.end(&format!("{whose}, {} messages for {count} away and {count} stuck, {refused} refused", rounds * 100));
    assert!(cost.peak_bytes < limit_bytes, "{cost:?}");
    assert!(refused > 0, "load was shed");
    drop(stuck);
    drop(publisher);
    assert_eq!(broker.stop(), Some(0));
}
