//! Keeping: what the store held goes to the shards, and what they write goes to the store.
//!
//! Duty: open the store, say what it held, divide that among the shards, start the thread that writes; a shard's end of all that. Must
//! not: know records. Neighbours: `start` opens it before the shards, `driver` asks it each turn; `store` is the disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::clock::Clock;
use super::failure::Failure;
use super::journal::Journal;
use super::mesh::Caller;
use super::store::{self, Engine, Findings, State, Store, StoreFault, Terms, Voice, WriterEnd};
use crate::config::{LogType, Store as StoreConfig};
use crate::id::{Millis, ShardId};
use crate::limits::Limits;
use crate::message::Message;
use crate::session::LargePayloads;
use crate::shard::{Input, Outbox, Shard, StoreState, StoreTerms, owner_of};
use crate::store::record::{self, Wall};
use crate::store::{Changes, Group, Reading, Space, StoredState};

/// Names of facts about the store.
const EPOCH: &str = "epoch";
const HASH_SEED: &str = "hash seed";

/// Where the number of a process, and that of a shard, stand in the numbers of what they store: 2^40 for each.
const EPOCH_SHIFT: u32 = 47;
const SHARD_SHIFT: u32 = 40;

/// Reading that takes longer is told of as it goes on.
const PROGRESS_PAUSE: Duration = Duration::from_secs(2);

/// How often a shard looks whether all are restored.
pub(super) const RESTORE_PAUSE_MILLIS: u64 = 2;

/// An open store, with what it held.
pub(super) struct Opened {
    engine: Engine,
    group: Group,
    wall: Wall,
    epoch: u64,
    /// By which client ids are given to shards, and publishers are known in what is stored.
    pub(super) hash_seed: u64,
    sessions: Vec<Vec<StoredState>>,
    retained: Arc<Vec<Message>>,
}

/// A shard's end.
pub(super) struct Keeping {
    store: Store,
    shard: ShardId,
    answered: u64,
    state: State,
    /// What is to be put back first.
    sessions: Vec<StoredState>,
    retained: Arc<Vec<Message>>,
    /// Shards that are not yet restored.
    unrestored: Arc<AtomicUsize>,
    is_restored: bool,
    pub(super) terms: StoreTerms,
}

impl Opened {
    /// Opens the store and reads it. `hash_seed`: one that is wanted, or else one for a new store.
    pub(super) fn open(
        config: &StoreConfig,
        limits: &Limits,
        clock: Clock,
        shards: usize,
        (hash_seed, new_seed): (Option<u64>, u64),
        large_payloads: &LargePayloads,
        journal: &Journal,
    ) -> Result<Self, Failure> {
        let begun = Instant::now();
        let directory = &*config.directory;
        let terms = Terms { free_bytes_min: limits.store_free_bytes_min };
        let (mut engine, findings) = Engine::open(directory, terms).map_err(|fault| failure(directory, &fault))?;
        tell(journal, findings);
        let wall = wall_at(clock);
        let facts = facts_of(&mut engine, directory, journal)?;
        let fact = |name: &str| facts.iter().find(|(found, _)| found == name.as_bytes()).map(|(_, number)| *number);
        let epoch = fact(EPOCH).unwrap_or(0) + 1;
        let hash_seed = hash_seed.or(fact(HASH_SEED)).unwrap_or(new_seed);
        let counted = large_payloads.clone();
        let mut reading = Reading::new((clock.now(), wall), Box::new(move |payload| counted.charge(payload)));
        let mut count = 0_u64;
        let mut told_at = begun;
        for space in Reading::ORDER {
            let mut take = |key: &[u8], value: &[u8]| {
                reading.take(space, key, value);
                count += 1;
                if count.is_multiple_of(65_536) && told_at.elapsed() >= PROGRESS_PAUSE {
                    told_at = Instant::now();
                    journal.line(format!("store: {count} records read, now of the kind {:?}", space.name()));
                }
            };
            let findings = engine.scan(space, &mut take).map_err(|fault| failure(directory, &fault))?;
            tell(journal, findings);
        }
        let mut stored = reading.finish();
        for (space, damaged) in &stored.damaged {
            let text = format!("store: {damaged} records of the kind {:?} are damaged and were left out", space.name());
            journal.tell(LogType::Error, text);
        }
        if stored.foreign > 0 {
            let text = format!("store: {} records of another version of ringmq were left as they are", stored.foreign);
            journal.tell(LogType::Warning, text);
        }
        let mut changes = std::mem::take(&mut stored.cleanup);
        put_fact(&mut changes, EPOCH, epoch);
        put_fact(&mut changes, HASH_SEED, hash_seed);
        engine.commit(&changes, true).map_err(|error| {
            Failure::system(format!("the store in {} cannot be written: {error}", directory.display()))
        })?;
        journal.line(format!(
            "store: {} sessions, {} messages for them, {} retained messages read in {} ms",
            stored.sessions.len(),
            stored.queued(),
            stored.retained.len(),
            begun.elapsed().as_millis()
        ));
        let mut group = Group::new(shards);
        stored.references.iter().for_each(|(key, message)| group.restore_reference(*key, *message));
        let mut sessions: Vec<Vec<StoredState>> = std::iter::repeat_with(Vec::new).take(shards).collect();
        for state in stored.sessions {
            sessions[owner_of(&state.session.client_id, hash_seed, shards).index()].push(state);
        }
        Ok(Self { engine, group, wall, epoch, hash_seed, sessions, retained: Arc::new(stored.retained) })
    }

    /// Starts the thread that writes; one end for each shard, and one more. The thread ends with the last of them.
    /// `is_hasty`: it answers before it has written.
    pub(super) fn start(
        self,
        caller: &Caller,
        journal: &Journal,
        is_hasty: bool,
    ) -> Result<(Vec<Keeping>, Store, WriterEnd), Failure> {
        let Self { engine, group, wall, epoch, sessions, retained, .. } = self;
        let (wake, journal) = (caller.clone(), journal.clone());
        let voice = Voice {
            wake: Box::new(move |shard| wake.call(shard)),
            tell: Box::new(move |is_error, text| {
                journal.tell(if is_error { LogType::Error } else { LogType::Notice }, text);
            }),
        };
        let shards = sessions.len();
        let (store, end) = store::start(engine, group, shards, voice, is_hasty)
            .map_err(|error| Failure::system(format!("cannot start the thread of the store: {error}")))?;
        let unrestored = Arc::new(AtomicUsize::new(shards));
        let end_of = |(index, sessions): (usize, Vec<StoredState>)| Keeping {
            store: store.clone(),
            shard: ShardId(index as u16),
            answered: 0,
            state: State::Ok,
            sessions,
            retained: Arc::clone(&retained),
            unrestored: Arc::clone(&unrestored),
            is_restored: false,
            terms: StoreTerms { wall, first_number: epoch << EPOCH_SHIFT | (index as u64) << SHARD_SHIFT },
        };
        let keepings = sessions.into_iter().enumerate().map(end_of).collect();
        Ok((keepings, store, end))
    }
}

impl Keeping {
    /// Puts back what the store held; the interests of its sessions are in the outbox.
    pub(super) fn restore(&mut self, now: Millis, shard: &mut Shard, outbox: &mut Outbox) {
        for message in &*std::mem::take(&mut self.retained) {
            shard.restore_retained(now, message, outbox);
        }
        for state in std::mem::take(&mut self.sessions) {
            shard.restore(now, state, outbox);
        }
    }

    /// Whether all shards know what all others have put back, so that clients may come.
    pub(super) fn are_all_restored(&mut self, shard: &Shard) -> bool {
        if !self.is_restored && shard.is_restored() {
            self.is_restored = true;
            self.unrestored.fetch_sub(1, Ordering::AcqRel);
        }
        self.is_restored && self.unrestored.load(Ordering::Acquire) == 0
    }

    /// Tells the shard what the store has answered.
    pub(super) fn take_answers(&mut self, now: Millis, shard: &mut Shard, outbox: &mut Outbox) {
        let state = self.store.state();
        if state != self.state {
            self.state = state;
            let state = match state {
                State::Ok => StoreState::Ready,
                State::Full => StoreState::Full,
                State::Broken => StoreState::Broken,
            };
            shard.handle(now, Input::Store(state), outbox);
        }
        let (through, unsafe_through) = self.store.answered(self.shard);
        for (through, is_safe) in [(unsafe_through, false), (through, true)] {
            if through > self.answered {
                self.answered = through;
                shard.handle(now, Input::Stored { through, is_safe }, outbox);
            }
        }
    }

    /// Sends what this turn wants to be written. Before the mesh tells others of it.
    pub(super) fn send(&self, outbox: &mut Outbox) {
        if let Some(batch) = outbox.take_records() {
            self.store.send(self.shard, batch);
        }
    }
}

/// What the wall said when the clock was at 0.
fn wall_at(clock: Clock) -> Wall {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
    Wall(now.saturating_sub(clock.now().0))
}

fn facts_of(engine: &mut Engine, directory: &Path, journal: &Journal) -> Result<Vec<(Vec<u8>, u64)>, Failure> {
    let mut facts = Vec::new();
    let mut take = |key: &[u8], value: &[u8]| {
        if let Ok(number) = record::open(Space::Meta, key, value).and_then(|mut reader| reader.u64()) {
            facts.push((key.to_vec(), number));
        }
    };
    let findings = engine.scan(Space::Meta, &mut take).map_err(|fault| failure(directory, &fault))?;
    tell(journal, findings);
    Ok(facts)
}

fn put_fact(changes: &mut Changes, name: &str, number: u64) {
    changes.put_with(Space::Meta, name.as_bytes(), |out| record::put_number(name, number, out));
}

fn tell(journal: &Journal, findings: Findings) {
    for line in findings.lines() {
        journal.tell(LogType::Warning, format!("store: {line}"));
    }
}

fn failure(directory: &Path, fault: &StoreFault) -> Failure {
    Failure::system(format!("the store in {}: {fault}", directory.display()))
}
