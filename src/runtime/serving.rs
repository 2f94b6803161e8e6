//! Serving: the main thread while the shards serve.
//!
//! Duty: wait until every shard is ready, then for signals, errands and files that have changed; do what the main thread does by
//! itself; stop all when told to or when one shard has failed. Must not: open anything, or touch a connection. Neighbours: `start` makes
//! it; `reloading` reads again; `census`, `announcer`, `watchdog` are its duties.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded, select};
use sd_notify::NotifyState;

use super::announcer::Announcer;
use super::census::Census;
use super::copying::{Copier, CopyDesk};
use super::durability;
use super::failure::Failure;
use super::journal::Journal;
use super::mesh::Caller;
use super::process::Starter;
use super::signal::{self, Signal};
use super::store::WriterEnd;
use super::watchdog::Watchdog;
use super::window::{Errand, LogWish, Phase, Window};
use crate::config::{LogType, Store};
use crate::id::ShardId;

/// How long a stop may take in all; each driver bounds its own part below this.
const STOP_SECS: u64 = 8;

/// What reaches the main thread.
pub(super) enum Notice {
    Ready,
    Ended(ShardId, Result<(), Failure>),
    Signal(Signal),
    FilesChanged,
    Errand(Errand),
}

/// What is to be read again, or done.
#[derive(Clone)]
pub(super) enum Again {
    Configuration,
    /// Those that it names.
    Files,
    Log(LogWish),
}

/// A started broker, as the main thread sees it.
pub(super) struct Broker {
    pub(super) shards: usize,
    pub(super) notices: Receiver<Notice>,
    pub(super) is_stopping: Arc<AtomicBool>,
    pub(super) caller: Caller,
    pub(super) journal: Journal,
    pub(super) announcer: Option<Announcer>,
    pub(super) watchdog: Option<Watchdog>,
    pub(super) census: Census,
    /// What was to be read again before every shard served.
    pub(super) missed: Option<Again>,
    pub(super) store: Option<Store>,
    pub(super) copies: Option<CopyDesk>,
    pub(super) window: Window,
}

impl Broker {
    /// Waits until every shard listens; false if the broker was told to stop before.
    pub(super) fn await_ready(&mut self) -> Result<bool, Failure> {
        let mut ready = 0;
        while ready < self.shards {
            match self.notices.recv() {
                Ok(Notice::Ready) => ready += 1,
                Ok(Notice::Signal(Signal::Stop(_))) => return Ok(false),
                Ok(Notice::Signal(Signal::Reload)) => self.missed = Some(Again::Configuration),
                Ok(Notice::FilesChanged) => self.missed = self.missed.take().or(Some(Again::Files)),
                // Whoever has sent the errand hears that there is no answer.
                Ok(Notice::Signal(_) | Notice::Errand(_)) => {}
                Ok(Notice::Ended(id, result)) => return Err(ended_early(id, result)),
                Err(_) => return Err(Failure::internal("nobody reports to the main thread")),
            }
        }
        Ok(true)
    }

    /// Serves until a signal; then waits for every shard to stop. The failure of one shard ends all at once.
    pub(super) fn await_end(
        &mut self,
        reload: &mut dyn FnMut(Again) -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        if let Some(what) = self.missed.take() {
            drop(self.read_again(what, reload));
        }
        let mut running = self.shards;
        let mut stop_by = None;
        while running > 0 {
            let notice = match stop_by.or_else(|| self.duty_at()) {
                Some(by) => self.notices.recv_deadline(by),
                None => self.notices.recv().map_err(RecvTimeoutError::from),
            };
            if matches!(notice, Err(RecvTimeoutError::Timeout)) && stop_by.is_none() {
                self.do_duties();
                continue;
            }
            match notice.ok() {
                Some(Notice::Signal(Signal::Stop(number))) => {
                    if stop_by.is_some() {
                        std::process::exit(128 + number);
                    }
                    stop_by = Some(Instant::now() + Duration::from_secs(STOP_SECS));
                    self.stop_shards();
                }
                Some(Notice::Signal(Signal::ReopenLog)) => self.journal.reopen(),
                Some(Notice::Signal(Signal::Reload)) => {
                    self.journal.reopen();
                    drop(self.read_again(Again::Configuration, reload));
                }
                Some(Notice::FilesChanged) => drop(self.read_again(Again::Files, reload)),
                Some(Notice::Errand(errand)) => self.run_errand(errand, reload),
                Some(Notice::Signal(Signal::Save)) => match &self.copies {
                    Some(copies) => copies.save(),
                    None => self.journal.line(durability::save(self.store.as_ref())),
                },
                Some(Notice::Signal(Signal::Census)) => self.census.ask(Instant::now()),
                Some(Notice::Ended(_, Ok(()))) if stop_by.is_some() => running -= 1,
                Some(Notice::Ended(id, result)) => return Err(ended_early(id, result)),
                Some(Notice::Ready) => {}
                None => return Err(Failure::internal(format!("{running} shards do not stop"))),
            }
        }
        Ok(())
    }

    /// Every shard listens: `line` says so, and whoever has started us is told.
    pub(super) fn tell_ready(&self, line: String, starter: Option<Starter>) {
        self.window.tell_phase(Phase::Serving);
        self.journal.line(line);
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        if let Some(starter) = starter {
            starter.tell_ready();
        }
    }

    /// Whoever has sent it may have gone.
    fn run_errand(&self, errand: Errand, reload: &mut dyn FnMut(Again) -> Result<String, Failure>) {
        let _ = match errand {
            Errand::Reload(answer) => answer.send(self.read_again(Again::Configuration, reload)),
            Errand::Log(wish, answer) => answer.send(self.read_again(Again::Log(wish), reload)),
        };
    }

    /// Waits until all that the shards have sent is written, then until Mosquitto's file is. A second signal ends that at once.
    pub(super) fn close_store(&self, writer: Option<WriterEnd>, copier: Option<Copier>) {
        let copying = copier.and_then(Copier::end);
        let engine = writer.and_then(WriterEnd::join);
        let Some((engine, copying)) = engine.zip(copying) else { return };
        let (done, is_done) = bounded::<()>(0);
        let builder = thread::Builder::new().name("ringmq-copy".into());
        let started = builder.spawn(move || {
            signal::block_here();
            copying.finish(&engine);
            drop((engine, done));
        });
        if let Err(error) = started {
            self.journal.tell(LogType::Error, format!("Mosquitto's file is not written: {error}"));
        }
        loop {
            select! {
                recv(is_done) -> _ => return,
                recv(self.notices) -> notice => match notice {
                    Ok(Notice::Signal(Signal::Stop(number))) => std::process::exit(128 + number),
                    Ok(_) => {}
                    Err(_) => {
                        let _ = is_done.recv();
                        return;
                    }
                },
            }
        }
    }

    /// What the log says of it.
    fn read_again(
        &self,
        what: Again,
        reload: &mut dyn FnMut(Again) -> Result<String, Failure>,
    ) -> Result<String, String> {
        let (done, not_done) = match what {
            Again::Configuration => ("Reloaded", "Not reloaded, nothing has changed"),
            Again::Log(_) => ("Logging changed by the admin room until the next reload", "Logging not changed"),
            Again::Files => {
                ("Files were written and are used", "Files were written that cannot be used; the old ones hold")
            }
        };
        let is_of_log = matches!(what, Again::Log(_));
        let result = reload(what).map(|told| format!("{done}: {told}"));
        let result = result.map_err(|failure| format!("{not_done}: {failure}"));
        if !is_of_log {
            self.window.note_reload(result.as_ref().err().cloned());
        }
        match &result {
            Ok(line) => self.journal.line(line.clone()),
            Err(line) => self.journal.tell(LogType::Error, line.clone()),
        }
        result
    }

    /// When the main thread has something to do by itself.
    fn duty_at(&self) -> Option<Instant> {
        let announcement = self.announcer.as_ref().map(Announcer::deadline);
        let watchdog = self.watchdog.as_ref().map(Watchdog::deadline);
        [announcement, watchdog, self.census.deadline()].into_iter().flatten().min()
    }

    fn do_duties(&mut self) {
        let now = Instant::now();
        if let Some(announcer) = self.announcer.as_mut().filter(|announcer| announcer.deadline() <= now) {
            announcer.act(now);
        }
        if let Some(watchdog) = self.watchdog.as_mut().filter(|watchdog| watchdog.deadline() <= now) {
            watchdog.act(now);
        }
        if self.census.deadline().is_some_and(|at| at <= now) {
            self.census.act(now, &self.journal);
        }
    }

    fn stop_shards(&self) {
        self.window.tell_phase(Phase::Stopping);
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
        self.journal.line("ringmq is stopping".into());
        self.is_stopping.store(true, Ordering::Release);
        self.caller.call_all();
    }
}

fn ended_early(id: ShardId, result: Result<(), Failure>) -> Failure {
    result.err().unwrap_or_else(|| Failure::internal(format!("shard {} has ended", id.0)))
}
