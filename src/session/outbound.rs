//! What a client is to get: the inflight window, the queue behind it, and retained messages still to be replayed.
//!
//! Duty: hold messages that cannot be sent now, within bounds, in order. Must not: encode, look at the egress, drop without
//! saying so. Neighbours: `inflight` below; `shard/deliver` fills and empties it.

use std::collections::VecDeque;

use triomphe::ThinArc;

use super::account::{Budget, MESSAGE_OVERHEAD_BYTES};
use super::inflight::Inflight;
use super::kept::{Kept, Place};
use super::{Account, Replays};
use crate::limits::{Limits, QueueFull};
use crate::message::Message;
use crate::seldom::Seldom;
use crate::wire::QoS;

/// The outgoing side of a session.
#[derive(Debug)]
pub struct Outbound {
    /// Sent and not yet acknowledged.
    pub inflight: Inflight,
    /// What the queue means to publishers.
    pub pressure: Pressure,
    /// Whether rights have changed since something in the queue was put there, so that each message is looked at again.
    is_doubted: bool,
    queue: Seldom<VecDeque<Queued>>,
    queue_bytes: usize,
    /// Retained messages still to be sent for new subscriptions; `None`: none.
    pub replays: Option<Box<Replays>>,
}

/// What the queue of a session means to those who publish to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pressure {
    /// Nothing.
    #[default]
    None,
    /// It is long: they wait for their acknowledgements.
    Congested,
    /// It has been long for `backpressure_ms_max`: they do not wait any more.
    Stuck,
}

/// A message that waits for its turn.
#[derive(Clone, Debug)]
pub struct Queued {
    /// The message.
    pub message: Message,
    /// QoS it is to be sent with.
    pub qos: QoS,
    /// RETAIN flag it is to be sent with.
    pub retain: bool,
    /// Subscription Identifiers it is to be sent with.
    pub subscription_ids: SubscriptionIds,
    /// Where it stands in the store.
    pub place: Place,
    /// Whether it may have been sent before the process began.
    pub dup: bool,
}

/// Subscription Identifiers of a message for one client. None takes no memory; a clone is a reference count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionIds(Option<ThinArc<(), u32>>);

impl SubscriptionIds {
    /// These.
    pub fn new(ids: &[u32]) -> Self {
        Self((!ids.is_empty()).then(|| ThinArc::from_header_and_slice((), ids)))
    }

    /// All of them.
    pub fn as_slice(&self) -> &[u32] {
        self.0.as_ref().map_or(&[], |ids| &ids.slice)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// What the queue did with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It waits in the queue.
    Queued,
    /// It waits in the queue; this many older ones were dropped for it.
    DroppedOldest(usize),
    /// The queue is full: it was dropped, and the publisher is told success.
    DroppedNewest,
    /// The queue is full: the publisher is to be told (0x97).
    Refused,
}

impl Outbound {
    /// Nothing to send yet.
    pub fn new(limits: &Limits, budget: &Budget) -> Self {
        Self {
            inflight: Inflight::new(limits.inflight_messages_max, budget.open()),
            pressure: Pressure::None,
            is_doubted: false,
            queue: Seldom::new(),
            queue_bytes: 0,
            replays: None,
        }
    }

    /// Messages in the queue.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Bytes of the queue.
    pub fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    /// What is in the queue, in order.
    pub fn waiting(&self) -> impl Iterator<Item = &Queued> {
        self.queue.iter()
    }

    /// Rights have changed: what is in the queue is looked at again before it is sent.
    pub fn doubt(&mut self) {
        self.is_doubted |= !self.queue.is_empty();
    }

    /// Whether rights have changed since something in the queue was put there.
    pub fn is_doubted(&self) -> bool {
        self.is_doubted
    }

    /// What the session holds of the shard's bytes.
    pub fn account(&mut self) -> &mut Account {
        &mut self.inflight.account
    }

    /// Whether a QoS 1 or 2 message may be sent at once, overtaking nobody.
    pub fn may_send_at_once(&self, place: Place) -> bool {
        self.queue.is_empty()
            && self.inflight.has_room()
            && self.inflight.account.admits(0)
            && (place.is_none() || self.inflight.reaches(place))
    }

    /// Whether the queue has more than one of `parts` parts of what it may have, by number, bytes, or what is left of the
    /// shard's budget.
    pub fn is_above(&self, parts: usize, limits: &Limits) -> bool {
        let account = &self.inflight.account;
        !self.queue.is_empty()
            && (self.queue.len() * parts > limits.queued_messages_max
                || self.queue_bytes * parts > limits.queued_bytes_max
                || !account.admits(account.weight() * (parts - 1)))
    }

    /// Puts a message at the end of the queue, within its bounds; `on_drop` hears of each that is dropped for it.
    pub fn enqueue(&mut self, queued: Queued, limits: &Limits, mut on_drop: impl FnMut(Place)) -> Admission {
        let bytes = queued.message.counted_bytes();
        let cost = bytes + MESSAGE_OVERHEAD_BYTES;
        let mut dropped = 0;
        let never_fits = bytes > limits.queued_bytes_max || limits.queued_messages_max == 0;
        while self.queue.len() >= limits.queued_messages_max
            || self.queue_bytes + bytes > limits.queued_bytes_max
            || !self.inflight.account.admits(cost)
        {
            match limits.queue_full {
                QueueFull::Reject => return Admission::Refused,
                QueueFull::DropNewest => return Admission::DroppedNewest,
                // Nothing is dropped to make room for what has none.
                QueueFull::DropOldest if never_fits || self.queue.is_empty() => return Admission::DroppedNewest,
                QueueFull::DropOldest => {
                    if let Some(oldest) = self.dequeue() {
                        dropped += 1;
                        on_drop(oldest.place);
                    }
                }
            }
        }
        self.queue_bytes += bytes;
        self.inflight.account.charge_message(&queued.message);
        self.queue.push_back(queued);
        if dropped > 0 { Admission::DroppedOldest(dropped) } else { Admission::Queued }
    }

    /// The last message that was, or may have been, sent, by sequence number.
    pub fn sent_through(&self, kept: &Kept) -> u64 {
        let first = self.queue.iter().find(|queued| !queued.place.is_none() && !queued.dup);
        first.map_or(kept.last_sequence(), |queued| kept.sequence_of(queued.place) - 1)
    }

    /// Puts back a message that was queued when the process ended, whatever the bounds are now.
    pub fn restore(&mut self, queued: Queued) {
        self.queue_bytes += queued.message.counted_bytes();
        self.inflight.account.charge_message(&queued.message);
        self.queue.push_back(queued);
    }

    /// Places of all that is in flight and queued.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.inflight.places().chain(self.queue.iter().map(|queued| queued.place))
    }

    /// The first message of the queue.
    pub fn first_queued(&self) -> Option<&Queued> {
        self.queue.front()
    }

    /// Takes the first message of the queue.
    pub fn dequeue(&mut self) -> Option<Queued> {
        if self.queue.is_empty() {
            return None;
        }
        let queued = self.queue.pop_front()?;
        self.queue_bytes -= queued.message.counted_bytes();
        self.inflight.account.release_message(&queued.message);
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue.shrink_to(0);
        }
        Some(queued)
    }
}

#[cfg(test)]
mod tests {
    use super::super::account::LargePayloads;
    use super::*;
    use crate::message::MessageView;

    fn budget() -> Budget {
        Budget::new(usize::MAX, LargePayloads::default(), 1)
    }

    fn queued(topic: &str) -> Queued {
        let view = MessageView {
            topic,
            properties: &[],
            payload: b"0123456789",
            shared_payload: None,
            qos: QoS::AtLeastOnce,
            retain: false,
            expires_at: None,
            publisher: None,
        };
        Queued {
            message: Message::new(&view),
            qos: QoS::AtLeastOnce,
            retain: false,
            subscription_ids: SubscriptionIds::default(),
            place: Place::NONE,
            dup: false,
        }
    }

    /// Slow subscribers make them by the hundred thousand.
    #[test]
    fn a_message_that_waits_takes_three_words() {
        assert!(size_of::<Queued>() <= 24, "{}", size_of::<Queued>());
    }

    fn limits(queue_full: QueueFull) -> Limits {
        Limits { queued_messages_max: 2, queue_full, ..Limits::default() }
    }

    /// Case Q05: the queue is bounded, by its policy.
    #[test]
    fn a_full_queue_follows_its_policy() {
        for (policy, expected, first) in [
            (QueueFull::Reject, Admission::Refused, "1"),
            (QueueFull::DropNewest, Admission::DroppedNewest, "1"),
            (QueueFull::DropOldest, Admission::DroppedOldest(1), "2"),
        ] {
            let limits = limits(policy);
            let mut outbound = Outbound::new(&limits, &budget());
            assert_eq!(outbound.enqueue(queued("1"), &limits, |_| {}), Admission::Queued);
            assert_eq!(outbound.enqueue(queued("2"), &limits, |_| {}), Admission::Queued);
            assert_eq!(outbound.enqueue(queued("3"), &limits, |_| {}), expected);
            assert_eq!(outbound.queued(), 2);
            assert_eq!(outbound.dequeue().expect("two are there").message.topic(), first);
        }
    }

    #[test]
    fn the_oldest_are_dropped_for_one_that_just_fits() {
        let limits = Limits { queued_bytes_max: 22, ..limits(QueueFull::DropOldest) };
        let mut outbound = Outbound::new(&limits, &budget());
        assert_eq!(outbound.enqueue(queued("1"), &limits, |_| {}), Admission::Queued);
        assert_eq!(outbound.enqueue(queued("2"), &limits, |_| {}), Admission::Queued);
        assert_eq!(outbound.enqueue(queued("twelve bytes"), &limits, |_| {}), Admission::DroppedOldest(2));
        assert_eq!(outbound.first_queued().expect("it is there").message.topic(), "twelve bytes");
        outbound.dequeue();
        assert!(outbound.first_queued().is_none());
        for topic in ["3", "4"] {
            assert_eq!(outbound.enqueue(queued(topic), &limits, |_| {}), Admission::Queued, "no byte is still counted");
        }
    }

    /// Back-pressure begins above a part of the queue, by number and by bytes.
    #[test]
    fn a_queue_is_above_a_part_of_what_it_may_have() {
        for limits in [
            Limits { queued_messages_max: 8, ..Limits::default() },
            Limits { queued_bytes_max: 8 * 11, ..Limits::default() },
        ] {
            let mut outbound = Outbound::new(&limits, &budget());
            for held in 0..8 {
                assert_eq!(
                    (outbound.is_above(2, &limits), outbound.is_above(4, &limits)),
                    (held > 4, held > 2),
                    "{held}"
                );
                outbound.enqueue(queued("1"), &limits, |_| {});
            }
        }
    }

    #[test]
    fn a_queue_that_was_long_gives_its_memory_back_when_it_is_empty() {
        let limits = Limits { queued_messages_max: 100, ..Limits::default() };
        for (held, is_given_back) in [(40, false), (65, true)] {
            let mut outbound = Outbound::new(&limits, &budget());
            (0..held).for_each(|_| assert_eq!(outbound.enqueue(queued("1"), &limits, |_| {}), Admission::Queued));
            let before = outbound.queue.capacity();
            (1..held).for_each(|_| drop(outbound.dequeue()));
            assert_eq!(outbound.queue.capacity(), before, "while it is not empty");
            outbound.dequeue();
            assert_eq!(outbound.queue.capacity() < before, is_given_back, "{held} were held");
        }
    }

    #[test]
    fn no_older_message_is_dropped_for_one_that_can_never_fit() {
        let limits = Limits { queued_bytes_max: 25, ..limits(QueueFull::DropOldest) };
        let mut outbound = Outbound::new(&limits, &budget());
        assert_eq!(outbound.enqueue(queued("1"), &limits, |_| {}), Admission::Queued);
        assert_eq!(outbound.enqueue(queued("a topic that is too long"), &limits, |_| {}), Admission::DroppedNewest);
        assert_eq!(outbound.queued(), 1);
    }

    #[test]
    fn bytes_bound_the_queue_too_and_are_given_back() {
        let limits = Limits { queued_bytes_max: 25, ..Limits::default() };
        let mut outbound = Outbound::new(&limits, &budget());
        assert_eq!(outbound.enqueue(queued("1"), &limits, |_| {}), Admission::Queued);
        assert_eq!(outbound.enqueue(queued("2"), &limits, |_| {}), Admission::Queued);
        assert_eq!(outbound.enqueue(queued("3"), &limits, |_| {}), Admission::Refused);
        outbound.dequeue();
        assert_eq!(outbound.enqueue(queued("3"), &limits, |_| {}), Admission::Queued);
    }
}
