//! What one entry of a SUBSCRIBE names: a filter, or a group that shares one.
//!
//! Duty: take `$share/group/filter` apart (section 4.8.2). Must not: know the members of a group (that is `shard`).
//! Neighbours: `filter` checks what is left.

use super::filter::TopicFilter;
use super::name::{TopicError, TopicLimits, check_size};

/// The beginning of a shared subscription.
const SHARE_PREFIX: &str = "$share/";

/// A valid subscription: `filter` or `$share/group/filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubscriptionFilter<'a> {
    /// Each subscriber gets each message.
    Plain(TopicFilter<'a>),
    /// One member of the group gets each message.
    Shared {
        /// The ShareName: not empty, without `/`, `+` and `#` [MQTT-4.8.2-2].
        group: &'a str,
        /// What the group wants.
        filter: TopicFilter<'a>,
    },
}

impl<'a> SubscriptionFilter<'a> {
    /// Checks the text of a client. The limit on bytes holds for the whole text, that on levels for the filter.
    ///
    /// # Errors
    /// [`TopicError::BadShare`] for a group that is missing, empty or has a wildcard, and for a missing filter
    /// [MQTT-4.8.2-1] [MQTT-4.8.2-2]; else as [`TopicFilter::new`].
    pub fn new(text: &'a str, limits: TopicLimits) -> Result<Self, TopicError> {
        check_size(text, limits)?;
        let Some(shared) = text.strip_prefix(SHARE_PREFIX) else {
            return TopicFilter::new(text, limits).map(Self::Plain);
        };
        let (group, filter) = shared.split_once('/').ok_or(TopicError::BadShare)?;
        if group.is_empty() || group.contains(['+', '#']) || filter.is_empty() {
            return Err(TopicError::BadShare);
        }
        if group.contains('\0') {
            return Err(TopicError::Nul);
        }
        Ok(Self::Shared { group, filter: TopicFilter::new(filter, limits)? })
    }

    /// A subscription that was valid when it was stored, so that it is not checked again.
    #[must_use]
    pub fn trusted(text: &'a str) -> Self {
        match text.strip_prefix(SHARE_PREFIX).and_then(|shared| shared.split_once('/')) {
            Some((group, filter)) => Self::Shared { group, filter: TopicFilter::trusted(filter) },
            None => Self::Plain(TopicFilter::trusted(text)),
        }
    }

    /// What is wanted, whoever gets it: what rights are checked on.
    #[must_use]
    pub fn filter(self) -> TopicFilter<'a> {
        match self {
            Self::Plain(filter) | Self::Shared { filter, .. } => filter,
        }
    }

    /// The ShareName of a shared subscription.
    #[must_use]
    pub fn group(self) -> Option<&'a str> {
        match self {
            Self::Plain(_) => None,
            Self::Shared { group, .. } => Some(group),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TopicLimits = TopicLimits { bytes_max: 65_535, levels_max: 200 };

    /// [MQTT-4.8.2-1]: the filter is the remainder, slashes and all.
    #[test]
    fn a_shared_subscription_is_taken_apart_at_its_second_and_third_level() {
        for (text, group, filter) in [
            ("$share/g/a/b", "g", "a/b"),
            ("$share/g//a", "g", "/a"),
            ("$share/$x/#", "$x", "#"),
            ("$share/g/+/#", "g", "+/#"),
        ] {
            let subscription = SubscriptionFilter::new(text, LIMITS).unwrap();
            assert_eq!((subscription.group(), subscription.filter().as_str()), (Some(group), filter), "{text}");
            assert_eq!(SubscriptionFilter::trusted(text), subscription);
        }
    }

    #[test]
    fn other_filters_are_plain_also_when_they_look_similar() {
        for text in ["a/b", "$share", "$SHARE/g/a", "/$share/g/a", "$shared/g/a", "#"] {
            let subscription = SubscriptionFilter::new(text, LIMITS).unwrap();
            assert_eq!((subscription.group(), subscription.filter().as_str()), (None, text));
            assert_eq!(SubscriptionFilter::trusted(text), subscription);
        }
    }

    /// [MQTT-4.8.2-1] [MQTT-4.8.2-2], W59, W61, W62
    #[test]
    fn a_share_without_group_or_filter_or_with_a_wildcard_in_the_group_is_refused() {
        for text in
            ["$share/", "$share/ab", "$share//a", "$share/g/", "$share/+/a", "$share/#/a", "$share/g+/a", "$share/#"]
        {
            assert_eq!(SubscriptionFilter::new(text, LIMITS), Err(TopicError::BadShare), "{text}");
        }
        assert_eq!(SubscriptionFilter::new("$share/g/a/#/b", LIMITS), Err(TopicError::WildcardMisplaced));
        assert_eq!(SubscriptionFilter::new("$share/g\0/a", LIMITS), Err(TopicError::Nul));
        assert_eq!(SubscriptionFilter::new("", LIMITS), Err(TopicError::Empty));
    }

    #[test]
    fn the_limit_on_levels_counts_the_filter_and_that_on_bytes_the_whole() {
        let deepest = "/".repeat(199);
        assert!(SubscriptionFilter::new(&format!("$share/g/{deepest}"), LIMITS).is_ok());
        let text = format!("$share/g/{deepest}/");
        assert_eq!(SubscriptionFilter::new(&text, LIMITS), Err(TopicError::TooDeep));
        let text = format!("$share/g/{}", "x".repeat(65_527));
        assert_eq!(SubscriptionFilter::new(&text, LIMITS), Err(TopicError::TooLong));
    }
}
