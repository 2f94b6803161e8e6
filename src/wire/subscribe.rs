//! SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK (sections 3.8 to 3.11).
//!
//! Duty: decode and encode them; filters stay bytes that were checked once. Must not: judge a filter beyond being a
//! non-empty string (wildcards and shares are the topic floor's). Neighbours: `shard` subscribes and answers.

use super::packet::{REQUEST_FLAGS, kind};
use super::property::{Property, id};
use super::property_block::{IdSet, Properties, Rules, read_block};
use super::reader::Reader;
use super::writer::{put_measured, put_packet, put_string, put_two_bytes, variable_len};
use super::{ProtocolVersion, QoS, ReasonCode, WireError, reason};

const SUBSCRIBE: Rules = Rules::strict(&[id::SUBSCRIPTION_IDENTIFIER, id::USER_PROPERTY]);
const UNSUBSCRIBE: Rules = Rules::strict(&[id::USER_PROPERTY]);
const ANSWER: Rules = Rules::of(&[id::REASON_STRING, id::USER_PROPERTY]);

/// When retained messages are sent for a subscription (section 3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// At every SUBSCRIBE.
    #[default]
    SendAtSubscribe = 0,
    /// Only if the subscription is new.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

/// How a subscription is served (section 3.8.3.1). Before 5.0 only the QoS can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct SubscriptionOptions {
    /// Highest QoS of what is sent.
    pub qos: QoS,
    /// Not to the connection that published it.
    pub no_local: bool,
    /// Keep the RETAIN flag of the publisher.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

impl SubscriptionOptions {
    /// The options of a byte; `None` for QoS 3, retain handling 3, or a reserved bit [MQTT-3.8.3-5]. Before 5.0 the upper
    /// six bits are reserved (3.1.1 section 3.8.3).
    #[inline]
    pub fn from_byte(byte: u8, version: ProtocolVersion) -> Option<Self> {
        let reserved = if version == ProtocolVersion::V5 { 0xC0 } else { 0xFC };
        if byte & reserved != 0 {
            return None;
        }
        let retain_handling = match byte >> 4 & 3 {
            0 => RetainHandling::SendAtSubscribe,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return None,
        };
        let qos = QoS::from_bits(byte & 3)?;
        Some(Self { qos, no_local: byte & 4 != 0, retain_as_published: byte & 8 != 0, retain_handling })
    }

    /// The byte of the options; before 5.0 only the QoS is in it.
    pub fn to_byte(self, version: ProtocolVersion) -> u8 {
        let qos = self.qos as u8;
        if version < ProtocolVersion::V5 {
            return qos;
        }
        let flags = u8::from(self.no_local) << 2 | u8::from(self.retain_as_published) << 3;
        qos | flags | (self.retain_handling as u8) << 4
    }
}

/// A request for subscriptions. Encoding takes the subscription identifier from its field, the user properties from
/// `properties`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Not 0.
    pub packet_id: u16,
    /// Given to every filter of the packet; not 0.
    pub subscription_id: Option<u32>,
    /// The block as it was received; empty before 5.0.
    pub properties: Properties<'a>,
    filters: &'a [u8],
}

impl<'a> Subscribe<'a> {
    /// A SUBSCRIBE to send. `filters` is what [`Subscribe::push_filter`] wrote, at least once.
    pub fn new(packet_id: u16, subscription_id: Option<u32>, filters: &'a [u8]) -> Self {
        Self { packet_id, subscription_id, properties: Properties::EMPTY, filters }
    }

    /// Appends one filter and its options to the block for [`Subscribe::new`].
    pub fn push_filter(block: &mut Vec<u8>, filter: &str, options: SubscriptionOptions) {
        put_string(block, filter);
        block.push(options.to_byte(ProtocolVersion::V5));
    }

    /// The filters in order: well-formed, not empty, and not yet judged.
    pub fn filters(&self) -> impl Iterator<Item = (&'a str, SubscriptionOptions)> + use<'a> {
        let mut reader = Reader::new(self.filters);
        std::iter::from_fn(move || read_subscription(&mut reader, ProtocolVersion::V5).ok())
    }

    /// Reads the body. Malformed, as established brokers say where the specification speaks of protocol errors: packet id
    /// 0, no filter [MQTT-3.8.3-2], an empty filter, a property that does not belong here. Protocol error: a subscription
    /// identifier of 0 or more than one (section 3.8.2.1.2).
    pub(super) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let packet_id = read_packet_id(&mut reader, WireError::malformed)?;
        let mut subscription_id = None;
        let mut properties = Properties::EMPTY;
        if version == ProtocolVersion::V5 {
            properties = read_block(&mut reader, SUBSCRIBE, |property| {
                if let Property::SubscriptionIdentifier(value) = property {
                    subscription_id = Some(value);
                }
            })?;
        }
        let filters = reader.rest();
        if filters.is_empty() {
            return Err(WireError::malformed("SUBSCRIBE without filters"));
        }
        while !reader.is_empty() {
            read_subscription(&mut reader, version)?;
        }
        Ok(Self { packet_id, subscription_id, properties, filters })
    }

    /// Appends the packet. Before 5.0 properties, and options other than the QoS, are left out.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        put_packet(out, kind::SUBSCRIBE | REQUEST_FLAGS, |out| {
            put_two_bytes(out, self.packet_id);
            if version == ProtocolVersion::V5 {
                put_measured(out, |out| {
                    if let Some(value) = self.subscription_id {
                        Property::SubscriptionIdentifier(value).encode(out);
                    }
                    self.properties.encode_only(IdSet::USER, out);
                });
            }
            for (filter, options) in self.filters() {
                put_string(out, filter);
                out.push(options.to_byte(version));
            }
        });
    }
}

/// The answer to SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suback<'a> {
    /// That of the SUBSCRIBE [MQTT-3.8.4-2].
    pub packet_id: u16,
    /// Reason string and user properties; empty before 5.0.
    pub properties: Properties<'a>,
    /// One reason code for each filter, in order [MQTT-3.9.3-1].
    pub reasons: &'a [u8],
}

impl<'a> Suback<'a> {
    /// Reads the body. Malformed: no reason code. Protocol error: one that SUBACK does not have, packet id 0.
    pub(super) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let packet_id = read_packet_id(&mut reader, WireError::protocol)?;
        let (properties, allowed) = if version == ProtocolVersion::V5 {
            (read_block(&mut reader, ANSWER, |_| {})?, reason::SUBACK)
        } else {
            (Properties::EMPTY, reason::SUBACK_V3)
        };
        Ok(Self { packet_id, properties, reasons: check_reasons(reader.rest(), allowed)? })
    }

    /// Appends the packet. Before 5.0 every failure is 0x80 (3.1.1 section 3.9.3); 3.1 knows no failure, but its clients
    /// are told so too, as other brokers do.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        put_packet(out, kind::SUBACK, |out| {
            put_two_bytes(out, self.packet_id);
            if version == ProtocolVersion::V5 {
                put_measured(out, |out| out.extend_from_slice(self.properties.raw));
                out.extend_from_slice(self.reasons);
            } else {
                out.extend(self.reasons.iter().map(|code| (*code).min(ReasonCode::UnspecifiedError as u8)));
            }
        });
    }
}

/// A request to end subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Not 0.
    pub packet_id: u16,
    /// User properties; empty before 5.0.
    pub properties: Properties<'a>,
    filters: &'a [u8],
}

impl<'a> Unsubscribe<'a> {
    /// An UNSUBSCRIBE to send. `filters` is what [`Unsubscribe::push_filter`] wrote, at least once.
    pub fn new(packet_id: u16, filters: &'a [u8]) -> Self {
        Self { packet_id, properties: Properties::EMPTY, filters }
    }

    /// Appends one filter to the block for [`Unsubscribe::new`].
    pub fn push_filter(block: &mut Vec<u8>, filter: &str) {
        put_string(block, filter);
    }

    /// The filters in order: well-formed, not empty, and not yet judged.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut reader = Reader::new(self.filters);
        std::iter::from_fn(move || read_filter(&mut reader).ok())
    }

    /// Reads the body. Malformed: as for SUBSCRIBE [MQTT-3.10.3-2].
    pub(super) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let packet_id = read_packet_id(&mut reader, WireError::malformed)?;
        let mut properties = Properties::EMPTY;
        if version == ProtocolVersion::V5 {
            properties = read_block(&mut reader, UNSUBSCRIBE, |_| {})?;
        }
        let filters = reader.rest();
        if filters.is_empty() {
            return Err(WireError::malformed("UNSUBSCRIBE without filters"));
        }
        while !reader.is_empty() {
            read_filter(&mut reader)?;
        }
        Ok(Self { packet_id, properties, filters })
    }

    /// Appends the packet. Before 5.0 its properties are left out.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        put_packet(out, kind::UNSUBSCRIBE | REQUEST_FLAGS, |out| {
            put_two_bytes(out, self.packet_id);
            if version == ProtocolVersion::V5 {
                put_measured(out, |out| out.extend_from_slice(self.properties.raw));
            }
            out.extend_from_slice(self.filters);
        });
    }
}

/// The answer to UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsuback<'a> {
    /// That of the UNSUBSCRIBE [MQTT-3.10.4-5].
    pub packet_id: u16,
    /// Reason string and user properties; empty before 5.0.
    pub properties: Properties<'a>,
    /// One reason code for each filter, in order [MQTT-3.11.3-1]; empty before 5.0.
    pub reasons: &'a [u8],
}

impl<'a> Unsuback<'a> {
    /// Reads the body. Malformed: no reason code in 5.0, or one before. Protocol error: one that UNSUBACK does not have,
    /// packet id 0.
    pub(super) fn decode(body: &'a [u8], version: ProtocolVersion) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let packet_id = read_packet_id(&mut reader, WireError::protocol)?;
        if version < ProtocolVersion::V5 {
            reader.finish("UNSUBACK longer than its packet id")?;
            return Ok(Self { packet_id, properties: Properties::EMPTY, reasons: &[] });
        }
        let properties = read_block(&mut reader, ANSWER, |_| {})?;
        Ok(Self { packet_id, properties, reasons: check_reasons(reader.rest(), reason::UNSUBACK)? })
    }

    /// Appends the packet. Before 5.0 it is the packet id alone.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        put_packet(out, kind::UNSUBACK, |out| {
            put_two_bytes(out, self.packet_id);
            if version == ProtocolVersion::V5 {
                put_measured(out, |out| out.extend_from_slice(self.properties.raw));
                out.extend_from_slice(self.reasons);
            }
        });
    }
}

/// Bytes of a 5.0 SUBACK or UNSUBACK that answers so many filters and says nothing else.
pub fn answer_len(filters: usize) -> usize {
    let body = 3 + filters;
    1 + variable_len(u32::try_from(body).unwrap_or(u32::MAX)) + body
}

/// `refuse` says which of the two errors a packet id of 0 is.
fn read_packet_id(reader: &mut Reader<'_>, refuse: fn(&'static str) -> WireError) -> Result<u16, WireError> {
    match reader.two_bytes("packet id")? {
        0 => Err(refuse("packet id 0")),
        packet_id => Ok(packet_id),
    }
}

#[inline]
fn read_filter<'a>(reader: &mut Reader<'a>) -> Result<&'a str, WireError> {
    match reader.string("topic filter")? {
        "" => Err(WireError::malformed("empty topic filter")),
        filter => Ok(filter),
    }
}

#[inline]
fn read_subscription<'a>(
    reader: &mut Reader<'a>,
    version: ProtocolVersion,
) -> Result<(&'a str, SubscriptionOptions), WireError> {
    let filter = read_filter(reader)?;
    let byte = reader.byte("subscription options")?;
    match SubscriptionOptions::from_byte(byte, version) {
        Some(options) => Ok((filter, options)),
        None => Err(WireError::malformed("subscription options")),
    }
}

fn check_reasons<'a>(reasons: &'a [u8], allowed: &[u8]) -> Result<&'a [u8], WireError> {
    if reasons.is_empty() {
        return Err(WireError::malformed("answer without reason codes"));
    }
    if reasons.iter().all(|code| allowed.contains(code)) {
        Ok(reasons)
    } else {
        Err(WireError::protocol("reason code not allowed in this packet"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3.1.1 section 3.9.3: 3.x knows one failure.
    #[test]
    fn every_failure_of_a_v3_suback_is_0x80() {
        let suback = Suback { packet_id: 1, properties: Properties::EMPTY, reasons: &[0, 2, 0x8f, 0x87] };
        let mut out = Vec::new();
        suback.encode(ProtocolVersion::V311, &mut out);
        assert_eq!(out, [0x90, 6, 0, 1, 0, 2, 0x80, 0x80]);
    }

    /// Section 3.8.3.1: every byte is its options and back, or refused [MQTT-3.8.3-5].
    #[test]
    fn the_options_of_a_byte_make_the_same_byte() {
        let valid = |version| {
            let read = |byte| SubscriptionOptions::from_byte(byte, version);
            assert!((0..=255).all(|byte| read(byte).is_none_or(|options| options.to_byte(version) == byte)));
            (0..=255).filter(|byte| read(*byte).is_some()).count()
        };
        assert_eq!(valid(ProtocolVersion::V5), 3 * 2 * 2 * 3);
        assert_eq!(valid(ProtocolVersion::V311), 3);
        assert_eq!(valid(ProtocolVersion::V31), 3);
    }

    /// 3.1.1 section 3.8.3: the bits above the QoS are reserved there.
    #[test]
    fn before_5_0_only_the_qos_is_written() {
        let options = SubscriptionOptions { qos: QoS::AtLeastOnce, no_local: true, ..SubscriptionOptions::default() };
        assert_eq!([ProtocolVersion::V311, ProtocolVersion::V5].map(|version| options.to_byte(version)), [1, 5]);
    }
}
