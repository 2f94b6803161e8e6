//! Runs a plan: threads that set up all clients, publish by one timetable, drain, and bring home what they counted.
//! Must not print or judge. Neighbours: `plan` below, `report` reads the outcome.

mod alarm;
mod carrier;
mod client;
mod device;
mod frames;
mod harvest;
mod inflight;
mod link;
mod outcome;
mod pacing;
mod progress;
mod publisher;
mod roam;
mod score;
mod shared;
mod staged;
mod subscriber;
mod timeline;
mod way;
mod worker;

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

pub use outcome::{Agreed, Harvest, Interval, Outcome, Phase, Snapshot};
pub use progress::{Activity, Progress};

use crate::broker::{self, BrokerSample};
use crate::plan::Plan;
use shared::{Shared, Timetable};
use timeline::Edge;
use way::Way;
use worker::Worker;

/// Time between the decision to start and the first message, so that every thread has seen the timetable.
const START_DELAY_NS: u64 = 5_000_000;

/// Descriptors besides the clients' sockets.
const SPARE_FDS: u64 = 64;

/// Longest sleep of this thread while somebody watches, nanoseconds.
const WATCH_NS: u64 = 100_000_000;

/// How often this thread looks whether a staged run is over.
const JOIN_PERIOD: Duration = Duration::from_millis(10);

/// Runs `plan` as [`run_watched`] does, unwatched.
///
/// Errors: as there.
pub fn run(plan: &Plan) -> Result<Outcome, String> {
    run_watched(plan, &mut |_| ())
}

/// Runs `plan` on this thread and as many others as it says; with CPUs named, this thread is bound to them as well.
/// This thread calls `watch` again and again, ten times a second while it measures; the others know nothing of it.
///
/// Errors: one sentence, when the run could not be set up. What goes wrong later is in the outcome.
pub fn run_watched(plan: &Plan, watch: &mut dyn FnMut(Progress)) -> Result<Outcome, String> {
    let way = &Way::of(&plan.flags)?;
    raise_fd_limit(plan.clients() as u64)?;
    bind_to_cpus(&plan.flags.cpus)?;
    let broker_before = look_at_broker(plan)?;
    let shared = Shared::new(plan);
    if let Some(stage) = plan.scenario.stage {
        return thread::scope(|scope| {
            let run = scope.spawn(|| staged::run(stage, &shared, way, broker_before));
            while !run.is_finished() {
                watch(Progress::of_stages(&shared));
                thread::sleep(JOIN_PERIOD);
            }
            run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
    }
    let begun = snapshot(&shared);
    thread::scope(|scope| {
        let (ready, readiness) = mpsc::channel();
        let mut threads = Vec::new();
        for number in 0..plan.flags.threads {
            let (shared, ready) = (&shared, ready.clone());
            threads.push(scope.spawn(move || work(shared, number, way, &ready)));
        }
        drop(ready);
        if !all_ready(&threads, &readiness, || watch(Progress::of_connecting(&shared))) {
            shared.abandoned.store(true, Relaxed);
            return Err(first_error(threads));
        }
        let connected = snapshot(&shared);
        let setup_ns = connected.at_ns;
        let (window, edges) = measure(&shared, watch);
        let mut harvest = gather(threads, || watch(Progress::of_draining(&shared)))?;
        let timeline = timeline::steps(&edges, &harvest.latency.intervals());
        let phases = connection_phases(plan, [begun, connected], &window);
        Ok(Outcome { setup_ns, broker_before, window, timeline, harvest, phases, agreed: way.agreed() })
    })
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

fn work(shared: &Shared<'_>, number: usize, way: &Way, ready: &mpsc::Sender<()>) -> Result<Harvest, String> {
    if let Some(&cpu) = shared.plan.flags.cpus.get(number) {
        bind_to_cpus(&[cpu])?;
    }
    let worker = Worker::new(shared, number, way).map_err(|error| format!("cannot poll: {error}"))?;
    // The receiver waits for as many words as there are threads, or has given up, and then nobody minds.
    worker.run(|| {
        let _ = ready.send(());
    })
}

type Workers<'scope> = Vec<ScopedJoinHandle<'scope, Result<Harvest, String>>>;

/// Waits until every thread is ready; false as soon as one has ended instead.
fn all_ready(threads: &Workers<'_>, readiness: &mpsc::Receiver<()>, mut watch: impl FnMut()) -> bool {
    let mut ready = 0;
    while ready < threads.len() {
        if readiness.recv_timeout(Duration::from_millis(20)).is_ok() {
            ready += 1;
        } else if threads.iter().any(ScopedJoinHandle::is_finished) {
            return false;
        }
        watch();
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

fn gather(threads: Workers<'_>, mut watch: impl FnMut()) -> Result<Harvest, String> {
    let mut all = Harvest::default();
    for thread in threads {
        while !thread.is_finished() {
            watch();
            thread::sleep(Duration::from_millis(1));
        }
        all.add(join(thread)?);
    }
    Ok(all)
}

/// Sleeps through the timetable, looks at the counters at every edge, and gives the whole window and its edges.
fn measure(shared: &Shared<'_>, watch: &mut dyn FnMut(Progress)) -> ([Snapshot; 2], Vec<Edge>) {
    let start_ns = shared.now_ns() + START_DELAY_NS;
    let from_ns = start_ns + shared.plan.scenario.warmup.as_nanos() as u64;
    let to_ns = from_ns + shared.plan.scenario.duration.as_nanos() as u64;
    // Nobody else sets it.
    let _ = shared.timetable.set(Timetable { start_ns, from_ns, to_ns });
    let mut sleep = |activity, begun_ns: u64, moment_ns: u64, end_ns| loop {
        let now_ns = shared.now_ns();
        watch(Progress::of_time(shared, activity, now_ns.saturating_sub(begun_ns), end_ns - begun_ns));
        if now_ns >= moment_ns {
            return;
        }
        thread::sleep(Duration::from_nanos((moment_ns - now_ns).min(WATCH_NS)));
    };
    sleep(Activity::WarmUp, start_ns, from_ns, from_ns);
    let first = snapshot(shared);
    let mut edges = vec![edge_of(&first)];
    let count = timeline::intervals(to_ns - from_ns) as u64;
    for number in 1..count {
        // Counted from the end, as the latencies are.
        sleep(Activity::Measure, from_ns, to_ns - (to_ns - from_ns) / count * (count - number), to_ns);
        edges.push(edge(shared));
    }
    sleep(Activity::Measure, from_ns, to_ns, to_ns);
    let last = snapshot(shared);
    edges.push(edge_of(&last));
    ([first, last], edges)
}

/// Connecting and holding still, when a run does nothing else.
fn connection_phases(plan: &Plan, [begun, connected]: [Snapshot; 2], window: &[Snapshot; 2]) -> Vec<Phase> {
    if !plan.topics.is_empty() {
        return Vec::new();
    }
    let phase = |name, from, to| Phase { name, unit: "connections", count: plan.clients() as u64, from, to };
    let [from, to] = window.clone();
    vec![phase("connect", begun, connected), phase("idle", from, to)]
}

fn snapshot(shared: &Shared<'_>) -> Snapshot {
    Snapshot {
        at_ns: shared.now_ns(),
        delivered: shared.delivered(),
        published: shared.published(),
        idle_ns: shared.meters.iter().map(|meter| meter.idle_ns.load(Relaxed)).collect(),
        // A broker that has died in the meantime shows as lost connections.
        broker: shared.plan.flags.broker_pid.and_then(|pid| broker::sample(pid).ok()),
    }
}

fn edge(shared: &Shared<'_>) -> Edge {
    Edge {
        at_ns: shared.now_ns(),
        delivered: shared.delivered(),
        published: shared.published(),
        broker: shared.plan.flags.broker_pid.and_then(|pid| broker::glance(pid).ok()),
    }
}

fn edge_of(snapshot: &Snapshot) -> Edge {
    let Snapshot { at_ns, delivered, published, .. } = *snapshot;
    Edge { at_ns, delivered, published, broker: snapshot.broker.map(|broker| (broker.cpu_ns, broker.rss_bytes)) }
}
