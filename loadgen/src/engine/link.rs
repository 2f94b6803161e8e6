//! One non-blocking socket: bytes in, bytes out, and what waits on either side.
//! Must not know MQTT. Neighbours: `client` owns it, `worker` drives it.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;

/// A socket with its unread and unsent rest.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) stream: TcpStream,
    /// The beginning of a packet whose end has not arrived.
    partial: Vec<u8>,
    /// Bytes to send; the first `sent` of them have left.
    pub(super) unsent: Vec<u8>,
    sent: usize,
}

impl Link {
    /// Starts to connect.
    ///
    /// Errors: no descriptor or no local port is left, or the network is unreachable.
    pub(super) fn dial(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, partial: Vec::new(), unsent: Vec::new(), sent: 0 })
    }

    /// Receives once into `room`, behind what was kept before; gives how much of `room` is filled and how much is new.
    #[inline]
    pub(super) fn receive(&mut self, room: &mut [u8]) -> io::Result<(usize, usize)> {
        let held = self.partial.len();
        room[..held].copy_from_slice(&self.partial);
        let fresh = self.stream.read(&mut room[held..])?;
        self.partial.clear();
        Ok((held + fresh, fresh))
    }

    /// Keeps the beginning of a packet for the next [`receive`](Self::receive).
    #[inline]
    pub(super) fn keep(&mut self, partial: &[u8]) {
        self.partial.extend_from_slice(partial);
    }

    /// Bytes that have not left.
    #[inline]
    pub(super) fn unsent_bytes(&self) -> usize {
        self.unsent.len() - self.sent
    }

    /// Sends until all has left or the socket takes no more.
    #[inline]
    pub(super) fn flush(&mut self) -> io::Result<()> {
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
