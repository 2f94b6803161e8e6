//! Closing: how connections end.
//!
//! Duty: send the last bytes of a connection that the shard has ended, let the peer read them, bound the time for that, and
//! free the slot when the kernel has nothing of it any more. Must not: decide why a connection ends. Neighbours: `reading`
//! sees the peer's end, `writing` the last byte sent.

use std::net::Shutdown;

use socket2::SockRef;

use super::connection::{Connection, Pause, Phase, Receiving};
use super::driver::Driver;
use super::operation::Operation;
use crate::id::ConnectionId;
use crate::shard::Input;

/// How long a connection that the shard has ended may take to send its last bytes and to be ended by the peer too.
pub(super) const CLOSE_MILLIS: u64 = 2_000;

impl Driver {
    /// Starts closing what the shard has ended.
    pub(super) fn close_finished(&mut self) {
        for at in 0..self.outbox.closes.len() {
            self.close(self.outbox.closes[at]);
        }
        self.outbox.closes.clear();
    }

    fn close(&mut self, id: ConnectionId) {
        let close_by = self.close_by();
        let Some(connection) = self.slots.get(id) else { return };
        if connection.phase != Phase::Open {
            return;
        }
        connection.phase = Phase::Flushing;
        let has_more = connection.has_more_to_say();
        let has_unsent = connection.sending.is_some() || has_more || self.outbox.egress.at(id.slot).has_queued();
        connection.pause = Pause::None;
        connection.carry.give_up();
        if has_unsent {
            self.closing.push_back((close_by, id));
            if has_more {
                self.resend.push(id.slot);
            }
            self.want_bytes(id);
        } else {
            self.kill(id);
        }
    }

    /// All bytes are sent: if that was the last wish, shuts our side and waits for the peer's.
    pub(super) fn go_on_closing(&mut self, id: ConnectionId) {
        let Some(connection) = self.slots.get(id) else { return };
        if connection.phase != Phase::Flushing {
            if connection.phase == Phase::Leaving || connection.transport().is_some() {
                self.go_on_unclosed(id);
            }
            return;
        }
        if connection.has_more_to_say() {
            return self.resend.push(id.slot);
        }
        let is_shut = !connection.is_broken && shutdown(connection, Shutdown::Write);
        if connection.has_ended || !is_shut {
            self.kill(id);
        } else {
            connection.phase = Phase::Lingering;
            self.want_bytes(id);
        }
    }

    /// All bytes are sent of a connection that is not being closed, but goes elsewhere or has a transport.
    fn go_on_unclosed(&mut self, id: ConnectionId) {
        let Some(connection) = self.slots.get(id) else { return };
        if connection.phase == Phase::Leaving {
            if connection.is_broken { self.kill(id) } else { self.leave(id) }
        } else if connection.has_more_to_say() {
            self.resend.push(id.slot);
        }
    }

    /// The peer sends no more.
    pub(super) fn end_reading(&mut self, id: ConnectionId) {
        let Some(connection) = self.slots.get(id) else { return };
        connection.has_ended = true;
        match connection.phase {
            // What is parked is offered first; without a pause `reading` ends it now.
            Phase::Open if connection.pause != Pause::None && connection.carry.is_empty() => self.lose(id),
            Phase::Open | Phase::Leaving | Phase::Flushing => {}
            Phase::Lingering => self.kill(id),
            Phase::Dead => self.release_if_quiet(id),
        }
    }

    /// The connection ended without the shard's wish.
    pub(super) fn lose(&mut self, id: ConnectionId) {
        self.handle_isolated(id, Input::Closed { connection: id });
        self.kill(id);
    }

    /// Ends what has taken too long.
    pub(super) fn expire_closing(&mut self) {
        while let Some(&(by, id)) = self.closing.front()
            && by <= self.now
        {
            self.closing.pop_front();
            self.kill(id);
        }
    }

    fn kill(&mut self, id: ConnectionId) {
        let Some(connection) = self.slots.get(id) else { return };
        if connection.phase == Phase::Dead {
            return;
        }
        if connection.phase == Phase::Leaving {
            self.leaving.retain(|(leaving, _)| *leaving != id);
        }
        connection.phase = Phase::Dead;
        connection.carry.give_up();
        self.dead.push(id);
    }

    /// Notes that the kernel may have nothing any more of a connection that is dead.
    pub(super) fn release_if_quiet(&mut self, id: ConnectionId) {
        if self.slots.get(id).is_some_and(|connection| connection.phase == Phase::Dead && connection.is_quiet()) {
            self.dead.push(id);
        }
    }

    /// Closes sockets and frees slots of which the kernel has nothing, and asks it to end what it has of the others. Last in
    /// a turn: until then the report can name the peer, and mostly the end has come by itself, as the peer has closed too.
    pub(super) fn release_slots(&mut self) {
        for at in 0..self.dead.len() {
            let id = self.dead[at];
            let Some(connection) = self.slots.get(id) else { continue };
            if connection.is_quiet() {
                let listener = connection.listener();
                self.slots.close(id);
                self.leave_listener(listener);
                self.outbox.egress.close(id.slot);
            } else if !std::mem::replace(&mut connection.is_ending, true) {
                self.end_operations(id);
            }
        }
        self.dead.clear();
    }

    fn end_operations(&mut self, id: ConnectionId) {
        let Some(connection) = self.slots.get(id) else { return };
        // If the socket is not connected any more, the kernel has to be asked for each operation.
        if !shutdown(connection, Shutdown::Both) {
            let is_armed = matches!(connection.receiving, Receiving::Once | Receiving::Many);
            let is_sending = connection.sending.is_some();
            if is_armed {
                self.ring.cancel(Operation::Receive(id));
            }
            if is_sending {
                self.ring.cancel(Operation::Send(id));
            }
        }
    }
}

fn shutdown(connection: &Connection, how: Shutdown) -> bool {
    SockRef::from(&connection.socket()).shutdown(how).is_ok()
}
