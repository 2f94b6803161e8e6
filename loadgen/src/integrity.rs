//! The detector: what one subscriber got on each topic, against what it had to get.
//! Must not know sockets or clocks. Neighbours: `engine::subscriber` feeds it, `group` sums up shared subscriptions.

use std::collections::HashMap;

use serde::Serialize;

/// What went wrong, counted in messages; all zero is a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Sent, expected here, never arrived.
    pub lost: u64,
    /// Arrived again.
    pub duplicated: u64,
    /// Arrived after a later message of the same publisher and topic.
    pub reordered: u64,
    /// Arrived with another payload, topic, QoS, RETAIN or DUP flag than it was sent with.
    pub altered: u64,
    /// Arrived at a subscriber whose filter does not match, or comes from another run.
    pub unexpected: u64,
    /// Refused by the broker with a reason code of 0x80 or above.
    pub refused: u64,
    /// Handshakes of QoS 1 and 2 that were not complete at the end, in either direction.
    pub unacknowledged: u64,
    /// Packets that broke the protocol.
    pub protocol_errors: u64,
    /// Connections that the broker closed, or that did not answer the last PINGREQ.
    pub connections_lost: u64,
}

impl Tally {
    /// Adds another tally, field by field.
    pub fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.altered += other.altered;
        self.unexpected += other.unexpected;
        self.refused += other.refused;
        self.unacknowledged += other.unacknowledged;
        self.protocol_errors += other.protocol_errors;
        self.connections_lost += other.connections_lost;
    }

    /// True when nothing went wrong.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

/// What [`Ledger::observe`] saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The next message, or one after a hole.
    Fresh,
    /// A message that had been passed over.
    Late,
    /// A message that had been here before.
    Again,
    /// No message on this topic belongs here.
    Stray,
}

impl Arrival {
    /// True when the message had not been here before.
    #[inline]
    pub fn is_first(self) -> bool {
        matches!(self, Self::Fresh | Self::Late)
    }
}

/// The lane of a topic that no filter of the subscriber matches.
const CLOSED: u64 = u64::MAX;

/// All that one subscriber has received, by topic; each topic belongs to one publisher.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The topic of the first lane; lanes span the expected topics only.
    first: u32,
    /// The sequence number that comes next on each topic if nothing is wrong, or `CLOSED`.
    next: Vec<u64>,
    /// By topic, what was passed over below `next`: first missing and one past the last missing, ascending, disjoint.
    holes: HashMap<u32, Vec<(u64, u64)>>,
}

impl Ledger {
    /// A ledger that expects messages on these topics, given in ascending order.
    pub fn new(topics: &[u32]) -> Self {
        let (Some(&first), Some(&last)) = (topics.first(), topics.last()) else { return Self::default() };
        let mut next = vec![CLOSED; (last - first) as usize + 1];
        for topic in topics {
            next[(topic - first) as usize] = 0;
        }
        Self { first, next, holes: HashMap::new() }
    }

    /// Notes the arrival of message `sequence` on `topic`.
    #[inline]
    pub fn observe(&mut self, topic: u32, sequence: u64) -> Arrival {
        let index = topic.wrapping_sub(self.first) as usize;
        let Some(next) = self.next.get_mut(index) else { return Arrival::Stray };
        if sequence == *next && sequence != CLOSED {
            *next += 1;
            return Arrival::Fresh;
        }
        self.observe_out_of_turn(topic, sequence)
    }

    /// Notes the arrival at a member of a shared subscription, which gets only some of the messages: it is late when it
    /// comes after a later one, and whether it has been here before only the whole group can say.
    pub fn observe_ascending(&mut self, topic: u32, sequence: u64) -> Arrival {
        let index = topic.wrapping_sub(self.first) as usize;
        let Some(next) = self.next.get_mut(index).filter(|next| **next != CLOSED && sequence != CLOSED) else {
            return Arrival::Stray;
        };
        let arrival = if sequence >= *next { Arrival::Fresh } else { Arrival::Late };
        *next = (*next).max(sequence + 1);
        arrival
    }

    /// The topics expected here.
    pub fn topics(&self) -> impl Iterator<Item = u32> {
        self.lanes().map(|(topic, _)| topic)
    }

    fn lanes(&self) -> impl Iterator<Item = (u32, u64)> {
        (self.first..).zip(self.next.iter().copied()).filter(|(_, next)| *next != CLOSED)
    }

    /// Messages that are missing, given how many were sent on each topic.
    pub fn lost(&self, sent: impl Fn(u32) -> u64) -> u64 {
        let passed_over: u64 = self.holes.values().flatten().map(|hole| hole.1 - hole.0).sum();
        passed_over + self.lanes().map(|(topic, next)| sent(topic).saturating_sub(next)).sum::<u64>()
    }

    #[cold]
    fn observe_out_of_turn(&mut self, topic: u32, sequence: u64) -> Arrival {
        let next = &mut self.next[(topic - self.first) as usize];
        if *next == CLOSED || sequence == CLOSED {
            return Arrival::Stray;
        }
        if sequence > *next {
            self.holes.entry(topic).or_default().push((*next, sequence));
            *next = sequence + 1;
            return Arrival::Fresh;
        }
        let Some(holes) = self.holes.get_mut(&topic) else { return Arrival::Again };
        let after = holes.partition_point(|hole| hole.0 <= sequence);
        let Some(at) = after.checked_sub(1).filter(|&at| sequence < holes[at].1) else { return Arrival::Again };
        let (from, to) = holes[at];
        let left = [(from, sequence), (sequence + 1, to)].into_iter().filter(|hole| hole.0 < hole.1);
        holes.splice(at..=at, left);
        Arrival::Late
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arrivals(sequences: &[u64]) -> (Vec<Arrival>, Ledger) {
        let mut ledger = Ledger::new(&[3]);
        let seen = sequences.iter().map(|&sequence| ledger.observe(3, sequence)).collect();
        (seen, ledger)
    }

    #[test]
    fn messages_in_order_are_clean() {
        let (seen, ledger) = arrivals(&[0, 1, 2]);
        assert_eq!(seen, [Arrival::Fresh; 3]);
        assert_eq!(ledger.lost(|_| 3), 0);
    }

    #[test]
    fn a_dropped_message_is_lost_in_the_middle_and_at_the_end() {
        let (seen, ledger) = arrivals(&[0, 2]);
        assert_eq!(seen, [Arrival::Fresh; 2]);
        assert_eq!(ledger.lost(|_| 3), 1);
        assert_eq!(ledger.lost(|_| 5), 3);
    }

    #[test]
    fn a_message_never_seen_on_a_silent_topic_is_lost() {
        assert_eq!(Ledger::new(&[0, 1]).lost(|topic| if topic == 1 { 4 } else { 0 }), 4);
    }

    #[test]
    fn a_repeated_message_is_a_duplicate_and_no_loss() {
        let (seen, ledger) = arrivals(&[0, 1, 1, 0, 2]);
        assert_eq!(seen, [Arrival::Fresh, Arrival::Fresh, Arrival::Again, Arrival::Again, Arrival::Fresh]);
        assert_eq!(ledger.lost(|_| 3), 0);
    }

    #[test]
    fn two_messages_swapped_are_one_late_arrival() {
        let (seen, ledger) = arrivals(&[0, 2, 1, 3]);
        assert_eq!(seen, [Arrival::Fresh, Arrival::Fresh, Arrival::Late, Arrival::Fresh]);
        assert_eq!(ledger.lost(|_| 4), 0);
    }

    #[test]
    fn a_late_message_that_comes_twice_is_late_and_then_a_duplicate() {
        let (seen, ledger) = arrivals(&[5, 2, 2, 0, 4]);
        assert_eq!(seen, [Arrival::Fresh, Arrival::Late, Arrival::Again, Arrival::Late, Arrival::Late]);
        assert_eq!(ledger.lost(|_| 6), 2);
    }

    #[test]
    fn a_topic_outside_or_between_the_expected_ones_is_stray() {
        let mut ledger = Ledger::new(&[2, 4]);
        assert_eq!([1, 3, 5].map(|topic| ledger.observe(topic, 0)), [Arrival::Stray; 3]);
        assert_eq!(ledger.observe(4, 0), Arrival::Fresh);
        assert_eq!(ledger.topics().collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn a_member_of_a_group_may_miss_messages_but_sees_them_ascending() {
        let mut ledger = Ledger::new(&[2, 4]);
        let seen = [0, 3, 2, 9].map(|sequence| ledger.observe_ascending(4, sequence));
        assert_eq!(seen, [Arrival::Fresh, Arrival::Fresh, Arrival::Late, Arrival::Fresh]);
        assert_eq!(ledger.observe_ascending(3, 0), Arrival::Stray);
    }

    /// A broker may send any bytes.
    #[test]
    fn the_largest_sequence_number_is_stray_on_every_topic() {
        let mut ledger = Ledger::new(&[2, 4]);
        for topic in 1..6 {
            assert_eq!(ledger.observe(topic, u64::MAX), Arrival::Stray);
            assert_eq!(ledger.observe_ascending(topic, u64::MAX), Arrival::Stray);
        }
    }

    proptest! {
        /// The ledger agrees with a set of everything seen.
        #[test]
        fn the_ledger_equals_a_naive_count(sequences in proptest::collection::vec(0u64..40, 0..80)) {
            let mut ledger = Ledger::new(&[0]);
            let mut seen = std::collections::HashSet::new();
            let mut highest = None;
            for &sequence in &sequences {
                let arrival = ledger.observe(0, sequence);
                let expected = match (seen.insert(sequence), highest) {
                    (false, _) => Arrival::Again,
                    (true, Some(top)) if sequence < top => Arrival::Late,
                    _ => Arrival::Fresh,
                };
                prop_assert_eq!(arrival, expected);
                highest = highest.max(Some(sequence));
            }
            prop_assert_eq!(ledger.lost(|_| 40), 40 - seen.len() as u64);
        }
    }
}
