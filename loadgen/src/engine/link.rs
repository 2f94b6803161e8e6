//! One non-blocking socket: bytes in, bytes out, and what waits on either side.
//! Must not know MQTT beyond the length of a packet. Neighbours: `client` owns it, `worker` drives it, `carrier` is between it and
//! the socket where there is TLS or WebSocket.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;

use super::carrier::Carrier;
use crate::wire;

/// From this size on, the beginning of a packet stays where it is and the rest is received behind it: to copy it into the
/// receive buffer and back with every receive would cost more than a large packet itself.
const ASSEMBLY_BYTES_MIN: usize = 16 * 1024;

/// A socket with its unread and unsent rest.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) stream: TcpStream,
    /// Nothing where MQTT's bytes are those of the socket.
    carrier: Option<Box<Carrier>>,
    /// The beginning of a packet whose end has not arrived: the first `held` bytes.
    partial: Vec<u8>,
    held: usize,
    /// Bytes of that packet, when the rest is received in place; 0 when it is not.
    whole: usize,
    /// Bytes to send; the first `sent` of them have left.
    pub(super) unsent: Vec<u8>,
    sent: usize,
}

impl Link {
    /// Starts to connect.
    ///
    /// Errors: no descriptor or no local port is left, or the network is unreachable.
    pub(super) fn dial(address: SocketAddr, carrier: Option<Box<Carrier>>) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, carrier, partial: Vec::new(), held: 0, whole: 0, unsent: Vec::new(), sent: 0 })
    }

    /// Receives once into `room`, behind what was kept before; gives how much of `room` is filled and how much is new.
    #[inline]
    pub(super) fn receive(&mut self, room: &mut [u8]) -> io::Result<(usize, usize)> {
        let held = self.held;
        room[..held].copy_from_slice(&self.partial[..held]);
        let room = &mut room[held..];
        let fresh = match &mut self.carrier {
            None => self.stream.read(room)?,
            Some(carrier) => carrier.receive(&mut self.stream, room)?,
        };
        self.held = 0;
        Ok((held + fresh, fresh))
    }

    /// Keeps the beginning of a packet, of at most `bytes_max` in all, for the next [`receive`](Self::receive) or
    /// [`assemble`](Self::assemble).
    #[inline]
    pub(super) fn keep(&mut self, beginning: &[u8], bytes_max: usize) {
        if beginning.is_empty() {
            return;
        }
        self.held = beginning.len();
        self.whole = 0;
        if self.held >= ASSEMBLY_BYTES_MIN {
            self.whole = wire::packet_bytes(beginning).filter(|&bytes| bytes <= bytes_max).unwrap_or(0);
        }
        // The buffer only grows, so a large packet does not clear it each time.
        let needed = self.held.max(self.whole);
        if self.partial.len() < needed {
            self.partial.resize(needed, 0);
        }
        self.partial[..self.held].copy_from_slice(beginning);
    }

    /// The rest of a large packet is being received in place.
    #[inline]
    pub(super) fn assembles(&self) -> bool {
        self.whole > 0
    }

    /// Receives once, no further than the end of the packet; gives how much is new and how much is missing.
    pub(super) fn assemble(&mut self) -> io::Result<(usize, usize)> {
        let room = &mut self.partial[self.held..self.whole];
        let fresh = match &mut self.carrier {
            None => self.stream.read(room)?,
            Some(carrier) => carrier.receive(&mut self.stream, room)?,
        };
        self.held += fresh;
        Ok((fresh, self.whole - self.held))
    }

    /// Lends the buffer whose front is the assembled packet of the size that comes with it.
    pub(super) fn lend(&mut self) -> (Vec<u8>, usize) {
        self.held = 0;
        (std::mem::take(&mut self.partial), std::mem::take(&mut self.whole))
    }

    /// Takes the buffer back.
    pub(super) fn take_back(&mut self, buffer: Vec<u8>) {
        self.partial = buffer;
    }

    /// Bytes that have not left.
    #[inline]
    pub(super) fn unsent_bytes(&self) -> usize {
        self.unsent.len() - self.sent + self.carrier.as_ref().map_or(0, |carrier| carrier.unsent_bytes())
    }

    /// Sends until all has left or the socket takes no more.
    #[inline]
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if let Some(carrier) = &mut self.carrier {
            return carrier.flush(&mut self.stream, &mut self.unsent);
        }
        while self.sent < self.unsent.len() {
            match self.stream.write(&self.unsent[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // A connect that has not finished is no failure either; the writable event comes later.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
        self.unsent.clear();
        self.sent = 0;
        Ok(())
    }
}
