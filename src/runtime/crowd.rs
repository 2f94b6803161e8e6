//! Crowd: how many connections a listener has, over all shards.
//!
//! Duty: count, and say no above the bound. Must not: close anything. Neighbours: `accepting` and `closing` count; a reload
//! changes the bound.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The connections of one listener. Nothing is published by it, so no order is needed.
#[derive(Debug)]
pub(super) struct Crowd {
    open: AtomicUsize,
    max: AtomicUsize,
}

impl Crowd {
    /// Nobody is here. `max`: `None` takes any number.
    pub(super) fn new(max: Option<usize>) -> Self {
        Self { open: AtomicUsize::new(0), max: AtomicUsize::new(max.unwrap_or(usize::MAX)) }
    }

    /// Changes the bound; who is here stays.
    pub(super) fn bound(&self, max: Option<usize>) {
        self.max.store(max.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Whether one more may come; if so, it has.
    pub(super) fn enter(&self) -> bool {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let may_come = before < self.max.load(Ordering::Relaxed);
        if !may_come {
            self.leave();
        }
        may_come
    }

    /// One has gone.
    pub(super) fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_come_as_the_bound_lets_and_again_when_one_has_gone() {
        let crowd = Crowd::new(Some(2));
        assert_eq!([crowd.enter(), crowd.enter(), crowd.enter()], [true, true, false]);
        crowd.leave();
        assert_eq!([crowd.enter(), crowd.enter()], [true, false]);
        crowd.bound(None);
        assert!(crowd.enter());
    }
}
