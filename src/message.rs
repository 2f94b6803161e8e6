//! `Message`: what travels inside the broker once it has to outlive the receive buffer.
//!
//! Duty: own topic, forwardable properties and payload of an application message, cheap to clone and to send to another
//! shard. Must not: know packets (packet id, DUP, alias belong to `wire` and `session`). Neighbours: `shard` makes it,
//! queues, inflight windows, retained tries and the mesh hold it.

use std::sync::Arc;

use bytes::Bytes;

use crate::id::{Millis, PublisherId};
use crate::limits::SHARED_PAYLOAD_BYTES_MIN;
use crate::wire::QoS;

/// An application message. A clone is a reference count.
#[derive(Clone, Debug)]
pub struct Message(Arc<Parts>);

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

#[derive(Debug)]
struct Parts {
    topic: Box<str>,
    properties: Box<[u8]>,
    payload: Bytes,
    qos: QoS,
    retain: bool,
    expires_at: Option<Millis>,
    publisher: Option<PublisherId>,
}

impl Message {
    /// The message with the parts of `view`; copies the payload unless `shared_payload` has it.
    pub fn new(view: &MessageView<'_>) -> Self {
        let payload = match view.shared_payload {
            Some(shared) => shared.clone(),
            None => Bytes::copy_from_slice(view.payload),
        };
        Self(Arc::new(Parts {
            topic: view.topic.into(),
            properties: view.properties.into(),
            payload,
            qos: view.qos,
            retain: view.retain,
            expires_at: view.expires_at,
            publisher: view.publisher,
        }))
    }

    /// The parts, borrowed.
    pub fn view(&self) -> MessageView<'_> {
        let parts = &*self.0;
        MessageView {
            topic: &parts.topic,
            properties: &parts.properties,
            payload: &parts.payload,
            shared_payload: Some(&parts.payload),
            qos: parts.qos,
            retain: parts.retain,
            expires_at: parts.expires_at,
            publisher: parts.publisher,
        }
    }

    /// Topic name.
    pub fn topic(&self) -> &str {
        &self.0.topic
    }

    /// Bytes that queues count: topic, properties and payload.
    pub fn counted_bytes(&self) -> usize {
        let (own, large) = self.held_bytes();
        own + large
    }

    /// Bytes that a holder has of its own, and those of a large payload, which all holders share.
    pub fn held_bytes(&self) -> (usize, usize) {
        let parts = &*self.0;
        let (own, payload) = (parts.topic.len() + parts.properties.len(), parts.payload.len());
        if payload < SHARED_PAYLOAD_BYTES_MIN { (own + payload, 0) } else { (own, payload) }
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
