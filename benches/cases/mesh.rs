//! Turns of two shards: a client of one publishes to a client of the other.

use ringmq::store::Level;
use ringmq::wire::{ProtocolVersion, QoS};

use super::broker::{Broker, Carry, Client, carry_directly};
use super::packets::{self, QUALITIES};
use super::turn::published;
use super::{Case, Work};

/// All cases in which batches are handed over as they are.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = carried("directly", carry_directly);
    cases.push(Case::new("mesh/QoS 1, 100 at a time, directly, kept at memory", 100, || {
        let mut broker = Broker::keeping(2, carry_directly(), Level::Memory);
        let subscriber = broker.connect_kept(1, "subscriber");
        crossing(broker, subscriber, QoS::AtLeastOnce, 100)
    }));
    cases
}

/// All cases, with the name of the way by which batches are carried.
pub(crate) fn carried(way: &str, carry: fn() -> Carry) -> Vec<Case> {
    let case = |qos: QoS, batch: u16| {
        let name = format!("mesh/QoS {}, {batch} at a time, {way}", qos as u8);
        Case::new(name, u32::from(batch), move || {
            let mut broker = Broker::new(2, carry());
            let subscriber = broker.connect(1, "subscriber");
            crossing(broker, subscriber, qos, batch)
        })
    };
    QUALITIES.into_iter().flat_map(|qos| [case(qos, 1), case(qos, 100)]).collect()
}

/// What the first shard publishes goes to a subscriber of the other.
fn crossing(mut broker: Broker, subscriber: Client, qos: QoS, batch: u16) -> Work {
    broker.send(subscriber, &packets::subscribe(ProtocolVersion::V311, "plant/+/line/#", qos));
    broker.settle();
    published(broker, qos, batch, u64::from(batch))
}
