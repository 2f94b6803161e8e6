//! Changes of records, gathered: what one turn of a shard wants to be written.
//!
//! Duty: hold puts and deletions side by side in one buffer. Must not: know what the records mean. Neighbours: `shard/keep` fills a
//! batch, `group` makes one commit of many.

use super::Space;

/// Flag in the first byte of a change, beside its space.
const DELETION: u8 = 0x80;

/// One change of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// In which table.
    pub space: Space,
    /// Of which record.
    pub key: &'a [u8],
    /// What it is now; `None`: it is deleted.
    pub value: Option<&'a [u8]>,
}

/// Changes in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    bytes: Vec<u8>,
    count: usize,
}

impl Changes {
    /// Adds a record, or takes the place of the one with that key.
    pub fn put(&mut self, space: Space, key: &[u8], value: &[u8]) {
        self.put_with(space, key, |bytes| bytes.extend_from_slice(value));
    }

    /// As [`Changes::put`], with a value that is written where it stays.
    pub fn put_with(&mut self, space: Space, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        self.begin(space as u8, key);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(key);
        let from = self.bytes.len();
        write(&mut self.bytes);
        let len = u32::try_from(self.bytes.len() - from).expect("a record is smaller than a packet and its head");
        self.bytes[at..at + 4].copy_from_slice(&len.to_ne_bytes());
    }

    /// Adds a change.
    pub fn add(&mut self, change: Change<'_>) {
        match change.value {
            Some(value) => self.put(change.space, change.key, value),
            None => self.delete(change.space, change.key),
        }
    }

    /// Deletes a record, if it is there.
    pub fn delete(&mut self, space: Space, key: &[u8]) {
        self.begin(space as u8 | DELETION, key);
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(key);
    }

    fn begin(&mut self, tag: u8, key: &[u8]) {
        let key_len = u16::try_from(key.len()).expect("a key has 65,535 bytes at most");
        self.bytes.push(tag);
        self.bytes.extend_from_slice(&key_len.to_ne_bytes());
        self.count += 1;
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes that they take here.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Puts these behind.
    pub fn append(&mut self, others: &Self) {
        self.bytes.extend_from_slice(&others.bytes);
        self.count += others.count;
    }

    /// Forgets all; the room stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = Change<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (&tag, after) = rest.split_first()?;
            let (key_len, after) = after.split_first_chunk::<2>()?;
            let (value_len, after) = after.split_first_chunk::<4>()?;
            let (key, after) = after.split_at(usize::from(u16::from_ne_bytes(*key_len)));
            let (value, after) = after.split_at(u32::from_ne_bytes(*value_len) as usize);
            rest = after;
            let space = Space::ALL[usize::from(tag & !DELETION)];
            Some(Change { space, key, value: (tag & DELETION == 0).then_some(value) })
        })
    }
}

/// What one turn of a shard wants to be written, all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Its number; the store answers for it by `Input::Stored`. Rising, per shard.
    pub ticket: u64,
    /// Whether somebody waits until it is safe.
    pub must_sync: bool,
    /// The changes.
    pub changes: Changes,
    /// Parts of an operation that is done on several shards: they are to be written when it is closed, and the ticket waits for that.
    pub staged: Vec<(OperationId, Changes)>,
    /// Operations that are complete: what was staged for them is written in one piece with these changes.
    pub closed: Vec<OperationId>,
}

impl Batch {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.staged.is_empty() && self.closed.is_empty()
    }
}

/// Something that several shards do together, by the number that the first of them gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId {
    /// The shard that began it, and closes it.
    pub shard: crate::id::ShardId,
    /// Its number there.
    pub number: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_as_they_went_in() {
        let mut changes = Changes::default();
        changes.put(Space::Queue, b"key", b"value");
        changes.delete(Space::Retained, b"a/b");
        changes.put(Space::Meta, b"", b"");
        let all = [
            Change { space: Space::Queue, key: b"key", value: Some(b"value") },
            Change { space: Space::Retained, key: b"a/b", value: None },
            Change { space: Space::Meta, key: b"", value: Some(b"") },
        ];
        assert_eq!(changes.iter().collect::<Vec<_>>(), all);
        let twice = {
            let mut twice = changes.clone();
            twice.append(&changes);
            twice
        };
        assert_eq!((twice.len(), twice.iter().count()), (6, 6));
    }

    #[test]
    fn each_space_stands_at_its_number() {
        for (index, space) in Space::ALL.into_iter().enumerate() {
            assert_eq!(space as usize, index);
        }
    }
}
