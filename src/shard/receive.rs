//! From received bytes to packets to the rooms that act on them.
//!
//! Duty: cut packets, decode, route each kind to its room, close on what is malformed. Must not: act itself. Neighbours:
//! `wire` below; one room per packet kind beside it.

use bytes::Bytes;

use super::{Next, Outbox, Received, Shard, Taken};
use crate::id::{ConnectionId, Millis, SessionId};
use crate::wire::{self, AckKind, Framed, Packet, ProtocolVersion, ReasonCode, Sender, WireError};

/// An incomplete packet is charged from this size on, bytes; below it, a receive buffer's rest is all it takes.
const ANNOUNCED_BYTES_MIN: usize = 16 << 10;

/// What a packet's room says about going on.
pub(super) enum Step {
    /// The packet is done.
    Done,
    /// The packet was not taken: offer it again when the mesh has room.
    AwaitMesh,
    /// The packet was not taken: offer it again when fewer acknowledgements are owed.
    AwaitAnswers,
    /// The connection is over.
    Closed,
}

/// Where the bytes of a packet came from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) connection: ConnectionId,
    pub(super) session: SessionId,
    pub(super) version: ProtocolVersion,
    /// The allocation that the packet lies in, if it may be shared.
    pub(super) shared: Option<&'a Bytes>,
}

impl Shard {
    /// Takes bytes received on a connection; handles all whole packets in them.
    pub fn receive(
        &mut self,
        now: Millis,
        connection: ConnectionId,
        received: Received<'_>,
        outbox: &mut Outbox,
    ) -> Taken {
        let mut consumed = 0;
        self.budget.look(outbox.egress.unsent_bytes());
        loop {
            consumed += self.receive_quickly(now, connection, &received.bytes[consumed..], outbox);
            let rest = &received.bytes[consumed..];
            match self.receive_packet(now, connection, rest, received.shared, outbox) {
                Ok(length) => consumed += length,
                Err(next) => {
                    if self.taps.watch_clients() {
                        let last = if next == Next::Closed { self.last_of(rest) } else { 0 };
                        self.show_received(connection, &received.bytes[..consumed + last], outbox);
                    }
                    self.finish_turn(now, outbox);
                    if let Some(record) = self.connections.get_mut(connection) {
                        record.is_parked = matches!(next, Next::AwaitMesh | Next::AwaitDrain);
                    }
                    return Taken { consumed, next };
                }
            }
        }
    }

    /// Takes what stands at the front of `bytes` and is of the kinds that there is most of and that say the least. How many
    /// bytes that was.
    fn receive_quickly(&mut self, now: Millis, id: ConnectionId, bytes: &[u8], outbox: &mut Outbox) -> usize {
        let mut taken = 0;
        loop {
            let rest = &bytes[taken..];
            let more = match rest.first().map_or(0, |first| first >> 4) {
                3 if !self.taps.watch_topics() => self.receive_run(now, id, rest, outbox),
                4..=7 => self.receive_acks(now, id, rest, outbox),
                _ => 0,
            };
            if more == 0 {
                return taken;
            }
            taken += more;
        }
    }

    /// A packet of a connection was taken.
    pub(super) fn heard(&mut self, now: Millis, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.heard_at = now;
            connection.announced = None;
        }
    }

    /// Takes the first packet of `bytes`. Ok: its length. Err: what the connection wants instead.
    fn receive_packet(
        &mut self,
        now: Millis,
        id: ConnectionId,
        bytes: &[u8],
        shared: Option<&Bytes>,
        outbox: &mut Outbox,
    ) -> Result<usize, Next> {
        let connection = self.connections.get_mut(id).ok_or(Next::Closed)?;
        if bytes.is_empty() {
            return Err(Next::Read { needed: None });
        }
        let Some(session) = connection.session else {
            return self.receive_connect(now, id, bytes, outbox);
        };
        let version = connection.version;
        let limits = &self.config.limits;
        let frame = match wire::frame(bytes, limits.packet_bytes_max) {
            Ok(Framed::Whole(frame)) => frame,
            Ok(Framed::Partial { needed }) => return Err(self.await_rest(now, id, needed, outbox)),
            Err(error) => return Err(self.refuse(now, id, error, outbox)),
        };
        connection.announced = None;
        if outbox.egress.at(id.slot).control_backlog_bytes() > limits.egress_control_bytes_max {
            outbox.egress.at(id.slot).report_below(limits.egress_control_bytes_max / 2);
            return Err(Next::AwaitDrain);
        }
        connection.heard_at = now;
        self.counters.packets_received += 1;
        let packet = wire::decode(&frame, version, Sender::Client).map_err(|error| {
            // DISCONNECT has none of the reason codes that say what is wrong with a CONNECT [MQTT-3.1.0-2].
            let error = if frame.is_connect() { WireError::protocol("a second CONNECT") } else { error };
            self.refuse(now, id, error, outbox)
        })?;
        let source = Source { connection: id, session, version, shared };
        match self.act(now, source, packet, outbox) {
            Step::Done => Ok(frame.len),
            Step::AwaitMesh => Err(Next::AwaitMesh),
            Step::AwaitAnswers => Err(Next::AwaitDrain),
            Step::Closed => Err(Next::Closed),
        }
    }

    fn act(&mut self, now: Millis, source: Source<'_>, packet: Packet<'_>, outbox: &mut Outbox) -> Step {
        match packet {
            Packet::Publish(publish) => self.publish(now, source, &publish, outbox),
            Packet::Ack(ack) => match ack.kind {
                AckKind::Puback => self.puback(now, source, &ack, outbox),
                AckKind::Pubrec => self.pubrec(now, source, &ack, outbox),
                AckKind::Pubrel => self.pubrel(source, &ack, outbox),
                AckKind::Pubcomp => self.pubcomp(now, source, &ack, outbox),
            },
            Packet::Subscribe(subscribe) => self.subscribe(now, source, &subscribe, outbox),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(now, source, &unsubscribe, outbox),
            Packet::Pingreq => {
                outbox.egress.control(source.connection.slot, |out| Packet::Pingresp.encode(source.version, out));
                Step::Done
            }
            Packet::Disconnect(disconnect) => self.disconnect(now, source, &disconnect, outbox),
            Packet::Auth(auth) => self.reauthenticate(now, source.connection, &auth, outbox),
            Packet::Connect(_) => {
                self.close(now, source.connection, ReasonCode::ProtocolError, "a second CONNECT", outbox)
            }
            Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => {
                self.close(now, source.connection, ReasonCode::ProtocolError, "a packet only a server sends", outbox)
            }
        }
    }

    /// A packet is not complete: what it announced is charged at once, not when it has arrived (case R07).
    fn await_rest(&mut self, now: Millis, id: ConnectionId, needed: Option<usize>, outbox: &mut Outbox) -> Next {
        let Some(connection) = self.connections.get_mut(id) else { return Next::Closed };
        let bytes = needed.unwrap_or(0);
        if bytes < ANNOUNCED_BYTES_MIN || connection.announced.is_some() {
            return Next::Read { needed };
        }
        let mut account = self.budget.open();
        if !account.admits(bytes) {
            self.counters.announced_over_budget += 1;
            let what = "a packet larger than what is left of held_bytes_per_shard_max";
            self.close(now, id, ReasonCode::QuotaExceeded, what, outbox);
            return Next::Closed;
        }
        account.charge(bytes);
        connection.announced = Some(Box::new(account));
        Next::Read { needed }
    }

    fn refuse(&mut self, now: Millis, id: ConnectionId, error: WireError, outbox: &mut Outbox) -> Next {
        self.close(now, id, error.reason, error.what, outbox);
        Next::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::{NOW, PUBLISHER, SUBSCRIBER, Scene, qos0, qos1};
    use crate::limits::Limits;

    /// Runs and rows, one behind the other, up to the first packet of another kind.
    #[test]
    fn what_there_is_most_of_is_taken_the_quick_way() {
        let mut scene = Scene::usual(Limits::default());
        let pingreq = [0xc0, 0];
        for (id, bytes) in [
            (PUBLISHER, [qos0(1), qos1(1), qos0(2), qos1(2), qos1(3)].concat()),
            (SUBSCRIBER, [vec![0x40, 2, 0, 1, 0x40, 2, 0, 2], qos0(3), vec![0x40, 2, 0, 3]].concat()),
        ] {
            let more = [&bytes[..], &pingreq, &bytes].concat();
            assert_eq!(scene.shard.receive_quickly(NOW, id, &more, &mut scene.outbox), bytes.len());
        }
        assert_eq!(scene.shard.receive_quickly(NOW, PUBLISHER, &[], &mut scene.outbox), 0);
        assert_eq!(scene.shard.counters.delivered.sum(), 6);
    }
}
