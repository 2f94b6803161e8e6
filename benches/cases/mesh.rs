//! Turns of two shards: a client of one publishes to a client of the other.

use ringmq::wire::{ProtocolVersion, QoS};

use super::broker::{Broker, Carry, carry_directly};
use super::packets::{self, QUALITIES};
use super::turn::published;
use super::{Case, Work};

/// All cases in which batches are handed over as they are.
pub(crate) fn all() -> Vec<Case> {
    carried("directly", carry_directly)
}

/// All cases, with the name of the way by which batches are carried.
pub(crate) fn carried(way: &str, carry: fn() -> Carry) -> Vec<Case> {
    let case = |qos: QoS, batch: u16| {
        let name = format!("mesh/QoS {}, {batch} at a time, {way}", qos as u8);
        Case::new(name, u32::from(batch), move || crossing(qos, batch, carry()))
    };
    QUALITIES.into_iter().flat_map(|qos| [case(qos, 1), case(qos, 100)]).collect()
}

fn crossing(qos: QoS, batch: u16, carry: Carry) -> Work {
    let mut broker = Broker::new(2, carry);
    let subscriber = broker.connect(1, "subscriber");
    broker.send(subscriber, &packets::subscribe(ProtocolVersion::V311, "plant/+/line/#", qos));
    broker.settle();
    published(broker, qos, batch, u64::from(batch))
}
