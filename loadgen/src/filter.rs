//! Which topic name matches which topic filter (section 4.7), so that the plan knows who has to get what; and what a
//! filter of a shared subscription consists of (section 4.8.2 of 5.0).
//! Written apart from the broker's trie on purpose. Neighbours: `plan`, `topic_tree`.

/// True when `topic` matches `filter`; both are taken to be valid, and the filter to be without a share name.
pub fn matches(filter: &str, topic: &str) -> bool {
    // A filter that starts with a wildcard does not match topics that start with $ [MQTT-4.7.2-1].
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => (),
            (wanted, Some(level)) if wanted == level => (),
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// The share name of a filter, if it has one, and the rest that topics are matched with.
pub fn split_share(filter: &str) -> (Option<&str>, &str) {
    match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        Some((name, rest)) => (Some(name), rest),
        None => (None, filter),
    }
}

/// Why `filter` is no topic filter; `None` when it is one.
pub fn objection(filter: &str) -> Option<&'static str> {
    if filter.is_empty() || filter.len() > usize::from(u16::MAX) || filter.contains('\0') {
        return Some("a topic filter has 1 to 65,535 bytes and no NUL");
    }
    let (share, wanted) = split_share(filter);
    // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    if share.is_some_and(|name| name.is_empty() || name.contains(['+', '#'])) {
        return Some("a share name has at least one character and neither + nor #");
    }
    if wanted.is_empty() || (share.is_none() && filter.starts_with("$share/")) {
        return Some("a share name is followed by a slash and a topic filter");
    }
    let levels: Vec<_> = wanted.split('/').collect();
    let wild = |level: &&str| level.len() > 1 && level.contains(['+', '#']);
    if levels.iter().any(wild) || levels[..levels.len() - 1].contains(&"#") {
        return Some("a wildcard stands alone in its level, and # only in the last");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [MQTT-4.7.1-2], [MQTT-4.7.1-3], [MQTT-4.7.2-1] and the examples of section 4.7.
    #[test]
    fn wildcards_match_as_the_specification_says() {
        let cases = [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/+", "a/b/c", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("+/+", "/a", true),
            ("+", "/a", false),
            ("#", "$SYS/a", false),
            ("$SYS/#", "$SYS/a", true),
        ];
        for (filter, topic, expected) in cases {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    /// [MQTT-4.7.1-2], [MQTT-4.7.1-3], [MQTT-4.7.3-1].
    #[test]
    fn misplaced_wildcards_are_objected_to() {
        for filter in ["", "a/#/b", "a#", "a/b+", "$share/g/a#", "$share/g/#/a"] {
            assert!(objection(filter).is_some(), "{filter}");
        }
        for filter in ["#", "+", "a/+/b/#", "a", "$share", "$shared/+"] {
            assert_eq!(objection(filter), None, "{filter}");
        }
    }

    /// [MQTT-4.8.2-1], [MQTT-4.8.2-2].
    #[test]
    fn a_share_name_is_not_empty_has_no_wildcards_and_is_followed_by_a_filter() {
        for filter in ["$share/", "$share/g", "$share//a", "$share/g/", "$share/+/a", "$share/#/a", "$share/a#/b"] {
            assert!(objection(filter).is_some(), "{filter}");
        }
        for filter in ["$share/g/a", "$share/g//", "$share/a b/+/#"] {
            assert_eq!(objection(filter), None, "{filter}");
        }
    }

    #[test]
    fn a_shared_filter_is_split_behind_its_share_name() {
        assert_eq!(split_share("$share/g/a/+"), (Some("g"), "a/+"));
        assert_eq!(split_share("$share/g//"), (Some("g"), "/"));
        assert_eq!(split_share("a/$share/g/b"), (None, "a/$share/g/b"));
    }
}
