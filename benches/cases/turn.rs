//! Turns of one shard from received bytes to bytes that are ready to send; the clients reply at once.

use ringmq::store::Level;
use ringmq::wire::{ProtocolVersion, QoS};

use super::broker::{Broker, carry_directly};
use super::packets::{self, QUALITIES, TOPIC};
use super::{Case, Work};

/// Time between two connections, milliseconds: enough that deadlines end as fast as new ones are set.
const BETWEEN_CONNECTS_MILLIS: u64 = 200;

/// All cases.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (subscribers, batch) in [(1, 1), (1, 100), (10, 1), (1000, 1)] {
        cases.extend(QUALITIES.map(|qos| publishing(qos, subscribers, batch)));
    }
    for level in [Level::Memory, Level::Commit] {
        cases.push(keeping(level));
    }
    cases.push(Case::new("publish/QoS 0, 1000 topics, then the subscriptions change", 1000, changing));
    cases.push(Case::new("connect and disconnect", 1, connecting));
    cases.push(Case::new("subscribe and unsubscribe", 1, subscribing));
    cases
}

/// One client publishes `batch` messages in one read to so many others; per message, however many get it.
fn publishing(qos: QoS, subscribers: usize, batch: u16) -> Case {
    let name = format!("publish/QoS {}, 1 to {subscribers}, {batch} at a time", qos as u8);
    Case::new(name, u32::from(batch), move || {
        let mut broker = Broker::new(1, carry_directly());
        for n in 0..subscribers {
            let subscriber = broker.connect(0, &format!("subscriber-{n}"));
            broker.send(subscriber, &packets::subscribe(ProtocolVersion::V311, "plant/+/line/#", qos));
        }
        broker.settle();
        published(broker, qos, batch, u64::from(batch) * subscribers as u64)
    })
}

/// As [`publishing`], to a session that is kept in a store; the batch of the turn is made and not written.
fn keeping(level: Level) -> Case {
    let batch = 100;
    let name = format!("publish/QoS 1, 1 to 1, {batch} at a time, kept at {}", level.name());
    Case::new(name, u32::from(batch), move || {
        let mut broker = Broker::keeping(1, carry_directly(), level);
        let subscriber = broker.connect_kept(0, "subscriber");
        broker.send(subscriber, &packets::subscribe(ProtocolVersion::V311, "plant/+/line/#", QoS::AtLeastOnce));
        broker.settle();
        published(broker, QoS::AtLeastOnce, batch, u64::from(batch))
    })
}

/// Each call publishes a batch from the first shard, which makes so many deliveries.
pub(crate) fn published(mut broker: Broker, qos: QoS, batch: u16, deliveries: u64) -> Work {
    let publisher = broker.connect(0, "publisher");
    let publish = |packet_id| packets::publish(ProtocolVersion::V311, TOPIC, qos, packet_id);
    let bytes = (1..=batch).flat_map(publish).collect::<Vec<u8>>();
    let mut sent = broker.count(|counters| counters.delivered.sum());
    Box::new(move || {
        broker.send(publisher, &bytes);
        broker.settle();
        sent += deliveries;
        assert_eq!(broker.count(|counters| counters.delivered.sum()), sent, "every subscriber gets every message");
    })
}

/// A message to each of a thousand topics, then a subscription that has to do with none of them.
fn changing() -> Work {
    let mut broker = Broker::new(1, carry_directly());
    let subscriber = broker.connect(0, "subscriber");
    broker.send(subscriber, &packets::subscribe(ProtocolVersion::V311, "plant/+/line/#", QoS::AtMostOnce));
    broker.settle();
    let publish = |n| packets::publish(ProtocolVersion::V311, &format!("plant/{n}/line/a"), QoS::AtMostOnce, 1);
    let bytes = (0..1000).flat_map(publish).collect::<Vec<u8>>();
    let publisher = broker.connect(0, "publisher");
    let mut changes = 0;
    Box::new(move || {
        broker.send(publisher, &bytes);
        broker.settle();
        changes += 1;
        let other = packets::subscribe(ProtocolVersion::V311, &format!("other/{changes}"), QoS::AtMostOnce);
        broker.send(subscriber, &other);
        broker.settle();
        assert_eq!(broker.count(|counters| counters.delivered.sum()), 1000 * changes, "each message is delivered");
    })
}

/// A clean session from the first byte to the last, beside an idle one.
fn connecting() -> Work {
    let mut broker = Broker::new(1, carry_directly());
    broker.connect(0, "idle");
    let connect = packets::connect(ProtocolVersion::V311, "device-0001");
    Box::new(move || {
        broker.pass_millis(BETWEEN_CONNECTS_MILLIS);
        let client = broker.open(0);
        broker.send(client, &connect);
        broker.settle();
        broker.send(client, &[0xE0, 0]);
        broker.settle();
    })
}

/// A subscription that comes and goes among a thousand of others.
fn subscribing() -> Work {
    let mut broker = Broker::new(1, carry_directly());
    let other = broker.connect(0, "other");
    for n in 0..1000 {
        broker.send(other, &packets::subscribe(ProtocolVersion::V311, &format!("plant/{n}/#"), QoS::AtLeastOnce));
        broker.settle();
    }
    let client = broker.connect(0, "client");
    let subscribe = packets::subscribe(ProtocolVersion::V311, "plant/+/line/#", QoS::AtLeastOnce);
    let unsubscribe = packets::unsubscribe(ProtocolVersion::V311, "plant/+/line/#");
    Box::new(move || {
        broker.send(client, &subscribe);
        broker.settle();
        broker.send(client, &unsubscribe);
        broker.settle();
    })
}
