//! CONNECT (section 3.1) and the will in it.
//!
//! Duty: decode and encode them, and tell in which dialect a refusal is to be said. Must not: judge client ids, topics or
//! passwords. Neighbours: `connack` is the answer, `publish` lends its properties to the will, `shard` admits.

pub use super::connack::Connack;

use super::packet::{Frame, RESERVED_FLAGS, kind};
use super::property::{Property, id};
use super::property_block::{IdSet, Properties, Rules, read_block};
use super::publish::{PublishProperties, WILL};
use super::reader::Reader;
use super::writer::{put_binary, put_measured, put_packet, put_string, put_two_bytes};
use super::{ProtocolVersion, QoS, WireError};

const CONNECT: Rules = Rules::of(&[
    id::SESSION_EXPIRY_INTERVAL,
    id::AUTHENTICATION_METHOD,
    id::AUTHENTICATION_DATA,
    id::REQUEST_PROBLEM_INFORMATION,
    id::REQUEST_RESPONSE_INFORMATION,
    id::RECEIVE_MAXIMUM,
    id::TOPIC_ALIAS_MAXIMUM,
    id::USER_PROPERTY,
    id::MAXIMUM_PACKET_SIZE,
]);

/// Set in the protocol level by Mosquitto's bridges.
const BRIDGE_BIT: u8 = 0x80;

/// The connect flags (section 3.1.2.3).
mod flag {
    pub(super) const RESERVED: u8 = 0x01;
    pub(super) const CLEAN_START: u8 = 0x02;
    pub(super) const WILL: u8 = 0x04;
    pub(super) const WILL_QOS_SHIFT: u8 = 3;
    pub(super) const WILL_RETAIN: u8 = 0x20;
    /// Will QoS and Will Retain, which say something only beside `WILL`.
    pub(super) const OF_WILL: u8 = 0x38;
    pub(super) const PASSWORD: u8 = 0x40;
    pub(super) const USER_NAME: u8 = 0x80;
}

/// The first packet of a client. Encoding takes the typed properties from their fields, the user properties from
/// `properties`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// What the connection will speak.
    pub version: ProtocolVersion,
    /// The level had the bit 0x80: the client is a Mosquitto bridge.
    pub bridge: bool,
    /// Clean Start; before 5.0 Clean Session.
    pub clean_start: bool,
    /// 0: no keep alive. Seconds.
    pub keep_alive_secs: u16,
    /// May be empty; what that means is the shard's to say [MQTT-3.1.3-6].
    pub client_id: &'a str,
    /// Absent is not the same as empty.
    pub user_name: Option<&'a str>,
    /// Absent is not the same as empty.
    pub password: Option<&'a [u8]>,
    /// What to publish if the connection is lost.
    pub last_will: Option<LastWill<'a>>,
    /// Absent means 0 in 5.0. Seconds; `u32::MAX` means forever.
    pub session_expiry_secs: Option<u32>,
    /// Not 0; absent means 65,535.
    pub receive_maximum: Option<u16>,
    /// Not 0; absent means any. Bytes, fixed header included.
    pub maximum_packet_size: Option<u32>,
    /// 0: the client takes no aliases.
    pub topic_alias_maximum: u16,
    /// The client asks for response information.
    pub request_response_information: bool,
    /// Reason strings and user properties may be sent on any packet [MQTT-3.1.2-29]; true if absent.
    pub request_problem_information: bool,
    /// Name of the extended authentication.
    pub authentication_method: Option<&'a str>,
    /// Never without the method.
    pub authentication_data: Option<&'a [u8]>,
    /// Number of user properties.
    pub user_properties: u32,
    /// The block as it was received; empty before 5.0.
    pub properties: Properties<'a>,
}

/// What is published for a client whose connection is lost (section 3.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastWill<'a> {
    /// Not empty, and not yet judged as a name.
    pub topic: &'a str,
    /// The application's bytes.
    pub payload: &'a [u8],
    /// Delivery guarantee.
    pub qos: QoS,
    /// To be kept for later subscribers.
    pub retain: bool,
    /// Time from the loss to the publication, seconds.
    pub delay_secs: u32,
    /// As of a PUBLISH; the delay is not among what is passed on.
    pub properties: PublishProperties<'a>,
}

impl<'a> Connect<'a> {
    /// A CONNECT with a clean start and nothing else.
    pub fn new(version: ProtocolVersion, client_id: &'a str) -> Self {
        Self {
            version,
            bridge: false,
            clean_start: true,
            keep_alive_secs: 0,
            client_id,
            user_name: None,
            password: None,
            last_will: None,
            session_expiry_secs: None,
            receive_maximum: None,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user_properties: 0,
            properties: Properties::EMPTY,
        }
    }

    /// The dialect in which to refuse the CONNECT of `frame` if it cannot be decoded: that of its level or, for a level
    /// that we do not speak, the nearest. `None` if it does not name MQTT, so that it gets no answer.
    pub fn dialect(frame: &Frame<'_>) -> Option<ProtocolVersion> {
        let mut reader = Reader::new(frame.body);
        let name = reader.string("protocol name").ok()?;
        let level = reader.byte("protocol level").ok()? & !BRIDGE_BIT;
        match (frame.first_byte & 0xf0, name) {
            (kind::CONNECT, "MQTT") if level >= 5 => Some(ProtocolVersion::V5),
            (kind::CONNECT, "MQTT") => Some(ProtocolVersion::V311),
            (kind::CONNECT, "MQIsdp") => Some(ProtocolVersion::V31),
            _ => None,
        }
    }

    /// The Maximum Packet Size of a 5.0 CONNECT that cannot be decoded, bytes, if it stands before what is wrong.
    pub fn size_to_refuse_within(frame: &Frame<'_>) -> Option<u32> {
        let mut reader = Reader::new(frame.body);
        reader.string("protocol name").ok()?;
        // Level, flags and keep alive, of which 5.0 has these four bytes.
        reader.take(4, "connect flags").ok()?;
        let mut connect = Connect::new(ProtocolVersion::V5, "");
        // What was read before an error stays.
        let _ = connect.read_properties(&mut reader);
        connect.maximum_packet_size
    }

    /// The CONNECT in a frame that calls itself one.
    ///
    /// # Errors
    /// Unsupported version (0x84): an unknown name or level. Malformed: reserved or contradictory flags
    /// [MQTT-3.1.2-3], -7, -8, strings that are none, bytes left over. Protocol error: a property that does not belong
    /// here, forbidden values, authentication data without method, an empty will topic.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, WireError> {
        if frame.first_byte != kind::CONNECT {
            return Err(WireError::malformed(RESERVED_FLAGS));
        }
        let mut reader = Reader::new(frame.body);
        let name = read_name(&mut reader)?;
        let (version, bridge) = read_version(name, reader.byte("protocol level")?)?;
        let flags = reader.byte("connect flags")?;
        check_flags(flags, version)?;
        let mut connect = Self { bridge, ..Self::new(version, "") };
        connect.clean_start = flags & flag::CLEAN_START != 0;
        connect.keep_alive_secs = reader.two_bytes("keep alive")?;
        if version == ProtocolVersion::V5 {
            connect.read_properties(&mut reader)?;
        }
        connect.client_id = reader.string("client identifier")?;
        if flags & flag::WILL != 0 {
            connect.last_will = Some(LastWill::read(&mut reader, flags, version)?);
        }
        // 3.1 section 3.1: the Remaining Length takes precedence over the flags of user name and password.
        let lenient = version == ProtocolVersion::V31;
        if flags & flag::USER_NAME != 0 && !(lenient && reader.is_empty()) {
            connect.user_name = Some(reader.string("user name")?);
        }
        if flags & flag::PASSWORD != 0 && !(lenient && reader.is_empty()) {
            connect.password = Some(reader.binary("password")?);
        }
        reader.finish("CONNECT longer than its fields")?;
        Ok(connect)
    }

    fn read_properties(&mut self, reader: &mut Reader<'a>) -> Result<(), WireError> {
        self.properties = read_block(reader, CONNECT, |property| match property {
            Property::SessionExpiryInterval(secs) => self.session_expiry_secs = Some(secs),
            Property::ReceiveMaximum(value) => self.receive_maximum = Some(value),
            Property::MaximumPacketSize(bytes) => self.maximum_packet_size = Some(bytes),
            Property::TopicAliasMaximum(value) => self.topic_alias_maximum = value,
            Property::RequestResponseInformation(value) => self.request_response_information = value,
            Property::RequestProblemInformation(value) => self.request_problem_information = value,
            Property::AuthenticationMethod(text) => self.authentication_method = Some(text),
            Property::AuthenticationData(bytes) => self.authentication_data = Some(bytes),
            Property::UserProperty(..) => self.user_properties += 1,
            _ => {}
        })?;
        if self.authentication_data.is_some() && self.authentication_method.is_none() {
            return Err(WireError::protocol("authentication data without authentication method"));
        }
        Ok(())
    }

    /// Appends the packet, in the dialect of `self.version`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (name, level) = match self.version {
            ProtocolVersion::V31 => ("MQIsdp", 3),
            ProtocolVersion::V311 => ("MQTT", 4),
            ProtocolVersion::V5 => ("MQTT", 5),
        };
        put_packet(out, kind::CONNECT, |out| {
            put_string(out, name);
            out.push(level | if self.bridge { BRIDGE_BIT } else { 0 });
            out.push(self.flags());
            put_two_bytes(out, self.keep_alive_secs);
            if self.version == ProtocolVersion::V5 {
                put_measured(out, |out| self.encode_properties(out));
            }
            put_string(out, self.client_id);
            if let Some(will) = &self.last_will {
                will.encode(self.version, out);
            }
            if let Some(user_name) = self.user_name {
                put_string(out, user_name);
            }
            if let Some(password) = self.password {
                put_binary(out, password);
            }
        });
    }

    fn flags(&self) -> u8 {
        let set = |condition, flag| if condition { flag } else { 0 };
        let will = self.last_will.as_ref().map_or(0, |will| {
            flag::WILL | (will.qos as u8) << flag::WILL_QOS_SHIFT | set(will.retain, flag::WILL_RETAIN)
        });
        will | set(self.clean_start, flag::CLEAN_START)
            | set(self.user_name.is_some(), flag::USER_NAME)
            | set(self.password.is_some(), flag::PASSWORD)
    }

    fn encode_properties(&self, out: &mut Vec<u8>) {
        let typed = [
            self.session_expiry_secs.map(Property::SessionExpiryInterval),
            self.receive_maximum.map(Property::ReceiveMaximum),
            self.maximum_packet_size.map(Property::MaximumPacketSize),
            (self.topic_alias_maximum != 0).then_some(Property::TopicAliasMaximum(self.topic_alias_maximum)),
            self.request_response_information.then_some(Property::RequestResponseInformation(true)),
            (!self.request_problem_information).then_some(Property::RequestProblemInformation(false)),
            self.authentication_method.map(Property::AuthenticationMethod),
            self.authentication_data.map(Property::AuthenticationData),
        ];
        typed.iter().flatten().for_each(|property| property.encode(out));
        self.properties.encode_only(IdSet::USER, out);
    }
}

impl<'a> LastWill<'a> {
    fn read(reader: &mut Reader<'a>, flags: u8, version: ProtocolVersion) -> Result<Self, WireError> {
        let qos = QoS::from_bits(flags >> flag::WILL_QOS_SHIFT & 3);
        let qos = qos.ok_or_else(|| WireError::malformed("will QoS 3"))?;
        let mut delay_secs = 0;
        let properties = match version {
            ProtocolVersion::V5 => PublishProperties::read(reader, WILL, &mut delay_secs)?,
            _ => PublishProperties::EMPTY,
        };
        let topic = reader.string("will topic")?;
        if topic.is_empty() {
            return Err(WireError::protocol("empty will topic"));
        }
        let payload = reader.binary("will payload")?;
        Ok(Self { topic, payload, qos, retain: flags & flag::WILL_RETAIN != 0, delay_secs, properties })
    }

    fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        if version == ProtocolVersion::V5 {
            put_measured(out, |out| {
                if self.delay_secs != 0 {
                    Property::WillDelayInterval(self.delay_secs).encode(out);
                }
                self.properties.encode(out);
            });
        }
        put_string(out, self.topic);
        put_binary(out, self.payload);
    }
}

/// The protocol name. The one that nearly all have is known by its bytes, with their length.
fn read_name<'a>(reader: &mut Reader<'a>) -> Result<&'a str, WireError> {
    if reader.rest().starts_with(b"\0\x04MQTT") {
        reader.take(6, "protocol name")?;
        return Ok("MQTT");
    }
    reader.string("protocol name")
}

fn read_version(name: &str, level: u8) -> Result<(ProtocolVersion, bool), WireError> {
    let version = match (name, level & !BRIDGE_BIT) {
        ("MQIsdp", 3) => ProtocolVersion::V31,
        ("MQTT", 4) => ProtocolVersion::V311,
        ("MQTT", 5) if level == 5 => ProtocolVersion::V5,
        ("MQTT" | "MQIsdp", _) => return Err(WireError::unsupported_version("protocol level")),
        _ => return Err(WireError::unsupported_version("protocol name")),
    };
    Ok((version, level & BRIDGE_BIT != 0))
}

fn check_flags(flags: u8, version: ProtocolVersion) -> Result<(), WireError> {
    // 3.1 section 3.1: bit 0 is unused there, and says nothing of its value.
    if flags & flag::RESERVED != 0 && version != ProtocolVersion::V31 {
        return Err(WireError::malformed("reserved connect flag"));
    }
    if flags & flag::WILL == 0 && flags & flag::OF_WILL != 0 {
        return Err(WireError::malformed("will QoS or will retain without will"));
    }
    if version < ProtocolVersion::V5 && flags & flag::PASSWORD != 0 && flags & flag::USER_NAME == 0 {
        return Err(WireError::malformed("password without user name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect_of(name: &str, level: u8) -> Option<ProtocolVersion> {
        let mut body = Vec::new();
        put_string(&mut body, name);
        body.push(level);
        Connect::dialect(&Frame { first_byte: kind::CONNECT, body: &body, len: 0 })
    }

    /// W17: the log says what of the two is unknown.
    #[test]
    fn an_unknown_level_is_told_from_an_unknown_name() {
        let what = |name: &str, level| read_version(name, level).map_err(|error| error.what);
        assert_eq!(what("MQTT", 6), Err("protocol level"));
        assert_eq!(what("MQIsdp", 4), Err("protocol level"));
        assert_eq!(what("MQTX", 4), Err("protocol name"));
    }

    /// [MQTT-3.1.2-2], W17: a client of an unknown level is refused in the dialect next to it, a stranger not at all.
    #[test]
    fn a_refusal_is_said_in_the_nearest_dialect() {
        assert_eq!(dialect_of("MQTT", 6), Some(ProtocolVersion::V5));
        assert_eq!(dialect_of("MQTT", 5), Some(ProtocolVersion::V5));
        assert_eq!(dialect_of("MQTT", 0x84), Some(ProtocolVersion::V311));
        assert_eq!(dialect_of("MQTT", 3), Some(ProtocolVersion::V311));
        assert_eq!(dialect_of("MQIsdp", 9), Some(ProtocolVersion::V31));
        assert_eq!(dialect_of("HTTP", 5), None);
        assert_eq!(Connect::dialect(&Frame { first_byte: 0x30, body: b"\0\x04MQTT\x05", len: 0 }), None);
    }

    /// [MQTT-2.1.3-1]: CONNECT has no flags in its first byte.
    #[test]
    fn a_connect_with_flags_in_its_first_byte_is_malformed() {
        let body = b"\0\x04MQTT\x04\x02\0\0\0\x01c";
        for (first_byte, is_refused) in [(0x10, false), (0x11, true), (0x18, true)] {
            let decoded = Connect::decode(&Frame { first_byte, body, len: 0 });
            assert_eq!(decoded.is_err_and(|error| error.is_malformed()), is_refused, "{first_byte:#x}");
        }
    }

    /// The level 0x83 or 0x84 is a Mosquitto bridge's; 5.0 has no such form.
    #[test]
    fn a_bridge_is_known_by_its_level() {
        assert_eq!(read_version("MQIsdp", 0x83), Ok((ProtocolVersion::V31, true)));
        assert_eq!(read_version("MQTT", 0x84), Ok((ProtocolVersion::V311, true)));
        assert_eq!(read_version("MQTT", 4), Ok((ProtocolVersion::V311, false)));
        assert!(read_version("MQTT", 0x85).is_err());
    }

    /// 3.1 section 3.1: a user name that the flags promise and the length denies is absent, and no error.
    #[test]
    fn a_31_client_may_promise_a_user_name_and_send_none() {
        let decode = |body| Connect::decode(&Frame { first_byte: kind::CONNECT, body, len: 0 });
        let connect = decode(b"\0\x06MQIsdp\x03\xc2\0\x3c\0\x01x").expect("valid in 3.1");
        assert_eq!((connect.user_name, connect.password), (None, None));
        assert!(decode(b"\0\x06MQIsdp\x03\xc2\0\x3c\0\x01x\0").is_err_and(|error| error.is_malformed()));
    }
}
