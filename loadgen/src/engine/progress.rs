//! How far a run has come, for whoever watches it.
//! Must not print, nor write anything the threads read. Neighbours: `shared` below, `engine::run` asks.

use std::sync::atomic::Ordering::Relaxed;

use super::shared::Shared;

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Opens connections and subscribes; counted in clients.
    Connect,
    /// Publishes, and does not count yet; counted in milliseconds.
    WarmUp,
    /// Publishes and counts; counted in milliseconds.
    Measure,
    /// Waits for what was published; counted in messages.
    Drain,
    /// Stores messages and takes them back; counted in messages, each twice.
    Stages,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What it is doing.
    pub activity: Activity,
    /// How much of it is done, in the unit of the activity.
    pub done: u64,
    /// How much there is to do.
    pub total: u64,
    /// When this was seen, nanoseconds since the run's epoch.
    pub at_ns: u64,
    /// Messages delivered so far.
    pub delivered: u64,
}

impl Progress {
    fn new(shared: &Shared<'_>, activity: Activity, done: u64, total: u64) -> Self {
        Self { activity, done, total, at_ns: shared.now_ns(), delivered: shared.delivered() }
    }

    pub(super) fn of_connecting(shared: &Shared<'_>) -> Self {
        let ready = shared.meters.iter().map(|meter| meter.ready.load(Relaxed)).sum();
        Self::new(shared, Activity::Connect, ready, shared.plan.clients() as u64)
    }

    pub(super) fn of_time(shared: &Shared<'_>, activity: Activity, done_ns: u64, total_ns: u64) -> Self {
        Self::new(shared, activity, done_ns.min(total_ns) / 1_000_000, total_ns / 1_000_000)
    }

    pub(super) fn of_stages(shared: &Shared<'_>) -> Self {
        let total = 2 * shared.plan.scenario.messages;
        Self::new(shared, Activity::Stages, (shared.published() + shared.delivered()).min(total), total)
    }

    pub(super) fn of_draining(shared: &Shared<'_>) -> Self {
        let sent = shared.sent.iter().map(|sent| sent.load(Relaxed));
        let total = sent.zip(&shared.plan.fans).map(|(sent, &fan)| sent * u64::from(fan)).sum();
        Self::new(shared, Activity::Drain, shared.delivered(), total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Overrides, Plan};
    use crate::scenario::Scenario;

    #[test]
    fn progress_counts_clients_then_time_then_deliveries() {
        let flags = Overrides { subscribers: Some(5), ..Overrides::default() };
        let plan = Plan::resolve(Scenario::find("fanout").expect("shipped"), flags).expect("it resolves");
        let shared = Shared::new(&plan);
        shared.meters[0].ready.store(4, Relaxed);
        shared.meters[0].delivered.store(12, Relaxed);
        shared.sent[0].store(3, Relaxed);
        let counts = |progress: Progress| (progress.done, progress.total, progress.delivered);
        assert_eq!(counts(Progress::of_connecting(&shared)), (4, 6, 12));
        assert_eq!(counts(Progress::of_time(&shared, Activity::Measure, 2_000_000, 1_000_000)), (1, 1, 12));
        assert_eq!(counts(Progress::of_draining(&shared)), (12, 15, 12));
    }
}
