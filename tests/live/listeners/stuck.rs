//! Readers that do not read, over TLS and WebSocket.

use std::io::{Read, Write};

use ringmq::wire::{Connect, ProtocolVersion};

use super::{tls, web};
use crate::broker::Broker;
use crate::packets::{Q0, Say, V311, subscribe};
use crate::papers::Papers;

const READERS: usize = 5;
const MESSAGES: usize = 20_000;

/// The most memory that the broker has had, bytes.
fn peak_bytes(broker: &Broker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Case R06: they hold what `egress_bytes_max` lets them, as over TCP, and what a transport makes of it at once.
#[test]
fn stuck_readers_of_tls_and_websocket_hold_no_more_than_their_limit() {
    let papers = Papers::new();
    let options = papers.options(&["--bind", "mqtts://127.0.0.1:0", "--bind", "ws://127.0.0.1:0"]);
    let mut broker = Broker::start_with(&options, 1, &["egress_bytes_max=1048576"]);
    let connect = |name: &str, number| Connect::new(ProtocolVersion::V311, &format!("{name}-{number}")).bytes(V311);
    let subscribe = subscribe(1).to("flood", Q0).bytes(V311);
    let mut stuck: Vec<Box<dyn Read>> = Vec::new();
    for number in 0..READERS {
        let mut reader = tls::dial(&papers, &broker);
        reader.write_all(&[connect("tls", number), subscribe.clone()].concat()).unwrap();
        reader.read_exact(&mut [0; 4 + 5]).unwrap();
        stuck.push(Box::new(reader));
        let mut reader = web::dial(&broker);
        let said = [web::UPGRADE, &web::frame(0x82, &connect("web", number)), &web::frame(0x82, &subscribe)].concat();
        reader.write_all(&said).unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(&[0x90, 3, 0, 1, 0]) {
            let mut byte = [0];
            reader.read_exact(&mut byte).unwrap();
            heard.push(byte[0]);
        }
        stuck.push(Box::new(reader));
    }
    let base_bytes = peak_bytes(&broker);
    let mut publisher = broker.connect("publisher");
    for _ in 0..MESSAGES {
        publisher.publish("flood", Q0, 0, &[0; 1024]);
    }
    publisher.expect_alive();
    let grown_bytes = peak_bytes(&broker) - base_bytes;
    // Of each: queued, being sent, and sealed.
    assert!(grown_bytes < 2 * READERS as u64 * (3 << 20) + (8 << 20), "{grown_bytes}");
    drop(stuck);
    drop(publisher);
    assert_eq!(broker.stop(), Some(0));
    assert!(broker.counted("dropped_slow_reader") > 0);
}
