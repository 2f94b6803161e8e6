//! `Message`: what travels inside the broker once it has to outlive the receive buffer.
//!
//! Duty: own topic, forwardable properties and payload of an application message, cheap to clone and to send to another
//! shard. Must not: know packets (packet id, DUP, alias belong to `wire` and `session`). Neighbours: `shard` makes it,
//! queues, inflight windows, retained tries and the mesh hold it.

use bytes::Bytes;
use triomphe::ThinArc;

use crate::id::{Millis, PublisherId};
use crate::limits::SHARED_PAYLOAD_BYTES_MIN;
use crate::wire::QoS;

/// A message up to which its bytes are gathered on the stack before they are copied to their place.
const GATHERED_BYTES: usize = 256;

/// An application message: one allocation, but for a payload that is shared. A clone is a reference count.
#[derive(Clone, Debug)]
pub struct Message(ThinArc<Head, u8>);

/// The parts of a [`Message`] or of one that still lies in a receive buffer.
#[derive(Clone, Copy, Debug)]
pub struct MessageView<'a> {
    /// Topic name, validated.
    pub topic: &'a str,
    /// Properties that a broker forwards unchanged, encoded, without their length [MQTT-3.3.2-17 and others].
    pub properties: &'a [u8],
    /// Application payload.
    pub payload: &'a [u8],
    /// The shared allocation behind `payload`, if there is one: it is referenced instead of copied.
    pub shared_payload: Option<&'a Bytes>,
    /// QoS that the publisher chose.
    pub qos: QoS,
    /// RETAIN flag of the publisher's packet.
    pub retain: bool,
    /// When the message ends, if it ever does (Message Expiry Interval, section 3.3.2.3.3).
    pub expires_at: Option<Millis>,
    /// The client that published it, for No Local (section 3.8.3.1).
    pub publisher: Option<PublisherId>,
}

/// What stands before a message's topic, properties and payload.
#[derive(Debug)]
struct Head {
    publisher: Option<PublisherId>,
    rare: Option<Box<Rare>>,
    properties_len: u32,
    topic_len: u16,
    qos: QoS,
    retain: bool,
}

/// What most messages do not have; eight bytes less of each count where a million wait.
#[derive(Debug)]
struct Rare {
    expires_at: Option<Millis>,
    /// The payload, if it is one that is referenced rather than copied.
    shared_payload: Option<Bytes>,
}

impl Message {
    /// The message with the parts of `view`; copies the payload unless it is large and `shared_payload` has it.
    pub fn new(view: &MessageView<'_>) -> Self {
        let shared_payload = view
            .is_large()
            .then(|| view.shared_payload.cloned().unwrap_or_else(|| Bytes::copy_from_slice(view.payload)));
        let payload = if shared_payload.is_some() { &[] } else { view.payload };
        let is_rare = shared_payload.is_some() || view.expires_at.is_some();
        let head = Head {
            publisher: view.publisher,
            rare: is_rare.then(|| Box::new(Rare { expires_at: view.expires_at, shared_payload })),
            properties_len: u32::try_from(view.properties.len()).expect("properties are shorter than a packet"),
            topic_len: u16::try_from(view.topic.len()).expect("a topic has 65,535 bytes at most"),
            qos: view.qos,
            retain: view.retain,
        };
        let parts = [view.topic.as_bytes(), view.properties, payload];
        let len = parts.iter().map(|part| part.len()).sum();
        let mut gathered = [0; GATHERED_BYTES];
        let Some(room) = gathered.get_mut(..len) else {
            return Self(ThinArc::from_header_and_slice(head, &parts.concat()));
        };
        let (topic, rest) = room.split_at_mut(parts[0].len());
        let (properties, rest) = rest.split_at_mut(parts[1].len());
        topic.copy_from_slice(parts[0]);
        properties.copy_from_slice(parts[1]);
        rest.copy_from_slice(parts[2]);
        Self(ThinArc::from_header_and_slice(head, room))
    }

    /// The parts, borrowed.
    pub fn view(&self) -> MessageView<'_> {
        let head = &self.0.header.header;
        let (topic, rest) = self.0.slice.split_at(usize::from(head.topic_len));
        let (properties, own_payload) = rest.split_at(head.properties_len as usize);
        let rare = head.rare.as_deref();
        let shared_payload = rare.and_then(|rare| rare.shared_payload.as_ref());
        MessageView {
            topic: std::str::from_utf8(topic).expect("it was a str"),
            properties,
            payload: shared_payload.map_or(own_payload, |payload| payload),
            shared_payload,
            qos: head.qos,
            retain: head.retain,
            expires_at: rare.and_then(|rare| rare.expires_at),
            publisher: head.publisher,
        }
    }

    /// Topic name.
    pub fn topic(&self) -> &str {
        self.view().topic
    }

    /// Bytes that queues count: topic, properties and payload.
    pub fn counted_bytes(&self) -> usize {
        let (own, large) = self.held_bytes();
        own + large
    }

    /// Bytes that a holder has of its own, and those of a large payload, which all holders share.
    pub fn held_bytes(&self) -> (usize, usize) {
        let rare = self.0.header.header.rare.as_deref();
        let large = rare.and_then(|rare| rare.shared_payload.as_ref()).map_or(0, Bytes::len);
        (self.0.slice.len(), large)
    }
}

impl MessageView<'_> {
    /// Bytes that queues and budgets count: topic, properties and payload.
    pub fn counted_bytes(&self) -> usize {
        self.topic.len() + self.properties.len() + self.payload.len()
    }

    /// Whether the message has ended at `now`.
    pub fn is_expired(&self, now: Millis) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Seconds that are left, rounded up, as a forwarded packet must say [MQTT-3.3.2-6].
    pub fn expiry_secs_left(&self, now: Millis) -> Option<u32> {
        let end = self.expires_at?;
        let left_millis = end.0.saturating_sub(now.0);
        Some(u32::try_from(left_millis.div_ceil(1000)).unwrap_or(u32::MAX))
    }

    /// Whether the payload is referenced on its way out rather than copied.
    pub fn is_large(&self) -> bool {
        self.payload.len() >= SHARED_PAYLOAD_BYTES_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(payload: &Bytes) -> MessageView<'_> {
        MessageView {
            topic: "a/b",
            properties: &[],
            payload,
            shared_payload: Some(payload),
            qos: QoS::AtMostOnce,
            retain: false,
            expires_at: None,
            publisher: None,
        }
    }

    #[test]
    fn a_shared_payload_is_referenced_not_copied() {
        let payload = Bytes::from(vec![7; 10_000]);
        let message = Message::new(&view(&payload));
        assert_eq!(message.view().payload.as_ptr(), payload.as_ptr());
    }

    /// [MQTT-3.3.2-6]: the interval sent is the one received less the time waited.
    #[test]
    fn expiry_counts_down_and_never_says_zero_before_the_end() {
        let payload = Bytes::new();
        let mut view = view(&payload);
        view.expires_at = Some(Millis(10_000));
        assert_eq!(view.expiry_secs_left(Millis(0)), Some(10));
        assert_eq!(view.expiry_secs_left(Millis(9_999)), Some(1));
        assert!(!view.is_expired(Millis(9_999)));
        assert!(view.is_expired(Millis(10_000)));
    }
}
