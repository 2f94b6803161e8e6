//! PUBLISH from a client (section 3.3): the third of the seven rooms a message walks through.
//!
//! Duty: alias, validity, what may not be published, QoS 2 identity, quota; then hand the message to `route` and owe the
//! acknowledgement. Must not: match or deliver. Neighbours: `receive` before, `route` and `acknowledge` after.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;

use super::acknowledge::Waiter;
use super::fault;
use super::receive::{Source, Step};
use super::route::Routed;
use super::{Outbox, Shard};
use crate::id::Millis;
use crate::limits::SHARED_PAYLOAD_BYTES_MIN;
use crate::message::MessageView;
use crate::topic::{TopicLimits, TopicName};
use crate::wire::{ProtocolVersion, Publish, QoS, ReasonCode};

/// Why a PUBLISH ends its connection.
type Fault = (ReasonCode, &'static str);

impl Shard {
    /// A PUBLISH of a connected client.
    pub(super) fn publish(
        &mut self,
        now: Millis,
        source: Source<'_>,
        publish: &Publish<'_>,
        outbox: &mut Outbox,
    ) -> Step {
        if !self.takes_publishes(outbox) {
            return Step::AwaitMesh;
        }
        if publish.qos != QoS::AtMostOnce && self.stop_if_owed_too_much(source.session, outbox) {
            return Step::AwaitAnswers;
        }
        self.counters.publishes_received.add(publish.qos, 1);
        self.counters.payload_bytes_received.add(publish.qos, publish.payload.len() as u64);
        let sample = self.sample(publish);
        let result = self.check_and_route(now, source, publish, outbox);
        if let Some(sample) = sample {
            self.show_sampled(source, publish, sample, result.err().map(|(_, what)| what), outbox);
        }
        match result {
            Ok(()) => Step::Done,
            Err((reason, what)) => self.close(now, source.connection, reason, what, outbox),
        }
    }

    fn check_and_route(
        &mut self,
        now: Millis,
        source: Source<'_>,
        publish: &Publish<'_>,
        outbox: &mut Outbox,
    ) -> Result<(), Fault> {
        let alias = self.resolve_alias(source, publish)?;
        let topic = check(publish, alias.as_deref(), TopicLimits::from(&self.config.limits))?;
        self.check_terms(source.connection, publish.qos, publish.retain)?;
        if publish.properties.user_properties as usize > self.config.limits.user_properties_max {
            return Err((ReasonCode::QuotaExceeded, "more user properties than user_properties_max"));
        }
        if publish.qos != QoS::AtMostOnce && !self.is_new(now, source, publish, outbox)? {
            return Ok(());
        }
        if publish.payload.len() > self.policy.payload_bytes_max {
            self.counters.payloads_too_large += 1;
            self.answer_untaken(now, source, publish, Routed { is_too_large: true, ..Routed::default() }, outbox);
            return Ok(());
        }
        if topic.is_dollar() {
            if self.config.is_faulty {
                fault::cause(topic.as_str());
            }
            self.counters.publishes_denied += 1;
            self.answer_untaken(now, source, publish, Routed::denied(None), outbox);
            return Ok(());
        }
        let listener = self.listener_of(source.connection);
        let mounted = self.policy.terms(listener).mounted(topic.as_str());
        let topic = match &mounted {
            Cow::Borrowed(_) => topic,
            Cow::Owned(mounted) => TopicName::new(mounted, TopicLimits::from(&self.config.limits))
                .map_err(|_| (ReasonCode::TopicNameInvalid, "the topic name is too long behind its mount point"))?,
        };
        if self.limits_rights {
            let decision = self.may_publish(source.session, topic.as_str());
            if !decision.is_allowed {
                self.deny_publish(now, source, topic.as_str(), decision, outbox);
                let denied_by = decision.line.and_then(NonZeroU32::new);
                self.answer_untaken(now, source, publish, Routed::denied(denied_by), outbox);
                return Ok(());
            }
        }
        let mut filtered = Vec::new();
        let properties = if publish.properties.forward_raw {
            publish.properties.raw
        } else {
            publish.properties.forward_into(&mut filtered);
            &filtered
        };
        let shared = self.shared_payload(source, publish.payload);
        let view = MessageView {
            topic: topic.as_str(),
            properties,
            payload: publish.payload,
            shared_payload: shared.as_ref(),
            qos: publish.qos,
            retain: publish.retain,
            expires_at: publish.properties.message_expiry_secs.map(|secs| now.after_secs(u64::from(secs))),
            publisher: self.connections.get_mut(source.connection).and_then(|record| record.publisher),
        };
        self.route_and_owe(now, source, publish, &view, outbox);
        Ok(())
    }

    fn route_and_owe(
        &mut self,
        now: Millis,
        source: Source<'_>,
        publish: &Publish<'_>,
        view: &MessageView<'_>,
        outbox: &mut Outbox,
    ) {
        if self.taps.watch_topics() {
            self.show_published(source, view, outbox);
        }
        let origin = if view.retain { self.source_of(source.session) } else { None };
        if publish.qos == QoS::AtMostOnce {
            self.route(now, view, origin, None, outbox);
            return;
        }
        let Some(session) = self.sessions.get_mut(source.session) else { return };
        let waiter = Waiter { session: source.session, number: session.inbound.next_number() };
        let routed = self.route(now, view, origin, Some(waiter), outbox);
        self.owe_routed(now, source, (publish.packet_id, publish.qos), routed, outbox);
    }

    /// A PUBLISH was routed: what its publisher is owed.
    pub(super) fn owe_routed(
        &mut self,
        now: Millis,
        source: Source<'_>,
        (packet_id, qos): (u16, QoS),
        routed: Routed,
        outbox: &mut Outbox,
    ) {
        if qos == QoS::AtMostOnce {
            return;
        }
        if qos == QoS::ExactlyOnce
            && let Some(session) = self.sessions.get_mut(source.session)
        {
            // Only now: a repetition of what a panic has ended half-way is not told that it was taken.
            session.inbound.receive(packet_id);
            if routed.keeps_receipt && routed.operation.is_none() {
                self.keep_received(source.session, packet_id, outbox);
            }
        }
        self.owe(now, source, (packet_id, qos), routed, outbox);
    }

    /// Whether a QoS 1 or 2 PUBLISH is not a repetition of one whose acknowledgement is owed or, for QoS 2, was sent.
    fn is_new(
        &mut self,
        now: Millis,
        source: Source<'_>,
        publish: &Publish<'_>,
        outbox: &mut Outbox,
    ) -> Result<bool, Fault> {
        let receive_maximum = usize::from(self.config.limits.receive_maximum);
        let Some(session) = self.sessions.get_mut(source.session) else { return Ok(false) };
        let is_known_qos2 = publish.qos == QoS::ExactlyOnce && session.inbound.is_received(publish.packet_id);
        if is_known_qos2 {
            session.inbound.receive(publish.packet_id);
        }
        if (publish.dup || is_known_qos2) && session.join(publish.packet_id, publish.qos) {
            return Ok(false);
        }
        if is_known_qos2 {
            self.answer_unrouted(now, source, publish, Routed { is_taken: true, ..Routed::default() }, outbox);
            return Ok(false);
        }
        // [MQTT-3.3.4-7], case Q02. 3.x has no such promise; packet ids bound it there.
        if source.version == ProtocolVersion::V5 && session.inbound.unacknowledged() >= receive_maximum {
            return Err((ReasonCode::ReceiveMaximumExceeded, "more unacknowledged PUBLISH than Receive Maximum"));
        }
        Ok(true)
    }

    /// A large payload as it may be referenced: in the allocation that it came in, or in one of its own; charged.
    fn shared_payload(&self, source: Source<'_>, payload: &[u8]) -> Option<Bytes> {
        let is_large = payload.len() >= SHARED_PAYLOAD_BYTES_MIN;
        is_large.then(|| {
            let bytes = source.shared.map_or_else(|| Bytes::copy_from_slice(payload), |bytes| bytes.slice_ref(payload));
            self.config.large_payloads.charge(bytes)
        })
    }

    /// Answers what nobody was asked about: 0x87 or 0x83, or success where the version knows no failure [v3.1.1 MQTT-3.3.5-2].
    fn answer_untaken(
        &mut self,
        now: Millis,
        source: Source<'_>,
        publish: &Publish<'_>,
        routed: Routed,
        outbox: &mut Outbox,
    ) {
        if let Some(session) = self.sessions.get_mut(source.session).filter(|_| publish.qos == QoS::ExactlyOnce) {
            // Counted until it is answered, as any other.
            session.inbound.receive(publish.packet_id);
        }
        self.answer_unrouted(now, source, publish, routed, outbox);
    }

    /// Answers what goes nowhere, in its turn [MQTT-4.6.0-2].
    fn answer_unrouted(
        &mut self,
        now: Millis,
        source: Source<'_>,
        publish: &Publish<'_>,
        routed: Routed,
        outbox: &mut Outbox,
    ) {
        if publish.qos != QoS::AtMostOnce {
            self.owe(now, source, (publish.packet_id, publish.qos), routed, outbox);
        }
    }

    /// The topic behind an alias, if the packet names none itself [MQTT-3.3.2-12] (section 3.3.2.3.4).
    pub(super) fn resolve_alias(
        &mut self,
        source: Source<'_>,
        publish: &Publish<'_>,
    ) -> Result<Option<Arc<str>>, Fault> {
        let Some(alias) = publish.properties.topic_alias else { return Ok(None) };
        let listener = self.listener_of(source.connection);
        let most = self.policy.terms(listener).topic_alias_max.unwrap_or(self.config.limits.topic_alias_max);
        if alias == 0 || alias > most {
            return Err((ReasonCode::TopicAliasInvalid, "a topic alias of 0 or above Topic Alias Maximum"));
        }
        let Some(connection) = self.connections.get_mut(source.connection) else { return Ok(None) };
        let index = usize::from(alias) - 1;
        if index >= connection.aliases_in.len() {
            connection.aliases_in.resize(index + 1, None);
        }
        let known = &mut connection.aliases_in[index];
        if publish.topic.is_empty() {
            return match known {
                Some(topic) => Ok(Some(Arc::clone(topic))),
                None => Err((ReasonCode::ProtocolError, "a topic alias that was never set")),
            };
        }
        if known.as_deref() != Some(publish.topic) {
            *known = Some(Arc::from(publish.topic));
        }
        Ok(None)
    }
}

fn check<'a>(publish: &Publish<'a>, alias: Option<&'a str>, limits: TopicLimits) -> Result<TopicName<'a>, Fault> {
    if let Some(response_topic) = publish.properties.response_topic {
        // [MQTT-3.3.2-14], case W46
        TopicName::new(response_topic, limits)
            .map_err(|_| (ReasonCode::ProtocolError, "the response topic is not a topic name"))?;
    }
    match alias {
        // Checked when the alias was set.
        Some(topic) => Ok(TopicName::trusted(topic)),
        None => TopicName::new(publish.topic, limits)
            .map_err(|_| (ReasonCode::TopicNameInvalid, "the topic name is not valid")),
    }
}
