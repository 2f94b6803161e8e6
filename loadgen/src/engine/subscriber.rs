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
    /// Its receiver number: the devices' come after the subscribers'.
    pub(super) index: u32,
    pub(super) ledger: Ledger,
    /// The shared subscription it is a member of.
    group: Option<u32>,
    /// It does not read for the time of the run, and its messages open no window.
    pub(super) stalled: bool,
    /// First arrivals at a stalled subscriber, which the score does not count.
    pub(super) late_arrivals: u64,
    /// When the session was resumed last, 0 for never: what was meant to leave before has waited for this client.
    pub(super) resumed_ns: u64,
    /// QoS 2 identifiers answered with PUBREC whose PUBREL has not come.
    unreleased: PacketIds,
}

impl Subscriber {
    /// Receiver number `index`.
    pub(super) fn new(plan: &Plan, index: u32) -> Self {
        Self {
            index,
            ledger: Ledger::new(&plan.sources[index as usize]),
            group: plan.groups[index as usize],
            stalled: plan.is_stalled(index),
            late_arrivals: 0,
            resumed_ns: 0,
            unreleased: PacketIds::default(),
        }
    }

    /// A member of a shared subscription, who cannot know what it misses.
    pub(super) fn is_member(&self) -> bool {
        self.group.is_some()
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
        if !self.acknowledge(publish, plan, out, score) {
            return;
        }
        let Some((stamp, rest)) = Stamp::split(publish.payload) else {
            score.tally.altered += 1;
            return score.note(format!("subscriber {}: a payload of {} bytes", self.index, publish.payload.len()));
        };
        let Some(topic) = plan.topics.get(stamp.topic as usize).filter(|_| stamp.run == plan.run) else {
            score.tally.unexpected += 1;
            return score.note(format!("subscriber {}: a message of another run", self.index));
        };
        let as_sent = rest == filler && publish.topic == topic.as_bytes() && publish.qos == plan.qos;
        // A broker that sends again to a client that came back has to say so [MQTT-3.3.1-1].
        if !as_sent || publish.retain || (publish.dup && self.resumed_ns == 0) {
            score.tally.altered += 1;
            score.note(format!("subscriber {}: {} arrived altered", self.index, describe(&stamp, plan)));
        }
        let arrival = match self.group {
            None => self.ledger.observe(stamp.topic, stamp.sequence),
            Some(group) => self.observe_as_member(group, &stamp, score),
        };
        if arrival != Arrival::Fresh {
            self.fault(arrival, &stamp, plan, score);
        }
        if arrival.is_first() {
            self.count(&stamp, now_ns, score);
        }
    }

    #[inline]
    fn count(&mut self, stamp: &Stamp, now_ns: u64, score: &mut Score<'_>) {
        if self.stalled {
            self.late_arrivals += 1;
        } else if stamp.intended_ns < self.resumed_ns {
            score.arrived_unmeasured(stamp.topic);
        } else {
            score.arrived(stamp.topic, stamp.intended_ns, now_ns);
        }
    }

    fn observe_as_member(&mut self, group: u32, stamp: &Stamp, score: &mut Score<'_>) -> Arrival {
        let arrival = self.ledger.observe_ascending(stamp.topic, stamp.sequence);
        let again = arrival.is_first() && !score.boards[group as usize].mark(stamp.topic, stamp.sequence);
        if again { Arrival::Again } else { arrival }
    }

    #[cold]
    fn fault(&self, arrival: Arrival, stamp: &Stamp, plan: &Plan, score: &mut Score<'_>) {
        let tally = &mut score.tally;
        let (count, how) = match arrival {
            Arrival::Fresh => return,
            Arrival::Late => (&mut tally.reordered, "after a later one"),
            Arrival::Again => (&mut tally.duplicated, "again"),
            Arrival::Stray => (&mut tally.unexpected, "where no filter matches it"),
        };
        *count += 1;
        score.note(format!("subscriber {}: {} arrived {how}", self.index, describe(stamp, plan)));
    }

    /// Appends the answer, and says whether the message is new as far as its identifier tells.
    #[inline]
    fn acknowledge(&mut self, publish: &Publish<'_>, plan: &Plan, out: &mut Vec<u8>, score: &mut Score<'_>) -> bool {
        let kind = match publish.qos {
            QoS::AtMostOnce => return true,
            QoS::AtLeastOnce => AckKind::Puback,
            QoS::ExactlyOnce => AckKind::Pubrec,
        };
        wire::ack(out, &Ack { kind, packet_id: publish.packet_id, reason: 0 }, plan.flags.protocol);
        if kind == AckKind::Puback || self.unreleased.insert(publish.packet_id) {
            return true;
        }
        // Before its PUBREL an identifier comes again only on a resumed connection, and is the same message [MQTT-4.3.3-10].
        if publish.dup && self.resumed_ns > 0 {
            return false;
        }
        score.tally.protocol_errors += 1;
        score.note(format!("subscriber {}: identifier {} reused before PUBREL", self.index, publish.packet_id));
        true
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

fn describe(stamp: &Stamp, plan: &Plan) -> String {
    format!("message {} of '{}'", stamp.sequence, plan.topics[stamp.topic as usize])
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
