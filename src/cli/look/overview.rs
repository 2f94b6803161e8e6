//! Overview: `ringmq stats` and `ringmq shards`.
//!
//! Duty: how the broker is, in all and by shard, as tables. Must not: judge: what is wrong is what the broker says is wrong. Neighbours:
//! `top` shows the same tables.

use std::thread::sleep;
use std::time::Duration;

use clap::Args;

use super::broker::{Broker, print};
use super::paint::{Mood, Paint};
use super::table::{Cell, Table};
use super::units::{bytes, count, micros, plural, rate, secs, share};
use crate::admin::answer::{Items, Overview, PathTimes, Percentiles, Shard, StoreLine};
use crate::runtime::Failure;

/// A shard that is busier has no room for more.
const BUSY_SHARE: f64 = 0.9;

/// What `ringmq stats` is told.
#[derive(Clone, Debug, Args)]
pub(super) struct Stats {
    /// Print anew every so many seconds, until Ctrl-C
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..))]
    watch: Option<u64>,
}

pub(super) fn stats(broker: &Broker, stats: &Stats) -> Result<(), Failure> {
    let paint = Paint::of_output();
    loop {
        let got = broker.get::<Overview>("overview")?;
        let text = if broker.prints_json { got.text } else { overview_text(&got.it, paint) };
        let goes_on = print(&text)?;
        let Some(pause) = stats.watch.filter(|_| goes_on) else { return Ok(()) };
        sleep(Duration::from_secs(pause));
        if !broker.prints_json {
            print("\n")?;
        }
    }
}

pub(super) fn shards(broker: &Broker) -> Result<(), Failure> {
    let got = broker.get::<Items<Shard>>("shards")?;
    let text = if broker.prints_json { got.text } else { shards_table(&got.it.items).text(Paint::of_output()) };
    print(&text).map(drop)
}

fn overview_text(overview: &Overview, paint: Paint) -> String {
    let Overview { rates, totals, .. } = overview;
    let listeners: Vec<_> =
        overview.listeners.iter().map(|line| format!("{} ({})", line.address, line.protocol)).collect();
    let in_all = |messages: &[u64; 3]| count(messages.iter().sum());
    let mut table = Table::new(&["", ""]);
    let mut row = |name: &str, text: String| table.push([Cell::of(name).mood(Mood::Head), Cell::foreign(&text)]);
    row("broker", headline(overview));
    row("listeners", listeners.join(", "));
    row("durability", overview.durability.trim_start_matches("durability: ").to_owned());
    row("clients", clients_text(overview));
    let shared = overview.shared_subscriptions;
    row("subscriptions", format!("{}, {} of them shared", count(overview.subscriptions), count(shared)));
    row("retained", plural(overview.retained.messages, "message"));
    row(
        "received",
        format!("{}; {} since the start", by_qos(&rates.messages_received_per_sec), in_all(&totals.messages_received)),
    );
    row("sent", format!("{}; {} since the start", by_qos(&rates.messages_sent_per_sec), in_all(&totals.messages_sent)));
    row(
        "bytes",
        format!("{}/s in, {}/s out", bytes_rate(rates.bytes_received_per_sec), bytes_rate(rates.bytes_sent_per_sec)),
    );
    row("waiting", waiting_text(overview));
    row("latency", latency_text(&overview.latency_us));
    let lost = format!("{} dropped, {} denied since the start", count(totals.drops), count(totals.denials));
    row("lost", format!("{lost}; {}/s and {}/s now", rate(rates.drops_per_sec), rate(rates.denials_per_sec)));
    row("store", overview.store.as_ref().map_or_else(|| "none".into(), store_text));
    row("changes", if overview.allow_changes { "allowed" } else { "not allowed (admin_allow_changes)" }.into());
    table.text(paint) + &problems_text(overview, paint)
}

/// Who it is, in one line.
pub(super) fn headline(overview: &Overview) -> String {
    let Overview { version, phase, uptime_secs, shards, .. } = overview;
    format!("ringmq {version}, {phase}, up {}, {}", secs(*uptime_secs), plural(u64::from(*shards), "shard"))
}

pub(super) fn clients_text(overview: &Overview) -> String {
    let clients = &overview.clients;
    let parts =
        [(clients.connected, "connected"), (clients.sessions, "sessions"), (clients.connections, "connections")];
    parts.map(|(number, what)| format!("{} {what}", count(number))).join(", ")
}

pub(super) fn waiting_text(overview: &Overview) -> String {
    let (held, most) = (bytes(overview.held_bytes), bytes(overview.held_bytes_max));
    let (queued, inflight) = (count(overview.queued_messages), count(overview.inflight_messages));
    format!("{queued} queued, {inflight} not acknowledged; {held} held of {most}")
}

pub(super) fn latency_text(times: &PathTimes) -> String {
    format!("local {}; cross-shard {}", percentiles_text(&times.local), percentiles_text(&times.cross_shard))
}

fn percentiles_text(times: &Percentiles) -> String {
    let parts = [("p50", times.p50), ("p99", times.p99), ("max", times.max)];
    let known: Vec<_> = parts.iter().filter_map(|(name, time)| Some(format!("{name} {}", micros((*time)?)))).collect();
    if known.is_empty() { "nothing lately".into() } else { known.join(", ") }
}

fn store_text(store: &StoreLine) -> String {
    let times = store.commit_ms.p50.zip(store.commit_ms.p99);
    let times = times
        .map_or_else(String::new, |(p50, p99)| format!(", p50 {}, p99 {}", micros(p50 * 1000.0), micros(p99 * 1000.0)));
    let StoreLine { state, commits, waiting_records, bytes: written, .. } = store;
    format!(
        "{state}; {} commits{times}; {} waiting; {} written",
        count(*commits),
        count(*waiting_records),
        bytes(*written)
    )
}

/// Messages in a second, in all and by QoS.
fn by_qos(rates: &[f64; 3]) -> String {
    let [q0, q1, q2] = rates.map(rate);
    format!("{}/s (q0 {q0}, q1 {q1}, q2 {q2})", rate(rates.iter().sum()))
}

pub(super) fn bytes_rate(per_sec: f64) -> String {
    bytes(per_sec.round() as u64)
}

/// What is wrong, two lines for each.
pub(super) fn problems_text(overview: &Overview, paint: Paint) -> String {
    let one = |problem: &crate::admin::answer::ProblemLine| {
        let mood = if problem.severity == "critical" { Mood::Bad } else { Mood::Warning };
        let head = Cell::foreign(&format!("{}: {}", problem.severity, problem.text)).mood(mood);
        format!("{}  {}\n", head.line(paint), Cell::foreign(&problem.remedy).line(paint))
    };
    overview.problems.iter().map(one).collect()
}

/// All shards, a row each.
pub(super) fn shards_table(shards: &[Shard]) -> Table {
    let mut table = Table::new(&[
        "SHARD",
        ">CPU",
        ">BUSY",
        ">CLIENTS",
        ">IN/S",
        ">OUT/S",
        ">QUEUED",
        ">MESH IN/S",
        ">MESH OUT/S",
        ">WAITING",
        ">P99",
        ">HELD",
        ">SESSIONS",
    ]);
    for shard in shards {
        let mesh = &shard.mesh;
        let busy = Cell::of(share(shard.busy_share));
        let waiting = Cell::of(count(mesh.waiting_batches));
        let p99 = shard.latency_us.local.p99.into_iter().chain(shard.latency_us.cross_shard.p99).reduce(f64::max);
        table.push([
            Cell::of(shard.shard.to_string()),
            Cell::of(shard.cpu.to_string()),
            if shard.busy_share > BUSY_SHARE { busy.mood(Mood::Warning) } else { busy },
            Cell::of(count(shard.connected)),
            Cell::of(rate(shard.messages_received_per_sec)),
            Cell::of(rate(shard.messages_sent_per_sec)),
            Cell::of(count(shard.queued_messages)),
            Cell::of(rate(mesh.batches_in_per_sec)),
            Cell::of(rate(mesh.batches_out_per_sec)),
            if mesh.waiting_batches > 0 { waiting.mood(Mood::Warning) } else { waiting },
            p99.map_or_else(|| Cell::maybe(None), |time| Cell::of(micros(time))),
            Cell::of(bytes(shard.held_bytes)),
            Cell::of(count(shard.sessions)),
        ]);
    }
    table
}
