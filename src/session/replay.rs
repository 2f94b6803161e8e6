//! Replays: retained messages that a session is still to get for its new subscriptions.
//!
//! Duty: remember what is to be looked for and how far the search has come, hold the few messages that were found and not
//! yet sent, and know which topics a live message has overtaken. Must not: search, send. Neighbours: `shard/replay` drives it.
//!
//! What is retained is looked for when the client takes it, so that a session costs little however much its subscriptions
//! match. So a live message may come before the retained one of its topic was found; that one is sent before it, and the
//! search passes it over later.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{Account, Subscription};
use crate::message::Message;
use crate::topic::{Place, TopicFilter, TopicName};

/// What a topic that was overtaken costs beside its text, bytes.
const MARK_OVERHEAD_BYTES: usize = 64;

/// The replays of one session, in the order of its subscriptions. Dropped when the last is done.
#[derive(Debug)]
pub struct Replays {
    /// By number; the first is the one that is being searched.
    waiting: BTreeMap<u64, Replay>,
    by_filter: BTreeMap<Arc<str>, u64>,
    last_number: u64,
    /// What was found for the first and is not yet sent.
    found: VecDeque<Message>,
    /// Topics of which the replays up to that number must not send anything any more.
    overtaken: BTreeMap<Box<str>, u64>,
    /// Charged for what was found, and for the topics.
    account: Account,
    /// Whether the shard knows that there is more to be looked for.
    pub is_listed: bool,
}

#[derive(Debug)]
struct Replay {
    filter: Arc<str>,
    subscription: Subscription,
    search: Search,
}

/// How far the search for one subscription has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Nothing was looked at.
    Begin,
    /// All that is before this place was looked at.
    From(Place),
    /// Everything was looked at.
    Done,
}

/// What is to be done next.
#[derive(Debug)]
pub enum NextReplay {
    /// Send this message for this subscription.
    Send(Message, Subscription),
    /// Search on for this filter, and tell by [`Replays::found`].
    Search(Arc<str>, Subscription, Search),
    /// Nothing: all is done.
    Nothing,
}

impl Replays {
    /// Nothing to replay; what will be held is charged to `account`.
    pub fn new(account: Account) -> Self {
        Self {
            waiting: BTreeMap::new(),
            by_filter: BTreeMap::new(),
            last_number: 0,
            found: VecDeque::new(),
            overtaken: BTreeMap::new(),
            account,
            is_listed: false,
        }
    }

    /// Adds the replay for a subscription. An earlier one for the same filter ends: this one brings all of it.
    pub fn add(&mut self, filter: Arc<str>, subscription: Subscription) {
        self.end(&filter);
        self.last_number += 1;
        self.by_filter.insert(Arc::clone(&filter), self.last_number);
        self.waiting.insert(self.last_number, Replay { filter, subscription, search: Search::Begin });
    }

    /// Forgets what is still to be replayed for a subscription that has ended [MQTT-3.10.4-2].
    pub fn end(&mut self, filter: &str) {
        let Some(number) = self.by_filter.remove(filter) else { return };
        if self.waiting.first_key_value().is_some_and(|(first, _)| *first == number) {
            for message in self.found.drain(..) {
                self.account.release_message(&message);
            }
        }
        self.waiting.remove(&number);
    }

    /// Says what is to be done next.
    pub fn advance(&mut self) -> NextReplay {
        loop {
            let Some(first) = self.waiting.first_entry() else { return NextReplay::Nothing };
            let number = *first.key();
            let replay = first.get();
            while let Some(message) = self.found.pop_front() {
                self.account.release_message(&message);
                if self.overtaken.get(message.topic()).is_none_or(|&last| last < number) {
                    return NextReplay::Send(message, replay.subscription);
                }
            }
            if replay.search != Search::Done {
                return NextReplay::Search(Arc::clone(&replay.filter), replay.subscription, replay.search);
            }
            let replay = first.remove();
            self.by_filter.remove(&replay.filter);
        }
    }

    /// What was found for the filter that [`Self::advance`] named, and how far the search has come now.
    pub fn found(&mut self, messages: VecDeque<Message>, search: Search) {
        if let Some(mut first) = self.waiting.first_entry() {
            first.get_mut().search = search;
            messages.iter().for_each(|message| self.account.charge_message(message));
            self.found = messages;
        }
    }

    /// A live message of this topic comes before what is retained of it: the subscriptions for which that is still to be sent,
    /// now. `place` is where it is kept. `None`: there is no room to remember the topic.
    pub fn overtake(&mut self, topic: TopicName<'_>, place: Option<Place>) -> Option<Vec<Subscription>> {
        let text = topic.as_str();
        let known = self.overtaken.get(text).copied();
        let done = known.unwrap_or(0);
        if done >= self.last_number {
            return Some(Vec::new());
        }
        let cost = MARK_OVERHEAD_BYTES + text.len();
        if known.is_none() {
            if !self.account.admits(cost) {
                return None;
            }
            self.account.charge(cost);
        }
        let is_found = || self.found.iter().any(|message| message.topic() == text);
        let is_owed = |replay: &&Replay| {
            TopicFilter::trusted(&replay.filter).matches(topic)
                && match replay.search {
                    Search::Begin => true,
                    Search::From(from) => place.is_some_and(|place| !place.is_before(from)) || is_found(),
                    Search::Done => is_found(),
                }
        };
        let later = self.waiting.range(done + 1..).map(|(_, replay)| replay);
        let owed = later.filter(is_owed).map(|replay| replay.subscription).collect();
        self.overtaken.insert(text.into(), self.last_number);
        Some(owed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::account::{Budget, LargePayloads};
    use super::*;
    use crate::message::MessageView;
    use crate::wire::{QoS, SubscriptionOptions};

    fn budget(bytes_max: usize) -> Budget {
        Budget::new(bytes_max, LargePayloads::default(), 1)
    }

    fn message(topic: &str) -> Message {
        Message::new(&MessageView {
            topic,
            properties: &[],
            payload: b"x",
            shared_payload: None,
            qos: QoS::AtLeastOnce,
            retain: true,
            expires_at: None,
            publisher: None,
        })
    }

    fn subscription(subscription_id: u32) -> Subscription {
        Subscription { options: SubscriptionOptions::default(), subscription_id: Some(subscription_id) }
    }

    fn name(topic: &str) -> TopicName<'_> {
        TopicName::trusted(topic)
    }

    /// What comes until the next search, as topics.
    fn sent(replays: &mut Replays) -> Vec<String> {
        let mut topics = Vec::new();
        while let NextReplay::Send(message, _) = replays.advance() {
            topics.push(message.topic().to_owned());
        }
        topics
    }

    fn found(replays: &mut Replays, topics: &[&str]) {
        replays.found(topics.iter().map(|topic| message(topic)).collect(), Search::Done);
    }

    #[test]
    fn subscriptions_are_searched_one_after_the_other() {
        let mut replays = Replays::new(budget(usize::MAX).open());
        replays.add(Arc::from("a"), subscription(1));
        replays.add(Arc::from("#"), subscription(2));
        assert!(matches!(replays.advance(), NextReplay::Search(filter, _, Search::Begin) if &*filter == "a"));
        found(&mut replays, &["a"]);
        assert_eq!(sent(&mut replays), ["a"]);
        assert!(matches!(replays.advance(), NextReplay::Search(filter, _, Search::Begin) if &*filter == "#"));
        found(&mut replays, &["a", "b"]);
        assert_eq!(sent(&mut replays), ["a", "b"]);
        assert!(matches!(replays.advance(), NextReplay::Nothing));
    }

    #[test]
    fn what_was_overtaken_is_sent_for_each_subscription_once_and_not_again() {
        let mut replays = Replays::new(budget(usize::MAX).open());
        replays.add(Arc::from("#"), subscription(1));
        replays.add(Arc::from("b"), subscription(2));
        replays.add(Arc::from("c"), subscription(3));
        let owed = replays.overtake(name("b"), None).expect("room");
        assert_eq!(owed, [subscription(1), subscription(2)]);
        assert_eq!(replays.overtake(name("b"), None), Some(Vec::new()));
        found(&mut replays, &["a", "b", "c"]);
        assert_eq!(sent(&mut replays), ["a", "c"]);
        found(&mut replays, &["b"]);
        assert!(sent(&mut replays).is_empty());
    }

    /// A subscription that is made after the live message wants what is retained again.
    #[test]
    fn a_later_subscription_is_not_overtaken() {
        let mut replays = Replays::new(budget(usize::MAX).open());
        replays.add(Arc::from("#"), subscription(1));
        assert_eq!(replays.overtake(name("b"), None).expect("room").len(), 1);
        replays.add(Arc::from("b"), subscription(2));
        found(&mut replays, &["b"]);
        assert!(sent(&mut replays).is_empty());
        found(&mut replays, &["b"]);
        assert_eq!(sent(&mut replays), ["b"]);
    }

    /// What the search has yet to come by is owed, what it has passed only while it is found and not sent.
    #[test]
    fn a_topic_that_the_search_has_not_passed_is_owed_to_the_live_message() {
        let mut replays = Replays::new(budget(usize::MAX).open());
        replays.add(Arc::from("#"), subscription(1));
        replays.found(VecDeque::new(), Search::From(Place::default()));
        assert_eq!(replays.overtake(name("b"), Some(Place::default())), Some(vec![subscription(1)]));
        assert_eq!(replays.overtake(name("c"), None), Some(Vec::new()));
    }

    #[test]
    fn a_second_live_message_overtakes_only_what_was_added_since_the_first() {
        let mut replays = Replays::new(budget(usize::MAX).open());
        replays.add(Arc::from("#"), subscription(1));
        assert_eq!(replays.overtake(name("topic"), None), Some(vec![subscription(1)]));
        assert_eq!(replays.account.weight(), MARK_OVERHEAD_BYTES + 5);
        replays.add(Arc::from("topic"), subscription(2));
        assert_eq!(replays.overtake(name("topic"), None), Some(vec![subscription(2)]));
        assert_eq!(replays.account.weight(), MARK_OVERHEAD_BYTES + 5);
    }

    #[test]
    fn what_was_sent_already_is_not_owed_to_a_live_message() {
        let mut replays = Replays::new(budget(usize::MAX).open());
        replays.add(Arc::from("#"), subscription(1));
        found(&mut replays, &["a", "b"]);
        assert!(matches!(replays.advance(), NextReplay::Send(..)));
        assert_eq!(replays.overtake(name("a"), None), Some(Vec::new()));
        assert_eq!(replays.overtake(name("b"), None).expect("room").len(), 1);
        assert!(sent(&mut replays).is_empty());
    }

    /// [MQTT-3.10.4-2], and case R13: a filter that is subscribed to again and again is replayed once.
    #[test]
    fn a_subscription_that_ends_or_is_made_anew_takes_its_replay_along() {
        let budget = budget(usize::MAX);
        let mut replays = Replays::new(budget.open());
        replays.add(Arc::from("a"), subscription(1));
        found(&mut replays, &["a"]);
        replays.add(Arc::from("a"), subscription(2));
        assert_eq!((replays.waiting.len(), budget.kept_bytes()), (1, 0));
        assert!(matches!(replays.advance(), NextReplay::Search(_, wanted, _) if wanted == subscription(2)));
        replays.end("a");
        assert!(matches!(replays.advance(), NextReplay::Nothing));
    }

    #[test]
    fn what_is_held_is_charged_and_given_back() {
        let budget = budget(1000);
        let mut replays = Replays::new(budget.open());
        replays.add(Arc::from("#"), subscription(1));
        found(&mut replays, &["a"]);
        let with_message = budget.kept_bytes();
        assert!(with_message > 0);
        assert!(replays.overtake(name("b"), None).is_some());
        assert!(budget.kept_bytes() > with_message);
        assert!((0..1000).any(|number| replays.overtake(name(&format!("t/{number}")), None).is_none()));
        drop(replays);
        assert_eq!(budget.kept_bytes(), 0);
    }
}
