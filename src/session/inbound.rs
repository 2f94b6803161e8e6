//! What a client sent and is not yet answered.
//!
//! Duty: remember QoS 2 packet ids until PUBREL, keep PUBACK and PUBREC in the order of the PUBLISH packets while other
//! shards and the store have not yet answered [MQTT-4.6.0-2] [MQTT-4.6.0-3]. Must not: encode. Neighbours: `shard/publish`
//! registers, `shard/acknowledge` completes.

use std::collections::{BTreeSet, VecDeque};

use crate::wire::QoS;

/// State of the messages from one client.
#[derive(Debug, Default)]
pub struct Inbound {
    /// QoS 2 packet ids between PUBLISH and PUBREL. Bounded by the number of packet ids and by `receive_maximum`.
    received: BTreeSet<u16>,
    owed: VecDeque<Owed>,
    /// Number of the first entry of `owed`.
    first_number: u64,
    owed_qos1: usize,
}

/// An acknowledgement that is owed for one PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Packet id of the PUBLISH.
    pub packet_id: u16,
    /// `AtLeastOnce` (PUBACK) or `ExactlyOnce` (PUBREC).
    pub qos: QoS,
    /// Shards and store that have not answered.
    pub waits: u16,
    /// Whether somebody took the message.
    pub is_taken: bool,
    /// Whether somebody who matched refused it.
    pub is_refused: bool,
    /// Whether the connection that waits for the answer is still the one of the PUBLISH (or of its repetition).
    pub is_awaited: bool,
}

impl Inbound {
    /// Messages received and not yet fully acknowledged: what Receive Maximum bounds [MQTT-3.3.4-7].
    pub fn unacknowledged(&self) -> usize {
        self.owed_qos1 + self.received.len()
    }

    /// Whether a QoS 2 packet id is between PUBLISH and PUBREL.
    pub fn is_received(&self, packet_id: u16) -> bool {
        self.received.contains(&packet_id)
    }

    /// Notes a QoS 2 packet id. False if it was there already [MQTT-4.3.3-10].
    pub fn receive(&mut self, packet_id: u16) -> bool {
        self.received.insert(packet_id)
    }

    /// PUBREL: forgets the packet id. False if it is unknown.
    pub fn release(&mut self, packet_id: u16) -> bool {
        self.received.remove(&packet_id)
    }

    /// Whether nothing is owed, so that an answer that is ready may leave at once.
    pub fn owes_nothing(&self) -> bool {
        self.owed.is_empty()
    }

    /// The number that the next acknowledgement will have.
    pub fn next_number(&self) -> u64 {
        self.first_number + self.owed.len() as u64
    }

    /// Uses up a number for an acknowledgement that leaves at once, so that none is ever used twice.
    pub fn skip_number(&mut self) {
        debug_assert!(self.owed.is_empty(), "nothing is overtaken");
        self.first_number += 1;
    }

    /// Registers an acknowledgement; returns its number.
    pub fn owe(&mut self, owed: Owed) -> u64 {
        self.owed_qos1 += usize::from(owed.qos == QoS::AtLeastOnce);
        let number = self.next_number();
        self.owed.push_back(owed);
        number
    }

    /// The entry of that number, if it still waits.
    pub fn owed_mut(&mut self, number: u64) -> Option<&mut Owed> {
        let index = usize::try_from(number.checked_sub(self.first_number)?).ok()?;
        self.owed.get_mut(index)
    }

    /// Takes the first entry if nothing is missing for it.
    pub fn pop_complete(&mut self) -> Option<Owed> {
        let first = *self.owed.front()?;
        if first.waits > 0 {
            return None;
        }
        self.owed.pop_front();
        self.first_number += 1;
        self.owed_qos1 -= usize::from(first.qos == QoS::AtLeastOnce);
        Some(first)
    }

    /// A repeated PUBLISH (DUP): joins the acknowledgement that is still owed for its packet id. False if there is none.
    pub fn join(&mut self, packet_id: u16, qos: QoS) -> bool {
        let entry = self.owed.iter_mut().find(|owed| owed.packet_id == packet_id && owed.qos == qos);
        entry.map(|owed| owed.is_awaited = true).is_some()
    }

    /// The connection has gone: what is still owed completes silently.
    pub fn disconnect(&mut self) {
        for owed in &mut self.owed {
            owed.is_awaited = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owed(packet_id: u16, qos: QoS, waits: u16) -> Owed {
        Owed { packet_id, qos, waits, is_taken: false, is_refused: false, is_awaited: true }
    }

    /// [MQTT-4.6.0-2], [MQTT-4.6.0-3]: answers leave in the order of the PUBLISH packets.
    #[test]
    fn an_answer_that_is_ready_waits_for_the_ones_before_it() {
        let mut inbound = Inbound::default();
        let first = inbound.owe(owed(1, QoS::AtLeastOnce, 1));
        let second = inbound.owe(owed(2, QoS::AtLeastOnce, 0));
        assert_eq!(inbound.pop_complete(), None);
        inbound.owed_mut(first).expect("still owed").waits = 0;
        assert_eq!(inbound.pop_complete().map(|owed| owed.packet_id), Some(1));
        assert_eq!(inbound.pop_complete().map(|owed| owed.packet_id), Some(2));
        assert!(inbound.owed_mut(first).is_none() && inbound.owed_mut(second).is_none());
        assert!(inbound.owes_nothing());
    }

    /// Case Q01: a QoS 2 packet id takes one place however often it comes.
    #[test]
    fn a_repeated_qos_2_packet_id_is_one_entry() {
        let mut inbound = Inbound::default();
        assert!(inbound.receive(7));
        assert!(!inbound.receive(7));
        assert_eq!(inbound.unacknowledged(), 1);
        assert!(inbound.release(7));
        assert!(!inbound.release(7));
    }

    #[test]
    fn after_a_disconnect_only_a_repetition_is_answered() {
        let mut inbound = Inbound::default();
        inbound.owe(owed(1, QoS::ExactlyOnce, 0));
        inbound.owe(owed(2, QoS::ExactlyOnce, 0));
        inbound.disconnect();
        assert!(inbound.join(2, QoS::ExactlyOnce));
        assert!(!inbound.join(3, QoS::ExactlyOnce));
        assert_eq!(inbound.pop_complete().map(|owed| owed.is_awaited), Some(false));
        assert_eq!(inbound.pop_complete().map(|owed| owed.is_awaited), Some(true));
    }

    #[test]
    fn unacknowledged_counts_both_levels() {
        let mut inbound = Inbound::default();
        inbound.owe(owed(1, QoS::AtLeastOnce, 0));
        inbound.receive(2);
        inbound.owe(owed(2, QoS::ExactlyOnce, 0));
        assert_eq!(inbound.unacknowledged(), 2);
        while inbound.pop_complete().is_some() {}
        assert_eq!(inbound.unacknowledged(), 1, "QoS 2 counts until PUBREL");
    }
}
