//! Checks of each message that arrives at a client.
//!
//! Duty: it is whole, it was asked for, it is no forbidden copy, it is in order. Must not: judge what did not arrive
//! (`verdict`). Neighbours: `client` calls.

use ringmq::wire::QoS;

use crate::line::Line;
use crate::oracle::{Oracle, Published, Session};

/// A PUBLISH as a client received it.
#[derive(Debug)]
pub(crate) struct Delivery<'a> {
    pub(crate) line: usize,
    pub(crate) topic: &'a str,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) payload: &'a [u8],
    /// What is left of its lifetime.
    pub(crate) expiry_secs: Option<u32>,
    /// Whether the application gets it: not if its QoS 2 packet id waits for PUBREL.
    pub(crate) is_taken: bool,
}

/// The first bytes of a published payload, then its number, then padding.
const PUBLISHED: u8 = b'M';
/// The first byte of a will's payload, then the number of its line.
const WILL: u8 = b'W';

/// The payload of message `number`, `padding` bytes longer than need be.
pub(crate) fn payload(number: u32, padding: usize) -> Vec<u8> {
    let mut bytes = vec![PUBLISHED];
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.resize(5 + padding, number as u8);
    bytes
}

/// The payload of the will of a line.
pub(crate) fn will_payload(line: usize) -> Vec<u8> {
    let mut bytes = vec![WILL];
    bytes.extend_from_slice(&u32::try_from(line).expect("few").to_be_bytes());
    bytes
}

/// The number in the payload of a message.
pub(crate) fn number_of(payload: &[u8]) -> Option<u32> {
    let number = payload.get(1..5)?.try_into().ok()?;
    (payload[0] == PUBLISHED).then(|| u32::from_be_bytes(number))
}

impl Oracle {
    /// A message has arrived.
    pub(crate) fn deliver(&mut self, delivery: &Delivery<'_>, lines: &[Line]) {
        self.deliveries += 1;
        let session = lines[delivery.line].session.expect("messages come after CONNACK");
        if delivery.topic.starts_with("w/") {
            self.deliver_will(delivery);
            return;
        }
        if delivery.payload.is_empty() {
            assert!(delivery.topic.starts_with("r/"), "only deletions of retained messages are empty");
            return;
        }
        let number = number_of(delivery.payload).expect("a payload of the simulation");
        self.check_integrity(delivery, number);
        self.check_wanted(delivery, number, session);
        self.check_copies(delivery, number, session);
        if delivery.topic.starts_with("r/") {
            self.check_retained_order(delivery, number, session);
        } else if delivery.is_taken {
            self.check_order(delivery, number, session);
        }
        self.tick();
    }

    fn deliver_will(&mut self, delivery: &Delivery<'_>) {
        assert_eq!(delivery.payload[0], WILL, "a will's payload");
        let line = u32::from_be_bytes(delivery.payload[1..5].try_into().expect("four bytes")) as usize;
        assert_eq!(delivery.topic, format!("w/{line}"), "a will's topic");
        let count = self.wills.entry(line).or_default();
        *count += u32::from(delivery.is_taken && !delivery.dup);
        assert!(*count <= 1, "the will of line {line} was published twice");
    }

    fn check_integrity(&self, delivery: &Delivery<'_>, number: u32) {
        let published = &self.published[number as usize];
        assert_eq!(delivery.topic, published.topic, "message {number} arrived under another topic");
        assert_eq!(
            delivery.payload,
            payload(number, delivery.payload.len() - 5),
            "the payload of message {number} is damaged"
        );
        assert!(delivery.qos <= published.qos, "message {number} arrived with more QoS than it was published with");
        assert!(!delivery.dup || delivery.qos != QoS::AtMostOnce, "DUP with QoS 0, message {number}: {published:?}");
        let left = delivery.expiry_secs;
        assert!(
            left.is_none_or(|left| published.expiry_secs.is_some_and(|all| left <= all)),
            "message {number} has {left:?} s left of {:?}",
            published.expiry_secs
        );
        assert!(published.expiry_secs != Some(0), "message {number} had no lifetime at all");
    }

    /// Some subscription of the session may have asked for it: sent, and not answered as ended before the message was sent.
    /// A retained message that is replayed with QoS 0 was never in flight, so the answer must not have come at all.
    fn check_wanted(&self, delivery: &Delivery<'_>, number: u32, session: usize) {
        let published = &self.published[number as usize];
        let record = &self.sessions[session];
        let is_fresh_replay = delivery.qos == QoS::AtMostOnce && is_replay(delivery, record);
        let mut wanting = record.subscriptions.iter().filter(|known| {
            let may_linger = |at| published.sent_at < at && !is_fresh_replay;
            known.matches(delivery.topic) && known.unsubscribed_at.is_none_or(may_linger)
        });
        assert!(
            wanting.any(|known| known.qos_max >= delivery.qos),
            "message {number} ({published:?}) arrived at session {session} without a subscription: {:?}",
            record.subscriptions
        );
        let is_own = published.session == session;
        let mut matching = record.subscriptions.iter().filter(|known| known.matches(delivery.topic));
        assert!(
            !is_own || matching.any(|known| !known.options.no_local),
            "message {number} came back to its publisher in spite of No Local"
        );
    }

    fn check_copies(&mut self, delivery: &Delivery<'_>, number: u32, session: usize) {
        let published = &self.published[number as usize];
        let record = &mut self.sessions[session];
        let is_resumed = record.lines.len() > 1;
        let got = record.got.entry(number).or_default();
        got.fresh += u32::from(!delivery.dup);
        got.repeated += u32::from(delivery.dup);
        got.taken += u32::from(delivery.is_taken);
        got.exact += u32::from(delivery.is_taken && delivery.qos == QoS::ExactlyOnce);
        assert!(!delivery.dup || is_resumed, "message {number} came with DUP on the first connection of its session");
        if published.retain {
            return;
        }
        // What was sent below QoS 2 before the power failed was not yet safe, and its publisher did not know that it had arrived.
        let may_repeat = published.qos == QoS::AtLeastOnce || self.checks.crashes > 0;
        let copies_max = if may_repeat { 1 + published.resends } else { 1 };
        assert!(
            got.fresh <= copies_max,
            "message {number} ({published:?}) arrived {} times at session {session}",
            got.fresh
        );
        if published.qos == QoS::ExactlyOnce && delivery.qos == QoS::ExactlyOnce {
            assert!(
                got.exact <= 1 || record.is_forgotten,
                "QoS 2 message {number} reached the application of session {session} twice"
            );
            self.checks.exactly_once += u64::from(delivery.dup || got.repeated > 0 || published.resends > 0);
        }
        if is_shared(delivery.topic) && delivery.is_taken && !delivery.dup {
            let receivers = self.shared.entry(number).or_default();
            receivers.push(session);
            assert!(
                receivers.len() <= copies_max as usize,
                "message {number} of a shared subscription reached sessions {receivers:?}"
            );
        }
    }

    /// First deliveries of a publisher's messages to a topic are in order, per QoS [MQTT-4.6.0-6].
    fn check_order(&mut self, delivery: &Delivery<'_>, number: u32, session: usize) {
        let published = &self.published[number as usize];
        let record = &mut self.sessions[session];
        let is_first = record.got[&number].taken == 1;
        // What a member of a group passes on comes late; nothing promises an order there.
        if !is_first || published.resends > 0 || is_shared(delivery.topic) {
            return;
        }
        let key = (published.publisher, published.topic.clone(), published.qos, delivery.qos);
        if let Some(newest) = record.newest.insert(key, number) {
            assert!(
                newest < number,
                "order: session {session} got message {number} of {} after {newest}; {published:?}",
                published.topic
            );
            self.checks.order += 1;
        }
    }

    /// A retained message that is replayed is not older than what the session has seen.
    fn check_retained_order(&mut self, delivery: &Delivery<'_>, number: u32, session: usize) {
        let published = &self.published[number as usize];
        let record = &mut self.sessions[session];
        if delivery.dup {
            return;
        }
        let is_replay = is_replay(delivery, record);
        let newest = record.newest_retained.entry((delivery.topic.to_owned(), delivery.qos)).or_default();
        let was_over =
            |published: &Published| published.resends == 0 && published.acked_at.is_some_and(|at| at < *newest);
        assert!(
            !is_replay || !was_over(published),
            "retained message {number} of {} was replayed to session {session} after a newer one",
            delivery.topic
        );
        self.checks.retained_replays += u64::from(is_replay);
        *newest = (*newest).max(published.sent_at);
    }
}

/// Whether a subscription's retained messages are being sent: nothing else has the flag, unless it is kept as published.
fn is_replay(delivery: &Delivery<'_>, record: &Session) -> bool {
    let mut matching = record.subscriptions.iter().filter(|known| known.matches(delivery.topic));
    delivery.retain && !matching.any(|known| known.options.retain_as_published)
}

pub(crate) fn is_shared(topic: &str) -> bool {
    topic.starts_with("s/") || topic.starts_with("u/")
}
