//! One message on its way to its clients: encoded once for all who get it alike.
//!
//! Duty: borrow what came in a packet as long as may be, own it once somebody keeps it, and hold its bytes in one layout. Must not:
//! know sessions, windows or queues. Neighbours: `deliver` and `pump` send; `route`, `group` and `retain` make carriers.

use std::sync::Arc;

use super::Shard;
use super::matches::Delivery;
use super::run::PlainRun;
use crate::id::Millis;
use crate::limits::Level;
use crate::message::{Message, MessageView, Source};
use crate::session::{Place, SubscriptionIds};
use crate::wire::{OutgoingPublish, PlainPublish, ProtocolVersion, QoS};

/// Buffers kept between messages.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    encoded: Vec<u8>,
}

/// A message on its way to its receivers: borrowed as long as may be, owned once somebody keeps it, encoded once per layout.
#[derive(Debug)]
pub(super) struct Carrier<'a> {
    pub(super) view: MessageView<'a>,
    message: Option<Message>,
    encoded: Vec<u8>,
    /// That of `encoded` or `received`.
    pub(super) layout: Option<Layout>,
    packet_id_at: Option<usize>,
    /// The plain packet that it came in.
    received: Option<PlainRun<'a>>,
    /// Whether the layout is still that of `received`.
    is_as_received: bool,
    /// How safe it is kept, once somebody has asked.
    pub(super) level: Option<Level>,
}

/// What makes two encodings of one message equal, but for the packet id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) is_v5: bool,
    pub(super) qos: QoS,
    pub(super) retain: bool,
}

impl<'a> Carrier<'a> {
    /// A carrier of a message that goes to one receiver.
    pub(super) fn unencoded(message: &'a Message) -> Self {
        let view = message.view();
        Self {
            view,
            message: Some(message.clone()),
            encoded: Vec::new(),
            layout: None,
            packet_id_at: None,
            received: None,
            is_as_received: false,
            level: None,
        }
    }

    pub(super) fn view(&self) -> &MessageView<'a> {
        &self.view
    }

    /// The plain packet that it came in, if it is one.
    pub(super) fn received(&self) -> Option<&PlainRun<'a>> {
        self.received.as_ref()
    }

    /// Makes the message, with who published it.
    pub(super) fn note_source(&mut self, source: Option<Arc<Source>>) {
        self.message = Some(Message::of_source(&self.view, source));
    }

    /// The message, owned; made at the first call.
    pub(super) fn message(&mut self) -> &Message {
        self.message.get_or_insert_with(|| Message::new(&self.view))
    }

    /// Encodes a message that does not expire for all who get it in this layout.
    pub(super) fn encode_plain(&mut self, version: ProtocolVersion, layout: Layout) {
        let publish = OutgoingPublish {
            dup: false,
            qos: layout.qos,
            retain: layout.retain,
            topic: self.view.topic,
            packet_id: 0,
            message_expiry_secs: None,
            topic_alias: None,
            subscription_ids: &[],
            properties: self.view.properties,
            payload_len: self.view.payload.len(),
        };
        self.encode(version, layout, &publish);
    }

    pub(super) fn encode(&mut self, version: ProtocolVersion, layout: Layout, publish: &OutgoingPublish<'_>) {
        self.encoded.clear();
        self.packet_id_at = publish.encode_head(version, &mut self.encoded);
        self.encoded.extend_from_slice(self.view.payload);
        self.layout = Some(layout);
        self.is_as_received = false;
    }

    /// The packet in the layout.
    pub(super) fn packet(&self) -> &[u8] {
        match &self.received {
            Some(received) if self.is_as_received => received.bytes,
            _ => &self.encoded,
        }
    }

    /// Appends the packet, with a packet id if the layout has one.
    #[inline]
    pub(super) fn put_encoded(&self, packet_id: u16, buffer: &mut Vec<u8>) {
        let start = buffer.len();
        buffer.extend_from_slice(self.packet());
        if let Some(at) = self.packet_id_at {
            buffer[start + at..start + at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
    }
}

/// How one client gets one message.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) subscription_ids: SubscriptionIds,
    /// Where it stands in the store already; a message that is new to its session has no place yet.
    pub(super) place: Place,
    /// Whether it may have been sent before the process began.
    pub(super) dup: bool,
}

impl Manner {
    pub(super) fn of(delivery: &Delivery, view: &MessageView<'_>) -> Self {
        Self {
            qos: view.qos.min(delivery.qos),
            retain: view.retain && delivery.retain_as_published,
            subscription_ids: delivery.subscription_ids.clone(),
            place: Place::NONE,
            dup: false,
        }
    }
}

/// Which sending of a message it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sending {
    /// 0 with QoS 0.
    pub(super) packet_id: u16,
    pub(super) dup: bool,
}

impl Shard {
    pub(super) fn carrier<'a>(&mut self, view: MessageView<'a>) -> Carrier<'a> {
        let encoded = std::mem::take(&mut self.scratch.encoded);
        Carrier {
            view,
            message: None,
            encoded,
            layout: None,
            packet_id_at: None,
            received: None,
            is_as_received: false,
            level: None,
        }
    }

    /// A carrier of a message that lies in a packet as many receivers want it.
    pub(super) fn carrier_of_packet<'a>(
        &mut self,
        view: MessageView<'a>,
        packet: &PlainPublish<'a>,
        version: ProtocolVersion,
    ) -> Carrier<'a> {
        let is_v5 = version == ProtocolVersion::V5;
        let packet_id_at = packet.bytes.len() - packet.payload.len() - usize::from(is_v5) - 2;
        Carrier {
            layout: Some(Layout { is_v5, qos: packet.qos, retain: false }),
            packet_id_at: (packet.qos != QoS::AtMostOnce).then_some(packet_id_at),
            received: Some(PlainRun {
                bytes: packet.bytes,
                count: 1,
                longest: packet.bytes.len(),
                payload_bytes: packet.payload.len(),
                version,
            }),
            is_as_received: true,
            ..self.carrier(view)
        }
    }

    /// A carrier of a message that is owned already.
    pub(super) fn carrier_of<'a>(&mut self, message: &'a Message) -> Carrier<'a> {
        let mut carrier = self.carrier(message.view());
        carrier.message = Some(message.clone());
        carrier
    }

    pub(super) fn give_back(&mut self, carrier: Carrier<'_>) {
        self.scratch.encoded = carrier.encoded;
    }
}

pub(super) fn outgoing<'a>(
    now: Millis,
    view: &MessageView<'a>,
    manner: &'a Manner,
    sending: Sending,
) -> OutgoingPublish<'a> {
    OutgoingPublish {
        dup: sending.dup,
        qos: manner.qos,
        retain: manner.retain,
        topic: view.topic,
        packet_id: sending.packet_id,
        message_expiry_secs: view.expiry_secs_left(now),
        topic_alias: None,
        subscription_ids: manner.subscription_ids.as_slice(),
        properties: view.properties,
        payload_len: view.payload.len(),
    }
}
