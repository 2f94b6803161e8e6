//! What happens when a deadline has come.
//!
//! Duty: CONNECT or AUTH that did not come, silence beyond keep alive, sessions, wills and retained messages at their end. Must not:
//! read a clock. Neighbours: `timers` holds the deadlines; none is cancelled, so each is checked against the state first.

use super::timers::Timer;
use super::{Outbox, Shard};
use crate::id::{ConnectionId, Millis};
use crate::wire::ReasonCode;

/// A slot's next connection may be due much earlier, so no timer is set for longer than this, milliseconds.
const LOOK_MILLIS_MAX: u64 = 100_000;

impl Shard {
    pub(super) fn deadlines(&mut self, now: Millis, outbox: &mut Outbox) {
        let mut due = Vec::new();
        self.timers.advance(now, &mut due);
        for timer in due {
            match timer {
                Timer::Silence(slot) => self.silence(now, slot, outbox),
                Timer::SessionExpiry(slot) => self.session_expiry(now, slot, outbox),
                Timer::WillDelay(slot) => self.will_delay(now, slot, outbox),
                Timer::Backpressure(session) => self.backpressure_over(now, session, outbox),
                Timer::RetainedSweep => self.sweep_retained(now, outbox),
            }
        }
        self.go_on_searching(now, outbox);
    }

    /// Looks at the connection of a slot when it is due, or earlier.
    pub(super) fn look_at(&mut self, slot: u32, now: Millis, due: Millis) {
        let look = due.min(now.after_millis(LOOK_MILLIS_MAX));
        if self.connections.alarm(slot).arm(look) {
            self.timers.set(look, Timer::Silence(slot));
        }
    }

    /// CONNECT or AUTH that did not come in time, [MQTT-3.1.2-22]: one and a half times Keep Alive without a packet, and a token whose
    /// time is over.
    fn silence(&mut self, now: Millis, slot: u32, outbox: &mut Outbox) {
        self.connections.alarm(slot).hear(now);
        let Some(id) = self.connections.at(slot) else { return };
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.session.is_some() && (connection.is_parked || outbox.egress.is_holding(slot)) {
            // The silence is ours: it is not read, or what it waits for is not safe yet.
            connection.heard_at = now;
        }
        let (silent_at, session) = (connection.silent_at(), connection.session);
        let ends_at = session.map_or(Millis::NEVER, |session| self.sessions.warrant_ends_at(session.slot));
        let due = silent_at.min(ends_at);
        if due > now {
            self.look_at(slot, now, due);
        } else if ends_at <= now {
            self.counters.closed_expired += 1;
            self.close(now, id, ReasonCode::NotAuthorized, "the token has expired", outbox);
        } else if session.is_some() {
            self.close(now, id, ReasonCode::KeepAliveTimeout, "no packet within 1.5 times keep alive", outbox);
        } else {
            self.counters.refused_overdue += 1;
            let what = self.what_is_overdue(id);
            self.refuse_connection(id, ReasonCode::UnspecifiedError, what, outbox);
        }
    }

    /// What keeps a connection from being admitted in time, for the log.
    fn what_is_overdue(&self, id: ConnectionId) -> &'static str {
        if self.logins.is_being_checked(id) {
            "the password was not checked within connect_timeout_ms"
        } else if self.logins.exchanges.has(id) {
            "no AUTH within connect_timeout_ms"
        } else {
            "no CONNECT within connect_timeout_ms"
        }
    }

    /// Looks at the session of a slot when it is to end, or earlier.
    pub(super) fn await_end(&mut self, slot: u32, due: Millis) {
        if self.sessions.alarms(slot).end.arm(due) {
            self.timers.set(due, Timer::SessionExpiry(slot));
        }
    }

    fn session_expiry(&mut self, now: Millis, slot: u32, outbox: &mut Outbox) {
        self.sessions.alarms(slot).end.hear(now);
        let Some((id, session)) = self.sessions.at(slot) else { return };
        match session.ends_at {
            Millis::NEVER => {}
            end if end <= now => {
                self.counters.sessions_expired += 1;
                self.end_session(now, id, outbox);
            }
            end => self.await_end(slot, end),
        }
    }

    /// Looks at the session of a slot when its will is due, or earlier.
    pub(super) fn await_will(&mut self, slot: u32, due: Millis) {
        if self.sessions.alarms(slot).will.arm(due) {
            self.timers.set(due, Timer::WillDelay(slot));
        }
    }

    fn will_delay(&mut self, now: Millis, slot: u32, outbox: &mut Outbox) {
        self.sessions.alarms(slot).will.hear(now);
        let Some((id, session)) = self.sessions.at(slot) else { return };
        match session.last_will.as_ref().and_then(|will| will.due_at) {
            None => {}
            Some(due) if due <= now => self.publish_will(now, id, outbox),
            Some(due) => self.await_will(slot, due),
        }
    }
}
