//! Decoding and encoding of one packet.

use std::hint::black_box;

use ringmq::wire::{AckKind, Framed, OutgoingPublish, Packet, ProtocolVersion, QoS, Sender, decode, frame};

use super::packets::{self, PAYLOAD, TOPIC};
use super::{Case, Work};

/// Packets per call, so that the call itself does not count.
const PACKETS: u32 = 100;

/// All cases.
pub(crate) fn all() -> Vec<Case> {
    let (v311, v5) = (ProtocolVersion::V311, ProtocolVersion::V5);
    let mut cases = Vec::new();
    let mut add = |name: &str, version, bytes: Vec<u8>| cases.extend(decode_and_encode(name, version, bytes));
    add("PUBLISH 3.1.1 QoS 0", v311, packets::publish(v311, TOPIC, QoS::AtMostOnce, 0));
    add("PUBLISH 5.0 QoS 0", v5, packets::publish(v5, TOPIC, QoS::AtMostOnce, 0));
    add("PUBLISH 5.0 QoS 1, two properties", v5, packets::publish_with_properties(QoS::AtLeastOnce, 7));
    add("PUBACK 5.0", v5, packets::ack(v5, AckKind::Puback, 7));
    add("SUBSCRIBE 5.0", v5, packets::subscribe(v5, "plant/+/line/#", QoS::AtMostOnce));
    add("CONNECT 5.0", v5, packets::connect(v5, "device-0001"));
    cases.push(outgoing("PUBLISH 3.1.1 QoS 0", v311, QoS::AtMostOnce));
    cases.push(outgoing("PUBLISH 5.0 QoS 1, two properties", v5, QoS::AtLeastOnce));
    cases
}

fn decode_and_encode(name: &str, version: ProtocolVersion, bytes: Vec<u8>) -> [Case; 2] {
    let same_bytes = bytes.clone();
    [
        Case::new(format!("decode/{name}"), PACKETS, move || decoding(version, bytes)),
        Case::new(format!("encode/{name}"), PACKETS, move || encoding(version, same_bytes)),
    ]
}

fn decoding(version: ProtocolVersion, bytes: Vec<u8>) -> Work {
    Box::new(move || {
        for _ in 0..PACKETS {
            black_box(decoded(version, black_box(&bytes)));
        }
    })
}

fn encoding(version: ProtocolVersion, bytes: Vec<u8>) -> Work {
    // The packet borrows from its bytes, and both live as long as the bench.
    let packet = decoded(version, bytes.leak());
    let mut out = Vec::with_capacity(4096);
    Box::new(move || {
        for _ in 0..PACKETS {
            out.clear();
            black_box(&packet).encode(version, &mut out);
            black_box(&out);
        }
    })
}

fn decoded(version: ProtocolVersion, bytes: &[u8]) -> Packet<'_> {
    let Ok(Framed::Whole(found)) = frame(bytes, 1 << 20) else { panic!("a whole packet is there") };
    decode(&found, version, Sender::Client).expect("the packet is well-formed")
}

/// What a shard does for each layout of a message: the head of a PUBLISH, and the payload behind it.
fn outgoing(name: &str, version: ProtocolVersion, qos: QoS) -> Case {
    Case::new(format!("encode outgoing/{name}"), PACKETS, move || {
        let mut properties = Vec::new();
        if version == ProtocolVersion::V5 {
            packets::properties(&mut properties);
        }
        let publish = OutgoingPublish {
            dup: false,
            qos,
            retain: false,
            topic: TOPIC,
            packet_id: if qos == QoS::AtMostOnce { 0 } else { 7 },
            message_expiry_secs: None,
            topic_alias: None,
            subscription_ids: &[],
            properties: properties.leak(),
            payload_len: PAYLOAD.len(),
        };
        let mut out = Vec::with_capacity(4096);
        move || {
            for _ in 0..PACKETS {
                out.clear();
                black_box(&publish).encode_head(version, &mut out);
                out.extend_from_slice(PAYLOAD);
                black_box(&out);
            }
        }
    })
}
