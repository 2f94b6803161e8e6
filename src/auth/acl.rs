//! ACL files as Mosquitto reads them: who may read and write what.
//!
//! Duty: read `user`, `topic` and `pattern` lines and say every mistake; decide, and name the line that did. Must not: walk the
//! lines for a decision (they are compiled to tries). Neighbours: `rights` is the trie; `shard` asks.
//!
//! The lines of a user (before the first `user`: of clients without a name) come first, then the patterns, which are for all;
//! among each, what denies before what allows. What no line allows is denied.

use std::collections::HashMap;

use super::rights::{Found, Grant, Rights, Who};
use super::{Grants, Mistake, numbered};
use crate::topic::{TopicFilter, TopicLimits};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To publish: `write` in a file.
    Publish,
    /// To be sent a message: `read` in a file.
    Receive,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// User name, if there is one.
    pub user: Option<&'a str>,
    /// Client id.
    pub client_id: &'a str,
    /// Rights that came with the client, which count instead of those of the file.
    pub grants: Option<&'a Grants>,
}

impl Asked<'_> {
    /// Case S10: a name that would stand for many in a pattern gets nothing by patterns.
    pub(super) fn has_wildcard(self) -> bool {
        self.client_id.contains(['+', '#']) || self.user.is_some_and(|user| user.contains(['+', '#']))
    }
}

/// Whether something is allowed, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is.
    pub is_allowed: bool,
    /// The line that decided, from 1. `None`: none speaks of it, so it is denied.
    pub line: Option<u32>,
}

impl Decision {
    const DENIED: Self = Self { is_allowed: false, line: None };
}

/// The rights of all users.
#[derive(Debug, Default)]
pub struct Acl {
    /// Of clients without a user name.
    anonymous: Rights,
    users: HashMap<Box<str>, Rights>,
    patterns: Rights,
    has_patterns: bool,
}

impl Acl {
    /// Reads an ACL file. One without rules denies everything.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        let mut acl = Self::default();
        let mut user: Option<&str> = None;
        let mut mistakes = Vec::new();
        for (line, text) in numbered(text).filter(|(_, text)| !text.is_empty() && !text.starts_with('#')) {
            let (word, rest) = split_word(text.trim_start());
            let added = match (word, rest) {
                ("user", "") => Err("no name behind 'user'".into()),
                ("user", name) => {
                    user = Some(name);
                    acl.users.entry(name.into()).or_default();
                    Ok(())
                }
                ("topic", rest) => parse_rule(rest).map(|(grant, filter)| {
                    let own = user.and_then(|user| acl.users.get_mut(user)).unwrap_or(&mut acl.anonymous);
                    own.add(filter, false, grant, line);
                }),
                ("pattern", rest) => parse_rule(rest).map(|(grant, filter)| {
                    acl.has_patterns = true;
                    acl.patterns.add(filter, true, grant, line);
                }),
                (word, _) => Err(format!("'{word}' is not known; lines begin with 'user', 'topic' or 'pattern'")),
            };
            if let Err(what) = added {
                mistakes.push(Mistake { line, what });
            }
        }
        if mistakes.is_empty() { Ok(acl) } else { Err(mistakes) }
    }

    /// Whether a client may publish to a topic, or be sent what was published to it.
    pub fn decide(&self, access: Access, asked: Asked<'_>, topic: &str) -> Decision {
        let who = Who { client_id: asked.client_id, user: asked.user };
        let own = self.own_rights(asked).map(|rights| rights.find(topic, who, access));
        if let Some(decision) = own.and_then(decision_of) {
            return decision;
        }
        if !self.has_patterns || asked.has_wildcard() {
            return Decision::DENIED;
        }
        decision_of(self.patterns.find(topic, who, access)).unwrap_or(Decision::DENIED)
    }

    /// Whether a subscription to this filter (without `$share/group/`) could ever bring anything.
    pub fn may_ever_receive(&self, asked: Asked<'_>, filter: &str) -> bool {
        let who = Who { client_id: asked.client_id, user: asked.user };
        let own = self.own_rights(asked).map(|rights| rights.may_meet(filter, who));
        if let Some(meeting) = own.filter(|meeting| meeting.is_denied || meeting.may_read) {
            return !meeting.is_denied;
        }
        let meeting = self.patterns.may_meet(filter, who);
        !asked.has_wildcard() && meeting.may_read && !meeting.is_denied
    }

    fn own_rights(&self, asked: Asked<'_>) -> Option<&Rights> {
        match asked.user {
            Some(user) => self.users.get(user),
            None => Some(&self.anonymous),
        }
    }
}

fn decision_of(found: Found) -> Option<Decision> {
    let denied = found.deny.map(|line| Decision { is_allowed: false, line: Some(line) });
    denied.or(found.allow.map(|line| Decision { is_allowed: true, line: Some(line) }))
}

/// The first word, and what follows without the blanks between.
fn split_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (word, rest.trim_start())
}

fn parse_rule(text: &str) -> Result<(Grant, &str), String> {
    let (word, rest) = split_word(text);
    let (grant, filter) = match (word, rest) {
        ("", _) => return Err("no topic filter".into()),
        // The only word is the filter, whatever it is.
        (filter, "") => (Grant::ReadWrite, filter),
        ("read", rest) => (Grant::Read, rest),
        ("write", rest) => (Grant::Write, rest),
        ("readwrite", rest) => (Grant::ReadWrite, rest),
        ("deny", rest) => (Grant::Deny, rest),
        (word, _) => return Err(format!("'{word}' is no access; write 'read', 'write', 'readwrite' or 'deny'")),
    };
    TopicFilter::new(filter, TopicLimits { bytes_max: 65_535, levels_max: 65_536 })
        .map_err(|error| format!("topic filter '{filter}': {error}"))?;
    Ok((grant, filter))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topic::TopicName;

    const EXAMPLE: &str = "# rights\ntopic read news/#\n\nuser alice\ntopic readwrite a/#\ntopic deny a/secret\ntopic write log\n\
                           topic read $SYS/#\npattern readwrite home/%u/#\npattern write dev/%c/up\npattern deny home/+/lock\n\
                           user bob\ntopic a b/c\n";

    fn asked<'a>(user: Option<&'a str>, client_id: &'a str) -> Asked<'a> {
        Asked { user, client_id, grants: None }
    }

    fn parse(text: &str) -> Acl {
        Acl::parse(text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
    }

    /// Each decision with its line.
    #[test]
    fn rights_are_those_that_mosquitto_gives() {
        let acl = parse(&EXAMPLE.replace("topic a b/c", "topic read b/c d"));
        let (publish, receive) = (Access::Publish, Access::Receive);
        for (access, user, client_id, topic, is_allowed, line) in [
            (receive, None, "c", "news/today", true, Some(2)),
            (receive, None, "c", "news", true, Some(2)),
            (publish, None, "c", "news/today", false, None),
            (receive, Some("alice"), "c", "news/today", false, None),
            (publish, Some("alice"), "c", "a/b", true, Some(5)),
            (publish, Some("alice"), "c", "a/secret", false, Some(6)),
            (receive, Some("alice"), "c", "a/secret", false, Some(6)),
            (receive, Some("alice"), "c", "log", false, None),
            (receive, Some("alice"), "c", "$SYS/x", true, Some(8)),
            (publish, Some("alice"), "c", "home/alice/x", true, Some(9)),
            (publish, Some("bob"), "c", "home/alice/x", false, None),
            (publish, Some("bob"), "c", "home/bob/lock", false, Some(11)),
            (publish, None, "c", "home//x", false, None),
            (publish, None, "c", "dev/c/up", true, Some(10)),
            (receive, None, "c", "dev/c/up", false, None),
            (publish, Some("bob"), "+", "dev/+/up", false, None),
            (receive, Some("bob"), "#", "b/c d", true, Some(13)),
        ] {
            let decision = acl.decide(access, asked(user, client_id), topic);
            assert_eq!(decision, Decision { is_allowed, line }, "{access:?} {user:?} {client_id} {topic}");
        }
    }

    /// Case S10: `#`, `+` and `a/b` as client id or user name match nothing but themselves.
    #[test]
    fn a_name_with_wildcards_gets_nothing_by_patterns() {
        let acl = parse("pattern readwrite dev/%c/#\npattern readwrite user/%u/#\n");
        for name in ["#", "+", "a+", "x#y"] {
            for topic in ["dev/x/y", "user/x/y", "dev/x", "dev/a+/x"] {
                assert!(!acl.decide(Access::Receive, asked(Some(name), "c"), topic).is_allowed, "{name} {topic}");
                assert!(!acl.decide(Access::Receive, asked(Some("u"), name), topic).is_allowed, "{name} {topic}");
            }
        }
        for topic in ["dev/a/b", "dev/a", "dev/a/b/c"] {
            assert!(!acl.decide(Access::Receive, asked(Some("u"), "a/b"), topic).is_allowed, "{topic}");
        }
    }

    /// Case A23.
    #[test]
    fn a_file_without_rules_denies_everything() {
        for text in ["", "# nothing\n\n", "user alice\n"] {
            let acl = parse(text);
            for user in [None, Some("alice")] {
                let decision = acl.decide(Access::Receive, asked(user, "c"), "a");
                assert_eq!(decision, Decision::DENIED, "{text:?}");
                assert!(!acl.may_ever_receive(asked(user, "c"), "#"), "{text:?}");
            }
        }
    }

    #[test]
    fn every_mistake_is_said_with_its_line() {
        let text = "topic read a\nuser\nthing x\ntopic\ntopic some a\ntopic read a/#/b\n # no comment\npattern write\n";
        let mistakes = Acl::parse(text).expect_err("mistakes");
        let lines: Vec<u32> = mistakes.iter().map(|mistake| mistake.line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7], "a word alone is a filter");
        let words = ["no name", "'thing' is not known", "no topic filter", "'some' is no access", "a/#/b", "'#'"];
        for (mistake, words) in mistakes.iter().zip(words) {
            assert!(mistake.to_string().contains(words), "{mistake} does not say {words}");
        }
    }

    #[test]
    fn a_subscription_is_useless_where_nothing_that_it_matches_may_be_read() {
        let acl = parse(EXAMPLE.trim_end_matches("topic a b/c\n"));
        for (user, filter, may) in [
            (Some("alice"), "a/x", true),
            (Some("alice"), "a/secret", false),
            (Some("alice"), "a/+", true),
            (Some("alice"), "#", true),
            (Some("alice"), "+/secret", true),
            (Some("alice"), "log", false),
            (Some("alice"), "b/x", false),
            (Some("alice"), "b/#", false),
            (Some("alice"), "$SYS/broker/#", true),
            (Some("alice"), "home/alice/x", true),
            (Some("alice"), "home/bob/x", false),
            (Some("alice"), "home/+/lock", false),
            (None, "home/+/x", false),
            (None, "news/+/x", true),
            (None, "a/x", false),
            (None, "dev/c/up", false),
        ] {
            assert_eq!(acl.may_ever_receive(asked(user, "c"), filter), may, "{user:?} {filter}");
        }
        let acl = parse("topic read $SYS/#\n");
        for (filter, may) in [("#", false), ("+/x", false), ("+/#", false), ("$SYS/x", true), ("$SYS/#", true)] {
            assert_eq!(acl.may_ever_receive(asked(None, "c"), filter), may, "{filter}");
        }
    }

    /// A line, as the naive evaluation keeps it.
    #[derive(Clone, Debug)]
    struct Line {
        owner: Option<Option<&'static str>>,
        access: &'static str,
        filter: String,
    }

    const LEVELS: [&str; 7] = ["a", "b", "$x", "", "+", "%c", "%u"];
    const NAMES: [&str; 5] = ["a", "b", "$x", "a+", ""];

    fn filter() -> impl Strategy<Value = String> {
        (prop::collection::vec(prop::sample::select(&LEVELS[..]), 1..4), any::<bool>()).prop_filter_map(
            "not empty",
            |(levels, has_hash)| {
                let text = levels.join("/") + if has_hash { "/#" } else { "" };
                (!text.is_empty()).then_some(text)
            },
        )
    }

    fn line() -> impl Strategy<Value = Line> {
        let owner = prop::sample::select(vec![None, Some(None), Some(Some("a")), Some(Some("a+"))]);
        let access = prop::sample::select(vec!["read", "write", "readwrite", "deny"]);
        (owner, access, filter()).prop_map(|(owner, access, filter)| Line { owner, access, filter })
    }

    /// Line by line, as the manual says it.
    fn naive(lines: &[(u32, Line)], access: Access, asked: Asked<'_>, topic: &str) -> Decision {
        let word = if access == Access::Publish { "write" } else { "read" };
        let matches = |line: &Line| {
            let is_pattern = line.owner.is_none();
            let level = |level: &str| match level {
                "%c" if is_pattern => asked.client_id.to_owned(),
                "%u" if is_pattern => asked.user.unwrap_or_default().to_owned(),
                other => other.to_owned(),
            };
            if is_pattern && asked.user.is_none() && line.filter.split('/').any(|level| level == "%u") {
                return false;
            }
            if topic.starts_with('$') && !line.filter.starts_with('$') {
                return false;
            }
            let text = line.filter.split('/').map(level).collect::<Vec<_>>().join("/");
            !text.is_empty() && TopicFilter::trusted(&text).matches(TopicName::trusted(topic))
        };
        let of = |is_wanted: &dyn Fn(&Line) -> bool| {
            let all = || lines.iter().filter(|(_, line)| is_wanted(line) && matches(line));
            let denied = all().find(|(_, line)| line.access == "deny").map(|(number, _)| (false, *number));
            denied.or_else(|| all().find(|(_, line)| line.access.contains(word)).map(|(number, _)| (true, *number)))
        };
        let decision = |(is_allowed, line)| Decision { is_allowed, line: Some(line) };
        if let Some(found) = of(&|line| line.owner == Some(asked.user)) {
            return decision(found);
        }
        if asked.has_wildcard() {
            return Decision::DENIED;
        }
        of(&|line| line.owner.is_none()).map_or(Decision::DENIED, decision)
    }

    /// The file, and each line with its number; `user` lines stand between.
    fn written(lines: &[Line]) -> (String, Vec<(u32, Line)>) {
        let mut text = String::new();
        let mut numbered = Vec::new();
        // Only lines before the first `user` are for those without a name.
        let anonymous = lines.iter().filter(|line| line.owner == Some(None));
        let named = lines.iter().filter(|line| line.owner != Some(None));
        for line in anonymous.chain(named) {
            if let Some(Some(user)) = line.owner {
                text += &format!("user {user}\n");
            }
            let word = if line.owner.is_none() { "pattern" } else { "topic" };
            text += &format!("{word} {} {}\n", line.access, line.filter);
            numbered.push((text.lines().count() as u32, line.clone()));
        }
        (text, numbered)
    }

    proptest! {
        #[test]
        fn the_tries_decide_as_the_lines_do(
            lines in prop::collection::vec(line(), 0..12),
            levels in prop::collection::vec(prop::sample::select(&["a", "b", "$x", "", "c"][..]), 1..4),
            user in prop::sample::select(vec![None, Some("a"), Some("b"), Some("a+")]),
            client_id in prop::sample::select(&NAMES[..]),
        ) {
            let topic = levels.join("/");
            prop_assume!(!topic.is_empty());
            let (text, numbered) = written(&lines);
            let acl = parse(&text);
            let asked = asked(user, client_id);
            for access in [Access::Publish, Access::Receive] {
                let decision = acl.decide(access, asked, &topic);
                prop_assert_eq!(decision, naive(&numbered, access, asked, &topic), "{}", text);
                if access == Access::Receive && decision.is_allowed {
                    // What is said to be useless brings nothing.
                    for filter in [&*topic, "#", "+/#", "a/#", "$x/#", "+/+", "+"] {
                        if TopicFilter::trusted(filter).matches(TopicName::trusted(&topic)) {
                            prop_assert!(acl.may_ever_receive(asked, filter), "{} of {}", filter, text);
                        }
                    }
                }
            }
        }
    }
}
