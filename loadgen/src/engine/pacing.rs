//! When messages may leave: as windows open, or as a timetable says.
//! Must not encode. Neighbours: `worker` asks it once per turn, `publisher` takes what is released.

use std::sync::atomic::Ordering::Relaxed;

use super::shared::{MESSAGE_PARTS, Shared};
use crate::plan::shares_window;

/// How one thread's publishers are let go.
#[derive(Debug)]
pub(super) enum Pacing {
    /// `rate = 0`: a message leaves when an earlier one has been delivered.
    Windows(Vec<Window>),
    /// `rate > 0`: a message leaves when it is due, whatever became of the earlier ones.
    Schedule(Schedule),
}

impl Pacing {
    /// The pacing of a thread with these publishers, ascending.
    pub(super) fn new(shared: &Shared<'_>, thread: usize, publishers: &[u32]) -> Self {
        let scenario = &shared.plan.scenario;
        if scenario.rate > 0 {
            return Self::Schedule(Schedule::new(scenario.rate, scenario.publishers, publishers.to_vec()));
        }
        let window = u64::from(scenario.window);
        if !shares_window(scenario) {
            let own = |&publisher: &u32| Window::new(shared, &[publisher], window);
            return Self::Windows(publishers.iter().map(own).collect());
        }
        if publishers.is_empty() {
            return Self::Windows(Vec::new());
        }
        let threads = (shared.plan.flags.threads as u64).min(u64::from(scenario.publishers));
        let share = window / threads + u64::from((thread as u64) < window % threads);
        Self::Windows(vec![Window::new(shared, publishers, share.max(1))])
    }
}

/// Messages outstanding of one publisher or of all of this thread; one that has been delivered to some of its receivers
/// counts for the rest of them.
#[derive(Debug)]
pub(super) struct Window {
    counter: usize,
    members: Vec<Member>,
    cursor: usize,
    /// Parts of messages released so far.
    owed: u64,
    /// Parts of messages that may be outstanding.
    room: u64,
}

/// A publisher as its window sees it.
#[derive(Debug)]
struct Member {
    publisher: u32,
    /// What a message costs on each of its topics, in the order in which it goes round them.
    costs: Vec<u64>,
    cursor: usize,
}

impl Window {
    fn new(shared: &Shared<'_>, publishers: &[u32], messages: u64) -> Self {
        let costs = |publisher| shared.plan.topics_of(publisher).map(|topic| shared.cost(topic)).collect();
        let member = |&publisher: &u32| Member { publisher, costs: costs(publisher), cursor: 0 };
        Self {
            counter: shared.window_of(publishers[0]),
            members: publishers.iter().map(member).collect(),
            cursor: 0,
            owed: 0,
            room: messages * MESSAGE_PARTS,
        }
    }

    /// Calls `release(publisher, messages)` for what may leave; several publishers take turns.
    #[inline]
    pub(super) fn open(&mut self, shared: &Shared<'_>, mut release: impl FnMut(u32, u64)) {
        let delivered = shared.credits[self.counter].0.load(Relaxed);
        let alone = self.members.len() == 1;
        loop {
            let member = &mut self.members[self.cursor];
            let cost = member.costs[member.cursor];
            let room = self.room.saturating_sub(self.owed.saturating_sub(delivered));
            if room < cost {
                return;
            }
            let messages = if alone && member.costs.len() == 1 { room / cost } else { 1 };
            release(member.publisher, messages);
            self.owed += messages * cost;
            member.cursor = (member.cursor + 1) % member.costs.len();
            self.cursor = (self.cursor + 1) % self.members.len();
        }
    }
}

/// Message `k` of all publishers (or devices) is due at `start + k / rate`; they take turns.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    rate: u64,
    publishers_total: u64,
    /// This thread's publishers.
    publishers: Vec<u32>,
    cursor: usize,
    round: u64,
    pub(super) start_ns: u64,
}

impl Schedule {
    /// The timetable of `publishers`, some of `publishers_total`; the rate is that of all, 1/s at least.
    pub(super) fn new(rate: u64, publishers_total: u32, publishers: Vec<u32>) -> Self {
        let publishers_total = u64::from(publishers_total);
        Self { rate: rate.max(1), publishers_total, publishers, cursor: 0, round: 0, start_ns: 0 }
    }

    /// When message `sequence` of `publisher` is due, nanoseconds since the epoch.
    #[inline]
    pub(super) fn due_ns(&self, publisher: u32, sequence: u64) -> u64 {
        let number = u128::from(sequence * self.publishers_total + u64::from(publisher));
        self.start_ns + (number * 1_000_000_000 / u128::from(self.rate)) as u64
    }

    /// When the next message of this thread is due, nanoseconds since the epoch; `None`: it has none.
    pub(super) fn next_due_ns(&self) -> Option<u64> {
        self.publishers.get(self.cursor).map(|&publisher| self.due_ns(publisher, self.round))
    }

    /// Calls `release(publisher, 1)` for every message due by `now_ns` and before `end_ns`.
    #[inline]
    pub(super) fn open(&mut self, now_ns: u64, end_ns: u64, mut release: impl FnMut(u32, u64)) {
        while let Some(&publisher) = self.publishers.get(self.cursor) {
            let due_ns = self.due_ns(publisher, self.round);
            if due_ns > now_ns || due_ns >= end_ns {
                return;
            }
            release(publisher, 1);
            self.cursor += 1;
            if self.cursor == self.publishers.len() {
                self.cursor = 0;
                self.round += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Overrides, Plan};
    use crate::scenario::Scenario;

    fn plan(name: &str, change: impl Fn(&mut Overrides)) -> Plan {
        let mut flags = Overrides::default();
        change(&mut flags);
        Plan::resolve(Scenario::find(name).expect("shipped"), flags).expect("it resolves")
    }

    fn pay(shared: &Shared<'_>, topic: u32, deliveries: u64) {
        let parts = u64::from(shared.parts[topic as usize]) * deliveries;
        shared.credits[shared.window_of_topic(topic)].0.fetch_add(parts, Relaxed);
    }

    fn released(pacing: &mut Pacing, shared: &Shared<'_>, now_ns: u64) -> Vec<(u32, u64)> {
        let mut all = Vec::new();
        match pacing {
            Pacing::Windows(windows) => {
                windows
                    .iter_mut()
                    .for_each(|window| window.open(shared, |publisher, count| all.push((publisher, count))));
            }
            Pacing::Schedule(schedule) => {
                schedule.open(now_ns, u64::MAX, |publisher, count| all.push((publisher, count)))
            }
        }
        all
    }

    #[test]
    fn a_window_reopens_by_what_was_delivered() {
        let plan = plan("stream", |flags| flags.window = Some(10));
        let shared = Shared::new(&plan);
        let mut pacing = Pacing::new(&shared, 0, &[0]);
        assert_eq!(released(&mut pacing, &shared, 0), [(0, 10)]);
        assert_eq!(released(&mut pacing, &shared, 0), []);
        pay(&shared, 0, 3);
        assert_eq!(released(&mut pacing, &shared, 0), [(0, 3)]);
    }

    #[test]
    fn a_fanout_message_leaves_when_a_whole_round_of_deliveries_is_in() {
        let plan = plan("fanout", |flags| flags.subscribers = Some(5));
        let shared = Shared::new(&plan);
        let mut pacing = Pacing::new(&shared, 0, &[0]);
        assert_eq!(released(&mut pacing, &shared, 0), [(0, 2)]);
        pay(&shared, 0, 4);
        assert_eq!(released(&mut pacing, &shared, 0), []);
        pay(&shared, 0, 1);
        assert_eq!(released(&mut pacing, &shared, 0), [(0, 1)]);
    }

    #[test]
    fn a_common_window_goes_round_the_publishers() {
        let plan = plan("fanin", |flags| (flags.window, flags.publishers) = (Some(4), Some(3)));
        let shared = Shared::new(&plan);
        let mut pacing = Pacing::new(&shared, 0, &[0, 1, 2]);
        assert_eq!(released(&mut pacing, &shared, 0), [(0, 1), (1, 1), (2, 1), (0, 1)]);
        pay(&shared, 0, 1);
        assert_eq!(released(&mut pacing, &shared, 0), [(1, 1)]);
    }

    #[test]
    fn a_window_counts_messages_whatever_their_fans() {
        let text = "name = 't'\nabout = 't'\npublishers = 1\nsubscribers = 8\ntopics = 2\nwindow = 3\n\
                    topic = '{run}/{topic}'\nfilters = ['{run}/0', '{run}/+', '{run}/0', '{run}/0']";
        let plan = Plan::resolve(Scenario::parse(text).expect("a scenario"), Overrides::default());
        let plan = plan.expect("it resolves");
        assert_eq!(plan.fans, [8, 2]);
        let shared = Shared::new(&plan);
        let mut pacing = Pacing::new(&shared, 0, &[0]);
        assert_eq!(released(&mut pacing, &shared, 0).len(), 3);
        pay(&shared, 0, 7);
        assert_eq!(released(&mut pacing, &shared, 0), []);
        pay(&shared, 1, 1);
        assert_eq!(released(&mut pacing, &shared, 0), [(0, 1)]);
        // Nothing may leak, however long it runs.
        for _ in 0..100_000 {
            pay(&shared, 0, 8);
            pay(&shared, 1, 2);
            assert_eq!(released(&mut pacing, &shared, 0).len(), 2);
        }
    }

    #[test]
    fn a_common_window_is_shared_out_to_the_threads_without_rest() {
        let plan = plan("fanin", |flags| (flags.window, flags.threads) = (Some(7), 3));
        let shared = Shared::new(&plan);
        let counts = [0, 1, 2].map(|thread| {
            let own: Vec<u32> = (0..1000).filter(|&publisher| shared.owner(publisher) == thread).collect();
            released(&mut Pacing::new(&shared, thread, &own), &shared, 0).len()
        });
        assert_eq!(counts, [3, 2, 2]);
    }

    #[test]
    fn a_schedule_spaces_the_messages_of_all_publishers_evenly_over_threads() {
        let plan = plan("fanin", |flags| (flags.rate, flags.publishers, flags.threads) = (Some(1000), Some(3), 2));
        let shared = Shared::new(&plan);
        let mut even = Pacing::new(&shared, 0, &[0, 2]);
        let mut odd = Pacing::new(&shared, 1, &[1]);
        assert_eq!(released(&mut even, &shared, 2_000_000), [(0, 1), (2, 1)]);
        assert_eq!(released(&mut odd, &shared, 999_999), []);
        assert_eq!(released(&mut odd, &shared, 4_000_000), [(1, 1), (1, 1)]);
        assert_eq!(released(&mut even, &shared, 5_000_000), [(0, 1), (2, 1)]);
    }
}
