//! Denials: what clients had no right to, the last of it.
//!
//! Duty: keep so many of all shards together. Must not: grow, or be asked per message: the shards tell few. Neighbours: `report` notes,
//! `window` shows.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::Access;

/// How many are kept.
const KEPT_MAX: usize = 100;

/// Something that a client had no right to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// When, milliseconds since 1970.
    pub at_unix_millis: u64,
    /// Client id.
    pub client_id: Box<str>,
    /// User name, if it has one.
    pub user: Option<Box<str>>,
    /// The other end of its connection, if that is still there.
    pub address: Option<String>,
    /// What it wanted to do.
    pub access: Access,
    /// Topic name or filter.
    pub topic: Box<str>,
    /// What has decided.
    pub rule: Box<str>,
}

/// The last of them, of all shards.
#[derive(Clone, Debug, Default)]
pub(super) struct Denials(Arc<Mutex<VecDeque<Denied>>>);

impl Denials {
    pub(super) fn note(&self, denied: Denied) {
        let mut kept = self.lock();
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(denied);
    }

    /// The last one first.
    pub(super) fn last(&self) -> Vec<Denied> {
        self.lock().iter().rev().cloned().collect()
    }

    /// Nothing is half-written when a thread panics here.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Denied>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_whatever_comes() {
        let denials = Denials::default();
        for at_unix_millis in 0..=KEPT_MAX as u64 {
            denials.note(Denied {
                at_unix_millis,
                client_id: "c".into(),
                user: None,
                address: None,
                access: Access::Publish,
                topic: "t".into(),
                rule: "r".into(),
            });
        }
        let last: Vec<_> = denials.last().iter().map(|denied| denied.at_unix_millis).collect();
        assert_eq!((last.len(), last[0], last[KEPT_MAX - 1]), (KEPT_MAX, KEPT_MAX as u64, 1));
    }
}
