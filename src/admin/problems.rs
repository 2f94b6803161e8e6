//! Problems: what is not as it should be, and what to do.
//!
//! Duty: judge by what was looked at. Must not: ask anybody. Neighbours: `overview` tells them.

use super::answer::ProblemLine;
use super::api::Room;
use super::overview::{Glance, busy_share, denials_of, drops_of};
use super::sampler::Span;
use crate::runtime::store::State;
use crate::runtime::{Phase, ShardFigures};

/// Busier shards have no room for more.
const BUSY_SHARE: f64 = 0.9;
/// Denials that are more than a client with a wrong topic now and then.
const DENIALS_PER_SEC: f64 = 5.0;
/// Part of a bound, in percent, that is nearly all of it.
const NEARLY_PERCENT: u64 = 80;

/// All of them, the worst first.
pub(super) fn of(room: &Room, glances: &Span<Glance>, now: &[ShardFigures]) -> Vec<ProblemLine> {
    let mut problems = Vec::new();
    let mut tell = |severity: &str, text: String, remedy: &str| {
        problems.push(ProblemLine { severity: severity.into(), text, remedy: remedy.into() });
    };
    match room.window.store().map(|store| store.state()) {
        Some(State::Broken) => tell(
            "critical",
            "the store is broken: nothing is acknowledged as stored any more".into(),
            "look for its line in the log, check the disk, then start the broker again",
        ),
        Some(State::Full) => tell(
            "critical",
            "the store is full: messages that have to be stored are refused".into(),
            "free some room on its file system, or set a smaller store_free_bytes_min",
        ),
        Some(State::Ok) | None => {}
    }
    if room.window.phase() != Phase::Serving {
        tell("critical", "the broker does not serve".into(), "it is starting or stopping: look at its log");
    }
    of_shards(room, glances, now, &mut tell);
    let pairs = || glances.before().shards.iter().zip(&glances.after().shards);
    let grown =
        |of: fn(&ShardFigures) -> u64| pairs().map(|(before, after)| of(after).saturating_sub(of(before))).sum::<u64>();
    let secs = glances.secs();
    let stuck = grown(|shard| shard.figures.counters.sessions_stuck);
    if stuck > 0 {
        tell(
            "warning",
            format!(
                "{stuck} clients have become stuck in the last {secs:.1} seconds: publishers waited for them in vain"
            ),
            "`ringmq clients --order slowest` (order=slowest) says which and why",
        );
    }
    let drops = grown(drops_of);
    if drops > 0 {
        tell(
            "warning",
            format!("{drops} messages were dropped in the last {secs:.1} seconds"),
            "/api/v1/drops says why, and what bounds it",
        );
    }
    let denials = grown(denials_of);
    if denials as f64 > DENIALS_PER_SEC * secs {
        tell(
            "warning",
            format!("{denials} requests were denied for want of a right in the last {secs:.1} seconds"),
            "/api/v1/denials names client, topic and rule; `ringmq why` explains the rule",
        );
    }
    let panics = now.iter().map(|shard| shard.figures.counters.panics).sum::<u64>();
    if panics > 0 {
        tell(
            "critical",
            format!("{panics} internal errors since the start"),
            "report them with their lines in the log",
        );
    }
    if let Some(why) = room.window.failed_reload() {
        tell("warning", why, "mend what it says, then reload again");
    }
    problems.sort_by_key(|problem| problem.severity != "critical");
    problems
}

fn of_shards(room: &Room, glances: &Span<Glance>, now: &[ShardFigures], tell: &mut impl FnMut(&str, String, &str)) {
    let limits = &room.window.shown().limits;
    let pairs = glances.before().shards.iter().zip(&glances.after().shards);
    for (shard, (now, (before, after))) in now.iter().zip(pairs).enumerate() {
        let busy = busy_share(glances, before, after);
        if busy > BUSY_SHARE {
            tell(
                "warning",
                format!("shard {shard} is busy for {:.0} % of the time", busy * 100.0),
                "see who sends the most (order=talkers) and which topics are hottest; give the broker more cpus (--cpus)",
            );
        }
        let gauges = &now.figures.gauges;
        let bounds = [
            (
                "bytes held for clients",
                gauges.held_bytes as u64,
                limits.held_bytes_per_shard_max as u64,
                "held_bytes_per_shard_max",
            ),
            (
                "connections",
                gauges.connections as u64,
                limits.connections_per_shard_max as u64,
                "connections_per_shard_max",
            ),
            ("sessions", gauges.sessions as u64, limits.sessions_per_shard_max as u64, "sessions_per_shard_max"),
        ];
        for (what, used, most, name) in bounds {
            if used > most / 100 * NEARLY_PERCENT + most % 100 * NEARLY_PERCENT / 100 {
                let text = format!("shard {shard} has {used} {what} of {most} ({name})");
                tell("warning", text, "raise the limit if there is memory for it, or see which clients hold so much");
            }
        }
    }
}
