//! A session that gets both what is stored and what is not, in any order, over reconnects and crashes (sections 2.2.1, 4.4, 4.6).
//!
//! Duty: draw what is published, acknowledged and lost, and hold a client to which it happens to what it was promised. Must not: know
//! how packet ids are found. Neighbours: `durable` has one conversation for each promise; `revival` ends and begins the broker.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use ringmq::auth::Policy;
use ringmq::limits::{Level, Limits, QueueFull};
use ringmq::wire::{Ack, AckKind, Connect, Packet, Property, Publish, QoS, ReasonCode};

use super::broker::Broker;
use super::packets::*;
use super::peer::{Peer, decode};

/// Something that happens.
#[derive(Clone, Debug)]
enum Act {
    /// So many messages side by side.
    Publish { is_stored: bool, is_qos2: bool, ends: bool, count: usize },
    /// The subscriber acknowledges so many of what it has, from a place on.
    Acknowledge { from: usize, count: usize },
    /// Its connection is lost, and so many messages come before it is back.
    Away { is_stored: bool, count: usize },
    /// More than a second passes, which is the lifetime of what has one.
    Wait,
    /// The process ends, or (`is_power_lost`) the machine does.
    Crash { is_power_lost: bool },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let publish = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.2), 1..12_usize)
        .prop_map(|(is_stored, is_qos2, ends, count)| Act::Publish { is_stored, is_qos2, ends, count });
    let many = (any::<bool>(), 500..900_usize).prop_map(|(is_stored, count)| Act::Publish {
        is_stored,
        is_qos2: false,
        ends: false,
        count,
    });
    let acknowledge = (any::<usize>(), 1..20_usize).prop_map(|(from, count)| Act::Acknowledge { from, count });
    let all = Just(Act::Acknowledge { from: 0, count: usize::MAX });
    let away = (any::<bool>(), 0..9_usize).prop_map(|(is_stored, count)| Act::Away { is_stored, count });
    let crash = any::<bool>().prop_map(|is_power_lost| Act::Crash { is_power_lost });
    let act = prop_oneof![
        12 => publish, 1 => many, 8 => acknowledge, 4 => all, 3 => away, 1 => Just(Act::Wait), 2 => crash,
    ];
    prop::collection::vec(act, 1..40)
}

/// A message, as the subscriber knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Known {
    number: u32,
    is_stored: bool,
    qos: QoS,
    /// PUBREC was sent.
    is_received: bool,
}

/// All that is promised to one subscriber.
struct Scene {
    broker: Broker,
    bob: Peer,
    ann: Peer,
    published: u32,
    /// What must still come, unless something is dropped, and whether it is stored.
    due: BTreeMap<u32, bool>,
    /// What bob has not acknowledged to the end, by packet id.
    in_flight: BTreeMap<u16, Known>,
    /// Packet ids of what a crash has taken, which bob acknowledges late; of the crash before it, too.
    late: [BTreeSet<u16>; 2],
    /// The last message that came for the first time, and the last repetition on this connection.
    last_new: u32,
    last_repeated: u32,
    /// QoS 2 messages of which bob has sent PUBREC.
    received: BTreeSet<u32>,
}

impl Scene {
    fn new(limits: &Limits) -> Self {
        let durability = vec![("m/#".into(), Level::Memory), ("#".into(), Level::Commit)];
        let broker = Broker::under(1, limits.clone(), Policy { durability, ..Policy::default() });
        let bob = broker.join(Self::bob());
        bob.subscribe("#", Q2);
        let ann = broker.join(Self::ann());
        Self {
            broker,
            bob,
            ann,
            published: 0,
            due: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            late: Default::default(),
            last_new: 0,
            last_repeated: 0,
            received: BTreeSet::new(),
        }
    }

    fn bob() -> Connect<'static> {
        Connect { keep_alive_secs: 0, ..lasting(V5, "bob", u32::MAX) }
    }

    fn ann() -> Connect<'static> {
        Connect { keep_alive_secs: 0, ..Connect::new(V5, "ann") }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Publish { is_stored, is_qos2, ends, count } => self.publish(is_stored, is_qos2, ends, count),
            Act::Acknowledge { from, count } => self.acknowledge(from, count),
            Act::Away { is_stored, count } => {
                self.bob.vanish();
                self.publish(is_stored, false, false, count);
                self.come_back();
            }
            Act::Wait => self.broker.at_millis(self.broker.now().0 + 1500),
            Act::Crash { is_power_lost } => self.crash(is_power_lost),
        }
        self.listen();
    }

    fn publish(&mut self, is_stored: bool, is_qos2: bool, ends: bool, count: usize) {
        let (topic, qos) = (if is_stored { "c/a" } else { "m/a" }, if is_qos2 { Q2 } else { Q1 });
        let mut bytes = Vec::new();
        for _ in 0..count {
            self.published += 1;
            let packet_id = (self.published % u32::from(u16::MAX)) as u16 + 1;
            // What ends may not come at all.
            if !ends {
                self.due.insert(self.published, is_stored);
            }
            let text = self.published.to_string();
            let publish = Publish { qos, ..qos1(packet_id, topic, &text) };
            if ends {
                bytes.extend(publish.with(&[Property::MessageExpiryInterval(1)]).bytes(V5));
            } else {
                bytes.extend(publish.bytes(V5));
            }
        }
        self.ann.send_bytes(&bytes);
        self.hear_answers();
    }

    /// Takes the answers that the publisher gets, some of them late.
    fn hear_answers(&self) {
        while let Some(answer) = self.ann.try_hear() {
            let Ok(Packet::Ack(ack)) = decode(&answer, V5) else { panic!("{answer:02x?}") };
            assert_eq!(ack.reason, ReasonCode::Success);
            if ack.kind == AckKind::Pubrec {
                self.ann.send(pubrel(ack.packet_id));
            }
        }
    }

    fn acknowledge(&mut self, from: usize, count: usize) {
        let waiting = self.in_flight.iter().filter(|(_, known)| !known.is_received);
        let ids: Vec<u16> = waiting.map(|(packet_id, _)| *packet_id).collect();
        let first = from.checked_rem(ids.len()).unwrap_or(0);
        let mut bytes = Vec::new();
        for packet_id in ids.into_iter().skip(first).take(count) {
            let known = self.in_flight[&packet_id];
            if known.qos == Q1 {
                self.in_flight.remove(&packet_id);
                bytes.extend(puback(packet_id).bytes(V5));
            } else {
                self.in_flight.insert(packet_id, Known { is_received: true, ..known });
                self.received.insert(known.number);
                bytes.extend(pubrec(packet_id).bytes(V5));
            }
        }
        self.bob.send_bytes(&bytes);
    }

    fn come_back(&mut self) {
        self.last_repeated = 0;
        self.bob = self.broker.rejoin(Self::bob());
    }

    fn crash(&mut self, is_power_lost: bool) {
        if is_power_lost {
            self.broker.lose_power(1);
        } else {
            self.broker.crash(1, 0);
        }
        let in_flight = std::mem::take(&mut self.in_flight);
        let (stored, lost): (BTreeMap<_, _>, _) = in_flight.into_iter().partition(|(_, known)| known.is_stored);
        self.in_flight = stored;
        self.late.rotate_right(1);
        self.late[0] = lost.keys().copied().collect();
        self.due.retain(|_, is_stored| *is_stored);
        self.ann = self.broker.join(Self::ann());
        self.come_back();
        self.listen();
        for (packet_id, known) in lost {
            match known.qos {
                Q1 => self.bob.send(puback(packet_id)),
                _ => self.bob.send(pubrec(packet_id)),
            }
            self.listen();
        }
    }

    /// Takes what has come, and answers each PUBREL.
    fn listen(&mut self) {
        loop {
            let packets = self.bob.hear_whole();
            self.hear_answers();
            if packets.is_empty() {
                return assert!(self.bob.is_open());
            }
            for bytes in packets {
                match decode(&bytes, V5) {
                    Ok(Packet::Publish(publish)) => self.take(&publish),
                    Ok(Packet::Ack(Ack { kind: AckKind::Pubrel, packet_id, .. })) => {
                        self.in_flight.remove(&packet_id);
                        self.bob.send(pubcomp(packet_id));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn take(&mut self, publish: &Publish<'_>) {
        let Publish { dup, qos, topic, packet_id, payload, .. } = *publish;
        let number = std::str::from_utf8(payload).expect("a number").parse().expect("a number");
        let known = Known { number, is_stored: topic == "c/a", qos, is_received: false };
        self.due.remove(&number);
        if dup && self.in_flight.get(&packet_id) == Some(&Known { is_received: true, ..known }) {
            // The repetition and PUBREC have crossed.
            return self.bob.send(pubrec(packet_id));
        }
        assert!(!self.received.contains(&number), "{number}: a QoS 2 message comes once");
        if dup {
            assert!(number > self.last_repeated, "{number} after {}", self.last_repeated);
            self.last_repeated = number;
            let place = self.in_flight.iter().find(|(_, known)| known.number == number);
            assert!(place.is_none_or(|(before, _)| *before == packet_id), "{number} has another packet id");
        } else {
            assert!(number > self.last_new, "{number} after {}", self.last_new);
            assert!(!self.late.iter().any(|ids| ids.contains(&packet_id)), "{packet_id} may still be acknowledged");
        }
        self.last_new = self.last_new.max(number);
        let before = self.in_flight.insert(packet_id, known);
        assert!(before.is_none_or(|before| dup && before == known), "{packet_id} is in use: {before:?}, {known:?}");
    }

    fn end(mut self) -> BTreeMap<u32, bool> {
        self.listen();
        while !self.in_flight.is_empty() {
            self.acknowledge(0, usize::MAX);
            self.listen();
        }
        self.due
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// [MQTT-2.2.1-3], [MQTT-4.3.3-10], [MQTT-4.4.0-1], [MQTT-4.6.0-1]: no packet id is used twice, nothing that is stored is lost,
    /// nothing that is not stored is lost but by a crash, and all is in its order.
    #[test]
    fn stored_and_unstored_messages_of_a_session_keep_their_order_and_their_packet_ids(
        inflight_messages_max in prop_oneof![1..30_u16, Just(1024)],
        acts in acts(),
    ) {
        let limits = Limits { inflight_messages_max, queued_messages_max: 100_000, ..Limits::default() };
        let mut scene = Scene::new(&limits);
        acts.iter().for_each(|act| scene.act(act));
        let missing = scene.end();
        prop_assert!(missing.is_empty(), "{missing:?} did not come");
    }

    /// [MQTT-2.2.1-3], [MQTT-4.6.0-1]: also where the oldest are dropped, so that packet ids are passed over.
    #[test]
    fn messages_that_are_dropped_leave_order_and_packet_ids_of_the_others(
        inflight_messages_max in 1..30_u16,
        queued_messages_max in 1..30_usize,
        acts in acts(),
    ) {
        let queue_full = QueueFull::DropOldest;
        let receive_maximum = u16::MAX;
        let limits = Limits { inflight_messages_max, queued_messages_max, queue_full, receive_maximum, ..Limits::default() };
        let mut scene = Scene::new(&limits);
        acts.iter().for_each(|act| scene.act(act));
        scene.end();
    }
}
