//! Snapshot: all records of an open store as they were at one moment, for somebody who takes long to read them.
//!
//! Duty: show each session with what is its own; give the store back as soon as it is wanted. Must not: hold up who writes, or mend
//! anything. Neighbours: `engine` makes one; `runtime/copying` reads it.

use std::io;
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fjall::{Guard, Keyspace, Readable, UserKey, UserValue};

use super::super::panic_policy;
use crate::store::Space;

/// What stands in a session's own tables, in the order in which it is shown.
const OF_SESSION: [Space; 3] = [Space::Subscription, Space::Received, Space::Queue];

/// Who is shown records: kind, key, value, and for a session the last sequence number in its queue, else 0.
pub type Taker<'a> = dyn FnMut(Space, &[u8], &[u8], u64) -> io::Result<()> + 'a;

/// The records of one moment. The store cannot be opened again while this is there.
pub struct Snapshot {
    // In this order they are given back.
    at: fjall::Snapshot,
    keyspaces: Vec<Keyspace>,
    /// Whether the store wants it back. The store waits until nobody else has this.
    is_wanted_back: Arc<AtomicBool>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Snapshot")
    }
}

impl Snapshot {
    pub(super) fn new(at: fjall::Snapshot, keyspaces: Vec<Keyspace>, is_wanted_back: Arc<AtomicBool>) -> Self {
        Self { at, keyspaces, is_wanted_back }
    }

    /// Shows messages that several sessions are to get, then each session and after it what is its own, then what is retained.
    ///
    /// # Errors
    /// What `take` says; something cannot be read; the store wants it back.
    pub fn show(&self, take: &mut Taker<'_>) -> io::Result<()> {
        self.show_all(Space::Message, take)?;
        let mut own = OF_SESSION.map(|space| (space, self.records(space).peekable()));
        for session in self.records(Space::Session) {
            let (key, value) = session?;
            // All of them are in the order of sessions.
            let is_of_session = |found: &UserKey| found.get(..key.len()).is_some_and(|number| number <= &*key);
            let has_queue = match own[OF_SESSION.len() - 1].1.peek() {
                Some(Ok((found, _))) => is_of_session(found),
                _ => false,
            };
            take(Space::Session, &key, &value, if has_queue { self.last_sequence(&key)? } else { 0 })?;
            for (space, records) in &mut own {
                let wanted = |found: &io::Result<(UserKey, UserValue)>| {
                    found.as_ref().map_or(true, |(found, _)| is_of_session(found))
                };
                while let Some(record) = records.next_if(wanted) {
                    let (key, value) = record?;
                    take(*space, &key, &value, 0)?;
                }
            }
        }
        self.show_all(Space::Retained, take)
    }

    fn show_all(&self, space: Space, take: &mut Taker<'_>) -> io::Result<()> {
        self.records(space).try_for_each(|record| {
            let (key, value) = record?;
            take(space, &key, &value, 0)
        })
    }

    fn records(&self, space: Space) -> impl Iterator<Item = io::Result<(UserKey, UserValue)>> {
        let mut records = self.at.iter(&self.keyspaces[space as usize]);
        let is_wanted_back = &self.is_wanted_back;
        iter::from_fn(move || {
            if is_wanted_back.load(Ordering::Acquire) {
                return Some(Err(io::Error::other("the store is opened again meanwhile")));
            }
            read(|| records.next().map(Guard::into_inner))
        })
    }

    fn last_sequence(&self, session: &[u8]) -> io::Result<u64> {
        let mut queue = self.at.prefix(&self.keyspaces[Space::Queue as usize], session);
        let key = read(|| queue.next_back().map(Guard::key)).transpose()?;
        Ok(key.and_then(|key| key.last_chunk().map(|last| u64::from_be_bytes(*last))).unwrap_or(0))
    }
}

/// The database panics where it finds what it does not expect.
fn read<T>(next: impl FnOnce() -> Option<fjall::Result<T>>) -> Option<io::Result<T>> {
    match panic_policy::catch(next) {
        Ok(found) => found.map(|found| found.map_err(|error| io::Error::other(format!("{error:?}")))),
        Err(panic) => Some(Err(io::Error::other(panic))),
    }
}
