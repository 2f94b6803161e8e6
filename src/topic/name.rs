//! Topic names: what a PUBLISH, a will and a response topic are addressed to.
//!
//! Duty: make "this text is a valid topic name" a type, in one pass over the bytes, because each PUBLISH pays for it. Must
//! not: allocate, change the text [MQTT-4.7.3-4], or know filters. Neighbours: `filter` (the other side of a match).

use std::fmt;

use crate::limits::Limits;

/// How long and how deep a topic name or filter may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicLimits {
    /// Longest text, bytes; the protocol itself ends at 65,535 [MQTT-4.7.3-3].
    pub bytes_max: usize,
    /// Most levels; `a/b` has two, `/` has two.
    pub levels_max: usize,
}

impl From<&Limits> for TopicLimits {
    fn from(limits: &Limits) -> Self {
        Self { bytes_max: limits.topic_bytes_max, levels_max: limits.topic_levels_max }
    }
}

/// Why a text is no topic name or no topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// No character at all [MQTT-4.7.3-1].
    Empty,
    /// More bytes than [`TopicLimits::bytes_max`].
    TooLong,
    /// More levels than [`TopicLimits::levels_max`].
    TooDeep,
    /// `+` or `#` in a topic name [MQTT-4.7.0-1].
    WildcardInName,
    /// `+` or `#` that is not alone in its level, or `#` that is not last [MQTT-4.7.1-1] [MQTT-4.7.1-2].
    WildcardMisplaced,
    /// The character U+0000 [MQTT-4.7.3-2].
    Nul,
    /// `$share/` that is not followed by a group, `/` and a filter [MQTT-4.8.2-1] [MQTT-4.8.2-2].
    BadShare,
}

impl fmt::Display for TopicError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Empty => "topic is empty",
            Self::TooLong => "topic is too long",
            Self::TooDeep => "topic has too many levels",
            Self::WildcardInName => "wildcard in a topic name",
            Self::WildcardMisplaced => "misplaced wildcard in a topic filter",
            Self::Nul => "NUL character in a topic",
            Self::BadShare => "shared subscription is not $share/group/filter",
        })
    }
}

impl std::error::Error for TopicError {}

/// A valid topic name (section 4.7): not empty, no wildcard, no NUL, within the limits that held when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks the text of a client.
    ///
    /// # Errors
    /// [`TopicError::Empty`], [`TopicError::TooLong`], [`TopicError::WildcardInName`], [`TopicError::Nul`],
    /// [`TopicError::TooDeep`].
    pub fn new(text: &'a str, limits: TopicLimits) -> Result<Self, TopicError> {
        check_size(text, limits)?;
        let survey = survey(text.as_bytes());
        if survey.forbidden {
            return Err(if text.contains('\0') { TopicError::Nul } else { TopicError::WildcardInName });
        }
        if survey.slashes >= limits.levels_max { Err(TopicError::TooDeep) } else { Ok(Self(text)) }
    }

    /// A name that was valid when it was stored, so that a stored message is not checked again. A text that never was
    /// valid breaks no memory and no trie: it matches what its levels say, or nothing.
    #[must_use]
    pub fn trusted(text: &'a str) -> Self {
        debug_assert!(!text.is_empty() && !survey(text.as_bytes()).forbidden, "not a topic name: {text:?}");
        Self(text)
    }

    /// The text as the client sent it [MQTT-4.7.3-4].
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether the name begins with `$` and is hidden from filters that begin with a wildcard [MQTT-4.7.2-1].
    #[must_use]
    pub fn is_dollar(self) -> bool {
        self.0.as_bytes().first() == Some(&b'$')
    }

    /// The levels between the slashes, empty ones included; at least one.
    pub fn levels(self) -> impl Iterator<Item = &'a str> {
        self.0.split('/')
    }
}

impl fmt::Display for TopicName<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)
    }
}

/// The checks that need no look at the bytes.
pub(super) fn check_size(text: &str, limits: TopicLimits) -> Result<(), TopicError> {
    if text.is_empty() {
        Err(TopicError::Empty)
    } else if text.len() > limits.bytes_max {
        Err(TopicError::TooLong)
    } else {
        Ok(())
    }
}

/// What one pass over a name found.
struct Survey {
    slashes: usize,
    /// A wildcard or NUL is somewhere; rare, so the caller looks again to say which.
    forbidden: bool,
}

/// What a byte adds to the sum of a name: one for a slash, `FORBIDDEN` for what no name may have.
const WEIGHTS: [u32; 256] = {
    let mut weights = [0; 256];
    weights[b'/' as usize] = 1;
    weights[b'+' as usize] = FORBIDDEN;
    weights[b'#' as usize] = FORBIDDEN;
    weights[0] = FORBIDDEN;
    weights
};

/// Above each number of slashes that a name can have.
const FORBIDDEN: u32 = 1 << 31;

/// Looks at each byte once: a load and an addition, no branch. Names are short and mixed, so that this beats comparisons
/// (8 ns against 20 to 30 for 27 bytes), also when those are done on words or vectors.
fn survey(bytes: &[u8]) -> Survey {
    let sum: u64 = bytes.iter().map(|&byte| u64::from(WEIGHTS[usize::from(byte)])).sum();
    Survey { slashes: (sum % u64::from(FORBIDDEN)) as usize, forbidden: sum >= u64::from(FORBIDDEN) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LIMITS: TopicLimits = TopicLimits { bytes_max: 65_535, levels_max: 200 };

    #[test]
    fn each_error_says_something_else() {
        let errors = [
            TopicError::Empty,
            TopicError::TooLong,
            TopicError::TooDeep,
            TopicError::WildcardInName,
            TopicError::WildcardMisplaced,
            TopicError::Nul,
            TopicError::BadShare,
        ];
        let texts: BTreeSet<String> = errors.iter().map(ToString::to_string).collect();
        assert!(texts.len() == errors.len() && texts.iter().all(|text| text.len() > 10));
    }

    /// [MQTT-4.7.3-1]
    #[test]
    fn an_empty_name_is_refused_and_one_character_is_enough() {
        assert_eq!(TopicName::new("", LIMITS), Err(TopicError::Empty));
        assert!(TopicName::new("/", LIMITS).is_ok());
        assert!(TopicName::new(" ", LIMITS).is_ok());
    }

    /// [MQTT-4.7.0-1] [MQTT-4.7.3-2], at each place of names of each length, so that no byte is passed over.
    #[test]
    fn a_wildcard_or_nul_anywhere_in_a_name_is_refused() {
        for len in 1..70 {
            for at in 0..len {
                for (byte, error) in
                    [(b'+', TopicError::WildcardInName), (b'#', TopicError::WildcardInName), (0, TopicError::Nul)]
                {
                    let mut text = vec![b'/'; len];
                    text[at] = byte;
                    let text = String::from_utf8(text).unwrap();
                    assert_eq!(TopicName::new(&text, LIMITS), Err(error), "{text:?}");
                }
            }
        }
    }

    /// [MQTT-4.7.3-4]: case, spaces and characters beyond ASCII stand as they are.
    #[test]
    fn a_name_is_kept_as_it_was_sent() {
        for text in ["a//b/", "Häuser/東京/\u{feff}", "a b", "*", "$SYS", "\u{2f}"] {
            let name = TopicName::new(text, LIMITS).unwrap();
            assert_eq!((name.as_str(), name.to_string().as_str()), (text, text));
        }
        let levels: Vec<&str> = TopicName::trusted("/a//b/").levels().collect();
        assert_eq!(levels, ["", "a", "", "b", ""]);
    }

    /// [MQTT-4.7.3-3], R09
    #[test]
    fn a_name_ends_at_its_limits_of_bytes_and_levels() {
        assert!(TopicName::new(&"x".repeat(65_535), LIMITS).is_ok());
        assert_eq!(TopicName::new(&"x".repeat(65_536), LIMITS), Err(TopicError::TooLong));
        assert!(TopicName::new(&"/".repeat(199), LIMITS).is_ok());
        assert_eq!(TopicName::new(&"/".repeat(200), LIMITS), Err(TopicError::TooDeep));
        assert_eq!(TopicName::new(&"/".repeat(65_535), LIMITS), Err(TopicError::TooDeep));
    }
}
