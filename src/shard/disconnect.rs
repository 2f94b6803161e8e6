//! How connections and sessions end.
//!
//! Duty: DISCONNECT from the client, closing by the broker, the lost connection, the end of a session, the will
//! (sections 3.14, 3.1.2.5, 4.13). Must not: decide when to close. Neighbours: every room calls `close`.

use super::receive::{Source, Step};
use super::{Cause, DropReason, Event, Outbox, Shard};
use crate::id::{ConnectionId, Millis, SessionId};
use crate::message::MessageView;
use crate::wire::{Disconnect, ProtocolVersion, ReasonCode};

/// First byte of CONNACK (table 2-1).
const CONNACK: u8 = 0x20;

impl Shard {
    /// DISCONNECT from the client.
    pub(super) fn disconnect(
        &mut self,
        now: Millis,
        source: Source<'_>,
        disconnect: &Disconnect<'_>,
        outbox: &mut Outbox,
    ) -> Step {
        if let Some(session) = self.sessions.get_mut(source.session) {
            if let Some(secs) = disconnect.session_expiry_secs {
                // [MQTT-3.14.2-2] and section 3.14.2.2.2: what was 0 at CONNECT stays 0 (case W79).
                if session.expiry_secs == 0 && secs > 0 {
                    let what = "DISCONNECT raises a session expiry of 0";
                    return self.close(now, source.connection, ReasonCode::ProtocolError, what, outbox);
                }
                session.expiry_secs = secs.min(self.config.limits.session_expiry_secs_max);
            }
            // [MQTT-3.14.4-3]: with any other reason the will stays due (section 3.1.2.5).
            if disconnect.reason == ReasonCode::NORMAL_DISCONNECTION {
                session.last_will = None;
            }
        }
        outbox.closes.push(source.connection);
        self.forget_connection(now, source.connection, Cause::ClientDisconnected, outbox);
        Step::Closed
    }

    /// The network connection ended without DISCONNECT.
    pub(super) fn connection_lost(&mut self, now: Millis, id: ConnectionId, outbox: &mut Outbox) {
        self.forget_connection(now, id, Cause::ConnectionLost, outbox);
    }

    /// Ends a connection from our side; an MQTT 5.0 client is told `reason`, and `what` if that is not too much for it.
    pub(super) fn close(
        &mut self,
        now: Millis,
        id: ConnectionId,
        reason: ReasonCode,
        what: &'static str,
        outbox: &mut Outbox,
    ) -> Step {
        let Some(connection) = self.connections.get_mut(id) else { return Step::Closed };
        // What is not safe is never said. Whose CONNACK that was knows nothing of a connection that could end.
        let is_unwelcomed = outbox.egress.forget_held(id.slot) == Some(CONNACK);
        if connection.session.is_some() && connection.version == ProtocolVersion::V5 && !is_unwelcomed {
            outbox.egress.control(id.slot, |out| connection.put_disconnect(reason, what, out));
        }
        self.counters.broker_closes += 1;
        outbox.closes.push(id);
        self.forget_connection(now, id, Cause::Broker(reason, what), outbox);
        Step::Closed
    }

    /// Ends a connection whose CONNECT was not accepted.
    pub(super) fn refuse_connection(
        &mut self,
        id: ConnectionId,
        reason: ReasonCode,
        what: &'static str,
        outbox: &mut Outbox,
    ) {
        self.connections.remove(id);
        self.logins.forget(id);
        self.counters.broker_closes += 1;
        outbox.closes.push(id);
        outbox.events.push(Event::Refused { connection: id, cause: Cause::Broker(reason, what) });
    }

    pub(super) fn forget_connection(&mut self, now: Millis, id: ConnectionId, cause: Cause, outbox: &mut Outbox) {
        let Some(connection) = self.connections.remove(id) else { return };
        self.logins.forget(id);
        let Some(session_id) = connection.session else {
            outbox.events.push(Event::Refused { connection: id, cause });
            return;
        };
        let Some(session) = self.sessions.get_mut(session_id) else { return };
        outbox.events.push(Event::Disconnected { connection: id, client_id: (*session.client_id).into(), cause });
        session.connection = None;
        session.inbound.disconnect();
        self.end_congestion(session_id, outbox);
        let Some(session) = self.sessions.get_mut(session_id) else { return };
        let delay_secs = session.last_will.as_ref().map(|will| will.delay_secs);
        let expiry_secs = session.expiry_secs;
        if expiry_secs == 0 {
            self.end_session(now, session_id, outbox);
            return;
        }
        if expiry_secs != u32::MAX {
            let ends_at = now.after_secs(u64::from(expiry_secs));
            session.ends_at = ends_at;
            self.await_end(session_id.slot, ends_at);
        }
        // Before the will, so that a group gives the news to somebody who is there.
        self.groups_of_session_online(session_id, false, outbox);
        match delay_secs {
            None => {}
            Some(0) => self.publish_will(now, session_id, outbox),
            Some(secs) => self.delay_will(session_id, now.after_secs(u64::from(secs))),
        }
        self.keep_session(now, session_id, outbox);
    }

    /// Ends a session: its subscriptions leave, its will is published now if it still waits (section 3.1.3.2.2).
    pub(super) fn end_session(&mut self, now: Millis, id: SessionId, outbox: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let subscriptions = std::mem::take(&mut session.subscriptions);
        for filter in subscriptions.keys() {
            self.keep_subscription(id, filter, None, outbox);
            self.withdraw(id, filter, outbox);
        }
        self.publish_will(now, id, outbox);
        self.forget_session(id, outbox);
        if let Some(session) = self.sessions.remove(id) {
            self.counters.drop_pairs(session.outbound.queued(), DropReason::SessionEnded);
            self.counters.abandoned_in_flight += session.outbound.inflight.unanswered() as u64;
        }
    }

    fn delay_will(&mut self, id: SessionId, due_at: Millis) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(will) = &mut session.last_will else { return };
        will.due_at = Some(due_at);
        self.await_will(id.slot, due_at);
    }

    /// Publishes the will, once [v3.1.1 MQTT-3.1.2-10].
    pub(super) fn publish_will(&mut self, now: Millis, id: SessionId, outbox: &mut Outbox) {
        let Some(will) = self.sessions.get_mut(id).and_then(|session| session.last_will.take()) else { return };
        let expires_at = will.expiry_secs.map(|secs| now.after_secs(u64::from(secs)));
        let view = MessageView { expires_at, ..will.message.view() };
        if !self.may_publish(id, view.topic).is_allowed {
            // Case A14: it was allowed at CONNECT.
            self.counters.publishes_denied += 1;
            return;
        }
        let source = if view.retain { self.source_of(id) } else { None };
        self.route(now, &view, source, None, outbox);
        self.keep_session(now, id, outbox);
    }

    /// An operator ends the connection of a client, and its session too if that is wanted.
    pub(super) fn kick(&mut self, now: Millis, client_id: &str, ends_session: bool, outbox: &mut Outbox) {
        let Some(id) = self.sessions.by_client_id(client_id) else { return };
        let Some(session) = self.sessions.get_mut(id) else { return };
        if let Some(connection) = session.connection {
            self.close(
                now,
                connection,
                ReasonCode::AdministrativeAction,
                "an operator has ended the connection",
                outbox,
            );
        }
        if ends_session {
            self.end_session(now, id, outbox);
        }
    }

    /// The broker stops.
    pub(super) fn stop(&mut self, now: Millis, outbox: &mut Outbox) {
        for id in self.connections.ids() {
            if self.connected_session(id).is_some() {
                self.close(now, id, ReasonCode::ServerShuttingDown, "the broker stops", outbox);
            } else {
                self.refuse_connection(id, ReasonCode::ServerShuttingDown, "the broker stops", outbox);
            }
        }
    }
}
