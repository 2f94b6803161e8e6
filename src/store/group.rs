//! Group commit: one commit made of what many turns want to be written.
//!
//! Duty: gather batches; hold back what is staged until its operation is closed; delete a message with the last queue entry that
//! refers to it; say which tickets a commit answers. Must not: write. Neighbours: `runtime/store` commits what is gathered.
//!
//! How many entries refer to a message is counted here and nowhere written, so that a crash leaves no count that is wrong; it is
//! counted anew when the store is opened.

use std::collections::{HashMap, VecDeque};

use ahash::RandomState;

use super::record;
use super::{Batch, Change, Changes, OperationId, Space};
use crate::id::ShardId;

/// What a shard waits for.
#[derive(Debug, Default)]
struct Waits {
    /// Tickets that were taken and not answered, with the operations that they wait for.
    tickets: VecDeque<Ticket>,
    answered: u64,
}

#[derive(Debug)]
struct Ticket {
    number: u64,
    /// Operations staged with it that are not closed.
    open: u32,
    /// Whether what it brought itself is committed.
    is_committed: bool,
}

/// Part of an operation that waits.
#[derive(Debug)]
struct Staged {
    shard: ShardId,
    ticket: u64,
    changes: Changes,
}

/// Batches on their way into one commit.
#[derive(Debug)]
pub struct Group {
    changes: Changes,
    must_sync: bool,
    staged: HashMap<OperationId, Vec<Staged>, RandomState>,
    /// Entries of queues that are staged. Their clients may have them already, and what they answer goes behind the entry.
    staged_entries: HashMap<[u8; 16], OperationId, RandomState>,
    /// Of whose staged parts the commit that is gathered has some: (shard, ticket).
    closing: Vec<(ShardId, u64)>,
    shards: Vec<Waits>,
    /// The message that an entry refers to, and how many refer to each.
    references: HashMap<[u8; 16], u64, RandomState>,
    counts: HashMap<u64, u32, RandomState>,
}

impl Group {
    /// For so many shards.
    pub fn new(shards: usize) -> Self {
        let hasher = RandomState::with_seeds(0x51, 0x7c, 0xc1, 0xb7);
        Self {
            changes: Changes::default(),
            must_sync: false,
            staged: HashMap::with_hasher(hasher.clone()),
            staged_entries: HashMap::with_hasher(hasher.clone()),
            closing: Vec::new(),
            shards: std::iter::repeat_with(Waits::default).take(shards).collect(),
            references: HashMap::with_hasher(hasher.clone()),
            counts: HashMap::with_hasher(hasher),
        }
    }

    /// An entry of a queue that was in the store already refers to that message.
    pub fn restore_reference(&mut self, queue_key: [u8; 16], message: u64) {
        if self.references.insert(queue_key, message).is_none() {
            *self.counts.entry(message).or_default() += 1;
        }
    }

    /// Adds a batch to the commit. Batches of one shard come in the order of their tickets.
    pub fn take(&mut self, shard: ShardId, batch: Batch) {
        self.must_sync |= batch.must_sync;
        let open = u32::try_from(batch.staged.len()).expect("fewer than the messages of a turn");
        for (operation, changes) in batch.staged {
            self.staged_entries.extend(changes.iter().filter_map(entry_of).map(|entry| (entry, operation)));
            let part = Staged { shard, ticket: batch.ticket, changes };
            self.staged.entry(operation).or_default().push(part);
        }
        self.shards[shard.index()].tickets.push_back(Ticket { number: batch.ticket, open, is_committed: false });
        self.gather_free(&batch.changes);
        for operation in batch.closed {
            for part in self.staged.remove(&operation).unwrap_or_default() {
                for entry in part.changes.iter().filter_map(entry_of) {
                    self.staged_entries.remove(&entry);
                }
                self.gather(&part.changes);
                self.closing.push((part.shard, part.ticket));
            }
        }
    }

    /// Gathers what belongs to no operation that is open.
    fn gather_free(&mut self, changes: &Changes) {
        if self.staged_entries.is_empty() {
            return self.gather(changes);
        }
        let mut free = Changes::default();
        for change in changes.iter() {
            let operation = entry_of(change).and_then(|entry| self.staged_entries.get(&entry));
            let parts = operation.and_then(|operation| self.staged.get_mut(operation));
            // Its ticket comes after that of the entry, and so does its answer.
            match parts.and_then(|parts| parts.last_mut()) {
                Some(part) => part.changes.add(change),
                None => free.add(change),
            }
        }
        self.gather(&free);
    }

    fn gather(&mut self, changes: &Changes) {
        self.changes.append(changes);
        for change in changes.iter().filter(|change| change.space == Space::Queue) {
            self.count(change);
        }
    }

    /// Keeps the count of what refers to a message.
    fn count(&mut self, change: Change<'_>) {
        let reference = change.value.and_then(record::reference_of);
        if reference.is_none() && self.references.is_empty() {
            return;
        }
        let Ok(key) = <[u8; 16]>::try_from(change.key) else { return };
        let before = match reference {
            Some(message) => {
                *self.counts.entry(message).or_default() += 1;
                self.references.insert(key, message)
            }
            None => self.references.remove(&key),
        };
        let Some(message) = before else { return };
        let Some(count) = self.counts.get_mut(&message) else { return };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&message);
            self.changes.delete(Space::Message, &record::key_of(message));
        }
    }

    /// The changes of the commit.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Whether somebody waits until it is safe.
    pub fn must_sync(&self) -> bool {
        self.must_sync
    }

    /// Whether no batch was taken since the last commit.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
            && self.shards.iter().all(|waits| waits.tickets.iter().all(|ticket| ticket.is_committed))
    }

    /// Bytes that the commit has.
    pub fn bytes(&self) -> usize {
        self.changes.bytes()
    }

    /// What was gathered is committed, or (`is_safe` false) is answered as not safe; then it goes into the next commit again.
    /// Tells `answer` the tickets through which each shard is answered now.
    pub fn committed(&mut self, is_safe: bool, answer: &mut impl FnMut(ShardId, u64, bool)) {
        for (shard, number) in self.closing.drain(..) {
            let tickets = &mut self.shards[shard.index()].tickets;
            // In rising order, and all of them wait, as an open operation holds its ticket.
            if let Ok(at) = tickets.binary_search_by_key(&number, |ticket| ticket.number) {
                tickets[at].open -= 1;
            }
        }
        for (index, waits) in self.shards.iter_mut().enumerate() {
            waits.tickets.iter_mut().for_each(|ticket| ticket.is_committed = true);
            let before = waits.answered;
            while waits.tickets.front().is_some_and(|ticket| ticket.open == 0) {
                waits.answered = waits.tickets.pop_front().map_or(before, |ticket| ticket.number);
            }
            if waits.answered > before {
                answer(ShardId(index as u16), waits.answered, is_safe);
            }
        }
        self.must_sync = false;
        if is_safe {
            self.changes.clear();
        }
    }

    /// Operations that were begun and are not closed.
    pub fn open_operations(&self) -> usize {
        self.staged.len()
    }
}

/// The key of an entry of a queue.
fn entry_of(change: Change<'_>) -> Option<[u8; 16]> {
    change.key.try_into().ok().filter(|_| change.space == Space::Queue)
}

#[cfg(test)]
mod tests {
    use super::super::record::{Manner, key_of, put_reference, put_released, queue_key};
    use super::*;
    use crate::wire::QoS;

    const A: ShardId = ShardId(0);
    const B: ShardId = ShardId(1);

    fn reference(changes: &mut Changes, session: u64, message: u64) {
        let key = queue_key(session, 1);
        let manner = Manner { qos: QoS::AtLeastOnce, retain: false, subscription_ids: &[] };
        changes.put_with(Space::Queue, &key, |out| put_reference(&key, manner, message, out));
    }

    fn commit(group: &mut Group, is_safe: bool) -> Vec<(ShardId, u64, bool)> {
        let mut answers = Vec::new();
        group.committed(is_safe, &mut |shard, through, is_safe| answers.push((shard, through, is_safe)));
        answers
    }

    fn deleted_messages(group: &Group) -> Vec<Vec<u8>> {
        let deleted = group.changes().iter().filter(|change| change.space == Space::Message && change.value.is_none());
        deleted.map(|change| change.key.to_vec()).collect()
    }

    #[test]
    fn a_message_goes_with_the_last_entry_that_refers_to_it() {
        let mut group = Group::new(1);
        let mut batch = Batch { ticket: 1, must_sync: true, ..Batch::default() };
        (1..=3).for_each(|session| reference(&mut batch.changes, session, 77));
        group.take(A, batch);
        assert_eq!(commit(&mut group, true), [(A, 1, true)]);
        let mut batch = Batch { ticket: 2, ..Batch::default() };
        batch.changes.delete(Space::Queue, &queue_key(1, 1));
        batch.changes.delete(Space::Queue, &queue_key(1, 1));
        let key = queue_key(2, 1);
        batch.changes.put_with(Space::Queue, &key, |out| put_released(&key, out));
        group.take(A, batch);
        assert!(deleted_messages(&group).is_empty(), "one still refers to it");
        assert!(!group.must_sync());
        commit(&mut group, true);
        let mut batch = Batch { ticket: 3, ..Batch::default() };
        batch.changes.delete(Space::Queue, &queue_key(3, 1));
        group.take(A, batch);
        assert_eq!(deleted_messages(&group), [key_of(77).to_vec()]);
    }

    #[test]
    fn what_is_staged_is_written_with_what_closes_it_and_its_ticket_waits() {
        let mut group = Group::new(2);
        let operation = OperationId { shard: A, number: 9 };
        let mut part = Changes::default();
        reference(&mut part, 5, 78);
        let staged = Batch { ticket: 1, must_sync: true, staged: vec![(operation, part)], ..Batch::default() };
        group.take(B, staged);
        let mut later = Batch { ticket: 2, must_sync: true, ..Batch::default() };
        later.changes.put(Space::Meta, b"x", b"y");
        group.take(B, later);
        assert_eq!(group.changes().len(), 1, "what is staged is not there yet");
        assert_eq!(commit(&mut group, true), []);
        assert_eq!(group.open_operations(), 1);
        let mut closing = Batch { ticket: 1, must_sync: true, closed: vec![operation], ..Batch::default() };
        closing.changes.put(Space::Received, b"in", b"");
        group.take(A, closing);
        assert_eq!(group.changes().len(), 2);
        assert_eq!(commit(&mut group, true), [(A, 1, true), (B, 2, true)]);
        assert!(group.is_empty() && group.open_operations() == 0);
    }

    /// It may be sent before its operation is closed: the entry must not come back behind the acknowledgement.
    #[test]
    fn what_a_client_answers_to_a_message_that_is_staged_goes_behind_it() {
        let mut group = Group::new(2);
        let operation = OperationId { shard: A, number: 9 };
        let mut part = Changes::default();
        (5..=6).for_each(|session| reference(&mut part, session, 78));
        group.take(B, Batch { ticket: 1, must_sync: true, staged: vec![(operation, part)], ..Batch::default() });
        let mut answers = Batch { ticket: 2, must_sync: true, ..Batch::default() };
        let key = queue_key(5, 1);
        answers.changes.put_with(Space::Queue, &key, |out| put_released(&key, out));
        answers.changes.delete(Space::Queue, &queue_key(6, 1));
        answers.changes.put(Space::Meta, b"free", b"");
        group.take(B, answers);
        assert_eq!(group.changes().iter().map(|change| change.key.to_vec()).collect::<Vec<_>>(), [b"free"]);
        assert_eq!(commit(&mut group, true), [], "the answer of the client is not safe yet");
        group.take(A, Batch { ticket: 1, must_sync: true, closed: vec![operation], ..Batch::default() });
        let last = |session: u64| {
            let key = queue_key(session, 1);
            group.changes().iter().filter(|change| change.key == key).last().map(|change| change.value.is_some())
        };
        assert_eq!((last(5), last(6)), (Some(true), Some(false)), "released, and done");
        let value = group.changes().iter().filter(|change| change.key == key).last().and_then(|change| change.value);
        assert_eq!(value.and_then(record::reference_of), None, "what is left is no message");
        assert_eq!(deleted_messages(&group), [key_of(78).to_vec()], "nobody refers to it");
        assert_eq!(commit(&mut group, true), [(A, 1, true), (B, 2, true)]);
        assert!(group.staged_entries.is_empty());
    }

    #[test]
    fn what_could_not_be_committed_is_answered_so_and_stays_for_the_next_time() {
        let mut group = Group::new(1);
        let mut batch = Batch { ticket: 1, must_sync: true, ..Batch::default() };
        batch.changes.put(Space::Meta, b"one", b"");
        group.take(A, batch);
        assert_eq!(commit(&mut group, false), [(A, 1, false)]);
        let mut batch = Batch { ticket: 2, must_sync: true, ..Batch::default() };
        batch.changes.put(Space::Meta, b"two", b"");
        group.take(A, batch);
        assert_eq!(group.changes().iter().map(|change| change.key.to_vec()).collect::<Vec<_>>(), [b"one", b"two"]);
        assert_eq!(commit(&mut group, true), [(A, 2, true)]);
        assert!(group.changes().is_empty());
    }
}
