//! The packet identifiers a publisher has in use, and which acknowledgement each waits for.
//! Must not send; it says what to send. Neighbour: `publisher`.

use std::collections::VecDeque;

use crate::wire::{Ack, AckKind};

/// Identifiers are 1 to 65,535.
const IDS: usize = 65_535;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Puback,
    Pubrec,
    Pubcomp,
    Nothing,
}

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The handshake is complete.
    Complete,
    /// The handshake ended with a refusal.
    Refused,
    /// PUBREL has to follow.
    Release,
}

/// Handshakes in the order they were begun; identifiers are given out in a circle.
#[derive(Debug)]
pub(super) struct Inflight {
    /// Identifier of the front, less 1.
    front: usize,
    slots: VecDeque<Waiting>,
}

impl Inflight {
    pub(super) fn new() -> Self {
        Self { front: 0, slots: VecDeque::new() }
    }

    /// Identifiers in use; some behind the front may be complete already.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Handshakes that are not complete.
    pub(super) fn incomplete(&self) -> u64 {
        self.slots.iter().filter(|slot| **slot != Waiting::Nothing).count() as u64
    }

    /// Takes the next identifier; the caller keeps [`len`](Self::len) below 65,535.
    #[inline]
    pub(super) fn begin(&mut self, exactly_once: bool) -> u16 {
        let id = (self.front + self.slots.len()) % IDS + 1;
        self.slots.push_back(if exactly_once { Waiting::Pubrec } else { Waiting::Puback });
        id as u16
    }

    /// Notes an acknowledgement; `None` when none of this kind is due for its identifier.
    pub(super) fn acknowledge(&mut self, ack: &Ack) -> Option<Progress> {
        let offset = (usize::from(ack.packet_id) + IDS - 1 - self.front) % IDS;
        let slot = self.slots.get_mut(offset)?;
        let refused = ack.reason >= 0x80;
        let (next, progress) = match (*slot, ack.kind) {
            (Waiting::Puback, AckKind::Puback) | (Waiting::Pubrec, AckKind::Pubrec) if refused => {
                (Waiting::Nothing, Progress::Refused)
            }
            (Waiting::Puback, AckKind::Puback) => (Waiting::Nothing, Progress::Complete),
            (Waiting::Pubrec, AckKind::Pubrec) => (Waiting::Pubcomp, Progress::Release),
            (Waiting::Pubcomp, AckKind::Pubcomp) => (Waiting::Nothing, Progress::Complete),
            _ => return None,
        };
        *slot = next;
        while self.slots.front() == Some(&Waiting::Nothing) {
            self.slots.pop_front();
            self.front = (self.front + 1) % IDS;
        }
        Some(progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(kind: AckKind, packet_id: u16) -> Ack {
        Ack { kind, packet_id, reason: 0 }
    }

    /// [MQTT-2.3.1-2]
    #[test]
    fn identifiers_run_in_a_circle_and_are_never_zero() {
        let mut inflight = Inflight::new();
        for round in 0..200_000u32 {
            let id = inflight.begin(false);
            assert_eq!(u32::from(id), round % 65_535 + 1);
            assert_eq!(inflight.acknowledge(&ack(AckKind::Puback, id)), Some(Progress::Complete));
        }
        assert_eq!(inflight.len(), 0);
    }

    #[test]
    fn acknowledgements_out_of_order_keep_the_front_in_use() {
        let mut inflight = Inflight::new();
        let ids = [(); 3].map(|()| inflight.begin(false));
        assert_eq!(inflight.acknowledge(&ack(AckKind::Puback, ids[1])), Some(Progress::Complete));
        assert_eq!((inflight.len(), inflight.incomplete()), (3, 2));
        assert_eq!(inflight.acknowledge(&ack(AckKind::Puback, ids[0])), Some(Progress::Complete));
        assert_eq!(inflight.len(), 1);
    }

    /// Section 4.3.3.
    #[test]
    fn exactly_once_takes_pubrec_then_pubcomp() {
        let mut inflight = Inflight::new();
        let id = inflight.begin(true);
        assert_eq!(inflight.acknowledge(&ack(AckKind::Pubcomp, id)), None);
        assert_eq!(inflight.acknowledge(&ack(AckKind::Pubrec, id)), Some(Progress::Release));
        assert_eq!(inflight.acknowledge(&ack(AckKind::Pubrec, id)), None);
        assert_eq!(inflight.acknowledge(&ack(AckKind::Pubcomp, id)), Some(Progress::Complete));
    }

    #[test]
    fn an_acknowledgement_of_nothing_is_seen() {
        let mut inflight = Inflight::new();
        assert_eq!(inflight.acknowledge(&ack(AckKind::Puback, 1)), None);
        let id = inflight.begin(false);
        assert_eq!(inflight.acknowledge(&ack(AckKind::Puback, id + 1)), None);
        assert_eq!(inflight.acknowledge(&ack(AckKind::Pubrec, id)), None);
    }

    /// Section 3.5.2.1 of 5.0.
    #[test]
    fn a_refusal_ends_the_handshake() {
        let mut inflight = Inflight::new();
        let id = inflight.begin(true);
        let refusal = Ack { kind: AckKind::Pubrec, packet_id: id, reason: 0x97 };
        assert_eq!(inflight.acknowledge(&refusal), Some(Progress::Refused));
        assert_eq!(inflight.len(), 0);
    }
}
