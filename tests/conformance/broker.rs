//! The world around one or two shards: lines to peers, a mesh and a store that answer at once unless held, a clock.
//!
//! Duty: do what outboxes want done, in order, until nothing is left; move virtual time. Must not: judge what is said.
//! Neighbours: `peer` holds the other end of a line; `holding` stops what is on its way, `sight` sums what the shards show, `revival`
//! ends and begins the broker.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use ringmq::auth::Policy;
use ringmq::id::{ConnectionId, Millis, ShardId};
use ringmq::limits::Limits;
use ringmq::session::LargePayloads;
use ringmq::shard::{
    Flush, Input, MeshBatch, Next, Outbox, Received, Shard, ShardConfig, StoreTerms, Verdict, owner_of,
};
use ringmq::store::record::Wall;
use ringmq::wire::{Connect, ProtocolVersion};

use super::disk::Disk;
use super::peer::Peer;

#[path = "holding.rs"]
mod holding;
#[path = "revival.rs"]
mod revival;
#[path = "sight.rs"]
mod sight;

/// What the clock on the wall says when the broker's is at 0.
const WALL: Wall = Wall(1_700_000_000_000);

/// The first seed with which `ann` and `cat` live on the first of two shards, `bob` and `dan` on the second. Looked for,
/// because the hash differs between processors.
fn hash_seed() -> u64 {
    let places = [("ann", 0), ("bob", 1), ("cat", 0), ("dan", 1)];
    let fits = |seed: &u64| places.iter().all(|(client_id, shard)| owner_of(client_id, *seed, 2).0 == *shard);
    (0..).find(fits).expect("one of sixteen seeds fits")
}

/// A broker in virtual time. Clones are the same broker.
#[derive(Clone)]
pub(crate) struct Broker {
    pub(super) world: Rc<RefCell<World>>,
}

/// Runs a conversation twice: on one shard, and on two with the peers spread over them.
pub(crate) fn everywhere(conversation: impl Fn(&Broker)) {
    for shards in [1, 2] {
        conversation(&Broker::with(shards, Limits::default()));
    }
}

/// As [`everywhere`], with other limits.
pub(crate) fn everywhere_with(limits: &Limits, conversation: impl Fn(&Broker)) {
    for shards in [1, 2] {
        conversation(&Broker::with(shards, limits.clone()));
    }
}

impl Broker {
    /// A broker of so many shards.
    pub(crate) fn with(shards: usize, limits: Limits) -> Self {
        Self::under(shards, limits, Policy::default())
    }

    /// A broker of so many shards with rules.
    pub(crate) fn under(shards: usize, limits: Limits, policy: Policy) -> Self {
        let terms = Terms { limits, policy: Arc::new(policy), large_payloads: LargePayloads::default() };
        let disk = Disk::new(shards);
        let world = World {
            now: Millis(0),
            cores: (0..shards).map(|index| terms.core(index, shards, WALL, &disk)).collect(),
            in_transit: std::iter::repeat_with(VecDeque::new).take(shards).collect(),
            lines: Vec::new(),
            generations: 0,
            is_mesh_held: false,
            is_store_held: false,
            are_checks_held: false,
            is_store_safe: true,
            disk,
            wall: WALL,
            terms,
        };
        Self { world: Rc::new(RefCell::new(world)) }
    }

    /// Two shards with default limits.
    pub(crate) fn of_two() -> Self {
        Self::with(2, Limits::default())
    }

    /// A connection to the first shard, nothing said yet.
    pub(crate) fn dial(&self, version: ProtocolVersion) -> Peer {
        self.dial_by(0, version)
    }

    /// A connection to the first shard, by one of its listeners.
    pub(crate) fn dial_by(&self, listener: u16, version: ProtocolVersion) -> Peer {
        let line = self.world.borrow_mut().open(listener);
        Peer::new(Rc::clone(&self.world), line, version)
    }

    /// A connection to the first shard, whose certificate has proved a user name.
    pub(crate) fn dial_certified(&self, user: &str) -> Peer {
        let mut world = self.world.borrow_mut();
        let line = world.open(0);
        world.lines[line].certified = Some(user.into());
        world.certify(line);
        drop(world);
        Peer::new(Rc::clone(&self.world), line, ProtocolVersion::V5)
    }

    /// A client that was admitted with a clean start and no further wishes.
    pub(crate) fn connect(&self, version: ProtocolVersion, client_id: &str) -> Peer {
        self.join(Connect::new(version, client_id))
    }

    /// A client that was admitted to a new session.
    pub(crate) fn join(&self, connect: Connect<'_>) -> Peer {
        self.admitted(connect, false)
    }

    /// A client that was admitted to a session that was there.
    pub(crate) fn rejoin(&self, connect: Connect<'_>) -> Peer {
        self.admitted(connect, true)
    }

    fn admitted(&self, connect: Connect<'_>, session_present: bool) -> Peer {
        let peer = self.dial(connect.version);
        peer.send(connect);
        peer.expect_admission(session_present);
        peer
    }

    /// Moves the clock to so many seconds after the start, with every deadline on the way.
    pub(crate) fn at(&self, secs: u64) {
        self.at_millis(secs * 1000);
    }

    /// Moves the clock to so many milliseconds after the start, with every deadline on the way.
    pub(crate) fn at_millis(&self, millis: u64) {
        self.world.borrow_mut().advance(Millis(millis));
    }

    /// The time.
    pub(crate) fn now(&self) -> Millis {
        self.world.borrow().now
    }

    /// Does something to a shard that is no input.
    pub(crate) fn act<T>(&self, shard: usize, act: impl FnOnce(&mut Shard, &mut Outbox) -> T) -> T {
        let core = &mut self.world.borrow_mut().cores[shard];
        act(&mut core.shard, &mut core.outbox)
    }

    /// What a shard answers to a question.
    pub(crate) fn look<T>(&self, shard: usize, question: impl FnOnce(&mut Shard, &Outbox) -> T) -> T {
        let core = &mut self.world.borrow_mut().cores[shard];
        question(&mut core.shard, &core.outbox)
    }

    /// Something else happens to a shard.
    pub(crate) fn tell(&self, shard: usize, input: Input) {
        let mut world = self.world.borrow_mut();
        world.handle(shard, input);
        world.settle();
    }

    /// Other rules hold from now on.
    pub(crate) fn rule(&self, policy: Policy) {
        let policy = Arc::new(policy);
        let mut world = self.world.borrow_mut();
        for shard in 0..world.cores.len() {
            world.handle(shard, Input::Rules(Arc::clone(&policy)));
        }
        world.settle();
    }

    /// The broker stops.
    pub(crate) fn stop(&self) {
        let mut world = self.world.borrow_mut();
        for shard in 0..world.cores.len() {
            world.handle(shard, Input::Stop);
        }
        world.settle();
    }

    /// How many shards there are.
    pub(crate) fn shards(&self) -> usize {
        self.world.borrow().cores.len()
    }

    /// The shard on which a client lives.
    pub(crate) fn owner(&self, client_id: &str) -> ShardId {
        owner_of(client_id, hash_seed(), self.shards())
    }
}

/// What every shard is told, also the next one.
struct Terms {
    limits: Limits,
    policy: Arc<Policy>,
    large_payloads: LargePayloads,
}

impl Terms {
    fn core(&self, index: usize, shards: usize, wall: Wall, disk: &Disk) -> Core {
        let config = ShardConfig {
            shard: ShardId(index as u16),
            shards,
            hash_seed: hash_seed(),
            id_seed: index as u64,
            secret: ringmq::auth::scram::Secret::new([9; 32]),
            limits: self.limits.clone(),
            large_payloads: self.large_payloads.clone(),
            is_faulty: false,
            store: Some(StoreTerms { wall, first_number: disk.first_number(index) }),
            policy: Arc::clone(&self.policy),
        };
        Core { shard: Shard::new(config), outbox: Outbox::new(shards), slots: Vec::new() }
    }
}

/// One shard and what is asked of its surroundings.
struct Core {
    shard: Shard,
    outbox: Outbox,
    /// Which line uses a slot.
    slots: Vec<Option<usize>>,
}

/// The network connection of one peer.
pub(super) struct Line {
    shard: usize,
    listener: u16,
    id: ConnectionId,
    /// Sent by the peer and not yet used up.
    unread: Vec<u8>,
    next: Next,
    /// Taken from the egress and not yet by the peer.
    sending: Vec<u8>,
    /// Received by the peer and not yet looked at.
    pub(super) inbox: Vec<u8>,
    pub(super) is_open: bool,
    /// Whether the peer takes what is sent to it.
    is_reading: bool,
    /// The user name that its certificate has proved.
    certified: Option<Arc<str>>,
}

/// All that the conversations happen in.
pub(super) struct World {
    now: Millis,
    cores: Vec<Core>,
    /// Batches on their way, by receiver.
    in_transit: Vec<VecDeque<(ShardId, MeshBatch)>>,
    lines: Vec<Line>,
    generations: u32,
    is_mesh_held: bool,
    is_store_held: bool,
    are_checks_held: bool,
    is_store_safe: bool,
    disk: Disk,
    /// What the clock on the wall said when the broker's was at 0.
    wall: Wall,
    terms: Terms,
}

impl World {
    pub(super) fn line(&mut self, line: usize) -> &mut Line {
        &mut self.lines[line]
    }

    fn open(&mut self, listener: u16) -> usize {
        let line = self.lines.len();
        let id = self.seat(0, line);
        self.lines.push(Line {
            shard: 0,
            listener,
            id,
            unread: Vec::new(),
            next: Next::Read { needed: None },
            sending: Vec::new(),
            inbox: Vec::new(),
            is_open: true,
            is_reading: true,
            certified: None,
        });
        self.handle(0, Input::Opened { connection: id, accepted_at: self.now, listener });
        self.settle();
        line
    }

    /// A free slot of a shard, for a line.
    fn seat(&mut self, shard: usize, line: usize) -> ConnectionId {
        let slots = &mut self.cores[shard].slots;
        let free = slots.iter().position(Option::is_none).unwrap_or_else(|| {
            slots.push(None);
            slots.len() - 1
        });
        slots[free] = Some(line);
        self.generations += 1;
        ConnectionId { slot: free as u32, generation: self.generations }
    }

    fn handle(&mut self, shard: usize, input: Input) {
        let core = &mut self.cores[shard];
        core.shard.handle(self.now, input, &mut core.outbox);
    }

    /// The peer sends bytes.
    pub(super) fn send(&mut self, line: usize, bytes: &[u8]) {
        self.send_pieces(line, &[bytes]);
    }

    /// The peer sends bytes that come in pieces, but before anything else happens.
    pub(super) fn send_pieces(&mut self, line: usize, pieces: &[impl AsRef<[u8]>]) {
        if !self.lines[line].is_open {
            return;
        }
        for piece in pieces {
            self.lines[line].unread.extend_from_slice(piece.as_ref());
            self.offer(line);
        }
        self.settle();
    }

    /// The peer's network fails.
    pub(super) fn lose(&mut self, line: usize) {
        let Line { shard, id, is_open, .. } = self.lines[line];
        if is_open {
            self.hang_up(line);
            self.handle(shard, Input::Closed { connection: id });
            self.settle();
        }
    }

    /// The peer stops or goes on taking bytes.
    pub(super) fn set_reading(&mut self, line: usize, is_reading: bool) {
        self.lines[line].is_reading = is_reading;
        if is_reading && self.lines[line].is_open {
            self.flush(line);
        }
        self.settle();
    }

    /// A peer that has stopped takes so many bytes.
    pub(super) fn read(&mut self, line: usize, bytes: usize) {
        self.take(line, bytes);
        self.settle();
    }

    fn hang_up(&mut self, line: usize) {
        let Line { shard, id, .. } = self.lines[line];
        self.lines[line].is_open = false;
        self.cores[shard].slots[id.slot as usize] = None;
    }

    /// Offers unread bytes, unless the connection waits for something else.
    fn offer(&mut self, line: usize) {
        while self.lines[line].is_open && matches!(self.lines[line].next, Next::Read { .. }) {
            let Line { shard, listener, id, ref unread, .. } = self.lines[line];
            let core = &mut self.cores[shard];
            let received = Received { bytes: unread, shared: None };
            let taken = core.shard.receive(self.now, id, received, &mut core.outbox);
            let record = &mut self.lines[line];
            record.unread.drain(..taken.consumed);
            record.next = taken.next;
            let Next::Handoff(owner) = taken.next else { return };
            self.cores[shard].slots[id.slot as usize] = None;
            let id = self.seat(owner.index(), line);
            let record = &mut self.lines[line];
            (record.shard, record.id, record.next) = (owner.index(), id, Next::Read { needed: None });
            self.handle(owner.index(), Input::Opened { connection: id, accepted_at: self.now, listener });
            self.certify(line);
        }
    }

    fn certify(&mut self, line: usize) {
        let Line { shard, id, ref certified, .. } = self.lines[line];
        if let Some(user) = certified.clone() {
            self.handle(shard, Input::Certified { connection: id, user });
        }
    }

    /// Does what all outboxes want, until they want nothing.
    pub(super) fn settle(&mut self) {
        loop {
            let mut is_busy = false;
            for shard in 0..self.cores.len() {
                is_busy |= self.send_out(shard);
                is_busy |= self.store(shard);
                is_busy |= self.check_passwords(shard);
                is_busy |= self.post(shard);
            }
            if !self.is_mesh_held {
                is_busy |= self.carry();
            }
            is_busy |= self.offer_again();
            if !is_busy {
                return;
            }
        }
    }

    fn send_out(&mut self, shard: usize) -> bool {
        let mut dirty = Vec::new();
        self.cores[shard].outbox.egress.take_dirty(&mut dirty);
        let closes = std::mem::take(&mut self.cores[shard].outbox.closes);
        let resumes = std::mem::take(&mut self.cores[shard].outbox.resumes);
        let is_busy = !dirty.is_empty() || !closes.is_empty() || !resumes.is_empty();
        for slot in dirty {
            let line = self.cores[shard].slots[slot as usize];
            let line = line.filter(|&line| self.lines[line].is_reading);
            if let Some(line) = line {
                self.flush(line);
            }
        }
        for id in closes {
            if let Some(line) = self.cores[shard].slots[id.slot as usize].filter(|&line| self.lines[line].id == id) {
                self.flush(line);
                self.hang_up(line);
            }
        }
        for id in resumes {
            let line = self.cores[shard].slots[id.slot as usize];
            let line = line.filter(|&line| self.lines[line].id == id && self.lines[line].next == Next::AwaitDrain);
            if let Some(line) = line {
                self.lines[line].next = Next::Read { needed: None };
                self.offer(line);
            }
        }
        is_busy
    }

    fn flush(&mut self, line: usize) {
        self.take(line, usize::MAX);
    }

    /// The peer takes up to so many bytes.
    fn take(&mut self, line: usize, bytes_max: usize) {
        let Line { shard, id, .. } = self.lines[line];
        let mut left = bytes_max;
        while left > 0 {
            let egress = &mut self.cores[shard].outbox.egress;
            let record = &mut self.lines[line];
            if record.sending.is_empty() {
                if !egress.at(id.slot).has_queued() {
                    return;
                }
                let mut flush = Flush::default();
                egress.at(id.slot).take(&mut flush);
                flush.pieces().for_each(|piece| record.sending.extend_from_slice(piece));
            }
            let sent_bytes = left.min(record.sending.len());
            record.inbox.extend(record.sending.drain(..sent_bytes));
            left -= sent_bytes;
            if egress.sent(id.slot, sent_bytes) {
                self.handle(shard, Input::Drained { connection: id });
                if self.lines[line].next == Next::AwaitDrain {
                    self.lines[line].next = Next::Read { needed: None };
                }
            }
        }
    }

    fn store(&mut self, shard: usize) -> bool {
        if self.is_store_held {
            return false;
        }
        let Some(batch) = self.cores[shard].outbox.take_records() else { return false };
        self.disk.take(shard, batch);
        for (shard, through) in self.disk.commit(self.is_store_safe) {
            self.handle(shard, Input::Stored { through, is_safe: self.is_store_safe });
        }
        true
    }

    fn check_passwords(&mut self, shard: usize) -> bool {
        if self.are_checks_held {
            return false;
        }
        let checks = std::mem::take(&mut self.cores[shard].outbox.checks);
        let is_busy = !checks.is_empty();
        for check in checks {
            let verdict = if check.is_right() { Verdict::Right } else { Verdict::Wrong };
            let (ticket, connection) = (check.ticket, check.connection);
            self.handle(shard, Input::Verified { ticket, connection, verdict });
        }
        is_busy
    }

    fn post(&mut self, shard: usize) -> bool {
        let mut is_busy = false;
        for to in 0..self.cores.len() {
            let batch = &mut self.cores[shard].outbox.mesh[to];
            if !self.is_mesh_held && !batch.is_empty() {
                assert_ne!(shard, to, "a shard sends itself nothing");
                self.in_transit[to].push_back((ShardId(shard as u16), std::mem::take(batch)));
                is_busy = true;
            }
        }
        is_busy
    }

    fn carry(&mut self) -> bool {
        let mut is_busy = false;
        for to in 0..self.cores.len() {
            while let Some((from, batch)) = self.in_transit[to].pop_front() {
                self.handle(to, Input::Mesh { from, batch });
                is_busy = true;
            }
        }
        is_busy
    }

    /// Offers bytes to connections that waited and wait no longer.
    fn offer_again(&mut self) -> bool {
        let mut is_busy = false;
        for line in 0..self.lines.len() {
            let Line { shard, is_open, next, ref unread, .. } = self.lines[line];
            if !is_open {
                continue;
            }
            let core = &self.cores[shard];
            if next == Next::AwaitMesh && core.shard.takes_publishes(&core.outbox) {
                self.lines[line].next = Next::Read { needed: None };
            } else if !matches!(next, Next::Read { needed: None }) || unread.is_empty() {
                continue;
            }
            let before = self.lines[line].unread.len();
            self.offer(line);
            is_busy |= self.lines[line].unread.len() != before;
        }
        is_busy
    }

    /// Moves the clock.
    fn advance(&mut self, until: Millis) {
        loop {
            let deadlines = self.cores.iter().enumerate();
            let next = deadlines.filter_map(|(shard, core)| Some((core.shard.next_deadline()?, shard))).min();
            let Some((due, shard)) = next.filter(|(due, _)| *due <= until) else { break };
            self.now = self.now.max(due);
            self.handle(shard, Input::Deadline);
            self.settle();
        }
        self.now = self.now.max(until);
    }
}
