//! The mesh of the simulation: one FIFO of bounded length per ordered pair of shards.
//!
//! Duty: delay batches, refuse them when full or jammed, never let one overtake another (unless told to, as a proof that
//! the checks see it). Must not: look into batches except to search them. Neighbours: `node` sends and takes.

use std::collections::VecDeque;

use ringmq::id::Millis;
use ringmq::shard::{MeshBatch, MeshMessage};
use ringmq::wire::PlainPublish;

use crate::plan::Plan;
use crate::random::Random;

#[derive(Debug, Default)]
struct Pair {
    batches: VecDeque<(Millis, MeshBatch)>,
    is_jammed_until: Millis,
}

/// All pairs.
#[derive(Debug)]
pub(crate) struct Mesh {
    shards: usize,
    pairs: Vec<Pair>,
}

impl Mesh {
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards, pairs: std::iter::repeat_with(Pair::default).take(shards * shards).collect() }
    }

    /// Takes a batch, or leaves it where it is.
    pub(crate) fn send(
        &mut self,
        now: Millis,
        way: (usize, usize),
        batch: &mut MeshBatch,
        plan: &Plan,
        random: &mut Random,
    ) {
        let pair = &mut self.pairs[way.0 * self.shards + way.1];
        if pair.batches.len() >= plan.batches_max || pair.is_jammed_until > now {
            return;
        }
        let delay_millis = random.between(0, plan.mesh_delay_millis_max);
        pair.batches.push_back((now.after_millis(delay_millis), std::mem::take(batch)));
        let count = pair.batches.len();
        if plan.swaps_batches && count > 1 {
            pair.batches.swap(count - 1, count - 2);
        }
    }

    /// The next batch of a pair that has arrived.
    pub(crate) fn take(&mut self, now: Millis, way: (usize, usize)) -> Option<MeshBatch> {
        let pair = &mut self.pairs[way.0 * self.shards + way.1];
        pair.batches.pop_front_if(|(ready_at, _)| *ready_at <= now).map(|(_, batch)| batch)
    }

    /// The pair refuses everything until then.
    pub(crate) fn jam(&mut self, way: (usize, usize), until: Millis) {
        self.pairs[way.0 * self.shards + way.1].is_jammed_until = until;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.iter().all(|pair| pair.batches.is_empty())
    }

    /// Everything that is on its way.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &MeshMessage> {
        self.pairs.iter().flat_map(|pair| &pair.batches).flat_map(|(_, batch)| &batch.messages)
    }
}

/// The payloads that a mesh message brings to subscribers.
pub(crate) fn payloads_of(message: &MeshMessage) -> Vec<&[u8]> {
    match message {
        MeshMessage::Publish { message, .. }
        | MeshMessage::Retain { message, .. }
        | MeshMessage::GroupPublish { message, .. } => vec![message.view().payload],
        MeshMessage::Run(run) => {
            let mut rest = &run.packets[..];
            let next = || {
                let packet = PlainPublish::at_front(rest, run.version)?;
                rest = &rest[packet.bytes.len()..];
                Some(packet.payload)
            };
            std::iter::from_fn(next).collect()
        }
        _ => Vec::new(),
    }
}
