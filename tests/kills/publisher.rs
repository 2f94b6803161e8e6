//! A publisher with a session: what it has sent and is not acknowledged, it sends again under its packet id.
//!
//! Duty: keep the window full, check the order of acknowledgements. Must not: look at what arrives elsewhere. Neighbours: `campaign`
//! runs it once for each life of the broker.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::load::{self, Board};
use super::verdict::Verdict;
use super::wire::{Link, Packet, Version, put_ack, put_publish};

/// Messages of one topic that are sent side by side.
const RUN: u64 = 6;

/// Who hears nothing for so long has been forgotten.
const PATIENCE: Duration = Duration::from_secs(20);

const DUP: u8 = 8;

/// A message that waits for PUBACK or PUBREC.
#[derive(Clone, Copy, Debug)]
struct Flight {
    id: u16,
    topic: usize,
    sequence: u64,
}

pub(crate) struct Publisher {
    number: usize,
    version: Version,
    qos: u8,
    window: usize,
    has_connected: bool,
    /// Messages begun.
    count: u64,
    sequences: [u64; load::TOPICS],
    sent: VecDeque<Flight>,
    /// QoS 2: packet ids that wait for PUBCOMP.
    released: VecDeque<u16>,
    last_id: u16,
    /// Messages that were answered by another code than success.
    refused: u64,
    payload: Vec<u8>,
    pub(crate) verdict: Verdict,
}

impl Publisher {
    pub(crate) fn new(number: usize) -> Self {
        Self {
            number,
            version: if number.is_multiple_of(2) { Version::V311 } else { Version::V5 },
            qos: if number < load::QOS_2_FROM { 1 } else { 2 },
            window: if number < load::QOS_2_FROM { 400 } else { 300 },
            has_connected: false,
            count: 0,
            sequences: [0; load::TOPICS],
            sent: VecDeque::new(),
            released: VecDeque::new(),
            last_id: 0,
            refused: 0,
            payload: Vec::new(),
            verdict: Verdict::default(),
        }
    }

    /// One life of the broker: until it is killed, or all is acknowledged and nothing more is to be sent.
    pub(crate) fn run(&mut self, address: SocketAddr, board: &Board) {
        // That the connection ends is what this is about.
        let _ = self.try_run(address, board);
        let refused = std::mem::take(&mut self.refused);
        if refused > 0 {
            self.verdict.faults += refused - 1;
            self.verdict.complain(format!("publisher-{}: so for {refused} messages of this life", self.number));
        }
    }

    fn try_run(&mut self, address: SocketAddr, board: &Board) -> io::Result<()> {
        let name = format!("publisher-{}", self.number);
        let (mut link, is_present) = Link::open(address, &name, self.version, false)?;
        self.verdict.note_session(self.has_connected, is_present, &name);
        self.has_connected = true;
        self.resume(&mut link);
        let mut heard = Instant::now();
        loop {
            if !board.is_ending.load(Ordering::Acquire) {
                self.fill(&mut link, board);
            } else if self.sent.is_empty() && self.released.is_empty() {
                return Ok(());
            }
            link.flush()?;
            if link.read()? {
                heard = Instant::now();
            } else if heard.elapsed() > PATIENCE {
                let (sent, released) = (self.sent.len(), self.released.len());
                self.verdict.complain(format!("{name}: {sent} PUBLISH and {released} PUBREL are not answered"));
                return Ok(());
            }
            link.take(|out, packet| self.take(packet, board, out));
        }
    }

    /// [MQTT-4.4.0-1]: in the original order, under the original packet ids.
    fn resume(&mut self, link: &mut Link) {
        for id in &self.released {
            put_ack(0x62, *id, &mut link.out);
        }
        for at in 0..self.sent.len() {
            self.put(self.sent[at], DUP, &mut link.out);
        }
    }

    fn put(&mut self, flight: Flight, dup: u8, out: &mut Vec<u8>) {
        load::put_payload(flight.sequence, &mut self.payload);
        let retain = u8::from(load::is_retained(flight.topic));
        let name = load::name(flight.topic);
        put_publish(dup | self.qos << 1 | retain, self.version, name.as_bytes(), flight.id, &self.payload, out);
    }

    fn fill(&mut self, link: &mut Link, board: &Board) {
        let under_way = self.sent.len() + self.released.len();
        // In batches, as a busy client does.
        if under_way * 2 > self.window {
            return;
        }
        for _ in under_way..self.window {
            let topic_of_own = (self.count / RUN) as usize % load::TOPICS;
            self.count += 1;
            self.sequences[topic_of_own] += 1;
            let (topic, sequence) = (self.number * load::TOPICS + topic_of_own, self.sequences[topic_of_own]);
            let flight = Flight { id: self.next_id(), topic, sequence };
            self.put(flight, 0, &mut link.out);
            self.sent.push_back(flight);
            board.sent[topic].store(sequence, Ordering::Release);
        }
    }

    /// A circle little larger than the window, so that ids are soon used again. Who is out of turn keeps its own.
    fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id % (self.window as u16 + 8) + 1;
            let id = self.last_id;
            if !self.released.contains(&id) && !self.is_sent(id) {
                return id;
            }
        }
    }

    /// Ids are given out in a circle, so an old one is at the front.
    fn is_sent(&self, id: u16) -> bool {
        self.sent.front().is_some_and(|flight| flight.id == id)
    }

    fn take(&mut self, packet: Packet<'_>, board: &Board, out: &mut Vec<u8>) {
        let id = packet.id();
        match packet.kind() {
            4 | 5 => {
                let Some(flight) = self.sent.pop_front() else {
                    return self.verdict.complain(format!("publisher-{}: {packet:?} answers nothing", self.number));
                };
                if flight.id != id || (packet.kind() == 5) != (self.qos == 2) {
                    self.verdict.complain(format!("publisher-{}: {packet:?} in the place of {flight:?}", self.number));
                }
                if packet.reason() != 0 {
                    self.refused += 1;
                    if self.refused == 1 {
                        let text = format!("publisher-{}: {flight:?} is answered by {packet:?}", self.number);
                        self.verdict.note(text);
                    }
                }
                board.acknowledged[flight.topic].store(flight.sequence, Ordering::Release);
                if self.qos == 2 {
                    self.released.push_back(flight.id);
                    put_ack(0x62, flight.id, out);
                }
            }
            7 => match self.released.iter().position(|released| *released == id) {
                Some(at) => drop(self.released.remove(at)),
                None => self.verdict.complain(format!("publisher-{}: {packet:?} answers no PUBREL", self.number)),
            },
            _ => self.verdict.complain(format!("publisher-{}: {packet:?}", self.number)),
        }
    }
}
