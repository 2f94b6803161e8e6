//! The wire cases, and their neighbours: bytes that are not what the protocol says, with the one right answer to each.
//!
//! Duty: the table, once for shards in virtual time and once for the real binary. Must not: say how the bytes travel.
//! Neighbours: `hostile` here runs it on whole shards, `tests/hostile/wire.rs` over sockets, which includes it by path.

use std::iter::repeat_n;

use ringmq::wire::ProtocolVersion;

use super::packets::*;

/// Largest packet that the rows take for granted, bytes.
pub(crate) const PACKET_BYTES_MAX: u32 = 1 << 20;

/// What a client has said before.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Before {
    Nothing,
    Connected(ProtocolVersion),
}

const C0: Before = Before::Nothing;
const C4: Before = Before::Connected(V311);
const C5: Before = Before::Connected(V5);

/// What it hears.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heard {
    /// The end, without a word.
    End,
    /// CONNACK with this code, and the end.
    Connack(u8),
    /// DISCONNECT with this code, and the end.
    Disconnect(u8),
    /// These bytes, and the connection stands.
    Answer(&'static str),
}

use Heard::{Answer, Connack as Refused, Disconnect as Told, End};

pub(crate) type Row = (&'static str, Before, Vec<u8>, Heard);

fn row(name: &'static str, before: Before, text: &str, heard: Heard) -> Row {
    (name, before, hex(text), heard)
}

/// SUBSCRIBE to one filter with options 0.
fn subscribe_bytes(filter: &[u8]) -> Vec<u8> {
    let body = [&[0, 1, 0][..], &(filter.len() as u16).to_be_bytes(), filter, &[0]].concat();
    framed(0x82, &body)
}

/// PUBLISH with QoS 0 and these properties.
fn publish_bytes(topic: &[u8], properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = [&(topic.len() as u16).to_be_bytes()[..], topic].concat();
    put_length(properties.len(), &mut body);
    framed(0x30, &[&body, properties, payload].concat())
}

/// User properties `k`: `v`, encoded.
fn user_properties(count: usize) -> Vec<u8> {
    repeat_n(*b"\x26\0\x01k\0\x01v", count).flatten().collect()
}

/// CONNECT of 5.0 with these properties.
fn connect_bytes(properties: &[u8]) -> Vec<u8> {
    let mut body = hex("00044d5154540502003c");
    put_length(properties.len(), &mut body);
    framed(0x10, &[&body, properties, b"\0\x01x"].concat())
}

/// CONNECT with these connect flags and payload.
fn connect_with(level: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    framed(0x10, &[b"\0\x04MQTT", &[level, flags, 0, 60][..], properties, payload].concat())
}

/// Rows W01 to W31: what is no CONNECT, and bad CONNECTs.
pub(crate) fn rows_before_admission() -> Vec<Row> {
    vec![
        row("W01 PUBLISH first", C0, "30050001610078", End),
        row("W02 PINGREQ first", C0, "c000", End),
        row("W03 type 0 first", C0, "0000", End),
        row("W07 a Remaining Length of five bytes", C0, "10ffffffff01", End),
        row("W09 a PUBLISH of 256 MB first", C0, "30ffffff7f", End),
        row("W11 reserved connect flag", C0, "100e00044d5154540503003c00000178", Refused(0x81)),
        row("W11 before 5.0", C0, "100d00044d5154540403003c000178", End),
        row("W13 will QoS without will", C0, "100e00044d515454050a003c00000178", Refused(0x81)),
        row("W13 before 5.0", C0, "100d00044d515454040a003c000178", End),
        row("W14 will retain without will", C0, "100e00044d5154540522003c00000178", Refused(0x81)),
        row("W14 before 5.0", C0, "100d00044d5154540422003c000178", End),
        row("W15 a password without user name before 5.0", C0, "101000044d5154540442003c000178000170", End),
        row("W17 protocol level 6", C0, "100d00044d5154540602003c000178", Refused(0x84)),
        row("W18 a client id with U+0000", C0, "101000044d5154540502003c000003610062", Refused(0x81)),
        row("W18 before 5.0", C0, "100f00044d5154540402003c0003610062", End),
        row("W19 a client id with a surrogate", C0, "101000044d5154540502003c000003eda080", Refused(0x81)),
        ("W21 a will topic with wildcard", C0, connect_with(5, 6, b"\0\x01x\0\0\x03a/#\0\x01p"), Refused(0x90)),
        row("W22 an empty will topic", C0, "101400044d5154540506003c00000178000000000170", Refused(0x82)),
        ("W22 before 5.0", C0, connect_with(4, 6, b"\0\x01x\0\0\0\x01p"), End),
        ("W23 a property given twice", C0, connect_bytes(&hex("11000000011100000002")), Refused(0x82)),
        row("W25 a property of another packet", C0, "101100044d5154540502003c03230001000178", Refused(0x82)),
        ("W25 a property that does not exist", C0, connect_bytes(&hex("7f00")), Refused(0x81)),
        row("W26 Receive Maximum 0", C0, "101100044d5154540502003c03210000000178", Refused(0x82)),
        row("W27 Maximum Packet Size 0", C0, "101300044d5154540502003c052700000000000178", Refused(0x82)),
        row("W29 authentication data without method", C0, "101300044d5154540502003c051600026162000178", Refused(0x82)),
        row("W30 properties beyond the packet", C0, "100f00044d5154540502003cff7f000178", Refused(0x81)),
        row("W31 CONNECT cut after its flags", C0, "100800044d5154540502", Refused(0x81)),
        row("W31 before 5.0", C0, "100800044d5154540402", End),
        ("W81 1000 user properties", C0, connect_bytes(&user_properties(1000)), Refused(0x97)),
        ("W85 a TLS ClientHello", C0, [hex("16030100a5010000a10303"), vec![0; 150]].concat(), End),
        ("flags of CONNECT that are not 0", C0, framed(0x11, &connect_with(5, 2, b"\0\x01x")[2..]), Refused(0x81)),
        ("will QoS 3", C0, connect_with(5, 0x1e, b"\0\x01x\0\0\x01w\0\x01p"), Refused(0x81)),
        ("will QoS 3 before 5.0", C0, connect_with(4, 0x1e, b"\0\x01x\0\x01w\0\x01p"), End),
        ("a will that is not there", C0, connect_with(5, 6, b"\0\x01x"), Refused(0x81)),
        ("a user name that is not there", C0, connect_with(5, 0x82, b"\0\x01x"), Refused(0x81)),
        ("a user name that no flag promises, before 5.0", C0, connect_with(4, 2, b"\0\x01x\0\x01u"), End),
        ("a user name that is no text, before 5.0", C0, connect_with(4, 0x82, b"\0\x01x\0\x01\xff"), End),
        ("a will topic that is no text, before 5.0", C0, connect_with(4, 6, b"\0\x01x\0\x01\xff\0\x01p"), End),
        ("a password that is not there", C0, connect_with(4, 0xc2, b"\0\x01x\0\x01u"), End),
        ("a user name that no flag promises", C0, connect_with(5, 2, b"\0\x01x\0\x01u"), Refused(0x81)),
        ("a user name that is no text", C0, connect_with(5, 0x82, b"\0\x01x\0\x01\xff"), Refused(0x81)),
        ("a will topic that is no text", C0, connect_with(5, 6, b"\0\x01x\0\0\x01\xff\0\x01p"), Refused(0x81)),
        ("Request Problem Information 2", C0, connect_bytes(&hex("1702")), Refused(0x82)),
        ("a password that no flag promises", C0, connect_with(5, 0x82, b"\0\x01x\0\x01u\0\x01p"), Refused(0x81)),
        ("a password that no flag promises, before 5.0", C0, connect_with(4, 0x82, b"\0\x01x\0\x01u\0\x01p"), End),
        ("a password that is not there, 5.0", C0, connect_with(5, 0x42, b"\0\x01x"), Refused(0x81)),
        ("a user name that is not there, before 5.0", C0, connect_with(4, 0x82, b"\0\x01x"), End),
        ("a will that is not there, before 5.0", C0, connect_with(4, 6, b"\0\x01x"), End),
        (
            "a response topic with wildcard in a will",
            C0,
            connect_with(5, 6, b"\0\x01x\x06\x08\0\x03a/#\0\x01w\0\x01p"),
            Refused(0x82),
        ),
        ("a will without payload", C0, connect_with(5, 6, b"\0\x01x\0\0\x01w"), Refused(0x81)),
        ("a will that no flag promises", C0, connect_with(5, 2, b"\0\x01x\0\0\x01w\0\x01p"), Refused(0x81)),
        ("a will that no flag promises, before 5.0", C0, connect_with(4, 2, b"\0\x01x\0\x01w\0\x01p"), End),
        ("no client id", C0, connect_with(5, 2, b""), Refused(0x81)),
        ("no client id before 5.0", C0, connect_with(4, 2, b""), End),
        ("Maximum QoS of a client", C0, connect_bytes(&hex("2401")), Refused(0x82)),
        ("a user property that is no text", C0, connect_bytes(b"\x26\0\x01\xff\0\x01v"), Refused(0x81)),
    ]
}

/// Rows W05 to W47: PUBLISH and what is no packet of a client.
pub(crate) fn rows_of_publish() -> Vec<Row> {
    vec![
        row("W05 AUTH before 5.0", C4, "f000", End),
        row("W06 a second CONNECT", C5, "100e00044d5154540502003c00000178", Told(0x82)),
        row("W10 a Remaining Length longer than needed", C5, "c08000", Told(0x81)),
        row("W33 QoS 3", C5, "360700016100010078", Told(0x81)),
        row("W33 before 5.0", C4, "3606000161000178", End),
        row("W34 DUP with QoS 0", C5, "38050001610078", Told(0x81)),
        row("W35 packet id 0", C5, "320700016100000078", Told(0x82)),
        row("W35 before 5.0", C4, "3206000161000078", End),
        row("W37 a wildcard in the topic", C5, "30050001230078", Told(0x90)),
        row("W37 before 5.0", C4, "300400012b78", End),
        row("W38 no topic and no alias", C5, "300400000078", Told(0x82)),
        row("W38 before 5.0", C4, "3003000078", End),
        row("W39 a topic with U+0000", C5, "300700036100620078", Told(0x81)),
        row("W39 a topic that is no text", C4, "30050002c08078", End),
        row("W41 cut before the packet id", C5, "32050003616263", Told(0x81)),
        row("W41 before 5.0", C4, "32050003616263", End),
        row("W42 topic alias 0", C5, "30080001610323000078", Told(0x94)),
        row("W43 an alias that was never set", C5, "300700000323000578", Told(0x82)),
        row("W45 a subscription identifier of a client", C5, "3007000161020b0178", Told(0x82)),
        row("W46 a response topic with wildcard", C5, "300b00016106080003612f2378", Told(0x82)),
        row("W47 a payload that is not the text it says", C5, "3009000161020101fffec0", Answer("")),
        ("W66 a topic of 65,535 slashes", C5, publish_bytes(&[b'/'; 65_535], &[], b""), Told(0x90)),
        ("W82 30,000 user properties", C5, publish_bytes(b"a", &user_properties(30_000), b""), Told(0x97)),
        row("W83 to $SYS", C5, "3213000d245359532f62726f6b65722f7800010078", Answer("4003000187")),
        row("W83 before 5.0", C4, "3212000d245359532f62726f6b65722f78000178", Answer("40020001")),
        row("a property given twice", C5, "3008000161040100010078", Told(0x82)),
        ("a response topic that is no text", C5, publish_bytes(b"a", b"\x08\0\x01\xff", b""), Told(0x81)),
        ("a content type that is no text", C5, publish_bytes(b"a", b"\x03\0\x01\xff", b""), Told(0x81)),
        ("a topic with a surrogate", C5, publish_bytes(b"\xed\xa0\x80", &[], b""), Told(0x81)),
        ("a topic with a surrogate, before 5.0", C4, framed(0x30, b"\0\x03\xed\xa0\x80"), End),
        ("a topic with U+0000, before 5.0", C4, framed(0x30, b"\0\x03a\0b"), End),
        row("a format indicator of 2", C5, "3006000161020102", Told(0x82)),
        row("a Will Delay Interval", C5, "30090001610518000000010078", Told(0x82)),
        row("properties beyond the packet", C5, "300500016109026162", Told(0x81)),
        row("a topic beyond the packet", C5, "3003000961", Told(0x81)),
        row("no body", C5, "3000", Told(0x81)),
    ]
}

/// Rows W49 to W69: SUBSCRIBE and UNSUBSCRIBE.
pub(crate) fn rows_of_subscribe() -> Vec<Row> {
    const INVALID: Heard = Answer("90040001008f");
    vec![
        row("W49 packet id 0", C5, "820700000000016100", Told(0x81)),
        row("W49 before 5.0", C4, "8206000000016100", End),
        row("W50 no filters", C5, "8203000100", Told(0x81)),
        row("W50 before 5.0", C4, "82020001", End),
        row("W51 an empty filter", C5, "8206000100000000", Told(0x81)),
        row("W53 QoS 3", C5, "820700010000016103", Told(0x81)),
        row("W53 before 5.0", C4, "8206000100016103", End),
        row("W54 reserved option bits", C5, "8207000100000161c0", Told(0x81)),
        row("W54 options of 5.0 before 5.0", C4, "8206000100016104", End),
        row("W55 retain handling 3", C5, "820700010000016130", Told(0x81)),
        row("W57 a/#/b", C5, "820b0001000005612f232f6200", INVALID),
        row("W58 a+/b", C5, "820a0001000004612b2f6200", INVALID),
        row("W59 $share/ab", C5, "820f00010000092473686172652f616200", INVALID),
        ("W61 $share/g/", C5, subscribe_bytes(b"$share/g/"), INVALID),
        ("W62 $share/+/a", C5, subscribe_bytes(b"$share/+/a"), INVALID),
        row("W63 No Local on a group", C5, "8210000100000a2473686172652f672f6104", Told(0x82)),
        ("W65 65,535 slashes", C5, subscribe_bytes(&[b'/'; 65_535]), INVALID),
        ("W67 32,767 levels", C5, subscribe_bytes(&b"+/".repeat(32_766)), INVALID),
        row("W69 UNSUBSCRIBE with flags 0", C5, "a006000100000161", Told(0x81)),
        row("W69 before 5.0", C4, "a0050001000161", End),
        row("SUBSCRIBE with flags 0", C5, "800700010000016100", Told(0x81)),
        row("a filter without options", C5, "8206000100000161", Told(0x81)),
        row("a second filter that is cut", C5, "820a00010000016100000962", Told(0x81)),
        row("a filter with U+0000", C5, "820700010000010000", Told(0x81)),
        row("a filter with U+0000 before 5.0", C4, "8206000100010000", End),
        ("a filter that is no text", C5, subscribe_bytes(b"\xff"), Told(0x81)),
        ("a filter that is no text, before 5.0", C4, framed(0x82, b"\0\x01\0\x01\xff\0"), End),
        ("a filter to leave that is no text", C5, framed(0xa2, b"\0\x01\0\0\x01\xff"), Told(0x81)),
        ("a filter to leave that is no text, before 5.0", C4, framed(0xa2, b"\0\x01\0\x01\xff"), End),
        row("SUBSCRIBE with flags 0 before 5.0", C4, "8006000100016100", End),
        row("subscription identifier 0", C5, "82090001020b0000016100", Told(0x82)),
        row("two subscription identifiers", C5, "820b0001040b010b0200016100", Told(0x82)),
        row("a property of another packet", C5, "820900010223000000016100", Told(0x81)),
        row("UNSUBSCRIBE packet id 0", C5, "a206000000000161", Told(0x81)),
        row("UNSUBSCRIBE without filters", C5, "a203000100", Told(0x81)),
        row("UNSUBSCRIBE without filters before 5.0", C4, "a2020001", End),
        row("UNSUBSCRIBE of an empty filter", C5, "a2050001000000", Told(0x81)),
    ]
}

/// Rows W70 to W79: acknowledgements, packets of the broker, the rest.
pub(crate) fn rows_of_the_rest() -> Vec<Row> {
    vec![
        row("W70 PUBREL with flags 0", C5, "60020001", Told(0x81)),
        row("W70 before 5.0", C4, "60020001", End),
        row("W71 PUBREL of nothing", C5, "62020007", Answer("7003000792")),
        row("W71 before 5.0", C4, "62020007", Answer("70020007")),
        row("W73 PUBACK of one byte", C5, "400100", Told(0x81)),
        row("W74 CONNACK", C5, "200900000622000a210014", Told(0x82)),
        row("W75 SUBACK", C5, "900400010000", Told(0x82)),
        row("W75 before 5.0", C4, "9003000100", End),
        row("W77 PINGREQ with a body", C5, "c00178", Told(0x81)),
        row("W78 DISCONNECT with flags", C5, "e100", Told(0x81)),
        row("W78 before 5.0", C4, "e100", End),
        row("W79 DISCONNECT that prolongs no session", C5, "e0070005110000000a", Told(0x82)),
        row("UNSUBACK", C5, "b00400010000", Told(0x82)),
        row("PINGRESP", C5, "d000", Told(0x82)),
        row("PINGRESP before 5.0", C4, "d000", End),
        row("type 0", C5, "0000", Told(0x81)),
        row("AUTH without method", C5, "f000", Told(0x82)),
        row("AUTH with flags", C5, "f100", Told(0x81)),
        row("PUBREC with a code of PUBREL", C5, "5003000192", Told(0x82)),
        row("PUBCOMP with a code that it does not have", C5, "7003000180", Told(0x82)),
        row("PUBACK packet id 0", C5, "40020000", Told(0x82)),
        row("PUBACK with flags", C5, "42020001", Told(0x81)),
        row("PUBACK with a code of PUBREL", C5, "4003000192", Told(0x82)),
        row("PUBREL with a code that it does not have", C5, "6203000180", Told(0x82)),
        row("PUBACK with properties beyond it", C5, "4004000100ff", Told(0x81)),
        row("PUBACK with a body of 5.0 before 5.0", C4, "4003000100", End),
        row("DISCONNECT with a body before 5.0", C4, "e00100", End),
        row("DISCONNECT with a property of the broker", C5, "e00500031c000161", Told(0x82)),
        row("a packet above the limit", C5, "30ffffff7f", Told(0x95)),
        row("a packet above the limit before 5.0", C4, "30ffffff7f", End),
        row("a Remaining Length of five bytes", C5, "30ffffffff01", Told(0x81)),
    ]
}
