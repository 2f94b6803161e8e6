//! A broker just large enough to test the generator: routes PUBLISH, acknowledges, and makes one mistake if told so.
//! Must not become a broker: no sessions, no retained messages, no limits. Neighbours: the integration tests, the bench.

#![allow(dead_code, reason = "every program that includes this uses another part of it")]

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use ringmq_loadgen::filter;
use ringmq_loadgen::wire::{self, Ack, AckKind, Connack, Packet, Publish, QoS, Suback, Version};

/// What goes wrong, once, with the delivery of this number counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// It is not sent.
    Drop(u64),
    /// It is sent twice.
    Duplicate(u64),
    /// It is sent after the next one to the same subscriber.
    Swap(u64),
    /// The last byte of its payload is changed.
    Alter(u64),
    /// It is sent with the RETAIN flag.
    Retain(u64),
    /// It goes to every subscriber.
    Stray(u64),
    /// The subscriber's connection is closed instead.
    Close(u64),
    /// The PUBLISH of this number is delivered and never acknowledged.
    Mute(u64),
    /// The PUBLISH of this number is acknowledged with reason 0x97.
    Refuse(u64),
    /// Every CONNECT is refused with this code.
    Unwelcome(u8),
    /// No CONNECT is answered.
    Silent,
}

/// A relay that runs until it is dropped.
pub(crate) struct Relay {
    pub(crate) port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts a relay on a free port of the loopback interface; `first` runs on its thread before anything else.
    pub(crate) fn start(mistake: Option<Mistake>, first: impl FnOnce() + Send + 'static) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            first();
            Server::new(listener, mistake).serve(&stopped);
        });
        Self { port, stop, thread: Some(thread) }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|ended| ended.is_ok()), "the relay panicked");
    }
}

struct Peer {
    stream: TcpStream,
    version: Version,
    partial: Vec<u8>,
    out: Vec<u8>,
    last_id: u16,
    /// A delivery held back by [`Mistake::Swap`].
    held: Vec<u8>,
    closed: bool,
    dirty: bool,
}

struct Subscription {
    peer: usize,
    filter: String,
    qos: QoS,
}

struct Server {
    listener: TcpListener,
    poll: Poll,
    mistake: Option<Mistake>,
    peers: Vec<Peer>,
    subscriptions: Vec<Subscription>,
    /// Who gets a topic: places in `subscriptions`, forgotten when one is added.
    routes: HashMap<Vec<u8>, Vec<usize>>,
    dirty: Vec<usize>,
    published: u64,
    delivered: u64,
}

const LISTENER: Token = Token(usize::MAX - 1);

impl Server {
    fn new(mut listener: TcpListener, mistake: Option<Mistake>) -> Self {
        let poll = Poll::new().expect("an epoll descriptor");
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE).expect("a listener can be polled");
        Self {
            listener,
            poll,
            mistake,
            peers: Vec::new(),
            subscriptions: Vec::new(),
            routes: HashMap::new(),
            dirty: Vec::new(),
            published: 0,
            delivered: 0,
        }
    }

    fn serve(mut self, stop: &AtomicBool) {
        let mut events = Events::with_capacity(1024);
        let mut room = vec![0; 512 * 1024];
        while !stop.load(Relaxed) {
            self.poll.poll(&mut events, Some(Duration::from_millis(5))).expect("epoll works");
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    Token(peer) => {
                        self.read(peer, &mut room);
                        self.mark(peer);
                    }
                }
            }
            for peer in std::mem::take(&mut self.dirty) {
                self.flush(peer);
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            stream.set_nodelay(true).expect("a TCP socket");
            let token = Token(self.peers.len());
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, token, both).expect("a socket can be polled");
            self.peers.push(Peer {
                stream,
                version: Version::V311,
                partial: Vec::new(),
                out: Vec::new(),
                last_id: 0,
                held: Vec::new(),
                closed: false,
                dirty: false,
            });
        }
    }

    fn mark(&mut self, peer: usize) {
        if !self.peers[peer].dirty {
            self.peers[peer].dirty = true;
            self.dirty.push(peer);
        }
    }

    fn flush(&mut self, peer: usize) {
        let peer = &mut self.peers[peer];
        peer.dirty = false;
        let mut sent = 0;
        while !peer.closed && sent < peer.out.len() {
            match peer.stream.write(&peer.out[sent..]) {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => peer.closed = true,
            }
        }
        peer.out.drain(..sent);
    }

    fn read(&mut self, from: usize, room: &mut [u8]) {
        loop {
            let peer = &mut self.peers[from];
            let held = peer.partial.len();
            room[..held].copy_from_slice(&peer.partial);
            let fresh = match peer.stream.read(&mut room[held..]) {
                Ok(fresh) if fresh > 0 && !peer.closed => fresh,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                _ => {
                    peer.closed = true;
                    return;
                }
            };
            peer.partial.clear();
            let filled = held + fresh;
            let mut used = 0;
            loop {
                let version = self.peers[from].version;
                let packet = wire::decode(&room[used..filled], version).expect("the generator sends valid packets");
                let Some((packet, bytes)) = packet else { break };
                used += bytes;
                self.take(from, &packet, version);
            }
            self.peers[from].partial.extend_from_slice(&room[used..filled]);
        }
    }

    fn take(&mut self, from: usize, packet: &Packet<'_>, version: Version) {
        let peer = &mut self.peers[from];
        match packet {
            Packet::Connect(connect) => {
                peer.version = connect.version;
                let reason = match self.mistake {
                    Some(Mistake::Silent) => return,
                    Some(Mistake::Unwelcome(code)) => code,
                    _ => 0,
                };
                let (receive_maximum, maximum_qos) = (100, QoS::ExactlyOnce);
                let connack =
                    Connack { session_present: false, reason, receive_maximum, maximum_qos, packet_bytes_max: None };
                wire::connack(&mut peer.out, &connack, connect.version);
            }
            Packet::Subscribe(subscribe) => {
                let suback = Suback { packet_id: subscribe.packet_id, reason: subscribe.qos.number() };
                wire::suback(&mut peer.out, &suback, version);
                let filter = String::from_utf8(subscribe.filter.to_vec()).expect("the generator's filters are UTF-8");
                self.subscriptions.push(Subscription { peer: from, filter, qos: subscribe.qos });
                self.routes.clear();
            }
            Packet::Publish(publish) => self.publish(from, publish, version),
            Packet::Ack(ack) => answer(&mut peer.out, ack, version),
            Packet::Pingreq => wire::pingresp(&mut peer.out),
            Packet::Disconnect { .. } => (),
            other => panic!("the generator sent {other:?}"),
        }
    }

    fn publish(&mut self, from: usize, publish: &Publish<'_>, version: Version) {
        let number = self.published;
        self.published += 1;
        let reason = if self.mistake == Some(Mistake::Refuse(number)) { 0x97 } else { 0 };
        let kind = if publish.qos == QoS::ExactlyOnce { AckKind::Pubrec } else { AckKind::Puback };
        if publish.qos != QoS::AtMostOnce && self.mistake != Some(Mistake::Mute(number)) {
            wire::ack(&mut self.peers[from].out, &Ack { kind, packet_id: publish.packet_id, reason }, version);
        }
        if reason == 0 {
            self.route(publish);
        }
    }

    fn route(&mut self, publish: &Publish<'_>) {
        if !self.routes.contains_key(publish.topic) {
            let topic = std::str::from_utf8(publish.topic).expect("the generator's topics are UTF-8");
            let matching = |place: &usize| filter::matches(&self.subscriptions[*place].filter, topic);
            let places = (0..self.subscriptions.len()).filter(matching).collect();
            self.routes.insert(publish.topic.to_vec(), places);
        }
        if self.mistake == Some(Mistake::Stray(self.delivered)) {
            self.delivered += 1;
            return (0..self.subscriptions.len()).for_each(|place| self.send(place, publish));
        }
        for at in 0..self.routes[publish.topic].len() {
            let place = self.routes[publish.topic][at];
            self.deliver(place, publish);
        }
    }

    fn deliver(&mut self, place: usize, publish: &Publish<'_>) {
        let number = self.delivered;
        self.delivered += 1;
        let peer = self.subscriptions[place].peer;
        match self.mistake {
            Some(Mistake::Drop(nth)) if nth == number => (),
            Some(Mistake::Duplicate(nth)) if nth == number => {
                self.send(place, publish);
                self.send(place, publish);
            }
            Some(Mistake::Swap(nth)) if nth == number => {
                let before = self.peers[peer].out.len();
                self.send(place, publish);
                self.peers[peer].held = self.peers[peer].out.split_off(before);
            }
            Some(Mistake::Alter(nth)) if nth == number => {
                self.send(place, publish);
                *self.peers[peer].out.last_mut().expect("just sent") ^= 1;
            }
            Some(Mistake::Retain(nth)) if nth == number => self.send(place, &Publish { retain: true, ..*publish }),
            Some(Mistake::Close(nth)) if nth == number => {
                self.peers[peer].closed = true;
                let _ = self.peers[peer].stream.shutdown(std::net::Shutdown::Both);
            }
            _ => self.send(place, publish),
        }
    }

    fn send(&mut self, place: usize, publish: &Publish<'_>) {
        let Subscription { peer: to, qos, .. } = self.subscriptions[place];
        let peer = &mut self.peers[to];
        let qos = qos.min(publish.qos);
        if qos != QoS::AtMostOnce {
            peer.last_id = if peer.last_id == u16::MAX { 1 } else { peer.last_id + 1 };
        }
        let packet_id = if qos == QoS::AtMostOnce { 0 } else { peer.last_id };
        wire::publish(&mut peer.out, &Publish { qos, packet_id, ..*publish }, peer.version);
        let held = std::mem::take(&mut peer.held);
        peer.out.extend_from_slice(&held);
        self.mark(to);
    }
}

fn answer(out: &mut Vec<u8>, ack: &Ack, version: Version) {
    let kind = match ack.kind {
        AckKind::Pubrec => AckKind::Pubrel,
        AckKind::Pubrel => AckKind::Pubcomp,
        AckKind::Puback | AckKind::Pubcomp => return,
    };
    wire::ack(out, &Ack { kind, packet_id: ack.packet_id, reason: 0 }, version);
}
