//! Topic filters: what a SUBSCRIBE asks for.
//!
//! Duty: make "this text is a valid topic filter" a type, and say by the plainest way whether it matches a name. Must not:
//! know shared subscriptions (that is `share`). Neighbours: `name`; `trie` and `retained` match many filters at once and are
//! tested against `TopicFilter::matches`.

use std::fmt;

use super::name::{TopicError, TopicLimits, TopicName, check_size};

/// A valid topic filter (section 4.7): not empty, no NUL, wildcards only where they may stand, within the limits that held
/// when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter<'a>(&'a str);

impl<'a> TopicFilter<'a> {
    /// Checks the text of a client.
    ///
    /// # Errors
    /// [`TopicError::Empty`], [`TopicError::TooLong`], [`TopicError::Nul`], [`TopicError::WildcardMisplaced`],
    /// [`TopicError::TooDeep`].
    pub fn new(text: &'a str, limits: TopicLimits) -> Result<Self, TopicError> {
        check_size(text, limits)?;
        let levels = check_levels(text.as_bytes())?;
        if levels > limits.levels_max { Err(TopicError::TooDeep) } else { Ok(Self(text)) }
    }

    /// A filter that was valid when it was stored, so that a stored subscription is not checked again. A text that never
    /// was valid breaks no memory and no trie: it matches what its levels say, or nothing.
    #[must_use]
    pub fn trusted(text: &'a str) -> Self {
        debug_assert!(!text.is_empty() && check_levels(text.as_bytes()).is_ok(), "not a topic filter: {text:?}");
        Self(text)
    }

    /// The text as the client sent it [MQTT-4.7.3-4].
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The levels between the slashes, empty ones and wildcards included; at least one.
    pub fn levels(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/')
    }

    /// Whether a level is `+` or `#`: whether the filter can match more than one name.
    #[must_use]
    pub fn has_wildcard(self) -> bool {
        self.0.bytes().any(|byte| byte == b'+' || byte == b'#')
    }

    /// Whether the filter begins with `+` or `#` and so never matches a name that begins with `$` [MQTT-4.7.2-1].
    #[must_use]
    pub fn starts_with_wildcard(self) -> bool {
        matches!(self.0.as_bytes().first(), Some(b'+' | b'#'))
    }

    /// Whether the filter matches the name (section 4.7.1 and 4.7.2). One pass over both.
    #[must_use]
    pub fn matches(self, name: TopicName<'_>) -> bool {
        if name.is_dollar() && self.starts_with_wildcard() {
            return false;
        }
        let mut names = name.levels();
        for wanted in self.levels() {
            if wanted == "#" {
                return true;
            }
            match names.next() {
                Some(level) if wanted == "+" || wanted == level => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

impl fmt::Display for TopicFilter<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)
    }
}

/// Counts the levels and looks at the place of each wildcard, in one pass.
fn check_levels(bytes: &[u8]) -> Result<usize, TopicError> {
    let mut levels = 1;
    let mut before = b'/';
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'/' => levels += 1,
            0 => return Err(TopicError::Nul),
            b'+' if before != b'/' || !matches!(bytes.get(at + 1), None | Some(b'/')) => {
                return Err(TopicError::WildcardMisplaced);
            }
            b'#' if before != b'/' || at + 1 != bytes.len() => return Err(TopicError::WildcardMisplaced),
            _ => {}
        }
        before = byte;
    }
    Ok(levels)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TopicLimits = TopicLimits { bytes_max: 65_535, levels_max: 200 };

    /// [MQTT-4.7.1-1] [MQTT-4.7.1-2], W57, W58, and the examples of section 4.7.1
    #[test]
    fn wildcards_stand_alone_in_their_level_and_the_multi_level_one_stands_last() {
        for text in ["#", "+", "+/+", "/+", "+/", "a/#", "a/+/b", "+/tennis/#", "$SYS/#", "/#", "+/#", "a//#"] {
            assert_eq!(TopicFilter::new(text, LIMITS).map(|filter| filter.to_string()).as_deref(), Ok(text));
        }
        for text in ["a/#/b", "a#", "#a", "##", "#/", "a+/b", "+a", "a+", "++", "a/+b", "a/b+", "a/b#", "+#", "#+"] {
            assert_eq!(TopicFilter::new(text, LIMITS), Err(TopicError::WildcardMisplaced), "{text}");
        }
    }

    /// [MQTT-4.7.3-1] [MQTT-4.7.3-2] [MQTT-4.7.3-3], R09, W65, W67
    #[test]
    fn a_filter_has_the_same_limits_as_a_name() {
        assert_eq!(TopicFilter::new("", LIMITS), Err(TopicError::Empty));
        assert_eq!(TopicFilter::new("a/\0", LIMITS), Err(TopicError::Nul));
        assert_eq!(TopicFilter::new(&"x".repeat(65_536), LIMITS), Err(TopicError::TooLong));
        assert!(TopicFilter::new(&"/".repeat(199), LIMITS).is_ok());
        assert_eq!(TopicFilter::new(&"/".repeat(200), LIMITS), Err(TopicError::TooDeep));
        assert_eq!(TopicFilter::new(&"/".repeat(65_535), LIMITS), Err(TopicError::TooDeep));
        assert_eq!(TopicFilter::new(&("+/".repeat(32_766) + "+"), LIMITS), Err(TopicError::TooDeep));
    }

    #[test]
    fn a_filter_says_whether_and_where_it_has_wildcards() {
        for (text, has, starts) in [("a/b", false, false), ("a/#", true, false), ("+/a", true, true), ("#", true, true)]
        {
            let filter = TopicFilter::new(text, LIMITS).unwrap();
            assert_eq!((filter.has_wildcard(), filter.starts_with_wildcard()), (has, starts), "{text}");
        }
    }
}
