//! Connection: what the driver keeps of one network connection.
//!
//! Duty: the socket, unread bytes, the send in flight, and which operations the kernel has. Must not: decide anything.
//! Neighbours: `reading`, `writing` and `closing` move it through its life; `slots` holds it.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::carry::Carry;
use super::measure::IS_METERED;
use super::peer::{Origin, Peer};
use super::ring::FirstBurst;
use super::wrapping::Sealed;
use crate::id::Millis;
use crate::seldom::Seldom;
use crate::shard::Flush;
use crate::transport::Transport;

/// One network connection. There may be a million that say nothing, so it is small.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    line: Line,
    /// When it was accepted, here or by another shard.
    pub(super) accepted_at: Millis,
    /// What it has carried.
    pub(super) traffic: Traffic,
    /// Received bytes that the shard has not used up.
    pub(super) carry: Seldom<Carry>,
    /// The send that the kernel has.
    pub(super) sending: Option<Box<Sending>>,
    /// The turn in which it last received bytes; wraps.
    pub(super) fed_in_turn: u32,
    /// Bytes that it received in that turn.
    pub(super) turn_bytes: u32,
    /// Its completed receives that wait for a later turn; what comes after them waits behind them.
    pub(super) put_off: u16,
    /// How far its life has come.
    pub(super) phase: Phase,
    /// What the shard waits for before it takes more bytes.
    pub(super) pause: Pause,
    /// The receive operation that the kernel has.
    pub(super) receiving: Receiving,
    /// What that receive operation has brought first.
    pub(super) first_burst: FirstBurst,
    /// Whether a CONNECT was taken here: from then on the connection stays on this shard.
    pub(super) is_settled: bool,
    /// Whether the peer will send no more.
    pub(super) has_ended: bool,
    /// Whether it is listed for arming at the end of the turn.
    pub(super) is_rearmed: bool,
    /// Whether the peer takes no more: what else is to be sent is thrown away.
    pub(super) is_broken: bool,
    /// Whether it waits among the large sends.
    pub(super) is_put_off: bool,
    /// Whether the kernel was asked to end what it has of it.
    pub(super) is_ending: bool,
}

/// What a connection has carried, in 16 bytes: 48 bits for bytes in each direction, 32 for messages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    received_low: u32,
    sent_low: u32,
    received_high: u16,
    sent_high: u16,
    /// Messages received; wraps.
    pub(super) messages_received: u32,
}

impl Traffic {
    #[inline]
    fn note_received(&mut self, bytes: usize) {
        let (low, has_carried) = self.received_low.overflowing_add(bytes as u32);
        self.received_low = low;
        self.received_high = self.received_high.wrapping_add(u16::from(has_carried));
    }

    #[inline]
    pub(super) fn note_sent(&mut self, bytes: usize) {
        let (low, has_carried) = self.sent_low.overflowing_add(bytes as u32);
        self.sent_low = low;
        self.sent_high = self.sent_high.wrapping_add(u16::from(has_carried));
    }

    /// Bytes received; wraps at 2^48.
    pub(super) fn bytes_received(self) -> u64 {
        u64::from(self.received_high) << 32 | u64::from(self.received_low)
    }

    /// Bytes sent; wraps at 2^48.
    pub(super) fn bytes_sent(self) -> u64 {
        u64::from(self.sent_high) << 32 | u64::from(self.sent_low)
    }
}

/// Where it comes from. Most come by plain TCP, from a short address.
#[derive(Debug)]
enum Line {
    V4(SocketAddrV4, u16),
    V6(Box<(SocketAddrV6, u16)>),
    Other(Box<Origin>),
}

/// How far the life of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The shard knows it.
    Open,
    /// It goes to another shard as soon as the kernel has nothing of it.
    Leaving,
    /// The shard has ended it; its egress is being sent.
    Flushing,
    /// All is sent and our side shut; what still comes is thrown away until the peer ends too. Closing at once, with bytes
    /// unread, would reset the connection and destroy what the peer has not read yet.
    Lingering,
    /// Shut; only the kernel still has operations of it.
    Dead,
}

/// What the shard waits for before it takes more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// Nothing.
    None,
    /// Room in the mesh.
    Mesh,
    /// Its own egress to drain.
    Drain,
    /// Its part of a turn for a TLS handshake.
    Handshake,
}

/// The receive operation that the kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    /// None.
    Idle,
    /// One that completes at the next bytes.
    Once,
    /// One that completes again and again.
    Many,
    /// One that is being cancelled.
    Cancelled,
}

/// A send that the kernel has. What it points to stays in place until it has completed.
#[derive(Debug)]
pub(super) struct Sending {
    /// What is being sent.
    pub(super) flush: Flush,
    /// Bytes of the flush.
    pub(super) len: usize,
    /// Bytes of it that were sent.
    pub(super) sent: usize,
    /// The pieces of a flush with payloads spliced in.
    pub(super) pieces: Option<Box<Pieces>>,
    /// What a transport has made of it; `sent` then counts what was sealed and sent.
    pub(super) sealed: Option<Sealed>,
}

/// A message in pieces, as the kernel reads it.
#[derive(Debug)]
pub(super) struct Pieces {
    header: libc::msghdr,
    vectors: Vec<libc::iovec>,
}

/// Most pieces in one send (UIO_MAXIOV of the kernel).
const PIECES_MAX: usize = 1024;

impl Default for Pieces {
    fn default() -> Self {
        // SAFETY: all-zero is a valid `msghdr`: no name, no pieces, no control data.
        Self { header: unsafe { std::mem::zeroed() }, vectors: Vec::new() }
    }
}

impl Pieces {
    /// Points to the pieces of `flush` from byte `sent` on, as many as one send takes. Valid until the flush changes.
    pub(super) fn point_to(&mut self, flush: &Flush, sent: usize) -> *const libc::msghdr {
        self.vectors.clear();
        let mut skip = sent;
        for piece in flush.pieces() {
            let from = skip.min(piece.len());
            skip -= from;
            let rest = &piece[from..];
            if !rest.is_empty() {
                self.vectors.push(libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() });
            }
            if self.vectors.len() == PIECES_MAX {
                break;
            }
        }
        self.header.msg_iov = self.vectors.as_mut_ptr();
        self.header.msg_iovlen = self.vectors.len();
        &raw const self.header
    }
}

impl Connection {
    /// A connection of which the kernel has nothing yet.
    pub(super) fn new(socket: OwnedFd, origin: Origin, accepted_at: Millis) -> Self {
        let listener = origin.listener;
        let line = match (origin.peer, &origin.transport) {
            (Peer::Internet(SocketAddr::V4(peer)), None) => Line::V4(peer, listener),
            (Peer::Internet(SocketAddr::V6(peer)), None) => Line::V6(Box::new((peer, listener))),
            _ => Line::Other(Box::new(origin)),
        };
        Self {
            socket,
            line,
            accepted_at,
            traffic: Traffic::default(),
            carry: Seldom::new(),
            sending: None,
            fed_in_turn: 0,
            turn_bytes: 0,
            put_off: 0,
            phase: Phase::Open,
            pause: Pause::None,
            receiving: Receiving::Idle,
            first_burst: FirstBurst::default(),
            is_settled: false,
            has_ended: false,
            is_rearmed: false,
            is_broken: false,
            is_put_off: false,
            is_ending: false,
        }
    }

    /// The other end.
    pub(super) fn peer(&self) -> Peer {
        match &self.line {
            Line::V4(peer, _) => Peer::Internet((*peer).into()),
            Line::V6(line) => Peer::Internet(line.0.into()),
            Line::Other(origin) => origin.peer,
        }
    }

    /// A proxy has named the other end.
    pub(super) fn set_peer(&mut self, peer: Peer) {
        if let Line::Other(origin) = &mut self.line {
            origin.peer = peer;
        }
    }

    /// Index of the listener that it came by.
    pub(super) fn listener(&self) -> u16 {
        match &self.line {
            Line::V4(_, listener) => *listener,
            Line::V6(line) => line.1,
            Line::Other(origin) => origin.listener,
        }
    }

    /// What stands between socket and MQTT.
    #[inline]
    pub(super) fn transport(&mut self) -> Option<&mut Transport> {
        match &mut self.line {
            Line::V4(..) | Line::V6(_) => None,
            Line::Other(origin) => origin.transport.as_deref_mut(),
        }
    }

    /// Whether its transport has something to say: its own bytes, or that nothing follows.
    pub(super) fn has_more_to_say(&mut self) -> bool {
        let (is_flushing, is_broken) = (self.phase == Phase::Flushing, self.is_broken);
        let Some(transport) = self.transport() else { return false };
        !is_broken && (transport.has_output() || (is_flushing && !transport.has_said_farewell()))
    }

    /// The socket.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether the kernel has no operation of it.
    pub(super) fn is_quiet(&self) -> bool {
        self.receiving == Receiving::Idle && self.sending.is_none()
    }

    /// Counts bytes received in a turn.
    pub(super) fn feed(&mut self, turn_number: u32, received: usize) {
        if self.fed_in_turn != turn_number {
            self.fed_in_turn = turn_number;
            self.turn_bytes = 0;
        }
        self.turn_bytes = self.turn_bytes.saturating_add(received as u32);
        if IS_METERED {
            self.traffic.note_received(received);
        }
    }

    /// Whether received bytes must wait: the connection had its part of the turn, or earlier ones wait already.
    pub(super) fn must_wait(&self, turn_number: u32, received: usize, turn_bytes_max: usize) -> bool {
        let is_over = self.fed_in_turn == turn_number && self.turn_bytes as usize >= turn_bytes_max;
        self.put_off > 0 || (is_over && received > 0)
    }

    /// Whether more bytes are wanted from the kernel.
    pub(super) fn wants_bytes(&self) -> bool {
        match self.phase {
            Phase::Open => self.pause == Pause::None && !self.has_ended,
            Phase::Flushing | Phase::Lingering => !self.has_ended,
            Phase::Leaving | Phase::Dead => false,
        }
    }

    /// The socket, where it comes from, and the unread bytes, for another shard.
    pub(super) fn into_parts(mut self) -> (OwnedFd, Origin, Vec<u8>) {
        debug_assert!(self.is_quiet(), "nothing moves while in flight");
        let (peer, listener) = (self.peer(), self.listener());
        let unread = if self.carry.is_empty() { Vec::new() } else { std::mem::take(&mut *self.carry).into_bytes() };
        let origin = match self.line {
            Line::Other(origin) => *origin,
            Line::V4(..) | Line::V6(_) => Origin { peer, listener, transport: None },
        };
        (self.socket, origin, unread)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::shard::Splice;

    fn flush(splices: usize) -> Flush {
        let payload = Bytes::from_static(b"PAYLOAD");
        let splices = (0..splices).map(|at| Splice { at: at * 2, payload: payload.clone() }).collect();
        Flush { bytes: vec![b'h'; 4000], splices }
    }

    #[test]
    fn what_a_connection_has_carried_is_counted_beyond_four_gigabytes() {
        let mut traffic = Traffic::default();
        for _ in 0..5 {
            traffic.note_received(1 << 31);
            traffic.note_sent(3 << 30);
        }
        assert_eq!((traffic.bytes_received(), traffic.bytes_sent()), (5 << 31, 15 << 30));
        assert_eq!(size_of::<Traffic>(), 16);
    }

    fn pointed_to(pieces: &Pieces) -> Vec<u8> {
        let mut bytes = Vec::new();
        for vector in &pieces.vectors {
            // SAFETY: the flush that the vectors point into lives on in the test below.
            bytes.extend(unsafe { std::slice::from_raw_parts(vector.iov_base.cast::<u8>(), vector.iov_len) });
        }
        bytes
    }

    #[test]
    fn a_short_send_of_pieces_goes_on_where_it_stopped() {
        let flush = flush(3);
        let all = flush.pieces().collect::<Vec<_>>().concat();
        let mut pieces = Pieces::default();
        for sent in [0, 1, 6, 7, 8, 15, 16, 17, 1000, all.len() - 1] {
            pieces.point_to(&flush, sent);
            assert_eq!(pointed_to(&pieces), all[sent..], "from {sent}");
        }
    }

    #[test]
    fn more_pieces_than_one_send_takes_are_sent_in_turns() {
        let flush = flush(1500);
        let all = flush.pieces().collect::<Vec<_>>().concat();
        let mut pieces = Pieces::default();
        let mut sent = Vec::new();
        while sent.len() < all.len() {
            pieces.point_to(&flush, sent.len());
            assert!(pieces.vectors.len() <= PIECES_MAX);
            sent.extend(pointed_to(&pieces));
        }
        assert_eq!(sent, all);
    }
}
