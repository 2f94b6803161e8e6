//! Writing: from a connection's egress to its socket.
//!
//! Duty: one send per connection and turn for all that has gathered, at most one in flight, the rest of a short one again;
//! tell egress and shard what was sent. Must not: decide what is dropped. Neighbours: `Egress` holds the bytes; `closing`
//! goes on when the last byte of a closing connection is out.
//!
//! When there is little to send, it is sent at once, by a system call for each: that spares a lone message the completion,
//! with the turn and the second entry into the kernel that belong to it. Many sends go through the ring, all with one system
//! call, and so does what the socket does not take at once: the ring waits until there is room.

use socket2::SockRef;

use super::connection::{Connection, Phase, Sending};
use super::driver::Driver;
use super::measure::IS_METERED;
use super::ring::Ring;
use crate::id::{ConnectionId, Millis};
use crate::shard::{Flush, Input};

/// A send of more is a large one, bytes.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// A turn with more sends than this leaves them to the ring. Measured: for a fan-out to 1,000, a system call each costs a third
/// more than the ring.
const AT_ONCE_MAX: usize = 2;

/// Bytes of large sends after which the others wait for the next turn: the kernel copies while everybody waits (case R17).
const TURN_LARGE_BYTES_MAX: usize = 2 << 20;

/// How long buffers for sending are kept that nobody needs.
const COOL_MILLIS: u64 = 1_000;

impl Driver {
    /// Sends for every connection that has something new and no send in flight. Whether there was any.
    pub(super) fn flush_egress(&mut self) -> bool {
        debug_assert!(self.dirty.is_empty());
        self.outbox.egress.take_dirty(&mut self.dirty);
        let is_any = !self.dirty.is_empty();
        self.dirty.append(&mut self.resend);
        let is_at_once = self.dirty.len() <= AT_ONCE_MAX;
        for at in 0..self.dirty.len() {
            let slot = self.dirty[at];
            let Some(id) = self.slots.user_of(slot) else { continue };
            if self.outbox.egress.at(slot).backlog_bytes() <= SMALL_BYTES_MAX {
                self.start_send(id, is_at_once);
            } else if let Some(connection) = self.slots.get(id)
                && connection.sending.is_none()
                && !std::mem::replace(&mut connection.is_put_off, true)
            {
                self.large_sends.push_back(id);
            }
        }
        self.dirty.clear();
        let mut bytes = 0;
        while bytes < TURN_LARGE_BYTES_MAX
            && let Some(id) = self.large_sends.pop_front()
        {
            let Some(connection) = self.slots.get(id) else { continue };
            connection.is_put_off = false;
            bytes += self.outbox.egress.at(id.slot).backlog_bytes();
            self.start_send(id, false);
        }
        if self.cool_at.is_none() && self.outbox.egress.is_warm() {
            self.cool_at = Some(self.now.after_millis(COOL_MILLIS));
        }
        is_any
    }

    fn start_send(&mut self, id: ConnectionId, is_at_once: bool) {
        let Some(connection) = self.slots.get(id) else { return };
        if connection.transport().is_some() {
            return self.start_wrapped_send(id, is_at_once);
        }
        let egress = self.outbox.egress.at(id.slot);
        if connection.phase == Phase::Dead || connection.sending.is_some() || !egress.has_queued() {
            return;
        }
        let mut flush = Flush::default();
        egress.take(&mut flush);
        if self.shard.is_tapped() {
            self.shard.show_sent(id, &flush, &mut self.outbox);
        }
        let len = flush.len();
        let is_at_once = is_at_once && flush.splices.is_empty() && !connection.is_broken;
        let sent = if is_at_once { send_now(connection, &flush.bytes) } else { 0 };
        if connection.is_broken || sent == len {
            return self.finish_send(id, flush, len);
        }
        connection.sending = Some(Box::new(Sending { flush, len, sent, pieces: None, sealed: None }));
        send_rest(&mut self.ring, id, connection);
        self.account_sent(id, sent);
    }

    /// Takes the completion of a send.
    pub(super) fn complete_send(&mut self, id: ConnectionId, result: i32) {
        let Some(connection) = self.slots.get(id) else {
            debug_assert!(false, "a slot is kept until its last completion");
            return;
        };
        let Some(mut sending) = connection.sending.take() else { return };
        if connection.phase == Phase::Dead {
            return self.release_if_quiet(id);
        }
        if sending.sealed.is_some() {
            return self.complete_wrapped_send(id, sending, result);
        }
        let sent = usize::try_from(result).unwrap_or(0);
        let is_retried = matches!(-result, libc::EINTR | libc::EAGAIN);
        let rest = sending.len - sending.sent;
        if sent == 0 && !is_retried {
            connection.is_broken = true;
            self.finish_send(id, sending.flush, rest);
        } else if sent == rest {
            self.finish_send(id, sending.flush, rest);
        } else {
            sending.sent += sent;
            connection.sending = Some(sending);
            send_rest(&mut self.ring, id, connection);
            self.account_sent(id, sent);
        }
    }

    /// The last `rest` bytes of a flush are sent, or thrown away.
    pub(super) fn finish_send(&mut self, id: ConnectionId, flush: Flush, rest: usize) {
        self.outbox.egress.keep_buffer(id.slot, flush);
        self.account_sent(id, rest);
        if self.outbox.egress.at(id.slot).has_queued() {
            self.resend.push(id.slot);
        } else {
            self.go_on_closing(id);
        }
    }

    pub(super) fn account_sent(&mut self, id: ConnectionId, sent: usize) {
        self.bytes_sent += sent as u64;
        let is_low = self.outbox.egress.sent(id.slot, sent);
        let Some(connection) = self.slots.get(id) else { return };
        if IS_METERED {
            connection.traffic.note_sent(sent);
        }
        if is_low && connection.phase == Phase::Open {
            self.drained.push(id);
        }
    }

    /// Tells the shard that the egress of a connection is low again.
    pub(super) fn tell_drained(&mut self, id: ConnectionId) {
        // Of a broken connection the shard hears no more than its end, once what it has sent us is taken.
        if let Some(connection) = self.slots.get(id)
            && connection.phase == Phase::Open
            && !connection.is_broken
        {
            self.handle_isolated(id, Input::Drained { connection: id });
            self.close_finished();
        }
    }

    /// Takes buffers from who has not needed them since the last look.
    pub(super) fn cool_down(&mut self) {
        self.outbox.egress.cool_down();
        self.cool_at = self.outbox.egress.is_warm().then(|| self.now.after_millis(COOL_MILLIS));
    }

    /// When what is being closed has to be gone.
    pub(super) fn close_by(&self) -> Millis {
        self.now.after_millis(super::closing::CLOSE_MILLIS)
    }
}

/// Sends what the socket takes at once, and says how many bytes that was.
pub(super) fn send_now(connection: &mut Connection, bytes: &[u8]) -> usize {
    let sent = SockRef::from(&connection.socket()).send_with_flags(bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    match sent {
        Ok(sent) => sent,
        Err(error) => {
            connection.is_broken = !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR));
            0
        }
    }
}

fn send_rest(ring: &mut Ring, id: ConnectionId, connection: &mut Connection) {
    let Some(sending) = connection.sending.as_deref_mut() else { return };
    if sending.flush.splices.is_empty() {
        let rest: *const [u8] = &raw const sending.flush.bytes[sending.sent..];
        // SAFETY: the flush is not touched while the send is in flight, and the connection keeps its slot until the last
        // completion; the ring is dropped before the slots.
        unsafe { ring.send(id, connection.socket(), rest) };
    } else {
        let pieces = sending.pieces.get_or_insert_default();
        let message = pieces.point_to(&sending.flush, sending.sent);
        // SAFETY: as above; the flush and its pieces are boxed, so they stay in place when the slots move.
        unsafe { ring.send_pieces(id, connection.socket(), message) };
    }
}
