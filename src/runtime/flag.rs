//! Flag: "wake me", said by one thread and taken back by another.
//!
//! Duty: the one memory protocol of the mesh, so that it can be checked by a model of memory (`tests/mesh_loom.rs`). Must
//! not: know what is waited for, or how to wake. Neighbours: `mesh` uses it for sleeping shards and for full queues.
//!
//! The waiter raises the flag, then looks once more for what it waits for, then waits. The other side publishes what is
//! waited for, then takes the flag, and wakes the waiter if it was up. Between its own two steps each side has a sequentially
//! consistent fence: so either the waiter sees what was published or the other side sees the flag, and no wakeup is lost.

// The model replaces this module by the one of its own.
use super::atomics::{AtomicBool, Ordering, fence};

/// Whether somebody waits and has to be woken.
#[derive(Debug)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    /// A flag that is down.
    pub(super) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Waiter: says that it is going to wait. It has to look once more after this and before it waits.
    pub(super) fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Waiter: no longer waits.
    pub(super) fn lower(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Waiter: whether nobody has taken the flag since it was raised.
    pub(super) fn is_up(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Other side, after publishing: whether the waiter has to be woken. True for one caller only.
    pub(super) fn take(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::AcqRel)
    }
}
