//! Who wants this topic? Matches, validation and changes in a subscription trie.

use std::hint::black_box;

use ringmq::topic::{SubscriptionTrie, TopicFilter, TopicLimits, TopicName};

use super::{Case, HASH_SEED, Work};

/// Matches per call, each of another topic.
const MATCHES: u32 = 100;

/// Topics that are asked for, spread over all filters.
const TOPICS: usize = 1 << 16;

const LIMITS: TopicLimits = TopicLimits { bytes_max: 65_535, levels_max: 200 };

/// Filters of one kind: its name, and the filter of a device.
pub(crate) type Mix = (&'static str, fn(usize) -> String);

/// Both wildcards among many exact filters.
pub(crate) const MIXED: Mix = ("mixed", |device| match device % 10 {
    0 => format!("site/+/device/{device}/temperature"),
    1 => format!("site/{}/device/{device}/#", device % 100),
    _ => topic_of(device),
});

const MIXES: [Mix; 4] = [
    ("exact", topic_of),
    ("plus", |device| format!("site/+/device/{device}/+")),
    ("hash", |device| format!("site/{}/device/{device}/#", device % 100)),
    MIXED,
];

/// The topic of a device.
pub(crate) fn topic_of(device: usize) -> String {
    format!("site/{}/device/{device}/temperature", device % 100)
}

/// Devices without end, every one of `count` as often as the others, in no order that memory would like.
pub(crate) fn scattered(count: usize) -> impl Iterator<Item = usize> {
    (0_usize..).map(move |turn| turn.wrapping_mul(2_654_435_761) % count)
}

/// All cases.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(["a/b".to_owned(), topic_of(42), "level-of-some-length/".repeat(10)].map(validation));
    for filters in [1_000, 100_000, 1_000_000] {
        cases.extend(MIXES.map(|mix| matching(filters, mix)));
        cases.push(change(filters));
    }
    cases
}

fn validation(topic: String) -> Case {
    Case::new(format!("validate/{} bytes", topic.len()), MATCHES, move || {
        move || {
            for _ in 0..MATCHES {
                let _ = black_box(TopicName::new(black_box(&topic), LIMITS));
            }
        }
    })
}

fn matching(filters: usize, mix: Mix) -> Case {
    Case::new(format!("match/{filters} filters, {}", mix.0), MATCHES, move || walks(filled(filters, mix), filters))
}

fn walks(trie: SubscriptionTrie<u64, u32>, filters: usize) -> Work {
    let topics: Vec<String> = scattered(filters).take(TOPICS).map(topic_of).collect();
    let hits = |topic: &String| {
        let mut hits = 0;
        trie.for_each_match(TopicName::trusted(topic), usize::MAX, |_, _| hits += 1);
        hits
    };
    assert!(topics.iter().take(1000).all(|topic| hits(topic) > 0), "somebody wants each topic");
    let mut at = 0;
    Box::new(move || {
        for _ in 0..MATCHES {
            at = (at + 1) % TOPICS;
            trie.for_each_match(TopicName::trusted(&topics[at]), usize::MAX, |key, _| {
                black_box(key);
            });
        }
    })
}

/// A filter that comes and goes among many.
fn change(filters: usize) -> Case {
    Case::new(format!("insert and remove/{filters} filters, mixed"), MATCHES, move || {
        let mut trie = filled(filters, MIXED);
        let others: Vec<String> = (0..MATCHES as usize).map(|n| format!("site/{n}/other/{n}/+")).collect();
        move || {
            for other in &others {
                trie.insert(TopicFilter::trusted(other), 0, 0);
                trie.remove(TopicFilter::trusted(other), 0);
            }
        }
    })
}

/// A trie with one subscriber for the filter of each device.
pub(crate) fn filled(filters: usize, mix: Mix) -> SubscriptionTrie<u64, u32> {
    let mut trie = SubscriptionTrie::new(HASH_SEED);
    for device in 0..filters {
        trie.insert(TopicFilter::trusted(&(mix.1)(device)), device as u64, 0);
    }
    trie
}
