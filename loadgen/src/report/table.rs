//! The report as a text table for the terminal.
//! Must not compute more than a unit. Neighbours: `report` fills it, `cli` prints it.

use std::fmt;

use super::{PhaseReport, Report, Verdict, grouped};
use crate::scenario::WindowPer;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setting = &self.setting;
        let clients = setting.publishers + setting.subscribers + setting.devices + setting.connections;
        write!(f, "{} on {}, {}: ", setting.scenario, setting.broker, setting.protocol_name())?;
        if setting.publishers > 0 {
            write!(f, "{} publishers, {} subscribers", setting.publishers, setting.subscribers)?;
            if setting.devices > 0 {
                write!(f, ", {} devices", setting.devices)?;
            }
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
        self.phases.iter().try_for_each(|phase| row(f, &phase.name, &told(phase)))?;
        // A staged run has no window in which messages are due: its phases are all there is.
        if setting.publishers > 0 && self.scenario.stage.is_none() {
            self.traffic(f)?;
        }
        self.processes(f)?;
        self.verdicts(f)
    }
}

/// A phase in one line.
fn told(phase: &PhaseReport) -> String {
    let mut text = format!("{} {} in {:.3} s", grouped(phase.count as f64), phase.unit, phase.secs);
    if let Some(per_sec) = phase.per_sec {
        text += &format!(", {}/s", grouped(per_sec));
    }
    if let Some(us) = phase.broker_cpu_us_each {
        text += &format!(", {us:.3} us broker CPU each");
    }
    if let Some(bytes) = phase.broker_rss_bytes_each {
        text += &format!(", {} B broker RSS each", grouped(bytes));
    }
    text
}

impl Report {
    fn traffic(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        row(f, "delivered", &format!("{} messages/s over {:.2} s", grouped(self.delivered_per_sec), self.window_secs))?;
        row(f, "published", &format!("{} messages/s", grouped(self.published_per_sec)))?;
        match &self.latency {
            Some(latency) => {
                let cells: Vec<_> =
                    latency.cells().iter().map(|(name, us)| format!("{name} {}", grouped(*us))).collect();
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

    fn verdicts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rate_reached {
            Some(true) => row(f, "rate", "REACHED: every message left when it was due or soon after")?,
            Some(false) => row(f, "rate", &format!("NOT REACHED: {}", self.shortfall()))?,
            None => (),
        }
        if self.reconnects > 0 {
            row(f, "reconnects", &format!("{} devices left and came back to their sessions", self.reconnects))?;
        }
        if self.stalled > 0 {
            let (missed, closed) = (self.stalled_missed, self.stalled_closed);
            row(f, "stalled", &format!("{} subscribers missed {missed} messages, {closed} were closed", self.stalled))?;
        }
        let counts = format!(
            "{} sent, {} of {} deliveries",
            grouped(self.sent as f64),
            grouped(self.arrived as f64),
            grouped(self.expected as f64)
        );
        if self.integrity_passed {
            row(f, "integrity", &format!("PASS ({counts})"))?;
        } else {
            row(f, "integrity", &format!("FAIL: {} ({counts})", self.faults().join(", ")))?;
            self.notes.iter().try_for_each(|note| row(f, "", note))?;
        }
        match self.verdict {
            Verdict::Pass => Ok(()),
            Verdict::RateMissed => row(f, "VERDICT", "RATE NOT REACHED: this is no measurement at the rate asked for"),
            Verdict::Fail => row(f, "VERDICT", "FAIL"),
        }
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    writeln!(f, "  {name:<12} {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_tells_what_is_known_and_no_more() {
        let mut phase = PhaseReport {
            name: "replay".to_owned(),
            unit: "messages".to_owned(),
            count: 10_000,
            secs: 0.5,
            per_sec: Some(20_000.0),
            broker_cpu_us_each: Some(1.25),
            broker_rss_bytes_each: Some(-64.0),
        };
        let told_whole = "10,000 messages in 0.500 s, 20,000/s, 1.250 us broker CPU each, -64 B broker RSS each";
        assert_eq!(told(&phase), told_whole);
        (phase.per_sec, phase.broker_cpu_us_each, phase.broker_rss_bytes_each) = (None, None, None);
        assert_eq!(told(&phase), "10,000 messages in 0.500 s");
    }
}
