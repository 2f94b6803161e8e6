//! What the codec promises: what it writes it reads back, in any slicing; what breaks a rule it refuses.

use proptest::prelude::*;

use super::*;

const BOTH: [Version; 2] = [Version::V311, Version::V5];

fn roundtrips(bytes: &[u8], version: Version, packet: Packet<'_>) {
    for cut in 0..bytes.len().min(64) {
        assert_eq!(decode(&bytes[..cut], version), Ok(None), "a part of {packet:?} was taken for the whole");
    }
    assert_eq!(decode(bytes, version), Ok(Some((packet, bytes.len()))));
}

/// Section 3.1.
#[test]
fn connect_is_read_as_written() {
    for (version, clean_start, session_expiry_secs) in
        [(Version::V311, true, 0), (Version::V311, false, 0), (Version::V5, true, 0), (Version::V5, false, 3600)]
    {
        let packet = || Connect { version, client_id: "lg-1", clean_start, session_expiry_secs, keep_alive_secs: 60 };
        let mut out = Vec::new();
        connect(&mut out, &packet());
        roundtrips(&out, version, Packet::Connect(packet()));
    }
}

/// Section 3.2, and 3.2.2.3 of 5.0.
#[test]
fn connack_is_read_as_written_with_its_limits() {
    let plain = Connack {
        session_present: false,
        reason: 0,
        receive_maximum: u16::MAX,
        maximum_qos: QoS::ExactlyOnce,
        packet_bytes_max: None,
    };
    let limited = Connack {
        receive_maximum: 20,
        maximum_qos: QoS::AtLeastOnce,
        packet_bytes_max: Some(1 << 20),
        session_present: true,
        ..plain
    };
    for (version, packet) in [(Version::V311, plain), (Version::V5, plain), (Version::V5, limited)] {
        let mut out = Vec::new();
        connack(&mut out, &packet, version);
        roundtrips(&out, version, Packet::Connack(packet));
    }
}

/// Sections 3.4 to 3.7.
#[test]
fn every_acknowledgement_is_read_as_written() {
    for kind in [AckKind::Puback, AckKind::Pubrec, AckKind::Pubrel, AckKind::Pubcomp] {
        for (version, reason) in [(Version::V311, 0), (Version::V5, 0), (Version::V5, 0x92)] {
            let packet = Ack { kind, packet_id: 0xabcd, reason };
            let mut out = Vec::new();
            ack(&mut out, &packet, version);
            roundtrips(&out, version, Packet::Ack(packet));
        }
    }
}

/// Sections 3.8, 3.9, 3.12, 3.13, 3.14.
#[test]
fn the_small_packets_are_read_as_written() {
    for version in BOTH {
        let mut out = Vec::new();
        subscribe(&mut out, &Subscribe { packet_id: 7, filter: b"a/+/#", qos: QoS::ExactlyOnce }, version);
        let view = Subscribe { packet_id: 7, filter: b"a/+/#", qos: QoS::ExactlyOnce };
        roundtrips(&out, version, Packet::Subscribe(view));
        out.clear();
        suback(&mut out, &Suback { packet_id: 7, reason: 0x80 }, version);
        roundtrips(&out, version, Packet::Suback(Suback { packet_id: 7, reason: 0x80 }));
        out.clear();
        pingreq(&mut out);
        roundtrips(&out, version, Packet::Pingreq);
        out.clear();
        pingresp(&mut out);
        roundtrips(&out, version, Packet::Pingresp);
        out.clear();
        disconnect(&mut out, 0, version);
        roundtrips(&out, version, Packet::Disconnect { reason: 0 });
    }
    let mut out = Vec::new();
    disconnect(&mut out, 0x8e, Version::V5);
    roundtrips(&out, Version::V5, Packet::Disconnect { reason: 0x8e });
}

/// [MQTT-2.2.2-2], [MQTT-3.3.1-4], [MQTT-3.3.1-2], [MQTT-2.3.1-1], [MQTT-3.3.2-8].
#[test]
fn broken_packets_are_refused() {
    let cases: [(&[u8], Version, WireError); 9] = [
        (&[0x36, 3, 0, 1, b'a'], Version::V311, WireError::Flags(0x36)),
        (&[0x38, 3, 0, 1, b'a'], Version::V311, WireError::Flags(0x38)),
        (&[0x32, 5, 0, 1, b'a', 0, 0], Version::V311, WireError::PacketIdZero),
        (&[0x30, 3, 0, 5, b'a'], Version::V311, WireError::Truncated),
        (&[0x60, 2, 0, 1], Version::V311, WireError::Flags(0x60)),
        (&[0x40, 3, 0, 1, 0], Version::V311, WireError::Trailing),
        (&[0x40, 0x80, 0x80, 0x80, 0x80], Version::V311, WireError::Varint),
        (&[0x30, 7, 0, 1, b'a', 3, 0x23, 0, 1], Version::V5, WireError::Property(0x23)),
        (&[0x20, 7, 0, 0, 4, 0x24, 1, 0x24, 1], Version::V5, WireError::Property(0x24)),
    ];
    for (bytes, version, error) in cases {
        assert_eq!(decode(bytes, version), Err(error), "{bytes:02x?}");
    }
}

/// Section 3.3.2.3 of 5.0.
#[test]
fn publish_properties_of_a_broker_are_skipped() {
    let bytes = [0x30, 11, 0, 1, b'a', 5, 0x02, 0, 0, 0, 9, b'h', b'i'];
    let view = Publish { topic: b"a", payload: b"hi", qos: QoS::AtMostOnce, retain: false, dup: false, packet_id: 0 };
    assert_eq!(decode(&bytes, Version::V5), Ok(Some((Packet::Publish(view), bytes.len()))));
}

proptest! {
    /// Section 3.3.
    #[test]
    fn publish_is_read_as_written(
        topic in proptest::collection::vec(any::<u8>(), 1..300),
        payload in proptest::collection::vec(any::<u8>(), 0..40_000),
        number in 0u8..3, retain: bool, dup: bool, id in 1u16.., five: bool,
    ) {
        let version = if five { Version::V5 } else { Version::V311 };
        let qos = QoS::from_number(number).expect("0 to 2");
        let acked = number > 0;
        let packet = Publish {
            topic: &topic, payload: &payload, qos, retain, dup: dup && acked, packet_id: if acked { id } else { 0 },
        };
        let mut out = Vec::new();
        publish(&mut out, &packet, version);
        roundtrips(&out, version, Packet::Publish(packet));
    }

    /// Hostile or broken brokers must not stop a run by a panic.
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), five: bool) {
        let version = if five { Version::V5 } else { Version::V311 };
        if let Ok(Some((_, used))) = decode(&bytes, version) {
            prop_assert!(used >= 2 && used <= bytes.len());
        }
    }
}
