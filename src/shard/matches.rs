//! The answer to "who wants this topic?", remembered.
//!
//! Duty: turn the trie's matches into one delivery per session (overlapping subscriptions merged [MQTT-3.3.4-2], unless each is to
//! get a copy), the set of other shards, and the groups; remember it until a subscription changes. Must not: deliver. Neighbours:
//! `topic` below; `route` and `run` ask, `subscribe`, `interest` and `group` change the trie.

use std::borrow::Borrow;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use super::rights::PUBLISHERS_MAX;
use crate::id::{SessionId, ShardId};
use crate::limits::{Level, Limits};
use crate::session::SubscriptionIds;
use crate::topic::{SubscriptionTrie, TopicFilter, TopicName};
use crate::wire::{QoS, SubscriptionOptions};

/// So many bytes may the remembered answers have for each topic that may be remembered, on average.
const BYTES_PER_TOPIC: usize = 1024;

/// Topics that were asked for once and are known to have been: eight bits each.
const NEWCOMERS_MAX: usize = 16_384;
const NEWCOMER_BITS: usize = NEWCOMERS_MAX * 8;

/// A topic of that many messages is one of those whose number outlives the answer.
const HOT_MIN: u64 = 16;
/// So many topics of which that is kept.
const HOT_TOPICS_MAX: usize = 1024;

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
    fn bytes(&self) -> usize {
        let deliveries: usize = self.deliveries.iter().map(Delivery::bytes).sum();
        self.topic.len() + size_of_val(&self.groups[..]) + deliveries
    }
}

/// An answer, to be found by its topic.
#[derive(Debug)]
struct Remembered(Rc<Matches>);

impl Borrow<[u8]> for Remembered {
    fn borrow(&self) -> &[u8] {
        self.0.topic.as_bytes()
    }
}

impl Hash for Remembered {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.topic.as_bytes().hash(state);
    }
}

impl PartialEq for Remembered {
    fn eq(&self, other: &Self) -> bool {
        self.0.topic == other.0.topic
    }
}

impl Eq for Remembered {}

/// The subscriptions of a shard, with remembered matches.
#[derive(Debug)]
pub(super) struct Subscribers {
    trie: SubscriptionTrie<Subscriber, Wish>,
    remembered: HashSet<Remembered, ahash::RandomState>,
    remembered_generation: u64,
    /// Bytes that the remembered answers have together.
    remembered_bytes: usize,
    newcomers: Newcomers,
    /// Messages published here by topic, of topics that were remembered before and had many.
    published_before: HashMap<Box<str>, u64, ahash::RandomState>,
    topics_max: usize,
    nodes_max: usize,
    /// Whether overlapping subscriptions of a session get a copy each.
    gives_copies: bool,
}

/// Topics that were asked for once: what is never asked for again is not worth remembering, and must not drive out what is.
#[derive(Debug, Default)]
struct Newcomers {
    /// Two bits for each topic, at places that its hash says; none before the first topic.
    marks: Vec<u64>,
    noted: usize,
}

impl Newcomers {
    /// Whether a topic of this hash has come before, perhaps; notes it if not, up to a number after which all begins anew.
    fn has_come_before(&mut self, hash: u64) -> bool {
        self.noted += 1;
        if self.noted > NEWCOMERS_MAX || self.marks.is_empty() {
            self.marks.clear();
            self.marks.resize(NEWCOMER_BITS / 64, 0);
            self.noted = 1;
        }
        let mut is_known = true;
        for part in [hash, hash >> 32] {
            let bit = part as usize % NEWCOMER_BITS;
            let word = &mut self.marks[bit / 64];
            is_known &= *word >> (bit % 64) & 1 == 1;
            *word |= 1 << (bit % 64);
        }
        is_known
    }
}

impl Subscribers {
    pub(super) fn new(hash_seed: u64, limits: &Limits) -> Self {
        let hasher = ahash::RandomState::with_seeds(hash_seed, !hash_seed, 0x5bd1_e995, 3);
        let published_before = HashMap::with_hasher(hasher.clone());
        Self {
            trie: SubscriptionTrie::new(hash_seed),
            remembered: HashSet::with_hasher(hasher),
            remembered_generation: 0,
            remembered_bytes: 0,
            newcomers: Newcomers::default(),
            published_before,
            topics_max: limits.match_cache_topics_max,
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
        let matches = Rc::new(matches);
        if self.topics_max == 0
            || !self.newcomers.has_come_before(self.remembered.hasher().hash_one(topic.as_str().as_bytes()))
        {
            return matches;
        }
        let bytes = matches.bytes();
        let is_full = self.remembered_bytes + bytes > self.topics_max.saturating_mul(BYTES_PER_TOPIC);
        if self.remembered.len() >= self.topics_max || is_full {
            self.forget();
        }
        self.remembered_bytes += bytes;
        self.remembered.insert(Remembered(Rc::clone(&matches)));
        matches
    }

    /// Everybody who wants a topic that has been asked for since the last change: so these bytes are a topic name.
    pub(super) fn remembered(&mut self, topic: &[u8]) -> Option<Rc<Matches>> {
        if self.remembered_generation != self.trie.generation() {
            self.forget();
            self.remembered_generation = self.trie.generation();
        }
        self.remembered.get(topic).map(|known| Rc::clone(&known.0))
    }

    /// Topics with the most messages published here, most first; so many at most. Only of those that are asked for again and again.
    pub(super) fn hottest(&self, most: usize) -> Vec<(Box<str>, u64)> {
        let before = |topic: &str| self.published_before.get(topic).copied().unwrap_or(0);
        let now = self.remembered.iter();
        let now = now.map(|Remembered(matches)| (&*matches.topic, matches.published.get() + before(&matches.topic)));
        let gone = self.published_before.iter().filter(|(topic, _)| !self.remembered.contains(topic.as_bytes()));
        let mut all: Vec<_> = now.chain(gone.map(|(topic, published)| (&**topic, *published))).collect();
        all.retain(|(_, published)| *published > 0);
        if all.len() > most {
            all.select_nth_unstable_by_key(most, |(_, published)| Reverse(*published));
            all.truncate(most);
        }
        all.sort_unstable_by_key(|(_, published)| Reverse(*published));
        all.into_iter().map(|(topic, published)| (topic.into(), published)).collect()
    }

    /// Keeps how much was published to the topics that have the most, before all answers are forgotten.
    fn note_published(&mut self) {
        let Self { remembered, published_before, .. } = self;
        for Remembered(matches) in remembered.iter().filter(|known| known.0.published.get() >= HOT_MIN) {
            let published = matches.published.get();
            match published_before.get_mut(&matches.topic) {
                Some(before) => *before += published,
                None => drop(published_before.insert(matches.topic.clone(), published)),
            }
        }
        if published_before.len() > HOT_TOPICS_MAX {
            let mut counts: Vec<u64> = published_before.values().copied().collect();
            let (_, least, _) = counts.select_nth_unstable_by_key(HOT_TOPICS_MAX / 2, |count| Reverse(*count));
            let least = *least;
            published_before.retain(|_, published| *published > least);
        }
    }

    /// Forgets all answers.
    pub(super) fn forget(&mut self) {
        self.note_published();
        self.remembered.clear();
        self.remembered_bytes = 0;
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
    fn a_topic_is_remembered_when_it_is_asked_for_again() {
        let mut subscribers = Subscribers::new(1, &Limits::default());
        assert_eq!(subscribers.remembered(b"a").map(|known| known.topic.clone()), None);
        subscribers.of(TopicName::trusted("a"));
        assert!(subscribers.remembered(b"a").is_none(), "once is not enough");
        subscribers.of(TopicName::trusted("a"));
        assert_eq!(subscribers.remembered(b"a").map(|known| known.topic.clone()), Some("a".into()));
        for number in 0..20_000 {
            subscribers.of(TopicName::trusted(&format!("never again/{number}")));
        }
        assert!(subscribers.remembered(b"a").is_some() && subscribers.remembered.len() < 2_000, "few are mistaken");
    }

    #[test]
    fn all_topics_that_come_again_are_remembered() {
        let mut subscribers = Subscribers::new(1, &Limits::default());
        let topics: Vec<String> = (0..3000).map(|number| format!("topic/{number}")).collect();
        for topic in topics.iter().chain(&topics) {
            subscribers.of(TopicName::trusted(topic));
        }
        assert!(topics.iter().all(|topic| subscribers.remembered(topic.as_bytes()).is_some()));
        assert_eq!(subscribers.remembered.len(), 3000);
    }

    /// Two places each, of as many as there are bits; all is forgotten after so many questions.
    #[test]
    fn newcomers_are_known_by_their_marks_until_there_were_many() {
        let of = |one: usize, other: usize| one as u64 | (other as u64) << 32;
        let mut newcomers = Newcomers::default();
        let last = NEWCOMER_BITS - 1;
        for (one, other, is_known) in [
            (1, 2, false),
            (last, 4, false),
            (1, 2, true),
            (last, 4, true),
            (1, 4, true),
            (2 + NEWCOMER_BITS, last, true),
            (1, 65, false),
            (66, 2, false),
            (5, 6, false),
            (6, 5, true),
        ] {
            assert_eq!(newcomers.has_come_before(of(one, other)), is_known, "{one} {other}");
        }
        let mut newcomers = Newcomers::default();
        for question in 0..3 * NEWCOMERS_MAX {
            assert_eq!(newcomers.has_come_before(of(7, 8)), question % NEWCOMERS_MAX != 0, "question {question}");
        }
        assert_eq!(newcomers.marks.len() * 64, NEWCOMER_BITS);
    }

    /// As wide answers take as much room as many narrow ones.
    #[test]
    fn the_receivers_of_remembered_topics_are_bounded_together() {
        let mut subscribers = Subscribers::new(1, &Limits { match_cache_topics_max: 4, ..Limits::default() });
        for session in 0..50 {
            subscribers.insert(
                TopicFilter::trusted("#"),
                Subscriber::Session(session),
                wish(QoS::AtMostOnce, false, 0),
            );
        }
        for topic in ["a", "b", "c"] {
            for _ in 0..2 {
                assert_eq!(subscribers.of(TopicName::trusted(topic)).deliveries.len(), 50);
            }
        }
        assert_eq!((subscribers.remembered.len(), subscribers.remembered_bytes), (1, 1 + 50 * size_of::<Delivery>()));
    }

    /// Who makes topics long, or groups or Subscription Identifiers many, makes few of them remembered.
    #[test]
    fn all_that_a_remembered_answer_is_made_of_is_bounded() {
        let limits = Limits { match_cache_topics_max: 4, ..Limits::default() };
        let (mut of_groups, mut of_ids) = (Subscribers::new(1, &limits), Subscribers::new(1, &limits));
        for number in 0..512_u32 {
            of_groups.insert(TopicFilter::trusted("#"), Subscriber::Group(number), Wish::ANY);
            // Each of nine levels by itself or by a wildcard.
            let levels: String = (0..9).map(|level| if number >> level & 1 == 0 { "x/" } else { "+/" }).collect();
            let wish = wish(QoS::AtMostOnce, number % 2 == 0, number + 1);
            of_ids.insert(TopicFilter::trusted(&format!("{levels}+")), Subscriber::Session(0), wish);
        }
        let matches = of_ids.of(TopicName::trusted("x/x/x/x/x/x/x/x/x/x"));
        assert_eq!(matches.bytes(), 19 + 2 * size_of::<Delivery>() + (512 + 256) * 4, "once for its own messages");
        let matches = of_groups.of(TopicName::trusted("xyz"));
        assert_eq!(matches.bytes(), 3 + 512 * 4);
        // Two of them are just not too much.
        let long = "x".repeat(2 * BYTES_PER_TOPIC - 1);
        for (what, prefix, mut subscribers, remembered) in [
            ("topics", &*long, Subscribers::new(1, &limits), 2),
            ("groups", "", of_groups, 1),
            ("identifiers", "x/x/x/x/x/x/x/x/x/", of_ids, 1),
        ] {
            for number in 1..5 {
                for _ in 0..2 {
                    subscribers.of(TopicName::trusted(&format!("{prefix}{number}")));
                }
                let found = (subscribers.remembered.len(), subscribers.remembered_bytes <= 4 * BYTES_PER_TOPIC);
                assert_eq!(found, ((number - 1) % remembered + 1, true), "{what}");
            }
        }
    }

    #[test]
    fn a_change_is_seen_at_once_and_memory_of_topics_is_bounded() {
        let mut subscribers = subscribers(&[]);
        for (topic, remembered) in [("a", 1), ("b", 2), ("b", 2), ("c", 1), ("d", 2)] {
            for _ in 0..2 {
                assert!(subscribers.of(TopicName::trusted(topic)).is_empty());
            }
            assert_eq!(subscribers.remembered.len(), remembered);
        }
        subscribers.insert(TopicFilter::trusted("d"), Subscriber::Shard(ShardId(3)), Wish::ANY);
        assert_eq!(subscribers.of(TopicName::trusted("d")).shards, 8);
    }
}
