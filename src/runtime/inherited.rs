//! Inherited: sockets that somebody else has bound for us (LISTEN_FDS of systemd).
//!
//! Duty: take them from the environment, give each to the listener with its address. Must not: bind. Neighbours: `listener` asks
//! before it binds.
//!
//! They are one socket for all shards, as Unix sockets are: the kernel wakes one of those that accept on it.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use socket2::{SockAddr, Socket};

use super::failure::Failure;
use crate::config::ListenAddress;

/// Sockets that no listener has taken.
#[derive(Debug, Default)]
pub(super) struct Inherited(Vec<(ListenAddress, Socket)>);

impl Inherited {
    /// Takes what the starter of this process has left for it. To be called once.
    ///
    /// # Errors
    /// What it has left is no socket that listens.
    pub(super) fn of_process() -> Result<Self, Failure> {
        let wrong = |error: io::Error| Failure::usage(format!("LISTEN_FDS: {error}; sockets that listen are wanted"));
        let mut sockets = Vec::new();
        for descriptor in sd_notify::listen_fds().map_err(wrong)? {
            // SAFETY: the starter says that these are for this process; nobody else here knows them, as this is called once.
            let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
            if !socket.is_listener().map_err(wrong)? {
                return Err(wrong(io::ErrorKind::InvalidInput.into()));
            }
            let address = socket.local_addr().ok().and_then(|address| address_of(&address));
            // Accepting waits in the ring, which a socket that never waits would refuse.
            socket.set_nonblocking(false).map_err(wrong)?;
            sockets.push((address.ok_or_else(|| wrong(io::ErrorKind::Unsupported.into()))?, socket));
        }
        Ok(Self(sockets))
    }

    /// The socket of an address, once for each of `shards` shards, if it is here.
    pub(super) fn take(&mut self, wanted: &ListenAddress, shards: usize) -> Option<io::Result<Vec<OwnedFd>>> {
        let place = self.0.iter().position(|(address, _)| address == wanted)?;
        let (address, socket) = self.0.remove(place);
        let clones = (1..shards).map(|_| socket.try_clone().map(OwnedFd::from)).collect::<io::Result<Vec<_>>>();
        Some(clones.and_then(|mut sockets| {
            if matches!(address, ListenAddress::Tcp(_)) {
                socket.set_tcp_nodelay(true)?;
            }
            sockets.push(socket.into());
            Ok(sockets)
        }))
    }

    /// The addresses that nobody has taken.
    pub(super) fn left(&self) -> impl Iterator<Item = &ListenAddress> {
        self.0.iter().map(|(address, _)| address)
    }
}

fn address_of(address: &SockAddr) -> Option<ListenAddress> {
    let path = || address.as_pathname().map(|path| ListenAddress::Unix(path.to_owned()));
    address.as_socket().map(ListenAddress::Tcp).or_else(path)
}
