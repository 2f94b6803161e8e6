//! The inflight window: QoS 1 and 2 messages sent to a client and not yet fully acknowledged.
//!
//! Duty: give out packet ids, never one in use [MQTT-2.2.1-3]; walk each message through its handshake; remember what is to be
//! sent again after a reconnect, in the original order [MQTT-4.4.0-1] [MQTT-4.6.0-1]. Must not: encode or queue.
//! Neighbours: `outbound` owns it; `shard/deliver` and `shard/acknowledge` drive it.
//!
//! Packet ids are given out in a circle from 1 to 65,535, so the window is a ring whose first place belongs to the oldest
//! packet id; the place of an id is found by subtraction. An id that is acknowledged out of order leaves a hole until the
//! ones before it are done; the span with its holes is bounded, so a client that leaves one message unanswered stalls itself.

use std::collections::VecDeque;

use super::Account;
use super::kept::Place;
use super::outbound::SubscriptionIds;
use crate::message::Message;
use crate::seldom::Seldom;
use crate::wire::QoS;

/// Packet ids in the circle.
const PACKET_IDS: usize = 65_535;

/// Packet ids from the first to the last that may be put back.
const RESTORED_SPAN_MAX: usize = PACKET_IDS / 2;

/// A message in the window.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The message; dropped when PUBREC has come, as only PUBREL is repeated from then on.
    pub message: Option<Message>,
    /// RETAIN flag it is sent with.
    pub retain: bool,
    /// Subscription Identifiers it is sent with.
    pub subscription_ids: SubscriptionIds,
    /// What is waited for.
    pub stage: Stage,
    /// Where it stands in the store; its packet id follows from that.
    pub place: Place,
}

/// Where a message stands in its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// QoS 1: PUBLISH sent.
    AwaitPuback,
    /// QoS 2: PUBLISH sent.
    AwaitPubrec,
    /// QoS 2: PUBREL sent.
    AwaitPubcomp,
}

impl Stage {
    /// The stage of a QoS 1 or 2 message that was just sent.
    pub fn of_sent(qos: QoS) -> Self {
        if qos == QoS::AtLeastOnce { Self::AwaitPuback } else { Self::AwaitPubrec }
    }

    /// The QoS of a message in that stage.
    pub fn qos(self) -> QoS {
        match self {
            Self::AwaitPuback => QoS::AtLeastOnce,
            Self::AwaitPubrec | Self::AwaitPubcomp => QoS::ExactlyOnce,
        }
    }
}

/// An acknowledgement that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckError {
    /// No message of that packet id is in flight.
    Unknown,
    /// There is one, but it waits for another kind of packet.
    WrongStage,
}

/// The window of one session.
#[derive(Debug)]
pub struct Inflight {
    ring: Seldom<VecDeque<Option<Sent>>>,
    /// Packet id of the first place, counted from 0.
    first: usize,
    /// Places that are filled.
    held: usize,
    /// Messages sent on this connection and not yet acknowledged.
    outstanding: usize,
    /// Receive Maximum of the client, or our own bound if smaller.
    window: usize,
    /// Packet ids to send again on this connection, in order.
    resend: Seldom<VecDeque<u16>>,
    /// What the session holds of the shard's bytes: this window, and the queue behind it.
    pub(super) account: Account,
}

impl Inflight {
    /// An empty window of `window` messages, charged to `account`.
    pub fn new(window: u16, account: Account) -> Self {
        Self {
            ring: Seldom::new(),
            first: 0,
            held: 0,
            outstanding: 0,
            window: usize::from(window).max(1),
            resend: Seldom::new(),
            account,
        }
    }

    /// Messages in flight.
    pub fn len(&self) -> usize {
        self.held
    }

    /// Messages in flight that the client has not answered at all.
    pub fn unanswered(&self) -> usize {
        self.ring.iter().flatten().filter(|sent| sent.message.is_some()).count()
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// A connection begins with this window: everything held is to be sent again, in order.
    pub fn resume(&mut self, window: u16) {
        self.window = usize::from(window).max(1);
        self.outstanding = 0;
        self.resend.give_up();
        if self.held == 0 {
            return;
        }
        let first = self.first;
        let held = self.ring.iter().enumerate().filter(|(_, place)| place.is_some());
        self.resend.extend(held.map(|(offset, _)| packet_id(first + offset)));
    }

    /// Whether a further message may be sent now [MQTT-4.9.0-2].
    pub fn has_room(&self) -> bool {
        self.resend.is_empty() && self.outstanding < self.window && self.ring.len() < self.span_max()
    }

    /// Whether there is room for the packet id of that place, if it has one: ids of messages that were dropped before they were sent
    /// are passed over.
    pub fn reaches(&self, place: Place) -> bool {
        if place.is_none() || self.ring.is_empty() {
            return true;
        }
        self.passed_over(usize::from(place.packet_id() - 1)) + self.ring.len() < self.span_max()
    }

    /// Places that are left empty if the next one is this, counted from 0.
    fn passed_over(&self, next: usize) -> usize {
        if self.ring.is_empty() { 0 } else { in_circle(next + PACKET_IDS - in_circle(self.first + self.ring.len())) }
    }

    fn span_max(&self) -> usize {
        (self.window * 4).clamp(64, PACKET_IDS)
    }

    /// Takes a message in; returns its packet id. Only when there is room.
    pub fn insert(&mut self, sent: Sent) -> u16 {
        debug_assert!(self.reaches(sent.place), "the window is never overrun");
        if !sent.place.is_none() {
            self.pass_to(sent.place);
        }
        self.insert_next(sent)
    }

    /// As [`Self::insert`], for a message whose packet id is the next one, or that has no place.
    #[inline]
    pub fn insert_next(&mut self, sent: Sent) -> u16 {
        debug_assert!(self.has_room(), "the window is never overrun");
        debug_assert!(sent.place.is_none() || self.is_next(sent.place), "no packet id is passed over");
        let id = packet_id(self.first + self.ring.len());
        if let Some(message) = &sent.message {
            self.account.charge_message(message);
        }
        self.ring.push_back(Some(sent));
        self.held += 1;
        self.account.enter_flight();
        self.outstanding += 1;
        id
    }

    /// Whether the packet id of a place is the one that the next message gets anyway.
    pub fn is_next(&self, place: Place) -> bool {
        packet_id(self.first + self.ring.len()) == place.packet_id()
    }

    /// Passes over packet ids, so that the one of this place is next. Only what is reached.
    pub fn pass_to(&mut self, place: Place) {
        self.pass_over(usize::from(place.packet_id() - 1));
    }

    /// Leaves holes up to this place, counted from 0.
    fn pass_over(&mut self, next: usize) {
        if self.ring.is_empty() {
            self.first = next;
        }
        while in_circle(self.first + self.ring.len()) != next {
            self.ring.push_back(None);
        }
    }

    /// Puts back a message that was in flight, or may have been, when the process ended: also more than the window has, as the client
    /// may still acknowledge each, and some that it has may be back. Whether there was room.
    pub fn restore(&mut self, sent: Sent) -> bool {
        let next = usize::from(sent.place.packet_id() - 1);
        if self.passed_over(next) + self.ring.len() >= RESTORED_SPAN_MAX {
            return false;
        }
        self.pass_over(next);
        if let Some(message) = &sent.message {
            self.account.charge_message(message);
        }
        self.ring.push_back(Some(sent));
        self.held += 1;
        self.account.enter_flight();
        true
    }

    /// What is in flight, in order.
    pub fn sent(&self) -> impl Iterator<Item = &Sent> {
        self.ring.iter().flatten()
    }

    /// Messages that may be in flight on this connection.
    pub fn window(&self) -> usize {
        self.window
    }

    /// Bytes that the session holds, its queue included.
    pub fn held_bytes(&self) -> usize {
        self.account.weight()
    }

    /// Places of all that is in flight.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.ring.iter().flatten().map(|sent| sent.place)
    }

    /// The next message to send again, with its packet id, if the window has room for it.
    pub fn next_resend(&mut self) -> Option<(u16, Sent)> {
        while self.outstanding < self.window && !self.resend.is_empty() {
            let id = self.resend.pop_front()?;
            if let Some(sent) = self.place(id).and_then(|place| place.clone()) {
                self.outstanding += 1;
                return Some((id, sent));
            }
        }
        None
    }

    /// PUBACK.
    ///
    /// # Errors
    /// [`AckError`] if no QoS 1 message of that id is in flight; nothing changes.
    pub fn puback(&mut self, id: u16) -> Result<Place, AckError> {
        self.finish(id, |stage| stage == Stage::AwaitPuback)
    }

    /// PUBREC with success: PUBREL is to be sent. A second PUBREC for the same id is answered again.
    ///
    /// # Errors
    /// [`AckError`] if no QoS 2 message of that id is in flight; nothing changes.
    pub fn pubrec(&mut self, id: u16) -> Result<Place, AckError> {
        let sent = self.place(id).and_then(Option::as_mut).ok_or(AckError::Unknown)?;
        if sent.stage == Stage::AwaitPuback {
            return Err(AckError::WrongStage);
        }
        sent.stage = Stage::AwaitPubcomp;
        let (message, place) = (sent.message.take(), sent.place);
        if let Some(message) = message {
            self.account.release_message(&message);
        }
        Ok(place)
    }

    /// PUBREC with an error: the message is done [MQTT-4.3.3-4 and section 4.9].
    ///
    /// # Errors
    /// [`AckError`] if no QoS 2 message of that id waits for PUBREC; nothing changes.
    pub fn pubrec_refused(&mut self, id: u16) -> Result<Place, AckError> {
        self.finish(id, |stage| stage == Stage::AwaitPubrec)
    }

    /// PUBCOMP.
    ///
    /// # Errors
    /// [`AckError`] if no QoS 2 message of that id waits for PUBCOMP; nothing changes.
    pub fn pubcomp(&mut self, id: u16) -> Result<Place, AckError> {
        self.finish(id, |stage| stage == Stage::AwaitPubcomp)
    }

    /// Drops a message that turns out not to be sendable (expired, too large) and frees its packet id.
    pub fn abandon(&mut self, id: u16) -> Place {
        self.finish(id, |stage| stage != Stage::AwaitPubcomp).unwrap_or_default()
    }

    /// Takes out a message that waits for what has come.
    #[inline]
    fn finish(&mut self, id: u16, is_due: impl Fn(Stage) -> bool) -> Result<Place, AckError> {
        let place = self.place(id).ok_or(AckError::Unknown)?;
        let sent = place.take_if(|sent| is_due(sent.stage));
        let Some(sent) = sent else {
            return Err(if place.is_none() { AckError::Unknown } else { AckError::WrongStage });
        };
        let place = sent.place;
        if let Some(message) = sent.message {
            self.account.release_message(&message);
        }
        self.held -= 1;
        self.account.leave_flight(1);
        // An id that is still to be sent again was not counted on this connection, and must not keep the window shut.
        match self.waiting_to_resend(id) {
            Some(at) => drop(self.resend.remove(at)),
            None => self.outstanding -= 1,
        }
        let ring = &mut *self.ring;
        while let Some(None) = ring.front() {
            ring.pop_front();
            self.first = in_circle(self.first + 1);
        }
        if ring.is_empty() && ring.capacity() > 64 {
            ring.shrink_to(16);
        }
        Ok(place)
    }

    fn waiting_to_resend(&self, id: u16) -> Option<usize> {
        if self.resend.is_empty() { None } else { self.resend.iter().position(|&waiting| waiting == id) }
    }

    fn place(&mut self, id: u16) -> Option<&mut Option<Sent>> {
        let counted = usize::from(id.checked_sub(1)?);
        self.ring.get_mut(in_circle(counted + PACKET_IDS - self.first))
    }
}

/// The packet id of a place counted from 0.
fn packet_id(counted: usize) -> u16 {
    u16::try_from(in_circle(counted) + 1).expect("at most 65,535")
}

/// A place that was counted round the circle once at most; a division would cost more than the rest.
fn in_circle(counted: usize) -> usize {
    debug_assert!(counted < 2 * PACKET_IDS);
    if counted < PACKET_IDS { counted } else { counted - PACKET_IDS }
}

impl Drop for Inflight {
    fn drop(&mut self) {
        self.account.leave_flight(self.held);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::super::account::{Budget, LargePayloads};
    use super::*;

    fn account() -> Account {
        Budget::new(usize::MAX, LargePayloads::default(), 1).open()
    }

    fn sent(stage: Stage) -> Sent {
        Sent { message: None, retain: false, subscription_ids: SubscriptionIds::default(), stage, place: Place::NONE }
    }

    /// Subscribers with wide windows make them by the thousand each.
    #[test]
    fn a_message_in_the_window_takes_three_words() {
        assert!(size_of::<Option<Sent>>() <= 24, "{}", size_of::<Option<Sent>>());
    }

    /// One message without an answer does not let the list grow for ever: four windows of packet ids, and at least 64.
    #[test]
    fn the_oldest_unanswered_message_bounds_how_far_others_go_on() {
        for (window, span) in [(20, 80), (2, 64)] {
            let mut inflight = Inflight::new(window, account());
            inflight.insert(sent(Stage::AwaitPuback));
            let mut count = 1;
            while inflight.has_room() && count < 1000 {
                let id = inflight.insert(sent(Stage::AwaitPuback));
                inflight.puback(id).expect("it is in flight");
                count += 1;
            }
            assert_eq!((count, inflight.len(), inflight.unanswered()), (span, 1, 0));
        }
    }

    #[test]
    fn a_list_that_was_long_gives_its_memory_back_when_it_is_empty() {
        for (held, is_given_back) in [(40, false), (65, true)] {
            let mut inflight = Inflight::new(100, account());
            let ids = (0..held).map(|_| inflight.insert(sent(Stage::AwaitPuback))).collect::<Vec<_>>();
            let before = inflight.ring.capacity();
            let (last, others) = ids.split_last().expect("some are held");
            for id in others {
                inflight.puback(*id).expect("it is in flight");
            }
            assert_eq!(inflight.ring.capacity(), before, "while it is not empty");
            inflight.puback(*last).expect("it is in flight");
            assert_eq!(inflight.ring.capacity() < before, is_given_back, "{held} were held");
        }
    }

    /// Case Q06: packet id 0 is never used [MQTT-2.2.1-3], and none is used twice at a time.
    #[test]
    fn packet_ids_run_in_a_circle_without_zero() {
        let mut inflight = Inflight::new(2, account());
        for round in 0..200_000_u32 {
            let id = inflight.insert(sent(Stage::AwaitPuback));
            assert_eq!(u32::from(id), round % 65_535 + 1);
            inflight.puback(id).expect("in flight");
        }
        assert!(inflight.is_empty());
    }

    /// [MQTT-4.9.0-2]: no more than the window is outstanding.
    #[test]
    fn the_window_closes_and_opens_again() {
        let mut inflight = Inflight::new(2, account());
        let first = inflight.insert(sent(Stage::AwaitPuback));
        let second = inflight.insert(sent(Stage::AwaitPubrec));
        assert!(!inflight.has_room());
        inflight.pubrec(second).expect("in flight");
        assert!(!inflight.has_room(), "a QoS 2 message counts until PUBCOMP");
        inflight.pubcomp(second).expect("in flight");
        assert!(inflight.has_room());
        inflight.puback(first).expect("in flight");
    }

    /// Case Q07: an acknowledgement of the wrong kind changes nothing.
    #[test]
    fn a_misfit_acknowledgement_changes_nothing() {
        let mut inflight = Inflight::new(10, account());
        let one = inflight.insert(sent(Stage::AwaitPuback));
        let two = inflight.insert(sent(Stage::AwaitPubrec));
        assert_eq!(inflight.puback(two), Err(AckError::WrongStage));
        assert_eq!(inflight.pubrec(one), Err(AckError::WrongStage));
        assert_eq!(inflight.pubcomp(two), Err(AckError::WrongStage));
        assert_eq!(inflight.puback(0), Err(AckError::Unknown));
        assert_eq!(inflight.puback(99), Err(AckError::Unknown));
        assert_eq!(inflight.len(), 2);
        inflight.pubrec(two).expect("in flight");
        assert_eq!(inflight.pubrec_refused(two), Err(AckError::WrongStage));
        inflight.pubcomp(two).expect("in flight");
        assert_eq!(inflight.pubcomp(two), Err(AckError::Unknown));
    }

    /// [MQTT-4.4.0-1], [MQTT-4.6.0-1]: what is unacknowledged is sent again, in order, within the new window.
    #[test]
    fn a_resumed_window_repeats_in_order_and_within_the_new_receive_maximum() {
        let mut inflight = Inflight::new(10, account());
        let ids: Vec<u16> = (0..5).map(|_| inflight.insert(sent(Stage::AwaitPuback))).collect();
        inflight.puback(ids[1]).expect("in flight");
        inflight.resume(2);
        assert!(!inflight.has_room());
        assert_eq!(inflight.next_resend().map(|(id, _)| id), Some(ids[0]));
        assert_eq!(inflight.next_resend().map(|(id, _)| id), Some(ids[2]));
        assert!(inflight.next_resend().is_none());
        inflight.puback(ids[0]).expect("in flight");
        assert_eq!(inflight.next_resend().map(|(id, _)| id), Some(ids[3]));
        inflight.puback(ids[4]).expect("acknowledged before it was repeated");
        inflight.puback(ids[2]).expect("in flight");
        assert!(inflight.next_resend().is_none());
        inflight.puback(ids[3]).expect("in flight");
        assert!(inflight.has_room() && inflight.is_empty());
    }

    /// A client may send on a new connection the acknowledgements that did not leave with the old one.
    #[test]
    fn a_window_whose_messages_were_all_acknowledged_before_they_were_repeated_is_open() {
        let mut inflight = Inflight::new(2, account());
        let ids: Vec<u16> = (0..2).map(|_| inflight.insert(sent(Stage::AwaitPuback))).collect();
        inflight.resume(2);
        for id in ids {
            inflight.puback(id).expect("in flight");
        }
        assert!(inflight.is_empty() && inflight.has_room());
    }

    proptest! {
        /// Whatever the order of acknowledgements: ids in use are distinct, counts agree with a plain map.
        #[test]
        fn the_ring_agrees_with_a_plain_map(window in 1_u16..20, steps in proptest::collection::vec((0_u8..4, any::<u16>()), 1..400)) {
            let mut inflight = Inflight::new(window, account());
            let mut model: HashMap<u16, Stage> = HashMap::new();
            for (step, pick) in steps {
                let mut used: Vec<u16> = model.keys().copied().collect();
                used.sort_unstable();
                let id = if used.is_empty() { pick } else { used[usize::from(pick) % used.len()] };
                match step {
                    0 if inflight.has_room() => {
                        let id = inflight.insert(sent(Stage::AwaitPubrec));
                        prop_assert!(model.insert(id, Stage::AwaitPubrec).is_none());
                    }
                    1 => {
                        let fits = model.contains_key(&id);
                        prop_assert_eq!(inflight.pubrec(id).is_ok(), fits);
                        if fits { model.insert(id, Stage::AwaitPubcomp); }
                    }
                    2 => {
                        let fits = model.get(&id) == Some(&Stage::AwaitPubcomp);
                        prop_assert_eq!(inflight.pubcomp(id).is_ok(), fits);
                        if fits { model.remove(&id); }
                    }
                    _ => {
                        inflight.resume(window);
                        let mut repeated = HashSet::new();
                        while let Some((id, sent)) = inflight.next_resend() {
                            prop_assert_eq!(model.get(&id), Some(&sent.stage));
                            prop_assert!(repeated.insert(id));
                        }
                        prop_assert_eq!(repeated.len(), model.len());
                    }
                }
                prop_assert_eq!(inflight.len(), model.len());
                prop_assert!(model.len() <= usize::from(window));
            }
        }
    }
}
