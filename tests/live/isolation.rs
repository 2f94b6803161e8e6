//! What one client does is not what another pays for: panics, floods of connections, floods of bytes, on the real binary.
//!
//! Duty: a hostile client beside others, on one shard and across shards; what the log says of it. Must not: test what the
//! core can show in virtual time. Neighbours: `process` tests start and end of the binary, `src/shard/isolate.rs` the core.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use ringmq::wire::{Connect, ProtocolVersion, QoS, Subscribe, SubscriptionOptions};

use crate::broker::Broker;
use crate::client::{Client, put_publish};

const VERSION: ProtocolVersion = ProtocolVersion::V311;

impl Client {
    fn subscribe(&mut self, filter: &str) {
        let mut block = Vec::new();
        let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
        Subscribe::push_filter(&mut block, filter, options);
        self.say(|out| Subscribe::new(1, None, &block).encode(VERSION, out));
        self.expect(&[0x90, 3, 0, 1, 1]);
    }

    /// A QoS 1 message, which is acknowledged.
    fn expect_message(&mut self, topic: &str, payload: &[u8]) {
        let mut expected = Vec::new();
        put(&mut expected, topic, QoS::AtLeastOnce, payload);
        let mut got = vec![0; expected.len()];
        self.stream.read_exact(&mut got).unwrap();
        let id_at = got.len() - payload.len() - 2;
        let packet_id = [got[id_at], got[id_at + 1]];
        expected[id_at..id_at + 2].copy_from_slice(&packet_id);
        assert_eq!(got, expected);
        self.stream.write_all(&[0x40, 2, packet_id[0], packet_id[1]]).unwrap();
    }

    /// A QoS 1 message to `reader` and its acknowledgements.
    fn exchange(&mut self, reader: &mut Self, packet_id: u16) {
        self.publish("news", QoS::AtLeastOnce, packet_id, b"payload");
        reader.expect_message("news", b"payload");
        self.expect(&[0x40, 2, (packet_id >> 8) as u8, packet_id as u8]);
    }
}

fn put(out: &mut Vec<u8>, topic: &str, qos: QoS, payload: &[u8]) {
    put_publish(out, VERSION, topic, qos, 0, payload);
}

/// A panic ends the connection whose bytes caused it; clients of the same shard and of another go on.
#[test]
fn a_panic_closes_its_connection_and_all_others_are_served_on() {
    let mut broker = Broker::start(2, &[]);
    let [mut near, mut far] = [0, 1].map(|shard| broker.connect(&broker.client_id("bystander", shard)));
    far.subscribe("news");
    near.exchange(&mut far, 1);
    for round in 0..5 {
        let victim_id = broker.client_id("victim", round % 2);
        let mut victim = broker.connect(&victim_id);
        victim.publish("$fault/panic", QoS::AtMostOnce, 0, b"");
        assert_eq!(victim.expect_end(), b"");
        near.exchange(&mut far, round as u16 + 2);
        // The client itself may come back.
        broker.connect(&victim_id);
    }
    let line = broker.line_with(&["Internal error on shard 0 (panic 3)", "a fault was asked for"]);
    assert!(line.contains("fault.rs:") && line.contains("from 127.0.0.1:"), "{line}");
    near.exchange(&mut far, 100);
    assert_eq!(broker.stop(), Some(0));
    broker.line_with(&["Shard 0 in all:", "panics 3"]);
    broker.line_with(&["Shard 1 in all:", "panics 2"]);
}

/// What cannot be contained ends the process at once and says so: half of a broker is worse than none.
#[test]
fn a_panic_during_a_panic_ends_the_process() {
    let mut broker = Broker::start(2, &[]);
    let mut victim = broker.connect("victim");
    victim.publish("$fault/panic-twice", QoS::AtMostOnce, 0, b"");
    assert_eq!(broker.process.wait().unwrap().code(), Some(70));
    broker.line_with(&["ringmq: internal error: another fault was asked for", "fault.rs:"]);
}

/// R03: many connections at once are opened a few per turn; none is lost, and who is connected is served meanwhile.
#[test]
fn connections_beyond_what_a_turn_takes_wait_for_the_next_ones() {
    const CONNECTIONS: usize = 300;
    let mut broker = Broker::start(1, &["accepts_per_turn_max=7"]);
    let mut early = broker.connect("early");
    let mut clients = broker.at_once(|| {
        let dialled = (0..CONNECTIONS).map(|number| {
            let mut client = broker.dial();
            client.say(|out| Connect::new(VERSION, &format!("client-{number}")).encode(out));
            client
        });
        let dialled: Vec<_> = dialled.collect();
        early.say(|out| out.extend([0xc0, 0]));
        dialled
    });
    early.expect(&[0xd0, 0]);
    clients.iter_mut().for_each(|client| client.expect(&[0x20, 2, 0, 0]));
    // Accepting goes on afterwards.
    broker.connect("late");
    assert_eq!(broker.stop(), Some(0));
    let waited = broker.counted("accepts_put_off");
    assert!((1..CONNECTIONS as u64).contains(&waited), "{waited}");
}

/// R03, O03: an address that opens connections without end gets its rate, and the log says so without being flooded.
#[test]
fn an_address_that_connects_too_often_is_turned_away() {
    const TRIES: usize = 200;
    let mut broker = Broker::start(1, &["accepts_per_address_per_sec_max=20"]);
    let began = Instant::now();
    let admitted = (0..TRIES).filter(|number| {
        let mut client = broker.dial();
        let mut connect = Vec::new();
        Connect::new(VERSION, &format!("client-{number}")).encode(&mut connect);
        // Who is turned away may be so before it has said anything.
        let _ = client.stream.write_all(&connect);
        matches!(client.stream.read(&mut [0; 4]), Ok(4))
    });
    let admitted = admitted.count();
    let allowed = 20 * (2 + began.elapsed().as_secs() as usize);
    assert!((20..=allowed).contains(&admitted), "{admitted} of {TRIES} admitted, {allowed} allowed");
    broker.line_with(&["Connection from 127.0.0.1:", "accepts_per_address_per_sec_max is reached"]);
    std::thread::sleep(Duration::from_millis(200));
    broker.connect("later");
    assert_eq!(broker.stop(), Some(0));
    assert_eq!(broker.counted("refused_addresses"), (TRIES - admitted) as u64);
    let lines = broker.log.lock().unwrap().len();
    assert!(lines < 10 * (2 + began.elapsed().as_secs() as usize) + 10, "{lines} lines");
}

/// A publisher with much to say at once waits for its part of the next turn, and nothing of it is lost or reordered.
#[test]
fn a_connection_that_had_its_part_of_a_turn_waits_and_loses_nothing() {
    const MESSAGES: u32 = 3000;
    const BURSTS: u32 = 8;
    let mut broker = Broker::start(1, &["turn_bytes_per_connection_max=16384"]);
    let mut reader = broker.connect("reader");
    reader.subscribe("much");
    let mut fast = broker.connect("fast");
    let mut others: Vec<_> = (0..20).map(|number| broker.connect(&format!("other-{number}"))).collect();
    let payload = |number: u32| [&number.to_be_bytes()[..], &[7; 400]].concat();
    // How the kernel cuts a burst into turns is its own affair: one of them is cut so that the others are served in between.
    for burst in 0..BURSTS {
        let numbers = burst * MESSAGES..(burst + 1) * MESSAGES;
        let sending = broker.at_once(|| {
            let mut stream = fast.stream.try_clone().unwrap();
            let mut bytes = Vec::new();
            numbers.clone().for_each(|number| put(&mut bytes, "much", QoS::AtMostOnce, &payload(number)));
            // As much as the sockets hold is there before the others say anything.
            stream.set_nonblocking(true).unwrap();
            let mut sent = 0;
            while let Ok(more @ 1..) = stream.write(&bytes[sent..]) {
                sent += more;
            }
            stream.set_nonblocking(false).unwrap();
            let sending = std::thread::spawn(move || stream.write_all(&bytes[sent..]).unwrap());
            others.iter_mut().for_each(|other| other.say(|out| out.extend([0xc0, 0])));
            sending
        });
        others.iter_mut().for_each(|other| other.expect(&[0xd0, 0]));
        for number in numbers {
            let mut expected = Vec::new();
            put(&mut expected, "much", QoS::AtMostOnce, &payload(number));
            reader.expect(&expected);
        }
        sending.join().unwrap();
    }
    fast.say(|out| out.extend([0xc0, 0]));
    fast.expect(&[0xd0, 0]);
    assert_eq!(broker.stop(), Some(0));
    assert!(broker.counted("turns_over_budget") > 0);
}
