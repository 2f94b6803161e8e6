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

use super::connection::{Connection, Phase};
use super::driver::Driver;
use super::ring::Ring;
use crate::id::{ConnectionId, Millis};
use crate::shard::{Flush, Input};

/// A send buffer above this is taken back when it was not needed for a while, bytes.
const COLD_BYTES_MAX: usize = 4096;

/// A send of more is a large one, bytes.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// A turn with more sends than this leaves them to the ring. Measured: for a fan-out to 1,000, a system call each costs a third
/// more than the ring.
const AT_ONCE_MAX: usize = 2;

/// Bytes of large sends after which the others wait for the next turn: the kernel copies while everybody waits (case R17).
const TURN_LARGE_BYTES_MAX: usize = 2 << 20;

/// How long "a while" is.
const COOL_MILLIS: u64 = 1_000;

impl Driver {
    /// Sends for every connection that has something new and no send in flight.
    pub(super) fn flush_egress(&mut self) {
        debug_assert!(self.dirty.is_empty());
        self.outbox.egress.take_dirty(&mut self.dirty);
        self.dirty.append(&mut self.resend);
        let is_at_once = self.dirty.len() <= AT_ONCE_MAX;
        for at in 0..self.dirty.len() {
            let slot = self.dirty[at];
            let Some(id) = self.slots.user_of(slot) else { continue };
            if self.outbox.egress.at(slot).backlog_bytes() <= SMALL_BYTES_MAX {
                self.start_send(id, is_at_once);
            } else if let Some(connection) = self.slots.get(id)
                && !connection.sending.is_in_flight
                && !std::mem::replace(&mut connection.sending.is_put_off, true)
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
            connection.sending.is_put_off = false;
            bytes += self.outbox.egress.at(id.slot).backlog_bytes();
            self.start_send(id, false);
        }
    }

    fn start_send(&mut self, id: ConnectionId, is_at_once: bool) {
        let Some(connection) = self.slots.get(id) else { return };
        let egress = self.outbox.egress.at(id.slot);
        if connection.phase == Phase::Dead || connection.sending.is_in_flight || !egress.has_queued() {
            return;
        }
        let sending = &mut connection.sending;
        egress.take(&mut sending.flush);
        sending.len = sending.flush.len();
        sending.sent = 0;
        let is_at_once = is_at_once && sending.flush.splices.is_empty() && !sending.is_broken;
        let sent = if is_at_once { send_now(connection) } else { 0 };
        let sending = &mut connection.sending;
        if sending.is_broken || sent == sending.len {
            return self.finish_send(id);
        }
        sending.sent = sent;
        send_rest(&mut self.ring, id, connection);
        self.account_sent(id, sent);
    }

    /// Takes the completion of a send.
    pub(super) fn complete_send(&mut self, id: ConnectionId, result: i32) {
        let Some(connection) = self.slots.get(id) else {
            debug_assert!(false, "a slot is kept until its last completion");
            return;
        };
        connection.sending.is_in_flight = false;
        if connection.phase == Phase::Dead {
            return self.release_if_quiet(id);
        }
        let sending = &mut connection.sending;
        let sent = usize::try_from(result).unwrap_or(0);
        let is_retried = matches!(-result, libc::EINTR | libc::EAGAIN);
        if sent == 0 && !is_retried {
            sending.is_broken = true;
            return self.finish_send(id);
        }
        sending.sent += sent;
        if sending.sent < sending.len {
            send_rest(&mut self.ring, id, connection);
            self.account_sent(id, sent);
        } else {
            sending.sent -= sent;
            self.finish_send(id);
        }
    }

    /// All of the flush is sent, or thrown away.
    fn finish_send(&mut self, id: ConnectionId) {
        let Some(connection) = self.slots.get(id) else { return };
        let sending = &mut connection.sending;
        let rest = sending.len - sending.sent;
        let is_large = sending.len > COLD_BYTES_MAX || !sending.flush.splices.is_empty();
        clear(&mut sending.flush);
        sending.len = 0;
        sending.sent = 0;
        if is_large {
            connection.was_used_warm = true;
            if !connection.is_warm {
                connection.is_warm = true;
                self.warm.push(id);
                self.cool_at.get_or_insert(self.now.after_millis(COOL_MILLIS));
            }
        }
        self.account_sent(id, rest);
        if self.outbox.egress.at(id.slot).has_queued() {
            self.resend.push(id.slot);
        } else {
            self.go_on_closing(id);
        }
    }

    fn account_sent(&mut self, id: ConnectionId, sent: usize) {
        let is_low = self.outbox.egress.sent(id.slot, sent);
        let Some(connection) = self.slots.get(id) else { return };
        if is_low && connection.phase == Phase::Open {
            self.drained.push(id);
        }
    }

    /// Tells the shard that the egress of a connection is low again.
    pub(super) fn tell_drained(&mut self, id: ConnectionId) {
        // Of a broken connection the shard hears no more than its end, once what it has sent us is taken.
        if let Some(connection) = self.slots.get(id)
            && connection.phase == Phase::Open
            && !connection.sending.is_broken
        {
            self.handle_isolated(id, Input::Drained { connection: id });
            self.close_finished();
        }
    }

    /// Takes large buffers back from connections that have not needed them since the last look.
    pub(super) fn cool_down(&mut self) {
        let Self { slots, outbox, warm, .. } = self;
        warm.retain(|&id| {
            let Some(connection) = slots.get(id) else { return false };
            let egress = outbox.egress.at(id.slot);
            let is_needed = connection.was_used_warm || connection.sending.is_in_flight || egress.has_queued();
            connection.was_used_warm = false;
            if !is_needed && connection.phase != Phase::Dead {
                connection.sending.flush = Flush::default();
                connection.sending.pieces = None;
                // Nothing is queued: this only takes out the buffer that was kept for the next queue.
                egress.take(&mut connection.sending.flush);
                connection.sending.flush = Flush::default();
                connection.is_warm = false;
            }
            is_needed
        });
        self.cool_at = if self.warm.is_empty() { None } else { Some(self.now.after_millis(COOL_MILLIS)) };
    }

    /// When what is being closed has to be gone.
    pub(super) fn close_by(&self) -> Millis {
        self.now.after_millis(super::closing::CLOSE_MILLIS)
    }
}

fn clear(flush: &mut Flush) {
    flush.bytes.clear();
    flush.splices.clear();
}

/// Sends what the socket takes at once, and says how many bytes that was.
fn send_now(connection: &mut Connection) -> usize {
    let sent = SockRef::from(&connection.socket())
        .send_with_flags(&connection.sending.flush.bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    match sent {
        Ok(sent) => sent,
        Err(error) => {
            connection.sending.is_broken = !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR));
            0
        }
    }
}

fn send_rest(ring: &mut Ring, id: ConnectionId, connection: &mut Connection) {
    let sending = &mut connection.sending;
    sending.is_in_flight = true;
    if sending.flush.splices.is_empty() {
        let rest: *const [u8] = &raw const sending.flush.bytes[sending.sent..];
        // SAFETY: the flush is not touched while the send is in flight, and the connection keeps its slot until the last
        // completion; the ring is dropped before the slots.
        unsafe { ring.send(id, connection.socket(), rest) };
    } else {
        let pieces = sending.pieces.get_or_insert_default();
        let message = pieces.point_to(&sending.flush, sending.sent);
        // SAFETY: as above; the pieces are boxed, so they stay in place when the slots move.
        unsafe { ring.send_pieces(id, connection.socket(), message) };
    }
}
