//! Any bytes: the codec neither panics nor loops, and what it accepts it can write so that it is accepted again, the same.

use super::plain::plain;
use ringmq::wire::{Framed, Packet, PlainPublish, ProtocolVersion, Publish, PublishProperties, Sender, decode, frame};

const VERSIONS: [ProtocolVersion; 3] = [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5];
const PACKET_BYTES_MAX: u32 = 1 << 20;
/// Remaining Length of two bytes.
const PLAIN_BODY_BYTES_MAX: usize = 16_383;

/// Decodes the packets in `bytes` one after the other, as every version and either sender.
pub(crate) fn run(bytes: &[u8]) {
    for version in VERSIONS {
        for sender in [Sender::Client, Sender::Server] {
            decode_all(bytes, version, sender);
        }
        (0..bytes.len()).for_each(|at| find_plain(&bytes[at..], version));
    }
}

fn decode_all(mut bytes: &[u8], version: ProtocolVersion, sender: Sender) {
    while let Ok(Framed::Whole(found)) = frame(bytes, PACKET_BYTES_MAX) {
        assert!(matches!(frame(&bytes[..found.len - 1], PACKET_BYTES_MAX), Ok(Framed::Partial { .. })));
        if let Ok(packet) = decode(&found, version, sender) {
            assert_stable(&packet, version, sender);
        }
        bytes = &bytes[found.len..];
    }
}

/// The quick look finds a plain PUBLISH at the front exactly where `decode` finds one, and the same in it, but that it does not
/// refuse a topic that is no string.
pub(crate) fn find_plain(bytes: &[u8], version: ProtocolVersion) {
    let quick = PlainPublish::at_front(bytes, version);
    let Ok(Framed::Whole(found)) = frame(bytes, PACKET_BYTES_MAX) else {
        assert_eq!(quick, None, "there is no packet: {bytes:02x?}");
        return;
    };
    let decoded = decode(&found, version, Sender::Client);
    let Some(quick) = quick else {
        let is_plain = match decoded {
            Ok(Packet::Publish(Publish { dup, retain, properties, .. })) => {
                !dup && !retain && properties == PublishProperties::EMPTY
            }
            _ => false,
        };
        assert!(!is_plain || found.body.len() > PLAIN_BODY_BYTES_MAX, "a plain one is missed: {bytes:02x?}");
        return;
    };
    assert_eq!(quick.bytes, &bytes[..found.len]);
    assert_eq!(PlainPublish::at_front(&bytes[..found.len - 1], version), None, "a part of it is none: {bytes:02x?}");
    let topic = std::str::from_utf8(quick.topic).ok().filter(|topic| !topic.contains('\0'));
    let expected = topic.map(|topic| {
        Packet::Publish(Publish {
            dup: false,
            qos: quick.qos,
            retain: false,
            topic,
            packet_id: quick.packet_id,
            properties: PublishProperties::EMPTY,
            payload: quick.payload,
        })
    });
    assert_eq!(decoded.ok(), expected, "{bytes:02x?}");
}

/// Written and read again the packet is the same, and written once more it is the same bytes.
fn assert_stable(packet: &Packet<'_>, version: ProtocolVersion, sender: Sender) {
    let mut written = Vec::new();
    packet.encode(version, &mut written);
    let Ok(Framed::Whole(found)) = frame(&written, PACKET_BYTES_MAX) else {
        panic!("not one whole packet: {packet:?}");
    };
    assert_eq!(found.len, written.len(), "{packet:?}");
    let again = decode(&found, version, sender).unwrap_or_else(|error| panic!("{error}: {packet:?}"));
    assert_eq!(plain(packet), plain(&again));
    let mut twice = Vec::new();
    again.encode(version, &mut twice);
    assert_eq!(written, twice);
}
