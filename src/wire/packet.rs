//! Finds packets in a receive buffer and routes them to the decoder of their kind.
//!
//! Duty: fixed header (section 2.1), who may send what, one view type over all packets. Must not: look into a packet's
//! body. Neighbours: the files of the packets; `runtime` and `shard` call [`frame`] and [`decode`].

use super::connect::{Connack, Connect};
use super::control::{Auth, Disconnect, PINGREQ, PINGRESP};
use super::publish::Publish;
use super::reader::split_variable;
use super::subscribe::{Suback, Subscribe, Unsuback, Unsubscribe};
use super::{Ack, AckKind, ProtocolVersion, WireError};

/// Packet types (table 2-1), as the first byte has them with flags 0.
pub(super) mod kind {
    pub(in super::super) const CONNECT: u8 = 0x10;
    pub(in super::super) const CONNACK: u8 = 0x20;
    pub(in super::super) const PUBLISH: u8 = 0x30;
    pub(in super::super) const PUBACK: u8 = 0x40;
    pub(in super::super) const PUBREC: u8 = 0x50;
    pub(in super::super) const PUBREL: u8 = 0x60;
    pub(in super::super) const PUBCOMP: u8 = 0x70;
    pub(in super::super) const SUBSCRIBE: u8 = 0x80;
    pub(in super::super) const SUBACK: u8 = 0x90;
    pub(in super::super) const UNSUBSCRIBE: u8 = 0xA0;
    pub(in super::super) const UNSUBACK: u8 = 0xB0;
    pub(in super::super) const PINGREQ: u8 = 0xC0;
    pub(in super::super) const PINGRESP: u8 = 0xD0;
    pub(in super::super) const DISCONNECT: u8 = 0xE0;
    pub(in super::super) const AUTH: u8 = 0xF0;
}

/// Flags that PUBREL, SUBSCRIBE and UNSUBSCRIBE carry [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1].
pub(super) const REQUEST_FLAGS: u8 = 0x02;

/// The DUP flag, which 3.1 allows on PUBREL, SUBSCRIBE and UNSUBSCRIBE too.
const DUP_FLAG: u8 = 0x08;

/// What is wrong with flags of the fixed header that have no meaning.
pub(super) const RESERVED_FLAGS: &str = "reserved flags of the fixed header";

/// One packet's bytes, not yet looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Packet type and flags.
    pub first_byte: u8,
    /// What follows the Remaining Length.
    pub body: &'a [u8],
    /// Bytes of the packet, fixed header included.
    pub len: usize,
}

impl Frame<'_> {
    /// Whether it calls itself a CONNECT.
    pub fn is_connect(&self) -> bool {
        self.first_byte >> 4 == kind::CONNECT >> 4
    }
}

/// The name of the packet type in a packet's first byte (table 2-1).
pub fn packet_name(first_byte: u8) -> &'static str {
    match first_byte & 0xF0 {
        kind::CONNECT => "CONNECT",
        kind::CONNACK => "CONNACK",
        kind::PUBLISH => "PUBLISH",
        kind::PUBACK => "PUBACK",
        kind::PUBREC => "PUBREC",
        kind::PUBREL => "PUBREL",
        kind::PUBCOMP => "PUBCOMP",
        kind::SUBSCRIBE => "SUBSCRIBE",
        kind::SUBACK => "SUBACK",
        kind::UNSUBSCRIBE => "UNSUBSCRIBE",
        kind::UNSUBACK => "UNSUBACK",
        kind::PINGREQ => "PINGREQ",
        kind::PINGRESP => "PINGRESP",
        kind::DISCONNECT => "DISCONNECT",
        kind::AUTH => "AUTH",
        _ => "RESERVED",
    }
}

/// What stands at the front of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed<'a> {
    /// A packet with all its bytes.
    Whole(Frame<'a>),
    /// The beginning of a packet.
    Partial {
        /// Bytes of the whole packet, fixed header included, once its Remaining Length is known.
        needed: Option<usize>,
    },
}

/// Which side of a connection sent the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The side that sent CONNECT.
    Client,
    /// The broker.
    Server,
}

/// A decoded packet: a view of the bytes it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// CONNECT (section 3.1).
    Connect(Connect<'a>),
    /// CONNACK (section 3.2).
    Connack(Connack<'a>),
    /// PUBLISH (section 3.3).
    Publish(Publish<'a>),
    /// PUBACK, PUBREC, PUBREL, PUBCOMP (sections 3.4 to 3.7).
    Ack(Ack<'a>),
    /// SUBSCRIBE (section 3.8).
    Subscribe(Subscribe<'a>),
    /// SUBACK (section 3.9).
    Suback(Suback<'a>),
    /// UNSUBSCRIBE (section 3.10).
    Unsubscribe(Unsubscribe<'a>),
    /// UNSUBACK (section 3.11).
    Unsuback(Unsuback<'a>),
    /// PINGREQ (section 3.12).
    Pingreq,
    /// PINGRESP (section 3.13).
    Pingresp,
    /// DISCONNECT (section 3.14).
    Disconnect(Disconnect<'a>),
    /// AUTH (section 3.15).
    Auth(Auth<'a>),
}

/// The first packet in `bytes`. Nothing is allocated, however long the packet claims to be.
///
/// # Errors
/// Malformed: a Remaining Length of five bytes or of more than needed [MQTT-1.5.5-1]. Packet too large: more than
/// `packet_bytes_max` bytes, fixed header included (section 3.1.2.11.4).
#[inline]
pub fn frame(bytes: &[u8], packet_bytes_max: u32) -> Result<Framed<'_>, WireError> {
    let Some((&first_byte, after)) = bytes.split_first() else {
        return Ok(Framed::Partial { needed: None });
    };
    let (remaining, length_bytes) = match split_variable(after) {
        None => return Ok(Framed::Partial { needed: None }),
        Some(split) => split?,
    };
    let len = 1 + length_bytes + remaining as usize;
    if len > packet_bytes_max as usize {
        return Err(WireError::too_large());
    }
    match bytes.get(1 + length_bytes..len) {
        Some(body) => Ok(Framed::Whole(Frame { first_byte, body, len })),
        None => Ok(Framed::Partial { needed: Some(len) }),
    }
}

/// The packet of `frame`. `version` is that of the connection and does not matter to CONNECT, which carries its own.
///
/// # Errors
/// Malformed (0x81) and protocol errors (0x82) as each packet's `decode` says; a packet that only the other side may send
/// is a protocol error whatever its body; type 0, and AUTH before 5.0, are malformed (table 2-1).
#[inline]
pub fn decode<'a>(frame: &Frame<'a>, version: ProtocolVersion, sender: Sender) -> Result<Packet<'a>, WireError> {
    let packet_type = frame.first_byte & 0xf0;
    if packet_type == kind::PUBLISH {
        return Publish::decode(frame.first_byte, frame.body, version, sender).map(Packet::Publish);
    }
    if let Some(ack_kind) = AckKind::of_type(packet_type) {
        check_flags(packet_type, frame.first_byte & 0x0f, version)?;
        return Ack::decode(ack_kind, frame.body, version).map(Packet::Ack);
    }
    decode_rarer(frame, version, sender)
}

/// Every packet but PUBLISH and its acknowledgements, which [`decode`] inlines into its caller.
fn decode_rarer<'a>(frame: &Frame<'a>, version: ProtocolVersion, sender: Sender) -> Result<Packet<'a>, WireError> {
    let packet_type = frame.first_byte & 0xf0;
    check_sender(packet_type, version, sender)?;
    check_flags(packet_type, frame.first_byte & 0x0f, version)?;
    let body = frame.body;
    match packet_type {
        kind::CONNECT => Connect::decode(frame).map(Packet::Connect),
        kind::CONNACK => Connack::decode(body, version).map(Packet::Connack),
        kind::SUBSCRIBE => Subscribe::decode(body, version).map(Packet::Subscribe),
        kind::SUBACK => Suback::decode(body, version).map(Packet::Suback),
        kind::UNSUBSCRIBE => Unsubscribe::decode(body, version).map(Packet::Unsubscribe),
        kind::UNSUBACK => Unsuback::decode(body, version).map(Packet::Unsuback),
        kind::PINGREQ => empty(body, Packet::Pingreq),
        kind::PINGRESP => empty(body, Packet::Pingresp),
        kind::DISCONNECT => Disconnect::decode(body, version, sender).map(Packet::Disconnect),
        kind::AUTH => Auth::decode(body, sender).map(Packet::Auth),
        _ => Err(WireError::malformed("packet type 0")),
    }
}

fn empty<'a>(body: &[u8], packet: Packet<'a>) -> Result<Packet<'a>, WireError> {
    if body.is_empty() { Ok(packet) } else { Err(WireError::malformed("PINGREQ or PINGRESP with a body")) }
}

/// Direction of flow (table 2-1).
#[inline]
fn check_sender(packet_type: u8, version: ProtocolVersion, sender: Sender) -> Result<(), WireError> {
    let allowed = match packet_type {
        kind::AUTH if version < ProtocolVersion::V5 => return Err(WireError::malformed("AUTH before 5.0")),
        kind::CONNECT | kind::SUBSCRIBE | kind::UNSUBSCRIBE | kind::PINGREQ => sender == Sender::Client,
        kind::CONNACK | kind::SUBACK | kind::UNSUBACK | kind::PINGRESP => sender == Sender::Server,
        kind::DISCONNECT => sender == Sender::Client || version == ProtocolVersion::V5,
        _ => true,
    };
    if allowed { Ok(()) } else { Err(WireError::protocol("packet that only the other side may send")) }
}

/// Reserved flags have the value that table 2-2 lists [MQTT-2.1.3-1].
#[inline]
fn check_flags(packet_type: u8, flags: u8, version: ProtocolVersion) -> Result<(), WireError> {
    let valid = match packet_type {
        kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE if version == ProtocolVersion::V31 => {
            flags & !DUP_FLAG == REQUEST_FLAGS
        }
        kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE => flags == REQUEST_FLAGS,
        _ => flags == 0,
    };
    if valid { Ok(()) } else { Err(WireError::malformed(RESERVED_FLAGS)) }
}

impl Packet<'_> {
    /// Appends the packet as `version` has it; a CONNECT as its own version has it.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        match self {
            Self::Connect(packet) => packet.encode(out),
            Self::Connack(packet) => packet.encode(version, out),
            Self::Publish(packet) => packet.encode(version, out),
            Self::Ack(packet) => packet.encode(version, out),
            Self::Subscribe(packet) => packet.encode(version, out),
            Self::Suback(packet) => packet.encode(version, out),
            Self::Unsubscribe(packet) => packet.encode(version, out),
            Self::Unsuback(packet) => packet.encode(version, out),
            Self::Pingreq => out.extend_from_slice(&PINGREQ),
            Self::Pingresp => out.extend_from_slice(&PINGRESP),
            Self::Disconnect(packet) => packet.encode(version, out),
            Self::Auth(packet) => packet.encode(version, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 2.1.4: the length of a packet is known before its body is there.
    #[test]
    fn a_packet_is_found_once_all_its_bytes_are_there() {
        let bytes = [0x30, 0x05, 0, 1, b'a', b'x', b'y', 0xc0];
        assert_eq!(frame(&bytes[..0], 99), Ok(Framed::Partial { needed: None }));
        assert_eq!(frame(&bytes[..1], 99), Ok(Framed::Partial { needed: None }));
        for end in 2..7 {
            assert_eq!(frame(&bytes[..end], 99), Ok(Framed::Partial { needed: Some(7) }));
        }
        assert_eq!(frame(&bytes, 99), Ok(Framed::Whole(Frame { first_byte: 0x30, body: &bytes[2..7], len: 7 })));
    }

    /// Section 3.1.2.11.4, W09: a packet is refused by its claimed length, at the limit and not before.
    #[test]
    fn a_packet_above_the_limit_is_refused_by_its_header_alone() {
        assert_eq!(frame(&[0x30, 0x05], 7), Ok(Framed::Partial { needed: Some(7) }));
        assert_eq!(frame(&[0x30, 0x05], 6), Err(WireError::too_large()));
        assert_eq!(frame(&[0x30, 0xff, 0xff, 0xff, 0x7f], 1 << 20), Err(WireError::too_large()));
    }

    /// [MQTT-2.1.3-1] [v3.1.1 MQTT-2.2.2-1] [v3.1.1 MQTT-2.2.2-2]: one value each, and no other, whatever the body.
    #[test]
    fn reserved_flags_have_one_value() {
        for (packet_type, sender) in (1..=15).flat_map(|kind| [(kind, Sender::Client), (kind, Sender::Server)]) {
            if packet_type == 3 {
                // PUBLISH has no reserved flags.
                continue;
            }
            let right = if matches!(packet_type, 6 | 8 | 10) { 2 } else { 0 };
            for flags in (0..16).filter(|flags| *flags != right) {
                let frame = Frame { first_byte: packet_type << 4 | flags, body: &[0, 1], len: 4 };
                for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
                    let what = decode(&frame, version, sender).expect_err("malformed").what;
                    let is_refused_for_them =
                        what.contains("reserved flags") || what.contains("other side") || what == "AUTH before 5.0";
                    assert!(is_refused_for_them, "type {packet_type}, flags {flags:04b}, {version:?}: {what}");
                }
            }
        }
    }

    /// 3.1 section 2.1: SUBSCRIBE, UNSUBSCRIBE and PUBREL may be marked as sent again, in 3.1 alone.
    #[test]
    fn a_31_request_may_carry_dup() {
        let again = Frame { first_byte: 0x6a, body: &[0, 1], len: 4 };
        assert!(decode(&again, ProtocolVersion::V31, Sender::Client).is_ok());
        assert!(decode(&again, ProtocolVersion::V311, Sender::Client).is_err_and(|error| error.is_malformed()));
    }
}
