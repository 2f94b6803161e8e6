//! A client that publishes: which messages are allowed to leave, and their bytes.
//! Must not decide when; `pacing` does. Neighbours: `pacing` releases, `client` brings acknowledgements.

use super::inflight::{Inflight, Progress};
use super::score::Score;
use crate::plan::Plan;
use crate::stamp::Stamp;
use crate::wire::{self, Ack, AckKind, Connack, Publish, QoS};

/// No more is encoded while this many bytes wait for the socket: one send carries a lot, and memory stays bounded.
const UNSENT_BYTES_MAX: usize = 256 * 1024;

/// State of one publisher.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) index: u32,
    /// The PUBLISH packet up to its payload; only the packet identifier changes.
    head: Vec<u8>,
    packet_id_at: usize,
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

impl Publisher {
    pub(super) fn new(plan: &Plan, index: u32) -> Self {
        let version = plan.flags.protocol;
        let topic = plan.topics[index as usize].as_bytes();
        let packet_id = if plan.qos == QoS::AtMostOnce { 0 } else { 1 };
        let publish = Publish { topic, payload: &[], qos: plan.qos, retain: false, dup: false, packet_id };
        let mut head = Vec::new();
        wire::publish_head(&mut head, &publish, plan.scenario.payload_bytes, version);
        let properties = usize::from(version == wire::Version::V5);
        Self {
            index,
            packet_id_at: head.len() - properties - 2,
            head,
            qos: plan.qos,
            run: plan.run,
            sequence: 0,
            released: 0,
            inflight: Inflight::new(),
            inflight_max: usize::from(u16::MAX),
            listed: false,
        }
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
            if self.qos != QoS::AtMostOnce {
                if self.inflight.len() >= self.inflight_max {
                    break;
                }
                let id = self.inflight.begin(self.qos == QoS::ExactlyOnce);
                self.head[self.packet_id_at..][..2].copy_from_slice(&id.to_be_bytes());
            }
            let intended_ns = intended_ns(self.index, self.sequence);
            let stamp = Stamp { run: self.run, publisher: self.index, sequence: self.sequence, intended_ns };
            out.extend_from_slice(&self.head);
            out.extend_from_slice(&stamp.to_bytes());
            out.extend_from_slice(filler);
            self.sequence += 1;
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
