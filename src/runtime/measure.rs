//! Measure: how long messages are inside the broker.
//!
//! Duty: from the turn in which a shard takes a message to the hand-over of the packet to the socket, in histograms by QoS and by whether
//! it has crossed shards; one entry for all messages of a turn, so that a message costs next to nothing. Must not: look at a message.
//! Neighbours: `driver` tells where a turn begins and ends, `mesh` when a batch began to wait; `looking` shows it.
//!
//! What a client's window or a slow socket keeps waiting is not in it: queues and backlogs are figures of their own. What has waited in
//! the kernel before the turn is not seen; it is less than the turn before.

use hdrhistogram::Histogram;

use crate::shard::{ByQos, Counters};

/// Whether anything is measured. A build without it shows what that costs.
pub(super) const IS_METERED: bool = !cfg!(feature = "unmetered");

/// The least and the most that is told apart, nanoseconds.
const NANOS_MIN: u64 = 256;
const NANOS_MAX: u64 = 100_000_000_000;
/// Decimal digits that a duration is told by.
const DIGITS: u8 = 2;

/// Histograms of durations in nanoseconds.
#[derive(Clone, Debug)]
pub struct Latency {
    /// Taken and sent on one shard, by QoS of sending.
    pub local: [Histogram<u64>; 3],
    /// Taken on another shard.
    pub crossed: [Histogram<u64>; 3],
}

impl Default for Latency {
    fn default() -> Self {
        let empty = || Histogram::new_with_bounds(NANOS_MIN, NANOS_MAX, DIGITS).expect("these are bounds");
        Self { local: [empty(), empty(), empty()], crossed: [empty(), empty(), empty()] }
    }
}

/// The measure of one shard.
#[derive(Debug, Default)]
pub(super) struct Measure {
    pub(super) latency: Latency,
    /// Turns so far.
    pub(super) turns: u64,
    /// When this turn began, nanoseconds.
    began: u64,
    /// What was sent at once before this turn.
    before: [u64; 3],
    /// What of this turn has crossed: since when, and how much.
    crossed: Vec<(u64, [u64; 3])>,
}

impl Measure {
    /// A turn begins.
    pub(super) fn begin(&mut self, nanos: u64) {
        self.turns += 1;
        self.began = nanos;
    }

    /// When this turn began, nanoseconds.
    pub(super) fn began(&self) -> u64 {
        self.began
    }

    /// A batch of another shard, begun at `since`, was taken: these are the counters before and after it.
    pub(super) fn note_crossed(&mut self, since: u64, before: [u64; 3], after: [u64; 3]) {
        if before != after {
            self.crossed.push((since, less(after, before)));
        }
    }

    /// Whether anything was sent since the turn began.
    pub(super) fn has_any(&self, counters: &Counters) -> bool {
        IS_METERED && sent_at_once(counters) != self.before
    }

    /// All that the turn has sent is handed over.
    pub(super) fn end(&mut self, nanos: u64, counters: &Counters) {
        let sent = sent_at_once(counters);
        let mut local = less(sent, self.before);
        self.before = sent;
        for (since, crossed) in self.crossed.drain(..) {
            record(&mut self.latency.crossed, nanos.saturating_sub(since), crossed);
            local = less(local, crossed);
        }
        record(&mut self.latency.local, nanos.saturating_sub(self.began), local);
    }
}

fn record(histograms: &mut [Histogram<u64>; 3], nanos: u64, messages: [u64; 3]) {
    for (histogram, messages) in histograms.iter_mut().zip(messages).filter(|(_, messages)| *messages > 0) {
        histogram.saturating_record_n(nanos, messages);
    }
}

/// What was sent without having waited in a queue.
pub(super) fn sent_at_once(counters: &Counters) -> [u64; 3] {
    let each: fn(ByQos) -> [u64; 3] = ByQos::each;
    less(each(counters.delivered), each(counters.delivered_late))
}

fn less(more: [u64; 3], less: [u64; 3]) -> [u64; 3] {
    std::array::from_fn(|qos| more[qos].saturating_sub(less[qos]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(delivered: [u64; 3], late: [u64; 3]) -> Counters {
        Counters { delivered: delivered.into(), delivered_late: late.into(), ..Counters::default() }
    }

    #[test]
    fn each_message_is_measured_once_from_where_it_was_taken_and_not_if_it_has_waited_in_a_queue() {
        let mut measure = Measure::default();
        measure.begin(1_000_000);
        assert!(!measure.has_any(&counters([0; 3], [0; 3])));
        // Two of three QoS 1 messages came from another shard, and one QoS 2 message waited.
        measure.note_crossed(500_000, [0; 3], [0, 2, 0]);
        measure.note_crossed(600_000, [0, 2, 0], [0, 2, 0]);
        let now = counters([5, 3, 1], [0, 0, 1]);
        assert!(measure.has_any(&now));
        measure.end(1_020_000, &now);
        let counts = |histograms: &[Histogram<u64>; 3]| [0, 1, 2].map(|qos| histograms[qos].len());
        assert_eq!((counts(&measure.latency.local), counts(&measure.latency.crossed)), ([5, 1, 0], [0, 2, 0]));
        let near = |histogram: &Histogram<u64>, wanted: u64| histogram.equivalent(histogram.max(), wanted);
        assert!(near(&measure.latency.local[0], 20_000) && near(&measure.latency.crossed[1], 520_000));
        measure.begin(2_000_000);
        assert!(!measure.has_any(&now), "nothing new");
    }
}
