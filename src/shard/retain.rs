//! Retained messages (section 3.3.1.3): one replica per shard.
//!
//! Duty: keep the newest per topic, the same on every shard; find those of a filter. Must not: choose receivers.
//! Neighbours: `route` and `mesh` set, `replay` searches, `deadline` ends what expires.
//!
//! Writers on several shards are ordered by stamp (logical clock, shard), whatever the order in which the mesh brings them.
//! A deletion keeps its stamp as a tombstone, so that an older message that is still on its way cannot come back; it is
//! freed when every shard's clock has passed it, as nothing older can be sent from then on.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::ops::ControlFlow;

use super::mesh::Peers;
use super::timers::Timer;
use super::{Outbox, Shard, Stamp};
use crate::id::{Millis, PublisherId, ShardId};
use crate::limits::{Limits, SHARDS_MAX};
use crate::message::{Message, MessageView};
use crate::session::{Account, Search, cost_of};
use crate::topic::{Place, RetainedTrie, TopicFilter, TopicName};
use crate::wire::LastWill;

/// Retained messages that have ended are looked for this often, milliseconds,
pub(super) const SWEEP_MILLIS: u64 = 500;
/// among that many nodes of the trie.
const SWEEP_NODES_MAX: u32 = 16_384;

/// What a retained message costs beside itself: its topic in the trie and the nodes above it, bytes.
const RETAINED_OVERHEAD_BYTES: usize = 128;

/// A stamp in eight bytes, never 0, in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PackedStamp(NonZeroU64);

const _: () = assert!(SHARDS_MAX <= 1 << SHARD_BITS);
const SHARD_BITS: u32 = 7;

impl PackedStamp {
    fn of(stamp: Stamp) -> Self {
        Self((NonZeroU64::MIN).saturating_add(stamp.clock << SHARD_BITS | u64::from(stamp.shard.0)))
    }

    fn stamp(self) -> Stamp {
        let packed = self.0.get() - 1;
        Stamp { clock: packed >> SHARD_BITS, shard: ShardId((packed & ((1 << SHARD_BITS) - 1)) as u16) }
    }
}

#[derive(Debug)]
struct Entry {
    stamp: PackedStamp,
    /// `None`: a tombstone.
    message: Option<Message>,
}

/// The retained messages of the broker.
#[derive(Debug)]
pub(super) struct Retained {
    trie: RetainedTrie<Entry>,
    messages: usize,
    bytes: usize,
    tombstones: VecDeque<(Stamp, Box<str>)>,
    account: Account,
    /// Messages that will end by themselves.
    expiring: usize,
    /// Whether a sweep is set.
    is_swept: bool,
    /// Where the next sweep goes on.
    sweep_from: u32,
}

impl Retained {
    pub(super) fn new(hash_seed: u64, account: Account) -> Self {
        Self {
            trie: RetainedTrie::new(hash_seed),
            messages: 0,
            bytes: 0,
            tombstones: VecDeque::new(),
            account,
            expiring: 0,
            is_swept: false,
            sweep_from: 0,
        }
    }

    /// Puts back what was retained, as set at that stamp.
    pub(super) fn restore(&mut self, message: &Message, stamp: Stamp) {
        self.apply(message.topic(), Some(message.clone()), stamp, false);
    }

    /// Whether a sweep is to be set: something ends, and none is set. One is, from now on.
    pub(super) fn wants_sweep(&mut self) -> bool {
        self.expiring > 0 && !std::mem::replace(&mut self.is_swept, true)
    }

    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    pub(super) fn tombstones(&self) -> usize {
        self.tombstones.len()
    }

    /// Whether a retained PUBLISH is within the bounds; decided by the publisher's shard alone.
    pub(super) fn admits(&self, topic: TopicName<'_>, view: &MessageView<'_>, limits: &Limits) -> bool {
        if view.payload.is_empty() {
            return true;
        }
        let old = self.trie.get(topic).and_then(|entry| entry.message.as_ref());
        let old_bytes = old.map_or(0, Message::counted_bytes);
        self.messages + usize::from(old.is_none()) <= limits.retained_messages_max
            && self.bytes - old_bytes + view.counted_bytes() <= limits.retained_bytes_max
            && self.account.admits(if old.is_none() { RETAINED_OVERHEAD_BYTES + cost_of(view) } else { 0 })
    }

    /// Sets (`Some`) or clears (`None`) if `stamp` is newer than what is there. Says whether it was.
    fn apply(&mut self, topic: &str, message: Option<Message>, stamp: Stamp, keeps_tombstones: bool) -> bool {
        let name = TopicName::trusted(topic);
        let packed = PackedStamp::of(stamp);
        let is_newer = |entry: &Entry| entry.stamp >= packed;
        let old = if message.is_none() && !keeps_tombstones {
            if self.trie.get(name).is_some_and(is_newer) {
                return false;
            }
            self.trie.remove(name)
        } else {
            let kept = message.clone();
            let Ok(old) = self.trie.insert_unless(name, Entry { stamp: packed, message: kept }, is_newer) else {
                return false;
            };
            if message.is_none() {
                self.tombstones.push_back((stamp, topic.into()));
            }
            old
        };
        self.count(message.as_ref(), 1);
        self.count(old.and_then(|entry| entry.message).as_ref(), -1);
        true
    }

    fn count(&mut self, message: Option<&Message>, sign: isize) {
        if let Some(message) = message {
            self.messages = self.messages.saturating_add_signed(sign);
            self.expiring =
                self.expiring.saturating_add_signed(if message.view().expires_at.is_some() { sign } else { 0 });
            self.bytes = self.bytes.saturating_add_signed(sign * message.counted_bytes() as isize);
            if sign.is_positive() {
                self.account.charge_message(message);
                self.account.charge(RETAINED_OVERHEAD_BYTES);
            } else {
                self.account.release_message(message);
                self.account.release(RETAINED_OVERHEAD_BYTES);
            }
        }
    }

    /// Frees tombstones that every shard's clock has passed.
    pub(super) fn free_tombstones(&mut self, passed_clock: u64) {
        while self.tombstones.front().is_some_and(|(stamp, _)| stamp.clock <= passed_clock) {
            let Some((stamp, topic)) = self.tombstones.pop_front() else { return };
            let name = TopicName::trusted(&topic);
            if self.trie.get(name).is_some_and(|entry| entry.message.is_none() && entry.stamp == PackedStamp::of(stamp))
            {
                self.trie.remove(name);
            }
        }
    }

    /// Frees what has ended among the next nodes; says what that was.
    fn sweep(&mut self, now: Millis, keeps_tombstones: bool) -> Vec<Message> {
        let mut ended = Vec::new();
        let next = self.trie.retain_some(self.sweep_from, SWEEP_NODES_MAX, |entry| {
            match entry.message.take_if(|message| message.view().is_expired(now)) {
                None => true,
                Some(message) => {
                    ended.push((entry.stamp.stamp(), message));
                    keeps_tombstones
                }
            }
        });
        self.sweep_from = next.unwrap_or(0);
        for (stamp, message) in &ended {
            self.count(Some(message), -1);
            if keeps_tombstones {
                self.tombstones.push_back((*stamp, message.topic().into()));
            }
        }
        ended.into_iter().map(|(_, message)| message).collect()
    }

    /// What is retained of a topic now, and where it is.
    pub(super) fn placed(&self, topic: TopicName<'_>, now: Millis) -> (Option<Place>, Option<Message>) {
        let message = self.trie.get(topic).and_then(|entry| entry.message.as_ref());
        (self.trie.place(topic), message.filter(|message| !message.view().is_expired(now)).cloned())
    }

    /// Whether something is retained of a topic.
    pub(super) fn has(&self, topic: TopicName<'_>) -> bool {
        self.trie.get(topic).is_some_and(|entry| entry.message.is_some())
    }

    /// Whether a filter may match anything, as far as `nodes_max` nodes say, and how many nodes it took.
    pub(super) fn has_match(&self, filter: TopicFilter<'_>, nodes_max: usize) -> (bool, usize) {
        let mut has_any = false;
        let cost = self.trie.for_each_match_within(filter, nodes_max, |entry| {
            has_any = entry.message.is_some();
            if has_any { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (has_any || cost.is_cut, cost.nodes)
    }

    /// Searches for a filter, looking at no more than `nodes_max` nodes. A search that begins walks along the filter. One that
    /// this would be too much for, though it had the whole bound, goes through all nodes in parts, as it matches many.
    pub(super) fn search(
        &self,
        now: Millis,
        filter: TopicFilter<'_>,
        search: Search,
        nodes_max: usize,
        is_whole_bound: bool,
    ) -> Finding {
        let mut messages = VecDeque::new();
        let mut find = |entry: &Entry| {
            messages.extend(entry.message.iter().filter(|message| !message.view().is_expired(now)).cloned());
        };
        if let Search::From(from) = search {
            let mut visit = |entry: &Entry| {
                let topic = entry.message.as_ref().map(|message| TopicName::trusted(message.topic()));
                if topic.is_some_and(|topic| filter.matches(topic)) {
                    find(entry);
                }
            };
            let next = self.trie.for_each_from(from, nodes_max, &mut visit);
            return Finding { messages, search: next.map_or(Search::Done, Search::From), nodes: nodes_max };
        }
        let cost = self.trie.for_each_match_within(filter, nodes_max, |entry| {
            find(entry);
            ControlFlow::Continue(())
        });
        if cost.is_cut {
            let search = if is_whole_bound { Search::From(Place::default()) } else { Search::Begin };
            return Finding { messages: VecDeque::new(), search, nodes: nodes_max };
        }
        Finding { messages, search: Search::Done, nodes: cost.nodes }
    }
}

/// What a search has found.
pub(super) struct Finding {
    pub(super) messages: VecDeque<Message>,
    /// How far it has come.
    pub(super) search: Search,
    /// Nodes that it looked at.
    pub(super) nodes: usize,
}

impl Shard {
    /// Sets or (empty payload [MQTT-3.3.1-6]) clears the retained message of a topic. Whether its publisher waits for the store.
    pub(super) fn set_retained(&mut self, now: Millis, message: &Message, stamp: Stamp, outbox: &mut Outbox) -> bool {
        let view = message.view();
        let is_kept = !view.payload.is_empty() && !view.is_expired(now);
        let keeps_tombstones = self.config.shards > 1;
        let kept = is_kept.then(|| message.clone());
        if !self.retained.apply(view.topic, kept, stamp, keeps_tombstones) {
            return false;
        }
        self.await_sweep(now);
        if !is_kept {
            self.owe_clock(outbox);
        }
        self.keep_retained(now, message, is_kept, outbox)
    }

    /// Frees retained messages that have ended, a part of all at a time. They are not sent any more since their end.
    /// The end was agreed when the message was sent, so every shard reaches it alone, under the message's own stamp.
    pub(super) fn sweep_retained(&mut self, now: Millis, outbox: &mut Outbox) {
        let ended = self.retained.sweep(now, self.config.shards > 1);
        for message in &ended {
            self.keep_retained(now, message, false, outbox);
        }
        if !ended.is_empty() {
            self.owe_clock(outbox);
            // Most stamps are old: the clocks of all shards have passed them already, and no further batch may come.
            self.free_tombstones();
        }
        if self.retained.expiring > 0 {
            self.timers.set(now.after_millis(SWEEP_MILLIS), Timer::RetainedSweep);
        } else {
            self.retained.is_swept = false;
        }
    }

    /// Frees what the clocks of all shards allow.
    pub(super) fn free_tombstones(&mut self) {
        if !self.retained.tombstones.is_empty() {
            self.retained.free_tombstones(self.peers.passed_clock());
        }
    }

    /// The clock is news to all others: they wait for it to free tombstones.
    fn owe_clock(&mut self, outbox: &mut Outbox) {
        for peer in self.peers.others() {
            let batch = &mut outbox.mesh[peer.index()];
            batch.is_clock_owed = true;
            batch.clock = Peers::clock(&self.peers);
        }
    }
}

/// The message of a will, as it will be published (section 3.1.2.5).
pub(super) fn will_message(will: &LastWill<'_>, publisher: PublisherId) -> Message {
    let mut properties = Vec::new();
    will.properties.forward_into(&mut properties);
    Message::new(&MessageView {
        topic: will.topic,
        properties: &properties,
        payload: will.payload,
        shared_payload: None,
        qos: will.qos,
        retain: will.retain,
        expires_at: None,
        publisher: Some(publisher),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ShardId;
    use crate::session::LargePayloads;
    use crate::shard::{Input, ShardConfig};
    use crate::wire::QoS;

    fn message(topic: &str, expires_at: Option<Millis>) -> Message {
        Message::new(&MessageView {
            topic,
            properties: &[],
            payload: b"x",
            shared_payload: None,
            qos: QoS::AtMostOnce,
            retain: true,
            expires_at,
            publisher: None,
        })
    }

    #[test]
    fn what_is_retained_takes_two_words_in_its_node() {
        assert_eq!(size_of::<Option<Entry>>(), 16);
    }

    /// Clock first, then shard, as the stamps themselves.
    #[test]
    fn a_packed_stamp_is_the_stamp_in_the_same_order() {
        let shards = [0, 1, SHARDS_MAX as u16 - 1];
        let clocks = [0, 1, 127, 128, (1 << 57) - 2];
        let stamps: Vec<Stamp> =
            clocks.into_iter().flat_map(|clock| shards.map(|shard| Stamp { clock, shard: ShardId(shard) })).collect();
        assert!(stamps.is_sorted());
        let packed: Vec<PackedStamp> = stamps.iter().map(|stamp| PackedStamp::of(*stamp)).collect();
        assert!(packed.is_sorted_by(|one, other| one < other), "{packed:?}");
        assert_eq!(packed.iter().map(|packed| packed.stamp()).collect::<Vec<_>>(), stamps);
    }

    /// A shard wakes for the end of retained messages while there are some that end, and not otherwise.
    #[test]
    fn there_are_sweeps_while_there_are_messages_that_end() {
        let mut shard = Shard::new(ShardConfig {
            shard: ShardId(0),
            shards: 1,
            hash_seed: 1,
            id_seed: 1,
            secret: crate::auth::scram::Secret::new([9; 32]),
            limits: Limits::default(),
            large_payloads: LargePayloads::default(),
            is_faulty: false,
            store: None,
            policy: std::sync::Arc::default(),
        });
        let mut outbox = Outbox::new(1);
        let mut retain = |shard: &mut Shard, now: Millis, topic, expires_at| {
            let stamp = shard.peers.tick();
            shard.set_retained(now, &message(topic, expires_at), stamp, &mut outbox);
            shard.next_deadline()
        };
        assert_eq!(retain(&mut shard, Millis(0), "kept", None), None);
        for start in [0, 100_000] {
            assert!(retain(&mut shard, Millis(start), "ending", Some(Millis(start + 2000))).is_some());
            let mut sweeps = 0;
            while let Some(due) = shard.next_deadline() {
                assert!(due.0 < start + 4000, "no sweep after the end");
                shard.handle(due, Input::Deadline, &mut Outbox::new(1));
                sweeps += 1;
            }
            assert!((4..=5).contains(&sweeps), "{sweeps} sweeps in two seconds");
            assert_eq!(shard.sizes().retained_messages, 1);
        }
    }
}
