//! THIRD floor: all state of one core.
//!
//! Duty: `Shard::receive` and `Shard::handle` take what happened and fill the outbox with what is to be done; the contract
//! is *handle, drain, wait*: the outbox is drained before the driver waits. Must not: know clocks, sockets, threads, locks.
//! Neighbours: `session`, `topic` and `wire` below; `runtime` and the simulation above.

mod egress;
mod input;
mod mesh_message;
mod outbox;

pub use egress::{Egress, EgressTable, Flush, Splice};
pub use input::{Input, Next, Received, Taken};
pub use mesh_message::{Cursor, GroupOrigin, MemberChange, MeshAck, MeshBatch, MeshMessage, Outcome, Stamp};
pub use outbox::{Cause, Event, Outbox};

use crate::id::{ConnectionId, Millis, ShardId};
use crate::limits::Limits;

/// What a shard is told at its making.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Which shard this is.
    pub shard: ShardId,
    /// How many there are.
    pub shards: usize,
    /// Seed of every keyed hash, and of the placement of client ids; the same on all shards.
    pub hash_seed: u64,
    /// Seed of generated client ids.
    pub id_seed: u64,
    /// Bounds.
    pub limits: Limits,
}

/// All state of one core.
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
}

impl Shard {
    /// A shard with no connections, sessions or subscriptions.
    pub fn new(config: ShardConfig) -> Self {
        Self { config }
    }

    /// Takes what happened.
    pub fn handle(&mut self, now: Millis, input: Input, outbox: &mut Outbox) {
        let _ = (now, input, outbox, &self.config);
    }

    /// Takes bytes received on a connection; handles all whole packets in them.
    pub fn receive(
        &mut self,
        now: Millis,
        connection: ConnectionId,
        received: Received<'_>,
        outbox: &mut Outbox,
    ) -> Taken {
        let _ = (now, connection, outbox);
        Taken { consumed: received.bytes.len(), next: Next::Read { needed: None } }
    }

    /// Whether a connection with `Next::AwaitMesh` may be offered its bytes again.
    pub fn takes_publishes(&self, outbox: &Outbox) -> bool {
        let _ = outbox;
        true
    }

    /// When `Input::Deadline` is wanted.
    pub fn next_deadline(&self) -> Option<Millis> {
        None
    }
}
