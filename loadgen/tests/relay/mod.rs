//! A broker just large enough to test the generator: routes PUBLISH, acknowledges, and makes one mistake if told so.
//! Must not become a broker: no retained messages, no limits. Neighbours: `session`, the integration tests, the bench.

#![allow(dead_code, reason = "every program that includes this uses another part of it")]

mod session;

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
use ringmq_loadgen::wire::{self, Ack, AckKind, Connack, Connect, Packet, Publish, QoS, Suback, Version};
use session::Session;

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
    /// It goes to another member of the shared subscription as well.
    Echo(u64),
    /// The session resumed by the CONNECT of this number, counted from 1, is lacking one queued message.
    Forget(u64),
    /// The resumption of this number, counted from 1, is answered without a session, though there is one.
    Deny(u64),
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
    session: usize,
    version: Version,
    partial: Vec<u8>,
    out: Vec<u8>,
    /// A delivery held back by [`Mistake::Swap`].
    held: Vec<u8>,
    closed: bool,
    dirty: bool,
}

struct Subscription {
    session: usize,
    client_id: String,
    filter: String,
    qos: QoS,
}

/// Who gets a topic: places in `subscriptions`.
#[derive(Default)]
struct Route {
    alone: Vec<usize>,
    /// The members of each shared subscription, and whose turn it is.
    shares: Vec<(Vec<usize>, usize)>,
}

struct Server {
    listener: TcpListener,
    poll: Poll,
    mistake: Option<Mistake>,
    peers: Vec<Peer>,
    subscriptions: Vec<Subscription>,
    sessions: Vec<Session>,
    by_client_id: HashMap<String, usize>,
    /// Forgotten when a subscription is added.
    routes: HashMap<Vec<u8>, Route>,
    dirty: Vec<usize>,
    published: u64,
    delivered: u64,
    resumed: u64,
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
            sessions: Vec::new(),
            by_client_id: HashMap::new(),
            routes: HashMap::new(),
            dirty: Vec::new(),
            published: 0,
            delivered: 0,
            resumed: 0,
        }
    }

    fn serve(mut self, stop: &AtomicBool) {
        let mut events = Events::with_capacity(1024);
        let mut room = vec![0; 512 * 1024];
        while !stop.load(Relaxed) {
            match self.poll.poll(&mut events, Some(Duration::from_millis(5))) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled.expect("epoll works"),
            }
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
                session: usize::MAX,
                version: Version::V311,
                partial: Vec::new(),
                out: Vec::new(),
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

    fn read(&mut self, from: usize, room: &mut Vec<u8>) {
        loop {
            let peer = &mut self.peers[from];
            let held = peer.partial.len();
            if 2 * held > room.len() {
                room.resize(2 * room.len(), 0);
            }
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
            Packet::Connect(connect) => self.welcome(from, connect),
            Packet::Subscribe(subscribe) => {
                let suback = Suback { packet_id: subscribe.packet_id, reason: subscribe.qos.number() };
                wire::suback(&mut peer.out, &suback, version);
                let filter = String::from_utf8(subscribe.filter.to_vec()).expect("the generator's filters are UTF-8");
                let session = peer.session;
                let named = self.by_client_id.iter().find(|(_, known)| **known == session);
                let client_id = named.map(|(client_id, _)| client_id.clone()).unwrap_or_default();
                // Deliveries are counted in the order of the generator's numbers, however its connections were served.
                let is_before =
                    |one: &Subscription| (one.client_id.len(), &one.client_id) <= (client_id.len(), &client_id);
                let at = self.subscriptions.partition_point(is_before);
                self.subscriptions.insert(at, Subscription { session, client_id, filter, qos: subscribe.qos });
                self.routes.clear();
            }
            Packet::Publish(publish) => self.publish(from, publish, version),
            Packet::Ack(ack) => {
                if ack.kind != AckKind::Pubrel {
                    self.sessions[peer.session].acknowledge(ack);
                }
                answer(&mut peer.out, ack, version);
            }
            Packet::Pingreq => wire::pingresp(&mut peer.out),
            Packet::Disconnect { .. } => {
                self.sessions[peer.session].peer.take_if(|present| *present == from);
                peer.closed = true;
                let _ = peer.stream.shutdown(std::net::Shutdown::Both);
            }
            other => panic!("the generator sent {other:?}"),
        }
    }

    fn welcome(&mut self, from: usize, connect: &Connect<'_>) {
        self.peers[from].version = connect.version;
        let known = self.by_client_id.get(connect.client_id).copied();
        let resumed = known.filter(|&session| self.sessions[session].kept && !connect.clean_start);
        self.resumed += u64::from(resumed.is_some());
        let nth = self.resumed;
        let mut reason = 0;
        match self.mistake {
            Some(Mistake::Silent) => return,
            Some(Mistake::Unwelcome(code)) => reason = code,
            Some(Mistake::Forget(at))
                if at <= nth && resumed.is_some_and(|session| self.sessions[session].forget_one()) =>
            {
                self.mistake = None;
            }
            _ => (),
        }
        let session_present = resumed.is_some() && self.mistake != Some(Mistake::Deny(nth));
        let connack = Connack {
            session_present,
            reason,
            receive_maximum: 100,
            maximum_qos: QoS::ExactlyOnce,
            packet_bytes_max: None,
        };
        wire::connack(&mut self.peers[from].out, &connack, connect.version);
        let session = resumed.unwrap_or_else(|| {
            self.sessions.push(Session::new(connect.version));
            self.sessions.len() - 1
        });
        if let Some(old) = known.filter(|&old| old != session) {
            self.subscriptions.retain(|subscription| subscription.session != old);
            self.routes.clear();
        }
        self.by_client_id.insert(connect.client_id.to_owned(), session);
        self.peers[from].session = session;
        self.sessions[session].kept = !connect.clean_start;
        self.sessions[session].peer = Some(from);
        self.sessions[session].resume(&mut self.peers[from].out);
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
            self.routes.insert(publish.topic.to_vec(), self.route_of(topic));
        }
        if let Some(Mistake::Stray(nth)) = self.mistake
            && nth <= self.delivered
        {
            self.mistake = None;
            return (0..self.subscriptions.len()).for_each(|place| self.send(place, publish));
        }
        // Taken out for the time of the deliveries, which need the rest of the server.
        let mut route = self.routes.remove(publish.topic).expect("just looked at");
        route.alone.iter().for_each(|&place| self.deliver(place, publish));
        for (members, turn) in &mut route.shares {
            if self.mistake == Some(Mistake::Echo(self.delivered)) {
                self.send(members[(*turn + 1) % members.len()], publish);
            }
            self.deliver(members[*turn], publish);
            *turn = (*turn + 1) % members.len();
        }
        self.routes.insert(publish.topic.to_vec(), route);
    }

    fn route_of(&self, topic: &str) -> Route {
        let mut route = Route::default();
        let mut shares: HashMap<&str, usize> = HashMap::new();
        for (place, subscription) in self.subscriptions.iter().enumerate() {
            let (share, wanted) = filter::split_share(&subscription.filter);
            if !filter::matches(wanted, topic) {
                continue;
            }
            if share.is_none() {
                route.alone.push(place);
                continue;
            }
            let at = *shares.entry(&subscription.filter).or_insert(route.shares.len());
            if at == route.shares.len() {
                route.shares.push((Vec::new(), 0));
            }
            route.shares[at].0.push(place);
        }
        route
    }

    fn deliver(&mut self, place: usize, publish: &Publish<'_>) {
        // A delivery to a client that is away is not counted: half of the mistakes could not be made with it.
        let Some(peer) = self.sessions[self.subscriptions[place].session].peer else {
            return self.send(place, publish);
        };
        let number = self.delivered;
        self.delivered += 1;
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
                // Not in what is on its way: the connection may be lost, and the message sent again.
                let mut payload = publish.payload.to_vec();
                *payload.last_mut().expect("no payload is empty") ^= 1;
                self.send(place, &Publish { payload: &payload, ..*publish });
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
        let Subscription { session, qos, .. } = self.subscriptions[place];
        let session = &mut self.sessions[session];
        let qos = qos.min(publish.qos);
        let Some(to) = session.peer else { return session.deliver(publish, qos, None) };
        let peer = &mut self.peers[to];
        session.deliver(publish, qos, Some(&mut peer.out));
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
