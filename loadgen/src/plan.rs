//! A scenario and the flags of the command line, resolved and checked: who publishes what, and who has to get it.
//! Must not open sockets. Neighbours: `scenario` and `cli` below and above, `engine` executes the plan.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::filter;
use crate::scenario::{Scenario, WindowPer};
use crate::stamp::STAMP_BYTES;
use crate::wire::{QoS, Version};

/// Largest payload, bytes: the remaining length of a packet ends at 268,435,455, less the largest topic and header.
pub const PAYLOAD_BYTES_MAX: usize = 268_000_000;

/// Most messages that may be outstanding.
pub const WINDOW_MAX: u32 = 10_000_000;

/// Highest rate, messages per second.
pub const RATE_MAX: u64 = 100_000_000;

/// What the command line changes in a scenario, and what no scenario says.
#[derive(Clone, Debug)]
pub struct Overrides {
    /// Host name or address of the broker.
    pub host: String,
    /// TCP port of the broker.
    pub port: u16,
    /// Protocol of all connections.
    pub protocol: Version,
    /// Replaces the scenario's `qos`.
    pub qos: Option<u8>,
    /// Replaces `payload_bytes`.
    pub payload_bytes: Option<usize>,
    /// Replaces `window`.
    pub window: Option<u32>,
    /// Replaces `rate`.
    pub rate: Option<u64>,
    /// Replaces `warmup`.
    pub warmup: Option<Duration>,
    /// Replaces `duration`.
    pub duration: Option<Duration>,
    /// Replaces `publishers`.
    pub publishers: Option<u32>,
    /// Replaces `subscribers`.
    pub subscribers: Option<u32>,
    /// Replaces `connections`.
    pub connections: Option<u32>,
    /// Worker threads.
    pub threads: usize,
    /// One CPU per thread, or none to leave placement to the kernel.
    pub cpus: Vec<usize>,
    /// Block while nothing is to do instead of polling.
    pub idle: bool,
    /// Give up when nothing has arrived for this long, in setup and at the end.
    pub patience: Duration,
    /// The broker's process, to measure it.
    pub broker_pid: Option<u32>,
}

impl Default for Overrides {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 1883,
            protocol: Version::V311,
            qos: None,
            payload_bytes: None,
            window: None,
            rate: None,
            warmup: None,
            duration: None,
            publishers: None,
            subscribers: None,
            connections: None,
            threads: 1,
            cpus: Vec::new(),
            idle: false,
            patience: Duration::from_secs(5),
            broker_pid: None,
        }
    }
}

/// Everything a run needs to know; see [`Scenario`] and [`Overrides`] for the fields that come from there.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The scenario with every override applied.
    pub scenario: Scenario,
    /// The flags.
    pub flags: Overrides,
    /// The scenario's QoS.
    pub qos: QoS,
    /// Random number of this run.
    pub run: u32,
    /// Topic of each publisher.
    pub topics: Vec<String>,
    /// Filter of each subscriber.
    pub filters: Vec<String>,
    /// The publishers whose topic each subscriber's filter matches, ascending.
    pub sources: Vec<Vec<u32>>,
    /// Number of subscribers that get each publisher's messages, at least 1.
    pub fans: Vec<u32>,
}

impl Plan {
    /// Applies the flags to the scenario and checks the result.
    ///
    /// Errors: one sentence about the first thing that cannot work.
    pub fn resolve(mut scenario: Scenario, flags: Overrides) -> Result<Self, String> {
        apply(&mut scenario, &flags);
        check(&scenario, &flags)?;
        let qos = QoS::from_number(scenario.qos).ok_or_else(|| format!("qos {} is not 0, 1 or 2", scenario.qos))?;
        let run = RandomState::new().hash_one(std::process::id()) as u32;
        let topics = expand(&scenario.topic, "{publisher}", scenario.publishers, run);
        let filters = expand(&scenario.filter, "{subscriber}", scenario.subscribers, run);
        check_names(&topics, &filters)?;
        let sources = sources(&topics, &filters);
        let mut fans = vec![0; topics.len()];
        for &publisher in sources.iter().flatten() {
            fans[publisher as usize] += 1;
        }
        if let Some(publisher) = fans.iter().position(|&fan| fan == 0) {
            return Err(format!("no subscriber's filter matches '{}' of publisher {publisher}", topics[publisher]));
        }
        Ok(Self { scenario, flags, qos, run, topics, filters, sources, fans })
    }

    /// Connections that will be opened.
    pub fn clients(&self) -> usize {
        self.topics.len() + self.filters.len() + self.scenario.connections as usize
    }
}

fn apply(scenario: &mut Scenario, flags: &Overrides) {
    scenario.qos = flags.qos.unwrap_or(scenario.qos);
    scenario.payload_bytes = flags.payload_bytes.unwrap_or(scenario.payload_bytes);
    scenario.window = flags.window.unwrap_or(scenario.window);
    scenario.rate = flags.rate.unwrap_or(scenario.rate);
    scenario.warmup = flags.warmup.unwrap_or(scenario.warmup);
    scenario.duration = flags.duration.unwrap_or(scenario.duration);
    scenario.publishers = flags.publishers.unwrap_or(scenario.publishers);
    scenario.subscribers = flags.subscribers.unwrap_or(scenario.subscribers);
    scenario.connections = flags.connections.unwrap_or(scenario.connections);
}

fn check(scenario: &Scenario, flags: &Overrides) -> Result<(), String> {
    let (publishers, subscribers) = (scenario.publishers, scenario.subscribers);
    if (publishers == 0) != (subscribers == 0) {
        return Err(format!("{publishers} publishers with {subscribers} subscribers: nothing could be checked"));
    }
    if publishers == 0 && scenario.connections == 0 {
        return Err("no publishers, no subscribers and no connections: nothing to do".to_owned());
    }
    if !(STAMP_BYTES..=PAYLOAD_BYTES_MAX).contains(&scenario.payload_bytes) {
        return Err(format!("payload {} is not {STAMP_BYTES} to {PAYLOAD_BYTES_MAX} bytes", scenario.payload_bytes));
    }
    if !(1..=WINDOW_MAX).contains(&scenario.window) {
        return Err(format!("window {} is not 1 to {WINDOW_MAX} messages", scenario.window));
    }
    if scenario.rate > RATE_MAX {
        return Err(format!("rate {} is above {RATE_MAX} messages per second", scenario.rate));
    }
    if scenario.duration.is_zero() {
        return Err("duration is 0".to_owned());
    }
    if !(1..=1024).contains(&flags.threads) {
        return Err(format!("threads {} is not 1 to 1024", flags.threads));
    }
    if !flags.cpus.is_empty() && flags.cpus.len() != flags.threads {
        return Err(format!("{} CPUs for {} threads: name one for each", flags.cpus.len(), flags.threads));
    }
    Ok(())
}

fn expand(pattern: &str, place: &str, count: u32, run: u32) -> Vec<String> {
    let pattern = pattern.replace("{run}", &format!("{run:08x}"));
    (0..count).map(|number| pattern.replace(place, &number.to_string())).collect()
}

fn check_names(topics: &[String], filters: &[String]) -> Result<(), String> {
    for topic in topics {
        if topic.is_empty() || topic.len() > usize::from(u16::MAX) || topic.contains(['+', '#', '\0']) {
            return Err(format!("topic '{topic}' is no topic name"));
        }
    }
    for filter in filters {
        if let Some(objection) = filter::objection(filter) {
            return Err(format!("filter '{filter}': {objection}"));
        }
    }
    Ok(())
}

/// For each filter the publishers it matches; filters without wildcards are looked up, so that many pairs stay cheap.
fn sources(topics: &[String], filters: &[String]) -> Vec<Vec<u32>> {
    let mut by_topic: HashMap<&str, Vec<u32>> = HashMap::new();
    for (publisher, topic) in (0..).zip(topics) {
        by_topic.entry(topic).or_default().push(publisher);
    }
    let wild = |filter: &str| {
        let matching = (0..).zip(topics).filter(|(_, topic)| filter::matches(filter, topic));
        matching.map(|(publisher, _)| publisher).collect()
    };
    let exact = |filter: &str| by_topic.get(filter).cloned().unwrap_or_default();
    filters.iter().map(|filter| if filter.contains(['+', '#']) { wild(filter) } else { exact(filter) }).collect()
}

/// True when the window is shared by all publishers.
pub(crate) fn shares_window(scenario: &Scenario) -> bool {
    scenario.window_per == WindowPer::Total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(name: &str, change: impl Fn(&mut Overrides)) -> Result<Plan, String> {
        let mut flags = Overrides::default();
        change(&mut flags);
        Plan::resolve(Scenario::find(name).expect("a shipped scenario"), flags)
    }

    #[test]
    fn every_shipped_scenario_resolves() {
        for scenario in Scenario::shipped() {
            let name = scenario.name.clone();
            assert!(Plan::resolve(scenario, Overrides::default()).is_ok(), "{name}");
        }
    }

    #[test]
    fn pairs_connect_each_publisher_with_its_own_subscriber() {
        let plan = resolved("pairs", |_| ()).expect("it resolves");
        assert_eq!(plan.sources[499], [499]);
        assert!(plan.fans.iter().all(|&fan| fan == 1));
    }

    #[test]
    fn fanin_and_fanout_know_who_gets_what() {
        let fanin = resolved("fanin", |_| ()).expect("it resolves");
        assert_eq!((fanin.sources.len(), fanin.sources[0].len()), (1, 1000));
        let fanout = resolved("fanout", |flags| flags.subscribers = Some(7)).expect("it resolves");
        assert_eq!(fanout.fans, [7]);
    }

    #[test]
    fn what_cannot_work_is_refused_in_one_sentence() {
        let refused: [fn(&mut Overrides); 8] = [
            |flags| flags.qos = Some(3),
            |flags| flags.payload_bytes = Some(23),
            |flags| flags.window = Some(0),
            |flags| flags.publishers = Some(0),
            |flags| flags.publishers = Some(2),
            |flags| flags.duration = Some(Duration::ZERO),
            |flags| flags.cpus = vec![0, 1],
            |flags| flags.rate = Some(RATE_MAX + 1),
        ];
        for change in refused {
            let error = resolved("stream", change).expect_err("it cannot work");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
