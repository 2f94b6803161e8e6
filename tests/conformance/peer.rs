//! One client at the other end of a line: says packets, expects packets, and hears nothing that it does not expect.
//!
//! Duty: make conversations read as such, with failures that show both sides decoded; hold every packet of every
//! conversation to what the client said at CONNECT (`words`). Must not: answer by itself.
//! Neighbours: `broker` carries the bytes, `packets` names what is said.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ringmq::wire::{self, Connack, Disconnect, Framed, Packet, ProtocolVersion, QoS, ReasonCode, Sender};

use super::broker::World;
use super::packets::{Say, granted, hex, suback, subscribe};
use super::words::{Terms, plain};

/// A client. When it goes out of scope, it must have heard all that was said to it.
pub(crate) struct Peer {
    world: Rc<RefCell<World>>,
    line: usize,
    pub(crate) version: ProtocolVersion,
    terms: Cell<Terms>,
}

impl Peer {
    pub(super) fn new(world: Rc<RefCell<World>>, line: usize, version: ProtocolVersion) -> Self {
        Self { world, line, version, terms: Cell::default() }
    }

    /// Sends a packet.
    #[track_caller]
    pub(crate) fn send(&self, packet: impl Say) {
        self.send_bytes(&packet.bytes(self.version));
    }

    /// Sends bytes.
    pub(crate) fn send_bytes(&self, bytes: &[u8]) {
        if let Some(terms) = Terms::of_connect(bytes) {
            self.terms.set(terms);
        }
        self.world.borrow_mut().send(self.line, bytes);
    }

    /// Sends bytes that the broker gets in pieces, but in one turn.
    pub(crate) fn send_pieces(&self, pieces: &[Vec<u8>]) {
        self.world.borrow_mut().send_pieces(self.line, pieces);
    }

    /// Sends bytes, written in hexadecimal.
    pub(crate) fn send_hex(&self, text: &str) {
        self.send_bytes(&hex(text));
    }

    /// The next packet that comes is this one, byte for byte, but for the words that explain a failure.
    #[track_caller]
    pub(crate) fn expect(&self, packet: impl Say) {
        let expected = packet.bytes(self.version);
        let got = self.take_packet().map(|bytes| plain(&bytes, self.version));
        if got.as_ref() != Some(&expected) {
            let got = got.map_or_else(|| self.silence(), |bytes| self.show(&bytes));
            panic!("expected {}\n     got {got}", self.show(&expected));
        }
    }

    /// The next packets that come are these, in this order.
    #[track_caller]
    pub(crate) fn expect_all(&self, packets: &[&dyn Say]) {
        for packet in packets {
            self.expect(*packet);
        }
    }

    /// The next packet that comes, as bytes.
    #[track_caller]
    pub(crate) fn hear(&self) -> Vec<u8> {
        self.take_packet().unwrap_or_else(|| panic!("expected a packet, got {}", self.silence()))
    }

    /// The next packet that comes, as bytes, without the words that explain a failure.
    #[track_caller]
    pub(crate) fn hear_plain(&self) -> Vec<u8> {
        plain(&self.hear(), self.version)
    }

    /// Whether something has come.
    #[allow(dead_code, reason = "the simulation uses it")]
    pub(crate) fn has_heard(&self) -> bool {
        !self.world.borrow_mut().line(self.line).inbox.is_empty()
    }

    /// The next packet that comes, if there is one, as bytes.
    pub(crate) fn try_hear(&self) -> Option<Vec<u8>> {
        self.take_packet()
    }

    /// All packets that have come; one of which only a part has come is left.
    pub(crate) fn hear_whole(&self) -> Vec<Vec<u8>> {
        let is_whole = || {
            let mut world = self.world.borrow_mut();
            matches!(wire::frame(&world.line(self.line).inbox, u32::MAX), Ok(Framed::Whole(_)))
        };
        std::iter::from_fn(|| if is_whole() { self.take_packet() } else { None }).collect()
    }

    /// The next packet that comes, decoded, given to `look`.
    #[track_caller]
    pub(crate) fn hear_packet<T>(&self, look: impl FnOnce(Packet<'_>) -> T) -> T {
        let bytes = self.hear();
        look(decode(&bytes, self.version).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}")))
    }

    /// CONNACK with what the default limits grant.
    #[track_caller]
    pub(crate) fn expect_admission(&self, session_present: bool) {
        self.hear_packet(|packet| {
            let Packet::Connack(connack) = packet else { panic!("expected CONNACK, got {packet:?}") };
            assert_eq!(connack.reason, ReasonCode::Success);
            assert_eq!(connack.session_present, session_present, "session present");
        });
    }

    /// CONNACK that refuses, and the end of the connection.
    #[track_caller]
    pub(crate) fn expect_refusal(&self, reason: ReasonCode) {
        self.expect(Connack::refusal(reason));
        self.expect_close();
    }

    /// Nothing has come, and the connection stands.
    #[track_caller]
    pub(crate) fn expect_nothing(&self) {
        if let Some(bytes) = self.take_packet() {
            panic!("expected nothing, got {}", self.show(&bytes));
        }
        assert!(self.is_open(), "expected nothing, the connection was closed");
    }

    /// Nothing has come, and the connection is over.
    #[track_caller]
    pub(crate) fn expect_close(&self) {
        if let Some(bytes) = self.take_packet() {
            panic!("expected the end, got {}", self.show(&bytes));
        }
        assert!(!self.is_open(), "expected the end, the connection stands");
    }

    /// DISCONNECT with this reason, where the version has it, and the end of the connection.
    #[track_caller]
    pub(crate) fn expect_disconnect(&self, reason: ReasonCode) {
        if self.version == ProtocolVersion::V5 {
            self.expect(Disconnect::new(reason));
        }
        self.expect_close();
    }

    /// SUBSCRIBE to one filter, which is granted.
    #[track_caller]
    pub(crate) fn subscribe(&self, filter: &str, qos: QoS) {
        self.send(subscribe(9).to(filter, qos));
        self.expect(suback(9, &[qos as u8]));
    }

    /// Says goodbye.
    #[track_caller]
    pub(crate) fn leave(&self) {
        self.send(Disconnect::new(ReasonCode::Success));
        self.expect_close();
    }

    /// Its network fails.
    pub(crate) fn vanish(&self) {
        self.world.borrow_mut().lose(self.line);
    }

    /// Takes nothing from its socket any more.
    pub(crate) fn stop_reading(&self) {
        self.world.borrow_mut().set_reading(self.line, false);
    }

    /// Takes so many bytes from its socket, which it has stopped to read.
    pub(crate) fn read(&self, bytes: usize) {
        self.world.borrow_mut().read(self.line, bytes);
    }

    /// Takes everything from its socket again.
    pub(crate) fn resume_reading(&self) {
        self.world.borrow_mut().set_reading(self.line, true);
    }

    /// Forgets what has come and was not looked at.
    pub(crate) fn ignore_rest(&self) {
        self.world.borrow_mut().line(self.line).inbox.clear();
    }

    /// Whether the connection stands.
    pub(crate) fn is_open(&self) -> bool {
        self.world.borrow_mut().line(self.line).is_open
    }

    /// PINGREQ is answered: the connection is alive.
    #[track_caller]
    pub(crate) fn expect_alive(&self) {
        self.send(Packet::Pingreq);
        self.expect(Packet::Pingresp);
    }

    fn take_packet(&self) -> Option<Vec<u8>> {
        let mut world = self.world.borrow_mut();
        let inbox = &mut world.line(self.line).inbox;
        let len = match wire::frame(inbox, u32::MAX) {
            Ok(Framed::Whole(frame)) => frame.len,
            Ok(Framed::Partial { .. }) if inbox.is_empty() => return None,
            other => panic!("no packet: {other:?}: {inbox:02x?}"),
        };
        let bytes: Vec<u8> = inbox.drain(..len).collect();
        self.terms.get().check(&bytes, self.version);
        Some(bytes)
    }

    fn silence(&self) -> String {
        let end = if self.is_open() { "nothing" } else { "the end of the connection" };
        end.to_owned()
    }

    fn show(&self, bytes: &[u8]) -> String {
        let shown = &bytes[..bytes.len().min(100)];
        match decode(bytes, self.version) {
            Ok(packet) => format!("{packet:?}\n         {shown:02x?}"),
            Err(error) => format!("{error}: {shown:02x?}"),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if let Some(bytes) = self.take_packet() {
            panic!("unheard at the end: {}", self.show(&bytes));
        }
    }
}

/// A packet of the broker.
pub(super) fn decode(bytes: &[u8], version: ProtocolVersion) -> Result<Packet<'_>, wire::WireError> {
    match wire::frame(bytes, u32::MAX)? {
        Framed::Whole(frame) => wire::decode(&frame, version, Sender::Server),
        Framed::Partial { .. } => Err(wire::WireError::malformed("a part of a packet")),
    }
}

/// What the default limits grant to a 5.0 client that asks for nothing.
#[test]
fn a_plain_client_is_told_the_limits_and_nothing_else() {
    super::broker::everywhere(|broker| {
        let ann = broker.dial(ProtocolVersion::V5);
        ann.send(wire::Connect::new(ProtocolVersion::V5, "ann"));
        ann.expect(granted());
    });
}
