//! A client that publishes: which messages are allowed to leave, and their bytes.
//! Must not decide when; `pacing` does. Neighbours: `pacing` releases, `client` brings acknowledgements.

use super::inflight::{Inflight, Progress};
use super::score::Score;
use crate::plan::Plan;
use crate::stamp::{STAMP_BYTES, Stamp};
use crate::wire::{self, Ack, AckKind, Connack, Publish, QoS};

/// No more is encoded while this many bytes wait for the socket: one send carries a lot, and memory stays bounded. A larger
/// message is encoded alone.
const UNSENT_BYTES_MAX: usize = 256 * 1024;

/// State of one publisher.
#[derive(Debug)]
pub(super) struct Publisher {
    /// Its number among the publishers, or among the devices.
    pub(super) index: u32,
    /// Its topics, which it goes round.
    topics: Vec<Topic>,
    /// The topic of the next message.
    cursor: usize,
    /// Rounds begun before this one, and so the sequence number of the next message on its topic.
    round: u64,
    qos: QoS,
    run: u32,
    /// Number of the next message, and so the number sent.
    pub(super) sequence: u64,
    /// Messages that may leave.
    pub(super) released: u64,
    inflight: Inflight,
    inflight_max: usize,
    /// It stands in the worker's list of publishers with something to send.
    pub(super) listed: bool,
}

/// One topic of a publisher.
#[derive(Debug)]
struct Topic {
    number: u32,
    /// The PUBLISH packet up to its payload; only the packet identifier changes.
    head: Box<[u8]>,
    packet_id_at: usize,
}

impl Topic {
    fn new(plan: &Plan, number: u32) -> Self {
        let version = plan.flags.protocol;
        let topic = plan.topics[number as usize].as_bytes();
        let packet_id = if plan.qos == QoS::AtMostOnce { 0 } else { 1 };
        let publish = Publish { topic, payload: &[], qos: plan.qos, retain: false, dup: false, packet_id };
        let mut head = Vec::new();
        wire::publish_head(&mut head, &publish, plan.scenario.payload_bytes, version);
        let properties = usize::from(version == wire::Version::V5);
        Self { number, packet_id_at: head.len() - properties - 2, head: head.into() }
    }
}

impl Publisher {
    /// Publisher number `index` with all its topics.
    pub(super) fn new(plan: &Plan, index: u32) -> Self {
        Self::on(plan, index, plan.topics_of(index))
    }

    /// The publishing side of device number `device`.
    pub(super) fn of_device(plan: &Plan, device: u32) -> Self {
        Self::on(plan, device, std::iter::once(plan.topic_of_device(device)))
    }

    fn on(plan: &Plan, index: u32, topics: impl Iterator<Item = u32>) -> Self {
        Self {
            index,
            topics: topics.map(|number| Topic::new(plan, number)).collect(),
            cursor: 0,
            round: 0,
            qos: plan.qos,
            run: plan.run,
            sequence: 0,
            released: 0,
            inflight: Inflight::new(),
            inflight_max: usize::from(u16::MAX),
            listed: false,
        }
    }

    /// Topic numbers and how many messages went to each.
    pub(super) fn sent(&self) -> impl Iterator<Item = (u32, u64)> {
        let more = |at| u64::from(at < self.cursor);
        self.topics.iter().enumerate().map(move |(at, topic)| (topic.number, self.round + more(at)))
    }

    /// Takes the broker's limits.
    pub(super) fn limit(&mut self, connack: &Connack) {
        self.inflight_max = usize::from(connack.receive_maximum);
    }

    /// Appends released messages to `out` as far as the limits allow, and gives their number.
    #[inline]
    pub(super) fn encode(&mut self, out: &mut Vec<u8>, filler: &[u8], intended_ns: impl Fn(u32, u64) -> u64) -> u64 {
        let before = self.sequence;
        while self.sequence < self.released && out.len() < UNSENT_BYTES_MAX {
            let topic = &mut self.topics[self.cursor];
            if self.qos != QoS::AtMostOnce {
                if self.inflight.len() >= self.inflight_max {
                    break;
                }
                let id = self.inflight.begin(self.qos == QoS::ExactlyOnce);
                topic.head[topic.packet_id_at..][..2].copy_from_slice(&id.to_be_bytes());
            }
            let intended_ns = intended_ns(self.index, self.sequence);
            let stamp = Stamp { run: self.run, topic: topic.number, sequence: self.round, intended_ns };
            out.reserve(topic.head.len() + STAMP_BYTES + filler.len());
            out.extend_from_slice(&topic.head);
            out.extend_from_slice(&stamp.to_bytes());
            out.extend_from_slice(filler);
            self.sequence += 1;
            self.cursor += 1;
            if self.cursor == self.topics.len() {
                self.cursor = 0;
                self.round += 1;
            }
        }
        self.sequence - before
    }

    /// Takes back what was released and has not left; gives the number.
    pub(super) fn stop(&mut self) -> u64 {
        let unsent = self.released - self.sequence;
        self.released = self.sequence;
        unsent
    }

    /// Takes an acknowledgement, and appends the PUBREL that answers a PUBREC.
    pub(super) fn acknowledged(&mut self, ack: &Ack, plan: &Plan, out: &mut Vec<u8>, score: &mut Score<'_>) {
        match self.inflight.acknowledge(ack) {
            Some(Progress::Complete) => (),
            Some(Progress::Release) => {
                let pubrel = Ack { kind: AckKind::Pubrel, packet_id: ack.packet_id, reason: 0 };
                wire::ack(out, &pubrel, plan.flags.protocol);
            }
            Some(Progress::Refused) => {
                score.tally.refused += 1;
                score.note(format!("publisher {}: refused with reason {:#04x}", self.index, ack.reason));
            }
            None => {
                score.tally.protocol_errors += 1;
                score.note(format!("publisher {}: {:?} of {} was not due", self.index, ack.kind, ack.packet_id));
            }
        }
    }

    /// Handshakes that are not complete.
    pub(super) fn unacknowledged(&self) -> u64 {
        self.inflight.incomplete()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Overrides;
    use crate::scenario::Scenario;
    use crate::wire::Packet;

    #[test]
    fn a_publisher_goes_round_its_topics_with_a_sequence_for_each() {
        let flags = Overrides { publishers: Some(2), topics: Some(5), subscribers: Some(8), ..Overrides::default() };
        let plan = Plan::resolve(Scenario::find("wild").expect("shipped"), flags).expect("it resolves");
        let mut publisher = Publisher::new(&plan, 0);
        publisher.released = 5;
        let (mut out, filler) = (Vec::new(), vec![0; plan.scenario.payload_bytes - STAMP_BYTES]);
        assert_eq!(publisher.encode(&mut out, &filler, |_, number| number), 5);
        let (mut rest, mut seen) = (&out[..], Vec::new());
        while let Some((Packet::Publish(publish), bytes)) = wire::decode(rest, plan.flags.protocol).expect("valid") {
            let (stamp, _) = Stamp::split(publish.payload).expect("a stamp");
            assert_eq!(publish.topic, plan.topics[stamp.topic as usize].as_bytes());
            seen.push((stamp.topic, stamp.sequence, stamp.intended_ns));
            rest = &rest[bytes..];
        }
        assert_eq!(seen, [(0, 0, 0), (2, 0, 1), (4, 0, 2), (0, 1, 3), (2, 1, 4)]);
        assert_eq!(publisher.sent().collect::<Vec<_>>(), [(0, 2), (2, 2), (4, 1)]);
    }
}
