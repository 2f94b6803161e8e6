//! What one thread counts: first arrivals, faults, latencies, and the credit that reopens windows.
//! Must not know sockets. Neighbours: `client`, `subscriber` and `publisher` write it; `worker` settles it once per turn.

use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use super::shared::Shared;
use crate::integrity::Tally;
use crate::latency::LatencyRecorder;

/// Most remarks a thread keeps: the first few say what is wrong, the rest repeats it.
const NOTES_MAX: usize = 5;

/// See the file's head.
pub(super) struct Score<'s> {
    shared: &'s Shared<'s>,
    thread: usize,
    pub(super) tally: Tally,
    pub(super) latency: LatencyRecorder,
    /// Messages delivered for the first time.
    pub(super) arrivals: u64,
    /// Messages published.
    pub(super) published: u64,
    /// Intended send times whose latency counts.
    pub(super) measured_ns: Range<u64>,
    pub(super) notes: Vec<String>,
    /// The publisher of the last arrivals and how many have not been credited: neighbours often share one.
    credit: (u32, u64),
}

impl<'s> Score<'s> {
    pub(super) fn new(shared: &'s Shared<'s>, thread: usize) -> Self {
        Self {
            shared,
            thread,
            tally: Tally::default(),
            latency: LatencyRecorder::default(),
            arrivals: 0,
            published: 0,
            measured_ns: 0..0,
            notes: Vec::new(),
            credit: (0, 0),
        }
    }

    /// Counts a first arrival.
    #[inline]
    pub(super) fn arrived(&mut self, publisher: u32, intended_ns: u64, now_ns: u64) {
        self.arrivals += 1;
        if self.measured_ns.contains(&intended_ns) {
            self.latency.record(now_ns.saturating_sub(intended_ns));
        }
        if self.credit.0 != publisher {
            self.pay();
            self.credit.0 = publisher;
        }
        self.credit.1 += 1;
    }

    #[inline]
    fn pay(&mut self) {
        let (publisher, count) = self.credit;
        if count > 0 {
            self.shared.credits[self.shared.window_of(publisher)].0.fetch_add(count, Relaxed);
            self.credit.1 = 0;
        }
    }

    /// Makes the turn's counts visible to the other threads.
    #[inline]
    pub(super) fn settle(&mut self, idle_ns: u64) {
        self.pay();
        let meter = &self.shared.meters[self.thread];
        meter.delivered.store(self.arrivals, Relaxed);
        meter.published.store(self.published, Relaxed);
        meter.idle_ns.store(idle_ns, Relaxed);
    }

    /// Keeps a remark, unless there are enough.
    pub(super) fn note(&mut self, text: String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(text);
        }
    }
}
