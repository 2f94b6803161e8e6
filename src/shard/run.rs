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
use super::{Outbox, Run, Shard};
use crate::id::{ConnectionId, Millis, PublisherId, ShardId};
use crate::limits::{Limits, SHARED_PAYLOAD_BYTES_MIN};
use crate::message::MessageView;
use crate::topic::TopicName;
use crate::wire::{PlainPublish, ProtocolVersion, QoS};

/// Plain packets of one topic, side by side.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlainRun<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) count: usize,
    /// Bytes of the longest packet.
    pub(super) longest: usize,
    pub(super) version: ProtocolVersion,
}

impl<'a> PlainRun<'a> {
    /// The run of QoS 0 packets that begins with `first` at the front of `bytes`; so many at most.
    fn beginning_with(
        first: PlainPublish<'a>,
        bytes: &'a [u8],
        version: ProtocolVersion,
        limits: &Limits,
        count_max: usize,
    ) -> Self {
        let mut run = Self { bytes, count: 1, longest: first.bytes.len(), version };
        let mut at = first.bytes.len();
        while run.count < count_max
            && let Some(next) = PlainPublish::at_front(&bytes[at..], version)
            && next.qos == QoS::AtMostOnce
            && next.topic == first.topic
            && is_short(&next, limits)
        {
            at += next.bytes.len();
            run.count += 1;
            run.longest = run.longest.max(next.bytes.len());
        }
        run.bytes = &bytes[..at];
        run
    }

    /// Whether these packets have the topic of the packets before them.
    pub(super) fn goes_on_with(&self, before: &[u8]) -> bool {
        let topic = |bytes| PlainPublish::at_front(bytes, self.version).map(|packet| packet.topic);
        topic(before) == topic(self.bytes)
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
        if !is_short(&first, &self.config.limits) || matches.topic.starts_with('$') || matches.is_too_wide {
            return 0;
        }
        if first.qos != QoS::AtMostOnce || !matches.groups.is_empty() {
            let source = Source { connection: id, session, version, shared: None };
            return self.receive_each(now, source, publisher, &matches, bytes, outbox);
        }
        if !self.may_take(id, outbox) {
            return 0;
        }
        self.heard(now, id);
        let room = if matches.shards == 0 { usize::MAX } else { self.mesh_room(outbox) };
        let run = PlainRun::beginning_with(first, bytes, version, &self.config.limits, room);
        self.counters.publishes_received += run.count as u64;
        self.counters.unmatched += if matches.is_empty() { run.count as u64 } else { 0 };
        self.give_run(now, &run, &matches, publisher, outbox);
        for peer in matches.peers() {
            self.send_packets(peer, &run, publisher, None, outbox);
        }
        run.bytes.len()
    }

    /// Gives QoS 0 packets to the sessions here that want them.
    fn give_run(
        &mut self,
        now: Millis,
        run: &PlainRun<'_>,
        matches: &Matches,
        publisher: Option<PublisherId>,
        outbox: &mut Outbox,
    ) {
        for delivery in &matches.deliveries {
            if !self.copy_run(delivery, run, outbox) {
                for packet in run.packets() {
                    let mut carrier =
                        self.carrier_of_packet(view_of(&packet, matches, publisher), &packet, run.version);
                    self.deliver(now, delivery, &mut carrier, outbox);
                    self.give_back(carrier);
                }
            }
        }
    }

    /// Packets that another shard sent.
    pub(super) fn published_run(&mut self, now: Millis, from: ShardId, run: &Run, outbox: &mut Outbox) {
        let Some(first) = PlainPublish::at_front(&run.packets, run.version) else { return };
        let topic = std::str::from_utf8(first.topic).expect("it was known on its own shard");
        let matches = self.subscribers.of(TopicName::trusted(topic));
        let plain = PlainRun::beginning_with(first, &run.packets, run.version, &self.config.limits, usize::MAX);
        if plain.count == run.count as usize && !run.is_acked && !matches.is_too_wide {
            return self.give_run(now, &plain, &matches, run.publisher, outbox);
        }
        for packet in (PlainRun { bytes: &run.packets, ..plain }).packets() {
            let view = view_of(&packet, &matches, run.publisher);
            let mut carrier = self.carrier_of_packet(view, &packet, run.version);
            let routed = self.route_here(now, &matches, &mut carrier, outbox);
            self.give_back(carrier);
            if run.is_acked {
                self.peer_message_done(from, routed.outcome(), routed.needs_store, outbox);
            }
        }
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
            && is_short(&packet, &self.config.limits)
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

    /// Whether a packet of this connection may be taken now. If not, `receive` finds out why.
    fn may_take(&mut self, id: ConnectionId, outbox: &mut Outbox) -> bool {
        self.connections.get_mut(id).is_some()
            && outbox.egress.at(id.slot).control_backlog_bytes() <= self.config.limits.egress_control_bytes_max
            && self.takes_publishes(outbox)
    }

    /// Gives a run to a receiver as it is, if each of its packets would be sent at once, with the same bytes.
    fn copy_run(&mut self, delivery: &Delivery, run: &PlainRun<'_>, outbox: &mut Outbox) -> bool {
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
        self.counters.matches += run.count as u64;
        self.counters.delivered += run.count as u64;
        outbox.egress.buffer(id.slot).extend_from_slice(run.bytes);
        true
    }
}

/// Whether a packet is within the bounds, and its payload small enough to be copied.
fn is_short(packet: &PlainPublish<'_>, limits: &Limits) -> bool {
    packet.bytes.len() <= limits.packet_bytes_max as usize && packet.payload.len() < SHARED_PAYLOAD_BYTES_MIN
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
