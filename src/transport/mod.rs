//! Transport: what may stand between a socket and MQTT: a PROXY header, TLS, a WebSocket.
//!
//! Duty: bytes of the socket into bytes of MQTT and back, as a state machine per connection, moved from shard to shard like any
//! value. Must not: touch a socket, a clock or the shard, or know MQTT packets. Neighbours: `runtime` feeds it and sends what it
//! makes; connections of plain MQTT have none.
//!
//! - `gate`: which addresses may come by a listener.
//! - `proxy`: the header by which a proxy names the client.
//! - `tls`, `certificate`, `identity`: rustls, its configuration, and who the client is by its certificate.
//! - `websocket`, `upgrade`, `frames`: the WebSocket.

mod certificate;
mod frames;
mod gate;
mod identity;
mod proxy;
mod tls;
mod upgrade;
mod websocket;

use std::borrow::Cow;
use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::ServerConfig;

pub(crate) use self::certificate::{TlsError, web_server_tls};
pub(crate) use self::gate::{Gate, Refusal};
use self::proxy::{ClientTls, Named};
use self::tls::Tls;
use self::websocket::WebSocket;
use crate::config::{Identity, Listener, ProxiedTls, Transport as Spoken};
use crate::limits::Limits;

/// What stands between socket and MQTT on every connection of a listener.
#[derive(Debug)]
pub(crate) struct Setup {
    gate: Arc<Gate>,
    proxy: Option<u8>,
    proxied_tls: ProxiedTls,
    tls: Option<(Arc<ServerConfig>, Identity)>,
    web: Option<Arc<Web>>,
}

/// What is asked of who opens a WebSocket.
#[derive(Debug)]
struct Web {
    /// Of the pages that may; empty for all.
    origins: Vec<String>,
    upgrade_bytes_max: usize,
    message_bytes_max: usize,
}

/// Why a connection carries no more bytes of MQTT.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client ended TLS or the WebSocket in order.
    Closed,
    /// It broke their rules. For the log.
    Fault(Cow<'static, str>),
    /// Whom the PROXY header names may not come by this listener.
    Refused(Refusal),
}

/// What came of received bytes, besides bytes of MQTT.
#[derive(Debug, Default)]
pub(crate) struct Arrival {
    /// The client's address, when a proxy has named it just now.
    pub(crate) client: Option<SocketAddr>,
    /// Whether the client has proved just now who it is; see [`Transport::user`].
    pub(crate) is_certified: bool,
    /// Set if nothing follows the bytes of MQTT that came.
    pub(crate) end: Option<End>,
}

/// What stands between socket and MQTT on one connection.
#[derive(Debug)]
pub(crate) struct Transport {
    /// The PROXY header that has yet to come.
    header: Option<Box<Header>>,
    tls: Option<Box<Tls>>,
    web: Option<Box<WebSocket>>,
    identity: Identity,
    user: Option<Box<str>>,
    /// Received bytes that wait for their part of a turn.
    waiting: Vec<u8>,
    is_over: bool,
    has_said_farewell: bool,
}

/// A PROXY header that has yet to come.
#[derive(Debug)]
struct Header {
    version: u8,
    /// What has come of it.
    bytes: Vec<u8>,
    /// Where the proxy is; `None` by a Unix socket.
    proxy: Option<IpAddr>,
    gate: Arc<Gate>,
    asked: ProxiedTls,
}

impl Setup {
    /// What a listener asks for, its files read.
    ///
    /// # Errors
    /// A file of its TLS cannot be used.
    pub(crate) fn of(listener: &Listener, limits: &Limits) -> Result<Self, TlsError> {
        let web = match &listener.transport {
            Spoken::Mqtt => None,
            Spoken::WebSocket { origins } => Some(Arc::new(Web {
                origins: origins.clone(),
                upgrade_bytes_max: limits.upgrade_bytes_max,
                message_bytes_max: limits.websocket_message_bytes_max,
            })),
        };
        let tls = match &listener.tls {
            None => None,
            Some(tls) => Some((certificate::load(tls, web.is_some())?, tls.identity)),
        };
        let gate = Arc::new(Gate::of(listener));
        Ok(Self { gate, proxy: listener.proxy_protocol, proxied_tls: listener.proxied_tls, tls, web })
    }

    /// Whether a PROXY header names the client.
    pub(crate) fn is_proxied(&self) -> bool {
        self.proxy.is_some()
    }

    /// Which addresses may come.
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The start of a connection from `address`, which a Unix socket does not have; `None` if nothing stands between.
    pub(crate) fn begin(&self, address: Option<IpAddr>) -> Option<Box<Transport>> {
        if self.proxy.is_none() && self.tls.is_none() && self.web.is_none() {
            return None;
        }
        let tls = self.tls.as_ref().and_then(|(config, _)| Tls::new(Arc::clone(config)));
        Some(Box::new(Transport {
            header: self.proxy.map(|version| {
                let gate = Arc::clone(&self.gate);
                Box::new(Header { version, bytes: Vec::new(), proxy: address, gate, asked: self.proxied_tls })
            }),
            is_over: self.tls.is_some() && tls.is_none(),
            tls: tls.map(Box::new),
            web: self.web.as_ref().map(|web| Box::new(WebSocket::new(Arc::clone(web)))),
            identity: self.tls.as_ref().map_or(Identity::None, |(_, identity)| *identity),
            user: None,
            waiting: Vec::new(),
            has_said_farewell: false,
        }))
    }
}

impl Transport {
    /// Whether the next bytes may cost as much as thousands of messages: keys are being agreed on.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Keeps received bytes until their part of a turn comes.
    pub(crate) fn put_off(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// What was put off.
    pub(crate) fn take_waiting(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.waiting)
    }

    /// Takes what came from the socket; MQTT's bytes go behind `plain`.
    pub(crate) fn receive(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Arrival {
        let mut arrival = Arrival::default();
        if !self.is_over
            && let Err(end) = self.receive_layers(bytes, plain, &mut arrival)
        {
            self.is_over = true;
            arrival.end = Some(end);
        }
        arrival
    }

    fn receive_layers(&mut self, bytes: &[u8], plain: &mut Vec<u8>, arrival: &mut Arrival) -> Result<(), End> {
        let Some(header) = &mut self.header else { return self.receive_inner(bytes, plain, arrival) };
        header.bytes.extend_from_slice(bytes);
        let named = proxy::read(header.version, &header.bytes).map_err(|why| End::Fault(why.into()))?;
        let Some(Named { len, client, tls }) = named else { return Ok(()) };
        arrival.client = client;
        // Where the header names nobody, the proxy speaks for itself.
        header.gate.of_client(client.map(|client| client.ip()).or(header.proxy)).map_err(End::Refused)?;
        check_proxied(header.asked, tls.as_ref())?;
        if let Some(name) = tls.and_then(|tls| tls.common_name).filter(|_| header.asked.names_user) {
            self.user = Some(name);
            arrival.is_certified = true;
        }
        let rest = header.bytes.split_off(len);
        self.header = None;
        self.receive_inner(&rest, plain, arrival)
    }

    fn receive_inner(&mut self, bytes: &[u8], plain: &mut Vec<u8>, arrival: &mut Arrival) -> Result<(), End> {
        let Some(tls) = &mut self.tls else { return receive_web(self.web.as_deref_mut(), bytes, plain) };
        let was_handshaking = tls.is_handshaking();
        let Some(web) = &mut self.web else {
            let received = tls.receive(bytes, plain);
            self.note_user(was_handshaking, arrival);
            return received;
        };
        let mut inner = Vec::new();
        let received = tls.receive(bytes, &mut inner);
        let web_received = web.receive(&inner, plain);
        self.note_user(was_handshaking, arrival);
        web_received.and(received)
    }

    fn note_user(&mut self, was_handshaking: bool, arrival: &mut Arrival) {
        if was_handshaking && let Some(tls) = self.tls.as_ref().filter(|tls| !tls.is_handshaking()) {
            self.user = tls.user(self.identity);
            arrival.is_certified = self.user.is_some();
        }
    }

    /// The user that the client's certificate names.
    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Whether nothing more comes of it.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether the client was told that nothing follows.
    pub(crate) fn has_said_farewell(&self) -> bool {
        self.has_said_farewell
    }

    /// Whether something of its own is to be sent.
    pub(crate) fn has_output(&self) -> bool {
        self.web.as_ref().is_some_and(|web| web.has_output()) || self.tls.as_ref().is_some_and(|tls| tls.has_output())
    }

    /// Puts what the socket is to send for `pieces` of MQTT, and for the transport itself, behind `wire`. `is_last`: nothing
    /// follows, and the client is told so.
    pub(crate) fn seal(&mut self, pieces: &[&[u8]], is_last: bool, wire: &mut Vec<u8>) {
        self.has_said_farewell |= is_last;
        let (mut before, mut after, mut may_send) = (Vec::new(), Vec::new(), true);
        if let Some(web) = &mut self.web {
            may_send = web.put_before(pieces.iter().map(|piece| piece.len()).sum(), &mut before);
            if is_last {
                web.put_farewell(&mut after);
            }
        }
        let pieces = if may_send { pieces } else { &[] };
        let Some(tls) = &mut self.tls else {
            wire.extend_from_slice(&before);
            pieces.iter().for_each(|piece| wire.extend_from_slice(piece));
            wire.extend_from_slice(&after);
            return;
        };
        let mut all: Vec<IoSlice<'_>> = Vec::with_capacity(pieces.len() + 2);
        all.push(IoSlice::new(&before));
        all.extend(pieces.iter().map(|piece| IoSlice::new(piece)));
        all.push(IoSlice::new(&after));
        tls.seal(&mut all, is_last, wire);
    }
}

/// Whether the client came to the proxy as is asked.
fn check_proxied(asked: ProxiedTls, tls: Option<&ClientTls>) -> Result<(), End> {
    if asked.is_required && tls.is_none() {
        return Err(End::Fault("the client did not come to the proxy by TLS".into()));
    }
    if asked.requires_certificate && !tls.is_some_and(|tls| tls.is_verified) {
        return Err(End::Fault("the client has no certificate that the proxy has verified".into()));
    }
    Ok(())
}

fn receive_web(web: Option<&mut WebSocket>, bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), End> {
    match web {
        Some(web) => web.receive(bytes, plain),
        None => {
            plain.extend_from_slice(bytes);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
