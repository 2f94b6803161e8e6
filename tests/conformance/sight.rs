//! What can be seen of a broker, summed over its shards.
//!
//! Duty: gauges, sizes, counters, what the log is told. Must not: change anything but what is shown once. Neighbours: `broker` is the
//! world that is looked at.

use ringmq::shard::{Cause, Counters, Event, Gauges, Sizes};

use super::Broker;

impl Broker {
    /// How long each batch is that waits for a held mesh with messages.
    pub(crate) fn batches(&self) -> Vec<usize> {
        let world = self.world.borrow();
        let sizes = world.cores.iter().flat_map(|core| &core.outbox.mesh).map(|batch| batch.messages.len());
        sizes.filter(|messages| *messages > 0).collect()
    }

    /// What the operator was told since the last time.
    pub(crate) fn take_events(&self) -> Vec<Event> {
        let mut world = self.world.borrow_mut();
        world.cores.iter_mut().flat_map(|core| std::mem::take(&mut core.outbox.events)).collect()
    }

    /// Gauges of all shards together; what is retained, each has.
    pub(crate) fn gauges(&self) -> Gauges {
        let world = self.world.borrow();
        world.cores.iter().map(|core| core.shard.gauges()).fold(Gauges::default(), |sum, gauges| Gauges {
            connections: sum.connections + gauges.connections,
            connected: sum.connected + gauges.connected,
            sessions: sum.sessions + gauges.sessions,
            subscriptions: sum.subscriptions + gauges.subscriptions,
            shared_subscriptions: sum.shared_subscriptions + gauges.shared_subscriptions,
            retained_messages: gauges.retained_messages,
            queued_messages: sum.queued_messages + gauges.queued_messages,
            in_flight: sum.in_flight + gauges.in_flight,
            held_bytes: sum.held_bytes + gauges.held_bytes,
        })
    }

    /// Packets other than PUBLISH that all shards have sent.
    pub(crate) fn control_packets(&self) -> u64 {
        self.world.borrow().cores.iter().map(|core| core.outbox.egress.control_packets()).sum()
    }

    /// What all shards hold, summed.
    pub(crate) fn sizes(&self) -> Sizes {
        let world = self.world.borrow();
        world.cores.iter().map(|core| core.shard.sizes()).fold(Sizes::default(), |sum, sizes| Sizes {
            connections: sum.connections + sizes.connections,
            queued_messages: sum.queued_messages + sizes.queued_messages,
            in_flight: sum.in_flight + sizes.in_flight,
            sessions: sum.sessions + sizes.sessions,
            subscriptions: sum.subscriptions + sizes.subscriptions,
            retained_messages: sum.retained_messages + sizes.retained_messages,
            retained_tombstones: sum.retained_tombstones + sizes.retained_tombstones,
            held_bytes: sum.held_bytes + sizes.held_bytes,
            subacks_waiting: sum.subacks_waiting + sizes.subacks_waiting,
            acks_withheld: sum.acks_withheld + sizes.acks_withheld,
            searches_waiting: sum.searches_waiting + sizes.searches_waiting,
            acks_waiting: sum.acks_waiting + sizes.acks_waiting,
            logins_waiting: sum.logins_waiting + sizes.logins_waiting,
        })
    }

    /// The sum over all shards of one counter.
    pub(crate) fn count(&self, counter: impl Fn(&Counters) -> u64) -> u64 {
        self.world.borrow().cores.iter().map(|core| counter(core.shard.counters())).sum()
    }

    /// What the log is told about connections that were refused since the last look.
    pub(crate) fn refusals(&self) -> Vec<&'static str> {
        let mut world = self.world.borrow_mut();
        let events = world.cores.iter_mut().flat_map(|core| core.outbox.events.drain(..));
        let what = |event| match event {
            Event::Refused { cause: Cause::Broker(_, what), .. } => Some(what),
            _ => None,
        };
        events.filter_map(what).collect()
    }

    /// All counters of each shard.
    pub(crate) fn counters(&self) -> Vec<Counters> {
        self.world.borrow().cores.iter().map(|core| *core.shard.counters()).collect()
    }
}
