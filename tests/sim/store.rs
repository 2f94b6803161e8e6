//! The store of the simulation: one queue of batches from all shards, a disk behind it, answers after a while.
//!
//! Duty: commit in the order of sending, late as the plan says. Must not: judge. Neighbours: `node` sends and asks; `disk` keeps.

use std::collections::VecDeque;

use ringmq::id::Millis;
use ringmq::store::record::Wall;
use ringmq::store::{Batch, Stored};

use crate::disk::Disk;
use crate::oracle::Moment;

/// What a shard has given to the store.
#[derive(Debug, Default)]
struct Given {
    /// Tickets with the moment of their sending.
    tickets: VecDeque<(u64, Moment)>,
    /// Answers that the shard has not taken.
    answers: VecDeque<u64>,
    /// Everything that was given by then is safe.
    safe_until: Moment,
}

/// The store thread and its disk.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) disk: Disk,
    queue: VecDeque<(Millis, usize, Batch)>,
    shards: Vec<Given>,
}

impl Store {
    pub(crate) fn new(disk: Disk, shards: usize) -> Self {
        Self { disk, queue: VecDeque::new(), shards: std::iter::repeat_with(Given::default).take(shards).collect() }
    }

    /// A batch that will be committed at `due`, or when those before it are.
    pub(crate) fn send(&mut self, due: Millis, shard: usize, batch: Batch, moment: Moment) {
        let due = self.queue.back().map_or(due, |(last, ..)| due.max(*last));
        self.shards[shard].tickets.push_back((batch.ticket, moment));
        self.queue.push_back((due, shard, batch));
    }

    /// Commits what is due, in groups of any size; then the next answer for this shard.
    pub(crate) fn answer(&mut self, now: Millis, shard: usize) -> Option<u64> {
        while let Some((_, from, batch)) = self.queue.pop_front_if(|(due, ..)| *due <= now) {
            self.disk.take(from, batch);
            // Batches of one moment are one commit.
            if self.queue.front().is_none_or(|(due, ..)| *due > now) {
                for (shard, through) in self.disk.commit(true) {
                    let given = &mut self.shards[shard];
                    given.answers.push_back(through);
                    while let Some((_, moment)) = given.tickets.pop_front_if(|(ticket, _)| *ticket <= through) {
                        given.safe_until = moment;
                    }
                }
            }
        }
        self.shards[shard].answers.pop_front()
    }

    /// Everything that a shard has given by then is safe.
    pub(crate) fn safe_until(&self, shard: usize) -> Moment {
        self.shards[shard].safe_until
    }

    /// A new process of so many shards: what was on its way is gone.
    pub(crate) fn reopen(&mut self, shards: usize, time: (Millis, Wall)) -> Stored {
        self.queue.clear();
        self.shards = std::iter::repeat_with(Given::default).take(shards).collect();
        self.disk.reopen(shards, time)
    }

    /// Whether nothing of a shard is on its way.
    pub(crate) fn is_quiet(&self, shard: usize) -> bool {
        let Given { tickets, answers, .. } = &self.shards[shard];
        tickets.is_empty() && answers.is_empty()
    }
}
