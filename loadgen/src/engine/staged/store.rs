//! The publisher of a staged run: a number of messages, as fast as the window allows, all of them confirmed.
//! Must not poll. Neighbours: `inflight` and `staging` below, `retain` and `offline` above.

use std::collections::VecDeque;

use super::line::Part;
use crate::engine::inflight::{Inflight, Progress};
use crate::engine::score::Score;
use crate::plan::Plan;
use crate::scenario::Staged;
use crate::staging;
use crate::stamp::{STAMP_BYTES, Stamp, filler};
use crate::wire::{self, Ack, AckKind, Connack, Packet, Publish, QoS};

/// No more is encoded while this many bytes wait for the socket.
const UNSENT_BYTES_MAX: usize = 256 * 1024;

/// See the file's head. QoS 0 has no acknowledgement: there a PINGREQ after every half window tells how far the broker
/// has read, so that it never has to take more than a window in one piece.
pub(super) struct Store<'p> {
    plan: &'p Plan,
    stage: Staged,
    topic: Vec<u8>,
    payload: Vec<u8>,
    /// Messages to send.
    total: u64,
    /// Messages sent, and so the number of the next.
    pub(super) sent: u64,
    inflight: Inflight,
    outstanding_max: u64,
    /// How much had been sent at each PINGREQ that is not answered.
    asked: VecDeque<u64>,
    /// Messages before the last PINGREQ that was answered.
    passed: u64,
}

impl<'p> Store<'p> {
    /// Stores `total` messages of the plan.
    pub(super) fn new(plan: &'p Plan, stage: Staged, total: u64, connack: &Connack) -> Self {
        let mut payload = vec![0; STAMP_BYTES];
        payload.extend_from_slice(&filler(plan.scenario.payload_bytes - STAMP_BYTES));
        let window = u64::from(plan.scenario.window);
        let acknowledged_max = window.min(u64::from(connack.receive_maximum));
        Self {
            plan,
            stage,
            topic: Vec::new(),
            payload,
            total,
            sent: 0,
            inflight: Inflight::new(),
            outstanding_max: if plan.qos == QoS::AtMostOnce { window } else { acknowledged_max },
            asked: VecDeque::new(),
            passed: 0,
        }
    }

    /// Removes `total` retained messages by empty ones in their place [MQTT-3.3.1-6].
    pub(super) fn removal(plan: &'p Plan, total: u64, connack: &Connack) -> Self {
        Self { payload: Vec::new(), ..Self::new(plan, Staged::Retain, total, connack) }
    }

    fn outstanding(&self) -> u64 {
        if self.plan.qos == QoS::AtMostOnce { self.sent - self.passed } else { self.inflight.len() as u64 }
    }

    fn encode(&mut self, out: &mut Vec<u8>) {
        let qos = self.plan.qos;
        staging::topic(&mut self.topic, self.stage, &self.plan.topics[0], self.sent);
        if let Some(front) = self.payload.first_chunk_mut::<STAMP_BYTES>() {
            // No latency is measured, so the time is left out and its bytes can be checked as well.
            *front = Stamp { run: self.plan.run, topic: 0, sequence: self.sent, intended_ns: 0 }.to_bytes();
        }
        let packet_id = if qos == QoS::AtMostOnce { 0 } else { self.inflight.begin(qos == QoS::ExactlyOnce) };
        let retain = self.stage == Staged::Retain;
        let publish = Publish { topic: &self.topic, payload: &self.payload, qos, retain, dup: false, packet_id };
        wire::publish(out, &publish, self.plan.flags.protocol);
        self.sent += 1;
        let half = (self.outstanding_max / 2).max(1);
        if qos == QoS::AtMostOnce && (self.sent == self.total || self.sent.is_multiple_of(half)) {
            wire::pingreq(out);
            self.asked.push_back(self.sent);
        }
    }

    fn acknowledged(&mut self, ack: &Ack, out: &mut Vec<u8>, score: &mut Score<'_>) {
        match self.inflight.acknowledge(ack) {
            Some(Progress::Complete) => (),
            Some(Progress::Release) => {
                let pubrel = Ack { kind: AckKind::Pubrel, packet_id: ack.packet_id, reason: 0 };
                wire::ack(out, &pubrel, self.plan.flags.protocol);
            }
            Some(Progress::Refused) => {
                score.tally.refused += 1;
                score.note(format!("publisher: refused with reason {:#04x}", ack.reason));
            }
            None => {
                score.tally.protocol_errors += 1;
                score.note(format!("publisher: {:?} of {} was not due", ack.kind, ack.packet_id));
            }
        }
    }

    /// Counts what is missing when nothing more will come.
    pub(super) fn finish(&self, score: &mut Score<'_>) {
        score.tally.unacknowledged += self.inflight.incomplete();
        if self.sent < self.total {
            score.note(format!("publisher: only {} of {} messages could be sent", self.sent, self.total));
        }
    }
}

impl Part for Store<'_> {
    fn take(&mut self, packet: &Packet<'_>, out: &mut Vec<u8>, score: &mut Score<'_>) -> Result<(), String> {
        match packet {
            Packet::Ack(ack) if ack.kind != AckKind::Pubrel => self.acknowledged(ack, out, score),
            Packet::Pingresp if !self.asked.is_empty() => self.passed = self.asked.pop_front().unwrap_or(self.passed),
            Packet::Disconnect { reason } => return Err(format!("sent DISCONNECT with reason {reason:#04x}")),
            packet => return Err(format!("sent {packet:?} to a publisher")),
        }
        Ok(())
    }

    fn send(&mut self, out: &mut Vec<u8>, score: &mut Score<'_>) -> bool {
        let before = self.sent;
        while self.sent < self.total && self.outstanding() < self.outstanding_max && out.len() < UNSENT_BYTES_MAX {
            self.encode(out);
        }
        score.published += self.sent - before;
        self.sent > before
    }

    fn is_done(&self) -> bool {
        self.sent == self.total && self.asked.is_empty() && self.inflight.len() == 0
    }
}
