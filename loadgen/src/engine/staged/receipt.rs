//! The subscriber of a staged run: each stored message exactly once, unaltered and with the right flags.
//! Must not poll. Neighbours: `staging` below, `retain` and `offline` above.

use std::collections::HashSet;

use super::line::Part;
use super::welcome;
use crate::engine::score::Score;
use crate::plan::Plan;
use crate::scenario::Staged;
use crate::staging;
use crate::stamp::{STAMP_BYTES, Stamp, filler};
use crate::wire::{self, Ack, AckKind, Connack, Packet, Publish, QoS, Suback, Subscribe};

/// What the broker has to answer first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaiting {
    Connack,
    /// Messages may come before it (section 3.8.4).
    Suback,
    Nothing,
}

/// See the file's head.
pub(super) struct Receipt<'p> {
    plan: &'p Plan,
    stage: Staged,
    awaiting: Awaiting,
    topic: Vec<u8>,
    filler: Vec<u8>,
    /// The messages with the numbers below this one have to come.
    expected: u64,
    book: Book,
    /// QoS 2 identifiers answered with PUBREC whose PUBREL has not come.
    unreleased: HashSet<u16>,
}

impl<'p> Receipt<'p> {
    fn new(plan: &'p Plan, stage: Staged, awaiting: Awaiting, expected: u64) -> Self {
        Self {
            plan,
            stage,
            awaiting,
            topic: Vec::new(),
            filler: filler(plan.scenario.payload_bytes - STAMP_BYTES),
            expected,
            book: Book::default(),
            unreleased: HashSet::new(),
        }
    }

    /// Appends SUBSCRIBE and expects what follows from it.
    pub(super) fn subscribe(plan: &'p Plan, stage: Staged, expected: u64, out: &mut Vec<u8>) -> Self {
        let subscribe = Subscribe { packet_id: 1, filter: plan.filters[0].as_bytes(), qos: plan.qos };
        wire::subscribe(out, &subscribe, plan.flags.protocol);
        Self::new(plan, stage, Awaiting::Suback, expected)
    }

    /// Expects what a session has kept, after the CONNECT that resumes it.
    pub(super) fn resume(plan: &'p Plan, stage: Staged, expected: u64) -> Self {
        Self::new(plan, stage, Awaiting::Connack, expected)
    }

    /// Messages that have come, each counted once.
    pub(super) fn arrived(&self) -> u64 {
        self.book.len
    }

    /// Counts what is missing when nothing more will come.
    pub(super) fn finish(&self, score: &mut Score<'_>) {
        score.tally.lost += self.expected - self.book.len;
        score.tally.unacknowledged += self.unreleased.len() as u64;
    }

    /// A session that was asked for has to be there [MQTT-3.1.2-4]; without it the messages are waited for all the same.
    fn resumed(&mut self, connack: &Connack, score: &mut Score<'_>) -> Result<(), String> {
        welcome(connack, self.plan)?;
        if !connack.session_present {
            score.tally.protocol_errors += 1;
            score.note("subscriber: CONNACK says that there is no session to resume".to_owned());
        }
        self.awaiting = Awaiting::Nothing;
        Ok(())
    }

    fn subscribed(&mut self, suback: &Suback) -> Result<(), String> {
        let qos = self.plan.qos.number();
        if suback.reason != qos {
            return Err(format!("answered SUBSCRIBE of QoS {qos} with {:#04x}", suback.reason));
        }
        self.awaiting = Awaiting::Nothing;
        Ok(())
    }

    fn publish(&mut self, publish: &Publish<'_>, out: &mut Vec<u8>, score: &mut Score<'_>) {
        self.acknowledge(publish, out, score);
        let Some((stamp, rest)) = Stamp::split(publish.payload) else {
            score.tally.altered += 1;
            return score.note(format!("subscriber: a payload of {} bytes", publish.payload.len()));
        };
        let number = stamp.sequence;
        if stamp.run != self.plan.run || number >= self.expected {
            score.tally.unexpected += 1;
            return score.note(format!("subscriber: message {number} arrived, which was not to come"));
        }
        staging::topic(&mut self.topic, self.stage, &self.plan.topics[0], number);
        let as_sent = rest == self.filler && (stamp.topic, stamp.intended_ns) == (0, 0);
        let flags_fit = publish.retain == (self.stage == Staged::Retain) && !publish.dup;
        if !as_sent || !flags_fit || publish.topic != self.topic || publish.qos != self.plan.qos {
            score.tally.altered += 1;
            score.note(format!("subscriber: message {number} arrived altered"));
        }
        self.enter(number, score);
    }

    fn enter(&mut self, number: u64, score: &mut Score<'_>) {
        let late = number < self.book.next;
        if !self.book.insert(number) {
            score.tally.duplicated += 1;
            return score.note(format!("subscriber: message {number} arrived again"));
        }
        score.arrivals += 1;
        // Retained messages have a topic each, and between topics there is no order (section 4.6).
        if late && self.stage != Staged::Retain {
            score.tally.reordered += 1;
            score.note(format!("subscriber: message {number} arrived after a later one"));
        }
    }

    fn acknowledge(&mut self, publish: &Publish<'_>, out: &mut Vec<u8>, score: &mut Score<'_>) {
        let kind = match publish.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => AckKind::Puback,
            QoS::ExactlyOnce => AckKind::Pubrec,
        };
        // Nothing is left unacknowledged when a connection ends, so an identifier may not come again before its PUBREL.
        if kind == AckKind::Pubrec && !self.unreleased.insert(publish.packet_id) {
            score.tally.protocol_errors += 1;
            score.note(format!("subscriber: identifier {} reused before PUBREL", publish.packet_id));
        }
        wire::ack(out, &Ack { kind, packet_id: publish.packet_id, reason: 0 }, self.plan.flags.protocol);
    }

    fn release(&mut self, packet_id: u16, out: &mut Vec<u8>, score: &mut Score<'_>) {
        if !self.unreleased.remove(&packet_id) {
            score.tally.protocol_errors += 1;
            score.note(format!("subscriber: PUBREL of {packet_id} was not due"));
        }
        wire::ack(out, &Ack { kind: AckKind::Pubcomp, packet_id, reason: 0 }, self.plan.flags.protocol);
    }
}

impl Part for Receipt<'_> {
    fn take(&mut self, packet: &Packet<'_>, out: &mut Vec<u8>, score: &mut Score<'_>) -> Result<(), String> {
        match (self.awaiting, packet) {
            (Awaiting::Connack, Packet::Connack(connack)) => return self.resumed(connack, score),
            (Awaiting::Suback, Packet::Suback(suback)) => return self.subscribed(suback),
            (_, Packet::Disconnect { reason }) => return Err(format!("sent DISCONNECT with reason {reason:#04x}")),
            (Awaiting::Suback | Awaiting::Nothing, Packet::Publish(publish)) => self.publish(publish, out, score),
            (Awaiting::Suback | Awaiting::Nothing, Packet::Ack(ack)) if ack.kind == AckKind::Pubrel => {
                self.release(ack.packet_id, out, score);
            }
            (awaiting, packet) => return Err(format!("sent {packet:?} to a subscriber that awaits {awaiting:?}")),
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.awaiting == Awaiting::Nothing && self.book.len == self.expected && self.unreleased.is_empty()
    }
}

/// The numbers of the messages that have come: a bit for each up to the highest.
#[derive(Debug, Default)]
struct Book {
    words: Vec<u64>,
    len: u64,
    /// One more than the highest.
    next: u64,
}

impl Book {
    /// Enters a number; false when it is there already.
    fn insert(&mut self, number: u64) -> bool {
        let (at, bit) = ((number / 64) as usize, 1 << (number % 64));
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        let new = self.words[at] & bit == 0;
        self.words[at] |= bit;
        self.len += u64::from(new);
        self.next = self.next.max(number + 1);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_book_knows_each_number_once_and_the_highest() {
        let mut book = Book::default();
        for number in [0, 63, 64, 1000] {
            assert!(book.insert(number) && !book.insert(number));
        }
        assert_eq!((book.len, book.next), (4, 1001));
        assert!(book.insert(5));
        assert_eq!((book.len, book.next), (5, 1001));
    }
}
