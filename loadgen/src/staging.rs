//! What a staged scenario may say, and the topics of its messages.
//! Must not open sockets. Neighbours: `scenario` below, `plan` checks with it, `engine::staged` names topics with it.

use std::io::Write;

use crate::scenario::{Scenario, Staged};

/// Most messages of a staged run: the subscriber's book takes one bit for each.
pub const MESSAGES_MAX: u64 = 100_000_000;

/// Names on one level of the tree of retained messages, but for its first level.
const BRANCHES: u64 = 100;

/// Longest that [`topic`] adds to the root, bytes.
const TREE_BYTES_MAX: usize = 16;

/// Checks the fields that only staged runs use, and those that mean something else in them.
///
/// Errors: one sentence about the first thing that cannot work.
pub fn check(scenario: &Scenario, threads: usize) -> Result<(), String> {
    let Some(stage) = scenario.stage else {
        return match scenario.messages {
            0 => Ok(()),
            _ => Err(format!("'{}' runs for a time and not for a number of messages", scenario.name)),
        };
    };
    let name = &scenario.name;
    if !(1..=MESSAGES_MAX).contains(&scenario.messages) {
        return Err(format!("messages {} is not 1 to {MESSAGES_MAX}", scenario.messages));
    }
    if (scenario.publishers, scenario.subscribers, scenario.connections, threads) != (1, 1, 0, 1) {
        return Err(format!("'{name}' has one publisher, one subscriber, no idle connections and one thread"));
    }
    if scenario.rate > 0 {
        return Err(format!("'{name}' stores as fast as the window allows, so it takes no rate"));
    }
    if stage == Staged::Offline && scenario.qos == 0 {
        return Err("qos 0 is not kept for a subscriber that is away, so this needs qos 1 or 2".to_owned());
    }
    if scenario.topic.len() + TREE_BYTES_MAX > usize::from(u16::MAX) {
        return Err("the topic leaves no room for the numbers of the messages".to_owned());
    }
    if stage == Staged::Retain && !scenario.filter.ends_with('#') {
        return Err(format!("filter '{}' does not end with #, so it leaves out a part of the tree", scenario.filter));
    }
    Ok(())
}

/// Writes the topic of message `number` into `out`, whose old content goes: retained messages form a tree below `root`
/// with a leaf for each, all others share one topic.
pub fn topic(out: &mut Vec<u8>, stage: Staged, root: &str, number: u64) {
    out.clear();
    out.extend_from_slice(root.as_bytes());
    if stage == Staged::Retain {
        let (trunk, branch, leaf) = (number / (BRANCHES * BRANCHES), number / BRANCHES % BRANCHES, number % BRANCHES);
        write!(out, "/{trunk}/{branch}/{leaf}").expect("memory takes all that is written");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::filter;

    fn checked(name: &str, change: impl Fn(&mut Scenario)) -> Result<(), String> {
        let mut scenario = Scenario::find(name).expect("a shipped scenario");
        change(&mut scenario);
        check(&scenario, 1)
    }

    #[test]
    fn each_retained_message_has_a_topic_of_its_own_that_the_filter_matches() {
        let (mut names, mut name) = (HashSet::new(), Vec::new());
        for number in (0..30_000).chain([MESSAGES_MAX - 1]) {
            topic(&mut name, Staged::Retain, "r", number);
            assert!(filter::matches("r/#", std::str::from_utf8(&name).expect("digits")));
            assert!(name.len() < 1 + TREE_BYTES_MAX && names.insert(name.clone()), "{number}");
        }
        assert!(names.contains(&b"r/2/34/56"[..]));
    }

    #[test]
    fn messages_for_one_who_is_away_share_a_topic() {
        let mut name = b"old".to_vec();
        topic(&mut name, Staged::Offline, "r/s", 7);
        assert_eq!(name, b"r/s");
    }

    #[test]
    fn what_a_staged_run_cannot_do_is_refused_in_one_sentence() {
        type Change = fn(&mut Scenario);
        let refused: [(&str, Change); 8] = [
            ("retain", |scenario| scenario.messages = 0),
            ("retain", |scenario| scenario.messages = MESSAGES_MAX + 1),
            ("retain", |scenario| scenario.publishers = 2),
            ("retain", |scenario| scenario.rate = 1),
            ("retain", |scenario| scenario.filter = "{run}/retain/+/+".to_owned()),
            ("offline", |scenario| scenario.qos = 0),
            ("offline", |scenario| scenario.connections = 1),
            ("stream", |scenario| scenario.messages = 5),
        ];
        for (name, change) in refused {
            let error = checked(name, change).expect_err("it cannot work");
            assert!(!error.contains('\n'), "{error}");
        }
        assert!(check(&Scenario::find("retain").expect("shipped"), 2).is_err());
    }

    #[test]
    fn retained_messages_may_have_any_qos() {
        for qos in 0..3 {
            assert_eq!(checked("retain", |scenario| scenario.qos = qos), Ok(()));
        }
    }
}
