//! Packets that clients send.
//!
//! Duty: bytes of ordinary packets, and a client's replies to what a broker sends. Must not: know shards. Neighbours:
//! `codec` decodes and encodes them, `broker` sends them.

use ringmq::wire::{
    Ack, AckKind, Connect, Packet, Property, ProtocolVersion, Publish, PublishProperties, QoS, ReasonCode, Subscribe,
    SubscriptionOptions, Unsubscribe,
};

/// A topic of ordinary length: 26 bytes, five levels.
pub(crate) const TOPIC: &str = "plant/7/line/3/temperature";

/// A small payload.
pub(crate) const PAYLOAD: &[u8; 64] = &[b'x'; 64];

/// All three.
pub(crate) const QUALITIES: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn bytes_of(packet: &Packet<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes);
    bytes
}

/// CONNECT with a clean start.
pub(crate) fn connect(version: ProtocolVersion, client_id: &str) -> Vec<u8> {
    connect_to_session(version, client_id, true)
}

/// CONNECT, with a clean start or to a session that outlives its connection.
pub(crate) fn connect_to_session(version: ProtocolVersion, client_id: &str, is_clean: bool) -> Vec<u8> {
    bytes_of(&Packet::Connect(Connect { clean_start: is_clean, ..Connect::new(version, client_id) }), version)
}

/// PUBLISH of the small payload; `packet_id` counts only above QoS 0.
pub(crate) fn publish(version: ProtocolVersion, topic: &str, qos: QoS, packet_id: u16) -> Vec<u8> {
    publish_with(version, topic, qos, packet_id, PublishProperties::EMPTY)
}

/// PUBLISH with a content type and a user property.
pub(crate) fn publish_with_properties(qos: QoS, packet_id: u16) -> Vec<u8> {
    let mut raw = Vec::new();
    properties(&mut raw);
    let properties = PublishProperties { raw: &raw, ..PublishProperties::EMPTY };
    publish_with(ProtocolVersion::V5, TOPIC, qos, packet_id, properties)
}

/// A content type and a user property, encoded.
pub(crate) fn properties(out: &mut Vec<u8>) {
    Property::ContentType("text/plain").encode(out);
    Property::UserProperty("unit", "kelvin").encode(out);
}

fn publish_with(
    version: ProtocolVersion,
    topic: &str,
    qos: QoS,
    packet_id: u16,
    properties: PublishProperties<'_>,
) -> Vec<u8> {
    let packet_id = if qos == QoS::AtMostOnce { 0 } else { packet_id };
    let publish = Publish { dup: false, qos, retain: false, topic, packet_id, properties, payload: PAYLOAD };
    bytes_of(&Packet::Publish(publish), version)
}

/// One of the four acknowledgements, with success.
pub(crate) fn ack(version: ProtocolVersion, kind: AckKind, packet_id: u16) -> Vec<u8> {
    bytes_of(&Packet::Ack(Ack::new(kind, packet_id, ReasonCode::Success)), version)
}

/// SUBSCRIBE to one filter.
pub(crate) fn subscribe(version: ProtocolVersion, filter: &str, qos: QoS) -> Vec<u8> {
    let mut filters = Vec::new();
    Subscribe::push_filter(&mut filters, filter, SubscriptionOptions { qos, ..SubscriptionOptions::default() });
    bytes_of(&Packet::Subscribe(Subscribe::new(1, None, &filters)), version)
}

/// UNSUBSCRIBE from one filter.
pub(crate) fn unsubscribe(version: ProtocolVersion, filter: &str) -> Vec<u8> {
    let mut filters = Vec::new();
    Unsubscribe::push_filter(&mut filters, filter);
    bytes_of(&Packet::Unsubscribe(Unsubscribe::new(2, &filters)), version)
}

/// Appends what a 3.1.1 client replies to a stream of packets, each of which has a Remaining Length below 128. Read from
/// fixed places, so that the client costs next to nothing beside the broker that is measured.
pub(crate) fn reply(mut bytes: &[u8], replies: &mut Vec<u8>) {
    while let [first, remaining, body @ ..] = bytes {
        assert!(*remaining < 128, "a longer packet than `reply` reads");
        let (packet, rest) = body.split_at(usize::from(*remaining));
        let (kind, id_at) = match first >> 4 {
            3 if first & 6 == 2 => (0x40, 2 + topic_len(packet)),
            3 if first & 6 == 4 => (0x50, 2 + topic_len(packet)),
            5 => (0x62, 0),
            6 => (0x70, 0),
            _ => (0, 0),
        };
        if kind != 0 {
            replies.extend_from_slice(&[kind, 2, packet[id_at], packet[id_at + 1]]);
        }
        bytes = rest;
    }
}

fn topic_len(publish: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([publish[0], publish[1]]))
}
