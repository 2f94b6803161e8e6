//! Wrapping: connections that have a transport between socket and MQTT.
//!
//! Duty: received bytes through the transport to the shard; egress through it to the socket, all that has gathered at once; a part of
//! each turn for TLS handshakes, so that a storm of them starves nobody. Must not: know TLS or WebSocket. Neighbours: `transport` does
//! the work; `reading` and `writing` are the same for connections without.

use std::collections::VecDeque;

use super::connection::{Connection, Pause, Phase, Sending};
use super::driver::Driver;
use super::peer::Peer;
use super::{panic_policy, reading, writing};
use crate::id::ConnectionId;
use crate::shard::{Flush, Input, Next};
use crate::transport::{Arrival, End};

/// Bytes of MQTT that go through the transport at once: so much more memory than on plain TCP a slow reader costs (case R06).
const SEAL_BYTES_MAX: usize = 256 << 10;

/// Buffers for sealed bytes are kept up to this number, and each up to this size, bytes.
const SPARE_MAX: usize = 32;
const SPARE_BYTES_MAX: usize = 64 << 10;

/// What wrapped connections need besides their own.
#[derive(Debug, Default)]
pub(super) struct Wrapping {
    /// Connections whose handshake waits for its part of a turn.
    handshakes: VecDeque<ConnectionId>,
    /// Bytes as they came, and as the shard gets them.
    raw: Vec<u8>,
    plain: Vec<u8>,
    spare: Vec<Vec<u8>>,
}

/// Bytes of a flush as they go over the wire.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    wire: Vec<u8>,
    /// Bytes of `wire` that were sent.
    sent: usize,
    /// Bytes of MQTT in it.
    plain: usize,
}

impl Wrapping {
    /// Whether handshakes wait.
    pub(super) fn has_handshakes(&self) -> bool {
        !self.handshakes.is_empty()
    }

    fn keep(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= SPARE_BYTES_MAX && self.spare.len() < SPARE_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

impl Driver {
    /// Copies received bytes out of their buffer, which the kernel needs.
    pub(super) fn keep_raw(&mut self, buffer: &super::buffers::BufferId, received: usize) {
        self.wrapping.raw.clear();
        self.wrapping.raw.extend_from_slice(self.ring.received(buffer, received));
    }

    /// Takes the bytes of [`Driver::keep_raw`].
    pub(super) fn take_raw(&mut self, id: ConnectionId) {
        let raw = std::mem::take(&mut self.wrapping.raw);
        if let Some(connection) = self.slots.get(id)
            && connection.phase == Phase::Open
            && let Some(transport) = connection.transport()
            && transport.is_handshaking()
        {
            transport.put_off(&raw);
            connection.pause = Pause::Handshake;
            self.wrapping.handshakes.push_back(id);
        } else {
            self.unwrap_bytes(id, &raw);
        }
        self.wrapping.raw = raw;
    }

    /// Goes on with as many handshakes as a turn takes.
    pub(super) fn step_handshakes(&mut self) {
        for _ in 0..self.bounds.tls_handshakes_per_turn_max {
            let Some(id) = self.wrapping.handshakes.pop_front() else { return };
            let Some(connection) = self.slots.get(id) else { continue };
            let Some(transport) = connection.transport() else { continue };
            let waiting = transport.take_waiting();
            if connection.pause == Pause::Handshake {
                connection.pause = Pause::None;
            }
            self.unwrap_bytes(id, &waiting);
            self.close_finished();
        }
        self.report.tally.handshakes_put_off += u64::from(self.wrapping.has_handshakes());
    }

    fn unwrap_bytes(&mut self, id: ConnectionId, raw: &[u8]) {
        let mut plain = std::mem::take(&mut self.wrapping.plain);
        plain.clear();
        let Some(connection) = self.slots.get(id) else { return };
        if connection.phase != Phase::Open {
            return self.follow(id, Next::Read { needed: None });
        }
        let Some(transport) = connection.transport() else { return };
        let arrival = transport.receive(raw, &mut plain);
        if transport.has_output() {
            self.resend.push(id.slot);
        }
        let certified = if arrival.is_certified { transport.user().map(Into::into) } else { None };
        let is_welcome = self.take_arrival(id, arrival);
        if let Some(user) = certified {
            self.handle_isolated(id, Input::Certified { connection: id, user });
        }
        if is_welcome && let Some(connection) = self.slots.get(id) {
            let (shard, outbox, now) = (&mut self.shard, &mut self.outbox, self.now);
            let taken = panic_policy::catch(|| reading::take_bytes(shard, outbox, now, id, connection, &plain));
            let next = self.next_or_contain(id, taken);
            self.follow(id, next);
        }
        self.wrapping.plain = plain;
    }

    /// Notes what came besides bytes; false if the connection was ended for it.
    fn take_arrival(&mut self, id: ConnectionId, arrival: Arrival) -> bool {
        let Some(connection) = self.slots.get(id) else { return false };
        if let Some(client) = arrival.client {
            connection.set_peer(Peer::Internet(client));
        }
        if let Some(End::Refused(why)) = arrival.end {
            let peer = connection.peer();
            self.report.address_refused(self.now, peer, why);
            self.lose(id);
            return false;
        }
        if let Some(client) = arrival.client
            && !self.address_rates.take(self.now, client.ip())
        {
            self.report.address_too_often(self.now, Peer::Internet(client));
            self.lose(id);
            return false;
        }
        if let Some(End::Fault(what)) = arrival.end {
            let peer = connection.peer();
            self.report.transport_failed(self.now, peer, &what);
        }
        true
    }

    /// The transport of a connection has ended in order or by a fault: the shard hears it, the client is told and may read it.
    pub(super) fn lose_politely(&mut self, id: ConnectionId) {
        self.handle_isolated(id, Input::Closed { connection: id });
        let close_by = self.close_by();
        let Some(connection) = self.slots.get(id) else { return };
        connection.phase = Phase::Flushing;
        connection.pause = Pause::None;
        connection.carry.give_up();
        self.closing.push_back((close_by, id));
        self.resend.push(id.slot);
        self.want_bytes(id);
    }

    /// Sends what has gathered for a wrapped connection, its transport's own bytes too. One send is in flight at most.
    pub(super) fn start_wrapped_send(&mut self, id: ConnectionId, is_at_once: bool) {
        let Some(connection) = self.slots.get(id) else { return };
        if connection.phase == Phase::Dead || connection.sending.is_some() {
            return;
        }
        let has_output = connection.has_more_to_say();
        let egress = self.outbox.egress.at(id.slot);
        let mut flush = Flush::default();
        if egress.has_queued() {
            egress.take(&mut flush);
            if self.shard.is_tapped() {
                self.shard.show_sent(id, &flush, &mut self.outbox);
            }
        } else if !has_output {
            return;
        }
        let len = flush.len();
        let sealed = Some(Sealed { wire: self.wrapping.spare.pop().unwrap_or_default(), sent: 0, plain: 0 });
        let mut sending = Box::new(Sending { flush, len, sent: 0, pieces: None, sealed });
        seal(connection, &mut sending);
        connection.sending = Some(sending);
        self.send_wrapped(id, is_at_once);
    }

    /// Goes on with a send: at once as far as the socket takes it, or by the ring.
    fn send_wrapped(&mut self, id: ConnectionId, is_at_once: bool) {
        let Some(connection) = self.slots.get(id) else { return };
        let Some(mut sending) = connection.sending.take() else { return };
        let Some(sealed) = sending.sealed.as_mut() else { return };
        if is_at_once && !connection.is_broken {
            sealed.sent += writing::send_now(connection, &sealed.wire[sealed.sent..]);
        }
        if connection.is_broken || sealed.sent == sealed.wire.len() {
            return self.sealed_is_sent(id, sending);
        }
        let rest: *const [u8] = &raw const sealed.wire[sealed.sent..];
        connection.sending = Some(sending);
        // SAFETY: the wire buffer is not touched while the send is in flight, and the connection keeps its slot until the last
        // completion; the ring is dropped before the slots.
        unsafe { self.ring.send(id, connection.socket(), rest) };
    }

    /// Takes the completion of a send of sealed bytes.
    pub(super) fn complete_wrapped_send(&mut self, id: ConnectionId, mut sending: Box<Sending>, result: i32) {
        let (Some(connection), Some(sealed)) = (self.slots.get(id), sending.sealed.as_mut()) else { return };
        let sent = usize::try_from(result).unwrap_or(0);
        let is_retried = matches!(-result, libc::EINTR | libc::EAGAIN);
        connection.is_broken |= sent == 0 && !is_retried;
        sealed.sent += sent;
        connection.sending = Some(sending);
        self.send_wrapped(id, false);
    }

    /// What was sealed is sent, or thrown away: seals the rest of the flush, or ends it.
    fn sealed_is_sent(&mut self, id: ConnectionId, mut sending: Box<Sending>) {
        let Some(connection) = self.slots.get(id) else { return };
        let plain = sending.sealed.as_mut().map_or(0, |sealed| std::mem::take(&mut sealed.plain));
        sending.sent += plain;
        if sending.sent < sending.len && !connection.is_broken {
            seal(connection, &mut sending);
            connection.sending = Some(sending);
            self.account_sent(id, plain);
            return self.send_wrapped(id, false);
        }
        let Sending { flush, len, sent, sealed, .. } = *sending;
        self.wrapping.keep(sealed.map(|sealed| sealed.wire).unwrap_or_default());
        if len > 0 {
            return self.finish_send(id, flush, plain + len - sent);
        }
        self.go_on_closing(id);
    }
}

/// Puts the next part of a flush, and what the transport itself has to say, into the wire buffer.
fn seal(connection: &mut Connection, sending: &mut Sending) {
    let is_closing = connection.phase == Phase::Flushing;
    let (Some(transport), Some(sealed)) = (connection.transport(), sending.sealed.as_mut()) else { return };
    sealed.wire.clear();
    sealed.sent = 0;
    sealed.plain = 0;
    let mut skip = sending.sent;
    let mut pieces: Vec<&[u8]> = Vec::new();
    for piece in sending.flush.pieces() {
        let from = skip.min(piece.len());
        skip -= from;
        let taken = (piece.len() - from).min(SEAL_BYTES_MAX - sealed.plain);
        if taken > 0 {
            pieces.push(&piece[from..from + taken]);
            sealed.plain += taken;
        }
    }
    let is_last = is_closing && sending.sent + sealed.plain == sending.len;
    transport.seal(&pieces, is_last, &mut sealed.wire);
}
