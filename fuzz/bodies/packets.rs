//! Packets of every kind, built from bytes that say what to put into them.

use ringmq::wire::{
    Ack, AckKind, Auth, Connack, Connect, Disconnect, LastWill, Packet, Properties, Property, ProtocolVersion, Publish,
    PublishProperties, QoS, ReasonCode, RetainHandling, Sender, Suback, Subscribe, SubscriptionOptions, Unsuback,
    Unsubscribe,
};

/// Bytes that answer questions; zeros once they are used up.
pub(crate) struct Source<'a> {
    bytes: &'a [u8],
}

impl<'a> Source<'a> {
    /// Answers from `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Whether all bytes are used up.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *byte
    }

    /// A number below `count`.
    pub(crate) fn index(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    /// Yes or no.
    pub(crate) fn bool(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn option<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.bool() { Some(value(self)) } else { None }
    }

    /// Not 0, and rarely small.
    fn two_bytes(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()]).max(1)
    }

    /// Not 0, and rarely small.
    fn four_bytes(&mut self) -> u32 {
        u32::from(self.two_bytes()) << 16 | u32::from(self.two_bytes())
    }

    /// Some bytes: as many as the next byte says.
    pub(crate) fn binary(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.bytes.len());
        let (taken, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        taken
    }

    /// As much of some bytes as is well-formed and without U+0000.
    fn text(&mut self) -> &'a str {
        let text = self.binary().utf8_chunks().next().map_or("", |chunk| chunk.valid());
        text.split('\0').next().unwrap_or("")
    }

    fn name(&mut self) -> &'a str {
        match self.text() {
            "" => "t",
            text => text,
        }
    }

    /// Any QoS.
    pub(crate) fn qos(&mut self) -> QoS {
        [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][self.index(3)]
    }

    fn reason(&mut self, allowed: &[u8]) -> ReasonCode {
        let byte = allowed[self.index(allowed.len())];
        ReasonCode::from_byte(byte).expect("the lists hold known codes")
    }
}

/// The parts of a packet that are bytes already when it is encoded.
pub(crate) struct Blocks {
    user: Vec<u8>,
    answer: Vec<u8>,
    forwarded: Vec<u8>,
    forwarded_with_ids: Vec<u8>,
    subscriptions: Vec<u8>,
    subscriptions_v3: Vec<u8>,
    filters: Vec<u8>,
    codes: Vec<u8>,
}

impl Blocks {
    /// Each block with at least what its packet needs.
    pub(crate) fn of(source: &mut Source<'_>) -> Self {
        let user = user_block(source);
        let mut answer = Vec::new();
        source.option(|source| Property::ReasonString(source.text()).encode(&mut answer));
        answer.extend_from_slice(&user);
        let mut forwarded = forwarded_block(source);
        let mut forwarded_with_ids = Vec::new();
        for _ in 0..source.index(4) {
            Property::SubscriptionIdentifier(source.four_bytes() >> 4 | 1).encode(&mut forwarded_with_ids);
        }
        forwarded.extend_from_slice(&user);
        forwarded_with_ids.extend_from_slice(&forwarded);
        let (mut subscriptions, mut subscriptions_v3, mut filters) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..=source.index(3) {
            let filter = source.name();
            let options = options_of(source);
            Subscribe::push_filter(&mut subscriptions, filter, options);
            let qos_alone = SubscriptionOptions { qos: options.qos, ..SubscriptionOptions::default() };
            Subscribe::push_filter(&mut subscriptions_v3, filter, qos_alone);
            Unsubscribe::push_filter(&mut filters, filter);
        }
        let codes = source.binary().to_vec();
        Self { user, answer, forwarded, forwarded_with_ids, subscriptions, subscriptions_v3, filters, codes }
    }

    /// Some of the codes of `allowed`, at least one.
    fn codes_among<'b>(&'b self, allowed: &'b [&'b [u8]]) -> &'b [u8] {
        allowed[self.codes.len() % allowed.len()]
    }
}

fn user_block(source: &mut Source<'_>) -> Vec<u8> {
    let mut block = Vec::new();
    for _ in 0..source.index(4) {
        Property::UserProperty(source.text(), source.text()).encode(&mut block);
    }
    block
}

fn forwarded_block(source: &mut Source<'_>) -> Vec<u8> {
    let properties = [
        source.option(|_| Property::PayloadFormatIndicator(1)),
        source.option(|source| Property::ContentType(source.text())),
        source.option(|source| Property::ResponseTopic(source.name())),
        source.option(|source| Property::CorrelationData(source.binary())),
    ];
    let mut block = Vec::new();
    properties.iter().flatten().for_each(|property| property.encode(&mut block));
    block
}

fn options_of(source: &mut Source<'_>) -> SubscriptionOptions {
    let handling = [RetainHandling::SendAtSubscribe, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
    SubscriptionOptions {
        qos: source.qos(),
        no_local: source.bool(),
        retain_as_published: source.bool(),
        retain_handling: handling[source.index(3)],
    }
}

/// Kinds of packets that [`packet_of`] tells apart.
pub(crate) const KINDS: usize = 8;

/// A packet that `sender` may send in `version`; `kind` says which, below [`KINDS`].
pub(crate) fn packet_of<'a>(
    kind: usize,
    source: &mut Source<'a>,
    blocks: &'a Blocks,
    version: ProtocolVersion,
    sender: Sender,
) -> Packet<'a> {
    let v5 = version == ProtocolVersion::V5;
    match (kind, sender) {
        (0 | 1, _) => Packet::Publish(publish_of(source, blocks, v5, sender)),
        (2, _) => Packet::Ack(ack_of(source, blocks, v5)),
        (3, Sender::Client) => Packet::Connect(connect_of(source, blocks, version)),
        (3, Sender::Server) => Packet::Connack(connack_of(source, blocks, version)),
        (4, Sender::Client) => Packet::Subscribe(subscribe_of(source, blocks, v5)),
        (4, Sender::Server) => Packet::Suback(suback_of(source, blocks, v5)),
        (5, Sender::Client) => Packet::Unsubscribe(unsubscribe_of(source, blocks, v5)),
        (5, Sender::Server) => Packet::Unsuback(unsuback_of(source, blocks, v5)),
        (6, _) if v5 => Packet::Auth(auth_of(source, blocks, sender)),
        (7, Sender::Client) => Packet::Disconnect(disconnect_of(source, blocks, v5, sender)),
        (7, Sender::Server) if v5 => Packet::Disconnect(disconnect_of(source, blocks, v5, sender)),
        (_, Sender::Client) => Packet::Pingreq,
        (_, Sender::Server) => Packet::Pingresp,
    }
}

fn block_of(block: &[u8], v5: bool) -> Properties<'_> {
    if v5 { Properties { raw: block } } else { Properties::EMPTY }
}

/// The view that decoding makes of a block of forwarded properties.
fn view_of(raw: &[u8]) -> PublishProperties<'_> {
    let block = Properties { raw };
    let response_topic = block.iter().find_map(|property| match property {
        Property::ResponseTopic(topic) => Some(topic),
        _ => None,
    });
    PublishProperties {
        raw,
        response_topic,
        payload_is_utf8: block.iter().any(|property| property == Property::PayloadFormatIndicator(1)),
        user_properties: block.user_properties().count() as u32,
        forward_raw: !block.iter().any(|property| matches!(property, Property::SubscriptionIdentifier(_))),
        ..PublishProperties::EMPTY
    }
}

fn publish_of<'a>(source: &mut Source<'a>, blocks: &'a Blocks, v5: bool, sender: Sender) -> Publish<'a> {
    let qos = source.qos();
    let mut properties = PublishProperties::EMPTY;
    if v5 {
        properties = view_of(match sender {
            Sender::Client => &blocks.forwarded,
            Sender::Server => &blocks.forwarded_with_ids,
        });
        properties.message_expiry_secs = source.option(Source::four_bytes);
        properties.topic_alias = source.option(Source::two_bytes);
    }
    let topic = if properties.topic_alias.is_some() { source.text() } else { source.name() };
    Publish {
        dup: source.bool() && qos != QoS::AtMostOnce,
        qos,
        retain: source.bool(),
        topic,
        packet_id: if qos == QoS::AtMostOnce { 0 } else { source.two_bytes() },
        properties,
        payload: source.binary(),
    }
}

fn ack_of<'a>(source: &mut Source<'a>, blocks: &'a Blocks, v5: bool) -> Ack<'a> {
    let (kind, codes): (_, &[u8]) = match source.index(4) {
        0 => (AckKind::Puback, &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
        1 => (AckKind::Pubrec, &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
        2 => (AckKind::Pubrel, &[0x00, 0x92]),
        _ => (AckKind::Pubcomp, &[0x00, 0x92]),
    };
    let reason = if v5 { source.reason(codes) } else { ReasonCode::Success };
    Ack { properties: block_of(&blocks.answer, v5), ..Ack::new(kind, source.two_bytes(), reason) }
}

fn connect_of<'a>(source: &mut Source<'a>, blocks: &'a Blocks, version: ProtocolVersion) -> Connect<'a> {
    let v5 = version == ProtocolVersion::V5;
    let mut connect = Connect::new(version, source.text());
    connect.bridge = !v5 && source.bool();
    connect.clean_start = source.bool();
    connect.keep_alive_secs = source.two_bytes();
    connect.user_name = source.option(Source::text);
    if v5 || connect.user_name.is_some() {
        connect.password = source.option(Source::binary);
    }
    connect.last_will = source.option(|source| will_of(source, blocks, v5));
    if v5 {
        connect.session_expiry_secs = source.option(Source::four_bytes);
        connect.receive_maximum = source.option(Source::two_bytes);
        connect.maximum_packet_size = source.option(Source::four_bytes);
        connect.topic_alias_maximum = source.option(Source::two_bytes).unwrap_or(0);
        connect.request_response_information = source.bool();
        connect.request_problem_information = source.bool();
        connect.authentication_method = source.option(Source::text);
        connect.authentication_data = connect.authentication_method.and_then(|_| source.option(Source::binary));
        connect.properties = block_of(&blocks.user, v5);
        connect.user_properties = connect.properties.user_properties().count() as u32;
    }
    connect
}

fn will_of<'a>(source: &mut Source<'a>, blocks: &'a Blocks, v5: bool) -> LastWill<'a> {
    let mut properties = PublishProperties::EMPTY;
    let mut delay_secs = 0;
    if v5 {
        properties = view_of(&blocks.forwarded);
        properties.message_expiry_secs = source.option(Source::four_bytes);
        delay_secs = source.option(Source::four_bytes).unwrap_or(0);
    }
    let (topic, payload) = (source.name(), source.binary());
    LastWill { topic, payload, qos: source.qos(), retain: source.bool(), delay_secs, properties }
}

fn connack_of<'a>(source: &mut Source<'a>, blocks: &'a Blocks, version: ProtocolVersion) -> Connack<'a> {
    let codes: &[u8] = match version {
        ProtocolVersion::V5 => &[0x00, 0x80, 0x82, 0x87, 0x8A, 0x95, 0x9B, 0x9D, 0x9F],
        _ => &[0x00, 0x84, 0x85, 0x86, 0x87, 0x88],
    };
    let reason = source.reason(codes);
    let session_present = source.bool() && !reason.is_error() && version > ProtocolVersion::V31;
    if version < ProtocolVersion::V5 {
        return Connack { session_present, ..Connack::refusal(reason) };
    }
    let authentication_method = source.option(Source::text);
    Connack {
        session_present,
        reason,
        session_expiry_secs: source.option(Source::four_bytes),
        receive_maximum: source.option(Source::two_bytes),
        maximum_qos: source.option(|source| [QoS::AtMostOnce, QoS::AtLeastOnce][source.index(2)]),
        retain_available: source.option(Source::bool),
        maximum_packet_size: source.option(Source::four_bytes),
        assigned_client_id: source.option(Source::text),
        topic_alias_maximum: source.option(Source::two_bytes),
        reason_string: source.option(Source::text),
        wildcard_subscription_available: source.option(Source::bool),
        subscription_identifiers_available: source.option(Source::bool),
        shared_subscription_available: source.option(Source::bool),
        server_keep_alive: source.option(Source::two_bytes),
        response_information: source.option(Source::text),
        server_reference: source.option(Source::text),
        authentication_method,
        authentication_data: authentication_method.and_then(|_| source.option(Source::binary)),
        user_properties: block_of(&blocks.user, true),
    }
}

fn subscribe_of<'a>(source: &mut Source<'a>, blocks: &'a Blocks, v5: bool) -> Subscribe<'a> {
    let subscription_id = source.option(|source| source.four_bytes() >> 4 | 1).filter(|_| v5);
    let filters = if v5 { &blocks.subscriptions } else { &blocks.subscriptions_v3 };
    let mut subscribe = Subscribe::new(source.two_bytes(), subscription_id, filters);
    subscribe.properties = block_of(&blocks.user, v5);
    subscribe
}

fn suback_of<'a>(source: &mut Source<'a>, blocks: &'a Blocks, v5: bool) -> Suback<'a> {
    let reasons = match v5 {
        true => {
            blocks.codes_among(&[&[0x00], &[0x01, 0x02], &[0x80, 0x83, 0x87, 0x8F], &[0x91, 0x97, 0x9E, 0xA1, 0xA2]])
        }
        false => blocks.codes_among(&[&[0x00], &[0x01, 0x02], &[0x80, 0x00]]),
    };
    Suback { packet_id: source.two_bytes(), properties: block_of(&blocks.answer, v5), reasons }
}

fn unsubscribe_of<'a>(source: &mut Source<'a>, blocks: &'a Blocks, v5: bool) -> Unsubscribe<'a> {
    let mut unsubscribe = Unsubscribe::new(source.two_bytes(), &blocks.filters);
    unsubscribe.properties = block_of(&blocks.user, v5);
    unsubscribe
}

fn unsuback_of<'a>(source: &mut Source<'a>, blocks: &'a Blocks, v5: bool) -> Unsuback<'a> {
    let reasons = match v5 {
        true => blocks.codes_among(&[&[0x00], &[0x11, 0x80], &[0x83, 0x87, 0x8F, 0x91]]),
        false => &[],
    };
    Unsuback { packet_id: source.two_bytes(), properties: block_of(&blocks.answer, v5), reasons }
}

fn disconnect_of<'a>(source: &mut Source<'a>, blocks: &'a Blocks, v5: bool, sender: Sender) -> Disconnect<'a> {
    if !v5 {
        return Disconnect::default();
    }
    let reason = source.reason(match sender {
        Sender::Client => &[0x00, 0x04, 0x80, 0x81, 0x99],
        Sender::Server => &[0x00, 0x80, 0x8B, 0x8E, 0xA0, 0xA2],
    });
    Disconnect {
        reason,
        session_expiry_secs: source.option(Source::four_bytes).filter(|_| sender == Sender::Client),
        reason_string: source.option(Source::text),
        server_reference: source.option(Source::text).filter(|_| sender == Sender::Server),
        properties: block_of(&blocks.user, true),
    }
}

fn auth_of<'a>(source: &mut Source<'a>, blocks: &'a Blocks, sender: Sender) -> Auth<'a> {
    let reason = source.reason(match sender {
        Sender::Client => &[0x18, 0x19],
        Sender::Server => &[0x00, 0x18],
    });
    Auth {
        reason,
        authentication_method: Some(source.text()),
        authentication_data: source.option(Source::binary),
        properties: block_of(&blocks.answer, true),
    }
}
