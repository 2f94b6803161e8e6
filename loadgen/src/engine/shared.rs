//! What the threads of one run share: the timetable, the counters that open the windows, and the meters that are sampled.
//! Must not hold anything a thread writes per message. Neighbours: `engine::run` creates it, every `Worker` reads it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use super::harvest::Boards;
use crate::plan::{Plan, shares_window};

/// Windows count in these parts of a message: a delivery pays its share of the deliveries its message has to cause.
pub(super) const MESSAGE_PARTS: u64 = 1 << 24;

/// When what happens, nanoseconds since the run's epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timetable {
    /// Publishing starts.
    pub(super) start_ns: u64,
    /// The measured window starts.
    pub(super) from_ns: u64,
    /// The measured window and the publishing end.
    pub(super) to_ns: u64,
}

/// A counter on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Counter(pub(super) AtomicU64);

/// What one thread shows to the sampling thread, stored once per turn.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Meter {
    /// Messages delivered for the first time.
    pub(super) delivered: AtomicU64,
    /// Messages published.
    pub(super) published: AtomicU64,
    /// Time without work, nanoseconds.
    pub(super) idle_ns: AtomicU64,
    /// Clients that have come past the setup.
    pub(super) ready: AtomicU64,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Shared<'p> {
    pub(super) plan: &'p Plan,
    pub(super) epoch: Instant,
    /// Set once, when every client of every thread is ready.
    pub(super) timetable: OnceLock<Timetable>,
    /// Some thread could not set up its clients: all stop.
    pub(super) abandoned: AtomicBool,
    /// Threads that may still publish.
    pub(super) sending: AtomicUsize,
    /// Parts of messages delivered, per window; the last one is for what devices publish and opens nothing.
    pub(super) credits: Box<[Counter]>,
    /// What one delivery on each topic pays, in parts of a message.
    pub(super) parts: Box<[u32]>,
    /// Messages sent on each topic; final once `sending` is 0.
    pub(super) sent: Box<[AtomicU64]>,
    /// One per thread.
    pub(super) meters: Box<[Meter]>,
    /// What the threads that have ended saw of shared subscriptions.
    pub(super) boards: Mutex<Boards>,
}

impl<'p> Shared<'p> {
    pub(super) fn new(plan: &'p Plan) -> Self {
        let threads = plan.flags.threads;
        let windows = if shares_window(&plan.scenario) { threads } else { plan.scenario.publishers as usize };
        Self {
            plan,
            epoch: Instant::now(),
            timetable: OnceLock::new(),
            abandoned: AtomicBool::new(false),
            sending: AtomicUsize::new(threads),
            credits: (0..=windows).map(|_| Counter::default()).collect(),
            // Below 2^24 + 1, whatever the fan.
            parts: plan.fans.iter().map(|&fan| (MESSAGE_PARTS / u64::from(fan)) as u32).collect(),
            sent: plan.topics.iter().map(|_| AtomicU64::new(0)).collect(),
            meters: (0..threads).map(|_| Meter::default()).collect(),
            boards: Mutex::new(Boards::new(plan)),
        }
    }

    /// Nanoseconds since the epoch; they overflow after 584 years.
    #[inline]
    pub(super) fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Messages delivered so far, as the threads have shown.
    pub(super) fn delivered(&self) -> u64 {
        self.meters.iter().map(|meter| meter.delivered.load(Relaxed)).sum()
    }

    /// Messages published so far, as the threads have shown.
    pub(super) fn published(&self) -> u64 {
        self.meters.iter().map(|meter| meter.published.load(Relaxed)).sum()
    }

    /// The thread that owns publisher, subscriber, device or idle connection number `index`.
    pub(super) fn owner(&self, index: u32) -> usize {
        index as usize % self.plan.flags.threads
    }

    /// The window of a publisher: its own, or its thread's share of the common one.
    #[inline]
    pub(super) fn window_of(&self, publisher: u32) -> usize {
        if shares_window(&self.plan.scenario) { self.owner(publisher) } else { publisher as usize }
    }

    /// The window that deliveries on `topic` reopen.
    #[inline]
    pub(super) fn window_of_topic(&self, topic: u32) -> usize {
        self.plan.publisher_of(topic).map_or(self.credits.len() - 1, |publisher| self.window_of(publisher))
    }

    /// What a message on `topic` costs its window: exactly what its deliveries pay.
    #[inline]
    pub(super) fn cost(&self, topic: u32) -> u64 {
        u64::from(self.parts[topic as usize]) * u64::from(self.plan.fans[topic as usize])
    }
}
