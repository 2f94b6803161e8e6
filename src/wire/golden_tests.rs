//! Every packet with everything that it may hold, as bytes that were put together from the specification's tables.
//!
//! Duty: what is decoded holds all that was sent, since writing it gives the same bytes again. Must not: judge bad bytes
//! (tests.rs). Neighbours: the files of the packets; tests/oracle_codec.rs compares with another codec.

use super::tests::bytes_of;
use super::{Framed, Packet, ProtocolVersion, Sender, decode, frame};
use ProtocolVersion::{V5, V31, V311};

/// Properties stand in the order in which the broker writes them; those of PUBLISH, and blocks that are passed on, in any.
#[rustfmt::skip]
const PACKETS: &[(&str, ProtocolVersion, Sender, &str)] = &[
    ("CONNECT with everything", V5, Sender::Client,
        "106b00044d51545405ee003c231100000e10210014270001000022000a190117001500016d160001642600016b00017600026964 \
         2218000000050200000009010103000174080003722f7409000263642600016b0001760003772f74000362796500047573657200 \
         0470617373"),
    ("CONNECT of a bridge", V311, Sender::Client,
        "102400044d51545484d6003c000269640003772f740003627965000475736572000470617373"),
    ("CONNECT of 3.1", V31, Sender::Client, "101a00064d51497364700324003c000269640003772f740003627965"),
    ("CONNACK with everything", V5, Sender::Server,
        "20460100431100001c202100142401250027000100001200036e657722000a1f0003776879280029002a0013001e1a000272691c \
         00037372761500016d160001642600016b000176"),
    ("CONNACK that refuses", V311, Sender::Server, "20020005"),
    ("CONNACK with a session", V311, Sender::Server, "20020100"),
    ("PUBLISH with everything", V5, Sender::Client,
        "3d2d0003612f6201022002000000092300070101080003722f7409000263642600016b0001760300017468656c6c6f"),
    ("PUBLISH of 3.1.1", V311, Sender::Client, "330c0003612f62010268656c6c6f"),
    ("PUBLISH of QoS 0", V5, Sender::Client, "300b0003612f620068656c6c6f"),
    ("PUBACK with everything", V5, Sender::Client, "40110102970d1f00037768792600016b000176"),
    ("PUBACK with a reason", V5, Sender::Client, "4003010297"),
    ("PUBACK", V311, Sender::Client, "40020102"),
    ("PUBREC with everything", V5, Sender::Client, "50110102970d1f00037768792600016b000176"),
    ("PUBREC with a reason", V5, Sender::Client, "5003010297"),
    ("PUBREC", V311, Sender::Client, "50020102"),
    ("PUBREL with everything", V5, Sender::Client, "62110102920d1f00037768792600016b000176"),
    ("PUBREL with a reason", V5, Sender::Client, "6203010292"),
    ("PUBREL", V311, Sender::Client, "62020102"),
    ("PUBCOMP with everything", V5, Sender::Client, "70110102920d1f00037768792600016b000176"),
    ("PUBCOMP with a reason", V5, Sender::Client, "7003010292"),
    ("PUBCOMP", V311, Sender::Client, "70020102"),
    ("SUBSCRIBE with everything", V5, Sender::Client, "821d01020a0bac022600016b0001760003612f2b2e0003622f231100016300"),
    ("SUBSCRIBE of 3.1.1", V311, Sender::Client, "820e01020003612f2b020003622f2301"),
    ("SUBACK with everything", V5, Sender::Server, "901401020d1f00037768792600016b00017602010087"),
    ("SUBACK of 3.1.1", V311, Sender::Server, "900401020280"),
    ("UNSUBSCRIBE with everything", V5, Sender::Client, "a2140102072600016b0001760003612f2b0003622f23"),
    ("UNSUBSCRIBE of 3.1.1", V311, Sender::Client, "a20c01020003612f2b0003622f23"),
    ("UNSUBACK with everything", V5, Sender::Server, "b01201020d1f00037768792600016b0001760011"),
    ("UNSUBACK of 3.1.1", V311, Sender::Server, "b0020102"),
    ("DISCONNECT of a client", V5, Sender::Client, "e01404121100000e101f00037768792600016b000176"),
    ("DISCONNECT of a server", V5, Sender::Server, "e0159c131f00037768791c00037372762600016b000176"),
    ("DISCONNECT in short", V5, Sender::Client, "e000"),
    ("DISCONNECT of 3.1.1", V311, Sender::Client, "e000"),
    ("AUTH with everything", V5, Sender::Client, "f01718151500016d160001641f00037768792600016b000176"),
    ("PINGREQ", V311, Sender::Client, "c000"),
    ("PINGRESP", V5, Sender::Server, "d000"),
];

fn written(packet: &Packet<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(version, &mut out);
    out
}

#[test]
fn a_packet_is_written_as_it_was_read() {
    for (name, version, sender, hex) in PACKETS {
        let bytes = bytes_of(hex);
        let Ok(Framed::Whole(found)) = frame(&bytes, 1 << 20) else { panic!("{name} is no packet") };
        let packet = decode(&found, *version, *sender).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(written(&packet, *version), bytes, "{name}: {packet:?}");
    }
}
