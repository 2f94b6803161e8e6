//! Sessions and wills as they must be, followed by what the broker says happened.
//!
//! Duty: one connection per client at any time, session present, session end, what becomes of each will (sections 3.1.2.5,
//! 3.1.2.11.2, 3.1.4). Must not: look at messages. Neighbours: `node` brings events, `verdict` counts wills at the end.

use ringmq::id::Millis;
use ringmq::shard::{Cause, Event};
use ringmq::wire::{ProtocolVersion, ReasonCode};

use crate::line::{Line, STRANGER, WillFate};
use crate::oracle::{Oracle, Session};
use crate::trace::Note;

use std::collections::BTreeMap;

/// Deadlines come at the end of a slot of so many milliseconds.
const SLOT_MILLIS: u64 = 64;

impl Oracle {
    /// The broker says that a connection began or ended. `looked_at`: when its shard last looked at its deadlines.
    pub(crate) fn note_event(
        &mut self,
        now: Millis,
        looked_at: Millis,
        line: usize,
        event: &Event,
        lines: &mut [Line],
    ) {
        let is_accepted = matches!(event, Event::Connected { .. });
        self.trace.note(now, line, if is_accepted { Note::Accepted } else { Note::Ended });
        match event {
            Event::Connected { clean_start, .. } => {
                assert_eq!(*clean_start, lines[line].asked.is_clean, "clean start as the client asked");
                self.connected(looked_at, line, lines);
            }
            Event::Disconnected { cause, .. } => self.disconnected(now, line, *cause, lines),
            Event::Refused { cause, .. } => self.refused(now, line, *cause, lines),
            Event::Stuck { .. } | Event::Denied { .. } | Event::Subscribed { .. } | Event::Unsubscribed { .. } => {}
        }
    }

    /// A CONNECT is refused only for want of room, or because it never came.
    fn refused(&mut self, now: Millis, line: usize, cause: Cause, lines: &mut [Line]) {
        let record = &mut lines[line];
        record.cause = Some(cause);
        match cause {
            Cause::ConnectionLost => {}
            Cause::Broker(ReasonCode::QuotaExceeded, _) => self.checks.crowded += 1,
            Cause::Broker(ReasonCode::UnspecifiedError, what) => {
                let due = record.opened_at.after_millis(self.connect_timeout_millis);
                assert!(due <= now, "{what}: opened at {:?}, now {now:?}", record.opened_at);
            }
            Cause::Broker(ReasonCode::ProtocolError | ReasonCode::MalformedPacket, _) if record.client == STRANGER => {}
            _ => panic!("a CONNECT is refused: {cause:?}"),
        }
    }

    fn connected(&mut self, looked_at: Millis, line: usize, lines: &mut [Line]) {
        let client = lines[line].client;
        let mut is_unclear = false;
        if let Some(session) = self.current[client] {
            assert_eq!(self.sessions[session].line, None, "takeover: two live connections of one client");
            self.let_time_pass(session, looked_at, lines);
            // Another timer of the session may have come in the same slot, and found that it was over.
            is_unclear =
                self.current[client].is_some() && self.sessions[session].ends_at.is_some_and(|at| at <= looked_at);
        }
        if lines[line].asked.is_clean
            && let Some(session) = self.current[client]
        {
            self.end(session, lines);
        }
        let is_either = std::mem::take(&mut self.is_presence_unclear[client]) && !lines[line].asked.is_clean;
        lines[line].is_session_present =
            Some(self.current[client].is_some()).filter(|_| !is_unclear && !is_either);
        self.checks.resumed += u64::from(self.current[client].is_some());
        let session = self.current[client].unwrap_or_else(|| {
            self.sessions.push(Session {
                client,
                expiry_secs: 0,
                packet_bytes_max: usize::MAX,
                line: None,
                lines: Vec::new(),
                ends_at: None,
                is_ended: false,
                is_forgotten: false,
                is_loose: false,
                will: None,
                subscriptions: Vec::new(),
                got: BTreeMap::new(),
                newest: BTreeMap::new(),
                newest_retained: BTreeMap::new(),
            });
            self.sessions.len() - 1
        });
        self.current[client] = Some(session);
        let record = &mut self.sessions[session];
        record.is_loose |= is_unclear;
        if let Some((waiting, due)) = record.will.take() {
            lines[waiting].will = if due <= looked_at || is_unclear { WillFate::Unclear } else { WillFate::Never };
        }
        record.line = Some(line);
        record.lines.push(line);
        record.ends_at = None;
        record.expiry_secs = lines[line].asked.expiry_secs;
        let asked_bytes_max = lines[line].asked.packet_bytes_max.map_or(usize::MAX, |bytes| bytes as usize);
        record.packet_bytes_max = record.packet_bytes_max.min(asked_bytes_max);
        lines[line].session = Some(session);
    }

    fn disconnected(&mut self, now: Millis, line: usize, cause: Cause, lines: &mut [Line]) {
        self.check_cause(cause, &lines[line]);
        let session = lines[line].session.expect("a connection ends after it began");
        let record = &mut self.sessions[session];
        assert_eq!(record.line, Some(line), "the connection that ends is the one of the session");
        record.line = None;
        lines[line].cause = Some(cause);
        let goodbye = lines[line].said_goodbye.filter(|_| cause == Cause::ClientDisconnected);
        if let Some(expiry_secs) = goodbye.and_then(|goodbye| goodbye.expiry_secs) {
            record.expiry_secs = expiry_secs;
        }
        let has_will = goodbye.is_none_or(|goodbye| goodbye.with_will);
        match lines[line].asked.will_delay_secs {
            None => {}
            Some(_) if !has_will => lines[line].will = WillFate::Never,
            Some(0) => lines[line].will = WillFate::Due,
            Some(_) if record.expiry_secs == 0 => lines[line].will = WillFate::Due,
            Some(secs) => record.will = Some((line, now.after_secs(u64::from(secs)))),
        }
        match record.expiry_secs {
            0 => self.end(session, lines),
            u32::MAX => {}
            secs => record.ends_at = Some(now.after_secs(u64::from(secs))),
        }
        if cause == Cause::Broker(ReasonCode::SessionTakenOver, "another connection uses the client id") {
            self.checks.takeovers += 1;
        }
    }

    /// The clients of the simulation keep to the protocol, so nothing else may end a connection.
    fn check_cause(&mut self, cause: Cause, line: &Line) {
        let Cause::Broker(reason, what) = cause else { return };
        let is_allowed = match reason {
            ReasonCode::SessionTakenOver | ReasonCode::KeepAliveTimeout => true,
            ReasonCode::QuotaExceeded => self.rejects && line.version < ProtocolVersion::V5,
            _ => false,
        };
        assert!(is_allowed, "the broker closes a client that did nothing wrong: {reason:?}, {what}");
        self.checks.silent += u64::from(reason == ReasonCode::KeepAliveTimeout && line.is_half_open);
    }

    /// What the shard's look at its deadlines has ended.
    fn let_time_pass(&mut self, session: usize, looked_at: Millis, lines: &mut [Line]) {
        let has_come = |due: Millis| due.0.div_ceil(SLOT_MILLIS) * SLOT_MILLIS <= looked_at.0;
        if let Some((line, _)) = self.sessions[session].will.take_if(|(_, due)| has_come(*due)) {
            lines[line].will = WillFate::Due;
        }
        if self.sessions[session].ends_at.is_some_and(has_come) {
            self.checks.sessions_expired += 1;
            self.end(session, lines);
        }
    }

    fn end(&mut self, session: usize, lines: &mut [Line]) {
        let record = &mut self.sessions[session];
        record.is_ended = true;
        self.current[record.client] = None;
        if let Some((line, _)) = record.will.take() {
            lines[line].will = WillFate::Due;
        }
    }

    /// Sessions and wills at a time when every shard has looked at its deadlines.
    pub(crate) fn let_all_time_pass(&mut self, looked_at: Millis, lines: &mut [Line]) {
        for session in 0..self.sessions.len() {
            if !self.sessions[session].is_ended && self.sessions[session].line.is_none() {
                self.let_time_pass(session, looked_at, lines);
            }
        }
    }
}
