//! The wire rows, over sockets: the table that `conformance/hostile` runs in virtual time, and the log.
//!
//! Duty: each row on a fresh connection, at 1, 2 and 4 shards, beside a bystander of each shard. Must not: know the rows.
//! Neighbours: `hostile_rows` has them.

use std::io::Write;

use ringmq::wire::Connect;

use crate::broker::Broker;
use crate::client::Client;
use crate::hostile_rows::{Before, Heard, PACKET_BYTES_MAX, Row};
use crate::hostile_rows::{rows_before_admission, rows_of_publish, rows_of_subscribe, rows_of_the_rest};
use crate::packets::*;
use crate::watch::resident_bytes;
use crate::{alone, full_or};

/// What rounds of rows may leave behind, bytes: buffers that grew to the largest of them.
const LEFT_BYTES_MAX: u64 = 4 << 20;

fn before(broker: &Broker, before: Before) -> Client {
    match before {
        Before::Nothing => broker.dial(),
        // Without words the answer to a packet is the bytes that the row says.
        Before::Connected(V5) => broker.join(&Connect { request_problem_information: false, ..Connect::new(V5, "x") }),
        Before::Connected(version) => broker.join(&Connect::new(version, "x")),
    }
}

fn check(name: &str, client: &mut Client, heard: Heard) {
    match heard {
        Heard::End => assert_eq!(client.expect_end(), b"", "{name}"),
        Heard::Connack(code) => {
            let got = client.expect_end();
            assert!(got.first() == Some(&0x20) && got.get(3) == Some(&code), "{name}: {got:02x?}");
        }
        Heard::Disconnect(code) => {
            let got = client.expect_end();
            assert!(got.first() == Some(&0xe0) && got.get(2) == Some(&code), "{name}: {got:02x?}");
        }
        Heard::Answer(text) => {
            if !text.is_empty() {
                assert_eq!(client.hear(), hex(text), "{name}");
            }
            client.expect_alive();
        }
    }
}

fn try_rows(broker: &Broker, rows: &[Row], bystanders: &mut [Client]) {
    for (name, first, bytes, heard) in rows {
        let mut client = before(broker, *first);
        // The broker may be done with it before it has heard all.
        let _ = client.stream.write_all(bytes);
        check(name, &mut client, *heard);
        drop(client);
        bystanders.iter_mut().for_each(Client::expect_alive);
    }
}

/// Cases W01 to W85: each with its one right answer, as in virtual time, and nothing left behind.
#[test]
fn every_wire_case_has_its_answer_and_nobody_notices() {
    let _alone = alone();
    let rows: Vec<Row> = [rows_before_admission(), rows_of_publish(), rows_of_subscribe(), rows_of_the_rest()]
        .into_iter()
        .flatten()
        .collect();
    for shards in [1, 2, 4] {
        let mut broker = Broker::start(shards, &[&format!("packet_bytes_max={PACKET_BYTES_MAX}")]);
        let mut bystanders: Vec<Client> =
            (0..shards).map(|shard| broker.connect(&broker.client_id("bystander", shard))).collect();
        try_rows(&broker, &rows, &mut bystanders);
        let base_bytes = resident_bytes(broker.process.id());
        for _ in 0..full_or(20, 2) {
            try_rows(&broker, &rows, &mut bystanders);
        }
        let left_bytes = resident_bytes(broker.process.id()).saturating_sub(base_bytes);
        println!(
            "W: {} rows at {shards} shards; RSS {} KiB, then +{} KiB",
            rows.len(),
            base_bytes >> 10,
            left_bytes >> 10
        );
        assert!(left_bytes < LEFT_BYTES_MAX, "{left_bytes} bytes are left");
        drop(bystanders);
        assert_eq!(broker.stop(), Some(0));
    }
}

/// Cases W85 and O03: what speaks TLS to a plain port is named in the log, and a flood of it does not flood the log.
#[test]
fn tls_on_a_plain_port_is_one_line_of_the_log_and_limited() {
    let _alone = alone();
    let mut broker = Broker::start(1, &[]);
    let hello = [hex("16030100a5010000a10303"), vec![0; 150]].concat();
    for _ in 0..500 {
        let mut client = broker.dial();
        let _ = client.stream.write_all(&hello);
        assert_eq!(client.expect_end(), b"");
    }
    let line = broker.line_with(&["from 127.0.0.1:", "refused by shard 0", "a TLS handshake on a port without TLS"]);
    println!("W85: {line}");
    assert_eq!(broker.stop(), Some(0));
    let told = broker.log.lock().unwrap().iter().filter(|line| line.contains("refused by shard")).count();
    assert!((1..200).contains(&told), "{told} lines for 500 connections");
    assert_eq!(broker.counted("refused_first_packets"), 500);
}
