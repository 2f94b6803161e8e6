//! What a client sent and is not yet answered.
//!
//! Duty: remember QoS 2 packet ids until PUBREL, keep PUBACK and PUBREC in the order of the PUBLISH packets while other
//! shards and the store have not yet answered [MQTT-4.6.0-2] [MQTT-4.6.0-3]. Must not: encode. Neighbours: `shard/publish`
//! registers, `shard/acknowledge` completes.

use std::collections::{BTreeMap, VecDeque};
use std::num::{NonZeroU32, NonZeroU64};

use crate::id::GlobalSessionId;
use crate::seldom::Seldom;
use crate::wire::QoS;

/// State of the messages from one client.
#[derive(Debug, Default)]
pub struct Inbound {
    /// QoS 2 packet ids between PUBLISH and PUBREL. Bounded by the number of packet ids and, per connection, by
    /// `receive_maximum`.
    received: Seldom<BTreeMap<u16, Receipt>>,
    /// Those that came on this connection.
    received_here: u32,
    owed: Seldom<VecDeque<Owed>>,
    /// Number of the first entry of `owed`.
    first_number: u64,
    /// QoS 1 entries that this connection awaits.
    owed_qos1: u32,
    /// Whether the connection is not read because of what is owed.
    pub is_stopped: bool,
}

/// A QoS 2 message between PUBLISH and PUBREL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Whether the PUBLISH came on this connection.
    is_here: bool,
    /// Whether there is a record of it.
    pub is_stored: bool,
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
    /// Whether somebody took the message whom nobody needs to wait for.
    pub is_taken: bool,
    /// The session that took the message and has a long queue, if no other took it: its relief is waited for.
    pub congested: Option<GlobalSessionId>,
    /// Whether somebody who matched refused it.
    pub is_refused: bool,
    /// Whether the message may not be published at all: nobody was asked.
    pub is_denied: bool,
    /// Whether its payload is larger than may be: nobody was asked.
    pub is_too_large: bool,
    /// The line of the ACL file that denied it, if one did.
    pub denied_by: Option<NonZeroU32>,
    /// Whether the store failed: whoever took the message, it is not safe.
    pub is_failed: bool,
    /// Whether the connection that waits for the answer is still the one of the PUBLISH (or of its repetition).
    pub is_awaited: bool,
    /// Number of the entry that a repetition took behind later PUBLISH packets of its connection; completes with this one.
    pub follower: Option<NonZeroU64>,
    /// What several shards do for it, if they do: when only the store is missing, that is closed.
    pub operation: Option<NonZeroU64>,
}

impl Owed {
    /// Packet id 0 is none: there is nothing to answer.
    pub(super) const NOTHING: Self = Self {
        packet_id: 0,
        qos: QoS::AtLeastOnce,
        waits: 0,
        is_taken: false,
        congested: None,
        is_refused: false,
        is_denied: false,
        is_too_large: false,
        denied_by: None,
        is_failed: false,
        is_awaited: false,
        follower: None,
        operation: None,
    };

    /// Whether it waits for nothing but the relief of a session.
    pub fn is_withheld(&self) -> bool {
        self.congested.is_some() && !self.is_taken && !self.is_failed
    }
}

impl Inbound {
    /// Messages received on this connection and not yet fully acknowledged: what Receive Maximum bounds [MQTT-3.3.4-7]. What
    /// is left of earlier connections does not count, as the client begins each with its whole quota (section 4.9).
    pub fn unacknowledged(&self) -> usize {
        (self.owed_qos1 + self.received_here) as usize
    }

    /// Whether a QoS 2 packet id is between PUBLISH and PUBREL.
    pub fn is_received(&self, packet_id: u16) -> bool {
        self.received.contains_key(&packet_id)
    }

    /// Whether there is a record of that packet id.
    pub fn is_stored(&self, packet_id: u16) -> bool {
        self.received.get(&packet_id).is_some_and(|receipt| receipt.is_stored)
    }

    /// Notes a QoS 2 packet id. False if it was there already [MQTT-4.3.3-10].
    pub fn receive(&mut self, packet_id: u16) -> bool {
        let fresh = Receipt { is_here: true, is_stored: false };
        let Some(known) = self.received.insert(packet_id, fresh) else {
            self.received_here += 1;
            return true;
        };
        self.received_here += u32::from(!known.is_here);
        if known.is_stored {
            self.note_stored(packet_id);
        }
        false
    }

    /// Puts back a packet id that was there when the process ended.
    pub fn restore(&mut self, packet_id: u16) {
        self.received.insert(packet_id, Receipt { is_here: false, is_stored: true });
    }

    /// The packet ids between PUBLISH and PUBREL of which there is a record.
    pub fn stored(&self) -> impl Iterator<Item = u16> {
        self.received.iter().filter(|(_, receipt)| receipt.is_stored).map(|(packet_id, _)| *packet_id)
    }

    /// There is a record of a packet id now. False if the packet id is unknown.
    pub fn note_stored(&mut self, packet_id: u16) -> bool {
        let receipt = self.received.get_mut(&packet_id);
        receipt.map(|receipt| receipt.is_stored = true).is_some()
    }

    /// PUBREL: forgets the packet id. `None` if it is unknown.
    pub fn release(&mut self, packet_id: u16) -> Option<Receipt> {
        let receipt = self.received.remove(&packet_id)?;
        self.received_here -= u32::from(receipt.is_here);
        Some(receipt)
    }

    /// Acknowledgements that are owed.
    pub fn owed(&self) -> usize {
        self.owed.len()
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

    /// Uses up a number that a panic left without an acknowledgement: answers that still come for it find nothing.
    pub fn void_number(&mut self) {
        if self.owed.is_empty() {
            return self.skip_number();
        }
        self.owed.push_back(Owed::NOTHING);
    }

    /// Registers an acknowledgement; returns its number.
    pub fn owe(&mut self, owed: Owed) -> u64 {
        self.owed_qos1 += u32::from(owed.qos == QoS::AtLeastOnce && owed.is_awaited);
        let number = self.next_number();
        self.owed.push_back(owed);
        number
    }

    /// The entry of that number, if it still waits.
    pub fn owed_mut(&mut self, number: u64) -> Option<&mut Owed> {
        let index = usize::try_from(number.checked_sub(self.first_number)?).ok()?;
        // Packet id 0 is none: a number that is void.
        self.owed.get_mut(index).filter(|owed| owed.packet_id != 0)
    }

    /// Takes the first entry if nothing is missing for it.
    pub fn pop_complete(&mut self) -> Option<Owed> {
        let first = *self.owed.front()?;
        if first.waits > 0 || first.is_withheld() {
            return None;
        }
        self.owed.pop_front();
        self.first_number += 1;
        self.owed_qos1 -= u32::from(first.qos == QoS::AtLeastOnce && first.is_awaited);
        if let Some(follower) = first.follower.and_then(|number| self.owed_mut(number.get())) {
            follower.waits -= 1;
            follower.is_taken |= first.is_taken;
            follower.is_refused |= first.is_refused;
            follower.is_failed |= first.is_failed;
        }
        Some(first)
    }

    /// A repeated PUBLISH (DUP): joins the acknowledgement that is still owed for its packet id. False if there is none.
    /// What is owed from an earlier connection must not be answered before what this connection sent ahead of the repetition.
    pub fn join(&mut self, packet_id: u16, qos: QoS) -> bool {
        let is_same = |owed: &Owed| owed.packet_id == packet_id && owed.qos == qos;
        let Some(at) = self.owed.iter().rposition(is_same) else { return false };
        if self.owed[at].is_awaited {
            return true;
        }
        // It is not awaited itself, so that what is found stands behind it.
        if !self.owed.range(at..).any(|owed| owed.is_awaited) {
            self.owed[at].is_awaited = true;
            self.owed_qos1 += u32::from(qos == QoS::AtLeastOnce);
            return true;
        }
        // The last of its packet id has no follower to inherit. A relief that it waits for, the follower waits for through it.
        let follower = Owed { waits: 1, is_awaited: true, operation: None, ..self.owed[at] };
        // Never 0, as it stands behind another.
        self.owed[at].follower = NonZeroU64::new(self.next_number());
        self.owe(follower);
        true
    }

    /// A session is relieved: if the acknowledgement of that number was withheld because of it, it is so no longer.
    pub fn relieve(&mut self, number: u64, session: GlobalSessionId) {
        if let Some(owed) = self.owed_mut(number).filter(|owed| owed.congested == Some(session)) {
            owed.congested = None;
            owed.is_taken = true;
        }
    }

    /// The connection has gone: what is still owed completes silently.
    pub fn disconnect(&mut self) {
        if !self.owed.is_empty() {
            self.owed.iter_mut().for_each(|owed| owed.is_awaited = false);
        }
        if !self.received.is_empty() {
            self.received.values_mut().for_each(|receipt| receipt.is_here = false);
        }
        self.received_here = 0;
        self.owed_qos1 = 0;
        self.is_stopped = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{SessionId, ShardId};

    fn owed(packet_id: u16, qos: QoS, waits: u16) -> Owed {
        Owed { packet_id, qos, waits, is_awaited: true, ..Owed::NOTHING }
    }

    #[test]
    fn a_number_is_used_up_by_an_answer_that_leaves_at_once_or_never_comes() {
        let mut inbound = Inbound::default();
        inbound.skip_number();
        inbound.void_number();
        assert_eq!(inbound.owe(owed(7, QoS::AtLeastOnce, 0)), 2);
        inbound.void_number();
        assert_eq!(inbound.owe(owed(8, QoS::AtLeastOnce, 0)), 4);
        assert_eq!(inbound.owed_mut(3), None, "nothing is owed by a number that is void");
        let popped = std::iter::from_fn(|| inbound.pop_complete()).map(|owed| owed.packet_id).collect::<Vec<_>>();
        assert_eq!(popped, [7, 0, 8]);
        assert!(inbound.owes_nothing());
    }

    /// A repetition behind later packets waits for the answer of the first PUBLISH alone, and is answered with the same.
    #[test]
    fn a_follower_takes_over_what_became_of_the_first() {
        let session = GlobalSessionId { shard: ShardId(0), session: SessionId { slot: 0, generation: 0 } };
        for taken in [false, true] {
            let mut inbound = Inbound::default();
            inbound.owe(Owed { congested: (!taken).then_some(session), ..owed(7, QoS::AtLeastOnce, 2) });
            inbound.disconnect();
            inbound.owe(owed(8, QoS::AtLeastOnce, 0));
            assert!(inbound.join(7, QoS::AtLeastOnce));
            let first = inbound.owed_mut(0).expect("it waits");
            (first.waits, first.is_taken, first.is_refused, first.is_failed) = (0, taken, true, true);
            inbound.relieve(0, session);
            assert_eq!(inbound.pop_complete().map(|owed| owed.packet_id), Some(7));
            assert_eq!(inbound.pop_complete().map(|owed| owed.packet_id), Some(8));
            let follower = inbound.pop_complete().expect("it waits for nothing else");
            assert_eq!((follower.packet_id, follower.is_awaited), (7, true));
            assert_eq!((follower.is_taken, follower.is_refused, follower.is_failed), (true, true, true));
        }
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
        assert!(inbound.release(7).is_some());
        assert!(inbound.release(7).is_none());
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

    /// [MQTT-4.6.0-2]: on the new connection the repetition came second, so it is answered second.
    #[test]
    fn a_repetition_is_not_answered_before_what_its_connection_sent_ahead_of_it() {
        let mut inbound = Inbound::default();
        let old = inbound.owe(owed(2, QoS::AtLeastOnce, 1));
        inbound.disconnect();
        let new = inbound.owe(owed(1, QoS::AtLeastOnce, 1));
        assert!(inbound.join(2, QoS::AtLeastOnce));
        inbound.owed_mut(old).expect("still owed").waits = 0;
        assert_eq!(inbound.pop_complete().map(|owed| owed.is_awaited), Some(false));
        assert_eq!(inbound.pop_complete(), None);
        inbound.owed_mut(new).expect("still owed").waits = 0;
        let answered = std::iter::from_fn(|| inbound.pop_complete()).map(|owed| (owed.packet_id, owed.is_awaited));
        assert_eq!(answered.collect::<Vec<_>>(), [(1, true), (2, true)]);
        assert_eq!(inbound.unacknowledged(), 0);
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

    /// Section 4.9: a client that has lost its state never releases its old packet ids, and may still use its whole quota.
    #[test]
    fn what_earlier_connections_left_does_not_count_until_it_is_repeated() {
        let mut inbound = Inbound::default();
        inbound.receive(1);
        inbound.owe(owed(2, QoS::AtLeastOnce, 1));
        inbound.disconnect();
        assert_eq!(inbound.unacknowledged(), 0);
        assert!(!inbound.receive(1) && inbound.join(2, QoS::AtLeastOnce));
        assert_eq!(inbound.unacknowledged(), 2);
        assert!(inbound.release(1).is_some());
        assert_eq!(inbound.unacknowledged(), 1);
    }
}
