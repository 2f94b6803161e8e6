//! A broker just large enough to test staged runs: keeps retained messages and sessions, hands them out, and makes one
//! mistake if told so. Must not relay to clients that are connected; the staged runs never need it.
//! Neighbours: `staged`, which uses it; `relay`, which relays and keeps nothing.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ringmq_loadgen::filter;
use ringmq_loadgen::wire::{self, Ack, AckKind, Connack, Packet, Publish, QoS, Suback, Version};

/// What goes wrong, once, with the delivery of this number counted from 0, if nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// It is not sent.
    Drop(usize),
    /// It is sent twice.
    Duplicate(usize),
    /// It is sent after the next one.
    Swap(usize),
    /// The last byte of its payload is changed.
    Alter(usize),
    /// It is sent with the time in its payload changed.
    AlterStamp(usize),
    /// Its RETAIN flag is turned round.
    Retain(usize),
    /// It has the DUP flag.
    Dup(usize),
    /// It has a QoS one lower than it should.
    Downgrade(usize),
    /// The subscriber's connection is closed instead.
    Close(usize),
    /// The handshake of a QoS 2 delivery is not carried on.
    Unreleased(usize),
    /// The PUBLISH of this number is not acknowledged.
    Mute(usize),
    /// The PUBLISH of this number is refused with reason 0x97, and not stored.
    Refuse(usize),
    /// The PUBLISH of this number ends its connection.
    Hate(usize),
    /// The removal of a retained message is ignored after this many PUBLISH packets.
    Cling(usize),
    /// CONNACK says that there is no session, and messages come all the same.
    Amnesia,
    /// CONNACK says that there is a session after a clean start.
    Haunted,
    /// No PINGREQ is answered.
    Numb,
    /// No CONNECT is answered.
    Silent,
    /// Every CONNECT is refused with this code.
    Unwelcome(u8),
}

/// A message that is kept.
#[derive(Clone)]
struct Kept {
    topic: Vec<u8>,
    payload: Vec<u8>,
    qos: QoS,
}

#[derive(Default)]
struct Session {
    filter: Option<(String, QoS)>,
    queue: Vec<Kept>,
}

#[derive(Default)]
struct Stock {
    mistake: Option<Mistake>,
    retained: BTreeMap<Vec<u8>, Kept>,
    sessions: HashMap<String, Session>,
    /// Connections whose sessions go with them.
    ephemeral: usize,
    published: usize,
    delivered: usize,
}

/// A broker that runs until it is dropped.
pub(crate) struct Keeper {
    pub(crate) port: u16,
    stop: Arc<AtomicBool>,
    stock: Arc<Mutex<Stock>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts on a free port of the loopback interface.
    pub(crate) fn start(mistake: Option<Mistake>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let stop = Arc::new(AtomicBool::new(false));
        let stock = Arc::new(Mutex::new(Stock { mistake, ..Stock::default() }));
        let (stopped, shelf) = (Arc::clone(&stop), Arc::clone(&stock));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Relaxed) {
                    return;
                }
                let (stream, shelf) = (stream.expect("a connection"), Arc::clone(&shelf));
                thread::spawn(move || Peer::new(stream, shelf).serve());
            }
        });
        Self { port, stop, stock, thread: Some(thread) }
    }

    /// Retained messages and sessions that are there once every client that has gone is known to have gone.
    pub(crate) fn holds(&self) -> (usize, usize) {
        let ephemeral = || self.stock.lock().expect("no peer panicked").ephemeral;
        let until = Instant::now() + Duration::from_secs(2);
        while ephemeral() > 0 && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        let stock = self.stock.lock().expect("no peer panicked");
        (stock.retained.len(), stock.sessions.len())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|ended| ended.is_ok()) && !self.stock.is_poisoned(), "the broker panicked");
    }
}

/// One connection, on a thread of its own.
struct Peer {
    stream: TcpStream,
    stock: Arc<Mutex<Stock>>,
    version: Version,
    client_id: String,
    /// Its session goes when it goes.
    ephemeral: bool,
    out: Vec<u8>,
    last_id: u16,
    /// Identifiers whose PUBREC is not answered.
    unreleased: Vec<u16>,
    /// The connection is to be closed.
    over: bool,
}

impl Peer {
    fn new(stream: TcpStream, stock: Arc<Mutex<Stock>>) -> Self {
        let (version, client_id, out, unreleased) = (Version::V311, String::new(), Vec::new(), Vec::new());
        Self { stream, stock, version, client_id, ephemeral: false, out, last_id: 0, unreleased, over: false }
    }

    fn serve(mut self) {
        let (mut held, mut room) = (Vec::new(), vec![0; 64 * 1024]);
        while !self.over {
            let Ok(fresh @ 1..) = self.stream.read(&mut room) else { break };
            held.extend_from_slice(&room[..fresh]);
            let mut used = 0;
            while !self.over {
                let packet = wire::decode(&held[used..], self.version).expect("the generator sends valid packets");
                let Some((packet, packet_bytes)) = packet else { break };
                used += packet_bytes;
                self.take(&packet);
            }
            held.drain(..used);
            if self.stream.write_all(&std::mem::take(&mut self.out)).is_err() {
                break;
            }
        }
        if self.ephemeral {
            let mut stock = self.stock.lock().expect("no peer panicked");
            stock.sessions.remove(&self.client_id);
            stock.ephemeral -= 1;
        }
    }

    fn take(&mut self, packet: &Packet<'_>) {
        let shelf = Arc::clone(&self.stock);
        let mut stock = shelf.lock().expect("no peer panicked");
        match packet {
            Packet::Connect(connect) => self.connect(&mut stock, connect),
            Packet::Subscribe(subscribe) => self.subscribe(&mut stock, subscribe),
            Packet::Publish(publish) => self.publish(&mut stock, publish),
            Packet::Ack(ack) => self.answer(ack),
            Packet::Pingreq if stock.mistake == Some(Mistake::Numb) => (),
            Packet::Pingreq => wire::pingresp(&mut self.out),
            Packet::Disconnect { .. } => self.over = true,
            other => panic!("the generator sent {other:?}"),
        }
    }

    fn connect(&mut self, stock: &mut Stock, connect: &wire::Connect<'_>) {
        self.version = connect.version;
        self.client_id = connect.client_id.to_owned();
        self.ephemeral = connect.clean_start;
        stock.ephemeral += usize::from(connect.clean_start);
        let reason = match stock.mistake {
            Some(Mistake::Silent) => return,
            Some(Mistake::Unwelcome(code)) => code,
            _ => 0,
        };
        if !connect.clean_start && connect.version == Version::V5 {
            assert!(connect.session_expiry_secs > 0, "the session would end with its connection");
        }
        let found = if connect.clean_start { None } else { stock.sessions.remove(&self.client_id) };
        let session_present = match stock.mistake {
            Some(Mistake::Amnesia) => false,
            Some(Mistake::Haunted) if connect.clean_start && self.client_id.contains('s') => true,
            _ => found.is_some(),
        };
        let (receive_maximum, maximum_qos) = (100, QoS::ExactlyOnce);
        let connack = Connack { session_present, reason, receive_maximum, maximum_qos, packet_bytes_max: None };
        wire::connack(&mut self.out, &connack, self.version);
        let Session { filter, queue } = found.unwrap_or_default();
        stock.sessions.insert(self.client_id.clone(), Session { filter, queue: Vec::new() });
        self.deliver(stock, queue, false);
    }

    /// Retained messages are sent before SUBACK, which section 3.8.4 allows, to see that the generator takes them.
    fn subscribe(&mut self, stock: &mut Stock, subscribe: &wire::Subscribe<'_>) {
        let filter = String::from_utf8(subscribe.filter.to_vec()).expect("the generator's filters are UTF-8");
        let fits = |kept: &&Kept| filter::matches(&filter, std::str::from_utf8(&kept.topic).expect("UTF-8"));
        let retained =
            stock.retained.values().filter(fits).map(|kept| Kept { qos: kept.qos.min(subscribe.qos), ..kept.clone() });
        self.deliver(stock, retained.collect(), true);
        wire::suback(
            &mut self.out,
            &Suback { packet_id: subscribe.packet_id, reason: subscribe.qos.number() },
            self.version,
        );
        stock.sessions.get_mut(&self.client_id).expect("it is connected").filter = Some((filter, subscribe.qos));
    }

    fn publish(&mut self, stock: &mut Stock, publish: &Publish<'_>) {
        let (number, mistake) = (stock.published, stock.mistake);
        stock.published += 1;
        self.over = mistake == Some(Mistake::Hate(number));
        let reason = if mistake == Some(Mistake::Refuse(number)) { 0x97 } else { 0 };
        let kind = if publish.qos == QoS::ExactlyOnce { AckKind::Pubrec } else { AckKind::Puback };
        if publish.qos != QoS::AtMostOnce && mistake != Some(Mistake::Mute(number)) && !self.over {
            wire::ack(&mut self.out, &Ack { kind, packet_id: publish.packet_id, reason }, self.version);
        }
        if reason != 0 || self.over {
            return;
        }
        let kept = Kept { topic: publish.topic.to_vec(), payload: publish.payload.to_vec(), qos: publish.qos };
        if !publish.retain {
            return stock.queue(&kept);
        }
        if !kept.payload.is_empty() {
            stock.retained.insert(kept.topic.clone(), kept);
        } else if !matches!(mistake, Some(Mistake::Cling(after)) if number >= after) {
            stock.retained.remove(publish.topic);
        }
    }

    fn answer(&mut self, ack: &Ack) {
        let kind = match ack.kind {
            AckKind::Pubrec if self.unreleased.contains(&ack.packet_id) => return,
            AckKind::Pubrec => AckKind::Pubrel,
            AckKind::Pubrel => AckKind::Pubcomp,
            AckKind::Puback | AckKind::Pubcomp => return,
        };
        wire::ack(&mut self.out, &Ack { kind, packet_id: ack.packet_id, reason: 0 }, self.version);
    }

    fn deliver(&mut self, stock: &mut Stock, mut messages: Vec<Kept>, retain: bool) {
        let at = |nth: usize| nth.checked_sub(stock.delivered).filter(|&at| at + 1 < messages.len());
        match stock.mistake {
            Some(Mistake::Drop(nth)) => drop(at(nth).map(|at| messages.remove(at))),
            Some(Mistake::Duplicate(nth)) => drop(at(nth).map(|at| messages.insert(at, messages[at].clone()))),
            Some(Mistake::Swap(nth)) => drop(at(nth).map(|at| messages.swap(at, at + 1))),
            Some(Mistake::Alter(nth)) => drop(at(nth).map(|at| *messages[at].payload.last_mut().expect("filled") ^= 1)),
            Some(Mistake::AlterStamp(nth)) => drop(at(nth).map(|at| messages[at].payload[20] ^= 1)),
            _ => (),
        }
        for message in messages {
            let number = stock.delivered;
            stock.delivered += 1;
            if self.over {
                return;
            }
            self.send(stock.mistake, number, &message, retain);
        }
    }

    fn send(&mut self, mistake: Option<Mistake>, number: usize, message: &Kept, retain: bool) {
        self.last_id = self.last_id % u16::MAX + 1;
        let qos = match (mistake, message.qos) {
            (Some(Mistake::Downgrade(nth)), QoS::ExactlyOnce) if nth == number => QoS::AtLeastOnce,
            (Some(Mistake::Downgrade(nth)), _) if nth == number => QoS::AtMostOnce,
            _ => message.qos,
        };
        if mistake == Some(Mistake::Unreleased(number)) {
            self.unreleased.push(self.last_id);
        }
        self.over |= mistake == Some(Mistake::Close(number));
        let publish = Publish {
            topic: &message.topic,
            payload: &message.payload,
            qos,
            retain: retain != (mistake == Some(Mistake::Retain(number))),
            dup: mistake == Some(Mistake::Dup(number)),
            packet_id: if qos == QoS::AtMostOnce { 0 } else { self.last_id },
        };
        wire::publish(&mut self.out, &publish, self.version);
    }
}

impl Stock {
    /// For every session that subscribes to it; the staged runs publish when none of their clients is connected.
    fn queue(&mut self, kept: &Kept) {
        let topic = std::str::from_utf8(&kept.topic).expect("the generator's topics are UTF-8");
        for session in self.sessions.values_mut() {
            if let Some((_, qos)) = session.filter.as_ref().filter(|(filter, _)| filter::matches(filter, topic)) {
                session.queue.push(Kept { qos: kept.qos.min(*qos), ..kept.clone() });
            }
        }
    }
}
