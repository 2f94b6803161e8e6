//! Window: what a room beside the shards sees of the running broker.
//!
//! Duty: hold what the broker has decided, as it is now; carry a question to the shard that knows; write to the log. Must not: hold a
//! shard up, or be needed by one. Neighbours: `start` and `reloading` show, `admin` looks; `news` carries.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::oneshot;

use super::journal::Journal;
use super::looking::{Look, Question, ShardFigures};
use super::news::{News, NewsDesk};
use crate::auth::{Policy, Token};
use crate::config::LogType;
use crate::id::ShardId;
use crate::limits::Limits;
use crate::shard::owner_of;

/// How far the broker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not every shard listens.
    Starting,
    /// Every shard listens.
    Serving,
    /// It was told to stop.
    Stopping,
}

/// What the broker has decided.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Who may do what.
    pub policy: Arc<Policy>,
    /// The port of each listener by its index, 0 for a Unix socket; `None` for those that are gone.
    pub ports: Vec<Option<u16>>,
    /// What whoever asks must know; `None` if nobody must.
    pub token: Option<Token>,
    /// Bounds.
    pub limits: Limits,
}

/// Whose session a client id is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionUser {
    /// There is no session.
    NoSession,
    /// That of a client that came without a user name.
    Nobody,
    /// That of this user.
    User(Box<str>),
}

/// What a room beside the shards sees.
#[derive(Clone, Debug)]
pub struct Window(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    phase: AtomicU8,
    shown: Mutex<Arc<Shown>>,
    journal: Journal,
    shards: OnceLock<Shards>,
}

/// The way to the shards.
#[derive(Debug)]
struct Shards {
    desk: NewsDesk,
    number: usize,
    hash_seed: u64,
}

impl Window {
    /// A window on a broker that starts.
    pub(super) fn new(shown: Shown, journal: Journal) -> Self {
        let phase = AtomicU8::new(Phase::Starting as u8);
        Self(Arc::new(Inside { phase, shown: Mutex::new(Arc::new(shown)), journal, shards: OnceLock::new() }))
    }

    /// From now on there are shards to ask.
    pub(super) fn open_to_shards(&self, desk: NewsDesk, number: usize, hash_seed: u64) {
        // They start once.
        let _ = self.0.shards.set(Shards { desk, number, hash_seed });
    }

    /// From now on this is decided.
    pub(super) fn show(&self, shown: Shown) {
        *self.lock() = Arc::new(shown);
    }

    /// The broker is so far.
    pub(super) fn tell_phase(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Ordering::Release);
    }

    /// How far the broker is.
    pub fn phase(&self) -> Phase {
        let phase = self.0.phase.load(Ordering::Acquire);
        [Phase::Starting, Phase::Serving].into_iter().find(|known| *known as u8 == phase).unwrap_or(Phase::Stopping)
    }

    /// What the broker has decided, as it is now.
    pub fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.lock())
    }

    /// How many shards there are; 0 before they start.
    pub fn shards(&self) -> usize {
        self.0.shards.get().map_or(0, |shards| shards.number)
    }

    /// The shard that has the session of a client id, if there is one.
    pub fn shard_of(&self, client_id: &str) -> ShardId {
        let owner = self.0.shards.get().map(|shards| owner_of(client_id, shards.hash_seed, shards.number));
        owner.unwrap_or(ShardId(0))
    }

    /// Asks a shard; `None` if it does not answer any more. The shard stands still for as long as the question takes.
    pub async fn ask<T: Send + 'static>(
        &self,
        shard: ShardId,
        question: impl FnOnce(&mut Look<'_>) -> T + Send + 'static,
    ) -> Option<T> {
        let desk = &self.0.shards.get()?.desk;
        let (answer, answered) = oneshot::channel();
        // Whoever asked may have gone.
        let question = Question::new(|look| drop(answer.send(question(look))));
        desk.tell(shard, News::Question(question));
        answered.await.ok()
    }

    /// What all shards have counted, in their order; `None` if one does not answer any more.
    pub async fn figures(&self) -> Option<Vec<ShardFigures>> {
        let mut figures = Vec::new();
        for shard in 0..self.shards() {
            figures.push(self.ask(ShardId(shard as u16), |look| look.figures()).await?);
        }
        Some(figures)
    }

    /// Asks the shard that has the sessions of this client id; `None` if it does not answer any more.
    pub async fn user_of(&self, client_id: &str) -> Option<SessionUser> {
        let wanted: Box<str> = client_id.into();
        let user = move |look: &mut Look<'_>| match look.shard().0.session_user(&wanted) {
            None => SessionUser::NoSession,
            Some(None) => SessionUser::Nobody,
            Some(Some(user)) => SessionUser::User(user.into()),
        };
        self.ask(self.shard_of(client_id), user).await
    }

    /// Writes a warning to the log soon.
    pub fn warn(&self, text: String) {
        self.0.journal.tell(LogType::Warning, text);
    }

    /// Nothing is half-written when a thread panics here.
    fn lock(&self) -> MutexGuard<'_, Arc<Shown>> {
        self.0.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
