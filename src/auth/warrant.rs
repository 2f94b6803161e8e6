//! Warrant: what a judge outside the broker's own files has said of a client: who it is, what it may do, and until when.
//!
//! Duty: hold it, decide by its rights, know a token by its look. Must not: verify a signature, ask anybody, know the time of
//! day. Neighbours: `runtime` makes warrants of tokens and answers; sessions hold them; `policy` asks them before the ACL.
//!
//! Rights are two lists of topic filters with `%u` and `%c` as whole levels, and decide as the same filters do in `pattern` lines
//! of an ACL file. Most clients have few, so they are walked: a trie would cost each client a hundred times the memory.

use super::acl::{Access, Asked, Decision};
use crate::id::Millis;
use crate::limits::GRANTED_FILTERS_MAX;
use crate::topic::{TopicFilter, TopicLimits};

/// Names a judge: the same keys and settings have the same name, others another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JudgeId(pub u64);

/// A judge outside the broker's own files, as the shards know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judge {
    /// Which one.
    pub id: JudgeId,
    /// Whether its warrants may have rights.
    pub gives_rights: bool,
}

/// What a judge has said of a client that may come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warrant {
    /// Who has said it.
    pub judge: JudgeId,
    /// Who the client is, whatever CONNECT says; `None`: what CONNECT says.
    pub user: Option<Box<str>>,
    /// What it may do; `None`: what the ACL file says.
    pub grants: Option<Grants>,
    /// When the connection is to end; [`Millis::NEVER`] for no such time.
    pub expires_at: Millis,
}

/// What a client may do, by topic filters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    publish: Box<[Box<str>]>,
    receive: Box<[Box<str>]>,
}

impl Warrant {
    /// What it costs whoever holds it, bytes, rounded up.
    pub fn cost(&self) -> usize {
        let texts = |list: &[Box<str>]| list.iter().map(|text| text.len() + 32).sum::<usize>();
        let grants = self.grants.as_ref().map_or(0, |grants| texts(&grants.publish) + texts(&grants.receive));
        128 + self.user.as_deref().map_or(0, str::len) + grants
    }
}

impl Grants {
    /// The rights to publish to, and to receive from, what these filters match.
    ///
    /// # Errors
    /// Words for a filter that is none, or for more than [`GRANTED_FILTERS_MAX`] in a list.
    pub fn new(publish: Vec<Box<str>>, receive: Vec<Box<str>>) -> Result<Self, &'static str> {
        if publish.len().max(receive.len()) > GRANTED_FILTERS_MAX {
            return Err("more rights than 128 topic filters to publish to, or to receive from");
        }
        let limits = TopicLimits { bytes_max: 65_535, levels_max: 65_536 };
        if publish.iter().chain(&receive).any(|filter| TopicFilter::new(filter, limits).is_err()) {
            return Err("a right that is no topic filter");
        }
        Ok(Self { publish: publish.into(), receive: receive.into() })
    }

    /// Whether a client may publish to a topic, or be sent what was published to it; the line is the place of the filter in
    /// its list, from 1.
    pub fn decide(&self, access: Access, asked: Asked<'_>, topic: &str) -> Decision {
        let filters = if access == Access::Publish { &self.publish } else { &self.receive };
        let place = if asked.has_wildcard() { None } else { filters.iter().position(|own| covers(own, topic, asked)) };
        Decision { is_allowed: place.is_some(), line: place.map(|place| place as u32 + 1) }
    }

    /// Whether a subscription to this filter (without `$share/group/`) could ever bring anything.
    pub fn may_ever_receive(&self, asked: Asked<'_>, filter: &str) -> bool {
        !asked.has_wildcard() && self.receive.iter().any(|own| meets(own, filter, asked))
    }
}

/// Whether a password looks as tokens do: three parts of base64url with dots between, the first of which is a JSON object.
/// Whoever sends one is judged by it, and by nothing else.
pub(super) fn is_token(password: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    password.starts_with(b"eyJ")
        && password.iter().filter(|byte| **byte == b'.').count() == 2
        && password.iter().all(is_letter)
}

/// Whether a level of a right stands for a level of a name.
fn is_level(own: &str, level: &str, asked: Asked<'_>) -> bool {
    match own {
        "+" => true,
        "%c" => level == asked.client_id,
        "%u" => Some(level) == asked.user,
        own => own == level,
    }
}

/// Whether the first level of a right stands for more than itself, so that it does not reach what begins with `$`.
fn starts_wild(own: &str) -> bool {
    matches!(own.split('/').next(), Some("+" | "#" | "%c" | "%u"))
}

/// Whether a right covers a topic name.
fn covers(own: &str, topic: &str, asked: Asked<'_>) -> bool {
    if topic.starts_with('$') && starts_wild(own) {
        return false;
    }
    let mut levels = topic.split('/');
    for own in own.split('/') {
        if own == "#" {
            return true;
        }
        if !levels.next().is_some_and(|level| is_level(own, level, asked)) {
            return false;
        }
    }
    levels.next().is_none()
}

/// Whether some topic name is covered by a right and matched by a subscription's filter.
fn meets(own: &str, filter: &str, asked: Asked<'_>) -> bool {
    let is_hidden =
        filter.starts_with('$') && starts_wild(own) || own.starts_with('$') && filter.starts_with(['+', '#']);
    if is_hidden {
        return false;
    }
    let (mut own, mut wanted) = (own.split('/'), filter.split('/'));
    loop {
        match (own.next(), wanted.next()) {
            (None, None) | (Some("#"), _) | (_, Some("#")) => return true,
            (Some("%u"), Some("+")) if asked.user.is_none() => return false,
            (Some(_), Some("+")) => {}
            (Some(own), Some(level)) if is_level(own, level, asked) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::auth::Acl;

    #[test]
    fn a_token_is_known_by_its_look() {
        for (password, is_one) in [
            ("eyJhbGciOiJub25lIn0.e30.", true),
            ("eyJhbGciOiJIUzI1NiJ9.e30.a-_Z", true),
            ("eyJhbGciOiJIUzI1NiJ9.e30", false),
            ("eyJhbGciOiJIUzI1NiJ9.e30.a.b", false),
            ("eyJhbGciOiJIUzI1NiJ9.e30.a b", false),
            ("secret.with.dots", false),
            ("", false),
        ] {
            assert_eq!(is_token(password.as_bytes()), is_one, "{password}");
        }
    }

    #[test]
    fn rights_that_are_no_filters_or_too_many_are_refused() {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).into()).collect::<Vec<Box<str>>>();
        for wrong in ["", "a/#/b", "a+"] {
            assert!(Grants::new(list(&[wrong]), Vec::new()).is_err(), "{wrong:?}");
            assert!(Grants::new(Vec::new(), list(&["a", wrong])).is_err(), "{wrong:?}");
        }
        let many = |count| vec![Box::from("a"); count];
        assert!(Grants::new(many(GRANTED_FILTERS_MAX), many(GRANTED_FILTERS_MAX)).is_ok());
        assert!(Grants::new(many(GRANTED_FILTERS_MAX + 1), Vec::new()).is_err());
        assert!(Grants::new(Vec::new(), many(GRANTED_FILTERS_MAX + 1)).is_err());
    }

    #[test]
    fn a_warrant_costs_what_it_holds() {
        let grants = Grants::new(vec!["abc".into()], vec!["a".into(), "b".into()]).expect("filters");
        let warrant =
            Warrant { judge: JudgeId(1), user: Some("bob".into()), grants: Some(grants), expires_at: Millis::NEVER };
        assert_eq!(warrant.cost(), 128 + 3 + 35 + 33 + 33);
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop::sample::select(&["a", "b", "$x", "", "+", "%c", "%u"][..]);
        (prop::collection::vec(level, 1..4), any::<bool>()).prop_filter_map("not empty", |(levels, has_hash)| {
            let text = levels.join("/") + if has_hash { "/#" } else { "" };
            (!text.is_empty()).then_some(text)
        })
    }

    proptest! {
        /// Case S10: and a name with wildcards gets nothing.
        #[test]
        fn rights_decide_as_patterns_of_an_acl_file_do(
            publish in prop::collection::vec(filter(), 0..5),
            receive in prop::collection::vec(filter(), 0..5),
            wanted in filter(),
            levels in prop::collection::vec(prop::sample::select(&["a", "b", "$x", "", "c"][..]), 1..4),
            user in prop::sample::select(vec![None, Some("a"), Some("b"), Some("a+")]),
            client_id in prop::sample::select(vec!["a", "b", "$x", "#", ""]),
        ) {
            let topic = levels.join("/");
            prop_assume!(!topic.is_empty());
            let boxed = |list: &[String]| list.iter().map(|text| text.as_str().into()).collect::<Vec<Box<str>>>();
            let grants = Grants::new(boxed(&publish), boxed(&receive)).expect("filters");
            let asked = Asked { user, client_id, grants: None };
            for (access, word, list) in [(Access::Publish, "write", &publish), (Access::Receive, "read", &receive)] {
                let text: String = list.iter().map(|filter| format!("pattern {word} {filter}\n")).collect();
                let acl = Acl::parse(&text).expect("patterns");
                prop_assert_eq!(grants.decide(access, asked, &topic), acl.decide(access, asked, &topic), "{}", text);
                if access == Access::Receive {
                    let may = acl.may_ever_receive(asked, &wanted);
                    prop_assert_eq!(grants.may_ever_receive(asked, &wanted), may, "{} of {}", wanted, text);
                }
            }
        }
    }
}
