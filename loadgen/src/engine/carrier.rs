//! What lies between a socket and MQTT where it is not nothing: TLS, WebSocket, or one in the other.
//! Must not know MQTT. Neighbours: `way` makes it, `link` owns it and hands it the socket; `frames` below.

use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};

use rustls::ClientConnection;

use super::frames::Frames;
use super::outcome::Agreed;

/// Most records taken from the socket at once, bytes. A connection touches as much of it as it receives.
const RAW_BYTES: usize = 64 * 1024;

/// The layers of one connection.
#[derive(Debug)]
pub(super) struct Carrier {
    tls: Option<Tls>,
    frames: Option<Frames>,
    /// Frames on their way into TLS; empty between calls.
    plain: Vec<u8>,
    /// Bytes for the socket; the first `sent` of them have left.
    wire: Vec<u8>,
    sent: usize,
}

/// TLS, and what came for it.
#[derive(Debug)]
pub(super) struct Tls {
    connection: ClientConnection,
    raw: Vec<u8>,
    /// The part of `raw` that was not taken yet.
    from: usize,
    to: usize,
    /// Where the first connection says what was agreed on.
    agreed: Arc<OnceLock<Agreed>>,
    is_open: bool,
}

impl Carrier {
    /// Layers on which nothing was said.
    pub(super) fn new(tls: Option<Tls>, frames: Option<Frames>) -> Self {
        Self { tls, frames, plain: Vec::new(), wire: Vec::new(), sent: 0 }
    }

    /// Receives MQTT's bytes until `room` is full or the socket is empty; 0 is the end of the connection.
    ///
    /// Errors: those of the socket, and `InvalidData` where the broker speaks otherwise or is not to be trusted.
    pub(super) fn receive(&mut self, stream: &mut impl Read, room: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        // The socket gave less than it was asked for, so it is empty; but its end would still be to be read.
        let mut is_dry = false;
        while filled < room.len() && !self.frames.as_ref().is_some_and(Frames::is_closed) {
            is_dry &= filled > 0;
            let free = &mut room[filled..];
            let read = match &mut self.tls {
                Some(tls) => tls.receive(stream, free, &mut is_dry),
                None if is_dry => break,
                None => read(stream, free, &mut is_dry),
            };
            filled += match (read, &mut self.frames) {
                (Ok(fresh), Some(frames)) if fresh > 0 => frames.strip(&mut free[..fresh])?,
                (Ok(fresh), None) if fresh > 0 => fresh,
                (Err(error), _) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
                // What ends the connection is seen again by whoever comes for more.
                (Ok(_) | Err(_), _) if filled > 0 => break,
                (read, _) => return read,
            };
        }
        Ok(filled)
    }

    /// Bytes that have not left, besides MQTT's.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.wire.len() - self.sent
    }

    /// Sends what there is to send until all has left or the socket takes no more; takes all of `mqtt` at once, when all that
    /// was taken before has left.
    pub(super) fn flush(&mut self, stream: &mut impl Write, mqtt: &mut Vec<u8>) -> io::Result<()> {
        while self.drain(stream)? {
            self.put(mqtt);
            if self.wire.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Fills `wire`, which is empty.
    fn put(&mut self, mqtt: &mut Vec<u8>) {
        if self.tls.as_ref().is_none_or(Tls::is_open) {
            match &mut self.frames {
                Some(frames) => frames.put(mqtt, &mut self.plain),
                None => std::mem::swap(mqtt, &mut self.plain),
            }
        }
        match &mut self.tls {
            Some(tls) => tls.seal(&mut self.plain, &mut self.wire),
            None => std::mem::swap(&mut self.plain, &mut self.wire),
        }
    }

    /// True when all has left.
    fn drain(&mut self, stream: &mut impl Write) -> io::Result<bool> {
        while self.sent < self.wire.len() {
            match stream.write(&self.wire[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => self.sent += sent,
                // A connect that has not finished is no failure either; the writable event comes later.
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => {
                    return Ok(false);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
        self.wire.clear();
        self.sent = 0;
        Ok(true)
    }
}

impl Tls {
    /// A connection on which nothing was said; the first one to agree with the broker notes it in `agreed`.
    pub(super) fn new(mut connection: ClientConnection, agreed: &Arc<OnceLock<Agreed>>) -> Self {
        // Who publishes bounds what is sent at once.
        connection.set_buffer_limit(None);
        Self { connection, raw: vec![0; RAW_BYTES], from: 0, to: 0, agreed: Arc::clone(agreed), is_open: false }
    }

    fn is_open(&self) -> bool {
        self.is_open
    }

    /// Receives plain bytes, at least one; 0 is the end. With `is_dry` only those that are here already.
    fn receive(&mut self, stream: &mut impl Read, room: &mut [u8], is_dry: &mut bool) -> io::Result<usize> {
        let may_stop = *is_dry;
        loop {
            match self.connection.reader().read(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                read => return read,
            }
            if self.from == self.to {
                if may_stop {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                self.to = read(stream, &mut self.raw, is_dry)?;
                self.from = 0;
                if self.to == 0 {
                    return Ok(0);
                }
            }
            let mut rest = &self.raw[self.from..self.to];
            self.connection.read_tls(&mut rest)?;
            self.from = self.to - rest.len();
            let taken = self.connection.process_new_packets();
            taken.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if !self.is_open && !self.connection.is_handshaking() {
                self.is_open = true;
                self.note();
            }
        }
    }

    fn note(&self) {
        let version = self.connection.protocol_version().map(|version| format!("{version:?}"));
        let suite = self.connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        let plain = |text: Option<String>, from, to| text.unwrap_or_default().replace(from, to);
        self.agreed.get_or_init(|| Agreed {
            version: plain(version, "TLSv1_", "1."),
            // The registry calls the suites of 1.3 so.
            cipher: plain(suite, "TLS13_", "TLS_"),
        });
    }

    /// Encrypts `plain` and clears it, behind what the handshake has to say.
    fn seal(&mut self, plain: &mut Vec<u8>, wire: &mut Vec<u8>) {
        // Into memory, without a limit: neither can fail.
        let _ = self.connection.writer().write_all(plain);
        plain.clear();
        while self.connection.wants_write() && self.connection.write_tls(wire).is_ok() {}
    }
}

/// Reads once; `is_dry` tells whether the socket gave less than it was asked for.
fn read(stream: &mut impl Read, room: &mut [u8], is_dry: &mut bool) -> io::Result<usize> {
    loop {
        match stream.read(room) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            read => {
                *is_dry = read.as_ref().is_ok_and(|&fresh| fresh < room.len());
                return read;
            }
        }
    }
}
