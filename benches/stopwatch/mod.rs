//! Wall-clock time per operation.
//!
//! Duty: run cases for a fraction of a second each and print the least and the median of many rounds. Must not: judge,
//! or compare with earlier runs: the clock of a shared machine cannot, counted instructions can.
//!
//! A harness from crates.io was weighed: it would bring statistics and keep earlier runs, for as many as 50 crates and a
//! minute of compile time in front of every first build of a bench, that of the gate included.

use std::time::{Duration, Instant};

use crate::cases::Case;

const WARM_UP: Duration = Duration::from_millis(100);
const ROUND: Duration = Duration::from_millis(15);
const ROUNDS: usize = 25;

/// Measures each case whose name has one of the words of the command line in it; all without words.
pub(crate) fn measure(cases: Vec<Case>) {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    println!("{:<48} {:>12} {:>12}", "nanoseconds per operation", "least", "median");
    for case in cases {
        if !words.is_empty() && !words.iter().any(|word| case.name.contains(word.as_str())) {
            continue;
        }
        let (name, operations) = (case.name.clone(), f64::from(case.operations));
        let rounds = rounds_ns(case.prepare().as_mut());
        println!("{name:<48} {:>12.1} {:>12.1}", rounds[0] / operations, rounds[ROUNDS / 2] / operations);
    }
}

/// Nanoseconds per call in each round, least first.
pub(crate) fn rounds_ns(work: &mut dyn FnMut()) -> Vec<f64> {
    let calls = calls_per_round(work);
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..calls).for_each(|_| work());
            start.elapsed().as_nanos() as f64 / f64::from(calls)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds
}

/// Warms up, and finds how many calls fill a round.
fn calls_per_round(work: &mut dyn FnMut()) -> u32 {
    let start = Instant::now();
    let mut calls = 0_u32;
    while calls == 0 || start.elapsed() < WARM_UP {
        work();
        calls += 1;
    }
    let share = ROUND.as_secs_f64() / start.elapsed().as_secs_f64();
    ((f64::from(calls) * share) as u32).max(1)
}
