//! A scenario and the flags of the command line, resolved and checked: who publishes what, and who has to get it.
//! Must not open sockets. Neighbours: `scenario` and `cli` below and above, `engine` executes the plan.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use crate::filter;
use crate::pattern::Pattern;
use crate::scenario::{Scenario, WindowPer};
use crate::staging;
use crate::stamp::STAMP_BYTES;
use crate::topic_tree::TopicTree;
use crate::wire::{QoS, Version};

/// Largest payload, bytes: the remaining length of a packet ends at 268,435,455, less the largest topic and header.
pub const PAYLOAD_BYTES_MAX: usize = 268_000_000;

/// Most messages that may be outstanding.
pub const WINDOW_MAX: u32 = 10_000_000;

/// Highest rate, messages per second.
pub const RATE_MAX: u64 = 100_000_000;

/// Most topics: beyond this a run would measure the generator's memory.
pub const TOPICS_MAX: u32 = 10_000_000;

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
    /// Replaces `topics`.
    pub topics: Option<u32>,
    /// Replaces `devices`.
    pub devices: Option<u32>,
    /// Replaces `reconnects_per_sec`.
    pub reconnects_per_sec: Option<u64>,
    /// Replaces `messages`.
    pub messages: Option<u64>,
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
    /// Speak TLS with a broker whose certificate one of this file leads to.
    pub tls_ca: Option<PathBuf>,
    /// Certificate and key of every client; only with `tls_ca`.
    pub tls_identity: Option<(PathBuf, PathBuf)>,
    /// Speak WebSocket, over TLS or over TCP.
    pub websocket: bool,
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
            topics: None,
            devices: None,
            reconnects_per_sec: None,
            messages: None,
            threads: 1,
            cpus: Vec::new(),
            idle: false,
            patience: Duration::from_secs(5),
            broker_pid: None,
            tls_ca: None,
            tls_identity: None,
            websocket: false,
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
    /// Topic names by topic number: the publishers', then one for each device.
    pub topics: Vec<String>,
    /// Filters by receiver number: the subscribers', then the devices'.
    pub filters: Vec<String>,
    /// The topics that each receiver's filter matches, ascending.
    pub sources: Vec<Vec<u32>>,
    /// The shared subscription that each receiver belongs to, as a place in `shares`.
    pub groups: Vec<Option<u32>>,
    /// The topics of each shared subscription, ascending.
    pub shares: Vec<Vec<u32>>,
    /// Deliveries that a message on each topic has to cause, at least 1; stalled subscribers do not count.
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
        check_devices(&scenario, qos)?;
        let run = RandomState::new().hash_one(std::process::id()) as u32;
        let (topics, filters) = (topics(&scenario, run)?, filters(&scenario, run)?);
        check_names(&topics, &filters)?;
        let sources = sources(&topics, &filters);
        let (groups, shares) = shares(&filters, &sources);
        let mut plan = Self { scenario, flags, qos, run, topics, filters, sources, groups, shares, fans: Vec::new() };
        plan.fans = plan.count_fans()?;
        Ok(plan)
    }

    /// Connections that will be opened.
    pub fn clients(&self) -> usize {
        let Scenario { publishers, subscribers, devices, connections, .. } = self.scenario;
        [publishers, subscribers, devices, connections].iter().map(|&count| count as usize).sum()
    }

    /// Topic numbers that are not the devices'.
    fn published(&self) -> u32 {
        self.topics.len() as u32 - self.scenario.devices
    }

    /// The publisher of a topic; `None` when it is a device's.
    #[inline]
    pub fn publisher_of(&self, topic: u32) -> Option<u32> {
        (topic < self.published()).then(|| topic % self.scenario.publishers)
    }

    /// The topics of a publisher, in the order in which it goes round them.
    pub fn topics_of(&self, publisher: u32) -> impl Iterator<Item = u32> + use<> {
        (publisher..self.published()).step_by(self.scenario.publishers as usize)
    }

    /// The topic of a device.
    pub fn topic_of_device(&self, device: u32) -> u32 {
        self.published() + device
    }

    /// Receiver number `receiver` stops reading for the time of the run.
    pub fn is_stalled(&self, receiver: u32) -> bool {
        let Scenario { subscribers, stalled, .. } = self.scenario;
        (subscribers - stalled..subscribers).contains(&receiver)
    }

    /// Devices go away and come back, so their sessions outlive their connections.
    pub fn keeps_sessions(&self) -> bool {
        self.scenario.reconnects_per_sec > 0
    }

    fn count_fans(&self) -> Result<Vec<u32>, String> {
        let mut fans = vec![0; self.topics.len()];
        for (receiver, topics) in (0..).zip(&self.sources) {
            let alone = self.groups[receiver as usize].is_none();
            if !alone && self.is_stalled(receiver) {
                return Err(format!("subscriber {receiver} is stalled and would keep the messages of its whole group"));
            }
            if alone && !self.is_stalled(receiver) {
                topics.iter().for_each(|&topic| fans[topic as usize] += 1);
            }
        }
        self.shares.iter().flatten().for_each(|&topic| fans[topic as usize] += 1);
        match fans.iter().position(|&fan| fan == 0) {
            Some(topic) => Err(format!("no reading subscriber's filter matches topic '{}'", self.topics[topic])),
            None => Ok(fans),
        }
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
    scenario.topics = flags.topics.unwrap_or(scenario.topics);
    scenario.devices = flags.devices.unwrap_or(scenario.devices);
    scenario.reconnects_per_sec = flags.reconnects_per_sec.unwrap_or(scenario.reconnects_per_sec);
    if scenario.topics == 0 && scenario.publishers > 0 {
        scenario.topics = if scenario.devices > 0 { scenario.devices } else { scenario.publishers };
    }
    scenario.messages = flags.messages.unwrap_or(scenario.messages);
}

fn check(scenario: &Scenario, flags: &Overrides) -> Result<(), String> {
    let (publishers, subscribers) = (scenario.publishers, scenario.subscribers);
    if (publishers == 0) != (subscribers == 0) {
        return Err(format!("{publishers} publishers with {subscribers} subscribers: nothing could be checked"));
    }
    if publishers == 0 && scenario.devices == 0 && scenario.connections == 0 {
        return Err("no publishers, no subscribers and no connections: nothing to do".to_owned());
    }
    if !(publishers..=TOPICS_MAX).contains(&scenario.topics) {
        let topics = scenario.topics;
        return Err(format!("{topics} topics for {publishers} publishers: not one for each up to {TOPICS_MAX}"));
    }
    if scenario.stalled > 0 && scenario.stalled >= subscribers {
        return Err(format!("{} of {subscribers} subscribers stalled: nobody is left to read", scenario.stalled));
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
    staging::check(scenario, flags.threads)
}

fn check_devices(scenario: &Scenario, qos: QoS) -> Result<(), String> {
    if scenario.devices == 0 {
        return match scenario.reconnects_per_sec {
            0 => Ok(()),
            rate => Err(format!("{rate} reconnects per second without devices")),
        };
    }
    if !(1..=RATE_MAX).contains(&scenario.device_rate) {
        return Err(format!("device_rate {} is not 1 to {RATE_MAX} messages per second", scenario.device_rate));
    }
    if scenario.reconnects_per_sec > RATE_MAX {
        return Err(format!("reconnects_per_sec {} is above {RATE_MAX}", scenario.reconnects_per_sec));
    }
    if scenario.reconnects_per_sec > 0 && qos == QoS::AtMostOnce {
        return Err(
            "reconnects need QoS 1 or 2: a broker may drop messages of QoS 0 for a client that is away".to_owned()
        );
    }
    Ok(())
}

fn topics(scenario: &Scenario, run: u32) -> Result<Vec<String>, String> {
    let run = format!("{run:08x}");
    let mut topics = Vec::new();
    if scenario.publishers > 0 {
        let pattern = Pattern::parse(&scenario.topic, &run, &["publisher", "topic"])?;
        topics.extend((0..scenario.topics).map(|topic| pattern.fill(&[topic % scenario.publishers, topic])));
    }
    let pattern = Pattern::parse(&scenario.device_topic, &run, &["device"])?;
    topics.extend((0..scenario.devices).map(|device| pattern.fill(&[device])));
    Ok(topics)
}

fn filters(scenario: &Scenario, run: u32) -> Result<Vec<String>, String> {
    let run = format!("{run:08x}");
    let listed = if scenario.filters.is_empty() { std::slice::from_ref(&scenario.filter) } else { &scenario.filters };
    let read = |text: &String| Pattern::parse(text, &run, &["subscriber"]);
    let patterns = listed.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let own = (0..scenario.subscribers).zip(patterns.iter().cycle());
    let mut filters: Vec<_> = own.map(|(subscriber, pattern)| pattern.fill(&[subscriber])).collect();
    let pattern = Pattern::parse(&scenario.device_filter, &run, &["device"])?;
    filters.extend((0..scenario.devices).map(|device| pattern.fill(&[device])));
    Ok(filters)
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

/// For each filter the topics it matches.
fn sources(topics: &[String], filters: &[String]) -> Vec<Vec<u32>> {
    let tree = TopicTree::new(topics);
    filters.iter().map(|filter| tree.matching(filter::split_share(filter).1)).collect()
}

/// For each filter its shared subscription if it has one, and for each of those its topics: share name and filter
/// together name a shared subscription (section 4.8.2 of 5.0).
fn shares(filters: &[String], sources: &[Vec<u32>]) -> (Vec<Option<u32>>, Vec<Vec<u32>>) {
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    let mut shares = Vec::new();
    let group = |(filter, topics): (_, &Vec<u32>)| {
        filter::split_share(filter).0?;
        Some(*numbers.entry(filter).or_insert_with(|| {
            shares.push(topics.clone());
            shares.len() as u32 - 1
        }))
    };
    let groups = filters.iter().map(String::as_str).zip(sources).map(group).collect();
    (groups, shares)
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

    fn of_text(fields: &str) -> Result<Plan, String> {
        let text = format!("name = 'test'\nabout = 'a test'\n{fields}");
        Plan::resolve(Scenario::parse(&text)?, Overrides::default())
    }

    #[test]
    fn a_publisher_owns_every_topic_whose_number_leaves_its_own() {
        let plan = of_text(
            "publishers = 3\nsubscribers = 2\ntopics = 7\ntopic = '{run}/{publisher}/{topic}'\nfilter = '{run}/#'",
        );
        let plan = plan.expect("it resolves");
        assert_eq!(plan.topics_of(1).collect::<Vec<_>>(), [1, 4]);
        assert!(plan.topics[4].ends_with("/1/4"));
        assert_eq!((plan.publisher_of(5), plan.fans.len()), (Some(2), 7));
    }

    #[test]
    fn wild_gives_every_topic_several_receivers_and_is_resolved_at_once() {
        let begun = std::time::Instant::now();
        let plan = resolved("wild", |_| ()).expect("it resolves");
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        let deliveries: u32 = plan.fans.iter().sum();
        assert_eq!(plan.fans.len(), 10_000);
        assert!((50_000..100_000).contains(&deliveries), "{deliveries}");
        for (filter, topics) in plan.filters.iter().zip(&plan.sources).step_by(23) {
            let matching = plan.topics.iter().filter(|topic| filter::matches(filter, topic)).count();
            assert_eq!((topics.len(), topics.is_empty()), (matching, false), "{filter}");
        }
    }

    /// Section 4.8.2 of 5.0.
    #[test]
    fn a_group_gets_each_message_once_and_a_plain_subscriber_gets_it_too() {
        let plan = of_text(
            "publishers = 2\nsubscribers = 6\ntopic = '{run}/{publisher}'\n\
             filters = ['$share/a/{run}/+', '$share/b/{run}/+', '{run}/0']",
        );
        let plan = plan.expect("it resolves");
        assert_eq!(plan.groups, [Some(0), Some(1), None, Some(0), Some(1), None]);
        assert_eq!((&plan.fans[..], plan.shares.len()), (&[4, 2][..], 2));
    }

    #[test]
    fn a_fleet_numbers_device_topics_behind_the_publishers_and_device_filters_behind_the_subscribers() {
        let plan = resolved("fleet", |flags| flags.devices = Some(5)).expect("it resolves");
        assert_eq!((plan.topics.len(), plan.filters.len(), plan.clients()), (10, 7, 11));
        assert_eq!((plan.publisher_of(4), plan.publisher_of(5), plan.topic_of_device(0)), (Some(0), None, 5));
        assert_eq!((&plan.sources[1][..], &plan.sources[2][..]), (&[5, 6, 7, 8, 9][..], &[0][..]));
        assert_eq!(plan.fans, [1, 1, 1, 1, 1, 2, 2, 2, 2, 2]);
    }

    #[test]
    fn a_stalled_subscriber_is_no_part_of_a_fan() {
        let plan = resolved("slow", |_| ()).expect("it resolves");
        assert_eq!((plan.fans[0], plan.is_stalled(98), plan.is_stalled(99)), (99, false, true));
    }

    #[test]
    fn what_no_broker_could_do_right_is_refused_in_one_sentence() {
        let base = "publishers = 2\nsubscribers = 2\ntopic = '{run}/{publisher}'\n";
        let refused = [
            ("filter = '{run}/+'\nstalled = 2", "nobody is left"),
            ("filter = '$share/g/{run}/+'\nstalled = 1", "its whole group"),
            ("filter = '$share//{run}/+'", "share name"),
            ("filter = '{run}/+'\ntopics = 1", "1 topics for 2 publishers"),
            ("filter = '{run}/+'\nreconnects_per_sec = 1\nqos = 1", "without devices"),
            ("filter = '{run}/+'\ndevices = 2\ndevice_topic = '{run}/d'\ndevice_filter = '{run}/0'", "device_rate 0"),
            ("filter = '{run}/{publisher}'", "{publisher} is not"),
            ("filter = '{run}/0'", "no reading subscriber"),
        ];
        for (fields, reason) in refused {
            let error = of_text(&format!("{base}{fields}")).expect_err(fields);
            assert!(error.contains(reason) && !error.contains('\n'), "{error}");
        }
        let error = resolved("fleet", |flags| flags.qos = Some(0)).expect_err("messages may be dropped");
        assert!(error.starts_with("reconnects need QoS 1 or 2"), "{error}");
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
