//! Case R09: topics as deep as a packet can carry, on a small stack.
//!
//! Duty: show that no walk of the topic floor costs stack per level; only a thread has a stack of a chosen size, so this is
//! not a unit test of that floor.
#![allow(clippy::disallowed_methods)]

use std::ops::ControlFlow;

use ringmq::topic::{RetainedTrie, SubscriptionTrie, TopicFilter, TopicLimits, TopicName};

const LIMITS: TopicLimits = TopicLimits { bytes_max: 200_000, levels_max: 100_000 };

fn name(text: &str) -> TopicName<'_> {
    TopicName::new(text, LIMITS).unwrap()
}

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::new(text, LIMITS).unwrap()
}

fn walk_the_deepest_topics() {
    let slashes = "/".repeat(65_535);
    let pluses = "+/".repeat(65_535) + "#";
    let mut trie = SubscriptionTrie::new(1);
    trie.insert(filter(&slashes), 1, ());
    trie.insert(filter(&pluses), 2, ());
    let mut matched = Vec::new();
    trie.for_each_match(name(&slashes), usize::MAX, |key, ()| matched.push(key));
    matched.sort_unstable();
    assert_eq!(matched, [1, 2]);
    assert!(filter(&pluses).matches(name(&slashes)));
    let mut kept = RetainedTrie::new(1);
    kept.insert(name(&slashes), ());
    for wanted in ["#", &slashes, &pluses] {
        let mut found = 0;
        kept.for_each_match(filter(wanted), |()| {
            found += 1;
            ControlFlow::Continue(())
        });
        assert_eq!(found, 1);
    }
    assert_eq!(trie.remove(filter(&slashes), 1), Some(()));
    assert_eq!(trie.nodes(), 65_536);
    kept.insert(name("a"), ());
    assert!(kept.remove(name(&slashes)).is_some());
    assert_eq!(kept.nodes(), 1);
}

/// R09: the stack is 64 KiB, the topics have 65,536 levels.
#[test]
fn the_deepest_topics_are_handled_on_a_small_stack() {
    let thread = std::thread::Builder::new().stack_size(64 << 10).spawn(walk_the_deepest_topics).unwrap();
    thread.join().unwrap();
}
