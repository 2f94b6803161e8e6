//! Random scripts: what a few clients do, act by act, and what each of them hears.
//!
//! Duty: draw scripts in which topics, rows of packets and bounds come again and again; play one to a broker in a given way of
//! reading; note all that can be seen from outside after each act. Must not: judge it (`runs` compares). Neighbours: `broker`
//! is the stage, `peer` each client, `packets` their words.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::select;
use ringmq::limits::{Limits, QueueFull};
use ringmq::shard::{Counters, Sizes};
use ringmq::wire::{
    Ack, AckKind, Connect, Disconnect, Packet, Property, ProtocolVersion, Publish, PublishProperties, QoS, ReasonCode,
    SubscriptionOptions,
};

use super::broker::Broker;
use super::packets::*;
use super::peer::{Peer, decode};

/// The clients; on two shards two of them live on each.
const NAMES: [&str; 4] = ["ann", "bob", "cat", "dan"];
const TOPICS: [&str; 4] = ["a", "a", "a/b", "c"];
const FILTERS: [&str; 9] = ["a", "a", "a/b", "a/#", "#", "+", "$share/g/a", "$share/g/#", "$share/h/+/b"];
/// Packets that nobody should send, or that the rows must leave to others: QoS 3, DUP with QoS 0, packet id 0, a wildcard, a topic
/// that is no string, `$`, a length of one byte too many, one without end, acknowledgements of nothing, an empty topic,
/// too large a packet.
const ODD: [&str; 14] = [
    "3605000161000178",
    "3804000161 78",
    "3206000161000078",
    "3004000123 78",
    "30040001ff 78",
    "3005000224 7878",
    "308500000161 0078",
    "30ffffffff7f",
    "62021234",
    "5002ea60",
    "40020000",
    "30020000",
    "30ffffff7f",
    "62020000",
];

/// A script.
#[derive(Clone, Debug)]
pub(super) struct Script {
    shards: usize,
    limits: Limits,
    acts: Vec<Act>,
}

#[derive(Clone, Debug)]
enum Act {
    /// A client connects, whether it is connected or not.
    Dial(usize, Wishes),
    /// A client, which connects again if it must, says this; the number says where it is cut.
    Say(usize, Vec<Word>, usize),
    Vanish(usize),
    StopReading(usize),
    /// It takes so many bytes.
    Read(usize, usize),
    ResumeReading(usize),
    /// Milliseconds.
    Pass(u64),
    HoldMesh,
    ReleaseMesh,
    HoldStore,
    ReleaseStore,
}

#[derive(Clone, Debug)]
struct Wishes {
    version: ProtocolVersion,
    is_lasting: bool,
    receive_maximum: Option<u16>,
    maximum_packet_size: Option<u32>,
    topic_alias_maximum: u16,
    has_will: bool,
}

#[derive(Clone, Debug)]
enum Word {
    /// So many PUBLISH packets that differ in payload and packet id.
    Publish {
        times: usize,
        qos: QoS,
        topic: &'static str,
        length: usize,
        more: More,
    },
    Subscribe {
        filter: &'static str,
        options: SubscriptionOptions,
        subscription_id: Option<u32>,
    },
    Unsubscribe(&'static str),
    /// Answers to so many of what waits for one, from a place on that the second number says.
    Answer(usize, usize),
    /// An answer that does not fit what is in flight.
    Misfit,
    Ping,
    Leave,
    Odd(&'static str),
}

/// What makes a PUBLISH more than plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum More {
    Nothing,
    Dup,
    Retain,
    Expiry,
    UserProperty,
    Alias,
}

/// How a script is played.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// Whether shards remember topics.
    pub(super) remembers: bool,
    pub(super) cut: Cut,
    /// Whether acknowledgements of 5.0 say Success instead of leaving it out: they mean the same, and are not bare.
    pub(super) is_spelled: bool,
}

/// What of the bytes that a client says at once is offered at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// All.
    Nowhere,
    /// One packet, but acknowledgements side by side.
    BetweenPackets,
    /// As before, and each packet in two halves that need not be equal.
    InPackets,
    /// One packet, whatever it is.
    BetweenAll,
}

/// What can be seen after an act.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// The client that acknowledged something.
    pub(super) acknowledger: Option<usize>,
    pub(super) heard: Vec<Heard>,
    pub(super) counters: Vec<Counters>,
    pub(super) sizes: Sizes,
}

/// What has come on one connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) client: usize,
    pub(super) packets: Vec<Vec<u8>>,
    pub(super) is_open: bool,
}

impl Script {
    /// Whether it means the same however its bytes are cut. The end of each read lets go what was withheld for back-pressure, and
    /// SUBACKs that waited for an interest that an UNSUBSCRIBE withdraws; the beginning of each looks at what is left of the
    /// budget. All that is seen later where more is read at once.
    pub(super) fn may_be_cut(&self) -> bool {
        let is_withdrawn = |act: &Act| match act {
            Act::Say(_, words, _) => words.iter().any(|word| matches!(word, Word::Unsubscribe(_))),
            _ => false,
        };
        self.limits.backpressure_ms_max == 0
            && self.limits.held_bytes_per_shard_max == Limits::default().held_bytes_per_shard_max
            && (self.shards == 1 || !self.acts.iter().any(is_withdrawn))
    }
}

/// Scripts. If they are calm, everybody reads all the time, egress is wide, and nobody waits for the mesh.
pub(super) fn scripts(is_calm: bool) -> impl Strategy<Value = Script> {
    let first = prop::collection::vec((wishes(), subscribing()), NAMES.len());
    let acts = prop::collection::vec(act(is_calm), 1..25);
    (1..=2_usize, limits(is_calm), first, acts).prop_map(|(shards, limits, first, acts)| {
        let first = first.into_iter().enumerate().flat_map(|(client, (wishes, subscribing))| {
            [Act::Dial(client, wishes), Act::Say(client, vec![subscribing], 0)]
        });
        // At the end everything moves again.
        let last =
            (0..NAMES.len()).map(Act::ResumeReading).chain([Act::ReleaseMesh, Act::ReleaseStore, Act::Pass(1500)]);
        Script { shards, limits, acts: first.chain(acts).chain(last).collect() }
    })
}

/// The usual value mostly, else one of the others.
fn mostly<T: Clone + std::fmt::Debug + 'static>(usual: T, others: Vec<T>) -> impl Strategy<Value = T> {
    prop_oneof![3 => Just(usual), 2 => select(others)]
}

fn limits(is_calm: bool) -> impl Strategy<Value = Limits> {
    let usual = Limits::default();
    let egress = if is_calm { vec![usual.egress_bytes_max] } else { vec![100, 3000, 40_000] };
    let mesh = if is_calm { vec![usual.mesh_publishes_max] } else { vec![3] };
    let policies = vec![QueueFull::DropNewest, QueueFull::DropOldest];
    (
        (mostly(usual.egress_bytes_max, egress), mostly(usual.egress_control_bytes_max, vec![3, 12, 40])),
        (mostly(usual.queued_messages_max, vec![0, 3, 9]), mostly(QueueFull::Reject, policies)),
        (mostly(usual.receive_maximum, vec![5]), mostly(usual.inflight_messages_max, vec![1, 4])),
        (mostly(usual.packet_bytes_max, vec![30, 140, 4103]), mostly(usual.mesh_publishes_max, mesh)),
        (
            prop_oneof![1 => Just(usual.backpressure_ms_max), 2 => Just(0)],
            mostly(usual.held_bytes_per_shard_max, vec![20_000, 150_000]),
        ),
        (mostly(usual.retained_search_nodes_max, vec![1]), prop_oneof![9 => Just(usual.match_nodes_max), 1 => Just(2)]),
    )
        .prop_map(move |(egress, queue, windows, sizes, turns, walks)| Limits {
            egress_bytes_max: egress.0,
            egress_control_bytes_max: egress.1,
            queued_messages_max: queue.0,
            queue_full: queue.1,
            receive_maximum: windows.0,
            inflight_messages_max: windows.1,
            packet_bytes_max: sizes.0,
            mesh_publishes_max: sizes.1,
            backpressure_ms_max: turns.0,
            held_bytes_per_shard_max: turns.1,
            retained_search_nodes_max: walks.0,
            match_nodes_max: walks.1,
            ..Limits::default()
        })
}

fn act(is_calm: bool) -> impl Strategy<Value = Act> {
    let client = || 0..NAMES.len();
    let reading = if is_calm { 0 } else { 1 };
    prop_oneof![
        20 => (client(), prop::collection::vec(word(), 1..6), any::<u16>())
            .prop_map(|(client, words, cut)| Act::Say(client, words, usize::from(cut))),
        1 => (client(), wishes()).prop_map(|(client, wishes)| Act::Dial(client, wishes)),
        1 => client().prop_map(Act::Vanish),
        2 * reading => client().prop_map(Act::StopReading),
        reading => (client(), select(vec![1, 30, 5000])).prop_map(|(client, bytes)| Act::Read(client, bytes)),
        reading => client().prop_map(Act::ResumeReading),
        1 => select(vec![1, 1500, 12_000]).prop_map(Act::Pass),
        1 => select(vec![Act::HoldMesh, Act::ReleaseMesh, Act::HoldStore, Act::ReleaseStore]),
    ]
}

fn wishes() -> impl Strategy<Value = Wishes> {
    let large = prop_oneof![3 => Just(None), 1 => select(vec![Some(25), Some(4103)])];
    let window = prop_oneof![2 => Just(None), 1 => select(vec![Some(1), Some(3)])];
    (select(DIALECTS.to_vec()), any::<bool>(), window, large, mostly(0, vec![1]), prop::bool::weighted(0.2)).prop_map(
        |(version, is_lasting, receive_maximum, maximum_packet_size, topic_alias_maximum, has_will)| Wishes {
            version,
            is_lasting,
            receive_maximum,
            maximum_packet_size,
            topic_alias_maximum,
            has_will,
        },
    )
}

fn qos() -> impl Strategy<Value = QoS> {
    select(vec![Q0, Q1, Q2])
}

fn subscribing() -> impl Strategy<Value = Word> {
    let number = prop_oneof![3 => Just(None), 1 => Just(Some(7))];
    (select(FILTERS.to_vec()), qos(), prop::bool::weighted(0.2), any::<bool>(), number).prop_map(
        |(filter, qos, no_local, retain_as_published, subscription_id)| Word::Subscribe {
            filter,
            options: SubscriptionOptions {
                qos,
                // A protocol error with a shared subscription [MQTT-3.8.3-4].
                no_local: no_local && !filter.starts_with('$'),
                retain_as_published,
                ..SubscriptionOptions::default()
            },
            subscription_id,
        },
    )
}

fn word() -> impl Strategy<Value = Word> {
    let more = prop_oneof![
        12 => Just(More::Nothing),
        5 => select(vec![More::Dup, More::Retain, More::Expiry, More::UserProperty, More::Alias]),
    ];
    let length = prop_oneof![12 => 0..14_usize, 2 => 118..128_usize, 2 => 4088..4100_usize];
    prop_oneof![
        24 => (1..9_usize, qos(), select(TOPICS.to_vec()), length, more)
            .prop_map(|(times, qos, topic, length, more)| Word::Publish { times, qos, topic, length, more }),
        3 => subscribing(),
        1 => select(FILTERS.to_vec()).prop_map(Word::Unsubscribe),
        14 => (1..9_usize, 0..3_usize).prop_map(|(count, from)| Word::Answer(count, from)),
        1 => Just(Word::Misfit),
        1 => Just(Word::Ping),
        1 => Just(Word::Leave),
        1 => select(ODD.to_vec()).prop_map(Word::Odd),
    ]
}

/// Plays a script; what was seen after each act.
pub(super) fn play(script: &Script, way: Way) -> Vec<Moment> {
    let topics_max = if way.remembers { script.limits.match_cache_topics_max } else { 0 };
    let limits = Limits { match_cache_topics_max: topics_max, ..script.limits.clone() };
    let mut stage = Stage { broker: Broker::with(script.shards, limits), way, clients: Vec::new(), said: 0, millis: 0 };
    stage.clients.resize_with(NAMES.len(), Client::default);
    script.acts.iter().map(|act| stage.moment(act)).collect()
}

struct Stage {
    broker: Broker,
    way: Way,
    clients: Vec<Client>,
    /// Messages published.
    said: usize,
    millis: u64,
}

#[derive(Default)]
struct Client {
    peer: Option<Peer>,
    wishes: Option<Wishes>,
    last_packet_id: u16,
    has_set_alias: bool,
    /// What it has heard and not answered.
    unanswered: BTreeSet<(u8, u16)>,
}

/// Bytes that a client says, and whether they are acknowledgements side by side.
type Piece = (Vec<u8>, bool);

impl Stage {
    fn moment(&mut self, act: &Act) -> Moment {
        let mut heard = Vec::new();
        let acknowledger = match act {
            Act::Say(client, words, _) => {
                words.iter().any(|word| matches!(word, Word::Answer(..) | Word::Misfit)).then_some(*client)
            }
            _ => None,
        };
        match act {
            Act::Dial(client, wishes) => self.dial(*client, wishes.clone(), &mut heard),
            Act::Say(client, words, cut) => self.say(*client, words, *cut, &mut heard),
            Act::Vanish(client) => self.with_peer(*client, Peer::vanish),
            Act::StopReading(client) => self.with_peer(*client, Peer::stop_reading),
            Act::Read(client, bytes) => self.with_peer(*client, |peer| {
                peer.stop_reading();
                peer.read(*bytes);
            }),
            Act::ResumeReading(client) => self.with_peer(*client, Peer::resume_reading),
            Act::Pass(millis) => {
                self.millis += millis;
                self.broker.at_millis(self.millis);
            }
            Act::HoldMesh => self.broker.hold_mesh(),
            Act::ReleaseMesh => self.broker.release_mesh(),
            Act::HoldStore => self.broker.hold_store(),
            Act::ReleaseStore => self.broker.release_store(true),
        }
        for client in 0..NAMES.len() {
            heard.extend(self.hear(client));
        }
        Moment { acknowledger, heard, counters: self.broker.counters(), sizes: self.broker.sizes() }
    }

    fn with_peer(&self, client: usize, act: impl FnOnce(&Peer)) {
        if let Some(peer) = self.clients[client].peer.as_ref().filter(|peer| peer.is_open()) {
            act(peer);
        }
    }

    fn dial(&mut self, client: usize, wishes: Wishes, heard: &mut Vec<Heard>) {
        let is_v5 = wishes.version == V5;
        let connect = Connect {
            clean_start: !wishes.is_lasting,
            session_expiry_secs: (is_v5 && wishes.is_lasting).then_some(100),
            receive_maximum: wishes.receive_maximum.filter(|_| is_v5),
            maximum_packet_size: wishes.maximum_packet_size.filter(|_| is_v5),
            topic_alias_maximum: if is_v5 { wishes.topic_alias_maximum } else { 0 },
            last_will: wishes.has_will.then(|| will(Q1, "a", "gone")),
            ..Connect::new(wishes.version, NAMES[client])
        };
        let peer = self.broker.dial(wishes.version);
        peer.send(connect);
        // The connection that it had has heard that it is over.
        heard.extend(self.hear(client));
        if let Some(old) = self.clients[client].peer.take() {
            old.ignore_rest();
        }
        self.clients[client] = Client {
            peer: Some(peer),
            wishes: Some(wishes),
            last_packet_id: self.clients[client].last_packet_id,
            ..Client::default()
        };
        heard.extend(self.hear(client));
    }

    fn say(&mut self, client: usize, words: &[Word], cut: usize, heard: &mut Vec<Heard>) {
        let record = &self.clients[client];
        if !record.peer.as_ref().is_some_and(Peer::is_open) {
            let wishes = record.wishes.clone().expect("all have connected at the beginning");
            self.dial(client, wishes, heard);
        }
        let mut pieces = Vec::new();
        for word in words {
            self.put(client, word, &mut pieces);
        }
        let pieces: Vec<Vec<u8>> = match self.way.cut {
            Cut::Nowhere => vec![pieces.into_iter().flat_map(|(bytes, _)| bytes).collect()],
            Cut::BetweenPackets => pieces.into_iter().map(|(bytes, _)| bytes).collect(),
            Cut::InPackets => pieces.into_iter().flat_map(|piece| halves(piece, cut)).collect(),
            Cut::BetweenAll => pieces.into_iter().flat_map(row_by_row).collect(),
        };
        self.with_peer(client, |peer| peer.send_pieces(&pieces));
    }

    /// Appends what a word means.
    fn put(&mut self, client: usize, word: &Word, pieces: &mut Vec<Piece>) {
        let version = self.clients[client].wishes.as_ref().map_or(V311, |wishes| wishes.version);
        match word {
            Word::Publish { times, .. } => {
                for _ in 0..*times {
                    let packet = self.publish(client, version, word);
                    pieces.push((packet, false));
                }
            }
            Word::Subscribe { filter, options, subscription_id } => {
                let (options, subscription_id) = match version {
                    V5 => (*options, *subscription_id),
                    _ => (SubscriptionOptions { qos: options.qos, ..SubscriptionOptions::default() }, None),
                };
                let subscribing = subscribe(0x4000).with(filter, options);
                let subscribing = match subscription_id {
                    Some(number) => subscribing.numbered(number),
                    None => subscribing,
                };
                pieces.push((subscribing.bytes(version), false));
            }
            Word::Unsubscribe(filter) => pieces.push((unsubscribe(0x4001, &[filter]).bytes(version), false)),
            Word::Answer(count, from) => self.answer(client, version, (*count, *from), pieces),
            Word::Misfit => {
                // It may fit after all.
                if let Some(&(_, packet_id)) = self.clients[client].unanswered.first() {
                    put_in_row(pieces, &pubcomp(packet_id).bytes(version));
                }
            }
            Word::Ping => pieces.push((Packet::Pingreq.bytes(version), false)),
            Word::Leave => pieces.push((Disconnect::new(ReasonCode::Success).bytes(version), false)),
            Word::Odd(text) => pieces.push((hex(&text.replace(' ', "")), false)),
        }
    }

    fn publish(&mut self, client: usize, version: ProtocolVersion, word: &Word) -> Vec<u8> {
        let Word::Publish { qos, topic, length, more, .. } = word else { unreachable!("asked for a PUBLISH") };
        self.said += 1;
        let mut payload = self.said.to_string().into_bytes();
        payload.resize(*length, b'.');
        let record = &mut self.clients[client];
        let dup = *more == More::Dup && *qos != Q0;
        if !dup && *qos != Q0 {
            // So few that some are taken again before their handshake is done.
            record.last_packet_id = record.last_packet_id % 20 + 1;
        }
        let publish = Publish {
            dup,
            qos: *qos,
            retain: *more == More::Retain,
            topic,
            packet_id: record.last_packet_id.max(1),
            properties: PublishProperties::EMPTY,
            payload: &payload,
        };
        if version != V5 {
            return publish.bytes(version);
        }
        match more {
            More::Expiry => publish.with(&[Property::MessageExpiryInterval(2)]).bytes(version),
            More::UserProperty => publish.with(&[Property::UserProperty("key", "value")]).bytes(version),
            More::Alias => {
                let is_known = std::mem::replace(&mut record.has_set_alias, true);
                let topic = if is_known { "" } else { topic };
                Publish { topic, ..publish }.with(&[Property::TopicAlias(3)]).bytes(version)
            }
            _ => publish.bytes(version),
        }
    }

    fn answer(
        &mut self,
        client: usize,
        version: ProtocolVersion,
        (count, from): (usize, usize),
        pieces: &mut Vec<Piece>,
    ) {
        let unanswered = &mut self.clients[client].unanswered;
        let answered: Vec<(u8, u16)> = unanswered.iter().copied().skip(from).take(count).collect();
        for answer in answered {
            unanswered.remove(&answer);
            let kind = [AckKind::Puback, AckKind::Pubrec, AckKind::Pubrel, AckKind::Pubcomp][usize::from(answer.0)];
            let mut bytes = Ack::new(kind, answer.1, ReasonCode::Success).bytes(version);
            if self.way.is_spelled && version == V5 {
                bytes[1] = 3;
                bytes.push(0);
            }
            put_in_row(pieces, &bytes);
        }
    }

    /// What has come for a client.
    fn hear(&mut self, client: usize) -> Option<Heard> {
        let record = &mut self.clients[client];
        let peer = record.peer.as_ref()?;
        let packets = peer.hear_whole();
        for packet in &packets {
            match decode(packet, peer.version) {
                Ok(Packet::Publish(Publish { qos: Q1, packet_id, .. })) => {
                    record.unanswered.insert((0, packet_id));
                }
                Ok(Packet::Publish(Publish { qos: Q2, packet_id, .. })) => {
                    record.unanswered.insert((1, packet_id));
                }
                Ok(Packet::Ack(Ack { kind: AckKind::Pubrec, packet_id, reason, .. })) if !reason.is_error() => {
                    record.unanswered.insert((2, packet_id));
                }
                Ok(Packet::Ack(Ack { kind: AckKind::Pubrel, packet_id, .. })) => {
                    record.unanswered.insert((3, packet_id));
                }
                _ => {}
            }
        }
        let is_open = peer.is_open();
        if !is_open {
            // What a connection that has failed was being sent is nobody's.
            peer.ignore_rest();
        }
        Some(Heard { client, packets, is_open })
    }
}

/// Appends an acknowledgement to the row that the last piece is, or to a new one.
fn put_in_row(pieces: &mut Vec<Piece>, bytes: &[u8]) {
    match pieces.last_mut() {
        Some((row, true)) => row.extend_from_slice(bytes),
        _ => pieces.push((bytes.to_vec(), true)),
    }
}

/// A packet in two parts; a row as it is.
fn halves((bytes, is_row): Piece, cut: usize) -> Vec<Vec<u8>> {
    if is_row || bytes.is_empty() {
        return vec![bytes];
    }
    let (one, other) = bytes.split_at(cut % bytes.len());
    vec![one.to_vec(), other.to_vec()]
}

/// A row packet by packet; a packet as it is.
fn row_by_row((bytes, is_row): Piece) -> Vec<Vec<u8>> {
    if !is_row {
        return vec![bytes];
    }
    let mut rest = &bytes[..];
    let mut packets = Vec::new();
    while let [_, length, ..] = *rest {
        let (packet, after) = rest.split_at(2 + usize::from(length));
        packets.push(packet.to_vec());
        rest = after;
    }
    packets
}
