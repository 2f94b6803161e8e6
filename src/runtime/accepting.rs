//! Accepting: new connections, from a listener or from another shard.
//!
//! Duty: give them a slot and tell the shard; turn away who comes too often, let wait what is too much for one turn, stop
//! for a while when descriptors run out. Must not: read from them. Neighbours: `listener` made the sockets, `address_rates`
//! counts, `reading` goes on.

use std::net::SocketAddr;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use socket2::SockRef;

use super::connection::Connection;
use super::driver::Driver;
use super::mesh::Handoff;
use super::operation::Operation;
use crate::id::{ConnectionId, Millis};
use crate::shard::Input;

/// How long nothing is accepted after descriptors or memory ran out. The kernel keeps new connections waiting.
const ACCEPT_PAUSE_MILLIS: u64 = 100;

/// A socket to accept on.
#[derive(Debug)]
pub(super) struct Listener {
    socket: OwnedFd,
    arming: Arming,
}

/// The accept operation that the kernel has of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arming {
    None,
    Armed,
    Cancelled,
}

/// Accepted, but not yet opened: more came at once than one turn takes.
#[derive(Debug)]
pub(super) struct Waiting {
    socket: OwnedFd,
    peer: SocketAddr,
    accepted_at: Millis,
}

impl Listener {
    /// A listener on which nothing is armed yet.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, arming: Arming::None }
    }
}

impl Driver {
    /// Accepts on every listener on which it does not yet, unless there is a reason not to.
    pub(super) fn arm_listeners(&mut self) {
        if self.is_stopping() || self.accept_at.is_some() || !self.waiting.is_empty() {
            return;
        }
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if listener.arming == Arming::None {
                listener.arming = Arming::Armed;
                self.ring.accept(index as u32, listener.socket.as_fd());
            }
        }
    }

    /// Leaves new connections to the kernel's queue.
    fn disarm_listeners(&mut self) {
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if listener.arming == Arming::Armed {
                listener.arming = Arming::Cancelled;
                self.ring.cancel(Operation::Accept(index as u32));
            }
        }
    }

    /// Accepts nothing any more.
    pub(super) fn stop_accepting(&mut self) {
        self.waiting.clear();
        self.disarm_listeners();
    }

    /// Begins a turn: opens what had to wait for it, as much as it takes.
    pub(super) fn open_waiting(&mut self) {
        self.opened_in_turn = 0;
        if self.waiting.is_empty() {
            return;
        }
        while self.opened_in_turn < self.bounds.accepts_per_turn_max
            && let Some(Waiting { socket, peer, accepted_at }) = self.waiting.pop_front()
        {
            self.opened_in_turn += 1;
            self.open(socket, peer, accepted_at);
        }
        self.arm_listeners();
    }

    /// Takes the completion of an accept.
    pub(super) fn complete_accept(&mut self, listener: u32, result: i32, has_more: bool) {
        if !has_more && let Some(listener) = self.listeners.get_mut(listener as usize) {
            listener.arming = Arming::None;
        }
        if result >= 0 {
            // SAFETY: a completed accept hands over a descriptor that nobody else knows.
            let socket = unsafe { OwnedFd::from_raw_fd(result) };
            // Without an address the connection has ended already.
            if let Some(peer) = SockRef::from(&socket).peer_addr().ok().and_then(|address| address.as_socket()) {
                self.admit(socket, peer);
            }
        } else if !matches!(-result, libc::ECANCELED | libc::ECONNABORTED | libc::EINTR | libc::EAGAIN) {
            self.report.accept_failed(self.now, -result);
            self.accept_at = Some(self.now.after_millis(ACCEPT_PAUSE_MILLIS));
        }
        self.arm_listeners();
    }

    /// A connection was accepted: it is opened, or waits, or is closed at once.
    fn admit(&mut self, socket: OwnedFd, peer: SocketAddr) {
        if self.is_stopping() {
            return;
        }
        if !self.address_rates.take(self.now, peer.ip()) {
            self.report.address_too_often(self.now, peer);
        } else if self.opened_in_turn < self.bounds.accepts_per_turn_max && self.waiting.is_empty() {
            self.opened_in_turn += 1;
            self.open(socket, peer, self.now);
        } else if self.slots.used() + self.waiting.len() >= self.bounds.connections_per_shard_max {
            self.report.too_many_connections(self.now, peer);
        } else {
            self.report.tally.accepts_put_off += 1;
            self.waiting.push_back(Waiting { socket, peer, accepted_at: self.now });
            self.disarm_listeners();
        }
    }

    /// Takes over a connection from another shard, with what it has already sent.
    pub(super) fn take_over(&mut self, handoff: Handoff) {
        let Some(id) = self.open(handoff.socket, handoff.peer, handoff.accepted_at) else { return };
        if let Some(connection) = self.slots.get(id)
            && !handoff.unread.is_empty()
        {
            connection.carry.append(&handoff.unread);
        }
        self.offer_carried(id);
    }

    fn open(&mut self, socket: OwnedFd, peer: SocketAddr, accepted_at: Millis) -> Option<ConnectionId> {
        if self.is_stopping() {
            return None;
        }
        if self.slots.used() >= self.bounds.connections_per_shard_max {
            self.report.too_many_connections(self.now, peer);
            return None;
        }
        let id = self.slots.open(Connection::new(socket, peer, accepted_at))?;
        self.shard.handle(self.now, Input::Opened { connection: id, accepted_at, listener: 0 }, &mut self.outbox);
        self.want_bytes(id);
        Some(id)
    }
}
