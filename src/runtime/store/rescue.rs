//! Rescue: what can be read of a keyspace in which something is damaged.
//!
//! Duty: read without ever failing; copy what is before and behind the damage, and bring it back into the mended keyspace. Must not:
//! decide what is set aside. Neighbours: `engine` scans by it, and mends in between.

use std::ops::Bound;

use fjall::{Keyspace, OwnedWriteBatch, PersistMode};

use super::super::panic_policy;
use super::opening::Records;
use crate::store::Space;

/// Records in one commit.
const COPIED_AT_ONCE: usize = 1024;

/// Reads a keyspace up to its end or to what cannot be read, of which the reason is returned. `each` says whether to go on.
pub(super) fn read_forward(
    keyspace: &Keyspace,
    after: Option<&[u8]>,
    each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
) -> Option<String> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    read(&mut keyspace.range::<&[u8], _>((from, Bound::Unbounded)), each)
}

fn read(records: &mut dyn Iterator<Item = fjall::Guard>, each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Option<String> {
    loop {
        match panic_policy::catch(|| records.next().map(fjall::Guard::into_inner)) {
            Ok(None) => return None,
            Ok(Some(Ok((key, value)))) => {
                if !each(&key, &value) {
                    return None;
                }
            }
            Ok(Some(Err(error))) => return Some(format!("{error:?}")),
            Err(panic) => return Some(panic),
        }
    }
}

/// A copy of what can be read, in a database of its own.
pub(super) struct Rescue<'a> {
    records: &'a Records,
    space: Space,
    /// Between these two keys nothing is known.
    last_before: Option<Vec<u8>>,
    first_behind: Option<Vec<u8>>,
}

impl<'a> Rescue<'a> {
    /// Copies what is before the first record that cannot be read, and what is behind the last one.
    ///
    /// # Errors
    /// The copy cannot be written.
    pub(super) fn of(from: &Keyspace, into: &'a Records, space: Space) -> Result<Self, String> {
        let mut copy = Self { records: into, space, last_before: None, first_behind: None };
        let mut writing = Writing::new(into, space);
        let mut last_before = None;
        let mut put = |key: &[u8], value: &[u8]| {
            last_before = Some(key.to_vec());
            writing.put(key, Some(value))
        };
        if read_forward(from, None, &mut put).is_some() {
            let mut put = |key: &[u8], value: &[u8]| {
                let is_behind = last_before.as_deref().is_none_or(|last| key > last);
                if is_behind {
                    copy.first_behind = Some(key.to_vec());
                }
                is_behind && writing.put(key, Some(value))
            };
            let _ = read(&mut from.iter().rev(), &mut put);
        }
        copy.last_before = last_before;
        writing.finish()?;
        Ok(copy)
    }

    /// Makes a mended keyspace what it was, where that is known. In between it may have records that are older than they should be.
    ///
    /// # Errors
    /// They cannot be written.
    pub(super) fn put_back(&self, records: &Records) -> Result<(), String> {
        let (target, copy) = (&records.keyspaces[self.space as usize], &self.records.keyspaces[self.space as usize]);
        let mut writing = Writing::new(records, self.space);
        let is_known = |key: &[u8]| {
            self.last_before.as_deref().is_some_and(|last| key <= last)
                || self.first_behind.as_deref().is_some_and(|first| key >= first)
        };
        let mut forget = |key: &[u8], _: &[u8]| {
            let is_there = !is_known(key) || copy.contains_key(key).unwrap_or(true);
            is_there || writing.put(key, None)
        };
        let failed = read_forward(target, None, &mut forget);
        let mut put = |key: &[u8], value: &[u8]| {
            let is_same = target.get(key).is_ok_and(|found| found.is_some_and(|found| *found == *value));
            is_same || writing.put(key, Some(value))
        };
        let failed = failed.or(read_forward(copy, None, &mut put));
        writing.finish()?;
        failed.map_or(Ok(()), Err)
    }
}

/// Commits of many records.
struct Writing<'a> {
    records: &'a Records,
    keyspace: &'a Keyspace,
    batch: Option<OwnedWriteBatch>,
    failed: Option<String>,
}

impl<'a> Writing<'a> {
    fn new(records: &'a Records, space: Space) -> Self {
        Self { records, keyspace: &records.keyspaces[space as usize], batch: None, failed: None }
    }

    /// False: it has failed, and there is no use in going on.
    fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> bool {
        let batch = self.batch.get_or_insert_with(|| {
            let batch = OwnedWriteBatch::with_capacity(self.records.database.clone(), COPIED_AT_ONCE);
            batch.durability(Some(PersistMode::Buffer))
        });
        match value {
            Some(value) => batch.insert(self.keyspace, key, value),
            None => batch.remove(self.keyspace, key),
        }
        if batch.len() >= COPIED_AT_ONCE { self.commit() } else { true }
    }

    fn commit(&mut self) -> bool {
        if let Some(batch) = self.batch.take()
            && let Err(error) = batch.commit()
        {
            self.failed = Some(format!("{error:?}"));
        }
        self.failed.is_none()
    }

    fn finish(mut self) -> Result<(), String> {
        self.commit();
        if let Some(why) = self.failed {
            return Err(why);
        }
        self.records.database.persist(PersistMode::SyncData).map_err(|error| format!("{error:?}"))
    }
}
