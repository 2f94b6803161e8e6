//! Overview: how the broker is, in all and by shard.
//!
//! Duty: gauges as they are now, rates and times of the last seconds. Must not: judge (`problems` does). Neighbours: `sampler` keeps the
//! looks.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use hdrhistogram::Histogram;

use super::answer::{
    ClientCounts, CommitTimes, Items, ListenerLine, MeshRates, Overview, PathTimes, Percentiles, Rates, RetainedCount,
    Shard, StoreLine, Totals,
};
use super::api::Room;
use super::asked::{Nothing, Query};
use super::problem::{Problem, json_of};
use super::problems;
use super::sampler::Span;
use crate::runtime::store::State as StoreState;
use crate::runtime::{Durations, Latency, Phase, ShardFigures, wall_millis};

/// A look at all shards, and at the store.
#[derive(Debug)]
pub(super) struct Glance {
    pub(super) shards: Vec<ShardFigures>,
    pub(super) commits: Option<Histogram<u64>>,
}

/// How the broker is.
pub(super) async fn overview(State(room): State<Room>, _: Query<Nothing>) -> Result<Response, Problem> {
    let glances = room.recent().await?;
    let now = room.figures().await?;
    let (window, shown) = (&room.window, room.window.shown());
    let sum = |of: fn(&ShardFigures) -> u64| now.iter().map(of).sum::<u64>();
    let phase = window.phase();
    let started_unix_ms = window.started_unix_millis();
    let shards = now.len() as u64;
    let listeners = shown.listeners.iter();
    let listeners =
        listeners.map(|place| ListenerLine { address: place.address.clone(), protocol: place.protocol.into() });
    let overview = Overview {
        version: env!("CARGO_PKG_VERSION").into(),
        started_unix_ms,
        uptime_secs: wall_millis().saturating_sub(started_unix_ms) / 1000,
        phase: phase_name(phase).into(),
        ready: phase == Phase::Serving,
        shards: shards as u32,
        listeners: listeners.collect(),
        durability: shown.durability(),
        allow_changes: shown.config.admin.allows_changes,
        clients: ClientCounts {
            connected: sum(|shard| shard.figures.gauges.connected as u64),
            sessions: sum(|shard| shard.figures.gauges.sessions as u64),
            connections: sum(|shard| shard.figures.gauges.connections as u64),
        },
        subscriptions: sum(|shard| shard.figures.gauges.subscriptions as u64),
        shared_subscriptions: sum(|shard| shard.figures.gauges.shared_subscriptions as u64),
        retained: RetainedCount { messages: retained_of(&now) },
        queued_messages: sum(|shard| shard.figures.gauges.queued_messages as u64),
        inflight_messages: sum(|shard| shard.figures.gauges.in_flight as u64),
        held_bytes: sum(|shard| shard.figures.gauges.held_bytes as u64),
        held_bytes_max: (shown.limits.held_bytes_per_shard_max as u64).saturating_mul(shards),
        rates: rates_of(&glances),
        totals: totals_of(&now),
        latency_us: times_of(glances.before().shards.iter().zip(&glances.after().shards)),
        store: store_of(&room, &glances),
        problems: problems::of(&room, &glances, &now),
    };
    Ok(json_of(StatusCode::OK, &overview))
}

/// How each shard is.
pub(super) async fn shards(State(room): State<Room>, _: Query<Nothing>) -> Result<Response, Problem> {
    let glances = room.recent().await?;
    let now = room.figures().await?;
    let cpus = room.window.shown().config.cpus.clone();
    let pairs = glances.before().shards.iter().zip(&glances.after().shards);
    let items = now.iter().zip(pairs).enumerate().map(|(index, (now, (before, after)))| {
        let (gauges, rate) =
            (now.figures.gauges, |of: fn(&ShardFigures) -> u64| glances.per_sec(of(before), of(after)));
        Shard {
            shard: index as u32,
            cpu: cpus.get(index).map_or(0, |cpu| *cpu as u32),
            busy_share: busy_share(&glances, before, after),
            turns_per_sec: rate(|shard| shard.figures.turns),
            connections: gauges.connections as u64,
            connected: gauges.connected as u64,
            sessions: gauges.sessions as u64,
            subscriptions: gauges.subscriptions as u64,
            queued_messages: gauges.queued_messages as u64,
            inflight_messages: gauges.in_flight as u64,
            held_bytes: gauges.held_bytes as u64,
            messages_received_per_sec: rate(|shard| shard.figures.counters.publishes_received.sum()),
            messages_sent_per_sec: rate(|shard| shard.figures.counters.delivered.sum()),
            mesh: MeshRates {
                batches_in_per_sec: rate(|shard| shard.figures.batches_received),
                batches_out_per_sec: rate(|shard| shard.figures.batches_sent),
                messages_out_per_sec: rate(|shard| shard.figures.counters.mesh_publishes),
                waiting_batches: now.figures.batches_waiting as u64,
            },
            latency_us: times_of([(before, after)].into_iter()),
        }
    });
    Ok(json_of(StatusCode::OK, &Items { items: items.collect() }))
}

/// Part of the time that a shard's thread was busy.
pub(super) fn busy_share(glances: &Span<Glance>, before: &ShardFigures, after: &ShardFigures) -> f64 {
    let share = glances.per_sec(before.cpu_nanos, after.cpu_nanos) / 1e9;
    (share.clamp(0.0, 1.0) * 1000.0).round() / 1000.0
}

/// Every shard has all of them.
pub(super) fn retained_of(now: &[ShardFigures]) -> u64 {
    now.iter().map(|shard| shard.figures.gauges.retained_messages as u64).max().unwrap_or(0)
}

pub(super) fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Serving => "serving",
        Phase::Stopping => "stopping",
    }
}

pub(super) fn state_name(state: StoreState) -> &'static str {
    match state {
        StoreState::Ok => "ready",
        StoreState::Full => "full",
        StoreState::Broken => "broken",
    }
}

pub(super) fn drops_of(shard: &ShardFigures) -> u64 {
    shard.figures.counters.dropped.iter().sum()
}

pub(super) fn denials_of(shard: &ShardFigures) -> u64 {
    shard.figures.counters.publishes_denied + shard.figures.counters.subscriptions_denied
}

fn totals_of(figures: &[ShardFigures]) -> Totals {
    let mut totals = Totals::default();
    for shard in figures {
        let counters = &shard.figures.counters;
        let (received, sent) = (counters.publishes_received.each(), counters.delivered.each());
        totals.messages_received.iter_mut().zip(received).for_each(|(sum, more)| *sum += more);
        totals.messages_sent.iter_mut().zip(sent).for_each(|(sum, more)| *sum += more);
        totals.bytes_received += shard.figures.bytes_received;
        totals.bytes_sent += shard.figures.bytes_sent;
        totals.connects += counters.connects;
        totals.drops += drops_of(shard);
        totals.denials += denials_of(shard);
    }
    totals
}

fn rates_of(glances: &Span<Glance>) -> Rates {
    let (before, after) = (totals_of(&glances.before().shards), totals_of(&glances.after().shards));
    let each = |before: [u64; 3], after: [u64; 3]| std::array::from_fn(|qos| glances.per_sec(before[qos], after[qos]));
    Rates {
        messages_received_per_sec: each(before.messages_received, after.messages_received),
        messages_sent_per_sec: each(before.messages_sent, after.messages_sent),
        bytes_received_per_sec: glances.per_sec(before.bytes_received, after.bytes_received),
        bytes_sent_per_sec: glances.per_sec(before.bytes_sent, after.bytes_sent),
        connects_per_sec: glances.per_sec(before.connects, after.connects),
        drops_per_sec: glances.per_sec(before.drops, after.drops),
        denials_per_sec: glances.per_sec(before.denials, after.denials),
    }
}

/// How long messages of any QoS took between two looks at the same shards.
fn times_of<'a>(pairs: impl Iterator<Item = (&'a ShardFigures, &'a ShardFigures)> + Clone) -> PathTimes {
    let of_path = |path: fn(&Latency) -> &[Durations; 3]| {
        let mut sum: Option<Histogram<u64>> = None;
        for (before, after) in pairs.clone() {
            for (before, after) in path(&before.latency).iter().zip(path(&after.latency)) {
                let grown = after.since(before).histogram();
                match &mut sum {
                    // All have the same bounds.
                    Some(sum) => drop(sum.add(&grown)),
                    None => sum = Some(grown),
                }
            }
        }
        percentiles_of(sum.as_ref())
    };
    PathTimes { local: of_path(|latency| &latency.local), cross_shard: of_path(|latency| &latency.crossed) }
}

/// What was added to a histogram.
fn grown(before: &Histogram<u64>, after: &Histogram<u64>) -> Histogram<u64> {
    let mut grown = after.clone();
    // What was counted stays so.
    let _ = grown.subtract(before);
    grown
}

fn percentiles_of(nanos: Option<&Histogram<u64>>) -> Percentiles {
    let Some(nanos) = nanos.filter(|nanos| !nanos.is_empty()) else { return Percentiles::default() };
    let micros = |nanos: u64| Some((nanos as f64 / 100.0).round() / 10.0);
    let at = |quantile| micros(nanos.value_at_quantile(quantile));
    Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: micros(nanos.max()), count: nanos.len() }
}

fn store_of(room: &Room, glances: &Span<Glance>) -> Option<StoreLine> {
    use std::sync::atomic::Ordering::Relaxed;
    let store = room.window.store()?;
    let tally = store.tally();
    let times = glances.before().commits.as_ref().zip(glances.after().commits.as_ref());
    let times = times.map(|(before, after)| grown(before, after)).filter(|times| !times.is_empty());
    let at = |quantile| times.as_ref().map(|times| times.value_at_quantile(quantile) as f64 / 1000.0);
    Some(StoreLine {
        state: state_name(store.state()).into(),
        commits: tally.commits.load(Relaxed),
        commit_ms: CommitTimes { p50: at(0.5), p99: at(0.99) },
        waiting_records: store.waiting() as u64,
        bytes: tally.bytes.load(Relaxed),
    })
}
