//! What a client may do, asked where it does it.
//!
//! Duty: put the questions of the shard's rooms to the policy, remember the answers where there are many, tell of denials, and
//! replace the policy. Must not: know lines or files. Neighbours: `auth` decides; `publish`, `run`, `matches`, `deliver`, `replay`,
//! `group` and `disconnect` ask.

use std::rc::Rc;
use std::sync::Arc;

use super::matches::Matches;
use super::receive::Source as Origin;
use super::sessions::Sessions;
use super::{Event, Outbox, Shard};
use crate::auth::{Access, Asked, Decision, Entrance, Policy, Rules, Warrant};
use crate::id::{ConnectionId, Millis, SessionId};
use crate::limits::SHARED_PAYLOAD_BYTES_MIN;
use crate::message::{Message, Source};
use crate::session::Session;
use crate::topic::TopicName;
use crate::wire::{QoS, ReasonCode};

/// Denials of one shard are told this far apart at least, milliseconds; all are counted.
const TELL_MILLIS: u64 = 100;

/// Publishers of a topic whose right is remembered with its matches; beyond that, all are asked for anew.
pub(super) const PUBLISHERS_MAX: usize = 64;

/// What must be asked of the PUBLISH packets of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Watch {
    /// Nothing: it may publish everything.
    #[default]
    Nothing,
    /// Whether it may publish to the topic.
    Rights,
    /// That, and whether the listener allows such a packet.
    All,
}

/// The client of the session in a slot, as it is asked for.
fn asked<'a>(sessions: &'a Sessions, slot: u32, session: &'a Session) -> Asked<'a> {
    Asked { user: session.user_name.as_deref(), client_id: &session.client_id, grants: sessions.grants(slot) }
}

impl Shard {
    fn rules_of(&self, session: &Session) -> &Rules {
        self.policy.rules_of(session.listener)
    }

    /// Whether the client of a session may be sent what is published to a topic.
    pub(super) fn may_receive(&self, id: SessionId, topic: &str) -> bool {
        if !self.limits_rights {
            return true;
        }
        let Some(session) = self.sessions.get(id.slot) else { return false };
        self.rules_of(session).decide(Access::Receive, asked(&self.sessions, id.slot, session), topic).is_allowed
    }

    /// Whether the client of a session may publish to a topic.
    pub(super) fn may_publish(&self, id: SessionId, topic: &str) -> Decision {
        let Some(session) = self.sessions.get(id.slot).filter(|_| self.limits_rights) else {
            return Decision { is_allowed: true, line: None };
        };
        self.rules_of(session).decide(Access::Publish, asked(&self.sessions, id.slot, session), topic)
    }

    /// Whether whoever published a retained message still may [case A11].
    pub(super) fn may_still_publish(&self, message: &Message) -> bool {
        let Some(source) = message.source().filter(|_| self.limits_rights) else { return true };
        let rules = self.policy.rules_at(source.rules);
        let asked = Asked { user: source.user.as_deref(), client_id: &source.client_id, grants: None };
        !rules.checks_retain_source || rules.decide(Access::Publish, asked, message.topic()).is_allowed
    }

    /// What a retained message keeps of its publisher, if that will be asked for again. What was allowed by rights that came with the
    /// client is not: they are gone with it.
    pub(super) fn source_of(&self, id: SessionId) -> Option<Arc<Source>> {
        let session = self.sessions.get(id.slot).filter(|_| self.limits_rights)?;
        let rules = self.policy.terms(session.listener).rules;
        if !self.policy.rules_at(rules).checks_retain_source || self.sessions.grants(id.slot).is_some() {
            return None;
        }
        let (user, client_id) = (session.user_name.as_deref().map(Box::from), session.client_id.clone());
        Some(Arc::new(Source { rules, user, client_id }))
    }

    /// Whether a subscription could ever bring its client anything, where that is asked for.
    pub(super) fn is_useless(&self, id: SessionId, filter: &str) -> bool {
        let Some(session) = self.sessions.get(id.slot).filter(|_| self.limits_rights) else { return false };
        let rules = self.rules_of(session);
        rules.is_useless(asked(&self.sessions, id.slot, session), filter)
    }

    /// Everybody who wants a topic and may have it.
    pub(super) fn matches_of(&mut self, topic: TopicName<'_>) -> Rc<Matches> {
        if !self.limits_rights {
            return self.subscribers.of(topic);
        }
        let Self { subscribers, sessions, policy, .. } = self;
        subscribers.of_permitted(topic, |slot| {
            sessions.get(slot).is_some_and(|session| {
                let rules = policy.rules_of(session.listener);
                rules.decide(Access::Receive, asked(sessions, slot, session), topic.as_str()).is_allowed
            })
        })
    }

    /// Whether a session may publish to a topic whose matches are remembered; asked once for each such topic.
    pub(super) fn may_publish_known(&self, id: SessionId, matches: &Matches) -> bool {
        if matches.knows_publisher(id) {
            return true;
        }
        let is_allowed = self.may_publish(id, &matches.topic).is_allowed;
        if is_allowed {
            matches.note_publisher(id);
        }
        is_allowed
    }

    /// By which listener a connection came.
    pub(super) fn listener_of(&mut self, id: ConnectionId) -> u16 {
        self.connections.get_mut(id).map_or(0, |connection| connection.listener)
    }

    /// Why a PUBLISH that parses ends its connection, by the terms of its listener.
    pub(super) fn check_terms(
        &mut self,
        id: ConnectionId,
        qos: QoS,
        retain: bool,
    ) -> Result<(), (ReasonCode, &'static str)> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        if connection.watch != Watch::All {
            return Ok(());
        }
        let terms = self.policy.terms(connection.listener);
        if qos > terms.maximum_qos {
            return Err((ReasonCode::QoSNotSupported, "a QoS above the Maximum QoS of the listener"));
        }
        if retain && !self.policy.retain_available {
            return Err((ReasonCode::RetainNotSupported, "RETAIN where retain_available is false"));
        }
        Ok(())
    }

    /// Counts a PUBLISH that was denied, and tells of it, not too often.
    pub(super) fn deny_publish(
        &mut self,
        now: Millis,
        origin: Origin<'_>,
        topic: &str,
        decision: Decision,
        outbox: &mut Outbox,
    ) {
        self.counters.publishes_denied += 1;
        self.tell_denial(now, origin.connection, origin.session, Access::Publish, topic, decision, outbox);
    }

    #[expect(clippy::too_many_arguments, reason = "each is a part of the one line that is told")]
    pub(super) fn tell_denial(
        &mut self,
        now: Millis,
        connection: ConnectionId,
        session: SessionId,
        access: Access,
        topic: &str,
        decision: Decision,
        outbox: &mut Outbox,
    ) {
        if now < self.tells_denial_at {
            return;
        }
        let slot = session.slot;
        let Some(session) = self.sessions.get(slot) else { return };
        self.tells_denial_at = now.after_millis(TELL_MILLIS);
        let rules = self.policy.rules_of(session.listener);
        outbox.events.push(Event::Denied {
            connection,
            client_id: session.client_id.clone(),
            user: session.user_name.as_deref().map(Box::from),
            access,
            topic: topic.into(),
            rule: rules.reason(decision, asked(&self.sessions, slot, session)),
        });
    }

    /// Replaces all rules and terms. Whoever could not connect any more, or has another password now, is disconnected; whoever
    /// waits for a verdict by the old files asks again; what is queued is looked at before it is sent.
    pub(super) fn replace_policy(&mut self, now: Millis, policy: Arc<Policy>, outbox: &mut Outbox) {
        let limited_rights = std::mem::replace(&mut self.limits_rights, policy.limits_rights());
        let old = std::mem::replace(&mut self.policy, policy);
        self.subscribers.give_copies(self.policy.copies_per_subscription);
        self.subscribers.forget();
        if limited_rights || self.limits_rights {
            self.sessions.each(|session| session.outbound.doubt());
        }
        outbox.resumes.extend(self.logins.restart());
        for id in self.connections.ids() {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            let (listener, session) = (connection.listener, connection.session);
            let warrant = session.and_then(|session| self.sessions.warrant(session.slot)).cloned();
            connection.watch = watch_of(self.policy.entrance(listener), warrant.as_deref());
            connection.is_particular =
                connection.aliases_out.is_allowed() || self.policy.terms(listener).mount_point.is_some();
            let Some(session) = session.and_then(|session| self.sessions.get_mut(session)) else { continue };
            if !is_still_known(session, warrant.as_deref(), old.rules_of(listener), self.policy.rules_of(listener)) {
                // Case A15: who is thrown out has no last word.
                session.last_will = None;
                self.close(now, id, ReasonCode::NotAuthorized, "the user may not connect any more", outbox);
            }
        }
    }
}

/// Whether who is connected could still connect, with the same password, or before the same judge.
fn is_still_known(session: &Session, warrant: Option<&Warrant>, old: &Rules, new: &Rules) -> bool {
    if let Some(warrant) = warrant {
        return new.has_judge(warrant.judge);
    }
    let user = session.user_name.as_deref();
    let entry = |rules: &Rules| user.and_then(|user| rules.passwords.as_ref()?.entry(user).cloned());
    session.is_certified || new.knows(user) && (!session.is_user_proven || entry(old) == entry(new))
}

/// What must be asked of the packets of a listener's connections.
pub(super) fn watch_of(entrance: Entrance<'_>, warrant: Option<&Warrant>) -> Watch {
    let Entrance { policy, terms, rules, .. } = entrance;
    let is_unusual = terms.maximum_qos != QoS::ExactlyOnce || terms.mount_point.is_some() || !policy.retain_available;
    if is_unusual || policy.payload_bytes_max < SHARED_PAYLOAD_BYTES_MIN {
        Watch::All
    } else if rules.acl.is_some() || warrant.is_some_and(|warrant| warrant.grants.is_some()) {
        Watch::Rights
    } else {
        Watch::Nothing
    }
}
