//! PUBACK, PUBREC, PUBREL, PUBCOMP (sections 3.4 to 3.7): one form, four names.
//!
//! Duty: decode and encode them. Must not: know which messages are in flight. Neighbours: `session` decides which comes next.

use super::packet::{REQUEST_FLAGS, kind};
use super::property::id;
use super::property_block::{Properties, Rules, read_block};
use super::reader::Reader;
use super::writer::{put_measured, put_packet, put_two_bytes};
use super::{ProtocolVersion, ReasonCode, WireError, reason};

const RULES: Rules = Rules::of(&[id::REASON_STRING, id::USER_PROPERTY]);

/// Which acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckKind {
    /// Answers a QoS 1 PUBLISH.
    Puback,
    /// Answers a QoS 2 PUBLISH.
    Pubrec,
    /// Answers PUBREC.
    Pubrel,
    /// Answers PUBREL.
    Pubcomp,
}

impl AckKind {
    /// The acknowledgement of a packet type, flags 0.
    #[inline]
    pub(super) fn of_type(packet_type: u8) -> Option<Self> {
        match packet_type {
            kind::PUBACK => Some(Self::Puback),
            kind::PUBREC => Some(Self::Pubrec),
            kind::PUBREL => Some(Self::Pubrel),
            kind::PUBCOMP => Some(Self::Pubcomp),
            _ => None,
        }
    }

    /// The packet that says no more than its packet id, which means success in every version.
    #[inline]
    pub fn short(self, packet_id: u16) -> [u8; 4] {
        let [high, low] = packet_id.to_be_bytes();
        [self.first_byte(), 2, high, low]
    }

    fn first_byte(self) -> u8 {
        match self {
            Self::Puback => kind::PUBACK,
            Self::Pubrec => kind::PUBREC,
            Self::Pubrel => kind::PUBREL | REQUEST_FLAGS,
            Self::Pubcomp => kind::PUBCOMP,
        }
    }

    fn reasons(self) -> &'static [u8] {
        match self {
            Self::Puback | Self::Pubrec => reason::PUBACK,
            Self::Pubrel | Self::Pubcomp => reason::PUBREL,
        }
    }
}

/// One acknowledgement of a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Which of the four.
    pub kind: AckKind,
    /// That of the PUBLISH; not 0 [MQTT-2.2.1-5].
    pub packet_id: u16,
    /// Success before 5.0.
    pub reason: ReasonCode,
    /// Reason string and user properties; empty before 5.0.
    pub properties: Properties<'a>,
}

impl<'a> Ack<'a> {
    /// An acknowledgement without properties.
    pub fn new(kind: AckKind, packet_id: u16, reason: ReasonCode) -> Self {
        Self { kind, packet_id, reason, properties: Properties::EMPTY }
    }

    /// Reads the body: 2 bytes mean success, 3 a reason without properties (section 3.4.2.1). Malformed: another length.
    /// Protocol error: packet id 0, a reason code that this packet does not have.
    #[inline]
    pub(super) fn decode(kind: AckKind, body: &'a [u8], version: ProtocolVersion) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.two_bytes("acknowledgement packet id")?;
        if packet_id == 0 {
            return Err(WireError::protocol("acknowledgement packet id 0"));
        }
        let mut ack = Self::new(kind, packet_id, ReasonCode::Success);
        if version < ProtocolVersion::V5 || reader.is_empty() {
            reader.finish("acknowledgement longer than its packet id")?;
            return Ok(ack);
        }
        ack.reason = read_reason(&mut reader, kind.reasons())?;
        if !reader.is_empty() {
            ack.properties = read_block(&mut reader, RULES, |_| {})?;
            reader.finish("acknowledgement longer than its properties")?;
        }
        Ok(ack)
    }

    /// Appends the packet in its shortest form. Before 5.0 reason and properties are left out.
    #[inline]
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        let bare = self.reason == ReasonCode::Success && self.properties.raw.is_empty();
        if version < ProtocolVersion::V5 || bare {
            out.extend_from_slice(&self.kind.short(self.packet_id));
        } else {
            self.encode_with_reason(out);
        }
    }

    fn encode_with_reason(&self, out: &mut Vec<u8>) {
        put_packet(out, self.kind.first_byte(), |out| {
            put_two_bytes(out, self.packet_id);
            out.push(self.reason as u8);
            if !self.properties.raw.is_empty() {
                put_measured(out, |out| out.extend_from_slice(self.properties.raw));
            }
        });
    }
}

/// A reason code out of those that a packet may have. A code that exists nowhere, or not here, is a protocol error: the
/// byte parses, and its value is not allowed (section 1.2, "Protocol Error").
pub(super) fn read_reason(reader: &mut Reader<'_>, allowed: &[u8]) -> Result<ReasonCode, WireError> {
    let byte = reader.byte("reason code")?;
    if !allowed.contains(&byte) {
        return Err(WireError::protocol("reason code not allowed in this packet"));
    }
    ReasonCode::from_byte(byte).ok_or_else(|| WireError::protocol("unknown reason code"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sections 3.4.2.1 and 3.4.2.2.1: reason and properties are left out when they say nothing.
    #[test]
    fn an_acknowledgement_takes_its_shortest_form() {
        let written = |ack: Ack<'_>, version| {
            let mut out = Vec::new();
            ack.encode(version, &mut out);
            out
        };
        let success = Ack::new(AckKind::Pubrel, 7, ReasonCode::Success);
        assert_eq!(written(success, ProtocolVersion::V5), [0x62, 2, 0, 7]);
        let missing = Ack::new(AckKind::Pubcomp, 7, ReasonCode::PacketIdentifierNotFound);
        assert_eq!(written(missing, ProtocolVersion::V5), [0x70, 3, 0, 7, 0x92]);
        assert_eq!(written(missing, ProtocolVersion::V311), [0x70, 2, 0, 7]);
        let properties = Properties { raw: &[0x1f, 0, 1, b'x'] };
        let explained = Ack { properties, ..success };
        assert_eq!(written(explained, ProtocolVersion::V5), [0x62, 8, 0, 7, 0, 4, 0x1f, 0, 1, b'x']);
        assert_eq!(explained.properties.reason_string(), Some("x"));
    }

    /// Section 3.4.2.2.1: a property length of 0 may stand there, and means the same as none.
    #[test]
    fn an_acknowledgement_with_an_empty_block_is_one_without() {
        let ack = Ack::decode(AckKind::Puback, &[0, 7, 0x10, 0], ProtocolVersion::V5);
        assert_eq!(ack, Ok(Ack::new(AckKind::Puback, 7, ReasonCode::NoMatchingSubscribers)));
        assert_eq!(ack, Ack::decode(AckKind::Puback, &[0, 7, 0x10], ProtocolVersion::V5));
    }
}
