//! Sys: what `$SYS` says of the broker, under the names that Mosquitto uses, and what it says besides.
//!
//! Duty: from the figures of all shards to topics and texts; averages of the load; only what has changed. Must not: publish,
//! or read a clock. Neighbours: `serving` asks the `board` for figures at each interval and gives the topics to shard 0.

use std::collections::BTreeMap;

use super::board::Figures;
use crate::shard::DropReason;

/// What stands before every topic.
const PREFIX: &str = "$SYS/broker/";

/// The averages: their names and the minutes that they look back.
const LOADS: [(&str, f64); 3] = [("1min", 1.0), ("5min", 5.0), ("15min", 15.0)];

/// What `$SYS` has said so far.
#[derive(Debug, Default)]
pub(super) struct Sys {
    said: BTreeMap<String, String>,
    clients_most: usize,
    before: BTreeMap<&'static str, u64>,
    /// Averages per minute, in order of [`LOADS`].
    loads: BTreeMap<&'static str, [f64; 3]>,
}

/// What all shards have together.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    sessions: usize,
    connected: usize,
    connections: usize,
    subscriptions: usize,
    shared_subscriptions: usize,
    retained: usize,
    queued: u64,
    held_bytes: usize,
    expired: u64,
    connects: u64,
    accepted: u64,
    packets_received: u64,
    packets_sent: u64,
    publishes_received: u64,
    publishes_sent: u64,
    publishes_dropped: u64,
    publish_bytes_received: u64,
    publish_bytes_sent: u64,
    bytes_received: u64,
    bytes_sent: u64,
}

impl Sums {
    fn of(figures: &[Figures]) -> Self {
        let mut sums = Self::default();
        for Figures { counters, gauges, control_packets_sent, bytes_received, bytes_sent, accepted, .. } in figures {
            sums.sessions += gauges.sessions;
            sums.connected += gauges.connected;
            sums.connections += gauges.connections;
            sums.subscriptions += gauges.subscriptions;
            sums.shared_subscriptions += gauges.shared_subscriptions;
            // Every shard has all of them.
            sums.retained = sums.retained.max(gauges.retained_messages);
            sums.queued += counters.queued();
            sums.held_bytes += gauges.held_bytes;
            sums.expired += counters.sessions_expired;
            sums.connects += counters.connects;
            sums.accepted += accepted;
            sums.packets_received += counters.packets_received;
            sums.packets_sent += counters.delivered.sum() + counters.resent + control_packets_sent;
            sums.publishes_received += counters.publishes_received.sum();
            sums.publishes_sent += counters.delivered.sum() + counters.resent;
            sums.publishes_dropped += DropReason::ALL.map(|reason| counters.dropped_for(reason)).iter().sum::<u64>();
            sums.publish_bytes_received += counters.payload_bytes_received.sum();
            sums.publish_bytes_sent += counters.payload_bytes_sent.sum();
            sums.bytes_received += bytes_received;
            sums.bytes_sent += bytes_sent;
        }
        sums
    }
}

impl Sys {
    /// Topics and texts that have changed. `uptime_secs`: since the start; `elapsed_secs`: since the last call.
    pub(super) fn changed(
        &mut self,
        figures: &[Figures],
        uptime_secs: u64,
        elapsed_secs: f64,
        heap: Option<(u64, u64)>,
    ) -> Vec<(String, String)> {
        let sums = Sums::of(figures);
        self.clients_most = self.clients_most.max(sums.connected);
        let mut topics = self.plain(&sums, uptime_secs);
        if let Some((current, maximum)) = heap {
            topics.push(("heap/current".into(), current.to_string()));
            topics.push(("heap/maximum".into(), maximum.to_string()));
        }
        for (index, figures) in figures.iter().enumerate() {
            topics.push((format!("ringmq/shard/{index}/connections"), figures.gauges.connections.to_string()));
            topics.push((format!("ringmq/shard/{index}/held_bytes"), figures.gauges.held_bytes.to_string()));
        }
        let troubles = troubles_of(figures).into_iter().filter(|(_, times)| *times > 0);
        topics.extend(troubles.map(|(name, times)| (format!("ringmq/troubles/{name}"), times.to_string())));
        topics.extend(self.load(&sums, elapsed_secs));
        topics.retain(|(topic, text)| self.said.get(topic) != Some(text));
        self.said.extend(topics.iter().cloned());
        topics.into_iter().map(|(topic, text)| (format!("{PREFIX}{topic}"), text)).collect()
    }

    fn plain(&self, sums: &Sums, uptime_secs: u64) -> Vec<(String, String)> {
        let away = sums.sessions - sums.connected.min(sums.sessions);
        let numbers = [
            ("clients/total", sums.sessions as u64),
            ("clients/maximum", self.clients_most as u64),
            ("clients/connected", sums.connected as u64),
            ("clients/active", sums.connected as u64),
            ("clients/disconnected", away as u64),
            ("clients/inactive", away as u64),
            ("clients/expired", sums.expired),
            ("connections/socket/count", sums.connections as u64),
            ("messages/received", sums.packets_received),
            ("messages/sent", sums.packets_sent),
            ("messages/stored", sums.retained as u64 + sums.queued),
            ("store/messages/count", sums.retained as u64 + sums.queued),
            ("store/messages/bytes", sums.held_bytes as u64),
            ("bytes/received", sums.bytes_received),
            ("bytes/sent", sums.bytes_sent),
            ("publish/bytes/received", sums.publish_bytes_received),
            ("publish/bytes/sent", sums.publish_bytes_sent),
            ("publish/messages/dropped", sums.publishes_dropped),
            ("publish/messages/received", sums.publishes_received),
            ("publish/messages/sent", sums.publishes_sent),
            ("subscriptions/count", sums.subscriptions as u64),
            ("shared_subscriptions/count", sums.shared_subscriptions as u64),
            ("retained messages/count", sums.retained as u64),
        ];
        let mut topics: Vec<_> =
            numbers.into_iter().map(|(topic, number)| (topic.to_owned(), number.to_string())).collect();
        topics.push(("version".into(), concat!("ringmq version ", env!("CARGO_PKG_VERSION")).into()));
        topics.push(("uptime".into(), format!("{uptime_secs} seconds")));
        topics
    }

    /// Exponential averages of what comes in a minute.
    fn load(&mut self, sums: &Sums, elapsed_secs: f64) -> Vec<(String, String)> {
        let counts = [
            ("connections", sums.connects),
            ("sockets", sums.accepted),
            ("messages/received", sums.packets_received),
            ("messages/sent", sums.packets_sent),
            ("publish/dropped", sums.publishes_dropped),
            ("publish/received", sums.publishes_received),
            ("publish/sent", sums.publishes_sent),
            ("bytes/received", sums.bytes_received),
            ("bytes/sent", sums.bytes_sent),
        ];
        let mut topics = Vec::new();
        for (name, count) in counts {
            let more = count - self.before.insert(name, count).unwrap_or(0);
            let per_minute = more as f64 * 60.0 / elapsed_secs.max(f64::MIN_POSITIVE);
            let averages = self.loads.entry(name).or_default();
            for (average, (span, minutes)) in averages.iter_mut().zip(LOADS) {
                let weight = (-elapsed_secs / (minutes * 60.0)).exp();
                *average = per_minute + weight * (*average - per_minute);
                topics.push((format!("load/{name}/{span}"), format!("{average:.2}")));
            }
        }
        topics
    }
}

/// What went wrong on all shards together, by the names that log, metrics and API have.
fn troubles_of(figures: &[Figures]) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::new();
    for figures in figures {
        for trouble in figures.counters.troubles().chain(figures.tally.troubles()) {
            *sums.entry(trouble.name).or_default() += trouble.times;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::{Counters, Gauges};

    fn figures(publishes_received: u64, sessions: usize) -> Figures {
        let publishes_received = [publishes_received, 0, 0].into();
        let counters = Counters { publishes_received, ..Counters::default() };
        let gauges = Gauges { sessions, connected: 1, ..Gauges::default() };
        Figures { counters, gauges, ..Figures::default() }
    }

    fn text_of<'a>(topics: &'a [(String, String)], topic: &str) -> Option<&'a str> {
        let topic = format!("$SYS/broker/{topic}");
        topics.iter().find(|(name, _)| *name == topic).map(|(_, text)| text.as_str())
    }

    #[test]
    fn the_figures_of_all_shards_are_added_and_said_once_until_they_change() {
        let mut sys = Sys::default();
        let first = sys.changed(&[figures(3, 2), figures(4, 1)], 10, 10.0, None);
        assert_eq!(text_of(&first, "publish/messages/received"), Some("7"));
        assert_eq!(text_of(&first, "clients/total"), Some("3"));
        assert_eq!(text_of(&first, "clients/disconnected"), Some("1"));
        assert_eq!(text_of(&first, "uptime"), Some("10 seconds"));
        let second = sys.changed(&[figures(3, 2), figures(5, 1)], 20, 10.0, None);
        assert_eq!(text_of(&second, "publish/messages/received"), Some("8"));
        assert_eq!(text_of(&second, "clients/total"), None);
    }

    /// A steady rate is what every average comes to; a short one comes to it first.
    #[test]
    fn averages_go_to_the_rate_of_the_last_minutes() {
        let mut sys = Sys::default();
        let mut topics = Vec::new();
        for round in 1..=30 {
            topics = sys.changed(&[figures(round * 100, 1)], 0, 10.0, None);
        }
        let load = |span| text_of(&topics, &format!("load/publish/received/{span}")).and_then(|text| text.parse().ok());
        let [one, five, fifteen]: [f64; 3] = ["1min", "5min", "15min"].map(|span| load(span).expect("it has changed"));
        assert!((590.0..=600.0).contains(&one) && five < one && fifteen < five, "{one} {five} {fifteen}");
    }
}
