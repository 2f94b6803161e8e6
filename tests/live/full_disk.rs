//! The disk of the store is full, and then it is not: the real binary on a file system of a few megabytes.
//!
//! Duty: case O06, end to end. Must not: look into the store: its own tests do. Neighbours: `broker`. Mounting needs root.

use std::process::Command;
use std::time::Instant;

use crate::broker::{Broker, TIMEOUT};
use crate::client::Client;
use crate::folder::Folder;
use crate::packets::{Q0, Q1, Say as _, V5, V311, lasting, puback, qos1, suback, subscribe};
use ringmq::wire::{Connect, ReasonCode};

const SUCCESS: &[u8] = &[0x40, 2];
const QUOTA_EXCEEDED: u8 = 0x97;

/// A file system in memory over a folder, unmounted when dropped.
struct Tmpfs(Folder);

impl Tmpfs {
    fn mount(size: &str) -> Self {
        let folder = Folder::new();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.root()));
        Self(folder)
    }

    fn grow(&self, size: &str) {
        run(Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(self.0.root()));
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(self.0.root()));
    }
}

fn run(command: &mut Command) {
    let status = command.status().expect("mount and umount are there");
    assert!(status.success(), "{command:?} failed; this test needs root: run scripts/test as root");
}

/// Publishes with QoS 1; the answer's reason.
fn publish(client: &mut Client, packet_id: u16, payload: &str) -> u8 {
    client.send(qos1(packet_id, "a", payload));
    let answer = client.hear();
    if answer.starts_with(SUCCESS) { 0 } else { answer[4] }
}

/// Case O06: QoS 1 is refused (0x97 for 5.0, the end of the connection for 3.x) while there is no room, QoS 0 and clean sessions go on;
/// when there is room again all goes on, and what was acknowledged is there after kill -9.
#[test]
fn a_full_disk_refuses_and_recovers_and_loses_nothing() {
    let disk = Tmpfs::mount("16m");
    let store = ["--store".to_owned(), disk.0.path("store")];
    let mut broker = Broker::start_with(&store, 2, &["queued_messages_max=1000000"]);
    let mut bob = broker.join(&lasting(V5, "bob", u32::MAX));
    bob.send(subscribe(1).to("a", Q1));
    bob.expect(&suback(1, &[1]).bytes(V5));
    drop(bob);
    let mut cat = broker.join(&Connect::new(V5, "cat"));
    cat.send(subscribe(1).to("b", Q0));
    cat.expect(&suback(1, &[0]).bytes(V5));
    let mut ann = broker.join(&Connect::new(V5, "ann"));
    let large = "x".repeat(10_000);
    let mut acknowledged = 0;
    let reason = loop {
        match publish(&mut ann, 1, &large) {
            0 => acknowledged += 1,
            reason => break reason,
        }
        assert!(acknowledged < 4000, "40 MB are in 16");
    };
    assert!(reason == QUOTA_EXCEEDED && acknowledged > 10, "0x{reason:02x} after {acknowledged}");
    let mut old = broker.join(&Connect::new(V311, "old"));
    old.send(qos1(1, "a", "x"));
    old.expect_end();
    ann.publish("b", Q0, 0, b"goes on");
    cat.hear();
    let mut dan = broker.dial();
    dan.send(lasting(V5, "dan", 100));
    let refusal = dan.hear();
    assert!(refusal[0] == 0x20 && refusal[3] == ReasonCode::QuotaExceeded as u8, "{refusal:02x?}");
    broker.line_with(&["store: FULL"]);

    disk.grow("64m");
    let begun = Instant::now();
    while publish(&mut ann, 1, "after") != 0 {
        assert!(begun.elapsed() < TIMEOUT, "there is room again, and nobody noticed");
        std::thread::yield_now();
    }
    broker.line_with(&["store: there is room again"]);
    broker.process.kill().expect("it runs");
    broker.process.wait().expect("it was killed");
    drop(broker);

    let broker = Broker::start_with(&store, 1, &[]);
    let mut bob = broker.join(&lasting(V5, "bob", u32::MAX));
    let mut found = 0;
    loop {
        let packet = bob.hear();
        let id_at = packet.len() - if packet.len() > 5000 { large.len() } else { "after".len() } - 3;
        let packet_id = u16::from_be_bytes([packet[id_at], packet[id_at + 1]]);
        bob.send(puback(packet_id));
        if packet.ends_with(b"after") {
            break;
        }
        found += 1;
    }
    assert!(found >= acknowledged, "{found} of {acknowledged} acknowledged messages came back");
}
