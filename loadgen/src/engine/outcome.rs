//! What a run brings home, as plain numbers. Must not judge; `report` does. Neighbours: `worker` and `engine::run` fill it.

use serde::Serialize;

use crate::broker::BrokerSample;
use crate::integrity::Tally;
use crate::latency::{IntervalLatency, LatencyRecorder};

/// What the threads' clients counted over the whole run.
#[derive(Default)]
pub struct Harvest {
    /// What went wrong.
    pub tally: Tally,
    /// Latencies of the messages due in the measured window.
    pub latency: LatencyRecorder,
    /// The first few faults of each thread in words.
    pub notes: Vec<String>,
    /// Messages sent.
    pub sent: u64,
    /// Deliveries that had to follow.
    pub expected: u64,
    /// Deliveries that did, each counted once.
    pub arrived: u64,
    /// Messages that were due by the timetable and never left.
    pub unsent: u64,
    /// Devices that went away and came back to their sessions, each time.
    pub reconnects: u64,
    /// Messages that stalled subscribers never got.
    pub stalled_missed: u64,
    /// Stalled subscribers whose connection the broker closed.
    pub stalled_closed: u64,
}

impl Harvest {
    /// Adds what another thread brought.
    pub(super) fn add(&mut self, other: Self) {
        self.tally.add(&other.tally);
        self.latency.add(other.latency);
        self.notes.extend(other.notes);
        self.sent += other.sent;
        self.expected += other.expected;
        self.arrived += other.arrived;
        self.unsent += other.unsent;
        self.reconnects += other.reconnects;
        self.stalled_missed += other.stalled_missed;
        self.stalled_closed += other.stalled_closed;
    }
}

/// The counters of one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The moment, nanoseconds since the run's epoch.
    pub at_ns: u64,
    /// Messages delivered so far, each counted once.
    pub delivered: u64,
    /// Messages published so far.
    pub published: u64,
    /// Time without work so far, nanoseconds, of each thread.
    pub idle_ns: Vec<u64>,
    /// The broker's process; `None` when it is not measured or has died.
    pub broker: Option<BrokerSample>,
}

/// One step of the measured window; the steps have equal lengths and leave no gap.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    /// Its beginning as it was sampled, nanoseconds since the run's epoch.
    pub from_ns: u64,
    /// Its end.
    pub to_ns: u64,
    /// Messages delivered in it.
    pub delivered: u64,
    /// Messages published in it.
    pub published: u64,
    /// Of the messages that are due in the window and arrived in this interval; `None` when there is none.
    pub latency: Option<IntervalLatency>,
    /// CPU time of the broker in it, nanoseconds; `None` when it is not measured, has died, or a thread of it ended.
    pub broker_cpu_ns: Option<u64>,
    /// Resident set of the broker at its end, bytes.
    pub broker_rss_bytes: Option<u64>,
}

/// A stage of a run that has a beginning and an end of its own: connecting, storing, draining.
#[derive(Debug)]
pub struct Phase {
    /// What was done, one word for the report: `connect`, `idle`, `store`, `replay`, `drain`, `clear`.
    pub name: &'static str,
    /// What `count` counts: `connections` or `messages`.
    pub unit: &'static str,
    /// How many were handled in this phase.
    pub count: u64,
    /// Its beginning.
    pub from: Snapshot,
    /// Its end.
    pub to: Snapshot,
}

/// All that a run has shown.
pub struct Outcome {
    /// Duration of the setup, nanoseconds.
    pub setup_ns: u64,
    /// The broker's process before the first connection.
    pub broker_before: Option<BrokerSample>,
    /// The start and the end of the measured window.
    pub window: [Snapshot; 2],
    /// The measured window step by step.
    pub timeline: Vec<Interval>,
    /// Everything counted.
    pub harvest: Harvest,
    /// Its stages, in order; most runs have none but the window.
    pub phases: Vec<Phase>,
    /// What the connections have agreed on, over TLS.
    pub agreed: Option<Agreed>,
}

/// What broker and generator have chosen for TLS.
#[derive(Clone, Debug, Serialize)]
pub struct Agreed {
    /// Version, such as `1.3`.
    pub version: String,
    /// Cipher suite, such as `TLS_AES_128_GCM_SHA256`.
    pub cipher: String,
}
