//! Dry run: what a client would be allowed, asked without a client (`ringmq why`, the admin room).
//!
//! Duty: choose the listener that the client would come by, put its mount point before the topic, say the decision and who made it.
//! Must not: decide otherwise than `policy` does. Neighbours: `cli` asks with files, `admin` with what a running broker has.

use std::fmt;

use super::acl::{Access, Asked};
use super::policy::{Explanation, Policy, Rules, Terms};
use crate::limits::Limits;
use crate::topic::{SubscriptionFilter, TopicError, TopicLimits, TopicName};

/// What a client wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Publish to a topic.
    Publish,
    /// Be sent what was published to a topic.
    Receive,
    /// Subscribe to a filter.
    Subscribe,
}

impl Wish {
    /// All, with their words.
    pub const WORDS: [(&str, Self); 3] =
        [("publish", Self::Publish), ("receive", Self::Receive), ("subscribe", Self::Subscribe)];

    /// Its word.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, known)| *known == self).map_or("", |(word, _)| word)
    }
}

/// A question.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who.
    pub asked: Asked<'a>,
    /// What.
    pub wish: Wish,
    /// A topic name, or a filter to subscribe to.
    pub topic: &'a str,
    /// Port of the listener that the client comes by, 0 for a Unix socket; `None` if all have the same rights.
    pub port: Option<u16>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The topic name or the filter is none.
    Topic(String, TopicError),
    /// No listener is there.
    NoListener,
    /// Listeners have different rights or mount points.
    SeveralListeners,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(topic, error) => write!(out, "'{topic}': {error}"),
            Self::NoListener => out.write_str("there is no listener on that port"),
            Self::SeveralListeners => {
                out.write_str("the listeners have different rights or mount points; choose one by --listener PORT")
            }
        }
    }
}

impl Policy {
    /// The decision, and what has made it. `ports`: those of the listeners by their index, 0 for a Unix socket, `None` for those that
    /// are gone.
    ///
    /// # Errors
    /// It is not clear what is asked.
    pub fn answer(&self, question: Question<'_>, ports: &[Option<u16>]) -> Result<Explanation, Unanswered> {
        let (rules, terms) = self.chosen(question.port, ports)?;
        let Question { asked, wish, topic, .. } = question;
        let limits = TopicLimits::from(&Limits::default());
        let wrong = |error| Unanswered::Topic(topic.to_owned(), error);
        let access = match wish {
            Wish::Subscribe => {
                SubscriptionFilter::new(topic, limits).map_err(wrong)?;
                let mounted = terms.mounted_filter(topic);
                let filter = SubscriptionFilter::new(&mounted, limits).map_err(wrong)?.filter();
                return Ok(rules.explain_subscription(asked, filter.as_str()));
            }
            Wish::Publish => Access::Publish,
            Wish::Receive => Access::Receive,
        };
        let name = TopicName::new(topic, limits).map_err(wrong)?;
        if access == Access::Publish && name.is_dollar() {
            let text = "denied: clients may not publish to topics that begin with $".into();
            return Ok(Explanation { is_allowed: false, line: None, text });
        }
        Ok(rules.explain(access, asked, &terms.mounted(topic)))
    }

    /// The rights of the listener on this port; of all, if they are the same everywhere.
    fn chosen(&self, port: Option<u16>, ports: &[Option<u16>]) -> Result<(&Rules, &Terms), Unanswered> {
        let is_there = |there: &Option<u16>| there.is_some() && (port.is_none() || *there == port);
        let places = ports.iter().zip(&self.listeners).filter(|(there, _)| is_there(there));
        let mut found = places.map(|(_, terms)| terms);
        let first = found.next().ok_or(Unanswered::NoListener)?;
        let rights = |terms: &Terms| (terms.rules, terms.mount_point.clone());
        if found.any(|other| rights(other) != rights(first)) {
            return Err(Unanswered::SeveralListeners);
        }
        Ok((self.rules_at(first.rules), first))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::auth::Acl;

    fn policy(mounts: &[(usize, Option<&str>)]) -> Policy {
        let acl = Acl::parse("topic read m/a\n").expect("a good file");
        let limited = Rules { acl: Some(Arc::new(acl)), acl_name: Arc::from("rights"), ..Rules::default() };
        let terms = |(rules, mount): &(usize, Option<&str>)| Terms {
            rules: *rules,
            mount_point: mount.map(Box::from),
            ..Terms::default()
        };
        Policy {
            listeners: mounts.iter().map(terms).collect(),
            rules: vec![limited, Rules::default()],
            ..Policy::default()
        }
    }

    fn answer(policy: &Policy, wish: Wish, topic: &str, port: Option<u16>, ports: &[Option<u16>]) -> String {
        let question = Question { asked: Asked { user: None, client_id: "c", grants: None }, wish, topic, port };
        policy.answer(question, ports).map_or_else(|wrong| wrong.to_string(), |answer| answer.text)
    }

    #[test]
    fn listeners_with_different_rights_are_told_apart_by_their_ports() {
        let policy = policy(&[(0, Some("m/")), (1, None), (0, None)]);
        let ports = [Some(1883), Some(0), None];
        let ask = |port| answer(&policy, Wish::Receive, "a", port, &ports);
        assert_eq!(ask(Some(1883)), "allowed by rights:1");
        assert!(ask(Some(0)).starts_with("allowed: no acl_file"), "a Unix socket has port 0");
        assert!(ask(None).contains("different rights"), "{}", ask(None));
        assert_eq!(ask(Some(9)), "there is no listener on that port");
        assert_eq!(answer(&policy, Wish::Receive, "a", None, &[None; 3]), "there is no listener on that port");
        let gone = [Some(1883), None, None];
        assert_eq!(answer(&policy, Wish::Receive, "a", None, &gone), "allowed by rights:1", "one is left");
    }

    #[test]
    fn mount_points_stand_before_names_and_filters_and_dollar_topics_are_the_brokers() {
        let policy = policy(&[(0, Some("m/"))]);
        let ask = |wish, topic| answer(&policy, wish, topic, None, &[Some(1)]);
        assert!(ask(Wish::Subscribe, "$share/g/+").starts_with("allowed: "));
        assert!(ask(Wish::Publish, "a").starts_with("denied: no line of rights"));
        assert!(ask(Wish::Publish, "$SYS/a").starts_with("denied: clients may not publish"));
        assert!(ask(Wish::Publish, "a/#").starts_with("'a/#': "));
        assert!(ask(Wish::Subscribe, "a#").starts_with("'a#': "));
    }

    #[test]
    fn each_wish_has_a_word() {
        assert_eq!(Wish::WORDS.map(|(_, wish)| wish.word()), Wish::WORDS.map(|(word, _)| word));
    }
}
