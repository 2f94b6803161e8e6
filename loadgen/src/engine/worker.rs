//! One thread: its clients, its turns (poll, read, release, send), and the phases of a run.
//! Must not speak MQTT; `client` does. Neighbours: `engine::run` starts it, `shared` connects it with the other threads.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use super::client::{Client, Role, Stage};
use super::link::Link;
use super::outcome::Harvest;
use super::pacing::Pacing;
use super::publisher::Publisher;
use super::score::Score;
use super::shared::{Shared, Timetable};
use super::subscriber::Subscriber;
use crate::stamp::{STAMP_BYTES, filler};
use crate::wire;

/// Connections a thread has under way at once: below the smallest usual listen backlog (100), which would cost seconds.
const DIALS_MAX: usize = 64;

/// Smallest receive buffer of a thread, bytes.
const ROOM_BYTES_MIN: usize = 256 * 1024;

/// Full receive buffers taken from one connection before the others have a turn.
const READS_PER_TURN: usize = 4;

/// See the file's head.
pub(super) struct Worker<'s> {
    shared: &'s Shared<'s>,
    address: SocketAddr,
    poll: Poll,
    room: Vec<u8>,
    filler: Vec<u8>,
    /// In the order of the roster; the token of a client is its place.
    clients: Vec<Client>,
    subscribers: Vec<u32>,
    publishers: Vec<u32>,
    idlers: Vec<u32>,
    /// Clients that have come past the setup.
    ready: usize,
    /// Clients that were not read empty.
    lively: Vec<usize>,
    /// Publishers with released messages.
    listed: Vec<usize>,
    pacing: Pacing,
    score: Score<'s>,
    idle_ns: u64,
    received_bytes: u64,
}

impl<'s> Worker<'s> {
    pub(super) fn new(shared: &'s Shared<'s>, thread: usize, address: SocketAddr) -> io::Result<Self> {
        let scenario = &shared.plan.scenario;
        let own = |count: u32| (0..count).filter(|&index| shared.owner(index) == thread).collect::<Vec<_>>();
        let publishers = own(scenario.publishers);
        // A packet's overhead is its topic, at most 64 KiB, and a few bytes; twice that leaves room to read on.
        let packet_bytes_max = scenario.payload_bytes + usize::from(u16::MAX) + 32;
        Ok(Self {
            shared,
            address,
            poll: Poll::new()?,
            room: vec![0; ROOM_BYTES_MIN.max(2 * packet_bytes_max)],
            filler: filler(scenario.payload_bytes - STAMP_BYTES),
            clients: Vec::new(),
            subscribers: own(scenario.subscribers),
            idlers: own(scenario.connections),
            ready: 0,
            lively: Vec::new(),
            listed: Vec::new(),
            pacing: Pacing::new(shared, thread, &publishers),
            publishers,
            score: Score::new(shared, thread),
            idle_ns: 0,
            received_bytes: 0,
        })
    }

    /// All phases. `ready` is called when every client is.
    ///
    /// Errors: one sentence, when the setup failed, here or in another thread.
    pub(super) fn run(mut self, ready: impl FnOnce()) -> Result<Harvest, String> {
        let mut events = Events::with_capacity(1024);
        self.set_up(&mut events)?;
        ready();
        let timetable = self.wait_for_timetable(&mut events)?;
        let unsent = self.publish(&mut events, timetable);
        self.drain(&mut events);
        self.say_farewell(&mut events);
        Ok(self.harvest(unsent))
    }

    fn set_up(&mut self, events: &mut Events) -> Result<(), String> {
        let total = self.subscribers.len() + self.publishers.len() + self.idlers.len();
        let patience_ns = self.shared.plan.flags.patience.as_nanos() as u64;
        let (mut ready, mut since_ns) = (0, self.shared.now_ns());
        while self.ready < total {
            while self.clients.len() < total && self.clients.len() - self.ready < DIALS_MAX {
                self.dial().map_err(|error| format!("cannot connect to {}: {error}", self.address))?;
            }
            self.turn(events, true)?;
            if self.shared.abandoned.load(Relaxed) {
                return Err(String::new());
            }
            let now_ns = self.shared.now_ns();
            if self.ready > ready {
                (ready, since_ns) = (self.ready, now_ns);
            } else if now_ns - since_ns > patience_ns {
                let secs = self.shared.plan.flags.patience.as_secs_f64();
                return Err(format!(
                    "{} gave no answer for {secs} s ({ready} of {total} clients set up)",
                    self.address
                ));
            }
        }
        Ok(())
    }

    fn dial(&mut self) -> io::Result<()> {
        let slot = self.clients.len();
        let plan = self.shared.plan;
        let (subscribers, publishers) = (self.subscribers.len(), self.publishers.len());
        let role = if slot < subscribers {
            Role::Subscriber(Subscriber::new(plan, self.subscribers[slot]))
        } else if slot < subscribers + publishers {
            Role::Publisher(Publisher::new(plan, self.publishers[slot - subscribers]))
        } else {
            Role::Idle(self.idlers[slot - subscribers - publishers])
        };
        let mut client = Client::new(Link::dial(self.address)?, role, plan);
        self.poll.registry().register(&mut client.link.stream, Token(slot), Interest::READABLE | Interest::WRITABLE)?;
        self.clients.push(client);
        Ok(())
    }

    fn wait_for_timetable(&mut self, events: &mut Events) -> Result<Timetable, String> {
        loop {
            if let Some(&timetable) = self.shared.timetable.get() {
                return Ok(timetable);
            }
            if self.shared.abandoned.load(Relaxed) {
                return Err(String::new());
            }
            self.turn(events, false)?;
        }
    }

    /// Publishes until the timetable ends; gives the number of messages that were due and never left.
    fn publish(&mut self, events: &mut Events, timetable: Timetable) -> u64 {
        self.score.measured_ns = timetable.from_ns..timetable.to_ns;
        if let Pacing::Schedule(schedule) = &mut self.pacing {
            schedule.start_ns = timetable.start_ns;
        }
        loop {
            self.run_turn(events);
            let now_ns = self.shared.now_ns();
            if now_ns >= timetable.to_ns {
                break;
            }
            if now_ns >= timetable.start_ns {
                self.release(now_ns, timetable.to_ns);
                self.send(now_ns);
            }
        }
        if matches!(self.pacing, Pacing::Schedule(_)) {
            // What fell due during the last turn still has its chance, and is counted if the socket does not take it.
            self.release(timetable.to_ns, timetable.to_ns);
            self.send(timetable.to_ns);
        }
        let mut unsent = 0;
        for client in &mut self.clients {
            if let Role::Publisher(publisher) = &mut client.role {
                unsent += publisher.stop();
                self.shared.sent[publisher.index as usize].store(publisher.sequence, Relaxed);
            }
        }
        self.listed.clear();
        self.shared.sending.fetch_sub(1, Release);
        if matches!(self.pacing, Pacing::Schedule(_)) { unsent } else { 0 }
    }

    /// One poll and all that follows from it. After the setup a fault ends one connection, not the run.
    ///
    /// Errors: with `setup`, one sentence about the connection that failed.
    fn turn(&mut self, events: &mut Events, setup: bool) -> Result<(), String> {
        let begun_ns = self.shared.now_ns();
        let blocks = self.shared.plan.flags.idle && self.lively.is_empty() && self.listed.is_empty();
        // In blocking mode other threads' credits and the timetable are looked at once per millisecond.
        let timeout = if blocks { Duration::from_millis(1) } else { Duration::ZERO };
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(format!("cannot poll: {error}")),
            _ => (),
        }
        let polled_ns = if blocks { self.shared.now_ns() } else { begun_ns };
        let mut worked = !self.lively.is_empty();
        for slot in std::mem::take(&mut self.lively) {
            self.serve(slot, true, false, setup)?;
        }
        for event in events.iter() {
            worked = true;
            let closed = event.is_read_closed() || event.is_error();
            self.serve(event.token().0, event.is_readable() || closed, closed, setup)?;
        }
        self.idle_ns += polled_ns - begun_ns;
        if !worked {
            self.idle_ns += self.shared.now_ns() - polled_ns;
        }
        self.score.settle(self.idle_ns);
        Ok(())
    }

    fn run_turn(&mut self, events: &mut Events) {
        if let Err(error) = self.turn(events, false) {
            self.score.tally.connections_lost += 1;
            self.score.note(error);
        }
    }

    /// Reads and flushes one client; what fails in the setup is an error, later it is counted.
    #[inline]
    fn serve(&mut self, slot: usize, readable: bool, closed: bool, setup: bool) -> Result<(), String> {
        if self.clients[slot].stage == Stage::Lost {
            return Ok(());
        }
        let outcome = if readable { self.read(slot, closed) } else { Ok(()) };
        let flush = |link: &mut Link| link.flush().map_err(|error| broken(&error));
        match outcome.and_then(|()| flush(&mut self.clients[slot].link)) {
            Ok(()) => Ok(()),
            Err(reason) => self.lose(slot, &reason, setup),
        }
    }

    #[cold]
    fn lose(&mut self, slot: usize, reason: &str, setup: bool) -> Result<(), String> {
        let client = &mut self.clients[slot];
        if setup {
            return Err(format!("{} {reason}", self.address));
        }
        client.stage = Stage::Lost;
        self.score.tally.connections_lost += 1;
        self.score.note(format!("{}: the broker {reason}", client.role));
        // The socket may be beyond help already; what counts is that no event of it comes again.
        let _ = self.poll.registry().deregister(&mut client.link.stream);
        let _ = client.link.stream.shutdown(std::net::Shutdown::Both);
        Ok(())
    }

    /// Reads until the socket is empty, which a short read shows as well unless the connection was closed.
    #[inline]
    fn read(&mut self, slot: usize, closed: bool) -> Result<(), String> {
        let client = &mut self.clients[slot];
        for _ in 0..READS_PER_TURN {
            let (filled, fresh) = match client.link.receive(&mut self.room) {
                Ok((_, 0)) => return Err("closed the connection".to_owned()),
                Ok(counts) => counts,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(&error)),
            };
            self.received_bytes += fresh as u64;
            let now_ns = self.shared.now_ns();
            let before = client.stage;
            let known = (self.shared.plan, &self.filler[..]);
            let used = client.consume(&self.room[..filled], now_ns, known, &mut self.score)?;
            if client.stage == Stage::Ready && before != Stage::Ready {
                self.ready += 1;
            }
            if used == 0 && filled == self.room.len() {
                return Err("sent a packet larger than any that was published".to_owned());
            }
            client.link.keep(&self.room[used..filled]);
            if filled < self.room.len() && !closed {
                return Ok(());
            }
        }
        self.lively.push(slot);
        Ok(())
    }

    fn release(&mut self, now_ns: u64, end_ns: u64) {
        let (at, threads) = (self.subscribers.len(), self.shared.plan.flags.threads);
        let (clients, listed) = (&mut self.clients, &mut self.listed);
        let mut release = |publisher: u32, messages: u64| {
            let slot = at + publisher as usize / threads;
            let Role::Publisher(publisher) = &mut clients[slot].role else { return };
            publisher.released += messages;
            if !publisher.listed {
                publisher.listed = true;
                listed.push(slot);
            }
        };
        match &mut self.pacing {
            Pacing::Windows(windows) => {
                windows.iter_mut().for_each(|window| window.open(self.shared, &mut release));
            }
            Pacing::Schedule(schedule) => schedule.open(now_ns, end_ns, release),
        }
    }

    fn send(&mut self, now_ns: u64) {
        let mut listed = std::mem::take(&mut self.listed);
        listed.retain(|&slot| {
            let client = &mut self.clients[slot];
            let Role::Publisher(publisher) = &mut client.role else { return false };
            if client.stage == Stage::Lost {
                return false;
            }
            let out = &mut client.link.unsent;
            self.score.published += match &self.pacing {
                Pacing::Windows(_) => publisher.encode(out, &self.filler, |_, _| now_ns),
                Pacing::Schedule(schedule) => {
                    publisher.encode(out, &self.filler, |publisher, sequence| schedule.due_ns(publisher, sequence))
                }
            };
            publisher.listed = publisher.released > publisher.sequence;
            let listed = publisher.listed;
            if let Err(error) = client.link.flush() {
                // Not in the setup, so this is counted and no error.
                let _ = self.lose(slot, &broken(&error), false);
                return false;
            }
            listed
        });
        self.listed = listed;
    }

    /// Turns until everything has arrived and is acknowledged, or until nothing has come for too long.
    fn drain(&mut self, events: &mut Events) {
        let mut expected = None;
        self.wait(events, |worker| {
            if worker.shared.sending.load(Acquire) > 0 {
                return false;
            }
            let expected = *expected.get_or_insert_with(|| worker.expected());
            worker.score.arrivals >= expected && worker.clients.iter().all(Client::is_settled)
        });
    }

    /// A PINGREQ on every connection: what the broker still had for it comes before the answer, duplicates too.
    fn say_farewell(&mut self, events: &mut Events) {
        for slot in 0..self.clients.len() {
            self.clients[slot].leave();
            let _ = self.serve(slot, false, false, false);
        }
        let gone = |client: &Client| matches!(client.stage, Stage::Done | Stage::Lost);
        self.wait(events, |worker| worker.clients.iter().all(gone));
        let silent = self.clients.iter().filter(|client| !gone(client)).count() as u64;
        if silent > 0 {
            self.score.tally.connections_lost += silent;
            self.score.note(format!("{silent} connections did not answer the last PINGREQ"));
        }
        for client in self.clients.iter_mut().filter(|client| client.stage == Stage::Done) {
            wire::disconnect(&mut client.link.unsent, 0, self.shared.plan.flags.protocol);
            // The run is judged; a socket that takes no more bytes is closed all the same.
            let _ = client.link.flush();
        }
    }

    /// Turns until `done`, or until nothing has been received for as long as the patience lasts.
    fn wait(&mut self, events: &mut Events, mut done: impl FnMut(&Self) -> bool) {
        let patience_ns = self.shared.plan.flags.patience.as_nanos() as u64;
        let (mut received_bytes, mut since_ns) = (self.received_bytes, self.shared.now_ns());
        while !done(self) {
            self.run_turn(events);
            let now_ns = self.shared.now_ns();
            if self.received_bytes != received_bytes {
                (received_bytes, since_ns) = (self.received_bytes, now_ns);
            } else if now_ns - since_ns > patience_ns {
                return;
            }
        }
    }

    fn sent_of(&self, publisher: u32) -> u64 {
        self.shared.sent[publisher as usize].load(Relaxed)
    }

    fn expected(&self) -> u64 {
        let sent = |client: &Client| match &client.role {
            Role::Subscriber(subscriber) => {
                subscriber.ledger.publishers().map(|publisher| self.sent_of(publisher)).sum()
            }
            _ => 0,
        };
        self.clients.iter().map(sent).sum()
    }

    fn harvest(mut self, unsent: u64) -> Harvest {
        let mut tally = std::mem::take(&mut self.score.tally);
        for client in &self.clients {
            tally.unacknowledged += client.unacknowledged();
            if let Role::Subscriber(subscriber) = &client.role {
                tally.lost += subscriber.ledger.lost(|publisher| self.sent_of(publisher));
            }
        }
        let expected = self.expected();
        let sent = self.publishers.iter().map(|&publisher| self.sent_of(publisher)).sum();
        let score = self.score;
        let (latency, notes, arrived) = (score.latency, score.notes, score.arrivals);
        Harvest { tally, latency, notes, sent, expected, arrived, unsent }
    }
}

fn broken(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("does not listen: {error}"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::TimedOut => {
            format!("is not reachable: {error}")
        }
        _ => format!("broke the connection: {error}"),
    }
}
