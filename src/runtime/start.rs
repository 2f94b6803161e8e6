//! Start: from its configuration to a running broker, and its ordered stop.
//!
//! Duty: check the system, bind, start one pinned executor per shard, announce the broker when every shard is ready. Must not: touch a
//! connection, or wait for signals. Neighbours: `main` calls it; `driver` runs in each executor; `serving` is what comes then.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use crossbeam_channel::{Sender, unbounded};
use glommio::{GlommioError, LocalExecutor, LocalExecutorBuilder, Placement};

use super::accepting::Entrance;
use super::adopting;
use super::announcer::Announcer;
use super::board::Board;
use super::census::Census;
use super::changing::{self, Change, Changing};
use super::clock::Clock;
use super::copying::Copier;
use super::denials::Denials;
use super::driver::{Bounds, Driver, Parts};
use super::durability;
use super::failure::Failure;
use super::inherited::Inherited;
use super::journal::Journal;
use super::judges::Bench;
use super::keeping::{Keeping, Opened};
use super::listener::{self, Listeners};
use super::memory::{Memory, fit_held_bytes, join_what_is_freed};
use super::mesh::{self, Caller};
use super::news::{self, NewsDesk};
use super::panic_policy;
use super::policy_files;
use super::probe;
use super::process::{self, PidFile, Starter};
use super::reloading::Reloading;
use super::report::{Report, Tone};
use super::scheduling::be_prompt;
use super::serving::{Again, Broker, Notice};
use super::signal;
use super::store::WriterEnd;
use super::verifier::{self, RoomAsker};
use super::watch::{Watch, Watched};
use super::watchdog::Watchdog;
use super::window::{Errand, Shards, Shown, Window};
use crate::auth::Policy;
use crate::auth::scram::{self, Secret};
use crate::config::{Config, LogType, Store};
use crate::id::ShardId;
use crate::session::LargePayloads;
use crate::shard::ShardConfig;

/// Memory of each executor for files, bytes: the least it takes. It counts as locked.
const EXECUTOR_BYTES: usize = 64 << 10;

/// Makes the configuration again.
pub type Reload<'a> = dyn FnMut() -> Result<Config, Failure> + 'a;

/// Opens the rooms beside the shards, once everything is bound and while the process may still do what its starter may.
pub type Open<'a> = dyn FnMut(&Config, Window) -> Result<Rooms, Failure> + 'a;

/// What was opened beside the shards.
#[derive(Default)]
pub struct Rooms {
    /// Where, for the line that the broker says at its start.
    pub told: Option<String>,
    /// Called when every shard answers, before the broker says that it listens. Dropped before what is open, which may wait for it.
    pub begin: Option<Box<dyn FnOnce()>>,
    /// Closed by being dropped: after the shards, before the log.
    pub open: Option<Box<dyn Any>>,
}

/// Serves until told to stop. `reload`: what the broker is to be told when it is told to read its configuration again. `open`: is called
/// once.
///
/// # Errors
/// The broker cannot start, or one of its shards has failed.
pub fn run(config: &Config, reload: &mut Reload<'_>, open: &mut Open<'_>) -> Result<(), Failure> {
    panic_policy::install();
    // While there is one thread.
    let mut starter = if config.is_daemon { Some(process::go_to_background()?) } else { None };
    let result = prepare(config, (reload, open), &mut starter);
    if let (Err(failure), Some(starter)) = (&result, starter) {
        starter.tell_failure(failure);
    }
    result
}

/// Takes what the system has for the broker, then serves. `starter`: who is to be told when it does.
fn prepare(
    config: &Config,
    (reload, open): (&mut Reload<'_>, &mut Open<'_>),
    starter: &mut Option<Starter>,
) -> Result<(), Failure> {
    join_what_is_freed();
    probe::raise_limits();
    probe::check_io_uring()?;
    if let Some(mistake) = config.store.as_ref().and_then(Store::mistake) {
        return Err(Failure { exit_code: mistake.exit_code, text: mistake.to_string() });
    }
    // What is written from here on is noticed.
    let watched = Watched::of(config);
    let (policy, judges) = policy_files::load(config)?;
    let (policy, bench) = (Arc::new(policy), Bench::default());
    bench.seat(judges);
    let (token, tls) = (policy_files::load_token(&config.admin)?, policy_files::load_admin_tls(&config.admin)?);
    let inherited = Inherited::of_process()?;
    let listeners = listener::listen(&config.listeners, &config.limits, config.cpus.len(), inherited)?;
    let (journal, journal_end) = Journal::start(&config.logging)?;
    let (policy_shown, ports) = (Arc::clone(&policy), listener::ports_of(&listeners.bound));
    let shown = Shown {
        policy: policy_shown,
        ports,
        token,
        limits: config.limits.clone(),
        listeners: listener::places_of(&listeners.bound),
        config: Arc::new(config.clone()),
        tls,
    };
    let window = Window::new(shown, journal.clone());
    let rooms = open(config, window.clone())?;
    let _pid_file = config.pid_file.as_deref().map(PidFile::write).transpose()?;
    if let Some(user) = config.user.as_deref().filter(|_| process::is_root()) {
        process::become_user(user)?;
    }
    // Before the store is made.
    if let Some(notice) = config.store.as_ref().and_then(durability::notice) {
        journal.tell(LogType::Notice, notice);
    }
    let mut config = config.clone();
    let memory = if config.is_held_bytes_set { None } else { Memory::of_process() };
    let told = fit_held_bytes(&mut config.limits, config.cpus.len(), memory);
    let shown = window.shown();
    window.show(Shown { limits: config.limits.clone(), config: Arc::new(config.clone()), ..(*shown).clone() });
    let line = format!("{}; {told}", announcement(&config, &listeners, rooms.told));
    tell_missing(&listeners, &journal);
    let ready = (line, rooms.begin);
    let result = serve((&config, policy, bench, watched), (reload, starter), ready, listeners, (journal, window));
    drop(rooms.open);
    journal_end.close();
    result
}

/// `line`: what is to be told once it serves. `begin`: what is to be done before.
fn serve(
    (config, policy, bench, watched): (&Config, Arc<Policy>, Bench, Watched),
    (reload, starter): (&mut Reload<'_>, &mut Option<Starter>),
    (line, begin): (String, Option<Box<dyn FnOnce()>>),
    listeners: Listeners,
    (journal, window): (Journal, Window),
) -> Result<(), Failure> {
    let (notify, notices) = unbounded();
    hear_signals(notify.clone())?;
    let is_stopping = Arc::new(AtomicBool::new(false));
    let board = Arc::new(Board::new(config.cpus.len()));
    let Listeners { bound, by_shard, .. } = listeners;
    let denials = window.denials();
    let shared = Shared {
        policy: &policy,
        bench: &bench,
        journal: &journal,
        is_stopping: &is_stopping,
        board: &board,
        denials: &denials,
    };
    let Ways { caller, desk, changes, hash_seed, writer, copier, verifier } =
        start_shards(config, by_shard, &shared, &notify)?;
    let (desk_of_window, store, send) =
        (desk.clone(), writer.as_ref().map(WriterEnd::view), errands_to(notify.clone()));
    window.open_to_shards(Shards { desk: desk_of_window, number: config.cpus.len(), hash_seed, verifier, store, send });
    journal.publish_on(Arc::clone(&board), caller.clone());
    let announcer = (config.sys_interval_secs > 0)
        .then(|| Announcer::new(Arc::clone(&board), caller.clone(), config.sys_interval_secs));
    // Dropped last: with it go the files of Unix sockets.
    let watch = start_watch(watched, &journal, &notify);
    let mut reloading = Reloading {
        config: config.clone(),
        policy,
        changing: Changing::new(bound, changes, caller.clone()),
        desk,
        bench,
        journal: journal.clone(),
        watch,
        copies: copier.as_ref().map(|copier| copier.desk.clone()),
        window: window.clone(),
    };
    let mut broker = Broker {
        shards: config.cpus.len(),
        notices,
        is_stopping,
        watchdog: Watchdog::wanted(Arc::clone(&board), caller.clone()),
        census: Census::new(board, caller.clone()),
        caller,
        journal,
        announcer,
        missed: None,
        store: config.store.clone(),
        copies: copier.as_ref().map(|copier| copier.desk.clone()),
        window,
    };
    if broker.await_ready()? {
        begin.into_iter().for_each(|begin| begin());
        broker.tell_ready(line, starter.take());
        tell_faults(config, &broker.journal);
        broker.await_end(&mut |what| match what {
            Again::Configuration => reloading.apply(reload()?),
            Again::Files => reloading.read_files(),
            Again::Log(wish) => Ok(reloading.log(wish)),
        })?;
        broker.close_store(writer, copier);
        broker.journal.line("ringmq has stopped".into());
    }
    Ok(())
}

/// The way of errands to the main thread.
fn errands_to(notify: Sender<Notice>) -> Box<dyn Fn(Errand) + Send + Sync> {
    Box::new(move |errand| drop(notify.send(Notice::Errand(errand))))
}

fn hear_signals(notify: Sender<Notice>) -> Result<(), Failure> {
    let tell = move |signal| drop(notify.send(Notice::Signal(signal)));
    signal::tell_signals(tell).map_err(|error| cannot_start(&error))
}

fn tell_missing(listeners: &Listeners, journal: &Journal) {
    for (address, error) in &listeners.missing {
        journal.line(format!("Not listening on {address}: {error}"));
    }
}

/// Says what tests have asked for, in case nobody meant to.
fn tell_faults(config: &Config, journal: &Journal) {
    if config.is_faulty {
        journal.line("RINGMQ_FAULTS=1: any client can cause a panic (PUBLISH to $fault/panic)".into());
    }
    if config.is_hasty && config.store.is_some() {
        journal.line("RINGMQ_FAULTS=nosync: what is acknowledged is NOT safe".into());
    }
}

/// What all shards have of the main thread.
struct Shared<'a> {
    policy: &'a Arc<Policy>,
    bench: &'a Bench,
    journal: &'a Journal,
    is_stopping: &'a Arc<AtomicBool>,
    board: &'a Arc<Board>,
    denials: &'a Denials,
}

/// The ways from the main thread to the shards.
struct Ways {
    caller: Caller,
    desk: NewsDesk,
    changes: Vec<Sender<Change>>,
    /// By which client ids are given to shards.
    hash_seed: u64,
    /// The thread of the store, if there is one.
    writer: Option<WriterEnd>,
    verifier: RoomAsker,
    /// The thread that writes Mosquitto's file beside it, if that is wanted.
    copier: Option<Copier>,
}

fn start_shards(
    config: &Config,
    entrances: Vec<Vec<Option<Entrance>>>,
    shared: &Shared<'_>,
    notify: &Sender<Notice>,
) -> Result<Ways, Failure> {
    let mut changes = Vec::new();
    let shards = config.cpus.len();
    let clock = Clock::start();
    let large_payloads = LargePayloads::default();
    let (ends, caller) = mesh::connect_shards(shards).map_err(|error| cannot_start(&error))?;
    let Kept { keepings, writer, copier, hash_seed } =
        open_store(config, clock, &caller, &large_payloads, shared.journal)?;
    let mut keepings = keepings.into_iter();
    let (desk, news) = news::open_desk(shards, caller.clone());
    let shard_secret = random_secret()?;
    let secret = [random_seed()?, random_seed()?, random_seed()?, random_seed()?];
    let askers = verifier::start(shards, &config.limits, desk.clone(), shared.bench.clone(), clock, secret);
    let (askers, verifier) = askers.map_err(|error| cannot_start(&error))?;
    let outside = news.into_iter().zip(askers);
    for (((index, mesh), entrances), (news, asker)) in ends.into_iter().enumerate().zip(entrances).zip(outside) {
        let (id, keeping) = (ShardId(index as u16), keepings.next());
        let shard_config = ShardConfig {
            shard: id,
            shards,
            hash_seed,
            id_seed: random_seed()?,
            secret: shard_secret.clone(),
            limits: config.limits.clone(),
            large_payloads: large_payloads.clone(),
            is_faulty: config.is_faulty,
            store: keeping.as_ref().map(|keeping| keeping.terms),
            policy: Arc::clone(shared.policy),
        };
        let parts = Parts {
            id,
            config: shard_config,
            shards,
            entrances,
            changes: {
                let (change, changing) = changing::channel();
                changes.push(change);
                changing
            },
            bounds: Bounds::from(&config.limits),
            mesh,
            clock,
            address_seed: random_seed()?,
            board: Arc::clone(shared.board),
            is_stopping: Arc::clone(shared.is_stopping),
            news,
            asker,
            keeping,
            report: Report::new(shared.journal.clone(), shared.denials.clone(), id, Tone::from(&config.logging)),
        };
        let (cpu, notify) = (config.cpus[index], notify.clone());
        let builder = thread::Builder::new().name(format!("ringmq-{index}"));
        builder.spawn(move || run_shard(cpu, parts, &notify)).map_err(|error| cannot_start(&error))?;
    }
    Ok(Ways { caller, desk, changes, hash_seed, writer, copier, verifier })
}

/// What is kept.
struct Kept {
    /// The shards' ends of the store.
    keepings: Vec<Keeping>,
    writer: Option<WriterEnd>,
    copier: Option<Copier>,
    /// By which seed client ids are given to shards.
    hash_seed: u64,
}

fn open_store(
    config: &Config,
    clock: Clock,
    caller: &Caller,
    large_payloads: &LargePayloads,
    journal: &Journal,
) -> Result<Kept, Failure> {
    let seeds = (config.hash_seed, random_seed()?);
    let Some(store) = &config.store else {
        return Ok(Kept { keepings: Vec::new(), writer: None, copier: None, hash_seed: seeds.0.unwrap_or(seeds.1) });
    };
    adopting::adopt(store, &config.limits, journal)?;
    let opened = Opened::open(store, &config.limits, clock, config.cpus.len(), seeds, large_payloads, journal)?;
    let hash_seed = opened.hash_seed;
    let (keepings, own, writer) = opened.start(caller, journal, config.is_hasty)?;
    let free_bytes_min = config.limits.store_free_bytes_min;
    let start = |file| Copier::start(store, file, free_bytes_min, own, journal);
    let copier = store.mosquitto.as_ref().map(start).transpose()?;
    Ok(Kept { keepings, writer: Some(writer), copier, hash_seed })
}

/// The life of a shard's thread.
fn run_shard(cpu: usize, parts: Parts, notify: &Sender<Notice>) {
    signal::block_here();
    be_prompt();
    let id = parts.id;
    let result = make_executor(cpu).and_then(|executor| {
        let turned = panic_policy::catch(|| {
            executor.run(async {
                let driver = Driver::new(parts).map_err(|error| Failure::of_io_uring(&error))?;
                let ended = driver.run(|| drop(notify.send(Notice::Ready))).await;
                ended.map_err(|error| Failure::internal(format!("the ring of shard {}: {error}", id.0)))
            })
        });
        turned.unwrap_or_else(|text| Err(Failure::of_panic(format!("shard {}: {text}", id.0))))
    });
    // Nobody listens any more once another shard has failed.
    let _ = notify.send(Notice::Ended(id, result));
}

fn make_executor(cpu: usize) -> Result<LocalExecutor, Failure> {
    let builder = LocalExecutorBuilder::new(Placement::Fixed(cpu)).io_memory(EXECUTOR_BYTES);
    match panic_policy::catch(|| builder.make()) {
        Ok(Ok(executor)) => Ok(executor),
        Ok(Err(GlommioError::IoError(error))) => Err(Failure::of_io_uring(&error)),
        Ok(Err(GlommioError::ReactorError(_))) => Err(Failure::of_locked_memory()),
        Ok(Err(error)) => {
            Err(Failure::system(format!("cannot start a shard on cpu {cpu}: {error}; choose others by --cpus")))
        }
        Err(text) => Err(Failure::of_panic(text)),
    }
}

/// Without it the operator has to say by SIGHUP that files have changed.
fn start_watch(watched: Watched, journal: &Journal, notify: &Sender<Notice>) -> Option<Watch> {
    let told = notify.clone();
    let watch = Watch::start(watched, move || drop(told.send(Notice::FilesChanged)));
    let tell = |error: &io::Error| {
        let text = format!("Files are not watched, SIGHUP has them read again: {error}");
        journal.tell(LogType::Warning, text);
    };
    watch.inspect_err(tell).ok()
}

/// `rooms`: where there is more than the listeners.
fn announcement(config: &Config, listeners: &Listeners, rooms: Option<String>) -> String {
    let list = |items: Vec<String>, separator| items.join(separator);
    let addresses = list(listeners.bound.iter().flatten().map(|bound| bound.place.to_string()).collect(), ", ");
    let cpus = list(config.cpus.iter().map(ToString::to_string).collect(), ",");
    let rooms = rooms.map_or_else(String::new, |rooms| format!("; {rooms}"));
    let (shards, version) = (config.cpus.len(), env!("CARGO_PKG_VERSION"));
    let plural = |count| if count == 1 { "" } else { "s" };
    let durability = durability::told(config.store.as_ref());
    format!(
        "ringmq {version} listening on {addresses}{rooms}; {shards} shard{} on cpu{} {cpus}; {durability}",
        plural(shards),
        plural(shards)
    )
}

fn random_seed() -> Result<u64, Failure> {
    getrandom::u64().map_err(|error| Failure::system(format!("the system gives no random numbers: {error}")))
}

/// What all shards know and nobody else does.
fn random_secret() -> Result<Secret, Failure> {
    let mut bytes = [0; scram::KEY_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::system(format!("the system gives no random numbers: {error}")))?;
    Ok(Secret::new(bytes))
}

fn cannot_start(error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => Failure::of_io_uring(error),
        _ => Failure::system(format!("cannot start: {error}")),
    }
}
