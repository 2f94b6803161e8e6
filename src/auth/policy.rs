//! What a broker has decided about its listeners: rules and terms, as each shard keeps them.
//!
//! Duty: one value that is the same on all shards, replaced as a whole; the questions that a shard asks it. Must not: know
//! sessions or packets. Neighbours: `runtime` makes it from the configuration and its files; `shard` asks.

use std::borrow::Cow;
use std::sync::Arc;

use super::acl::{Access, Acl, Asked, Decision};
use super::password::Passwords;
use super::warrant::{Judge, JudgeId, is_token};
use crate::limits::Level;
use crate::wire::{ProtocolVersion, QoS};

/// Everything that was decided.
#[derive(Clone, Debug)]
pub struct Policy {
    /// By the index of the listener; one at least.
    pub listeners: Vec<Terms>,
    /// By [`Terms::rules`].
    pub rules: Vec<Rules>,
    /// Whether messages are retained; who asks for it is disconnected otherwise [MQTT-3.2.2-14].
    pub retain_available: bool,
    /// Whether QoS 0 messages wait for sessions whose clients are away.
    pub queues_qos0: bool,
    /// Whether a 3.x client is refused whose keep alive is above `Limits::keep_alive_secs_max`, or none.
    pub refuses_long_keep_alive: bool,
    /// Whether each of the overlapping subscriptions of a client gets a copy of its own, at its own QoS; else they get one together.
    pub copies_per_subscription: bool,
    /// Largest payload, bytes; a larger one is acknowledged and dropped.
    pub payload_bytes_max: usize,
    /// Whether each subscription is told, and each that is given up.
    pub tells_subscriptions: bool,
    /// How safe messages are kept, by topic filter: the first that matches counts, and [`Level::Commit`] where none does.
    pub durability: Vec<(Box<str>, Level)>,
}

/// On which terms clients of one listener are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Which rules hold: an index of [`Policy::rules`].
    pub rules: usize,
    /// Highest QoS that clients may use [MQTT-3.2.2-11].
    pub maximum_qos: QoS,
    /// Topic Alias Maximum that is announced; `None` for that of the limits.
    pub topic_alias_max: Option<u16>,
    /// Topics that each client may be sent under aliases; `None` for those of the limits.
    pub topic_alias_out_max: Option<u16>,
    /// Versions that may be spoken; empty for all.
    pub versions: Vec<ProtocolVersion>,
    /// What stands before each topic of the clients, unseen by them: no wildcard.
    pub mount_point: Option<Box<str>>,
    /// Whether the user name becomes the client id.
    pub uses_user_name_as_client_id: bool,
    /// What stands before each client id that is made; `None` for `auto-`.
    pub generated_id_prefix: Option<Box<str>>,
}

/// Who may connect, and who may do what.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Whether a client may come without a user name.
    pub allow_anonymous: bool,
    /// Users and their passwords. `None`: a user name is believed, if clients may also come without.
    pub passwords: Option<Arc<Passwords>>,
    /// Who judges passwords that are tokens.
    pub tokens: Option<Judge>,
    /// Who judges all that `passwords` does not know.
    pub authenticator: Option<Judge>,
    /// Rights of who brings none along. `None`: everybody may do everything.
    pub acl: Option<Arc<Acl>>,
    /// What the file of the rights is called, for people.
    pub acl_name: Arc<str>,
    /// Whether a client may come without a client id.
    pub allow_empty_client_id: bool,
    /// What every client id must begin with.
    pub client_id_prefix: Option<Box<str>>,
    /// Whether a SUBSCRIBE that can never bring anything is refused.
    pub refuses_useless_subscriptions: bool,
    /// Whether the right of the publisher of a retained message is asked for again when it is sent.
    pub checks_retain_source: bool,
}

/// By which listener a client comes, and what holds there.
#[derive(Clone, Copy, Debug)]
pub struct Entrance<'a> {
    /// An index of [`Policy::listeners`].
    pub listener: u16,
    /// What holds everywhere.
    pub policy: &'a Policy,
    /// What holds on the listener.
    pub terms: &'a Terms,
    /// Who may connect there, and who may do what.
    pub rules: &'a Rules,
}

/// Who says whether a client is the user that it says it is.
#[derive(Clone, Debug)]
pub enum Referee {
    /// Nobody: what it says is believed, or it says nothing.
    Nobody,
    /// The password file.
    Passwords(Arc<Passwords>),
    /// The keys of tokens.
    Tokens(JudgeId),
    /// An authenticator outside the broker.
    Authenticator(JudgeId),
}

/// Why nobody judges a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has no user name, and only users may come.
    NoUserName,
    /// Only who has a token may come.
    NoToken,
    /// Nothing says who may come.
    NoReferee,
}

impl Policy {
    /// The same for a broker whose listeners have kept their places while it was running: `places` says for each which listener of
    /// this policy stands there. On those that are gone, what held `before` holds for who is still connected.
    #[must_use]
    pub fn at(mut self, places: &[Option<usize>], before: &Self) -> Self {
        let mut listeners = Vec::with_capacity(places.len());
        for (place, index) in places.iter().enumerate() {
            listeners.push(match (index, before.listeners.get(place)) {
                (Some(index), _) => self.listeners[*index].clone(),
                (None, Some(gone)) => {
                    self.rules.push(before.rules[gone.rules].clone());
                    Terms { rules: self.rules.len() - 1, ..gone.clone() }
                }
                (None, None) => Terms::default(),
            });
        }
        self.listeners = listeners;
        self
    }
}

impl Default for Policy {
    /// One listener, on which everybody may do everything.
    fn default() -> Self {
        Self {
            listeners: vec![Terms::default()],
            rules: vec![Rules::default()],
            retain_available: true,
            queues_qos0: false,
            refuses_long_keep_alive: false,
            copies_per_subscription: false,
            payload_bytes_max: usize::MAX,
            tells_subscriptions: false,
            durability: Vec::new(),
        }
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            rules: 0,
            maximum_qos: QoS::ExactlyOnce,
            topic_alias_max: None,
            topic_alias_out_max: None,
            versions: Vec::new(),
            mount_point: None,
            uses_user_name_as_client_id: false,
            generated_id_prefix: None,
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            allow_anonymous: true,
            passwords: None,
            tokens: None,
            authenticator: None,
            acl: None,
            acl_name: Arc::from(""),
            allow_empty_client_id: true,
            client_id_prefix: None,
            refuses_useless_subscriptions: false,
            checks_retain_source: true,
        }
    }
}

impl Policy {
    /// The terms of a listener. One that has gone meanwhile is served as the first.
    pub fn terms(&self, listener: u16) -> &Terms {
        self.listeners.get(usize::from(listener)).unwrap_or(&self.listeners[0])
    }

    /// A listener with what holds there.
    pub fn entrance(&self, listener: u16) -> Entrance<'_> {
        let terms = self.terms(listener);
        Entrance { listener, policy: self, terms, rules: self.rules_at(terms.rules) }
    }

    /// The rules of a listener.
    pub fn rules_of(&self, listener: u16) -> &Rules {
        self.rules_at(self.terms(listener).rules)
    }

    /// Rules by their index. Those that have gone meanwhile are the first.
    pub fn rules_at(&self, index: usize) -> &Rules {
        self.rules.get(index).unwrap_or(&self.rules[0])
    }

    /// Whether any rights are limited at all.
    pub fn limits_rights(&self) -> bool {
        let gives = |judge: &Option<Judge>| judge.is_some_and(|judge| judge.gives_rights);
        self.rules.iter().any(|rules| rules.acl.is_some() || gives(&rules.tokens) || gives(&rules.authenticator))
    }
}

impl Terms {
    /// A topic name of a client as the broker knows it.
    pub fn mounted<'a>(&self, topic: &'a str) -> Cow<'a, str> {
        self.mount_point.as_ref().map_or(Cow::Borrowed(topic), |mount| Cow::Owned(format!("{mount}{topic}")))
    }

    /// A subscription's filter of a client as the broker knows it.
    pub fn mounted_filter<'a>(&self, filter: &'a str) -> Cow<'a, str> {
        let group = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
        match (&self.mount_point, group) {
            (Some(mount), Some((group, filter))) => Cow::Owned(format!("$share/{group}/{mount}{filter}")),
            _ => self.mounted(filter),
        }
    }

    /// A topic name as the clients know it.
    pub fn unmounted<'a>(&self, topic: &'a str) -> &'a str {
        self.mount_point.as_ref().and_then(|mount| topic.strip_prefix(&**mount)).unwrap_or(topic)
    }
}

impl Rules {
    /// Whether a client may publish to a topic, or be sent what was published to it, and why.
    pub fn decide(&self, access: Access, asked: Asked<'_>, topic: &str) -> Decision {
        if let Some(grants) = asked.grants {
            return grants.decide(access, asked, topic);
        }
        let everything = Decision { is_allowed: true, line: None };
        self.acl.as_ref().map_or(everything, |acl| acl.decide(access, asked, topic))
    }

    /// Whether a client that is connected under this user name could still connect.
    pub fn knows(&self, user: Option<&str>) -> bool {
        match (user, &self.passwords) {
            (Some(user), Some(passwords)) => passwords.has(user),
            // A token, or the authenticator, has to say so.
            (Some(_), None) if self.tokens.is_some() || self.authenticator.is_some() => false,
            (None, _) | (Some(_), None) => self.allow_anonymous,
        }
    }

    /// Who judges what a client says in CONNECT. Always one alone, so that what one refuses is not asked of another: of a token
    /// its keys, of a user whom the password file knows that file, of all else the authenticator.
    ///
    /// # Errors
    /// Nobody does, and nobody is believed; why.
    pub fn referee(&self, user: Option<&str>, password: Option<&[u8]>) -> Result<Referee, Refusal> {
        let tokens = self.tokens.filter(|_| password.is_some_and(is_token));
        if let Some(tokens) = tokens {
            return Ok(Referee::Tokens(tokens.id));
        }
        let authenticator = self.authenticator.filter(|_| user.is_some() || password.is_some());
        match (user, &self.passwords, authenticator) {
            (Some(user), Some(passwords), Some(_)) if passwords.has(user) => {
                Ok(Referee::Passwords(Arc::clone(passwords)))
            }
            (_, _, Some(authenticator)) => Ok(Referee::Authenticator(authenticator.id)),
            (Some(_), Some(passwords), None) => Ok(Referee::Passwords(Arc::clone(passwords))),
            (Some(_), None, None) if self.tokens.is_some() => Err(Refusal::NoToken),
            _ if self.allow_anonymous => Ok(Referee::Nobody),
            (None, ..) => Err(Refusal::NoUserName),
            (Some(_), ..) => Err(Refusal::NoReferee),
        }
    }

    /// Whether a judge still judges here.
    pub fn has_judge(&self, id: JudgeId) -> bool {
        [self.tokens, self.authenticator].iter().flatten().any(|judge| judge.id == id)
    }

    /// Whether a subscription is refused because it could bring nothing.
    pub fn is_useless(&self, asked: Asked<'_>, filter: &str) -> bool {
        self.refuses_useless_subscriptions && !self.may_ever_receive(asked, filter)
    }

    fn may_ever_receive(&self, asked: Asked<'_>, filter: &str) -> bool {
        match (asked.grants, &self.acl) {
            (Some(grants), _) => grants.may_ever_receive(asked, filter),
            (None, Some(acl)) => acl.may_ever_receive(asked, filter),
            (None, None) => true,
        }
    }

    /// Whether any user could prove by SCRAM who it is.
    pub fn offers_scram(&self) -> bool {
        self.passwords.as_ref().is_some_and(|passwords| passwords.scram_dummy().is_some())
    }

    /// Which rule decided, in words.
    pub fn reason(&self, decision: Decision, asked: Asked<'_>) -> Box<str> {
        match decision.line {
            _ if asked.grants.is_some() => "no filter of the client's token or authenticator allows it".into(),
            Some(line) => format!("{}:{line}", self.acl_name).into(),
            None => format!("no line of {} allows it", self.acl_name).into(),
        }
    }

    /// A decision in words, with the file and the line that made it (`ringmq why`).
    pub fn explain(&self, access: Access, asked: Asked<'_>, topic: &str) -> Explanation {
        let Decision { is_allowed, line } = self.decide(access, asked, topic);
        let verdict = if is_allowed { "allowed" } else { "denied" };
        let unknown = self.unknown();
        let text = match (&self.acl, line) {
            (None, _) => format!("{verdict}: no acl_file, so everybody may do everything{unknown}"),
            (Some(_), Some(line)) => format!("{verdict} by {}:{line}{unknown}", self.acl_name),
            (Some(_), None) => format!("{verdict}: no line of {} allows it{unknown}", self.acl_name),
        };
        let line = line.map(|line| (Arc::clone(&self.acl_name), line));
        Explanation { is_allowed, line, text }
    }

    /// What cannot be said before the client comes.
    fn unknown(&self) -> &'static str {
        let gives = |judge: Option<Judge>| judge.is_some_and(|judge| judge.gives_rights);
        match (gives(self.tokens), gives(self.authenticator)) {
            (false, false) => "",
            (true, false) => " (for who comes without a token: a token has rights of its own)",
            (false, true) => " (unless the authenticator gives the client rights of its own)",
            (true, true) => " (unless the client's token or the authenticator gives it rights of its own)",
        }
    }

    /// Whether a subscription may be made, in words (`ringmq why`).
    pub fn explain_subscription(&self, asked: Asked<'_>, filter: &str) -> Explanation {
        let (unknown, name) = (self.unknown(), &self.acl_name);
        let is_useful = self.may_ever_receive(asked, filter);
        let text = match (is_useful, self.refuses_useless_subscriptions) {
            (true, _) => format!("allowed: something that it matches may be received{unknown}"),
            (false, true) => format!("denied: no line of {name} lets anything be received that it matches{unknown}"),
            (false, false) => {
                format!("allowed, but no line of {name} lets anything be received that it matches{unknown}")
            }
        };
        Explanation { is_allowed: is_useful || !self.refuses_useless_subscriptions, line: None, text }
    }
}

/// A decision for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The decision.
    pub is_allowed: bool,
    /// The file and the line that made it, if one did.
    pub line: Option<(Arc<str>, u32)>,
    /// All of it in one line.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::password::{Hash, SALT_BYTES, Scheme};

    const ALICE: Asked<'_> = Asked { user: Some("alice"), client_id: "c", grants: None };

    fn rules(text: &str) -> Rules {
        let acl = Acl::parse(text).expect("a good file");
        Rules { acl: Some(Arc::new(acl)), acl_name: Arc::from("rights.acl"), ..Rules::default() }
    }

    /// `ringmq why`: the decision, and the file and line that made it.
    #[test]
    fn a_decision_is_explained_by_file_and_line() {
        let rules = rules("user alice\ntopic read a/#\ntopic deny a/b\n");
        for (access, topic, words) in [
            (Access::Receive, "a/c", "allowed by rights.acl:2"),
            (Access::Receive, "a/b", "denied by rights.acl:3"),
            (Access::Publish, "a/c", "denied: no line of rights.acl allows it"),
        ] {
            let explanation = rules.explain(access, ALICE, topic);
            assert_eq!((explanation.is_allowed, &*explanation.text), (words.starts_with("allowed"), words));
            assert_eq!(explanation.line.is_some(), words.contains(" by "));
        }
        let free = Rules::default().explain(Access::Publish, ALICE, "a").text;
        assert!(free.starts_with("allowed: no acl_file"), "{free}");
    }

    #[test]
    fn a_subscription_that_brings_nothing_is_called_so() {
        let mut rules = rules("user alice\ntopic read a/#\n");
        let explain = |rules: &Rules, filter| {
            let Explanation { is_allowed, text, .. } = rules.explain_subscription(ALICE, filter);
            (is_allowed, text)
        };
        assert!(matches!(explain(&rules, "+/x"), (true, text) if text.starts_with("allowed: ")));
        assert!(matches!(explain(&rules, "b"), (true, text) if text.starts_with("allowed, but no line of rights.acl")));
        rules.refuses_useless_subscriptions = true;
        assert!(matches!(explain(&rules, "b"), (false, text) if text.starts_with("denied: no line of rights.acl")));
    }

    /// As Mosquitto 2.0.11 does: without a password file, a user name is believed only where none is needed.
    #[test]
    fn who_may_connect_depends_on_names_and_passwords() {
        let passwords = || Some(Arc::new(Passwords::parse("").expect("no line, no mistake")));
        for (allow_anonymous, passwords, user, knows) in [
            (true, None, None, true),
            (true, None, Some("x"), true),
            (false, None, None, false),
            (false, None, Some("x"), false),
            (true, passwords(), None, true),
            (true, passwords(), Some("x"), false),
        ] {
            let rules = Rules { allow_anonymous, passwords, ..Rules::default() };
            assert_eq!(rules.knows(user), knows, "{allow_anonymous} {user:?}");
        }
    }

    /// Each password has one referee: what one refuses is never asked of another.
    #[test]
    fn every_client_is_judged_by_one_alone() {
        let passwords = || {
            let hash = Hash::of(b"secret", Scheme::Sha512, [7; SALT_BYTES]);
            Some(Arc::new(Passwords::parse(&format!("alice:{hash}")).expect("one good line")))
        };
        let judge = |number| Some(Judge { id: JudgeId(number), gives_rights: true });
        let token: &[u8] = b"eyJhbGciOiJIUzI1NiJ9.e30.a";
        for (passwords, tokens, authenticator, user, password, referee) in [
            (passwords(), judge(1), judge(2), Some("alice"), Some(token), "token"),
            (passwords(), judge(1), judge(2), Some("alice"), Some(&b"x"[..]), "file"),
            (passwords(), judge(1), judge(2), Some("alice"), None, "file"),
            (passwords(), judge(1), judge(2), Some("bob"), Some(b"x"), "http"),
            (passwords(), judge(1), judge(2), None, Some(b"x"), "http"),
            (passwords(), judge(1), None, Some("bob"), Some(b"x"), "file"),
            (passwords(), None, judge(2), Some("alice"), Some(token), "file"),
            (None, judge(1), None, Some("bob"), Some(token), "token"),
            (None, judge(1), None, None, Some(token), "token"),
            (None, judge(1), None, Some("bob"), Some(b"x"), "NoToken"),
            (None, judge(1), None, Some("bob"), None, "NoToken"),
            (None, None, judge(2), Some("bob"), None, "http"),
            (None, None, judge(2), Some("bob"), Some(token), "http"),
            (None, judge(1), judge(2), None, None, "NoUserName"),
            (None, None, None, Some("bob"), Some(token), "NoReferee"),
        ] {
            let rules = Rules { allow_anonymous: false, passwords, tokens, authenticator, ..Rules::default() };
            let got = match rules.referee(user, password) {
                Ok(Referee::Nobody) => "nobody".to_owned(),
                Ok(Referee::Passwords(_)) => "file".into(),
                Ok(Referee::Tokens(id)) => format!("token{}", if id == JudgeId(1) { "" } else { "?" }),
                Ok(Referee::Authenticator(id)) => format!("http{}", if id == JudgeId(2) { "" } else { "?" }),
                Err(refusal) => format!("{refusal:?}"),
            };
            assert_eq!(got, referee, "{user:?} {password:?}");
            // Who is not asked for a name does not get in by a wrong one.
            let open = Rules { allow_anonymous: true, ..rules };
            let is_believed = matches!(open.referee(user, password), Ok(Referee::Nobody));
            assert_eq!(is_believed, matches!(referee, "NoUserName" | "NoReferee"), "{user:?} {password:?}");
        }
    }

    /// `ringmq why` says what it cannot know.
    #[test]
    fn an_explanation_says_where_a_token_would_decide() {
        let judge = |gives_rights| Some(Judge { id: JudgeId(1), gives_rights });
        let mut rules = Rules { tokens: judge(false), ..rules("user alice\ntopic read a/#\n") };
        assert_eq!(rules.explain(Access::Receive, ALICE, "a/c").text, "allowed by rights.acl:2");
        rules.tokens = judge(true);
        assert!(rules.explain(Access::Receive, ALICE, "a/c").text.contains("without a token"));
        assert!(rules.explain_subscription(ALICE, "b").text.contains("without a token"));
        rules.authenticator = judge(true);
        assert!(rules.explain(Access::Publish, ALICE, "b").text.contains("or the authenticator"));
    }

    #[test]
    fn a_mount_point_stands_before_topics_and_in_shared_filters_behind_the_group() {
        let terms = Terms { mount_point: Some("m/".into()), ..Terms::default() };
        assert_eq!((&*terms.mounted("a"), &*terms.mounted_filter("+/#")), ("m/a", "m/+/#"));
        assert_eq!(&*terms.mounted_filter("$share/g/a/+"), "$share/g/m/a/+");
        assert_eq!((terms.unmounted("m/a"), terms.unmounted("x/a")), ("a", "x/a"));
        let none = Terms::default();
        assert_eq!(
            (&*none.mounted("a"), &*none.mounted_filter("$share/g/a"), none.unmounted("m/a")),
            ("a", "$share/g/a", "m/a")
        );
    }

    #[test]
    fn a_listener_that_has_gone_is_served_as_the_first() {
        let policy = Policy::default();
        assert_eq!(policy.terms(7), policy.terms(0));
        assert!(policy.rules_at(7).allow_anonymous && !policy.limits_rights());
    }
}
