//! Runs: PUBLISH packets to one topic, one behind the other in what was received.
//!
//! Duty: know a packet by its bytes, if its topic has been asked for before and it says nothing else, and take it and those like
//! it behind it without judging all of it again; what many have in common is done once. Must not: decide anything otherwise than
//! `publish`, `route` and `deliver` would: all that is not plain is theirs. Neighbours: `receive` asks here first; `matches` knows
//! the topics.

use super::acknowledge::Waiter;
use super::deliver::{UNLOOKED_BACKLOG_BYTES, takes_plain};
use super::matches::{Delivery, Matches, Own};
use super::receive::Source;
use super::{Outbox, Shard};
use crate::id::{ConnectionId, Millis, PublisherId};
use crate::limits::SHARED_PAYLOAD_BYTES_MIN;
use crate::message::MessageView;
use crate::wire::{PlainPublish, ProtocolVersion, QoS};

/// QoS 0 packets side by side.
struct Run<'a> {
    bytes: &'a [u8],
    packets: usize,
    /// Bytes of the longest packet.
    longest: usize,
    version: ProtocolVersion,
}

impl<'a> Run<'a> {
    /// The run that begins with `first` at the front of `bytes`.
    fn beginning_with(
        first: PlainPublish<'a>,
        bytes: &'a [u8],
        version: ProtocolVersion,
        packet_bytes_max: usize,
    ) -> Self {
        let mut run = Self { bytes, packets: 1, longest: first.bytes.len(), version };
        let mut at = first.bytes.len();
        while let Some(next) = PlainPublish::at_front(&bytes[at..], version)
            && next.qos == QoS::AtMostOnce
            && next.topic == first.topic
            && next.bytes.len() <= packet_bytes_max
            && next.payload.len() < SHARED_PAYLOAD_BYTES_MIN
        {
            at += next.bytes.len();
            run.packets += 1;
            run.longest = run.longest.max(next.bytes.len());
        }
        run.bytes = &bytes[..at];
        run
    }

    fn packets(&self) -> impl Iterator<Item = PlainPublish<'a>> {
        let (mut rest, version) = (self.bytes, self.version);
        std::iter::from_fn(move || {
            let packet = PlainPublish::at_front(rest, version)?;
            rest = &rest[packet.bytes.len()..];
            Some(packet)
        })
    }
}

impl Shard {
    /// Takes the packets at the front of `bytes` that are plain and of one topic. How many bytes that was; 0 if there are none.
    pub(super) fn receive_run(&mut self, now: Millis, id: ConnectionId, bytes: &[u8], outbox: &mut Outbox) -> usize {
        let Some(connection) = self.connections.get_mut(id) else { return 0 };
        let (Some(session), version, publisher) = (connection.session, connection.version, connection.publisher) else {
            return 0;
        };
        let Some(first) = PlainPublish::at_front(bytes, version) else { return 0 };
        let Some(matches) = self.subscribers.remembered(first.topic) else { return 0 };
        if !self.is_short(&first) || matches.topic.starts_with('$') || matches.is_too_wide {
            return 0;
        }
        let is_everybody_here = matches.groups.is_empty() && matches.shards == 0;
        if first.qos != QoS::AtMostOnce || !is_everybody_here {
            let source = Source { connection: id, session, version, shared: None };
            return self.receive_each(now, source, publisher, &matches, bytes, outbox);
        }
        if !self.may_take(id, outbox) {
            return 0;
        }
        self.heard(now, id);
        let run = Run::beginning_with(first, bytes, version, self.config.limits.packet_bytes_max as usize);
        self.counters.publishes_received += run.packets as u64;
        if matches.deliveries.is_empty() {
            self.counters.unmatched += run.packets as u64;
        }
        for delivery in &matches.deliveries {
            if !self.copy_run(delivery, &run, outbox) {
                for packet in run.packets() {
                    let mut carrier = self.carrier_of_packet(view_of(&packet, &matches, publisher), &packet, version);
                    self.deliver(now, delivery, &mut carrier, outbox);
                    self.give_back(carrier);
                }
            }
        }
        run.bytes.len()
    }

    /// Takes packets one at a time, as long as nothing about them is special.
    fn receive_each(
        &mut self,
        now: Millis,
        source: Source<'_>,
        publisher: Option<PublisherId>,
        matches: &Matches,
        bytes: &[u8],
        outbox: &mut Outbox,
    ) -> usize {
        let receive_maximum = usize::from(self.config.limits.receive_maximum);
        let mut at = 0;
        while let Some(packet) = PlainPublish::at_front(&bytes[at..], source.version)
            && packet.topic == matches.topic.as_bytes()
            && self.is_short(&packet)
            && self.may_take(source.connection, outbox)
            && let Some(session) = self.sessions.get_mut(source.session)
        {
            let is_known = packet.qos == QoS::ExactlyOnce && session.inbound.is_received(packet.packet_id);
            let is_bounded = packet.qos != QoS::AtMostOnce && source.version == ProtocolVersion::V5;
            if is_known || is_bounded && session.inbound.unacknowledged() >= receive_maximum {
                break;
            }
            let waiter = (packet.qos != QoS::AtMostOnce)
                .then(|| Waiter { session: source.session, number: session.inbound.next_number() });
            self.counters.publishes_received += 1;
            let mut carrier = self.carrier_of_packet(view_of(&packet, matches, publisher), &packet, source.version);
            let routed = self.route_known(now, matches, &mut carrier, waiter, outbox);
            self.give_back(carrier);
            self.owe_routed(now, source, (packet.packet_id, packet.qos), routed, outbox);
            at += packet.bytes.len();
        }
        if at > 0 {
            self.heard(now, source.connection);
        }
        at
    }

    fn is_short(&self, packet: &PlainPublish<'_>) -> bool {
        packet.bytes.len() <= self.config.limits.packet_bytes_max as usize
            && packet.payload.len() < SHARED_PAYLOAD_BYTES_MIN
    }

    /// Whether a packet of this connection may be taken now. If not, `receive` finds out why.
    fn may_take(&mut self, id: ConnectionId, outbox: &mut Outbox) -> bool {
        self.connections.get_mut(id).is_some()
            && outbox.egress.at(id.slot).control_backlog_bytes() <= self.config.limits.egress_control_bytes_max
            && self.takes_publishes(outbox)
    }

    /// Gives a run to a receiver as it is, if each of its packets would be sent at once, with the same bytes.
    fn copy_run(&mut self, delivery: &Delivery, run: &Run<'_>, outbox: &mut Outbox) -> bool {
        let Some((_, session)) = self.sessions.at(delivery.session) else { return false };
        let Some(id) = session.connection.filter(|_| session.outbound.replays.is_none()) else { return false };
        let Some(connection) = self.connections.get_mut(id) else { return false };
        let is_same_layout = (connection.version == ProtocolVersion::V5) == (run.version == ProtocolVersion::V5);
        let backlog_bytes = outbox.egress.at(id.slot).backlog_bytes() + run.bytes.len();
        let is_quick = backlog_bytes <= self.config.limits.egress_bytes_max
            && (backlog_bytes <= UNLOOKED_BACKLOG_BYTES || backlog_bytes <= self.budget.free_bytes());
        if !is_same_layout
            || !is_quick
            || run.longest > connection.packet_bytes_max
            || !matches!(delivery.own, Own::Same)
            || !takes_plain(connection, &delivery.subscription_ids)
        {
            return false;
        }
        self.counters.matches += run.packets as u64;
        self.counters.delivered += run.packets as u64;
        outbox.egress.buffer(id.slot).extend_from_slice(run.bytes);
        true
    }
}

/// The message in a packet. Its topic is the remembered one, which is a string.
fn view_of<'a>(packet: &PlainPublish<'a>, matches: &'a Matches, publisher: Option<PublisherId>) -> MessageView<'a> {
    MessageView {
        topic: &matches.topic,
        properties: &[],
        payload: packet.payload,
        shared_payload: None,
        qos: packet.qos,
        retain: false,
        expires_at: None,
        publisher,
    }
}
