//! Any bytes from any clients: two shards never panic and forget who has gone.
//!
//! Duty: turn random bytes into connections, packets (whole, damaged or none), closed connections and time, and drain every
//! outbox. Must not: judge the answers (tests/sim does). Neighbours: the fuzz target and `tests/fuzz_bodies.rs` call it.

use ringmq::id::{ConnectionId, Millis, ShardId};
use ringmq::limits::Limits;
use ringmq::session::LargePayloads;
use ringmq::shard::{Flush, Input, Next, Outbox, Received, Shard, ShardConfig};
use ringmq::wire::{Connect, Packet, ProtocolVersion, Sender};

use super::packets::{Blocks, KINDS, Source, packet_of};

const SHARDS: usize = 2;
const CLIENTS: u32 = 6;
const VERSIONS: [ProtocolVersion; 3] = [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5];

struct World {
    shards: Vec<(Shard, Outbox)>,
    /// Per client: its shard and connection.
    clients: Vec<Option<(usize, ConnectionId)>>,
    now: Millis,
    opened: u32,
}

impl World {
    fn new() -> Self {
        let limits =
            Limits { queued_messages_max: 20, receive_maximum: 4, inflight_messages_max: 4, ..Limits::default() };
        let large_payloads = LargePayloads::default();
        let shard = |index: usize| {
            let shard = ShardId(index as u16);
            let config = ShardConfig {
                shard,
                shards: SHARDS,
                hash_seed: 1,
                id_seed: 2,
                limits: limits.clone(),
                large_payloads: large_payloads.clone(),
                is_faulty: false,
            };
            (Shard::new(config), Outbox::new(SHARDS))
        };
        let clients = std::iter::repeat_with(|| None).take(CLIENTS as usize).collect();
        Self { shards: (0..SHARDS).map(shard).collect(), clients, now: Millis(0), opened: 0 }
    }

    fn open(&mut self, client: usize, shard: usize, first: &[u8]) {
        self.opened += 1;
        let connection = ConnectionId { slot: self.opened, generation: 0 };
        let (now, input) = (self.now, Input::Opened { connection, accepted_at: self.now });
        let (owner, outbox) = &mut self.shards[shard];
        owner.handle(now, input, outbox);
        self.clients[client] = Some((shard, connection));
        if let Some(Next::Handoff(to)) = self.receive(client, first) {
            self.open(client, to.index(), first);
        }
    }

    fn receive(&mut self, client: usize, bytes: &[u8]) -> Option<Next> {
        let (shard, connection) = self.clients[client]?;
        let (owner, outbox) = &mut self.shards[shard];
        let taken = owner.receive(self.now, connection, Received { bytes, shared: None }, outbox);
        assert!(taken.consumed <= bytes.len());
        if matches!(taken.next, Next::Closed | Next::Handoff(_)) {
            self.clients[client] = None;
        }
        Some(taken.next)
    }

    fn drain(&mut self) {
        let mut dirty = Vec::new();
        loop {
            let mut is_quiet = true;
            for index in 0..SHARDS {
                let (shard, outbox) = &mut self.shards[index];
                if outbox.store_ticket > 0 {
                    shard.handle(self.now, Input::Stored { through: outbox.store_ticket, is_safe: true }, outbox);
                }
                dirty.clear();
                outbox.egress.take_dirty(&mut dirty);
                for &slot in &dirty {
                    let mut flush = Flush::default();
                    outbox.egress.at(slot).take(&mut flush);
                    let _ = outbox.egress.sent(slot, flush.len());
                }
                outbox.closes.clear();
                outbox.events.clear();
                let batch = std::mem::take(&mut outbox.mesh[1 - index]);
                if !batch.is_empty() {
                    is_quiet = false;
                    let from = ShardId(index as u16);
                    let (peer, outbox) = &mut self.shards[1 - index];
                    peer.handle(self.now, Input::Mesh { from, batch }, outbox);
                }
            }
            if is_quiet && dirty.is_empty() {
                return;
            }
        }
    }

    fn close(&mut self, client: usize) {
        if let Some((shard, connection)) = self.clients[client].take() {
            let (owner, outbox) = &mut self.shards[shard];
            owner.handle(self.now, Input::Closed { connection }, outbox);
        }
    }
}

/// Runs the world that `bytes` describe.
pub(crate) fn run(bytes: &[u8]) {
    let mut world = World::new();
    for step in bytes.chunks(24) {
        let client = usize::from(step[0]) % CLIENTS as usize;
        let mut source = Source::new(&step[1..]);
        let version = VERSIONS[usize::from(step[0] >> 4) % 3];
        match step[0] % 8 {
            0 => world.close(client),
            1 => world.now = world.now.after_secs(u64::from(step.len() as u8) * 7),
            2 => _ = world.receive(client, &step[1..]),
            3 => {
                world.close(client);
                let client_id = format!("client-{client}");
                let connect = Connect {
                    clean_start: step.len() % 2 == 0,
                    session_expiry_secs: (version == ProtocolVersion::V5).then_some(60),
                    ..Connect::new(version, &client_id)
                };
                let mut first = Vec::new();
                Packet::Connect(connect).encode(version, &mut first);
                world.open(client, client % SHARDS, &first);
            }
            kind => {
                let blocks = Blocks::of(&mut source);
                let kind = (usize::from(kind) + step.len() + usize::from(step[0] >> 3)) % KINDS;
                let mut packet = Vec::new();
                packet_of(kind, &mut source, &blocks, version, Sender::Client).encode(version, &mut packet);
                let _ = world.receive(client, &packet);
            }
        }
        for (shard, outbox) in &mut world.shards {
            if shard.next_deadline().is_some_and(|due| due <= world.now) {
                shard.handle(world.now, Input::Deadline, outbox);
            }
        }
        world.drain();
    }
    for client in 0..CLIENTS as usize {
        world.close(client);
    }
    world.drain();
    let connections: usize = world.shards.iter().map(|(shard, _)| shard.sizes().connections).sum();
    assert_eq!(connections, 0, "a connection that has gone is forgotten");
}
