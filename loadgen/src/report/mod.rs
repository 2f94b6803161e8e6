//! What a run showed, as numbers, which are the JSON as well; and the verdict. `table`, `html` and `chart` show it.
//! Must not measure. Neighbours: `engine` fills it, `cli` prints it.

mod chart;
mod html;
mod table;

use serde::Serialize;

use crate::engine::{Agreed, Interval, Outcome, Phase};
use crate::host::{self, Host};
use crate::integrity::Tally;
use crate::latency::{CurvePoint, LatencySummary};
use crate::plan::Plan;
use crate::scenario::{Scenario, WindowPer};

/// Busy share from which a thread of the generator, or a core of the broker, has no time left.
const SATURATED_SHARE: f64 = 0.95;

/// The parameters of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    /// Scenario.
    pub scenario: String,
    /// Broker, as named on the command line.
    pub broker: String,
    /// Protocol level, 4 or 5.
    pub protocol: u8,
    /// What MQTT was carried by: `TCP`, `TLS`, `WebSocket` or `WebSocket over TLS`.
    pub carrier: &'static str,
    /// What was agreed on for TLS; none without it.
    pub tls: Option<Agreed>,
    /// Publishers, subscribers, devices, idle connections.
    pub publishers: u32,
    /// See `publishers`.
    pub subscribers: u32,
    /// See `publishers`.
    pub devices: u32,
    /// See `publishers`.
    pub connections: u32,
    /// QoS of publishing and subscribing.
    pub qos: u8,
    /// Payload, bytes.
    pub payload_bytes: usize,
    /// Messages outstanding; without meaning when `rate` is above 0.
    pub window: u32,
    /// What `window` counts.
    pub window_per: WindowPer,
    /// Messages per second, 0 for as fast as the window allows.
    pub rate: u64,
    /// Worker threads.
    pub threads: usize,
    /// CPU of each thread; empty when the kernel chose.
    pub cpus: Vec<usize>,
    /// The threads blocked while nothing was to do, instead of polling.
    pub idle: bool,
    /// Time without an answer after which the run would have given up, seconds.
    pub patience_secs: f64,
}

impl Setting {
    /// The protocol by its usual name, and what carries it if that is not a bare socket.
    fn protocol_name(&self) -> String {
        let mut name = if self.protocol == 4 { "MQTT 3.1.1".to_owned() } else { format!("MQTT {}.0", self.protocol) };
        if self.carrier != "TCP" {
            name += &format!(" over {}", self.carrier);
        }
        if let Some(Agreed { version, cipher }) = &self.tls {
            name += &format!(" {version} ({cipher})");
        }
        name
    }
}

/// Where, when and by what the run was made.
#[derive(Clone, Debug, Serialize)]
pub struct Conditions {
    /// When it ended, UTC.
    pub ended_utc: String,
    /// Version of this program.
    pub generator_version: &'static str,
    /// The command line; empty when there was none.
    pub command_line: String,
    /// The machine the generator ran on.
    pub host: Host,
}

/// One step of the measured window.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct IntervalReport {
    /// Its beginning, seconds since the start of the window.
    pub from_secs: f64,
    /// Its end.
    pub to_secs: f64,
    /// Messages delivered per second.
    pub delivered_per_sec: f64,
    /// Messages published per second.
    pub published_per_sec: f64,
    /// Deliveries measured: messages due in the window that arrived in this interval.
    pub latency_count: u64,
    /// Their median latency, microseconds, two significant digits; none when nothing was measured.
    pub latency_p50_us: Option<f64>,
    /// See `latency_p50_us`.
    pub latency_p99_us: Option<f64>,
    /// See `latency_p50_us`.
    pub latency_max_us: Option<f64>,
    /// CPU time of the broker per second; 1 is one core.
    pub broker_cpu_cores: Option<f64>,
    /// Resident set of the broker at the end, bytes.
    pub broker_rss_bytes: Option<u64>,
}

/// A stage of the run that was measured by itself.
#[derive(Clone, Debug, Serialize)]
pub struct PhaseReport {
    /// What was done.
    pub name: String,
    /// What was counted.
    pub unit: String,
    /// How many.
    pub count: u64,
    /// How long it took, seconds.
    pub secs: f64,
    /// How many per second; none when it took no time.
    pub per_sec: Option<f64>,
    /// CPU time of the broker for each, microseconds.
    pub broker_cpu_us_each: Option<f64>,
    /// Growth of the broker's resident set for each, bytes; below 0 when it shrank.
    pub broker_rss_bytes_each: Option<f64>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every message arrived exactly once, in order, unaltered and acknowledged, and left when it was due.
    Pass,
    /// The same, but some messages were due and never left.
    RateMissed,
    /// The integrity check failed.
    Fail,
}

/// What the broker's process used.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BrokerReport {
    /// Its process.
    pub pid: u32,
    /// CPU time per message delivered in the window, microseconds.
    pub cpu_us_per_message: Option<f64>,
    /// CPU time per second of the window; 1 is one core.
    pub cpu_cores: f64,
    /// Resident set before the first connection, bytes.
    pub rss_before_bytes: u64,
    /// Resident set at the start of the window, bytes.
    pub rss_connected_bytes: u64,
    /// Resident set at the end of the window, bytes.
    pub rss_end_bytes: u64,
    /// Growth of the resident set from before the first connection to the start of the window, per connection, bytes;
    /// only when nothing is published, since messages leave traces too.
    pub rss_bytes_per_connection: Option<f64>,
    /// It used all the cores that its threads and its CPU affinity give it.
    pub saturated: bool,
    /// Open descriptors at the end of the window.
    pub fds: Option<usize>,
    /// Threads at the end of the window.
    pub threads: usize,
}

/// How busy the generator was.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct GeneratorReport {
    /// Share of the window in which the busiest thread had something to do.
    pub busy_share_max: f64,
    /// The generator had no time left and the broker had, so the rate is the generator's limit and not the broker's.
    /// Without `--broker-pid` the broker is taken to have had time.
    pub limited: bool,
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How it ended, in one word.
    pub verdict: Verdict,
    /// The verdict is `pass`.
    pub passed: bool,
    /// Every message arrived exactly once, in order, unaltered and acknowledged.
    pub integrity_passed: bool,
    /// Every message that was due by the rate has left; none without a rate.
    pub rate_reached: Option<bool>,
    /// The parameters.
    pub setting: Setting,
    /// The scenario with every flag applied.
    pub scenario: Scenario,
    /// Where, when and by what.
    pub conditions: Conditions,
    /// Time to open all connections and subscribe, seconds.
    pub setup_secs: f64,
    /// Length of the measured window as it was sampled, seconds.
    pub window_secs: f64,
    /// Messages published per second of the window.
    pub published_per_sec: f64,
    /// Messages delivered per second of the window.
    pub delivered_per_sec: f64,
    /// Messages sent in the whole run.
    pub sent: u64,
    /// Deliveries that had to follow.
    pub expected: u64,
    /// Deliveries that did.
    pub arrived: u64,
    /// Messages that were due by `rate` and that the broker did not take in time; their latency is not known.
    pub unsent: u64,
    /// Returns of devices to their sessions.
    pub reconnects: u64,
    /// Subscribers that did not read.
    pub stalled: u32,
    /// Messages that they never got, which is no fault.
    pub stalled_missed: u64,
    /// Those of them whose connection the broker closed, which is no fault either.
    pub stalled_closed: u64,
    /// End-to-end latency of the messages due in the window.
    pub latency: Option<LatencySummary>,
    /// The whole percentile curve of it, ascending; empty when nothing was measured.
    pub latency_curve: Vec<CurvePoint>,
    /// The window step by step.
    pub timeline: Vec<IntervalReport>,
    /// Stages that were measured by themselves; most scenarios have none.
    pub phases: Vec<PhaseReport>,
    /// Only with `--broker-pid`.
    pub broker: Option<BrokerReport>,
    /// The generator's own load.
    pub generator: GeneratorReport,
    /// What went wrong.
    pub integrity: Tally,
    /// The first few faults in words.
    pub notes: Vec<String>,
}

impl Report {
    /// The report of a run of `plan`.
    pub fn new(plan: &Plan, mut outcome: Outcome) -> Self {
        let [from, to] = &outcome.window;
        let window_secs = (to.at_ns - from.at_ns) as f64 / 1e9;
        let idle = from.idle_ns.iter().zip(&to.idle_ns).map(|(from, to)| (to - from) as f64 / 1e9 / window_secs);
        // A turn that spans the edge of the window is counted on its end, hence the bounds.
        let busy_share_max = idle.map(|idle| (1.0 - idle).clamp(0.0, 1.0)).fold(0.0, f64::max);
        let broker = broker(plan, &outcome);
        let spare = broker.is_none_or(|broker| !broker.saturated);
        let limited = plan.scenario.publishers > 0 && busy_share_max > SATURATED_SHARE && spare;
        let integrity_passed = outcome.harvest.tally.is_clean();
        let rate_reached = (plan.scenario.rate > 0).then_some(outcome.harvest.unsent == 0);
        let verdict = verdict(integrity_passed, rate_reached);
        let origin_ns = from.at_ns;
        Self {
            verdict,
            passed: verdict == Verdict::Pass,
            integrity_passed,
            rate_reached,
            setting: setting(plan, outcome.agreed.take()),
            scenario: plan.scenario.clone(),
            conditions: conditions(),
            setup_secs: outcome.setup_ns as f64 / 1e9,
            window_secs,
            published_per_sec: (to.published - from.published) as f64 / window_secs,
            delivered_per_sec: (to.delivered - from.delivered) as f64 / window_secs,
            sent: outcome.harvest.sent,
            expected: outcome.harvest.expected,
            arrived: outcome.harvest.arrived,
            unsent: outcome.harvest.unsent,
            reconnects: outcome.harvest.reconnects,
            stalled: plan.scenario.stalled,
            stalled_missed: outcome.harvest.stalled_missed,
            stalled_closed: outcome.harvest.stalled_closed,
            broker,
            generator: GeneratorReport { busy_share_max, limited },
            integrity: outcome.harvest.tally,
            latency: outcome.harvest.latency.summary(),
            latency_curve: outcome.harvest.latency.curve(),
            timeline: outcome.timeline.iter().map(|interval| step(interval, origin_ns)).collect(),
            phases: outcome.phases.iter().map(phase).collect(),
            notes: outcome.harvest.notes,
        }
    }

    /// The whole run as a page of its own: one file, no script, nothing from outside.
    pub fn to_html(&self) -> String {
        html::page(self)
    }

    /// What went wrong, such as `3 lost`; empty when nothing did.
    fn faults(&self) -> Vec<String> {
        let tally = &self.integrity;
        let faults = [
            ("lost", tally.lost),
            ("duplicated", tally.duplicated),
            ("reordered", tally.reordered),
            ("altered", tally.altered),
            ("unexpected", tally.unexpected),
            ("refused", tally.refused),
            ("unacknowledged", tally.unacknowledged),
            ("protocol errors", tally.protocol_errors),
            ("connections lost", tally.connections_lost),
        ];
        faults
            .iter()
            .filter(|fault| fault.1 > 0)
            .map(|(name, count)| format!("{} {name}", grouped(*count as f64)))
            .collect()
    }

    /// What a missed rate means, in words.
    fn shortfall(&self) -> String {
        format!("{} messages were due and never left; latency omits them", grouped(self.unsent as f64))
    }
}

/// Broken integrity outweighs a missed rate.
fn verdict(integrity_passed: bool, rate_reached: Option<bool>) -> Verdict {
    match (integrity_passed, rate_reached) {
        (false, _) => Verdict::Fail,
        (true, Some(false)) => Verdict::RateMissed,
        (true, _) => Verdict::Pass,
    }
}

fn conditions() -> Conditions {
    Conditions {
        ended_utc: host::now_utc(),
        generator_version: env!("CARGO_PKG_VERSION"),
        command_line: String::new(),
        host: host::look(),
    }
}

fn step(interval: &Interval, origin_ns: u64) -> IntervalReport {
    let secs = |ns: u64| (ns - origin_ns) as f64 / 1e9;
    let (from_secs, to_secs) = (secs(interval.from_ns), secs(interval.to_ns));
    // Two looks at the clock in a row may be equal; then there was nothing to count either.
    let length_secs = (to_secs - from_secs).max(1e-9);
    IntervalReport {
        from_secs,
        to_secs,
        delivered_per_sec: interval.delivered as f64 / length_secs,
        published_per_sec: interval.published as f64 / length_secs,
        latency_count: interval.latency.map_or(0, |latency| latency.count),
        latency_p50_us: interval.latency.map(|latency| latency.p50_us),
        latency_p99_us: interval.latency.map(|latency| latency.p99_us),
        latency_max_us: interval.latency.map(|latency| latency.max_us),
        broker_cpu_cores: interval.broker_cpu_ns.map(|cpu_ns| cpu_ns as f64 / 1e9 / length_secs),
        broker_rss_bytes: interval.broker_rss_bytes,
    }
}

fn phase(phase: &Phase) -> PhaseReport {
    let secs = (phase.to.at_ns - phase.from.at_ns) as f64 / 1e9;
    let broker = phase.from.broker.zip(phase.to.broker).filter(|_| phase.count > 0);
    let count = phase.count as f64;
    PhaseReport {
        name: phase.name.to_owned(),
        unit: phase.unit.to_owned(),
        count: phase.count,
        secs,
        per_sec: (secs > 0.0).then(|| count / secs),
        broker_cpu_us_each: broker.map(|(from, to)| to.cpu_ns.saturating_sub(from.cpu_ns) as f64 / 1e3 / count),
        broker_rss_bytes_each: broker.map(|(from, to)| (to.rss_bytes as f64 - from.rss_bytes as f64) / count),
    }
}

fn setting(plan: &Plan, tls: Option<Agreed>) -> Setting {
    let scenario = &plan.scenario;
    Setting {
        scenario: scenario.name.clone(),
        broker: format!("{}:{}", plan.flags.host, plan.flags.port),
        protocol: plan.flags.protocol.level(),
        carrier: match (plan.flags.websocket, plan.flags.tls_ca.is_some()) {
            (false, false) => "TCP",
            (false, true) => "TLS",
            (true, false) => "WebSocket",
            (true, true) => "WebSocket over TLS",
        },
        tls,
        publishers: scenario.publishers,
        subscribers: scenario.subscribers,
        devices: scenario.devices,
        connections: scenario.connections,
        qos: scenario.qos,
        payload_bytes: scenario.payload_bytes,
        window: scenario.window,
        window_per: scenario.window_per,
        rate: scenario.rate,
        threads: plan.flags.threads,
        cpus: plan.flags.cpus.clone(),
        idle: plan.flags.idle,
        patience_secs: plan.flags.patience.as_secs_f64(),
    }
}

fn broker(plan: &Plan, outcome: &Outcome) -> Option<BrokerReport> {
    let [from, to] = &outcome.window;
    let (before, first, last) = (outcome.broker_before?, from.broker?, to.broker?);
    let cpu_ns = last.cpu_ns.saturating_sub(first.cpu_ns) as f64;
    let delivered = (to.delivered - from.delivered) as f64;
    let cpu_cores = cpu_ns / (to.at_ns - from.at_ns) as f64;
    let cores_max = last.threads.min(last.cpus) as f64;
    let grown_bytes = first.rss_bytes as f64 - before.rss_bytes as f64;
    Some(BrokerReport {
        pid: plan.flags.broker_pid?,
        cpu_us_per_message: (delivered > 0.0).then(|| cpu_ns / 1e3 / delivered),
        cpu_cores,
        rss_before_bytes: before.rss_bytes,
        rss_connected_bytes: first.rss_bytes,
        rss_end_bytes: last.rss_bytes,
        rss_bytes_per_connection: plan.topics.is_empty().then(|| grown_bytes / plan.clients() as f64),
        saturated: cpu_cores >= SATURATED_SHARE * cores_max,
        fds: last.fds,
        threads: last.threads,
    })
}

impl LatencySummary {
    /// Name and value, microseconds, of each percentile.
    fn cells(&self) -> [(&'static str, f64); 6] {
        [
            ("p50", self.p50_us),
            ("p90", self.p90_us),
            ("p99", self.p99_us),
            ("p99.9", self.p99_9_us),
            ("p99.99", self.p99_99_us),
            ("max", self.max_us),
        ]
    }
}

/// A whole number with a comma every three digits.
fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut out = if number < 0.0 && digits != "0" { "-".to_owned() } else { String::new() };
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::BrokerSample;
    use crate::engine::Snapshot;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let cases = [
            (0.0, "0"),
            (999.4, "999"),
            (1000.0, "1,000"),
            (1_234_567.0, "1,234,567"),
            (-1234.0, "-1,234"),
            (-0.2, "0"),
        ];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_missed_rate_is_no_pass_and_broken_integrity_outweighs_it() {
        assert_eq!(verdict(true, None), Verdict::Pass);
        assert_eq!(verdict(true, Some(true)), Verdict::Pass);
        assert_eq!(verdict(true, Some(false)), Verdict::RateMissed);
        assert_eq!(verdict(false, Some(false)), Verdict::Fail);
        assert_eq!(verdict(false, None), Verdict::Fail);
    }

    #[test]
    fn a_phase_is_divided_by_what_it_counted() {
        let sample = |cpu_ns, rss_bytes| BrokerSample { cpu_ns, rss_bytes, fds: None, threads: 1, cpus: 1 };
        let snapshot = |at_ns, broker| Snapshot { at_ns, delivered: 0, published: 0, idle_ns: Vec::new(), broker };
        let mut outcome = Phase {
            name: "connect",
            unit: "connections",
            count: 100,
            from: snapshot(1_000_000_000, Some(sample(5_000_000, 10_000))),
            to: snapshot(1_500_000_000, Some(sample(6_000_000, 9_000))),
        };
        let told = phase(&outcome);
        assert_eq!((told.secs, told.per_sec), (0.5, Some(200.0)));
        assert_eq!((told.broker_cpu_us_each, told.broker_rss_bytes_each), (Some(10.0), Some(-10.0)));
        outcome.count = 0;
        assert_eq!(phase(&outcome).broker_cpu_us_each, None);
    }
}
