//! What is kept for this filter? Look-ups and changes in a retained trie.

use std::hint::black_box;
use std::ops::ControlFlow;

use ringmq::topic::{RetainedTrie, TopicFilter, TopicName};

use super::trie::{scattered, topic_of};
use super::{Case, HASH_SEED};

/// Look-ups or changes per call, each of another name.
const STEPS: u32 = 100;

/// All cases.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for names in [1_000, 100_000] {
        cases.push(look_up(names, "exact", 1, topic_of));
        // One level of a hundred siblings is walked.
        cases.push(look_up(names, "plus", 1, |device| format!("site/+/device/{device}/temperature")));
        cases.push(look_up(names, "hash", names / 100, |device| format!("site/{}/#", device % 100)));
        cases.push(replacement(names));
        cases.push(change(names));
    }
    cases
}

fn look_up(names: usize, kind: &str, hits: usize, filter_of: fn(usize) -> String) -> Case {
    Case::new(format!("retained match/{names} names, {kind}, {hits} found"), STEPS, move || {
        let trie = filled(names);
        let filters: Vec<String> = scattered(names).take(STEPS as usize).map(filter_of).collect();
        move || {
            for filter in &filters {
                let mut found = 0;
                trie.for_each_match(TopicFilter::trusted(filter), |value| {
                    black_box(value);
                    found += 1;
                    ControlFlow::Continue(())
                });
                assert_eq!(found, hits);
            }
        }
    })
}

fn replacement(names: usize) -> Case {
    Case::new(format!("retained replace/{names} names"), STEPS, move || {
        let mut trie = filled(names);
        let topics: Vec<String> = scattered(names).take(STEPS as usize).map(topic_of).collect();
        move || {
            for topic in &topics {
                black_box(trie.insert(TopicName::trusted(topic), 1));
            }
        }
    })
}

fn change(names: usize) -> Case {
    Case::new(format!("retained insert and remove/{names} names"), STEPS, move || {
        let mut trie = filled(names);
        let others: Vec<String> = (0..STEPS).map(|n| format!("site/{n}/other/{n}")).collect();
        move || {
            for other in &others {
                trie.insert(TopicName::trusted(other), 0);
                black_box(trie.remove(TopicName::trusted(other)));
            }
        }
    })
}

fn filled(names: usize) -> RetainedTrie<usize> {
    let mut trie = RetainedTrie::new(HASH_SEED);
    for device in 0..names {
        trie.insert(TopicName::trusted(&topic_of(device)), device);
    }
    trie
}
