//! Copying: when the file of Mosquitto's beside a store is written, on a thread of its own.
//!
//! Duty: write it when somebody asks, when it is time, and at the end; say what was done, and once why it is not. Must not: hold up a shard
//! or the thread of the store. Neighbours: `twin` writes the file; `serving` asks and ends it; `reloading` changes how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::failure::Failure;
use super::journal::Journal;
use super::scheduling::be_patient;
use super::signal;
use super::store::{Engine, Snapshot, Store};
use super::twin::{Standing, Twin};
use crate::config::{LogType, MosquittoFile, Store as StoreConfig};

/// How often changes are counted.
const COUNT_PAUSE: Duration = Duration::from_secs(1);

/// What the thread is told.
#[derive(Debug)]
enum Order {
    /// Write now.
    Save,
    /// From now on it is this often, in seconds and in changes.
    Pace(u32, u32),
    /// Give up what is begun, and end.
    End,
}

/// The way to the thread.
#[derive(Clone, Debug)]
pub(super) struct CopyDesk(Sender<Order>);

impl CopyDesk {
    /// Has the file written.
    pub(super) fn save(&self) {
        // If the thread has ended, so does the broker.
        let _ = self.0.send(Order::Save);
    }

    /// Has it written as often as `file` says from now on.
    pub(super) fn follow(&self, file: &MosquittoFile) {
        let _ = self.0.send(Order::Pace(file.every_secs, file.every_changes));
    }
}

/// The thread.
#[derive(Debug)]
pub(super) struct Copier {
    pub(super) desk: CopyDesk,
    is_ending: Arc<AtomicBool>,
    thread: JoinHandle<Copying>,
}

impl Copier {
    /// Starts the thread. `free_bytes_min`: bytes that are to stay free.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start(
        config: &StoreConfig,
        file: &MosquittoFile,
        free_bytes_min: u64,
        store: Store,
        journal: &Journal,
    ) -> Result<Self, Failure> {
        let (orders, waiting) = unbounded();
        let is_ending = Arc::new(AtomicBool::new(false));
        let mut copying = Copying {
            twin: Twin::new(&file.path, &config.directory, free_bytes_min),
            directory: config.directory.display().to_string(),
            journal: journal.clone(),
            is_ending: Arc::clone(&is_ending),
            pace: (file.every_secs, file.every_changes),
            last: Instant::now(),
            last_changes: 0,
            told: None,
        };
        let builder = thread::Builder::new().name("ringmq-copy".into());
        let started = builder.spawn(move || {
            signal::block_here();
            be_patient();
            copying.serve(&store, &waiting);
            copying
        });
        let thread = started.map_err(|error| Failure::system(format!("cannot start: {error}")))?;
        Ok(Self { desk: CopyDesk(orders), is_ending, thread })
    }

    /// Ends the thread, and gives up what it has begun. `None`: it had ended.
    pub(super) fn end(self) -> Option<Copying> {
        self.is_ending.store(true, Ordering::Release);
        let _ = self.desk.0.send(Order::End);
        self.thread.join().ok()
    }
}

/// What the thread does, and afterwards who ends the broker.
#[derive(Debug)]
pub(super) struct Copying {
    twin: Twin,
    directory: String,
    journal: Journal,
    is_ending: Arc<AtomicBool>,
    /// How often it is written by itself: seconds, and changes; 0 for not.
    pace: (u32, u32),
    last: Instant,
    /// Changes of the store when it was written last.
    last_changes: u64,
    /// What was said last of who may write.
    told: Option<Standing>,
}

impl Copying {
    fn serve(&mut self, store: &Store, orders: &Receiver<Order>) {
        if let Ok(standing) = self.twin.standing() {
            self.tell(standing);
        }
        loop {
            let order = match self.due() {
                Some(due) => orders.recv_deadline(due),
                None => orders.recv().map_err(RecvTimeoutError::from),
            };
            match order {
                Ok(Order::Save) => {
                    // Who asks is told.
                    self.told = None;
                    self.save(store);
                }
                Ok(Order::Pace(secs, changes)) => self.pace = (secs, changes),
                Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    if self.is_time(store) {
                        self.save(store);
                    }
                }
            }
        }
    }

    /// When to look whether it is time.
    fn due(&self) -> Option<Instant> {
        match self.pace {
            (_, 1..) => Some(Instant::now() + COUNT_PAUSE),
            (secs @ 1.., 0) => Some(self.last + Duration::from_secs(secs.into())),
            (0, 0) => None,
        }
    }

    fn is_time(&self, store: &Store) -> bool {
        let (secs, changes) = self.pace;
        let made = changes_of(store).saturating_sub(self.last_changes);
        (secs > 0 && self.last.elapsed() >= Duration::from_secs(secs.into()))
            || (changes > 0 && made >= u64::from(changes))
    }

    fn save(&mut self, store: &Store) {
        (self.last, self.last_changes) = (Instant::now(), changes_of(store));
        let snapshot = store.snapshot();
        let is_ending = Arc::clone(&self.is_ending);
        self.write(snapshot, &|| is_ending.load(Ordering::Acquire));
    }

    /// Writes it for the last time: the store is complete and belongs to nobody else.
    pub(super) fn finish(mut self, engine: &Engine) {
        self.write(engine.snapshot(), &|| false);
    }

    fn write(&mut self, snapshot: Option<Snapshot>, is_ending: &dyn Fn() -> bool) {
        let begun = Instant::now();
        let file = self.twin.file().display().to_string();
        let Some(snapshot) = snapshot else {
            return self.journal.tell(LogType::Error, format!("{file} is not written: the store is not open"));
        };
        match self.twin.write(&snapshot, is_ending) {
            Ok(Ok(written)) => {
                self.told = Some(Standing::Ours);
                if let Some(kept) = &written.kept {
                    let text = format!("{file} of Mosquitto is kept as {}", kept.display());
                    self.journal.tell(LogType::Notice, text);
                }
                let millis = begun.elapsed().as_millis();
                self.journal.line(format!("Saved in {file}, for Mosquitto: {written} in {millis} ms"));
            }
            Ok(Err(standing)) => self.tell(standing),
            Err(_) if is_ending() => {}
            Err(error) => {
                self.journal.tell(LogType::Error, format!("{file} is not written and stays as it was: {error}"));
            }
        }
    }

    /// Says it once.
    fn tell(&mut self, standing: Standing) {
        if self.told.replace(standing) == Some(standing) {
            return;
        }
        let (file, directory) = (self.twin.file().display(), &self.directory);
        let text = match standing {
            Standing::Ours | Standing::Theirs => return,
            Standing::Changed => format!(
                "{file} was changed since ringmq wrote it, and is left as it is: to go on with what it has, stop this broker, remove \
                 {directory} and start it again (or `ringmq import {file}` into another store); to go on with this store, remove {file}"
            ),
            Standing::Foreign => format!(
                "{file} is no file of Mosquitto's, and is left as it is: move it away, or let persistence_file (store.mosquitto_file) \
                 name another"
            ),
        };
        self.journal.tell(LogType::Warning, text);
    }
}

fn changes_of(store: &Store) -> u64 {
    store.tally().changes.load(Ordering::Relaxed)
}
