//! kill -9 in the middle of load, again and again, against the real binary: what was acknowledged is there afterwards.
//!
//! Duty: the whole promise of the store, end to end: QoS 1 and 2, sessions that are away and that are not, fan-out, what is retained,
//! subscriptions; another number of shards in each life. Must not: simulate; `tests/sim` does. Neighbours: `campaign` runs it.
//!
//! A kill leaves what the system has of the process's writes, so this shows that nothing is answered before it is written; that it is
//! synced, too, `order` shows, and `tests/sim` and the store's own tests what a loss of power leaves.
//!
//! `RINGMQ_KILLS` (`scripts/soak kills`) gives it its full size, in kills; `RINGMQ_KILLS_MESSAGES` how many acknowledged messages
//! there have to be, `RINGMQ_KILLS_SEED` another seed, `RINGMQ_KILLS_FOLDER` another place for stores, `RINGMQ` another binary.
#![cfg(feature = "runtime")]
#![allow(clippy::disallowed_methods, reason = "tests of a process need threads and clocks")]

mod campaign;
mod churn;
mod load;
mod order;
mod publisher;
mod subscriber;
mod verdict;
mod wire;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use campaign::{Outcome, Terms};

/// One campaign at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

fn path(name: &str, usual: &str) -> PathBuf {
    std::env::var_os(name).map_or_else(|| PathBuf::from(usual), PathBuf::from)
}

/// The broker that is killed.
fn binary() -> PathBuf {
    path("RINGMQ", env!("CARGO_BIN_EXE_ringmq"))
}

fn campaign(name: &str, kills: u64, messages: u64, faults: Option<&'static str>) -> Outcome {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = path("RINGMQ_KILLS_FOLDER", env!("CARGO_TARGET_TMPDIR"));
    let terms = Terms {
        binary: binary(),
        folder: folder.join(format!("kills-{name}-{}", std::process::id())),
        kills,
        messages,
        seed: number("RINGMQ_KILLS_SEED").unwrap_or(1),
        // Of the control it is known that some do not come.
        patience: Duration::from_secs(if faults.is_some() { 2 } else { 10 }),
        faults,
    };
    let outcome = campaign::run(&terms);
    println!("{}", outcome.told());
    outcome.verdict.complaints.iter().for_each(|complaint| println!("  {complaint}"));
    if faults.is_some() {
        // Nobody need look for what it lost.
        let _ = std::fs::remove_dir_all(&terms.folder);
    } else if !outcome.verdict.is_good() {
        println!("  store and log of the broker: {}", terms.folder.display());
    }
    outcome
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let kills = number("RINGMQ_KILLS");
    let outcome = campaign("good", kills.unwrap_or(6), number("RINGMQ_KILLS_MESSAGES").unwrap_or(0), None);
    assert!(outcome.verdict.is_good() && outcome.acknowledged > 0 && outcome.verdict.delivered > 0);
}

/// The control: a store that answers before it has written loses some, so the test above can fail.
#[test]
fn a_store_that_answers_before_it_has_written_loses_what_was_acknowledged() {
    let outcome = campaign("control", 6, 0, Some("nosync"));
    assert!(outcome.verdict.lost > 0 || outcome.verdict.retained_lost > 0);
}
