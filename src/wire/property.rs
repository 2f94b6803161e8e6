//! The properties of MQTT 5.0 (section 2.2.2), one at a time.
//!
//! Duty: each property's id, type and range of values. Must not: know which packet may carry it (`property_block` does).
//! Neighbours: `property_block`, `reader`, `writer`.

pub use super::property_block::Properties;

use super::WireError;
use super::reader::Reader;
use super::writer::{put_binary, put_four_bytes, put_string, put_two_bytes, put_variable};

/// Property ids (table 2-4).
pub(super) mod id {
    pub(in super::super) const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub(in super::super) const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub(in super::super) const CONTENT_TYPE: u8 = 0x03;
    pub(in super::super) const RESPONSE_TOPIC: u8 = 0x08;
    pub(in super::super) const CORRELATION_DATA: u8 = 0x09;
    pub(in super::super) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
    pub(in super::super) const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub(in super::super) const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub(in super::super) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(in super::super) const AUTHENTICATION_METHOD: u8 = 0x15;
    pub(in super::super) const AUTHENTICATION_DATA: u8 = 0x16;
    pub(in super::super) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub(in super::super) const WILL_DELAY_INTERVAL: u8 = 0x18;
    pub(in super::super) const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub(in super::super) const RESPONSE_INFORMATION: u8 = 0x1A;
    pub(in super::super) const SERVER_REFERENCE: u8 = 0x1C;
    pub(in super::super) const REASON_STRING: u8 = 0x1F;
    pub(in super::super) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(in super::super) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(in super::super) const TOPIC_ALIAS: u8 = 0x23;
    pub(in super::super) const MAXIMUM_QOS: u8 = 0x24;
    pub(in super::super) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(in super::super) const USER_PROPERTY: u8 = 0x26;
    pub(in super::super) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(in super::super) const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub(in super::super) const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 0x29;
    pub(in super::super) const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;
}

/// One property (section 2.2.2.2). Names and values are those of the specification; times are in seconds, sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property<'a> {
    /// 0: bytes; 1: the payload is UTF-8.
    PayloadFormatIndicator(u8),
    /// Lifetime of the message, seconds.
    MessageExpiryInterval(u32),
    /// What the payload is.
    ContentType(&'a str),
    /// Where an answer goes.
    ResponseTopic(&'a str),
    /// Which request an answer belongs to.
    CorrelationData(&'a [u8]),
    /// Which subscription a message is for; not 0.
    SubscriptionIdentifier(u32),
    /// How long a session outlives its connection, seconds; `u32::MAX` means forever.
    SessionExpiryInterval(u32),
    /// The client id that the server chose.
    AssignedClientIdentifier(&'a str),
    /// The keep alive that holds instead of the client's, seconds.
    ServerKeepAlive(u16),
    /// Name of the extended authentication.
    AuthenticationMethod(&'a str),
    /// Data of the extended authentication.
    AuthenticationData(&'a [u8]),
    /// Whether reason strings and user properties are welcome.
    RequestProblemInformation(bool),
    /// Time from a lost connection to its will, seconds.
    WillDelayInterval(u32),
    /// Whether response information is welcome.
    RequestResponseInformation(bool),
    /// Basis for response topics.
    ResponseInformation(&'a str),
    /// Another server to use.
    ServerReference(&'a str),
    /// A diagnosis for people.
    ReasonString(&'a str),
    /// Unacknowledged QoS 1 and 2 messages that the sender takes; not 0.
    ReceiveMaximum(u16),
    /// Highest topic alias that the sender takes.
    TopicAliasMaximum(u16),
    /// A number in place of a topic name; not 0.
    TopicAlias(u16),
    /// Highest QoS that the server takes: 0 or 1.
    MaximumQoS(u8),
    /// Whether the server keeps retained messages.
    RetainAvailable(bool),
    /// A name and a value.
    UserProperty(&'a str, &'a str),
    /// Largest packet that the sender takes, bytes; not 0.
    MaximumPacketSize(u32),
    /// Whether the server takes filters with wildcards.
    WildcardSubscriptionAvailable(bool),
    /// Whether the server takes subscription identifiers.
    SubscriptionIdentifierAvailable(bool),
    /// Whether the server takes shared subscriptions.
    SharedSubscriptionAvailable(bool),
}

impl<'a> Property<'a> {
    /// Reads the value of the property `property_id`. Malformed: an unknown id, a value of the wrong type. Protocol error:
    /// a value that the specification forbids; a topic alias of 0 has its own code, 0x94.
    #[inline]
    pub(super) fn read(property_id: u8, reader: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(match property_id {
            id::PAYLOAD_FORMAT_INDICATOR => Self::PayloadFormatIndicator(u8::from(read_bool(reader)?)),
            id::MESSAGE_EXPIRY_INTERVAL => Self::MessageExpiryInterval(reader.four_bytes("message expiry interval")?),
            id::CONTENT_TYPE => Self::ContentType(reader.string("content type")?),
            id::RESPONSE_TOPIC => Self::ResponseTopic(reader.string("response topic")?),
            id::CORRELATION_DATA => Self::CorrelationData(reader.binary("correlation data")?),
            id::SUBSCRIPTION_IDENTIFIER => Self::SubscriptionIdentifier(read_subscription_identifier(reader)?),
            id::USER_PROPERTY => {
                Self::UserProperty(reader.string("user property name")?, reader.string("user property value")?)
            }
            id::TOPIC_ALIAS => Self::TopicAlias(read_topic_alias(reader)?),
            _ => Self::read_of_connection(property_id, reader)?,
        })
    }

    /// The properties that no PUBLISH carries.
    fn read_of_connection(property_id: u8, reader: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(match property_id {
            id::SESSION_EXPIRY_INTERVAL => Self::SessionExpiryInterval(reader.four_bytes("session expiry interval")?),
            id::ASSIGNED_CLIENT_IDENTIFIER => {
                Self::AssignedClientIdentifier(reader.string("assigned client identifier")?)
            }
            id::SERVER_KEEP_ALIVE => Self::ServerKeepAlive(reader.two_bytes("server keep alive")?),
            id::AUTHENTICATION_METHOD => Self::AuthenticationMethod(reader.string("authentication method")?),
            id::AUTHENTICATION_DATA => Self::AuthenticationData(reader.binary("authentication data")?),
            id::REQUEST_PROBLEM_INFORMATION => Self::RequestProblemInformation(read_bool(reader)?),
            id::WILL_DELAY_INTERVAL => Self::WillDelayInterval(reader.four_bytes("will delay interval")?),
            id::REQUEST_RESPONSE_INFORMATION => Self::RequestResponseInformation(read_bool(reader)?),
            id::RESPONSE_INFORMATION => Self::ResponseInformation(reader.string("response information")?),
            id::SERVER_REFERENCE => Self::ServerReference(reader.string("server reference")?),
            id::REASON_STRING => Self::ReasonString(reader.string("reason string")?),
            id::RECEIVE_MAXIMUM => Self::ReceiveMaximum(read_receive_maximum(reader)?),
            id::TOPIC_ALIAS_MAXIMUM => Self::TopicAliasMaximum(reader.two_bytes("topic alias maximum")?),
            id::MAXIMUM_QOS => Self::MaximumQoS(u8::from(read_bool(reader)?)),
            id::RETAIN_AVAILABLE => Self::RetainAvailable(read_bool(reader)?),
            id::MAXIMUM_PACKET_SIZE => Self::MaximumPacketSize(read_maximum_packet_size(reader)?),
            id::WILDCARD_SUBSCRIPTION_AVAILABLE => Self::WildcardSubscriptionAvailable(read_bool(reader)?),
            id::SUBSCRIPTION_IDENTIFIER_AVAILABLE => Self::SubscriptionIdentifierAvailable(read_bool(reader)?),
            id::SHARED_SUBSCRIPTION_AVAILABLE => Self::SharedSubscriptionAvailable(read_bool(reader)?),
            _ => return Err(WireError::malformed("unknown property")),
        })
    }

    /// The property's id (table 2-4).
    pub fn id(&self) -> u8 {
        match self {
            Self::PayloadFormatIndicator(_) => id::PAYLOAD_FORMAT_INDICATOR,
            Self::MessageExpiryInterval(_) => id::MESSAGE_EXPIRY_INTERVAL,
            Self::ContentType(_) => id::CONTENT_TYPE,
            Self::ResponseTopic(_) => id::RESPONSE_TOPIC,
            Self::CorrelationData(_) => id::CORRELATION_DATA,
            Self::SubscriptionIdentifier(_) => id::SUBSCRIPTION_IDENTIFIER,
            Self::SessionExpiryInterval(_) => id::SESSION_EXPIRY_INTERVAL,
            Self::AssignedClientIdentifier(_) => id::ASSIGNED_CLIENT_IDENTIFIER,
            Self::ServerKeepAlive(_) => id::SERVER_KEEP_ALIVE,
            Self::AuthenticationMethod(_) => id::AUTHENTICATION_METHOD,
            Self::AuthenticationData(_) => id::AUTHENTICATION_DATA,
            Self::RequestProblemInformation(_) => id::REQUEST_PROBLEM_INFORMATION,
            Self::WillDelayInterval(_) => id::WILL_DELAY_INTERVAL,
            Self::RequestResponseInformation(_) => id::REQUEST_RESPONSE_INFORMATION,
            Self::ResponseInformation(_) => id::RESPONSE_INFORMATION,
            Self::ServerReference(_) => id::SERVER_REFERENCE,
            Self::ReasonString(_) => id::REASON_STRING,
            Self::ReceiveMaximum(_) => id::RECEIVE_MAXIMUM,
            Self::TopicAliasMaximum(_) => id::TOPIC_ALIAS_MAXIMUM,
            Self::TopicAlias(_) => id::TOPIC_ALIAS,
            Self::MaximumQoS(_) => id::MAXIMUM_QOS,
            Self::RetainAvailable(_) => id::RETAIN_AVAILABLE,
            Self::UserProperty(..) => id::USER_PROPERTY,
            Self::MaximumPacketSize(_) => id::MAXIMUM_PACKET_SIZE,
            Self::WildcardSubscriptionAvailable(_) => id::WILDCARD_SUBSCRIPTION_AVAILABLE,
            Self::SubscriptionIdentifierAvailable(_) => id::SUBSCRIPTION_IDENTIFIER_AVAILABLE,
            Self::SharedSubscriptionAvailable(_) => id::SHARED_SUBSCRIPTION_AVAILABLE,
        }
    }

    /// Appends id and value. Strings and data above 65,535 bytes are cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.id());
        match *self {
            Self::PayloadFormatIndicator(value) | Self::MaximumQoS(value) => out.push(value),
            Self::RequestProblemInformation(value)
            | Self::RequestResponseInformation(value)
            | Self::RetainAvailable(value)
            | Self::WildcardSubscriptionAvailable(value)
            | Self::SubscriptionIdentifierAvailable(value)
            | Self::SharedSubscriptionAvailable(value) => out.push(u8::from(value)),
            Self::ServerKeepAlive(value)
            | Self::ReceiveMaximum(value)
            | Self::TopicAliasMaximum(value)
            | Self::TopicAlias(value) => put_two_bytes(out, value),
            Self::MessageExpiryInterval(value)
            | Self::SessionExpiryInterval(value)
            | Self::WillDelayInterval(value)
            | Self::MaximumPacketSize(value) => put_four_bytes(out, value),
            Self::SubscriptionIdentifier(value) => put_variable(out, value),
            Self::ContentType(text)
            | Self::ResponseTopic(text)
            | Self::AssignedClientIdentifier(text)
            | Self::AuthenticationMethod(text)
            | Self::ResponseInformation(text)
            | Self::ServerReference(text)
            | Self::ReasonString(text) => put_string(out, text),
            Self::CorrelationData(bytes) | Self::AuthenticationData(bytes) => put_binary(out, bytes),
            Self::UserProperty(name, value) => {
                put_string(out, name);
                put_string(out, value);
            }
        }
    }
}

fn read_bool(reader: &mut Reader<'_>) -> Result<bool, WireError> {
    match reader.byte("property of one byte")? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(WireError::protocol("property other than 0 or 1")),
    }
}

fn read_subscription_identifier(reader: &mut Reader<'_>) -> Result<u32, WireError> {
    match reader.variable("subscription identifier")? {
        0 => Err(WireError::protocol("subscription identifier 0")),
        value => Ok(value),
    }
}

fn read_topic_alias(reader: &mut Reader<'_>) -> Result<u16, WireError> {
    match reader.two_bytes("topic alias")? {
        0 => Err(WireError { reason: super::ReasonCode::TopicAliasInvalid, what: "topic alias 0" }),
        value => Ok(value),
    }
}

fn read_receive_maximum(reader: &mut Reader<'_>) -> Result<u16, WireError> {
    match reader.two_bytes("receive maximum")? {
        0 => Err(WireError::protocol("receive maximum 0")),
        value => Ok(value),
    }
}

fn read_maximum_packet_size(reader: &mut Reader<'_>) -> Result<u32, WireError> {
    match reader.four_bytes("maximum packet size")? {
        0 => Err(WireError::protocol("maximum packet size 0")),
        value => Ok(value),
    }
}
