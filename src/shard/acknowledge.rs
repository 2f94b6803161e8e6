//! Acknowledgements, in both directions.
//!
//! Duty: PUBACK, PUBREC, PUBREL, PUBCOMP from clients (sections 3.4 to 3.7); ours to publishers, which leave in the order
//! of the PUBLISH packets and only when every shard and the store have the message. Must not: route. Neighbours:
//! `publish` owes, `mesh` and the store complete, `deliver` pumps when the window opens.

use super::keep::{forget, note_released};
use super::receive::{Source, Step};
use super::route::Routed;
use super::{GroupOrigin, Outbox, Outcome, Shard};
use crate::id::{ConnectionId, GlobalSessionId, Millis, SessionId, ShardId};
use crate::session::{AckError, Owed, Place};
use crate::wire::{Ack, AckKind, ProtocolVersion, QoS, ReasonCode};

/// First bytes of acknowledgements (table 2-1), flags included.
const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;

/// Who waits for an answer: an entry of a session's owed acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) session: SessionId,
    pub(super) number: u64,
}

/// What waits for the store.
#[derive(Clone, Copy, Debug)]
pub(super) enum StoreWait {
    /// A publisher of this shard.
    Owed(Waiter),
    /// The acknowledgement of a message from another shard.
    Peer { from: ShardId, number: u64, outcome: Outcome },
    /// The answer to a message for a shared subscription that was passed on to this shard.
    PassedOn { origin: GroupOrigin, outcome: Outcome },
}

impl Shard {
    /// Owes PUBACK or PUBREC for a PUBLISH that was routed; answers at once if nothing is open.
    pub(super) fn owe(
        &mut self,
        now: Millis,
        source: Source<'_>,
        (packet_id, qos): (u16, QoS),
        routed: Routed,
        outbox: &mut Outbox,
    ) {
        let Some(session) = self.sessions.get_mut(source.session) else { return };
        let is_complete = routed.waits == 0 && session.inbound.owes_nothing();
        if is_complete && routed.is_taken && !routed.is_denied && session.connection == Some(source.connection) {
            session.inbound.skip_number();
            return send_ack(source, answer_to(qos), packet_id, ReasonCode::Success, outbox);
        }
        let owed = Owed {
            packet_id,
            qos,
            waits: routed.waits,
            is_taken: routed.is_taken,
            congested: routed.congested.filter(|_| !routed.is_taken),
            is_refused: routed.is_refused,
            is_denied: routed.is_denied,
            is_too_large: routed.is_too_large,
            denied_by: routed.denied_by,
            is_failed: false,
            is_awaited: true,
            follower: None,
            operation: routed.operation,
        };
        if is_complete && !owed.is_withheld() {
            session.inbound.skip_number();
            self.answer_owed(now, source.session, owed, outbox);
            return;
        }
        let number = session.owe(owed);
        if let Some(congested) = owed.congested {
            self.await_relief(Waiter { session: source.session, number }, congested);
        }
    }

    /// Withholds an answer until a session is relieved, if it is not by now.
    fn await_relief(&mut self, waiter: Waiter, congested: GlobalSessionId) {
        let own = self.id();
        let is_congested = self.told(own, Outcome::Congested(congested)) != Outcome::Taken;
        let Some(session) = self.sessions.get_mut(waiter.session) else { return };
        let Some(owed) = session.inbound.owed_mut(waiter.number).filter(|owed| !owed.is_taken) else { return };
        if is_congested {
            owed.congested = Some(congested);
            self.withhold(waiter, congested);
        } else {
            owed.is_taken = true;
        }
    }

    /// One answer has come for a waiter.
    pub(super) fn complete(&mut self, now: Millis, waiter: Waiter, outcome: Outcome, outbox: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(waiter.session) else { return };
        if let Some(owed) = session.inbound.owed_mut(waiter.number) {
            owed.waits -= 1;
            // Only what closes it is missing.
            let closes = owed.operation.take_if(|_| owed.waits == 1).map(|operation| (operation, owed.packet_id));
            owed.is_taken |= outcome == Outcome::Taken;
            owed.is_refused |= outcome == Outcome::Refused;
            owed.is_failed |= outcome == Outcome::Failed;
            let is_withheld_already = owed.congested.is_some();
            if let Outcome::Congested(congested) = outcome
                && !is_withheld_already
            {
                self.await_relief(waiter, congested);
            }
            if let Some((operation, packet_id)) = closes {
                self.close_operation(operation, packet_id, outbox);
            }
        }
        self.answer_complete(now, waiter.session, outbox);
    }

    /// Sends the answers for which nothing is missing, in their order.
    pub(super) fn answer_complete(&mut self, now: Millis, id: SessionId, outbox: &mut Outbox) {
        while let Some(session) = self.sessions.get_mut(id) {
            let Some(owed) = session.pop_complete() else {
                if session.inbound.is_stopped && session.owes_little(&self.config.limits) {
                    session.inbound.is_stopped = false;
                    outbox.resumes.extend(session.connection);
                }
                return;
            };
            self.answer_owed(now, id, owed, outbox);
        }
    }

    /// Whether a publisher is owed so much that it is not read until that is less.
    pub(super) fn stop_if_owed_too_much(&mut self, id: SessionId, outbox: &mut Outbox) -> bool {
        let limits = &self.config.limits;
        let Some(session) = self.sessions.get_mut(id).filter(|session| session.owes_too_much(limits)) else {
            return false;
        };
        session.inbound.is_stopped = true;
        self.counters.stopped_by_owed_acks += 1;
        self.wait_for_nobody_who_waits(id, outbox);
        true
    }

    fn answer_owed(&mut self, now: Millis, session_id: SessionId, owed: Owed, outbox: &mut Outbox) {
        let reason = match owed {
            Owed { is_denied: true, .. } => ReasonCode::NotAuthorized,
            Owed { is_too_large: true, .. } => ReasonCode::ImplementationSpecificError,
            Owed { is_failed: true, .. } => ReasonCode::QuotaExceeded,
            Owed { is_taken: true, .. } => ReasonCode::Success,
            Owed { is_refused: true, .. } => ReasonCode::QuotaExceeded,
            _ => ReasonCode::NoMatchingSubscribers,
        };
        let Some(session) = self.sessions.get_mut(session_id) else { return };
        if reason.is_error() && owed.qos == QoS::ExactlyOnce {
            // PUBREC with an error ends the handshake: the packet id is free again [MQTT-4.3.3-9].
            let receipt = session.inbound.release(owed.packet_id);
            if receipt.is_some_and(|receipt| receipt.is_stored) {
                self.forget_received(session_id, owed.packet_id, outbox);
            }
        }
        let Some(session) = self.sessions.get_mut(session_id) else { return };
        let Some(connection) = session.connection.filter(|_| owed.is_awaited) else { return };
        let Some(version) = self.connections.get_mut(connection).map(|record| record.version) else { return };
        if reason == ReasonCode::QuotaExceeded && version < ProtocolVersion::V5 {
            // 3.x has no word for a failure, and success would be a lie: without an answer it may send again (cases Q05, O06).
            self.counters.closed_for_refusal += 1;
            self.close(now, connection, reason, failure_words(&owed), outbox);
            return;
        }
        let source = Source { connection, session: session_id, version, shared: None };
        self.answer(source, owed, reason, outbox);
    }

    /// Sends PUBACK or PUBREC, with words if it is a failure.
    fn answer(&mut self, source: Source<'_>, owed: Owed, reason: ReasonCode, outbox: &mut Outbox) {
        let kind = answer_to(owed.qos);
        if !reason.is_error() {
            send_ack(source, kind, owed.packet_id, reason, outbox);
        } else if let Some(connection) = self.connections.get_mut(source.connection) {
            let ack = Ack::new(kind, owed.packet_id, reason);
            let rule = owed.denied_by.map(|line| format!("line {line} of the ACL file denies it"));
            let words = rule.as_deref().unwrap_or_else(|| failure_words(&owed));
            outbox.egress.control(source.connection.slot, |out| connection.put_ack(ack, Some(words), out));
        }
    }

    /// Takes the acknowledgements at the front of `bytes` that say nothing but a packet id, as long as they fit; what may be sent
    /// then is sent once for all of them. How many bytes that was.
    pub(super) fn receive_acks(&mut self, now: Millis, id: ConnectionId, bytes: &[u8], outbox: &mut Outbox) -> usize {
        let Some(connection) = self.connections.get_mut(id) else { return 0 };
        let (Some(session_id), version) = (connection.session, connection.version) else { return 0 };
        let source = Source { connection: id, session: session_id, version, shared: None };
        let control_bytes_max = self.config.limits.egress_control_bytes_max;
        let (mut at, mut has_room) = (0, false);
        while let Some(&[first_byte, 2, high, low]) = bytes[at..].first_chunk()
            && outbox.egress.at(id.slot).control_backlog_bytes() <= control_bytes_max
            && let Some(session) = self.sessions.get_mut(session_id)
        {
            let packet_id = u16::from_be_bytes([high, low]);
            let inflight = &mut session.outbound.inflight;
            let (done, answer) = match first_byte {
                PUBACK => (inflight.puback(packet_id).ok(), None),
                PUBREC => (inflight.pubrec(packet_id).ok(), Some(AckKind::Pubrel)),
                // Its record goes before it is answered.
                PUBREL if session.kept.is_some() && session.inbound.is_stored(packet_id) => break,
                PUBREL => (session.inbound.release(packet_id).map(|_| Place::NONE), Some(AckKind::Pubcomp)),
                PUBCOMP => (inflight.pubcomp(packet_id).ok(), None),
                _ => (None, None),
            };
            let Some(place) = done else { break };
            match answer {
                None => forget(session.kept.as_deref(), place, &mut outbox.records.changes),
                Some(_) if place.is_stored() => {
                    // What is sent from then on waits for the store: not what has room already.
                    if std::mem::take(&mut has_room) {
                        self.pump(now, session_id, outbox);
                    }
                    self.note_received(source, place, outbox);
                }
                Some(_) => {}
            }
            match answer {
                Some(kind) => send_ack(source, kind, packet_id, ReasonCode::Success, outbox),
                None => has_room = true,
            }
            at += 4;
        }
        if at > 0 {
            self.counters.packets_received += at as u64 / 4;
            self.heard(now, id);
        }
        if has_room {
            self.pump(now, session_id, outbox);
        }
        at
    }

    /// The client has a QoS 2 message of which there is a record; PUBREL, which comes next, waits for what is written then.
    #[inline(never)]
    fn note_received(&mut self, source: Source<'_>, place: Place, outbox: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(source.session) else { return };
        if note_released(session.kept.as_deref(), place, &mut outbox.records.changes) {
            self.hold(source.connection, outbox);
        }
    }

    /// PUBACK from a subscriber.
    pub(super) fn puback(&mut self, now: Millis, source: Source<'_>, ack: &Ack<'_>, outbox: &mut Outbox) -> Step {
        let Some(session) = self.sessions.get_mut(source.session) else { return Step::Done };
        let result = session.outbound.inflight.puback(ack.packet_id);
        self.acknowledged(now, source, result, outbox)
    }

    /// PUBREC from a subscriber.
    pub(super) fn pubrec(&mut self, now: Millis, source: Source<'_>, ack: &Ack<'_>, outbox: &mut Outbox) -> Step {
        let Some(session) = self.sessions.get_mut(source.session) else { return Step::Done };
        let inflight = &mut session.outbound.inflight;
        if ack.reason.is_error() {
            let result = inflight.pubrec_refused(ack.packet_id);
            return self.acknowledged(now, source, result, outbox);
        }
        match inflight.pubrec(ack.packet_id) {
            Ok(place) => {
                self.note_received(source, place, outbox);
                send_ack(source, AckKind::Pubrel, ack.packet_id, ReasonCode::Success, outbox);
            }
            Err(AckError::Unknown) => {
                send_ack(source, AckKind::Pubrel, ack.packet_id, ReasonCode::PacketIdentifierNotFound, outbox);
            }
            Err(AckError::WrongStage) => return self.misfit(now, source, outbox),
        }
        Step::Done
    }

    /// PUBREL from a publisher [MQTT-4.3.3-11].
    pub(super) fn pubrel(&mut self, source: Source<'_>, ack: &Ack<'_>, outbox: &mut Outbox) -> Step {
        let Some(session) = self.sessions.get_mut(source.session) else { return Step::Done };
        let receipt = session.inbound.release(ack.packet_id);
        if receipt.is_some_and(|receipt| receipt.is_stored) {
            // The packet id may be used for another message when PUBCOMP is there.
            self.forget_received(source.session, ack.packet_id, outbox);
            self.hold(source.connection, outbox);
        }
        let reason = if receipt.is_some() { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        send_ack(source, AckKind::Pubcomp, ack.packet_id, reason, outbox);
        Step::Done
    }

    /// PUBCOMP from a subscriber.
    pub(super) fn pubcomp(&mut self, now: Millis, source: Source<'_>, ack: &Ack<'_>, outbox: &mut Outbox) -> Step {
        let Some(session) = self.sessions.get_mut(source.session) else { return Step::Done };
        let result = session.outbound.inflight.pubcomp(ack.packet_id);
        self.acknowledged(now, source, result, outbox)
    }

    fn acknowledged(
        &mut self,
        now: Millis,
        source: Source<'_>,
        result: Result<Place, AckError>,
        outbox: &mut Outbox,
    ) -> Step {
        match result {
            Ok(place) => {
                self.forget_message(source.session, place, outbox);
                self.pump(now, source.session, outbox);
            }
            // An acknowledgement of something we no longer know is harmless (section 4.3, case Q07).
            Err(AckError::Unknown) => {}
            Err(AckError::WrongStage) => return self.misfit(now, source, outbox),
        }
        Step::Done
    }

    fn misfit(&mut self, now: Millis, source: Source<'_>, outbox: &mut Outbox) -> Step {
        let what = "an acknowledgement that does not fit the message's QoS";
        self.close(now, source.connection, ReasonCode::ProtocolError, what, outbox)
    }
}

/// Why a message is not taken, for people.
fn failure_words(owed: &Owed) -> &'static str {
    match owed {
        Owed { is_denied: true, .. } => {
            "clients may not publish to a topic name that begins with $, nor to one that no line of an ACL file allows"
        }
        Owed { is_too_large: true, .. } => "the payload is larger than message_size_limit (payload_bytes_max) allows",
        Owed { is_failed: true, .. } => "the message could not be stored",
        _ => "a limit is reached: queued_messages_max, retained_messages_max or match_nodes_max",
    }
}

/// What a PUBLISH of QoS 1 or 2 is answered with.
fn answer_to(qos: QoS) -> AckKind {
    if qos == QoS::AtLeastOnce { AckKind::Puback } else { AckKind::Pubrec }
}

/// Queues an acknowledgement; 3.x knows no reasons and gets the plain packet.
fn send_ack(source: Source<'_>, kind: AckKind, packet_id: u16, reason: ReasonCode, outbox: &mut Outbox) {
    if reason == ReasonCode::Success {
        return outbox.egress.short_control(source.connection.slot, kind.short(packet_id));
    }
    outbox.egress.control(source.connection.slot, |out| Ack::new(kind, packet_id, reason).encode(source.version, out));
}

#[cfg(test)]
mod tests {
    use super::super::scene::{NOW, PUBLISHER, SUBSCRIBER, Scene, V5, packet, qos1};
    use super::*;
    use crate::limits::Limits;
    use crate::shard::Flush;
    use crate::wire::Connect;

    const LATER: Millis = Millis(2000);

    /// The subscriber has a window of two messages of each QoS.
    fn scene(limits: Limits) -> Scene {
        let connect = Connect { receive_maximum: Some(4), ..Connect::new(V5, "subscriber") };
        let mut scene = Scene::new(limits, V5, connect, QoS::ExactlyOnce, None);
        for packet_id in 1..=4 {
            let qos = if packet_id <= 2 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            scene.say(PUBLISHER, &packet(V5, qos, packet_id, "t", 1));
        }
        scene.heard(SUBSCRIBER);
        scene
    }

    fn taken(scene: &mut Scene, id: ConnectionId, bytes: &[u8]) -> usize {
        scene.shard.receive_acks(LATER, id, bytes, &mut scene.outbox)
    }

    /// A large payload that has waited is not copied when its turn comes; a small one has no allocation of its own.
    #[test]
    fn a_payload_that_has_waited_is_referenced_if_it_is_large() {
        for (payload_len, spliced) in [(8192, 1), (100, 0)] {
            let mut scene = scene(Limits::default());
            scene.say(PUBLISHER, &packet(V5, QoS::AtLeastOnce, 5, "t", payload_len));
            assert_eq!(taken(&mut scene, SUBSCRIBER, &[PUBACK, 2, 0, 1]), 4);
            let mut flush = Flush::default();
            scene.outbox.egress.at(SUBSCRIBER.slot).take(&mut flush);
            assert_eq!((flush.splices.len(), flush.len() > payload_len), (spliced, true));
        }
    }

    #[test]
    fn acknowledgements_side_by_side_are_taken_together_and_answered() {
        let mut scene = scene(Limits::default());
        let row = [PUBACK, 2, 0, 2, PUBREC, 2, 0, 3, PUBREC, 2, 0, 4, PUBCOMP, 2, 0, 3];
        assert_eq!(taken(&mut scene, SUBSCRIBER, &row), 16);
        assert_eq!(scene.heard(SUBSCRIBER), [PUBREL, 2, 0, 3, PUBREL, 2, 0, 4]);
        assert_eq!(scene.shard.connections.get_mut(SUBSCRIBER).expect("it is there").heard_at, LATER);
        assert_eq!(taken(&mut scene, PUBLISHER, &[PUBREL, 2, 0, 4, PUBREL, 2, 0, 3]), 8);
        assert_eq!(scene.heard(PUBLISHER), [PUBCOMP, 2, 0, 4, PUBCOMP, 2, 0, 3]);
    }

    /// The first one that is not bare, or does not fit, is left to others with all that is behind it.
    #[test]
    fn a_row_of_acknowledgements_ends_before_what_is_special() {
        let mut scene = scene(Limits::default());
        let heard_at = |scene: &mut Scene| scene.shard.connections.get_mut(SUBSCRIBER).expect("it is there").heard_at;
        // Half a packet is no sign of life.
        assert_eq!((taken(&mut scene, SUBSCRIBER, &[PUBACK, 2, 0]), heard_at(&mut scene)), (0, NOW));
        for special in [
            &[][..],
            &[PUBACK, 2, 0],
            &[PUBACK, 3, 0, 2, 0],
            &[PUBREC | 1, 2, 0, 3],
            &[PUBACK, 2, 0, 9],
            &[PUBACK, 2, 0, 3],
            &[PUBREC, 2, 0, 2],
            &[PUBCOMP, 2, 0, 2],
            &[PUBREL, 2, 0, 2],
            &[PUBACK, 2, 0, 0],
        ] {
            assert_eq!(taken(&mut scene, SUBSCRIBER, special), 0, "{special:02x?}");
            let row = [&[PUBREC, 2, 0, 3], special, &[PUBREC, 2, 0, 3]].concat();
            assert_eq!(taken(&mut scene, SUBSCRIBER, &row), if special.is_empty() { 8 } else { 4 }, "{special:02x?}");
        }
        assert_eq!(heard_at(&mut scene), LATER);
    }

    /// What waits is sent once the whole row is done, as much as there is room for.
    #[test]
    fn a_row_of_acknowledgements_makes_room_for_what_waits() {
        let mut scene = scene(Limits::default());
        (5..8).for_each(|packet_id| scene.say(PUBLISHER, &qos1(packet_id)));
        assert!(scene.heard(SUBSCRIBER).is_empty());
        assert_eq!(taken(&mut scene, SUBSCRIBER, &[PUBREC, 2, 0, 4]), 4);
        assert_eq!(scene.heard(SUBSCRIBER), [PUBREL, 2, 0, 4], "no room yet");
        assert_eq!(taken(&mut scene, SUBSCRIBER, &[PUBACK, 2, 0, 1, PUBACK, 2, 0, 2]), 8);
        assert_eq!(scene.heard(SUBSCRIBER), [qos1(5), qos1(6)].concat());
        assert_eq!(taken(&mut scene, SUBSCRIBER, &[PUBCOMP, 2, 0, 4]), 4);
        assert_eq!(scene.heard(SUBSCRIBER), qos1(7));
    }

    /// As for any packet: at the bound is not above it.
    #[test]
    fn a_row_of_acknowledgements_ends_where_the_connection_must_wait() {
        let mut scene = scene(Limits { egress_control_bytes_max: 4, ..Limits::default() });
        let row = [PUBREC, 2, 0, 3].repeat(3);
        assert_eq!(taken(&mut scene, SUBSCRIBER, &row), 8);
        assert_eq!(taken(&mut scene, SUBSCRIBER, &row), 0);
        assert_eq!(scene.heard(SUBSCRIBER), [PUBREL, 2, 0, 3].repeat(2));
    }
}
