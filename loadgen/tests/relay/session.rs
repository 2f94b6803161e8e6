//! What the relay keeps for a client beyond its connection: unacknowledged and queued deliveries, in order.
//! Must not route. Neighbour: the relay, which writes to it and resumes it.

use std::collections::VecDeque;

use ringmq_loadgen::wire::{self, Ack, AckKind, Publish, QoS, Version};

/// A client as the relay knows it by its identifier.
pub(super) struct Session {
    /// The connection it has now.
    pub(super) peer: Option<usize>,
    /// It outlives its connection.
    pub(super) kept: bool,
    pub(super) version: Version,
    last_id: u16,
    pending: VecDeque<Delivery>,
}

/// A delivery of QoS 1 or 2 that the client has not acknowledged.
struct Delivery {
    packet_id: u16,
    qos: QoS,
    topic: Vec<u8>,
    payload: Vec<u8>,
    /// A mistake, which is repeated with it.
    retain: bool,
    /// It has left once.
    sent: bool,
    /// PUBREC has come.
    received: bool,
}

impl Session {
    pub(super) fn new(version: Version) -> Self {
        Self { peer: None, kept: false, version, last_id: 0, pending: VecDeque::new() }
    }

    /// Writes a delivery to `out`, or keeps it for later when there is no connection.
    pub(super) fn deliver(&mut self, publish: &Publish<'_>, qos: QoS, out: Option<&mut Vec<u8>>) {
        let mut packet_id = 0;
        if qos != QoS::AtMostOnce {
            self.last_id = if self.last_id == u16::MAX { 1 } else { self.last_id + 1 };
            packet_id = self.last_id;
        }
        // A session that ends with its connection never sends anything again.
        if self.kept && qos != QoS::AtMostOnce {
            let (topic, payload) = (publish.topic.to_vec(), publish.payload.to_vec());
            let (retain, sent) = (publish.retain, out.is_some());
            self.pending.push_back(Delivery { packet_id, qos, topic, payload, retain, sent, received: false });
        }
        if let Some(out) = out {
            wire::publish(out, &Publish { qos, packet_id, ..*publish }, self.version);
        }
    }

    /// Takes an acknowledgement of a delivery.
    pub(super) fn acknowledge(&mut self, ack: &Ack) {
        let Some(at) = self.pending.iter().position(|delivery| delivery.packet_id == ack.packet_id) else { return };
        if ack.kind == AckKind::Pubrec {
            self.pending[at].received = true;
        } else {
            self.pending.remove(at);
        }
    }

    /// Writes everything unacknowledged again, in order (section 4.4).
    pub(super) fn resume(&mut self, out: &mut Vec<u8>) {
        for delivery in &mut self.pending {
            let Delivery { packet_id, qos, ref topic, ref payload, retain, sent, received } = *delivery;
            if received {
                wire::ack(out, &Ack { kind: AckKind::Pubrel, packet_id, reason: 0 }, self.version);
            } else {
                let again = Publish { topic, payload, qos, retain, dup: sent, packet_id };
                wire::publish(out, &again, self.version);
            }
            delivery.sent = true;
        }
    }

    /// Drops the first delivery that waits for the client to come back.
    pub(super) fn forget_one(&mut self) -> bool {
        let queued = self.pending.iter().position(|delivery| !delivery.sent);
        queued.and_then(|at| self.pending.remove(at)).is_some()
    }
}
