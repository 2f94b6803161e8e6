//! Any sequence of operations gives the same answers from the tries as from plain lists.
//!
//! Duty: turn random bytes into inserts, removes and matches, and compare. Must not: share matching code with the tries.
//! Neighbours: `src/topic`; the fuzz target and a seeded test both call it.
#![allow(unreachable_pub, reason = "a fuzz target and a test take this file in as a module")]

use std::ops::ControlFlow;

use ringmq::topic::{RetainedTrie, SubscriptionTrie, TopicFilter, TopicLimits, TopicName};

const LIMITS: TopicLimits = TopicLimits { bytes_max: 65_535, levels_max: 200 };

/// Levels of names; filters have `+` besides, and `#` at the end.
const LEVELS: [&str; 7] = ["", "a", "b", "c", "$SYS", "$", "a level that does not fit into a node"];

/// The bytes that are left to decide what happens; zeros when they are used up.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn below(&mut self, end: usize) -> usize {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(first) % end
    }

    fn topic(&mut self) -> String {
        let levels: Vec<&str> = (0..1 + self.below(5)).map(|_| LEVELS[self.below(LEVELS.len())]).collect();
        not_empty(levels.join("/"))
    }

    fn filter(&mut self) -> String {
        let shape = self.below(12);
        let mut levels: Vec<&str> =
            (0..shape / 2).map(|_| LEVELS.get(self.below(LEVELS.len() + 3)).copied().unwrap_or("+")).collect();
        if shape % 2 == 1 {
            levels.push("#");
        }
        not_empty(levels.join("/"))
    }
}

fn not_empty(text: String) -> String {
    if text.is_empty() { "/".to_owned() } else { text }
}

/// Section 4.7, over lists of levels.
fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let topic: Vec<&str> = topic.split('/').collect();
    let mut filter: Vec<&str> = filter.split('/').collect();
    let all_below = filter.last() == Some(&"#");
    if all_below {
        filter.pop();
    }
    let long_enough = if all_below { topic.len() >= filter.len() } else { topic.len() == filter.len() };
    long_enough && filter.iter().zip(&topic).all(|(wanted, level)| *wanted == "+" || wanted == level)
}

/// The tries, and the lists that say what they should hold.
struct Pair {
    trie: SubscriptionTrie<u16, u8>,
    subscriptions: Vec<(String, u16, u8)>,
    kept: RetainedTrie<String>,
    topics: Vec<String>,
}

impl Pair {
    fn subscribe(&mut self, text: String, key: u16, value: u8) {
        let old = self.forget(&text, key);
        let filter = TopicFilter::new(&text, LIMITS).expect("a valid filter was made");
        assert_eq!(self.trie.insert(filter, key, value), old);
        self.subscriptions.push((text, key, value));
    }

    fn unsubscribe(&mut self, text: &str, key: u16) {
        let old = self.forget(text, key);
        let filter = TopicFilter::new(text, LIMITS).expect("a valid filter was made");
        assert_eq!(self.trie.get(filter, key).copied(), old);
        assert_eq!(self.trie.remove(filter, key), old);
    }

    fn forget(&mut self, text: &str, key: u16) -> Option<u8> {
        let at = self.subscriptions.iter().position(|entry| entry.0 == text && entry.1 == key)?;
        Some(self.subscriptions.swap_remove(at).2)
    }

    fn keep(&mut self, text: String) {
        let name = TopicName::new(&text, LIMITS).expect("a valid name was made");
        assert_eq!(self.kept.insert(name, text.clone()).is_some(), self.topics.contains(&text));
        if !self.topics.contains(&text) {
            self.topics.push(text);
        }
    }

    fn discard(&mut self, text: &str) {
        let name = TopicName::new(text, LIMITS).expect("a valid name was made");
        let at = self.topics.iter().position(|own| own == text);
        assert_eq!(self.kept.remove(name), at.map(|at| self.topics.swap_remove(at)));
    }

    fn compare_subscribers(&self, topic: &str) {
        let mut found = Vec::new();
        let name = TopicName::new(topic, LIMITS).expect("a valid name was made");
        let cost = self.trie.for_each_match(name, usize::MAX, |key, value| found.push((key, *value)));
        let matching = self.subscriptions.iter().filter(|entry| matches(&entry.0, topic));
        let mut expected: Vec<(u16, u8)> = matching.map(|entry| (entry.1, entry.2)).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "subscribers of {topic:?}");
        assert!(cost.nodes <= self.trie.nodes());
    }

    fn compare_retained(&self, text: &str) {
        let mut found: Vec<&String> = Vec::new();
        let filter = TopicFilter::new(text, LIMITS).expect("a valid filter was made");
        self.kept.for_each_match(filter, |value| {
            found.push(value);
            ControlFlow::Continue(())
        });
        let mut expected: Vec<&String> = self.topics.iter().filter(|topic| matches(text, topic)).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "retained for {text:?}");
    }

    fn empty(mut self) {
        while let Some((text, key, _)) = self.subscriptions.last().cloned() {
            self.unsubscribe(&text, key);
        }
        while let Some(text) = self.topics.last().cloned() {
            self.discard(&text);
        }
        assert_eq!((self.trie.len(), self.trie.nodes()), (0, 0));
        assert_eq!((self.kept.len(), self.kept.nodes()), (0, 0));
    }
}

/// Runs the operations that the bytes spell; panics where a trie and its list differ.
pub fn trie_equals_naive(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let seed = choices.below(256) as u64;
    let mut pair = Pair {
        trie: SubscriptionTrie::new(seed),
        subscriptions: Vec::new(),
        kept: RetainedTrie::new(seed),
        topics: Vec::new(),
    };
    while !choices.0.is_empty() {
        match choices.below(8) {
            0 | 1 => pair.subscribe(choices.filter(), choices.below(4) as u16, choices.below(256) as u8),
            2 => pair.unsubscribe(&choices.filter(), choices.below(4) as u16),
            // Many subscribers of one filter, so that it takes each of its shapes.
            3 => {
                let filter = choices.filter();
                (0..choices.below(256) as u16 * 2).for_each(|key| pair.subscribe(filter.clone(), key, 0));
            }
            4 => pair.keep(choices.topic()),
            5 => pair.discard(&choices.topic()),
            6 => pair.compare_subscribers(&choices.topic()),
            _ => pair.compare_retained(&choices.filter()),
        }
    }
    pair.empty();
}
