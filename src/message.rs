//! `Message`: what travels inside the broker once it has to outlive the receive buffer.
//!
//! Duty: own topic, forwardable properties and payload of an application message, cheap to clone and to send to another
//! shard. Must not: know packets (packet id, DUP, alias belong to `wire` and `session`). Neighbours: `shard` makes it,
//! queues, inflight windows, retained tries and the mesh hold it.

use std::sync::Arc;

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

/// Who published a retained message, to ask later whether they still may.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Which rules: an index of `auth::Policy::rules`.
    pub rules: usize,
    /// User name, if there was one.
    pub user: Option<Box<str>>,
    /// Client id.
    pub client_id: Box<str>,
}

/// What stands before a message's topic, properties and payload, in 16 bytes, as millions may wait: who published most messages stands
/// where others have what is rare, and QoS and RETAIN are one byte, which leaves one for the enum's tag.
#[derive(Debug)]
enum Head {
    Usual { publisher: Option<PublisherId>, properties_len: u32, topic_len: u16, flags: Flags },
    Rare { rare: Box<Rare>, properties_len: u32, topic_len: u16, flags: Flags },
}

/// QoS and, one bit below it, RETAIN.
#[derive(Clone, Copy, Debug)]
struct Flags(u8);

/// What most messages do not have, and who published those that have it.
#[derive(Debug)]
struct Rare {
    publisher: Option<PublisherId>,
    expires_at: Option<Millis>,
    /// The payload, if it is one that is referenced rather than copied.
    shared_payload: Option<Bytes>,
    /// Who published it, if that is asked for when it is sent.
    source: Option<Arc<Source>>,
}

impl Message {
    /// The message with the parts of `view`; copies the payload unless it is large and `shared_payload` has it.
    pub fn new(view: &MessageView<'_>) -> Self {
        Self::of_source(view, None)
    }

    /// As [`Message::new`], with who published it.
    pub fn of_source(view: &MessageView<'_>, source: Option<Arc<Source>>) -> Self {
        let shared_payload = view
            .is_large()
            .then(|| view.shared_payload.cloned().unwrap_or_else(|| Bytes::copy_from_slice(view.payload)));
        let payload = if shared_payload.is_some() { &[] } else { view.payload };
        let is_rare = shared_payload.is_some() || view.expires_at.is_some() || source.is_some();
        let properties_len = u32::try_from(view.properties.len()).expect("properties are shorter than a packet");
        let topic_len = u16::try_from(view.topic.len()).expect("a topic has 65,535 bytes at most");
        let (publisher, flags) = (view.publisher, Flags::new(view.qos, view.retain));
        let head = if is_rare {
            let rare = Box::new(Rare { publisher, expires_at: view.expires_at, shared_payload, source });
            Head::Rare { rare, properties_len, topic_len, flags }
        } else {
            Head::Usual { publisher, properties_len, topic_len, flags }
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
        if !properties.is_empty() {
            properties.copy_from_slice(parts[1]);
        }
        rest.copy_from_slice(parts[2]);
        Self(ThinArc::from_header_and_slice(head, room))
    }

    /// The parts, borrowed.
    pub fn view(&self) -> MessageView<'_> {
        let (Head::Usual { properties_len, topic_len, flags, .. }
        | Head::Rare { properties_len, topic_len, flags, .. }) = self.head();
        let (topic, rest) = self.0.slice.split_at(usize::from(*topic_len));
        let (properties, own_payload) = rest.split_at(*properties_len as usize);
        let (publisher, expires_at, shared_payload) = match self.head() {
            Head::Usual { publisher, .. } => (*publisher, None, None),
            Head::Rare { rare, .. } => (rare.publisher, rare.expires_at, rare.shared_payload.as_ref()),
        };
        MessageView {
            topic: std::str::from_utf8(topic).expect("it was a str"),
            properties,
            payload: shared_payload.map_or(own_payload, |payload| payload),
            shared_payload,
            qos: flags.qos(),
            retain: flags.retain(),
            expires_at,
            publisher,
        }
    }

    fn head(&self) -> &Head {
        &self.0.header.header
    }

    fn rare(&self) -> Option<&Rare> {
        match self.head() {
            Head::Usual { .. } => None,
            Head::Rare { rare, .. } => Some(rare),
        }
    }

    /// Who published it, if that was noted.
    pub fn source(&self) -> Option<&Source> {
        self.rare()?.source.as_deref()
    }

    /// As [`Message::source`], shared.
    pub fn source_arc(&self) -> Option<Arc<Source>> {
        self.rare()?.source.clone()
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
        let large = self.rare().and_then(|rare| rare.shared_payload.as_ref()).map_or(0, Bytes::len);
        (self.0.slice.len(), large)
    }
}

impl Flags {
    fn new(qos: QoS, retain: bool) -> Self {
        Self((qos as u8) << 1 | u8::from(retain))
    }

    fn qos(self) -> QoS {
        match self.0 >> 1 {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    fn retain(self) -> bool {
        self.0 & 1 != 0
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
    use std::num::NonZeroU64;

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

    #[test]
    fn a_message_is_one_word_to_its_holders() {
        assert_eq!(size_of::<Option<Message>>(), size_of::<usize>());
    }

    #[test]
    fn a_head_takes_two_words() {
        assert_eq!(size_of::<Head>(), 16);
    }

    /// Every field, with parts that end on either side of what is gathered on the stack, and payloads of either side of what is
    /// referenced.
    #[test]
    fn a_message_has_the_parts_that_it_was_made_of() {
        let payloads = [0, 1, SHARED_PAYLOAD_BYTES_MIN - 1, SHARED_PAYLOAD_BYTES_MIN, SHARED_PAYLOAD_BYTES_MIN + 1];
        let gathered = (0..3).map(|more| GATHERED_BYTES - 1 + more);
        let topics = ["t".to_owned(), "long/".repeat(40), "\u{e4}".repeat(32_767)];
        let lengths: Vec<usize> = payloads.into_iter().chain(gathered).collect();
        for (topic, properties_len) in topics.iter().flat_map(|topic| [(topic, 0), (topic, 9)]) {
            for &whole in &lengths {
                let parts_before = topic.len() + properties_len;
                for payload_len in [whole, whole.saturating_sub(parts_before)] {
                    check_parts(topic, properties_len, payload_len);
                }
            }
        }
    }

    fn check_parts(topic: &str, properties_len: usize, payload_len: usize) {
        let bytes: Vec<u8> = (0..properties_len + payload_len).map(|index| index as u8 | 1).collect();
        let (properties, payload) = bytes.split_at(properties_len);
        let shared = Bytes::copy_from_slice(payload);
        for (expires_at, publisher, retain, shared_payload) in [
            (None, None, false, None),
            (Some(Millis(0)), Some(PublisherId(NonZeroU64::MIN)), true, Some(&shared)),
            (Some(Millis(u64::MAX - 1)), Some(PublisherId(NonZeroU64::MAX)), true, None),
        ] {
            let payload = shared_payload.map_or(payload, |shared| &shared[..]);
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let view =
                    MessageView { topic, properties, payload, shared_payload, qos, retain, expires_at, publisher };
                let message = Message::new(&view);
                let is_large = payload_len >= SHARED_PAYLOAD_BYTES_MIN;
                let found = message.view();
                assert_eq!((found.topic, found.properties, found.payload), (topic, properties, payload));
                assert_eq!((found.qos, found.retain), (qos, retain));
                assert_eq!((found.expires_at, found.publisher), (expires_at, publisher));
                assert_eq!((found.is_large(), found.shared_payload.is_some()), (is_large, is_large));
                assert_eq!(found.shared_payload.map_or(payload, |shared| &shared[..]), payload);
                assert_eq!(message.topic(), topic);
                let own = topic.len() + properties_len;
                let held = if is_large { (own, payload_len) } else { (own + payload_len, 0) };
                assert_eq!(message.held_bytes(), held);
                assert_eq!((message.counted_bytes(), view.counted_bytes()), (own + payload_len, own + payload_len));
            }
        }
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
