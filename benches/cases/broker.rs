//! Shards with clients, and nothing else: no socket, no thread, no clock.
//!
//! Duty: what a driver does around `Shard::receive` and `Shard::handle`, as cheaply as may be: offer bytes, drain the
//! outbox completely, carry batches between shards, answer for the store, let clients reply. Must not: check what is said
//! (`tests/conformance` does); a bench only asserts that its work was done. Neighbours: `turn`, `mesh` and `scale` make
//! their cases with it.

use std::mem;

use ringmq::id::{ConnectionId, Millis, ShardId};
use ringmq::limits::Limits;
use ringmq::session::LargePayloads;
use ringmq::shard::{Counters, Flush, Input, MeshBatch, Next, Outbox, Received, Shard, ShardConfig, owner_of};
use std::sync::Arc;

use ringmq::auth::Policy;
use ringmq::shard::StoreTerms;
use ringmq::store::record::Wall;
use ringmq::store::{Batch, Level};
use ringmq::wire::ProtocolVersion;

use super::{HASH_SEED, packets};

/// Carries what the shard `.0` has to say in the batches `.1` (one per shard): appends receivers and their batches to `.2`.
pub(crate) type Carry = Box<dyn FnMut(usize, &mut [MeshBatch], &mut Vec<(usize, MeshBatch)>)>;

/// Hands batches over as they are.
pub(crate) fn carry_directly() -> Carry {
    Box::new(|_, batches, arrived| {
        let told = batches.iter_mut().enumerate().filter(|(_, batch)| !batch.is_empty());
        arrived.extend(told.map(|(to, batch)| (to, mem::take(batch))));
    })
}

/// A client of one of the shards.
#[derive(Clone, Copy)]
pub(crate) struct Client {
    shard: usize,
    id: ConnectionId,
}

/// Shards and the ends of their connections.
pub(crate) struct Broker {
    now: Millis,
    cores: Vec<Core>,
    carry: Carry,
    arrived: Vec<(usize, MeshBatch)>,
    generations: u32,
}

struct Core {
    shard: Shard,
    outbox: Outbox,
    /// By slot.
    lines: Vec<Line>,
    free: Vec<u32>,
    dirty: Vec<u32>,
}

/// The other end of a connection.
#[derive(Default)]
struct Line {
    generation: u32,
    flush: Flush,
    replies: Vec<u8>,
}

impl Broker {
    /// So many shards without clients, and without a store.
    pub(crate) fn new(shards: usize, carry: Carry) -> Self {
        Self::of(shards, carry, None)
    }

    /// As [`Self::new`], with a store in which everything is kept at that level.
    pub(crate) fn keeping(shards: usize, carry: Carry, level: Level) -> Self {
        Self::of(shards, carry, Some(level))
    }

    fn of(shards: usize, carry: Carry, kept: Option<Level>) -> Self {
        let durability = kept.map(|level| ("#".into(), level)).into_iter().collect();
        let policy = Arc::new(Policy { durability, ..Policy::default() });
        let large_payloads = LargePayloads::default();
        let core = |index| {
            let shard = ShardId(index as u16);
            let limits = Limits::default();
            let config = ShardConfig {
                shard,
                shards,
                hash_seed: HASH_SEED,
                id_seed: index as u64,
                secret: ringmq::auth::scram::Secret::new([9; 32]),
                limits,
                large_payloads: large_payloads.clone(),
                is_faulty: false,
                store: kept.map(|_| StoreTerms { wall: Wall(0), first_number: 1 }),
                policy: Arc::clone(&policy),
            };
            Core {
                shard: Shard::new(config),
                outbox: Outbox::new(shards),
                lines: Vec::new(),
                free: Vec::new(),
                dirty: Vec::new(),
            }
        };
        let cores = (0..shards).map(core).collect();
        Self { now: Millis(0), cores, carry, arrived: Vec::new(), generations: 0 }
    }

    /// A 3.1.1 client that was admitted by this shard; its id begins with `name`.
    pub(crate) fn connect(&mut self, shard: usize, name: &str) -> Client {
        self.connect_to_session(shard, name, true)
    }

    /// The same, with a session that outlives its connection.
    pub(crate) fn connect_kept(&mut self, shard: usize, name: &str) -> Client {
        self.connect_to_session(shard, name, false)
    }

    fn connect_to_session(&mut self, shard: usize, name: &str, is_clean: bool) -> Client {
        let lives_there = |client_id: &String| owner_of(client_id, HASH_SEED, self.cores.len()).index() == shard;
        let client_id = (0..).map(|n| format!("{name}-{n}")).find(lives_there).expect("one of many ids fits");
        let client = self.open(shard);
        self.send(client, &packets::connect_to_session(ProtocolVersion::V311, &client_id, is_clean));
        self.settle();
        client
    }

    /// A connection, nothing said yet.
    pub(crate) fn open(&mut self, shard: usize) -> Client {
        self.generations += 1;
        let core = &mut self.cores[shard];
        let slot = core.free.pop().unwrap_or_else(|| {
            core.lines.push(Line::default());
            core.lines.len() as u32 - 1
        });
        core.lines[slot as usize].generation = self.generations;
        let id = ConnectionId { slot, generation: self.generations };
        core.shard.handle(
            self.now,
            Input::Opened { connection: id, accepted_at: self.now, listener: 0 },
            &mut core.outbox,
        );
        Client { shard, id }
    }

    /// The bytes of a client reach its shard.
    pub(crate) fn send(&mut self, client: Client, bytes: &[u8]) {
        let core = &mut self.cores[client.shard];
        let taken = core.shard.receive(self.now, client.id, Received { bytes, shared: None }, &mut core.outbox);
        let is_over = taken.next == Next::Closed;
        assert!(is_over || taken.consumed == bytes.len(), "all is taken: {taken:?}");
    }

    /// Does what all outboxes want, and lets the clients reply, until nothing is left.
    pub(crate) fn settle(&mut self) {
        let mut is_busy = true;
        while mem::take(&mut is_busy) {
            for shard in 0..self.cores.len() {
                is_busy |= self.cores[shard].store(self.now);
                is_busy |= self.send_out(shard);
                is_busy |= self.post(shard);
            }
        }
    }

    /// Time passes, with the deadlines in it.
    pub(crate) fn pass_millis(&mut self, millis: u64) {
        self.now = self.now.after_millis(millis);
        for core in &mut self.cores {
            while core.shard.next_deadline().is_some_and(|deadline| deadline <= self.now) {
                core.shard.handle(self.now, Input::Deadline, &mut core.outbox);
            }
        }
    }

    /// The sum over all shards of one counter.
    pub(crate) fn count(&self, counter: impl Fn(&Counters) -> u64) -> u64 {
        self.cores.iter().map(|core| counter(core.shard.counters())).sum()
    }

    /// Empties the egress of each connection that has something new, as one send each would; then the clients reply.
    fn send_out(&mut self, shard: usize) -> bool {
        let mut dirty = mem::take(&mut self.cores[shard].dirty);
        self.cores[shard].outbox.egress.take_dirty(&mut dirty);
        let is_busy = !dirty.is_empty();
        for &slot in &dirty {
            self.cores[shard].flush(slot);
        }
        for &slot in &dirty {
            self.reply(shard, slot);
        }
        dirty.clear();
        let core = &mut self.cores[shard];
        core.dirty = dirty;
        core.free.extend(core.outbox.closes.drain(..).map(|closed| closed.slot));
        core.outbox.events.clear();
        is_busy
    }

    fn reply(&mut self, shard: usize, slot: u32) {
        let line = &mut self.cores[shard].lines[slot as usize];
        if line.replies.is_empty() {
            return;
        }
        let id = ConnectionId { slot, generation: line.generation };
        let mut replies = mem::take(&mut line.replies);
        self.send(Client { shard, id }, &replies);
        replies.clear();
        self.cores[shard].lines[slot as usize].replies = replies;
    }

    fn post(&mut self, from: usize) -> bool {
        (self.carry)(from, &mut self.cores[from].outbox.mesh, &mut self.arrived);
        let is_busy = !self.arrived.is_empty();
        for (to, batch) in self.arrived.drain(..) {
            let Core { shard, outbox, .. } = &mut self.cores[to];
            shard.handle(self.now, Input::Mesh { from: ShardId(from as u16), batch }, outbox);
        }
        is_busy
    }
}

impl Core {
    /// A store that has everything at once.
    fn store(&mut self, now: Millis) -> bool {
        let batch = self.outbox.take_records();
        if let Some(Batch { ticket, .. }) = &batch {
            self.shard.handle(now, Input::Stored { through: *ticket, is_safe: true }, &mut self.outbox);
        }
        batch.is_some()
    }

    fn flush(&mut self, slot: u32) {
        let line = &mut self.lines[slot as usize];
        self.outbox.egress.at(slot).take(&mut line.flush);
        assert!(line.flush.splices.is_empty(), "no payload is so large that it is sent by reference");
        packets::reply(&line.flush.bytes, &mut line.replies);
        let is_reported = self.outbox.egress.sent(slot, line.flush.bytes.len());
        assert!(!is_reported, "no batch is so large that the shard stops");
        line.flush.bytes.clear();
    }
}
