//! What the broker's counters and sizes say, held against what was seen.
//!
//! Duty: one place that reads counters; the equations between them, after each turn and at rest; the tables that are left
//! against the model. Must not: act. Neighbours: `world` calls after turns, `finale` at the end, `verdict` asks for drops.

use std::collections::{BTreeMap, BTreeSet};

use ringmq::shard::{Counters, DropReason, owner_of};

use crate::node::Node;
use crate::oracle::Session;
use crate::world::World;

/// Messages that the broker says it did not deliver, by reason.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Drops {
    pub(crate) queue_full: u64,
    pub(crate) too_large: u64,
    pub(crate) expired: u64,
    pub(crate) slow_reader: u64,
}

impl Drops {
    fn of(counters: &Counters) -> Self {
        Self {
            queue_full: counters.dropped_for(DropReason::QueueFull),
            too_large: counters.dropped_for(DropReason::TooLarge),
            expired: counters.dropped_for(DropReason::Expired),
            slow_reader: counters.dropped_for(DropReason::SlowReader),
        }
    }

    /// What may be missing of QoS 1 and 2.
    pub(crate) fn of_acknowledged(self) -> u64 {
        self.queue_full + self.too_large + self.expired
    }
}

impl World {
    /// All drops of the broker.
    pub(crate) fn drops(&self) -> Drops {
        self.nodes.iter().map(|node| Drops::of(node.shard.counters())).fold(Drops::default(), |sum, more| Drops {
            queue_full: sum.queue_full + more.queue_full,
            too_large: sum.too_large + more.too_large,
            expired: sum.expired + more.expired,
            slow_reader: sum.slow_reader + more.slow_reader,
        })
    }

    /// Pairs of message and session.
    pub(crate) fn matches(&self) -> u64 {
        self.nodes.iter().map(|node| node.shard.counters().matches).sum()
    }

    /// What holds after every turn.
    pub(crate) fn check_turn(&self, index: usize) {
        let node = &self.nodes[index];
        let (counters, sizes) = (node.shard.counters(), node.shard.sizes());
        assert_eq!(sizes.connections, node.open_connections(), "connections that the driver has and the shard has");
        assert_eq!(counters.connects, node.connects, "a CONNECT that was accepted is an event");
        assert_eq!(counters.broker_closes, node.broker_closes, "a connection that the broker closed is an event");
        let Counters { matches, delivered, delivered_late, dropped, .. } = *counters;
        let is_part = delivered_late.each().into_iter().zip(delivered.each()).all(|(late, all)| late <= all);
        assert!(is_part, "more was delivered late than was delivered: {counters:?}");
        let accounted = delivered.sum() + dropped.iter().sum::<u64>() + sizes.queued_messages as u64;
        assert_eq!(matches, accounted, "the drop ledger does not add up: {counters:?} {sizes:?}");
        let gauges = node.shard.gauges();
        assert_eq!((gauges.queued_messages, gauges.in_flight), (sizes.queued_messages, sizes.in_flight));
        assert!(sizes.connections <= self.plan.limits.connections_per_shard_max, "{sizes:?}");
        assert!(sizes.sessions <= self.plan.limits.sessions_per_shard_max, "{sizes:?}");
    }

    /// What holds when nothing is left to do but what only time brings.
    pub(crate) fn check_rest(&mut self) {
        let is_congested = self.nodes.iter().any(|node| node.shard.sizes().queued_messages > 0);
        for node in &mut self.nodes {
            let sizes = node.shard.sizes();
            assert_eq!(
                (sizes.acks_waiting, sizes.subacks_waiting),
                (0, 0),
                "answers are owed, and nothing is on its way"
            );
            assert!(sizes.acks_withheld == 0 || is_congested, "acknowledgements are withheld, and nobody has a queue");
            assert_eq!(node.live_backlog_bytes(&self.lines), 0, "bytes that nobody sends");
        }
    }

    /// Every subscription of which it is not certain whether the broker has it is ended, so that the model is exact.
    pub(crate) fn settle_subscriptions(&mut self) {
        for index in 0..self.clients.len() {
            let Some(session) = self.oracle.current[index] else { continue };
            let record = &self.oracle.sessions[session];
            if record.line.is_none() || record.line != self.clients[index].line {
                continue;
            }
            for filter in uncertain(record) {
                self.with_client(index, |client, desk| client.unsubscribe(&filter, desk));
            }
        }
        self.come_to_rest();
    }

    /// Connections, sessions and subscriptions are those of the model, on every shard.
    pub(crate) fn judge_tables(&mut self) {
        self.settle_subscriptions();
        let shards = self.plan.shards;
        // Per filter: the subscribers of each shard.
        let mut plain: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut groups: BTreeSet<&str> = BTreeSet::new();
        let mut sessions = vec![0; shards];
        for session in self.oracle.sessions.iter().filter(|session| session.line.is_some()) {
            let name = &self.clients[session.client].nature.name;
            let shard = owner_of(name, self.plan.seed, shards).index();
            sessions[shard] += 1;
            for filter in certain(session) {
                if filter.starts_with("$share/") {
                    groups.insert(filter);
                } else {
                    plain.entry(filter).or_insert_with(|| vec![0; shards])[shard] += 1;
                }
            }
        }
        for (shard, node) in self.nodes.iter().enumerate() {
            let sizes = node.shard.sizes();
            let own: usize = plain.values().map(|counts| counts[shard]).sum();
            let others = |counts: &Vec<usize>| {
                counts.iter().enumerate().filter(|(other, count)| *other != shard && **count > 0).count()
            };
            let interests: usize = plain.values().map(others).sum();
            let expected = own + interests + groups.len();
            assert_eq!(sizes.subscriptions, expected, "subscriptions of shard {shard}: {plain:?} {groups:?}");
            let away = self.oracle.sessions.iter().filter(|session| session.line.is_none() && !session.is_ended);
            let away: Vec<_> = away.map(|session| (session.client, &session.lines, session.ends_at)).collect();
            assert_eq!(sizes.sessions, sessions[shard], "sessions of shard {shard}; away: {away:?}");
            assert_eq!(sizes.connections, sessions[shard], "connections of shard {shard}");
        }
        self.oracle.checks.tables += shards as u64;
    }
}

/// Filters whose last SUBSCRIBE or UNSUBSCRIBE may have been lost.
fn uncertain(session: &Session) -> BTreeSet<String> {
    let is_open = |known: &&crate::oracle::Subscribed| {
        let is_half_made = known.confirmed_at.is_none() && known.unsubscribed_at.is_none();
        let is_half_ended = known.unsubscribe_sent_at.is_some() && known.unsubscribed_at.is_none();
        is_half_made || is_half_ended || session.is_loose
    };
    session.subscriptions.iter().filter(is_open).map(|known| known.filter.clone()).collect()
}

fn certain(session: &Session) -> BTreeSet<&str> {
    let holds = |known: &&crate::oracle::Subscribed| known.unsubscribe_sent_at.is_none();
    session.subscriptions.iter().filter(holds).map(|known| &*known.filter).collect()
}

impl Node {
    /// Bytes that wait for connections that are open at both ends.
    fn live_backlog_bytes(&mut self, lines: &[crate::line::Line]) -> usize {
        let slots = self.slots_of(|line| !lines[line].is_half_open);
        slots.into_iter().map(|slot| self.outbox.egress.at(slot).backlog_bytes()).sum()
    }
}
