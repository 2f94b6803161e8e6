//! Which topic name matches which topic filter (section 4.7), so that the plan knows who has to get what.
//! Written apart from the broker's trie on purpose. Neighbour: `plan`.

/// True when `topic` matches `filter`; both are taken to be valid.
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

/// Why `filter` is no topic filter this program can use; `None` when it is one.
pub fn objection(filter: &str) -> Option<&'static str> {
    if filter.is_empty() || filter.len() > usize::from(u16::MAX) || filter.contains('\0') {
        return Some("a topic filter has 1 to 65,535 bytes and no NUL");
    }
    if filter.starts_with("$share/") {
        return Some("shared subscriptions cannot be checked by this version");
    }
    let levels: Vec<_> = filter.split('/').collect();
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
        for filter in ["", "a/#/b", "a#", "a/b+", "$share/g/a"] {
            assert!(objection(filter).is_some(), "{filter}");
        }
        for filter in ["#", "+", "a/+/b/#", "a"] {
            assert_eq!(objection(filter), None, "{filter}");
        }
    }
}
