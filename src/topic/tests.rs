//! The matching rules of section 4.7, asked of all three matchers: the filter itself, the subscription trie, the retained
//! trie.
//!
//! Duty: the examples of the specification, random sequences against plain lists, and hostile shapes. Neighbours: `filter`,
//! `trie`, `retained`.

use std::ops::ControlFlow;

use proptest::prelude::*;

use super::{MatchCost, Place, RetainedTrie, SubscriptionTrie, TopicFilter, TopicLimits, TopicName};

const LIMITS: TopicLimits = TopicLimits { bytes_max: 200_000, levels_max: 100_000 };

fn name(text: &str) -> TopicName<'_> {
    TopicName::new(text, LIMITS).unwrap()
}

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::new(text, LIMITS).unwrap()
}

/// Section 4.7 once more, written as the specification words it and sharing nothing with the code under test.
fn defined_match(filter: &str, name: &str) -> bool {
    fn levels_match(filter: &[&str], name: &[&str]) -> bool {
        match (filter, name) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, name @ ..]) => levels_match(filter, name),
            ([wanted, filter @ ..], [level, name @ ..]) => wanted == level && levels_match(filter, name),
            _ => false,
        }
    }
    let hidden = name.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#'));
    let filter: Vec<&str> = filter.split('/').collect();
    let name: Vec<&str> = name.split('/').collect();
    !hidden && levels_match(&filter, &name)
}

fn subscribed(trie: &SubscriptionTrie<u8, u8>, topic: &str) -> Vec<(u8, u8)> {
    let mut found = Vec::new();
    let cost = trie.for_each_match(name(topic), usize::MAX, |key, value| found.push((key, *value)));
    assert!(cost.nodes <= trie.nodes(), "a node was reached twice");
    found.sort_unstable();
    found
}

fn retained(trie: &RetainedTrie<String>, wanted: &str) -> Vec<String> {
    let mut found = Vec::new();
    trie.for_each_match(filter(wanted), |value| {
        found.push(value.clone());
        ControlFlow::Continue(())
    });
    found.sort_unstable();
    found
}

#[track_caller]
fn assert_matches(wanted: &str, topic: &str, expected: bool) {
    assert_eq!(filter(wanted).matches(name(topic)), expected, "filter {wanted} and {topic}");
    let mut subscriptions = SubscriptionTrie::new(7);
    subscriptions.insert(filter(wanted), 1, 2);
    assert_eq!(subscribed(&subscriptions, topic).len(), usize::from(expected), "trie {wanted} and {topic}");
    let mut kept = RetainedTrie::new(7);
    kept.insert(name(topic), topic.to_owned());
    assert_eq!(retained(&kept, wanted).len(), usize::from(expected), "retained {wanted} and {topic}");
}

/// [MQTT-4.7.1-1], the examples of section 4.7.1.2
#[test]
fn the_multi_level_wildcard_stands_for_its_parent_and_all_below() {
    for topic in ["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/score/wimbledon"] {
        assert_matches("sport/tennis/player1/#", topic, true);
    }
    assert_matches("sport/#", "sport", true);
    assert_matches("sport/#", "sport/", true);
    assert_matches("sport/#", "sports", false);
    assert_matches("sport/tennis/#", "sport", false);
    assert_matches("#", "sport", true);
    assert_matches("#", "/", true);
    assert_matches("/#", "/", true);
    assert_matches("/#", "sport", false);
    assert_matches("+/#", "sport", true);
}

/// [MQTT-4.7.1-2], the examples of section 4.7.1.3
#[test]
fn the_single_level_wildcard_stands_for_exactly_one_level() {
    assert_matches("sport/tennis/+", "sport/tennis/player1", true);
    assert_matches("sport/tennis/+", "sport/tennis/player2", true);
    assert_matches("sport/tennis/+", "sport/tennis/player1/ranking", false);
    assert_matches("sport/+", "sport", false);
    assert_matches("sport/+", "sport/", true);
    assert_matches("+/+", "/finance", true);
    assert_matches("/+", "/finance", true);
    assert_matches("+", "/finance", false);
    assert_matches("+/tennis/#", "sport/tennis/player1", true);
}

/// [MQTT-4.7.2-1] [v3.1.1 MQTT-4.7.2-1], the examples of section 4.7.2, A19
#[test]
fn a_leading_wildcard_does_not_see_names_that_begin_with_a_dollar_sign() {
    for wanted in ["#", "+/monitor/Clients", "+/#", "+/+/+"] {
        assert_matches(wanted, "$SYS/monitor/Clients", false);
    }
    assert_matches("#", "$SYS", false);
    assert_matches("+", "$SYS", false);
    assert_matches("$SYS/#", "$SYS/monitor/Clients", true);
    assert_matches("$SYS/#", "$SYS", true);
    assert_matches("$SYS/monitor/+", "$SYS/monitor/Clients", true);
    assert_matches("+/$SYS", "a/$SYS", true);
    assert_matches("a/#", "a/$SYS", true);
    assert_matches("#", "/$SYS", true);
}

/// [MQTT-4.7.3-4], the rules of section 4.7.3
#[test]
fn case_spaces_and_empty_levels_make_different_topics() {
    assert_matches("ACCOUNTS", "Accounts", false);
    assert_matches("Accounts payable", "Accounts payable", true);
    assert_matches("/finance", "finance", false);
    assert_matches("finance/", "finance", false);
    assert_matches("a//b", "a/b", false);
    assert_matches("a/+/b", "a//b", true);
}

#[test]
fn the_generation_rises_with_each_change_and_only_then() {
    let mut trie = SubscriptionTrie::new(1);
    let mut last = trie.generation();
    let mut has_risen =
        |trie: &SubscriptionTrie<u8, u8>| std::mem::replace(&mut last, trie.generation()) < trie.generation();
    assert_eq!(trie.insert(filter("a/+"), 1, 1), None);
    assert!(has_risen(&trie));
    assert_eq!(trie.insert(filter("a/+"), 1, 2), Some(1));
    assert!(has_risen(&trie));
    assert_eq!(trie.remove(filter("a/+"), 2), None);
    assert_eq!(trie.remove(filter("a/#"), 1), None);
    assert!(!has_risen(&trie));
    assert_eq!((trie.get(filter("a/+"), 1), trie.get(filter("a/b"), 1)), (Some(&2), None));
    assert_eq!((trie.entries(filter("a/+")), trie.is_empty()), ([(1, 2)].as_slice(), false));
    assert_eq!(trie.remove(filter("a/+"), 1), Some(2));
    assert!(has_risen(&trie));
    assert!(trie.is_empty() && trie.entries(filter("a/+")).is_empty());
}

#[test]
fn a_visitor_of_retained_values_can_stop() {
    let mut kept = RetainedTrie::new(1);
    for at in 0..100 {
        kept.insert(name(&format!("a/{at}/b")), at);
    }
    for wanted in ["#", "a/#", "a/+/b", "+/+/#"] {
        let mut left = 10;
        kept.for_each_match(filter(wanted), |_| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(left, 0, "{wanted}");
    }
}

/// Case R13: a walk that would be too long is given up, whatever the filter, and says so.
#[test]
fn a_walk_over_retained_values_gives_up_at_its_bound() {
    let mut kept = RetainedTrie::new(1);
    for at in 0..100 {
        kept.insert(name(&format!("a/{at}/b")), at);
    }
    for wanted in ["#", "a/#", "a/+/b", "+/+/#"] {
        let whole = kept.for_each_match(filter(wanted), |_| ControlFlow::Continue(()));
        let within = |nodes_max| kept.for_each_match_within(filter(wanted), nodes_max, |_| ControlFlow::Continue(()));
        assert_eq!(within(whole.nodes), whole, "{wanted}");
        let cut = within(whole.nodes - 1);
        assert_eq!((cut.nodes, cut.is_cut), (whole.nodes - 1, true), "{wanted}");
    }
}

#[test]
fn a_search_in_parts_sees_what_stays_and_begins_anew_when_memory_was_given_back() {
    let mut kept = RetainedTrie::new(1);
    for at in 0..100 {
        kept.insert(name(&format!("a/{at}/b")), at);
    }
    let mut seen = Vec::new();
    let from = kept.for_each_from(Place::default(), 50, |value| seen.push(*value)).expect("there is more");
    let early = kept.place(name(&format!("a/{}/b", seen[0]))).expect("kept");
    assert!(early.is_before(from) && !from.is_before(early));
    assert_eq!(kept.place(name("a")), None);
    kept.insert(name("new"), 1000);
    let mut rest = Vec::new();
    assert_eq!(kept.for_each_from(from, usize::MAX, |value| rest.push(*value)), None);
    rest.retain(|value| *value != 1000);
    assert!(seen.iter().all(|value| !rest.contains(value)));
    assert_eq!(seen.len() + rest.len(), 100);
    kept.retain(|value| *value < 3);
    let moved = kept.place(name("a/1/b")).expect("kept");
    assert!(!moved.is_before(from), "places of different layouts are not compared");
    let mut all = Vec::new();
    assert_eq!(kept.for_each_from(from, usize::MAX, |value| all.push(*value)), None);
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2]);
}

#[test]
fn retained_values_are_swept_in_pieces_and_leave_no_nodes() {
    let mut kept = RetainedTrie::new(1);
    for at in 0..1000 {
        kept.insert(name(&format!("a/{at}/b")), at);
    }
    let (mut from, mut pieces) = (Some(0), 0);
    while let Some(start) = from {
        from = kept.retain_some(start, 100, |value| *value % 2 == 0);
        pieces += 1;
    }
    assert!(pieces > 10);
    assert_eq!((kept.len(), kept.nodes(), kept.is_empty()), (500, 1001, false));
    kept.retain(|value| *value == 4);
    assert_eq!((kept.get(name("a/4/b")), kept.nodes()), (Some(&4), 3));
    kept.retain(|_| false);
    assert_eq!((kept.len(), kept.nodes(), kept.is_empty()), (0, 0, true));
}

/// R10: the worst filters there are. Each level doubles the nodes that a topic reaches, and the nodes that had to be
/// subscribed first.
#[test]
fn a_match_reaches_no_more_nodes_than_there_are() {
    let mut trie = SubscriptionTrie::new(1);
    for pattern in 0..1_u32 << 10 {
        let levels: Vec<&str> = (0..10).map(|level| if pattern >> level & 1 == 0 { "a" } else { "+" }).collect();
        trie.insert(filter(&levels.join("/")), 1, 1);
    }
    let mut matched = 0;
    let cost = trie.for_each_match(name("a/a/a/a/a/a/a/a/a/a"), usize::MAX, |_, _| matched += 1);
    assert_eq!((matched, cost.nodes), (1 << 10, trie.nodes()));
    assert_eq!(trie.for_each_match(name("b"), usize::MAX, |_, _| ()).nodes, 1);
}

/// R10: a walk that would reach more nodes than it may is given up early, and says so.
#[test]
fn a_match_that_would_reach_too_many_nodes_is_cut() {
    let mut trie = SubscriptionTrie::new(1);
    for pattern in 0..1_u32 << 10 {
        let levels: Vec<&str> = (0..10).map(|level| if pattern >> level & 1 == 0 { "a" } else { "+" }).collect();
        trie.insert(filter(&levels.join("/")), 1, 1);
    }
    let cost = trie.for_each_match(name("a/a/a/a/a/a/a/a/a/a"), 100, |_, _| ());
    assert!(cost.is_cut && cost.nodes <= 2 * 100 + 1, "{cost:?}");
    assert!(!trie.for_each_match(name("b"), 100, |_, _| ()).is_cut);
}

/// R10
#[test]
fn a_match_may_reach_exactly_as_many_nodes_as_are_allowed() {
    let mut trie = SubscriptionTrie::new(1);
    trie.insert(filter("a/b"), 1, 1);
    for (nodes_max, is_cut) in [(3, false), (2, true)] {
        let mut matched = 0;
        let cost = trie.for_each_match(name("a/b"), nodes_max, |_, _| matched += 1);
        assert_eq!((cost.is_cut, matched), (is_cut, u32::from(!is_cut)), "{nodes_max}");
    }
}

/// R10
#[test]
fn the_cost_of_a_match_counts_the_nodes_of_multi_level_wildcards() {
    let mut trie = SubscriptionTrie::new(1);
    for wanted in ["#", "a/#", "a/b/#"] {
        trie.insert(filter(wanted), 1, 1);
    }
    let cost = trie.for_each_match(name("a/b"), usize::MAX, |_, _| ());
    assert_eq!(cost, MatchCost { nodes: 5, is_cut: false });
    trie.insert(filter("+"), 1, 1);
    assert_eq!(trie.for_each_match(name("a/b"), 3, |_, _| ()), MatchCost { nodes: 5, is_cut: true });
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "a", "b", "$SYS", "a level that is longer than a node holds"])
}

fn topic_text() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..5).prop_map(|levels| not_empty(levels.join("/")))
}

fn filter_text() -> impl Strategy<Value = String> {
    let level = prop_oneof![2 => level(), 1 => Just("+")];
    (prop::collection::vec(level, 0..5), any::<bool>()).prop_map(|(mut levels, all_below)| {
        if all_below {
            levels.push("#");
        }
        not_empty(levels.join("/"))
    })
}

fn not_empty(text: String) -> String {
    if text.is_empty() { "/".to_owned() } else { text }
}

proptest! {
    #[test]
    fn a_filter_matches_as_it_is_defined(wanted in filter_text(), topic in topic_text()) {
        prop_assert_eq!(filter(&wanted).matches(name(&topic)), defined_match(&wanted, &topic));
    }

    #[test]
    fn the_subscription_trie_equals_a_list(
        steps in prop::collection::vec((0..3, filter_text(), 0_u8..4, any::<u8>(), topic_text()), 1..120),
    ) {
        let mut trie = SubscriptionTrie::new(11);
        let mut list: Vec<(String, u8, u8)> = Vec::new();
        for (step, wanted, key, value, topic) in steps {
            let at = list.iter().position(|entry| entry.0 == wanted && entry.1 == key);
            prop_assert_eq!(trie.get(filter(&wanted), key).copied(), at.map(|at| list[at].2));
            if step == 0 {
                let removed = at.map(|at| list.swap_remove(at).2);
                prop_assert_eq!(trie.remove(filter(&wanted), key), removed);
            } else {
                let replaced = at.map(|at| list.swap_remove(at).2);
                prop_assert_eq!(trie.insert(filter(&wanted), key, value), replaced);
                list.push((wanted, key, value));
            }
            let mut expected: Vec<(u8, u8)> =
                list.iter().filter(|entry| defined_match(&entry.0, &topic)).map(|entry| (entry.1, entry.2)).collect();
            expected.sort_unstable();
            prop_assert_eq!(subscribed(&trie, &topic), expected);
            prop_assert_eq!(trie.len(), list.len());
        }
        for (wanted, key, value) in list {
            prop_assert_eq!(trie.remove(filter(&wanted), key), Some(value));
        }
        prop_assert_eq!((trie.len(), trie.nodes()), (0, 0));
    }

    #[test]
    fn the_retained_trie_equals_a_list(
        steps in prop::collection::vec((0..3, topic_text(), filter_text()), 1..120),
    ) {
        let mut trie = RetainedTrie::new(11);
        let mut list: Vec<String> = Vec::new();
        for (step, topic, wanted) in steps {
            let at = list.iter().position(|own| *own == topic);
            prop_assert_eq!(trie.get_mut(name(&topic)).is_some(), at.is_some());
            if step == 0 {
                prop_assert_eq!(trie.remove(name(&topic)), at.map(|at| list.swap_remove(at)));
            } else {
                prop_assert_eq!(trie.insert(name(&topic), topic.clone()), at.map(|at| list.swap_remove(at)));
                list.push(topic);
            }
            let mut expected: Vec<String> =
                list.iter().filter(|own| defined_match(&wanted, own)).cloned().collect();
            expected.sort_unstable();
            prop_assert_eq!(retained(&trie, &wanted), expected);
            prop_assert_eq!(trie.len(), list.len());
        }
        trie.retain(|value| defined_match("a/#", value));
        prop_assert_eq!(trie.len(), list.iter().filter(|own| defined_match("a/#", own)).count());
        for topic in list {
            trie.remove(name(&topic));
        }
        prop_assert_eq!((trie.len(), trie.nodes()), (0, 0));
    }
}
