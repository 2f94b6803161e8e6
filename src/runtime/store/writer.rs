//! Writer: the one thread that writes to the store.
//!
//! Duty: make one commit of what all shards have sent meanwhile, answer each, and say how the store is. Must not: hold a shard up, or
//! answer anything as safe that is not. Neighbours: shards send by `Store` and read their answers; `crate::store::Group` gathers.

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use hdrhistogram::Histogram;

use super::super::signal;
use super::engine::Engine;
use super::findings::CommitError;
use super::snapshot::Snapshot;
use crate::id::ShardId;
use crate::store::{Batch, Group};

/// Batches of shards in one commit.
const COMMIT_BATCHES_MAX: usize = 4096;

/// Changes in one commit, bytes. The batch that exceeds it is in it.
const COMMIT_BYTES_MAX: usize = 4 << 20;

/// Longest wait of what nobody waits for: it rides along with the next commit that is synced.
const UNSYNCED_MAX: Duration = Duration::from_secs(1);

/// The longest commit that is told from longer ones, microseconds.
const COMMIT_MICROS_MAX: u64 = 1_000_000_000;

/// How long before it has written a hasty store answers.
const HASTE: Duration = Duration::from_millis(10);

/// How often a commit for which there was no room is tried again, and whether there is room again is looked at.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It takes what comes.
    Ok = 0,
    /// The disk has too little room: nothing new is to be sent; deletions are welcome.
    Full = 1,
    /// It takes nothing any more.
    Broken = 2,
}

/// What the writer has done so far.
#[derive(Debug, Default)]
pub struct Tally {
    /// Commits.
    pub commits: AtomicU64,
    /// Commits that were synced.
    pub synced_commits: AtomicU64,
    /// Records put and deleted.
    pub changes: AtomicU64,
    /// Bytes of them.
    pub bytes: AtomicU64,
    /// Longest commit, microseconds.
    pub commit_micros_max: AtomicU64,
    /// All commits together, microseconds.
    pub commit_micros: AtomicU64,
    /// Times that the store became full.
    pub full: AtomicU64,
    /// Times that the store broke: 0 or 1.
    pub broken: AtomicU64,
    /// How long commits took. Only the writer adds.
    times: CommitTimes,
}

/// How long commits took, microseconds.
#[derive(Debug)]
struct CommitTimes(Mutex<Histogram<u64>>);

impl Default for CommitTimes {
    fn default() -> Self {
        Self(Mutex::new(Histogram::new_with_bounds(1, COMMIT_MICROS_MAX, 2).expect("these are bounds")))
    }
}

impl Tally {
    /// How long commits took since the start, microseconds.
    pub fn commit_times(&self) -> Histogram<u64> {
        self.times.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was done, for the log.
    fn told(&self) -> String {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (commits, all_micros) = (load(&self.commits), load(&self.commit_micros));
        format!(
            "store: {commits} commits ({} synced) of {} changes, {} bytes; a commit took {} us, {} at most; full {} times",
            load(&self.synced_commits),
            load(&self.changes),
            load(&self.bytes),
            all_micros.checked_div(commits).unwrap_or(0),
            load(&self.commit_micros_max),
            load(&self.full)
        )
    }
}

/// How far a shard is answered.
#[derive(Debug, Default)]
struct Answer {
    /// The last ticket that is answered.
    through: AtomicU64,
    /// The last one that was answered as not safe. Written before `through`.
    unsafe_through: AtomicU64,
}

/// What shards and the writer share.
#[derive(Debug)]
struct Shared {
    answers: Box<[Answer]>,
    state: AtomicU8,
    tally: Tally,
}

impl Shared {
    fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Ok,
            1 => State::Full,
            _ => State::Broken,
        }
    }
}

/// What the thread is told.
enum Order {
    /// A shard wants this to be written.
    Write(ShardId, Batch),
    /// Somebody wants to read what there is.
    Lend(Sender<Snapshot>),
}

/// A shard's way to the store, and everybody's view of it. The thread ends with the last of them.
#[derive(Clone, Debug)]
pub struct Store {
    orders: Sender<Order>,
    shared: Arc<Shared>,
}

impl Store {
    /// Sends a batch. Tickets of one shard rise.
    pub fn send(&self, shard: ShardId, batch: Batch) {
        // If the thread has ended, so does the process.
        let _ = self.orders.send(Order::Write(shard, batch));
    }

    /// All records of this moment; what was answered as safe is among them. `None`: the store is not open now, or has ended.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let (answer, snapshot) = bounded(1);
        self.orders.send(Order::Lend(answer)).ok()?;
        snapshot.recv().ok()
    }

    /// The last ticket of a shard that is answered, and the last one that is not safe: it and all before it that the shard has not yet
    /// read, as a failure must not be hidden by what succeeds after it.
    pub fn answered(&self, shard: ShardId) -> (u64, u64) {
        let answer = &self.shared.answers[shard.index()];
        let through = answer.through.load(Ordering::Acquire);
        (through, answer.unsafe_through.load(Ordering::Acquire).min(through))
    }

    /// How the store is.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// What was done so far.
    pub fn tally(&self) -> &Tally {
        &self.shared.tally
    }
}

/// A view of the store that does not keep its thread alive.
#[derive(Clone, Debug)]
pub struct StoreView {
    shared: Arc<Shared>,
    queue: Receiver<Order>,
}

impl StoreView {
    /// How the store is.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// What was done so far.
    pub fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    /// Batches of shards that wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }
}

/// How the writer makes itself heard.
pub struct Voice {
    /// Makes a shard take a turn, after its answer is there.
    pub wake: Box<dyn Fn(ShardId) + Send>,
    /// Writes a line to the log. The first word says how bad it is: whether it is an error.
    pub tell: Box<dyn Fn(bool, String) + Send>,
}

impl std::fmt::Debug for Voice {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Voice")
    }
}

/// The thread, to be waited for when all shards have ended.
#[derive(Debug)]
pub struct WriterEnd {
    thread: JoinHandle<Engine>,
    view: StoreView,
}

impl WriterEnd {
    /// Waits until everything that was sent is committed and synced. The store is closed with what it returns; `None`: the thread
    /// had ended.
    pub fn join(self) -> Option<Engine> {
        self.thread.join().ok()
    }

    /// A view of the store.
    pub fn view(&self) -> StoreView {
        self.view.clone()
    }
}

/// Starts the thread. `group` knows what is in the store already. `is_hasty`: it answers before it has written, for a test that has
/// to see it lose.
///
/// # Errors
/// The system has no thread left.
pub fn start(
    engine: Engine,
    group: Group,
    shards: usize,
    voice: Voice,
    is_hasty: bool,
) -> io::Result<(Store, WriterEnd)> {
    let (orders, queue) = unbounded();
    let shared = Arc::new(Shared {
        answers: std::iter::repeat_with(Answer::default).take(shards).collect(),
        state: AtomicU8::new(State::Ok as u8),
        tally: Tally::default(),
    });
    let shared_with_it = Arc::clone(&shared);
    let mut writer =
        Writer { engine, group, voice, shared: shared_with_it, oldest: None, look: None, is_refused: false, is_hasty };
    let view = StoreView { shared: Arc::clone(&shared), queue: queue.clone() };
    let thread = thread::Builder::new().name("ringmq-store".into()).spawn(move || {
        signal::block_here();
        writer.serve(&queue);
        writer.engine
    })?;
    Ok((Store { orders, shared }, WriterEnd { thread, view }))
}

struct Writer {
    engine: Engine,
    group: Group,
    voice: Voice,
    shared: Arc<Shared>,
    /// When the first that is gathered or unsynced was taken.
    oldest: Option<Instant>,
    /// While the store is full: when to look again whether it still is.
    look: Option<Instant>,
    /// Whether what is gathered was refused, and answered so.
    is_refused: bool,
    is_hasty: bool,
}

impl Writer {
    fn serve(&mut self, queue: &Receiver<Order>) {
        // A panic here ends the process, as one of a shard does: nobody would be answered any more.
        loop {
            let is_open = self.gather(queue);
            let now = Instant::now();
            let is_early = is_open && self.look.is_some_and(|look| now < look);
            if self.state() == State::Broken || (self.is_refused && is_early) {
                self.refuse();
            } else if self.is_refused || self.is_due(now) || !(is_open || self.group.is_empty()) {
                self.commit();
            } else if self.look.is_some() && !is_early {
                self.note_room(None);
            }
            if !is_open {
                return self.finish();
            }
        }
    }

    /// Takes what is queued, and waits for it if there is nothing to do. False: nobody is left who could send.
    fn gather(&mut self, queue: &Receiver<Order>) -> bool {
        let until = [self.oldest.map(|oldest| oldest + UNSYNCED_MAX), self.look].into_iter().flatten().min();
        let first = match until {
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(until) => queue.recv_deadline(until),
        };
        match first {
            Ok(first) => self.take(first),
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        for batch in queue.try_iter().take(COMMIT_BATCHES_MAX - 1) {
            self.take(batch);
            if self.group.bytes() >= COMMIT_BYTES_MAX {
                break;
            }
        }
        true
    }

    fn take(&mut self, order: Order) {
        let (shard, batch) = match order {
            Order::Write(shard, batch) => (shard, batch),
            Order::Lend(answer) => {
                if let Some(snapshot) = self.engine.snapshot() {
                    // Who does not wait for it any more gives it back thereby.
                    drop(answer.send(snapshot));
                }
                return;
            }
        };
        self.oldest.get_or_insert_with(Instant::now);
        self.group.take(shard, batch);
    }

    /// Whether what is gathered is to be committed now.
    fn is_due(&self, now: Instant) -> bool {
        self.group.must_sync()
            || self.group.bytes() >= COMMIT_BYTES_MAX
            || self.oldest.is_some_and(|oldest| now >= oldest + UNSYNCED_MAX)
    }

    fn state(&self) -> State {
        self.shared.state()
    }

    /// Commits what is gathered, and answers.
    fn commit(&mut self) {
        let begun = Instant::now();
        // What nobody waits for is synced when it has waited long enough; a full commit that comes before that is not.
        let is_old = self.oldest.is_some_and(|oldest| begun >= oldest + UNSYNCED_MAX);
        let must_sync = self.group.must_sync() || is_old || self.is_refused;
        let (changes, bytes) = (self.group.changes().len() as u64, self.group.bytes() as u64);
        if self.is_hasty {
            self.answer(true, false);
            thread::sleep(HASTE);
        }
        let result = self.engine.commit(self.group.changes(), must_sync);
        for line in self.engine.take_findings().lines() {
            (self.voice.tell)(false, line);
        }
        match result {
            Ok(()) => {
                self.count(begun, changes, bytes, must_sync);
                self.oldest = if must_sync { None } else { self.oldest };
                self.is_refused = false;
                self.answer(true, true);
                self.note_room(None);
            }
            Err(CommitError::Full(why)) => {
                self.is_refused = true;
                self.note_room(Some(why));
                self.refuse();
            }
            Err(CommitError::Broken(why)) => {
                self.shared.state.store(State::Broken as u8, Ordering::Release);
                self.shared.tally.broken.fetch_add(1, Ordering::Relaxed);
                let text = format!(
                    "store: BROKEN: {why}; nothing is acknowledged as stored any more, messages that are not to be stored go on; \
                     check the disk, then start the broker anew"
                );
                (self.voice.tell)(true, text);
                self.refuse();
            }
        }
    }

    /// Answers what is gathered as not safe. A full store keeps it, so that disk and memory agree when there is room again.
    fn refuse(&mut self) {
        self.oldest = None;
        let is_over = self.state() == State::Broken;
        self.answer(false, is_over);
        if is_over {
            (self.look, self.is_refused) = (None, false);
        }
    }

    /// `is_done`: it need not be kept for another try.
    fn answer(&mut self, is_safe: bool, is_done: bool) {
        let Self { group, shared, voice, .. } = self;
        group.committed(is_done, &mut |shard, through, _| {
            let answer = &shared.answers[shard.index()];
            if !is_safe {
                answer.unsafe_through.store(through, Ordering::Release);
            }
            answer.through.store(through, Ordering::Release);
            (voice.wake)(shard);
        });
    }

    /// Raises or lowers the state, with one line for each.
    fn note_room(&mut self, refused: Option<String>) {
        let is_full = refused.is_some() || self.engine.is_short();
        let was_full = self.state() == State::Full;
        self.look = is_full.then(|| Instant::now() + RETRY_PAUSE);
        if is_full == was_full {
            return;
        }
        let state = if is_full { State::Full } else { State::Ok };
        self.shared.state.store(state as u8, Ordering::Release);
        if is_full {
            self.shared.tally.full.fetch_add(1, Ordering::Relaxed);
            let why = refused.unwrap_or_else(|| "the file system has less free than store_free_bytes_min".into());
            let text = format!(
                "store: FULL: {why}; messages that have to be stored are refused until there is room: free some, or set a smaller \
                 store_free_bytes_min"
            );
            (self.voice.tell)(true, text);
        } else {
            (self.voice.tell)(false, "store: there is room again, and all that waited for it is written".into());
        }
    }

    fn count(&self, begun: Instant, changes: u64, bytes: u64, is_synced: bool) {
        let tally = &self.shared.tally;
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        tally.commits.fetch_add(1, Ordering::Relaxed);
        tally.synced_commits.fetch_add(u64::from(is_synced), Ordering::Relaxed);
        tally.changes.fetch_add(changes, Ordering::Relaxed);
        tally.bytes.fetch_add(bytes, Ordering::Relaxed);
        tally.commit_micros.fetch_add(micros, Ordering::Relaxed);
        tally.commit_micros_max.fetch_max(micros, Ordering::Relaxed);
        tally.times.0.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros);
    }

    /// The last commit was tried: what was committed unsynced before it is synced now.
    fn finish(&mut self) {
        if self.is_refused {
            let text = format!(
                "store: there is still no room: {} changes are lost, and were refused",
                self.group.changes().len()
            );
            (self.voice.tell)(true, text);
        } else if self.state() != State::Broken
            && let Err(error) = self.engine.sync()
        {
            (self.voice.tell)(true, format!("store: at the end: {error}"));
        }
        (self.voice.tell)(false, self.shared.tally.told());
    }
}
