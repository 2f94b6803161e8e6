//! A client: its side of connection and session, as the protocol wants it.
//!
//! Duty: connect, keep packet ids, resend, answer, and check that the broker keeps to the protocol towards it. Must not:
//! choose what to do next (`habits`). Neighbours: `line` below; `received` takes what comes; `oracle` is told everything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ringmq::id::Millis;
use ringmq::wire::{
    Ack, AckKind, Connect, Disconnect, LastWill, Packet, ProtocolVersion, Publish, PublishProperties, QoS, ReasonCode,
    Subscribe, SubscriptionOptions, Unsubscribe,
};

use crate::delivery::{payload, will_payload};
use crate::line::{Asked, Goodbye, Line};
use crate::oracle::{Moment, Oracle, Published};
use crate::plan::Plan;
use crate::random::Random;
use crate::trace::Note;

/// What a client reaches of the world.
pub(crate) struct Desk<'a> {
    pub(crate) now: Millis,
    pub(crate) random: &'a mut Random,
    pub(crate) plan: &'a Plan,
    pub(crate) lines: &'a mut Vec<Line>,
    pub(crate) oracle: &'a mut Oracle,
    /// New lines, to be accepted by some shard.
    pub(crate) opened: &'a mut Vec<usize>,
}

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Off,
    Connecting,
    On,
}

/// A message of the client that is not yet done.
#[derive(Clone, Debug)]
pub(crate) struct Unacked {
    pub(crate) packet_id: u16,
    pub(crate) number: u32,
    pub(crate) qos: QoS,
    /// PUBREC has come, PUBREL was sent.
    pub(crate) is_released: bool,
    pub(crate) topic: String,
    pub(crate) retain: bool,
    pub(crate) payload: Vec<u8>,
    pub(crate) expiry_secs: Option<u32>,
}

/// A SUBSCRIBE or UNSUBSCRIBE that is not yet answered.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) is_subscribe: bool,
    pub(crate) filters: Vec<(String, QoS)>,
    pub(crate) sent_at: Moment,
}

/// What does not change from connection to connection.
#[derive(Clone, Debug)]
pub(crate) struct Nature {
    pub(crate) name: String,
    pub(crate) version: ProtocolVersion,
    pub(crate) keep_alive_secs: u16,
    pub(crate) receive_maximum: u16,
    pub(crate) alias_max: u16,
    /// Maximum Packet Size, bytes.
    pub(crate) packet_bytes_max: Option<u32>,
    pub(crate) is_slow: bool,
    /// Sends acknowledgements in any order.
    pub(crate) shuffles_acks: bool,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) index: usize,
    pub(crate) nature: Nature,
    pub(crate) phase: Phase,
    pub(crate) line: Option<usize>,
    pub(crate) rest: Vec<u8>,
    /// Lines left open when a new one was opened.
    pub(crate) left: Vec<(usize, Vec<u8>)>,
    pub(crate) unacked: VecDeque<Unacked>,
    pub(crate) asking: BTreeMap<u16, Asking>,
    pub(crate) last_packet_id: u16,
    /// QoS 2 packet ids of the broker between PUBLISH and PUBREL.
    pub(crate) received: BTreeSet<u16>,
    pub(crate) acks: VecDeque<(AckKind, u16)>,
    /// Packet ids of the broker that this connection has not yet done with.
    pub(crate) outstanding: BTreeSet<u16>,
    pub(crate) aliases: BTreeMap<u16, String>,
    pub(crate) aliases_out: BTreeMap<String, u16>,
    pub(crate) broker_receive_maximum: usize,
    pub(crate) broker_alias_max: u16,
    pub(crate) filters: BTreeSet<String>,
    pub(crate) is_stalled_until: Millis,
    pub(crate) spoke_at: Millis,
    /// The session that the client's state belongs to.
    pub(crate) known_session: Option<usize>,
    /// Acknowledgements of the last connection leave with this one, so that the window is not what it seems.
    pub(crate) has_late_acks: bool,
}

impl Client {
    pub(crate) fn new(index: usize, nature: Nature) -> Self {
        Self {
            index,
            nature,
            phase: Phase::Off,
            line: None,
            rest: Vec::new(),
            left: Vec::new(),
            unacked: VecDeque::new(),
            asking: BTreeMap::new(),
            last_packet_id: 0,
            received: BTreeSet::new(),
            acks: VecDeque::new(),
            outstanding: BTreeSet::new(),
            aliases: BTreeMap::new(),
            aliases_out: BTreeMap::new(),
            broker_receive_maximum: 0,
            broker_alias_max: 0,
            filters: BTreeSet::new(),
            is_stalled_until: Millis(0),
            spoke_at: Millis(0),
            known_session: None,
            has_late_acks: false,
        }
    }

    pub(crate) fn session(&self, desk: &Desk<'_>) -> usize {
        let line = self.line.expect("on");
        desk.lines[line].session.expect("CONNACK has come")
    }

    pub(crate) fn send(&mut self, packet: &Packet<'_>, desk: &mut Desk<'_>) {
        if desk.plan.traces {
            eprintln!("{:6} {} line {:?} sends {packet:?}", desk.now.0, self.index, self.line);
        }
        let mut bytes = Vec::new();
        packet.encode(self.nature.version, &mut bytes);
        self.spoke_at = desk.now;
        if let Some(line) = self.line {
            desk.oracle.trace.note(desk.now, line, Note::Sent(bytes[0], bytes.len()));
            desk.lines[line].to_server.extend(bytes);
        }
    }

    /// Opens a new line. One that is still open is left as it is: the broker has to close it.
    pub(crate) fn connect(&mut self, asked: Asked, will_qos: QoS, desk: &mut Desk<'_>) {
        if let Some(old) = self.line.take() {
            self.left.push((old, std::mem::take(&mut self.rest)));
        }
        if asked.is_clean {
            if let Some(session) = self.known_session {
                desk.oracle.sessions[session].is_forgotten = true;
            }
            self.forget_session();
        }
        let line = desk.lines.len();
        let will_topic = format!("w/{line}");
        let will_bytes = will_payload(line);
        let is_v5 = self.nature.version == ProtocolVersion::V5;
        let last_will = asked.will_delay_secs.map(|delay_secs| LastWill {
            topic: &will_topic,
            payload: &will_bytes,
            qos: will_qos,
            retain: false,
            delay_secs: if is_v5 { delay_secs } else { 0 },
            properties: PublishProperties::EMPTY,
        });
        let connect = Connect {
            clean_start: asked.is_clean,
            keep_alive_secs: self.nature.keep_alive_secs,
            last_will,
            session_expiry_secs: is_v5.then_some(asked.expiry_secs),
            receive_maximum: is_v5.then_some(asked.receive_maximum),
            topic_alias_maximum: asked.alias_max,
            maximum_packet_size: asked.packet_bytes_max,
            ..Connect::new(self.nature.version, &self.nature.name)
        };
        let mut bytes = Vec::new();
        connect.encode(&mut bytes);
        if desk.plan.traces {
            eprintln!("{:6} {} line {line} opens {connect:?}", desk.now.0, self.index);
        }
        let mut fresh = Line::new(self.index, self.nature.version, asked, desk.now);
        fresh.to_server.extend(bytes);
        if desk.random.chance(30) {
            fresh.to_server.extend([0xc0, 0]);
        }
        desk.lines.push(fresh);
        desk.oracle.trace.note(desk.now, line, Note::Opened);
        desk.opened.push(line);
        self.line = Some(line);
        self.rest.clear();
        self.phase = Phase::Connecting;
        self.spoke_at = desk.now;
    }

    /// The session is no more, here or there.
    pub(crate) fn forget_session(&mut self) {
        self.unacked.clear();
        self.received.clear();
        self.acks.clear();
        self.filters.clear();
    }

    /// Says goodbye and closes.
    pub(crate) fn disconnect(&mut self, goodbye: Goodbye, desk: &mut Desk<'_>) {
        let line = self.line.expect("on");
        let reason = if goodbye.with_will { ReasonCode::DisconnectWithWill } else { ReasonCode::NORMAL_DISCONNECTION };
        let disconnect = Disconnect { session_expiry_secs: goodbye.expiry_secs, ..Disconnect::new(reason) };
        self.send(&Packet::Disconnect(disconnect), desk);
        desk.lines[line].said_goodbye = Some(goodbye);
        desk.lines[line].is_closed_by_client = true;
        desk.lines[line].to_client.clear();
        self.go_off();
    }

    /// The network fails.
    pub(crate) fn lose(&mut self, desk: &mut Desk<'_>) {
        let Some(line) = self.line else { return };
        let unread = desk.lines[line].to_server.len();
        let kept_bytes = desk.random.below(unread + 1);
        desk.lines[line].cut(kept_bytes);
        self.go_off();
    }

    /// Neither reads nor writes any more; the network does not tell the broker.
    pub(crate) fn desert(&mut self, desk: &mut Desk<'_>) {
        let Some(line) = self.line else { return };
        desk.lines[line].is_half_open = true;
        self.go_off();
    }

    pub(crate) fn go_off(&mut self) {
        self.line = None;
        self.phase = Phase::Off;
        self.rest.clear();
    }

    /// Whether a further QoS 1 or 2 message may be sent [MQTT-3.3.4-7].
    pub(crate) fn may_publish(&self) -> bool {
        self.unacked.len() < self.broker_receive_maximum
    }

    fn next_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.wrapping_add(1).max(1);
            let id = self.last_packet_id;
            let is_used = self.asking.contains_key(&id) || self.unacked.iter().any(|entry| entry.packet_id == id);
            if !is_used {
                return id;
            }
        }
    }

    /// Publishes something new to a topic; returns its number. `padding` of `None`: an empty payload.
    pub(crate) fn publish(
        &mut self,
        topic: &str,
        qos: QoS,
        retain: bool,
        padding: Option<usize>,
        expiry_secs: Option<u32>,
        desk: &mut Desk<'_>,
    ) -> u32 {
        let expiry_secs = expiry_secs.filter(|_| self.nature.version == ProtocolVersion::V5);
        let number = desk.oracle.next_number();
        let bytes = padding.map_or(Vec::new(), |padding| payload(number, padding));
        desk.oracle.publish(Published {
            publisher: self.index,
            session: self.session(desk),
            line: self.line.expect("on"),
            topic: topic.to_owned(),
            qos,
            retain,
            is_empty: padding.is_none(),
            size_bytes: topic.len() + bytes.len(),
            expiry_secs,
            // The broker counts from when it reads it.
            expires_at: expiry_secs.map(|secs| desk.now.after_secs(u64::from(secs))),
            sent_at: 0,
            resends: 0,
            acked_at: None,
            reason: 0,
        });
        let packet_id = if qos == QoS::AtMostOnce { 0 } else { self.next_packet_id() };
        let entry = Unacked {
            packet_id,
            number,
            qos,
            is_released: false,
            topic: topic.to_owned(),
            retain,
            payload: bytes,
            expiry_secs,
        };
        self.send_publish(&entry, false, desk);
        if qos != QoS::AtMostOnce {
            self.unacked.push_back(entry);
        }
        number
    }

    fn send_publish(&mut self, entry: &Unacked, dup: bool, desk: &mut Desk<'_>) {
        let mut topic = &*entry.topic;
        let mut properties = PublishProperties { message_expiry_secs: entry.expiry_secs, ..PublishProperties::EMPTY };
        if self.nature.version == ProtocolVersion::V5 && self.broker_alias_max > 0 && desk.random.chance(30) {
            let is_full = self.aliases_out.len() >= usize::from(self.broker_alias_max);
            if let Some(alias) = self.aliases_out.get(topic) {
                properties.topic_alias = Some(*alias);
                topic = "";
            } else if !is_full {
                let alias = u16::try_from(self.aliases_out.len() + 1).expect("few");
                self.aliases_out.insert(topic.to_owned(), alias);
                properties.topic_alias = Some(alias);
            }
        }
        let publish = Publish {
            dup,
            qos: entry.qos,
            retain: entry.retain,
            topic,
            packet_id: entry.packet_id,
            properties,
            payload: &entry.payload,
        };
        self.send(&Packet::Publish(publish), desk);
    }

    /// Sends again what the broker may not have, in order [MQTT-4.4.0-1].
    pub(crate) fn resend(&mut self, desk: &mut Desk<'_>) {
        for entry in self.unacked.clone() {
            if entry.is_released {
                let ack = Ack::new(AckKind::Pubrel, entry.packet_id, ReasonCode::Success);
                self.send(&Packet::Ack(ack), desk);
            } else {
                desk.oracle.published[entry.number as usize].resends += 1;
                desk.oracle.checks.resends += 1;
                self.send_publish(&entry, true, desk);
            }
        }
    }

    pub(crate) fn subscribe(
        &mut self,
        filters: &[(String, SubscriptionOptions)],
        subscription_id: Option<u32>,
        desk: &mut Desk<'_>,
    ) {
        let session = self.session(desk);
        let line = self.line.expect("on");
        let mut block = Vec::new();
        for (filter, options) in filters {
            Subscribe::push_filter(&mut block, filter, *options);
            desk.oracle.subscribe(session, line, filter, *options);
            self.filters.insert(filter.clone());
        }
        let packet_id = self.next_packet_id();
        let asking = Asking {
            is_subscribe: true,
            filters: filters.iter().map(|(filter, options)| (filter.clone(), options.qos)).collect(),
            sent_at: desk.oracle.moment,
        };
        self.asking.insert(packet_id, asking);
        let subscription_id = subscription_id.filter(|_| self.nature.version == ProtocolVersion::V5);
        self.send(&Packet::Subscribe(Subscribe::new(packet_id, subscription_id, &block)), desk);
    }

    pub(crate) fn unsubscribe(&mut self, filter: &str, desk: &mut Desk<'_>) {
        let session = self.session(desk);
        let sent_at = desk.oracle.unsubscribe(session, filter);
        self.filters.remove(filter);
        let mut block = Vec::new();
        Unsubscribe::push_filter(&mut block, filter);
        let packet_id = self.next_packet_id();
        let asking = Asking { is_subscribe: false, filters: vec![(filter.to_owned(), QoS::AtMostOnce)], sent_at };
        self.asking.insert(packet_id, asking);
        self.send(&Packet::Unsubscribe(Unsubscribe::new(packet_id, &block)), desk);
    }

    /// Sends up to `most` acknowledgements that wait.
    pub(crate) fn send_acks(&mut self, most: usize, desk: &mut Desk<'_>) {
        if self.phase != Phase::On {
            return;
        }
        if self.nature.shuffles_acks {
            desk.random.shuffle(self.acks.make_contiguous());
        }
        for _ in 0..most {
            let Some((kind, packet_id)) = self.acks.pop_front() else { return };
            if matches!(kind, AckKind::Puback | AckKind::Pubcomp) {
                self.outstanding.remove(&packet_id);
            }
            self.send(&Packet::Ack(Ack::new(kind, packet_id, ReasonCode::Success)), desk);
        }
    }

    /// Whether nothing is owed in either direction.
    pub(crate) fn is_quiet(&self, lines: &[Line]) -> bool {
        let line_is_quiet = self.line.is_none_or(|line| lines[line].to_client.is_empty());
        match self.phase {
            Phase::Off => true,
            Phase::Connecting => false,
            Phase::On => line_is_quiet && self.unacked.is_empty() && self.asking.is_empty() && self.acks.is_empty(),
        }
    }
}
