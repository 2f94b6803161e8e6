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
use super::rights::Watch;
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
    pub(super) payload_bytes: usize,
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
        let mut run = Self { bytes, count: 1, longest: first.bytes.len(), payload_bytes: first.payload.len(), version };
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
            run.payload_bytes += next.payload.len();
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
        let watch = connection.watch;
        let Some(first) = PlainPublish::at_front(bytes, version) else { return 0 };
        let Some(matches) = self.subscribers.remembered(first.topic) else { return 0 };
        if !is_short(&first, &self.config.limits) || matches.topic.starts_with('$') || matches.is_too_wide {
            return 0;
        }
        if watch != Watch::Nothing && (watch == Watch::All || !self.may_publish_known(session, &matches)) {
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
        self.counters.packets_received += run.count as u64;
        self.counters.publishes_received.add(QoS::AtMostOnce, run.count as u64);
        self.counters.payload_bytes_received.add(QoS::AtMostOnce, run.payload_bytes as u64);
        self.counters.unmatched += if matches.is_empty() { run.count as u64 } else { 0 };
        matches.note_published(run.count);
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
        let give = |shard: &mut Self, packet: &PlainPublish<'_>, delivery: &Delivery, outbox: &mut Outbox| {
            let mut carrier = shard.carrier_of_packet(view_of(packet, matches, publisher), packet, run.version);
            shard.deliver(now, delivery, &mut carrier, outbox);
            shard.give_back(carrier);
        };
        if matches.has_copies {
            // Copies of a message stand side by side: nobody gets what is older behind what is newer [MQTT-4.6.0-5].
            for packet in run.packets() {
                matches.deliveries.iter().for_each(|delivery| give(self, &packet, delivery, outbox));
            }
            return;
        }
        for delivery in &matches.deliveries {
            if !self.copy_run(delivery, run, outbox) {
                run.packets().for_each(|packet| give(self, &packet, delivery, outbox));
            }
        }
    }

    /// Packets that another shard sent.
    pub(super) fn published_run(&mut self, now: Millis, from: ShardId, run: &Run, outbox: &mut Outbox) {
        let Some(first) = PlainPublish::at_front(&run.packets, run.version) else { return };
        let topic = std::str::from_utf8(first.topic).expect("it was known on its own shard");
        let matches = self.matches_of(TopicName::trusted(topic));
        let plain = PlainRun::beginning_with(first, &run.packets, run.version, &self.config.limits, usize::MAX);
        if plain.count == run.count as usize && !run.is_acked && !matches.is_too_wide {
            return self.give_run(now, &plain, &matches, run.publisher, outbox);
        }
        for packet in (PlainRun { bytes: &run.packets, ..plain }).packets() {
            let view = view_of(&packet, &matches, run.publisher);
            let mut carrier = self.carrier_of_packet(view, &packet, run.version);
            let routed = self.route_here(now, &matches, &mut carrier, None, outbox);
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
            let is_acked = packet.qos != QoS::AtMostOnce;
            let is_known = packet.qos == QoS::ExactlyOnce && session.inbound.is_received(packet.packet_id);
            let is_bounded = is_acked && source.version == ProtocolVersion::V5;
            if is_known
                || is_bounded && session.inbound.unacknowledged() >= receive_maximum
                || is_acked && session.owes_too_much(&self.config.limits)
            {
                break;
            }
            let waiter = (packet.qos != QoS::AtMostOnce)
                .then(|| Waiter { session: source.session, number: session.inbound.next_number() });
            self.counters.packets_received += 1;
            self.counters.publishes_received.add(packet.qos, 1);
            self.counters.payload_bytes_received.add(packet.qos, packet.payload.len() as u64);
            let mut carrier = self.carrier_of_packet(view_of(&packet, matches, publisher), &packet, source.version);
            matches.note_published(1);
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
        self.counters.delivered.add(QoS::AtMostOnce, run.count as u64);
        self.counters.payload_bytes_sent.add(QoS::AtMostOnce, run.payload_bytes as u64);
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

#[cfg(test)]
mod tests {
    use super::super::Input;
    use super::super::scene::{NOW, PUBLISHER, SUBSCRIBER, Scene, V5, V311, packet, qos0, qos1};
    use super::*;
    use crate::limits::Limits;
    use crate::session::{Budget, LargePayloads};
    use crate::wire::Connect;

    const LATER: Millis = Millis(2000);

    impl Scene {
        /// How many bytes of these are taken as a run.
        fn run(&mut self, bytes: &[u8]) -> usize {
            self.shard.receive_run(LATER, PUBLISHER, bytes, &mut self.outbox)
        }

        /// Whether a run of these packets to `t` is copied to the subscriber.
        fn copies(&mut self, bytes: &[u8], version: ProtocolVersion) -> bool {
            let first = PlainPublish::at_front(bytes, version).expect("a plain packet");
            let run = PlainRun::beginning_with(first, bytes, version, &Limits::default(), usize::MAX);
            assert_eq!(run.bytes, bytes);
            let delivery = self.delivery();
            self.shard.copy_run(&delivery, &run, &mut self.outbox)
        }

        fn heard_at(&mut self) -> Millis {
            self.shard.connections.get_mut(PUBLISHER).expect("it is there").heard_at
        }
    }

    /// What ends a run, and what is no beginning of one.
    #[test]
    fn a_run_is_as_many_packets_as_there_are_of_its_kind() {
        let limits = Limits { packet_bytes_max: 2000, ..Limits::default() };
        let row = [qos0(0), qos0(7), qos0(2000 - 7)].concat();
        for (what, next) in [
            ("the end", vec![]),
            ("a part", qos0(5)[..9].to_vec()),
            ("another topic", packet(V5, QoS::AtMostOnce, 0, "u", 1)),
            ("a packet that says more", vec![0x31, 5, 0, 1, b't', 0, b'x']),
            ("a packet that is too large", qos0(2000 - 6)),
        ] {
            let mut scene = Scene::usual(limits.clone());
            assert_eq!(scene.run(&[&row[..], &next].concat()), row.len(), "{what}");
            assert_eq!(scene.run(&next), 0, "{what}");
            assert_eq!(scene.heard(SUBSCRIBER), row, "{what}");
            assert_eq!((scene.shard.counters.publishes_received.sum(), scene.shard.counters.delivered.sum()), (3, 3));
        }
        // The first of another kind of run ends this one.
        let mut scene = Scene::usual(limits);
        assert_eq!(scene.run(&[&row[..], &qos1(1)].concat()), row.len());
    }

    #[test]
    fn a_payload_that_is_referenced_is_in_no_run() {
        let mut scene = Scene::usual(Limits::default());
        let (long, longer) = (qos0(SHARED_PAYLOAD_BYTES_MIN - 1), qos0(SHARED_PAYLOAD_BYTES_MIN));
        assert_eq!(scene.run(&[&long[..], &longer].concat()), long.len());
        assert_eq!(scene.run(&[&longer[..], &long].concat()), 0);
    }

    #[test]
    fn a_packet_of_a_run_is_a_sign_of_life() {
        for bytes in [qos0(1), qos1(1)] {
            let mut scene = Scene::usual(Limits::default());
            assert_eq!(scene.run(&packet(V5, QoS::AtMostOnce, 0, "u", 1)), 0);
            assert_eq!(scene.heard_at(), NOW);
            assert_eq!(scene.run(&bytes), bytes.len());
            assert_eq!(scene.heard_at(), LATER);
        }
        let mut scene = Scene::usual(Limits::default());
        let qos2 = packet(V5, QoS::ExactlyOnce, 1, "t", 1);
        scene.say(PUBLISHER, &qos2);
        assert_eq!((scene.run(&qos2), scene.heard_at()), (0, NOW), "one that is left to others is theirs to note");
    }

    /// `$` is not the clients', and what is too wide is refused: others see to it.
    #[test]
    fn some_topics_have_no_runs() {
        let mut scene = Scene::usual(Limits { match_nodes_max: 1, ..Limits::default() });
        for topic in ["$t", "t"] {
            scene.remember(topic);
            assert_eq!(scene.run(&packet(V5, QoS::AtMostOnce, 0, topic, 1)), 0, "{topic}");
        }
        scene.remember("u");
        assert_ne!(scene.run(&packet(V5, QoS::AtMostOnce, 0, "u", 1)), 0, "that nobody wants it changes nothing");
        assert_eq!(scene.shard.counters.unmatched, 1);
    }

    /// QoS 1 and 2 as far as Receive Maximum, which is a promise of 5.0 alone; a packet id that is known, for others to answer.
    #[test]
    fn acknowledged_packets_are_taken_one_by_one_up_to_what_is_special() {
        let limits = Limits { receive_maximum: 2, ..Limits::default() };
        let qos2 = |version, packet_id| packet(version, QoS::ExactlyOnce, packet_id, "t", 3);
        let mut scene = Scene::usual(limits.clone());
        let row = [qos2(V5, 1), qos1(2), qos0(3)].concat();
        assert_eq!(scene.run(&[&row[..], &qos2(V5, 1)].concat()), row.len(), "it is known");
        let row = [qos2(V5, 2), qos0(3)].concat();
        assert_eq!(scene.run(&[&row[..], &qos1(5), &qos0(3)].concat()), row.len(), "two wait for PUBREL");
        assert_eq!(scene.run(&qos1(5)), 0, "as before");
        let mut scene = Scene::new(limits, V311, Connect::new(V311, "subscriber"), QoS::ExactlyOnce, None);
        let row = [qos2(V311, 1), qos2(V311, 2), qos2(V311, 3)].concat();
        assert_eq!(scene.run(&row), row.len());
    }

    #[test]
    fn nothing_is_taken_while_the_connection_must_wait() {
        for bytes in [qos0(1), qos1(1)] {
            let limits = Limits { egress_control_bytes_max: 10, ..Limits::default() };
            let mut scene = Scene::usual(limits);
            scene
                .outbox
                .egress
                .control(PUBLISHER.slot, |out| out.extend_from_slice(&[0xd0, 0, 0xd0, 0, 0xd0, 0, 0xd0, 0, 0xd0, 0]));
            assert_eq!(scene.run(&bytes), bytes.len(), "at the bound");
            scene.outbox.egress.control(PUBLISHER.slot, |out| out.extend_from_slice(&[0xd0, 0]));
            assert_eq!(scene.run(&bytes), 0);
            assert_eq!((scene.run(&bytes), scene.shard.counters.publishes_received.sum()), (0, 1));
        }
    }

    /// Who gets the bytes of a run as they are.
    #[test]
    fn a_run_is_copied_to_who_would_get_these_bytes() {
        let connect = |version| Connect::new(version, "subscriber");
        let small = |bytes| Connect { maximum_packet_size: Some(bytes), ..connect(V5) };
        let (longest, short) = (packet(V5, QoS::AtMostOnce, 0, "t", 40), qos0(2));
        for (what, connect, id, is_copied) in [
            ("the same dialect", connect(V5), None, true),
            ("no properties", connect(V311), None, false),
            ("a Subscription Identifier", connect(V5), Some(1), false),
            ("a packet too large", small(longest.len() as u32 - 1), None, false),
            ("a packet just not too large", small(longest.len() as u32), None, true),
            ("aliases", Connect { topic_alias_maximum: 1, ..connect(V5) }, None, false),
        ] {
            let mut scene = Scene::new(Limits::default(), V5, connect, QoS::ExactlyOnce, id);
            assert_eq!(scene.copies(&[&short[..], &longest, &short].concat(), V5), is_copied, "{what}");
        }
        let mut scene = Scene::new(Limits::default(), V311, connect(V5), QoS::AtMostOnce, None);
        assert!(!scene.copies(&packet(V311, QoS::AtMostOnce, 0, "t", 5), V311), "properties");
        let mut scene = Scene::new(Limits::default(), V311, connect(V311), QoS::AtMostOnce, None);
        assert!(scene.copies(&packet(V311, QoS::AtMostOnce, 0, "t", 5), V311));
        scene.shard.handle(NOW, Input::Closed { connection: SUBSCRIBER }, &mut scene.outbox);
    }

    /// As long as none of its packets could find a slow reader, whatever the packets are.
    #[test]
    fn a_run_is_copied_as_far_as_the_backlog_may_grow() {
        let row = [qos0(20), qos0(20)].concat();
        for (egress_bytes_max, backlog_bytes, is_copied) in
            [(row.len(), 0, true), (row.len() - 1, 0, false), (row.len() + 9, 9, true), (row.len() + 9, 10, false)]
        {
            let mut scene = Scene::usual(Limits { egress_bytes_max, ..Limits::default() });
            scene.outbox.egress.buffer(SUBSCRIBER.slot).resize(backlog_bytes, 0);
            assert_eq!(scene.copies(&row, V5), is_copied, "{backlog_bytes} bytes of {egress_bytes_max}");
        }
        // More than that is looked at, and then bounded by what is left for all.
        let at_bound = UNLOOKED_BACKLOG_BYTES - row.len();
        for (held_bytes_per_shard_max, backlog_bytes, is_copied) in
            [(10, at_bound, true), (10, at_bound + 1, false), (1 << 30, at_bound + 1, true)]
        {
            let mut scene = Scene::usual(Limits::default());
            scene.shard.budget = Budget::new(held_bytes_per_shard_max, LargePayloads::default(), 1);
            scene.outbox.egress.buffer(SUBSCRIBER.slot).resize(backlog_bytes, 0);
            assert_eq!(scene.copies(&row, V5), is_copied, "{backlog_bytes} bytes, {held_bytes_per_shard_max} for all");
        }
    }
}
