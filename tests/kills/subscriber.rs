//! A subscriber with a session, which keeps what the protocol wants it to keep over a reconnect.
//!
//! Duty: acknowledge; check each topic for gaps, repetitions and order. Must not: subscribe a second time: what it asked for once must
//! last. Neighbours: `campaign` runs it once for each life of the broker in which it is online.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::load::{self, Board, TOPICS_IN_ALL};
use super::verdict::Verdict;
use super::wire::{Link, Packet, Publish, Version, put_ack, put_filters};

/// After the last message that is awaited, so long for what comes too much.
const SETTLE: Duration = Duration::from_millis(300);

/// What a subscriber is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habit {
    pub(crate) version: Version,
    /// What it subscribes with.
    pub(crate) qos: u8,
    /// Whether it is mostly away.
    pub(crate) is_offline: bool,
    /// No two of them match the same topic: MQTT lets a broker send that twice.
    pub(crate) filters: &'static [&'static str],
}

/// A QoS 2 message between PUBREC and PUBREL.
type Held = Option<(usize, u64)>;

pub(crate) struct Subscriber {
    number: usize,
    habit: Habit,
    has_subscribed: bool,
    wants: Vec<bool>,
    /// The last message of each topic.
    last: Vec<u64>,
    /// Those that later ones came before.
    missing: HashSet<(usize, u64)>,
    held: Vec<Held>,
    spare: Vec<u8>,
    pub(crate) verdict: Verdict,
}

impl Subscriber {
    pub(crate) fn new(number: usize, habit: Habit) -> Self {
        let wants = |topic| habit.filters.iter().any(|filter| matches(filter, &load::name(topic)));
        Self {
            number,
            habit,
            has_subscribed: false,
            wants: (0..TOPICS_IN_ALL).map(wants).collect(),
            last: vec![0; TOPICS_IN_ALL],
            missing: HashSet::new(),
            held: vec![None; 1 << 16],
            spare: Vec::new(),
            verdict: Verdict::default(),
        }
    }

    pub(crate) fn is_offline(&self) -> bool {
        self.habit.is_offline
    }

    fn name(&self) -> String {
        format!("subscriber-{}", self.number)
    }

    /// Makes the session and its subscriptions; they are safe when this returns.
    pub(crate) fn subscribe(&mut self, address: SocketAddr) -> io::Result<()> {
        let (mut link, _) = Link::open(address, &self.name(), self.habit.version, false)?;
        let filters = self.habit.filters.iter().map(|filter| (*filter).to_owned()).collect::<Vec<_>>();
        put_filters(self.habit.version, 1, &filters, Some(self.habit.qos), &mut link.out);
        link.flush()?;
        while !self.has_subscribed {
            link.read()?;
            link.take(|_, packet| self.has_subscribed |= packet.kind() == 9);
        }
        Ok(())
    }

    /// One life of the broker: until it is killed, or all has arrived that was sent.
    pub(crate) fn run(&mut self, address: SocketAddr, board: &Board) {
        let _ = self.try_run(address, board);
    }

    fn try_run(&mut self, address: SocketAddr, board: &Board) -> io::Result<()> {
        let name = self.name();
        let (mut link, is_present) = Link::open(address, &name, self.habit.version, false)?;
        self.verdict.note_session(self.has_subscribed, is_present, &name);
        let mut heard = Instant::now();
        loop {
            if link.read()? {
                heard = Instant::now();
                link.take(|out, packet| self.take(packet, out));
                link.flush()?;
            } else if board.is_all_sent.load(Ordering::Acquire) {
                let is_done = self.missing.is_empty() && self.behind(board) == 0;
                if heard.elapsed() > if is_done { SETTLE } else { board.patience } {
                    return Ok(());
                }
            }
        }
    }

    /// Messages that were sent behind the last that arrived of each topic.
    fn behind(&self, board: &Board) -> u64 {
        let topics = (0..TOPICS_IN_ALL).filter(|topic| self.wants[*topic]);
        topics.map(|topic| board.sent[topic].load(Ordering::Acquire) - self.last[topic]).sum()
    }

    /// Counts what has never come.
    pub(crate) fn conclude(&mut self, board: &Board) {
        let behind = self.behind(board);
        self.verdict.lost += self.missing.len() as u64 + behind;
        if behind > 0 {
            self.verdict.note(format!("{}: {behind} messages at the end did not come", self.name()));
        }
    }

    fn take(&mut self, packet: Packet<'_>, out: &mut Vec<u8>) {
        match packet.kind() {
            3 => {
                let publish = Publish::of(packet, self.habit.version);
                let Some((topic, sequence)) = self.read(publish) else {
                    self.verdict.complain(format!("{}: not what was sent: {publish:?}", self.name()));
                    return;
                };
                match publish.qos {
                    1 => {
                        self.deliver(topic, sequence, false);
                        put_ack(0x40, publish.id, out);
                    }
                    2 => {
                        self.receive(publish.id, (topic, sequence));
                        put_ack(0x50, publish.id, out);
                    }
                    _ => self.verdict.complain(format!("{}: QoS 0: {packet:?}", self.name())),
                }
            }
            6 => {
                self.held[usize::from(packet.id())] = None;
                put_ack(0x70, packet.id(), out);
            }
            _ => self.verdict.complain(format!("{}: {packet:?}", self.name())),
        }
    }

    fn read(&mut self, publish: Publish<'_>) -> Option<(usize, u64)> {
        let topic = load::topic_of(publish.topic).filter(|topic| self.wants[*topic])?;
        Some((topic, load::sequence_of(publish.payload, &mut self.spare)?))
    }

    /// [MQTT-4.3.3-10]: a packet id that is known is the same message again.
    fn receive(&mut self, id: u16, message: (usize, u64)) {
        match self.held[usize::from(id)] {
            None => {
                self.held[usize::from(id)] = Some(message);
                self.deliver(message.0, message.1, true);
            }
            Some(held) if held == message => {}
            Some(held) => {
                let text = format!("{}: packet id {id} is in use for {held:?} and comes with {message:?}", self.name());
                self.verdict.complain(text);
            }
        }
    }

    fn deliver(&mut self, topic: usize, sequence: u64, is_once: bool) {
        let last = self.last[topic];
        if sequence > last {
            self.verdict.delivered += 1;
            self.last[topic] = sequence;
            if sequence > last + 1 {
                let text = format!("{}: {} goes from {last} to {sequence}", self.name(), load::name(topic));
                self.verdict.note(text);
                self.missing.extend((last + 1..sequence).map(|missing| (topic, missing)));
            }
        } else if self.missing.remove(&(topic, sequence)) {
            self.verdict.delivered += 1;
            self.verdict.disordered += 1;
        } else if is_once {
            self.verdict.duplicated += 1;
            let text = format!("{}: {} {sequence} is there twice, at {last}", self.name(), load::name(topic));
            self.verdict.note(text);
        } else {
            self.verdict.repeated += 1;
        }
    }
}

/// Whether a filter of three levels, or of less and `#`, matches such a name.
fn matches(filter: &str, name: &str) -> bool {
    let mut levels = name.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}
