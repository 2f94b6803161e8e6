//! Peer: the other end of a connection, as lines of the log name it, and what else its listener gave it.
//!
//! Duty: a value. Must not: look anything up. Neighbours: `accepting` makes it, `connection` keeps it small, `report` writes it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::transport::Transport;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// By TCP. Behind a proxy it is the client, not the proxy.
    Internet(SocketAddr),
    /// By a Unix socket.
    Unix {
        /// The process.
        pid: i32,
        /// Its user.
        uid: u32,
    },
}

impl Peer {
    /// Its address, if it has one.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Internet(address) => Some(address.ip()),
            Self::Unix { .. } => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internet(address) => address.fmt(formatter),
            Self::Unix { pid, uid } => write!(formatter, "unix socket (pid {pid}, uid {uid})"),
        }
    }
}

/// Where a connection comes from.
#[derive(Debug)]
pub(super) struct Origin {
    /// The other end.
    pub(super) peer: Peer,
    /// Index of the listener that it came by.
    pub(super) listener: u16,
    /// What stands between socket and MQTT, if anything does.
    pub(super) transport: Option<Box<Transport>>,
}

#[cfg(test)]
impl Origin {
    /// Plain TCP.
    pub(super) fn plain(peer: SocketAddr, listener: u16) -> Self {
        Self { peer: Peer::Internet(peer), listener, transport: None }
    }
}
