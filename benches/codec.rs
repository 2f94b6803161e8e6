//! Nanoseconds per decode and encode of a few packets, on one core: `cargo bench --bench codec`.
//!
//! Duty: a figure to watch while the codec changes. Must not: judge; the least of several runs is printed, no more.
#![allow(clippy::disallowed_methods)]

use ringmq::wire::{
    Ack, AckKind, Connect, Framed, OutgoingPublish, Packet, Property, ProtocolVersion, Publish, PublishProperties, QoS,
    ReasonCode, Sender, Subscribe, SubscriptionOptions, decode, frame,
};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: u32 = 20;
const CALLS_PER_ROUND: u32 = 100_000;

fn main() {
    let topic = "plant/7/line/3/temperature";
    assert_eq!(topic.len(), 26);
    let publish = publish_of(topic, QoS::AtMostOnce, PublishProperties::EMPTY);
    let mut raw = Vec::new();
    Property::ContentType("text/plain").encode(&mut raw);
    Property::UserProperty("unit", "kelvin").encode(&mut raw);
    let properties = PublishProperties { raw: &raw, ..PublishProperties::EMPTY };
    let rich = publish_of(topic, QoS::AtLeastOnce, properties);
    let mut filters = Vec::new();
    Subscribe::push_filter(&mut filters, "plant/+/line/#", SubscriptionOptions::default());

    report("PUBLISH 3.1.1 QoS 0, 64 B", &publish, ProtocolVersion::V311);
    report("PUBLISH 5.0 QoS 0, 64 B", &publish, ProtocolVersion::V5);
    report("PUBLISH 5.0 QoS 1, two properties", &rich, ProtocolVersion::V5);
    report("PUBACK 5.0", &Packet::Ack(Ack::new(AckKind::Puback, 7, ReasonCode::Success)), ProtocolVersion::V5);
    report("SUBSCRIBE 5.0", &Packet::Subscribe(Subscribe::new(1, None, &filters)), ProtocolVersion::V5);
    report("CONNECT 5.0", &Packet::Connect(Connect::new(ProtocolVersion::V5, "device-0001")), ProtocolVersion::V5);
    report_head(topic);
}

fn publish_of<'a>(topic: &'a str, qos: QoS, properties: PublishProperties<'a>) -> Packet<'a> {
    let packet_id = if qos == QoS::AtMostOnce { 0 } else { 7 };
    Packet::Publish(Publish { dup: false, qos, retain: false, topic, packet_id, properties, payload: &[b'x'; 64] })
}

fn report(name: &str, packet: &Packet<'_>, version: ProtocolVersion) {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes);
    let decoding = least_ns(|| {
        let Ok(Framed::Whole(found)) = frame(black_box(&bytes), 1 << 20) else { return };
        let _ = black_box(decode(&found, version, Sender::Client));
    });
    let mut out = Vec::with_capacity(4096);
    let encoding = least_ns(|| {
        out.clear();
        black_box(packet).encode(version, &mut out);
        black_box(&out);
    });
    println!("{name:<36} decode {decoding:6.1} ns   encode {encoding:6.1} ns");
}

fn report_head(topic: &str) {
    let outgoing = OutgoingPublish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic,
        packet_id: 0,
        message_expiry_secs: None,
        topic_alias: None,
        subscription_ids: &[],
        properties: &[],
        payload_len: 64,
    };
    let mut out = Vec::with_capacity(4096);
    let encoding = least_ns(|| {
        out.clear();
        black_box(&outgoing).encode_head(ProtocolVersion::V311, &mut out);
        black_box(&out);
    });
    println!("{:<36} encode {encoding:6.1} ns", "head of an outgoing PUBLISH 3.1.1");
}

/// The least time of one call over all rounds, nanoseconds.
fn least_ns(mut call: impl FnMut()) -> f64 {
    let mut least = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        (0..CALLS_PER_ROUND).for_each(|_| call());
        least = least.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS_PER_ROUND));
    }
    least
}
