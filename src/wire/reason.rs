//! Reason codes (section 2.4): what a packet says about the outcome of a request.
//!
//! Duty: every code, its words, the codes each packet kind may carry, and the return codes that 3.x knows instead.
//! Must not: decide which code an outcome deserves. Neighbours: `error`, all packets that carry a code, `shard`.

use std::fmt;

/// The outcome of a request, one byte (section 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum ReasonCode {
    /// The request was carried out; also Normal disconnection (DISCONNECT) and Granted QoS 0 (SUBACK).
    #[default]
    Success = 0x00,
    /// SUBACK.
    GrantedQoS1 = 0x01,
    /// SUBACK.
    GrantedQoS2 = 0x02,
    /// DISCONNECT of a client.
    DisconnectWithWill = 0x04,
    /// PUBACK, PUBREC.
    NoMatchingSubscribers = 0x10,
    /// UNSUBACK.
    NoSubscriptionExisted = 0x11,
    /// AUTH.
    ContinueAuthentication = 0x18,
    /// AUTH of a client.
    Reauthenticate = 0x19,
    /// The sender does not wish to say more, or no other code fits.
    UnspecifiedError = 0x80,
    /// The packet does not parse.
    MalformedPacket = 0x81,
    /// The packet parses and is not allowed.
    ProtocolError = 0x82,
    /// Valid, and not accepted by this receiver.
    ImplementationSpecificError = 0x83,
    /// CONNACK.
    UnsupportedProtocolVersion = 0x84,
    /// CONNACK.
    ClientIdentifierNotValid = 0x85,
    /// CONNACK.
    BadUserNameOrPassword = 0x86,
    /// The client has not the right.
    NotAuthorized = 0x87,
    /// CONNACK.
    ServerUnavailable = 0x88,
    /// Try again later.
    ServerBusy = 0x89,
    /// CONNACK.
    Banned = 0x8A,
    /// DISCONNECT of a server.
    ServerShuttingDown = 0x8B,
    /// CONNACK, DISCONNECT of a server.
    BadAuthenticationMethod = 0x8C,
    /// DISCONNECT of a server [MQTT-3.1.2-22].
    KeepAliveTimeout = 0x8D,
    /// DISCONNECT of a server [MQTT-3.1.4-3].
    SessionTakenOver = 0x8E,
    /// Well formed, and not accepted here.
    TopicFilterInvalid = 0x8F,
    /// Well formed, and not accepted here.
    TopicNameInvalid = 0x90,
    /// The two session states may differ.
    PacketIdentifierInUse = 0x91,
    /// PUBREL, PUBCOMP: not an error during recovery.
    PacketIdentifierNotFound = 0x92,
    /// More unacknowledged messages than announced.
    ReceiveMaximumExceeded = 0x93,
    /// 0, or above the announced maximum.
    TopicAliasInvalid = 0x94,
    /// Above the announced maximum.
    PacketTooLarge = 0x95,
    /// DISCONNECT.
    MessageRateTooHigh = 0x96,
    /// A limit of the receiver is reached.
    QuotaExceeded = 0x97,
    /// DISCONNECT.
    AdministrativeAction = 0x98,
    /// The payload is not what Payload Format Indicator says.
    PayloadFormatInvalid = 0x99,
    /// CONNACK, DISCONNECT of a server.
    RetainNotSupported = 0x9A,
    /// CONNACK, DISCONNECT of a server.
    QoSNotSupported = 0x9B,
    /// For now.
    UseAnotherServer = 0x9C,
    /// For good.
    ServerMoved = 0x9D,
    /// SUBACK, DISCONNECT of a server.
    SharedSubscriptionsNotSupported = 0x9E,
    /// CONNACK, DISCONNECT of a server.
    ConnectionRateExceeded = 0x9F,
    /// DISCONNECT of a server.
    MaximumConnectTime = 0xA0,
    /// SUBACK, DISCONNECT of a server.
    SubscriptionIdentifiersNotSupported = 0xA1,
    /// SUBACK, DISCONNECT of a server.
    WildcardSubscriptionsNotSupported = 0xA2,
}

impl ReasonCode {
    /// Success as a DISCONNECT says it.
    pub const NORMAL_DISCONNECTION: Self = Self::Success;
    /// Success as a SUBACK says it.
    pub const GRANTED_QOS0: Self = Self::Success;

    /// The code of a byte; `None` where the specification assigns none.
    pub fn from_byte(byte: u8) -> Option<Self> {
        ALL.iter().find(|(code, _)| *code as u8 == byte).map(|(code, _)| *code)
    }

    /// Whether the request failed: 0x80 and above (section 2.4).
    pub fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// The return code of a 3.x CONNACK (3.1.1 section 3.2.2.3). Codes without a counterpart are "server unavailable":
    /// the one refusal that invites the client to come again.
    pub fn connack_v3(self) -> u8 {
        match self {
            Self::UnsupportedProtocolVersion => 1,
            Self::ClientIdentifierNotValid => 2,
            Self::BadUserNameOrPassword | Self::BadAuthenticationMethod => 4,
            Self::NotAuthorized | Self::Banned => 5,
            code if code.is_error() => 3,
            _ => 0,
        }
    }

    /// The code that a 3.x CONNACK return code means; `None` for 6 and above, which are reserved.
    pub fn from_connack_v3(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = ALL.iter().find(|(code, _)| code == self).map_or("", |(_, words)| words);
        write!(f, "{words} (0x{:02x})", *self as u8)
    }
}

/// Every code with the words of section 2.4.
const ALL: [(ReasonCode, &str); 43] = [
    (ReasonCode::Success, "Success"),
    (ReasonCode::GrantedQoS1, "Granted QoS 1"),
    (ReasonCode::GrantedQoS2, "Granted QoS 2"),
    (ReasonCode::DisconnectWithWill, "Disconnect with Will Message"),
    (ReasonCode::NoMatchingSubscribers, "No matching subscribers"),
    (ReasonCode::NoSubscriptionExisted, "No subscription existed"),
    (ReasonCode::ContinueAuthentication, "Continue authentication"),
    (ReasonCode::Reauthenticate, "Re-authenticate"),
    (ReasonCode::UnspecifiedError, "Unspecified error"),
    (ReasonCode::MalformedPacket, "Malformed Packet"),
    (ReasonCode::ProtocolError, "Protocol Error"),
    (ReasonCode::ImplementationSpecificError, "Implementation specific error"),
    (ReasonCode::UnsupportedProtocolVersion, "Unsupported Protocol Version"),
    (ReasonCode::ClientIdentifierNotValid, "Client Identifier not valid"),
    (ReasonCode::BadUserNameOrPassword, "Bad User Name or Password"),
    (ReasonCode::NotAuthorized, "Not authorized"),
    (ReasonCode::ServerUnavailable, "Server unavailable"),
    (ReasonCode::ServerBusy, "Server busy"),
    (ReasonCode::Banned, "Banned"),
    (ReasonCode::ServerShuttingDown, "Server shutting down"),
    (ReasonCode::BadAuthenticationMethod, "Bad authentication method"),
    (ReasonCode::KeepAliveTimeout, "Keep Alive timeout"),
    (ReasonCode::SessionTakenOver, "Session taken over"),
    (ReasonCode::TopicFilterInvalid, "Topic Filter invalid"),
    (ReasonCode::TopicNameInvalid, "Topic Name invalid"),
    (ReasonCode::PacketIdentifierInUse, "Packet Identifier in use"),
    (ReasonCode::PacketIdentifierNotFound, "Packet Identifier not found"),
    (ReasonCode::ReceiveMaximumExceeded, "Receive Maximum exceeded"),
    (ReasonCode::TopicAliasInvalid, "Topic Alias invalid"),
    (ReasonCode::PacketTooLarge, "Packet too large"),
    (ReasonCode::MessageRateTooHigh, "Message rate too high"),
    (ReasonCode::QuotaExceeded, "Quota exceeded"),
    (ReasonCode::AdministrativeAction, "Administrative action"),
    (ReasonCode::PayloadFormatInvalid, "Payload format invalid"),
    (ReasonCode::RetainNotSupported, "Retain not supported"),
    (ReasonCode::QoSNotSupported, "QoS not supported"),
    (ReasonCode::UseAnotherServer, "Use another server"),
    (ReasonCode::ServerMoved, "Server moved"),
    (ReasonCode::SharedSubscriptionsNotSupported, "Shared Subscriptions not supported"),
    (ReasonCode::ConnectionRateExceeded, "Connection rate exceeded"),
    (ReasonCode::MaximumConnectTime, "Maximum connect time"),
    (ReasonCode::SubscriptionIdentifiersNotSupported, "Subscription Identifiers not supported"),
    (ReasonCode::WildcardSubscriptionsNotSupported, "Wildcard Subscriptions not supported"),
];

/// Codes of CONNACK [MQTT-3.2.2-8].
pub(super) const CONNACK: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B,
    0x9C, 0x9D, 0x9F,
];
/// Codes of PUBACK and PUBREC [MQTT-3.4.2-1] [MQTT-3.5.2-1].
pub(super) const PUBACK: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
/// Codes of PUBREL and PUBCOMP [MQTT-3.6.2-1] [MQTT-3.7.2-1].
pub(super) const PUBREL: &[u8] = &[0x00, 0x92];
/// Codes of SUBACK [MQTT-3.9.3-2].
pub(super) const SUBACK: &[u8] = &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
/// Codes of a 3.1.1 SUBACK (3.1.1 section 3.9.3).
pub(super) const SUBACK_V3: &[u8] = &[0x00, 0x01, 0x02, 0x80];
/// Codes of UNSUBACK [MQTT-3.11.3-2].
pub(super) const UNSUBACK: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
/// Codes of a DISCONNECT that a client sends [MQTT-3.14.2-1].
pub(super) const DISCONNECT_BY_CLIENT: &[u8] =
    &[0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
/// Codes of a DISCONNECT that a server sends [MQTT-3.14.2-1].
pub(super) const DISCONNECT_BY_SERVER: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
    0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];
/// Codes of an AUTH that a client sends (table 3.15.2.1).
pub(super) const AUTH_BY_CLIENT: &[u8] = &[0x18, 0x19];
/// Codes of an AUTH that a server sends (table 3.15.2.1).
pub(super) const AUTH_BY_SERVER: &[u8] = &[0x00, 0x18];

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 2.4: 43 codes, each the inverse of its byte, errors from 0x80 on.
    #[test]
    fn every_byte_is_its_code_or_none() {
        let known: Vec<u8> = (0..=255).filter(|byte| ReasonCode::from_byte(*byte).is_some()).collect();
        assert_eq!(known.len(), ALL.len());
        for byte in known {
            let code = ReasonCode::from_byte(byte).expect("filtered above");
            assert_eq!(code as u8, byte);
            assert_eq!(code.is_error(), byte >= 0x80);
            assert!(code.to_string().ends_with(&format!("(0x{byte:02x})")));
        }
        assert_eq!(ReasonCode::from_byte(0x03), None);
        assert_eq!(ReasonCode::from_byte(0xA3), None);
    }

    /// 3.1.1 section 3.2.2.3: five refusals, which survive the way there and back.
    #[test]
    fn a_v3_return_code_means_the_same_in_both_directions() {
        for byte in 0..=5 {
            assert_eq!(ReasonCode::from_connack_v3(byte).map(ReasonCode::connack_v3), Some(byte));
        }
        assert_eq!(ReasonCode::from_connack_v3(6), None);
        assert_eq!(ReasonCode::ServerBusy.connack_v3(), 3);
        assert_eq!(ReasonCode::QuotaExceeded.connack_v3(), 3);
    }
}
