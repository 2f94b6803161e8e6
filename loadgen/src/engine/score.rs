//! What one thread counts: first arrivals, faults, latencies, and the credit that reopens windows.
//! Must not know sockets. Neighbours: `client`, `subscriber` and `publisher` write it; `worker` settles it once per turn.

use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use super::shared::Shared;
use super::timeline;
use crate::group::Board;
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
    /// What this thread's members of each shared subscription have received.
    pub(super) boards: Vec<Board>,
    /// The topic of the last arrivals and how many have not been credited: neighbours often share one.
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
            boards: shared.plan.shares.iter().map(|topics| Board::new(topics)).collect(),
            credit: (0, 0),
        }
    }

    /// Sets the measured window, by the intended send time for what counts and by the arrival for the intervals.
    pub(super) fn measure(&mut self, window_ns: Range<u64>) {
        let intervals = timeline::intervals(window_ns.end - window_ns.start);
        self.latency.divide(window_ns.clone(), intervals);
        self.measured_ns = window_ns;
    }

    /// Shows how many clients of this thread have come past the setup.
    pub(super) fn show_ready(&self, clients: usize) {
        self.shared.meters[self.thread].ready.store(clients as u64, Relaxed);
    }

    /// Counts a first arrival.
    #[inline]
    pub(super) fn arrived(&mut self, topic: u32, intended_ns: u64, now_ns: u64) {
        if self.measured_ns.contains(&intended_ns) {
            self.latency.record(now_ns.saturating_sub(intended_ns), now_ns);
        }
        self.arrived_unmeasured(topic);
    }

    /// Counts a first arrival whose latency says nothing: its receiver was away.
    #[inline]
    pub(super) fn arrived_unmeasured(&mut self, topic: u32) {
        self.arrivals += 1;
        if self.credit.0 != topic {
            self.pay();
            self.credit.0 = topic;
        }
        self.credit.1 += 1;
    }

    #[inline]
    fn pay(&mut self) {
        let (topic, count) = self.credit;
        if count > 0 {
            let parts = count * u64::from(self.shared.parts[topic as usize]);
            self.shared.credits[self.shared.window_of_topic(topic)].0.fetch_add(parts, Relaxed);
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
