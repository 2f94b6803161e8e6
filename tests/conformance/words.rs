//! What a client said at CONNECT about answers, and Reason Strings (sections 3.1.2.11.4, 3.1.2.11.7, 3.4.2.2.2).
//!
//! Duty: check each packet that any peer of any conversation gets against it. Must not: know why
//! something failed. Neighbours: `peer` calls for each packet, `explanations` tests the words themselves.

use ringmq::wire::property::Properties;
use ringmq::wire::{self, Ack, Connack, Disconnect, Framed, Packet, ProtocolVersion, Sender, Suback, Unsuback};

use super::packets::*;
use super::peer::{Peer, decode};

/// Maximum Packet Size and Request Problem Information of a client.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    bytes_max: usize,
    wants_words: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self { bytes_max: usize::MAX, wants_words: true }
    }
}

impl Terms {
    /// Those of a CONNECT, if the bytes begin with one.
    pub(super) fn of_connect(bytes: &[u8]) -> Option<Self> {
        let Ok(Framed::Whole(frame)) = wire::frame(bytes, u32::MAX) else { return None };
        let Ok(Packet::Connect(connect)) = wire::decode(&frame, V5, Sender::Client) else { return None };
        let bytes_max = connect.maximum_packet_size.map_or(usize::MAX, |bytes| bytes as usize);
        Some(Self { bytes_max, wants_words: connect.request_problem_information })
    }

    /// No packet above the maximum; words only with a failure, and but for CONNACK and DISCONNECT only to who wants them; no
    /// user properties of ours.
    #[track_caller]
    pub(super) fn check(self, bytes: &[u8], version: ProtocolVersion) {
        assert!(bytes.len() <= self.bytes_max, "{} bytes for a client that takes {}", bytes.len(), self.bytes_max);
        let Ok(packet) = decode(bytes, version) else { return };
        let Some(answer) = Answer::of(&packet) else { return };
        assert_eq!(answer.user_properties, 0, "a user property of ours: {packet:?}");
        let Some(words) = answer.words else { return };
        assert!(answer.is_failure && !words.is_empty(), "words where nothing failed: {packet:?}");
        assert!(self.wants_words || answer.is_last_word, "words for a client that wants none: {packet:?}");
    }
}

/// What there is to explain in a packet.
struct Answer<'a> {
    words: Option<&'a str>,
    user_properties: usize,
    is_failure: bool,
    /// CONNACK and DISCONNECT.
    is_last_word: bool,
}

impl<'a> Answer<'a> {
    fn of(packet: &Packet<'a>) -> Option<Self> {
        let of_block = |block: &Properties<'a>, is_failure| Answer {
            words: block.reason_string(),
            user_properties: block.user_properties().count(),
            is_failure,
            is_last_word: false,
        };
        let any_failed = |reasons: &[u8]| reasons.iter().any(|reason| *reason >= 0x80);
        Some(match packet {
            Packet::Connack(connack) => Self {
                words: connack.reason_string,
                user_properties: connack.user_properties.user_properties().count(),
                is_failure: connack.reason.is_error(),
                is_last_word: true,
            },
            Packet::Disconnect(disconnect) => Self {
                words: disconnect.reason_string,
                user_properties: disconnect.properties.user_properties().count(),
                is_failure: disconnect.reason.is_error(),
                is_last_word: true,
            },
            Packet::Ack(ack) => of_block(&ack.properties, ack.reason.is_error()),
            Packet::Suback(suback) => of_block(&suback.properties, any_failed(suback.reasons)),
            Packet::Unsuback(unsuback) => of_block(&unsuback.properties, any_failed(unsuback.reasons)),
            _ => return None,
        })
    }
}

/// The packet without its words.
pub(super) fn plain(bytes: &[u8], version: ProtocolVersion) -> Vec<u8> {
    let Ok(packet) = decode(bytes, version) else { return bytes.to_vec() };
    if Answer::of(&packet).is_none_or(|answer| answer.words.is_none()) {
        return bytes.to_vec();
    }
    let properties = Properties::EMPTY;
    let plain = match packet {
        Packet::Connack(connack) => Packet::Connack(Connack { reason_string: None, ..connack }),
        Packet::Disconnect(disconnect) => Packet::Disconnect(Disconnect { reason_string: None, ..disconnect }),
        Packet::Ack(ack) => Packet::Ack(Ack { properties, ..ack }),
        Packet::Suback(suback) => Packet::Suback(Suback { properties, ..suback }),
        Packet::Unsuback(unsuback) => Packet::Unsuback(Unsuback { properties, ..unsuback }),
        other => other,
    };
    plain.bytes(version)
}

/// The words of the next packet, if it has any.
#[track_caller]
pub(super) fn hear_words(peer: &Peer) -> Option<String> {
    peer.hear_packet(|packet| Answer::of(&packet).expect("an answer").words.map(str::to_owned))
}
