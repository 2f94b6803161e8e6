//! A client that subscribes: checks every message that arrives and acknowledges it.
//! Must not send; it appends to what the link will send. Neighbours: `client` above, `integrity` below.

use super::score::Score;
use crate::integrity::{Arrival, Ledger};
use crate::plan::Plan;
use crate::stamp::Stamp;
use crate::wire::{self, Ack, AckKind, Publish, QoS};

/// State of one subscriber.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) index: u32,
    pub(super) ledger: Ledger,
    /// QoS 2 identifiers answered with PUBREC whose PUBREL has not come.
    unreleased: PacketIds,
}

impl Subscriber {
    pub(super) fn new(plan: &Plan, index: u32) -> Self {
        Self { index, ledger: Ledger::new(&plan.sources[index as usize]), unreleased: PacketIds::default() }
    }

    /// Takes a message that arrived at `now_ns`.
    #[inline]
    pub(super) fn take(
        &mut self,
        publish: &Publish<'_>,
        now_ns: u64,
        (plan, filler): (&Plan, &[u8]),
        out: &mut Vec<u8>,
        score: &mut Score<'_>,
    ) {
        self.acknowledge(publish, plan, out, score);
        let Some((stamp, rest)) = Stamp::split(publish.payload) else {
            score.tally.altered += 1;
            return score.note(format!("subscriber {}: a payload of {} bytes", self.index, publish.payload.len()));
        };
        let Some(topic) = plan.topics.get(stamp.publisher as usize).filter(|_| stamp.run == plan.run) else {
            score.tally.unexpected += 1;
            return score.note(format!("subscriber {}: a message of another run", self.index));
        };
        let as_sent = rest == filler && publish.topic == topic.as_bytes() && publish.qos == plan.qos;
        if !as_sent || publish.retain || publish.dup {
            score.tally.altered += 1;
            score.note(format!("subscriber {}: {} arrived altered", self.index, describe(&stamp)));
        }
        let arrival = self.ledger.observe(stamp.publisher, stamp.sequence);
        if arrival != Arrival::Fresh {
            self.fault(arrival, &stamp, score);
        }
        if arrival.is_first() {
            score.arrived(stamp.publisher, stamp.intended_ns, now_ns);
        }
    }

    #[cold]
    fn fault(&self, arrival: Arrival, stamp: &Stamp, score: &mut Score<'_>) {
        let tally = &mut score.tally;
        let (count, how) = match arrival {
            Arrival::Fresh => return,
            Arrival::Late => (&mut tally.reordered, "after a later one"),
            Arrival::Again => (&mut tally.duplicated, "again"),
            Arrival::Stray => (&mut tally.unexpected, "where no filter matches it"),
        };
        *count += 1;
        score.note(format!("subscriber {}: {} arrived {how}", self.index, describe(stamp)));
    }

    #[inline]
    fn acknowledge(&mut self, publish: &Publish<'_>, plan: &Plan, out: &mut Vec<u8>, score: &mut Score<'_>) {
        let kind = match publish.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => AckKind::Puback,
            QoS::ExactlyOnce => AckKind::Pubrec,
        };
        if kind == AckKind::Pubrec && !self.unreleased.insert(publish.packet_id) {
            // No connection is ever resumed here, so an identifier may not come again before its PUBREL.
            score.tally.protocol_errors += 1;
            score.note(format!("subscriber {}: identifier {} reused before PUBREL", self.index, publish.packet_id));
        }
        wire::ack(out, &Ack { kind, packet_id: publish.packet_id, reason: 0 }, plan.flags.protocol);
    }

    /// Takes PUBREL and appends PUBCOMP.
    pub(super) fn release(&mut self, packet_id: u16, plan: &Plan, out: &mut Vec<u8>, score: &mut Score<'_>) {
        if !self.unreleased.remove(packet_id) {
            score.tally.protocol_errors += 1;
            score.note(format!("subscriber {}: PUBREL of {packet_id} was not due", self.index));
        }
        wire::ack(out, &Ack { kind: AckKind::Pubcomp, packet_id, reason: 0 }, plan.flags.protocol);
    }

    /// Handshakes of QoS 2 whose PUBREL has not come.
    pub(super) fn unreleased(&self) -> u64 {
        self.unreleased.len
    }
}

fn describe(stamp: &Stamp) -> String {
    format!("message {} of publisher {}", stamp.sequence, stamp.publisher)
}

/// A set of packet identifiers: 8 KiB, and nothing until it is used.
#[derive(Debug, Default)]
struct PacketIds {
    words: Vec<u64>,
    len: u64,
}

impl PacketIds {
    fn insert(&mut self, id: u16) -> bool {
        if self.words.is_empty() {
            self.words.resize(1024, 0);
        }
        let (word, bit) = (&mut self.words[usize::from(id >> 6)], 1 << (id & 63));
        let new = *word & bit == 0;
        *word |= bit;
        self.len += u64::from(new);
        new
    }

    fn remove(&mut self, id: u16) -> bool {
        let Some(word) = self.words.get_mut(usize::from(id >> 6)) else { return false };
        let bit = 1 << (id & 63);
        let there = *word & bit != 0;
        *word &= !bit;
        self.len -= u64::from(there);
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_identifiers_are_a_set() {
        let mut ids = PacketIds::default();
        assert!(!ids.remove(9));
        for id in [1, 64, u16::MAX] {
            assert!(ids.insert(id) && !ids.insert(id));
        }
        assert!(ids.remove(64) && !ids.remove(64));
        assert_eq!(ids.len, 2);
    }
}
