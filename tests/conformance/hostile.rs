//! Bytes that are not what the protocol says: the wire cases, and their neighbours.
//!
//! Duty: the one right answer to each, and that nobody else notices. Must not: test what is valid. Neighbours: `peer`; the
//! codec's own refusals are in `src/wire`.

use ringmq::limits::Limits;
use ringmq::wire::{Connack, Connect, Disconnect, ReasonCode};

use super::broker::{Broker, everywhere_with};
use super::hostile_rows::Heard::{Answer, Connack as Refused, Disconnect as Told, End};
use super::hostile_rows::{Before, Heard, PACKET_BYTES_MAX, Row};
use super::hostile_rows::{rows_before_admission, rows_of_publish, rows_of_subscribe, rows_of_the_rest};
use super::packets::*;
use super::peer::Peer;

fn before(broker: &Broker, before: Before) -> Peer {
    match before {
        Before::Nothing => broker.dial(V5),
        Before::Connected(version) => broker.join(Connect::new(version, "x")),
    }
}

fn check(peer: &Peer, heard: Heard) {
    let code = |byte| ReasonCode::from_byte(byte).expect("a code of section 2.4");
    match heard {
        End => peer.expect_close(),
        Refused(byte) => {
            peer.expect(Connack::refusal(code(byte)));
            peer.expect_close();
        }
        Told(byte) => {
            peer.expect(Disconnect::new(code(byte)));
            peer.expect_close();
        }
        Answer(text) => {
            if !text.is_empty() {
                assert_eq!(peer.hear_plain(), hex(text));
            }
            peer.expect_alive();
            peer.leave();
        }
    }
}

/// Runs each row twice, in one piece and byte by byte, beside a client of each shard that goes on as if nothing had happened.
fn try_rows(rows: &[Row]) {
    let limits = Limits { packet_bytes_max: PACKET_BYTES_MAX, ..Limits::default() };
    everywhere_with(&limits, |broker| {
        let bystanders = ["ann", "bob"].map(|client_id| broker.connect(V5, client_id));
        bystanders.iter().for_each(|peer| peer.subscribe("a", Q0));
        let base = broker.sizes();
        for (name, first, bytes, heard) in rows {
            for is_whole in [true, false] {
                if !is_whole && bytes.len() > 1000 {
                    continue;
                }
                println!("{name}, {} shards, in one piece: {is_whole}", broker.shards());
                let peer = before(broker, *first);
                if is_whole {
                    peer.send_bytes(bytes);
                } else {
                    bytes.iter().for_each(|byte| peer.send_bytes(&[*byte]));
                }
                check(&peer, *heard);
                bystanders.iter().for_each(|bystander| {
                    bystander.ignore_rest();
                    bystander.expect_alive();
                });
                assert_eq!(broker.sizes(), base, "{name}");
            }
        }
    });
}

/// Cases W01 to W31, W81 and W85. [MQTT-3.1.0-1] [MQTT-3.1.2-3] [MQTT-3.1.2-6] [MQTT-3.1.2-7] [MQTT-3.1.2-8] [MQTT-3.1.2-9]
/// [MQTT-3.1.2-12] [MQTT-3.1.2-13] [MQTT-3.1.2-17] [MQTT-3.1.2-19] [MQTT-3.3.4-10] [MQTT-3.3.2-14] [v3.1.1 MQTT-3.1.2-9]
/// [v3.1.1 MQTT-3.1.2-19] [v3.1.1 MQTT-3.1.2-21] [v3.1.1 MQTT-3.1.3-3] [MQTT-3.1.2-16] [MQTT-3.1.2-18] [MQTT-3.1.3-11]
/// [MQTT-3.1.3-12] [MQTT-3.1.4-1] [MQTT-3.2.2-6] [MQTT-3.2.2-7]
/// [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-1.5.7-1] [v3.1.1 MQTT-3.1.0-1] [v3.1.1 MQTT-3.1.2-3] [v3.1.1 MQTT-3.1.2-11]
/// [v3.1.1 MQTT-3.1.2-13] [v3.1.1 MQTT-3.1.2-14] [v3.1.1 MQTT-3.1.2-15] [v3.1.1 MQTT-3.1.2-20] [v3.1.1 MQTT-3.1.2-22]
/// [v3.1.1 MQTT-3.1.3-4] [v3.1.1 MQTT-3.1.3-10] [v3.1.1 MQTT-3.1.3-11] [v3.1.1 MQTT-3.1.2-18]
/// [v3.1.1 MQTT-3.1.4-1] [v3.1.1 MQTT-3.2.2-6] [v3.1.1 MQTT-1.5.3-2].
#[test]
fn a_bad_connect_is_refused_and_nobody_notices() {
    try_rows(&rows_before_admission());
}

/// Cases W05, W06, W10, W33 to W47, W66, W82 and W83. [MQTT-1.5.5-1] [MQTT-3.3.1-2] [MQTT-3.3.1-4] [MQTT-3.3.2-13] [MQTT-3.3.2-19]
/// [MQTT-2.2.1-3] [MQTT-3.3.2-1] [MQTT-3.3.2-2] [MQTT-3.3.2-7] [MQTT-3.3.2-14] [MQTT-3.3.4-6] [MQTT-4.7.0-1] [MQTT-4.7.3-1]
/// [MQTT-4.7.3-2] [MQTT-4.13.1-1] [v3.1.1 MQTT-3.3.1-4] [v3.1.1 MQTT-2.3.1-1] [v3.1.1 MQTT-3.3.2-1]
/// [v3.1.1 MQTT-3.3.2-2] [v3.1.1 MQTT-3.3.5-2] [v3.1.1 MQTT-4.7.1-1] [v3.1.1 MQTT-4.7.3-1] [v3.1.1 MQTT-4.8.0-1]
/// [v3.1.1 MQTT-1.5.3-1] [v3.1.1 MQTT-4.7.3-2].
#[test]
fn a_bad_publish_is_refused_and_nobody_notices() {
    try_rows(&rows_of_publish());
}

/// Cases W49 to W69. [MQTT-3.8.1-1] [MQTT-3.8.3-1] [MQTT-3.8.3-2] [MQTT-3.8.3-3] [MQTT-3.8.3-4] [MQTT-3.8.3-5]
/// [MQTT-3.10.1-1] [MQTT-3.10.3-1] [MQTT-3.10.3-2] [MQTT-4.7.3-3] [MQTT-4.8.2-1] [v3.1.1 MQTT-3.8.1-1] [v3.1.1 MQTT-3.8.3-1]
/// [v3.1.1 MQTT-3.8.3-3] [v3.1.1 MQTT-3.10.1-1] [v3.1.1 MQTT-3.10.3-1] [v3.1.1 MQTT-3.10.3-2] [v3.1.1 MQTT-4.7.3-2] [v3.1.1 MQTT-4.7.3-3].
#[test]
fn a_bad_subscribe_or_unsubscribe_is_refused_and_nobody_notices() {
    try_rows(&rows_of_subscribe());
}

/// Cases W70 to W79. [MQTT-2.1.3-1] [MQTT-3.6.1-1] [MQTT-3.14.1-1] [MQTT-3.14.2-1] [MQTT-3.15.1-1] [MQTT-3.6.2-1]
/// [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.7.2-1] [MQTT-4.12.0-7] [v3.1.1 MQTT-2.2.2-1] [v3.1.1 MQTT-2.2.2-2]
/// [v3.1.1 MQTT-3.6.1-1] [v3.1.1 MQTT-3.14.1-1].
#[test]
fn any_other_bad_packet_is_refused_and_nobody_notices() {
    try_rows(&rows_of_the_rest());
}

/// 3.1 section 2.1: SUBSCRIBE, UNSUBSCRIBE and PUBREL may carry DUP there, and there alone.
#[test]
fn requests_of_3_1_may_carry_dup() {
    let broker = Broker::of_two();
    let bob = broker.connect(V31, "bob");
    bob.send_hex("8a06000100016100");
    bob.expect(suback(1, &[0]));
    bob.send_hex("aa050002000161");
    bob.expect(unsuback(2, &[0]));
    bob.send_hex("6a020003");
    bob.expect(pubcomp(3));
}

/// Section 4.13: a conversation cut at any byte leaves nothing behind.
#[test]
fn a_conversation_cut_at_any_byte_leaves_nothing_behind() {
    let said = [
        Connect { last_will: Some(will(Q2, "gone", "x")), ..Connect::new(V5, "bob") }.bytes(V5),
        subscribe(1).to("a/+", Q2).to("$share/g/a/#", Q1).bytes(V5),
        qos2(2, "a/b", "payload").bytes(V5),
        pubrel(2).bytes(V5),
        unsubscribe(3, &["a/+"]).bytes(V5),
        hex("c000"),
    ]
    .concat();
    for end in 0..=said.len() {
        let broker = Broker::of_two();
        let peer = broker.dial(V5);
        peer.send_bytes(&said[..end]);
        peer.vanish();
        assert_eq!(broker.sizes(), ringmq::shard::Sizes::default(), "cut at {end}");
        peer.ignore_rest();
    }
}
