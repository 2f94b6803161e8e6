//! Any bytes from any clients: two shards never panic, say only whole packets, keep their ledger, and forget who has gone.
//!
//! Duty: turn random bytes into connections, packets (sensible, whole, damaged or none, in pieces), ends, time and a mesh
//! that is held; look at the shards after each step and at the end. Must not: judge the answers (tests/sim does).
//! Neighbours: the fuzz target and `tests/fuzz_bodies.rs` call it.

use std::collections::{BTreeMap, VecDeque};

use ringmq::id::{ConnectionId, Millis, ShardId};
use ringmq::limits::Limits;
use ringmq::session::LargePayloads;
use ringmq::shard::{Flush, Input, MeshBatch, Next, Outbox, Received, Shard, ShardConfig, Sizes, StoreTerms};
use ringmq::store::Group;
use ringmq::store::record::Wall;
use ringmq::wire::{
    Ack, AckKind, Connect, Framed, OutgoingPublish, Packet, ProtocolVersion, ReasonCode, Sender, Subscribe,
    SubscriptionOptions, decode, frame,
};

use super::packets::{Blocks, KINDS, Source, packet_of};

const SHARDS: usize = 2;
const CLIENTS: usize = 6;
const VERSIONS: [ProtocolVersion; 3] = [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5];
const TOPICS: [&str; 6] = ["a", "a/b", "a/b/c", "b", "$SYS/x", ""];
const FILTERS: [&str; 8] = ["a", "a/#", "+/b", "#", "$share/g/a", "$share/g/#", "$share/h/+/b", "a/b/c"];
/// Sessions end by then, seconds.
const EXPIRY_SECS_MAX: u32 = 500;

/// One end of a connection.
struct Line {
    shard: usize,
    connection: ConnectionId,
    /// What was received and not taken.
    rest: Vec<u8>,
    /// Not to be read on.
    is_held: bool,
}

struct World {
    shards: Vec<(Shard, Outbox)>,
    lines: [Option<Line>; CLIENTS],
    /// The dialect that each slot of a shard was opened in.
    versions: BTreeMap<(usize, u32), ProtocolVersion>,
    in_transit: [VecDeque<MeshBatch>; SHARDS],
    is_mesh_held: bool,
    /// Store tickets that were answered.
    group: Group,
    now: Millis,
    opened: u32,
}

fn limits() -> Limits {
    Limits {
        queued_messages_max: 20,
        receive_maximum: 4,
        inflight_messages_max: 4,
        session_expiry_secs_max: EXPIRY_SECS_MAX,
        retained_search_nodes_max: 3,
        mesh_publishes_max: 8,
        egress_control_bytes_max: 200,
        held_bytes_per_shard_max: 1 << 20,
        ..Limits::default()
    }
}

impl World {
    fn new() -> Self {
        let large_payloads = LargePayloads::default();
        let shard = |index: usize| {
            let config = ShardConfig {
                shard: ShardId(index as u16),
                shards: SHARDS,
                hash_seed: 1,
                id_seed: 2,
                secret: ringmq::auth::scram::Secret::new([9; 32]),
                limits: limits(),
                large_payloads: large_payloads.clone(),
                is_faulty: false,
                store: Some(StoreTerms { wall: Wall(1 << 40), first_number: (index as u64) << 41 }),
                policy: std::sync::Arc::default(),
            };
            (Shard::new(config), Outbox::new(SHARDS))
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            lines: Default::default(),
            versions: BTreeMap::new(),
            in_transit: Default::default(),
            is_mesh_held: false,
            group: Group::new(SHARDS),
            now: Millis(0),
            opened: 0,
        }
    }

    fn handle(&mut self, shard: usize, input: Input) {
        let (owner, outbox) = &mut self.shards[shard];
        owner.handle(self.now, input, outbox);
    }

    fn open(&mut self, client: usize, shard: usize, version: ProtocolVersion, rest: Vec<u8>) {
        self.opened += 1;
        let connection = ConnectionId { slot: self.opened, generation: 0 };
        self.versions.insert((shard, connection.slot), version);
        self.handle(shard, Input::Opened { connection, accepted_at: self.now, listener: 0 });
        self.lines[client] = Some(Line { shard, connection, rest, is_held: false });
        self.read(client);
    }

    /// More bytes come on a connection.
    fn hear(&mut self, client: usize, bytes: &[u8]) {
        if let Some(line) = &mut self.lines[client] {
            line.rest.extend_from_slice(bytes);
            self.read(client);
        }
    }

    fn read(&mut self, client: usize) {
        let Some(line) = self.lines[client].as_mut().filter(|line| !line.is_held) else { return };
        let (owner, outbox) = &mut self.shards[line.shard];
        let received = Received { bytes: &line.rest, shared: None };
        let taken = owner.receive(self.now, line.connection, received, outbox);
        line.rest.drain(..taken.consumed);
        match taken.next {
            Next::Read { needed } => assert!(needed.is_none_or(|needed| needed > line.rest.len()), "a packet is whole"),
            Next::AwaitMesh | Next::AwaitDrain => line.is_held = true,
            Next::Closed => self.lines[client] = None,
            Next::Handoff(to) => {
                assert_eq!(taken.consumed, 0, "the next shard reads CONNECT again");
                let Some(line) = self.lines[client].take() else { return };
                let version = self.versions[&(line.shard, line.connection.slot)];
                self.open(client, to.index(), version, line.rest);
            }
        }
    }

    fn close(&mut self, client: usize) {
        if let Some(Line { shard, connection, .. }) = self.lines[client].take() {
            self.handle(shard, Input::Closed { connection });
        }
    }

    /// Does what the outboxes want, until nothing is left.
    fn settle(&mut self) {
        loop {
            let mut is_quiet = true;
            for index in 0..SHARDS {
                is_quiet &= !self.flush(index);
                let batch = std::mem::take(&mut self.shards[index].1.mesh[1 - index]);
                if !batch.is_empty() {
                    self.in_transit[index].push_back(batch);
                }
                while let Some(batch) = self.in_transit[index].pop_front_if(|_| !self.is_mesh_held) {
                    is_quiet = false;
                    self.handle(1 - index, Input::Mesh { from: ShardId(index as u16), batch });
                }
            }
            for client in 0..CLIENTS {
                let Some(line) = self.lines[client].as_mut().filter(|line| line.is_held) else { continue };
                let (owner, outbox) = &self.shards[line.shard];
                if owner.takes_publishes(outbox) {
                    line.is_held = false;
                    is_quiet = false;
                    self.read(client);
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    /// Sends what a shard has for its connections: whole packets, that a client understands. Whether there was anything.
    fn flush(&mut self, index: usize) -> bool {
        let batch = self.shards[index].1.take_records();
        let is_stored_new = batch.is_some();
        if let Some(batch) = batch {
            self.group.take(ShardId(index as u16), batch);
            let mut answers = Vec::new();
            self.group.committed(true, &mut |shard, through, is_safe| answers.push((shard, through, is_safe)));
            for (shard, through, is_safe) in answers {
                self.handle(shard.index(), Input::Stored { through, is_safe });
            }
        }
        let (_, outbox) = &mut self.shards[index];
        let mut dirty = Vec::new();
        outbox.egress.take_dirty(&mut dirty);
        let mut drained = Vec::new();
        for &slot in &dirty {
            let mut flush = Flush::default();
            outbox.egress.at(slot).take(&mut flush);
            let bytes = flush.pieces().collect::<Vec<_>>().concat();
            let version = self.versions[&(index, slot)];
            assert_packets(&bytes, version);
            if outbox.egress.sent(slot, bytes.len()) {
                drained.push(slot);
            }
        }
        for connection in outbox.closes.drain(..) {
            for line in self
                .lines
                .iter_mut()
                .filter(|line| line.as_ref().is_some_and(|line| (line.shard, line.connection) == (index, connection)))
            {
                *line = None;
            }
        }
        outbox.events.clear();
        for slot in &drained {
            let connection = ConnectionId { slot: *slot, generation: 0 };
            self.handle(index, Input::Drained { connection });
        }
        is_stored_new || !dirty.is_empty()
    }

    /// What holds at any time.
    fn check(&self) {
        for (shard, _) in &self.shards {
            let (counters, sizes) = (shard.counters(), shard.sizes());
            let known = counters.delivered.sum() + counters.dropped.iter().sum::<u64>() + sizes.queued_messages as u64;
            assert_eq!(counters.matches, known, "the ledger does not add up: {counters:?} {sizes:?}");
        }
    }

    fn pass(&mut self, millis: u64) {
        let until = self.now.after_millis(millis);
        let due = |world: &Self| world.shards.iter().filter_map(|(shard, _)| shard.next_deadline()).min();
        while let Some(next) = due(self).filter(|due| *due <= until) {
            self.now = self.now.max(next);
            (0..SHARDS).for_each(|shard| self.handle(shard, Input::Deadline));
            self.settle();
        }
        self.now = until;
    }
}

/// Bytes for a client are packets one after the other that it may get.
fn assert_packets(mut bytes: &[u8], version: ProtocolVersion) {
    while !bytes.is_empty() {
        let Ok(Framed::Whole(found)) = frame(bytes, u32::MAX) else { panic!("not a whole packet: {bytes:02x?}") };
        let packet = decode(&found, version, Sender::Server);
        let is_refusal_of_a_version = found.first_byte >> 4 == 2;
        assert!(packet.is_ok() || is_refusal_of_a_version, "{packet:?} in {version:?}: {bytes:02x?}");
        bytes = &bytes[found.len..];
    }
}

/// A packet that makes sense, in the vocabulary of this world.
fn sensible(source: &mut Source<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut bytes = Vec::new();
    let packet_id = 1 + source.index(5) as u16;
    match source.index(8) {
        0 | 1 => {
            let mut block = Vec::new();
            for _ in 0..=source.index(3) {
                let options = SubscriptionOptions { qos: source.qos(), ..SubscriptionOptions::default() };
                Subscribe::push_filter(&mut block, FILTERS[source.index(FILTERS.len())], options);
            }
            Subscribe::new(packet_id, None, &block).encode(version, &mut bytes);
        }
        2..=4 => {
            let payload = vec![b'x'; [0, 1, 5, 300, 5000][source.index(5)]];
            let publish = OutgoingPublish {
                dup: false,
                qos: source.qos(),
                retain: source.bool(),
                topic: TOPICS[source.index(TOPICS.len())],
                packet_id,
                message_expiry_secs: if version == ProtocolVersion::V5 && source.bool() { Some(5) } else { None },
                topic_alias: None,
                subscription_ids: &[],
                properties: &[],
                payload_len: payload.len(),
            };
            publish.encode_head(version, &mut bytes);
            bytes.extend_from_slice(&payload);
        }
        _ => {
            let kind = [AckKind::Puback, AckKind::Pubrec, AckKind::Pubrel, AckKind::Pubcomp][source.index(4)];
            Ack::new(kind, packet_id, ReasonCode::Success).encode(version, &mut bytes);
        }
    }
    bytes
}

fn step(world: &mut World, source: &mut Source<'_>) {
    let (client, act) = (source.index(CLIENTS), source.index(12));
    let line = world.lines[client].as_ref().map(|line| (line.shard, line.connection.slot));
    let spoken = line.map(|line| world.versions[&line]);
    let version = spoken.unwrap_or(VERSIONS[source.index(3)]);
    match act {
        0 => world.close(client),
        1 => world.pass([1, 100, 3_000, 40_000][source.index(4)]),
        2 => world.hear(client, source.binary()),
        3 => world.is_mesh_held = !world.is_mesh_held,
        4 | 5 if spoken.is_none() || act == 4 => {
            world.close(client);
            let version = VERSIONS[source.index(3)];
            let is_lasting = source.bool();
            let client_id = format!("client-{}", source.index(CLIENTS));
            let connect = Connect {
                clean_start: !is_lasting,
                session_expiry_secs: (version == ProtocolVersion::V5 && is_lasting).then_some(60),
                ..Connect::new(version, &client_id)
            };
            let mut first = Vec::new();
            Packet::Connect(connect).encode(version, &mut first);
            world.open(client, source.index(SHARDS), version, first);
        }
        6 => {
            let (kind, spelled) = (source.index(KINDS), source.binary());
            let blocks = Blocks::of(&mut Source::new(spelled));
            let mut packet = Vec::new();
            packet_of(kind, &mut Source::new(spelled), &blocks, version, Sender::Client).encode(version, &mut packet);
            let end = packet.len() - if source.bool() { source.index(packet.len()) } else { 0 };
            world.hear(client, &packet[..end]);
        }
        _ => {
            let packet = sensible(source, version);
            world.hear(client, &packet);
        }
    }
}

/// Runs the world that `bytes` describe.
pub(crate) fn run(bytes: &[u8]) {
    let mut world = World::new();
    let mut source = Source::new(bytes);
    while !source.is_empty() {
        step(&mut world, &mut source);
        world.settle();
        world.check();
    }
    world.is_mesh_held = false;
    (0..CLIENTS).for_each(|client| world.close(client));
    world.settle();
    world.pass(u64::from(EXPIRY_SECS_MAX) * 1000 + 1000);
    world.check();
    for (shard, _) in &world.shards {
        let sizes = shard.sizes();
        let retained = Sizes {
            retained_messages: sizes.retained_messages,
            retained_tombstones: sizes.retained_tombstones,
            held_bytes: if sizes.retained_messages > 0 { sizes.held_bytes } else { 0 },
            ..Sizes::default()
        };
        assert_eq!(sizes, retained, "only what is retained stays");
    }
    let kept = |index: usize| world.shards[index].0.sizes().retained_messages;
    assert_eq!(kept(0), kept(1), "the shards retain the same");
}
