//! One connection of a staged run: a socket that is polled, and packets handed to the part that plays on it.
//! Must not wait or judge; `Run` does. Neighbours: `link` below, the parts above.

use std::io;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use crate::engine::link::Link;
use crate::engine::score::Score;
use crate::engine::shared::Shared;
use crate::engine::way::Way;
use crate::wire::{self, Packet};

/// Smallest receive buffer, bytes.
const ROOM_BYTES_MIN: usize = 256 * 1024;

/// Longest sleep of one turn; nobody else wakes it, so this only bounds how late impatience is noticed.
const BLOCK: Duration = Duration::from_millis(5);

/// What is done on a connection from one moment to another.
pub(super) trait Part {
    /// Takes a packet and appends what answers it.
    ///
    /// Errors: one sentence, when the broker refuses or breaks the protocol so that the connection is of no more use.
    fn take(&mut self, packet: &Packet<'_>, out: &mut Vec<u8>, score: &mut Score<'_>) -> Result<(), String>;

    /// Appends what may leave unasked; true when there was something.
    fn send(&mut self, _out: &mut Vec<u8>, _score: &mut Score<'_>) -> bool {
        false
    }

    /// Nothing more has to come.
    fn is_done(&self) -> bool;
}

/// See the file's head.
pub(super) struct Line<'s> {
    shared: &'s Shared<'s>,
    poll: Poll,
    events: Events,
    pub(super) link: Link,
    room: Vec<u8>,
    /// The last read filled the buffer, so there is more.
    lively: bool,
    received_bytes: u64,
}

impl<'s> Line<'s> {
    /// Starts to connect.
    ///
    /// Errors: no descriptor or no local port is left, or the network is unreachable.
    pub(super) fn dial(shared: &'s Shared<'s>, way: &Way) -> io::Result<Self> {
        let (poll, mut link) = (Poll::new()?, way.dial()?);
        poll.registry().register(&mut link.stream, Token(0), Interest::READABLE | Interest::WRITABLE)?;
        // A packet's overhead is its topic, at most 64 KiB, and a few bytes; twice that leaves room to read on.
        let packet_bytes_max = shared.plan.scenario.payload_bytes + usize::from(u16::MAX) + 32;
        let room = vec![0; ROOM_BYTES_MIN.max(2 * packet_bytes_max)];
        Ok(Self { shared, poll, events: Events::with_capacity(8), link, room, lively: false, received_bytes: 0 })
    }

    /// A number pair that stays the same for as long as no byte moves.
    pub(super) fn mark(&self) -> (u64, usize) {
        (self.received_bytes, self.link.unsent_bytes())
    }

    /// One poll and all that follows from it; gives the time in which nothing was to do, nanoseconds.
    ///
    /// Errors: one sentence about why the connection is of no more use.
    pub(super) fn turn(&mut self, part: &mut dyn Part, score: &mut Score<'_>) -> Result<u64, String> {
        let begun_ns = self.shared.now_ns();
        let sent = part.send(&mut self.link.unsent, score);
        self.flush()?;
        let asked_ns = self.shared.now_ns();
        let blocks = self.shared.plan.flags.idle && !self.lively && !sent;
        match self.poll.poll(&mut self.events, Some(if blocks { BLOCK } else { Duration::ZERO })) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(format!("cannot be polled: {error}"));
            }
            _ => (),
        }
        let polled_ns = self.shared.now_ns();
        let worked = sent || self.lively || !self.events.is_empty();
        let closed = self.events.iter().any(|event| event.is_read_closed() || event.is_error());
        if self.lively || closed || self.events.iter().any(mio::event::Event::is_readable) {
            self.lively = false;
            self.read(closed, part, score)?;
        }
        self.flush()?;
        Ok(match (worked, blocks) {
            (true, true) => polled_ns - asked_ns,
            (true, false) => 0,
            (false, _) => self.shared.now_ns() - begun_ns,
        })
    }

    /// Reads once; a short read shows that the socket is empty, unless the connection was closed.
    fn read(&mut self, closed: bool, part: &mut dyn Part, score: &mut Score<'_>) -> Result<(), String> {
        let (filled, fresh) = match self.link.receive(&mut self.room) {
            Ok((_, 0)) => return Err("closed the connection".to_owned()),
            Ok(counts) => counts,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.lively = true;
                return Ok(());
            }
            Err(error) => return Err(broken(&error)),
        };
        self.received_bytes += fresh as u64;
        let mut used = 0;
        loop {
            match wire::decode(&self.room[used..filled], self.shared.plan.flags.protocol) {
                Ok(Some((packet, packet_bytes))) => {
                    used += packet_bytes;
                    part.take(&packet, &mut self.link.unsent, score)?;
                }
                Ok(None) => break,
                Err(error) => return Err(format!("sent a malformed packet: {error}")),
            }
        }
        if used == 0 && filled == self.room.len() {
            return Err("sent a packet larger than any that was published".to_owned());
        }
        // Received into the common buffer however large it is: 0 forbids assembling in place.
        self.link.keep(&self.room[used..filled], 0);
        self.lively = closed || filled == self.room.len();
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        self.link.flush().map_err(|error| broken(&error))
    }
}

fn broken(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("does not listen: {error}"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::TimedOut => {
            format!("is not reachable: {error}")
        }
        // TLS or WebSocket: the error says which.
        io::ErrorKind::InvalidData => format!("is not trusted or not understood: {error}"),
        _ => format!("broke the connection: {error}"),
    }
}
