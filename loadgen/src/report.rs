//! What a run showed, as numbers, as a table and as JSON; and the verdict.
//! Must not measure. Neighbours: `engine` fills it, `cli` prints it.

use std::fmt;

use serde::Serialize;

use crate::engine::Outcome;
use crate::integrity::Tally;
use crate::latency::LatencySummary;
use crate::plan::Plan;
use crate::scenario::WindowPer;

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
    /// Publishers, subscribers, idle connections.
    pub publishers: u32,
    /// See `publishers`.
    pub subscribers: u32,
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
    /// The parameters.
    pub setting: Setting,
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
    /// End-to-end latency of the messages due in the window.
    pub latency: Option<LatencySummary>,
    /// Only with `--broker-pid`.
    pub broker: Option<BrokerReport>,
    /// The generator's own load.
    pub generator: GeneratorReport,
    /// What went wrong.
    pub integrity: Tally,
    /// The first few faults in words.
    pub notes: Vec<String>,
    /// Every message arrived exactly once, in order, unaltered and acknowledged.
    pub passed: bool,
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
        Self {
            setting: setting(plan),
            setup_secs: outcome.setup_ns as f64 / 1e9,
            window_secs,
            published_per_sec: (to.published - from.published) as f64 / window_secs,
            delivered_per_sec: (to.delivered - from.delivered) as f64 / window_secs,
            sent: outcome.harvest.sent,
            expected: outcome.harvest.expected,
            arrived: outcome.harvest.arrived,
            unsent: outcome.harvest.unsent,
            broker,
            generator: GeneratorReport { busy_share_max, limited },
            integrity: outcome.harvest.tally,
            passed: outcome.harvest.tally.is_clean(),
            latency: outcome.harvest.latency.summary(),
            notes: outcome.harvest.notes,
        }
    }
}

fn setting(plan: &Plan) -> Setting {
    let scenario = &plan.scenario;
    Setting {
        scenario: scenario.name.clone(),
        broker: format!("{}:{}", plan.flags.host, plan.flags.port),
        protocol: plan.flags.protocol.level(),
        publishers: scenario.publishers,
        subscribers: scenario.subscribers,
        connections: scenario.connections,
        qos: scenario.qos,
        payload_bytes: scenario.payload_bytes,
        window: scenario.window,
        window_per: scenario.window_per,
        rate: scenario.rate,
        threads: plan.flags.threads,
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setting = &self.setting;
        let clients = setting.publishers + setting.subscribers + setting.connections;
        write!(f, "{} on {}, MQTT level {}: ", setting.scenario, setting.broker, setting.protocol)?;
        if setting.publishers > 0 {
            write!(f, "{} publishers, {} subscribers", setting.publishers, setting.subscribers)?;
            write!(f, ", QoS {}, {} B, ", setting.qos, setting.payload_bytes)?;
            match (setting.rate, setting.window_per) {
                (0, WindowPer::Publisher) => writeln!(f, "window {} per publisher", setting.window)?,
                (0, WindowPer::Total) => writeln!(f, "window {} in total", setting.window)?,
                (rate, _) => writeln!(f, "{rate} messages/s")?,
            }
        } else {
            writeln!(f, "{} idle connections", setting.connections)?;
        }
        row(f, "setup", &format!("{clients} connections in {:.3} s", self.setup_secs))?;
        if setting.publishers > 0 {
            self.traffic(f)?;
        }
        self.processes(f)?;
        self.verdict(f)
    }
}

impl Report {
    fn traffic(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        row(f, "delivered", &format!("{} messages/s over {:.2} s", grouped(self.delivered_per_sec), self.window_secs))?;
        row(f, "published", &format!("{} messages/s", grouped(self.published_per_sec)))?;
        match &self.latency {
            Some(latency) => {
                let cells = [
                    ("p50", latency.p50_us),
                    ("p90", latency.p90_us),
                    ("p99", latency.p99_us),
                    ("p99.9", latency.p99_9_us),
                    ("p99.99", latency.p99_99_us),
                    ("max", latency.max_us),
                ];
                let cells: Vec<_> = cells.iter().map(|(name, us)| format!("{name} {us:.0}")).collect();
                row(f, "latency, us", &cells.join("  "))
            }
            None => row(f, "latency", "no message was due and delivered in the window"),
        }
    }

    fn processes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(broker) = &self.broker {
            let per_message = broker.cpu_us_per_message.map(|us| format!("{us:.3} us per delivered message, "));
            row(
                f,
                "broker CPU",
                &format!("{}{:.2} % of a core", per_message.unwrap_or_default(), broker.cpu_cores * 1e2),
            )?;
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let (before, connected, end) =
                (mib(broker.rss_before_bytes), mib(broker.rss_connected_bytes), mib(broker.rss_end_bytes));
            let each = broker.rss_bytes_per_connection.map(|bytes| format!(" ({bytes:.0} B per connection)"));
            let each = each.unwrap_or_default();
            row(
                f,
                "broker RSS",
                &format!("{before:.1} MiB before, {connected:.1} connected{each}, {end:.1} at the end"),
            )?;
            let fds = broker.fds.map_or("unknown".to_owned(), |fds| fds.to_string());
            row(f, "broker", &format!("{} threads, {fds} descriptors", broker.threads))?;
        }
        let limited = if self.generator.limited { ": THE GENERATOR IS THE LIMIT, use more threads" } else { "" };
        row(f, "generator", &format!("{:.1} % busy{limited}", self.generator.busy_share_max * 1e2))
    }

    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.unsent > 0 {
            row(
                f,
                "rate",
                &format!("NOT REACHED: {} messages were due and never left; latency omits them", self.unsent),
            )?;
        }
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
        let counts = format!("{} sent, {} of {} deliveries", self.sent, self.arrived, self.expected);
        if self.passed {
            return row(f, "integrity", &format!("PASS ({counts})"));
        }
        let faults: Vec<_> =
            faults.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {name}")).collect();
        row(f, "integrity", &format!("FAIL: {} ({counts})", faults.join(", ")))?;
        self.notes.iter().try_for_each(|note| row(f, "", note))
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    writeln!(f, "  {name:<12} {text}")
}

/// A whole number with a comma every three digits.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
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

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let cases = [(0.0, "0"), (999.4, "999"), (1000.0, "1,000"), (1_234_567.0, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }
}
