//! GROUND floor: bytes to packets and packets to bytes, for MQTT 3.1, 3.1.1 and 5.0.
//!
//! Duty: find packets in a receive buffer, decode them as borrowed views, encode them, and say whether bad bytes are
//! malformed (0x81) or a protocol error (0x82). Must not: know topics' meaning, sessions, limits other than sizes; allocate
//! for a PUBLISH; panic, whatever the bytes. Neighbours: `shard` decodes and encodes with it; `bytes` is all it stands on.

pub mod ack;
mod connack;
pub mod connect;
pub mod control;
pub mod error;
#[cfg(test)]
mod golden_tests;
pub mod packet;
pub mod property;
mod property_block;
pub mod publish;
pub mod reader;
pub mod reason;
pub mod subscribe;
#[cfg(test)]
mod tests;
mod writer;

pub use ack::{Ack, AckKind};
pub use connect::{Connack, Connect, LastWill};
pub use control::{Auth, Disconnect, PINGREQ, PINGRESP};
pub use error::WireError;
pub use packet::{Frame, Framed, Packet, Sender, decode, frame, packet_name};
pub use property::{Properties, Property};
pub use publish::{OutgoingPublish, PlainPublish, Publish, PublishProperties};
pub use reason::ReasonCode;
pub use subscribe::{RetainHandling, Suback, Subscribe, SubscriptionOptions, Unsuback, Unsubscribe, answer_len};

/// The protocol that a connection speaks (section 3.1.2.2: protocol name and level).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProtocolVersion {
    /// MQTT 3.1: name `MQIsdp`, level 3.
    V31,
    /// MQTT 3.1.1: name `MQTT`, level 4.
    V311,
    /// MQTT 5.0: name `MQTT`, level 5.
    V5,
}

/// Quality of Service of a message or a subscription (section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0.
    #[default]
    AtMostOnce = 0,
    /// QoS 1.
    AtLeastOnce = 1,
    /// QoS 2.
    ExactlyOnce = 2,
}

impl QoS {
    /// The QoS of two bits; `None` for 3, which is malformed [MQTT-3.3.1-4].
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}
