//! The detector: what one subscriber got from each publisher, against what it had to get.
//! Must not know sockets or clocks. Neighbours: `engine::subscriber` feeds it, `report` shows its tally.

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

/// One publisher's messages, which all have one topic, as one subscriber sees them.
#[derive(Clone, Debug, Default)]
struct Lane {
    expected: bool,
    /// The sequence number that comes next if nothing is wrong.
    next: u64,
    /// Holes below `next`: first missing and one past the last missing, ascending, disjoint.
    holes: Vec<(u64, u64)>,
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
    /// No message of this publisher belongs here.
    Stray,
}

impl Arrival {
    /// True when the message had not been here before.
    #[inline]
    pub fn is_first(self) -> bool {
        matches!(self, Self::Fresh | Self::Late)
    }
}

/// All that one subscriber has received, by publisher.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The publisher of the first lane; lanes span the expected publishers only.
    first: u32,
    lanes: Vec<Lane>,
}

impl Ledger {
    /// A ledger that expects messages of these publishers, given in ascending order.
    pub fn new(publishers: &[u32]) -> Self {
        let (Some(&first), Some(&last)) = (publishers.first(), publishers.last()) else { return Self::default() };
        let mut lanes = vec![Lane::default(); (last - first) as usize + 1];
        for publisher in publishers {
            lanes[(publisher - first) as usize].expected = true;
        }
        Self { first, lanes }
    }

    /// Notes the arrival of message `sequence` of `publisher`.
    #[inline]
    pub fn observe(&mut self, publisher: u32, sequence: u64) -> Arrival {
        let index = publisher.wrapping_sub(self.first) as usize;
        let Some(lane) = self.lanes.get_mut(index).filter(|lane| lane.expected) else { return Arrival::Stray };
        if sequence == lane.next {
            lane.next += 1;
            return Arrival::Fresh;
        }
        lane.observe_out_of_turn(sequence)
    }

    /// The publishers expected here.
    pub fn publishers(&self) -> impl Iterator<Item = u32> {
        (self.first..).zip(&self.lanes).filter(|(_, lane)| lane.expected).map(|(publisher, _)| publisher)
    }

    /// Messages that are missing, given how many each publisher sent.
    pub fn lost(&self, sent: impl Fn(u32) -> u64) -> u64 {
        let lanes = (self.first..).zip(&self.lanes).filter(|(_, lane)| lane.expected);
        lanes.map(|(publisher, lane)| lane.holes_len() + sent(publisher).saturating_sub(lane.next)).sum()
    }
}

impl Lane {
    #[cold]
    fn observe_out_of_turn(&mut self, sequence: u64) -> Arrival {
        if sequence > self.next {
            self.holes.push((self.next, sequence));
            self.next = sequence + 1;
            return Arrival::Fresh;
        }
        let after = self.holes.partition_point(|hole| hole.0 <= sequence);
        let Some(at) = after.checked_sub(1).filter(|&at| sequence < self.holes[at].1) else { return Arrival::Again };
        let (from, to) = self.holes[at];
        let left = [(from, sequence), (sequence + 1, to)].into_iter().filter(|hole| hole.0 < hole.1);
        self.holes.splice(at..=at, left);
        Arrival::Late
    }

    fn holes_len(&self) -> u64 {
        self.holes.iter().map(|hole| hole.1 - hole.0).sum()
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
    fn a_message_never_seen_from_a_silent_publisher_is_lost() {
        assert_eq!(Ledger::new(&[0, 1]).lost(|publisher| if publisher == 1 { 4 } else { 0 }), 4);
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
    fn a_publisher_outside_or_between_the_expected_ones_is_stray() {
        let mut ledger = Ledger::new(&[2, 4]);
        assert_eq!([1, 3, 5].map(|publisher| ledger.observe(publisher, 0)), [Arrival::Stray; 3]);
        assert_eq!(ledger.observe(4, 0), Arrival::Fresh);
        assert_eq!(ledger.publishers().collect::<Vec<_>>(), [2, 4]);
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
