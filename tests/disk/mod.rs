//! A store of memory that forgets: what is synced and what is only written, apart.
//!
//! Duty: commit as the store thread does, lose what was not synced, and read what is left. Must not: judge. Neighbours: `conformance`
//! and `sim` give it the batches of their shards, and build new shards of what it held.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::collections::BTreeMap;

use ringmq::id::{Millis, ShardId};
use ringmq::store::record::{Wall, key_of};
use ringmq::store::{Batch, Changes, Group, Reading, Space, Stored};

type Image = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

/// A disk with one store on it.
#[derive(Debug)]
pub(crate) struct Disk {
    group: Group,
    synced: Image,
    /// Commits that no sync has covered, oldest first.
    written: Vec<Changes>,
    /// How often a process has had it.
    epoch: u64,
    /// Whether a commit that should sync does so: the control that shows that it matters.
    pub(crate) is_honest: bool,
}

impl Disk {
    /// An empty one.
    pub(crate) fn new(shards: usize) -> Self {
        Self { group: Group::new(shards), synced: Image::new(), written: Vec::new(), epoch: 1, is_honest: true }
    }

    /// The first number for what a shard stores.
    pub(crate) fn first_number(&self, shard: usize) -> u64 {
        self.epoch << 48 | (shard as u64) << 41
    }

    /// Takes what a turn wants to be written.
    pub(crate) fn take(&mut self, shard: usize, batch: Batch) {
        self.group.take(ShardId(shard as u16), batch);
    }

    /// Commits what was taken, and tells which tickets that answers.
    pub(crate) fn commit(&mut self, is_safe: bool) -> Vec<(usize, u64)> {
        let mut answers = Vec::new();
        if is_safe {
            self.written.push(self.group.changes().clone());
            if self.group.must_sync() && self.is_honest {
                self.sync();
            }
        }
        self.group.committed(is_safe, &mut |shard, through, _| answers.push((shard.index(), through)));
        answers
    }

    /// Whether something was taken since the last commit.
    pub(crate) fn has_work(&self) -> bool {
        !self.group.is_empty()
    }

    fn sync(&mut self) {
        let Self { written, synced, .. } = self;
        written.drain(..).for_each(|changes| apply(synced, &changes));
    }

    /// The power fails: of what was not synced so many commits are there, whole.
    pub(crate) fn lose(&mut self, survivors: usize) {
        let Self { written, synced, .. } = self;
        written.iter().take(survivors).for_each(|changes| apply(synced, changes));
        written.clear();
    }

    /// How many commits a failure of the power may take.
    pub(crate) fn unsynced(&self) -> usize {
        self.written.len()
    }

    /// A new process of so many shards opens the store; what a commit did not cover is gone.
    pub(crate) fn reopen(&mut self, shards: usize, time: (Millis, Wall)) -> Stored {
        let mut reading = Reading::new(time, Box::new(|payload| payload));
        for space in Reading::ORDER {
            let records = self.synced.range((space, Vec::new())..).take_while(|((found, _), _)| *found == space);
            records.for_each(|((_, key), value)| reading.take(space, key, value));
        }
        let stored = reading.finish();
        apply(&mut self.synced, &stored.cleanup);
        self.group = Group::new(shards);
        stored.references.iter().for_each(|(key, message)| self.group.restore_reference(*key, *message));
        self.epoch += 1;
        stored
    }

    /// How many records of a kind there are, synced or not.
    pub(crate) fn count(&self, space: Space) -> usize {
        let mut image = self.synced.clone();
        self.written.iter().for_each(|changes| apply(&mut image, changes));
        image.keys().filter(|(found, _)| *found == space).count()
    }

    /// Whether there is a message record of that number.
    pub(crate) fn has_message(&self, number: u64) -> bool {
        self.synced.contains_key(&(Space::Message, key_of(number).to_vec()))
    }
}

fn apply(image: &mut Image, changes: &Changes) {
    for change in changes.iter() {
        let key = (change.space, change.key.to_vec());
        match change.value {
            Some(value) => drop(image.insert(key, value.to_vec())),
            None => drop(image.remove(&key)),
        }
    }
}
