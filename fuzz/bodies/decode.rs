//! Any bytes: the codec neither panics nor loops, and what it accepts it can write so that it is accepted again, the same.

use super::plain::plain;
use ringmq::wire::{Framed, Packet, ProtocolVersion, Sender, decode, frame};

const VERSIONS: [ProtocolVersion; 3] = [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5];
const PACKET_BYTES_MAX: u32 = 1 << 20;

/// Decodes the packets in `bytes` one after the other, as every version and either sender.
pub(crate) fn run(bytes: &[u8]) {
    for version in VERSIONS {
        for sender in [Sender::Client, Sender::Server] {
            decode_all(bytes, version, sender);
        }
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
