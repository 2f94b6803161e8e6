//! The whole broker's pure core under a seed: shards, a slow mesh, clients that come and go, and an observer who checks
//! what `docs/design.md` promises.
//!
//! `RINGMQ_SIM_SEEDS` and `RINGMQ_SIM_FIRST_SEED` choose the seeds; a failure prints its seed and the last packets, and that
//! seed alone repeats it. `RINGMQ_SIM_TRACE` prints every packet, `RINGMQ_SIM_SWAP_BATCHES` breaks the mesh on purpose
//! (`scripts/mutate`), `RINGMQ_SIM_THREADS` runs so many seeds at a time, `RINGMQ_SIM_FULL` runs the rows of the
//! case list at their full size.
#![allow(clippy::disallowed_methods)]

#[allow(dead_code, reason = "only some of the conversation's words are used here")]
#[path = "../conformance/broker.rs"]
mod broker;
#[allow(dead_code)]
#[path = "../conformance/packets.rs"]
mod packets;
#[allow(dead_code)]
#[path = "../conformance/peer.rs"]
mod peer;
#[allow(dead_code)]
#[path = "../conformance/words.rs"]
mod words;

#[path = "../disk/mod.rs"]
mod disk;

mod client;
mod crash;
mod delivery;
mod finale;
mod habits;
mod ledger;
mod lifecycle;
mod line;
mod mesh;
mod node;
mod oracle;
mod plan;
mod random;
mod received;
mod rows_delivery;
mod rows_mesh;
mod rows_sessions;
mod scenarios;
mod store;
mod trace;
mod verdict;
mod weather;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use plan::Plan;
use world::World;

/// Seeds that `cargo test` runs.
const SEEDS: u64 = 1000;

/// Prints the seed when a check fails, or the core panics.
struct SeedTeller(u64);

impl Drop for SeedTeller {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {0}: repeat with RINGMQ_SIM_FIRST_SEED={0} RINGMQ_SIM_SEEDS=1", self.0);
        }
    }
}

fn number_from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// The size that a row of the case list names, if `RINGMQ_SIM_FULL` is set (`scripts/soak`), else one that takes a second.
fn full_or(full: usize, quick: usize) -> usize {
    if std::env::var_os("RINGMQ_SIM_FULL").is_some() { full } else { quick }
}

/// A seed that fails can be looked into: it does the same again, packet by packet.
#[test]
fn the_same_seed_gives_the_same_trace() {
    let digest = |seed| {
        let mut world = World::new(Plan::of(seed));
        world.run();
        finale::end(&mut world);
        world.oracle.trace.digest
    };
    let first: Vec<u64> = (0..20).map(digest).collect();
    let second: Vec<u64> = (0..20).map(digest).collect();
    assert_eq!(first, second);
    assert_ne!(first[0], first[1], "seeds differ");
}

/// What the runs of some seeds had to say.
#[derive(Default)]
struct Sum {
    steps: u64,
    deliveries: u64,
    checks: oracle::Checks,
}

/// Runs a seed to its end.
fn run(seed: u64, sum: &mut Sum) {
    let _teller = SeedTeller(seed);
    let mut world = World::new(Plan::of(seed));
    world.run();
    finale::end(&mut world);
    sum.steps += world.steps;
    sum.deliveries += world.oracle.deliveries;
    sum.checks.add(&world.oracle.checks);
}

/// Cases X01, X02, X03, S05, S06, S07, Q13 and section 4 of the design, by seed.
#[test]
fn every_promise_holds_under_every_seed() {
    let first = number_from_environment("RINGMQ_SIM_FIRST_SEED", 0);
    let count = number_from_environment("RINGMQ_SIM_SEEDS", SEEDS);
    let threads = number_from_environment("RINGMQ_SIM_THREADS", 1);
    let next = AtomicU64::new(first);
    let work = || {
        let mut sum = Sum::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return sum;
            }
            run(seed, &mut sum);
        }
    };
    let mut all = Sum::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let others = workers.into_iter().map(|worker| worker.join().expect("every seed passes"));
        for sum in std::iter::once(own).chain(others) {
            all.steps += sum.steps;
            all.deliveries += sum.deliveries;
            all.checks.add(&sum.checks);
        }
    });
    println!("{count} seeds from {first}: {} turns, {} deliveries, {:?}", all.steps, all.deliveries, all.checks);
    if count >= SEEDS {
        all.checks.assert_all_fired();
    }
}

/// The control: of a disk that only says that it has synced, some seed notices what is lost.
#[test]
fn a_disk_that_lies_about_its_syncs_is_found_out() {
    let loses = |seed: u64| {
        let run = || {
            let mut world = World::new(Plan::of(seed));
            world.store.disk.is_honest = false;
            world.run();
            finale::end(&mut world);
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
    };
    // Those in which the power fails.
    assert!((0..100).map(|number| 4 * number + 2).any(loses), "nobody misses what was lost");
}
