//! PUBLISH (section 3.3), the packet that all speed is measured by.
//!
//! Duty: decode and encode it, and hand on its properties as bytes. Must not: allocate, judge topic names (wildcards are
//! the topic floor's), resolve aliases. Neighbours: `property_block`; `shard` encodes with [`OutgoingPublish`].

use super::packet::kind;
use super::property::{Property, id};
use super::property_block::{IdSet, Properties, Rules, read_block};
use super::reader::Reader;
use super::writer::{fitting, put_four_bytes, put_string, put_two_bytes, put_variable, variable_len};
use super::{ProtocolVersion, QoS, Sender, WireError};

const FROM_CLIENT: Rules = Rules::of(&[
    id::PAYLOAD_FORMAT_INDICATOR,
    id::MESSAGE_EXPIRY_INTERVAL,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::TOPIC_ALIAS,
    id::USER_PROPERTY,
]);

const FROM_SERVER: Rules = Rules::of(&[
    id::PAYLOAD_FORMAT_INDICATOR,
    id::MESSAGE_EXPIRY_INTERVAL,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::SUBSCRIPTION_IDENTIFIER,
    id::TOPIC_ALIAS,
    id::USER_PROPERTY,
])
.repeatable(&[id::USER_PROPERTY, id::SUBSCRIPTION_IDENTIFIER]);

/// What a will may carry (section 3.1.3.2).
pub(super) const WILL: Rules = Rules::of(&[
    id::PAYLOAD_FORMAT_INDICATOR,
    id::MESSAGE_EXPIRY_INTERVAL,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::WILL_DELAY_INTERVAL,
    id::USER_PROPERTY,
]);

/// What a broker passes on unchanged ([MQTT-3.3.2-4], -15 to -18, -20).
const FORWARDED: IdSet = IdSet::of(&[
    id::PAYLOAD_FORMAT_INDICATOR,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::USER_PROPERTY,
]);

const SUBSCRIPTION_IDS: IdSet = IdSet::of(&[id::SUBSCRIPTION_IDENTIFIER]);

/// A PUBLISH as it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The sender has sent it before; never set with QoS 0 [MQTT-3.3.1-2].
    pub dup: bool,
    /// Delivery guarantee from this sender.
    pub qos: QoS,
    /// To be kept for later subscribers, or kept for them.
    pub retain: bool,
    /// Well-formed, and not yet judged as a name. Empty only beside a topic alias.
    pub topic: &'a str,
    /// 0 for QoS 0, and for no other [MQTT-2.2.1-2].
    pub packet_id: u16,
    /// Empty before 5.0.
    pub properties: PublishProperties<'a>,
    /// The application's bytes, whatever they are.
    pub payload: &'a [u8],
}

/// The properties of a PUBLISH or of a will. Encoding takes the typed fields from here and everything else from `raw`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishProperties<'a> {
    /// The validated block without its length.
    pub raw: &'a [u8],
    /// Lifetime of the message, seconds.
    pub message_expiry_secs: Option<u32>,
    /// Not 0.
    pub topic_alias: Option<u16>,
    /// Well-formed, and not yet judged as a name [MQTT-3.3.2-14].
    pub response_topic: Option<&'a str>,
    /// The sender says that the payload is UTF-8.
    pub payload_is_utf8: bool,
    /// Number of user properties.
    pub user_properties: u32,
    /// All of `raw` may be passed on as it is: no expiry, alias, subscription id or will delay in it.
    pub forward_raw: bool,
}

impl Default for PublishProperties<'_> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<'a> PublishProperties<'a> {
    /// No properties.
    pub const EMPTY: Self = Self {
        raw: &[],
        message_expiry_secs: None,
        topic_alias: None,
        response_topic: None,
        payload_is_utf8: false,
        user_properties: 0,
        forward_raw: true,
    };

    /// The properties in the sender's order.
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        Properties { raw: self.raw }.iter()
    }

    /// Subscription identifiers, which only a server sends.
    pub fn subscription_ids(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.iter().filter_map(|property| match property {
            Property::SubscriptionIdentifier(value) => Some(value),
            _ => None,
        })
    }

    /// Appends what a broker passes on unchanged and in order: payload format, content type, response topic, correlation
    /// data, user properties ([MQTT-3.3.2-4], -15 to -18, -20). No length before them.
    pub fn forward_into(&self, out: &mut Vec<u8>) {
        if self.forward_raw {
            out.extend_from_slice(self.raw);
        } else {
            Properties { raw: self.raw }.encode_only(FORWARDED, out);
        }
    }

    /// Reads the block of a PUBLISH or, by `rules`, of a will; a will's delay goes to `delay_secs`.
    #[inline]
    pub(super) fn read(reader: &mut Reader<'a>, rules: Rules, delay_secs: &mut u32) -> Result<Self, WireError> {
        let mut found = Self::EMPTY;
        let block = read_block(reader, rules, |property| match property {
            Property::PayloadFormatIndicator(value) => found.payload_is_utf8 = value == 1,
            Property::ResponseTopic(topic) => found.response_topic = Some(topic),
            Property::UserProperty(..) => found.user_properties += 1,
            Property::MessageExpiryInterval(secs) => {
                found.message_expiry_secs = Some(secs);
                found.forward_raw = false;
            }
            Property::TopicAlias(alias) => {
                found.topic_alias = Some(alias);
                found.forward_raw = false;
            }
            Property::WillDelayInterval(secs) => {
                *delay_secs = secs;
                found.forward_raw = false;
            }
            Property::SubscriptionIdentifier(_) => found.forward_raw = false,
            _ => {}
        })?;
        Ok(Self { raw: block.raw, ..found })
    }

    /// Appends the properties without their length, the typed ones first.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        if let Some(secs) = self.message_expiry_secs {
            Property::MessageExpiryInterval(secs).encode(out);
        }
        if let Some(alias) = self.topic_alias {
            Property::TopicAlias(alias).encode(out);
        }
        Properties { raw: self.raw }.encode_only(SUBSCRIPTION_IDS, out);
        self.forward_into(out);
    }
}

impl<'a> Publish<'a> {
    /// Reads a PUBLISH. Malformed: QoS 3 [MQTT-3.3.1-4], DUP with QoS 0 [MQTT-3.3.1-2], a topic that is no string.
    /// Protocol error: packet id 0, an empty topic without alias (section 3.3.2.1), a subscription identifier of a client.
    #[inline]
    pub(super) fn decode(
        first_byte: u8,
        body: &'a [u8],
        version: ProtocolVersion,
        sender: Sender,
    ) -> Result<Self, WireError> {
        let Some(qos) = QoS::from_bits(first_byte >> 1 & 3) else {
            return Err(WireError::malformed("PUBLISH QoS 3"));
        };
        let dup = first_byte & 8 != 0;
        if dup && qos == QoS::AtMostOnce {
            return Err(WireError::malformed("PUBLISH DUP with QoS 0"));
        }
        let mut reader = Reader::new(body);
        let topic = reader.string("PUBLISH topic")?;
        let packet_id = if qos == QoS::AtMostOnce { 0 } else { read_packet_id(&mut reader)? };
        let properties = if version == ProtocolVersion::V5 {
            let rules = if sender == Sender::Client { FROM_CLIENT } else { FROM_SERVER };
            PublishProperties::read(&mut reader, rules, &mut 0)?
        } else {
            PublishProperties::EMPTY
        };
        if topic.is_empty() && properties.topic_alias.is_none() {
            return Err(WireError::protocol("PUBLISH without topic and topic alias"));
        }
        let retain = first_byte & 1 != 0;
        Ok(Self { dup, qos, retain, topic, packet_id, properties, payload: reader.rest() })
    }

    /// Appends the packet. Before 5.0 its properties are left out.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        let first_byte = first_byte(self.dup, self.qos, self.retain);
        super::writer::put_packet(out, first_byte, |out| {
            put_string(out, self.topic);
            if self.qos != QoS::AtMostOnce {
                put_two_bytes(out, self.packet_id);
            }
            if version == ProtocolVersion::V5 {
                super::writer::put_measured(out, |out| self.properties.encode(out));
            }
            out.extend_from_slice(self.payload);
        });
    }
}

/// A PUBLISH that says no more than topic, packet id and payload: no DUP, no RETAIN, no property. Nobody has looked at its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainPublish<'a> {
    /// Delivery guarantee from this sender.
    pub qos: QoS,
    /// Bytes of the topic name.
    pub topic: &'a [u8],
    /// 0 with QoS 0.
    pub packet_id: u16,
    /// The application's bytes.
    pub payload: &'a [u8],
    /// The packet.
    pub bytes: &'a [u8],
}

impl<'a> PlainPublish<'a> {
    /// The packet at the front of `bytes` if it is whole and such a one, of less than 16 KiB: then `decode` finds the same in it,
    /// unless its topic is no string. Everything else is left to `decode`.
    #[inline]
    pub fn at_front(bytes: &'a [u8], version: ProtocolVersion) -> Option<Self> {
        let &[first_byte, length, more, ..] = bytes else { return None };
        let qos = match first_byte {
            0x30 => QoS::AtMostOnce,
            0x32 => QoS::AtLeastOnce,
            0x34 => QoS::ExactlyOnce,
            _ => return None,
        };
        let (body_at, body_len) = match (length, more) {
            (0..0x80, _) => (2, usize::from(length)),
            // A last byte of 0 would be one more than needed.
            (_, 1..0x80) => (3, usize::from(length & 0x7f) | usize::from(more) << 7),
            _ => return None,
        };
        let packet = bytes.get(..body_at + body_len)?;
        let (topic_len, rest) = packet[body_at..].split_first_chunk::<2>()?;
        let (topic, mut rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*topic_len)))?;
        let mut packet_id = 0;
        if qos != QoS::AtMostOnce {
            let (id, after) = rest.split_first_chunk::<2>()?;
            packet_id = u16::from_be_bytes(*id);
            rest = after;
            if packet_id == 0 {
                return None;
            }
        }
        if version == ProtocolVersion::V5 {
            let (&0, after) = rest.split_first()? else { return None };
            rest = after;
        }
        (!topic.is_empty()).then_some(Self { qos, topic, packet_id, payload: rest, bytes: packet })
    }
}

#[inline]
fn read_packet_id(reader: &mut Reader<'_>) -> Result<u16, WireError> {
    match reader.two_bytes("PUBLISH packet id")? {
        0 => Err(WireError::protocol("PUBLISH packet id 0")),
        packet_id => Ok(packet_id),
    }
}

/// DUP is never sent with QoS 0 [MQTT-3.3.1-2].
#[inline]
fn first_byte(dup: bool, qos: QoS, retain: bool) -> u8 {
    let dup = dup && qos != QoS::AtMostOnce;
    kind::PUBLISH | u8::from(dup) << 3 | (qos as u8) << 1 | u8::from(retain)
}

/// All but the payload of a PUBLISH that the broker sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutgoingPublish<'a> {
    /// Sent before; left out with QoS 0 [MQTT-3.3.1-2].
    pub dup: bool,
    /// Delivery guarantee to this receiver.
    pub qos: QoS,
    /// The RETAIN flag that this receiver sees [MQTT-3.3.1-12].
    pub retain: bool,
    /// Empty only beside a topic alias.
    pub topic: &'a str,
    /// Not written with QoS 0.
    pub packet_id: u16,
    /// What is left of the message's lifetime, seconds [MQTT-3.3.2-6].
    pub message_expiry_secs: Option<u32>,
    /// Not 0.
    pub topic_alias: Option<u16>,
    /// Of every subscription that matched, none of them 0 (section 3.3.2.3.8).
    pub subscription_ids: &'a [u32],
    /// What [`PublishProperties::forward_into`] wrote.
    pub properties: &'a [u8],
    /// Bytes of the payload that follows the head.
    pub payload_len: usize,
}

impl OutgoingPublish<'_> {
    /// Bytes of the whole packet, fixed header and payload included.
    #[inline]
    pub fn encoded_len(&self, version: ProtocolVersion) -> usize {
        let remaining = self.remaining_len(version);
        1 + variable_len(remaining as u32) + remaining
    }

    /// Appends all but the payload. Returns where in `out` the packet id stands (QoS 1 and 2), so that a copy of the bytes
    /// can be given another one.
    #[inline]
    pub fn encode_head(&self, version: ProtocolVersion, out: &mut Vec<u8>) -> Option<usize> {
        let remaining = self.remaining_len(version);
        out.reserve(5 + remaining - self.payload_len);
        out.push(first_byte(self.dup, self.qos, self.retain));
        put_variable(out, remaining as u32);
        put_string(out, self.topic);
        let packet_id_at = (self.qos != QoS::AtMostOnce).then(|| {
            put_two_bytes(out, self.packet_id);
            out.len() - 2
        });
        if version == ProtocolVersion::V5 {
            self.encode_properties(out);
        }
        packet_id_at
    }

    #[inline]
    fn remaining_len(&self, version: ProtocolVersion) -> usize {
        let packet_id = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let properties = if version == ProtocolVersion::V5 {
            let length = self.properties_len();
            variable_len(length as u32) + length
        } else {
            0
        };
        2 + fitting(self.topic).len() + packet_id + properties + self.payload_len
    }

    #[inline]
    fn properties_len(&self) -> usize {
        let expiry = if self.message_expiry_secs.is_some() { 5 } else { 0 };
        let alias = if self.topic_alias.is_some() { 3 } else { 0 };
        let ids: usize = self.subscription_ids.iter().map(|value| 1 + variable_len(*value)).sum();
        expiry + alias + ids + self.properties.len()
    }

    fn encode_properties(&self, out: &mut Vec<u8>) {
        put_variable(out, self.properties_len() as u32);
        if let Some(secs) = self.message_expiry_secs {
            out.push(id::MESSAGE_EXPIRY_INTERVAL);
            put_four_bytes(out, secs);
        }
        if let Some(alias) = self.topic_alias {
            out.push(id::TOPIC_ALIAS);
            put_two_bytes(out, alias);
        }
        for value in self.subscription_ids {
            out.push(id::SUBSCRIPTION_IDENTIFIER);
            put_variable(out, *value);
        }
        out.extend_from_slice(self.properties);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8], sender: Sender) -> Publish<'_> {
        Publish::decode(0x30, body, ProtocolVersion::V5, sender).expect("well formed")
    }

    /// [MQTT-3.3.2-4] [MQTT-3.3.2-15] to [MQTT-3.3.2-18]: what belongs to the message goes on unchanged and in order, what
    /// belongs to the hop stays.
    #[test]
    fn the_properties_of_the_message_are_forwarded_and_those_of_the_hop_are_not() {
        let user = [0x26, 0, 1, b'b', 0, 1, b'1', 0x26, 0, 1, b'a', 0, 1, b'2'];
        let mut body = vec![0, 1, b't', 24, 0x23, 0, 5, 0x02, 0, 0, 0, 9];
        body.extend_from_slice(&user);
        body.extend_from_slice(&[0x01, 1, b'x']);
        let publish = read(&body, Sender::Client);
        assert_eq!((publish.properties.topic_alias, publish.properties.message_expiry_secs), (Some(5), Some(9)));
        assert_eq!((publish.properties.user_properties, publish.properties.payload_is_utf8), (2, true));
        assert_eq!(publish.payload, b"x");
        let mut forwarded = Vec::new();
        publish.properties.forward_into(&mut forwarded);
        assert_eq!(forwarded, [&user[..], &[0x01, 1]].concat());
        assert!(!publish.properties.forward_raw);
    }

    /// The block of most messages is copied without a second look.
    #[test]
    fn a_block_of_the_message_alone_is_forwarded_as_it_is() {
        let publish = read(&[0, 1, b't', 6, 0x08, 0, 1, b'r', 0x01, 0], Sender::Client);
        assert!(publish.properties.forward_raw);
        assert_eq!(publish.properties.response_topic, Some("r"));
        let with_id = read(&[0, 1, b't', 4, 0x0b, 1, 0x01, 0], Sender::Server);
        assert!(!with_id.properties.forward_raw);
        assert_eq!(with_id.properties.subscription_ids().collect::<Vec<_>>(), [1]);
    }

    /// Section 3.3: the head and the payload are the packet, and the place of the packet id is told.
    #[test]
    fn the_packet_id_of_a_copied_head_can_be_replaced() {
        let outgoing = OutgoingPublish {
            dup: true,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: "a/b",
            packet_id: 1,
            message_expiry_secs: Some(10),
            topic_alias: Some(2),
            subscription_ids: &[3, 300],
            properties: &[0x01, 1],
            payload_len: 200,
        };
        for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
            let mut out = vec![0; 11];
            let at = outgoing.encode_head(version, &mut out).expect("QoS 1 has a packet id");
            out[at..at + 2].copy_from_slice(&0x0102u16.to_be_bytes());
            out.resize(out.len() + 200, b'x');
            assert_eq!(out.len() - 11, outgoing.encoded_len(version));
            let Ok(super::super::Framed::Whole(found)) = super::super::frame(&out[11..], 999) else { panic!("whole") };
            let publish = Publish::decode(found.first_byte, found.body, version, Sender::Server).expect("well formed");
            assert_eq!((publish.packet_id, publish.topic, publish.payload.len()), (0x0102, "a/b", 200));
        }
    }

    /// Every part of a plain packet, in each dialect; what stands behind it does not matter.
    #[test]
    fn a_plain_publish_is_seen_at_a_glance() {
        let qos0 = [0x30, 4, 0, 1, b'a', b'x', 0x32];
        let qos2 = [0x34, 7, 0, 1, b'a', 1, 2, 0, b'x'];
        let expected = |qos, packet_id, bytes| PlainPublish { qos, topic: b"a", packet_id, payload: b"x", bytes };
        for version in [ProtocolVersion::V31, ProtocolVersion::V311] {
            let found = PlainPublish::at_front(&qos0, version);
            assert_eq!(found, Some(expected(QoS::AtMostOnce, 0, &qos0[..6])));
            let found = PlainPublish::at_front(&qos2, version).expect("a payload of two bytes");
            assert_eq!((found.qos, found.packet_id, found.payload), (QoS::ExactlyOnce, 0x0102, &[0, b'x'][..]));
        }
        assert_eq!(
            PlainPublish::at_front(&qos0, ProtocolVersion::V5),
            None,
            "a block of properties as long as `x` says"
        );
        let found = PlainPublish::at_front(&qos2, ProtocolVersion::V5);
        assert_eq!(found, Some(expected(QoS::ExactlyOnce, 0x0102, &qos2)));
    }

    /// One flaw each, in a packet that is plain without it.
    #[test]
    fn what_is_more_or_less_than_plain_is_not_taken_for_it() {
        for (flaw, bytes) in [
            ("DUP", &[0x3a, 6, 0, 1, b'a', 0, 1, b'x'][..]),
            ("RETAIN", &[0x33, 6, 0, 1, b'a', 0, 1, b'x']),
            ("QoS 3", &[0x36, 6, 0, 1, b'a', 0, 1, b'x']),
            ("another packet", &[0x62, 6, 0, 1, b'a', 0, 1, b'x']),
            ("packet id 0", &[0x32, 6, 0, 1, b'a', 0, 0, b'x']),
            ("half a packet id", &[0x32, 4, 0, 1, b'a', 1, 2, 3]),
            ("an empty topic", &[0x32, 5, 0, 0, 0, 1, b'x']),
            ("a topic beyond its end", &[0x32, 6, 0, 5, b'a', 0, 1, b'x', b'x', b'x']),
            ("half a topic length", &[0x32, 1, 0, 1, b'a', 0, 1, b'x']),
            ("a length of one byte too many", &[0x32, 0x86, 0, 0, 1, b'a', 0, 1, b'x']),
            ("the end before its end", &[0x32, 6, 0, 1, b'a', 0, 1]),
            ("two bytes", &[0x32, 0]),
        ] {
            assert_eq!(PlainPublish::at_front(bytes, ProtocolVersion::V311), None, "{flaw}");
        }
        let right = [0x32, 6, 0, 1, b'a', 0, 1, b'x'];
        assert!(PlainPublish::at_front(&right, ProtocolVersion::V311).is_some());
    }

    /// Remaining Length has one byte, two, and more than are looked at.
    #[test]
    fn a_plain_publish_is_seen_up_to_a_length_of_two_bytes() {
        for (remaining, length) in
            [(127, &[0x7f][..]), (128, &[0x80, 1]), (0x3fff, &[0xff, 0x7f]), (0x4000, &[0x80, 0x80, 1])]
        {
            let mut bytes = [&[0x30], length, &[0, 1, b'a']].concat();
            bytes.resize(1 + length.len() + remaining, b'x');
            let found = PlainPublish::at_front(&bytes, ProtocolVersion::V311);
            assert_eq!(found.map(|found| found.payload.len()), (length.len() < 3).then_some(remaining - 3));
            bytes.pop();
            assert_eq!(PlainPublish::at_front(&bytes, ProtocolVersion::V311), None);
        }
    }

    /// [MQTT-3.3.1-2]: DUP never goes out with QoS 0, whatever is asked.
    #[test]
    fn dup_is_left_out_with_qos_0() {
        assert_eq!(first_byte(true, QoS::AtMostOnce, true), 0x31);
        assert_eq!(first_byte(true, QoS::ExactlyOnce, false), 0x3c);
    }
}
