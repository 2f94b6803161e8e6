//! The words of the conversations: packets as clients and broker say them.
//!
//! Duty: short names for packets, and their bytes. Must not: know who says them. Neighbours: `peer`; `ringmq::wire` has the
//! packets themselves. A PUBLISH with properties is encoded here by hand, so that order and place of each is what the test says.

use ringmq::limits::Limits;
use ringmq::wire::{
    Ack, AckKind, Auth, Connack, Connect, Disconnect, LastWill, Packet, Properties, Property, ProtocolVersion, Publish,
    PublishProperties, QoS, ReasonCode, Suback, Subscribe, SubscriptionOptions, Unsuback, Unsubscribe,
};

pub(crate) const V31: ProtocolVersion = ProtocolVersion::V31;
pub(crate) const V311: ProtocolVersion = ProtocolVersion::V311;
pub(crate) const V5: ProtocolVersion = ProtocolVersion::V5;
/// The three dialects.
pub(crate) const DIALECTS: [ProtocolVersion; 3] = [V31, V311, V5];
pub(crate) const Q0: QoS = QoS::AtMostOnce;
pub(crate) const Q1: QoS = QoS::AtLeastOnce;
pub(crate) const Q2: QoS = QoS::ExactlyOnce;

/// Something that can be said.
pub(crate) trait Say {
    /// Its bytes in a dialect.
    fn bytes(&self, version: ProtocolVersion) -> Vec<u8>;
}

impl<T: Say + ?Sized> Say for &T {
    fn bytes(&self, version: ProtocolVersion) -> Vec<u8> {
        (**self).bytes(version)
    }
}

impl Say for Packet<'_> {
    fn bytes(&self, version: ProtocolVersion) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(version, &mut bytes);
        bytes
    }
}

impl Say for Connect<'_> {
    fn bytes(&self, version: ProtocolVersion) -> Vec<u8> {
        Packet::Connect(*self).bytes(version)
    }
}

impl Say for Connack<'_> {
    fn bytes(&self, version: ProtocolVersion) -> Vec<u8> {
        Packet::Connack(*self).bytes(version)
    }
}

impl Say for Publish<'_> {
    fn bytes(&self, version: ProtocolVersion) -> Vec<u8> {
        Packet::Publish(*self).bytes(version)
    }
}

impl Say for Ack<'_> {
    fn bytes(&self, version: ProtocolVersion) -> Vec<u8> {
        Packet::Ack(*self).bytes(version)
    }
}

impl Say for Disconnect<'_> {
    fn bytes(&self, version: ProtocolVersion) -> Vec<u8> {
        Packet::Disconnect(*self).bytes(version)
    }
}

impl Say for Auth<'_> {
    fn bytes(&self, version: ProtocolVersion) -> Vec<u8> {
        Packet::Auth(*self).bytes(version)
    }
}

/// The bytes of a hexadecimal text.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hexadecimal digit") as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// The CONNACK that the default limits give to a client that asks for nothing.
pub(crate) fn granted() -> Connack<'static> {
    let limits = Limits::default();
    Connack {
        receive_maximum: Some(limits.receive_maximum),
        maximum_packet_size: Some(limits.packet_bytes_max),
        topic_alias_maximum: Some(limits.topic_alias_max),
        ..Connack::default()
    }
}

/// A client whose session outlives its connection, by `secs` seconds in 5.0 and forever before.
pub(crate) fn lasting(version: ProtocolVersion, client_id: &str, secs: u32) -> Connect<'_> {
    let session_expiry_secs = Some(secs).filter(|_| version == V5);
    Connect { clean_start: false, session_expiry_secs, ..Connect::new(version, client_id) }
}

/// A will without further wishes.
pub(crate) fn will<'a>(qos: QoS, topic: &'a str, payload: &'a str) -> LastWill<'a> {
    let payload = payload.as_bytes();
    LastWill { topic, payload, qos, retain: false, delay_secs: 0, properties: PublishProperties::EMPTY }
}

fn publish<'a>(qos: QoS, packet_id: u16, topic: &'a str, payload: &'a str) -> Publish<'a> {
    let (payload, properties) = (payload.as_bytes(), PublishProperties::EMPTY);
    Publish { dup: false, qos, retain: false, topic, packet_id, properties, payload }
}

/// PUBLISH with QoS 0.
pub(crate) fn qos0<'a>(topic: &'a str, payload: &'a str) -> Publish<'a> {
    publish(Q0, 0, topic, payload)
}

/// PUBLISH with QoS 1.
pub(crate) fn qos1<'a>(packet_id: u16, topic: &'a str, payload: &'a str) -> Publish<'a> {
    publish(Q1, packet_id, topic, payload)
}

/// PUBLISH with QoS 2.
pub(crate) fn qos2<'a>(packet_id: u16, topic: &'a str, payload: &'a str) -> Publish<'a> {
    publish(Q2, packet_id, topic, payload)
}

/// What else is said of a PUBLISH.
pub(crate) trait PublishWords<'a>: Sized {
    /// With RETAIN.
    fn retained(self) -> Self;
    /// With DUP.
    fn again(self) -> Self;
    /// With these properties, in this order.
    fn with(self, properties: &[Property<'a>]) -> PublishWith<'a>;
}

impl<'a> PublishWords<'a> for Publish<'a> {
    fn retained(self) -> Self {
        Self { retain: true, ..self }
    }

    fn again(self) -> Self {
        Self { dup: true, ..self }
    }

    fn with(self, properties: &[Property<'a>]) -> PublishWith<'a> {
        PublishWith { publish: self, properties: properties.to_vec() }
    }
}

/// A PUBLISH with properties.
#[derive(Clone)]
pub(crate) struct PublishWith<'a> {
    publish: Publish<'a>,
    properties: Vec<Property<'a>>,
}

impl Say for PublishWith<'_> {
    fn bytes(&self, version: ProtocolVersion) -> Vec<u8> {
        assert_eq!(version, V5, "only 5.0 has properties");
        let Publish { dup, qos, retain, topic, packet_id, payload, .. } = self.publish;
        let mut block = Vec::new();
        self.properties.iter().for_each(|property| property.encode(&mut block));
        let mut body = Vec::new();
        body.extend_from_slice(&(topic.len() as u16).to_be_bytes());
        body.extend_from_slice(topic.as_bytes());
        if qos != Q0 {
            body.extend_from_slice(&packet_id.to_be_bytes());
        }
        put_length(block.len(), &mut body);
        body.extend_from_slice(&block);
        body.extend_from_slice(payload);
        framed(0x30 | u8::from(dup) << 3 | (qos as u8) << 1 | u8::from(retain), &body)
    }
}

/// A packet of this first byte and body.
pub(crate) fn framed(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first_byte];
    put_length(body.len(), &mut bytes);
    bytes.extend_from_slice(body);
    bytes
}

/// Appends a Variable Byte Integer.
pub(crate) fn put_length(length: usize, out: &mut Vec<u8>) {
    let mut left = length;
    while left > 0x7f {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

pub(crate) fn puback(packet_id: u16) -> Ack<'static> {
    Ack::new(AckKind::Puback, packet_id, ReasonCode::Success)
}

pub(crate) fn pubrec(packet_id: u16) -> Ack<'static> {
    Ack::new(AckKind::Pubrec, packet_id, ReasonCode::Success)
}

pub(crate) fn pubrel(packet_id: u16) -> Ack<'static> {
    Ack::new(AckKind::Pubrel, packet_id, ReasonCode::Success)
}

pub(crate) fn pubcomp(packet_id: u16) -> Ack<'static> {
    Ack::new(AckKind::Pubcomp, packet_id, ReasonCode::Success)
}

/// The same acknowledgement with another reason.
pub(crate) fn because(reason: ReasonCode, ack: Ack<'static>) -> Ack<'static> {
    Ack { reason, ..ack }
}

/// An acknowledgement that says "no matching subscribers" in 5.0.
pub(crate) fn unmatched(ack: Ack<'static>) -> Ack<'static> {
    because(ReasonCode::NoMatchingSubscribers, ack)
}

/// SUBSCRIBE, to be filled.
pub(crate) fn subscribe(packet_id: u16) -> Subscribing {
    Subscribing { packet_id, subscription_id: None, filters: Vec::new() }
}

/// A SUBSCRIBE.
#[derive(Clone)]
pub(crate) struct Subscribing {
    packet_id: u16,
    subscription_id: Option<u32>,
    filters: Vec<(String, SubscriptionOptions)>,
}

impl Subscribing {
    /// One more filter.
    pub(crate) fn to(self, filter: &str, qos: QoS) -> Self {
        self.with(filter, SubscriptionOptions { qos, ..SubscriptionOptions::default() })
    }

    /// One more filter, with all options.
    pub(crate) fn with(mut self, filter: &str, options: SubscriptionOptions) -> Self {
        self.filters.push((filter.to_owned(), options));
        self
    }

    /// With a Subscription Identifier.
    pub(crate) fn numbered(self, subscription_id: u32) -> Self {
        Self { subscription_id: Some(subscription_id), ..self }
    }
}

impl Say for Subscribing {
    fn bytes(&self, version: ProtocolVersion) -> Vec<u8> {
        let mut filters = Vec::new();
        self.filters.iter().for_each(|(filter, options)| Subscribe::push_filter(&mut filters, filter, *options));
        Packet::Subscribe(Subscribe::new(self.packet_id, self.subscription_id, &filters)).bytes(version)
    }
}

/// SUBACK.
pub(crate) fn suback(packet_id: u16, reasons: &[u8]) -> Packet<'_> {
    Packet::Suback(Suback { packet_id, properties: Properties::EMPTY, reasons })
}

/// UNSUBSCRIBE.
pub(crate) fn unsubscribe(packet_id: u16, filters: &[&str]) -> Unsubscribing {
    Unsubscribing { packet_id, filters: filters.iter().map(|filter| (*filter).to_owned()).collect() }
}

/// An UNSUBSCRIBE.
pub(crate) struct Unsubscribing {
    packet_id: u16,
    filters: Vec<String>,
}

impl Say for Unsubscribing {
    fn bytes(&self, version: ProtocolVersion) -> Vec<u8> {
        let mut filters = Vec::new();
        self.filters.iter().for_each(|filter| Unsubscribe::push_filter(&mut filters, filter));
        Packet::Unsubscribe(Unsubscribe::new(self.packet_id, &filters)).bytes(version)
    }
}

/// UNSUBACK.
pub(crate) fn unsuback(packet_id: u16, reasons: &[u8]) -> Packet<'_> {
    Packet::Unsuback(Unsuback { packet_id, properties: Properties::EMPTY, reasons })
}
