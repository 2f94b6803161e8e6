//! Measure: how long messages are inside the broker.
//!
//! Duty: from the turn in which a shard takes a message to the hand-over of the packet to the socket, in histograms by QoS and by whether
//! it has crossed shards; one entry for all messages of a turn, so that a message costs next to nothing. Must not: look at a message.
//! Neighbours: `driver` tells where a turn begins and ends, `mesh` when a batch began to wait; `looking` shows it.
//!
//! What a client's window or a slow socket keeps waiting is not in it: queues and backlogs are figures of their own. What has waited in
//! the kernel before the turn is not seen; it is less than the turn before.

use std::array;

use hdrhistogram::Histogram;

use crate::shard::{ByQos, Counters};

/// Whether anything is measured. A build without it shows what that costs.
pub(super) const IS_METERED: bool = !cfg!(feature = "unmetered");

/// What is less than this power of two of nanoseconds is not told apart: 256 ns.
const UNIT_BITS: u32 = 8;
/// This power of two of buckets for each doubling: a duration is told to 3 %.
const SPLIT_BITS: u32 = 5;
/// Buckets: up to 100 s.
const BUCKETS: usize = 800;

/// How often there were durations of about so long.
///
/// Noting one is an addition in an array, as each turn does so; what is wanted of it is asked of a real histogram by who looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durations([u64; BUCKETS]);

impl Durations {
    /// Those that were noted since `before`, an earlier copy of this.
    pub fn since(&self, before: &Self) -> Self {
        Self(array::from_fn(|bucket| self.0[bucket].saturating_sub(before.0[bucket])))
    }

    /// The same in a histogram, nanoseconds.
    pub fn histogram(&self) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, nanos_of(BUCKETS - 1), 2).expect("these are bounds");
        for (bucket, &count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            histogram.saturating_record_n(nanos_of(bucket), count);
        }
        histogram
    }
}

impl Default for Durations {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

/// Where a duration is counted: in units while these are few, and then in equal parts of its power of two.
#[inline]
fn bucket_of(nanos: u64) -> usize {
    let units = nanos >> UNIT_BITS;
    // 0 for the first two rows, which are of single units.
    let shift = (units | ((2 << SPLIT_BITS) - 1)).ilog2() - SPLIT_BITS;
    let bucket = (u64::from(shift) << SPLIT_BITS) + (units >> shift);
    (bucket as usize).min(BUCKETS - 1)
}

/// The middle of what a bucket counts, nanoseconds.
fn nanos_of(bucket: usize) -> u64 {
    let (row, column) = (bucket as u64 >> SPLIT_BITS, bucket as u64 % (1 << SPLIT_BITS));
    let (shift, units) = if row == 0 { (0, column) } else { (row - 1, column + (1 << SPLIT_BITS)) };
    ((units << UNIT_BITS) + (1 << (UNIT_BITS - 1))) << shift
}

/// How long messages were inside a shard.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    /// Taken and sent on one shard, by QoS of sending.
    pub local: [Durations; 3],
    /// Taken on another shard.
    pub crossed: [Durations; 3],
}

/// The measure of one shard.
#[derive(Debug, Default)]
pub(super) struct Measure {
    pub(super) latency: Latency,
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

    /// All that the turn has sent is handed over, at this moment, nanoseconds.
    #[inline]
    pub(super) fn end(&mut self, nanos: u64, counters: &Counters) {
        let sent = sent_at_once(counters);
        let mut local = less(sent, self.before);
        self.before = sent;
        if !self.crossed.is_empty() {
            for (since, crossed) in self.crossed.drain(..) {
                note(&mut self.latency.crossed, nanos.saturating_sub(since), crossed);
                local = less(local, crossed);
            }
        }
        note(&mut self.latency.local, nanos - self.began, local);
    }
}

/// So many more took this long, nanoseconds. Adding nothing is cheaper than asking whether there is anything.
#[inline]
fn note(durations: &mut [Durations; 3], nanos: u64, messages: [u64; 3]) {
    let bucket = bucket_of(nanos);
    for (durations, messages) in durations.iter_mut().zip(messages) {
        durations.0[bucket] += messages;
    }
}

/// What was sent without having waited in a queue.
pub(super) fn sent_at_once(counters: &Counters) -> [u64; 3] {
    let each: fn(ByQos) -> [u64; 3] = ByQos::each;
    less(each(counters.delivered), each(counters.delivered_late))
}

fn less(more: [u64; 3], less: [u64; 3]) -> [u64; 3] {
    array::from_fn(|qos| more[qos] - less[qos])
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
        measure.end(1_000_500, &counters([0; 3], [0; 3]));
        // Two of three QoS 1 messages came from another shard, and one QoS 2 message waited.
        measure.note_crossed(500_000, [0; 3], [0, 2, 0]);
        measure.note_crossed(600_000, [0, 2, 0], [0, 2, 0]);
        let now = counters([5, 3, 1], [0, 0, 1]);
        measure.end(1_020_000, &now);
        let histograms = |durations: &[Durations; 3]| durations.each_ref().map(Durations::histogram);
        let (local, crossed) = (histograms(&measure.latency.local), histograms(&measure.latency.crossed));
        let counts = |histograms: &[Histogram<u64>; 3]| [0, 1, 2].map(|qos| histograms[qos].len());
        assert_eq!((counts(&local), counts(&crossed)), ([5, 1, 0], [0, 2, 0]));
        let near = |histogram: &Histogram<u64>, wanted: u64| histogram.max().abs_diff(wanted) * 30 < wanted;
        assert!(near(&local[0], 20_000) && near(&crossed[1], 520_000), "{} {}", local[0].max(), crossed[1].max());
        measure.begin(2_000_000);
        measure.end(2_000_500, &now);
        assert_eq!(histograms(&measure.latency.local).map(|histogram| histogram.len()), [5, 1, 0], "nothing new");
    }

    #[test]
    fn durations_are_told_to_three_percent_and_the_longest_are_not_lost() {
        let mut nanos = 1;
        let mut last = 0;
        while nanos < 100_000_000_000 {
            let bucket = bucket_of(nanos);
            assert!(bucket >= last && bucket < BUCKETS, "{nanos} ns are in bucket {bucket}, less in {last}");
            let told = nanos_of(bucket);
            assert!(told.abs_diff(nanos) <= 256.max(nanos / 32), "{nanos} ns are told as {told}");
            (last, nanos) = (bucket, nanos + nanos / 100 + 1);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn what_was_noted_since_an_earlier_look_is_told_apart() {
        let mut durations = <[Durations; 3]>::default();
        note(&mut durations, 1_000, [3, 0, 0]);
        let before = durations[0].clone();
        note(&mut durations, 1_000, [2, 0, 0]);
        note(&mut durations, 9_000_000, [1, 0, 0]);
        let since = durations[0].since(&before).histogram();
        assert_eq!((since.len(), since.count_between(0, 2_000), since.count_between(8_000_000, 10_000_000)), (3, 2, 1));
    }
}
