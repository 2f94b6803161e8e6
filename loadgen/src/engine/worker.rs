//! One thread: its clients, its turns (poll, read, release, send), and the phases of a run.
//! Must not speak MQTT; `client` does. Neighbours: `engine::run` starts it, `shared` connects it with the other threads,
//! `roam` sends devices away, `harvest` ends the run.

use std::io;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use super::alarm::{ALARM, Alarm};
use super::client::{Client, Role, Stage};
use super::device::Device;
use super::link::Link;
use super::outcome::Harvest;
use super::pacing::{Pacing, Schedule};
use super::publisher::Publisher;
use super::score::Score;
use super::shared::{Shared, Timetable};
use super::subscriber::Subscriber;
use super::way::Way;
use crate::stamp::{STAMP_BYTES, filler};

/// Connections a thread has under way at once: below the smallest usual listen backlog (100), which would cost seconds.
pub(super) const DIALS_MAX: usize = 64;

/// Smallest receive buffer of a thread, bytes.
const ROOM_BYTES_MIN: usize = 256 * 1024;

/// Full receive buffers taken from one connection before the others have a turn.
const READS_PER_TURN: usize = 4;

/// See the file's head.
pub(super) struct Worker<'s> {
    pub(super) shared: &'s Shared<'s>,
    pub(super) way: &'s Way,
    pub(super) poll: Poll,
    room: Vec<u8>,
    filler: Vec<u8>,
    /// Subscribers, publishers, devices, idle connections; the token of a client is its place.
    pub(super) clients: Vec<Client>,
    subscribers: Vec<u32>,
    publishers: Vec<u32>,
    pub(super) devices: Vec<u32>,
    idlers: Vec<u32>,
    /// Clients that have come past the setup.
    ready: usize,
    /// Stalled subscribers are not read now.
    pub(super) deaf: bool,
    /// Clients that were not read empty.
    pub(super) lively: Vec<usize>,
    /// Publishers with released messages.
    pub(super) listed: Vec<usize>,
    /// Devices between leaving and being back.
    pub(super) roaming: Vec<usize>,
    pacing: Pacing,
    /// When blocking and sending by a timetable.
    alarm: Option<Alarm>,
    /// When devices publish.
    telemetry: Schedule,
    /// When devices leave, if they do.
    pub(super) departures: Option<Schedule>,
    pub(super) score: Score<'s>,
    pub(super) reconnects: u64,
    pub(super) stalled_closed: u64,
    idle_ns: u64,
    received_bytes: u64,
}

impl<'s> Worker<'s> {
    pub(super) fn new(shared: &'s Shared<'s>, thread: usize, way: &'s Way) -> io::Result<Self> {
        let scenario = &shared.plan.scenario;
        let own = |count: u32| (0..count).filter(|&index| shared.owner(index) == thread).collect::<Vec<_>>();
        let (publishers, devices) = (own(scenario.publishers), own(scenario.devices));
        // A packet's overhead is its topic, at most 64 KiB, and a few bytes; twice that leaves room to read on.
        let packet_bytes_max = scenario.payload_bytes + usize::from(u16::MAX) + 32;
        let in_turn = |rate| Schedule::new(rate, scenario.devices, devices.clone());
        let (poll, pacing) = (Poll::new()?, Pacing::new(shared, thread, &publishers));
        let wants_alarm = shared.plan.flags.idle && matches!(pacing, Pacing::Schedule(_));
        let alarm = wants_alarm.then(|| Alarm::new(&poll)).transpose()?;
        Ok(Self {
            shared,
            way,
            poll,
            room: vec![0; ROOM_BYTES_MIN.max(2 * packet_bytes_max)],
            filler: filler(scenario.payload_bytes - STAMP_BYTES),
            clients: Vec::new(),
            subscribers: own(scenario.subscribers),
            idlers: own(scenario.connections),
            ready: 0,
            deaf: false,
            lively: Vec::new(),
            listed: Vec::new(),
            roaming: Vec::new(),
            pacing,
            alarm,
            telemetry: in_turn(scenario.device_rate),
            departures: (scenario.reconnects_per_sec > 0).then(|| in_turn(scenario.reconnects_per_sec)),
            publishers,
            devices,
            score: Score::new(shared, thread),
            reconnects: 0,
            stalled_closed: 0,
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
        self.deaf = true;
        ready();
        let timetable = self.wait_for_timetable(&mut events)?;
        let unsent = self.publish(&mut events, timetable);
        self.drain(&mut events);
        self.say_farewell(&mut events);
        let unacknowledged = self.unacknowledged();
        self.remove_sessions(&mut events);
        Ok(self.harvest(unsent, unacknowledged))
    }

    fn set_up(&mut self, events: &mut Events) -> Result<(), String> {
        let total = self.subscribers.len() + self.publishers.len() + self.devices.len() + self.idlers.len();
        let patience_ns = self.shared.plan.flags.patience.as_nanos() as u64;
        let (mut ready, mut since_ns) = (0, self.shared.now_ns());
        while self.ready < total {
            while self.clients.len() < total && self.clients.len() - self.ready < DIALS_MAX {
                self.dial().map_err(|error| format!("cannot connect to {}: {error}", self.way))?;
            }
            self.turn(events, true)?;
            if self.shared.abandoned.load(Relaxed) {
                return Err(String::new());
            }
            let now_ns = self.shared.now_ns();
            if self.ready > ready {
                (ready, since_ns) = (self.ready, now_ns);
                self.score.show_ready(ready);
            } else if now_ns - since_ns > patience_ns {
                let secs = self.shared.plan.flags.patience.as_secs_f64();
                return Err(format!("{} gave no answer for {secs} s ({ready} of {total} clients set up)", self.way));
            }
        }
        Ok(())
    }

    fn dial(&mut self) -> io::Result<()> {
        let slot = self.clients.len();
        let plan = self.shared.plan;
        let (first_publisher, first_device) = (self.subscribers.len(), self.subscribers.len() + self.publishers.len());
        let first_idler = first_device + self.devices.len();
        let role = if slot < first_publisher {
            Role::Subscriber(Subscriber::new(plan, self.subscribers[slot]))
        } else if slot < first_device {
            Role::Publisher(Publisher::new(plan, self.publishers[slot - first_publisher]))
        } else if slot < first_idler {
            Role::Device(Box::new(Device::new(plan, self.devices[slot - first_device])))
        } else {
            Role::Idle(self.idlers[slot - first_idler])
        };
        let mut client = Client::new(self.way.dial()?, role, plan);
        self.poll.registry().register(&mut client.link.stream, Token(slot), Interest::READABLE | Interest::WRITABLE)?;
        self.clients.push(client);
        Ok(())
    }

    pub(super) fn slot_of_device(&self, device: u32) -> usize {
        self.subscribers.len() + self.publishers.len() + device as usize / self.shared.plan.flags.threads
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
        self.score.measure(timetable.from_ns..timetable.to_ns);
        if let Pacing::Schedule(schedule) = &mut self.pacing {
            schedule.start_ns = timetable.start_ns;
        }
        for schedule in self.departures.iter_mut().chain([&mut self.telemetry]) {
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
                self.send_away(now_ns, timetable.to_ns);
                self.set_alarm();
            }
        }
        if matches!(self.pacing, Pacing::Schedule(_)) || !self.devices.is_empty() {
            // What fell due during the last turn still has its chance, and is counted if the socket does not take it.
            self.release(timetable.to_ns, timetable.to_ns);
            self.send(timetable.to_ns);
        }
        let unsent = self.stop();
        self.shared.sending.fetch_sub(1, Release);
        unsent
    }

    /// If it blocks now, it wakes when the next message is due.
    fn set_alarm(&mut self) {
        let (Some(alarm), Pacing::Schedule(schedule)) = (&self.alarm, &self.pacing) else { return };
        let Some(due_ns) = schedule.next_due_ns() else { return };
        let after = Duration::from_nanos(due_ns.saturating_sub(self.shared.now_ns()));
        if let Err(error) = alarm.set(after) {
            self.score.note(format!("no timer: {error}"));
        }
    }

    /// Ends the publishing; gives the number of messages that were due by a timetable and never left. Devices that are away
    /// have nothing due.
    fn stop(&mut self) -> u64 {
        let mut unsent = 0;
        for client in &mut self.clients {
            let timed = match client.role {
                Role::Publisher(_) => matches!(self.pacing, Pacing::Schedule(_)),
                _ => client.stage == Stage::Ready,
            };
            let Some(publisher) = client.publisher_mut() else { continue };
            let stopped = publisher.stop();
            unsent += if timed { stopped } else { 0 };
            for (topic, messages) in publisher.sent() {
                self.shared.sent[topic as usize].store(messages, Relaxed);
            }
        }
        self.listed.clear();
        unsent
    }

    /// One poll and all that follows from it. After the setup a fault ends one connection, not the run.
    ///
    /// Errors: with `setup`, one sentence about the connection that failed.
    fn turn(&mut self, events: &mut Events, setup: bool) -> Result<(), String> {
        let begun_ns = self.shared.now_ns();
        let blocks = self.shared.plan.flags.idle && self.lively.is_empty() && self.listed.is_empty();
        // In blocking mode other threads' credits and the timetable's ends are looked at once per millisecond.
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
        for event in events.iter().filter(|event| event.token() != ALARM) {
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
        if !self.roaming.is_empty() {
            self.see_to_the_roaming();
        }
    }

    /// Reads and flushes one client; what fails in the setup is an error, later it is counted.
    #[inline]
    pub(super) fn serve(&mut self, slot: usize, readable: bool, closed: bool, setup: bool) -> Result<(), String> {
        let client = &self.clients[slot];
        if matches!(client.stage, Stage::Lost | Stage::Away) || (self.deaf && client.is_stalled()) {
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
    pub(super) fn lose(&mut self, slot: usize, reason: &str, setup: bool) -> Result<(), String> {
        let client = &mut self.clients[slot];
        if setup {
            return Err(format!("{} {reason}", self.way));
        }
        let left = client.stage == Stage::Left;
        client.stage = Stage::Lost;
        if left {
            // It has said good-bye; whether the broker read that does not matter.
        } else if client.is_stalled() {
            self.stalled_closed += 1;
        } else {
            self.score.tally.connections_lost += 1;
            self.score.note(format!("{}: the broker {reason}", client.role));
        }
        // The socket may be beyond help already; what counts is that no event of it comes again.
        let _ = self.poll.registry().deregister(&mut client.link.stream);
        let _ = client.link.stream.shutdown(std::net::Shutdown::Both);
        Ok(())
    }

    /// Reads until the socket is empty, which a short read shows as well unless the connection was closed.
    #[inline]
    fn read(&mut self, slot: usize, closed: bool) -> Result<(), String> {
        for _ in 0..READS_PER_TURN {
            let outcome = if self.clients[slot].link.assembles() { self.read_on(slot) } else { self.read_room(slot) };
            match outcome {
                Ok(Some(more)) if more || closed => (),
                Ok(Some(_)) => return Ok(()),
                Ok(None) => return self.end(slot, "closed the connection".to_owned()),
                Err(Failure::Packet(reason)) => return Err(reason),
                Err(Failure::Socket(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(Failure::Socket(error)) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(Failure::Socket(error)) => return self.end(slot, broken(&error)),
            }
        }
        self.lively.push(slot);
        Ok(())
    }

    /// Receives once and takes the packets; says whether there may be more, `None` at the end of the connection.
    #[inline]
    fn read_room(&mut self, slot: usize) -> Result<Option<bool>, Failure> {
        let client = &mut self.clients[slot];
        let (filled, fresh) = client.link.receive(&mut self.room)?;
        if fresh == 0 {
            return Ok(None);
        }
        self.received_bytes += fresh as u64;
        let now_ns = self.shared.now_ns();
        let before = client.stage;
        let known = (self.shared.plan, &self.filler[..]);
        let used = client.consume(&self.room[..filled], now_ns, known, &mut self.score).map_err(Failure::Packet)?;
        if client.stage == Stage::Ready && before != Stage::Ready {
            self.ready += 1;
        }
        if used == 0 && filled == self.room.len() {
            return Err(Failure::Packet("sent a packet larger than any that was published".to_owned()));
        }
        client.link.keep(&self.room[used..filled], self.room.len());
        Ok(Some(filled == self.room.len()))
    }

    /// The same for the rest of a large packet, which is taken where it is assembled.
    fn read_on(&mut self, slot: usize) -> Result<Option<bool>, Failure> {
        let client = &mut self.clients[slot];
        let (fresh, missing) = client.link.assemble()?;
        if fresh == 0 {
            return Ok(None);
        }
        self.received_bytes += fresh as u64;
        if missing > 0 {
            return Ok(Some(false));
        }
        let (buffer, filled) = client.link.lend();
        let known = (self.shared.plan, &self.filler[..]);
        let taken = client.consume(&buffer[..filled], self.shared.now_ns(), known, &mut self.score);
        client.link.take_back(buffer);
        taken.map_err(Failure::Packet)?;
        Ok(Some(true))
    }

    /// The connection has ended, as it has to after DISCONNECT.
    fn end(&mut self, slot: usize, reason: String) -> Result<(), String> {
        match self.clients[slot].stage {
            Stage::Left => Ok(()),
            Stage::Departing => {
                self.clients[slot].stage = Stage::Away;
                let now_ns = self.shared.now_ns();
                self.note_time(slot, now_ns);
                Ok(())
            }
            _ => Err(reason),
        }
    }

    fn release(&mut self, now_ns: u64, end_ns: u64) {
        let (first_publisher, threads) = (self.subscribers.len(), self.shared.plan.flags.threads);
        let first_device = first_publisher + self.publishers.len();
        let (clients, listed) = (&mut self.clients, &mut self.listed);
        let mut release = |first: usize, index: u32, messages: u64| {
            let slot = first + index as usize / threads;
            let Some(publisher) = clients[slot].publisher_mut() else { return };
            publisher.released += messages;
            if !publisher.listed {
                publisher.listed = true;
                listed.push(slot);
            }
        };
        match &mut self.pacing {
            Pacing::Windows(windows) => windows.iter_mut().for_each(|window| {
                window.open(self.shared, |publisher, messages| release(first_publisher, publisher, messages));
            }),
            Pacing::Schedule(schedule) => {
                schedule.open(now_ns, end_ns, |publisher, messages| release(first_publisher, publisher, messages));
            }
        }
        self.telemetry.open(now_ns, end_ns, |device, messages| release(first_device, device, messages));
    }

    fn send(&mut self, now_ns: u64) {
        let mut listed = std::mem::take(&mut self.listed);
        listed.retain(|&slot| {
            self.score.published += self.encode(slot, now_ns);
            let client = &mut self.clients[slot];
            // A device that is away is listed again when it is back.
            let present = !matches!(client.stage, Stage::Lost | Stage::Away);
            let ready = client.stage == Stage::Ready;
            let Some(publisher) = client.publisher_mut() else { return false };
            publisher.listed = ready && publisher.released > publisher.sequence;
            let listed = publisher.listed;
            if !present {
                return false;
            }
            if let Err(error) = client.link.flush() {
                // Not in the setup, so this is counted and no error.
                let _ = self.lose(slot, &broken(&error), false);
                return false;
            }
            listed
        });
        self.listed = listed;
    }

    /// Encodes what one client may send now; gives the number of messages.
    #[inline]
    fn encode(&mut self, slot: usize, now_ns: u64) -> u64 {
        let client = &mut self.clients[slot];
        if client.stage != Stage::Ready {
            return 0;
        }
        let (out, filler) = (&mut client.link.unsent, &self.filler[..]);
        match (&mut client.role, &self.pacing) {
            (Role::Publisher(publisher), Pacing::Windows(_)) => publisher.encode(out, filler, |_, _| now_ns),
            (Role::Publisher(publisher), Pacing::Schedule(schedule)) => {
                publisher.encode(out, filler, |publisher, sequence| schedule.due_ns(publisher, sequence))
            }
            (Role::Device(device), _) => {
                let (telemetry, back_ns) = (&self.telemetry, device.subscriber.resumed_ns);
                // What fell due while it was away is due when it is back.
                let due_ns = |device, sequence| telemetry.due_ns(device, sequence).max(back_ns);
                device.publisher.encode(out, filler, due_ns)
            }
            _ => 0,
        }
    }

    /// Turns until `done`, or until nothing has been received for as long as `patience`.
    pub(super) fn wait(&mut self, events: &mut Events, patience: Duration, mut done: impl FnMut(&Self) -> bool) {
        let patience_ns = patience.as_nanos() as u64;
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
}

/// Why a connection is of no more use.
enum Failure {
    Socket(io::Error),
    /// What the broker did, as a sentence without its beginning.
    Packet(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

fn broken(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("does not listen: {error}"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::TimedOut => {
            format!("is not reachable: {error}")
        }
        // TLS or WebSocket: the error says which.
        io::ErrorKind::InvalidData => format!("is not trusted or not understood: {error}"),
        _ => format!("broke the connection: {error}"),
    }
}
