//! Runs a plan: threads that set up all clients, publish by one timetable, drain, and bring home what they counted.
//! Must not print or judge. Neighbours: `plan` below, `report` reads the outcome.

mod client;
mod inflight;
mod link;
mod outcome;
mod pacing;
mod publisher;
mod score;
mod shared;
mod subscriber;
mod worker;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

pub use outcome::{Harvest, Outcome, Phase, Snapshot};

use crate::broker::{self, BrokerSample};
use crate::plan::Plan;
use shared::{Shared, Timetable};
use worker::Worker;

/// Time between the decision to start and the first message, so that every thread has seen the timetable.
const START_DELAY_NS: u64 = 5_000_000;

/// Descriptors besides the clients' sockets.
const SPARE_FDS: u64 = 64;

/// Runs `plan` on this thread and as many others as it says; with CPUs named, this thread is bound to them as well.
///
/// Errors: one sentence, when the run could not be set up. What goes wrong later is in the outcome.
pub fn run(plan: &Plan) -> Result<Outcome, String> {
    let address = resolve(&plan.flags.host, plan.flags.port)?;
    raise_fd_limit(plan.clients() as u64)?;
    bind_to_cpus(&plan.flags.cpus)?;
    let broker_before = look_at_broker(plan)?;
    let shared = Shared::new(plan);
    thread::scope(|scope| {
        let (ready, readiness) = mpsc::channel();
        let mut threads = Vec::new();
        for number in 0..plan.flags.threads {
            let (shared, ready) = (&shared, ready.clone());
            threads.push(scope.spawn(move || work(shared, number, address, &ready)));
        }
        drop(ready);
        if !all_ready(&threads, &readiness) {
            shared.abandoned.store(true, Relaxed);
            return Err(first_error(threads));
        }
        let setup_ns = shared.now_ns();
        let window = measure(&shared);
        let harvest = gather(threads)?;
        Ok(Outcome { setup_ns, broker_before, window, harvest, phases: Vec::new() })
    })
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    let addresses = (host, port).to_socket_addrs().map_err(|error| format!("cannot resolve '{host}': {error}"))?;
    addresses.into_iter().next().ok_or_else(|| format!("'{host}' has no address"))
}

fn raise_fd_limit(clients: u64) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = clients + SPARE_FDS;
    let Some(soft) = limit.current.filter(|&soft| soft < wanted) else { return Ok(()) };
    if limit.maximum.is_some_and(|hard| hard < wanted) {
        let hard = limit.maximum.unwrap_or(soft);
        return Err(format!("{clients} connections need {wanted} file descriptors, the hard limit is {hard}"));
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .map_err(|error| format!("cannot raise the limit of file descriptors: {error}"))
}

fn bind_to_cpus(cpus: &[usize]) -> Result<(), String> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for &cpu in cpus {
        if cpu >= CpuSet::MAX_CPU {
            return Err(format!("CPU {cpu} does not exist"));
        }
        set.set(cpu);
    }
    sched_setaffinity(None, &set).map_err(|error| format!("cannot bind to CPU {cpus:?}: {error}"))
}

fn look_at_broker(plan: &Plan) -> Result<Option<BrokerSample>, String> {
    let look = |pid| broker::sample(pid).map_err(|error: io::Error| format!("cannot measure process {pid}: {error}"));
    plan.flags.broker_pid.map(look).transpose()
}

fn work(shared: &Shared<'_>, number: usize, address: SocketAddr, ready: &mpsc::Sender<()>) -> Result<Harvest, String> {
    if let Some(&cpu) = shared.plan.flags.cpus.get(number) {
        bind_to_cpus(&[cpu])?;
    }
    let worker = Worker::new(shared, number, address).map_err(|error| format!("cannot poll: {error}"))?;
    // The receiver waits for as many words as there are threads, or has given up, and then nobody minds.
    worker.run(|| {
        let _ = ready.send(());
    })
}

type Workers<'scope> = Vec<ScopedJoinHandle<'scope, Result<Harvest, String>>>;

/// Waits until every thread is ready; false as soon as one has ended instead.
fn all_ready(threads: &Workers<'_>, readiness: &mpsc::Receiver<()>) -> bool {
    let mut ready = 0;
    while ready < threads.len() {
        if readiness.recv_timeout(Duration::from_millis(20)).is_ok() {
            ready += 1;
        } else if threads.iter().any(ScopedJoinHandle::is_finished) {
            return false;
        }
    }
    true
}

fn join(thread: ScopedJoinHandle<'_, Result<Harvest, String>>) -> Result<Harvest, String> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Threads that only followed another one's failure bring an empty error.
fn first_error(threads: Workers<'_>) -> String {
    let errors: Vec<_> = threads.into_iter().filter_map(|thread| join(thread).err()).collect();
    errors.into_iter().find(|error| !error.is_empty()).unwrap_or_else(|| "the setup failed".to_owned())
}

fn gather(threads: Workers<'_>) -> Result<Harvest, String> {
    let mut all = Harvest::default();
    for thread in threads {
        all.add(join(thread)?);
    }
    Ok(all)
}

fn measure(shared: &Shared<'_>) -> [Snapshot; 2] {
    let start_ns = shared.now_ns() + START_DELAY_NS;
    let from_ns = start_ns + shared.plan.scenario.warmup.as_nanos() as u64;
    let to_ns = from_ns + shared.plan.scenario.duration.as_nanos() as u64;
    // Nobody else sets it.
    let _ = shared.timetable.set(Timetable { start_ns, from_ns, to_ns });
    [from_ns, to_ns].map(|moment_ns| {
        thread::sleep(Duration::from_nanos(moment_ns.saturating_sub(shared.now_ns())));
        snapshot(shared)
    })
}

fn snapshot(shared: &Shared<'_>) -> Snapshot {
    let meters = || shared.meters.iter();
    Snapshot {
        at_ns: shared.now_ns(),
        delivered: meters().map(|meter| meter.delivered.load(Relaxed)).sum(),
        published: meters().map(|meter| meter.published.load(Relaxed)).sum(),
        idle_ns: meters().map(|meter| meter.idle_ns.load(Relaxed)).collect(),
        // A broker that has died in the meantime shows as lost connections.
        broker: shared.plan.flags.broker_pid.and_then(|pid| broker::sample(pid).ok()),
    }
}
