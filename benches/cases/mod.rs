//! What is measured: one list of cases for the wall clock and for the count of instructions.
//!
//! Duty: name each case, make its world, and repeat one piece of work in it. Must not: measure (`stopwatch` and
//! `scripts/instructions` do) or depend on a seed of chance: the same case does the same work in every process.
//! Neighbours: the benches of this folder, each of which names the cases it runs.

pub(crate) mod broker;
pub(crate) mod codec;
pub(crate) mod mesh;
pub(crate) mod packets;
pub(crate) mod retained;
pub(crate) mod trie;
pub(crate) mod turn;

/// Seed of every keyed hash.
pub(crate) const HASH_SEED: u64 = 0x5EED;

/// One piece of work, to be done again and again. It leaves the world as it found it.
pub(crate) type Work = Box<dyn FnMut()>;

/// A piece of work with a name.
pub(crate) struct Case {
    /// Unique among all cases.
    pub(crate) name: String,
    /// Operations in one call of the work; figures are given per operation.
    pub(crate) operations: u32,
    prepare: Box<dyn FnOnce() -> Work>,
}

impl Case {
    /// A case whose world is made only when it is its turn.
    pub(crate) fn new<W: FnMut() + 'static>(
        name: impl Into<String>,
        operations: u32,
        prepare: impl FnOnce() -> W + 'static,
    ) -> Self {
        Self { name: name.into(), operations, prepare: Box::new(move || Box::new(prepare())) }
    }

    /// Makes the world.
    pub(crate) fn prepare(self) -> Work {
        (self.prepare)()
    }
}
