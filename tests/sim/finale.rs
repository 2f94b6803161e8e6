//! The end of a run: calm weather, every session connected, then one client after the other leaves for good.
//!
//! Duty: lead the world to where the verdicts can be given. Must not: judge single messages. Neighbours: `verdict`.

use std::collections::BTreeMap;

use ringmq::shard::{Sizes, owner_of};
use ringmq::wire::{ProtocolVersion, QoS, RetainHandling, SubscriptionOptions};

use crate::client::{Client, Nature, Phase};
use crate::habits::WATCHER;
use crate::line::{Asked, Goodbye};
use crate::oracle::Subscribed;
use crate::world::World;

/// Rounds in which those who are away are called back.
const ROUNDS_MAX: usize = 8;
/// Longest Will Delay Interval of a client, and some time for timers.
const LAST_WILL_MILLIS: u64 = 6_000;

/// Everything that is checked at the end of a run.
pub(crate) fn end(world: &mut World) {
    world.calm_down();
    world.judge_deliveries();
    let probes = world.add_probes();
    world.judge_retained(&probes);
    for (filter, topic) in [("$share/one/s/#", "s/1"), ("$share/two/u/+", "u/1")] {
        world.judge_round_robin(filter, topic, &probes);
    }
    world.judge_tables();
    let everyone: Vec<usize> = (1..world.plan.clients).collect();
    world.end_sessions(&everyone);
    world.pass_time(LAST_WILL_MILLIS);
    let looked_at = world.nodes.iter().map(|node| node.looked_at).max().unwrap_or_default().max(world.now);
    world.oracle.let_all_time_pass(looked_at, &mut world.lines);
    world.judge_wills();
    world.delete_retained(probes[0]);
    let mut rest = probes;
    rest.push(WATCHER);
    world.end_sessions(&rest);
    world.judge_leaks();
}

pub(crate) fn options(qos: QoS) -> SubscriptionOptions {
    SubscriptionOptions {
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::SendAtSubscribe,
    }
}

/// A connection that leaves nothing behind.
pub(crate) fn clean() -> Asked {
    Asked {
        is_clean: true,
        expiry_secs: 0,
        will_delay_secs: None,
        receive_maximum: 1000,
        alias_max: 0,
        packet_bytes_max: None,
    }
}

impl World {
    /// Jams end, stopped shards go on, and every session that lives is connected.
    fn calm_down(&mut self) {
        self.clear_up();
        self.come_to_rest();
        for round in 0..ROUNDS_MAX {
            for index in 0..self.clients.len() {
                let is_regular = index < self.plan.clients && self.clients[index].phase == Phase::Off;
                if is_regular && self.oracle.is_presence_unclear[index] {
                    // Whatever came back of its session ends.
                    self.with_client(index, |client, desk| client.connect(clean(), QoS::AtMostOnce, desk));
                }
                let Some(session) = self.oracle.current[index].filter(|_| self.clients[index].phase == Phase::Off)
                else {
                    continue;
                };
                if round >= 3 {
                    // What the broker will not take, the application gives up.
                    self.clients[index].unacked.retain(|entry| entry.is_released);
                }
                let is_v5 = self.clients[index].nature.version == ProtocolVersion::V5;
                let asked = Asked {
                    is_clean: false,
                    expiry_secs: if is_v5 { self.oracle.sessions[session].expiry_secs } else { u32::MAX },
                    receive_maximum: if is_v5 { 1000 } else { u16::MAX },
                    ..clean()
                };
                self.with_client(index, |client, desk| client.connect(asked, QoS::AtMostOnce, desk));
            }
            self.come_to_rest();
            let is_away = |client: &Client| client.phase == Phase::Off && self.oracle.current[client.index].is_some();
            if round >= 2 && !self.clients.iter().any(is_away) {
                break;
            }
        }
        for client in &self.clients {
            assert!(client.left.is_empty(), "takeover: line {} was left and still lives", client.left[0].0);
            let session = self.oracle.current[client.index];
            let is_on = session.is_some_and(|session| self.oracle.sessions[session].line == client.line);
            assert!(client.phase == Phase::Off || is_on, "the broker has another connection of {}", client.nature.name);
        }
    }

    /// One client on each shard, connected.
    pub(crate) fn add_probes(&mut self) -> Vec<usize> {
        (0..self.plan.shards).map(|shard| self.add_probe(shard, "probe")).collect()
    }

    /// A client whose id belongs to `shard`, connected.
    pub(crate) fn add_probe(&mut self, shard: usize, name: &str) -> usize {
        let names = (0..).map(|number| format!("{name}-{}-{number}", self.clients.len()));
        let mut fitting = names.filter(|name| owner_of(name, self.plan.seed, self.plan.shards).index() == shard);
        let nature = Nature {
            name: fitting.next().expect("one of the first fits"),
            version: ProtocolVersion::V5,
            keep_alive_secs: 0,
            receive_maximum: 1000,
            alias_max: 0,
            packet_bytes_max: None,
            is_slow: false,
            shuffles_acks: false,
        };
        let index = self.add_client(nature);
        self.with_client(index, |client, desk| client.connect(clean(), QoS::AtMostOnce, desk));
        self.come_to_rest();
        index
    }

    /// Every shard replays the same retained messages, and they are the last that were written.
    pub(crate) fn judge_retained(&mut self, probes: &[usize]) {
        let mut first: Option<BTreeMap<String, u32>> = None;
        for &probe in probes {
            let filters = [("r/#".to_owned(), options(QoS::AtLeastOnce))];
            self.with_client(probe, |client, desk| client.subscribe(&filters, None, desk));
            self.come_to_rest();
            let session = self.oracle.current[probe].expect("connected");
            let numbers = self.oracle.sessions[session].got.keys();
            let mut found: BTreeMap<String, u32> =
                numbers.map(|&number| (self.oracle.published[number as usize].topic.clone(), number)).collect();
            assert_eq!(found.len(), self.oracle.sessions[session].got.len(), "one retained message per topic");
            // What has an end may have come to it between one probe and the next.
            found.retain(|_, number| self.oracle.published[*number as usize].expires_at.is_none());
            match &first {
                None => first = Some(found),
                Some(first) => assert_eq!(first, &found, "the retained messages of two shards differ"),
            }
            self.with_client(probe, |client, desk| client.unsubscribe("r/#", desk));
            self.come_to_rest();
        }
        let found = first.unwrap_or_default();
        for place in 0..3 {
            let topic = format!("r/{place}");
            let (numbers, may_be_none) = self.oracle.retained_candidates(&topic);
            match found.get(&topic) {
                Some(number) => assert!(
                    numbers.contains(number),
                    "{topic} retains {number}, expected one of {numbers:?}; {:?}",
                    self.oracle.published[*number as usize]
                ),
                None => assert!(may_be_none, "{topic} retains nothing, expected {numbers:?}"),
            }
        }
    }

    /// Messages of publishers on all shards, one after the other, go round the members strictly, in order of subscription.
    pub(crate) fn judge_round_robin(&mut self, filter: &str, topic: &str, publishers: &[usize]) {
        let members = self.members(filter);
        if members.is_empty() {
            return;
        }
        let mut receivers = Vec::new();
        for turn in 0..members.len() * 3 {
            let publisher = publishers[turn % publishers.len()];
            let number = self.with_client(publisher, |client, desk| {
                client.publish(topic, QoS::AtLeastOnce, false, Some(0), None, desk)
            });
            self.come_to_rest();
            let got = self.oracle.shared.get(&number);
            let has_definite = members.iter().any(|(_, known)| known.1.is_some());
            assert!(got.is_some() || !has_definite, "no member of {filter} got message {number}");
            receivers.extend(got.into_iter().flatten());
        }
        let distinct: std::collections::BTreeSet<usize> = receivers.iter().copied().collect();
        for (session, (_, confirmed_at)) in &members {
            let is_member = confirmed_at.is_some();
            assert!(!is_member || distinct.contains(session), "{filter}: session {session} got nothing: {receivers:?}");
        }
        for (turn, pair) in receivers.windows(distinct.len() + 1).enumerate() {
            assert_eq!(pair.first(), pair.last(), "{filter}: not round robin at turn {turn}: {receivers:?}");
        }
        self.judge_rotation(filter, &members, &receivers, distinct.len());
        self.oracle.checks.round_robin += receivers.len() as u64;
    }

    /// Sessions that may be members of a group: when they asked, and when they were told, if they surely are.
    fn members(&self, filter: &str) -> BTreeMap<usize, (u64, Option<u64>)> {
        let connected = self.oracle.sessions.iter().enumerate().filter(|(_, session)| session.line.is_some());
        let may_be = |known: &&Subscribed| known.filter == filter && known.unsubscribed_at.is_none();
        connected
            .filter_map(|(index, session)| {
                // An UNSUBSCRIBE that was lost leaves the older subscription in force.
                let oldest = session.subscriptions.iter().find(may_be)?;
                let known = session.subscriptions.iter().rfind(may_be)?;
                let is_sure = known.unsubscribe_sent_at.is_none() && !session.is_loose;
                Some((index, (oldest.sent_at, known.confirmed_at.filter(|_| is_sure))))
            })
            .collect()
    }

    /// Where it is plain in which order the members subscribed, messages go round in that order.
    fn judge_rotation(
        &self,
        filter: &str,
        members: &BTreeMap<usize, (u64, Option<u64>)>,
        receivers: &[usize],
        length: usize,
    ) {
        let mut ordered: Vec<(u64, Option<u64>, usize)> =
            members.iter().map(|(session, (sent_at, confirmed_at))| (*sent_at, *confirmed_at, *session)).collect();
        ordered.sort_unstable();
        // After a crash members stand in the order of their sessions.
        let is_plain = self.oracle.checks.crashes == 0
            && ordered.len() == length
            && ordered.iter().all(|(_, confirmed_at, _)| confirmed_at.is_some())
            && ordered.windows(2).all(|pair| pair[0].1.is_some_and(|at| at < pair[1].0));
        if !is_plain {
            return;
        }
        let start = ordered.iter().position(|(.., session)| *session == receivers[0]).expect("a member");
        for (turn, receiver) in receivers.iter().take(length).enumerate() {
            let expected = ordered[(start + turn) % length].2;
            assert_eq!(*receiver, expected, "{filter}: not in order of subscription: {receivers:?}, {ordered:?}");
        }
    }

    /// Clients leave, and their sessions end.
    pub(crate) fn end_sessions(&mut self, clients: &[usize]) {
        let goodbye = Goodbye { expiry_secs: None, with_will: false };
        for round in 0..2 {
            for &index in clients {
                if round == 1 && self.oracle.current[index].is_some() {
                    self.with_client(index, |client, desk| client.connect(clean(), QoS::AtMostOnce, desk));
                }
            }
            self.come_to_rest();
            for &index in clients {
                if self.clients[index].phase == Phase::On {
                    self.with_client(index, |client, desk| client.disconnect(goodbye, desk));
                }
            }
            self.come_to_rest();
        }
    }

    /// Lets time pass in small pieces; clients keep their connections alive.
    pub(crate) fn pass_time(&mut self, millis: u64) {
        for _ in 0..millis.div_ceil(500) {
            self.now = self.now.after_millis(500);
            self.keep_alive();
            self.come_to_rest();
        }
    }

    fn delete_retained(&mut self, probe: usize) {
        for place in 0..3 {
            let topic = format!("r/{place}");
            self.with_client(probe, |client, desk| client.publish(&topic, QoS::AtLeastOnce, true, None, None, desk));
            self.come_to_rest();
        }
    }

    /// Nothing is left of anybody.
    pub(crate) fn judge_leaks(&mut self) {
        for node in &self.nodes {
            assert_eq!(node.shard.sizes(), Sizes::default(), "something leaks");
        }
    }
}
