//! What answers at once is held, and let go.
//!
//! Duty: the mesh, the store, and checks of passwords, each until a conversation says so. Must not: judge. Neighbours: `broker` is the
//! world that waits meanwhile.

use ringmq::shard::{CredentialCheck, Input, Verdict};

use super::Broker;

impl Broker {
    /// Nothing passes between the shards until [`Broker::release_mesh`].
    pub(crate) fn hold_mesh(&self) {
        self.world.borrow_mut().is_mesh_held = true;
    }

    /// What was held passes.
    pub(crate) fn release_mesh(&self) {
        let mut world = self.world.borrow_mut();
        world.is_mesh_held = false;
        world.settle();
    }

    /// No password is checked until [`Broker::release_checks`].
    pub(crate) fn hold_checks(&self) {
        self.world.borrow_mut().are_checks_held = true;
    }

    /// What was held is checked.
    pub(crate) fn release_checks(&self) {
        let mut world = self.world.borrow_mut();
        world.are_checks_held = false;
        world.settle();
    }

    /// The passwords that wait to be checked, taken away.
    pub(crate) fn take_checks(&self) -> Vec<CredentialCheck> {
        let mut world = self.world.borrow_mut();
        world.cores.iter_mut().flat_map(|core| std::mem::take(&mut core.outbox.checks)).collect()
    }

    /// A verdict on what was taken away, on every shard that knows the question.
    pub(crate) fn answer(&self, check: &CredentialCheck, verdict: Verdict) {
        let mut world = self.world.borrow_mut();
        let (ticket, connection) = (check.ticket, check.connection);
        (0..world.cores.len())
            .for_each(|shard| world.handle(shard, Input::Verified { ticket, connection, verdict: verdict.clone() }));
        world.settle();
    }

    /// What was held is answered with this verdict, twice, and what is asked later is checked.
    pub(crate) fn answer_checks(&self, verdict: Verdict) {
        let mut world = self.world.borrow_mut();
        world.are_checks_held = false;
        for shard in 0..world.cores.len() {
            for check in std::mem::take(&mut world.cores[shard].outbox.checks) {
                let (ticket, connection) = (check.ticket, check.connection);
                for ticket in [ticket, ticket + 7] {
                    world.handle(shard, Input::Verified { ticket, connection, verdict: verdict.clone() });
                }
            }
        }
        world.settle();
    }

    /// The store answers nothing until [`Broker::release_store`].
    pub(crate) fn hold_store(&self) {
        self.world.borrow_mut().is_store_held = true;
    }

    /// The store answers what it was asked; `is_safe` tells with which success, from now on.
    pub(crate) fn release_store(&self, is_safe: bool) {
        let mut world = self.world.borrow_mut();
        world.is_store_held = false;
        world.is_store_safe = is_safe;
        world.settle();
    }
}
