//! Our codec against one of other hands: what we write they read, what they write we read, and both mean the same.
//!
//! Duty: 3.1, 3.1.1 and 5.0 in both directions. Must not: prove refusals; the rows of `src/wire/tests.rs` do. Neighbours:
//! `fuzz/bodies`, which builds the packets, and the crate rmqtt-codec.

#[path = "../fuzz/bodies/mod.rs"]
#[allow(dead_code, reason = "the bodies are for the fuzz targets; only their packets are used here")]
mod bodies;

use bodies::packets::{Blocks, KINDS, Source, packet_of};
use bodies::plain::plain;
use bytes::BytesMut;
use proptest::prelude::*;
use ringmq::wire::{self, Framed, Packet, Properties, Property, ProtocolVersion, PublishProperties, QoS, Sender};
use rmqtt_codec::{v3, v5};
use tokio_util::codec::{Decoder, Encoder};

fn write_ours(packet: &Packet<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes);
    bytes
}

fn read_ours(bytes: &[u8], version: ProtocolVersion, sender: Sender) -> Packet<'_> {
    let Ok(Framed::Whole(found)) = wire::frame(bytes, u32::MAX) else { panic!("no whole packet: {bytes:02x?}") };
    assert_eq!(found.len, bytes.len());
    wire::decode(&found, version, sender).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"))
}

fn read_v5(bytes: &[u8]) -> v5::Packet {
    let read = v5::Codec::default().decode(&mut BytesMut::from(bytes));
    read.unwrap_or_else(|error| panic!("{error}: {bytes:02x?}")).expect("a whole packet").0
}

fn write_v5(packet: v5::Packet) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    v5::Codec::default().encode(packet, &mut bytes).expect("encodable");
    bytes.to_vec()
}

fn read_v3(bytes: &[u8]) -> v3::Packet {
    let read = v3::Codec::default().decode(&mut BytesMut::from(bytes));
    read.unwrap_or_else(|error| panic!("{error}: {bytes:02x?}")).expect("a whole packet").0
}

fn write_v3(packet: v3::Packet) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    v3::Codec::default().encode(packet, &mut bytes).expect("encodable");
    bytes.to_vec()
}

/// The packet without what the oracle does not keep: the difference between a default and its absence in a CONNACK.
fn without_defaults<'a>((packet, held): (Packet<'a>, Vec<Property<'a>>)) -> (Packet<'a>, Vec<Property<'a>>) {
    let Packet::Connack(mut connack) = packet else { return (packet, held) };
    for available in [
        &mut connack.retain_available,
        &mut connack.wildcard_subscription_available,
        &mut connack.subscription_identifiers_available,
        &mut connack.shared_subscription_available,
    ] {
        *available = available.filter(|yes| !yes);
    }
    connack.receive_maximum = connack.receive_maximum.filter(|value| *value != u16::MAX);
    (Packet::Connack(connack), held)
}

/// Whether the oracle can read and write such a packet: it knows no bridges, refuses a client without id and clean start,
/// and writes level 4 beside the name of 3.1.
fn is_known(packet: &Packet<'_>) -> bool {
    match packet {
        Packet::Connect(connect) if connect.version == ProtocolVersion::V31 => false,
        Packet::Connect(connect) => !connect.bridge && (connect.clean_start || !connect.client_id.is_empty()),
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Our bytes to their packet, their bytes to our packet: nothing of it is lost or changed.
    #[test]
    fn a_packet_survives_the_way_through_the_other_codec(
        kind in 0..KINDS,
        version in prop::sample::select(vec![ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5]),
        server: bool,
        seed in prop::collection::vec(prop_oneof![4 => b' '..=b'~', 2 => any::<u8>(), 1 => 0u8..4], 0..500),
    ) {
        let sender = if server { Sender::Server } else { Sender::Client };
        let mut source = Source::new(&seed);
        let blocks = Blocks::of(&mut source);
        let packet = packet_of(kind, &mut source, &blocks, version, sender);
        prop_assume!(is_known(&packet));
        let ours = write_ours(&packet, version);
        let theirs = match version {
            ProtocolVersion::V5 => write_v5(read_v5(&ours)),
            _ => write_v3(read_v3(&ours)),
        };
        let again = read_ours(&theirs, version, sender);
        prop_assert_eq!(without_defaults(plain(&again)), without_defaults(plain(&packet)));
    }
}

/// Both codecs write the packet and each reads the other's, field by field as they were filled by hand.
fn assert_same_v5(ours: &Packet<'_>, theirs: v5::Packet, sender: Sender) {
    assert_eq!(read_v5(&write_ours(ours, ProtocolVersion::V5)), theirs);
    let bytes = write_v5(theirs);
    assert_eq!(plain(&read_ours(&bytes, ProtocolVersion::V5, sender)), plain(ours));
}

fn users(block: &[(&str, &str)]) -> (Vec<u8>, v5::UserProperties) {
    let mut raw = Vec::new();
    block.iter().for_each(|(name, value)| Property::UserProperty(name, value).encode(&mut raw));
    (raw, block.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
}

/// Section 3.1.2.11 and 3.1.3.2: every property of a CONNECT and its will has the meaning that the other codec gives it.
#[test]
fn a_full_connect_means_the_same_to_both() {
    let (raw, user_properties) = users(&[("a", "1"), ("a", "2")]);
    let mut will_raw = Vec::new();
    Property::PayloadFormatIndicator(1).encode(&mut will_raw);
    Property::ContentType("text").encode(&mut will_raw);
    Property::ResponseTopic("back").encode(&mut will_raw);
    Property::CorrelationData(b"42").encode(&mut will_raw);
    let will = PublishProperties {
        raw: &will_raw,
        message_expiry_secs: Some(60),
        response_topic: Some("back"),
        payload_is_utf8: true,
        ..PublishProperties::EMPTY
    };
    let last_will = wire::LastWill {
        topic: "gone",
        payload: b"bye",
        qos: QoS::ExactlyOnce,
        retain: true,
        delay_secs: 5,
        properties: will,
    };
    let ours = wire::Connect {
        clean_start: false,
        keep_alive_secs: 30,
        user_name: Some("alice"),
        password: Some(b"secret"),
        last_will: Some(last_will),
        session_expiry_secs: Some(3600),
        receive_maximum: Some(10),
        maximum_packet_size: Some(1 << 20),
        topic_alias_maximum: 7,
        request_response_information: true,
        request_problem_information: false,
        authentication_method: Some("SCRAM"),
        authentication_data: Some(b"x"),
        user_properties: 2,
        properties: Properties { raw: &raw },
        ..wire::Connect::new(ProtocolVersion::V5, "gw")
    };
    let theirs = v5::Connect {
        clean_start: false,
        keep_alive: 30,
        session_expiry_interval_secs: 3600,
        auth_method: Some("SCRAM".into()),
        auth_data: Some(b"x"[..].into()),
        request_problem_info: false,
        request_response_info: true,
        receive_max: 10.try_into().ok(),
        topic_alias_max: 7,
        user_properties,
        max_packet_size: (1 << 20).try_into().ok(),
        last_will: Some(v5::LastWill {
            qos: v5::QoS::ExactlyOnce,
            retain: true,
            topic: "gone".into(),
            message: b"bye"[..].into(),
            will_delay_interval_sec: Some(5),
            correlation_data: Some(b"42"[..].into()),
            message_expiry_interval: 60.try_into().ok(),
            content_type: Some("text".into()),
            user_properties: Vec::new(),
            is_utf8_payload: Some(true),
            response_topic: Some("back".into()),
        }),
        client_id: "gw".into(),
        username: Some("alice".into()),
        password: Some(b"secret"[..].into()),
        cert: None,
    };
    assert_same_v5(&Packet::Connect(ours), theirs.into(), Sender::Client);
}

/// Section 3.2.2.3: every property of a CONNACK has the meaning that the other codec gives it.
#[test]
fn a_full_connack_means_the_same_to_both() {
    let (raw, user_properties) = users(&[("a", "1"), ("b", "2")]);
    let ours = wire::Connack {
        session_present: true,
        session_expiry_secs: Some(3600),
        receive_maximum: Some(10),
        maximum_qos: Some(QoS::AtLeastOnce),
        retain_available: Some(false),
        maximum_packet_size: Some(1 << 20),
        assigned_client_id: Some("auto-1"),
        topic_alias_maximum: Some(7),
        reason_string: Some("welcome"),
        wildcard_subscription_available: Some(false),
        subscription_identifiers_available: Some(false),
        shared_subscription_available: Some(false),
        server_keep_alive: Some(30),
        response_information: Some("back/"),
        server_reference: Some("other:1883"),
        authentication_method: Some("SCRAM"),
        authentication_data: Some(b"x"),
        user_properties: Properties { raw: &raw },
        ..wire::Connack::default()
    };
    let theirs = v5::ConnectAck {
        session_present: true,
        reason_code: v5::ConnectAckReason::Success,
        session_expiry_interval_secs: Some(3600),
        receive_max: 10.try_into().expect("not 0"),
        max_qos: v5::QoS::AtLeastOnce,
        max_packet_size: Some(1 << 20),
        assigned_client_id: Some("auto-1".into()),
        topic_alias_max: 7,
        retain_available: false,
        wildcard_subscription_available: false,
        subscription_identifiers_available: false,
        shared_subscription_available: false,
        server_keepalive_sec: Some(30),
        response_info: Some("back/".into()),
        server_reference: Some("other:1883".into()),
        auth_method: Some("SCRAM".into()),
        auth_data: Some(b"x"[..].into()),
        reason_string: Some("welcome".into()),
        user_properties,
    };
    assert_same_v5(&Packet::Connack(ours), theirs.into(), Sender::Server);
}

/// Section 3.3: every field of a PUBLISH has the meaning that the other codec gives it.
#[test]
fn a_full_publish_means_the_same_to_both() {
    let (user_raw, user_properties) = users(&[("a", "1"), ("a", "2")]);
    let mut raw = Vec::new();
    Property::SubscriptionIdentifier(3).encode(&mut raw);
    Property::SubscriptionIdentifier(300_000).encode(&mut raw);
    Property::PayloadFormatIndicator(1).encode(&mut raw);
    Property::ContentType("text").encode(&mut raw);
    Property::ResponseTopic("back").encode(&mut raw);
    Property::CorrelationData(b"42").encode(&mut raw);
    raw.extend_from_slice(&user_raw);
    let properties = PublishProperties {
        raw: &raw,
        message_expiry_secs: Some(60),
        topic_alias: Some(9),
        response_topic: Some("back"),
        payload_is_utf8: true,
        user_properties: 2,
        forward_raw: false,
    };
    let qos = QoS::AtLeastOnce;
    let ours = wire::Publish { dup: true, qos, retain: true, topic: "a/b", packet_id: 77, properties, payload: b"hi" };
    let theirs = rmqtt_codec::types::Publish {
        dup: true,
        retain: true,
        qos: v5::QoS::AtLeastOnce,
        topic: "a/b".into(),
        packet_id: 77.try_into().ok(),
        payload: b"hi"[..].into(),
        properties: Some(v5::PublishProperties {
            topic_alias: 9.try_into().ok(),
            correlation_data: Some(b"42"[..].into()),
            message_expiry_interval: 60.try_into().ok(),
            content_type: Some("text".into()),
            user_properties,
            is_utf8_payload: true,
            response_topic: Some("back".into()),
            subscription_ids: [3, 300_000].iter().filter_map(|id: &u32| (*id).try_into().ok()).collect(),
        }),
    };
    assert_same_v5(&Packet::Publish(ours), theirs.into(), Sender::Server);
}

/// Section 3.8.3.1: each subscription option has the meaning that the other codec gives it.
#[test]
fn a_full_subscribe_means_the_same_to_both() {
    let options = wire::SubscriptionOptions {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: false,
        retain_handling: wire::RetainHandling::SendIfNew,
    };
    let mut filters = Vec::new();
    wire::Subscribe::push_filter(&mut filters, "a/#", options);
    wire::Subscribe::push_filter(
        &mut filters,
        "b",
        wire::SubscriptionOptions { retain_as_published: true, ..Default::default() },
    );
    let ours = wire::Subscribe::new(5, Some(300), &filters);
    let option = |qos, no_local, retain_as_published, retain_handling| v5::SubscriptionOptions {
        qos,
        no_local,
        retain_as_published,
        retain_handling,
    };
    let theirs = v5::Subscribe {
        packet_id: 5.try_into().expect("not 0"),
        id: 300.try_into().ok(),
        user_properties: Vec::new(),
        topic_filters: vec![
            ("a/#".into(), option(v5::QoS::ExactlyOnce, true, false, v5::RetainHandling::AtSubscribeNew)),
            ("b".into(), option(v5::QoS::AtMostOnce, false, true, v5::RetainHandling::AtSubscribe)),
        ],
    };
    assert_same_v5(&Packet::Subscribe(ours), theirs.into(), Sender::Client);
}

/// 3.1.1 section 3.1: a CONNECT with all its fields means the same to both, in 3.1.1 byte for byte.
#[test]
fn a_full_v3_connect_means_the_same_to_both() {
    for (version, level) in [(ProtocolVersion::V31, 3), (ProtocolVersion::V311, 4)] {
        let (qos, properties) = (QoS::AtLeastOnce, PublishProperties::EMPTY);
        let will = wire::LastWill { topic: "gone", payload: b"bye", qos, retain: true, delay_secs: 0, properties };
        let ours = wire::Connect {
            clean_start: false,
            keep_alive_secs: 30,
            user_name: Some("alice"),
            password: Some(b"secret"),
            last_will: Some(will),
            ..wire::Connect::new(version, "gw")
        };
        let theirs = v3::Connect {
            protocol: rmqtt_codec::types::Protocol(level),
            clean_session: false,
            keep_alive: 30,
            last_will: Some(v3::LastWill {
                qos: v3::QoS::AtLeastOnce,
                retain: true,
                topic: "gone".into(),
                message: b"bye"[..].into(),
            }),
            client_id: "gw".into(),
            username: Some("alice".into()),
            password: Some(b"secret"[..].into()),
            cert: None,
        };
        let bytes = write_ours(&Packet::Connect(ours), version);
        assert_eq!(read_v3(&bytes), theirs.clone().into());
        if version == ProtocolVersion::V311 {
            assert_eq!(bytes, write_v3(theirs.into()));
        }
        assert_eq!(read_ours(&bytes, ProtocolVersion::V311, Sender::Client), Packet::Connect(ours));
    }
}
