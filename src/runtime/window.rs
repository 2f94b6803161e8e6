//! Window: what a room beside the shards sees of the running broker.
//!
//! Duty: hold what the broker has decided, as it is now; carry a question to the shard that knows; write to the log. Must not: hold a
//! shard up, or be needed by one. Neighbours: `start` and `reloading` show, `admin` looks; `news` carries.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustls::ServerConfig;
use tokio::sync::oneshot;

use super::clock::wall_millis;
use super::denials::{Denials, Denied};
use super::durability;
use super::journal::Journal;
use super::listener::ListenerPlace;
use super::looking::{Look, Question, ShardFigures};
use super::news::{News, NewsDesk};
use super::store::StoreView;
use super::verifier::RoomAsker;
use crate::auth::{Policy, Token};
use crate::config::{Config, LogType};
use crate::id::ShardId;
use crate::limits::Limits;
use crate::shard::{Verdict, owner_of};

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
    /// Where clients come in.
    pub listeners: Vec<ListenerPlace>,
    /// What it was told, as far as it does that.
    pub config: Arc<Config>,
    /// By which the admin room is encrypted, if it is.
    pub tls: Option<Arc<ServerConfig>>,
}

impl Shown {
    /// What survives the end of the process, for people.
    pub fn durability(&self) -> String {
        durability::told(self.config.store.as_ref())
    }
}

/// What is to be logged until the next reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogWish {
    /// Whether each connection and disconnection is told.
    pub tells_connections: bool,
    /// Kinds of lines.
    pub types: Vec<LogType>,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unable {
    /// The broker does not serve yet, or not any more.
    NotServing,
    /// It cannot be done; nothing has changed.
    Refused(String),
}

/// What the main thread is asked to do.
#[derive(Debug)]
pub(super) enum Errand {
    /// Read the configuration again; what was done.
    Reload(oneshot::Sender<Result<String, String>>),
    /// Log this.
    Log(LogWish, oneshot::Sender<Result<String, String>>),
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
    denials: Denials,
    started_unix_millis: u64,
    /// Why the last reload has failed, if it has.
    failed_reload: Mutex<Option<String>>,
    shards: OnceLock<Shards>,
}

/// The ways to the shards, to the threads beside them, and to the main thread.
pub(super) struct Shards {
    pub(super) desk: NewsDesk,
    pub(super) number: usize,
    pub(super) hash_seed: u64,
    pub(super) verifier: RoomAsker,
    pub(super) store: Option<StoreView>,
    /// Gives the main thread something to do.
    pub(super) send: Box<dyn Fn(Errand) + Send + Sync>,
}

impl fmt::Debug for Shards {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shards").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Window {
    /// A window on a broker that starts.
    pub(super) fn new(shown: Shown, journal: Journal) -> Self {
        let phase = AtomicU8::new(Phase::Starting as u8);
        Self(Arc::new(Inside {
            phase,
            shown: Mutex::new(Arc::new(shown)),
            journal,
            denials: Denials::default(),
            started_unix_millis: wall_millis(),
            failed_reload: Mutex::default(),
            shards: OnceLock::new(),
        }))
    }

    /// From now on there are shards to ask.
    pub(super) fn open_to_shards(&self, shards: Shards) {
        // They start once.
        let _ = self.0.shards.set(shards);
    }

    /// Where the shards note what they deny.
    pub(super) fn denials(&self) -> Denials {
        self.0.denials.clone()
    }

    /// How the last reload has ended.
    pub(super) fn note_reload(&self, failure: Option<String>) {
        *self.0.failed_reload.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    /// Why the last reload has failed, if it has.
    pub fn failed_reload(&self) -> Option<String> {
        self.0.failed_reload.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the broker was started, milliseconds since 1970.
    pub fn started_unix_millis(&self) -> u64 {
        self.0.started_unix_millis
    }

    /// What clients had no right to, the last one first; a hundred at most.
    pub fn denied(&self) -> Vec<Denied> {
        self.0.denials.last()
    }

    /// The store, if there is one.
    pub fn store(&self) -> Option<&StoreView> {
        self.0.shards.get()?.store.as_ref()
    }

    /// Whether a password file of the broker knows this user with this password; `None` if that cannot be said now, as too many ask or
    /// too many wrong ones came from `address`.
    pub async fn is_user(&self, user: &str, password: &[u8], address: Option<IpAddr>) -> Option<bool> {
        let verifier = &self.0.shards.get()?.verifier;
        let files = self.shown().policy.rules.iter().filter_map(|rules| rules.passwords.clone()).collect::<Vec<_>>();
        let with_user = files.iter().find(|passwords| passwords.has(user)).or(files.first());
        // Who is in no file takes as long to be refused as who is in one.
        let Some(passwords) = with_user else { return Some(false) };
        match verifier.ask(Arc::clone(passwords), user, password, address).await? {
            Verdict::Right => Some(true),
            Verdict::Wrong => Some(false),
            _ => None,
        }
    }

    /// Has the configuration read again; what was done, as the log says it.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn reload(&self) -> Result<String, Unable> {
        self.send(Errand::Reload).await
    }

    /// Has this logged until the next reload.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn log(&self, wish: LogWish) -> Result<(), Unable> {
        self.send(|answer| Errand::Log(wish, answer)).await.map(drop)
    }

    async fn send(
        &self,
        errand: impl FnOnce(oneshot::Sender<Result<String, String>>) -> Errand,
    ) -> Result<String, Unable> {
        let shards = self.0.shards.get().ok_or(Unable::NotServing)?;
        let (answer, answered) = oneshot::channel();
        (shards.send)(errand(answer));
        answered.await.map_err(|_| Unable::NotServing)?.map_err(Unable::Refused)
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
        self.put(shard, question)?.await.ok()
    }

    /// Puts a question to a shard, and gives the place where the answer will be. Who does not wait there but looks now and then has the
    /// shard wake nobody, which takes it longer than many a question.
    pub fn put<T: Send + 'static>(
        &self,
        shard: ShardId,
        question: impl FnOnce(&mut Look<'_>) -> T + Send + 'static,
    ) -> Option<oneshot::Receiver<T>> {
        let desk = &self.0.shards.get()?.desk;
        let (answer, answered) = oneshot::channel();
        // Whoever asked may have gone.
        let question = Question::new(|look| drop(answer.send(question(look))));
        desk.tell(shard, News::Question(question));
        Some(answered)
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
