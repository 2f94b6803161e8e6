//! Why bytes were refused.
//!
//! Duty: name the reason code that the other side is told and the field that was wrong. Must not: carry the bytes
//! themselves (they may be secret or hostile). Neighbours: every decoder of this floor makes it, `shard` answers with it.

use super::ReasonCode;
use std::fmt;

/// A packet that cannot be accepted (section 4.13): the connection is told `reason` where its version allows, then closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireError {
    /// What DISCONNECT or CONNACK says.
    pub reason: ReasonCode,
    /// Which field of which packet, for the log.
    pub what: &'static str,
}

impl WireError {
    /// Bytes that do not parse as the specification says: reason code 0x81.
    #[cold]
    pub fn malformed(what: &'static str) -> Self {
        Self { reason: ReasonCode::MalformedPacket, what }
    }

    /// Bytes that parse and say what the protocol does not allow: reason code 0x82.
    #[cold]
    pub fn protocol(what: &'static str) -> Self {
        Self { reason: ReasonCode::ProtocolError, what }
    }

    /// A packet above the receiver's Maximum Packet Size: reason code 0x95 [MQTT-3.2.2-15].
    #[cold]
    pub fn too_large() -> Self {
        Self { reason: ReasonCode::PacketTooLarge, what: "packet larger than the maximum packet size" }
    }

    /// A CONNECT of a protocol that we do not speak: reason code 0x84 [MQTT-3.1.2-2].
    #[cold]
    pub fn unsupported_version(what: &'static str) -> Self {
        Self { reason: ReasonCode::UnsupportedProtocolVersion, what }
    }

    /// Whether the reason code is 0x81.
    pub fn is_malformed(&self) -> bool {
        self.reason == ReasonCode::MalformedPacket
    }

    /// Whether the reason code is 0x82.
    pub fn is_protocol(&self) -> bool {
        self.reason == ReasonCode::ProtocolError
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.what)
    }
}

impl std::error::Error for WireError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 4.13: 0x81 and 0x82 are told apart, and a log line shows reason and field.
    #[test]
    fn an_error_names_its_reason_and_its_field() {
        let malformed = WireError::malformed("PUBLISH topic");
        assert!(malformed.is_malformed() && !malformed.is_protocol());
        let protocol = WireError::protocol("x");
        assert!(protocol.is_protocol() && !protocol.is_malformed());
        assert_eq!(WireError::too_large().reason as u8, 0x95);
        assert_eq!(malformed.to_string(), "Malformed Packet (0x81): PUBLISH topic");
    }
}
