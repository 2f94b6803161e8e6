//! The power fails, and the broker comes back with what its disk has.
//!
//! Duty: new shards of what the store held, perhaps another number, later on the wall's clock. Must not: judge. Neighbours: `broker` is
//! the world that goes on; `durable` holds the conversations.

use ringmq::id::{Millis, ShardId};
use ringmq::shard::{Input, StoreState, owner_of};
use ringmq::store::record::Wall;

use super::{Broker, World, hash_seed};

impl Broker {
    /// All that was not written is lost. The next process has so many shards, and begins `secs` later by the wall's clock.
    pub(crate) fn crash(&self, shards: usize, secs: i64) {
        let mut world = self.world.borrow_mut();
        let written = world.disk.unsynced();
        world.crash(shards, secs, written);
        world.settle();
    }

    /// As [`Self::crash`], and all that was written and not synced is lost too.
    pub(crate) fn lose_power(&self, shards: usize) {
        let mut world = self.world.borrow_mut();
        world.crash(shards, 0, 0);
        world.settle();
    }

    /// The store is in another state.
    pub(crate) fn set_store(&self, state: StoreState) {
        let mut world = self.world.borrow_mut();
        for shard in 0..world.cores.len() {
            world.handle(shard, Input::Store(state));
        }
        world.settle();
    }
}

impl World {
    /// Of the commits that were not synced so many are there.
    fn crash(&mut self, shards: usize, secs: i64, survivors: usize) {
        self.lines.iter_mut().for_each(|line| line.is_open = false);
        self.disk.lose(survivors);
        self.wall = Wall(self.wall.at(self.now).saturating_add_signed(secs * 1000));
        self.now = Millis(0);
        let stored = self.disk.reopen(shards, (self.now, self.wall));
        assert!(stored.damaged.is_empty() && stored.foreign == 0, "{:?}", stored.damaged);
        self.cores = (0..shards).map(|index| self.terms.core(index, shards, self.wall, &self.disk)).collect();
        self.in_transit = std::iter::repeat_with(Default::default).take(shards).collect();
        for core in &mut self.cores {
            for message in &stored.retained {
                core.shard.restore_retained(self.now, message, &mut core.outbox);
            }
        }
        for state in stored.sessions {
            let ShardId(owner) = owner_of(&state.session.client_id, hash_seed(), shards);
            let core = &mut self.cores[usize::from(owner)];
            core.shard.restore(self.now, state, &mut core.outbox);
        }
        self.settle();
        assert!(self.cores.iter().all(|core| core.shard.is_restored()), "every shard knows all interests");
    }
}
