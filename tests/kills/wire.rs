//! The few packets of MQTT 3.1.1 and 5.0 that the clients of this test need, over a blocking socket with large buffers.
//!
//! Duty: make and take packets fast. Must not: keep what a session has. Neighbours: `publisher`, `subscriber`, `churn`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a read waits before its caller looks whether it is over.
const READ_WAIT: Duration = Duration::from_millis(100);

/// Bytes that are taken from the socket at once.
const READ_BYTES: usize = 256 * 1024;

/// How long a broker may take until it lets a client in.
const CONNECT_WAIT: Duration = Duration::from_secs(60);

/// MQTT 5.0 needs some bytes that 3.1.1 has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V311 = 4,
    V5 = 5,
}

impl Version {
    pub(crate) fn is_5(self) -> bool {
        self == Self::V5
    }
}

/// A packet as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) first: u8,
    pub(crate) body: &'a [u8],
}

impl Packet<'_> {
    pub(crate) fn kind(self) -> u8 {
        self.first >> 4
    }

    /// The packet id that it begins with: of all but PUBLISH.
    pub(crate) fn id(self) -> u16 {
        u16::from_be_bytes([self.body[0], self.body[1]])
    }

    /// The reason code of an acknowledgement; 0 if there is none.
    pub(crate) fn reason(self) -> u8 {
        self.body.get(2).copied().unwrap_or(0)
    }
}

/// A PUBLISH taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publish<'a> {
    pub(crate) qos: u8,
    pub(crate) topic: &'a [u8],
    pub(crate) id: u16,
    pub(crate) payload: &'a [u8],
}

impl<'a> Publish<'a> {
    pub(crate) fn of(packet: Packet<'a>, version: Version) -> Self {
        let qos = packet.first >> 1 & 3;
        let topic_end = 2 + usize::from(packet.id());
        let (topic, mut rest) = (&packet.body[2..topic_end], &packet.body[topic_end..]);
        let mut id = 0;
        if qos > 0 {
            id = u16::from_be_bytes([rest[0], rest[1]]);
            rest = &rest[2..];
        }
        if version.is_5() {
            let (bytes, from) = length(rest).expect("properties have a length");
            rest = &rest[from + bytes..];
        }
        Self { qos, topic, id, payload: rest }
    }
}

/// A variable byte integer, and how many bytes it has.
fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 127) << (7 * at);
        if byte & 128 == 0 {
            return Some((value, at + 1));
        }
    }
    None
}

pub(crate) fn put_packet(first: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    put_length(body.len(), out);
    out.extend_from_slice(body);
}

fn put_length(mut bytes: usize, out: &mut Vec<u8>) {
    while bytes > 127 {
        out.push(bytes as u8 & 127 | 128);
        bytes >>= 7;
    }
    out.push(bytes as u8);
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
pub(crate) fn put_ack(first: u8, id: u16, out: &mut Vec<u8>) {
    let [high, low] = id.to_be_bytes();
    out.extend_from_slice(&[first, 2, high, low]);
}

/// PUBLISH; `first` has QoS, DUP and RETAIN. Packet id 0 is none.
pub(crate) fn put_publish(first: u8, version: Version, topic: &[u8], id: u16, payload: &[u8], out: &mut Vec<u8>) {
    let rest = if id > 0 { 2 } else { 0 } + usize::from(version.is_5());
    out.push(0x30 | first);
    put_length(2 + topic.len() + rest + payload.len(), out);
    out.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    out.extend_from_slice(topic);
    if id > 0 {
        out.extend_from_slice(&id.to_be_bytes());
    }
    if version.is_5() {
        out.push(0);
    }
    out.extend_from_slice(payload);
}

/// SUBSCRIBE with one QoS for all filters, or UNSUBSCRIBE (`qos` is `None`).
pub(crate) fn put_filters(version: Version, id: u16, filters: &[String], qos: Option<u8>, out: &mut Vec<u8>) {
    let mut body = id.to_be_bytes().to_vec();
    if version.is_5() {
        body.push(0);
    }
    for filter in filters {
        body.extend_from_slice(&(filter.len() as u16).to_be_bytes());
        body.extend_from_slice(filter.as_bytes());
        body.extend(qos);
    }
    put_packet(if qos.is_some() { 0x82 } else { 0xa2 }, &body, out);
}

/// A connected client.
pub(crate) struct Link {
    stream: TcpStream,
    inbox: Vec<u8>,
    /// Bytes of the inbox that are there and not taken.
    from: usize,
    to: usize,
    /// Whether packets may be there that nobody was shown.
    has_rest: bool,
    /// What goes out with the next [`Link::flush`].
    pub(crate) out: Vec<u8>,
}

impl Link {
    /// Connects; also says whether the session was there. Tries again while the broker does not listen yet.
    pub(crate) fn open(address: SocketAddr, id: &str, version: Version, is_clean: bool) -> io::Result<(Self, bool)> {
        let stream = dial(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_WAIT))?;
        let mut link =
            Self { stream, inbox: vec![0; 2 * READ_BYTES], from: 0, to: 0, has_rest: false, out: Vec::new() };
        let mut body = b"\0\x04MQTT".to_vec();
        body.extend_from_slice(&[version as u8, if is_clean { 2 } else { 0 }, 0, 0]);
        if version.is_5() {
            // Session Expiry Interval: for ever, if it is to be kept.
            let expiry = if is_clean { 0_u32 } else { u32::MAX };
            body.extend_from_slice(&[5, 0x11]);
            body.extend_from_slice(&expiry.to_be_bytes());
        }
        body.extend_from_slice(&(id.len() as u16).to_be_bytes());
        body.extend_from_slice(id.as_bytes());
        let mut out = Vec::new();
        put_packet(0x10, &body, &mut out);
        link.out = out;
        link.flush()?;
        let until = Instant::now() + CONNECT_WAIT;
        let (mut is_present, mut code) = (false, None);
        while code.is_none() {
            if !link.read()? && Instant::now() > until {
                return Err(io::Error::other(format!("{id}: no CONNACK")));
            }
            link.take_one(|_, packet| {
                assert_eq!(packet.kind(), 2, "{id}: {packet:?}");
                (is_present, code) = (packet.body[0] == 1, Some(packet.body[1]));
            });
        }
        assert_eq!(code, Some(0), "{id}: CONNECT is refused");
        // With CONNACK may have come what the session was owed.
        link.has_rest = true;
        Ok((link, is_present))
    }

    /// Sends what is in `out`.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let result = self.stream.write_all(&self.out);
        self.out.clear();
        result
    }

    /// Waits a little for bytes. Whether some came; the end of the connection is an error.
    pub(crate) fn read(&mut self) -> io::Result<bool> {
        if std::mem::take(&mut self.has_rest) {
            return Ok(true);
        }
        if self.from > 0 {
            self.inbox.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        let end = (self.to + READ_BYTES).min(self.inbox.len());
        match self.stream.read(&mut self.inbox[self.to..end]) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => {
                self.to += bytes;
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Shows each whole packet that is there, with what goes out.
    pub(crate) fn take(&mut self, mut each: impl FnMut(&mut Vec<u8>, Packet<'_>)) {
        while self.take_one(&mut each) {}
    }

    fn take_one(&mut self, mut each: impl FnMut(&mut Vec<u8>, Packet<'_>)) -> bool {
        let bytes = &self.inbox[self.from..self.to];
        let Some((body, head)) = bytes.get(1..).and_then(length) else { return false };
        let Some(whole) = bytes.get(1 + head..1 + head + body) else { return false };
        each(&mut self.out, Packet { first: bytes[0], body: whole });
        self.from += 1 + head + body;
        true
    }
}

fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let until = Instant::now() + CONNECT_WAIT;
    loop {
        match TcpStream::connect(address) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(2));
            }
            result => return result,
        }
    }
}
