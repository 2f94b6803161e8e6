//! SUBSCRIBE and UNSUBSCRIBE (sections 3.8 to 3.11).
//!
//! Duty: judge each filter, install or remove the subscription, answer; SUBACK and the retained messages wait until every
//! shard knows the interest (`interest`). Must not: deliver. Neighbours: `interest`, `group`, `retain`, `matches`.

use std::sync::Arc;

use super::interest::PendingSuback;
use super::matches::{Subscriber, Wish};
use super::receive::{Source, Step};
use super::{Event, Outbox, Shard};
use crate::auth::{Access, Decision};
use crate::id::{Millis, SessionId};
use crate::session::Subscription;
use crate::topic::{SubscriptionFilter, TopicLimits};
use crate::wire::property::Properties;
use crate::wire::{self, QoS, ReasonCode, RetainHandling, Subscribe, SubscriptionOptions, Unsuback, Unsubscribe};

impl Shard {
    /// A SUBSCRIBE of a connected client.
    pub(super) fn subscribe(
        &mut self,
        now: Millis,
        source: Source<'_>,
        subscribe: &Subscribe<'_>,
        outbox: &mut Outbox,
    ) -> Step {
        if !self.takes_answer(source, || subscribe.filters().count()) {
            let what = "SUBACK would be larger than the client's Maximum Packet Size";
            return self.close(now, source.connection, ReasonCode::PacketTooLarge, what, outbox);
        }
        let mut pending = PendingSuback::new(source, subscribe.packet_id);
        let (policy, listener) = (Arc::clone(&self.policy), self.listener_of(source.connection));
        let qos_max = policy.terms(listener).maximum_qos;
        for (text, mut options) in subscribe.filters() {
            options.qos = options.qos.min(qos_max);
            if options.no_local && text.starts_with("$share/") {
                // [MQTT-3.8.3-4]
                let what = "No Local on a shared subscription";
                return self.close(now, source.connection, ReasonCode::ProtocolError, what, outbox);
            }
            let subscription = Subscription { options, subscription_id: subscribe.subscription_id };
            let text = policy.terms(listener).mounted_filter(text);
            let reason = match self.install(source.session, &text, subscription, &mut pending, outbox) {
                Ok(qos) => {
                    if policy.tells_subscriptions {
                        self.tell_subscription(source, &text, Some(qos), outbox);
                    }
                    qos as u8
                }
                Err(reason) => {
                    if reason == ReasonCode::NotAuthorized {
                        let decision = Decision { is_allowed: false, line: None };
                        let Source { connection, session, .. } = source;
                        self.tell_denial(now, connection, session, Access::Receive, &text, decision, outbox);
                    }
                    reason as u8
                }
            };
            pending.reasons.push(reason);
        }
        self.finish_or_wait(now, pending, outbox);
        Step::Done
    }

    /// Installs one subscription; returns the granted QoS.
    fn install(
        &mut self,
        session_id: SessionId,
        text: &str,
        subscription: Subscription,
        pending: &mut PendingSuback,
        outbox: &mut Outbox,
    ) -> Result<QoS, ReasonCode> {
        let filter = SubscriptionFilter::new(text, TopicLimits::from(&self.config.limits))
            .map_err(|_| ReasonCode::TopicFilterInvalid)?;
        if self.is_useless(session_id, filter.filter().as_str()) {
            self.counters.subscriptions_denied += 1;
            return Err(ReasonCode::NotAuthorized);
        }
        let session = self.sessions.get_mut(session_id).ok_or(ReasonCode::UnspecifiedError)?;
        let is_full = session.subscriptions.len() >= self.config.limits.subscriptions_per_session_max;
        if is_full && !session.subscriptions.contains_key(text) {
            return Err(ReasonCode::QuotaExceeded);
        }
        if session.kept.is_some() && self.keep.refuses() {
            self.counters.refused_by_store += 1;
            return Err(ReasonCode::QuotaExceeded);
        }
        let cost = subscription_cost(text);
        let is_known = session.subscriptions.contains_key(text);
        if !is_known && !session.outbound.account().admits(cost) {
            self.counters.refused_over_budget += 1;
            return Err(ReasonCode::QuotaExceeded);
        }
        let name: Arc<str> = Arc::from(text);
        let is_plain = matches!(filter, SubscriptionFilter::Plain(_));
        let is_new = self.enlist(session_id, &name, filter, subscription, pending, outbox);
        self.keep_subscription(session_id, text, Some(subscription), outbox);
        if is_plain && wants_retained(subscription.options, is_new) {
            pending.replays.push(name);
        }
        Ok(subscription.options.qos)
    }

    /// Makes a subscription known to its session, the trie, the other shards. Whether it is new.
    pub(super) fn enlist(
        &mut self,
        session_id: SessionId,
        name: &Arc<str>,
        filter: SubscriptionFilter<'_>,
        subscription: Subscription,
        pending: &mut PendingSuback,
        outbox: &mut Outbox,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(session_id) else { return false };
        let is_new = session.subscriptions.insert(Arc::clone(name), subscription).is_none();
        if is_new {
            session.outbound.account().charge(subscription_cost(name));
            let is_shared = matches!(filter, SubscriptionFilter::Shared { .. });
            self.subscriptions.0 += 1;
            self.subscriptions.1 += usize::from(is_shared);
        }
        match filter {
            SubscriptionFilter::Plain(filter) => {
                let wish = Wish::new(subscription.options, subscription.subscription_id);
                self.subscribers.insert(filter, Subscriber::Session(session_id.slot), wish);
                self.interest_wanted(name, is_new, pending, outbox);
            }
            SubscriptionFilter::Shared { .. } => self.join_group(name, session_id, is_new, pending, outbox),
        }
        is_new
    }

    /// An UNSUBSCRIBE of a connected client.
    pub(super) fn unsubscribe(
        &mut self,
        now: Millis,
        source: Source<'_>,
        unsubscribe: &Unsubscribe<'_>,
        outbox: &mut Outbox,
    ) -> Step {
        if !self.takes_answer(source, || unsubscribe.filters().count()) {
            let what = "UNSUBACK would be larger than the client's Maximum Packet Size";
            return self.close(now, source.connection, ReasonCode::PacketTooLarge, what, outbox);
        }
        let (policy, listener) = (Arc::clone(&self.policy), self.listener_of(source.connection));
        let mut reasons = Vec::new();
        for text in unsubscribe.filters() {
            let text = &*policy.terms(listener).mounted_filter(text);
            if SubscriptionFilter::new(text, TopicLimits::from(&self.config.limits)).is_err() {
                reasons.push(ReasonCode::TopicFilterInvalid as u8);
                continue;
            }
            let Some(session) = self.sessions.get_mut(source.session) else { return Step::Closed };
            let is_known = session.subscriptions.remove(text).is_some();
            if is_known {
                session.outbound.account().release(subscription_cost(text));
                if let Some(replays) = &mut session.outbound.replays {
                    replays.end(text);
                }
                self.interests.forget_replays(source.session, text);
                self.keep_subscription(source.session, text, None, outbox);
                self.withdraw(source.session, text, outbox);
                if policy.tells_subscriptions {
                    self.tell_subscription(source, text, None, outbox);
                }
            }
            let reason = if is_known { ReasonCode::Success } else { ReasonCode::NoSubscriptionExisted };
            reasons.push(reason as u8);
        }
        self.hold_if_kept(source.session, source.connection, outbox);
        let unsuback = Unsuback { packet_id: unsubscribe.packet_id, properties: Properties::EMPTY, reasons: &reasons };
        if let Some(connection) = self.connections.get_mut(source.connection) {
            let words = failure_words(&reasons);
            outbox.egress.control(source.connection.slot, |out| connection.put_unsuback(unsuback, words, out));
        }
        Step::Done
    }

    /// Tells that a subscription was made at this QoS, or given up.
    fn tell_subscription(&self, source: Source<'_>, filter: &str, qos: Option<QoS>, outbox: &mut Outbox) {
        let Some(session) = self.sessions.get(source.session.slot) else { return };
        let (connection, client_id, filter) = (source.connection, session.client_id.clone(), filter.into());
        outbox.events.push(match qos {
            Some(qos) => Event::Subscribed { connection, client_id, filter, qos },
            None => Event::Unsubscribed { connection, client_id, filter },
        });
    }

    /// Whether an answer with so many reason codes is within the client's Maximum Packet Size [MQTT-3.1.2-24]: seen before
    /// anything is changed, so that the client never has more or less than it was told.
    fn takes_answer(&mut self, source: Source<'_>, filters: impl FnOnce() -> usize) -> bool {
        let bytes_max =
            self.connections.get_mut(source.connection).map_or(usize::MAX, |record| record.packet_bytes_max);
        bytes_max == usize::MAX || wire::answer_len(filters()) <= bytes_max
    }

    /// Takes a subscription that left its session out of trie, interests and groups.
    pub(super) fn withdraw(&mut self, session_id: SessionId, text: &str, outbox: &mut Outbox) {
        let filter = SubscriptionFilter::trusted(text);
        self.subscriptions.0 -= 1;
        self.subscriptions.1 -= usize::from(matches!(filter, SubscriptionFilter::Shared { .. }));
        match filter {
            SubscriptionFilter::Plain(filter) => {
                self.subscribers.remove(filter, Subscriber::Session(session_id.slot));
                self.interest_lost(text, outbox);
            }
            SubscriptionFilter::Shared { .. } => self.leave_group(text, session_id, outbox),
        }
    }
}

/// What a subscription costs its session, bytes: the filter in the session, in the trie and in the interests of other shards.
fn subscription_cost(filter: &str) -> usize {
    256 + 2 * filter.len()
}

/// Retain Handling [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11].
fn wants_retained(options: SubscriptionOptions, is_new: bool) -> bool {
    match options.retain_handling {
        RetainHandling::SendAtSubscribe => true,
        RetainHandling::SendIfNew => is_new,
        RetainHandling::DoNotSend => false,
    }
}

/// What the first failure of a SUBACK or UNSUBACK means, for people.
pub(super) fn failure_words(reasons: &[u8]) -> Option<&'static str> {
    let first = reasons.iter().find(|&&reason| reason >= 0x80)?;
    Some(match ReasonCode::from_byte(*first) {
        Some(ReasonCode::TopicFilterInvalid) => "a topic filter is not valid",
        Some(ReasonCode::NotAuthorized) => "nothing that the filter matches may be received",
        Some(ReasonCode::QuotaExceeded) => "a limit on subscriptions is reached",
        _ => "a subscription was refused",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_costs_its_filter_twice() {
        assert_eq!(subscription_cost("a/b"), 262);
    }

    #[test]
    fn the_first_failure_is_put_in_words() {
        let words = |reasons: &[u8]| failure_words(reasons).unwrap_or_default();
        assert_eq!(words(&[2, 0x8f, 0x97]), "a topic filter is not valid");
        assert_eq!(words(&[0x97, 0x8f]), "a limit on subscriptions is reached");
        assert_eq!(words(&[0x87]), "nothing that the filter matches may be received");
        assert_eq!(words(&[0x83]), "a subscription was refused");
        assert_eq!(failure_words(&[0, 1, 2, 0x11]), None);
    }
}
