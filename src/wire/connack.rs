//! CONNACK (section 3.2): the answer to CONNECT.
//!
//! Duty: decode and encode it. Must not: decide what a client is granted. Neighbours: `connect`, `shard`.

use super::ack::read_reason;
use super::packet::kind;
use super::property::{Property, id};
use super::property_block::{IdSet, Properties, Rules, read_block};
use super::reader::Reader;
use super::writer::{put_measured, put_packet};
use super::{ProtocolVersion, QoS, ReasonCode, WireError, reason};

const CONNACK: Rules = Rules::of(&[
    id::SESSION_EXPIRY_INTERVAL,
    id::ASSIGNED_CLIENT_IDENTIFIER,
    id::SERVER_KEEP_ALIVE,
    id::AUTHENTICATION_METHOD,
    id::AUTHENTICATION_DATA,
    id::RESPONSE_INFORMATION,
    id::SERVER_REFERENCE,
    id::REASON_STRING,
    id::RECEIVE_MAXIMUM,
    id::TOPIC_ALIAS_MAXIMUM,
    id::MAXIMUM_QOS,
    id::RETAIN_AVAILABLE,
    id::USER_PROPERTY,
    id::MAXIMUM_PACKET_SIZE,
    id::WILDCARD_SUBSCRIPTION_AVAILABLE,
    id::SUBSCRIPTION_IDENTIFIER_AVAILABLE,
    id::SHARED_SUBSCRIPTION_AVAILABLE,
]);

/// Whether a client is admitted, and what it may expect. Each absent property means what section 3.2.2.3 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Connack<'a> {
    /// Never with a refusal [MQTT-3.2.2-6]; 3.1 does not know it.
    pub session_present: bool,
    /// Before 5.0 one of six, see [`ReasonCode::connack_v3`].
    pub reason: ReasonCode,
    /// Granted instead of what was asked, seconds.
    pub session_expiry_secs: Option<u32>,
    /// Unacknowledged QoS 1 and 2 messages that the broker takes; not 0.
    pub receive_maximum: Option<u16>,
    /// 0 or 1; absent means 2.
    pub maximum_qos: Option<QoS>,
    /// Absent means yes.
    pub retain_available: Option<bool>,
    /// Largest packet that the broker takes, bytes; not 0.
    pub maximum_packet_size: Option<u32>,
    /// For a client that came without an id [MQTT-3.1.3-7].
    pub assigned_client_id: Option<&'a str>,
    /// Highest topic alias that the broker takes; absent means none.
    pub topic_alias_maximum: Option<u16>,
    /// For people.
    pub reason_string: Option<&'a str>,
    /// Absent means yes.
    pub wildcard_subscription_available: Option<bool>,
    /// Absent means yes.
    pub subscription_identifiers_available: Option<bool>,
    /// Absent means yes.
    pub shared_subscription_available: Option<bool>,
    /// Holds instead of the client's, seconds [MQTT-3.1.2-21].
    pub server_keep_alive: Option<u16>,
    /// Basis for response topics.
    pub response_information: Option<&'a str>,
    /// Another server to use.
    pub server_reference: Option<&'a str>,
    /// Name of the extended authentication.
    pub authentication_method: Option<&'a str>,
    /// Never without the method.
    pub authentication_data: Option<&'a [u8]>,
    /// Encoding takes nothing but user properties from here.
    pub user_properties: Properties<'a>,
}

impl<'a> Connack<'a> {
    /// A CONNACK that refuses and says nothing else.
    pub fn refusal(reason: ReasonCode) -> Self {
        Self { reason, ..Self::default() }
    }

    /// Reads the body. Malformed: reserved flags [MQTT-3.2.2-1], bytes left over. Protocol error: a code that CONNACK does
    /// not have, a session present beside a refusal, a property that does not belong here.
    pub(super) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let flags = reader.byte("CONNACK flags")?;
        let mut found = Self::default();
        if version > ProtocolVersion::V31 {
            if flags > 1 {
                return Err(WireError::malformed("CONNACK flags"));
            }
            found.session_present = flags == 1;
        }
        if version == ProtocolVersion::V5 {
            found.reason = read_reason(&mut reader, reason::CONNACK)?;
            found.read_properties(&mut reader)?;
        } else {
            let code = ReasonCode::from_connack_v3(reader.byte("CONNACK return code")?);
            found.reason = code.ok_or_else(|| WireError::protocol("CONNACK return code"))?;
        }
        reader.finish("CONNACK longer than its fields")?;
        if found.session_present && found.reason.is_error() {
            return Err(WireError::protocol("CONNACK refuses with a session present"));
        }
        Ok(found)
    }

    fn read_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), WireError> {
        let block = read_block(reader, CONNACK, |property| self.take(property))?;
        self.user_properties = block.user_part();
        if self.authentication_data.is_some() && self.authentication_method.is_none() {
            return Err(WireError::protocol("authentication data without authentication method"));
        }
        Ok(())
    }

    fn take(&mut self, property: Property<'a>) {
        match property {
            Property::SessionExpiryInterval(secs) => self.session_expiry_secs = Some(secs),
            Property::ReceiveMaximum(value) => self.receive_maximum = Some(value),
            Property::MaximumQoS(value) => self.maximum_qos = QoS::from_bits(value),
            Property::RetainAvailable(value) => self.retain_available = Some(value),
            Property::MaximumPacketSize(bytes) => self.maximum_packet_size = Some(bytes),
            Property::AssignedClientIdentifier(text) => self.assigned_client_id = Some(text),
            Property::TopicAliasMaximum(value) => self.topic_alias_maximum = Some(value),
            Property::ReasonString(text) => self.reason_string = Some(text),
            Property::WildcardSubscriptionAvailable(value) => self.wildcard_subscription_available = Some(value),
            Property::SubscriptionIdentifierAvailable(value) => self.subscription_identifiers_available = Some(value),
            Property::SharedSubscriptionAvailable(value) => self.shared_subscription_available = Some(value),
            Property::ServerKeepAlive(secs) => self.server_keep_alive = Some(secs),
            Property::ResponseInformation(text) => self.response_information = Some(text),
            Property::ServerReference(text) => self.server_reference = Some(text),
            Property::AuthenticationMethod(text) => self.authentication_method = Some(text),
            Property::AuthenticationData(bytes) => self.authentication_data = Some(bytes),
            _ => {}
        }
    }

    /// Appends the packet. Before 5.0 the reason becomes the nearest return code and properties are left out.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        let knows_sessions = version > ProtocolVersion::V31 && !self.reason.is_error();
        put_packet(out, kind::CONNACK, |out| {
            out.push(u8::from(self.session_present && knows_sessions));
            if version == ProtocolVersion::V5 {
                out.push(self.reason as u8);
                put_measured(out, |out| self.encode_properties(out));
            } else {
                out.push(self.reason.connack_v3());
            }
        });
    }

    fn encode_properties(&self, out: &mut Vec<u8>) {
        // A maximum of 2 is said by leaving it out (section 3.2.2.3.4).
        let maximum_qos = self.maximum_qos.filter(|qos| *qos != QoS::ExactlyOnce);
        let typed = [
            self.session_expiry_secs.map(Property::SessionExpiryInterval),
            self.receive_maximum.map(Property::ReceiveMaximum),
            maximum_qos.map(|qos| Property::MaximumQoS(qos as u8)),
            self.retain_available.map(Property::RetainAvailable),
            self.maximum_packet_size.map(Property::MaximumPacketSize),
            self.assigned_client_id.map(Property::AssignedClientIdentifier),
            self.topic_alias_maximum.map(Property::TopicAliasMaximum),
            self.reason_string.map(Property::ReasonString),
            self.wildcard_subscription_available.map(Property::WildcardSubscriptionAvailable),
            self.subscription_identifiers_available.map(Property::SubscriptionIdentifierAvailable),
            self.shared_subscription_available.map(Property::SharedSubscriptionAvailable),
            self.server_keep_alive.map(Property::ServerKeepAlive),
            self.response_information.map(Property::ResponseInformation),
            self.server_reference.map(Property::ServerReference),
            self.authentication_method.map(Property::AuthenticationMethod),
            self.authentication_data.map(Property::AuthenticationData),
        ];
        typed.iter().flatten().for_each(|property| property.encode(out));
        self.user_properties.encode_only(IdSet::USER, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(connack: &Connack<'_>, version: ProtocolVersion) -> Vec<u8> {
        let mut out = Vec::new();
        connack.encode(version, &mut out);
        out
    }

    /// [MQTT-3.2.2-6]: no session is present beside a refusal; 3.1 has a reserved byte in its place.
    #[test]
    fn a_session_is_present_only_where_it_can_be() {
        let admitted = Connack { session_present: true, ..Connack::default() };
        assert_eq!(written(&admitted, ProtocolVersion::V5), [0x20, 3, 1, 0, 0]);
        assert_eq!(written(&admitted, ProtocolVersion::V311), [0x20, 2, 1, 0]);
        assert_eq!(written(&admitted, ProtocolVersion::V31), [0x20, 2, 0, 0]);
        let refused = Connack { session_present: true, ..Connack::refusal(ReasonCode::NotAuthorized) };
        assert_eq!(written(&refused, ProtocolVersion::V5), [0x20, 3, 0, 0x87, 0]);
        assert_eq!(written(&refused, ProtocolVersion::V311), [0x20, 2, 0, 5]);
    }

    /// Section 3.2.2.3.4: a maximum QoS of 2 cannot be written, and is the default.
    #[test]
    fn a_maximum_qos_of_2_is_left_out() {
        let connack = Connack { maximum_qos: Some(QoS::ExactlyOnce), ..Connack::default() };
        assert_eq!(written(&connack, ProtocolVersion::V5), [0x20, 3, 0, 0, 0]);
        let connack = Connack { maximum_qos: Some(QoS::AtMostOnce), ..Connack::default() };
        assert_eq!(written(&connack, ProtocolVersion::V5), [0x20, 5, 0, 0, 2, 0x24, 0]);
    }
}
