//! Accepting: new connections, from a listener or from another shard.
//!
//! Duty: give them a slot and tell the shard; stop for a while when descriptors run out. Must not: read from them.
//! Neighbours: `listener` made the sockets; `reading` goes on.

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
    is_armed: bool,
}

impl Listener {
    /// A listener on which nothing is armed yet.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, is_armed: false }
    }
}

impl Driver {
    /// Accepts on every listener on which it does not yet.
    pub(super) fn arm_listeners(&mut self) {
        if self.is_stopping() {
            return;
        }
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if !listener.is_armed {
                listener.is_armed = true;
                self.ring.accept(index as u32, listener.socket.as_fd());
            }
        }
    }

    /// Accepts nothing any more.
    pub(super) fn stop_accepting(&mut self) {
        for index in 0..self.listeners.len() {
            self.ring.cancel(Operation::Accept(index as u32));
        }
    }

    /// Takes the completion of an accept.
    pub(super) fn complete_accept(&mut self, listener: u32, result: i32, has_more: bool) {
        if !has_more && let Some(listener) = self.listeners.get_mut(listener as usize) {
            listener.is_armed = false;
        }
        if result >= 0 {
            // SAFETY: a completed accept hands over a descriptor that nobody else knows.
            let socket = unsafe { OwnedFd::from_raw_fd(result) };
            // Without an address the connection has ended already.
            if let Some(peer) = SockRef::from(&socket).peer_addr().ok().and_then(|address| address.as_socket()) {
                self.open(socket, peer, self.now);
            }
        } else if !matches!(-result, libc::ECANCELED | libc::ECONNABORTED | libc::EINTR | libc::EAGAIN) {
            self.report.accept_failed(self.now, -result);
            self.accept_at = Some(self.now.after_millis(ACCEPT_PAUSE_MILLIS));
        }
        if self.accept_at.is_none() {
            self.arm_listeners();
        }
    }

    /// Takes over a connection from another shard, with what it has already sent.
    pub(super) fn take_over(&mut self, handoff: Handoff) {
        let Some(id) = self.open(handoff.socket, handoff.peer, handoff.accepted_at) else { return };
        if let Some(connection) = self.slots.get(id) {
            connection.carry.append(&handoff.unread);
        }
        self.offer_carried(id);
    }

    fn open(&mut self, socket: OwnedFd, peer: SocketAddr, accepted_at: Millis) -> Option<ConnectionId> {
        if self.is_stopping() {
            return None;
        }
        if self.slots.used() >= self.connections_max {
            self.report.too_many_connections(self.now, peer);
            return None;
        }
        let id = self.slots.open(Connection::new(socket, peer, accepted_at))?;
        self.shard.handle(self.now, Input::Opened { connection: id, accepted_at }, &mut self.outbox);
        self.want_bytes(id);
        Some(id)
    }
}
