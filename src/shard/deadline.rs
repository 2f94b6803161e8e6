//! What happens when a deadline has come.
//!
//! Duty: CONNECT that did not come, silence beyond keep alive, sessions, wills and retained messages at their end. Must not:
//! read a clock. Neighbours: `timers` holds the deadlines; none is cancelled, so each is checked against the state first.

use super::timers::Timer;
use super::{Outbox, Shard};
use crate::id::{ConnectionId, Millis, SessionId};
use crate::wire::ReasonCode;

/// A timer outlives its connection, so none is set for longer than this, milliseconds.
const LOOK_MILLIS_MAX: u64 = 100_000;

/// When to look next at a connection that is due at `due`.
pub(super) fn next_look(now: Millis, due: Millis) -> Millis {
    due.min(now.after_millis(LOOK_MILLIS_MAX))
}

impl Shard {
    pub(super) fn deadlines(&mut self, now: Millis, outbox: &mut Outbox) {
        let mut due = Vec::new();
        self.timers.advance(now, &mut due);
        for timer in due {
            match timer {
                Timer::Connect(connection) => self.connect_overdue(connection, outbox),
                Timer::KeepAlive(connection) => self.keep_alive(now, connection, outbox),
                Timer::SessionExpiry(session) => self.session_expiry(now, session, outbox),
                Timer::WillDelay(session) => self.will_delay(now, session, outbox),
                Timer::Backpressure(session) => self.backpressure_over(now, session, outbox),
                Timer::RetainedSweep => self.sweep_retained(now, outbox),
            }
        }
        self.go_on_searching(now, outbox);
    }

    fn connect_overdue(&mut self, id: ConnectionId, outbox: &mut Outbox) {
        let is_waiting = self.connections.get_mut(id).is_some_and(|connection| connection.session.is_none());
        if is_waiting {
            self.counters.refused_overdue += 1;
            self.refuse_connection(id, ReasonCode::UnspecifiedError, "no CONNECT within connect_timeout_ms", outbox);
        }
    }

    /// [MQTT-3.1.2-22]: one and a half times Keep Alive without a packet.
    fn keep_alive(&mut self, now: Millis, id: ConnectionId, outbox: &mut Outbox) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is_parked {
            // The silence is ours.
            connection.heard_at = now;
        }
        let due = connection.heard_at.after_millis(connection.silence_millis_max);
        if due > now {
            self.timers.set(next_look(now, due), Timer::KeepAlive(id));
            return;
        }
        self.close(now, id, ReasonCode::KeepAliveTimeout, "no packet within 1.5 times keep alive", outbox);
    }

    fn session_expiry(&mut self, now: Millis, id: SessionId, outbox: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.end_alarm.hear(now);
        match session.ends_at {
            None => {}
            Some(end) if end <= now => self.end_session(now, id, outbox),
            Some(end) if session.end_alarm.arm(end) => self.timers.set(end, Timer::SessionExpiry(id)),
            Some(_) => {}
        }
    }

    fn will_delay(&mut self, now: Millis, id: SessionId, outbox: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.will_alarm.hear(now);
        match session.last_will.as_ref().and_then(|will| will.due_at) {
            None => {}
            Some(due) if due <= now => self.publish_will(now, id, outbox),
            Some(due) if session.will_alarm.arm(due) => self.timers.set(due, Timer::WillDelay(id)),
            Some(_) => {}
        }
    }
}
