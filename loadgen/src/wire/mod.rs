//! MQTT 3.1.1 and 5.0 packets, bytes to views and back, written apart from the broker's codec so that a mistake there is
//! not repeated here. Strict about what it reads: a broker that bends a rule is told so.
//! Must not know sockets, clocks or scenarios. Neighbours: `engine` above, nothing below.

mod decode;
mod encode;
mod properties;
#[cfg(test)]
mod tests;

use std::fmt;

pub use decode::{decode, packet_bytes};
pub use encode::{ack, connack, connect, disconnect, pingreq, pingresp, publish, publish_head, suback, subscribe};

/// The protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1, protocol level 4.
    V311,
    /// MQTT 5.0, protocol level 5.
    V5,
}

impl Version {
    /// The version with this protocol level byte (section 3.1.2.2): 4 or 5.
    pub fn from_level(level: u8) -> Option<Self> {
        match level {
            4 => Some(Self::V311),
            5 => Some(Self::V5),
            _ => None,
        }
    }

    /// The protocol level byte of CONNECT.
    pub fn level(self) -> u8 {
        match self {
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }
}

/// Quality of service of one PUBLISH or one subscription (section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QoS {
    /// No acknowledgement.
    AtMostOnce = 0,
    /// Acknowledged by PUBACK.
    AtLeastOnce = 1,
    /// Acknowledged by PUBREC, PUBREL, PUBCOMP.
    ExactlyOnce = 2,
}

impl QoS {
    /// The QoS with this number: 0, 1 or 2.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// Its number on the wire.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// One packet as a view of the bytes it was read from.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Client to broker: open a session.
    Connect(Connect<'a>),
    /// Broker to client: the answer to CONNECT.
    Connack(Connack),
    /// A message, in either direction.
    Publish(Publish<'a>),
    /// One of PUBACK, PUBREC, PUBREL, PUBCOMP.
    Ack(Ack),
    /// Client to broker: one subscription.
    Subscribe(Subscribe<'a>),
    /// Broker to client: the answer to SUBSCRIBE.
    Suback(Suback),
    /// Client to broker: are you there?
    Pingreq,
    /// Broker to client: yes.
    Pingresp,
    /// The last packet of a connection; the reason is 0 in MQTT 3.1.1.
    Disconnect {
        /// Reason code (section 3.14.2.1 of 5.0).
        reason: u8,
    },
}

/// CONNECT without will and credentials.
#[derive(Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// Protocol level asked for.
    pub version: Version,
    /// Client identifier, UTF-8.
    pub client_id: &'a str,
    /// Clean session (3.1.1), clean start (5.0).
    pub clean_start: bool,
    /// How long the session outlives the connection, seconds (property 0x11); not sent in 3.1.1.
    pub session_expiry_secs: u32,
    /// Keep-alive, seconds; 0 switches it off.
    pub keep_alive_secs: u16,
}

/// CONNACK with those properties that bound what a client may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack {
    /// The broker had state for this client id.
    pub session_present: bool,
    /// 0 is success; the other codes differ between 3.1.1 and 5.0.
    pub reason: u8,
    /// PUBLISH packets of QoS 1 and 2 the broker takes unacknowledged, 1 to 65,535 (property 0x21).
    pub receive_maximum: u16,
    /// Highest QoS the broker takes (property 0x24).
    pub maximum_qos: QoS,
    /// Largest packet the broker takes, bytes (property 0x27).
    pub packet_bytes_max: Option<u32>,
}

/// PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Topic name, not checked to be UTF-8: the receiver compares it with the one it expects.
    pub topic: &'a [u8],
    /// Application message.
    pub payload: &'a [u8],
    /// Quality of service of this delivery.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// DUP flag, only with QoS 1 and 2.
    pub dup: bool,
    /// Packet identifier, 0 with QoS 0 and never otherwise.
    pub packet_id: u16,
}

/// Which acknowledgement an [`Ack`] is; the number is the packet type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckKind {
    /// QoS 1, receiver to sender.
    Puback = 4,
    /// QoS 2, first step, receiver to sender.
    Pubrec = 5,
    /// QoS 2, second step, sender to receiver.
    Pubrel = 6,
    /// QoS 2, last step, receiver to sender.
    Pubcomp = 7,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Which of the four.
    pub kind: AckKind,
    /// The packet identifier acknowledged, never 0.
    pub packet_id: u16,
    /// 0 in MQTT 3.1.1; 0x80 and above is a refusal.
    pub reason: u8,
}

/// SUBSCRIBE with exactly one filter.
#[derive(Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Packet identifier, never 0.
    pub packet_id: u16,
    /// Topic filter.
    pub filter: &'a [u8],
    /// QoS asked for.
    pub qos: QoS,
}

/// SUBACK for one filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suback {
    /// Packet identifier of the SUBSCRIBE.
    pub packet_id: u16,
    /// QoS granted (0 to 2), or a refusal (0x80 and above).
    pub reason: u8,
}

/// Why bytes are no MQTT packet, or none that may stand here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// Remaining length or property length of more than four bytes (section 1.5.5 of 5.0).
    Varint,
    /// A packet type that is reserved or that this codec has no use for.
    PacketType(u8),
    /// Flag bits of the fixed header that the type forbids [MQTT-2.2.2-2].
    Flags(u8),
    /// A field runs past the end of the packet.
    Truncated,
    /// Bytes left after the last field.
    Trailing,
    /// A packet identifier of 0 [MQTT-2.3.1-1].
    PacketIdZero,
    /// A property that is unknown, not allowed in this packet, or there twice.
    Property(u8),
    /// A value outside its range, named.
    Value(&'static str),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Varint => write!(f, "variable byte integer longer than four bytes"),
            Self::PacketType(kind) => write!(f, "packet type {kind} has no place here"),
            Self::Flags(first) => write!(f, "flag bits forbidden in fixed header {first:#04x}"),
            Self::Truncated => write!(f, "a field runs past the end of its packet"),
            Self::Trailing => write!(f, "bytes after the last field of a packet"),
            Self::PacketIdZero => write!(f, "packet identifier 0"),
            Self::Property(id) => write!(f, "property {id:#04x} unknown, not allowed here or repeated"),
            Self::Value(name) => write!(f, "{name} out of range"),
        }
    }
}

impl std::error::Error for WireError {}
