//! The answer to "who wants this topic?", remembered.
//!
//! Duty: turn the trie's matches into one delivery per session (overlapping subscriptions merged [MQTT-3.3.4-2], unless each is to
//! get a copy), the set of other shards, and the groups; say until when an answer holds. Must not: deliver. Neighbours: `topic` below;
//! `remembered` keeps answers; `route` and `run` ask, `subscribe`, `interest` and `group` change the trie.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::remembered::Remembered;
use super::rights::PUBLISHERS_MAX;
use crate::id::{SessionId, ShardId};
use crate::limits::{Level, Limits};
use crate::session::SubscriptionIds;
use crate::topic::{SubscriptionTrie, TopicFilter, TopicName};
use crate::wire::{QoS, SubscriptionOptions};

/// Who subscribes to a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subscriber {
    /// A session of this shard, by slot: its subscriptions leave the trie before the slot is reused.
    Session(u32),
    /// A shared subscription, by slot.
    Group(u32),
    /// Some session of another shard.
    Shard(ShardId),
}

/// How a subscriber wants its messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) qos: QoS,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    /// 0: none.
    pub(super) subscription_id: u32,
}

impl Wish {
    /// For subscribers that are not sessions.
    pub(super) const ANY: Self =
        Self { qos: QoS::ExactlyOnce, no_local: false, retain_as_published: true, subscription_id: 0 };

    pub(super) fn new(options: SubscriptionOptions, subscription_id: Option<u32>) -> Self {
        Self {
            qos: options.qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            subscription_id: subscription_id.unwrap_or(0),
        }
    }
}

/// One session that gets a message, once.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// Slot of the session.
    pub(super) session: u32,
    /// The greatest QoS of the matching subscriptions.
    pub(super) qos: QoS,
    /// Whether the RETAIN flag is kept.
    pub(super) retain_as_published: bool,
    /// Identifiers of all matching subscriptions [MQTT-3.3.4-4].
    pub(super) subscription_ids: SubscriptionIds,
    /// What of it holds for the session's own messages.
    pub(super) own: Own,
}

impl Delivery {
    fn bytes(&self) -> usize {
        let own = match &self.own {
            Own::Other(other) => other.bytes(),
            _ => 0,
        };
        size_of::<Self>() + size_of_val(self.subscription_ids.as_slice()) + own
    }
}

/// What a session gets of its own messages (section 3.8.3.1).
#[derive(Clone, Debug)]
pub(super) enum Own {
    /// The same as of others' messages.
    Same,
    /// Nothing: all matching subscriptions are No Local.
    Nothing,
    /// What the subscriptions that are not No Local ask for.
    Other(Box<Delivery>),
}

/// Everybody who wants a topic.
#[derive(Clone, Debug, Default)]
pub(super) struct Matches {
    /// The topic name.
    pub(super) topic: Box<str>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) groups: Vec<u32>,
    /// One bit per other shard.
    pub(super) shards: u128,
    /// A session stands among the deliveries more than once, as each of its subscriptions gets a copy.
    pub(super) has_copies: bool,
    /// More nodes than `match_nodes_max` would have to be visited: nobody is known.
    pub(super) is_too_wide: bool,
    /// Sessions here that may publish to the topic, as far as they were asked for and it is not said of all.
    publishers: RefCell<Vec<SessionId>>,
    /// How safe messages of the topic are kept, once that was asked for.
    pub(super) level: Cell<Option<Level>>,
    /// What the answer is of: it holds as long as nothing has changed since.
    pub(super) moment: u64,
    /// Messages that were published here since the topic is remembered.
    published: Cell<u64>,
}

impl Matches {
    /// The other shards.
    pub(super) fn peers(&self) -> impl Iterator<Item = ShardId> + use<> {
        let mut shards = self.shards;
        std::iter::from_fn(move || {
            let shard = ShardId(u16::try_from(shards.trailing_zeros()).ok()?);
            shards = shards.checked_sub(1).map(|less| shards & less)?;
            Some(shard)
        })
    }

    /// Whether a session is known to have the right to publish to the topic.
    pub(super) fn knows_publisher(&self, id: SessionId) -> bool {
        self.publishers.borrow().binary_search(&id).is_ok()
    }

    /// A session has the right to publish to the topic.
    pub(super) fn note_publisher(&self, id: SessionId) {
        let mut publishers = self.publishers.borrow_mut();
        if publishers.len() >= PUBLISHERS_MAX {
            publishers.clear();
        }
        if let Err(place) = publishers.binary_search(&id) {
            publishers.insert(place, id);
        }
    }

    /// So many more messages were published here.
    #[inline]
    pub(super) fn note_published(&self, messages: usize) {
        if !cfg!(feature = "unmetered") {
            self.published.set(self.published.get() + messages as u64);
        }
    }

    /// Messages published here since the topic is remembered.
    pub(super) fn published(&self) -> u64 {
        self.published.get()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.groups.is_empty() && self.shards == 0
    }

    /// What is remembered with it.
    pub(super) fn bytes(&self) -> usize {
        let deliveries: usize = self.deliveries.iter().map(Delivery::bytes).sum();
        self.topic.len() + size_of_val(&self.groups[..]) + deliveries
    }
}

/// The subscriptions of a shard, with remembered matches.
#[derive(Debug)]
pub(super) struct Subscribers {
    trie: SubscriptionTrie<Subscriber, Wish>,
    remembered: Remembered,
    /// How often all answers were given up.
    forgotten: u64,
    nodes_max: usize,
    /// Whether overlapping subscriptions of a session get a copy each.
    gives_copies: bool,
}

impl Subscribers {
    pub(super) fn new(hash_seed: u64, limits: &Limits) -> Self {
        let hasher = ahash::RandomState::with_seeds(hash_seed, !hash_seed, 0x5bd1_e995, 3);
        Self {
            trie: SubscriptionTrie::new(hash_seed),
            remembered: Remembered::new(hasher, limits.match_cache_topics_max),
            forgotten: 0,
            nodes_max: limits.match_nodes_max,
            gives_copies: false,
        }
    }

    /// Whether overlapping subscriptions of a session get a copy each from now on; what is remembered is to be forgotten.
    pub(super) fn give_copies(&mut self, gives_copies: bool) {
        self.gives_copies = gives_copies;
    }

    /// Adds or replaces; returns what was there.
    pub(super) fn insert(&mut self, filter: TopicFilter<'_>, subscriber: Subscriber, wish: Wish) -> Option<Wish> {
        self.trie.insert(filter, subscriber, wish)
    }

    pub(super) fn remove(&mut self, filter: TopicFilter<'_>, subscriber: Subscriber) -> Option<Wish> {
        self.trie.remove(filter, subscriber)
    }

    pub(super) fn len(&self) -> usize {
        self.trie.len()
    }

    /// Everybody who wants `topic`.
    pub(super) fn of(&mut self, topic: TopicName<'_>) -> Rc<Matches> {
        self.of_permitted(topic, |_| true)
    }

    /// Everybody who wants `topic`, without the sessions that may not have it. What is remembered holds until a subscription
    /// changes or [`Subscribers::forget`] is called, which is due when a right changes.
    pub(super) fn of_permitted(&mut self, topic: TopicName<'_>, may_have: impl Fn(u32) -> bool) -> Rc<Matches> {
        if let Some(matches) = self.remembered(topic.as_str().as_bytes()) {
            return matches;
        }
        let mut matches = self.look_up(topic);
        matches.deliveries.retain(|delivery| may_have(delivery.session));
        matches.moment = self.moment();
        self.remembered.note(matches)
    }

    /// Everybody who wants a topic that has been asked for since the last change: so these bytes are a topic name.
    pub(super) fn remembered(&self, topic: &[u8]) -> Option<Rc<Matches>> {
        self.remembered.get(topic, self.moment()).map(Rc::clone)
    }

    /// What was published here to topics that are asked for again and again: those of so many rows from `first` on, and where to go on.
    pub(super) fn published(&self, first: usize, rows: usize) -> (Vec<(&str, u64)>, Option<usize>) {
        self.remembered.published(first, rows)
    }

    /// Lets no answer hold that was given before.
    pub(super) fn forget(&mut self) {
        self.forgotten += 1;
    }

    /// Rises with whatever makes answers old.
    fn moment(&self) -> u64 {
        self.trie.generation() + self.forgotten
    }

    fn look_up(&self, topic: TopicName<'_>) -> Matches {
        let mut found = Matches { topic: topic.as_str().into(), ..Matches::default() };
        let mut sessions: Vec<(u32, Wish)> = Vec::new();
        let cost = self.trie.for_each_match(topic, self.nodes_max, |subscriber, wish| match subscriber {
            Subscriber::Session(slot) => sessions.push((slot, *wish)),
            Subscriber::Group(slot) => found.groups.push(slot),
            Subscriber::Shard(shard) => found.shards |= 1 << shard.index(),
        });
        if cost.is_cut {
            return Matches { topic: found.topic, is_too_wide: true, ..Matches::default() };
        }
        sessions.sort_by_key(|(slot, _)| *slot);
        found.groups.sort_unstable();
        let is_merged = |one: &(u32, Wish), other: &(u32, Wish)| one.0 == other.0 && !self.gives_copies;
        found.deliveries = sessions.chunk_by(is_merged).filter_map(merge).collect();
        found.has_copies = self.gives_copies && sessions.windows(2).any(|pair| pair[0].0 == pair[1].0);
        found
    }
}

/// One delivery for all matching subscriptions of a session.
fn merge(subscriptions: &[(u32, Wish)]) -> Option<Delivery> {
    let mut delivery = combine(subscriptions.iter())?;
    if subscriptions.iter().any(|(_, wish)| wish.no_local) {
        delivery.own = match combine(subscriptions.iter().filter(|(_, wish)| !wish.no_local)) {
            Some(other) => Own::Other(Box::new(other)),
            None => Own::Nothing,
        };
    }
    Some(delivery)
}

fn combine<'a>(subscriptions: impl Iterator<Item = &'a (u32, Wish)> + Clone) -> Option<Delivery> {
    let session = subscriptions.clone().next()?.0;
    let ids: Vec<u32> = subscriptions.clone().map(|(_, wish)| wish.subscription_id).filter(|&id| id != 0).collect();
    Some(Delivery {
        session,
        qos: subscriptions.clone().map(|(_, wish)| wish.qos).max()?,
        retain_as_published: subscriptions.clone().any(|(_, wish)| wish.retain_as_published),
        subscription_ids: SubscriptionIds::new(&ids),
        own: Own::Same,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(qos: QoS, no_local: bool, subscription_id: u32) -> Wish {
        Wish { qos, no_local, retain_as_published: false, subscription_id }
    }

    fn subscribers(entries: &[(&str, Wish)]) -> Subscribers {
        let mut subscribers = Subscribers::new(1, &Limits { match_cache_topics_max: 2, ..Limits::default() });
        for (filter, wish) in entries {
            subscribers.insert(TopicFilter::trusted(filter), Subscriber::Session(0), *wish);
        }
        subscribers
    }

    /// [MQTT-3.3.4-2], [MQTT-3.3.4-4]: one copy with the greatest QoS and every identifier.
    #[test]
    fn overlapping_subscriptions_are_one_delivery() {
        let mut subscribers =
            subscribers(&[("a/#", wish(QoS::AtMostOnce, false, 1)), ("a/b", wish(QoS::ExactlyOnce, false, 2))]);
        let matches = subscribers.of(TopicName::trusted("a/b"));
        assert_eq!(matches.deliveries.len(), 1);
        assert_eq!(matches.deliveries[0].qos, QoS::ExactlyOnce);
        let mut ids = matches.deliveries[0].subscription_ids.as_slice().to_vec();
        ids.sort_unstable();
        assert_eq!(ids, [1, 2]);
    }

    /// Section 3.8.3.1, No Local.
    #[test]
    fn no_local_takes_away_only_its_own_subscription() {
        let mut subscribers =
            subscribers(&[("a/#", wish(QoS::AtMostOnce, false, 1)), ("a/b", wish(QoS::ExactlyOnce, true, 2))]);
        let matches = subscribers.of(TopicName::trusted("a/b"));
        let Own::Other(own) = &matches.deliveries[0].own else { panic!("one is not No Local") };
        assert_eq!((own.qos, own.subscription_ids.as_slice()), (QoS::AtMostOnce, &[1][..]));
        let matches = subscribers.of(TopicName::trusted("a/c"));
        assert!(matches!(matches.deliveries[0].own, Own::Same));
    }

    #[test]
    fn a_change_is_seen_at_once_and_the_answer_is_remembered_again() {
        let mut subscribers = subscribers(&[]);
        for _ in 0..2 {
            assert!(subscribers.of(TopicName::trusted("d")).is_empty());
        }
        assert!(subscribers.remembered(b"d").is_some());
        subscribers.insert(TopicFilter::trusted("d"), Subscriber::Shard(ShardId(3)), Wish::ANY);
        assert!(subscribers.remembered(b"d").is_none());
        assert_eq!(subscribers.of(TopicName::trusted("d")).shards, 8);
        assert!(subscribers.remembered(b"d").is_some());
        subscribers.forget();
        assert!(subscribers.remembered(b"d").is_none());
    }
}
