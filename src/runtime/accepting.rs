//! Accepting: new connections, from a listener or from another shard.
//!
//! Duty: give them a slot and tell the shard; turn away who comes too often, let wait what is too much for one turn, stop
//! for a while when descriptors run out. Must not: read from them. Neighbours: `listener` made the sockets, `address_rates`
//! counts, `reading` goes on.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use socket2::SockRef;

use super::connection::Connection;
use super::crowd::Crowd;
use super::driver::Driver;
use super::mesh::Handoff;
use super::operation::Operation;
use super::peer::{Origin, Peer};
use crate::id::{ConnectionId, Millis};
use crate::shard::Input;
use crate::transport::Setup;

/// How long nothing is accepted after descriptors or memory ran out. The kernel keeps new connections waiting.
const ACCEPT_PAUSE_MILLIS: u64 = 100;

/// A listener, as one shard has it.
#[derive(Debug)]
pub(super) struct Entrance {
    /// The socket to accept on.
    pub(super) socket: OwnedFd,
    /// Its port; 0 for a Unix socket.
    pub(super) port: u16,
    /// What its connections speak.
    pub(super) setup: Arc<Setup>,
    /// How many there are, on all shards.
    pub(super) crowd: Arc<Crowd>,
}

/// A socket to accept on.
#[derive(Debug)]
pub(super) struct Listener {
    entrance: Entrance,
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
    origin: Origin,
    accepted_at: Millis,
}

impl Listener {
    /// A listener on which nothing is armed yet.
    pub(super) fn new(entrance: Entrance) -> Self {
        Self { entrance, arming: Arming::None }
    }

    /// New connections speak this.
    pub(super) fn speak(&mut self, setup: Arc<Setup>) {
        self.entrance.setup = setup;
    }
}

impl Driver {
    /// Accepts on every listener on which it does not yet, unless there is a reason not to.
    pub(super) fn arm_listeners(&mut self) {
        // Who came before every shard is restored would publish to nobody.
        if self.is_restoring || self.is_stopping() || self.accept_at.is_some() || !self.waiting.is_empty() {
            return;
        }
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if let Some(listener) = listener
                && listener.arming == Arming::None
            {
                listener.arming = Arming::Armed;
                self.ring.accept(index as u32, listener.entrance.socket.as_fd());
            }
        }
    }

    /// Leaves new connections to the kernel's queue.
    fn disarm_listeners(&mut self) {
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if let Some(listener) = listener
                && listener.arming == Arming::Armed
            {
                listener.arming = Arming::Cancelled;
                self.ring.cancel(Operation::Accept(index as u32));
            }
        }
    }

    /// Accepts nothing any more on one listener.
    pub(super) fn close_listener(&mut self, index: usize) {
        let Some(listener) = self.listeners.get_mut(index).and_then(Option::take) else { return };
        if listener.arming == Arming::Armed {
            self.ring.cancel(Operation::Accept(index as u32));
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
            && let Some(Waiting { socket, origin, accepted_at }) = self.waiting.pop_front()
        {
            self.opened_in_turn += 1;
            self.open(socket, origin, accepted_at);
        }
        self.arm_listeners();
    }

    /// Takes the completion of an accept.
    pub(super) fn complete_accept(&mut self, listener: u32, result: i32, has_more: bool) {
        if !has_more && let Some(Some(listener)) = self.listeners.get_mut(listener as usize) {
            listener.arming = Arming::None;
        }
        if result >= 0 {
            self.accepted += 1;
            // SAFETY: a completed accept hands over a descriptor that nobody else knows.
            let socket = unsafe { OwnedFd::from_raw_fd(result) };
            // Without an address the connection has ended already.
            if let Some(peer) = peer_of(socket.as_fd()) {
                self.admit(socket, peer, listener as u16);
            }
        } else if !matches!(-result, libc::ECANCELED | libc::ECONNABORTED | libc::EINTR | libc::EAGAIN) {
            self.report.accept_failed(self.now, -result);
            self.accept_at = Some(self.now.after_millis(ACCEPT_PAUSE_MILLIS));
        }
        self.arm_listeners();
    }

    /// A connection was accepted: it is opened, or waits, or is closed at once.
    fn admit(&mut self, socket: OwnedFd, peer: Peer, listener: u16) {
        let Some(Some(Listener { entrance, .. })) = self.listeners.get(usize::from(listener)) else { return };
        if self.is_stopping() {
            return;
        }
        if let Err(why) = entrance.setup.gate().at_accept(peer.ip()) {
            return self.report.address_refused(self.now, peer, why);
        }
        self.report.accepted(peer, entrance.port);
        // Behind a proxy the address that counts is the one that it will name.
        let address = peer.ip().filter(|_| !entrance.setup.is_proxied());
        if !address.is_none_or(|address| self.address_rates.take(self.now, address)) {
            return self.report.address_too_often(self.now, peer);
        }
        if !entrance.crowd.enter() {
            return self.report.listener_is_full(self.now, peer);
        }
        let origin = Origin { peer, listener, transport: entrance.setup.begin(peer.ip()) };
        if self.opened_in_turn < self.bounds.accepts_per_turn_max && self.waiting.is_empty() {
            self.opened_in_turn += 1;
            self.open(socket, origin, self.now);
        } else if self.slots.used() + self.waiting.len() >= self.bounds.connections_per_shard_max {
            self.report.too_many_connections(self.now, peer);
            self.leave_listener(listener);
        } else {
            self.report.tally.accepts_put_off += 1;
            self.waiting.push_back(Waiting { socket, origin, accepted_at: self.now });
            self.disarm_listeners();
        }
    }

    /// A connection of a listener is gone.
    pub(super) fn leave_listener(&self, listener: u16) {
        if let Some(Some(listener)) = self.listeners.get(usize::from(listener)) {
            listener.entrance.crowd.leave();
        }
    }

    /// Takes over a connection from another shard, with what it has already sent.
    pub(super) fn take_over(&mut self, handoff: Handoff) {
        let Some(id) = self.open(handoff.socket, handoff.origin, handoff.accepted_at) else { return };
        if let Some(connection) = self.slots.get(id)
            && !handoff.unread.is_empty()
        {
            connection.carry.append(&handoff.unread);
        }
        self.take_over_transport(id);
        self.offer_carried(id);
    }

    /// Tells the shard who a connection is that has proved it elsewhere, and sends what is still to be said there.
    fn take_over_transport(&mut self, id: ConnectionId) {
        let Some(transport) = self.slots.get(id).and_then(Connection::transport) else { return };
        if transport.has_output() {
            self.resend.push(id.slot);
        }
        if let Some(user) = transport.user().map(Into::into) {
            self.shard.handle(self.now, Input::Certified { connection: id, user }, &mut self.outbox);
        }
    }

    fn open(&mut self, socket: OwnedFd, origin: Origin, accepted_at: Millis) -> Option<ConnectionId> {
        let listener = origin.listener;
        if self.is_stopping() {
            return None;
        }
        if self.slots.used() >= self.bounds.connections_per_shard_max {
            self.report.too_many_connections(self.now, origin.peer);
            self.leave_listener(listener);
            return None;
        }
        let id = self.slots.open(Connection::new(socket, origin, accepted_at))?;
        self.shard.handle(self.now, Input::Opened { connection: id, accepted_at, listener }, &mut self.outbox);
        self.want_bytes(id);
        Some(id)
    }
}

/// The other end of a socket; `None` if it is gone.
fn peer_of(socket: BorrowedFd<'_>) -> Option<Peer> {
    let address = SockRef::from(&socket).peer_addr().ok()?;
    if let Some(address) = address.as_socket() {
        return Some(Peer::Internet(address));
    }
    // SAFETY: all-zero is a valid `ucred`.
    let mut credentials: libc::ucred = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    let place = (&raw mut credentials).cast();
    // SAFETY: the place has room for as many bytes as `len` says, and both live through the call.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, place, &raw mut len) };
    (result == 0).then_some(Peer::Unix { pid: credentials.pid, uid: credentials.uid })
}
