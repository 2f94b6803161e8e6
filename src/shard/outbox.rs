//! Outbox: what a shard wants done, as data.
//!
//! Duty: carry a turn's wishes from the shard to the driver. Must not: do them. Neighbours: every room of the shard fills
//! it; `runtime` (or a simulation) drains it completely before it waits.

use super::authenticate::CredentialCheck;
use super::egress::EgressTable;
use super::mesh_message::MeshBatch;
use super::tap::Tapped;
use crate::auth::Access;
use crate::id::ConnectionId;
use crate::store::Batch;
use crate::wire::{ProtocolVersion, QoS, ReasonCode};

/// What a shard wants done.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Bytes for connections.
    pub egress: EgressTable,
    /// One batch per shard, in order of shard; the own place stays empty. A batch that the mesh refuses stays and grows.
    pub mesh: Vec<MeshBatch>,
    /// Connections to close once their egress is sent. The shard has forgotten them already.
    pub closes: Vec<ConnectionId>,
    /// Connections that owed acknowledgements or the check of a password have stopped (`Next::AwaitDrain`), and that may go on.
    pub resumes: Vec<ConnectionId>,
    /// Passwords to be checked, each answered by `Input::Verified`.
    pub checks: Vec<CredentialCheck>,
    /// What is to be written, and the ticket that the store answers by `Input::Stored`, in order; see [`Self::take_records`].
    pub records: Batch,
    /// The last ticket that was taken and that somebody waits for.
    pub synced_ticket: u64,
    /// What happened, for the log.
    pub events: Vec<Event>,
    /// What taps show.
    pub tapped: Vec<Tapped>,
}

impl Outbox {
    /// An empty outbox of one of `shards` shards.
    pub fn new(shards: usize) -> Self {
        Self {
            mesh: std::iter::repeat_with(MeshBatch::default).take(shards).collect(),
            records: Batch { ticket: 1, ..Batch::default() },
            ..Self::default()
        }
    }

    /// What this turn wants to be written, for the store; before the mesh is told of the turn. `None`: nothing.
    pub fn take_records(&mut self) -> Option<Batch> {
        if self.records.is_empty() && !self.records.must_sync {
            return None;
        }
        let next = Batch { ticket: self.records.ticket + 1, ..Batch::default() };
        let taken = std::mem::replace(&mut self.records, next);
        if taken.must_sync {
            self.synced_ticket = taken.ticket;
        }
        Some(taken)
    }
}

/// Something an operator may want to read. Text from clients is not yet escaped.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A client's CONNECT was accepted.
    Connected {
        /// Its connection.
        connection: ConnectionId,
        /// Its client id.
        client_id: Box<str>,
        /// Its user name, if it has one.
        user: Option<Box<str>>,
        /// Its protocol.
        version: ProtocolVersion,
        /// Clean Start (Clean Session in 3.x).
        clean_start: bool,
        /// Keep alive that holds, seconds.
        keep_alive_secs: u16,
    },
    /// A connection that had been accepted ended.
    Disconnected {
        /// Its connection.
        connection: ConnectionId,
        /// Its client id.
        client_id: Box<str>,
        /// Why.
        cause: Cause,
    },
    /// Publishers have waited `backpressure_ms_max` for a client with a long queue, and do so no longer.
    Stuck {
        /// Its connection.
        connection: ConnectionId,
        /// Its client id.
        client_id: Box<str>,
        /// Messages in its queue.
        queued: usize,
    },
    /// A client was denied something that it has no right to. Not every one is told.
    Denied {
        /// Its connection.
        connection: ConnectionId,
        /// Its client id.
        client_id: Box<str>,
        /// Its user name, if it has one.
        user: Option<Box<str>>,
        /// What it wanted to do.
        access: Access,
        /// With which topic or filter.
        topic: Box<str>,
        /// Which rule decided.
        rule: Box<str>,
    },
    /// A subscription was made or changed. Told if the policy wants it.
    Subscribed {
        /// Its connection.
        connection: ConnectionId,
        /// Its client id.
        client_id: Box<str>,
        /// What it subscribed to.
        filter: Box<str>,
        /// The QoS that was granted.
        qos: QoS,
    },
    /// A subscription was given up. Told if the policy wants it.
    Unsubscribed {
        /// Its connection.
        connection: ConnectionId,
        /// Its client id.
        client_id: Box<str>,
        /// What it had subscribed to.
        filter: Box<str>,
    },
    /// A connection ended before its CONNECT was accepted.
    Refused {
        /// The connection.
        connection: ConnectionId,
        /// Why.
        cause: Cause,
    },
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The client sent DISCONNECT.
    ClientDisconnected,
    /// The network connection ended without DISCONNECT.
    ConnectionLost,
    /// The broker ended it: reason code and what exactly was wrong.
    Broker(ReasonCode, &'static str),
}
