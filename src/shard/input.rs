//! What the driver tells a shard, and what the shard answers about received bytes.
//!
//! Duty: the words of the boundary between pure core and world. Must not: decide anything. Neighbours: `runtime` and the
//! simulation build inputs; `shard::Shard` takes them.

use std::sync::Arc;

use bytes::Bytes;

use super::authenticate::Verdict;
use super::keep::StoreState;
use super::mesh_message::MeshBatch;
use crate::auth::Policy;
use crate::id::{ConnectionId, Millis, ShardId};
use crate::limits::Limits;
use crate::message::Message;

/// Something that happened to a shard, other than bytes received (see `Shard::receive`).
#[derive(Debug)]
pub enum Input {
    /// A network connection is here, accepted just now or handed over by another shard. The driver chooses the slot, which
    /// is free once the connection was closed by either side and nothing of it is in flight.
    Opened {
        /// The connection.
        connection: ConnectionId,
        /// When it was accepted; the time for CONNECT runs from here.
        accepted_at: Millis,
        /// By which listener it came: an index of `Policy::listeners`.
        listener: u16,
    },
    /// A client's certificate has proved its user name. Comes before the first bytes, on each shard that has the connection.
    Certified {
        /// The connection.
        connection: ConnectionId,
        /// The user name, which CONNECT cannot change.
        user: Arc<str>,
    },
    /// The answer to a `CredentialCheck` of this shard. One that comes late, or twice, is of no effect.
    Verified {
        /// The question's number.
        ticket: u64,
        /// The question's connection.
        connection: ConnectionId,
        /// The answer.
        verdict: Verdict,
    },
    /// Rules and terms have changed: these hold from now on, also for what is connected, queued and retained.
    Rules(Arc<Policy>),
    /// Limits have changed. What was sized by them at the start stays as it is: memory held, the cache of matches; what a client was
    /// promised must not become less.
    Limits(Arc<Limits>),
    /// The network connection ended without the shard's wish. Not sent for connections that the shard closed.
    Closed {
        /// The connection.
        connection: ConnectionId,
    },
    /// The backlog of a connection is low again, as asked for (see `Egress::sent`).
    Drained {
        /// The connection.
        connection: ConnectionId,
    },
    /// A batch from another shard, in the order of its sending.
    Mesh {
        /// The sender.
        from: ShardId,
        /// Its batch.
        batch: MeshBatch,
    },
    /// `Shard::next_deadline` has come.
    Deadline,
    /// The store has everything up to this ticket, or has failed for good.
    Stored {
        /// Last ticket answered.
        through: u64,
        /// Whether it is safe.
        is_safe: bool,
    },
    /// The store is in another state now.
    Store(StoreState),
    /// The broker itself publishes, as it does for `$SYS`.
    Announce(Message),
    /// An operator ends the connection of a client (0x98), and the session too if that is wanted.
    Kick {
        /// Whose.
        client_id: Box<str>,
        /// Whether the session ends with it.
        ends_session: bool,
    },
    /// The broker stops: tell the clients (0x8B) and close.
    Stop,
}

/// Bytes received on a connection: what was left over the last time, followed by what is new.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// The shared allocation that `bytes` are all of, if they were assembled in one: large payloads are then referenced.
    pub shared: Option<&'a Bytes>,
}

/// What became of received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Bytes that were used up, from the start; the rest is to be kept and offered again, with more behind it.
    pub consumed: usize,
    /// What the connection wants next.
    pub next: Next,
}

/// What a connection wants after received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More bytes. `needed`: length of the whole packet that begins the rest, if it is known, bytes.
    Read {
        /// Bytes of the whole packet.
        needed: Option<usize>,
    },
    /// A PUBLISH waits for a full mesh queue: offer the rest again when no batch is refused any more; do not read on.
    AwaitMesh,
    /// Too many control packets are unsent, or acknowledgements owed, or a password is being checked: offer the rest again when
    /// the egress reports low, or when the connection stands in `Outbox::resumes`; do not read on.
    AwaitDrain,
    /// The client belongs to another shard: hand over socket and rest (nothing was consumed). The shard has forgotten it.
    Handoff(ShardId),
    /// The connection is over; it stands in `Outbox::closes`.
    Closed,
}
