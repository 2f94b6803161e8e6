//! Tls: one encrypted connection, as bytes into bytes (rustls).
//!
//! Duty: what came from the socket to plain bytes, what is to be sent to records: one pass for all that is given at once. Must
//! not: touch a socket. Neighbours: `certificate` makes its configuration; `Transport` is above.

use std::io::{IoSlice, Read, Write};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};

use super::End;
use super::identity::user_of;
use crate::config::Identity;

/// One encrypted connection.
#[derive(Debug)]
pub(super) struct Tls {
    connection: ServerConnection,
}

impl Tls {
    /// A connection on which nothing was said; `None` if the library refuses its configuration.
    pub(super) fn new(config: Arc<ServerConfig>) -> Option<Self> {
        let mut connection = ServerConnection::new(config).ok()?;
        // What is given at once is bounded by who gives it.
        connection.set_buffer_limit(None);
        Some(Self { connection })
    }

    /// Whether keys are still being agreed on, which costs more than all that follows.
    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Takes what came; what was encrypted goes behind `plain`, up to the end if there is one.
    pub(super) fn receive(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), End> {
        while !bytes.is_empty() {
            self.connection.read_tls(&mut bytes).map_err(|error| End::Fault(format!("TLS: {error}").into()))?;
            let state = self.connection.process_new_packets();
            let state = state.map_err(|error| End::Fault(format!("TLS: {error}").into()))?;
            let from = plain.len();
            plain.resize(from + state.plaintext_bytes_to_read(), 0);
            if plain.len() > from && self.connection.reader().read_exact(&mut plain[from..]).is_err() {
                debug_assert!(false, "the library has what it says it has");
                plain.truncate(from);
            }
            if state.peer_has_closed() {
                return Err(End::Closed);
            }
        }
        Ok(())
    }

    /// Who the client is by its certificate, once that was checked.
    pub(super) fn user(&self, identity: Identity) -> Option<Box<str>> {
        let certificates = self.connection.peer_certificates()?;
        user_of(certificates.first()?, identity)
    }

    /// Whether something of its own is to be sent.
    pub(super) fn has_output(&self) -> bool {
        self.connection.wants_write()
    }

    /// Encrypts `pieces` as one, with what else is to be sent before and, if it is the last, the end after it, into `wire`.
    pub(super) fn seal(&mut self, mut pieces: &mut [IoSlice<'_>], is_last: bool, wire: &mut Vec<u8>) {
        while pieces.iter().any(|piece| !piece.is_empty()) {
            match self.connection.writer().write_vectored(pieces) {
                Ok(written) if written > 0 => IoSlice::advance_slices(&mut pieces, written),
                // Our side has been ended before.
                Ok(_) | Err(_) => break,
            }
        }
        if is_last {
            self.connection.send_close_notify();
        }
        while self.connection.wants_write() {
            if self.connection.write_tls(wire).is_err() {
                debug_assert!(false, "memory takes everything");
                break;
            }
        }
    }
}
