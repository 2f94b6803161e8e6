//! What the threads of one run share: the timetable, the counters that open the windows, and the meters that are sampled.
//! Must not hold anything a thread writes per message. Neighbours: `engine::run` creates it, every `Worker` reads it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Instant;

use crate::plan::{Plan, shares_window};

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
    /// Deliveries per window.
    pub(super) credits: Box<[Counter]>,
    /// Messages each publisher sent; final once `sending` is 0.
    pub(super) sent: Box<[AtomicU64]>,
    /// One per thread.
    pub(super) meters: Box<[Meter]>,
}

impl<'p> Shared<'p> {
    pub(super) fn new(plan: &'p Plan) -> Self {
        let threads = plan.flags.threads;
        let publishers = plan.topics.len();
        let windows = if shares_window(&plan.scenario) { threads } else { publishers };
        Self {
            plan,
            epoch: Instant::now(),
            timetable: OnceLock::new(),
            abandoned: AtomicBool::new(false),
            sending: AtomicUsize::new(threads),
            credits: (0..windows).map(|_| Counter::default()).collect(),
            sent: (0..publishers).map(|_| AtomicU64::new(0)).collect(),
            meters: (0..threads).map(|_| Meter::default()).collect(),
        }
    }

    /// Nanoseconds since the epoch; they overflow after 584 years.
    #[inline]
    pub(super) fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// The thread that owns publisher, subscriber or idle connection number `index`.
    pub(super) fn owner(&self, index: u32) -> usize {
        index as usize % self.plan.flags.threads
    }

    /// The window that pays for a publisher's messages: its own, or its thread's share of the common one.
    #[inline]
    pub(super) fn window_of(&self, publisher: u32) -> usize {
        if shares_window(&self.plan.scenario) { self.owner(publisher) } else { publisher as usize }
    }
}
