//! The whole broker's pure core under a seed: shards, a slow mesh, clients that come and go, and an observer who checks
//! what `docs/design.md` promises.
//!
//! `RINGMQ_SIM_SEEDS` and `RINGMQ_SIM_FIRST_SEED` choose the seeds; a failure prints its seed, and that seed alone repeats it.
//! `RINGMQ_SIM_TRACE` prints every packet, `RINGMQ_SIM_SWAP_BATCHES` breaks the mesh on purpose (`scripts/mutate`).
#![allow(clippy::disallowed_methods)]

mod client;
mod delivery;
mod finale;
mod habits;
mod lifecycle;
mod line;
mod mesh;
mod node;
mod oracle;
mod plan;
mod random;
mod received;
mod scenarios;
mod verdict;
mod world;

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

/// Cases X01, X02, X03, S05, S06, S07, Q13 and section 4 of the design, by seed.
#[test]
fn every_promise_holds_under_every_seed() {
    let first = number_from_environment("RINGMQ_SIM_FIRST_SEED", 0);
    let count = number_from_environment("RINGMQ_SIM_SEEDS", SEEDS);
    let (mut steps, mut deliveries) = (0, 0);
    let mut checks = oracle::Checks::default();
    for seed in first..first + count {
        let _teller = SeedTeller(seed);
        let mut world = World::new(Plan::of(seed));
        world.run();
        finale::end(&mut world);
        steps += world.steps;
        deliveries += world.oracle.deliveries;
        checks.add(&world.oracle.checks);
    }
    println!("{count} seeds from {first}: {steps} turns, {deliveries} deliveries, {checks:?}");
    if count >= SEEDS {
        checks.assert_all_fired();
    }
}
